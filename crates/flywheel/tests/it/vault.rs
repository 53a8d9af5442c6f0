//! Stored secrets: sealed on disk, had by connections, told where they are missing, kept apart from their key.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use flywheel_project::vault::Vault;
use flywheel_testkit::Postgres;

use crate::house::{House, binary, text};

const CANARY: &str = "c4nary-Zq7wXv";

/// Runs `flywheel secret …` with a text on stdin.
fn secret(house: &House, arguments: &[&str], stdin: &str) -> Output {
    let mut command = binary();
    command.arg("-C").arg(house.dir()).arg("secret").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.env("FLYWHEEL_LOG", "trace").spawn().unwrap();
    // A command that reads nothing may be gone before.
    drop(child.stdin.take().unwrap().write_all(stdin.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(!said.contains("panicked") && !said.contains(CANARY), "{arguments:?}: {said}");
    output
}

fn set(house: &House, name: &str, value: &str) {
    let output = secret(house, &["set", name], value);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// Every file below a folder that holds the canary.
fn holding(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            holding(&path, found);
        } else if text(&fs::read(&path).unwrap()).contains(CANARY) {
            found.push(path.display().to_string());
        }
    }
}

/// Runs the binary, which has to fail; gives what it complained about.
fn failing(house: &House, arguments: &[&str]) -> String {
    let output = house.run(arguments);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(!output.status.success() && !said.contains(CANARY), "{arguments:?}: {said}");
    said
}

fn value(house: &House, name: &str) -> String {
    Vault::of(&house.dir()).reveal(name).unwrap().expose().to_owned()
}

/// A project with a connection, an action and a rule that refer to secrets.
fn referring() -> House {
    let house = House::new();
    house
        .write(
            "connections/crm.yaml",
            "connection: crm\ntype: postgres\noptions: {host: 127.0.0.1, database: d, user: u, password: '${secret:crm}'}\n",
        )
        .write(
            "actions/web.yaml",
            "action: web\ntype: webhook\noptions:\n  url: https://shop.example/hook\n  secret: ${secret:hook}\n",
        );
    house
}

#[test]
fn a_connections_password_comes_from_the_store() {
    let server = Postgres::start();
    let database = server.database();
    server.psql(&database, "create table t as select n as id from generate_series(1, 7) n");
    let house = House::new();
    house
        .write(
            "connections/db.yaml",
            format!(
                "connection: db\ntype: postgres\noptions: {{host: 127.0.0.1, port: {}, database: {database}, user: postgres, password: '${{secret:db}}'}}\n",
                server.port()
            ),
        )
        .write(
            "syncs/s.yaml",
            "sync: s\nconnection: db\nstreams:\n  - {stream: t, options: {table: t}, read: full, write: replace}\n",
        );
    let complaint = failing(&house, &["sync"]);
    assert!(complaint.contains("no secret named \"db\" is stored"), "{complaint}");
    set(&house, "db", &format!("{}\n", Postgres::PASSWORD));
    house.ok(&["sync"]);
    assert_eq!(house.cell("select count(*) from raw.t"), "7");
    // Another one takes its place at once, and is told by nobody.
    set(&house, "db", CANARY);
    let complaint = failing(&house, &["-vv", "sync"]);
    assert!(complaint.contains("password"), "{complaint}");
    set(&house, "db", Postgres::PASSWORD);
    house.ok(&["secret", "rotate-key"]);
    house.ok(&["sync"]);
}

#[test]
fn check_says_which_secret_is_missing_where_and_what_stores_it() {
    let house = referring();
    let told = |expected: &[&str]| {
        let output = house.run(&["check"]);
        let said = text(&output.stderr);
        assert!(output.status.success(), "another machine may have it: {said}");
        for part in expected {
            assert!(said.contains(part), "{part}: {said}");
        }
        said
    };
    told(&[
        "no secret named \"crm\" is stored",
        "--> connections/crm.yaml:3",
        "`flywheel secret set crm`",
        "no secret named \"hook\" is stored",
        "--> actions/web.yaml:5",
    ]);
    set(&house, "crm", CANARY);
    let said = told(&["\"hook\""]);
    assert!(!said.contains("\"crm\""), "{said}");
    set(&house, "hook", CANARY);
    assert!(!told(&[]).contains("secret"), "everything is stored");
    // Moved under another name by somebody who can write the file, it does not open.
    let file = house.dir().join(".flywheel/secrets.json");
    let whole = fs::read_to_string(&file).unwrap();
    let swapped = whole.replace("\"crm\"", "\"x\"").replace("\"hook\"", "\"crm\"");
    fs::write(&file, swapped.replace("\"x\"", "\"hook\"")).unwrap();
    told(&["\"crm\"", "\"hook\"", "is not as it was sealed under this name"]);
    fs::write(&file, whole).unwrap();
    fs::remove_file(house.dir().join(".flywheel/secrets.key")).unwrap();
    told(&[
        "the secret \"crm\" cannot be opened",
        "there is no key file",
        "FLYWHEEL_SECRETS_KEY_FILE",
    ]);
}

#[test]
fn secrets_are_set_listed_and_removed_and_never_shown() {
    let house = referring();
    set(&house, "crm", &format!("{CANARY}\r\n"));
    assert_eq!(value(&house, "crm"), CANARY);
    set(&house, "spare", "x");
    let listed = text(&secret(&house, &["list", "--output", "csv"], "").stdout);
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 4, "{listed}");
    assert!(lines[1].starts_with("crm,20") && lines[1].ends_with(",connections/crm.yaml"));
    assert_eq!(lines[2], "hook,not stored,actions/web.yaml");
    assert!(lines[3].starts_with("spare,20") && lines[3].ends_with(','), "{listed}");

    let refused = secret(&house, &["remove", "crm"], "");
    assert_eq!(refused.status.code(), Some(3));
    let said = text(&refused.stderr);
    assert!(said.contains("connections/crm.yaml:3") && said.contains("--force"), "{said}");
    house.ok(&["secret", "remove", "crm", "--force"]);
    house.ok(&["secret", "remove", "spare"]);
    let none = house.fails(2, &["secret", "remove", "spare"]);
    assert!(none.contains("no secret named \"spare\""), "{none}");

    // A value is no argument, a name is no value, and nothing is stored under nothing.
    house.fails(2, &["secret", "set", "crm", "x"]);
    for (name, stdin) in [("crm", ""), ("crm", "\n"), ("a b", CANARY), ("a}", CANARY)] {
        assert_eq!(secret(&house, &["set", name], stdin).status.code(), Some(2), "{name}");
    }
    let large = "x".repeat((64 << 10) + 1);
    assert_eq!(secret(&house, &["set", "crm"], &large).status.code(), Some(2));
    assert!(Vault::of(&house.dir()).list().unwrap().is_empty());
}

#[test]
fn a_key_can_be_kept_elsewhere() {
    let (house, keys) = (referring(), tempfile::tempdir().unwrap());
    let file = keys.path().join("shop");
    let run = |arguments: &[&str]| {
        let mut command = binary();
        command.arg("-C").arg(house.dir()).args(arguments).stdin(Stdio::piped());
        command.env("FLYWHEEL_SECRETS_KEY_FILE", &file);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdin.take().unwrap().write_all(CANARY.as_bytes()));
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stderr)
    };
    assert!(run(&["secret", "set", "crm"]).contains(&*file.to_string_lossy()));
    run(&["secret", "set", "hook"]);
    assert!(!run(&["check"]).contains("secret"), "everything is stored");
    run(&["secret", "rotate-key"]);
    assert!(!run(&["check"]).contains("secret"), "everything is stored");
    assert!(!house.dir().join(".flywheel/secrets.key").exists());
    let said = text(&house.run(&["check"]).stderr);
    assert!(said.contains("cannot be opened"), "{said}");
}

#[test]
fn a_backup_holds_sealed_secrets_and_not_their_key() {
    let (house, folder) = (referring(), tempfile::tempdir().unwrap());
    house.write("data/t.csv", "id\n1\n");
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n");
    house.write(
        "syncs/s.yaml",
        "sync: s\nconnection: files\nstreams:\n  - {stream: t, options: {path: t.csv}, read: full, write: replace}\n",
    );
    house.ok(&["sync"]);
    set(&house, "crm", CANARY);
    let output = house.run(&["backup", &folder.path().join("backups").to_string_lossy()]);
    let (made, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(said.contains("left out: .flywheel/secrets.key (it holds a secret)"), "{said}");
    let made = made.lines().next().unwrap().to_owned();
    let kept = Path::new(&made).join("project/.flywheel");
    assert!(kept.join("secrets.json").is_file() && !kept.join("secrets.key").exists());
    let mut found = Vec::new();
    holding(folder.path(), &mut found);
    holding(&house.dir(), &mut found);
    assert_eq!(found, Vec::<String>::new());
    let back = folder.path().join("back");
    let output = binary().args(["restore", &made]).arg(&back).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success() && said.contains(".flywheel/secrets.key"), "{said}");
    let restored = Vault::of(&back);
    let error = restored.reveal("crm").unwrap_err();
    assert!(error.message().contains("no key file"), "{error}");
    fs::copy(house.dir().join(".flywheel/secrets.key"), restored.key_file()).unwrap();
    assert_eq!(restored.reveal("crm").unwrap().expose(), CANARY);
}

#[test]
fn whoever_is_killed_while_keys_are_changed_loses_no_secret() {
    let house = referring();
    for number in 0..40 {
        let name = format!("s{number}");
        let value = flywheel_base::Secret::new(format!("value {number}"));
        let vault = Vault::of(&house.dir());
        vault.set(&name, &value, flywheel_base::Timestamp::default()).unwrap();
    }
    let mut cut = 0;
    for step in 0..30 {
        let after = Duration::from_millis(step * 2);
        cut += usize::from(house.killed(&["secret", "rotate-key"], after, || {}));
        for number in 0..40 {
            assert_eq!(value(&house, &format!("s{number}")), format!("value {number}"), "{step}");
        }
    }
    assert!(cut > 0, "nothing was killed");
    house.ok(&["secret", "rotate-key"]);
    let keys = fs::read_to_string(house.dir().join(".flywheel/secrets.key")).unwrap();
    assert_eq!(keys.lines().filter(|line| !line.starts_with('#')).count(), 1);
}
