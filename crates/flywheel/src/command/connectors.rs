//! `flywheel connectors`.

use std::collections::BTreeMap;

use clap::Args;
use flywheel_base::Result;
use flywheel_connect::ABSENT;
use flywheel_connect::destination::{DESTINATIONS, WriteMode};
use flywheel_connect::source::{SOURCES, how_to_get};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::Grid;

/// Options of `flywheel connectors`.
#[derive(Debug, Args)]
pub(crate) struct Connectors {}

impl Runs for Connectors {
    const ABOUT: &'static str =
        "Lists the types of connections, how they are read and written, and what a crash leaves";

    async fn run(self, app: App) -> Result<Exit> {
        let mut rows: BTreeMap<&str, [String; 4]> = BTreeMap::new();
        let mut lacking = Vec::new();
        for source in SOURCES {
            let read = if source.cdc { "full, incremental, cdc" } else { "full, incremental" };
            let mut row = [source.about, read, "", ""].map(str::to_owned);
            if !source.in_build {
                row[0].push_str(" (optional; not in this build)");
                lacking.push(source.name);
            }
            rows.insert(source.name, row);
        }
        for destination in DESTINATIONS {
            let modes: Vec<String> = destination.modes.iter().map(WriteMode::to_string).collect();
            let row = rows.entry(destination.name).or_insert_with(|| {
                [destination.about.to_owned(), String::new(), String::new(), String::new()]
            });
            row[2] = modes.join(", ");
            if destination.upserts {
                row[2].push_str(", records of actions");
            }
            destination.guarantee.words().clone_into(&mut row[3]);
        }
        let mut grid = Grid::new(&["type", "what it is", "read", "write", "after a crash"]);
        for (name, row) in rows {
            grid.row([vec![name.to_owned()], row.to_vec()].concat());
        }
        for absent in ABSENT {
            let what = format!("NOT THERE; use {}", absent.instead);
            let none = String::new;
            grid.row(vec![absent.name.to_owned(), what, none(), none(), none()]);
        }
        app.output.grid(&grid)?;
        for name in lacking {
            app.output.message(&format!("{name} is optional. {}", how_to_get(name)));
        }
        Ok(Exit::Done)
    }
}
