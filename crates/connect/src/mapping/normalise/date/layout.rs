//! The numbers of a written date, and how much their places tell.

use super::form;
use crate::column::Misfit;
use crate::mapping::normalise::text::folded;

/// What a text holds of a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parts {
    /// The month is named, or marked by 月; `short` if the year has two digits.
    Named { day: i32, month: i32, year: i32, short: bool },
    /// Four digits first.
    YearFirst([i32; 3]),
    /// Four digits last.
    YearLast { first: i32, second: i32, year: i32, dots: bool },
    /// Three numbers of one or two digits.
    Short([i32; 3]),
}

/// The names of months in English, German, French and Spanish, without accents.
const MONTHS: [&[&str]; 12] = [
    &["jan", "january", "januar", "janner", "janvier", "janv", "enero", "ene"],
    &["feb", "february", "februar", "fevrier", "fevr", "fev", "febrero"],
    &["mar", "march", "marz", "maerz", "mrz", "mars", "marzo"],
    &["apr", "april", "avril", "avr", "abril", "abr"],
    &["may", "mai", "mayo"],
    &["jun", "june", "juni", "juin", "junio"],
    &["jul", "july", "juli", "juillet", "juil", "julio"],
    &["aug", "august", "aout", "agosto", "ago"],
    &["sep", "sept", "september", "septembre", "septiembre"],
    &["oct", "october", "oktober", "okt", "octobre", "octubre"],
    &["nov", "november", "novembre", "noviembre"],
    &["dec", "december", "dezember", "dez", "decembre", "diciembre", "dic"],
];

/// Words that may stand beside a date and say nothing about it.
const WORDS: &[&str] = &[
    "of",
    "the",
    "de",
    "del",
    "le",
    "den",
    "am",
    "st",
    "nd",
    "rd",
    "th",
    "er",
    "mon",
    "monday",
    "tue",
    "tues",
    "tuesday",
    "wed",
    "wednesday",
    "thu",
    "thur",
    "thurs",
    "thursday",
    "fri",
    "friday",
    "sat",
    "saturday",
    "sun",
    "sunday",
    "montag",
    "dienstag",
    "mittwoch",
    "donnerstag",
    "freitag",
    "samstag",
    "sonntag",
    "mo",
    "di",
    "mi",
    "do",
    "fr",
    "sa",
    "so",
];

/// Chinese digits; ten is read apart.
const CHINESE: [(char, i32); 12] = [
    ('〇', 0),
    ('零', 0),
    ('○', 0),
    ('一', 1),
    ('二', 2),
    ('三', 3),
    ('四', 4),
    ('五', 5),
    ('六', 6),
    ('七', 7),
    ('八', 8),
    ('九', 9),
];

/// Reads a date; what follows it may only be a time of day or a weekday.
pub(super) fn read(written: &str) -> Result<Parts, Misfit> {
    let lower = folded(written);
    if let Some((year, rest)) = lower.split_once('年') {
        return chinese(year, rest);
    }
    let date = without_time(&lower)?;
    let tokens = tokens(date)?;
    let month = tokens.iter().position(|token| matches!(token, Token::Month(_)));
    match (month, tokens.as_slice()) {
        (Some(_), _) => named(&tokens),
        (None, [Token::Number(a, 4), Token::Number(b, 1 | 2), Token::Number(c, 1 | 2)]) => {
            Ok(Parts::YearFirst([*a, *b, *c]))
        }
        (None, [Token::Number(a, 1 | 2), Token::Number(b, 1 | 2), Token::Number(c, 4)]) => {
            let separators = date.chars().filter(|c| matches!(c, '-' | '/' | ' '));
            let dots = date.contains('.') && separators.count() == 0;
            Ok(Parts::YearLast { first: *a, second: *b, year: *c, dots })
        }
        (None, [Token::Number(a, 1 | 2), Token::Number(b, 1 | 2), Token::Number(c, 1 | 2)]) => {
            Ok(Parts::Short([*a, *b, *c]))
        }
        (None, [_, _]) => Err(Misfit::new("date-incomplete", "a part of the date is missing")),
        _ => Err(form()),
    }
}

/// A month's name, a day and a year, in one of the orders people write.
fn named(tokens: &[Token]) -> Result<Parts, Misfit> {
    let (day, month, (year, digits)) = match tokens {
        [Token::Number(day, 1 | 2), Token::Month(month), Token::Number(year, digits)]
        | [Token::Month(month), Token::Number(day, 1 | 2), Token::Number(year, digits)] => {
            (*day, *month, (*year, *digits))
        }
        [Token::Number(year, 4), Token::Month(month), Token::Number(day, 1 | 2)] => {
            (*day, *month, (*year, 4))
        }
        [_, _] => return Err(Misfit::new("date-incomplete", "a part of the date is missing")),
        _ => return Err(form()),
    };
    match digits {
        4 => Ok(Parts::Named { day, month, year, short: false }),
        2 => Ok(Parts::Named { day, month, year, short: true }),
        _ => Err(form()),
    }
}

/// A number with the count of its digits, or a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Number(i32, usize),
    Month(i32),
}

fn tokens(date: &str) -> Result<Vec<Token>, Misfit> {
    let mut tokens = Vec::new();
    let mut rest = date;
    while let Some(first) = rest.chars().next() {
        let digits = first.is_ascii_digit();
        let letters = first.is_alphabetic();
        let same = |c: char| match (digits, letters) {
            (true, _) => c.is_ascii_digit(),
            (_, true) => c.is_alphabetic(),
            _ => !c.is_ascii_digit() && !c.is_alphabetic(),
        };
        let end = rest.find(|c| !same(c)).unwrap_or(rest.len());
        let (token, after) = rest.split_at(end);
        rest = after;
        if digits {
            let number = token.parse().map_err(|_| form())?;
            tokens.push(Token::Number(number, token.len()));
        } else if letters {
            let month = MONTHS.iter().position(|names| names.contains(&token));
            match month.and_then(|month| i32::try_from(month + 1).ok()) {
                Some(month) => tokens.push(Token::Month(month)),
                None if WORDS.contains(&token) => {}
                None => return Err(form()),
            }
        } else if !token
            .chars()
            .all(|c| matches!(c, '-' | '/' | '.' | ',' | ' ' | '_' | '\'' | '’'))
        {
            return Err(form());
        }
    }
    // 2024-5-1 has two separators; --, // and the like are slips of some other kind.
    if tokens.len() > 3 { Err(form()) } else { Ok(tokens) }
}

/// The text before a time of day.
fn without_time(text: &str) -> Result<&str, Misfit> {
    let Some(colon) = text.find(':') else {
        // 2024-05-01T00 and 20240501t103000z are rare; the letter alone tells them from a date.
        return Ok(text);
    };
    let before = text.get(..colon).unwrap_or_default();
    let Some(cut) = before.rfind(['t', ' ']) else { return Err(form()) };
    let (date, time) = text.split_at(cut);
    let time = time.get(1..).unwrap_or_default();
    let allowed = |c: char| {
        c.is_ascii_digit()
            || matches!(
                c,
                ':' | '.' | '+' | '-' | ' ' | 'z' | 'a' | 'p' | 'm' | 'u' | 't' | 'c' | 'g'
            )
    };
    if !time.chars().all(allowed) {
        return Err(form());
    }
    Ok(date.trim_end_matches([',', ' ']))
}

/// `2024年5月1日`, also in Chinese digits.
fn chinese(year: &str, rest: &str) -> Result<Parts, Misfit> {
    let incomplete = || Misfit::new("date-incomplete", "a part of the date is missing");
    let (month, rest) = rest.split_once('月').ok_or_else(incomplete)?;
    let (day, rest) = rest.split_once(['日', '号', '號']).ok_or_else(incomplete)?;
    let after = rest.trim();
    let time =
        |c: char| c.is_ascii_digit() || matches!(c, ':' | '.' | ' ' | '时' | '分' | '秒' | '点');
    let weekday = ["星期", "周", "礼拜", "(周", "(星期"].iter().any(|word| after.starts_with(word));
    let short = weekday && after.chars().count() <= 6;
    if !short && !after.chars().all(time) {
        return Err(form());
    }
    let (year, digits) = number(year.trim()).ok_or_else(form)?;
    let (month, _) = number(month.trim()).ok_or_else(form)?;
    let (day, _) = number(day.trim()).ok_or_else(form)?;
    match digits {
        4 => Ok(Parts::Named { day, month, year, short: false }),
        2 => Ok(Parts::Named { day, month, year, short: true }),
        _ => Err(form()),
    }
}

/// A number in Arabic or Chinese digits, and how many digits it has.
fn number(text: &str) -> Option<(i32, usize)> {
    if !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some((text.parse().ok()?, text.len()));
    }
    let digit = |c: char| CHINESE.iter().find(|(known, _)| *known == c).map(|(_, value)| *value);
    if let Some((tens, ones)) = text.split_once('十') {
        let one = |text: &str, absent: i32| match text.chars().collect::<Vec<_>>().as_slice() {
            [] => Some(absent),
            [c] => digit(*c),
            _ => None,
        };
        return Some((one(tens, 1)? * 10 + one(ones, 0)?, 2));
    }
    let digits: Vec<i32> = text.chars().map(digit).collect::<Option<_>>()?;
    if digits.is_empty() || digits.len() > 4 {
        return None;
    }
    Some((digits.iter().fold(0, |value, digit| value * 10 + digit), digits.len()))
}
