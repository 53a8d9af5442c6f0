//! Deliveries that wait for a second person: approved, edited, rejected and ended in time, and sent once.

use axum::http::StatusCode;
use flywheel_base::Timestamp;
use flywheel_project::resource::rule::Role;
use serde_json::{Value, json};

use super::{As, Served};
use crate::house::House;

const EVENING: &str = "2024-05-01";
const NEXT: &str = "2024-05-02T12:00:00Z";

/// Forty units whose payments are as many as their number; those above 36 wait for two days.
fn payments() -> House {
    payments_that_wait(", within: 2d")
}

fn payments_that_wait(within: &str) -> House {
    let house = House::new();
    let rows: String = (0..40).map(|n| format!("u{n:02},{n}\n")).collect();
    house
        .write("data/units.csv", format!("unit_id,amount\n{rows}"))
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n")
        .write("syncs/units.yaml", "sync: units\nconnection: files\nstreams:\n  - {stream: units, options: {path: units.csv}, read: full, write: replace}\n")
        .write("actions/bank.yaml", "action: bank\ntype: file\noptions: {path: out/bank.jsonl}\n")
        .write(
            "policies/pay.yaml",
            format!(
                "policy: pay\naudience: select unit_id, cast(amount as double) as amount from {{{{ source('raw', 'units') }}}}\n\
             choose: {{candidates: [{{name: pay}}]}}\ncaps: {{per_unit_every: 90d}}\naction: bank\npayload: {{amount: $amount}}\n\
             approve: {{above: 36, of: amount{within}}}\n"
            ),
        );
    house.ok(&["sync"]);
    house.ok(&["turn", "--replay", EVENING]);
    house
}

async fn waiting(served: &Served, who: &As) -> Vec<Value> {
    let answer = served.get(who, "/v1/approvals").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
    let mut items = answer.json()["items"].as_array().unwrap().clone();
    items.sort_by_key(|one| one["unit"].as_str().unwrap_or_default().to_owned());
    items
}

fn about(one: &Value) -> Value {
    json!({"key": one["key"], "revision": one["revision"]})
}

const ENDS: &str =
    "select status || ' ' || count(*) from system.actions group by status order by status";

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_leaves_once_after_a_second_person_approved_it() {
    let house = payments();
    assert_eq!(house.sql(ENDS), ["delivered 37"], "what is below the bound leaves by itself");
    let served = Served::new(house).await;
    served.clock.hold(Timestamp::parse(NEXT).unwrap());
    let owner = served.owner().await;
    let engineer = served.user(&owner, Role::Engineer).await;
    let operator = served.user(&owner, Role::Operator).await;
    let items = waiting(&served, &owner).await;
    let units: Vec<&str> = items.iter().map(|one| one["unit"].as_str().unwrap()).collect();
    assert_eq!(units, ["u37", "u38", "u39"]);
    assert_eq!((&items[0]["amount"], &items[0]["payload"]["amount"]), (&json!(37.0), &json!(37.0)));
    let status = served.get(&owner, "/v1/status").await.json();
    let told = status["attention"].as_array().unwrap().iter().find(|it| it["kind"] == "approvals");
    assert_eq!(told.unwrap()["count"], 3, "{status}");

    // Who lets the policy go on does not approve what it sends; who may not read rows does not see it.
    let paused = json!({"reason": "a look"});
    assert!(served.post(&engineer, "/v1/policies/pay/pause", &paused).await.status.is_success());
    let resumed = served.post(&engineer, "/v1/policies/pay/resume", &json!({})).await;
    assert!(resumed.status.is_success());
    let first = json!({"items": [about(&items[0])]});
    let refused = served.post(&engineer, "/v1/approvals/approve", &first).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.json());
    assert!(refused.json()["detail"].as_str().unwrap().contains("let its policy go on"));
    assert!(refused.json()["hint"].is_string());
    assert!(waiting(&served, &operator).await.iter().all(|one| one.get("unit").is_none()));
    let blind = served.post(&operator, "/v1/approvals/approve", &first).await;
    assert_eq!(blind.status, StatusCode::FORBIDDEN, "{}", blind.json());
    let token = served.token(&owner, &["operate", "query", "view"]).await;
    let by_token = served.post(&token, "/v1/approvals/approve", &first).await;
    assert_eq!(by_token.status, StatusCode::FORBIDDEN, "{}", by_token.json());

    let approved = served.post(&owner, "/v1/approvals/approve", &first).await;
    assert_eq!(approved.json(), json!({"decided": 1}));
    let again = served.post(&owner, "/v1/approvals/approve", &first).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "{}", again.json());
    let no_reason = json!({"items": [about(&items[1])]});
    let refused = served.post(&engineer, "/v1/approvals/reject", &no_reason).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let reason = json!({"items": [about(&items[1])], "reason": "paid last week"});
    let rejected = served.post(&engineer, "/v1/approvals/reject", &reason).await;
    assert_eq!(rejected.json(), json!({"decided": 1}), "anybody may stop it");
    let edit = format!("/v1/approvals/{}", items[2]["key"].as_str().unwrap());
    let edited = served.send(&owner, "PATCH", &edit, json!({"quantity": 1}).to_string()).await;
    assert_eq!(edited.status, StatusCode::BAD_REQUEST, "it is no order: {}", edited.json());
    let audit = served.get(&owner, "/v1/audit").await.json();
    let noted =
        audit["items"].as_array().unwrap().iter().find(|row| {
            row["what"] == "POST /v1/approvals/approve" && row["detail"]["status"] == 200
        });
    assert_eq!(noted.unwrap()["detail"]["more"]["items"][0]["policy"], "pay");

    let Served { house, server, router, .. } = served;
    drop((server, router));
    house.ok(&["turn", "--replay", "2024-05-02"]);
    assert_eq!(house.sql(ENDS), ["delivered 38", "discarded 1"]);
    // Nobody has decided about the last one in time.
    let said = house.ok(&["approvals", "list", "--output", "csv"]);
    assert!(said.contains("u39") && !said.contains("u38"), "{said}");
    house.ok(&["turn", "--replay", "2024-05-03"]);
    assert_eq!(house.sql(ENDS), ["delivered 38", "discarded 2"]);
    let stands = "select unit_id || ' ' || status || ' ' || coalesce(decided_by, '-') from system.approvals order by 1";
    let expected = ["u37 approved ada", "u38 rejected engineer-user", "u39 expired -"];
    assert_eq!(house.sql(stands), expected);
    let why = "select error from system.actions where status = 'discarded' order by ended_at, key";
    let why = house.sql(why);
    assert!(why[0].contains("rejected by engineer-user: paid last week"), "{why:?}");
    assert!(why[1].contains("nobody approved it in time"), "{why:?}");
    // What was decided is the same whatever became of it.
    let decided = "select count(*) || ' ' || min(propensity) from system.decisions";
    assert_eq!(house.cell(decided), "40 1.0");
}

/// A shop that sells five of one item a day and has none left.
fn restocking() -> House {
    let house = House::new();
    let days = (1..=30).map(|day| format!("i1,2024-04-{day:02}T10:00:00,5\n"));
    let days = days.chain([format!("i1,{EVENING}T10:00:00,5\n")]);
    house
        .write("data/sales.csv", format!("item,at,pieces\n{}", days.collect::<String>()))
        .write("data/stock.csv", "item,on_hand,unit_cost\ni1,0,10\n")
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n")
        .write(
            "syncs/files.yaml",
            "sync: files\nconnection: files\nstreams:\n  - {stream: sales, options: {path: sales.csv}, read: full, write: replace}\n  \
             - {stream: stock, options: {path: stock.csv}, read: full, write: replace}\n",
        )
        .write("actions/buyer.yaml", "action: buyer\ntype: file\noptions: {path: out/orders.jsonl}\n")
        .write(
            "learners/demand.yaml",
            "learner: demand\nforecast:\n  series: select item as series_id, date_trunc('day', cast(at as timestamp)) as day, cast(pieces as double) as value from {{ source('raw', 'sales') }}\n  method: naive\n  horizon_days: 7\n",
        )
        .write(
            "policies/restock.yaml",
            "policy: restock\naudience: select item as unit_id, cast(on_hand as double) as on_hand, 0 as on_order, cast(unit_cost as double) as unit_cost from {{ source('raw', 'stock') }}\n\
             choose: {reorder: {learner: demand, lead_time_days: 2, review_days: 1, costs: {holding: 1, shortage: 5, order: 20}}}\n\
             caps: {per_unit_every: 90d}\naction: buyer\npayload: {item: $unit_id, pieces: $order_quantity, cost: $cost, class: $class}\n\
             approve: {above: 100}\n",
        );
    house.ok(&["sync"]);
    house.ok(&["turn", "--replay", EVENING]);
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_changed_before_somebody_else_approves_it() {
    let house = restocking();
    let why = house.cell("select items from system.decisions where policy = 'restock'");
    assert!(why.contains("a missing unit costs 5.00"), "{why}");
    assert!(why.contains("the lot of the least yearly cost"), "{why}");
    let served = Served::new(house).await;
    served.clock.hold(Timestamp::parse(NEXT).unwrap());
    let owner = served.owner().await;
    let engineer = served.user(&owner, Role::Engineer).await;
    let order = waiting(&served, &owner).await.remove(0);
    let proposed = order["quantity"].as_f64().unwrap();
    assert!(proposed > 100.0, "an economic lot: {order}");
    assert_eq!((&order["editable"], &order["payload"]["class"]), (&json!(true), &json!("AX")));
    let path = format!("/v1/approvals/{}", order["key"].as_str().unwrap());
    let change = json!({"quantity": 40, "reason": "the shelf is small", "revision": 0}).to_string();
    let edited = served.send(&engineer, "PATCH", &path, change.clone()).await;
    assert_eq!(edited.status, StatusCode::OK, "{}", edited.json());
    let edited = edited.json();
    assert_eq!((&edited["payload"]["pieces"], &edited["amount"]), (&json!(40.0), &json!(400.0)));
    assert_eq!(
        (&edited["proposed"], &edited["original"]["pieces"]),
        (&json!(proposed), &json!(proposed))
    );
    let stale = served.send(&engineer, "PATCH", &path, change).await;
    assert_eq!(stale.status, StatusCode::CONFLICT, "{}", stale.json());
    // Neither who saw another quantity nor who changed it approves.
    let unseen =
        served.post(&owner, "/v1/approvals/approve", &json!({"items": [about(&order)]})).await;
    assert_eq!(unseen.status, StatusCode::CONFLICT, "{}", unseen.json());
    let now = json!({"items": [about(&edited)]});
    let own = served.post(&engineer, "/v1/approvals/approve", &now).await;
    assert_eq!(own.status, StatusCode::FORBIDDEN, "{}", own.json());
    let approved = served.post(&owner, "/v1/approvals/approve", &now).await;
    assert_eq!(approved.json(), json!({"decided": 1}));
    let Served { house, server, router, .. } = served;
    drop((server, router));
    house.ok(&["turn", "--replay", "2024-05-02"]);
    assert_eq!(house.sql(ENDS), ["delivered 1"]);
    let kept = "select cast(quantity as int) || ' ' || status from system.approvals";
    assert_eq!(house.cell(kept), "40 approved");
}

#[test]
fn approvals_are_given_on_the_command_line_by_name() {
    let house = payments_that_wait("");
    let keys = house.sql("select key from system.approvals order by unit_id");
    let [first, second, third] = keys.as_slice() else { panic!("{keys:?}") };
    house.ok(&["approvals", "approve", first, "--by", "bea"]);
    house.ok(&["approvals", "reject", second, "--by", "bea", "--reason", "twice"]);
    let unknown = house.run(&["approvals", "approve", third, "nothing", "--by", "bea"]);
    assert!(!unknown.status.success(), "all of them or none");
    let audited = "select what || ' ' || object, detail from system.audit where what like 'approval.%' order by number";
    let audited = house.sql(audited);
    assert_eq!(audited.len(), 2, "{audited:?}");
    for (row, what, key) in
        [(&audited[0], "approval.approve pay", first), (&audited[1], "approval.reject pay", second)]
    {
        assert!(
            row.starts_with(what) && row.contains("bea") && row.contains(key.as_str()),
            "{row}"
        );
    }
    house.ok(&["turn", "--replay", "2024-05-02"]);
    assert_eq!(house.sql(ENDS), ["delivered 38", "discarded 1"]);
    let listed: Value =
        serde_json::from_str(&house.ok(&["approvals", "list", "--output", "json"])).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed[0]["key"], json!(third));
}
