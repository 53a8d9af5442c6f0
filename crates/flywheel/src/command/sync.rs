//! `flywheel sync`.

use std::pin::pin;
use std::time::Duration;

use clap::Args;
use flywheel_base::quantity::duration_us;
use flywheel_base::{Error, Result};
use flywheel_runtime::follow::{Beat, Options, follow, followed};
use flywheel_runtime::halt::COMMAND_LINE;
use flywheel_runtime::task::sync::{Landed, Synced};
use flywheel_runtime::{Access, Workspace, forget, run};
use serde_json::json;
use tokio::sync::watch;

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};
use crate::progress::Progress;

/// Options of `flywheel sync`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Sync {
    /// The syncs to run; all if none is named
    names: Vec<String>,
    /// Reads streams of changes (`read: cdc`) whole again, for logs that were lost; where a named sync has none, everything from its start, also what was cut off
    #[arg(long)]
    restart: bool,
    /// With --restart: only these streams of the one sync that is named; the others go on where they were
    #[arg(long = "stream", value_name = "STREAM", requires = "restart")]
    streams: Vec<String>,
    /// Goes on until Ctrl-C: follows logs of changes, and reads all other streams again and again
    #[arg(long, conflicts_with = "restart")]
    follow: bool,
    /// How long a stream without a log rests before it is read again: `30s`, `5m`, `1h`; if absent, what its sync says in `read_every`, or 10s
    #[arg(long, value_name = "DURATION", requires = "follow", value_parser = duration)]
    every: Option<Duration>,
    /// Removes what syncs whose files are gone made at their sources for reading logs (PostgreSQL: replication slot and publication); needs --yes
    #[arg(long, conflicts_with_all = ["restart", "follow"], requires = "names")]
    forget: bool,
    /// With --forget: only at this connection; else at all whose log can be followed
    #[arg(long, value_name = "CONNECTION", requires = "forget")]
    at: Option<String>,
    /// With --forget: confirms it
    #[arg(long, requires = "forget")]
    yes: bool,
    /// Keeps syncs with `followed: true` from being followed by a server until they are resumed; may be said while it runs
    #[arg(long, conflicts_with_all = ["restart", "follow", "forget"], requires = "names")]
    pause: bool,
    /// With --pause: why, for the record
    #[arg(long, default_value = "paused by hand", requires = "pause")]
    reason: String,
    /// Lets a server follow paused syncs again, and those that failed
    #[arg(long, conflicts_with_all = ["restart", "follow", "forget", "pause"], requires = "names")]
    resume: bool,
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
    every: Option<Duration>,
    progress: &Progress,
) -> Result<Synced> {
    let (send, stop) = watch::channel(false);
    let unheard = |_: &str, _: &Beat| ();
    let options = Options { every, ..Options::default() };
    let mut following = pin!(follow(workspace, names, &options, stop, progress, &unheard));
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
        if self.pause || self.resume {
            // It is said beside a server that keeps the project.
            let workspace = app.open(Access::Read).await?;
            return self.pause_or_resume(&app, &workspace);
        }
        let workspace = app.open(Access::Write).await?;
        if self.forget {
            return self.forget(&app, &workspace).await;
        }
        let progress = Progress::new(app.output, "sync");
        let synced = match (self.names.as_slice(), self.streams.as_slice()) {
            _ if self.follow => {
                Box::pin(until_asked(&workspace, &self.names, self.every, &progress)).await
            }
            (names, []) => {
                Box::pin(run::sync_each(&workspace, names, self.restart, &progress)).await
            }
            ([name], streams) => {
                Box::pin(run::sync_anew(&workspace, name, streams, &progress)).await
            }
            _ => Err(Error::invalid("which sync are the streams of?")
                .hint("Name one: `flywheel sync NAME --restart --stream STREAM`.")),
        };
        drop(progress);
        let Synced { landed, errors, .. } = synced?;
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

impl Sync {
    /// Has a server leave syncs alone, or take them up again.
    fn pause_or_resume(&self, app: &App, workspace: &Workspace) -> Result<Exit> {
        for name in &self.names {
            let (what, detail) = if self.pause {
                followed::pause(workspace, name, &self.reason, COMMAND_LINE)?;
                ("sync.pause", json!({"reason": self.reason}))
            } else {
                followed::resume(workspace, name, COMMAND_LINE)?;
                ("sync.resume", json!({}))
            };
            let now = workspace.machine.now();
            workspace.store.audit(now, COMMAND_LINE, what, name, &detail)?;
            app.output.message(&match self.pause {
                true => format!("sync \"{name}\" is not followed: {}", self.reason),
                false => format!("sync \"{name}\" is followed again while a server runs"),
            });
        }
        Ok(Exit::Done)
    }

    /// Removes what removed syncs have left behind, or says what would be.
    async fn forget(&self, app: &App, workspace: &Workspace) -> Result<Exit> {
        let left = |name: &String| forget::left(workspace, name, self.at.as_deref());
        let all = self.names.iter().map(left).collect::<Result<Vec<_>>>()?;
        for left in &all {
            let (name, at) = (&left.sync, left.connections.join(", "));
            let readers = left.readers.join(", ");
            if !self.yes {
                app.output.message(&format!(
                    "sync \"{name}\": would remove what is there at {at} for the readers {readers}"
                ));
                continue;
            }
            forget::forget(workspace, left).await?;
            app.output.message(&format!(
                "sync \"{name}\" is forgotten: nothing is kept for it at {at} any more; its tables stay"
            ));
        }
        if self.yes {
            return Ok(Exit::Done);
        }
        Err(Error::invalid("nothing was removed, as it was not confirmed")
            .hint("Whoever still follows those logs has to read everything again. Add `--yes`."))
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
