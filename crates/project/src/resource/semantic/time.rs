//! Grains, spans and offsets of metrics.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest span, in its unit.
const COUNT_MAX: u32 = 10_000;

/// How finely time is divided.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Grain {
    /// Minutes.
    Minute,
    /// Hours.
    Hour,
    /// Days.
    Day,
    /// ISO weeks, from Monday.
    Week,
    /// Months.
    Month,
    /// Quarters of the calendar year.
    Quarter,
    /// Quarters of the project's fiscal year.
    FiscalQuarter,
    /// Calendar years.
    Year,
    /// The project's fiscal years.
    FiscalYear,
}

impl Grain {
    /// Every grain, the finest first.
    pub const ALL: [Self; 9] = [
        Self::Minute,
        Self::Hour,
        Self::Day,
        Self::Week,
        Self::Month,
        Self::Quarter,
        Self::FiscalQuarter,
        Self::Year,
        Self::FiscalYear,
    ];

    /// The grain's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::FiscalQuarter => "fiscal-quarter",
            Self::Year => "year",
            Self::FiscalYear => "fiscal-year",
        }
    }

    /// The grain that is called so, in English or Chinese.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let chinese = [
            ("分钟", Self::Minute),
            ("小时", Self::Hour),
            ("日", Self::Day),
            ("天", Self::Day),
            ("周", Self::Week),
            ("月", Self::Month),
            ("季度", Self::Quarter),
            ("年", Self::Year),
            ("财季", Self::FiscalQuarter),
            ("财年", Self::FiscalYear),
        ];
        let english = Self::ALL.into_iter().find(|grain| grain.word() == word);
        english.or_else(|| chinese.iter().find(|(text, _)| *text == word).map(|(_, grain)| *grain))
    }

    /// One period of the grain.
    #[must_use]
    pub fn step(self) -> TimeSpan {
        let (count, unit) = match self {
            Self::Minute => (1, TimeUnit::Minute),
            Self::Hour => (1, TimeUnit::Hour),
            Self::Day => (1, TimeUnit::Day),
            Self::Week => (1, TimeUnit::Week),
            Self::Month => (1, TimeUnit::Month),
            Self::Quarter | Self::FiscalQuarter => (1, TimeUnit::Quarter),
            Self::Year | Self::FiscalYear => (1, TimeUnit::Year),
        };
        TimeSpan { count, unit }
    }

    /// Whether periods are shorter than a day.
    #[must_use]
    pub fn is_within_day(self) -> bool {
        self < Self::Day
    }

    /// Whether every period of this grain lies within one period of `outer`.
    #[must_use]
    pub fn nests_in(self, outer: Self) -> bool {
        if self == outer || self <= Self::Day {
            return self <= outer;
        }
        match self {
            Self::Month => outer > Self::Month,
            Self::Quarter => outer == Self::Year,
            Self::FiscalQuarter => outer == Self::FiscalYear,
            _ => false,
        }
    }
}

impl fmt::Display for Grain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A unit of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimeUnit {
    /// Minutes.
    Minute,
    /// Hours.
    Hour,
    /// Days.
    Day,
    /// Weeks.
    Week,
    /// Months.
    Month,
    /// Quarters.
    Quarter,
    /// Years.
    Year,
}

impl TimeUnit {
    const ALL: [Self; 7] =
        [Self::Minute, Self::Hour, Self::Day, Self::Week, Self::Month, Self::Quarter, Self::Year];

    /// The unit's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        }
    }
}

/// A length of time in calendar units, written `7 days` or `3 months`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeSpan {
    /// How many.
    pub count: u32,
    /// Of what.
    pub unit: TimeUnit,
}

impl TimeSpan {
    /// The span a text means.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, word) = text.split_at(end);
        let word = word.trim();
        let word = word.strip_suffix('s').unwrap_or(word);
        let unit = TimeUnit::ALL.into_iter().find(|unit| unit.word() == word)?;
        let count = number.parse().ok().filter(|count| (1..=COUNT_MAX).contains(count))?;
        Some(Self { count, unit })
    }

    /// The span as whole months and days and seconds; one of them is not 0.
    #[must_use]
    pub fn parts(self) -> (i64, i64, i64) {
        let count = i64::from(self.count);
        match self.unit {
            TimeUnit::Minute => (0, 0, count * 60),
            TimeUnit::Hour => (0, 0, count * 3_600),
            TimeUnit::Day => (0, count, 0),
            TimeUnit::Week => (0, count * 7, 0),
            TimeUnit::Month => (count, 0, 0),
            TimeUnit::Quarter => (count * 3, 0, 0),
            TimeUnit::Year => (count * 12, 0, 0),
        }
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.count == 1 { "" } else { "s" };
        write!(f, "{} {}{plural}", self.count, self.unit.word())
    }
}

impl<'de> Deserialize<'de> for TimeSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom(format!("\"{text}\" is no span of time")))
    }
}

impl Serialize for TimeSpan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for TimeSpan {
    fn schema_name() -> Cow<'static, str> {
        "TimeSpan".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A whole number from 1 to 9999 and a unit: 7 days, 4 weeks, 3 months.",
            "pattern": "^[1-9][0-9]{0,3} ?(minute|hour|day|week|month|quarter|year)s?$"
        })
    }
}

/// What a period is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offset {
    /// The period before it (环比): yesterday, last week, last month.
    Previous,
    /// The same period that much earlier; `1 year` is 同比.
    Span(TimeSpan),
}

impl Offset {
    /// The offset a text means; `year` is short for `1 year`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "previous" | "环比" => Some(Self::Previous),
            "year" | "同比" => Some(Self::Span(TimeSpan { count: 1, unit: TimeUnit::Year })),
            text => TimeSpan::parse(text).map(Self::Span),
        }
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Previous => f.write_str("previous"),
            Self::Span(span) => span.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Offset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom(format!("\"{text}\" is no offset")))
    }
}

impl Serialize for Offset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Offset {
    fn schema_name() -> Cow<'static, str> {
        "Offset".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "previous for the period before (环比), year for the same period a year earlier (同比), or a span: 4 weeks, 3 months.",
            "pattern": "^(previous|year|环比|同比|[1-9][0-9]{0,3} ?(minute|hour|day|week|month|quarter|year)s?)$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_a_number_and_a_unit() {
        let check = |text: &str, expected: &str| {
            assert_eq!(
                TimeSpan::parse(text).map(|span| span.to_string()).unwrap_or_default(),
                expected
            );
        };
        check("7 days", "7 days");
        check("1week", "1 week");
        check("12 months", "12 months");
        for wrong in ["", "days", "0 days", "7", "7 d", "-1 day", "1.5 days", "99999 days"] {
            check(wrong, "");
        }
    }

    #[test]
    fn weeks_nest_in_no_month() {
        assert!(Grain::Day.nests_in(Grain::Week) && Grain::Month.nests_in(Grain::FiscalYear));
        assert!(Grain::Quarter.nests_in(Grain::Year) && Grain::Year.nests_in(Grain::Year));
        assert!(!Grain::Week.nests_in(Grain::Month) && !Grain::Week.nests_in(Grain::Year));
        assert!(!Grain::Quarter.nests_in(Grain::FiscalYear) && !Grain::Month.nests_in(Grain::Week));
    }
}
