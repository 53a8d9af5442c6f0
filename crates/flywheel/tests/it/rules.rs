//! Rules: what each reader sees at each door, and what is said where they do not fit.

use axum::http::StatusCode;
use flywheel_project::resource::rule::Role;
use serde_json::{Value, json};

use crate::house::House;
use crate::serve::{As, Served};

const CUSTOMERS: &str = "\
id,name,region,email,income
1,Ada,north,ada@example.com,100
2,Bo,north,bo@example.com,200
3,Cy,south,hidden-cy@example.com,0
4,Di,south,hidden-di@example.com,471247124
";

const RULE: &str = "\
rule: customers
tables: [raw.customers]
cleared: [marts.regions]
ask: privacy@shop.example
readers:
  - roles: [owner]
  - groups: [north]
    rows: region in ($region)
    masks: {email: \"hmac(key=${env:RULES_TEST_KEY})\", name: partial(first=1)}
    hide: [income]
";

/// A shop whose analyst sees the north only.
fn shop() -> House {
    let house = House::new();
    let groups = "groups:\n  north: {users: [analyst-user, kim], attributes: {region: north}}\n";
    house
        .write("flywheel.yaml", format!("name: shop\n{groups}"))
        .write("data/customers.csv", CUSTOMERS)
        .write("data/orders.csv", "id,customer,amount\n10,1,5\n11,3,7\n12,4,9\n")
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n")
        .write(
            "syncs/shop.yaml",
            "sync: shop\nconnection: files\nstreams:\n  - {stream: customers, options: {path: customers.csv}}\n  \
             - {stream: orders, options: {path: orders.csv}}\n",
        )
        .write("models/marts/current.sql", "select * from {{ source('raw', 'customers') }}")
        .write(
            "models/marts/stored.sql",
            "{{ config(materialized='table') }} select id, email as address from {{ ref('current') }}",
        )
        .write(
            "models/marts/regions.sql",
            "{{ config(materialized='table') }} select region, count(*) as customers \
             from {{ source('raw', 'customers') }} group by region",
        )
        .write(
            "metrics/customers.yaml",
            "semantic: customers\ntable: ref('current')\nentities: {customer: {type: primary, key: id}}\n\
             dimensions: {region: {}}\nmeasures: {customers: {aggregate: count}}\n\
             metrics: {customers: {measure: customers}}\n",
        )
        .write("access/customers.yaml", RULE);
    // What reads the key is a process of its own here, and this one in tests of the server.
    let rule = house.read("access/customers.yaml").replace("${env:RULES_TEST_KEY}", "${file:key}");
    house.write("access/customers.yaml", rule).write("key", "a-key-of-more-than-16-bytes\n");
    house.ok(&["check"]);
    house.ok(&["sync"]);
    house.ok(&["build"]);
    house
}

fn hashed(house: &House) -> String {
    let cell = house.ok(&[
        "sql",
        "select email from raw.customers where id = 1",
        "--as",
        "kim",
        "--output",
        "csv",
    ]);
    cell.lines().nth(1).unwrap().to_owned()
}

#[test]
fn the_command_line_reads_without_rules_unless_it_reads_as_somebody() {
    let house = shop();
    assert_eq!(house.cell("select count(*) from raw.customers"), "4");
    let as_kim = |sql: &str| house.ok(&["sql", sql, "--as", "kim", "--output", "csv"]);
    assert_eq!(
        as_kim("select id, name, region from raw.customers order by id"),
        "id,name,region\n1,A**,north\n2,B*,north\n"
    );
    assert_eq!(as_kim("select count(*) as n from marts.current where region = 'south'"), "n\n0\n");
    assert_eq!(
        as_kim("select customers from marts.regions where region = 'south'"),
        "customers\n2\n"
    );
    let digest = hashed(&house);
    assert!(digest.len() == 64 && digest.chars().all(|c| c.is_ascii_hexdigit()), "{digest}");
    assert_eq!(as_kim("select * from raw.customers where id = 9"), "id,name,region,email\n");
    for (sql, said) in [
        (
            "select income from raw.customers",
            "column \"income\" of raw.customers is not for kim, by rule \"customers\"",
        ),
        (
            "select * from marts.stored",
            "table marts.stored is not for kim: it is made of raw.customers",
        ),
    ] {
        let complaint = house.fails(2, &["sql", sql, "--as", "kim"]);
        assert!(
            complaint.contains(said) && complaint.contains("Ask privacy@shop.example."),
            "{complaint}"
        );
    }
    let nobody = house.fails(2, &["sql", "select * from raw.customers", "--as", "analyst"]);
    assert!(nobody.contains("table raw.customers is not for the role analyst"), "{nobody}");
    assert_eq!(
        house.ok(&[
            "sql",
            "select count(*) as n from raw.customers",
            "--as",
            "kim/owner",
            "--output",
            "csv"
        ]),
        "n\n4\n"
    );
    let unknown = house.fails(2, &["sql", "select 1", "--as", "kin"]);
    assert!(unknown.contains("no user or role \"kin\"") && unknown.contains("kim"), "{unknown}");
    let edit = house.fails(2, &["sql", "delete from raw.customers", "--as", "kim", "--landed"]);
    assert!(edit.contains("--as"), "{edit}");
    let metric = house.ok(&[
        "metric",
        "query",
        "customers",
        "--by",
        "region",
        "--as",
        "kim",
        "--output",
        "csv",
    ]);
    assert_eq!(metric.lines().skip(1).collect::<Vec<_>>(), ["north,2"]);
    // Tables of the past are read by the rules of today.
    let past = house.ok(&[
        "sql",
        "select count(*) as n from raw.customers",
        "--at",
        "0",
        "--as",
        "kim",
        "--output",
        "csv",
    ]);
    assert_eq!(past, "n\n2\n");
    house.ok(&["profile", "raw.customers", "raw.orders"]);
    assert_eq!(as_kim("select distinct \"table\" from system.profiles"), "table\nraw.orders\n");
}

#[test]
fn check_says_what_does_not_fit_the_lake() {
    let house = shop();
    let rule = RULE.replace("${env:RULES_TEST_KEY}", "${file:key}");
    for (from, to, said, hint) in [
        (
            "hide: [income]",
            "hide: [incme]",
            "no table of the rule has the column \"incme\"",
            "income",
        ),
        ("region in ($region)", "regio in ($region)", "unknown column", ""),
        ("name: partial(first=1)", "id: partial(1)", "partial makes text", ""),
        ("[raw.customers]", "[raw.custmers]", "unknown table \"raw.custmers\"", "raw.customers"),
        ("groups: [north]", "groups: [nrth]", "unknown group \"nrth\"", "north"),
        ("roles: [owner]", "roles: [onwer]", "onwer", "owner"),
        ("($region)", "($regin)", "attribute \"regin\"", "$region"),
    ] {
        house.write("access/customers.yaml", rule.replace(from, to));
        let complaint = house.fails(2, &["check"]);
        assert!(complaint.contains(said) && complaint.contains(hint), "{to}: {complaint}");
        assert!(complaint.contains("access/customers.yaml:"), "{to}: {complaint}");
    }
    house.write("access/customers.yaml", rule);
    house.ok(&["check"]);
}

/// Everything that a reader can ask about rows.
async fn doors(served: &Served, who: &As, more: &str) -> Vec<(String, StatusCode, String)> {
    let mut told = Vec::new();
    let query = |sql: &str| json!({"sql": sql});
    let sql = format!("/v1/sql{more}");
    for text in [
        "select * from raw.customers order by id",
        "select * from marts.current order by id",
        "select * from marts.stored",
        "select c.email, o.amount from raw.orders o left join raw.customers c on c.id = o.customer order by o.id",
        "select * from (select max(email), count(*) from raw.customers) t",
        "select 100 / cast(right(email, 1) as int) from raw.customers",
        "explain verbose select * from raw.customers where email > 'h'",
        "select * from system.profiles where \"table\" = 'raw.customers'",
        "select * from metrics.customers",
        "select * from system.profiles",
        "select * from system.quality_results",
        "select * from system.events",
        "select * from system.quarantine",
        "select * from system.link_audit",
        "select * from system.runs",
        "select * from system.tasks",
        "select * from system.errors",
        "select * from system.run_logs",
        "select * from system.schedule_runs",
        "select * from system.alerts",
    ] {
        let answer = served.post(who, &sql, &query(text)).await;
        told.push((
            text.to_owned(),
            answer.status,
            String::from_utf8_lossy(&answer.bytes).into_owned(),
        ));
    }
    for path in ["/v1/sql/csv", "/v1/sql/arrow"] {
        let answer =
            served.post(who, &format!("{path}{more}"), &query("select * from marts.current")).await;
        told.push((
            path.to_owned(),
            answer.status,
            String::from_utf8_lossy(&answer.bytes).into_owned(),
        ));
    }
    for path in [
        "/v1/assets/raw.customers/sample",
        "/v1/assets/marts.stored/sample",
        "/v1/assets/raw.customers/profile",
        "/v1/assets/marts.current/profile",
        "/v1/assets/raw.customers",
        "/v1/sql/schema",
        "/v1/quarantine",
        "/v1/quality",
        "/v1/quality/regions",
        "/v1/quality/regions/failing",
        "/v1/runs",
        "/v1/turns",
        "/v1/work",
        "/v1/status",
        "/v1/syncs",
        "/v1/syncs/shop",
        "/v1/learners",
        "/v1/policies",
        "/v1/experiments",
        "/v1/schedules",
        "/v1/schedule-runs",
        "/v1/alerts",
        "/v1/models/marts.broken",
        "/v1/assets/marts.broken",
        "/v1/search?q=customers",
    ] {
        let answer = served.get(who, &format!("{path}{more}")).await;
        told.push((
            path.to_owned(),
            answer.status,
            String::from_utf8_lossy(&answer.bytes).into_owned(),
        ));
    }
    let listed = served.get(who, &format!("/v1/runs{more}")).await.json();
    let runs = listed["items"].as_array().unwrap();
    for run in runs.iter().filter(|run| run["status"] == "failed") {
        let run = run["run_id"].as_str().unwrap();
        for path in [format!("/v1/runs/{run}{more}"), format!("/v1/runs/{run}/log{more}")] {
            let answer = served.get(who, &path).await;
            told.push((path, answer.status, String::from_utf8_lossy(&answer.bytes).into_owned()));
        }
    }
    let asked = json!({"metrics": ["customers"], "by": ["region"]});
    let answer = served.post(who, &format!("/v1/metrics/query{more}"), &asked).await;
    told.push((
        "metrics".to_owned(),
        answer.status,
        String::from_utf8_lossy(&answer.bytes).into_owned(),
    ));
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_hidden_comes_out_at_any_door_of_the_server() {
    let house = shop();
    // Samples, profiles and events tell of rows, also by way of a view and of the connection.
    let check = "checks: [{metric: invalidValues, column: region, arguments: {validValues: [north]}, mustBe: 0, severity: warn}]\n";
    house
        .write("quality/regions.yaml", format!("quality: regions\ntable: ref('current')\n{check}"))
        .write(
            "quality/file.yaml",
            format!("quality: file\nconnection: files\nstream: {{path: customers.csv}}\n{check}"),
        )
        .write("connections/log.yaml", "connection: log\ntype: journal\noptions: {path: log}\n")
        .write(
            "syncs/visits.yaml",
            "sync: visits\nconnection: log\nstreams:\n  - {stream: seen, options: {topic: visits}, to: raw.visits, \
             read: incremental, write: append}\n",
        )
        .write(
            "access/visits.yaml",
            "rule: visits\ntables: [raw.visits]\nask: x@shop.example\nreaders: [{roles: [owner]}]\n",
        );
    house.ok(&["check"]);
    house.ok(&["quality", "run"]);
    house.ok(&["profile", "raw.customers", "marts.current"]);
    // The error of a model quotes the value that cannot be read.
    house.write(
        "models/marts/broken.sql",
        "{{ config(materialized='table') }} select cast(email as int) as number \
         from {{ source('raw', 'customers') }} where id > 2",
    );
    let broken = house.run(&["build", "--select", "broken"]);
    let complaint = String::from_utf8_lossy(&broken.stderr).into_owned()
        + &String::from_utf8_lossy(&broken.stdout);
    assert!(!broken.status.success() && complaint.contains("hidden-"), "{complaint}");
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let visit = json!({"who": "hidden-visitor"});
    let taken = served.post(&owner, "/v1/events?topic=visits", &visit).await;
    assert_eq!(taken.status, StatusCode::OK, "{}", taken.json());
    let analyst = served.user(&owner, Role::Analyst).await;
    let token = served.token(&analyst, &["query", "view"]).await;
    let admin = served.user(&owner, Role::Admin).await;
    let whole = doors(&served, &owner, "").await;
    let hidden = |text: &str| {
        text.contains("hidden-") || text.contains("471247124") || text.contains("ada@")
    };
    assert!(whole.iter().filter(|(_, _, text)| hidden(text)).count() > 12, "{whole:#?}");
    // What runs and tasks said is withheld, and what failed is told.
    let said = |door: &str| {
        door.starts_with("/v1/runs")
            || ["runs", "tasks", "errors", "run_logs"]
                .iter()
                .any(|table| door == format!("select * from system.{table}"))
    };
    let quoting = whole.iter().filter(|(door, _, text)| said(door) && hidden(text)).count();
    assert!(quoting > 5, "{whole:#?}");
    for (who, more) in [
        (&analyst, ""),
        (&token, ""),
        (&admin, ""),
        (&owner, "?as=kim"),
        (&owner, "?as=analyst-user"),
    ] {
        for (door, status, text) in doors(&served, who, more).await {
            assert!(status.as_u16() < 500, "{door}{more}: {status} {text}");
            assert!(!hidden(&text) && !text.contains("south"), "{door}{more}: {text}");
            if said(&door) {
                assert_eq!(status, StatusCode::OK, "{door}{more}: {text}");
                assert!(text.contains("The text is withheld"), "{door}{more}: {text}");
            }
            if ["schedule_runs", "alerts"].iter().any(|table| door.ends_with(table)) {
                assert_eq!(status, StatusCode::OK, "{door}{more}: {text}");
            }
        }
    }
    let first = |all: &[(String, StatusCode, String)]| {
        let (_, status, text) = &all[0];
        assert_eq!(*status, StatusCode::OK, "{text}");
        serde_json::from_str::<Value>(text).unwrap()["rows"].clone()
    };
    // Nor can it be guessed.
    let guess = json!({"sql": "select count(*) from system.tasks where error like '%hidden-cy%'"});
    for (who, count) in [(&owner, 1), (&analyst, 0)] {
        let found = served.post(who, "/v1/sql", &guess).await.json();
        assert_eq!(found["rows"], json!([[count]]), "{found}");
    }
    let own = first(&doors(&served, &analyst, "").await);
    assert_eq!(own.as_array().unwrap().len(), 2);
    assert_eq!(first(&doors(&served, &owner, "?as=kim").await), own, "view as");
    let denied =
        served.post(&analyst, "/v1/sql", &json!({"sql": "select income from raw.customers"})).await;
    assert_eq!(denied.status, StatusCode::FORBIDDEN, "{}", denied.json());
    assert!(
        denied.json()["hint"].as_str().unwrap().contains("privacy@shop.example"),
        "{}",
        denied.json()
    );
    // An admin whom no rule names sees nothing, and nothing more through the eyes of others.
    let viewed =
        served.post(&admin, "/v1/sql?as=ada", &json!({"sql": "select * from raw.customers"})).await;
    assert_eq!(viewed.status, StatusCode::FORBIDDEN, "{}", viewed.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_through_other_eyes_takes_a_permission_and_leaves_a_trace() {
    let served = Served::new(shop()).await;
    let owner = served.owner().await;
    let analyst = served.user(&owner, Role::Analyst).await;
    let sql = json!({"sql": "select 1"});
    let refused = served.post(&analyst, "/v1/sql?as=ada", &sql).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    for (path, status) in [
        ("/v1/assets/raw.customers/sample?as=kim", StatusCode::OK),
        ("/v1/assets/raw.customers/sample?as=nobody", StatusCode::NOT_FOUND),
        ("/v1/users?as=kim", StatusCode::UNPROCESSABLE_ENTITY),
        ("/v1/assets/raw.customers/sample?as=viewer", StatusCode::FORBIDDEN),
    ] {
        let answer = served.get(&owner, path).await;
        let fits = answer.status == status
            || (status == StatusCode::UNPROCESSABLE_ENTITY
                && answer.status == StatusCode::BAD_REQUEST);
        assert!(fits, "{path}: {} {}", answer.status, answer.json());
    }
    // Nothing is made through other eyes.
    let profile = "/v1/assets/raw.customers/profile?as=analyst-user";
    let made = served.post(&owner, profile, &json!({})).await;
    assert_eq!(made.status, StatusCode::BAD_REQUEST, "{}", made.json());
    let trail = served.get(&owner, "/v1/audit").await.json();
    let seen = trail["items"].as_array().unwrap().iter().find(|one| one["detail"]["as"] == "kim");
    let seen = seen.unwrap_or_else(|| panic!("{trail}"));
    assert_eq!(
        (seen["who"].as_str(), seen["what"].as_str()),
        (Some("ada"), Some("GET /v1/assets/{asset}/sample"))
    );
    let listed = served.get(&owner, "/v1/rules").await.json();
    let rule = &listed["items"][0];
    assert_eq!(
        (&rule["rule"], &rule["refused"]),
        (&json!("customers"), &json!(["marts.stored"])),
        "{listed}"
    );
    assert_eq!(rule["users"], json!([["ada", 1], ["analyst-user", 2]]), "{listed}");
    assert_eq!(listed["misfits"], json!([]), "{listed}");
    assert!(!listed.to_string().contains("a-key-of"), "{listed}");
}

#[test]
fn views_that_name_a_hidden_column_are_warned_of_and_say_why_they_are_not_read() {
    let house = shop();
    house
        .write(
            "models/marts/twice.sql",
            "select id, income * 2 as twice from {{ source('raw', 'customers') }}",
        )
        .write("models/marts/over.sql", "select twice from {{ ref('twice') }}");
    house.ok(&["build"]);
    let checked = house.ok(&["check", "--output", "json"]);
    let warnings: Value = serde_json::from_str(&checked).unwrap();
    let [one] = warnings.as_array().unwrap().as_slice() else { panic!("{warnings}") };
    let message = one["message"].as_str().unwrap();
    // `current` is `select *` and leaves the column out.
    assert!(
        message.contains("\"income\" from group north")
            && message.ends_with("marts.over, marts.twice"),
        "{warnings}"
    );
    assert!(one["hint"].as_str().unwrap().contains("masks: {income: null}"), "{warnings}");
    assert_eq!(one["file"], "access/customers.yaml");
    let complaint = house.fails(2, &["sql", "select * from marts.over", "--as", "kim"]);
    assert!(
        complaint
            .contains("column \"income\" of raw.customers is not for kim, by rule \"customers\""),
        "{complaint}"
    );

    // Whoever does not know the table learns which view it is and why, and neither table, column nor rule.
    let grant = |tables: &str| {
        format!(
            "grant: north\nask: data@shop.example\nto: {{groups: [north]}}\nread: {{tables: [{tables}]}}\n"
        )
    };
    house.write("grants/north.yaml", grant("marts.over"));
    let complaint = house.fails(2, &["sql", "select * from marts.over", "--as", "kim"]);
    let said = "view \"marts.over\" names a column that a rule hides from you";
    assert!(complaint.contains(said) && complaint.contains("masks"), "{complaint}");
    for hidden in ["income", "raw.customers", "marts.twice", "\"customers\"", "privacy@"] {
        assert!(!complaint.contains(hidden), "{hidden}: {complaint}");
    }
    // Whoever knows it is told all of that, but not of views between.
    house.write("grants/north.yaml", grant("marts.over, raw.customers"));
    let complaint = house.fails(2, &["sql", "select * from marts.over", "--as", "kim"]);
    assert!(
        complaint.contains("\"marts.over\": column \"income\" of raw.customers"),
        "{complaint}"
    );
    assert!(!complaint.contains("marts.twice"), "{complaint}");

    // What the warning proposes opens the views, without the values.
    std::fs::remove_file(house.path("grants/north.yaml")).unwrap();
    let rule = house.read("access/customers.yaml");
    let rule =
        rule.replace("    hide: [income]\n", "").replace("masks: {", "masks: {income: null, ");
    house.write("access/customers.yaml", rule);
    assert_eq!(house.ok(&["check", "--output", "json"]).trim(), "[]");
    let seen = house.ok(&["sql", "select twice from marts.over", "--as", "kim", "--output", "csv"]);
    assert_eq!(seen, "twice\n\n\n");
}

#[test]
fn a_model_that_is_edited_or_removed_opens_nothing_that_it_made() {
    let house = shop();
    let sql = "select * from marts.stored";
    for text in [Some("{{ config(materialized='table') }} select 1 as id"), None] {
        match text {
            Some(text) => drop(house.write("models/marts/stored.sql", text)),
            None => std::fs::remove_file(house.path("models/marts/stored.sql")).unwrap(),
        }
        let complaint = house.fails(2, &["sql", sql, "--as", "kim"]);
        assert!(complaint.contains("it is made of raw.customers"), "{complaint}");
        assert_eq!(house.cell("select count(*) from marts.stored"), "4");
    }
    // What is made of other things is open once it is.
    house.write("models/marts/stored.sql", "{{ config(materialized='table') }} select 1 as id");
    house.ok(&["build"]);
    let seen = house.ok(&["sql", sql, "--as", "kim", "--output", "csv"]);
    assert_eq!(seen, "id\n1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_many_rows_there_are_is_for_who_sees_all_of_them() {
    let house = shop();
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let analyst = served.user(&owner, Role::Analyst).await;
    let counts = async |who: &As| {
        let search = served.get(who, "/v1/search?q=raw").await.json();
        let found = |name: &str| {
            let mut items = search["items"].as_array().unwrap().iter();
            items.find(|item| item["name"] == name).unwrap()["rows"].clone()
        };
        let status = served.get(who, "/v1/status").await.json();
        let landed = status["landed"].as_array().unwrap();
        let landed = landed.iter().find(|one| one["name"] == "raw.customers").unwrap();
        let models = served.get(who, "/v1/models").await.json();
        let mut models = models["items"].as_array().unwrap().iter();
        let stored = models.find(|one| one["name"] == "marts.stored").unwrap();
        let asset = served.get(who, "/v1/assets/raw.customers").await.json();
        let sql = "select rows from system.tables where name = 'raw.customers' union all \
                   select rows from system.assets where name = 'raw.customers'";
        let tables = served.post(who, "/v1/sql", &json!({"sql": sql})).await.json();
        let cells = tables["rows"].as_array().unwrap();
        vec![
            found("raw.orders"),
            found("raw.customers"),
            landed["rows"].clone(),
            stored["rows"].clone(),
            asset["rows"].clone(),
            asset["known"]["rows"].clone(),
            cells[0][0].clone(),
            cells[1][0].clone(),
        ]
    };
    let (four, none) = (json!(4), Value::Null);
    let all = [json!(3)].into_iter().chain(std::iter::repeat_n(four, 7)).collect::<Vec<_>>();
    assert_eq!(counts(&owner).await, all);
    let seen = [json!(3)].into_iter().chain(std::iter::repeat_n(none, 7)).collect::<Vec<_>>();
    assert_eq!(counts(&analyst).await, seen);
}
