//! Events that other systems hand in by signed calls, and what becomes of those that do not fit.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use super::{Answer, Served};
use crate::house::House;

/// A shop whose orders come by calls of another system.
fn shop() -> House {
    let house = House::new();
    house
        .write("hook.key", "hush")
        .write(
            "topics/orders.yaml",
            "topic: orders\ncolumns:\n  - {name: id, type: text, required: true}\n  - {name: total, type: 'decimal(12,2)'}\n\
             webhook: {secret: '${file:hook.key}', header: X-Hub-Signature-256}\n",
        )
        .write(
            "topics/payments.yaml",
            "topic: payments\nwebhook: {secret: '${file:hook.key}', header: Stripe-Signature}\n",
        )
        .write("connections/events.yaml", "connection: events\ntype: journal\noptions: {path: .flywheel/journal}\n")
        .write(
            "syncs/orders.yaml",
            "sync: orders\nconnection: events\nstreams:\n  - {stream: orders, options: {topic: orders}, read: incremental, write: append}\n",
        );
    house
}

async fn call(served: &Served, topic: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let path = format!("/v1/topics/{topic}/webhook");
    let mut request = Request::post(path).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    served.raw(request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_call_becomes_rows_and_what_does_not_fit_is_set_aside() {
    let served = Served::new(shop()).await;
    let body = r#"[{"id":"a","total":12.5},{"total":"much"}]"#;
    // Python: hmac.new(b"hush", body, "sha256").hexdigest()
    let signature = "sha256=ae9b5ab0f4b4a5e735b97caadadf614612c7e529f7c453ef6f688afbc4c19ac2";
    let signed = [("X-Hub-Signature-256", signature), ("X-GitHub-Delivery", "d-1")];
    let taken = call(&served, "orders", &signed, body).await;
    let said = taken.json();
    assert_eq!(taken.status, StatusCode::OK, "{said}");
    assert_eq!((&said["accepted"], &said["quarantined_count"]), (&json!(1), &json!(1)), "{said}");
    let rejected = &said["rejected"][0];
    assert_eq!(
        (&rejected["index"], &rejected["status"], &rejected["field"], &rejected["code"]),
        (&json!(1), &json!(400), &json!("id"), &json!("missing-value")),
        "{said}"
    );
    let again = call(&served, "orders", &signed, body).await.json();
    assert_eq!((&again["repeated"], &again["first_offset"]), (&json!(true), &json!(0)), "{again}");
    let unsigned: &[(&str, &str)] = &[];
    // Nothing of a call is read that is not signed, and no door is told from one that is not there.
    for (topic, headers, body) in [
        ("orders", &signed[..], "{}"),
        ("orders", unsigned, body),
        ("orders", &[signed[0], signed[0]][..], body),
        ("payments", &signed[..], body),
        ("nothing", &signed[..], body),
    ] {
        let refused = call(&served, topic, headers, body).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{topic}: {}", refused.json());
        assert!(refused.json()["detail"].as_str().unwrap().contains("not signed"));
    }
    // All of it set aside is taken as well: sent again, it would be as wrong.
    let bad = r#"{"total":1}"#;
    let headers = [(
        "X-Hub-Signature-256",
        "541d1421864173f6c7194196e30ea04dd79f6ce53d0ed314aaf8e476437e3724",
    )];
    let taken = call(&served, "orders", &headers, bad).await;
    assert_eq!(taken.status, StatusCode::OK, "{}", taken.json());
    assert_eq!(taken.json()["accepted"], json!(0));

    let Served { house, server, router, .. } = served;
    drop((server, router));
    house.ok(&["sync"]);
    assert_eq!(house.sql("select id, total from raw.orders"), ["a,12.5"]);
    let aside = "select source, stream, \"column\", status from system.quarantine";
    assert_eq!(house.sql(aside), ["events,orders,id,open", "events,orders,id,open"]);
    house.ok(&["quarantine", "discard", "--sync", "orders"]);
    house.ok(&["quarantine", "discard"]);
    assert_eq!(house.cell("select count(*) from system.quarantine where status = 'open'"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_signed_long_ago_is_not_taken_again() {
    let served = Served::new(shop()).await;
    let body = r#"{"id":"evt_1","amount":5}"#;
    // Python: hmac.new(b"hush", b"1714566600." + body, "sha256").hexdigest()
    let header = "t=1714566600,v1=5acfcadc3d08549202c225433456aaecc426cfaab02a6221e6e92be8885c68c5";
    let refused = call(&served, "payments", &[("Stripe-Signature", header)], body).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{}", refused.json());
    assert!(refused.json()["detail"].as_str().unwrap().contains("too old"), "{}", refused.json());
    let owner = served.owner().await;
    let seen = json!({"sql": "select count(*) from system.events"});
    assert_eq!(served.post(&owner, "/v1/sql", &seen).await.json()["rows"], json!([[0]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_declared_topic_fit_or_are_named_each_with_its_field() {
    let house = shop();
    house.write("topics/clicks.yaml", "topic: clicks\ntimestamp: at\non_bad: quarantine\n");
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let agent = served.token(&owner, &["ingest"]).await;
    let open = async || {
        let sql =
            "select count(*) from system.quarantine where source = 'events' and stream = 'clicks'";
        served.post(&owner, "/v1/sql", &json!({"sql": sql})).await.json()["rows"][0][0].clone()
    };
    let some = json!([{"id": "b", "total": 3}, {"id": "c", "total": "much"}, {"total": 1}]);
    let answer = served.post(&agent, "/v1/events?topic=orders", &some).await;
    let said = answer.json();
    assert_eq!((answer.status, &said["accepted"]), (StatusCode::OK, &json!(1)), "{said}");
    let fields: Vec<&Value> =
        said["rejected"].as_array().unwrap().iter().map(|one| &one["field"]).collect();
    assert_eq!(fields, [&json!("total"), &json!("id")], "{said}");
    assert_eq!(said["quarantined_count"], json!(0), "{said}");
    for (topic, event, field) in [
        ("orders", json!({"total": 1}), "id"),
        ("clicks", json!({"at": "yesterday"}), "at"),
        ("undeclared", json!({"timestamp": "yesterday"}), "timestamp"),
    ] {
        let answer = served.post(&agent, &format!("/v1/events?topic={topic}"), &event).await;
        let said = answer.json();
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{said}");
        assert_eq!(said["rejected"][0]["field"], json!(field), "{said}");
        assert!(said["detail"].as_str().unwrap().contains(field), "{said}");
    }
    assert_eq!(open().await, json!(1));
    served.post(&agent, "/v1/events?topic=clicks", &json!({"at": "yesterday"})).await;
    assert_eq!(open().await, json!(1), "the same mistake is one row");
}
