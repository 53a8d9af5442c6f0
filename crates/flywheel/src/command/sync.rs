//! `flywheel sync`.

use std::pin::pin;
use std::time::Duration;

use clap::Args;
use flywheel_base::Result;
use flywheel_base::quantity::duration_us;
use flywheel_runtime::follow::follow;
use flywheel_runtime::task::sync::{Landed, Synced};
use flywheel_runtime::{Access, Workspace, run};
use tokio::sync::watch;

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};
use crate::progress::Progress;

/// Options of `flywheel sync`.
#[derive(Debug, Args)]
pub(crate) struct Sync {
    /// The syncs to run; all if none is named
    names: Vec<String>,
    /// Reads streams of changes (`read: cdc`) whole again, for logs that were lost; where a named sync has none, incremental streams from their start
    #[arg(long)]
    restart: bool,
    /// Goes on until Ctrl-C: follows logs of changes, and reads all other streams again and again
    #[arg(long, conflicts_with = "restart")]
    follow: bool,
    /// How long a stream without a log rests before it is read again: `30s`, `5m`, `1h`
    #[arg(long, value_name = "DURATION", default_value = "10s", requires = "follow", value_parser = duration)]
    every: Duration,
}

/// Reads a duration as project files have it.
fn duration(text: &str) -> Result<Duration> {
    let micros = u64::try_from(duration_us(text)?).unwrap_or_default();
    Ok(Duration::from_micros(micros.max(1)))
}

/// Follows the syncs until the process is asked to end; what has come by then is committed.
async fn until_asked(
    workspace: &Workspace,
    names: &[String],
    every: Duration,
    progress: &Progress,
) -> Result<Synced> {
    let (send, stop) = watch::channel(false);
    let mut following = pin!(follow(workspace, names, every, stop, progress));
    tokio::select! {
        synced = &mut following => synced,
        () = asked_to_end() => {
            send.send_replace(true);
            following.await
        }
    }
}

#[cfg(unix)]
async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

#[cfg(not(unix))]
async fn asked_to_end() {
    drop(tokio::signal::ctrl_c().await);
}

impl Runs for Sync {
    const ABOUT: &'static str = "Lands new rows of the connections in the lake";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace = app.open(Access::Write).await?;
        let progress = Progress::new(app.output, "sync");
        let synced = if self.follow {
            Box::pin(until_asked(&workspace, &self.names, self.every, &progress)).await
        } else {
            Box::pin(run::sync_each(&workspace, &self.names, self.restart, &progress)).await
        };
        drop(progress);
        let Synced { landed, errors } = synced?;
        let mut errors = errors.into_iter();
        let first = errors.next();
        if first.is_none() || !landed.is_empty() || app.output.format == Format::Json {
            show(&app, &landed)?;
        }
        // The first one is said last, by whoever turns it into the exit code.
        for error in errors {
            app.output.message(&error.report());
        }
        first.map_or(Ok(Exit::Done), Err)
    }
}

/// Shows what each stream brought.
pub(super) fn show(app: &App, landed: &[Landed]) -> Result<Exit> {
    if app.output.format == Format::Json {
        app.output.json(&landed)?;
        return Ok(Exit::Done);
    }
    let filters = landed.iter().any(|one| one.rows_filtered > 0);
    let supersedes = landed.iter().any(|one| one.rows_superseded > 0);
    let mut names = vec!["table", "#rows read", "#landed"];
    names.extend(filters.then_some("#filtered"));
    names.extend(supersedes.then_some("#superseded"));
    names.extend(["#quarantined", "#version"]);
    let mut grid = Grid::new(&names);
    for one in landed {
        let mut row = vec![one.table.clone(), one.rows_in.to_string(), one.rows_out.to_string()];
        row.extend(filters.then(|| one.rows_filtered.to_string()));
        row.extend(supersedes.then(|| one.rows_superseded.to_string()));
        row.extend([
            one.rows_rejected.to_string(),
            one.version.map_or_else(String::new, |version| version.to_string()),
        ]);
        grid.row(row);
    }
    app.output.grid(&grid)?;
    let bad: u64 = landed.iter().map(|one| one.rows_rejected).sum();
    if bad > 0 {
        app.output
            .message(&format!("{bad} rows were set aside; look with `flywheel quarantine list`"));
    }
    Ok(Exit::Done)
}
