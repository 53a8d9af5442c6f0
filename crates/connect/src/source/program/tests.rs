//! Programs of our own protocol, as scripts that play recorded streams.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Int64Array, LargeStringArray, NullArray, StringArray,
    Time64MicrosecondArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::Int32Type;
use arrow::ipc::writer::StreamWriter;
use flywheel_base::ErrorKind;
use futures::TryStreamExt as _;

use super::*;
use crate::page::Position;
use crate::source::contract::{Folder, cells, codes, now, rejected_at};

const PROLOGUE: &str = r#"
read -r request
case $request in
  *'"verb":"check"'*) echo '{"flywheel":1}'; exit ;;
  *'"verb":"describe"'*)
    echo '{"flywheel":1}'
    echo '{"stream":{"name":"t","options":{"part":2},"key":["n"],"cursors":["n"],"rows":7}}'
    cat 1.arrow; exit ;;
esac
row=$(printf '%s' "$request" | sed -n 's/.*"position":\([0-9][0-9]*\).*/\1/p')
row=${row:-0}
"#;

/// Seven rows, one of them bad, with a position after each.
pub(crate) const NUMBERS: &str = r#"
echo '{"flywheel":1}'
while [ $row -lt 7 ]; do
  row=$((row + 1))
  if [ $row = 4 ]; then echo '{"rejected":{"line":4,"column":"n","reason":"no number","raw":"x"}}'
  else cat $row.arrow; fi
  echo "{\"position\":$row}"
done
"#;

/// A stream of one batch.
fn recorded(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = arrow::record_batch::RecordBatch::try_from_iter(columns).unwrap();
    let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    stream.write(&batch).unwrap();
    stream.finish().unwrap();
    stream.into_inner().unwrap()
}

fn row(n: i64) -> Vec<u8> {
    let texts: ArrayRef = Arc::new(StringArray::from(vec![format!("row {n}")]));
    recorded(vec![("n", Arc::new(Int64Array::from(vec![n]))), ("t", texts)])
}

/// A folder with a program of one stream `t`.
pub(crate) fn program(body: &str) -> Folder {
    let folder = Folder::new(&[("program.sh", format!("{PROLOGUE}\n{body}").as_bytes())]);
    for n in 1..=7 {
        folder.write(&format!("{n}.arrow"), &row(n));
    }
    folder
}

pub(crate) fn connection() -> Value {
    json!({ "command": ["sh", "program.sh"], "config": { "password": "battery-staple" } })
}

fn full() -> ReadRequest {
    ReadRequest::full(json!({ "stream": "t" }), now())
}

fn incremental() -> ReadRequest {
    ReadRequest::incremental(json!({ "stream": "t" }), now())
}

async fn all(folder: &Folder, request: &ReadRequest) -> Result<Vec<Page>> {
    folder.source_with("program", connection()).read(request).try_collect().await
}

/// The pages before the error, and the error.
async fn until_error(folder: &Folder, connection: Value) -> (Vec<Page>, Error) {
    let (source, request) = (folder.source_with("program", connection), incremental());
    let (mut stream, mut pages) = (source.read(&request), Vec::new());
    loop {
        match stream.next().await.unwrap() {
            Ok(page) => pages.push(page),
            Err(error) => return (pages, error),
        }
    }
}

async fn check(body: &str, kind: ErrorKind, said: &str) {
    let (pages, error) = until_error(&program(body), connection()).await;
    assert_eq!((pages.len(), error.kind()), (0, kind), "{body}: {}", error.report());
    assert!(error.report().contains(said), "{body}: {}", error.report());
    assert!(!format!("{error:?}").contains("battery"), "{error:?}");
}

#[tokio::test]
async fn what_a_program_lists_can_be_read() {
    let folder = program(NUMBERS);
    let found = folder.source_with("program", connection()).discover().await.unwrap();
    assert_eq!((found.len(), found[0].rows), (1, Some(7)));
    assert_eq!((&found[0].primary_key, &found[0].cursors), (&vec!["n".into()], &vec!["n".into()]));
    let names: Vec<_> = found[0].schema.fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["n", "t"]);
    let pages = all(&folder, &ReadRequest::full(found[0].stream.clone(), now())).await.unwrap();
    assert_eq!(
        (cells(&pages).len(), rejected_at(&pages)),
        (6, vec![(4, "rejected-by-program", Some("n"))])
    );
}

#[tokio::test]
async fn a_program_that_fails_keeps_what_came_before_and_goes_on_from_its_position() {
    let broken = NUMBERS.replace("row=$((row + 1))", "row=$((row + 1)); [ $row = 6 ] && exit 3");
    let (mut pages, error) = until_error(&program(&broken), connection()).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("exit code 3"), "{error}");
    let mut request = incremental();
    request.from = pages.last().map(|page| page.position.clone());
    pages.extend(all(&program(NUMBERS), &request).await.unwrap());
    let whole = all(&program(NUMBERS), &incremental()).await.unwrap();
    assert_eq!((cells(&pages), codes(&pages)), (cells(&whole), codes(&whole)));
}

#[tokio::test]
async fn the_request_says_what_to_read() {
    let folder = program("printf '%s' \"$request\" > request; echo '{\"flywheel\":1}'");
    let mut request = ReadRequest {
        mode: ReadMode::Incremental { cursor: Some("at".into()), lag: None },
        page_rows: 5,
        ..ReadRequest::full(json!({ "stream": "t", "options": { "part": 2 } }), now())
    };
    request.from = Some(Position(
        json!({ "way": "incremental", "state": { "seen": [1] }, "rows": 3, "complete": true }),
    ));
    assert!(all(&folder, &request).await.unwrap().is_empty());
    let text = std::fs::read_to_string(folder.path("request")).unwrap();
    let found: Value = serde_json::from_str(&text).unwrap();
    let expected = json!({ "flywheel": 1, "verb": "read", "stream": "t", "options": { "part": 2 },
        "read": "incremental", "cursor": "at", "position": { "seen": [1] }, "batch_rows": 5,
        "config": { "password": "battery-staple" } });
    assert_eq!(found, expected);
}

#[tokio::test]
async fn output_that_is_none_of_the_protocol_is_refused() {
    check("echo Loading rows", ErrorKind::Invalid, "not one of the protocol: Loading rows").await;
    check("cat 1.arrow", ErrorKind::Invalid, "does not begin with").await;
    check("exit 0", ErrorKind::Invalid, "does not begin with").await;
    check("echo '{\"flywheel\":2}'", ErrorKind::Invalid, "speaks version 2").await;
    let greeted = |body: &str| format!("echo '{{\"flywheel\":1}}'\n{body}");
    let invalid = ErrorKind::Invalid;
    check(&greeted("echo [1]"), invalid, "not one of the protocol").await;
    check(&greeted("head -c 100 1.arrow"), invalid, "the output ends within it").await;
    check(&greeted("printf '\\377\\377'"), invalid, "the output ends within it").await;
    check(&greeted("printf '\\377abcdefghij'"), invalid, "does not begin as one").await;
    let large = greeted("printf '\\377\\377\\377\\377\\377\\377\\377\\177'");
    check(&large, ErrorKind::Exhausted, "more than 64 MiB").await;
    let failed = greeted("echo broken with battery-staple >&2; head -c 100 1.arrow; exit 4");
    check(&failed, ErrorKind::Unavailable, "exit code 4: broken with ***").await;
    let told = greeted(
        "echo '{\"error\":{\"message\":\"no battery-staple here\",\"kind\":\"config\",\"hint\":\"Ask for one.\"}}'",
    );
    check(&told, invalid, "the program failed: no *** here").await;
    let twice = greeted("cat twice.arrow");
    let folder = program(&twice);
    let (n, m): (ArrayRef, ArrayRef) =
        (Arc::new(Int64Array::from(vec![1])), Arc::new(Int64Array::from(vec![2])));
    folder.write("twice.arrow", &recorded(vec![("n", n), ("n", m)]));
    let (_, error) = until_error(&folder, connection()).await;
    assert!(error.message().contains("the column \"n\" twice"), "{error}");
}

#[tokio::test]
async fn a_program_that_hangs_or_writes_an_endless_line_is_stopped() {
    let mut short = connection();
    short["timeout"] = json!("1s");
    let folder = program("echo '{\"flywheel\":1}'; tail -f /dev/null");
    let (_, error) = until_error(&folder, short.clone()).await;
    assert!(error.message().contains("wrote nothing for 1 s"), "{error}");
    short["line_bytes_max"] = json!("64KiB");
    let folder = program("echo '{\"flywheel\":1}'; head -c 300000 /dev/zero | tr '\\0' x; echo");
    let (_, error) = until_error(&folder, short).await;
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
}

#[tokio::test]
async fn a_message_with_damage_anywhere_is_an_error_or_other_rows_but_never_the_end_of_us() {
    let body = "echo '{\"flywheel\":1}'; cat damaged.arrow; echo '{\"position\":1}'";
    let (folder, whole) = (program(body), row(1));
    for at in (0..whole.len()).step_by(5) {
        for bits in [0x80, 0xFF] {
            let mut damaged = whole.clone();
            damaged[at] ^= bits;
            folder.write("damaged.arrow", &damaged);
            if let Err(error) = all(&folder, &full()).await {
                assert_ne!(error.kind(), ErrorKind::Internal, "byte {at}: {}", error.report());
            }
        }
    }
}

#[tokio::test]
async fn an_incremental_read_needs_positions_and_a_full_one_does_not() {
    let body = "echo '{\"flywheel\":1}'; cat 1.arrow; cat 2.arrow";
    check_open(body).await;
    let pages = all(&program(body), &full()).await.unwrap();
    assert_eq!(cells(&pages), [["1", "row 1"], ["2", "row 2"]]);
    assert!(pages[0].position.0.is_null() && !pages[1].position.0.is_null());
}

async fn check_open(body: &str) {
    let (pages, error) = until_error(&program(body), connection()).await;
    assert!(pages.iter().all(|page| page.position.0.is_null()));
    assert!(error.message().contains("without a position"), "{error}");
}

#[tokio::test]
async fn lines_may_stand_between_the_batches_of_one_stream() {
    let folder = program(
        "echo '{\"flywheel\":1}'; cat a; echo '{\"position\":\"a\"}'; cat b; echo '{\"position\":\"b\"}'",
    );
    let ids = |ids: &[i64]| -> ArrayRef { Arc::new(Int64Array::from(ids.to_vec())) };
    let batch =
        |list: &[i64]| arrow::record_batch::RecordBatch::try_from_iter([("n", ids(list))]).unwrap();
    let mut stream = StreamWriter::try_new(Vec::new(), &batch(&[]).schema()).unwrap();
    stream.write(&batch(&[1, 2])).unwrap();
    folder.write("a", stream.get_ref());
    let cut = stream.get_ref().len();
    stream.write(&batch(&[3])).unwrap();
    stream.finish().unwrap();
    folder.write("b", &stream.get_ref()[cut..]);
    let pages = all(&folder, &incremental()).await.unwrap();
    assert_eq!(cells(&pages), [["1"], ["2"], ["3"]]);
    let states: Vec<_> = pages.iter().map(|page| page.position.0["state"].clone()).collect();
    assert_eq!(states, ["a", "b"]);
}

#[tokio::test]
async fn columns_may_come_later_and_types_become_those_of_the_lake() {
    let folder = program("echo '{\"flywheel\":1}'; cat 1.arrow; cat more.arrow; cat bad.arrow");
    let words: DictionaryArray<Int32Type> = vec!["x"].into_iter().collect();
    folder.write(
        "more.arrow",
        &recorded(vec![
            ("n", Arc::new(Int64Array::from(vec![2]))),
            ("big", Arc::new(UInt64Array::from(vec![u64::MAX]))),
            ("word", Arc::new(words)),
            ("long", Arc::new(LargeStringArray::from(vec!["l"]))),
            (
                "at",
                Arc::new(
                    TimestampNanosecondArray::from(vec![1_714_566_600_123_456_000])
                        .with_timezone("+02:00"),
                ),
            ),
            ("none", Arc::new(NullArray::new(1))),
        ]),
    );
    folder.write(
        "bad.arrow",
        &recorded(vec![("time", Arc::new(Time64MicrosecondArray::from(vec![1])) as ArrayRef)]),
    );
    let (source, request) = (folder.source_with("program", connection()), full());
    let mut stream = source.read(&request);
    let first = stream.next().await.unwrap().unwrap();
    let second = stream.next().await.unwrap().unwrap();
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(error.message().contains("\"time\""), "{error}");
    let found = cells(&[first, second]);
    assert_eq!(found[0][..2], ["1", "row 1"]);
    assert_eq!(
        found[1],
        ["2", "∅", "18446744073709551615", "x", "l", "2024-05-01T12:30:00.123456Z"]
    );
}

#[tokio::test]
async fn declared_types_set_rows_aside_that_do_not_fit() {
    let folder = program("echo '{\"flywheel\":1}'; cat 1.arrow; cat odd.arrow");
    let odd: ArrayRef = Arc::new(StringArray::from(vec!["x", "5"]));
    folder.write("odd.arrow", &recorded(vec![("t", odd)]));
    let mut request = full();
    request.columns = vec![crate::DeclaredColumn::new("t", crate::ColumnType::Int64)];
    let pages = all(&folder, &request).await.unwrap();
    assert_eq!(codes(&pages).len(), 2);
    assert_eq!(cells(&pages), [["5", "∅"]]);
}

#[tokio::test]
async fn notices_are_handed_on_without_secrets() {
    let folder = program(
        "echo '{\"flywheel\":1}'; cat 1.arrow; echo '{\"notice\":{\"message\":\"slow with battery-staple\"}}'; echo '{\"position\":1}'",
    );
    let pages = all(&folder, &incremental()).await.unwrap();
    assert_eq!(pages[0].notices[0].message, "slow with ***");
}
