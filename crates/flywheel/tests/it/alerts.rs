//! Alerts of files: what turns find is told once, and that it is over.

use serde_json::Value;

use crate::house::House;

#[test]
fn what_a_turn_finds_rings_once_and_its_end_is_told() {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "syncs/orders.yaml",
        "sync: orders\nconnection: files\nstreams: [{stream: orders, options: {path: orders.csv}}]\n",
    );
    house.write("data/orders.csv", "id,amount\n1,2\n");
    house.write(
        "actions/ops.yaml",
        "action: ops\ntype: file\noptions: {path: 'out/{policy}.jsonl'}\n",
    );
    house.write(
        "alerts/few.yaml",
        "alert: few\nwhen: {query: select * from (select count(*) as n from system.runs) as r where n < 3}\nsend: [ops]\n",
    );
    house.write(
        "alerts/late.yaml",
        "alert: late\nwhen: {lag: orders, longer_than: 1d}\nsend: [ops]\n",
    );
    let listed = |verb: &str| -> Value {
        serde_json::from_str(&house.ok(&["alert", verb, "--output", "json"])).unwrap()
    };
    let told = || house.sql("select kind, alert, status from system.alerts order by made_at");

    house.ok(&["turn"]);
    assert_eq!(told(), ["raised,few,delivered"]);
    let all = listed("list");
    assert_eq!(all[0]["open"][0]["subject"], "the query has rows", "{all}");
    assert_eq!(all[1]["open"], serde_json::json!([]), "{all}");
    house.ok(&["turn"]);
    assert_eq!(told(), ["raised,few,delivered"], "it rings once");
    house.ok(&["turn"]);
    assert_eq!(told(), ["raised,few,delivered", "recovered,few,delivered"]);
    assert_eq!(house.read("out/alerts.jsonl").lines().count(), 2);
    assert_eq!(listed("check"), serde_json::json!([]));

    house.write("alerts/late.yaml", "alert: late\nwhen: {lag: order, below: 1}\nsend: [nobody]\n");
    let text = house.fails(2, &["check"]);
    for mistake in [
        "alert \"late\" names unknown sync \"order\"",
        "\"below\" belongs to metric",
        "how far a sync may be behind is not said",
        "alert \"late\" names unknown action \"nobody\"",
    ] {
        assert!(text.contains(mistake), "{mistake} in {text}");
    }
}
