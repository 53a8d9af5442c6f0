//! A fake HubSpot that enforces what the documentation says: 100 requests in ten seconds, 5 searches
//! in a second, 10,000 results of a search, 100 inputs of a batch, unique ids within it, known
//! properties, errors that name their row only if it carries a trace id, and tokens that are replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flywheel_base::{Rng, Timestamp};
use serde_json::{Map, Value, json};

use super::{Fake, FakePace, Meter, Reply, Seen};
use crate::http::Pace;

/// The most results one search gives, over all of its pages.
const SEARCH_RESULTS_MAX: usize = 10_000;

/// A record as the fake keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) modified_ms: i64,
    pub(crate) archived: bool,
}

/// What the fake knows and counted.
#[derive(Debug)]
pub(crate) struct FakeHubSpot {
    /// Contacts by id.
    pub(crate) contacts: BTreeMap<u64, Record>,
    pub(crate) properties: BTreeSet<String>,
    pub(crate) requests: Meter,
    pub(crate) searches: Meter,
    pub(crate) daily_left: u64,
    /// The chance of a 429 or 502, before anything is done.
    pub(crate) faults: f64,
    /// The chance that an answer is lost after what was asked for is done.
    pub(crate) lost: f64,
    /// How many requests had a fault, or no answer.
    pub(crate) faulted: usize,
    /// The token that is good.
    pub(crate) token: String,
    /// How many requests it is good for, until somebody replaces it.
    pub(crate) token_requests: usize,
    /// How many requests had a token that is not good.
    pub(crate) refused_tokens: usize,
    next_id: u64,
    /// Ids by property and value in small letters.
    index: BTreeMap<(String, String), u64>,
    rng: Rng,
    pace: Arc<FakePace>,
}

fn refused(status: u16, category: &str, message: &str) -> Reply {
    Reply::new(
        status,
        json!({ "status": "error", "category": category, "message": message }).to_string(),
    )
}

impl FakeHubSpot {
    pub(crate) async fn start(pace: &Arc<FakePace>) -> (Fake, Arc<Mutex<Self>>) {
        let known =
            ["email", "firstname", "lastname", "company", "lastmodifieddate", "hs_object_id"];
        let hubspot = Arc::new(Mutex::new(Self {
            contacts: BTreeMap::new(),
            properties: known.map(str::to_owned).into(),
            requests: Meter::new(100, Duration::from_secs(10)),
            searches: Meter::new(5, Duration::from_secs(1)),
            daily_left: 250_000,
            faults: 0.0,
            lost: 0.0,
            faulted: 0,
            token: "pat-1".to_owned(),
            token_requests: usize::MAX,
            refused_tokens: 0,
            next_id: 1,
            index: BTreeMap::new(),
            rng: Rng::new(11),
            pace: Arc::clone(pace),
        }));
        let serving = Arc::clone(&hubspot);
        (Fake::start(move |request| serving.lock().unwrap().answer(request)).await, hubspot)
    }

    /// Adds a contact that was modified at that millisecond.
    pub(crate) fn add(&mut self, email: &str, modified_ms: i64) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let properties = [("email".to_owned(), email.to_owned())].into();
        self.contacts.insert(id, Record { properties, modified_ms, archived: false });
        id
    }

    fn answer(&mut self, request: &Seen) -> Reply {
        self.pace.advance(Duration::from_millis(15));
        let expected = format!("Bearer {}", self.token);
        if self.token_requests == 0 || request.header("authorization") != Some(&expected) {
            self.refused_tokens += 1;
            return refused(401, "INVALID_AUTHENTICATION", "Authentication credentials not found");
        }
        self.token_requests -= 1;
        let now = self.pace.now();
        let search = request.path.ends_with("/search");
        let fits = self.requests.hit(now) & (!search || self.searches.hit(now));
        if !fits {
            return refused(429, "RATE_LIMITS", "You have reached your secondly limit.");
        }
        self.daily_left = self.daily_left.saturating_sub(1);
        if self.rng.chance(self.faults) {
            self.faulted += 1;
            return if self.rng.chance(0.5) {
                refused(429, "RATE_LIMITS", "slow down").header("retry-after", "1")
            } else {
                Reply::text("text/html", "<html>Bad Gateway</html>").status(502)
            };
        }
        let reply = match request.path.as_str() {
            "/crm/properties/2026-03/contacts" => {
                let kind = |name: &str| if name.ends_with("date") { "datetime" } else { "string" };
                let listed: Vec<Value> = self
                    .properties
                    .iter()
                    .map(|name| json!({ "name": name, "type": kind(name) }))
                    .collect();
                Reply::json(&json!({ "results": listed }))
            }
            "/crm/objects/2026-03/contacts" => self.list(request),
            "/crm/objects/2026-03/contacts/search" => self.search(&request.json()),
            "/crm/objects/2026-03/contacts/batch/upsert" => self.batch(&request.json(), true),
            "/crm/objects/2026-03/contacts/batch/update" => self.batch(&request.json(), false),
            "/crm/objects/2026-03/contacts/batch/archive" => self.archive(&request.json()),
            path => refused(404, "OBJECT_NOT_FOUND", &format!("nothing is at {path}")),
        };
        if self.lost > 0.0 && self.rng.chance(self.lost) {
            self.faulted += 1;
            return Reply::nothing();
        }
        reply
            .header("x-hubspot-ratelimit-daily", "250000")
            .header("x-hubspot-ratelimit-daily-remaining", self.daily_left.to_string())
    }

    fn shown(&self, id: u64, record: &Record, properties: &[String]) -> Value {
        let mut shown = Map::new();
        let modified = Timestamp::from_micros(record.modified_ms * 1_000).to_string();
        for name in properties {
            let value = match name.as_str() {
                "hs_object_id" => Some(json!(id.to_string())),
                "lastmodifieddate" => Some(json!(modified)),
                name => record.properties.get(name).map(|value| json!(value)),
            };
            shown.insert(name.clone(), value.unwrap_or(Value::Null));
        }
        json!({ "id": id.to_string(), "properties": shown, "createdAt": "2020-01-01T00:00:00Z",
                "updatedAt": modified, "archived": record.archived })
    }

    fn list(&self, request: &Seen) -> Reply {
        let limit: usize = request.param("limit").map_or(10, |limit| limit.parse().unwrap());
        if limit > 100 {
            return refused(400, "VALIDATION_ERROR", "limit must be at most 100");
        }
        let after: u64 = request.param("after").map_or(0, |after| after.parse().unwrap());
        let archived = request.param("archived") == Some("true");
        let names: Vec<String> =
            request.param("properties").unwrap_or("email").split(',').map(str::to_owned).collect();
        let found: Vec<(&u64, &Record)> = self
            .contacts
            .iter()
            .filter(|(id, record)| **id > after && record.archived == archived)
            .take(limit + 1)
            .collect();
        let shown: Vec<Value> =
            found.iter().take(limit).map(|(id, record)| self.shown(**id, record, &names)).collect();
        let mut body = json!({ "results": shown });
        if found.len() > limit {
            body["paging"] = json!({ "next": { "after": found[limit - 1].0.to_string() } });
        }
        Reply::json(&body)
    }

    fn search(&self, body: &Value) -> Reply {
        let limit = body["limit"].as_u64().unwrap_or(10) as usize;
        let after: usize = body["after"].as_str().map_or(0, |after| after.parse().unwrap());
        let sorts = body["sorts"].as_array().map_or(0, Vec::len);
        if limit > 200 || after + limit > SEARCH_RESULTS_MAX || sorts > 1 {
            return refused(400, "VALIDATION_ERROR", "the search is beyond its limits");
        }
        let filters = body["filterGroups"][0]["filters"].as_array().unwrap();
        let fits = |id: u64, record: &Record| {
            filters.iter().all(|filter| {
                let value = match filter["propertyName"].as_str().unwrap() {
                    "hs_object_id" => id as i64,
                    "lastmodifieddate" => record.modified_ms,
                    name => panic!("no filter by {name}"),
                };
                let bound: i64 = filter["value"].as_str().unwrap().parse().unwrap();
                match filter["operator"].as_str().unwrap() {
                    "GT" => value > bound,
                    "GTE" => value >= bound,
                    "LTE" => value <= bound,
                    other => panic!("no operator {other}"),
                }
            })
        };
        assert_eq!(body["sorts"][0]["propertyName"], json!("hs_object_id"));
        let names: Vec<String> = serde_json::from_value(body["properties"].clone()).unwrap();
        let found: Vec<(&u64, &Record)> = self
            .contacts
            .iter()
            .filter(|(id, record)| !record.archived && fits(**id, record))
            .collect();
        let shown: Vec<Value> = found
            .iter()
            .skip(after)
            .take(limit)
            .map(|(id, record)| self.shown(**id, record, &names))
            .collect();
        Reply::json(&json!({ "total": found.len(), "results": shown }))
    }

    fn batch(&mut self, body: &Value, upsert: bool) -> Reply {
        let inputs = body["inputs"].as_array().unwrap();
        if inputs.len() > 100 {
            return refused(400, "VALIDATION_ERROR", "The maximum number of inputs is 100");
        }
        let ids: BTreeSet<String> =
            inputs.iter().map(|input| input["id"].as_str().unwrap().to_lowercase()).collect();
        if ids.len() < inputs.len() {
            return refused(400, "VALIDATION_ERROR", "Duplicate IDs found in batch input");
        }
        let traced = inputs.iter().all(|input| input["objectWriteTraceId"].is_string());
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        for input in inputs {
            let trace = &input["objectWriteTraceId"];
            match self.write(input, upsert) {
                Ok(id) => {
                    results.push(json!({ "id": id.to_string(), "objectWriteTraceId": trace }));
                }
                Err((category, message)) if traced => errors.push(json!({
                    "status": "error", "category": category, "message": message,
                    "context": { "objectWriteTraceId": [trace], "propertyName": ["email"] },
                })),
                // Without trace ids one bad row fails all of them.
                Err((category, message)) => return refused(400, category, &message),
            }
        }
        let status = if errors.is_empty() { 200 } else { 207 };
        let body = json!({ "status": "COMPLETE", "results": results, "errors": errors, "numErrors": errors.len() });
        Reply::json(&body).status(status)
    }

    fn write(&mut self, input: &Value, upsert: bool) -> Result<u64, (&'static str, String)> {
        let wanted = input["id"].as_str().unwrap();
        let given = input["properties"].as_object().unwrap();
        if let Some(unknown) = given.keys().find(|name| !self.properties.contains(*name)) {
            return Err(("VALIDATION_ERROR", format!("Property \"{unknown}\" does not exist")));
        }
        if given.contains_key("hs_object_id") {
            let why = "\"hs_object_id\" is a read only property; its value cannot be set.";
            return Err(("READ_ONLY_VALUE", why.to_owned()));
        }
        let email = given.get("email").and_then(Value::as_str).unwrap_or(wanted);
        if upsert && email.starts_with("poison") {
            return Err(("VALIDATION_ERROR", format!("Email address {email} is invalid")));
        }
        let modified_ms = self.pace.now().micros() / 1_000;
        let found = if upsert {
            let name = input["idProperty"].as_str().unwrap();
            self.index.get(&(name.to_owned(), wanted.to_lowercase())).copied()
        } else {
            let id = wanted.parse().ok().filter(|id| self.contacts.contains_key(id));
            Some(id.ok_or_else(|| ("OBJECT_NOT_FOUND", "no such record".to_owned()))?)
        };
        let id = found.unwrap_or_else(|| self.add(wanted, modified_ms));
        if let Some(name) = input["idProperty"].as_str() {
            self.index.insert((name.to_owned(), wanted.to_lowercase()), id);
        }
        let record = self.contacts.get_mut(&id).unwrap();
        record.modified_ms = modified_ms;
        for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
            match value.as_str() {
                Some("") => record.properties.remove(name),
                Some(text) => record.properties.insert(name.clone(), text.to_owned()),
                None => record.properties.insert(name.clone(), value.to_string()),
            };
        }
        Ok(id)
    }

    fn archive(&mut self, body: &Value) -> Reply {
        for input in body["inputs"].as_array().unwrap() {
            let id = input["id"].as_str().unwrap().parse::<u64>().unwrap();
            if let Some(record) = self.contacts.get_mut(&id) {
                record.archived = true;
            }
        }
        Reply::new(204, "")
    }
}
