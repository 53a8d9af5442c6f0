//! How old the newest row of each source is, against what its property file allows.

use std::collections::BTreeSet;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use flywheel_base::{Error, Result, Timestamp, statement};
use flywheel_project::resource::properties::{Age, Freshness};
use flywheel_project::{Asking, NodeKind, RunContext, Source};
use flywheel_warehouse::{Location, Session};
use serde::Serialize;

use crate::testing::quoted_table;
use crate::{World, catalog, names};

/// Microseconds in a second.
const MICROS: i64 = 1_000_000;

/// How fresh one table is.
#[derive(Clone, Debug, Serialize)]
pub struct FreshnessOutcome {
    /// The table, `schema.name`.
    pub table: String,
    /// Whether it is fresh enough.
    pub status: FreshnessStatus,
    /// When its newest row was loaded.
    pub loaded_at: Option<String>,
    /// How long ago that was.
    pub age_s: Option<i64>,
    /// Why it is not known.
    pub error: Option<String>,
}

/// Whether a table is fresh enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FreshnessStatus {
    /// It is.
    Pass,
    /// It is older than `warn_after`.
    Warn,
    /// It is older than `error_after`, has no row, or its age is not known.
    Error,
}

impl FreshnessStatus {
    /// dbt's word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Looks at every selected source that says how old it may be, by name.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a selector names nothing; the store's own.
pub async fn freshness(
    world: World<'_>,
    select: &[String],
    exclude: &[String],
) -> Result<Vec<FreshnessOutcome>> {
    let chosen = world.project.graph.select(select, exclude)?;
    let chosen: BTreeSet<String> = chosen
        .iter()
        .filter(|id| id.kind == NodeKind::Source)
        .map(|id| names::relation(world.project, id))
        .collect();
    let session = world.lake.session(catalog(world).await?)?;
    let mut outcomes = Vec::new();
    for (table, source) in &world.project.sources {
        let Some(rules) = source.freshness.as_ref().filter(|_| chosen.contains(table)) else {
            continue;
        };
        outcomes.push(match Box::pin(newest(world, &session, source, rules)).await {
            Ok(newest) => judged(table, rules, newest, world.now),
            Err(error) => FreshnessOutcome {
                table: table.clone(),
                status: FreshnessStatus::Error,
                loaded_at: None,
                age_s: None,
                error: Some(error.report()),
            },
        });
    }
    Ok(outcomes)
}

/// When the newest row was loaded; none if there is no row.
async fn newest(
    world: World<'_>,
    session: &Session,
    source: &Source,
    rules: &Freshness,
) -> Result<Option<Timestamp>> {
    let table = quoted_table(&source.relation());
    let moment = match (&rules.loaded_at_query, &rules.loaded_at_field) {
        (Some(query), _) => {
            let run = RunContext {
                moment: Some(world.now),
                asking: Asking::Closed,
                ..RunContext::default()
            };
            let sql = names::render_statement(world.project, query, &run)?;
            let sql = statement::one("loaded_at_query", &sql)?;
            format!("SELECT max(t) AS t FROM (\n{sql}\n) AS q(t)")
        }
        (None, Some(field)) => {
            let filter = rules.filter.as_deref().map(|f| format!(" WHERE {f}\n"));
            let filter = filter.unwrap_or_default();
            format!("SELECT max(CAST({field} AS timestamp)) AS t FROM {table}{filter}")
        }
        (None, None) => {
            // A seed or model of the project lies elsewhere than what a sync lands.
            let seen = world.store.publications()?;
            let seen = seen.into_iter().find(|seen| seen.name == source.relation());
            let location = match seen.and_then(|seen| seen.location) {
                Some(location) => Location::new(location)?,
                None => names::plain_location(&source.relation())?,
            };
            let history = world.lake.history(&location).await?;
            if history.is_empty() {
                return Err(Error::not_found(format!(
                    "table \"{}\" has not landed",
                    source.relation()
                ))
                .hint("Run `flywheel sync` first."));
            }
            return Ok(history.iter().map(|record| record.at).max());
        }
    };
    let sql = format!(
        "SELECT CAST(arrow_cast(t, 'Timestamp(Microsecond, None)') AS bigint) AS t FROM (\n{moment}\n) AS newest"
    );
    for batch in session.query(&sql).await?.collect().await? {
        let column = batch.column(0).as_primitive_opt::<Int64Type>();
        let value = column.and_then(|column| column.iter().next().flatten());
        if let Some(micros) = value {
            return Ok(Some(Timestamp::from_micros(micros)));
        }
    }
    Ok(None)
}

fn judged(
    table: &str,
    rules: &Freshness,
    newest: Option<Timestamp>,
    now: Timestamp,
) -> FreshnessOutcome {
    let age_s = newest.map(|newest| (now.micros() - newest.micros()).div_euclid(MICROS));
    // A table without rows is older than anything.
    let beyond = |limit: Option<Age>| {
        limit.is_some_and(|limit| age_s.is_none_or(|age| age > limit.seconds()))
    };
    let status = if beyond(rules.error_after) {
        FreshnessStatus::Error
    } else if beyond(rules.warn_after) {
        FreshnessStatus::Warn
    } else {
        FreshnessStatus::Pass
    };
    let loaded_at = newest.map(|newest| newest.to_string());
    FreshnessOutcome { table: table.to_owned(), status, loaded_at, age_s, error: None }
}
