//! Files in a store: read whole, once, and never half; faults that are explained without a secret.

mod writing;

use std::io::Write;
use std::sync::{Arc, Mutex};

use flywheel_base::{ErrorKind, Result};
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use super::fake::{FakeS3, Fault, KEY_ID, SECRET, connection};
use crate::http::fake::{Fake, Reply};
use crate::page::Page;
use crate::source::contract::{Folder, cells, now};
use crate::source::{ReadRequest, SourceContext, SourceEntry};

type Shared = Arc<Mutex<FakeS3>>;

fn store(objects: &[(&str, &[u8])]) -> (Fake, Shared) {
    let (server, store) = FakeS3::start();
    for (key, bytes) in objects {
        store.lock().unwrap().objects.insert((*key).to_owned(), bytes.to_vec());
    }
    (server, store)
}

async fn read(connection: &Value, name: &str, request: &ReadRequest) -> Result<Vec<Page>> {
    let folder = Folder::new(&[]);
    folder.source_with(name, connection.clone()).read(request).try_collect().await
}

fn incremental(path: &str) -> ReadRequest {
    ReadRequest::incremental(json!({ "path": path }), now())
}

fn gets(server: &Fake) -> usize {
    let of =
        |seen: &crate::http::fake::Seen| seen.method == "GET" && seen.param("list-type").is_none();
    server.seen().iter().filter(|seen| of(seen)).count()
}

/// A table whose every line is known.
fn large(rows: usize) -> Vec<u8> {
    let mut text = String::from("n,t\n");
    for n in 0..rows {
        text.push_str(&format!("{n},text of row {n}\n"));
    }
    text.into_bytes()
}

#[tokio::test]
async fn two_and_a_half_thousand_objects_are_listed_in_pages_and_read_once() {
    let names: Vec<String> = (0..2_500).map(|n| format!("in/day/{n:04}.csv")).collect();
    let objects: Vec<(&str, Vec<u8>)> = names
        .iter()
        .enumerate()
        .map(|(n, name)| (name.as_str(), format!("n\n{n}\n").into_bytes()))
        .collect();
    let objects: Vec<(&str, &[u8])> =
        objects.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let (server, store) = store(&objects);
    store.lock().unwrap().objects.insert("in/day/deep/1.csv".into(), b"n\n-1\n".to_vec());
    store.lock().unwrap().objects.insert("in/day/readme.txt".into(), b"hello".to_vec());
    let connection = connection(&server, "in");
    let mut request = incremental("day/*.csv");
    let pages = read(&connection, "csv", &request).await.unwrap();
    let found: Vec<String> = cells(&pages).into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(found, (0..2_500).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(pages[0].trace(1).unwrap().0, "s3://shop/in/day/0001.csv");
    let lists = server.seen().iter().filter(|seen| seen.param("list-type").is_some()).count();
    assert_eq!(lists, 3);
    // What was read is not read again; what is new or changed is.
    request.from = Some(pages.last().unwrap().position.clone());
    let before = gets(&server);
    assert!(read(&connection, "csv", &request).await.unwrap().is_empty());
    assert_eq!(gets(&server), before);
    store.lock().unwrap().objects.insert("in/day/0007.csv".into(), b"n\n70\n".to_vec());
    store.lock().unwrap().objects.insert("in/day/9999.csv".into(), b"n\n9\n".to_vec());
    let pages = read(&connection, "csv", &request).await.unwrap();
    assert_eq!(cells(&pages), [["70"], ["9"]]);
    let notices: Vec<_> = pages.iter().flat_map(|page| &page.notices).collect();
    assert_eq!(notices[0].code, "file-changed");
    // Content that is only written anew, byte for byte, is the same.
    request.from = Some(pages.last().unwrap().position.clone());
    assert!(read(&connection, "csv", &request).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_pattern_over_folders_and_a_whole_address_find_the_same() {
    let (server, _) = store(&[
        ("in/a/1.jsonl", b"{\"n\":1}\n"),
        ("in/b/c/2.jsonl", b"{\"n\":2}\n"),
        ("in/b/2.csv", b"n\n3\n"),
        ("inner/4.jsonl", b"{\"n\":4}\n"),
    ]);
    let with_root = connection(&server, "in");
    let pages = read(&with_root, "jsonl", &incremental("**/*.jsonl")).await.unwrap();
    assert_eq!(cells(&pages), [["1"], ["2"]]);
    let mut without = with_root.clone();
    without.as_object_mut().unwrap().remove("root");
    let pages = read(&without, "jsonl", &incremental("s3://shop/in/**/*.jsonl")).await.unwrap();
    assert_eq!(cells(&pages), [["1"], ["2"]]);
    let pages = read(&without, "jsonl", &incremental("s3://shop/in/b/c/2.jsonl")).await.unwrap();
    assert_eq!(cells(&pages), [["2"]]);
}

#[tokio::test]
async fn compressed_objects_are_read_as_files_are() {
    let text = large(30_000);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&text).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(text.as_slice(), 1).unwrap();
    let (server, _) =
        store(&[("in/a.csv.gz", &gzip), ("in/b.csv.zst", &zstd), ("in/c.csv", &text)]);
    let connection = connection(&server, "in");
    for name in ["a.csv.gz", "b.csv.zst", "c.csv"] {
        let rows = cells(&read(&connection, "csv", &incremental(name)).await.unwrap());
        assert_eq!(rows.len(), 30_000, "{name}");
        assert_eq!(rows[29_999], ["29999", "text of row 29999"], "{name}");
    }
}

#[tokio::test]
async fn a_read_that_breaks_off_goes_on_where_it_stopped() {
    let text = large(40_000);
    let (server, store) = store(&[("in/a.csv", &text)]);
    let connection = connection(&server, "in");
    let expected = cells(&read(&connection, "csv", &incremental("a.csv")).await.unwrap());
    assert_eq!(expected.len(), 40_000);
    for fault in [Fault::Cut(100_000), Fault::Nothing, Fault::Status(503, "SlowDown")] {
        let before = server.count();
        store.lock().unwrap().plan("GET", "/in/a.csv", 3, fault.clone());
        let rows = cells(&read(&connection, "csv", &incremental("a.csv")).await.unwrap());
        assert_eq!(rows, expected, "{fault:?}");
        if matches!(fault, Fault::Cut(_)) {
            let starts: Vec<u64> = server.seen()[before..]
                .iter()
                .filter_map(|seen| seen.header("range").map(str::to_owned))
                .map(|range| range[6..].split('-').next().unwrap().parse().unwrap())
                .collect();
            // A range that broke off is asked for again from the byte after the last that came.
            assert!(starts.iter().any(|start| start % (256 << 10) != 0), "{starts:?}");
        }
    }
    // One that breaks off for ever is an error, and no row of the broken part was taken.
    store.lock().unwrap().plan("GET", "/in/a.csv", 1_000, Fault::Cut(1));
    let error = read(&connection, "csv", &incremental("a.csv")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
    assert!(error.message().contains("s3://shop/in/a.csv"), "{error}");
}

#[tokio::test]
async fn an_object_that_is_replaced_while_it_is_read_is_an_error() {
    let text = large(40_000);
    let (server, store) = store(&[("in/a.csv", &text)]);
    let source = Folder::new(&[]).source_with("csv", connection(&server, "in"));
    let mut request = incremental("a.csv");
    request.page_rows = 100;
    let mut pages = source.read(&request);
    let first = pages.next().await.unwrap().unwrap();
    assert_eq!(first.batch.num_rows(), 100);
    let mut other = text.clone();
    other[500_000] = b'!';
    store.lock().unwrap().objects.insert("in/a.csv".into(), other);
    let mut rows = 100;
    let error = loop {
        match pages.next().await.unwrap() {
            Ok(page) => rows += page.batch.num_rows(),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Conflict, "{}", error.report());
    assert!(error.message().contains("was changed while it was read"), "{error}");
    assert!(rows < 40_000);
}

#[tokio::test]
async fn every_refusal_names_the_object_and_the_setting_and_no_secret() {
    let (server, _) = store(&[("in/a.csv", b"n\n1\n")]);
    let good = connection(&server, "in");
    let with = |key: &str, value: Value| {
        let mut connection = good.clone();
        connection[key] = value;
        connection
    };
    let unreachable = {
        let (gone, _) = FakeS3::start();
        with("endpoint", json!(gone.url))
    };
    let cases = [
        (with("access_key", json!("AKIDOTHER")), "a.csv", ErrorKind::Denied, "access_key"),
        (with("secret_key", json!("canary-2")), "*.csv", ErrorKind::Denied, "secret_key"),
        (with("region", json!("us-east-1")), "*.csv", ErrorKind::Invalid, "region"),
        (with("root", json!("s3://other/in")), "*.csv", ErrorKind::NotFound, "endpoint"),
        (with("root", json!("s3://other/in")), "a.csv", ErrorKind::NotFound, "bucket"),
        (good.clone(), "b.csv", ErrorKind::NotFound, "path"),
        (unreachable, "a.csv", ErrorKind::Unavailable, "endpoint"),
    ];
    for (connection, path, kind, word) in cases {
        let error = read(&connection, "csv", &incremental(path)).await.unwrap_err();
        let report = error.report();
        assert_eq!(error.kind(), kind, "{report}");
        assert!(error.message().contains("s3://"), "{report}");
        assert!(error.hint_text().is_some_and(|hint| hint.contains(word)), "{word}: {report}");
        for hidden in ["canary", SECRET] {
            assert!(!report.contains(hidden) && !format!("{error:?}").contains(hidden), "{report}");
        }
    }
    for (fault, kind) in [
        (Fault::Status(403, "AccessDenied"), ErrorKind::Denied),
        (Fault::Status(500, "InternalError"), ErrorKind::Unavailable),
        (Fault::Status(503, "SlowDown"), ErrorKind::Unavailable),
    ] {
        let (server, store) = store_with(fault);
        let good = connection(&server, "in");
        drop(store);
        let error = read(&good, "csv", &incremental("*.csv")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{}", error.report());
    }
}

/// A store whose listing fails.
fn store_with(fault: Fault) -> (Fake, Shared) {
    let (server, store) = store(&[("in/a.csv", b"n\n1\n")]);
    store.lock().unwrap().plan("GET", "list-type", 6, fault);
    (server, store)
}

#[tokio::test]
async fn a_store_that_is_slow_for_a_moment_is_asked_again() {
    let (server, store) = store(&[("in/a.csv", b"n\n1\n")]);
    store.lock().unwrap().plan("GET", "list-type", 2, Fault::Status(503, "SlowDown"));
    store.lock().unwrap().plan("GET", "/in/a.csv", 2, Fault::Status(500, "InternalError"));
    let pages = read(&connection(&server, "in"), "csv", &incremental("*.csv")).await.unwrap();
    assert_eq!(cells(&pages), [["1"]]);
}

#[tokio::test]
async fn a_store_that_says_nothing_is_given_up_in_time() {
    // A listener that never answers: the connection opens, and that is all.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let connection = json!({ "root": "s3://shop/in", "endpoint": endpoint, "allow_http": true,
                             "access_key": KEY_ID, "secret_key": SECRET, "timeout": "200ms" });
    let error = read(&connection, "csv", &incremental("*.csv")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
    drop(listener);
}

#[test]
fn settings_that_cannot_work_are_refused_before_anything_is_sent() {
    let ctx =
        SourceContext { base_dir: "nowhere".into(), now: now(), connections: Default::default() };
    let keys = json!({ "access_key": KEY_ID, "secret_key": SECRET });
    let cases = [
        (json!({ "root": "s3://b/x" }), "credentials"),
        (json!({ "root": "s3://b/x", "access_key": "a" }), "secret_key"),
        (json!({ "root": "s5://b/x" }), "s3"),
        (json!({ "root": "s3://b", "folder": "x" }), "root"),
        (json!({ "root": "http://h/x" }), "allow_http"),
        (json!({ "root": "https://h/x", "secret_key": "a" }), "rest"),
        (json!({ "root": "az://c/x", "secret_key": "YQ==" }), "account"),
        (json!({ "root": "gs://b/x", "secret_key": "no json" }), "keys"),
    ];
    for (connection, word) in cases {
        let error = SourceEntry::named("csv").unwrap().build(connection, &ctx).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.hint_text().is_some_and(|hint| hint.contains(word)), "{}", error.report());
    }
    let with = |more: Value| {
        let mut all = keys.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        SourceEntry::named("csv").unwrap().build(all, &ctx)
    };
    assert!(with(json!({ "root": "s3://b", "credentials": "environment" })).is_err());
    assert!(with(json!({ "root": "s3://b", "endpoint": "http://h" })).is_err());
    assert!(with(json!({ "root": "s3://b", "timeout": "soon" })).is_err());
    assert!(with(json!({ "root": "s3://b" })).is_ok());
}

#[tokio::test]
async fn streams_of_a_store_are_found() {
    let (server, _) = store(&[
        ("in/sales/2024-01-01.csv", b"n,t\n1,a\n"),
        ("in/sales/2024-01-02.csv", b"n,t\n2,b\n"),
        ("in/one.csv.gz", b"n\n1\n"),
        ("in/_flywheel/x.json", b"{}"),
        ("in/.hidden.csv", b"n\n1\n"),
    ]);
    let source = Folder::new(&[]).source_with("csv", connection(&server, "in"));
    source.check().await.unwrap();
    let streams = source.discover().await.unwrap();
    let names: Vec<&str> = streams.iter().map(|stream| stream.name.as_str()).collect();
    assert_eq!(names, ["one.csv.gz", "sales/*.csv"]);
    assert_eq!(streams[1].columns.len(), 2);
    let pages: Vec<Page> = source
        .read(&ReadRequest::full(streams[1].stream.clone(), now()))
        .try_collect()
        .await
        .unwrap();
    assert_eq!(cells(&pages).len(), 2);
}

#[tokio::test]
async fn a_file_of_a_web_server_is_read_and_nothing_is_written_there() {
    let text = large(100);
    let served = text.clone();
    let server = Fake::start(move |seen| {
        let reply = if seen.path == "/data/a.csv" {
            Reply::bytes(200, served.clone())
        } else {
            Reply::new(404, "")
        };
        if seen.method == "HEAD" { reply.head_only() } else { reply }
    })
    .await;
    let connection = json!({ "root": format!("{}/data", server.url), "allow_http": true });
    let pages = read(&connection, "csv", &incremental("a.csv")).await.unwrap();
    assert_eq!(cells(&pages).len(), 100);
    let error = read(&connection, "csv", &incremental("b.csv")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.report());
    let error = read(&connection, "csv", &incremental("*.csv")).await.unwrap_err();
    assert!(error.message().contains("cannot be listed"), "{error}");
    let ctx = crate::DestinationContext { base_dir: "nowhere".into(), connection: "to".into() };
    let destination =
        crate::DestinationEntry::named("csv").unwrap().build(connection, &ctx).unwrap();
    let error = destination.check().await.unwrap_err();
    assert!(error.message().contains("can only be read"), "{error}");
}
