//! What a run does, told to whoever watches and kept in the metadata.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use flywheel_base::{Clock, Error, Result, Timestamp, digest};
use flywheel_state::{Run, Store, Task, TaskOutcome};
use flywheel_transform::BuildReport;
use serde_json::Value;

use crate::Workspace;
use crate::openlineage::{ModelTimes, Teller};
use crate::run_log::{RunLog, said};
use crate::telemetry;

/// Something that happened in a run.
#[derive(Clone, Debug)]
pub enum Event {
    /// The run begins.
    Began {
        /// The run's id.
        run_id: String,
        /// Its kind.
        kind: String,
    },
    /// A task starts.
    Started {
        /// Its kind.
        kind: &'static str,
        /// What it works on.
        name: String,
    },
    /// A task ended.
    Ended(Box<Task>),
    /// Something a person should know.
    Notice(String),
}

/// Watches a run.
pub trait Observer: Send + Sync {
    /// Is told what happens, in order.
    fn event(&self, event: &Event);
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: &Event) {}
}

/// What tells runs of this process apart that begin in the same microsecond.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// Records one run, of which several tasks may be under way.
pub(crate) struct Recorder<'a> {
    store: &'a Store,
    machine: Arc<dyn Clock>,
    observer: &'a dyn Observer,
    run: Run,
    ended: Mutex<Tasks>,
    log: Mutex<RunLog>,
    /// Who tells others of the run, if anybody is to be told.
    teller: Option<Teller<'a>>,
}

/// What has ended so far.
#[derive(Default)]
struct Tasks {
    all: Vec<Task>,
    /// How many of them are in the metadata already.
    kept: usize,
    /// Quality files that were judged in this run.
    judged: BTreeSet<String>,
}

impl<'a> Recorder<'a> {
    /// Starts a run of `kind` for the moment `logical_at`.
    pub(crate) fn start(
        workspace: &'a Workspace,
        observer: &'a dyn Observer,
        kind: &str,
        turn: Option<i64>,
        logical_at: Timestamp,
    ) -> Result<Self> {
        let (store, machine) = (&workspace.store, Arc::clone(&workspace.machine));
        let started_at = machine.now();
        let salt = [
            started_at.micros(),
            logical_at.micros(),
            i64::from(std::process::id()),
            BEGUN.fetch_add(1, Ordering::Relaxed).cast_signed(),
        ];
        let salt: Vec<u8> = salt.iter().flat_map(|n| n.to_le_bytes()).collect();
        let run = Run {
            run_id: digest::short(&[kind.as_bytes(), &salt]),
            kind: kind.to_owned(),
            turn,
            logical_at,
            status: "running".to_owned(),
            started_at,
            ended_at: None,
            error: None,
            detail: Value::Object(serde_json::Map::new()),
        };
        store.start_run(&run)?;
        let ours = store.path().parent().unwrap_or_else(|| Path::new("."));
        let log = Mutex::new(RunLog::begin(ours, &run.run_id, started_at));
        let began = Event::Began { run_id: run.run_id.clone(), kind: run.kind.clone() };
        let teller = Teller::of(workspace, &run);
        let ended = Mutex::default();
        let recorder = Self { store, machine, observer, run, ended, log, teller };
        recorder.tell(&began);
        Ok(recorder)
    }

    /// Tells the observer, and keeps it in the log.
    fn tell(&self, event: &Event) {
        let (level, text) = said(event);
        self.log_line(level, &text);
        self.observer.event(event);
    }

    fn log_line(&self, level: &str, text: &str) {
        // What a panic left behind is at most a line that breaks off.
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.line(self.machine.now(), level, text);
    }

    /// The run's id.
    pub(crate) fn run_id(&self) -> &str {
        &self.run.run_id
    }

    fn so_far(&self) -> MutexGuard<'_, Tasks> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tasks that ended so far.
    pub(crate) fn tasks(&self) -> Vec<Task> {
        self.so_far().all.clone()
    }

    /// Notes that a quality file was judged in this run.
    pub(crate) fn judged(&self, quality: &str) {
        self.so_far().judged.insert(quality.to_owned());
    }

    /// Whether a quality file was judged in this run.
    pub(crate) fn has_judged(&self, quality: &str) -> bool {
        self.so_far().judged.contains(quality)
    }

    /// Makes the tasks that ended so far durable, so that they are known however the run ends.
    pub(crate) fn keep(&self) -> Result<()> {
        let mut so_far = self.so_far();
        let new = so_far.all.get(so_far.kept..).unwrap_or_default();
        self.store.record_tasks(new)?;
        so_far.kept = so_far.all.len();
        Ok(())
    }

    /// Tells the observer.
    pub(crate) fn notice(&self, text: impl Into<String>) {
        self.tell(&Event::Notice(text.into()));
    }

    /// Says that a task starts; its timer runs until [`Recorder::ended`].
    pub(crate) fn started(&self, kind: &'static str, name: &str) -> Timer {
        self.tell(&Event::Started { kind, name: name.to_owned() });
        let started_at = self.machine.now();
        if let Some(teller) = &self.teller {
            teller.started(kind, name, started_at);
        }
        Timer { kind, name: name.to_owned(), started_at, watch: Instant::now(), place: None }
    }

    /// Makes it durable that a task is under way, for one that must not be done twice: if it is cut off it stays among the
    /// tasks of its run, as `interrupted`.
    pub(crate) fn mark(&self, timer: &mut Timer) -> Result<()> {
        let mut so_far = self.so_far();
        let place = so_far.all.len();
        so_far.all.push(Task {
            run_id: self.run.run_id.clone(),
            position: i64::try_from(place).unwrap_or(i64::MAX),
            kind: timer.kind.to_owned(),
            name: timer.name.clone(),
            status: "running".to_owned(),
            started_at: timer.started_at,
            duration_ms: None,
            outcome: TaskOutcome::default(),
        });
        drop(so_far);
        timer.place = Some(place);
        self.keep()
    }

    /// Tells others what became of each model of a build.
    pub(crate) fn models(&self, report: &BuildReport, times: &ModelTimes) {
        if let Some(teller) = &self.teller {
            teller.models(report, times);
        }
    }

    /// Records what came of a task.
    pub(crate) fn ended(&self, timer: Timer, status: &str, outcome: TaskOutcome) {
        let mut so_far = self.so_far();
        let next = so_far.all.len();
        let place = timer.place.unwrap_or(next);
        let task = Task {
            run_id: self.run.run_id.clone(),
            position: i64::try_from(place).unwrap_or(i64::MAX),
            kind: timer.kind.to_owned(),
            name: timer.name,
            status: status.to_owned(),
            started_at: timer.started_at,
            duration_ms: Some(timer.watch.elapsed().as_secs_f64() * 1_000.0),
            outcome,
        };
        match so_far.all.get_mut(place) {
            // It was marked: what is kept of it is written anew.
            Some(marked) => {
                *marked = task.clone();
                so_far.kept = so_far.kept.min(place);
            }
            None => so_far.all.push(task.clone()),
        }
        drop(so_far);
        if let Some(teller) = &self.teller {
            teller.ended(&task);
        }
        self.tell(&Event::Ended(Box::new(task)));
    }

    /// Records the result of a task that either gives an outcome or fails.
    pub(crate) fn settled<T>(
        &self,
        timer: Timer,
        result: Result<T>,
        outcome: impl FnOnce(&T) -> (String, TaskOutcome),
    ) -> Result<T> {
        match result {
            Ok(value) => {
                let (status, outcome) = outcome(&value);
                self.ended(timer, &status, outcome);
                Ok(value)
            }
            Err(error) => {
                let outcome = TaskOutcome { error: Some(error.report()), ..TaskOutcome::default() };
                self.ended(timer, "failed", outcome);
                Err(error)
            }
        }
    }

    /// Ends the run, keeping its tasks.
    pub(crate) fn finish(mut self, error: Option<&Error>) -> Result<Run> {
        self.run.ended_at = Some(self.machine.now());
        self.run.status = if error.is_some() { "failed" } else { "succeeded" }.to_owned();
        self.run.error = error.map(Error::report);
        match &self.run.error {
            Some(error) => self.log_line("error", &format!("{} failed: {error}", self.run.kind)),
            None => self.log_line("info", &format!("{} succeeded", self.run.kind)),
        }
        let so_far = std::mem::take(&mut *self.so_far());
        let new = so_far.all.get(so_far.kept..).unwrap_or_default();
        self.store.end_run(&self.run, new)?;
        if let Some(teller) = &self.teller {
            teller.run_ended(&self.run);
        }
        telemetry::trace(&self.run, &so_far.all);
        Ok(self.run)
    }
}

/// A task under way.
pub(crate) struct Timer {
    kind: &'static str,
    name: String,
    started_at: Timestamp,
    watch: Instant,
    /// Its place among the tasks of the run, if it was marked.
    place: Option<usize>,
}
