//! What every answer has: an id, headers that keep browsers safe, and a body for problems.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Response, header};
use axum::middleware::Next;
use flywheel_base::digest;

use crate::app::App;
use crate::problem::Problem;

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

/// Wraps every request.
pub(crate) async fn layer(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let number = app.stats.requests.fetch_add(1, Ordering::Relaxed);
    let id = digest::short(&[&app.started_at.micros().to_le_bytes(), &number.to_le_bytes()]);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let watch = Instant::now();
    let response = if crate::ui::is_page(&request) {
        crate::ui::fallback(request).await
    } else {
        next.run(request).await
    };
    let status = response.status();
    app.stats.answered(status, watch.elapsed());
    let framed = path.starts_with("/embed/");
    tracing::debug!(id, %method, path, status = status.as_u16(), ms = watch.elapsed().as_secs_f64() * 1_000.0, "answered");
    let mut response = finished(response, &id);
    if framed {
        // A dashboard's link may stand in a page of somebody else: it brings its own token and no session.
        let headers = response.headers_mut();
        headers.remove(header::X_FRAME_OPTIONS);
        let policy = CONTENT_SECURITY.replace("frame-ancestors 'none'", "frame-ancestors *");
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
    }
    response
}

/// Adds what every answer has.
pub(crate) fn finished(mut response: Response<Body>, id: &str) -> Response<Body> {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        *response.body_mut() = Body::from(problem.body(id));
    }
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert("x-request-id", id);
    }
    // What the API says is about this moment and this user.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
