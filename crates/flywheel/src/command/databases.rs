//! `flywheel databases`.

use clap::Args;
use flywheel_base::Result;
use flywheel_runtime::Access;
use flywheel_runtime::databases::{self, Database};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};

/// Options of `flywheel databases`.
#[derive(Debug, Args)]
pub(crate) struct Databases {}

impl Runs for Databases {
    const ABOUT: &'static str = "Asks the databases of connections and our own stores how they do: size, connections, logs that are kept";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace = app.open(Access::Read).await?;
        let found = databases::ask(&workspace).await?;
        let failed = found.iter().any(|one| one.reachable == Some(false));
        let exit = if failed { Exit::Failed } else { Exit::Done };
        if app.output.format == Format::Json {
            app.output.json(&found)?;
            return Ok(exit);
        }
        let header = [
            "name",
            "kind",
            "answers",
            "version",
            "#connections",
            "#MiB",
            "#log kept MiB",
            "#slow",
        ];
        let mut grid = Grid::new(&header);
        for one in &found {
            grid.row(row(one));
        }
        app.output.grid(&grid)?;
        for one in found.iter().filter(|one| one.reachable == Some(false)) {
            if let Some(error) = &one.error {
                let hint = error.hint.as_deref().map(|hint| format!(" ({hint})"));
                let hint = hint.unwrap_or_default();
                app.output.message(&format!("{}: {}{hint}", one.name, error.text));
            }
        }
        Ok(exit)
    }
}

fn row(one: &Database) -> Vec<String> {
    let count = |value: Option<u64>| value.map_or_else(|| "–".to_owned(), |n| n.to_string());
    let mebibytes = |value: Option<u64>| count(value.map(|bytes| bytes >> 20));
    let health = &one.health;
    let kept = one.slot().and_then(|slot| slot.kept_bytes).or(health.log_bytes);
    let answers = match one.reachable {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not asked",
    };
    let connections = match (health.connections, health.connections_max) {
        (Some(open), Some(most)) => format!("{open} of {most}"),
        (open, _) => count(open),
    };
    vec![
        one.name.clone(),
        one.kind.clone(),
        answers.to_owned(),
        health.version.clone().unwrap_or_default(),
        connections,
        mebibytes(health.size_bytes),
        mebibytes(kept),
        count(health.slow_queries),
    ]
}
