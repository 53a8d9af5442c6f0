//! The API, asked thousands of random and malformed questions: none is answered with a server error, each with a status
//! that the reference declares and a body of the kind that it declares.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use flywheel_base::{Clock, Rng};
use flywheel_runtime::{Access as Open, Workspace};
use flywheel_server::{Options, Server, WheelClock};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::house::House;

const PASSWORD: &str = "correct horse battery";
/// The seed of all questions.
const SEED: u64 = 20_240_501;
/// Questions for each route.
const QUESTIONS: usize = 60;
/// The largest answer that is read.
const ANSWER_MAX: usize = 64 << 20;

/// What stands in the places of addresses beside names that are there.
const PLACES: [&str; 16] = [
    "not-there",
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e",
    "%00",
    "%ff%fe",
    "%E5%8F%AC%E5%9B%9E",
    "a%20b",
    "it%27s",
    "%22;drop%20table%20x",
    "{}",
    "*",
    "-1",
    "99999999999999999999",
    "w-1",
    "%0d%0aset-cookie:%20a=b",
    "a.b.c.d.e",
];

/// What stands after the `?`, whatever is asked for.
const WORDS: [&str; 14] = [
    "",
    "0",
    "1",
    "-1",
    "4294967296",
    "99999999999999999999",
    "1e9",
    "NaN",
    "true",
    "%ff",
    "%E5%8F%AC",
    "it%27s",
    "2024-05-01",
    "..%2f..%2fx",
];

/// Texts of bodies.
const TEXTS: [&str; 20] = [
    "",
    " ",
    "select 1",
    "select * from system.runs",
    "select * from nowhere.at_all",
    "delete from raw.accounts",
    "select '",
    "with a as (select 1) select * from a, a",
    "\u{0}",
    "召回",
    "it's",
    "../../etc/passwd",
    "1h",
    "-1d",
    "2024-05-01",
    "-262143-01-01",
    "262142-12-31",
    "0000-00-00",
    "+stale_deals+",
    "${env:HOME}",
];

struct Asker {
    router: Router,
    cookie: String,
    csrf: String,
    rng: Rng,
    /// Names of the project: policies, syncs, tables, ….
    names: Vec<String>,
}

impl Asker {
    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.rng.below(of.len())]
    }

    fn place(&mut self) -> String {
        match self.rng.below(4) {
            0 => "x".repeat(1 + self.rng.below(3_000)),
            1 => self.one(&PLACES).to_owned(),
            _ => self.names[self.rng.below(self.names.len())].clone(),
        }
    }

    /// An address of a route.
    fn address(&mut self, path: &str, operation: &Value) -> String {
        let mut address = String::new();
        for part in path.split('/').skip(1) {
            address.push('/');
            address.push_str(&if part.starts_with('{') { self.place() } else { part.to_owned() });
        }
        let mut asked = Vec::new();
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        for one in parameters.iter().filter(|one| one["in"] == "query") {
            let name = one["name"].as_str().unwrap();
            if self.rng.below(2) == 0 {
                let value = match self.rng.below(3) {
                    0 => self.names[self.rng.below(self.names.len())].clone(),
                    _ => self.one(&WORDS).to_owned(),
                };
                asked.push(format!("{name}={value}"));
            }
        }
        if self.rng.below(10) == 0 {
            asked.push(self.one(&["x=1", "limit", "limit=1&limit=2", "=", "&&", "%"]).to_owned());
        }
        if !asked.is_empty() {
            address.push('?');
            address.push_str(&asked.join("&"));
        }
        address
    }

    /// A value that fits a schema, more or less.
    fn value(&mut self, schema: &Value, depth: usize) -> Value {
        if self.rng.below(12) == 0 {
            return [
                Value::Null,
                json!(true),
                json!(-1),
                json!(u64::MAX),
                json!(1e300),
                json!([]),
                json!({"a": {"b": []}}),
                json!("x".repeat(70_000)),
            ][self.rng.below(8)]
            .clone();
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds[self.rng.below(kinds.len())].as_str().unwrap().to_owned(),
            Value::String(kind) => kind.clone(),
            _ => "string".to_owned(),
        };
        match kind.as_str() {
            "object" if depth < 4 => {
                let mut object = serde_json::Map::new();
                for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                    let needed = schema["type"].is_string();
                    if self.rng.below(if needed { 12 } else { 2 }) != 0 {
                        object.insert(name.clone(), self.value(schema, depth + 1));
                    }
                }
                if self.rng.below(15) == 0 {
                    object.insert("unknown".to_owned(), json!(1));
                }
                Value::Object(object)
            }
            "array" if depth < 4 => {
                let count = self.rng.below(4);
                (0..count).map(|_| self.value(&schema["items"], depth + 1)).collect()
            }
            "boolean" => json!(self.rng.below(2) == 0),
            "integer" => [json!(0), json!(1), json!(90), json!(u64::MAX), json!(-5)]
                [self.rng.below(5)]
            .clone(),
            "number" => {
                [json!(0.0), json!(-1.5), json!(1e308), json!(0.05)][self.rng.below(4)].clone()
            }
            "null" => Value::Null,
            _ if self.rng.below(3) == 0 => json!(self.names[self.rng.below(self.names.len())]),
            _ => json!(self.one(&TEXTS)),
        }
    }

    fn body(&mut self, operation: &Value) -> Vec<u8> {
        let content = &operation["requestBody"]["content"]["application/json"]["schema"];
        match self.rng.below(14) {
            0 => Vec::new(),
            1 => b"{".to_vec(),
            2 => b"\xff\xfe{}".to_vec(),
            3 => "[".repeat(5_000).into_bytes(),
            4 => b"{\"a\":1,\"a\":2}".to_vec(),
            5 => b"nan".to_vec(),
            _ if content.is_null() || content == &json!({}) => {
                let events = [
                    r#"{"decision_id": "d", "x": 1}"#,
                    r#"[{"a": 1}, 5, null]"#,
                    "{\"a\":1}\n{\"b\":",
                    "[]",
                    "5",
                    "\"text\"",
                ];
                self.one(&events).as_bytes().to_vec()
            }
            _ => self.value(content, 0).to_string().into_bytes(),
        }
    }

    async fn ask(
        &self,
        method: &str,
        address: &str,
        kind: &str,
        body: Vec<u8>,
    ) -> (u16, String, Vec<u8>) {
        let request = Request::builder()
            .method(method)
            .uri(address)
            .header(header::COOKIE, &self.cookie)
            .header("x-csrf-token", &self.csrf)
            .header(header::CONTENT_TYPE, kind)
            .body(Body::from(body))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let kind = response.headers().get(header::CONTENT_TYPE);
        let kind = kind.map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default();
        let status = response.status().as_u16();
        let bytes = if kind == "text/event-stream" {
            Vec::new()
        } else {
            to_bytes(response.into_body(), ANSWER_MAX).await.unwrap().to_vec()
        };
        (status, kind, bytes)
    }
}

/// Whether a status is among those that an operation declares.
fn is_declared(operation: &Value, status: u16) -> bool {
    let declared = operation["responses"].as_object().unwrap();
    let class = format!("{}XX", status / 100);
    declared.contains_key(&status.to_string()) || declared.contains_key(&class)
}

async fn asker() -> (House, Server, Asker) {
    let house = House::from_template("crm");
    house.ok(&["turn"]);
    house.write("schedules/hourly.yaml", "schedule: hourly\nrun: build\nwhen: {every: 1h}\n");
    house.write(
        "schedules/called.yaml",
        "schedule: called\nrun: build\nwhen: {webhook: \"${env:FLYWHEEL_HOOK_OF_A_TEST}\"}\n",
    );
    let clock = Arc::new(WheelClock::real());
    let shared: Arc<dyn Clock> = Arc::<WheelClock>::clone(&clock);
    let workspace = Workspace::open(&house.dir(), Open::Write, shared).await.unwrap();
    let mut names: Vec<String> =
        ["hourly", "called", "ada", "raw.accounts", "model", "w-1", "t"].map(str::to_owned).into();
    names.extend(workspace.project.policies.keys().cloned());
    names.extend(workspace.project.syncs.keys().cloned());
    names.extend(workspace.project.connections.keys().cloned());
    names.extend(workspace.project.learners.keys().cloned());
    names.extend(workspace.store.runs(3).unwrap().into_iter().map(|run| run.run_id));
    let server = Server::new(workspace, clock, Options::default()).unwrap();
    let router = server.router();
    let rng = Rng::new(SEED);
    let mut asker = Asker { router, cookie: String::new(), csrf: String::new(), rng, names };
    let link = server.setup_link().await.unwrap().unwrap();
    let token = link.split("token=").nth(1).unwrap();
    let setup = json!({"token": token, "name": "ada", "password": PASSWORD}).to_string();
    let request =
        Request::builder().method("POST").uri("/v1/setup").body(Body::from(setup)).unwrap();
    let response = asker.router.clone().oneshot(request).await.unwrap();
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
    asker.cookie = cookie.split(';').next().unwrap().to_owned();
    let answer = to_bytes(response.into_body(), ANSWER_MAX).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    answer["csrf"].as_str().unwrap().clone_into(&mut asker.csrf);
    (house, server, asker)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_question_is_answered_with_a_server_error() {
    let (_house, _server, mut asker) = asker().await;
    let (_, _, described) = asker.ask("GET", "/v1/openapi.json", "", Vec::new()).await;
    let described: Value = serde_json::from_slice(&described).unwrap();
    let mut operations = Vec::new();
    for (path, methods) in described["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            // It would end the session that asks.
            if path != "/v1/logout" {
                operations.push((path.clone(), method.to_uppercase(), operation.clone()));
            }
        }
    }
    assert!(operations.len() > 80, "{}", operations.len());
    let (mut count, mut by_class, mut wrong) = (0, [0_usize; 6], Vec::new());
    for round in 0..QUESTIONS {
        for (path, method, operation) in &operations {
            let address = asker.address(path, operation);
            let body = if method == "GET" { Vec::new() } else { asker.body(operation) };
            let kinds = ["application/json", "text/plain", "application/x-ndjson", "", "?"];
            let kind = if asker.rng.below(4) == 0 { asker.one(&kinds) } else { kinds[0] };
            // An address that cannot be one is refused before anybody sees it.
            if address.parse::<axum::http::Uri>().is_err() {
                continue;
            }
            let said = String::from_utf8_lossy(&body).chars().take(300).collect::<String>();
            let (status, answered, bytes) = asker.ask(method, &address, kind, body).await;
            count += 1;
            by_class[usize::from(status / 100)] += 1;
            let answer = String::from_utf8_lossy(&bytes).chars().take(300).collect::<String>();
            let is_problem = answered == "application/problem+json"
                && serde_json::from_slice::<Value>(&bytes).is_ok_and(|problem| {
                    problem["code"].is_string() && problem["status"] == status
                });
            let fits = match status {
                400.. => is_problem,
                _ => {
                    answered != "application/json"
                        || serde_json::from_slice::<Value>(&bytes).is_ok()
                }
            };
            // What is not there at the moment is said in an answer of its own.
            let code = serde_json::from_slice::<Value>(&bytes).unwrap_or_default();
            let waits = is_problem && matches!(code["code"].as_str(), Some("unavailable"));
            if (status >= 500 && !waits) || !is_declared(operation, status) || !fits {
                let address: String = address.chars().take(200).collect();
                wrong.push(format!("{method} {address} {said:?}\n  {status} {answered}: {answer}"));
            }
        }
        // Nobody does what is asked for here; what waits is taken back, so that there is room for more.
        let (_, _, work) = asker.ask("GET", "/v1/work", "", Vec::new()).await;
        let work: Value = serde_json::from_slice(&work).unwrap();
        for one in work["items"].as_array().unwrap().iter().filter(|one| one["status"] == "queued")
        {
            let address = format!("/v1/work/{}/cancel", one["work"].as_str().unwrap());
            asker.ask("POST", &address, "", Vec::new()).await;
        }
        assert!(wrong.len() < 20, "in round {round}:\n{}", wrong.join("\n"));
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 5_000 && by_class[2] > 1_000 && by_class[4] > 1_000, "{count}: {by_class:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_describes_what_may_stand_after_an_address() {
    let (_house, _server, asker) = asker().await;
    let (_, _, described) = asker.ask("GET", "/v1/openapi.json", "", Vec::new()).await;
    let described: Value = serde_json::from_slice(&described).unwrap();
    let parameter = |path: &str, name: &str| {
        let all = described["paths"][path]["get"]["parameters"].as_array().unwrap();
        all.iter()
            .find(|one| one["name"] == name)
            .cloned()
            .unwrap_or_else(|| panic!("{path}: {name}"))
    };
    assert_eq!(parameter("/v1/runs/{run}/log", "after")["in"], "query");
    assert_eq!(parameter("/v1/recommend", "k")["required"], false);
    for name in ["learner", "unit"] {
        let needed = parameter("/v1/recommend", name);
        assert_eq!(
            (&needed["required"], &needed["schema"]["type"]),
            (&json!(true), &json!("string"))
        );
    }
    assert_eq!(parameter("/v1/quarantine", "status")["schema"]["type"], json!(["string"]));
    // Nothing refers to a place that this document does not have.
    let text = described.to_string();
    for (at, _) in text.match_indices("\"$ref\":\"") {
        let target = text[at + 8..].split('"').next().unwrap();
        let found = described.pointer(target.trim_start_matches('#'));
        assert!(found.is_some(), "{target}");
    }
    let mut ids = std::collections::BTreeSet::new();
    for methods in described["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{id}");
            assert!(ids.insert(id.to_owned()), "{id} is there twice");
        }
    }
}
