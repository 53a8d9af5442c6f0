//! Programs that speak the Airbyte protocol, as scripts.

mod real;

use flywheel_base::ErrorKind;
use futures::TryStreamExt as _;
use serde_json::json;

use super::*;
use crate::source::contract::{Folder, cells, codes, now};

const PROLOGUE: &str = r#"
verb=$1; state=0; shift
while [ $# -gt 0 ]; do
  case "$1" in
    --config) config=$2; shift ;;
    --catalog) catalog=$2; shift ;;
    --state) given=$(cat "$2"); state=$(sed 's/.*"at":\([0-9]*\).*/\1/' "$2"); shift ;;
  esac
  shift
done
record() { printf '{"type":"RECORD","record":{"stream":"t","emitted_at":1,"data":%s}}\n' "$1"; }
state() { printf '{"type":"STATE","state":{"type":"STREAM","stream":{"stream_descriptor":{"name":"t"},"stream_state":{"at":%s}}}}\n' "$1"; }
fail() { printf '{"type":"TRACE","trace":{"type":"ERROR","error":{"message":"%s","failure_type":"%s"}}}\n' "$1" "$2"; exit 1; }
case $verb in
  check) grep -q wrong "$config" && fail "wrong-password is wrong" config_error
         echo '{"type":"CONNECTION_STATUS","connectionStatus":{"status":"SUCCEEDED"}}'; exit ;;
  discover) cat catalog.json; exit ;;
esac
"#;

/// Seven rows, one of them bad; those at the last mark come again, unless the table is read whole.
pub(crate) const NUMBERS: &str = r#"
echo '{"type":"LOG","log":{"level":"INFO","message":"hello"}}'
grep -q '"sync_mode":"full_refresh"' "$catalog" && [ $state -gt 0 ] && state=$((state + 1))
i=1
while [ $i -le 7 ]; do
  at=$(( i < 3 ? i : i - 1 ))
  if [ $at -ge $state ]; then
    [ $i = 4 ] && record "{\"n\":\"x\",\"at\":$at}" || record "{\"n\":$i,\"at\":$at}"
    [ $i = 3 ] && state $at
  fi
  i=$((i + 1))
done
state $at
"#;

/// A folder with a program of one stream `t`.
pub(crate) fn program(body: &str) -> Folder {
    let catalog = json!({ "type": "CATALOG", "catalog": { "streams": [{
        "name": "t", "supported_sync_modes": ["full_refresh", "incremental"],
        "default_cursor_field": ["at"], "source_defined_primary_key": [["n"]],
        "json_schema": { "properties": {
            "n": { "type": "integer" }, "at": { "type": ["null", "integer"] },
            "day": { "type": "string", "format": "date" } } } }] } });
    let script = format!("{PROLOGUE}\n{body}");
    Folder::new(&[
        ("source.sh", script.as_bytes()),
        ("catalog.json", format!("{catalog}\n").as_bytes()),
    ])
}

pub(crate) fn connection() -> Value {
    json!({ "command": ["sh", "source.sh"] })
}

fn incremental() -> ReadRequest {
    let request = ReadRequest::incremental(json!({ "stream": "t" }), now());
    ReadRequest { write_appends: true, ..request }
}

async fn all(folder: &Folder, request: &ReadRequest) -> Result<Vec<Page>> {
    folder.source_with("airbyte", connection()).read(request).try_collect().await
}

#[tokio::test]
async fn a_read_that_fails_goes_on_from_its_state() {
    let whole = all(&program(NUMBERS), &incremental()).await.unwrap();
    assert_eq!((cells(&whole).len(), codes(&whole)), (6, vec!["type-mismatch"]));
    let broken = NUMBERS
        .replace("i=$((i + 1))", "[ $i = 6 ] && fail 'no answer' transient_error; i=$((i + 1))");
    let folder = program(&broken);
    let (source, mut request) = (folder.source_with("airbyte", connection()), incremental());
    let mut stream = source.read(&request);
    let first = stream.next().await.unwrap().unwrap();
    let error = stream.next().await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Unavailable, "t: the program failed: no answer")
    );
    drop(stream);
    request.from = Some(first.position.clone());
    let mut pages = vec![first];
    pages.extend(all(&program(NUMBERS), &request).await.unwrap());
    assert_eq!(cells(&pages), cells(&whole));
}

#[tokio::test]
async fn states_of_both_forms_are_handed_back() {
    for (state, expected) in [
        (r#"{"data":{"at":5}}"#, r#"{"at":5}"#),
        (r#"{"type":"LEGACY","data":{"at":5}}"#, r#"{"at":5}"#),
        (
            r#"{"type":"STREAM","stream":{"stream_state":{"at":5}}}"#,
            r#"[{"type":"STREAM","stream":{"stream_state":{"at":5}}}]"#,
        ),
        (
            r#"{"type":"GLOBAL","global":{"lsn":18446744073709551616}}"#,
            r#"[{"type":"GLOBAL","global":{"lsn":18446744073709551616}}]"#,
        ),
    ] {
        let body = format!(
            "printf '%s' \"$given\" > given\necho '{{\"type\":\"STATE\",\"state\":{state}}}'"
        );
        let folder = program(&body);
        let mut request = incremental();
        request.from = all(&folder, &request).await.unwrap().pop().map(|page| page.position);
        all(&folder, &request).await.unwrap();
        assert_eq!(std::fs::read_to_string(folder.path("given")).unwrap(), expected);
    }
}

#[tokio::test]
async fn errors_are_the_programs_own_words_without_secrets() {
    let folder = program("");
    let connection =
        json!({ "command": ["sh", "source.sh"], "config": { "password": "wrong-password" } });
    let error = folder.source_with("airbyte", connection).check().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Invalid, "check: the program failed: *** is wrong")
    );
    let other = ReadRequest::full(json!({ "stream": "tt" }), now());
    assert_eq!(all(&folder, &other).await.unwrap_err().kind(), ErrorKind::NotFound);
    let mute = Folder::new(&[("source.sh", b"exit 0")]);
    let error = mute.source_with("airbyte", self::connection()).check().await.unwrap_err();
    assert!(error.message().contains("without a status"), "{error}");
}
