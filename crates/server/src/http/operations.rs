//! Whether the server lives, is ready, and how it does; and what its API is.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use flywheel_base::Timestamp;
use flywheel_runtime::follow::followed::{self, Followed, FollowedState};
use flywheel_runtime::lag::{self, LastSuccess};
use serde_json::{Map, Value, json};

use super::json_of;
use crate::app::{App, Door, LATENCY_US, Stats};
use crate::gate::{Access, Permission, RouteInfo, Routes};
use crate::input::schema_of;
use crate::problem::{ProblemBody, Result};

pub(super) fn routes(routes: &mut Routes) {
    routes.get("/livez", Access::Public, "Says that the process answers", live);
    routes.get("/readyz", Access::Public, "Says whether requests can be served", ready);
    routes.get(
        "/metrics",
        Access::Needs(Permission::View),
        "Counts, in the text format of Prometheus",
        metrics,
    );
    routes.get("/v1/openapi.json", Access::Public, "Describes this API in OpenAPI 3.1", openapi);
}

async fn live() -> &'static str {
    "ok\n"
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    let readable = app.blocking(|app| app.workspace().store.last_turn()).await;
    match readable {
        Ok(_) if !app.stop.is_cancelled() => "ok\n".into_response(),
        Ok(_) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

async fn metrics(State(app): State<Arc<App>>) -> Result<Response> {
    let (pending, delivered, dead) =
        app.blocking(|app| app.workspace().store.outbox_counts()).await?;
    let alerts = app.blocking(|app| app.workspace().store.alert_counts()).await?;
    let turn = app.blocking(|app| app.workspace().store.last_turn()).await?;
    let halt = app.blocking(|app| app.workspace().store.halt()).await?;
    let mut text = String::new();
    let mut add = |name: &str, kind: &str, help: &str, values: &[(&str, f64)]| {
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        for (labels, value) in values {
            text.push_str(&format!("{name}{labels} {value}\n"));
        }
    };
    let stats = &app.stats;
    let read = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed) as f64;
    let [c1, c2, c3, c4, c5] = &stats.by_class;
    add(
        "flywheel_http_requests_total",
        "counter",
        "Requests answered, by class of status.",
        &[
            ("{class=\"1xx\"}", read(c1)),
            ("{class=\"2xx\"}", read(c2)),
            ("{class=\"3xx\"}", read(c3)),
            ("{class=\"4xx\"}", read(c4)),
            ("{class=\"5xx\"}", read(c5)),
        ],
    );
    add(
        "flywheel_http_request_seconds_total",
        "counter",
        "Time spent on requests.",
        &[("", read(&stats.busy_us) / 1e6)],
    );
    add(
        "flywheel_http_connections",
        "gauge",
        "Open connections.",
        &[("", read(&stats.connections))],
    );
    add(
        "flywheel_postgres_connections",
        "gauge",
        "Open connections of clients of PostgreSQL.",
        &[("", read(&stats.postgres_connections))],
    );
    add(
        "flywheel_postgres_statements_total",
        "counter",
        "Statements of clients of PostgreSQL that were planned.",
        &[("", read(&stats.postgres_statements))],
    );
    add(
        "flywheel_events_total",
        "counter",
        "Events by what became of them.",
        &[
            ("{result=\"accepted\"}", read(&stats.events)),
            ("{result=\"rejected\"}", read(&stats.events_rejected)),
        ],
    );
    add(
        "flywheel_outbox",
        "gauge",
        "Deliveries by where they stand.",
        &[
            ("{status=\"pending\"}", pending as f64),
            ("{status=\"delivered\"}", delivered as f64),
            ("{status=\"dead\"}", dead as f64),
        ],
    );
    add(
        "flywheel_halted",
        "gauge",
        "Whether all policies are stopped at once.",
        &[("", if halt.is_some() { 1.0 } else { 0.0 })],
    );
    add(
        "flywheel_alerts",
        "gauge",
        "Alerts by where they stand.",
        &[
            ("{status=\"pending\"}", alerts.0 as f64),
            ("{status=\"delivered\"}", alerts.1 as f64),
            ("{status=\"dead\"}", alerts.2 as f64),
        ],
    );
    add(
        "flywheel_turn",
        "gauge",
        "The number of the last turn.",
        &[("", turn.map_or(0.0, |turn| turn.turn as f64))],
    );
    add(
        "flywheel_working",
        "gauge",
        "How many things change the project now.",
        &[("", app.queue.running().len() as f64)],
    );
    let up = (app.machine_now().micros() - app.started_at.micros()) as f64 / 1e6;
    add("flywheel_up_seconds", "gauge", "How long the server has been running.", &[("", up)]);
    let counts = app.blocking(|app| app.workspace().store.run_counts()).await?;
    let streams = app.blocking(|app| lag::last_successes(&app.workspace())).await?;
    text.push_str(&latencies(stats));
    text.push_str(&runs(&counts));
    text.push_str(&syncs(&streams, app.machine_now()));
    let follows = app.blocking(|app| followed::followed(&app.workspace())).await?;
    text.push_str(&followed_syncs(&follows));
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}

/// The head of a metric.
fn head(name: &str, kind: &str, help: &str) -> String {
    format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")
}

/// A value of a label, as the format wants it.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// How long requests took, by what they were for.
fn latencies(stats: &Stats) -> String {
    let name = "flywheel_http_request_duration_seconds";
    let mut text = head(name, "histogram", "How long requests took, by what they were for.");
    for (door, latency) in Door::ALL.into_iter().zip(&stats.latency) {
        let door = door.word();
        let (mut below, bounds) = (0, LATENCY_US.iter().map(|us| (*us as f64 / 1e6).to_string()));
        let bounds = bounds.chain(std::iter::once("+Inf".to_owned()));
        for (count, bound) in latency.counts.iter().zip(bounds) {
            below += count.load(Ordering::Relaxed);
            text.push_str(&format!("{name}_bucket{{route=\"{door}\",le=\"{bound}\"}} {below}\n"));
        }
        let sum = latency.sum_us.load(Ordering::Relaxed) as f64 / 1e6;
        text.push_str(&format!("{name}_sum{{route=\"{door}\"}} {sum}\n"));
        text.push_str(&format!("{name}_count{{route=\"{door}\"}} {below}\n"));
    }
    text
}

/// Runs that have ended, by kind and status.
fn runs(counts: &[(String, String, u64)]) -> String {
    let name = "flywheel_runs_total";
    let mut text = head(name, "counter", "Runs that have ended, by kind and status.");
    for (kind, status, count) in counts.iter().filter(|(_, status, _)| status != "running") {
        let (kind, status) = (label(kind), label(status));
        text.push_str(&format!("{name}{{kind=\"{kind}\",status=\"{status}\"}} {count}\n"));
    }
    text
}

/// When each stream of a sync last came to its end; one that never did has no value.
fn syncs(streams: &[LastSuccess], now: Timestamp) -> String {
    let at = "flywheel_sync_last_success_timestamp_seconds";
    let lag = "flywheel_sync_lag_seconds";
    let mut ended = head(at, "gauge", "When each stream last came to its end without an error.");
    let mut lags = head(lag, "gauge", "How long ago that was.");
    for one in streams {
        let Some(last) = one.at else { continue };
        let labels = format!("{{sync=\"{}\",stream=\"{}\"}}", label(&one.sync), label(&one.stream));
        ended.push_str(&format!("{at}{labels} {}\n", last.micros() as f64 / 1e6));
        let behind = (now.micros() - last.micros()).max(0) as f64 / 1e6;
        lags.push_str(&format!("{lag}{labels} {behind}\n"));
    }
    ended + &lags
}

/// How syncs are doing that are followed; nothing, if none is.
fn followed_syncs(all: &[Followed]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let mut text = String::new();
    let mut add = |name: &str, help: &str, value: &dyn Fn(&Followed) -> Option<f64>| {
        text.push_str(&head(name, "gauge", help));
        for one in all {
            if let Some(value) = value(one) {
                text.push_str(&format!("{name}{{sync=\"{}\"}} {value}\n", label(&one.sync)));
            }
        }
    };
    add(
        "flywheel_sync_followed",
        "Whether a sync that shall be followed is followed now.",
        &|one| Some(if one.state == FollowedState::Following { 1.0 } else { 0.0 }),
    );
    add(
        "flywheel_sync_follow_failed",
        "Whether it failed for good while it was followed.",
        &|one| Some(if one.state == FollowedState::Failed { 1.0 } else { 0.0 }),
    );
    add(
        "flywheel_sync_follow_aside",
        "How many streams on their ways to destinations are set aside while the rest is followed.",
        &|one| Some(one.aside().count() as f64),
    );
    add("flywheel_sync_follow_attempts", "How often it failed in a row.", &|one| {
        Some(one.failing().map_or(0.0, |failing| f64::from(failing.attempt)))
    });
    add("flywheel_sync_follow_rows", "Rows read since it is followed.", &|one| {
        Some(one.rows() as f64)
    });
    add("flywheel_sync_follow_rows_per_second", "Rows read in a second.", &|one| {
        Some(one.rows_per_second)
    });
    add(
        "flywheel_sync_follow_last_commit_timestamp_seconds",
        "When rows were last committed while it was followed.",
        &|one| one.committed_at.map(|at| at.micros() as f64 / 1e6),
    );
    text
}

async fn openapi(State(app): State<Arc<App>>) -> Result<Response> {
    let routes = app.routes.get().map(Vec::as_slice).unwrap_or_default();
    json_of(&described(routes))
}

/// `get_v1_runs_run_log` for `GET /v1/runs/{run}/log`: what programs that make clients can call a function.
fn operation_id(route: &RouteInfo) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let parts = route.path.split(['/', '{', '}', '*']).filter(|part| !part.is_empty());
    let parts: Vec<String> = parts.map(|part| part.chars().map(plain).collect()).collect();
    format!("{}_{}", route.method.to_lowercase(), parts.join("_"))
}

/// What may stand after the `?`, as parameters.
fn questions(route: &RouteInfo) -> Vec<Value> {
    let Some(schema) = (route.question)() else { return Vec::new() };
    let named = schema.get("properties").and_then(Value::as_object);
    let needed = schema.get("required").and_then(Value::as_array);
    let needed = |name: &str| needed.is_some_and(|needed| needed.iter().any(|one| one == name));
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = schema.clone();
        let about = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        let about = about.unwrap_or_else(|| json!(""));
        // In an address nothing is null: what is absent is left out.
        if let Some(Value::Array(kinds)) = schema.get_mut("type") {
            kinds.retain(|kind| kind != "null");
        }
        json!({"name": name, "in": "query", "required": needed(name), "description": about, "schema": schema})
    };
    named.into_iter().flatten().map(parameter).collect()
}

/// The reference of the API, from the list of its routes and the types of what they take.
pub(crate) fn described(routes: &[RouteInfo]) -> Value {
    let mut paths = Map::new();
    for route in routes {
        // The rest of a path is one place to the router, and to the reference a place that may hold slashes.
        let path = route.path.replace("{*", "{");
        let places = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let places = places
            .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
        let parameters: Vec<Value> = places.chain(questions(route)).collect();
        let problem = json!({"description": "A problem", "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}});
        let mut operation = json!({
            "summary": route.about, "operationId": operation_id(route), "parameters": parameters, "responses": {"2XX": {"description": "As asked"}, "4XX": problem, "5XX": problem},
        });
        if let Value::Object(operation) = &mut operation {
            match route.access {
                // A ticket stands in the path.
                Access::Public | Access::Ticket => {
                    operation.insert("security".to_owned(), json!([]))
                }
                Access::SignedIn => None,
                Access::Board => {
                    operation.insert("x-permission".to_owned(), json!(Permission::View.word()))
                }
                Access::Published => {
                    operation.insert("x-permission".to_owned(), json!(Permission::Call.word()))
                }
                Access::Needs(permission) => {
                    operation.insert("x-permission".to_owned(), json!(permission.word()))
                }
            };
            let body = match route.input {
                Some(input) => Some(json!({"application/json": {"schema": input()}})),
                None if route.whole_body => Some(json!({
                    "application/json": {"schema": {}}, "application/x-ndjson": {"schema": {"type": "string"}},
                })),
                None => None,
            };
            if let Some(content) = body {
                operation.insert("requestBody".to_owned(), json!({"content": content}));
            }
        }
        if let Value::Object(methods) = paths.entry(path).or_insert_with(|| json!({})) {
            methods.insert(route.method.to_lowercase(), operation);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Flywheel", "version": env!("CARGO_PKG_VERSION")},
        "security": [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": {"Problem": schema_of::<ProblemBody<'static>>()},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "flywheel_session"},
            },
        },
    })
}
