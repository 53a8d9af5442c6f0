//! `flywheel secret`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal as _, Read as _};
use std::path::Path;

use clap::{Args, Subcommand};
use flywheel_base::{Clock as _, Error, Result, Secret as Value, SystemClock, suggest};
use flywheel_project::vault::{self, Vault};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::Grid;

/// Options of `flywheel secret`.
#[derive(Debug, Args)]
pub(crate) struct Secret {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Seals a value that files can refer to as ${secret:NAME}; it is asked for, or read from stdin, never an argument
    Set {
        /// Its name
        name: String,
    },
    /// Lists names, when each was set, and the files that refer to it; never values
    List,
    /// Removes a secret; refused while a file refers to it
    Remove {
        /// Its name
        name: String,
        /// Also if files refer to it
        #[arg(long)]
        force: bool,
    },
    /// Seals every secret by a new key and forgets the old one
    RotateKey,
}

impl Runs for Secret {
    const ABOUT: &'static str = "Stores, lists and removes the secrets of connections and actions";

    async fn run(self, app: App) -> Result<Exit> {
        let dir = app.dir()?;
        let vault = Vault::of(&dir);
        match self.verb {
            Verb::Set { name } => {
                vault::check_name(&name)?;
                let first = vault.list()?.is_empty();
                let value = value(&app, &name)?;
                let said = match vault.set(&name, &value, SystemClock.now())? {
                    true => "replaced",
                    false => "stored",
                };
                app.output.message(&format!("{said} the secret {name}: ${{secret:{name}}}"));
                if first {
                    app.output.message(&format!(
                        "its key is in {}; backups leave it out: keep a copy of it elsewhere",
                        vault.key_file().display()
                    ));
                }
            }
            Verb::List => list(&app, &dir, &vault)?,
            Verb::Remove { name, force } => {
                if !force {
                    check_unused(&dir, &name)?;
                }
                if !vault.remove(&name)? {
                    let stored = vault.list()?;
                    let known = stored.iter().map(|one| one.name.as_str());
                    return Err(Error::not_found(format!("no secret named \"{name}\" is stored"))
                        .hint(suggest::hint(&name, known)));
                }
                app.output.message(&format!("removed the secret {name}"));
            }
            Verb::RotateKey => {
                let count = vault.rotate()?;
                app.output.message(&format!(
                    "sealed {count} secrets by a new key in {}; what earlier backups hold of them only the old key opens",
                    vault.key_file().display()
                ));
            }
        }
        Ok(Exit::Done)
    }
}

fn list(app: &App, dir: &Path, vault: &Vault) -> Result<()> {
    let mut rows: BTreeMap<String, (Option<String>, BTreeSet<String>)> = BTreeMap::new();
    for stored in vault.list()? {
        rows.entry(stored.name).or_default().0 = Some(stored.set_at);
    }
    for place in vault::uses(dir)? {
        rows.entry(place.name).or_default().1.insert(place.file);
    }
    let mut grid = Grid::new(&["name", "set_at", "used_by"]);
    for (name, (set_at, files)) in rows {
        let files: Vec<String> = files.into_iter().collect();
        grid.row(vec![name, set_at.unwrap_or_else(|| "not stored".to_owned()), files.join(", ")]);
    }
    app.output.grid(&grid)
}

/// Refuses to take away what a file refers to.
fn check_unused(dir: &Path, name: &str) -> Result<()> {
    let places = vault::uses(dir)?.into_iter().filter(|place| place.name == name);
    let places: Vec<String> =
        places.map(|place| format!("{}:{}", place.file, place.line)).collect();
    if places.is_empty() {
        return Ok(());
    }
    Err(Error::blocked(format!("{} refers to the secret \"{name}\"", places.join(", ")))
        .hint("Change the file first, or remove the secret all the same with --force."))
}

/// The value from a terminal, without showing it, or from stdin without the newline that editors put at its end.
fn value(app: &App, name: &str) -> Result<Value> {
    if std::io::stdin().is_terminal() {
        app.output.message(&format!("value of the secret {name} (it is not shown):"));
        let line = console::Term::stderr().read_secure_line().map_err(|error| {
            Error::invalid("the terminal gives no line")
                .caused_by(error)
                .hint(format!("Give the value on stdin: `flywheel secret set {name} < file`."))
        })?;
        return Ok(Value::new(line));
    }
    // One more than fits, so that what is too large is refused and not cut.
    let most = vault::VALUE_BYTES_MAX as u64 + 3;
    let mut text = String::new();
    std::io::stdin()
        .take(most)
        .read_to_string(&mut text)
        .map_err(|error| Error::invalid("stdin is no text").caused_by(error))?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(Value::new(text))
}
