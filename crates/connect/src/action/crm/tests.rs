//! What becomes of records that deliveries write into CRMs which keep to their limits, refuse, and fall silent.

use super::*;
use crate::action::ActionEntry;
use crate::http::fake::hubspot::FakeHubSpot;
use crate::http::fake::salesforce::FakeSalesforce;
use crate::http::fake::{Fake, FakePace, Reply};

fn build(connector: &str, settings: Value, options: Value, once: bool) -> Result<Box<dyn Action>> {
    let connection =
        NamedConnection { name: "org".to_owned(), connector: connector.to_owned(), settings };
    let ctx = ActionContext { connection: Some(connection), once, ..ActionContext::default() };
    ActionEntry::named("crm").unwrap().build(options, &ctx)
}

fn hubspot(fake: &Fake) -> Value {
    json!({ "token": "pat-1", "base_url": fake.url, "allow_private": true })
}

fn salesforce(fake: &Fake) -> Value {
    let auth = json!({ "type": "oauth2", "token_url": format!("{}/services/oauth2/token", fake.url),
                       "client_id": "me", "client_secret": "hush" });
    json!({ "instance_url": fake.url, "auth": auth, "allow_private": true })
}

fn rest(fake: &Fake) -> Value {
    json!({ "base_url": fake.url, "allow_private": true })
}

fn delivery(number: usize, payload: Value) -> Delivery {
    Delivery { key: format!("d{number:04}"), payload, group: "offers/1".to_owned() }
}

fn delivered(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|one| matches!(one, Outcome::Delivered { .. })).count()
}

#[tokio::test]
async fn contacts_are_written_by_hundreds_and_a_bad_one_costs_no_other() {
    let pace = FakePace::new();
    let (fake, crm) = FakeHubSpot::start(&pace).await;
    let options = json!({ "connection": "org", "target": { "object": "contacts" }, "key": "email",
        "fields": { "email": "{mail}", "company": "Offer {offer}", "lastname": "{none}" } });
    let action = build("hubspot", hubspot(&fake), options, false).unwrap();
    let mail = |n: usize| if n == 120 { "poison@x.cn".to_owned() } else { format!("c{n}@x.cn") };
    let mut batch: Vec<Delivery> =
        (0..250).map(|n| delivery(n, json!({ "mail": mail(n), "offer": "tea" }))).collect();
    // The same contact once more, with what was decided later.
    batch.push(delivery(250, json!({ "mail": "C230@x.cn", "offer": "soup" })));
    batch.push(delivery(251, json!({ "offer": "nobody" })));
    for _ in 0..2 {
        let outcomes = action.deliver(&batch).await;
        assert_eq!((outcomes.len(), delivered(&outcomes)), (252, 250));
        let refused = |at: usize| match &outcomes[at] {
            Outcome::Rejected { reason } => reason.clone(),
            other => panic!("{other:?}"),
        };
        assert!(refused(120).contains("is invalid"), "{}", refused(120));
        assert!(refused(120).contains("validation-error"), "{}", refused(120));
        assert!(refused(251).contains("\"email\""), "{}", refused(251));
        let crm = crm.lock().unwrap();
        assert_eq!(crm.contacts.len(), 249, "each contact once");
        let soup = |one: &&crate::http::fake::hubspot::Record| {
            one.properties.get("company").is_some_and(|company| company == "Offer soup")
        };
        assert_eq!(crm.contacts.values().filter(soup).count(), 1);
        assert!(crm.contacts.values().all(|one| !one.properties.contains_key("lastname")));
    }
    // Three of at most a hundred, and one more for the contact that is there twice.
    assert_eq!(fake.count(), 2 * 4);
}

#[tokio::test]
async fn a_record_is_made_once_under_the_deliverys_own_key_while_tokens_end() {
    let pace = FakePace::new();
    let (fake, org) = FakeSalesforce::start(&pace).await;
    org.lock().unwrap().token_life = Duration::from_millis(40);
    org.lock().unwrap().locked = vec!["d0003".to_owned()];
    let options = json!({ "connection": "org", "target": { "object": "Contact" }, "key": "Ext__c",
        "fields": { "LastName": "{name}", "Score__c": "{score}" } });
    let action = build("salesforce", salesforce(&fake), options, false).unwrap();
    let batch: Vec<Delivery> =
        (0..450).map(|n| delivery(n, json!({ "name": format!("N{n}"), "score": n }))).collect();
    let outcomes = action.deliver(&batch).await;
    assert_eq!(delivered(&outcomes), 449);
    // A row that is locked was not written: it comes again, also where it may be sent once only.
    assert!(matches!(&outcomes[3], Outcome::Unreached { reason } if reason.contains("exclusive")));
    assert_eq!(delivered(&action.deliver(&batch).await), 450);
    let org = org.lock().unwrap();
    assert_eq!(org.contacts.len(), 450);
    let scores: f64 = org.contacts.values().filter_map(|one| one["Score__c"].as_f64()).sum();
    assert_eq!(scores, (0..450).map(f64::from).sum::<f64>(), "numbers stay numbers");
    assert!(org.tokens > 2, "{} tokens", org.tokens);
}

#[tokio::test]
async fn who_asks_to_wait_is_left_alone_and_the_rest_is_not_tried() {
    let mut requests = 0;
    let fake = Fake::start(move |_| {
        requests += 1;
        match requests {
            1 => Reply::new(201, "{}"),
            _ => Reply::new(429, r#"{"message":"slow down"}"#).header("retry-after", "30"),
        }
    })
    .await;
    let target = json!({ "path": "/notes", "idempotency_header": "Idempotency-Key" });
    let options = json!({ "connection": "org", "target": target, "fields": { "text": "{offer}" } });
    let action = build("rest", rest(&fake), options, false).unwrap();
    let batch: Vec<Delivery> = (0..5).map(|n| delivery(n, json!({ "offer": "tea" }))).collect();
    let outcomes = action.deliver(&batch).await;
    assert!(matches!(&outcomes[0], Outcome::Delivered { receipt } if receipt == "org /notes"));
    let waits = |at: usize| match &outcomes[at] {
        Outcome::Waits { reason, after, tried } => {
            assert!(reason.contains("slow down") && after.as_secs() >= 29, "{outcomes:?}");
            *tried
        }
        other => panic!("{other:?}"),
    };
    assert_eq!([waits(1), waits(2), waits(3), waits(4)], [true, false, false, false]);
    let seen = fake.seen();
    let keys: Vec<Option<&str>> = seen.iter().map(|one| one.header("idempotency-key")).collect();
    assert_eq!(keys, [Some("d0000"), Some("d0001")], "a key for each");
    assert_eq!(seen[0].json(), json!({ "text": "tea" }));
}

#[tokio::test]
async fn a_lost_answer_is_in_doubt_and_a_refused_whole_is_not() {
    let target = json!({ "path": "/notes", "batch": 2 });
    let options =
        || json!({ "connection": "org", "target": target.clone(), "fields": { "a": "{a}" } });
    let batch: Vec<Delivery> = (0..4).map(|n| delivery(n, json!({ "a": n }))).collect();
    let silent = Fake::start(|_| Reply::nothing()).await;
    let action = build("rest", rest(&silent), options(), true).unwrap();
    let outcomes = action.deliver(&batch).await;
    assert!(matches!(&outcomes[..2], [Outcome::Retry { .. }, Outcome::Retry { .. }]));
    assert!(matches!(&outcomes[2], Outcome::Waits { tried: false, after, .. } if after.is_zero()));
    assert_eq!(silent.count(), 1, "what may be sent once is sent once");

    // A request that is refused because of one record is halved until that one is alone.
    let picky = Fake::start(|request| {
        let bad = request.json().as_array().unwrap().contains(&json!({ "a": 2 }));
        let status = if bad { 422 } else { 200 };
        Reply::new(status, r#"{"message":"two is too many"}"#)
    })
    .await;
    let outcomes = build("rest", rest(&picky), options(), true).unwrap().deliver(&batch).await;
    assert_eq!(delivered(&outcomes), 3);
    let refused = |outcome: &Outcome| match outcome {
        Outcome::Rejected { reason } => reason.contains("two is too many"),
        _ => false,
    };
    assert!(refused(&outcomes[2]), "{outcomes:?}");

    // What is wrong with every record is no record's fault: most of them wait until it is mended.
    let unfit = Fake::start(|_| Reply::new(400, r#"{"message":"no such field"}"#)).await;
    let of_hundred = json!({ "connection": "org", "target": { "path": "/notes", "batch": 100 },
                             "fields": { "a": "{a}" } });
    let all: Vec<Delivery> = (0..200).map(|n| delivery(n, json!({ "a": n }))).collect();
    let outcomes = build("rest", rest(&unfit), of_hundred, true).unwrap().deliver(&all).await;
    let rejected = |one: &&Outcome| matches!(one, Outcome::Rejected { .. });
    assert_eq!(outcomes.iter().filter(rejected).count(), 25);
    let waits = |one: &&Outcome| match one {
        Outcome::Waits { reason, tried, .. } => !tried && reason.contains("no such field"),
        _ => false,
    };
    assert_eq!(outcomes.iter().filter(waits).count(), 175);
    assert!(unfit.count() < 60, "{} requests", unfit.count());

    let closed = Fake::start(|_| Reply::new(403, r#"{"message":"no right to write"}"#)).await;
    let outcomes = build("rest", rest(&closed), options(), true).unwrap().deliver(&batch).await;
    assert!(matches!(&outcomes[0], Outcome::Unreached { reason } if reason.contains("no right")));
    assert_eq!(closed.count(), 1);
}

#[tokio::test]
async fn a_task_is_tied_to_its_contact_and_one_that_cannot_be_says_so() {
    let fake = Fake::start(|request| {
        let body = request.json();
        let inputs = body["inputs"].as_array().unwrap();
        match request.path.as_str() {
            "/crm/objects/2026-03/tasks/batch/upsert" => {
                // The answer has an order of its own.
                let task = |input: &Value| {
                    let id = format!("t-{}", input["id"].as_str().unwrap());
                    json!({ "id": id, "objectWriteTraceId": input["objectWriteTraceId"] })
                };
                let results: Vec<Value> = inputs.iter().rev().map(task).collect();
                Reply::json(&json!({ "status": "COMPLETE", "results": results }))
            }
            "/crm/associations/2026-03/tasks/contacts/batch/associate/default" => {
                if inputs.iter().any(|input| input["to"]["id"] == "gone") {
                    let said = r#"{"category":"VALIDATION_ERROR","message":"no such contact"}"#;
                    return Reply::new(400, said);
                }
                Reply::json(&json!({ "status": "COMPLETE", "results": [] }))
            }
            path => Reply::new(404, json!({ "message": path }).to_string()),
        }
    })
    .await;
    let options = json!({ "connection": "org", "target": { "object": "tasks" }, "key": "flywheel_key",
        "fields": { "hs_task_subject": "Call {name}" }, "associate": { "contacts": "{contact}" } });
    let action = build("hubspot", hubspot(&fake), options, false).unwrap();
    let contact = |n: usize| match n {
        1 => json!("gone"),
        2 => Value::Null,
        n => json!(500 + n),
    };
    let batch: Vec<Delivery> =
        (0..4).map(|n| delivery(n, json!({ "name": "Ann", "contact": contact(n) }))).collect();
    let outcomes = action.deliver(&batch).await;
    assert_eq!(delivered(&outcomes), 3, "{outcomes:?}");
    let Outcome::Rejected { reason } = &outcomes[1] else { panic!("{outcomes:?}") };
    assert!(reason.contains("not tied to contacts") && reason.contains("no such"), "{reason}");
    let mut tied = Vec::new();
    for request in fake.seen().iter().filter(|one| one.path.contains("associations")) {
        let body = request.json();
        let inputs = body["inputs"].as_array().unwrap();
        let ids = |input: &Value| format!("{} {}", input["from"]["id"], input["to"]["id"]);
        let taken = inputs.iter().all(|input| input["to"]["id"] != "gone");
        tied.extend(inputs.iter().filter(|_| taken).map(ids));
    }
    tied.sort();
    assert_eq!(tied, [r#""t-d0000" "500""#, r#""t-d0003" "503""#]);
}

#[tokio::test]
async fn what_was_taken_in_part_is_not_made_twice_where_it_is_sent_once() {
    let fake = Fake::start(|request| {
        let body = request.json();
        let inputs = body["inputs"].as_array().unwrap();
        let good = inputs.iter().filter(|one| one["properties"]["n"] != 1);
        let made: Vec<Value> = good
            .map(|one| json!({ "id": "7", "objectWriteTraceId": one["objectWriteTraceId"] }))
            .collect();
        // The error does not say which record it is about.
        let errors = json!([{ "category": "VALIDATION_ERROR", "message": "Ann is no subject" }]);
        Reply::json(&json!({ "status": "COMPLETE", "results": made, "errors": errors })).status(207)
    })
    .await;
    let options = json!({ "connection": "org", "target": { "object": "tasks" },
        "fields": { "n": "{n}", "hs_task_subject": "{name}" } });
    let action = build("hubspot", hubspot(&fake), options, true).unwrap();
    let batch: Vec<Delivery> =
        (0..3).map(|n| delivery(n, json!({ "n": n, "name": "Ann" }))).collect();
    let outcomes = action.deliver(&batch).await;
    assert_eq!((fake.count(), delivered(&outcomes)), (1, 2), "{outcomes:?}");
    let Outcome::Retry { reason, .. } = &outcomes[1] else { panic!("{outcomes:?}") };
    assert!(reason.contains("is no subject") && !reason.contains("Ann"), "{reason}");

    // What a server says on its way down may repeat what it was given.
    let down = Fake::start(|_| Reply::new(500, r#"{"message":"cannot store Annabel"}"#)).await;
    let target = json!({ "path": "/notes", "idempotency_header": "Idempotency-Key" });
    let options = json!({ "connection": "org", "target": target, "fields": { "name": "{name}" } });
    let batch: Vec<Delivery> = (0..2).map(|n| delivery(n, json!({ "name": "Annabel" }))).collect();
    let outcomes = build("rest", rest(&down), options, false).unwrap().deliver(&batch).await;
    assert!(matches!(&outcomes[0], Outcome::Retry { reason, .. } if reason.contains("store")));
    assert!(matches!(&outcomes[1], Outcome::Waits { .. }));
    assert!(!format!("{outcomes:?}").contains("Annabel"), "{outcomes:?}");
}

#[tokio::test]
async fn a_refusal_of_everything_is_told_in_the_orgs_words() {
    let said = r#"[{"errorCode":"INVALID_FIELD","message":"No such column 'Foo__c'"}]"#;
    let fake = Fake::start(move |request| match request.path.as_str() {
        "/services/oauth2/token" => Reply::json(&json!({ "access_token": "t" })),
        _ => Reply::new(400, said),
    })
    .await;
    let options = json!({ "connection": "org", "target": { "object": "Task" }, "key": "Key__c",
        "fields": { "Foo__c": "{name}" } });
    let action = build("salesforce", salesforce(&fake), options, false).unwrap();
    for count in [1, 3] {
        let batch: Vec<Delivery> =
            (0..count).map(|n| delivery(n, json!({ "name": "Ann" }))).collect();
        for outcome in action.deliver(&batch).await {
            let Outcome::Rejected { reason } = &outcome else { panic!("{outcome:?}") };
            assert!(reason.contains("No such column"), "{reason}");
        }
    }
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_sent() {
    let settings = json!({ "token": "t", "base_url": "https://api.example" });
    let good = json!({ "connection": "org", "target": { "object": "tasks" }, "key": "key",
                       "fields": { "hs_task_subject": "Call {name}" } });
    let with = |name: &str, value: Value| {
        let mut options = good.clone();
        options[name] = value;
        options
    };
    assert!(build("hubspot", settings.clone(), good.clone(), false).is_ok());
    for (options, word) in [
        (with("fields", json!({})), "no fields"),
        (with("fields", json!({ "a": "{open" })), "not closed"),
        (with("target", json!({ "object": "tasks/1" })), "tasks/1"),
        (with("target", json!({ "objct": "tasks" })), "objct"),
        (with("key", json!(" ")), "names no field"),
        (with("key", Value::Null), "written again"),
    ] {
        let Err(error) = build("hubspot", settings.clone(), options.clone(), false) else {
            panic!("{options}")
        };
        assert!(error.report().contains(word), "{options}: {}", error.report());
    }
    assert!(build("hubspot", settings, with("key", Value::Null), true).is_ok(), "sent once");
    let tied = with("associate", json!({ "contacts": "{contact}" }));
    let auth = json!({ "type": "bearer", "token": "t" });
    let org = json!({ "instance_url": "https://org.example", "auth": auth });
    let org = build("salesforce", org, tied, false).err().unwrap();
    assert!(org.report().contains("not tied to contacts"), "{}", org.report());
    let csv = build("csv", json!({ "folder": "out" }), good.clone(), false).err().unwrap();
    assert!(csv.report().contains("salesforce"), "{}", csv.report());
    let none = ActionEntry::named("crm").unwrap().build(good, &ActionContext::default());
    assert!(none.err().unwrap().report().contains("no connection \"org\""));
}

#[test]
fn what_would_be_written_is_shown_without_sending() {
    let options = json!({ "connection": "org", "target": { "object": "Task" }, "key": "Key__c",
        "fields": { "Subject": "Call {name} about {offer}", "WhoId": "{contact}", "Gone": "{gone}" } });
    let payload =
        json!({ "name": "Ann", "offer": "tea", "contact": "003", "decision_id": "d0001" });
    let entry = ActionEntry::named("crm").unwrap();
    let shown = entry.written(options, &delivery(1, payload.clone())).unwrap().unwrap();
    assert_eq!(
        shown,
        json!({ "connection": "org", "target": { "object": "Task" },
                "record": { "Subject": "Call Ann about tea", "WhoId": "003", "Key__c": "d0001" } })
    );
    let file = ActionEntry::named("file").unwrap();
    let shown = file.written(json!({ "path": "a.jsonl" }), &delivery(1, payload)).unwrap();
    assert_eq!(shown, None, "its payload is all there is");
}

#[test]
fn a_record_has_one_name_however_it_is_written() {
    let options = json!({ "connection": "org", "target": { "object": "contacts" }, "key": "mail",
                          "fields": { "mail": "{mail}" } });
    let record = serde_json::from_value::<CrmAction>(options).unwrap().record().unwrap();
    let id = |mail: &str| record.id(&record.of(&delivery(1, json!({ "mail": mail }))).unwrap());
    assert_eq!(id(" Ann@x.cn "), id("ann@X.cn"));
    assert_ne!(id("ann@x.cn"), id("bob@x.cn"));
    assert_eq!(request_key(&["d1"]), "d1");
    assert_ne!(request_key(&["d1", "d2"]), request_key(&["d1", "d3"]));
}
