//! What a build would change and rows that are mended, through the API: who sees rows, and who may do what.

use axum::http::StatusCode;
use flywheel_project::resource::rule::Role;
use serde_json::{Value, json};

use super::Served;
use crate::house::House;

const ORDERS: &str = "{{ config(materialized='table') }} select id, customer, amount\nfrom {{ source('raw', 'orders') }}";

/// A shop whose model was built and then edited, with rows that were set aside.
fn shop() -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n")
        .write("syncs/shop.yaml", "sync: shop\nconnection: files\nstreams:\n  - {stream: orders, options: {path: orders.csv}, read: incremental, write: merge, key: [id], columns: [{name: id, type: int64}, {name: amount, type: int64}]}\n")
        .write("data/orders.csv", "id,customer,amount\n1,a,10\n2,b,30\n3,c,many\n4,d,few\n")
        .write("models/mart/orders.sql", ORDERS)
        .write(
            "metrics/orders.yaml",
            "semantic: orders\ntable: ref('orders')\nentities: {order: {type: primary, key: id}}\nmeasures: {amount: {aggregate: sum}}\nmetrics: {revenue: {measure: amount}}\n",
        );
    house.ok(&["sync"]);
    house.ok(&["build"]);
    house.ok(&["environment", "create", "dev"]);
    house.write("models/mart/orders.sql", ORDERS.replace("amount\n", "amount * 2 as amount\n"));
    house
}

const HIDES: &str =
    "rule: orders\ntables: [raw.orders]\nask: the owner\nreaders: [{roles: [owner]}]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_names_what_changes_and_shows_rows_to_who_sees_all_of_them() {
    let house = shop();
    house.write("access/orders.yaml", HIDES);
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let plan = served.get(&owner, "/v1/plan").await;
    assert_eq!(plan.status, StatusCode::OK, "{}", plan.json());
    let plan = plan.json();
    let model = &plan["models"][0];
    assert_eq!(
        (&model["name"], &model["change"], &model["impact"], &model["columns_changed"]),
        (&json!("mart.orders"), &json!("modified"), &json!("breaking"), &json!(["amount"])),
        "{plan}"
    );
    let sql = |key: &str| model[key].as_str().unwrap_or_default().to_owned();
    assert!(!sql("sql_before").contains("amount * 2"), "{plan}");
    assert!(sql("sql_after").contains("amount * 2"), "{plan}");
    let metric = |touched: &Value| touched["kind"] == "metric" && touched["name"] == "revenue";
    assert!(plan["dependents"].as_array().unwrap().iter().any(metric), "{plan}");

    let path = "/v1/plan/differences?model=mart.orders&samples=1";
    let seen = served.get(&owner, path).await.json();
    assert_eq!(
        (&seen["diff"]["changed"], &seen["diff"]["samples"][0]["key"]),
        (&json!(2), &json!(["1"])),
        "{seen}"
    );
    let values = &seen["diff"]["samples"][0]["values"];
    assert_eq!(values, &json!([{"column": "amount", "before": "10", "after": "20"}]), "{seen}");
    let analyst = served.user(&owner, Role::Analyst).await;
    let hidden = served.get(&analyst, path).await;
    assert_eq!(hidden.status, StatusCode::OK, "{}", hidden.json());
    let hidden = hidden.json();
    assert!(hidden["withheld"].is_string() && hidden["diff"].is_null(), "{hidden}");
    // A query may hold what its template asked the database for.
    let plan = served.get(&analyst, "/v1/plan").await.json();
    let query = &plan["models"][0]["sql_after"];
    assert_eq!((&plan["queries_withheld"], query), (&json!(true), &Value::Null), "{plan}");
    let viewed = served.get(&owner, &format!("{path}&as=analyst-user")).await.json();
    assert!(viewed["withheld"].is_string() && viewed["diff"].is_null(), "{viewed}");
    let viewer = served.user(&owner, Role::Viewer).await;
    assert_eq!(served.get(&viewer, path).await.status, StatusCode::FORBIDDEN);
    assert_eq!(served.get(&viewer, "/v1/plan").await.status, StatusCode::OK);
    let unknown = served.get(&owner, "/v1/plan/differences?model=mart.nothing").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND, "{}", unknown.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_and_environments_are_moved_by_who_may() {
    let served = Served::new(shop()).await;
    let owner = served.owner().await;
    let viewer = served.user(&owner, Role::Viewer).await;
    let listed = served.get(&viewer, "/v1/environments").await.json();
    let names: Vec<&Value> =
        listed["items"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["prod", "dev"], "{listed}");
    let dev = served.get(&owner, "/v1/plan?environment=dev").await.json();
    assert_eq!((&dev["environment"], &dev["tasks"]), (&json!("dev"), &json!(1)), "{dev}");
    let wrong = served.get(&owner, "/v1/plan?environment=deb").await;
    assert_eq!(wrong.status, StatusCode::NOT_FOUND, "{}", wrong.json());

    let apply = json!({"plan": dev["digest"], "environment": "dev"});
    let promote = "/v1/environments/dev/promote";
    for (path, body) in [
        ("/v1/plan/apply", &apply),
        (promote, &json!({})),
        ("/v1/environments/prod/rollback", &json!({})),
    ] {
        let refused = served.post(&viewer, path, body).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}: {}", refused.json());
        let asked = served.post(&owner, path, body).await;
        assert_eq!(asked.status, StatusCode::ACCEPTED, "{path}: {}", asked.json());
    }
    let kinds = served.get(&owner, "/v1/work").await.json();
    let kinds: Vec<&Value> =
        kinds["items"].as_array().unwrap().iter().map(|work| &work["kind"]).collect();
    assert_eq!(kinds, ["rollback", "promote", "build"]);
    for (path, body) in [
        ("/v1/plan/apply", json!({"plan": "../../x"})),
        ("/v1/environments/prod/promote", json!({})),
    ] {
        let bad = served.post(&owner, path, &body).await;
        assert_eq!(bad.status, StatusCode::BAD_REQUEST, "{path}: {}", bad.json());
    }
    let nowhere = served.post(&owner, "/v1/environments/deb/promote", &json!({})).await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND, "{}", nowhere.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_mended_by_who_operates_and_sees_them() {
    let house = shop();
    let ids = house.sql("select quarantine_id from system.quarantine order by line");
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let engineer = served.user(&owner, Role::Engineer).await;
    let one = format!("/v1/quarantine/{}", ids[0]);
    let row = served.get(&engineer, &one).await.json();
    let column = |name: &str| {
        row["fields"].as_array().unwrap().iter().find(|field| field["column"] == name).unwrap()
    };
    assert_eq!((&row["why_not"], &row["line"]), (&Value::Null, &json!(4)), "{row}");
    assert_eq!(column("amount")["value"], "many", "{row}");
    assert_eq!(column("customer")["value"], "c", "{row}");

    let edit = json!({"rows": ids, "set": {"amount": "7"}});
    let tried = served.post(&engineer, "/v1/quarantine/try", &edit).await.json();
    let fits = |at: usize| (&tried["items"][at]["fits"], &tried["items"][at]["lands"]["amount"]);
    assert_eq!([fits(0), fits(1)], [(&json!(true), &json!("7")); 2], "{tried}");
    let nothing = json!({"rows": [ids[0]]});
    let tried = served.post(&engineer, "/v1/quarantine/try", &nothing).await.json();
    assert_eq!(tried["items"][0]["column"], "amount", "{tried}");

    // Who operates and may not read rows, and who reads rows and may not operate.
    for role in [Role::Operator, Role::Analyst] {
        let who = served.user(&owner, role).await;
        for (path, body) in [
            ("/v1/quarantine/try", edit.clone()),
            ("/v1/quarantine/mend", edit.clone()),
            ("/v1/quarantine/dismiss", json!({"rows": ids, "reason": "test"})),
        ] {
            let refused = served.post(&who, path, &body).await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{role:?} {path}");
        }
    }
    let none = json!({"rows": ids, "reason": "  "});
    let none = served.post(&engineer, "/v1/quarantine/dismiss", &none).await;
    assert_eq!(none.status, StatusCode::BAD_REQUEST, "{}", none.json());
    let asked = served.post(&engineer, "/v1/quarantine/mend", &edit).await;
    assert_eq!((asked.status, &asked.json()["kind"]), (StatusCode::ACCEPTED, &json!("mend")));
    let audit = served.get(&owner, "/v1/audit").await.json();
    let noted =
        audit["items"].as_array().unwrap().iter().find(|row| {
            row["what"] == "POST /v1/quarantine/mend" && row["detail"]["status"] == 202
        });
    let more = &noted.unwrap()["detail"]["more"];
    assert_eq!((&more["rows"], &more["columns"]), (&json!(ids), &json!(["amount"])), "{more}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_rule_hides_are_not_there_to_be_mended() {
    let house = shop();
    let ids = house.sql("select quarantine_id from system.quarantine order by line");
    house.write("access/orders.yaml", HIDES);
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let engineer = served.user(&owner, Role::Engineer).await;
    let path = format!("/v1/quarantine/{}", ids[0]);
    assert_eq!(served.get(&owner, &path).await.status, StatusCode::OK);
    let hidden = served.get(&engineer, &path).await;
    assert!(hidden.status.is_client_error(), "{}", hidden.json());
    assert!(!hidden.json().to_string().contains("many"), "{}", hidden.json());
    for (path, body) in [
        ("/v1/quarantine/try", json!({"rows": [ids[0]], "set": {"amount": "7"}})),
        ("/v1/quarantine/mend", json!({"rows": [ids[0]], "set": {"amount": "7"}})),
        ("/v1/quarantine/dismiss", json!({"rows": [ids[0]], "reason": "test"})),
    ] {
        let refused = served.post(&engineer, path, &body).await;
        assert!(refused.status.is_client_error(), "{path}: {}", refused.json());
    }
}
