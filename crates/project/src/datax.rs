//! Jobs of DataX as files of a project: the same rows move, by a connection for each side and a sync.
//!
//! ```text
//! job.json ─► reader: what is read ┐
//!          ─► writer: where it goes ├─► connections/*.yaml, syncs/*.yaml, and notes on the rest
//!          ─► setting: limits       ┘
//! ```
//! DataX matches columns by their order and knows no key; here they are matched by name and a repeated
//! run must not double a row. Where the job leaves open what a repeated run means, the import asks
//! instead of guessing. What has no counterpart is a [`Note`] with its place in the job, and a password
//! becomes a reference: it is in no file and in no message.

mod address;
mod job;
mod reader;
mod sql;
mod writer;
mod yaml;

pub(crate) use yaml::document;
pub use yaml::scalar;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use flywheel_base::{Error, Result};
use serde_json::{Value as Json, json};

use self::job::{At, Job};
use self::reader::{Reading, Rows};
use self::writer::{Repeat, Writing};

/// What the job does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The columns of the target that identify a row.
    pub key: Vec<String>,
    /// Whether every run replaces all rows of the target.
    pub replace: bool,
}

/// What was made of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// The files, connections first.
    pub files: Vec<Made>,
    /// What was not carried over or has to be looked at.
    pub notes: Vec<Note>,
}

/// A file that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its path, relative to the project folder.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Something of the job that somebody should know about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// Its place in the job, as a JSON path.
    pub at: String,
    /// What became of it.
    pub message: String,
}

/// A connection that is made, in the words of its connector.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Connection {
    /// The connector.
    pub(crate) kind: &'static str,
    /// What it could be called.
    pub(crate) name: String,
    /// Its settings; a password is only a mark here.
    pub(crate) options: Vec<(&'static str, Json)>,
    /// Whether it has a password.
    pub(crate) password: bool,
}

/// Turns a job into files.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if it is no job, uses a plugin that has no counterpart, or
/// leaves open what a repeated run means; the message has the place in the job and no secret.
pub fn import(job_json: &str, options: &Options) -> Result<Imported> {
    let job = Job::parse(job_json)?;
    let root = job.root();
    let body = root.need("job")?;
    let mut connections: Vec<(String, Connection)> = Vec::new();
    let mut syncs = BTreeMap::new();
    let contents = body.need("content")?.list()?;
    if contents.is_empty() {
        return Err(body
            .need("content")?
            .wrong("is empty", "A job has one reader and one writer."));
    }
    for content in &contents {
        let reading = reader::read(&content.need("reader")?)?;
        let writing = writer::write(&content.need("writer")?, &reading)?;
        if let Some(transformers) = content.key("transformer") {
            transformers.note("write it as `clean`, `mask` or a model; rows move without it now");
        }
        let sync = sync(&body, reading, &writing, options, &mut connections)?;
        let name = unused(&writing.name, |name| syncs.contains_key(name));
        syncs.insert(name, sync);
    }
    let mut files = Vec::new();
    for (name, connection) in &connections {
        let text = connection_file(name, connection);
        files.push(Made { path: format!("connections/{name}.yaml"), text });
    }
    for (name, sync) in syncs {
        let mut whole = vec![("sync".to_owned(), json!(name))];
        whole.extend(sync);
        files.push(Made { path: format!("syncs/{name}.yaml"), text: document(&whole) });
    }
    Ok(Imported { files, notes: job.notes() })
}

/// The name under which a connection is made, the same one for the same system.
fn named(connection: Connection, made: &mut Vec<(String, Connection)>) -> String {
    if let Some((name, _)) = made.iter().find(|(_, known)| *known == connection) {
        return name.clone();
    }
    let name = unused(&connection.name, |name| made.iter().any(|(known, _)| known == name));
    made.push((name.clone(), connection));
    name
}

fn unused(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut candidate = name.to_owned();
    let mut number = 2;
    while taken(&candidate) {
        candidate = format!("{name}_{number}");
        number += 1;
    }
    candidate
}

fn connection_file(name: &str, connection: &Connection) -> String {
    let mut options: serde_json::Map<String, Json> =
        connection.options.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    if connection.password {
        let variable = format!("{}_PASSWORD", name.to_uppercase());
        options.insert("password".to_owned(), json!(format!("${{env:{variable}}}")));
    }
    document(&[
        ("connection".to_owned(), json!(name)),
        ("type".to_owned(), json!(connection.kind)),
        ("options".to_owned(), Json::Object(options)),
    ])
}

/// A sync's keys after its name.
type Keys = Vec<(String, Json)>;

fn sync(
    body: &At<'_>,
    reading: Reading<'_>,
    writing: &Writing<'_>,
    options: &Options,
    connections: &mut Vec<(String, Connection)>,
) -> Result<Keys> {
    let mut by_connection: Vec<(String, Rows)> = Vec::new();
    let several = reading.parts.len() > 1;
    for ((connection, _), rows) in reading.parts.into_iter().zip(&writing.rows) {
        by_connection.push((named(connection, connections), rows.clone()));
    }
    let destination = named(writing.connection.clone(), connections);
    let Some((connection, _)) = by_connection.first().cloned() else {
        return Err(Error::internal("a reader reads nothing"));
    };
    if by_connection.iter().any(|(name, _)| *name != connection) {
        return Err(reading.at.wrong(
            "reads several servers",
            "Import one job for each server, with a key: their rows meet in the target.",
        ));
    }
    let repeat = writer::repeat(writing, reading.files, reading.key.as_deref(), options)?;
    if several && repeat == Repeat::Replace {
        return Err(reading.at.wrong(
            "reads several paths into a target that is replaced",
            "Name the files by one pattern, or import with a key.",
        ));
    }
    let settings = limits(body)?;
    let mut streams = Vec::new();
    for (index, (_, rows)) in by_connection.into_iter().enumerate() {
        let name = if index == 0 {
            writing.name.clone()
        } else {
            format!("{}_{}", writing.name, index + 1)
        };
        streams.push(stream(&name, rows, writing, &repeat, settings.channels));
    }
    let mut keys: Keys = vec![
        ("connection".to_owned(), json!(connection)),
        ("destination".to_owned(), json!(destination)),
        ("streams".to_owned(), Json::Array(streams)),
    ];
    if !settings.errors.is_empty() {
        keys.push(("errors".to_owned(), Json::Object(settings.errors)));
    }
    if !settings.rate.is_empty() {
        keys.push(("limits".to_owned(), Json::Object(settings.rate)));
    }
    Ok(keys)
}

fn stream(name: &str, rows: Rows, writing: &Writing<'_>, repeat: &Repeat, channels: u64) -> Json {
    let mut stream = serde_json::Map::new();
    stream.insert("stream".to_owned(), json!(name));
    let mut options = rows.options;
    if rows.splits && channels > 1 {
        options.insert("parallel".to_owned(), json!(channels.min(PARALLEL_MAX)));
    }
    stream.insert("options".to_owned(), Json::Object(options));
    stream.insert("target".to_owned(), Json::Object(writing.target.clone()));
    let (read, write, key) = match repeat {
        Repeat::Replace => ("full", "replace", None),
        Repeat::Merge(key) => ("full", "merge", Some(key)),
        Repeat::Append => ("incremental", "append", None),
    };
    stream.insert("read".to_owned(), json!(read));
    stream.insert("write".to_owned(), json!(write));
    if let Some(key) = key {
        stream.insert("key".to_owned(), json!(key));
    }
    if !rows.columns.is_empty() {
        stream.insert("columns".to_owned(), Json::Array(rows.columns));
        stream.insert("keep".to_owned(), json!("declared"));
    }
    Json::Object(stream)
}

/// The most connections that one stream reads with.
const PARALLEL_MAX: u64 = 8;

/// What `setting` says.
struct Limits {
    channels: u64,
    errors: serde_json::Map<String, Json>,
    rate: serde_json::Map<String, Json>,
}

fn limits(body: &At<'_>) -> Result<Limits> {
    let (errors, rate) = (serde_json::Map::new(), serde_json::Map::new());
    let mut limits = Limits { channels: 1, errors, rate };
    let Some(setting) = body.key("setting") else { return Ok(limits) };
    if let Some(speed) = setting.key("speed") {
        if let Some(channel) = speed.key("channel") {
            limits.channels = channel.whole()?.max(1);
        }
        let rate = |name: &'static str| {
            let limit = speed.key(name)?;
            match limit.real() {
                // No limit is -1 there.
                Ok(rate) => (rate >= 1.0).then_some(rate as u64),
                Err(_) => {
                    limit.note("is no number, so the sync has no such limit");
                    None
                }
            }
        };
        if let Some(bytes) = rate("byte") {
            limits.rate.insert("bytes_per_second".to_owned(), json!(format!("{bytes}B")));
        }
        if let Some(rows) = rate("record") {
            limits.rate.insert("rows_per_second".to_owned(), json!(rows));
        }
    }
    if let Some(errors) = setting.key("errorLimit") {
        if let Some(record) = errors.key("record") {
            limits.errors.insert("max_bad_rows".to_owned(), json!(record.whole()?));
        }
        if let Some(share) = errors.key("percentage") {
            let value = share.real()?;
            if !(0.0..=1.0).contains(&value) {
                return Err(
                    share.wrong("is not between 0 and 1", "0.02 allows two bad rows of a hundred.")
                );
            }
            limits.errors.insert("max_bad_ratio".to_owned(), json!(value));
        }
    }
    Ok(limits)
}

/// A name of ours made from one of theirs: lower-case letters, digits and underscores.
pub(crate) fn plain_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let name: String = name.chars().map(plain).take(NAME_MAX).collect();
    let name = name.trim_matches('_');
    if name.starts_with(|c: char| c.is_ascii_lowercase()) {
        name.to_owned()
    } else {
        format!("t_{name}").trim_end_matches('_').to_owned()
    }
}

/// Characters of a name; what is put before or behind it fits in the rest.
const NAME_MAX: usize = 48;
