//! Spans of time as clients hand them in: `1 year 2 mons 3 days 04:05:06.7`, `P1Y2M3DT4H5M6.7S`.

/// Microseconds of the units that have always as many.
const UNITS: [(&[&str], i64); 5] = [
    (&["h", "hr", "hrs", "hour", "hours"], 3_600_000_000),
    (&["m", "min", "mins", "minute", "minutes"], 60_000_000),
    (&["s", "sec", "secs", "second", "seconds"], 1_000_000),
    (&["ms", "msec", "msecs", "millisecond", "milliseconds"], 1_000),
    (&["us", "usec", "usecs", "microsecond", "microseconds"], 1),
];
/// Months and days of those whose length varies.
const LONG_UNITS: [(&[&str], i32, i32); 5] = [
    (&["y", "yr", "yrs", "year", "years"], 12, 0),
    (&["mon", "mons", "month", "months"], 1, 0),
    (&["w", "week", "weeks"], 0, 7),
    (&["d", "day", "days"], 0, 1),
    (&["decade", "decades"], 120, 0),
];

/// A span as the engine reads it.
pub(super) fn write(months: i32, days: i32, micros: i64) -> String {
    format!("{months} mons {days} days {micros} us")
}

/// A span that is written as PostgreSQL or a client of it does, as the engine reads it; none if it is no span.
pub(super) fn read(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let mut span = Span::default();
    match text.strip_prefix('p') {
        Some(parts) => span.standard(parts)?,
        None => span.spoken(&text)?,
    }
    Some(write(span.months, span.days, span.micros))
}

#[derive(Default)]
struct Span {
    months: i32,
    days: i32,
    micros: i64,
}

impl Span {
    /// `1y2m3dt4h5m6.7s`
    fn standard(&mut self, text: &str) -> Option<()> {
        let (date, time) = text.split_once('t').unwrap_or((text, ""));
        for (part, within_day) in [(date, false), (time, true)] {
            let mut rest = part;
            while !rest.is_empty() {
                let end = rest.find(|sign: char| sign.is_ascii_alphabetic())?;
                let (amount, after) = rest.split_at(end);
                let (unit, after) = after.split_at(1);
                self.add(amount, if unit == "m" && !within_day { "mon" } else { unit })?;
                rest = after;
            }
        }
        (!text.is_empty()).then_some(())
    }

    /// `1 year -2 mons 3 days, 04:05:06.7`
    fn spoken(&mut self, text: &str) -> Option<()> {
        let text = text.replace(',', " ");
        let text = text.strip_prefix('@').unwrap_or(&text);
        let mut words = text.split_whitespace();
        let mut found = false;
        while let Some(word) = words.next() {
            found = true;
            if word.contains(':') {
                self.clock(word)?;
                continue;
            }
            let end = word.find(|sign: char| sign.is_ascii_alphabetic()).unwrap_or(word.len());
            let (amount, unit) = word.split_at(end);
            match unit {
                // Seconds are meant where nothing is said.
                "" => self.add(amount, words.next().unwrap_or("s"))?,
                unit => self.add(amount, unit)?,
            }
        }
        found.then_some(())
    }

    /// `04:05:06.7`, also with a sign, or without seconds.
    fn clock(&mut self, text: &str) -> Option<()> {
        let (sign, text) = match text.strip_prefix('-') {
            Some(text) => ("-", text),
            None => ("", text.strip_prefix('+').unwrap_or(text)),
        };
        for (part, unit) in text.splitn(3, ':').zip(["h", "m", "s"]) {
            self.add(&format!("{sign}{part}"), unit)?;
        }
        Some(())
    }

    /// Adds an amount of a unit; of a month or a day it is whole.
    fn add(&mut self, amount: &str, unit: &str) -> Option<()> {
        if let Some((_, months, days)) = LONG_UNITS.iter().find(|(names, ..)| names.contains(&unit))
        {
            let amount: i32 = amount.strip_suffix(".0").unwrap_or(amount).parse().ok()?;
            self.months = self.months.checked_add(amount.checked_mul(*months)?)?;
            self.days = self.days.checked_add(amount.checked_mul(*days)?)?;
            return Some(());
        }
        let (_, micros) = UNITS.iter().find(|(names, _)| names.contains(&unit))?;
        let micros = parts(amount, *micros)?;
        self.micros = self.micros.checked_add(micros)?;
        Some(())
    }
}

/// So many microseconds times a decimal number, of which six places count.
fn parts(amount: &str, micros: i64) -> Option<i64> {
    let (sign, digits) = match amount.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, amount.strip_prefix('+').unwrap_or(amount)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(whole) || !plain(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction = fraction.get(..fraction.len().min(6)).unwrap_or_default();
    let millionths: i64 = format!("{fraction:0<6}").parse().ok()?;
    let whole = whole.checked_mul(micros)?;
    whole.checked_add(millionths.checked_mul(micros)? / 1_000_000)?.checked_mul(sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_clients_write_them() {
        for (text, expected) in [
            ("1 year 2 mons 3 days 01:02:03.0005", "14 mons 3 days 3723000500 us"),
            ("3 days, 1:02:03.000500", "0 mons 3 days 3723000500 us"),
            ("-1 days +23:59:00", "0 mons -1 days 86340000000 us"),
            ("-00:00:01.5", "0 mons 0 days -1500000 us"),
            ("0 years 0 mons 1 days 2 hours 3 mins 4.5 secs", "0 mons 1 days 7384500000 us"),
            ("P1Y2M3DT4H5M6.7S", "14 mons 3 days 14706700000 us"),
            ("PT-1.5S", "0 mons 0 days -1500000 us"),
            ("2 weeks", "0 mons 14 days 0 us"),
            ("1h30m", ""),
            ("7", "0 mons 0 days 7000000 us"),
            ("", ""),
            ("soon", ""),
            ("1.5 months", ""),
            ("9999999999 days", ""),
            ("9223372036854775807 hours", ""),
            ("P", ""),
        ] {
            assert_eq!(read(text).unwrap_or_default(), expected, "{text}");
        }
    }
}
