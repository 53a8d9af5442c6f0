//! What the grants of a project let whoever reads see, change and run.
//!
//! ```text
//! grants (grants/*.yaml) ─┐                        ┌─► the catalogue of a session: what is hidden is not there
//! who reads, at which door ┴─► Reading::granted ──┼─► lists, graphs and searches: what is hidden is left out
//!                                                 └─► what is changed or run: refused, or not there
//! ```
//! Who looks as somebody else sees what both see. A view that a model publishes is read on behalf of the project, so
//! that it may be granted without what it is made of; a view that a statement made is read by its reader's grants,
//! since anybody may have written it.

use std::collections::BTreeSet;

use flywheel_base::{Error, ErrorKind, Result, suggest};
use flywheel_project::grant::lacking::Lacking;
use flywheel_project::grant::{Deed, Governed, Holding, Principal, name_of};
use flywheel_project::{NodeId, NodeKind, Project};
use flywheel_warehouse::{Catalog, TableName};
use serde::Serialize;

use super::{Reader, Reading};
use crate::Workspace;
use crate::catalogue::Asset;

/// The schema of our own tables.
const OURS: &str = "system";
/// The schema of what learners write.
const LEARNED: &str = "learn";
/// The schema in which SQL asks semantic views, with the dot behind it.
const MEASURED: &str = "metrics.";

/// Whether a table is one of ours.
pub(super) fn is_ours(name: &TableName) -> bool {
    name.schema == OURS
}

/// What is granted to whoever reads, where something is closed to them.
pub struct Granted<'a> {
    project: &'a Project,
    holdings: Vec<Holding<'a>>,
    hidden: BTreeSet<NodeId>,
    title: String,
}

impl Reader {
    /// What they hold of the project's grants; none if nothing is closed to them.
    #[must_use]
    pub fn holding<'a>(&self, project: &'a Project) -> Option<Holding<'a>> {
        let who = Principal {
            user: self.user.as_deref(),
            role: self.role.as_deref(),
            groups: &self.groups,
            given: &self.given,
        };
        Holding::of(project, who)
    }
}

impl Reading {
    /// What is granted to all who read; none if nothing is closed to any of them.
    #[must_use]
    pub fn granted<'a>(&self, project: &'a Project) -> Option<Granted<'a>> {
        let readers = self.readers();
        let holdings = readers.iter().filter_map(|reader| reader.holding(project));
        let holdings: Vec<Holding<'a>> = holdings.collect();
        if holdings.is_empty() {
            return None;
        }
        let hidden = holdings.iter().flat_map(|holding| holding.hidden(project)).collect();
        let title = readers.first().map(|reader| reader.title()).unwrap_or_default();
        Some(Granted { project, holdings, hidden, title })
    }

    /// Lets a catalog have no names of what is not granted. Views of models see through that.
    pub(super) fn conceal(&self, workspace: &Workspace, catalog: &mut Catalog) -> Result<()> {
        let Some(granted) = self.granted(&workspace.project) else { return Ok(()) };
        let hidden = catalog.names().filter(|name| !granted.shows_table(&name.to_string()));
        let hidden: Vec<TableName> = hidden.cloned().collect();
        for name in &hidden {
            catalog.conceal(name);
        }
        for seen in workspace.store.publications()? {
            if seen.location.is_none() {
                catalog.see_through(&TableName::parse(&seen.name)?);
            }
        }
        // One that holds something which is seen is there by that.
        catalog.keep_schemas(|schema| granted.shows_table(&format!("{schema}.")));
        Ok(())
    }
}

impl Granted<'_> {
    /// Whether all who read may do something with a thing of that name, there or not.
    #[must_use]
    pub fn may(&self, kind: Governed, name: &str, deed: Deed) -> bool {
        self.holdings.iter().all(|holding| holding.may(kind, name, deed))
    }

    /// Whether tables are closed to somebody who reads, but for what is granted.
    #[must_use]
    pub fn closes_tables(&self) -> bool {
        self.holdings.iter().any(|holding| holding.is_closed(Governed::Tables, ""))
    }

    /// Whether they see what the project declares, or did: of what it does not declare any more the name decides alone.
    #[must_use]
    pub fn shows(&self, id: &NodeId) -> bool {
        let may = |kind| self.may(kind, &name_of(self.project, id), Deed::Read);
        !self.hidden.contains(id) && Governed::of(id.kind).is_none_or(may)
    }

    /// As [`Granted::shows`], by kind and name.
    #[must_use]
    pub fn shows_one(&self, kind: NodeKind, name: &str) -> bool {
        self.shows(&NodeId::new(kind, name))
    }

    /// Whether they see a table or view by its name in SQL, declared or not.
    #[must_use]
    pub fn shows_table(&self, relation: &str) -> bool {
        self.may(Governed::Tables, relation, Deed::Read)
    }

    /// Whether they see a node of a graph: a table by its name in SQL, too.
    #[must_use]
    pub fn shows_node(&self, id: &NodeId) -> bool {
        let named = match id.kind {
            NodeKind::Learner => self.shows_table(&format!("{LEARNED}.{}", id.name)),
            _ => true,
        };
        self.shows(id) && named
    }

    /// Whether they see what goes by a kind's word and a name, as the catalogue and graphs of columns have it.
    #[must_use]
    pub fn shows_word(&self, kind: &str, name: &str) -> bool {
        match kind {
            "table" | "system" | "source" | "landed" | "model" | "seed" | "snapshot" => {
                self.shows_table(name)
            }
            "learner" => {
                let plain = name.strip_prefix("learn.").unwrap_or(name);
                self.shows_node(&NodeId::new(NodeKind::Learner, plain))
            }
            // In SQL its questions are those of a table.
            "semantic" => {
                let view = name.strip_prefix(MEASURED).unwrap_or(name);
                self.shows_one(NodeKind::Semantic, view)
            }
            // Dimensions and measures are those of a semantic view, whose name comes first.
            "dimension" | "measure" => {
                let view = name.split('.').next().unwrap_or(name);
                self.shows_one(NodeKind::Semantic, view)
            }
            // A test's rows, and what lies outside, belong to what is told by others.
            "test" | "outside" | "foreign" => false,
            word => match NodeKind::ALL.into_iter().find(|kind| kind.word() == word) {
                Some(kind) => self.shows_one(kind, name),
                None => false,
            },
        }
    }

    /// Whether they see an asset of the catalogue.
    #[must_use]
    pub fn shows_asset(&self, asset: &Asset) -> bool {
        self.shows_word(&asset.kind, &asset.name)
    }

    /// Whether they see what goes by one name, as `/v1/assets` has it: that of a table, or a kind's word and a name.
    #[must_use]
    pub fn shows_called(&self, name: &str) -> bool {
        match name.split_once(':') {
            Some((kind, name)) => self.shows_word(kind, name),
            None => {
                let (learner, view) = (name.strip_prefix("learn."), name.strip_prefix(MEASURED));
                match (learner, view) {
                    (Some(learner), _) if self.project.learners.contains_key(learner) => {
                        self.shows_word("learner", learner)
                    }
                    (_, Some(view)) if self.project.semantics.contains_key(view) => {
                        self.shows_one(NodeKind::Semantic, view)
                    }
                    _ => self.shows_table(name),
                }
            }
        }
    }

    /// Whether they see all that a node reads, so that its text names nothing that is hidden.
    #[must_use]
    pub fn shows_inputs(&self, id: &NodeId) -> bool {
        self.project.graph.upstream(id).all(|above| self.shows_node(above))
    }

    /// Whether they see a sync, and all tables that it reads and lands: what it set aside are rows of those.
    #[must_use]
    pub fn shows_rows_of(&self, sync: &str) -> bool {
        let (id, graph) = (NodeId::new(NodeKind::Sync, sync), &self.project.graph);
        let tables = graph.upstream(&id).chain(graph.downstream(&id));
        let mut tables = tables.filter(|one| Governed::of(one.kind) == Some(Governed::Tables));
        self.shows(&id) && tables.all(|one| self.shows(one))
    }

    /// The project with those semantic views, metrics, models and learners alone that they see, by which their questions are read
    /// and what they write is checked: what is hidden is told of as what is not there.
    #[must_use]
    pub fn measured(&self) -> Project {
        let mut project = self.project.clone();
        project.models.retain(|name, _| self.shows_one(NodeKind::Model, name));
        project
            .learners
            .retain(|name, _| self.shows_node(&NodeId::new(NodeKind::Learner, name.as_str())));
        project.semantics.retain(|name, _| self.shows_one(NodeKind::Semantic, name));
        for view in project.semantics.values_mut() {
            view.value.metrics.retain(|name, _| self.shows_one(NodeKind::Metric, name));
        }
        project
    }

    /// Refuses a change of a table, of which it is not told whether there is such a table.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] with whom to ask.
    pub fn require_change(&self, relation: &str) -> Result<()> {
        self.require(Governed::Tables, relation, Deed::Change)
    }

    /// Refuses what is not granted, of which it is not told whether there is such a thing.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] with whom to ask.
    pub fn require(&self, kind: Governed, name: &str, deed: Deed) -> Result<()> {
        if self.may(kind, name, deed) {
            return Ok(());
        }
        let what = match deed {
            Deed::Read => "see",
            Deed::Change => "make or change",
            Deed::Act => "run",
        };
        let message = format!(
            "no grant lets {} {what} \"{name}\" among the {} of the project",
            self.title,
            kind.word()
        );
        Err(Error::new(ErrorKind::Denied, message).hint(self.whom_to_ask()))
    }

    /// The error of something that is not there for them, which says the same as of what is not there at all. `known` are
    /// the names that there are.
    #[must_use]
    pub fn unknown<'n>(
        &self,
        what: &str,
        kind: NodeKind,
        name: &str,
        known: impl IntoIterator<Item = &'n str>,
    ) -> Error {
        let seen: Vec<&str> =
            known.into_iter().filter(|known| self.shows_one(kind, known)).collect();
        Error::not_found(format!("no {what} \"{name}\"")).hint(suggest::hint(name, seen))
    }

    /// Why who reads may not see or make what a policy decides, if it reads what is hidden from them.
    pub(super) fn refusal_of(&self, policy: &str) -> Option<Error> {
        let id = NodeId::new(NodeKind::Policy, policy);
        if self.shows_inputs(&id) {
            return None;
        }
        let message =
            format!("all of what policy \"{policy}\" decides by is not for {}", self.title);
        Some(Error::new(ErrorKind::Denied, message).hint(self.whom_to_ask()))
    }

    fn whom_to_ask(&self) -> String {
        let asks: BTreeSet<&str> = self
            .holdings
            .iter()
            .flat_map(|holding| holding.grants().map(|grant| grant.ask.as_str()))
            .collect();
        match asks.is_empty() {
            true => "Ask whoever keeps the project's grants.".to_owned(),
            false => super::asked(&asks.into_iter().collect::<Vec<_>>().join(" or ")),
        }
    }
}

/// What somebody may do with things of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Effective {
    /// The kind of thing.
    pub kind: Governed,
    /// Whether it is closed but for what is granted.
    pub closed: bool,
    /// What is there and may be seen, by name.
    pub read: Vec<String>,
    /// What of it may be changed.
    pub change: Vec<String>,
    /// What of it may be run.
    pub act: Vec<String>,
    /// How many are there that may not be seen.
    pub hidden: usize,
}

/// What one principal may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Access {
    /// The name of the user, or the role.
    pub who: String,
    /// The role.
    pub role: Option<String>,
    /// The grants that they hold.
    pub grants: Vec<String>,
    /// Those of them that they hold for a time, because somebody approved that they asked.
    pub given: Vec<String>,
    /// Whether everything is open to them.
    pub everything: bool,
    /// What they may do, by kind.
    pub kinds: Vec<Effective>,
    /// What is granted to them and not seen, since what it reads is not granted.
    pub lacking: Vec<Lacking>,
}

/// A grant, as it is declared.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// The declaration.
    #[serde(flatten)]
    pub grant: flywheel_project::resource::grant::Grant,
    /// Where it is declared.
    pub file: String,
    /// The line.
    pub line: usize,
    /// Users of the server who hold it, by name.
    pub users: Vec<String>,
    /// Those of them who were given it for a time.
    pub given: Vec<String>,
}

/// Every grant, with who holds it.
///
/// # Errors
/// Those of the metadata.
pub fn listed(workspace: &Workspace) -> Result<Vec<Listed>> {
    let project = &workspace.project;
    let readers = readers(workspace)?;
    let all = project.grants.values().map(|located| {
        let grant = &located.value;
        let (mut users, mut given) = (Vec::new(), Vec::new());
        for reader in &readers {
            let (user, role) = (reader.user.as_deref(), reader.role.as_deref());
            let asked = reader.given.contains(&grant.grant);
            if asked || grant.to.names(user, role, &reader.groups) {
                users.extend(reader.user.clone());
            }
            if asked {
                given.extend(reader.user.clone());
            }
        }
        let (file, line) = (located.file.clone(), located.line);
        Listed { grant: grant.clone(), file, line, users, given }
    });
    Ok(all.collect())
}

/// What every user of the server may do, by name.
///
/// # Errors
/// Those of lake and metadata.
pub async fn effective(workspace: &Workspace) -> Result<Vec<Access>> {
    let names = names(workspace).await?;
    let readers = readers(workspace)?;
    Ok(readers.iter().map(|reader| access(workspace, reader, &names)).collect())
}

/// What one reader may do.
///
/// # Errors
/// Those of lake and metadata.
pub async fn effective_of(workspace: &Workspace, reader: &Reader) -> Result<Access> {
    let names = names(workspace).await?;
    Ok(access(workspace, reader, &names))
}

fn readers(workspace: &Workspace) -> Result<Vec<Reader>> {
    let now = workspace.machine.now();
    let users = workspace.store.users()?;
    let of = |user: &flywheel_state::User| {
        let (name, role) = (Some(user.name.as_str()), Some(user.role.as_str()));
        Reader::new(&workspace.project, name, role, &user.provider_groups)
            .with_grants(&user.grants, now)
    };
    Ok(users.iter().map(of).collect())
}

/// Everything there is of each kind, by its node where it is declared.
async fn names(workspace: &Workspace) -> Result<Vec<(Governed, Vec<String>)>> {
    let project = &workspace.project;
    let mut tables: BTreeSet<String> =
        workspace.plain_catalog().await?.names().map(ToString::to_string).collect();
    let nodes = || project.graph.nodes().map(|(id, _)| id);
    let declared = nodes().filter(|id| Governed::of(id.kind) == Some(Governed::Tables));
    tables.extend(declared.map(|id| name_of(project, id)));
    let of = |kind: Governed| match kind {
        Governed::Tables => tables.iter().cloned().collect(),
        Governed::Schedules => project.schedules.keys().cloned().collect(),
        _ => {
            let of_kind = nodes().filter(|id| Governed::of(id.kind) == Some(kind));
            of_kind.map(|id| id.name.clone()).collect()
        }
    };
    Ok(Governed::ALL.into_iter().map(|kind| (kind, of(kind))).collect())
}

fn access(workspace: &Workspace, reader: &Reader, names: &[(Governed, Vec<String>)]) -> Access {
    let project = &workspace.project;
    let granted = Reading::As(reader.clone()).granted(project);
    let node = |kind: Governed, name: &str| {
        let kinds = NodeKind::ALL.into_iter().find(|one| Governed::of(*one) == Some(kind));
        kinds.map(|kind| NodeId::new(kind, name))
    };
    let sees = |kind: Governed, name: &str| match &granted {
        None => true,
        Some(granted) if kind == Governed::Tables => granted.shows_table(name),
        Some(granted) => node(kind, name).is_some_and(|id| granted.shows(&id)),
    };
    let may = |kind: Governed, name: &str, deed: Deed| {
        sees(kind, name) && granted.as_ref().is_none_or(|granted| granted.may(kind, name, deed))
    };
    let kinds = names.iter().map(|(kind, names)| {
        let all = |deed: Deed| -> Vec<String> {
            names.iter().filter(|name| may(*kind, name, deed)).cloned().collect()
        };
        let read = all(Deed::Read);
        let closed = granted.as_ref().is_some_and(|granted| {
            granted.holdings.iter().any(|holding| holding.is_closed(*kind, ""))
        });
        let hidden = names.len().saturating_sub(read.len());
        Effective {
            kind: *kind,
            closed,
            read,
            change: all(Deed::Change),
            act: all(Deed::Act),
            hidden,
        }
    });
    let held = reader.holding(project);
    let grants = held.iter().flat_map(|holding| holding.grants().map(|one| one.grant.clone()));
    Access {
        who: reader.title(),
        role: reader.role.clone(),
        grants: grants.collect(),
        given: reader
            .given
            .iter()
            .filter(|name| project.grants.contains_key(*name))
            .cloned()
            .collect(),
        everything: granted.is_none(),
        kinds: kinds.collect(),
        lacking: held.iter().flat_map(|holding| holding.lacking(project)).collect(),
    }
}
