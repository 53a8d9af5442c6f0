//! Singer taps, as scripts.

mod real;

use flywheel_base::ErrorKind;
use futures::TryStreamExt as _;
use serde_json::json;

use super::*;
use crate::page::Position;
use crate::source::contract::{Folder, cells, codes, now};

/// Reads its arguments, and answers `--discover` with the catalog file beside it.
const PROLOGUE: &str = r#"
state=0 discover=
while [ $# -gt 0 ]; do
  case "$1" in
    --discover) discover=yes ;;
    --config) config=$2; shift ;;
    --catalog) catalog=$2; shift ;;
    --state) state=$(tr -dc 0-9 < "$2"); shift ;;
  esac
  shift
done
if [ $discover ]; then cat streams.json; exit; fi
schema() { printf '{"type":"SCHEMA","stream":"t","schema":{"properties":%s},"key_properties":["n"]}\n' "$1"; }
record() { printf '{"type":"RECORD","stream":"t","record":%s}\n' "$1"; }
state() { printf '{"type":"STATE","value":{"at":%s}}\n' "$1"; }
"#;

/// Seven rows, one of them bad; those at the last mark come again, unless the table is read whole.
pub(crate) const NUMBERS: &str = r#"
schema '{"n":{"type":"integer"},"at":{"type":"integer"},"t":{"type":["null","string"]}}'
[ $state -gt 0 ] && state $state
grep -q FULL_TABLE "$catalog" && [ $state -gt 0 ] && state=$((state + 1))
i=1
while [ $i -le 7 ]; do
  at=$(( i < 3 ? i : i - 1 ))
  if [ $at -ge $state ]; then
    [ $i = 4 ] && record "{\"n\":\"x\",\"at\":$at}" || record "{\"n\":$i,\"at\":$at,\"t\":\"row $i\"}"
    [ $i = 3 ] && state $at
  fi
  i=$((i + 1))
done
state $at
"#;

/// A folder with a tap of one stream `t`.
pub(crate) fn tap(body: &str) -> Folder {
    tap_with(
        body,
        &json!([{ "tap_stream_id": "t", "stream": "t",
        "schema": { "properties": { "n": { "type": "integer" }, "at": { "type": "integer" },
                                    "t": { "type": "string" } } },
        "metadata": [{ "breadcrumb": [], "metadata": {
            "table-key-properties": ["n"], "valid-replication-keys": ["at"] } }] }]),
    )
}

fn tap_with(body: &str, streams: &Value) -> Folder {
    let catalog = json!({ "streams": streams }).to_string();
    let script = format!("{PROLOGUE}\n{body}");
    Folder::new(&[("tap.sh", script.as_bytes()), ("streams.json", catalog.as_bytes())])
}

pub(crate) fn connection() -> Value {
    json!({ "command": ["sh", "tap.sh"] })
}

fn full() -> ReadRequest {
    ReadRequest::full(json!({ "stream": "t" }), now())
}

fn incremental() -> ReadRequest {
    ReadRequest::incremental(json!({ "stream": "t" }), now())
}

async fn all(folder: &Folder, request: &ReadRequest) -> Result<Vec<Page>> {
    let source = folder.source_with("singer", connection());
    source.read(request).try_collect().await
}

/// The pages before the error, and the error.
async fn until_error(folder: &Folder, request: &ReadRequest) -> (Vec<Page>, Option<Error>) {
    until_error_with(folder, connection(), request).await
}

async fn until_error_with(
    folder: &Folder,
    connection: Value,
    request: &ReadRequest,
) -> (Vec<Page>, Option<Error>) {
    let source = folder.source_with("singer", connection);
    let mut stream = source.read(request);
    let mut pages = Vec::new();
    while let Some(page) = stream.next().await {
        match page {
            Ok(page) => pages.push(page),
            Err(error) => return (pages, Some(error)),
        }
    }
    (pages, None)
}

fn notices(pages: &[Page]) -> Vec<&str> {
    pages.iter().flat_map(|page| &page.notices).map(|notice| notice.code.as_str()).collect()
}

fn last(pages: &[Page]) -> Option<Position> {
    pages.last().map(|page| page.position.clone())
}

#[tokio::test]
async fn values_arrive_exactly_as_the_schema_types_them() {
    let folder = tap(r#"
schema '{"big":{"type":"integer"},"price":{"type":["null","number"],"multipleOf":0.01},"day":{"type":"string","format":"date"},"at":{"anyOf":[{"type":"string","format":"date-time"},{"type":"null"}]},"tags":{"type":["array","null"]},"huge":{"type":"integer","minimum":0,"maximum":18446744073709551615},"ok":{"type":"boolean"},"wide":{"type":"number","multipleOf":1e-10}}'
record '{"big":9007199254740993,"price":12.30,"day":"2024-05-01","at":"2024-05-01T10:00:00.123456+02:00","tags":[{"a": 1.10}],"huge":18446744073709551615,"ok":true,"wide":1234567890123456789.0123456789}'
record '{"big":1,"price":null,"day":"2024-05-02","at":null,"tags":null,"huge":1,"ok":false,"wide":5E-10}'
"#);
    let pages = all(&folder, &full()).await.unwrap();
    assert_eq!(
        cells(&pages),
        [
            [
                "9007199254740993",
                "12.30",
                "2024-05-01",
                "2024-05-01T08:00:00.123456Z",
                "[{\"a\": 1.10}]",
                "18446744073709551615",
                "true",
                "1234567890123456789.0123456789"
            ],
            ["1", "∅", "2024-05-02", "∅", "∅", "1", "false", "0.0000000005"],
        ]
    );
}

#[tokio::test]
async fn a_crash_loses_nothing_and_repeats_nothing() {
    let whole = all(&tap(NUMBERS), &incremental()).await.unwrap();
    let crash = NUMBERS.replace("i=$((i + 1))", "[ $i = 6 ] && exit 1; i=$((i + 1))");
    let broken = tap(&crash);
    for page_rows in [2, 100] {
        let mut request = ReadRequest { page_rows, write_appends: true, ..incremental() };
        let (mut pages, error) = until_error(&broken, &request).await;
        assert_eq!(error.unwrap().kind(), ErrorKind::Unavailable);
        request.from = last(&pages);
        let mended = tap(NUMBERS);
        pages.extend(all(&mended, &request).await.unwrap());
        assert_eq!(cells(&pages), cells(&whole));
        assert_eq!(codes(&pages), ["type-mismatch"]);
        request.from = last(&pages);
        assert!(all(&mended, &request).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn rows_at_the_last_mark_come_once_and_new_ones_come() {
    let folder = tap(NUMBERS);
    let mut request = ReadRequest { write_appends: true, ..incremental() };
    request.from = last(&all(&folder, &request).await.unwrap());
    // Two more rows with the mark that was the last one.
    let more = NUMBERS.replace("-le 7", "-le 9").replace("i < 3", "i > 6 ? 6 : i < 3");
    let more = tap(&more);
    let pages = all(&more, &request).await.unwrap();
    assert_eq!(cells(&pages), [["8", "6", "row 8"], ["9", "6", "row 9"]]);
}

#[tokio::test]
async fn a_mark_that_cannot_be_read_makes_no_row_come_twice() {
    let folder = tap(r#"
schema '{"n":{"type":"integer"},"at":{"type":"integer"}}'
[ $state -lt 2 ] && record '{"n":1,"at":1}'
record '{"n":2,"at":2}'
record '{"n":3,"at":"later"}'
state 2
"#);
    let mut request = ReadRequest { write_appends: true, ..incremental() };
    let pages = all(&folder, &request).await.unwrap();
    assert_eq!((cells(&pages).len(), codes(&pages)), (2, vec!["type-mismatch"]));
    request.from = last(&pages);
    assert!(all(&folder, &request).await.unwrap().is_empty());

    // Nor is it set aside again when the mark has moved on.
    let more = tap(r#"
schema '{"n":{"type":"integer"},"at":{"type":"integer"}}'
record '{"n":3,"at":"later"}'
record '{"n":4,"at":3}'
state 3
"#);
    let pages = all(&more, &request).await.unwrap();
    assert_eq!((cells(&pages).len(), codes(&pages).len()), (1, 0));
    request.from = last(&pages);
    assert!(all(&more, &request).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_tap_that_does_not_repeat_itself_is_read_again_or_refused() {
    let numbers = |from: u32| {
        tap(&format!(
            "schema '{{\"n\":{{\"type\":\"integer\"}}}}'\nfor n in {from} 8 9; do record \"{{\\\"n\\\":$n}}\"; done"
        ))
    };
    let mut request = ReadRequest { page_rows: 2, ..full() };
    let pages = all(&numbers(7), &request).await.unwrap();
    request.from = Some(pages[0].position.clone());
    assert_eq!(cells(&all(&numbers(7), &request).await.unwrap()), [["9"]]);
    let again = all(&numbers(1), &request).await.unwrap();
    assert_eq!(cells(&again), [["1"], ["8"], ["9"]]);
    assert_eq!(notices(&again), ["rows-again"]);
    request.write_appends = true;
    let error = all(&numbers(1), &request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Blocked);
}

#[tokio::test]
async fn lines_that_are_no_messages_are_set_aside_by_number() {
    let long = r#"record "{\"n\":2,\"t\":\"$(head -c 3000 /dev/zero | tr '\0' x)\"}""#;
    let folder = tap(&format!(
        "schema '{{\"n\":{{\"type\":\"integer\"}}}}'\necho Loading rows\nrecord '{{\"n\":1}}'\n{long}\nprintf '\\377\\n'\necho '{{\"type\":\"RECORD\",\"stream\":\"t\",\"record\":{{\"n\":'\necho 5\nrecord '{{\"n\":3}}'"
    ));
    let source = folder
        .source_with("singer", json!({ "command": ["sh", "tap.sh"], "line_bytes_max": "1KiB" }));
    let request = full();
    let pages: Vec<Page> = source.read(&request).try_collect().await.unwrap();
    assert_eq!(cells(&pages), [["1"], ["3"]]);
    assert_eq!(
        codes(&pages),
        ["invalid-json", "line-too-long", "invalid-text", "invalid-json", "no-message"]
    );
    let first = &pages[0].rejected[0];
    assert_eq!((first.line, first.raw.as_str()), (Some(1), "Loading rows"));
    let (pages, error) = until_error(&tap("echo usage: nothing to see; echo bye"), &full()).await;
    assert!(pages.is_empty());
    assert!(error.unwrap().message().contains("does not write singer messages"));
}

#[tokio::test]
async fn a_schema_that_changes_brings_columns_and_loses_no_row() {
    let folder = tap(r#"
schema '{"n":{"type":"integer"}}'
record '{"n":1}'
schema '{"n":{"type":"string"},"more":{"type":"string","format":"date"}}'
record '{"n":"two","more":"2024-05-02"}'
record '{"n":3,"more":"2024-05-03","unknown":{"a":1}}'
"#);
    let pages = all(&folder, &full()).await.unwrap();
    assert_eq!(cells(&pages), [["1", "∅", "∅"], ["3", "2024-05-03", "{\"a\":1}"]]);
    assert_eq!((codes(&pages), notices(&pages)), (vec!["type-mismatch"], vec!["type-changed"]));
}

#[tokio::test]
async fn other_messages_are_told_or_refused() {
    let folder = tap(r#"
schema '{"n":{"type":"integer"}}'
echo '{"type":"RECORD","stream":"u","record":{"n":1}}'
echo '{"type":"RECORD","stream":"u","record":{"n":2}}'
echo '{"type":"ACTIVATE_VERSION","stream":"t","version":5}'
record '{"n":1}'
"#);
    let pages = all(&folder, &full()).await.unwrap();
    assert_eq!(cells(&pages), [["1"]]);
    assert_eq!(notices(&pages), ["other-stream", "new-version"]);
    let batch = tap(r#"echo '{"type":"BATCH","stream":"t","manifest":[]}'"#);
    assert!(all(&batch, &full()).await.unwrap_err().hint_text().unwrap().contains("batch_config"));
}

#[tokio::test]
async fn secrets_are_nowhere_to_be_seen() {
    let folder = tap(r#"
echo "$0 $*" > arguments
cat "$config" >&2
cat "$config"; echo
record "$(cat "$config")"
exit 1
"#);
    let connection = json!({ "command": ["sh", "tap.sh"], "env": { "TOKEN": "value-of-token" },
        "config": { "user": { "password": "correct horse" }, "keys": ["battery-staple"] } });
    let (pages, error) = until_error_with(&folder, connection, &full()).await;
    let error = error.unwrap();
    let rejected: Vec<_> = pages.iter().flat_map(|page| &page.rejected).collect();
    assert_eq!(rejected.len(), 1);
    let seen = format!("{error:?} {rejected:?} {:?}", last(&pages))
        + &std::fs::read_to_string(folder.path("arguments")).unwrap();
    for secret in ["correct", "battery", "value-of"] {
        assert!(!seen.contains(secret), "{seen}");
    }
    assert!(error.message().contains("\"password\":\"***\""), "{error}");
}

#[tokio::test]
async fn only_the_stream_and_its_properties_are_selected() {
    let streams = json!([
        { "tap_stream_id": "t", "stream": "t", "key_properties": ["n"], "replication_key": "at",
          "schema": { "properties": { "n": {}, "at": {}, "a": {}, "b": {} } },
          "metadata": [{ "breadcrumb": ["properties", "a"], "metadata": { "inclusion": "available" } }] },
        { "tap_stream_id": "u", "stream": "u", "schema": { "properties": {} }, "selected": true }
    ]);
    let folder = tap_with(
        "cp \"$catalog\" seen.json\nschema '{\"n\":{\"type\":\"integer\"},\"b\":{\"type\":\"integer\"}}'\nrecord '{\"n\":1,\"at\":2,\"a\":3,\"b\":4}'",
        &streams,
    );
    let request = ReadRequest::incremental(json!({ "stream": "t", "select": ["a"] }), now());
    let pages = all(&folder, &request).await.unwrap();
    assert_eq!(cells(&pages), [["1", "2", "3"]]);
    let seen = std::fs::read_to_string(folder.path("seen.json")).unwrap();
    let seen: Value = serde_json::from_str(&seen).unwrap();
    let (t, u) = (&seen["streams"][0], &seen["streams"][1]);
    assert_eq!((&t["selected"], &u["selected"]), (&json!(true), &json!(false)));
    assert_eq!(
        (&t["replication_method"], &t["replication_key"]),
        (&json!("INCREMENTAL"), &json!("at"))
    );
    assert_eq!(t["schema"]["properties"]["b"]["selected"], json!(false));
    let of = |list: &Value, name: Value| {
        let found =
            list["metadata"].as_array().unwrap().iter().find(|one| one["breadcrumb"] == name);
        found.unwrap()["metadata"].clone()
    };
    assert_eq!(
        of(t, json!(["properties", "a"])),
        json!({ "inclusion": "available", "selected": true })
    );
    assert_eq!(of(t, json!(["properties", "b"]))["selected"], json!(false));
    assert_eq!(of(t, json!([]))["replication-method"], json!("INCREMENTAL"));
    assert_eq!(of(u, json!([]))["selected"], json!(false));
}

#[tokio::test]
async fn what_a_tap_cannot_do_is_said_before_it_runs() {
    let forced = json!([{ "tap_stream_id": "t", "schema": {}, "metadata": [{ "breadcrumb": [],
        "metadata": { "forced-replication-method": "FULL_TABLE" } }] }]);
    let error = all(&tap_with("", &forced), &incremental()).await.unwrap_err();
    assert!(error.message().contains("only be read whole"), "{error}");
    let silent = json!([{ "tap_stream_id": "t", "schema": {} }]);
    let error = all(&tap_with("", &silent), &incremental()).await.unwrap_err();
    assert!(error.hint_text().unwrap().contains("`cursor`"), "{error:?}");
    let other = ReadRequest::full(json!({ "stream": "tt" }), now());
    let error = all(&tap(NUMBERS), &other).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.hint_text()),
        (ErrorKind::NotFound, Some("Did you mean \"t\"?"))
    );
    let ignorant = Folder::new(&[("tap.sh", b"echo unknown option --discover >&2; exit 2")]);
    let error = all(&ignorant, &full()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.hint_text().unwrap().contains("discover: false"), "{error:?}");
}

#[tokio::test]
async fn a_script_without_catalog_is_enough() {
    let folder = Folder::new(&[("tap.sh", b"echo '{\"type\":\"RECORD\",\"stream\":\"t\",\"record\":{\"n\":1,\"day\":\"2024-05-01\"}}'")]);
    let source =
        folder.source_with("singer", json!({ "command": ["sh", "tap.sh"], "discover": false }));
    source.check().await.unwrap();
    let request = full();
    let pages: Vec<Page> = source.read(&request).try_collect().await.unwrap();
    assert_eq!(cells(&pages), [["1", "2024-05-01"]]);
}
