//! Singer messages.

use std::borrow::Cow;
use std::collections::BTreeSet;

use flywheel_base::Error;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::column::Misfit;
use crate::feed::{Message, fields};

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    stream: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    record: Option<&'a RawValue>,
    #[serde(default, borrow)]
    schema: Option<&'a RawValue>,
    #[serde(default, borrow)]
    value: Option<&'a RawValue>,
    #[serde(default)]
    version: Option<Value>,
}

/// What a line says about the stream of these names.
pub(super) fn parse<'a>(line: &'a str, names: &BTreeSet<String>) -> Message<'a> {
    let envelope: Envelope<'a> = match serde_json::from_str(line) {
        Ok(envelope) => envelope,
        // An error about data may repeat a value.
        Err(error) if error.is_data() => {
            return Message::Garbage(Misfit::new("no-message", "JSON, but no Singer message"));
        }
        Err(error) => {
            return Message::Garbage(Misfit::new("invalid-json", format!("not JSON: {error}")));
        }
    };
    let ours = envelope.stream.as_ref().is_some_and(|stream| names.contains(&**stream));
    match (&*envelope.kind, ours) {
        ("RECORD", true) => match envelope.record {
            Some(record) => Message::Record(record.get()),
            None => Message::Garbage(Misfit::new("no-message", "a RECORD without `record`")),
        },
        ("SCHEMA", true) => {
            let text = envelope.schema.map_or("{}", RawValue::get);
            Message::Fields(fields(&serde_json::from_str(text).unwrap_or(Value::Null)))
        }
        ("STATE", _) => match envelope.value {
            Some(value) => Message::State(value.get()),
            None => Message::Garbage(Misfit::new("no-message", "a STATE without `value`")),
        },
        ("RECORD", false) => {
            let other = envelope.stream.unwrap_or_default();
            let told = format!("records of the stream \"{other}\" came, too, and were left out");
            Message::Notice("other-stream", told)
        }
        ("ACTIVATE_VERSION", true) => {
            let version = envelope.version.unwrap_or(Value::Null);
            let told = format!(
                "version {version} of the stream is complete: rows of earlier versions are no longer there; `read: full` with `write: replace` removes them"
            );
            Message::Notice("new-version", told)
        }
        ("BATCH", _) => Message::Failed(
            Error::invalid("the program sends BATCH messages, which are files instead of records")
                .hint("Remove `batch_config` from the connection's `config`."),
        ),
        _ => Message::Nothing,
    }
}
