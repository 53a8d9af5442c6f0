//! The change events of the fake: Bayeux sessions that are bound by a cookie, replay ids with gaps, 72
//! hours of events, and sessions that end.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::{Reply, Seen};

/// How long events are kept.
const KEPT_US: i64 = 72 * 3_600 * 1_000_000;

/// The channel there is.
const CHANNEL: &str = "/data/ContactChangeEvent";

#[derive(Debug)]
struct Told {
    replay: i64,
    at_us: i64,
    payload: Value,
}

#[derive(Debug)]
struct Listener {
    cookie: String,
    /// The replay id of the last event that was sent; nothing if nobody subscribed.
    behind: Option<i64>,
    connects: usize,
}

/// What there is to listen to.
#[derive(Debug)]
pub(crate) struct FakeEvents {
    told: Vec<Told>,
    listeners: BTreeMap<String, Listener>,
    next: i64,
    /// Sessions that were begun.
    pub(crate) sessions: usize,
    /// Events in one answer.
    pub(crate) answer_events: usize,
    /// After so many connects a session is not known any more.
    pub(crate) session_connects: usize,
    /// How many answers to connects get lost from now on.
    pub(crate) lose: usize,
    /// How many times a session ends from now on because the token is no longer good.
    pub(crate) withdrawn: usize,
    /// A record that changes again with each connect.
    pub(crate) restless: Option<String>,
}

impl Default for FakeEvents {
    fn default() -> Self {
        Self {
            told: Vec::new(),
            listeners: BTreeMap::new(),
            next: 1_000,
            sessions: 0,
            answer_events: 100,
            session_connects: usize::MAX,
            lose: 0,
            withdrawn: 0,
            restless: None,
        }
    }
}

impl FakeEvents {
    pub(super) fn tell(
        &mut self,
        change: &str,
        ids: &[&str],
        transaction: &str,
        at_us: i64,
    ) -> i64 {
        // Ids grow, and not by one.
        self.next += 1 + self.next % 5;
        let of = |told: &&Told| told.payload["ChangeEventHeader"]["transactionKey"] == transaction;
        let sequence = self.told.iter().filter(of).count() + 1;
        let header = json!({ "entityName": "Contact", "recordIds": ids, "changeType": change,
            "changedFields": ["LastName", "LastModifiedDate"], "nulledFields": [], "diffFields": [],
            "transactionKey": transaction, "sequenceNumber": sequence, "commitTimestamp": at_us / 1_000,
            "commitNumber": self.next, "commitUser": "005000000000001AAA", "changeOrigin": "" });
        // Only the fields that changed are there, and a gap event has none at all.
        let mut payload = json!({ "ChangeEventHeader": header });
        if !change.starts_with("GAP") && change != "DELETE" {
            payload["LastName"] = json!("as it was in the event");
        }
        self.told.push(Told { replay: self.next, at_us, payload });
        self.next
    }

    pub(super) fn answer(&mut self, request: &Seen, now_us: i64) -> Reply {
        self.told.retain(|told| now_us - told.at_us < KEPT_US);
        let messages = request.json();
        let message = &messages.as_array().unwrap()[0];
        let client = message["clientId"].as_str().unwrap_or_default().to_owned();
        let channel = message["channel"].as_str().unwrap();
        let id = &message["id"];
        if channel == "/meta/handshake" {
            assert_eq!(message["ext"]["replay"], json!(true));
            assert_eq!(message["supportedConnectionTypes"], json!(["long-polling"]));
            self.sessions += 1;
            let (client, cookie) =
                (format!("c{}", self.sessions), format!("BAYEUX_BROWSER=b{}", self.sessions));
            let listener = Listener { cookie: cookie.clone(), behind: None, connects: 0 };
            self.listeners.insert(client.clone(), listener);
            let reply = json!([{ "channel": channel, "id": id, "successful": true, "clientId": client,
                                 "version": "1.0", "supportedConnectionTypes": ["long-polling"],
                                 "ext": { "replay": true, "payload.format": true } }]);
            return Reply::json(&reply).header("set-cookie", format!("{cookie};Path=/;Secure"));
        }
        if let Some(id) = self.restless.clone().filter(|_| channel == "/meta/connect") {
            let transaction = format!("r{}", self.next);
            self.tell("UPDATE", &[&id], &transaction, now_us);
        }
        let no = |error: &str, reconnect: &str| {
            Reply::json(
                &json!([{ "channel": channel, "id": id, "successful": false, "error": error,
                                  "advice": { "reconnect": reconnect, "interval": 0 } }]),
            )
        };
        let Some(listener) = self.listeners.get_mut(&client) else {
            return no("403::Unknown client", "handshake");
        };
        if request.header("cookie") != Some(listener.cookie.as_str()) {
            return no("400::Client has established a session, but no cookie present", "none");
        }
        match channel {
            "/meta/subscribe" => {
                let wanted = message["subscription"].as_str().unwrap();
                if wanted != CHANNEL {
                    let error = format!(
                        "404::The channel you requested to subscribe to does not exist {wanted}"
                    );
                    return no(&error, "none");
                }
                let replay = message["ext"]["replay"][CHANNEL].as_i64().unwrap();
                let kept = self.told.iter().any(|told| told.replay == replay);
                if replay != -2 && !kept {
                    let error = format!(
                        "400::The replayId {{{replay}}} you provided was invalid.  Please provide a valid ID, -2 to replay all events, or -1 to replay only new events."
                    );
                    return no(&error, "none");
                }
                listener.behind = Some(replay);
                let reply = json!([{ "channel": channel, "id": id, "successful": true,
                                     "clientId": client, "subscription": wanted }]);
                Reply::json(&reply)
            }
            "/meta/connect" => {
                listener.connects += 1;
                if self.withdrawn > 0 {
                    self.withdrawn -= 1;
                    self.listeners.remove(&client);
                    return no("401::Authentication invalid", "none");
                }
                if listener.connects > self.session_connects {
                    self.listeners.remove(&client);
                    return no("403::Unknown client", "handshake");
                }
                let behind = listener.behind;
                let new = self.told.iter().filter(|told| behind.is_some_and(|b| told.replay > b));
                let new: Vec<&Told> = new.take(self.answer_events).collect();
                // What was sent counts as delivered, whether it arrived or not.
                listener.behind = new.last().map_or(behind, |last| Some(last.replay));
                let mut reply: Vec<Value> = new
                    .iter()
                    .map(|told| {
                        json!({ "channel": CHANNEL, "data": { "schema": "s", "payload": told.payload,
                                "event": { "replayId": told.replay } } })
                    })
                    .collect();
                reply.push(json!({ "channel": channel, "id": id, "successful": true }));
                if self.lose > 0 {
                    self.lose -= 1;
                    return Reply::nothing();
                }
                Reply::json(&json!(reply))
            }
            "/meta/disconnect" => {
                self.listeners.remove(&client);
                Reply::json(&json!([{ "channel": channel, "id": id, "successful": true }]))
            }
            other => panic!("the fake has no channel {other}"),
        }
    }
}
