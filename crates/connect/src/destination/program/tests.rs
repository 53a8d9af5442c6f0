//! Programs of our own protocol that take rows: a script that keeps what it was sent, and one in Python.

use std::io::Cursor;
use std::path::PathBuf;

use arrow::ipc::reader::StreamReader;
use flywheel_base::ErrorKind;

use super::*;
use crate::destination::DestinationEntry;
use crate::destination::contract::case::{Case, checkpoint, rows};
use crate::source::contract::{Folder, installed};

/// Keeps all that it is sent, and gives each commit back.
const RECORDER: &str = r#"
export LC_ALL=C
echo '{"flywheel":1}'
tee sent | grep -a --line-buffered -o '{"commit":[0-9]*}$' | sed -u 's/commit/stored/'
"#;

/// A Python with pyarrow; nothing, said loudly, where there is none.
pub(crate) fn pyarrow() -> Option<PathBuf> {
    // A sixth of a gigabyte to install: only where real data is at hand, too.
    if std::env::var_os("FLYWHEEL_DATA").is_none() {
        eprintln!("NOT CHECKED: pyarrow is not installed; set FLYWHEEL_DATA");
        return None;
    }
    installed("pyarrow==26.0.1", "python3")
}

fn case_of(script: &str) -> Case {
    Case {
        entry: DestinationEntry::named("program").unwrap(),
        folder: Folder::new(&[("program.sh", script.as_bytes())]),
        connection: json!({ "command": ["sh", "program.sh"], "config": { "password": "battery-staple" } }),
        target: json!({ "options": { "depth": 3 } }),
        stream: json!({}),
        reader: None,
        bad: None,
        _server: None,
    }
}

/// What a program was sent: lines as they are, batches as the number of their rows and columns.
fn sent(case: &Case) -> Vec<String> {
    let bytes = std::fs::read(case.folder.path("sent")).unwrap();
    let (mut from, mut found) = (0, Vec::new());
    while from < bytes.len() {
        let rest = &bytes[from..];
        if rest[0] == 0xFF {
            let mut reader = Cursor::new(rest);
            let batches = StreamReader::try_new(&mut reader, None).unwrap();
            for batch in batches {
                let batch = batch.unwrap();
                found.push(format!("{} × {}", batch.num_rows(), batch.num_columns()));
            }
            from += usize::try_from(reader.position()).unwrap();
        } else {
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap();
            found.push(String::from_utf8(rest[..end].to_vec()).unwrap());
            from += end + 1;
        }
    }
    found
}

#[tokio::test]
async fn one_run_of_a_program_takes_all_commits_of_a_write() {
    let case = case_of(RECORDER);
    case.destination().check().await.unwrap();
    let mut writer = case.writer(WriteMode::Merge).await;
    for sequence in 1..=3 {
        writer.write(&rows(WriteMode::Merge, &[(sequence, "a"), (9, "b")])).await.unwrap();
        writer.write(&rows(WriteMode::Merge, &[(8, "c")])).await.unwrap();
        assert_eq!(writer.commit(&checkpoint(sequence)).await.unwrap().rows_written, 3);
        let committed = case.progress(WriteMode::Merge).await.committed;
        assert_eq!(committed, Some(checkpoint(sequence)));
    }
    writer.finish().await.unwrap();
    let sent = sent(&case);
    let request: Value = serde_json::from_str(&sent[0]).unwrap();
    let expected = json!({ "flywheel": 1, "verb": "write", "stream": "orders", "write": "merge",
        "key": ["id"], "options": { "depth": 3 }, "config": { "password": "battery-staple" } });
    assert_eq!(request, expected);
    let one = |n: i64| ["2 × 2".to_owned(), "1 × 2".to_owned(), format!("{{\"commit\":{n}}}")];
    assert_eq!(sent[1..], [one(1), one(2), one(3)].concat());
}

/// The error of a write of one row, with nothing committed.
async fn check(script: &str, kind: ErrorKind, said: &str) {
    let mut case = case_of(script);
    case.connection["timeout"] = json!("1s");
    let mut writer = case.writer(WriteMode::Append).await;
    let taken = writer.write(&rows(WriteMode::Append, &[(1, "a")])).await;
    let error = match taken {
        Ok(_) => writer.commit(&checkpoint(1)).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), kind, "{script}: {}", error.report());
    assert!(error.report().contains(said), "{script}: {}", error.report());
    assert!(!format!("{error:?}").contains("battery"), "{error:?}");
    assert_eq!(case.progress(WriteMode::Append).await, Progress::default(), "{script}");
}

#[tokio::test]
async fn a_program_that_does_not_acknowledge_has_stored_nothing() {
    let hello = "echo '{\"flywheel\":1}'";
    check("cat > /dev/null", ErrorKind::Unavailable, "wrote nothing for 1 s").await;
    let told = "head -c 1 > /dev/null; echo full of battery-staple >&2; exit 1";
    check(told, ErrorKind::Unavailable, "exit code 1: full of ***").await;
    let wrong = format!("{hello}; echo '{{\"stored\":7}}'; cat > /dev/null");
    check(&wrong, ErrorKind::Unavailable, "wrote nothing for 1 s").await;
    let failed =
        format!("{hello}; echo '{{\"error\":{{\"message\":\"disk full\"}}}}'; cat > /dev/null");
    check(&failed, ErrorKind::Unavailable, "the program failed: disk full").await;
    check("yes hello", ErrorKind::Invalid, "other things than messages").await;
}

#[tokio::test]
async fn a_program_that_ends_badly_after_its_last_commit_is_told() {
    let case = case_of(&format!("{RECORDER}\necho cannot close >&2; exit 1"));
    let mut writer = case.writer(WriteMode::Append).await;
    writer.write(&rows(WriteMode::Append, &[(1, "a")])).await.unwrap();
    writer.commit(&checkpoint(1)).await.unwrap();
    let error = writer.finish().await.unwrap_err();
    assert!(error.message().contains("cannot close"), "{error}");
    assert_eq!(case.progress(WriteMode::Append).await.committed, Some(checkpoint(1)));
}
