//! Keys that stand in web pages for everybody to read: they hand in events of one topic, and which decisions somebody has
//! seen, from pages of some sites, and do nothing else.
//!
//! A browser says truly which site a page is of, so a key does not work in pages of others. A program can say anything: what
//! comes in by such a key is what anybody may claim, which is why it has a topic of its own and narrow limits.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use flywheel_state::{ApiToken, User};

use crate::app::App;
use crate::auth;
use crate::problem::{Problem, Result};
use crate::site;

/// How such a key begins.
pub(crate) const PREFIX: &str = "fwp_";
/// The scope that says which topic, before its name.
pub(crate) const TOPIC_SCOPE: &str = "topic:";
/// The topic of a key that names none.
pub(crate) const TOPIC_DEFAULT: &str = "web";
/// The only addresses it works at.
const ADDRESSES: [&str; 2] = ["/v1/events", "/v1/exposures"];

/// Bytes of one request.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 10;
/// Events of one request.
pub(crate) const EVENTS_MAX: usize = 100;
/// Bytes of one event.
pub(crate) const EVENT_BYTES_MAX: usize = 8 << 10;
/// The longest name of an event.
pub(crate) const NAME_BYTES_MAX: usize = 100;
/// Events of one key within a minute.
const EVENTS_A_MINUTE_MAX: u64 = 60_000;
/// Requests of one address by one key within a minute, those with mistakes included.
const ASKS_OF_ADDRESS_MAX: u64 = 240;
/// Events of one address by one key within a minute.
const EVENTS_OF_ADDRESS_MAX: u64 = 2_000;

/// A key, as a request was sent with it.
#[derive(Clone, Debug)]
pub(crate) struct PageKey {
    /// Its public id.
    pub(crate) id: String,
    /// The topic that it hands in events of.
    pub(crate) topic: String,
    /// The address that asks, as far as it is known.
    address: String,
}

impl PageKey {
    /// Counts a request.
    pub(crate) fn ask(&self, app: &App) -> Result<()> {
        app.rates.take(&format!("key {} {}", self.id, self.address), 1, ASKS_OF_ADDRESS_MAX)
    }

    /// Counts the events of a request.
    pub(crate) fn events(&self, app: &App, count: usize) -> Result<()> {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let of_address = format!("events {} {}", self.id, self.address);
        app.rates.take(&of_address, count, EVENTS_OF_ADDRESS_MAX)?;
        app.rates.take(&format!("events {}", self.id), count, EVENTS_A_MINUTE_MAX)
    }
}

/// The key that an address has after its `?`, where it may have one.
pub(crate) fn of(uri: &Uri) -> Option<&str> {
    let pairs = uri.query().filter(|_| ADDRESSES.contains(&uri.path()))?.split('&');
    pairs.into_iter().find_map(|pair| pair.strip_prefix("key="))
}

/// The sites that a token is bound to; none for tokens of programs and for links.
pub(crate) fn sites(token: &ApiToken) -> Option<Vec<String>> {
    let sites = site::among(&token.scopes);
    (!sites.is_empty() && auth::Link::of(token).is_none()).then_some(sites)
}

/// The origin that asks, if a key in the address lets it: for the headers by which its page may read the answer.
pub(crate) fn admitted(app: &App, uri: &Uri, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    let found = app.reader.token(&auth::token_digest(of(uri)?)).ok()??;
    let sites = sites(&found.0)?;
    let named = origin.to_str().is_ok_and(|origin| sites.iter().any(|site| site == origin));
    (named && usable(app, &found).is_ok()).then(|| origin.clone())
}

fn usable(app: &App, (token, user): &(ApiToken, User)) -> Result<()> {
    let refused = |detail: &str| {
        Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
            .hint("Make another key for pages under Administration, and put it into the page.")
    };
    if token.revoked {
        return Err(refused("the key was taken back"));
    }
    if token.expires_at <= app.machine_now() {
        return Err(refused("the key has expired"));
    }
    if user.disabled {
        return Err(refused("the user of the key is disabled"));
    }
    Ok(())
}

/// Looks up the key of a request, and whether it may be used from where it is.
pub(crate) fn check(
    app: &App,
    request: &Request,
    key: &str,
) -> Result<(PageKey, Arc<(ApiToken, User)>)> {
    let peer = request.extensions().get::<crate::wire::Peer>();
    let address = peer.map(|peer| auth::address_of(app, peer.0, request.headers()));
    let address = address.map(|at| auth::network_of(at).to_string()).unwrap_or_default();
    let found = match key.starts_with(PREFIX) {
        true => app.reader.token(&auth::token_digest(key))?,
        false => None,
    };
    let Some((found, sites)) = found.and_then(|found| sites(&found.0).map(|sites| (found, sites)))
    else {
        let detail = "the key in the address is unknown";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail).hint(
            "A key for pages begins with fwp_; other tokens are sent as Authorization: Bearer fwt_…, and never stand in a page.",
        ));
    };
    usable(app, &found)?;
    let topic = found.0.scopes.iter().find_map(|scope| scope.strip_prefix(TOPIC_SCOPE));
    let key = PageKey {
        id: found.0.id.clone(),
        topic: topic.unwrap_or(TOPIC_DEFAULT).to_owned(),
        address,
    };
    key.ask(app)?;
    let origin = request.headers().get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    if !origin.is_some_and(|origin| sites.iter().any(|site| site == origin)) {
        let from = match origin {
            Some(origin) => format!("pages of {origin}"),
            None => "programs".to_owned(),
        };
        let detail = format!("this key does not hand in events from {from}");
        return Err(Problem::new(StatusCode::FORBIDDEN, "denied", detail).hint(
            "It works in pages of the sites it was made for; programs use a token of their own.",
        ));
    }
    if request.method() != Method::POST {
        return Err(Problem::new(StatusCode::FORBIDDEN, "denied", "a key for pages only hands in"));
    }
    Ok((key, found))
}
