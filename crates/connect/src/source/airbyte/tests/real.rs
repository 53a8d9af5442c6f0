//! A source that others wrote: source-faker 7.2.1, made with the Airbyte CDK.

use super::*;
use crate::source::contract::installed;

#[tokio::test]
async fn a_published_source_is_checked_discovered_read_and_followed() {
    // A third of a gigabyte to install: only where real data is at hand, too.
    if std::env::var_os("FLYWHEEL_DATA").is_none() {
        eprintln!("NOT CHECKED: airbyte-source-faker is not installed; set FLYWHEEL_DATA");
        return;
    }
    let Some(program) = installed("airbyte-source-faker==7.2.1", "source-faker") else { return };
    let config = json!({ "count": 250, "seed": 1, "parallelism": 1, "records_per_slice": 100,
                         "always_updated": false });
    let folder = Folder::new(&[]);
    let source = folder.source_with("airbyte", json!({ "command": [program], "config": config }));
    source.check().await.unwrap();
    let found = source.discover().await.unwrap();
    let users = found.iter().find(|stream| stream.name == "users").unwrap();
    assert_eq!(
        (&users.primary_key[..], &users.cursors[..]),
        (&["id".to_owned()][..], &["updated_at".to_owned()][..])
    );
    assert_eq!(users.schema.field_with_name("address").unwrap().data_type().to_string(), "Utf8");
    let mut request =
        ReadRequest { page_rows: 100, ..ReadRequest::incremental(users.stream.clone(), now()) };
    request.write_appends = true;
    let pages: Vec<Page> = source.read(&request).try_collect().await.unwrap();
    assert_eq!((cells(&pages).len(), codes(&pages).len()), (250, 0));
    request.from = pages.last().map(|page| page.position.clone());
    let again: Vec<Page> = source.read(&request).try_collect().await.unwrap();
    assert!(cells(&again).is_empty());
    // A read that broke off after its first page: this source begins anew, and no user is missing.
    request.from = Some(pages[0].position.clone());
    request.write_appends = false;
    let rest: Vec<Page> = source.read(&request).try_collect().await.unwrap();
    let mut ids: Vec<String> =
        cells(&pages[..1]).into_iter().chain(cells(&rest)).map(|row| row[0].clone()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 250);
}
