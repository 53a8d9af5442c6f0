//! `run_started_at` and `modules.datetime`: the moment of the run, and what Python's `datetime` says of one.
//!
//! Templates have no clock: `now()` and `today()` are the moment of the run, so that all models of a run have one.
//! Operators are the engine's own, which adds no time to a moment.

use std::cmp::Ordering;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, Datelike, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use flywheel_base::Timestamp;
use minijinja::value::{DynObject, Object, ObjectRepr, Rest, Value, from_args};
use minijinja::{Error, ErrorKind, State};

use super::Inner;

/// The longest format.
const FORMAT_MAX: usize = 1_000;

/// What is known of the zone and the time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// In UTC, and says so.
    Utc,
    /// Without a zone.
    Plain,
    /// A day alone.
    Day,
}

/// A moment or a day.
#[derive(Debug)]
pub(super) struct Moment {
    at: NaiveDateTime,
    kind: Kind,
}

impl Moment {
    /// The moment at which a run began.
    pub(super) fn of_run(moment: Timestamp) -> Self {
        Self { at: moment.datetime().naive_utc(), kind: Kind::Utc }
    }

    fn day(day: NaiveDate) -> Self {
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
        if self.kind == Kind::Utc {
            text.push_str("+00:00");
        }
        text
    }

    fn formatted(&self, format: &str) -> Result<String, Error> {
        let format = translated(format, self.kind == Kind::Utc)?;
        let items: Vec<Item<'_>> = StrftimeItems::new(&format).collect();
        let mut text = String::new();
        if items.iter().any(|item| matches!(item, Item::Error))
            || write!(text, "{}", self.at.and_utc().format_with_items(items.iter())).is_err()
        {
            let message = format!("strftime() does not know the format \"{format}\"");
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
        Ok(text)
    }
}

/// A format of Python's in our words: parts of a second have six digits, and a moment without zone has none.
fn translated(format: &str, has_zone: bool) -> Result<String, Error> {
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
        match signs.next() {
            Some('f') => made.push_str("%6f"),
            Some('z' | 'Z') if !has_zone => {}
            Some(other) => {
                made.push('%');
                made.push(other);
            }
            None => made.push_str("%%"),
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
        other.downcast_ref::<Self>().map(|other| self.at.cmp(&other.at))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written(' '))
    }
}

/// `modules.datetime`.
pub(super) fn module(words: &Arc<Inner>) -> Value {
    let class = |day| Value::from_object(Class { words: Arc::clone(words), day });
    Value::from_pairs([("datetime", class(false)), ("date", class(true))])
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
            false => Value::from_object(Moment { at, kind: Kind::Utc }),
        })
    }

    fn read(&self, text: &str, format: &str) -> Result<Value, Error> {
        let format = translated(format, true)?;
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
                from_args::<()>(args)?;
                match self.words.moment {
                    Some(moment) => Ok(self.made(moment.datetime().naive_utc())),
                    None => Err(self.words.refuse(
                        format!("{method}() is known to the queries of models alone"),
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
