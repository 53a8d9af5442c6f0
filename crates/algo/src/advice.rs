//! What a relational schema means: which tables are facts and which dimensions, by which keys they hang together, what
//! one row of each is, and which attributes change slowly; each with reasons and a confidence.
//!
//! ```text
//! columns' values ─► single keys ─► references ─► composite keys ─► roles ─► grain, shape, history
//!                    (uniqueness)   (inclusion,   (of references)
//!                                    names)
//! ```
//! Everything is told from names and values alone; keys that a database declares are taken as they are. Nothing here is
//! certain but the arithmetic, so that every claim says what speaks for it, and a person decides.
//!
//! # Source
//! Inclusion dependencies as candidates of foreign keys and names to tell the right ones: Rostin, Albrecht, Bauckmann,
//! Naumann & Leser 2009, "A machine learning approach to foreign key discovery". Roles of tables: Golfarelli, Maio &
//! Rizzi 1998, "The dimensional fact model"; Kimball & Ross 2013.

mod history;
mod keys;
mod name;
mod references;
mod roles;

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// What kind of values a column has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Whole numbers.
    Whole,
    /// Numbers with fractions.
    Fraction,
    /// Text.
    Text,
    /// Days.
    Day,
    /// Moments.
    Moment,
    /// True or false.
    Flag,
    /// Anything else, such as lists.
    Other,
}

/// A column and its values.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What kind of values it has.
    pub kind: Kind,
    /// A hash of each row's value, equal for equal texts; 0 where there is none.
    pub values: Vec<u64>,
}

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Its name, without a schema.
    pub name: String,
    /// Its columns; all have one value for each row.
    pub columns: Vec<Column>,
    /// The key that the database declares; empty if it declares none.
    pub declared_key: Vec<String>,
    /// Whether only a part of the rows was looked at: uniqueness then holds for them.
    pub partial: bool,
}

/// A claim about a key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Key {
    /// The columns that together identify a row.
    pub columns: Vec<String>,
    /// How sure it is, from 0 to 1.
    pub confidence: f64,
    /// What speaks for it.
    pub reasons: Vec<String>,
}

/// A claim that columns of one table refer to the key of another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reference {
    /// The columns that refer.
    pub columns: Vec<String>,
    /// The table that is referred to.
    pub table: String,
    /// Its key.
    pub key: Vec<String>,
    /// The share of different values that are found there.
    pub found: f64,
    /// How sure it is, from 0 to 1.
    pub confidence: f64,
    /// What speaks for it.
    pub reasons: Vec<String>,
}

/// What a table is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Something that happened or was measured.
    Fact,
    /// Something that facts are grouped by.
    Dimension,
    /// Pairs of things that belong together.
    Bridge,
}

impl Role {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Fact => "fact",
            Self::Dimension => "dimension",
            Self::Bridge => "bridge",
        }
    }
}

/// How an attribute of a dimension is kept when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It never changes: type 0.
    Never,
    /// The newest value is the right one for the past, too: type 1.
    Replace,
    /// The past keeps what was true then: type 2.
    Keep,
}

/// An attribute of a dimension that may change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attribute {
    /// The column.
    pub column: String,
    /// How it is kept.
    pub change: Change,
    /// Why.
    pub reason: String,
}

/// What is proposed for a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Proposal {
    /// The table.
    pub table: String,
    /// How many rows were looked at.
    pub rows: usize,
    /// What it is for.
    pub role: Role,
    /// How sure the role is, from 0 to 1.
    pub confidence: f64,
    /// What speaks for the role.
    pub reasons: Vec<String>,
    /// What identifies a row; none if no combination of columns does.
    pub key: Option<Key>,
    /// What it refers to, in the order of its columns.
    pub references: Vec<Reference>,
    /// What one row is.
    pub grain: String,
    /// What can be added up or averaged, for facts.
    pub measures: Vec<String>,
    /// Attributes and how they are kept when they change, for dimensions.
    pub attributes: Vec<Attribute>,
    /// Whether only other dimensions refer to it: a dimension of the snowflake.
    pub outrigger: bool,
}

/// How dimensions are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Each dimension is one table.
    Star,
    /// Dimensions refer to further ones.
    Snowflake,
}

impl Shape {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Star => "star",
            Self::Snowflake => "snowflake",
        }
    }
}

/// What is proposed for a schema.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    /// The tables, facts first, each kind by name.
    pub tables: Vec<Proposal>,
    /// How the tables are laid out now.
    pub found: Shape,
    /// How they should be laid out.
    pub shape: Shape,
    /// Why.
    pub reason: String,
}

/// Rows of a dimension beyond which a further dimension is better left apart than copied into it.
const FLATTEN_ROWS_MAX: usize = 1_000_000;

/// Proposes what the tables mean.
///
/// # Cost
/// A pass over the values for each pair of columns whose names allow a reference, and for each combination of up to
/// five columns that could be a key.
#[must_use]
pub fn advise(tables: &[Table]) -> Advice {
    let facts: Vec<Facts<'_>> = tables.iter().map(Facts::of).collect();
    let singles: Vec<Option<Key>> = facts.iter().map(keys::single).collect();
    let mut references: Vec<Vec<Reference>> =
        (0..facts.len()).map(|at| references::of(at, &facts, &singles)).collect();
    let all: Vec<Option<Key>> = facts
        .iter()
        .zip(singles)
        .zip(&references)
        .map(|((table, single), references)| single.or_else(|| keys::composite(table, references)))
        .collect();
    for (at, references) in references.iter_mut().enumerate() {
        references::composite(at, &facts, &all, references);
    }
    let mut proposals = roles::assign(&facts, all, references);
    for (proposal, table) in proposals.iter_mut().zip(&facts) {
        if proposal.role == Role::Dimension {
            proposal.attributes = history::attributes(table, proposal);
        }
    }
    let (found, shape, reason) = layout(&proposals);
    proposals.sort_by(|a, b| {
        let rank = |role| match role {
            Role::Fact => 0,
            Role::Dimension => 1,
            Role::Bridge => 2,
        };
        rank(a.role).cmp(&rank(b.role)).then_with(|| a.table.cmp(&b.table))
    });
    Advice { tables: proposals, found, shape, reason }
}

fn layout(proposals: &[Proposal]) -> (Shape, Shape, String) {
    let outriggers: Vec<&Proposal> =
        proposals.iter().filter(|proposal| proposal.outrigger).collect();
    if outriggers.is_empty() {
        let reason = "every dimension is referred to by facts directly".to_owned();
        return (Shape::Star, Shape::Star, reason);
    }
    let names: Vec<&str> = outriggers.iter().map(|proposal| proposal.table.as_str()).collect();
    let names = names.join(", ");
    let large = proposals.iter().filter(|proposal| proposal.role == Role::Dimension);
    if let Some(large) = large.clone().find(|proposal| proposal.rows > FLATTEN_ROWS_MAX) {
        let reason = format!("{} has {} rows; {names} stay apart from it", large.table, large.rows);
        return (Shape::Snowflake, Shape::Snowflake, reason);
    }
    let reason = format!(
        "only dimensions refer to {names}; copied into them they cost little and save a join in every question"
    );
    (Shape::Snowflake, Shape::Star, reason)
}

/// What is known of a table.
struct Facts<'a> {
    table: &'a Table,
    /// The name's words that say what a row is: `stg_orders_2024` is order.
    base: name::Name,
    columns: Vec<ColumnFacts<'a>>,
    rows: usize,
}

/// What is known of a column.
struct ColumnFacts<'a> {
    column: &'a Column,
    name: name::Name,
    distinct: HashSet<u64>,
    missing: usize,
}

impl<'a> Facts<'a> {
    fn of(table: &'a Table) -> Self {
        let columns: Vec<ColumnFacts<'a>> = table
            .columns
            .iter()
            .map(|column| ColumnFacts {
                column,
                name: name::Name::of(&column.name),
                distinct: column.values.iter().copied().filter(|value| *value != 0).collect(),
                missing: column.values.iter().filter(|value| **value == 0).count(),
            })
            .collect();
        let rows = table.columns.first().map_or(0, |column| column.values.len());
        Self { table, base: name::Name::of_table(&table.name), columns, rows }
    }

    fn column(&self, name: &str) -> Option<&ColumnFacts<'a>> {
        self.columns.iter().find(|column| column.column.name == name)
    }
}

impl ColumnFacts<'_> {
    fn unique(&self) -> bool {
        self.missing == 0
            && !self.column.values.is_empty()
            && self.distinct.len() == self.column.values.len()
    }

    /// Whether it can be added up or averaged, by its type and name.
    fn measures(&self) -> bool {
        matches!(self.column.kind, Kind::Whole | Kind::Fraction)
            && !self.name.is_key()
            && !self.name.is_code()
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests;
