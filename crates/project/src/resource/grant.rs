//! `grants/*.yaml`.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule::Role;

/// Who may see, change or run which tables, metrics, dashboards and so on. As soon as a project has one such file, a kind of
/// thing that any of them names is closed to everybody but owners and admins, and opens by what they grant. Which rows
/// and columns of a table somebody sees is said by rules.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The grant's name.
    pub grant: String,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// Who decides about more: shown to those who may see something and not change or run it.
    pub ask: String,
    /// Whose it is.
    pub to: Holders,
    /// What they see.
    #[serde(default)]
    pub read: Things,
    /// What they change, which they see, too: rows and definitions of tables by SQL, dashboards, published queries.
    #[serde(default)]
    pub change: Things,
    /// What they run, pause and resume, which they see, too: builds of models, syncs, learners, policies, schedules.
    #[serde(default)]
    pub act: Things,
}

/// Whose a grant is.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Holders {
    /// Everybody.
    #[serde(default)]
    pub everybody: bool,
    /// Users with one of these roles.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// Members of one of these groups, which `flywheel.yaml` declares.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Users by name.
    #[serde(default)]
    pub users: Vec<String>,
}

impl Holders {
    /// Whether a principal is among them.
    #[must_use]
    pub fn names(&self, user: Option<&str>, role: Option<&str>, groups: &BTreeSet<String>) -> bool {
        self.everybody
            || user.is_some_and(|user| self.users.iter().any(|one| one == user))
            || role.is_some_and(|role| self.roles.iter().any(|one| one.word() == role))
            || self.groups.iter().any(|group| groups.contains(group))
    }

    /// Whether they are nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.everybody && self.roles.is_empty() && self.groups.is_empty() && self.users.is_empty()
    }
}

/// Things by kind, each by its name or with a star for any number of characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Things {
    /// Tables and views, models and what learners write among them: `marts.*`. Our own tables (`system.runs`) are named in full.
    #[serde(default)]
    pub tables: Vec<String>,
    /// Metrics.
    #[serde(default)]
    pub metrics: Vec<String>,
    /// Dashboards.
    #[serde(default)]
    pub dashboards: Vec<String>,
    /// Published queries.
    #[serde(default)]
    pub queries: Vec<String>,
    /// Learners.
    #[serde(default)]
    pub learners: Vec<String>,
    /// Policies.
    #[serde(default)]
    pub policies: Vec<String>,
    /// Syncs.
    #[serde(default)]
    pub syncs: Vec<String>,
    /// Connections.
    #[serde(default)]
    pub connections: Vec<String>,
    /// Schedules.
    #[serde(default)]
    pub schedules: Vec<String>,
}
