//! `flywheel model`.

use clap::{Args, Subcommand, ValueEnum};
use flywheel_base::Result;
use flywheel_runtime::Access;
use flywheel_runtime::suggest::{Shape, Suggestion, draft, suggest, write};
use serde_json::json;

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};

/// Options of `flywheel model`.
#[derive(Debug, Args)]
pub(crate) struct Model {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Says which tables are facts and dimensions, by which keys they hang together, and why
    Suggest(Suggest),
}

#[derive(Debug, Args)]
struct Suggest {
    /// A connection, or a schema of the lake such as raw
    of: String,
    /// Only these tables
    #[arg(long, value_delimiter = ',')]
    tables: Vec<String>,
    /// How dimensions are laid out; what is advised if absent
    #[arg(long, value_enum)]
    shape: Option<Layout>,
    /// The schema of the draft models, and their folder in models/
    #[arg(long, default_value = "mart")]
    schema: String,
    /// Writes draft models with tests; without it nothing is written
    #[arg(long)]
    accept: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Layout {
    /// Each dimension is one table
    Star,
    /// Dimensions refer to further ones, as they do now
    Snowflake,
}

impl Runs for Model {
    const ABOUT: &'static str =
        "Proposes facts, dimensions, keys and grain for tables, and writes draft models";

    async fn run(self, app: App) -> Result<Exit> {
        let Verb::Suggest(asked) = self.verb;
        let access = if asked.accept { Access::Write } else { Access::Read };
        let workspace = app.open(access).await?;
        let found = Box::pin(suggest(&workspace, &asked.of, &asked.tables)).await?;
        for note in &found.notes {
            app.output.message(note);
        }
        let shape = match asked.shape {
            None => found.advice.shape,
            Some(Layout::Star) => Shape::Star,
            Some(Layout::Snowflake) => Shape::Snowflake,
        };
        let mut files = Vec::new();
        if asked.accept {
            let draft = draft(&workspace, &found, shape, &asked.schema)?;
            write(&workspace, &draft)?;
            files.extend(draft.files.into_iter().map(|(path, _)| path));
        }
        if app.output.format == Format::Json {
            app.output
                .json(&json!({ "advice": found.advice, "notes": found.notes, "files": files }))?;
            return Ok(Exit::Done);
        }
        show(&app, &found)?;
        for file in &files {
            app.output.line(file)?;
        }
        if !asked.accept && app.output.for_people() {
            app.output.message("Nothing was written; --accept writes draft models with tests.");
        }
        Ok(Exit::Done)
    }
}

fn show(app: &App, found: &Suggestion) -> Result<()> {
    let advice = &found.advice;
    let mut grid = Grid::new(&["table", "role", "#sure", "grain", "key", "refers to", "because"]);
    for one in &advice.tables {
        let key = one
            .key
            .as_ref()
            .map(|key| format!("{} ({:.2})", key.columns.join(", "), key.confidence));
        let references = one.references.iter().map(|reference| {
            format!(
                "{} → {} ({:.2})",
                reference.columns.join(", "),
                reference.table,
                reference.confidence
            )
        });
        grid.row(vec![
            one.table.clone(),
            if one.outrigger {
                format!("{}, further", one.role.word())
            } else {
                one.role.word().to_owned()
            },
            format!("{:.2}", one.confidence),
            one.grain.clone(),
            key.unwrap_or_default(),
            references.collect::<Vec<_>>().join("; "),
            one.reasons.join("; "),
        ]);
    }
    app.output.grid(&grid)?;
    if !app.output.for_people() {
        return Ok(());
    }
    let kept = advice.tables.iter().flat_map(|one| {
        let kept = one
            .attributes
            .iter()
            .filter(|attribute| attribute.change == flywheel_runtime::suggest::Change::Keep);
        kept.map(move |attribute| (one, attribute))
    });
    let mut slow = Grid::new(&["dimension", "changes slowly", "because"]);
    for (one, attribute) in kept {
        slow.row(vec![one.table.clone(), attribute.column.clone(), attribute.reason.clone()]);
    }
    if !slow.rows.is_empty() {
        app.output.line("")?;
        app.output.grid(&slow)?;
    }
    app.output.line(&format!(
        "\nlaid out as a {} now; a {} is advised: {}",
        advice.found.word(),
        advice.shape.word(),
        advice.reason
    ))
}
