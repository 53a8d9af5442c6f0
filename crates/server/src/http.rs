//! The API, a file per subject. A new subject is a file and a line in [`routes`].

pub(crate) mod access;
mod actions;
mod admin;
mod approvals;
mod assets;
pub(crate) mod dashboards;
mod databases;
mod erasures;
mod events;
pub(crate) mod extensions;
pub(crate) mod files;
mod learners;
mod lineage;
mod links;
mod mend;
mod merges;
mod metrics;
mod models;
mod operations;
mod plan;
mod policies;
mod quality;
mod queries;
pub(crate) mod recommend;
mod runs;
mod schedules;
mod search;
mod secrets;
pub(crate) mod session;
mod sign_in;
mod sql;
mod status;
mod syncs;
mod trust;
mod webhooks;

use std::collections::BTreeSet;

use axum::response::{IntoResponse, Response};
use flywheel_base::{Error, suggest};
use flywheel_runtime::Workspace;
use flywheel_runtime::access::Reading;
use serde::Serialize;
use serde_json::{Value, json};

use crate::gate::Routes;
use crate::problem::Problem;
use crate::rows;

/// All routes.
pub(crate) fn routes(routes: &mut Routes) {
    session::routes(routes);
    sign_in::routes(routes);
    status::routes(routes);
    runs::routes(routes);
    schedules::routes(routes);
    assets::routes(routes);
    search::routes(routes);
    trust::routes(routes);
    lineage::routes(routes);
    quality::routes(routes);
    syncs::routes(routes);
    mend::routes(routes);
    links::routes(routes);
    merges::routes(routes);
    models::routes(routes);
    plan::routes(routes);
    sql::routes(routes);
    metrics::routes(routes);
    dashboards::routes(routes);
    queries::routes(routes);
    extensions::routes(routes);
    files::routes(routes);
    learners::routes(routes);
    policies::routes(routes);
    actions::routes(routes);
    approvals::routes(routes);
    events::routes(routes);
    webhooks::routes(routes);
    recommend::routes(routes);
    admin::routes(routes);
    secrets::routes(routes);
    access::routes(routes);
    databases::routes(routes);
    erasures::routes(routes);
    operations::routes(routes);
}

/// What pages of ours may show, by the word of each subject.
pub(crate) const FEATURES: &[&str] = &[
    "status",
    "turns",
    "runs",
    "work",
    "live",
    "schedules",
    "alerts",
    "assets",
    "search",
    "savings",
    "quality",
    "lineage",
    "syncs",
    "links",
    "merges",
    "connections",
    "databases",
    "quarantine",
    "models",
    "plan",
    "sql",
    "metrics",
    "dashboards",
    "queries",
    "extensions",
    "files",
    "learners",
    "policies",
    "experiments",
    "actions",
    "events",
    "recommend",
    "decide",
    "users",
    "access",
    "tokens",
    "rules",
    "grants",
    "quotas",
    "secrets",
    "audit",
];

/// Of these, what is about the whole project, so that it is no use to whom something is closed.
pub(crate) const OF_THE_WHOLE: &[&str] = &["savings", "plan", "databases", "files", "alerts"];

/// A JSON answer.
pub(crate) fn json_of(value: &impl Serialize) -> Result<Response, Problem> {
    let text = serde_json::to_vec(value)
        .map_err(|e| Error::internal("an answer is no JSON").caused_by(e))?;
    Ok(([(axum::http::header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// A JSON answer of a list.
pub(crate) fn items(items: &[impl Serialize]) -> Result<Response, Problem> {
    json_of(&json!({ "items": items }))
}

/// After what the next piece of a list goes on; the gate tells of it in the header `Link`, too.
#[derive(Clone, Debug)]
pub(crate) struct NextPiece(pub(crate) String);

/// A JSON answer of a piece of a list.
pub(crate) fn piece(items: &[impl Serialize], next: Option<String>) -> Result<Response, Problem> {
    Ok(with_next(json_of(&json!({ "items": items, "next": next }))?, next))
}

/// An answer of a piece of a list, after which another one goes on.
pub(crate) fn with_next(mut response: Response, next: Option<String>) -> Response {
    if let Some(next) = next {
        response.extensions_mut().insert(NextPiece(next));
    }
    response
}

/// A piece of what one of our tables has, in an order that names each row. What of it is granted is said by the condition.
pub(crate) struct Ordered<'a> {
    /// The table.
    pub(crate) table: &'a str,
    /// What of it is listed.
    pub(crate) condition: String,
    /// The column that names a row.
    pub(crate) key: &'a str,
    /// What falls first.
    pub(crate) falling: &'a str,
    /// What rises among rows that have the same of it, before the key.
    pub(crate) rising: &'a [&'a str],
}

impl Ordered<'_> {
    /// Reads at most `count` rows, after the one that `cursor` names, and after which the next piece goes on.
    pub(crate) async fn read(
        &self,
        workspace: &Workspace,
        reading: &Reading,
        cursor: Option<&str>,
        count: u32,
    ) -> Result<(rows::Table, Option<String>), Error> {
        let Self { table, condition, key, falling, rising } = self;
        let mut sql = format!("select * from {table} where {condition}");
        if let Some(cursor) = cursor {
            let named = format!("{key} = {}", rows::literal(cursor));
            let there = format!("select 1 from {table} where {named} limit 1");
            let session = workspace.session_for_us(&there, reading).await?;
            if rows::query(&session, &there, 1).await?.row_count == 0 {
                return Err(flywheel_state::no_place(cursor));
            }
            let of = |what: &str| format!("(select max({what}) from {table} where {named})");
            let up = rising.iter().chain([key]).rev();
            let after = up.fold(String::new(), |rest, what| match rest.as_str() {
                "" => format!("{what} > {}", of(what)),
                rest => format!("({what} > {0} or ({what} = {0} and {rest}))", of(what)),
            });
            sql.push_str(&format!(
                " and ({falling} < {0} or ({falling} = {0} and {after}))",
                of(falling)
            ));
        }
        let order: Vec<&str> = rising.iter().chain([key]).copied().collect();
        // One more than is shown says whether there is more.
        sql.push_str(&format!(
            " order by {falling} desc, {} limit {}",
            order.join(", "),
            count.saturating_add(1)
        ));
        let session = workspace.session_for_us(&sql, reading).await?;
        let found = rows::query(&session, &sql, count as usize).await?;
        let at = found.columns.iter().position(|column| column.name == *key);
        let last = found.rows.last().filter(|_| found.truncated);
        let next = last.zip(at).and_then(|(row, at)| row.get(at)?.as_str().map(str::to_owned));
        Ok((found, next))
    }
}

/// Nothing more to say.
pub(crate) fn done() -> Response {
    axum::http::StatusCode::NO_CONTENT.into_response()
}

/// A declaration as JSON, with references to secrets hidden.
pub(crate) fn declared(value: &impl Serialize) -> Result<Value, Error> {
    let mut value = serde_json::to_value(value)
        .map_err(|e| Error::internal("a declaration is no JSON").caused_by(e))?;
    hide(&mut value);
    Ok(value)
}

/// What is shown in place of a secret.
const SECRET: &str = "(secret)";

/// Parts of keys whose values are nobody's business, however they are written.
const SECRET_KEYS: [&str; 8] =
    ["password", "secret", "token", "api_key", "apikey", "private", "credential", "passphrase"];

/// Hides what could be a secret: references to one, values of keys that sound like one, and passwords in addresses.
fn hide(value: &mut Value) {
    match value {
        Value::String(text) if text.contains("${") => *text = SECRET.to_owned(),
        Value::String(text) => {
            if let Some((scheme, rest)) = text.split_once("://")
                && let Some((_, place)) = rest.split_once('@')
            {
                *text = format!("{scheme}://{SECRET}@{place}");
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::Object(object) => {
            for (key, value) in object.iter_mut() {
                let key = key.to_ascii_lowercase();
                let sounds = SECRET_KEYS.iter().any(|word| key.contains(word));
                if sounds && !value.is_null() && !value.is_boolean() && !value.is_number() {
                    *value = Value::String(SECRET.to_owned());
                } else {
                    hide(value);
                }
            }
        }
        _ => {}
    }
}

/// The problem of a name that is not there.
pub(crate) fn unknown<'a>(
    kind: &str,
    name: &str,
    known: impl Iterator<Item = &'a String>,
) -> Problem {
    let known: BTreeSet<&str> = known.map(String::as_str).collect();
    Problem::from(
        Error::not_found(format!("no {kind} \"{name}\"")).hint(suggest::hint(name, known)),
    )
}
