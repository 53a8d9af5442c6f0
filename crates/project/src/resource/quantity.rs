//! Values people write with a unit: `7d`, `20%`, `256MiB`.

use std::borrow::Cow;

use flywheel_base::quantity;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time, written as a whole number and a unit: `30s`, `15m`, `12h`, `7d`, `2w`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration {
    /// The length in microseconds.
    pub micros: i64,
}

impl Duration {
    /// A duration of whole days.
    #[must_use]
    pub const fn days(days: i64) -> Self {
        Self { micros: days * 86_400_000_000 }
    }

    /// The length in days, with fraction.
    #[must_use]
    pub fn in_days(self) -> f64 {
        self.micros as f64 / 86_400_000_000.0
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let micros = quantity::duration_us(&text).map_err(de::Error::custom)?;
        Ok(Self { micros })
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{}us", self.micros))
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A whole number and a unit: 30s, 15m, 12h, 7d, 2w.",
            "pattern": "^[0-9]+ ?(us|ms|s|m|min|h|d|w)$"
        })
    }
}

/// A share of a whole, written `0.2` or `20%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    /// The share as a number in `[0, 1]`; `None` outside.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        (0.0..=1.0).contains(&value).then_some(Self(value))
    }

    /// A share that is known to be one; it is held between 0 and 1.
    #[must_use]
    pub const fn of(value: f64) -> Self {
        Self(value.clamp(0.0, 1.0))
    }

    /// The share as a number in `[0, 1]`.
    #[must_use]
    pub const fn value(self) -> f64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(f64),
            Text(String),
        }
        let value = match Written::deserialize(deserializer)? {
            Written::Number(value) => Some(value),
            Written::Text(text) => text
                .trim()
                .strip_suffix('%')
                .and_then(|n| n.trim().parse().ok())
                .map(|n: f64| n / 100.0),
        };
        value
            .and_then(Self::new)
            .ok_or_else(|| de::Error::custom("a share lies between 0 and 1, or 0% and 100%"))
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

impl JsonSchema for Share {
    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A share of a whole: 0.2 or 20%.",
            "anyOf": [
                {
                    "type": "number", "minimum": 0, "maximum": 1,
                    "description": "A share of a whole: 0.2 or 20%."
                },
                {
                    "type": "string",
                    "pattern": "^(100(\\.0+)?|[0-9]{1,2}(\\.[0-9]+)?) ?%$",
                    "description": "A share of a whole: 0.2 or 20%."
                }
            ]
        })
    }
}

/// A number of bytes, written `512KiB`, `256MiB`, `2GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size {
    /// The number of bytes.
    pub bytes: u64,
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = quantity::size_bytes(&text).map_err(de::Error::custom)?;
        Ok(Self { bytes })
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{}B", self.bytes))
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A whole number and a unit: 512KiB, 256MiB, 2GiB.",
            "pattern": "^[0-9]+ ?(B|KB|kB|MB|GB|KiB|MiB|GiB)$"
        })
    }
}
