//! Which files refer to which stored secrets, and which of these cannot be had.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use flywheel_base::{Error, Result};
use serde::Serialize;

use super::Vault;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::file::SourceFile;
use crate::secret;

/// How many files are looked at.
const FILES_MAX: usize = 20_000;
/// How deep folders are looked into.
const DEPTH_MAX: usize = 16;
/// Folders of other tools.
const FOLDERS_LEFT: &[&str] = &["node_modules", "__pycache__"];
/// What a folder of a table of the lake holds.
const TABLE_LOG: &str = "_delta_log";

/// A place that refers to a stored secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretUse {
    /// The secret's name.
    pub name: String,
    /// The file, relative to the project folder.
    pub file: String,
    /// The line.
    pub line: usize,
}

/// Every `${secret:NAME}` of the project's YAML files, by file and line.
///
/// # Errors
/// What listing a folder may fail with. A file that cannot be read is passed over: whoever loads the project says so.
pub fn uses(dir: &Path) -> Result<Vec<SecretUse>> {
    let mut found = Vec::new();
    for file in files(dir)? {
        for (name, span) in secret::named_secrets(&file.text) {
            let (name, file) = (name.to_owned(), file.path.clone());
            found.push(SecretUse { name, file, line: span.line });
        }
    }
    Ok(found)
}

impl Vault {
    /// What files of the project refer to and cannot be had, as warnings at their places: a secret that is not stored,
    /// or that does not open. The machine that checks a project need not be the one that runs it.
    ///
    /// # Errors
    /// What listing a folder may fail with.
    pub fn unusable(&self, dir: &Path) -> Result<Diagnostics> {
        let mut out = Diagnostics::default();
        let mut known: BTreeMap<String, Option<Error>> = BTreeMap::new();
        for file in files(dir)? {
            for (name, span) in secret::named_secrets(&file.text) {
                let failed =
                    known.entry(name.to_owned()).or_insert_with(|| self.reveal(name).err());
                if let Some(error) = failed {
                    let mut warning = Diagnostic::warning(span, error.message());
                    warning.hint = error.hint_text().map(str::to_owned);
                    out.push_hidden(&file, warning);
                }
            }
        }
        out.sort();
        Ok(out)
    }
}

/// The YAML files of the project, sorted; hidden ones, links to folders and the lake are passed over.
fn files(dir: &Path) -> Result<Vec<SourceFile>> {
    let mut paths = Vec::new();
    let mut open = vec![(String::new(), 0)];
    while let Some((prefix, depth)) = open.pop() {
        let folder = dir.join(&prefix);
        let failed = |error| Error::io("list", &folder, error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = format!("{prefix}{name}");
            if name.starts_with('.') || FOLDERS_LEFT.contains(&name.as_str()) {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if depth < DEPTH_MAX && !dir.join(&path).join(TABLE_LOG).is_dir() {
                    open.push((format!("{path}/"), depth + 1));
                }
            } else if matches!(name.rsplit_once('.'), Some((_, "yaml" | "yml"))) {
                paths.push(path);
            }
        }
        if paths.len() > FILES_MAX {
            return Err(Error::exhausted(format!(
                "{} holds more than {FILES_MAX} YAML files",
                dir.display()
            ))
            .hint("Keep data out of the project's folder."));
        }
    }
    paths.sort();
    Ok(paths.iter().filter_map(|path| SourceFile::read(dir, path).ok()).collect())
}
