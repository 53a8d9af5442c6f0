//! Draft models of an advice: dimensions, facts and bridges with their keys and references tested.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;

use flywheel_algo::search::words;
use flywheel_base::{Error, Result};
use flywheel_project::datax::scalar;
use serde_json::json;

use super::{Proposal, Role, Shape, Suggestion};
use crate::Workspace;

/// Dimensions that are copied into one another at most.
const DEPTH_MAX: usize = 8;

/// Files of a draft, each with its path from the project's folder.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The files.
    pub files: Vec<(String, String)>,
}

/// Makes draft models in the schema `schema`, as a star or a snowflake.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Blocked`] if a table has not landed, so that a model has nothing to read;
/// [`flywheel_base::ErrorKind::Invalid`] if `schema` is no name, or a model of a name of the draft exists.
pub fn draft(
    workspace: &Workspace,
    suggestion: &Suggestion,
    shape: Shape,
    schema: &str,
) -> Result<Draft> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !schema.starts_with(|c: char| c.is_ascii_lowercase()) || !schema.chars().all(plain) {
        return Err(Error::invalid(format!("\"{schema}\" cannot be a schema's name"))
            .hint("Write lower-case letters, digits and _, beginning with a letter."));
    }
    let missing: Vec<&str> = suggestion
        .landed
        .iter()
        .filter(|(_, landed)| landed.is_none())
        .map(|(table, _)| table.as_str())
        .collect();
    if !missing.is_empty() {
        return Err(Error::blocked(format!("no sync lands {}, so that models have nothing to read", missing.join(", ")))
            .hint("Make a sync with `flywheel discover CONNECTION --save`, run `flywheel sync`, and ask again."));
    }
    let making = Making::new(suggestion, shape);
    for (table, model) in &making.models {
        if workspace.project.models.contains_key(model) {
            return Err(Error::invalid(format!(
                "the model \"{model}\", which would be made of {table}, exists already"
            ))
            .hint("Remove or rename it, or leave the table out with --tables."));
        }
    }
    let mut files = Vec::new();
    let mut yaml = "version: 2\nmodels:\n".to_owned();
    for proposal in
        suggestion.advice.tables.iter().filter(|one| making.models.contains_key(&one.table))
    {
        let Some(model) = making.models.get(&proposal.table) else { continue };
        files.push((format!("models/{schema}/{model}.sql"), making.sql(proposal)));
        making.properties(&mut yaml, proposal, model);
        if let Some(key) = proposal.key.as_ref().filter(|key| key.columns.len() > 1) {
            let columns: Vec<String> = key.columns.iter().map(|name| quoted(name)).collect();
            let columns = columns.join(", ");
            let sql = format!(
                "-- {}\nselect {columns}, count(*) as rows_of_the_key\nfrom {{{{ ref('{model}') }}}}\ngroup by {columns}\nhaving count(*) > 1\n",
                proposal.grain
            );
            files.push((format!("tests/{model}_key.sql"), sql));
        }
    }
    making.sources(workspace, &mut yaml);
    files.push((format!("models/{schema}/{schema}.yml"), yaml));
    Ok(Draft { files })
}

/// Writes a draft: all files, or none if one is there already.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a file exists; those of the file system.
pub fn write(workspace: &Workspace, draft: &Draft) -> Result<()> {
    for (path, _) in &draft.files {
        if workspace.dir().join(path).exists() {
            return Err(Error::invalid(format!("{path} is there already"))
                .hint("Nothing was written. Choose another --schema, or remove the file."));
        }
    }
    let mut written = Vec::new();
    for (path, text) in &draft.files {
        let full = workspace.dir().join(path);
        let made = full.parent().map_or(Ok(()), fs::create_dir_all);
        let made = made
            .and_then(|()| File::create_new(&full))
            .and_then(|mut file| file.write_all(text.as_bytes()));
        if let Err(error) = made {
            let mut error = Error::io("write", &full, error);
            for path in &written {
                if let Err(left) = fs::remove_file(path) {
                    error = error.context(format!("a part of the draft was left behind ({left})"));
                }
            }
            return Err(error);
        }
        written.push(full);
    }
    Ok(())
}

struct Making<'a> {
    suggestion: &'a Suggestion,
    shape: Shape,
    proposals: BTreeMap<&'a str, &'a Proposal>,
    /// The model made of each table; none for a dimension that is copied into others.
    models: BTreeMap<String, String>,
}

/// A column of a model: whose it is, its name there and here.
struct Selected {
    alias: String,
    column: String,
    name: String,
}

impl<'a> Making<'a> {
    fn new(suggestion: &'a Suggestion, shape: Shape) -> Self {
        let proposals =
            suggestion.advice.tables.iter().map(|one| (one.table.as_str(), one)).collect();
        let mut taken = BTreeSet::new();
        let mut models = BTreeMap::new();
        for one in &suggestion.advice.tables {
            if shape == Shape::Star && one.outrigger {
                continue;
            }
            let prefix = match one.role {
                Role::Fact => "fct",
                Role::Dimension => "dim",
                Role::Bridge => "bridge",
            };
            let said = ["fact", "fct", "dim", "bridge", "stg", "raw"];
            let kept: Vec<String> = words(&one.table)
                .into_iter()
                .filter(|word| !said.contains(&word.as_str()))
                .collect();
            let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
            let base: String = kept.join("_").chars().map(plain).collect();
            let mut name = format!("{prefix}_{base}");
            while !taken.insert(name.clone()) {
                name.push('_');
            }
            models.insert(one.table.clone(), name);
        }
        Self { suggestion, shape, proposals, models }
    }

    fn source(&self, table: &str) -> String {
        let landed = self.suggestion.landed.get(table).cloned().flatten().unwrap_or_default();
        let (schema, name) = landed.split_once('.').unwrap_or(("raw", &landed));
        format!("{{{{ source('{schema}', '{name}') }}}}")
    }

    fn columns(&self, table: &str) -> &[String] {
        self.suggestion.columns.get(table).map_or(&[], Vec::as_slice)
    }

    fn sql(&self, proposal: &Proposal) -> String {
        let mut selected = Vec::new();
        let mut joins = String::new();
        self.copy(proposal, "t", &mut selected, &mut joins, 0);
        let mut text = "{{ config(materialized='table') }}\n\n".to_owned();
        line(&mut text, format_args!("-- {}: {}", proposal.role.word(), proposal.grain));
        text.push_str("select\n");
        let last = selected.len().saturating_sub(1);
        for (at, Selected { alias, column, name }) in selected.iter().enumerate() {
            let comma = if at == last { "" } else { "," };
            let named =
                if column == name { String::new() } else { format!(" as {}", quoted(name)) };
            line(&mut text, format_args!("    {alias}.{}{named}{comma}", quoted(column)));
        }
        line(&mut text, format_args!("from {} as t", self.source(&proposal.table)));
        text.push_str(&joins);
        text
    }

    /// Selects the columns of a table, and those of dimensions that are copied into it.
    fn copy(
        &self,
        proposal: &Proposal,
        alias: &str,
        selected: &mut Vec<Selected>,
        joins: &mut String,
        depth: usize,
    ) {
        let key_of_copied = |column: &String| {
            depth > 0 && proposal.key.as_ref().is_some_and(|key| key.columns.contains(column))
        };
        for column in self.columns(&proposal.table).iter().filter(|column| !key_of_copied(column)) {
            let mut name = column.clone();
            let taken = |name: &str| selected.iter().any(|one| one.name.eq_ignore_ascii_case(name));
            if taken(&name) {
                name = format!("{}_{name}", words(&proposal.table).join("_"));
            }
            while taken(&name) {
                name.push('_');
            }
            selected.push(Selected { alias: alias.to_owned(), column: column.clone(), name });
        }
        if self.shape != Shape::Star || proposal.role != Role::Dimension || depth >= DEPTH_MAX {
            return;
        }
        for (at, reference) in proposal.references.iter().enumerate() {
            let copied = self
                .proposals
                .get(reference.table.as_str())
                .filter(|one| one.outrigger && one.table != proposal.table);
            let Some(copied) = copied else { continue };
            let other = format!("{alias}{}", at + 1);
            let on = reference.columns.iter().zip(&reference.key);
            let on: Vec<String> = on
                .map(|(ours, theirs)| {
                    format!("{alias}.{} = {other}.{}", quoted(ours), quoted(theirs))
                })
                .collect();
            line(
                joins,
                format_args!(
                    "left join {} as {other} on {}",
                    self.source(&copied.table),
                    on.join(" and ")
                ),
            );
            self.copy(copied, &other, selected, joins, depth + 1);
        }
    }

    fn properties(&self, yaml: &mut String, proposal: &Proposal, model: &str) {
        let reasons = proposal.reasons.join("; ");
        let description = format!(
            "{}: {}. Proposed with confidence {:.2}: {reasons}.",
            capital(proposal.role.word()),
            proposal.grain,
            proposal.confidence
        );
        line(yaml, format_args!("  - name: {model}"));
        line(yaml, format_args!("    description: {}", scalar(&json!(description))));
        let mut columns: Vec<(String, Vec<String>, Option<String>)> = Vec::new();
        let mut column = |name: &str, test: Option<String>, said: Option<String>| {
            let at = columns.iter().position(|(known, ..)| known == name).unwrap_or_else(|| {
                columns.push((name.to_owned(), Vec::new(), None));
                columns.len() - 1
            });
            if let Some((_, tests, description)) = columns.get_mut(at) {
                tests.extend(test);
                *description = description.take().or(said);
            }
        };
        for name in proposal.key.iter().flat_map(|key| &key.columns) {
            column(name, Some("not_null".to_owned()), None);
        }
        if let Some([one]) = proposal.key.as_ref().map(|key| key.columns.as_slice()) {
            column(one, Some("unique".to_owned()), Some("What identifies a row.".to_owned()));
        }
        for reference in &proposal.references {
            let ([ours], [theirs]) = (reference.columns.as_slice(), reference.key.as_slice())
            else {
                continue;
            };
            let Some(to) = self.models.get(&reference.table) else { continue };
            // What is not found everywhere today is no reason to stop publication.
            let severity = if reference.found < 1.0 { ", severity: warn" } else { "" };
            let test = format!(
                "relationships: {{to: \"ref('{to}')\", field: {}{severity}}}",
                scalar(&json!(theirs))
            );
            column(
                ours,
                Some(test),
                Some(format!("Refers to {to}: {}.", reference.reasons.join("; "))),
            );
        }
        for attribute in &proposal.attributes {
            let how = match attribute.change {
                super::Change::Never => "Never changes",
                super::Change::Replace => "Replaced when it changes (type 1)",
                super::Change::Keep => "Its past is worth keeping (type 2)",
            };
            column(&attribute.column, None, Some(format!("{how}: {}.", attribute.reason)));
        }
        if columns.is_empty() {
            return;
        }
        yaml.push_str("    columns:\n");
        for (name, tests, description) in columns {
            line(yaml, format_args!("      - name: {}", scalar(&json!(name))));
            if let Some(description) = description {
                line(yaml, format_args!("        description: {}", scalar(&json!(description))));
            }
            if !tests.is_empty() {
                yaml.push_str("        tests:\n");
                tests.iter().for_each(|test| line(yaml, format_args!("          - {test}")));
            }
        }
    }

    /// Declares tables of the lake that no file mentions.
    fn sources(&self, workspace: &Workspace, yaml: &mut String) {
        let mut unknown: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for landed in self.suggestion.landed.values().flatten() {
            let is_model =
                workspace.project.models.values().any(|model| model.relation() == *landed);
            if workspace.project.sources.contains_key(landed) || is_model {
                continue;
            }
            if let Some((schema, table)) = landed.split_once('.') {
                unknown.entry(schema).or_default().push(table);
            }
        }
        if unknown.is_empty() {
            return;
        }
        yaml.push_str("sources:\n");
        for (schema, tables) in unknown {
            line(yaml, format_args!("  - name: {schema}\n    tables:"));
            tables.iter().for_each(|table| line(yaml, format_args!("      - name: {table}")));
        }
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A name as it is written in SQL.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    // Words of SQL are short and common, so that a name of one word is quoted as well.
    if name.contains('_')
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(plain)
    {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Adds a line; writing to a text cannot fail.
fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").unwrap_or_default();
}
