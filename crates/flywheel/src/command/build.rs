//! `flywheel build`.

use clap::Args;
use flywheel_base::{ErrorKind, Result, Timestamp};
use flywheel_runtime::{Access, BuildOptions, BuildReport, Interval, run};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};
use crate::progress::Progress;
use crate::selection::{Defer, InEnvironment, Selection, write_artifacts};

/// Options of `flywheel build`.
#[derive(Debug, Args)]
pub(crate) struct Build {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    environment: InEnvironment,
    #[command(flatten)]
    defer: Defer,
    /// Builds incremental models anew
    #[arg(long)]
    full_refresh: bool,
    /// Builds again what happened from this date or time on, in incremental models with event_time
    #[arg(long, value_name = "TIME", requires = "to", conflicts_with = "full_refresh")]
    from: Option<String>,
    /// The end of that interval, which is no part of it
    #[arg(long, value_name = "TIME", requires = "from")]
    to: Option<String>,
}

impl Build {
    fn interval(&self) -> Result<Option<Interval>> {
        let (Some(from), Some(to)) = (&self.from, &self.to) else { return Ok(None) };
        Interval::new(Timestamp::parse(from)?, Timestamp::parse(to)?).map(Some)
    }
}

impl Runs for Build {
    const ABOUT: &'static str = "Builds and tests changed models, then publishes what passed";

    async fn run(self, app: App) -> Result<Exit> {
        let interval = self.interval()?;
        let workspace = self.environment.open(&app, Access::Write).await?;
        let defer = self.defer.elsewhere(&workspace.project, &self.selection)?;
        let (select, known) = (self.selection.words(), self.selection.known(&workspace.project)?);
        let progress = Progress::new(app.output, "build");
        let options = BuildOptions {
            select: &select,
            exclude: &self.selection.exclude,
            known: Some(&known),
            full_refresh: self.full_refresh,
            defer: defer.as_ref(),
            interval,
            ..BuildOptions::default()
        };
        let report = run::build(&workspace, options, &progress).await;
        drop(progress);
        let report = report?;
        write_artifacts(&workspace.project, &report)?;
        print(&app, &report)?;
        Ok(exit_of(&report))
    }
}

/// How a build ends: a model that would break what reads it is no mistake of its own.
pub(super) fn exit_of(report: &BuildReport) -> Exit {
    if report.passed() {
        return Exit::Done;
    }
    let guarded = report.models.iter().any(|model| {
        let blocked = ErrorKind::Blocked.name();
        let error = model.error.as_ref();
        model.status.name() == "failed" && error.is_some_and(|error| error.kind == blocked)
    });
    if guarded { Exit::Blocked } else { Exit::Failed }
}

pub(super) fn print(app: &App, report: &BuildReport) -> Result<()> {
    if app.output.format == Format::Json {
        return app.output.json(report);
    }
    let mut grid = Grid::new(&["model", "status", "#rows", "#ms", "tests"]);
    for model in &report.models {
        let failed = model.tests.iter().filter(|test| test.status.name() == "failed").count();
        let warned = model.tests.iter().filter(|test| test.status.name() == "warned").count();
        let tests = match (model.tests.len(), failed, warned) {
            (0, ..) => String::new(),
            (n, 0, 0) => format!("{n} passed"),
            (n, f, w) => format!("{} passed, {w} warned, {f} failed", n - f - w),
        };
        grid.row(vec![
            model.name.clone(),
            model.status.name().to_owned(),
            model.rows.map_or_else(String::new, |rows| rows.to_string()),
            model.duration.as_millis().to_string(),
            tests,
        ]);
    }
    app.output.grid(&grid)?;
    super::test::explain(
        app,
        report.models.iter().flat_map(|model| &model.tests).chain(&report.tests),
    );
    for model in &report.models {
        if let Some(error) = &model.error {
            app.output.message(&format!("model {}: {}", model.name, error.report));
        }
    }
    for model in &report.models {
        for note in &model.notes {
            app.output.message(&format!("model {}: {note}", model.name));
        }
    }
    for note in &report.notes {
        app.output.message(note);
    }
    if let Some(error) = &report.error {
        app.output.message(&error.report);
    }
    if !report.blocked.is_empty() {
        app.output.message(&format!(
            "readers keep the last good version of: {}",
            report.blocked.join(", ")
        ));
    }
    Ok(())
}
