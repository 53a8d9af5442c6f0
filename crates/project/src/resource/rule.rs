//! `access/*.yaml`.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who sees which rows and columns of tables. It holds for everybody who reads through the server and for
/// `flywheel sql --as`; whoever runs commands in the project's folder reads without rules.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The rule's name.
    pub rule: String,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// The tables and views it is about: `raw.customers`, or with a star `marts.*`. If several rules are
    /// about a table, all of them hold.
    #[serde(default)]
    pub tables: Vec<String>,
    /// Tags of models that it is about as well.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Who decides about more: shown to those who are refused something.
    pub ask: String,
    /// Who sees what. The first entry that names a reader decides for them; whom no entry names sees
    /// nothing.
    pub readers: Vec<Readers>,
    /// Stored tables made of these that hold nothing this rule hides, such as sums by day: everybody reads
    /// them, unless another rule hides what they were made of. Without it such a table is refused to those who
    /// may not see all it was made of.
    #[serde(default)]
    pub cleared: Vec<String>,
}

/// Readers, and what they see. An entry without `nothing`, `rows`, `masks` and `hide` shows everything.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Readers {
    /// Everybody whom no entry above names.
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
    /// They see nothing of the tables.
    #[serde(default)]
    pub nothing: bool,
    /// An SQL condition that holds for the rows they see: `region in ($region)`. `$name` is an attribute of
    /// the reader's groups; `$user`, `$role` and `$groups` are always there. A reader without the attribute
    /// sees no row. Subqueries read their tables without rules.
    #[serde(default)]
    pub rows: Option<String>,
    /// What stands in the place of a column's values, which keep their type; `null` for no value. Names the table does not have
    /// are passed over if the rule is about several tables.
    #[serde(default)]
    pub masks: BTreeMap<String, Option<RuleMask>>,
    /// Columns they do not have: `select *` leaves them out, and a query that names one is refused.
    #[serde(default)]
    pub hide: Vec<String>,
}

impl Readers {
    /// Whether they see everything.
    #[must_use]
    pub fn sees_all(&self) -> bool {
        !self.nothing && self.rows.is_none() && self.masks.is_empty() && self.hide.is_empty()
    }

    /// Whether the entry is about this reader.
    #[must_use]
    pub fn names(&self, user: Option<&str>, role: Option<&str>, groups: &BTreeSet<String>) -> bool {
        self.everybody
            || user.is_some_and(|user| self.users.iter().any(|one| one == user))
            || role.is_some_and(|role| self.roles.iter().any(|one| one.word() == role))
            || self.groups.iter().any(|group| groups.contains(group))
    }
}

/// What a user of the server is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// May do everything, and make owners.
    Owner,
    /// May do everything, but touch owners.
    Admin,
    /// Builds and runs the wheel.
    Engineer,
    /// Reads rows and makes dashboards.
    Analyst,
    /// Keeps the wheel running, without reading rows.
    Operator,
    /// Sees states.
    Viewer,
    /// A program that hands in events and asks for decisions.
    Agent,
}

impl Role {
    /// All of them, from the most to the least.
    pub const ALL: [Self; 7] = [
        Self::Owner,
        Self::Admin,
        Self::Engineer,
        Self::Analyst,
        Self::Operator,
        Self::Viewer,
        Self::Agent,
    ];

    /// The word in files and in the API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Engineer => "engineer",
            Self::Analyst => "analyst",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::Agent => "agent",
        }
    }

    /// The role of a word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }
}

/// What stands in the place of values.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum RuleMask {
    /// A mask as syncs have it: `hmac(key=${secret:pii})`, `tokenize(key=…)`, `partial(4)`, `redact`,
    /// `round(-3)`, `email_domain`, `null`.
    Form(String),
    /// A mask that is not a function of one value only.
    Other(OtherMask),
}

/// A constant, or an expression.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum OtherMask {
    /// The same value for all rows, converted to the column's type.
    Constant(String),
    /// An SQL expression over the table's columns, converted to the column's type. It may use `$name` as
    /// `rows` does.
    Sql(String),
}

/// The names that an expression takes values of the reader by: `region` of `region in ($region)`.
#[must_use]
pub fn names(sql: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut quote = None;
    let mut rest = sql.chars().peekable();
    while let Some(c) = rest.next() {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c == '$' => {
                let mut name = String::new();
                while let Some(next) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    name.push(next);
                }
                found.insert(name);
            }
            None => {}
        }
    }
    found
}
