//! `flywheel quality`.

use clap::{Args, Subcommand};
use flywheel_base::{Error, Result, suggest};
use flywheel_runtime::access::Reading;
use flywheel_runtime::quality::{self, QualityResult, Verdict};
use flywheel_runtime::{Access, Workspace};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};
use crate::progress::Progress;

/// How many figures a history shows unless it is told otherwise.
const HISTORY_ROWS: u32 = 30;

/// Options of `flywheel quality`.
#[derive(Debug, Args)]
pub(crate) struct Quality {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Args)]
struct Chosen {
    /// Quality files, or what they are about: name, model, source:raw.orders, connection:shop, +model, tag:x
    #[arg(long, short, num_args = 1..)]
    select: Vec<String>,
    /// What is left out, in the same words
    #[arg(long, num_args = 1..)]
    exclude: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Finds every figure, judges it, and keeps the verdicts in system.quality_results
    Run {
        #[command(flatten)]
        chosen: Chosen,
    },
    /// Lists what is promised, and the last verdict of each promise
    Show {
        #[command(flatten)]
        chosen: Chosen,
    },
    /// Shows the figures of a quality file over time, with what was expected
    History {
        /// The quality file
        quality: String,
        /// One of its checks; all if absent
        check: Option<String>,
        /// How many of the newest figures
        #[arg(long, default_value_t = HISTORY_ROWS)]
        limit: u32,
    },
}

impl Runs for Quality {
    const ABOUT: &'static str = "Judges what is promised about tables, and shows figures over time";

    async fn run(self, app: App) -> Result<Exit> {
        match self.verb {
            Verb::Run { chosen } => judge(&app, &chosen).await,
            Verb::Show { chosen } => show(&app, &chosen).await,
            Verb::History { quality, check, limit } => {
                history(&app, &quality, check.as_deref(), limit).await
            }
        }
    }
}

async fn judge(app: &App, chosen: &Chosen) -> Result<Exit> {
    let workspace = app.open(Access::Write).await?;
    let progress = Progress::new(app.output, "quality");
    let options = quality::Options { select: &chosen.select, exclude: &chosen.exclude };
    let results = quality::run(&workspace, &options, &progress).await;
    drop(progress);
    let results = results?;
    let bad = |one: &QualityResult| matches!(one.verdict, Verdict::Failed | Verdict::Broken);
    let exit = if results.iter().any(bad) { Exit::Failed } else { Exit::Done };
    if app.output.format == Format::Json {
        app.output.json(&results)?;
        return Ok(exit);
    }
    let headers =
        ["dataset", "check", "verdict", "#figure", "must be", "#expected from", "#to", "#failing"];
    let mut grid = Grid::new(&headers);
    for one in &results {
        grid.row(vec![
            one.dataset.clone(),
            format!("{}.{}", one.quality, one.check),
            one.verdict.name().to_owned(),
            figure(one.value, &one.unit),
            one.threshold.clone().unwrap_or_default(),
            plain(one.low),
            plain(one.high),
            one.failing.map_or_else(String::new, |rows| rows.to_string()),
        ]);
    }
    app.output.grid(&grid)?;
    for one in results.iter().filter(|one| one.verdict != Verdict::Passed) {
        app.output.message(&format!("\n{}", quality::line(one)));
        if let Some(sample) = &one.sample {
            app.output.message(&format!("  rows: {sample}"));
        }
        if let Some(sql) = one.sql.as_ref().filter(|_| one.verdict != Verdict::Learning) {
            app.output.message(&format!("  query: {sql}"));
        }
    }
    if results.is_empty() {
        app.output.message("no file in quality/ promises anything; see docs/guides/quality.md");
    }
    Ok(exit)
}

async fn show(app: &App, chosen: &Chosen) -> Result<Exit> {
    let workspace = app.open(Access::Read).await?;
    let options = quality::Options { select: &chosen.select, exclude: &chosen.exclude };
    let promises = quality::last(&workspace, &options).await?;
    if app.output.format == Format::Json {
        app.output.json(&promises)?;
        return Ok(Exit::Done);
    }
    let headers = ["dataset", "check", "column", "promise", "severity", "last", "#figure", "at"];
    let mut grid = Grid::new(&headers);
    for one in promises {
        grid.row(vec![
            one.dataset,
            format!("{}.{}", one.quality, one.check),
            one.column.unwrap_or_default(),
            one.promised,
            one.severity,
            one.verdict.unwrap_or_default(),
            plain(one.value),
            one.at.unwrap_or_default(),
        ]);
    }
    app.output.grid(&grid)?;
    for hold in workspace.store.holds()? {
        let seen = hold.version.map_or_else(
            || "readers see no table".to_owned(),
            |version| format!("readers see version {version}"),
        );
        app.output.message(&format!("{} is held, {seen}: {}", hold.name, hold.reason));
    }
    Ok(Exit::Done)
}

async fn history(app: &App, quality: &str, check: Option<&str>, limit: u32) -> Result<Exit> {
    let workspace = app.open(Access::Read).await?;
    known(&workspace, quality, check)?;
    let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let of_check =
        check.map_or_else(String::new, |check| format!(" AND \"check\" = {}", text(check)));
    let sql = format!(
        "SELECT at, \"check\", value, low, high, threshold, verdict, reason FROM (SELECT * FROM system.quality_results \
         WHERE quality = {}{of_check} ORDER BY at DESC, \"check\" LIMIT {limit}) AS newest ORDER BY at, \"check\"",
        text(quality)
    );
    let query = workspace.session_for(&sql, &Reading::Owner).await?.query(&sql).await?;
    app.output.batches(&query.schema(), &query.collect().await?)?;
    Ok(Exit::Done)
}

/// Proves that the quality file and its check are declared.
fn known(workspace: &Workspace, name: &str, check: Option<&str>) -> Result<()> {
    let all = &workspace.project.qualities;
    let file = all.get(name).ok_or_else(|| {
        Error::not_found(format!("no quality file \"{name}\""))
            .hint(suggest::hint(name, all.keys().map(String::as_str)))
    })?;
    let names = flywheel_project::quality::check_names(file);
    match check {
        Some(check) if !names.iter().any(|name| name == check) => {
            Err(Error::not_found(format!("quality \"{name}\" has no check \"{check}\""))
                .hint(suggest::hint(check, names.iter().map(String::as_str))))
        }
        _ => Ok(()),
    }
}

fn figure(value: Option<f64>, unit: &str) -> String {
    let text = plain(value);
    if unit == "percent" && !text.is_empty() { format!("{text} %") } else { text }
}

fn plain(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| {
        if value.fract() == 0.0 && value.abs() < 1e15 {
            format!("{value}")
        } else {
            format!("{value:.4}")
        }
    })
}
