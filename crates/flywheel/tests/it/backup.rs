//! Backups: what comes back is what was there, whoever wrote meanwhile and whatever was killed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::house::{House, binary, text};
use crate::served::{Process, ask};

/// Two landed tables, a model, and a key in a file.
fn shop() -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write("syncs/shop.yaml", "sync: shop\nconnection: files\nstreams:\n  - {stream: orders, options: {path: 'orders*.csv'}, read: incremental, write: append}\n  - {stream: items, options: {path: items.csv}, read: full, write: merge, key: [id]}\n");
    house.write("data/orders-1.csv", "id,item\n1,1\n2,2\n");
    house.write("data/items.csv", "id,price\n1,1.5\n2,4\n");
    house.write(
        "models/mart/sold.sql",
        "{{ config(materialized='table') }} select o.id, i.price from {{ source('raw', 'orders') }} o join {{ source('raw', 'items') }} i on i.id = o.item",
    );
    house.ok(&["sync"]);
    house.ok(&["build"]);
    house
}

/// What a person sees of the shop.
fn seen(dir: &Path) -> Vec<String> {
    ["raw.orders", "raw.items", "mart.sold"]
        .iter()
        .map(|table| {
            let query = format!("select * from {table} order by id");
            run(&["-C", &dir.to_string_lossy(), "sql", &query, "--output", "csv"])
        })
        .collect()
}

fn run(arguments: &[&str]) -> String {
    let output = binary().args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}\n{}", text(&output.stderr));
    text(&output.stdout)
}

fn refused(code: i32, arguments: &[&str]) -> String {
    let output = binary().args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{}", text(&output.stderr));
    text(&output.stderr)
}

/// Makes a backup and gives its folder.
fn backed_up(house: &House, into: &Path) -> PathBuf {
    PathBuf::from(house.ok(&["backup", &into.to_string_lossy()]).trim())
}

fn listed(folder: &Path) -> Vec<Value> {
    let rows = run(&["backup", &folder.to_string_lossy(), "--list", "--output", "json"]);
    serde_json::from_str(&rows).unwrap()
}

fn restore(from: &Path, to: &Path) -> String {
    run(&["restore", &from.to_string_lossy(), &to.to_string_lossy()])
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_project_comes_back_as_it_was_and_goes_on() {
    let (house, elsewhere) = (shop(), tempfile::tempdir().unwrap());
    let before = seen(&house.dir());
    house.write("scripts/run.sh", "#!/bin/sh\n");
    let script = house.dir().join("scripts/run.sh");
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o750)).unwrap();
    let made = backed_up(&house, elsewhere.path());
    // What happens after it is not in it, also where the same tables go on.
    house.write("data/orders-2.csv", "id,item\n3,1\n");
    house.ok(&["sync"]);
    house.ok(&["build"]);
    fs::remove_dir_all(house.dir().join(".flywheel")).unwrap();

    let back = elsewhere.path().join("back");
    restore(&made, &back);
    assert_eq!(seen(&back), before);
    assert!(!back.join("data/orders-2.csv").exists());
    assert_eq!(fs::metadata(back.join("scripts/run.sh")).unwrap().mode() & 0o777, 0o750);
    let dir = back.to_string_lossy().into_owned();
    run(&["-C", &dir, "check"]);
    // The past of a table is there, and its position: nothing lands twice.
    run(&["-C", &dir, "sync"]);
    run(&["-C", &dir, "build"]);
    assert_eq!(seen(&back), before);
    fs::write(back.join("data/orders-3.csv"), "id,item\n9,2\n").unwrap();
    run(&["-C", &dir, "sync"]);
    run(&["-C", &dir, "build"]);
    assert!(seen(&back)[2].contains("9,4"), "{:?}", seen(&back));
    assert!(run(&["-C", &dir, "audit", "verify"]).starts_with("all "));
}

#[test]
fn the_next_backup_holds_what_is_new_and_shares_the_rest() {
    let (house, folder) = (shop(), tempfile::tempdir().unwrap());
    let into = folder.path().join("backups");
    let first = backed_up(&house, &into);
    house.write("data/orders-2.csv", "id,item\n3,1\n");
    house.ok(&["sync"]);
    let second = backed_up(&house, &into);
    assert_eq!(listed(&into).len(), 2);
    let rows = |backup: &Path| -> Vec<(PathBuf, u64)> {
        let lake = backup.join("lake/raw/orders");
        let data = files(&lake)
            .into_iter()
            .filter(|path| path.extension().is_some_and(|ending| ending == "parquet"));
        let inode = |path: PathBuf| {
            let inode = fs::metadata(&path).unwrap().ino();
            (path.strip_prefix(&lake).unwrap().to_owned(), inode)
        };
        data.map(inode).collect()
    };
    let (old, new) = (rows(&first), rows(&second));
    assert!(new.len() == old.len() + 1 && old.iter().all(|file| new.contains(file)), "{new:?}");

    // Only the newest is kept; what it shared with the others stays.
    let into_text = into.to_string_lossy().into_owned();
    house.ok(&["backup", &into_text, "--keep", "1"]);
    assert_eq!(listed(&into).len(), 1);
    run(&["backup", &into_text, "--verify"]);
    let back = folder.path().join("back");
    restore(&into, &back);
    assert_eq!(seen(&back), seen(&house.dir()));
}

#[test]
fn projects_that_share_a_folder_keep_their_own_backups() {
    let (house, folder) = (shop(), tempfile::tempdir().unwrap());
    let other = House::new();
    other.write("flywheel.yaml", "name: bookshop\n");
    let into = folder.path().to_string_lossy().into_owned();
    let theirs = backed_up(&other, folder.path());
    let unreadable = backed_up(&other, folder.path());
    fs::write(unreadable.join("backup.json"), "{}").unwrap();
    let older = backed_up(&house, folder.path());
    let newest = PathBuf::from(house.ok(&["backup", &into, "--keep", "1"]).trim());
    assert!(!older.exists() && newest.exists());
    assert!(theirs.exists(), "the backup of another project was removed");
    assert!(unreadable.exists(), "a backup that does not tell whose it is was removed");

    let back = folder.path().join("back").to_string_lossy().into_owned();
    let complaint = refused(2, &["restore", &into, &back]);
    for word in ["several projects", "bookshop, shop", &*theirs.to_string_lossy()] {
        assert!(complaint.contains(word), "{word}: {complaint}");
    }
    refused(2, &["backup", &into, "--verify"]);
    restore(&theirs, Path::new(&back));
}

#[test]
fn a_backup_beside_a_server_loses_nothing_that_was_acknowledged() {
    let house = House::new();
    house.write(
        "connections/events.yaml",
        "connection: events\ntype: journal\noptions: {path: .flywheel/journal}\n",
    );
    house.write("syncs/events.yaml", "sync: events\nconnection: events\nstreams:\n  - {stream: events, options: {topic: events}, read: incremental, write: append}\n");
    let server = Process::start(&house);
    let session = server.owner();
    let body = json!({"name": "shop", "scopes": ["ingest", "operate"]}).to_string();
    let (_, _, answer) = ask(&server.address, &session, "POST", "/v1/tokens", &body).unwrap();
    let bearer = format!("Authorization: Bearer {}\r\n", answer["token"].as_str().unwrap());
    let send = {
        let (address, bearer) = (server.address.clone(), bearer);
        move |id: usize| {
            let body = json!({"id": id}).to_string();
            ask(&address, &bearer, "POST", "/v1/events", &body).map(|(status, ..)| status)
        }
    };
    (0..20).for_each(|id| assert_eq!(send(id), Some(200)));
    let stop = std::sync::atomic::AtomicBool::new(false);
    let folder = tempfile::tempdir().unwrap();
    let outputs: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut id = 20;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) && send(id) == Some(200) {
                id += 1;
            }
        });
        let into = folder.path().to_string_lossy().into_owned();
        let outputs = (0..3).map(|_| house.run(&["backup", &into])).collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        outputs
    });
    for output in outputs {
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    server.kill();
    for (number, backup) in listed(folder.path()).iter().enumerate() {
        let back = folder.path().join(format!("back-{number}"));
        restore(&folder.path().join(backup["backup"].as_str().unwrap()), &back);
        let dir = back.to_string_lossy().into_owned();
        run(&["-C", &dir, "sync"]);
        let query = "select count(*) >= 20, count(*) = count(distinct id), count(*) = max(id) + 1 from raw.events";
        let answer = run(&["-C", &dir, "sql", query, "--output", "csv"]);
        assert!(answer.ends_with("\ntrue,true,true\n"), "{answer}");
        assert!(run(&["-C", &dir, "audit", "verify"]).starts_with("all "));
    }
}

/// A command under way; killed with `kill -9` once `reached` says so.
fn killed(arguments: &[&str], reached: impl Fn() -> bool) {
    let mut command: Command = binary();
    let mut child: Child =
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !reached() && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    // One that was faster has ended, which is fine too.
    drop(child.kill());
    child.wait().unwrap();
}

#[test]
fn a_killed_backup_is_none_and_the_next_one_goes_on() {
    let (house, folder) = (shop(), tempfile::tempdir().unwrap());
    let into = folder.path().join("backups");
    let (dir, target) =
        (house.dir().to_string_lossy().into_owned(), into.to_string_lossy().into_owned());
    let staged = into.join(".unfinished");
    for count in [1, 4, 12, 20] {
        killed(&["-C", &dir, "backup", &target], || staged.is_dir() && count_of(&staged) >= count);
        for backup in fs::read_dir(&into).unwrap() {
            let backup = backup.unwrap().path();
            if backup.file_name().unwrap().to_string_lossy().starts_with('.') {
                let complaint = refused(2, &["restore", &backup.to_string_lossy(), &target]);
                assert!(
                    complaint.contains("no backup") || complaint.contains("not empty"),
                    "{complaint}"
                );
            } else {
                run(&["backup", &backup.to_string_lossy(), "--verify"]);
            }
        }
    }
    let made = backed_up(&house, &into);
    assert!(!staged.exists());
    assert!(!files(&made).iter().any(|path| path.to_string_lossy().ends_with("fw-part")));
    run(&["backup", &target, "--verify"]);
}

/// How many files there are, while they come and go.
fn count_of(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let below = |path: PathBuf| if path.is_dir() { count_of(&path) } else { 1 };
    entries.filter_map(|entry| Some(below(entry.ok()?.path()))).sum()
}

#[test]
fn a_killed_restore_is_no_project_and_goes_on() {
    let (house, folder) = (shop(), tempfile::tempdir().unwrap());
    let made = backed_up(&house, &folder.path().join("backups"));
    let (from, back) = (made.to_string_lossy().into_owned(), folder.path().join("back"));
    let to = back.to_string_lossy().into_owned();
    for count in [2, 5, 15] {
        killed(&["restore", &from, &to], || count_of(&back) >= count);
        if !back.join("flywheel.yaml").exists() {
            let complaint = refused(2, &["-C", &to, "status"]);
            assert!(complaint.contains("flywheel.yaml"), "{complaint}");
        }
    }
    // One that ended whole is not touched again.
    if back.join(".flywheel/restoring").exists() {
        restore(&made, &back);
    }
    let complaint = refused(2, &["restore", &from, &to]);
    assert!(
        complaint.contains("not empty") && complaint.contains("overwrites nothing"),
        "{complaint}"
    );
    assert_eq!(seen(&back), seen(&house.dir()));
    assert!(!back.join(".flywheel/restoring").exists());
}

#[test]
fn secrets_stay_where_they_are() {
    const CANARY: &str = "canary-5e1f";
    let (house, folder) = (shop(), tempfile::tempdir().unwrap());
    house.write("connections/crm.yaml", "connection: crm\ntype: rest\noptions:\n  url: https://example.com\n  headers: {Authorization: '${file:./keys/crm}'}\n");
    for name in ["keys/crm", ".env", "tls/server.key"] {
        house.write(name, CANARY);
    }
    house.write("tls/server.pem", format!("-----BEGIN PRIVATE KEY-----\n{CANARY}\n"));
    house.write("tls/ca.pem", "-----BEGIN CERTIFICATE-----\n");
    house.write("profiles.yml", format!("x:\n  outputs:\n    dev: {{}}\n  pass: {CANARY}\n"));
    let output = house.run(&["backup", &folder.path().to_string_lossy()]);
    let (made, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}");
    for name in ["keys/crm", ".env", "tls/server.key", "tls/server.pem", "profiles.yml"] {
        assert!(said.contains(&format!("left out: {name} (")), "{name}: {said}");
    }
    assert!(Path::new(made.trim()).join("project/tls/ca.pem").is_file());
    for file in files(folder.path()) {
        let bytes = fs::read(&file).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(CANARY), "{}", file.display());
    }
    let back = folder.path().join("back");
    let to = back.to_string_lossy().into_owned();
    let output = binary().args(["restore", made.trim(), &to]).output().unwrap();
    assert!(text(&output.stderr).contains("put it back: keys/crm"), "{}", text(&output.stderr));
}

#[test]
fn damage_is_told_before_and_after() {
    let (house, folder) = (shop(), tempfile::tempdir().unwrap());
    let into = folder.path().join("backups");
    let into_text = into.to_string_lossy().into_owned();
    let whole = backed_up(&house, &into);

    // In the backup: nothing is brought back from it.
    let flipped = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::remove_file(path).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let data = |root: &Path| {
        let all = files(root).into_iter();
        all.filter(|path| path.extension().is_some_and(|ending| ending == "parquet"))
            .find(|path| path.to_string_lossy().contains("raw/items"))
            .unwrap()
    };
    let broken = data(&whole);
    flipped(&broken);
    let name = broken.file_name().unwrap().to_string_lossy().into_owned();
    assert!(refused(1, &["backup", &into_text, "--verify"]).contains(&name));
    let back = folder.path().join("back");
    let to = back.to_string_lossy().into_owned();
    assert!(refused(1, &["restore", &into_text, &to]).contains(&name));
    assert!(!back.join("flywheel.yaml").exists());
    let manifest = whole.join("backup.json");
    let changed = fs::read_to_string(&manifest).unwrap().replacen("\"shop\"", "\"shap\"", 1);
    fs::write(&manifest, changed).unwrap();
    assert!(refused(1, &["backup", &into_text, "--verify"]).contains("not as it was written"));
    fs::remove_dir_all(&whole).unwrap();

    // In the lake: no backup passes it off as whole.
    flipped(&data(&house.dir().join(".flywheel/lake")));
    let complaint = house.fails(1, &["backup", &into_text]);
    assert!(complaint.contains(&name) && complaint.contains("--allow-damage"), "{complaint}");
    assert!(listed(&into).is_empty());
    let warning = house.fails(1, &["backup", &into_text, "--allow-damage"]);
    assert!(warning.contains(&name), "{warning}");
    assert!(listed(&into)[0]["state"].as_str().unwrap().contains("damaged"));

    // One that is gone costs nobody the backup of all the others.
    fs::remove_file(data(&house.dir().join(".flywheel/lake"))).unwrap();
    let complaint = house.fails(1, &["backup", &into_text]);
    assert!(complaint.contains(&name) && complaint.contains("--allow-damage"), "{complaint}");
    let warning = house.fails(1, &["backup", &into_text, "--allow-damage"]);
    assert!(warning.contains(&name), "{warning}");
    let rest = folder.path().join("rest");
    restore(&into, &rest);
    assert!(rest.join("flywheel.yaml").is_file());
}

#[test]
fn a_backup_lies_outside_of_the_project_and_needs_no_faultless_one() {
    let (house, folder) = (shop(), tempfile::tempdir().unwrap());
    let complaint = house.fails(2, &["backup", "backups/daily"]);
    assert!(complaint.contains("inside") && !house.dir().join("backups").exists(), "{complaint}");
    house.write("models/mart/broken.sql", "select {{ nothing");
    let made = backed_up(&house, folder.path());
    assert!(made.join("project/models/mart/broken.sql").is_file());
    let complaint = refused(2, &["restore", &house.dir().to_string_lossy(), "x"]);
    assert!(complaint.contains("is no backup"), "{complaint}");
    assert!(refused(2, &["backup", "none-here", "--list"]).contains("none-here"));
}
