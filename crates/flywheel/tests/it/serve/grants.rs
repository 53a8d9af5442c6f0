//! Grants: what is not granted is not there, at each door, and what is granted may be seen, changed and run.

use axum::http::StatusCode;
use flywheel_project::NodeKind;
use flywheel_project::grant::Deed;
use flywheel_project::resource::rule::Role;
use flywheel_server::Reach;
use serde_json::{Value, json};

use super::{As, Served};
use crate::house::House;

/// What an analyst's grant does not cover, as names, and as words that nothing else holds.
const HIDDEN: [&str; 5] = ["salaries", "payroll", "staff", "bonus", "raw.orders"];

const ANALYSTS: &str = "\
grant: analysts
description: Sums of the shop.
ask: data@shop.example
to: {roles: [analyst]}
read:
  tables: [marts.*]
  metrics: ['*']
  dashboards: ['*']
  queries: ['*']
  syncs: [orders]
";

const ENGINEERS: &str = "\
grant: engineers
ask: data@shop.example
to: {roles: [engineer]}
read: {tables: [marts.sums, marts.seen]}
change: {tables: [sandbox.*], dashboards: [open]}
act: {syncs: [orders], tables: [marts.sums]}
";

/// A shop with sums for everybody, and what it pays its people.
fn shop() -> House {
    let house = House::new();
    house
        .write("data/orders.csv", "id,amount\n1,5\n2,7\n")
        .write("data/people.csv", "id,name,pay\n1,Ada,471247124\n2,Bo,200\n")
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n")
        .write(
            "syncs/orders.yaml",
            "sync: orders\nconnection: files\nstreams:\n  - {stream: orders, options: {path: orders.csv}}\n",
        )
        .write(
            "syncs/staff.yaml",
            "sync: staff\nconnection: files\nstreams:\n  - {stream: staff, options: {path: people.csv}}\n",
        )
        .write(
            "models/marts/sums.sql",
            "{{ config(materialized='table') }} select id, amount from {{ source('raw', 'orders') }}",
        )
        .write(
            "models/marts/seen.sql",
            "select o.id, o.amount, s.name from {{ source('raw', 'orders') }} o \
             join {{ source('raw', 'staff') }} s on s.id = o.id",
        )
        .write(
            "models/hr/salaries.sql",
            "{{ config(materialized='table') }} select id, pay from {{ source('raw', 'staff') }}",
        )
        .write(
            "metrics/orders.yaml",
            "semantic: orders\ntable: ref('sums')\nentities: {order: {type: primary, key: id}}\n\
             measures: {orders: {aggregate: count}}\nmetrics: {orders: {measure: orders}}\n",
        )
        .write(
            "metrics/payroll.yaml",
            "semantic: payroll\ntable: ref('salaries')\nentities: {person: {type: primary, key: id}}\n\
             measures: {payroll: {aggregate: count}}\nmetrics: {payroll: {measure: payroll}}\n",
        )
        .write(
            "dashboards/open.yaml",
            "dashboard: open\nreaders: query\ntiles:\n  - {tile: orders, metrics: [orders]}\n",
        )
        .write(
            "dashboards/bonus.yaml",
            "dashboard: bonus\nreaders: query\ntiles:\n  - {tile: pay, metrics: [payroll]}\n",
        )
        .write("queries/open.yaml", "query: open\nsql: select count(*) as n from {{ ref('sums') }}\n")
        .write(
            "queries/bonuses.yaml",
            "query: bonuses\nsql: select count(*) as n from {{ ref('salaries') }}\n",
        );
    house.ok(&["sync"]);
    house.ok(&["sync", "orders"]);
    house.ok(&["build"]);
    house.write("grants/analysts.yaml", ANALYSTS).write("grants/engineers.yaml", ENGINEERS);
    house.ok(&["check"]);
    house
}

async fn asked(served: &Served, who: &As, sql: &str) -> (StatusCode, Value) {
    let answer = served.post(who, "/v1/sql", &json!({"sql": sql})).await;
    (answer.status, answer.json())
}

/// Refuses an answer that names what is hidden.
fn check_silent(what: &str, answer: &Value) {
    let text = answer.to_string();
    for word in HIDDEN {
        assert!(!text.contains(word), "{what} tells of {word}: {text}");
    }
    assert!(!text.contains("471247124"), "{what}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_not_granted_are_not_there_in_sql() {
    let served = Served::new(shop()).await;
    let owner = served.owner().await;
    let analyst = served.user(&owner, Role::Analyst).await;
    // In the same words as what is not there.
    for sql in [
        "select * from hr.NAME",
        "select * from NAME",
        "select 1 where 1 in (select id from hr.NAME)",
    ] {
        let hidden = asked(&served, &analyst, &sql.replace("NAME", "salaries")).await;
        let missing = asked(&served, &analyst, &sql.replace("NAME", "nowheres")).await;
        assert_eq!(
            (hidden.0, missing.0),
            (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND),
            "{hidden:?}"
        );
        let said = hidden.1["detail"].as_str().unwrap().replace("salaries", "nowheres");
        assert_eq!(json!(said), missing.1["detail"]);
        let hint = hidden.1["hint"].to_string();
        assert!(!hint.contains("hr.") && !hint.contains("raw."), "{hint}");
        assert_eq!(
            asked(&served, &owner, &sql.replace("NAME", "salaries")).await.0,
            StatusCode::OK
        );
    }
    // A view of a model is the project's: it may be read without what it is made of, which its plan does not name.
    let (status, seen) = asked(&served, &analyst, "select name from marts.seen order by id").await;
    assert_eq!((status, &seen["rows"]), (StatusCode::OK, &json!([["Ada"], ["Bo"]])), "{seen}");
    for sql in [
        "explain select * from marts.seen where id = 1",
        "explain verbose select * from marts.seen",
        "select table_schema, table_name from information_schema.tables",
        "select table_name, column_name from information_schema.columns",
        "select schema_name from information_schema.schemata",
        "show tables",
    ] {
        let (status, answer) = asked(&served, &analyst, sql).await;
        assert_eq!(status, StatusCode::OK, "{sql}: {answer}");
        check_silent(sql, &answer);
        assert!(!answer.to_string().contains("\"hr\""), "{sql}: {answer}");
    }
    // Our own tables tell of everything, and are named in full where they are granted.
    for table in ["system.tables", "system.runs", "system.assets"] {
        let (status, answer) = asked(&served, &analyst, &format!("select * from {table}")).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{table}: {answer}");
    }
    for path in ["/v1/sql/csv", "/v1/sql/arrow"] {
        let answer =
            served.post(&analyst, path, &json!({"sql": "select * from hr.salaries"})).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {}", answer.json());
    }
    // Who looks as somebody else sees no more than they do.
    let viewed = served
        .post(&owner, "/v1/sql?as=analyst", &json!({"sql": "select * from hr.salaries"}))
        .await;
    assert_eq!(viewed.status, StatusCode::NOT_FOUND, "{}", viewed.json());
    // So does a token of theirs.
    let token = served.token(&analyst, &["query", "view"]).await;
    assert_eq!(asked(&served, &token, "select * from raw.staff").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_is_left_out_at_every_other_door() {
    let served = Served::new(shop()).await;
    let owner = served.owner().await;
    let analyst = served.user(&owner, Role::Analyst).await;
    for path in [
        "/v1/assets",
        "/v1/assets?q=sala",
        "/v1/assets/marts.seen",
        "/v1/search",
        "/v1/search?q=pay",
        "/v1/lineage",
        "/v1/lineage/marts.seen",
        "/v1/lineage/marts.sums/amount",
        "/v1/column-lineage?of=marts.seen&columns=true",
        "/v1/metrics",
        "/v1/dashboards",
        "/v1/dashboards/open",
        "/v1/queries",
        "/v1/queries/open",
        "/v1/syncs",
        "/v1/connections",
        "/v1/models",
        "/v1/models/marts.seen",
        "/v1/learners",
        "/v1/policies",
        "/v1/schedules",
        "/v1/quality",
        "/v1/quarantine",
        "/v1/runs",
        "/v1/work",
        "/v1/turns",
        "/v1/status",
        "/v1/trust",
        "/v1/sql/schema",
        "/v1/access-requests",
    ] {
        let answer = served.get(&analyst, path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.json());
        let mut answer = answer.json();
        if path == "/v1/syncs" {
            // A sync that is granted shows where its rows land.
            assert_eq!(answer["items"][0]["name"], "orders", "{answer}");
            assert_eq!(answer["items"].as_array().unwrap().len(), 1);
            answer = json!(null);
        }
        check_silent(path, &answer);
        let viewed = served
            .get(&owner, &format!("{path}{}as=analyst", if path.contains('?') { '&' } else { '?' }))
            .await;
        if viewed.status == StatusCode::OK && path != "/v1/syncs" && path != "/v1/access-requests" {
            check_silent(path, &viewed.json());
        }
    }
    // They are there for those to whom nothing is closed.
    for (path, word) in
        [("/v1/assets", "salaries"), ("/v1/metrics", "payroll"), ("/v1/lineage", "staff")]
    {
        let whole = served.get(&owner, path).await.json().to_string();
        assert!(whole.contains(word), "{path}: {whole}");
    }
    for (hidden, missing) in [
        ("/v1/assets/hr.salaries", "/v1/assets/hr.nowheres"),
        ("/v1/assets/hr.salaries/sample", "/v1/assets/hr.nowheres/sample"),
        ("/v1/assets/metric:payroll", "/v1/assets/metric:nowheres"),
        ("/v1/lineage/hr.salaries", "/v1/lineage/hr.nowheres"),
        ("/v1/lineage/hr.salaries/pay", "/v1/lineage/hr.nowheres/pay"),
        ("/v1/column-lineage?of=hr.salaries", "/v1/column-lineage?of=hr.nowheres"),
        ("/v1/column-lineage?of=metric:payroll", "/v1/column-lineage?of=metric:nowheres"),
        ("/v1/models/hr.salaries", "/v1/models/hr.nowheres"),
        ("/v1/dashboards/bonus", "/v1/dashboards/nowheres"),
        ("/v1/dashboards/bonus/tiles/pay", "/v1/dashboards/nowheres/tiles/pay"),
        ("/v1/dashboards/%62onus/workbook", "/v1/dashboards/nowheres/workbook"),
        ("/v1/queries/bonuses", "/v1/queries/nowheres"),
        ("/v1/queries/bonuses/rows", "/v1/queries/nowheres/rows"),
        ("/v1/syncs/staff", "/v1/syncs/nowheres"),
    ] {
        let found = served.get(&analyst, hidden).await;
        let lacked = served.get(&analyst, missing).await;
        assert_eq!(
            (found.status, lacked.status),
            (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND),
            "{hidden}: {}",
            found.json()
        );
        let told = |answer: &Value| {
            let mut said = answer["detail"].as_str().unwrap_or_default().to_owned();
            for name in ["salaries", "payroll", "bonuses", "bonus", "staff"] {
                said = said.replace(name, "nowheres");
            }
            said
        };
        assert_eq!(told(&found.json()), told(&lacked.json()), "{hidden}");
        let hints = format!("{}{}", found.json()["hint"], lacked.json()["hint"]);
        check_silent(hidden, &json!(hints));
    }
    // Runs of what is hidden, and of many things at once, are not there either; neither are their logs.
    let all = served.get(&owner, "/v1/runs").await.json();
    let seen = served.get(&analyst, "/v1/runs").await.json();
    let ids = |runs: &Value| -> Vec<String> {
        let runs = runs["items"].as_array().unwrap();
        runs.iter().map(|run| run["run_id"].as_str().unwrap().to_owned()).collect()
    };
    let (all, seen) = (ids(&all), ids(&seen));
    assert_eq!(seen.len(), 1, "the sync of orders alone: {seen:?}");
    for id in all {
        let status = if seen.contains(&id) { StatusCode::OK } else { StatusCode::NOT_FOUND };
        for path in [format!("/v1/runs/{id}"), format!("/v1/runs/{id}/log")] {
            let answer = served.get(&analyst, &path).await;
            assert_eq!(answer.status, status, "{path}: {}", answer.json());
        }
    }
    // Metrics are asked for by name, as tables, and with a word that is near.
    for body in [json!({"metrics": ["payroll"]}), json!({"metrics": ["payrol"]})] {
        let answer = served.post(&analyst, "/v1/metrics/query", &body).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.json());
        assert_eq!(answer.json()["hint"], json!(null));
    }
    let counted = served.post(&analyst, "/v1/metrics/query", &json!({"metrics": ["orders"]})).await;
    assert_eq!(counted.json()["rows"], json!([[2]]), "{}", counted.json());
    let (status, answer) = asked(&served, &analyst, "select payroll from metrics.payroll").await;
    assert!(status.is_client_error() && !answer.to_string().contains("hr."), "{answer}");
    // What is about the whole project is refused, and is not in the menu.
    for path in ["/v1/plan", "/v1/savings", "/v1/alerts"] {
        let answer = served.get(&analyst, path).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}: {}", answer.json());
    }
    for path in ["/v1/files", "/v1/files/dashboard/bonus", "/v1/files/query/bonuses"] {
        let answer = served.get(&analyst, path).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}: {}", answer.json());
    }
    let me = served.get(&analyst, "/v1/me").await.json();
    let features = me["features"].as_array().unwrap();
    assert!(!features.contains(&json!("plan")) && features.contains(&json!("sql")), "{me}");
    let owns = served.get(&owner, "/v1/me").await.json();
    assert!(owns["features"].as_array().unwrap().contains(&json!("plan")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_granted_may_be_changed_and_run_and_nothing_else() {
    let served = Served::new(shop()).await;
    let owner = served.owner().await;
    let engineer = served.user(&owner, Role::Engineer).await;
    let write = async |who: &As, sql: &str| {
        let answer = served.post(who, "/v1/sql/write", &json!({"sql": sql})).await;
        (answer.status, answer.json())
    };
    assert_eq!(write(&owner, "create schema sandbox").await.0, StatusCode::OK);
    for (sql, status) in [
        ("create table sandbox.mine as select * from marts.sums", StatusCode::OK),
        ("create table sandbox.theirs as select * from hr.salaries", StatusCode::NOT_FOUND),
        ("create view sandbox.look as select * from hr.salaries", StatusCode::NOT_FOUND),
        ("insert into sandbox.mine select id, pay from hr.salaries", StatusCode::NOT_FOUND),
        ("insert into hr.salaries select 9, 9", StatusCode::NOT_FOUND),
        ("create table hr.salaries as select 1 as id", StatusCode::FORBIDDEN),
        ("create table hr.nowheres as select 1 as id", StatusCode::FORBIDDEN),
        ("drop table hr.salaries", StatusCode::FORBIDDEN),
        ("drop table hr.nowheres", StatusCode::FORBIDDEN),
        ("alter table sandbox.mine rename to hr.mine", StatusCode::FORBIDDEN),
        ("drop schema hr cascade", StatusCode::FORBIDDEN),
        ("delete from sandbox.mine where id = 1", StatusCode::OK),
    ] {
        let (found, answer) = write(&engineer, sql).await;
        assert_eq!(found, status, "{sql}: {answer}");
        assert!(!answer.to_string().contains("471247124"), "{sql}: {answer}");
    }
    // A view that a statement made is read by its reader's grants, whoever made it, and names nothing.
    let (status, answer) =
        write(&owner, "create view sandbox.leak as select * from hr.salaries").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let (status, answer) = asked(&served, &engineer, "select * from sandbox.leak").await;
    assert!(status.is_client_error(), "{answer}");
    assert!(!answer.to_string().contains("hr."), "{answer}");
    assert_eq!(asked(&served, &owner, "select * from sandbox.leak").await.0, StatusCode::OK);
    // So is its profile, which is made on behalf of the project and kept.
    let path = "/v1/assets/sandbox.leak/profile";
    for method in ["GET", "POST"] {
        let answer = served.send(&engineer, method, path, "").await;
        assert!(answer.status.is_client_error(), "{method}: {}", answer.json());
        assert!(!answer.json().to_string().contains("hr."), "{method}: {}", answer.json());
    }
    // Without a schema the name means what its reader has, in the view that is the project's, too.
    let (status, _) =
        write(&engineer, "create table sandbox.staff as select 7 as id, 'mine' as name").await;
    assert_eq!(status, StatusCode::OK);
    let both = "select s.name, v.name from staff s cross join marts.seen v where v.id = 1";
    assert_eq!(asked(&served, &engineer, both).await.1["rows"], json!([["mine", "Ada"]]));
    for (path, body, status) in [
        ("/v1/syncs/orders/run", json!({}), StatusCode::ACCEPTED),
        ("/v1/syncs/staff/run", json!({}), StatusCode::NOT_FOUND),
        ("/v1/syncs/nowheres/run", json!({}), StatusCode::NOT_FOUND),
        ("/v1/models/build", json!({"select": ["sums"]}), StatusCode::ACCEPTED),
        ("/v1/models/build", json!({"select": ["salaries"]}), StatusCode::FORBIDDEN),
        ("/v1/models/build", json!({"select": ["+sums"]}), StatusCode::FORBIDDEN),
        ("/v1/models/build", json!({"select": []}), StatusCode::BAD_REQUEST),
        ("/v1/turns", json!({}), StatusCode::FORBIDDEN),
        ("/v1/project/reload", json!({}), StatusCode::FORBIDDEN),
        ("/v1/quality/run", json!({"select": []}), StatusCode::FORBIDDEN),
    ] {
        let answer = served.post(&engineer, path, &body).await;
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.json());
    }
    // What they asked for themselves they follow; what others ask for they do not.
    let own = served.get(&engineer, "/v1/work").await.json();
    assert_eq!(own["items"].as_array().unwrap().len(), 2, "{own}");
    let theirs = served.post(&owner, "/v1/syncs/staff/run", &json!({})).await.json();
    let path = format!("/v1/work/{}", theirs["work"].as_str().unwrap());
    assert_eq!(served.get(&owner, &path).await.status, StatusCode::OK);
    assert_eq!(served.get(&engineer, &path).await.status, StatusCode::NOT_FOUND);
}

/// A draft of a name that reads something.
type Draft<'a> = &'a dyn Fn(&str, &str) -> Value;

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_that_names_what_is_hidden_is_told_what_one_that_names_nothing_is() {
    let house = shop();
    house.write(
        "grants/drafts.yaml",
        "grant: drafts\nask: data@shop.example\nto: {roles: [analyst]}\n\
         change: {dashboards: ['mine_*'], queries: ['mine_*'], policies: ['mine_*']}\n",
    );
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let analyst = served.user(&owner, Role::Analyst).await;
    // Names that are as long as each other, so that marks below a line are, too.
    let names = [("salaries", "nowheres"), ("payroll", "nowhere"), ("staff", "nowhr")];
    let told = |answer: &Value| {
        let mut said = answer["detail"].as_str().unwrap_or_default().replace("mine_b", "mine_a");
        for (hidden, missing) in names {
            said = said.replace(hidden, missing);
        }
        said
    };
    let policy = |_: &str, reads: &str| {
        json!({"text": format!(
            "policy: mine_p\naudience: select id as unit_id from {reads}\nchoose: {{candidates: [{{name: a}}]}}\nholdout: 0%\n"
        )})
    };
    let query = |_: &str, reads: &str| json!({"sql": format!("select count(*) as n from {reads}")});
    let board = |name: &str, reads: &str| {
        let tile = match reads.strip_prefix("metric ") {
            Some(metric) => json!({"tile": "t", "metrics": [metric]}),
            None => json!({"tile": "t", "sql": format!("select count(*) as n from {reads}")}),
        };
        json!({"dashboard": {"dashboard": name, "tiles": [tile]}})
    };
    let tile = |name: &str, reads: &str| {
        let mut asked = board(name, reads);
        asked["tile"] = json!("t");
        asked
    };
    let doors: [(&str, &str, Draft<'_>); 5] = [
        ("POST", "/v1/policy-preview", &policy),
        ("POST", "/v1/policies", &policy),
        ("PUT", "/v1/queries/mine_q", &query),
        ("POST", "/v1/dashboard-preview", &tile),
        ("POST", "/v1/dashboards", &board),
    ];
    for (method, path, body) in doors {
        for (hidden, missing) in [
            ("{{ ref('salaries') }}", "{{ ref('nowheres') }}"),
            ("metric payroll", "metric nowhere"),
            ("{{ source('raw', 'staff') }}", "{{ source('raw', 'nowhr') }}"),
            ("hr.salaries", "hr.nowheres"),
        ] {
            if hidden.starts_with("metric") && !path.contains("dashboard") {
                continue;
            }
            let found = body("mine_a", hidden).to_string();
            let found = served.send(&analyst, method, path, found).await;
            let lacked = body("mine_b", missing).to_string();
            let lacked = served.send(&analyst, method, path, lacked).await;
            let (found, lacked) = ((found.status, found.json()), (lacked.status, lacked.json()));
            assert_eq!(
                (found.0, told(&found.1)),
                (lacked.0, told(&lacked.1)),
                "{method} {path} {hidden}: {} {}",
                found.1,
                lacked.1
            );
            for answer in [&found.1, &lacked.1] {
                check_silent(path, &answer["hint"]);
            }
            check_silent(path, &lacked.1);
            if hidden.starts_with("{{ ref") {
                assert!(found.0.is_client_error(), "{method} {path}: {}", found.1);
            }
        }
    }
    // What they see they may name.
    let (own, shown) = (query("", "{{ ref('sums') }}"), board("mine_c", "{{ ref('sums') }}"));
    let made = served.send(&analyst, "PUT", "/v1/queries/mine_q", own.to_string()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    let made = served.post(&analyst, "/v1/dashboards", &shown).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_about_what_is_hidden_is_not_told_of() {
    let house = shop();
    house.write(
        "access/payrolls.yaml",
        "rule: payrolls\ndescription: What people earn.\ntables: [raw.staff]\nask: hr@shop.example\n\
         readers: [{roles: [owner]}]\n",
    );
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let viewer = served.user(&owner, Role::Viewer).await;
    let askable = served.get(&viewer, "/v1/access-requests").await.json()["askable"].clone();
    assert_eq!(askable["rules"], json!([]), "{askable}");
    let ask =
        |what: &str| json!({"kind": "rule", "what": what, "reason": "the board meets", "days": 7});
    let hidden = served.post(&viewer, "/v1/access-requests", &ask("payrolls")).await;
    let missing = served.post(&viewer, "/v1/access-requests", &ask("payroll")).await;
    assert_eq!(hidden.status, StatusCode::NOT_FOUND, "{}", hidden.json());
    assert_eq!(missing.status, StatusCode::NOT_FOUND, "{}", missing.json());
    assert!(!missing.json().to_string().contains("payrolls"), "{}", missing.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_asked_for_given_for_a_time_and_noted() {
    let served = Served::new(shop()).await;
    let owner = served.owner().await;
    let viewer = served.user(&owner, Role::Viewer).await;
    let dashboards = async || served.get(&viewer, "/v1/dashboards").await.json()["items"].clone();
    assert_eq!(dashboards().await, json!([]));
    let askable =
        served.get(&viewer, "/v1/access-requests").await.json()["askable"]["grants"].clone();
    assert_eq!(
        askable[0],
        json!({"grant": "analysts", "description": "Sums of the shop.", "ask": "data@shop.example"})
    );
    let request =
        |what: &str| json!({"kind": "grant", "what": what, "reason": "the board meets", "days": 7});
    let unknown = served.post(&viewer, "/v1/access-requests", &request("analyst")).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND, "{}", unknown.json());
    let made = served.post(&viewer, "/v1/access-requests", &request("analysts")).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    let path = format!("/v1/access-requests/{}", made.json()["id"].as_str().unwrap());
    let given = served.post(&owner, &format!("{path}/approve"), &json!({})).await;
    assert_eq!(given.status, StatusCode::OK, "{}", given.json());
    assert_eq!(dashboards().await[0]["name"], "open");
    assert_eq!(dashboards().await.as_array().unwrap().len(), 1);
    let again = served.post(&viewer, "/v1/access-requests", &request("analysts")).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST, "{}", again.json());

    // Who may what is shown to those who administer alone.
    assert_eq!(served.get(&viewer, "/v1/grants").await.status, StatusCode::FORBIDDEN);
    let listed = served.get(&owner, "/v1/grants").await.json();
    assert_eq!(listed["items"][0]["given"], json!(["viewer-user"]), "{listed}");
    let users = listed["users"].as_array().unwrap();
    let user = users.iter().find(|one| one["who"] == "viewer-user").unwrap();
    assert_eq!((&user["grants"], &user["everything"]), (&json!(["analysts"]), &json!(false)));
    let tables =
        user["kinds"].as_array().unwrap().iter().find(|one| one["kind"] == "tables").unwrap();
    assert_eq!(tables["read"], json!(["marts.seen", "marts.sums"]), "{tables}");

    let ended = served.send(&owner, "DELETE", &path, "").await;
    assert_eq!(ended.json()["status"], "ended", "{}", ended.json());
    assert_eq!(dashboards().await, json!([]));
    // A grant that is changed in pages is noted, and holds at once.
    let text = "grant: viewers\nask: ada\nto: {roles: [viewer]}\nread: {dashboards: [open], metrics: [orders], tables: [marts.sums]}\n";
    let path = "/v1/files/grant/viewers";
    let written = served.send(&owner, "PUT", path, json!({"text": text}).to_string()).await;
    assert_eq!(written.status, StatusCode::CREATED, "{}", written.json());
    assert_eq!(dashboards().await[0]["name"], "open");
    let trail = served.get(&owner, "/v1/audit").await.json();
    let rows = trail["items"].as_array().unwrap();
    let of = |what: &str| {
        rows.iter().find(|row| row["what"] == what).unwrap_or_else(|| panic!("{what}: {trail}"))
    };
    let approved = of("POST /v1/access-requests/{request}/approve");
    assert_eq!(
        (&approved["detail"]["more"]["kind"], &approved["detail"]["more"]["what"]),
        (&json!("grant"), &json!("analysts"))
    );
    assert_eq!(of("PUT /v1/files/{kind}/{name}")["object"], json!(path));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_does_not_say_how_far_it_reaches_is_for_whom_nothing_is_closed() {
    let served = Served::new(House::new()).await;
    let reach = |method: &str, path: &str| {
        let routes = served.server.routes().iter();
        let mut found = routes.filter(|route| route.method == method && route.path == path);
        found.next().unwrap_or_else(|| panic!("no route {method} {path}")).reach()
    };
    for (method, path, expected) in [
        ("POST", "/v1/turns", Reach::Whole),
        ("GET", "/v1/files", Reach::Whole),
        ("PUT", "/v1/files/{kind}/{name}", Reach::Whole),
        ("POST", "/v1/connections/{connection}/draft", Reach::Whole),
        ("POST", "/v1/links/{link}/run", Reach::Whole),
        ("GET", "/v1/links/{link}", Reach::One(NodeKind::Link, Deed::Read)),
        ("GET", "/v1/syncs/{sync}/lag", Reach::One(NodeKind::Sync, Deed::Read)),
        ("POST", "/v1/syncs/{sync}/run", Reach::One(NodeKind::Sync, Deed::Act)),
        ("POST", "/v1/policies/{policy}/promote", Reach::One(NodeKind::Policy, Deed::Act)),
        ("POST", "/v1/dashboards/{dashboard}/links", Reach::One(NodeKind::Dashboard, Deed::Change)),
        ("DELETE", "/v1/queries/{query}", Reach::One(NodeKind::Query, Deed::Change)),
        ("GET", "/v1/assets/{asset}/sample", Reach::Called),
        ("POST", "/v1/sql", Reach::Narrowed),
        ("POST", "/v1/sql/{query}/cancel", Reach::Free),
        ("POST", "/v1/events", Reach::Free),
        ("GET", "/v1/me", Reach::Free),
    ] {
        assert_eq!(reach(method, path), expected, "{method} {path}");
    }
}

#[test]
fn the_command_line_says_what_somebody_may_and_reads_as_they_do() {
    let house = shop();
    let listed = house.ok(&["grants"]);
    assert!(listed.contains("analysts") && listed.contains("role engineer"), "{listed}");
    let held: Value =
        serde_json::from_str(&house.ok(&["grants", "--as", "analyst", "--output", "json"]))
            .unwrap();
    assert_eq!((&held["who"], &held["grants"]), (&json!("the role analyst"), &json!(["analysts"])));
    let metrics =
        held["kinds"].as_array().unwrap().iter().find(|one| one["kind"] == "metrics").unwrap();
    // It is covered, and so is not what it reads.
    assert_eq!((&metrics["read"], &metrics["hidden"]), (&json!(["orders"]), &json!(1)));
    let lacking = held["lacking"].as_array().unwrap();
    let board = lacking.iter().find(|one| one["kind"] == "dashboards").unwrap();
    assert_eq!(
        (&board["name"], &board["reads"]),
        (&json!("bonus"), &json!([["tables", "hr.salaries"]])),
        "{held}"
    );
    let owner: Value =
        serde_json::from_str(&house.ok(&["grants", "--as", "owner", "--output", "json"])).unwrap();
    assert_eq!(owner["everything"], json!(true));
    let counted = |sql: &str| house.ok(&["sql", sql, "--as", "analyst", "--output", "csv"]);
    assert_eq!(counted("select count(*) as n from marts.seen"), "n\n2\n");
    let complaint = house.fails(2, &["sql", "select * from hr.salaries", "--as", "analyst"]);
    assert!(
        complaint.contains("unknown table \"hr.salaries\"") && !complaint.contains("raw."),
        "{complaint}"
    );
    // Whoever runs commands in the folder can read its files, and reads everything.
    assert_eq!(house.cell("select count(*) from hr.salaries"), "2");
    let metric = house.fails(2, &["metric", "query", "payroll", "--as", "analyst"]);
    assert!(!metric.contains("hr."), "{metric}");
}

#[test]
fn mistakes_in_grants_are_told_with_their_place() {
    let house = House::new();
    house.write("flywheel.yaml", "name: shop\ngroups:\n  north: {users: [kim]}\n").write(
        "grants/a.yaml",
        "grant: a\nask: ada\nto: {groups: [nort]}\nread:\n  tables: [system.*, marts.x]\n",
    );
    house.write("grants/b.yaml", "grant: b\nask: ada\nto: {}\n");
    let said = house.fails(2, &["check"]);
    for part in [
        "grant \"a\" names unknown group \"nort\"",
        "Did you mean",
        "a star does not reach our own tables",
        "grants/a.yaml:5:",
        "grant \"b\" is nobody's",
        "grant \"b\" grants nothing",
        "names tables that are not there: \"marts.x\"",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
