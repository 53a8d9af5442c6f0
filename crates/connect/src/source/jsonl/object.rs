//! One JSON object as its members, every value still in the letters it was written with.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::column::{ColumnBuilder, ColumnType, DeclaredColumn, Kind, Misfit, Parsing, Scalar};
use crate::page::Column;

/// The members of an object in their order.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// A member's name, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    members.push((name.0, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// The members of an object in their order, as they are written.
pub(crate) fn members(text: &str) -> serde_json::Result<Vec<(Cow<'_, str>, &RawValue)>> {
    serde_json::from_str::<Members<'_>>(text).map(|members| members.0)
}

/// A value at its path; the path of a member of a nested object has dots.
pub(crate) type Leaf<'a> = (Cow<'a, str>, &'a str);

/// Cuts a line into its values. Objects at a path in `nested` are opened, others stay whole.
pub(crate) fn leaves<'a>(
    line: &'a str,
    nested: &BTreeSet<String>,
) -> Result<Vec<Leaf<'a>>, Misfit> {
    let mut leaves = Vec::new();
    open(line, None, nested, &mut leaves)?;
    reject_duplicates(&leaves)?;
    Ok(leaves)
}

fn open<'a>(
    text: &'a str,
    path: Option<&str>,
    nested: &BTreeSet<String>,
    leaves: &mut Vec<Leaf<'a>>,
) -> Result<(), Misfit> {
    let members: Members<'a> = serde_json::from_str(text).map_err(|error| {
        // An error about data repeats the value, which may be one that must not be seen.
        if error.is_data() {
            return Misfit::new("not-an-object", "JSON, but not an object");
        }
        Misfit::new("invalid-json", format!("not a JSON object: {error}"))
    })?;
    for (name, value) in members.0 {
        let path: Cow<'a, str> = match path {
            Some(path) => Cow::Owned(format!("{path}.{name}")),
            None => name,
        };
        if value.get().starts_with('{') && nested.contains(&*path) {
            open(value.get(), Some(&path), nested, leaves)?;
        } else {
            leaves.push((path, value.get()));
        }
    }
    Ok(())
}

/// Refuses an object that has a member twice: which of them is meant is not ours to guess.
fn reject_duplicates(leaves: &[Leaf<'_>]) -> Result<(), Misfit> {
    let mut names: Vec<&str> = leaves.iter().map(|(path, _)| &**path).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => {
            Err(Misfit::new("duplicate-key", format!("the key \"{}\" is there twice", pair[0])))
        }
        None => Ok(()),
    }
}

/// What a value looks like.
pub(crate) fn kind(value: &str, parsing: &Parsing) -> Kind {
    match value.as_bytes().first() {
        Some(b'"') => match text(value) {
            Ok(text) => match Kind::of_text(&text, parsing) {
                // Only times hide in texts: "00123" and "12" were written as texts on purpose.
                kind @ (Kind::Date | Kind::Local | Kind::Zoned) => kind,
                _ => Kind::Text,
            },
            Err(_) => Kind::Text,
        },
        Some(b't' | b'f') => Kind::Bool,
        Some(b'{' | b'[') => Kind::Json,
        Some(b'n') | None => Kind::Empty,
        Some(_) => Kind::of_json_number(value),
    }
}

/// The text a JSON string stands for.
pub(crate) fn text(value: &str) -> Result<Cow<'_, str>, Misfit> {
    serde_json::from_str::<Name<'_>>(value)
        .map(|name| name.0)
        .map_err(|error| Misfit::new("invalid-json", format!("not a JSON string: {error}")))
}

/// The value on its way into a column; `text` is the decoded text if it is a string.
pub(crate) fn scalar<'a>(value: &'a str, text: Option<&'a str>) -> Scalar<'a> {
    if let Some(text) = text {
        return Scalar::Text(text);
    }
    match value.as_bytes().first() {
        Some(b't') => Scalar::Bool(true),
        Some(b'f') => Scalar::Bool(false),
        Some(b'{' | b'[') => Scalar::Json(value),
        Some(b'n') | None => Scalar::Null,
        Some(_) => Scalar::Number(value),
    }
}

/// Puts one value into its column.
pub(crate) fn push(
    column: &Column,
    builder: &mut ColumnBuilder,
    value: &str,
    parsing: &Parsing,
) -> Result<(), Misfit> {
    let decoded = if value.starts_with('"') { Some(text(value)?) } else { None };
    let scalar = scalar(value, decoded.as_deref());
    if column.not_null && matches!(scalar, Scalar::Null) {
        return Err(Misfit::new("null-value", "no value in a column that is required"));
    }
    match (builder.kind(), scalar) {
        (ColumnType::Json, Scalar::Null) => {
            builder.push_null();
            Ok(())
        }
        (ColumnType::Json, _) => builder.push(Scalar::Json(value), parsing),
        // A declared type may read texts as numbers; an inferred one shows a conflict.
        (kind, Scalar::Text(_)) if !column.declared && is_number(kind) => {
            Err(Misfit::new("type-mismatch", format!("a text where the other rows have {kind}")))
        }
        (ColumnType::Text, Scalar::Json(_)) if !column.declared => {
            Err(Misfit::new("type-mismatch", "an object or a list where the other rows have text"))
        }
        (_, scalar) => builder.push(scalar, parsing),
    }
}

fn is_number(kind: ColumnType) -> bool {
    matches!(
        kind,
        ColumnType::Int64
            | ColumnType::Int32
            | ColumnType::Float64
            | ColumnType::Decimal { .. }
            | ColumnType::Bool
    )
}

/// The paths of the objects that declared columns lie in: `a` and `a.b` for `a.b.c`.
pub(crate) fn nested(declared: &[DeclaredColumn]) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for column in declared {
        for (at, _) in column.name.match_indices('.') {
            paths.extend(column.name.get(..at).map(str::to_owned));
        }
    }
    paths
}
