//! A Salesforce org with accounts and contacts: short answers with locators, tokens that end, an org that
//! is busy now and then, rules for what a record may have, query jobs, and change events.

use std::collections::BTreeMap;

use flywheel_base::{Clock as _, SystemClock};
use serde_json::{Map, Value, json};

use super::Clock;
use super::server::{Answer, Asked};

/// Records in one answer of a query.
const ANSWER_ROWS: usize = 3;

/// Requests that a token is good for.
const TOKEN_USES: u64 = 9;

/// One request of so many finds the org busy.
const BUSY_EACH: u64 = 7;

/// Fields that nobody writes.
const READ_ONLY: [&str; 2] = ["IsDeleted", "SystemModstamp"];

/// The channel of the events there are.
const CHANNEL: &str = "/data/ContactChangeEvent";

pub(crate) struct Salesforce {
    /// Records by object and id.
    pub(super) records: BTreeMap<String, BTreeMap<String, Map<String, Value>>>,
    pub(super) clock: Clock,
    /// Records that were written by requests.
    pub(super) writes: usize,
    /// Requests that were turned away because the org was busy or the token had ended.
    pub(super) turned_away: usize,
    /// The results of query jobs that are there.
    pub(crate) jobs: BTreeMap<String, Vec<Value>>,
    /// Change events by replay id.
    events: BTreeMap<i64, Value>,
    /// Behind which event each listener is.
    listeners: BTreeMap<String, i64>,
    requests: u64,
    token: u64,
    token_uses: u64,
    locators: BTreeMap<String, Vec<Value>>,
}

fn fields(object: &str) -> Vec<(&'static str, &'static str)> {
    let own: &[(&str, &str)] = match object {
        "Account" => &[("Name", "string"), ("BillingCity", "string")],
        _ => &[
            ("Email", "email"),
            ("LastName", "string"),
            ("Consent__c", "picklist"),
            ("AccountId", "reference"),
        ],
    };
    let all = [
        ("Id", "id"),
        ("Flywheel_Key__c", "string"),
        ("IsDeleted", "boolean"),
        ("SystemModstamp", "datetime"),
        ("MailingAddress", "address"),
    ];
    all.into_iter().chain(own.iter().copied()).collect()
}

fn refused(status: u16, code: &str, message: &str) -> Answer {
    Answer::json(status, &json!([{ "errorCode": code, "message": message }]))
}

impl Salesforce {
    pub(super) fn new(clock: &Clock) -> Self {
        Self {
            records: BTreeMap::new(),
            clock: clock.clone(),
            writes: 0,
            turned_away: 0,
            jobs: BTreeMap::new(),
            events: BTreeMap::new(),
            listeners: BTreeMap::new(),
            requests: 0,
            token: 0,
            token_uses: TOKEN_USES,
            locators: BTreeMap::new(),
        }
    }

    /// Somebody adds a record; gives its id.
    pub(crate) fn add(&mut self, object: &str, values: &Value) -> String {
        let number = self.records.values().map(BTreeMap::len).sum::<usize>() + 1;
        let id = format!("{}{number:012}AAA", if object == "Account" { "001" } else { "003" });
        let mut record = Map::new();
        for (name, _) in fields(object) {
            record.insert(name.to_owned(), Value::Null);
        }
        record.insert("Id".to_owned(), json!(id));
        record.insert("IsDeleted".to_owned(), json!(false));
        self.records.entry(object.to_owned()).or_default().insert(id.clone(), record);
        self.change(object, &id, values);
        id
    }

    /// Somebody changes a record.
    pub(crate) fn change(&mut self, object: &str, id: &str, values: &Value) {
        let record = self.records.get_mut(object).unwrap().get_mut(id).unwrap();
        for (name, value) in values.as_object().unwrap() {
            // There are no empty texts.
            let value = if *value == json!("") { Value::Null } else { value.clone() };
            record.insert(name.clone(), value);
        }
        let at = self.clock.tick().datetime().format("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string();
        record.insert("SystemModstamp".to_owned(), json!(at));
        if object == "Contact" {
            let gone = self.records[object][id]["IsDeleted"] == json!(true);
            self.tell(if gone { "DELETE" } else { "UPDATE" }, &[id]);
        }
    }

    /// Somebody deletes a record.
    pub(crate) fn delete(&mut self, object: &str, id: &str) {
        self.change(object, id, &json!({ "IsDeleted": true }));
    }

    /// Tells those who listen of a change of contacts.
    pub(crate) fn tell(&mut self, change: &str, ids: &[&str]) {
        let replay = self.events.keys().next_back().map_or(1_000, |last| last + 7);
        let header = json!({ "entityName": "Contact", "recordIds": ids, "changeType": change,
            "changedFields": ["LastName"], "transactionKey": format!("t{replay}"), "sequenceNumber": 1,
            "commitTimestamp": SystemClock.now().micros() / 1_000 });
        let data = json!({ "schema": "s", "payload": { "ChangeEventHeader": header, "LastName": "then" },
                           "event": { "replayId": replay } });
        self.events.insert(replay, json!({ "channel": CHANNEL, "data": data }));
    }

    /// The org keeps no event any more.
    pub(crate) fn forget_events(&mut self) {
        self.events.clear();
    }

    /// Records that are not deleted.
    pub(super) fn living(&self, object: &str) -> Vec<&Map<String, Value>> {
        let all = self.records.get(object).into_iter().flat_map(BTreeMap::values);
        all.filter(|record| record["IsDeleted"] == json!(false)).collect()
    }

    /// The id of the contact with an address.
    pub(super) fn contact(&self, email: &str) -> String {
        let all = self.living("Contact");
        let found = all.iter().find(|record| record["Email"] == json!(email)).unwrap();
        found["Id"].as_str().unwrap().to_owned()
    }

    pub(super) fn answer(&mut self, asked: &Asked) -> Answer {
        if asked.path == "/services/oauth2/token" {
            assert!(asked.text.contains("client_secret=hush"), "{}", asked.text);
            (self.token, self.token_uses) = (self.token + 1, 0);
            let token = format!("00D!{}", self.token);
            return Answer::json(200, &json!({ "access_token": token, "token_type": "Bearer" }));
        }
        self.requests += 1;
        let right = asked.authorization == format!("Bearer 00D!{}", self.token);
        if !right || self.token_uses >= TOKEN_USES {
            self.turned_away += 1;
            return refused(401, "INVALID_SESSION_ID", "Session expired or invalid");
        }
        self.token_uses += 1;
        if self.requests.is_multiple_of(BUSY_EACH) {
            self.turned_away += 1;
            return refused(503, "SERVER_UNAVAILABLE", "busy").header("retry-after", "0");
        }
        if asked.path == "/cometd/62.0" {
            return self.listened(&asked.json()[0]);
        }
        let path = asked.path.strip_prefix("/services/data/v62.0/").unwrap();
        let parts: Vec<&str> = path.split('/').collect();
        let answer = match (asked.method.as_str(), parts.as_slice()) {
            ("GET", ["sobjects", object, "describe"]) => {
                let listed = fields(object).into_iter();
                let listed: Vec<Value> =
                    listed.map(|(name, kind)| json!({ "name": name, "type": kind })).collect();
                Answer::json(200, &json!({ "fields": listed }))
            }
            ("GET", ["query"]) => self.query(&asked.query["q"]),
            ("GET", ["query", locator]) => {
                let rest = self.locators.remove(*locator).unwrap();
                self.page(rest)
            }
            ("POST", ["jobs", "query"]) => {
                let soql = asked.json()["query"].as_str().unwrap().to_owned();
                let id = format!("750{:015}", self.requests);
                let found = self.selected(&soql);
                self.jobs.insert(id.clone(), found);
                Answer::json(200, &json!({ "id": id, "state": "UploadComplete" }))
            }
            ("GET", ["jobs", "query", id]) => {
                let state = if self.jobs.contains_key(*id) { "JobComplete" } else { "Aborted" };
                Answer::json(200, &json!({ "id": id, "state": state }))
            }
            ("GET", ["jobs", "query", id, "results"]) => {
                let (from, most) = (asked.query.get("locator"), &asked.query["maxRecords"]);
                let from: usize = from.map_or(0, |from| from.parse().unwrap());
                results(&self.jobs[*id], from, most.parse().unwrap())
            }
            ("DELETE", ["jobs", "query", id]) => {
                self.jobs.remove(*id).unwrap();
                Answer::json(204, &Value::Null)
            }
            ("PATCH", ["composite", "sobjects"]) => self.composite(&asked.json(), None),
            ("PATCH", ["composite", "sobjects", object, key]) => {
                self.composite(&asked.json(), Some((*object, *key)))
            }
            ("DELETE", ["sobjects", object, id]) => {
                let there = self.living(object).iter().any(|record| record["Id"] == json!(id));
                if !there {
                    return refused(404, "NOT_FOUND", "there is no such record");
                }
                self.delete(object, id);
                self.writes += 1;
                Answer::json(204, &Value::Null)
            }
            (method, _) => {
                return refused(
                    404,
                    "NOT_FOUND",
                    &format!("nothing is at {method} {}", asked.path),
                );
            }
        };
        answer.header("sforce-limit-info", &format!("api-usage={}/100000", self.requests))
    }

    fn query(&mut self, soql: &str) -> Answer {
        let all = self.selected(soql);
        self.page(all)
    }

    /// The records that a query finds.
    fn selected(&self, soql: &str) -> Vec<Value> {
        let (head, _) = soql.split_once(" ORDER BY Id").unwrap_or((soql, ""));
        let (head, wanted) = head.split_once(" WHERE Id IN ").unwrap_or((head, ""));
        let (names, object) = head.strip_prefix("SELECT ").unwrap().split_once(" FROM ").unwrap();
        let shown = |record: &Map<String, Value>| {
            let mut shown = Map::new();
            shown.insert("attributes".to_owned(), json!({ "type": object }));
            for name in names.split(", ") {
                shown.insert(name.to_owned(), record[name].clone());
            }
            Value::Object(shown)
        };
        let asked = |record: &&Map<String, Value>| {
            wanted.is_empty() || wanted.contains(record["Id"].as_str().unwrap())
        };
        self.living(object).into_iter().filter(asked).map(shown).collect()
    }

    /// What is said to somebody who listens to change events.
    fn listened(&mut self, message: &Value) -> Answer {
        let channel = message["channel"].as_str().unwrap();
        let client = message["clientId"].as_str().unwrap_or("c1").to_owned();
        let mut said = json!({ "channel": channel, "id": message["id"], "successful": true });
        let mut answered = Vec::new();
        match channel {
            "/meta/handshake" => {
                said["clientId"] = json!(client);
                self.listeners.insert(client, i64::MAX);
            }
            "/meta/subscribe" => {
                let replay = message["ext"]["replay"][CHANNEL].as_i64().unwrap();
                if replay == -2 || self.events.contains_key(&replay) {
                    self.listeners.insert(client, replay);
                } else {
                    said["successful"] = json!(false);
                    said["error"] =
                        json!(format!("400::The replayId {{{replay}}} you provided was invalid."));
                }
            }
            "/meta/connect" => {
                let behind = self.listeners.get_mut(&client).unwrap();
                let new = self.events.iter().filter(|(replay, _)| **replay > *behind);
                answered.extend(new.map(|(_, event)| event.clone()));
                *behind = self.events.keys().next_back().copied().unwrap_or_default().max(*behind);
            }
            _ => drop(self.listeners.remove(&client)),
        }
        answered.push(said);
        Answer::json(200, &json!(answered))
    }

    fn page(&mut self, mut all: Vec<Value>) -> Answer {
        let total = all.len();
        let rest = all.split_off(total.min(ANSWER_ROWS));
        let mut body = json!({ "totalSize": total, "done": rest.is_empty(), "records": all });
        if !rest.is_empty() {
            let locator = format!("01g{}", self.requests);
            body["nextRecordsUrl"] = json!(format!("/services/data/v62.0/query/{locator}"));
            self.locators.insert(locator, rest);
        }
        Answer::json(200, &body)
    }

    /// Updates records by id, or upserts them by the field of an object.
    fn composite(&mut self, body: &Value, by: Option<(&str, &str)>) -> Answer {
        let records = body["records"].as_array().unwrap();
        assert!(records.len() <= 200 && body["allOrNone"] == json!(false), "{body}");
        let results: Vec<Value> = records
            .iter()
            .map(|record| match self.write(record.as_object().unwrap(), by) {
                Ok((id, created)) => {
                    json!({ "id": id, "success": true, "created": created, "errors": [] })
                }
                Err((code, field)) => json!({ "success": false,
                    "errors": [{ "statusCode": code, "message": format!("{field}: {code}"), "fields": [field] }] }),
            })
            .collect();
        Answer::json(200, &json!(results))
    }

    fn write(
        &mut self,
        record: &Map<String, Value>,
        by: Option<(&str, &str)>,
    ) -> Result<(String, bool), (&'static str, String)> {
        let object = record["attributes"]["type"].as_str().unwrap().to_owned();
        let mut values = record.clone();
        values.remove("attributes");
        let known = fields(&object);
        for name in values.keys() {
            if !known.iter().any(|(known, _)| known == name) {
                return Err(("INVALID_FIELD", name.clone()));
            }
            if READ_ONLY.contains(&name.as_str()) {
                return Err(("INVALID_FIELD_FOR_INSERT_UPDATE", name.clone()));
            }
        }
        let email = values.get("Email").and_then(Value::as_str).unwrap_or_default();
        if email.contains("refused-by-salesforce") {
            return Err(("INVALID_EMAIL_ADDRESS", "Email".to_owned()));
        }
        let account = values.get("AccountId").filter(|id| !id.is_null());
        if account.is_some_and(|id| !self.living("Account").iter().any(|one| one["Id"] == *id)) {
            return Err(("INVALID_CROSS_REFERENCE_KEY", "AccountId".to_owned()));
        }
        let found = match by {
            None => {
                let id = values.remove("Id").unwrap();
                let id = id.as_str().unwrap().to_owned();
                if !self.living(&object).iter().any(|one| one["Id"] == json!(id)) {
                    return Err(("ENTITY_IS_DELETED", "Id".to_owned()));
                }
                Some(id)
            }
            Some((of, key)) => {
                assert_eq!((of, key), (object.as_str(), "Flywheel_Key__c"), "no external id");
                let all = self.living(&object);
                let found = all.iter().find(|one| one[key] == values[key]);
                found.map(|one| one["Id"].as_str().unwrap().to_owned())
            }
        };
        let needed = if object == "Account" { "Name" } else { "LastName" };
        let blank = |value: Option<&Value>| value.is_none_or(|v| v.is_null() || *v == json!(""));
        if blank(values.get(needed)) && (found.is_none() || values.contains_key(needed)) {
            return Err(("REQUIRED_FIELD_MISSING", needed.to_owned()));
        }
        self.writes += 1;
        let values = Value::Object(values);
        match found {
            Some(id) => {
                self.change(&object, &id, &values);
                Ok((id, false))
            }
            None => Ok((self.add(&object, &values), true)),
        }
    }
}

/// Records as the results of a query job.
fn results(all: &[Value], from: usize, most: usize) -> Answer {
    let names = |record: &Value| -> Vec<String> {
        let fields = record.as_object().unwrap().keys();
        fields.filter(|name| *name != "attributes").cloned().collect()
    };
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let mut lines = Vec::new();
    if let Some(first) = all.first() {
        lines.push(names(first).iter().map(|name| quoted(name)).collect::<Vec<_>>().join(","));
    }
    let shown = all.iter().skip(from).take(most);
    for record in shown.clone() {
        let cell = |name: &String| match &record[name] {
            Value::Null => quoted(""),
            Value::String(text) => quoted(text),
            other => quoted(&other.to_string()),
        };
        lines.push(names(record).iter().map(cell).collect::<Vec<_>>().join(","));
    }
    let (count, end) = (shown.len(), from + most);
    let next = if end < all.len() { end.to_string() } else { "null".to_owned() };
    Answer::text(&lines.join("\n"))
        .header("sforce-locator", &next)
        .header("sforce-numberofrecords", &count.to_string())
}
