//! A tap that others wrote: tap-jsonl 0.3.1, made with the Meltano SDK.

use super::*;
use crate::source::contract::installed;

#[tokio::test]
async fn a_published_tap_is_discovered_read_and_followed() {
    let Some(program) = installed("tap-jsonl==0.3.1", "tap-jsonl") else { return };
    let lines = "{\"id\":9007199254740993,\"name\":\"a\",\"tags\":[1]}\n{\"id\":2,\"name\":null}\n";
    let folder = Folder::new(&[("in/1.jsonl", lines.as_bytes())]);
    let connection = json!({ "command": [program], "config": { "path": "in/*.jsonl" } });
    let source = folder.source_with("singer", connection);
    source.check().await.unwrap();
    let found = source.discover().await.unwrap();
    assert_eq!((found.len(), found[0].name.as_str()), (1, "jsonl"));
    assert_eq!(found[0].cursors, ["_sdc_last_modified"]);
    let stream = json!({ "stream": "jsonl", "select": ["id", "name"] });
    let mut request = ReadRequest::incremental(stream, now());
    request.write_appends = true;
    let pages: Vec<Page> = source.read(&request).try_collect().await.unwrap();
    let rows = |pages: &[Page]| -> Vec<Vec<String>> {
        cells(pages).into_iter().map(|row| row[..2].to_vec()).collect()
    };
    assert_eq!(rows(&pages), [["9007199254740993", "a"], ["2", "∅"]]);
    request.from = last(&pages);
    let again: Vec<Page> = source.read(&request).try_collect().await.unwrap();
    assert!(cells(&again).is_empty());
    request.from = last(&again).or(request.from);
    folder.write("in/2.jsonl", b"{\"id\":3,\"name\":\"c\"}\n");
    let more: Vec<Page> = source.read(&request).try_collect().await.unwrap();
    assert_eq!(rows(&more), [["3", "c"]]);
}
