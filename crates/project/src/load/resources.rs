//! YAML files to resources.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{Declared, Loaded, PROJECT_FILE, Read, renamed, walk};
use crate::dbt::{self, Block, DBT_PROJECT_FILE, DbtProject};
use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::draft::Draft;
use crate::file::SourceFile;
use crate::graph::{NodeId, NodeKind};
use crate::model::SettingsOf;
use crate::names;
use crate::project::Choices;
use crate::resource::RESOURCES;
use crate::resource::project_file::ProjectFile;
use crate::validate::{self, Rules};
use crate::yaml::{self, Node, Style, Value};

const YAML: &[&str] = &["yaml", "yml"];

impl Loaded {
    /// Reads `flywheel.yaml` and `dbt_project.yml`; false if there is neither, so that nothing else makes
    /// sense.
    pub(super) fn read_project(&mut self, dir: &Path, choices: &Choices) -> bool {
        let (ours, dbts) = (dir.join(PROJECT_FILE).is_file(), dir.join(DBT_PROJECT_FILE).is_file());
        if !ours && !dbts {
            self.out.push_path(
                PROJECT_FILE,
                Diagnostic::error(Span::FILE, "the folder has no flywheel.yaml")
                    .hint("Go to the project's folder, or make one with `flywheel init shop`."),
            );
            return false;
        }
        if dbts {
            self.dbt = DbtProject::read(dir, choices, &mut self.out);
            if let Some(dbt) = &self.dbt {
                self.layout = dbt.layout.clone();
                self.vars.clone_from(&dbt.vars);
            }
        }
        if ours {
            self.read_project_file(dir, choices);
        } else if let Some(dbt) = &self.dbt {
            let value = ProjectFile::of_dbt(&dbt.globals.project, dbt.vars.clone());
            let node = Node { value: Value::Null, span: Span::FILE, style: Style::Plain };
            self.project = Some(Read { value, file: Arc::clone(&dbt.configs.file), node });
        }
        true
    }

    fn read_project_file(&mut self, dir: &Path, choices: &Choices) {
        let Some((file, mut node)) = read_tree(dir, PROJECT_FILE, &mut self.out) else { return };
        strip_plus(&mut node);
        if let Some(serde_json::Value::Object(vars)) = node.get("vars").map(Node::to_json) {
            self.vars.extend(vars);
        }
        self.vars.extend(choices.vars.clone());
        let schema = schemars::schema_for!(ProjectFile);
        let rules = Rules { subject: "the project", schema: &schema, secrets: false };
        if let Some(mut value) = validate::read::<ProjectFile>(&file, &node, rules, &mut self.out) {
            value.vars.clone_from(&self.vars);
            self.project = Some(Read { value, file, node });
        }
    }

    pub(super) fn read_resources(&mut self, dir: &Path) {
        self.connections = self.read_kind(dir, NodeKind::Connection);
        self.syncs = self.read_kind(dir, NodeKind::Sync);
        self.topics = self.read_kind(dir, NodeKind::Topic);
        self.links = self.read_kind(dir, NodeKind::Link);
        self.splits = self.read_kind(dir, NodeKind::Split);
        self.merges = self.read_kind(dir, NodeKind::Merge);
        self.dictionaries = self.read_kind(dir, NodeKind::Dictionary);
        self.qualities = self.read_kind(dir, NodeKind::Quality);
        self.semantics = self.read_kind(dir, NodeKind::Semantic);
        self.dashboards = self.read_kind(dir, NodeKind::Dashboard);
        self.queries = self.read_kind(dir, NodeKind::Query);
        self.learners = self.read_kind(dir, NodeKind::Learner);
        self.policies = self.read_kind(dir, NodeKind::Policy);
        self.actions = self.read_kind(dir, NodeKind::Action);
        self.schedules = self.read_kind(dir, NodeKind::Schedule);
        self.alerts = self.read_kind(dir, NodeKind::Alert);
        self.rules = self.read_kind(dir, NodeKind::Rule);
        self.grants = self.read_kind(dir, NodeKind::Grant);
        self.extensions = self.read_kind(dir, NodeKind::Extension);
    }

    fn read_kind<T: DeserializeOwned>(
        &mut self,
        dir: &Path,
        kind: NodeKind,
    ) -> BTreeMap<String, Read<T>> {
        let word = kind.word();
        let mut read = BTreeMap::new();
        let Some(resource) = RESOURCES.iter().find(|resource| resource.name == word) else {
            return read;
        };
        let schema = (resource.schema)();
        let mut paths = match kind {
            NodeKind::Extension => walk::extensions(dir, &mut self.out),
            _ => walk::files(dir, resource.folder, YAML, &mut self.out),
        };
        let draft = self.draft.clone().filter(|draft| draft.kind == kind);
        // It comes last, so that a name that is taken is a mistake of the draft.
        if let Some(draft) = &draft
            && !draft.gone
            && !paths.contains(&draft.path)
        {
            paths.push(draft.path.clone());
        }
        for path in paths {
            // The shell makes it before `flywheel discover NAME > syncs/NAME.yaml` begins. Of other kinds, such as rules, an
            // empty file may stand for one that was lost.
            let drafted = draft.as_ref().is_some_and(|draft| draft.path == path);
            if kind == NodeKind::Sync && !drafted && says_nothing(dir, &path) {
                let hint = "Declare something in it, or remove it; `flywheel discover NAME --save` writes such a file.";
                let told = Diagnostic::warning(Span::FILE, "the file is empty").hint(hint);
                self.out.push_path(&path, told);
                continue;
            }
            let tree = match &draft {
                Some(draft) if draft.path == path && draft.gone => None,
                Some(draft) if draft.path == path => draft_tree(draft, &mut self.out),
                _ => read_tree(dir, &path, &mut self.out),
            };
            let Some((file, mut node)) = tree else { continue };
            renamed::rename(word, &file, &mut node, &mut self.out);
            let name =
                node.entry(word).and_then(|(_, name)| Some((name.text()?.to_owned(), name.span)));
            let subject = match &name {
                Some((name, _)) => format!("{word} \"{name}\""),
                None => format!("the {word}"),
            };
            let rules = Rules { subject: &subject, schema: &schema, secrets: false };
            let value = validate::read(&file, &node, rules, &mut self.out);
            if value.is_none() && kind == NodeKind::Semantic {
                self.unread_metrics.extend(metrics_of(&node));
            }
            let Some((name, span)) = name else { continue };
            let fresh = self.declare(NodeId::new(kind, &name), &file, span);
            if let Some(value) = value
                && fresh
            {
                read.insert(name, Read { value, file, node });
            }
        }
        read
    }

    pub(super) fn read_properties(&mut self, dir: &Path) {
        let schema = schemars::schema_for!(crate::resource::properties::Properties);
        let layout = self.layout.clone();
        let mut folders = vec![layout.models, layout.seeds, layout.snapshots];
        if layout.dbt {
            folders.push(layout.tests);
        }
        let mut paths = Vec::new();
        for folder in folders.concat() {
            paths.extend(walk::files(dir, &folder, YAML, &mut self.out));
        }
        paths.sort();
        paths.dedup();
        for path in paths {
            if layout.dbt && says_nothing(dir, &path) {
                continue;
            }
            let Some((file, mut node)) = read_tree(dir, &path, &mut self.out) else { continue };
            let mut macros = Arc::clone(&self.macros);
            let setting = dbt::Setting { file: &file, dbt: layout.dbt };
            let extra = dbt::normalise(setting, &mut node, &mut macros, &mut self.out);
            self.macros = macros;
            self.extras.push((Arc::clone(&file), extra));
            if layout.dbt {
                let macros = Arc::clone(&self.macros);
                dbt::render_notes(&file, &mut node, &self.vars, &macros, &mut self.out);
            }
            let defaults = self.defaults(Block::Tests, SettingsOf::Test, &path);
            self.test_defaults.insert(path.clone(), defaults);
            if let Some(dbt) = &self.dbt {
                let sources = match &mut node.value {
                    Value::Map(entries) => {
                        entries.iter_mut().find(|(key, _)| key.name == "sources")
                    }
                    _ => None,
                };
                if let Some((_, sources)) = sources {
                    dbt::render_texts(&file, sources, &self.vars, &dbt.globals, &mut self.out);
                }
            }
            let rules = Rules { subject: "the property file", schema: &schema, secrets: false };
            if let Some(value) = validate::read(&file, &node, rules, &mut self.out) {
                self.properties.push(Read { value, file, node });
            }
        }
    }

    /// A model's name as it is here: of dbt's projects in lower case, as SQL folds it, so that `Dim_Customers.sql` is
    /// `dim_customers`.
    pub(crate) fn folded(&self, name: &str) -> String {
        match self.layout.dbt {
            true => name.to_ascii_lowercase(),
            false => name.to_owned(),
        }
    }

    /// Notes a name; false, and an error, if it is taken or not a name.
    pub(super) fn declare(&mut self, id: NodeId, file: &SourceFile, span: Span) -> bool {
        if let Some(problem) = names::problem(&id.name) {
            let message = format!("{id} is not a good name: it {problem}");
            self.out.push(file, Diagnostic::error(span, message).hint(names::HINT));
        }
        if let Some(first) = self.declared.get(&id) {
            let message = format!("{id} is declared twice");
            let hint =
                format!("Rename one of them; the other is in {}:{}.", first.file, first.line);
            self.out.push(file, Diagnostic::error(span, message).hint(hint));
            return false;
        }
        self.declared.insert(id, Declared { file: file.path.clone(), line: span.line.max(1) });
        true
    }
}

/// Whether a file holds nothing but comments, as files that wait to be filled in do.
fn says_nothing(dir: &Path, path: &str) -> bool {
    let Ok(file) = SourceFile::read(dir, path) else { return false };
    file.text.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---"
    })
}

/// Reads a YAML file into a tree that is not empty.
pub(crate) fn read_tree(
    dir: &Path,
    path: &str,
    out: &mut Diagnostics,
) -> Option<(Arc<SourceFile>, Node)> {
    match SourceFile::read(dir, path) {
        Ok(file) => tree_of(file, out),
        Err(diagnostic) => {
            out.push_path(path, *diagnostic);
            None
        }
    }
}

/// Reads a draft as its file would be.
fn draft_tree(draft: &Draft, out: &mut Diagnostics) -> Option<(Arc<SourceFile>, Node)> {
    match SourceFile::decode(&draft.path, draft.text.clone().into_bytes()) {
        Ok(file) => tree_of(file, out),
        Err(diagnostic) => {
            out.push_path(&draft.path, *diagnostic);
            None
        }
    }
}

/// The names of the metrics of a semantic view's file.
fn metrics_of(node: &Node) -> Vec<String> {
    match node.get("metrics").map(|metrics| &metrics.value) {
        Some(Value::Map(entries)) => entries.iter().map(|(key, _)| key.name.clone()).collect(),
        _ => Vec::new(),
    }
}

fn tree_of(file: SourceFile, out: &mut Diagnostics) -> Option<(Arc<SourceFile>, Node)> {
    let before = out.len();
    match yaml::parse(&file, out) {
        Some(node) if node.value != Value::Null => Some((Arc::new(file), node)),
        _ if out.len() > before => None,
        _ => {
            let hint = "Declare something in it, or remove it.";
            out.push(&file, Diagnostic::error(Span::FILE, "the file is empty").hint(hint));
            None
        }
    }
}

/// dbt writes the settings of `models:` with a plus sign; it means the same without.
fn strip_plus(node: &mut Node) {
    let Value::Map(entries) = &mut node.value else { return };
    let models = entries.iter_mut().filter(|(key, _)| key.name == "models");
    for (_, models) in models {
        let Value::Map(folders) = &mut models.value else { continue };
        for (_, settings) in folders {
            let Value::Map(settings) = &mut settings.value else { continue };
            for (key, _) in settings {
                if let Some(bare) = key.name.strip_prefix('+') {
                    key.name = bare.to_owned();
                }
            }
        }
    }
}
