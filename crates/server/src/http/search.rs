//! Finding assets by words, kind, owner and tag; and what could be given up.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use flywheel_runtime::access::Limits;
use flywheel_runtime::catalogue::{self, Asset, Catalogue, Finder, collect};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::json_of;
use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Permission, Routes};
use crate::input::{Asked, Input, counted};
use crate::problem::{Problem, Result};

pub(super) fn routes(routes: &mut Routes) {
    let (view, operate) = (Access::Needs(Permission::View), Access::Needs(Permission::Operate));
    routes.get(
        "/v1/search",
        view,
        "Finds assets by words, kind, owner, tag and certification, and counts them by each",
        search,
    );
    routes.get("/v1/savings", view, "Shows what could be given up, and what that saved", savings);
    routes.post::<GivenUp, _, _>(
        "/v1/savings/retire",
        operate,
        "Notes that an asset is given up, with what it costs now; removes nothing",
        retire,
    );
    routes.post::<Kept, _, _>(
        "/v1/savings/keep",
        operate,
        "Takes back that an asset is given up",
        keep,
    );
}

/// What is looked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
struct Wanted {
    q: Option<String>,
    kind: Option<String>,
    /// `-` for assets that nobody answers for.
    owner: Option<String>,
    tag: Option<String>,
    certification: Option<String>,
    limit: Option<u32>,
}

/// What stands for "nobody" where an owner is asked for.
const NOBODY: &str = "-";
/// Assets and columns that words find at most, before other conditions.
const FOUND_MAX: usize = 5_000;

/// The name under which `/v1/assets` knows an asset of the catalogue.
pub(super) fn name_of(asset: &Asset) -> String {
    if asset.is_table { asset.name.clone() } else { asset.id() }
}

/// An asset that was found.
struct Hit<'a> {
    asset: &'a Asset,
    /// Columns that fit the words.
    columns: Vec<&'a str>,
    score: Option<f64>,
}

/// The assets that fit the words, best first; all of them, by kind and name, if there are no words.
fn hits<'a>(all: &'a Catalogue, words: &str) -> Vec<Hit<'a>> {
    let plain = |asset| Hit { asset, columns: Vec::new(), score: None };
    if words.is_empty() {
        return all.assets.iter().map(plain).collect();
    }
    let by_id: BTreeMap<(&str, &str), usize> = all
        .assets
        .iter()
        .enumerate()
        .map(|(at, asset)| ((asset.kind.as_str(), asset.name.as_str()), at))
        .collect();
    let tables: BTreeMap<&str, usize> = all
        .assets
        .iter()
        .enumerate()
        .filter(|(_, asset)| asset.is_table)
        .map(|(at, asset)| (asset.name.as_str(), at))
        .collect();
    let mut found: Vec<Hit<'a>> = Vec::new();
    let mut place_of: BTreeMap<usize, usize> = BTreeMap::new();
    for place in Finder::new(all, &[]).find(words, FOUND_MAX).places {
        // A column's place is named `schema.table.column`; each part may hold dots itself.
        let (at, column) = if place.kind == "column" {
            let split = place
                .name
                .match_indices('.')
                .find_map(|(dot, _)| Some((*tables.get(place.name.get(..dot)?)?, dot + 1)));
            let Some((at, start)) = split else { continue };
            (at, place.name.get(start..).map(str::to_owned))
        } else {
            let Some(at) = by_id.get(&(place.kind.as_str(), place.name.as_str())) else { continue };
            (*at, None)
        };
        let Some(asset) = all.assets.get(at) else { continue };
        let index = *place_of.entry(at).or_insert_with(|| {
            found.push(Hit { score: Some(place.score), ..plain(asset) });
            found.len() - 1
        });
        if let (Some(column), Some(hit)) = (column, found.get_mut(index)) {
            hit.columns.extend(
                asset.columns.iter().map(|one| one.name.as_str()).filter(|one| *one == column),
            );
        }
    }
    found
}

impl Wanted {
    /// Whether an asset is of the kind, owner, tag and certification that are asked for, `but` for one of them.
    fn fits(&self, asset: &Asset, but: &str) -> bool {
        let is = |name: &str, wanted: &Option<String>, fits: &dyn Fn(&str) -> bool| {
            name == but || wanted.as_deref().is_none_or(fits)
        };
        is("kind", &self.kind, &|kind| asset.kind == kind)
            && is("owner", &self.owner, &|owner| asset.owner.as_deref().unwrap_or(NOBODY) == owner)
            && is("tag", &self.tag, &|tag| asset.tags.iter().any(|one| one == tag))
            && is("certification", &self.certification, &|word| asset.certification == word)
    }

    /// How many hits there are of each word of a facet, whatever was chosen of that facet.
    fn facet<'a>(
        &self,
        name: &str,
        hits: &[Hit<'a>],
        words: impl Fn(&'a Asset) -> Vec<&'a str>,
    ) -> Value {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for hit in hits.iter().filter(|hit| self.fits(hit.asset, name)) {
            for word in words(hit.asset) {
                *counts.entry(word).or_default() += 1;
            }
        }
        let mut counts: Vec<(&str, u64)> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts.iter().map(|(value, count)| json!({"value": value, "count": count})).collect()
    }
}

fn shown(hit: &Hit<'_>, limits: &Limits) -> Value {
    let asset = hit.asset;
    let rows = asset.rows.filter(|_| !limits.uncounted.contains(&asset.name));
    json!({
        "name": name_of(asset), "kind": asset.kind, "label": asset.labels.first(), "labels": asset.labels, "description": asset.description,
        "owner": asset.owner, "tags": asset.tags, "certification": asset.certification, "file": asset.file,
        "rows": rows, "tests": asset.tests, "tests_status": asset.tests_status, "age_s": asset.age_s,
        "fresh_limit_s": asset.fresh_limit_s, "reads": asset.reads, "readers": asset.readers,
        "used_by": asset.downstream.len(), "cost_per_year": asset.cost_per_year, "health": asset.health,
        "columns": hit.columns, "score": hit.score,
    })
}

async fn search(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Asked(wanted): Asked<Wanted>,
) -> Result<Response> {
    let reading = caller.reading(&app.workspace().project);
    let found = app.with(move |workspace| async move {
        let limits = reading.limits_now(&workspace).await?;
        let mut all = Box::pin(collect(&workspace)).await?;
        if let Some(granted) = reading.granted(&workspace.project) {
            all.assets.retain(|asset| granted.shows_asset(asset));
            // What could not be read is told with its name.
            all.notes.clear();
        }
        let hits = hits(&all, wanted.q.as_deref().unwrap_or_default().trim());
        let chosen: Vec<&Hit<'_>> =
            hits.iter().filter(|hit| wanted.fits(hit.asset, "")).collect();
        let limit = counted(wanted.limit) as usize;
        Ok(json!({
            "items": chosen.iter().take(limit).map(|hit| shown(hit, &limits)).collect::<Vec<_>>(),
            "total": chosen.len(), "currency": all.currency, "notes": all.notes,
            "facets": {
                "kind": wanted.facet("kind", &hits, |asset| vec![asset.kind.as_str()]),
                "owner": wanted.facet("owner", &hits, |asset| vec![asset.owner.as_deref().unwrap_or(NOBODY)]),
                "tag": wanted.facet("tag", &hits, |asset| asset.tags.iter().map(String::as_str).collect()),
                "certification": wanted.facet("certification", &hits, |asset| vec![asset.certification.as_str()]),
            },
        }))
    });
    json_of(&found.await?)
}

async fn savings(State(app): State<Arc<App>>) -> Result<Response> {
    let ledger = app.with(|workspace| async move { Box::pin(catalogue::ledger(&workspace)).await });
    json_of(&ledger.await?)
}

/// What is given up.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GivenUp {
    /// The asset: `model:mart.orders`.
    asset: String,
    /// Why, for those who ask later.
    reason: String,
}

async fn retire(State(app): State<Arc<App>>, Input(input): Input<GivenUp>) -> Result<Response> {
    if input.reason.trim().is_empty() {
        return Err(Problem::invalid("giving an asset up needs a reason")
            .hint("Say for example: replaced by mart.orders."));
    }
    let done = app.with(move |workspace| async move {
        let done = Box::pin(catalogue::retire(&workspace, &input.asset, &input.reason)).await?;
        Ok(json!({
            "asset": done.asset, "cost_per_year": done.cost_per_year, "currency": done.currency,
        }))
    });
    json_of(&done.await?)
}

/// What is kept after all.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// The asset, as it was given up.
    asset: String,
}

async fn keep(State(app): State<Arc<App>>, Input(input): Input<Kept>) -> Result<Response> {
    let kept = app.blocking(move |app| catalogue::keep(&app.workspace(), &input.asset));
    json_of(&json!({"asset": kept.await?}))
}
