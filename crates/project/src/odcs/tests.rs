//! Contracts in and out.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::{Options, export, import, text};
use crate::diagnostic::Diagnostics;
use crate::file::SourceFile;
use crate::{Connectors, Project, yaml};

const CONTRACT: &str = include_str!("tests/orders.odcs.yaml");

fn options() -> Options {
    Options { schema: "raw".into(), models: BTreeSet::new(), described: BTreeSet::new() }
}

fn parsed(text: &str) -> Json {
    let mut out = Diagnostics::default();
    yaml::parse(&SourceFile::new("c.yaml", text), &mut out).unwrap().to_json()
}

/// A project with the files of an import, and where it is.
fn project(contract: &str) -> (tempfile::TempDir, Vec<String>) {
    let imported = import("orders.odcs.yaml", contract, &options()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let made = imported.files.iter().map(|made| (made.path.as_str(), made.text.as_str()));
    for (path, text) in made.chain([("flywheel.yaml", "name: shop\n")]) {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let notes = imported.notes.iter().map(|note| format!("{} {}", note.at, note.message));
    (folder, notes.collect())
}

fn load(folder: &tempfile::TempDir) -> Project {
    Project::load(folder.path(), &Connectors::default())
        .unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[test]
fn a_contract_that_was_not_changed_is_exported_as_it_came() {
    let (folder, notes) = project(CONTRACT);
    let project = load(&folder);
    let exported = export(&project, "shop_orders").unwrap();
    assert_eq!(exported, parsed(CONTRACT));
    assert_eq!(parsed(&text(&exported)), exported, "what is written is what was meant");
    assert!(notes.iter().any(|note| note.contains("soda")), "{notes:?}");
    assert!(notes.iter().any(|note| note.contains("text for people")), "{notes:?}");
}

#[test]
fn checks_come_from_quality_and_from_what_the_schema_promises() {
    let (folder, _) = project(CONTRACT);
    let project = load(&folder);
    let names = crate::quality::check_names(&project.qualities["shop_orders_orders"]);
    let expected = include_str!("tests/names.txt");
    assert_eq!(names.join("\n") + "\n", expected);
    let table = &project.sources["raw.orders"];
    assert_eq!(table.columns[0].description.as_deref(), Some("The order's number."));
    // All but the age of the newest row, which is no matter of a build.
    assert_eq!(table.tests.len(), names.len() - 1);
}

#[test]
fn a_change_in_the_quality_file_is_exported_in_place() {
    let (folder, _) = project(CONTRACT);
    let path = folder.path().join("quality/shop_orders_orders.yaml");
    let before = std::fs::read_to_string(&path).unwrap();
    let after = before.replacen("mustBeGreaterThan: 100", "mustBeGreaterThan: 200", 1)
        + "  - name: spread\n    metric: distinctValues\n    column: status\n    monitor: {method: seasonal}\n";
    assert_ne!(before, after);
    std::fs::write(&path, after).unwrap();
    let exported = export(&load(&folder), "shop_orders").unwrap();
    let object = &exported["schema"][0];
    assert_eq!(object["quality"][0]["mustBeGreaterThan"], json!(200));
    let status = object["properties"].as_array().unwrap().iter().find(|p| p["name"] == "status");
    let last = status.unwrap()["quality"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["engine"], &last["name"]), (&json!("flywheel"), &json!("spread")));
    // What the standard has no word for comes back, too.
    let again = import("x", &text(&exported), &options()).unwrap();
    let quality = &again.files.iter().find(|made| made.path.starts_with("quality/")).unwrap().text;
    assert!(quality.contains("seasonal") && quality.contains("spread"), "{quality}");
}

#[test]
fn a_number_of_rows_beside_a_property_is_the_tables() {
    let contract = "version: '1'\napiVersion: v3.1.0\nkind: DataContract\nid: rows\nstatus: draft\nschema:\n  - name: t\n    properties:\n      - name: x\n        quality:\n          - {metric: rowCount, mustBeGreaterThan: 5}\n";
    let (folder, notes) = project(contract);
    let told = "schema[0].properties[0].quality[0] is run for the whole table";
    assert!(notes.iter().any(|note| note.starts_with(told)), "{notes:?}");
    let project = load(&folder);
    assert_eq!(project.qualities["rows_t"].checks[0].column, None);
    assert_eq!(export(&project, "rows").unwrap(), parsed(contract), "it stays where it stood");
}

#[test]
fn contracts_with_chinese_names_lie_in_files_of_their_own() {
    let paths = |name: &str| -> Vec<String> {
        let contract = format!(
            "version: '1'\napiVersion: v3.1.0\nkind: DataContract\nid: a\nname: {name}\nstatus: draft\n"
        );
        let imported = import("c.yaml", &contract, &options()).unwrap();
        imported.files.into_iter().map(|made| made.path).collect()
    };
    let (orders, visits) = (paths("订单契约"), paths("访问契约"));
    assert_eq!((orders.len(), visits.len()), (1, 1));
    assert_ne!(orders, visits);
    assert_eq!(paths("Shop Orders"), ["contracts/shop_orders.odcs.yaml"]);
}

#[test]
fn every_mistake_of_a_contract_is_told_with_its_line() {
    let cases = [
        ("version: 1\n", "has no `apiVersion`"),
        ("[1]\n", "has no `kind`"),
        (
            "version: '1'\napiVersion: v2.2.2\nkind: DataContract\nid: a\nstatus: draft\n",
            "apiVersion \"v2.2.2\" is not read",
        ),
        (
            "version: '1'\napiVersion: v3.1.0\nkind: DataContract\nid: a\nstatus: draft\nschema:\n  - name: t\n    quality:\n      - {metric: rowCount, mustBe: 1, mustBeLessThan: 3}\n",
            "both `mustBe` and `mustBeLessThan`",
        ),
        (
            "version: '1'\napiVersion: v3.1.0\nkind: DataContract\nid: a\nstatus: draft\nschema:\n  - name: t\n    properties:\n      - name: x\n        quality:\n          - {type: sql, mustBe: 1}\n",
            "`query` is missing",
        ),
        (
            "version: '1'\napiVersion: v3.1.0\nkind: DataContract\nid: a\nstatus: draft\nschema:\n  - name: t\n    quality:\n      - {type: regex, mustBe: 1}\n",
            "no type of check",
        ),
    ];
    for (contract, expected) in cases {
        let error = import("c.yaml", contract, &options()).unwrap_err();
        assert!(error.report().contains(expected), "{}", error.report());
        assert!(error.report().contains("c.yaml"), "{}", error.report());
    }
}

#[test]
fn a_model_without_contract_is_exported_with_its_tests() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("flywheel.yaml", "name: shop\n");
    write("models/mart/sales.sql", "select 1 as id, 'a' as kind");
    write(
        "models/mart/mart.yml",
        "models:\n  - name: sales\n    description: What was sold.\n    columns:\n      - name: id\n        description: The number.\n        tests: [not_null, unique]\n      - name: kind\n        tests:\n          - accepted_values: {values: [a, b]}\n",
    );
    write(
        "quality/sales.yaml",
        "quality: sales\ntable: ref('sales')\nchecks:\n  - {metric: rowCount, mustBeGreaterThan: 0}\n  - {metric: sum, column: id, mustBeLessThan: 9}\n",
    );
    let exported = export(&load(&folder), "sales").unwrap();
    let object = &exported["schema"][0];
    assert_eq!(object["physicalName"], "mart.sales");
    assert_eq!(
        (&object["properties"][0]["required"], &object["properties"][0]["unique"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(object["quality"][0]["metric"], "rowCount");
    assert_eq!(object["properties"][0]["quality"][0]["engine"], "flywheel");
    assert_eq!(
        object["properties"][1]["quality"][0]["arguments"]["validValues"],
        json!(["a", "b"])
    );
    let error = export(&load(&folder), "sale").unwrap_err();
    assert!(error.hint_text().unwrap().contains("sales"), "{error}");
}
