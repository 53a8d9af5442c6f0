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

mod expand;
mod part;
mod query;
mod render;
mod resolve;
mod rows;
mod table;
mod time;

use flywheel_base::Result;
use flywheel_project::Project;
use serde::Serialize;

pub use query::MetricQuery;
pub use table::expand_metrics;

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
}

/// Turns a question into SQL, without looking at data.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if a name is unknown; [`flywheel_base::ErrorKind::Invalid`] if a dimension cannot be
/// reached without counting rows twice, or the question makes no sense otherwise.
pub fn compile_metrics(project: &Project, query: &MetricQuery) -> Result<CompiledMetrics> {
    let semantics = project.semantics();
    let question = resolve::resolve(project, &semantics, query)?;
    let plan = expand::expand(&semantics, &question)?;
    render::render(project, &semantics, &question, &plan)
}

#[cfg(test)]
mod tests;
