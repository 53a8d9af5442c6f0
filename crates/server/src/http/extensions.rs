//! Extensions: which pages and panels there are, tokens for them, and their files.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flywheel_base::Error;
use flywheel_project::resource::extension::{
    self as declared, Extension as Declared, FILE, FILE_BYTES_MAX, FOLDER, file_type, path_problem,
};
use flywheel_project::resource::rule::Role;
use serde_json::{Value, json};

use super::{items, json_of};
use crate::answer::Framed;
use crate::app::App;
use crate::auth::Caller;
use crate::gate::{Access, Permission, Routes};
use crate::input::Place;
use crate::problem::{Problem, Result};

/// What the files of an extension may do in a browser. Opened by themselves they are as much without an origin as in a
/// frame of ours, whose own policy keeps them from going to another server.
const FILE_SECURITY: &str = "sandbox allow-scripts; default-src 'none'; script-src 'self'; \
     style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; \
     frame-ancestors 'self'; base-uri 'none'; form-action 'none'";

/// What pages of extensions load to speak with the page around them.
const HELPER: &str = include_str!("../extension.js");

pub(super) fn routes(routes: &mut Routes) {
    routes.get(
        "/v1/extensions",
        Access::SignedIn,
        "Lists the pages and panels of extensions that the caller has",
        list,
    );
    routes.act(
        "/v1/extensions/{extension}/token",
        Access::SignedIn,
        "Makes a token by which an extension asks for the caller, within its scopes, and a ticket to its files",
        token,
    );
    routes.get(
        "/v1/extensions/{extension}/files/{ticket}/{*file}",
        Access::Ticket,
        "Gives a file of an extension, for the ticket in the address",
        file,
    );
    routes.get(
        "/v1/extension.js",
        Access::Public,
        "Gives the script by which a page of an extension speaks with the page around it",
        helper,
    );
}

/// Whether the caller has a page or panel for these roles.
fn has(caller: &Caller, extension: &Declared, roles: &BTreeSet<Role>) -> bool {
    if !roles.is_empty() {
        return roles.contains(&caller.role);
    }
    scopes(extension).iter().all(|scope| caller.may(*scope))
}

/// What an extension asks for.
pub(crate) fn scopes(extension: &Declared) -> Vec<Permission> {
    extension.scopes.iter().filter_map(|scope| Permission::of(scope.word())).collect()
}

fn words(scopes: &[Permission]) -> Vec<&'static str> {
    scopes.iter().map(|scope| scope.word()).collect()
}

/// What it asks for and the caller may.
fn granted(caller: &Caller, extension: &Declared) -> Vec<Permission> {
    scopes(extension).into_iter().filter(|scope| caller.may(*scope)).collect()
}

fn shown(caller: &Caller, extension: &Declared, file: &str) -> Option<Value> {
    let pages = extension.pages.iter().filter(|page| has(caller, extension, &page.roles));
    let pages: Vec<Value> = pages
        .map(|page| json!({"page": page.page, "title": page.title, "file": page.file}))
        .collect();
    let panels = extension.panels.iter().filter(|panel| has(caller, extension, &panel.roles));
    let panels: Vec<Value> = panels
        .map(|panel| {
            json!({"panel": panel.panel, "title": panel.title, "on": panel.on, "file": panel.file, "height": panel.height})
        })
        .collect();
    (!pages.is_empty() || !panels.is_empty()).then(|| {
        json!({
            "name": extension.extension, "title": extension.title, "description": extension.description,
            "owner": extension.owner, "declared_in": file, "scopes": extension.scopes,
            "granted": words(&granted(caller, extension)), "pages": pages, "panels": panels,
        })
    })
}

async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response> {
    let workspace = app.workspace();
    let all = workspace.project.extensions.values();
    items(&all.filter_map(|one| shown(&caller, one, &one.file)).collect::<Vec<_>>())
}

async fn token(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    place: Place,
) -> Result<Response> {
    let name = place.name();
    let Some(session) = &caller.session else {
        let detail = "a token opens no extension";
        return Err(Problem::new(StatusCode::FORBIDDEN, "denied", detail)
            .hint("Log in; a program asks the API with its own token."));
    };
    let workspace = app.workspace();
    let Some(extension) = workspace.project.extensions.get(&name) else {
        return Err(super::unknown("extension", &name, workspace.project.extensions.keys()));
    };
    if shown(&caller, extension, &extension.file).is_none() {
        let detail = format!("no page or panel of extension \"{name}\" is for {}", caller.kind());
        return Err(Problem::new(StatusCode::FORBIDDEN, "denied", detail).hint(format!(
            "The entries `roles` and `scopes` of {} say for whom it is.",
            extension.file
        )));
    }
    let (scopes, now) = (granted(&caller, extension), app.machine_now());
    let (token, expires_at) = app.tickets.token(&name, session, &scopes, now);
    let ticket = app.tickets.files(&name, session, now);
    json_of(&json!({
        "token": token, "expires_at": expires_at.to_string(), "scopes": words(&scopes),
        "files": format!("/v1/extensions/{name}/files/{ticket}/"),
    }))
}

async fn file(State(app): State<Arc<App>>, place: Place) -> Result<Response> {
    let (name, path) = (place.at(0).to_owned(), place.at(2).to_owned());
    if let Some(problem) = path_problem(&path) {
        return Err(Problem::invalid(format!("the path of the file {problem}"))
            .hint("Name a file below the extension's folder, such as index.html."));
    }
    let Some(kind) = file_type(&path) else {
        let known: Vec<&str> = declared::FILE_TYPES.iter().map(|(end, _)| *end).collect();
        let detail = format!("a file such as \"{path}\" is not shown");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid", detail)
            .hint(format!("Shown is what ends in .{}.", known.join(", ."))));
    };
    let read = app.blocking(move |app| {
        let top = app.workspace().project.dir.join(FOLDER).join(&name);
        Ok(read(&top, &path))
    });
    let bytes = read.await??;
    let mut response = ([(header::CONTENT_TYPE, kind)], bytes).into_response();
    response.extensions_mut().insert(Framed(HeaderValue::from_static(FILE_SECURITY)));
    Ok(response)
}

/// Reads a file below `top` that no link leads to.
fn read(top: &Path, path: &str) -> Result<Vec<u8>> {
    let gone = || {
        Problem::not_found(format!("no file \"{path}\" in the extension"))
            .hint(format!("`flywheel check` lists files that {FILE} names and that are not there."))
    };
    let failed = |at: &Path, error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => gone(),
        _ => Problem::from(Error::io("read", at, error)),
    };
    let mut at = top.to_owned();
    for part in std::iter::once("").chain(path.split('/')) {
        if !part.is_empty() {
            at.push(part);
        }
        let about = fs::symlink_metadata(&at).map_err(|error| failed(&at, error))?;
        if about.is_symlink() {
            let detail =
                format!("\"{path}\" is reached through a link, and an extension has no links");
            return Err(Problem::new(StatusCode::FORBIDDEN, "denied", detail)
                .hint("Put the file itself into the extension's folder."));
        }
    }
    let file = File::open(&at).map_err(|error| failed(&at, error))?;
    let about = file.metadata().map_err(|error| failed(&at, error))?;
    if !about.is_file() {
        return Err(gone());
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| failed(&at, error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let detail = format!("\"{path}\" is larger than {} MiB", FILE_BYTES_MAX >> 20);
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
            .hint("Make it smaller, or ask the API for the data it holds."));
    }
    Ok(bytes)
}

async fn helper() -> Response {
    let kind = "text/javascript; charset=utf-8";
    let mut response = ([(header::CONTENT_TYPE, kind)], Body::from(HELPER)).into_response();
    response.extensions_mut().insert(Framed(HeaderValue::from_static(FILE_SECURITY)));
    response
}
