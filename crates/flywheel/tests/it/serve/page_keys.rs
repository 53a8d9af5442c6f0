//! Keys that stand in web pages: what they hand in, from where, and how much.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use flywheel_project::resource::rule::Role;
use serde_json::{Value, json};

use super::{Answer, As, Served};
use crate::house::House;

const SHOP: &str = "https://shop.example";

async fn key(served: &Served, who: &As, more: &Value) -> (String, String) {
    let mut asked =
        json!({"name": "shop", "scopes": ["ingest"], "sites": [SHOP, "http://localhost:3000"]});
    if let (Value::Object(asked), Value::Object(more)) = (&mut asked, more.clone()) {
        asked.extend(more);
    }
    let made = served.post(who, "/v1/tokens", &asked).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    let text = |key: &str| made.json()[key].as_str().unwrap().to_owned();
    (text("token"), text("id"))
}

/// Sends as a page does: from another site, in plain text, without headers of its own.
async fn send(served: &Served, key: &str, origin: Option<&str>, more: &str, body: &str) -> Answer {
    let path = format!("/v1/events?key={key}{more}");
    let mut request = Request::builder().method("POST").uri(path).header("host", "fw.example");
    request = request.header("sec-fetch-site", "cross-site").header("content-type", "text/plain");
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    served.raw(request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_its_sites_hand_in_events_of_its_topic_and_others_do_not() {
    let served = Served::new(House::new()).await;
    let owner = served.owner().await;
    let (key, id) = key(&served, &owner, &json!({})).await;
    assert!(key.starts_with("fwp_"), "{key}");
    let body = r#"[{"event": "page", "url": "https://shop.example/"}, {"event": "cart"}, {"no": "name"}, 5]"#;
    let taken = send(&served, &key, Some(SHOP), "&once=b1", body).await;
    assert_eq!(taken.status, StatusCode::OK, "{}", taken.json());
    assert_eq!((&taken.json()["topic"], &taken.json()["accepted"]), (&json!("web"), &json!(2)));
    assert_eq!(taken.json()["rejected_count"], json!(2));
    assert_eq!(taken.headers["access-control-allow-origin"], SHOP);
    assert!(!taken.headers.contains_key("access-control-allow-credentials"));
    // Sent again under its name, by a page that got no answer, it is kept once.
    let again = send(&served, &key, Some(SHOP), "&once=b1", body).await;
    assert_eq!(
        (&again.json()["repeated"], &again.json()["first_offset"]),
        (&json!(true), &json!(0))
    );
    let asked = json!({"sql": "select count(*) from system.events where topic = 'web'"});
    assert_eq!(served.post(&owner, "/v1/sql", &asked).await.json()["rows"], json!([[2]]));
    // Nobody reads the answer there: what does not fit is kept for whoever made the page.
    let aside = "select source, stream, \"column\", raw from system.quarantine order by raw";
    let aside = served.post(&owner, "/v1/sql", &json!({"sql": aside})).await.json();
    let expected =
        json!([["events", "web", null, "5"], ["events", "web", "event", "{\"no\": \"name\"}"]]);
    assert_eq!(aside["rows"], expected, "{aside}");
    assert_eq!(
        send(&served, &key, Some("http://localhost:3000"), "", body).await.status,
        StatusCode::OK
    );

    for origin in [
        None,
        Some("null"),
        Some("https://evil.example"),
        Some("http://shop.example"),
        Some("https://shop.example:444"),
        Some("https://shop.example.evil.example"),
        Some("https://SHOP.example"),
    ] {
        let refused = send(&served, &key, origin, "", body).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{origin:?}");
        assert!(!refused.headers.contains_key("access-control-allow-origin"), "{origin:?}");
    }
    for (more, status) in [("&topic=web", 200), ("&topic=events", 403), ("&topic=outcomes", 403)] {
        let answer = send(&served, &key, Some(SHOP), more, body).await;
        assert_eq!(answer.status.as_u16(), status, "{more}: {}", answer.json());
    }
    // Which decisions a visitor has seen, too; what came of them is for programs to say.
    for (path, status) in [("exposures", StatusCode::OK), ("outcomes", StatusCode::FORBIDDEN)] {
        let request = Request::post(format!("/v1/{path}?key={key}&once=seen"))
            .header("host", "fw.example")
            .header("sec-fetch-site", "cross-site")
            .header("origin", SHOP)
            .body(Body::from(r#"[{"decision_id": "00ff00ff00ff00ff"}]"#))
            .unwrap();
        let answer = served.raw(request).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.json());
    }
    // It opens nothing else, wherever it stands.
    let bearer = As { token: Some(key.clone()), ..As::default() };
    for (method, path) in [
        ("POST", "/v1/events"),
        ("GET", "/v1/status"),
        ("GET", "/v1/tokens"),
        ("POST", "/v1/outcomes"),
    ] {
        let refused = served.send(&bearer, method, path, body.to_owned()).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{method} {path}");
    }
    let elsewhere = served.get(&As::default(), &format!("/v1/status?key={key}")).await;
    assert_eq!(elsewhere.status, StatusCode::UNAUTHORIZED);
    for wrong in ["fwp_unknown", "", "fwt_x", "%00"] {
        let refused = send(&served, wrong, Some(SHOP), "", body).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    // A token of a program is none for pages, and its answer is not theirs to read.
    let program = served.token(&owner, &["ingest"]).await.token.unwrap();
    let refused = send(&served, &program, Some(SHOP), "", body).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let before = async |key: &str, origin: &str| {
        let request = Request::builder()
            .method("OPTIONS")
            .uri(format!("/v1/events?key={key}"))
            .header("origin", origin)
            .header("access-control-request-method", "POST");
        served.raw(request.body(Body::empty()).unwrap()).await
    };
    assert_eq!(before(&key, SHOP).await.headers["access-control-allow-origin"], SHOP);
    assert!(
        !before(&key, "https://evil.example")
            .await
            .headers
            .contains_key("access-control-allow-origin")
    );
    assert!(!before(&program, SHOP).await.headers.contains_key("access-control-allow-origin"));

    let gone = served.send(&owner, "DELETE", &format!("/v1/tokens/{id}"), "").await;
    assert!(gone.status.is_success());
    assert_eq!(send(&served, &key, Some(SHOP), "", body).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_sends_is_small_and_not_without_end() {
    let served = Served::new(House::new()).await;
    let owner = served.owner().await;
    let (key, _) = key(&served, &owner, &json!({"topic": "clicks"})).await;
    let events =
        |count: usize| -> String { Value::from(vec![json!({"event": "e"}); count]).to_string() };
    let large = json!([{"event": "e", "text": "x".repeat(9_000)}, {"event": "e"}]).to_string();
    let huge = json!({"event": "e", "text": "x".repeat(70_000)}).to_string();
    let name = json!({"event": "x".repeat(101)}).to_string();
    for (body, status) in [
        (events(101), 400),
        (huge, 413),
        (name, 400),
        ("[]".to_owned(), 400),
        ("{".to_owned(), 400),
        (String::new(), 400),
    ] {
        let refused = send(&served, &key, Some(SHOP), "", &body).await;
        assert_eq!(refused.status.as_u16(), status, "{}", refused.json());
        assert!(refused.json()["hint"].is_string(), "{}", refused.json());
        // The page reads what is wrong.
        assert_eq!(refused.headers["access-control-allow-origin"], SHOP);
    }
    let part = send(&served, &key, Some(SHOP), "", &large).await;
    assert_eq!((&part.json()["accepted"], &part.json()["rejected_count"]), (&json!(1), &json!(1)));
    // 2,000 events of one address a minute; the minute may begin anew while they are sent.
    let (mut taken, mut braked) = (0, None);
    for _ in 0..41 {
        let answer = send(&served, &key, Some(SHOP), "", &events(100)).await;
        match answer.status {
            StatusCode::OK => taken += 100,
            _ => {
                braked = Some(answer);
                break;
            }
        }
    }
    let braked = braked.unwrap();
    assert_eq!(
        (braked.status, &braked.json()["code"]),
        (StatusCode::TOO_MANY_REQUESTS, &json!("rate-limited"))
    );
    assert!(
        braked.headers.contains_key("retry-after") && (1_900..=3_900).contains(&taken),
        "{taken}"
    );
    // The owner's own programs go on.
    let program = served.token(&owner, &["ingest"]).await;
    assert_eq!(
        served.send(&program, "POST", "/v1/events", events(100)).await.status,
        StatusCode::OK
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_pages_hands_in_and_does_nothing_else() {
    let served = Served::new(House::new()).await;
    let owner = served.owner().await;
    let analyst = served.user(&owner, Role::Analyst).await;
    for body in [
        json!({"name": "k", "scopes": ["ingest", "view"], "sites": [SHOP]}),
        json!({"name": "k", "scopes": ["query"], "sites": [SHOP]}),
        json!({"name": "k", "scopes": ["ingest"], "topic": "web"}),
        json!({"name": "k", "scopes": ["ingest"], "sites": [SHOP], "topic": "outcomes"}),
        json!({"name": "k", "scopes": ["ingest"], "sites": [SHOP], "topic": "exposures"}),
        json!({"name": "k", "scopes": ["ingest"], "sites": [SHOP], "topic": "../x"}),
        json!({"name": "k", "scopes": ["ingest"], "sites": ["shop.example"]}),
        json!({"name": "k", "scopes": ["ingest"], "sites": ["https://*.example"]}),
    ] {
        let refused = served.post(&owner, "/v1/tokens", &body).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{body}: {}", refused.json());
        assert!(refused.json()["hint"].is_string(), "{body}");
    }
    let body = json!({"name": "k", "scopes": ["ingest"], "sites": [SHOP]});
    assert_eq!(served.post(&analyst, "/v1/tokens", &body).await.status, StatusCode::FORBIDDEN);
    // When its user may no longer hand in events, its pages may not either.
    let engineer = served.user(&owner, Role::Engineer).await;
    let (key, _) = key(&served, &engineer, &json!({})).await;
    let event = r#"{"event": "page"}"#;
    assert_eq!(send(&served, &key, Some(SHOP), "", event).await.status, StatusCode::OK);
    let change = json!({"role": "viewer"}).to_string();
    served.send(&owner, "PATCH", "/v1/users/engineer-user", change).await;
    assert_eq!(send(&served, &key, Some(SHOP), "", event).await.status, StatusCode::FORBIDDEN);
    let script = served.get(&As::default(), "/v1/snippet.js").await;
    assert_eq!(script.headers["content-type"], "text/javascript; charset=utf-8");
    assert_eq!(script.headers["cross-origin-resource-policy"], "cross-origin");
    assert!(script.headers["cache-control"].to_str().unwrap().starts_with("public"));
}
