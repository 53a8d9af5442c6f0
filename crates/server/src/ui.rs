//! The web pages: those that are inside the program, or a folder of them while somebody works on them.

use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use axum::response::IntoResponse;
use flywheel_base::digest;

use crate::app::App;
use crate::problem::Problem;

/// A file.
struct Asset {
    path: &'static str,
    gzip: bool,
    bytes: &'static [u8],
}

/// All of them, by path.
static ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// Whether this program has pages.
#[must_use]
pub fn has_pages() -> bool {
    !ASSETS.is_empty()
}

/// Whether a browser asks for a page where programs get something else: `/metrics` is both.
pub(crate) fn is_page(app: &App, request: &Request) -> bool {
    let pages = app.pages.is_some() || has_pages();
    request.uri().path() == "/metrics" && pages && opens(request)
}

/// Whether a browser opens an address, rather than a page or a program asking for a file.
fn opens(request: &Request) -> bool {
    let accepts = request.headers().get(header::ACCEPT).and_then(|accepts| accepts.to_str().ok());
    accepts.is_some_and(|accepts| accepts.contains("text/html"))
}

/// Answers what no route of the API does: a file of the pages, or the page itself for its own addresses.
pub(crate) async fn fallback(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let path = request.uri().path().trim_start_matches('/');
    if path == "v1" || path.starts_with("v1/") {
        return Problem::not_found(format!("no /{path} in this API"))
            .hint("GET /v1/openapi.json lists what there is.")
            .into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Problem::new(StatusCode::METHOD_NOT_ALLOWED, "invalid", "pages are only read")
            .into_response();
    }
    if let Some(folder) = &app.pages {
        let opened = opens(&request);
        return from_folder(folder, path, opened).await;
    }
    let file = path.rsplit('/').next().unwrap_or_default();
    // What looks like a file is one or is missing; a page instead would hide that it is. Names of tables look so, too.
    let is_file = path.starts_with("assets/")
        || ASSETS.iter().any(|asset| asset.path == path)
        || (file.contains('.') && !(path.contains('/') && opens(&request)));
    let wanted = if is_file { path } else { "index.html" };
    if let Some(asset) = ASSETS.iter().find(|asset| asset.path == wanted) {
        return served(asset, request.headers());
    }
    if is_file || has_pages() {
        return Problem::not_found(format!("no file /{path}")).into_response();
    }
    Problem::not_found("this flywheel was built without web pages")
        .hint("The API is under /v1; /v1/openapi.json describes it.")
        .into_response()
}

/// Answers from a folder of built pages as they are now.
async fn from_folder(folder: &Path, path: &str, opened: bool) -> Response<Body> {
    let plain =
        |part: &str| !(part.is_empty() || part.starts_with('.') || part.contains(['\\', ':']));
    if path.split('/').all(plain)
        && let Ok(bytes) = tokio::fs::read(folder.join(path)).await
    {
        return as_it_is(path, bytes);
    }
    let file = path.rsplit('/').next().unwrap_or_default();
    if path.starts_with("assets/") || (file.contains('.') && !(path.contains('/') && opened)) {
        return Problem::not_found(format!("no file /{path} in {}", folder.display()))
            .into_response();
    }
    let page = "index.html";
    match tokio::fs::read(folder.join(page)).await {
        Ok(bytes) => as_it_is(page, bytes),
        Err(error) => Problem::not_found(format!("{}: {error}", folder.join(page).display()))
            .hint("Build the pages: `npx vite build --watch` in ui/.")
            .into_response(),
    }
}

/// A file that may be another one at the next request.
fn as_it_is(path: &str, bytes: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind(path)));
    response
}

fn served(asset: &'static Asset, asked: &HeaderMap) -> Response<Body> {
    let tag = format!("\"{}\"", digest::short(&[asset.bytes]));
    let known =
        asked.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    // Names of files under assets/ change with what is in them.
    let keep = if asset.path.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind(asset.path)));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    let takes_gzip = asked
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|one| one.trim().starts_with("gzip") && !one.replace(' ', "").ends_with(";q=0"));
    if asset.gzip && takes_gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        *response.body_mut() = Body::from(asset.bytes);
    } else if asset.gzip {
        match unpacked(asset.bytes) {
            Ok(bytes) => *response.body_mut() = Body::from(bytes),
            Err(error) => {
                let broken = flywheel_base::Error::internal("a page inside the program is damaged")
                    .caused_by(error);
                return Problem::from(broken).into_response();
            }
        }
    } else {
        *response.body_mut() = Body::from(asset.bytes);
    }
    response
}

fn unpacked(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes), &mut all)?;
    Ok(all)
}

fn kind(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "webmanifest" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
