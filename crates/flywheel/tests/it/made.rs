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
