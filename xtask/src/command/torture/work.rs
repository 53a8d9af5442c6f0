//! The works that are killed: each has a source that changes, a target, and a sync in between.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use flywheel_testkit::Postgres;

use crate::binary::Flywheel;
use crate::shop::{Shop, checksum};
use crate::{Result, process};

mod commit;
mod place;

pub(super) use self::commit::{Hit, Sight};

/// Rows of each source before the first change.
const ROWS: u64 = 100_000;

/// The same where the target commits while the read goes on.
const ROWS_MOVED: u64 = 600_000;

/// Rows of a chunk of the copy into the lake.
const CHUNK_COPIED: u64 = 20_000;

/// Rows of a chunk of the copy to a database, which commits several times in it.
const CHUNK_MOVED: u64 = 120_000;

/// Rows of a chunk of everything else, which is read in order.
const CHUNK: u64 = 100_000;

/// The connections that a whole read uses.
const WORKERS: u64 = 2;

/// What each change does.
const INSERTS: u64 = 2_000;
const UPDATED_ONE_IN: u64 = 97;
const DELETED_ONE_IN: u64 = 211;

/// The columns that are summed up.
const VALUES: &str = "id, qty, amount, note, version";

/// How a work takes rows over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A whole table into the lake, which shows it at the end.
    Copy,
    /// A whole table into another database, which takes it in parts and shows it at the end.
    Move,
    Changes,
    Merge,
    Reverse,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Copy, Self::Move, Self::Changes, Self::Merge, Self::Reverse];

    fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Move => "copy to a database",
            Self::Changes => "changes",
            Self::Merge => "merge",
            Self::Reverse => "reverse ETL",
        }
    }

    fn stream(self) -> String {
        match self {
            Self::Copy => format!(
                "stream: orders, options: {{table: orders, chunk_rows: {CHUNK_COPIED}, parallel: {WORKERS}}}, key: [id], read: full, write: replace"
            ),
            Self::Move => format!(
                "stream: orders, options: {{table: orders, chunk_rows: {CHUNK_MOVED}, parallel: {WORKERS}}}, key: [id], read: full, write: replace, target: {{table: orders}}"
            ),
            Self::Changes => {
                "stream: orders, options: {table: orders}, key: [id], read: cdc, write: mirror".to_owned()
            }
            Self::Merge | Self::Reverse => {
                "stream: orders, options: {table: orders}, key: [id], read: incremental, cursor: version, write: merge".to_owned()
            }
        }
    }

    /// Whether a whole table is read, which is measured at its server.
    fn reads_whole(self) -> bool {
        matches!(self, Self::Copy | Self::Move)
    }

    fn rows(self) -> u64 {
        if self == Self::Move { ROWS_MOVED } else { ROWS }
    }
}

/// A work on a source of its own.
pub(super) struct Work<'a> {
    kind: Kind,
    shop: Shop<'a>,
    server: &'a Postgres,
    source: String,
    target: String,
}

/// What one side has.
pub(super) struct Side {
    /// Its rows.
    pub(super) rows: u64,
    /// How many different keys they have.
    pub(super) keys: u64,
    /// Their checksum.
    pub(super) checksum: String,
}

/// All works, each in a project and databases of its own.
pub(super) fn works<'a>(
    flywheel: &'a Flywheel,
    folder: &Path,
    server: &'a Postgres,
) -> Result<Vec<Work<'a>>> {
    Kind::ALL
        .into_iter()
        .enumerate()
        .map(|(number, kind)| {
            let (source, target) = (server.database(), server.database());
            server.psql(&source, &table(kind.rows()));
            if kind.reads_whole() {
                server.psql(&source, &place::counted(&source));
            }
            let shop = Shop::new(flywheel, &folder.join(format!("work-{number}")))?;
            shop.postgres("source", server, &source)?;
            shop.postgres("target", server, &target)?;
            let ends = match kind {
                Kind::Copy => "connection: source\ncheckpoint_every: 0s",
                Kind::Move => "connection: source\ndestination: target",
                _ => "connection: source",
            };
            shop.sync("land", ends, &kind.stream())?;
            if kind == Kind::Reverse {
                shop.sync(
                    "back",
                    "connection: lake\ndestination: target",
                    "stream: orders, options: {table: raw.orders}, key: [id], read: incremental, write: mirror, target: {table: orders}",
                )?;
            }
            Ok(Work { kind, shop, server, source, target })
        })
        .collect()
}

impl Work<'_> {
    pub(super) fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// Changes the source. Only works that are told of deletions see some; rows that a whole read has
    /// already passed are not changed, since it promises no more than to go on behind them.
    pub(super) fn change(&self, turn: u64) -> Result<()> {
        let insert = format!(
            "insert into orders select last + g, g % 9, round(g / 7.0, 2), 'made in turn {turn}', nextval('versions')
               from (select max(id) last from orders) highest, generate_series(1::bigint, {INSERTS}) g"
        );
        // Spread over the table, so that a merge rewrites more than one file.
        let update = format!(
            "update orders set qty = qty + 1, note = 'changed in turn {turn}', version = nextval('versions')
               where id % {UPDATED_ONE_IN} = {turn} % {UPDATED_ONE_IN}"
        );
        let delete =
            format!("delete from orders where id % {DELETED_ONE_IN} = {turn} % {DELETED_ONE_IN}");
        let statements = match self.kind {
            Kind::Copy | Kind::Move => vec![insert],
            Kind::Changes => vec![insert, update, delete],
            Kind::Merge | Kind::Reverse => vec![insert, update],
        };
        self.server.psql(&self.source, &statements.join("; "));
        if self.kind == Kind::Reverse {
            process::run(&mut quiet(self.shop.command(&["sync", "land"])))?;
        }
        Ok(())
    }

    /// The command that is killed.
    pub(super) fn command(&self) -> Command {
        let sync = if self.kind == Kind::Reverse { "back" } else { "land" };
        let mut command = self.shop.command(&["sync", sync]);
        command.stderr(std::process::Stdio::inherit());
        command
    }

    /// Runs it to its end.
    pub(super) fn finish(&self) -> Result<()> {
        if self.kind == Kind::Reverse && self.shop.versions("raw.orders") == 0 {
            process::run(&mut quiet(self.shop.command(&["sync", "land"])))?;
        }
        process::run(&mut quiet(self.command()))
    }

    pub(super) fn source(&self) -> Result<Side> {
        Side::read(&self.server.psql(&self.source, &question("orders")))
    }

    pub(super) fn target(&self) -> Result<Side> {
        match self.kind {
            Kind::Move | Kind::Reverse => {
                Side::read(&self.server.psql(&self.target, &question("orders")))
            }
            _ => Side::read(&self.shop.value(&question("raw.orders"))?),
        }
    }
}

impl Side {
    fn read(answer: &str) -> Result<Self> {
        let mut parts = answer.splitn(3, '|');
        let mut next = || parts.next().ok_or_else(|| format!("\"{answer}\" has too few parts"));
        Ok(Self { rows: next()?.parse()?, keys: next()?.parse()?, checksum: next()?.to_owned() })
    }
}

/// Asks for rows, keys and checksum at once.
fn question(table: &str) -> String {
    let checksum = checksum(table, VALUES);
    format!(
        "select concat_ws('|', (select count(*) from {table}), (select count(distinct id) from {table}), ({checksum})) as side"
    )
}

fn table(rows: u64) -> String {
    format!(
        "create table orders as select g id, (g % 9)::int qty, round(((g * 31) % 100000) / 100.0, 2)::numeric(12,2) amount,
             'customer comment number ' || g || ' lorem ipsum' note, g as version from generate_series(1::bigint, {rows}) g;
         create sequence versions start {start};
         alter table orders add primary key (id); create index on orders (version); analyze orders",
        start = rows + 1
    )
}

fn quiet(mut command: Command) -> Command {
    command.stdout(std::process::Stdio::null());
    command
}

/// All files below a folder; none if there is no folder.
fn files_below(folder: &Path) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    // What vanishes between listing and looking was not there for long.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.append(&mut files_below(&path));
        } else {
            files.insert(path);
        }
    }
    files
}
