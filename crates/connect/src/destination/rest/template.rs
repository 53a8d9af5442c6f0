//! Bodies and paths with places for a row's values.

use std::collections::BTreeSet;

use flywheel_base::{Error, Result, suggest};
use serde_json::{Map, Value, json};

use crate::column::Misfit;

/// Stands for the whole row.
const ROW: &str = "$row";

/// Stands for the row's place in its request, from 0.
const INDEX: &str = "$index";

/// A JSON value with places: `{column}`, `{$row}`, `{$index}`. A text that is one place becomes the
/// value itself, a place within a text its text.
#[derive(Clone, Debug)]
pub(crate) enum Template {
    Fixed(Value),
    Column(String),
    /// The whole row.
    Row,
    /// The whole row and more members; what stands for "no value", if that is not null; and the column
    /// that is left out.
    RowWith {
        more: Map<String, Value>,
        blank: Option<Value>,
        without: Option<String>,
    },
    Index,
    Text(Vec<Part>),
    Object(Vec<(String, Template)>),
    List(Vec<Template>),
}

/// A part of a text.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    Text(String),
    Place(String),
}

/// The text of parts without a place, their doubled braces made single.
fn fixed_text(parts: &[Part]) -> Option<String> {
    let text = |part: &Part| match part {
        Part::Text(text) => Some(text.clone()),
        Part::Place(_) => None,
    };
    parts.iter().map(text).collect()
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a place is not closed.
    pub(crate) fn parse(value: &Value) -> Result<Self> {
        Ok(match value {
            Value::String(text) => {
                let parts = parts(text)?;
                match parts.as_slice() {
                    [Part::Place(name)] if name == ROW => Self::Row,
                    [Part::Place(name)] if name == INDEX => Self::Index,
                    [Part::Place(name)] => Self::Column(name.clone()),
                    _ => match fixed_text(&parts) {
                        Some(text) => Self::Fixed(Value::String(text)),
                        None => Self::Text(parts),
                    },
                }
            }
            Value::Object(members) => Self::Object(
                members
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), Self::parse(value)?)))
                    .collect::<Result<_>>()?,
            ),
            Value::Array(items) => {
                Self::List(items.iter().map(Self::parse).collect::<Result<_>>()?)
            }
            fixed => Self::Fixed(fixed.clone()),
        })
    }

    /// The columns it names.
    pub(crate) fn columns(&self, names: &mut BTreeSet<String>) {
        match self {
            Self::Fixed(_) | Self::Row | Self::RowWith { .. } | Self::Index => {}
            Self::Column(name) => {
                names.insert(name.clone());
            }
            Self::Text(parts) => names.extend(places(parts)),
            Self::Object(members) => members.iter().for_each(|(_, member)| member.columns(names)),
            Self::List(items) => items.iter().for_each(|item| item.columns(names)),
        }
    }

    /// The value for a row. A member whose column the row lacks is left out.
    pub(crate) fn fill(&self, row: &Map<String, Value>, index: usize) -> Value {
        match self {
            Self::Fixed(value) => value.clone(),
            Self::Row => Value::Object(row.clone()),
            Self::RowWith { more, blank, without } => {
                let mut object = more.clone();
                for (name, value) in row.iter().filter(|(name, _)| Some(*name) != without.as_ref())
                {
                    let value = blank.as_ref().filter(|_| value.is_null()).unwrap_or(value);
                    object.insert(name.clone(), value.clone());
                }
                Value::Object(object)
            }
            Self::Index => json!(index.to_string()),
            Self::Column(name) => row.get(name).cloned().unwrap_or(Value::Null),
            Self::Text(parts) => {
                let text = |part: &Part| match part {
                    Part::Text(text) => text.clone(),
                    Part::Place(name) if name == INDEX => index.to_string(),
                    Part::Place(name) => row.get(name).map(plain).unwrap_or_default(),
                };
                Value::String(parts.iter().map(text).collect())
            }
            Self::Object(members) => {
                let there = |member: &&(String, Self)| !matches!(&member.1, Self::Column(name) if !row.contains_key(name));
                let members = members.iter().filter(there);
                Value::Object(members.map(|(name, m)| (name.clone(), m.fill(row, index))).collect())
            }
            Self::List(items) => items.iter().map(|item| item.fill(row, index)).collect(),
        }
    }
}

/// A path with places.
#[derive(Clone, Debug)]
pub(crate) struct PathTemplate(Vec<Part>);

impl PathTemplate {
    /// Reads a path.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a place is not closed.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        parts(text).map(Self)
    }

    /// The columns it names.
    pub(crate) fn columns(&self) -> Vec<String> {
        places(&self.0).collect()
    }

    /// The path for a row; values are encoded, so that none can lead to another path.
    pub(crate) fn fill(&self, row: &Map<String, Value>) -> Result<String, (String, Misfit)> {
        let mut path = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => path.push_str(text),
                Part::Place(name) => {
                    let value = row.get(name).map(plain).unwrap_or_default();
                    if value.is_empty() || value == "." || value == ".." {
                        let reason = "no value that can stand in a path";
                        return Err((name.clone(), Misfit::new("key-missing", reason)));
                    }
                    path.push_str(&encoded(&value));
                }
            }
        }
        Ok(path)
    }
}

fn places(parts: &[Part]) -> impl Iterator<Item = String> + '_ {
    parts.iter().filter_map(|part| match part {
        Part::Place(name) if name != ROW && name != INDEX => Some(name.clone()),
        _ => None,
    })
}

/// A text that is the value of one column.
pub(crate) fn one_place(column: &str) -> Vec<Part> {
    vec![Part::Place(column.to_owned())]
}

/// Splits a text at its places; `{{` and `}}` are braces.
fn parts(text: &str) -> Result<Vec<Part>> {
    let (mut parts, mut plain) = (Vec::new(), String::new());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if matches!(c, '{' | '}') && chars.peek() == Some(&c) {
            chars.next();
            plain.push(c);
        } else if c == '{' {
            let mut name = String::new();
            loop {
                match chars.next() {
                    Some('}') => break,
                    Some(c) => name.push(c),
                    None => {
                        return Err(Error::invalid(format!("the place {{{name} is not closed"))
                            .hint("Write {column}; a brace of its own is written twice, {{."));
                    }
                }
            }
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Place(name));
        } else {
            plain.push(c);
        }
    }
    if !plain.is_empty() || parts.is_empty() {
        parts.push(Part::Text(plain));
    }
    Ok(parts)
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Proves that the columns a target names are there.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] that names the column.
pub(crate) fn check_columns(
    named: impl IntoIterator<Item = String>,
    schema: &arrow::datatypes::Schema,
) -> Result<()> {
    for name in named {
        if schema.field_with_name(&name).is_err() {
            let known = schema.fields().iter().map(|field| field.name().as_str());
            return Err(Error::not_found(format!(
                "the target names the column \"{name}\", which the rows do not have"
            ))
            .hint(suggest::hint(&name, known)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_take_values_and_paths_keep_them_in_place() {
        let row = json!({ "id": 7, "name": "A/b ü", "none": null, "o": { "x": [1] } });
        let row = row.as_object().unwrap();
        let template = json!({ "props": "{$row}", "key": "n-{id}", "o": "{o}", "i": "{$index}", "gone": "{gone}",
                               "none": "{none}", "list": ["{id}", "{{id}}"], "fixed": true });
        let filled = Template::parse(&template).unwrap().fill(row, 3);
        assert_eq!(
            filled,
            json!({ "props": row, "key": "n-7", "o": { "x": [1] }, "i": "3", "none": null,
                    "list": [7, "{id}"], "fixed": true })
        );
        let path = PathTemplate::parse("/a/{name}/{id}").unwrap();
        assert_eq!(path.fill(row).unwrap(), "/a/A%2Fb%20%C3%BC/7");
        for value in ["", ".", ".."] {
            let row = json!({ "name": value, "id": 1 });
            assert_eq!(path.fill(row.as_object().unwrap()).unwrap_err().0, "name");
        }
        assert!(Template::parse(&json!("{open")).unwrap_err().hint_text().is_some());
    }
}
