//! Modelling advice by the binary: public schemas against keys made by hand, and drafts that are built.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use crate::house::{House, real_data};

const FOODMART: &str = include_str!("../../../../tests/advice/foodmart.txt");
const CHINOOK: &str = include_str!("../../../../tests/advice/chinook.txt");

/// The share of roles and keys that has to agree with the key made by hand.
const AGREE_MIN: f64 = 0.9;

/// What is said of a schema, one claim a line: `role table fact`, `key table a+b`, `ref table column → table`.
fn claims(advice: &Value) -> BTreeSet<String> {
    let texts = |value: &Value| {
        let list = value.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_lowercase());
        list.collect::<Vec<_>>().join("+")
    };
    let mut claims = BTreeSet::new();
    for one in advice["advice"]["tables"].as_array().unwrap() {
        let table = one["table"].as_str().unwrap().to_lowercase();
        claims.insert(format!("role {table} {}", one["role"].as_str().unwrap()));
        let key =
            if one["key"].is_null() { "none".to_owned() } else { texts(&one["key"]["columns"]) };
        claims.insert(format!("key {table} {key}"));
        for reference in one["references"].as_array().unwrap() {
            let to = reference["table"].as_str().unwrap().to_lowercase();
            claims.insert(format!("ref {table} {} → {to}", texts(&reference["columns"])));
        }
    }
    claims
}

/// Compares claims with a key made by hand and prints where they differ.
fn agree(name: &str, said: &BTreeSet<String>, key: &str) -> f64 {
    let lines =
        key.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let wanted: BTreeSet<String> = lines.map(str::to_owned).collect();
    let right = wanted.intersection(said).count();
    let all = wanted.union(said).count();
    let share = right as f64 / all as f64;
    eprintln!("{name}: {right} of {all} claims agree ({:.1} %)", share * 100.0);
    for line in wanted.difference(said) {
        eprintln!("  not found: {line}");
    }
    for line in said.difference(&wanted) {
        eprintln!("  not in the key: {line}");
    }
    share
}

/// FoodMart's files in a project, landed.
fn foodmart() -> Option<House> {
    let data = real_data("foodmart")?;
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    let mut sync = "sync: foodmart\nconnection: files\nstreams:\n".to_owned();
    let mut files: Vec<_> =
        std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in files {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        house.write(&format!("data/{name}.csv"), std::fs::read(&path).unwrap());
        writeln!(
            sync,
            "  - {{stream: {name}, options: {{path: {name}.csv}}, write: replace, read: full}}"
        )
        .unwrap();
    }
    house.write("syncs/foodmart.yaml", sync);
    house.ok(&["sync"]);
    Some(house)
}

fn advice(house: &House, arguments: &[&str]) -> Value {
    let arguments = [&["model", "suggest"], arguments, &["--output", "json"]].concat();
    serde_json::from_str(&house.ok(&arguments)).unwrap()
}

#[test]
fn foodmart_is_understood_as_by_hand_and_its_star_and_snowflake_give_the_same_figures() {
    let Some(house) = foodmart() else { return };
    let said = claims(&advice(&house, &["raw"]));
    assert!(agree("FoodMart", &said, FOODMART) >= AGREE_MIN);
    assert!(!house.dir().join("models").exists(), "nothing is written unless it is accepted");
    // The snowflake in a schema of its own, then the star beside it: its models need other names.
    let made = advice(&house, &["raw", "--accept", "--shape", "snowflake", "--schema", "snow"]);
    assert!(
        made["files"]
            .as_array()
            .unwrap()
            .iter()
            .any(|file| file == "models/snow/dim_product_class.sql")
    );
    house.ok(&["build"]);
    let figures = |joins: &str, family: &str| {
        house.sql(&format!(
            "select {family}, s.store_country, sum(f.unit_sales) as units, round(sum(f.store_sales), 2) as sales, count(*) as n
             from mart_of.fct_sales_1997 as f join mart_of.dim_store as s on s.store_id = f.store_id {joins}
             group by 1, 2 order by 1, 2"
        )
        .replace("mart_of", if joins.contains("snow.") { "snow" } else { "star" }))
    };
    let snow = figures(
        "join snow.dim_product as p on p.product_id = f.product_id join snow.dim_product_class as c on c.product_class_id = p.product_class_id",
        "c.product_family",
    );
    assert!(
        house
            .fails(2, &["model", "suggest", "raw", "--accept", "--schema", "star"])
            .contains("exists already")
    );
    std::fs::remove_dir_all(house.dir().join("models")).unwrap();
    std::fs::remove_dir_all(house.dir().join("tests")).unwrap();
    let made = advice(&house, &["raw", "--accept", "--shape", "star", "--schema", "star"]);
    assert!(
        !made["files"]
            .as_array()
            .unwrap()
            .iter()
            .any(|file| file.as_str().unwrap().contains("product_class"))
    );
    house.ok(&["build"]);
    let star =
        figures("join star.dim_product as p on p.product_id = f.product_id", "p.product_family");
    assert_eq!(star, snow);
    // Counted from the files with another tool.
    assert_eq!(star.len(), 3, "{star:?}");
    let rows: u64 =
        star.iter().map(|line| line.rsplit(',').next().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(rows, 86_837);
}

#[test]
fn chinook_is_understood_as_by_hand_from_its_rows_alone() {
    let Some(data) = real_data("chinook") else { return };
    let house = House::new();
    std::fs::copy(data.join("Chinook_Sqlite.sqlite"), house.path("chinook.db")).unwrap();
    house.write(
        "connections/music.yaml",
        "connection: music\ntype: sqlite\noptions: {path: chinook.db}\n",
    );
    let from_connection = claims(&advice(&house, &["music"]));
    assert!(agree("Chinook, declared keys", &from_connection, CHINOOK) >= AGREE_MIN);
    let said = house.fails(3, &["model", "suggest", "music", "--accept"]);
    assert!(said.contains("flywheel discover"), "{said}");
    let drafted = house.ok(&["discover", "music", "--save"]);
    assert!(drafted.contains("syncs/music.yaml"));
    house.ok(&["sync"]);
    // In the lake no key is declared: everything is told from names and values.
    let lake = claims(&advice(&house, &["raw"]));
    let lake: BTreeSet<String> = lake.into_iter().map(|claim| claim.replace('_', "")).collect();
    assert!(agree("Chinook, names and values", &lake, CHINOOK) >= AGREE_MIN);
    house.ok(&["model", "suggest", "music", "--accept"]);
    house.ok(&["build"]);
    assert_eq!(house.cell("select count(*) from mart.fct_invoice_line"), "2240");
}

#[test]
fn nothing_is_proposed_of_what_is_not_there_and_no_file_is_overwritten() {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write("data/a.csv", "a_id,label\n1,x\n2,y\n3,z\n");
    house.write(
        "syncs/s.yaml",
        "sync: s\nconnection: files\nstreams:\n  - {stream: a, options: {path: a.csv}}\n",
    );
    house.ok(&["sync"]);
    let said = house.fails(2, &["model", "suggest", "rwa"]);
    assert!(said.contains("neither a connection nor a schema") && said.contains("raw"), "{said}");
    let said = house.fails(2, &["model", "suggest", "raw", "--tables", "b"]);
    assert!(said.contains("no such tables") || said.contains("has no table"), "{said}");
    let said = house.fails(2, &["model", "suggest", "raw", "--accept", "--schema", "No"]);
    assert!(said.contains("schema's name"), "{said}");
    house.write("models/mart/mart.yml", "version: 2\n");
    let said = house.fails(2, &["model", "suggest", "raw", "--accept"]);
    assert!(said.contains("models/mart/mart.yml is there already"), "{said}");
    assert!(!house.dir().join("models/mart/dim_a.sql").exists(), "all files or none");
    std::fs::remove_file(house.dir().join("models/mart/mart.yml")).unwrap();
    assert_eq!(
        house.ok(&["model", "suggest", "files", "--accept", "--output", "csv"]).lines().last(),
        Some("models/mart/mart.yml")
    );
    house.ok(&["build"]);
    assert_eq!(house.cell("select count(*) from mart.dim_a"), "3");
}
