//! What the alerts of a project found: each fault is told once, and so is its end.
//!
//! ```text
//! (nothing) ──found──▶ open ──told──▶ open, told ──repeat──▶ told again
//!     ▲                 │ gone          │ gone: its end is told
//!     └──── mute over ──┴─── ended ◀────┘          ended ──found within mute──▶ open, not told yet
//! ```
//! What is told is decided by [`watch_step`], a pure function. [`Store::watch`] writes the new states and the alerts in one
//! transaction: a crash tells nothing twice and loses nothing.

use std::collections::BTreeMap;

use flywheel_base::{Result, Timestamp, digest};
use serde_json::json;

use super::alerts::{self, Alert, AlertStatus};
use crate::Store;
use crate::engine::{self, Connection, Row, params};

/// The subject of an alert whose condition cannot be looked at.
pub const ITSELF: &str = "the alert itself";

/// Something that an alert tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is about; a fault is the same one as long as this is the same.
    pub subject: String,
    /// What is wrong.
    pub text: String,
    /// Whether it is an event, whose end is none that anybody waits for.
    pub passing: bool,
}

/// What looking at a condition found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// What is wrong.
    pub found: Vec<Found>,
    /// Whether all of it was seen; what was not seen goes on as it was.
    pub complete: bool,
}

/// How an alert tells what it finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchPlan {
    /// The alert.
    pub name: String,
    /// What it is for.
    pub about: Option<String>,
    /// The actions by which it leaves.
    pub actions: Vec<String>,
    /// How often a fault that goes on is told again, in microseconds.
    pub repeat_us: Option<i64>,
    /// How long one that was told is not told again if it comes back, in microseconds.
    pub mute_us: Option<i64>,
    /// Whether ends are told.
    pub recovered: bool,
}

/// Something that an alert found, and whether it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchState {
    /// The alert.
    pub alert: String,
    /// What it is about.
    pub subject: String,
    /// What is wrong.
    pub text: String,
    /// Whether it is an event.
    pub passing: bool,
    /// Since when.
    pub since: Timestamp,
    /// Since when it is over; it is remembered as long as it would not be told again.
    pub ended_at: Option<Timestamp>,
    /// When it was last told.
    pub told_at: Option<Timestamp>,
    /// How often it was told since it began.
    pub times: u32,
}

/// What becomes of what an alert knew, and what is told.
#[must_use]
pub fn watch_step(
    known: Vec<WatchState>,
    plan: &WatchPlan,
    looked: Looked,
    now: Timestamp,
) -> (Vec<WatchState>, Vec<Alert>) {
    let mut known: BTreeMap<String, WatchState> =
        known.into_iter().map(|state| (state.subject.clone(), state)).collect();
    let found: BTreeMap<String, Found> =
        looked.found.into_iter().map(|found| (found.subject.clone(), found)).collect();
    let over = |from: Option<Timestamp>, wait: Option<i64>| match (from, wait) {
        (Some(from), Some(wait)) => from.plus_micros(wait) <= now,
        _ => true,
    };
    let (mut states, mut told) = (Vec::new(), Vec::new());
    for (subject, found) in found {
        let before = known.remove(&subject);
        let told_at = before.as_ref().and_then(|state| state.told_at);
        let mut state = match before.filter(|state| state.ended_at.is_none()) {
            Some(open) => WatchState { text: found.text, ..open },
            None => WatchState {
                alert: plan.name.clone(),
                subject,
                text: found.text,
                passing: found.passing,
                since: now,
                ended_at: None,
                told_at,
                times: 0,
            },
        };
        let due = match state.times {
            0 => over(state.told_at, plan.mute_us),
            _ => plan.repeat_us.is_some() && over(state.told_at, plan.repeat_us),
        };
        if due {
            state.times = state.times.saturating_add(1);
            state.told_at = Some(now);
            told.extend(alerts_of(plan, &state, true, now));
        }
        states.push(state);
    }
    for (_, mut state) in known {
        if state.ended_at.is_none() {
            if !looked.complete && state.subject != ITSELF {
                states.push(state);
                continue;
            }
            state.ended_at = Some(now);
            if plan.recovered && state.times > 0 && !state.passing {
                told.extend(alerts_of(plan, &state, false, now));
            }
        }
        if state.told_at.is_some() && plan.mute_us.is_some() && !over(state.told_at, plan.mute_us) {
            states.push(state);
        }
    }
    (states, told)
}

/// One alert for each action.
fn alerts_of(plan: &WatchPlan, state: &WatchState, raised: bool, now: Timestamp) -> Vec<Alert> {
    let kind = if raised { "raised" } else { "recovered" };
    let (name, subject) = (&plan.name, &state.subject);
    let title = match (raised, state.times) {
        (true, ..=1) => format!("{name}: {subject}"),
        (true, _) => format!("{name}: {subject}, still"),
        (false, _) => format!("{name}: {subject} is over"),
    };
    let mut text = match raised {
        true => state.text.clone(),
        false => format!("It was since {}: {}", state.since, state.text),
    };
    if raised && state.times > 1 {
        text.push_str(&format!("\nSince {}.", state.since));
    }
    if let Some(about) = &plan.about {
        text.push_str(&format!("\n{about}"));
    }
    let payload = json!({
        "alert": kind, "name": name, "subject": subject, "since": state.since.to_string(),
        "times": state.times, "at": now.to_string(), "title": title, "text": text,
    });
    let alert = |action: &String| {
        let parts: [&[u8]; 6] = [
            name.as_bytes(),
            subject.as_bytes(),
            &state.since.micros().to_le_bytes(),
            kind.as_bytes(),
            &state.times.to_le_bytes(),
            action.as_bytes(),
        ];
        Alert {
            key: digest::short(&parts),
            kind: kind.to_owned(),
            schedule: String::new(),
            scheduled_run: String::new(),
            alert: Some(name.clone()),
            subject: Some(subject.clone()),
            action: action.clone(),
            payload: payload.clone(),
            status: AlertStatus::Pending,
            attempts: 0,
            made_at: now,
            due_at: now,
            ended_at: None,
            receipt: None,
            error: None,
        }
    };
    plan.actions.iter().map(alert).collect()
}

const COLUMNS: &str = "alert, subject, text, passing, since, ended_at, told_at, times";

impl Store {
    /// Notes what looking at an alert's condition found; what is to be told is durable when this returns. Returns how many
    /// alerts were made.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn watch(&self, plan: &WatchPlan, looked: Looked, now: Timestamp) -> Result<usize> {
        self.write("note what an alert found", |db| {
            let known = states(db, Some(&plan.name))?;
            let (states, told) = watch_step(known, plan, looked, now);
            db.prepare_cached("DELETE FROM alert_states WHERE alert = ?")?.execute([&plan.name])?;
            let mut insert = db.prepare_cached(&format!(
                "INSERT INTO alert_states ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?)"
            ))?;
            for state in &states {
                insert.execute(params![
                    state.alert,
                    state.subject,
                    state.text,
                    state.passing,
                    state.since.micros(),
                    state.ended_at.map(Timestamp::micros),
                    state.told_at.map(Timestamp::micros),
                    state.times
                ])?;
            }
            for alert in &told {
                alerts::insert(db, alert)?;
            }
            Ok(told.len())
        })
    }

    /// What alerts found and what is not forgotten yet, by alert and subject.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn watched(&self) -> Result<Vec<WatchState>> {
        self.read("list what alerts found", |db| states(db, None))
    }

    /// Forgets what alerts found that are not there any more.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn forget_watched(&self, alert: &str) -> Result<()> {
        self.write("forget what an alert found", |db| {
            db.execute("DELETE FROM alert_states WHERE alert = ?", [alert]).map(|_| ())
        })
    }
}

fn states(db: &Connection, alert: Option<&str>) -> engine::Result<Vec<WatchState>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM alert_states WHERE ?1 IS NULL OR alert = ?1 ORDER BY alert, subject"
    ))?
    .query_map([alert], state_from)?
    .collect()
}

fn state_from(row: &Row<'_>) -> engine::Result<WatchState> {
    let moment = |at: usize| -> engine::Result<Option<Timestamp>> {
        Ok(row.get::<_, Option<i64>>(at)?.map(Timestamp::from_micros))
    };
    Ok(WatchState {
        alert: row.get(0)?,
        subject: row.get(1)?,
        text: row.get(2)?,
        passing: row.get(3)?,
        since: Timestamp::from_micros(row.get(4)?),
        ended_at: moment(5)?,
        told_at: moment(6)?,
        times: row.get(7)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(repeat_us: Option<i64>, mute_us: Option<i64>) -> WatchPlan {
        WatchPlan {
            name: "stopped".to_owned(),
            about: Some("Ask Li.".to_owned()),
            actions: vec!["chat".to_owned(), "mail".to_owned()],
            repeat_us,
            mute_us,
            recovered: true,
        }
    }

    fn looked(subjects: &[&str]) -> Looked {
        let found = |subject: &&str| Found {
            subject: (*subject).to_owned(),
            text: format!("{subject} does not work"),
            passing: subject.starts_with("event"),
        };
        Looked { found: subjects.iter().map(found).collect(), complete: true }
    }

    /// What is told at each second if this is found then: `+a` for a fault, `-a` for its end.
    fn course(plan: &WatchPlan, seconds: &[(i64, &[&str])]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("meta.db")).unwrap();
        let mut told = Vec::new();
        for (second, subjects) in seconds {
            let now = Timestamp::from_micros(second * 1_000_000);
            let made = store.watch(plan, looked(subjects), now).unwrap();
            let mut new: Vec<String> = Vec::new();
            for alert in store.alerts(100).unwrap() {
                if alert.made_at == now && alert.action == "chat" {
                    let sign = if alert.kind == "raised" { '+' } else { '-' };
                    new.push(format!("{second}{sign}{}", alert.subject.unwrap()));
                }
            }
            assert_eq!(made, new.len() * 2, "each action gets each alert once");
            new.sort();
            told.extend(new);
        }
        told
    }

    #[test]
    fn a_fault_rings_once_and_its_end_is_told_once() {
        let told = course(
            &plan(None, None),
            &[(1, &["a"]), (2, &["a"]), (3, &["a", "b"]), (4, &["b"]), (5, &["b"]), (6, &["a"])],
        );
        assert_eq!(told, ["1+a", "3+b", "4-a", "6+a", "6-b"]);
    }

    #[test]
    fn what_goes_on_is_told_again_as_often_as_asked() {
        let told = course(
            &plan(Some(3_000_000), None),
            &[(1, &["a"]), (2, &["a"]), (4, &["a"]), (5, &["a"]), (7, &["a"]), (8, &[])],
        );
        assert_eq!(told, ["1+a", "4+a", "7+a", "8-a"]);
    }

    #[test]
    fn what_comes_and_goes_rings_once_while_it_is_mute() {
        let told = course(
            &plan(None, Some(10_000_000)),
            &[(1, &["a"]), (2, &[]), (3, &["a"]), (4, &[]), (5, &["a"]), (9, &["a"]), (11, &["a"])],
        );
        assert_eq!(told, ["1+a", "2-a", "11+a"]);
    }

    #[test]
    fn an_event_has_no_end_that_is_told() {
        let told = course(&plan(None, None), &[(1, &["event 1"]), (2, &["event 1"]), (3, &[])]);
        assert_eq!(told, ["1+event 1"]);
    }

    #[test]
    fn what_could_not_be_looked_at_goes_on_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("meta.db")).unwrap();
        let at = |second: i64| Timestamp::from_micros(second * 1_000_000);
        let plan = plan(None, None);
        assert_eq!(store.watch(&plan, looked(&["a"]), at(1)).unwrap(), 2);
        let blind = Looked { complete: false, ..looked(&[ITSELF]) };
        assert_eq!(store.watch(&plan, blind, at(2)).unwrap(), 2);
        let subjects: Vec<String> =
            store.watched().unwrap().into_iter().map(|state| state.subject).collect();
        assert_eq!(subjects, ["a", ITSELF]);
        // It is seen again, and what it tells of was there all the time.
        assert_eq!(store.watch(&plan, looked(&["a"]), at(3)).unwrap(), 2);
        assert_eq!(store.watched().unwrap().len(), 1);
        store.forget_watched("stopped").unwrap();
        assert!(store.watched().unwrap().is_empty());
    }
}
