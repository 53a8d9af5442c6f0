//! What a user sees of a Salesforce org.

mod changes;

use std::time::Duration;

use flywheel_base::ErrorKind;
use futures::TryStreamExt;

use super::*;
use crate::http::fake::salesforce::FakeSalesforce;
use crate::http::fake::{Fake, FakePace, Meter};
use crate::source::contract::{cells, now};

#[expect(clippy::needless_pass_by_value, reason = "called with literals")]
fn open(fake: &Fake, pace: &Arc<FakePace>, more: Value) -> Org {
    let auth = json!({ "type": "oauth2", "token_url": format!("{}/services/oauth2/token", fake.url),
                       "client_id": "me", "client_secret": "hush" });
    let mut settings = json!({ "instance_url": fake.url, "auth": auth, "allow_private": true });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let salesforce: Salesforce = serde_json::from_value(settings).unwrap();
    salesforce.open(Arc::clone(pace) as Arc<dyn Pace>).unwrap()
}

async fn read(org: &Org, request: &ReadRequest) -> Result<Vec<Page>> {
    org.read(request).try_collect().await
}

fn column(pages: &[Page], name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for page in pages {
        let place = page.batch.schema().index_of(name).unwrap();
        found.extend(cells(std::slice::from_ref(page)).into_iter().map(|row| row[place].clone()));
    }
    found
}

#[tokio::test]
async fn a_full_read_follows_locators_types_and_tokens_that_end() {
    let pace = FakePace::new();
    let (fake, salesforce) = FakeSalesforce::start(&pace).await;
    for n in 0..950 {
        salesforce.lock().unwrap().add(&format!("e{n:04}"), "2024-05-01T10:00:00Z");
    }
    salesforce.lock().unwrap().token_life = Duration::from_millis(80);
    let org = open(&fake, &pace, json!({}));
    org.check().await.unwrap();
    let pages =
        read(&org, &ReadRequest::full(json!({ "object": "Contact" }), now())).await.unwrap();
    let found = column(&pages, "Ext__c");
    assert_eq!(found, (0..950).map(|n| format!("e{n:04}")).collect::<Vec<_>>());
    let schema = pages[0].batch.schema();
    let kind = |name: &str| schema.field_with_name(name).unwrap().data_type().to_string();
    assert_eq!((kind("Score__c"), kind("IsDeleted")), ("Float64".to_owned(), "Boolean".to_owned()));
    assert!(kind("SystemModstamp").starts_with("Timestamp"));
    assert!(schema.field_with_name("attributes").is_err());
    assert!(salesforce.lock().unwrap().tokens > 2, "tokens ended in the middle of the read");
}

#[tokio::test]
async fn ten_thousand_contacts_survive_limits_faults_and_tokens_that_end() {
    let pace = FakePace::new();
    let (fake, salesforce) = FakeSalesforce::start(&pace).await;
    {
        let mut salesforce = salesforce.lock().unwrap();
        for n in 0..10_000 {
            let id = salesforce.add(&format!("e{n:04}"), "2024-05-01T10:00:00Z");
            if n % 1_000 == 500 {
                let poison = json!(format!("poison {n}"));
                salesforce.change(&id, "Score__c", poison, "2024-05-01T10:00:00Z");
            }
        }
        salesforce.requests = Meter::new(30, Duration::from_secs(10));
        salesforce.takes = Duration::from_millis(250);
        salesforce.token_life = Duration::from_secs(9);
        (salesforce.faults, salesforce.lost) = (0.15, 0.05);
    }
    let org = open(&fake, &pace, json!({ "limits": { "requests_per_10_seconds": 30 } }));
    let stream = json!({ "object": "Contact", "fields": ["Ext__c", "Score__c"] });
    let mut request = ReadRequest::full(stream, now());
    request.page_rows = 900;
    let pages = read(&org, &request).await.unwrap();
    let bad: Vec<_> = pages.iter().flat_map(|page| &page.rejected).collect();
    let mut found = column(&pages, "Ext__c");
    assert_eq!((found.len(), bad.len()), (9_990, 10));
    for bad in bad {
        assert!(bad.code == "type-mismatch" && bad.raw.contains("poison"), "{bad:?}");
    }
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 9_990, "no contact twice");
    let salesforce = salesforce.lock().unwrap();
    assert_eq!(salesforce.requests.exceeded, 0, "the limit of the org was never exceeded");
    assert!(salesforce.tokens >= 2 && salesforce.refused_tokens >= 1, "{}", salesforce.tokens);
    assert!(salesforce.faulted >= 3, "{} faults", salesforce.faulted);
}

#[tokio::test]
async fn an_incremental_read_goes_by_modstamp_and_brings_deletions() {
    let pace = FakePace::new();
    let (fake, salesforce) = FakeSalesforce::start(&pace).await;
    let mut ids = Vec::new();
    for n in 0..500 {
        ids.push(salesforce.lock().unwrap().add(&format!("e{n:04}"), "2024-05-01T10:00:00Z"));
    }
    let org = open(&fake, &pace, json!({}));
    let stream = json!({ "object": "Contact", "fields": ["Ext__c"], "deleted": true });
    let mut request = ReadRequest::incremental(stream, now());
    request.write_appends = true;
    request.page_rows = 200;
    let pages = read(&org, &request).await.unwrap();
    assert_eq!(column(&pages, "Ext__c").len(), 500);
    request.from = pages.last().map(|page| page.position.clone());
    assert!(read(&org, &request).await.unwrap().is_empty());
    {
        let mut salesforce = salesforce.lock().unwrap();
        salesforce.change(&ids[7], "LastName", json!("new"), "2024-05-02T10:00:00Z");
        salesforce.change(&ids[9], "IsDeleted", json!(true), "2024-05-02T11:00:00Z");
    }
    let pages = read(&org, &request).await.unwrap();
    assert_eq!(column(&pages, "Ext__c"), ["e0007", "e0009"]);
    assert_eq!(column(&pages, "IsDeleted"), ["false", "true"]);
    let mut other = request.clone();
    other.mode = ReadMode::Incremental { cursor: Some("CreatedDate".into()), lag: None };
    assert!(read(&org, &other).await.unwrap_err().hint_text().unwrap().contains("SystemModstamp"));
}

#[tokio::test]
async fn a_forgotten_locator_loses_and_repeats_nothing() {
    for incremental in [false, true] {
        let pace = FakePace::new();
        let (fake, salesforce) = FakeSalesforce::start(&pace).await;
        for n in 0..700 {
            salesforce.lock().unwrap().add(&format!("e{n:04}"), "2024-05-01T10:00:00Z");
        }
        let org = open(&fake, &pace, json!({}));
        let stream = json!({ "object": "Contact", "fields": ["Ext__c"] });
        let mut request = match incremental {
            true => ReadRequest::incremental(stream, now()),
            false => ReadRequest::full(stream, now()),
        };
        request.page_rows = 200;
        let whole = read(&org, &request).await.unwrap();
        request.from = Some(whole[1].position.clone());
        salesforce.lock().unwrap().forget_locators = true;
        let rest = read(&org, &request).await.unwrap();
        let mut found = column(&whole[..2], "Ext__c");
        found.extend(column(&rest, "Ext__c"));
        assert_eq!(found, (0..700).map(|n| format!("e{n:04}")).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn mistakes_and_a_used_up_quota_are_explained() {
    let pace = FakePace::new();
    let (fake, salesforce) = FakeSalesforce::start(&pace).await;
    let org = open(&fake, &pace, json!({}));
    for (stream, words) in [
        (json!({ "object": "Contact; DROP" }), "API name"),
        (json!({ "object": "Contact", "fields": ["Id FROM User"] }), "API name"),
        (json!({ "object": "Contact", "fields": ["Nope"] }), "reference"),
    ] {
        let error = read(&org, &ReadRequest::full(stream, now())).await.unwrap_err();
        assert!(error.hint_text().unwrap().contains(words), "{}", error.report());
    }
    salesforce.lock().unwrap().used = 89_999;
    org.check().await.unwrap();
    assert_eq!(
        org.check().await.unwrap_err().kind(),
        ErrorKind::Exhausted,
        "a tenth is for others"
    );
    let org = open(&fake, &pace, json!({ "daily_reserve": 0.0 }));
    salesforce.lock().unwrap().used = 100_000;
    let error = org.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(error.message().contains("24 hours"), "{error}");
}

/// An org with contacts of every kind, in a fake of it.
async fn many(count: usize) -> (Arc<FakePace>, Fake, Arc<Mutex<FakeSalesforce>>) {
    let pace = FakePace::new();
    let (fake, salesforce) = FakeSalesforce::start(&pace).await;
    {
        let mut salesforce = salesforce.lock().unwrap();
        for n in 0..count {
            let id = salesforce.add(&format!("e{n:04}"), "2024-05-01T10:00:00Z");
            let at = format!("2024-05-02T10:{:02}:00Z", n % 60);
            let name = ["plain", "two\nlines", "a, \"b\"", " edge ", "名"][n % 5];
            salesforce.change(&id, "LastName", json!(name), &at);
            if n % 7 == 3 {
                salesforce.change(&id, "Score__c", Value::Null, &at);
            }
            salesforce.change(&id, "IsDeleted", json!(n % 10 == 9), &at);
        }
    }
    (pace, fake, salesforce)
}

fn sorted(pages: &[Page]) -> Vec<Vec<String>> {
    let mut rows = cells(pages);
    rows.sort();
    rows
}

#[tokio::test]
async fn a_query_job_brings_what_the_rest_api_does() {
    let (pace, fake, salesforce) = many(700).await;
    let org = Org { job_rows: 250, ..open(&fake, &pace, json!({})) };
    for deleted in [false, true] {
        let by = |bulk: &str| {
            let stream = json!({ "object": "Contact", "deleted": deleted, "bulk": bulk });
            ReadRequest::full(stream, now())
        };
        let (rest, job) = (by("never"), by("always"));
        let expected = read(&org, &rest).await.unwrap();
        let found = read(&org, &job).await.unwrap();
        assert_eq!(found[0].batch.schema(), expected[0].batch.schema());
        assert_eq!(sorted(&found), sorted(&expected));
        assert_eq!(sorted(&found).len(), if deleted { 700 } else { 630 });
        let names = column(&found, "LastName");
        assert!(names.contains(&"two\nlines".to_owned()) && names.contains(&"名".to_owned()));
        // An incremental read takes a job, too, and knows what it had.
        let mut changes = ReadRequest::incremental(job.stream.clone(), now());
        let pages = read(&org, &changes).await.unwrap();
        assert_eq!(sorted(&pages), sorted(&expected));
        changes.from = pages.last().map(|page| page.position.clone());
        assert!(read(&org, &changes).await.unwrap().is_empty());
    }
    // Each request is in the day's count: a job costs its making, three looks and its answers.
    let before = (salesforce.lock().unwrap().used, fake.count());
    let stream = json!({ "object": "Contact", "bulk": "always" });
    read(&org, &ReadRequest::full(stream, now())).await.unwrap();
    assert_eq!(salesforce.lock().unwrap().used - before.0, 1 + 1 + 3 + 3);
    assert_eq!(fake.count() - before.1, 1 + 1 + 3 + 3);
}

#[tokio::test]
async fn a_read_by_a_job_goes_on_behind_every_page() {
    let (pace, fake, salesforce) = many(400).await;
    let org = Org { job_rows: 90, ..open(&fake, &pace, json!({})) };
    let stream = json!({ "object": "Contact", "fields": ["Ext__c"], "bulk": "always" });
    let mut request = ReadRequest::full(stream, now());
    request.page_rows = 40;
    let whole = read(&org, &request).await.unwrap();
    let expected = column(&whole, "Ext__c");
    assert_eq!(expected.len(), 360);
    let jobs = salesforce.lock().unwrap().query_jobs_created;
    for cut in 0..whole.len() - 1 {
        request.from = Some(whole[cut].position.clone());
        assert!(org.is_as_read(&request).await.unwrap(), "page {cut}");
        let rest = read(&org, &request).await.unwrap();
        let mut found = column(&whole[..=cut], "Ext__c");
        found.extend(column(&rest, "Ext__c"));
        assert_eq!(found, expected, "cut after page {cut}");
    }
    assert_eq!(salesforce.lock().unwrap().query_jobs_created, jobs, "no new job is needed");
    // Half-way through the REST API nothing says which records were seen.
    let by_rest = json!({ "object": "Contact", "fields": ["Ext__c"], "bulk": "never" });
    let mut other = ReadRequest::full(by_rest, now());
    other.page_rows = 40;
    other.from = Some(read(&org, &other).await.unwrap()[1].position.clone());
    assert!(!org.is_as_read(&other).await.unwrap());

    // A week later the results are gone: nothing is made up, and the read is told to begin anew.
    request.from = Some(whole[2].position.clone());
    pace.advance(Duration::from_secs(8 * 86_400));
    assert!(!org.is_as_read(&request).await.unwrap());
    let error = read(&org, &request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.report().contains("seven days"), "{}", error.report());
}

#[tokio::test]
async fn a_job_is_taken_for_many_records_and_deleted_once_they_are_stored() {
    let (pace, fake, salesforce) = many(300).await;
    let org = open(&fake, &pace, json!({}));
    let request = |more: Value| {
        let mut stream = json!({ "object": "Contact", "bulk_above": 200 });
        stream.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ReadRequest::full(stream, now())
    };
    let notices = |pages: &[Page]| -> Vec<String> {
        pages.iter().flat_map(|page| &page.notices).map(|notice| notice.message.clone()).collect()
    };
    let made = || salesforce.lock().unwrap().query_jobs_created;
    let pages = read(&org, &request(json!({}))).await.unwrap();
    assert_eq!((column(&pages, "Id").len(), made()), (270, 1));
    assert!(notices(&pages)[0].contains("270 records are more than 200"), "{:?}", notices(&pages));
    assert_eq!(salesforce.lock().unwrap().query_jobs.len(), 1);
    let stored = pages.last().map(|page| page.position.clone());
    let read_of = ReadRequest { from: stored, ..request(json!({})) };
    let told = ChangesRequest { name: "me".to_owned(), streams: vec![read_of], follow: false };
    org.acknowledge(&told).await.unwrap();
    assert!(salesforce.lock().unwrap().query_jobs.is_empty());
    org.acknowledge(&told).await.unwrap();

    // Few records, or those whose reads would not know each other's, come by the REST API.
    let pages = read(&org, &request(json!({ "bulk_above": 270 }))).await.unwrap();
    assert_eq!((column(&pages, "Id").len(), notices(&pages).len(), made()), (270, 0, 1));
    let mut appends = request(json!({}));
    appends.mode = ReadMode::Incremental { cursor: None, lag: None };
    appends.write_appends = true;
    assert_eq!((column(&read(&org, &appends).await.unwrap(), "Id").len(), made()), (270, 1));
    // What has no jobs is read all the same.
    salesforce.lock().unwrap().no_query_jobs = true;
    let pages = read(&org, &request(json!({}))).await.unwrap();
    assert_eq!((column(&pages, "Id").len(), made()), (270, 1));
    let error = read(&org, &request(json!({ "bulk": "always" }))).await.unwrap_err();
    assert!(error.report().contains("not supported"), "{}", error.report());
    // What takes the REST API too long is read by a job.
    salesforce.lock().unwrap().no_query_jobs = false;
    salesforce.lock().unwrap().slow = true;
    let pages = read(&org, &request(json!({ "bulk_above": 1_000 }))).await.unwrap();
    assert_eq!((column(&pages, "Id").len(), made()), (270, 2));
    assert!(notices(&pages)[0].contains("too long"), "{:?}", notices(&pages));
}

#[tokio::test]
async fn a_job_that_fails_says_why_and_a_used_up_quota_stops_the_read() {
    let (pace, fake, salesforce) = many(30).await;
    let org = open(&fake, &pace, json!({}));
    let request = ReadRequest::full(json!({ "object": "Contact", "bulk": "always" }), now());
    salesforce.lock().unwrap().query_jobs_fail = Some("InvalidBatch : Failed to process query");
    let error = read(&org, &request).await.unwrap_err();
    assert!(error.report().contains("Failed to process query"), "{}", error.report());
    salesforce.lock().unwrap().query_jobs_fail = None;
    salesforce.lock().unwrap().query_jobs_max = 1;
    let error = read(&org, &request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(error.hint_text().unwrap().contains("tomorrow"), "{}", error.report());
    salesforce.lock().unwrap().query_jobs_max = 10;
    // The requests of the day end while the job is waited for: it is none of ours any more.
    salesforce.lock().unwrap().used = 89_998;
    let error = read(&org, &request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{}", error.report());
    let wrong = json!({ "object": "Contact", "fields": ["Nope"], "bulk": "always" });
    salesforce.lock().unwrap().used = 0;
    pace.advance(Duration::from_secs(86_400));
    let error = read(&org, &ReadRequest::full(wrong, now())).await.unwrap_err();
    assert!(error.message().contains("Nope"), "{}", error.report());
}
