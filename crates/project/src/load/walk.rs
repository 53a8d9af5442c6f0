//! The files of a folder, in a fixed order.

use std::fs;
use std::path::Path;

use flywheel_base::suggest;

use crate::dbt::Layout;
use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::resource::{RESOURCES, extension};

/// How many files one folder may hold, counted with those below it.
const FILES_MAX: usize = 20_000;

/// How deep folders may nest.
const DEPTH_MAX: usize = 16;

/// Folders besides those of the resources.
const OTHER_FOLDERS: &[&str] = &[
    "tests",
    "macros",
    "seeds",
    "snapshots",
    "streams",
    "dashboards",
    "access",
    "analyses",
    "contracts",
];

/// The paths, relative to `dir`, of files in `folder` that end in one of `extensions`, sorted.
///
/// Hidden files and folders and links to folders are passed over.
pub(super) fn files(
    dir: &Path,
    folder: &str,
    extensions: &[&str],
    out: &mut Diagnostics,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = open.pop() {
        let entries = match fs::read_dir(dir.join(&folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                let message = format!("the folder cannot be read: {error}");
                out.push_path(&folder, Diagnostic::error(Span::FILE, message));
                continue;
            }
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let message = format!("the folder cannot be read: {error}");
                    out.push_path(&folder, Diagnostic::error(Span::FILE, message));
                    break;
                }
            };
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                let shown = format!("{folder}/{}", name.to_string_lossy());
                let hint = "Rename it with lower-case letters, digits and underscores.";
                out.push_path(
                    &shown,
                    Diagnostic::error(Span::FILE, "the file's name is not UTF-8").hint(hint),
                );
                continue;
            };
            let path = format!("{folder}/{name}");
            if name.starts_with('.') {
                continue;
            }
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && depth < DEPTH_MAX {
                open.push((path, depth + 1));
            } else if is_folder {
                let message = format!("folders nest deeper than {DEPTH_MAX}");
                out.push_path(&path, Diagnostic::error(Span::FILE, message));
            } else if has_extension(name, extensions) {
                found.push(path);
            }
        }
        if found.len() > FILES_MAX {
            let message = format!("the folder holds more than {FILES_MAX} files");
            out.push_path(&folder, Diagnostic::error(Span::FILE, message));
            break;
        }
    }
    found.sort();
    found.truncate(FILES_MAX);
    found
}

/// The names of the folders in `folder`, sorted; links and hidden ones are passed over.
pub(super) fn folders(dir: &Path, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(dir.join(folder)).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut names: Vec<String> =
        folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names
}

/// The files that declare extensions: one in each folder of `extensions`, whose other files are the extension's own.
pub(super) fn extensions(dir: &Path, out: &mut Diagnostics) -> Vec<String> {
    let mut found = Vec::new();
    for name in folders(dir, extension::FOLDER) {
        let path = format!("{}/{name}/{}", extension::FOLDER, extension::FILE);
        if dir.join(&path).is_file() {
            found.push(path);
            continue;
        }
        let folder = format!("{}/{name}", extension::FOLDER);
        let message = format!("the folder has no {}", extension::FILE);
        let hint = format!("Write one that begins with `extension: {name}`, or remove the folder.");
        out.push_path(&folder, Diagnostic::error(Span::FILE, message).hint(hint));
    }
    let entries = fs::read_dir(dir.join(extension::FOLDER)).into_iter().flatten().flatten();
    let others = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()));
    let mut others: Vec<String> =
        others.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    others.retain(|name| !name.starts_with('.'));
    others.sort();
    for name in others {
        let path = format!("{}/{name}", extension::FOLDER);
        let message = "nothing reads this: an extension is a folder with files, and no link to one";
        let stem = name.split('.').next().unwrap_or_default();
        let hint = format!("Move it to {}/{stem}/{}.", extension::FOLDER, extension::FILE);
        out.push_path(&path, Diagnostic::warning(Span::FILE, message).hint(hint));
    }
    found
}

fn has_extension(name: &str, extensions: &[&str]) -> bool {
    name.rsplit_once('.').is_some_and(|(_, extension)| extensions.contains(&extension))
}

/// A folder whose name is nearly that of a known one is read by nobody: say so, unless the project names it.
pub(super) fn warn_of_misspelled_folders(dir: &Path, layout: &Layout, out: &mut Diagnostics) {
    let of_layout = [
        &layout.models,
        &layout.seeds,
        &layout.snapshots,
        &layout.tests,
        &layout.macros,
        &layout.passed_over,
    ];
    // Of `transform/models`, the first folder is one of the project's.
    let first = |path: &String| path.split('/').next().unwrap_or_default().to_owned();
    let named: Vec<String> = of_layout.into_iter().flatten().map(first).collect();
    let known: Vec<&str> = RESOURCES
        .iter()
        .map(|kind| kind.folder)
        .filter(|folder| !folder.is_empty())
        .chain(OTHER_FOLDERS.iter().copied())
        .collect();
    let mut names: Vec<String> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    let unknown = |name: &&String| !known.contains(&name.as_str()) && !named.contains(name);
    for name in names.iter().filter(unknown) {
        let singular = known.iter().copied().find(|known| {
            known.strip_suffix('s') == Some(name)
                || known.strip_suffix("ies").is_some_and(|stem| *name == format!("{stem}y"))
        });
        let near = singular.or_else(|| suggest::nearest(name, known.iter().copied()));
        if let Some(near) = near {
            out.push_path(
                name,
                Diagnostic::warning(Span::FILE, "nothing reads this folder")
                    .hint(format!("Did you mean \"{near}\"?")),
            );
        }
    }
}
