//! Extensions: whether the files they name are there and can be shown, and that nothing of them leads out of their folder.

use std::collections::BTreeSet;
use std::fs;

use flywheel_base::suggest;

use super::Check;
use super::sync::at;
use crate::diagnostic::{Diagnostic, Span};
use crate::load::Read;
use crate::names;
use crate::resource::extension::{
    Extension, FILE, FILE_BYTES_MAX, FILE_TYPES, FILES_MAX, FOLDER, file_type, path_problem,
};
use crate::yaml::{Node, Step};

/// How deep the folders of an extension may nest.
const DEPTH_MAX: usize = 8;

impl Check<'_> {
    pub(super) fn extensions(&mut self) {
        let loaded = self.loaded;
        for read in loaded.extensions.values() {
            let extension = &read.value;
            let name = &extension.extension;
            let folder = read.file.path.split('/').nth(1).unwrap_or_default();
            if folder != name {
                let message = format!("extension \"{name}\" lies in the folder \"{folder}\"");
                let hint = format!("Rename the folder to {FOLDER}/{name}, or the extension.");
                self.extension_says(read, at(&read.node, "extension"), message, hint);
            }
            if extension.pages.is_empty() && extension.panels.is_empty() {
                let message = format!("extension \"{name}\" shows nothing");
                let hint = "Add a page, as in `pages: [{page: main, file: index.html}]`.";
                let diagnostic = Diagnostic::warning(at(&read.node, "extension"), message);
                self.push(&read.file, diagnostic.hint(hint));
            }
            let files = self.extension_files(folder);
            let pages = extension.pages.iter().map(|one| (&one.page, &one.file));
            let panels = extension.panels.iter().map(|one| (&one.panel, &one.file));
            self.extension_shows(read, ("pages", "page"), pages.collect(), &files);
            self.extension_shows(read, ("panels", "panel"), panels.collect(), &files);
        }
    }

    fn extension_says(
        &mut self,
        read: &Read<Extension>,
        span: Span,
        message: String,
        hint: impl Into<String>,
    ) {
        self.push(&read.file, Diagnostic::error(span, message).hint(hint));
    }

    /// Names and files of pages, or of panels.
    fn extension_shows(
        &mut self,
        read: &Read<Extension>,
        (list, key): (&str, &str),
        shown: Vec<(&String, &String)>,
        files: &BTreeSet<String>,
    ) {
        let nodes: &Node = read.node.find(&[Step::Key(list)]);
        let mut seen = BTreeSet::new();
        for ((name, file), node) in shown.into_iter().zip(nodes.items()) {
            if let Some(problem) = names::problem(name) {
                let message = format!("{key} \"{name}\" is not a good name: it {problem}");
                self.extension_says(read, at(node, key), message, names::HINT);
            }
            if !seen.insert(name) {
                let message = format!("{key} \"{name}\" is declared twice");
                self.extension_says(read, at(node, key), message, "Rename one of them.");
            }
            if let Some(problem) = path_problem(file) {
                let message = format!("the file \"{file}\" of {key} \"{name}\" {problem}");
                let hint = "Name a file below the extension's folder, such as `index.html`.";
                self.extension_says(read, at(node, "file"), message, hint);
            } else if !file.ends_with(".html") {
                let message = format!("the file \"{file}\" of {key} \"{name}\" is no HTML");
                let hint = "A page or panel begins with a file whose name ends in .html.";
                self.extension_says(read, at(node, "file"), message, hint);
            } else if !files.contains(file) {
                let message =
                    format!("{key} \"{name}\" begins with \"{file}\", which is not there");
                let pages = files.iter().map(String::as_str).filter(|one| one.ends_with(".html"));
                let hint = suggest::hint(file, pages);
                self.extension_says(read, at(node, "file"), message, hint);
            }
        }
    }

    /// The files of an extension that can be shown, as paths below its folder; what cannot be is said.
    fn extension_files(&mut self, folder: &str) -> BTreeSet<String> {
        let top = self.loaded.dir.join(FOLDER).join(folder);
        let (mut found, mut count) = (BTreeSet::new(), 0);
        let mut open = vec![(String::new(), 0)];
        while let Some((below, depth)) = open.pop() {
            let here = |name: &str| match below.is_empty() {
                true => name.to_owned(),
                false => format!("{below}/{name}"),
            };
            let entries = match fs::read_dir(top.join(&below)) {
                Ok(entries) => entries,
                Err(error) => {
                    let message = format!("the folder cannot be read: {error}");
                    let place = format!("{FOLDER}/{folder}/{below}");
                    self.checked.out.push_path(&place, Diagnostic::error(Span::FILE, message));
                    continue;
                }
            };
            let mut names: Vec<(String, fs::DirEntry)> = entries
                .flatten()
                .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry))
                .collect();
            names.sort_by(|a, b| a.0.cmp(&b.0));
            for (name, entry) in names {
                // Hidden files are never shown; editors and git leave them.
                if name.starts_with('.') || (below.is_empty() && name == FILE) {
                    continue;
                }
                let path = here(&name);
                let place = format!("{FOLDER}/{folder}/{path}");
                let mut says = |error: bool, message: &str, hint: String| {
                    let diagnostic = match error {
                        true => Diagnostic::error(Span::FILE, message),
                        false => Diagnostic::warning(Span::FILE, message),
                    };
                    self.checked.out.push_path(&place, diagnostic.hint(hint));
                };
                let Ok(about) = fs::symlink_metadata(entry.path()) else { continue };
                if about.is_symlink() {
                    let hint = "Put the file itself there: a link could lead out of the extension's folder.";
                    says(true, "an extension has no links", hint.to_owned());
                } else if about.is_dir() && depth == DEPTH_MAX {
                    let message = format!("folders nest deeper than {DEPTH_MAX}");
                    says(true, &message, "Put its files further up.".to_owned());
                } else if about.is_dir() {
                    open.push((path, depth + 1));
                    continue;
                } else if let Some(problem) = path_problem(&path) {
                    let message = format!("the file is not shown: its path {problem}");
                    says(false, &message, "Rename it.".to_owned());
                } else if file_type(&path).is_none() {
                    let known: Vec<&str> = FILE_TYPES.iter().map(|(end, _)| *end).collect();
                    let hint = format!("Shown is what ends in .{}.", known.join(", ."));
                    says(false, "the file is not shown: its type is not known", hint);
                } else if about.len() > FILE_BYTES_MAX {
                    let message = format!("the file is larger than {} MiB", FILE_BYTES_MAX >> 20);
                    let hint = "Make it smaller, or ask the API for the data it holds.";
                    says(true, &message, hint.to_owned());
                } else {
                    found.insert(path);
                }
                count += 1;
                if count > FILES_MAX {
                    let message = format!("the extension holds more than {FILES_MAX} files");
                    let place = format!("{FOLDER}/{folder}");
                    let diagnostic = Diagnostic::error(Span::FILE, message);
                    let hint =
                        "Put the parts together before, and leave out what the page does not load.";
                    self.checked.out.push_path(&place, diagnostic.hint(hint));
                    return found;
                }
            }
        }
        found
    }
}
