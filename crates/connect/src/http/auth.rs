//! How a client shows who it is.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use flywheel_base::{Error, ErrorKind, Result, Secret, Timestamp};
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::client::{Call, Client, form};
use super::{needed_secret, secret};

/// How long before its end a token is renewed.
const RENEW_BEFORE: Duration = Duration::from_secs(60);

/// How long a token lives of which the server does not say it.
const LIFE_UNTOLD: Duration = Duration::from_secs(30 * 60);

/// How a connection shows who it is. Take secrets from references, `${env:NAME}`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Auth {
    /// User name and password.
    Basic {
        /// The user name.
        username: String,
        /// The password.
        #[serde(deserialize_with = "needed_secret")]
        #[schemars(with = "String")]
        password: Secret,
    },
    /// A token in the header `Authorization: Bearer …`.
    Bearer {
        /// The token.
        #[serde(deserialize_with = "needed_secret")]
        #[schemars(with = "String")]
        token: Secret,
    },
    /// A key in a header of its own.
    Header {
        /// The header's name, `X-Api-Key`.
        name: String,
        /// The key.
        #[serde(deserialize_with = "needed_secret")]
        #[schemars(with = "String")]
        value: Secret,
    },
    /// A key as a parameter of the URL.
    Query {
        /// The parameter's name, `api_key`.
        name: String,
        /// The key.
        #[serde(deserialize_with = "needed_secret")]
        #[schemars(with = "String")]
        value: Secret,
    },
    /// OAuth 2: a token is fetched, renewed before it ends, and once more if the server refuses it.
    /// With a refresh token it is used, otherwise the client's own credentials.
    Oauth2 {
        /// Where tokens are given out, `https://…/token`.
        token_url: String,
        /// The client's id.
        client_id: String,
        /// The client's secret; public clients have none.
        #[serde(default, deserialize_with = "secret")]
        #[schemars(with = "Option<String>")]
        client_secret: Option<Secret>,
        /// The refresh token, if the connection acts for a user. It must stay valid: one that the
        /// server replaces is used only until the program ends.
        #[serde(default, deserialize_with = "secret")]
        #[schemars(with = "Option<String>")]
        refresh_token: Option<Secret>,
        /// The scopes that are asked for, with spaces between them.
        #[serde(default)]
        scope: Option<String>,
        /// Whether the client's id and secret are sent as user name and password instead of in the
        /// body.
        #[serde(default)]
        basic: bool,
    },
}

/// A token and when it ends.
#[derive(Clone, Debug)]
struct Token {
    value: Secret,
    renew_at: Timestamp,
}

/// The state of a client's authentication.
#[derive(Debug)]
pub(super) struct Credentials {
    auth: Option<Auth>,
    token: Mutex<Option<Token>>,
    /// A refresh token that took the place of the declared one.
    replaced: Mutex<Option<Secret>>,
    /// Lets one renewal happen at a time: a refresh token may be good for one use only.
    turnstile: Semaphore,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Option<String>,
    expires_in: Option<serde_json::Value>,
    refresh_token: Option<String>,
}

impl Credentials {
    pub(super) fn new(auth: Option<Auth>) -> Result<Self> {
        if let Some(Auth::Header { name, value }) = &auth {
            let name_fits = HeaderName::from_bytes(name.as_bytes()).is_ok();
            if !name_fits || HeaderValue::from_str(value.expose()).is_err() {
                return Err(Error::invalid(format!("the header \"{name}\" cannot be sent"))
                    .hint("Use letters, digits and - in the name, visible ASCII in the value."));
            }
        }
        if let Some(Auth::Bearer { token }) = &auth
            && HeaderValue::from_str(token.expose()).is_err()
        {
            return Err(Error::invalid("the bearer token cannot be sent")
                .hint("A token is one line of visible ASCII; look for a line break at its end."));
        }
        let (token, replaced) = (Mutex::new(None), Mutex::new(None));
        Ok(Self { auth, token, replaced, turnstile: Semaphore::new(1) })
    }

    /// What must never be shown.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        let mut secrets = match &self.auth {
            None => Vec::new(),
            Some(
                Auth::Basic { password: value, .. }
                | Auth::Bearer { token: value }
                | Auth::Header { value, .. }
                | Auth::Query { value, .. },
            ) => vec![value.clone()],
            Some(Auth::Oauth2 { client_secret, refresh_token, .. }) => {
                client_secret.iter().chain(refresh_token).cloned().collect()
            }
        };
        let replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.extend(replaced.iter().cloned());
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.extend(token.iter().map(|token| token.value.clone()));
        secrets
    }

    /// The parameter of the URL that holds a key.
    pub(super) fn query(&self) -> Option<(&str, &Secret)> {
        match &self.auth {
            Some(Auth::Query { name, value }) => Some((name, value)),
            _ => None,
        }
    }

    /// Whether a refused token can be renewed.
    pub(super) fn renewable(&self) -> bool {
        matches!(self.auth, Some(Auth::Oauth2 { .. }))
    }

    /// Forgets the token if it is the one that was refused.
    pub(super) fn refuse(&self, used: Option<&Secret>) {
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if token.as_ref().map(|token| &token.value) == used {
            *token = None;
        }
    }

    /// Forgets the token there is.
    pub(super) fn forget(&self) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The token to use, fetched or renewed if need be; nothing without OAuth 2.
    pub(super) async fn token(&self, client: &Client) -> Result<Option<Secret>> {
        if !self.renewable() {
            return Ok(None);
        }
        if let Some(token) = self.current(client.now()) {
            return Ok(Some(token));
        }
        let _turn = self.turnstile.acquire().await.map_err(|error| {
            Error::internal("the renewal of tokens was closed").caused_by(error)
        })?;
        if let Some(token) = self.current(client.now()) {
            return Ok(Some(token));
        }
        self.fetch(client).await.map(Some)
    }

    fn current(&self, now: Timestamp) -> Option<Secret> {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        token.as_ref().filter(|token| now < token.renew_at).map(|token| token.value.clone())
    }

    async fn fetch(&self, client: &Client) -> Result<Secret> {
        let Some(Auth::Oauth2 { token_url, client_id, client_secret, refresh_token, scope, basic }) =
            &self.auth
        else {
            return Err(Error::internal("a token is fetched without OAuth 2"));
        };
        let replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let refresh = replaced.as_ref().or(refresh_token.as_ref());
        let mut fields = match refresh {
            Some(token) => vec![("grant_type", "refresh_token"), ("refresh_token", token.expose())],
            None => vec![("grant_type", "client_credentials")],
        };
        fields.extend(scope.as_ref().map(|scope| ("scope", scope.as_str())));
        let secret = client_secret.as_ref().map_or("", Secret::expose);
        if !basic {
            fields.push(("client_id", client_id.as_str()));
            if client_secret.is_some() {
                fields.push(("client_secret", secret));
            }
        }
        let mut call = Call::new(Method::POST, token_url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form(&fields)?.into_bytes());
        if *basic {
            call = call.basic(client_id, secret);
        }
        let answer = client.fetch_token(&call).await?;
        if !answer.status.is_success() {
            let error = answer.error();
            let refused = matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Denied);
            let error = if refused {
                Error::new(ErrorKind::Denied, error.message()).hint(
                    "Check `client_id`, `client_secret` and `refresh_token`; a refresh token that was withdrawn must be granted anew.",
                )
            } else {
                error
            };
            return Err(error.context("no token is given out"));
        }
        let text = answer.json()?;
        // The text holds the token, so the cause must not be kept.
        let parsed: Option<TokenAnswer> = serde_json::from_str(text).ok();
        let Some(TokenAnswer { access_token: Some(value), expires_in, refresh_token }) = parsed
        else {
            return Err(Error::invalid("the answer of `token_url` has no access_token")
                .hint("Check `token_url` against the API's reference."));
        };
        let life = expires_in.as_ref().and_then(|life| match life {
            serde_json::Value::String(text) => text.parse().ok(),
            life => life.as_u64(),
        });
        let life = life.map_or(LIFE_UNTOLD, Duration::from_secs);
        // A token that lives for less than two minutes is renewed at half of its life.
        let life = life.saturating_sub(RENEW_BEFORE.min(life / 2));
        let life_us = i64::try_from(life.as_micros()).unwrap_or(i64::MAX);
        let value = Secret::new(value);
        let token = Token { value: value.clone(), renew_at: client.now().plus_micros(life_us) };
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        if let Some(refresh_token) = refresh_token {
            let replaced = Some(Secret::new(refresh_token));
            *self.replaced.lock().unwrap_or_else(PoisonError::into_inner) = replaced;
        }
        tracing::debug!("a token was fetched");
        Ok(value)
    }

    /// Puts the credentials into a request.
    pub(super) fn sign(
        &self,
        request: reqwest::RequestBuilder,
        token: Option<&Secret>,
    ) -> reqwest::RequestBuilder {
        match &self.auth {
            Some(Auth::Basic { username, password }) => {
                request.basic_auth(username, Some(password.expose()))
            }
            Some(Auth::Bearer { token }) => request.bearer_auth(token.expose()),
            Some(Auth::Header { name, value }) => match HeaderValue::from_str(value.expose()) {
                Ok(mut value) => {
                    value.set_sensitive(true);
                    request.header(name, value)
                }
                Err(_) => request,
            },
            Some(Auth::Oauth2 { .. }) => match token {
                Some(token) => request.bearer_auth(token.expose()),
                None => request,
            },
            Some(Auth::Query { .. }) | None => request,
        }
    }
}
