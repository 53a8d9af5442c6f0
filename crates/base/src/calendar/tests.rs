//! Moments of timings, read from `cases.txt`, and mistakes in expressions.

use super::*;

/// A case: a timing, a moment, and the moments that follow it.
///
/// `zone | expression | after | next ; next ; …`
const CASES: &str = include_str!("cases.txt");

#[test]
fn moments_follow_each_other_as_people_expect() {
    let mut checked = 0;
    for line in CASES.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let parts: Vec<&str> = line.split('|').map(str::trim).collect();
        let [zone, expression, after, expected] = parts.as_slice() else { panic!("{line}") };
        let timing = match expression.strip_prefix("every ") {
            Some(text) => Timing::every(crate::quantity::duration_us(text).unwrap()).unwrap(),
            None => Timing::cron(expression, zone).unwrap(),
        };
        let mut at = Timestamp::parse(after).unwrap();
        for expected in expected.split(';').map(str::trim) {
            let next = timing.next(at).unwrap();
            assert_eq!(next.to_string(), expected, "after {at}: {line}");
            // Looking back from a moment finds it, and from just before it the one before.
            assert_eq!(timing.last(next), Some(next), "{line}");
            let before = timing.last(next.plus_micros(-1)).unwrap();
            assert!(before <= at || before < next, "{line}");
            assert_eq!(timing.next(before), Some(next), "{line}");
            at = next;
        }
        checked += 1;
    }
    assert!(checked >= 20, "only {checked} cases");
}

#[test]
fn a_mistake_names_its_field_and_what_may_stand_there() {
    for (text, said) in [
        ("60 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day of the month"),
        ("* * * 13 *", "month"),
        ("* * * * 8", "day of the week"),
        ("* * * * funday", "day of the week"),
        ("*/0 * * * *", "step"),
        ("30-10 * * * *", "backwards"),
        ("* * *", "3 fields"),
        ("0 0 30 2 *", "never due"),
        ("", "0 fields"),
        ("* * * * * *", "6 fields"),
        ("- * * * *", "minute"),
    ] {
        let error = Cron::parse(text).unwrap_err();
        assert!(error.message().contains(said), "{text}: {}", error.message());
        assert!(error.hint_text().is_some(), "{text}");
    }
    let error = time_zone("Asia/Shangai").unwrap_err();
    assert!(error.hint_text().unwrap().contains("Asia/Shanghai"), "{error:?}");
    assert!(Timing::every(1).is_err());
}

#[test]
fn every_moment_comes_once_over_a_year_of_moving_clocks() {
    for (zone, expression, count) in [
        ("Europe/Berlin", "30 2 * * *", 365),
        ("America/New_York", "0 1 * * *", 365),
        ("Europe/Berlin", "0 * * * *", 365 * 24),
        ("Australia/Lord_Howe", "*/30 * * * *", 365 * 48),
        ("America/Sao_Paulo", "0 0 * * *", 365),
    ] {
        let timing = Timing::cron(expression, zone).unwrap();
        let (mut at, end) =
            (Timestamp::parse("2017-01-01").unwrap(), Timestamp::parse("2018-01-01").unwrap());
        let mut found = 0;
        while let Some(next) = timing.next(at).filter(|next| *next <= end) {
            assert!(next > at);
            at = next;
            found += 1;
        }
        assert_eq!(found, count, "{expression} in {zone}");
    }
}
