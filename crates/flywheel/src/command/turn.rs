//! `flywheel turn`.

use std::sync::Arc;

use clap::Args;
use flywheel_base::{Clock, FixedClock, Result, SystemClock};
use flywheel_decision::lift::{ALL, split_broken};
use flywheel_decision::table::LiftRow;
use flywheel_runtime::replay::{Days, replay};
use flywheel_runtime::turn::{TurnReport, turn};
use flywheel_runtime::{Access, Workspace, alert, schedule};
use serde_json::{Value, json};

use super::Runs;
use super::status::{interval, points};
use crate::app::{App, Exit};
use crate::output::{Format, Grid};
use crate::progress::Progress;

/// Options of `flywheel turn`.
#[derive(Debug, Args)]
pub(crate) struct Turn {
    /// Turns the wheel once per day over dated inputs, on a virtual clock
    #[arg(long, value_name = "FROM..TO")]
    replay: Option<String>,
}

impl Runs for Turn {
    const ABOUT: &'static str =
        "Runs the whole loop once: sync, build, learn, decide, act, join outcomes";

    async fn run(self, app: App) -> Result<Exit> {
        let start = SystemClock.now();
        let clock = Arc::new(FixedClock::new(start));
        let workspace = app.open_with(Access::Write, Arc::<FixedClock>::clone(&clock)).await?;
        let progress = Progress::new(app.output, "turn");
        let mut blocked = false;
        let mut reports = Vec::new();
        let mut after = |report: &TurnReport| {
            blocked |= report.blocked.is_some();
            if app.output.for_people() {
                return app.output.line(&line(report));
            }
            reports.push(object(report));
            Ok(())
        };
        if let Some(days) = &self.replay {
            let days = Days::parse(days)?;
            let turned = replay(&workspace, &clock, days, &progress, &mut after).await?;
            if turned == 0 {
                app.output.message("every day of the span has been turned before; nothing to do");
            }
        } else {
            if let Some(open) = workspace.store.open_turn()? {
                after(&turn(&workspace.at(open.logical_at)?, &progress).await?)?;
            }
            after(&turn(&workspace, &progress).await?)?;
            Box::pin(tell(&workspace)).await;
        }
        drop(progress);
        if app.output.format == Format::Json {
            app.output.json(&reports)?;
        } else if !app.output.for_people() {
            app.output.grid(&grid(&reports))?;
        }
        Ok(if blocked { Exit::Blocked } else { Exit::Done })
    }
}

/// Tells what the turn left to be told. It is done: what cannot be told now is told by the next turn, or by a server.
async fn tell(workspace: &Workspace) {
    if workspace.project.alerts.is_empty() {
        return;
    }
    let told = async {
        alert::look_at_all(workspace).await?;
        schedule::tell(workspace).await
    };
    if let Err(error) = told.await {
        tracing::warn!(error = %error.report(), "alerts are not told");
    }
}

/// One turn in a line.
pub(crate) fn line(report: &TurnReport) -> String {
    let decisions: usize = report.decided.iter().map(|decided| decided.decisions).sum();
    let mut text = format!(
        "turn {:>4}  {}  landed {:>6}  decided {decisions:>5}  sent {:>5}  outcomes {:>5}",
        report.turn,
        report.at.date(),
        report.rows_landed,
        report.acted.delivered,
        report.outcomes
    );
    if report.rows_rejected > 0 {
        text.push_str(&format!("  quarantined {}", report.rows_rejected));
    }
    for row in report.lift.iter().filter(|row| row.lift.is_some()) {
        let name = if row.policy == ALL { "all policies" } else { row.policy.as_str() };
        text.push_str(&format!("  {name} {} {}", points(row.lift), interval(row.lower, row.upper)));
        if broken(row) {
            text.push_str(" (SPLIT BROKEN, not to be believed)");
        }
    }
    if !report.learned.is_empty() {
        text.push_str(&format!("  learned {}", report.learned.join(", ")));
    }
    if report.resumed {
        text.push_str("  (completed after an interruption)");
    }
    if report.blocked.is_some() {
        text.push_str("  BLOCKED");
    }
    if let Some(reason) = &report.acted.halted {
        text.push_str(&format!("  ALL POLICIES ARE STOPPED: {reason}"));
    }
    text
}

/// Whether the arms are more uneven than chance allows.
fn broken(row: &LiftRow) -> bool {
    row.split_p.is_some_and(|p| split_broken(&row.policy, p).is_some())
}

fn object(report: &TurnReport) -> Value {
    let duration = report
        .run
        .ended_at
        .map(|end| (end.micros() - report.run.started_at.micros()) as f64 / 1_000.0);
    json!({
        "turn": report.turn, "date": report.at.date(), "resumed": report.resumed,
        "rows_landed": report.rows_landed, "rows_rejected": report.rows_rejected,
        "decisions": report.decided.iter().map(|d| d.decisions).sum::<usize>(),
        "delivered": report.acted.delivered, "dead": report.acted.dead, "outcomes": report.outcomes,
        "learned": report.learned, "blocked": report.blocked, "halted": report.acted.halted, "duration_ms": duration,
        "lift": report.lift.iter().map(lift).collect::<Vec<_>>(),
    })
}

fn lift(row: &LiftRow) -> Value {
    json!({
        "policy": row.policy, "lift": row.lift, "lower": row.lower, "upper": row.upper,
        "split_p": row.split_p, "split_broken": broken(row),
    })
}

fn grid(reports: &[Value]) -> Grid {
    let columns = [
        "#turn",
        "date",
        "#rows_landed",
        "#rows_rejected",
        "#decisions",
        "#delivered",
        "#outcomes",
        "#duration_ms",
    ];
    let mut grid = Grid::new(&columns);
    for report in reports {
        let cell = |name: &&str| {
            let value = &report[name.trim_start_matches('#')];
            value.as_str().map_or_else(|| value.to_string(), str::to_owned)
        };
        grid.row(columns.iter().map(cell).collect());
    }
    grid
}
