//! Stored secrets by the server: administrators put them in, and nobody takes one out.

use axum::http::StatusCode;
use flywheel_project::resource::rule::Role;
use flywheel_project::vault::Vault;
use serde_json::json;

use super::Served;
use crate::house::House;

const CANARY: &str = "c4nary-Zq7wXv";

#[tokio::test(flavor = "multi_thread")]
async fn administrators_store_secrets_that_nobody_reads_back() {
    let house = House::new();
    house.write(
        "connections/crm.yaml",
        "connection: crm\ntype: postgres\noptions: {host: db, database: d, user: u, password: '${secret:crm}'}\n",
    );
    let served = Served::new(house).await;
    let owner = served.owner().await;
    let engineer = served.user(&owner, Role::Engineer).await;
    let refused = served.get(&engineer, "/v1/secrets").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);

    let missing = served.get(&owner, "/v1/secrets").await.json();
    let uses = json!([{"file": "connections/crm.yaml", "line": 3}]);
    assert_eq!(missing["items"], json!([{"name": "crm", "set_at": null, "used_by": uses}]));
    let body = json!({"value": CANARY}).to_string();
    for name in ["crm", "crm", "spare"] {
        let path = format!("/v1/secrets/{name}");
        let answer = served.send(&owner, "PUT", &path, body.clone()).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.json());
    }
    let vault = Vault::of(&served.house.dir());
    assert_eq!(vault.reveal("crm").unwrap().expose(), CANARY);
    let listed = served.get(&owner, "/v1/secrets").await.json();
    assert_eq!(
        (&listed["items"][0]["used_by"], &listed["items"][1]["used_by"]),
        (&uses, &json!([]))
    );
    assert!(listed["items"][0]["set_at"].is_string() && listed["items"][1]["name"] == "spare");

    for (path, body) in [
        ("/v1/secrets/a%20b", json!({"value": CANARY})),
        ("/v1/secrets/a", json!({"value": ""})),
        ("/v1/secrets/a", json!({"value": 47_114_711})),
        ("/v1/secrets/a", json!({"value": [CANARY]})),
        ("/v1/secrets/a", json!({"value": "x", "note": CANARY})),
    ] {
        let answer = served.send(&owner, "PUT", path, body.to_string()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        let said = answer.json().to_string();
        assert!(!said.contains(CANARY) && !said.contains("47114711"), "{said}");
    }

    let used = served.send(&owner, "DELETE", "/v1/secrets/crm", "").await;
    assert_eq!(used.status, StatusCode::CONFLICT);
    assert!(used.json()["detail"].as_str().unwrap().contains("connections/crm.yaml:3"));
    for (path, status) in [
        ("/v1/secrets/spare", StatusCode::NO_CONTENT),
        ("/v1/secrets/spare", StatusCode::NOT_FOUND),
        ("/v1/secrets/crm?force=true", StatusCode::NO_CONTENT),
    ] {
        assert_eq!(served.send(&owner, "DELETE", path, "").await.status, status, "{path}");
    }
    assert!(vault.list().unwrap().is_empty());

    let audit = served.get(&owner, "/v1/audit?limit=1000").await.json();
    assert!(!audit.to_string().contains(CANARY), "{audit}");
    let noted: Vec<_> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["what"] == "PUT /v1/secrets/{secret}")
        .map(|entry| entry["detail"]["more"].clone())
        .filter(|more| !more.is_null())
        .collect();
    assert_eq!(
        noted,
        [
            json!({"secret": "spare", "replaced": false}),
            json!({"secret": "crm", "replaced": true}),
            json!({"secret": "crm", "replaced": false}),
        ]
    );
}
