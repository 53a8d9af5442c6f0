//! What the calendar says of a day, as SQL: days of the project's own first, then the holidays it names.

use flywheel_base::{Error, Result};
use flywheel_project::metric::DayAttribute;
use flywheel_project::metric::expression::literal;
use flywheel_project::resource::project_file::{Calendar, OwnDay};
use flywheel_project::resource::semantic::{Dimension, Grain};

/// What SQL says of a day of the project's own, by its date or span.
type Said<'a> = dyn Fn(&str, &OwnDay) -> Option<String> + 'a;

/// An attribute of the day that `moment` lies in; null where the moment is.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if the dimension is not known by the day, or the project has no calendar.
pub(super) fn sql(
    calendar: &Calendar,
    attribute: DayAttribute,
    name: &str,
    dimension: &Dimension,
    moment: &str,
) -> Result<String> {
    let word = attribute.word();
    if let Some(grain) = dimension.grain.filter(|grain| *grain > Grain::Day) {
        return Err(Error::invalid(format!(
            "dimension \"{name}\" is known by {grain} only, so {word} of its day is not known"
        ))
        .hint("Ask it of a time that is known by the day."));
    }
    if calendar.holidays.is_none() && calendar.days.is_empty() {
        return Err(Error::invalid(format!("{word} of \"{name}\": the project has no holidays"))
            .hint("Say whose count in flywheel.yaml: `calendar: {holidays: cn}`, or us or uk."));
    }
    let day = format!("CAST({moment} AS DATE)");
    let of_calendar = |function: &str, more: &str| {
        calendar
            .holidays
            .map(|set| format!("{function}({day}, {}{more})", literal(set.calendar().word())))
    };
    let of_week = |worked: &str, free: &str| {
        format!("CASE WHEN date_part('isodow', {day}) > 5 THEN {free} ELSE {worked} END")
    };
    let (value, otherwise): (&Said<'_>, String) = match attribute {
        DayAttribute::IsWorkday => (
            &|_, own| own.off.map(|off| (!off).to_string()),
            of_calendar("is_workday", "").unwrap_or_else(|| of_week("true", "false")),
        ),
        DayAttribute::IsHoliday => (
            &|_, own| own.off.map(|off| off.to_string()),
            of_calendar("is_holiday", "").unwrap_or_else(|| "false".to_owned()),
        ),
        DayAttribute::Holiday => (
            &|name, own| Some(literal(own.en.as_deref().unwrap_or(name))),
            of_calendar("holiday_name", ", 'en'").unwrap_or_else(|| "NULL".to_owned()),
        ),
        DayAttribute::HolidayZh => (
            &|name, own| Some(literal(own.zh.as_deref().unwrap_or(name))),
            of_calendar("holiday_name", ", 'zh'").unwrap_or_else(|| "NULL".to_owned()),
        ),
        DayAttribute::DayKind => (
            &|_, own| own.off.map(|off| of_own(off, &day)),
            of_calendar("day_kind", "").unwrap_or_else(|| of_week("'workday'", "'weekend'")),
        ),
    };
    let mut cases = String::new();
    for (name, own) in &calendar.days {
        let Some(value) = value(name, own) else { continue };
        cases.push_str(&format!(" WHEN {} THEN {value}", falls_on(own, &day)));
    }
    // A moment that is not known falls on no day, and its weekday is not known either.
    Ok(format!("CASE WHEN {day} IS NULL THEN NULL{cases} ELSE {otherwise} END"))
}

fn of_own(off: bool, day: &str) -> String {
    match off {
        true => "'holiday'".to_owned(),
        false => format!(
            "CASE WHEN date_part('isodow', {day}) > 5 THEN 'make-up-workday' ELSE 'workday' END"
        ),
    }
}

/// Whether a date is one of the days.
fn falls_on(own: &OwnDay, day: &str) -> String {
    let one = |span: &flywheel_project::resource::project_file::OwnSpan| {
        let (year, first, last) = span.0.bounds();
        let number = format!("(date_part('month', {day}) * 100 + date_part('day', {day}))");
        let within = match first == last {
            true => format!("{number} = {first}"),
            false => format!("{number} BETWEEN {first} AND {last}"),
        };
        match year {
            Some(year) => format!("(date_part('year', {day}) = {year} AND {within})"),
            None => within,
        }
    };
    let all: Vec<String> = own.on.iter().map(one).collect();
    format!("({})", all.join(" OR "))
}
