//! Whole folders: what a user reads when something is wrong, and what others get when nothing is.
//!
//! Each file in `tests-data/` holds the files of a folder and, last, the expected report. Run with
//! `UPDATE=1` to write the reports anew, then read them.

use std::fs;
use std::path::Path;

use schemars::json_schema;

use super::*;

/// The line before each file in a case.
const MARK: &str = "=== ";

/// The name of the expected report.
const EXPECTED: &str = "expected";

fn connectors() -> Connectors {
    let csv = ConnectorSchemas {
        connection: json_schema!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "The folder of the files."},
                "port": {"type": "integer", "minimum": 1, "maximum": 65535},
                "password": {"type": "string"}
            },
            "required": ["path"],
            "additionalProperties": false
        }),
        stream: json_schema!({
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "delimiter": {"type": "string"},
                "encoding": {"enum": ["utf-8", "gb18030", "latin-1"]}
            },
            "additionalProperties": false
        }),
    };
    let file = json_schema!({
        "type": "object",
        "properties": {"path": {"type": "string"}},
        "required": ["path"],
        "additionalProperties": false
    });
    Connectors {
        connections: BTreeMap::from([("csv".to_owned(), csv)]),
        actions: BTreeMap::from([("file".to_owned(), file)]),
    }
}

/// Splits a case into files; escapes stand for bytes an editor would not keep.
fn split(case: &str) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = Vec::new();
    for line in case.lines() {
        match (line.strip_prefix(MARK), files.last_mut()) {
            (Some(name), _) => files.push((name.trim().to_owned(), String::new())),
            (None, Some((_, text))) => {
                text.push_str(&line.replace("\\t", "\t"));
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    files
}

fn write(dir: &Path, files: &[(String, String)]) {
    for (name, text) in files.iter().filter(|(name, _)| name != EXPECTED) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn report(dir: &Path) -> String {
    let outcome = Project::load(dir, &connectors());
    let diagnostics = match &outcome {
        Ok(project) => &project.warnings,
        Err(diagnostics) => diagnostics,
    };
    if diagnostics.is_empty() { "clean".to_owned() } else { diagnostics.render() }
}

#[test]
fn every_mistake_is_reported_with_place_and_hint() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests-data");
    let update = flywheel_base::env::optional("UPDATE").is_some();
    let mut cases: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() > 5);
    let mut wrong = Vec::new();
    for path in cases {
        let case = fs::read_to_string(&path).unwrap();
        let files = split(&case);
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &files);
        let found = report(dir.path());
        let expected = files.iter().find(|(name, _)| name == EXPECTED);
        if expected.is_none_or(|(_, text)| text.trim_end() != found.trim_end()) {
            if update {
                let end = case.find("=== expected").unwrap_or(case.len());
                fs::write(&path, format!("{}=== expected\n{found}\n", &case[..end])).unwrap();
            } else {
                wrong.push(format!("{}:\n{found}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n\n"));
}
