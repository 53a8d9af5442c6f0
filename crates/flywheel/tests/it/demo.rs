//! The demo: reproducible byte for byte, honest about its customers, and unharmed by `kill -9`.

use std::time::Duration;

use crate::house::{House, binary, text};

fn demo(house: &House, name: &str, seed: &str, days: &str) -> String {
    let output = binary()
        .args(["demo", "--no-serve", "--seed", seed, "--days", days, "--dir"])
        .arg(house.path(name))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn table(house: &House, name: &str, query: &str) -> String {
    let output = binary()
        .arg("-C")
        .arg(house.path(name))
        .args(["sql", query, "--output", "csv"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// How often a turn is killed before it may end.
const KILLS: u64 = 25;

const DECISIONS: &str = "select * from system.decisions order by decision_id";
const OUTCOMES: &str = "select * from system.outcomes order by outcome_id";
const ACTIONS: &str = "select * from system.actions order by key";

#[test]
fn the_same_seed_gives_the_same_decisions_outcomes_and_report() {
    let house = House::new();
    demo(&house, "a", "11", "9");
    demo(&house, "b", "11", "9");
    for query in [DECISIONS, OUTCOMES, ACTIONS] {
        assert_eq!(table(&house, "a", query), table(&house, "b", query), "{query}");
    }
    let report = |name: &str| std::fs::read(house.path(name).join("report.html")).unwrap();
    assert!(report("a") == report("b"), "the reports differ");
    let page = text(&report("a"));
    assert!(
        page.contains("simulated") && page.contains("模拟"),
        "the page says what it is, in both languages"
    );
    assert!(!page.contains("http://") && !page.contains("src=\"https"), "the page loads nothing");
}

#[test]
fn a_turn_that_is_killed_anywhere_is_completed_with_nothing_lost_or_doubled() {
    let house = House::new();
    demo(&house, "undisturbed", "5", "4");
    // The same dated files, replayed by two others: one in peace, one killed again and again.
    let span = table(
        &house,
        "undisturbed",
        "select min(cast(logical_at as date)), max(cast(logical_at as date)) from system.runs where kind = 'turn'",
    );
    let span = span.lines().nth(1).unwrap().replacen(',', "..", 1);
    for name in ["peace", "killed"] {
        copy_inputs(&house.path("undisturbed"), &house.path(name));
    }
    let turn = |name: &str| {
        let mut command = binary();
        command.arg("-C").arg(house.path(name)).args(["turn", "--replay", &span]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        command
    };
    assert!(turn("peace").status().unwrap().success());
    let mut kills = 0;
    let mut rng = flywheel_base::Rng::new(5);
    loop {
        let mut child = turn("killed").spawn().unwrap();
        // After enough kills it may come to its end.
        let patience = if kills < KILLS {
            Duration::from_millis(30 + rng.below(700) as u64)
        } else {
            Duration::MAX
        };
        match wait(&mut child, patience) {
            Some(true) => break,
            Some(false) => panic!("a turn failed after {kills} kills"),
            None => kills += 1,
        }
    }
    assert!(kills >= 3, "only {kills} kills: the test proves nothing");
    for query in [
        DECISIONS,
        OUTCOMES,
        ACTIONS,
        "select count(*), sum(quantity) from raw.order_lines",
        "select * from mart.orders order by invoice_no",
    ] {
        assert_eq!(
            table(&house, "killed", query),
            table(&house, "peace", query),
            "after {kills} kills: {query}"
        );
    }
}

/// Whether the child ended well within `patience`; none if it had to be killed.
fn wait(child: &mut std::process::Child, patience: Duration) -> Option<bool> {
    let start = std::time::Instant::now();
    while start.elapsed() < patience {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status.success());
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    child.kill().unwrap();
    let status = child.wait().unwrap();
    status.code().map(|code| code == 0)
}

fn copy_inputs(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name == ".flywheel" || name == "out" {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type().unwrap().is_dir() {
            copy_inputs(&entry.path(), &target);
        } else {
            std::fs::create_dir_all(to).unwrap();
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_folder_that_does_not_tell_how_a_shop_trades_is_refused_before_anything_is_made() {
    let house = House::new();
    house.write("orders/a.csv", "order,item\n1,2\n");
    let refused = |folder: &str| {
        let output = binary()
            .args(["demo", "--no-serve", "--like"])
            .arg(house.path(folder))
            .arg("--dir")
            .arg(house.path("made"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert!(!house.path("made").exists());
        text(&output.stderr)
    };
    let complaint = refused("orders");
    assert!(complaint.contains("a.csv: line 1 has no column \"InvoiceNo\""), "{complaint}");
    assert!(complaint.contains("Online Retail"), "{complaint}");
    assert!(refused("nowhere").contains("nowhere"));
}
