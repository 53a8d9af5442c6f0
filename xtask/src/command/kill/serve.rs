//! `kill -9` of a server while clients send events, outcomes and questions for decisions.
//!
//! Each client has a key for each request. When its server dies it does not know whether the request arrived, and
//! sends it again, with the same key, to the next one. In the end everything that was acknowledged must be there
//! exactly once.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use super::{Moments, judge, rows};
use crate::binary::Flywheel;
use crate::client::{Client, Server, parsed, request};
use crate::command::bench::goal::{at_most, write_files};
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, process};

/// How often the server is killed unless told otherwise.
pub(super) const KILLS_DEFAULT: u64 = 200;

/// How long a server lives at most once it is ready, in seconds.
const LIFE_MAX_S: f64 = 0.6;
/// How soon a server has to be ready again, in seconds.
const READY_MAX_S: f64 = 5.0;
/// Units that are decided for.
const UNITS: usize = 500;
/// Events of a batch.
const BATCH: usize = 3;
/// How often a request is sent to a server that lives before that is a failure.
const TRIES_MAX: usize = 100;

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Event,
    Batch,
    Outcome,
    Decision,
}

/// The clients.
const SENDERS: [Kind; 6] =
    [Kind::Event, Kind::Event, Kind::Batch, Kind::Outcome, Kind::Decision, Kind::Decision];

/// A client, and what it knows.
struct Sender {
    name: usize,
    kind: Kind,
    /// The number of the request that is sent next, or again.
    next: usize,
    /// What was acknowledged: ids of events or of decisions.
    acknowledged: Vec<String>,
    /// What is wrong with an answer.
    complaint: Option<String>,
}

impl Sender {
    /// The ids of the events of the present request.
    fn ids(&self) -> Vec<String> {
        let count = if self.kind == Kind::Batch { BATCH } else { 1 };
        (0..count).map(|part| format!("{}-{}-{part}", self.name, self.next)).collect()
    }

    /// The present request: always the same for its number.
    fn request(&self, address: &str, token: &str) -> Vec<u8> {
        let (key, ids) = (format!("{}-{}", self.name, self.next), self.ids());
        let unit = format!("u{}", (self.next * 31 + self.name) % UNITS);
        let event = |id: &String| json!({"id": id, "decision_id": unit});
        let (path, body) = match self.kind {
            Kind::Event | Kind::Batch => ("/v1/events", Value::from_iter(ids.iter().map(event))),
            Kind::Outcome => ("/v1/outcomes", Value::from_iter(ids.iter().map(event))),
            Kind::Decision => {
                ("/v1/decide", json!({"policy": "offer", "unit": unit, "request_id": key}))
            }
        };
        let headers = match self.kind {
            Kind::Decision => token.to_owned(),
            _ => format!("{token}Idempotency-Key: {key}\r\n"),
        };
        request(address, "POST", path, &headers, &body.to_string())
    }

    /// Sends the present request; whether there was an answer that says that it is kept.
    fn send(&mut self, client: &mut Client, address: &str, token: &str) -> bool {
        // Whoever gets no answer does not know; that is what this is about.
        let Ok((status, answer)) = client.ask(&self.request(address, token)) else { return false };
        let answer = match parsed("a request", status, &answer) {
            Ok(answer) => answer,
            Err(error) => {
                self.complaint.get_or_insert_with(|| error.to_string());
                return false;
            }
        };
        match self.kind {
            Kind::Decision => {
                let id = answer.get("decision_id").and_then(Value::as_str).unwrap_or_default();
                self.acknowledged.push(id.to_owned());
            }
            _ => self.acknowledged.extend(self.ids()),
        }
        self.next += 1;
        true
    }

    /// Sends as long as the server lives and it is not time to stop.
    fn live(&mut self, address: &str, token: &str, stop: &AtomicBool) {
        let Ok(mut client) = Client::connect(address) else { return };
        while !stop.load(Ordering::Relaxed) && self.send(&mut client, address, token) {}
    }

    /// Sends the request whose fate is not known until it is acknowledged.
    fn finish(&mut self, address: &str, token: &str) -> Result<()> {
        for _ in 0..TRIES_MAX {
            if self.send(&mut Client::connect(address)?, address, token) {
                return Ok(());
            }
        }
        let why = self.complaint.as_deref().unwrap_or("it does not answer");
        Err(format!("a server that lives does not take a request: {why}").into())
    }
}

/// Kills a server `wanted` times and looks at what is left.
pub(super) fn kills(context: &Context, wanted: u64, seed: u64) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let project = context.scratch("kill-serve")?;
    shop(&flywheel, &project)?;
    let mut server = Server::start(&flywheel, &project)?;
    let token = server.token(&["ingest", "decide"])?;
    let mut senders: Vec<Sender> = SENDERS
        .into_iter()
        .enumerate()
        .map(|(name, kind)| Sender {
            name,
            kind,
            next: 0,
            acknowledged: Vec::new(),
            complaint: None,
        })
        .collect();
    let mut moments = Moments { state: seed, life_max_s: LIFE_MAX_S };
    let (mut slowest_s, mut killed) = (0.0_f64, 0);
    println!("kill: {wanted} servers under load; seed {seed}");
    while killed < wanted {
        let (stop, address) = (AtomicBool::new(false), server.address.clone());
        let life = moments.next();
        thread::scope(|scope| {
            for sender in &mut senders {
                let (address, token, stop) = (&address, &token, &stop);
                scope.spawn(move || sender.live(address, token, stop));
            }
            thread::sleep(life);
            let ended = server.kill();
            // Whoever is about to send again must not find the next server before its time.
            stop.store(true, Ordering::Relaxed);
            ended
        })?;
        killed += 1;
        server = Server::start(&flywheel, &project)?;
        slowest_s = slowest_s.max(server.ready_s);
    }
    for sender in &mut senders {
        sender.finish(&server.address, &token)?;
    }
    drop(server);
    let mut tally = Tally::default();
    tally.record(&format!("kill: {wanted} servers"), killed == wanted);
    for sender in &senders {
        if let Some(complaint) = &sender.complaint {
            println!("kill: a {:?} was refused: {complaint}", sender.kind);
            tally.record("kill: no request is refused", false);
        }
    }
    at_most(&mut tally, "kill: a server ready again at the latest, s", slowest_s, READY_MAX_S);
    compare(&flywheel, &project, &senders, &mut tally)?;
    Ok(tally)
}

/// Compares what was acknowledged with what is there.
fn compare(
    flywheel: &Flywheel,
    project: &Path,
    senders: &[Sender],
    tally: &mut Tally,
) -> Result<()> {
    let acknowledged = |kinds: &[Kind]| -> Vec<String> {
        let of_kinds = senders.iter().filter(|sender| kinds.contains(&sender.kind));
        of_kinds.flat_map(|sender| sender.acknowledged.iter().cloned()).collect()
    };
    process::run(flywheel.on(project, &["sync", "taken"]).stdout(Stdio::null()))?;
    for (what, kinds, sql) in [
        ("events", &[Kind::Event, Kind::Batch][..], "select id from raw.events"),
        ("outcomes", &[Kind::Outcome][..], "select id from raw.outcomes"),
        ("decisions", &[Kind::Decision][..], "select decision_id from system.decisions"),
    ] {
        let found = rows::read(flywheel, project, sql)?;
        judge(&format!("kill: {what}"), &acknowledged(kinds), &found, tally);
    }
    // Each decision that sends something has left, once, by the server or when it is told to.
    process::run(flywheel.on(project, &["act"]).stdout(Stdio::null()))?;
    let treated = "select decision_id from system.decisions where arm = 'treatment'";
    let treated = rows::read(flywheel, project, treated)?;
    let left = "select decision_id from system.actions where status = 'delivered'";
    let left = rows::read(flywheel, project, left)?;
    judge("kill: deliveries of decisions", &treated, &left, tally);
    Ok(())
}

/// A project that takes events and decides.
fn shop(flywheel: &Flywheel, project: &Path) -> Result<()> {
    let units = (0..UNITS).map(|unit| format!("u{unit}\n"));
    let units: String = std::iter::once("unit_id\n".to_owned()).chain(units).collect();
    let stream = |topic: &str| {
        format!(
            "  - {{stream: {topic}, options: {{topic: {topic}}}, read: incremental, write: append}}\n"
        )
    };
    let taken = [stream("events"), stream("outcomes")].concat();
    let text = |text: &str| text.to_owned();
    write_files(
        project,
        &[
            ("flywheel.yaml", text("name: killed\n")),
            (
                "connections/files.yaml",
                text("connection: files\ntype: csv\noptions: {folder: data}\n"),
            ),
            (
                "connections/journal.yaml",
                text(
                    "connection: journal\ntype: journal\noptions: {path: .flywheel/journal, segment_bytes: 256KiB}\n",
                ),
            ),
            (
                "syncs/units.yaml",
                text(
                    "sync: units\nconnection: files\nstreams:\n  - {stream: units, options: {path: units.csv}, read: full, write: replace}\n",
                ),
            ),
            ("syncs/taken.yaml", format!("sync: taken\nconnection: journal\nstreams:\n{taken}")),
            ("data/units.csv", units),
            (
                "actions/offers.yaml",
                text("action: offers\ntype: file\noptions: {path: out/offers.jsonl}\n"),
            ),
            (
                "policies/offer.yaml",
                text(
                    "policy: offer\nevery: 10000d\naudience: select unit_id from {{ source('raw', 'units') }}\nchoose: {candidates: [{name: reminder}, {name: discount}]}\nholdout: 20%\naction: offers\n",
                ),
            ),
        ],
    )?;
    process::run(flywheel.on(project, &["sync", "units"]).stdout(Stdio::null()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_sent_again_is_the_same_and_the_next_one_is_not() {
        let mut sender = Sender {
            name: 3,
            kind: Kind::Batch,
            next: 8,
            acknowledged: Vec::new(),
            complaint: None,
        };
        let first = sender.request("a", "t: 1\r\n");
        assert_eq!(first, sender.request("a", "t: 1\r\n"));
        let text = String::from_utf8(first.clone()).unwrap();
        assert!(text.contains("Idempotency-Key: 3-8\r\n") && text.contains("3-8-2"), "{text}");
        sender.next += 1;
        assert_ne!(first, sender.request("a", "t: 1\r\n"));
    }
}
