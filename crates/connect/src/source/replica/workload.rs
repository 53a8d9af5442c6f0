//! Random changes of rows, small and large, with changes of the columns in between, while the log is
//! read now and then. In the end the target has what the table has.

use std::collections::BTreeSet;

use flywheel_base::Rng;

use super::{Target, catch_up, whole};
use crate::source::{ChangesRequest, Source};

/// How many steps a workload has; each is a transaction or a change of the columns.
const STEPS: usize = 70;

/// How many rows a large statement has.
const LARGE: usize = 60;

/// What is added to digits and letters when a column is widened.
const WIDER: usize = 5;

/// Whose SQL is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Postgres,
    MariaDb,
}

/// The type of a column, and how large its values are.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Int,
    Bigint,
    Text(usize),
    Number(usize),
    Float,
    Double,
}

impl Kind {
    fn sql(self, dialect: Dialect) -> String {
        match (self, dialect) {
            (Self::Int, _) => "int".to_owned(),
            (Self::Bigint, _) => "bigint".to_owned(),
            (Self::Text(letters), _) => format!("varchar({letters})"),
            (Self::Number(digits), _) => format!("decimal({digits},2)"),
            (Self::Float, Dialect::Postgres) => "real".to_owned(),
            (Self::Float, Dialect::MariaDb) => "float".to_owned(),
            (Self::Double, _) => "double precision".to_owned(),
        }
    }

    fn wider(self) -> Self {
        match self {
            Self::Int | Self::Bigint => Self::Bigint,
            Self::Text(letters) => Self::Text(letters + WIDER),
            Self::Number(digits) => Self::Number((digits + WIDER).min(30)),
            Self::Float | Self::Double => Self::Double,
        }
    }

    fn value(self, rng: &mut Rng) -> String {
        if rng.chance(0.1) {
            return "NULL".to_owned();
        }
        match self {
            Self::Int => rng.below(1 << 30).to_string(),
            Self::Bigint => rng.below(1 << 62).to_string(),
            Self::Text(_) => format!("'é{}'", rng.below(100_000)),
            Self::Number(digits) => {
                let whole = u32::try_from(digits - 2).unwrap().min(18);
                format!("{}.{:02}", rng.below(10_usize.pow(whole)), rng.below(100))
            }
            Self::Float => format!("{}.25", rng.below(1000)),
            Self::Double => format!("{}.25", rng.below(1 << 40)),
        }
    }
}

/// A table under change.
struct Workload {
    dialect: Dialect,
    rng: Rng,
    live: BTreeSet<usize>,
    /// Columns beside `id`, `n` and `big`.
    columns: Vec<(String, Kind)>,
    named: usize,
}

impl Workload {
    fn new(seed: u64, dialect: Dialect) -> Self {
        let columns = vec![("a0".to_owned(), Kind::Int), ("b0".to_owned(), Kind::Text(9))];
        let live = (0..40).collect();
        Self { dialect, rng: Rng::new(seed), live, columns, named: 0 }
    }

    fn table(&self) -> String {
        let rows: Vec<String> = self.live.iter().map(|id| format!("({id}, 1, 'x')")).collect();
        let big = match self.dialect {
            // Stored outside of the row, so that the log leaves it out where it does not change.
            Dialect::Postgres => "ALTER TABLE t ALTER COLUMN big SET STORAGE EXTERNAL;",
            Dialect::MariaDb => "",
        };
        format!(
            "CREATE TABLE t (id int PRIMARY KEY, n int, big text, a0 int, b0 varchar(9)); {big}
             INSERT INTO t (id, n, big) VALUES {}",
            rows.join(", ")
        )
    }

    /// How many rows a statement is about.
    fn size(&mut self) -> usize {
        match self.rng.below(10) {
            0 => LARGE,
            1..4 => 1 + self.rng.below(10),
            _ => 1,
        }
    }

    fn some_of(&mut self, live: &BTreeSet<usize>) -> Vec<usize> {
        let (count, all): (usize, Vec<usize>) = (self.size(), live.iter().copied().collect());
        (0..count.min(all.len())).map(|_| all[self.rng.below(all.len())]).collect()
    }

    /// A text; a long one is stored outside of its row. Statements go to the server's own client, which
    /// takes no more than a command line holds.
    fn big(&mut self, long: bool) -> String {
        let words = if long && self.rng.chance(0.2) { 160 } else { 1 };
        (0..words).map(|_| format!("{:016x}", self.rng.next_u64())).collect()
    }

    /// Keys that no row has; some had one before.
    fn free(&mut self, live: &BTreeSet<usize>, count: usize) -> Vec<usize> {
        let mut free = BTreeSet::new();
        while free.len() < count {
            let id = self.rng.below(400);
            if !live.contains(&id) {
                free.insert(id);
            }
        }
        free.into_iter().collect()
    }

    fn statement(&mut self, live: &mut BTreeSet<usize>) -> String {
        // No row has the key -1; without it a list could be empty.
        let listed = |ids: &[usize]| -> String {
            "-1".to_owned() + &ids.iter().map(|id| format!(", {id}")).collect::<String>()
        };
        match self.rng.below(10) {
            0..3 if live.len() < 300 => {
                let count = self.size();
                let ids = self.free(live, count);
                live.extend(&ids);
                let names: Vec<String> =
                    self.columns.iter().map(|(name, _)| name.clone()).collect();
                let few = ids.len() < 4;
                let rows: Vec<String> = ids.iter().map(|id| self.row(*id, few)).collect();
                let names: String = names.iter().map(|name| format!(", {name}")).collect();
                format!("INSERT INTO t (id, n, big{names}) VALUES {}", rows.join(", "))
            }
            3 => {
                let ids = self.some_of(live);
                live.retain(|id| !ids.contains(id));
                format!("DELETE FROM t WHERE id IN ({})", listed(&ids))
            }
            4 => {
                let ids = self.some_of(live);
                let new = self.free(live, 1)[0];
                let Some(old) = ids.first() else { return "UPDATE t SET n = n + 1".to_owned() };
                live.remove(old);
                live.insert(new);
                format!("UPDATE t SET id = {new}, n = n + 1 WHERE id = {old}")
            }
            5 => {
                let (ids, big) = (self.some_of(live), self.big(true));
                format!("UPDATE t SET big = '{big}' WHERE id IN ({})", listed(&ids))
            }
            6 if !self.columns.is_empty() => {
                let (name, kind) = self.columns[self.rng.below(self.columns.len())].clone();
                let (ids, value) = (self.some_of(live), kind.value(&mut self.rng));
                format!("UPDATE t SET {name} = {value} WHERE id IN ({})", listed(&ids))
            }
            _ => format!("UPDATE t SET n = n + 1 WHERE id % 7 = {}", self.rng.below(7)),
        }
    }

    fn row(&mut self, id: usize, long: bool) -> String {
        let big = self.big(long);
        let columns = self.columns.clone();
        let values: String =
            columns.iter().map(|(_, kind)| format!(", {}", kind.value(&mut self.rng))).collect();
        format!("({id}, {}, '{big}'{values})", self.rng.below(1000))
    }

    /// A change of the columns from the pool; a name is used once.
    fn alter(&mut self) -> String {
        self.named += 1;
        let new = format!("c{}", self.named);
        let kinds = [Kind::Int, Kind::Text(9), Kind::Number(9), Kind::Float];
        // What the log does not tell, a column's value in rows that do not change, is told by a
        // change of every row.
        let all = "UPDATE t SET n = n + 1";
        match (self.rng.below(5), self.columns.len()) {
            (0, _) | (_, 0) => {
                let kind = kinds[self.rng.below(kinds.len())];
                self.columns.push((new.clone(), kind));
                format!("ALTER TABLE t ADD COLUMN {new} {}", kind.sql(self.dialect))
            }
            (1, _) => {
                self.columns.push((new.clone(), Kind::Int));
                format!(
                    "ALTER TABLE t ADD COLUMN {new} int NOT NULL DEFAULT 5; {all}; \
                         ALTER TABLE t {}",
                    self.nullable(&new)
                )
            }
            (2, count) => {
                let (name, _) = self.columns.remove(self.rng.below(count));
                format!("ALTER TABLE t DROP COLUMN {name}")
            }
            (3, count) => {
                let at = self.rng.below(count);
                let old = std::mem::replace(&mut self.columns[at].0, new.clone());
                format!("ALTER TABLE t RENAME COLUMN {old} TO {new}; {all}")
            }
            (_, count) => {
                let at = self.rng.below(count);
                let (name, kind) = &mut self.columns[at];
                *kind = kind.wider();
                let sql = kind.sql(self.dialect);
                match self.dialect {
                    Dialect::Postgres => format!("ALTER TABLE t ALTER COLUMN {name} TYPE {sql}"),
                    Dialect::MariaDb => format!("ALTER TABLE t MODIFY {name} {sql}"),
                }
            }
        }
    }

    /// Lets a column be empty again.
    fn nullable(&self, name: &str) -> String {
        match self.dialect {
            Dialect::Postgres => format!("ALTER COLUMN {name} DROP NOT NULL"),
            Dialect::MariaDb => format!("MODIFY {name} int DEFAULT 5"),
        }
    }

    /// A transaction of one statement or several, or a change of the columns.
    fn step(&mut self) -> String {
        if self.rng.chance(0.2) {
            return self.alter();
        }
        let mut live = self.live.clone();
        let count = if self.rng.chance(0.1) { 20 } else { 1 + self.rng.below(4) };
        let statements: Vec<String> = (0..count).map(|_| self.statement(&mut live)).collect();
        let kept = self.rng.chance(0.9);
        let end = if kept { "COMMIT" } else { "ROLLBACK" };
        if kept {
            self.live = live;
        }
        format!("BEGIN; {}; {end}", statements.join("; "))
    }
}

/// Runs a workload in a database that `make` prepares with the first statements, and compares.
pub(crate) async fn check(
    seed: u64,
    dialect: Dialect,
    make: impl FnOnce(&str) -> (Box<dyn Source>, ChangesRequest),
    run: impl Fn(&str),
) {
    println!("{dialect:?}, seed {seed}");
    let mut workload = Workload::new(seed, dialect);
    let (source, mut request) = make(&workload.table());
    request.streams[0].page_rows = [3, 17, 1000][workload.rng.below(3)];
    let mut target = [Target::default()];
    catch_up(&*source, &mut request, &mut target).await;
    let (mut altered, mut reads) = (0, 0);
    for _ in 0..STEPS {
        let sql = workload.step();
        altered += usize::from(!sql.starts_with("BEGIN"));
        run(&sql);
        if workload.rng.chance(0.25) {
            catch_up(&*source, &mut request, &mut target).await;
            source.acknowledge(&request).await.unwrap();
            reads += 1;
        }
    }
    catch_up(&*source, &mut request, &mut target).await;
    let expected = whole(&*source, "t").await;
    let live: BTreeSet<String> = workload.live.iter().map(ToString::to_string).collect();
    assert_eq!(expected.keys().cloned().collect::<BTreeSet<_>>(), live, "seed {seed}: the table");
    assert!(altered > 5 && reads > 5, "seed {seed}: {altered} changes of columns, {reads} reads");
    let columns: BTreeSet<&String> = expected.values().flat_map(|row| row.keys()).collect();
    for row in target[0].rows.values_mut() {
        row.retain(|name, _| columns.contains(name));
        // A column that no row of the log had yet is empty everywhere.
        for column in &columns {
            row.entry((*column).clone()).or_insert_with(|| "∅".to_owned());
        }
    }
    let keys = |rows: &super::Rows| rows.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&target[0].rows), keys(&expected), "seed {seed}");
    for (key, row) in &expected {
        assert_eq!(&target[0].rows[key], row, "seed {seed}, row {key}");
    }
}
