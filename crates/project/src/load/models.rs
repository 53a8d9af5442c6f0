//! SQL files to models and tests.

use std::path::Path;
use std::sync::Arc;

use schemars::Schema;
use serde_json::{Map, Value as Json};

use super::{Loaded, ReadSql, walk};
use crate::diagnostic::{Diagnostic, Span};
use crate::file::SourceFile;
use crate::graph::{NodeId, NodeKind};
use crate::model::{self, IncrementalStrategy, Model, Settings, SingularTest};
use crate::names;
use crate::resource::project_file::{Materialized, ProjectFile};
use crate::template::{self, Macros, Scan};
use crate::validate::{self, Rules};
use crate::yaml::{Key, Node, Step, Style, Value};

impl Loaded {
    pub(super) fn read_macros(&mut self, dir: &Path) {
        let mut macros = Macros::default();
        for path in walk::files(dir, "macros", &["sql"], &mut self.out) {
            let Some((file, _)) = self.read_sql(dir, &path) else { continue };
            match template::scan(&file.text, &self.vars, &Macros::default()) {
                Ok(_) => macros.add(&file),
                Err(fault) => self.push_fault(&file, *fault),
            }
        }
        self.macros = Arc::new(macros);
    }

    pub(super) fn read_models(&mut self, dir: &Path) {
        let schema = model::settings_schema(false);
        for path in walk::files(dir, "models", &["sql"], &mut self.out) {
            let Some((file, name)) = self.read_sql(dir, &path) else { continue };
            let fresh = self.declare(NodeId::new(NodeKind::Model, &name), &file, Span::FILE);
            let Some((scan, in_sql)) = self.scan(&file, &schema) else { continue };
            let in_properties = self.settings_in_properties(&name, &schema);
            let by_default = defaults(self.project.as_ref().map(|read| &read.value), &path);
            let settings = in_sql.over(in_properties).over(by_default);
            let schema_name = settings.schema.clone().unwrap_or_else(|| first_folder(&path));
            let config = settings.into_config();
            let (refs, sources) = model::split(scan.references);
            let model = Model {
                name: name.clone(),
                schema: schema_name,
                path,
                sql_template: file.text.clone(),
                config,
                refs,
                sources,
                description: None,
                columns: Vec::new(),
                tests: Vec::new(),
                macros: Arc::clone(&self.macros),
            };
            self.check_model(&file, &model);
            if fresh {
                self.models.insert(name, ReadSql { value: model, file });
            }
        }
    }

    pub(super) fn read_tests(&mut self, dir: &Path) {
        let schema = model::settings_schema(true);
        for path in walk::files(dir, "tests", &["sql"], &mut self.out) {
            let Some((file, name)) = self.read_sql(dir, &path) else { continue };
            if let Some(problem) = names::problem(&name) {
                let message = format!("test \"{name}\" is not a good name: it {problem}");
                self.out.push(&file, Diagnostic::error(Span::FILE, message).hint(names::HINT));
            }
            if let Some(other) = self.singular_tests.iter().find(|test| test.value.name == name) {
                let message = format!("test \"{name}\" is declared twice");
                let hint = format!("Rename one of them; the other is {}.", other.value.path);
                self.out.push(&file, Diagnostic::error(Span::FILE, message).hint(hint));
                continue;
            }
            let Some((scan, settings)) = self.scan(&file, &schema) else { continue };
            let (refs, sources) = model::split(scan.references);
            let severity = settings.severity.unwrap_or_default();
            let config = settings.into_config();
            if config.enabled {
                let sql = file.text.clone();
                let tags = config.tags;
                let macros = Arc::clone(&self.macros);
                let value = SingularTest { name, path, sql, severity, tags, refs, sources, macros };
                self.singular_tests.push(ReadSql { value, file });
            }
        }
    }

    fn read_sql(&mut self, dir: &Path, path: &str) -> Option<(Arc<SourceFile>, String)> {
        let file = match SourceFile::read(dir, path) {
            Ok(file) => file,
            Err(diagnostic) => {
                self.out.push_path(path, *diagnostic);
                return None;
            }
        };
        if file.text.trim().is_empty() {
            let hint = "Write a SELECT, or remove the file.";
            self.out.push(&file, Diagnostic::error(Span::FILE, "the file is empty").hint(hint));
            return None;
        }
        let name = path.rsplit('/').next().and_then(|name| name.strip_suffix(".sql"))?.to_owned();
        Some((Arc::new(file), name))
    }

    /// What the template refers to, and its `config(…)`.
    fn scan(&mut self, file: &SourceFile, schema: &Schema) -> Option<(Scan, Settings)> {
        let scan = match template::scan(&file.text, &self.vars, &self.macros) {
            Ok(scan) => scan,
            Err(fault) => {
                self.push_fault(file, *fault);
                return None;
            }
        };
        let node = config_tree(file, &scan.config);
        let rules = Rules { subject: "config()", schema, secrets: false };
        let settings = validate::read(file, &node, rules, &mut self.out)?;
        Some((scan, settings))
    }

    /// The settings under `config:` of the model's property file.
    fn settings_in_properties(&mut self, name: &str, schema: &Schema) -> Settings {
        for read in &self.properties {
            let mut models = read.value.models.iter().enumerate();
            let Some((index, _)) = models.find(|(_, model)| model.name == name) else { continue };
            let path = [Step::Key("models"), Step::Item(index)];
            let Some(node) = read.node.find(&path).get("config") else { continue };
            let subject = format!("the config of model \"{name}\"");
            let rules = Rules { subject: &subject, schema, secrets: false };
            let settings = validate::read(&read.file, node, rules, &mut self.out);
            return settings.unwrap_or_default();
        }
        Settings::default()
    }

    fn check_model(&mut self, file: &SourceFile, model: &Model) {
        let at = |word: &str| find_word(file, word).unwrap_or(Span::FILE);
        if let Some(problem) = names::problem(&model.schema) {
            let message = format!("schema \"{}\" is not a good name: it {problem}", model.schema);
            self.out.push(file, Diagnostic::error(at("schema"), message).hint(names::HINT));
        }
        if names::RESERVED_SCHEMAS.contains(&model.schema.as_str()) {
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
        if !incremental && !config.unique_key.is_empty() {
            let message =
                format!("model \"{}\" has a unique_key but is not incremental", model.name);
            let hint = "Remove it, or add materialized='incremental'.";
            self.out.push(file, Diagnostic::warning(at("unique_key"), message).hint(hint));
        }
    }
}

/// The folder below `models/`, which is the schema's default.
fn first_folder(path: &str) -> String {
    let mut parts = path.split('/').skip(1);
    match (parts.next(), parts.next()) {
        (Some(folder), Some(_)) => folder.to_owned(),
        _ => model::SCHEMA_DEFAULT.to_owned(),
    }
}

/// The defaults of the folders the file lies in, the inner over the outer.
fn defaults(project: Option<&ProjectFile>, path: &str) -> Settings {
    let mut settings = Settings::default();
    let Some(project) = project else { return settings };
    let folders: Vec<&str> = path.split('/').skip(1).collect();
    for depth in 1..folders.len() {
        if let Some(defaults) = project.models.get(&folders[..depth].join("/")) {
            settings = Settings::from(defaults).over(settings);
        }
    }
    settings
}

/// The arguments of `config(…)` as a tree with their places in the file.
fn config_tree(file: &SourceFile, config: &Map<String, Json>) -> Node {
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
fn find_word(file: &SourceFile, word: &str) -> Option<Span> {
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
