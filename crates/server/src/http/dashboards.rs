//! Dashboards: seen, asked, changed, and shown to somebody without a name by a link.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use flywheel_base::{Result as BaseResult, Timestamp, entropy};
use flywheel_project::NodeKind;
use flywheel_project::grant::{Deed, Governed};
use flywheel_project::resource::dashboard::{Comparison, Dashboard, Readers, Tile};
use flywheel_project::resource::rule::Role;
use flywheel_project::resource::schedule::Language;
use flywheel_runtime::dashboard::{
    self, Answer, Answered, AsOf, Asked as Chosen, Names, TILE_ROWS_MAX,
};
use flywheel_runtime::{Workspace, schedule};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::admin::{shown_token, visible};
use super::metrics::narrowed;
use super::{done, items, json_of, queries};
use crate::app::App;
use crate::auth::{self, Caller, Link};
use crate::gate::{Access, Allows as _, Noted, Permission, Routes};
use crate::input::{Asked, Input, Place};
use crate::live::Live;
use crate::problem::{Problem, Result};
use crate::rows::{self, Table};
use crate::site;
use crate::work::reload;

/// Tiles of a workbook that are asked at once.
const TILES_AT_ONCE: usize = 3;

pub(super) fn routes(routes: &mut Routes) {
    let author = Access::Needs(Permission::Author);
    routes.get("/v1/dashboards", Access::Needs(Permission::View), "Lists dashboards", list);
    routes.get(
        "/v1/dashboards/{dashboard}",
        Access::Board,
        "Shows what a dashboard is made of",
        one,
    );
    routes.get(
        "/v1/dashboards/{dashboard}/tiles/{tile}",
        Access::Board,
        "Answers a tile, for the time and values that are chosen",
        tile,
    );
    routes.get(
        "/v1/dashboards/{dashboard}/workbook",
        Access::Board,
        "Answers all tiles as a workbook (xlsx), a sheet for each, for the time and values that are chosen",
        taken_along,
    );
    routes.get(
        "/v1/dashboards/{dashboard}/values/{dimension}",
        Access::Board,
        "Lists values of a filter to choose from",
        values,
    );
    routes.post::<Preview, _, _>(
        "/v1/dashboard-preview",
        Access::Needs(Permission::Query),
        "Answers a tile of a dashboard that is not kept yet",
        preview,
    );
    routes.post::<New, _, _>(
        "/v1/dashboards",
        author,
        "Makes a dashboard: writes its file",
        create,
    );
    routes.patch::<Change, _, _>(
        "/v1/dashboards/{dashboard}",
        author,
        "Changes a dashboard that nobody has changed since it was read",
        change,
    );
    routes.delete(
        "/v1/dashboards/{dashboard}",
        author,
        "Removes the file of a dashboard; its version stands after the ?",
        remove,
    );
    routes.get(
        "/v1/dashboards/{dashboard}/links",
        author,
        "Lists links to a dashboard that were made for people without a name",
        links,
    );
    routes.post::<NewLink, _, _>(
        "/v1/dashboards/{dashboard}/links",
        author,
        "Makes a link that shows this dashboard, and nothing else, until it expires or is taken back",
        add_link,
    );
}

async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    let workspace = app.workspace();
    let granted = caller.reading(&workspace.project).granted(&workspace.project);
    let seen = |(name, _): &(&String, _)| {
        granted.as_ref().is_none_or(|granted| granted.shows_one(NodeKind::Dashboard, name))
    };
    let all = workspace.project.dashboards.iter().filter(seen).map(|(name, one)| {
        json!({
            "name": name, "title": one.title, "description": one.description, "owner": one.owner, "file": one.file,
            "readers": one.readers, "tiles": one.tiles.iter().map(|tile| json!({
                "tile": tile.tile, "show": tile.shown(), "width": tile.width, "height": tile.height,
            })).collect::<Vec<_>>(),
        })
    });
    items(&all.collect::<Vec<_>>())
}

fn named(app: &App, name: &str) -> Result<Dashboard> {
    let workspace = app.workspace();
    match workspace.project.dashboards.get(name) {
        Some(found) => Ok(found.value.clone()),
        None => Err(dashboard::unknown(&workspace, name).into()),
    }
}

/// Whether the caller may see the figures of a dashboard.
fn sees_rows(caller: &Caller, board: &Dashboard) -> bool {
    // A link shows what its maker may see, as long as that is so.
    let linked = caller.link.as_ref().is_some_and(|link| {
        let role = link.role.is_none_or(|role| role.may(Permission::Query));
        link.board == board.dashboard && caller.role.may(Permission::Query) && role
    });
    caller.may(Permission::Query) || board.readers == Readers::View || linked
}

fn check_rows(caller: &Caller, board: &Dashboard) -> Result<()> {
    if sees_rows(caller, board) {
        return Ok(());
    }
    let detail = format!(
        "the figures of dashboard \"{}\" take the permission \"query\", which {} does not have",
        board.dashboard,
        caller.kind()
    );
    Err(Problem::new(StatusCode::FORBIDDEN, "denied", detail)
        .hint("Ask an owner or admin for another role, or its author to write `readers: view` in its file."))
}

async fn one(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let name = place.name();
    let mut board = named(&app, &name)?;
    if let Some(tile) = only(&caller) {
        // The rest of the dashboard is not there for who has a link to a tile.
        board.tiles.retain(|one| one.tile == *tile);
        board.filters.dimensions.clear();
    }
    let as_of = app.blocking(|app| dashboard::as_of(&app.workspace())).await?;
    let workspace = app.workspace();
    let today = AsOf::new(&workspace.project, &board, &Chosen::default(), as_of)?.day;
    let metrics = dashboard::described(&workspace.project, &board)?;
    let metrics: Vec<Value> = metrics
        .iter()
        .map(|metric| {
            let mut one = json!(metric);
            if let Value::Object(one) = &mut one {
                one.insert("name".to_owned(), json!(metric.metric));
            }
            one
        })
        .collect();
    let shown: BTreeMap<&str, Value> =
        board.tiles.iter().map(|tile| (tile.tile.as_str(), json!(tile.shown()))).collect();
    let mut declared = json!(board);
    let mut answer = json!({
        "name": name, "shown": shown, "metrics": metrics, "as_of": as_of.to_string(), "today": today.to_string(), "demo": app.demo,
        "simulated": workspace.project.file.simulated, "may": {"rows": sees_rows(&caller, &board), "edit": caller.may(Permission::Author) && caller.may(Permission::Query)},
    });
    let guest = caller.link.is_some();
    if let Some(link) = &caller.link {
        if let Value::Object(answer) = &mut answer {
            answer.insert("only".to_owned(), json!(link.tile));
        }
        // Who has nothing but a link sees figures, not how they are computed.
        hide(&mut declared);
        for metric in answer.get_mut("metrics").and_then(Value::as_array_mut).into_iter().flatten()
        {
            keep(
                metric,
                &[
                    "name",
                    "label",
                    "unit",
                    "direction",
                    "kind",
                    "dimensions",
                    "dimension_labels",
                    "value_labels",
                ],
            );
            // A tile's answer names the values that it shows; others are only those to choose from.
            if let Some(labels) = metric.get_mut("value_labels").and_then(Value::as_object_mut) {
                labels.retain(|dimension, _| board.filters.dimensions.contains(dimension));
            }
        }
    }
    if let Value::Object(answer) = &mut answer {
        answer.insert("dashboard".to_owned(), declared);
        if !guest {
            let kept = app.blocking(move |app| dashboard::kept(&app.workspace(), &name)).await?;
            answer.insert("file".to_owned(), json!(kept.file));
            answer.insert("version".to_owned(), json!(kept.version));
            answer.insert("comments".to_owned(), json!(kept.comments));
            let mut sent = sent(&workspace, &board.dashboard);
            if let Some(granted) = caller.reading(&workspace.project).granted(&workspace.project) {
                sent.retain(|one| {
                    let schedule = one.get("schedule").and_then(Value::as_str);
                    schedule.is_some_and(|name| granted.shows_one(NodeKind::Schedule, name))
                });
            }
            answer.insert("sent".to_owned(), json!(sent));
        }
    }
    json_of(&answer)
}

/// The schedules that send a dashboard, when, and by which actions.
fn sent(workspace: &Workspace, board: &str) -> Vec<Value> {
    let schedules = workspace.project.schedules.values();
    let sent = schedules.flat_map(|one| {
        let mut actions: Vec<&String> = Vec::new();
        for sent in schedule::sends(one).iter().filter(|sent| sent.dashboard == board) {
            for action in sent.actions {
                // Several tasks may send it by the same one.
                if !actions.contains(&action) {
                    actions.push(action);
                }
            }
        }
        let when = schedule::shown(one);
        (!actions.is_empty())
            .then(|| json!({"schedule": one.schedule, "when": when, "actions": actions}))
    });
    sent.collect()
}

/// Takes queries and conditions out of a declaration.
fn hide(board: &mut Value) {
    for tile in board.get_mut("tiles").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::Object(tile) = tile {
            for key in ["sql", "filters", "where"] {
                tile.remove(key);
            }
        }
    }
}

/// The tile that is all there is to the caller's link.
fn only(caller: &Caller) -> Option<&String> {
    caller.link.as_ref().and_then(|link| link.tile.as_ref())
}

/// Refuses what a link to a tile does not show: other tiles, values to choose from, and choices.
fn check_only(caller: &Caller, tile: Option<&str>, choice: Option<&Choice>) -> Result<()> {
    let Some(shown) = only(caller) else { return Ok(()) };
    let as_declared = choice.is_none_or(Choice::is_none);
    if tile == Some(shown.as_str()) && as_declared {
        return Ok(());
    }
    let detail =
        format!("this link shows the tile \"{shown}\" as it is declared, and nothing else");
    Err(Problem::new(StatusCode::FORBIDDEN, "denied", detail)
        .hint("Make a link to the whole dashboard to let its readers choose."))
}

fn keep(value: &mut Value, keys: &[&str]) {
    if let Value::Object(object) = value {
        object.retain(|key, _| keys.contains(&key.as_str()));
    }
}

/// What a reader chose.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Choice {
    /// The first day that counts, `2025-03-01`; that of the dashboard if absent.
    #[serde(default)]
    from: Option<String>,
    /// The first day that no longer counts.
    #[serde(default)]
    to: Option<String>,
    /// Whether all time counts.
    #[serde(default)]
    whole: bool,
    /// `previous`, `year` or `none`; what the dashboard says if absent.
    #[serde(default)]
    compare: Option<Comparison>,
    /// The values that count, as JSON: `{"country": ["France"]}`.
    #[serde(default)]
    only: Option<String>,
}

impl Choice {
    /// Whether nothing was chosen.
    fn is_none(&self) -> bool {
        let Self { from, to, whole, compare, only } = self;
        from.is_none() && to.is_none() && !whole && compare.is_none() && only.is_none()
    }

    fn chosen(self) -> Result<Chosen> {
        let only = match &self.only {
            None => BTreeMap::new(),
            Some(text) => serde_json::from_str(text).map_err(|error| {
                Problem::invalid(format!("only is no choice of values: {error}"))
                    .hint("Write JSON such as {\"country\": [\"France\"]}.")
            })?,
        };
        let Self { from, to, whole, compare, .. } = self;
        Ok(Chosen { from, to, whole, compare, only, zone: None })
    }
}

async fn tile(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Asked(choice): Asked<Choice>,
) -> Result<Response> {
    let board = named(&app, place.at(0))?;
    check_only(&caller, Some(place.at(1)), Some(&choice))?;
    check_rows(&caller, &board)?;
    let tile = tile_of(&board, place.at(1))?;
    let mut answer = answered(&app, &caller, board, tile, choice.chosen()?).await?;
    if caller.link.is_some() {
        for table in ["table", "course"] {
            if let Some(Value::Object(table)) = answer.get_mut(table) {
                table.remove("sql");
            }
        }
    }
    json_of(&answer)
}

fn tile_of(board: &Dashboard, name: &str) -> Result<Tile> {
    let found = board.tiles.iter().find(|tile| tile.tile == name);
    found.cloned().ok_or_else(|| {
        let known: Vec<String> = board.tiles.iter().map(|tile| tile.tile.clone()).collect();
        super::unknown("tile", name, known.iter())
    })
}

/// Answers a tile, as the API has it.
async fn answered(
    app: &Arc<App>,
    caller: &Caller,
    board: Dashboard,
    tile: Tile,
    chosen: Chosen,
) -> Result<Map<String, Value>> {
    let now = app.blocking(|app| dashboard::as_of(&app.workspace())).await?;
    let Answer { question, table, course } =
        asked(app, caller, (&board, &tile), &chosen, now).await?;
    let mut answer = match json!(question) {
        Value::Object(answer) => answer,
        _ => Map::new(),
    };
    answer.remove("sql");
    answer.insert("table".to_owned(), json!(table));
    answer.insert("course".to_owned(), json!(course));
    Ok(answer)
}

/// Asks what a tile asks, on behalf of the caller.
async fn asked(
    app: &Arc<App>,
    caller: &Caller,
    of: (&Dashboard, &Tile),
    chosen: &Chosen,
    now: Timestamp,
) -> Result<Answer> {
    let workspace = app.workspace();
    let narrowed = narrowed(&workspace, caller);
    let project = narrowed.as_deref().unwrap_or(&workspace.project);
    let run = |sql: String| run(app, caller, sql);
    dashboard::answer(project, of, chosen, now, run).await
}

/// A dashboard as a workbook. Its first sheet says what was chosen and what should be known.
async fn taken_along(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    place: Place,
    Asked(choice): Asked<Choice>,
) -> Result<Response> {
    let name = place.name();
    let board = named(&app, &name)?;
    check_only(&caller, None, Some(&choice))?;
    check_rows(&caller, &board)?;
    let chosen = choice.chosen()?;
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    let zh = accepted.is_some_and(|accepted| accepted.trim_start().starts_with("zh"));
    let language = if zh { Language::Zh } else { Language::En };
    let now = app.blocking(|app| dashboard::as_of(&app.workspace())).await?;
    let workspace = app.workspace();
    let as_of = AsOf::new(&workspace.project, &board, &chosen, now)?;
    let shown: Vec<&Tile> = board.tiles.iter().filter(|tile| tile.shown().is_some()).collect();
    let mut asking = Vec::with_capacity(shown.len());
    for tile in &shown {
        let (app, caller, board) = (Arc::clone(&app), caller.clone(), board.clone());
        let (tile, chosen) = (Tile::clone(tile), chosen.clone());
        asking.push(async move { asked(&app, &caller, (&board, &tile), &chosen, now).await });
    }
    // In their order; the first that fails ends the others.
    let answers = stream::iter(asking).buffered(tiles_at_once(&workspace, &caller));
    let answers = Box::pin(answers.try_collect::<Vec<Answer>>()).await?;
    let tiles = shown.into_iter().zip(answers.into_iter().map(Some)).collect();
    let names = Names::new(&workspace.project, &board, language)?;
    let simulated = workspace.project.file.simulated;
    let answered = Answered { board: &board, names, chosen: &chosen, as_of, simulated, tiles };
    let bytes = dashboard::book(answered).await?;
    let kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
    let disposition = format!("attachment; filename=\"{name}.xlsx\"");
    Ok((
        [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)],
        bytes,
    )
        .into_response())
}

/// How many tiles of a workbook are asked at once: fewer than queries run at once, so that one person's file leaves room for
/// others, and no more than the caller has places, since who waits for a place of the own may be refused one.
fn tiles_at_once(workspace: &Workspace, caller: &Caller) -> usize {
    let quotas = &workspace.project.file.quotas;
    let own = quotas.of(Some(caller.user.as_str()), Some(caller.role.word())).queries;
    let own = own.and_then(|most| usize::try_from(most.get()).ok());
    own.unwrap_or(TILES_AT_ONCE).clamp(1, TILES_AT_ONCE)
}

async fn run(app: &Arc<App>, caller: &Caller, sql: String) -> Result<Table> {
    let id: String = entropy::token("q-")?.chars().take(14).collect();
    let reading = caller.reading(&app.workspace().project);
    super::sql::limited(app, caller, &id, None, move |workspace| async move {
        rows::query(&workspace.session_for(&sql, &reading).await?, &sql, TILE_ROWS_MAX).await
    })
    .await
}

async fn values(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let board = named(&app, place.at(0))?;
    check_only(&caller, None, None)?;
    check_rows(&caller, &board)?;
    let workspace = app.workspace();
    let narrowed = narrowed(&workspace, &caller);
    let project = narrowed.as_deref().unwrap_or(&workspace.project);
    let sql = dashboard::values(project, &board, place.at(1))?;
    let values =
        run(&app, &caller, sql).await?.rows.into_iter().filter_map(|row| row.into_iter().next());
    items(&values.collect::<Vec<_>>())
}

/// A tile of a dashboard that is being made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Preview {
    /// The dashboard as it is now.
    dashboard: Dashboard,
    /// The tile.
    tile: String,
    /// What is chosen.
    #[serde(default)]
    chosen: Option<Choice>,
}

async fn preview(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(input): Input<Preview>,
) -> Result<Response> {
    let tile = tile_of(&input.dashboard, &input.tile)?;
    let chosen = input.chosen.map(Choice::chosen).transpose()?.unwrap_or_default();
    json_of(&answered(&app, &caller, input.dashboard, tile, chosen).await?)
}

/// A dashboard to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct New {
    /// What its file shall say.
    dashboard: Dashboard,
}

/// A dashboard to be changed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Change {
    /// What its file shall say.
    dashboard: Dashboard,
    /// The version that was read.
    version: String,
}

async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(input): Input<New>,
) -> Result<Response> {
    let workspace = app.workspace();
    if let Some(granted) = caller.reading(&workspace.project).granted(&workspace.project) {
        granted.require(Governed::Dashboards, &input.dashboard.dashboard, Deed::Change)?;
    }
    let mut response = kept(&app, &caller, input.dashboard, None).await?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

async fn change(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<Change>,
) -> Result<Response> {
    let name = place.name();
    named(&app, &name)?;
    if input.dashboard.dashboard != name {
        let detail = format!(
            "a dashboard keeps its name: this is \"{name}\", and the change says \"{}\"",
            input.dashboard.dashboard
        );
        return Err(Problem::invalid(detail)
            .hint("Change its title, or make a new dashboard and remove this one."));
    }
    kept(&app, &caller, input.dashboard, Some(input.version)).await
}

/// Writes the file and reads the project with it; what it cannot be read with is not left in it.
async fn kept(
    app: &Arc<App>,
    caller: &Caller,
    board: Dashboard,
    read: Option<String>,
) -> Result<Response> {
    let name = board.dashboard.clone();
    let (shared, wanted, caller) = (Arc::clone(app), read.clone(), caller.clone());
    let kept = app.with(move |_| async move {
        // Held here, since the work goes on when whoever asked has left.
        let _turn = shared.writing.lock().await;
        let workspace = shared.workspace();
        let narrowed = narrowed(&workspace, &caller);
        let seen = narrowed.as_deref().unwrap_or(&workspace.project);
        let saved = dashboard::save(&workspace, seen, &board, wanted.as_deref())?;
        if let Err(error) = reload(&shared).await {
            saved.undo()?;
            return Err(error.context(
                "the dashboard was not kept, because the project cannot be read with it",
            ));
        }
        // A dashboard whose file went in another way left its links.
        let revoked = match wanted {
            None => take_back(&shared.workspace(), &board.dashboard)?,
            Some(_) => Vec::new(),
        };
        Ok((dashboard::kept(&shared.workspace(), &board.dashboard)?, revoked))
    });
    let (kept, revoked) = kept.await?;
    app.tell(Live::new("changed", json!({"what": ["assets", "dashboards"]})));
    let mut response = json_of(&json!({"name": name, "file": kept.file, "version": kept.version}))?;
    response.extensions_mut().insert(Noted(json!({
        "file": kept.file, "before": read, "after": kept.version, "revoked": revoked,
    })));
    Ok(response)
}

/// Which text is to be removed.
#[derive(Deserialize, JsonSchema)]
struct Version {
    /// The version that was read.
    version: String,
}

async fn remove(
    State(app): State<Arc<App>>,
    place: Place,
    Asked(read): Asked<Version>,
) -> Result<Response> {
    let (name, shared) = (place.name(), Arc::clone(&app));
    let removed = app.with(move |_| async move {
        let _turn = shared.writing.lock().await;
        let workspace = shared.workspace();
        let removed = dashboard::remove(&workspace, &name, &read.version)?;
        if let Err(error) = reload(&shared).await {
            removed.undo()?;
            return Err(error.context(
                "the dashboard was not removed, because the project cannot be read without it",
            ));
        }
        Ok((removed.file, take_back(&shared.workspace(), &name)?))
    });
    let (file, revoked) = removed.await?;
    app.tell(Live::new("changed", json!({"what": ["assets", "dashboards"]})));
    let mut response = done();
    response.extensions_mut().insert(Noted(json!({"file": file, "revoked": revoked})));
    Ok(response)
}

/// A link to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewLink {
    /// For whom or what it is.
    name: String,
    /// How many days it works; 30 if absent, 365 at most.
    #[serde(default)]
    days: Option<u16>,
    /// The one tile that it shows, as it is declared; the whole dashboard if absent.
    #[serde(default)]
    tile: Option<String>,
    /// As which role rows are read, and never more than its maker sees; as its maker reads them if absent.
    #[serde(default)]
    role: Option<Role>,
    /// The sites whose pages it may stand in, such as `https://intranet.example`; all if absent.
    #[serde(default)]
    sites: Vec<String>,
}

const LINK_DAYS_DEFAULT: u16 = 30;
const LINK_DAYS_MAX: u16 = 365;

fn scope_of(name: &str) -> String {
    format!("{}{name}", Link::BOARD)
}

/// Takes back all links to a dashboard of this name: they would show what is called so later. Says which.
pub(super) fn take_back(workspace: &Workspace, name: &str) -> BaseResult<Vec<String>> {
    queries::take_back_all(workspace, &scope_of(name))
}

async fn links(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let name = place.name();
    named(&app, &name)?;
    let scope = scope_of(&name);
    let all = visible(&app, &caller).await?;
    let of = all.iter().filter(|token| token.scopes.contains(&scope));
    items(&of.map(shown_token).collect::<Vec<_>>())
}

async fn add_link(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Input(input): Input<NewLink>,
) -> Result<Response> {
    let name = place.name();
    let board = named(&app, &name)?;
    check_rows(&caller, &board)?;
    if caller.session.is_none() {
        return Err(Problem::new(StatusCode::FORBIDDEN, "denied", "a token makes no links")
            .hint("Log in with name and password."));
    }
    auth::check_name(&input.name)?;
    let days = input.days.unwrap_or(LINK_DAYS_DEFAULT);
    if !(1..=LINK_DAYS_MAX).contains(&days) {
        return Err(Problem::invalid(format!("a link lasts 1 to {LINK_DAYS_MAX} days")));
    }
    let mut scopes = vec![scope_of(&name)];
    if let Some(tile) = &input.tile {
        tile_of(&board, tile)?;
        scopes.push(format!("{}{tile}", Link::TILE));
    }
    if let Some(role) = input.role {
        let shown = role.may(Permission::Query)
            || board.readers == Readers::View && role.may(Permission::View);
        if !shown {
            let detail = format!(
                "the role \"{}\" does not see the figures of dashboard \"{name}\"",
                role.word()
            );
            return Err(Problem::invalid(detail).hint(
                "Choose a role that may query, or write `readers: view` in the dashboard's file.",
            ));
        }
        scopes.push(format!("{}{}", Link::ROLE, role.word()));
    }
    let sites = site::checked(&input.sites)?;
    scopes.extend(sites.iter().map(|one| format!("{}{one}", site::SITE_SCOPE)));
    let plain = scopes.len() == 1;
    let noted = Noted(json!({"link": input.name, "scopes": scopes}));
    let now = app.machine_now();
    let (secret, token) = auth::new_token(input.name, caller.user, scopes, now, days)?;
    // What stands after the ? is no secret: it tells the server which sites may have the page.
    let which = if plain { String::new() } else { format!("?link={}", token.id) };
    let mut answer = shown_token(&token);
    if let Value::Object(answer) = &mut answer {
        // What stands after the # never leaves the browser but in the header of a question.
        answer.insert("link".to_owned(), json!(format!("/embed/{name}{which}#{secret}")));
    }
    app.blocking(move |app| app.workspace().store.add_token(&token)).await?;
    let mut response = json_of(&answer)?;
    *response.status_mut() = StatusCode::CREATED;
    response.extensions_mut().insert(noted);
    Ok(response)
}
