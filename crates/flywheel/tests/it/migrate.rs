//! Tables move to another system for good: planned, loaded, proved equal, cut over, and back.

use std::process::Stdio;
use std::time::Duration;

use flywheel_testkit::{MariaDb, Postgres};

use crate::house::{House, binary};
use crate::servers::{maria, postgres};

/// A shop that moves from PostgreSQL to MariaDB.
struct Move {
    house: House,
    old: String,
    new: String,
}

impl Move {
    fn new() -> Self {
        let this =
            Self { house: House::new(), old: postgres().database(), new: maria().database() };
        this.old(
            "create table customers (id bigint primary key, name text, note text);
             create table orders (id bigint primary key, customer bigint, amount numeric(12,2), paid boolean, at timestamptz, day date);
             insert into customers select n, 'name ' || n, case when n % 3 = 0 then '' when n % 3 = 1 then 'Grüße ' || n end from generate_series(1, 300) n;
             insert into orders select n, n % 300 + 1, n * 1.25, n % 2 = 0, timestamptz '2024-05-01T12:00:00.123456Z' + n * interval '1 hour', date '2024-01-01' + n from generate_series(1, 2000) n;",
        );
        this.house.write("flywheel.yaml", format!("name: {}\n", this.old));
        this.house.write("password", Postgres::PASSWORD);
        this.house.write("password2", MariaDb::PASSWORD);
        this.house.write(
            "connections/old.yaml",
            format!(
                "connection: old\ntype: postgres\noptions: {{host: 127.0.0.1, port: {}, database: {}, user: postgres, password: '${{file:password}}'}}\n",
                postgres().port(),
                this.old
            ),
        );
        this.house.write(
            "connections/new.yaml",
            format!(
                "connection: new\ntype: mysql\noptions: {{host: 127.0.0.1, port: {}, database: {}, user: {}, password: '${{file:password2}}'}}\n",
                maria().port(),
                this.new,
                MariaDb::USER
            ),
        );
        this.house.write(
            "syncs/shop.yaml",
            "sync: shop\nconnection: old\ndestination: new\nstreams:
  - {stream: customers, options: {table: customers}, target: {table: clients}, read: cdc, write: mirror, key: [id], columns: [{name: full_name, from: name}]}
  - {stream: orders, options: {table: orders}, target: {table: orders}, read: cdc, write: mirror, key: [id]}\n",
        );
        this
    }

    fn old(&self, sql: &str) -> String {
        postgres().psql(&self.old, sql)
    }

    fn new_side(&self, sql: &str) -> String {
        maria().sql(&self.new, sql)
    }

    fn slots(&self) -> String {
        self.old("select count(*) from pg_replication_slots where database = current_database()")
    }
}

#[test]
fn a_shop_moves_from_postgresql_to_mariadb_and_back() {
    let shop = Move::new();
    let plan = shop.house.ok(&["migrate", "plan", "shop", "--output", "csv"]);
    assert!(plan.contains("makes the table with 3 columns"), "{plan}");
    assert_eq!(shop.new_side("show tables"), "", "a plan writes nothing");
    assert_eq!(shop.slots(), "0", "a plan makes no slot");
    shop.house.fails(3, &["migrate", "cutover", "shop", "--frozen"]);

    shop.house.ok(&["migrate", "run", "shop"]);
    shop.house.ok(&["migrate", "verify", "shop"]);
    assert_eq!(shop.new_side("select count(*), sum(amount) from orders"), "2000\t2501250.00");
    assert_eq!(
        shop.new_side("select full_name, note from clients where id = 7"),
        "name 7\tGrüße 7"
    );

    // What is changed meanwhile is told by key, and comes over with the next run.
    shop.old(
        "update customers set note = 'moved' where id = 5; delete from orders where id = 10;
         insert into orders values (9001, 1, 12.34, null, '2024-06-01T00:00:00Z', '2024-06-01')",
    );
    let output = shop.house.run(&["migrate", "verify", "shop", "--output", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found[0]["difference"]["changed_keys"], serde_json::json!(["5"]));
    assert_eq!(found[1]["difference"]["missing_keys"], serde_json::json!(["9001"]));
    assert_eq!(found[1]["difference"]["extra_keys"], serde_json::json!(["10"]));
    shop.house.ok(&["migrate", "run", "shop"]);
    shop.house.ok(&["migrate", "verify", "shop"]);

    // Cut over: the last changes come over, and from then on changes flow the other way.
    shop.old("update orders set amount = 99.99, paid = true where id = 20");
    let refused = shop.house.fails(3, &["migrate", "cutover", "shop"]);
    assert!(refused.contains("--frozen"), "{refused}");
    shop.house.ok(&["migrate", "cutover", "shop", "--frozen"]);
    assert_eq!(shop.new_side("select amount, paid from orders where id = 20"), "99.99\t1");
    let definition = "select count(*) from information_schema.table_constraints where table_name = 'orders' and constraint_type = 'PRIMARY KEY'";
    assert_eq!(shop.old(definition), "1", "the source's table is still its own");
    shop.new_side(
        "update clients set full_name = 'renamed' where id = 6; delete from orders where id = 30;
         insert into orders values (9002, 2, 1.5, 1, '2024-07-01 00:00:00', '2024-07-01')",
    );
    let said = shop.house.run(&["sync"]);
    assert!(said.status.success());
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("shop stands still"), "{said}");
    assert_eq!(shop.old("select name from customers where id = 6"), "renamed");
    assert_eq!(shop.old("select count(*) from orders where id in (30, 9002)"), "1");
    assert_eq!(shop.old("select amount, paid from orders where id = 9002"), "1.50|t");

    // Back again, with what was changed in the target last.
    let way_back = shop.house.read("syncs/shop_back.yaml");
    shop.new_side("update clients set note = 'late' where id = 8");
    shop.house.ok(&["migrate", "rollback", "shop", "--frozen"]);
    assert_eq!(shop.old("select note from customers where id = 8"), "late");
    assert!(!shop.house.path("syncs/shop_back.yaml").exists());
    let list = shop.house.ok(&["migrate", "list", "--output", "csv"]);
    assert!(list.contains("shop,rolled-back,"), "{list}");

    // A way back that was left behind does not chase the changes that come over again.
    shop.house.write("syncs/shop_back.yaml", way_back);
    let said = shop.house.run(&["sync", "shop_back"]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("shop_back stands still"));

    // And over for good: no log is kept on the servers for it.
    shop.old("update customers set note = 'again' where id = 9");
    shop.house.ok(&["migrate", "cutover", "shop", "--frozen"]);
    assert_eq!(shop.new_side("select note from clients where id = 9"), "again");
    shop.house.ok(&["migrate", "finish", "shop"]);
    assert_eq!(shop.slots(), "0");
    shop.house.fails(3, &["migrate", "run", "shop"]);
}

#[test]
fn a_migration_that_is_killed_in_any_step_goes_on_from_there() {
    let shop = Move::new();
    let killed = |step: &[&str], after_ms: u64| {
        let mut child = binary()
            .arg("-C")
            .arg(shop.house.dir())
            .args(["migrate"])
            .args(step)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::park_timeout(Duration::from_millis(after_ms));
        child.kill().unwrap();
        child.wait().unwrap();
    };
    let phase = || {
        let list = shop.house.ok(&["migrate", "list", "--output", "csv"]);
        list.lines().nth(1).and_then(|line| line.split(',').nth(1)).unwrap_or_default().to_owned()
    };
    for turn in 1..9 {
        shop.old(&format!(
            "update orders set amount = amount + 1 where id % 9 = {turn}; insert into orders (id, amount) values (9000 + {turn}, {turn}); delete from orders where id = {turn}"
        ));
        killed(&["run", "shop"], turn * 70);
    }
    shop.house.ok(&["migrate", "run", "shop"]);
    shop.house.ok(&["migrate", "verify", "shop"]);

    // Cut over in the end, whichever call did it; a call after that one says so.
    for turn in 1..6 {
        killed(&["cutover", "shop", "--frozen"], turn * 120);
    }
    let again = shop.house.run(&["migrate", "cutover", "shop", "--frozen"]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert_eq!(phase(), "cut-over", "{said}");
    shop.new_side(
        "update orders set amount = 7.77 where id = 50; delete from orders where id = 60",
    );
    for turn in 1..6 {
        killed(&["rollback", "shop", "--frozen"], turn * 120);
    }
    let again = shop.house.run(&["migrate", "rollback", "shop", "--frozen"]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert_eq!(phase(), "rolled-back", "{said}");
    let sums = "select count(*), sum(id), sum(amount) from orders";
    assert_eq!(shop.old(sums).replace('|', "\t"), shop.new_side(sums));
    assert_eq!(shop.old("select amount from orders where id = 50"), "7.77");
    assert!(!shop.house.path("syncs/shop_back.yaml").exists());
}

#[test]
fn a_table_moves_from_mariadb_to_postgresql_twice() {
    let shop = Move::new();
    shop.new_side(
        "create table points (id bigint primary key, label varchar(40), paid boolean);
         insert into points values (1, 'one', true), (2, 'two', null), (3, null, false)",
    );
    shop.house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: new\ndestination: old\nstreams:
  - {stream: points, options: {table: points}, target: {table: points}, read: cdc, write: mirror, key: [id]}\n",
    );
    shop.house.ok(&["migrate", "run", "shop"]);
    shop.new_side("update points set label = 'zwei' where id = 2; delete from points where id = 3");
    for turn in 1..3 {
        shop.house.ok(&["migrate", "cutover", "shop", "--frozen"]);
        assert_eq!(shop.old("select label from points where id = 2"), "zwei", "{turn}");
        // The log of the way back begins anew each time; a slot that is gone is not missed.
        shop.old(&format!("insert into points (id, label) values (10 + {turn}, 'later')"));
        shop.house.ok(&["sync"]);
        let came = format!("select label from points where id = 10 + {turn}");
        assert_eq!(shop.new_side(&came), "later", "{turn}");
        shop.house.ok(&["migrate", "rollback", "shop", "--frozen"]);
        assert_eq!(shop.slots(), "0", "{turn}");
    }
}

#[test]
fn truth_values_and_documents_move_to_columns_of_their_own_and_back() {
    let shop = Move::new();
    shop.new_side(
        r#"create table people (id bigint primary key, is_vip tinyint(1), active tinyint(1), profile json, name varchar(20) not null);
         insert into people values (1, 1, 0, '{"town":"上海","tags":["a",1.50,null]}', ' Ada '), (2, 0, 1, null, 'Bo'), (3, null, null, '[]', 'Cy')"#,
    );
    shop.old("create table people (id bigint primary key, vip boolean, active boolean, profile jsonb, name text)");
    shop.house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: new\ndestination: old\nstreams:
  - {stream: people, options: {table: people}, target: {table: people}, read: cdc, write: mirror, key: [id],
     columns: [{name: vip, from: is_vip, type: bool}, {name: active, type: bool}, {name: name, clean: trim}]}\n",
    );
    shop.house.ok(&["migrate", "run", "shop"]);
    assert_eq!(shop.old("select vip, active, name from people where id = 1"), "t|f|Ada");
    // What `jsonb` writes in another order means the same; another value does not.
    shop.house.ok(&["migrate", "verify", "shop"]);
    shop.old(
        r#"update people set profile = '{"town":"上海","tags":["a",1.51,null]}' where id = 1"#,
    );
    let said = shop.house.fails(1, &["migrate", "verify", "shop"]);
    assert!(said.contains("with other values: 1"), "{said}");
    assert!(said.contains("people: values differ in: profile (1)"), "{said}");
    shop.old(r#"update people set profile = '{"town":"上海","tags":["a",1.5,null]}' where id = 1"#);
    let over = shop.house.run(&["migrate", "cutover", "shop", "--frozen"]);
    let said = String::from_utf8_lossy(&over.stderr).into_owned();
    assert!(over.status.success() && !said.contains("do not fit"), "{said}");

    // A number is made of a truth value, and the name, which does not flow back, keeps what it was.
    shop.old(
        r#"update people set vip = false, active = true, profile = '{"new": 1}' where id = 1"#,
    );
    shop.house.ok(&["sync"]);
    assert_eq!(
        shop.new_side("select id, is_vip, active, profile, name from people order by id"),
        "1\t0\t1\t{\"new\": 1}\t Ada \n2\t0\t1\tNULL\tBo\n3\tNULL\tNULL\t[]\tCy"
    );
    let aside = "select count(*) as n from system.quarantine";
    assert_eq!(shop.house.ok(&["sql", aside, "--output", "csv"]).trim(), "n\n0");
    shop.house.ok(&["migrate", "rollback", "shop", "--frozen"]);
}

#[test]
fn a_row_that_cannot_be_read_stands_in_the_way_of_a_cutover() {
    let shop = Move::new();
    shop.old("update orders set day = 'infinity' where id = 7");
    shop.house.ok(&["migrate", "run", "shop"]);
    assert_eq!(shop.new_side("select count(*) from orders"), "1999");
    let said = shop.house.fails(1, &["migrate", "verify", "shop"]);
    assert!(said.contains("orders: 1 rows of the source cannot be read"), "{said}");
    let said = shop.house.fails(1, &["migrate", "cutover", "shop", "--frozen"]);
    assert!(said.contains("not cut over"), "{said}");
    shop.old("update orders set day = '2024-01-08' where id = 7");
    shop.house.ok(&["migrate", "cutover", "shop", "--frozen"]);
    assert_eq!(shop.new_side("select count(*) from orders where id = 7"), "1");
}

#[test]
fn files_of_sqlite_move_and_a_changed_cell_is_found() {
    let house = House::new();
    let old = rusqlite::Connection::open(house.path("old.db")).unwrap();
    old.execute_batch(
        "create table t (id integer primary key, name text, price real, at text);
         insert into t values (1, 'one', 1.5, '2024-01-01'), (2, null, null, '2024-01-02'), (3, 'drei', 0.1, '');",
    )
    .unwrap();
    house.write("connections/old.yaml", "connection: old\ntype: sqlite\noptions: {path: old.db}\n");
    house.write("connections/new.yaml", "connection: new\ntype: sqlite\noptions: {path: new.db}\n");
    let sync = "sync: move\nconnection: old\ndestination: new\nstreams:\n  - {stream: t, options: {table: t}, target: {table: t}, key: [id]}\n";
    house.write("syncs/move.yaml", sync);
    let plan = house.run(&["migrate", "plan", "move"]);
    assert!(!house.path("new.db").exists() || plan.status.success());
    house.ok(&["migrate", "run", "move"]);
    house.ok(&["migrate", "verify", "move"]);
    let new = rusqlite::Connection::open(house.path("new.db")).unwrap();
    new.execute("update t set name = '' where id = 2", []).unwrap();
    let output = house.run(&["migrate", "verify", "move"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("with other values: 2"), "{said}");
    house.ok(&["migrate", "verify", "move", "--skip", "name"]);
    // Nobody's file is overwritten.
    let own =
        sync.replace("sync: move", "sync: move_back").replace("table: t}, key", "table: u}, key");
    house.write("syncs/move_back.yaml", &own);
    let said = house.fails(1, &["migrate", "cutover", "move", "--frozen"]);
    assert!(said.contains("move_back.yaml"), "{said}");
    assert_eq!(house.read("syncs/move_back.yaml"), own);
    std::fs::remove_file(house.path("syncs/move_back.yaml")).unwrap();
    // The cutover brings everything over again, so that the sides are equal.
    let said = house.run(&["migrate", "cutover", "move", "--frozen"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert!(String::from_utf8_lossy(&said.stderr).contains("has no log of changes"));
    new.execute("update t set name = 'zwei' where id = 2", []).unwrap();
    house.ok(&["migrate", "rollback", "move", "--frozen"]);
    let name: String = old.query_row("select name from t where id = 2", [], |r| r.get(0)).unwrap();
    assert_eq!(name, "zwei");
}

#[test]
fn computed_columns_and_names_that_differ_in_case_are_planned_before_anything_is_written() {
    let house = House::new();
    let database = |name: &str, sql: &str| {
        rusqlite::Connection::open(house.path(name)).unwrap().execute_batch(sql).unwrap();
        house.write(
            &format!("connections/{}.yaml", name.trim_end_matches(".db")),
            format!(
                "connection: {}\ntype: sqlite\noptions: {{path: {name}}}\n",
                name.trim_end_matches(".db")
            ),
        );
    };
    database(
        "old.db",
        "create table a (id integer primary key, qty int, total int as (qty * 2) stored);
         insert into a (id, qty) values (1, 2); create table b (id integer primary key);",
    );
    database(
        "new.db",
        "create table here (id integer primary key, qty int, total int as (qty * 3) stored)",
    );
    let stream = |name: &str, from: &str, to: &str| {
        format!(
            "  - {{stream: {name}, options: {{table: {from}}}, target: {{table: {to}}}, key: [id]}}\n"
        )
    };
    let head = "sync: move\nconnection: old\ndestination: new\nstreams:\n";
    let streams = [stream("one", "a", "Orders"), stream("three", "a", "here")].concat();
    let alike = stream("two", "b", "orders");
    house.write("syncs/move.yaml", format!("{head}{streams}{alike}"));
    let plan = house.ok(&["migrate", "plan", "move", "--output", "json"]);
    for said in [
        "makes plain columns of total, which the source computes",
        "leaves out total, which the target computes",
        "differ only in case",
    ] {
        assert!(plan.contains(said), "{said} is missing in\n{plan}");
    }
    let new = rusqlite::Connection::open(house.path("new.db")).unwrap();
    let number = |sql: &str| new.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(number("select count(*) from sqlite_schema where name like 'orders'"), 0);

    house.write("syncs/move.yaml", format!("{head}{streams}"));
    house.ok(&["migrate", "run", "move"]);
    assert_eq!(number("select total from Orders"), 4, "a plain column has the source's value");
    assert_eq!(number("select total from here"), 6, "the table computes its own");
}

#[test]
fn what_is_no_migration_is_said_with_what_to_do() {
    let house = House::new();
    house.write("connections/a.yaml", "connection: a\ntype: sqlite\noptions: {path: a.db}\n");
    rusqlite::Connection::open(house.path("a.db"))
        .unwrap()
        .execute_batch("create table t (id int)")
        .unwrap();
    house.write(
        "syncs/landing.yaml",
        "sync: landing\nconnection: a\nstreams:\n  - {stream: t, options: {table: t}}\n",
    );
    let said = house.fails(2, &["migrate", "plan", "landing"]);
    assert!(said.contains("does not move from one system to another"), "{said}");
    let said = house.fails(2, &["migrate", "run", "landin"]);
    assert!(said.contains("landing"), "{said}");
}
