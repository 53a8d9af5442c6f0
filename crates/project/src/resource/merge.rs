//! `merges/*.yaml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::link::Matching;
use super::quantity::Size;
use super::sync::{Column, one_or_many};
use crate::model::OneOrMany;

/// The column of the merged table that says of how many records a record was made.
pub const RECORDS: &str = "merged_records";

/// Several systems that are made one: records that are the same become one record, and what refers to them is led
/// there. The tables of the systems are only read, so that every merge can be taken apart again.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Merge {
    /// The merge's name.
    pub merge: String,
    /// What the merge is for.
    #[serde(default)]
    pub description: Option<String>,
    /// The table of the lake that is made, such as `crm.customers`. Beside it stand `…_crosswalk`, which says what
    /// became of every record, `…_review`, what a person has to decide, and `…_merges`, what was done when by whom.
    pub target: String,
    /// The column of it that identifies a record: the source and the key of the first of its records, as `north:42`.
    #[serde(default = "merged_key")]
    pub key: String,
    /// The tables of the lake that are merged, the most trusted first: tables that syncs land, or models.
    pub sources: Vec<MergeSource>,
    /// The columns of the merged table.
    pub fields: Vec<MergeField>,
    /// When two records are the same.
    #[serde(rename = "match")]
    pub matching: Matching,
    /// Whose value of a field is kept that has no rule of its own. A blank value is never kept while there is
    /// another one.
    #[serde(default)]
    pub keep: KeepRule,
    /// Tables whose rows refer to the records, and are led to the merged ones.
    #[serde(default)]
    pub children: Vec<MergeChild>,
    /// How much memory the rows of `sources` and `children` may take as they are read: `4GiB`. A run holds all of them at once,
    /// and takes several times as much; with more rows it ends before anything is written.
    #[serde(default = "memory_default")]
    pub memory: Size,
}

fn memory_default() -> Size {
    Size { bytes: 2 << 30 }
}

fn merged_key() -> String {
    "merged_key".to_owned()
}

/// One of the tables that are merged.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeSource {
    /// What the source is called in this file and in keys.
    pub name: String,
    /// The table, as `raw.north_customers`.
    pub table: String,
    /// The column that identifies a record there.
    pub key: String,
    /// The column with the moment of the last change, for `keep: latest`.
    #[serde(default)]
    pub changed_at: Option<String>,
}

/// One column of the merged table.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeField {
    /// Its name.
    pub name: String,
    /// What the column is called in sources where its name differs, by source.
    #[serde(default)]
    pub from: BTreeMap<String, String>,
    /// The sources that have it, one or a list of them; all if absent.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub only: Vec<String>,
    /// Its type, as in a sync's columns. Declare it where the sources keep it differently.
    #[serde(rename = "type", default)]
    pub column_type: Option<String>,
    /// What gives the values of all sources one form before they are compared, as in a sync's columns.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub clean: Vec<String>,
    /// Whose value is kept.
    #[serde(default)]
    pub keep: Option<KeepRule>,
    /// The other merge whose records it refers to: its values are keys of their source and become merged keys.
    #[serde(default)]
    pub refers_to: Option<String>,
}

impl MergeField {
    /// The column of a source; none if that source does not have it.
    #[must_use]
    pub fn column_of(&self, source: &str) -> Option<&str> {
        let has = self.only.is_empty() || self.only.iter().any(|one| one == source);
        has.then(|| self.from.get(source).map_or(self.name.as_str(), String::as_str))
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

/// Whose value of a field is kept.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum KeepRule {
    /// That of the first source that has one, in the order of `sources`.
    #[default]
    First,
    /// That of the record that was changed last.
    Latest,
    /// That of the record with the most fields that are not blank.
    Complete,
    /// That of one source, unless it is blank there.
    Prefer {
        /// The source.
        source: String,
    },
    /// The longest text.
    Longest,
    /// The greatest.
    Max,
    /// The smallest.
    Min,
    /// The members of all sets, each once.
    Union {
        /// What stands between the members if the set is kept as text.
        #[serde(default = "semicolon")]
        separator: String,
    },
    /// The value that allows less: consent, opt-out, do-not-call.
    MostRestrictive {
        /// Every value the field can have, the one that allows least first. A record with another value is set
        /// aside.
        order: Vec<Value>,
    },
    /// An SQL expression in which each source is a column with its value: `coalesce(south, north)`.
    Expression {
        /// The expression.
        sql: String,
    },
}

fn semicolon() -> String {
    ";".to_owned()
}

/// A table whose rows refer to records that are merged, or to rows of another such table.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeChild {
    /// What it is called in this file.
    pub name: String,
    /// The table of the lake that is made: the rows of all its tables, one after another.
    pub target: String,
    /// The column that identifies a row; its values get their source before them, as `north:7`.
    #[serde(default)]
    pub key: Option<String>,
    /// What its columns refer to: this merge, another merge, or another one of `children` with a key.
    #[serde(default)]
    pub references: BTreeMap<String, String>,
    /// Where its rows come from, a table for each source that has them.
    pub tables: Vec<MergeChildTable>,
}

/// A source's table of children.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeChildTable {
    /// The source.
    pub source: String,
    /// The table, as `raw.north_orders`.
    pub table: String,
    /// New names of columns, by the names they have there.
    #[serde(default)]
    pub rename: BTreeMap<String, String>,
}

impl Merge {
    /// The table that says what became of every record.
    #[must_use]
    pub fn crosswalk(&self) -> String {
        format!("{}_crosswalk", self.target)
    }

    /// The table of pairs that a person has to decide, or has decided.
    #[must_use]
    pub fn review(&self) -> String {
        format!("{}_review", self.target)
    }

    /// The table of what was done.
    #[must_use]
    pub fn history(&self) -> String {
        format!("{}_merges", self.target)
    }

    /// Every table that the merge writes, the merged one first.
    pub fn written(&self) -> impl Iterator<Item = String> + '_ {
        let own = [self.target.clone(), self.crosswalk(), self.review(), self.history()];
        own.into_iter().chain(self.children.iter().map(|child| child.target.clone()))
    }

    /// Every table of the lake that the merge reads, but for crosswalks of other merges.
    pub fn read(&self) -> impl Iterator<Item = &str> {
        let sources = self.sources.iter().map(|source| source.table.as_str());
        let children = self.children.iter().flat_map(|child| &child.tables);
        sources.chain(children.map(|table| table.table.as_str()))
    }

    /// The other merges whose keys it follows.
    pub fn others(&self) -> impl Iterator<Item = &str> {
        let fields = self.fields.iter().filter_map(|field| field.refers_to.as_deref());
        let children = self.children.iter().flat_map(|child| child.references.values());
        let children = children.map(String::as_str).filter(move |to| {
            *to != self.merge && !self.children.iter().any(|child| child.name == **to)
        });
        fields.chain(children)
    }
}
