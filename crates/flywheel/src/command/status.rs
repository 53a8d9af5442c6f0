//! `flywheel status`.

use clap::Args;
use flywheel_base::Result;
use flywheel_decision::lift;
use flywheel_runtime::Access;
use flywheel_runtime::halt::Halted;
use flywheel_runtime::status::{FollowedStatus, PolicyStatus, PolicyTurn, Status as Wheel, status};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};

/// How many of the last turns a table shows.
const TURNS_SHOWN: usize = 10;

/// Options of `flywheel status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Shows every turn, not only the last ten
    #[arg(long)]
    all: bool,
}

impl Runs for Status {
    const ABOUT: &'static str = "Shows the wheel at a glance";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace = app.open(Access::Read).await?;
        let wheel = status(&workspace).await?;
        if app.output.format == Format::Json {
            app.output.json(&wheel)?;
            return Ok(Exit::Done);
        }
        print(&app, &wheel, if self.all { usize::MAX } else { TURNS_SHOWN })?;
        Ok(Exit::Done)
    }
}

fn print(app: &App, wheel: &Wheel, turns: usize) -> Result<()> {
    let turn = match &wheel.turn {
        None => "no turn yet".to_owned(),
        Some(turn) if turn.complete => format!("turn {} for {}", turn.turn, turn.at),
        Some(turn) => format!(
            "turn {} for {} was cut off; the next `flywheel turn` completes it",
            turn.turn, turn.at
        ),
    };
    app.output.line(&format!("{}: {turn}", wheel.project))?;
    if let Some(halted) = &wheel.halted {
        app.output.line(&stopped(halted))?;
    }
    if wheel.simulated {
        app.output.line("The customers of this project are simulated.")?;
    }
    let number = |known: Option<u64>| known.map_or_else(String::new, |n| n.to_string());
    let changes_wait = wheel.landed.iter().any(|table| table.waiting_changes > Some(0));
    let mut titles = vec!["landed table", "#rows", "#version"];
    titles.extend(changes_wait.then_some("#changes that wait"));
    let mut tables = Grid::new(&titles);
    for table in &wheel.landed {
        let mut row = vec![table.name.clone(), number(table.rows), table.version.to_string()];
        row.extend(changes_wait.then(|| number(table.waiting_changes)));
        tables.row(row);
    }
    app.output.line("")?;
    app.output.grid(&tables)?;
    app.output.line(&format!(
        "\n{} rows in quarantine · {} models published{} · outbox: {} pending, {} dead{}{}",
        wheel.quarantined,
        wheel.models,
        if wheel.blocked.is_empty() {
            String::new()
        } else {
            format!(", blocked: {}", wheel.blocked.join(", "))
        },
        wheel.outbox_pending,
        wheel.outbox_dead,
        match wheel.outbox_discarded {
            0 => String::new(),
            count => format!(", {count} discarded"),
        },
        match wheel.outbox_waiting {
            0 => String::new(),
            count => format!(", {count} to be approved (`flywheel approvals list`)"),
        }
    ))?;
    for one in &wheel.followed {
        app.output.line(&followed(one))?;
    }
    learners(app, wheel)?;
    for policy in &wheel.policies {
        policy_turns(app, policy, turns)?;
    }
    together(app, wheel, turns)?;
    Ok(())
}

/// What is said of a sync that a server follows.
fn followed(one: &FollowedStatus) -> String {
    let (sync, why) =
        (&one.sync, one.error.as_deref().or(one.reason.as_deref()).unwrap_or_default());
    let until =
        one.reached.as_ref().map_or_else(String::new, |at| format!(", complete up to {at}"));
    match (one.state.as_str(), &one.next_at) {
        ("failed", _) => {
            format!("FAILED: sync {sync} is not followed any more{until}: {why}")
        }
        ("failing", Some(next)) => {
            let attempt = one.attempt.unwrap_or_default();
            format!(
                "FAILING: sync {sync} is tried again at {next}, after {attempt} attempts{until}: {why}"
            )
        }
        ("partial", Some(next)) => {
            let aside = one.aside.join(", ");
            format!(
                "SET ASIDE: {aside}, tried again at {next}; the rest of sync {sync} goes on{until}: {why}"
            )
        }
        ("partial", None) => {
            let stopped = one.aside.join(", ");
            format!("STOPPED: {stopped}; the rest of sync {sync} goes on{until}: {why}")
        }
        ("paused", _) => format!("PAUSED: sync {sync} is not followed{until}: {why}"),
        ("stopped", _) => format!("sync {sync} is followed while `flywheel serve` runs{until}"),
        (state, _) if why.is_empty() => format!("sync {sync}: {state}{until}"),
        (state, _) => format!("sync {sync}: {state}{until}: {why}"),
    }
}

/// What is said while all policies are stopped.
pub(super) fn stopped(halted: &Halted) -> String {
    format!(
        "ALL POLICIES ARE STOPPED since {} by {}: {}\nNothing is decided and nothing leaves until `flywheel policy resume --all`.",
        halted.at, halted.by, halted.reason
    )
}

fn learners(app: &App, wheel: &Wheel) -> Result<()> {
    let mut grid =
        Grid::new(&["learner", "artifact", "fitted at", "measure", "#value", "#to beat", "#over"]);
    for learner in &wheel.learners {
        let head = |first: bool| {
            let shown = |text: &Option<String>| text.clone().filter(|_| first).unwrap_or_default();
            vec![
                if first { learner.learner.clone() } else { String::new() },
                shown(&learner.artifact),
                shown(&learner.fitted_at),
            ]
        };
        if learner.measures.is_empty() {
            grid.row([head(true), vec![String::new(); 4]].concat());
        }
        for (index, measure) in learner.measures.iter().enumerate() {
            let cells = vec![
                format!("{} ({})", measure.measure, measure.against),
                number(measure.value),
                number(measure.baseline),
                measure.count.to_string(),
            ];
            grid.row([head(index == 0), cells].concat());
        }
    }
    app.output.line("")?;
    app.output.grid(&grid)?;
    for learner in &wheel.learners {
        if let Some(why) = &learner.failed {
            app.output.line(&format!("FAILED: {why}"))?;
        }
        if let Some(why) = &learner.pinned {
            let name = &learner.learner;
            app.output.line(&format!("PINNED: learner \"{name}\" is not fitted: {why}"))?;
        }
        if let Some(worse) = &learner.drift {
            app.output.line(&format!("WORSE: {worse}"))?;
        }
    }
    Ok(())
}

fn policy_turns(app: &App, policy: &PolicyStatus, turns: usize) -> Result<()> {
    let paused =
        policy.paused.as_ref().map_or_else(String::new, |reason| format!(" · PAUSED: {reason}"));
    let promoted =
        policy.promoted.as_ref().map_or_else(String::new, |who| format!(" · decided by {who}"));
    app.output.line(&format!(
        "\n{}: {} decisions ({} in the holdout), {} actions, {} outcomes{promoted}{paused}",
        policy.policy, policy.decisions, policy.held_out, policy.actions, policy.outcomes
    ))?;
    if let Some(why) = &policy.failed {
        app.output.line(&format!("FAILED: {why}"))?;
    }
    if let Some(count) = policy.without_forecast {
        app.output.line(&format!(
            "{count} units have no forecast, so that nothing is ordered for them"
        ))?;
    }
    if let Some(why) = &policy.unread {
        let since = policy.unread_since.as_deref().unwrap_or_default();
        app.output.line(&format!("OUTCOMES NOT READ since {since}: {why}"))?;
    }
    if let Some(why) = &policy.split_broken {
        app.output.line(&format!("SPLIT BROKEN: {why}"))?;
    }
    if policy.turns.is_empty() {
        return Ok(());
    }
    app.output.grid(&lifts(&policy.turns, turns))
}

/// What all policies bring together, where some units are kept from all of them.
fn together(app: &App, wheel: &Wheel, turns: usize) -> Result<()> {
    let Some(last) = wheel.together.last() else { return Ok(()) };
    app.output.line(
        "\nall policies together: everybody else beside the holdout of all policies, by windows",
    )?;
    if let Some(why) = last.split_p.and_then(|p| lift::split_broken(lift::ALL, p)) {
        app.output.line(&format!("SPLIT BROKEN: {why}"))?;
    }
    app.output.grid(&lifts(&wheel.together, turns))
}

/// The newest turns of a lift.
fn lifts(all: &[PolicyTurn], turns: usize) -> Grid {
    let mut grid = Grid::new(&[
        "#turn",
        "#decisions",
        "#measured",
        "#treated",
        "#holdout",
        "#lift",
        "95 % interval",
        "artifact",
    ]);
    for turn in all.iter().skip(all.len().saturating_sub(turns)) {
        grid.row(vec![
            turn.turn.to_string(),
            turn.decisions.to_string(),
            turn.measured.to_string(),
            percent(turn.treated_rate),
            percent(turn.holdout_rate),
            points(turn.lift),
            interval(turn.lower, turn.upper),
            turn.artifact.clone().unwrap_or_default(),
        ]);
    }
    grid
}

/// A share as per cent; a dash if it is not known.
pub(crate) fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{:.1} %", 100.0 * value))
}

/// A difference of shares in points; a dash if it is not known.
pub(crate) fn points(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{:+.1} pt", 100.0 * value))
}

/// An interval in points; what is missing is said to be missing.
pub(crate) fn interval(lower: Option<f64>, upper: Option<f64>) -> String {
    match lower.zip(upper) {
        Some((lower, upper)) => format!("[{:+.1}, {:+.1}]", 100.0 * lower, 100.0 * upper),
        None => "not enough yet".to_owned(),
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.4}"))
}
