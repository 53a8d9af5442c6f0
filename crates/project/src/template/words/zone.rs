//! `modules.pytz`: time zones, and what their clocks show.

use std::fmt;
use std::sync::Arc;

use chrono::{Datelike, NaiveDateTime, TimeZone};
use flywheel_base::calendar::time_zone;
use minijinja::value::{Object, ObjectRepr, Value, from_args};
use minijinja::{Error, ErrorKind, State};

use super::Inner;
use super::moment::Moment;

/// The years that Python has.
pub(super) const YEARS: std::ops::RangeInclusive<i32> = 1..=9_999;

/// `modules.pytz`.
#[derive(Debug)]
pub(super) struct Zones(pub(super) Arc<Inner>);

impl Object for Zones {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        matches!(key.as_str()?, "utc" | "UTC")
            .then(|| Value::from_object(Zone { name: "UTC".to_owned() }))
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        if method != "timezone" {
            return Err(Error::from(ErrorKind::UnknownMethod));
        }
        let (name,): (String,) = from_args(args)?;
        match time_zone(&name) {
            Ok(_) => Ok(Value::from_object(Zone { name })),
            Err(error) => Err(self.0.raise(error.into())),
        }
    }
}

/// A zone of the time zone database.
#[derive(Debug)]
pub(super) struct Zone {
    name: String,
}

impl Zone {
    /// The zone that an argument is.
    pub(super) fn of(value: &Value) -> Result<&Self, Error> {
        value.downcast_object_ref::<Self>().ok_or_else(|| {
            let message =
                format!("{value} is no time zone; modules.pytz.timezone('Europe/Berlin') is one");
            Error::new(ErrorKind::InvalidOperation, message)
        })
    }

    /// What its clocks show when those of UTC show `utc`.
    pub(super) fn at(&self, utc: NaiveDateTime) -> Result<Moment, Error> {
        let zone = time_zone(&self.name).map_err(|error| wrong(error.message()))?;
        within(utc)?;
        Ok(Moment::shown(&zone.from_utc_datetime(&utc)))
    }

    /// The moment at which its clocks show `wall`: the later one if they do so twice, which is the one without daylight
    /// saving that pytz takes.
    fn localized(&self, wall: NaiveDateTime) -> Result<Moment, Error> {
        let zone = time_zone(&self.name).map_err(|error| wrong(error.message()))?;
        within(wall)?;
        let shown = zone.from_local_datetime(&wall).latest();
        shown.map(|shown| Moment::shown(&shown)).ok_or_else(|| {
            wrong(&format!("no clock of {} shows {wall}, because they are moved then", self.name))
        })
    }
}

impl Object for Zone {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        (key.as_str()? == "zone").then(|| Value::from(self.name.as_str()))
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        if method != "localize" {
            return Err(Error::from(ErrorKind::UnknownMethod));
        }
        let (moment,): (Value,) = from_args(args)?;
        let plain = moment.downcast_object_ref::<Moment>().and_then(Moment::without_zone);
        let plain = plain.ok_or_else(|| {
            wrong(&format!("localize() takes a datetime without zone, not {moment}"))
        })?;
        self.localized(plain).map(Value::from_object)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn wrong(message: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.to_owned())
}

/// Outside of these years the clock of another zone may show a moment that cannot be told.
fn within(at: NaiveDateTime) -> Result<(), Error> {
    match YEARS.contains(&at.year()) {
        true => Ok(()),
        false => Err(wrong(&format!("the year {} is not between 1 and 9999", at.year()))),
    }
}
