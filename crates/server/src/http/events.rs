//! Events, outcomes and exposures that programs hand in: on disk before they are acknowledged.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use flywheel_base::{Error, digest};
use flywheel_connect::Appended;
use flywheel_decision::reported::{Kind, Said};
use flywheel_project::resource::topic::OnBad;
use flywheel_runtime::topic::{Form, Misfit};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::json_of;
use crate::answer::Framed;
use crate::app::{App, ended};
use crate::auth::Caller;
use crate::feedback;
use crate::gate::{Access, Permission, Routes};
use crate::input::{self, Asked};
use crate::page_key;
use crate::problem::{Problem, Result};
use crate::set_aside::{Bad, OF_REQUEST_MAX};

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
        "Takes what came of decisions; the next turn counts it for the policies of those",
        outcomes,
    );
    routes.act(
        "/v1/exposures",
        ingest,
        "Takes which decisions somebody has seen; the next turn has them in system.exposures",
        exposures,
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

/// Who says what was seen.
#[derive(Debug, Deserialize, JsonSchema)]
struct Seen {
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
    let workspace = app.workspace();
    let Some(page) = caller.page_key.clone() else {
        let topic = into.topic.unwrap_or_else(|| "events".to_owned());
        let form = Form::of(&workspace.project, &topic)?;
        let aside = form.on_bad == OnBad::Quarantine;
        let terms = Terms { topic: &topic, once: into.once, aside };
        return take(&app, &caller, terms, &headers, body, |event| form.check(event)).await;
    };
    if into.topic.is_some_and(|topic| topic != page.topic) {
        let detail = format!("this key hands in events of the topic \"{}\"", page.topic);
        return Err(Problem::new(StatusCode::FORBIDDEN, "denied", detail)
            .hint("Leave the topic out, or make a key for the other one."));
    }
    if Kind::ALL.iter().any(|kind| kind.topic() == page.topic) {
        // Keys from before these topics were for programs may have one of them.
        let detail = format!("the topic \"{}\" is for programs, not for pages", page.topic);
        return Err(Problem::new(StatusCode::FORBIDDEN, "denied", detail)
            .hint("Make a key for another topic, and put it into the page."));
    }
    let form = Form::of(&workspace.project, &page.topic)?;
    // Nobody reads there what the answer says of events.
    let terms = Terms { topic: &page.topic, once: into.once, aside: true };
    let check = |event: &Value| of_page(event).and_then(|()| form.check(event));
    take(&app, &caller, terms, &headers, body, check).await
}

/// Whether an event is one that a page may hand in: one with a name.
fn of_page(event: &Value) -> std::result::Result<(), Misfit> {
    match event.get("event") {
        Some(Value::String(name)) if (1..=page_key::NAME_BYTES_MAX).contains(&name.len()) => Ok(()),
        _ => Err(Misfit {
            field: Some("event".to_owned()),
            code: "invalid",
            reason: format!(
                "an event of a page needs the text `event` of 1 to {} bytes",
                page_key::NAME_BYTES_MAX
            ),
        }),
    }
}

async fn outcomes(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    report(&app, &caller, (Kind::Outcome, None), &headers, body).await
}

async fn exposures(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Asked(seen): Asked<Seen>,
    body: Body,
) -> Result<Response> {
    report(&app, &caller, (Kind::Exposure, seen.once), &headers, body).await
}

/// Takes what a turn will be able to read.
async fn report(
    app: &Arc<App>,
    caller: &Caller,
    (kind, once): (Kind, Option<String>),
    headers: &HeaderMap,
    body: Body,
) -> Result<Response> {
    let check = |event: &Value| match Said::read(kind, event) {
        Err(reason) => Err(Misfit::whole("invalid", reason)),
        Ok(_) => match Said::misspelt(kind, event) {
            Some((field, meant)) => Err(Misfit {
                field: Some(field.to_owned()),
                code: "invalid",
                reason: format!("the field \"{field}\" is not read; did you mean \"{meant}\"?"),
            }),
            None => Ok(()),
        },
    };
    let terms = Terms { topic: kind.topic(), once, aside: false };
    take(app, caller, terms, headers, body, check).await
}

/// How much one request may bring.
pub(super) struct Limits {
    pub(super) body_bytes: usize,
    pub(super) events: usize,
    pub(super) event_bytes: usize,
}

/// What becomes of a request.
struct Terms<'a> {
    topic: &'a str,
    /// What `Idempotency-Key` says elsewhere.
    once: Option<String>,
    /// Whether events that do not fit are set aside.
    aside: bool,
}

/// What is taken of a request, and what is not, each with its place and why.
#[derive(Default)]
pub(super) struct Sorted {
    pub(super) messages: Vec<Vec<u8>>,
    pub(super) rejected: Vec<(usize, Misfit)>,
    /// Those that are not taken as they came, as many as are set aside.
    raw: Vec<String>,
}

impl Sorted {
    /// Takes one event, or not.
    pub(super) fn add(
        &mut self,
        index: usize,
        text: &str,
        bytes_max: usize,
        check: impl Fn(&Value) -> std::result::Result<(), Misfit>,
    ) {
        match event(text, bytes_max, check) {
            Ok(()) => self.messages.push(text.as_bytes().to_vec()),
            Err(why) => {
                if self.raw.len() < OF_REQUEST_MAX {
                    self.raw.push(text.to_owned());
                }
                self.rejected.push((index, why));
            }
        }
    }

    /// Sets aside what is not taken; answers how many events that were. What there is no room for is named by the
    /// answer alone.
    pub(super) async fn set_aside(&mut self, app: &App, topic: &str) -> Result<usize> {
        let reasons = self.rejected.iter().map(|(_, why)| why.clone());
        let events: Vec<(Misfit, String)> = reasons.zip(std::mem::take(&mut self.raw)).collect();
        if events.is_empty() {
            return Ok(0);
        }
        let bad = Bad {
            workspace: app.workspace(),
            handle: Handle::current(),
            topic: topic.to_owned(),
            events,
        };
        Ok(app.set_aside.ask(bad).await?)
    }

    /// What is wrong with each event, as answers say it.
    pub(super) fn told(&self) -> Vec<Value> {
        let told = self.rejected.iter().take(REJECTED_SHOWN_MAX).map(|(index, why)| {
            json!({
                "index": index, "status": StatusCode::BAD_REQUEST.as_u16(), "code": why.code,
                "field": why.field, "detail": why.reason,
            })
        });
        told.collect()
    }

    /// The problem of a request of which nothing is taken.
    pub(super) fn nothing(&self) -> Problem {
        let why = self.rejected.first().map_or("it is empty", |(_, why)| why.reason.as_str());
        let mut problem = Problem::invalid(format!(
            "the request holds no event that can be taken: {why}"
        ))
        .hint("Send a JSON object, an array of them, or one a line with content-type application/x-ndjson.");
        problem.rejected = self.told().into();
        problem
    }
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
    Terms { topic, once, aside }: Terms<'_>,
    headers: &HeaderMap,
    body: Body,
    check: impl Fn(&Value) -> std::result::Result<(), Misfit>,
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
    check_plain(headers)?;
    let bytes = input::read(body, limits.body_bytes).await?;
    let lines = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.contains("ndjson") || kind.contains("jsonl"));
    let mut sorted = sort(text_of(&bytes)?, lines, &limits, check)?;
    if let Some(page) = &caller.page_key {
        page.events(app, sorted.messages.len() + sorted.rejected.len())?;
    }
    app.stats.events_rejected.fetch_add(sorted.rejected.len() as u64, Ordering::Relaxed);
    // Before the others are kept: what cannot be set aside now is sent again whole.
    let quarantined = if aside { sorted.set_aside(app, topic).await? } else { 0 };
    if sorted.messages.is_empty() {
        return Err(sorted.nothing());
    }
    let messages = std::mem::take(&mut sorted.messages);
    let accepted = messages.len();
    let key = key.map_or(Key::None, Key::Request);
    let appended = keep(app, topic, key, messages).await?;
    json_of(&json!({
        "topic": topic, "accepted": accepted, "first_offset": appended.first_offset, "repeated": appended.repeated,
        "rejected_count": sorted.rejected.len(), "quarantined_count": quarantined,
        "rejected": sorted.told(),
    }))
}

/// The text of a body.
pub(super) fn text_of(bytes: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Problem::invalid(format!(
            "the body is not UTF-8: byte {} begins no character",
            error.valid_up_to() + 1
        ))
    })?;
    // Some editors and programs begin every text with it; it is no part of an event.
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Takes a body apart into its events: one, an array of them, or one a line.
pub(super) fn sort(
    text: &str,
    lines: bool,
    limits: &Limits,
    check: impl Fn(&Value) -> std::result::Result<(), Misfit>,
) -> Result<Sorted> {
    let most = limits.events;
    let mut sorted = Sorted::default();
    let mut add = |index: usize, text: &str| sorted.add(index, text, limits.event_bytes, &check);
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
    Ok(sorted)
}

/// By what a request that comes again is known.
pub(super) enum Key {
    /// By nothing.
    None,
    /// By the sender's name for it, which comes with the same events.
    Request(String),
    /// By the name of a delivery, which may be told with small differences.
    Delivery(String),
}

/// Keeps events of a topic; they are on disk when it returns.
pub(super) async fn keep(
    app: &Arc<App>,
    topic: &str,
    key: Key,
    messages: Vec<Vec<u8>>,
) -> Result<Appended> {
    let accepted = messages.len() as u64;
    let told = feedback::told(&app.workspace(), topic, &messages, app.machine_now());
    let (shared, into) = (Arc::clone(app), topic.to_owned());
    // What was handed over is written also if the sender leaves before the answer: then it is remembered as well.
    #[expect(
        clippy::disallowed_methods,
        reason = "awaited below; without a sender it ends with the write it waits for, and a set would cancel it"
    )]
    let written = tokio::spawn(async move {
        let events = &shared.events;
        let appended = match &key {
            Key::None => events.append(&into, None, messages).await?,
            Key::Request(key) => events.append(&into, Some(key), messages).await?,
            Key::Delivery(key) => events.append_delivery(&into, key, messages).await?,
        };
        // What was taken before was remembered then, or is read from the journal.
        if !appended.repeated {
            shared.fresh.remember(told, appended.first_offset);
            shared.stats.events.fetch_add(accepted, Ordering::Relaxed);
        }
        Ok::<_, Error>(appended)
    });
    Ok(written.await.map_err(|_| ended("taking events"))??)
}

/// Refuses a body that is packed: what it says is read as it is.
pub(super) fn check_plain(headers: &HeaderMap) -> Result<()> {
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
    check: impl Fn(&Value) -> std::result::Result<(), Misfit>,
) -> std::result::Result<(), Misfit> {
    if text.len() > bytes_max {
        let reason = format!("the event has {} bytes, more than {bytes_max}", text.len());
        return Err(Misfit::whole("too-large", reason));
    }
    match serde_json::from_str::<Value>(text) {
        Ok(value @ Value::Object(_)) => check(&value),
        Ok(_) => Err(Misfit::whole("invalid", "an event is a JSON object")),
        Err(error) => Err(Misfit::whole("invalid", format!("it is no JSON: {error}"))),
    }
}
