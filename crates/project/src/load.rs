//! From files to typed values: what can be said about each file on its own.

mod models;
mod renamed;
mod resources;
mod seeds;
mod semantics;
mod settings;
mod snapshots;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::dbt::{DBT_PROJECT_FILE, DbtProject, Extra, Layout};
use crate::diagnostic::Diagnostics;
use crate::draft::Draft;
use crate::file::SourceFile;
use crate::graph::{NodeId, NodeKind};
use crate::model::{Model, Settings, SettingsOf, SingularTest, Vars};
use crate::project::Choices;
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
use crate::resource::properties::Properties;
use crate::resource::quality::Quality;
use crate::resource::query::PublishedQuery;
use crate::resource::rule::Rule;
use crate::resource::schedule::Schedule;
use crate::resource::semantic::Semantic;
use crate::resource::split::Split;
use crate::resource::sync::Sync;
use crate::resource::topic::Topic;
use crate::template::{Fault, Macros};
use crate::yaml::Node;

pub(crate) use resources::read_tree;

/// The file whose presence makes a folder a project.
pub const PROJECT_FILE: &str = "flywheel.yaml";

/// Whether the folder holds a project's file, ours or dbt's.
pub(crate) fn is_project(dir: &Path) -> bool {
    dir.join(PROJECT_FILE).is_file() || dir.join(DBT_PROJECT_FILE).is_file()
}

/// A value with the tree it was read from, for the places of later mistakes.
pub(crate) struct Read<T> {
    pub(crate) value: T,
    pub(crate) file: Arc<SourceFile>,
    pub(crate) node: Node,
}

/// An SQL file with its text.
pub(crate) struct ReadSql<T> {
    pub(crate) value: T,
    pub(crate) file: Arc<SourceFile>,
}

/// Where a name was declared.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    pub(crate) file: String,
    pub(crate) line: usize,
}

/// Everything that could be read.
pub(crate) struct Loaded {
    /// The project's folder.
    pub(crate) dir: PathBuf,
    /// A policy or query that is read beside the files, or in the place of its own.
    pub(crate) draft: Option<Draft>,
    pub(crate) project: Option<Read<ProjectFile>>,
    pub(crate) connections: BTreeMap<String, Read<Connection>>,
    pub(crate) syncs: BTreeMap<String, Read<Sync>>,
    pub(crate) topics: BTreeMap<String, Read<Topic>>,
    pub(crate) links: BTreeMap<String, Read<Link>>,
    pub(crate) splits: BTreeMap<String, Read<Split>>,
    pub(crate) merges: BTreeMap<String, Read<Merge>>,
    pub(crate) models: BTreeMap<String, ReadSql<Model>>,
    pub(crate) properties: Vec<Read<Properties>>,
    pub(crate) singular_tests: Vec<ReadSql<SingularTest>>,
    pub(crate) dictionaries: BTreeMap<String, Read<Dictionary>>,
    pub(crate) qualities: BTreeMap<String, Read<Quality>>,
    pub(crate) semantics: BTreeMap<String, Read<Semantic>>,
    /// Those of them that are dbt's.
    pub(crate) imported: BTreeSet<String>,
    /// Metrics of files with mistakes, which are told there and not again by everything made of them.
    pub(crate) unread_metrics: BTreeSet<String>,
    pub(crate) dashboards: BTreeMap<String, Read<Dashboard>>,
    pub(crate) queries: BTreeMap<String, Read<PublishedQuery>>,
    pub(crate) learners: BTreeMap<String, Read<Learner>>,
    pub(crate) policies: BTreeMap<String, Read<Policy>>,
    pub(crate) actions: BTreeMap<String, Read<Action>>,
    pub(crate) schedules: BTreeMap<String, Read<Schedule>>,
    pub(crate) alerts: BTreeMap<String, Read<Alert>>,
    pub(crate) rules: BTreeMap<String, Read<Rule>>,
    pub(crate) grants: BTreeMap<String, Read<Grant>>,
    pub(crate) extensions: BTreeMap<String, Read<Extension>>,
    /// Every name with its place, also of resources that have mistakes of their own, so that one
    /// mistake is not reported again by everybody who refers to it.
    pub(crate) declared: BTreeMap<NodeId, Declared>,
    /// The project's variables, also of a project file that has mistakes of its own.
    pub(crate) vars: Vars,
    /// The project's macros.
    pub(crate) macros: Arc<Macros>,
    /// Where its files lie.
    pub(crate) layout: Layout,
    /// `dbt_project.yml`, if there is one.
    pub(crate) dbt: Option<DbtProject>,
    /// What property files hold besides properties.
    pub(crate) extras: Vec<(Arc<SourceFile>, Extra)>,
    /// What folders set for tests, by the property file that declares them.
    pub(crate) test_defaults: BTreeMap<String, Settings>,
    /// Settings of folders that were checked before, so that a mistake is reported once.
    settled: BTreeMap<(SettingsOf, String), Settings>,
    pub(crate) out: Diagnostics,
}

impl Loaded {
    /// Leaves out the models, learners and metrics that `hides` says, as if no file declared them; what the draft declares stays.
    pub(crate) fn forget(&mut self, hides: &dyn Fn(&NodeId) -> bool) {
        let own = self.draft.as_ref().map(|draft| NodeId::new(draft.kind, draft.name.as_str()));
        let keeps = |id: &NodeId| own.as_ref() == Some(id) || !hides(id);
        let keeps_named = |kind: NodeKind, name: &str| keeps(&NodeId::new(kind, name));
        self.declared.retain(|id, _| keeps(id));
        self.models.retain(|name, _| keeps_named(NodeKind::Model, name));
        self.learners.retain(|name, _| keeps_named(NodeKind::Learner, name));
        self.semantics.retain(|name, _| keeps_named(NodeKind::Semantic, name));
        for read in self.semantics.values_mut() {
            read.value.metrics.retain(|name, _| keeps_named(NodeKind::Metric, name));
        }
    }

    /// Reads the project's own file; mistakes are in `out`.
    pub(crate) fn read_file(dir: &Path, choices: &Choices) -> Self {
        let mut loaded = Self::nothing(dir);
        loaded.read_project(dir, choices);
        loaded
    }

    fn nothing(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            draft: None,
            project: None,
            connections: BTreeMap::new(),
            syncs: BTreeMap::new(),
            topics: BTreeMap::new(),
            links: BTreeMap::new(),
            splits: BTreeMap::new(),
            merges: BTreeMap::new(),
            models: BTreeMap::new(),
            properties: Vec::new(),
            singular_tests: Vec::new(),
            dictionaries: BTreeMap::new(),
            qualities: BTreeMap::new(),
            semantics: BTreeMap::new(),
            imported: BTreeSet::new(),
            unread_metrics: BTreeSet::new(),
            dashboards: BTreeMap::new(),
            queries: BTreeMap::new(),
            learners: BTreeMap::new(),
            policies: BTreeMap::new(),
            actions: BTreeMap::new(),
            schedules: BTreeMap::new(),
            alerts: BTreeMap::new(),
            rules: BTreeMap::new(),
            grants: BTreeMap::new(),
            extensions: BTreeMap::new(),
            declared: BTreeMap::new(),
            vars: Vars::new(),
            macros: Arc::default(),
            layout: Layout::default(),
            dbt: None,
            extras: Vec::new(),
            test_defaults: BTreeMap::new(),
            settled: BTreeMap::new(),
            out: Diagnostics::default(),
        }
    }

    /// Reads the folder, with a draft if there is one; mistakes are in `out`.
    pub(crate) fn read(dir: &Path, choices: &Choices, draft: Option<&Draft>) -> Self {
        let mut loaded = Self { draft: draft.cloned(), ..Self::nothing(dir) };
        if loaded.read_project(dir, choices) {
            walk::warn_of_misspelled_folders(dir, &loaded.layout, &mut loaded.out);
            loaded.read_resources(dir);
            loaded.read_macros(dir);
            loaded.read_docs(dir);
            loaded.read_properties(dir);
            loaded.import_semantics();
            loaded.read_seeds(dir);
            loaded.read_models(dir);
            loaded.read_snapshots(dir);
            loaded.read_tests(dir);
        }
        loaded
    }

    /// Reports a template's mistake at its place in an SQL file.
    pub(crate) fn push_fault(&mut self, file: &SourceFile, fault: Fault) {
        self.out.push(file, fault.into_diagnostic(|span| span));
    }
}
