//! What a receiver on the loopback sees, and what its answers lead to.

use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::action::ActionEntry;

/// A receiver that gives the listed answers in turn, and what it received.
async fn receive(answers: Vec<&'static str>, work: impl AsyncFnOnce(String)) -> Vec<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let seen = Mutex::new(Vec::new());
    let serve = async {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !complete(&request) {
                let read = stream.read(&mut buffer).await.unwrap();
                assert!(read > 0, "the request ended early");
                request.extend_from_slice(&buffer[..read]);
            }
            seen.lock().unwrap().push(String::from_utf8(request).unwrap());
            let answer =
                format!("HTTP/1.1 {answer}\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        // Stay open, so that an unexpected request hangs and fails the test by its timeout.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = serve => {}
        () = work(url) => {}
    }
    seen.into_inner().unwrap()
}

fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| body.len() >= length.parse::<usize>().unwrap())
}

fn build(settings: Value) -> Result<Box<dyn Action>> {
    ActionEntry::named("webhook")
        .unwrap()
        .build(settings, &ActionContext { base_dir: "".into(), ..Default::default() })
}

fn deliveries(count: usize) -> Vec<Delivery> {
    let one = |n: usize| Delivery {
        key: format!("k{n}"),
        payload: json!({ "n": n }),
        group: "p/t".into(),
    };
    (0..count).map(one).collect()
}

#[tokio::test]
async fn a_request_is_signed_and_carries_its_key() {
    let requests = receive(vec!["200 OK\r\nx-request-id: r1"], async |url| {
        let settings = json!({ "url": url, "secret": "s3cret", "allow_private": true,
                               "headers": { "authorization": "Bearer t" } });
        let outcomes = build(settings).unwrap().deliver(&deliveries(1)).await;
        assert_eq!(outcomes, [Outcome::Delivered { receipt: "200 OK, r1".into() }]);
    })
    .await;
    let request = &requests[0];
    assert!(request.starts_with("POST /hook HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("idempotency-key: k0\r\n"), "{request}");
    assert!(request.contains("authorization: Bearer t\r\n"), "{request}");
    let expected = signature(&Secret::new("s3cret"), "k0", "{\"n\":0}");
    assert!(request.contains(&format!("x-flywheel-signature: {expected}\r\n")), "{request}");
    assert!(request.ends_with("\r\n\r\n{\"n\":0}"), "{request}");
}

#[test]
fn the_signature_is_hmac_sha256() {
    // printf 'what do ya want for nothing?.' | openssl dgst -sha256 -hmac Jefe
    let found = signature(&Secret::new("Jefe"), "what do ya want for nothing?", "");
    assert_eq!(found, "sha256=38c6c848e5a2f57451f5095df6370d5c9b83175b99df46422b34960c28def6ae");
}

#[test]
fn a_key_in_any_language_fits_a_header() {
    assert_eq!(header_key("win-back/t1/42"), "win-back/t1/42");
    assert_eq!(header_key("召回/t1/42").len(), 64);
}

#[tokio::test]
async fn answers_lead_to_done_later_or_never() {
    let date = "503 No\r\ndate: Wed, 01 May 2024 10:00:00 GMT\r\nretry-after: Wed, 01 May 2024 10:02:00 GMT";
    let answers = vec![
        "204 No Content",
        "429 Slow\r\nretry-after: 7",
        date,
        "408 Late",
        "400 Bad",
        "302 Found\r\nlocation: /x",
    ];
    receive(answers, async |url| {
        let settings = json!({ "url": url, "allow_private": true, "parallel": 1 });
        let outcomes = build(settings).unwrap().deliver(&deliveries(6)).await;
        let brief: Vec<(&str, Option<u64>)> = outcomes
            .iter()
            .map(|outcome| match outcome {
                Outcome::Delivered { .. } => ("done", None),
                Outcome::Retry { after, .. } => ("later", after.map(|after| after.as_secs())),
                Outcome::Rejected { .. } => ("never", None),
                Outcome::Unreached { .. } | Outcome::Waits { .. } => ("not sent", None),
            })
            .collect();
        assert_eq!(
            brief,
            [
                ("done", None),
                ("later", Some(7)),
                ("later", Some(120)),
                ("later", None),
                ("never", None),
                ("never", None)
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn what_a_receiver_repeats_of_secrets_is_not_told() {
    let answers = vec!["401 No\r\nx: y", "500 Oops"];
    receive(answers, async |url| {
        let settings = json!({ "url": url, "allow_private": true, "parallel": 1, "secret": "ok",
                               "headers": { "authorization": "Bearer t0k3n-7" } });
        let action: WebhookAction = serde_json::from_value(settings.clone()).unwrap();
        let known: Vec<String> =
            action.secrets().iter().map(|one| one.expose().to_owned()).collect();
        assert_eq!(known, ["Bearer t0k3n-7", "t0k3n-7", "ok"]);
        let said =
            without("token t0k3n-7 of Bearer t0k3n-7".to_owned(), known.iter().map(String::as_str));
        assert!(!said.contains("t0k3n"), "{said}");
        let outcomes = build(settings).unwrap().deliver(&deliveries(2)).await;
        assert!(matches!(&outcomes[0], Outcome::Rejected { reason } if reason.starts_with("401")));
        assert!(matches!(&outcomes[1], Outcome::Retry { .. }));
    })
    .await;
}

#[tokio::test]
async fn a_batch_is_one_request_with_a_key_of_its_own() {
    let requests = receive(vec!["200 OK", "500 Oops"], async |url| {
        let settings = json!({ "url": url, "allow_private": true, "batch": 2, "parallel": 1, "method": "PUT" });
        let outcomes = build(settings).unwrap().deliver(&deliveries(3)).await;
        let done: Vec<bool> =
            outcomes.iter().map(|outcome| matches!(outcome, Outcome::Delivered { .. })).collect();
        assert_eq!(done, [true, true, false]);
    })
    .await;
    assert!(requests[0].starts_with("PUT "));
    let body = "[{\"key\":\"k0\",\"payload\":{\"n\":0}},{\"key\":\"k1\",\"payload\":{\"n\":1}}]";
    assert!(requests[0].ends_with(body), "{}", requests[0]);
}

#[tokio::test]
async fn a_batch_that_is_sent_again_has_the_key_it_had() {
    let requests = receive(vec!["500 Oops", "200 OK", "200 OK"], async |url| {
        let settings = json!({ "url": url, "allow_private": true, "batch": 3, "parallel": 1 });
        let action = build(settings).unwrap();
        assert_eq!(action.together(), 3);
        let [first, second, new] = <[Delivery; 3]>::try_from(deliveries(3)).unwrap();
        let before = vec![first, second];
        assert_eq!(action.deliver_together(std::slice::from_ref(&before)).await.len(), 2);
        assert_eq!(action.deliver_together(&[vec![new], before]).await.len(), 3);
    })
    .await;
    let key = |request: &String| {
        let mut lines = request.lines();
        lines.find(|line| line.starts_with("idempotency-key")).unwrap().to_owned()
    };
    assert_eq!(key(&requests[0]), key(&requests[2]));
    assert_ne!(key(&requests[0]), key(&requests[1]));
}

#[tokio::test]
async fn no_answer_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let settings = json!({ "url": url, "allow_private": true, "timeout": "50ms" });
    let outcomes = build(settings.clone()).unwrap().deliver(&deliveries(1)).await;
    assert!(matches!(&outcomes[0], Outcome::Retry { reason, .. } if reason.contains("in time")));
    drop(listener);
    let outcomes = build(settings).unwrap().deliver(&deliveries(1)).await;
    assert!(matches!(&outcomes[0], Outcome::Unreached { .. }), "nothing was sent: {outcomes:?}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_says_nothing_about_the_effect() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let action = build(json!({ "url": url, "allow_private": true })).unwrap();
    let hang_up = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 16]).await.unwrap() > 0);
    };
    let deliveries = deliveries(1);
    let (outcomes, ()) = tokio::join!(action.deliver(&deliveries), hang_up);
    assert!(matches!(&outcomes[0], Outcome::Retry { .. }), "{outcomes:?}");
}

#[tokio::test]
async fn the_own_network_is_refused_by_address_and_by_name() {
    for url in [
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://169.254.169.254/latest",
        "http://2130706433/",
    ] {
        let error = build(json!({ "url": url })).err().unwrap();
        assert!(error.hint_text().unwrap().contains("allow_private"), "{url}");
    }
    let outcomes =
        build(json!({ "url": "http://localhost:1/" })).unwrap().deliver(&deliveries(1)).await;
    assert!(
        matches!(&outcomes[0], Outcome::Rejected { reason } if reason.contains("localhost")),
        "{outcomes:?}"
    );
    for url in ["ftp://example.com", "not a url", "file:///etc/passwd"] {
        assert!(build(json!({ "url": url })).is_err(), "{url}");
    }
}

#[test]
fn settings_never_show_their_secrets() {
    let settings =
        json!({ "url": "https://example.com", "secret": "hush", "headers": { "a": "hush" } });
    let action: WebhookAction = serde_json::from_value(settings).unwrap();
    assert!(!format!("{action:?}").contains("hush"));
}

#[test]
fn a_request_that_comes_in_is_believed_only_if_it_is_signed() {
    let secret = Secret::new("k");
    let given = signature(&secret, "d-1", "{}");
    assert!(is_signed(&secret, "d-1", b"{}", &given));
    for (secret, key, body, given) in [
        ("l", "d-1", "{}", given.as_str()),
        ("k", "d-2", "{}", &given),
        ("k", "d-1", "{ }", &given),
        ("k", "d-1", "{}", ""),
        ("k", "d-1", "{}", "sha256="),
        ("k", "d-1", "{}", "sha256=zz"),
        ("k", "d-1", "{}", "sha256=é"),
        ("k", "d-1", "{}", &given[..given.len() - 2]),
        ("k", "d-1", "{}", &given.replace("sha256", "sha1")),
    ] {
        assert!(!is_signed(&Secret::new(secret), key, body.as_bytes(), given), "{key} {given}");
    }
}
