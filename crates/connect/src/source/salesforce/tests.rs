//! What a user sees of a Salesforce org.

use std::time::Duration;

use flywheel_base::ErrorKind;
use futures::TryStreamExt;

use super::*;
use crate::http::fake::salesforce::FakeSalesforce;
use crate::http::fake::{Fake, FakePace};
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
