//! `flywheel backup`.

use std::path::{Path, PathBuf};

use clap::Args;
use flywheel_base::Result;
use flywheel_runtime::backup::{self, Made, Making, Manifest};
use serde_json::json;

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};
use crate::progress::bytes_bar;

/// Options of `flywheel backup`.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The folder of the backups, outside of the project; each becomes a folder in it, named by its moment
    folder: PathBuf,
    /// Keeps only so many backups of this project in the folder, this one included
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    keep: Option<u16>,
    /// Makes the backup although files of the lake are damaged, and says which
    #[arg(long)]
    allow_damage: bool,
    /// Shows the backups in the folder and makes none
    #[arg(long, conflicts_with_all = ["keep", "allow_damage", "verify"])]
    list: bool,
    /// Reads all of the newest backup, or of the one named, and proves that every byte is as it was; makes none
    #[arg(long, conflicts_with_all = ["keep", "allow_damage"])]
    verify: bool,
}

impl Runs for Backup {
    const ABOUT: &'static str =
        "Copies declarations, state and lake as they were together, also beside a server";

    async fn run(self, app: App) -> Result<Exit> {
        let folder = app.start.join(&self.folder);
        if self.list {
            return list(&app, &folder);
        }
        let watch = bytes_bar(app.output, if self.verify { "reading" } else { "copying" });
        if self.verify {
            let (found, manifest) = backup::verify(&folder, watch).await?;
            let files = manifest.files.len();
            if app.output.format == Format::Json {
                app.output.json(&json!({"ok": true, "backup": found, "files": files}))?;
            } else {
                let shown = found.display();
                app.output.line(&format!("all {files} files of {shown} are as they were"))?;
            }
            return Ok(Exit::Done);
        }
        let making = Making { allow_damage: self.allow_damage, keep: self.keep.map(usize::from) };
        let dir = app.dir()?;
        let program = env!("CARGO_PKG_VERSION");
        let made = backup::make(&dir, &app.choices, &folder, making, program, watch).await?;
        told(&app, &made)?;
        Ok(if made.manifest.damaged.is_empty() { Exit::Done } else { Exit::Failed })
    }
}

fn told(app: &App, made: &Made) -> Result<()> {
    let Made { folder, manifest, shared_bytes, removed } = made;
    if app.output.format == Format::Json {
        return app.output.json(&json!({
            "backup": folder,
            "at": manifest.at.to_string(),
            "exact": manifest.exact,
            "tables": manifest.tables.len(),
            "files": manifest.files.len(),
            "bytes": manifest.bytes(),
            "shared_bytes": shared_bytes,
            "left_out": manifest.left_out,
            "damaged": manifest.damaged,
            "removed": removed,
        }));
    }
    app.output.line(&folder.display().to_string())?;
    app.output.message(&format!(
        "{} tables, {} files, {}; {} of it shared with the backup before",
        manifest.tables.len(),
        manifest.files.len(),
        size(manifest.bytes()),
        size(*shared_bytes)
    ));
    if !manifest.exact {
        app.output.message(
            "the lake is a few commits ahead of the metadata, as after a crash: the next turn or sync brings them together",
        );
    }
    for left in &manifest.left_out {
        app.output.message(&format!("left out: {} ({})", left.path, left.why));
    }
    for damaged in &manifest.damaged {
        app.output.message(&format!("warning: {damaged} is damaged already"));
    }
    for name in removed {
        app.output.message(&format!("removed the older backup {name}"));
    }
    Ok(())
}

fn list(app: &App, folder: &Path) -> Result<Exit> {
    let mut grid =
        Grid::new(&["backup", "at", "project", "program", "#tables", "#files", "size", "state"]);
    let mut damaged = false;
    for (name, read) in backup::backups(folder)? {
        let cells = match read {
            Ok(manifest) => row(&manifest),
            Err(error) => {
                damaged = true;
                let mut cells = vec![String::new(); 6];
                cells.push(error.message().to_owned());
                cells
            }
        };
        grid.row([vec![name], cells].concat());
    }
    app.output.grid(&grid)?;
    Ok(if damaged { Exit::Failed } else { Exit::Done })
}

fn row(manifest: &Manifest) -> Vec<String> {
    let state = match manifest.damaged.len() {
        0 => "whole".to_owned(),
        count => format!("{count} files were damaged already"),
    };
    vec![
        manifest.at.to_string(),
        manifest.project.clone(),
        manifest.program.clone(),
        manifest.tables.len().to_string(),
        manifest.files.len().to_string(),
        size(manifest.bytes()),
        state,
    ]
}

/// A size as people read it.
pub(super) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            let digits = usize::from(unit != "B");
            return format!("{value:.digits$} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}
