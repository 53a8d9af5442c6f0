//! Projects in dbt's own layout: `dbt_project.yml` and `profiles.yml` instead of, or beside,
//! `flywheel.yaml`.
//!
//! They are read as they are. What means nothing here (threads, paths of logs) is passed over; what
//! would change the result and is not done is a warning.

mod configs;
mod packages;
mod properties;
mod semantic;
mod settle;
mod versions;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value as Json};

pub(crate) use configs::{Block, Configs};
pub(crate) use packages::warn_of_missing;
pub(crate) use properties::{Extra, Setting, literal, normalise, quoted, render_notes};
pub(crate) use semantic::{Import, wait};
pub(crate) use settle::settle;

use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::file::SourceFile;
use crate::load::read_tree;
use crate::model::{SCHEMA_DEFAULT, Vars};
use crate::project::{Choices, DbtSettings};
use crate::template::{self, DbtGlobals, Macros, RenderContext};
use crate::yaml::{Node, Value, scalar};

/// dbt's project file.
pub(crate) const DBT_PROJECT_FILE: &str = "dbt_project.yml";

/// dbt's file of connections; only one in the project folder is read.
const PROFILES_FILE: &str = "profiles.yml";

/// Keys of `dbt_project.yml` that mean something here.
const KNOWN: &[&str] = &[
    "name",
    "profile",
    "model-paths",
    "source-paths",
    "seed-paths",
    "data-paths",
    "snapshot-paths",
    "test-paths",
    "macro-paths",
    "packages-install-path",
    "vars",
    "models",
    "seeds",
    "snapshots",
    "tests",
    "data_tests",
    "target-path",
    "on-run-start",
    "on-run-end",
];

/// Keys that mean nothing here.
const PASSED_OVER: &[&str] = &[
    "version",
    "config-version",
    "require-dbt-version",
    "analysis-paths",
    "asset-paths",
    "docs-paths",
    "function-paths",
    "clean-targets",
    "log-path",
    "query-comment",
    "quoting",
    "dispatch",
    "flags",
    "sources",
    "exposures",
    "metrics",
    "semantic-models",
    "saved-queries",
    "unit_tests",
    "unit-tests",
    "functions",
    "semantic_models",
    "saved_queries",
    "dbt-cloud",
    "restrict-access",
];

/// Keys whose templates are dbt's alone.
const NEVER_RENDERED: &[&str] = &["query-comment"];

/// Keys that dbt called otherwise before its release 1.0, and goes on reading.
const FORMER: &[(&str, &str)] = &[("source-paths", "model-paths"), ("data-paths", "seed-paths")];

/// Keys of folders in which nothing is ours to read.
const OTHERS_FOLDERS: &[&str] = &["analysis-paths", "asset-paths", "docs-paths", "function-paths"];

/// Keys of a profile's target that templates see as `target`; whatever else is there may be a secret.
const TARGET_KEYS: &[&str] = &["type", "schema", "threads", "database", "dbname"];

/// Where a project's files lie, relative to its folder.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// Whether it is dbt's layout.
    pub(crate) dbt: bool,
    pub(crate) models: Vec<String>,
    pub(crate) seeds: Vec<String>,
    pub(crate) snapshots: Vec<String>,
    pub(crate) tests: Vec<String>,
    pub(crate) macros: Vec<String>,
    pub(crate) packages: String,
    /// Folders that the project names for what means nothing here.
    pub(crate) passed_over: Vec<String>,
}

impl Default for Layout {
    fn default() -> Self {
        let one = |folder: &str| vec![folder.to_owned()];
        Self {
            dbt: false,
            models: one("models"),
            seeds: one("seeds"),
            snapshots: one("snapshots"),
            tests: one("tests"),
            macros: one("macros"),
            packages: "dbt_packages".to_owned(),
            passed_over: Vec::new(),
        }
    }
}

/// A project of dbt's.
#[derive(Clone, Debug)]
pub(crate) struct DbtProject {
    /// What templates know of it.
    pub(crate) globals: DbtGlobals,
    /// Where its files lie.
    pub(crate) layout: Layout,
    /// Its variables.
    pub(crate) vars: Vars,
    /// Settings by folder.
    pub(crate) configs: Configs,
    /// What commands know of it.
    pub(crate) settings: DbtSettings,
}

impl DbtProject {
    /// Reads `dbt_project.yml` and `profiles.yml`; none if the first is missing or has mistakes.
    pub(crate) fn read(dir: &Path, choices: &Choices, out: &mut Diagnostics) -> Option<Self> {
        let (file, mut node) = read_tree(dir, DBT_PROJECT_FILE, out)?;
        let Value::Map(entries) = &node.value else {
            let hint = "Write `name: my_project` and so on.";
            let message = "dbt_project.yml is not a mapping";
            out.push(&file, Diagnostic::error(node.span, message).hint(hint));
            return None;
        };
        for (key, _) in entries {
            warn_of_key(&file, &key.name, key.span, out);
        }
        let Some(name) = node.get("name").and_then(Node::text).map(str::to_owned) else {
            let hint = "Write `name: my_project`.";
            out.push(
                &file,
                Diagnostic::error(Span::FILE, "dbt_project.yml has no name").hint(hint),
            );
            return None;
        };
        let mut globals = DbtGlobals { project: name.clone(), target: Map::new() };
        let mut vars = vars(node.get("vars"), &name);
        vars.extend(choices.vars.clone());
        let profile = node.get("profile").and_then(Node::text).unwrap_or(&name).to_owned();
        let chosen = Chosen { profile: &profile, target: choices.target.as_deref() };
        globals.target = target(dir, chosen, &vars, &globals, out);
        // What nothing reads may be a template of dbt's own moment, such as `query-comment`.
        if let Value::Map(entries) = &mut node.value {
            entries.retain(|(key, _)| !NEVER_RENDERED.contains(&key.name.as_str()));
        }
        render_texts(&file, &mut node, &vars, &globals, out);
        let layout = layout(&file, &node, out);
        let configs = Configs::new(Arc::clone(&file), &name, &node);
        let settings = settings(&name, &node, &globals);
        Some(Self { globals, layout, vars, configs, settings })
    }

    /// The schema of everything that names no other.
    pub(crate) fn schema(&self) -> &str {
        self.globals.target.get("schema").and_then(Json::as_str).unwrap_or(SCHEMA_DEFAULT)
    }
}

fn warn_of_key(file: &SourceFile, key: &str, span: Span, out: &mut Diagnostics) {
    if !KNOWN.contains(&key) && !PASSED_OVER.contains(&key) {
        let hint = flywheel_base::suggest::hint(key, KNOWN.iter().copied());
        let message = format!("nothing reads \"{key}\" of dbt_project.yml");
        out.push(file, Diagnostic::warning(span, message).hint(hint));
    }
    if let Some((_, now)) = FORMER.iter().find(|(former, _)| *former == key) {
        let message = format!("\"{key}\" has been called \"{now}\" since dbt 1.0");
        out.push(file, Diagnostic::warning(span, message).hint(format!("Write `{now}:`.")));
    }
}

/// The project's variables: those for everybody, and over them those under the project's name.
fn vars(node: Option<&Node>, project: &str) -> Vars {
    let Some(Json::Object(all)) = node.map(Node::to_json) else { return Vars::new() };
    let own = all.get(project).and_then(Json::as_object).cloned();
    let everybodys = all.into_iter().filter(|(name, _)| name != project);
    let mut vars: Vars = everybodys.collect();
    vars.extend(own.unwrap_or_default());
    vars
}

fn layout(file: &SourceFile, node: &Node, out: &mut Diagnostics) -> Layout {
    let default = Layout::default();
    let mut paths = |key: &str, default: Vec<String>| {
        let former = FORMER.iter().find(|(_, now)| *now == key).map(|(former, _)| *former);
        let named = node.get(key).or_else(|| former.and_then(|former| node.get(former)));
        let Some(node) = named else { return default };
        let mut kept = Vec::new();
        for item in node.items() {
            let text = item.text().unwrap_or_default().trim_matches('/');
            let text = text.strip_prefix("./").unwrap_or(text);
            let outside = text.split('/').any(|part| part == "..") || Path::new(text).is_absolute();
            if text.is_empty() || outside {
                let message = format!("{key} has to name folders of the project");
                let hint = "Write `[\"models\"]`, relative to dbt_project.yml and inside of it.";
                out.push(file, Diagnostic::error(item.span, message).hint(hint));
            } else {
                kept.push(text.to_owned());
            }
        }
        kept
    };
    Layout {
        dbt: true,
        models: paths("model-paths", default.models),
        seeds: paths("seed-paths", default.seeds),
        snapshots: paths("snapshot-paths", default.snapshots),
        tests: paths("test-paths", default.tests),
        macros: paths("macro-paths", default.macros),
        packages: match node.get("packages-install-path").and_then(Node::text) {
            Some(path) if !path.contains("..") && !path.starts_with('/') => path.to_owned(),
            _ => default.packages,
        },
        passed_over: OTHERS_FOLDERS
            .iter()
            .filter_map(|key| node.get(key))
            .flat_map(Node::items)
            .filter_map(Node::text)
            .map(|path| path.trim_start_matches("./").trim_matches('/').to_owned())
            // dbt's own name for them.
            .chain(["functions".to_owned()])
            .collect(),
    }
}

/// Databases that divide whole numbers to a whole number, as our SQL does by itself.
const WHOLE_DIVISION: &[&str] = &[
    "postgres",
    "redshift",
    "sqlserver",
    "fabric",
    "synapse",
    "trino",
    "athena",
    "sqlite",
    "materialize",
    "risingwave",
    "greenplum",
];

fn settings(name: &str, node: &Node, globals: &DbtGlobals) -> DbtSettings {
    let text = |key: &str| globals.target.get(key).and_then(Json::as_str).unwrap_or_default();
    let statements = |key: &str| {
        let Some(node) = node.get(key) else { return Vec::new() };
        let one = node.text().map(str::to_owned).into_iter();
        let many = node.items().iter().filter_map(|item| item.text().map(str::to_owned));
        one.chain(many).collect()
    };
    let path = node.get("target-path").and_then(Node::text).unwrap_or("target");
    let inside = !path.starts_with('/') && !path.split('/').any(|part| part == "..");
    DbtSettings {
        name: name.to_owned(),
        target: text("name").to_owned(),
        exact_division: !WHOLE_DIVISION.contains(&text("type")),
        target_path: if inside { path.to_owned() } else { "target".to_owned() },
        on_run_start: statements("on-run-start"),
        on_run_end: statements("on-run-end"),
    }
}

/// Which output of which profile.
#[derive(Clone, Copy)]
struct Chosen<'a> {
    profile: &'a str,
    target: Option<&'a str>,
}

/// Where `profiles.yml` is looked for: in the project, where the environment says, in the home folder.
fn profiles_folder(dir: &Path) -> Option<PathBuf> {
    let named = flywheel_base::env::optional("DBT_PROFILES_DIR").map(PathBuf::from);
    let home = flywheel_base::env::optional("HOME").map(|home| Path::new(&home).join(".dbt"));
    let places = [Some(dir.to_owned()), named, home];
    places.into_iter().flatten().find(|place| place.join(PROFILES_FILE).is_file())
}

/// dbt's `target`: what a template may know of the profile's chosen output.
fn target(
    dir: &Path,
    chosen: Chosen<'_>,
    vars: &Vars,
    globals: &DbtGlobals,
    out: &mut Diagnostics,
) -> Map<String, Json> {
    let profile = chosen.profile;
    let wanted = chosen.target;
    let text = |text: &str| Json::String(text.to_owned());
    let mut target = Map::from_iter([
        ("name".to_owned(), text("dev")),
        ("target_name".to_owned(), text("dev")),
        ("profile_name".to_owned(), text(profile)),
        ("schema".to_owned(), text(SCHEMA_DEFAULT)),
        ("database".to_owned(), text("flywheel")),
        ("type".to_owned(), text("duckdb")),
        ("threads".to_owned(), 1.into()),
    ]);
    if let Some(wanted) = wanted {
        target.insert("name".to_owned(), text(wanted));
        target.insert("target_name".to_owned(), text(wanted));
    }
    let Some(place) = profiles_folder(dir) else { return target };
    let Some((file, mut node)) = read_tree(&place, PROFILES_FILE, out) else { return target };
    keep_only(&mut node, profile);
    let chosen = node.get(profile).cloned();
    let Some(mut chosen) = chosen else {
        // The file of a person's other projects need not know this one.
        if place != dir {
            return target;
        }
        let message = format!("profiles.yml has no profile \"{profile}\"");
        let Value::Map(entries) = &node.value else { return target };
        let hint =
            flywheel_base::suggest::hint(profile, entries.iter().map(|(key, _)| key.name.as_str()));
        out.push(&file, Diagnostic::error(Span::FILE, message).hint(hint));
        return target;
    };
    // Only what is shown to templates is rendered, so that a profile's secrets need not be there.
    if let Value::Map(entries) = &mut chosen.value {
        for (_, node) in entries.iter_mut().filter(|(key, _)| key.name == "target") {
            render_texts(&file, node, vars, globals, out);
        }
    }
    let by_file = chosen.get("target").and_then(Node::text).unwrap_or("default");
    let name = wanted.unwrap_or(by_file).to_owned();
    let outputs = chosen.get("outputs");
    let Some(output) = outputs.and_then(|outputs| outputs.get(&name)) else {
        let message = format!("profile \"{profile}\" has no output \"{name}\"");
        let known: Vec<&str> = match outputs.map(|outputs| &outputs.value) {
            Some(Value::Map(entries)) => entries.iter().map(|(key, _)| key.name.as_str()).collect(),
            _ => Vec::new(),
        };
        let hint = flywheel_base::suggest::hint(&name, known);
        out.push(&file, Diagnostic::error(chosen.span, message).hint(hint));
        return target;
    };
    target.insert("name".to_owned(), text(&name));
    target.insert("target_name".to_owned(), text(&name));
    for key in TARGET_KEYS {
        let Some(mut node) = output.get(key).cloned() else { continue };
        let mut said = Diagnostics::default();
        render_texts(&file, &mut node, vars, globals, &mut said);
        if said.has_errors() {
            // What a person's own environment would say is not for templates; the default does.
            let message =
                format!("{key} of profile {profile} cannot be read, so the default is used");
            let hint =
                "Templates see environment variables that start with DBT_; or write the value.";
            out.push(&file, Diagnostic::warning(node.span, message).hint(hint));
            continue;
        }
        // PostgreSQL's profiles call the database `dbname`, and templates ask for it by both names.
        let both = if *key == "dbname" { "database" } else { key };
        target.insert(both.to_owned(), node.to_json());
        target.insert((*key).to_owned(), node.to_json());
    }
    target
}

/// Drops all entries of a mapping but one, which other projects may share the file with.
fn keep_only(node: &mut Node, name: &str) {
    if let Value::Map(entries) = &mut node.value
        && entries.iter().any(|(key, _)| key.name == name)
    {
        entries.retain(|(key, _)| key.name == name);
    }
}

/// Replaces every text that is a template by what it gives: a number or truth value if it is one.
pub(crate) fn render_texts(
    file: &SourceFile,
    node: &mut Node,
    vars: &Vars,
    globals: &DbtGlobals,
    out: &mut Diagnostics,
) {
    match &mut node.value {
        Value::Text(text) if text.contains("{{") || text.contains("{%") => {
            let macros = Macros::of(Some(globals.clone()));
            match render_text(text, vars, &Arc::new(macros)) {
                Ok(rendered) => node.value = scalar::resolve(rendered.trim()),
                Err(fault) => out.push(file, fault.into_diagnostic(|_| node.span)),
            }
        }
        Value::List(items) => {
            items.iter_mut().for_each(|item| render_texts(file, item, vars, globals, out));
        }
        Value::Map(entries) => {
            for (key, item) in entries {
                // Hooks are templates of a later moment.
                if !key.name.contains("hook") && !key.name.starts_with("on-run-") {
                    render_texts(file, item, vars, globals, out);
                }
            }
        }
        _ => {}
    }
}

/// Renders a text that reads no table.
pub(crate) fn render_text(
    text: &str,
    vars: &BTreeMap<String, Json>,
    macros: &Arc<Macros>,
) -> Result<String, Box<template::Fault>> {
    let context = RenderContext {
        vars,
        incremental: false,
        this: String::new(),
        resolve_ref: &|name| Ok(name.to_owned()),
        resolve_source: &|source, table| Ok(format!("{source}.{table}")),
    };
    template::render(text, &context, macros)
}

#[cfg(test)]
mod tests;
