//! The scheduler by cases: a table of plans, events and what follows, each step through a real database.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;

use flywheel_base::calendar::Timing;
use flywheel_base::{Timestamp, quantity};
use serde_json::json;

use super::*;
use crate::Store;

/// Cases: `== name`, then `plan …` lines, then `MOMENT event … -> what follows`.
const CASES: &str = include_str!("cases.txt");

struct House {
    _dir: tempfile::TempDir,
    store: Store,
    plans: SchedulePlans,
    alive: BTreeMap<String, u32>,
    known: BTreeMap<String, RunStatus>,
}

fn plan(words: &[&str]) -> SchedulePlan {
    let mut plan = SchedulePlan {
        name: words[0].to_owned(),
        fingerprint: "f".to_owned(),
        timing: None,
        catch_up: CatchUp::Latest,
        overlap: Overlap::Skip,
        attempts: 1,
        retry_on: ["unavailable", "conflict", "timeout"].map(str::to_owned).into(),
        wait_us: 60_000_000,
        wait_max_us: 600_000_000,
        timeout_us: None,
        deadline_us: None,
        priority: 0,
        concurrency: 1,
        backfill_concurrency: 1,
        pool: None,
        claims: Claims::default(),
        paused: false,
        alert_actions: vec!["ops".to_owned()],
        alert_on: BTreeSet::from(AlertKind::ALL),
    };
    let mut zone = "UTC";
    let mut cron = None;
    for word in &words[1..] {
        let (key, value) = word.split_once('=').unwrap();
        let duration = || quantity::duration_us(value).unwrap();
        match key {
            "cron" => cron = Some(value.replace('_', " ")),
            "zone" => zone = value,
            "every" => plan.timing = Some(Timing::every(duration()).unwrap()),
            "catch_up" => {
                plan.catch_up = match value {
                    "none" => CatchUp::None,
                    "all" => CatchUp::All,
                    _ => CatchUp::Latest,
                }
            }
            "overlap" => {
                plan.overlap = match value {
                    "queue" => Overlap::Queue,
                    "cancel" => Overlap::Cancel,
                    _ => Overlap::Skip,
                }
            }
            "attempts" => plan.attempts = value.parse().unwrap(),
            "timeout" => plan.timeout_us = Some(duration()),
            "deadline" => plan.deadline_us = Some(duration()),
            "priority" => plan.priority = value.parse().unwrap(),
            "concurrency" => plan.concurrency = value.parse().unwrap(),
            "backfill" => plan.backfill_concurrency = value.parse().unwrap(),
            "pool" => {
                let (name, slots) = value.split_once(':').unwrap();
                let (name, slots) = (name.to_owned(), slots.parse().unwrap());
                plan.pool = Some(Pool { name, slots });
            }
            "reads" => plan.claims.read(value.split(',').map(str::to_owned)),
            "writes" => plan.claims.write(value.split(',').map(str::to_owned)),
            "whole" => plan.claims = Claims::everything(),
            "fingerprint" => plan.fingerprint = value.to_owned(),
            other => panic!("{other}"),
        }
    }
    if let Some(cron) = cron {
        plan.timing = Some(Timing::cron(&cron, zone).unwrap());
    }
    plan
}

/// `05-01T02:00` of a moment.
fn short(at: Timestamp) -> String {
    at.to_string()[5..16].to_owned()
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("meta.db")).unwrap();
        Self {
            _dir: dir,
            store,
            plans: BTreeMap::new(),
            alive: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }

    /// A tick of a server that does what it was told to, and can begin `free` more.
    fn tick(&self, free: usize) -> ScheduleEvent {
        let runs = self.store.schedule_runs(None, 10_000).unwrap();
        let alive = runs.iter().filter(|run| self.alive.contains_key(&run.id));
        let mut held = Claims::default();
        alive
            .filter_map(|run| self.plans.get(&run.schedule))
            .for_each(|plan| held.join(&plan.claims));
        ScheduleEvent::Tick { free, alive: self.alive.keys().cloned().collect(), held }
    }

    /// Takes a step and says what followed; a tick that adds runs is followed by another one, as a server does.
    fn step(&mut self, event: ScheduleEvent, now: Timestamp) -> String {
        let mut said = Vec::new();
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let tick = match &event {
                ScheduleEvent::Tick { free, .. } => Some(*free),
                _ => None,
            };
            for effect in self.store.schedule_step(&self.plans, event, now).unwrap() {
                match effect {
                    ScheduleEffect::Start(run) => {
                        self.alive.insert(run.id.clone(), run.attempt);
                        said.push(format!(
                            "start {} {}#{}",
                            run.schedule,
                            short(run.moment),
                            run.attempt
                        ));
                    }
                    ScheduleEffect::Stop { why, .. } => said.push(format!("stop {}", why.name())),
                    ScheduleEffect::Alert(alert) => said.push(format!("alert {}", alert.kind)),
                    ScheduleEffect::Added { .. } => {
                        if let Some(free) = tick {
                            next = Some(self.tick(free));
                        }
                    }
                }
            }
        }
        // What begins together has no order that anybody could rely on.
        for together in
            said.chunk_by_mut(|one, next| one.starts_with("start ") && next.starts_with("start "))
        {
            together.sort();
        }
        let mut closed = Vec::new();
        for run in self.store.schedule_runs(None, 10_000).unwrap() {
            let before = self.known.insert(run.id.clone(), run.status);
            if !run.status.is_open() {
                self.alive.remove(&run.id);
                if before != Some(run.status) {
                    closed
                        .push((run.moment, format!("{} {}", run.status.name(), short(run.moment))));
                }
            }
        }
        closed.sort();
        said.extend(closed.into_iter().map(|(_, text)| text));
        if said.is_empty() { "-".to_owned() } else { said.join(", ") }
    }

    /// The attempt under way of a schedule; the only one if none is named.
    fn running(&self, schedule: Option<&str>) -> ScheduledRun {
        let runs = self.store.schedule_runs(schedule, 10_000).unwrap();
        runs.into_iter().find(|run| run.status == RunStatus::Running).unwrap()
    }

    fn line(&mut self, line: &str) {
        let (asked, expected) = line.split_once(" -> ").unwrap();
        let words: Vec<&str> = asked.split_whitespace().collect();
        let now = Timestamp::parse(&words[..2].join(" ")).unwrap();
        let rest = &words[3..];
        let named = || rest.first().map(|name| (*name).to_owned());
        let schedule = || named().unwrap_or_else(|| self.plans.keys().next().unwrap().clone());
        let event = match words[2] {
            "tick" => {
                let free = rest.first().map_or(1, |free| free.parse().unwrap());
                self.tick(free)
            }
            // Whoever did the work is gone.
            "gone" => {
                self.alive.clear();
                ScheduleEvent::Tick { free: 1, alive: Vec::new(), held: Claims::default() }
            }
            "restart" => {
                self.alive.clear();
                ScheduleEvent::Restarted
            }
            "ask" => ScheduleEvent::Asked(Asked {
                schedule: schedule(),
                cause: Cause::Manual,
                moment: None,
                by: "ada".to_owned(),
                mark: None,
                goes_on_from: None,
            }),
            "call" => ScheduleEvent::Asked(Asked {
                schedule: self.plans.keys().next().unwrap().clone(),
                cause: Cause::Webhook,
                moment: None,
                by: "hook".to_owned(),
                mark: named(),
                goes_on_from: None,
            }),
            "again" => ScheduleEvent::Asked(Asked {
                schedule: self.plans.keys().next().unwrap().clone(),
                cause: Cause::Manual,
                moment: Some(Timestamp::parse(&rest.join(" ")).unwrap()),
                by: "ada".to_owned(),
                mark: Some("again".to_owned()),
                goes_on_from: None,
            }),
            // So many hours from a day on.
            "span" => {
                let from = Timestamp::parse(rest[0]).unwrap();
                let count: i64 = rest[1].parse().unwrap();
                let asked = |hour: i64| Asked {
                    schedule: self.plans.keys().next().unwrap().clone(),
                    cause: Cause::Backfill,
                    moment: Some(from.plus_micros(hour * 3_600_000_000)),
                    by: "ada".to_owned(),
                    mark: None,
                    goes_on_from: None,
                };
                let event = ScheduleEvent::AskedAll { all: (0..count).map(asked).collect() };
                let effects = self.store.schedule_step(&self.plans, event, now).unwrap();
                let said = if effects.is_empty() { "refused" } else { "-" };
                assert_eq!(said, expected, "{line}");
                return;
            }
            "backfill" => ScheduleEvent::Asked(Asked {
                schedule: self.plans.keys().next().unwrap().clone(),
                cause: Cause::Backfill,
                moment: Some(Timestamp::parse(&rest.join(" ")).unwrap()),
                by: "ada".to_owned(),
                mark: None,
                goes_on_from: None,
            }),
            "seen" => ScheduleEvent::Seen {
                schedule: self.plans.keys().next().unwrap().clone(),
                versions: json!({"raw.orders": rest[0]}),
            },
            "behind" => ScheduleEvent::Behind { schedule: schedule() },
            "pause" => ScheduleEvent::Pause { schedule: schedule(), reason: "test".to_owned() },
            "resume" => ScheduleEvent::Resume { schedule: schedule() },
            "cancel" => ScheduleEvent::Cancel { id: self.running(named().as_deref()).id },
            "end" | "stale" => {
                let run = self.running(rest.get(1).copied());
                self.alive.remove(&run.id);
                let end = match rest[0] {
                    "ok" => End::Succeeded,
                    "stopped" => End::Stopped,
                    class => End::Failed { class: class.to_owned(), error: "why".to_owned() },
                };
                let attempt = if words[2] == "stale" { run.attempt - 1 } else { run.attempt };
                ScheduleEvent::Ended { id: run.id, attempt, end }
            }
            "remove" => {
                self.plans.clear();
                self.tick(1)
            }
            other => panic!("{other}"),
        };
        assert_eq!(self.step(event, now), expected, "{line}");
    }
}

#[test]
fn schedules_do_what_their_files_say_whatever_happens() {
    let mut count = 0;
    for case in CASES.split("\n== ").skip(1) {
        let mut house = House::new();
        let mut lines = case.lines();
        let name = lines.next().unwrap();
        for line in lines.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.strip_prefix("plan ") {
                Some(words) => {
                    let plan = plan(&words.split_whitespace().collect::<Vec<_>>());
                    house.plans.insert(plan.name.clone(), plan);
                }
                None => house.line(line),
            }
        }
        count += 1;
        let open = house.store.schedule_runs(None, 10_000).unwrap();
        let lost = open.iter().filter(|run| run.status == RunStatus::Running);
        assert_eq!(lost.count(), house.alive.len(), "{name}: a run is under way that nobody does");
    }
    assert!(count >= 25, "only {count} cases");
}

#[test]
fn no_run_is_lost_doubled_or_running_for_ever_over_a_hundred_crashes() {
    let mut house = House::new();
    let words = "s every=1m catch_up=all overlap=queue attempts=3".split(' ').collect::<Vec<_>>();
    house.plans.insert("s".to_owned(), plan(&words));
    let mut now = Timestamp::parse("2024-05-01").unwrap();
    let mut rng = flywheel_base::Rng::new(7);
    let mut done: BTreeMap<String, u32> = BTreeMap::new();
    house.step(ScheduleEvent::Tick { free: 1, alive: Vec::new(), held: Claims::default() }, now);
    let start = now;
    for crash in 0..100 {
        for _ in 0..rng.below(6) {
            now = now.plus_micros(20_000_000 + (rng.below(60_000_000) as i64));
            house.step(
                ScheduleEvent::Tick {
                    free: 1,
                    alive: house.alive.keys().cloned().collect(),
                    held: Claims::default(),
                },
                now,
            );
            if let Some((id, attempt)) = house.alive.clone().into_iter().next() {
                let end = match rng.below(4) {
                    0 => continue,
                    1 => End::Failed { class: "unavailable".to_owned(), error: "down".to_owned() },
                    _ => End::Succeeded,
                };
                if end == End::Succeeded {
                    *done.entry(id.clone()).or_default() += 1;
                }
                house.alive.remove(&id);
                house.step(ScheduleEvent::Ended { id, attempt, end }, now);
            }
        }
        // The process is gone, perhaps for a while.
        house.alive.clear();
        if crash % 7 == 0 {
            now = now.plus_micros(600_000_000);
        }
        house.step(ScheduleEvent::Restarted, now);
    }
    // The last ones are done.
    for _ in 0..5_000 {
        house
            .step(ScheduleEvent::Tick { free: 1, alive: Vec::new(), held: Claims::default() }, now);
        let Some((id, attempt)) = house.alive.clone().into_iter().next() else {
            let waits = |run: &ScheduledRun| run.status.is_open();
            if !house.store.schedule_runs(None, 10_000).unwrap().iter().any(waits) {
                break;
            }
            now = now.plus_micros(600_000_000);
            continue;
        };
        *done.entry(id.clone()).or_default() += 1;
        house.alive.remove(&id);
        house.step(ScheduleEvent::Ended { id, attempt, end: End::Succeeded }, now);
    }
    let runs = house.store.schedule_runs(None, 100_000).unwrap();
    let minutes = (now.micros() - start.micros()) / 60_000_000;
    assert_eq!(runs.len() as i64, minutes, "one run for each minute");
    assert!(runs.iter().all(|run| !run.status.is_open()));
    assert!(done.values().all(|times| *times == 1), "a run has succeeded twice");
    let succeeded = runs.iter().filter(|run| run.status == RunStatus::Succeeded).count();
    assert_eq!(succeeded, done.len());
    assert!(runs.iter().all(|run| matches!(run.status, RunStatus::Succeeded | RunStatus::Failed)));
}

#[test]
fn a_thousand_schedules_are_stepped_quickly_enough_to_be_stepped_every_second() {
    let mut house = House::new();
    for n in 0..1_000 {
        let name = format!("s{n:04}");
        house.plans.insert(name.clone(), plan(&[&name, "every=1h", "overlap=queue"]));
    }
    let start = Timestamp::parse("2024-05-01 00:30").unwrap();
    house.step(ScheduleEvent::Tick { free: 0, alive: Vec::new(), held: Claims::default() }, start);
    let due = start.plus_micros(3_600_000_000);
    let effects = house
        .store
        .schedule_step(
            &house.plans,
            ScheduleEvent::Tick { free: 1, alive: Vec::new(), held: Claims::default() },
            due,
        )
        .unwrap();
    let added = effects.iter().find_map(|effect| match effect {
        ScheduleEffect::Added { ids } => Some(ids.len()),
        _ => None,
    });
    assert_eq!(added, Some(1_000));
    let effects = house
        .store
        .schedule_step(
            &house.plans,
            ScheduleEvent::Tick { free: 1_000, alive: Vec::new(), held: Claims::default() },
            due,
        )
        .unwrap();
    assert_eq!(effects.len(), 1_000, "each is started once");
}

#[test]
fn what_a_newer_step_has_not_changed_is_kept_word_for_word() {
    let mut house = House::new();
    house.plans.insert("s".to_owned(), plan(&["s", "every=1h", "attempts=2"]));
    let at = |text| Timestamp::parse(text).unwrap();
    house.step(
        ScheduleEvent::Tick { free: 1, alive: Vec::new(), held: Claims::default() },
        at("2024-05-01 00:30"),
    );
    house.step(
        ScheduleEvent::Tick { free: 1, alive: Vec::new(), held: Claims::default() },
        at("2024-05-01 01:00"),
    );
    let run = house.running(None);
    let began = ScheduleEvent::Began { id: run.id.clone(), attempt: 1, run_id: "r-1".to_owned() };
    house.step(began, at("2024-05-01 01:00"));
    let end =
        End::Failed { class: "unavailable".to_owned(), error: "zeile\n\"zwei\" 三".to_owned() };
    house
        .step(ScheduleEvent::Ended { id: run.id.clone(), attempt: 1, end }, at("2024-05-01 01:01"));
    let kept = house.store.schedule_run(&run.id).unwrap().unwrap();
    assert_eq!(kept.error.as_deref(), Some("zeile\n\"zwei\" 三"));
    assert_eq!(kept.goes_on_from.as_deref(), Some("r-1"));
    assert_eq!(kept.attempts.len(), 1);
    assert_eq!(kept.attempts[0].result, "unavailable");
    assert_eq!(kept.status, RunStatus::Waiting);
    assert_eq!(kept.due_at, at("2024-05-01 01:02"));
    assert_eq!(house.store.schedules().unwrap()[0].cursor, at("2024-05-01 01:00"));
    // Nothing is forgotten before its time, and all of it after.
    assert_eq!(house.store.forget_schedule_runs(at("2024-06-01")).unwrap(), 0);
}

#[test]
fn alerts_are_kept_until_they_are_settled_and_never_doubled() {
    let mut house = House::new();
    house.plans.insert("s".to_owned(), plan(&["s", "every=1h"]));
    let at = |text| Timestamp::parse(text).unwrap();
    house.line("2024-05-01 00:30 tick -> -");
    house.line("2024-05-01 01:00 tick -> start s 05-01T01:00#1");
    house.line("2024-05-01 01:01 end invalid -> alert failed, failed 05-01T01:00");
    let due = house.store.due_alerts(at("2024-05-01 01:01"), 10).unwrap();
    let [alert] = due.as_slice() else { panic!("{due:?}") };
    assert_eq!(alert.payload["title"], "s failed");
    assert!(alert.payload["text"].as_str().unwrap().contains("why"), "{}", alert.payload);
    let later = Alert {
        attempts: 1,
        due_at: at("2024-05-01 01:02"),
        error: Some("down".to_owned()),
        ..alert.clone()
    };
    assert!(house.store.undelivered_alerts(10).unwrap().is_empty(), "it was not tried yet");
    house.store.settle_alert(&later).unwrap();
    assert_eq!(house.store.undelivered_alerts(10).unwrap(), slice::from_ref(&later));
    assert!(house.store.due_alerts(at("2024-05-01 01:01"), 10).unwrap().is_empty());
    let gone = Alert { status: AlertStatus::Delivered, ended_at: Some(later.due_at), ..later };
    house.store.settle_alert(&gone).unwrap();
    assert!(house.store.due_alerts(at("2025-01-01"), 10).unwrap().is_empty());
    assert_eq!(house.store.alerts(10).unwrap(), slice::from_ref(&gone));
    assert!(house.store.undelivered_alerts(10).unwrap().is_empty());

    // One that was given up is told of until another one arrives by the same action.
    assert_eq!(house.store.alert_counts().unwrap(), (0, 1, 0));
    assert!(house.store.lost_alerts().unwrap().is_empty());
    let ended_at = Some(at("2024-05-01 01:03"));
    let lost = Alert { status: AlertStatus::Dead, ended_at, ..gone };
    house.store.settle_alert(&lost).unwrap();
    assert_eq!(house.store.undelivered_alerts(10).unwrap(), slice::from_ref(&lost));
    assert_eq!(house.store.alert_counts().unwrap(), (0, 0, 1));
    assert_eq!(house.store.lost_alerts().unwrap(), BTreeMap::from([("ops".to_owned(), 1)]));
    house.line("2024-05-01 02:00 tick -> start s 05-01T02:00#1");
    house.line("2024-05-01 02:01 end ok -> alert recovered, succeeded 05-01T02:00");
    let next = house.store.due_alerts(at("2024-05-01 02:01"), 10).unwrap().remove(0);
    let heard =
        Alert { status: AlertStatus::Delivered, ended_at: Some(at("2024-05-01 02:02")), ..next };
    house.store.settle_alert(&heard).unwrap();
    assert!(house.store.lost_alerts().unwrap().is_empty());
    assert!(house.store.undelivered_alerts(10).unwrap().is_empty());
}

crate::testing::also_on_postgres!(
    schedules_do_what_their_files_say_whatever_happens,
    no_run_is_lost_doubled_or_running_for_ever_over_a_hundred_crashes,
    a_thousand_schedules_are_stepped_quickly_enough_to_be_stepped_every_second,
    what_a_newer_step_has_not_changed_is_kept_word_for_word,
    alerts_are_kept_until_they_are_settled_and_never_doubled,
);
