//! The two addresses that a browser goes to when somebody signs in with the identity provider.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flywheel_project::resource::project_file::{CALLBACK_PATH, SignIn};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::app::App;
use crate::auth;
use crate::gate::{Access, Routes};
use crate::input::Asked;
use crate::problem::{Problem, Result};
use crate::sign_in::{self, Back, Refused, START_PATH};

pub(super) fn routes(routes: &mut Routes) {
    routes.get(
        START_PATH,
        Access::Public,
        "Sends a browser to the identity provider to sign in",
        start,
    );
    routes.get(
        CALLBACK_PATH,
        Access::Public,
        "Takes a browser back from the identity provider and begins a session",
        back,
    );
}

/// Where somebody wants to be.
#[derive(Debug, Deserialize, JsonSchema)]
struct Begin {
    /// The page to show afterwards, a path of this server; the first page if absent.
    #[serde(default)]
    return_to: Option<String>,
}

async fn start(State(app): State<Arc<App>>, Asked(asked): Asked<Begin>) -> Result<Response> {
    let declared = declared(&app)?;
    let return_to = asked.return_to.unwrap_or_else(|| "/".to_owned());
    sign_in::check_return(&return_to)?;
    match sign_in::begin(&app, &declared, return_to).await {
        Ok(begun) => sent(&begun.address, &[begun.cookie]),
        Err(refused) => outside(&declared, refused),
    }
}

/// What a provider sends a browser back with.
#[derive(Debug, Deserialize, JsonSchema)]
struct Returned {
    /// What the sign-in was begun with.
    #[serde(default)]
    state: Option<String>,
    /// What the provider's tokens are given out for, once.
    #[serde(default)]
    code: Option<String>,
    /// Why there is no code.
    #[serde(default)]
    error: Option<String>,
    /// The provider.
    #[serde(default)]
    iss: Option<String>,
}

async fn back(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Asked(asked): Asked<Returned>,
) -> Result<Response> {
    let declared = declared(&app)?;
    let back = Back {
        state: asked.state.unwrap_or_default(),
        code: asked.code,
        error: asked.error,
        issuer: asked.iss,
    };
    match sign_in::end(&app, &declared, &headers, back).await {
        Ok(ended) => {
            // The provider has sent the browser to this address.
            let encrypted = app.secure || declared.address.starts_with("https://");
            let (cookie, _) = auth::begin(&app, ended.user, encrypted).await?;
            sent(&ended.return_to, &[cookie, sign_in::gone(&declared)])
        }
        Err(refused) => outside(&declared, refused),
    }
}

fn declared(app: &App) -> Result<SignIn> {
    app.workspace().project.file.sign_in.clone().ok_or_else(sign_in::none)
}

/// Shows the page at which one signs in, which says why one has not.
fn outside(declared: &SignIn, refused: Refused) -> Result<Response> {
    // One that has ended may have another one beside it, in another tab.
    let cookies = if refused == Refused::Expired { vec![] } else { vec![sign_in::gone(declared)] };
    sent(&format!("/?sign_in={}", refused.word()), &cookies)
}

/// Sends a browser on.
fn sent(to: &str, cookies: &[String]) -> Result<Response> {
    let value = |text: &str| {
        HeaderValue::from_str(text).map_err(|_| {
            Problem::invalid("an address or cookie has characters that are not allowed")
        })
    };
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(header::LOCATION, value(to)?);
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, value(cookie)?);
    }
    Ok(response)
}
