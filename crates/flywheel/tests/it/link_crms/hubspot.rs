//! A HubSpot account with companies and contacts, as far as a link needs one: lists in short answers,
//! batches with an answer for each input, limits that are met now and then, answers that are lost.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::Clock;
use super::server::{Answer, Asked};

/// Records in one answer.
const ANSWER_ROWS: usize = 4;

/// One request of so many is one too many.
const BUSY_EACH: u64 = 5;

/// Properties that nobody writes.
const READ_ONLY: [&str; 1] = ["hs_object_id"];

/// Properties whose values are unique.
const UNIQUE: [&str; 2] = ["email", "flywheel_key"];

#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) properties: BTreeMap<String, String>,
    updated_at: String,
    pub(super) archived: bool,
}

pub(super) struct HubSpot {
    /// Records by object and id.
    pub(super) records: BTreeMap<String, BTreeMap<u64, Record>>,
    pub(super) clock: Clock,
    /// Records that were written by requests.
    pub(super) writes: usize,
    /// Whether a request may be one too many.
    pub(super) busy: bool,
    /// Requests that were.
    pub(super) turned_away: usize,
    /// How many answers to batches get lost from now on, after they took effect.
    pub(super) lose: usize,
    /// The ids of inputs of batches, in order.
    pub(super) written: Vec<String>,
    requests: u64,
    next: u64,
}

fn properties(object: &str) -> Vec<(&'static str, &'static str)> {
    let own: &[(&str, &str)] = match object {
        "companies" => &[("name", "string"), ("city", "string"), ("flywheel_key", "string")],
        _ => &[
            ("email", "string"),
            ("lastname", "string"),
            ("consent", "enumeration"),
            ("company_id", "string"),
        ],
    };
    [("hs_object_id", "number")].into_iter().chain(own.iter().copied()).collect()
}

fn refused(status: u16, category: &str, message: &str) -> Answer {
    let body = json!({ "status": "error", "category": category, "message": message });
    Answer::json(status, &body)
}

impl HubSpot {
    pub(super) fn new(clock: &Clock) -> Self {
        Self {
            records: BTreeMap::new(),
            clock: clock.clone(),
            writes: 0,
            busy: true,
            turned_away: 0,
            lose: 0,
            written: Vec::new(),
            requests: 0,
            next: 500,
        }
    }

    /// Somebody adds a record; gives its id.
    pub(super) fn add(&mut self, object: &str, values: &[(&str, &str)]) -> u64 {
        self.next += 1;
        let id = self.next;
        self.records.entry(object.to_owned()).or_default().insert(id, Record::default());
        self.change(object, id, values);
        id
    }

    /// Somebody changes a record.
    pub(super) fn change(&mut self, object: &str, id: u64, values: &[(&str, &str)]) {
        let at = self.clock.tick().to_string();
        let record = self.records.get_mut(object).unwrap().get_mut(&id).unwrap();
        for (name, value) in values {
            // Addresses are kept in small letters, and an empty text takes the value away.
            let value = if *name == "email" { value.to_lowercase() } else { (*value).to_owned() };
            match value.is_empty() {
                true => record.properties.remove(*name),
                false => record.properties.insert((*name).to_owned(), value),
            };
        }
        record.updated_at = at;
    }

    /// Records that are not archived.
    pub(super) fn living(&self, object: &str) -> Vec<(u64, &Record)> {
        let all = self.records.get(object).into_iter().flatten();
        all.filter(|(_, record)| !record.archived).map(|(id, record)| (*id, record)).collect()
    }

    /// The id of the contact with an address.
    pub(super) fn contact(&self, email: &str) -> u64 {
        self.find("contacts", "email", email).unwrap()
    }

    fn find(&self, object: &str, property: &str, value: &str) -> Option<u64> {
        let all = self.living(object).into_iter();
        let same = |record: &Record| {
            record.properties.get(property).is_some_and(|own| own.eq_ignore_ascii_case(value))
        };
        let mut all = all.filter(|(_, record)| same(record));
        all.next().map(|(id, _)| id)
    }

    pub(super) fn answer(&mut self, asked: &Asked) -> Answer {
        if asked.authorization != "Bearer hush" {
            return refused(401, "INVALID_AUTHENTICATION", "no credentials");
        }
        self.requests += 1;
        if self.busy && self.requests.is_multiple_of(BUSY_EACH) {
            self.turned_away += 1;
            let answer = refused(429, "RATE_LIMITS", "You have reached your secondly limit.");
            return answer.header("retry-after", "0");
        }
        let parts: Vec<&str> = asked.path.trim_start_matches('/').split('/').collect();
        let answer = match (asked.method.as_str(), parts.as_slice()) {
            ("GET", ["crm", "properties", "2026-03", object]) => {
                let listed = properties(object).into_iter();
                let listed: Vec<Value> =
                    listed.map(|(name, kind)| json!({ "name": name, "type": kind })).collect();
                Answer::json(200, &json!({ "results": listed }))
            }
            ("GET", ["crm", "objects", "2026-03", object]) => self.list(object, asked),
            ("POST", ["crm", "objects", "2026-03", object, "batch", action]) => {
                let answer = self.batch(object, action, &asked.json());
                if self.lose > 0 {
                    self.lose -= 1;
                    return answer.lost();
                }
                answer
            }
            (method, _) => {
                return refused(
                    404,
                    "OBJECT_NOT_FOUND",
                    &format!("nothing is at {method} {}", asked.path),
                );
            }
        };
        answer
            .header("x-hubspot-ratelimit-daily", "250000")
            .header("x-hubspot-ratelimit-daily-remaining", "249000")
    }

    fn list(&self, object: &str, asked: &Asked) -> Answer {
        let after: u64 = asked.query.get("after").map_or(0, |after| after.parse().unwrap());
        assert_eq!(asked.query["archived"], "false");
        let names: Vec<&str> = asked.query["properties"].split(',').collect();
        let all: Vec<(u64, &Record)> =
            self.living(object).into_iter().filter(|(id, _)| *id > after).collect();
        let shown = |(id, record): &(u64, &Record)| {
            let mut shown = Map::new();
            for name in &names {
                let value = match *name {
                    "hs_object_id" => json!(id.to_string()),
                    name => json!(record.properties.get(name)),
                };
                shown.insert((*name).to_owned(), value);
            }
            json!({ "id": id.to_string(), "properties": shown, "createdAt": "2020-01-01T00:00:00Z",
                    "updatedAt": record.updated_at, "archived": false })
        };
        let results: Vec<Value> = all.iter().take(ANSWER_ROWS).map(shown).collect();
        let mut body = json!({ "results": results });
        if all.len() > ANSWER_ROWS {
            body["paging"] = json!({ "next": { "after": all[ANSWER_ROWS - 1].0.to_string() } });
        }
        Answer::json(200, &body)
    }

    fn batch(&mut self, object: &str, action: &str, body: &Value) -> Answer {
        let inputs = body["inputs"].as_array().unwrap();
        let ids: BTreeSet<String> =
            inputs.iter().map(|input| input["id"].as_str().unwrap().to_lowercase()).collect();
        if inputs.len() > 100 || ids.len() < inputs.len() {
            return refused(400, "VALIDATION_ERROR", "too many inputs, or some of them twice");
        }
        if action == "archive" {
            for id in &ids {
                let id: u64 = id.parse().unwrap();
                self.records.get_mut(object).unwrap().get_mut(&id).unwrap().archived = true;
                self.writes += 1;
            }
            return Answer::json(204, &Value::Null);
        }
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        for input in inputs {
            let trace = &input["objectWriteTraceId"];
            match self.write(object, action, input) {
                Ok(id) => {
                    results.push(json!({ "id": id.to_string(), "objectWriteTraceId": trace }));
                }
                Err((category, message)) => errors.push(json!({
                    "status": "error", "category": category, "message": message,
                    "context": { "objectWriteTraceId": [trace] },
                })),
            }
        }
        let status = if errors.is_empty() { 200 } else { 207 };
        let body = json!({ "status": "COMPLETE", "results": results, "errors": errors, "numErrors": errors.len() });
        Answer::json(status, &body)
    }

    fn write(
        &mut self,
        object: &str,
        action: &str,
        input: &Value,
    ) -> Result<u64, (&'static str, String)> {
        let wanted = input["id"].as_str().unwrap();
        let given = input["properties"].as_object().unwrap();
        let known = properties(object);
        for name in given.keys() {
            if !known.iter().any(|(known, _)| known == name) {
                return Err(("VALIDATION_ERROR", format!("Property \"{name}\" does not exist")));
            }
            if READ_ONLY.contains(&name.as_str()) {
                return Err(("READ_ONLY_VALUE", format!("\"{name}\" is a read only property")));
            }
        }
        let email = given.get("email").and_then(Value::as_str).unwrap_or_default();
        if email.contains("refused-by-hubspot") {
            return Err(("INVALID_EMAIL", "the address is invalid".to_owned()));
        }
        let company = given.get("company_id").and_then(Value::as_str).unwrap_or_default();
        let there = |id: u64| self.living("companies").iter().any(|(known, _)| *known == id);
        if !company.is_empty() && !company.parse().is_ok_and(there) {
            return Err(("VALIDATION_ERROR", "there is no such company".to_owned()));
        }
        let found = match action {
            "upsert" => {
                let by = input["idProperty"].as_str().unwrap();
                assert!(UNIQUE.contains(&by), "{by} is not unique");
                self.find(object, by, wanted)
            }
            _ => {
                let id = wanted.parse().ok();
                let there = |id: &u64| self.living(object).iter().any(|(known, _)| known == id);
                let id = id.filter(there);
                Some(id.ok_or_else(|| ("OBJECT_NOT_FOUND", "no such record".to_owned()))?)
            }
        };
        let values: Vec<(&str, &str)> = given
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
            .collect();
        self.writes += 1;
        self.written.push(format!("{object} {wanted}"));
        match found {
            Some(id) => {
                self.change(object, id, &values);
                Ok(id)
            }
            None => Ok(self.add(object, &values)),
        }
    }
}
