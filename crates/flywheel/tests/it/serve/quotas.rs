//! Quotas: a query or a request beyond them ends alone, is told which one it was, and is noted.

use axum::http::StatusCode;
use flywheel_project::resource::rule::Role;
use serde_json::{Value, json};

use super::{As, Served, all, with_dashboard};
use crate::house::House;

/// 5,000 rows, and quotas for analysts and viewers.
fn shop() -> House {
    let house = House::new();
    let numbers: String = (0..5_000).map(|n| format!("{n}\n")).collect();
    house
        .write("data/numbers.csv", format!("n\n{numbers}"))
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n")
        .write("syncs/numbers.yaml", "sync: numbers\nconnection: files\nstreams:\n  - {stream: numbers, options: {path: numbers.csv}, read: full, write: replace}\n")
        .write(
            "flywheel.yaml",
            "name: shop\nquotas:\n  roles:\n    analyst: {time: 1s, rows: 1000, queries: 1}\n    \
             viewer: {requests_per_minute: 3}\n  users:\n    ben: {rows: 2000}\n",
        );
    house.ok(&["sync"]);
    house
}

const RUNAWAY: &str = "select count(*) from raw.numbers a join raw.numbers b on a.n <> b.n join raw.numbers c on b.n <> c.n";

async fn sql(served: &Served, who: &As, sql: &str) -> (StatusCode, Value) {
    let answer = served.post(who, "/v1/sql", &json!({"sql": sql, "limit": 100_000})).await;
    (answer.status, answer.json())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_beyond_a_quota_ends_alone_is_told_which_and_is_noted() {
    let served = Served::new(shop()).await;
    let owner = served.owner().await;
    let analyst = served.user(&owner, Role::Analyst).await;
    let count = "select count(*) from raw.numbers";
    let ended = all(vec![sql(&served, &analyst, RUNAWAY), sql(&served, &owner, count)]).await;
    let (status, said) = &ended[0];
    assert_eq!((*status, &said["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("timeout")));
    let detail = said["detail"].as_str().unwrap();
    assert!(detail.contains("longer than 1000 ms, the quota of analyst-user"), "{said}");
    assert!(said["hint"].as_str().unwrap().contains("flywheel.yaml"), "{said}");
    assert_eq!(ended[1].1["rows"], json!([[5_000]]), "others go on: {}", ended[1].1);

    let (status, said) = sql(&served, &analyst, "select n from raw.numbers").await;
    assert_eq!((status, &said["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("exhausted")));
    assert!(said["detail"].as_str().unwrap().contains("more than 1000 rows"), "{said}");
    let (status, said) = sql(&served, &analyst, "select n from raw.numbers limit 1000").await;
    assert_eq!((status, &said["row_count"]), (StatusCode::OK, &json!(1_000)));
    // Statements of one user wait for each other.
    let both = all(vec![sql(&served, &analyst, count), sql(&served, &analyst, count)]).await;
    assert!(both.iter().all(|(status, _)| *status == StatusCode::OK), "{both:?}");

    // Who looks as somebody else takes from their own quota.
    let body = json!({"sql": "select n from raw.numbers", "limit": 100_000});
    let viewed = served.post(&owner, "/v1/sql?as=analyst-user", &body).await;
    assert_eq!(viewed.json()["row_count"], json!(5_000), "{}", viewed.json());

    let quotas = served.get(&owner, "/v1/quotas").await.json();
    let hits: Vec<(&Value, &Value, &Value)> = quotas["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| (&hit["who"], &hit["quota"], &hit["most"]))
        .collect();
    let who = json!("analyst-user");
    let expected = [(&who, &json!("rows"), &json!(1_000)), (&who, &json!("time"), &json!(1_000))];
    assert_eq!(hits, expected, "{quotas}");
    let items = quotas["items"].as_array().unwrap();
    let role = items.iter().find(|one| one["role"] == "analyst").unwrap();
    assert_eq!(
        (&role["user_count"], &role["quota"]["rows"], &role["quota"]["memory_bytes"]),
        (&json!(1), &json!(1_000), &Value::Null)
    );
    assert_eq!(
        (&quotas["users"][0]["user"], &quotas["users"][0]["quota"]["rows"]),
        (&json!("ben"), &json!(2_000))
    );
    assert_eq!(served.get(&analyst, "/v1/quotas").await.status, StatusCode::FORBIDDEN);
    assert!(served.house.ok(&["audit", "verify"]).contains("as they were written"));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_a_quota_are_told_when_to_come_again_and_noted_once() {
    let served = Served::new(shop()).await;
    let owner = served.owner().await;
    let viewer = served.user(&owner, Role::Viewer).await;
    let mut left = Vec::new();
    for _ in 0..3 {
        let answer = served.get(&viewer, "/v1/status").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.headers["ratelimit-limit"].to_str().unwrap(), "3");
        left.push(answer.headers["ratelimit-remaining"].to_str().unwrap().to_owned());
    }
    assert_eq!(left, ["2", "1", "0"]);
    for _ in 0..2 {
        let refused = served.get(&viewer, "/v1/status").await;
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (StatusCode::TOO_MANY_REQUESTS, &json!("rate-limited"))
        );
        let number = |name: &str| refused.headers[name].to_str().unwrap().parse::<u64>().unwrap();
        assert!((1..=60).contains(&number("retry-after")));
        assert_eq!((number("ratelimit-remaining"), number("ratelimit-limit")), (0, 3));
    }
    let unlimited = served.get(&owner, "/v1/quotas").await;
    assert!(!unlimited.headers.contains_key("ratelimit-limit"));
    let hits = unlimited.json()["hits"].clone();
    assert_eq!(hits.as_array().unwrap().len(), 1, "{hits}");
    assert_eq!(
        (&hits[0]["who"], &hits[0]["quota"]),
        (&json!("viewer-user"), &json!("requests_per_minute"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_holds_at_every_door() {
    let house = with_dashboard("query");
    house.write("flywheel.yaml", "name: shop\nquotas: {roles: {analyst: {rows: 1}}}\n").write(
        "queries/lands.yaml",
        "query: lands\nsql: select country from {{ ref('orders') }}\n",
    );
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let analyst = served.user(&owner, Role::Analyst).await;
    let sql = json!({"sql": "select country from mart.orders"});
    let question = json!({"metrics": ["revenue"], "by": ["country"]});
    for (path, body) in [
        ("/v1/sql", Some(&sql)),
        ("/v1/sql/csv", Some(&sql)),
        ("/v1/sql/arrow", Some(&sql)),
        ("/v1/metrics/query", Some(&question)),
        ("/v1/queries/lands/rows", None),
        ("/v1/dashboards/sales/tiles/lands?whole=true", None),
    ] {
        let asked = async |who: &As| match body {
            Some(body) => served.post(who, path, body).await,
            None => served.get(who, path).await,
        };
        let refused = asked(&analyst).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}: {}", refused.json());
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("more than 1 rows, the quota of analyst-user"), "{path}: {detail}");
        let answered = asked(&owner).await;
        assert_eq!(answered.status, StatusCode::OK, "{path}: {}", answered.json());
    }
    // Each is noted.
    let hits = served.get(&owner, "/v1/quotas").await.json()["hits"].clone();
    assert_eq!(hits.as_array().unwrap().len(), 6, "{hits}");
    // The command line sees what the user would.
    let complaint =
        served.house.fails(1, &["sql", "select country from mart.orders", "--as", "analyst-user"]);
    assert!(complaint.contains("the quota of analyst-user"), "{complaint}");
}

#[test]
fn quotas_that_cannot_be_meant_are_told_with_their_place() {
    let house = House::new();
    house.write(
        "flywheel.yaml",
        "name: shop\nquotas:\n  roles:\n    analist: {rows: 10}\n    viewer: {memory: 1KiB}\n  users:\n    anna: {time: 0s}\n",
    );
    let said = house.fails(2, &["check"]);
    for (line, words) in [
        (4, "quotas name the unknown role \"analist\""),
        (5, "the quota of \"viewer\" leaves a query too little memory"),
        (7, "the quota of \"anna\" leaves a query no time"),
    ] {
        assert!(said.contains(words) && said.contains(&format!("flywheel.yaml:{line}")), "{said}");
    }
    assert!(said.contains("Did you mean \"analyst\"?"), "{said}");
}
