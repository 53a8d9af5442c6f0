//! What a client does with limits, faults, tokens, redirects and odd answers.

use std::sync::Arc;
use std::time::Duration;

use flywheel_base::ErrorKind;
use reqwest::Method;
use serde_json::json;

use super::fake::{Fake, FakePace, Reply};
use super::*;

fn settings(fake: &Fake) -> HttpSettings {
    HttpSettings { base_url: fake.url.clone(), allow_private: true, ..HttpSettings::default() }
}

fn client(settings: HttpSettings, pace: &Arc<FakePace>) -> Client {
    Client::new(settings, Arc::clone(pace) as Arc<dyn Pace>).unwrap()
}

/// Answers the list in turn, and the last one for ever.
async fn in_turn(replies: Vec<Reply>) -> Fake {
    let mut at = 0;
    Fake::start(move |_| {
        at += 1;
        replies[(at - 1).min(replies.len() - 1)].clone()
    })
    .await
}

#[tokio::test]
async fn faults_that_pass_are_tried_again_and_the_server_is_obeyed() {
    let date = "Sat, 01 Jun 2024 00:02:00 GMT";
    let fake = in_turn(vec![
        Reply::new(429, "{}").header("retry-after", "7"),
        Reply::new(503, "{}")
            .header("retry-after", date)
            .header("date", "Sat, 01 Jun 2024 00:00:00 GMT"),
        Reply::nothing(),
        Reply::new(200, "{\"ok\":true}").cut(3),
        Reply::new(500, "{}"),
        Reply::json(&json!({ "ok": true })),
    ])
    .await;
    let pace = FakePace::new();
    let answer = client(settings(&fake), &pace).send(&Call::get("/x")).await.unwrap();
    assert_eq!(answer.json().unwrap(), "{\"ok\":true}");
    let slept = pace.slept();
    assert_eq!((slept[0], slept[1]), (Duration::from_secs(7), Duration::from_secs(120)));
    assert!(slept[2] >= Duration::from_secs(1) && slept[2] <= Duration::from_secs(2), "{slept:?}");
    assert_eq!(fake.count(), 6);
}

#[tokio::test]
async fn a_server_that_stays_down_ends_in_an_error_that_can_be_retried() {
    let fake = in_turn(vec![Reply::text("text/html", "<html>down</html>").status(502)]).await;
    let pace = FakePace::new();
    let client = client(HttpSettings { retries: Some(2), ..settings(&fake) }, &pace);
    let error = client.send(&Call::get("/x")).await.unwrap_err();
    assert_eq!((error.kind(), fake.count()), (ErrorKind::Unavailable, 3));
    assert!(error.message().contains("given up after 3 tries"), "{error}");
    assert!(error.message().contains("web page"), "{error}");

    let fake = in_turn(vec![Reply::new(429, "{}").header("retry-after", "86400")]).await;
    let client = self::client(settings(&fake), &pace);
    let error = client.send(&Call::get("/x")).await.unwrap_err();
    assert!(error.message().contains("asks to wait for 86400 s"), "{error}");
}

#[tokio::test]
async fn a_write_that_may_have_happened_is_not_sent_twice() {
    let pace = FakePace::new();
    for (reply, expected) in [
        (Reply::nothing(), 1),
        (Reply::new(500, "{}"), 1),
        (Reply::new(429, "{}"), 2),
        (Reply::new(503, "{}"), 2),
    ] {
        let fake = in_turn(vec![reply, Reply::new(200, "{}")]).await;
        let call = Call::json(Method::POST, "/x", "{}".to_owned());
        let outcome = client(settings(&fake), &pace).send(&call.clone().once()).await;
        assert_eq!((fake.count(), outcome.is_ok()), (expected, expected == 2));
        assert!(client(settings(&fake), &pace).send(&call).await.is_ok());
    }
}

#[tokio::test]
async fn every_refusal_has_its_kind_and_a_hint_and_shows_no_secret() {
    let pace = FakePace::new();
    for (status, kind) in [
        (400, ErrorKind::Invalid),
        (401, ErrorKind::Denied),
        (403, ErrorKind::Denied),
        (404, ErrorKind::NotFound),
        (409, ErrorKind::Conflict),
        (413, ErrorKind::Exhausted),
        (422, ErrorKind::Invalid),
    ] {
        let body = r#"{"error":{"message":"key s3cr3t-key is\nwrong"}}"#;
        let fake = in_turn(vec![Reply::new(status, body)]).await;
        let auth = Auth::Query { name: "key".into(), value: Secret::new("s3cr3t-key") };
        let client = client(HttpSettings { auth: Some(auth), ..settings(&fake) }, &pace);
        let error = client.send(&Call::get("/x")).await.unwrap_err();
        assert_eq!((error.kind(), fake.count()), (kind, 1), "{status}");
        assert!(error.message().contains("key … is wrong"), "{error}");
        assert!(error.hint_text().is_some() && error.message().contains(&status.to_string()));
        assert!(!error.report().contains("s3cr3t"), "{}", error.report());
        assert_eq!(fake.seen()[0].param("key"), Some("s3cr3t-key"));
    }
    // The URL of a request without answer holds the key, too.
    let auth = Auth::Query { name: "key".into(), value: Secret::new("s3cr3t-key") };
    let settings = HttpSettings {
        base_url: "http://127.0.0.1:1".into(),
        allow_private: true,
        retries: Some(0),
        auth: Some(auth),
        ..HttpSettings::default()
    };
    let error = client(settings, &pace).send(&Call::get("/x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
}

#[tokio::test]
async fn a_web_page_garbage_and_too_much_are_told_apart() {
    let pace = FakePace::new();
    let page = Reply::text("text/html; charset=utf-8", "\n<!DOCTYPE html><title>Log in</title>");
    for (reply, words) in [
        (page, "web page instead of JSON"),
        (Reply::new(200, "{\"a\": tru"), "is not JSON at line 1"),
        (Reply::new(200, ""), "is empty"),
    ] {
        let fake = in_turn(vec![reply]).await;
        let answer = client(settings(&fake), &pace).send(&Call::get("/x")).await.unwrap();
        let error = answer.json().unwrap_err();
        assert!(error.message().contains(words) && error.hint_text().is_some(), "{error}");
    }
    let fake = in_turn(vec![Reply::new(200, "x".repeat(3_000))]).await;
    let small = HttpSettings { answer_bytes_max: Some("2KiB".into()), ..settings(&fake) };
    let error = client(small, &pace).send(&Call::get("/x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(error.hint_text().unwrap().contains("answer_bytes_max"));
}

#[tokio::test]
async fn redirects_stay_on_the_server_and_are_for_reads() {
    let pace = FakePace::new();
    let fake = in_turn(vec![
        Reply::new(302, "").header("location", "/y?page=2"),
        Reply::json(&json!([1])),
    ])
    .await;
    client(settings(&fake), &pace).send(&Call::get("/x")).await.unwrap();
    assert_eq!(fake.seen()[1].param("page"), Some("2"));

    let fake =
        in_turn(vec![Reply::new(302, "").header("location", "http://127.0.0.1:1/steal")]).await;
    let auth = Some(Auth::Bearer { token: Secret::new("t0ken") });
    let client = client(HttpSettings { auth, ..settings(&fake) }, &pace);
    let error = client.send(&Call::get("/x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let error = client.send(&Call::json(Method::POST, "/x", "{}".into())).await.unwrap_err();
    assert!(error.message().contains("redirected"), "{error}");

    let fake = in_turn(vec![Reply::new(302, "").header("location", "/x")]).await;
    let error = self::client(settings(&fake), &pace).send(&Call::get("/x")).await.unwrap_err();
    assert!(error.message().contains("circles"), "{error}");
}

fn oauth(fake: &Fake, refresh: Option<&str>) -> Auth {
    let mut auth = json!({ "type": "oauth2", "token_url": format!("{}/token", fake.url),
                           "client_id": "me", "client_secret": "hush" });
    if let Some(refresh) = refresh {
        auth["refresh_token"] = json!(refresh);
    }
    serde_json::from_value(auth).unwrap()
}

#[tokio::test]
async fn a_token_is_renewed_before_its_end_and_once_when_it_is_refused() {
    let pace = FakePace::new();
    let (mut given, mut revoked, mut once) = (0, false, false);
    let fake = Fake::start(move |request| {
        if request.path == "/token" {
            given += 1;
            let body = json!({ "access_token": format!("t{given}"), "expires_in": 600,
                               "refresh_token": format!("r{given}") });
            return Reply::json(&body);
        }
        if request.path == "/revoke" && !once {
            (once, revoked) = (true, true);
        }
        let current = request.header("authorization") == Some(&format!("Bearer t{given}"));
        if !current || std::mem::take(&mut revoked) || request.path == "/never" {
            return Reply::new(401, r#"{"message":"no"}"#);
        }
        Reply::json(&json!({}))
    })
    .await;
    let auth = Some(oauth(&fake, Some("r0")));
    let client = client(HttpSettings { auth, ..settings(&fake) }, &pace);
    client.send(&Call::get("/a")).await.unwrap();
    client.send(&Call::get("/a")).await.unwrap();
    assert_eq!(fake.count(), 3, "one token serves many requests");
    pace.advance(Duration::from_secs(541));
    client.send(&Call::get("/a")).await.unwrap();
    assert_eq!(fake.count(), 5, "it is renewed a minute before its end, not after a 401");
    client.send(&Call::get("/revoke")).await.unwrap();
    assert_eq!(fake.count(), 8);
    let error = client.send(&Call::get("/never")).await.unwrap_err();
    assert_eq!((error.kind(), fake.count()), (ErrorKind::Denied, 11), "once, not for ever");
    let bodies: Vec<String> = fake
        .seen()
        .into_iter()
        .filter(|seen| seen.path == "/token")
        .map(|seen| seen.body)
        .collect();
    assert!(bodies[0].contains("refresh_token=r0") && bodies[0].contains("client_secret=hush"));
    assert!(bodies[1].contains("refresh_token=r1"), "a replaced refresh token is used: {bodies:?}");
}

#[tokio::test]
async fn a_refused_client_is_explained_without_its_secret() {
    let pace = FakePace::new();
    let body = r#"{"error":"invalid_grant","error_description":"bad hush and r0-long"}"#;
    let fake = in_turn(vec![Reply::new(400, body)]).await;
    let auth = Some(oauth(&fake, Some("r0-long")));
    let client = client(HttpSettings { auth, ..settings(&fake) }, &pace);
    let error = client.send(&Call::get("/a")).await.unwrap_err();
    assert_eq!((error.kind(), fake.count()), (ErrorKind::Denied, 1));
    assert!(error.message().contains("bad … and …"), "{error}");
    assert!(error.hint_text().unwrap().contains("client_secret"));

    let fake = in_turn(vec![Reply::json(&json!({ "token": "hush" }))]).await;
    let auth = Some(oauth(&fake, None));
    let client = self::client(HttpSettings { auth, ..settings(&fake) }, &pace);
    let error = client.send(&Call::get("/a")).await.unwrap_err();
    assert!(error.message().contains("no access_token"), "{error}");
}

#[test]
fn impossible_settings_are_refused_with_a_hint() {
    let pace = FakePace::new();
    let new = |settings| Client::new(settings, Arc::clone(&pace) as Arc<dyn Pace>).err().unwrap();
    for url in [
        "",
        "example.com",
        "ftp://example.com",
        "https://me:pw@example.com",
        "http://10.0.0.1",
        "http://[::1]/",
        "http://169.254.169.254/latest",
    ] {
        let error = new(HttpSettings { base_url: url.into(), ..HttpSettings::default() });
        assert!(error.hint_text().is_some() && !error.report().contains("pw"), "{url}: {error}");
    }
    let good =
        || HttpSettings { base_url: "https://example.com".into(), ..HttpSettings::default() };
    let auth = Some(Auth::Bearer { token: Secret::new("abc\n") });
    assert!(new(HttpSettings { auth, ..good() }).hint_text().unwrap().contains("line break"));
    assert!(new(HttpSettings { timeout: Some("soon".into()), ..good() }).hint_text().is_some());
    let headers = [("a b".to_owned(), Secret::new("x"))].into();
    assert!(new(HttpSettings { headers, ..good() }).message().contains("a b"));
}

#[tokio::test]
async fn a_host_of_the_own_network_is_refused_by_name() {
    let pace = FakePace::new();
    let settings =
        HttpSettings { base_url: "http://localhost:1".into(), ..HttpSettings::default() };
    let error = client(settings, &pace).send(&Call::get("/x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.hint_text().unwrap().contains("allow_private"));
}
