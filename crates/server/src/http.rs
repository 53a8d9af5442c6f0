//! The API, a file per subject. A new subject is a file and a line in [`routes`].

pub(crate) mod access;
mod actions;
mod admin;
mod approvals;
mod assets;
pub(crate) mod dashboards;
mod databases;
mod events;
pub(crate) mod extensions;
mod learners;
mod lineage;
mod links;
mod metrics;
mod models;
mod operations;
mod policies;
mod quality;
mod queries;
pub(crate) mod recommend;
mod runs;
mod schedules;
mod search;
mod secrets;
mod session;
mod sign_in;
mod sql;
mod status;
mod syncs;
mod trust;
mod webhooks;

use std::collections::BTreeSet;

use axum::response::{IntoResponse, Response};
use flywheel_base::{Error, suggest};
use serde::Serialize;
use serde_json::{Value, json};

use crate::gate::Routes;
use crate::problem::Problem;

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
    links::routes(routes);
    models::routes(routes);
    sql::routes(routes);
    metrics::routes(routes);
    dashboards::routes(routes);
    queries::routes(routes);
    extensions::routes(routes);
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
    "connections",
    "databases",
    "quarantine",
    "models",
    "sql",
    "metrics",
    "dashboards",
    "queries",
    "extensions",
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
    "secrets",
    "audit",
];

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
