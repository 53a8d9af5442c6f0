//! Outcomes, lift and experiments of every policy that says what counts as success.

use flywheel_base::{Error, Result, Timestamp};
use flywheel_decision::experiment::{Asked, Standings};
use flywheel_decision::lift::{self, Found, Measured};
use flywheel_decision::reported::{self, Kind, Landed, Topic};
use flywheel_decision::table::LiftRow;
use flywheel_decision::{attribution, experiment, outcome};
use flywheel_project::resource::policy::Choose;
use flywheel_state::TaskOutcome;
use serde_json::{Map, Value, json};

use crate::{Workspace, events, recorder::Recorder};

/// What the tasks are about.
const POLICIES: &str = "policies";

/// Reads what programs handed in and joins new outcomes of all policies; returns how many there are, and why those of some
/// policies could not be read. Each of these has a task of its own that says so.
///
/// # Errors
/// Those of [`reported::land`] and [`outcome::join`].
pub(crate) async fn join(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    turn: i64,
) -> Result<(usize, Vec<Error>)> {
    let now = workspace.now();
    let timer = recorder.started("outcome", POLICIES);
    let result = async {
        let landed = Box::pin(land(workspace, turn, now)).await?;
        // What has just landed is to be seen.
        let context = workspace.context(turn, now).await?;
        Ok::<_, Error>((landed, Box::pin(outcome::join(&context)).await?))
    };
    let (landed, joined) = recorder.settled(timer, result.await, |(landed, joined)| {
        let rows = joined.outcomes.values().sum::<usize>() as u64;
        let mut detail = json!(joined.outcomes);
        if let Some(detail) = detail.as_object_mut().filter(|_| !joined.without_unit.is_empty()) {
            detail.insert("events_without_unit_id".to_owned(), json!(joined.without_unit));
        }
        for (kind, landed) in landed.iter().filter(|(_, landed)| !landed.statuses.is_empty()) {
            if let Some(detail) = detail.as_object_mut() {
                detail.insert(format!("{}_handed_in", kind.topic()), json!(landed.statuses));
            }
        }
        let outcome = TaskOutcome { rows_out: Some(rows), detail, ..TaskOutcome::default() };
        let status = if joined.unread.is_empty() { "succeeded" } else { "warned" };
        (status.to_owned(), outcome)
    })?;
    for one in &joined.unread {
        let timer = recorder.started("outcome", &one.policy);
        let outcome = TaskOutcome {
            detail: json!({"joined_up_to": one.since.to_string()}),
            error: Some(one.error.report()),
            ..TaskOutcome::default()
        };
        recorder.ended(timer, "failed", outcome);
    }
    for (policy, why) in &joined.unreadable {
        recorder.notice(format!("policy \"{policy}\": {why}; such events count without a value"));
    }
    for text in landed.iter().flat_map(|(kind, landed)| landed.notices(*kind)) {
        recorder.notice(text);
    }
    let unread = joined.unread.into_iter().map(|one| one.error).collect();
    Ok((joined.outcomes.values().sum(), unread))
}

/// Makes rows of what programs handed in since the last turn.
async fn land(workspace: &Workspace, turn: i64, now: Timestamp) -> Result<Vec<(Kind, Landed)>> {
    let journal = match events::journal(workspace) {
        Ok(journal) => journal,
        // Without one journal no server takes anything.
        Err(error) => {
            tracing::debug!(%error, "nothing can have been handed in");
            return Ok(Vec::new());
        }
    };
    let open = |kind| Topic::open(kind, &journal, workspace.dir());
    let topics = Kind::ALL.into_iter().filter_map(|kind| open(kind).transpose());
    let topics = topics.collect::<Result<Vec<Topic>>>()?;
    if topics.is_empty() {
        return Ok(Vec::new());
    }
    // Opened after the topics: every decision that a message can name is seen.
    let context = workspace.context(turn, now).await?;
    let mut landed = Vec::with_capacity(topics.len());
    for topic in &topics {
        landed.push((topic.kind(), reported::land(&context, topic).await?));
    }
    Ok(landed)
}

/// Credits new successes to the actions before them; without a policy that asks for it there is no task. Returns why those of
/// some policies could not be read.
///
/// # Errors
/// Those of [`attribution::credit`].
pub(crate) async fn credit(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    turn: i64,
) -> Result<Vec<Error>> {
    if !attributes(workspace) {
        return Ok(Vec::new());
    }
    let context = workspace.context(turn, workspace.now()).await?;
    let timer = recorder.started("credit", POLICIES);
    let result = attribution::credit(&context).await;
    let credited = recorder.settled(timer, result, |credited| {
        let status = if credited.errors.is_empty() { "succeeded" } else { "warned" };
        (status.to_owned(), of_rows(credited.successes))
    })?;
    Ok(credited.errors)
}

/// Sums up what is credited to actions; without a policy that asks for it there is no task.
///
/// # Errors
/// Those of [`attribution::summarise`].
pub(crate) async fn attribute(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    turn: i64,
    lift: &[LiftRow],
) -> Result<()> {
    if !attributes(workspace) {
        return Ok(());
    }
    let context = workspace.context(turn, workspace.now()).await?;
    let timer = recorder.started("attribution", POLICIES);
    let result = attribution::summarise(&context, lift).await;
    recorder.settled(timer, result, |count| ("succeeded".to_owned(), of_rows(*count)))?;
    Ok(())
}

/// Whether a policy asks for attribution.
fn attributes(workspace: &Workspace) -> bool {
    let outcomes = workspace.project.policies.values().filter_map(|one| one.outcome.as_ref());
    outcomes.into_iter().any(|outcome| outcome.attribution.is_some())
}

fn of_rows(count: usize) -> TaskOutcome {
    TaskOutcome { rows_out: Some(count as u64), ..TaskOutcome::default() }
}

/// Measures every experiment by the sums of its lift and pauses the policies whose guardrails are breached; without an
/// experiment there is no task. Returns why some could not be measured.
///
/// # Errors
/// Those of [`experiment::measure`].
pub(crate) async fn compare(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    turn: i64,
    sums: &Found,
    asked: Asked,
) -> Result<Vec<Error>> {
    let mut policies = workspace.project.policies.values();
    if !policies.any(|policy| matches!(policy.choose, Choose::Experiment(_))) {
        return Ok(Vec::new());
    }
    let context = workspace.context(turn, workspace.now()).await?;
    let timer = recorder.started("experiment", POLICIES);
    let result = experiment::measure(&context, sums, asked).await;
    let Standings { rows, errors } = recorder.settled(timer, result, |all| {
        let rows = &all.rows;
        let ill = ["breached", "split-broken", "unmeasured"];
        let broken = rows.iter().any(|row| ill.contains(&row.standing.as_str()));
        let doubted = broken || !all.errors.is_empty() || !experiment::warnings(rows).is_empty();
        let status = if doubted { "warned" } else { "succeeded" };
        let outcome = TaskOutcome { rows_out: Some(rows.len() as u64), ..TaskOutcome::default() };
        (status.to_owned(), outcome)
    })?;
    for text in experiment::warnings(&rows) {
        recorder.notice(text);
    }
    Ok(errors)
}

/// Measures the lift of all policies and pauses those that do harm; says of which the lift is not to be believed, because
/// the split into arms is broken. What experiments ask is under way meanwhile.
///
/// # Errors
/// Those of [`lift::measure`].
pub(crate) async fn measure(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    turn: i64,
) -> Result<(Measured, Asked)> {
    let context = workspace.context(turn, workspace.now()).await?;
    let timer = recorder.started("lift", POLICIES);
    let asked = Asked::begin(&context);
    let result = lift::measure(&context).await;
    let measured = recorder.settled(timer, result, |measured| {
        let each = measured.rows.iter().map(|row| {
            let lift = json!({"lift": row.lift, "lower": row.lower, "upper": row.upper, "split_p": row.split_p});
            (row.policy.clone(), lift)
        });
        let detail = Value::Object(each.collect::<Map<_, _>>());
        let broken = measured.rows.iter().any(|row| broken(row).is_some());
        let doubted = broken || !measured.errors.is_empty();
        let status = if doubted { "warned" } else { "succeeded" };
        (status.to_owned(), TaskOutcome { detail, ..TaskOutcome::default() })
    })?;
    for text in measured.rows.iter().filter_map(broken) {
        recorder.notice(text);
    }
    Ok((measured, asked))
}

/// Why the lift of a policy is not to be believed, if so.
fn broken(row: &LiftRow) -> Option<String> {
    lift::split_broken(&row.policy, row.split_p?)
}
