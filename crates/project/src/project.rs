//! A loaded project.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use flywheel_base::{Error, Result, Secret, suggest};
use schemars::Schema;
use serde_json::{Map, Value as Json};

use crate::check;
use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::draft::Draft;
use crate::file::SourceFile;
use crate::grant::lacking;
use crate::graph::{Graph, NodeId, NodeKind};
use crate::load::{Loaded, Read};
use crate::metric::Semantics;
use crate::model::{Model, ModelTest, SingularTest};
use crate::resource::RESOURCES;
use crate::resource::action::Action;
use crate::resource::alert::Alert;
use crate::resource::connection::Connection;
use crate::resource::dashboard::Dashboard;
use crate::resource::dictionary::Dictionary;
use crate::resource::extension::Extension;
use crate::resource::grant::Grant;
use crate::resource::learner::Learner;
use crate::resource::link::Link;
use crate::resource::merge::Merge;
use crate::resource::policy::Policy;
use crate::resource::project_file::ProjectFile;
use crate::resource::quality::{Quality, QualityCheck};
use crate::resource::query::{PublishedQuery, QueryParameter};
use crate::resource::rule::Rule;
use crate::resource::schedule::Schedule;
use crate::resource::semantic::Semantic;
use crate::resource::split::Split;
use crate::resource::sync::Sync;
use crate::resource::topic::Topic;
use crate::secret;
use crate::source::Source;
use crate::template::{self, Macros, Reference, RenderContext};
use crate::vault::Vault;
use crate::yaml::{self, Step};

/// What the connectors allow in `options:`; the caller knows them, this crate does not.
///
/// With an empty map, types and options of that kind are not checked.
#[derive(Clone, Debug, Default)]
pub struct Connectors {
    /// By the `type` of a connection.
    pub connections: BTreeMap<String, ConnectorSchemas>,
    /// The schema of `options`, by the `type` of an action.
    pub actions: BTreeMap<String, Schema>,
    /// What a column's `clean` and `mask` may be; without it they are not checked.
    pub forms: Option<ColumnForms>,
    /// What the SQL and the values of published queries may be; without it they are not checked.
    pub queries: Option<QueryForms>,
    /// Whether a URL or a host is of the own network by what it says; without it such addresses are not warned of.
    pub private: Option<fn(&str) -> bool>,
}

/// Checks of published queries, which take an engine. An error's message and hint are shown at the text's place.
#[derive(Clone, Copy, Debug)]
pub struct QueryForms {
    /// What a query reads, if it is one `SELECT`.
    pub reads: fn(&str) -> Result<QueryReads>,
    /// Checks that a text is a value of a parameter's type: the parameter, then the text.
    pub value: fn(&QueryParameter, &str) -> Result<()>,
}

/// What a query names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryReads {
    /// The parameters, without their `$`.
    pub parameters: BTreeSet<String>,
    /// The tables, as the query calls them: `mart.orders` or `orders`.
    pub tables: BTreeSet<String>,
}

/// Checks of the short texts of a column. An error's message and hint are shown at the text's place.
#[derive(Clone, Copy, Debug)]
pub struct ColumnForms {
    /// Checks one entry of `clean`.
    pub clean: fn(&str) -> Result<()>,
    /// Checks a `mask`; true if different values stay different, so that the column can be a key.
    pub mask: fn(&str) -> Result<bool>,
    /// Checks that an expression is SQL; whether it fits the columns is seen when rows are there.
    pub sql: fn(&str) -> Result<()>,
}

/// What one connector allows.
#[derive(Clone, Debug)]
pub struct ConnectorSchemas {
    /// The schema of a connection's `options`.
    pub connection: Schema,
    /// The schema of a stream's `options`; none if it cannot be read.
    pub stream: Option<Schema>,
    /// Whether it has a log of changes that can be read.
    pub cdc: bool,
    /// The schema of a stream's `target` and the write modes, by their names in files; none if it
    /// cannot be written.
    pub target: Option<(Schema, Vec<String>)>,
    /// Whether an action can write records into it.
    pub upserts: bool,
}

/// A resource and where it is declared.
#[derive(Clone, Debug)]
pub struct Located<T> {
    /// The resource.
    pub value: T,
    /// The file, relative to the project folder.
    pub file: String,
    /// The line of its name.
    pub line: usize,
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// What a command line says about a project's variables and a dbt project's target.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// Variables that win over those of the files.
    pub vars: BTreeMap<String, Json>,
    /// The profile's output, if not the one that the profile names.
    pub target: Option<String>,
}

impl Choices {
    /// Reads variables as dbt's `--vars` has them: `{since: 2024-01-01}`, or `since: 2024-01-01`.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if it is not a mapping.
    pub fn vars(text: &str) -> Result<BTreeMap<String, Json>> {
        let file = SourceFile::new("--vars", text);
        let mut out = Diagnostics::default();
        match yaml::parse(&file, &mut out).map(|node| node.to_json()) {
            Some(Json::Object(map)) if !out.has_errors() => Ok(map.into_iter().collect()),
            _ => Err(Error::invalid(format!("--vars is not a mapping: {text}"))
                .hint("Write one such as --vars '{since: 2024-01-01, small: true}'.")),
        }
    }
}

/// A project without mistakes.
#[derive(Clone, Debug)]
pub struct Project {
    /// The project folder.
    pub dir: PathBuf,
    /// `flywheel.yaml`.
    pub file: ProjectFile,
    /// Connections by name.
    pub connections: BTreeMap<String, Located<Connection>>,
    /// Syncs by name.
    pub syncs: BTreeMap<String, Located<Sync>>,
    /// Declared topics by name.
    pub topics: BTreeMap<String, Located<Topic>>,
    /// Links by name.
    pub links: BTreeMap<String, Located<Link>>,
    /// Splits by name.
    pub splits: BTreeMap<String, Located<Split>>,
    /// Merges by name.
    pub merges: BTreeMap<String, Located<Merge>>,
    /// SQL models by name, with what property files say about them.
    pub models: BTreeMap<String, Model>,
    /// Landed and declared tables by `schema.table`.
    pub sources: BTreeMap<String, Source>,
    /// Tests that are queries, by name.
    pub singular_tests: BTreeMap<String, SingularTest>,
    /// Semantic views by name.
    pub semantics: BTreeMap<String, Located<Semantic>>,
    /// The node of the table each semantic view describes, by the view's name.
    pub semantic_tables: BTreeMap<String, NodeId>,
    /// Data standards by name.
    pub dictionaries: BTreeMap<String, Located<Dictionary>>,
    /// Quality files by name.
    pub qualities: BTreeMap<String, Located<Quality>>,
    /// The node of the table of the lake that each quality file is about; none for one outside.
    pub quality_tables: BTreeMap<String, NodeId>,
    /// Dashboards by name.
    pub dashboards: BTreeMap<String, Located<Dashboard>>,
    /// Published queries by name.
    pub queries: BTreeMap<String, Located<PublishedQuery>>,
    /// Learners by name.
    pub learners: BTreeMap<String, Located<Learner>>,
    /// Policies by name.
    pub policies: BTreeMap<String, Located<Policy>>,
    /// Actions by name.
    pub actions: BTreeMap<String, Located<Action>>,
    /// Schedules by name.
    pub schedules: BTreeMap<String, Located<Schedule>>,
    /// Alerts by name.
    pub alerts: BTreeMap<String, Located<Alert>>,
    /// Rules by name.
    pub rules: BTreeMap<String, Located<Rule>>,
    /// Grants by name.
    pub grants: BTreeMap<String, Located<Grant>>,
    /// Extensions by name.
    pub extensions: BTreeMap<String, Located<Extension>>,
    /// What depends on what.
    pub graph: Graph,
    /// What is probably not as meant.
    pub warnings: Diagnostics,
    /// The macros that templates may call.
    pub macros: Arc<Macros>,
    /// `dbt_project.yml`, if there is one.
    pub dbt: Option<DbtSettings>,
    /// The schema behind each name for `source()`.
    source_schemas: BTreeMap<String, String>,
    /// Tables that are called otherwise in their schema, by source and name.
    identifiers: BTreeMap<(String, String), String>,
}

/// What commands know of a dbt project.
#[derive(Clone, Debug, Default)]
pub struct DbtSettings {
    /// The project's name.
    pub name: String,
    /// The target's name, such as `dev`.
    pub target: String,
    /// Whether the target's database divides whole numbers exactly: `7 / 2` is 3.5.
    pub exact_division: bool,
    /// Where `manifest.json` and `run_results.json` are written, relative to the project's folder.
    pub target_path: String,
    /// Statements before everything, as templates.
    pub on_run_start: Vec<String>,
    /// Statements after everything, as templates.
    pub on_run_end: Vec<String>,
}

impl Project {
    /// Reads and checks the folder.
    ///
    /// # Errors
    /// Every mistake in every file, sorted by place, warnings included.
    pub fn load(dir: &Path, connectors: &Connectors) -> Result<Self, Diagnostics> {
        Self::load_with(dir, connectors, &Choices::default())
    }

    /// As [`Project::load`], with what a command line says about a dbt project.
    ///
    /// # Errors
    /// As [`Project::load`].
    pub fn load_with(
        dir: &Path,
        connectors: &Connectors,
        choices: &Choices,
    ) -> Result<Self, Diagnostics> {
        Self::of(Loaded::read(dir, choices, None), dir, connectors)
    }

    /// As [`Project::load_with`], as if the draft were a file of the folder, in the place of one at the same path.
    ///
    /// # Errors
    /// As [`Project::load`]; those of the draft name its path.
    pub fn load_with_draft(
        dir: &Path,
        connectors: &Connectors,
        choices: &Choices,
        draft: &Draft,
    ) -> Result<Self, Diagnostics> {
        Self::of(Loaded::read(dir, choices, Some(draft)), dir, connectors)
    }

    /// The errors of a draft for somebody who does not see all that the files declare: what `hides` says is told of as what is
    /// not there. Of other files nothing is told, and no hint guesses at names.
    #[must_use]
    pub fn mistakes_of_draft(
        dir: &Path,
        connectors: &Connectors,
        choices: &Choices,
        draft: &Draft,
        hides: &dyn Fn(&NodeId) -> bool,
    ) -> Diagnostics {
        let mut loaded = Loaded::read(dir, choices, Some(draft));
        loaded.forget(hides);
        // What is left out here is missed in other files, more often than mistakes are kept.
        loaded.out = loaded.out.only_of_file(&draft.path);
        let checked = check::check(&mut loaded, connectors, Some(hides));
        // A warning may tell that no sync lands a table, which it does not where the table is hidden.
        let mut own = checked.out.of_file(&draft.path).bare_errors();
        own.sort();
        own
    }

    /// What is declared in files of its own, one in each: the name and the file, relative to the project folder, by name. Of
    /// kinds that are declared otherwise there is nothing.
    #[must_use]
    pub fn declared(&self, kind: NodeKind) -> Vec<(&str, &str)> {
        fn of<T>(all: &BTreeMap<String, Located<T>>) -> Vec<(&str, &str)> {
            all.iter().map(|(name, one)| (name.as_str(), one.file.as_str())).collect()
        }
        match kind {
            NodeKind::Connection => of(&self.connections),
            NodeKind::Sync => of(&self.syncs),
            NodeKind::Topic => of(&self.topics),
            NodeKind::Link => of(&self.links),
            NodeKind::Split => of(&self.splits),
            NodeKind::Merge => of(&self.merges),
            NodeKind::Semantic => of(&self.semantics),
            NodeKind::Dictionary => of(&self.dictionaries),
            NodeKind::Quality => of(&self.qualities),
            NodeKind::Dashboard => of(&self.dashboards),
            NodeKind::Query => of(&self.queries),
            NodeKind::Learner => of(&self.learners),
            NodeKind::Policy => of(&self.policies),
            NodeKind::Action => of(&self.actions),
            NodeKind::Schedule => of(&self.schedules),
            NodeKind::Alert => of(&self.alerts),
            NodeKind::Rule => of(&self.rules),
            NodeKind::Grant => of(&self.grants),
            NodeKind::Extension => of(&self.extensions),
            NodeKind::Source | NodeKind::Model | NodeKind::Metric | NodeKind::Exposure => {
                Vec::new()
            }
        }
    }

    /// The file that declares something, relative to the project folder.
    #[must_use]
    pub fn path_of(&self, kind: NodeKind, name: &str) -> Option<&str> {
        self.declared(kind).into_iter().find(|(known, _)| *known == name).map(|(_, file)| file)
    }

    /// Checks what was read.
    fn of(mut loaded: Loaded, dir: &Path, connectors: &Connectors) -> Result<Self, Diagnostics> {
        let mut checked = check::check(&mut loaded, connectors, None);
        checked.out.sort();
        let file = match loaded.project {
            Some(project) if !checked.out.has_errors() => project.value,
            _ => return Err(checked.out),
        };
        let mut models = BTreeMap::new();
        for (name, read) in loaded.models {
            let mut model = read.value;
            model.metric_tables = checked.metric_tables.remove(&name).unwrap_or_default();
            if let Some(described) = checked.described.remove(&name) {
                model.description = described.description;
                model.columns = described.columns;
                model.constraints = described.constraints;
                model.tests = described.tests;
                model.unit_tests = described.unit_tests;
            }
            models.insert(name, model);
        }
        let tests = loaded.singular_tests.into_iter().map(|read| read.value);
        let tests = tests.chain(checked.key_tests);
        let mut project = Self {
            dir: dir.to_owned(),
            file,
            connections: located(loaded.connections, "connection"),
            syncs: located(loaded.syncs, "sync"),
            topics: located(loaded.topics, "topic"),
            links: located(loaded.links, "link"),
            splits: located(loaded.splits, "split"),
            merges: located(loaded.merges, "merge"),
            models,
            sources: checked.sources,
            singular_tests: tests.map(|test| (test.name.clone(), test)).collect(),
            semantics: located(loaded.semantics, "semantic"),
            semantic_tables: checked.semantic_tables,
            dictionaries: located(loaded.dictionaries, "dictionary"),
            qualities: located(loaded.qualities, "quality"),
            quality_tables: checked.quality_tables,
            dashboards: located(loaded.dashboards, "dashboard"),
            queries: located(loaded.queries, "query"),
            learners: located(loaded.learners, "learner"),
            policies: located(loaded.policies, "policy"),
            actions: located(loaded.actions, "action"),
            schedules: located(loaded.schedules, "schedule"),
            alerts: located(loaded.alerts, "alert"),
            rules: located(loaded.rules, "rule"),
            grants: located(loaded.grants, "grant"),
            extensions: located(loaded.extensions, "extension"),
            graph: checked.graph,
            warnings: checked.out,
            macros: loaded.macros,
            dbt: loaded.dbt.map(|dbt| dbt.settings),
            source_schemas: checked.source_schemas,
            identifiers: checked.identifiers,
        };
        let lacking = lacking::warnings(&project);
        project.warnings.extend(lacking);
        project.warnings.sort();
        Ok(project)
    }

    /// Looks upward from `start` for the folder with a `flywheel.yaml` or a `dbt_project.yml`.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if there is none up to the root.
    pub fn find(start: &Path) -> Result<PathBuf> {
        let start = std::path::absolute(start)
            .map_err(|error| Error::io("find the folder", start, error))?;
        let found = start.ancestors().find(|dir| crate::load::is_project(dir));
        found.map(Path::to_owned).ok_or_else(|| {
            Error::not_found(format!(
                "neither {} nor a folder above it has a flywheel.yaml",
                start.display()
            ))
            .hint("Go to the project's folder, or make one with `flywheel init shop`.")
        })
    }

    /// The project file alone, so that a project whose other files have mistakes can still be backed up.
    ///
    /// # Errors
    /// The mistakes of `flywheel.yaml` or `dbt_project.yml`.
    pub fn file_of(dir: &Path, choices: &Choices) -> Result<ProjectFile, Diagnostics> {
        let loaded = Loaded::read_file(dir, choices);
        loaded.project.map(|project| project.value).ok_or(loaded.out)
    }

    /// The lake's folder.
    #[must_use]
    pub fn lake_dir(&self) -> PathBuf {
        self.dir.join(&self.file.lake)
    }

    /// The model named `name`.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] with the nearest name.
    pub fn model(&self, name: &str) -> Result<&Model> {
        self.models.get(name).ok_or_else(|| {
            Error::not_found(format!("no model is named \"{name}\""))
                .hint(suggest::hint(name, self.models.keys().map(String::as_str)))
        })
    }

    /// The node that `ref('name')` means.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] with the nearest name.
    pub fn ref_node(&self, name: &str) -> Result<NodeId> {
        if self.models.contains_key(name) {
            return Ok(NodeId::new(NodeKind::Model, name));
        }
        if self.learners.contains_key(name) {
            return Ok(NodeId::new(NodeKind::Learner, name));
        }
        let known = self.models.keys().chain(self.learners.keys()).map(String::as_str);
        Err(Error::not_found(format!("ref('{name}') names no model or learner"))
            .hint(suggest::hint(name, known)))
    }

    /// The SQL name of what `ref('name')` means: `schema.name`, or `learn.name` for a learner.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] with the nearest name.
    pub fn ref_relation(&self, name: &str) -> Result<String> {
        match self.models.get(name) {
            Some(model) => Ok(model.relation()),
            None => self.ref_node(name).map(|id| format!("learn.{}", id.name)),
        }
    }

    /// The SQL name of what `source('source', 'table')` means: `schema.table`.
    #[must_use]
    pub fn source_relation(&self, source: &str, table: &str) -> String {
        let schema = self.source_schemas.get(source).map_or(source, String::as_str);
        let own = self.identifiers.get(&(source.to_owned(), table.to_owned()));
        format!("{schema}.{}", own.map_or(table, String::as_str))
    }

    /// Renders an SQL text of a learner or policy, with the project's variables and macros.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] with line and column if the template is wrong; the kind and
    /// hint of a resolver's own error.
    pub fn render_sql(&self, sql: &str, context: &RenderContext<'_>) -> Result<String> {
        template::render(sql, context, &self.macros)
            .map_err(|fault| fault.into_error("the SQL template"))
    }

    /// A statement of `on-run-start` or `on-run-end` with every template expression replaced.
    ///
    /// # Errors
    /// As [`Project::render_sql`].
    pub fn render_hook(
        &self,
        sql: &str,
        context: &RenderContext<'_>,
        given: &template::RunContext<'_>,
    ) -> Result<String> {
        template::render_given(sql, context, given, &self.macros)
            .map_err(|fault| fault.into_error("a statement of on-run-start or on-run-end"))
    }

    /// What an SQL text of a learner or policy refers to, sorted.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] with line and column if the template is wrong.
    pub fn references(&self, sql: &str) -> Result<Vec<Reference>> {
        template::scan(sql, &self.file.vars, &self.macros)
            .map(|scan| scan.references.into_iter().collect())
            .map_err(|fault| fault.into_error("the SQL template"))
    }

    /// The codes of the dictionary `name`.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] with the nearest name.
    pub fn codes(&self, name: &str) -> Result<Vec<Json>> {
        self.dictionaries.get(name).map(|one| one.value.values.clone()).ok_or_else(|| {
            Error::not_found(format!("no dictionary \"{name}\""))
                .hint(suggest::hint(name, self.dictionaries.keys().map(String::as_str)))
        })
    }

    /// What a breach of a check does.
    #[must_use]
    pub fn severity_of(check: &QualityCheck) -> crate::resource::properties::Severity {
        check::quality::severity(check)
    }

    /// The name of the test that a build makes of a check.
    #[must_use]
    pub fn quality_test(quality: &str, check: &str) -> String {
        check::quality::test_name(quality, check)
    }

    /// The names of the semantic views.
    #[must_use]
    pub fn semantics(&self) -> Semantics<'_> {
        Semantics::new(self.semantics.values().map(|located| &located.value))
    }

    /// Every generic test, those of models first, by model and in the order of the files.
    pub fn model_tests(&self) -> impl Iterator<Item = &ModelTest> {
        let of_models = self.models.values().flat_map(|model| &model.tests);
        of_models.chain(self.sources.values().flat_map(|source| &source.tests))
    }

    /// The stored secrets of the project.
    #[must_use]
    pub fn vault(&self) -> Vault {
        Vault::of(&self.dir)
    }

    /// Replaces every `${…}` in `options` by its value; files are relative to the project folder.
    ///
    /// # Errors
    /// As [`secret::resolve_secrets`].
    pub fn resolve_secrets(&self, options: &Map<String, Json>) -> Result<Map<String, Json>> {
        secret::resolve_secrets(&self.dir, options)
    }

    /// Replaces every `${env:…}` in the settings of a stream or a target by its value.
    ///
    /// # Errors
    /// As [`secret::resolve_settings`].
    pub fn resolve_settings(&self, settings: &Map<String, Json>) -> Result<Map<String, Json>> {
        secret::resolve_settings(&self.dir, settings)
    }

    /// The error of a declaration whose mistake only shows at work, at its place in `file`: that of the
    /// value at `path`, or of what is above it if there is no such value.
    #[must_use]
    pub fn mistake(
        &self,
        file: &str,
        path: &[Step<'_>],
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Error {
        let mut out = Diagnostics::default();
        let diagnostic = Diagnostic::error(Span::FILE, message).hint(hint);
        // The file was read before; what has become of it since does not hide the mistake.
        match SourceFile::read(&self.dir, file) {
            Ok(source) => {
                let node = yaml::parse(&source, &mut Diagnostics::default());
                let span = node.map_or(Span::FILE, |node| node.find(path).span);
                out.push(&source, Diagnostic { span, ..diagnostic });
            }
            Err(_) => out.push_path(file, diagnostic),
        }
        out.into()
    }

    /// The value of a text with references, such as the key of a mask.
    ///
    /// # Errors
    /// As [`secret::resolve_secrets`].
    pub fn resolve_secret(&self, text: &str) -> Result<Secret> {
        secret::resolve_secret(&self.dir, text)
    }
}

fn located<T>(read: BTreeMap<String, Read<T>>, key: &str) -> BTreeMap<String, Located<T>> {
    read.into_iter()
        .map(|(name, read)| {
            let line = read.node.entry(key).map_or(1, |(key, _)| key.span.line);
            (name, Located { value: read.value, file: read.file.path.clone(), line })
        })
        .collect()
}

/// The JSON Schema of every kind of resource, by the kind's word.
#[must_use]
pub fn schemas() -> Vec<(&'static str, Schema)> {
    RESOURCES.iter().map(|kind| (kind.name, (kind.schema)())).collect()
}

/// Reads arbitrary bytes as every kind of file a project has: the entry for fuzzing. It returns what
/// was found wrong and never panics.
#[must_use]
pub fn parse_bytes(bytes: &[u8]) -> Diagnostics {
    let mut out = Diagnostics::default();
    let file = match SourceFile::decode("input", bytes.to_vec()) {
        Ok(file) => file,
        Err(diagnostic) => {
            out.push_path("input", *diagnostic);
            return out;
        }
    };
    if let Some(node) = yaml::parse(&file, &mut out) {
        static SCHEMAS: OnceLock<Vec<(&'static str, Schema)>> = OnceLock::new();
        for (subject, schema) in SCHEMAS.get_or_init(schemas) {
            let rules = crate::validate::Rules { subject, schema, secrets: true };
            crate::validate::validate(&file, &node, rules, &mut out);
        }
    }
    if let Err(fault) = template::scan(&file.text, &BTreeMap::new(), &Arc::default()) {
        out.push(&file, fault.into_diagnostic(|span| span));
    }
    if let Err(error) = secret::parts(&file.text) {
        out.push_path("input", Diagnostic::error(Span::FILE, error.message()));
    }
    out.sort();
    // Rendering places a caret below arbitrary text, which is part of what is tested.
    debug_assert!(out.is_empty() || !out.render().is_empty());
    out
}

#[cfg(test)]
mod tests;
