//! What programs say of decisions counts by the next turn, by itself and once.

use axum::http::StatusCode;
use flywheel_base::{Clock as _, SystemClock};
use serde_json::json;

use super::Served;
use crate::house::House;

/// An hour, in microseconds.
const HOUR: i64 = 3_600_000_000;

/// A shop with a policy whose success only programs tell of.
fn shop() -> House {
    let house = House::new();
    house
        .write("data/units.csv", "unit_id\nu1\nu2\n")
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n")
        .write("syncs/units.yaml", "sync: units\nconnection: files\nstreams:\n  - {stream: units, options: {path: units.csv}, read: full, write: replace}\n")
        .write(
            "policies/offer.yaml",
            "policy: offer\nevery: 300d\naudience: select unit_id from {{ source('raw', 'units') }}\n\
             choose: {candidates: [{name: a}]}\nholdout: 0%\noutcome: {window: 2d}\n",
        );
    house.ok(&["sync"]);
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_handed_in_for_a_decision_counts_once_by_the_next_turn() {
    let served = Served::new(shop()).await;
    // Its window has closed by now.
    let decided = SystemClock.now().plus_days(-3);
    served.clock.hold(decided);
    let owner = served.owner().await;
    let agent = served.token(&owner, &["ingest"]).await;
    let asked = json!({"policy": "offer", "unit": "u1", "request_id": "cart-1"});
    let decision = served.post(&owner, "/v1/decide", &asked).await;
    assert_eq!(decision.status, StatusCode::OK, "{}", decision.json());
    let id = decision.json()["decision_id"].clone();

    let at = decided.plus_micros(HOUR).to_string();
    let bought = json!({"decision_id": id, "event_id": "o-1", "value": 12.5, "at": at});
    for body in [
        bought.clone(),
        json!([bought, {"decision_id": "00ff00ff00ff00ff"}, {"decision_id": id, "value": "much"}]),
    ] {
        let answer = served.post(&agent, "/v1/outcomes", &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
        if body.is_array() {
            let said = answer.json();
            assert_eq!(said["rejected"][0]["index"], json!(2), "{said}");
            assert!(said["rejected"][0]["detail"].to_string().contains("`value`"), "{said}");
        }
    }
    // What it says beside is its own, but a misspelt field would be missed.
    let misspelt = json!({"decision_id": id, "event_id": "o-2", "valu": 7, "source": "till"});
    let refused = served.post(&agent, "/v1/outcomes", &misspelt).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.json());
    let said = refused.json();
    assert!(said["detail"].as_str().unwrap().contains("did you mean \"value\""), "{said}");
    for _ in 0..2 {
        let seen = json!({"decision_id": id});
        let answer = served.post(&agent, "/v1/exposures", &seen).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
    }
    let refused = served.post(&agent, "/v1/exposures", &json!({"item": "p-1"})).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.json());

    let Served { house, server, router, .. } = served;
    drop((server, router));
    house.ok(&["turn"]);
    let outcomes =
        "select policy, unit_id, event_id, value, attribution, late from system.outcomes";
    assert_eq!(house.sql(outcomes), ["offer,u1,o-1,12.5,decision-id,true"]);
    let each = |table: &str| {
        house.sql(&format!("select status, count(*) from system.{table} group by 1 order by 1"))
    };
    assert_eq!(each("reported_outcomes"), ["repeated,1", "taken,1", "unknown-decision,1"]);
    assert_eq!(each("exposures"), ["repeated,1", "taken,1"]);
    let lift = "select measured, treated_rate from system.lift where policy = 'offer' order by turn desc limit 1";
    assert_eq!(house.sql(lift), ["1,1.0"]);
    house.ok(&["turn"]);
    assert_eq!(house.cell("select count(*) from system.outcomes"), "1");
    assert_eq!(house.cell("select count(*) from system.reported_outcomes"), "3", "read once");
}
