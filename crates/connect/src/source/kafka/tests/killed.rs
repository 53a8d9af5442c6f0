//! Messages land exactly once in a table although the process that carries them is killed again and
//! again: a child of this test binary reads the topic into SQLite, rows and position in one commit.
//!
//! ```text
//! parent ── "go" ──► child: read a page │ hand it over │ commit it    (it says each, and waits)
//!        └─ SIGKILL, at a step drawn from a seed: while the child waits, or while it goes on
//! ```

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use flywheel_base::Rng;
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use super::*;
use crate::destination::{
    Checkpoint, DestinationContext, DestinationEntry, NewTargetColumns, WriteMode, WriteRequest,
};
use crate::kafka::testing::send;

/// What tells a process of this test binary that it is the child, and what to carry.
const WORK: &str = "FLYWHEEL_TEST_KAFKA_CHILD";

/// The test that the child runs.
const CHILD: &str = "source::kafka::tests::killed::the_child_carries_messages_until_it_is_killed";

/// What a line of the child's begins with; the others are those of the test harness.
const SAID: &str = "@";

/// SIGKILL.
const KILL: i32 = 9;

const KILLS: usize = 20;

/// Draws the steps at which the child is killed.
const SEED: u64 = 20;

/// Steps of the child until it is killed, at most: three pages.
const STEPS_MAX: usize = 9;

const MESSAGES: i64 = 900;

/// What is carried.
#[derive(Debug, Serialize, Deserialize)]
struct Work {
    connection: Value,
    topic: String,
    database: std::path::PathBuf,
    page_rows: usize,
}

/// Reads what is new in the topic into the table `events`, from where the table says; `step` hears
/// of everything that was done.
async fn carry(work: &Work, mut step: impl FnMut(&str)) {
    let ctx = DestinationContext { base_dir: ".".into(), connection: "to".into() };
    let settings = json!({ "path": work.database });
    let table = DestinationEntry::named("sqlite").unwrap().build(settings, &ctx).unwrap();
    let mut request = WriteRequest {
        target: json!({ "table": "events" }),
        app: "kafka/events".into(),
        schema: std::sync::Arc::new(arrow::datatypes::Schema::empty()),
        mode: WriteMode::Append,
        key: Vec::new(),
        deleted: None,
        new_columns: NewTargetColumns::Add,
        now: now(),
    };
    let committed = table.progress(&request).await.unwrap().committed;
    let mut sequence = committed.as_ref().map_or(0, |checkpoint| checkpoint.sequence);
    let from = committed.map(|checkpoint| checkpoint.position);
    let stream = json!({ "topic": work.topic });
    let read = ReadRequest { page_rows: work.page_rows, ..incremental(stream, from.as_ref()) };
    let source = source(work.connection.clone());
    let mut pages = source.read(&read);
    let mut writer = None;
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        assert!(page.rejected.is_empty(), "{:?}", page.rejected);
        step("read");
        if writer.is_none() {
            request.schema = page.batch.schema();
            writer = Some(table.writer(&request).await.unwrap());
        }
        let writer = writer.as_mut().unwrap();
        assert_eq!(writer.write(&page.batch).await.unwrap(), []);
        step("written");
        sequence += 1;
        writer.commit(&Checkpoint { sequence, position: page.position }).await.unwrap();
        step("committed");
    }
    if let Some(writer) = writer {
        writer.finish().await.unwrap();
    }
}

/// The child. Started like any other test it has nothing to do.
#[tokio::test]
async fn the_child_carries_messages_until_it_is_killed() {
    let Some(work) = flywheel_base::env::optional(WORK) else { return };
    let work: Work = serde_json::from_str(&work).unwrap();
    carry(&work, |done| {
        // The first end of line ends what the harness has begun.
        let mut out = std::io::stdout().lock();
        write!(out, "\n{SAID}{done}\n").unwrap();
        out.flush().unwrap();
        // If the parent is gone, so is the child.
        let mut line = String::new();
        assert_ne!(std::io::stdin().read_line(&mut line).unwrap(), 0, "the parent is gone");
    })
    .await;
}

fn start(work: &Work) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", CHILD, "--nocapture"])
        .env(WORK, serde_json::to_string(work).unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// How a child ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By itself.
    Done,
    /// Killed while it waits after so many steps.
    Waiting(usize),
    /// Killed while it goes on after so many steps.
    GoingOn(usize),
}

/// Lets a child live to its end; returns the last step it said.
fn live(work: &Work, end: End) -> Option<String> {
    let mut child = start(work);
    let mut go = child.stdin.take().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let said = lines.filter_map(|line| line.strip_prefix(SAID).map(ToOwned::to_owned));
    let (mut last, mut steps) = (None, 0);
    for step in said {
        last = Some(step);
        steps += 1;
        if end != End::Waiting(steps) {
            go.write_all(b"go\n").unwrap();
        }
        if [End::Waiting(steps), End::GoingOn(steps)].contains(&end) {
            child.kill().unwrap();
            let status = child.wait().unwrap();
            assert_eq!(status.signal(), Some(KILL), "the child ended before it was killed");
            return last;
        }
    }
    let status = child.wait().unwrap();
    assert!(status.success(), "the child failed after {steps} steps: {status}");
    assert_eq!(end, End::Done, "the child had nothing left to do after {steps} steps");
    last
}

/// The columns of the one row of a query.
fn ask<T: rusqlite::types::FromSql>(database: &Path, sql: &str) -> Vec<T> {
    let connection = rusqlite::Connection::open(database).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    let columns = statement.column_count();
    statement.query_row([], |row| (0..columns).map(|at| row.get(at)).collect()).unwrap()
}

#[tokio::test]
async fn a_process_killed_twenty_times_lands_every_message_exactly_once() {
    let topic = topic(3).await;
    let values: Vec<String> = (0..MESSAGES).map(|n| format!("{{\"n\":{n}}}")).collect();
    let messages: Vec<_> =
        (0..).zip(&values).map(|(n, value)| (n % 3, None, Some(value.as_bytes()))).collect();
    send(&topic, &messages);
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("events.db");
    let work = Work { connection: connection(), topic, database, page_rows: 7 };
    let mut rng = Rng::new(SEED);
    println!("seed {SEED}");
    let mut died_at = BTreeMap::new();
    for kill in 0..KILLS {
        let steps = 1 + rng.below(STEPS_MAX);
        let end = if kill % 2 == 0 { End::Waiting(steps) } else { End::GoingOn(steps) };
        let step = live(&work, end).unwrap();
        *died_at.entry(step).or_insert(0) += 1;
    }
    assert_eq!(died_at.len(), 3, "the seed kills after every kind of step: {died_at:?}");
    let landed: i64 = ask(&work.database, "SELECT count(*) FROM events")[0];
    assert!(0 < landed && landed < MESSAGES, "{landed}");
    live(&work, End::Done).unwrap();
    let found: Vec<i64> = ask(
        &work.database,
        "SELECT count(*), count(DISTINCT n), sum(n), min(n), max(n),
                count(DISTINCT _partition || '/' || _offset) FROM events",
    );
    let sum = MESSAGES * (MESSAGES - 1) / 2;
    assert_eq!(found, [MESSAGES, MESSAGES, sum, 0, MESSAGES - 1, MESSAGES]);
    // And a run after that has nothing to do.
    assert_eq!(live(&work, End::Done), None);
}
