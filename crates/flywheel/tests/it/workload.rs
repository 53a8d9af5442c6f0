//! Random changes of rows and columns, while `flywheel sync` follows them into the lake and into a database, is killed in
//! between, and in the end has lost and doubled nothing, by `flywheel reconcile` and `flywheel compare`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use flywheel_base::Rng;
use flywheel_testkit::{MariaDb, Postgres};
use serde_json::Value;

use crate::house::{House, text};
use crate::servers::{maria, postgres};

/// What the workloads begin with.
const SEEDS: [u64; 2] = [5, 8];

/// How many statements change rows or columns.
const STATEMENTS: usize = 300;

/// How often both sides are compared on the way and at the end.
const COMPARISONS: usize = 3;

/// Keys are below it.
const KEYS: usize = 400;

/// Whose SQL is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Postgres,
    MariaDb,
}

/// The type of a column, with its letters or digits.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Int,
    Bigint,
    Text(usize),
    Number(usize),
}

impl Kind {
    fn sql(self) -> String {
        match self {
            Self::Int => "int".to_owned(),
            Self::Bigint => "bigint".to_owned(),
            Self::Text(letters) => format!("varchar({letters})"),
            Self::Number(digits) => format!("decimal({digits},2)"),
        }
    }

    fn wider(self) -> Self {
        match self {
            Self::Int | Self::Bigint => Self::Bigint,
            Self::Text(letters) => Self::Text(letters + 5),
            Self::Number(digits) => Self::Number((digits + 5).min(30)),
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
        }
    }
}

/// A table under change.
struct Workload {
    dialect: Dialect,
    rng: Rng,
    /// The keys that have a row.
    live: BTreeSet<usize>,
    /// Columns beside `id`, `n` and `big`.
    columns: Vec<(String, Kind)>,
    /// Names of columns that are no more.
    gone: BTreeSet<String>,
    named: usize,
    statements: usize,
    altered: usize,
}

impl Workload {
    fn new(seed: u64, dialect: Dialect) -> Self {
        Self {
            dialect,
            rng: Rng::new(seed),
            live: (0..40).collect(),
            columns: vec![("a0".to_owned(), Kind::Int), ("b0".to_owned(), Kind::Text(9))],
            gone: BTreeSet::new(),
            named: 0,
            statements: 0,
            altered: 0,
        }
    }

    fn table(&self) -> String {
        let rows: Vec<String> = self.live.iter().map(|id| format!("({id}, 1, 'x')")).collect();
        let big = match self.dialect {
            // Stored outside of the row, so that the log leaves it out where it does not change.
            Dialect::Postgres => "alter table t alter column big set storage external;",
            Dialect::MariaDb => "",
        };
        format!(
            "create table t (id int primary key, n int, big text, a0 int, b0 varchar(9)); {big}
             insert into t (id, n, big) values {}",
            rows.join(", ")
        )
    }

    /// How many rows a statement is about.
    fn size(&mut self) -> usize {
        match self.rng.below(10) {
            0 => 60,
            1..4 => 1 + self.rng.below(10),
            _ => 1,
        }
    }

    fn some_of(&mut self, live: &BTreeSet<usize>) -> Vec<usize> {
        let (count, all): (usize, Vec<usize>) = (self.size(), live.iter().copied().collect());
        (0..count.min(all.len())).map(|_| all[self.rng.below(all.len())]).collect()
    }

    /// Keys that no row has; some had one before.
    fn free(&mut self, live: &BTreeSet<usize>, count: usize) -> Vec<usize> {
        let mut free = BTreeSet::new();
        while free.len() < count {
            let id = self.rng.below(KEYS);
            if !live.contains(&id) {
                free.insert(id);
            }
        }
        free.into_iter().collect()
    }

    /// A text; a long one is stored outside of its row.
    fn big(&mut self, long: bool) -> String {
        let words = if long && self.rng.chance(0.2) { 160 } else { 1 };
        (0..words).map(|_| format!("{:016x}", self.rng.next_u64())).collect()
    }

    fn row(&mut self, id: usize, long: bool) -> String {
        let big = self.big(long);
        let columns = self.columns.clone();
        let values: String =
            columns.iter().map(|(_, kind)| format!(", {}", kind.value(&mut self.rng))).collect();
        format!("({id}, {}, '{big}'{values})", self.rng.below(1000))
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
                let few = ids.len() < 4;
                let rows: Vec<String> = ids.iter().map(|id| self.row(*id, few)).collect();
                let names: String =
                    self.columns.iter().map(|(name, _)| format!(", {name}")).collect();
                format!("insert into t (id, n, big{names}) values {}", rows.join(", "))
            }
            3 => {
                let ids = self.some_of(live);
                live.retain(|id| !ids.contains(id));
                format!("delete from t where id in ({})", listed(&ids))
            }
            4 if !live.is_empty() => {
                let all: Vec<usize> = live.iter().copied().collect();
                let (old, new) = (all[self.rng.below(all.len())], self.free(live, 1)[0]);
                live.remove(&old);
                live.insert(new);
                format!("update t set id = {new}, n = n + 1 where id = {old}")
            }
            5 => {
                let (ids, big) = (self.some_of(live), self.big(true));
                format!("update t set big = '{big}' where id in ({})", listed(&ids))
            }
            6 if !self.columns.is_empty() => {
                let (name, kind) = self.columns[self.rng.below(self.columns.len())].clone();
                let (ids, value) = (self.some_of(live), kind.value(&mut self.rng));
                format!("update t set {name} = {value} where id in ({})", listed(&ids))
            }
            _ => format!("update t set n = n + 1 where id % 7 = {}", self.rng.below(7)),
        }
    }

    /// A change of the columns; a name is used once.
    fn alter(&mut self) -> String {
        self.altered += 1;
        self.named += 1;
        let new = format!("c{}", self.named);
        // What the log does not tell, a column's value in rows that do not change, is told by a change of every row.
        let all = "update t set n = n + 1";
        match (self.rng.below(5), self.columns.len()) {
            (0, _) | (_, 0) => {
                let kind = [Kind::Int, Kind::Text(9), Kind::Number(9)][self.rng.below(3)];
                self.columns.push((new.clone(), kind));
                format!("alter table t add column {new} {}", kind.sql())
            }
            (1, _) => {
                self.columns.push((new.clone(), Kind::Int));
                let nullable = match self.dialect {
                    Dialect::Postgres => format!("alter column {new} drop not null"),
                    Dialect::MariaDb => format!("modify {new} int default 5"),
                };
                format!(
                    "alter table t add column {new} int not null default 5; {all}; alter table t {nullable}"
                )
            }
            (2, count) => {
                let (name, _) = self.columns.remove(self.rng.below(count));
                let sql = format!("alter table t drop column {name}");
                self.gone.insert(name);
                sql
            }
            (3, count) => {
                let at = self.rng.below(count);
                let old = std::mem::replace(&mut self.columns[at].0, new.clone());
                let sql = format!("alter table t rename column {old} to {new}; {all}");
                self.gone.insert(old);
                sql
            }
            (_, count) => {
                let at = self.rng.below(count);
                let (name, kind) = &mut self.columns[at];
                *kind = kind.wider();
                let sql = kind.sql();
                match self.dialect {
                    Dialect::Postgres => format!("alter table t alter column {name} type {sql}"),
                    Dialect::MariaDb => format!("alter table t modify {name} {sql}"),
                }
            }
        }
    }

    /// A transaction of one statement or several, or a change of the columns.
    fn step(&mut self) -> String {
        if self.rng.chance(0.2) {
            self.statements += 1;
            return self.alter();
        }
        let mut live = self.live.clone();
        let count = if self.rng.chance(0.05) { 15 } else { 1 + self.rng.below(4) };
        self.statements += count;
        let statements: Vec<String> = (0..count).map(|_| self.statement(&mut live)).collect();
        let kept = self.rng.chance(0.9);
        if kept {
            self.live = live;
        }
        let end = if kept { "commit" } else { "rollback" };
        format!("begin; {}; {end}", statements.join("; "))
    }
}

/// A table that changes, a project that follows it, and where a copy of it is.
struct Followed {
    house: House,
    dialect: Dialect,
    database: String,
    /// The copy, as `flywheel compare` is told it.
    copy: &'static str,
}

impl Followed {
    fn new(dialect: Dialect, table: &str) -> Self {
        let house = House::new();
        let database = match dialect {
            Dialect::Postgres => postgres().database(),
            Dialect::MariaDb => maria().database(),
        };
        // The reader's name on the server follows from that of the project.
        house.write("flywheel.yaml", format!("name: {database}\n"));
        let (kind, port, user, password) = match dialect {
            Dialect::Postgres => ("postgres", postgres().port(), "postgres", Postgres::PASSWORD),
            Dialect::MariaDb => ("mysql", maria().port(), MariaDb::USER, MariaDb::PASSWORD),
        };
        house.write("password", password);
        let (into, target, copy) = match dialect {
            Dialect::Postgres => (database.clone(), "copies.t", "into:copies.t"),
            Dialect::MariaDb => (maria().database(), "t", "into:t"),
        };
        for (name, database) in [("from", &database), ("into", &into)] {
            house.write(
                &format!("connections/{name}.yaml"),
                format!(
                    "connection: {name}\ntype: {kind}\noptions: {{host: 127.0.0.1, port: {port}, database: {database}, user: {user}, password: '${{file:password}}'}}\n"
                ),
            );
        }
        let stream = "stream: t, options: {table: t}, read: cdc, write: mirror, key: [id]";
        house.write(
            "syncs/landed.yaml",
            format!("sync: landed\nconnection: from\nstreams:\n  - {{{stream}}}\n"),
        );
        house.write(
            "syncs/copied.yaml",
            format!(
                "sync: copied\nconnection: from\ndestination: into\nstreams:\n  - {{{stream}, target: {{table: {target}}}}}\n"
            ),
        );
        let followed = Self { house, dialect, database, copy };
        if dialect == Dialect::Postgres {
            followed.run("create schema copies");
        }
        followed.run(table);
        followed
    }

    fn run(&self, sql: &str) -> String {
        match self.dialect {
            Dialect::Postgres => postgres().psql(&self.database, sql),
            Dialect::MariaDb => maria().sql(&self.database, sql),
        }
    }

    /// Catches up, and expects that lake and copy are what the table is.
    fn assert_equal(&self, workload: &Workload, when: &str) {
        // A column that no change has told yet is in no target; where it is empty, it may stay so in all rows but one.
        self.run("update t set n = n + 1 where id = (select id from (select min(id) as id from t) as lowest)");
        self.house.ok(&["sync"]);
        let live = workload.live.len();
        assert_eq!(self.run("select count(*) from t"), live.to_string(), "{when}: the table");
        assert_eq!(self.house.cell("select count(*) from raw.t"), live.to_string(), "{when}");
        let landed = self.house.run(&["reconcile", "landed"]);
        assert!(
            landed.status.success(),
            "{when}: {}",
            text(&landed.stdout) + &text(&landed.stderr)
        );
        let output =
            self.house.run(&["compare", "from:t", self.copy, "--key", "id", "--output", "json"]);
        let said = text(&output.stdout) + &text(&output.stderr);
        let compared = serde_json::from_slice(&output.stdout);
        assert!(compared.is_ok(), "{when}: {said}");
        let compared: Value = compared.unwrap();
        let found = &compared["found"];
        assert_eq!(found["rows"]["left"], live, "{when}: {said}");
        assert_eq!(found["rows"]["right"], live, "{when}: {said}");
        assert_eq!(found["keys"], Value::Array(Vec::new()), "{when}: {said}");
        assert_eq!(found["ranges"], Value::Array(Vec::new()), "{when}: {said}");
        // A target keeps columns that the table had once, and lacks none that it has.
        for one in compared["schema"].as_array().unwrap() {
            let known = workload.gone.contains(one["column"].as_str().unwrap());
            assert!(one["kind"] == "extra" && known, "{when}: {said}");
        }
        let columns = compared["columns"].as_array().unwrap().len();
        assert!(columns >= workload.columns.len() + 2, "{when}: only {columns} columns: {said}");
    }
}

/// Runs a workload; syncs that catch up and syncs that are killed come in between.
fn check(seed: u64, dialect: Dialect) {
    eprintln!("{dialect:?}, seed {seed}");
    let mut workload = Workload::new(seed, dialect);
    let followed = Followed::new(dialect, &workload.table());
    followed.house.ok(&["sync"]);
    followed.run(&workload.step());
    let begun = Instant::now();
    followed.house.ok(&["sync"]);
    let calm = begun.elapsed();
    let (mut kills, mut compared) = (0, 0);
    while workload.statements < STATEMENTS {
        match workload.rng.below(8) {
            0 => drop(followed.house.ok(&["sync"])),
            1 => {
                let after: Duration = calm.mul_f64(workload.rng.uniform());
                let steps = 1 + workload.rng.below(4);
                // What changes while the sync runs is a part of it or not.
                let changes = || {
                    for _ in 0..steps {
                        followed.run(&workload.step());
                    }
                };
                kills += u32::from(followed.house.killed(&["sync"], after, changes));
            }
            _ => drop(followed.run(&workload.step())),
        }
        if workload.statements * COMPARISONS >= STATEMENTS * (compared + 1) {
            compared += 1;
            followed.assert_equal(&workload, &format!("seed {seed}, comparison {compared}"));
        }
    }
    assert!(compared >= COMPARISONS, "seed {seed}: compared {compared} times");
    assert!(kills > 0, "seed {seed}: every sync ended before it was killed");
    assert!(workload.altered > 10, "seed {seed}: {} changes of columns", workload.altered);
    assert_eq!(followed.house.cell("select count(*) from system.quarantine"), "0", "seed {seed}");
    if dialect == Dialect::Postgres {
        followed.run("select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = current_database()");
    }
}

#[test]
fn random_changes_of_postgres_end_equal_in_lake_and_copy_whatever_is_killed() {
    for seed in SEEDS {
        check(seed, Dialect::Postgres);
    }
}

#[test]
fn random_changes_of_mariadb_end_equal_in_lake_and_copy_whatever_is_killed() {
    for seed in SEEDS {
        check(seed, Dialect::MariaDb);
    }
}
