//! What the grants of a project let somebody see, change and run: a pure decision.
//!
//! ```text
//! grants/*.yaml ── governed kinds ──► closed ── a grant that names the principal ──► open
//!                  other kinds    ──► open, unless what they read is closed
//! ```
//! Owners and admins hold everything. Nobody's grant takes something away from what another one gives.

pub mod lacking;

use std::collections::BTreeSet;

use serde::Serialize;

use crate::graph::{NodeId, NodeKind, glob};
use crate::project::Project;
use crate::resource::grant::{Grant, Things};
use crate::resource::rule::Role;

/// The schema of our own tables.
const OURS: &str = "system.";
/// The schema of what learners write.
const LEARNED: &str = "learn.";

/// A kind of thing that grants are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Governed {
    /// Tables and views.
    Tables,
    /// Metrics.
    Metrics,
    /// Dashboards.
    Dashboards,
    /// Published queries.
    Queries,
    /// Learners.
    Learners,
    /// Policies.
    Policies,
    /// Syncs.
    Syncs,
    /// Connections.
    Connections,
    /// Schedules.
    Schedules,
}

impl Governed {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Tables,
        Self::Metrics,
        Self::Dashboards,
        Self::Queries,
        Self::Learners,
        Self::Policies,
        Self::Syncs,
        Self::Connections,
        Self::Schedules,
    ];

    /// The key in files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Tables => "tables",
            Self::Metrics => "metrics",
            Self::Dashboards => "dashboards",
            Self::Queries => "queries",
            Self::Learners => "learners",
            Self::Policies => "policies",
            Self::Syncs => "syncs",
            Self::Connections => "connections",
            Self::Schedules => "schedules",
        }
    }

    /// The kind of what a node of the graph is; none for what no grant can name.
    #[must_use]
    pub fn of(kind: NodeKind) -> Option<Self> {
        Some(match kind {
            NodeKind::Source | NodeKind::Model => Self::Tables,
            NodeKind::Metric => Self::Metrics,
            NodeKind::Dashboard => Self::Dashboards,
            NodeKind::Query => Self::Queries,
            NodeKind::Learner => Self::Learners,
            NodeKind::Policy => Self::Policies,
            NodeKind::Sync => Self::Syncs,
            NodeKind::Connection => Self::Connections,
            NodeKind::Schedule => Self::Schedules,
            _ => return None,
        })
    }

    /// Whether it runs on behalf of whoever looks at it, so that they need what it reads as well.
    fn runs_for_reader(self) -> bool {
        matches!(self, Self::Metrics | Self::Dashboards | Self::Queries)
    }
}

/// What is done with a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// It is seen.
    Read,
    /// It is changed.
    Change,
    /// It is run, paused or resumed.
    Act,
}

impl Deed {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Change, Self::Act];

    /// The key in files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Change => "change",
            Self::Act => "act",
        }
    }
}

impl Things {
    /// The patterns of a kind.
    #[must_use]
    pub fn of(&self, kind: Governed) -> &[String] {
        match kind {
            Governed::Tables => &self.tables,
            Governed::Metrics => &self.metrics,
            Governed::Dashboards => &self.dashboards,
            Governed::Queries => &self.queries,
            Governed::Learners => &self.learners,
            Governed::Policies => &self.policies,
            Governed::Syncs => &self.syncs,
            Governed::Connections => &self.connections,
            Governed::Schedules => &self.schedules,
        }
    }
}

impl Grant {
    /// What it says of a deed.
    #[must_use]
    pub fn things(&self, deed: Deed) -> &Things {
        match deed {
            Deed::Read => &self.read,
            Deed::Change => &self.change,
            Deed::Act => &self.act,
        }
    }

    /// Whether it names a kind at all.
    #[must_use]
    pub fn governs(&self, kind: Governed) -> bool {
        Deed::ALL.into_iter().any(|deed| !self.things(deed).of(kind).is_empty())
    }

    /// Whether it lets its holders do something. What may be changed or run may be seen.
    #[must_use]
    pub fn covers(&self, kind: Governed, name: &str, deed: Deed) -> bool {
        let said = |deed: Deed| self.things(deed).of(kind).iter().any(|one| fits(kind, one, name));
        match deed {
            Deed::Read => Deed::ALL.into_iter().any(said),
            Deed::Change | Deed::Act => said(deed),
        }
    }
}

/// Whether a pattern means a name. A star is for the project's tables: ours are named in full.
fn fits(kind: Governed, pattern: &str, name: &str) -> bool {
    match kind == Governed::Tables && name.starts_with(OURS) {
        true => pattern == name,
        false => glob(pattern, name),
    }
}

/// Who is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Principal<'a> {
    /// The name of the user.
    pub user: Option<&'a str>,
    /// The word of the role.
    pub role: Option<&'a str>,
    /// The groups the user is in.
    pub groups: &'a BTreeSet<String>,
    /// Grants by name that they hold for a time, because somebody approved that they asked.
    pub given: &'a BTreeSet<String>,
}

/// What one principal holds, who is neither owner nor admin, in a project with grants.
#[derive(Clone, Debug)]
pub struct Holding<'a> {
    held: Vec<&'a Grant>,
    governed: BTreeSet<Governed>,
}

impl<'a> Holding<'a> {
    /// What the principal holds; none if nothing is closed to them.
    #[must_use]
    pub fn of(project: &'a Project, who: Principal<'_>) -> Option<Self> {
        Self::among(project.grants.values().map(|grant| &grant.value), who)
    }

    fn among(grants: impl Iterator<Item = &'a Grant> + Clone, who: Principal<'_>) -> Option<Self> {
        let above = [Role::Owner, Role::Admin].iter().any(|one| who.role == Some(one.word()));
        if above || grants.clone().next().is_none() {
            return None;
        }
        let governed = governed(&grants);
        let names = |grant: &&Grant| {
            who.given.contains(&grant.grant) || grant.to.names(who.user, who.role, who.groups)
        };
        Some(Self { held: grants.filter(names).collect(), governed })
    }

    /// The grants, by name.
    pub fn grants(&self) -> impl Iterator<Item = &'a Grant> + '_ {
        self.held.iter().copied()
    }

    /// Whether a kind is closed but for what is granted. Our own tables tell of everything, and schedules name anything:
    /// they are, as soon as there are grants.
    #[must_use]
    pub fn is_closed(&self, kind: Governed, name: &str) -> bool {
        self.governed.contains(&kind)
            || kind == Governed::Schedules
            || (kind == Governed::Tables && name.starts_with(OURS))
    }

    /// Whether the principal may do something with a thing of that name, there or not.
    #[must_use]
    pub fn may(&self, kind: Governed, name: &str, deed: Deed) -> bool {
        !self.is_closed(kind, name) || self.held.iter().any(|grant| grant.covers(kind, name, deed))
    }

    /// Whether a query of theirs could not read what a node is.
    fn closes(&self, id: &NodeId, hidden: &BTreeSet<NodeId>) -> bool {
        let learned = || self.may(Governed::Tables, &format!("{LEARNED}{}", id.name), Deed::Read);
        hidden.contains(id) || (id.kind == NodeKind::Learner && !learned())
    }

    /// What they do not see of what the project declares.
    ///
    /// A table is seen by its name alone, whatever it is made of. What runs for whoever looks at it (metrics, dashboards,
    /// published queries) is seen with all that it reads; so is what no grant governs, and a sync with all that it lands.
    #[must_use]
    pub fn hidden(&self, project: &Project) -> BTreeSet<NodeId> {
        let graph = &project.graph;
        let mut hidden: BTreeSet<NodeId> = BTreeSet::new();
        for id in graph.order() {
            let kind = Governed::of(id.kind);
            let closed = kind.is_some_and(|kind| self.is_closed(kind, &name_of(project, id)));
            let covered = kind
                .is_none_or(|kind| !closed || self.may(kind, &name_of(project, id), Deed::Read));
            // Rows do not tell which sync landed them.
            let follows = match kind {
                Some(Governed::Tables) => false,
                Some(kind) => !closed || kind.runs_for_reader(),
                None => true,
            };
            if !covered || (follows && graph.upstream(id).any(|above| self.closes(above, &hidden)))
            {
                hidden.insert(id.clone());
            }
        }
        let syncs = project.syncs.keys().map(|name| NodeId::new(NodeKind::Sync, name));
        let telling: Vec<NodeId> = syncs
            .filter(|id| !self.is_closed(Governed::Syncs, &id.name))
            .filter(|id| {
                let mut landed = graph.downstream(id);
                landed.any(|below| below.kind == NodeKind::Source && hidden.contains(below))
            })
            .collect();
        hidden.extend(telling);
        hidden
    }
}

/// The kinds that any of these grants names.
fn governed<'a>(grants: &(impl Iterator<Item = &'a Grant> + Clone)) -> BTreeSet<Governed> {
    let kinds = Governed::ALL.into_iter();
    kinds.filter(|kind| grants.clone().any(|grant| grant.governs(*kind))).collect()
}

/// The name by which grants know a node: that of its table in SQL, if it is one.
#[must_use]
pub fn name_of(project: &Project, id: &NodeId) -> String {
    match id.kind {
        NodeKind::Model => {
            project.models.get(&id.name).map_or_else(|| id.name.clone(), |model| model.relation())
        }
        _ => id.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(name: &str, text: &str) -> Grant {
        let yaml = format!("{{\"grant\": \"{name}\", \"ask\": \"ada\", {text}}}");
        serde_json::from_str(&yaml).unwrap()
    }

    fn grants() -> Vec<Grant> {
        vec![
            grant(
                "marts",
                r#""to": {"roles": ["analyst"]}, "read": {"tables": ["marts.*", "raw.orders", "system.runs"]}"#,
            ),
            grant(
                "boards",
                r#""to": {"groups": ["sales"]}, "change": {"dashboards": ["sales_*"]}, "act": {"syncs": ["shop"]}"#,
            ),
        ]
    }

    fn holding<'a>(
        grants: &'a [Grant],
        role: &str,
        groups: &[&str],
        given: &[&str],
    ) -> Option<Holding<'a>> {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let (groups, given): (BTreeSet<String>, BTreeSet<String>) = (set(groups), set(given));
        let who = Principal { user: Some("ann"), role: Some(role), groups: &groups, given: &given };
        Holding::among(grants.iter(), who)
    }

    #[test]
    fn without_grants_and_for_owners_nothing_is_closed() {
        assert!(holding(&[], "viewer", &[], &[]).is_none());
        let grants = grants();
        for role in ["owner", "admin"] {
            assert!(holding(&grants, role, &[], &[]).is_none(), "{role}");
        }
        assert!(holding(&grants, "engineer", &[], &[]).is_some());
    }

    #[test]
    fn patterns_mean_names_and_no_schema_beside_theirs() {
        let grants = grants();
        let analyst = holding(&grants, "analyst", &[], &[]).unwrap();
        let reads = |name: &str| analyst.may(Governed::Tables, name, Deed::Read);
        for seen in ["marts.orders", "marts.a.b", "raw.orders", "system.runs"] {
            assert!(reads(seen), "{seen}");
        }
        for hidden in ["raw.order", "raw.orders2", "martsx.orders", "marts", "system.tables", ""] {
            assert!(!reads(hidden), "{hidden}");
        }
        // A star does not reach what is ours.
        let all = [grant("all", r#""to": {"everybody": true}, "read": {"tables": ["*"]}"#)];
        let anybody = holding(&all, "viewer", &[], &[]).unwrap();
        assert!(anybody.may(Governed::Tables, "raw.x", Deed::Read));
        assert!(!anybody.may(Governed::Tables, "system.decisions", Deed::Read));
    }

    #[test]
    fn what_may_be_changed_or_run_is_seen_and_not_the_other_way_round() {
        let grants = grants();
        let sales = holding(&grants, "viewer", &["sales"], &[]).unwrap();
        assert!(sales.may(Governed::Dashboards, "sales_north", Deed::Read));
        assert!(sales.may(Governed::Dashboards, "sales_north", Deed::Change));
        assert!(!sales.may(Governed::Dashboards, "sales_north", Deed::Act));
        assert!(sales.may(Governed::Syncs, "shop", Deed::Act));
        assert!(!sales.may(Governed::Syncs, "shop", Deed::Change));
        assert!(!sales.may(Governed::Dashboards, "finance", Deed::Read));
        assert!(!sales.may(Governed::Tables, "marts.orders", Deed::Read), "it is the analysts'");
        let analyst = holding(&grants, "analyst", &[], &[]).unwrap();
        assert!(!analyst.may(Governed::Tables, "marts.orders", Deed::Change));
    }

    #[test]
    fn a_kind_that_no_grant_names_stays_open_but_for_schedules_and_our_own_tables() {
        let grants = grants();
        let nobody = holding(&grants, "viewer", &[], &[]).unwrap();
        assert!(nobody.may(Governed::Policies, "welcome", Deed::Act));
        assert!(!nobody.may(Governed::Schedules, "nightly", Deed::Read));
        let of_boards = [grant("b", r#""to": {"users": ["x"]}, "read": {"dashboards": ["*"]}"#)];
        let other = holding(&of_boards, "analyst", &[], &[]).unwrap();
        assert!(other.may(Governed::Tables, "raw.orders", Deed::Change));
        assert!(!other.may(Governed::Tables, "system.assets", Deed::Read));
        assert!(!other.may(Governed::Dashboards, "sales", Deed::Read));
    }

    #[test]
    fn a_grant_that_was_asked_for_is_held_beside_those_that_name_one() {
        let grants = grants();
        let given = holding(&grants, "analyst", &[], &["boards"]).unwrap();
        assert!(given.may(Governed::Dashboards, "sales_north", Deed::Change));
        assert!(given.may(Governed::Tables, "marts.orders", Deed::Read));
        let names: Vec<&str> = given.grants().map(|grant| grant.grant.as_str()).collect();
        assert_eq!(names, ["marts", "boards"]);
        let unknown = holding(&grants, "viewer", &[], &["gone"]).unwrap();
        assert_eq!(unknown.grants().count(), 0);
    }
}
