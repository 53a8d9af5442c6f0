//! Programs within this process that act through the API like anybody else: the customers of a demo.
//!
//! They are a user of their own with the role agent, and a token that may hand in events and ask for decisions, so that
//! everybody sees who they are, and can stop them, in Administration. They come in only after the first owner did: a
//! server with a user offers no set-up link.

use std::sync::Arc;

use flywheel_base::{Error, ErrorKind, Result, Secret};
use flywheel_project::resource::rule::Role;
use flywheel_state::User;
use serde_json::json;

use crate::app::App;
use crate::auth;
use crate::gate::Permission;

/// How many days their token can be used.
const TOKEN_DAYS: u16 = 30;

/// Lets programs of this process in; made by [`crate::Server::guests`].
#[derive(Clone)]
pub struct Guests {
    app: Arc<App>,
}

impl Guests {
    pub(crate) fn new(app: &Arc<App>) -> Self {
        Self { app: Arc::clone(app) }
    }

    /// A token of the user `name`, who is made if absent; none as long as there is no owner. Earlier tokens of the user
    /// are taken back.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if somebody else has this name, [`ErrorKind::Denied`] if the user is disabled, else those of
    /// the metadata.
    pub async fn token(&self, name: &str) -> Result<Option<Secret>> {
        let name = name.to_owned();
        self.app.blocking(move |app| admit(app, &name)).await
    }

    /// Returns when the server is asked to stop.
    pub async fn stopped(&self) {
        self.app.stop.cancelled().await;
    }
}

fn admit(app: &App, name: &str) -> Result<Option<Secret>> {
    let (workspace, now) = (app.workspace(), app.machine_now());
    let store = &workspace.store;
    let users = store.users()?;
    if users.is_empty() {
        return Ok(None);
    }
    match users.iter().find(|user| user.name.eq_ignore_ascii_case(name)) {
        Some(user) if user.role != Role::Agent.word() => {
            let message = format!("there is a user \"{}\" who is somebody else", user.name);
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        Some(user) if user.disabled => {
            let message = format!("the user \"{}\" is disabled", user.name);
            return Err(Error::new(ErrorKind::Denied, message));
        }
        Some(_) => {}
        None => {
            let user = User {
                name: name.to_owned(),
                role: Role::Agent.word().to_owned(),
                password: None,
                disabled: false,
                provider_groups: Vec::new(),
                grants: Vec::new(),
                created_at: now,
                last_seen_at: None,
            };
            if !store.add_user(&user)? {
                let message = format!("the user \"{name}\" was made by somebody else just now");
                return Err(Error::new(ErrorKind::Conflict, message));
            }
        }
    }
    for token in store.tokens()?.iter().filter(|token| token.owner == name && !token.revoked) {
        store.revoke_token(&token.id)?;
    }
    let scopes = [Permission::Ingest, Permission::Decide].map(|scope| scope.word().to_owned());
    let (secret, token) =
        auth::new_token(name.to_owned(), name.to_owned(), scopes.to_vec(), now, TOKEN_DAYS)?;
    store.add_token(&token)?;
    let detail = json!({"token": token.id, "scopes": token.scopes, "demo": app.demo});
    store.audit(now, name, "let in", name, &detail)?;
    Ok(Some(Secret::new(secret)))
}
