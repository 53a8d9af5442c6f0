//! `flywheel search`.

use clap::Args;
use flywheel_base::{Error, Result};
use flywheel_runtime::{Access, catalogue};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};

/// Letters of a description that a table shows.
const DESCRIPTION_CHARS_MAX: usize = 80;

/// Options of `flywheel search`.
#[derive(Debug, Args)]
pub(crate) struct Search {
    /// What to look for, in English or Chinese: names, descriptions, labels, tags, owners and columns
    #[arg(required = true)]
    words: Vec<String>,
    /// Only these kinds: source, model, metric, learner, policy, …, or column
    #[arg(long, value_delimiter = ',')]
    kind: Vec<String>,
    /// How many places to show
    #[arg(long, default_value_t = 20)]
    limit: usize,
}

impl Runs for Search {
    const ABOUT: &'static str = "Finds assets and columns by words, in English and Chinese";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace = app.open(Access::Read).await?;
        let all = catalogue::collect(&workspace).await?;
        let words = self.words.join(" ");
        let found = catalogue::search(&all, &words, &self.kind, self.limit);
        if found.searched == 0 && !self.kind.is_empty() {
            return Err(Error::invalid(format!(
                "there is nothing of the kind {}",
                self.kind.join(", ")
            ))
            .hint("`flywheel catalogue` lists the kinds there are; `column` finds columns."));
        }
        if app.output.format == Format::Json {
            app.output.json(&found)?;
            return Ok(Exit::Done);
        }
        if found.places.is_empty() {
            app.output.message(&format!(
                "nothing among {} assets and columns fits \"{words}\"",
                found.searched
            ));
        }
        let mut grid = Grid::new(&["kind", "name", "owner", "description", "#score"]);
        for place in found.places {
            grid.row(vec![
                place.kind,
                place.name,
                place.owner.unwrap_or_default(),
                brief(place.description.as_deref().unwrap_or_default()),
                format!("{:.2}", place.score),
            ]);
        }
        app.output.grid(&grid)?;
        Ok(Exit::Done)
    }
}

/// The beginning of a description, on one line.
pub(super) fn brief(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(DESCRIPTION_CHARS_MAX) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or_default()),
        None => line,
    }
}
