//! What a user sees of web APIs.

use std::time::Duration;

use futures::TryStreamExt;
use serde_json::json;

use super::*;
use crate::http::fake::shop::{Rules, Shop, changed_at};
use crate::http::fake::{Fake, FakePace, Reply};
use crate::source::contract::{cells, codes, now};
use crate::{ColumnType, DeclaredColumn, ReadMode};

#[expect(clippy::needless_pass_by_value, reason = "called with literals")]
fn open(fake: &Fake, connection: Value, pace: &Arc<FakePace>) -> RestApi {
    let mut settings = json!({ "base_url": fake.url, "allow_private": true });
    settings.as_object_mut().unwrap().extend(connection.as_object().unwrap().clone());
    let rest: Rest = serde_json::from_value(settings).unwrap();
    rest.open(Arc::clone(pace) as Arc<dyn Pace>).unwrap()
}

async fn read(api: &RestApi, request: &ReadRequest) -> Result<Vec<Page>> {
    api.read(request).try_collect().await
}

fn full(stream: Value) -> ReadRequest {
    ReadRequest::full(stream, now())
}

fn ids(pages: &[Page]) -> Vec<String> {
    cells(pages).into_iter().map(|row| row[0].clone()).collect()
}

fn stylings() -> Vec<(&'static str, Value)> {
    vec![
        ("page", json!({ "type": "page", "param": "page", "size_param": "limit", "size": 7 })),
        ("offset", json!({ "type": "offset", "param": "offset", "has_more": "has_more" })),
        ("cursor", json!({ "type": "cursor", "param": "after", "next": "paging.after" })),
        ("link", json!({ "type": "link-header" })),
        ("next", json!({ "type": "next-url", "next": "paging.next" })),
    ]
}

#[tokio::test]
async fn every_style_of_paging_reads_every_record_once() {
    let pace = FakePace::new();
    let rules = Rules { contacts: 50, page_max: 7, ..Rules::default() };
    for (name, paging) in stylings() {
        let (fake, _) = Shop::start(rules.clone(), &pace).await;
        let key = json!({ "auth": { "type": "query", "name": "api_key", "value": "hush" } });
        let api = open(&fake, key, &pace);
        let stream = json!({ "path": "/contacts", "records": "items", "paging": paging });
        let pages = read(&api, &full(stream)).await.unwrap();
        let expected: Vec<String> = (0..50).map(|id| id.to_string()).collect();
        assert_eq!(ids(&pages), expected, "{name}");
        assert!(!pages.iter().any(|page| page.position.0.to_string().contains("hush")), "{name}");
        let keys: Vec<usize> = fake
            .seen()
            .iter()
            .map(|seen| seen.query.iter().filter(|(key, _)| key == "api_key").count())
            .collect();
        assert!(keys.iter().all(|count| *count == 1), "{name}: {keys:?}");
    }
}

#[tokio::test]
async fn values_keep_their_form_and_types_come_from_more_than_one_answer() {
    let pace = FakePace::new();
    let (fake, _) =
        Shop::start(Rules { page_max: 1, contacts: 4, ..Rules::default() }, &pace).await;
    let api = open(&fake, json!({}), &pace);
    let stream = json!({ "path": "/contacts", "records": "items",
                         "paging": { "type": "offset", "param": "offset" } });
    let pages = read(&api, &full(stream.clone())).await.unwrap();
    assert_eq!(codes(&pages), [""; 0]);
    let row = &cells(&pages)[1];
    assert_eq!(
        row[..6],
        ["1", "c1@example.com", "1.5", "[\"a\",1]", "00001", "2024-05-01T00:01:00Z"]
    );
    // A field that never had a value is there as text.
    let last = pages.last().unwrap().batch.schema();
    assert_eq!(last.field_with_name("phone").unwrap().data_type().to_string(), "Utf8");

    let mut request = full(stream);
    request.columns = vec![DeclaredColumn::new("zip", ColumnType::Int64)];
    let pages = read(&api, &request).await.unwrap();
    assert_eq!(cells(&pages)[1][0], "1");
}

#[tokio::test]
async fn a_read_goes_on_from_the_page_it_stopped_at() {
    let pace = FakePace::new();
    let (fake, _) =
        Shop::start(Rules { contacts: 60, page_max: 10, ..Rules::default() }, &pace).await;
    let api = open(&fake, json!({}), &pace);
    let stream = json!({ "path": "/contacts", "records": "items",
                         "paging": { "type": "cursor", "param": "after", "next": "paging.after" } });
    let mut request = full(stream);
    request.page_rows = 20;
    let pages = read(&api, &request).await.unwrap();
    let counts: Vec<usize> = pages.iter().map(|page| page.batch.num_rows()).collect();
    assert_eq!(counts[..3], [20, 20, 20]);
    let before = fake.count();
    request.from = Some(pages[1].position.clone());
    let rest = read(&api, &request).await.unwrap();
    assert_eq!(ids(&rest).first().map(String::as_str), Some("40"));
    assert_eq!(fake.count() - before, 2, "only the answers that were missing are asked for");
}

fn incremental() -> Value {
    json!({ "path": "/contacts", "records": "items", "primary_key": ["id"],
            "paging": { "type": "offset", "param": "offset" },
            "incremental": { "cursor": "updated_at", "params": { "updated_since": "{cursor}" } } })
}

#[tokio::test]
async fn an_incremental_read_asks_for_what_is_new_and_repeats_nothing() {
    let pace = FakePace::new();
    let (fake, shop) = Shop::start(Rules { contacts: 30, ..Rules::default() }, &pace).await;
    let api = open(&fake, json!({}), &pace);
    let mut request = ReadRequest::incremental(incremental(), now());
    request.write_appends = true;
    let pages = read(&api, &request).await.unwrap();
    assert_eq!(ids(&pages).len(), 30);
    request.from = pages.last().map(|page| page.position.clone());
    assert!(read(&api, &request).await.unwrap().is_empty());
    let asked = fake.seen().last().unwrap().param("updated_since").unwrap().to_owned();
    assert_eq!(asked, changed_at(29));
    shop.lock().unwrap().rules.contacts = 33;
    let pages = read(&api, &request).await.unwrap();
    assert_eq!(ids(&pages), ["30", "31", "32"]);
    request.from = pages.last().map(|page| page.position.clone());
    request.mode = ReadMode::Incremental { cursor: None, lag: Some("2m".into()) };
    assert!(read(&api, &request).await.unwrap_err().hint_text().unwrap().contains("merge"));
    request.write_appends = false;
    assert_eq!(ids(&read(&api, &request).await.unwrap()), ["30", "31", "32"]);
}

#[tokio::test]
async fn many_records_with_one_cursor_value_are_read_once_with_a_small_position() {
    let pace = FakePace::new();
    let fake = Fake::start(|_| {
        let same = |id: usize| json!({ "id": id, "at": "2024-05-01T10:00:00Z" });
        Reply::json(&json!((0..900).map(same).collect::<Vec<_>>()))
    })
    .await;
    let api = open(&fake, json!({}), &pace);
    let mut request = ReadRequest::incremental(json!({ "path": "/c" }), now());
    request.mode = ReadMode::Incremental { cursor: Some("at".into()), lag: None };
    request.write_appends = true;
    let pages = read(&api, &request).await.unwrap();
    assert_eq!(ids(&pages).len(), 900);
    request.from = pages.last().map(|page| page.position.clone());
    assert!(request.from.as_ref().unwrap().0.to_string().len() < 40_000);
    assert!(read(&api, &request).await.unwrap().is_empty());

    let fake = Fake::start(|_| {
        let same = |id: usize| json!({ "id": id, "at": 5 });
        Reply::json(&json!((0..2_000).map(same).collect::<Vec<_>>()))
    })
    .await;
    let api = open(&fake, json!({}), &pace);
    request.from = None;
    let pages = read(&api, &request).await.unwrap();
    request.from = pages.last().map(|page| page.position.clone());
    let error = read(&api, &request).await.unwrap_err();
    assert!(error.hint_text().unwrap().contains("merge"), "{error}");
}

#[tokio::test]
async fn a_cursor_that_cannot_be_read_moves_nothing() {
    for (kind, bad) in [(ColumnType::Timestamp, "type-mismatch"), (ColumnType::Text, "no-cursor")] {
        let pace = FakePace::new();
        let mut asked = 0;
        let fake = Fake::start(move |_| {
            asked += 1;
            let row = |id: usize, at: &str| json!({ "id": id, "at": at });
            Reply::json(&match asked {
                1 => json!([row(1, "2024-05-01T10:00:00Z"), row(2, "not a date")]),
                _ => json!([row(2, "not a date"), row(3, "2024-05-02T10:00:00Z"), row(4, "none")]),
            })
        })
        .await;
        let api = open(&fake, json!({}), &pace);
        let mut request = ReadRequest::incremental(
            json!({ "path": "/c",
                    "incremental": { "cursor": "at", "params": { "since": "{cursor}" } } }),
            now(),
        );
        request.write_appends = true;
        request.columns =
            vec![DeclaredColumn::new("id", ColumnType::Int64), DeclaredColumn::new("at", kind)];
        let pages = read(&api, &request).await.unwrap();
        assert_eq!(ids(&pages).first().map(String::as_str), Some("1"));
        assert_eq!(ids(&pages).len() + codes(&pages).len(), 2, "{kind}");
        request.from = pages.last().map(|page| page.position.clone());
        let pages = read(&api, &request).await.unwrap();
        let since = fake.seen().last().unwrap().param("since").map(str::to_owned);
        assert_eq!(since.as_deref(), Some("2024-05-01T10:00:00Z"), "{kind}");
        assert_eq!(ids(&pages), ["3"], "{kind}");
        assert_eq!(codes(&pages), [bad], "{kind}");
        request.from = pages.last().map(|page| page.position.clone());
        assert!(read(&api, &request).await.unwrap().is_empty(), "{kind}");
        let since = fake.seen().last().unwrap().param("since").map(str::to_owned);
        assert_eq!(since.as_deref(), Some("2024-05-02T10:00:00Z"), "{kind}");
        request.write_appends = false;
        request.mode = ReadMode::Incremental { cursor: None, lag: Some("1h".into()) };
        let pages = read(&api, &request).await.unwrap();
        assert_eq!((ids(&pages), codes(&pages).len()), (vec!["3".to_owned()], 0), "{kind}");
    }
}

#[tokio::test]
async fn records_without_cursor_are_set_aside_once_and_stop_no_append() {
    let pace = FakePace::new();
    let mut asked = 0;
    let fake = Fake::start(move |_| {
        asked += 1;
        let row = |id: usize, at: Option<usize>| json!({ "id": id, "at": at });
        let mut rows = vec![row(0, Some(5))];
        rows.extend((1..=1_000).map(|id| row(id, None)));
        rows.push(row(1_001, Some(5)));
        if asked > 1 {
            rows.push(row(1_002, Some(6)));
        }
        Reply::json(&json!(rows))
    })
    .await;
    let api = open(&fake, json!({}), &pace);
    let mut request = ReadRequest::incremental(json!({ "path": "/c" }), now());
    request.mode = ReadMode::Incremental { cursor: Some("at".into()), lag: None };
    request.write_appends = true;
    for (rows, set_aside) in [(2, 1_000), (1, 0), (0, 0)] {
        let pages = read(&api, &request).await.unwrap();
        assert_eq!((ids(&pages).len(), codes(&pages).len()), (rows, set_aside));
        request.from = pages.last().map(|page| page.position.clone()).or(request.from);
    }
}

#[tokio::test]
async fn more_records_without_cursor_than_are_remembered_are_told_of_under_one_name() {
    const BAD: usize = 17_000;
    let pace = FakePace::new();
    let mut asked = 0;
    let fake = Fake::start(move |_| {
        asked += 1;
        // Each answer has one more good record before them, so that they lie elsewhere.
        let good = (0..asked).map(|id| json!({ "id": id, "at": 5 + id }));
        let bad = (0..BAD).map(|id| json!({ "id": 100 + id, "at": null }));
        Reply::json(&json!(good.chain(bad).collect::<Vec<_>>()))
    })
    .await;
    let api = open(&fake, json!({}), &pace);
    let mut request = ReadRequest::incremental(json!({ "path": "/c" }), now());
    request.mode = ReadMode::Incremental { cursor: Some("at".into()), lag: None };
    request.write_appends = true;
    // The quarantine tells rows apart by these.
    let names = |pages: &[Page]| -> Vec<(String, Option<u64>, String)> {
        let all = pages.iter().flat_map(|page| &page.rejected);
        all.map(|row| (row.file.clone(), row.line, row.raw.clone())).collect()
    };
    let mut known = std::collections::HashSet::new();
    for round in 0..3 {
        let pages = read(&api, &request).await.unwrap();
        assert_eq!(ids(&pages).len(), 1, "round {round}");
        let found = names(&pages);
        if round == 0 {
            assert_eq!(found.len(), BAD);
            assert!(pages[0].rejected[0].reason.contains("page 1, record 2"));
            known = found.into_iter().collect();
            assert_eq!(known.len(), BAD);
        } else {
            // What is remembered is not even counted again.
            assert!(found.len() < 1_000, "{}", found.len());
            assert!(found.iter().all(|row| known.contains(row)), "round {round}");
        }
        request.from = pages.last().map(|page| page.position.clone());
        let bytes = request.from.as_ref().unwrap().0.to_string().len();
        assert!(bytes < 150_000, "{bytes}");
    }
}

#[tokio::test]
async fn what_is_no_record_is_set_aside_with_page_and_index() {
    let pace = FakePace::new();
    let mut at = 0;
    let fake = Fake::start(move |_| {
        at += 1;
        Reply::new(
            200,
            match at {
                1 => r#"[{"n":1},"text",{"n":2},null,{"n":3,"n":4}]"#,
                2 => r#"[{"n":"x"},{"n":5}]"#,
                _ => "[]",
            },
        )
    })
    .await;
    let api = open(&fake, json!({}), &pace);
    let mut request = full(json!({ "path": "/n", "paging": { "type": "page", "param": "page" } }));
    request.columns = vec![DeclaredColumn::new("n", ColumnType::Int64)];
    let pages = read(&api, &request).await.unwrap();
    assert_eq!(ids(&pages), ["1", "2", "5"]);
    let bad: Vec<_> = pages.iter().flat_map(|page| &page.rejected).collect();
    let places: Vec<(&str, u64)> =
        bad.iter().map(|bad| (bad.file.as_str(), bad.line.unwrap())).collect();
    assert_eq!(places, [("/n page 1", 2), ("/n page 1", 4), ("/n page 1", 5), ("/n page 2", 1)]);
    assert_eq!(codes(&pages), ["not-an-object", "not-an-object", "duplicate-key", "type-mismatch"]);
}

#[tokio::test]
async fn answers_that_are_not_the_records_are_explained() {
    let pace = FakePace::new();
    for (reply, stream, words) in [
        (json!({ "results": [], "x": 1 }), json!({ "path": "/a" }), "lists are at \"results\""),
        (json!({ "data": {} }), json!({ "path": "/a", "records": "data.items" }), "single: true"),
        (
            json!({ "errors": ["no field"] }),
            json!({ "path": "/a", "records": "data", "error": "errors" }),
            "API's reference",
        ),
        (json!("text"), json!({ "path": "/a" }), "path of the list"),
        (
            json!([{ "n": 1 }]),
            json!({ "path": "/a", "paging": { "type": "page", "param": "p" } }),
            "paging",
        ),
        (
            json!({ "d": [{ "n": 1 }], "next": "https://example.com/x" }),
            json!({ "path": "/a", "records": "d", "paging": { "type": "next-url", "next": "next" } }),
            "one server only",
        ),
        (
            json!({ "d": [{ "n": 1 }], "next": "/a" }),
            json!({ "path": "/a", "records": "d", "paging": { "type": "next-url", "next": "next" } }),
            "looks? at",
        ),
    ] {
        let fake = Fake::start(move |_| Reply::json(&reply)).await;
        let api = open(&fake, json!({}), &pace);
        let error = read(&api, &full(stream.clone())).await.unwrap_err();
        let report = error.report();
        let found = report.contains(words)
            || (words == "looks? at" && report.contains("the same as the one before"));
        assert!(found, "{stream}: {report}");
    }
    for stream in [
        json!({ "path": "https://example.com/a" }),
        json!({ "path": "/a", "body": {} }),
        json!({ "path": "/a", "records": "a..b" }),
        json!({ "path": "/a", "incremental": { "params": { "since": "always" } } }),
    ] {
        let fake = Fake::start(|_| Reply::new(200, "[]")).await;
        let api = open(&fake, json!({}), &pace);
        let error = read(&api, &full(stream.clone())).await.unwrap_err();
        assert!(error.hint_text().is_some() && fake.count() == 0, "{stream}: {error}");
    }
}

#[tokio::test]
async fn a_post_sends_its_marks_in_the_body() {
    let pace = FakePace::new();
    let fake = Fake::start(|request| {
        let after = request.json()["variables"]["after"].as_str().map(str::to_owned);
        let body = match after.as_deref() {
            None => json!({ "data": { "nodes": [{ "n": 1 }], "end": "m" } }),
            Some(_) => json!({ "data": { "nodes": [{ "n": 2 }], "end": null } }),
        };
        Reply::json(&body)
    })
    .await;
    let api = open(&fake, json!({}), &pace);
    let stream = json!({ "path": "/graphql", "method": "POST", "body": { "query": "{ nodes }" },
        "records": "data.nodes", "error": "errors",
        "incremental": { "cursor": "n", "body_path": "variables.since", "start": "0" },
        "paging": { "type": "cursor", "next": "data.end", "param": "variables.after", "place": "body" } });
    let pages = read(&api, &full(stream)).await.unwrap();
    assert_eq!(ids(&pages), ["1", "2"]);
    let body = fake.seen()[1].json();
    assert_eq!(body["variables"], json!({ "since": "0", "after": "m" }));
    assert_eq!(body["query"], json!("{ nodes }"));
}

#[tokio::test]
async fn ten_thousand_contacts_survive_limits_faults_and_tokens_that_end() {
    let pace = FakePace::new();
    let rules = Rules {
        contacts: 10_000,
        poison_each: 1_000,
        requests_max: 40,
        token_life: Some(Duration::from_secs(15)),
        faults: 0.15,
        ..Rules::default()
    };
    let (fake, shop) = Shop::start(rules, &pace).await;
    let connection = json!({
        "auth": { "type": "oauth2", "token_url": format!("{}/token", fake.url), "client_id": "me", "client_secret": "hush" },
        "limits": { "requests_per_10_seconds": 40 },
    });
    let api = open(&fake, connection, &pace);
    let mut request = full(json!({ "path": "/contacts", "records": "items",
        "paging": { "type": "cursor", "param": "after", "next": "paging.after" } }));
    request.page_rows = 900;
    let pages = read(&api, &request).await.unwrap();
    let mut found: Vec<usize> = ids(&pages).iter().map(|id| id.parse().unwrap()).collect();
    let bad: Vec<_> = pages.iter().flat_map(|page| &page.rejected).collect();
    assert_eq!((found.len(), bad.len()), (9_990, 10));
    assert!(bad.iter().all(|bad| bad.code == "not-an-object" && bad.raw.contains("poison")));
    assert_eq!((bad[3].file.as_str(), bad[3].line), ("/contacts page 36", Some(1)));
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 9_990, "no contact twice");
    let shop = shop.lock().unwrap();
    assert_eq!(shop.meter.exceeded, 0, "the limit of the server was never exceeded");
    assert!(shop.faults >= 10 && shop.refused_tokens >= 2 && shop.tokens >= 3, "{shop:?}");
}
