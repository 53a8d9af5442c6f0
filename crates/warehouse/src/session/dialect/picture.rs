//! Pictures of moments, as `to_char` of PostgreSQL and of others takes them, in the form that our engine knows: `YYYY-MM` is `%Y-%m`.
//!
//! For the engine a picture is a text without a place in it, which it gives back for every moment. So each picture becomes a
//! form here, and one with a place that has no form is refused.

use flywheel_base::{Error, Result};

/// The longest value that is said once for each piece of a picture: where such ones stand in each other, the text grows with powers.
const REPEATED_BYTES_MAX: usize = 1_000;
/// How long names of months and days are, filled up with blanks, unless the picture says `FM`.
const NAME_CHARACTERS: usize = 9;

/// What stands at a place of a picture.
#[derive(Clone, Copy)]
enum Place {
    /// Digits by this form, and by that one without leading zeros.
    Digits(&'static str, &'static str),
    /// A name by this form, in the letters of the picture; a long one is filled up.
    Name(&'static str, bool),
    /// SQL over a moment, which stands for `{}`, and that without leading zeros.
    Sql(&'static str, &'static str),
    /// There is no such form.
    Refused,
}

/// Weeks that begin with the year's first day.
const WEEK: &str = "CAST(CAST(floor((date_part('doy', {}) + 6) / 7) AS BIGINT) AS VARCHAR)";
const WEEK_FILLED: &str =
    "lpad(CAST(CAST(floor((date_part('doy', {}) + 6) / 7) AS BIGINT) AS VARCHAR), 2, '0')";
/// Weeks that begin with the month's first day.
const WEEK_OF_MONTH: &str =
    "CAST(CAST(floor((date_part('day', {}) + 6) / 7) AS BIGINT) AS VARCHAR)";
/// Sunday is 1.
const WEEKDAY: &str = "CAST(CAST(date_part('dow', {}) AS BIGINT) + 1 AS VARCHAR)";

/// What may stand in a picture; what begins like another one, and is longer, comes first.
const PLACES: &[(&str, Place)] = &[
    ("Y,YYY", Place::Refused),
    ("YYYY", Place::Digits("%Y", "%-Y")),
    ("YYY", Place::Refused),
    ("YY", Place::Digits("%y", "%-y")),
    ("Y", Place::Refused),
    ("IYYY", Place::Digits("%G", "%-G")),
    ("IDDD", Place::Refused),
    ("ID", Place::Digits("%u", "%u")),
    ("IW", Place::Digits("%V", "%-V")),
    ("I", Place::Refused),
    ("Q", Place::Digits("%q", "%q")),
    ("MONTH", Place::Name("%B", true)),
    ("MON", Place::Name("%b", false)),
    ("MM", Place::Digits("%m", "%-m")),
    ("MI", Place::Digits("%M", "%-M")),
    ("MS", Place::Digits("%3f", "%3f")),
    ("US", Place::Digits("%6f", "%6f")),
    ("FF3", Place::Digits("%3f", "%3f")),
    ("FF6", Place::Digits("%6f", "%6f")),
    ("FF", Place::Refused),
    ("WW", Place::Sql(WEEK_FILLED, WEEK)),
    ("W", Place::Sql(WEEK_OF_MONTH, WEEK_OF_MONTH)),
    ("DDD", Place::Digits("%j", "%-j")),
    ("DD", Place::Digits("%d", "%-d")),
    ("DAY", Place::Name("%A", true)),
    ("DY", Place::Name("%a", false)),
    ("D", Place::Sql(WEEKDAY, WEEKDAY)),
    ("HH24", Place::Digits("%H", "%-H")),
    ("HH12", Place::Digits("%I", "%-I")),
    ("HH", Place::Digits("%I", "%-I")),
    ("SSSS", Place::Refused),
    ("SS", Place::Digits("%S", "%-S")),
    ("A.M.", Place::Refused),
    ("P.M.", Place::Refused),
    ("A.D.", Place::Refused),
    ("B.C.", Place::Refused),
    ("AM", Place::Name("%p", false)),
    ("PM", Place::Name("%p", false)),
    ("AD", Place::Refused),
    ("BC", Place::Refused),
    ("CC", Place::Refused),
    ("RM", Place::Refused),
    ("TZ", Place::Refused),
    ("TH", Place::Refused),
    ("TM", Place::Refused),
    ("OF", Place::Refused),
    ("J", Place::Refused),
];

/// A part of a picture, in our words.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// A form of the engine.
    Form(String),
    /// A name by a form, in letters by a function, and whether it is filled up.
    Name { form: &'static str, letters: Option<&'static str>, filled: bool },
    /// SQL over a moment.
    Sql(&'static str),
}

impl Piece {
    /// The SQL that writes this part of a moment.
    fn of(&self, value: &str) -> String {
        match self {
            Self::Form(form) => format!("to_char({value}, '{}')", form.replace('\'', "''")),
            Self::Name { form, letters, filled } => {
                let named = format!("to_char({value}, '{form}')");
                let named = match letters {
                    Some(letters) => format!("{letters}({named})"),
                    None => named,
                };
                match *filled {
                    true => format!("rpad({named}, {NAME_CHARACTERS}, ' ')"),
                    false => named,
                }
            }
            Self::Sql(sql) => sql.replace("{}", value),
        }
    }
}

/// The SQL that writes a moment as a picture says; none if the picture has no place.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a place has no form here.
pub(super) fn written(value: &str, picture: &str) -> Result<Option<String>> {
    let Some(pieces) = pieces(picture)? else { return Ok(None) };
    if pieces.len() > 1 && value.len() > REPEATED_BYTES_MAX {
        return Err(Error::invalid("to_char is asked for a very long expression").hint(
            "Give the expression a name in a query within, and write to_char of that name.",
        ));
    }
    let parts: Vec<String> = pieces.iter().map(|piece| piece.of(value)).collect();
    Ok(Some(match parts.as_slice() {
        [part] => part.clone(),
        parts => format!("({})", parts.join(" || ")),
    }))
}

/// The form by which a text is read that was written as a picture says, `with_time` of day or without; none if the picture has
/// no place.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a place has no form here, or the engine would pass over the time of day.
pub(super) fn read(picture: &str, with_time: bool) -> Result<Option<String>> {
    let Some(pieces) = pieces(picture)? else { return Ok(None) };
    let mut form = String::new();
    for piece in &pieces {
        match piece {
            Piece::Form(part) => form.push_str(part),
            Piece::Name { form: part, .. } => form.push_str(part),
            Piece::Sql(_) => return Err(refused(picture)),
        }
    }
    let says = |forms: &[&str]| forms.iter().any(|one| form.contains(one));
    let (hours, minutes) = (says(&["%H", "%-H", "%I", "%-I"]), says(&["%M", "%-M"]));
    let (seconds, parts) = (says(&["%S", "%-S"]), says(&["%3f", "%6f"]));
    let half = says(&["%p"]);
    let timed = hours || minutes || seconds || parts || half;
    if with_time && timed && !(hours && minutes && (seconds || !parts)) {
        let message = format!("the picture \"{picture}\" says only a part of a time of day");
        return Err(Error::invalid(message).hint(
            "Write hours and minutes, HH24:MI, and seconds before what is less; MM is the month.",
        ));
    }
    // Without AM or PM an hour is told as it is.
    Ok(Some(if half { form } else { form.replace("%I", "%H").replace("%-I", "%-H") }))
}

fn refused(place: &str) -> Error {
    Error::invalid(format!("the picture \"{place}\" of a moment is not known")).hint(
        "Known are YYYY, YY, Q, MM, Month, Mon, IYYY, IW, DD, DDD, Day, Dy, HH24, HH12, MI, SS, MS, US, AM, and \"text\" in \
         double quotes; or write a form such as '%Y-%m-%d'.",
    )
}

/// The parts of a picture; none if it has no place, and so is no picture.
fn pieces(picture: &str) -> Result<Option<Vec<Piece>>> {
    let (mut pieces, mut places, mut bare) = (Vec::new(), 0_usize, false);
    let mut rest = picture;
    while let Some(sign) = rest.chars().next() {
        if sign == '"' {
            let within = rest.get(1..).unwrap_or_default();
            let (text, after) = within.split_once('"').unwrap_or((within, ""));
            plain(&mut pieces, text);
            rest = after;
            continue;
        }
        if begins(rest, "FM") {
            bare = true;
            rest = rest.get(2..).unwrap_or_default();
            continue;
        }
        let Some((word, place)) = PLACES.iter().find(|(word, _)| begins(rest, word)) else {
            plain(&mut pieces, rest.get(..sign.len_utf8()).unwrap_or_default());
            rest = rest.get(sign.len_utf8()..).unwrap_or_default();
            continue;
        };
        let (said, after) = rest.split_at_checked(word.len()).unwrap_or((rest, ""));
        match *place {
            Place::Digits(form, short) => plain(&mut pieces, if bare { short } else { form }),
            Place::Name(form, long) => {
                pieces.push(Piece::Name { form, letters: letters(said), filled: long && !bare });
            }
            Place::Sql(sql, short) => pieces.push(Piece::Sql(if bare { short } else { sql })),
            Place::Refused => return Err(refused(said)),
        }
        places += 1;
        bare = false;
        rest = after;
    }
    Ok((places > 0).then_some(pieces))
}

/// Adds to the form at the end, or begins one.
fn plain(pieces: &mut Vec<Piece>, part: &str) {
    match pieces.last_mut() {
        Some(Piece::Form(form)) => form.push_str(part),
        _ => pieces.push(Piece::Form(part.to_owned())),
    }
}

fn begins(text: &str, word: &str) -> bool {
    text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// The function that gives a name the letters in which its place is written; none where only the first is a capital.
fn letters(place: &str) -> Option<&'static str> {
    let small = |text: &str| text.bytes().any(|byte| byte.is_ascii_lowercase());
    match (small(place.get(..1).unwrap_or_default()), small(place.get(1..).unwrap_or_default())) {
        (true, _) => Some("lower"),
        (false, false) => Some("upper"),
        (false, true) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(picture: &str, expected: &str) {
        assert_eq!(written("t", picture).unwrap().as_deref(), Some(expected), "{picture}");
    }

    #[test]
    fn a_picture_becomes_a_form() {
        check("YYYY-MM-DD", "to_char(t, '%Y-%m-%d')");
        check("yyyy/mm/dd hh24:mi:ss.ms", "to_char(t, '%Y/%m/%d %H:%M:%S.%3f')");
        check("FMDD.FMMM.YYYY", "to_char(t, '%-d.%-m.%Y')");
        check("YYYY年MM月", "to_char(t, '%Y年%m月')");
        check("YYYY\"-Q\"Q", "to_char(t, '%Y-Q%q')");
        check("IYYY-IW", "to_char(t, '%G-%V')");
        check("DD\"'s\"", "to_char(t, '%d''s')");
    }

    #[test]
    fn names_have_the_letters_of_their_place_and_are_filled_up() {
        check("Mon YY", "(to_char(t, '%b') || to_char(t, ' %y'))");
        check("MON", "upper(to_char(t, '%b'))");
        check("Month", "rpad(to_char(t, '%B'), 9, ' ')");
        check("FMday", "lower(to_char(t, '%A'))");
    }

    #[test]
    fn what_is_no_picture_stays_and_what_has_no_form_is_refused() {
        for text in ["", "0.00", "FM999,999", "\"YYYY\""] {
            assert_eq!(written("t", text).unwrap(), None, "{text}");
        }
        for picture in ["YYYY-MM-DD TZ", "DDth", "J", "SSSS", "SS.FF1"] {
            let error = written("t", picture).unwrap_err();
            assert_eq!(error.kind(), flywheel_base::ErrorKind::Invalid, "{picture}");
        }
        assert!(written(&"t".repeat(REPEATED_BYTES_MAX + 1), "Day D").is_err());
    }

    #[test]
    fn a_text_is_read_by_the_same_pictures() {
        let form = |picture: &str| read(picture, true).unwrap();
        assert_eq!(form("DD Mon YYYY HH24:MI").as_deref(), Some("%d %b %Y %H:%M"));
        assert_eq!(form("YYYYMMDD HH:MI").as_deref(), Some("%Y%m%d %H:%M"));
        assert_eq!(form("YYYYMMDD HH:MI AM").as_deref(), Some("%Y%m%d %I:%M %p"));
        assert_eq!(form("none"), None);
        assert!(read("YYYY WW", true).is_err());
    }

    #[test]
    fn a_time_of_day_is_not_passed_over() {
        for picture in ["YYYYMMDDHH24", "YYYY-MM-DD HH:MM:SS", "YYYY-MM-DD HH24:MI MS"] {
            assert!(read(picture, true).is_err(), "{picture}");
            assert!(read(picture, false).is_ok(), "{picture}");
        }
    }
}
