//! What becomes of rows that are sent to a HubSpot account.

use std::collections::BTreeSet;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use flywheel_base::{ErrorKind, Timestamp, env};
use serde_json::Value;

use super::*;
use crate::destination::{Checkpoint, NewTargetColumns};
use crate::http::fake::hubspot::FakeHubSpot;
use crate::http::fake::{Fake, FakePace};
use crate::page::Position;

fn open(fake: &Fake, pace: &Arc<FakePace>, folder: &tempfile::TempDir) -> HubSpotDestination {
    open_with("pat-1", fake, pace, folder)
}

fn open_with(
    token: &str,
    fake: &Fake,
    pace: &Arc<FakePace>,
    folder: &tempfile::TempDir,
) -> HubSpotDestination {
    let settings = json!({ "token": token, "base_url": fake.url, "allow_private": true });
    let hubspot: HubSpot = serde_json::from_value(settings).unwrap();
    let ctx = DestinationContext { base_dir: folder.path().to_owned(), connection: "to".into() };
    hubspot.writing(&ctx, &(Arc::clone(pace) as Arc<dyn Pace>)).unwrap()
}

fn request(target: Value, batch: &RecordBatch, key: &str) -> WriteRequest {
    WriteRequest {
        target,
        app: "crm/contacts".into(),
        schema: batch.schema(),
        mode: WriteMode::Merge,
        key: vec![key.into()],
        deleted: None,
        new_columns: NewTargetColumns::Ignore,
        now: Timestamp::parse("2024-06-01").unwrap(),
    }
}

fn texts(columns: &[(&str, Vec<Option<String>>)]) -> RecordBatch {
    let column =
        |values: &Vec<Option<String>>| Arc::new(StringArray::from(values.clone())) as ArrayRef;
    RecordBatch::try_from_iter(columns.iter().map(|(name, values)| (*name, column(values))))
        .unwrap()
}

/// Ten thousand contacts, of which one in each thousand has an address that is none.
fn ten_thousand() -> RecordBatch {
    let email = |n: usize| {
        if n % 1_000 == 500 { format!("poison-{n}") } else { format!("c{n}@example.com") }
    };
    let emails = (0..10_000).map(|n| Some(email(n))).collect();
    let names = (0..10_000).map(|n| (n % 2 == 0).then(|| format!("N{n}"))).collect();
    texts(&[("email", emails), ("firstname", names)])
}

fn checkpoint(sequence: i64) -> Checkpoint {
    Checkpoint { sequence, position: Position(json!(sequence)) }
}

#[tokio::test]
async fn ten_thousand_contacts_are_upserted_and_ten_bad_ones_named() {
    let (pace, folder) = (FakePace::new(), tempfile::tempdir().unwrap());
    let (fake, hubspot) = FakeHubSpot::start(&pace).await;
    hubspot.lock().unwrap().faults = 0.1;
    let batch = ten_thousand();
    let destination = open(&fake, &pace, &folder);
    let write = request(json!({ "object": "contacts" }), &batch, "email");
    let mut writer = destination.writer(&write).await.unwrap();
    let refused = writer.write(&batch).await.unwrap();
    let places: Vec<usize> = refused.iter().map(|refused| refused.row).collect();
    assert_eq!(places, (0..10).map(|n| n * 1_000 + 500).collect::<Vec<_>>());
    assert_eq!(refused[0].reason, "Email address … is invalid");
    assert_eq!(
        (refused[0].code.as_str(), refused[0].column.as_deref()),
        ("validation-error", Some("email"))
    );
    assert_eq!(writer.commit(&checkpoint(1)).await.unwrap().rows_written, 9_990);
    {
        let hubspot = hubspot.lock().unwrap();
        assert_eq!(hubspot.contacts.len(), 9_990);
        assert_eq!(hubspot.requests.exceeded, 0, "the limit was never exceeded");
    }
    // Once more: only what was refused goes out.
    let before = fake.count();
    assert_eq!(writer.write(&batch).await.unwrap().len(), 10);
    let sent: usize = fake.seen()[before..]
        .iter()
        .filter(|seen| seen.path.ends_with("upsert"))
        .map(|seen| seen.json()["inputs"].as_array().unwrap().len())
        .max()
        .unwrap();
    assert_eq!(sent, 10);
}

#[tokio::test]
async fn ten_thousand_contacts_arrive_once_over_faults_lost_answers_and_a_token_that_is_replaced() {
    let (pace, folder) = (FakePace::new(), tempfile::tempdir().unwrap());
    let (fake, hubspot) = FakeHubSpot::start(&pace).await;
    {
        let mut hubspot = hubspot.lock().unwrap();
        (hubspot.faults, hubspot.lost) = (0.1, 0.05);
        // Somebody replaces the token in the middle; a token of an app does not renew itself.
        hubspot.token_requests = 50;
    }
    let batch = ten_thousand();
    let write = request(json!({ "object": "contacts" }), &batch, "email");
    let destination = open(&fake, &pace, &folder);
    let mut writer = destination.writer(&write).await.unwrap();
    let error = writer.write(&batch).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.report());
    drop(writer);
    {
        let mut hubspot = hubspot.lock().unwrap();
        let there = hubspot.contacts.len();
        assert!((1..9_990).contains(&there), "{there} contacts");
        assert_eq!(hubspot.refused_tokens, 1, "nobody knocks again with a token that was refused");
        (hubspot.token, hubspot.token_requests) = ("pat-2".to_owned(), usize::MAX);
    }

    // The next run has the same rows again, as no checkpoint tells of them.
    let destination = open_with("pat-2", &fake, &pace, &folder);
    let mut writer = destination.writer(&write).await.unwrap();
    let refused = writer.write(&batch).await.unwrap();
    let places: Vec<usize> = refused.iter().map(|refused| refused.row).collect();
    assert_eq!(places, (0..10).map(|n| n * 1_000 + 500).collect::<Vec<_>>(), "only those");
    writer.commit(&checkpoint(1)).await.unwrap();
    {
        let hubspot = hubspot.lock().unwrap();
        assert_eq!(hubspot.contacts.len(), 9_990);
        let mut names = BTreeSet::new();
        for contact in hubspot.contacts.values() {
            let email = contact.properties["email"].clone();
            let number: usize = email[1..].split('@').next().unwrap().parse().unwrap();
            let name = number.is_multiple_of(2).then(|| format!("N{number}"));
            assert_eq!(contact.properties.get("firstname"), name.as_ref(), "{email}");
            names.insert(email);
        }
        assert_eq!(names.len(), 9_990, "each of them once");
        assert_eq!(hubspot.requests.exceeded, 0, "the limit was never exceeded");
        assert!(hubspot.faulted >= 5, "{} faults", hubspot.faulted);
    }

    // What was refused is tried again, and nothing else is sent a second time.
    let before = fake.count();
    assert_eq!(writer.write(&batch).await.unwrap().len(), 10);
    let mut again = BTreeSet::new();
    for seen in fake.seen()[before..].iter().filter(|seen| seen.path.ends_with("upsert")) {
        let body = seen.json();
        let inputs = body["inputs"].as_array().unwrap().iter();
        again.extend(inputs.map(|input| input["id"].as_str().unwrap().to_owned()));
    }
    assert_eq!(again.len(), 10, "{again:?}");
    assert!(again.iter().all(|id| id.starts_with("poison")), "{again:?}");
}

#[tokio::test]
async fn an_empty_value_clears_the_property_and_equal_addresses_do_not_spoil_a_batch() {
    let (pace, folder) = (FakePace::new(), tempfile::tempdir().unwrap());
    let (fake, hubspot) = FakeHubSpot::start(&pace).await;
    let some =
        |texts: &[&str]| texts.iter().map(|text| Some((*text).to_owned())).collect::<Vec<_>>();
    let batch = texts(&[
        ("email", some(&["a@x.org", "A@x.org", "b@x.org"])),
        ("company", some(&["X", "Y", "Z"])),
    ]);
    let destination = open(&fake, &pace, &folder);
    let write = request(json!({ "object": "contacts" }), &batch, "email");
    let mut writer = destination.writer(&write).await.unwrap();
    assert!(writer.write(&batch).await.unwrap().is_empty());
    let batch = texts(&[("email", some(&["a@x.org"])), ("company", vec![None])]);
    assert!(writer.write(&batch).await.unwrap().is_empty());
    let hubspot = hubspot.lock().unwrap();
    assert_eq!(hubspot.contacts.len(), 2);
    assert_eq!(hubspot.contacts[&1].properties.get("company"), None);
    assert_eq!(hubspot.contacts[&2].properties["company"], "Z");
}

#[tokio::test]
async fn records_are_removed_by_their_id() {
    let (pace, folder) = (FakePace::new(), tempfile::tempdir().unwrap());
    let (fake, hubspot) = FakeHubSpot::start(&pace).await;
    for n in 0..3 {
        hubspot.lock().unwrap().add(&format!("c{n}@x.org"), 0);
    }
    let ids = Arc::new(StringArray::from(vec!["1", "2", "3"])) as ArrayRef;
    let gone = Arc::new(BooleanArray::from(vec![false, true, true])) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("hs_object_id", ids), ("gone", gone)]).unwrap();
    let destination = open(&fake, &pace, &folder);
    let mut write = request(json!({ "object": "contacts" }), &batch, "hs_object_id");
    (write.mode, write.deleted) = (WriteMode::Mirror, Some("gone".into()));
    let mut writer = destination.writer(&write).await.unwrap();
    assert!(writer.write(&batch).await.unwrap().is_empty());
    assert_eq!(writer.commit(&checkpoint(1)).await.unwrap().rows_deleted, 2);
    let archived: Vec<bool> =
        hubspot.lock().unwrap().contacts.values().map(|record| record.archived).collect();
    assert_eq!(archived, [false, true, true]);
    drop(writer);
    write.target = json!({ "object": "contacts", "id_property": "email" });
    let error = destination.writer(&write).await.err().unwrap();
    assert!(error.hint_text().unwrap().contains("hs_object_id"), "{error}");
    write.mode = WriteMode::Append;
    assert!(destination.writer(&write).await.is_err());
}

/// Real exports of the companies that the seed names, if they are on this machine.
#[tokio::test]
async fn rows_of_a_real_export_go_out_and_none_is_lost() {
    let data = env::optional("FLYWHEEL_DATA")
        .unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data").to_owned());
    let path = std::path::Path::new(&data).join("hubspot/contact_data.csv");
    let Ok(bytes) = std::fs::read(&path) else {
        println!("SKIPPED: {} is not there; set FLYWHEEL_DATA to have it checked", path.display());
        return;
    };
    let pages = crate::source::csv::decode(bytes, Default::default(), &[], 1_000).unwrap();
    let (pace, folder) = (FakePace::new(), tempfile::tempdir().unwrap());
    let (fake, hubspot) = FakeHubSpot::start(&pace).await;
    let schema = pages[0].batch.schema();
    let known: BTreeSet<String> =
        schema.fields().iter().map(|field| field.name().clone()).collect();
    hubspot.lock().unwrap().properties.extend(known);
    let destination = open(&fake, &pace, &folder);
    let mut write = request(json!({ "object": "contacts" }), &pages[0].batch, "property_email");
    write.schema = schema;
    let mut writer = destination.writer(&write).await.unwrap();
    let (mut rows, mut refused) = (0, 0);
    for page in &pages {
        rows += page.batch.num_rows();
        refused += writer.write(&page.batch).await.unwrap().len();
    }
    let written = writer.commit(&checkpoint(1)).await.unwrap();
    assert!(rows > 0);
    assert_eq!(written.rows_written as usize + refused, rows);
}

#[tokio::test]
async fn a_plan_knows_how_many_requests_rows_take() {
    let (pace, folder) = (FakePace::new(), tempfile::tempdir().unwrap());
    let (fake, _hubspot) = FakeHubSpot::start(&pace).await;
    let destination = open(&fake, &pace, &folder);
    let batch = texts(&[("email", Vec::new())]);
    let write = request(json!({ "object": "contacts" }), &batch, "email");
    let of = |put, removed| destination.requests(&write, Estimate { put, removed }).unwrap();
    assert_eq!((of(0, 0), of(100, 0), of(101, 1)), (Some(0), Some(1), Some(3)));
    assert_eq!(fake.count(), 0, "nothing is sent");
}
