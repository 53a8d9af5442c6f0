//! A project of a check, and the servers it is connected with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use flywheel_testkit::Postgres;

use crate::binary::Flywheel;
use crate::process::Cost;
use crate::{Result, process};

/// Where a project finds its server's password.
const PASSWORD_VARIABLE: &str = "BENCH_PASSWORD";

/// The hexadecimal digits of a digest that a checksum takes, and what a digit weighs; the sum over
/// ten million rows stays below 2^63.
const DIGITS: [u64; 5] = [1, 128, 16_384, 2_097_152, 268_435_456];

/// A project in a folder of its own.
pub(crate) struct Shop<'a> {
    flywheel: &'a Flywheel,
    folder: PathBuf,
}

impl<'a> Shop<'a> {
    /// An empty project.
    pub(crate) fn new(flywheel: &'a Flywheel, folder: &Path) -> Result<Self> {
        let shop = Self { flywheel, folder: folder.to_owned() };
        shop.write("flywheel.yaml", "name: shop\n")?;
        Ok(shop)
    }

    /// Writes one of its files.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let path = self.folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok(fs::write(path, content)?)
    }

    /// A connection with a database of PostgreSQL.
    pub(crate) fn postgres(&self, name: &str, server: &Postgres, database: &str) -> Result<()> {
        let port = server.port();
        let options = format!(
            "{{host: 127.0.0.1, port: {port}, database: {database}, user: postgres, password: '${{env:{PASSWORD_VARIABLE}}}'}}"
        );
        self.write(
            &format!("connections/{name}.yaml"),
            format!("connection: {name}\ntype: postgres\noptions: {options}\n"),
        )
    }

    /// A sync of one stream; `settings` are those of the sync and `stream` those of the stream, in
    /// one line each.
    pub(crate) fn sync(&self, name: &str, settings: &str, stream: &str) -> Result<()> {
        self.write(
            &format!("syncs/{name}.yaml"),
            format!("sync: {name}\n{settings}\nstreams:\n  - {{{stream}}}\n"),
        )
    }

    /// A file or folder of the project.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A call of `flywheel` on the project, which prints JSON.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.flywheel.on(&self.folder, arguments);
        command.args(["--output", "json"]).env(PASSWORD_VARIABLE, Postgres::PASSWORD);
        command
    }

    /// A call of `flywheel` on the project.
    pub(crate) fn plain(&self, arguments: &[&str]) -> Command {
        self.flywheel.on(&self.folder, arguments)
    }

    /// Calls `flywheel` and measures it; what it prints is dropped, its errors are shown.
    pub(crate) fn measure(&self, arguments: &[&str]) -> Result<Cost> {
        let mut command = self.command(arguments);
        let cost = process::measure(command.stdout(std::process::Stdio::null()))?;
        println!("flywheel {}: {cost}", arguments.join(" "));
        Ok(cost)
    }

    /// The single value of a query.
    pub(crate) fn value(&self, sql: &str) -> Result<String> {
        self.flywheel.value(&self.folder, sql)
    }

    /// How many versions a lake table has.
    pub(crate) fn versions(&self, table: &str) -> usize {
        let log = self.path(&format!(".flywheel/lake/{}/_delta_log", table.replace('.', "/")));
        let files = fs::read_dir(log).into_iter().flatten().flatten();
        files.filter(|file| file.path().extension().is_some_and(|end| end == "json")).count()
    }
}

/// A query for the count and two checksums of a table's rows, in words that PostgreSQL and the lake
/// take alike. `values` are expressions that both write as the same text.
pub(crate) fn checksum(table: &str, values: &str) -> String {
    let sum = |first: usize| {
        let terms = DIGITS.iter().enumerate().map(|(at, weight)| {
            format!("cast(ascii(substr(h, {}, 1)) as bigint) * {weight}", first + at)
        });
        format!("sum({})", terms.collect::<Vec<_>>().join(" + "))
    };
    let (one, two) = (sum(1), sum(1 + DIGITS.len()));
    format!(
        "select concat_ws('/', count(*), {one}, {two}) as checksum from \
         (select md5(concat_ws('|', {values})) as h from {table}) as digests"
    )
}
