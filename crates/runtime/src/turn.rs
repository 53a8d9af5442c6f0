//! One turn of the wheel.

use flywheel_base::{Error, Result, Timestamp};
use flywheel_decision::act::Acted;
use flywheel_decision::decide::Decided;
use flywheel_decision::table::LiftRow;
use flywheel_state::{Run, Task, TaskOutcome};
use flywheel_transform::BuildOptions;
use flywheel_warehouse::{Location, TableName};
use serde_json::json;

use crate::follow::streams;
use crate::recorder::{Observer, Recorder};
use crate::task::decide::Decisions;
use crate::task::learn::{Fits, When};
use crate::task::sync::location_of;
use crate::task::{act, build, canary, decide, evaluate, learn, outcome};
use crate::{Workspace, environment, openlineage, quality, run, upkeep};

/// What one turn did.
#[derive(Clone, Debug)]
pub struct TurnReport {
    /// Its number.
    pub turn: i64,
    /// The moment it worked for.
    pub at: Timestamp,
    /// Whether it completed a turn that had been cut off.
    pub resumed: bool,
    /// Rows landed.
    pub rows_landed: u64,
    /// Rows set aside.
    pub rows_rejected: u64,
    /// What each policy decided.
    pub decided: Vec<Decided>,
    /// What left.
    pub acted: Acted,
    /// New outcomes.
    pub outcomes: usize,
    /// What each policy changed so far.
    pub lift: Vec<LiftRow>,
    /// Learners that were fitted.
    pub learned: Vec<String>,
    /// Tables whose log stands, models and tests that block publication, policies whose outcomes cannot be read, learners that
    /// cannot be judged or fitted, policies that cannot decide, and actions that cannot be set up, as a person reads it.
    pub blocked: Option<String>,
    /// The run's row.
    pub run: Run,
    /// Its tasks.
    pub tasks: Vec<Task>,
}

/// Runs one turn for the workspace's moment; a turn that was cut off is completed instead, for its own moment.
///
/// # Errors
/// The error of the task that failed, after the run has been recorded. The turn stays open, and the
/// next call goes on with it.
pub async fn turn(workspace: &Workspace, observer: &dyn Observer) -> Result<TurnReport> {
    turn_without(workspace, &[], observer).await
}

/// As [`turn`], without the syncs `without`, which a server reads whole for the first time just then: the turn works with what
/// is there, and says so.
///
/// # Errors
/// As [`turn`].
pub async fn turn_without(
    workspace: &Workspace,
    without: &[String],
    observer: &dyn Observer,
) -> Result<TurnReport> {
    let open = workspace.store.open_turn()?;
    let now = workspace.now();
    let turn = match open {
        Some(open) if open.logical_at != now => {
            return Err(Error::internal(format!(
                "turn {} for {} is open, but the clock says {now}",
                open.turn, open.logical_at
            )));
        }
        Some(open) => open,
        None => workspace.store.begin_turn(now)?,
    };
    let recorder = Recorder::start(workspace, observer, "turn", Some(turn.turn), now)?;
    let result = steps(workspace, &recorder, turn.turn, without).await;
    let tasks = recorder.tasks();
    match result {
        Ok(steps) => {
            workspace.store.complete_turn(turn.turn)?;
            let run = recorder.finish(None)?;
            Box::pin(openlineage::settle(workspace)).await;
            Ok(TurnReport {
                turn: turn.turn,
                at: now,
                resumed: open.is_some(),
                run,
                tasks,
                ..steps
            })
        }
        Err(error) => {
            recorder.finish(Some(&error))?;
            Box::pin(openlineage::settle(workspace)).await;
            Err(error.context(format!("turn {}", turn.turn)))
        }
    }
}

async fn steps(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    turn: i64,
    left_out: &[String],
) -> Result<TurnReport> {
    leave_out(workspace, recorder, left_out);
    let (mut rows_landed, mut rows_rejected) = (0, 0);
    let mut held = Vec::new();
    let syncs = |reads_lake: bool| -> Vec<String> {
        let syncs = workspace.project.syncs.iter();
        syncs
            .filter(|(name, sync)| sync.reads_lake() == reads_lake && !left_out.contains(name))
            .map(|(name, _)| name.clone())
            .collect()
    };
    for synced in run::each_synced(workspace, recorder, &syncs(false), false).await {
        // A table whose log stands alone has its last good rows, too.
        held.extend(synced.alone.iter().map(Error::report));
        if let Some(error) = synced.errors.into_iter().next() {
            return Err(error);
        }
        for landed in synced.landed {
            rows_landed += landed.rows_out;
            rows_rejected += landed.rows_rejected;
            // The wheel goes on with the last good rows.
            held.extend(landed.blocked);
        }
    }
    let without = &quality::left_to_turn(&workspace.project);
    let options = BuildOptions { without, ..BuildOptions::default() };
    let report = build::run(workspace, recorder, options).await?;
    let built = (!report.passed()).then(|| build::blocked(&report).report());
    let blocked: Vec<String> = held.into_iter().chain(built).collect();
    let blocked = (!blocked.is_empty()).then(|| blocked.join("\n"));
    if let Some(text) = &blocked {
        recorder.notice(text.clone());
    }
    // Learners that learn from outcomes know those of today.
    let known = async {
        let (outcomes, mut unknown) = outcome::join(workspace, recorder, turn).await?;
        unknown.extend(outcome::credit(workspace, recorder, turn).await?);
        unknown.extend(evaluate::run(workspace, recorder, turn).await?);
        Ok::<(usize, Vec<Error>), Error>((outcomes, unknown))
    };
    let promised = Box::pin(quality::in_turn(workspace, recorder));
    let (promised, known) = futures::join!(promised, Box::pin(known));
    promised?;
    // What cannot be known of one policy holds up no other one; the next turn that can makes up for it.
    let (outcomes, unknown) = known?;
    let learners: Vec<String> = workspace.project.learners.keys().cloned().collect();
    let Fits { learned, errors } =
        learn::run(workspace, recorder, turn, &learners, When::Due).await?;
    // The wheel goes on with what was learned before; the next turn tries again.
    let unfitted: Vec<String> = unknown.iter().chain(&errors).map(Error::report).collect();
    for text in &unfitted {
        recorder.notice(text.clone());
    }
    // Who decides is settled by what was learned and joined up to now.
    canary::run(workspace, recorder, turn).await?;
    let policies: Vec<String> = workspace.project.policies.keys().cloned().collect();
    let Decisions { decided, errors } = decide::run(workspace, recorder, turn, &policies).await?;
    // The other policies act and are measured; the next turn asks these again.
    let undecided: Vec<String> = errors.iter().map(Error::report).collect();
    for text in &undecided {
        recorder.notice(text.clone());
    }
    let acted = act::run(workspace, recorder, turn).await?;
    // What is due of an action that cannot be set up, or whose consent cannot be read, waits; the wheel goes on.
    let not_set_up = acted.not_set_up.iter().chain(&acted.not_looked_up).cloned();
    let stopped = unfitted.into_iter().chain(undecided).chain(not_set_up);
    let blocked: Vec<String> = blocked.into_iter().chain(stopped).collect();
    let blocked = (!blocked.is_empty()).then(|| blocked.join("\n"));
    // What leaves for other systems is read from tables as this turn has made them.
    for one in run::each_sync(workspace, recorder, &syncs(true), false).await {
        match one {
            Ok(all) => rows_rejected += all.iter().map(|one| one.rows_rejected).sum::<u64>(),
            // Another system that is down does not hold up the wheel; the next turn tries again.
            Err(error) => recorder.notice(error.report()),
        }
    }
    let (measured, asked) = outcome::measure(workspace, recorder, turn).await?;
    let uncompared = outcome::compare(workspace, recorder, turn, &measured.sums, asked).await?;
    // Everything else is measured; the next turn compares these as well, once they can be.
    let uncompared = measured.errors.iter().chain(&uncompared);
    let uncompared: Vec<String> = uncompared.map(Error::report).collect();
    for text in &uncompared {
        recorder.notice(text.clone());
    }
    let blocked: Vec<String> = blocked.into_iter().chain(uncompared).collect();
    let blocked = (!blocked.is_empty()).then(|| blocked.join("\n"));
    outcome::attribute(workspace, recorder, turn, &measured.rows).await?;
    let tables = workspace.lake.locations().await.and_then(|mut tables| {
        let busy = landing(workspace, left_out)?;
        tables.retain(|table| !busy.contains(table));
        Ok(tables)
    });
    upkeep::keep_up(workspace, recorder, tables).await;
    environment::clean_up(workspace, recorder).await;
    Ok(TurnReport {
        turn,
        at: workspace.now(),
        resumed: false,
        rows_landed,
        rows_rejected,
        decided,
        acted,
        outcomes,
        lift: measured.rows,
        learned: learned.into_iter().map(|learned| learned.learner).collect(),
        blocked,
        run: empty_run(),
        tasks: Vec::new(),
    })
}

/// Says which syncs a turn leaves out, and why.
fn leave_out(workspace: &Workspace, recorder: &Recorder<'_>, names: &[String]) {
    for name in names {
        let Some(sync) = workspace.project.syncs.get(name) else { continue };
        let why = "the server reads it whole for the first time, which is not waited for";
        recorder.notice(format!(
            "sync \"{name}\" is left out of this turn: {why}; what it has not brought yet comes with the next one"
        ));
        for stream in streams(name, sync) {
            let timer = recorder.started("sync", &stream);
            let outcome = TaskOutcome { detail: json!({"why": why}), ..TaskOutcome::default() };
            recorder.ended(timer, "skipped", outcome);
        }
    }
}

/// Where the rows of syncs land in the lake.
fn landing(workspace: &Workspace, names: &[String]) -> Result<Vec<Location>> {
    let syncs = names.iter().filter_map(|name| workspace.project.syncs.get(name));
    let streams = syncs.filter(|sync| sync.lands()).flat_map(|sync| &sync.streams);
    streams.map(|stream| location_of(&TableName::parse(&stream.table())?)).collect()
}

fn empty_run() -> Run {
    Run {
        run_id: String::new(),
        kind: String::new(),
        turn: None,
        logical_at: Timestamp::default(),
        status: String::new(),
        started_at: Timestamp::default(),
        ended_at: None,
        error: None,
        detail: serde_json::Value::Null,
    }
}
