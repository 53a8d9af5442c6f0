//! What holds on PostgreSQL whatever happens to a connection, and between processes.

use std::path::PathBuf;

use flywheel_base::Timestamp;
use serde_json::Value as Json;

use super::*;
use crate::testing::{self, Fault as Cut, Proxy, psql, schema_of, server};
use crate::{Fault, ProjectLock, Run, Store};

/// A folder, and the schema that belongs to it.
struct House {
    folder: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("meta.db")
    }

    fn by(&self, port: u16) -> Shared {
        schema_of(&self.path(), port)
    }

    fn shared(&self) -> Shared {
        self.by(server().0.port())
    }

    fn store(&self) -> Store {
        Store::open_shared(&self.shared(), &self.path()).unwrap()
    }

    /// What psql says of the connections of stores of this house.
    fn of_connections(&self, what: &str) -> String {
        psql(&format!(
            "SELECT {what} FROM pg_stat_activity AS a WHERE application_name = 'flywheel {}'",
            self.shared().schema()
        ))
    }
}

fn fault(id: &str) -> Fault {
    Fault {
        id: id.to_owned(),
        at: Timestamp::from_micros(1),
        kind: "request".to_owned(),
        name: "n".to_owned(),
        error: "e".to_owned(),
    }
}

fn run(id: &str) -> Run {
    Run {
        run_id: id.to_owned(),
        kind: "turn".to_owned(),
        turn: None,
        logical_at: Timestamp::from_micros(1),
        status: "running".to_owned(),
        started_at: Timestamp::from_micros(1),
        ended_at: None,
        error: None,
        detail: Json::Null,
    }
}

fn runs(store: &Store) -> Vec<String> {
    let mut ids: Vec<_> = store.runs(99).unwrap().into_iter().map(|run| run.run_id).collect();
    ids.sort();
    ids
}

#[test]
fn a_commit_whose_answer_was_lost_is_looked_up_and_happens_once() {
    for (cut, expected) in [(Cut::CutAfter, true), (Cut::CutBefore, false)] {
        let house = House::new();
        let proxy = Proxy::new("COMMIT", cut);
        let store = Store::open_shared(&house.by(proxy.port), &house.path()).unwrap();
        store.start_run(&run("before")).unwrap();
        proxy.arm();
        let done = store.start_run(&run("cut"));
        match expected {
            // The server had it: the caller learns so, and need not do it again.
            true => done.unwrap(),
            false => {
                let error = done.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                assert_eq!(runs(&store), ["before"]);
                store.start_run(&run("cut")).unwrap();
            }
        }
        assert_eq!(runs(&store), ["before", "cut"], "{cut:?}");
    }
}

#[test]
fn a_connection_that_breaks_within_a_transaction_leaves_nothing_and_the_next_call_connects() {
    let house = House::new();
    let proxy = Proxy::new("UPDATE runs", Cut::CutBefore);
    let store = Store::open_shared(&house.by(proxy.port), &house.path()).unwrap();
    store.start_run(&run("a")).unwrap();
    proxy.arm();
    let error = store.end_run(&Run { status: "failed".to_owned(), ..run("a") }, &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.hint_text().is_some());
    assert_eq!(store.run("a").unwrap().unwrap().0.status, "running");
    store.end_run(&Run { status: "failed".to_owned(), ..run("a") }, &[]).unwrap();
    assert_eq!(store.run("a").unwrap().unwrap().0.status, "failed");
}

#[test]
fn writers_wait_for_each_other_as_they_do_for_a_file() {
    let house = House::new();
    house.store();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let house = &house;
            scope.spawn(move || {
                let store = house.store();
                for number in 0..10 {
                    // What is read decides about what is written.
                    store.begin_turn(Timestamp::from_micros(writer * 100 + number)).unwrap();
                }
            });
        }
    });
    let turns: Vec<i64> = house.store().turns().unwrap().into_iter().map(|one| one.turn).collect();
    assert_eq!(turns, (1..=40).collect::<Vec<_>>());
}

#[test]
fn several_may_open_a_new_schema_at_once() {
    let house = House::new();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let house = &house;
            scope.spawn(move || house.store().record_fault(&fault(&number.to_string())).unwrap());
        }
    });
    assert_eq!(house.store().faults().unwrap().len(), 4);
}

#[test]
fn a_project_has_one_holder_whatever_machine_it_is_on() {
    let house = House::new();
    let take = |file: &str| {
        let lock = house.folder.path().join(file);
        ProjectLock::take_shared(&lock, &house.shared(), &house.path())
    };
    let first = take("here").unwrap();
    // Another machine has another file.
    let error = take("there").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let process = std::process::id().to_string();
    assert!(error.message().contains(&process), "{error}");
    assert!(error.message().contains(house.shared().schema()), "{error}");
    first.serves_at("http://127.0.0.1:8700").unwrap();
    assert!(take("there").unwrap_err().message().contains("http://127.0.0.1:8700"));
    // Who only reads, or adds to the audit log, needs no lock.
    house.store().record_fault(&fault("beside")).unwrap();
    drop(first);
    take("there").unwrap();
}

#[test]
fn a_holder_whose_connection_broke_goes_on_unless_somebody_took_over() {
    let house = House::new();
    let take = |file: &str| {
        let lock = house.folder.path().join(file);
        ProjectLock::take_shared(&lock, &house.shared(), &house.path()).map(Arc::new)
    };
    let first = take("here").unwrap();
    let store = house.store().under(&first);
    store.start_run(&run("a")).unwrap();
    house.of_connections("count(pg_terminate_backend(pid))");
    // It takes the project again with the next write.
    let locks = "count(*) FILTER (WHERE EXISTS (SELECT 1 FROM pg_locks AS l WHERE l.pid = a.pid AND l.locktype = 'advisory'))";
    until(|| {
        store.record_fault(&fault("between")).unwrap_or_default();
        house.of_connections(locks) == "1"
    });
    store.start_run(&run("b")).unwrap();
    assert_eq!(take("there").unwrap_err().kind(), ErrorKind::Conflict, "it holds it again");

    // Somebody else is there before it looks again.
    psql(&format!("UPDATE \"{}\".flywheel_layout SET epoch = epoch + 1", house.shared().schema()));
    let error = store.another().unwrap().start_run(&run("c")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(runs(&store), ["a", "b"]);
}

/// Tries again until what was asked for is so, which is soon.
fn until(mut holds: impl FnMut() -> bool) {
    for _ in 0..100 {
        if holds() {
            return;
        }
        pause(Duration::from_millis(20)).unwrap();
    }
    panic!("it did not come to hold");
}

#[test]
fn a_schema_of_a_newer_flywheel_and_a_name_that_is_none_are_refused() {
    let house = House::new();
    drop(house.store());
    psql(&format!("UPDATE \"{}\".flywheel_layout SET version = 9999", house.shared().schema()));
    let error = Store::open_shared(&house.shared(), &house.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("newer"), "{error}");
    for name in ["", "public", "pg_x", "Shop", "a-b", "a\"b", "1a", &"x".repeat(60)] {
        let error = Shared::new(Arc::clone(&house.shared().dial), name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}");
        assert!(error.hint_text().is_some());
    }
}

#[test]
fn errors_say_what_to_do_and_repeat_no_values() {
    let house = House::new();
    let store = house.store();
    store.start_run(&run("canary")).unwrap();
    let error = store.start_run(&run("canary")).unwrap_err();
    assert!(!error.report().contains("canary"), "{}", error.report());
    let error = store.record_fault(&fault("a\0b")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error.report());
    store.record_fault(&fault("after")).unwrap();
    psql(&format!("DROP SCHEMA \"{}\" CASCADE", house.shared().schema()));
    let error = store.record_fault(&fault("gone")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.report());
}

#[test]
fn a_server_that_is_not_there_is_unavailable() {
    let house = House::new();
    let free = flywheel_testkit::free_port();
    let error = Store::open_shared(&house.by(free), &house.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[test]
fn tampering_with_the_audit_log_is_found() {
    testing::on_postgres(|| {
        for (sql, number) in [
            ("UPDATE audit SET who = 'eve' WHERE number = 3", 3),
            ("UPDATE audit SET detail = 'no json' WHERE number = 2", 2),
            ("DELETE FROM audit WHERE number = 2", 2),
            ("DELETE FROM audit WHERE number >= 4", 4),
        ] {
            let house = House::new();
            let store = Store::open(&house.path()).unwrap();
            for n in 0..5 {
                store.audit(Timestamp::from_micros(n), "ada", "turn", "-", &Json::Null).unwrap();
            }
            assert_eq!(store.verify_audit().unwrap(), Ok(5));
            let schema = house.shared().schema().to_owned();
            psql(&sql.replace("audit", &format!("\"{schema}\".audit")));
            assert_eq!(store.verify_audit().unwrap().unwrap_err().number, number, "{sql}");
        }
    });
}
