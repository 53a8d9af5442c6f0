//! What is in `packaging/` names options, variables and paths that the program has.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::house::{House, binary, text};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join("packaging").join(name)).unwrap()
}

/// The options that a command has.
fn options(command: &str) -> String {
    text(&binary().args([command, "--help"]).output().unwrap().stdout)
}

/// Every long option in a text.
fn long_options(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| c.is_whitespace() || "\",[]'".contains(c));
    words.filter(|word| word.starts_with("--") && word.len() > 2).map(str::to_owned).collect()
}

#[test]
fn every_option_that_is_given_to_the_program_is_one_it_has() {
    let (serve, backup) = (options("serve"), options("backup"));
    let check = |name: &str, lines: &str, known: &str| {
        let given = long_options(lines);
        assert!(!given.is_empty(), "{name} gives no option");
        for option in given {
            assert!(
                known.contains(&format!("{option} ")) || known.contains(&format!("{option}\n")),
                "{name}: {option}"
            );
        }
    };
    let with = |text: &str, word: &str| -> String {
        text.lines().filter(|line| line.contains(word)).collect::<Vec<_>>().join("\n")
    };
    check("systemd", &with(&read("systemd/flywheel@.service"), "ExecStart="), &serve);
    check("backup unit", &with(&read("systemd/flywheel-backup@.service"), "flywheel -C"), &backup);
    check("Dockerfile", &with(&read("Dockerfile"), "CMD [\"serve\""), &serve);
    let chart = read("helm/flywheel/templates/statefulset.yaml");
    let (_, arguments) = chart.split_once("args:").unwrap();
    check("chart", arguments.split_once("env:").unwrap().0, &serve);
    check(
        "backup of the chart",
        &with(&read("helm/flywheel/templates/backup.yaml"), "args:"),
        &backup,
    );
}

#[test]
fn a_backup_gets_what_the_server_gets_to_find_its_metadata() {
    for given in [".Values.env ", ".Values.secretEnv ", ".Values.secretFiles "] {
        for template in ["statefulset", "backup"] {
            let text = read(&format!("helm/flywheel/templates/{template}.yaml"));
            assert!(text.contains(given), "{template} leaves out {given}");
        }
    }
    for unit in ["flywheel@", "flywheel-backup@"] {
        let text = read(&format!("systemd/{unit}.service"));
        assert!(text.contains("EnvironmentFile=-/etc/flywheel/%i.env"), "{unit}");
        assert!(!text.contains("PrivateNetwork"), "{unit} keeps it from a PostgreSQL");
    }
}

#[test]
fn the_image_makes_a_project_in_an_empty_folder_and_touches_no_other() {
    let start = root().join("packaging/start");
    let program = Path::new(env!("CARGO_BIN_EXE_flywheel")).parent().unwrap();
    let path =
        format!("{}:{}", program.display(), std::env::var_os("PATH").unwrap().to_string_lossy());
    let run = |folder: &Path| {
        let mut command = Command::new("sh");
        command.arg(&start).args(["serve", "--help"]).current_dir(folder).env("PATH", &path);
        let output = command.env("FLYWHEEL_PROJECT_NAME", "corner").output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("lost+found")).unwrap();
    run(folder.path());
    let made = fs::read_to_string(folder.path().join("flywheel.yaml")).unwrap();
    assert!(made.contains("corner"), "{made}");
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("mine.txt"), "x").unwrap();
    run(other.path());
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1);
}

#[test]
fn the_connection_of_the_compose_file_is_one() {
    let house = House::new();
    house.write("connections/shop.yaml", read("compose/connection.yaml"));
    house.ok(&["check"]);
}

#[test]
fn the_chart_uses_every_value_it_has_and_no_other() {
    let values = read("helm/flywheel/values.yaml");
    let mut known = BTreeSet::new();
    let mut above: Vec<(usize, String)> = Vec::new();
    for line in values.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let Some((name, _)) = line.trim_start().split_once(':') else { continue };
        let depth = line.len() - line.trim_start().len();
        above.retain(|(other, _)| *other < depth);
        above.push((depth, name.to_owned()));
        let path: Vec<&str> = above.iter().map(|(_, name)| name.as_str()).collect();
        known.insert(path.join("."));
    }
    let folder = root().join("packaging/helm/flywheel/templates");
    let mut used = BTreeSet::new();
    let (mut defined, mut included) = (BTreeSet::new(), BTreeSet::new());
    for entry in fs::read_dir(folder).unwrap() {
        let template = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert_eq!(template.matches("{{").count(), template.matches("}}").count());
        for part in template.split(".Values.").skip(1) {
            let path: String =
                part.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
            used.insert(path);
        }
        let quoted = |after: &str| -> Vec<String> {
            let names = template.split(after).skip(1);
            names.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
        };
        defined.extend(quoted("define \""));
        included.extend(quoted("include \""));
    }
    for path in &used {
        // Lists and maps are given as they are, so what is used may be above or below what is declared.
        let near = |known: &&String| {
            *known == path
                || path.starts_with(&format!("{known}."))
                || known.starts_with(&format!("{path}."))
        };
        assert!(known.iter().any(|one| near(&one)), "values.yaml has no {path}");
    }
    for path in &known {
        let covered = used.iter().any(|one| {
            path == one
                || path.starts_with(&format!("{one}."))
                || one.starts_with(&format!("{path}."))
        });
        assert!(covered, "no template uses {path}");
    }
    assert_eq!(defined.symmetric_difference(&included).count(), 0, "{defined:?} {included:?}");
}
