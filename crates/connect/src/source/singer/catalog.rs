//! The catalog of a tap: what can be read, and how one stream of it is selected.
//!
//! Taps look at different places for the same wish: at the stream's metadata, which is today's form,
//! or at members of the stream and of its schema, which was the first one. Both are written.

use std::collections::BTreeSet;
use std::sync::Arc;

use flywheel_base::{Error, Result, suggest};
use serde_json::{Map, Value, json};

use super::SingerStream;
use crate::feed::fields;
use crate::page::{Column, TableSchema};
use crate::source::StreamInfo;

/// The streams of a tap, as it wrote them.
#[derive(Clone, Debug)]
pub(super) struct Catalog(Vec<Map<String, Value>>);

/// How one stream is read.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// The catalog in which this stream alone is selected.
    pub(super) catalog: Option<String>,
    /// The names that its messages have.
    pub(super) names: BTreeSet<String>,
    /// The property that the read follows.
    pub(super) cursor: Option<String>,
    /// The properties to take, if not all.
    pub(super) select: Option<BTreeSet<String>>,
}

impl Choice {
    /// A stream of a tap without catalog.
    pub(super) fn without_catalog(stream: &SingerStream, cursor: Option<String>) -> Self {
        let select = stream.select.clone();
        let select = select.map(|names| names.into_iter().chain(cursor.clone()).collect());
        Self { catalog: None, names: BTreeSet::from([stream.stream.clone()]), cursor, select }
    }
}

impl Catalog {
    /// Reads what a tap answered.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if it is no catalog.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let wrong = || Error::invalid("the answer is no Singer catalog");
        // An error about it could repeat what is in it.
        let value: Value = serde_json::from_str(text).map_err(|_| wrong())?;
        let streams = value.get("streams").and_then(Value::as_array).ok_or_else(wrong)?;
        Ok(Self(streams.iter().filter_map(Value::as_object).cloned().collect()))
    }

    /// What can be read.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if settings cannot be written.
    pub(super) fn streams(&self) -> Result<Vec<StreamInfo>> {
        self.0.iter().map(info).collect()
    }

    /// Selects one stream.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if it is not there, [`flywheel_base::ErrorKind::Invalid`]
    /// if it cannot be read that way.
    pub(super) fn choose(
        mut self,
        stream: &SingerStream,
        way: &str,
        cursor: Option<&String>,
    ) -> Result<Choice> {
        let Some(place) = self.0.iter().position(|entry| id(entry) == stream.stream) else {
            return Err(Error::not_found(format!("there is no stream \"{}\"", stream.stream))
                .hint(suggest::hint(&stream.stream, self.0.iter().map(id))));
        };
        let mut choice = None;
        for (at, entry) in self.0.iter_mut().enumerate() {
            select_stream(entry, at == place);
            if at == place {
                let cursor = settle(entry, stream, way, cursor.cloned())?;
                let select = stream.select.as_ref().map(|names| {
                    let mut all: BTreeSet<String> = names.iter().cloned().collect();
                    all.extend(key(entry));
                    all.extend(cursor.clone());
                    all.extend(properties(entry).filter(|name| automatic(entry, name)));
                    all
                });
                select_properties(entry, select.as_ref());
                let names = [id(entry), text(entry, "stream")].map(str::to_owned);
                choice = Some((BTreeSet::from(names), cursor, select));
            }
        }
        let Some((names, cursor, select)) = choice else {
            return Err(Error::internal("a stream of a catalog was lost"));
        };
        let catalog = Some(json!({ "streams": self.0 }).to_string());
        Ok(Choice { catalog, names, cursor, select })
    }
}

fn info(entry: &Map<String, Value>) -> Result<StreamInfo> {
    let schema = entry.get("schema").unwrap_or(&Value::Null);
    let columns = fields(schema).into_iter().map(|field| Column::inferred(field.name, field.kind));
    let columns = TableSchema::new(columns.collect(), false);
    let stream = SingerStream { stream: id(entry).to_owned(), ..SingerStream::default() };
    Ok(StreamInfo {
        name: stream.stream.clone(),
        stream: serde_json::to_value(stream)
            .map_err(|error| Error::internal("a stream cannot be written").caused_by(error))?,
        schema: Arc::clone(columns.arrow()),
        columns: columns.columns().iter().filter_map(Column::declarable).collect(),
        primary_key: key(entry),
        cursors: cursors(entry),
        rows: root(entry, "row-count").and_then(Value::as_u64),
        bytes: None,
        unread: None,
    })
}

/// Decides how the stream is read, and by which property.
fn settle(
    entry: &mut Map<String, Value>,
    stream: &SingerStream,
    way: &str,
    cursor: Option<String>,
) -> Result<Option<String>> {
    let name = &stream.stream;
    let forced = root(entry, "forced-replication-method").and_then(Value::as_str);
    if forced == Some("FULL_TABLE") && way != "FULL_TABLE" {
        return Err(Error::invalid(format!("the stream \"{name}\" can only be read whole"))
            .hint("Use `read: full`."));
    }
    let cursor = match way {
        "INCREMENTAL" => cursor.or_else(|| cursors(entry).into_iter().next()),
        _ => None,
    };
    if way == "INCREMENTAL" && cursor.is_none() && forced.is_none() && stream.replication.is_none()
    {
        return Err(Error::invalid(format!(
            "the program does not say how the stream \"{name}\" grows"
        ))
        .hint("Set `cursor` to a property that grows with every change, `replication: incremental` if the program knows by itself, or `read: full`."));
    }
    if forced.is_none() {
        set_root(entry, "replication-method", json!(way));
        entry.insert("replication_method".into(), json!(way));
    }
    if let Some(cursor) = &cursor {
        set_root(entry, "replication-key", json!(cursor));
        entry.insert("replication_key".into(), json!(cursor));
    }
    Ok(cursor)
}

fn id(entry: &Map<String, Value>) -> &str {
    match text(entry, "tap_stream_id") {
        "" => text(entry, "stream"),
        id => id,
    }
}

fn text<'a>(entry: &'a Map<String, Value>, key: &str) -> &'a str {
    entry.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn key(entry: &Map<String, Value>) -> Vec<String> {
    let found =
        ["table-key-properties", "view-key-properties"].map(|name| texts(root(entry, name)));
    let found = found.into_iter().find(|key| !key.is_empty());
    found.unwrap_or_else(|| texts(entry.get("key_properties")))
}

/// The properties a read can follow, the most likely one first.
fn cursors(entry: &Map<String, Value>) -> Vec<String> {
    let first = root(entry, "replication-key").or_else(|| entry.get("replication_key"));
    let mut found: Vec<String> =
        first.and_then(Value::as_str).map(str::to_owned).into_iter().collect();
    for name in texts(root(entry, "valid-replication-keys")) {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

fn properties(entry: &Map<String, Value>) -> impl Iterator<Item = String> {
    let properties = entry.get("schema").and_then(|schema| schema.get("properties"));
    properties.and_then(Value::as_object).into_iter().flat_map(|p| p.keys().cloned())
}

fn breadcrumb(of: Option<&str>) -> Value {
    of.map_or_else(|| json!([]), |name| json!(["properties", name]))
}

/// What the metadata say of the stream or of one property.
fn metadata<'a>(entry: &'a Map<String, Value>, of: Option<&str>, key: &str) -> Option<&'a Value> {
    let wanted = breadcrumb(of);
    let list = entry.get("metadata")?.as_array()?;
    let found = list.iter().find(|one| one.get("breadcrumb") == Some(&wanted))?;
    found.get("metadata")?.get(key)
}

fn root<'a>(entry: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    metadata(entry, None, key)
}

fn automatic(entry: &Map<String, Value>, property: &str) -> bool {
    metadata(entry, Some(property), "inclusion").and_then(Value::as_str) == Some("automatic")
}

fn set(entry: &mut Map<String, Value>, of: Option<&str>, key: &str, value: Value) {
    let wanted = breadcrumb(of);
    let list = entry.entry("metadata").or_insert_with(|| json!([]));
    let Some(list) = list.as_array_mut() else { return };
    let place = list.iter().position(|one| one.get("breadcrumb") == Some(&wanted));
    let place = place.unwrap_or_else(|| {
        list.push(json!({ "breadcrumb": wanted, "metadata": {} }));
        list.len() - 1
    });
    let known = list.get_mut(place).and_then(Value::as_object_mut);
    if let Some(known) = known {
        let inner = known.entry("metadata").or_insert_with(|| json!({}));
        if let Some(inner) = inner.as_object_mut() {
            inner.insert(key.to_owned(), value);
        }
    }
}

fn set_root(entry: &mut Map<String, Value>, key: &str, value: Value) {
    set(entry, None, key, value);
}

fn select_stream(entry: &mut Map<String, Value>, selected: bool) {
    set_root(entry, "selected", json!(selected));
    entry.insert("selected".into(), json!(selected));
    if let Some(schema) = entry.get_mut("schema").and_then(Value::as_object_mut) {
        schema.insert("selected".into(), json!(selected));
    }
}

fn select_properties(entry: &mut Map<String, Value>, select: Option<&BTreeSet<String>>) {
    let names: Vec<String> = properties(entry).collect();
    for name in names {
        let inclusion = metadata(entry, Some(&name), "inclusion").and_then(Value::as_str);
        if inclusion == Some("unsupported") {
            continue;
        }
        let selected = select.is_none_or(|select| select.contains(&name));
        set(entry, Some(&name), "selected", json!(selected));
        let schema = entry.get_mut("schema").and_then(|schema| schema.get_mut("properties"));
        let property = schema.and_then(|properties| properties.get_mut(&name));
        if let Some(property) = property.and_then(Value::as_object_mut) {
            property.insert("selected".into(), json!(selected));
        }
    }
}
