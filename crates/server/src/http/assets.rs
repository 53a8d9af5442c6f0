//! The catalogue: everything that has a name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use flywheel_base::{Error, ErrorKind, Result as BaseResult, Timestamp, suggest};
use flywheel_project::Project;
use flywheel_project::graph::{NodeId, NodeKind};
use flywheel_runtime::access::{Limits, Reading};
use flywheel_runtime::catalogue::{collect, health_sql};
use flywheel_runtime::profile::{Profile, profile};
use flywheel_runtime::{Workspace, system};
use flywheel_state::Task;
use flywheel_warehouse::{Seen, TableName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{items, json_of};
use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Permission, Routes};
use crate::input::{Asked, Limit, Place, counted};
use crate::problem::{Problem, Result};
use crate::rows;

pub(super) fn routes(routes: &mut Routes) {
    let view = Access::Needs(Permission::View);
    routes.get("/v1/assets", view, "Searches everything that has a name", search);
    routes.get(
        "/v1/assets/{asset}",
        view,
        "Shows an asset: columns, tests, freshness, neighbours",
        one,
    );
    routes.get(
        "/v1/assets/{asset}/profile",
        Access::Needs(Permission::Query),
        "Shows what the columns of a table held when it was last profiled",
        profiled,
    );
    routes.act(
        "/v1/assets/{asset}/profile",
        Access::Needs(Permission::Query),
        "Looks at all rows of a table and keeps what its columns hold",
        profile_now,
    );
    routes.get(
        "/v1/assets/{asset}/sample",
        Access::Needs(Permission::Query),
        "Shows some rows of a table",
        sample,
    );
}

/// What is looked for.
#[derive(Debug, Deserialize, JsonSchema)]
struct Search {
    q: Option<String>,
    kind: Option<String>,
    limit: Option<u32>,
}

/// An asset in a list.
#[derive(Clone, Debug, Serialize)]
struct Asset {
    name: String,
    kind: &'static str,
    title: Option<String>,
    /// What people call it, in every language that its file says it in.
    labels: Vec<String>,
    description: Option<String>,
    tags: Vec<String>,
    file: Option<String>,
    #[serde(skip)]
    columns: Vec<String>,
    /// Other words for it.
    #[serde(skip)]
    synonyms: Vec<String>,
    #[serde(skip)]
    node: Option<NodeId>,
}

/// The name under which people and queries know a node.
pub(super) fn asset_name(workspace: &Workspace, id: &NodeId) -> String {
    match id.kind {
        NodeKind::Model => workspace
            .project
            .models
            .get(&id.name)
            .map_or_else(|| id.name.clone(), |model| model.relation()),
        NodeKind::Learner => format!("learn.{}", id.name),
        NodeKind::Source => id.name.clone(),
        kind => format!("{}:{}", kind.word(), id.name),
    }
}

fn all(workspace: &Workspace, reading: &Reading) -> Vec<Asset> {
    let project = &workspace.project;
    let mut all = Vec::new();
    for (id, info) in project.graph.nodes() {
        let (mut labels, mut synonyms) = (Vec::<String>::new(), Vec::new());
        let mut columns = Vec::new();
        let description = match id.kind {
            NodeKind::Model => project.models.get(&id.name).and_then(|model| {
                columns = model.columns.iter().map(|column| column.name.clone()).collect();
                model.description.clone()
            }),
            NodeKind::Source => project.sources.get(&id.name).and_then(|source| {
                columns = source.columns.iter().map(|column| column.name.clone()).collect();
                source.description.clone()
            }),
            NodeKind::Connection => {
                project.connections.get(&id.name).and_then(|c| c.description.clone())
            }
            NodeKind::Sync => project.syncs.get(&id.name).and_then(|s| s.description.clone()),
            NodeKind::Learner => project.learners.get(&id.name).and_then(|l| l.description.clone()),
            NodeKind::Policy => project.policies.get(&id.name).and_then(|p| p.description.clone()),
            NodeKind::Action => project.actions.get(&id.name).and_then(|a| a.description.clone()),
            NodeKind::Metric => {
                let semantics = project.semantics();
                semantics.metric(&id.name).ok().and_then(|metric| {
                    labels = metric.metric.label.texts().map(str::to_owned).collect();
                    synonyms.clone_from(&metric.metric.synonyms);
                    metric.metric.description.clone()
                })
            }
            NodeKind::Query => project.queries.get(&id.name).and_then(|q| q.description.clone()),
            NodeKind::Dashboard => project.dashboards.get(&id.name).and_then(|board| {
                labels = board.title.texts().map(str::to_owned).collect();
                board.description.clone()
            }),
            _ => None,
        };
        let seed = project.models.get(&id.name).is_some_and(|model| model.seed.is_some());
        let kind = match id.kind {
            NodeKind::Model if seed => "seed",
            NodeKind::Source => "landed",
            kind => kind.word(),
        };
        all.push(Asset {
            name: asset_name(workspace, id),
            kind,
            title: labels.first().cloned(),
            labels,
            description,
            tags: info.tags.clone(),
            file: info.file.clone(),
            columns,
            synonyms,
            node: Some(id.clone()),
        });
    }
    all.extend(system::seen_by(reading).map(|table| Asset {
        name: format!("system.{}", table.name),
        kind: "system",
        title: None,
        labels: Vec::new(),
        description: Some(table.about.to_owned()),
        tags: Vec::new(),
        file: None,
        columns: table.columns.iter().map(|column| column.0.to_owned()).collect(),
        synonyms: Vec::new(),
        node: None,
    }));
    if let Some(granted) = reading.granted(project) {
        all.retain(|asset| match &asset.node {
            Some(id) => granted.shows_node(id),
            None => granted.shows_table(&asset.name),
        });
    }
    all
}

/// How well an asset fits what is looked for; none if it does not.
fn fit(asset: &Asset, wanted: &str) -> Option<u8> {
    let name = asset.name.to_lowercase();
    let last = name.rsplit(['.', ':']).next().unwrap_or_default();
    let has = |texts: &[String]| texts.iter().any(|text| text.to_lowercase().contains(wanted));
    let rank = if name == wanted || last == wanted {
        0
    } else if last.starts_with(wanted) {
        1
    } else if name.contains(wanted) || has(&asset.labels) || has(&asset.synonyms) {
        2
    } else if has(&asset.columns) {
        3
    } else if has(asset.description.as_slice()) || has(&asset.tags) {
        4
    } else {
        return None;
    };
    Some(rank)
}

async fn search(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Asked(search): Asked<Search>,
) -> Result<Response> {
    let workspace = app.workspace();
    let reading = caller.reading(&workspace.project);
    let wanted = search.q.unwrap_or_default().trim().to_lowercase();
    let found = all(&workspace, &reading)
        .into_iter()
        .filter(|asset| search.kind.as_ref().is_none_or(|kind| kind == asset.kind));
    let mut found: Vec<(u8, Asset)> =
        found.filter_map(|asset| fit(&asset, &wanted).map(|rank| (rank, asset))).collect();
    // What people made comes before what the platform knows of itself.
    found.sort_by_key(|(rank, asset)| (*rank, asset.kind == "system"));
    let found: Vec<Asset> =
        found.into_iter().map(|(_, asset)| asset).take(counted(search.limit) as usize).collect();
    items(&found)
}

async fn one(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let (name, reading) = (place.name(), caller.reading(&app.workspace().project));
    let found =
        app.with(move |workspace| async move { described(&workspace, &name, &reading).await });
    json_of(&found.await?)
}

async fn described(workspace: &Workspace, name: &str, reading: &Reading) -> BaseResult<Value> {
    let mut assets = all(workspace, reading);
    let catalogue = Box::pin(collect(workspace)).await?;
    let granted = reading.granted(&workspace.project);
    let shows = |name: &str| granted.as_ref().is_none_or(|granted| granted.shows_called(name));
    // Tables of the lake that nobody declares.
    let undeclared =
        catalogue.assets.iter().filter(|asset| asset.kind == "table" && shows(&asset.name));
    assets.extend(undeclared.map(|asset| {
        let columns = asset.columns.iter().map(|column| column.name.clone()).collect();
        Asset {
            name: asset.name.clone(),
            kind: "table",
            title: None,
            labels: asset.labels.clone(),
            description: asset.description.clone(),
            tags: asset.tags.clone(),
            file: None,
            columns,
            synonyms: Vec::new(),
            node: None,
        }
    }));
    let Some(asset) = assets.iter().find(|asset| asset.name == name) else {
        let names: Vec<&str> = assets.iter().map(|asset| asset.name.as_str()).collect();
        return Err(
            Error::not_found(format!("no asset \"{name}\"")).hint(suggest::hint(name, names))
        );
    };
    let graph = &workspace.project.graph;
    let neighbours = |upstream: bool| -> Vec<String> {
        let Some(node) = &asset.node else { return Vec::new() };
        let names = |id: &NodeId| asset_name(workspace, id);
        let seen = |id: &&NodeId| granted.as_ref().is_none_or(|granted| granted.shows_node(id));
        match upstream {
            true => graph.upstream(node).filter(seen).map(names).collect(),
            false => graph.downstream(node).filter(seen).map(names).collect(),
        }
    };
    let mut answer = json!(asset);
    let said = reading.said(&workspace.project);
    let limits = reading.limits_now(workspace).await?;
    let more = table(workspace, asset, reading, &limits).await?;
    if let (Value::Object(answer), Value::Object(more)) = (&mut answer, more) {
        answer.insert("upstream".to_owned(), json!(neighbours(true)));
        answer.insert("downstream".to_owned(), json!(neighbours(false)));
        answer.extend(more);
        let mut known =
            catalogue.assets.iter().find(|one| super::search::name_of(one) == asset.name).cloned();
        if let Some(known) = known.as_mut().filter(|known| limits.uncounted.contains(&known.name)) {
            (known.rows, known.size_bytes) = (None, None);
        }
        if let (Some(known), true) = (&mut known, granted.is_some()) {
            // There the kind is left out.
            let plain = |name: String| match name.split_once(':') {
                Some((_, plain)) => plain.to_owned(),
                None => name,
            };
            let above: BTreeSet<String> = neighbours(true).into_iter().map(plain).collect();
            let below: BTreeSet<String> = neighbours(false).into_iter().map(plain).collect();
            known.upstream.retain(|name| above.contains(name));
            known.downstream.retain(|name| below.contains(name));
        }
        let known = known.as_ref();
        answer.insert("known".to_owned(), json!(known));
        answer.insert("health_sql".to_owned(), json!(known.map(health_sql)));
        let scores = known.map(|known| workspace.store.health_of(&known.kind, &known.name));
        let scores = scores.transpose()?.unwrap_or_default();
        let scores = scores.iter().map(|one| json!([one.day.date(), one.health]));
        answer.insert("health_history".to_owned(), scores.collect());
        answer.insert("currency".to_owned(), json!(catalogue.currency));
        let held = workspace.store.holds()?.into_iter().find(|hold| hold.name == asset.name);
        let held = held.map(|hold| {
            json!({"version": hold.version, "reason": said.text(hold.reason), "held_at": hold.held_at.to_string()})
        });
        answer.insert("held".to_owned(), json!(held));
    }
    Ok(answer)
}

/// What a table has that other assets do not.
async fn table(
    workspace: &Workspace,
    asset: &Asset,
    reading: &Reading,
    limits: &Limits,
) -> BaseResult<Value> {
    let project = &workspace.project;
    let model = asset
        .node
        .as_ref()
        .filter(|id| id.kind == NodeKind::Model)
        .and_then(|id| project.models.get(&id.name));
    let source = asset
        .node
        .as_ref()
        .filter(|id| id.kind == NodeKind::Source)
        .and_then(|id| project.sources.get(&id.name));
    let system = system::all().find(|table| asset.name == format!("system.{}", table.name));
    let said = |column: &str| -> Option<String> {
        let described =
            model.map(|model| &model.columns).or_else(|| source.map(|source| &source.columns));
        let described = described.and_then(|all| all.iter().find(|one| one.name == column));
        let ours = || {
            system?
                .columns
                .iter()
                .find(|(name, ..)| *name == column)
                .map(|(.., says)| (*says).to_owned())
        };
        described.and_then(|one| one.description.clone()).or_else(ours)
    };
    let mut columns = Vec::new();
    let catalog = workspace.catalog().await?;
    let table = TableName::parse(&asset.name).ok();
    let there = table.as_ref().is_some_and(|name| catalog.contains(name));
    let mut denied = None;
    // How many rows there are is for those who see all of them.
    let all_rows = !limits.uncounted.contains(&asset.name);
    if there {
        let mut seen = catalog;
        reading.limit(workspace, &mut seen)?;
        let session = workspace.lake.session(seen)?;
        let query = session.query(&format!("select * from {}", rows::quoted(&asset.name))).await;
        let schema = match query {
            Ok(query) => Some(query.schema()),
            Err(error) if error.kind() == ErrorKind::Denied => {
                denied = Some(json!({"detail": error.message(), "hint": error.hint_text()}));
                None
            }
            Err(error) => return Err(error),
        };
        let fields = schema
            .iter()
            .flat_map(|schema| rows::columns(schema).into_iter().zip(schema.fields().iter()));
        for (column, field) in fields {
            columns.push(json!({
                "name": column.name, "type": column.kind, "nullable": field.is_nullable(), "description": said(&column.name),
            }));
        }
    }
    let known = facts(workspace, &asset.name).await?;
    let granted = reading.granted(project);
    // What it is made of is named in its text.
    let told = match (&granted, &asset.node) {
        (Some(granted), Some(id)) => granted.shows_inputs(id),
        _ => true,
    };
    let sql = model.filter(|_| told).map(|model| model.sql_template.clone());
    let landed_by = source.filter(|_| told).and_then(|source| source.landed_by.clone());
    let fresh = freshness(workspace, asset).await.map_err(|error| {
        reading.said(project).error(error, &format!("the freshness of {}", asset.name))
    })?;
    Ok(json!({
        "columns": columns, "denied": denied, "rows": known.0.filter(|_| all_rows), "version": known.1, "updated_at": known.2, "exists": there,
        "tests": tests(workspace, asset, reading, limits).await?, "freshness": fresh, "sql": sql, "landed_by": landed_by,
    }))
}

/// Rows, version and moment of a table that readers see.
async fn facts(
    workspace: &Workspace,
    name: &str,
) -> BaseResult<(Option<u64>, Option<i64>, Option<String>)> {
    let published =
        workspace.store.publications()?.into_iter().find(|publication| publication.name == name);
    let (location, version) = match published {
        Some(publication) => (publication.location, publication.version),
        None => (Some(name.replacen('.', "/", 1)), None),
    };
    let Some(location) = location else { return Ok((None, None, None)) };
    let Ok(location) = flywheel_warehouse::Location::new(location) else {
        return Ok((None, None, None));
    };
    let state = match version {
        Some(version) => Some(workspace.lake.state_at(&location, version).await?),
        None => workspace.lake.head(&location).await?,
    };
    Ok(state.map_or((None, None, None), |state| {
        (state.rows, Some(state.version), Some(state.committed_at.to_string()))
    }))
}

/// The tests of an asset, with what became of each when it was last run.
async fn tests(
    workspace: &Workspace,
    asset: &Asset,
    reading: &Reading,
    limits: &Limits,
) -> BaseResult<Vec<Value>> {
    let Some(id) = &asset.node else { return Ok(Vec::new()) };
    let project = &workspace.project;
    let declared = match id.kind {
        NodeKind::Model => project.models.get(&id.name).map(|model| &model.tests),
        NodeKind::Source => project.sources.get(&id.name).map(|source| &source.tests),
        _ => None,
    };
    let builds = newest_builds(workspace)?;
    // Promises about a landed table are judged when it lands, not when models are built.
    let promised: BTreeMap<String, Value> = super::quality::last(workspace, reading)
        .await?
        .into_iter()
        .map(|((quality, check), last)| (Project::quality_test(&quality, &check), last))
        .collect();
    let shown = declared.into_iter().flatten().map(|test| {
        if let Some(last) = promised.get(&test.name) {
            let part = |key: &str| last.get(key).cloned().unwrap_or_default();
            return json!({
                "name": test.name, "status": part("verdict"), "failures": part("failing"), "at": part("at"),
                "quality": part("quality"),
            });
        }
        let (outcome, at) = last_outcome(&builds, &test.name).unzip();
        let part = |key: &str| outcome.and_then(|outcome| outcome.get(key).cloned());
        let failures = part("failures").filter(|_| !limits.hidden.contains(&asset.name));
        json!({"name": test.name, "status": part("status"), "failures": failures, "at": at.map(|at| at.to_string())})
    });
    Ok(shown.collect())
}

/// The newest builds, which say what became of tests.
pub(super) fn newest_builds(workspace: &Workspace) -> BaseResult<Vec<Task>> {
    workspace.store.tasks_named("build", "models", BUILDS_LOOKED_AT)
}

/// What became of a test when it was last run, and when that was. A build runs only tests whose rows have changed: the
/// newest build that ran one knows.
pub(super) fn last_outcome<'a>(
    builds: &'a [Task],
    test: &str,
) -> Option<(&'a Value, &'a Timestamp)> {
    builds.iter().find_map(|task| {
        let outcome = task.outcome.detail.get("test_outcomes")?.get(test)?;
        Some((outcome, &task.started_at))
    })
}

/// How many builds are looked at for what became of a test.
const BUILDS_LOOKED_AT: u32 = 200;

async fn freshness(workspace: &Workspace, asset: &Asset) -> BaseResult<Value> {
    let Some(id) = asset.node.as_ref().filter(|id| id.kind == NodeKind::Source) else {
        return Ok(Value::Null);
    };
    if workspace.project.sources.get(&id.name).is_none_or(|source| source.freshness.is_none()) {
        return Ok(Value::Null);
    }
    let found =
        flywheel_runtime::run::freshness(workspace, &[format!("source:{}", id.name)], &[]).await?;
    Ok(found.first().map_or(Value::Null, |one| json!(one)))
}

/// Refuses a view that a statement made to those who may not read what it reads, as a query of it does: a profile is made
/// on behalf of the project.
async fn check_read(workspace: &Workspace, name: &str, reading: &Reading) -> BaseResult<()> {
    if reading.granted(&workspace.project).is_some() {
        let sql = format!("select * from {}", rows::quoted(name));
        workspace.session_for(&sql, reading).await?.query(&sql).await?;
    }
    Ok(())
}

/// A profile as the API shows it; null if there is none. What is masked since then is not shown either.
async fn shown(workspace: &Workspace, name: &str, reading: &Reading) -> BaseResult<Value> {
    check_read(workspace, name, reading).await?;
    let Some(kept) = workspace.store.profile(name)? else { return Ok(Value::Null) };
    let mut profile = Profile::kept(&kept)?;
    let limits = reading.limits_now(workspace).await?;
    let sight = TableName::parse(name).ok().and_then(|name| limits.sights.get(&name).cloned());
    let denied = |ask: String| {
        let said = format!("the profile of {name} tells of what is not for you");
        Error::new(ErrorKind::Denied, said).hint(ask)
    };
    // What all rows hold says something of each of them.
    let veiled: Vec<String> = match sight.map(|sight| (sight.seen, sight.ask)) {
        // A view over hidden rows has a profile of all of them.
        None if limits.hidden.contains(name) => {
            return Err(denied("Ask whoever keeps the project's rules.".to_owned()));
        }
        None => Vec::new(),
        Some((Seen::Part { rows, masks, hidden }, _)) if rows.is_empty() => {
            profile.columns.retain(|column| !hidden.contains(&column.name));
            masks.into_keys().collect()
        }
        Some((_, ask)) => return Err(denied(ask)),
    };
    let catalogue = Box::pin(collect(workspace)).await?;
    let known = catalogue.assets.iter().find(|asset| asset.is_table && asset.name == name);
    let masked = |column: &str| {
        veiled.iter().any(|one| one == column)
            || known.is_none_or(|asset| {
                asset.columns.iter().any(|one| one.masked && one.name == column)
            })
    };
    for column in profile.columns.iter_mut().filter(|column| !column.masked && masked(&column.name))
    {
        (column.masked, column.min, column.max, column.mean) = (true, None, None, None);
        column.quantiles.clear();
        column.histogram.clear();
        column.top.clear();
    }
    Ok(json!({
        "table": kept.asset, "version": kept.version, "profiled_at": kept.profiled_at.to_string(),
        "digest": kept.digest, "profile": profile,
    }))
}

async fn profiled(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let (name, reading) = (place.name(), caller.reading(&app.workspace().project));
    let found = app.with(move |workspace| async move { shown(&workspace, &name, &reading).await });
    json_of(&json!({"profiled": found.await?}))
}

async fn profile_now(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    if caller.is_viewing() {
        return Err(Problem::invalid(
            "a profile is kept for everybody, and not made as somebody else",
        )
        .hint("Leave out ?as=."));
    }
    let (name, reading) = (place.name(), caller.reading(&app.workspace().project));
    let found = app.with(move |workspace| async move {
        check_read(&workspace, &name, &reading).await?;
        let made = Box::pin(profile(&workspace, &name, true, &reading)).await;
        let said = reading.said(&workspace.project);
        made.map_err(|error| said.error(error, &format!("the profile of {name}")))?;
        shown(&workspace, &name, &reading).await
    });
    json_of(&json!({"profiled": found.await?}))
}

async fn sample(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Asked(limit): Asked<Limit>,
) -> Result<Response> {
    let (name, count) = (place.name(), limit.count() as usize);
    let reading = caller.reading(&app.workspace().project);
    let found = app.with(move |workspace| async move {
        let sql = format!("select * from {} limit {count}", rows::quoted(&name));
        rows::query(&workspace.session_for(&sql, &reading).await?, &sql, count).await
    });
    json_of(&found.await?)
}
