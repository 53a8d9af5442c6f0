//! Crashes between the steps of a commit, files of others, and what the formats write.

use std::fs;

use arrow::array::{ArrayRef, Int32Array, Int64Array, ListArray, StringArray, StructArray};
use arrow::datatypes::Int64Type;
use serde_json::{Value, json};

use super::*;
use crate::destination::{Checkpoint, DestinationEntry, NewTargetColumns};
use crate::page::Position;
use crate::source::contract::{Folder, now};

fn request(target: Value, mode: WriteMode) -> WriteRequest {
    WriteRequest {
        target,
        app: "shop/orders".into(),
        schema: Arc::new(Schema::empty()),
        mode,
        key: Vec::new(),
        deleted: None,
        new_columns: NewTargetColumns::Add,
        now: now(),
    }
}

fn destination(folder: &Folder, name: &str) -> Box<dyn Destination> {
    let ctx = DestinationContext { base_dir: folder.path(""), connection: "to".into() };
    DestinationEntry::named(name).unwrap().build(json!({ "folder": "out" }), &ctx).unwrap()
}

fn texts(texts: &[&str]) -> RecordBatch {
    let column: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    RecordBatch::try_from_iter([("t", column)]).unwrap()
}

fn checkpoint(sequence: i64) -> Checkpoint {
    Checkpoint { sequence, position: Position(json!({ "at": sequence })) }
}

async fn write(
    folder: &Folder,
    name: &str,
    request: &WriteRequest,
    sequence: i64,
    batch: &RecordBatch,
) -> Result<()> {
    let mut writer = destination(folder, name).writer(request).await?;
    writer.write(batch).await?;
    writer.commit(&checkpoint(sequence)).await?;
    writer.finish().await.map(drop)
}

const OWN: &str = "out/_flywheel/shop%2Forders@t.csv";

#[tokio::test]
async fn a_crash_after_the_manifest_and_before_the_rename_is_only_a_delay() {
    for mode in [WriteMode::Append, WriteMode::Replace] {
        let folder = Folder::new(&[]);
        let request = request(json!({ "path": "t.csv" }), mode);
        write(&folder, "csv", &request, 1, &texts(&["a"])).await.unwrap();
        let manifest: Value =
            serde_json::from_slice(&fs::read(folder.path(&format!("{OWN}.json"))).unwrap())
                .unwrap();
        let file = &manifest["files"][0];
        let name = format!("out/{}", file["name"].as_str().unwrap());
        let bytes = fs::read(folder.path(&name)).unwrap();
        assert_eq!(file["size_bytes"], json!(bytes.len()));
        assert_eq!(file["blake3"], json!(blake3::hash(&bytes).to_hex().to_string()));
        // As the disk looks if the process was killed right after the manifest was renamed.
        let part = format!("{OWN}/{}", file["part"].as_str().unwrap());
        fs::rename(folder.path(&name), folder.path(&part)).unwrap();
        let progress = destination(&folder, "csv").progress(&request).await.unwrap();
        assert_eq!(progress.committed, Some(checkpoint(1)));
        assert_eq!(fs::read(folder.path(&name)).unwrap(), bytes, "{mode}");
    }
}

#[tokio::test]
async fn numbers_that_become_wider_within_one_replacement_are_all_written() {
    let folder = Folder::new(&[]);
    let request = request(json!({ "path": "t.csv" }), WriteMode::Replace);
    let mut writer = destination(&folder, "csv").writer(&request).await.unwrap();
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let wide: ArrayRef = Arc::new(Int64Array::from(vec![1 << 40]));
    let again: ArrayRef = Arc::new(Int32Array::from(vec![3]));
    for (sequence, numbers) in (1..).zip([narrow, wide, again]) {
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        writer.write(&batch).await.unwrap();
        writer.commit(&checkpoint(sequence)).await.unwrap();
    }
    writer.finish().await.unwrap();
    let text = fs::read_to_string(folder.path("out/t.csv")).unwrap();
    assert_eq!(text.lines().collect::<Vec<_>>(), ["n", "1", "2", "1099511627776", "3"]);
}

#[tokio::test]
async fn a_crash_before_the_manifest_leaves_a_part_that_the_next_writer_removes() {
    let folder = Folder::new(&[]);
    let request = request(json!({ "path": "t.csv" }), WriteMode::Append);
    write(&folder, "csv", &request, 1, &texts(&["a"])).await.unwrap();
    folder.write(&format!("{OWN}/000002.part"), b"t\nlost\n");
    write(&folder, "csv", &request, 2, &texts(&["b"])).await.unwrap();
    let mut names: Vec<_> = fs::read_dir(folder.path("out"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["_flywheel", "t-000001.csv", "t-000002.csv"]);
    assert_eq!(fs::read_to_string(folder.path("out/t-000002.csv")).unwrap(), "t\nb\n");
    assert_eq!(fs::read_dir(folder.path(OWN)).unwrap().count(), 0);
}

#[tokio::test]
async fn a_reader_that_asks_for_progress_does_not_disturb_an_open_writer() {
    let folder = Folder::new(&[]);
    let request = request(json!({ "path": "t.csv" }), WriteMode::Append);
    write(&folder, "csv", &request, 1, &texts(&["a"])).await.unwrap();
    let mut writer = destination(&folder, "csv").writer(&request).await.unwrap();
    writer.write(&texts(&["b"])).await.unwrap();
    destination(&folder, "csv").progress(&request).await.unwrap();
    assert_eq!(fs::read_to_string(folder.path("out/t-000001.csv")).unwrap(), "t\na\n");
    writer.commit(&checkpoint(2)).await.unwrap();
    assert_eq!(fs::read_to_string(folder.path("out/t-000002.csv")).unwrap(), "t\nb\n");
}

#[tokio::test]
async fn a_replacement_removes_what_was_appended_before() {
    let folder = Folder::new(&[]);
    let append = request(json!({ "path": "t.csv" }), WriteMode::Append);
    write(&folder, "csv", &append, 1, &texts(&["a"])).await.unwrap();
    let replace = WriteRequest { mode: WriteMode::Replace, ..append.clone() };
    write(&folder, "csv", &replace, 2, &texts(&["b"])).await.unwrap();
    assert!(!folder.path("out/t-000001.csv").exists());
    // A later file of that name is somebody else's.
    folder.write("out/t-000001.csv", b"theirs");
    destination(&folder, "csv").progress(&append).await.unwrap();
    assert!(folder.path("out/t-000001.csv").exists());
}

#[tokio::test]
async fn files_and_manifests_of_others_are_never_overwritten() {
    let folder = Folder::new(&[("out/t-000001.csv", b"theirs")]);
    let request = request(json!({ "path": "t.csv" }), WriteMode::Append);
    let error = write(&folder, "csv", &request, 1, &texts(&["a"])).await.unwrap_err();
    assert_eq!(error.kind(), flywheel_base::ErrorKind::Blocked);
    assert!(error.message().contains("t-000001.csv"), "{error}");
    assert_eq!(fs::read(folder.path("out/t-000001.csv")).unwrap(), b"theirs");
    folder.write(&format!("{OWN}.json"), b"{ cut o");
    let error = destination(&folder, "csv").progress(&request).await.unwrap_err();
    assert_eq!(error.kind(), flywheel_base::ErrorKind::Corrupt);
    assert!(error.message().contains("shop%2Forders@t.csv.json"), "{error}");
}

#[tokio::test]
async fn a_column_that_changes_its_type_is_named() {
    let folder = Folder::new(&[]);
    let request = request(json!({ "path": "t.csv" }), WriteMode::Append);
    write(&folder, "csv", &request, 1, &texts(&["a"])).await.unwrap();
    let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let numbers = RecordBatch::try_from_iter([("t", number)]).unwrap();
    let error = write(&folder, "csv", &request, 2, &numbers).await.unwrap_err();
    assert!(error.message().contains("\"t\"") && error.message().contains("Int64"), "{error}");
}

#[tokio::test]
async fn impossible_paths_are_named_with_the_fix() {
    let folder = Folder::new(&[("out/file/x", b"")]);
    for path in ["", "t", "t.parquet", "*.csv", "a/", ".csv"] {
        let request = request(json!({ "path": path }), WriteMode::Append);
        let error = destination(&folder, "csv").writer(&request).await.err().unwrap();
        assert!(error.message().contains(&format!("\"{path}\"")), "{path}: {error}");
        assert!(error.hint_text().unwrap().contains("out/orders.csv"), "{path}: {error}");
    }
    let request = request(json!({ "path": "file/x/t.csv" }), WriteMode::Append);
    assert!(destination(&folder, "csv").writer(&request).await.is_err());
}

async fn written(name: &str, target: Value, batch: &RecordBatch) -> Vec<u8> {
    let folder = Folder::new(&[]);
    let file = format!("out/{}", target["path"].as_str().unwrap());
    let request = request(target, WriteMode::Replace);
    write(&folder, name, &request, 1, batch).await.unwrap();
    let names = [file.clone(), format!("{file}.gz"), format!("{file}.zst")];
    let there = names.iter().map(|name| folder.path(name)).find(|path| path.exists());
    fs::read(there.unwrap()).unwrap()
}

#[tokio::test]
async fn no_value_and_an_empty_text_differ_and_formulas_are_escaped_on_demand() {
    let column: ArrayRef =
        Arc::new(StringArray::from(vec![Some(""), None, Some("=1"), Some("a\"b"), Some("-5;x")]));
    let batch = RecordBatch::try_from_iter_with_nullable([("t", column, true)]).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let keep = written("csv", json!({ "path": "t.csv" }), &batch).await;
    assert_eq!(text(keep), "t\n\"\"\n\n=1\n\"a\"\"b\"\n-5;x\n");
    let target = json!({ "path": "t.csv", "formulas": "escape", "delimiter": ";" });
    let escape = written("csv", target, &batch).await;
    assert_eq!(text(escape), "t\n\"\"\n\n'=1\n\"a\"\"b\"\n\"'-5;x\"\n");
}

#[tokio::test]
async fn compressed_files_have_their_ending_and_are_smaller() {
    let batch = texts(&["the same again"; 1_000]);
    let plain = written("csv", json!({ "path": "t.csv" }), &batch).await;
    for (compression, magic) in [("gzip", &[0x1f, 0x8b][..]), ("zstd", &[0x28, 0xb5, 0x2f, 0xfd])] {
        for name in ["csv", "jsonl"] {
            let target = json!({ "path": format!("t.{name}"), "compression": compression });
            let bytes = written(name, target, &batch).await;
            assert!(bytes.starts_with(magic), "{name} {compression}");
            assert!(bytes.len() < plain.len() / 4, "{name} {compression}: {}", bytes.len());
        }
    }
}

#[tokio::test]
async fn nested_values_and_declared_json_are_json() {
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(1), None]),
        None,
    ]));
    let names: ArrayRef = Arc::new(StringArray::from(vec![Some("a\"b"), None]));
    let field = arrow::datatypes::Field::new("n", arrow::datatypes::DataType::Utf8, true);
    let nested: ArrayRef = Arc::new(StructArray::from(vec![(Arc::new(field), names)]));
    let json_text: ArrayRef = Arc::new(StringArray::from(vec!["{\n\"x\": 1.50}", "[]"]));
    let columns = [("l", list), ("s", nested), ("j", json_text)];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let target = json!({ "path": "t.jsonl", "json_columns": ["j"] });
    let text = String::from_utf8(written("jsonl", target, &batch).await).unwrap();
    assert_eq!(
        text,
        "{\"l\":[1,null],\"s\":{\"n\":\"a\\\"b\"},\"j\":{ \"x\": 1.50}}\n\
         {\"l\":null,\"s\":{\"n\":null},\"j\":[]}\n"
    );
    let folder = Folder::new(&[]);
    let target = json!({ "path": "t.jsonl", "json_columns": ["k"] });
    let request = request(target, WriteMode::Append);
    let error = write(&folder, "jsonl", &request, 1, &batch).await.unwrap_err();
    assert!(error.message().contains("\"k\""), "{error}");
    let target = json!({ "path": "t.jsonl", "json_columns": ["t"] });
    let request = WriteRequest { target, ..request };
    let mut writer = destination(&folder, "jsonl").writer(&request).await.unwrap();
    let refused = writer.write(&texts(&["{}", "{", "1"])).await.unwrap();
    assert_eq!((refused[0].row, refused[0].code.as_str(), refused.len()), (1, "invalid-json", 1));
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named_by_the_check() {
    let folder = Folder::new(&[("out", b"a file, not a folder")]);
    let error = destination(&folder, "csv").check().await.unwrap_err();
    assert!(error.hint_text().unwrap().contains("`folder`"), "{error}");
    let folder = Folder::new(&[]);
    destination(&folder, "csv").check().await.unwrap();
}
