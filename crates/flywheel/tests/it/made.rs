//! Columns made by SQL and rows left out, on their way in and out.

use crate::house::House;

const CUSTOMERS: &str = "id,First,last,country,status,spent
1,Li,Wang,中国,active,100
2,Ann,Smith,US,active,20
3,Yu,Chen,China,test,7
4,Bo,Zhao,CN,active,many
5,Mei,Sun,CN,,9
6,Jun,Hu,cn,active,3
7,Jo,Doe,US,active,many
";

fn house() -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write("data/customers.csv", CUSTOMERS);
    house.write(
        "syncs/crm.yaml",
        "sync: crm
connection: files
streams:
  - stream: customers
    options: {path: customers.csv}
    only: country = 'CN' and status <> 'test'
    drop: [First, last, status, spent]
    columns:
      - {name: country, clean: country}
      - {name: full_name, value: \"concat(last, ' ', \\\"First\\\")\"}
      - {name: cents, value: \"cast(spent as int) * 100\", type: int64, required: true}
      - {name: secret, value: full_name, mask: \"partial(2)\"}
",
    );
    house
}

#[test]
fn columns_are_made_rows_are_left_out_and_every_row_is_accounted_for() {
    let house = house();
    let told = house.ok(&["sync"]);
    assert!(told.contains("filtered"), "{told}");
    assert_eq!(
        house.sql("select id, country, full_name, cents from raw.customers order by id"),
        ["1,CN,Wang Li,10000", "5,CN,Sun Mei,900", "6,CN,Hu Jun,300"]
    );
    let secrets = house.sql("select secret from raw.customers");
    assert!(secrets.iter().all(|secret| secret.contains('*')), "{secrets:?}");
    // Customer 4 spent "many"; customer 7 did as well, but is not asked for.
    let aside = "select line, \"column\", code from system.quarantine";
    assert_eq!(house.sql(aside), ["5,cents,no-value"]);
    let counts =
        "select rows_in, rows_out, rows_rejected, detail from system.tasks where kind = 'sync'";
    let row = house.cell(counts);
    assert!(row.starts_with("7,3,1,") && row.contains("\"\"filtered\"\":3"), "{row}");
}

#[test]
fn the_mask_null_hides_a_column_also_without_quotes() {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write("data/people.csv", "id,ssn,born,name,town\n1,471-11,1980-02-29,Ada,Ulm\n");
    house.write(
        "syncs/people.yaml",
        "sync: people
connection: files
streams:
  - stream: people
    options: {path: people.csv}
    columns:
      - {name: ssn, type: text, mask: null}
      - {name: born, type: date, mask: ~}
      - {name: name, type: text, mask: \"null\"}
      - {name: town, type: text}
",
    );
    house.ok(&["sync"]);
    assert_eq!(house.sql("select id, ssn, born, name, town from raw.people"), ["1,,,,Ulm"]);
    // The other setting whose word is `null` is one as well.
    house.write(
        "connections/books.yaml",
        "connection: books\ntype: excel\noptions: {folder: data}\n",
    );
    house.write(
        "syncs/books.yaml",
        "sync: books\nconnection: books\nstreams:\n  - {stream: b, options: {path: b.xlsx, cell_errors: null}}\n",
    );
    house.ok(&["check"]);
}

#[test]
fn columns_of_a_file_without_header_are_taken_from_their_place() {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write("data/people.txt", "Ada|1|x\nBo|2|y\n");
    house.write(
        "syncs/people.yaml",
        "sync: people
connection: files
streams:
  - stream: people
    options: {path: people.txt, delimiter: '|', header: false}
    keep: declared
    columns:
      - {name: id, from: column_2, type: int64}
      - {name: note, from: column_3, type: text}
      - {name: name, from: column_1, type: text}
",
    );
    house.ok(&["sync"]);
    let rows = "select id, name, note from raw.people order by id";
    assert_eq!(house.sql(rows), ["1,Ada,x", "2,Bo,y"]);
}

#[test]
fn a_masked_column_of_a_file_without_header_never_lands_under_another_name() {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write("data/people.csv", "Ada,471-11\nBo,471-12\n");
    let sync = "sync: people
connection: files
streams:
  - stream: people
    options: {path: people.csv, header: false}
    columns:
      - {name: who, mask: redact}
      - {name: note, type: text}
";
    house.write("syncs/people.yaml", sync);
    let said = house.fails(2, &["sync"]);
    assert!(said.contains("\"who\"") && said.contains("type"), "{said}");
    // Nor where more columns are declared than there are, or where it is dropped by that name.
    let note = "      - {name: note, type: text}\n";
    let more = sync.replace(note, &format!("{note}      - {{name: more, type: text}}\n"));
    let dropped = sync.replace("      - {name: who, mask: redact}\n", "");
    for hidden in [more, dropped.replace("    columns:", "    drop: [who]\n    columns:")] {
        house.write("syncs/people.yaml", hidden);
        let said = house.fails(2, &["sync"]);
        assert!(said.contains("\"who\""), "{said}");
    }
    house.write("syncs/people.yaml", sync.replace("mask: redact", "type: text, mask: redact"));
    house.ok(&["sync"]);
    let rows = "select who, note from raw.people order by note";
    assert_eq!(house.sql(rows), ["***,471-11", "***,471-12"]);
}

#[test]
fn amounts_as_people_write_them_land_and_the_row_of_totals_does_not() {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "data/sales.csv",
        "id,amount,day\n00123,\"1,234.50\",2024-01-05\n00124,¥88,05/01/2024\n00125,(7.00),6.1.2024\n\
         00126,\"1,234\",2024/1/6\n合计,\"2,549.50\",\n",
    );
    let sync = "sync: sales
connection: files
streams:
  - stream: sales
    options: {path: sales.csv}
    only: id <> '合计'
    columns:
      - {name: id, type: text}
      - {name: amount, type: \"decimal(12,2)\", clean: number}
      - {name: day, type: date, clean: date(dmy)}
";
    house.write("syncs/sales.yaml", sync);
    house.ok(&["sync"]);
    let rows = "select id, amount, day from raw.sales order by id";
    assert_eq!(
        house.sql(rows),
        ["00123,1234.50,2024-01-05", "00124,88.00,2024-01-05", "00125,-7.00,2024-01-06"]
    );
    // 1,234 has two readings until it is said which one is meant.
    let aside = "select line, \"column\", code from system.quarantine";
    assert_eq!(house.sql(aside), ["5,amount,number-ambiguous"]);
    house.write("syncs/sales.yaml", sync.replace("clean: number", "clean: number(point)"));
    house.ok(&["quarantine", "replay"]);
    assert_eq!(house.sql(rows).last().map(String::as_str), Some("00126,1234.00,2024-01-06"));
}

#[test]
fn files_that_stand_still_land_again_only_when_their_stream_is_declared_otherwise() {
    let house = house();
    house.ok(&["sync"]);
    let version = || house.cell("select version from system.tables where name = 'raw.customers'");
    let first = version();
    house.ok(&["sync"]);
    assert_eq!(version(), first, "nothing is new");
    let sync = house.read("syncs/crm.yaml");
    // Where a stream stands in its file says nothing of its rows.
    house.write("syncs/crm.yaml", format!("# Customers of the CRM.\n{sync}"));
    house.ok(&["sync"]);
    assert_eq!(version(), first, "nothing is declared otherwise");
    house.write("syncs/crm.yaml", sync.replace("value: full_name", "value: upper(full_name)"));
    house.ok(&["sync"]);
    let second = version();
    assert_ne!(second, first);
    house.ok(&["sync", "crm", "--restart"]);
    assert_ne!(version(), second, "asked for");
}

#[test]
fn a_full_read_of_a_database_lands_no_row_once_its_condition_lets_none_through() {
    let house = House::new();
    let database = rusqlite::Connection::open(house.path("shop.db")).unwrap();
    database
        .execute_batch(
            "create table t (id integer primary key, n int); insert into t values (1, 5), (2, 6)",
        )
        .unwrap();
    house.write(
        "connections/shop.yaml",
        "connection: shop\ntype: sqlite\noptions: {path: shop.db}\n",
    );
    let sync = "sync: s\nconnection: shop\nstreams:\n  - {stream: t, options: {table: t}, read: full, write: replace}\n";
    house.write("syncs/s.yaml", sync);
    house.ok(&["sync"]);
    assert_eq!(house.sql("select count(*) from raw.t"), ["2"]);
    house.write("syncs/s.yaml", sync.replace("read: full", "only: n > 100, read: full"));
    house.ok(&["sync"]);
    assert_eq!(house.sql("select count(*) from raw.t"), ["0"]);
}

#[test]
fn a_replacement_that_broke_off_goes_on_only_behind_rows_of_its_declaration_and_its_file() {
    // A commit of a destination has 100,000 rows: the first ones are staged when the read breaks off.
    let rows = |first: &str, bad: &str| {
        let mut text = "id\n".to_owned();
        for id in 0..130_000 {
            match id {
                0 => text.push_str(first),
                120_000 => text.push_str(bad),
                _ => text.push_str(&id.to_string()),
            }
            text.push('\n');
        }
        text
    };
    for meanwhile in ["declared otherwise", "asked to begin anew", "changed where it was read"] {
        let house = House::new();
        house.write(
            "connections/files.yaml",
            "connection: files\ntype: csv\noptions: {folder: data}\n",
        );
        house.write(
            "connections/out.yaml",
            "connection: out\ntype: jsonl\noptions: {folder: out}\n",
        );
        let sync = "sync: s
connection: files
destination: out
errors: {max_bad_rows: 0}
streams:
  - stream: ids
    options: {path: ids.csv}
    target: {path: ids.jsonl}
    read: full
    write: replace
    columns:
      - {name: id, type: int64}
      - {name: code, value: \"concat('a', id)\"}
";
        house.write("syncs/s.yaml", sync);
        house.write("data/ids.csv", rows("0", "bad"));
        house.fails(3, &["sync"]);
        let (mut first, mut code) = ("0", "a");
        match meanwhile {
            "declared otherwise" => {
                code = "b";
                house.write("syncs/s.yaml", sync.replace("'a'", "'b'"));
            }
            "asked to begin anew" => {}
            _ => first = "777777",
        }
        house.write("data/ids.csv", rows(first, "120000"));
        match meanwhile {
            "asked to begin anew" => house.ok(&["sync", "s", "--restart"]),
            _ => house.ok(&["sync", "s"]),
        };
        let sent = house.read("out/ids.jsonl");
        assert_eq!(sent.lines().count(), 130_000, "{meanwhile}");
        let row = format!("{{\"id\":{first},\"code\":\"{code}{first}\"}}");
        assert_eq!(sent.lines().next(), Some(row.as_str()), "{meanwhile}");
        let code = format!("\"code\":\"{code}");
        assert!(sent.lines().all(|line| line.contains(&code)), "{meanwhile}");
    }
}

#[test]
fn a_replacement_that_broke_off_begins_anew_where_the_key_of_its_table_is_another_one_since() {
    let house = House::new();
    house.write(
        "connections/shop.yaml",
        "connection: shop\ntype: sqlite\noptions: {path: shop.db}\n",
    );
    house.write("connections/out.yaml", "connection: out\ntype: jsonl\noptions: {folder: out}\n");
    house.write(
        "syncs/s.yaml",
        "sync: s\nconnection: shop\ndestination: out\nerrors: {max_bad_rows: 0}\nstreams:\n  - {stream: t, options: {table: t}, target: {path: t.jsonl}, read: full, write: replace, columns: [{name: n, type: int64}]}\n",
    );
    let database = rusqlite::Connection::open(house.path("shop.db")).unwrap();
    let run = |sql: &str| database.execute_batch(sql).unwrap();
    run("create table t (id integer primary key, code text not null, n);
         insert into t with recursive r(i) as (select 0 union all select i + 1 from r where i < 129999)
         select i, 'c' || (130000 - i), case i when 120000 then 'bad' else i end from r");
    house.fails(3, &["sync"]);
    run("create table u (id integer not null, code text primary key not null, n);
         insert into u select id, code, id from t;
         drop table t;
         alter table u rename to t");
    house.ok(&["sync"]);
    let sent = house.read("out/t.jsonl");
    assert_eq!(sent.lines().count(), 130_000);
}

#[test]
fn what_a_condition_leaves_out_reaches_no_other_system_either() {
    let house = house();
    house.write("connections/out.yaml", "connection: out\ntype: jsonl\noptions: {folder: out}\n");
    let sync = house
        .read("syncs/crm.yaml")
        .replace("connection: files\n", "connection: files\ndestination: out\n");
    house.write(
        "syncs/crm.yaml",
        sync.replace(
            "path: customers.csv}",
            "path: customers.csv}\n    target: {path: customers.jsonl}",
        ),
    );
    house.ok(&["sync"]);
    let sent = house.read("out/customers.jsonl");
    assert_eq!(sent.lines().count(), 3, "{sent}");
    assert!(sent.contains("Wang Li") && !sent.contains("Smith"), "{sent}");
}

#[test]
fn an_expression_over_what_is_not_there_stops_the_sync_and_names_it() {
    let house = house();
    let sync = house.read("syncs/crm.yaml");
    house.write("syncs/crm.yaml", sync.replace("value: full_name", "value: fullname"));
    let complaint = house.fails(2, &["sync"]);
    assert!(
        complaint.contains("column \"secret\"") && complaint.contains("fullname"),
        "{complaint}"
    );
    house.write("syncs/crm.yaml", sync.replace("only: country", "only: (country"));
    let complaint = house.fails(2, &["check"]);
    assert!(complaint.contains("syncs/crm.yaml:6") && complaint.contains("only:"), "{complaint}");
}
