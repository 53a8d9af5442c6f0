//! Policies made in the web pages: looked at before, paused until somebody lets them go on, and closed to who does not see
//! all of what they read.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use flywheel_base::Timestamp;
use flywheel_project::resource::rule::Role;
use serde_json::{Value, json};

use super::{As, Served, shop_that_recommends};
use crate::house::House;

/// A shop with units, an action, and no policy.
fn shop() -> House {
    let house = House::new();
    let rows: String = (0..40).map(|n| format!("u{n},{n}\n")).collect();
    house
        .write("data/units.csv", format!("unit_id,age\n{rows}"))
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n")
        .write("syncs/units.yaml", "sync: units\nconnection: files\nstreams:\n  - {stream: units, options: {path: units.csv}, read: full, write: replace}\n")
        .write("actions/offers.yaml", "action: offers\ntype: file\noptions: {path: out/offers.jsonl}\n");
    house.ok(&["sync"]);
    house
}

/// The text of a policy of this name.
fn text(name: &str) -> String {
    format!(
        "policy: {name}\naudience: select unit_id, age from {{{{ source('raw', 'units') }}}} where cast(age as int) < 30\n\
         choose:\n  candidates:\n    - {{name: letter, weight: 1}}\n    - {{name: call, weight: 1, payload: {{by: phone}}}}\n\
         holdout: 20%\ncaps: {{per_turn: 25}}\naction: offers\npayload: {{years: $age}}\n\
         outcome:\n  events: select unit_id as event_id, unit_id, timestamp '2024-01-01T00:00:00' as at from {{{{ source('raw', 'units') }}}} where false\n"
    )
}

/// What a preview shows of each unit, as a query of decisions shows it.
fn shown(preview: &Value) -> Vec<String> {
    let cell = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    let sample = preview["sample"].as_array().unwrap().iter();
    sample
        .map(|one| {
            let payload = if one["payload"].is_null() { "" } else { "sent" };
            [cell(one, "unit_id"), cell(one, "arm"), cell(one, "action"), payload.to_owned()]
                .join(",")
        })
        .collect()
}

/// The decisions of a policy in the same form.
fn decided(house: &House, policy: &str) -> Vec<String> {
    house.sql(&format!(
        "select unit_id, arm, action, case when payload is null then null else 'sent' end from system.decisions where policy = '{policy}' order by unit_id"
    ))
}

const NOON: &str = "2024-05-02T23:59:59Z";

async fn preview(served: &Served, who: &As, name: &str) -> Value {
    let answer = served.get(who, &format!("/v1/policies/{name}/preview?sample=200")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_looked_at_made_let_go_on_and_decides_what_was_seen() {
    let served = Served::new(shop()).await;
    served.clock.hold(Timestamp::parse(NOON).unwrap());
    let owner = served.owner().await;
    let draft = json!({"text": text("calls"), "sample": 200});
    let answer = served.post(&owner, "/v1/policy-preview", &draft).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
    let seen = answer.json();
    assert_eq!(
        (&seen["audience"], &seen["decisions"], &seen["at"]),
        (&json!(30), &json!(25), &json!(NOON)),
        "{seen}"
    );
    assert_eq!(seen["left_out"], json!([{"reason": "per_turn", "units": 5}]), "{seen}");
    assert_eq!(seen["delivery"]["action"], "offers", "{seen}");
    assert_eq!(seen["delivery"]["type"], "file", "{seen}");
    assert_eq!(seen["delivery"]["leaves"], seen["treated"], "{seen}");
    assert_eq!(seen["delivery"]["approval"], true, "{seen}");
    assert!(seen["notes"].to_string().contains("no events yet"), "{seen}");
    assert!(!served.house.dir().join("policies/calls.yaml").exists());

    let made = served.post(&owner, "/v1/policies", &json!({"text": text("calls")})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    let waits = "made in the web pages; waits for approval";
    assert_eq!(
        made.json(),
        json!({"name": "calls", "file": "policies/calls.yaml", "paused": waits})
    );
    assert_eq!(served.house.read("policies/calls.yaml"), text("calls"));
    let listed = served.get(&owner, "/v1/policies").await.json();
    assert_eq!(
        (&listed["items"][0]["name"], &listed["items"][0]["paused"]),
        (&json!("calls"), &json!(waits)),
        "{listed}"
    );
    let kept = preview(&served, &owner, "calls").await;
    assert_eq!((&kept["paused"], &kept["sample"]), (&json!(waits), &seen["sample"]));
    assert_eq!(
        served.post(&owner, "/v1/policies", &json!({"text": text("calls")})).await.status,
        StatusCode::CONFLICT
    );
    let audit = served.get(&owner, "/v1/audit").await.json();
    let noted = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["what"] == "POST /v1/policies" && row["detail"]["status"] == 201);
    assert_eq!(noted.unwrap()["detail"]["more"]["file"], "policies/calls.yaml");

    // Somebody else's text under the same name shows what a change would do, and changes nothing.
    let changed = json!({"text": text("calls").replace("holdout: 20%", "holdout: 0%")});
    let changed = served.post(&owner, "/v1/policy-preview", &changed).await.json();
    assert_eq!((&changed["held_out"], &changed["treated"]), (&json!(0), &json!(25)), "{changed}");
    assert_eq!(served.house.read("policies/calls.yaml"), text("calls"));

    let Served { house, server, router, .. } = served;
    drop((server, router));
    // A turn of the day before finds it paused.
    house.ok(&["turn", "--replay", "2024-05-01"]);
    assert_eq!(decided(&house, "calls"), Vec::<String>::new());
    house.ok(&["policy", "resume", "calls"]);
    house.ok(&["turn", "--replay", "2024-05-02"]);
    assert_eq!(decided(&house, "calls"), shown(&seen));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_a_recommender_are_previewed_as_they_are_decided() {
    let house = shop_that_recommends();
    house.write(
        "policies/shelf.yaml",
        "policy: shelf\naudience: select distinct user_id as unit_id from {{ source('raw', 'purchases') }}\n\
         choose: {recommend: {learner: next, slots: 2, explore: 50%}}\nholdout: 10%\n",
    );
    let served = Served::new(house).await;
    served.clock.hold(Timestamp::parse(NOON).unwrap());
    let owner = served.owner().await;
    let seen = preview(&served, &owner, "shelf").await;
    assert_eq!((&seen["due"], &seen["paused"]), (&json!(true), &Value::Null), "{seen}");
    let Served { house, server, router, .. } = served;
    drop((server, router));
    assert_eq!(house.cell("select count(*) from system.decisions"), "0");
    house.ok(&["turn", "--replay", "2024-05-02"]);
    assert_eq!(decided(&house, "shelf"), shown(&seen));
    let items = house.sql(
        "select coalesce(items, 'null') from system.decisions where policy = 'shelf' order by unit_id",
    );
    let sample = seen["sample"].as_array().unwrap();
    assert_eq!(items.len(), sample.len());
    for (logged, one) in items.iter().zip(sample) {
        // A cell of CSV doubles its quotes.
        let logged = logged.trim_matches('"').replace("\"\"", "\"");
        let logged: Value = serde_json::from_str(&logged).unwrap();
        assert_eq!(logged, one["items"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_of_a_text_are_told_with_their_line_and_nothing_is_written() {
    let served = Served::new(shop()).await;
    let owner = served.owner().await;
    for (wrong, said) in [
        (text("calls").replace("action: offers", "action: offer"), "policies/calls.yaml:9:"),
        (text("calls").replace("weight: 1}", "wait: 1}"), "policies/calls.yaml:5:"),
        (text("calls").replace("source('raw', 'units')", "ref('unit')"), "ref('unit')"),
        (text("calls").replace("select unit_id, age", "select age"), "unit_id"),
        (text("calls").replace("< 30", "< 30; select 1"), "more than one statement"),
        (text("../up"), "not a good name"),
        (text("a b"), "not a good name"),
        (String::new(), "empty"),
    ] {
        let asked = json!({"text": wrong});
        let shown = served.post(&owner, "/v1/policy-preview", &asked).await;
        assert_eq!(shown.status, StatusCode::BAD_REQUEST, "{wrong}: {}", shown.json());
        let detail = shown.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(said), "{wrong}: {detail}");
    }
    for wrong in [
        text("calls").replace("action: offers", "action: offer"),
        text("../up"),
        text("calls").replace("select unit_id, age", "select age"),
        text("calls").replace("< 30", "< 30; select 1"),
        // Turns read events also for a policy that waits.
        text("calls").replace("00:00:00' as at", "00:00:00' as noon"),
        text("calls").replace("select unit_id as event_id", "selct unit_id as event_id"),
    ] {
        let refused = served.post(&owner, "/v1/policies", &json!({"text": wrong})).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.json());
    }
    // What only ends the statement, or is a comment, is no mistake.
    let ended = json!({"text": text("calls").replace("< 30", "< 30 ; -- so far; no more")});
    let shown = served.post(&owner, "/v1/policy-preview", &ended).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.json());
    // A file that is there under another name is not written over.
    served.house.write("policies/calls.yaml", text("others"));
    let refused = served.post(&owner, "/v1/policies", &json!({"text": text("calls")})).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.json());
    assert_eq!(served.house.read("policies/calls.yaml"), text("others"));
    std::fs::remove_file(served.house.path("policies/calls.yaml")).unwrap();
    let policies = served.house.dir().join("policies");
    assert_eq!(std::fs::read_dir(policies).unwrap().count(), 0, "nothing is left behind");
    assert_eq!(served.get(&owner, "/v1/policies").await.json()["items"], json!([]));
    let missing = served.get(&owner, "/v1/policies/gone/preview").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_author_or_read_neither_looks_nor_makes() {
    let house = shop();
    house.write("policies/calls.yaml", text("calls"));
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let viewer = served.user(&owner, Role::Viewer).await;
    let analyst = served.user(&owner, Role::Analyst).await;
    let writer = served.token(&analyst, &["author", "view"]).await;
    let reader = served.token(&analyst, &["query", "view"]).await;
    let draft = json!({"text": text("more")});
    for (who, name) in [(&viewer, "viewer"), (&writer, "author alone"), (&reader, "query alone")] {
        for path in ["/v1/policy-preview", "/v1/policies"] {
            let refused = served.post(who, path, &draft).await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{name} {path}: {}", refused.json());
        }
    }
    for (who, status) in [
        (&viewer, StatusCode::FORBIDDEN),
        (&writer, StatusCode::FORBIDDEN),
        (&reader, StatusCode::OK),
        (&analyst, StatusCode::OK),
    ] {
        let asked = served.get(who, "/v1/policies/calls/preview?sample=1").await;
        assert_eq!(asked.status, status, "{}", asked.json());
    }
    assert!(!served.house.dir().join("policies/more.yaml").exists());
    // Whoever writes one cannot let it go on without the permission to operate.
    let made = served.post(&analyst, "/v1/policies", &draft).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    let resumed = served.post(&analyst, "/v1/policies/more/resume", &json!({})).await;
    assert_eq!(resumed.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_a_part_is_told_no_count_of_the_rest_and_makes_no_policy_of_it() {
    let house = shop();
    house
        .write("data/hints.csv", "unit_id,hint\nu1,hidden-word\nu2,other\n")
        .write("syncs/hints.yaml", "sync: hints\nconnection: files\nstreams:\n  - {stream: hints, options: {path: hints.csv}, read: full, write: replace}\n")
        .write("models/marts/hinted.sql", "select * from {{ source('raw', 'hints') }}")
        .write(
            "access/hints.yaml",
            "rule: hints\ntables: [raw.hints]\nask: privacy@shop.example\nreaders:\n  - roles: [owner]\n  - {roles: [analyst], hide: [hint]}\n",
        );
    let reads = |name: &str, audience: &str| {
        format!(
            "policy: {name}\naudience: {audience}\nchoose: {{candidates: [{{name: a}}]}}\nholdout: 0%\n"
        )
    };
    let whole = "select unit_id, hint from {{ source('raw', 'hints') }}";
    house.write("policies/hinted.yaml", reads("hinted", whole));
    // A value in the message of an error, too.
    let fails = "select unit_id, cast(hint as int) as n from {{ source('raw', 'hints') }}";
    house.write("policies/fails.yaml", reads("fails", fails));
    house.write("policies/calls.yaml", text("calls"));
    house.ok(&["sync"]);
    house.ok(&["build"]);
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let analyst = served.user(&owner, Role::Analyst).await;

    let full = preview(&served, &owner, "hinted").await;
    assert!(full["sample"].to_string().contains("hidden-word"), "{full}");
    let part = served.get(&analyst, "/v1/policies/hinted/preview").await;
    assert_eq!(part.status, StatusCode::FORBIDDEN, "{}", part.json());
    let part = part.json();
    assert!(part["detail"].as_str().unwrap().contains("cannot be shown in advance"), "{part}");
    assert!(part["hint"].as_str().unwrap().contains("privacy@shop.example"), "{part}");
    assert!(!part.to_string().contains("hidden-word") && part["decisions"].is_null(), "{part}");
    // What they see whole is shown whole.
    let open = preview(&served, &analyst, "calls").await;
    assert_eq!(open["sample"].as_array().unwrap().len(), 25, "{open}");
    for who in [&owner, &analyst] {
        let failed = served.get(who, "/v1/policies/fails/preview").await;
        assert!(failed.status.is_client_error(), "{}", failed.json());
        let told = failed.json().to_string().contains("hidden-word");
        assert!(!told || std::ptr::eq(who, &owner), "{}", failed.json());
    }
    let viewed = served.get(&owner, "/v1/policies/hinted/preview?as=analyst").await;
    assert_eq!(viewed.status, StatusCode::FORBIDDEN, "{}", viewed.json());

    for audience in [
        whole,
        "select unit_id from {{ source('raw', 'hints') }}",
        "select unit_id from {{ ref('hinted') }}",
        "select unit_id from raw.hints",
        "select u.unit_id from raw.units u where exists (select 1 from raw.hints h where h.unit_id = u.unit_id)",
        "select unit_id from system.decisions",
    ] {
        let draft = json!({"text": reads("copied", audience)});
        for path in ["/v1/policy-preview", "/v1/policies"] {
            let refused = served.post(&analyst, path, &draft).await;
            assert_eq!(
                refused.status,
                StatusCode::FORBIDDEN,
                "{path} {audience}: {}",
                refused.json()
            );
            assert!(refused.json()["hint"].is_string(), "{}", refused.json());
        }
        let shown = served.post(&owner, "/v1/policy-preview", &draft).await;
        assert_eq!(shown.status, StatusCode::OK, "{audience}: {}", shown.json());
    }
    assert!(!served.house.dir().join("policies/copied.yaml").exists());
    let made = served.post(&analyst, "/v1/policies", &json!({"text": text("more")})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
}

/// A shop whose policies `hinted`, and `gone` that nobody declares any more, decided by rows that analysts see in part; what
/// they and `calls` sent was given up.
fn with_hidden_decisions() -> House {
    let house = shop();
    house
        .write("data/hints.csv", "unit_id,hint\nu1,hidden-word\nu2,other\n")
        .write("syncs/hints.yaml", "sync: hints\nconnection: files\nstreams:\n  - {stream: hints, options: {path: hints.csv}, read: full, write: replace}\n")
        .write(
            "access/hints.yaml",
            "rule: hints\ntables: [raw.hints]\nask: privacy@shop.example\nreaders:\n  - roles: [owner]\n  - {roles: [analyst], hide: [hint]}\n",
        )
        // Nobody listens there.
        .write("actions/hook.yaml", "action: hook\ntype: webhook\nattempts: 1\noptions: {url: 'http://127.0.0.1:1/hook', allow_private: true}\n")
        .write("policies/calls.yaml", text("calls").replace("action: offers", "action: hook"));
    for name in ["hinted", "gone"] {
        house.write(
            &format!("policies/{name}.yaml"),
            format!(
                "policy: {name}\naudience: select unit_id from {{{{ source('raw', 'hints') }}}} where hint <> 'other'\n\
                 choose: {{candidates: [{{name: a}}]}}\nholdout: 0%\naction: hook\n"
            ),
        );
    }
    house.ok(&["sync"]);
    house.ok(&["turn", "--replay", "2024-05-01"]);
    std::fs::remove_file(house.path("policies/gone.yaml")).unwrap();
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_under_the_name_of_hidden_decisions_tells_nothing_of_them() {
    let served = Served::new(with_hidden_decisions()).await;
    served.clock.hold(Timestamp::parse(NOON).unwrap());
    let owner = served.owner().await;
    let analyst = served.user(&owner, Role::Analyst).await;
    let probe = |name: &str| {
        json!({"text": format!(
            "policy: {name}\naudience: select concat('u', cast(value as varchar)) as unit_id from generate_series(0, 9)\n\
             choose: {{candidates: [{{name: a}}]}}\nholdout: 0%\ncaps: {{per_unit_every: 3650d}}\n"
        )})
    };
    for name in ["hinted", "gone"] {
        let told = served.post(&owner, "/v1/policy-preview", &probe(name)).await;
        let left = json!([{"reason": "per_unit_every", "units": 1}]);
        assert_eq!((told.status, &told.json()["left_out"]), (StatusCode::OK, &left), "{name}");
        let refused = served.post(&analyst, "/v1/policy-preview", &probe(name)).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{name}: {}", refused.json());
        assert!(refused.json()["hint"].is_string(), "{}", refused.json());
    }
    let refused = served.post(&analyst, "/v1/policies", &probe("gone")).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.json());
    assert!(!served.house.dir().join("policies/gone.yaml").exists());
    // What they see whole they may try under its name, and names that are new.
    for name in ["calls", "fresh"] {
        let told = served.post(&analyst, "/v1/policy-preview", &probe(name)).await;
        assert_eq!(told.status, StatusCode::OK, "{name}: {}", told.json());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_shown_to_who_sees_their_policy_and_answers_to_who_may_query() {
    let served = Served::new(with_hidden_decisions()).await;
    let owner = served.owner().await;
    let analyst = served.user(&owner, Role::Analyst).await;
    let viewer = served.user(&owner, Role::Viewer).await;
    for (who, name, policies, told) in [
        (&owner, "owner", vec!["calls", "gone", "hinted"], true),
        (&analyst, "analyst", vec!["calls"], true),
        (&viewer, "viewer", vec!["calls"], false),
    ] {
        let found = served.get(who, "/v1/actions?status=dead").await.json();
        let found = found["items"].as_array().unwrap();
        let shown: BTreeSet<&str> =
            found.iter().map(|one| one["policy"].as_str().unwrap()).collect();
        assert_eq!(shown, policies.into_iter().collect::<BTreeSet<_>>(), "{name}");
        assert!(found.iter().all(|one| one["error"].is_string() == told), "{name}: {found:?}");
        let hidden = served.get(who, "/v1/actions?policy=hinted").await.json();
        assert_eq!(hidden["items"].as_array().unwrap().is_empty(), name != "owner", "{hidden}");
        let one = served.get(who, "/v1/actions?policy=calls&limit=1").await.json();
        assert_eq!(one["items"].as_array().unwrap().len(), 1, "{name}: {one}");
    }
    // Nor does a place in the list tell that there is one: it is as if it were none.
    let hinted = served.get(&owner, "/v1/actions?policy=hinted").await.json();
    let key = hinted["items"][0]["key"].as_str().unwrap().to_owned();
    for (who, status) in [(&owner, StatusCode::OK), (&analyst, StatusCode::BAD_REQUEST)] {
        let after = served.get(who, &format!("/v1/actions?cursor={key}")).await;
        assert_eq!(after.status, status, "{}", after.json());
    }
    // Counts are of the same policies, and so are their sums.
    for (who, name, policies) in [
        (&owner, "owner", vec!["calls", "gone", "hinted"]),
        (&analyst, "analyst", vec!["calls"]),
        (&viewer, "viewer", vec!["calls"]),
    ] {
        let counts = served.get(who, "/v1/actions/counts").await.json();
        let each = counts["policies"].as_array().unwrap();
        let shown: BTreeSet<&str> =
            each.iter().map(|one| one["policy"].as_str().unwrap()).collect();
        assert_eq!(shown, policies.into_iter().collect::<BTreeSet<_>>(), "{name}: {counts}");
        let dead: u64 = each.iter().map(|one| one["dead"].as_u64().unwrap()).sum();
        assert_eq!(counts["dead"], json!(dead), "{name}: {counts}");
    }
    let counts = served.get(&owner, "/v1/actions/counts").await.json();
    let hinted = json!({
        "policy": "hinted", "waiting": 0, "pending": 0, "delivered": 0, "dead": 1, "discarded": 0,
    });
    assert!(counts["policies"].as_array().unwrap().contains(&hinted), "{counts}");
    let all = counts["dead"].as_u64().unwrap();
    let reason = json!({"reason": "nobody listens"});
    let done = served.post(&owner, "/v1/policies/gone/discard", &reason).await.json();
    assert_eq!(done["discarded"], 1, "{done}");
    let after = served.get(&owner, "/v1/actions/counts").await.json();
    assert_eq!((&after["dead"], &after["discarded"]), (&json!(all - 1), &json!(1)), "{after}");
    let told = served.get(&viewer, "/v1/actions/counts").await.json();
    assert_eq!(told["discarded"], 0, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_do_not_say_how_much_are_noted_before_they_leave() {
    let restock = |payload: &str| {
        format!(
            "policy: restock\naudience: select unit_id, 1 as on_hand, 0 as on_order from {{{{ source('raw', 'units') }}}}\n\
             choose: {{reorder: {{learner: demand}}}}\nholdout: 0%\naction: offers\n{payload}"
        )
    };
    let house = shop();
    house.write("learners/demand.yaml", "learner: demand\nforecast: {series: select 1}\n");
    house.write("policies/restock.yaml", restock(""));
    assert!(house.fails(0, &["check"]).contains("do not say how much to buy"));
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let notes = |preview: &Value| preview["notes"].to_string().matches("how much to buy").count();
    assert_eq!(notes(&preview(&served, &owner, "restock").await), 1);
    for (payload, noted) in [("", 1), ("payload: {item: $unit_id, pieces: $order_quantity}\n", 0)] {
        let draft = json!({"text": restock(payload)});
        let told = served.post(&owner, "/v1/policy-preview", &draft).await;
        assert_eq!(told.status, StatusCode::OK, "{}", told.json());
        assert_eq!(notes(&told.json()), noted, "{}", told.json());
    }
}

#[test]
fn the_command_shows_what_the_next_turn_decides_and_writes_nothing() {
    let house = shop();
    // Holdout and variant of a unit are the same at every moment, and so is who is decided for without a cap.
    let policy = text("calls")
        .replace("candidates:", "experiment: {variants: [{name: letter}, {name: call}]}")
        .replace("    - {name: letter, weight: 1}\n", "")
        .replace("    - {name: call, weight: 1, payload: {by: phone}}\n", "")
        .replace("caps: {per_turn: 25}\n", "");
    house.write("policies/calls.yaml", policy);
    house.ok(&["check"]);
    let seen = house.ok(&["policy", "preview", "calls", "--sample", "200", "--output", "json"]);
    let seen: Value = serde_json::from_str(&seen).unwrap();
    assert_eq!((&seen["decisions"], &seen["due"]), (&json!(30), &json!(true)), "{seen}");
    let told = house.ok(&["policy", "preview", "calls", "--sample", "1"]);
    for said in
        ["nothing is written; it is due", "30 rows in the audience", "offers (file)", "call"]
    {
        assert!(told.contains(said), "{said}: {told}");
    }
    let table = house.ok(&["policy", "preview", "calls", "--sample", "3", "--output", "csv"]);
    assert_eq!(table.lines().count(), 4, "{table}");
    assert_eq!(house.cell("select count(*) from system.decisions"), "0");
    assert_eq!(house.cell("select count(*) from system.outbox"), "0");
    house.ok(&["turn"]);
    assert_eq!(decided(&house, "calls"), shown(&seen));
    let after = house.ok(&["policy", "preview", "calls"]);
    assert!(after.contains("it is not due"), "{after}");
    let unknown = house.fails(2, &["policy", "preview", "call"]);
    assert!(unknown.contains("no policy \"call\"") && unknown.contains("calls"), "{unknown}");
}
