//! Access that is asked for: who may ask for what, who decides, what it opens and when it is over.

use axum::http::StatusCode;
use flywheel_base::{Clock as _, SystemClock, Timestamp};
use flywheel_project::resource::rule::Role;
use serde_json::{Value, json};

use super::{As, Served, with_dashboard};

const REQUESTS: &str = "/v1/access-requests";

/// Asks, and answers the id of the request.
async fn ask(served: &Served, who: &As, kind: &str, what: &str) -> String {
    let body =
        json!({"kind": kind, "what": what, "reason": "the board meets on Monday", "days": 7});
    let asked = served.post(who, REQUESTS, &body).await;
    assert_eq!(asked.status, StatusCode::CREATED, "{}", asked.json());
    asked.json()["id"].as_str().unwrap().to_owned()
}

async fn decide(served: &Served, who: &As, id: &str, how: &str, body: &Value) -> super::Answer {
    served.post(who, &format!("{REQUESTS}/{id}/{how}"), body).await
}

fn served_with_rule() -> crate::house::House {
    let house = with_dashboard("query");
    house.write(
        "access/orders.yaml",
        "rule: orders\ntables: [mart.orders]\nask: Ada in finance\nreaders:\n  - roles: [owner]\n  - {everybody: true, rows: \"country = 'France'\"}\n",
    );
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_can_be_asked_for_and_is_given_by_somebody_else_for_a_time() {
    let served = Served::new(with_dashboard("query")).await;
    let owner = served.owner().await;
    let viewer = served.user(&owner, Role::Viewer).await;
    let sql = json!({"sql": "select 1"});
    let refused = served.post(&viewer, "/v1/sql", &sql).await;
    assert_eq!((refused.status, &refused.json()["ask"]), (StatusCode::FORBIDDEN, &json!("query")));
    assert!(refused.json()["hint"].as_str().unwrap().contains(REQUESTS));
    // What comes with a role alone cannot be asked for, and says so by not saying that it can.
    assert_eq!(served.get(&viewer, "/v1/users").await.json()["ask"], json!(null));

    let askable = served.get(&viewer, REQUESTS).await.json()["askable"]["permissions"].clone();
    assert_eq!(askable[0], "query");
    assert!(!askable.to_string().contains("administer") && !askable.to_string().contains("view"));
    let id = ask(&served, &viewer, "permission", "query").await;
    let again = json!({"kind": "permission", "what": "query", "reason": "again"});
    assert_eq!(served.post(&viewer, REQUESTS, &again).await.status, StatusCode::CONFLICT);
    assert_eq!(served.post(&viewer, "/v1/sql", &sql).await.status, StatusCode::FORBIDDEN);

    let queue = served.get(&owner, REQUESTS).await.json();
    assert_eq!(
        (&queue["items"][0]["user"], &queue["items"][0]["reason"], &queue["items"][0]["status"]),
        (&json!("viewer-user"), &json!("the board meets on Monday"), &json!("open"))
    );
    let approved =
        decide(&served, &owner, &id, "approve", &json!({"days": 1, "answer": "until then"})).await;
    assert_eq!(approved.status, StatusCode::OK, "{}", approved.json());
    let until = Timestamp::parse(approved.json()["until"].as_str().unwrap()).unwrap();
    let day = SystemClock.now().plus_days(1);
    assert!((until.micros() - day.micros()).abs() < 600_000_000, "{until}");
    // The session that asked has it at once, and so have its pages.
    assert_eq!(served.post(&viewer, "/v1/sql", &sql).await.status, StatusCode::OK);
    // So does who looks as they do.
    let viewed = served.post(&owner, "/v1/sql?as=viewer-user", &sql).await;
    assert_eq!(viewed.status, StatusCode::OK, "{}", viewed.json());
    let me = served.get(&viewer, "/v1/me").await.json();
    assert!(me["permissions"].as_array().unwrap().contains(&json!("query")));
    assert_eq!(me["role"], "viewer");
    // A token may be made for it, and is worth no more than its user.
    let token = served.token(&viewer, &["query"]).await;
    assert_eq!(served.post(&token, "/v1/sql", &sql).await.status, StatusCode::OK);
    let narrow = served.token(&viewer, &["view"]).await;
    assert_eq!(served.post(&narrow, "/v1/sql", &sql).await.status, StatusCode::FORBIDDEN);

    let mine = served.get(&viewer, REQUESTS).await.json();
    let one = &mine["items"][0];
    assert_eq!((&one["answer"], &one["seen"]), (&json!("until then"), &json!(false)));
    let seen = decide(&served, &viewer, &id, "seen", &json!({})).await;
    assert_eq!(seen.status, StatusCode::NO_CONTENT);
    assert_eq!(served.get(&viewer, REQUESTS).await.json()["items"][0]["seen"], json!(true));

    // Time takes it away by itself.
    let meta = rusqlite::Connection::open(served.house.dir().join(".flywheel/meta.db")).unwrap();
    meta.execute("UPDATE access_requests SET until = 1 WHERE id = ?", [&id]).unwrap();
    drop(meta);
    assert_eq!(served.post(&viewer, "/v1/sql", &sql).await.status, StatusCode::FORBIDDEN);
    assert_eq!(served.post(&token, "/v1/sql", &sql).await.status, StatusCode::FORBIDDEN);
    assert_eq!(served.get(&viewer, REQUESTS).await.json()["items"][0]["status"], "expired");

    // For good, until somebody ends it.
    let id = ask(&served, &viewer, "permission", "query").await;
    decide(&served, &owner, &id, "approve", &json!({})).await;
    assert_eq!(served.post(&viewer, "/v1/sql", &sql).await.status, StatusCode::OK);
    let ended = served.send(&owner, "DELETE", &format!("{REQUESTS}/{id}"), "").await;
    assert_eq!(ended.json()["status"], "ended");
    assert_eq!(served.post(&viewer, "/v1/sql", &sql).await.status, StatusCode::FORBIDDEN);

    let audit = served.get(&owner, "/v1/audit").await.json();
    let rows = audit["items"].as_array().unwrap();
    let of =
        |what: &str| -> Vec<&Value> { rows.iter().filter(|row| row["what"] == what).collect() };
    let approvals = of("POST /v1/access-requests/{request}/approve");
    assert_eq!((approvals.len(), &approvals[1]["who"]), (2, &json!("ada")));
    assert_eq!(approvals[1]["detail"]["more"]["for"], "viewer-user");
    assert_eq!(approvals[1]["detail"]["more"]["answer"], "until then");
    assert!(of("POST /v1/access-requests").len() >= 2);
    assert_eq!(of("DELETE /v1/access-requests/{request}").len(), 1);
    assert!(served.house.ok(&["audit", "verify"]).contains("as they were written"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_decides_about_their_own_request_or_gives_what_they_do_not_have() {
    let served = Served::new(served_with_rule()).await;
    let owner = served.owner().await;
    let admin = served.user(&owner, Role::Admin).await;
    let analyst = served.user(&owner, Role::Analyst).await;
    let rows = async |who: &As| {
        let asked = json!({"sql": "select count(*) from mart.orders"});
        served.post(who, "/v1/sql", &asked).await.json()["rows"][0][0].clone()
    };
    assert_eq!(
        (rows(&owner).await, rows(&admin).await, rows(&analyst).await),
        (json!(2), json!(1), json!(1))
    );
    let askable = served.get(&admin, REQUESTS).await.json()["askable"].clone();
    assert_eq!(
        (&askable["permissions"], &askable["rules"][0]["ask"]),
        (&json!([]), &json!("Ada in finance"))
    );

    let own = ask(&served, &admin, "rule", "orders").await;
    for how in ["approve", "refuse"] {
        let body = if how == "refuse" { json!({"reason": "x"}) } else { json!({}) };
        let refused = decide(&served, &admin, &own, how, &body).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{how}: {}", refused.json());
    }
    let theirs = ask(&served, &analyst, "rule", "orders").await;
    // An admin from whom the rule hides rows shows them to nobody.
    let refused = decide(&served, &admin, &theirs, "approve", &json!({})).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.json());
    assert_eq!(
        decide(&served, &owner, &theirs, "approve", &json!({})).await.status,
        StatusCode::OK
    );
    assert_eq!((rows(&admin).await, rows(&analyst).await), (json!(1), json!(2)));
    // Who looks as they do sees what they see, and so does the command line.
    let sql = json!({"sql": "select count(*) from mart.orders"});
    let viewed = served.post(&owner, "/v1/sql?as=analyst-user", &sql).await;
    assert_eq!(viewed.json()["rows"], json!([[2]]), "{}", viewed.json());
    let listed = served.get(&owner, "/v1/rules").await.json();
    let rule = &listed["items"][0];
    assert_eq!(
        (&rule["users"], &rule["lifted"]),
        (&json!([["ada", 1], ["admin-user", 2]]), &json!(["analyst-user"])),
        "{listed}"
    );
    let said =
        decide(&served, &owner, &own, "refuse", &json!({"reason": "not for this quarter"})).await;
    assert_eq!(said.status, StatusCode::OK);
    let mine = served.get(&admin, REQUESTS).await.json();
    let one = mine["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["id"] == json!(own))
        .unwrap()
        .clone();
    assert_eq!(
        (&one["status"], &one["answer"]),
        (&json!("refused"), &json!("not for this quarter"))
    );
    assert_eq!(rows(&admin).await, json!(1));
    assert_eq!(
        decide(&served, &owner, &own, "approve", &json!({})).await.status,
        StatusCode::CONFLICT
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_requests_for_access_are_told_what_is_wrong() {
    let served = Served::new(served_with_rule()).await;
    let owner = served.owner().await;
    let viewer = served.user(&owner, Role::Viewer).await;
    let other = served.user(&owner, Role::Operator).await;
    for (body, status) in [
        (json!({"kind": "permission", "what": "administer", "reason": "x"}), 400),
        (json!({"kind": "permission", "what": "nothing", "reason": "x"}), 400),
        (json!({"kind": "permission", "what": "view", "reason": "I have it"}), 400),
        (json!({"kind": "role", "what": "owner", "reason": "x"}), 400),
        (json!({"kind": "rule", "what": "order", "reason": "x"}), 404),
        (json!({"kind": "permission", "what": "query", "reason": "   "}), 400),
        (json!({"kind": "permission", "what": "query", "reason": "x".repeat(501)}), 400),
        (json!({"kind": "permission", "what": "query", "reason": "x", "days": 0}), 400),
        (json!({"kind": "permission", "what": "query", "reason": "x", "days": 366}), 400),
        (json!({"kind": "permission", "what": "query", "reason": "x", "user": "ada"}), 400),
        (json!({"kind": "permission", "what": "query"}), 400),
    ] {
        let refused = served.post(&viewer, REQUESTS, &body).await;
        assert_eq!(refused.status.as_u16(), status, "{body}: {}", refused.json());
        assert!(refused.json()["hint"].is_string(), "{body}: {}", refused.json());
    }
    let owner_has = json!({"kind": "rule", "what": "orders", "reason": "x"});
    assert_eq!(served.post(&owner, REQUESTS, &owner_has).await.status, StatusCode::BAD_REQUEST);
    // A program asks for nothing: nobody would know who.
    let token = served.token(&viewer, &["view"]).await;
    let body = json!({"kind": "permission", "what": "query", "reason": "x"});
    assert_eq!(served.post(&token, REQUESTS, &body).await.status, StatusCode::FORBIDDEN);

    let id = ask(&served, &viewer, "permission", "query").await;
    assert_eq!(
        served.get(&other, REQUESTS).await.json()["items"],
        json!([]),
        "nobody else's business"
    );
    let path = format!("{REQUESTS}/{id}");
    assert_eq!(served.send(&other, "DELETE", &path, "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        decide(&served, &other, &id, "seen", &json!({})).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        decide(&served, &other, &id, "approve", &json!({})).await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(served.send(&owner, "DELETE", &path, "").await.status, StatusCode::CONFLICT);
    assert_eq!(
        decide(&served, &owner, &id, "approve", &json!({"days": 400})).await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        decide(&served, &owner, &id, "refuse", &json!({})).await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        decide(&served, &owner, "a-nothing", "approve", &json!({})).await.status,
        StatusCode::NOT_FOUND
    );
    let back = served.send(&viewer, "DELETE", &path, "").await;
    assert_eq!(back.json()["status"], "withdrawn");
    assert_eq!(
        decide(&served, &owner, &id, "approve", &json!({})).await.status,
        StatusCode::CONFLICT
    );
}
