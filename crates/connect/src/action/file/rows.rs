//! The content of a file of deliveries: rows sorted by key, each key once.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::FileFormat;
use crate::action::Delivery;
use crate::source::csv::{CsvRows, quoted};

/// The name of the first CSV column.
const KEY: &str = "key";

/// The rows of a file.
pub(super) enum Rows {
    /// Payloads by key.
    Jsonl(BTreeMap<String, Value>),
    /// Cells by key and column.
    Csv {
        /// The cells by column name.
        rows: BTreeMap<String, BTreeMap<String, String>>,
        /// The columns of all rows.
        columns: BTreeSet<String>,
    },
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    payload: Value,
}

impl Rows {
    /// Reads what is in the file.
    pub(super) fn parse(bytes: &[u8], format: FileFormat) -> Result<Self> {
        match format {
            FileFormat::Jsonl => parse_jsonl(bytes),
            FileFormat::Csv => parse_csv(bytes),
            FileFormat::Xlsx => Err(Error::invalid("a workbook is written of dashboards only")
                .hint("Let `path` end in .jsonl or .csv.")),
        }
    }

    /// Adds a delivery; false if its key is there with another payload.
    pub(super) fn add(&mut self, delivery: &Delivery) -> bool {
        match self {
            Self::Jsonl(rows) => {
                let payload =
                    rows.entry(delivery.key.clone()).or_insert_with(|| delivery.payload.clone());
                *payload == delivery.payload
            }
            Self::Csv { rows, columns } => {
                let cells = cells(&delivery.payload);
                columns.extend(cells.keys().cloned());
                let known = rows.entry(delivery.key.clone()).or_insert_with(|| cells.clone());
                // A file has no difference between an empty cell and none.
                let full = |(_, text): &(&String, &String)| !text.is_empty();
                known.iter().filter(full).eq(cells.iter().filter(full))
            }
        }
    }

    /// The bytes of the file.
    pub(super) fn into_bytes(self) -> Result<Vec<u8>> {
        let mut text = String::new();
        match self {
            Self::Jsonl(rows) => {
                for (key, payload) in rows {
                    let line = serde_json::to_string(&Line { key, payload }).map_err(|error| {
                        Error::internal("a delivery cannot be written").caused_by(error)
                    })?;
                    text.push_str(&line);
                    text.push('\n');
                }
            }
            Self::Csv { rows, columns } => {
                line(&mut text, std::iter::once(KEY).chain(columns.iter().map(String::as_str)));
                for (key, cells) in &rows {
                    let cell = |column| cells.get(column).map_or("", String::as_str);
                    line(&mut text, std::iter::once(key.as_str()).chain(columns.iter().map(cell)));
                }
            }
        }
        Ok(text.into_bytes())
    }
}

fn line<'a>(text: &mut String, cells: impl Iterator<Item = &'a str>) {
    for (at, cell) in cells.enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(&quoted(cell));
    }
    text.push('\n');
}

/// The cells of a payload: one for each member of an object, else one called `payload`.
fn cells(payload: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let Value::Object(members) = payload else {
        return BTreeMap::from([("payload".to_owned(), text(payload))]);
    };
    // A member called `key` would stand in the column of the delivery's key.
    let name = |name: &str| if name == KEY { "payload_key".to_owned() } else { name.to_owned() };
    members.iter().map(|(member, value)| (name(member), text(value))).collect()
}

fn foreign() -> Error {
    Error::corrupt("it has content that is not of this action")
        .hint("Let the action write to a path of its own, or move the file away.")
}

fn parse_jsonl(bytes: &[u8]) -> Result<Rows> {
    let mut rows = BTreeMap::new();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Line =
            serde_json::from_slice(line).map_err(|error| foreign().caused_by(error))?;
        rows.insert(line.key, line.payload);
    }
    Ok(Rows::Jsonl(rows))
}

fn parse_csv(bytes: &[u8]) -> Result<Rows> {
    let mut lines = CsvRows::new(bytes);
    let header = lines.next().unwrap_or_default();
    if !bytes.is_empty() && header.first().map(String::as_str) != Some(KEY) {
        return Err(foreign());
    }
    let columns: Vec<String> = header.into_iter().skip(1).collect();
    let mut rows = BTreeMap::new();
    for line in lines {
        let mut cells = line.into_iter();
        let key = cells.next().unwrap_or_default();
        rows.insert(key, columns.iter().cloned().zip(cells).collect());
    }
    Ok(Rows::Csv { rows, columns: columns.into_iter().collect() })
}
