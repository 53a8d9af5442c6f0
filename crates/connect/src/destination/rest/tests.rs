//! What becomes of rows that are sent to a web API.

use std::collections::BTreeMap;
use std::sync::Mutex;

use arrow::array::{ArrayRef, BooleanArray, Decimal128Array, Int64Array, RecordBatch, StringArray};
use flywheel_base::{ErrorKind, Timestamp};
use serde_json::json;

use super::*;
use crate::destination::{Checkpoint, NewTargetColumns, Refused};
use crate::http::fake::{Fake, FakePace, Reply, Seen};
use crate::page::Position;

/// The contacts a fake CRM has, by id.
#[derive(Default)]
struct Crm {
    contacts: BTreeMap<String, Value>,
    /// Ids it never takes.
    bad: Vec<String>,
    /// Ids it takes at the second try.
    locked: Vec<String>,
    rows_max: usize,
    keys: Vec<String>,
}

fn id_of(row: &Value) -> String {
    row["id"].as_str().map_or_else(|| row["id"].to_string(), str::to_owned)
}

impl Crm {
    fn new() -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { rows_max: usize::MAX, ..Self::default() }))
    }

    /// Takes all rows or none, and does not say because of which.
    fn all_or_none(&mut self, request: &Seen) -> Reply {
        let body = request.json();
        let rows = body["records"].as_array().unwrap();
        if rows.len() > self.rows_max {
            return Reply::new(413, "");
        }
        if let Some(bad) = rows.iter().find(|row| self.bad.contains(&id_of(row))) {
            let said = format!("the mail {} is not one", bad["email"]);
            return Reply::new(400, json!({ "message": said }).to_string());
        }
        self.keys.extend(request.header("idempotency-key").map(str::to_owned));
        for row in rows {
            self.contacts.insert(id_of(row), row.clone());
        }
        Reply::json(&json!({ "ok": rows.len() }))
    }

    /// Takes what it can and says which rows it did not.
    fn partial(&mut self, request: &Seen) -> Reply {
        let rows = request.json();
        let mut errors = Vec::new();
        for (at, row) in rows.as_array().unwrap().iter().enumerate() {
            let id = id_of(row);
            if self.bad.contains(&id) {
                errors.push(json!({ "row": at, "code": "BAD_MAIL", "message": "not a mail", "field": "email" }));
            } else if let Some(place) = self.locked.iter().position(|locked| *locked == id) {
                self.locked.remove(place);
                errors.push(json!({ "row": at, "code": "LOCKED", "message": "later" }));
            } else {
                self.contacts.insert(id, row.clone());
            }
        }
        Reply::json(&json!({ "errors": errors })).status(207)
    }
}

async fn serve(crm: &Arc<Mutex<Crm>>, answer: fn(&mut Crm, &Seen) -> Reply) -> Fake {
    let crm = Arc::clone(crm);
    Fake::start(move |request| answer(&mut crm.lock().unwrap(), request)).await
}

struct Project(tempfile::TempDir);

impl Project {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn destination(&self, fake: &Fake) -> RestDestination {
        self.connected(fake, "to")
    }

    fn connected(&self, fake: &Fake, connection: &str) -> RestDestination {
        let rest: Rest = serde_json::from_value(
            json!({ "base_url": fake.url, "allow_private": true, "retries": 1 }),
        )
        .unwrap();
        let ctx = DestinationContext {
            base_dir: self.0.path().to_owned(),
            connection: connection.into(),
        };
        rest.writing(&ctx, FakePace::new() as Arc<dyn Pace>).unwrap()
    }
}

fn request(target: Value, mode: WriteMode) -> WriteRequest {
    WriteRequest {
        target,
        app: "crm/contacts".into(),
        schema: contacts(&[]).schema(),
        mode,
        key: if mode == WriteMode::Append { Vec::new() } else { vec!["id".into()] },
        deleted: (mode == WriteMode::Mirror).then(|| "gone".into()),
        new_columns: NewTargetColumns::Ignore,
        now: Timestamp::parse("2024-06-01").unwrap(),
    }
}

/// Contacts with these ids; a negative one is marked as deleted.
fn contacts(ids: &[i64]) -> RecordBatch {
    let column = |values: Vec<String>| Arc::new(StringArray::from(values)) as ArrayRef;
    let email = ids.iter().map(|id| format!("c{id}@example.com")).collect();
    let amounts =
        Decimal128Array::from_iter_values(ids.iter().map(|id| i128::from(*id) * 100 + 50))
            .with_precision_and_scale(12, 2)
            .unwrap();
    RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| id.abs()))) as ArrayRef),
        ("email", column(email)),
        ("amount", Arc::new(amounts) as ArrayRef),
        ("gone", Arc::new(BooleanArray::from_iter(ids.iter().map(|id| Some(*id < 0)))) as ArrayRef),
    ])
    .unwrap()
}

fn ids(range: std::ops::Range<i64>) -> Vec<i64> {
    range.collect()
}

fn checkpoint(sequence: i64) -> Checkpoint {
    Checkpoint { sequence, position: Position(json!(sequence)) }
}

fn batched() -> Value {
    json!({ "path": "/batch", "batch": 100, "rows": "records", "body": { "source": "us" },
            "row": { "id": "{id}", "email": "{email}", "amount": "{amount}" } })
}

fn places(refused: &[Refused]) -> Vec<usize> {
    refused.iter().map(|refused| refused.row).collect()
}

#[tokio::test]
async fn one_bad_row_costs_neither_its_neighbours_nor_the_run() {
    let (crm, project) = (Crm::new(), Project::new());
    crm.lock().unwrap().bad = vec!["37".into(), "38".into(), "250".into()];
    let fake = serve(&crm, Crm::all_or_none).await;
    let mut writer =
        project.destination(&fake).writer(&request(batched(), WriteMode::Merge)).await.unwrap();
    let refused = writer.write(&contacts(&ids(0..300))).await.unwrap();
    assert_eq!(places(&refused), [37, 38, 250]);
    assert!(refused[0].reason.contains("the mail \"…\" is not one"), "no row values: {refused:?}");
    assert_eq!(crm.lock().unwrap().contacts.len(), 297);
    assert!(fake.count() <= 3 + 2 * 20, "{} requests", fake.count());
    let body = fake.seen()[0].json();
    assert_eq!((&body["source"], &body["records"][1]["amount"]), (&json!("us"), &json!(1.5)));
    let written = writer.commit(&checkpoint(1)).await.unwrap();
    assert_eq!(written.rows_written, 297);
}

#[tokio::test]
async fn refused_rows_are_sent_again_and_taken_ones_are_not() {
    let (crm, project) = (Crm::new(), Project::new());
    crm.lock().unwrap().bad = vec!["5".into()];
    let fake = serve(&crm, Crm::all_or_none).await;
    let write = request(batched(), WriteMode::Merge);
    for round in 1..=3 {
        let destination = project.destination(&fake);
        let mut writer = destination.writer(&write).await.unwrap();
        if round == 3 {
            crm.lock().unwrap().bad.clear();
        }
        let before = fake.count();
        let refused = writer.write(&contacts(&ids(0..10))).await.unwrap();
        writer.commit(&checkpoint(round)).await.unwrap();
        let sent: usize = fake.seen()[before..]
            .iter()
            .map(|seen| seen.json()["records"].as_array().unwrap().len())
            .sum();
        match round {
            1 => assert_eq!(places(&refused), [5]),
            2 => {
                assert_eq!(
                    (places(&refused), sent),
                    (vec![5], 1),
                    "a refused row is never skipped"
                );
            }
            _ => assert_eq!((places(&refused), sent), (Vec::new(), 1)),
        }
    }
    assert_eq!(crm.lock().unwrap().contacts.len(), 10);
    let progress = project.destination(&fake).progress(&write).await.unwrap();
    assert_eq!(progress.committed, Some(checkpoint(3)));
    let mut writer = project.destination(&fake).writer(&write).await.unwrap();
    assert!(writer.commit(&checkpoint(3)).await.unwrap().skipped);
}

#[tokio::test]
async fn two_connections_of_one_stream_are_each_as_far_as_they_have_come() {
    let (first, second, project) = (Crm::new(), Crm::new(), Project::new());
    let write = request(batched(), WriteMode::Merge);
    for (crm, connection) in [(&first, "first"), (&second, "second")] {
        let fake = serve(crm, Crm::all_or_none).await;
        let destination = project.connected(&fake, connection);
        assert_eq!(destination.progress(&write).await.unwrap().committed, None, "{connection}");
        let mut writer = destination.writer(&write).await.unwrap();
        writer.write(&contacts(&ids(0..10))).await.unwrap();
        assert!(!writer.commit(&checkpoint(1)).await.unwrap().skipped, "{connection}");
        assert_eq!(crm.lock().unwrap().contacts.len(), 10, "{connection}");
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_is_halved() {
    let (crm, project) = (Crm::new(), Project::new());
    crm.lock().unwrap().rows_max = 30;
    let fake = serve(&crm, Crm::all_or_none).await;
    let mut writer =
        project.destination(&fake).writer(&request(batched(), WriteMode::Merge)).await.unwrap();
    assert!(writer.write(&contacts(&ids(0..100))).await.unwrap().is_empty());
    assert_eq!(crm.lock().unwrap().contacts.len(), 100);
    let before = fake.count();
    writer.write(&contacts(&ids(100..200))).await.unwrap();
    assert_eq!(fake.count() - before, 4, "the limit is remembered");
}

fn partial() -> Value {
    json!({ "path": "/contacts", "batch": 50, "json": [],
            "errors": { "list": "errors", "index": "row", "column": "field", "busy": ["LOCKED"] } })
}

#[tokio::test]
async fn an_answer_that_names_rows_is_taken_at_its_word() {
    let (crm, project) = (Crm::new(), Project::new());
    crm.lock().unwrap().bad = vec!["3".into(), "60".into()];
    crm.lock().unwrap().locked = vec!["4".into(), "61".into()];
    let fake = serve(&crm, Crm::partial).await;
    let mut writer =
        project.destination(&fake).writer(&request(partial(), WriteMode::Merge)).await.unwrap();
    let refused = writer.write(&contacts(&ids(0..100))).await.unwrap();
    assert_eq!(places(&refused), [3, 60]);
    assert_eq!(
        (refused[0].code.as_str(), refused[0].column.as_deref()),
        ("bad-mail", Some("email"))
    );
    assert_eq!(crm.lock().unwrap().contacts.len(), 98);
    assert_eq!(fake.count(), 4, "two requests, and the locked row of each again");
}

#[tokio::test]
async fn rows_left_in_doubt_by_a_crash_go_out_again_under_the_same_key() {
    let (crm, project) = (Crm::new(), Project::new());
    let mut cut = 0;
    let serving = Arc::clone(&crm);
    let fake = Fake::start(move |seen| {
        let reply = serving.lock().unwrap().all_or_none(seen);
        cut += 1;
        // The second request has its effect, but nobody hears of it.
        if cut == 2 { Reply::nothing() } else { reply }
    })
    .await;
    let mut target = batched();
    target["idempotency_header"] = json!("Idempotency-Key");
    target["repeatable"] = json!(false);
    let write = request(target, WriteMode::Append);
    let rest: Rest = serde_json::from_value(
        json!({ "base_url": fake.url, "allow_private": true, "retries": 0 }),
    )
    .unwrap();
    let ctx = DestinationContext { base_dir: project.0.path().to_owned(), connection: "to".into() };
    let destination = rest.writing(&ctx, FakePace::new() as Arc<dyn Pace>).unwrap();
    let batch = contacts(&ids(0..250));
    let mut writer = destination.writer(&write).await.unwrap();
    let error = writer.write(&batch).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    drop(writer);
    let mut writer = destination.writer(&write).await.unwrap();
    assert!(writer.write(&batch).await.unwrap().is_empty());
    writer.commit(&checkpoint(1)).await.unwrap();
    let keys = crm.lock().unwrap().keys.clone();
    assert_eq!(keys.len(), 4, "the acked request was not sent again");
    assert_eq!(keys[1], keys[2], "the doubtful one had the same key");
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 3);
    // The same rows handed over after a commit are new rows.
    writer.write(&batch).await.unwrap();
    assert_eq!(crm.lock().unwrap().keys.len(), 7);
}

#[tokio::test]
async fn a_mirror_removes_rows_in_order_and_what_is_gone_is_no_error() {
    let project = Project::new();
    let fake = Fake::start(|request| match request.method.as_str() {
        "DELETE" if request.path == "/contacts/7" => Reply::new(404, "{}"),
        "DELETE" => Reply::new(204, ""),
        _ => Reply::new(200, "{}"),
    })
    .await;
    let target = json!({ "path": "/contacts/{id}", "method": "PUT", "delete": { "path": "/contacts/{id}" } });
    let mut writer =
        project.destination(&fake).writer(&request(target, WriteMode::Mirror)).await.unwrap();
    assert!(writer.write(&contacts(&[1, 2, -1, -7, 1])).await.unwrap().is_empty());
    let seen: Vec<String> =
        fake.seen().iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect();
    assert_eq!(
        seen,
        [
            "PUT /contacts/1",
            "PUT /contacts/2",
            "DELETE /contacts/1",
            "DELETE /contacts/7",
            "PUT /contacts/1"
        ]
    );
    assert!(fake.seen()[2].body.is_empty() && !fake.seen()[0].body.contains("gone"));
    let written = writer.commit(&checkpoint(1)).await.unwrap();
    assert_eq!((written.rows_written, written.rows_deleted), (3, 2));
}

#[tokio::test]
async fn a_target_that_refuses_everything_stops_the_write() {
    let project = Project::new();
    let fake = Fake::start(|_| Reply::new(422, r#"{"message":"unknown property \"mail\""}"#)).await;
    let mut writer =
        project.destination(&fake).writer(&request(batched(), WriteMode::Merge)).await.unwrap();
    let error = writer.write(&contacts(&ids(0..100))).await.unwrap_err();
    assert!(error.message().contains("unknown property"), "{error}");
    assert!(fake.count() < 80, "{}", fake.count());
}

#[tokio::test]
async fn system_errors_stop_and_impossible_targets_are_refused() {
    let project = Project::new();
    for (status, kind) in [
        (401, ErrorKind::Denied),
        (403, ErrorKind::Denied),
        (404, ErrorKind::NotFound),
        (500, ErrorKind::Unavailable),
    ] {
        let fake = Fake::start(move |_| Reply::new(status, "{}")).await;
        let mut writer =
            project.destination(&fake).writer(&request(batched(), WriteMode::Merge)).await.unwrap();
        assert_eq!(writer.write(&contacts(&[1])).await.unwrap_err().kind(), kind);
    }
    let fake = Fake::start(|_| Reply::text("text/html", "<html>log in</html>")).await;
    let mut writer =
        project.destination(&fake).writer(&request(batched(), WriteMode::Merge)).await.unwrap();
    assert!(writer.write(&contacts(&[1])).await.unwrap_err().message().contains("web page"));
    drop(writer);
    for (target, mode, words) in [
        (json!({ "path": "/a" }), WriteMode::Append, "idempotency_header"),
        (json!({ "path": "/a" }), WriteMode::Replace, "merge"),
        (json!({ "path": "/a" }), WriteMode::Mirror, "delete"),
        (json!({ "path": "/a/{id}", "batch": 2 }), WriteMode::Merge, "Use 1"),
        (json!({ "path": "/a/{idd}" }), WriteMode::Merge, "id"),
        (json!({ "path": "/a", "body": {} }), WriteMode::Merge, "rows"),
        (json!({ "path": "/a/{id" }), WriteMode::Merge, "{{"),
    ] {
        let destination = project.destination(&fake);
        let error = destination.writer(&request(target.clone(), mode)).await.err().unwrap();
        assert!(error.hint_text().unwrap().contains(words), "{target}: {}", error.report());
    }
}

#[tokio::test]
async fn ten_thousand_contacts_go_out_within_the_quota_and_none_is_lost() {
    let (project, pace) = (Project::new(), FakePace::new());
    let crm = Crm::new();
    crm.lock().unwrap().bad =
        (0..10).map(|thousand| format!("{}", thousand * 1_000 + 500)).collect();
    let meter =
        Arc::new(Mutex::new(crate::http::fake::Meter::new(20, std::time::Duration::from_secs(10))));
    let mut rng = flywheel_base::Rng::new(3);
    let (serving, counted, time) = (Arc::clone(&crm), Arc::clone(&meter), Arc::clone(&pace));
    let fake = Fake::start(move |seen| {
        time.advance(std::time::Duration::from_millis(30));
        if !counted.lock().unwrap().hit(time.now()) {
            return Reply::new(429, "{}").header("retry-after", "10");
        }
        match rng.below(10) {
            0 => Reply::new(429, "{}").header("retry-after", "2"),
            1 => {
                // It has its effect, and the answer is lost.
                serving.lock().unwrap().all_or_none(seen);
                Reply::nothing()
            }
            _ => serving.lock().unwrap().all_or_none(seen),
        }
    })
    .await;
    let connection = json!({ "base_url": fake.url, "allow_private": true, "retries": 10,
                             "limits": { "requests_per_10_seconds": 20 } });
    let rest: Rest = serde_json::from_value(connection).unwrap();
    let ctx = DestinationContext { base_dir: project.0.path().to_owned(), connection: "to".into() };
    let destination = rest.writing(&ctx, Arc::clone(&pace) as Arc<dyn Pace>).unwrap();
    let write = request(batched(), WriteMode::Merge);
    let mut refused = 0;
    for (sequence, start) in (0..10_000).step_by(2_500).enumerate() {
        let mut writer = destination.writer(&write).await.unwrap();
        refused += writer.write(&contacts(&ids(start..start + 2_500))).await.unwrap().len();
        writer.commit(&checkpoint(sequence as i64 + 1)).await.unwrap();
    }
    assert_eq!((refused, crm.lock().unwrap().contacts.len()), (10, 9_990));
    assert_eq!(meter.lock().unwrap().exceeded, 0, "the quota was never exceeded");
}
