//! `modules.datetime.timedelta`: a span of time, which moments are moved by.
//!
//! The engine's operators know numbers and lists alone, so `now - timedelta(…)` is made a filter before it reads a template.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use minijinja::value::{DynObject, Kwargs, Object, ObjectRepr, Value};
use minijinja::{Error, ErrorKind, State};

use super::moment::Moment;

/// A day in microseconds.
pub(super) const DAY_US: i64 = 86_400_000_000;

/// What a span is made of, in Python's order, each in microseconds.
const PARTS: [(&str, i64); 7] = [
    ("days", DAY_US),
    ("seconds", 1_000_000),
    ("microseconds", 1),
    ("milliseconds", 1_000),
    ("minutes", 60_000_000),
    ("hours", 3_600_000_000),
    ("weeks", 7 * DAY_US),
];

/// `modules.datetime.timedelta`.
#[derive(Debug)]
pub(super) struct Spans;

impl Object for Spans {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        Span::of(args).map(Value::from_object)
    }
}

/// A span of time.
#[derive(Debug)]
struct Span {
    micros: i64,
}

impl Span {
    fn of(args: &[Value]) -> Result<Self, Error> {
        let (named, plain) = match args.split_last().filter(|(named, _)| named.is_kwargs()) {
            Some((named, plain)) => (Some(Kwargs::try_from(named.clone())?), plain),
            None => (None, args),
        };
        if plain.len() > PARTS.len() {
            return Err(Error::from(ErrorKind::TooManyArguments));
        }
        let mut micros = 0_i64;
        for (at, (name, unit)) in PARTS.into_iter().enumerate() {
            let count: Option<i64> = match (plain.get(at), &named) {
                (Some(count), _) => Some(i64::try_from(count.clone())?),
                (None, Some(named)) => named.get(name)?,
                (None, None) => None,
            };
            let part = count.unwrap_or(0).checked_mul(unit);
            micros = part.and_then(|part| micros.checked_add(part)).ok_or_else(too_long)?;
        }
        if let Some(named) = &named {
            named.assert_all_used()?;
        }
        Ok(Self { micros })
    }
}

fn too_long() -> Error {
    Error::new(ErrorKind::InvalidOperation, "the timedelta is too long")
}

/// A moment or a span, moved by a span: forwards, or backwards.
pub(super) fn moved(value: &Value, by: &Value, backwards: bool) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    let by = by.downcast_object_ref::<Span>().map(|by| match backwards {
        true => by.micros.checked_neg(),
        false => Some(by.micros),
    });
    let micros = by.flatten().ok_or_else(too_long)?;
    if let Some(moment) = value.downcast_object_ref::<Moment>() {
        return moment.moved(micros).map(Value::from_object);
    }
    if let Some(span) = value.downcast_object_ref::<Span>() {
        let micros = span.micros.checked_add(micros).ok_or_else(too_long)?;
        return Ok(Value::from_object(Span { micros }));
    }
    let message =
        format!("a timedelta moves a datetime, a date or a timedelta, and {value} is none");
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

impl Object for Span {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let of_day = self.micros.rem_euclid(DAY_US);
        Some(Value::from(match key.as_str()? {
            "days" => self.micros.div_euclid(DAY_US),
            "seconds" => of_day / 1_000_000,
            "microseconds" => of_day % 1_000_000,
            _ => return None,
        }))
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        other.downcast_ref::<Self>().map(|other| self.micros.cmp(&other.micros))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, of_day) = (self.micros.div_euclid(DAY_US), self.micros.rem_euclid(DAY_US));
        if days != 0 {
            write!(f, "{days} day{}, ", if days.unsigned_abs() == 1 { "" } else { "s" })?;
        }
        let seconds = of_day / 1_000_000;
        write!(f, "{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)?;
        match of_day % 1_000_000 {
            0 => Ok(()),
            micros => write!(f, ".{micros:06}"),
        }
    }
}
