//! `flywheel plan`.

use clap::Args;
use flywheel_base::Result;
use flywheel_project::graph::Known;
use flywheel_runtime::{Access, Changes, plan};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};
use crate::selection::InEnvironment;

/// Options of `flywheel plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Models: name, +name (and what it reads), name+ (and what reads it), tag:x, path:x, source:x
    #[arg(long, short, num_args = 1..)]
    select: Vec<String>,
    /// Models to leave out, in the same words
    #[arg(long, num_args = 1..)]
    exclude: Vec<String>,
    #[command(flatten)]
    environment: InEnvironment,
}

impl Runs for Plan {
    const ABOUT: &'static str =
        "Shows what a build would change, for whom, and what it would break";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace = self.environment.open(&app, Access::Read).await?;
        let changes = plan::plan(&workspace, &self.select, &self.exclude, &Known::new()).await?;
        if app.output.format == Format::Json {
            app.output.json(&changes)?;
        } else {
            print(&app, &changes)?;
        }
        Ok(if changes.breaks().is_empty() { Exit::Done } else { Exit::Blocked })
    }
}

fn print(app: &App, changes: &Changes) -> Result<()> {
    let mut grid = Grid::new(&["model", "change", "impact", "columns", "through"]);
    for model in &changes.models {
        let columns = [
            ("+", &model.columns_added),
            ("-", &model.columns_removed),
            ("~", &model.columns_changed),
        ];
        let columns = columns
            .iter()
            .flat_map(|(sign, names)| names.iter().map(move |name| format!("{sign}{name}")));
        let mut columns: Vec<String> = columns.collect();
        if model.rows_changed {
            columns.insert(0, "rows".to_owned());
        }
        let name = match model.selected {
            true => model.name.clone(),
            false => format!("{} (not selected)", model.name),
        };
        grid.row(vec![
            name,
            model.change.name().to_owned(),
            model.impact.name().to_owned(),
            columns.join(" "),
            model.through.join(", "),
        ]);
    }
    if !changes.models.is_empty() {
        app.output.grid(&grid)?;
    }
    for touched in changes.dependents.iter().filter(|touched| touched.breaks.is_none()) {
        app.output.message(&format!("touches {} ({})", touched.node, reached(touched)));
    }
    let breaks = changes.breaks();
    for broken in &breaks {
        app.output.message(&format!("breaks {broken}"));
    }
    let tasks = changes.models.iter().filter(|model| model.selected).count();
    app.output.message(&format!(
        "{tasks} models to build or remove, {} unchanged, environment {}",
        changes.unchanged, changes.environment
    ));
    let other = match changes.environment == flywheel_state::PRODUCTION {
        true => String::new(),
        false => format!(" --environment {}", changes.environment),
    };
    match (tasks, breaks.is_empty()) {
        (0, true) => {}
        (_, true) => {
            app.output.message(&format!("apply it: flywheel apply {}{other}", changes.digest))
        }
        (_, false) => {
            app.output.message("it cannot be applied; readers keep the last good version")
        }
    }
    Ok(())
}
