//! `flywheel discover`.

use clap::Args;
use flywheel_base::{Error, Result};
use flywheel_runtime::{Access, Workspace};

use super::Runs;
use crate::app::{App, Exit};

/// Options of `flywheel discover`.
#[derive(Debug, Args)]
pub(crate) struct Discover {
    /// The connection to look into
    connection: String,
}

impl Runs for Discover {
    const ABOUT: &'static str = "Shows what a connection holds, as a sync file to start from";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace: Workspace = app.open(Access::Read).await?;
        let name = &self.connection;
        let (_, source) = workspace.source(name)?;
        source.check().await?;
        let streams = source.discover().await?;
        let mut text = format!("sync: {name}\nconnection: {name}\nstreams:\n");
        for stream in streams {
            let rows =
                stream.rows.map_or_else(String::new, |rows| format!("  # about {rows} rows"));
            text.push_str(&format!(
                "  - stream: {}{rows}\n    options: {}\n    read: full\n    write: replace\n",
                stream.name, stream.stream
            ));
            if !stream.primary_key.is_empty() {
                text.push_str(&format!("    key: {}\n", serde_json::json!(stream.primary_key)));
            }
            if !stream.cursors.is_empty() {
                text.push_str(&format!(
                    "    # cursors for read: incremental: {}\n",
                    stream.cursors.join(", ")
                ));
            }
            if !stream.columns.is_empty() {
                text.push_str("    columns:\n");
            }
            for column in &stream.columns {
                let column = serde_json::to_value(column)
                    .map_err(|e| Error::internal("a column is no JSON").caused_by(e))?;
                text.push_str(&format!("      - {column}\n"));
            }
        }
        app.output.line(&text)?;
        Ok(Exit::Done)
    }
}
