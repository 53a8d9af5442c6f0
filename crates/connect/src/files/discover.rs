//! Finding the streams in a folder: files of the same form are one stream.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use flywheel_base::{Error, Result};
use serde_json::{Value, json};

use super::drive::sample;
use super::{Format, Root, VisibleFile, Way};
use crate::page::{Column, TableSchema};
use crate::source::{ReadRequest, SourceContext, StreamInfo, settings};

/// Folders below the connection's that are looked into.
const DEPTH_MAX: usize = 4;

/// Files that are looked at in all.
const FILES_MAX: usize = 10_000;

/// Endings of compressed files.
const COMPRESSIONS: [&str; 3] = [".gz", ".zst", ".zstd"];

/// A file with its path relative to the connection's folder.
type Found = (String, VisibleFile);

/// Lists the streams of one format below `root`.
pub(super) fn discover<F: Format>(ctx: &SourceContext, root: &Root) -> Result<Vec<StreamInfo>> {
    let mut found: Vec<Found> = match root.folder() {
        Way::Folder(folder) => {
            let mut paths = Vec::new();
            walk(&folder, &folder, 0, F::EXTENSIONS, &mut paths)?;
            let at = |path: &String| VisibleFile::at(root.base_dir(), folder.join(path));
            paths.into_iter().map(|path| Ok((path.clone(), at(&path)?))).collect::<Result<_>>()?
        }
        Way::Objects(objects, _) => {
            let wanted = |path: &str| fits(path, F::EXTENSIONS);
            let found = objects.walk(DEPTH_MAX, FILES_MAX, wanted)?.into_iter();
            found.map(|(path, object)| (path, VisibleFile::of(object))).collect()
        }
    };
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let mut groups: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    for file in found {
        groups.entry(pattern(&file.0)).or_default().push(file);
    }
    let mut streams = Vec::new();
    for (pattern, found) in groups {
        let path = match found.as_slice() {
            [(only, _)] => only.clone(),
            _ => pattern,
        };
        let files: Vec<VisibleFile> = found.into_iter().map(|(_, file)| file).collect();
        // A file that cannot be read is still a stream; reading it says why.
        let parts = match files.as_slice() {
            [only] => F::parts(only).unwrap_or_default(),
            _ => Vec::new(),
        };
        if parts.len() < 2 {
            let value = json!({ "path": path });
            streams.push(stream::<F>(ctx, path, value, &files)?);
            continue;
        }
        for (key, part) in parts {
            let value = json!({ "path": path, key: part });
            streams.push(stream::<F>(ctx, format!("{path}/{part}"), value, &files)?);
        }
    }
    Ok(streams)
}

fn stream<F: Format>(
    ctx: &SourceContext,
    name: String,
    value: Value,
    files: &[VisibleFile],
) -> Result<StreamInfo> {
    let request = ReadRequest::full(value.clone(), ctx.now);
    let format = F::new(settings("stream", value.clone())?, &request)?;
    // A file that cannot be read is still a stream.
    let columns: Result<Vec<Column>> =
        sample(&format, files).map(|sample| sample.columns().collect());
    let unread = columns.as_ref().err().map(|error| {
        let said = [Some(error.message()), error.hint_text()];
        said.into_iter().flatten().collect::<Vec<_>>().join(". ")
    });
    let schema = TableSchema::new(columns.unwrap_or_default(), false);
    Ok(StreamInfo {
        name,
        stream: value,
        schema: std::sync::Arc::clone(schema.arrow()),
        columns: schema.columns().iter().filter_map(Column::declarable).collect(),
        primary_key: Vec::new(),
        cursors: Vec::new(),
        rows: None,
        bytes: Some(files.iter().map(|file| file.size).sum()),
        unread,
    })
}

/// Collects the files of the wanted extensions, relative to `root`.
fn walk(
    root: &Path,
    folder: &Path,
    depth: usize,
    extensions: &[&str],
    found: &mut Vec<String>,
) -> Result<()> {
    let fail = |error| Error::io("list the folder", folder, error);
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        entries.push(entry.map_err(fail)?.path());
    }
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(['.', '~']) || found.len() >= FILES_MAX {
            continue;
        }
        if path.is_dir() {
            if depth < DEPTH_MAX {
                walk(root, &path, depth + 1, extensions, found)?;
            }
            continue;
        }
        if fits(&name, extensions) {
            let relative = path.strip_prefix(root).unwrap_or(&path);
            found.push(relative.to_string_lossy().replace('\\', "/"));
        }
    }
    Ok(())
}

/// Whether a file's name ends as those of the format do, compressed or not.
fn fits(name: &str, extensions: &[&str]) -> bool {
    let lower = name.to_lowercase();
    let plain = COMPRESSIONS.iter().find_map(|end| lower.strip_suffix(end)).unwrap_or(&lower);
    plain.rsplit_once('.').is_some_and(|(_, end)| extensions.contains(&end))
}

/// A path with the numbers in its file name replaced by `*`, so that files of different days agree.
fn pattern(path: &str) -> String {
    let (folder, name) = match path.rsplit_once('/') {
        Some((folder, name)) => (format!("{}/", glob::Pattern::escape(folder)), name),
        None => (String::new(), path),
    };
    let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
    let mut out = folder;
    let mut chars = stem.chars().peekable();
    while let Some(char) = chars.next() {
        if !char.is_ascii_digit() {
            out.push_str(&glob::Pattern::escape(char.encode_utf8(&mut [0; 4])));
            continue;
        }
        out.push('*');
        while chars.peek().is_some_and(|next| next.is_ascii_digit() || matches!(next, '-' | '_')) {
            // A separator belongs to the number only if more digits follow it.
            let mut ahead = chars.clone();
            let separator = ahead.next().is_some_and(|next| !next.is_ascii_digit());
            if separator && !ahead.peek().is_some_and(char::is_ascii_digit) {
                break;
            }
            chars.next();
        }
    }
    if !extension.is_empty() {
        out.push('.');
        out.push_str(&glob::Pattern::escape(extension));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_differ_in_their_numbers_are_one_stream() {
        assert_eq!(pattern("retail/2010-12-01.csv"), "retail/*.csv");
        assert_eq!(pattern("sales_fact_1997.csv"), "sales_fact_*.csv");
        assert_eq!(pattern("q1_report.csv.gz"), "q*_report.csv.gz");
        assert_eq!(pattern("customers.csv"), "customers.csv");
    }
}
