//! `flywheel import`.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use flywheel_base::{Error, ErrorKind, Result};
use flywheel_project::datax::{self, Made, Options};
use flywheel_project::{Project, odcs, osi};
use flywheel_runtime::{Access, connectors, openlineage};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};

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
    /// Events of OpenLineage from other tools: their jobs and data sets appear in `flywheel lineage`
    Openlineage {
        /// A file of events (JSON, or a line each), a folder of such files (.json, .jsonl, .ndjson), or - for stdin
        events: PathBuf,
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
    /// A semantic model of Apache Ossie (Open Semantic Interchange): semantic views with their metrics
    Osi {
        /// The model's YAML or JSON file
        model: PathBuf,
        /// The lake's schema of its tables, unless a model of the project has the table's name or the source its schema
        #[arg(long, default_value = "raw")]
        schema: String,
        /// Write over files that are there
        #[arg(long)]
        force: bool,
    },
}

impl Runs for Import {
    const ABOUT: &'static str = "Takes in what other tools have: jobs and contracts as files of the project, lineage as events";

    async fn run(self, app: App) -> Result<Exit> {
        let (job, dir, key, replace, force) = match self.what {
            What::Datax { job, dir, key, replace, force } => (job, dir, key, replace, force),
            What::Openlineage { events } => return events_of(&app, &events).await,
            What::Odcs { contract, schema, force } => {
                return contract_of(&app, &contract, &schema, force);
            }
            What::Osi { model, schema, force } => return model_of(&app, &model, schema, force),
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

/// The largest file of events that is read.
const EVENTS_BYTES_MAX: u64 = 1 << 28;

/// The endings of files of events in a folder.
const EVENTS_ENDINGS: [&str; 3] = ["json", "jsonl", "ndjson"];

/// Imports what other tools tell of their jobs.
async fn events_of(app: &App, place: &Path) -> Result<Exit> {
    let mut texts = Vec::new();
    if place == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .take(EVENTS_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(|error| Error::invalid("stdin is no text").caused_by(error))?;
        texts.push(("stdin".to_owned(), text));
    } else {
        for file in event_files(&app.start.join(place))? {
            texts.push((file.display().to_string(), read_up_to(&file, EVENTS_BYTES_MAX)?));
        }
    }
    let workspace = app.open(Access::Write).await?;
    let imported = Box::pin(openlineage::import(&workspace, &texts)).await?;
    if app.output.format == Format::Json {
        app.output.json(&imported)?;
        return Ok(Exit::Done);
    }
    let mut grid = Grid::new(&["#events", "#jobs", "#data sets", "#ways", "#new ways"]);
    grid.row(
        [imported.events, imported.jobs, imported.datasets, imported.edges, imported.new_edges]
            .map(|count| count.to_string())
            .to_vec(),
    );
    app.output.grid(&grid)?;
    Ok(Exit::Done)
}

/// The file, or the files of events in a folder, sorted.
fn event_files(place: &Path) -> Result<Vec<PathBuf>> {
    if !place.is_dir() {
        return Ok(vec![place.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(place).map_err(|error| Error::io("list", place, error))? {
        let path = entry.map_err(|error| Error::io("list", place, error))?.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if EVENTS_ENDINGS.contains(&ending) {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(Error::not_found(format!("{} has no file of events", place.display()))
            .hint("Their names end in .json, .jsonl or .ndjson."));
    }
    files.sort();
    Ok(files)
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

/// Imports a semantic model.
fn model_of(app: &App, model: &Path, schema: String, force: bool) -> Result<Exit> {
    let dir = app.dir()?;
    let project = Project::load_with(&dir, &connectors::schemas(), &app.choices)?;
    let own = |name: &str| format!("metrics/{name}.yaml");
    let options = osi::Options {
        schema,
        models: project.models.keys().cloned().collect(),
        // What is written over is no other view of the same name.
        views: project
            .semantics
            .iter()
            .filter(|(name, view)| !(force && view.file == own(name)))
            .map(|(name, view)| (name.clone(), view.file.clone()))
            .collect(),
    };
    let shown = model.display().to_string();
    let imported = osi::import(&shown, &read(&app.start.join(model))?, &options)?;
    write(&dir, &imported.files, force)?;
    for made in &imported.files {
        app.output.line(&made.path)?;
    }
    for note in &imported.notes {
        app.output.message(&format!("note: {} {}", note.at, note.message));
    }
    app.output.message("next: flywheel check, then flywheel metric list");
    Ok(Exit::Done)
}

fn read(path: &Path) -> Result<String> {
    read_up_to(path, JOB_BYTES_MAX).map_err(|error| match error.kind() {
        ErrorKind::Exhausted => {
            error.hint("Give the JSON file that `datax.py` runs, or the YAML file of a contract or semantic model.")
        }
        _ => error,
    })
}

fn read_up_to(path: &Path, bytes_max: u64) -> Result<String> {
    let size = fs::metadata(path).map_err(|e| Error::io("read", path, e))?.len();
    if size > bytes_max {
        return Err(Error::exhausted(format!("{} is too large", path.display()))
            .hint(format!("At most {} MiB are read: split it.", bytes_max >> 20)));
    }
    fs::read_to_string(path).map_err(|e| Error::io("read", path, e))
}

/// Writes all files, or none if one of them is there with another text: two jobs may share a connection.
fn write(dir: &Path, files: &[Made], force: bool) -> Result<()> {
    let same = |made: &&Made| {
        fs::read(dir.join(&made.path)).is_ok_and(|there| there == made.text.as_bytes())
    };
    let files: Vec<&Made> = files.iter().filter(|made| !same(made)).collect();
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
        // Another job of the same database brings the same connection.
        let third = [made("connections/a.yaml", "1"), made("syncs/d.yaml", "5")];
        write(folder.path(), &third, false).unwrap();
        assert!(folder.path().join("syncs/d.yaml").exists());
        let text = |path: &str| fs::read_to_string(folder.path().join(path)).unwrap();
        assert_eq!((text("syncs/b.yaml").as_str(), text("syncs/c.yaml").as_str()), ("4", "3"));
    }
}
