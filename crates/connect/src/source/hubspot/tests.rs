//! What a user sees of a HubSpot account.

use flywheel_base::{ErrorKind, Timestamp};
use futures::TryStreamExt;

use super::*;
use crate::http::fake::hubspot::FakeHubSpot;
use crate::http::fake::{Fake, FakePace};
use crate::source::contract::{cells, now};

#[expect(clippy::needless_pass_by_value, reason = "called with literals")]
fn open(fake: &Fake, pace: &Arc<FakePace>, more: Value) -> HubSpotAccount {
    let mut settings = json!({ "token": "pat-1", "base_url": fake.url, "allow_private": true });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let hubspot: HubSpot = serde_json::from_value(settings).unwrap();
    hubspot.open(&(Arc::clone(pace) as Arc<dyn Pace>)).unwrap()
}

async fn read(account: &HubSpotAccount, request: &ReadRequest) -> Result<Vec<Page>> {
    account.read(request).try_collect().await
}

fn ids(pages: &[Page]) -> Vec<String> {
    cells(pages).into_iter().map(|row| row[0].clone()).collect()
}

fn column(pages: &[Page], name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for page in pages {
        let place = page.batch.schema().index_of(name).unwrap();
        found.extend(cells(std::slice::from_ref(page)).into_iter().map(|row| row[place].clone()));
    }
    found
}

fn ms(text: &str) -> i64 {
    Timestamp::parse(text).unwrap().micros() / 1_000
}

#[tokio::test]
async fn properties_become_columns_and_the_list_is_read_whole() {
    let pace = FakePace::new();
    let (fake, hubspot) = FakeHubSpot::start(&pace).await;
    for n in 0..250 {
        hubspot.lock().unwrap().add(&format!("c{n}@example.com"), ms("2024-05-01"));
    }
    hubspot.lock().unwrap().contacts.get_mut(&7).unwrap().archived = true;
    let account = open(&fake, &pace, json!({}));
    account.check().await.unwrap();
    let pages =
        read(&account, &ReadRequest::full(json!({ "object": "contacts" }), now())).await.unwrap();
    assert_eq!(ids(&pages).len(), 249);
    let schema = pages[0].batch.schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert!(names.starts_with(&["id", "createdAt", "updatedAt", "archived"]), "{names:?}");
    assert!(names.contains(&"email"), "{names:?}");
    assert_eq!(fake.count(), 1 + 1 + 3);
    let gone = json!({ "object": "contacts", "archived": true });
    assert_eq!(ids(&read(&account, &ReadRequest::full(gone, now())).await.unwrap()), ["7"]);
}

#[tokio::test]
async fn a_search_of_more_than_ten_thousand_results_loses_and_repeats_none() {
    let pace = FakePace::new();
    let (fake, hubspot) = FakeHubSpot::start(&pace).await;
    // An import: all of them in the same millisecond.
    for n in 0..10_350 {
        hubspot.lock().unwrap().add(&format!("c{n}@example.com"), ms("2024-05-01T10:00:00Z"));
    }
    let account = open(&fake, &pace, json!({}));
    let stream = json!({ "object": "contacts", "properties": ["email"] });
    let mut request = ReadRequest::incremental(stream, now());
    let pages = read(&account, &request).await.unwrap();
    let mut found: Vec<u64> = ids(&pages).iter().map(|id| id.parse().unwrap()).collect();
    found.dedup();
    assert_eq!(found, (1..=10_350).collect::<Vec<_>>());
    assert_eq!(hubspot.lock().unwrap().searches.exceeded, 0);

    let late = hubspot.lock().unwrap().add("late@example.com", ms("2024-05-02"));
    // Modified while the index still settles: left to the next read.
    let now_ms = pace.now().micros() / 1_000;
    hubspot.lock().unwrap().add("just-now@example.com", now_ms);
    request.from = pages.last().map(|page| page.position.clone());
    let pages = read(&account, &request).await.unwrap();
    assert_eq!(ids(&pages).last(), Some(&late.to_string()));
    pace.advance(std::time::Duration::from_secs(120));
    request.from = pages.last().map(|page| page.position.clone());
    assert_eq!(ids(&read(&account, &request).await.unwrap()), [(late + 1).to_string()]);
}

#[tokio::test]
async fn a_record_changed_during_the_read_is_found_by_the_next_one() {
    let pace = FakePace::new();
    let (fake, hubspot) = FakeHubSpot::start(&pace).await;
    for n in 0..1_500 {
        hubspot.lock().unwrap().add(&format!("c{n}@example.com"), ms("2024-05-01") + n);
    }
    let account = open(&fake, &pace, json!({}));
    let stream = json!({ "object": "contacts", "properties": ["email"] });
    let mut request = ReadRequest::incremental(stream, now());
    request.page_rows = 100;
    let mut pages = account.read(&request);
    let first = pages.try_next().await.unwrap().unwrap();
    let changed = pace.now().micros() / 1_000;
    // One that was read already, and one that was not.
    for id in [5, 1_450] {
        hubspot.lock().unwrap().contacts.get_mut(&id).unwrap().modified_ms = changed;
    }
    let rest: Vec<Page> = pages.try_collect().await.unwrap();
    let count =
        first.batch.num_rows() + rest.iter().map(|page| page.batch.num_rows()).sum::<usize>();
    assert_eq!(count, 1_499);
    pace.advance(std::time::Duration::from_secs(120));
    request.from = rest.last().map(|page| page.position.clone());
    request.write_appends = true;
    assert_eq!(ids(&read(&account, &request).await.unwrap()), ["5", "1450"]);
}

#[tokio::test]
async fn mistakes_and_an_empty_quota_are_explained() {
    let pace = FakePace::new();
    let (fake, hubspot) = FakeHubSpot::start(&pace).await;
    let account = open(&fake, &pace, json!({ "token": "wrong" }));
    assert_eq!(account.check().await.unwrap_err().kind(), ErrorKind::Denied);
    let account = open(&fake, &pace, json!({}));
    let full = |stream| ReadRequest::full(stream, now());
    for stream in [json!({ "object": "contacts/../../x" }), json!({ "object": "" })] {
        let error = read(&account, &full(stream)).await.unwrap_err();
        assert!(error.hint_text().unwrap().contains("contacts"), "{error}");
    }
    let mut request = full(json!({ "object": "contacts", "archived": true }));
    request.mode = ReadMode::Incremental { cursor: None, lag: None };
    assert!(read(&account, &request).await.unwrap_err().hint_text().unwrap().contains("full"));
    // A tenth of the day's requests is for others.
    hubspot.lock().unwrap().daily_left = 25_001;
    account.check().await.unwrap();
    let error = account.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(error.hint_text().unwrap().contains("daily_reserve"), "{error}");
}

#[tokio::test]
async fn ten_thousand_contacts_survive_limits_faults_and_a_token_that_is_replaced() {
    let pace = FakePace::new();
    let (fake, hubspot) = FakeHubSpot::start(&pace).await;
    {
        let mut hubspot = hubspot.lock().unwrap();
        for n in 0..10_000 {
            let id = hubspot.add(&format!("c{n}@example.com"), ms("2024-05-01"));
            let company = if n % 1_000 == 500 { format!("poison {n}") } else { n.to_string() };
            let contact = hubspot.contacts.get_mut(&id).unwrap();
            contact.properties.insert("company".to_owned(), company);
        }
        (hubspot.faults, hubspot.lost) = (0.15, 0.05);
        // Somebody replaces the token while the list is read; a token of an app does not renew itself.
        hubspot.token_requests = 60;
    }
    let stream = json!({ "object": "contacts", "properties": ["email", "company"] });
    let mut request = ReadRequest::full(stream, now());
    request.page_rows = 900;
    request.columns = vec![DeclaredColumn::new("company", ColumnType::Int64)];
    let account = open(&fake, &pace, json!({}));
    let mut pages = Vec::new();
    let mut reading = account.read(&request);
    let error = loop {
        match reading.try_next().await {
            Ok(Some(page)) => pages.push(page),
            Ok(None) => panic!("the token ends before the list does"),
            Err(error) => break error,
        }
    };
    drop(reading);
    assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.report());
    assert!(pages.len() > 1 && column(&pages, "id").len() < 9_990, "{} pages", pages.len());

    {
        let mut hubspot = hubspot.lock().unwrap();
        (hubspot.token, hubspot.token_requests) = ("pat-2".to_owned(), usize::MAX);
    }
    request.from = pages.last().map(|page| page.position.clone());
    let before = fake.count();
    let account = open(&fake, &pace, json!({ "token": "pat-2" }));
    pages.extend(read(&account, &request).await.unwrap());
    let mut found: Vec<u64> = column(&pages, "id").iter().map(|id| id.parse().unwrap()).collect();
    let bad: Vec<_> = pages.iter().flat_map(|page| &page.rejected).collect();
    assert_eq!((found.len(), bad.len()), (9_990, 10));
    for bad in bad {
        assert!(bad.code == "type-mismatch" && bad.raw.contains("poison"), "{bad:?}");
    }
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 9_990, "no contact twice");
    // It went on behind the last page: the list has 100 answers.
    assert!(fake.count() - before < 100, "{}", fake.count() - before);
    let hubspot = hubspot.lock().unwrap();
    assert_eq!(hubspot.requests.exceeded, 0, "the limit of the account was never exceeded");
    assert_eq!(hubspot.refused_tokens, 1, "nobody knocks again with a token that was refused");
    assert!(hubspot.faulted >= 10, "{} faults", hubspot.faulted);
}
