//! What becomes of rows that are sent to a Salesforce org.

use std::collections::BTreeSet;
use std::time::Duration;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray};
use flywheel_base::{Timestamp, env};

use super::*;
use crate::destination::{Checkpoint, NewTargetColumns};
use crate::http::fake::salesforce::FakeSalesforce;
use crate::http::fake::{Fake, FakePace, Meter};
use crate::page::Position;

fn open(fake: &Fake, pace: &Arc<FakePace>, folder: &tempfile::TempDir) -> SalesforceDestination {
    open_with(&json!({}), fake, pace, folder)
}

fn open_with(
    limits: &Value,
    fake: &Fake,
    pace: &Arc<FakePace>,
    folder: &tempfile::TempDir,
) -> SalesforceDestination {
    let auth = json!({ "type": "oauth2", "token_url": format!("{}/services/oauth2/token", fake.url),
                       "client_id": "me", "client_secret": "hush" });
    let settings =
        json!({ "instance_url": fake.url, "auth": auth, "allow_private": true, "limits": limits });
    let salesforce: Salesforce = serde_json::from_value(settings).unwrap();
    let ctx = DestinationContext { base_dir: folder.path().to_owned(), connection: "to".into() };
    salesforce.writing(&ctx, Arc::clone(pace) as Arc<dyn Pace>).unwrap()
}

fn contacts(numbers: std::ops::Range<usize>) -> RecordBatch {
    let text = |value: &dyn Fn(usize) -> String| {
        Arc::new(StringArray::from_iter_values(numbers.clone().map(value))) as ArrayRef
    };
    let mail =
        |n: usize| if n % 1_000 == 500 { format!("poison-{n}") } else { format!("c{n}@x.org") };
    RecordBatch::try_from_iter([
        ("Ext__c", text(&|n| format!("e{n}"))),
        ("Email", text(&mail)),
        ("LastName", text(&|n| format!("Smith, \"{n}\""))),
        (
            "Score__c",
            Arc::new(Float64Array::from_iter(
                numbers.clone().map(|n| (n % 2 == 0).then_some(n as f64)),
            )) as ArrayRef,
        ),
        (
            "gone",
            Arc::new(BooleanArray::from_iter(numbers.clone().map(|n| Some(n % 7 == 3))))
                as ArrayRef,
        ),
    ])
    .unwrap()
}

fn request(batch: &RecordBatch, mode: WriteMode) -> WriteRequest {
    WriteRequest {
        target: json!({ "object": "Contact" }),
        app: "crm/contacts".into(),
        schema: batch.schema(),
        mode,
        key: vec!["Ext__c".into()],
        deleted: (mode == WriteMode::Mirror).then(|| "gone".into()),
        new_columns: NewTargetColumns::Ignore,
        now: Timestamp::parse("2024-06-01").unwrap(),
    }
}

fn without_marks(batch: &RecordBatch) -> RecordBatch {
    batch.project(&[0, 1, 2, 3]).unwrap()
}

fn checkpoint(sequence: i64) -> Checkpoint {
    Checkpoint { sequence, position: Position(json!(sequence)) }
}

#[tokio::test]
async fn few_rows_go_by_composite_requests_and_bad_ones_are_named() {
    let (pace, folder) = (FakePace::new(), tempfile::tempdir().unwrap());
    let (fake, salesforce) = FakeSalesforce::start(&pace).await;
    salesforce.lock().unwrap().locked = vec!["e3".into(), "e700".into()];
    let batch = without_marks(&contacts(0..1_000));
    let destination = open(&fake, &pace, &folder);
    let mut writer = destination.writer(&request(&batch, WriteMode::Merge)).await.unwrap();
    let refused = writer.write(&batch).await.unwrap();
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].row, refused[0].code.as_str()), (500, "invalid-email-address"));
    assert_eq!(refused[0].column.as_deref(), Some("Email"));
    assert!(!refused[0].reason.contains("poison"), "{refused:?}");
    assert_eq!(writer.commit(&checkpoint(1)).await.unwrap().rows_written, 999);
    let salesforce = salesforce.lock().unwrap();
    assert_eq!((salesforce.contacts.len(), salesforce.jobs_created), (999, 0));
    assert_eq!(fake.count(), 1 + 5 + 1, "a token, five requests, the locked rows once more");
}

#[tokio::test]
async fn many_rows_go_by_a_bulk_job_and_every_row_has_its_fate() {
    let (pace, folder) = (FakePace::new(), tempfile::tempdir().unwrap());
    let (fake, salesforce) = FakeSalesforce::start(&pace).await;
    {
        let mut salesforce = salesforce.lock().unwrap();
        salesforce.locked = vec!["e17".into()];
        // The org gives up in the middle of the first job.
        salesforce.job_stops_after = Some(6_000);
        salesforce.token_life = Duration::from_secs(5);
    }
    let batch = without_marks(&contacts(0..10_000));
    let destination = open(&fake, &pace, &folder);
    let mut writer = destination.writer(&request(&batch, WriteMode::Merge)).await.unwrap();
    let refused = writer.write(&batch).await.unwrap();
    let places: Vec<usize> = refused.iter().map(|refused| refused.row).collect();
    assert_eq!(places, (0..10).map(|n| n * 1_000 + 500).collect::<Vec<_>>());
    assert_eq!(
        (refused[0].code.as_str(), refused[0].column.as_deref()),
        ("invalid-email-address", Some("Email"))
    );
    assert!(!refused[0].reason.contains("poison"), "{refused:?}");
    assert_eq!(writer.commit(&checkpoint(1)).await.unwrap().rows_written, 9_990);
    let salesforce = salesforce.lock().unwrap();
    assert_eq!((salesforce.contacts.len(), salesforce.jobs_created), (9_990, 2));
    let e1 = salesforce.contacts.values().find(|contact| contact["Ext__c"] == json!("e1")).unwrap();
    assert_eq!((&e1["LastName"], &e1["Score__c"]), (&json!("Smith, \"1\""), &Value::Null));
    assert!(salesforce.tokens >= 2, "a token ended while a job ran");
}

#[tokio::test]
async fn ten_thousand_contacts_arrive_once_over_faults_lost_answers_and_tokens_that_end() {
    // By composite requests, and by a job, whose data is uploaded only once.
    for (bulk_above, lost, token_life_s) in [(20_000, 0.05, 9), (2_000, 0.0, 5)] {
        let by_job = bulk_above < 10_000;
        let (pace, folder) = (FakePace::new(), tempfile::tempdir().unwrap());
        let (fake, salesforce) = FakeSalesforce::start(&pace).await;
        {
            let mut salesforce = salesforce.lock().unwrap();
            salesforce.requests = Meter::new(30, Duration::from_secs(10));
            salesforce.takes = Duration::from_millis(250);
            salesforce.token_life = Duration::from_secs(token_life_s);
            (salesforce.faults, salesforce.lost) = (0.15, lost);
            salesforce.locked = vec!["e3".into(), "e7000".into()];
        }
        let limits = json!({ "requests_per_10_seconds": 30 });
        let destination = open_with(&limits, &fake, &pace, &folder);
        let batch = without_marks(&contacts(0..10_000));
        let target = json!({ "object": "Contact", "bulk_above": bulk_above });
        let write = WriteRequest { target, ..request(&batch, WriteMode::Merge) };
        let mut writer = destination.writer(&write).await.unwrap();
        let refused = writer.write(&batch).await.unwrap();
        let places: Vec<usize> = refused.iter().map(|refused| refused.row).collect();
        assert_eq!(places, (0..10).map(|n| n * 1_000 + 500).collect::<Vec<_>>(), "only those");
        assert_eq!(writer.commit(&checkpoint(1)).await.unwrap().rows_written, 9_990);

        let salesforce = salesforce.lock().unwrap();
        assert_eq!(salesforce.contacts.len(), 9_990, "{bulk_above}");
        let mut found = BTreeSet::new();
        for contact in salesforce.contacts.values() {
            let ext = contact["Ext__c"].as_str().unwrap();
            assert_eq!(contact["Email"], json!(format!("c{}@x.org", &ext[1..])));
            assert_eq!(contact["LastName"], json!(format!("Smith, \"{}\"", &ext[1..])));
            found.insert(ext.to_owned());
        }
        assert_eq!(found.len(), 9_990, "each of them once");
        assert_eq!(salesforce.jobs_created > 0, by_job, "{} jobs", salesforce.jobs_created);
        assert_eq!(salesforce.requests.exceeded, 0, "the limit of the org was never exceeded");
        assert!(salesforce.tokens >= 2 && salesforce.refused_tokens >= 1, "{}", salesforce.tokens);
        // A job takes few requests, so that it may meet no fault.
        assert!(by_job || salesforce.faulted >= 3, "{} faults", salesforce.faulted);
    }
}

#[tokio::test]
async fn deleted_rows_are_removed_by_their_external_id() {
    let (pace, folder) = (FakePace::new(), tempfile::tempdir().unwrap());
    let (fake, salesforce) = FakeSalesforce::start(&pace).await;
    for n in 0..20 {
        salesforce.lock().unwrap().add(&format!("e{n}"), "2024-05-01");
    }
    let batch = contacts(0..10);
    let destination = open(&fake, &pace, &folder);
    let mut writer = destination.writer(&request(&batch, WriteMode::Mirror)).await.unwrap();
    assert!(writer.write(&batch).await.unwrap().is_empty());
    let written = writer.commit(&checkpoint(1)).await.unwrap();
    assert_eq!((written.rows_written, written.rows_deleted), (9, 1));
    let gone: Vec<Value> = salesforce
        .lock()
        .unwrap()
        .contacts
        .values()
        .filter(|contact| contact["IsDeleted"] == json!(true))
        .map(|contact| contact["Ext__c"].clone())
        .collect();
    assert_eq!(gone, [json!("e3")]);
}

#[tokio::test]
async fn impossible_targets_are_refused_with_a_hint() {
    let (pace, folder) = (FakePace::new(), tempfile::tempdir().unwrap());
    let (fake, _) = FakeSalesforce::start(&pace).await;
    let batch = without_marks(&contacts(0..1));
    let destination = open(&fake, &pace, &folder);
    let good = request(&batch, WriteMode::Merge);
    for wrong in [
        WriteRequest { mode: WriteMode::Append, key: Vec::new(), ..good.clone() },
        WriteRequest { key: vec!["Ext__c".into(), "Email".into()], ..good.clone() },
        WriteRequest { target: json!({ "object": "Contact/x" }), ..good.clone() },
        WriteRequest {
            target: json!({ "object": "Contact", "external_id": "Other__c" }),
            ..good.clone()
        },
        WriteRequest { key: vec!["Ext".into()], ..good.clone() },
    ] {
        let error = destination.writer(&wrong).await.err().unwrap();
        assert!(error.hint_text().is_some(), "{}", error.report());
    }
    assert_eq!(fake.count(), 0);
}

/// Real exports, if they are on this machine.
#[tokio::test]
async fn rows_of_a_real_export_go_out_and_none_is_lost() {
    let data = env::optional("FLYWHEEL_DATA")
        .unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data").to_owned());
    let path = std::path::Path::new(&data).join("salesforce/sf_contact_data.csv");
    let Ok(bytes) = std::fs::read(&path) else {
        println!("SKIPPED: {} is not there; set FLYWHEEL_DATA to have it checked", path.display());
        return;
    };
    let pages = crate::source::csv::decode(bytes, Default::default(), &[], 1_000).unwrap();
    let rows: usize = pages.iter().map(|page| page.batch.num_rows()).sum();
    assert!(rows > 0);
    let (pace, folder) = (FakePace::new(), tempfile::tempdir().unwrap());
    let (fake, salesforce) = FakeSalesforce::start(&pace).await;
    let destination = open(&fake, &pace, &folder);
    let mut taken = 0;
    for page in &pages {
        let schema = page.batch.schema();
        let fields = schema.fields().iter().map(|field| match field.name().as_str() {
            "id" => field.as_ref().clone().with_name("Ext__c"),
            "email" => field.as_ref().clone().with_name("Email"),
            _ => field.as_ref().clone(),
        });
        let schema = Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()));
        let batch = RecordBatch::try_new(schema, page.batch.columns().to_vec()).unwrap();
        let mut writer = destination.writer(&request(&batch, WriteMode::Merge)).await.unwrap();
        taken += batch.num_rows() - writer.write(&batch).await.unwrap().len();
    }
    assert_eq!(salesforce.lock().unwrap().contacts.len(), taken);
}

#[tokio::test]
async fn a_plan_knows_how_many_requests_rows_take() {
    let (pace, folder) = (FakePace::new(), tempfile::tempdir().unwrap());
    let (fake, _salesforce) = FakeSalesforce::start(&pace).await;
    let destination = open(&fake, &pace, &folder);
    let write = request(&without_marks(&contacts(0..1)), WriteMode::Merge);
    let of = |put, removed| destination.requests(&write, Estimate { put, removed }).unwrap();
    assert_eq!((of(0, 0), of(201, 0), of(0, 3)), (Some(0), Some(2), Some(3)));
    // Two pages are two jobs, and 200 rows more a request.
    assert_eq!(of(40_200, 0), Some(13));
    assert_eq!(fake.count(), 0, "nothing is sent");
}
