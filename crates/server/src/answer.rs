//! What every answer has: an id, headers that keep browsers safe, and a body for problems.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::middleware::Next;
use axum::response::IntoResponse;
use flywheel_base::{Error, digest};
use futures::FutureExt;

use crate::app::{App, Door};
use crate::cors;
use crate::fault;
use crate::problem::Problem;
use crate::site;

/// What pages may load: our own files, and nothing from anywhere else.
const CONTENT_SECURITY: &str = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; \
     frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// An answer that is shown in a frame without an origin, with its own policy.
#[derive(Clone, Debug)]
pub(crate) struct Framed(pub(crate) HeaderValue);

/// Wraps every request.
pub(crate) async fn layer(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let number = app.stats.requests.fetch_add(1, Ordering::Relaxed);
    let id = digest::short(&[&app.started_at.micros().to_le_bytes(), &number.to_le_bytes()]);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let query = request.uri().query().map(str::to_owned);
    let watch = Instant::now();
    let reader = cors::reader(&app, &request);
    let told = app.telemetry.as_ref().map(|telemetry| {
        let route = request.extensions().get::<MatchedPath>();
        (telemetry, telemetry.begin(&method, route, request.headers()))
    });
    let route = request.extensions().get::<MatchedPath>();
    let name = format!("{method} {}", route.map_or("(no route)", MatchedPath::as_str));
    let mut stopped = None;
    let response = if let Some(answer) = cors::beforehand(&app, &request) {
        answer
    } else if crate::ui::is_page(&app, &request) {
        crate::ui::fallback(State(Arc::clone(&app)), request).await
    } else {
        let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        answered.unwrap_or_else(|_| {
            stopped = Some(fault::taken());
            let error = Error::internal("the request stopped unexpectedly");
            let hint = "This is a bug of Flywheel: the request's id is in the server's log and in system.errors.";
            Problem::from(error.hint(hint)).into_response()
        })
    };
    let status = response.status();
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        let told = response.extensions().get::<Problem>().map(|problem| problem.detail.clone());
        let error = stopped.or(told).unwrap_or_default();
        note(&app, id.clone(), name, error).await;
    }
    app.stats.answered(Door::of(&path), status, watch.elapsed());
    if let Some((telemetry, told)) = told {
        telemetry.end(told, status, watch.elapsed());
    }
    let framed = path.starts_with("/embed/").then(|| frames(&app, query.as_deref()));
    tracing::debug!(id, %method, path, status = status.as_u16(), ms = watch.elapsed().as_secs_f64() * 1_000.0, "answered");
    let mut response = finished(response, &id);
    if let Some(origin) = reader {
        cors::admit(&mut response, origin);
    }
    if let Some(ancestors) = framed {
        // A dashboard's link may stand in a page of somebody else: it brings its own token and no session.
        let headers = response.headers_mut();
        headers.remove(header::X_FRAME_OPTIONS);
        let policy =
            CONTENT_SECURITY.replace("'none'; base-uri", &format!("{ancestors}; base-uri"));
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
    }
    response
}

/// Keeps what stopped a request, under its id.
async fn note(app: &Arc<App>, id: String, name: String, error: String) {
    let kept = app.blocking(move |app| {
        fault::keep(app, &id, "request", &name, &error);
        Ok(())
    });
    if let Err(error) = kept.await {
        tracing::error!(error = %error.report(), "a fault is not kept");
    }
}

/// Whose pages the page behind a link may stand in: those that the link names, and anybody's for an address that names
/// no link. A link for some sites only answers nothing to a page whose address does not name it.
fn frames(app: &App, query: Option<&str>) -> String {
    let named = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("link="));
    let Some(id) = named else { return "*".to_owned() };
    let now = app.machine_now();
    let token = match app.reader.token_by_id(id) {
        Ok(Some(token)) if !token.revoked && token.expires_at > now => token,
        Ok(_) => return "'none'".to_owned(),
        Err(error) => {
            tracing::error!(error = %error.report(), "a link is not looked up");
            return "'none'".to_owned();
        }
    };
    match site::among(&token.scopes) {
        sites if sites.is_empty() => "*".to_owned(),
        sites => sites.join(" "),
    }
}

/// Adds what every answer has.
pub(crate) fn finished(mut response: Response<Body>, id: &str) -> Response<Body> {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        *response.body_mut() = Body::from(problem.body(id));
    }
    let framed = response.extensions_mut().remove::<Framed>();
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(Framed(policy)) = framed {
        headers.remove(header::X_FRAME_OPTIONS);
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        // Whoever asks has a ticket or needs none; a page without an origin is a stranger even to its own server.
        headers.insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert("x-request-id", id);
    }
    // What the API says is about this moment and this user.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
