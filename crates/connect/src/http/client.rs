//! Sending: limits, retries, redirects and the size of answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flywheel_base::{Error, ErrorKind, Result, Rng, Secret, Timestamp, digest, quantity};
use reqwest::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use reqwest::{Method, StatusCode, Url, redirect};

use super::answer::{Answer, asked_wait};
use super::auth::{Auth, Credentials};
use super::limit::{Admit, Limiter, Limits};
use super::pace::Pace;
use super::{PrivateAddress, PublicOnly, is_private_host};

/// How long an answer is waited for unless the connection says otherwise.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The longest timeout that can be set.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// How long a connection to the server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// The largest answer unless the connection says otherwise.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// How often a request is tried again unless the connection says otherwise.
const RETRIES: u32 = 5;

/// How often a request can be tried again.
const RETRIES_MAX: u32 = 20;

/// The first wait before another try; it doubles each time.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);

/// The longest wait between two tries if the server does not ask for one.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// The longest wait a server may ask for before the run gives up and comes back later.
const WAIT_MAX: Duration = Duration::from_secs(15 * 60);

/// How long a server is left alone that has too many requests and does not say until when.
const BUSY_WAIT: Duration = Duration::from_secs(10);

/// Redirects that are followed.
const REDIRECTS_MAX: usize = 5;

/// What a client is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct HttpSettings {
    /// Where every path starts.
    pub(crate) base_url: String,
    /// How the client shows who it is.
    pub(crate) auth: Option<Auth>,
    /// Headers of every request.
    pub(crate) headers: BTreeMap<String, Secret>,
    /// How many requests it sends at most.
    pub(crate) limits: Limits,
    /// How often a request is tried again.
    pub(crate) retries: Option<u32>,
    /// How long an answer is waited for.
    pub(crate) timeout: Option<String>,
    /// The largest answer.
    pub(crate) answer_bytes_max: Option<String>,
    /// Whether addresses of the own network may be called.
    pub(crate) allow_private: bool,
    /// How a server tells what is left of its quota, and what share of it is not for us.
    pub(crate) quota: Option<Quota>,
}

/// A quota that the server counts and reports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    /// The share that is left to others, 0 to 1.
    pub(crate) reserve: f64,
    /// Reads (left, limit) from the headers of an answer.
    pub(crate) read: fn(&HeaderMap) -> Option<(u64, u64)>,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    method: Method,
    address: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    basic: Option<(String, Secret)>,
    once: bool,
    timeout: Option<Duration>,
}

impl Call {
    /// A request to a path below the base URL, or to a URL of the same server.
    pub(crate) fn new(method: Method, address: &str) -> Self {
        Self {
            method,
            address: address.to_owned(),
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            basic: None,
            once: false,
            timeout: None,
        }
    }

    /// A read.
    pub(crate) fn get(address: &str) -> Self {
        Self::new(Method::GET, address)
    }

    /// A request with a JSON body.
    pub(crate) fn json(method: Method, address: &str, body: String) -> Self {
        Self::new(method, address)
            .header("content-type", "application/json")
            .body(body.into_bytes())
    }

    /// Adds a parameter of the URL.
    pub(crate) fn param(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.query.push((name.into(), value.into()));
        self
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Gives it a body.
    pub(crate) fn body(mut self, body: Vec<u8>) -> Self {
        self.body = Some(body);
        self
    }

    /// Forbids to send it again if it may have had its effect: a second one would double rows.
    pub(crate) fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// Waits so long for the answer, whatever the connection says.
    pub(crate) fn patient(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Gives it a user name and password of its own.
    pub(crate) fn basic(mut self, name: &str, password: &str) -> Self {
        self.basic = Some((name.to_owned(), Secret::new(password)));
        self
    }
}

/// An HTTP client of one connection.
#[derive(Debug)]
pub(crate) struct Client {
    client: reqwest::Client,
    base: Url,
    credentials: Credentials,
    header_secrets: Vec<Secret>,
    limiter: Mutex<Limiter>,
    retries: u32,
    answer_bytes_max: usize,
    quota: Option<Quota>,
    pace: Arc<dyn Pace>,
    rng: Mutex<Rng>,
}

/// Why a request that is sent once has no answer that says what became of it.
#[derive(Debug)]
pub(crate) struct Unanswered {
    /// What went wrong.
    pub(crate) error: Error,
    /// Whether the server may have done what it was asked for.
    pub(crate) perhaps_done: bool,
    /// How long the server asks to wait before the next request, if it does.
    pub(crate) wait: Option<Duration>,
}

impl Unanswered {
    /// Nothing has left.
    fn unsent(error: Error) -> Self {
        Self { error, perhaps_done: false, wait: None }
    }
}

/// Why there is no answer.
struct NoAnswer {
    error: Error,
    /// Whether another try may help.
    again: bool,
    /// Whether the server may have seen the request.
    sent: bool,
}

impl Client {
    /// Makes a client; sends nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if a setting is impossible.
    pub(crate) fn new(settings: HttpSettings, pace: Arc<dyn Pace>) -> Result<Self> {
        let base = checked_url("base_url", &settings.base_url, settings.allow_private)?;
        if let Some(Auth::Oauth2 { token_url, .. }) = &settings.auth {
            checked_url("token_url", token_url, settings.allow_private)?;
        }
        let timeout = match &settings.timeout {
            None => TIMEOUT,
            Some(text) => Duration::from_micros(quantity::duration_us(text)?.unsigned_abs()),
        };
        let bytes_max = match &settings.answer_bytes_max {
            None => ANSWER_BYTES_MAX,
            Some(text) => quantity::size_bytes(text)?,
        };
        let mut client = reqwest::Client::builder()
            .timeout(timeout.min(TIMEOUT_MAX))
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .default_headers(header_map(&settings.headers)?)
            // A proxy would resolve names itself, past the check of addresses.
            .no_proxy();
        if !settings.allow_private {
            client = client.dns_resolver(Arc::new(PublicOnly));
        }
        let client = client
            .build()
            .map_err(|error| Error::internal("the HTTP client cannot be made").caused_by(error))?;
        Ok(Self {
            client,
            credentials: Credentials::new(settings.auth)?,
            header_secrets: settings.headers.into_values().collect(),
            limiter: Mutex::new(Limiter::new(&settings.limits)?),
            retries: settings.retries.unwrap_or(RETRIES).min(RETRIES_MAX),
            answer_bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
            quota: settings.quota,
            rng: Mutex::new(Rng::new(digest::hash64(&[base.as_str().as_bytes()]))),
            base,
            pace,
        })
    }

    /// The present moment.
    pub(crate) fn now(&self) -> Timestamp {
        self.pace.now()
    }

    /// Fetches a new token before the next request: a server refused the one there is in an answer that is
    /// none of HTTP's refusals.
    pub(crate) fn renew_token(&self) {
        self.credentials.forget();
    }

    /// Waits.
    pub(crate) async fn sleep(&self, wait: Duration) {
        self.pace.sleep(wait).await;
    }

    /// Sends a request; the answer is a success.
    ///
    /// # Errors
    /// What the answer means if it is none, and as [`Client::exchange`].
    pub(crate) async fn send(&self, call: &Call) -> Result<Answer> {
        self.exchange(call).await?.accepted()
    }

    /// Sends a request until it has an answer that another try would not change; that can be a
    /// refusal.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if all tries failed, [`ErrorKind::Exhausted`] if a quota is used
    /// up or the answer is too large.
    pub(crate) async fn exchange(&self, call: &Call) -> Result<Answer> {
        let mut url = self.url(call)?;
        let (mut tries, mut renewed, mut redirects) = (0, false, 0);
        loop {
            let token = self.credentials.token(self).await?;
            self.admit().await?;
            let (error, asked) = match self.once(call, &url, token.as_ref()).await {
                Ok(answer) => {
                    let status = answer.status;
                    if status == StatusCode::UNAUTHORIZED
                        && self.credentials.renewable()
                        && !renewed
                    {
                        self.credentials.refuse(token.as_ref());
                        renewed = true;
                        continue;
                    }
                    if status.is_redirection() && call.method == Method::GET {
                        url = self.redirected(&url, &answer)?;
                        redirects += 1;
                        if redirects > REDIRECTS_MAX {
                            return Err(Error::invalid(format!(
                                "{} is redirected in circles",
                                answer.asked
                            ))
                            .hint("Set `base_url` and `path` to the address that answers."));
                        }
                        continue;
                    }
                    let asked = asked_wait(&answer.headers, Some(self.now()));
                    if !is_temporary(&answer, call.once, asked.is_some()) {
                        self.note_quota(&answer);
                        return Ok(answer);
                    }
                    (answer.error(), asked)
                }
                Err(no_answer) if no_answer.again && !(call.once && no_answer.sent) => {
                    (no_answer.error, None)
                }
                Err(no_answer) => return Err(no_answer.error),
            };
            tries += 1;
            if tries > self.retries {
                return Err(error.context(format!("given up after {tries} tries")));
            }
            self.back_off(tries, asked, error).await?;
        }
    }

    /// Sends a request one time, for callers that keep what they send and come back by themselves; a token that the server
    /// refuses is renewed first. The answer can be a refusal.
    pub(crate) async fn attempt(&self, call: &Call) -> Result<Answer, Unanswered> {
        let url = self.url(call).map_err(Unanswered::unsent)?;
        let mut renewed = false;
        loop {
            let token = self.credentials.token(self).await.map_err(Unanswered::unsent)?;
            self.admit().await.map_err(Unanswered::unsent)?;
            let answer = match self.once(call, &url, token.as_ref()).await {
                Ok(answer) => answer,
                Err(NoAnswer { error, sent, .. }) => {
                    return Err(Unanswered { error, perhaps_done: sent, wait: None });
                }
            };
            let refused = answer.status == StatusCode::UNAUTHORIZED;
            if refused && self.credentials.renewable() && !renewed {
                self.credentials.refuse(token.as_ref());
                renewed = true;
                continue;
            }
            let asked = asked_wait(&answer.headers, Some(self.now()));
            if !is_temporary(&answer, false, asked.is_some()) {
                self.note_quota(&answer);
                return Ok(answer);
            }
            // Who has too many requests does nothing about them.
            let busy = matches!(answer.status.as_u16(), 403 | 429);
            let wait = asked.or_else(|| busy.then_some(BUSY_WAIT));
            let error = answer.error();
            return Err(Unanswered { error, perhaps_done: !busy, wait });
        }
    }

    /// Waits before another try.
    async fn back_off(&self, tries: u32, asked: Option<Duration>, error: Error) -> Result<()> {
        let wait = match asked {
            Some(asked) if asked > WAIT_MAX => {
                let seconds = asked.as_secs();
                return Err(error.context(format!("the server asks to wait for {seconds} s")));
            }
            Some(asked) => {
                let us = i64::try_from(asked.as_micros()).unwrap_or(i64::MAX);
                let until = self.now().plus_micros(us);
                self.limiter.lock().unwrap_or_else(PoisonError::into_inner).hold(until);
                asked
            }
            None => {
                let doubled = BACKOFF_FIRST.saturating_mul(1 << tries.saturating_sub(1).min(16));
                let jitter = self.rng.lock().unwrap_or_else(PoisonError::into_inner).uniform();
                doubled.min(BACKOFF_MAX).mul_f64(0.5 + 0.5 * jitter)
            }
        };
        let wait_ms = wait.as_millis() as u64;
        tracing::debug!(host = self.base.host_str(), tries, wait_ms, error = %error, "a request is tried again");
        self.pace.sleep(wait).await;
        Ok(())
    }

    /// Waits until the limits let a request through.
    async fn admit(&self) -> Result<()> {
        loop {
            let admit =
                self.limiter.lock().unwrap_or_else(PoisonError::into_inner).admit(self.now())?;
            match admit {
                Admit::Now => return Ok(()),
                Admit::Wait(us) => self.pace.sleep(Duration::from_micros(us.unsigned_abs())).await,
            }
        }
    }

    /// Takes note of what the server says is left; the next request stops if the reserve is reached.
    fn note_quota(&self, answer: &Answer) {
        let Some(quota) = self.quota else { return };
        let Some((left, limit)) = (quota.read)(&answer.headers) else { return };
        let spent = limit > 0 && left as f64 <= limit as f64 * quota.reserve;
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        limiter.report(spent.then_some((left, limit)));
    }

    /// Fetches a token: its own address, no credentials but its own, the same retries.
    pub(super) async fn fetch_token(&self, call: &Call) -> Result<Answer> {
        let url =
            Url::parse(&call.address).map_err(|_| Error::invalid("`token_url` is not a URL"))?;
        let mut tries = 0;
        loop {
            let (error, asked) = match self.once(call, &url, None).await {
                Ok(answer) => {
                    let asked = asked_wait(&answer.headers, Some(self.now()));
                    if !is_temporary(&answer, false, asked.is_some()) {
                        return Ok(answer);
                    }
                    (answer.error(), asked)
                }
                Err(no_answer) if no_answer.again => (no_answer.error, None),
                Err(no_answer) => return Err(no_answer.error),
            };
            tries += 1;
            if tries > self.retries {
                return Err(error.context("no token is given out"));
            }
            self.back_off(tries, asked, error).await?;
        }
    }

    /// Sends a request one time.
    async fn once(
        &self,
        call: &Call,
        url: &Url,
        token: Option<&Secret>,
    ) -> Result<Answer, NoAnswer> {
        let asked = asked(&call.method, url);
        let mut request = self.client.request(call.method.clone(), url.clone());
        if !call.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("accept")) {
            request = request.header(ACCEPT, "application/json");
        }
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        request = match &call.basic {
            Some((name, password)) => request.basic_auth(name, Some(password.expose())),
            None => self.credentials.sign(request, token),
        };
        if let Some(body) = &call.body {
            request = request.body(body.clone());
        }
        if let Some(timeout) = call.timeout {
            request = request.timeout(timeout);
        }
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Err(no_answer(&asked, error)),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > self.answer_bytes_max => {
                    let limit = self.answer_bytes_max;
                    let error = Error::exhausted(format!(
                        "the answer of {asked} is larger than {limit} bytes"
                    ))
                    .hint(
                        "Ask for fewer rows at once, or raise the connection's `answer_bytes_max`.",
                    );
                    return Err(NoAnswer { error, again: false, sent: true });
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return Err(no_answer(&asked, error)),
            }
        }
        let mut secrets = self.credentials.secrets();
        secrets.extend(self.header_secrets.iter().cloned());
        secrets.extend(token.cloned());
        Ok(Answer { status, headers, body, asked, secrets })
    }

    /// The URL of a call, with its parameters and a key that belongs into it.
    fn url(&self, call: &Call) -> Result<Url> {
        let mut url = self.resolve(&call.address)?;
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        if let Some((name, value)) = self.credentials.query() {
            url.query_pairs_mut().append_pair(name, value.expose());
        }
        Ok(url)
    }

    /// A path below the base URL, or a URL of the same server.
    fn resolve(&self, address: &str) -> Result<Url> {
        if !address.contains("://") {
            let base = self.base.as_str().trim_end_matches('/');
            let path = address.trim_start_matches('/');
            let joined = if path.is_empty() { base.to_owned() } else { format!("{base}/{path}") };
            return Url::parse(&joined).map_err(|error| {
                Error::invalid(format!("the path \"{address}\" makes no URL")).caused_by(error)
            });
        }
        let url = Url::parse(address).map_err(|error| {
            Error::invalid("the server names an address that is no URL").caused_by(error)
        })?;
        self.same_server(&url)?;
        Ok(url)
    }

    fn same_server(&self, url: &Url) -> Result<()> {
        if url.origin() == self.base.origin() {
            return Ok(());
        }
        let (host, ours) = (url.host_str().unwrap_or("?"), self.base.host_str().unwrap_or("?"));
        Err(Error::new(ErrorKind::Denied, format!("{ours} sends on to another server, {host}"))
            .hint("Credentials go to one server only: set `base_url` to the one that is meant."))
    }

    /// An address that the server names, as it can be kept and called later: of the same server, and
    /// without a key that may be in it.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] if it is one of another server.
    pub(crate) fn named(&self, from: &str, address: &str) -> Result<String> {
        let from = self.resolve(from)?;
        let mut url = from.join(address).map_err(|error| {
            Error::invalid("the server names an address that is no URL").caused_by(error)
        })?;
        self.same_server(&url)?;
        if let Some((name, _)) = self.credentials.query() {
            let kept: Vec<(String, String)> = url
                .query_pairs()
                .filter(|(key, _)| key != name)
                .map(|(k, v)| (k.into_owned(), v.into_owned()))
                .collect();
            url.query_pairs_mut().clear().extend_pairs(kept);
        }
        Ok(url.into())
    }

    fn redirected(&self, from: &Url, answer: &Answer) -> Result<Url> {
        let location = answer.headers.get(LOCATION).and_then(|to| to.to_str().ok());
        let Some(location) = location else { return Err(answer.error()) };
        let to = from.join(location).map_err(|_| answer.error())?;
        self.same_server(&to)?;
        Ok(to)
    }
}

/// Whether another try may have a better answer.
fn is_temporary(answer: &Answer, once: bool, asked: bool) -> bool {
    match answer.status.as_u16() {
        429 => true,
        // Some servers say "forbidden" for "slow down", and when to come back.
        403 => asked,
        503 => true,
        // The server may have done it all the same.
        408 | 425 | 500..=599 => !once,
        _ => false,
    }
}

/// A request in words, without what may be secret in its parameters.
fn asked(method: &Method, url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!(
        "{method} {}://{}{port}{}",
        url.scheme(),
        url.host_str().unwrap_or_default(),
        url.path()
    )
}

fn no_answer(asked: &str, error: reqwest::Error) -> NoAnswer {
    let error = error.without_url();
    let (timeout, connect) = (error.is_timeout(), error.is_connect());
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    let mut last = String::new();
    while let Some(inner) = cause {
        if let Some(private) = inner.downcast_ref::<PrivateAddress>() {
            let error = Error::new(ErrorKind::Denied, private.to_string())
                .hint("Set `allow_private: true` if this service of your own network is meant.");
            return NoAnswer { error, again: false, sent: false };
        }
        last = inner.to_string();
        cause = inner.source();
    }
    if error.is_builder() {
        let error = Error::invalid(format!("{asked} cannot be sent: {last}"))
            .hint("Check the names and values of headers: visible ASCII only.");
        return NoAnswer { error, again: false, sent: false };
    }
    let what = if timeout { "gives no answer in time" } else { "gives no answer" };
    let error = Error::unavailable(format!("{asked} {what}: {last}"))
        .hint("Check the host, the network and `timeout`; it can be tried again.");
    NoAnswer { error, again: true, sent: !connect }
}

/// A URL that may be called; a host name is checked again each time it is resolved.
fn checked_url(key: &str, text: &str, allow_private: bool) -> Result<Url> {
    let url = Url::parse(text).map_err(|error| {
        Error::invalid(format!("`{key}` is not a URL"))
            .caused_by(error)
            .hint("Write https://host/path.")
    })?;
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() {
        return Err(Error::invalid(format!("`{key}` has the scheme {}", url.scheme()))
            .hint("Write https://host/path."));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::invalid(format!("`{key}` holds a user name or a password"))
            .hint("Put them into `auth: {type: basic, …}`, as references."));
    }
    if !allow_private && is_private_host(&url) {
        let host = url.host_str().unwrap_or_default();
        return Err(Error::invalid(format!("the host {host} of `{key}` is a private address"))
            .hint("Set `allow_private: true` if this service of your own network is meant."));
    }
    Ok(url)
}

fn header_map(declared: &BTreeMap<String, Secret>) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("flywheel/", env!("CARGO_PKG_VERSION"))),
    );
    for (name, value) in declared {
        let wrong = || {
            Error::invalid(format!("the header \"{name}\" cannot be sent"))
                .hint("Use letters, digits and - in the name, visible ASCII in the value.")
        };
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

/// Fields in the form of a web form.
///
/// # Errors
/// Never in practice: the URL it is made with is a constant.
pub(crate) fn form(fields: &[(&str, &str)]) -> Result<String> {
    let mut url = Url::parse("http://form/")
        .map_err(|error| Error::internal("a form cannot be written").caused_by(error))?;
    url.query_pairs_mut().extend_pairs(fields);
    Ok(url.query().unwrap_or_default().to_owned())
}
