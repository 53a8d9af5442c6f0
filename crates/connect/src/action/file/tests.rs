//! What a system that fetches files sees.

use serde_json::{Value, json};

use super::*;
use crate::action::{ActionEntry, Attachment};

fn delivery(key: &str, payload: Value) -> Delivery {
    Delivery { key: key.into(), payload, group: "win-back/2024-05-01".into() }
}

fn action(folder: &tempfile::TempDir, path: &str) -> Box<dyn Action> {
    let ctx = ActionContext { base_dir: folder.path().to_path_buf(), ..Default::default() };
    ActionEntry::named("file").unwrap().build(json!({ "path": path }), &ctx).unwrap()
}

fn delivered(outcomes: &[Outcome]) -> Vec<bool> {
    outcomes.iter().map(|outcome| matches!(outcome, Outcome::Delivered { .. })).collect()
}

#[tokio::test]
async fn a_group_is_one_file_that_redelivery_does_not_change() {
    let folder = tempfile::tempdir().unwrap();
    let action = action(&folder, "out/{policy}/{turn}.jsonl");
    let batch = [delivery("b", json!({"to": "B"})), delivery("a", json!({"to": "A"}))];
    assert_eq!(delivered(&action.deliver(&batch[..1]).await), [true]);
    assert_eq!(delivered(&action.deliver(&batch).await), [true, true]);
    let path = folder.path().join("out/win-back/2024-05-01.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(
        text,
        "{\"key\":\"a\",\"payload\":{\"to\":\"A\"}}\n{\"key\":\"b\",\"payload\":{\"to\":\"B\"}}\n"
    );
    action.deliver(&batch).await;
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);

    let other = [delivery("a", json!({"to": "somebody else"}))];
    assert_eq!(delivered(&action.deliver(&other).await), [false]);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn csv_gains_columns_and_quotes_what_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    let action = action(&folder, "{policy}.csv");
    action.deliver(&[delivery("2", json!({"name": "Ann, \"A\"", "n": 1}))]).await;
    let more = delivery("1", json!({"name": "Bob\nB", "offer": ["x"], "key": "k"}));
    assert_eq!(delivered(&action.deliver(&[more.clone(), more]).await), [true, true]);
    assert_eq!(
        fs::read_to_string(folder.path().join("win-back.csv")).unwrap(),
        "key,n,name,offer,payload_key\n1,,\"Bob\nB\",\"[\"\"x\"\"]\",k\n2,1,\"Ann, \"\"A\"\"\",,\n"
    );
}

#[tokio::test]
async fn names_cannot_leave_the_folder_and_foreign_files_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let writer = action(&folder, "out/{policy}/{turn}.jsonl");
    let evil = Delivery { group: "../../etc/..".into(), ..delivery("a", json!(1)) };
    assert_eq!(delivered(&writer.deliver(&[evil]).await), [true]);
    let names: Vec<_> = fs::read_dir(folder.path().join("out"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, ["%2E.%2F..%2Fetc"]);

    fs::write(folder.path().join("mine.jsonl"), "precious").unwrap();
    let outcomes = action(&folder, "mine.jsonl").deliver(&[delivery("a", json!(1))]).await;
    assert!(matches!(&outcomes[0], Outcome::Rejected { reason } if reason.contains("mine.jsonl")));
    assert_eq!(fs::read_to_string(folder.path().join("mine.jsonl")).unwrap(), "precious");
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("out"), "a file where the folder should be").unwrap();
    let outcomes = action(&folder, "out/a.jsonl").deliver(&[delivery("a", json!(1))]).await;
    assert!(matches!(&outcomes[0], Outcome::Retry { .. }), "{outcomes:?}");
}

#[test]
fn an_impossible_path_is_refused() {
    let ctx = ActionContext { base_dir: PathBuf::new(), ..Default::default() };
    for path in ["", "out/", "out/{customer}.csv"] {
        let built = ActionEntry::named("file").unwrap().build(json!({ "path": path }), &ctx);
        assert!(built.is_err(), "{path}");
    }
}

#[tokio::test]
async fn a_report_is_a_workbook_or_a_line_and_the_first_line_of_a_key_stays() {
    let folder = tempfile::tempdir().unwrap();
    let report = |text: &str, bytes: Option<&[u8]>| Report {
        delivery: delivery("k", json!({"text": text})),
        brief: text.to_owned(),
        html: String::new(),
        attachment: bytes.map(|bytes| Attachment {
            name: "销售.xlsx".to_owned(),
            kind: "application/octet-stream",
            bytes: bytes.to_vec(),
        }),
    };
    let book = action(&folder, "out/{policy}/{turn}.xlsx");
    for bytes in [&b"old"[..], b"new"] {
        assert_eq!(delivered(&[book.report(&report("a", Some(bytes))).await]), [true]);
        assert_eq!(fs::read(folder.path().join("out/win-back/2024-05-01.xlsx")).unwrap(), bytes);
    }
    let none = book.report(&report("a", None)).await;
    assert!(matches!(&none, Outcome::Rejected { reason } if reason.contains("attach: workbook")));
    let decision = book.deliver(&[delivery("a", json!(1))]).await;
    assert!(matches!(&decision[0], Outcome::Rejected { reason } if reason.contains(".jsonl")));

    let lines = action(&folder, "{policy}.jsonl");
    for text in ["first", "second"] {
        assert_eq!(delivered(&[lines.report(&report(text, None)).await]), [true]);
    }
    let text = fs::read_to_string(folder.path().join("win-back.jsonl")).unwrap();
    assert_eq!(text, "{\"key\":\"k\",\"payload\":{\"text\":\"first\"}}\n");
}
