//! Unit tests: a model's query on rows that are given, and the rows it has to give.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result, statement};
use serde_json::Value as Json;

use super::Seed;
use crate::template::Reference;
use crate::yaml::{Node, Value};

/// A test of a model's query on given rows. The model is neither built nor read.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitTest {
    /// The name, unique among the model's unit tests.
    pub name: String,
    /// The tested model.
    pub model: String,
    /// The rows of everything the model reads.
    pub given: Vec<Given>,
    /// The rows it has to give, in any order; only these columns are compared.
    pub expect: UnitRows,
    /// Variables that win over the project's.
    pub vars: BTreeMap<String, Json>,
    /// What macros give instead of being called, by `name` or `package.name`.
    pub macros: BTreeMap<String, Json>,
    /// Environment variables that win over the process's.
    pub env_vars: BTreeMap<String, String>,
    /// Tags for selection with `tag:`.
    pub tags: Vec<String>,
    /// The property file, relative to the project folder.
    pub file: String,
    /// The line of the test in that file.
    pub line: usize,
}

/// Rows that stand for a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// The table; none for `this`, what an incremental model has built before.
    pub input: Option<Reference>,
    /// Its rows.
    pub rows: UnitRows,
}

/// Rows of a unit test.
#[derive(Clone, Debug, PartialEq)]
pub enum UnitRows {
    /// Values by column; a column that a row does not name is missing there.
    Values {
        /// The columns, in the order in which they are first named.
        columns: Vec<String>,
        /// The rows, a value per column.
        rows: Vec<Vec<Json>>,
    },
    /// A query that gives them.
    Sql(String),
}

impl UnitTest {
    /// Whether the test says that the model adds to a table.
    #[must_use]
    pub fn incremental(&self) -> bool {
        self.macros.get("is_incremental").is_some_and(|value| *value == Json::Bool(true))
    }

    /// The rows given for a table.
    #[must_use]
    pub fn given_for(&self, input: Option<&Reference>) -> Option<&UnitRows> {
        let mut given = self.given.iter().filter(|given| given.input.as_ref() == input);
        given.next().map(|given| &given.rows)
    }
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Dict,
    Csv,
    Sql,
}

/// Reads `format`, `rows` and `fixture` of an input or of `expect`; `fixture` finds a file's text by its
/// name and extension.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if they are not rows of that format.
pub(crate) fn unit_rows(
    node: &Node,
    fixture: &dyn Fn(&str, &str) -> Result<String>,
) -> Result<UnitRows> {
    let format = match node.get("format").and_then(Node::text) {
        None | Some("dict") => Format::Dict,
        Some("csv") => Format::Csv,
        Some("sql") => Format::Sql,
        Some(other) => {
            return Err(Error::invalid(format!("rows cannot have the format \"{other}\""))
                .hint("Write dict, csv or sql."));
        }
    };
    let file = node.get("fixture").and_then(Node::text);
    let rows = node.get("rows");
    let text = match (file, rows.map(|rows| &rows.value)) {
        (Some(_), _) if format == Format::Dict => {
            return Err(Error::invalid("a fixture is a file of format csv or sql")
                .hint("Add `format: csv`, or write the rows under `rows:`."));
        }
        (Some(file), _) => Some(fixture(file, if format == Format::Csv { "csv" } else { "sql" })?),
        (None, Some(Value::Text(text))) => Some(text.clone()),
        (None, _) => None,
    };
    match (format, text) {
        (Format::Sql, Some(sql)) => Ok(UnitRows::Sql(statement::bare(&sql).to_owned())),
        (Format::Csv, Some(text)) => csv(&text),
        (Format::Dict, None) => dicts(rows.map(Node::items).unwrap_or_default()),
        (Format::Dict, Some(_)) => {
            Err(Error::invalid("rows of format dict are a list of mappings")
                .hint("Write `- {id: 1, name: a}`, or add `format: csv` or `format: sql`."))
        }
        (_, None) => Err(Error::invalid("rows of format csv and sql are a text")
            .hint("Write it after `rows: |`, or name a file with `fixture:`.")),
    }
}

fn csv(text: &str) -> Result<UnitRows> {
    let (columns, lines) = Seed::parse_text(text, ',')?;
    let value = |value: Option<String>| value.map_or(Json::Null, Json::String);
    let rows = lines.into_iter().map(|line| line.into_iter().map(value).collect());
    Ok(UnitRows::Values { columns, rows: rows.collect() })
}

fn dicts(items: &[Node]) -> Result<UnitRows> {
    let mut columns: Vec<String> = Vec::new();
    for item in items {
        let Value::Map(entries) = &item.value else {
            return Err(Error::invalid("a row is not a mapping of columns to values")
                .hint("Write `- {id: 1, name: a}`."));
        };
        for (key, _) in entries {
            if !columns.contains(&key.name) {
                columns.push(key.name.clone());
            }
        }
    }
    let row = |item: &Node| {
        let value = |name: &String| item.get(name).map_or(Json::Null, Node::to_json);
        columns.iter().map(value).collect()
    };
    let rows = items.iter().map(row).collect();
    Ok(UnitRows::Values { columns, rows })
}

/// The parts of a unit test that need no look at the project.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if its rows or overrides are not what they should be.
pub(crate) fn unit_test(
    node: &Node,
    (file, name, model): (&str, &str, &str),
    fixture: &dyn Fn(&str, &str) -> Result<String>,
) -> Result<UnitTest> {
    let Some(expect) = node.get("expect") else {
        return Err(Error::invalid("it expects nothing")
            .hint("Write `expect: {rows: [...]}` with the rows that the model has to give."));
    };
    let overrides = |key: &str| -> BTreeMap<String, Json> {
        let found = node.get("overrides").and_then(|overrides| overrides.get(key));
        match found.map(Node::to_json) {
            Some(Json::Object(map)) => map.into_iter().collect(),
            _ => BTreeMap::new(),
        }
    };
    let text = |value: Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let tags =
        node.get("config").and_then(|config| config.get("tags")).or_else(|| node.get("tags"));
    let tags = match tags.map(|tags| &tags.value) {
        Some(Value::Text(tag)) => vec![tag.clone()],
        Some(Value::List(tags)) => {
            tags.iter().filter_map(|tag| tag.text().map(str::to_owned)).collect()
        }
        _ => Vec::new(),
    };
    Ok(UnitTest {
        name: name.to_owned(),
        model: model.to_owned(),
        given: Vec::new(),
        expect: unit_rows(expect, fixture)?,
        vars: overrides("vars"),
        macros: overrides("macros"),
        env_vars: overrides("env_vars").into_iter().map(|(k, v)| (k, text(v))).collect(),
        tags,
        file: file.to_owned(),
        line: node.span.line,
    })
}
