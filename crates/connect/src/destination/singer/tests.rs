//! A target that others wrote: target-jsonl 0.1.4.

use serde_json::json;

use super::*;
use crate::destination::DestinationEntry;
use crate::destination::contract::case::{Case, case, checkpoint, rows};
use crate::source::contract::installed;

#[tokio::test]
async fn a_published_target_takes_rows_and_acknowledges_them() {
    let Some(program) = installed("target-jsonl==0.1.4", "target-jsonl") else { return };
    let mut case: Case = case(DestinationEntry::named("singer").unwrap());
    case.connection = json!({ "command": [program],
        "config": { "destination_path": case.folder.path(""), "do_timestamp_file": false } });
    case.destination().check().await.unwrap();
    for mode in [WriteMode::Append, WriteMode::Merge] {
        assert_eq!(
            case.progress(mode).await.committed.map_or(0, |known| known.sequence),
            match mode {
                WriteMode::Append => 0,
                _ => 2,
            }
        );
        let mut writer = case.writer(mode).await;
        for (sequence, row) in [(1, (1, "a")), (2, (9_007_199_254_740_993, "b\n\"c\""))] {
            let sequence = if mode == WriteMode::Append { sequence } else { sequence + 2 };
            writer.write(&rows(mode, &[row])).await.unwrap();
            assert_eq!(writer.commit(&checkpoint(sequence)).await.unwrap().rows_written, 1);
        }
        writer.finish().await.unwrap();
    }
    // This target adds rows whatever the key is.
    let seen = case.seen().await;
    let expected = ["1 a", "1 a", "9007199254740993 b\n\"c\"", "9007199254740993 b\n\"c\""];
    assert_eq!(seen, expected);
}

#[test]
fn what_targets_answer_is_understood() {
    let ctx = DestinationContext { base_dir: ".".into(), connection: "to".into() };
    let singer: Singer = serde_json::from_value(json!({ "command": ["target"] })).unwrap();
    let (program, config) = singer.program(&ctx.base_dir).unwrap();
    let request = case(DestinationEntry::named("singer").unwrap())
        .request(WriteMode::Append, rows(WriteMode::Append, &[]).schema());
    let rows = Rows {
        target: Target { program, config, ctx },
        encoder: Encoder::of_rows(&request, &[]),
        stream: "t".into(),
        key: Vec::new(),
        json_columns: Vec::new(),
        words: Words::Singer(Decimals::Exact),
    };
    for (line, mark) in [
        (r#"{"bookmarks":{"t":{"n":1}}}"#, Some(json!({ "n": 1 }))),
        (r#"{"type":"STATE","value":{"bookmarks":{"t":{"n":2}}}}"#, Some(json!({ "n": 2 }))),
        (r#"{"bookmarks":{"u":{"n":1}}}"#, None),
        ("{}", None),
    ] {
        match rows.hear(line) {
            Heard::Mark(found) => assert_eq!(Some(found), mark, "{line}"),
            Heard::Nothing => assert_eq!(mark, None, "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }
    assert!(matches!(rows.hear("5"), Heard::Foreign));
    assert!(matches!(rows.hear("Loading"), Heard::Foreign));
}

#[test]
fn a_catalog_is_not_for_targets() {
    let ctx = DestinationContext { base_dir: ".".into(), connection: "to".into() };
    let settings = json!({ "command": ["target"], "catalog": "c.json" });
    let error = DestinationEntry::named("singer").unwrap().build(settings, &ctx).err().unwrap();
    assert!(error.hint_text().unwrap().contains("`catalog`"), "{error:?}");
}
