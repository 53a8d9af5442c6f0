//! Which pages of other origins may read our answers: almost none.
//!
//! An extension stands in a frame without an origin (`Origin: null`), so that it reaches neither our pages nor the
//! session. What it asks with its own token it may read, and it never sends a cookie. A page that hands in events by a key may read
//! the answer if the key is for its site ([`crate::page_key`]).

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use crate::app::App;
use crate::page_key;
use crate::ticket;

/// The origin of a page that has none.
const NO_ORIGIN: &str = "null";
/// How long a browser may remember what it asked before, in seconds.
const REMEMBERED_S: &str = "600";

fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Whether a request is sent with the token of an extension.
pub(crate) fn is_of_extension(headers: &HeaderMap) -> bool {
    let token = text(headers, header::AUTHORIZATION).strip_prefix("Bearer ");
    token.is_some_and(|token| token.trim_start().starts_with(ticket::PREFIX))
}

/// The answer to a browser that asks beforehand whether a page may ask; none if it is no such question.
pub(crate) fn beforehand(app: &App, request: &Request) -> Option<Response<Body>> {
    let headers = request.headers();
    let asks = request.method() == Method::OPTIONS
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if !asks || !request.uri().path().starts_with("/v1/") {
        return None;
    }
    let origin = match page_key::of(request.uri()) {
        Some(_) => page_key::admitted(app, request.uri(), headers)?,
        None => headers.get(header::ORIGIN).filter(|origin| *origin == NO_ORIGIN)?.clone(),
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let answer = response.headers_mut();
    answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    for (name, value) in [
        (header::VARY, "origin"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, PATCH, DELETE"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, idempotency-key, if-match",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, REMEMBERED_S),
    ] {
        answer.insert(name, HeaderValue::from_static(value));
    }
    Some(response)
}

/// The origin whose page may read the answer to a request.
pub(crate) fn reader(app: &App, request: &Request) -> Option<HeaderValue> {
    let headers = request.headers();
    if page_key::of(request.uri()).is_some() {
        return page_key::admitted(app, request.uri(), headers);
    }
    let origin = headers.get(header::ORIGIN)?;
    (origin == NO_ORIGIN && is_of_extension(headers)).then(|| origin.clone())
}

/// Lets the page of that origin read an answer.
pub(crate) fn admit(response: &mut Response<Body>, origin: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("retry-after, x-request-id, etag"),
    );
}
