//! Secrets come back as they were, or an error names the one that does not; nothing in between.

use std::os::unix::fs::MetadataExt as _;

use super::*;

const VALUE: &str = "c4nary-Zq7wXv";

/// A project's folder with the vault of it, whose key lies where it does by default.
struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn dir(&self) -> &Path {
        self.folder.path()
    }

    fn vault(&self) -> Vault {
        let folder = self.dir().join(".flywheel");
        Vault { key_file: folder.join("secrets.key"), folder, own_key: true }
    }

    fn set(&self, name: &str, value: &str) -> bool {
        self.vault().set(name, &Secret::new(value), Timestamp::from_day(20_000)).unwrap()
    }

    fn file(&self) -> PathBuf {
        self.vault().file()
    }

    fn kept(&self) -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(self.file()).unwrap()).unwrap()
    }

    fn put(&self, kept: &serde_json::Value) {
        fs::write(self.file(), kept.to_string()).unwrap();
    }
}

/// What an error says, all of it.
fn said(error: &Error) -> String {
    format!("{} {error:?}", error.report())
}

#[test]
fn a_secret_comes_back_and_is_nowhere_as_it_is() {
    let project = Project::new();
    assert!(project.vault().list().unwrap().is_empty());
    assert!(
        !project.set("crm", "first") && project.set("crm", VALUE) && !project.set("a.b-c", "x")
    );
    let vault = project.vault();
    assert_eq!(vault.reveal("crm").unwrap().expose(), VALUE);
    let names: Vec<String> = vault.list().unwrap().into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["a.b-c", "crm"]);
    assert_eq!(vault.list().unwrap()[0].set_at, "2024-10-04T00:00:00Z");
    for entry in fs::read_dir(&vault.folder).unwrap() {
        let path = entry.unwrap().path();
        let content = fs::read(&path).unwrap();
        assert!(!String::from_utf8_lossy(&content).contains(VALUE), "{}", path.display());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600, "{}", path.display());
    }
    assert!(vault.remove("crm").unwrap() && !vault.remove("crm").unwrap());
    assert_eq!(vault.reveal("crm").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(vault.reveal("a.b-c").unwrap().expose(), "x");
}

#[test]
fn the_same_value_is_sealed_to_something_else_each_time() {
    let project = Project::new();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        project.set("crm", VALUE);
        let entry = &project.kept()["secrets"]["crm"];
        assert!(
            seen.insert(entry["nonce"].to_string()) && seen.insert(entry["sealed"].to_string())
        );
    }
}

#[test]
fn whatever_byte_of_the_file_is_changed_no_wrong_value_comes_back() {
    let project = Project::new();
    project.set("crm", VALUE);
    let whole = fs::read(project.file()).unwrap();
    let vault = project.vault();
    for at in 0..whole.len() {
        for change in [1, 0x20, 0x80] {
            let mut other = whole.clone();
            other[at] ^= change;
            fs::write(project.file(), &other).unwrap();
            match vault.reveal("crm") {
                // Space between parts of the file says nothing.
                Ok(value) => {
                    assert!(whole[at].is_ascii_whitespace(), "byte {at} ^ {change} goes unseen");
                    assert_eq!(value.expose(), VALUE);
                }
                Err(error) => {
                    let said = said(&error);
                    assert!(said.contains("\"crm\"") && !said.contains(VALUE), "byte {at}: {said}");
                }
            }
        }
    }
    for length in 0..whole.len() - 1 {
        fs::write(project.file(), &whole[..length]).unwrap();
        // What is left of the last bracket's line is whole.
        assert!(vault.reveal("crm").is_err(), "{length} bytes are taken for the whole");
    }
}

#[test]
fn each_part_of_an_entry_is_proven() {
    let project = Project::new();
    project.set("crm", VALUE);
    let whole = project.kept();
    for part in ["set_at", "key", "nonce", "sealed"] {
        let text = whole["secrets"]["crm"][part].as_str().unwrap();
        let digits = text.char_indices().filter(|(_, c)| c.is_ascii_hexdigit());
        for (at, digit) in digits {
            let mut other = whole.clone();
            let changed = if digit == '0' { "1" } else { "0" };
            let mut text = text.to_owned();
            text.replace_range(at..=at, changed);
            other["secrets"]["crm"][part] = text.into();
            project.put(&other);
            let error = project.vault().reveal("crm").unwrap_err();
            let expected = if part == "key" { ErrorKind::Denied } else { ErrorKind::Corrupt };
            assert_eq!(error.kind(), expected, "{part} at {at}: {error}");
            assert!(error.message().contains("\"crm\"") && error.hint_text().is_some(), "{error}");
        }
    }
}

#[test]
fn an_entry_under_another_name_does_not_open() {
    let project = Project::new();
    project.set("crm", VALUE);
    project.set("robot", "another");
    let mut kept = project.kept();
    kept["secrets"]["robot"] = kept["secrets"]["crm"].clone();
    project.put(&kept);
    let error = project.vault().reveal("robot").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("\"robot\"") && !said(&error).contains(VALUE), "{error}");
    assert_eq!(project.vault().reveal("crm").unwrap().expose(), VALUE);
}

#[test]
fn another_key_or_none_is_told_with_the_secrets_name() {
    let (project, other) = (Project::new(), Project::new());
    project.set("crm", VALUE);
    other.set("x", "x");
    let vault = project.vault();
    let key = fs::read_to_string(&vault.key_file).unwrap();
    fs::copy(&other.vault().key_file, &vault.key_file).unwrap();
    let error = vault.reveal("crm").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(
        error.message().contains("\"crm\"") && error.message().contains("another one"),
        "{error}"
    );
    // Nothing is sealed by a key that does not open the rest, and no key is made beside one that is lost.
    assert!(vault.set("new", &Secret::new("x"), Timestamp::default()).is_err());
    assert_eq!(vault.rotate().unwrap_err().kind(), ErrorKind::Denied);
    fs::remove_file(&vault.key_file).unwrap();
    let error = vault.reveal("crm").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error.message().contains("\"crm\"") && error.message().contains("no key file"),
        "{error}"
    );
    assert!(vault.set("new", &Secret::new("x"), Timestamp::default()).is_err());
    assert!(vault.rotate().is_err() && !vault.key_file.exists());
    fs::write(&vault.key_file, &key).unwrap();
    fs::set_permissions(&vault.key_file, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(vault.reveal("crm").unwrap_err().message().contains("by others"));
    // A key that somebody put elsewhere is their own to guard.
    let elsewhere = Vault::with_key(project.dir(), &vault.key_file);
    assert_eq!(elsewhere.reveal("crm").unwrap().expose(), VALUE);
    // The key is lost: what it sealed is given up, and the next secret makes another one.
    fs::remove_file(&vault.key_file).unwrap();
    assert!(vault.remove("crm").unwrap());
    project.set("crm", "again");
    assert_eq!(vault.reveal("crm").unwrap().expose(), "again");
}

#[test]
fn files_of_keys_that_are_none_are_refused_without_what_they_hold() {
    let project = Project::new();
    project.set("crm", VALUE);
    let vault = Vault::with_key(project.dir(), &project.dir().join("key"));
    let upper = fs::read_to_string(&project.vault().key_file).unwrap().to_uppercase();
    for (text, expected) in [
        ("", "holds no key"),
        ("# a note\n", "holds no key"),
        ("hunter2\n", "line 1"),
        (&*upper, "line 2"),
    ] {
        fs::write(&vault.key_file, text).unwrap();
        let error = vault.reveal("crm").unwrap_err();
        assert!(
            error.message().contains(expected) && error.message().contains("\"crm\""),
            "{error}"
        );
        assert!(!said(&error).contains("hunter2"), "{error}");
    }
}

#[test]
fn a_rotation_that_is_killed_at_any_step_leaves_everything_readable() {
    let project = Project::new();
    project.set("a", "one");
    project.set("b", "two");
    let vault = project.vault();
    let readable = || {
        assert_eq!(vault.reveal("a").unwrap().expose(), "one");
        assert_eq!(vault.reveal("b").unwrap().expose(), "two");
    };
    let (old_keys, old_file) =
        (fs::read_to_string(&vault.key_file).unwrap(), fs::read(project.file()).unwrap());
    assert_eq!(vault.rotate().unwrap(), 2);
    readable();
    let new_keys = fs::read_to_string(&vault.key_file).unwrap();
    let new_file = fs::read(project.file()).unwrap();
    assert!(new_keys != old_keys && new_keys.lines().count() == 2, "a head and one key");
    // Both keys are there, and nothing is sealed anew: the first step.
    let old_key = old_keys.lines().last().unwrap();
    fs::write(&vault.key_file, format!("{new_keys}{old_key}\n")).unwrap();
    fs::write(project.file(), &old_file).unwrap();
    readable();
    // Everything is sealed anew: the second.
    fs::write(project.file(), &new_file).unwrap();
    readable();
    // Halves of files have names of their own, and are no obstacle.
    for part in [".secrets.json.part", ".secrets.part.key"] {
        fs::write(vault.folder.join(part), "half").unwrap();
    }
    fs::write(project.file(), &old_file).unwrap();
    assert_eq!(vault.rotate().unwrap(), 2);
    readable();
    assert!(!fs::read_to_string(&vault.key_file).unwrap().contains(old_key));
    // What was sealed by a key that is gone does not open.
    fs::write(project.file(), &old_file).unwrap();
    assert!(vault.reveal("a").is_err());
}

#[test]
fn those_who_write_at_once_lose_nothing() {
    let project = Project::new();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let project = &project;
            scope.spawn(move || {
                for number in 0..10 {
                    project.set(&format!("s{writer}_{number}"), &format!("{writer} {number}"));
                }
                project.vault().rotate().unwrap();
            });
        }
    });
    assert_eq!(project.vault().list().unwrap().len(), 40);
    for writer in 0..4 {
        for number in 0..10 {
            let value = project.vault().reveal(&format!("s{writer}_{number}")).unwrap();
            assert_eq!(value.expose(), format!("{writer} {number}"));
        }
    }
}

#[test]
fn names_and_values_that_cannot_be_kept_are_refused_and_not_repeated() {
    let project = Project::new();
    let vault = project.vault();
    let long = "x".repeat(VALUE_BYTES_MAX + 1);
    for (name, value) in [
        ("", "x"),
        ("-a", "x"),
        (".a", "x"),
        ("a b", "x"),
        ("a}", "x"),
        ("密", "x"),
        (&*"n".repeat(101), "x"),
        ("a", ""),
        ("a", &*long),
    ] {
        let error = vault.set(name, &Secret::new(value), Timestamp::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}");
        assert!(error.hint_text().is_some() && !said(&error).contains("a b"), "{error}");
    }
    assert!(!vault.folder.exists(), "what is refused leaves nothing");
    vault.set("a", &Secret::new(&long[1..]), Timestamp::default()).unwrap();
    assert_eq!(vault.reveal("a").unwrap().expose(), &long[1..]);
}

#[test]
fn a_file_of_another_layout_is_not_guessed_at() {
    let project = Project::new();
    project.set("crm", VALUE);
    let mut kept = project.kept();
    kept["version"] = 2.into();
    project.put(&kept);
    let error = project.vault().reveal("crm").unwrap_err();
    assert!(error.message().contains("layout 2"), "{error}");
    assert!(project.vault().remove("crm").is_err());
}

#[test]
fn what_files_refer_to_and_cannot_be_had_is_told_at_its_place() {
    let project = Project::new();
    let write = |path: &str, text: &str| {
        let path = project.dir().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    project.set("crm", VALUE);
    write("connections/crm.yaml", "connection: crm\noptions:\n  password: ${secret:crm}\n");
    write("access/a.yml", "# ${secret:no}\nmasks: {mail: 'hmac(key=${secret:pii})'}\n");
    write(".hidden/a.yaml", "x: ${secret:no}\n");
    write("lake/t/_delta_log/0.json", "");
    write("lake/t/a.yaml", "x: ${secret:no}\n");
    write("note.md", "${secret:no}\n");
    let of = |name: &str, file: &str, line| SecretUse {
        name: name.to_owned(),
        file: file.to_owned(),
        line,
    };
    assert_eq!(
        uses(project.dir()).unwrap(),
        [of("pii", "access/a.yml", 2), of("crm", "connections/crm.yaml", 3)]
    );
    let told = project.vault().unusable(project.dir()).unwrap();
    assert!(!told.has_errors(), "another machine may have it");
    assert_eq!(
        told.render().lines().take(2).collect::<Vec<_>>(),
        ["warning: no secret named \"pii\" is stored", "  --> access/a.yml:2:25"]
    );
    assert!(told.render().contains("flywheel secret set pii"), "{}", told.render());
    fs::remove_file(&project.vault().key_file).unwrap();
    let told = project.vault().unusable(project.dir()).unwrap().render();
    assert!(told.contains("connections/crm.yaml:3") && told.contains("no key file"), "{told}");
}
