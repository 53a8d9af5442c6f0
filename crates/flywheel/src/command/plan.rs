//! `flywheel plan`.

use clap::Args;
use flywheel_base::Result;
use flywheel_runtime::{Access, BuildOptions, Changes, ModelDiff, Touched, plan};
use serde::Serialize;

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};
use crate::selection::{Defer, InEnvironment, Selection};

/// Options of `flywheel plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    defer: Defer,
    #[command(flatten)]
    environment: InEnvironment,
    /// Computes what changes, and counts rows and values that differ from production
    #[arg(long)]
    diff: bool,
    /// How many rows of each kind of difference are shown, at most 50
    #[arg(long, default_value_t = 3, requires = "diff")]
    samples: usize,
}

/// A plan with the differences of rows.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    changes: &'a Changes,
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<&'a [ModelDiff]>,
}

impl Runs for Plan {
    const ABOUT: &'static str =
        "Shows what a build would change, for whom, and what it would break";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace = self.environment.open(&app, Access::Read).await?;
        let (select, known) = (self.selection.words(), self.selection.known(&workspace.project)?);
        let defer = self.defer.elsewhere(&workspace.project, &self.selection)?;
        let options = BuildOptions {
            select: &select,
            exclude: &self.selection.exclude,
            known: Some(&known),
            defer: defer.as_ref(),
            ..BuildOptions::default()
        };
        let changes = plan::plan(&workspace, options).await?;
        let diff = match self.diff {
            true => Some(Box::pin(plan::diff(&workspace, &changes, options, self.samples)).await?),
            false => None,
        };
        if app.output.format == Format::Json {
            app.output.json(&Shown { changes: &changes, diff: diff.as_deref() })?;
        } else {
            print(&app, &changes)?;
            print_diff(&app, diff.as_deref().unwrap_or_default())?;
            conclude(&app, &changes);
        }
        Ok(if changes.breaks().is_empty() { Exit::Done } else { Exit::Blocked })
    }
}

/// How something is reached: by the columns it reads, or else by the models.
fn reached(touched: &Touched) -> String {
    let reads: Vec<&str> = match touched.columns.is_empty() {
        true => touched.reads.iter().map(String::as_str).collect(),
        false => touched.columns.iter().map(String::as_str).collect(),
    };
    format!("reads {}", reads.join(", "))
}

fn print_diff(app: &App, diff: &[ModelDiff]) -> Result<()> {
    if diff.is_empty() {
        return Ok(());
    }
    let count = |rows: Option<u64>| rows.map_or_else(String::new, |rows| rows.to_string());
    let mut grid = Grid::new(&[
        "model",
        "#rows",
        "#would be",
        "#added",
        "#removed",
        "#changed",
        "values",
        "key",
    ]);
    for model in diff {
        let columns = model.columns.iter();
        let values: Vec<String> =
            columns.map(|column| format!("~{} {}", column.column, column.changed)).collect();
        grid.row(vec![
            model.name.clone(),
            count(model.rows_before),
            count(model.rows_after),
            model.added.to_string(),
            model.removed.to_string(),
            model.changed.to_string(),
            values.join(", "),
            model.key.join(", "),
        ]);
    }
    app.output.grid(&grid)?;
    for model in diff {
        if let Some(note) = &model.note {
            app.output.message(&format!("{}: {note}", model.name));
        }
        for sample in &model.samples {
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
            let values = sample.values.iter().map(|value| match sample.change.name() {
                "added" => format!("{} {}", value.column, text(&value.after)),
                "removed" => format!("{} {}", value.column, text(&value.before)),
                _ => {
                    let (before, after) = (text(&value.before), text(&value.after));
                    format!("{} {before} -> {after}", value.column)
                }
            });
            let values: Vec<String> = values.collect();
            let key = match sample.key.is_empty() {
                true => String::new(),
                false => format!(" {}", sample.key.join(", ")),
            };
            app.output.message(&format!(
                "{} {}{key}: {}",
                model.name,
                sample.change.name(),
                values.join(", ")
            ));
        }
    }
    Ok(())
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
    Ok(())
}

/// What a person can do with the plan.
fn conclude(app: &App, changes: &Changes) {
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
            app.output.message(&format!("apply it: flywheel apply {}{other}", changes.digest));
        }
        (_, false) => {
            app.output.message("it cannot be applied; readers keep the last good version");
        }
    }
}
