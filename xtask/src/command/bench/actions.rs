//! Ten thousand actions against a hostile receiver, the deliverer killed a hundred times; then a million decisions.
//!
//! The receiver stands on the loopback. A fifth of the requests go wrong: dropped before an answer, hung, answered 500
//! after the effect, reset. One half of its targets honours idempotency keys, the other must not be asked twice. The
//! process is killed while it delivers: after a random number of requests, counted by the receiver.

mod receiver;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::receiver::Receiver;
use super::goal::{at_least, at_most, holds, write_files};
use crate::binary::Flywheel;
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, process};

/// Actions whose receiver honours keys, and those that may be sent only once.
const KEYED: usize = 10_000;
const ONCE: usize = 2_000;
/// How often the deliverer is killed, and after how many requests at most.
const KILLS: u64 = 100;
const REQUESTS_MAX: u64 = 120;
/// Turns in which everything must have ended; each is a day, so that every wait has passed.
const TURNS_MAX: i64 = 60;
/// How long a process may take to send anything before it is no longer waited for.
const STUCK: Duration = Duration::from_secs(120);
/// Units and days of the decisions.
const UNITS: usize = 100_000;
const DAYS: usize = 10;

/// Runs both parts.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let mut tally = Tally::default();
    deliveries(&flywheel, &context.scratch("actions")?, &mut tally)?;
    decisions(&flywheel, &context.scratch("decisions")?, &mut tally)?;
    Ok(tally)
}

fn deliveries(flywheel: &Flywheel, project: &Path, tally: &mut Tally) -> Result<()> {
    let receiver = Receiver::start()?;
    let hook = |name: &str, guarantee: &str| {
        format!(
            "action: {name}\ntype: webhook\nattempts: 40\nguarantee: {guarantee}\noptions: {{url: 'http://{}/{name}', allow_private: true, timeout: 500ms, parallel: 16}}\n",
            receiver.address()
        )
    };
    let policy = |name: &str, table: &str| {
        format!(
            "policy: {name}\nevery: 10000d\naudience: select unit_id from {{{{ source('raw', '{table}') }}}}\nchoose: {{candidates: [{{name: offer}}]}}\naction: {name}\n"
        )
    };
    let units = |letter: char, count: usize| -> String {
        let rows = (0..count).map(|unit| format!("{letter}{unit:05}\n"));
        std::iter::once("unit_id\n".to_owned()).chain(rows).collect()
    };
    write_files(
        project,
        &[
            ("flywheel.yaml", "name: hostile\n".to_owned()),
            ("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n".to_owned()),
            ("syncs/units.yaml", "sync: units\nconnection: files\nstreams:\n  - {stream: keyed, options: {path: keyed.csv}, read: full, write: replace}\n  - {stream: once, options: {path: once.csv}, read: full, write: replace}\n".to_owned()),
            ("data/keyed.csv", units('k', KEYED)),
            ("data/once.csv", units('o', ONCE)),
            ("actions/keyed.yaml", hook("keyed", "at-least-once")),
            ("actions/once.yaml", hook("once", "at-most-once")),
            ("policies/keyed.yaml", policy("keyed", "keyed")),
            ("policies/once.yaml", policy("once", "once")),
        ],
    )?;
    let (mut kills, mut day, mut turns, mut state) = (0, 0, 0, 7_u64);
    while turns < TURNS_MAX {
        let date = format!("2024-{:02}-{:02}", 1 + day / 28, 1 + day % 28);
        let mut child = flywheel
            .on(project, &["turn", "--replay", &date])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let until = receiver.requests() + 1 + (state >> 33) % REQUESTS_MAX;
        let started = Instant::now();
        let ended = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if kills < KILLS && (receiver.requests() >= until || started.elapsed() > STUCK) {
                child.kill()?;
                child.wait()?;
                break None;
            }
            thread::sleep(Duration::from_millis(1));
        };
        match ended {
            None => kills += 1,
            Some(status) => {
                turns += 1;
                day += 1;
                if !status.success() {
                    holds(tally, &format!("actions: the turn of {date} succeeds"), false);
                }
                let open = flywheel
                    .value(project, "select count(*) from system.outbox where status <> 'dead'")?;
                if open == "0" {
                    break;
                }
            }
        }
    }
    at_least(tally, "actions: kills while delivering", kills as f64, KILLS as f64);
    let seen = receiver.stop();
    println!(
        "actions: {} requests in {turns} turns, of which the receiver spoiled {}",
        seen.requests, seen.spoiled
    );
    let share = seen.spoiled as f64 / seen.requests.max(1) as f64;
    at_least(tally, "actions: share of requests that went wrong", share, 0.15);

    let most = |counts: &BTreeMap<String, u64>| counts.values().copied().max().unwrap_or(0) as f64;
    at_most(
        tally,
        "actions: effects of an action whose receiver honours keys, at most",
        most(&seen.effects),
        1.0,
    );
    at_most(tally, "actions: keys of one action, at most", most(&seen.keys_of_unit), 1.0);
    at_most(tally, "actions: requests of an at-most-once action, at most", most(&seen.once), 1.0);
    let ended = |action: &str, status: &str| -> Result<f64> {
        let query = format!(
            "select count(*) from system.actions where action = '{action}' and status = '{status}'"
        );
        Ok(flywheel.value(project, &query)?.parse()?)
    };
    let (delivered, dead) = (ended("keyed", "delivered")?, ended("keyed", "dead")?);
    let (once_delivered, once_dead) = (ended("once", "delivered")?, ended("once", "dead")?);
    println!(
        "actions: keyed {delivered} delivered, {dead} dead; at-most-once {once_delivered} delivered, {once_dead} given up as uncertain"
    );
    at_least(
        tally,
        "actions: actions in a terminal state",
        delivered + dead + once_delivered + once_dead,
        (KEYED + ONCE) as f64,
    );
    let stuck =
        flywheel.value(project, "select count(*) from system.outbox where status <> 'dead'")?;
    at_most(tally, "actions: stuck", stuck.parse()?, 0.0);
    at_least(tally, "actions: keyed actions delivered", delivered, KEYED as f64);
    // What is recorded as delivered took effect, and nothing else was said of what did not.
    let acknowledged = seen.effects.len() as f64;
    at_least(tally, "actions: keyed actions with their effect", acknowledged, delivered);
    let twice: f64 = flywheel
        .value(project, "select count(*) - count(distinct key) from system.actions")?
        .parse()?;
    at_most(tally, "actions: actions shown twice", twice, 0.0);
    Ok(())
}

/// Decides a million times by a bandit that learns, and proves every decision.
fn decisions(flywheel: &Flywheel, project: &Path, tally: &mut Tally) -> Result<()> {
    let mut units = String::from("unit_id,segment,age\n");
    for unit in 0..UNITS {
        writeln!(units, "u{unit:06},{},{}", ["a", "b"][unit % 2], 20 + unit % 41)?;
    }
    write_files(
        project,
        &[
            ("flywheel.yaml", "name: million\n".to_owned()),
            ("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n".to_owned()),
            ("syncs/shop.yaml", "sync: shop\nconnection: files\nstreams:\n  - {stream: units, options: {path: units.csv}, read: incremental, write: append}\n  - stream: events\n    options: {path: 'events-*.csv', dated: 'events-%Y-%m-%d.csv'}\n    read: incremental\n    write: append\n    columns: [{name: event_id, type: text}, {name: decision_id, type: text}, {name: unit_id, type: text}, {name: at, type: timestamp}]\n".to_owned()),
            ("data/units.csv", units),
            ("data/events-2024-05-01.csv", "event_id,decision_id,unit_id,at\n".to_owned()),
            ("learners/best.yaml", "learner: best\nbandit:\n  policy: offer\n  actions: [reminder, discount, silence]\n  context: [{column: segment, values: [a]}, {column: age, centre: 40, scale: 20}]\n  explore: 5%\n".to_owned()),
            ("policies/offer.yaml", "policy: offer\naudience: select unit_id, segment, age from {{ source('raw', 'units') }}\nchoose: {bandit: {learner: best}}\nholdout: 5%\noutcome:\n  events: select event_id, decision_id, unit_id, at from {{ source('raw', 'events') }}\n  window: 1d\n".to_owned()),
        ],
    )?;
    let (mut made, mut invalid, mut wanted) = (0_u64, 0_u64, 0_u64);
    for day in 1..=DAYS {
        let (date, next) = (format!("2024-05-{day:02}"), format!("2024-05-{:02}", day + 1));
        process::run(flywheel.on(project, &["turn", "--replay", &date]).stdout(Stdio::null()))?;
        let query = format!(
            "select decision_id, unit_id, arm, action, propensity, chances from system.decisions where cast(decided_at as date) = date '{date}'"
        );
        let mut events = String::from("event_id,decision_id,unit_id,at\n");
        for row in flywheel.sql(project, &query)? {
            made += 1;
            invalid += u64::from(!valid(&row));
            // Every fifth decision has an outcome, and every twenty-fifth names no decision.
            let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default();
            if made.is_multiple_of(5) {
                wanted += 1;
                let named = if made.is_multiple_of(25) { "" } else { text("decision_id") };
                writeln!(events, "e{made},{named},{},{next} 09:00:00", text("unit_id"))?;
            }
        }
        write_files(project, &[(&format!("data/events-{next}.csv"), events)])?;
    }
    let last = format!("2024-05-{:02}", DAYS + 1);
    // One more turn joins the last outcomes; it decides once more.
    process::run(flywheel.on(project, &["turn", "--replay", &last]).stdout(Stdio::null()))?;
    at_least(tally, "decisions: made", made as f64, (UNITS * DAYS) as f64);
    at_most(tally, "decisions: without valid propensities", invalid as f64, 0.0);
    let joined: f64 = flywheel
        .value(project, "select count(*) from system.outcomes o join system.decisions d on d.decision_id = o.decision_id and d.unit_id = o.unit_id")?
        .parse()?;
    at_least(tally, "decisions: outcomes joined to their decision", joined, wanted as f64);
    let outcomes: f64 = flywheel.value(project, "select count(*) from system.outcomes")?.parse()?;
    at_most(tally, "decisions: outcomes in all", outcomes, wanted as f64);
    let text = process::output(
        &mut flywheel.on(project, &["policy", "verify", "offer", "--output", "json"]),
    )?;
    let verified: Value = serde_json::from_str(&text)?;
    let count = |name: &str| verified.get(name).and_then(Value::as_u64).unwrap_or_default() as f64;
    let different = verified.get("different").and_then(Value::as_array).map_or(1, Vec::len);
    // The first day was decided before there was an artifact: evenly, which there is nothing to prove by.
    println!(
        "decisions: {} made again bit for bit, {different} otherwise, {} before the first fit",
        count("same"),
        count("unknown")
    );
    at_least(tally, "decisions: made again bit for bit", count("same"), (UNITS * DAYS) as f64);
    at_most(tally, "decisions: made again otherwise", different as f64, 0.0);
    at_most(tally, "decisions: that cannot be made again", count("unknown"), UNITS as f64);
    Ok(())
}

/// Whether the logged probabilities are ones: they sum to 1, and that of the choice follows from them.
fn valid(row: &Value) -> bool {
    let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default();
    let Ok(chances) = serde_json::from_str::<BTreeMap<String, f64>>(text("chances")) else {
        return false;
    };
    let whole = (chances.values().sum::<f64>() - 1.0).abs() <= 1e-9;
    let inside = chances.values().all(|chance| (0.0..=1.0).contains(chance));
    let said = row.get("propensity").and_then(Value::as_f64).unwrap_or(f64::NAN);
    let due = match text("arm") {
        "holdout" => 0.05,
        _ => 0.95 * chances.get(text("action")).copied().unwrap_or(f64::NAN),
    };
    whole && inside && (said - due).abs() <= 1e-12
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_propensity_that_does_not_follow_from_the_chances_is_invalid() {
        let row = |propensity: f64, chances: &str| json!({"arm": "treatment", "action": "a", "propensity": propensity, "chances": chances});
        assert!(valid(&row(0.95 * 0.25, "{\"a\":0.25,\"b\":0.75}")));
        assert!(!valid(&row(0.25, "{\"a\":0.25,\"b\":0.75}")));
        assert!(!valid(&row(0.95 * 0.25, "{\"a\":0.25,\"b\":0.7}")));
        assert!(!valid(&row(0.95 * 0.25, "")));
    }
}
