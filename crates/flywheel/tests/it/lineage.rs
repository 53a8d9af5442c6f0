//! Lineage by the binary: from a column of a file to what a decision sends, and in the words of other tools.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::house::{House, text};

/// A shop whose orders come as files, are added up, measured, and acted on.
fn shop() -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: files\nstreams:\n  - stream: orders\n    options: {path: orders.csv}\n    columns:\n      - {name: amount, from: Betrag, type: float64}\n      - {name: mail, clean: [trim], mask: redact}\n      - {name: label, value: \"concat(customer, '/', id)\"}\n",
    );
    house.write(
        "data/orders.csv",
        "id,customer,Betrag,mail,status\n1,c1,10.5,a@x.example,paid\n2,c2,30,b@x.example,lost\n3,c1,20,a@x.example,paid\n",
    );
    house.write(
        "models/mart/customers.sql",
        "{{ config(materialized='table') }} select customer, max(mail) as mail, sum(amount) as spent, count(*) as orders from {{ source('raw', 'orders') }} where status = 'paid' group by customer",
    );
    house.write(
        "models/properties.yml",
        "version: 2\nmodels:\n  - name: customers\n    description: One row per customer.\n    columns: [{name: customer, tests: [not_null, unique]}]\n",
    );
    house.write(
        "metrics/customers.yaml",
        "semantic: customers\ntable: ref('customers')\nentities: {customer: {type: primary}}\ndimensions: {mail: {}}\n\
         measures: {spent: {aggregate: sum}}\nmetrics:\n  revenue: {measure: spent, filter: \"mail is not null\"}\n  twice: {derived: revenue * 2}\n",
    );
    house.write(
        "actions/send.yaml",
        "action: send\ntype: file\noptions: {path: 'out/{policy}/{turn}.jsonl'}\n",
    );
    house.write(
        "policies/thank.yaml",
        "policy: thank\naudience: select customer as unit_id, spent, mail from {{ ref('customers') }} where spent > 5\nchoose: {candidates: [{name: letter}]}\naction: send\npayload: {worth: $spent}\n",
    );
    house.ok(&["sync"]);
    house.ok(&["build"]);
    house
}

fn asked(house: &House, arguments: &[&str]) -> Value {
    let arguments = [&["lineage"], arguments, &["--output", "json"]].concat();
    serde_json::from_str(&house.ok(&arguments)).unwrap()
}

fn edges(answer: &Value) -> Vec<String> {
    let edge = |edge: &Value| {
        let part = |key: &str| edge[key].as_str().unwrap().to_owned();
        format!("{} {} {}", part("from"), part("kind"), part("to"))
    };
    answer["edges"].as_array().unwrap().iter().map(edge).collect()
}

#[test]
fn a_column_of_a_file_is_followed_to_a_metric_and_to_what_a_decision_sends() {
    let house = shop();
    let found = edges(&asked(&house, &["outside:files/orders.Betrag", "--downstream"]));
    for way in [
        "outside:files/orders.Betrag identity raw.orders.amount",
        "raw.orders.amount aggregate mart.customers.spent",
        "mart.customers.spent aggregate measure:customers.spent",
        "measure:customers.spent identity metric:revenue",
        "metric:revenue transform metric:twice",
        "mart.customers.spent identity policy:thank.spent",
        "mart.customers.spent filter policy:thank.unit_id",
        "policy:thank.spent identity action:send.worth",
    ] {
        assert!(found.iter().any(|edge| edge == way), "{way} is not in {found:#?}");
    }
    let back = edges(&asked(&house, &["action:send.worth", "--upstream", "--depth", "1"]));
    assert_eq!(back, ["policy:thank.spent identity action:send.worth"]);
    // A filter of a model decides about each of its columns, and a test is made of the column it looks at.
    let found = edges(&asked(&house, &["customers.customer"]));
    assert!(
        found.iter().any(|edge| edge == "raw.orders.status filter mart.customers.customer"),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .any(|edge| edge == "mart.customers.customer check test:unique_customers_customer"),
        "{found:?}"
    );
    let made = edges(&asked(&house, &["raw.orders.label", "--upstream"]));
    assert_eq!(
        made,
        [
            "outside:files/orders.customer transform raw.orders.label",
            "outside:files/orders.id transform raw.orders.label"
        ]
    );
}

#[test]
fn a_mask_is_told_wherever_its_values_went() {
    let house = shop();
    let answer = asked(&house, &["raw.orders.mail"]);
    let mark = |id: &str| {
        let nodes = answer["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|node| node["id"] == id).unwrap();
        (node["mark"].clone(), node["why"].clone())
    };
    assert_eq!(mark("raw.orders.mail"), (json!("masked"), json!("redact")));
    assert_eq!(mark("mart.customers.mail"), (json!("derived"), json!("raw.orders.mail")));
    assert_eq!(mark("policy:thank.mail"), (json!("derived"), json!("raw.orders.mail")));
    // The metric only filters by it.
    assert_eq!(mark("metric:revenue"), (Value::Null, Value::Null));
    let text = house.ok(&["lineage", "customers.mail", "--upstream"]);
    assert!(text.contains("made of raw.orders.mail"), "{text}");
}

#[test]
fn an_answer_is_drawn_and_a_wrong_name_is_told() {
    let house = shop();
    let drawn = house.ok(&["lineage", "customers.spent", "--upstream", "--output", "mermaid"]);
    assert!(drawn.starts_with("flowchart LR\n  n0[\"mart.customers<br/>spent\"]"), "{drawn}");
    assert!(drawn.contains("-->|aggregate| n0") && drawn.contains("-.->|filter| n0"), "{drawn}");
    assert!(
        house
            .ok(&["lineage", "metric:twice", "--output", "md"])
            .contains("| metric:revenue | transform |")
    );
    let complaint = house.fails(2, &["lineage", "mart.customers.spend"]);
    assert!(complaint.contains("Did you mean \"spent\"?"), "{complaint}");
    let complaint = house.fails(2, &["sql", "select 1 as x", "--output", "mermaid"]);
    assert!(complaint.contains("rows cannot be drawn"), "{complaint}");
}

#[test]
fn what_cannot_be_traced_is_told_and_the_rest_is_there() {
    let house = shop();
    house.write("models/mart/wrong.sql", "select nothing_of_it from {{ ref('customers') }}");
    house.write("models/mart/later.sql", "select * from {{ ref('wrong') }}");
    let answer = asked(&house, &["customers.spent", "--upstream"]);
    let notes: Vec<&str> =
        answer["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap()).collect();
    assert!(
        notes.iter().any(|note| note.contains("mart.wrong") && note.contains("nothing_of_it")),
        "{notes:?}"
    );
    assert!(
        notes.iter().any(|note| note.contains("mart.later") && note.contains("mart.wrong")),
        "{notes:?}"
    );
    assert!(
        edges(&answer)
            .iter()
            .any(|edge| edge == "raw.orders.amount aggregate mart.customers.spent")
    );
}

fn told(house: &House) -> Vec<Value> {
    house
        .read("told/events.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn named<'a>(events: &'a [Value], job: &str, phase: &str) -> &'a Value {
    let found =
        events.iter().rfind(|event| event["job"]["name"] == job && event["eventType"] == phase);
    assert!(found.is_some(), "no {phase} of {job} in {events:#?}");
    found.unwrap()
}

#[test]
fn a_run_is_told_in_the_words_of_openlineage() {
    let house = shop();
    house.write("flywheel.yaml", "name: shop\nopenlineage: {file: told/events.jsonl}\n");
    house.write(
        "data/orders.csv",
        "id,customer,Betrag,mail,status\n4,c1,10.5,a@x.example,paid\n5,c2,30,b@x.example,lost\n6,c3,20,a@x.example,paid\n",
    );
    house.ok(&["sync"]);
    house.ok(&["build", "--full-refresh"]);
    let events = told(&house);
    let sync = named(&events, "sync.shop.orders", "COMPLETE");
    assert_eq!(sync["inputs"][0]["namespace"], "file");
    let output = &sync["outputs"][0];
    assert_eq!(
        (&output["namespace"], &output["name"]),
        (&json!("flywheel://shop"), &json!("raw.orders"))
    );
    assert_eq!(output["outputFacets"]["outputStatistics"]["rowCount"], 3);
    let input = &output["facets"]["columnLineage"]["fields"]["amount"]["inputFields"][0];
    assert_eq!(input["field"], "Betrag");
    assert_eq!(input["transformations"][0]["subtype"], "IDENTITY");
    let masked = &output["facets"]["columnLineage"]["fields"]["mail"]["inputFields"][0];
    assert_eq!(masked["transformations"][0]["masking"], true);
    // The start and the end of a run are of one run, and both of the run of the command.
    let start = named(&events, "sync.shop.orders", "START");
    assert_eq!(start["run"]["runId"], sync["run"]["runId"]);
    assert_eq!(
        sync["run"]["facets"]["parent"]["run"]["runId"],
        named(&events, "sync", "COMPLETE")["run"]["runId"]
    );
    let model = named(&events, "model.mart.customers", "COMPLETE");
    let fields = &model["outputs"][0]["facets"]["columnLineage"]["fields"];
    let spent = fields["spent"]["inputFields"].as_array().unwrap();
    let field = |name: &str| {
        spent.iter().find(|input| input["field"] == name).unwrap()["transformations"][0].clone()
    };
    assert_eq!(field("amount")["subtype"], "AGGREGATION");
    assert_eq!(
        (field("status")["type"].clone(), field("status")["subtype"].clone()),
        (json!("INDIRECT"), json!("FILTER"))
    );
    assert!(model["job"]["facets"]["sql"]["query"].as_str().unwrap().contains("sum(amount)"));
    assert_eq!(model["inputs"][0]["name"], "raw.orders");
    let schema = model["outputs"][0]["facets"]["schema"]["fields"].as_array().unwrap();
    assert_eq!(schema.len(), 4);
    let test = named(&events, "test.mart.customers", "COMPLETE");
    let assertions =
        test["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"].as_array().unwrap();
    assert_eq!(assertions.len(), 2);
    assert!(assertions.iter().all(|one| one["success"] == true && one["column"] == "customer"));
}

#[test]
fn a_failed_model_and_a_failed_test_are_told_with_their_reasons() {
    let house = shop();
    house.write(
        "flywheel.yaml",
        "name: shop\nopenlineage: {namespace: acme, file: told/events.jsonl, sql: false}\n",
    );
    house.write("data/orders.csv", "id,customer,Betrag,mail,status\n1,,10.5,a@x.example,paid\n");
    house.write(
        "models/mart/customers.sql",
        "{{ config(materialized='table') }} select nullif(customer, '') as customer, max(mail) as mail, sum(amount) as spent, count(*) as orders from {{ source('raw', 'orders') }} where status = 'paid' group by customer",
    );
    house.write("models/mart/broken.sql", "{{ config(materialized='table') }} select cast(customer as int) as n from {{ source('raw', 'orders') }} where id = 7 union all select 1 / 0");
    house.ok(&["sync"]);
    house.fails(1, &["build"]);
    let events = told(&house);
    let failed = named(&events, "model.mart.broken", "FAIL");
    assert!(!failed["run"]["facets"]["errorMessage"]["message"].as_str().unwrap().is_empty());
    assert_eq!(failed["job"]["namespace"], "acme");
    let test = named(&events, "test.mart.customers", "FAIL");
    let assertions =
        test["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"].as_array().unwrap();
    assert!(
        assertions.iter().any(|one| one["assertion"] == "not_null" && one["success"] == false),
        "{assertions:?}"
    );
    named(&events, "build", "FAIL");
    assert!(events.iter().all(|event| event["job"]["facets"].get("sql").is_none()));
}

/// Answers so many requests, each on a connection of its own, and gives their bodies.
fn receive(listener: &TcpListener, count: usize) -> Vec<Value> {
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            request.push(byte[0]);
        }
        let head = text(&request).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let Some(length) = length else { continue };
        let mut body = vec![0; length.trim().parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        bodies.push(serde_json::from_slice(&body).unwrap());
        stream
            .write_all(b"HTTP/1.1 201 Created\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
    }
    bodies
}

#[test]
fn a_receiver_that_is_down_stops_no_run_and_gets_everything_later() {
    let house = shop();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    house.write(
        "actions/marquez.yaml",
        format!("action: marquez\ntype: webhook\noptions: {{url: 'http://127.0.0.1:{port}/api/v1/lineage', allow_private: true}}\n"),
    );
    house.write("flywheel.yaml", "name: shop\nopenlineage: {action: marquez}\n");
    house.ok(&["sync"]);
    let waiting = std::fs::read_dir(house.dir().join(".flywheel/openlineage/action")).unwrap();
    let events = waiting
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".jsonl"));
    assert_eq!(events.count(), 4, "the start and the end of the run and of its stream");
    // The receiver is back, and the time to wait is over.
    std::fs::remove_file(house.dir().join(".flywheel/openlineage/action/retry.json")).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let received = std::thread::spawn(move || receive(&listener, 8));
    house.ok(&["sync"]);
    let received: Vec<Value> = received.join().unwrap();
    let phases: Vec<&str> =
        received.iter().map(|event| event["eventType"].as_str().unwrap()).collect();
    assert_eq!(phases.iter().filter(|phase| **phase == "START").count(), 4, "{phases:?}");
    assert_eq!(phases.iter().filter(|phase| **phase == "COMPLETE").count(), 4, "{phases:?}");
}

#[test]
fn a_wrong_receiver_is_a_mistake_of_the_project_file() {
    let house = shop();
    house.write("flywheel.yaml", "name: shop\nopenlineage: {action: sent}\n");
    let complaint = house.fails(2, &["check"]);
    assert!(
        complaint.contains("flywheel.yaml:2") && complaint.contains("Did you mean \"send\"?"),
        "{complaint}"
    );
    house.write("flywheel.yaml", "name: shop\nopenlineage: {action: send}\n");
    assert!(house.fails(2, &["check"]).contains("is of type file"));
    house.write("flywheel.yaml", "name: shop\nopenlineage: {namespace: x}\n");
    house.fails(2, &["check"]);
}

#[test]
fn what_another_tool_tells_is_a_part_of_the_graph() {
    let house = shop();
    let head = |job: &str| {
        format!(
            r#""eventType":"COMPLETE","eventTime":"2024-05-01T00:00:00Z","producer":"urn:other","run":{{"runId":"6f1f2a0e-0000-8000-a000-000000000000"}},"job":{{"namespace":"airflow","name":"{job}"}}"#
        )
    };
    house.write(
        "foreign/a.jsonl",
        format!(
            "{{{},\"inputs\":[{{\"namespace\":\"flywheel://shop\",\"name\":\"mart.customers\"}}],\"outputs\":[{{\"namespace\":\"s3://reports\",\"name\":\"daily\",\
             \"facets\":{{\"columnLineage\":{{\"fields\":{{\"revenue\":{{\"inputFields\":[{{\"namespace\":\"flywheel://shop\",\"name\":\"mart.customers\",\"field\":\"spent\",\
             \"transformations\":[{{\"type\":\"DIRECT\",\"subtype\":\"AGGREGATION\"}}]}}]}}}}}}}}}}]}}\n",
            head("report")
        ),
    );
    house.ok(&["import", "openlineage", "foreign"]);
    let again = house.ok(&["import", "openlineage", "foreign", "--output", "json"]);
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!((&again["edges"], &again["new_edges"]), (&json!(1), &json!(0)));
    let found = edges(&asked(&house, &["raw.orders.amount", "--downstream"]));
    let way = "mart.customers.spent aggregate foreign:s3://reports/daily.revenue";
    assert!(found.iter().any(|edge| edge == way), "{found:#?}");
    assert_eq!(house.cell("select count(*) from system.foreign_lineage"), "1");
    house.write("foreign/b.jsonl", "\n{\"job\":{}}\n");
    let complaint = house.fails(2, &["import", "openlineage", "foreign"]);
    assert!(complaint.contains("b.jsonl:2: eventTime is missing"), "{complaint}");
    assert_eq!(house.cell("select count(*) from system.foreign_lineage"), "1");
    house.fails(2, &["import", "openlineage", "nowhere"]);
}

#[test]
fn a_run_that_was_cut_off_is_told_as_aborted_once() {
    let house = shop();
    house.write("flywheel.yaml", "name: shop\nopenlineage: {file: told/events.jsonl}\n");
    let left = json!({"one": {
        "eventType": "ABORT", "eventTime": "2024-05-01T00:00:00Z", "producer": "urn:flywheel:test",
        "run": {"runId": "6f1f2a0e-0000-8000-a000-000000000000"}, "job": {"namespace": "shop", "name": "turn"},
        "inputs": [], "outputs": [],
    }});
    house.write(".flywheel/openlineage/open.json", left.to_string());
    // A line that a crash has torn stays a line of its own.
    house.write("told/events.jsonl", "{\"eventType\":\"STA");
    house.ok(&["sync"]);
    house.ok(&["sync"]);
    let lines = house.read("told/events.jsonl");
    let events: Vec<Value> =
        lines.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    let aborted = named(&events, "turn", "ABORT");
    assert_ne!(aborted["eventTime"], "2024-05-01T00:00:00Z");
    assert_eq!(events.iter().filter(|event| event["eventType"] == "ABORT").count(), 1);
    assert_eq!(events.len(), 9);
}
