//! The `webhook` action: an HTTP request per delivery, or per batch of them.
//!
//! Every request carries an `Idempotency-Key`, the same for every attempt, so that the receiver can
//! tell a repetition: that of its delivery, or a digest of those of its batch, which is sent again
//! as it was. With a secret it carries `X-Flywheel-Signature: sha256=<hex>`, the HMAC-SHA256 of the
//! idempotency key, a full stop and the body. Redirects are not followed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use flywheel_base::{Error, Result, Secret, digest, quantity};
use futures::{StreamExt, stream};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, StatusCode, Url, redirect};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{Action, ActionConfig, ActionContext, Delivery, Outcome};
use crate::http::{
    PrivateAddress, PublicOnly, asked_wait, is_private_host, secret, secrets, without,
};

/// How long an answer is waited for unless the action says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest timeout that can be set.
const TIMEOUT_MAX: Duration = Duration::from_secs(300);

/// Requests under way at once unless the action says otherwise.
const PARALLEL: usize = 4;

/// Requests under way at most.
const PARALLEL_MAX: usize = 64;

/// Deliveries in one request at most.
const BATCH_MAX: usize = 10_000;

/// Bytes of an answer that are looked at.
const ANSWER_BYTES_MAX: usize = 4_096;

/// Sends deliveries to a URL.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookAction {
    /// Where requests go, `https://…`.
    pub url: String,
    /// The method, `POST` if not given.
    #[serde(default)]
    pub method: HttpMethod,
    /// More headers, for example `authorization`; take values from secrets.
    #[serde(default, deserialize_with = "secrets")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub headers: BTreeMap<String, Secret>,
    /// The secret that requests are signed with.
    #[serde(default, deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub secret: Option<Secret>,
    /// How many deliveries of a policy one request carries. With 1 the body is the payload; with more it is a
    /// list of objects with `key` and `payload`, and what was not acknowledged is sent again in the same request, under
    /// its key, unless `batch` has become smaller.
    #[serde(default)]
    pub batch: Option<usize>,
    /// How many requests are under way at once, 4 if not given.
    #[serde(default)]
    pub parallel: Option<usize>,
    /// How long an answer is waited for, `10s` if not given.
    #[serde(default)]
    pub timeout: Option<String>,
    /// Whether the URL may be an address of the own network.
    #[serde(default)]
    pub allow_private: bool,
}

/// The method of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// POST.
    #[default]
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
}

impl ActionConfig for WebhookAction {
    const ABOUT: &'static str = "sends deliveries to a URL, signed and with an idempotency key";

    fn build(self, _: &ActionContext) -> Result<Box<dyn Action>> {
        let url = checked_url(&self.url, self.allow_private)?;
        let client = client(self.timeout.as_deref(), self.header_map()?, self.allow_private)?;
        let method = match self.method {
            HttpMethod::Post => Method::POST,
            HttpMethod::Put => Method::PUT,
            HttpMethod::Patch => Method::PATCH,
        };
        let batch = self.batch.unwrap_or(1).clamp(1, BATCH_MAX);
        let parallel = self.parallel.unwrap_or(PARALLEL).clamp(1, PARALLEL_MAX);
        let secrets = self.secrets();
        let secret = self.secret;
        Ok(Box::new(Webhook { client, url, method, secret, secrets, batch, parallel }))
    }
}

/// The URL if it may be called; a host name is checked again each time it is resolved.
pub(super) fn checked_url(text: &str, allow_private: bool) -> Result<Url> {
    let url = Url::parse(text).map_err(|error| {
        Error::invalid("the webhook's `url` is not a URL")
            .caused_by(error)
            .hint("Write https://host/path.")
    })?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(Error::invalid(format!("the webhook's scheme is {}", url.scheme()))
            .hint("Write https://host/path."));
    }
    if !allow_private && is_private_host(&url) {
        let host = url.host_str().unwrap_or_default();
        return Err(Error::invalid(format!("the webhook's host {host} is a private address"))
            .hint("Set `allow_private: true` if this service of your own network is meant."));
    }
    Ok(url)
}

/// A client that follows no redirect and, unless it may, connects to no private address.
pub(super) fn client(
    timeout: Option<&str>,
    headers: HeaderMap,
    allow_private: bool,
) -> Result<Client> {
    let timeout = match timeout {
        None => TIMEOUT,
        Some(text) => Duration::from_micros(quantity::duration_us(text)?.unsigned_abs()),
    };
    let mut client = Client::builder()
        .timeout(timeout.min(TIMEOUT_MAX))
        .redirect(redirect::Policy::none())
        .default_headers(headers)
        // A proxy would resolve names itself, past the check of addresses.
        .no_proxy();
    if !allow_private {
        client = client.dns_resolver(Arc::new(PublicOnly));
    }
    client
        .build()
        .map_err(|error| Error::internal("the HTTP client cannot be made").caused_by(error))
}

impl WebhookAction {
    /// The values of headers, those of a kind such as `Bearer` without it too, and what requests are signed with.
    fn secrets(&self) -> Vec<Secret> {
        let values = self.headers.values().map(Secret::expose);
        let bare = values.clone().filter_map(|value| value.split_once(' ').map(|(_, bare)| bare));
        let secret = self.secret.as_ref().map(Secret::expose);
        values.chain(bare).chain(secret).map(Secret::new).collect()
    }

    fn header_map(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let wrong = || {
                Error::invalid(format!("the webhook's header \"{name}\" cannot be sent"))
                    .hint("Use letters, digits and - in the name, visible ASCII in the value.")
            };
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| wrong())?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        Ok(headers)
    }
}

struct Webhook {
    client: Client,
    url: Url,
    method: Method,
    secret: Option<Secret>,
    /// What must not be repeated.
    secrets: Vec<Secret>,
    batch: usize,
    parallel: usize,
}

#[async_trait]
impl Action for Webhook {
    async fn deliver(&self, batch: &[Delivery]) -> Vec<Outcome> {
        self.send_parts(batch.chunks(self.batch).collect()).await
    }

    fn together(&self) -> usize {
        self.batch
    }

    async fn deliver_together(&self, requests: &[Vec<Delivery>]) -> Vec<Outcome> {
        let mut parts = Vec::new();
        for request in requests {
            parts.extend(request.chunks(self.batch));
        }
        self.send_parts(parts).await
    }

    fn under_way(&self) -> usize {
        self.batch.saturating_mul(self.parallel)
    }
}

impl Webhook {
    /// Sends a request for each part.
    async fn send_parts(&self, parts: Vec<&[Delivery]>) -> Vec<Outcome> {
        let mut requests = Vec::with_capacity(parts.len());
        for part in parts {
            requests.push(self.send_part(part));
        }
        let outcomes: Vec<Vec<Outcome>> =
            stream::iter(requests).buffered(self.parallel).collect().await;
        outcomes.into_iter().flatten().collect()
    }

    /// Sends one request; every delivery in it has the same outcome.
    async fn send_part(&self, part: &[Delivery]) -> Vec<Outcome> {
        let outcome = self.send(part).await;
        vec![outcome; part.len()]
    }

    /// Sends one request; its outcome is that of all its deliveries.
    async fn send(&self, part: &[Delivery]) -> Outcome {
        let (key, body) = match part {
            [only] if self.batch == 1 => (header_key(&only.key), only.payload.to_string()),
            part => {
                let item = |d: &Delivery| json!({ "key": d.key, "payload": d.payload });
                let keys: Vec<&[u8]> = part.iter().map(|d| d.key.as_bytes()).collect();
                (digest::hex(&keys), Value::Array(part.iter().map(item).collect()).to_string())
            }
        };
        let Ok(header) = HeaderValue::from_str(&key) else {
            return Outcome::Rejected { reason: "the key cannot be sent as a header".to_owned() };
        };
        let mut request = self
            .client
            .request(self.method.clone(), self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", header);
        if let Some(secret) = &self.secret {
            request = request.header("X-Flywheel-Signature", signature(secret, &key, &body));
        }
        match request.body(body).send().await {
            Ok(response) => self.answered(response).await,
            // The address may hold a key.
            Err(error) => failed(&error.without_url()),
        }
    }

    /// What an answer means: done, later, or never.
    async fn answered(&self, response: reqwest::Response) -> Outcome {
        let status = response.status();
        if status.is_success() {
            let id = response.headers().get("x-request-id").and_then(|id| id.to_str().ok());
            let receipt = id.map_or_else(|| status.to_string(), |id| format!("{status}, {id}"));
            return Outcome::Delivered { receipt };
        }
        let after = asked_wait(response.headers(), None);
        let later = matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        );
        // Some receivers repeat what they refuse.
        let said = without(said(response).await, self.secrets.iter().map(Secret::expose));
        let reason = format!("{status} {said}").trim().to_owned();
        if later || status.is_server_error() {
            return Outcome::Retry { reason, after };
        }
        Outcome::Rejected { reason }
    }
}

/// A key as a header can carry it: as it is, or its digest if it has other signs than visible ASCII.
fn header_key(key: &str) -> String {
    if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return key.to_owned();
    }
    digest::hex(&[key.as_bytes()])
}

/// The signature of a request.
fn signature(secret: &Secret, key: &str, body: &str) -> String {
    let Some(mac) = mac(secret, key, body.as_bytes()) else { return String::new() };
    let hex: String =
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

/// Whether `given` is the signature that this action would give a request: `sha256=` and the HMAC-SHA256 of `key`, a
/// full stop and the body, compared in constant time. For requests that come in.
#[must_use]
pub fn is_signed(secret: &Secret, key: &str, body: &[u8], given: &str) -> bool {
    let Some(hex) = given.strip_prefix("sha256=").filter(|hex| hex.is_ascii()) else {
        return false;
    };
    let pairs = hex.as_bytes().chunks(2).map(|pair| {
        std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
    });
    let Some(bytes) = pairs.collect::<Option<Vec<u8>>>() else { return false };
    mac(secret, key, body).is_some_and(|mac| mac.verify_slice(&bytes).is_ok())
}

/// HMAC takes keys of every length, so there always is one.
fn mac(secret: &Secret, key: &str, body: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).ok()?;
    mac.update(key.as_bytes());
    mac.update(b".");
    mac.update(body);
    Some(mac)
}

/// The beginning of what an answer says.
pub(super) async fn said(mut response: reqwest::Response) -> String {
    let mut answer = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        answer.extend_from_slice(&chunk);
        if answer.len() >= ANSWER_BYTES_MAX {
            answer.truncate(ANSWER_BYTES_MAX);
            break;
        }
    }
    String::from_utf8_lossy(&answer).trim().to_owned()
}

/// What a request without answer means.
pub(super) fn failed(error: &reqwest::Error) -> Outcome {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut last = String::new();
    while let Some(inner) = cause {
        if let Some(private) = inner.downcast_ref::<PrivateAddress>() {
            return Outcome::Rejected {
                reason: format!("{private}; its action may call it with `allow_private: true`"),
            };
        }
        last = inner.to_string();
        cause = inner.source();
    }
    if error.is_connect() {
        return Outcome::Unreached { reason: format!("no connection: {last}") };
    }
    let what = if error.is_timeout() { "no answer in time" } else { "no answer" };
    Outcome::Retry { reason: format!("{what}: {last}"), after: None }
}

#[cfg(test)]
mod tests;
