//! Long lists, read piece by piece: each item once, in the order of the whole list, whatever is added meanwhile.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{As, Served};
use crate::house::House;

/// Two turns of a policy that addresses 12 of 40 units, and 20 rows that were set aside.
fn shop() -> House {
    let house = House::new();
    let rows: String = (0..40).map(|n| format!("u{n},{n}\n")).collect();
    let bad: String = (0..20).map(|n| format!("b{n},many\ng{n},{n}\n")).collect();
    house
        .write("data/units.csv", format!("unit_id,age\n{rows}"))
        .write("data/bad.csv", format!("unit_id,age\n{bad}"))
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n")
        .write("syncs/units.yaml", "sync: units\nconnection: files\nstreams:\n  - {stream: units, options: {path: units.csv}, read: full, write: replace}\n  - {stream: bad, options: {path: bad.csv}, read: full, write: replace, columns: [{name: unit_id, type: text}, {name: age, type: int64}]}\n")
        .write(
            "schedules/daily.yaml",
            "schedule: daily\nrun: sync\nwhen: {cron: '30 2 * * *', zone: Europe/Berlin}\n",
        )
        .write("actions/offers.yaml", "action: offers\ntype: file\noptions: {path: out/offers.jsonl}\n")
        .write(
            "policies/offer.yaml",
            "policy: offer\naudience: select unit_id from {{ source('raw', 'units') }} where cast(age as int) < 12\n\
             choose:\n  candidates: [{name: letter, weight: 1}]\nholdout: 0%\naction: offers\n",
        );
    house.ok(&["turn", "--replay", "2024-05-01..2024-05-02"]);
    house
}

/// The names of all items of a list, read by its links in pieces of `limit`, and how many pieces there were.
async fn walked(
    served: &Served,
    who: &As,
    path: &str,
    name: &impl Fn(&Value) -> Vec<String>,
) -> (Vec<String>, usize) {
    let (mut found, mut next, mut pieces) = (Vec::new(), Some(path.to_owned()), 0);
    while let Some(path) = next {
        let answer = served.get(who, &path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.json());
        found.extend(name(&answer.json()));
        let link = answer.headers.get("link").map(|link| link.to_str().unwrap().to_owned());
        assert_eq!(link.is_some(), !answer.json()["next"].is_null(), "{path}");
        next = link.map(|link| {
            let (address, rest) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
            assert_eq!(rest, "; rel=\"next\"");
            address.to_owned()
        });
        pieces += 1;
        assert!(pieces < 200, "{path} goes on without an end");
    }
    (found, pieces)
}

/// The values of a key of each item.
fn of_items(key: &'static str) -> impl Fn(&Value) -> Vec<String> {
    move |answer| {
        answer["items"].as_array().unwrap().iter().map(|one| one[key].to_string()).collect()
    }
}

/// The values of a column of a table.
fn of_rows(column: &'static str) -> impl Fn(&Value) -> Vec<String> {
    move |answer| {
        let columns = answer["columns"].as_array().unwrap();
        let at = columns.iter().position(|one| one["name"] == column).unwrap();
        answer["rows"].as_array().unwrap().iter().map(|row| row[at].to_string()).collect()
    }
}

/// Reads the list whole and in small pieces.
async fn check(
    served: &Served,
    who: &As,
    path: &str,
    least: usize,
    name: impl Fn(&Value) -> Vec<String>,
) {
    let (whole, pieces) = walked(served, who, &format!("{path}limit=1000"), &name).await;
    assert_eq!(pieces, 1, "{path}");
    assert!(whole.len() >= least, "{path} has only {whole:?}");
    let (found, pieces) = walked(served, who, &format!("{path}limit=3"), &name).await;
    assert_eq!((found, pieces), (whole.clone(), whole.len().div_ceil(3).max(1)), "{path}");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lists_are_read_piece_by_piece_each_item_once_and_in_order() {
    let served = Served::new(shop()).await;
    let owner = served.owner().await;
    check(&served, &owner, "/v1/runs?", 2, of_items("run_id")).await;
    check(&served, &owner, "/v1/runs?kind=turn&", 2, of_items("run_id")).await;
    check(&served, &owner, "/v1/turns?", 2, of_items("turn")).await;
    check(&served, &owner, "/v1/actions?", 12, of_items("key")).await;
    check(&served, &owner, "/v1/actions?policy=offer&", 12, of_items("key")).await;
    check(&served, &owner, "/v1/quarantine?", 20, of_rows("quarantine_id")).await;
    check(&served, &owner, "/v1/quarantine?sync=units&", 20, of_rows("quarantine_id")).await;
    check(&served, &owner, "/v1/policies/offer/decisions?", 12, of_rows("decision_id")).await;
    check(
        &served,
        &owner,
        "/v1/policies/offer/decisions?arm=treatment&",
        12,
        of_rows("decision_id"),
    )
    .await;
    check(&served, &owner, "/v1/approvals?", 0, of_items("key")).await;
    check(&served, &owner, "/v1/alerts?", 0, of_items("key")).await;
    let days = json!({"from": "2024-03-01", "to": "2024-03-05"});
    let asked = served.post(&owner, "/v1/schedules/daily/run", &days).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.json());
    check(&served, &owner, "/v1/schedule-runs?", 5, of_items("id")).await;
    check(&served, &owner, "/v1/schedule-runs?schedule=daily&status=waiting&", 5, of_items("id"))
        .await;
    for _ in 0..4 {
        served.token(&owner, &["view"]).await;
    }
    check(&served, &owner, "/v1/audit?", 4, of_items("number")).await;
    // The name it had before is still understood.
    let first = served.get(&owner, "/v1/audit?limit=2").await.json();
    let (next, old) =
        (&first["next"], served.get(&owner, "/v1/audit?limit=1&before=3").await.json());
    assert_eq!(old["items"][0]["number"], json!(2));
    let new = served.get(&owner, &format!("/v1/audit?limit=1&cursor={next}")).await.json();
    assert_eq!(new["items"][0]["number"].as_i64(), next.as_i64().map(|number| number - 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_added_meanwhile_moves_no_piece_and_a_cursor_from_nowhere_is_told() {
    let house = shop();
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let name = of_items("run_id");
    let (before, _) = walked(&served, &owner, "/v1/runs?limit=1000", &name).await;
    let first = served.get(&owner, "/v1/runs?limit=1").await.json();
    let mut found = name(&first);
    // Another run is newest now.
    let store = flywheel_state::Store::open(&served.house.dir().join(".flywheel/meta.db")).unwrap();
    let now = flywheel_base::SystemClock;
    let now = flywheel_base::Clock::now(&now);
    store
        .start_run(&flywheel_state::Run {
            run_id: "r-newest".to_owned(),
            kind: "sync".to_owned(),
            turn: None,
            logical_at: now,
            status: "running".to_owned(),
            started_at: now,
            ended_at: None,
            error: None,
            detail: json!({}),
        })
        .unwrap();
    let rest = format!("/v1/runs?limit=1000&cursor={}", first["next"].as_str().unwrap());
    found.extend(walked(&served, &owner, &rest, &name).await.0);
    assert_eq!(found, before);
    let newest = served.get(&owner, "/v1/runs?limit=1").await.json();
    assert_eq!(name(&newest), ["\"r-newest\""]);

    for path in [
        "/v1/runs?cursor=gone",
        "/v1/turns?cursor=gone",
        "/v1/actions?cursor=gone",
        "/v1/approvals?cursor=gone",
        "/v1/alerts?cursor=gone",
        "/v1/schedule-runs?cursor=gone",
        "/v1/quarantine?cursor=gone",
        "/v1/policies/offer/decisions?cursor=gone%27",
    ] {
        let answer = served.get(&owner, path).await;
        let said = answer.json();
        assert_eq!(
            (answer.status, &said["code"]),
            (StatusCode::BAD_REQUEST, &json!("invalid")),
            "{path}: {said}"
        );
        assert!(said["hint"].as_str().unwrap().contains("without `cursor`"), "{path}: {said}");
    }
}
