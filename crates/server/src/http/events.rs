//! Events and outcomes that programs hand in: on disk before they are acknowledged.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use flywheel_base::{Error, digest};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::json_of;
use crate::answer::Framed;
use crate::app::{App, ended};
use crate::auth::Caller;
use crate::feedback;
use crate::gate::{Access, Permission, Routes};
use crate::input::{self, Asked};
use crate::page_key;
use crate::problem::{Problem, Result};

pub(super) fn routes(routes: &mut Routes) {
    let ingest = Access::Needs(Permission::Ingest);
    routes.act(
        "/v1/events",
        ingest,
        "Takes one event, an array of them, or NDJSON; on disk when it answers",
        events,
    );
    routes.act(
        "/v1/outcomes",
        ingest,
        "Takes what came of decisions, as events of the topic outcomes",
        outcomes,
    );
    routes.get(
        "/v1/snippet.js",
        Access::Public,
        "Gives the script by which a web page hands in events with a key",
        snippet,
    );
}

/// Bytes of one request.
const BATCH_BYTES_MAX: usize = 16 << 20;
/// Events of one request.
const BATCH_MAX: usize = 50_000;
/// Bytes of one event.
const EVENT_BYTES_MAX: usize = 256 << 10;
/// The longest key of a request.
const KEY_BYTES_MAX: usize = 255;
/// Mistakes that one answer lists.
const REJECTED_SHOWN_MAX: usize = 1_000;

/// Where events go.
#[derive(Debug, Deserialize, JsonSchema)]
struct Into {
    /// The topic; `events` if absent, and that of the key for a page.
    topic: Option<String>,
    /// The key of a page, which may not send headers of its own.
    #[serde(default, rename = "key")]
    _key: Option<String>,
    /// What `Idempotency-Key` says elsewhere.
    once: Option<String>,
}

/// What web pages load to hand in events.
const SNIPPET: &str = include_str!("../snippet.js");
/// How long a browser keeps it.
const SNIPPET_KEPT: &str = "public, max-age=3600";

async fn snippet() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::CACHE_CONTROL, SNIPPET_KEPT),
    ];
    let mut response = (headers, SNIPPET).into_response();
    // Pages of any site load it; it knows nothing.
    response.extensions_mut().insert(Framed(HeaderValue::from_static("default-src 'none'")));
    response
}

async fn events(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Asked(into): Asked<Into>,
    body: Body,
) -> Result<Response> {
    let Some(page) = caller.page_key.clone() else {
        let topic = into.topic.unwrap_or_else(|| "events".to_owned());
        return take(&app, &caller, (&topic, into.once), &headers, body, |_| Ok(())).await;
    };
    if into.topic.is_some_and(|topic| topic != page.topic) {
        let detail = format!("this key hands in events of the topic \"{}\"", page.topic);
        return Err(Problem::new(StatusCode::FORBIDDEN, "denied", detail)
            .hint("Leave the topic out, or make a key for the other one."));
    }
    take(&app, &caller, (&page.topic, into.once), &headers, body, of_page).await
}

/// Whether an event is one that a page may hand in: one with a name.
fn of_page(event: &Value) -> std::result::Result<(), String> {
    match event.get("event") {
        Some(Value::String(name)) if (1..=page_key::NAME_BYTES_MAX).contains(&name.len()) => Ok(()),
        _ => Err(format!(
            "an event of a page needs the text `event` of 1 to {} bytes",
            page_key::NAME_BYTES_MAX
        )),
    }
}

async fn outcomes(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    take(&app, &caller, ("outcomes", None), &headers, body, |event| {
        match event.get("decision_id") {
            Some(Value::String(id)) if !id.is_empty() => Ok(()),
            _ => Err("an outcome needs the text `decision_id`".to_owned()),
        }
    })
    .await
}

/// How much one request may bring.
struct Limits {
    body_bytes: usize,
    events: usize,
    event_bytes: usize,
}

/// One event that is not taken, and why.
struct Rejected {
    index: usize,
    detail: String,
}

/// The header with the sender's name for a request: sent again under the same name, its events are not kept twice.
const KEY: &str = "idempotency-key";

/// The key of a request; those of different users are different.
fn key_of(caller: &Caller, headers: &HeaderMap, once: Option<&str>) -> Result<Option<String>> {
    let given = headers.get_all(KEY).iter().map(|key| key.to_str().map_err(|_| ()));
    let mut given = given.chain(once.map(Ok));
    let (first, more) = (given.next(), given.next());
    let Some(first) = first else { return Ok(None) };
    // Visitors of pages are nobody: what one of them sends again is not what another one sent.
    let user = match &caller.page_key {
        Some(page) => page.id.as_str(),
        None => caller.user.as_str(),
    };
    match first {
        Ok(key) if more.is_none() && !key.is_empty() && key.len() <= KEY_BYTES_MAX => {
            Ok(Some(digest::hex(&[user.as_bytes(), key.as_bytes()])))
        }
        _ => Err(Problem::invalid(format!(
            "Idempotency-Key has to be given once, with 1 to {KEY_BYTES_MAX} visible characters of ASCII"
        ))
        .hint("Use something like a UUID, made once for each request and sent with each try.")),
    }
}

async fn take(
    app: &Arc<App>,
    caller: &Caller,
    (topic, once): (&str, Option<String>),
    headers: &HeaderMap,
    body: Body,
    check: impl Fn(&Value) -> std::result::Result<(), String>,
) -> Result<Response> {
    let key = key_of(caller, headers, once.as_deref())?;
    let limits = match caller.page_key {
        Some(_) => Limits {
            body_bytes: page_key::BODY_BYTES_MAX,
            events: page_key::EVENTS_MAX,
            event_bytes: page_key::EVENT_BYTES_MAX,
        },
        None => {
            Limits { body_bytes: BATCH_BYTES_MAX, events: BATCH_MAX, event_bytes: EVENT_BYTES_MAX }
        }
    };
    let most = limits.events;
    check_plain(headers)?;
    let bytes = input::read(body, limits.body_bytes).await?;
    let lines = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.contains("ndjson") || kind.contains("jsonl"));
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        Problem::invalid(format!(
            "the body is not UTF-8: byte {} begins no character",
            error.valid_up_to() + 1
        ))
    })?;
    // Some editors and programs begin every text with it; it is no part of an event.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut messages, mut rejected) = (Vec::new(), Vec::new());
    let mut add = |index: usize, text: &str| match event(text, limits.event_bytes, &check) {
        Ok(()) => messages.push(text.as_bytes().to_vec()),
        Err(detail) => rejected.push(Rejected { index, detail }),
    };
    let count;
    if lines {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        count = lines.clone().take(most + 1).count();
        if count <= most {
            lines.enumerate().for_each(|(index, line)| add(index, line));
        }
    } else {
        match text.trim_start().starts_with('[') {
            true => {
                let all: Vec<&RawValue> =
                    serde_json::from_str(text).map_err(|error| not_json(&error))?;
                count = all.len();
                if count <= most {
                    all.iter().enumerate().for_each(|(index, one)| add(index, one.get()));
                }
            }
            false => {
                let one: &RawValue =
                    serde_json::from_str(text).map_err(|error| not_json(&error))?;
                add(0, one.get());
                count = 1;
            }
        }
    }
    if count > most {
        return Err(Problem::invalid(format!(
            "the request holds more than the {most} events of one request"
        ))
        .hint("Send them in parts; none of them was kept."));
    }
    if messages.is_empty() {
        app.stats.events_rejected.fetch_add(rejected.len() as u64, Ordering::Relaxed);
        let why =
            rejected.first().map_or_else(|| "it is empty".to_owned(), |one| one.detail.clone());
        return Err(Problem::invalid(format!("the request holds no event that can be taken: {why}"))
            .hint("Send a JSON object, an array of them, or one a line with content-type application/x-ndjson."));
    }
    if let Some(page) = &caller.page_key {
        page.events(app, messages.len())?;
    }
    let accepted = messages.len();
    let told = feedback::told(&app.workspace(), topic, &messages, app.machine_now());
    let (shared, into) = (Arc::clone(app), topic.to_owned());
    // What was handed over is written also if the sender leaves before the answer: then it is remembered as well.
    #[expect(
        clippy::disallowed_methods,
        reason = "awaited below; without a sender it ends with the write it waits for, and a set would cancel it"
    )]
    let written = tokio::spawn(async move {
        let appended = shared.events.append(&into, key.as_deref(), messages).await?;
        // What was taken before was remembered then, or is read from the journal.
        if !appended.repeated {
            shared.fresh.remember(told, appended.first_offset);
            shared.stats.events.fetch_add(accepted as u64, Ordering::Relaxed);
        }
        Ok::<_, Error>(appended)
    });
    let appended = written.await.map_err(|_| ended("taking events"))??;
    app.stats.events_rejected.fetch_add(rejected.len() as u64, Ordering::Relaxed);
    let shown = rejected
        .iter()
        .take(REJECTED_SHOWN_MAX)
        .map(|one| json!({"index": one.index, "code": "invalid", "detail": one.detail}));
    json_of(&json!({
        "topic": topic, "accepted": accepted, "first_offset": appended.first_offset, "repeated": appended.repeated,
        "rejected_count": rejected.len(),
        "rejected": shown.collect::<Vec<_>>(),
    }))
}

/// Refuses a body that is packed: what it says is read as it is.
fn check_plain(headers: &HeaderMap) -> Result<()> {
    for packed in headers.get_all(header::CONTENT_ENCODING) {
        if !packed.as_bytes().eq_ignore_ascii_case(b"identity") {
            let packed = String::from_utf8_lossy(packed.as_bytes());
            let detail = format!("a body with content-encoding \"{packed}\" is not unpacked");
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid", detail)
                .hint("Send it unpacked, in parts if it is large."));
        }
    }
    Ok(())
}

fn not_json(error: &serde_json::Error) -> Problem {
    Problem::invalid(format!("the body is no JSON: {error}"))
        .hint("For one event a line, set content-type to application/x-ndjson.")
}

/// Whether a text is an event.
fn event(
    text: &str,
    bytes_max: usize,
    check: impl Fn(&Value) -> std::result::Result<(), String>,
) -> std::result::Result<(), String> {
    if text.len() > bytes_max {
        return Err(format!("the event has {} bytes, more than {bytes_max}", text.len()));
    }
    match serde_json::from_str::<Value>(text) {
        Ok(value @ Value::Object(_)) => check(&value),
        Ok(_) => Err("an event is a JSON object".to_owned()),
        Err(error) => Err(format!("it is no JSON: {error}")),
    }
}
