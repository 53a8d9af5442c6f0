//! Whether tables have what semantic views say of them: each part as a query that is planned and never run.

use flywheel_base::Error;
use flywheel_project::Project;
use flywheel_project::resource::semantic::{Aggregate, DimensionKind, Semantic};
use flywheel_warehouse::Session;
use serde::Serialize;

use super::part::aggregate;
use super::rows::moment_sql;
use crate::names;
use crate::testing::{quoted, quoted_table};

/// A part of a semantic view that its table does not answer.
#[derive(Clone, Debug, Serialize)]
pub struct MetricMistake {
    /// The semantic view.
    pub semantic: String,
    /// The file that declares it, relative to the project folder.
    pub file: String,
    /// The part: `measure amount`, `dimension channel`, `entity order`; `table` if there is none to read.
    pub part: String,
    /// Why.
    pub reason: String,
    /// How it is mended, if that is known.
    pub hint: Option<String>,
}

/// The parts of semantic views that their tables do not answer as `session` sees them.
pub async fn metric_mistakes(project: &Project, session: &Session) -> Vec<MetricMistake> {
    mistakes_in(project, session, None).await
}

/// Says which part of a semantic view `error` is about, with which the SQL of a question was refused.
pub async fn metric_error(project: &Project, session: &Session, sql: &str, error: Error) -> Error {
    let mistakes = mistakes_in(project, session, Some(sql)).await;
    // Other parts of the same tables may be wrong as well, and are not what was asked for.
    match mistakes.into_iter().find(|mistake| mistake.reason == error.message()) {
        None => error.context("the metrics' SQL, which `flywheel metric compile` shows"),
        Some(mistake) => error.context(format!(
            "{} of semantic \"{}\" ({})",
            mistake.part, mistake.semantic, mistake.file
        )),
    }
}

/// As [`metric_mistakes`], of the tables that a statement reads.
async fn mistakes_in(
    project: &Project,
    session: &Session,
    sql: Option<&str>,
) -> Vec<MetricMistake> {
    let mut found = Vec::new();
    for view in project.semantics.values() {
        let Some(node) = project.semantic_tables.get(&view.semantic) else { continue };
        let table = quoted_table(&names::relation(project, node));
        if sql.is_some_and(|sql| !sql.contains(&table)) {
            continue;
        }
        let mut mistake = |part: String, error: &Error| {
            found.push(MetricMistake {
                semantic: view.semantic.clone(),
                file: view.file.clone(),
                part,
                reason: error.message().to_owned(),
                hint: error.hint_text().map(str::to_owned),
            });
        };
        if let Err(error) = session.query(&format!("SELECT 1 AS one FROM {table}")).await {
            mistake("table".to_owned(), &error);
            continue;
        }
        for (part, sql) in parts(view, &table) {
            if let Err(error) = session.query(&sql).await {
                mistake(part, &error);
            }
        }
    }
    found
}

/// The keys, dimensions and measures of a semantic view, each with the query that it is.
fn parts(view: &Semantic, table: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (name, entity) in &view.entities {
        let columns: Vec<String> = entity.columns(name).iter().map(|one| quoted(one)).collect();
        all.push((format!("entity {name}"), format!("SELECT {} FROM {table}", columns.join(", "))));
    }
    for (name, dimension) in &view.dimensions {
        let sql = match dimension.kind {
            DimensionKind::Time => moment_sql(name, dimension),
            DimensionKind::Categorical => {
                dimension.expression.clone().unwrap_or_else(|| quoted(name))
            }
        };
        all.push((format!("dimension {name}"), format!("SELECT {sql} AS v FROM {table}")));
    }
    for (name, measure) in &view.measures {
        let rows = measure.aggregate == Aggregate::Count && measure.expression.is_none();
        let value = measure.expression.clone().unwrap_or_else(|| quoted(name));
        let value = if rows { "1".to_owned() } else { value };
        // As questions write it: the value of each row first, so that it may be a window.
        let sql = format!(
            "SELECT {} AS v FROM (SELECT {value} AS m FROM {table}) AS r",
            aggregate(measure, Some("r.m"))
        );
        all.push((format!("measure {name}"), sql));
    }
    all
}
