//! What a person sees who opens the workbook, and what its limits do.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, StringArray, TimestampMicrosecondArray};
use calamine::{Data, Reader, Xlsx, open_workbook};
use serde_json::json;

use super::*;
use crate::destination::{DestinationEntry, NewTargetColumns, WriteRequest, Writer};
use crate::page::Position;
use crate::source::contract::{Folder, now};

async fn writer(
    folder: &Folder,
    target: serde_json::Value,
    mode: WriteMode,
) -> Result<Box<dyn Writer>> {
    let ctx = DestinationContext { base_dir: folder.path(""), connection: "to".into() };
    let request = WriteRequest {
        target,
        app: "shop/orders".into(),
        schema: Arc::new(Schema::empty()),
        mode,
        key: Vec::new(),
        deleted: None,
        new_columns: NewTargetColumns::Add,
        now: now(),
    };
    DestinationEntry::named("excel")?.build(json!({}), &ctx)?.writer(&request).await
}

fn checkpoint() -> crate::destination::Checkpoint {
    crate::destination::Checkpoint { sequence: 1, position: Position(json!(1)) }
}

#[tokio::test]
async fn numbers_and_dates_are_cells_of_their_type_and_the_rest_is_text() {
    let folder = Folder::new(&[]);
    let target = json!({ "path": "out/book.xlsx", "sheet": "Orders" });
    let mut writer = writer(&folder, target, WriteMode::Replace).await.unwrap();
    let price = Decimal128Array::from(vec![1250, 1]).with_precision_and_scale(12, 2).unwrap();
    let at = TimestampMicrosecondArray::from(vec![1_714_566_600_000_000, -5_000_000_000_000_000]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("code", Arc::new(StringArray::from(vec!["00123", "=SUM(A1)"]))),
        ("count", Arc::new(Int64Array::from(vec![999_999_999_999_999, 1_000_000_000_000_000]))),
        ("price", Arc::new(price)),
        ("at", Arc::new(at)),
    ];
    writer.write(&RecordBatch::try_from_iter(columns).unwrap()).await.unwrap();
    writer.commit(&checkpoint()).await.unwrap();
    writer.finish().await.unwrap();
    let mut book: Xlsx<_> = open_workbook(folder.path("out/book.xlsx")).unwrap();
    assert_eq!(book.sheet_names(), ["Orders"]);
    let range = book.worksheet_range("Orders").unwrap();
    let text = |text: &str| Data::String(text.to_owned());
    let rows: Vec<&[Data]> = range.rows().collect();
    assert_eq!(rows[0], [text("code"), text("count"), text("price"), text("at")]);
    assert_eq!(
        rows[1][..3],
        [text("00123"), Data::Float(999_999_999_999_999.0), Data::Float(12.5)]
    );
    let shown = rows[1][3].to_string();
    let Data::DateTime(moment) = &rows[1][3] else { panic!("not a date: {shown}") };
    assert_eq!(moment.as_datetime().unwrap().to_string(), "2024-05-01 12:30:00");
    assert_eq!(rows[2][..2], [text("=SUM(A1)"), text("1000000000000000")]);
    assert_eq!(rows[2][3], text("1811-07-23 15:06:40"));
    let formulas = book.worksheet_formula("Orders").unwrap();
    assert!(formulas.rows().flatten().all(String::is_empty), "a text became a formula");
}

#[tokio::test]
async fn a_full_sheet_starts_the_next_file_or_is_an_error_that_says_so() {
    struct Small;
    impl OutputFormat for Small {
        type Target = ExcelTarget;
        const NAME: &'static str = "excel";
        const ENDINGS: &'static [&'static str] = &["xlsx"];
        const ROWS_MAX: Option<u64> = Some(3);
        fn new(_: ExcelTarget) -> Result<Self> {
            Ok(Self)
        }
        fn path(&self) -> &str {
            "t.xlsx"
        }
        fn check(&self, _: &Schema) -> Result<()> {
            Ok(())
        }
        fn refuse(&self, _: &RecordBatch) -> Result<Vec<Refused>> {
            Ok(Vec::new())
        }
        fn start(&self, sink: Sink, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
            Ok(Box::new(ExcelEncoder::new(sink, "Sheet1", schema)?))
        }
    }
    let folder = Folder::new(&[]);
    let ctx = DestinationContext { base_dir: folder.path(""), connection: "to".into() };
    let destination = OutputFolder::<Small>::new(&ctx, crate::FilePlace::default()).unwrap();
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..7));
    let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    let request = |mode| WriteRequest {
        target: json!({ "path": "t.xlsx" }),
        app: "a".into(),
        schema: batch.schema(),
        mode,
        key: Vec::new(),
        deleted: None,
        new_columns: NewTargetColumns::Add,
        now: now(),
    };
    let mut writer = destination.writer(&request(WriteMode::Append)).await.unwrap();
    writer.write(&batch).await.unwrap();
    writer.commit(&checkpoint()).await.unwrap();
    for (name, rows) in [("t-000001.xlsx", 4), ("t-000001-2.xlsx", 4), ("t-000001-3.xlsx", 2)] {
        let mut book: Xlsx<_> = open_workbook(folder.path(name)).unwrap();
        assert_eq!(book.worksheet_range("Sheet1").unwrap().height(), rows, "{name}");
    }
    let mut writer = destination.writer(&request(WriteMode::Replace)).await.unwrap();
    let error = writer.write(&batch).await.unwrap_err();
    assert_eq!(error.kind(), flywheel_base::ErrorKind::Exhausted);
    assert!(error.hint_text().unwrap().contains("append"), "{error}");
}

#[tokio::test]
async fn impossible_sheets_and_columns_are_named() {
    let folder = Folder::new(&[]);
    for sheet in ["", "a/b", "'x", "a name that is longer than a sheet's"] {
        let target = json!({ "path": "t.xlsx", "sheet": sheet });
        let error = writer(&folder, target, WriteMode::Append).await.err().unwrap();
        assert!(error.hint_text().unwrap().contains("1 to 31"), "{sheet}");
    }
    let target = json!({ "path": "t.xlsx" });
    let mut writer = writer(&folder, target, WriteMode::Append).await.unwrap();
    let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let batch = RecordBatch::try_from_iter([(" x", column)]).unwrap();
    assert!(writer.write(&batch).await.unwrap_err().message().contains("\" x\""));
}
