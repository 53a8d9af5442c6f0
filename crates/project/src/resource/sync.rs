//! `syncs/*.yaml`.

use std::collections::BTreeMap;
use std::num::{NonZeroU64, NonZeroUsize};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::quantity::{Duration, Share, Size};
use crate::model::OneOrMany;

/// The name under which a sync reads and writes the project's own tables.
pub const LAKE: &str = "lake";

/// Streams of one connection that land in the lake or in other systems.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sync {
    /// The sync's name.
    pub sync: String,
    /// The connection it reads; `lake` reads tables and models of this project.
    pub connection: String,
    /// Where the rows go: `lake` if absent, else a connection or a list of them. Each destination has
    /// its own position, so one that is down does not stop the others.
    #[serde(default)]
    pub destination: Destinations,
    /// What the sync is for.
    #[serde(default)]
    pub description: Option<String>,
    /// What it reads and where that lands.
    pub streams: Vec<Stream>,
    /// What happens to rows that cannot be decoded or mapped.
    #[serde(default)]
    pub errors: Errors,
    /// How much of its source the sync may use.
    #[serde(default)]
    pub limits: Limits,
    /// How often rows that are appended or replaced become durable on their way into the lake, before the read is complete
    /// and they are published: if it is cut off, the next run goes on behind them. `1m` if absent; with `0s` after each page,
    /// which makes many small files.
    #[serde(default)]
    pub checkpoint_every: Option<Duration>,
    /// Whether a server follows it all the time: logs of changes are kept open, other streams are read again as often as
    /// `read_every` says. Each stream then has to be `read: cdc` or `read: incremental`. It stops while something else works on the
    /// same tables, and `flywheel sync NAME --pause` keeps it from being followed.
    #[serde(default)]
    pub followed: bool,
    /// How long streams without a log rest before they are read again while the sync is followed, `1s` at least; `10s` if
    /// absent.
    #[serde(default)]
    pub read_every: Option<Duration>,
}

/// How much of its source a sync may use; without limit where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// How many rows it reads in a second at most, all of its streams together and for all
    /// destinations. Rows come in pages, which are then no larger than a second's rows.
    #[serde(default)]
    pub rows_per_second: Option<NonZeroU64>,
    /// How many bytes it reads in a second at most, as rows lie in memory: `20MiB`.
    #[serde(default)]
    pub bytes_per_second: Option<Size>,
    /// How many streams, or ranges of streams, it reads at once at most; without it one stream after the
    /// other, each with as many connections as its `parallel` says. Streams that write the same target
    /// stay in their order.
    #[serde(default)]
    pub parallelism: Option<NonZeroUsize>,
    /// How many connections to the source it has open at once at most, for everything it does there:
    /// reading, looking things up, following a log. For databases.
    #[serde(default)]
    pub source_connections: Option<NonZeroUsize>,
    /// How much memory its pages under way and its buffers of rows to write take at most: `256MiB`. Pages
    /// and buffers shrink to fit; a row that does not fit into a page ends the run. Rows of a merge wait
    /// in the project's `memory`.
    #[serde(default)]
    pub memory: Option<Size>,
}

/// One or several destinations.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Destinations {
    /// One of them.
    One(String),
    /// Several of them.
    Many(Vec<String>),
}

impl Default for Destinations {
    fn default() -> Self {
        Self::One(LAKE.to_owned())
    }
}

impl Destinations {
    /// Their names, in order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}

impl Sync {
    /// Whether its rows land in the lake.
    #[must_use]
    pub fn lands(&self) -> bool {
        self.destination.names().iter().any(|name| name == LAKE)
    }

    /// Whether it reads the project's own tables, so that it runs after they are built.
    #[must_use]
    pub fn reads_lake(&self) -> bool {
        self.connection == LAKE
    }
}

/// What a stream of `connection: lake` reads.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LakeStream {
    /// A table or model as readers see it: `raw.orders`, `mart.customers`. With `read: incremental`
    /// only rows that changed since the last delivered version are read, which needs `key`.
    #[serde(default)]
    pub table: Option<String>,
    /// A SELECT over `ref()` and `source()`; only with `read: full`.
    #[serde(default)]
    pub query: Option<String>,
}

/// One stream: a set of files, a sheet, a table or a query, and the table it lands in.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// The stream's name.
    pub stream: String,
    /// The connector's settings for this stream: path, sheet, table, dialect, …
    #[serde(default)]
    pub options: serde_json::Map<String, serde_json::Value>,
    /// The lake table, `schema.table`; `raw.<stream>` if absent.
    #[serde(default)]
    pub to: Option<String>,
    /// The settings of the target in destinations other than the lake: table, path, sheet, object, …
    #[serde(default)]
    pub target: serde_json::Map<String, serde_json::Value>,
    /// The same for single destinations of several, by their names; it goes before `target`.
    #[serde(default)]
    pub targets: BTreeMap<String, serde_json::Map<String, serde_json::Value>>,
    /// What happens to columns a destination other than the lake does not have, and to those whose type
    /// the source has widened. The lake adds them, except with `quarantine`.
    #[serde(default)]
    pub new_columns: NewColumns,
    /// The boolean column that marks deleted rows; for `write: mirror` and `write: history`.
    #[serde(default)]
    pub deleted: Option<String>,
    /// What is read.
    #[serde(default)]
    pub read: Read,
    /// The column that grows with every change; for `incremental` reads of databases.
    #[serde(default)]
    pub cursor: Option<String>,
    /// How far back an incremental read looks again, for rows that arrive late.
    #[serde(default)]
    pub lag: Option<Duration>,
    /// How rows are written.
    #[serde(default)]
    pub write: Write,
    /// How the rows of the first whole read of a log are written; for `read: cdc`.
    #[serde(default)]
    pub first_write: FirstWrite,
    /// When changes of a log come into the data files of the lake's table; for `read: cdc` with `write: mirror`.
    #[serde(default)]
    pub changes: Changes,
    /// The columns that identify a row; needed for `merge`, `mirror` and `history`.
    #[serde(default)]
    pub key: Vec<String>,
    /// Declared columns; those not declared are inferred.
    #[serde(default)]
    pub columns: Vec<Column>,
    /// Columns of the source that do not land, by their names there.
    #[serde(default)]
    pub drop: Vec<String>,
    /// An SQL condition of the rows that land, `country = 'CN' and amount > 0`, over columns as they
    /// land and those of the source that do not. Rows for which it is false or unknown are counted as
    /// filtered. Where a sync hands on changes, a row that does not meet it any more is removed.
    #[serde(default)]
    pub only: Option<String>,
    /// Whether columns that are not declared land, too.
    #[serde(default)]
    pub keep: Keep,
}

/// Which columns of the source land.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// Declared columns, and all others as they are.
    #[default]
    All,
    /// Declared columns only.
    Declared,
}

/// What a sync reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Read {
    /// Everything, each time.
    #[default]
    Full,
    /// New and changed rows or files since the last committed position.
    Incremental,
    /// What was added, changed and removed since then, from the system's log of changes; all rows
    /// first. Only with `write: mirror` or `write: history`.
    Cdc,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Write {
    /// Rows are added; nothing is changed. Only with `read: incremental`.
    Append,
    /// The table is swapped for the rows just read, atomically. Only with `read: full`.
    #[default]
    Replace,
    /// Rows replace those with the same key, others are added.
    Merge,
    /// Like `merge`, and rows that are marked as deleted are removed. A full read without such a mark
    /// replaces all rows.
    Mirror,
    /// Every version of a row is kept, with the moments from which and until which it held in the
    /// columns `valid_from` and `valid_to`. Of a full read, rows that are gone have ended. Only into
    /// the lake.
    History,
}

/// How the rows of the first whole read of a log are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FirstWrite {
    /// They take the place of everything, at once, where the destination can do that.
    #[default]
    Replace,
    /// They are merged by their key; other rows stay.
    Merge,
}

/// When changes of a log come into the data files of a table of the lake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Changes {
    /// With every commit: the files they fall into are written anew. The best for tables up to some hundred MiB, and for
    /// keys that grow with time.
    #[default]
    Direct,
    /// A commit only puts them into a table of changes beside the files, and they are merged together later: while a
    /// server follows, when they have grown to a part of the table or nothing comes, otherwise at the end of the run.
    /// Everything in this project sees the table as if they were merged. For large tables whose changes fall everywhere.
    Table,
}

/// What happens to columns the target does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NewColumns {
    /// They are added to it.
    #[default]
    Add,
    /// They are left out.
    Ignore,
    /// The run stops and names them.
    Fail,
    /// Only into the lake, once the table is there: rows with a value in a column that neither the table nor `columns` has are
    /// set aside and name it. Once it is declared, `flywheel quarantine replay` lands them.
    Quarantine,
}

/// A declared column.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// The column's name in the lake.
    pub name: String,
    /// The column's name in the source, if it differs.
    #[serde(default)]
    pub from: Option<String>,
    /// `text`, `int64`, `int32`, `float64`, `decimal(p,s)`, `bool`, `date`, `timestamp`,
    /// `json` or `binary`. Inferred if absent, except that a column with `clean` is text.
    #[serde(rename = "type", default)]
    pub column_type: Option<String>,
    /// Whether a row without a value is set aside.
    #[serde(default)]
    pub required: bool,
    /// What gives its values one form before they get their type, one normaliser or a list of them:
    /// `trim`, `null_if`, `phone(CN)`, `email`, `date(dmy)`, … A value that cannot be read sets its
    /// row aside.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub clean: Vec<String>,
    /// What hides its values before they reach a disk: `hmac(key=${secret:name})`, `partial(4)`,
    /// `redact`, `null`, … It hides them in rows that are set aside as well.
    #[serde(default, deserialize_with = "mask", skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
    /// An SQL expression that makes it of the row's other columns, instead of `from`:
    /// `concat(first_name, ' ', last_name)`. It sees values cleaned and not yet masked.
    #[serde(default)]
    pub value: Option<String>,
}

pub(super) fn one_or_many<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    OneOrMany::deserialize(deserializer).map(OneOrMany::into_vec)
}

/// In YAML the word `null` is no value, and here it is a mask: nothing lands rather than the value as it is.
fn mask<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Some(Option::deserialize(deserializer)?.unwrap_or_else(|| "null".to_owned())))
}

impl Column {
    /// Its name in the source.
    #[must_use]
    pub fn source_name(&self) -> &str {
        self.from.as_deref().unwrap_or(&self.name)
    }
}

/// What happens to rows that cannot be decoded or mapped.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Errors {
    /// `quarantine` sets the row aside with its reason, `fail` stops the run.
    #[serde(default)]
    pub on_bad_row: OnBadRow,
    /// The run stops, with nothing published, beyond this many bad rows.
    #[serde(default)]
    pub max_bad_rows: Option<u64>,
    /// The run stops, with nothing published, beyond this share of bad rows.
    #[serde(default)]
    pub max_bad_ratio: Option<Share>,
}

/// What happens to a bad row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnBadRow {
    /// The row goes to `system.quarantine`, the rest goes on.
    #[default]
    Quarantine,
    /// The run stops.
    Fail,
}

impl Write {
    /// Its name in files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Replace => "replace",
            Self::Merge => "merge",
            Self::Mirror => "mirror",
            Self::History => "history",
        }
    }
}

impl Stream {
    /// The settings of the target in one destination.
    #[must_use]
    pub fn target_of(&self, destination: &str) -> &serde_json::Map<String, serde_json::Value> {
        self.targets.get(destination).unwrap_or(&self.target)
    }

    /// Whether each run replaces all rows: so does a mirror of what is read in full, unless a column
    /// marks the rows that are gone.
    #[must_use]
    pub fn replaces(&self) -> bool {
        match self.write {
            Write::Replace => true,
            Write::Mirror => self.read == Read::Full && self.deleted.is_none(),
            Write::Append | Write::Merge | Write::History => false,
        }
    }

    /// The lake table the stream lands in, `schema.table`.
    #[must_use]
    pub fn table(&self) -> String {
        self.to.clone().unwrap_or_else(|| format!("raw.{}", self.stream))
    }
}
