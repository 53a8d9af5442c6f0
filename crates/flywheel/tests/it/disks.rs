//! Disks that are full or read-only: a clear error, nothing lost, and on it goes once there is room.
//!
//! The disks are a small tmpfs and a read-only bind mount in a mount namespace of the command's own,
//! so that they are gone with it.

use std::path::Path;
use std::process::Command;

use crate::house::{House, binary, text};

/// A project with one day of rows landed and a larger day waiting.
fn shop() -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "syncs/shop.yaml",
        "sync: shop\nconnection: files\nstreams:\n  - stream: orders\n    options: {path: '*.csv'}\n    read: incremental\n    write: append\n    columns: [{name: id, type: int64}, {name: text, type: text}]\n",
    );
    house.write("data/1.csv", "id,text\n1,first\n");
    house.ok(&["sync"]);
    let noise = |row: u64| row.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let rows: String = (0..20_000)
        .map(|row| format!("{row},{:016x}{:016x}\n", noise(row + 1), noise(row + 77_777)))
        .collect();
    house.write("data/2.csv", format!("id,text\n{rows}"));
    house
}

/// Runs a script with `$flywheel`, `$project` and an empty folder `$disk` in a namespace of its own.
fn in_namespace(project: &Path, script: &str) -> (String, String) {
    let disk = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-euc", script])
        .env("flywheel", binary().get_program())
        .env("project", project)
        .env("disk", disk.path())
        .output()
        .unwrap();
    let complaint = text(&output.stderr);
    assert!(output.status.success(), "user namespaces are needed for this test\n{complaint}");
    assert!(!complaint.contains("panicked"), "{complaint}");
    (text(&output.stdout), complaint)
}

#[test]
fn a_full_disk_stops_with_a_hint_and_the_next_run_lands_everything() {
    let house = shop();
    let script = r#"
        mount -t tmpfs -o size=6m none "$disk"
        cp -r "$project/." "$disk"
        head -c 100m /dev/zero > "$disk/filler" 2>/dev/null || true
        "$flywheel" -C "$disk" sync && exit 9 || echo "ended $?"
        "$flywheel" -C "$disk" turn && exit 9 || echo "ended $?"
        rm "$disk/filler"
        "$flywheel" -C "$disk" sync > /dev/null
        "$flywheel" -C "$disk" sql --output csv "select count(*) as n, min(text) as t from raw.orders where id = 1"
        "$flywheel" -C "$disk" sql --output csv "select count(*) as n from raw.orders"
    "#;
    let (answer, complaint) = in_namespace(&house.dir(), script);
    let lines: Vec<&str> = answer.lines().collect();
    assert!(lines[0].starts_with("ended ") && lines[1].starts_with("ended "), "{answer}");
    assert_eq!(lines.last(), Some(&"20001"), "{answer}\n{complaint}");
    assert!(complaint.contains("Free space"), "{complaint}");
}

#[test]
fn a_read_only_folder_is_named_and_left_as_it_is() {
    let house = shop();
    let script = r#"
        mount --bind "$project" "$disk"
        mount -o remount,bind,ro "$disk"
        "$flywheel" -C "$disk" sync && exit 9 || echo "ended $?"
    "#;
    let (answer, complaint) = in_namespace(&house.dir(), script);
    assert_eq!(answer.trim(), "ended 2", "{complaint}");
    assert!(complaint.contains(".flywheel"), "{complaint}");
    assert_eq!(house.cell("select count(*) from raw.orders"), "1");
}
