//! Who somebody is, as an identity provider says: OpenID Connect's authorization code flow with PKCE.
//!
//! ```text
//! browser ─► Provider::address ─► the provider's page ─► code ─► Provider::person ─► Person
//!                  ▲ discovery, kept for an hour                     │ token endpoint, once
//!                                                                    └ keys, kept for an hour ─► checks
//! ```
//! A token is believed for its signature by a key of the provider, never for where it came from. Nothing is kept of a
//! person here, and nothing that a provider says is repeated but its words for errors. Only the server of the issuer, which an
//! operator chose, may be in the own network; http is for this machine.

mod keys;
mod token;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use flywheel_base::{Error, ErrorKind, Result, Secret, Timestamp};
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::http::{Call, Client, HttpSettings, form, real_pace};

use keys::Keys;
use token::Expected;

/// How long an answer of a provider is waited for: somebody sits before an empty page.
const TIMEOUT: &str = "10s";

/// The largest answer of a provider.
const ANSWER_BYTES_MAX: &str = "1MB";

/// How long what a provider says about itself is believed.
const DISCOVERY_LIFE_US: i64 = 3_600_000_000;

/// Where a provider says how it is reached, below its issuer.
const DISCOVERY_PATH: &str = ".well-known/openid-configuration";

/// Groups, roles and the like that one claim may list.
const TEXTS_MAX: usize = 1_000;

/// Which provider, and who asks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderSettings {
    /// The issuer, as the provider writes it.
    pub issuer: String,
    /// The id under which the provider knows us.
    pub client_id: String,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
}

/// What one sign-in is told apart by. All but `redirect` is drawn anew for each and used once.
#[derive(Clone, Debug)]
pub struct SignInRequest {
    /// Where the provider sends the browser back to.
    pub redirect: String,
    /// What comes back with the code.
    pub state: String,
    /// What comes back within the token.
    pub nonce: String,
    /// What proves to the provider that the code is used by who asked for it; 43 to 128 letters and digits.
    pub verifier: String,
}

/// Somebody, as a provider vouches for them.
#[derive(Clone, Debug)]
pub struct Person {
    /// Who says so.
    pub issuer: String,
    /// The provider's own name for them, which never changes hands.
    pub subject: String,
    claims: Map<String, Value>,
}

/// An identity provider.
#[derive(Debug)]
pub struct Provider {
    settings: ProviderSettings,
    home: Url,
    known: Mutex<Option<(Timestamp, Arc<Discovered>)>>,
    keys: Keys,
}

/// What a provider says about itself.
#[derive(Debug)]
struct Discovered {
    authorization: Url,
    token: Endpoint,
    keys: Endpoint,
    /// Whether the client's secret goes into the body instead of a header.
    secret_in_body: bool,
    /// Whether answers to the browser name the issuer.
    names_issuer: bool,
}

/// An address of the provider, and a client that may call it and nothing else.
#[derive(Debug)]
struct Endpoint {
    url: Url,
    client: Client,
}

/// The parts of `openid-configuration` that are used.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// What a token endpoint answers.
#[derive(Deserialize)]
struct Tokens {
    id_token: Option<String>,
    access_token: Option<String>,
}

/// What a token endpoint refuses with.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl Provider {
    /// A provider; asks nothing yet.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the issuer is no address of a web server, or plain http of another machine.
    pub fn new(settings: ProviderSettings) -> Result<Self> {
        let home = checked("issuer", &settings.issuer)?;
        Ok(Self { settings, home, known: Mutex::default(), keys: Keys::default() })
    }

    /// What it was made of.
    #[must_use]
    pub fn settings(&self) -> &ProviderSettings {
        &self.settings
    }

    /// The address to which the browser goes to sign in.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the provider gives no answer, [`ErrorKind::Invalid`] if what it says about itself is not
    /// what a provider says, or not about the issuer.
    pub async fn address(&self, request: &SignInRequest, now: Timestamp) -> Result<String> {
        let mut url = self.discovered(now).await?.authorization.clone();
        let mut scopes = vec!["openid"];
        scopes
            .extend(self.settings.scopes.iter().map(String::as_str).filter(|one| *one != "openid"));
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", &request.redirect)
            .append_pair("scope", &scopes.join(" "))
            .append_pair("state", &request.state)
            .append_pair("nonce", &request.nonce)
            .append_pair("code_challenge", &token::challenge(&request.verifier))
            .append_pair("code_challenge_method", "S256");
        Ok(url.into())
    }

    /// Who the code that came back is of. `issuer` is what came back beside it, if anything.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] if the provider refuses the code or its token cannot be believed,
    /// [`ErrorKind::Unavailable`] if it gives no answer, [`ErrorKind::Invalid`] if its answers are not those of a provider.
    pub async fn person(
        &self,
        (code, issuer): (&str, Option<&str>),
        request: &SignInRequest,
        secret: Option<&Secret>,
        now: Timestamp,
    ) -> Result<Person> {
        let known = self.discovered(now).await?;
        let named = issuer.is_none_or(|issuer| issuer == self.settings.issuer);
        if !named || (known.names_issuer && issuer.is_none()) {
            return Err(Error::new(
                ErrorKind::Denied,
                "the browser comes back from another provider than it was sent to",
            )
            .hint(
                "Sign in again; if it happens again, somebody stands between browser and provider.",
            ));
        }
        let tokens = self.tokens(&known, code, request, secret).await?;
        let Some(id_token) = tokens.id_token else {
            return Err(Error::invalid("the provider gives out no ID token").hint(
                "Let the client at the provider be one of OpenID Connect, with the scope openid.",
            ));
        };
        let (algorithm, kid) = token::signed_how(&id_token)?;
        let key = self.keys.find(&known.keys, kid.as_deref(), algorithm, now).await?;
        let expected = Expected {
            issuer: &self.settings.issuer,
            client_id: &self.settings.client_id,
            nonce: &request.nonce,
            access_token: tokens.access_token.as_deref(),
            now,
        };
        let claims = token::verified(&id_token, &key, algorithm, &expected)?;
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Person { issuer: self.settings.issuer.clone(), subject, claims })
    }

    /// Exchanges the code. It is sent once: a provider takes a second use for a theft.
    async fn tokens(
        &self,
        known: &Discovered,
        code: &str,
        request: &SignInRequest,
        secret: Option<&Secret>,
    ) -> Result<Tokens> {
        let id = self.settings.client_id.as_str();
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", request.redirect.as_str()),
            ("code_verifier", request.verifier.as_str()),
        ];
        match secret {
            Some(secret) if known.secret_in_body => {
                fields.extend([("client_id", id), ("client_secret", secret.expose())]);
            }
            Some(_) => {}
            None => fields.push(("client_id", id)),
        }
        let mut call = Call::new(Method::POST, known.token.url.as_str())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form(&fields)?.into_bytes())
            .once();
        if let Some(secret) = secret.filter(|_| !known.secret_in_body) {
            call = call.basic(&encoded(id)?, &encoded(secret.expose())?);
        }
        let answer = known.token.client.exchange(&call).await?;
        let status = answer.status;
        if status.is_server_error() {
            return Err(Error::unavailable(format!("the provider answers {status}"))
                .hint("Try again later, or ask who runs the provider."));
        }
        if !status.is_success() {
            let refusal: Option<Refusal> = serde_json::from_slice(&answer.body).ok();
            return Err(refused(status.as_u16(), refusal.map(|refusal| refusal.error).as_deref()));
        }
        // The text holds tokens, so the cause must not be kept.
        serde_json::from_slice(&answer.body).map_err(|_| {
            Error::invalid(
                "the token endpoint of the provider answers with something else than tokens",
            )
            .hint("Check `sign_in.issuer` of flywheel.yaml.")
        })
    }

    /// What the provider says about itself, asked for anew once an hour.
    async fn discovered(&self, now: Timestamp) -> Result<Arc<Discovered>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, known)) = known
            && is_fresh(at, now, DISCOVERY_LIFE_US)
        {
            return Ok(known);
        }
        let found = Arc::new(self.discover().await?);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((now, Arc::clone(&found)));
        Ok(found)
    }

    async fn discover(&self) -> Result<Discovered> {
        let home = self.endpoint("issuer", &self.settings.issuer)?;
        let path = self.home.path().trim_end_matches('/');
        let mut url = self.home.clone();
        url.set_path(&format!("{path}/{DISCOVERY_PATH}"));
        let answer = home.client.exchange(&Call::get(url.as_str())).await?;
        let answer = answer.accepted().map_err(|error| {
            error.hint("Check `sign_in.issuer` of flywheel.yaml: its address with /.well-known/openid-configuration behind it has to answer.")
        })?;
        let document: Document = serde_json::from_str(answer.json()?).map_err(|error| {
            Error::invalid(format!("what {url} says is not what an identity provider says"))
                .hint("Check `sign_in.issuer` of flywheel.yaml.")
                .caused_by(error)
        })?;
        if document.issuer != self.settings.issuer {
            let said = answer.clean(document.issuer);
            return Err(Error::invalid(format!(
                "the provider says that its issuer is {said}, and flywheel.yaml that it is {}",
                self.settings.issuer
            ))
            .hint("Write `sign_in.issuer` letter by letter as the provider does, also its last slash."));
        }
        let methods = document.token_endpoint_auth_methods_supported.unwrap_or_default();
        let has = |method: &str| methods.iter().any(|one| one == method);
        Ok(Discovered {
            authorization: checked("authorization_endpoint", &document.authorization_endpoint)?,
            token: self.endpoint("token_endpoint", &document.token_endpoint)?,
            keys: self.endpoint("jwks_uri", &document.jwks_uri)?,
            secret_in_body: has("client_secret_post") && !has("client_secret_basic"),
            names_issuer: document.authorization_response_iss_parameter_supported,
        })
    }

    fn endpoint(&self, key: &str, address: &str) -> Result<Endpoint> {
        let url = checked(key, address)?;
        let settings = HttpSettings {
            base_url: url.origin().ascii_serialization(),
            // The operator chose the issuer's server; what that server names elsewhere is on the open Internet.
            allow_private: url.host_str() == self.home.host_str(),
            timeout: Some(TIMEOUT.to_owned()),
            answer_bytes_max: Some(ANSWER_BYTES_MAX.to_owned()),
            retries: Some(0),
            ..HttpSettings::default()
        };
        let client = Client::new(settings, real_pace()).map_err(|error| {
            error.context(format!("the provider's `{key}`")).hint(
                "A provider of your own network has to have all of its addresses on the server of `sign_in.issuer`.",
            )
        })?;
        Ok(Endpoint { url, client })
    }
}

impl Person {
    /// The text of a claim, if there is one.
    ///
    /// # Errors
    /// As [`Person::texts`], and [`ErrorKind::Invalid`] if it has several texts.
    pub fn text(&self, claim: &str) -> Result<Option<String>> {
        let mut texts = self.texts(claim)?;
        if texts.len() > 1 {
            return Err(Error::invalid(format!("the claim `{claim}` has several texts"))
                .hint("Name a claim that has one text."));
        }
        Ok(texts.pop())
    }

    /// The texts of a claim, one or a list; `realm_access.roles` is one within another. None if it is absent.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is something else, longer than can be, or left out for its length.
    pub fn texts(&self, claim: &str) -> Result<Vec<String>> {
        let top = self.claims.get(claim);
        let found = top.or_else(|| {
            let mut parts = claim.split('.');
            let first = self.claims.get(parts.next()?)?;
            parts.try_fold(first, |value, part| value.get(part))
        });
        let wrong = || {
            Error::invalid(format!(
                "the claim `{claim}` of the ID token is neither a text nor a list of texts"
            ))
            .hint("Name another claim in flywheel.yaml, or change what the provider puts into it.")
        };
        let texts: Vec<String> = match found {
            // Entra ID leaves a list out that has more than 200 entries, and says where it could be asked for.
            None if self
                .claims
                .get("_claim_names")
                .is_some_and(|names| names.get(claim).is_some()) =>
            {
                return Err(Error::invalid(format!(
                    "the provider leaves out the claim `{claim}`, because it lists too much"
                ))
                .hint(
                    "Let the provider list only the groups that are assigned to this application.",
                ));
            }
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
                .collect::<Result<_>>()?,
            Some(_) => return Err(wrong()),
        };
        if texts.len() > TEXTS_MAX {
            return Err(Error::exhausted(format!(
                "the claim `{claim}` lists {} texts; {TEXTS_MAX} can be read",
                texts.len()
            ))
            .hint("Let the provider list only the groups that are assigned to this application."));
        }
        Ok(texts)
    }
}

/// Whether what was read at `at` still holds; a clock that was set back makes nothing last longer.
fn is_fresh(at: Timestamp, now: Timestamp, life_us: i64) -> bool {
    (0..life_us).contains(&(now.micros() - at.micros()))
}

/// An address of a provider: https, or http on this machine.
fn checked(key: &str, text: &str) -> Result<Url> {
    let wrong = |problem: &str| {
        Error::invalid(format!("`{key}` of the identity provider {problem}"))
            .hint("It has to be an address such as https://id.example.com/path; http is for this machine only.")
    };
    let url = Url::parse(text).map_err(|error| wrong("is no URL").caused_by(error))?;
    let Some(host) = url.host_str() else { return Err(wrong("names no server")) };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let here = host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match url.scheme() {
        "https" => {}
        "http" if here => {}
        _ => return Err(wrong("is neither https nor on this machine")),
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(wrong("has a user name, a password or a #"));
    }
    Ok(url)
}

/// A text as a part of a form: so says OAuth 2 what stands in the header of a client with a secret.
fn encoded(text: &str) -> Result<String> {
    Ok(form(&[("", text)])?.trim_start_matches('=').to_owned())
}

/// What a refused code means. Of what the provider says only its own word for the error is repeated.
fn refused(status: u16, word: Option<&str>) -> Error {
    let plain =
        |word: &&str| word.len() <= 40 && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let word = word.filter(plain);
    let said = word.map(|word| format!(" ({word})")).unwrap_or_default();
    let error =
        Error::new(ErrorKind::Denied, format!("the provider refuses the code with {status}{said}"));
    match word {
        Some("invalid_client" | "unauthorized_client") => error.hint(
            "Check `sign_in.client_id` and `sign_in.client_secret` of flywheel.yaml against the provider.",
        ),
        _ => error.hint("Sign in again. If it stays so, compare the redirect address at the provider with `sign_in.address` of flywheel.yaml, followed by /v1/sign-in/callback."),
    }
}

#[cfg(test)]
mod tests;
