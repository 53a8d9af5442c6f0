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

/// The range in an expression with one.
fn range_of(text: &str) -> &str {
    text.split(' ').find(|field| field.contains('-')).unwrap()
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
    for (text, parts) in [
        ("0 9 * * fri-mon", " 5-6,0-1."),
        ("0 22-2 * * *", " 22-23,0-2."),
        ("0 0 1 nov-feb *", " 11-12,1-2."),
        ("0 0 28-3 * *", " 28-31,1-3."),
    ] {
        let error = Cron::parse(text).unwrap_err();
        assert!(error.hint_text().unwrap().ends_with(parts), "{text}: {error:?}");
        let mended = text.replace(range_of(text), parts.trim_matches([' ', '.']));
        assert!(Cron::parse(&mended).is_ok(), "{mended}");
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

#[test]
fn a_span_is_read_on_the_clocks_of_the_expression_and_its_last_day_is_a_whole_one() {
    let at = |text: &str| Timestamp::parse(text).unwrap();
    let berlin = Timing::cron("0 0 * * *", "Europe/Berlin").unwrap();
    let now = at("2024-12-01T10:00:00Z");
    let before = |text: &str| at(text).plus_micros(-1);
    for (from, to, expected) in [
        // The clocks go forward on the last day.
        ("2024-03-30", "2024-03-31", (at("2024-03-29T23:00:00Z"), before("2024-03-31T22:00:00Z"))),
        // They go back on it.
        ("2024-10-26", "2024-10-27", (at("2024-10-25T22:00:00Z"), before("2024-10-27T23:00:00Z"))),
        // A time that is left out, and one that comes twice.
        (
            "2024-03-31 02:30",
            "2024-10-27 02:30",
            (at("2024-03-31T01:00:00Z"), at("2024-10-27T01:30:00Z")),
        ),
        (
            "2024-05-01T12:00:00+08:00",
            "2024-05-02T12:00:00Z",
            (at("2024-05-01T04:00:00Z"), at("2024-05-02T12:00:00Z")),
        ),
        // A day that has not ended, and one that has not begun.
        ("2024-11-30", "2024-12-01", (at("2024-11-29T23:00:00Z"), now)),
        ("2024-11-30", "2024-12-02", (at("2024-11-29T23:00:00Z"), before("2024-12-02T23:00:00Z"))),
    ] {
        assert_eq!(berlin.span(from, Some(to), now).unwrap(), expected, "{from} to {to}");
    }
    let hourly = Timing::every(3_600_000_000).unwrap();
    let day = (at("2024-05-01"), before("2024-05-02"));
    assert_eq!(hourly.span("2024-05-01", Some("2024-05-01"), now).unwrap(), day);
    assert_eq!(hourly.span("2024-05-01 12:00", None, now).unwrap().1, now);
    assert!(berlin.span("soon", None, now).is_err());
    // Samoa had no 30 December 2011.
    let apia = Timing::cron("0 0 * * *", "Pacific/Apia").unwrap();
    let (first, last) = apia.span("2011-12-30", Some("2011-12-30"), now).unwrap();
    assert!(last < first);
}

#[test]
fn what_clocks_show_is_a_moment_and_back() {
    let check = |name: &str, shown: &str, expected: &str| {
        let zone = time_zone(name).unwrap();
        let moment = moment_of(Timestamp::parse(shown).unwrap(), zone);
        assert_eq!(moment, Timestamp::parse(expected).unwrap(), "{name}: {shown}");
        shown_at(moment, zone)
    };
    let shown = Timestamp::parse("2024-05-01T10:00:00Z").unwrap();
    assert_eq!(check("Asia/Shanghai", "2024-05-01T10:00:00Z", "2024-05-01T02:00:00Z"), shown);
    assert_eq!(check("America/New_York", "2024-05-01T10:00:00Z", "2024-05-01T14:00:00Z"), shown);
    // Clocks that go back show it twice, and clocks that go forward never.
    check("Europe/Berlin", "2024-10-27T02:30:00Z", "2024-10-27T00:30:00Z");
    check("Europe/Berlin", "2024-03-31T02:30:00Z", "2024-03-31T01:30:00Z");
    for far in [i64::MIN, i64::MAX] {
        let (far, zone) = (Timestamp::from_micros(far), time_zone("Asia/Shanghai").unwrap());
        assert_eq!((moment_of(far, zone), shown_at(far, zone)), (far, far));
    }
}
