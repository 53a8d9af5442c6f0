//! `flywheel split`.

use clap::{Args, Subcommand};
use flywheel_base::Result;
use flywheel_runtime::split::{self, Options, SplitPlan, SplitTableWritten, SplitVerified};
use flywheel_runtime::{Access, Workspace};
use serde_json::{Value, json};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};
use crate::progress::Progress;

/// How many keys are shown of each kind of difference.
const KEYS_SHOWN: usize = 10;

/// Options of `flywheel split`.
#[derive(Debug, Args)]
pub(crate) struct Split {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Says which rows go where, which references lead out and what stands in the way; writes nothing
    Plan {
        /// The split
        name: String,
    },
    /// Writes both parts; run again, it writes only what does not stand yet
    Run {
        /// The split
        name: String,
        /// Writes every table anew, also where that replaces rows this split did not write
        #[arg(long)]
        overwrite: bool,
    },
    /// Proves from what stands in both parts that no row is lost, changed or in the wrong part
    Verify {
        /// The split
        name: String,
        /// Columns that are not compared
        #[arg(long)]
        skip: Vec<String>,
    },
    /// Shows what the last run or proof found, or each reference that is emptied
    Report {
        /// The split
        name: String,
        /// Lists the references that are emptied, with what they lead to
        #[arg(long)]
        cleared: bool,
    },
    /// Shows how far all splits are
    List,
}

impl Runs for Split {
    const ABOUT: &'static str = "Takes one system apart into two and proves that nothing leaks";

    async fn run(self, app: App) -> Result<Exit> {
        match self.verb {
            Verb::Plan { name } => {
                let workspace = app.open(Access::Read).await?;
                plan(&app, &Box::pin(split::plan(&workspace, &name)).await?)
            }
            Verb::Run { name, overwrite } => {
                let workspace = app.open(Access::Write).await?;
                let progress = Progress::new(app.output, "split");
                let run = split::run(&workspace, &name, Options { overwrite }, &progress);
                let written = Box::pin(run).await;
                drop(progress);
                let written = written?;
                if app.output.format == Format::Json {
                    app.output.json(&written)?;
                } else {
                    app.output.grid(&tables_written(&written))?;
                }
                app.output.message(&format!(
                    "written; prove it with `flywheel split verify {name}` before anybody works with it"
                ));
                Ok(Exit::Done)
            }
            Verb::Verify { name, skip } => {
                let workspace = app.open(Access::Write).await?;
                let progress = Progress::new(app.output, "split");
                let found = Box::pin(split::verify(&workspace, &name, &skip, &progress)).await;
                drop(progress);
                verified(&app, &found?)
            }
            Verb::Report { name, cleared: true } => {
                let workspace = app.open(Access::Read).await?;
                cleared(&app, &workspace, &name).await
            }
            Verb::Report { name, cleared: false } => {
                let workspace = app.open(Access::Read).await?;
                report(&app, &workspace, &name)
            }
            Verb::List => list(&app).await,
        }
    }
}

fn plan(app: &App, plan: &SplitPlan) -> Result<Exit> {
    let exit = if plan.problems.is_empty() { Exit::Done } else { Exit::Blocked };
    if app.output.format == Format::Json {
        app.output.json(plan)?;
        return Ok(exit);
    }
    let mut grid = Grid::new(&[
        "table",
        "rows go",
        "#rows",
        "part",
        "#gets",
        "#in both",
        "#there now",
        "what happens",
    ]);
    for table in &plan.tables {
        for part in &table.parts {
            grid.row(vec![
                table.table.clone(),
                table.placed.clone(),
                table.rows.to_string(),
                part.part.clone(),
                part.rows.to_string(),
                table.copied.to_string(),
                part.rows_there.map_or_else(String::new, |rows| rows.to_string()),
                part.change.clone(),
            ]);
        }
    }
    app.output.grid(&grid)?;
    for one in &plan.references {
        let to = &one.to;
        let text = match &one.part {
            Some(part) => format!(
                "reference {}: {} rows of part {part} lead to rows of {to} in the other part; each {}",
                one.reference, one.rows, one.what
            ),
            None => format!(
                "reference {}: {} rows lead to no row of {to}; each {}",
                one.reference, one.rows, one.what
            ),
        };
        app.output.message(&text);
    }
    for notice in &plan.notices {
        app.output.message(notice);
    }
    let seconds: f64 = plan.tables.iter().map(|table| table.read_s).sum();
    app.output.message(&format!(
        "reading all rows once took {seconds:.1} s and {:.1} MB for their keys; a run reads them twice",
        plan.memory_bytes as f64 / 1e6
    ));
    for problem in &plan.problems {
        app.output.message(&format!("in the way: {problem}"));
    }
    Ok(exit)
}

fn tables_written(written: &[SplitTableWritten]) -> Grid {
    let mut grid =
        Grid::new(&["table", "part", "#rows", "#written", "#references emptied", "what happened"]);
    for one in written {
        grid.row(vec![
            one.table.clone(),
            one.part.clone(),
            one.rows.to_string(),
            one.rows_written.to_string(),
            if one.stood { String::new() } else { one.cleared.to_string() },
            if one.stood { "stood already" } else { "written" }.to_owned(),
        ]);
    }
    grid
}

fn verified(app: &App, found: &SplitVerified) -> Result<Exit> {
    let exit = if found.holds { Exit::Done } else { Exit::Failed };
    if app.output.format == Format::Json {
        app.output.json(found)?;
        return Ok(exit);
    }
    let mut grid = Grid::new(&[
        "table",
        "part",
        "#rows due",
        "#rows found",
        "#missing",
        "#extra",
        "#changed",
        "checksum",
        "not compared",
    ]);
    for one in &found.tables {
        let (of, difference) = (&one.verified, &one.verified.difference);
        grid.row(vec![
            of.stream.clone(),
            one.part.clone(),
            of.rows_source.to_string(),
            of.rows_target.to_string(),
            difference.missing.to_string(),
            difference.extra.to_string(),
            difference.changed.to_string(),
            match of.checksum_source == of.checksum_target {
                true => of.checksum_target.chars().take(12).collect(),
                false => "differs".to_owned(),
            },
            of.skipped.join(", "),
        ]);
    }
    app.output.grid(&grid)?;
    for one in &found.tables {
        let (of, difference) = (&one.verified, &one.verified.difference);
        let kinds = [
            ("missing", &difference.missing_keys),
            (if of.extra_allowed { "of somebody else" } else { "extra" }, &difference.extra_keys),
            ("with other values", &difference.changed_keys),
        ];
        for (what, keys) in kinds.into_iter().filter(|(_, keys)| !keys.is_empty()) {
            let first: Vec<&str> = keys.iter().map(String::as_str).take(KEYS_SHOWN).collect();
            app.output.message(&format!(
                "{} of part {}: {what}: {}",
                of.stream,
                one.part,
                first.join(" · ")
            ));
        }
        if let Some(columns) = difference.in_columns() {
            let about = format!("{} of part {}", of.stream, one.part);
            app.output.message(&format!("{about}: values differ in: {columns}"));
        }
    }
    for wrong in &found.wrong_rows {
        let part = wrong.part.as_ref().map_or_else(String::new, |part| format!(" of part {part}"));
        app.output.message(&format!(
            "row {} of {}{part} {}",
            wrong.key,
            wrong.table,
            wrong.kind.words()
        ));
    }
    app.output.message(&summary(found));
    Ok(exit)
}

fn summary(found: &SplitVerified) -> String {
    let rows: Vec<String> = found
        .parts
        .iter()
        .zip(&found.rows)
        .zip(&found.rows_before)
        .map(|((part, rows), before)| match before {
            0 => format!("{rows} in {part}"),
            _ => format!("{rows} in {part} beside {before} that were there before"),
        })
        .collect();
    format!(
        "{}: {} rows, {}, {} of them in both; {} rows of the other part; {} references followed, {} emptied, {} led nowhere before",
        if found.holds { "proved" } else { "NOT as declared" },
        found.rows_in,
        rows.join(" and "),
        found.rows_copied,
        found.leaked,
        found.references,
        found.cleared,
        found.dangling,
    )
}

/// Shows what was last noted, without looking at any system.
fn report(app: &App, workspace: &Workspace, name: &str) -> Result<Exit> {
    let state = split::state(workspace, name)?;
    if app.output.format == Format::Json {
        app.output.json(&json!({
            "split": state.split, "phase": state.phase.name(),
            "since": state.changed_at.to_string(), "detail": state.detail,
        }))?;
        return Ok(Exit::Done);
    }
    let mut grid = Grid::new(&["what", "value"]);
    grid.row(vec!["phase".to_owned(), state.phase.to_string()]);
    grid.row(vec!["since".to_owned(), state.changed_at.to_string()]);
    let plain = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Array(items) if items.iter().all(|item| !item.is_object()) => {
            let items = items
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned));
            Some(items.collect::<Vec<_>>().join(", "))
        }
        _ => None,
    };
    for (key, value) in state.detail.as_object().into_iter().flatten() {
        if let Some(text) = plain(value) {
            grid.row(vec![key.replace('_', " "), text]);
        }
    }
    for table in state.detail.get("tables").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| table.get(key).and_then(plain).unwrap_or_default();
        let (name, rows) = match table.get("stream") {
            Some(_) => ("stream", "rows_target"),
            None => ("table", "rows"),
        };
        let sum = text("checksum_target");
        let sum = if sum.is_empty() { sum } else { format!(", checksum {sum}") };
        grid.row(vec![
            format!("{} in {}", text(name), text("part")),
            format!("{} rows{sum}", text(rows)),
        ]);
    }
    app.output.grid(&grid)?;
    Ok(Exit::Done)
}

async fn cleared(app: &App, workspace: &Workspace, name: &str) -> Result<Exit> {
    let found = Box::pin(split::cleared(workspace, name)).await?;
    if app.output.format == Format::Json {
        app.output.json(&found)?;
        return Ok(Exit::Done);
    }
    let mut grid = Grid::new(&["part", "table", "key", "column", "led to"]);
    for one in found.told {
        grid.row(vec![one.part, one.table, one.key, one.column, one.led_to]);
    }
    app.output.grid(&grid)?;
    if found.more > 0 {
        app.output.message(&format!("… and {} more", found.more));
    }
    Ok(Exit::Done)
}

async fn list(app: &App) -> Result<Exit> {
    let workspace = app.open(Access::Read).await?;
    let mut grid = Grid::new(&["split", "phase", "since"]);
    for one in workspace.store.splits()? {
        grid.row(vec![one.split, one.phase.to_string(), one.changed_at.to_string()]);
    }
    app.output.grid(&grid)?;
    Ok(Exit::Done)
}
