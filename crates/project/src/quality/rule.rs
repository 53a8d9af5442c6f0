//! What a figure must be: ODCS's eight operators.

use flywheel_base::{Error, Result};
use serde_json::Value as Json;

use crate::resource::quality::QualityCheck;

/// What a figure must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// This; true is 1 and false is 0.
    Be(f64),
    /// Not this.
    NotBe(f64),
    /// Above this.
    Greater(f64),
    /// This or above.
    GreaterOrEqual(f64),
    /// Below this.
    Less(f64),
    /// This or below.
    LessOrEqual(f64),
    /// Between these, both included.
    Between(f64, f64),
    /// Below the first or above the second.
    NotBetween(f64, f64),
}

/// An operator with one number: its key, the number of a check, and the rule it makes.
type Plain = (&'static str, Option<f64>, fn(f64) -> Rule);
/// An operator with two.
type Pair = (&'static str, Option<[f64; 2]>, fn(f64, f64) -> Rule);

impl Rule {
    /// The rule of a check; none if it has no operator.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if it has several, or one that says nothing.
    pub fn of(check: &QualityCheck) -> Result<Option<Self>> {
        let number = |key: &str, value: &Json| {
            match value {
            Json::Bool(value) => Ok(f64::from(u8::from(*value))),
            value => value.as_f64().ok_or_else(|| {
                Error::invalid(format!("`{key}: {value}` is no number")).hint(
                    "Figures are numbers or booleans; let the query compare texts itself and return a boolean.",
                )
            }),
        }
        };
        let mut rules = Vec::new();
        if let Some(value) = &check.must_be {
            rules.push(("mustBe", Self::Be(number("mustBe", value)?)));
        }
        if let Some(value) = &check.must_not_be {
            rules.push(("mustNotBe", Self::NotBe(number("mustNotBe", value)?)));
        }
        let plain: [Plain; 4] = [
            ("mustBeGreaterThan", check.must_be_greater_than, Self::Greater),
            ("mustBeGreaterOrEqualTo", check.must_be_greater_or_equal_to, Self::GreaterOrEqual),
            ("mustBeLessThan", check.must_be_less_than, Self::Less),
            ("mustBeLessOrEqualTo", check.must_be_less_or_equal_to, Self::LessOrEqual),
        ];
        for (key, value, make) in plain {
            rules.extend(value.map(|value| (key, make(value))));
        }
        let pairs: [Pair; 2] = [
            ("mustBeBetween", check.must_be_between, Self::Between),
            ("mustNotBeBetween", check.must_not_be_between, Self::NotBetween),
        ];
        for (key, pair, make) in pairs {
            let Some([low, high]) = pair else { continue };
            if low > high {
                return Err(Error::invalid(format!("`{key}: [{low}, {high}]` is never true"))
                    .hint("Put the smaller number first."));
            }
            rules.push((key, make(low, high)));
        }
        match rules.as_slice() {
            [] => Ok(None),
            [(_, rule)] => Ok(Some(*rule)),
            [(first, _), (second, _), ..] => {
                Err(Error::invalid(format!("a check has both `{first}` and `{second}`"))
                    .hint("Write two checks, or `mustBeBetween`."))
            }
        }
    }

    /// Whether a figure is as promised.
    #[must_use]
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::Be(other) => value == other,
            Self::NotBe(other) => value != other,
            Self::Greater(other) => value > other,
            Self::GreaterOrEqual(other) => value >= other,
            Self::Less(other) => value < other,
            Self::LessOrEqual(other) => value <= other,
            Self::Between(low, high) => (low..=high).contains(&value),
            Self::NotBetween(low, high) => value < low || value > high,
        }
    }

    /// SQL that is true if the figure `value` is missing or not as promised.
    pub(super) fn broken(self, value: &str) -> String {
        let holds = match self {
            Self::Be(other) => format!("{value} = {other}"),
            Self::NotBe(other) => format!("{value} <> {other}"),
            Self::Greater(other) => format!("{value} > {other}"),
            Self::GreaterOrEqual(other) => format!("{value} >= {other}"),
            Self::Less(other) => format!("{value} < {other}"),
            Self::LessOrEqual(other) => format!("{value} <= {other}"),
            Self::Between(low, high) => format!("{value} BETWEEN {low} AND {high}"),
            Self::NotBetween(low, high) => format!("({value} < {low} OR {value} > {high})"),
        };
        format!("{value} IS NULL OR NOT ({holds})")
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Be(other) => write!(f, "= {other}"),
            Self::NotBe(other) => write!(f, "≠ {other}"),
            Self::Greater(other) => write!(f, "> {other}"),
            Self::GreaterOrEqual(other) => write!(f, "≥ {other}"),
            Self::Less(other) => write!(f, "< {other}"),
            Self::LessOrEqual(other) => write!(f, "≤ {other}"),
            Self::Between(low, high) => write!(f, "{low} to {high}"),
            Self::NotBetween(low, high) => write!(f, "outside {low} to {high}"),
        }
    }
}
