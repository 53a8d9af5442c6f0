//! SQL files to models and tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::{Loaded, ReadSql, walk};
use crate::dbt::{self, Block};
use crate::diagnostic::{Diagnostic, Span};
use crate::file::SourceFile;
use crate::graph::{NodeId, NodeKind};
use crate::model::{self, IncrementalStrategy, Model, SettingsOf, SingularTest};
use crate::names;
use crate::resource::project_file::Materialized;
use crate::template::{self, Macros, blocks};
use crate::yaml::{Key, Node, Style, Value};

impl Loaded {
    pub(super) fn read_macros(&mut self, dir: &Path) {
        let mut macros = Macros::of(self.dbt.as_ref().map(|dbt| dbt.globals.clone()));
        macros.add_built_in();
        for folder in self.layout.macros.clone() {
            self.read_macro_folder(dir, &folder, "", &mut macros);
        }
        if self.layout.dbt {
            for package in walk::folders(dir, &self.layout.packages) {
                let folder = format!("{}/{package}/macros", self.layout.packages);
                self.read_macro_folder(dir, &folder, &package, &mut macros);
            }
            // Generic tests of the project may also lie in tests/generic.
            for folder in self.layout.tests.clone() {
                self.read_macro_folder(dir, &format!("{folder}/generic"), "", &mut macros);
            }
        }
        self.macros = Arc::new(macros);
        if self.layout.dbt {
            dbt::warn_of_missing(dir, &self.layout.packages, &self.macros, &mut self.out);
        }
    }

    /// Reads `{% docs name %}` blocks of the folders of models.
    pub(super) fn read_docs(&mut self, dir: &Path) {
        if !self.layout.dbt {
            return;
        }
        let mut docs = BTreeMap::new();
        let layout = self.layout.clone();
        let folders = [layout.models, layout.seeds, layout.snapshots, layout.macros].concat();
        for folder in folders {
            for path in walk::files(dir, &folder, &["md"], &mut self.out) {
                let Ok(file) = SourceFile::read(dir, &path) else { continue };
                docs.extend(docs_of(&file.text));
            }
        }
        if !docs.is_empty() {
            Arc::make_mut(&mut self.macros).docs = docs;
        }
    }

    fn read_macro_folder(&mut self, dir: &Path, folder: &str, package: &str, macros: &mut Macros) {
        for path in walk::files(dir, folder, &["sql"], &mut self.out) {
            // A file that waits to be filled in declares nothing.
            let empty = SourceFile::read(dir, &path).is_ok_and(|file| file.text.trim().is_empty());
            if self.layout.dbt && empty {
                continue;
            }
            let Some((file, _)) = self.read_sql(dir, &path) else { continue };
            match template::parse(&file.text) {
                Ok(()) => macros.add(package, &file),
                // A package's macro may be written for an engine that knows more; without it, whoever
                // calls it is told.
                Err(fault) if package.is_empty() => self.push_fault(&file, *fault),
                Err(_) => {}
            }
        }
    }

    pub(super) fn read_models(&mut self, dir: &Path) {
        for folder in self.layout.models.clone() {
            for path in walk::files(dir, &folder, &["py"], &mut self.out) {
                let message = "models in Python are not built";
                let hint =
                    "Write it in SQL, or build it with dbt and read its table with source().";
                self.out.push_path(&path, Diagnostic::warning(Span::FILE, message).hint(hint));
            }
            for path in walk::files(dir, &folder, &["sql"], &mut self.out) {
                let inside = path.get(folder.len() + 1..).unwrap_or(&path).to_owned();
                self.read_model(dir, &path, &format!("models/{inside}"));
            }
        }
    }

    /// The newest version's name for a file that has the name of all versions and is none of them itself.
    fn latest(&self, name: String) -> String {
        match self.macros.version_of(&name, None) {
            Some(latest) if self.macros.name_and_version(&name).is_none() => latest.to_owned(),
            _ => name,
        }
    }

    /// Reads the model at `path`, which lies at `inside` below the folder of models.
    fn read_model(&mut self, dir: &Path, path: &str, inside: &str) {
        let Some((file, name)) = self.read_sql(dir, path) else { return };
        let name = self.latest(self.folded(&name));
        let fresh = self.declare(NodeId::new(NodeKind::Model, &name), &file, Span::FILE);
        let Some((scan, in_sql)) = self.scan(&file, SettingsOf::Model) else { return };
        let in_properties = self.settings_in_properties(&name, SettingsOf::Model);
        let by_default = self.defaults(Block::Models, SettingsOf::Model, inside);
        let settings = in_sql.over(in_properties).over(by_default);
        let schema = self.schema_of(&file, &name, &settings, ("model", inside));
        let settings = self.named(&file, &name, settings);
        let config = settings.into_config(self.layout.dbt);
        let (refs, sources) = model::split(scan.references);
        let model = Model {
            name: name.clone(),
            schema,
            path: path.to_owned(),
            sql_template: file.text.clone(),
            config,
            refs,
            sources,
            metrics: scan.metrics,
            metric_tables: BTreeSet::new(),
            description: None,
            columns: Vec::new(),
            tests: Vec::new(),
            unit_tests: Vec::new(),
            constraints: Vec::new(),
            seed: None,
            snapshot: None,
            macros: Arc::clone(&self.macros),
        };
        self.check_model(&file, &model);
        if fresh {
            self.models.insert(name, ReadSql { value: model, file });
        }
    }

    pub(super) fn read_tests(&mut self, dir: &Path) {
        for folder in self.layout.tests.clone() {
            for path in walk::files(dir, &folder, &["sql"], &mut self.out) {
                let other = ["generic", "fixtures"];
                let other = other.iter().any(|o| path.starts_with(&format!("{folder}/{o}/")));
                if !(self.layout.dbt && other) {
                    self.read_test(dir, path);
                }
            }
        }
    }

    fn read_test(&mut self, dir: &Path, path: String) {
        let Some((file, name)) = self.read_sql(dir, &path) else { return };
        if let Some(problem) = names::problem(&name).filter(|_| !self.layout.dbt) {
            let message = format!("test \"{name}\" is not a good name: it {problem}");
            self.out.push(&file, Diagnostic::error(Span::FILE, message).hint(names::HINT));
        }
        if let Some(other) = self.singular_tests.iter().find(|test| test.value.name == name) {
            let message = format!("test \"{name}\" is declared twice");
            let hint = format!("Rename one of them; the other is {}.", other.value.path);
            self.out.push(&file, Diagnostic::error(Span::FILE, message).hint(hint));
            return;
        }
        let Some((scan, in_sql)) = self.scan(&file, SettingsOf::Test) else { return };
        let settings = in_sql.over(self.defaults(Block::Tests, SettingsOf::Test, &path));
        let (refs, sources) = model::split(scan.references);
        let severity = settings.severity.unwrap_or_default();
        let threshold = match settings.threshold() {
            Ok(threshold) => threshold,
            Err(error) => {
                let span = find_word(&file, "error_if").or_else(|| find_word(&file, "warn_if"));
                let hint = error.hint_text().unwrap_or_default().to_owned();
                let diagnostic = Diagnostic::error(span.unwrap_or(Span::FILE), error.message());
                self.out.push(&file, diagnostic.hint(hint));
                return;
            }
        };
        let failures = self.failures(&name, &settings);
        let config = settings.into_config(self.layout.dbt);
        if config.enabled {
            let sql = file.text.clone();
            let tags = config.tags;
            let macros = Arc::clone(&self.macros);
            let value = SingularTest {
                name,
                path,
                sql,
                severity,
                threshold,
                failures,
                tags,
                refs,
                sources,
                macros,
            };
            self.singular_tests.push(ReadSql { value, file });
        }
    }

    pub(super) fn read_sql(&mut self, dir: &Path, path: &str) -> Option<(Arc<SourceFile>, String)> {
        let file = match SourceFile::read(dir, path) {
            Ok(file) => file,
            Err(diagnostic) => {
                self.out.push_path(path, *diagnostic);
                return None;
            }
        };
        if file.text.trim().is_empty() {
            let hint = "Write a SELECT, or remove the file.";
            // dbt passes over a file that waits to be written.
            let told = match self.layout.dbt {
                true => Diagnostic::warning(Span::FILE, "the file is empty"),
                false => Diagnostic::error(Span::FILE, "the file is empty"),
            };
            self.out.push(&file, told.hint(hint));
            return None;
        }
        let name = path.rsplit('/').next().and_then(|name| name.strip_suffix(".sql"))?.to_owned();
        Some((Arc::new(file), name))
    }

    pub(super) fn check_model(&mut self, file: &SourceFile, model: &Model) {
        let at = |word: &str| find_word(file, word).unwrap_or(Span::FILE);
        if let Some(problem) = names::problem(&model.schema) {
            let message = format!("schema \"{}\" is not a good name: it {problem}", model.schema);
            self.out.push(file, Diagnostic::error(at("schema"), message).hint(names::HINT));
        }
        // Where nothing is synced, `raw` is a schema like others: dbt's seeds are often put there.
        let raw = self.layout.dbt && model.schema == "raw";
        if names::RESERVED_SCHEMAS.contains(&model.schema.as_str()) && !raw {
            let message = format!("schema \"{}\" is not for models", model.schema);
            let hint = "Choose another folder or schema; raw, learn and system are written by the platform.";
            self.out.push(file, Diagnostic::error(at("schema"), message).hint(hint));
        }
        let config = &model.config;
        let incremental = config.materialized == Materialized::Incremental;
        if incremental
            && config.incremental_strategy == IncrementalStrategy::Merge
            && config.unique_key.is_empty()
        {
            let message = format!("model \"{}\" merges without a unique_key", model.name);
            let hint = "Add unique_key='…' to config(), or use incremental_strategy='append'.";
            self.out.push(file, Diagnostic::error(at("incremental_strategy"), message).hint(hint));
        }
        if incremental
            && config.incremental_strategy == IncrementalStrategy::DeleteInsert
            && config.unique_key.is_empty()
        {
            let message = format!("model \"{}\" deletes without a unique_key", model.name);
            let hint = "Add unique_key='…' to config(), or use incremental_strategy='append'.";
            self.out.push(file, Diagnostic::error(at("incremental_strategy"), message).hint(hint));
        }
        if incremental
            && config.incremental_strategy == IncrementalStrategy::Microbatch
            && (config.event_time.is_none() || config.batch_size.is_none())
        {
            let message =
                format!("model \"{}\" has batches without event_time and batch_size", model.name);
            let hint =
                "Write config(event_time='ordered_at', batch_size='day', begin='2024-01-01').";
            self.out.push(file, Diagnostic::error(at("incremental_strategy"), message).hint(hint));
        }
        if let Some(begin) = config.begin.as_deref().filter(|_| incremental)
            && let Err(error) = flywheel_base::Timestamp::parse(begin)
        {
            let message =
                format!("model \"{}\" begins at no date: {}", model.name, error.message());
            let hint = "Write one such as begin='2024-01-01'.";
            self.out.push(file, Diagnostic::error(at("begin"), message).hint(hint));
        }
        let keyed = incremental || model.snapshot.is_some();
        if !keyed && !self.layout.dbt && !config.unique_key.is_empty() {
            let message =
                format!("model \"{}\" has a unique_key but is not incremental", model.name);
            let hint = "Remove it, or add materialized='incremental'.";
            self.out.push(file, Diagnostic::warning(at("unique_key"), message).hint(hint));
        }
    }
}

/// The `{% docs name %}` blocks of a text.
fn docs_of(text: &str) -> Vec<(String, String)> {
    let mut open: Option<(String, usize)> = None;
    let mut found = Vec::new();
    for tag in blocks::tags(text) {
        match (tag.word, open.take()) {
            ("docs", None) => open = Some((tag.name().to_owned(), tag.end)),
            ("enddocs", Some((name, start))) => {
                found.push((name, text[start..tag.start].trim().to_owned()));
            }
            (_, other) => open = other,
        }
    }
    found
}

/// The arguments of `config(…)` as a tree with their places in the file.
pub(super) fn config_tree(file: &SourceFile, config: &Map<String, Json>) -> Node {
    let start = find_word(file, "config").unwrap_or(Span::FILE);
    let entries = config.iter().map(|(name, value)| {
        let span = find_word(file, name).unwrap_or(start);
        (Key { name: name.clone(), span }, tree(value, span))
    });
    Node { value: Value::Map(entries.collect()), span: start, style: Style::Plain }
}

fn tree(value: &Json, span: Span) -> Node {
    let value = match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Float(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(|item| tree(item, span)).collect()),
        Json::Object(map) => Value::Map(
            map.iter()
                .map(|(name, value)| (Key { name: name.clone(), span }, tree(value, span)))
                .collect(),
        ),
    };
    Node { value, span, style: Style::Plain }
}

/// The first place where `word` stands alone inside a template expression.
pub(super) fn find_word(file: &SourceFile, word: &str) -> Option<Span> {
    let start = file.text.find("{{").or_else(|| file.text.find("{%"))?;
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = file.text.match_indices(word).filter(|(at, _)| *at >= start);
    found
        .find(|(at, _)| {
            let before = file.text[..*at].chars().next_back();
            let after = file.text[at + word.len()..].chars().next();
            !before.is_some_and(inside) && !after.is_some_and(inside)
        })
        .map(|(at, _)| file.span(at, word.len()))
}
