//! Tables of a PostgreSQL server follow into the lake, change by change.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use flywheel_testkit::{MariaDb, Postgres};
use serde_json::json;

use crate::house::{House, binary};
use crate::schedules::Owner;
use crate::served::Process;
use crate::servers::{maria, postgres};

/// How long a follower may be silent while something is missing.
const PATIENCE: Duration = Duration::from_secs(60);

/// A project that follows two tables of a database of its own.
pub(crate) struct Shop {
    pub(crate) house: House,
    database: String,
}

impl Shop {
    pub(crate) fn new() -> Self {
        let shop = Self { house: House::new(), database: postgres().database() };
        shop.run(
            "create table customers (id bigint primary key, name text, note text);
             create table orders (id bigint primary key, customer bigint, amount numeric(12,2), at timestamptz default now());
             insert into customers select n, 'name ' || n, null from generate_series(1, 200) n;
             insert into orders select n, n % 200 + 1, n * 1.25, '2024-05-01T12:00:00Z' from generate_series(1, 1000) n;",
        );
        shop.house.write("flywheel.yaml", format!("name: {}\n", shop.database));
        shop.house.write(
            "connections/shop.yaml",
            format!(
                "connection: shop\ntype: postgres\noptions: {{host: 127.0.0.1, port: {}, database: {}, user: postgres, password: '${{file:password}}'}}\n",
                postgres().port(),
                shop.database
            ),
        );
        shop.house.write("password", Postgres::PASSWORD);
        shop.house.write(
            "syncs/shop.yaml",
            "sync: shop\nconnection: shop\nstreams:\n  - {stream: customers, options: {table: customers}, read: cdc, write: mirror, key: [id]}\n  - {stream: orders, options: {table: orders}, read: cdc, write: mirror, key: [id], keep: declared, columns: [{name: id}, {name: customer}, {name: amount}, {name: at}]}\n",
        );
        shop
    }

    /// The same project, whose changes wait in a table of changes.
    fn with_table_of_changes() -> Self {
        let shop = Self::new();
        let sync = std::fs::read_to_string(shop.house.dir().join("syncs/shop.yaml")).unwrap();
        let sync = sync.replace("write: mirror,", "write: mirror, changes: table,");
        shop.house.write("syncs/shop.yaml", sync);
        shop
    }

    /// The folder of a table of the lake.
    fn table(&self, name: &str) -> std::path::PathBuf {
        self.house.dir().join(".flywheel/lake/raw").join(name)
    }

    pub(crate) fn run(&self, sql: &str) -> String {
        postgres().psql(&self.database, sql)
    }

    /// The lake holds exactly what the database holds.
    fn assert_equal(&self, when: &str) {
        assert_eq!(self.difference(), None, "{when}");
    }

    /// The first thing in which the lake is not what the database is.
    pub(crate) fn difference(&self) -> Option<String> {
        let text = "coalesce(name, '-') || '/' || coalesce(note, '-')";
        let pairs = [
            (
                format!("select id, {text} from customers order by id"),
                format!("select id, {text} from raw.customers order by id"),
            ),
            (
                "select id, customer, amount, extract(epoch from at)::bigint from orders order by id"
                    .to_owned(),
                "select id, customer, amount, cast(date_part('epoch', at) as bigint) from raw.orders order by id"
                    .to_owned(),
            ),
        ];
        for (there, here) in pairs {
            let expected: Vec<String> = self.run(&there).lines().map(str::to_owned).collect();
            let found: Vec<String> =
                self.house.sql(&here).iter().map(|row| row.replace(',', "|")).collect();
            if found.len() != expected.len() {
                return Some(format!("{} rows for {}", found.len(), expected.len()));
            }
            let short = |row: &String| row.chars().take(80).collect::<String>();
            if let Some((found, expected)) = found.iter().zip(&expected).find(|(a, b)| a != b) {
                return Some(format!("{} for {}", short(found), short(expected)));
            }
        }
        None
    }
}

/// Changes of every kind, one transaction for each round; the new notes are too long to be in every
/// entry of the log.
pub(crate) fn round(n: u32) -> String {
    format!(
        "begin;
         insert into customers select {n}000 + s, 'new ' || s, string_agg(md5(s || '/' || g), '')
           from generate_series(1, 30) s, generate_series(1, 100) g group by s;
         update customers set name = name || '+{n}' where id % 7 = {n} % 7;
         update customers set id = id + 500000 where id % 11 = {n} % 11 and id < 400000;
         delete from customers where id % 13 = {n} % 13;
         insert into orders select {n}0000 + s, s, s * 0.5, '2024-06-01T00:00:00Z' from generate_series(1, 200) s;
         update orders set amount = amount + 1 where id % 5 = {n} % 5;
         delete from orders where id % 17 = {n} % 17;
         commit;"
    )
}

#[test]
fn a_table_is_read_whole_and_then_follows_every_change() {
    let shop = Shop::new();
    shop.house.ok(&["sync"]);
    shop.assert_equal("after the whole read");
    for n in 1..4 {
        shop.run(&round(n));
        shop.house.ok(&["sync"]);
        shop.assert_equal(&format!("after round {n}"));
    }
    // Nothing new makes no version, and the server need not keep its log.
    let versions = "select version from system.tables where name = 'raw.customers'";
    let before = shop.house.cell(versions);
    let kept =
        "select confirmed_flush_lsn from pg_replication_slots where database = current_database()";
    let place = shop.run(kept);
    shop.run("create table elsewhere as select generate_series(1, 1000) as n");
    shop.house.ok(&["sync"]);
    assert_eq!(shop.house.cell(versions), before);
    assert_ne!(shop.run(kept), place, "the log is kept for a reader that has read it");
    shop.run("alter table customers add column city text; update customers set city = 'Ulm' where id = 1");
    shop.run("insert into customers (id, name, city) values (900001, 'late', 'Bonn')");
    shop.house.ok(&["sync"]);
    shop.assert_equal("after a column was added");
    assert_eq!(shop.house.cell("select city from raw.customers where id = 900001"), "Bonn");
}

#[test]
fn a_sync_that_was_removed_leaves_no_slot_behind_once_it_is_forgotten() {
    let shop = Shop::new();
    let slots = "select count(*) from pg_replication_slots where database = current_database()";
    shop.house.ok(&["sync"]);
    assert_eq!(
        shop.house.cell("select distinct balance from system.tasks where kind = 'sync'"),
        "balanced"
    );
    assert_eq!(shop.run(slots), "1");
    // While its file is there, its next run would make it again.
    shop.house.fails(2, &["sync", "shop", "--forget", "--yes"]);
    std::fs::remove_file(shop.house.dir().join("syncs/shop.yaml")).unwrap();
    shop.house.fails(2, &["sync", "--forget", "shop"]);
    assert_eq!(shop.run(slots), "1", "nothing goes without a word");
    shop.house.ok(&["sync", "--forget", "shop", "--yes"]);
    assert_eq!(shop.run(slots), "0");
    assert_eq!(shop.run("select count(*) from pg_publication"), "0");
    assert_eq!(shop.house.cell("select count(*) from raw.customers"), "200", "the rows stay");
}

#[test]
fn a_row_that_meets_the_condition_no_more_leaves_and_comes_back() {
    let shop = Shop::new();
    let sync = "sync: shop\nconnection: shop\nstreams:\n  - stream: orders\n    options: {table: orders}\n    read: cdc\n    write: mirror\n    key: [id]\n    only: amount >= 1000\n    columns:\n      - {name: rounded, value: cast(round(amount) as bigint), required: true}\n";
    shop.house.write("syncs/shop.yaml", sync);
    let equal = |when: &str| {
        let there = shop.run("select id || ',' || round(amount)::bigint from orders where amount >= 1000 order by id");
        let here = shop.house.sql("select id, rounded from raw.orders order by id");
        assert_eq!(here, there.lines().collect::<Vec<_>>(), "{when}");
        assert!(!here.is_empty());
    };
    shop.house.ok(&["sync"]);
    equal("after the whole read");
    shop.run(
        "update orders set amount = 5 where id between 900 and 910;
         update orders set amount = 5000 where id in (1, 2);
         delete from orders where id in (950, 3);
         insert into orders values (2001, 1, 4000), (2002, 1, 4)",
    );
    shop.house.ok(&["sync"]);
    equal("after rows left and came");
    shop.run(
        "update orders set amount = 1001 where id = 905; update orders set amount = 6 where id = 1",
    );
    shop.house.ok(&["sync"]);
    equal("after one came back");
}

#[test]
fn every_version_of_a_row_is_kept() {
    let shop = Shop::new();
    let sync = "sync: shop\nconnection: shop\nstreams:\n  - {stream: customers, options: {table: customers}, read: cdc, write: history, key: [id]}\n";
    shop.house.write("syncs/shop.yaml", sync);
    shop.house.ok(&["sync"]);
    shop.run(
        "update customers set name = 'second' where id = 3; delete from customers where id = 4",
    );
    shop.house.ok(&["sync"]);
    shop.run("update customers set name = 'third' where id = 3");
    shop.house.ok(&["sync"]);
    let three = "select name, valid_to is null from raw.customers where id = 3 order by valid_from";
    assert_eq!(shop.house.sql(three), ["name 3,false", "second,false", "third,true"]);
    let four = "select count(*), count(valid_to) from raw.customers where id = 4";
    assert_eq!(shop.house.cell(four), "1,1");
    // A version begins where the one before it ends, at a moment of the source's commits.
    let gaps = "select count(*) from raw.customers a join raw.customers b on a.id = b.id and a.valid_to = b.valid_from where a.id = 3";
    assert_eq!(shop.house.cell(gaps), "2");
    // Read whole again, everything that is unchanged stays as it is, and what is gone has ended.
    shop.run("delete from customers where id = 5");
    shop.house.ok(&["sync", "--restart"]);
    let open = "select count(*) from raw.customers where valid_to is null";
    assert_eq!(shop.house.cell(open), "198");
    assert_eq!(shop.house.cell("select count(*) from raw.customers"), "202");
}

#[test]
fn every_commit_between_two_syncs_makes_versions_of_its_own() {
    let shop = Shop::new();
    let history = |connection: &str| {
        format!(
            "sync: {connection}\nconnection: {connection}\nstreams:\n  - {{stream: {connection}_customers, options: {{table: customers}}, read: cdc, write: history, key: [id]}}\n"
        )
    };
    shop.house.write("syncs/shop.yaml", history("shop"));
    let other = maria().database();
    shop.house.write("password2", MariaDb::PASSWORD);
    shop.house.write(
        "connections/maria.yaml",
        format!(
            "connection: maria\ntype: mysql\noptions: {{host: 127.0.0.1, port: {}, database: {other}, user: {}, password: '${{file:password2}}'}}\n",
            maria().port(),
            MariaDb::USER
        ),
    );
    shop.house.write("syncs/maria.yaml", history("maria"));
    maria().sql(
        &other,
        "create table customers (id bigint primary key, name text, note text);
         insert into customers values (3, 'name 3', null), (4, 'name 4', null), (5, 'name 5', null)",
    );
    shop.house.ok(&["sync"]);
    // MariaDB tells whole seconds: most of these seem to be of one moment, before the first read.
    for sql in [
        "update customers set name = 'second' where id = 3",
        "update customers set name = 'third' where id = 3",
        "delete from customers where id = 4",
        "insert into customers values (4, 'back', null)",
        "insert into customers values (900, 'short', null)",
        "delete from customers where id = 900",
        "begin; update customers set name = 'x' where id = 5; update customers set name = 'y' where id = 5; commit",
    ] {
        shop.run(sql);
        maria().sql(&other, sql);
    }
    shop.house.ok(&["sync"]);
    for table in ["raw.shop_customers", "raw.maria_customers"] {
        let versions = |id: u32| {
            shop.house.sql(&format!(
                "select name, valid_to is null from {table} where id = {id} order by valid_from"
            ))
        };
        assert_eq!(versions(3), ["name 3,false", "second,false", "third,true"], "{table}");
        assert_eq!(versions(4), ["name 4,false", "back,true"], "{table}");
        assert_eq!(versions(5), ["name 5,false", "y,true"], "{table}");
        assert_eq!(versions(900), ["short,false"], "{table}");
        let empty = format!("select count(*) from {table} where valid_to <= valid_from");
        assert_eq!(shop.house.cell(&empty), "0", "{table}");
        let met = format!(
            "select count(*) from {table} a join {table} b on a.id = b.id and a.valid_to = b.valid_from where a.id = 3"
        );
        assert_eq!(shop.house.cell(&met), "2", "{table}");
    }
}

#[test]
fn a_column_that_is_widened_at_the_source_is_widened_everywhere_and_nothing_is_read_again() {
    let shop = Shop::new();
    shop.run(
        "create schema copies;
         create table t (id bigint primary key, changed int, i int, n numeric(9,2), f real, v varchar(3));
         insert into t select n, n, n, n * 1.25, 0.1, 'abc' from generate_series(1, 50) n",
    );
    let connection = std::fs::read_to_string(shop.house.dir().join("connections/shop.yaml"));
    let connection = connection.unwrap().replacen("connection: shop", "connection: copies", 1);
    shop.house.write("connections/copies.yaml", connection);
    shop.house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: shop\ndestination: [lake, copies]\nstreams:\n  - {stream: followed, options: {table: t}, read: cdc, write: mirror, key: [id], target: {table: copies.t}}\n",
    );
    let stream =
        |name: &str, rest: &str| format!("  - {{stream: {name}, options: {{table: t}}, {rest}}}\n");
    let incremental = "read: incremental, cursor: changed";
    let streams = [
        stream("appended", &format!("{incremental}, write: append")),
        stream("merged", &format!("{incremental}, write: merge, key: [id]")),
        stream("mirrored", "read: full, write: mirror, key: [id]"),
        stream("kept", "read: full, write: history, key: [id]"),
    ];
    let sync = format!("sync: reads\nconnection: shop\nstreams:\n{}", streams.concat());
    shop.house.write("syncs/reads.yaml", sync);
    shop.house.ok(&["sync"]);
    let types = "select column_name || ' ' || data_type from information_schema.columns where table_schema = 'raw' and table_name = ";
    let narrow = shop.house.sql(&format!(
        "{types}'followed' and column_name in ('changed', 'i', 'n') order by column_name"
    ));
    assert!(narrow[1].contains("Int32") && narrow[2].contains("Decimal128(9, 2)"), "{narrow:?}");
    shop.run(
        "alter table t alter changed type bigint, alter i type bigint, alter n type numeric(16,4),
           alter f type float8, alter v type varchar(40);
         insert into t values (51, 51, 5000000000, 123456789012.0001, 1e300, 'longer than before');
         update t set i = -i * 1000000000, changed = 52 where id = 50",
    );
    let read = "select coalesce(sum(rows_in), 0) from system.tasks where kind = 'sync' and name like '%followed%'";
    let before: u64 = shop.house.cell(read).parse().unwrap();
    let said = shop.house.ok(&["sync"]);
    let after: u64 = shop.house.cell(read).parse().unwrap();
    assert!(after - before <= 4, "two rows for two targets, and no whole read: {said}");
    let of = "id, i, n, f, v";
    let there = shop.run(&format!("select {of} from t order by id"));
    let expected: Vec<String> = there.lines().map(|row| row.replace('|', ",")).collect();
    let there = shop.run(&format!("select {of} from copies.t order by id"));
    let copied: Vec<String> = there.lines().map(|row| row.replace('|', ",")).collect();
    assert_eq!(copied, expected, "another system");
    for table in ["followed", "merged", "mirrored", "kept"] {
        let now = if table == "kept" { "where valid_to is null" } else { "" };
        let sql = format!("select id, i, n, f, v from raw.{table} {now} order by id");
        let found: Vec<Vec<String>> = fields(&shop.house.sql(&sql));
        let exact = fields(&expected);
        assert_eq!(found.len(), exact.len(), "{table}");
        for (found, exact) in found.iter().zip(&exact) {
            assert_eq!(found[..3], exact[..3], "{table}");
            assert_eq!(found[3].parse::<f64>(), exact[3].parse::<f64>(), "{table}: {found:?}");
            assert_eq!(found[4], exact[4], "{table}");
        }
        let wide = shop.house.sql(&format!(
            "{types}'{table}' and column_name in ('changed', 'i', 'n') order by column_name"
        ));
        assert!(wide[0].contains("Int64") && wide[1].contains("Int64"), "{table}: {wide:?}");
        assert!(wide[2].contains("Decimal128(16, 4)"), "{table}: {wide:?}");
    }
    assert_eq!(shop.house.cell("select count(*), max(i) from raw.appended"), "52,5000000000");
    let pg = "select string_agg(format_type(atttypid, atttypmod), ' ' order by attnum) from pg_attribute where attrelid = 'copies.t'::regclass and attnum > 0";
    assert_eq!(shop.run(pg), "bigint bigint bigint numeric(16,4) double precision text");
    assert_eq!(shop.house.cell("select count(*) from system.quarantine"), "0");
    // No log tells of what is done while it is lost; the whole read that follows does.
    shop.run("select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = current_database()");
    shop.run(
        "alter table t alter n type numeric(20,4);
         insert into t values (60, 60, 1, 1234567890123456.0001, 0, 'x')",
    );
    shop.house.fails(3, &["sync", "shop"]);
    shop.house.ok(&["sync", "shop", "--restart"]);
    assert_eq!(shop.run(pg), "bigint bigint bigint numeric(20,4) double precision text");
    assert_eq!(shop.run("select n from copies.t where id = 60"), "1234567890123456.0001");
    assert_eq!(shop.house.cell("select count(*) from system.quarantine"), "0");
}

#[test]
fn a_read_without_a_log_widens_the_columns_of_its_targets_once_the_source_has() {
    let shop = Shop::new();
    let other = maria().database();
    let there = |sql: &str| maria().sql(&other, sql);
    shop.run(
        "create schema copies;
         create table t (id bigint primary key, changed int, i int, n numeric(9,2), f real);
         insert into t select n, n, n, n * 1.25, 0.5 from generate_series(1, 50) n;
         create table copies.viewed (id bigint, changed int, i int, n numeric(9,2), f float8);
         create view copies.ids as select id from copies.viewed;
         create table copies.small (id bigint primary key, changed int, i smallint, n numeric(9,2), f float8)",
    );
    there(
        "create table small (id bigint primary key, changed int, i smallint not null default 7 comment 'how, many', n decimal(9,2), f double)",
    );
    let connection = std::fs::read_to_string(shop.house.dir().join("connections/shop.yaml"));
    let connection = connection.unwrap().replacen("connection: shop", "connection: copies", 1);
    shop.house.write("connections/copies.yaml", connection);
    shop.house.write("password2", MariaDb::PASSWORD);
    shop.house.write(
        "connections/maria.yaml",
        format!(
            "connection: maria\ntype: mysql\noptions: {{host: 127.0.0.1, port: {}, database: {other}, user: {}, password: '${{file:password2}}'}}\n",
            maria().port(),
            MariaDb::USER
        ),
    );
    let stream = |name: &str, rest: &str| {
        format!(
            "  - {{stream: {name}, options: {{table: t}}, targets: {{copies: {{table: copies.{name}}}, maria: {{table: {name}}}}}, {rest}}}\n"
        )
    };
    let incremental = "read: incremental, cursor: changed";
    let tables = ["appended", "merged", "small", "replaced", "viewed", "strict"];
    let streams = [
        stream("appended", &format!("{incremental}, write: append")),
        stream("merged", &format!("{incremental}, write: merge, key: [id]")),
        stream("small", &format!("{incremental}, write: merge, key: [id]")),
        stream("replaced", "read: full, write: replace"),
        stream("viewed", "read: full, write: replace"),
        stream("strict", &format!("{incremental}, write: append, new_columns: fail")),
    ];
    let sync = format!(
        "sync: reads\nconnection: shop\ndestination: [lake, copies, maria]\nstreams:\n{}",
        streams.concat()
    );
    shop.house.write("syncs/shop.yaml", sync);
    shop.house.ok(&["sync"]);
    let of_pg = |table: &str| {
        shop.run(&format!("select string_agg(format_type(atttypid, atttypmod), ' ' order by attnum) from pg_attribute where attrelid = 'copies.{table}'::regclass and attnum > 0"))
    };
    let of_maria = |table: &str| {
        there(&format!(
            "select group_concat(column_type order by ordinal_position separator ' ') from information_schema.columns where table_schema = database() and table_name = '{table}'"
        ))
    };
    assert_eq!(
        of_pg("small"),
        "bigint integer smallint numeric(9,2) double precision",
        "nobody widened it"
    );
    assert!(of_maria("small").starts_with("bigint(20) int(11) smallint(6)"));
    shop.run(
        "alter table t alter changed type bigint, alter i type bigint, alter n type numeric(16,4), alter f type float8;
         insert into t values (51, 51, 5000000000, 123456789012.0001, 1e300);
         update t set i = -i * 1000000000, changed = 52 where id = 50",
    );
    // What may not be changed stops its stream alone, says what to do, and goes on afterwards.
    let said = shop.house.fails(3, &["sync"]);
    let statement = "ALTER TABLE \"copies\".\"strict\" ALTER COLUMN \"changed\" TYPE bigint, ALTER COLUMN \"i\" TYPE bigint, ALTER COLUMN \"n\" TYPE numeric(16,4)";
    assert!(said.contains(statement), "{said}");
    shop.run(statement);
    there("alter table strict modify changed bigint, modify i bigint, modify n decimal(16,4)");
    shop.house.ok(&["sync"]);
    assert_eq!(shop.house.cell("select count(*) from system.quarantine"), "0");
    for table in tables {
        let expected = "bigint bigint bigint numeric(16,4) double precision";
        assert_eq!(of_pg(table), expected, "{table}");
        let expected = "bigint(20) bigint(20) bigint(20) decimal(16,4) double";
        assert_eq!(of_maria(table), expected, "{table}");
        let latest = "select id, i, n, f from";
        let source = match table {
            // Rows that were appended stay as they were.
            "appended" | "strict" => {
                "(select * from t where id <> 50 union all select 50, 50, 50, 62.5, 0.5 union all select * from t where id = 50) t"
            }
            _ => "t",
        };
        let expected = shop.run(&format!("{latest} {source} order by id, i desc"));
        let found = shop.run(&format!("{latest} copies.{table} order by id, i desc"));
        assert_eq!(numbers(&found, '|'), numbers(&expected, '|'), "{table}");
        let found = there(&format!("{latest} {table} order by id, i desc"));
        assert_eq!(numbers(&found, '\t'), numbers(&expected, '|'), "{table}");
        let found = shop.house.sql(&format!("{latest} raw.{table} order by id, i desc")).join("\n");
        assert_eq!(numbers(&found, ','), numbers(&expected, '|'), "{table}");
    }
    assert_eq!(shop.run("select count(*) from copies.ids"), "51", "what hangs on a table stays");
    let facts = "select is_nullable, column_default, column_comment from information_schema.columns where table_schema = database() and table_name = 'small' and column_name = 'i'";
    assert_eq!(there(facts), "NO\t7\thow, many");
    // Nothing is said again of what is as wide as it has to be.
    shop.house.ok(&["sync"]);
}

/// The numbers of rows of text, whatever they are written as.
fn numbers(rows: &str, between: char) -> Vec<Vec<f64>> {
    let row = |row: &str| row.split(between).map(|field| field.parse().unwrap()).collect();
    rows.lines().map(row).collect()
}

/// The fields of rows of text.
fn fields(rows: &[String]) -> Vec<Vec<String>> {
    rows.iter().map(|row| row.split(',').map(str::to_owned).collect()).collect()
}

/// A sync that goes on until it is told to end.
struct Follower {
    child: Child,
    said: Receiver<String>,
}

impl Follower {
    fn start(house: &House) -> Self {
        let mut child = binary()
            .arg("-C")
            .arg(house.dir())
            .args(["sync", "--follow", "--every", "200ms"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (send, said) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|l| send.send(l)));
        Self { child, said }
    }

    /// Waits until the lake is what the database is; looks whenever the follower says something.
    fn assert_reaches(&self, shop: &Shop, when: &str) {
        let mut heard = Vec::new();
        while let Some(difference) = shop.difference() {
            let line = self.said.recv_timeout(PATIENCE);
            assert!(line.is_ok(), "{when}: {difference}; heard {heard:?}");
            heard.push(line.unwrap());
        }
    }

    /// Asks it to end, and expects that it does so in order.
    fn end(mut self) {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(asked.unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn a_followed_log_lands_by_itself_and_survives_its_connection() {
    let shop = Shop::new();
    let follower = Follower::start(&shop.house);
    let _first = follower.said.recv_timeout(PATIENCE).unwrap();
    follower.assert_reaches(&shop, "after the whole read");
    shop.run(&round(1));
    follower.assert_reaches(&shop, "after a round");
    let cut = "select pg_terminate_backend(active_pid) from pg_replication_slots where active and database = current_database()";
    assert_eq!(shop.run(cut), "t");
    shop.run(&round(2));
    follower.assert_reaches(&shop, "after the connection was cut");
    follower.end();
    let run = "select status || ' ' || kind from system.runs order by started_at desc limit 1";
    assert_eq!(shop.house.cell(run), "succeeded sync");
    shop.run(&round(3));
    shop.house.ok(&["sync"]);
    shop.assert_equal("after what came while nobody followed");
}

#[test]
fn changes_that_wait_beside_a_table_are_seen_by_everybody_and_merged_once() {
    let shop = Shop::with_table_of_changes();
    shop.house.ok(&["sync"]);
    shop.assert_equal("after the whole read");
    let mut follower = Follower::start(&shop.house);
    shop.run(&round(1));
    shop.run("alter table customers add column city text; update customers set city = 'Ulm' where id % 10 = 1");
    shop.run(&round(2));
    follower.assert_reaches(&shop, "while the changes wait");
    follower.child.kill().unwrap();
    follower.child.wait().unwrap();
    // Whether or not it had begun to merge them, nothing is there twice, by any way to the table.
    shop.assert_equal("after the follower was killed");
    let count = |sql: &str| shop.house.cell(sql);
    let twice = "select count(*) from (select id from raw.orders group by id having count(*) > 1)";
    assert_eq!(count(twice), "0");
    assert_eq!(count("select count(*) from raw.orders"), shop.run("select count(*) from orders"));
    let city = "select count(*) from raw.customers where city = 'Ulm'";
    assert_eq!(count(city), shop.run("select count(*) from customers where city = 'Ulm'"));
    shop.house.write(
        "models/mart/spent.sql",
        "select customer, sum(amount) as spent from {{ source('raw', 'orders') }} group by customer",
    );
    shop.house.ok(&["build"]);
    let spent = shop.run("select cast(sum(amount) * 100 as bigint) from orders");
    assert_eq!(count("select cast(sum(spent) * 100 as bigint) from mart.spent"), spent);
    shop.run(&round(3));
    shop.house.ok(&["sync"]);
    shop.assert_equal("after the changes were merged");
    assert!(shop.table("orders").join("_changes").is_dir(), "the changes waited");
    let log = std::fs::read_dir(shop.table("orders").join("_delta_log")).unwrap();
    let mut commits: Vec<_> = log.map(|file| file.unwrap().path()).collect();
    commits.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    commits.sort();
    let last = std::fs::read_to_string(commits.last().unwrap()).unwrap();
    assert!(last.contains("merge changes") && !last.contains("\"waiting\""), "{last}");
}

#[test]
fn what_has_not_come_yet_can_be_seen() {
    // A server of its own: the length of its log is not of one database.
    let server = Postgres::start();
    let database = server.database();
    server.psql(&database, "create table t (id bigint primary key, note text)");
    let house = House::new();
    house.write("password", Postgres::PASSWORD);
    house.write(
        "connections/db.yaml",
        format!(
            "connection: db\ntype: postgres\noptions: {{host: 127.0.0.1, port: {}, database: {database}, user: postgres, password: '${{file:password}}'}}\n",
            server.port()
        ),
    );
    house.write(
        "syncs/s.yaml",
        "sync: s\nconnection: db\nstreams:\n  - {stream: t, options: {table: t}, read: cdc, write: mirror, key: [id]}\n",
    );
    let lag = || {
        let rows: serde_json::Value =
            serde_json::from_str(&house.ok(&["lag", "--output", "json"])).unwrap();
        rows[0].clone()
    };
    assert!(lag()["behind"].is_null() && lag()["last_at"].is_null(), "nothing was ever read");
    house.ok(&["sync"]);
    server.psql(
        &database,
        "insert into t select n, repeat('x', 200) from generate_series(1, 5000) n",
    );
    let before = lag();
    assert_eq!(before["unit"], "bytes of log");
    let behind = before["behind"].as_u64().unwrap();
    assert!(behind > 1_000_000, "5,000 rows of 200 letters are behind: {before}");
    house.ok(&["sync"]);
    let after = lag();
    assert!(after["behind"].as_u64().unwrap() < behind / 10, "{after} after {before}");
    assert!(after["last_at"].is_string(), "{after}");
}

#[test]
fn files_are_read_again_while_they_are_followed() {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "syncs/files.yaml",
        "sync: files\nconnection: files\nstreams:\n  - {stream: t, options: {path: '*.csv'}, read: incremental, write: append}\n",
    );
    house.write("data/1.csv", "id\n1\n");
    let follower = Follower::start(&house);
    let first = follower.said.recv_timeout(PATIENCE).unwrap();
    assert!(first.contains("1 rows in raw.t"), "{first}");
    house.write("data/2.csv", "id\n2\n3\n");
    let second = follower.said.recv_timeout(PATIENCE).unwrap();
    assert!(second.contains("2 rows in raw.t"), "{second}");
    follower.end();
    assert_eq!(house.cell("select count(*) from raw.t"), "3");
}

#[test]
fn kills_at_any_moment_neither_lose_nor_double_a_change() {
    assert_survives_kills(&Shop::new());
}

#[test]
fn kills_at_any_moment_neither_lose_nor_double_a_change_that_waits() {
    assert_survives_kills(&Shop::with_table_of_changes());
}

fn assert_survives_kills(shop: &Shop) {
    for n in 1..13_u32 {
        shop.run(&round(n));
        let mut child = binary()
            .arg("-C")
            .arg(shop.house.dir())
            .arg("sync")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Each round is cut off a little later, from before the first read to after the commit.
        let _ended = child.try_wait().unwrap();
        std::thread::park_timeout(Duration::from_millis(u64::from(n) * 60));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    shop.house.ok(&["sync"]);
    shop.assert_equal("after twelve kills");
    let twice = "select count(*) from (select id from raw.orders group by id having count(*) > 1)";
    assert_eq!(shop.house.cell(twice), "0");
}

#[test]
fn a_lost_log_is_said_and_a_restart_reads_everything_again() {
    let shop = Shop::new();
    shop.house.ok(&["sync"]);
    shop.run(&round(1));
    shop.run("select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = current_database()");
    let said = shop.house.fails(3, &["sync"]);
    assert!(said.contains("--restart"), "{said}");
    shop.house.ok(&["sync", "shop", "--restart"]);
    shop.assert_equal("after the restart");
    shop.run(&round(2));
    shop.house.ok(&["sync"]);
    shop.assert_equal("after changes that followed it");
}

#[test]
fn a_truncated_table_stops_the_sync_and_what_came_before_is_kept() {
    let shop = Shop::new();
    shop.house.ok(&["sync"]);
    shop.run("update customers set name = 'kept' where id = 5");
    shop.run("truncate orders");
    let said = shop.house.fails(3, &["sync"]);
    assert!(said.contains("truncated") && said.contains("--restart"), "{said}");
    assert_eq!(shop.house.cell("select name from raw.customers where id = 5"), "kept");
    shop.run("insert into orders values (1, 1, 1, '2024-05-01T12:00:00Z')");
    shop.house.ok(&["sync", "shop", "--restart"]);
    shop.assert_equal("after the restart");
}

#[test]
fn one_table_of_a_log_is_read_whole_again_while_the_others_go_on() {
    let shop = Shop::new();
    shop.house.ok(&["sync"]);
    shop.run(
        "update customers set note = 'before' where id = 1; truncate orders;
         insert into orders values (1, 2, 3.5, '2024-05-01T12:00:00Z');
         update customers set note = 'after' where id = 2",
    );
    let said = shop.house.fails(3, &["sync"]);
    assert!(said.contains("truncated") && said.contains("--stream"), "{said}");
    let said = shop.house.fails(2, &["sync", "shop", "--restart", "--stream", "ordres"]);
    assert!(said.contains("orders"), "{said}");
    shop.house.fails(2, &["sync", "--restart", "--stream", "orders"]);
    let said =
        shop.house.ok(&["sync", "shop", "--restart", "--stream", "orders", "--output", "json"]);
    let landed: serde_json::Value = serde_json::from_str(&said).unwrap();
    let of = |table: &str| {
        let one = landed.as_array().unwrap().iter().find(|one| one["table"] == table).unwrap();
        one["rows_in"].as_u64().unwrap()
    };
    assert!(of("raw.customers") <= 2, "only what changed is read: {landed}");
    shop.assert_equal("after one table was read whole again");
    shop.run("delete from orders; update customers set note = 'later' where id = 3");
    shop.house.ok(&["sync"]);
    shop.assert_equal("after the log went on for both");
}

#[test]
fn a_discovered_sync_of_awkward_tables_runs_as_it_is() {
    let shop = Shop::new();
    shop.run(
        r#"create table "Odd Ones" ("order no" int primary key, "Id" int, id int);
           insert into "Odd Ones" values (1, 2, 3);
           create table mute (id int primary key, v text); alter table mute replica identity nothing;
           insert into mute values (1, 'x')"#,
    );
    shop.house.ok(&["discover", "shop", "--read", "cdc", "--name", "all", "--save"]);
    let file = shop.house.read("syncs/all.yaml");
    assert!(file.contains("# not cdc: the table has REPLICA IDENTITY NOTHING"), "{file}");
    shop.house.ok(&["sync", "all"]);
    let odd = r#"select order_no, "Id", id_ from raw.odd_ones"#;
    assert_eq!(shop.house.sql(odd), ["1,2,3"]);
    assert_eq!(shop.house.sql("select v from raw.mute"), ["x"]);
    // Tables that another sync lands in are left to it.
    assert_eq!(shop.house.cell("select count(*) from raw.all_customers"), "200");
}

#[test]
fn a_sync_that_nothing_can_be_compared_of_says_so() {
    let house = House::new();
    let output = house.run(&["reconcile"]);
    let said = crate::house::text(&output.stderr);
    assert!(!output.status.success() && said.contains("can be compared"), "{said}");
}

#[test]
fn what_mariadb_prints_in_two_ways_is_compared_as_it_is_read() {
    let database = maria().database();
    let there = |sql: &str| maria().sql(&database, &format!("set sql_mode = ''; {sql}"));
    there(
        "create table t (id mediumint primary key, b8 bit(8), b33 bit(33), b64 bit(64),
             z int(8) zerofill, y year, d date, u uuid, a inet6, e enum('é','张') character set gbk);
         insert into t values (-5, 65, 4294967296, 5, 7, 0, '0000-00-00',
             '00112233-4455-4677-8899-aabbccddeeff', '::1', '张'),
             (7, 1, 1, 1, 1, 2001, '2024-05-01', null, null, 'é')",
    );
    let house = House::new();
    house.write("flywheel.yaml", format!("name: {database}\n"));
    house.write("password", MariaDb::PASSWORD);
    house.write(
        "connections/maria.yaml",
        format!(
            "connection: maria\ntype: mysql\noptions: {{host: 127.0.0.1, port: {}, database: {database}, user: {}, password: '${{file:password}}', zero_dates: null}}\n",
            maria().port(),
            MariaDb::USER
        ),
    );
    house.write(
        "syncs/t.yaml",
        "sync: t\nconnection: maria\nstreams:\n  - {stream: t, options: {table: t}, read: cdc, write: mirror, key: [id]}\n",
    );
    house.ok(&["sync"]);
    house.ok(&["reconcile", "t"]);
    there("insert into t select id - 1000, b8, b33, b64, z, y, d, u, a, e from t");
    there("delete from t where id = 7; update t set z = 8 where id = -5");
    house.ok(&["sync"]);
    house.ok(&["reconcile", "t"]);
    assert_eq!(house.sql("select id, z from raw.t order by id"), ["-1005,7", "-993,1", "-5,8"]);
    there("update t set b64 = 6, d = '2024-01-01' where id = -5");
    let found = house.run(&["reconcile", "t"]);
    assert!(!found.status.success(), "differences are no success");
}

#[test]
fn a_table_with_an_unsigned_key_is_mended() {
    let database = maria().database();
    maria().sql(
        &database,
        "create table t (id bigint unsigned primary key, v varchar(9));
         insert into t values (1, 'a'), (9223372036854775808, 'b'), (18446744073709551615, 'c')",
    );
    let house = House::new();
    house.write("flywheel.yaml", format!("name: {database}\n"));
    house.write("password", MariaDb::PASSWORD);
    house.write(
        "connections/maria.yaml",
        format!(
            "connection: maria\ntype: mysql\noptions: {{host: 127.0.0.1, port: {}, database: {database}, user: {}, password: '${{file:password}}'}}\n",
            maria().port(),
            MariaDb::USER
        ),
    );
    house.write(
        "syncs/t.yaml",
        "sync: t\nconnection: maria\nstreams:\n  - {stream: t, options: {table: t}, read: cdc, write: mirror, key: [id]}\n",
    );
    house.ok(&["sync"]);
    for edit in [
        "update raw.t set v = 'x' where v = 'c'",
        "delete from raw.t where v = 'b'",
        "insert into raw.t (id, v) values (18446744073709551614, 'ghost')",
    ] {
        house.ok(&["sql", "--landed", edit]);
    }
    house.ok(&["reconcile", "t", "--repair"]);
    house.ok(&["reconcile", "t"]);
    assert_eq!(
        house.sql("select id, v from raw.t order by id"),
        ["1,a", "9223372036854775808,b", "18446744073709551615,c"]
    );
}

#[test]
fn infinite_moments_are_compared_and_the_rows_that_have_them_are_missing() {
    let shop = Shop::new();
    shop.run(
        "create table spans (id bigint primary key, a timestamptz, b timestamp, c date);
         insert into spans values
           (1, '2024-05-01T12:00:00.5Z', '2024-05-01 12:00:00.25', '2024-05-01'),
           (2, null, null, null), (3, 'infinity', null, null), (4, null, '-infinity', null),
           (5, null, null, 'infinity'), (6, '-infinity', 'infinity', '-infinity')",
    );
    shop.house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: shop\nstreams:\n  - {stream: spans, options: {table: spans}, read: full, write: mirror, key: [id]}\n",
    );
    shop.house.ok(&["sync"]);
    assert_eq!(shop.house.sql("select id from raw.spans order by id"), ["1", "2"]);
    let output = shop.house.run(&["reconcile", "shop", "--output", "json"]);
    let said = crate::house::text(&output.stderr);
    let found: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    let keys = found[0]["found"]["keys"].as_array().unwrap().iter();
    let keys: Vec<String> = keys
        .map(|one| format!("{} {}", one["key"].as_str().unwrap(), one["kind"].as_str().unwrap()))
        .collect();
    assert_eq!(keys, ["3 missing", "4 missing", "5 missing", "6 missing"]);
    shop.run("delete from spans where id > 2");
    shop.house.ok(&["reconcile", "shop"]);
}

#[test]
fn rows_that_differ_are_found_by_checksums_and_mended() {
    let shop = Shop::new();
    shop.run(
        "alter table customers add code char(5), add place inet;
         update customers set code = 'ab', place = '10.0.0.1' where id < 50",
    );
    shop.run("insert into orders select n, n % 200 + 1, n * 0.25, '2024-05-02T08:00:00.123456Z' from generate_series(1001, 30000) n");
    shop.run("insert into customers values (300, 'a|b\\c', 'odd'), (301, '', null)");
    shop.house.ok(&["sync"]);
    let said = shop.house.ok(&["reconcile", "shop"]);
    assert!(said.contains("30000"), "{said}");
    shop.run(
        "update orders set amount = amount + 0.01 where id = 12345;
         delete from orders where id = 23456;
         insert into orders values (40000, 1, 1, '2024-05-03T08:00:00Z');
         update customers set note = 'changed' where id = 7;",
    );
    let output = shop.house.run(&["reconcile", "shop", "--output", "json"]);
    assert!(!output.status.success(), "differences are no success");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |table: &str| {
        found.as_array().unwrap().iter().find(|one| one["table"] == table).unwrap()["found"].clone()
    };
    let orders = of("raw.orders");
    let keys: Vec<String> = orders["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{} {}", one["key"].as_str().unwrap(), one["kind"].as_str().unwrap()))
        .collect();
    assert_eq!(keys, ["12345 different", "23456 extra", "40000 missing"]);
    assert!(orders["queries"].as_u64().unwrap() <= 25, "{orders}");
    assert_eq!(of("raw.customers")["keys"][0]["key"], "7");
    shop.house.ok(&["reconcile", "shop", "--repair"]);
    shop.assert_equal("after the repair");
    let marks = "select count(*) from information_schema.columns where column_name = '_deleted'";
    assert_eq!(shop.house.cell(marks), "0", "the mark of rows that are gone is no column");
    shop.house.ok(&["sync"]);
    shop.assert_equal("after the changes came by the log as well");
    let output = shop.house.run(&["reconcile", "shop", "--stream", "custmers"]);
    let said = crate::house::text(&output.stderr);
    assert!(!output.status.success() && said.contains("customers"), "{said}");
}

#[test]
fn what_can_be_compared_of_a_sync_is_compared_and_the_rest_is_told() {
    let shop = Shop::new();
    shop.run(
        r#"create schema "Old.Shop"; create table "Old.Shop"."a.b c" (id bigint primary key, v text);
           insert into "Old.Shop"."a.b c" values (1, 'x'), (2, 'y');
           create table loose (v text); insert into loose values ('x')"#,
    );
    shop.house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: shop\nstreams:
  - {stream: dotted, options: {table: Old.Shop.a.b c}, read: full, write: mirror, key: [id]}
  - {stream: loose, options: {table: loose}}\n",
    );
    shop.house.ok(&["sync"]);
    let output = shop.house.run(&["reconcile", "shop"]);
    let said = crate::house::text(&output.stderr);
    assert!(
        output.status.success() && said.contains("\"loose\"") && said.contains("`key`"),
        "{said}"
    );
    let said = shop.house.fails(2, &["reconcile", "shop", "--stream", "loose"]);
    assert!(said.contains("has no `key`"), "{said}");
    shop.run(r#"update "Old.Shop"."a.b c" set v = 'z' where id = 2"#);
    let output = shop.house.run(&["reconcile", "shop", "--output", "json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found[0]["found"]["keys"][0]["key"], "2");
    shop.house.ok(&["reconcile", "shop", "--repair"]);
    assert_eq!(shop.house.sql("select v from raw.dotted order by id"), ["x", "z"]);
}

#[test]
fn a_server_finds_what_differs_by_its_schedules_tells_of_it_and_mends_it() {
    let shop = Shop::new();
    let house = &shop.house;
    house.write(
        "actions/ops.yaml",
        "action: ops\ntype: file\noptions: {path: 'out/{policy}.jsonl'}\n",
    );
    house.write(
        "schedules/compare.yaml",
        "schedule: compare\nrun: reconcile\nselect: [shop]\nalert: {actions: [ops]}\n",
    );
    house.write(
        "schedules/mend.yaml",
        "schedule: mend\nrun: reconcile\nselect: [shop]\nrepair: true\n",
    );
    house.ok(&["sync"]);
    shop.run("update orders set amount = amount + 0.01 where id = 123; delete from customers where id = 7");
    let server = Process::start(house);
    let owner = Owner { session: server.owner(), server: &server };
    let found = owner.until(&owner.run("compare"), "blocked");
    assert_eq!(found["error_class"], "blocked", "{found}");
    let error = found["error"].as_str().unwrap();
    assert!(error.contains("raw.customers") && error.contains("raw.orders"), "{found}");
    assert_eq!(house.sql("select schedule, kind from system.alerts"), ["compare,failed"]);
    let shown = owner.get("/v1/syncs/shop");
    let last = &shown["compared"][1]["last"];
    assert_eq!(
        (&last["status"], &last["detail"]["keys"]),
        (&json!("warned"), &json!(1)),
        "{shown}"
    );
    let run = last["run_id"].as_str().unwrap();
    let log = owner.get(&format!("/v1/runs/{run}/log")).to_string();
    assert!(log.contains("raw.orders differs: 123 is different"), "{log}");

    owner.until(&owner.run("mend"), "succeeded");
    shop.assert_equal("after the repair");
    owner.until(&owner.run("compare"), "succeeded");
    let kinds = house.sql("select kind from system.alerts order by kind");
    assert_eq!(kinds, ["failed", "recovered"]);

    // By a person, as well.
    shop.run("delete from customers where id = 8");
    let work = owner.done("/v1/syncs/shop/reconcile", &json!({"streams": ["customers"]}));
    assert_eq!(
        (&work["kind"], &work["status"]),
        (&json!("reconcile"), &json!("blocked")),
        "{work}"
    );
    let work = owner.done("/v1/syncs/shop/reconcile", &json!({"repair": true}));
    assert_eq!(work["status"], "succeeded", "{work}");
    shop.assert_equal("after another repair");
}

#[test]
fn a_declared_column_that_is_dropped_or_renamed_stops_nothing() {
    let shop = Shop::new();
    shop.run("alter table customers add tags int[]; update customers set tags = '{1,2}'");
    shop.house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: shop\nstreams:\n  - {stream: customers, options: {table: customers}, read: cdc, write: mirror, key: [id], columns: [{name: id, type: int64}, {name: name, type: text}, {name: note, type: text}]}\n  - {stream: orders, options: {table: orders}, read: full, write: mirror, key: [id], columns: [{name: id, type: int64}, {name: customer, type: int64}, {name: amount, type: 'decimal(12,2)'}]}\n",
    );
    shop.house.ok(&["sync"]);
    shop.house.ok(&["reconcile", "shop"]);
    for round in 0..2 {
        if round == 0 {
            shop.run(
                "alter table customers drop column note;
                 alter table orders rename column amount to total;",
            );
        }
        let id = 9000 + round;
        shop.run(&format!(
            "insert into customers values ({id}, 'new', '{{3}}');
             insert into orders values ({id}, 1, 2.5)"
        ));
        shop.house.ok(&["sync"]);
        let customer = format!("select count(*) from raw.customers where id = {id}");
        assert_eq!(shop.house.cell(&customer), "1");
        let order = format!("select total from raw.orders where id = {id} and amount is null");
        assert_eq!(shop.house.cell(&order), "2.50");
        let said = shop.house.ok(&["reconcile", "shop", "--output", "json"]);
        assert!(said.contains("\"note\"") && said.contains("\"tags\""), "{said}");
    }
    // A table that is read whole again keeps the column, so that the next sync does not miss it.
    for _ in 0..2 {
        let output = shop.house.run(&["sync", "--restart"]);
        let said = crate::house::text(&output.stderr);
        assert!(output.status.success() && said.contains("no column \"note\" any more"), "{said}");
        shop.house.ok(&["sync"]);
        assert_eq!(shop.house.cell("select count(note) from raw.customers"), "0");
    }
    let sync = shop.house.read("syncs/shop.yaml").replace("{name: name,", "{name: nam,");
    shop.house.write("syncs/shop.yaml", sync);
    shop.house.fails(2, &["sync", "--restart"]);
}
