//! Somebody's query that would take twenty gigabytes: its memory limit ends it, and events go on being taken meanwhile.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::goal::{at_least, at_most, holds, write_files};
use crate::binary::Flywheel;
use crate::client::{Client, Server, request};
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, figures, process};

/// Rows of the table; with itself it makes 2.5 thousand million, whose text is more than 20 GB.
const ROWS: usize = 50_000;
/// What queries of the server may hold in memory, in MiB.
const MEMORY_MIB: f64 = 256.0;
/// Clients that send events, and how often each does.
const SENDERS: usize = 16;
const EVERY: Duration = Duration::from_millis(40);
/// How long each load lasts, and how many times it is measured.
const LOAD: Duration = Duration::from_secs(10);
const ROUNDS: usize = 3;
/// Those who ask at once. The goal is about one such query; what several do is told beside it.
const ASKING: usize = 1;
const ASKING_MORE: usize = 2;

/// Queries whose state cannot go to disk: their memory limit ends them.
const HELD: [&str; 2] = [
    "select length(string_agg(cast(a.id as varchar) || '-' || cast(b.id as varchar), ',')) from raw.t a cross join raw.t b",
    "select cardinality(array_agg(a.id * 50000 + b.id)) from raw.t a cross join raw.t b",
];

/// One whose state goes to disk, until its time is over: it competes for the disk that events wait for.
const SPILLED: [&str; 1] = [
    "select a.id * 50000 + b.id as x, count(*) from raw.t a cross join raw.t b group by 1 order by 2 desc, 1 limit 10",
];

/// Measures events alone and beside such queries, in turn.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let project = context.scratch("limits")?;
    shop(&flywheel, &project)?;
    let server = Server::start(&flywheel, &project)?;
    let token = server.token(&["ingest", "query"])?;
    let mut alone = Vec::new();
    let mut beside = [
        Beside::of("queries that memory ends", &HELD, ASKING),
        Beside::of("queries that spill", &SPILLED, ASKING),
        Beside::of("queries that memory ends", &HELD, ASKING_MORE),
        Beside::of("queries that spill", &SPILLED, ASKING_MORE),
    ];
    for _ in 0..ROUNDS {
        alone.extend(load(&server.address, &token)?);
        for one in &mut beside {
            one.measure(&server, &token)?;
        }
    }
    drop(server);
    let mut tally = Tally::default();
    let (p50, p99) = (figures::percentile(&alone, 0.5), figures::percentile(&alone, 0.99));
    println!("limits: events alone: p50 {p50:.2} ms, p99 {p99:.2} ms");
    for one in &beside {
        one.judge(&mut tally, p99);
    }
    Ok(tally)
}

/// What was seen of events beside queries.
struct Beside {
    what: &'static str,
    queries: &'static [&'static str],
    asking: usize,
    millis: Vec<f64>,
    /// Queries that a limit ended.
    ended: u32,
    /// What became of others.
    others: Vec<String>,
    peak_mib: f64,
}

impl Beside {
    fn of(what: &'static str, queries: &'static [&'static str], asking: usize) -> Self {
        let (millis, others) = (Vec::new(), Vec::new());
        Self { what, queries, asking, millis, ended: 0, others, peak_mib: 0.0 }
    }

    fn measure(&mut self, server: &Server, token: &str) -> Result<()> {
        let queries = self.queries;
        let over = AtomicBool::new(false);
        let (events, asked, peak_mib) = thread::scope(|scope| {
            let asking: Vec<_> = (0..self.asking)
                .map(|place| {
                    let over = &over;
                    scope.spawn(move || ask(&server.address, token, (queries, place), over))
                })
                .collect();
            let watching = scope.spawn(|| {
                let mut most = 0.0_f64;
                while !over.load(Ordering::Relaxed) {
                    most = most.max(server.memory_mib().unwrap_or_default());
                    thread::sleep(EVERY);
                }
                most
            });
            let events = load(&server.address, token);
            over.store(true, Ordering::Relaxed);
            let asked: Vec<_> = asking.into_iter().map(|one| one.join().ok()).collect();
            (events, asked, watching.join().unwrap_or_default())
        });
        self.millis.extend(events?);
        self.peak_mib = self.peak_mib.max(peak_mib);
        for one in asked {
            for (status, code) in one.ok_or("somebody who asks stopped unexpectedly")?? {
                match code.as_str() {
                    "exhausted" | "timeout" => self.ended += 1,
                    _ => self.others.push(format!("{status} {code}")),
                }
            }
        }
        Ok(())
    }

    fn judge(&self, tally: &mut Tally, alone_p99: f64) {
        let wanted = (LOAD.as_secs_f64() / EVERY.as_secs_f64()) * (SENDERS * ROUNDS) as f64;
        let (p50, p99) =
            (figures::percentile(&self.millis, 0.5), figures::percentile(&self.millis, 0.99));
        let beside = format!("beside {}, {} at once", self.what, self.asking);
        println!("limits: events {beside}: p50 {p50:.2} ms, p99 {p99:.2} ms");
        let line = |what: &str| format!("limits: {beside}: {what}");
        let taken = self.millis.len() as f64 / wanted;
        at_least(tally, &line("events taken, of those sent"), taken, 0.95);
        at_least(tally, &line("queries ended by a limit"), f64::from(self.ended), 1.0);
        for other in &self.others {
            println!("limits: a query of 20 GB was answered: {other}");
        }
        holds(tally, &line("no such query has another end"), self.others.is_empty());
        let more = self.peak_mib - MEMORY_MIB;
        at_most(tally, &line("memory of the server beyond that of queries, MiB"), more, 512.0);
        let rise = line("rise of the p99 of durable events, %");
        let reached = (p99 / alone_p99 - 1.0) * 100.0;
        match self.asking {
            ASKING => at_most(tally, &rise, reached, 20.0),
            _ => println!("{rise}: {reached:.2}, without goal"),
        }
    }
}

/// Sends events at a steady pace; the milliseconds from when each was due until it was acknowledged.
fn load(address: &str, token: &str) -> Result<Vec<f64>> {
    let began = Instant::now();
    let one = |sender: usize| -> Result<Vec<f64>> {
        let mut client = Client::connect(address)?;
        let mut millis = Vec::new();
        let shift = EVERY.mul_f64(sender as f64 / SENDERS as f64);
        for n in 0_u32.. {
            let due = began + shift + EVERY * n;
            if due.duration_since(began) > LOAD {
                break;
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let event = json!({"event": "view", "unit": format!("u{sender}"), "n": n}).to_string();
            let (status, answer) =
                client.ask(&request(address, "POST", "/v1/events", token, &event))?;
            if status != 200 {
                return Err(
                    format!("an event: {status} {}", String::from_utf8_lossy(&answer)).into()
                );
            }
            // What waited to be sent because the one before was slow has waited, too.
            millis.push(due.elapsed().as_secs_f64() * 1e3);
        }
        Ok(millis)
    };
    let all: Vec<Result<Vec<f64>>> = thread::scope(|scope| {
        let one = &one;
        let senders: Vec<_> = (0..SENDERS).map(|sender| scope.spawn(move || one(sender))).collect();
        let stopped = |_| Err("a client stopped unexpectedly".into());
        senders.into_iter().map(|sender| sender.join().unwrap_or_else(stopped)).collect()
    });
    let mut millis = Vec::new();
    for one in all {
        millis.extend(one?);
    }
    Ok(millis)
}

/// Asks one query after the other until it is over; how each ended.
fn ask(
    address: &str,
    token: &str,
    (queries, first): (&[&str], usize),
    over: &AtomicBool,
) -> Result<Vec<(u16, String)>> {
    let mut client = Client::connect(address)?;
    let mut ends = Vec::new();
    for sql in queries.iter().cycle().skip(first) {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let body = json!({"sql": sql, "timeout_ms": 5_000}).to_string();
        let (status, answer) = client.ask(&request(address, "POST", "/v1/sql", token, &body))?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let code = answer.get("code").and_then(Value::as_str).unwrap_or("no code").to_owned();
        ends.push((status, code));
    }
    Ok(ends)
}

fn shop(flywheel: &Flywheel, project: &Path) -> Result<()> {
    let mut rows = String::from("id\n");
    for row in 0..ROWS {
        writeln!(rows, "{row}")?;
    }
    write_files(
        project,
        &[
            ("flywheel.yaml", format!("name: limited\nmemory: {MEMORY_MIB}MiB\n")),
            (
                "connections/files.yaml",
                "connection: files\ntype: csv\noptions: {folder: data}\n".to_owned(),
            ),
            (
                "syncs/t.yaml",
                "sync: t\nconnection: files\nstreams:\n  - {stream: t, options: {path: t.csv}, read: full, write: replace}\n"
                    .to_owned(),
            ),
            ("data/t.csv", rows),
        ],
    )?;
    process::run(flywheel.on(project, &["sync"]).stdout(Stdio::null()))
}
