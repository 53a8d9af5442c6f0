//! The types of numbers that columns of a stream had: what tells, where no log does, that a source has
//! widened one of them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use arrow::datatypes::{DataType, Schema};

use super::least::{common, wider};

/// The types that columns of numbers had when rows of a stream were last stored, by name. Other columns
/// cannot be widened and are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownTypes {
    types: BTreeMap<String, DataType>,
}

impl KnownTypes {
    /// Reads the text of `to_string`; a type it does not know is left out, as if it had
    /// never been seen.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let texts: BTreeMap<String, String> = serde_json::from_str(text).unwrap_or_default();
        let known = texts.into_iter();
        let types = known.filter_map(|(name, of)| Some((name, DataType::from_str(&of).ok()?)));
        Self { types: types.collect() }
    }

    /// The columns of `schema` that hold more than they did, in their order.
    #[must_use]
    pub fn widened(&self, schema: &Schema) -> Vec<String> {
        let fields = schema.fields().iter().filter(|field| {
            let before = self.types.get(field.name());
            before.is_some_and(|before| wider(before, field.data_type()).is_some())
        });
        fields.map(|field| field.name().clone()).collect()
    }

    /// Takes over the types of `schema`. Those it lacks stay: a column that comes back was here before.
    pub fn learn(&mut self, schema: &Schema) {
        for field in schema.fields() {
            let of = field.data_type();
            match common(of, of) {
                Some(_) => self.types.insert(field.name().clone(), of.clone()),
                None => self.types.remove(field.name()),
            };
        }
    }
}

impl fmt::Display for KnownTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: serde_json::Map<String, serde_json::Value> =
            self.types.iter().map(|(name, of)| (name.clone(), of.to_string().into())).collect();
        write!(f, "{}", serde_json::Value::Object(texts))
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;

    use super::*;

    fn schema(columns: &[(&str, DataType)]) -> Schema {
        let fields = columns.iter().map(|(name, of)| Field::new(*name, of.clone(), true));
        Schema::new(fields.collect::<Vec<_>>())
    }

    #[test]
    fn a_column_is_widened_if_it_held_less_before() {
        let mut known = KnownTypes::default();
        let narrow = schema(&[
            ("i", DataType::Int32),
            ("n", DataType::Decimal128(9, 2)),
            ("f", DataType::Float32),
            ("big", DataType::Int64),
            ("t", DataType::Utf8),
        ]);
        assert!(known.widened(&narrow).is_empty(), "nothing is known of the first read");
        known.learn(&narrow);
        assert!(known.widened(&narrow).is_empty());
        let wide = schema(&[
            ("t", DataType::Int64),
            ("n", DataType::Decimal128(9, 4)),
            ("i", DataType::Int64),
            ("f", DataType::Float64),
            ("big", DataType::Int32),
            ("new", DataType::Int64),
        ]);
        assert_eq!(known.widened(&wide), ["n", "i", "f"]);
        assert_eq!(KnownTypes::parse(&known.to_string()), known, "it is kept as text");
        known.learn(&schema(&[("i", DataType::Utf8)]));
        assert_eq!(known.widened(&wide), ["n", "f"], "what is no number is no narrower one");
    }

    #[test]
    fn a_text_of_another_version_is_as_good_as_none() {
        for text in ["", "[]", r#"{"i": "Int256"}"#] {
            assert_eq!(KnownTypes::parse(text), KnownTypes::default(), "{text}");
        }
    }
}
