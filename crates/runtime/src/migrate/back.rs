//! The way back: a sync that brings changes of the target into the source.

use std::fs;
use std::path::PathBuf;

use flywheel_base::{Error, ErrorKind, Result};
use flywheel_connect::source::{SourceEntry, StreamInfo};
use flywheel_connect::{ColumnType, DestinationEntry};
use flywheel_project::resource::sync::{Column, Keep, Stream};
use serde_json::{Map, Value, json};

use super::Moving;
use super::plan::same;
use crate::Workspace;
use crate::task::sync::resolved;

/// The name of the sync that flows back.
pub(super) fn name(sync: &str) -> String {
    format!("{sync}_back")
}

/// How the files that are written here begin.
const MARK: &str = "# Written by `flywheel migrate cutover";

fn path(workspace: &Workspace, sync: &str) -> PathBuf {
    workspace.dir().join("syncs").join(format!("{}.yaml", name(sync)))
}

/// Whether the file of the sync that flows back was written here.
pub(super) fn is_ours(workspace: &Workspace, sync: &str) -> Result<bool> {
    let path = path(workspace, sync);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.starts_with(MARK)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("read", &path, error)),
    }
}

/// Refuses to take a name or a file that somebody else has taken.
fn check_free(moving: &Moving<'_>) -> Result<()> {
    let (workspace, back) = (moving.workspace, name(moving.name));
    let path = path(workspace, moving.name);
    let taken = path.exists() || workspace.project.syncs.contains_key(&back);
    if !taken || is_ours(workspace, moving.name)? {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Conflict, format!("there is a sync \"{back}\" or its file already"))
        .hint(format!(
            "Rename it: changes flow back by a sync of that name, in {}.",
            path.display()
        )))
}

/// Writes the sync's file; none if the source cannot be written. Tells what does not flow back.
pub(super) async fn write(moving: &Moving<'_>) -> Result<(Option<PathBuf>, Vec<String>)> {
    let connector = |name: &str| {
        let connection = moving.workspace.project.connections.get(name);
        connection.map_or("", |connection| connection.connector.as_str()).to_owned()
    };
    let (from, to) = (connector(&moving.sync.connection), connector(moving.to));
    if DestinationEntry::named(&from).is_err() {
        let notice =
            format!("there is no way back: connections of type \"{from}\" are not written");
        return Ok((None, vec![notice]));
    }
    check_free(moving)?;
    let entry = SourceEntry::named(&to)?;
    if entry.cdc {
        let (_, target) = moving.workspace.source(moving.to)?;
        let shut = |error: Error| error.context("changes cannot flow back");
        target.check_log().await.map_err(shut)?;
    }
    let (_, source) = moving.workspace.source_of(moving.sync)?;
    let known = source.discover().await?;
    let (mut streams, mut notices) = (Vec::new(), Vec::new());
    for stream in &moving.sync.streams {
        let options = resolved(moving.workspace, stream, &stream.options)?;
        let info = known.iter().find(|info| same(&info.stream, &options));
        match reversed(moving, entry, stream, info) {
            Ok((reversed, mut said)) => {
                streams.push(reversed);
                notices.append(&mut said);
            }
            Err(why) => notices.push(format!("stream {} does not flow back: {why}", stream.stream)),
        }
    }
    if streams.is_empty() {
        return Ok((None, notices));
    }
    let mut text = format!(
        "{MARK} {0}`: lets changes of {1} flow back until\n\
         # `flywheel migrate finish {0}` or `flywheel migrate rollback {0}` removes this file.\n\
         sync: {2}\nconnection: {1}\ndestination: {3}\nstreams:\n",
        moving.name,
        moving.to,
        name(moving.name),
        moving.sync.connection
    );
    for stream in streams {
        text.push_str(&format!("  - {stream}\n"));
    }
    let path = path(moving.workspace, moving.name);
    // Half a file would be a project that cannot be loaded: it gets its name when it is whole.
    let beside = path.with_extension("part");
    fs::write(&beside, text).map_err(|error| Error::io("write", &beside, error))?;
    fs::rename(&beside, &path).map_err(|error| Error::io("rename", &beside, error))?;
    Ok((Some(path), notices))
}

/// The columns that the migration makes truth values of numbers: a number is made of them on the way back.
fn truths<'a>(
    stream: &'a Stream,
    info: Option<&StreamInfo>,
    changed: &dyn Fn(&Column) -> bool,
) -> Vec<&'a Column> {
    let known = info.map(|info| info.columns.as_slice()).unwrap_or_default();
    let number = |name: &str| {
        let kind = known.iter().find(|column| column.name == name).map(|column| column.kind);
        matches!(
            kind,
            Some(
                ColumnType::Int32
                    | ColumnType::Int64
                    | ColumnType::Float64
                    | ColumnType::Decimal { .. }
            )
        )
    };
    let columns = stream.columns.iter().filter(|column| !stream.key.contains(&column.name));
    columns
        .filter(|column| column.column_type.as_deref() == Some("bool") && column.value.is_none())
        .filter(|column| !changed(column) && number(column.source_name()))
        .collect()
}

/// The columns of the source, from those of the target, with the types they have in the source: the
/// target may know fewer types than it does.
fn columns(
    stream: &Stream,
    info: Option<&StreamInfo>,
    truths: &[&Column],
    changed: &dyn Fn(&Column) -> bool,
) -> Vec<Value> {
    let declared = |there: &str| stream.columns.iter().find(|c| c.source_name() == there);
    let known = info.map(|info| info.columns.as_slice()).unwrap_or_default();
    let mut columns: Vec<Value> = known
        .iter()
        .filter(|column| !stream.drop.contains(&column.name))
        .filter(|column| declared(&column.name).is_some() || stream.keep == Keep::All)
        .filter(|column| !declared(&column.name).is_some_and(changed))
        .map(|column| {
            let from = declared(&column.name).map_or(&column.name, |declared| &declared.name);
            let kind = column.kind.to_string();
            if truths.iter().any(|truth| truth.source_name() == column.name) {
                let value = format!("cast(\"{}\" as int)", from.replace('"', "\"\""));
                return json!({ "name": column.name, "type": kind, "value": value });
            }
            json!({ "name": column.name, "from": from, "type": kind })
        })
        .collect();
    let listed = |name: &str| known.iter().any(|column| column.name == name);
    let rest = stream.columns.iter().filter(|c| !changed(c) && !listed(c.source_name()));
    columns.extend(rest.map(|c| json!({ "name": c.source_name(), "from": c.name })));
    columns
}

/// Removes the sync's file.
pub(super) fn remove(moving: &Moving<'_>) -> Result<()> {
    let path = path(moving.workspace, moving.name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", &path, error))
        }
        _ => Ok(()),
    }
}

/// A stream the other way round, with what is lost on the way; else why there is none.
fn reversed(
    moving: &Moving<'_>,
    entry: &SourceEntry,
    stream: &Stream,
    info: Option<&StreamInfo>,
) -> std::result::Result<(Value, Vec<String>), String> {
    let changed = |column: &Column| !column.clean.is_empty() || column.mask.is_some();
    let there = |name: &String| {
        let declared = stream.columns.iter().find(|column| column.name == *name);
        match declared {
            Some(column) if changed(column) => Err(format!("its key {name} is cleaned or masked")),
            Some(column) => Ok(column.source_name().to_owned()),
            None => Ok(name.clone()),
        }
    };
    let Some(table) = stream.options.get("table") else {
        return Err("it reads no table".to_owned());
    };
    if stream.key.is_empty() {
        return Err("it has no key".to_owned());
    }
    let key: Vec<String> = stream.key.iter().map(there).collect::<std::result::Result<_, _>>()?;
    let options = moving.target_as_stream(entry, stream).map_err(|error| error.to_string())?;
    let lost: Vec<&str> =
        stream.columns.iter().filter(|c| changed(c)).map(|c| c.name.as_str()).collect();
    let mut notices = Vec::new();
    if !lost.is_empty() {
        notices.push(format!(
            "stream {}: cleaned and masked columns do not flow back: {}",
            stream.stream,
            lost.join(", ")
        ));
    }
    let truths = truths(stream, info, &changed);
    let columns = columns(stream, info, &truths, &changed);
    let mut back = Map::new();
    back.insert("stream".to_owned(), json!(stream.stream));
    back.insert("options".to_owned(), options);
    back.insert("target".to_owned(), json!({ "table": table }));
    if entry.cdc {
        back.insert("read".to_owned(), json!("cdc"));
        back.insert("write".to_owned(), json!("mirror"));
        // Both sides are equal when this begins, and the source's table is not to be swapped.
        back.insert("first_write".to_owned(), json!("merge"));
    } else {
        back.insert("read".to_owned(), json!("full"));
        back.insert("write".to_owned(), json!("merge"));
        notices.push(format!(
            "stream {}: rows that are deleted in {} stay in the source, as its type has no log of changes",
            stream.stream, moving.to
        ));
    }
    // Columns that the migration adds, or that were added since, are no columns of the source.
    back.insert("new_columns".to_owned(), json!("ignore"));
    back.insert("key".to_owned(), json!(key));
    if !columns.is_empty() {
        back.insert("columns".to_owned(), json!(columns));
    }
    let dropped = lost.iter().copied().chain(truths.iter().map(|truth| truth.name.as_str()));
    let dropped: Vec<&str> = dropped.collect();
    // Where only declared columns land, none has to be dropped.
    if !dropped.is_empty() && stream.keep != Keep::Declared {
        back.insert("drop".to_owned(), json!(dropped));
    }
    if stream.keep == Keep::Declared {
        back.insert("keep".to_owned(), json!("declared"));
    }
    Ok((Value::Object(back), notices))
}
