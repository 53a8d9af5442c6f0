//! What a copy into another database promises.

use flywheel_base::{ErrorKind, Timestamp};
use serde_json::json;

use super::*;
use crate::testing::{psql, schema_of, server};
use crate::{EnvironmentMove, Fault, PRODUCTION, Publication, Reads, Run};

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn fault(id: &str) -> Fault {
    Fault {
        id: id.to_owned(),
        at: at(1),
        kind: "request".to_owned(),
        name: "GET /v1/runs".to_owned(),
        error: "it's a mistake? §".to_owned(),
    }
}

fn run(id: &str) -> Run {
    Run {
        run_id: id.to_owned(),
        kind: "turn".to_owned(),
        turn: Some(1),
        logical_at: at(5),
        status: "running".to_owned(),
        started_at: at(5),
        ended_at: None,
        error: None,
        detail: json!({"rows": 0.1}),
    }
}

/// A store with rows of several tables.
fn filled(path: &Path) -> Store {
    let store = Store::open_file(path).unwrap();
    fill(&store);
    store
}

fn fill(store: &Store) {
    for number in 0..120 {
        store.record_fault(&fault(&format!("f{number}"))).unwrap();
    }
    // Two runs of one moment are told apart by which came first.
    for id in ["z", "a", "m"] {
        store.start_run(&run(id)).unwrap();
    }
    store.take_outbox(at(1)).unwrap();
    store.invite("d", Some("ada"), at(9)).unwrap();
    store.begin_turn(at(7)).unwrap();
    store.create_environment("dev", PRODUCTION, at(1)).unwrap();
    let dev = store.another().unwrap().in_environment("dev").unwrap();
    dev.publish(&[publication("model.a")], &[]).unwrap();
    promote(store).unwrap();
    store.audit(at(3), "ada", "turn", "-", &json!({"status": 200})).unwrap();
}

fn publication(name: &str) -> Publication {
    Publication {
        name: name.to_owned(),
        location: Some("l".to_owned()),
        version: Some(1),
        view_sql: None,
        fingerprint: "f".to_owned(),
        published_at: at(2),
        target: name.to_owned(),
    }
}

fn promote(store: &Store) -> Option<EnvironmentMove> {
    store.promote("dev", PRODUCTION, &Reads::default(), at(4)).unwrap()
}

fn same(left: &Store, right: &Store) {
    assert_eq!(left.faults().unwrap(), right.faults().unwrap());
    let ids = |store: &Store| -> Vec<String> {
        store.runs(9).unwrap().into_iter().map(|run| run.run_id).collect()
    };
    assert_eq!(ids(left), ["m", "a", "z"]);
    assert_eq!(ids(right), ids(left));
    assert_eq!(left.turns().unwrap(), right.turns().unwrap());
    assert_eq!(left.publications().unwrap(), right.publications().unwrap());
    assert_eq!(left.audit_rows(None, 9).unwrap(), right.audit_rows(None, 9).unwrap());
}

#[test]
fn a_project_moves_to_postgres_and_back_with_every_row() {
    let folder = tempfile::tempdir().unwrap();
    let file = filled(&folder.path().join("meta.db"));
    let shared = schema_of(folder.path(), server().0.port());
    assert!(Store::is_new(&shared).unwrap());
    let moved = Store::open_shared(&shared, file.path()).unwrap();
    assert!(!Store::is_new(&shared).unwrap() && moved.is_empty().unwrap());
    let copied = moved.copy_rows_from(&file).unwrap();
    let of = |table: &str| copied.iter().find(|one| one.table == table).unwrap().rows;
    assert_eq!((of("faults"), of("runs"), of("outbox_fence"), of("tasks")), (120, 3, 1, 0));
    same(&file, &moved);
    assert_eq!(moved.verify_audit().unwrap(), Ok(1), "the head beside the file is still true");
    assert!(moved.size_bytes().unwrap() > 0);

    // Numbers go on after those that were brought along.
    moved.record_fault(&fault("newest")).unwrap();
    assert_eq!(moved.faults().unwrap().first().map(|one| one.id.as_str()), Some("newest"));
    let error = moved.copy_rows_from(&file).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Blocked, "nothing is mixed");

    let back = Store::open_file(&folder.path().join("back.db")).unwrap();
    back.copy_rows_from(&moved).unwrap();
    assert_eq!(back.faults().unwrap(), moved.faults().unwrap());
    moved.set_aside("kept").unwrap();
    assert!(Store::is_new(&shared).unwrap(), "the schema is not taken for the project's");
}

#[test]
fn a_backup_of_a_schema_is_a_file_that_can_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    let shared = schema_of(folder.path(), server().0.port());
    let store = Store::open_shared(&shared, &folder.path().join("meta.db")).unwrap();
    fill(&store);
    let copied = folder.path().join("b");
    fs::create_dir(&copied).unwrap();
    store.copy_to(&copied.join("meta.db")).unwrap();
    let copy = Store::open_file(&copied.join("meta.db")).unwrap();
    same(&copy, &store);
    assert_eq!(copy.verify_audit().unwrap(), Ok(1));
    let left: Vec<_> =
        fs::read_dir(&copied).unwrap().flatten().map(|one| one.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("export")), "{left:?}");
}

#[test]
fn both_layouts_have_the_same_tables_and_columns() {
    let folder = tempfile::tempdir().unwrap();
    let shared = schema_of(folder.path(), server().0.port());
    Store::open_shared(&shared, &folder.path().join("meta.db")).unwrap();
    let mut expected: Vec<String> = Vec::new();
    for (table, columns) in schema::tables().unwrap() {
        for (column, of) in columns {
            let of = match of.as_str() {
                "INTEGER" => "bigint",
                "REAL" => "double precision",
                _ => "text",
            };
            expected.push(format!("{table}|{column}|{of}"));
        }
    }
    expected.sort();
    let there = psql(&format!(
        "SELECT table_name, column_name, data_type FROM information_schema.columns
         WHERE table_schema = '{}' AND table_name <> 'flywheel_layout' AND column_name <> 'rowid'",
        shared.schema()
    ));
    let mut there: Vec<String> = there.lines().map(str::to_owned).collect();
    there.sort();
    assert_eq!(there, expected);
}
