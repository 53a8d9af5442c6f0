//! Stored secrets: their names, when they were set and what refers to them. A value goes in and never comes out.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use flywheel_base::Secret;
use flywheel_project::vault;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{done, items};
use crate::app::App;
use crate::gate::{Access, Noted, Permission, Routes};
use crate::input::{Asked, Input, Place};
use crate::problem::{Problem, Result};

pub(super) fn routes(routes: &mut Routes) {
    let administer = Access::Needs(Permission::Administer);
    routes.get(
        "/v1/secrets",
        administer,
        "Lists stored secrets, those that files refer to and are not stored included; never values",
        list,
    );
    routes.put::<NewSecret, _, _>(
        "/v1/secrets/{secret}",
        administer,
        "Seals a value under a name, in the place of one that is there",
        set,
    );
    routes.delete(
        "/v1/secrets/{secret}",
        administer,
        "Removes a stored secret, unless a file refers to it",
        remove,
    );
}

async fn list(State(app): State<Arc<App>>) -> Result<Response> {
    let found = app.blocking(|app| {
        let project = &app.workspace().project;
        Ok((project.vault().list()?, vault::uses(&project.dir)?))
    });
    let (stored, uses) = found.await?;
    let mut all: BTreeMap<String, (Option<String>, Vec<Value>)> = BTreeMap::new();
    for one in stored {
        all.entry(one.name).or_default().0 = Some(one.set_at);
    }
    for place in uses {
        let shown = json!({"file": place.file, "line": place.line});
        all.entry(place.name).or_default().1.push(shown);
    }
    let shown = all
        .into_iter()
        .map(|(name, (set_at, uses))| json!({"name": name, "set_at": set_at, "used_by": uses}));
    items(&shown.collect::<Vec<_>>())
}

/// A secret to be stored.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewSecret {
    /// The value, of at most 64 KiB.
    #[serde(deserialize_with = "text_alone")]
    value: String,
}

/// Reads a text; the error of anything else does not repeat it.
fn text_alone<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    match Value::deserialize(input)? {
        Value::String(text) => Ok(text),
        _ => Err(D::Error::custom("the value is no text")),
    }
}

async fn set(
    State(app): State<Arc<App>>,
    place: Place,
    Input(input): Input<NewSecret>,
) -> Result<Response> {
    let (name, value) = (place.name(), Secret::new(input.value));
    vault::check_name(&name)?;
    let (named, now) = (name.clone(), app.machine_now());
    let replaced =
        app.blocking(move |app| app.workspace().project.vault().set(&named, &value, now)).await?;
    Ok(with(Noted(json!({"secret": name, "replaced": replaced}))))
}

/// An answer about which the audit log says which secret it was, and nothing of its value.
fn with(noted: Noted) -> Response {
    let mut response = done();
    response.extensions_mut().insert(noted);
    response
}

/// How a secret is removed.
#[derive(Debug, Deserialize, JsonSchema)]
struct Removal {
    /// Whether it is removed although files refer to it.
    #[serde(default)]
    force: bool,
}

async fn remove(
    State(app): State<Arc<App>>,
    place: Place,
    Asked(asked): Asked<Removal>,
) -> Result<Response> {
    let name = place.name();
    let noted = Noted(json!({"secret": name, "force": asked.force}));
    let wanted = name.clone();
    let (removed, places) = app
        .blocking(move |app| {
            let project = &app.workspace().project;
            let stored = project.vault().list()?.into_iter().any(|one| one.name == wanted);
            let mut places = Vec::new();
            if stored && !asked.force {
                let uses = vault::uses(&project.dir)?.into_iter();
                let uses = uses.filter(|place| place.name == wanted);
                places.extend(uses.map(|place| format!("{}:{}", place.file, place.line)));
            }
            let removed = stored && places.is_empty() && project.vault().remove(&wanted)?;
            Ok((removed, places))
        })
        .await?;
    if !places.is_empty() {
        let detail = format!("{} refers to the secret \"{name}\"", places.join(", "));
        return Err(Problem::new(StatusCode::CONFLICT, "blocked", detail)
            .hint("Change the file first, or remove the secret all the same with ?force=true."));
    }
    if !removed {
        return Err(Problem::not_found(format!("no secret named \"{name}\" is stored"))
            .hint("GET /v1/secrets lists them."));
    }
    Ok(with(noted))
}
