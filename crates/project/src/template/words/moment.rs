//! `run_started_at` and `modules.datetime`: the moment of the run, and what Python's `datetime` says of one.
//!
//! Templates have no clock: `now()` and `today()` are the moment of the run, so that all models of a run have one.
//! Operators are the engine's own, which adds no time to a moment: `span` says how it is done.

use std::cmp::Ordering;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use chrono::format::{Item, StrftimeItems};
use chrono::{
    DateTime, Datelike, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Offset as _, TimeDelta,
    TimeZone, Timelike,
};
use flywheel_base::Timestamp;
use minijinja::value::{DynObject, Object, ObjectRepr, Rest, Value, from_args};
use minijinja::{Error, ErrorKind, State};

use super::Inner;
use super::span::{DAY_US, Spans};
use super::zone::{YEARS, Zone};

/// The longest format.
const FORMAT_MAX: usize = 1_000;

/// What is known of the zone and the time of day.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// On the clocks of a zone, which are so many seconds ahead of UTC and say so by this name: `CEST`.
    Zoned { ahead_s: i32, name: String },
    /// Without a zone.
    Plain,
    /// A day alone.
    Day,
}

/// A moment or a day.
#[derive(Debug)]
pub(super) struct Moment {
    /// As its clock shows it.
    at: NaiveDateTime,
    kind: Kind,
}

impl Moment {
    /// The moment at which a run began.
    pub(super) fn of_run(moment: Timestamp) -> Self {
        Self::utc(moment.datetime().naive_utc())
    }

    fn utc(at: NaiveDateTime) -> Self {
        Self { at, kind: Kind::Zoned { ahead_s: 0, name: "UTC".to_owned() } }
    }

    /// What a clock of a zone shows.
    pub(super) fn shown<Z: TimeZone>(shown: &DateTime<Z>) -> Self
    where
        Z::Offset: fmt::Display,
    {
        let (ahead_s, name) = (shown.offset().fix().local_minus_utc(), shown.offset().to_string());
        Self { at: shown.naive_local(), kind: Kind::Zoned { ahead_s, name } }
    }

    /// What it shows, if it is a moment that has no zone.
    pub(super) fn without_zone(&self) -> Option<NaiveDateTime> {
        (self.kind == Kind::Plain).then_some(self.at)
    }

    /// How many seconds its clock is ahead of UTC; what has no zone is taken for UTC.
    fn ahead_s(&self) -> i32 {
        match self.kind {
            Kind::Zoned { ahead_s, .. } => ahead_s,
            Kind::Plain | Kind::Day => 0,
        }
    }

    /// What a clock in UTC shows; the same at the ends of all time.
    fn in_utc(&self) -> NaiveDateTime {
        let ahead = TimeDelta::seconds(i64::from(self.ahead_s()));
        self.at.checked_sub_signed(ahead).unwrap_or(self.at)
    }

    /// What is so many microseconds later on the same clock; a day moves by whole days. As in Python, a clock that is moved
    /// in between is not asked.
    pub(super) fn moved(&self, micros: i64) -> Result<Self, Error> {
        let micros = match self.kind {
            Kind::Day => micros.div_euclid(DAY_US).checked_mul(DAY_US),
            Kind::Zoned { .. } | Kind::Plain => Some(micros),
        };
        let at = micros.and_then(|by| self.at.checked_add_signed(TimeDelta::microseconds(by)));
        let at = at.filter(|at| YEARS.contains(&at.year())).ok_or_else(|| {
            Error::new(ErrorKind::InvalidOperation, "the year is not between 1 and 9999")
        })?;
        Ok(Self { at, kind: self.kind.clone() })
    }

    /// What a clock without a zone shows.
    pub(super) fn plain(at: NaiveDateTime) -> Self {
        Self { at, kind: Kind::Plain }
    }

    /// A day alone.
    pub(super) fn day(day: NaiveDate) -> Self {
        Self { at: day.and_time(NaiveTime::MIN), kind: Kind::Day }
    }

    /// As Python writes it, with `between` between day and time.
    fn written(&self, between: char) -> String {
        let mut text = self.at.format("%Y-%m-%d").to_string();
        if self.kind == Kind::Day {
            return text;
        }
        text.push(between);
        text.push_str(&self.at.format("%H:%M:%S").to_string());
        let micros = self.at.and_utc().timestamp_subsec_micros();
        if micros > 0 {
            text.push_str(&format!(".{micros:06}"));
        }
        if let Kind::Zoned { ahead_s, .. } = self.kind {
            let (sign, ahead) = (if ahead_s < 0 { '-' } else { '+' }, ahead_s.unsigned_abs());
            text.push_str(&format!("{sign}{:02}:{:02}", ahead / 3_600, ahead / 60 % 60));
            if ahead % 60 > 0 {
                text.push_str(&format!(":{:02}", ahead % 60));
            }
        }
        text
    }

    fn formatted(&self, format: &str) -> Result<String, Error> {
        let format = translated(
            format,
            match &self.kind {
                Kind::Zoned { name, .. } => Signs::Named(name),
                Kind::Plain | Kind::Day => Signs::LeftOut,
            },
        )?;
        let items: Vec<Item<'_>> = StrftimeItems::new(&format).collect();
        let shown = FixedOffset::east_opt(self.ahead_s());
        let shown = shown.map(|zone| zone.from_utc_datetime(&self.in_utc()));
        let mut text = String::new();
        let write = |shown: DateTime<FixedOffset>| {
            write!(text, "{}", shown.format_with_items(items.iter())).is_ok()
        };
        if items.iter().any(|item| matches!(item, Item::Error)) || !shown.is_some_and(write) {
            let message = format!("strftime() does not know the format \"{format}\"");
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
        Ok(text)
    }
}

/// What becomes of the signs of a format that say the zone.
#[derive(Clone, Copy, Debug)]
enum Signs<'a> {
    /// They are read.
    Read,
    /// The zone has this name.
    Named(&'a str),
    /// There is no zone.
    LeftOut,
}

/// A format of Python's in our words: parts of a second have six digits, and a moment without zone has none.
fn translated(format: &str, zone: Signs<'_>) -> Result<String, Error> {
    if format.len() > FORMAT_MAX {
        let message = format!("a format is longer than {FORMAT_MAX} bytes");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    let mut made = String::with_capacity(format.len());
    let mut signs = format.chars();
    while let Some(sign) = signs.next() {
        if sign != '%' {
            made.push(sign);
            continue;
        }
        match (signs.next(), zone) {
            (Some('f'), _) => made.push_str("%6f"),
            (Some('z' | 'Z'), Signs::LeftOut) => {}
            (Some('Z'), Signs::Named(name)) => made.push_str(name),
            (Some(other), _) => {
                made.push('%');
                made.push(other);
            }
            (None, _) => made.push_str("%%"),
        }
    }
    Ok(made)
}

impl Object for Moment {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(match key.as_str()? {
            "year" => Value::from(self.at.year()),
            "month" => Value::from(self.at.month()),
            "day" => Value::from(self.at.day()),
            "hour" if self.kind != Kind::Day => Value::from(self.at.hour()),
            "minute" if self.kind != Kind::Day => Value::from(self.at.minute()),
            "second" if self.kind != Kind::Day => Value::from(self.at.second()),
            "microsecond" if self.kind != Kind::Day => {
                Value::from(self.at.and_utc().timestamp_subsec_micros())
            }
            _ => return None,
        })
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        if method == "strftime" {
            let (format,): (String,) = from_args(args)?;
            return self.formatted(&format).map(Value::from);
        }
        if method == "astimezone" && self.kind != Kind::Day {
            let (zone,): (Value,) = from_args(args)?;
            return Zone::of(&zone)?.at(self.in_utc()).map(Value::from_object);
        }
        let value = match method {
            "isoformat" => Value::from(self.written('T')),
            "date" if self.kind != Kind::Day => Value::from_object(Self::day(self.at.date())),
            "weekday" => Value::from(self.at.weekday().num_days_from_monday()),
            "isoweekday" => Value::from(self.at.weekday().number_from_monday()),
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        };
        from_args::<()>(args)?;
        Ok(value)
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        other.downcast_ref::<Self>().map(|other| self.in_utc().cmp(&other.in_utc()))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written(' '))
    }
}

/// `modules.datetime`.
pub(super) fn module(words: &Arc<Inner>) -> Value {
    let class = |day| Value::from_object(Class { words: Arc::clone(words), day });
    let spans = Value::from_object(Spans);
    Value::from_pairs([("datetime", class(false)), ("date", class(true)), ("timedelta", spans)])
}

/// `modules.datetime.datetime` or `modules.datetime.date`.
#[derive(Debug)]
struct Class {
    words: Arc<Inner>,
    /// Whether it makes days.
    day: bool,
}

impl Class {
    fn made(&self, at: NaiveDateTime) -> Value {
        Value::from_object(match self.day {
            true => Moment::day(at.date()),
            false => Moment { at, kind: Kind::Plain },
        })
    }

    fn wrong(&self, what: &str) -> Error {
        let name = if self.day { "date" } else { "datetime" };
        Error::new(ErrorKind::InvalidOperation, format!("{what} is no {name}"))
    }

    /// A text that says how far its clock is from UTC, if that is nothing.
    fn in_utc(&self, text: &str, moment: DateTime<FixedOffset>) -> Result<Value, Error> {
        if moment.offset().local_minus_utc() != 0 {
            return Err(self.words.refuse(
                format!(
                    "\"{text}\" is in another time zone, and moments here are in UTC or in none"
                ),
                "Write it in UTC, or without the difference to it.".to_owned(),
            ));
        }
        let at = moment.naive_utc();
        Ok(match self.day {
            true => self.made(at),
            false => Value::from_object(Moment::utc(at)),
        })
    }

    fn read(&self, text: &str, format: &str) -> Result<Value, Error> {
        let format = translated(format, Signs::Read)?;
        let found = NaiveDateTime::parse_from_str(text, &format).or_else(|error| {
            let day = NaiveDate::parse_from_str(text, &format);
            day.map(|day| day.and_time(NaiveTime::MIN)).map_err(|_| error)
        });
        let found = found.map_err(|error| {
            let message = format!("\"{text}\" is not written as \"{format}\": {error}");
            Error::new(ErrorKind::InvalidOperation, message)
        });
        found.map(|at| self.made(at))
    }
}

impl Object for Class {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        let (year, month, day, time): (i32, u32, u32, Rest<u32>) = from_args(args)?;
        let part = |at: usize| time.get(at).copied().unwrap_or(0);
        let day = NaiveDate::from_ymd_opt(year, month, day);
        let at = day.and_then(|day| day.and_hms_micro_opt(part(0), part(1), part(2), part(3)));
        at.map(|at| self.made(at)).ok_or_else(|| self.wrong("what is given"))
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        match method {
            "now" | "utcnow" if self.day => Err(Error::from(ErrorKind::UnknownMethod)),
            "now" | "utcnow" | "today" => {
                let zone = match method {
                    "now" => from_args::<(Option<Value>,)>(args)?.0,
                    _ => from_args::<()>(args).map(|()| None)?,
                };
                match (self.words.moment, zone) {
                    (Some(moment), Some(zone)) => {
                        let shown = Zone::of(&zone)?.at(moment.datetime().naive_utc())?;
                        Ok(Value::from_object(shown))
                    }
                    (Some(moment), None) => Ok(self.made(moment.datetime().naive_utc())),
                    (None, _) => Err(self.words.refuse(
                        format!("{method}() is known to models, hooks and tests alone"),
                        "Let SQL ask for the time: now() or current_date.".to_owned(),
                    )),
                }
            }
            "strptime" if !self.day => {
                let (text, format): (String, String) = from_args(args)?;
                self.read(&text, &format)
            }
            "fromisoformat" => {
                let (text,): (String,) = from_args(args)?;
                if let Ok(moment) = DateTime::parse_from_rfc3339(text.trim()) {
                    return self.in_utc(&text, moment);
                }
                let at = Timestamp::parse(&text).map_err(|_| self.wrong(&format!("\"{text}\"")))?;
                Ok(self.made(at.datetime().naive_utc()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}
