//! What is promised about tables, what came of it, and which readers are held back.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use flywheel_base::{Error, ErrorKind, Result as BaseResult};
use flywheel_project::quality::check_names;
use flywheel_project::{Diagnostics, NodeKind, SourceFile, odcs, yaml};
use flywheel_runtime::access::Reading;
use flywheel_runtime::{Workspace, quality};
use flywheel_state::Hold;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{declared, json_of, runs, unknown};
use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Permission, Routes};
use crate::input::{Asked, Input, Limit, Place};
use crate::problem::Result;
use crate::rows;
use crate::work::Task;

pub(super) fn routes(routes: &mut Routes) {
    let view = Access::Needs(Permission::View);
    routes.get(
        "/v1/quality",
        view,
        "Lists what is promised about tables with the last verdicts, held tables and contracts",
        all,
    );
    routes.get("/v1/quality/{quality}", view, "Shows a quality file with its figures", one);
    routes.get(
        "/v1/quality/{quality}/failing",
        Access::Needs(Permission::Query),
        "Shows some of the rows that broke a promise",
        failing,
    );
    routes.post::<Chosen, _, _>(
        "/v1/quality/run",
        Access::Needs(Permission::Operate),
        "Asks for promises to be judged",
        run,
    );
}

/// What a result tells that holds no rows.
const SHOWN: &str = "quality, \"check\", dataset, \"column\", metric, dimension, severity, unit, value, rows, failing, \
                     threshold, low, high, history, verdict, reason, sql, at, run_id";

/// Rows as objects, each with the names of its columns.
fn objects(table: rows::Table) -> Vec<Map<String, Value>> {
    let names: Vec<String> = table.columns.into_iter().map(|column| column.name).collect();
    table.rows.into_iter().map(|row| names.iter().cloned().zip(row).collect()).collect()
}

/// Results, as far as `reading` may see them: figures of what is not seen are left out.
async fn results(
    workspace: &Workspace,
    reading: &Reading,
    sql: &str,
    count: usize,
) -> BaseResult<rows::Table> {
    rows::query(&workspace.session_for_us(sql, reading).await?, sql, count).await
}

/// The last result of every check, by quality file and check; none for who may not see results.
pub(super) async fn last(
    workspace: &Workspace,
    reading: &Reading,
) -> BaseResult<BTreeMap<(String, String), Value>> {
    let sql = format!(
        "select {SHOWN} from (select *, row_number() over (partition by quality, \"check\" \
         order by at desc, result_id) as place from system.quality_results) as ranked where place = 1"
    );
    let table = match results(workspace, reading, &sql, rows::ANSWER_ROWS_MAX).await {
        Ok(table) => table,
        // What is promised is seen all the same.
        Err(error) if error.kind() == ErrorKind::Denied => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let text = |row: &Map<String, Value>, key: &str| {
        row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let keyed = objects(table)
        .into_iter()
        .map(|row| ((text(&row, "quality"), text(&row, "check")), Value::Object(row)));
    Ok(keyed.collect())
}

/// What of a contract people look for first. A file that is no contract is listed with what is wrong.
fn contracts(workspace: &Workspace) -> BaseResult<Vec<Value>> {
    let mut found = Vec::new();
    for (name, file) in odcs::contracts(&workspace.project)? {
        let path = workspace.dir().join(&file);
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io("read", &path, e))?;
        let mut wrong = Diagnostics::default();
        let document = yaml::parse(&SourceFile::new(&file, &text), &mut wrong)
            .map(|node| node.to_json())
            .unwrap_or_default();
        let part = |key: &str| document.get(key).cloned().unwrap_or_default();
        let schema = part("schema");
        let tables = schema.as_array().into_iter().flatten().filter_map(|table| table.get("name"));
        found.push(json!({
            "contract": name, "file": file, "id": part("id"), "name": part("name"), "version": part("version"),
            "status": part("status"), "purpose": document.pointer("/description/purpose"),
            "tables": tables.collect::<Vec<_>>(), "wrong": (!wrong.is_empty()).then(|| wrong.to_string()),
        }));
    }
    Ok(found)
}

async fn all(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    let reading = caller.reading(&app.workspace().project);
    let found = app.with(move |workspace| async move {
        let project = &workspace.project;
        let mut known = last(&workspace, &reading).await?;
        let promises = quality::last(&workspace, &quality::Options::default()).await?;
        let granted = reading.granted(project);
        let shows = |kind: NodeKind, name: &str| {
            granted.as_ref().is_none_or(|granted| granted.shows_one(kind, name))
        };
        let seen = promises.into_iter().filter(|one| shows(NodeKind::Quality, &one.quality));
        let mut items = Vec::new();
        for promise in seen {
            let key = (promise.quality.clone(), promise.check.clone());
            let declared = project.qualities.get(&promise.quality);
            let check = declared.and_then(|declared| {
                let at = check_names(declared).iter().position(|name| *name == promise.check)?;
                declared.checks.get(at)
            });
            items.push(json!({
                "quality": promise.quality, "check": promise.check, "dataset": promise.dataset,
                "column": promise.column, "promised": promise.promised, "severity": promise.severity,
                "file": declared.map(|declared| &declared.file),
                "owner": declared.and_then(|declared| declared.owner.as_ref()),
                "description": check.and_then(|check| check.description.as_ref()),
                "dimension": check.and_then(|check| check.dimension.as_ref()),
                "monitor": check.is_some_and(|check| check.monitor.is_some()),
                "last": known.remove(&key),
            }));
        }
        let said = reading.said(&workspace.project);
        let holds = workspace.store.holds()?;
        let held = |hold: &&Hold| {
            granted.as_ref().is_none_or(|granted| granted.shows_table(&hold.name))
        };
        let holds = holds.iter().filter(held).map(|hold| {
            json!({
                "table": hold.name, "version": hold.version, "reason": said.text(hold.reason.clone()),
                "held_at": hold.held_at.to_string(),
            })
        });
        Ok(json!({
            "items": items, "holds": holds.collect::<Vec<_>>(),
            // A contract is about tables by its own text.
            "contracts": if granted.is_none() { contracts(&workspace)? } else { Vec::new() },
        }))
    });
    json_of(&found.await?)
}

/// The newest results of a quality file.
struct Newest {
    quality: String,
    sql: String,
    table: rows::Table,
}

/// Asks for `columns` of the newest results of the path's quality file that fulfil `condition`.
async fn newest(
    app: &Arc<App>,
    caller: &Caller,
    place: Place,
    limit: &Limit,
    (columns, condition): (&'static str, &'static str),
) -> Result<Newest> {
    let (quality, count) = (known(app, place)?, limit.count() as usize);
    let reading = caller.reading(&app.workspace().project);
    let found = app.with(move |workspace| async move {
        let sql = format!(
            "select {columns} from system.quality_results where quality = {} and {condition} \
             order by at desc, \"check\" limit {count}",
            rows::literal(&quality)
        );
        let table = results(&workspace, &reading, &sql, count).await?;
        Ok(Newest { quality, sql, table })
    });
    Ok(found.await?)
}

/// The quality file of the path, if there is one.
fn known(app: &App, place: Place) -> Result<String> {
    let (name, workspace) = (place.name(), app.workspace());
    if !workspace.project.qualities.contains_key(&name) {
        return Err(unknown("quality file", &name, workspace.project.qualities.keys()));
    }
    Ok(name)
}

async fn one(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Asked(limit): Asked<Limit>,
) -> Result<Response> {
    let Newest { quality, sql, table } =
        newest(&app, &caller, place, &limit, (SHOWN, "true")).await?;
    let workspace = app.workspace();
    let file = workspace.project.qualities.get(&quality);
    json_of(&json!({
        "quality": quality, "file": file.map(|file| &file.file),
        "declared": file.map(|file| declared(&file.value)).transpose()?,
        "items": objects(table), "sql": sql,
    }))
}

async fn failing(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
    Asked(limit): Asked<Limit>,
) -> Result<Response> {
    let shown = ("at, \"check\", reason, sample", "sample is not null");
    json_of(&newest(&app, &caller, place, &limit, shown).await?.table)
}

/// What is judged.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Chosen {
    /// Quality files, or what they are about, in the words of `flywheel quality run --select`; everything if empty.
    #[serde(default)]
    select: Vec<String>,
}

async fn run(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Input(input): Input<Chosen>,
) -> Result<Response> {
    runs::ask(&app, &caller, Task::Quality { select: input.select })
}
