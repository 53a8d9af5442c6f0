//! Events that other systems hand in by calls of theirs, signed their own way: the door of a topic whose file has `webhook`.
//!
//! ```text
//! call ─► signature over the body as it came ─► its moment ─► events that fit ─► on disk ─► 2xx
//!           └─ 401: nothing of it is read          └─ 401       └─ others set aside
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use flywheel_base::digest;
use flywheel_connect::signed::{self, Call, Refused, Scheme};
use flywheel_project::resource::topic::{Algorithm, Webhook};
use flywheel_runtime::Workspace;
use flywheel_runtime::topic::Form;
use serde_json::{Value, json};

use super::events::{Key, Limits, check_plain, keep, sort, text_of};
use super::json_of;
use crate::app::App;
use crate::gate::{Access, Routes};
use crate::input::{self, Place};
use crate::problem::{Problem, Result};

/// How much one call may bring. An event has room within a message of the journal.
const LIMITS: Limits = Limits { body_bytes: 4 << 20, events: 10_000, event_bytes: 1_000_000 };
/// The longest name of a delivery.
const DELIVERY_BYTES_MAX: usize = 255;
/// The header with the moment of a call of HubSpot.
const HUBSPOT_MOMENT: &str = "x-hubspot-request-timestamp";

pub(super) fn routes(routes: &mut Routes) {
    routes.act(
        "/v1/topics/{topic}/webhook",
        Access::Public,
        "Takes events of another system, by a call signed as the topic's file says; on disk when it answers",
        webhook,
    );
}

async fn webhook(
    State(app): State<Arc<App>>,
    place: Place,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    check_plain(&headers)?;
    let bytes = input::read(body, LIMITS.body_bytes).await?;
    let topic = place.name();
    let (name, signed_body) = (topic.clone(), bytes.clone());
    // A secret may be a file.
    let checked = app.blocking(move |app| {
        let workspace = app.workspace();
        let now = app.machine_now();
        Ok(admitted(&workspace, &name, &headers, &signed_body, now))
    });
    let delivery = match checked.await? {
        Ok(delivery) => delivery,
        Err(refused) => return Err(not_taken(refused)),
    };
    let form = Form::of(&app.workspace().project, &topic)?;
    let mut sorted = sort(text_of(&bytes)?, false, &LIMITS, |event| form.check(event))?;
    app.stats.events_rejected.fetch_add(sorted.rejected.len() as u64, Ordering::Relaxed);
    // Nobody reads there what the answer says of events.
    let quarantined = sorted.set_aside(&app, &topic).await?;
    // What is durable is taken, or the sender would send it again for days.
    if sorted.messages.is_empty() && quarantined < sorted.rejected.len() {
        return Err(sorted.nothing());
    }
    let messages = std::mem::take(&mut sorted.messages);
    let accepted = messages.len();
    let appended = match accepted {
        0 => None,
        _ => Some(keep(&app, &topic, Key::Delivery(delivery), messages).await?),
    };
    json_of(&json!({
        "topic": topic, "accepted": accepted, "first_offset": appended.map(|one| one.first_offset),
        "repeated": appended.is_some_and(|one| one.repeated), "rejected_count": sorted.rejected.len(),
        "quarantined_count": quarantined, "rejected": sorted.told(),
    }))
}

/// The name of a delivery, if the call is one of the topic's.
fn admitted(
    workspace: &Workspace,
    topic: &str,
    headers: &HeaderMap,
    body: &Bytes,
    now: flywheel_base::Timestamp,
) -> std::result::Result<String, Refused> {
    let declared = workspace.project.topics.get(topic);
    let declared = declared.and_then(|topic| topic.webhook.as_ref()).ok_or(Refused::Unsigned)?;
    let algorithm = declared.signed().ok_or(Refused::Unsigned)?;
    let secret = workspace.project.resolve_secret(&declared.secret).map_err(|error| {
        tracing::error!(topic, error = %error.report(), "the secret of a webhook is not there");
        Refused::Unsigned
    })?;
    let call = Call {
        signature: only(headers, &declared.header),
        moment: only(headers, HUBSPOT_MOMENT),
        address: declared.url.as_deref().unwrap_or_default(),
        body,
    };
    signed::verify(scheme(algorithm), &secret, call, (now, declared.tolerance_us()))?;
    Ok(delivery(declared, algorithm, headers, body))
}

fn scheme(algorithm: Algorithm) -> Scheme {
    match algorithm {
        Algorithm::HmacSha256Hex => Scheme::Hex,
        Algorithm::HmacSha256Base64 => Scheme::Base64,
        Algorithm::Stripe => Scheme::Stripe,
        Algorithm::HubspotV3 => Scheme::Hubspot,
    }
}

/// A header that is there once, else nothing.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let mut given = headers.get_all(name).iter();
    match (given.next(), given.next()) {
        (Some(one), None) => one.to_str().unwrap_or_default(),
        _ => "",
    }
}

/// By what a delivery that comes again is known: the sender's name for it, else its body.
fn delivery(declared: &Webhook, algorithm: Algorithm, headers: &HeaderMap, body: &Bytes) -> String {
    let in_header = declared.delivery_header().map(|name| only(headers, name).to_owned());
    let in_body = || match algorithm {
        Algorithm::Stripe => {
            let event: Value = serde_json::from_slice(body).ok()?;
            event.get("id")?.as_str().map(str::to_owned)
        }
        _ => None,
    };
    let named = in_header.or_else(in_body);
    match named.filter(|name| !name.is_empty() && name.len() <= DELIVERY_BYTES_MAX) {
        // No user is called so: with their names begin the keys of requests to the same topic.
        Some(name) => digest::hex(&[b"name of a delivery", name.as_bytes()]),
        None => digest::hex(&[b"delivery of", body]),
    }
}

fn not_taken(refused: Refused) -> Problem {
    let unauthenticated =
        |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail);
    match refused {
        // Whether there is such a topic is nobody's business.
        Refused::Unsigned => unauthenticated("this call is not signed as the topic's file says")
            .hint("Compare the secret here and there, and the header: see the guide on receiving events."),
        Refused::Stale => unauthenticated("this call is signed, and too old or of a time to come")
            .hint("Look at the clocks of both sides; `tolerance` in the topic's file says how old a call may be."),
    }
}
