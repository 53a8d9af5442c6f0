//! A fake Salesforce that enforces what the documentation says: tokens that end, the requests of a
//! day, a server that is too busy, queries in answers with locators that are forgotten, 200 rows of a composite request, and
//! the states, limits and result lists of Bulk API 2.0 jobs, whose results are gone after a week.

mod events;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flywheel_base::{Rng, Timestamp};
use serde_json::{Map, Value, json};

use self::events::FakeEvents;
use super::{Fake, FakePace, Meter, Reply, Seen};
use crate::http::Pace;
use crate::source::csv::{CsvRows, quoted};

/// How long the results of a query job are kept.
const RESULTS_KEPT_US: i64 = 7 * 24 * 3_600 * 1_000_000;

/// The most bytes of a job's data.
const JOB_BYTES_MAX: usize = 150_000_000;

/// The fields of a contact and their types.
pub(crate) const FIELDS: [(&str, &str); 8] = [
    ("Id", "id"),
    ("Ext__c", "string"),
    ("Email", "email"),
    ("LastName", "string"),
    ("Score__c", "double"),
    ("IsDeleted", "boolean"),
    ("SystemModstamp", "datetime"),
    ("MailingAddress", "address"),
];

#[derive(Debug, Default)]
struct Job {
    state: &'static str,
    csv: String,
    polls: usize,
    done: Vec<String>,
    failed: Vec<String>,
    unprocessed: Vec<String>,
    header: String,
}

/// The fields that a query asks for, and what it finds.
type Selected = (Vec<String>, Vec<Map<String, Value>>);

/// A query job.
#[derive(Debug)]
pub(crate) struct QueryJob {
    pub(crate) state: &'static str,
    fields: Vec<String>,
    records: Vec<Map<String, Value>>,
    polls: usize,
    made_us: i64,
}

/// What the fake knows and counted.
#[derive(Debug)]
pub(crate) struct FakeSalesforce {
    /// Contacts by id.
    pub(crate) contacts: BTreeMap<String, Map<String, Value>>,
    pub(crate) used: u64,
    pub(crate) used_max: u64,
    /// The requests of ten seconds, above which the server is too busy.
    pub(crate) requests: Meter,
    /// How long a request takes.
    pub(crate) takes: Duration,
    /// The chance of a 502 or 503, before anything is done.
    pub(crate) faults: f64,
    /// The chance that an answer is lost after what was asked for is done.
    pub(crate) lost: f64,
    /// How many requests had a fault, or no answer.
    pub(crate) faulted: usize,
    pub(crate) token_life: Duration,
    pub(crate) tokens: usize,
    /// How many requests had a token that is not good.
    pub(crate) refused_tokens: usize,
    /// Records in an answer.
    pub(crate) page: usize,
    /// External ids whose row is locked at the first try.
    pub(crate) locked: Vec<String>,
    /// A job stops after so many rows, once.
    pub(crate) job_stops_after: Option<usize>,
    pub(crate) jobs_created: usize,
    pub(crate) forget_locators: bool,
    /// The change events and who listens to them.
    pub(crate) events: FakeEvents,
    /// Query jobs that are there.
    pub(crate) query_jobs: BTreeMap<String, QueryJob>,
    pub(crate) query_jobs_created: usize,
    /// Query jobs of a day.
    pub(crate) query_jobs_max: usize,
    /// Why query jobs fail.
    pub(crate) query_jobs_fail: Option<&'static str>,
    /// Whether the object has no query jobs.
    pub(crate) no_query_jobs: bool,
    /// Whether the REST API takes too long to answer a query.
    pub(crate) slow: bool,
    locators: BTreeMap<String, (usize, Vec<Value>)>,
    jobs: BTreeMap<String, Job>,
    token_ends_us: i64,
    next_id: u64,
    /// Ids by external id.
    by_ext: BTreeMap<String, String>,
    rng: Rng,
    pace: Arc<FakePace>,
}

fn refused(status: u16, code: &str, message: &str) -> Reply {
    Reply::new(status, json!([{ "errorCode": code, "message": message }]).to_string())
}

fn stamp(us: i64) -> String {
    Timestamp::from_micros(us).datetime().format("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string()
}

fn micros(text: &str) -> i64 {
    Timestamp::parse(&text.replace("+0000", "Z")).unwrap().micros()
}

impl FakeSalesforce {
    pub(crate) async fn start(pace: &Arc<FakePace>) -> (Fake, Arc<Mutex<Self>>) {
        let salesforce = Arc::new(Mutex::new(Self {
            contacts: BTreeMap::new(),
            used: 0,
            used_max: 100_000,
            requests: Meter::new(usize::MAX, Duration::from_secs(10)),
            takes: Duration::from_millis(25),
            faults: 0.0,
            lost: 0.0,
            faulted: 0,
            token_life: Duration::from_secs(7_200),
            tokens: 0,
            refused_tokens: 0,
            page: 200,
            locked: Vec::new(),
            job_stops_after: None,
            jobs_created: 0,
            forget_locators: false,
            events: FakeEvents::default(),
            query_jobs: BTreeMap::new(),
            query_jobs_created: 0,
            query_jobs_max: 10_000,
            query_jobs_fail: None,
            no_query_jobs: false,
            slow: false,
            locators: BTreeMap::new(),
            jobs: BTreeMap::new(),
            token_ends_us: 0,
            next_id: 1,
            by_ext: BTreeMap::new(),
            rng: Rng::new(13),
            pace: Arc::clone(pace),
        }));
        let serving = Arc::clone(&salesforce);
        (Fake::start(move |request| serving.lock().unwrap().answer(request)).await, salesforce)
    }

    /// Adds a contact with that external id.
    pub(crate) fn add(&mut self, ext: &str, modified: &str) -> String {
        let id = format!("003{:012}AAA", self.next_id);
        self.next_id += 1;
        let fields = json!({ "Id": id, "Ext__c": ext, "Email": format!("{ext}@example.com"), "LastName": ext,
                             "Score__c": 1.5, "IsDeleted": false, "SystemModstamp": stamp(micros(modified)) });
        self.contacts.insert(id.clone(), fields.as_object().unwrap().clone());
        self.by_ext.insert(ext.to_owned(), id.clone());
        id
    }

    pub(crate) fn change(&mut self, id: &str, field: &str, value: Value, at: &str) {
        let contact = self.contacts.get_mut(id).unwrap();
        contact.insert(field.to_owned(), value);
        contact.insert("SystemModstamp".to_owned(), json!(stamp(micros(at))));
    }

    /// Tells of a change of records: the type of change, the records, and the transaction.
    pub(crate) fn tell(&mut self, change: &str, ids: &[&str], transaction: &str) -> i64 {
        self.events.tell(change, ids, transaction, self.pace.now().micros())
    }

    fn answer(&mut self, request: &Seen) -> Reply {
        self.pace.advance(self.takes);
        let now_us = self.pace.now().micros();
        if request.path == "/services/oauth2/token" {
            if !request.body.contains("client_secret=hush") {
                return Reply::new(
                    400,
                    r#"{"error":"invalid_client","error_description":"invalid client credentials"}"#,
                );
            }
            self.tokens += 1;
            self.token_ends_us = now_us + self.token_life.as_micros() as i64;
            return Reply::json(
                &json!({ "access_token": format!("00D!{}", self.tokens), "token_type": "Bearer" }),
            );
        }
        let expected = format!("Bearer 00D!{}", self.tokens);
        if now_us >= self.token_ends_us || request.header("authorization") != Some(&expected) {
            self.refused_tokens += 1;
            return refused(401, "INVALID_SESSION_ID", "Session expired or invalid");
        }
        if request.path == "/cometd/62.0" {
            return self.events.answer(request, now_us);
        }
        if self.used >= self.used_max {
            return refused(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.");
        }
        self.used += 1;
        if !self.requests.hit(self.pace.now()) {
            return refused(503, "SERVER_UNAVAILABLE", "The server is too busy.");
        }
        if self.faults > 0.0 && self.rng.chance(self.faults) {
            self.faulted += 1;
            return if self.rng.chance(0.5) {
                refused(503, "SERVER_UNAVAILABLE", "Try again.").header("retry-after", "1")
            } else {
                Reply::text("text/html", "<html>Bad Gateway</html>").status(502)
            };
        }
        let Some(path) = request.path.strip_prefix("/services/data/v62.0") else {
            return refused(404, "NOT_FOUND", "The requested resource does not exist");
        };
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let reply = match (request.method.as_str(), parts.as_slice()) {
            ("GET", ["limits"]) => Reply::json(&json!({})),
            ("GET", ["sobjects", _, "describe"]) => {
                let fields: Vec<Value> = FIELDS
                    .iter()
                    .map(|(name, kind)| json!({ "name": name, "type": kind }))
                    .collect();
                Reply::json(&json!({ "fields": fields }))
            }
            ("GET", ["query"]) => self.query(request.param("q").unwrap(), false),
            ("GET", ["queryAll"]) => self.query(request.param("q").unwrap(), true),
            ("GET", ["query" | "queryAll", locator]) => self.located(locator),
            ("PATCH", ["composite", "sobjects", "Contact", "Ext__c"]) => {
                self.composite(&request.json())
            }
            ("DELETE", ["sobjects", "Contact", "Ext__c", ext]) => self.delete(ext),
            ("POST", ["jobs", "query"]) => self.create_query_job(&request.json()),
            (method, ["jobs", "query", id, rest @ ..]) => {
                self.query_job(method, id, rest.first().copied(), request)
            }
            ("POST", ["jobs", "ingest"]) => self.create_job(&request.json()),
            (method, ["jobs", "ingest", id, rest @ ..]) => {
                self.job(method, id, rest.first().copied(), request)
            }
            (method, _) => refused(404, "NOT_FOUND", &format!("nothing is at {method} {path}")),
        };
        if self.lost > 0.0 && self.rng.chance(self.lost) {
            self.faulted += 1;
            return Reply::nothing();
        }
        reply.header("sforce-limit-info", format!("api-usage={}/{}", self.used, self.used_max))
    }

    fn query(&mut self, soql: &str, deleted: bool) -> Reply {
        if self.slow {
            return refused(400, "QUERY_TIMEOUT", "Your query request was running for too long.");
        }
        let (fields, found) = match self.selected(soql, deleted) {
            Ok(found) => found,
            Err(reply) => return *reply,
        };
        let shown: Vec<Value> = found
            .into_iter()
            .map(|contact| {
                let mut shown = Map::new();
                shown.insert("attributes".to_owned(), json!({ "type": "Contact", "url": "/x" }));
                for field in &fields {
                    shown.insert(field.clone(), contact.get(field).cloned().unwrap_or(Value::Null));
                }
                Value::Object(shown)
            })
            .collect();
        self.page_of(shown.len(), shown)
    }

    /// The fields that a query asks for, and the contacts that it finds.
    fn selected(&self, soql: &str, deleted: bool) -> Result<Selected, Box<Reply>> {
        let (head, order) = soql.split_once(" ORDER BY ").unwrap_or((soql, ""));
        let (head, condition) = head.split_once(" WHERE ").unwrap_or((head, ""));
        let asked = head.strip_prefix("SELECT ").unwrap().split_once(" FROM ").unwrap().0;
        let fields: Vec<String> = asked.split(", ").map(str::to_owned).collect();
        if let Some(unknown) =
            fields.iter().find(|field| !FIELDS.iter().any(|(name, _)| name == field))
        {
            let why = format!("No such column '{unknown}' on entity 'Contact'");
            return Err(Box::new(refused(400, "INVALID_FIELD", &why)));
        }
        let mut found: Vec<Map<String, Value>> = self
            .contacts
            .values()
            .filter(|contact| deleted || contact["IsDeleted"] == json!(false))
            .filter(|contact| fits(contact, condition))
            .cloned()
            .collect();
        if order.starts_with("SystemModstamp") {
            found.sort_by_key(|contact| {
                (contact["SystemModstamp"].to_string(), contact["Id"].to_string())
            });
        }
        Ok((fields, found))
    }

    fn page_of(&mut self, total: usize, mut records: Vec<Value>) -> Reply {
        let rest = records.split_off(records.len().min(self.page));
        let mut body = json!({ "totalSize": total, "done": rest.is_empty(), "records": records });
        if !rest.is_empty() {
            let locator = format!("01g{}-{}", self.used, self.page);
            body["nextRecordsUrl"] = json!(format!("/services/data/v62.0/query/{locator}"));
            self.locators.insert(locator, (total, rest));
        }
        Reply::json(&body)
    }

    fn create_query_job(&mut self, body: &Value) -> Reply {
        if self.no_query_jobs {
            let why = "Entity 'Contact' is not supported by the Bulk API.";
            return refused(400, "INVALIDENTITY", why);
        }
        let operation = body["operation"].as_str().unwrap();
        let soql = body["query"].as_str().unwrap();
        let csv = json!([body["contentType"], body["columnDelimiter"], body["lineEnding"]]);
        if csv != json!(["CSV", "COMMA", "LF"]) || !["query", "queryAll"].contains(&operation) {
            return refused(400, "INVALIDJOB", "the job is not one");
        }
        // It would be taken, and not be cut into parts.
        assert!(!soql.contains("ORDER BY"), "{soql}");
        if self.query_jobs_created >= self.query_jobs_max {
            return refused(400, "EXCEEDED_QUOTA", "ApiBatchItems Limit exceeded.");
        }
        let (fields, mut records) = match self.selected(soql, operation == "queryAll") {
            Ok(found) => found,
            Err(reply) => return *reply,
        };
        // In parts that ran side by side.
        records.sort_by_key(|contact| {
            contact["Id"].as_str().unwrap().bytes().rev().collect::<Vec<_>>()
        });
        self.query_jobs_created += 1;
        let id = format!("750{:012}AAA", self.query_jobs_created);
        let made_us = self.pace.now().micros();
        let job = QueryJob { state: "UploadComplete", fields, records, polls: 0, made_us };
        self.query_jobs.insert(id.clone(), job);
        Reply::json(
            &json!({ "id": id, "operation": operation, "object": "Contact", "state": "UploadComplete" }),
        )
    }

    fn query_job(&mut self, method: &str, id: &str, what: Option<&str>, request: &Seen) -> Reply {
        let now_us = self.pace.now().micros();
        self.query_jobs.retain(|_, job| now_us - job.made_us < RESULTS_KEPT_US);
        let fails = self.query_jobs_fail;
        let Some(job) = self.query_jobs.get_mut(id) else {
            return refused(404, "NOT_FOUND", "The requested resource does not exist");
        };
        let ended = matches!(job.state, "JobComplete" | "Failed" | "Aborted");
        match (method, what) {
            ("GET", None) => {
                job.polls += 1;
                job.state = match (job.state, job.polls, fails) {
                    ("UploadComplete", 2.., _) => "InProgress",
                    ("InProgress", 3.., None) => "JobComplete",
                    ("InProgress", 3.., Some(_)) => "Failed",
                    (state, ..) => state,
                };
                let mut told = json!({ "id": id, "state": job.state, "retries": 0 });
                if let ("Failed", Some(why)) = (job.state, fails) {
                    told["errorMessage"] = json!(why);
                }
                Reply::json(&told)
            }
            ("PATCH", None) if !ended => {
                assert_eq!(request.json(), json!({ "state": "Aborted" }));
                job.state = "Aborted";
                Reply::json(&json!({ "id": id, "state": job.state }))
            }
            ("DELETE", None) if ended => {
                self.query_jobs.remove(id);
                Reply::new(204, "")
            }
            ("GET", Some("results")) if job.state == "JobComplete" => job.results(request),
            _ => refused(400, "INVALIDJOBSTATE", "the job is not in a state for that"),
        }
    }

    fn located(&mut self, locator: &str) -> Reply {
        if std::mem::take(&mut self.forget_locators) {
            self.locators.clear();
        }
        match self.locators.get(locator).cloned() {
            Some((total, rest)) => self.page_of(total, rest),
            None => refused(400, "INVALID_QUERY_LOCATOR", "invalid query locator"),
        }
    }

    /// Upserts one row; the error is (code, message, field).
    fn upsert(
        &mut self,
        row: &Map<String, Value>,
    ) -> Result<String, (&'static str, String, &'static str)> {
        let ext = row["Ext__c"].as_str().unwrap().to_owned();
        if let Some(place) = self.locked.iter().position(|locked| *locked == ext) {
            self.locked.remove(place);
            return Err(("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access".to_owned(), ""));
        }
        let mail = row.get("Email").and_then(Value::as_str).unwrap_or("a@b");
        if mail.starts_with("poison") {
            return Err((
                "INVALID_EMAIL_ADDRESS",
                format!("Email: invalid email address: {mail}"),
                "Email",
            ));
        }
        let now = Timestamp::from_micros(self.pace.now().micros()).to_string();
        let id = self.by_ext.get(&ext).cloned();
        let id = id.unwrap_or_else(|| self.add(&ext, &now));
        for (name, value) in row.iter().filter(|(name, _)| *name != "attributes") {
            self.change(&id, name, value.clone(), &now);
        }
        Ok(id)
    }

    fn composite(&mut self, body: &Value) -> Reply {
        let records = body["records"].as_array().unwrap();
        if records.len() > 200 {
            return refused(
                400,
                "EXCEEDED_ID_LIMIT",
                "record limit reached. cannot submit more than 200 records",
            );
        }
        assert_eq!(body["allOrNone"], json!(false));
        let results: Vec<Value> = records
            .iter()
            .map(|record| match self.upsert(record.as_object().unwrap()) {
                Ok(id) => json!({ "id": id, "success": true, "errors": [] }),
                Err((code, message, field)) => json!({ "success": false,
                    "errors": [{ "statusCode": code, "message": message, "fields": [field] }] }),
            })
            .collect();
        Reply::json(&json!(results))
    }

    fn delete(&mut self, ext: &str) -> Reply {
        let same = |contact: &&mut Map<String, Value>| {
            contact["Ext__c"] == json!(ext) && contact["IsDeleted"] == json!(false)
        };
        match self.contacts.values_mut().find(same) {
            Some(contact) => {
                contact.insert("IsDeleted".to_owned(), json!(true));
                Reply::new(204, "")
            }
            None => refused(
                404,
                "NOT_FOUND",
                "Provided external ID field does not exist or is not accessible",
            ),
        }
    }

    fn create_job(&mut self, body: &Value) -> Reply {
        let wanted = json!({ "object": "Contact", "operation": "upsert", "contentType": "CSV", "lineEnding": "LF",
                             "externalIdFieldName": "Ext__c" });
        if *body != wanted {
            return refused(400, "INVALIDJOB", "the job is not one");
        }
        self.jobs_created += 1;
        let id = format!("750{:012}", self.jobs_created);
        self.jobs.insert(id.clone(), Job { state: "Open", ..Job::default() });
        Reply::json(&json!({ "id": id, "state": "Open" }))
    }

    fn job(&mut self, method: &str, id: &str, what: Option<&str>, request: &Seen) -> Reply {
        let Some(mut job) = self.jobs.remove(id) else {
            return refused(404, "NOT_FOUND", "no such job");
        };
        let reply = match (method, what, job.state) {
            ("PUT", Some("batches"), "Open") if job.csv.is_empty() => {
                if request.body.len() > JOB_BYTES_MAX {
                    refused(413, "TOO_LARGE", "the data is too large")
                } else {
                    job.csv.clone_from(&request.body);
                    Reply::new(201, "")
                }
            }
            ("PATCH", None, "Open") => {
                job.state = match request.json()["state"].as_str().unwrap() {
                    "UploadComplete" => "UploadComplete",
                    _ => "Aborted",
                };
                Reply::json(&json!({ "id": id, "state": job.state }))
            }
            ("GET", None, _) => {
                job.polls += 1;
                if job.state == "UploadComplete" && job.polls == 3 {
                    self.process(&mut job);
                }
                let message = if job.state == "Failed" {
                    "TooManyLockFailure : Too many lock failure"
                } else {
                    ""
                };
                Reply::json(&json!({ "id": id, "state": job.state, "errorMessage": message }))
            }
            ("GET", Some(list), "JobComplete" | "Failed") => {
                let (extra, rows) = match list {
                    "successfulResults" => ("sf__Id,sf__Created,", &job.done),
                    "failedResults" => ("sf__Id,sf__Error,", &job.failed),
                    "unprocessedrecords" => ("", &job.unprocessed),
                    _ => return refused(404, "NOT_FOUND", "no such list"),
                };
                Reply::text("text/csv", format!("{extra}{}\n{}", job.header, rows.concat()))
            }
            _ => refused(400, "INVALIDJOBSTATE", "not in this state"),
        };
        self.jobs.insert(id.to_owned(), job);
        reply
    }

    fn process(&mut self, job: &mut Job) {
        let csv = std::mem::take(&mut job.csv);
        let mut rows = CsvRows::new(csv.as_bytes());
        let header = rows.next().unwrap();
        job.header = header.join(",");
        let stop = self.job_stops_after.take();
        job.state = if stop.is_some() { "Failed" } else { "JobComplete" };
        for (at, cells) in rows.enumerate() {
            let line = cells.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",");
            if stop.is_some_and(|stop| at >= stop) {
                job.unprocessed.push(format!("{line}\n"));
                continue;
            }
            let value = |cell: &String| if cell == "#N/A" { Value::Null } else { json!(cell) };
            let row: Map<String, Value> = header
                .iter()
                .cloned()
                .zip(cells.iter().map(value))
                .filter(|(_, value)| *value != json!(""))
                .collect();
            match self.upsert(&row) {
                Ok(id) => job.done.push(format!("{id},true,{line}\n")),
                Err((code, message, field)) => {
                    job.failed.push(format!(
                        ",{},{line}\n",
                        quoted(&format!("{code}:{message}:{field} --"))
                    ));
                }
            }
        }
    }
}

impl QueryJob {
    fn results(&self, request: &Seen) -> Reply {
        let from = match request.param("locator") {
            None => 0,
            Some(text) => match text.strip_prefix("MTAw").and_then(|from| from.parse().ok()) {
                Some(from) if from < self.records.len() => from,
                _ => return refused(400, "INVALID_LOCATOR", "the locator is none of this job"),
            },
        };
        let most: usize = request.param("maxRecords").unwrap().parse().unwrap();
        let records = self.records.iter().skip(from).take(most);
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let mut text = self.fields.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(",");
        text.push('\n');
        let mut count = 0;
        for record in records {
            let cell = |name: &String| match record.get(name) {
                None | Some(Value::Null) => quoted(""),
                Some(Value::String(text)) if name == "SystemModstamp" => {
                    quoted(&text.replace("+0000", "Z"))
                }
                Some(Value::String(text)) => quoted(text),
                Some(other) => quoted(&other.to_string()),
            };
            text.push_str(&self.fields.iter().map(cell).collect::<Vec<_>>().join(","));
            text.push('\n');
            count += 1;
        }
        let next = match from + count {
            end if end < self.records.len() => format!("MTAw{end}"),
            _ => "null".to_owned(),
        };
        Reply::text("text/csv", text)
            .header("sforce-locator", next)
            .header("sforce-numberofrecords", count.to_string())
    }
}

/// Whether a contact meets the conditions that the source writes.
fn fits(contact: &Map<String, Value>, condition: &str) -> bool {
    let modstamp = micros(contact["SystemModstamp"].as_str().unwrap());
    let id = contact["Id"].as_str().unwrap();
    let quoted = |text: &str| text.trim_matches(|c| c == '\'' || c == ')').to_owned();
    condition.split(" AND ").filter(|part| !part.is_empty()).all(|part| {
        if let Some(ids) = part.strip_prefix("Id IN (") {
            return ids.trim_end_matches(')').split(',').any(|one| quoted(one) == id);
        }
        if let Some(name) = part.strip_prefix("(LastName != ") {
            return contact["LastName"] != json!(quoted(name));
        }
        // "(SystemModstamp > L OR (SystemModstamp = L" and "Id > 'I'))" arrive as two parts.
        if let Some(last) = part.strip_prefix("(SystemModstamp > ") {
            let last = micros(last.split(' ').next().unwrap());
            let behind = condition.split("AND Id > ").nth(1).map(quoted).unwrap();
            return modstamp > last || (modstamp == last && id > behind.as_str());
        }
        if part.ends_with("'))") {
            return true;
        }
        if let Some(until) = part.strip_prefix("SystemModstamp <= ") {
            return modstamp <= micros(until);
        }
        if let Some(since) = part.strip_prefix("SystemModstamp >= ") {
            return modstamp >= micros(since);
        }
        if let Some(behind) = part.strip_prefix("Id > ") {
            return id > quoted(behind).as_str();
        }
        panic!("the fake does not know the condition {part}")
    })
}
