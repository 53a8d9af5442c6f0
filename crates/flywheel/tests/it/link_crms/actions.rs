//! Decisions that are written into a CRM: each record once, whatever the CRM refuses and whenever the program is killed.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::Clock;
use super::hubspot::HubSpot;
use super::server::{Answer, Asked, serve};
use crate::house::{House, binary, text};

/// Requests that a token is good for.
const TOKEN_USES: u64 = 2;

/// One request of so many is one too many.
const BUSY_EACH: u64 = 4;

/// Where the tasks of an org are.
const TASKS: &str = "/services/data/v62.0/composite/sobjects";

/// The tasks of an org, by keys.
#[derive(Default)]
struct Org {
    tasks: BTreeMap<String, Value>,
    /// How often a task was made under a key.
    made: BTreeMap<String, u64>,
    /// Tasks that were there and were written again.
    again: u64,
    /// Records in each request.
    requests: Vec<usize>,
    asked: u64,
    /// Requests that were one too many, and those with a token that had ended.
    busy: u64,
    ended: u64,
    token: u64,
    token_uses: u64,
    /// The program that is killed once its records are there, before it has an answer.
    killed: Option<u32>,
}

fn refused(status: u16, code: &str) -> Answer {
    Answer::json(status, &json!([{ "errorCode": code, "message": "not now" }]))
}

impl Org {
    fn answer(&mut self, asked: &Asked) -> Answer {
        if asked.path == "/services/oauth2/token" {
            (self.token, self.token_uses) = (self.token + 1, 0);
            return Answer::json(200, &json!({ "access_token": format!("t{}", self.token) }));
        }
        if asked.authorization != format!("Bearer t{}", self.token) || self.token_uses >= TOKEN_USES
        {
            self.ended += 1;
            return refused(401, "INVALID_SESSION_ID");
        }
        self.token_uses += 1;
        self.asked += 1;
        if self.asked.is_multiple_of(BUSY_EACH) {
            self.busy += 1;
            return refused(429, "REQUEST_LIMIT_EXCEEDED").header("retry-after", "30");
        }
        let body = asked.json();
        let records = body["records"].as_array().unwrap();
        assert!(records.len() <= 200 && body["allOrNone"] == json!(false), "{body}");
        self.requests.push(records.len());
        let upserts = match asked.path.strip_prefix(TASKS) {
            Some("/Task/Flywheel_Key__c") if asked.method == "PATCH" => true,
            Some("") if asked.method == "POST" => false,
            _ => return refused(404, "NOT_FOUND"),
        };
        let results: Vec<Value> =
            records.iter().map(|record| self.write(record, upserts)).collect();
        let answer = Answer::json(200, &json!(results));
        match self.killed.take() {
            Some(program) => {
                let kill = Command::new("kill").args(["-9", &program.to_string()]).status();
                assert!(kill.unwrap().success());
                answer.lost()
            }
            None => answer,
        }
    }

    fn write(&mut self, record: &Value, upserts: bool) -> Value {
        assert_eq!(record["attributes"], json!({ "type": "Task" }));
        if record["Subject"].as_str().unwrap().contains("poison") {
            return json!({ "success": false, "errors": [{ "statusCode": "STRING_TOO_LONG",
                "message": "Subject: data value too large", "fields": ["Subject"] }] });
        }
        let key = record["Flywheel_Key__c"].as_str().unwrap().to_owned();
        let there = self.tasks.insert(key.clone(), record.clone()).is_some();
        if upserts && there {
            self.again += 1;
        } else {
            *self.made.entry(key).or_default() += 1;
        }
        json!({ "id": format!("00T{:015}", self.tasks.len()), "success": true, "errors": [] })
    }
}

/// A shop that writes tasks about its people into an org.
fn shop(people: usize, options: &str) -> (House, Arc<Mutex<Org>>) {
    let org = Arc::new(Mutex::new(Org::default()));
    let url = serve(&org, Org::answer);
    let house = people_of(people);
    house.write(
        "connections/org.yaml",
        format!(
            "connection: org\ntype: salesforce\noptions:\n  instance_url: {url}\n  auth: {{type: oauth2, token_url: '{url}/services/oauth2/token', client_id: flywheel, client_secret: '${{file:secret}}'}}\n  allow_private: true\n"
        ),
    );
    house.write(
        "actions/call.yaml",
        format!(
            "action: call\ntype: crm\nattempts: 30\noptions:\n  connection: org\n  target: {{object: Task}}\n{options}"
        ),
    );
    (house, org)
}

/// A project with people, of whom the third is called poison, and a policy that offers them tea.
fn people_of(count: usize) -> House {
    let house = House::new();
    let name = |n: usize| if n == 2 { "poison".to_owned() } else { format!("N{n}") };
    let lines = (0..count).map(|n| format!("p{n:04},{},p{n}@x.cn\n", name(n)));
    house.write("secret", "hush");
    house.write("data/people.csv", format!("id,name,mail\n{}", lines.collect::<String>()));
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "syncs/people.yaml",
        "sync: people\nconnection: files\nstreams:\n  - {stream: people, options: {path: people.csv}}\n",
    );
    house.write(
        "policies/offers.yaml",
        "policy: offers\nevery: 10000d\naudience: select id as unit_id, name, mail from {{ source('raw', 'people') }}\nchoose: {candidates: [{name: tea, payload: {offer: tea}}]}\naction: call\npayload: {name: $name, mail: $mail}\n",
    );
    house
}

/// Runs a turn that is killed once its first records are there.
fn killed_turn(house: &House, org: &Mutex<Org>) {
    let mut child = {
        let mut org = org.lock().unwrap();
        let mut turn = binary();
        turn.arg("-C").arg(house.dir()).args(["turn", "--replay", "2024-05-01"]);
        let child = turn.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        org.killed = Some(child.id());
        child
    };
    assert!(!child.wait().unwrap().success(), "it was killed");
    let org = org.lock().unwrap();
    assert_eq!((org.killed, org.requests.as_slice()), (None, [200].as_slice()));
}

const COUNTS: &str = "select status, count(*) from system.actions group by 1 order by 1";

#[test]
fn every_decision_is_a_record_once_and_a_bad_one_costs_no_other() {
    let fields = "  key: Flywheel_Key__c\n  fields: {Subject: 'Call {name} about {offer}', WhoId: '{unit_id}', Status: Open}\n";
    let (house, org) = shop(500, fields);
    killed_turn(&house, &org);
    house.ok(&["turn", "--replay", "2024-05-01"]);
    house.ok(&["turn", "--replay", "2024-05-02..2024-05-06"]);
    assert_eq!(house.sql(COUNTS), ["dead,1", "delivered,499"]);
    let error = house.cell("select error from system.outbox where status = 'dead'");
    assert!(error.contains("data value too large") && error.contains("string-too-long"), "{error}");
    let state = org.lock().unwrap();
    assert_eq!((state.tasks.len(), state.made.len()), (499, 499));
    assert!(state.made.values().all(|made| *made == 1), "a record was made twice");
    assert!(state.again >= 199, "what was cut off was sent again: {}", state.again);
    assert!(state.busy > 0 && state.ended > 0, "{} busy, {} ended", state.busy, state.ended);
    let decided = house.sql("select decision_id from system.decisions where unit_id = 'p0007'");
    let task = &state.tasks[&decided[0]];
    assert_eq!(
        (&task["Subject"], &task["WhoId"], &task["Status"]),
        (&json!("Call N7 about tea"), &json!("p0007"), &json!("Open"))
    );
    let receipt =
        house.sql("select distinct receipt from system.actions where status = 'delivered'");
    assert_eq!(receipt, ["org Task"]);
    // Nothing is left to do, and nothing is done.
    let before = state.asked;
    drop(state);
    house.ok(&["turn", "--replay", "2024-05-07"]);
    assert_eq!(house.sql(COUNTS), ["dead,1", "delivered,499"]);
    assert_eq!(house.cell("select count(*) from system.outbox where status <> 'dead'"), "0");
    assert_eq!(org.lock().unwrap().asked, before);
}

#[test]
fn what_has_no_key_is_made_once_or_waits_for_a_person() {
    let fields = "  fields: {Subject: 'Call {name}', Flywheel_Key__c: '{decision_id}'}\n";
    let (house, org) = shop(750, fields);
    let complaint = house.fails(2, &["check"]);
    assert!(complaint.contains("would be there twice"), "{complaint}");
    let once =
        house.read("actions/call.yaml").replace("attempts", "guarantee: at-most-once\nattempts");
    house.write("actions/call.yaml", once);
    killed_turn(&house, &org);
    house.ok(&["turn", "--replay", "2024-05-01"]);
    house.ok(&["turn", "--replay", "2024-05-02..2024-05-06"]);
    let org = org.lock().unwrap();
    assert!(org.made.values().all(|made| *made == 1), "a record was made twice");
    assert!(org.again == 0 && org.busy > 0, "{} busy", org.busy);
    assert_eq!(org.made.len(), 749);
    // Two hundred were under way; the one that is refused is dead, too, whichever request it was in.
    let counts = house.sql(COUNTS);
    assert!(["dead,200", "dead,201"].contains(&counts[0].as_str()), "{counts:?}");
}

#[test]
fn a_dry_run_shows_the_records_and_lineage_leads_to_their_fields() {
    let start = flywheel_base::Timestamp::parse("2024-05-01").unwrap();
    let clock = Clock(Arc::new(AtomicI64::new(start.micros())));
    let account = Arc::new(Mutex::new(HubSpot::new(&clock)));
    let url = serve(&account, HubSpot::answer);
    let house = people_of(3);
    house.write(
        "connections/hub.yaml",
        format!("connection: hub\ntype: hubspot\noptions: {{base_url: '{url}', token: '${{file:secret}}', allow_private: true}}\n"),
    );
    let action = "action: call\ntype: crm\noptions:\n  connection: hub\n  target: {object: contacts}\n  key: email\n  fields: {email: '{mail}', lastname: '{name} ({offer})'}\n";
    house.write("actions/call.yaml", action);
    house.ok(&["sync"]);
    let shown = house.ok(&["policy", "preview", "offers", "--output", "json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        shown["sample"][0]["written"],
        json!({ "connection": "hub", "target": { "object": "contacts" },
                "record": { "email": "p0@x.cn", "lastname": "N0 (tea)" } })
    );
    assert!(account.lock().unwrap().written.is_empty(), "nothing is written");
    let found =
        house.ok(&["lineage", "outside:hub/contacts.lastname", "--upstream", "--output", "json"]);
    let found: Value = serde_json::from_str(&found).unwrap();
    let leads = |from: &str, to: &str| {
        let edges = found["edges"].as_array().unwrap();
        edges.iter().any(|edge| edge["from"] == from && edge["to"] == to)
    };
    assert!(leads("action:call.name", "outside:hub/contacts.lastname"), "{found}");
    assert!(leads("policy:offers.name", "action:call.name"), "{found}");

    let id = account.lock().unwrap().add("contacts", &[("email", "p1@x.cn"), ("lastname", "Old")]);
    house.ok(&["turn"]);
    let account = account.lock().unwrap();
    assert_eq!(account.living("contacts").len(), 3, "the one that was there is found");
    assert_eq!(account.records["contacts"][&id].properties["lastname"], "N1 (tea)");
    // A wrong name is told before anything leaves.
    house.write("actions/call.yaml", action.replace("{name}", "{nmae}"));
    let complaint = house.fails(2, &["check"]);
    assert!(
        complaint.contains("policies/offers.yaml") && complaint.contains("Did you mean"),
        "{complaint}"
    );
    house.write("actions/call.yaml", action.replace("hub\n", "hbu\n"));
    let output = house.run(&["check"]);
    assert!(text(&output.stderr).contains("unknown connection \"hbu\""));
    assert!(house.ok(&["schema", "crm"]).contains("by which a record is found"));
}
