//! Questions about metrics become one SQL query.
//!
//! ```text
//! MetricQuery ─ resolve ─► names and ways ─ expand ─► formulas over leaves ─ render ─► SQL
//! ```
//!
//! A leaf is a measure with its filters and its window. Leaves that look at the same rows of one table are
//! aggregated together, each to the dimensions that are asked for; only then are tables brought together, by
//! those dimensions. So no row can be counted twice: a join that could multiply rows is refused when names
//! are resolved. What compares or adds up periods is joined to a calendar, so that a period without rows is
//! a period. Division by zero gives null.

mod day;
mod expand;
mod mistake;
mod part;
mod query;
mod render;
mod resolve;
mod rows;
mod table;
mod time;

use std::collections::BTreeMap;

use flywheel_base::{Error, Result};
use flywheel_project::Project;
use flywheel_project::resource::semantic::{Label, Semantic};
use serde::Serialize;

use crate::names;

pub use mistake::{MetricMistake, metric_error, metric_mistakes};
pub use query::MetricQuery;
pub use table::expand_metrics;
pub(crate) use table::{Block, expand_over, metric_blocks};

/// A question about metrics as SQL.
#[derive(Clone, Debug, Serialize)]
pub struct CompiledMetrics {
    /// One statement that answers it.
    pub sql: String,
    /// The columns of the answer.
    pub columns: Vec<MetricColumn>,
    /// What should be known about the answer.
    pub notes: Vec<String>,
}

/// A column of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MetricColumn {
    /// Its name.
    pub name: String,
    /// The metric it shows; none for what is grouped by.
    pub metric: Option<String>,
    /// What it is measured in.
    pub unit: Option<String>,
    /// What people call its values, by the value that the rows hold.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Label>,
}

impl CompiledMetrics {
    /// What people call the values of the answer, of those columns that have such names, by column and value.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, BTreeMap<String, Label>> {
        let named = self.columns.iter().filter(|column| !column.labels.is_empty());
        named.map(|column| (column.name.clone(), column.labels.clone())).collect()
    }
}

/// Turns a question into SQL, without looking at data.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if a name is unknown; [`flywheel_base::ErrorKind::Invalid`] if a dimension cannot be
/// reached without counting rows twice, or the question makes no sense otherwise.
pub fn compile_metrics(project: &Project, query: &MetricQuery) -> Result<CompiledMetrics> {
    compile_over(Tables { project, instead: &BTreeMap::new() }, query)
}

/// As [`compile_metrics`], over tables that are perhaps called otherwise.
fn compile_over(tables: Tables<'_>, query: &MetricQuery) -> Result<CompiledMetrics> {
    let semantics = tables.project.semantics();
    let question = resolve::resolve(tables.project, &semantics, query)?;
    let plan = expand::expand(&semantics, &question)?;
    render::render(tables, &semantics, &question, &plan)
}

/// Where the rows of semantic views are.
#[derive(Clone, Copy)]
struct Tables<'p> {
    project: &'p Project,
    /// Other names for some tables, by their names in SQL.
    instead: &'p BTreeMap<String, String>,
}

impl Tables<'_> {
    /// The name in SQL of the table that a semantic view describes.
    fn relation(&self, view: &Semantic) -> Result<String> {
        let node = self.project.semantic_tables.get(&view.semantic).ok_or_else(|| {
            Error::internal(format!("semantic \"{}\" describes no table", view.semantic))
        })?;
        let relation = names::relation(self.project, node);
        Ok(self.instead.get(&relation).cloned().unwrap_or(relation))
    }
}

#[cfg(test)]
mod tests;
