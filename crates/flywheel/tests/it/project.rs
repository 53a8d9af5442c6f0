//! Making and checking projects, landing files of every kind, time travel.

use crate::house::{House, binary, text};

const SYNC: &str = "sync: shop\nconnection: files\nstreams:\n  - stream: orders\n    options: {path: '*.csv'}\n    read: incremental\n    write: append\n";

fn landed(csv: &str) -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write("syncs/shop.yaml", SYNC);
    house.write("data/1.csv", csv);
    house.ok(&["sync"]);
    house
}

#[test]
fn every_template_makes_a_project_without_mistakes() {
    for template in ["retail", "crm", "blank"] {
        let house = House::from_template(template);
        assert!(house.ok(&["check"]).contains("no mistakes"), "{template}");
    }
}

#[test]
fn the_crm_template_turns_on_its_own_files() {
    let house = House::from_template("crm");
    house.ok(&["turn"]);
    let decisions: u64 = house.cell("select count(*) from system.decisions").parse().unwrap();
    assert!(decisions > 0);
    assert_eq!(house.cell("select count(*) from system.artifacts"), "1");
    assert_ne!(house.cell("select count(*) from system.tasks where status = 'succeeded'"), "0");
}

#[test]
fn identifiers_survive_exactly() {
    let house = landed(
        "id,zip,phone,amount\n9007199254740993,00123,+49 170 1234567,1.50\n2,04109,0170 7654321,2\n",
    );
    let rows = house.sql("select id, zip, phone from raw.orders order by amount");
    assert_eq!(rows, ["9007199254740993,00123,+49 170 1234567", "2,04109,0170 7654321"]);
}

#[test]
fn a_second_sync_adds_nothing_and_a_new_file_adds_its_rows() {
    let house = landed("id\n1\n2\n");
    house.ok(&["sync"]);
    assert_eq!(house.cell("select count(*) from raw.orders"), "2");
    house.write("data/2.csv", "id\n3\n");
    house.ok(&["sync"]);
    assert_eq!(house.cell("select count(*), sum(id) from raw.orders"), "3,6");
}

#[test]
fn a_table_can_be_read_as_it_was() {
    let house = landed("id\n1\n");
    let first = house.cell("select version from system.tables where name = 'raw.orders'");
    house.write("data/2.csv", "id\n2\n");
    house.ok(&["sync"]);
    let count = |at: &str| {
        house.ok(&["sql", "select count(*) as n from raw.orders", "--at", at, "--output", "csv"])
    };
    assert_eq!(count(&first), "n\n1\n");
    assert_eq!(count(&format!("raw.orders@{first}")), "n\n1\n");
    assert_eq!(count("2999-01-01"), "n\n2\n");
}

#[test]
fn a_star_schema_from_sqlite_answers_the_article_and_landing_twice_changes_nothing() {
    let house = House::new();
    let database = rusqlite::Connection::open(house.path("warehouse.db")).unwrap();
    database
        .execute_batch(
            "CREATE TABLE fact_sales (sale_id INTEGER PRIMARY KEY, product_id INTEGER, customer_id INTEGER, sales_amount REAL, sale_date TEXT);
             CREATE TABLE dim_product (product_id INTEGER PRIMARY KEY, product_name TEXT, category TEXT);
             CREATE TABLE dim_customer (customer_id INTEGER PRIMARY KEY, customer_name TEXT, region TEXT);
             INSERT INTO dim_product VALUES (1, 'Laptop', 'Electronics');
             INSERT INTO dim_customer VALUES (1, 'Alice', 'North America');
             INSERT INTO fact_sales VALUES (1, 1, 1, 1200, '2023-09-01');",
        )
        .unwrap();
    house.write(
        "connections/shop.yaml",
        "connection: shop\ntype: sqlite\noptions: {path: warehouse.db}\n",
    );
    let stream = |table: &str, key: &str| {
        format!(
            "  - stream: {table}\n    options: {{table: {table}}}\n    read: full\n    write: merge\n    key: [{key}]\n"
        )
    };
    let streams = [
        stream("fact_sales", "sale_id"),
        stream("dim_product", "product_id"),
        stream("dim_customer", "customer_id"),
    ];
    house.write(
        "syncs/shop.yaml",
        format!("sync: shop\nconnection: shop\nstreams:\n{}", streams.concat()),
    );
    house.write(
        "models/mart/revenue.sql",
        "select c.region, p.category, sum(f.sales_amount) as revenue from {{ source('raw', 'fact_sales') }} f
         join {{ source('raw', 'dim_product') }} p on p.product_id = f.product_id
         join {{ source('raw', 'dim_customer') }} c on c.customer_id = f.customer_id group by 1, 2",
    );
    for _ in 0..2 {
        house.ok(&["sync"]);
        house.ok(&["build"]);
        assert_eq!(house.sql("select * from mart.revenue"), ["North America,Electronics,1200.0"]);
        assert_eq!(house.cell("select count(*) from raw.fact_sales"), "1");
    }
    // Neither the number of rows nor the last key changes, and still the row does.
    database.execute_batch("UPDATE fact_sales SET sales_amount = 900").unwrap();
    house.ok(&["sync"]);
    house.ok(&["build"]);
    assert_eq!(house.sql("select * from mart.revenue"), ["North America,Electronics,900.0"]);
}

#[test]
fn schemas_and_the_reference_are_json() {
    let schema: serde_json::Value =
        serde_json::from_str(&text(&binary().args(["schema", "policy"]).output().unwrap().stdout))
            .unwrap();
    assert!(schema["properties"]["holdout"].is_object());
    let reference: serde_json::Value =
        serde_json::from_str(&text(&binary().arg("reference").output().unwrap().stdout)).unwrap();
    assert!(reference["commands"].as_array().unwrap().len() > 10);
}

#[test]
fn discover_says_why_the_columns_of_a_file_are_not_known() {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write("data/towns.csv", b"\xb1\xe0\xba\xc5,\xb3\xc7\xca\xd0\n1,\xc9\xcf\xba\xa3\n");
    let draft = house.ok(&["discover", "files"]);
    assert!(draft.contains("# its columns are not known"), "{draft}");
    assert!(draft.contains("not valid UTF-8") && draft.contains("`encoding`"), "{draft}");
    house.write("data/towns.csv", "id,town\n1,Ulm\n");
    assert!(!house.ok(&["discover", "files"]).contains("not known"));
}

#[test]
fn discover_writes_a_sync_to_start_from_and_lineage_names_the_landed_column() {
    let house = landed("id,amount\n1,2.5\n");
    let draft = house.ok(&["discover", "files"]);
    assert!(draft.contains("connection: files") && draft.contains("amount"), "{draft}");
    // A shell makes the file that is written into before the program begins.
    house.write("syncs/files.yaml", "");
    assert_eq!(house.ok(&["discover", "files"]), draft);
    std::fs::remove_file(house.path("syncs/files.yaml")).unwrap();
    house.write(
        "models/mart/total.sql",
        "select sum(amount) as total from {{ source('raw', 'orders') }}",
    );
    house.ok(&["build"]);
    let way = house.ok(&["lineage", "mart.total.total"]);
    assert!(way.contains("raw.orders.amount"), "{way}");
    assert!(house.ok(&["lineage", "mart.total"]).contains("orders"));
}

#[test]
fn many_tables_become_a_sync_that_says_why_each_is_read_as_it_is() {
    let house = House::new();
    let database = rusqlite::Connection::open(house.path("shop.db")).unwrap();
    database
        .execute_batch(
            "create table order_heads (id integer primary key, changed_at text, total real);
             create table order_lines (id integer primary key, head integer, note text);
             create table order_log (line text);
             insert into order_heads values (1, '2024-05-01T00:00:00Z', 1.5);
             insert into order_lines values (1, 1, 'a'), (2, 1, 'b');
             insert into order_log values ('x');",
        )
        .unwrap();
    house.write(
        "connections/shop.yaml",
        "connection: shop\ntype: sqlite\noptions: {path: shop.db}\n",
    );
    let best = ["discover", "shop", "--tables", "ORDER*", "--except", "*_log", "--read", "best"];
    let save = |name| [&best[..], &["--save", "--name", name]].concat();
    let complaint = house.fails(2, &["discover", "shop", "--tables", "orders_heads"]);
    assert!(complaint.contains("order_heads"), "{complaint}");
    house.fails(2, &save("../orders"));
    assert_eq!(house.ok(&save("orders")), "syncs/orders.yaml\n");
    let file = house.read("syncs/orders.yaml");
    assert!(file.contains("cheaper than keeping a position"), "{file}");
    house.ok(&["check"]);
    house.ok(&["sync", "orders"]);
    assert_eq!(house.cell("select count(*), max(note) from raw.order_lines"), "2,b");
    assert_eq!(house.cell("select total from raw.order_heads"), "1.5");
    house.fails(2, &["sql", "select * from raw.order_log"]);
    let taken = house.fails(2, &save("orders"));
    assert!(taken.contains("--name"), "{taken}");

    // Into a folder of files, without a log and without keys there.
    house.write("connections/out.yaml", "connection: out\ntype: csv\noptions: {folder: out}\n");
    house.ok(&[&save("copy")[..], &["--destination", "out"]].concat());
    house.ok(&["sync", "copy"]);
    assert!(house.read("out/order_lines.csv").contains("2,1,b"));
    house.write("connections/web.yaml", "connection: web\ntype: journal\noptions: {path: q}\n");
    let said = house.fails(2, &["discover", "shop", "--destination", "web"]);
    assert!(said.contains("by hand"), "{said}");
}
