//! A message as a JSON object: its value's members, and what the queue knows of it.

use std::fmt::Write as _;

use flywheel_base::Timestamp as Moment;

use super::Message;
use super::stream::{Format, KeyFormat, Metadata, Tombstones, TopicStream};
use crate::column::{ColumnType, DeclaredColumn, Misfit};
use crate::output::base64_text;
use crate::page::{DELETED_COLUMN, RAW_BYTES_MAX};

/// The column of values that are not objects.
const VALUE_COLUMN: &str = "value";

/// What a schema registry's clients put before a value.
const REGISTRY_MAGIC: u8 = 0;

/// Bytes that a schema registry's clients put before a value.
const REGISTRY_BYTES: usize = 5;

/// What became of a message.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// Bytes of it.
    pub(super) size: usize,
    pub(super) outcome: Outcome,
}

/// What a message is.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A JSON object, and the value it was made of if that is another text.
    Record { record: String, read: Option<String> },
    /// Set aside: the column, the reason, and the value as far as it can be shown.
    Rejected { column: Option<String>, misfit: Misfit, read: String },
    /// Left out.
    Skipped,
}

/// Makes records of messages.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    format: Format,
    key_format: KeyFormat,
    key_column: String,
    tombstones: Tombstones,
    metadata: Vec<Metadata>,
}

impl Recorder {
    pub(super) fn new(stream: &TopicStream) -> Self {
        let all = [Metadata::Partition, Metadata::Offset, Metadata::Timestamp, Metadata::Key];
        let mut metadata = stream.metadata.clone().unwrap_or_else(|| all.to_vec());
        if stream.key_column.is_some() && !metadata.contains(&Metadata::Key) {
            metadata.push(Metadata::Key);
        }
        let mut seen = Vec::new();
        metadata.retain(|one| {
            let new = !seen.contains(one);
            seen.push(*one);
            new
        });
        Self {
            format: stream.format,
            key_format: stream.key_format,
            key_column: stream.key_column.clone().unwrap_or_else(|| "_key".to_owned()),
            tombstones: stream.tombstones,
            metadata,
        }
    }

    fn name(&self, metadata: Metadata) -> &str {
        match metadata {
            Metadata::Topic => "_topic",
            Metadata::Partition => "_partition",
            Metadata::Offset => "_offset",
            Metadata::Timestamp => "_timestamp",
            Metadata::Key => &self.key_column,
            Metadata::Headers => "_headers",
        }
    }

    /// The columns whose type is known before any message.
    pub(super) fn columns(&self, declared: &[DeclaredColumn]) -> Vec<DeclaredColumn> {
        let mut columns = declared.to_vec();
        let mut add = |name: &str, kind: ColumnType| {
            if columns.iter().all(|column| column.name != name) {
                columns.push(DeclaredColumn::new(name, kind));
            }
        };
        match self.format {
            Format::Json => {}
            Format::Text => add(VALUE_COLUMN, ColumnType::Text),
            Format::Bytes => add(VALUE_COLUMN, ColumnType::Binary),
        }
        for metadata in &self.metadata {
            let kind = match metadata {
                Metadata::Partition => ColumnType::Int32,
                Metadata::Offset => ColumnType::Int64,
                Metadata::Timestamp => ColumnType::Timestamp,
                Metadata::Headers => ColumnType::Json,
                Metadata::Key if self.key_format == KeyFormat::Bytes => ColumnType::Binary,
                Metadata::Topic | Metadata::Key => ColumnType::Text,
            };
            add(self.name(*metadata), kind);
        }
        if self.tombstones == Tombstones::Mark {
            add(DELETED_COLUMN, ColumnType::Bool);
        }
        columns
    }

    /// Whether bytes come as base64.
    pub(super) fn base64(&self) -> bool {
        self.format == Format::Bytes || self.key_format == KeyFormat::Bytes
    }

    /// Makes a record of a message.
    pub(super) fn take(&self, message: &Message<'_>) -> Taken {
        let size = message.value.map_or(0, <[u8]>::len) + message.key.map_or(0, <[u8]>::len);
        let outcome = self.record(message).unwrap_or_else(|(column, misfit)| {
            let shown = message.value.unwrap_or_default();
            let shown = shown.get(..RAW_BYTES_MAX + 8).unwrap_or(shown);
            let read = String::from_utf8_lossy(shown).into_owned();
            Outcome::Rejected { column, misfit, read }
        });
        Taken { partition: message.partition, offset: message.offset, size, outcome }
    }

    fn record(&self, message: &Message<'_>) -> Result<Outcome, (Option<String>, Misfit)> {
        let meta = self.members(message)?;
        let Some(payload) = message.value else {
            return match self.tombstones {
                Tombstones::Skip => Ok(Outcome::Skipped),
                Tombstones::Mark => {
                    let record = format!("{{{meta}\"{DELETED_COLUMN}\":true}}");
                    Ok(Outcome::Record { record, read: Some(String::new()) })
                }
                Tombstones::Reject => {
                    let reason = "a message without value (a tombstone); set the stream's `tombstones` to skip or mark them";
                    Err((None, Misfit::new("tombstone", reason)))
                }
            };
        };
        let mark = if self.tombstones == Tombstones::Mark { "false" } else { "" };
        // Every member ends in a comma; the last one goes.
        let mut tail = meta;
        if !mark.is_empty() {
            tail.push_str(&format!("\"{DELETED_COLUMN}\":{mark},"));
        }
        tail.pop();
        let value = match self.format {
            Format::Bytes => quoted(&base64_text(payload)),
            Format::Text => {
                quoted(text(payload).map_err(|misfit| (Some(VALUE_COLUMN.to_owned()), misfit))?)
            }
            Format::Json => {
                let text = text(payload).map_err(|misfit| (None, misfit))?;
                let (record, read) = joined(text, &tail);
                return Ok(Outcome::Record { record, read });
            }
        };
        let comma = if tail.is_empty() { "" } else { "," };
        let record = format!("{{\"{VALUE_COLUMN}\":{value}{comma}{tail}}}");
        let shown = String::from_utf8_lossy(payload).into_owned();
        Ok(Outcome::Record { record, read: Some(shown) })
    }

    /// What the queue knows of the message, as members of an object, each with a comma behind it.
    fn members(&self, message: &Message<'_>) -> Result<String, (Option<String>, Misfit)> {
        let mut out = String::new();
        for metadata in &self.metadata {
            let name = self.name(*metadata);
            let value = match metadata {
                Metadata::Topic => quoted(message.topic),
                Metadata::Partition => message.partition.to_string(),
                Metadata::Offset => message.offset.to_string(),
                Metadata::Timestamp => {
                    let micros = message.millis.and_then(|millis| millis.checked_mul(1_000));
                    micros.map_or_else(
                        || "null".to_owned(),
                        |micros| quoted(&Moment::from_micros(micros).to_string()),
                    )
                }
                Metadata::Key => match (message.key, self.key_format) {
                    (None, _) => "null".to_owned(),
                    (Some(key), KeyFormat::Bytes) => quoted(&base64_text(key)),
                    (Some(key), KeyFormat::Text) => {
                        let text = std::str::from_utf8(key).map_err(|_| {
                            let reason =
                                "the key is not UTF-8; set the stream's `key_format: bytes`";
                            (Some(name.to_owned()), Misfit::new("invalid-utf8", reason))
                        })?;
                        quoted(text)
                    }
                },
                Metadata::Headers => headers(message),
            };
            // Writing to a text cannot fail.
            write!(out, "{}:{value},", quoted(name)).unwrap_or_default();
        }
        Ok(out)
    }
}

/// A value in UTF-8.
fn text(payload: &[u8]) -> Result<&str, Misfit> {
    if payload.first() == Some(&REGISTRY_MAGIC) && payload.len() > REGISTRY_BYTES {
        let reason = "the value begins like one of a schema registry, which this source does not read; set `format: bytes` to keep it";
        return Err(Misfit::new("schema-registry", reason));
    }
    std::str::from_utf8(payload).map_err(|error| {
        let at = error.valid_up_to();
        Misfit::new("invalid-utf8", format!("invalid UTF-8 at byte {at} of the value"))
    })
}

/// Puts members at the end of an object; what is no object stays as it is and is refused later.
fn joined(text: &str, tail: &str) -> (String, Option<String>) {
    let trimmed = text.trim_ascii();
    let inner = trimmed.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    match inner {
        Some(inner) if !tail.is_empty() => {
            let comma = if inner.trim_ascii().is_empty() { "" } else { "," };
            (format!("{{{inner}{comma}{tail}}}"), Some(text.to_owned()))
        }
        _ => (text.to_owned(), None),
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The headers as a JSON list, in their order; the same name can be there twice.
fn headers(message: &Message<'_>) -> String {
    let members: Vec<String> = message
        .headers
        .iter()
        .map(|header| {
            let name = quoted(header.name);
            match header.value.map(|value| (value, std::str::from_utf8(value))) {
                None => format!("{{\"name\":{name},\"value\":null}}"),
                Some((_, Ok(text))) => format!("{{\"name\":{name},\"value\":{}}}", quoted(text)),
                Some((bytes, Err(_))) => {
                    format!("{{\"name\":{name},\"base64\":\"{}\"}}", base64_text(bytes))
                }
            }
        })
        .collect();
    format!("[{}]", members.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_joined_only_to_whole_objects() {
        for (value, expected) in [
            ("{\"a\":1}", "{\"a\":1,\"_o\":2}"),
            (" {} \n", "{\"_o\":2}"),
            ("{ }", "{ \"_o\":2}"),
            ("[1]", "[1]"),
            ("{\"a\":1", "{\"a\":1"),
            ("", ""),
            ("{", "{"),
        ] {
            assert_eq!(joined(value, "\"_o\":2").0, expected, "{value}");
        }
    }

    #[test]
    fn no_broken_object_becomes_whole_by_what_is_joined_to_it() {
        for broken in [
            "{\"a\":\"}",
            "{\"a\":{\"b\":1}",
            "{\"a\":1,}",
            "{\"a\":1}}",
            "{\"a\":}",
            "{,}",
            "{\"a\":\"\\}",
        ] {
            let record = joined(broken, "\"_partition\":0").0;
            assert!(serde_json::from_str::<serde_json::Value>(&record).is_err(), "{record}");
        }
    }
}
