//! Days off against other tables of them, and what people expect of single days.

use super::*;

const PARITY: &str = include_str!("../../../../tests/parity/holidays.txt");

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn short(date: NaiveDate) -> String {
    date.format("%m%d").to_string()
}

fn of_kind(calendar: HolidayCalendar, year: i32, kind: DayKind) -> Vec<String> {
    let days = calendar.year(year).days;
    days.into_iter().filter(|(_, day)| day.kind == kind).map(|(date, _)| short(date)).collect()
}

#[test]
fn days_off_are_those_of_the_packages() {
    let mut years = 0;
    for line in PARITY.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (what, year) = (words[0], words[1].parse::<i32>().unwrap());
        let Ok(calendar) = HolidayCalendar::parse(what) else { continue };
        let (off, work) = line.split_once(" off ").unwrap().1.split_once(" work").unwrap();
        let off: Vec<&str> = off.split_whitespace().collect();
        let work: Vec<&str> = work.split_whitespace().collect();
        assert_eq!(of_kind(calendar, year, DayKind::Holiday), off, "{what} {year}");
        assert_eq!(of_kind(calendar, year, DayKind::MakeUp), work, "{what} {year}");
        years += 1;
    }
    assert_eq!(years, 94 + 200);
}

#[test]
fn moon_and_easter_are_those_of_the_packages() {
    for line in PARITY.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let year = words[1].parse::<i32>().unwrap();
        let found = match words[0] {
            "lunar" => [(1, 1), (5, 5), (8, 15)]
                .map(|(month, day)| short(lunar::date(year, month, day).unwrap()))
                .to_vec(),
            "easter" => vec![short(easter(year).unwrap())],
            _ => continue,
        };
        assert_eq!(found, words[2..], "{line}");
    }
}

#[test]
fn a_weekend_day_that_is_worked_is_told_from_one_that_is_not() {
    let cn = |text: &str| {
        let day = HolidayCalendar::Cn.day(date(text));
        (day.kind.word(), day.holiday.map(|holiday| holiday.zh))
    };
    assert_eq!(cn("2024-02-18"), ("make-up-workday", None));
    assert_eq!(cn("2024-02-10"), ("holiday", Some("春节")));
    assert_eq!(cn("2024-03-02"), ("weekend", None));
    assert_eq!(cn("2024-03-04"), ("workday", None));
    assert_eq!(cn("2020-02-02"), ("holiday", Some("春节")), "prolonged in 2020");
    assert_eq!(cn("2025-10-06"), ("holiday", Some("中秋节")), "inside National Day");
    assert!(HolidayCalendar::Cn.day(date("2024-02-18")).kind.is_worked());
}

#[test]
fn black_friday_has_a_name_and_is_worked() {
    for calendar in [HolidayCalendar::Us, HolidayCalendar::Uk] {
        let day = calendar.day(date("2024-11-29"));
        assert_eq!((day.kind, day.holiday.map(|h| h.en)), (DayKind::Workday, Some("Black Friday")));
    }
}

#[test]
fn outside_of_the_known_years_a_day_is_of_the_week() {
    for calendar in HolidayCalendar::ALL {
        for text in ["1999-12-25", "2100-01-01", "0001-01-01", "9999-12-31"] {
            assert_eq!(calendar.day(date(text)).holiday, None, "{text}");
        }
    }
}

#[test]
fn an_unknown_calendar_is_named_with_the_nearest() {
    let error = HolidayCalendar::parse("cn_").unwrap_err();
    assert!(error.to_string().contains("no calendar of holidays \"cn_\""), "{error}");
    assert!(error.hint_text().unwrap_or_default().contains("cn"), "{error:?}");
}
