//! `links/*.yaml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::quantity::{Duration, Share};
use super::sync::{Column, one_or_many};
use crate::model::OneOrMany;

/// Records that two systems hold and that are kept alike: what changes on one side is written to the
/// other, and a field that changed on both is decided by its rule.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The link's name.
    pub link: String,
    /// What the link is for.
    #[serde(default)]
    pub description: Option<String>,
    /// The one system.
    pub left: LinkSide,
    /// The other system.
    pub right: LinkSide,
    /// The fields that are kept alike; no other field is written.
    pub fields: Vec<LinkField>,
    /// How records that are not linked yet are recognised as the same.
    #[serde(rename = "match")]
    pub matching: Matching,
    /// What decides a field that changed on both sides and has no rule of its own.
    #[serde(default)]
    pub rule: FieldRule,
    /// On which side a record is created that only the other one has.
    #[serde(default)]
    pub create: Create,
    /// What happens to a record whose counterpart was deleted.
    #[serde(default)]
    pub deletes: Deletes,
    /// Beyond what a run stops before it writes anything, until its plan is approved.
    #[serde(default)]
    pub limits: LinkLimits,
}

/// One of the two systems.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkSide {
    /// The connection.
    pub connection: String,
    /// How the records are read: a stream's settings.
    #[serde(default)]
    pub options: Map<String, Value>,
    /// How they are written: a target's settings.
    #[serde(default)]
    pub target: Map<String, Value>,
    /// The column that identifies a record there; records are changed and deleted by it.
    pub id: String,
    /// The column by which a record is created, so that a repetition finds it: a unique column that
    /// is a field, or a column for an external id, which then holds the link's own key. `id` if absent.
    #[serde(default)]
    pub create_by: Option<String>,
    /// The column with the moment of the last change, for `rule: latest`.
    #[serde(default)]
    pub changed_at: Option<String>,
}

impl LinkSide {
    /// The column by which a record is created.
    #[must_use]
    pub fn create_by(&self) -> &str {
        self.create_by.as_deref().unwrap_or(&self.id)
    }
}

/// One field.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkField {
    /// Its name in this file, in conflicts and in the audit.
    pub name: String,
    /// The column on the left side, if its name differs.
    #[serde(default)]
    pub left: Option<String>,
    /// The column on the right side, if its name differs.
    #[serde(default)]
    pub right: Option<String>,
    /// The type both sides are read as, as in a sync's columns. Values are only the same if they have
    /// the same type, so declare it where the systems keep it differently.
    #[serde(rename = "type", default)]
    pub column_type: Option<String>,
    /// What gives the values of both sides one form before they are compared, as in a sync's columns.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub clean: Vec<String>,
    /// What decides if it changed on both sides.
    #[serde(default)]
    pub rule: Option<FieldRule>,
    /// The link whose records it refers to: its values are ids there and are translated.
    #[serde(default)]
    pub refers_to: Option<String>,
}

impl LinkField {
    /// The column on the left side.
    #[must_use]
    pub fn left(&self) -> &str {
        self.left.as_deref().unwrap_or(&self.name)
    }

    /// The column on the right side.
    #[must_use]
    pub fn right(&self) -> &str {
        self.right.as_deref().unwrap_or(&self.name)
    }

    /// The field as a column that is read.
    #[must_use]
    pub fn column(&self, from: &str) -> Column {
        Column {
            value: None,
            name: self.name.clone(),
            from: (from != self.name).then(|| from.to_owned()),
            column_type: self.column_type.clone(),
            required: false,
            clean: self.clean.clone(),
            mask: None,
        }
    }
}

/// What decides a field that changed on both sides since they last agreed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FieldRule {
    /// The left value wins.
    Left,
    /// The right value wins.
    Right,
    /// The left value wins unless it is blank.
    PreferLeftUnlessBlank,
    /// The right value wins unless it is blank.
    PreferRightUnlessBlank,
    /// The later change wins; a person decides if the changes are no further apart than `skew`, or if
    /// a moment is unknown.
    Latest {
        /// How far apart the clocks of the two systems may be.
        skew: Duration,
    },
    /// The greater value wins.
    Max,
    /// The smaller value wins.
    Min,
    /// What either side added is added, what either side removed is removed.
    Union {
        /// What stands between the members if the set is kept as text, such as `;`.
        #[serde(default)]
        separator: Option<String>,
    },
    /// The value that allows less wins: consent, opt-out, do-not-call.
    MostRestrictive {
        /// Every value the field can have, the one that allows least first.
        order: Vec<Value>,
    },
    /// An SQL expression over `left`, `right` and `base`, what both had before.
    Expression {
        /// The expression.
        sql: String,
    },
    /// A person decides: `flywheel link questions`, `flywheel link answer`.
    #[default]
    Manual,
}

/// How records that are not linked yet are recognised as the same.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Matching {
    /// What makes two records surely the same, the strongest first.
    #[serde(default)]
    pub exact: Vec<MatchBy>,
    /// What makes them likely the same.
    #[serde(default)]
    pub alike: Option<Alike>,
    /// What speaks against an exact match: people share addresses and telephones. A person is asked then.
    #[serde(default)]
    pub unless: Option<Unless>,
    /// The calling code of telephone numbers without one, such as `86`.
    #[serde(default)]
    pub calling_code: Option<String>,
}

/// What makes two records surely the same.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum MatchBy {
    /// The same id on both sides.
    Id,
    /// The same e-mail address in this field, unless it is that of a desk (`info@`).
    Email(String),
    /// The same telephone number in this field.
    Phone(String),
    /// The same values in all of these fields, none of them blank, without regard to case and width.
    Fields(Vec<String>),
}

/// When two records are likely the same.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alike {
    /// The fields that are compared.
    pub parts: Vec<AlikePart>,
    /// From which likeness on two records are linked.
    pub link: Share,
    /// From which likeness on a person is asked.
    pub review: Share,
}

/// A field that counts for the likeness.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlikePart {
    /// The field.
    pub field: String,
    /// How it is compared.
    pub measure: AlikeMeasure,
    /// How much it counts.
    #[serde(default = "one")]
    pub weight: f64,
    /// Below which likeness the records are different, whatever the other fields say.
    #[serde(default)]
    pub at_least: Share,
}

fn one() -> f64 {
    1.0
}

/// What speaks against an exact match.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unless {
    /// The field, where both records have it.
    pub field: String,
    /// How it is compared.
    pub measure: AlikeMeasure,
    /// Below which likeness a person is asked.
    pub below: Share,
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AlikeMeasure {
    /// A person's name: word by word, with short forms and initials.
    Name,
    /// A company's name: by the words it shares, rare ones count more.
    Company,
    /// The domain of an e-mail or web address, unless it is a free one.
    Domain,
    /// The whole e-mail address.
    Email,
    /// The telephone number.
    Phone,
    /// The same text without regard to case and width.
    Text,
}

/// On which side a record is created that only the other one has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Create {
    /// On either.
    #[default]
    Both,
    /// On the left side only.
    Left,
    /// On the right side only.
    Right,
    /// On neither: only records that both have are kept alike.
    Neither,
}

impl Create {
    /// Whether records are created on the left side.
    #[must_use]
    pub fn on_left(self) -> bool {
        matches!(self, Self::Both | Self::Left)
    }

    /// Whether records are created on the right side.
    #[must_use]
    pub fn on_right(self) -> bool {
        matches!(self, Self::Both | Self::Right)
    }
}

/// What happens to a record whose counterpart was deleted.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Deletes {
    /// It stays and is no longer linked.
    #[default]
    Ignore,
    /// It gets these values and is no longer linked.
    Archive {
        /// Values by field.
        set: BTreeMap<String, Value>,
    },
    /// It is deleted, too, unless it was changed since: then a person is asked.
    Propagate,
}

/// Beyond what a run stops before it writes anything.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkLimits {
    /// How many records it may delete or archive.
    #[serde(default = "max_deletes")]
    pub max_deletes: u64,
    /// Which share of a side's records it may change, archive or delete. It counts from the first run
    /// on that finds linked records.
    #[serde(default = "max_change_ratio")]
    pub max_change_ratio: Share,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self { max_deletes: max_deletes(), max_change_ratio: max_change_ratio() }
    }
}

fn max_deletes() -> u64 {
    100
}

fn max_change_ratio() -> Share {
    Share::of(0.2)
}
