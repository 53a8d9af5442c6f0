//! One system is taken apart into two: planned, written, proved, and refused where it would leak.

use std::process::Stdio;
use std::time::Duration;

use flywheel_testkit::{MariaDb, Postgres};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::Value;

use crate::house::{House, binary, real_data, text};
use crate::servers::{maria, postgres};

/// A music shop with customers in two regions; the file is `old.db`.
const SHOP: &str = "
create table artists (id integer primary key, name text not null);
create table albums (id integer primary key, title text, artist_id integer references artists(id));
create table tracks (id integer primary key, name text, album_id integer, price decimal(10,2));
create table employees (id integer primary key, name text, region text, reports_to integer);
create table customers (id integer primary key, name text, country text, support_rep integer, vip boolean);
create table invoices (id integer primary key, customer_id integer not null, at timestamp, total decimal(10,2));
create table lines (invoice_id integer, line integer, track_id integer, amount integer, primary key (invoice_id, line));
create table genres (id integer primary key, name text);
with recursive n(n) as (select 1 union all select n + 1 from n where n < 40) insert into artists select n, 'artist ' || n from n;
with recursive n(n) as (select 1 union all select n + 1 from n where n < 120) insert into albums select n, 'album ' || n, n % 40 + 1 from n;
with recursive n(n) as (select 1 union all select n + 1 from n where n < 900) insert into tracks select n, 'track ' || n, n % 120 + 1, 0.99 from n;
insert into employees values (1, 'chief', 'north', null), (2, 'head north', 'north', 1), (3, 'head south', 'south', 1), (4, 'agent north', 'north', 2), (5, 'agent south', 'south', 3);
with recursive n(n) as (select 1 union all select n + 1 from n where n < 300)
  insert into customers select n, 'secret-' || case when n % 3 = 0 then 'north' else 'south' end || '-' || n, case when n % 3 = 0 then 'NO' else 'BR' end, case when n % 7 = 0 then 9 - n % 3 - 4 else case when n % 3 = 0 then 4 else 5 end end, n % 2 from n;
with recursive n(n) as (select 1 union all select n + 1 from n where n < 2000) insert into invoices select n, n % 300 + 1, '2024-01-01 00:00:00', n * 1.25 from n;
insert into lines select id, 1, id % 700 + 1, 2 from invoices union all select id, 2, id % 50 + 1, 1 from invoices where id % 2 = 0;
insert into genres values (1, 'Rock'), (2, 'Jazz');
";

const TABLES: &str = "tables:
  - {table: artists, key: id, place: {where-needed: {otherwise: north}}}
  - {table: albums, key: id, references: [{column: artist_id, to: artists}], place: {where-needed: {otherwise: north}}}
  - {table: tracks, key: id, references: [{column: album_id, to: albums}], place: {where-needed: {otherwise: north}}}
  - table: employees
    key: id
    references: [{column: reports_to, to: employees, crossing: clear}]
    place: {divided: {where: region = 'north', to: north}}
  - table: customers
    key: id
    references: [{column: support_rep, to: employees, crossing: clear}]
    place: {divided: {where: country = 'NO', to: north}}
  - {table: invoices, key: id, references: [{column: customer_id, to: customers, required: true}], place: {with: {reference: customer_id}}}
  - table: lines
    key: [invoice_id, line]
    references: [{column: invoice_id, to: invoices, required: true}, {column: track_id, to: tracks}]
    place: {with: {reference: invoice_id}}
  - {table: genres, key: id, place: both}
";

/// A project that takes the shop apart into two SQLite files.
fn shop() -> House {
    let house = House::new();
    Connection::open(house.path("old.db")).unwrap().execute_batch(SHOP).unwrap();
    for name in ["old", "north", "south"] {
        house.write(
            &format!("connections/{name}.yaml"),
            format!("connection: {name}\ntype: sqlite\noptions: {{path: {name}.db}}\n"),
        );
    }
    declare(&house, TABLES);
    house
}

fn declare(house: &House, tables: &str) {
    house.write(
        "splits/regions.yaml",
        format!("split: regions\nconnection: old\nparts: [{{part: north, connection: north}}, {{part: south, connection: south}}]\n{tables}"),
    );
}

fn one(database: &Connection, sql: &str) -> i64 {
    database.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn open(house: &House, name: &str) -> Connection {
    Connection::open(house.path(name)).unwrap()
}

/// Every byte of text and every number of every table that is not ours, in a fixed order.
fn dump(database: &Connection) -> String {
    let list = "select name from sqlite_master where type = 'table' and name not like '\\_%' escape '\\' order by 1";
    let mut names = database.prepare(list).unwrap();
    let names = names.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let mut all = String::new();
    for name in names.map(Result::unwrap) {
        let mut rows =
            database.prepare(&format!("select * from \"{name}\" order by 1, 2")).unwrap();
        let width = rows.column_count();
        let rows = rows.query_map([], |row| {
            let cells = (0..width).map(|at| match row.get_ref(at).unwrap() {
                ValueRef::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
                other => format!("{other:?}"),
            });
            Ok(cells.collect::<Vec<_>>().join("|"))
        });
        for row in rows.unwrap() {
            all.push_str(&format!("{name}: {}\n", row.unwrap()));
        }
    }
    all
}

fn json(output: &str) -> Value {
    serde_json::from_str(output).unwrap()
}

#[test]
fn a_shop_is_taken_apart_and_no_row_leaks_is_lost_or_leads_out() {
    let house = shop();
    let plan = json(&house.ok(&["split", "plan", "regions", "--output", "json"]));
    assert!(!house.path("north.db").exists(), "a plan writes nothing");
    let part = |table: &str, at: usize| {
        let all = plan["tables"].as_array().unwrap();
        let table = all.iter().find(|one| one["table"] == table).unwrap();
        table["parts"][at]["rows"].as_u64().unwrap()
    };
    assert_eq!((part("customers", 0), part("customers", 1)), (100, 200));
    assert_eq!((part("genres", 0), part("genres", 1)), (2, 2));
    assert_eq!((part("employees", 0), part("employees", 1)), (3, 2));
    let crossing = plan["references"].as_array().unwrap();
    assert!(crossing.iter().any(|one| one["reference"] == "employees.reports_to"
        && one["part"] == "south"
        && one["rows"] == 1));
    assert_eq!(plan["problems"], serde_json::json!([]));

    house.ok(&["split", "run", "regions"]);
    let proof = json(&house.ok(&["split", "verify", "regions", "--output", "json"]));
    assert_eq!(
        (&proof["holds"], &proof["leaked"], &proof["wrong"]),
        (&true.into(), &0.into(), &0.into())
    );
    assert_eq!(proof["tables"].as_array().unwrap().len(), 16);

    // Counted by hand in the files themselves.
    let (north, south, old) =
        (open(&house, "north.db"), open(&house, "south.db"), open(&house, "old.db"));
    assert_eq!(one(&north, "select count(*) from customers where country <> 'NO'"), 0);
    assert_eq!(one(&south, "select count(*) from customers where country = 'NO'"), 0);
    for table in ["customers", "invoices", "lines", "employees"] {
        let count = format!("select count(*) from {table}");
        assert_eq!(one(&north, &count) + one(&south, &count), one(&old, &count), "{table}");
    }
    for part in [&north, &south] {
        for (child, column, parent) in [
            ("albums", "artist_id", "artists"),
            ("tracks", "album_id", "albums"),
            ("employees", "reports_to", "employees"),
            ("customers", "support_rep", "employees"),
            ("invoices", "customer_id", "customers"),
            ("lines", "invoice_id", "invoices"),
            ("lines", "track_id", "tracks"),
        ] {
            let dangling = format!(
                "select count(*) from {child} where {column} is not null and {column} not in (select id from {parent})"
            );
            assert_eq!(one(part, &dangling), 0, "{child}.{column}");
        }
    }
    assert!(!dump(&north).contains("secret-south") && dump(&north).contains("secret-north"));
    assert!(!dump(&south).contains("secret-north") && dump(&south).contains("secret-south"));
    // Both have the tracks that they sold and no others, apart from what nobody sold.
    assert_eq!(
        one(&south, "select count(*) from tracks where id not in (select track_id from lines)"),
        0
    );
    let total = "select cast(round(sum(total) * 100) as integer) from invoices";
    assert_eq!(one(&north, total) + one(&south, total), one(&old, total));

    // Each emptied reference is told with what it led to.
    let cleared = house.ok(&["split", "report", "regions", "--cleared", "--output", "csv"]);
    assert!(cleared.contains("south,employees,3,reports_to,1"), "{cleared}");
    let emptied = one(&north, "select count(*) from customers where support_rep is null")
        + one(&south, "select count(*) from customers where support_rep is null");
    assert_eq!(cleared.lines().count() as i64, emptied + 2);
    let report = house.ok(&["split", "report", "regions"]);
    assert!(report.contains("verified") && report.contains("lines in south"), "{report}");
    let list = house.ok(&["split", "list", "--output", "csv"]);
    assert!(list.contains("regions,verified,"), "{list}");

    // A second run adds nothing.
    let before = (dump(&north), dump(&south));
    let again = json(&house.ok(&["split", "run", "regions", "--output", "json"]));
    assert!(
        again
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["stood"] == true && one["rows_written"] == 0)
    );
    assert_eq!(before, (dump(&north), dump(&south)));
    assert!(house.ok(&["split", "list", "--output", "csv"]).contains("regions,verified,"));
}

#[test]
fn whatever_is_wrong_in_a_part_is_found_and_mended() {
    let house = shop();
    house.ok(&["split", "run", "regions"]);
    house.ok(&["split", "verify", "regions"]);
    let (north, south) = (open(&house, "north.db"), open(&house, "south.db"));
    let good = dump(&north);
    let cases: [(&str, &str, &str); 6] = [
        (
            "a leaked customer",
            "insert into customers values (1, 'x', 'BR', null, 1)",
            "belongs to the other part",
        ),
        ("a lost customer", "delete from customers where id = 3", "is in neither part"),
        (
            "a new customer",
            "insert into customers values (7777, 'x', 'NO', null, 1)",
            "was not there before",
        ),
        (
            "a track of the other part",
            "insert into invoices values (1, 2, null, 0)",
            "belongs to the other part",
        ),
        (
            "a reference that leads out",
            "update customers set support_rep = 5 where id = 6",
            "refers to a row of the other part",
        ),
        (
            "a changed value",
            "update customers set name = 'other' where id = 9",
            "with other values: 9",
        ),
    ];
    for (what, spoil, told) in cases {
        north.execute_batch(spoil).unwrap();
        let output = house.run(&["split", "verify", "regions"]);
        assert_eq!(output.status.code(), Some(1), "{what}");
        let said = text(&output.stderr);
        assert!(said.contains(told) && said.contains("NOT as declared"), "{what}: {said}");
        house.ok(&["split", "run", "regions", "--overwrite"]);
        house.ok(&["split", "verify", "regions"]);
        assert_eq!(dump(&north), good, "{what}");
    }
    south.execute_batch("drop table lines").unwrap();
    let said = house.run(&["split", "verify", "regions"]);
    assert_eq!(said.status.code(), Some(1), "{}", text(&said.stderr));
    assert!(house.ok(&["split", "list", "--output", "csv"]).contains("regions,differs,"));
}

#[test]
fn a_run_follows_what_changed_since_and_moves_rows_between_the_parts() {
    let house = shop();
    house.ok(&["split", "run", "regions"]);
    let old = open(&house, "old.db");
    old.execute_batch(
        "update customers set country = 'NO', name = 'secret-north-1' where id = 1;
         delete from invoices where id = 10; delete from lines where invoice_id = 10",
    )
    .unwrap();
    let output = house.run(&["split", "verify", "regions"]);
    assert_eq!(output.status.code(), Some(1));
    house.ok(&["split", "run", "regions"]);
    house.ok(&["split", "verify", "regions"]);
    let (north, south) = (open(&house, "north.db"), open(&house, "south.db"));
    assert_eq!(one(&north, "select count(*) from customers where id = 1"), 1);
    assert_eq!(one(&south, "select count(*) from invoices where customer_id = 1"), 0);
    assert!(!dump(&south).contains("secret-north"));
    // Other rules are another split: the whole is written anew.
    declare(&house, &TABLES.replace("country = 'NO'", "country = 'NO' and id > 50"));
    house.ok(&["split", "run", "regions"]);
    house.ok(&["split", "verify", "regions"]);
    assert_eq!(one(&north, "select count(*) from customers where id <= 50"), 0);
}

#[test]
fn a_run_that_is_killed_at_any_moment_goes_on_from_there() {
    let house = shop();
    for turn in 0..12 {
        let mut child = binary()
            .arg("-C")
            .arg(house.dir())
            .args(["split", "run", "regions"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::park_timeout(Duration::from_millis(40 + turn * 45));
        child.kill().unwrap();
        child.wait().unwrap();
        // What stands after a kill is whole tables of one part, never rows of the other one.
        for (file, foreign) in [("north.db", "secret-south"), ("south.db", "secret-north")] {
            if house.path(file).exists() {
                assert!(!dump(&open(&house, file)).contains(foreign), "{turn}: {file}");
            }
        }
    }
    house.ok(&["split", "run", "regions"]);
    house.ok(&["split", "verify", "regions"]);
    let (north, south) = (open(&house, "north.db"), open(&house, "south.db"));
    assert_eq!(
        one(&north, "select count(*) from invoices") + one(&south, "select count(*) from invoices"),
        2000
    );
    let staged =
        "select count(*) from sqlite_master where name like '\\_flywheel\\_staging%' escape '\\'";
    assert_eq!((one(&north, staged), one(&south, staged)), (0, 0));
}

#[test]
fn a_shop_moves_from_one_file_into_two_databases_of_a_server() {
    let house = shop();
    let (first, second) = (postgres().database(), postgres().database());
    house.write("password", Postgres::PASSWORD);
    for (name, database) in [("north", &first), ("south", &second)] {
        house.write(
            &format!("connections/{name}.yaml"),
            format!(
                "connection: {name}\ntype: postgres\noptions: {{host: 127.0.0.1, port: {}, database: {database}, user: postgres, password: '${{file:password}}'}}\n",
                postgres().port()
            ),
        );
    }
    // One part has tables that wait for the rows, with the keys of a real schema.
    postgres().psql(
        &first,
        "create table customers (id bigint primary key, name text not null, country text, support_rep bigint, vip boolean);
         create table invoices (id bigint primary key, customer_id bigint not null references customers (id), at timestamptz, total numeric(10,2))",
    );
    let plan = house.ok(&["split", "plan", "regions", "--output", "csv"]);
    assert!(plan.contains("is made"), "{plan}");
    house.ok(&["split", "run", "regions"]);
    house.ok(&["split", "verify", "regions"]);
    let count = "select count(*) from invoices i join customers c on c.id = i.customer_id";
    let of = |database: &str| postgres().psql(database, count).parse::<i64>().unwrap();
    assert_eq!(of(&first) + of(&second), 2000);
    assert_eq!(
        postgres().psql(&first, "select count(*) from customers where name like '%south%'"),
        "0"
    );
    postgres().psql(&second, "insert into customers (id, name) values (3, 'secret-north-3')");
    let output = house.run(&["split", "verify", "regions"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("1 rows of the other part"), "{}", text(&output.stderr));
}

/// The shop, with two databases of MariaDB as its parts.
fn shop_into_maria(write: &str) -> (House, [String; 2]) {
    let house = shop();
    let parts = [maria().database(), maria().database()];
    house.write("password", MariaDb::PASSWORD);
    for (name, database) in ["north", "south"].iter().zip(&parts) {
        house.write(
            &format!("connections/{name}.yaml"),
            format!(
                "connection: {name}\ntype: mysql\noptions: {{host: 127.0.0.1, port: {}, database: {database}, user: {}, password: '${{file:password}}'}}\n",
                maria().port(),
                MariaDb::USER
            ),
        );
    }
    declare(&house, &format!("{write}{TABLES}"));
    (house, parts)
}

#[test]
fn a_shop_moves_into_two_databases_of_mariadb_and_follows_changes() {
    let (house, [north, south]) = shop_into_maria("");
    // One part has tables that wait for the rows, with the keys of a real schema.
    maria().sql(
        &north,
        "create table customers (id bigint primary key, name varchar(100) not null, country text, support_rep bigint, vip boolean);
         create table invoices (id bigint primary key, customer_id bigint not null, at datetime(6), total decimal(10,2))",
    );
    house.ok(&["split", "plan", "regions"]);
    house.ok(&["split", "run", "regions"]);
    house.ok(&["split", "verify", "regions"]);
    let of = |database: &str, sql: &str| maria().sql(database, sql).parse::<i64>().unwrap();
    let joined = "select count(*) from invoices i join customers c on c.id = i.customer_id";
    assert_eq!(of(&north, joined) + of(&south, joined), 2000);
    assert_eq!(of(&north, "select count(*) from customers where name like '%south%'"), 0);
    // A customer moves north, with what hangs on it.
    open(&house, "old.db")
        .execute_batch("update customers set country = 'NO' where id = 1")
        .unwrap();
    house.ok(&["split", "run", "regions"]);
    house.ok(&["split", "verify", "regions"]);
    assert_eq!(of(&north, "select count(*) from customers where id = 1"), 1);
    assert_eq!(of(&south, "select count(*) from invoices where customer_id = 1"), 0);
}

#[test]
fn rows_merged_into_a_part_keep_what_was_there_and_are_proved() {
    let (house, [north, south]) = shop_into_maria("write: merge\n");
    maria().sql(
        &south,
        "create table customers (id bigint primary key, name varchar(100), country text, support_rep bigint, vip boolean, note text);
         insert into customers (id, name, country, note) values (1, 'old name', 'BR', 'kept'), (9001, 'somebody else', 'AR', 'kept')",
    );
    house.ok(&["split", "run", "regions"]);
    let of = |database: &str, sql: &str| maria().sql(database, sql);
    assert_eq!(of(&south, "select name, note from customers where id = 1"), "secret-south-1\tkept");
    assert_eq!(of(&south, "select note from customers where id = 9001"), "kept");
    assert_eq!(of(&north, "select count(*) from customers"), "100");
    let proof = json(&house.ok(&["split", "verify", "regions", "--output", "json"]));
    assert_eq!(proof["rows_before"], serde_json::json!([0, 1]), "a row of somebody else stays");
    let said = text(&house.run(&["split", "verify", "regions"]).stderr);
    assert!(said.contains("of somebody else: 9001") && said.contains("1 that were"), "{said}");
    // What the source no longer has in a part is told, since a merge removes nothing.
    open(&house, "old.db")
        .execute_batch("update customers set country = 'NO' where id = 1")
        .unwrap();
    house.ok(&["split", "run", "regions"]);
    let output = house.run(&["split", "verify", "regions"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    maria().sql(&south, "delete from customers where id = 1");
    maria().sql(
        &south,
        "delete from `lines` where invoice_id in (select id from invoices where customer_id = 1)",
    );
    maria().sql(&south, "delete from invoices where customer_id = 1");
    house.ok(&["split", "verify", "regions"]);
}

#[test]
fn a_declaration_that_does_not_fit_the_rows_is_told_with_its_place() {
    let house = shop();
    let told = |code: i32, from: &str, to: &str, wanted: &[&str]| {
        assert!(TABLES.contains(from), "{from}");
        declare(&house, &TABLES.replace(from, to));
        for verb in ["plan", "run"] {
            let output = house.run(&["split", verb, "regions"]);
            let said = text(&output.stderr) + &text(&output.stdout);
            assert_eq!(output.status.code(), Some(code), "{to}: {said}");
            for wanted in wanted {
                assert!(said.contains(wanted), "{to}: {wanted} is not in {said}");
            }
            assert!(!house.path("north.db").exists(), "nothing is written: {to}");
        }
    };
    let place = "splits/regions.yaml:";
    told(2, "where: country = 'NO'", "where: contry = 'NO'", &[place, ":15:", "contry"]);
    told(2, "where: country = 'NO'", "where: id + 1", &[place, "is no condition"]);
    told(
        2,
        "where: country = 'NO'",
        "where: \"support_rep > nullif(id, 4)\"",
        &[place, "1 rows of \"customers\"", "keys 4", "coalesce"],
    );
    told(2, "where: country = 'NO'", "where: \"cast(name as int) > 1\"", &[place, "has no value"]);
    told(
        2,
        "{table: genres, key: id,",
        "{table: genres, key: nam,",
        &[place, "no column \"nam\"", "name"],
    );
    told(
        2,
        "{table: invoices, key: id,",
        "{table: invoices, key: customer_id,",
        &[place, "several rows of \"invoices\""],
    );
    told(2, "{table: genres,", "{table: genre,", &[place, "has no table \"genre\"", "genres"]);
    told(
        2,
        "{column: track_id, to: tracks}",
        "{column: trackid, to: tracks}",
        &[place, "no column \"trackid\"", "track_id"],
    );
    told(
        3,
        "to: employees, crossing: clear}]\n    place: {divided: {where: country",
        "to: employees}]\n    place: {divided: {where: country",
        &["customers.support_rep", "crossing: clear", "with the keys"],
    );
    told(
        2,
        "key: id, place: both",
        "key: id, references: [{column: id, to: artists}], place: {with: {reference: id}}",
        &[place, "which is shared"],
    );
}

#[test]
fn rows_without_an_owner_stop_the_split_until_they_have_a_place() {
    let house = shop();
    open(&house, "old.db")
        .execute_batch("insert into invoices values (5000, 9999, null, 1), (5001, 9999, null, 2)")
        .unwrap();
    let said = house.fails(3, &["split", "run", "regions"]);
    assert!(said.contains("2 rows of \"invoices\"") && said.contains("5000 · 5001"), "{said}");
    assert!(!house.path("north.db").exists());
    declare(
        &house,
        &TABLES.replace("{reference: customer_id}", "{reference: customer_id, otherwise: south}"),
    );
    let output = house.run(&["split", "plan", "regions"]);
    assert!(
        text(&output.stderr).contains("2 rows lead to no row of customers"),
        "{}",
        text(&output.stderr)
    );
    house.ok(&["split", "run", "regions"]);
    let proof = json(&house.ok(&["split", "verify", "regions", "--output", "json"]));
    assert_eq!(proof["dangling"], 2);
    assert_eq!(one(&open(&house, "south.db"), "select count(*) from invoices where id >= 5000"), 2);
}

#[test]
fn rows_of_somebody_else_and_the_source_itself_are_never_replaced() {
    let house = shop();
    let south = open(&house, "south.db");
    south
        .execute_batch(
            "create table genres (id integer, name text); insert into genres values (9, 'mine')",
        )
        .unwrap();
    let said = house.fails(3, &["split", "run", "regions"]);
    assert!(
        said.contains("\"genres\" of part \"south\"") && said.contains("--overwrite"),
        "{said}"
    );
    assert_eq!(one(&south, "select id from genres"), 9);
    house.ok(&["split", "run", "regions", "--overwrite"]);
    house.ok(&["split", "verify", "regions"]);
    // The same file under another name.
    let before = dump(&open(&house, "old.db"));
    house.write(
        "connections/south.yaml",
        "connection: south\ntype: sqlite\noptions: {path: ./sub/../old.db}\n",
    );
    std::fs::create_dir_all(house.path("sub")).unwrap();
    let said = house.fails(2, &["split", "run", "regions", "--overwrite"]);
    assert!(
        said.contains("are the same place") && said.contains("splits/regions.yaml:3"),
        "{said}"
    );
    assert_eq!(dump(&open(&house, "old.db")), before);
    house.fails(2, &["split", "plan", "region"]);
}

#[test]
fn a_crm_of_files_is_taken_apart_by_sector() {
    let Some(data) = real_data("maven_crm") else { return };
    let house = House::new();
    for name in ["accounts", "products", "sales_pipeline", "sales_teams"] {
        let file = format!("{name}.csv");
        std::fs::create_dir_all(house.path("crm")).unwrap();
        std::fs::copy(data.join(&file), house.path("crm").join(&file)).unwrap();
    }
    house.write("connections/crm.yaml", "connection: crm\ntype: csv\noptions: {folder: crm}\n");
    for part in ["medical", "rest"] {
        house.write(
            &format!("connections/{part}.yaml"),
            format!("connection: {part}\ntype: sqlite\noptions: {{path: {part}.db}}\n"),
        );
    }
    house.write(
        "splits/crm.yaml",
        "split: crm
connection: crm
parts: [{part: medical, connection: medical}, {part: rest, connection: rest}]
tables:
  - table: accounts
    options: {path: accounts.csv}
    target: {table: accounts}
    key: account
    references: [{column: subsidiary_of, to: accounts, crossing: clear}]
    place: {divided: {where: \"sector in ('medical', 'finance')\", to: medical}}
  - table: products
    options: {path: products.csv}
    target: {table: products}
    key: product
    place: {where-needed: {otherwise: rest}}
  - table: agents
    options: {path: sales_teams.csv}
    target: {table: agents}
    key: sales_agent
    place: both
  - table: deals
    options: {path: sales_pipeline.csv}
    target: {table: deals}
    key: opportunity_id
    references:
      - {column: account, to: accounts}
      - {column: product, to: products}
      - {column: sales_agent, to: agents, required: true}
    place: {with: {reference: account, otherwise: rest}}
",
    );
    let plan = json(&house.ok(&["split", "plan", "crm", "--output", "json"]));
    // \"GTXPro\" of the deals is no product; that was so before.
    let nowhere = plan["references"].as_array().unwrap();
    let nowhere = nowhere.iter().find(|one| one["reference"] == "deals.product").unwrap();
    assert_eq!((&nowhere["part"], &nowhere["rows"]), (&Value::Null, &1480.into()));
    house.ok(&["split", "run", "crm"]);
    let proof = json(&house.ok(&["split", "verify", "crm", "--output", "json"]));
    assert_eq!(
        (&proof["holds"], &proof["leaked"], &proof["dangling"]),
        (&true.into(), &0.into(), &1480.into())
    );
    let (medical, rest) = (open(&house, "medical.db"), open(&house, "rest.db"));
    let count = "select count(*) from deals";
    assert_eq!(one(&medical, count) + one(&rest, count), 8800);
    assert_eq!(
        one(&medical, "select count(*) from accounts")
            + one(&rest, "select count(*) from accounts"),
        85
    );
    assert_eq!(one(&rest, "select count(*) from deals where account = ''"), 1425);
    assert_eq!(
        one(
            &medical,
            "select count(*) from deals where account not in (select account from accounts)"
        ),
        0
    );
    assert_eq!(
        one(&rest, "select count(*) from accounts where sector in ('medical', 'finance')"),
        0
    );
}
