//! `flywheel alert`.

use clap::{Args, Subcommand};
use flywheel_base::Result;
use flywheel_runtime::{Access, alert};
use serde_json::json;

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};

/// Options of `flywheel alert`.
#[derive(Debug, Args)]
pub(crate) struct Alert {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists the alerts of the project and what they found that goes on
    List,
    /// Looks at what alerts tell of now; nothing is told
    Check {
        /// The alerts; all if none is named
        names: Vec<String>,
    },
}

impl Runs for Alert {
    const ABOUT: &'static str = "Lists alerts, and shows what they would tell of";

    async fn run(self, app: App) -> Result<Exit> {
        match self.verb {
            Verb::List => list(&app).await,
            Verb::Check { names } => check(&app, names).await,
        }
    }
}

async fn list(app: &App) -> Result<Exit> {
    let workspace = app.open(Access::Read).await?;
    let all = alert::standing(&workspace)?;
    if app.output.format == Format::Json {
        app.output.json(&all)?;
        return Ok(Exit::Done);
    }
    let mut grid = Grid::new(&["alert", "tells of", "by", "goes on", "since"]);
    for one in &all {
        let row = |subject: &str, since: &str| {
            let send = if one.paused { "paused".to_owned() } else { one.send.join(" ") };
            let cells = [one.alert.as_str(), &one.when, &send, subject, since];
            cells.map(str::to_owned).to_vec()
        };
        if one.open.is_empty() {
            grid.row(row("", ""));
        }
        for open in &one.open {
            grid.row(row(&open.subject, &open.since));
        }
    }
    app.output.grid(&grid)?;
    let lost = alert::undelivered(&workspace)?;
    if !lost.is_empty() {
        app.output.message("alerts that did not arrive:");
        let mut grid = Grid::new(&["of", "action", "status", "#tries", "next try", "error"]);
        for one in lost {
            grid.row(vec![
                one.alert.or(one.schedule).unwrap_or_default(),
                one.action,
                one.status.to_owned(),
                one.attempts.to_string(),
                one.next_at.unwrap_or_else(|| "given up".to_owned()),
                one.error.unwrap_or_default(),
            ]);
        }
        app.output.grid(&grid)?;
    }
    Ok(Exit::Done)
}

/// Data that is at fault is a result: the exit says whether there is any.
async fn check(app: &App, names: Vec<String>) -> Result<Exit> {
    let workspace = app.open(Access::Read).await?;
    let project = &workspace.project;
    let names = if names.is_empty() { project.alerts.keys().cloned().collect() } else { names };
    let mut all = Vec::new();
    for name in &names {
        let declared = alert::named(project, name)?;
        for found in Box::pin(alert::check(&workspace, declared)).await? {
            all.push((name.as_str(), found));
        }
    }
    if app.output.format == Format::Json {
        let all = all.iter().map(
            |(name, found)| json!({"alert": name, "subject": found.subject, "text": found.text}),
        );
        app.output.json(&all.collect::<Vec<_>>())?;
    } else {
        let mut grid = Grid::new(&["alert", "subject", "text"]);
        for (name, found) in &all {
            grid.row(vec![(*name).to_owned(), found.subject.clone(), found.text.clone()]);
        }
        app.output.grid(&grid)?;
    }
    Ok(if all.is_empty() { Exit::Done } else { Exit::Failed })
}
