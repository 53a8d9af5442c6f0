//! `flywheel test`.

use clap::Args;
use flywheel_base::Result;
use flywheel_runtime::{Access, TestOutcome, run};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};
use crate::selection::{InEnvironment, Selection};

/// Options of `flywheel test`.
#[derive(Debug, Args)]
pub(crate) struct Test {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    environment: InEnvironment,
}

impl Runs for Test {
    const ABOUT: &'static str = "Runs tests on what readers see";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace = self.environment.open(&app, Access::Read).await?;
        let (select, known) = (self.selection.words(), self.selection.known(&workspace.project)?);
        let outcomes = run::test(&workspace, &select, &self.selection.exclude, &known).await?;
        if app.output.format == Format::Json {
            app.output.json(&outcomes)?;
        } else {
            let mut grid = Grid::new(&["test", "status", "#failures"]);
            for test in &outcomes {
                grid.row(vec![
                    test.name.clone(),
                    test.status.name().to_owned(),
                    test.failures.to_string(),
                ]);
            }
            app.output.grid(&grid)?;
            explain(&app, outcomes.iter());
        }
        let failed = outcomes.iter().any(|test| test.status.name() == "failed");
        Ok(if failed { Exit::Failed } else { Exit::Done })
    }
}

/// Shows a few failing rows of each test that did not pass.
pub(super) fn explain<'a>(app: &App, tests: impl Iterator<Item = &'a TestOutcome>) {
    for test in tests.filter(|test| test.status.name() != "passed") {
        app.output.message(&format!(
            "\n{} {} on {} rows",
            test.name,
            test.status.name(),
            test.failures
        ));
        if let Some(error) = &test.error {
            app.output.message(&format!("  {}", error.report));
        }
        for row in &test.sample.rows {
            let cells: Vec<String> = test
                .sample
                .columns
                .iter()
                .zip(row)
                .map(|(column, cell)| format!("{column}={cell}"))
                .collect();
            app.output.message(&format!("  {}", cells.join("  ")));
        }
        match &test.stored {
            Some(table) => app.output.message(&format!("  rows: select * from {table}")),
            None => app.output.message(&format!("  query: {}", test.sql)),
        }
    }
}
