//! Promises about tables: every check in every engine, what a breach keeps from readers, monitors,
//! contracts, and two tables compared.

use flywheel_testkit::{MariaDb, Postgres};
use serde_json::Value;

use crate::house::{House, text};
use crate::servers::{maria, postgres};

/// The tables of every database; types and quotes are those that all of them know.
const TABLES: &str = "
create table customers (id integer primary key, name varchar(20));
insert into customers values (1, 'a'), (2, 'b');
create table orders (id integer primary key, code varchar(10), amount decimal(10,2), email varchar(40), city varchar(10),
  made_at timestamp null, came_at timestamp null, customer integer, blank varchar(5), blank_paid decimal(10,2));
insert into orders values
  (1, 'open', 10.50, 'a@b', 'Köln', '2024-05-01 00:00:00', '2024-05-01 01:00:00', 1, null, null),
  (2, 'paid', null, '', null, '2024-05-01 00:00:00', '2024-05-03 00:00:01', 2, null, null),
  (3, 'PAID', -1.00, null, null, '2024-05-01 00:00:00', '2024-05-01 01:00:00', 9, null, null),
  (4, 'open', 20.00, 'd@e', null, '2024-05-01 00:00:00', '2024-05-01 01:00:00', 2, null, null),
  (5, 'open', 25.00, 'x@y.z', null, '2024-05-01 00:00:00', '2024-05-01 01:00:00', 1, null, null),
  (6, 'paid', 5.00, 'f@g', null, '2024-05-01 00:00:00', '2024-05-01 01:00:00', 1, null, null);
create table bare (a integer, b varchar(5));
";

/// The cases of `checks.txt`.
fn cases() -> Vec<(String, [String; 3])> {
    let lines = include_str!("quality/checks.txt").lines();
    let lines = lines.filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (check, expected) = line.split_once(" => ").unwrap();
            let words: Vec<String> = expected.split(' ').map(str::to_owned).collect();
            (check.to_owned(), words.try_into().unwrap())
        })
        .collect()
}

/// A project with the tables in every database, and landed in the lake.
fn everywhere() -> House {
    let house = House::new();
    house.write("password", Postgres::PASSWORD);
    house.write("password2", MariaDb::PASSWORD);
    let (pg, my) = (postgres().database(), maria().database());
    postgres().psql(&pg, TABLES);
    maria().sql(&my, TABLES);
    let lite = rusqlite::Connection::open(house.dir().join("shop.db")).unwrap();
    lite.execute_batch(TABLES).unwrap();
    house.write(
        "connections/pg.yaml",
        format!(
            "connection: pg\ntype: postgres\noptions: {{host: 127.0.0.1, port: {}, database: {pg}, user: postgres, password: '${{file:password}}'}}\n",
            postgres().port()
        ),
    );
    house.write(
        "connections/my.yaml",
        format!(
            "connection: my\ntype: mysql\noptions: {{host: 127.0.0.1, port: {}, database: {my}, user: {}, password: '${{file:password2}}'}}\n",
            maria().port(),
            MariaDb::USER
        ),
    );
    house.write(
        "connections/lite.yaml",
        "connection: lite\ntype: sqlite\noptions: {path: shop.db}\n",
    );
    house.write(
        "connections/files.yaml",
        "connection: files\ntype: jsonl\noptions: {folder: data}\n",
    );
    let rows = postgres().psql(&pg, "select row_to_json(o) from orders o order by id");
    house.write("data/orders.jsonl", rows);
    house.write(
        "syncs/land.yaml",
        "sync: land\nconnection: pg\nstreams:
  - {stream: orders, options: {table: public.orders}, read: full, write: replace}
  - {stream: customers, options: {table: public.customers}, read: full, write: replace}
  - {stream: bare, options: {table: public.bare}, read: full, write: replace}\n",
    );
    house.write(
        "dictionaries/order_status.yaml",
        "dictionary: order_status\nvalues: [open, paid, sent]\nlabels: {open: {zh: 未付}}\n",
    );
    house.ok(&["sync"]);
    house
}

/// Writes a quality file for an engine; `other` is how the table of customers is called there.
fn promise(house: &House, name: &str, subject: &str, checks: &[(String, String)]) {
    let mut file = format!("quality: {name}\n{subject}\nchecks:\n");
    for (check, name) in checks {
        let open = check.strip_prefix('{').unwrap();
        file.push_str(&format!("  - {{name: {name}, {open}\n"));
    }
    house.write(&format!("quality/{name}.yaml"), file);
}

/// What `flywheel quality run` found, and its exit code.
fn judge(house: &House, select: &[&str]) -> (Vec<Value>, i32) {
    let mut arguments = vec!["quality", "run", "--output", "json"];
    if !select.is_empty() {
        arguments.push("--select");
        arguments.extend(select);
    }
    let output = house.run(&arguments);
    let found: serde_json::Result<_> = serde_json::from_slice(&output.stdout);
    assert!(found.is_ok(), "{}", text(&output.stderr));
    let found = found.unwrap();
    (found, output.status.code().unwrap())
}

const ENGINES: [(&str, &str, &str); 5] = [
    ("lake", "table: source('raw', 'orders')", "\"source('raw', 'customers')\""),
    ("pg", "connection: pg\nstream: {table: public.orders}", "public.customers"),
    ("my", "connection: my\nstream: {table: orders}", "customers"),
    ("lite", "connection: lite\nstream: {table: orders}", "customers"),
    ("files", "connection: files\nstream: {path: orders.jsonl}", ""),
];

#[test]
fn every_check_means_the_same_in_every_engine() {
    let house = everywhere();
    let cases = cases();
    for (engine, subject, other) in ENGINES {
        let of_engine = cases.iter().enumerate().filter(|(_, (check, _))| {
            // Files have no other table, and columns without any value are not in JSON's types.
            engine != "files" || !(check.contains("$customers") || check.contains("blank"))
        });
        let checks: Vec<(String, String)> = of_engine
            .map(|(at, (check, _))| (check.replace("$customers", other), format!("c{at}")))
            .collect();
        promise(&house, engine, subject, &checks);
    }
    let (found, code) = judge(&house, &[]);
    assert_eq!(code, 1, "broken promises are told as data");
    let mut wrong = Vec::new();
    for one in &found {
        let at: usize = one["check"].as_str().unwrap()[1..].parse().unwrap();
        let (check, [verdict, value, failing]) = &cases[at];
        let shown =
            |value: &Value| value.as_f64().map_or_else(|| "-".to_owned(), |v| v.to_string());
        let same = one["verdict"] == verdict.as_str()
            && (shown(&one["value"]) == *value || close(&one["value"], value))
            && shown(&one["failing"]) == *failing;
        if !same {
            wrong.push(format!(
                "{} {check}: {} {} {}, {}",
                one["quality"], one["verdict"], one["value"], one["failing"], one["reason"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(found.len() > 4 * cases.len());
    // Each verdict is a row, with the query that finds the figure again.
    let rows = house.cell(
        "select count(*) from system.quality_results where sql is not null or verdict = 'broken'",
    );
    assert_eq!(rows, found.len().to_string());
    assert!(house.ok(&["quality", "show"]).contains("percent") || !found.is_empty());
}

/// Engines round means differently in the last digits.
fn close(value: &Value, expected: &str) -> bool {
    match (value.as_f64(), expected.parse::<f64>()) {
        (Some(value), Ok(expected)) => (value - expected).abs() < 1e-3,
        _ => false,
    }
}

#[test]
fn empty_tables_patterns_and_divisions_by_zero_have_a_verdict() {
    let house = everywhere();
    let subjects = [
        ("lake", "table: source('raw', 'bare')", "passed", "broken"),
        ("pg", "connection: pg\nstream: {table: bare}", "passed", "broken"),
        ("my", "connection: my\nstream: {query: 'select a, b from bare'}", "passed", "failed"),
        ("lite", "connection: lite\nstream: {table: bare}", "", "failed"),
    ];
    for (engine, subject, pattern, _) in subjects {
        let mut checks = vec![
            (
                "{metric: nullValues, column: a, unit: percent, mustBe: 0}".to_owned(),
                "share".to_owned(),
            ),
            ("{metric: rowCount, mustBeGreaterThan: 0}".to_owned(), "rows".to_owned()),
            (
                "{metric: sum, column: a, mustBeGreaterThan: 0, severity: warn}".to_owned(),
                "sum".to_owned(),
            ),
            ("{metric: freshness, column: a, mustBeLessThan: 1}".to_owned(), "fresh".to_owned()),
            ("{query: 'select 1 / 0', mustBe: 0}".to_owned(), "zero".to_owned()),
        ];
        if !pattern.is_empty() {
            let check =
                r"{metric: invalidValues, column: b, arguments: {pattern: '^\d+$'}, mustBe: 0}";
            checks.push((check.to_owned(), "pattern".to_owned()));
        }
        promise(&house, engine, subject, &checks);
    }
    let (found, _) = judge(&house, &[]);
    for (engine, _, pattern, zero) in subjects {
        let verdict = |check: &str| {
            let one = found.iter().find(|one| one["quality"] == engine && one["check"] == check);
            one.map_or("", |one| one["verdict"].as_str().unwrap())
        };
        let seen = ["share", "rows", "sum", "fresh", "zero", "pattern"].map(verdict);
        assert_eq!(
            seen,
            ["passed", "failed", "warned", "failed", zero, pattern],
            "{engine}: {found:?}"
        );
    }
}

#[test]
fn a_system_that_cannot_be_reached_is_a_verdict_and_the_others_are_judged() {
    let house = House::new();
    house.write("connections/db.yaml", "connection: db\ntype: sqlite\noptions: {path: gone.db}\n");
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write("data/a.csv", "id\n1\n");
    house.write("quality/a.yaml", "quality: a\nconnection: db\nstream: {table: t}\nchecks: [{metric: rowCount, mustBe: 1, severity: warn}]\n");
    house.write("quality/b.yaml", "quality: b\nconnection: files\nstream: {path: a.csv}\nchecks: [{metric: rowCount, mustBe: 1}]\n");
    let (found, code) = judge(&house, &[]);
    let seen: Vec<&str> = found.iter().map(|one| one["verdict"].as_str().unwrap()).collect();
    assert_eq!((seen, code), (vec!["broken", "passed"], 1));
    assert!(found[0]["reason"].as_str().unwrap().contains("gone.db"), "{found:?}");
    let (found, code) = judge(&house, &["b"]);
    assert_eq!((found.len(), code), (1, 0), "a selector chooses");
    assert!(house.fails(2, &["quality", "run", "--select", "c"]).contains('c'));
}

#[test]
fn samples_show_failing_rows_without_what_is_masked_or_hidden() {
    let house = everywhere();
    house.write(
        "syncs/land.yaml",
        "sync: land\nconnection: pg\nstreams:\n  - {stream: orders, options: {table: public.orders}, read: full, write: replace, columns: [{name: email, mask: redact}]}\n",
    );
    house.write("quality/pg.yaml", "quality: pg\nconnection: pg\nstream: {table: public.orders}\nhidden: [city]\nchecks: [{metric: nullValues, column: blank, mustBe: 0}]\n");
    let (found, _) = judge(&house, &["connection:pg"]);
    let sample = found[0]["sample"].as_str().unwrap();
    assert!(sample.contains("\"code\":\"open\"") && sample.contains("(hidden)"), "{sample}");
    assert!(!sample.contains("a@b") && !sample.contains("Köln"), "{sample}");
    let kept = house.cell("select sample from system.quality_results");
    assert!(!kept.contains("a@b") && !kept.contains("Köln"), "{kept}");
}

fn shop() -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: files\nstreams:\n  - stream: orders\n    options: {path: '*.csv'}\n    read: incremental\n    write: append\n    columns: [{name: id, type: int64}, {name: amount, type: float64}, {name: email, type: text}]\n",
    );
    house.write(
        "models/mart/sales.sql",
        "{{ config(materialized='table') }} select id, amount, email from {{ source('raw', 'orders') }}",
    );
    house.write("data/1.csv", "id,amount,email\n1,10,a@b\n2,20,c@d\n");
    house
}

#[test]
fn a_breach_keeps_a_model_from_its_readers() {
    let house = shop();
    house.write("quality/sales.yaml", "quality: sales\ntable: ref('sales')\nhidden: [email]\nchecks:\n  - {metric: nullValues, column: amount, mustBe: 0}\n  - {metric: rowCount, mustBeLessThan: 3, severity: warn}\n  - {query: 'select count(*) from {object} where amount < 0', mustBe: 0}\n");
    house.ok(&["sync"]);
    house.ok(&["build"]);
    let count = |house: &House| house.cell("select count(*) from mart.sales");
    assert_eq!(count(&house), "2");
    house.write("data/2.csv", "id,amount,email\n3,,secret@x\n4,-5,e@f\n");
    house.ok(&["sync"]);
    let complaint = house.fails(1, &["build"]);
    assert!(complaint.contains("quality_sales_null_values_amount"), "{complaint}");
    assert!(complaint.contains("id=3") && !complaint.contains("secret@x"), "{complaint}");
    assert_eq!(count(&house), "2", "readers keep the last good version");
    let found = house.sql("select \"check\", verdict, value, failing from system.quality_results where verdict <> 'passed' order by 1");
    assert_eq!(
        found,
        ["null_values_amount,failed,1.0,1", "query,failed,1.0,", "row_count,warned,4.0,"]
    );
    house.fails(3, &["turn"]);
    house.write("models/mart/sales.sql", "{{ config(materialized='table') }} select id, amount, email from {{ source('raw', 'orders') }} where amount > 0");
    house.ok(&["build"]);
    assert_eq!(count(&house), "2");
    assert_eq!(house.cell("select verdict from system.quality_results where \"check\" = 'query' order by at desc limit 1"), "passed");
}

#[test]
fn what_landed_against_a_promise_is_not_seen_until_it_is_mended() {
    let house = shop();
    house.write("quality/orders.yaml", "quality: orders\ntable: source('raw', 'orders')\nchecks:\n  - {metric: nullValues, column: amount, mustBe: 0}\n");
    let count = |house: &House| house.cell("select count(*) from raw.orders");
    house.ok(&["sync"]);
    assert_eq!(count(&house), "2");
    house.write("data/2.csv", "id,amount,email\n3,,e@f\n");
    let complaint = house.fails(3, &["sync"]);
    assert!(
        complaint.contains("raw.orders") && complaint.contains("readers keep version 0"),
        "{complaint}"
    );
    assert_eq!(count(&house), "2");
    assert_eq!(house.cell("select rows from system.tables where name = 'raw.orders'"), "2");
    house.ok(&["build"]);
    assert_eq!(house.cell("select count(*) from mart.sales"), "2", "models are made of good rows");
    assert!(house.run(&["quality", "show"]).stderr.windows(4).any(|word| word == b"held"));
    // The wheel turns on, and says so.
    house.fails(3, &["turn"]);
    house.write("data/3.csv", "id,amount,email\n4,40,g@h\n");
    house.fails(3, &["sync"]);
    assert_eq!(count(&house), "2", "later rows wait, too");
    house.ok(&["sql", "--landed", "update raw.orders set amount = 30 where id = 3"]);
    let (_, code) = judge(&house, &["source:raw.orders"]);
    assert_eq!(code, 0);
    assert_eq!(count(&house), "4", "nothing that landed was lost");
}

#[test]
fn a_first_landing_that_breaks_a_promise_is_no_table_and_a_withdrawn_promise_frees_it() {
    let house = shop();
    house.write("quality/orders.yaml", "quality: orders\ntable: source('raw', 'orders')\nchecks: [{metric: rowCount, mustBeGreaterThan: 10}]\n");
    assert!(house.fails(3, &["sync"]).contains("readers see no table yet"));
    assert!(house.fails(2, &["sql", "select * from raw.orders"]).contains("raw.orders"));
    std::fs::remove_file(house.dir().join("quality/orders.yaml")).unwrap();
    house.ok(&["sync"]);
    assert_eq!(house.cell("select count(*) from raw.orders"), "2");
}

#[test]
fn a_turn_judges_a_promise_that_only_warns_once() {
    let house = shop();
    house.write("quality/orders.yaml", "quality: orders\ntable: source('raw', 'orders')\nchecks: [{metric: rowCount, mustBeGreaterThan: 2, severity: warn}]\n");
    let verdicts = |house: &House| {
        house.sql("select verdict, value from system.quality_results order by at, result_id")
    };
    let told = |house: &House| {
        house.cell("select tests_status from system.assets where name = 'raw.orders'")
    };
    house.ok(&["turn"]);
    assert_eq!(verdicts(&house), ["warned,2.0"]);
    let build =
        "select count(*) from system.tasks where kind = 'build' and detail like '%quality_orders%'";
    assert_eq!(house.cell(build), "0", "what the turn judges itself is no test of its build");
    assert_eq!(told(&house), "warned");
    house.write("data/2.csv", "id,amount,email\n3,1,e@f\n");
    house.ok(&["turn"]);
    assert_eq!(verdicts(&house), ["warned,2.0", "passed,3.0"]);
    assert_eq!(told(&house), "passed");
    // Whoever only builds is told by a test, as before.
    house.write("quality/orders.yaml", "quality: orders\ntable: source('raw', 'orders')\nchecks: [{metric: rowCount, mustBeGreaterThan: 5, severity: warn}]\n");
    house.ok(&["build"]);
    assert_eq!(told(&house), "warned");
}

#[test]
fn a_monitor_learns_from_days_and_then_finds_what_is_unusual() {
    let house = shop();
    house.write("syncs/shop.yaml", "sync: shop\nconnection: files\nstreams:\n  - {stream: orders, options: {path: '*.csv'}, read: full, write: replace}\n");
    house.write("quality/orders.yaml", "quality: orders\ntable: source('raw', 'orders')\nchecks:\n  - {name: volume, metric: rowCount, monitor: {history: 8}}\n  - {name: shop, metric: rowCount, mustBeGreaterThan: 500, monitor: {history: 8, direction: down}, severity: warn}\n");
    let rows = |count: usize| {
        let mut file = "id,amount,email\n".to_owned();
        (0..count).for_each(|id| file.push_str(&format!("{id},1,x\n")));
        file
    };
    let counts = [100, 104, 98, 101, 97, 103, 99, 102, 100, 101, 20];
    for (day, count) in counts.iter().enumerate() {
        house.write("data/1.csv", rows(*count));
        house.ok(&["turn", "--replay", &format!("2024-03-{:02}", day + 1)]);
    }
    let seen = house.sql("select verdict, low < value and value < high from system.quality_results where \"check\" = 'volume' order by at");
    let mut expected = vec!["learning,"; 8];
    expected.extend(["passed,true", "passed,true", "warned,false"]);
    assert_eq!(seen, expected);
    let last = house.sql("select reason from system.quality_results where \"check\" = 'volume' order by at desc limit 1");
    assert!(
        last[0].contains("20 is unusual") && last[0].contains("10 earlier figures"),
        "{last:?}"
    );
    let history = house.ok(&["quality", "history", "orders", "volume", "--output", "csv"]);
    assert_eq!(history.lines().count(), 12, "{history}");
    assert!(house.fails(2, &["quality", "history", "orders", "volum"]).contains("volume"));
}

#[test]
fn every_mistake_in_a_quality_file_is_told_at_its_place() {
    let house = shop();
    house.write("connections/db.yaml", "connection: db\ntype: sqlite\noptions: {path: x.db}\n");
    let file = |body: &str| format!("quality: q\n{body}");
    let on = |check: &str| file(&format!("table: source('raw', 'orders')\nchecks:\n  - {check}\n"));
    let cases = [
        (file("checks: [{metric: rowCount, mustBe: 1}]"), "names no table"),
        (file("table: ref('sale')\nchecks: [{metric: rowCount, mustBe: 1}]"), "sales"),
        (
            file("table: ref('sales')\nconnection: db\nchecks: [{metric: rowCount, mustBe: 1}]"),
            "both",
        ),
        (
            file("connection: dbx\nstream: {table: t}\nchecks: [{metric: rowCount, mustBe: 1}]"),
            "no connection \"dbx\"",
        ),
        (file("connection: db\nchecks: [{metric: rowCount, mustBe: 1}]"), "stream"),
        (
            file(
                "connection: db\nstream: {table: t}\nchecks: [{metric: invalidValues, column: a, arguments: {pattern: x}, mustBe: 0}]",
            ),
            "SQLite has no regular expressions",
        ),
        (file("table: ref('sales')\nchecks: []"), "promises nothing"),
        (on("{metric: nullValue, column: id, mustBe: 0}"), "nullValues"),
        (on("{metric: nullValues, mustBe: 0}"), "names no column"),
        (on("{metric: nullValues, column: id}"), "does not say what its figure must be"),
        (
            on("{metric: nullValues, column: id, mustBe: 0, mustBeLessThan: 3}"),
            "both `mustBe` and `mustBeLessThan`",
        ),
        (on("{metric: rowCount, mustBeBetween: [9, 1]}"), "never true"),
        (on("{metric: rowCount, unit: percent, mustBe: 1}"), "no share of rows"),
        (on("{metric: invalidValues, column: id, mustBe: 0}"), "does not say what is wanted"),
        (
            on("{metric: invalidValues, column: id, arguments: {dictionary: colour}, mustBe: 0}"),
            "no dictionary \"colour\"",
        ),
        (
            on("{metric: invalidValues, column: id, arguments: {pattern: '('}, mustBe: 0}"),
            "no regular expression",
        ),
        (
            on("{metric: rowCount, arguments: {maxLength: 3}, mustBe: 0}"),
            "does not take `maxLength`",
        ),
        (on("{query: '', mustBe: 0}"), "the SQL is empty"),
        (on("{query: 'select 1', metric: rowCount, mustBe: 0}"), "both `metric` and `query`"),
        (on("{metric: rowCount, monitor: {falseAlarms: 50%}}"), "0.1% to 20%"),
        (on("{metric: rowCount, mustbe: 1}"), "mustBe"),
    ];
    for (file, expected) in cases {
        house.write("quality/q.yaml", &file);
        let complaint = house.fails(2, &["check"]);
        assert!(complaint.contains(expected), "{file}\n{complaint}");
        assert!(complaint.contains("quality/q.yaml"), "{complaint}");
    }
    std::fs::remove_file(house.dir().join("quality/q.yaml")).unwrap();
    house.write("dictionaries/d.yaml", "dictionary: d\nvalues: [a, b, a]\nlabels: {c: {en: C}}\n");
    let complaint = house.fails(2, &["check"]);
    assert!(
        complaint.contains("the code a twice") && complaint.contains("\"c\" has a label"),
        "{complaint}"
    );
}

#[test]
fn two_tables_are_compared_wherever_they_are() {
    let house = everywhere();
    let equal = house.run(&["compare", "pg:public.orders", "raw.orders"]);
    assert!(equal.status.success(), "{}", text(&equal.stdout) + &text(&equal.stderr));
    house.ok(&["sql", "--landed", "update raw.orders set amount = 7 where id = 4"]);
    house.ok(&["sql", "--landed", "delete from raw.orders where id = 1"]);
    let output = house.run(&["compare", "pg:orders", "raw.orders", "--output", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&found["found"]["rows"]["left"], &found["found"]["rows"]["right"]),
        (&6.into(), &5.into())
    );
    let keys: Vec<String> = found["found"]["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{} {}", one["key"].as_str().unwrap(), one["kind"].as_str().unwrap()))
        .collect();
    assert_eq!(keys, ["1 missing", "4 different"]);
    let value = &found["values"][0];
    assert_eq!(
        [&value["key"], &value["column"], &value["left"], &value["right"]],
        ["4", "amount", "20.00", "7.00"]
    );
    // A schema that differs is told, and so are a key and a table that are not there.
    let output = house.run(&["compare", "lite:customers", "raw.orders", "--key", "id"]);
    assert!(text(&output.stdout).contains("column missing on the right"));
    assert!(house.fails(2, &["compare", "raw.orders", "raw.customers"]).contains("--key"));
    assert!(house.fails(2, &["compare", "pg:order", "raw.orders"]).contains("orders"));
    assert!(
        house.fails(2, &["compare", "raw.orders", "raw.customers", "--key", "idd"]).contains("idd")
    );
}

#[test]
fn a_contract_comes_in_is_judged_and_goes_out_as_it_came() {
    let house = shop();
    let contract = include_str!("../../../project/src/odcs/tests/orders.odcs.yaml");
    house.write("orders.odcs.yaml", contract);
    let path = house.dir().join("orders.odcs.yaml");
    let made = house.ok(&["import", "odcs", path.to_str().unwrap(), "--schema", "sales"]);
    assert!(made.contains("quality/shop_orders_orders.yaml"), "{made}");
    assert!(house.fails(2, &["import", "odcs", path.to_str().unwrap()]).contains("--force"));
    assert!(house.ok(&["check"]).contains("no mistakes"));
    house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: files\nstreams:\n  - stream: orders\n    to: sales.orders\n    options: {path: '*.csv'}\n    read: full\n    write: replace\n    columns: [{name: ordered_at, type: timestamp}]\n",
    );
    house.write("models/mart/sales.sql", "select 1 as id");
    house.write("data/1.csv", "order_id,product_id,status,email,amount,ordered_at\n1,1,open,a@b,10,2024-05-01 00:00:00\n1,1,x,c,20,2024-05-01 00:00:00\n");
    house.fails(3, &["sync"]);
    let (found, _) = judge(&house, &[]);
    let failed: Vec<&str> = found
        .iter()
        .filter(|one| one["verdict"] == "failed")
        .map(|one| one["check"].as_str().unwrap())
        .collect();
    assert_eq!(
        failed,
        [
            "row_count",
            "One line per order and product",
            "invalid_values_status",
            "invalid_values_email",
            "form_status",
            "primary_key",
            "sla_ordered_at"
        ]
    );
    let out = house.ok(&["export", "odcs", "shop_orders", "--output", "json"]);
    let out: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&out["slaProperties"][2]["property"], &out["team"]["members"][0]["username"]),
        (&"retention".into(), &"ada".into())
    );
    house.write("bad.yaml", "kind: DataContract\n");
    let complaint =
        house.fails(2, &["import", "odcs", house.dir().join("bad.yaml").to_str().unwrap()]);
    assert!(complaint.contains("apiVersion") && complaint.contains("bad.yaml"), "{complaint}");
}
