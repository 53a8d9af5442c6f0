//! The catalogue: every asset of the project, what is known about it, how healthy it is and what it costs.
//!
//! ```text
//! declarations ─┐
//! lake, meta.db ┼─► collect ─► assets ─► health (one SQL query gives the same) ─► search, savings, system.assets
//! reads, runs  ─┘
//! ```
//! Nothing is harvested and nothing can be stale: an asset is what the files, the lake and the metadata say when it is
//! asked for. A table is known by its name in SQL, everything else by its name.

mod collect;
mod cost;
mod find;
mod health;
mod savings;

use flywheel_base::{Error, Result, Timestamp, suggest};
use flywheel_project::NodeKind;
use serde::Serialize;

use crate::Workspace;

pub use collect::collect;
pub(crate) use collect::shown;
pub use find::{Finder, Found, Place, search};
pub use health::{FORMULA, sql as health_sql};
pub use savings::{Finding, Ledger, Retired, Why, keep, ledger, retire};

/// The days whose reads and runs count.
pub(crate) const WINDOW_DAYS: i64 = 30;

/// Microseconds in a day.
const DAY_US: i64 = 86_400_000_000;

/// Everything that can be found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Catalogue {
    /// The assets, by kind in the order of the wheel and by name.
    pub assets: Vec<Asset>,
    /// What is said in `flywheel.yaml` about assets that do not exist.
    pub notes: Vec<String>,
    /// The currency of every cost.
    pub currency: String,
}

/// One asset.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Asset {
    /// `source`, `model`, `metric`, …; `table` for a table of the lake that nobody declares.
    pub kind: String,
    /// Its name: `schema.name` for tables.
    pub name: String,
    /// Whether it is a table or view that SQL can read.
    pub is_table: bool,
    /// What people call it.
    pub labels: Vec<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// What it is.
    pub description: Option<String>,
    /// `certified`, `draft` or `deprecated`.
    pub certification: String,
    /// The file that declares it.
    pub file: Option<String>,
    /// The version readers see.
    pub version: Option<i64>,
    /// Its rows, if known.
    pub rows: Option<u64>,
    /// The size of its data files.
    pub size_bytes: Option<u64>,
    /// When that version was committed.
    #[serde(serialize_with = "moment")]
    pub committed_at: Option<Timestamp>,
    /// Its columns.
    pub columns: Vec<AssetColumn>,
    /// How many tests are declared.
    pub tests: u64,
    /// `passed`, `warned` or `failed`, once they were run.
    pub tests_status: Option<String>,
    /// The age of its rows, or of those of the stalest table it is made from.
    pub age_s: Option<i64>,
    /// How old they may be.
    pub fresh_limit_s: Option<i64>,
    /// Whether its columns and their types are declared and enforced.
    pub contract: bool,
    /// Reads of the last 30 days.
    pub reads: u64,
    /// Different readers of the last 30 days.
    pub readers: u64,
    /// The last read that is recorded.
    #[serde(serialize_with = "moment")]
    pub last_read_at: Option<Timestamp>,
    /// What it is made from.
    pub upstream: Vec<String>,
    /// What is made from it.
    pub downstream: Vec<String>,
    /// Seconds of work on it in the last 30 days.
    pub work_s: f64,
    /// What it costs in a year.
    pub cost_per_year: f64,
    /// That, and its share of the costs of what it is made from.
    pub cost_with_upstream: f64,
    /// How healthy it is, from 0 to 100.
    pub health: f64,
}

/// A column of an asset.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AssetColumn {
    /// Its name.
    pub name: String,
    /// Its type, if known.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// What it holds.
    pub description: Option<String>,
    /// Whether no values of it are shown.
    pub masked: bool,
}

impl Asset {
    /// How many of its columns are described.
    #[must_use]
    pub fn described_columns(&self) -> u64 {
        self.columns.iter().filter(|column| column.description.is_some()).count() as u64
    }

    /// How it is told from assets of other kinds: `model:mart.orders`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}:{}", self.kind, self.name)
    }
}

impl Catalogue {
    /// The asset called `name`: its name, or `kind:name`.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] with the nearest name; [`flywheel_base::ErrorKind::Invalid`] if several
    /// kinds have one of that name.
    pub fn asset(&self, name: &str) -> Result<&Asset> {
        let kinds = || NodeKind::ALL.iter().map(|kind| kind.word()).chain(["table"]);
        let (kind, plain) = match name.split_once(':') {
            Some((kind, plain)) if kinds().any(|known| known == kind) => (Some(kind), plain),
            _ => (None, name),
        };
        let fits =
            |asset: &&Asset| asset.name == plain && kind.is_none_or(|kind| asset.kind == kind);
        let found: Vec<&Asset> = self.assets.iter().filter(fits).collect();
        match found.as_slice() {
            [one] => Ok(one),
            [] => {
                let last = |asset: &&Asset| {
                    asset.is_table
                        && asset.name.rsplit('.').next() == Some(plain)
                        && kind.is_none_or(|kind| asset.kind == kind)
                };
                let short: Vec<&Asset> = self.assets.iter().filter(last).collect();
                if let [one] = short.as_slice() {
                    return Ok(one);
                }
                let known = self.assets.iter().map(|asset| asset.name.as_str());
                Err(Error::not_found(format!("no asset is called \"{name}\""))
                    .hint(suggest::hint(plain, known.collect::<Vec<_>>())))
            }
            several => {
                let ids: Vec<String> = several.iter().map(|asset| asset.id()).collect();
                Err(Error::invalid(format!("{} assets are called \"{name}\"", several.len()))
                    .hint(format!("Say which: {}.", ids.join(", "))))
            }
        }
    }
}

/// A moment as people and programs read it.
pub(crate) fn moment<S: serde::Serializer>(
    at: &Option<Timestamp>,
    to: S,
) -> std::result::Result<S::Ok, S::Error> {
    at.map(|at| at.to_string()).serialize(to)
}

/// Counts that `reader` read tables.
pub fn note_reads(workspace: &Workspace, tables: &[String], reader: &str, via: &str) {
    let reads = tables.iter().map(|table| (table.clone(), reader.to_owned()));
    note_all(workspace, reads.collect(), via);
}

/// Counts reads, each of a table by a reader; a failure is logged, because a count is no reason to fail a query.
pub(crate) fn note_all(workspace: &Workspace, mut reads: Vec<(String, String)>, via: &str) {
    reads.retain(|(table, _)| !table.starts_with("system."));
    if let Err(error) = workspace.store.record_reads(&reads, via, workspace.now()) {
        tracing::warn!(via, error = %error, "reads could not be counted");
    }
}

/// The name of who runs the program, for counting readers.
#[must_use]
pub fn reader() -> String {
    let names = ["FLYWHEEL_USER", "USER", "LOGNAME", "USERNAME"];
    names
        .iter()
        .find_map(|name| flywheel_base::env::optional(name))
        .unwrap_or_else(|| "somebody".to_owned())
}
