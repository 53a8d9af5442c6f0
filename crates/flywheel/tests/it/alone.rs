//! The program by itself: without network, even to itself, without other programs and settings.

use std::process::Command;

use crate::house::{House, text};

/// A command that runs without network; none if this system does not let a test take it away.
fn offline(program: &str) -> Option<Command> {
    let apart = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "--", program]);
        command
    };
    let able = apart("true").output().is_ok_and(|output| output.status.success());
    if !able {
        eprintln!("NOT RUN: `unshare --user --net` is not possible here");
    }
    able.then(|| apart(program))
}

#[test]
fn nothing_is_downloaded_at_run_time() {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    let land = "sync: a_land\nconnection: files\nstreams:\n  - {stream: orders, options: {path: orders.csv}, read: full, write: replace}\n";
    house.write("syncs/a_land.yaml", land);
    house.write("data/orders.csv", "id,amount\n1,2.5\n2,4\n");
    house.write(
        "models/mart/doubled.sql",
        "select id, amount * 2 as amount from {{ source('raw', 'orders') }}",
    );
    let kinds = [("parquet", "parquet"), ("avro", "avro"), ("excel", "xlsx"), ("jsonl", "jsonl")];
    for (kind, ending) in kinds {
        let connection = format!("connection: {kind}\ntype: {kind}\noptions: {{folder: out}}\n");
        house.write(&format!("connections/{kind}.yaml"), connection);
        let out = format!(
            "sync: b_{kind}\nconnection: lake\ndestination: {kind}\nstreams:\n  - {{stream: doubled, options: {{table: mart.doubled}}, read: full, write: replace, target: {{path: doubled.{ending}}}}}\n"
        );
        house.write(&format!("syncs/b_{kind}.yaml"), out);
        let back = format!(
            "sync: c_{kind}\nconnection: {kind}\nstreams:\n  - {{stream: back, options: {{path: doubled.{ending}}}, read: full, write: replace, to: raw.back_{kind}}}\n"
        );
        house.write(&format!("syncs/c_{kind}.yaml"), back);
    }
    let home = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = offline("env")?;
        command.arg("-i").arg(format!("HOME={}", home.path().display()));
        command.arg(env!("CARGO_BIN_EXE_flywheel")).arg("-C").arg(house.dir()).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}\n{}", text(&output.stderr));
        Some(text(&output.stdout))
    };
    let mut names = vec!["a_land".to_owned()];
    names.extend(kinds.iter().flat_map(|(kind, _)| [format!("b_{kind}"), format!("c_{kind}")]));
    for name in &names {
        if run(&["sync", name]).is_none() {
            return;
        }
        if name == "a_land" {
            run(&["build"]);
        }
    }
    for (kind, _) in kinds {
        let sql = format!("select count(*), sum(id), sum(amount) from raw.back_{kind}");
        let answer = run(&["sql", &sql, "--output", "csv"]).unwrap();
        assert!(answer.ends_with("\n2,3,13.0\n") || answer.ends_with("\n2,3,13\n"), "{answer}");
    }
    let left = std::fs::read_dir(home.path()).unwrap().count();
    assert_eq!(left, 0, "something was put into the home folder");
}
