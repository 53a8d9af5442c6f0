//! Airbyte messages.

use std::borrow::Cow;

use flywheel_base::{Error, ErrorKind};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::AirbyteStream;
use crate::column::Misfit;
use crate::feed::Message;
use crate::process::Mask;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    record: Option<Record<'a>>,
    #[serde(default, borrow)]
    state: Option<&'a RawValue>,
    #[serde(default)]
    trace: Option<Trace>,
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(default, borrow)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct Trace {
    #[serde(default)]
    error: Option<TraceError>,
    #[serde(default)]
    stream_status: Option<Value>,
}

#[derive(Deserialize)]
struct TraceError {
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    internal_message: Option<String>,
    #[serde(default)]
    failure_type: Option<String>,
}

#[derive(Deserialize)]
struct State<'a> {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default, borrow)]
    data: Option<&'a RawValue>,
}

/// What a question was answered with.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) streams: Option<Vec<Value>>,
    pub(super) connected: Option<bool>,
    pub(super) reason: String,
    pub(super) error: Option<Error>,
}

/// What a program says of its own failure, if the line says that.
pub(crate) fn failed(message: &Value, mask: &Mask) -> Option<Error> {
    let trace = message.get("trace")?.clone();
    let trace: Trace = serde_json::from_value(trace).ok()?;
    trace.error.map(|error| failure(error, mask))
}

/// Takes what a line answers to a question.
pub(super) fn answers(line: &str, mask: &Mask, answer: &mut Answer) {
    let Ok(message) = serde_json::from_str::<Value>(line) else { return };
    let text = |value: &Value, key: &str| {
        value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    match text(&message, "type").as_str() {
        "CATALOG" => {
            let streams = message.pointer("/catalog/streams").and_then(Value::as_array);
            answer.streams = streams.cloned();
        }
        "CONNECTION_STATUS" => {
            let status = message.get("connectionStatus").unwrap_or(&Value::Null);
            answer.connected = Some(text(status, "status") == "SUCCEEDED");
            answer.reason = mask.apply(&text(status, "message"));
        }
        "TRACE" => {
            if let Some(error) = failed(&message, mask) {
                answer.error.get_or_insert(error);
            }
        }
        _ => {}
    }
}

/// What a line says about the stream.
pub(super) fn parse<'a>(line: &'a str, stream: &AirbyteStream, mask: &Mask) -> Message<'a> {
    let envelope: Envelope<'a> = match serde_json::from_str(line) {
        Ok(envelope) => envelope,
        // An error about data may repeat a value.
        Err(error) if error.is_data() => {
            return Message::Garbage(Misfit::new("no-message", "JSON, but no Airbyte message"));
        }
        Err(error) => {
            return Message::Garbage(Misfit::new("invalid-json", format!("not JSON: {error}")));
        }
    };
    match (&*envelope.kind, envelope.record, envelope.state, envelope.trace) {
        ("RECORD", Some(record), _, _) => {
            let other = stream.namespace.is_some()
                && stream.namespace.as_deref() != record.namespace.as_deref();
            if record.stream == stream.stream && !other {
                return Message::Record(record.data.get());
            }
            let told =
                format!("records of the stream \"{}\" came, too, and were left out", record.stream);
            Message::Notice("other-stream", told)
        }
        ("STATE", _, Some(state), _) => Message::State(state.get()),
        ("RECORD" | "STATE", ..) => {
            Message::Garbage(Misfit::new("no-message", "a message without what its type promises"))
        }
        ("TRACE", _, _, Some(Trace { error: Some(error), .. })) => {
            Message::Failed(failure(error, mask))
        }
        ("TRACE", _, _, Some(Trace { stream_status: Some(status), .. })) => incomplete(&status),
        ("CONTROL", ..) => Message::Notice(
            "new-configuration",
            "the program wants its configuration changed, which is not done; fresh tokens are lost"
                .to_owned(),
        ),
        _ => Message::Nothing,
    }
}

/// A stream that the program gave up, although it goes on with others.
fn incomplete(status: &Value) -> Message<'static> {
    if status.get("status").and_then(Value::as_str) == Some("INCOMPLETE") {
        return Message::Failed(Error::unavailable("the program gave the stream up"));
    }
    Message::Nothing
}

fn failure(error: TraceError, mask: &Mask) -> Error {
    let kind = match error.failure_type.as_deref() {
        Some("config_error") => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    };
    let message = error.message.filter(|message| !message.is_empty());
    let inner = error.internal_message.filter(|inner| Some(inner) != message.as_ref());
    let first = message.as_deref().or(inner.as_deref()).unwrap_or("it does not say why");
    let made = Error::new(kind, format!("the program failed: {}", mask.apply(first)));
    match inner.filter(|_| message.is_some()) {
        Some(inner) => made.caused_by(mask.apply(&inner)),
        None => made,
    }
}

/// The data of a state in the first form of the protocol.
pub(super) fn legacy(state: &str) -> Option<String> {
    let parsed: State<'_> = serde_json::from_str(state).ok()?;
    match parsed.kind.as_deref() {
        None | Some("LEGACY") => parsed.data.map(|data| data.get().to_owned()),
        Some(_) => None,
    }
}
