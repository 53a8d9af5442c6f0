//! Files of declarations by the API: what is written is what `flywheel check` takes, by whom it may be, and nothing else.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use flywheel_project::resource::rule::Role;
use serde_json::{Value, json};

use super::{Answer, As, Served};
use crate::house::{House, text};

const SHOP: &str = "/v1/files/connection/shop";
const WRITTEN: &str = "\
# Files of the shop.
connection: shop # its name
type: csv

# Where they lie.
options:
  folder: data   # below the project
description: \"Orders\"
";

/// Sends what may have an If-Match.
async fn change(
    served: &Served,
    who: &As,
    (method, path): (&str, &str),
    tag: Option<&str>,
    body: &Value,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(cookie) = &who.cookie {
        request = request.header(header::COOKIE, cookie);
    }
    if let Some(csrf) = &who.csrf {
        request = request.header("x-csrf-token", csrf);
    }
    if let Some(tag) = tag {
        request = request.header(header::IF_MATCH, tag);
    }
    served.raw(request.body(Body::from(body.to_string())).unwrap()).await
}

async fn put(served: &Served, who: &As, path: &str, body: &Value) -> Answer {
    change(served, who, ("PUT", path), None, body).await
}

fn tag(answer: &Answer) -> String {
    answer.headers[header::ETAG].to_str().unwrap().to_owned()
}

async fn reload(served: &Served, owner: &As) {
    let answer = served.post(owner, "/v1/project/reload", &json!({})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declaration_is_made_changed_and_removed_and_what_did_not_change_stays() {
    let served = Served::new(House::new()).await;
    let (house, owner) = (&served.house, served.owner().await);
    let value = json!({"connection": "shop", "type": "csv", "options": {"folder": "data"}});
    let made = put(&served, &owner, SHOP, &json!({"value": value})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    let file = house.read("connections/shop.yaml");
    assert_eq!(file, "connection: shop\ntype: csv\noptions:\n  folder: data\n");
    assert_eq!((&made.json()["value"], &made.json()["text"]), (&value, &json!(file)));
    let first = tag(&made);

    // Somebody else writes it by hand.
    house.write("connections/shop.yaml", WRITTEN);
    reload(&served, &owner).await;
    let late = change(&served, &owner, ("PUT", SHOP), Some(&first), &json!({"value": value})).await;
    assert_eq!(late.status, StatusCode::PRECONDITION_FAILED, "{}", late.json());
    let taken = put(&served, &owner, SHOP, &json!({"value": value})).await;
    assert_eq!(taken.status, StatusCode::CONFLICT, "{}", taken.json());
    assert_eq!(house.read("connections/shop.yaml"), WRITTEN);
    let read = served.get(&owner, SHOP).await;
    let mut value = read.json()["value"].clone();
    value["options"]["folder"] = json!("inbox");
    let body = json!({"value": value});
    let saved = change(&served, &owner, ("PUT", SHOP), Some(&tag(&read)), &body).await;
    assert_eq!(saved.status, StatusCode::OK, "{}", saved.json());
    let expected = WRITTEN.replace("folder: data   #", "folder: inbox  #");
    assert_eq!(house.read("connections/shop.yaml"), expected);
    let listed = served.get(&owner, "/v1/connections").await.json();
    assert_eq!(listed["items"][0]["settings"]["folder"], "inbox", "{listed}");

    let stream = "{stream: orders, options: {path: orders.csv}, read: full, write: replace}";
    let sync = format!("sync: orders\nconnection: shop\nstreams:\n  - {stream}\n");
    let path = "/v1/files/sync/orders";
    let made = put(&served, &owner, path, &json!({"text": sync})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    assert_eq!(house.read("syncs/orders.yaml"), sync);
    let now = tag(&saved);
    let needed = change(&served, &owner, ("DELETE", SHOP), Some(&now), &json!({})).await;
    assert_eq!(needed.status, StatusCode::CONFLICT, "{}", needed.json());
    assert_eq!(needed.json()["rejected"][0]["file"], "syncs/orders.yaml");
    let unsaid = change(&served, &owner, ("DELETE", path), None, &json!({})).await;
    assert_eq!(unsaid.status, StatusCode::BAD_REQUEST);
    for (path, tag) in [(path, tag(&made)), (SHOP, now)] {
        let gone = change(&served, &owner, ("DELETE", path), Some(&tag), &json!({})).await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT, "{}", text(&gone.bytes));
    }
    assert!(!house.path("connections/shop.yaml").exists());
    assert_eq!(served.get(&owner, "/v1/files").await.json()["items"], json!([]));
    house.ok(&["check"]);
    let audit = served.get(&owner, "/v1/audit").await.json();
    let rows = audit["items"].as_array().unwrap();
    let of = |what: &str| rows.iter().filter(|row| row["what"] == what).collect::<Vec<_>>();
    let (puts, deletes) = (of("PUT /v1/files/{kind}/{name}"), of("DELETE /v1/files/{kind}/{name}"));
    assert!(puts.iter().any(|row| row["detail"]["more"]["digest"].is_string()), "{puts:?}");
    assert_eq!(deletes.iter().filter(|row| row["detail"]["status"] == 204).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_mistakes_is_not_written_and_each_has_its_place() {
    let served = Served::new(House::new()).await;
    let (house, owner) = (&served.house, served.owner().await);
    let nightly = "schedule: nightly\nrun: build\nwen: {}\nwhen: {every: 1x}\n";
    let path = "/v1/files/schedule/nightly";
    let refused = put(&served, &owner, path, &json!({"text": nightly})).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.json());
    let rejected = refused.json()["rejected"].clone();
    let found: Vec<(u64, &Value)> = rejected
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["line"].as_u64().unwrap(), &one["at"]))
        .collect();
    assert_eq!(found, [(3, &json!(["wen"])), (4, &json!(["when", "every"]))], "{rejected}");
    assert!(rejected[0]["hint"].as_str().unwrap().contains("when"), "{rejected}");
    assert!(!house.path("schedules").exists());

    let check = |body: Value| {
        let (served, owner) = (&served, &owner);
        async move { served.post(owner, "/v1/files/check", &body).await }
    };
    let checked = check(json!({"kind": "schedule", "text": nightly})).await.json();
    assert_eq!(checked["problems"], rejected);
    assert_eq!(checked["value"]["when"]["every"], "1x");
    let value = json!({"schedule": "nightly", "run": "build", "when": {"every": "1d"}});
    let mended = check(json!({"kind": "schedule", "text": nightly, "value": value})).await.json();
    assert_eq!(mended["problems"], json!([]), "{mended}");
    assert_eq!(mended["file"], "schedules/nightly.yaml");
    let lacking = check(json!({"kind": "connection", "text": "connection: a\n"})).await.json();
    assert_eq!(lacking["problems"][0]["at"], json!(["type"]), "{lacking}");
    for (body, status) in [
        (json!({"kind": "schedule"}), 400),
        (json!({"kind": "schedule", "value": [1]}), 400),
        (json!({"kind": "models", "text": "a: 1"}), 404),
        (json!({"kind": "schedule", "name": "gone", "text": "a: 1"}), 404),
    ] {
        let answer = check(body.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.json());
    }
    let other = put(&served, &owner, "/v1/files/schedule/weekly", &json!({"value": value})).await;
    assert_eq!(other.status, StatusCode::BAD_REQUEST, "{}", other.json());
    assert!(!house.path("schedules").exists());
    // What is only looked at leaves no trace.
    let audit = text(&served.get(&owner, "/v1/audit").await.bytes);
    assert!(!audit.contains("/v1/files/check"), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_write_a_kind_is_refused_and_no_name_leads_out_of_the_folder() {
    let served = Served::new(House::new()).await;
    let (house, owner) = (&served.house, served.owner().await);
    let schedule = json!({"text": "schedule: nightly\nrun: build\n"});
    let connection = json!({"text": "connection: shop\ntype: csv\noptions: {folder: data}\n"});
    let standard = json!({"text": "topic: visits\n"});
    let (nightly, visits) = ("/v1/files/schedule/nightly", "/v1/files/topic/visits");
    for (role, path, body, missing) in [
        (Role::Viewer, nightly, &schedule, "author"),
        (Role::Operator, nightly, &schedule, "author"),
        (Role::Analyst, nightly, &schedule, "operate"),
        (Role::Engineer, SHOP, &connection, "administer"),
    ] {
        let who = served.user(&owner, role).await;
        for answer in [put(&served, &who, path, body).await, served.get(&who, path).await] {
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{role:?}");
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(&format!("\"{missing}\"")), "{role:?}: {detail}");
        }
    }
    assert!(!house.path("schedules").exists() && !house.path("connections").exists());

    for name in ["..%2F..%2Fx", "%2Ftmp%2Fx", "a%00b", "flywheel.yaml"] {
        let path = format!("/v1/files/schedule/{name}");
        let plain = name.replace("%2F", "/").replace("%00", "");
        let body = json!({"text": format!("schedule: {plain}\nrun: build\n")});
        let answer = put(&served, &owner, &path, &body).await;
        assert!(matches!(answer.status.as_u16(), 400 | 422), "{name}: {}", answer.json());
        assert!(served.get(&owner, &path).await.status == StatusCode::NOT_FOUND, "{name}");
    }
    assert!(!house.path("schedules").exists() && !house.path("../x.yaml").exists());

    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), house.path("topics")).unwrap();
    let refused = put(&served, &owner, visits, &standard).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.json());
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_references_or_they_are_not_written_and_never_shown() {
    let served = Served::new(House::new()).await;
    let (house, owner) = (&served.house, served.owner().await);
    let database = |password: &str| {
        json!({"value": {
            "connection": "db", "type": "postgres",
            "options": {"host": "db.example", "database": "shop", "user": "u", "password": password},
        }})
    };
    let path = "/v1/files/connection/db";
    let refused = put(&served, &owner, path, &database("hunter2")).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let said = refused.json();
    assert_eq!(said["rejected"][0]["at"], json!(["options", "password"]), "{said}");
    assert!(said["rejected"][0]["hint"].as_str().unwrap().contains("${secret:"), "{said}");
    assert!(!text(&refused.bytes).contains("hunter2"), "{said}");
    let made = put(&served, &owner, path, &database("${secret:db}")).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    assert_eq!(made.json()["value"]["options"]["password"], "${secret:db}");

    let hook = "action: hook\ntype: webhook\noptions: {url: 'https://u:hunter2@hook.example/x'}\n";
    let path = "/v1/files/action/hook";
    let refused = put(&served, &owner, path, &json!({"text": hook})).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.json());
    assert!(!text(&refused.bytes).contains("hunter2"));
    house.write("actions/hook.yaml", hook);
    reload(&served, &owner).await;
    let shown = served.get(&owner, path).await;
    assert_eq!(shown.status, StatusCode::OK);
    assert!(!text(&shown.bytes).contains("hunter2"), "{}", shown.json());
    let url = shown.json()["value"]["options"]["url"].clone();
    assert_eq!(url, "https://u:(secret)@hook.example/x");

    // Who may not administer makes nothing refer to a secret.
    let engineer = served.user(&owner, Role::Engineer).await;
    let topic = "topic: pushes\nwebhook: {secret: '${secret:db}', header: X-Hub-Signature-256}\n";
    let path = "/v1/files/topic/pushes";
    let refused = put(&served, &engineer, path, &json!({"text": topic})).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.json());
    let made = put(&served, &owner, path, &json!({"text": topic})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    let changed = json!({"text": format!("{topic}description: Pushes of code.\n")});
    let saved = change(&served, &engineer, ("PUT", path), Some(&tag(&made)), &changed).await;
    assert_eq!(saved.status, StatusCode::OK, "{}", saved.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_see_every_row_writes_nothing_that_reads_without_rules() {
    let house = House::new();
    house.write(
        "models/mart/people.sql",
        "{{ config(materialized='table') }}\nselect 1 as id, 'DE' as country\n",
    );
    house.write(
        "access/people.yaml",
        "rule: people\ntables: [mart.people]\nask: ada\nreaders:\n  - roles: [owner, admin]\n  - {everybody: true, masks: {country: {constant: x}}}\n",
    );
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let engineer = served.user(&owner, Role::Engineer).await;
    let body = json!({"text": "schedule: nightly\nrun: build\n"});
    let path = "/v1/files/schedule/nightly";
    let refused = put(&served, &engineer, path, &body).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.json());
    let listed = served.get(&engineer, "/v1/files?kind=schedule").await;
    assert_eq!(listed.status, StatusCode::FORBIDDEN, "{}", listed.json());
    assert_eq!(put(&served, &owner, path, &body).await.status, StatusCode::CREATED);
    // What is asked by the rules of who reads is theirs to write.
    let codes = json!({"text": "dictionary: countries\nvalues: [DE]\n"});
    let made = put(&served, &engineer, "/v1/files/dictionary/countries", &codes).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_was_changed_waits_until_somebody_lets_it_go_on() {
    let house = House::from_template("crm");
    house.ok(&["turn"]);
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let path = "/v1/files/policy/stale_deals";
    let read = served.get(&owner, path).await;
    let changed =
        json!({"text": format!("{}\n# Looked at.\n", read.json()["text"].as_str().unwrap())});
    let saved = change(&served, &owner, ("PUT", path), Some(&tag(&read)), &changed).await;
    assert_eq!(saved.status, StatusCode::OK, "{}", saved.json());
    let listed = served.get(&owner, "/v1/policies/stale_deals").await.json();
    assert!(listed["paused"].as_str().is_some_and(|why| why.contains("approval")), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_of_a_connection_is_tested_and_schemas_are_kept_by_browsers() {
    let house = House::new();
    house.write("data/orders.csv", "id\n1\n");
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let draft = "connection: files\ntype: csv\noptions: {folder: data}\n";
    let body = json!({"kind": "connection", "text": draft});
    let tested = served.post(&owner, "/v1/files/test", &body).await.json();
    assert_eq!(tested["ok"], true, "{tested}");
    assert!(!served.house.path("connections").exists());
    let wrong = json!({"kind": "connection", "text": draft.replace("csv", "cvs")});
    let tested = served.post(&owner, "/v1/files/test", &wrong).await.json();
    assert!(
        tested["ok"] == false && tested["detail"].as_str().unwrap().contains("cvs"),
        "{tested}"
    );
    let engineer = served.user(&owner, Role::Engineer).await;
    let refused = served.post(&engineer, "/v1/files/test", &body).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.json());

    let schema = served.get(&engineer, "/v1/schemas/connection").await;
    let types = schema.json()["types"].clone();
    assert!(types.as_array().unwrap().iter().any(|one| one["type"] == "postgres"), "{types}");
    let mut again = Request::builder().uri("/v1/schemas/connection");
    again = again.header(header::COOKIE, engineer.cookie.clone().unwrap());
    again = again.header(header::IF_NONE_MATCH, tag(&schema));
    let again = served.raw(again.body(Body::empty()).unwrap()).await;
    assert_eq!((again.status, again.bytes.len()), (StatusCode::NOT_MODIFIED, 0));
}
