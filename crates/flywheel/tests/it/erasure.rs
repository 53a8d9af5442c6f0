//! Persons who are erased, by the binary: no byte of the project holds them any more, and they do not come back.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::house::House;

const PEOPLE: u64 = 60;
/// What the test gives and what leaves: not the project's own.
const NOT_OURS: [&str; 2] = ["data", "out"];

/// Sixteen bytes that stand nowhere by chance.
fn canary(letter: char, number: u64) -> String {
    format!("{letter}{:015x}", (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 4)
}

fn key(number: u64) -> String {
    canary('k', number)
}

fn mail(number: u64) -> String {
    format!("{}@example.org", canary('m', number))
}

fn customers(people: impl Iterator<Item = u64>) -> String {
    let rows = people.map(|n| format!("{},{},{}\n", key(n), mail(n), ["CN", "US"][n as usize % 2]));
    format!("customer_id,mail,country\n{}", rows.collect::<String>())
}

fn orders() -> String {
    let mut rows = String::from("order_id,customer_id,item,amount,at\n");
    for n in 0..PEOPLE {
        for step in 0..4 {
            let item = (n * 7 + step * 3) % 23;
            // The last order of every tenth cannot be read.
            let amount = if step == 3 && n % 10 == 3 { "many" } else { "12.50" };
            let day = 1 + (n + step) % 28;
            rows += &format!("{n}-{step},{},i{item},{amount},2024-04-{day:02} 10:00:00\n", key(n));
        }
    }
    rows
}

/// A shop that has landed, built, learned, decided and delivered.
fn shop() -> House {
    let house = House::new();
    house.write(
        "flywheel.yaml",
        "name: shop\nerasure:\n  keys:\n    raw.customers: [customer_id]\n    raw.orders: [customer_id]\n",
    );
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: files\nstreams:\n  - {stream: customers, options: {path: customers.csv}, read: full, write: replace}\n  - stream: orders\n    options: {path: orders.csv}\n    read: full\n    write: replace\n    columns: [{name: amount, type: 'decimal(12,2)'}]\n",
    );
    house.write("data/customers.csv", customers(0..PEOPLE));
    house.write("data/orders.csv", orders());
    let model = |name: &str, config: &str, sql: &str| {
        house.write(
            &format!("models/mart/{name}.sql"),
            format!("{{{{ config(materialized='{config}) }}}} {sql}\n"),
        );
    };
    model(
        "people",
        "table'",
        "select customer_id as person, mail, country from {{ source('raw', 'customers') }}",
    );
    // Nothing of it says whose the addresses are.
    model("mails", "table'", "select mail from {{ source('raw', 'customers') }}");
    model(
        "bought",
        "incremental', unique_key='order_id'",
        "select order_id, customer_id, amount from {{ source('raw', 'orders') }}",
    );
    house.write("learners/next.yaml", "learner: next\nrecommend:\n  interactions: select customer_id as user_id, item as item_id, at from {{ source('raw', 'orders') }}\n  algorithm: item-knn\n");
    house.write(
        "policies/offer.yaml",
        "policy: offer\naudience: select person as unit_id, mail from {{ ref('people') }}\nchoose: {candidates: [{name: reminder}, {name: discount}]}\nholdout: 20%\naction: letters\npayload: {to: $mail}\noutcome:\n  events: select order_id as event_id, customer_id as unit_id, amount as value, cast('2024-04-01' as timestamp) as at from {{ ref('bought') }}\n  window: 14d\n",
    );
    house.write(
        "actions/letters.yaml",
        "action: letters\ntype: file\noptions: {path: out/letters.jsonl}\n",
    );
    house.ok(&["turn"]);
    house
}

fn json(house: &House, arguments: &[&str]) -> Value {
    let all = [arguments, &["--output", "json"]].concat();
    serde_json::from_str(&house.ok(&all)).unwrap()
}

fn erase(house: &House, number: u64) -> Value {
    json(house, &["erase", "run", "--subject", &key(number), "--reason", "request 7-A"])
}

/// Every file below the project's folder that is the project's own.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let outside = NOT_OURS.iter().any(|name| path.file_name().unwrap() == *name);
        if path.is_dir() && !outside {
            files(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

fn stands_in(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// The bytes of a file, and of a Parquet file the values of its pages, too.
fn contents(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    if path.extension().is_some_and(|ending| ending == "parquet") {
        let rows = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
        let mut lines = arrow::json::LineDelimitedWriter::new(&mut bytes);
        for batch in rows.build().unwrap() {
            lines.write(&batch.unwrap()).unwrap();
        }
        lines.finish().unwrap();
    }
    bytes
}

/// The project's own files in which one of the persons stands: by the key, or by what only they have.
fn files_with(house: &House, people: &[u64]) -> Vec<String> {
    let mut all = Vec::new();
    files(&house.dir(), &mut all);
    let held = |path: &PathBuf| {
        let bytes = contents(path);
        people.iter().any(|n| stands_in(&bytes, &key(*n)) || stands_in(&bytes, &canary('m', *n)))
    };
    all.retain(held);
    all.iter().map(|path| path.display().to_string()).collect()
}

#[test]
fn no_byte_of_those_who_are_erased_is_left_and_they_do_not_come_back() {
    let house = shop();
    let (erased, kept) = ([3, 14, 27], [4, 13, 33]);
    let before = house.sql("select count(*), sum(propensity) from system.decisions");
    assert_eq!(house.cell("select count(*) from system.quarantine"), "6");
    let held = files_with(&house, &erased).len();
    assert!(held > 5, "they are in tables, logs, fits and the database: {held}");

    let plan = json(&house, &["erase", "plan", "--subject", &key(3)]);
    let rows = |place: &str| {
        let places = plan["places"].as_array().unwrap();
        let found = places.iter().find(|one| one["place"].as_str().unwrap().starts_with(place));
        found.and_then(|one| one["rows"].as_u64()).unwrap_or_default()
    };
    assert_eq!((rows("raw/customers"), rows("raw/orders")), (1, 3), "{plan}");
    assert_eq!((rows("mart/people"), rows("mart/bought"), rows("learn/next") > 0), (1, 3, true));
    assert_eq!((rows("system.decisions"), rows("system.quarantine")), (1, 1), "{plan}");
    let models = plan["models"].to_string();
    assert!(models.contains("mart.mails"), "{plan}");
    assert_eq!(plan["learners"], serde_json::json!(["next"]), "{plan}");
    let beyond = plan["beyond"].to_string();
    assert!(beyond.contains("data/customers.csv") && beyond.contains("backups"), "{plan}");
    assert!(beyond.contains("action letters"), "{plan}");
    assert_eq!(house.cell("select count(*) from raw.customers"), PEOPLE.to_string());
    assert_eq!(files_with(&house, &erased).len(), held, "a plan writes nothing");

    let mut tokens = Vec::new();
    for number in erased {
        let done = erase(&house, number);
        assert_eq!((&done["status"], &done["remains"]), (&"done".into(), &serde_json::json!([])));
        tokens.push(done["token"].as_str().unwrap().to_owned());
    }
    assert_eq!(files_with(&house, &erased), [""; 0], "nothing holds them any more");
    for number in kept {
        assert!(files_with(&house, &[number]).len() > 4, "the others are where they were");
    }
    // They still count as what they were, by a token.
    assert_eq!(house.sql("select count(*), sum(propensity) from system.decisions"), before);
    let units = format!(
        "select count(*), bool_and(features = '{{}}'), count(payload) from system.decisions where unit_id in ('{}')",
        tokens.join("','")
    );
    assert_eq!(house.sql(&units), ["3,true,0"]);
    let verified = json(&house, &["policy", "verify", "offer"]);
    assert_eq!((&verified["different_count"], &verified["unknown"]), (&0.into(), &3.into()));
    for table in ["mart.people", "mart.mails", "raw.customers"] {
        let count = format!("select count(*) from {table}");
        assert_eq!(house.cell(&count), (PEOPLE - 3).to_string(), "{table}");
    }
    let gone = house.fails(2, &["sql", "select * from raw.customers", "--at", "0"]);
    assert!(gone.contains("no longer kept"), "{gone}");
    assert_eq!(
        house.sql("select count(*), bool_and(status = 'done'), bool_and(kept_out), max(remaining) from system.erasures"),
        ["3,true,true,0"]
    );
    let audit =
        house.sql("select object from system.audit where what = 'person.erased' order by number");
    assert_eq!(audit, tokens);
    house.ok(&["audit", "verify"]);

    // The source brings them again, good rows and bad ones, with somebody new.
    house.write("data/customers.csv", customers(0..=PEOPLE));
    house.write(
        "data/orders.csv",
        orders() + &format!("x,{},i1,1.00,2024-05-01 10:00:00\n", key(60)),
    );
    house.ok(&["turn"]);
    assert_eq!(house.cell("select count(*) from raw.customers"), (PEOPLE + 1 - 3).to_string());
    let new = format!("select count(*) from mart.people where person = '{}'", key(60));
    assert_eq!(house.cell(&new), "1");
    assert_eq!(files_with(&house, &erased), [""; 0], "they do not come back");
    let counts = house.sql(
        "select name, rows_in, rows_out, detail from system.tasks where kind = 'sync' order by started_at desc, name limit 4",
    );
    assert!(counts.iter().any(|row| row.contains("\"\"filtered\"\":3")), "{counts:?}");

    // A person who agrees anew lands again.
    let again = house.run(&["erase", "allow", "--subject", &key(14)]);
    assert!(again.status.success());
    house.write("data/customers.csv", customers((0..=PEOPLE).rev()));
    house.ok(&["sync"]);
    assert_eq!(house.cell("select count(*) from raw.customers"), (PEOPLE + 1 - 2).to_string());
    assert!(house.ok(&["erase", "status"]).contains(&tokens[1]));
}

#[test]
fn an_erasure_that_is_killed_goes_on_by_the_same_command() {
    let house = shop();
    let subject = key(5);
    let arguments = ["erase", "run", "--subject", &subject, "--reason", "request 8"];
    for after in [60, 200, 500, 900, 1_500] {
        house.killed(&arguments, Duration::from_millis(after), || {});
    }
    let done = json(&house, &arguments);
    assert_eq!((&done["status"], &done["remains"]), (&"done".into(), &serde_json::json!([])));
    assert_eq!(files_with(&house, &[5]), [""; 0]);
    assert_eq!(house.cell("select count(*) from system.erasures"), "1");
    let token = done["token"].as_str().unwrap();
    let units = format!("select count(*) from system.decisions where unit_id = '{token}'");
    assert_eq!(house.cell(&units), "1");
    assert_eq!(house.cell("select count(*) from mart.people"), (PEOPLE - 1).to_string());
}

#[test]
fn what_cannot_be_erased_is_refused_or_named() {
    let house = shop();
    let run = |subject: &str, reason: &str| {
        house.fails(2, &["erase", "run", "--subject", subject, "--reason", reason])
    };
    assert!(run(&key(1), " ").contains("no reason"));
    assert!(run(&key(1), &format!("by {}", key(1))).contains("the reason has the key in it"));
    assert!(run("", "request 9").contains("no key of a person"));
    assert_eq!(house.cell("select count(*) from system.erasures"), "0");

    // A copy that nobody declared is named, before and after.
    house.ok(&[
        "sql",
        "create table raw.copy as select mail, customer_id as who from raw.customers",
    ]);
    let plan = json(&house, &["erase", "plan", "--subject", &key(1)]);
    assert!(plan["remains"].to_string().contains("raw.copy"), "{plan}");
    let output = house.run(&[
        "erase",
        "run",
        "--subject",
        &key(1),
        "--reason",
        "request 9",
        "--output",
        "json",
    ]);
    assert_eq!(output.status.code(), Some(1), "something remains");
    let done: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(done["status"], "incomplete", "{done}");
    assert!(done["remains"].to_string().contains("raw.copy"), "{done}");
    house.ok(&["sql", "drop table raw.copy"]);
    assert_eq!(erase(&house, 1)["status"], "done");

    let declared = |keys: &str| {
        house.write("flywheel.yaml", format!("name: shop\nerasure: {{{keys}}}\n"));
        house.fails(2, &["erase", "plan", "--subject", &key(1)])
    };
    let told = declared("keys: {raw.customer: [customer_id]}");
    assert!(told.contains("raw.customers") && told.contains("flywheel.yaml:2"), "{told}");
    assert!(declared("keys: {raw.customers: []}").contains("no column"));
    assert!(declared("keys: {raw.customers: [customerid]}").contains("customer_id"));
    assert!(declared("key: {}").contains("keys"));
    assert!(declared("keys: {}").contains("which columns hold keys"));
}
