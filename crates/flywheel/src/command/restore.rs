//! `flywheel restore`.

use std::path::PathBuf;

use clap::Args;
use flywheel_base::Result;
use flywheel_project::Project;
use flywheel_runtime::backup::{self, Restored};
use serde_json::json;

use super::Runs;
use super::backup::size;
use crate::app::{App, Exit};
use crate::output::Format;
use crate::progress::bytes_bar;

/// Options of `flywheel restore`.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// A backup, or the folder of backups of one project: then the newest one
    backup: PathBuf,
    /// The folder to bring the project back into; it is made, or is empty
    dir: PathBuf,
}

impl Runs for Restore {
    const ABOUT: &'static str = "Brings a project back from a backup; overwrites nothing";

    async fn run(self, app: App) -> Result<Exit> {
        let (from, dir) = (app.start.join(&self.backup), app.start.join(&self.dir));
        let watch = bytes_bar(app.output, "restoring");
        let Restored { backup, manifest, lake, kept } = backup::restore(&from, &dir, watch).await?;
        if app.output.format == Format::Json {
            app.output.json(&json!({
                "project": dir,
                "backup": backup,
                "at": manifest.at.to_string(),
                "lake": lake,
                "files": manifest.files.len(),
                "bytes": manifest.bytes(),
                "left_out": manifest.left_out,
                "damaged": manifest.damaged,
            }))?;
            return Ok(Exit::Done);
        }
        app.output.line(&dir.display().to_string())?;
        app.output.message(&format!(
            "{} as it was at {}: {} tables, {} files, {}, every byte proven",
            manifest.project,
            manifest.at,
            manifest.tables.len(),
            manifest.files.len(),
            size(manifest.bytes())
        ));
        if kept > 0 {
            app.output.message(&format!("{kept} files were there from the attempt before"));
        }
        for left in &manifest.left_out {
            app.output
                .message(&format!("not in the backup, put it back: {} ({})", left.path, left.why));
        }
        for damaged in &manifest.damaged {
            app.output.message(&format!("warning: {damaged} was damaged before the backup"));
        }
        let file = Project::file_of(&dir, &app.choices);
        if file.is_ok_and(|file| file.metadata.postgres.is_some()) {
            app.output.message(
                "the metadata came back as the file .flywheel/meta.db: name an empty schema in flywheel.yaml and run `flywheel metadata move --to postgres`, or take `metadata` out to use the file",
            );
        }
        app.output.message(
            "before it turns again: stop the project it came from, as both would send what waits in the outbox",
        );
        Ok(Exit::Done)
    }
}
