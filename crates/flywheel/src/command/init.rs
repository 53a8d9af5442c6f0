//! `flywheel init`.

use std::path::PathBuf;

use clap::Args;
use flywheel_base::{Error, Result};
use flywheel_project::init::{init, name_from};

use super::Runs;
use crate::app::{App, Exit};

/// Options of `flywheel init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The folder to make
    dir: PathBuf,
    /// What to start from: retail, crm or blank
    #[arg(long, default_value = "blank")]
    template: String,
    /// The project's name; the folder's if absent
    #[arg(long)]
    name: Option<String>,
    /// A folder with your own daily order files (retail): connections/orders.yaml then points there
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Runs for Init {
    const ABOUT: &'static str = "Makes a project folder from a template";

    async fn run(self, app: App) -> Result<Exit> {
        let dir = app.start.join(&self.dir);
        let folder =
            dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = self.name.unwrap_or_else(|| name_from(&folder));
        let written = init(&self.template, &dir, &name)?;
        if let Some(data) = &self.data {
            let data = std::path::absolute(app.start.join(data))
                .map_err(|e| Error::io("find", data, e))?;
            point_orders_at(&dir, &data)?;
        }
        app.output.message(&format!("made {} files in {}", written.len(), dir.display()));
        let ignored = dir.join(".gitignore");
        if !written.contains(&ignored) {
            app.output
                .message("the folder's own .gitignore is kept: let it name .flywheel/ and .env");
        }
        app.output.message(&format!(
            "next: cd {} && flywheel check && flywheel turn",
            self.dir.display()
        ));
        Ok(Exit::Done)
    }
}

/// Writes the folder of the user's own order files into the connection that reads them.
fn point_orders_at(dir: &std::path::Path, data: &std::path::Path) -> Result<()> {
    let path = dir.join("connections/orders.yaml");
    let text = std::fs::read_to_string(&path).map_err(|e| {
        Error::io("read", &path, e)
            .hint("--data belongs to a template that reads orders: --template retail.")
    })?;
    let mut found = false;
    let lines: Vec<String> = text
        .lines()
        .map(|line| match line.trim_start().strip_prefix("folder:") {
            Some(_) if !found => {
                found = true;
                let indent = &line[..line.len() - line.trim_start().len()];
                format!("{indent}folder: {}", serde_json::Value::from(data.display().to_string()))
            }
            _ => line.to_owned(),
        })
        .collect();
    if !found {
        return Err(Error::internal(format!("{} has no folder to set", path.display())));
    }
    std::fs::write(&path, lines.join("\n") + "\n").map_err(|e| Error::io("write", &path, e))
}
