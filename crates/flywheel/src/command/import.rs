//! `flywheel import`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use flywheel_base::{Error, Result};
use flywheel_project::datax::{self, Made, Options};
use flywheel_project::{Project, odcs};
use flywheel_runtime::connectors;

use super::Runs;
use crate::app::{App, Exit};

/// The largest job that is read.
const JOB_BYTES_MAX: u64 = 16 << 20;

/// Options of `flywheel import`.
#[derive(Debug, Args)]
pub(crate) struct Import {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A job of DataX (mysql, postgresql and txtfile readers and writers)
    Datax {
        /// The job's JSON file
        job: PathBuf,
        /// The project folder that the files go into; the present project if absent
        #[arg(long)]
        dir: Option<PathBuf>,
        /// The columns that identify a row of the target, separated by commas
        #[arg(long, value_delimiter = ',', conflicts_with = "replace")]
        key: Vec<String>,
        /// Replace all rows of the target in every run
        #[arg(long)]
        replace: bool,
        /// Write over files that are there
        #[arg(long)]
        force: bool,
    },
    /// A data contract of the Open Data Contract Standard 3.x: quality checks and property files
    Odcs {
        /// The contract's YAML file
        contract: PathBuf,
        /// The lake's schema of its tables, unless a model of the project has the table's name
        #[arg(long, default_value = "raw")]
        schema: String,
        /// Write over files that are there
        #[arg(long)]
        force: bool,
    },
}

impl Runs for Import {
    const ABOUT: &'static str = "Makes files of a project from a job or contract of another tool";

    async fn run(self, app: App) -> Result<Exit> {
        let (job, dir, key, replace, force) = match self.what {
            What::Datax { job, dir, key, replace, force } => (job, dir, key, replace, force),
            What::Odcs { contract, schema, force } => {
                return contract_of(&app, &contract, &schema, force);
            }
        };
        let dir = match dir {
            Some(dir) => app.start.join(dir),
            None => app.dir()?,
        };
        let path = app.start.join(job);
        let imported = datax::import(&read(&path)?, &Options { key, replace })
            .map_err(|error| error.context(path.display()))?;
        write(&dir, &imported.files, force)?;
        for made in &imported.files {
            app.output.line(&made.path)?;
        }
        for note in &imported.notes {
            app.output.message(&format!("note: {} {}", note.at, note.message));
        }
        app.output.message("next: set the passwords in the environment, then flywheel check");
        Ok(Exit::Done)
    }
}

/// Imports a data contract.
fn contract_of(app: &App, contract: &Path, schema: &str, force: bool) -> Result<Exit> {
    let dir = app.dir()?;
    let project = Project::load_with(&dir, &connectors::schemas(), &app.choices)?;
    let described = project.sources.values().filter(|source| source.declared_in.is_some());
    let options = odcs::Options {
        schema: schema.to_owned(),
        models: project.models.keys().cloned().collect(),
        described: described.map(flywheel_project::Source::relation).collect(),
    };
    let path = app.start.join(contract);
    let shown = contract.display().to_string();
    let imported = odcs::import(&shown, &read(&path)?, &options)?;
    write(&dir, &imported.files, force)?;
    for made in &imported.files {
        app.output.line(&made.path)?;
    }
    for note in &imported.notes {
        app.output.message(&format!("note: {} {}", note.at, note.message));
    }
    app.output.message("next: flywheel check, then flywheel quality run");
    Ok(Exit::Done)
}

fn read(path: &Path) -> Result<String> {
    let size = fs::metadata(path).map_err(|e| Error::io("read", path, e))?.len();
    if size > JOB_BYTES_MAX {
        return Err(Error::exhausted(format!("{} is too large", path.display()))
            .hint("Give the JSON file that `datax.py` runs, or the YAML file of a contract."));
    }
    fs::read_to_string(path).map_err(|e| Error::io("read", path, e))
}

/// Writes all files, or none if one of them is there.
fn write(dir: &Path, files: &[Made], force: bool) -> Result<()> {
    for made in files.iter().filter(|_| !force) {
        let path = dir.join(&made.path);
        if path.exists() {
            return Err(Error::invalid(format!("{} is there already", path.display()))
                .hint("Nothing was written. Write over it with --force, or give another --dir."));
        }
    }
    for made in files {
        let path = dir.join(&made.path);
        let folder = path.parent().unwrap_or(dir);
        fs::create_dir_all(folder).map_err(|e| Error::io("make the folder", folder, e))?;
        let opened = if force { File::create(&path) } else { File::create_new(&path) };
        opened
            .and_then(|mut file| file.write_all(made.text.as_bytes()))
            .map_err(|e| Error::io("write", &path, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_writes_over_nothing_unless_it_is_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let made = |path: &str, text: &str| Made { path: path.to_owned(), text: text.to_owned() };
        let first = [made("connections/a.yaml", "1"), made("syncs/b.yaml", "2")];
        write(folder.path(), &first, false).unwrap();
        let second = [made("syncs/c.yaml", "3"), made("syncs/b.yaml", "4")];
        let error = write(folder.path(), &second, false).unwrap_err();
        assert!(error.hint_text().unwrap().contains("--force"));
        assert!(!folder.path().join("syncs/c.yaml").exists());
        write(folder.path(), &second, true).unwrap();
        let text = |path: &str| fs::read_to_string(folder.path().join(path)).unwrap();
        assert_eq!((text("syncs/b.yaml").as_str(), text("syncs/c.yaml").as_str()), ("4", "3"));
    }
}
