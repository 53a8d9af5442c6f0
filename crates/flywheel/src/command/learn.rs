//! `flywheel learn`.

use clap::Args;
use flywheel_base::Result;
use flywheel_runtime::task::learn::Fits;
use flywheel_runtime::{Access, run};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};
use crate::progress::Progress;

/// Options of `flywheel learn`.
#[derive(Debug, Args)]
pub(crate) struct Learn {
    /// The learners to fit now; those that are due if none is named
    names: Vec<String>,
}

impl Runs for Learn {
    const ABOUT: &'static str = "Fits learners and scores their tables";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace = app.open(Access::Write).await?;
        let progress = Progress::new(app.output, "learn");
        let fits = run::learn(&workspace, &self.names, &progress).await;
        drop(progress);
        let Fits { learned, errors } = fits?;
        let mut grid = Grid::new(&["learner", "artifact", "#rows in", "#scores", "detail"]);
        for one in &learned {
            let artifact: String = one.artifact.chars().take(12).collect();
            grid.row(vec![
                one.learner.clone(),
                if app.output.format == Format::Table { artifact } else { one.artifact.clone() },
                one.rows_in.to_string(),
                one.rows_out.to_string(),
                one.detail.to_string(),
            ]);
        }
        let mut errors = errors.into_iter();
        let first = errors.next();
        if first.is_none() || !learned.is_empty() || app.output.format == Format::Json {
            app.output.grid(&grid)?;
        }
        if first.is_none() && learned.is_empty() {
            app.output.message("no learner is due; name one to fit it now");
        }
        // The first one is said last, by whoever turns it into the exit code.
        for error in errors {
            app.output.message(&error.report());
        }
        first.map_or(Ok(Exit::Done), Err)
    }
}
