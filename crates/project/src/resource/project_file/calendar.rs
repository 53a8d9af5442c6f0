//! `calendar:` of `flywheel.yaml`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use flywheel_base::holiday::{DaySpan, HolidayCalendar};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How time is divided, whose holidays count, and days of the project's own.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Calendar {
    /// The month in which the fiscal year begins, from 1 to 12; 4 is April.
    #[serde(default = "january")]
    #[schemars(range(min = 1, max = 12))]
    pub fiscal_year_starts: u8,
    /// Whose holidays `is_workday`, `is_holiday`, `holiday`, `holiday_zh` and `day_kind` of a time dimension mean.
    #[serde(default)]
    pub holidays: Option<HolidaySet>,
    /// Days of the project's own by name, such as a day of sales or of stocktaking; they count before those of `holidays`,
    /// and forecasts learn what they do where a learner says `calendar: [own]`.
    #[serde(default)]
    pub days: BTreeMap<String, OwnDay>,
}

impl Default for Calendar {
    fn default() -> Self {
        Self { fiscal_year_starts: january(), holidays: None, days: BTreeMap::new() }
    }
}

/// Whose holidays are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HolidaySet {
    /// Public holidays of mainland China with the weekend days that are worked instead (调休), for 2006 to 2026 as they
    /// were announced; in other years from 2000 to 2099 only the days that the law gives are off.
    Cn,
    /// Federal holidays of the United States, also on the days they are observed on, and Black Friday, which has a name
    /// and is worked; from 2000 to 2099.
    Us,
    /// Bank holidays of England and Wales, also on the days they are moved to, and Black Friday; from 2000 to 2099.
    Uk,
}

impl HolidaySet {
    /// The calendar.
    #[must_use]
    pub fn calendar(self) -> HolidayCalendar {
        match self {
            Self::Cn => HolidayCalendar::Cn,
            Self::Us => HolidayCalendar::Us,
            Self::Uk => HolidayCalendar::Uk,
        }
    }
}

/// A day of the project's own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnDay {
    /// When it is: `11-11` each year, `2026-05-03` once, `06-16..06-18` for several days of one year.
    #[schemars(length(min = 1))]
    pub on: Vec<OwnSpan>,
    /// Its name in English; that in the file if absent.
    #[serde(default)]
    pub en: Option<String>,
    /// Its name in Chinese; that in the file if absent.
    #[serde(default)]
    pub zh: Option<String>,
    /// `true` if nobody works then, `false` if people work even on a holiday; what the day is otherwise if absent.
    #[serde(default)]
    pub off: Option<bool>,
}

/// Days as they are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnSpan(pub DaySpan);

impl<'de> Deserialize<'de> for OwnSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        DaySpan::parse(&text).map(Self).map_err(|error| {
            de::Error::custom(format!(
                "{}; {}",
                error.message(),
                error.hint_text().unwrap_or_default()
            ))
        })
    }
}

impl Serialize for OwnSpan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl JsonSchema for OwnSpan {
    fn schema_name() -> Cow<'static, str> {
        "Days".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "11-11 for each year, 2026-05-03 for once, 06-16..06-18 for several days of one year.",
            "pattern": "^([0-9]{4}-)?[0-9]{2}-[0-9]{2}( ?[.][.] ?([0-9]{4}-)?[0-9]{2}-[0-9]{2})?$"
        })
    }
}

fn january() -> u8 {
    1
}
