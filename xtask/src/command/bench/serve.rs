//! A server under load on two cores, the client included: durable events, recommendations, decisions, and how soon an
//! event is seen by a query and by the next recommendation.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::goal::{at_least, at_most, write_files};
use crate::binary::Flywheel;
use crate::client::{Client, Server, parsed, request};
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, figures, process};

/// Users and items of the shop, and purchases of each user.
const USERS: usize = 2_000;
const ITEMS: usize = 1_000;
const EACH: usize = 12;
/// How long each load lasts, the first part of which is not counted.
const LOAD: Duration = Duration::from_secs(10);
const WARM: Duration = Duration::from_secs(1);
/// Connections that send single events, batches, questions for recommendations and for decisions.
const SINGLE: usize = 128;
const BATCHES: usize = 4;
const ASKING: usize = 8;
const DECIDING: usize = 64;
/// Events of a batch.
const BATCH: usize = 1_000;
/// How often it is measured how soon an event is seen.
const LOOKS: usize = 50;
/// How long an event may stay unseen before it is no longer waited for.
const UNSEEN: Duration = Duration::from_secs(20);
/// How long a server is left alone before its memory is looked at.
const IDLE: Duration = Duration::from_secs(3);

/// Measures each.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let project = context.scratch("serve")?;
    shop(&flywheel, &project)?;
    let mut tally = Tally::default();
    let server = Server::start(&flywheel, &project)?;
    let token = server.token(&["ingest", "decide", "query"])?;
    // The first start makes tables; what a user waits for is any other one.
    server.kill()?;
    let server = Server::start(&flywheel, &project)?;
    at_most(&mut tally, "serve: ready after the start, s", server.ready_s, 0.2);
    thread::sleep(IDLE);
    at_most(&mut tally, "serve: idle memory, MiB", server.memory_mib()?, 100.0);

    let load = Load { address: &server.address, token: &token };
    let single = load.run(SINGLE, |sender, n| {
        let unit = (sender * 7_919 + n) % USERS;
        let event = json!({"event": "view", "unit": format!("u{unit}"), "n": n, "from": sender});
        ("POST", "/v1/events".to_owned(), event.to_string())
    })?;
    at_least(&mut tally, "serve: durable single events, requests/s", single.per_s, 5_000.0);
    at_most(&mut tally, "serve: durable single events, p99 ms", single.percentile(0.99), 50.0);

    let batch = load.run(BATCHES, |sender, n| {
        let event = |i: usize| json!({"event": "view", "unit": format!("u{}", i % USERS), "n": n, "i": i, "from": sender});
        let events: Vec<String> = (0..BATCH).map(|i| event(i).to_string()).collect();
        ("POST", "/v1/events?topic=batches".to_owned(), format!("[{}]", events.join(",")))
    })?;
    let per_s = batch.per_s * BATCH as f64;
    at_least(&mut tally, "serve: durable events in batches, events/s", per_s, 50_000.0);

    let lists = load.run(ASKING, |sender, n| {
        let unit = (sender * 7_919 + n) % USERS;
        ("GET", format!("/v1/recommend?learner=next&unit=u{unit}&k=10"), String::new())
    })?;
    at_least(&mut tally, "serve: recommendations, requests/s", lists.per_s, 6_000.0);
    at_most(&mut tally, "serve: recommendations, p99 ms", lists.percentile(0.99), 5.0);

    let decisions = load.run(DECIDING, |sender, n| {
        let unit = (sender * 7_919 + n) % USERS;
        let asked = json!({"policy": "offer", "unit": format!("u{unit}"), "request_id": format!("{sender}-{n}")});
        ("POST", "/v1/decide".to_owned(), asked.to_string())
    })?;
    println!(
        "serve: durable decisions: {:.0} requests/s, p50 {:.1} ms, p99 {:.1} ms",
        decisions.per_s,
        decisions.percentile(0.5),
        decisions.percentile(0.99)
    );

    let seen = load.seen(|_, n| {
        let sql = format!("select count(*) as n from system.events where topic = 'seen' and event like '%\"look\":{n},%'");
        Ok(Look {
            path: "/v1/events?topic=seen".to_owned(),
            event: json!({"look": n, "z": 0}).to_string(),
            question: ("POST", "/v1/sql".to_owned(), json!({"sql": sql}).to_string()),
            seen: Box::new(|answer: &Value| answer["rows"][0][0] == json!(1)),
        })
    })?;
    judge_seen(&mut tally, "serve: event to visible in SQL, p95 s", &seen, (0.95, 1e3), 2.0);

    let changed = load.seen(|client, n| {
        let unit = format!("u{}", n * 31 % USERS);
        let path = format!("/v1/recommend?learner=next&unit={unit}&k=10");
        let (status, answer) = client.ask(&load.request(&("GET", path.clone(), String::new())))?;
        let before = parsed(&path, status, &answer)?["items"].clone();
        // What stands at the top of the list is bought now, so that it cannot stay there.
        let event = json!({"event": "purchase", "user": unit, "item": before[0]["item"]});
        Ok(Look {
            path: "/v1/events?topic=purchases".to_owned(),
            event: event.to_string(),
            question: ("GET", path, String::new()),
            seen: Box::new(move |answer: &Value| answer["items"] != before),
        })
    })?;
    judge_seen(
        &mut tally,
        "serve: event to changed recommendation, p99 ms",
        &changed,
        (0.99, 1.0),
        200.0,
    );
    Ok(tally)
}

/// Prints and records how soon events were seen, in milliseconds divided by `unit`; one that was not, falls short.
fn judge_seen(tally: &mut Tally, what: &str, seen: &[f64], (share, unit): (f64, f64), most: f64) {
    if seen.len() < LOOKS {
        println!("{what}: an event was not seen within {} s", UNSEEN.as_secs());
    }
    let reached =
        if seen.len() < LOOKS { f64::INFINITY } else { figures::percentile(seen, share) / unit };
    at_most(tally, what, reached, most);
}

/// A request: method, path and body.
type Asked = (&'static str, String, String);

/// An event, and how it is known that it was seen.
struct Look<'a> {
    path: String,
    event: String,
    question: Asked,
    seen: Box<dyn Fn(&Value) -> bool + 'a>,
}

/// Who asks whom.
struct Load<'a> {
    address: &'a str,
    token: &'a str,
}

/// What a load came to.
struct Reached {
    per_s: f64,
    /// Milliseconds of each request, sorted.
    millis: Vec<f64>,
}

impl Reached {
    fn percentile(&self, share: f64) -> f64 {
        figures::percentile(&self.millis, share)
    }
}

impl Load<'_> {
    fn request(&self, (method, path, body): &Asked) -> Vec<u8> {
        request(self.address, method, path, self.token, body)
    }

    /// Asks over as many connections at once, each as soon as it was answered.
    fn run(
        &self,
        connections: usize,
        ask: impl Fn(usize, usize) -> Asked + Sync,
    ) -> Result<Reached> {
        let began = Instant::now();
        let counted_from = began + WARM;
        let ends = counted_from + LOAD;
        let one = |sender: usize| -> Result<Vec<f64>> {
            let mut client = Client::connect(self.address)?;
            let mut millis = Vec::new();
            for n in 0.. {
                let asked = ask(sender, n);
                let asked_bytes = self.request(&asked);
                let sent = Instant::now();
                let (status, answer) = client.ask(&asked_bytes)?;
                let now = Instant::now();
                if status != 200 {
                    parsed(&asked.1, status, &answer)?;
                }
                if now >= ends {
                    break;
                }
                if sent >= counted_from {
                    millis.push(now.duration_since(sent).as_secs_f64() * 1e3);
                }
            }
            Ok(millis)
        };
        let all: Vec<Result<Vec<f64>>> = thread::scope(|scope| {
            let one = &one;
            let senders: Vec<_> =
                (0..connections).map(|sender| scope.spawn(move || one(sender))).collect();
            let stopped = |_| Err("a client stopped unexpectedly".into());
            senders.into_iter().map(|sender| sender.join().unwrap_or_else(stopped)).collect()
        });
        let mut millis = Vec::new();
        for one in all {
            millis.extend(one?);
        }
        millis.sort_by(f64::total_cmp);
        Ok(Reached { per_s: millis.len() as f64 / LOAD.as_secs_f64(), millis })
    }

    /// Sends single events, and asks after each until it is seen; the milliseconds of each that was, sorted.
    fn seen<'b>(
        &self,
        mut look: impl FnMut(&mut Client, usize) -> Result<Look<'b>>,
    ) -> Result<Vec<f64>> {
        let mut client = Client::connect(self.address)?;
        let mut millis = Vec::new();
        for n in 0..LOOKS {
            let Look { path, event, question, seen } = look(&mut client, n)?;
            let sent = Instant::now();
            let (status, answer) = client.ask(&self.request(&("POST", path.clone(), event)))?;
            parsed(&path, status, &answer)?;
            let asked = self.request(&question);
            let found = loop {
                let (status, answer) = client.ask(&asked)?;
                if seen(&parsed(&question.1, status, &answer)?) {
                    break true;
                }
                if sent.elapsed() > UNSEEN {
                    break false;
                }
            };
            if !found {
                break;
            }
            millis.push(sent.elapsed().as_secs_f64() * 1e3);
        }
        millis.sort_by(f64::total_cmp);
        Ok(millis)
    }
}

/// A shop whose recommender is fitted.
fn shop(flywheel: &Flywheel, project: &Path) -> Result<()> {
    let mut purchases = String::from("user_id,item_id,at\n");
    let mut users = String::from("unit_id,age\n");
    let mut state = 7_u64;
    for user in 0..USERS {
        writeln!(users, "u{user},{}", 20 + user % 50)?;
        for n in 0..EACH {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            // Most of what somebody buys is near what those like him buy.
            let item = (user % 20 * (ITEMS / 20) + (state >> 33) as usize % (ITEMS / 10)) % ITEMS;
            writeln!(purchases, "u{user},i{item},2024-05-{:02} 10:00:00", 1 + n)?;
        }
    }
    let text = |text: &str| text.to_owned();
    write_files(
        project,
        &[
            ("flywheel.yaml", text("name: served\n")),
            (
                "connections/files.yaml",
                text("connection: files\ntype: csv\noptions: {folder: data}\n"),
            ),
            (
                "syncs/shop.yaml",
                text(
                    "sync: shop\nconnection: files\nstreams:\n  - {stream: purchases, options: {path: purchases.csv}, read: full, write: replace}\n  - {stream: users, options: {path: users.csv}, read: full, write: replace}\n",
                ),
            ),
            ("data/purchases.csv", purchases),
            ("data/users.csv", users),
            (
                "learners/next.yaml",
                text(
                    "learner: next\nrecommend:\n  interactions: select user_id, item_id, at from {{ source('raw', 'purchases') }}\n  algorithm: rp3beta\n  top: 50\n  feedback: {topic: purchases, user: user, item: item}\n",
                ),
            ),
            (
                "policies/offer.yaml",
                text(
                    "policy: offer\nevery: 10000d\naudience: select unit_id, age from {{ source('raw', 'users') }}\nchoose: {candidates: [{name: reminder}, {name: discount}]}\nholdout: 5%\n",
                ),
            ),
        ],
    )?;
    process::run(flywheel.on(project, &["sync"]).stdout(Stdio::null()))?;
    process::run(flywheel.on(project, &["learn"]).stdout(Stdio::null()))
}
