//! The contract every source keeps, checked for every entry of the list, and what tests share.

use std::path::PathBuf;
use std::time::Duration;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use flywheel_base::{Result, Timestamp};
use futures::TryStreamExt;
use serde_json::{Value, json};

use super::*;
use crate::http::fake::{Fake, FakePace, Meter, hubspot, salesforce, shop};
use crate::objects::fake::{self, FakeS3};

/// A project folder in a temporary place.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, bytes) in files {
            folder.write(name, bytes);
        }
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub(crate) fn source(&self, name: &str) -> Box<dyn Source> {
        self.source_with(name, json!({}))
    }

    pub(crate) fn source_with(&self, name: &str, connection: Value) -> Box<dyn Source> {
        let ctx =
            SourceContext { base_dir: self.path(""), now: now(), connections: Default::default() };
        SourceEntry::named(name).unwrap().build(connection, &ctx).unwrap()
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::parse("2024-06-01").unwrap()
}

/// An incremental read of a file stream.
pub(crate) fn request(_source: &str, stream: Value) -> ReadRequest {
    ReadRequest::incremental(stream, now())
}

pub(crate) async fn read(folder: &Folder, name: &str, request: &ReadRequest) -> Result<Vec<Page>> {
    folder.source(name).read(request).try_collect().await
}

/// The rows as text; `∅` is "no value". Rows of earlier pages are filled up to the last width.
pub(crate) fn cells(pages: &[Page]) -> Vec<Vec<String>> {
    let width = pages.iter().map(|page| page.batch.num_columns()).max().unwrap_or(0);
    let mut rows = Vec::new();
    for page in pages {
        let options = FormatOptions::default().with_null("∅");
        let columns: Vec<_> = page
            .batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for row in 0..page.batch.num_rows() {
            let mut row: Vec<String> =
                columns.iter().map(|column| column.value(row).to_string()).collect();
            row.resize(width, "∅".to_owned());
            rows.push(row);
        }
    }
    rows
}

pub(crate) fn codes(pages: &[Page]) -> Vec<&str> {
    pages.iter().flat_map(|page| &page.rejected).map(|r| &*r.code).collect()
}

pub(crate) fn rejected_at(pages: &[Page]) -> Vec<(u64, &str, Option<&str>)> {
    let rejected = pages.iter().flat_map(|page| &page.rejected);
    rejected.map(|r| (r.line.unwrap_or(0), &*r.code, r.column.as_deref())).collect()
}

/// A program of a Python package, installed once below the target folder; nothing, said loudly, if
/// that cannot be done here.
pub(crate) fn installed(package: &str, program: &str) -> Option<PathBuf> {
    let exe = std::env::current_exe().unwrap();
    let target = exe.ancestors().find(|path| path.join("CACHEDIR.TAG").exists());
    let venv = target.unwrap_or_else(|| exe.parent().unwrap()).join("python").join(package);
    let found = venv.join("bin").join(program);
    let run = |command: &mut std::process::Command| {
        command.output().is_ok_and(|output| output.status.success())
    };
    if !venv.join("complete").exists() {
        let pip = ["-m", "pip", "install", "-q", "--timeout", "5", "--retries", "1", package];
        let made = run(std::process::Command::new("python3").args(["-m", "venv"]).arg(&venv))
            && run(std::process::Command::new(venv.join("bin/python3")).args(pip));
        if !made {
            eprintln!("NOT CHECKED: {package} cannot be installed here; pip needs its network");
            return None;
        }
        std::fs::write(venv.join("complete"), "").unwrap();
    }
    Some(found)
}

/// A stream of one source with rows, some of them bad, in more than one page.
struct Case {
    entry: &'static SourceEntry,
    folder: Folder,
    connection: Value,
    stream: Value,
    columns: Vec<DeclaredColumn>,
    mode: ReadMode,
    /// Rows in the source, good and bad.
    rows: usize,
    bad: usize,
    /// A server that the connection goes to.
    _server: Option<Fake>,
}

/// Sources of files, which are also read from a store.
const FILES: [&str; 5] = ["csv", "jsonl", "parquet", "avro", "excel"];

/// Every source, and those of files once more for a store.
fn all() -> impl Iterator<Item = (&'static SourceEntry, bool)> {
    let files = SOURCES.iter().filter(|entry| FILES.contains(&entry.name));
    built().map(|entry| (entry, false)).chain(files.map(|entry| (entry, true)))
}

/// The sources that are in this build, and whose drivers are to be had.
pub(crate) fn built() -> impl Iterator<Item = &'static SourceEntry> {
    SOURCES.iter().filter(|entry| reachable(entry.name))
}

/// Whether a connector is in this build and its driver to be had here.
pub(crate) fn reachable(name: &str) -> bool {
    if !["odbc", "adbc"].contains(&name) {
        return true;
    }
    #[cfg(all(feature = "odbc", feature = "adbc"))]
    {
        name == "odbc" || crate::driver::tests::driver("postgresql").is_some()
    }
    #[cfg(not(all(feature = "odbc", feature = "adbc")))]
    {
        false
    }
}

async fn case_in(entry: &'static SourceEntry, stored: bool) -> Case {
    let mut case = case(entry).await;
    if stored {
        let (server, store) = FakeS3::start();
        for file in std::fs::read_dir(case.folder.path("")).unwrap() {
            let path = file.unwrap().path();
            let key = format!("in/{}", path.file_name().unwrap().to_str().unwrap());
            let bytes = std::fs::read(&path).unwrap();
            store.lock().unwrap().objects.insert(key, bytes);
        }
        case.connection = fake::connection(&server, "in");
        case._server = Some(server);
    }
    case
}

async fn case(entry: &'static SourceEntry) -> Case {
    let file = |name: &str, bytes: Vec<u8>, rows: usize, bad: usize| Case {
        entry,
        folder: Folder::new(&[(&format!("1.{name}"), &bytes), (&format!("2.{name}"), &bytes)]),
        connection: json!({}),
        stream: json!({ "path": format!("*.{name}") }),
        columns: vec![DeclaredColumn::new("n", crate::ColumnType::Int64)],
        mode: ReadMode::Incremental { cursor: None, lag: None },
        rows: rows * 2,
        bad: bad * 2,
        _server: None,
    };
    match entry.name {
        "csv" => {
            let text = "n,t\n1,a\n2,\"b\nc\"\nx,bad\n4,d\n5\n6,e\n7,f\n".as_bytes().to_vec();
            file("csv", text, 7, 2)
        }
        "jsonl" => {
            let text = "{\"n\":1,\"t\":\"a\"}\n{\"n\":2}\nbroken\n{\"n\":\"x\"}\n{\"n\":5,\"new\":true}\n{\"n\":6}\n";
            file("jsonl", text.as_bytes().to_vec(), 6, 2)
        }
        "parquet" => file("parquet", parquet_file(), 7, 1),
        "avro" => file("avro", avro::tests::numbers(), 7, 1),
        "excel" => file("xlsx", excel::tests::workbook(), 6, 2),
        "sqlite" => {
            let folder = Folder::new(&[]);
            let sql = "CREATE TABLE t (n INTEGER PRIMARY KEY, at INT, v INT);
                 INSERT INTO t VALUES (1,5,1),(2,5,'x'),(3,5,3),(4,NULL,4),(5,NULL,5),(6,7,6),(7,8,7);";
            rusqlite::Connection::open(folder.path("a.db")).unwrap().execute_batch(sql).unwrap();
            Case {
                entry,
                folder,
                connection: json!({ "path": "a.db" }),
                stream: json!({ "table": "t" }),
                columns: Vec::new(),
                mode: ReadMode::Incremental { cursor: Some("at".into()), lag: None },
                rows: 7,
                bad: 1,
                _server: None,
            }
        }
        "mysql" => {
            let sql = "CREATE TABLE t (n INT PRIMARY KEY, at INT, v VARCHAR(9));
                 INSERT INTO t VALUES (1,5,1),(2,5,'x'),(3,5,3),(4,NULL,4),(5,NULL,5),(6,7,6),(7,8,7);";
            let name = mysql::tests::database(sql);
            Case {
                entry,
                folder: Folder::new(&[]),
                connection: mysql::tests::connection(mysql::tests::server(), &name),
                stream: json!({ "table": "t" }),
                columns: vec![DeclaredColumn::new("v", crate::ColumnType::Int64)],
                mode: ReadMode::Incremental { cursor: Some("at".into()), lag: None },
                rows: 7,
                bad: 1,
                _server: None,
            }
        }
        "postgres" => {
            let (connection, stream) = postgres::tests::case();
            Case {
                entry,
                folder: Folder::new(&[]),
                connection,
                stream,
                columns: Vec::new(),
                mode: ReadMode::Incremental { cursor: Some("at".into()), lag: None },
                rows: 7,
                bad: 1,
                _server: None,
            }
        }
        #[cfg(all(feature = "odbc", feature = "adbc"))]
        "odbc" | "adbc" => Case {
            entry,
            folder: Folder::new(&[]),
            connection: crate::driver::tests::case(entry.name).unwrap(),
            stream: json!({ "table": "t" }),
            columns: vec![DeclaredColumn::new("v", crate::ColumnType::Int64)],
            mode: ReadMode::Incremental { cursor: Some("at".into()), lag: None },
            rows: 7,
            bad: 1,
            _server: None,
        },
        "kafka" => {
            let (connection, stream) = kafka::tests::case().await;
            Case {
                entry,
                folder: Folder::new(&[]),
                connection,
                stream,
                columns: vec![DeclaredColumn::new("n", crate::ColumnType::Int64)],
                mode: ReadMode::Incremental { cursor: None, lag: None },
                rows: 7,
                bad: 2,
                _server: None,
            }
        }
        "journal" => Case {
            entry,
            folder: journal::tests::case(),
            connection: json!({ "path": "journal" }),
            stream: json!({ "topic": "t", "metadata": ["offset"] }),
            columns: vec![DeclaredColumn::new("n", crate::ColumnType::Int64)],
            mode: ReadMode::Incremental { cursor: None, lag: None },
            rows: 7,
            bad: 2,
            _server: None,
        },
        "rest" | "hubspot" | "salesforce" => api_case(entry).await,
        "singer" | "airbyte" | "program" => Case {
            entry,
            folder: match entry.name {
                "singer" => singer::tests::tap(singer::tests::NUMBERS),
                "program" => program::tests::program(program::tests::NUMBERS),
                _ => airbyte::tests::program(airbyte::tests::NUMBERS),
            },
            connection: match entry.name {
                "singer" => singer::tests::connection(),
                "program" => program::tests::connection(),
                _ => airbyte::tests::connection(),
            },
            stream: json!({ "stream": "t" }),
            columns: Vec::new(),
            mode: ReadMode::Incremental { cursor: None, lag: None },
            rows: 7,
            bad: 1,
            _server: None,
        },
        other => panic!("the source {other} has no contract case: add one"),
    }
}

/// A stream of an API, behind a fake of it.
async fn api_case(entry: &'static SourceEntry) -> Case {
    let pace = FakePace::new();
    let columns = |name: &str| vec![DeclaredColumn::new(name, crate::ColumnType::Int64)];
    let (server, connection, stream, columns) = match entry.name {
        "rest" => {
            let rules =
                shop::Rules { contacts: 7, poison_each: 4, page_max: 3, ..shop::Rules::default() };
            let (server, _) = shop::Shop::start(rules, &pace).await;
            let stream = json!({ "path": "/contacts", "records": "items",
                "paging": { "type": "offset", "param": "offset" },
                "incremental": { "cursor": "updated_at", "params": { "updated_since": "{cursor}" } } });
            let connection = json!({ "base_url": server.url, "streams": { "contacts": stream } });
            (server, connection, stream, Vec::new())
        }
        "hubspot" => {
            let (server, hubspot) = hubspot::FakeHubSpot::start(&pace).await;
            let mut hubspot = hubspot.lock().unwrap();
            hubspot.requests = Meter::new(usize::MAX, Duration::from_secs(1));
            hubspot.searches = Meter::new(usize::MAX, Duration::from_secs(1));
            for n in 0..7 {
                let id = hubspot.add(&format!("c{n}@example.com"), 1_714_557_600_000 + n);
                let company = if n == 4 { "x".to_owned() } else { n.to_string() };
                hubspot
                    .contacts
                    .get_mut(&id)
                    .unwrap()
                    .properties
                    .insert("company".to_owned(), company);
            }
            let connection = json!({ "base_url": server.url, "token": "pat-1", "limits": {},
                                     "searches_per_second": 1e6 });
            (server, connection, json!({ "object": "contacts" }), columns("company"))
        }
        _ => {
            let (server, salesforce) = salesforce::FakeSalesforce::start(&pace).await;
            let mut salesforce = salesforce.lock().unwrap();
            salesforce.page = 3;
            for n in 0..7 {
                let id = salesforce.add(&format!("e{n}"), "2024-05-01");
                let name = if n == 4 { "x".to_owned() } else { n.to_string() };
                salesforce.change(&id, "LastName", json!(name), "2024-05-02");
            }
            let auth = json!({ "type": "oauth2", "token_url": format!("{}/services/oauth2/token", server.url),
                               "client_id": "me", "client_secret": "hush" });
            let connection = json!({ "instance_url": server.url, "auth": auth });
            (server, connection, json!({ "object": "Contact" }), columns("LastName"))
        }
    };
    let mut connection = connection;
    connection["allow_private"] = json!(true);
    let bad = if entry.name == "rest" { 2 } else { 1 };
    Case {
        entry,
        folder: Folder::new(&[]),
        connection,
        stream,
        columns,
        mode: ReadMode::Incremental { cursor: None, lag: None },
        rows: 7,
        bad,
        _server: Some(server),
    }
}

fn parquet_file() -> Vec<u8> {
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use std::sync::Arc;
    let n: ArrayRef = Arc::new(StringArray::from(vec!["1", "2", "x", "4", "5", "6", "7"]));
    let v: ArrayRef = Arc::new(Int64Array::from_iter((0..7).map(|v| (v != 3).then_some(v))));
    let batch = RecordBatch::try_from_iter([("n", n), ("v", v)]).unwrap();
    let mut bytes = Vec::new();
    let mut writer =
        ::parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

impl Case {
    async fn read(&self, mode: &ReadMode, from: Option<Position>, page_rows: usize) -> Vec<Page> {
        let source = self.folder.source_with(self.entry.name, self.connection.clone());
        let request = ReadRequest {
            columns: self.columns.clone(),
            mode: mode.clone(),
            from,
            write_appends: true,
            page_rows,
            ..ReadRequest::full(self.stream.clone(), now())
        };
        source.read(&request).try_collect().await.unwrap()
    }
}

/// What a reader ends up with: rows with their origin, and what was set aside.
fn summary(pages: &[Page]) -> (Vec<String>, Vec<String>) {
    let mut rows = Vec::new();
    for page in pages {
        for (at, row) in cells(std::slice::from_ref(page)).into_iter().enumerate() {
            // Columns that came later are not in earlier pages.
            let row: Vec<String> = row.into_iter().filter(|cell| cell != "∅").collect();
            rows.push(format!("{:?} {row:?}", page.trace(at)));
        }
    }
    let bad = pages.iter().flat_map(|page| &page.rejected).map(|r| format!("{r:?}")).collect();
    (rows, bad)
}

#[tokio::test]
async fn every_source_resumes_at_every_page_boundary() {
    for (entry, stored) in all() {
        let case = case_in(entry, stored).await;
        for mode in [case.mode.clone(), ReadMode::Full] {
            let whole = case.read(&mode, None, 1_000).await;
            let expected = summary(&whole);
            assert_eq!(expected.0.len() + expected.1.len(), case.rows, "{}", entry.name);
            assert_eq!(expected.1.len(), case.bad, "{}", entry.name);
            for page_rows in 1..4 {
                let pages = case.read(&mode, None, page_rows).await;
                assert_eq!(summary(&pages), expected, "{} in pages of {page_rows}", entry.name);
                for cut in 0..pages.len() - 1 {
                    let from = Some(pages[cut].position.clone());
                    let rest = case.read(&mode, from, page_rows).await;
                    let (mut rows, mut bad) = summary(&pages[..=cut]);
                    let (more_rows, more_bad) = summary(&rest);
                    rows.extend(more_rows);
                    bad.extend(more_bad);
                    let at = format!("{} cut after page {cut} of {page_rows} rows", entry.name);
                    assert_eq!((rows, bad), expected, "{at}");
                }
            }
        }
    }
}

#[tokio::test]
async fn every_source_yields_nothing_after_the_end_and_all_again_in_full() {
    for (entry, stored) in all() {
        let case = case_in(entry, stored).await;
        let pages = case.read(&case.mode, None, 3).await;
        let last = pages.last().map(|page| page.position.clone());
        assert!(case.read(&case.mode, last.clone(), 3).await.is_empty(), "{}", entry.name);
        let full = case.read(&ReadMode::Full, None, 3).await;
        let last = full.last().map(|page| page.position.clone());
        let again = case.read(&ReadMode::Full, last, 3).await;
        assert_eq!(summary(&again), summary(&full), "{}", entry.name);
    }
}

#[tokio::test]
async fn every_source_says_what_is_wrong_with_its_settings() {
    for entry in SOURCES {
        let ctx = SourceContext {
            base_dir: "nowhere".into(),
            now: now(),
            connections: Default::default(),
        };
        let error = entry.build(json!({ "colour": 1 }), &ctx).err().unwrap();
        assert!(error.message().contains("colour"), "{}: {error}", entry.name);
        let error = entry.check_stream(json!({ "colour": 1 })).unwrap_err();
        assert!(error.message().contains("colour"), "{}: {error}", entry.name);
        if !reachable(entry.name) {
            let error = entry.build(json!({}), &ctx).err().unwrap();
            assert!(error.hint_text().is_some(), "{}: {error}", entry.name);
            continue;
        }
        let case = case_in(entry, FILES.contains(&entry.name)).await;
        let source = case.folder.source_with(entry.name, case.connection.clone());
        entry.check_stream(case.stream.clone()).unwrap();
        source.check().await.unwrap();
        assert!(!source.discover().await.unwrap().is_empty(), "{}", entry.name);
        for schema in [(entry.connection_schema)(), (entry.stream_schema)()] {
            let schema = schema.to_value();
            assert_eq!(schema["additionalProperties"], json!(false), "{}", entry.name);
            for (name, property) in schema["properties"].as_object().unwrap() {
                let described = property.get("description").is_some();
                assert!(described, "{}: {name} has no description", entry.name);
            }
        }
    }
}
