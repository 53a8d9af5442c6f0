//! Change events of an org by its streaming API: Bayeux messages over long polling, with replay ids.
//!
//! ```text
//! handshake ─► subscribe, behind a replay id ─► connect ─► events
//!     ▲                  │                        │ ▲        │
//!     │                  └─► the id is too old    │ └────────┘
//!     └──── unknown client, 401, a lost answer ◄──┘
//! ```
//! A connect whose answer is lost is never sent again: the server takes its events for delivered. The
//! session begins anew behind the last event that arrived.

use std::time::Duration;

use flywheel_base::{Error, ErrorKind, Result};
use reqwest::Method;
use reqwest::header::SET_COOKIE;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Org, failure};
use crate::http::{Answer, Call};

/// How long the server holds a connect if nothing happens; it says 110 seconds itself.
const HOLD: Duration = Duration::from_secs(110);

/// How much longer than that an answer is waited for.
const HOLD_SLACK: Duration = Duration::from_secs(30);

/// The longest wait between two connects that a server may ask for.
const INTERVAL_MAX: Duration = Duration::from_secs(60);

/// Handshakes until one is given up.
const HANDSHAKES_MAX: u32 = 3;

/// Behind no event that is kept: the server sends all of them.
pub(super) const ALL: i64 = -2;

/// What an event says of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// They are there, or changed; what they are now has to be read.
    Put,
    /// They are gone.
    Delete,
    /// There were more changes than the org tells of one by one.
    Overflow,
}

/// One change event.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// The channel it came by.
    pub(super) channel: String,
    /// Its place among the events.
    pub(super) replay: i64,
    /// What happened.
    pub(super) change: Change,
    /// The records.
    pub(super) ids: Vec<String>,
    /// The transaction it is part of.
    pub(super) transaction: String,
    /// When that was committed, in microseconds.
    pub(super) committed_us: i64,
}

/// What one connect brought.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The events, in order.
    pub(super) events: Vec<Event>,
    /// Why the session is over, if it is.
    pub(super) over: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    channel: String,
    successful: Option<bool>,
    client_id: Option<String>,
    error: Option<String>,
    advice: Option<Advice>,
    data: Option<Data>,
    ext: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Advice {
    reconnect: Option<String>,
    interval: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Data {
    payload: Payload,
    event: Place,
}

#[derive(Debug, Deserialize)]
struct Payload {
    #[serde(rename = "ChangeEventHeader")]
    header: Header,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    record_ids: Vec<String>,
    change_type: String,
    transaction_key: String,
    commit_timestamp: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    replay_id: i64,
}

/// A session of a client that listens.
pub(super) struct Session<'a> {
    org: &'a Org,
    client: String,
    cookies: Vec<String>,
    /// Messages sent so far; each has a number.
    sent: u64,
    /// How long to wait before the next connect.
    interval: Duration,
}

/// What became of the wish to listen.
pub(super) enum Opened<'a> {
    /// It listens.
    Session(Session<'a>),
    /// The events behind the replay id of this channel are not kept any more.
    TooOld(String),
}

impl<'a> Opened<'a> {
    /// Subscribes to `channels`, each behind an event.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the org tells no changes of an object, [`ErrorKind::Denied`] if the
    /// user may not see them, [`ErrorKind::Unavailable`] if there is no session to be had.
    pub(super) async fn start(org: &'a Org, channels: &[(String, i64)]) -> Result<Self> {
        let mut session = Session {
            org,
            client: String::new(),
            cookies: Vec::new(),
            sent: 0,
            interval: Duration::ZERO,
        };
        session.shake_hands().await?;
        for (channel, replay) in channels {
            let told = session.subscribe(channel, *replay).await?;
            let Some(refusal) = told else { continue };
            if refusal.starts_with("400") && refusal.contains("replayId") {
                session.close().await;
                return Ok(Self::TooOld(channel.clone()));
            }
            return Err(refused(channel, &refusal));
        }
        Ok(Self::Session(session))
    }
}

impl Session<'_> {
    async fn shake_hands(&mut self) -> Result<()> {
        let mut tries = 0;
        loop {
            tries += 1;
            self.cookies.clear();
            let message = json!({ "channel": "/meta/handshake", "version": "1.0", "minimumVersion": "1.0",
                                  "supportedConnectionTypes": ["long-polling"], "ext": { "replay": true } });
            let answer = self.ask(message, None).await?;
            let reply = reply(&answer, "/meta/handshake")?;
            if let (Some(true), Some(client)) = (reply.successful, reply.client_id) {
                self.client = client;
                return Ok(());
            }
            let inner = reply.ext.as_ref().and_then(|ext| ext.pointer("/sfdc/failureReason"));
            let inner = inner.and_then(Value::as_str).unwrap_or_default();
            let said = format!("{} {inner}", reply.error.unwrap_or_default());
            let said = answer.clean(said);
            if said.contains("401::") {
                self.org.client.renew_token();
            } else if said.contains("403::") {
                return Err(Error::new(
                    ErrorKind::Denied,
                    format!("the org lets nobody listen to its change events: {said}"),
                )
                .hint("Give the connection's user the permission \"API Enabled\", and its app the scope to use the streaming API."));
            }
            if tries >= HANDSHAKES_MAX {
                return Err(Error::unavailable(format!(
                    "the org begins no session for change events: {said}"
                )));
            }
            self.org.client.sleep(Duration::from_secs(u64::from(tries))).await;
        }
    }

    /// Subscribes; what the server says if it does not agree.
    async fn subscribe(&mut self, channel: &str, replay: i64) -> Result<Option<String>> {
        let message = json!({ "channel": "/meta/subscribe", "subscription": channel,
                              "ext": { "replay": { channel: replay } } });
        let answer = self.ask(message, None).await?;
        let reply = reply(&answer, "/meta/subscribe")?;
        Ok(match reply.successful {
            Some(true) => None,
            _ => Some(answer.clean(reply.error.unwrap_or_default())),
        })
    }

    /// Waits for events, `hold` at most, or as long as the server holds a connect.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] if the server wants nobody to come back; [`ErrorKind::Corrupt`] if an event
    /// cannot be read.
    pub(super) async fn listen(&mut self, hold: Option<Duration>) -> Result<Heard> {
        if !self.interval.is_zero() {
            self.org.client.sleep(self.interval).await;
        }
        let mut message = json!({ "channel": "/meta/connect", "connectionType": "long-polling" });
        if let Some(hold) = hold {
            message["advice"] = json!({ "timeout": hold.as_millis() as u64 });
        }
        let answer = match self.ask(message, Some(HOLD + HOLD_SLACK)).await {
            Ok(answer) => answer,
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                return Ok(Heard { events: Vec::new(), over: Some(error.report()) });
            }
            Err(error) => return Err(error),
        };
        let mut heard = Heard::default();
        let mut told = false;
        for message in messages(&answer)? {
            if message.channel == "/meta/connect" {
                told = true;
                heard.over = self.goes_on(message, &answer)?;
            } else if let Some(data) = message.data {
                heard.events.push(event(message.channel, data));
            }
        }
        if !told && heard.over.is_none() {
            heard.over = Some("a connect was not answered".to_owned());
        }
        Ok(heard)
    }

    /// What the answer to a connect means for the session: why it is over, if it is.
    fn goes_on(&mut self, reply: Message, answer: &Answer) -> Result<Option<String>> {
        let advice = reply.advice.as_ref();
        let interval = advice.and_then(|advice| advice.interval).unwrap_or_default();
        self.interval = Duration::from_millis(interval).min(INTERVAL_MAX);
        if reply.successful == Some(true) {
            return Ok(None);
        }
        let reconnect =
            advice.and_then(|advice| advice.reconnect.as_deref()).unwrap_or("handshake");
        let error = answer.clean(reply.error.unwrap_or_default());
        if error.starts_with("401") {
            self.org.client.renew_token();
        } else if reconnect == "none" {
            return Err(Error::new(
                ErrorKind::Denied,
                format!("the org ended the session for change events: {error}"),
            )
            .hint(
                "Check that the connection's user may still see the objects, then run it again.",
            ));
        }
        Ok(Some(format!("the session ended: {error}")))
    }

    /// Says good-bye; nothing rests on it.
    pub(super) async fn close(mut self) {
        let message = json!({ "channel": "/meta/disconnect" });
        if let Err(error) = self.ask(message, None).await {
            tracing::debug!(error = %error, "a session for change events was left open");
        }
    }

    /// Sends one message. The session is bound to the server by its cookies.
    async fn ask(&mut self, mut message: Value, hold: Option<Duration>) -> Result<Answer> {
        self.sent += 1;
        message["id"] = json!(self.sent.to_string());
        if !self.client.is_empty() {
            message["clientId"] = json!(self.client);
        }
        let body = json!([message]).to_string();
        let mut call = Call::json(Method::POST, &self.org.events, body);
        if !self.cookies.is_empty() {
            call = call.header("cookie", self.cookies.join("; "));
        }
        if let Some(hold) = hold {
            call = call.once().patient(hold);
        }
        let answer = self.org.client.exchange(&call).await?;
        if !answer.status.is_success() {
            return Err(failure(&answer));
        }
        for cookie in answer.headers.get_all(SET_COOKIE) {
            let pair = cookie.to_str().ok().and_then(|text| text.split(';').next());
            let Some((name, _)) = pair.and_then(|pair| pair.split_once('=')) else { continue };
            let same =
                |known: &String| known.split_once('=').is_some_and(|(known, _)| known == name);
            self.cookies.retain(|known| !same(known));
            self.cookies.extend(pair.map(|pair| pair.trim().to_owned()));
        }
        Ok(answer)
    }
}

fn messages(answer: &Answer) -> Result<Vec<Message>> {
    serde_json::from_str(answer.json()?).map_err(|error| {
        Error::corrupt("the org's change events are not as Salesforce writes them").caused_by(error)
    })
}

/// The message of an answer that replies to one of `channel`.
fn reply(answer: &Answer, channel: &str) -> Result<Message> {
    let found = messages(answer)?.into_iter().find(|message| message.channel == channel);
    found.ok_or_else(|| Error::corrupt(format!("the org does not answer {channel}")))
}

fn event(channel: String, data: Data) -> Event {
    let Header { record_ids, change_type, transaction_key, commit_timestamp } = data.payload.header;
    let whole = record_ids.iter().all(|id| id.chars().all(|c| c.is_ascii_alphanumeric()));
    let change = match change_type.as_str() {
        "GAP_OVERFLOW" => Change::Overflow,
        // `003*` stands for every record of the object.
        _ if !whole => Change::Overflow,
        "DELETE" | "GAP_DELETE" => Change::Delete,
        _ => Change::Put,
    };
    Event {
        channel,
        replay: data.event.replay_id,
        change,
        ids: record_ids,
        transaction: transaction_key,
        committed_us: commit_timestamp.saturating_mul(1_000),
    }
}

/// Why a channel cannot be subscribed to.
fn refused(channel: &str, said: &str) -> Error {
    let hint = "Select the object under Change Data Capture in the org's setup, and let the connection's user see all of its records.";
    let message = format!("the org does not tell the changes of {channel}: {said}");
    match said {
        _ if said.starts_with("403") => Error::new(ErrorKind::Denied, message).hint(hint),
        _ if said.starts_with("404") || said.contains("does not exist") => {
            Error::not_found(message).hint(hint)
        }
        _ if said.starts_with("401") || said.starts_with('5') => Error::unavailable(message),
        _ => Error::invalid(message).hint(hint),
    }
}
