//! Two CRMs made one, through the binary: what is merged, what is asked, and that all of it can be taken apart.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::house::House;
use crate::schedules::Owner;
use crate::served::Process;

const FIRST: [&str; 8] = ["Ann", "Bruno", "Clara", "Diego", "Elena", "Felix", "Greta", "Hugo"];
const LAST: [&str; 8] =
    ["Almeida", "Brandt", "Costa", "Dvorak", "Eriksen", "Fontaine", "Gruber", "Hansen"];

/// People that both systems have under one e-mail address.
const SURE: usize = 24;
/// People after them that both have, without the address and with a slip of the hand in the south.
const UNSURE: usize = 6;
/// People after them that only one of both has, each.
const ALONE: usize = 14;
/// Rows of the south that cannot be taken: one without a key, and two with one key.
const ASIDE: usize = 3;

const MERGE: &str = "merge: customers
description: North and south are one company now.
target: crm.customers
key: customer_id
sources:
  - {name: north, table: raw.north_customers, key: id, changed_at: changed}
  - {name: south, table: raw.south_people, key: number, changed_at: at}
fields:
  - {name: name, from: {south: full_name}, keep: longest}
  - {name: email, from: {south: mail}, clean: email}
  - {name: city, keep: {prefer: {source: south}}}
  - {name: tags, keep: {union: {separator: \";\"}}}
  - {name: consent, keep: {most-restrictive: {order: [\"no\", \"yes\"]}}}
  - {name: score, keep: max}
  - {name: grade, keep: latest}
  - {name: note, keep: {expression: {sql: \"concat(south, '/', north)\"}}}
  - {name: vat, only: north}
match:
  exact: [{email: email}]
  alike:
    parts:
      - {field: name, measure: name, weight: 2, at_least: 80%}
      - {field: city, measure: text}
    link: 100%
    review: 70%
children:
  - name: orders
    target: crm.orders
    key: id
    references: {customer: customers}
    tables:
      - {source: north, table: raw.north_orders}
      - {source: south, table: raw.south_orders, rename: {number: id, client: customer}}
  - name: lines
    target: crm.lines
    references: {order: orders}
    tables:
      - {source: north, table: raw.north_lines}
";

fn name(person: usize) -> String {
    format!("{} {}", FIRST[person / 8], LAST[person % 8])
}

/// A name with two letters of its last word the other way round.
fn slipped(person: usize) -> String {
    let name = name(person);
    let at = name.find(' ').unwrap() + 2;
    let (head, tail) = name.split_at(at);
    let mut letters: Vec<char> = tail.chars().collect();
    letters.swap(0, 1);
    format!("{head}{}", letters.into_iter().collect::<String>())
}

/// Two systems that share some people, each by numbers of its own, and the truth about them.
fn two_crms() -> House {
    let house = House::new();
    let mut north = "id,name,email,city,tags,consent,score,grade,note,vat,changed\n".to_owned();
    let mut south = "number,full_name,mail,city,tags,consent,score,grade,note,at\n".to_owned();
    let mut truth = "source,source_key,entity\n".to_owned();
    let both = SURE + UNSURE;
    for person in 0..both + ALONE {
        let (id, called) = (100 + person, name(person));
        writeln!(
            north,
            "{id},{called},p{person}@x.cn,City{person},a;b,yes,{person},old,n{person},V{id},2024-01-01T00:00:00Z"
        )
        .unwrap();
        writeln!(truth, "north,{id},{person}").unwrap();
    }
    for person in (0..both).chain(both + ALONE..both + 2 * ALONE) {
        let id = 500 + person;
        let (called, mail) = match person {
            person if person < SURE => (name(person), format!("P{person}@X.cn")),
            person if person < both => (slipped(person), String::new()),
            person => (name(person), format!("p{person}@x.cn")),
        };
        // Every fourth of those that are surely the same has moved.
        let moved = person < SURE && person.is_multiple_of(4);
        let city = if moved { format!("Town{person}") } else { format!("City{person}") };
        writeln!(
            south,
            "{id},{called},{mail},{city},b;c,no,{},new,s{person},2024-06-01T00:00:00Z",
            person + 1
        )
        .unwrap();
        writeln!(truth, "south,{id},{person}").unwrap();
    }
    south.push_str(",Nobody,none@x.cn,Nowhere,,no,1,new,,2024-06-01T00:00:00Z\n");
    south.push_str("990,Twice,twice@x.cn,Nowhere,,no,1,new,,2024-06-01T00:00:00Z\n");
    south.push_str("990,Twice,other@x.cn,Nowhere,,no,1,new,,2024-06-01T00:00:00Z\n");
    house
        .write("data/north_customers.csv", north)
        .write("data/south_people.csv", south)
        .write("data/truth.csv", truth)
        .write("data/north_orders.csv", "id,customer,amount\n1,100,10\n2,140,20\n3,777,30\n")
        .write("data/south_orders.csv", "number,client,amount\n1,500,40\n2,525,50\n")
        .write("data/north_lines.csv", "order,sku\n1,x\n1,y\n")
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    let mut sync = "sync: crms\nconnection: files\nstreams:\n".to_owned();
    for table in
        ["north_customers", "south_people", "truth", "north_orders", "south_orders", "north_lines"]
    {
        writeln!(
            sync,
            "  - {{stream: {table}, options: {{path: {table}.csv, delimiter: \",\"}}, read: full, write: replace}}"
        )
        .unwrap();
    }
    house.write("syncs/crms.yaml", sync);
    house.write("merges/customers.yaml", MERGE);
    house.ok(&["check"]);
    house.ok(&["sync"]);
    house
}

fn report(house: &House, arguments: &[&str]) -> Value {
    let mut all = vec!["merge"];
    all.extend(arguments);
    all.extend(["--output", "json"]);
    serde_json::from_str(&house.ok(&all)).unwrap()
}

fn run(house: &House) -> Value {
    report(house, &["run", "customers"])
}

/// The tables that a run wrote.
fn written(report: &Value) -> Vec<&str> {
    let tables = report["tables"].as_array().unwrap().iter();
    tables.filter(|one| one["stood"] == false).map(|one| one["table"].as_str().unwrap()).collect()
}

/// What is merged, without the moments at which it was.
fn state(house: &House) -> Vec<String> {
    let mut all = house.sql(
        "select source, source_key, merged_key, status from crm.customers_crosswalk \
         where \"until\" is null order by 1, 2, 4",
    );
    all.extend(house.sql("select * from crm.customers order by customer_id"));
    all.extend(house.sql("select id, customer, amount from crm.orders order by id"));
    all
}

#[test]
fn sure_pairs_become_one_record_unsure_ones_wait_and_values_are_kept_as_declared() {
    let house = two_crms();
    let planned = report(&house, &["plan", "customers", "--truth", "raw.truth"]);
    assert_eq!(house.cell("select count(*) from system.tables where name like 'crm.%'"), "0");
    let rows = 2 * (SURE + UNSURE + ALONE) + ASIDE;
    assert_eq!(planned["rows_in"], rows, "{planned}");
    assert_eq!(planned["rules"], json!([{"rule": "the same email", "pairs": SURE}]), "{planned}");
    assert_eq!((&planned["groups"], &planned["questions"]), (&json!(SURE), &json!(UNSURE)));
    assert_eq!(planned["conflicts"]["city"], SURE / 4, "{planned}");
    assert_eq!(planned["examples"][0]["records"], json!(["north:100", "south:500"]));
    assert_eq!(planned["truth"]["precision"], 1.0, "{planned}");
    assert_eq!(planned["truth"]["recall"], SURE as f64 / (SURE + UNSURE) as f64, "{planned}");
    assert_eq!(planned["truth"]["asked"], UNSURE, "{planned}");

    let ran = run(&house);
    let records = rows - ASIDE - SURE;
    assert_eq!(
        (&ran["records"], &ran["merged"], &ran["aside"], &ran["balance"]),
        (&json!(records), &json!(SURE), &json!(ASIDE), &json!("balanced"))
    );
    assert_eq!(house.cell("select count(*) from crm.customers"), records.to_string());
    let told = house.cell(
        "select rows_in, rows_out, rows_rejected, detail from system.tasks where kind = 'merge'",
    );
    assert!(told.starts_with(&format!("{rows},{records},{ASIDE},")), "{told}");
    assert!(told.contains("balanced") && !told.contains("x.cn"), "no value of a row: {told}");

    let ann = "select name, email, city, tags, consent, score, grade, note, vat, merged_records \
               from crm.customers where customer_id = 'north:100'";
    assert_eq!(
        house.sql(ann),
        ["Ann Almeida,p0@x.cn,Town0,a;b;c,no,1,new,s0/n0,V100,2"],
        "each value as its rule says"
    );
    assert_eq!(
        house.sql("select city, score, vat, merged_records from crm.customers where customer_id = 'south:545'"),
        ["City45,46,,1"],
        "who is alone stays as it is"
    );
    assert_eq!(
        house.sql("select source_key, why from crm.customers_crosswalk where status = 'aside' order by 1, 2"),
        [
            "990,\"its \"\"number\"\" is that of other rows, too\"",
            "990,\"its \"\"number\"\" is that of other rows, too\"",
            ",\"no value in \"\"number\"\"\""
        ]
    );
    // Children follow their customers and keep what led nowhere apart from other systems' keys.
    assert_eq!(
        house.sql("select id, customer, amount from crm.orders order by id"),
        [
            "north:1,north:100,10",
            "north:2,north:140,20",
            "north:3,north:777,30",
            "south:1,north:100,40",
            "south:2,south:525,50"
        ]
    );
    assert_eq!(
        house.sql("select \"order\", sku from crm.lines order by sku"),
        ["north:1,x", "north:1,y"]
    );
    assert_eq!(ran["children"][0]["repointed"], 1, "{ran}");
    assert_eq!(ran["children"][0]["dangling"], 1, "{ran}");
    let told = house.sql(
        "select who, before, after from crm.customers_merges where action = 'merged' and merged_key = 'north:100'",
    );
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("City0") && told[0].contains("Town0"), "{told:?}");

    let before = state(&house);
    let versions = "select name, version from system.tables where name like 'crm.%' order by name";
    let stands = house.sql(versions);
    let again = run(&house);
    assert_eq!(written(&again), [""; 0], "a further run writes nothing");
    assert_eq!(house.sql(versions), stands);
    assert_eq!(state(&house), before);
}

#[test]
fn a_person_says_which_are_the_same_and_is_not_asked_again() {
    let house = two_crms();
    run(&house);
    let shown = house.ok(&["merge", "review", "customers"]);
    assert!(shown.contains("north:124") && shown.contains("south:524"), "{shown}");
    let id = |key: &str| {
        house.cell(&format!(
            "select pair_id from crm.customers_review where \"open\" and a_key = '{key}'"
        ))
    };
    let (yes, no) = (id("124"), id("125"));
    let complaint = house.fails(2, &["merge", "answer", "customers", &yes, "perhaps"]);
    assert!(complaint.contains("same or different"), "{complaint}");
    let complaint = house.fails(2, &["merge", "answer", "customers", "nonsense", "same"]);
    assert!(complaint.contains("has no pair \"nonsense\""), "{complaint}");
    house.ok(&["merge", "answer", "customers", &yes, "same"]);
    house.ok(&["merge", "answer", "customers", &no, "different"]);
    let ran = run(&house);
    assert_eq!(
        (&ran["groups"], &ran["questions"], &ran["answered"]),
        (&json!(SURE + 1), &json!(UNSURE - 2), &json!(2))
    );
    let keys = "select merged_key from crm.customers_crosswalk where \"until\" is null \
                and source = 'south' and source_key in ('524', '525') order by source_key";
    assert_eq!(house.sql(keys), ["north:124", "south:525"]);
    assert_eq!(written(&run(&house)), [""; 0]);
    let decided = house.ok(&["merge", "review", "customers", "--decided"]);
    assert!(decided.contains("different") && !decided.contains("north:126"), "{decided}");

    // What was said can be taken back: then it is asked once more.
    house.ok(&["merge", "answer", "customers", &no, "ask"]);
    assert_eq!(run(&house)["questions"], UNSURE - 1);
    let told = house.sql("select action from crm.customers_merges where run_id = '' order by at");
    assert_eq!(told.len(), 3, "{told:?}");
}

#[test]
fn what_is_undone_is_as_it_was_and_is_not_merged_again() {
    let house = two_crms();
    run(&house);
    let complaint = house.fails(2, &["merge", "undo", "customers", "--record", "north:10"]);
    assert!(
        complaint.contains("no merged record") && complaint.contains("Did you mean"),
        "{complaint}"
    );
    house.fails(2, &["merge", "undo", "customers"]);

    let undone = report(&house, &["undo", "customers", "--record", "north:100"]);
    assert_eq!((&undone["undone"], &undone["groups"]), (&json!(1), &json!(SURE - 1)));
    let two = "select customer_id, name, city, tags, consent, score, note from crm.customers \
               where customer_id in ('north:100', 'south:500') order by 1";
    let apart =
        ["north:100,Ann Almeida,City0,a;b,yes,0,n0", "south:500,Ann Almeida,Town0,b;c,no,1,s0"];
    assert_eq!(house.sql(two), apart);
    assert_eq!(
        house.sql("select customer from crm.orders where id = 'south:1'"),
        ["south:500"],
        "its orders are led back"
    );
    let history = "select merged_key, status, \"until\" is null from crm.customers_crosswalk \
                   where source = 'south' and source_key = '500' order by since, status desc";
    assert_eq!(house.sql(history), ["north:100,merged,false", "south:500,alone,true"]);
    assert_eq!(written(&run(&house)), [""; 0]);
    assert_eq!(house.sql(two), apart, "they are not merged again");
    let actions = "select action, count(*) from crm.customers_merges where merged_key = 'north:100' group by 1 order by 1";
    assert_eq!(house.sql(actions), ["merged,1", "taken-apart,1"]);

    // All of them: what stands is what the systems hold, row by row.
    let undone = report(&house, &["undo", "customers", "--all"]);
    assert_eq!((&undone["undone"], &undone["groups"]), (&json!(SURE - 1), &json!(0)));
    let merged = "select customer_id, name, city, tags, consent, score, grade, note from crm.customers order by 1";
    let sources = "select * from (select concat('north:', cast(id as text)) as k, name, city, tags, consent, score, grade, note \
                   from raw.north_customers union all \
                   select concat('south:', cast(number as text)), full_name, city, tags, consent, score, grade, note \
                   from raw.south_people where number is not null and number <> 990) t order by 1";
    assert_eq!(house.sql(merged), house.sql(sources));

    // A row that is taken out of its record, and put back by what a person says.
    let pair = house
        .cell("select pair_id from crm.customers_review where a_key = '101' and b_key = '501'");
    house.ok(&["merge", "answer", "customers", &pair, "same"]);
    assert_eq!(run(&house)["groups"], 1);
    assert_eq!(report(&house, &["undo", "customers", "--record", "south:501"])["groups"], 0);
}

#[test]
fn a_run_that_is_killed_anywhere_is_completed_by_the_next_and_tells_each_thing_once() {
    let whole = two_crms();
    run(&whole);
    let house = two_crms();
    for after in [40, 80, 120, 160, 200, 260] {
        house.killed(&["merge", "run", "customers"], Duration::from_millis(after), || {});
    }
    run(&house);
    assert_eq!(state(&house), state(&whole));
    let told = "select count(*), count(distinct event_id) from crm.customers_merges";
    assert_eq!(house.sql(told), whole.sql(told));
    assert_eq!(house.sql(told), [format!("{SURE},{SURE}")]);

    // Between two tables: the merged one is written, the crosswalk is not.
    let crosswalk = house.path(".flywheel/lake/crm/customers_crosswalk");
    let kept = house.path("kept");
    copy(&crosswalk, &kept);
    let more = house.read("data/south_people.csv").replace("p45@x.cn", "p40@x.cn");
    house.write("data/south_people.csv", more);
    house.ok(&["sync"]);
    run(&house);
    let (after, version) =
        (state(&house), "select version from system.tables where name = 'crm.customers'");
    let (events, stands) = (house.sql(told), house.cell(version));
    fs::remove_dir_all(&crosswalk).unwrap();
    copy(&kept, &crosswalk);
    let ran = run(&house);
    assert_eq!(written(&ran), ["crm.customers_crosswalk"], "{ran}");
    assert_eq!(state(&house), after);
    assert_eq!(
        (house.sql(told), house.cell(version)),
        (events, stands),
        "nothing is told or done twice"
    );
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn keys_stay_and_what_changes_at_a_source_reaches_the_merged_record() {
    let house = two_crms();
    run(&house);
    // The record that gave the key is gone from the north; the one in the south has moved.
    let north = house.read("data/north_customers.csv");
    let north: Vec<&str> = north.lines().filter(|line| !line.starts_with("101,")).collect();
    house.write("data/north_customers.csv", north.join("\n") + "\n");
    let south = house.read("data/south_people.csv").replace("Town0", "Harbour");
    house.write("data/south_people.csv", south);
    house.ok(&["sync"]);
    let ran = run(&house);
    assert_eq!(ran["groups"], SURE - 1, "{ran}");
    let left = "select customer_id, city, merged_records from crm.customers \
                where customer_id in ('north:100', 'north:101') order by 1";
    assert_eq!(house.sql(left), ["north:100,Harbour,2", "north:101,City1,1"]);
    let changed = "select merged_key, before like '%Town0%', after like '%Harbour%' \
                   from crm.customers_merges where action = 'changed'";
    assert_eq!(house.sql(changed), ["north:100,true,true"]);
}

#[test]
fn a_merge_follows_the_keys_of_another_one() {
    let house = two_crms();
    house.write(
        "merges/deals.yaml",
        "merge: deals
target: crm.deals
sources:
  - {name: north, table: raw.north_orders, key: id}
  - {name: south, table: raw.south_orders, key: number}
fields:
  - {name: customer, from: {south: client}, refers_to: customers}
  - {name: amount}
match: {exact: [{fields: [customer, amount]}]}
",
    );
    house.ok(&["check"]);
    let complaint = house.fails(3, &["merge", "run", "deals"]);
    assert!(complaint.contains("flywheel merge run customers"), "{complaint}");
    run(&house);
    report(&house, &["run", "deals"]);
    assert_eq!(
        house.sql(
            "select merged_key, customer from crm.deals where customer = 'north:100' order by 1"
        ),
        ["north:1,north:100", "south:1,north:100"]
    );
}

#[test]
fn nobody_sees_by_a_merge_what_a_rule_hides_not_even_when_its_file_is_gone() {
    let house = two_crms();
    house.write(
        "flywheel.yaml",
        "name: shop\ngroups:\n  staff: {users: [kim], attributes: {region: north}}\n",
    );
    house.write(
        "access/people.yaml",
        "rule: people\ntables: [raw.north_customers]\nask: privacy@shop.example\nreaders:\n  - roles: [owner]\n  \
         - groups: [staff]\n    rows: city = 'City1'\n",
    );
    house.ok(&["check"]);
    run(&house);
    let tables =
        ["customers", "customers_crosswalk", "customers_review", "customers_merges", "orders"];
    let refused = |house: &House| {
        for table in tables {
            let sql = format!("select * from crm.{table}");
            let complaint = house.fails(2, &["sql", &sql, "--as", "kim"]);
            assert!(complaint.contains("is made of raw.north_customers"), "{table}: {complaint}");
        }
    };
    refused(&house);
    let complaint = house.fails(2, &["sql", "delete from crm.customers"]);
    assert!(complaint.contains("is made by the merge \"customers\""), "{complaint}");
    fs::remove_file(house.path("merges/customers.yaml")).unwrap();
    refused(&house);
}

#[test]
fn rows_of_others_are_not_replaced_unless_it_is_said() {
    let house = two_crms();
    let merge = house.read("merges/customers.yaml");
    fs::remove_file(house.path("merges/customers.yaml")).unwrap();
    house.ok(&["sql", "create schema crm"]);
    for table in ["customers", "customers_crosswalk", "customers_review", "customers_merges"] {
        house.ok(&["sql", &format!("create table crm.{table} as select 1 as mine")]);
    }
    house.write("merges/customers.yaml", merge);
    let complaint = house.run(&["merge", "run", "customers"]);
    assert_eq!(complaint.status.code(), Some(3));
    let complaint = String::from_utf8_lossy(&complaint.stderr).into_owned();
    assert!(
        complaint.contains("crm.customers") && complaint.contains("--overwrite"),
        "{complaint}"
    );
    for table in ["customers", "customers_crosswalk", "customers_review", "customers_merges"] {
        assert_eq!(house.cell(&format!("select mine from crm.{table}")), "1");
    }
    report(&house, &["run", "customers", "--overwrite"]);
    assert_ne!(house.cell("select count(*) from crm.customers"), "1");
    let told = "select count(*) from crm.customers_merges where action = 'merged'";
    assert_eq!(house.cell(told), SURE.to_string());
    assert!(written(&run(&house)).is_empty());
}

#[test]
fn a_table_that_somebody_edited_is_written_again_with_the_declared_columns() {
    let house = two_crms();
    run(&house);
    let before = state(&house);
    let merge = house.read("merges/customers.yaml");
    fs::remove_file(house.path("merges/customers.yaml")).unwrap();
    house.ok(&["sql", "delete from crm.customers where merged_records > 1"]);
    house.write("merges/customers.yaml", &merge);
    assert_ne!(state(&house), before);
    assert_eq!(written(&run(&house)), ["crm.customers"]);
    assert_eq!(state(&house), before);
    assert!(written(&run(&house)).is_empty());

    house.ok(&["sql", "select vat from crm.customers"]);
    let line = "  - {name: vat, only: north}\n";
    assert!(merge.contains(line));
    house.write("merges/customers.yaml", merge.replace(line, ""));
    run(&house);
    let complaint = house.fails(2, &["sql", "select vat from crm.customers"]);
    assert!(complaint.contains("vat"), "{complaint}");
}

#[test]
fn a_bad_declaration_is_explained_with_its_place() {
    let house = two_crms();
    let good = house.read("merges/customers.yaml");
    for (from, to, said, hint) in [
        (
            "target: crm.customers",
            "target: customers",
            "is not the name of a table",
            "schema.table",
        ),
        ("target: crm.orders", "target: raw.orders", "schema \"raw\"", "Choose another schema"),
        ("target: crm.orders", "target: crm.customers", "made already", "another `target`"),
        ("only: north", "only: nort", "\"nort\", which is no source", "north"),
        ("source: south}}", "source: suoth}}", "\"suoth\"", "south"),
        ("{email: email}]", "{email: mail}]", "\"mail\", which is no field", "email"),
        ("field: city", "field: town", "\"town\", which is no field", "of the merge"),
        ("review: 70%", "review: 0%", "less likeness", "review: 80%"),
        ("key: number, changed_at: at", "key: number", "no changed_at", "last change"),
        ("customer: customers", "customer: custmers", "unknown \"custmers\"", "customers"),
        ("order: orders", "order: lines", "has no key", "key: order_id"),
        ("[\"no\", \"yes\"]", "[]", "fewer than two", "allows least first"),
        ("{name: score, keep: max}", "{name: score, keep: maximum}", "maximum", "max"),
        ("{name: vat, only: north}", "{name: merged_records}", "the merge adds", "Rename"),
        ("clean: email", "clean: emial", "emial", "email"),
        (
            "source: north, table: raw.north_lines",
            "source: nroth, table: raw.north_lines",
            "\"nroth\"",
            "north",
        ),
    ] {
        assert!(good.contains(from), "{from}");
        house.write("merges/customers.yaml", good.replace(from, to));
        let complaint = house.fails(2, &["check"]);
        assert!(complaint.contains(said) && complaint.contains(hint), "{to}: {complaint}");
        assert!(complaint.contains("merges/customers.yaml:"), "{to}: {complaint}");
    }
    house.write(
        "merges/customers.yaml",
        good.replace("key: id, changed_at", "key: idd, changed_at"),
    );
    let complaint = house.fails(2, &["merge", "plan", "customers"]);
    assert!(complaint.contains("no column \"idd\"") && complaint.contains("\"id\""), "{complaint}");
    let complaint = house.fails(2, &["merge", "plan", "custmers"]);
    assert!(complaint.contains("Did you mean \"customers\""), "{complaint}");
}

#[test]
fn a_server_plans_runs_asks_and_takes_apart() {
    let house = two_crms();
    let server = Process::start(&house);
    let owner = Owner { session: server.owner(), server: &server };
    assert_eq!(owner.get("/v1/merges/customers/questions")["items"], json!([]));
    let planned = owner.done("/v1/merges/customers/run", &json!({"plan": true}));
    assert_eq!((&planned["kind"], &planned["status"]), (&json!("merge plan"), &json!("succeeded")));
    let shown = owner.get("/v1/merges/customers");
    assert_eq!(shown["plan"]["detail"]["groups"], SURE, "{shown}");
    assert_eq!(shown["last"], Value::Null, "{shown}");
    let ran = owner.done("/v1/merges/customers/run", &json!({}));
    assert_eq!(ran["status"], "succeeded", "{ran}");
    let listed = owner.get("/v1/merges");
    assert_eq!(listed["items"][0]["last"]["detail"]["balance"], "balanced", "{listed}");

    let asked = owner.get("/v1/merges/customers/questions");
    assert_eq!(asked["items"].as_array().unwrap().len(), UNSURE, "{asked}");
    let pair = &asked["items"][0];
    assert!(pair["a"]["name"].is_string() && pair["b"]["name"].is_string(), "{asked}");
    let say = |body: Value| owner.ask("POST", "/v1/merges/customers/answer", &body);
    let id = &pair["pair_id"];
    assert_eq!(say(json!({"id": "nonsense", "answer": "same"})).0, 404);
    assert_eq!(say(json!({"id": id, "answer": "perhaps"})).0, 400);
    assert_eq!(say(json!({"id": id, "answer": "same"})).0, 200);
    let ran = owner.done("/v1/merges/customers/run", &json!({}));
    assert_eq!(ran["status"], "succeeded", "{ran}");
    assert_eq!(owner.get("/v1/merges/customers")["last"]["detail"]["groups"], SURE + 1);

    let undo = |body: Value| owner.ask("POST", "/v1/merges/customers/undo", &body);
    assert_eq!(undo(json!({})).0, 400);
    assert_eq!(undo(json!({"all": true, "record": "north:100"})).0, 400);
    let undone = owner.done("/v1/merges/customers/undo", &json!({"record": "north:100"}));
    assert_eq!(undone["status"], "succeeded", "{undone}");
    let shown = owner.get("/v1/merges/customers");
    assert_eq!(shown["last"]["detail"]["groups"], SURE, "{shown}");
    assert_eq!(shown["last"]["detail"]["undone"], 1, "{shown}");
    let who = "select distinct who from crm.customers_merges where action = 'taken-apart'";
    drop(owner);
    drop(server);
    assert!(!house.cell(who).is_empty());
}

#[test]
fn a_merge_whose_rows_do_not_fit_into_its_memory_ends_before_anything_is_written() {
    let house = two_crms();
    house.write("merges/customers.yaml", format!("{MERGE}memory: 1KiB\n"));
    let complaint = house.fails(1, &["merge", "run", "customers"]);
    assert!(complaint.contains("take more than 1 KiB"), "{complaint}");
    assert!(complaint.contains("source \"north\", raw.north_customers"), "{complaint}");
    assert!(complaint.contains("raise `memory`"), "{complaint}");
    assert_eq!(house.cell("select count(*) from system.tables where name like 'crm.%'"), "0");
    house.write("merges/customers.yaml", format!("{MERGE}memory: 1MiB\n"));
    assert_eq!(run(&house)["groups"], json!(SURE));
}
