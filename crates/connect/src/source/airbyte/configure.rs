//! One stream of an Airbyte catalog: what it is, and how it is configured to be read.

use std::sync::Arc;

use flywheel_base::{Error, Result, suggest};
use serde_json::{Value, json};

use super::AirbyteStream;
use crate::feed::{TypedField, fields};
use crate::page::{Column, TableSchema};
use crate::source::StreamInfo;

/// How one stream is read.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// The configured catalog.
    pub(super) catalog: String,
    /// The fields it announces.
    pub(super) fields: Vec<TypedField>,
    /// The field that the read follows, if it is a plain one.
    pub(super) cursor: Option<String>,
}

/// Configures one stream.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if it is not there, [`flywheel_base::ErrorKind::Invalid`] if
/// it cannot be read that way.
pub(super) fn choose(
    catalog: &[Value],
    stream: &AirbyteStream,
    way: &str,
    cursor: Option<String>,
) -> Result<Choice> {
    let name = &stream.stream;
    let ours = |entry: &&Value| {
        let namespace = entry.get("namespace").and_then(Value::as_str);
        text(entry, "name") == name
            && (stream.namespace.is_none() || stream.namespace.as_deref() == namespace)
    };
    let Some(entry) = catalog.iter().find(ours) else {
        return Err(Error::not_found(format!("there is no stream \"{name}\""))
            .hint(suggest::hint(name, catalog.iter().map(|entry| text(entry, "name")))));
    };
    let modes = texts(entry.get("supported_sync_modes"));
    if !modes.is_empty() && !modes.iter().any(|mode| mode == way) {
        let hint =
            if way == "incremental" { "Use `read: full`." } else { "Use `read: incremental`." };
        let how = if way == "incremental" { "only be read whole" } else { "not be read whole" };
        return Err(Error::invalid(format!("the stream \"{name}\" can {how}")).hint(hint));
    }
    let path = match cursor {
        Some(cursor) if way == "incremental" => vec![cursor],
        _ => texts(entry.get("default_cursor_field")),
    };
    let own = entry.get("source_defined_cursor").and_then(Value::as_bool).unwrap_or(false);
    if way == "incremental" && path.is_empty() && !own {
        return Err(Error::invalid(format!("an incremental read of \"{name}\" needs a cursor"))
            .hint("Set `cursor` to a field that grows with every change, or use `read: full`."));
    }
    let configured = json!({ "streams": [{
        "stream": entry,
        "sync_mode": way,
        "destination_sync_mode": "append",
        "cursor_field": path,
        "primary_key": entry.get("source_defined_primary_key").cloned().unwrap_or_else(|| json!([])),
    }] });
    let cursor = match path.as_slice() {
        [field] if way == "incremental" => Some(field.clone()),
        _ => None,
    };
    let fields = fields(entry.get("json_schema").unwrap_or(&Value::Null));
    Ok(Choice { catalog: configured.to_string(), fields, cursor })
}

/// A stream as it is listed.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Internal`] if settings cannot be written.
pub(super) fn info(entry: &Value) -> Result<StreamInfo> {
    let typed = fields(entry.get("json_schema").unwrap_or(&Value::Null));
    let columns = typed.into_iter().map(|field| Column::inferred(field.name, field.kind)).collect();
    let columns = TableSchema::new(columns, false);
    let namespace = entry.get("namespace").and_then(Value::as_str);
    let stream = AirbyteStream {
        stream: text(entry, "name").to_owned(),
        namespace: namespace.map(str::to_owned),
        select: None,
    };
    let key = entry.get("source_defined_primary_key").and_then(Value::as_array);
    let key = key.into_iter().flatten().map(|path| texts(Some(path)).join("."));
    let incremental =
        texts(entry.get("supported_sync_modes")).iter().any(|mode| mode == "incremental");
    let cursor = texts(entry.get("default_cursor_field")).join(".");
    Ok(StreamInfo {
        name: stream.stream.clone(),
        stream: serde_json::to_value(stream)
            .map_err(|error| Error::internal("a stream cannot be written").caused_by(error))?,
        schema: Arc::clone(columns.arrow()),
        columns: columns.columns().iter().filter_map(Column::declarable).collect(),
        primary_key: key.collect(),
        cursors: Some(cursor)
            .filter(|cursor| incremental && !cursor.is_empty())
            .into_iter()
            .collect(),
        rows: None,
        bytes: None,
        unread: None,
    })
}

fn text<'a>(entry: &'a Value, key: &str) -> &'a str {
    entry.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}
