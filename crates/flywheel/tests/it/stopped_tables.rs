//! One table of a log that stops takes no other with it, and stays as it is until it is read whole again.

use flywheel_testkit::{MariaDb, Postgres};
use serde_json::Value;

use crate::house::House;
use crate::servers::{maria, postgres};

/// The tables, which the lake has under the same names.
const TABLES: [&str; 3] = ["a", "b", "c"];

/// A project that follows three tables of a database of its own.
struct Till {
    house: House,
    database: String,
    maria: bool,
}

impl Till {
    fn new(maria_db: bool) -> Self {
        let database = if maria_db { maria().database() } else { postgres().database() };
        let till = Self { house: House::new(), database, maria: maria_db };
        for table in TABLES {
            till.run(&format!(
                "create table {table} (id bigint primary key, name varchar(20));
                 insert into {table} values (1, 'one'), (2, 'two')"
            ));
        }
        let (kind, port, user, password) = if maria_db {
            ("mysql", maria().port(), MariaDb::USER, MariaDb::PASSWORD)
        } else {
            ("postgres", postgres().port(), "postgres", Postgres::PASSWORD)
        };
        till.house.write("flywheel.yaml", format!("name: {}\n", till.database));
        till.house.write("password", password);
        till.house.write("connections/till.yaml", till.connection("till", kind, port, user));
        till.house.write("syncs/till.yaml", till.sync("lake", |_| String::new()));
        till
    }

    fn connection(&self, name: &str, kind: &str, port: u16, user: &str) -> String {
        let database = &self.database;
        format!(
            "connection: {name}\ntype: {kind}\noptions: {{host: 127.0.0.1, port: {port}, database: {database}, user: {user}, password: '${{file:password}}'}}\n"
        )
    }

    fn sync(&self, destination: &str, more: impl Fn(&str) -> String) -> String {
        let stream = |table: &str| {
            format!(
                "  - {{stream: {table}, options: {{table: {table}}}, read: cdc, write: mirror, key: [id]{}}}\n",
                more(table)
            )
        };
        let streams: String = TABLES.iter().map(|table| stream(table)).collect();
        format!("sync: till\nconnection: till\ndestination: [{destination}]\nstreams:\n{streams}")
    }

    fn run(&self, sql: &str) -> String {
        match self.maria {
            true => maria().sql(&self.database, sql),
            false => postgres().psql(&self.database, sql),
        }
    }

    /// Changes of every kind in all tables, in several transactions.
    fn change(&self, n: u32) {
        for table in TABLES {
            self.run(&format!(
                "insert into {table} values ({n}0, 'new'), ({n}1, 'new');
                 update {table} set name = 'changed {n}' where id in (1, {n}0)"
            ));
        }
        self.run(&format!(
            "update a set id = id + 1000 where id = {n}1; delete from c where id = {n}1"
        ));
    }

    fn rows(&self, table: &str) -> Vec<String> {
        self.house.sql(&format!("select id, name from raw.{table} order by id"))
    }

    fn assert_equal(&self, table: &str, when: &str) {
        let there = self.run(&format!("select id, name from {table} order by id"));
        let there: Vec<String> = there.lines().map(|row| row.replace(['|', '\t'], ",")).collect();
        assert_eq!(self.rows(table), there, "{table}, {when}");
    }

    /// How the tasks of the last run ended.
    fn ended(&self) -> Vec<String> {
        self.house.sql(
            "select name || ' ' || status from system.tasks where run_id = (select run_id from system.runs order by started_at desc limit 1) order by name",
        )
    }

    fn failure_of(&self, stream: &str) -> Option<String> {
        let output = self.house.run(&["lag", "till", "--output", "json"]);
        let all: Value = serde_json::from_slice(&output.stdout).unwrap();
        let one = all.as_array().unwrap().iter().find(|one| one["name"] == stream).unwrap();
        one["failure"].as_str().map(str::to_owned)
    }
}

fn assert_stops_alone(till: &Till) {
    let house = &till.house;
    house.ok(&["sync"]);
    till.change(3);
    till.run("truncate table b");
    till.change(4);
    let said = house.fails(3, &["sync"]);
    assert!(said.contains("truncated"), "{said}");
    assert!(said.contains("flywheel sync till --restart --stream b"), "{said}");
    for table in ["a", "c"] {
        till.assert_equal(table, "beside one that has stopped");
    }
    assert_eq!(till.ended(), ["till.a succeeded", "till.b failed", "till.c succeeded"]);
    let stood = till.rows("b");
    assert_eq!(stood.len(), 4, "what came before is kept, and nothing from behind it: {stood:?}");

    // It stays so, over runs that have nothing and runs that have something for it.
    for n in [5, 6] {
        till.change(n);
        let said = house.fails(3, &["sync"]);
        assert!(said.contains("truncated") && said.contains("--stream b"), "{said}");
        assert_eq!(till.rows("b"), stood);
        for table in ["a", "c"] {
            till.assert_equal(table, "after another run");
        }
        assert!(till.failure_of("till.b").unwrap().contains("truncated"));
        assert_eq!(till.failure_of("till.a"), None);
    }

    // A turn goes on with what is there.
    till.change(8);
    house.fails(3, &["turn"]);
    assert_eq!(house.cell("select status from system.runs where kind = 'turn'"), "succeeded");
    for table in ["a", "c"] {
        till.assert_equal(table, "after a turn");
    }

    // A run that reads another table whole leaves it as it is.
    let said = house.fails(3, &["sync", "till", "--restart", "--stream", "c"]);
    assert!(said.contains("--stream b"), "{said}");
    assert_eq!(till.rows("b"), stood);

    house.ok(&["sync", "till", "--restart", "--stream", "b"]);
    for table in TABLES {
        till.assert_equal(table, "after it was read whole");
    }
    till.change(7);
    house.ok(&["sync"]);
    for table in TABLES {
        till.assert_equal(table, "after the log went on for all");
    }
    house.ok(&["reconcile", "till"]);
    assert_eq!(till.failure_of("till.b"), None);
}

#[test]
fn a_truncated_table_of_postgresql_stops_alone_and_the_server_keeps_no_log_for_it() {
    let till = Till::new(false);
    till.house.ok(&["sync"]);
    let kept = "select confirmed_flush_lsn - '0/0'::pg_lsn from pg_replication_slots where database = current_database()";
    till.run("truncate table b");
    till.house.fails(3, &["sync"]);
    let before: i64 = till.run(kept).parse().unwrap();
    till.run(
        "create table elsewhere as select n, repeat('x', 400) as t from generate_series(1, 5000) n",
    );
    till.change(3);
    till.house.fails(3, &["sync"]);
    let after: i64 = till.run(kept).parse().unwrap();
    assert!(after - before > 500_000, "{before} to {after}");
    till.house.ok(&["sync", "till", "--restart", "--stream", "b"]);
    for table in TABLES {
        till.assert_equal(table, "after it was read whole");
    }
    assert_stops_alone(&Till::new(false));
}

#[test]
fn a_truncated_table_of_mariadb_stops_alone() {
    assert_stops_alone(&Till::new(true));
}

#[test]
fn a_table_that_is_gone_or_has_another_key_stops_alone() {
    for maria_db in [false, true] {
        let till = Till::new(maria_db);
        till.house.ok(&["sync"]);
        till.change(3);
        till.run("drop table b");
        let key = if maria_db { "primary key" } else { "constraint c_pkey" };
        till.run(&format!("alter table c drop {key}"));
        till.run("alter table c add primary key (id, name)");
        till.run("insert into a values (77, 'beside'); insert into c values (77, 'other key')");
        let output = till.house.run(&["sync"]);
        assert!(!output.status.success());
        till.assert_equal("a", "beside two that have stopped");
        let ended = till.ended();
        assert_eq!(ended, ["till.a succeeded", "till.b failed", "till.c failed"]);
        till.run("insert into a values (78, 'later')");
        assert!(!till.house.run(&["sync"]).status.success());
        till.assert_equal("a", "in the run after that");
    }
}

#[test]
fn a_table_that_its_target_refuses_waits_alone_and_misses_nothing() {
    let till = Till::new(false);
    till.run("create schema copies");
    let connection = till.connection("copies", "postgres", postgres().port(), "postgres");
    till.house.write("connections/copies.yaml", connection);
    let target = |table: &str| format!(", new_columns: fail, target: {{table: copies.{table}}}");
    till.house.write("syncs/till.yaml", till.sync("copies", target));
    let equal = |table: &str, columns: &str, when: &str| {
        let of =
            |schema: &str| till.run(&format!("select {columns} from {schema}.{table} order by id"));
        assert_eq!(of("copies"), of("public"), "{table}, {when}");
    };
    till.house.ok(&["sync"]);
    till.run("alter table b add column extra text");
    till.run("update b set extra = 'new' where id = 1; delete from b where id = 2");
    till.change(3);
    let output = till.house.run(&["sync"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("extra") && said.contains("--stream b"), "{said}");
    equal("a", "id, name", "beside one that waits");
    equal("c", "id, name", "beside one that waits");
    till.change(4);
    assert!(!till.house.run(&["sync"]).status.success());
    equal("a", "id, name", "in the run after that");
    till.run("alter table copies.b add column extra text");
    till.change(5);
    till.house.ok(&["sync"]);
    for (table, columns) in [("a", "id, name"), ("b", "id, name, extra"), ("c", "id, name")] {
        equal(table, columns, "after the target was mended");
    }
}
