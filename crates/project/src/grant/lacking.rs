//! What is granted by its name and stays unseen all the same: a dashboard whose metrics, or the tables of these, are not
//! granted to whom it is.
//!
//! Whoever keeps grants is told; those who do not see the thing are not, since that would tell of what it reads.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Deed, Governed, Holding, LEARNED, name_of};
use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::file::SourceFile;
use crate::graph::{NodeId, NodeKind};
use crate::project::Project;
use crate::resource::grant::{Grant, Holders};
use crate::resource::project_file::Group;
use crate::resource::rule::Role;

/// Names that one message says.
const NAMES_SHOWN_MAX: usize = 8;

/// Something that somebody may see by what is granted, and does not, since it runs on their behalf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lacking {
    /// Its kind.
    pub kind: Governed,
    /// Its name.
    pub name: String,
    /// What it reads that is not granted, by kind and name.
    pub reads: Vec<(Governed, String)>,
}

impl<'a> Holding<'a> {
    /// What is granted to the principal and hidden from them, since what it reads is not granted, by kind and name.
    ///
    /// # Cost
    /// The graph above each of these.
    #[must_use]
    pub fn lacking(&self, project: &Project) -> Vec<Lacking> {
        let nodes = project.graph.nodes().map(|(id, _)| id);
        let asked = nodes.filter_map(|id| Some((id, runs(id.kind)?)));
        let granted = asked.filter(|(id, kind)| {
            self.held.iter().any(|grant| grant.covers(*kind, &id.name, Deed::Read))
        });
        let lacking = granted.map(|(id, kind)| Lacking {
            kind,
            name: id.name.clone(),
            reads: self.lacks(project, id),
        });
        lacking.filter(|one| !one.reads.is_empty()).collect()
    }

    /// What a thing reads on behalf of the principal that is not granted to them.
    fn lacks(&self, project: &Project, id: &NodeId) -> Vec<(Governed, String)> {
        let (mut found, mut met) = (BTreeSet::new(), BTreeSet::new());
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            for above in project.graph.upstream(id) {
                if !met.insert(above) {
                    continue;
                }
                let lacked = |kind: Governed, name: &str| !self.may(kind, name, Deed::Read);
                let name = name_of(project, above);
                let learned = format!("{LEARNED}{name}");
                if above.kind == NodeKind::Learner && lacked(Governed::Tables, &learned) {
                    found.insert((Governed::Tables, learned));
                }
                match Governed::of(above.kind) {
                    Some(kind) if lacked(kind, &name) => {
                        found.insert((kind, name));
                    }
                    // A table is seen by its name, whatever it is made of.
                    Some(Governed::Tables) => {}
                    // What works for the project is seen where it is granted.
                    Some(kind) if self.is_closed(kind, &name) && !kind.runs_for_reader() => {}
                    _ => open.push(above),
                }
            }
        }
        found.into_iter().collect()
    }

    /// What holders whom a grant names by something else than a role hold at most: what is given to their like, to everybody, or
    /// to any role, since theirs is not known here.
    fn at_most(project: &'a Project, to: &Holders) -> Self {
        let grants = move || project.grants.values().map(|located| &located.value);
        let like = |grant: &&Grant| {
            let other = &grant.to;
            other.everybody
                || !other.roles.is_empty()
                || other.groups.iter().any(|group| to.groups.contains(group))
                || other.users.iter().any(|user| to.users.contains(user))
        };
        Self { held: grants().filter(like).collect(), governed: super::governed(&grants()) }
    }
}

/// The kind of what runs on behalf of whoever looks at it.
fn runs(kind: NodeKind) -> Option<Governed> {
    Governed::of(kind).filter(|kind| kind.runs_for_reader())
}

/// Warns of what a grant names without a star and its holders do not see.
pub(crate) fn warnings(project: &Project) -> Diagnostics {
    let mut out = Diagnostics::default();
    for located in project.grants.values() {
        let grant = &located.value;
        let named: Vec<NodeId> = named(project, grant).collect();
        if named.is_empty() {
            continue;
        }
        for (whom, holding) in holders(project, grant) {
            for id in &named {
                let lacked = holding.lacks(project, id);
                if lacked.is_empty() {
                    continue;
                }
                let message = format!(
                    "grant \"{}\" names the {} \"{}\", which is not seen by {whom}: it reads what is not granted to them",
                    grant.grant,
                    id.kind.word(),
                    id.name
                );
                let hint = format!("Grant these as well: {}.", said(&lacked));
                let warning =
                    Diagnostic::warning(Span::new(located.line, 1, 0), message).hint(hint);
                out.push_hidden(&SourceFile::new(&located.file, ""), warning);
            }
        }
    }
    out
}

/// What a grant names without a star that runs for whoever looks at it, and is there.
fn named<'a>(project: &'a Project, grant: &'a Grant) -> impl Iterator<Item = NodeId> + 'a {
    let kinds = NodeKind::ALL.into_iter().filter_map(|kind| Some((kind, runs(kind)?)));
    let names = kinds.flat_map(move |(kind, governed)| {
        let names: BTreeSet<&String> =
            Deed::ALL.into_iter().flat_map(|deed| grant.things(deed).of(governed)).collect();
        names.into_iter().map(move |name| NodeId::new(kind, name.as_str()))
    });
    names.filter(move |id| !id.name.contains('*') && project.graph.info(id).is_some())
}

/// Whose a grant is, in words, with what they hold; owners and admins, who see everything, are left out.
fn holders<'a>(project: &'a Project, grant: &Grant) -> Vec<(String, Holding<'a>)> {
    let grants = move || project.grants.values().map(|located| &located.value);
    let (none, to) = (BTreeSet::new(), &grant.to);
    let mut all = Vec::new();
    for role in to.roles.iter().filter(|role| !matches!(role, Role::Owner | Role::Admin)) {
        let word = Some(role.word());
        let who = super::Principal { user: None, role: word, groups: &none, given: &none };
        all.extend(
            Holding::among(grants(), who).map(|held| (format!("the role {}", role.word()), held)),
        );
    }
    let mut add = |whom: String, to: Holders| {
        all.push((whom, Holding::at_most(project, &to)));
    };
    if to.everybody {
        add("all of those it names".to_owned(), Holders::default());
    }
    for group in &to.groups {
        let to = Holders { groups: vec![group.clone()], ..Holders::default() };
        add(format!("the group {group}"), to);
    }
    for user in &to.users {
        // Whom an identity provider puts into a group is not known here either.
        let perhaps =
            |group: &Group| group.users.contains(user) || !group.provider_groups.is_empty();
        let groups = project.file.groups.iter().filter(|(_, group)| perhaps(group));
        let groups = groups.map(|(name, _)| name.clone()).collect();
        add(user.clone(), Holders { users: vec![user.clone()], groups, ..Holders::default() });
    }
    all
}

/// Things by kind and name, in the words of a grant.
fn said(things: &[(Governed, String)]) -> String {
    let shown = things.iter().take(NAMES_SHOWN_MAX);
    let shown: Vec<String> = shown.map(|(kind, name)| format!("{} {name}", kind.word())).collect();
    match things.len().saturating_sub(NAMES_SHOWN_MAX) {
        0 => shown.join(", "),
        more => format!("{}, and {more} more", shown.join(", ")),
    }
}
