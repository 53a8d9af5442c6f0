//! `flywheel discover`.

use clap::{Args, ValueEnum};
use flywheel_base::{Result, quantity};
use flywheel_runtime::draft::{Mode, Wish, draft, file_of, save};
use flywheel_runtime::{Access, Workspace};

use super::Runs;
use crate::app::{App, Exit};

/// Options of `flywheel discover`.
#[derive(Debug, Args)]
pub(crate) struct Discover {
    /// The connection to look into
    connection: String,
    /// Only streams whose names fit one of these patterns, with `*` for anything
    #[arg(long, value_delimiter = ',')]
    tables: Vec<String>,
    /// No streams whose names fit one of these patterns
    #[arg(long, value_delimiter = ',')]
    except: Vec<String>,
    /// How they are read; `best` chooses for each and says why
    #[arg(long, value_enum, default_value_t = Reading::Full)]
    read: Reading,
    /// How often the sync will run, for `--read best`
    #[arg(long, default_value = "1h")]
    every: String,
    /// Where the rows go: `lake`, or a connection of a database or of files
    #[arg(long, default_value = flywheel_project::resource::sync::LAKE)]
    destination: String,
    /// The sync's name; the connection's if absent
    #[arg(long)]
    name: Option<String>,
    /// Write the file `syncs/NAME.yaml` instead of printing it
    #[arg(long)]
    save: bool,
}

/// How streams are read.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Reading {
    /// Everything, each time
    Full,
    /// What is new and changed, by a cursor
    Incremental,
    /// From the system's log of changes
    Cdc,
    /// What suits each stream best
    Best,
}

impl Runs for Discover {
    const ABOUT: &'static str = "Shows what a connection holds, as a sync file to start from";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace: Workspace = app.open(Access::Read).await?;
        let every_us = quantity::duration_us(&self.every).map_err(|e| e.context("--every"))?;
        let wish = Wish {
            sync: self.name.unwrap_or_else(|| self.connection.clone()),
            tables: self.tables,
            except: self.except,
            read: match self.read {
                Reading::Full => Some(Mode::Full),
                Reading::Incremental => Some(Mode::Incremental),
                Reading::Cdc => Some(Mode::Cdc),
                Reading::Best => None,
            },
            every_s: every_us.unsigned_abs() / 1_000_000,
            destination: self.destination,
        };
        if self.save {
            file_of(&wish.sync)?;
        }
        let text = draft(&workspace, &self.connection, &wish).await?;
        if !self.save {
            app.output.line(&text)?;
            return Ok(Exit::Done);
        }
        app.output.line(&save(&workspace, &wish.sync, &text)?)?;
        Ok(Exit::Done)
    }
}
