//! The scheduler as a function: a board, an event and a moment make a board and what is to be done.

use std::collections::BTreeMap;

use flywheel_base::calendar::Timing;
use flywheel_base::{Timestamp, digest};
use serde_json::{Value, json};

use super::{
    Alert, AlertKind, Asked, Attempt, Board, CatchUp, Cause, Claims, End, Overlap, RunStatus,
    ScheduleEffect, ScheduleEvent, SchedulePlan, SchedulePlans, ScheduleState, ScheduledRun,
    Stopping,
};

/// How long an attempt counts as alive after it was last heard of, in microseconds.
pub(super) const LEASE_US: i64 = 60_000_000;
/// A moment that is older than this was missed, in microseconds.
const ON_TIME_US: i64 = 300_000_000;
/// How far clocks may go back before a schedule begins anew from the present, in microseconds.
const CLOCK_BACK_US: i64 = 3_600_000_000;
/// How many missed moments are made up for in one step; the others follow in later ones.
const MADE_UP_AT_ONCE: usize = 100;
/// How many runs of a schedule may wait.
const WAITING_MAX: usize = 1_000;
/// How often a run is begun again after its server was gone: one that takes the server down with it must end.
const INTERRUPTIONS_MAX: u32 = 10;

/// The class of an attempt that took too long.
const TIMEOUT: &str = "timeout";
/// The class of an attempt whose server was gone.
const INTERRUPTED: &str = "interrupted";

/// Makes the next board, and what is to be done.
#[must_use]
pub fn step(
    board: Board,
    plans: &SchedulePlans,
    event: ScheduleEvent,
    now: Timestamp,
) -> (Board, Vec<ScheduleEffect>) {
    let mut stepping = Stepping { board, plans, now, effects: Vec::new(), added: Vec::new() };
    stepping.event(event);
    let Stepping { board, mut effects, added, .. } = stepping;
    if !added.is_empty() {
        effects.push(ScheduleEffect::Added { ids: added });
    }
    (board, effects)
}

struct Stepping<'a> {
    board: Board,
    plans: &'a SchedulePlans,
    now: Timestamp,
    effects: Vec<ScheduleEffect>,
    /// Runs added in this step. They are not started by it: whether a run of the same name has ended before is known
    /// only once they are written.
    added: Vec<String>,
}

impl Stepping<'_> {
    fn event(&mut self, event: ScheduleEvent) {
        match event {
            ScheduleEvent::Tick { free, alive, held } => self.tick(free, &alive, held),
            ScheduleEvent::Take { id } => self.begin(&id),
            ScheduleEvent::Restarted => {
                for id in self.ids(|run| run.status == RunStatus::Running) {
                    self.interrupted(&id);
                }
            }
            ScheduleEvent::Asked(asked) => self.asked(asked),
            ScheduleEvent::AskedAll { all } => self.asked_all(all),
            ScheduleEvent::Seen { schedule, versions } => self.seen(&schedule, versions),
            ScheduleEvent::Behind { schedule } => {
                if !self.is_paused(&schedule) && !self.is_busy(&schedule) {
                    self.add_now(&schedule, Cause::Lag, "lag");
                }
            }
            ScheduleEvent::Began { id, attempt, run_id } => {
                if let Some(run) = self.attempt(&id, attempt) {
                    run.run_id = Some(run_id);
                }
            }
            ScheduleEvent::Ended { id, attempt, end } => self.ended(&id, attempt, end),
            ScheduleEvent::Pause { schedule, reason } => {
                let state = self.state(&schedule);
                (state.paused, state.reason) = (true, Some(reason));
            }
            ScheduleEvent::Resume { schedule } => {
                let now = self.now;
                let state = self.state(&schedule);
                if state.paused {
                    // What passed during the pause was meant to be left out.
                    state.cursor = state.cursor.max(now);
                }
                (state.paused, state.reason) = (false, None);
            }
            ScheduleEvent::Cancel { id } => self.cancel(&id, Stopping::Cancel),
        }
    }

    fn tick(&mut self, free: usize, alive: &[String], held: Claims) {
        for id in self.ids(|run| run.status == RunStatus::Running) {
            if alive.contains(&id) {
                self.renew(&id);
            } else if self.board.runs.get(&id).is_some_and(|run| run.lease_until <= Some(self.now))
            {
                self.interrupted(&id);
            }
        }
        self.forget_removed();
        self.watch_time();
        for plan in self.plans.values() {
            self.due(plan);
        }
        self.start(free, held);
    }

    /// Runs of schedules whose files are gone are not begun any more.
    fn forget_removed(&mut self) {
        let plans = self.plans;
        self.board.schedules.retain(|name, _| plans.contains_key(name));
        let gone = |run: &ScheduledRun| {
            run.status == RunStatus::Waiting && !plans.contains_key(&run.schedule)
        };
        for id in self.ids(gone) {
            self.close(&id, RunStatus::Cancelled, Some("the schedule's file is gone"));
        }
    }

    /// Stops what takes too long, and tells of what is late.
    fn watch_time(&mut self) {
        for id in self.ids(|_| true) {
            let Some(run) = self.board.runs.get_mut(&id) else { continue };
            // Who asked for it may not be the server, which has not heard of it before then.
            if run.status == RunStatus::Running && run.stopping == Some(Stopping::Cancel) {
                let why = Stopping::Cancel;
                self.effects.push(ScheduleEffect::Stop { id: id.clone(), why });
            }
            let Some(plan) = self.plans.get(&run.schedule) else { continue };
            let passed = |since: Timestamp, limit: Option<i64>| {
                limit.is_some_and(|limit| self.now.micros() - since.micros() >= limit)
            };
            if run.status == RunStatus::Running
                && run.stopping.is_none()
                && run.started_at.is_some_and(|at| passed(at, plan.timeout_us))
            {
                run.stopping = Some(Stopping::Timeout);
                let why = Stopping::Timeout;
                self.effects.push(ScheduleEffect::Stop { id: id.clone(), why });
            }
            // What somebody asks for, for a moment of the past too, is due when they ask.
            let since = if run.cause.is_automatic() { run.moment } else { run.asked_at };
            if !run.told_late && passed(since, plan.deadline_us) {
                run.told_late = true;
                let run = run.clone();
                self.alert(AlertKind::Late, &run);
            }
        }
    }

    /// Adds runs for the moments that have come.
    fn due(&mut self, plan: &SchedulePlan) {
        let now = self.now;
        let state = self.state(&plan.name);
        if state.cursor.micros().saturating_sub(now.micros()) > CLOCK_BACK_US {
            state.cursor = now;
        }
        let (cursor, paused) = (state.cursor, state.paused || plan.paused);
        let Some(timing) = &plan.timing else { return };
        let Some(last) = timing.last(now).filter(|last| *last > cursor) else { return };
        let moments =
            if paused { Vec::new() } else { missed(timing, plan.catch_up, cursor, last, now) };
        let mut reached = if plan.catch_up == CatchUp::All && !paused {
            moments.last().copied().unwrap_or(last)
        } else {
            last
        };
        for moment in moments {
            if self.waiting(&plan.name) >= WAITING_MAX {
                // The next steps go on from here.
                reached = moment.plus_micros(-1);
                break;
            }
            // What is made up for is not left out because it is made up for one by one.
            let made_up = plan.catch_up == CatchUp::All && moment < last;
            self.add_due(plan, moment, made_up);
        }
        self.state(&plan.name).cursor = reached;
    }

    fn add_due(&mut self, plan: &SchedulePlan, moment: Timestamp, made_up: bool) {
        let asked = Asked {
            schedule: plan.name.clone(),
            cause: Cause::Time,
            moment: Some(moment),
            by: "schedule".to_owned(),
            mark: None,
            goes_on_from: None,
        };
        let others = self.ids(|run| {
            run.schedule == plan.name && run.cause.is_automatic() && run.moment < moment
        });
        if others.len() < plan.concurrency || made_up || plan.overlap == Overlap::Queue {
            self.add(plan, asked);
            return;
        }
        // Moments that are still made up for do not keep the present one from waiting behind them.
        let making_up = plan.catch_up == CatchUp::All
            && others.iter().any(|id| {
                self.board
                    .runs
                    .get(id)
                    .is_some_and(|r| r.status == RunStatus::Waiting && r.attempt == 0)
            });
        if making_up {
            self.add(plan, asked);
            return;
        }
        match plan.overlap {
            Overlap::Queue => {}
            Overlap::Cancel => {
                for id in others {
                    self.cancel(&id, Stopping::Newer);
                }
                self.add(plan, asked);
            }
            Overlap::Skip => {
                let Some(id) = self.add(plan, asked) else { return };
                let under_way = others.first().and_then(|id| self.board.runs.get(id));
                let why = under_way.map_or_else(String::new, |run| {
                    format!("the run for {} had not ended", run.moment)
                });
                self.close(&id, RunStatus::Skipped, Some(&why));
            }
        }
    }

    fn seen(&mut self, schedule: &str, versions: Value) {
        let busy = self.is_busy(schedule);
        if self.is_paused(schedule) {
            return;
        }
        let state = self.state(schedule);
        if state.seen.is_null() {
            // What was there before the schedule is nothing new.
            state.seen = versions;
            return;
        }
        // While a run has not ended, changes gather; the next run is for all of them.
        if state.seen == versions || busy {
            return;
        }
        state.seen = versions;
        self.add_now(schedule, Cause::Change, "change");
    }

    fn add_now(&mut self, schedule: &str, cause: Cause, by: &str) {
        self.asked(Asked {
            schedule: schedule.to_owned(),
            cause,
            moment: None,
            by: by.to_owned(),
            mark: None,
            goes_on_from: None,
        });
    }

    fn asked(&mut self, asked: Asked) {
        if let Some(plan) = self.plans.get(&asked.schedule) {
            self.add(plan, asked);
        }
    }

    /// Adds all of them, or none if they are more than may wait.
    fn asked_all(&mut self, all: Vec<Asked>) {
        let before = self.board.clone();
        let added = self.added.len();
        for asked in all {
            let count = self.added.len();
            self.asked(asked);
            if self.added.len() == count {
                self.board = before;
                self.added.truncate(added);
                return;
            }
        }
    }

    /// Adds a run unless it is there already.
    fn add(&mut self, plan: &SchedulePlan, asked: Asked) -> Option<String> {
        let now = self.now;
        let moment = asked.moment.unwrap_or(now);
        // A moment of the past that was asked for is the same run as that of its time.
        let group = match asked.cause {
            Cause::Time | Cause::Backfill => "time",
            other => other.name(),
        };
        let at = moment.micros().to_le_bytes();
        let mark = asked.mark.as_deref().unwrap_or_default();
        let id = match asked.cause {
            // A call that is repeated is the same one whenever it comes.
            Cause::Webhook if asked.mark.is_some() => {
                digest::short(&[plan.name.as_bytes(), group.as_bytes(), mark.as_bytes()])
            }
            _ => digest::short(&[
                plan.name.as_bytes(),
                plan.fingerprint.as_bytes(),
                group.as_bytes(),
                &at,
                mark.as_bytes(),
            ]),
        };
        if self.board.runs.contains_key(&id) {
            if asked.cause != Cause::Time {
                // Who asks is told which one it is.
                self.added.push(id);
            }
            return None;
        }
        // Moments of the clock are counted before they are added.
        if asked.cause != Cause::Time && self.waiting(&plan.name) >= WAITING_MAX {
            return None;
        }
        let run = ScheduledRun {
            id: id.clone(),
            schedule: plan.name.clone(),
            moment,
            cause: asked.cause,
            status: RunStatus::Waiting,
            attempt: 0,
            failures: 0,
            interruptions: 0,
            due_at: now,
            asked_by: asked.by,
            asked_at: now,
            started_at: None,
            ended_at: None,
            lease_until: None,
            stopping: None,
            run_id: None,
            goes_on_from: asked.goes_on_from,
            error_class: None,
            error: None,
            told_late: false,
            attempts: Vec::new(),
        };
        self.board.runs.insert(id.clone(), run);
        self.added.push(id.clone());
        Some(id)
    }

    /// Begins what may begin beside what is under way: in the order of priorities, within the limits of schedules and
    /// pools, and nothing that touches what something else writes.
    fn start(&mut self, free: usize, mut held: Claims) {
        let plans = self.plans;
        let mut under_way = UnderWay::default();
        for run in self.board.runs.values().filter(|run| run.status == RunStatus::Running) {
            under_way.add(run, plans.get(&run.schedule));
        }
        let mut ready: Vec<_> = self
            .board
            .runs
            .values()
            .filter(|run| run.status == RunStatus::Waiting && run.due_at <= self.now)
            .filter(|run| !self.added.contains(&run.id))
            // What was added begins with the next step, and the past is not begun before it.
            .filter(|run| run.cause != Cause::Backfill || self.added.is_empty())
            .filter(|run| !(run.cause.is_automatic() && self.is_paused(&run.schedule)))
            .filter_map(|run| {
                let plan = plans.get(&run.schedule)?;
                let backfill = run.cause == Cause::Backfill;
                let priority = std::cmp::Reverse(plan.priority);
                Some(((backfill, priority, run.moment, run.id.clone()), plan))
            })
            .collect();
        ready.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut left = free;
        for ((.., id), plan) in ready {
            if left == 0 {
                break;
            }
            let Some(run) = self.board.runs.get(&id).filter(|run| under_way.allows(run, plan))
            else {
                continue;
            };
            let blocked = held.meets(&plan.claims);
            // What has to wait for others keeps its turn: what comes after it and touches the same waits, too, or small
            // runs that follow each other would keep a large one from ever starting.
            held.join(&plan.claims);
            if !blocked {
                under_way.add(run, Some(plan));
                self.begin(&id);
                left -= 1;
            }
        }
    }

    fn begin(&mut self, id: &str) {
        let waits = |run: &&mut ScheduledRun| run.status == RunStatus::Waiting;
        let Some(run) = self.board.runs.get_mut(id).filter(waits) else { return };
        run.status = RunStatus::Running;
        run.attempt += 1;
        run.started_at = Some(self.now);
        run.lease_until = Some(self.now.plus_micros(LEASE_US));
        (run.stopping, run.run_id) = (None, None);
        self.effects.push(ScheduleEffect::Start(Box::new(run.clone())));
    }

    fn renew(&mut self, id: &str) {
        let Some(run) = self.board.runs.get_mut(id) else { return };
        // Not every time: each renewal is written to disk.
        let half = Some(self.now.plus_micros(LEASE_US / 2));
        if run.lease_until < half {
            run.lease_until = Some(self.now.plus_micros(LEASE_US));
        }
    }

    fn ended(&mut self, id: &str, attempt: u32, end: End) {
        let Some(run) = self.attempt(id, attempt) else { return };
        let (class, error) = match (end, run.stopping) {
            (End::Succeeded, _) => return self.succeeded(id),
            (End::Stopped, Some(Stopping::Timeout)) => {
                (TIMEOUT.to_owned(), "it took longer than its schedule allows".to_owned())
            }
            // One that failed by itself while it was being stopped is not tried again either.
            (_, Some(why @ (Stopping::Cancel | Stopping::Newer))) => {
                self.log_attempt(id, "cancelled");
                return self.close(id, RunStatus::Cancelled, Some(stopped_by(why)));
            }
            (End::Stopped, None) => return self.interrupted(id),
            (End::Failed { class, error }, _) => (class, error),
        };
        self.failed(id, &class, error);
    }

    fn succeeded(&mut self, id: &str) {
        self.log_attempt(id, "succeeded");
        self.close(id, RunStatus::Succeeded, None);
        let Some(run) = self.board.runs.get(id).cloned() else { return };
        if self.state(&run.schedule).failing_since.take().is_some() {
            self.alert(AlertKind::Recovered, &run);
        }
    }

    fn failed(&mut self, id: &str, class: &str, error: String) {
        self.log_attempt(id, class);
        let (now, plans) = (self.now, self.plans);
        let Some(run) = self.board.runs.get_mut(id) else { return };
        run.failures += 1;
        (run.error_class, run.error) = (Some(class.to_owned()), Some(error));
        let plan = plans.get(&run.schedule);
        let again =
            plan.filter(|plan| run.failures < plan.attempts && plan.retry_on.contains(class));
        if let Some(plan) = again {
            let doubled = plan.wait_us.saturating_mul(1_i64 << (run.failures - 1).min(40));
            run.due_at = now.plus_micros(doubled.min(plan.wait_max_us));
            wait_again(run);
            return;
        }
        let status = if class == "blocked" { RunStatus::Blocked } else { RunStatus::Failed };
        self.close(id, status, None);
        self.gave_up(id);
    }

    fn gave_up(&mut self, id: &str) {
        let now = self.now;
        let Some(run) = self.board.runs.get(id).cloned() else { return };
        let state = self.state(&run.schedule);
        if state.failing_since.is_none() {
            state.failing_since = Some(now);
            self.alert(AlertKind::Failed, &run);
        }
    }

    /// An attempt whose server was gone: it is begun again, because every task can be run again without losing or
    /// doubling a row.
    fn interrupted(&mut self, id: &str) {
        self.log_attempt(id, INTERRUPTED);
        let now = self.now;
        let Some(run) = self.board.runs.get_mut(id) else { return };
        // Somebody wanted it stopped, and stopped it is.
        if let Some(why @ (Stopping::Cancel | Stopping::Newer)) = run.stopping {
            return self.close(id, RunStatus::Cancelled, Some(stopped_by(why)));
        }
        run.interruptions += 1;
        if run.interruptions < INTERRUPTIONS_MAX {
            run.due_at = now;
            return wait_again(run);
        }
        run.error_class = Some(INTERRUPTED.to_owned());
        let text = format!("its server was gone {INTERRUPTIONS_MAX} times while it ran");
        self.close(id, RunStatus::Failed, Some(&text));
        self.gave_up(id);
    }

    fn cancel(&mut self, id: &str, why: Stopping) {
        let Some(run) = self.board.runs.get_mut(id) else { return };
        match run.status {
            RunStatus::Running => {
                // What a person stops is not said to have been stopped by a newer run, nor tried again after a timeout.
                if run.stopping != Some(Stopping::Cancel) {
                    run.stopping = Some(why);
                }
                self.effects.push(ScheduleEffect::Stop { id: id.to_owned(), why });
            }
            RunStatus::Waiting => {
                self.close(id, RunStatus::Cancelled, Some(stopped_by(why)));
            }
            _ => {}
        }
    }

    fn close(&mut self, id: &str, status: RunStatus, error: Option<&str>) {
        let Some(run) = self.board.runs.get_mut(id) else { return };
        run.status = status;
        run.ended_at = Some(self.now);
        (run.lease_until, run.stopping) = (None, None);
        if let Some(error) = error {
            run.error = Some(error.to_owned());
        } else if status == RunStatus::Succeeded {
            (run.error, run.error_class) = (None, None);
        }
    }

    fn log_attempt(&mut self, id: &str, result: &str) {
        let now = self.now;
        let Some(run) = self.board.runs.get_mut(id) else { return };
        run.attempts.push(Attempt {
            attempt: run.attempt,
            run_id: run.run_id.clone(),
            started_at: run.started_at.unwrap_or(now).micros(),
            ended_at: now.micros(),
            result: result.to_owned(),
        });
        // Where a run begins to go on from stays: its own attempts are listed.
        if result != "succeeded" && run.goes_on_from.is_none() {
            run.goes_on_from.clone_from(&run.run_id);
        }
    }

    fn alert(&mut self, kind: AlertKind, run: &ScheduledRun) {
        let Some(plan) = self.plans.get(&run.schedule).filter(|plan| plan.alert_on.contains(&kind))
        else {
            return;
        };
        let payload = json!({
            "alert": kind.name(), "schedule": run.schedule, "scheduled_run": run.id, "run_id": run.run_id,
            "moment": run.moment.to_string(), "status": run.status.name(), "attempt": run.attempt,
            "error_class": run.error_class, "error": run.error, "at": self.now.to_string(),
            "title": title(kind, run), "text": text(kind, run),
        });
        for action in &plan.alert_actions {
            // One for each kind and run, however often it is found out.
            let key =
                digest::short(&[run.id.as_bytes(), kind.name().as_bytes(), action.as_bytes()]);
            let alert = Alert::new(key, kind, run, action, payload.clone(), self.now);
            self.effects.push(ScheduleEffect::Alert(Box::new(alert)));
        }
    }

    fn attempt(&mut self, id: &str, attempt: u32) -> Option<&mut ScheduledRun> {
        let run = self.board.runs.get_mut(id)?;
        (run.status == RunStatus::Running && run.attempt == attempt).then_some(run)
    }

    fn state(&mut self, name: &str) -> &mut ScheduleState {
        let now = self.now;
        self.board.schedules.entry(name.to_owned()).or_insert_with(|| ScheduleState {
            name: name.to_owned(),
            paused: false,
            reason: None,
            // A new schedule has no past.
            cursor: now,
            seen: Value::Null,
            failing_since: None,
        })
    }

    fn is_paused(&self, name: &str) -> bool {
        self.board.schedules.get(name).is_some_and(|state| state.paused)
            || self.plans.get(name).is_some_and(|plan| plan.paused)
    }

    /// Whether a run that nobody asked for has not ended.
    fn is_busy(&self, name: &str) -> bool {
        let mut runs = self.board.runs.values();
        runs.any(|run| run.schedule == name && run.status.is_open() && run.cause.is_automatic())
    }

    fn waiting(&self, name: &str) -> usize {
        let runs = self.board.runs.values();
        runs.filter(|run| run.schedule == name && run.status == RunStatus::Waiting).count()
    }

    /// The open runs of a kind, in the order of their moments.
    fn ids(&self, wanted: impl Fn(&ScheduledRun) -> bool) -> Vec<String> {
        let open = self.board.runs.values().filter(|run| run.status.is_open() && wanted(run));
        let mut found: Vec<_> = open.map(|run| (run.moment, run.id.clone())).collect();
        found.sort();
        found.into_iter().map(|(_, id)| id).collect()
    }
}

/// How many runs are under way.
#[derive(Default)]
struct UnderWay {
    /// By schedule, and whether they are for the past.
    of: BTreeMap<(String, bool), usize>,
    in_pools: BTreeMap<String, usize>,
}

impl UnderWay {
    fn add(&mut self, run: &ScheduledRun, plan: Option<&SchedulePlan>) {
        *self.of.entry((run.schedule.clone(), run.cause == Cause::Backfill)).or_default() += 1;
        if let Some(pool) = plan.and_then(|plan| plan.pool.as_ref()) {
            *self.in_pools.entry(pool.name.clone()).or_default() += 1;
        }
    }

    /// Whether the schedule and its pool have room for one more.
    fn allows(&self, run: &ScheduledRun, plan: &SchedulePlan) -> bool {
        let backfill = run.cause == Cause::Backfill;
        let own = self.of.get(&(run.schedule.clone(), backfill)).copied().unwrap_or_default();
        let most = if backfill { plan.backfill_concurrency } else { plan.concurrency };
        let in_pool = |name: &String| self.in_pools.get(name).copied().unwrap_or_default();
        own < most && plan.pool.as_ref().is_none_or(|pool| in_pool(&pool.name) < pool.slots)
    }
}

fn stopped_by(why: Stopping) -> &'static str {
    if why == Stopping::Newer { "a newer run took its place" } else { "cancelled" }
}

fn wait_again(run: &mut ScheduledRun) {
    run.status = RunStatus::Waiting;
    (run.lease_until, run.stopping) = (None, None);
}

/// The moments after `cursor` for which runs are added.
fn missed(
    timing: &Timing,
    catch_up: CatchUp,
    cursor: Timestamp,
    last: Timestamp,
    now: Timestamp,
) -> Vec<Timestamp> {
    match catch_up {
        CatchUp::Latest => vec![last],
        CatchUp::None if now.micros() - last.micros() <= ON_TIME_US => vec![last],
        CatchUp::None => Vec::new(),
        CatchUp::All => {
            let following = std::iter::successors(timing.next(cursor), |at| timing.next(*at));
            following.take_while(|at| *at <= last).take(MADE_UP_AT_ONCE).collect()
        }
    }
}

fn title(kind: AlertKind, run: &ScheduledRun) -> String {
    match kind {
        AlertKind::Failed => format!("{} failed", run.schedule),
        AlertKind::Late => format!("{} is late", run.schedule),
        AlertKind::Recovered => format!("{} works again", run.schedule),
    }
}

fn text(kind: AlertKind, run: &ScheduledRun) -> String {
    let moment = run.moment;
    let mut text = match kind {
        AlertKind::Failed => {
            format!("The run for {moment} was given up after {} attempts.", run.attempt)
        }
        AlertKind::Late => format!("The run for {moment} is {}.", run.status.name()),
        AlertKind::Recovered => format!("The run for {moment} succeeded."),
    };
    if let Some(error) = run.error.as_ref().filter(|_| kind != AlertKind::Recovered) {
        text.push('\n');
        text.push_str(error);
    }
    if let Some(run_id) = &run.run_id {
        text.push_str(&format!("\nIts log: run {run_id}"));
    }
    text
}
