//! Macros of `macros/**.sql` and of packages, which every template may call.
//!
//! The files a template needs are put before it as they are, but for the names of their macros: those
//! are made unique, so that `dbt_utils.star` and the project's own `star` are two. What files write
//! outside of a macro is dropped, and places are counted without them. A name is looked up when it is
//! called, so macros may call each other in any order and across files.

mod rewrite;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::blocks;
use crate::file::SourceFile;

pub(super) use rewrite::{moved_moments, mutable_lists};

/// A macro file as the engine reads it.
pub(super) fn readable(text: &str) -> String {
    rewrite::rewrite("", text).text
}

/// What separates the macros' own output from the template's.
const MARK: char = '\u{1}';

/// Prefixes by which a dispatched macro is looked for, the closest to our SQL first.
pub(super) const DIALECTS: &[&str] = &["flywheel__", "duckdb__", "postgres__", "default__"];

/// Packages that are part of the program; a project's own copy adds to them and never replaces them,
/// because theirs ask a database for what we know without.
const BUILT_IN: &[(&str, &str, &str)] = &[
    ("dbt", "dbt.sql", include_str!("../../macros/dbt.sql")),
    ("dbt_utils", "dbt_utils.sql", include_str!("../../macros/dbt_utils.sql")),
    ("dbt_date", "dbt_date.sql", include_str!("../../macros/dbt_date.sql")),
    ("dbt_expectations", "dbt_expectations.sql", include_str!("../../macros/dbt_expectations.sql")),
];

/// The project's macros, and what else is the same for all of its templates.
#[derive(Clone, Debug, Default)]
pub struct Macros {
    files: Vec<File>,
    /// Which files a word needs.
    words: BTreeMap<String, BTreeSet<usize>>,
    /// Which macros there are, by package and name; the project's own have no package.
    known: BTreeSet<(String, String)>,
    /// The texts of `{% docs %}` blocks.
    pub(crate) docs: BTreeMap<String, String>,
    /// Models with versions.
    versions: BTreeMap<String, Versions>,
    /// dbt's `target` and the like; none for a project without `dbt_project.yml`.
    pub(crate) dbt: Option<DbtGlobals>,
}

/// The versions of a model.
#[derive(Clone, Debug, Default)]
pub(crate) struct Versions {
    /// The model that `ref()` without a version means.
    pub(crate) latest: String,
    /// The model of each version.
    pub(crate) all: BTreeMap<String, String>,
}

/// What dbt's templates know of the project.
#[derive(Clone, Debug, Default)]
pub(crate) struct DbtGlobals {
    /// The project's name, which is also the name of the package of its own macros.
    pub(crate) project: String,
    /// `target`.
    pub(crate) target: serde_json::Map<String, Json>,
}

#[derive(Clone, Debug)]
struct File {
    package: String,
    source: SourceFile,
    text: String,
    needs: BTreeSet<String>,
}

/// A template with the macros it may need before it.
pub(super) struct Assembled<'a> {
    /// All of it.
    pub(super) source: String,
    /// How many bytes stand before the template.
    pub(super) offset: usize,
    files: Vec<(usize, &'a SourceFile)>,
}

impl Macros {
    /// No macros, but what dbt's templates know.
    pub(crate) fn of(dbt: Option<DbtGlobals>) -> Self {
        Self { dbt, ..Self::default() }
    }

    /// Notes the versions of a model.
    pub(crate) fn add_versions(&mut self, model: &str, versions: Versions) {
        self.versions.insert(model.to_owned(), versions);
    }

    /// The model that `ref(name, v=version)` means, if `name` has versions.
    pub(crate) fn version_of(&self, name: &str, version: Option<&str>) -> Option<&str> {
        let versions = self.versions.get(name)?;
        match version {
            None => Some(&versions.latest),
            Some(version) => versions.all.get(version).map(String::as_str),
        }
    }

    /// The name and the version that are behind a model's name with both.
    pub(crate) fn name_and_version(&self, own: &str) -> Option<(&str, &str)> {
        self.versions.iter().find_map(|(name, versions)| {
            let (version, _) = versions.all.iter().find(|(_, model)| model.as_str() == own)?;
            Some((name.as_str(), version.as_str()))
        })
    }

    /// Prefixes by which a dispatched macro is looked for: our own, the target's, and those closest to our
    /// SQL. What is written for a database that divides whole numbers as another one does comes last.
    pub(super) fn dialects(&self) -> &'static [&'static str] {
        let target = self.dbt.as_ref().and_then(|dbt| dbt.target.get("type"));
        match target.and_then(Json::as_str) {
            Some("postgres" | "redshift") => &["flywheel__", "postgres__", "default__", "duckdb__"],
            Some("duckdb") | None => &["flywheel__", "duckdb__", "default__", "postgres__"],
            Some(_) => DIALECTS,
        }
    }

    /// Adds what the program brings along.
    pub(crate) fn add_built_in(&mut self) {
        for (package, path, text) in BUILT_IN {
            self.add(package, &SourceFile::new(path, text));
        }
    }

    /// Adds a file of macros of a package; the project's own have none.
    pub(crate) fn add(&mut self, package: &str, file: &SourceFile) {
        let text: String = file.text.chars().filter(|c| *c != MARK).collect();
        let rewritten = rewrite::rewrite(package, &text);
        let at = self.files.len();
        let mut text = rewritten.text;
        text.push('\n');
        for name in &rewritten.macros {
            let key = (package.to_owned(), name.clone());
            // What came first stays: built-in macros before a package's copy.
            if !self.known.insert(key) && !package.is_empty() {
                continue;
            }
            let unique = rewrite::unique(package, name);
            let register = format!("{{{{ __register('{package}', '{name}', {unique}) }}}}");
            text.push_str(&register);
            self.needed_by(name, at);
        }
        for name in &rewritten.sets {
            self.needed_by(name, at);
        }
        let needs = blocks::words(&file.text).into_iter().map(str::to_owned).collect();
        let package = package.to_owned();
        self.files.push(File { package, source: file.clone(), text, needs });
    }

    fn needed_by(&mut self, word: &str, file: usize) {
        self.words.entry(word.to_owned()).or_default().insert(file);
        // Whoever says `star` may be sent to `default__star`.
        let bare = DIALECTS.iter().find_map(|dialect| word.strip_prefix(dialect));
        if let Some(bare) = bare {
            self.words.entry(bare.to_owned()).or_default().insert(file);
        }
    }

    /// The package in which a macro called `name` by a template of the project is found.
    pub(super) fn package_of(&self, name: &str) -> Option<&str> {
        let own = self.known.contains(&(String::new(), name.to_owned()));
        if own {
            return Some("");
        }
        self.known.iter().find(|(_, known)| known == name).map(|(package, _)| package.as_str())
    }

    /// Whether a package has the macro.
    pub(crate) fn has(&self, package: &str, name: &str) -> bool {
        self.known.contains(&(package.to_owned(), name.to_owned()))
    }

    /// Each of the project's own macros: its name, its file and its text, as dbt keeps them.
    pub(crate) fn sources(&self) -> Vec<(String, String, String)> {
        let mut found = Vec::new();
        for file in self.files.iter().filter(|file| file.package.is_empty()) {
            let text = &file.source.text;
            let mut open: Option<(String, usize)> = None;
            for tag in blocks::tags(text) {
                match (tag.word, open.take()) {
                    ("macro", None) => open = Some((tag.name().to_owned(), tag.start)),
                    ("test" | "data_test", None) => {
                        open = Some((format!("test_{}", tag.name()), tag.start));
                    }
                    ("endmacro" | "endtest" | "enddata_test", Some((name, start))) => {
                        let text = text[start..tag.end].to_owned();
                        found.push((name, file.source.path.clone(), text));
                    }
                    (_, other) => open = other,
                }
            }
        }
        found
    }

    /// Whether a template may call one of the project's own macros.
    pub(crate) fn mentions_macro(&self, template: &str, name: &str) -> bool {
        self.mentions(template, &rewrite::unique("", name))
    }

    /// The names of a package's macros.
    pub(crate) fn names<'a>(&'a self, package: &'a str) -> impl Iterator<Item = &'a str> {
        let of_package = move |(other, _): &&(String, String)| other == package;
        self.known.iter().filter(of_package).map(|(_, name)| name.as_str())
    }

    /// Every package that has macros, without the project's own.
    pub(crate) fn packages(&self) -> BTreeSet<&str> {
        let packages = self.known.iter().map(|(package, _)| package.as_str());
        packages.filter(|package| !package.is_empty()).collect()
    }

    /// Whether the template, or a macro that it may call, says `word`.
    pub(crate) fn mentions(&self, template: &str, word: &str) -> bool {
        self.mentions_any(template, &[word])
    }

    /// Whether the template, or a macro it may need, mentions one of these.
    pub(crate) fn mentions_any(&self, template: &str, words: &[&str]) -> bool {
        let source = self.assemble(template).source;
        words.iter().any(|word| source.contains(*word))
    }

    /// The template with the macros before it that it, or those, mention.
    pub(super) fn assemble<'a>(&'a self, template: &str) -> Assembled<'a> {
        let template = mutable_lists(template);
        let template = moved_moments(&template);
        let mut wanted = BTreeSet::new();
        let mut open: Vec<usize> = Vec::new();
        let reach = |words: &mut dyn Iterator<Item = &str>, open: &mut Vec<usize>| {
            for word in words {
                open.extend(self.words.get(word).into_iter().flatten());
            }
        };
        if !self.files.is_empty() {
            reach(&mut blocks::words(&template).into_iter(), &mut open);
        }
        while let Some(at) = open.pop() {
            if wanted.insert(at)
                && let Some(file) = self.files.get(at)
            {
                reach(&mut file.needs.iter().map(String::as_str), &mut open);
            }
        }
        if wanted.is_empty() {
            return Assembled { source: template.into_owned(), offset: 0, files: Vec::new() };
        }
        let mut source = String::new();
        let mut files = Vec::new();
        for file in wanted.into_iter().filter_map(|at| self.files.get(at)) {
            files.push((source.len(), &file.source));
            source.push_str(&file.text);
        }
        source.push(MARK);
        let offset = source.len();
        source.push_str(&template);
        Assembled { source, offset, files }
    }
}

impl Assembled<'_> {
    /// The output without that of the macros.
    pub(super) fn after(&self, output: String) -> String {
        if self.files.is_empty() {
            return output;
        }
        output.split_once(MARK).map(|(_, rest)| rest.to_owned()).unwrap_or(output)
    }

    /// The file and line of a place before the template.
    pub(super) fn place(&self, at: usize) -> Option<String> {
        let (start, file) = self.files.iter().rev().find(|(start, _)| *start <= at)?;
        Some(format!("{}:{}", file.path, file.span(at - start, 1).line))
    }
}
