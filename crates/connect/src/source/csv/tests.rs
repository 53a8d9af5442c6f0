//! What a user sees of CSV files: values kept to the last character, bad rows set aside, files read once.

use std::io::Write as _;
use std::path::PathBuf;

use super::*;
use crate::source::contract::{Folder, cells, codes, read, rejected_at, request};
use crate::{ColumnType, DeclaredColumn, Page, ReadMode};
use serde_json::{Value, json};

fn decode_text(text: &str) -> Vec<Page> {
    decode(text.as_bytes().to_vec(), CsvStream::default(), &[], 1000).unwrap()
}

fn types(page: &Page) -> Vec<String> {
    page.batch.schema().fields().iter().map(|f| format!("{}:{}", f.name(), f.data_type())).collect()
}

#[test]
fn zip_codes_phones_and_large_ids_keep_every_digit() {
    let text = "zip,phone,id,name\n00123,+49301234567,9007199254740993,Alice\n45678,+4917,1,Bob\n";
    let pages = decode_text(text);
    assert_eq!(types(&pages[0]), ["zip:Utf8", "phone:Utf8", "id:Int64", "name:Utf8"]);
    assert_eq!(cells(&pages)[0], ["00123", "+49301234567", "9007199254740993", "Alice"]);
}

#[test]
fn nan_and_infinities_are_set_aside_unless_allowed() {
    let columns = [DeclaredColumn::new("x", ColumnType::Float64)];
    let read = |allow_nan| {
        let stream = CsvStream { allow_nan, ..CsvStream::default() };
        decode(b"x,y\n1.5,a\nNaN,b\ninf,c\n".to_vec(), stream, &columns, 1000).unwrap()
    };
    let strict = read(false);
    assert_eq!((cells(&strict).len(), codes(&strict)), (1, vec!["not-finite", "not-finite"]));
    assert_eq!(strict[0].rejected[0].line, Some(3));
    assert_eq!(cells(&read(true)).len(), 3);
}

#[test]
fn every_bad_row_is_set_aside_with_its_line_column_and_reason() {
    let columns = [
        DeclaredColumn { not_null: true, ..DeclaredColumn::new("id", ColumnType::Int32) },
        DeclaredColumn::new("day", ColumnType::Date),
    ];
    let text = "id,day,note\n1,2024-05-01,ok\nx,2024-05-01,a\n3,2024-02-30,b\n,2024-05-01,c\n4,5\n\
                id,day,note\n9999999999,2024-05-01,d\n\"7\"x,2024-05-01,e\n8,2024-05-02,\"open\n";
    let pages = decode(text.as_bytes().to_vec(), CsvStream::default(), &columns, 1000).unwrap();
    assert_eq!(
        rejected_at(&pages),
        [
            (3, "type-mismatch", Some("id")),
            (4, "type-mismatch", Some("day")),
            (5, "null-value", Some("id")),
            (6, "ragged-row", Some("note")),
            (7, "repeated-header", None),
            (8, "out-of-range", Some("id")),
            (9, "bad-quote", None),
            (10, "unclosed-quote", None),
        ]
    );
    assert_eq!(cells(&pages), [["1", "2024-05-01", "ok"]]);
    assert_eq!(pages[0].rejected[1].raw, "3,2024-02-30,b");
}

#[test]
fn invalid_utf8_names_the_byte_and_the_next_row_is_read() {
    let bytes = b"a,b\n1,\xff\xfe\n2,ok\n".to_vec();
    let pages = decode(bytes, CsvStream::default(), &[], 10).unwrap();
    assert_eq!(codes(&pages), ["invalid-utf8"]);
    assert!(pages[0].rejected[0].reason.contains("byte 6"), "{:?}", pages[0].rejected);
    assert_eq!(rejected_at(&pages), [(2, "invalid-utf8", Some("b"))]);
    assert!(pages[0].rejected[0].reason.contains("declare the file's `encoding`"));
    assert_eq!(cells(&pages), [["2", "ok"]]);
}

#[test]
fn a_row_that_is_no_text_or_has_another_width_names_its_column() {
    let bytes = b"id,\"full name\",city\n\
        \xff,a,b\n\
        2,\"ok\",\xfe\n\
        3,\"O\xffHara\",\xfe\n\
        4,a,b,\xff\n\
        5\n\
        6,a\n\
        7,Ulm, Donau,8\n\
        8,fine,Ulm\n";
    let pages = decode(bytes.to_vec(), CsvStream::default(), &[], 100).unwrap();
    assert_eq!(
        rejected_at(&pages),
        [
            (2, "invalid-utf8", Some("id")),
            (3, "invalid-utf8", Some("city")),
            (4, "invalid-utf8", Some("full name")),
            (5, "invalid-utf8", None),
            (6, "ragged-row", Some("full name")),
            (7, "ragged-row", Some("city")),
            (8, "ragged-row", None),
        ]
    );
    let reasons: Vec<&str> = pages[0].rejected.iter().map(|row| row.reason.as_str()).collect();
    assert!(reasons[3].contains("in field 4, which has no column"), "{}", reasons[3]);
    assert_eq!(
        reasons[4..],
        [
            "1 field where the file has 3 columns: \"full name\" and all after it got no value; \
             complete the line",
            "2 fields where the file has 3 columns: \"city\" got no value; complete the line",
            "4 fields where the file has 3 columns: field 4 has no column; if a value has a `,` in \
             it, put quotes around the value",
        ]
    );
    assert_eq!(cells(&pages), [["8", "fine", "Ulm"]]);
}

#[test]
fn encodings_are_declared_or_found_by_their_mark() {
    let utf16 = |text: &str| {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        [0xff, 0xfe].into_iter().chain(units).collect::<Vec<u8>>()
    };
    let gbk = encoding_rs::GBK.encode("名,城\n张,北京\n").0.into_owned();
    for (bytes, encoding, expected) in [
        (b"name,x\nM\xfcller,1\n".to_vec(), Some("windows-1252"), "Müller"),
        (gbk, Some("gbk"), "张"),
        (utf16("name,x\nŁódź,1\n"), None, "Łódź"),
        ("\u{feff}name,x\nZoë,1\n".as_bytes().to_vec(), None, "Zoë"),
    ] {
        let stream = CsvStream { encoding: encoding.map(str::to_owned), ..CsvStream::default() };
        let pages = decode(bytes, stream, &[], 10).unwrap();
        assert_eq!((cells(&pages)[0][0].as_str(), codes(&pages).len()), (expected, 0));
    }
    let broken = b"\xc3\xfb,x\n\xd5,1\nb,2\n".to_vec();
    let stream = CsvStream { encoding: Some("gbk".into()), ..CsvStream::default() };
    let pages = decode(broken, stream, &[], 10).unwrap();
    assert_eq!(rejected_at(&pages), [(2, "invalid-encoding", Some("名"))]);
    let stream = CsvStream { encoding: Some("klingon".into()), ..CsvStream::default() };
    assert!(decode(Vec::new(), stream, &[], 10).unwrap_err().hint_text().is_some());
}

#[test]
fn european_and_null_spellings_are_settings() {
    let stream = CsvStream {
        decimal_comma: true,
        date_format: Some("%d.%m.%Y".into()),
        null_values: Some(vec!["NULL".into()]),
        ..CsvStream::default()
    };
    let pages = decode(b"x;day;t\n1,5;01.02.2024;NULL\n2;;\n".to_vec(), stream, &[], 10).unwrap();
    assert_eq!(types(&pages[0]), ["x:Float64", "day:Date32", "t:Utf8"]);
    assert_eq!(cells(&pages), [["1.5", "2024-02-01", "∅"], ["2.0", "∅", ""]]);
}

#[test]
fn thousands_of_a_file_with_decimal_commas_are_not_read_as_decimals() {
    let stream =
        CsvStream { decimal_comma: true, delimiter: Some(";".into()), ..CsvStream::default() };
    let text = "sum;items;price\n-2.000;1.500;1.234,5\n1.234.567,89;2;0,5\n12.50;3;1,5\n";
    let declared = [
        DeclaredColumn::new("sum", ColumnType::Decimal { precision: 12, scale: 2 }),
        DeclaredColumn::new("items", ColumnType::Int64),
    ];
    let pages = decode(text.as_bytes().to_vec(), stream, &declared, 10).unwrap();
    assert_eq!(types(&pages[0])[2], "price:Float64");
    assert_eq!(cells(&pages), [["-2000.00", "1500", "1234.5"], ["1234567.89", "2", "0.5"]]);
    assert_eq!(rejected_at(&pages), [(4, "type-mismatch", Some("sum"))]);
}

#[test]
fn a_value_that_does_not_fit_an_inferred_type_says_what_to_declare() {
    let mut text = String::from("id\n");
    for id in 0..20_000 {
        text.push_str(&format!("{id}\n"));
    }
    text.push_str("C20001\n");
    let pages = decode_text(&text);
    assert_eq!(codes(&pages), ["type-mismatch"]);
    let reason = &pages.iter().flat_map(|page| &page.rejected).next().unwrap().reason;
    assert!(reason.contains("declare the column as text"), "{reason}");
}

#[test]
fn rows_can_be_traced_to_their_line_also_behind_quoted_newlines() {
    let pages = decode_text("a,b\n1,\"x\ny\"\n2,z\nbad\n3,w\n");
    let page = &pages[0];
    let lines: Vec<u64> = (0..3).map(|row| page.trace(row).unwrap().1).collect();
    assert_eq!(lines, [2, 4, 6]);
}

#[tokio::test]
async fn one_percent_bad_of_100_000_lands_the_other_99_000() {
    let mut text = String::from("id,amount\n");
    for id in 0..100_000 {
        let amount = if id % 100 == 7 { "oops".to_owned() } else { format!("{id}.25") };
        text.push_str(&format!("{id},{amount}\n"));
    }
    let folder = Folder::new(&[("in.csv", text.as_bytes())]);
    let mut request = request("csv", json!({"path": "in.csv"}));
    request.columns =
        vec![DeclaredColumn::new("amount", ColumnType::Decimal { precision: 12, scale: 2 })];
    let pages = read(&folder, "csv", &request).await.unwrap();
    let rows: usize = pages.iter().map(|page| page.batch.num_rows()).sum();
    let bad = rejected_at(&pages);
    assert_eq!((rows, bad.len(), bad[0]), (99_000, 1_000, (9, "type-mismatch", Some("amount"))));
}

#[tokio::test]
async fn a_line_of_100_mb_is_set_aside_in_bounded_memory() {
    let folder = Folder::new(&[]);
    let mut file = std::fs::File::create(folder.path("long.csv")).unwrap();
    file.write_all(b"a,b\n1,x\n2,").unwrap();
    let block = vec![b'y'; 1 << 20];
    for _ in 0..100 {
        file.write_all(&block).unwrap();
    }
    file.write_all(b"\n3,z\n").unwrap();
    let stream = json!({"path": "long.csv", "line_bytes_max": "1MiB"});
    let pages = read(&folder, "csv", &request("csv", stream)).await.unwrap();
    assert_eq!(rejected_at(&pages), [(3, "line-too-long", None)]);
    assert!(pages.iter().flat_map(|p| &p.rejected).all(|r| r.raw.len() < 5_000));
    assert_eq!(cells(&pages), [["1", "x"], ["3", "z"]]);
}

#[tokio::test]
async fn a_grown_file_yields_its_new_lines_and_a_changed_one_is_explained() {
    let folder = Folder::new(&[("a.csv", b"id,v\n1,x\n2,y\n")]);
    let mut request = request("csv", json!({"path": "*.csv"}));
    request.write_appends = true;
    let pages = read(&folder, "csv", &request).await.unwrap();
    request.from = pages.last().map(|page| page.position.clone());
    assert!(read(&folder, "csv", &request).await.unwrap().is_empty());

    folder.write("a.csv", b"id,v\n1,x\n2,y\n3,z\n");
    let grown = read(&folder, "csv", &request).await.unwrap();
    assert_eq!(cells(&grown), [["3", "z"]]);
    request.from = grown.last().map(|page| page.position.clone());

    folder.write("a.csv", b"id,v\n1,CHANGED\n2,y\n3,z\n4,w\n");
    let error = read(&folder, "csv", &request).await.unwrap_err();
    assert!(error.message().contains("a.csv has changed"), "{error}");
    request.write_appends = false;
    let again = read(&folder, "csv", &request).await.unwrap();
    assert_eq!(cells(&again).len(), 4);
}

#[tokio::test]
async fn a_full_read_goes_on_only_behind_files_that_are_as_they_were() {
    let folder = Folder::new(&[("a.csv", b"id\n1\n2\n"), ("b.csv", b"id\n3\n4\n")]);
    let mut full = request("csv", json!({ "path": "*.csv" }));
    (full.mode, full.page_rows) = (ReadMode::Full, 3);
    let pages = read(&folder, "csv", &full).await.unwrap();
    full.from = Some(pages[0].position.clone());
    let changes: [(&str, Option<&[u8]>, bool); 6] = [
        ("c.csv", Some(b"id\n5\n"), true),
        ("b.csv", Some(b"id\n3\n4\n6\n"), true),
        ("a.csv", Some(b"id\n17\n2\n"), false),
        ("a.csv", Some(b"id\n1\n2\n"), true),
        ("b.csv", Some(b"id\n"), false),
        ("a.csv", None, false),
    ];
    for (name, bytes, stands) in changes {
        match bytes {
            Some(bytes) => folder.write(name, bytes),
            None => std::fs::remove_file(folder.path(name)).unwrap(),
        }
        let found = folder.source("csv").is_as_read(&full).await.unwrap();
        assert_eq!(found, stands, "{name} {bytes:?}");
        if name == "b.csv" {
            folder.write(name, b"id\n3\n4\n");
        }
    }
}

#[tokio::test]
async fn a_last_line_without_end_that_grows_is_a_change() {
    let folder = Folder::new(&[("a.csv", b"id,v\n1,x\n2,y")]);
    let mut request = request("csv", json!({"path": "a.csv"}));
    request.write_appends = true;
    let pages = read(&folder, "csv", &request).await.unwrap();
    assert_eq!(cells(&pages).len(), 2);
    request.from = pages.last().map(|page| page.position.clone());
    folder.write("a.csv", b"id,v\n1,x\n2,yes\n");
    assert!(read(&folder, "csv", &request).await.is_err());
    folder.write("a.csv", b"id,v\n1,x\n2,y\n3,z\n");
    assert_eq!(cells(&read(&folder, "csv", &request).await.unwrap()), [["3", "z"]]);
}

#[tokio::test]
async fn a_touched_file_with_the_same_bytes_is_not_read_again() {
    let folder = Folder::new(&[("a.csv", b"id,v\n1,x\n")]);
    let mut request = request("csv", json!({"path": "a.csv"}));
    let pages = read(&folder, "csv", &request).await.unwrap();
    request.from = pages.last().map(|page| page.position.clone());
    let later = std::time::UNIX_EPOCH + std::time::Duration::from_secs(2_000_000_000);
    std::fs::File::open(folder.path("a.csv")).unwrap().set_modified(later).unwrap();
    let pages = read(&folder, "csv", &request).await.unwrap();
    assert!(cells(&pages).is_empty());
}

#[tokio::test]
async fn columns_are_matched_by_name_and_changes_are_told() {
    let folder = Folder::new(&[
        ("1.csv", b"id,name\n1,Ann\n"),
        ("2.csv", b"name,id\nBob,2\n"),
        ("3.csv", b"id\n3\n"),
        ("4.csv", b"id,name,extra\n4,Dan,9\n"),
    ]);
    let stream = json!({"path": "*.csv"});
    let first = ReadRequest { page_rows: 1, ..request("csv", stream.clone()) };
    let pages = read(&folder, "csv", &first).await.unwrap();
    assert_eq!(
        cells(&pages),
        [["1", "Ann", "∅"], ["2", "Bob", "∅"], ["3", "∅", "∅"], ["4", "Dan", "9"]]
    );
    let notices: Vec<&str> =
        pages.iter().flat_map(|p| &p.notices).map(|n| n.code.as_str()).collect();
    assert!(notices.contains(&"missing-column"), "{notices:?}");

    folder.write("5.csv", b"id,name,extra,more\n5,Eve,8,7\n");
    let mut next = first.clone();
    next.from = pages.last().map(|page| page.position.clone());
    let pages = read(&folder, "csv", &next).await.unwrap();
    assert_eq!(cells(&pages), [["5", "Eve", "8", "7"]]);
    for (policy, ok) in [("ignore", true), ("fail", false)] {
        next.stream = json!({"path": "*.csv", "new_columns": policy});
        let outcome = read(&folder, "csv", &next).await;
        assert_eq!(outcome.is_ok(), ok, "{policy}");
        if let Ok(pages) = outcome {
            assert_eq!(cells(&pages), [["5", "Eve", "8"]]);
        }
    }
    next.stream = stream;
    next.columns =
        vec![DeclaredColumn { not_null: true, ..DeclaredColumn::new("name", ColumnType::Text) }];
    next.from = None;
    assert!(
        read(&folder, "csv", &next).await.unwrap_err().message().contains("no column \"name\"")
    );
}

#[tokio::test]
async fn another_header_in_the_middle_of_a_file_names_file_and_line() {
    let folder = Folder::new(&[("a.csv", b"id,name,city\n1,Ann,Rome\nname,id,city\nBob,2,Oslo\n")]);
    let error = read(&folder, "csv", &request("csv", json!({"path": "a.csv"}))).await.unwrap_err();
    assert!(error.message().contains("a.csv has a different header at line 3"), "{error}");
}

#[tokio::test]
async fn dated_files_appear_on_their_day() {
    let folder = Folder::new(&[
        ("2024-05-01.csv", b"id\n1\n"),
        ("2024-05-02.csv", b"id\n2\n"),
        ("notes.csv", b"id\n3\n"),
    ]);
    let mut request = request("csv", json!({"path": "*.csv", "dated": "%Y-%m-%d.csv"}));
    request.now = flywheel_base::Timestamp::parse("2024-05-01 23:59:00").unwrap();
    let pages = read(&folder, "csv", &request).await.unwrap();
    assert_eq!(cells(&pages), [["1"]]);
    assert_eq!(pages[0].notices[0].code, "undated-file");
    request.from = pages.last().map(|page| page.position.clone());
    request.now = request.now.plus_days(1);
    assert_eq!(cells(&read(&folder, "csv", &request).await.unwrap()), [["2"]]);
    request.mode = ReadMode::Full;
    assert_eq!(cells(&read(&folder, "csv", &request).await.unwrap()), [["1"], ["2"]]);
}

#[tokio::test]
async fn compressed_files_are_read_and_a_cut_one_is_an_error() {
    let mut text = String::from("id,v\n");
    for id in 0..50_000 {
        text.push_str(&format!("{id},{}\n", id * 7919 % 100_003));
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::stream::encode_all(text.as_bytes(), 1).unwrap();
    for bytes in [gzip, zstd] {
        let folder = Folder::new(&[("a.csv", &bytes)]);
        let request = request("csv", json!({"path": "a.csv"}));
        assert_eq!(cells(&read(&folder, "csv", &request).await.unwrap()).len(), 50_000);
        folder.write("a.csv", &bytes[..bytes.len() * 2 / 3]);
        let error = read(&folder, "csv", &request).await.unwrap_err();
        assert_eq!(error.kind(), flywheel_base::ErrorKind::Corrupt);
        assert!(error.hint_text().is_some());
    }
}

#[tokio::test]
async fn an_empty_file_is_a_notice_and_a_missing_one_an_error() {
    let folder = Folder::new(&[("a.csv", b"")]);
    let pages = read(&folder, "csv", &request("csv", json!({"path": "*.csv"}))).await.unwrap();
    assert!(cells(&pages).is_empty());
    assert_eq!(pages[0].notices[0].code, "empty-file");
    let id = DeclaredColumn::new("id", ColumnType::Int64);
    let mut strict = request("csv", json!({"path": "*.csv"}));
    strict.columns = vec![DeclaredColumn { not_null: true, ..id }];
    for content in ["", "\n\n"] {
        folder.write("a.csv", content.as_bytes());
        let pages = read(&folder, "csv", &strict).await.unwrap();
        assert_eq!(pages[0].notices[0].code, "empty-file", "{content:?}");
    }
    let missing =
        read(&folder, "csv", &request("csv", json!({"path": "b.csv"}))).await.unwrap_err();
    assert_eq!(missing.kind(), flywheel_base::ErrorKind::NotFound);
    let wrong = read(&folder, "csv", &request("csv", json!({"path": "b.csv", "colour": 1}))).await;
    assert!(wrong.unwrap_err().message().contains("colour"));
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_an_error_and_one_without_files_is_none() {
    let folder = Folder::new(&[("in/a.txt", b"")]);
    let request = request("csv", json!({"path": "new/*.csv"}));
    let rows = |name: &str| {
        let source = folder.source_with("csv", json!({ "folder": name }));
        let request = request.clone();
        async move { futures::TryStreamExt::try_collect::<Vec<Page>>(source.read(&request)).await }
    };
    assert!(cells(&rows("in").await.unwrap()).is_empty());
    let error = rows("inn").await.unwrap_err();
    assert_eq!(error.kind(), flywheel_base::ErrorKind::NotFound);
    assert!(error.hint_text().unwrap().contains("`folder`"), "{error:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_may_not_be_read_is_denied() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new(&[("a.csv", b"id\n1\n")]);
    let path = folder.path("a.csv");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(&path).is_ok() {
        eprintln!("not checked: this user may read every file");
        return;
    }
    let error = read(&folder, "csv", &request("csv", json!({"path": "a.csv"}))).await.unwrap_err();
    assert_eq!(error.kind(), flywheel_base::ErrorKind::Denied);
}

#[tokio::test]
async fn lineage_columns_name_file_and_line() {
    let folder = Folder::new(&[("1.csv", b"id\n1\n"), ("2.csv", b"id\n2\nx\n3\n")]);
    let stream = json!({"path": "*.csv", "lineage_columns": true});
    let mut request = request("csv", stream);
    request.columns = vec![DeclaredColumn::new("id", ColumnType::Int64)];
    let pages = read(&folder, "csv", &request).await.unwrap();
    assert_eq!(cells(&pages), [["1", "1.csv", "2"], ["2", "2.csv", "2"], ["3", "2.csv", "4"]]);
}

#[tokio::test]
async fn discovery_groups_files_and_gives_settings_that_read_them() {
    let folder = Folder::new(&[
        ("sales/2024-05-01.csv", b"id,amount\n1,2.5\n"),
        ("sales/2024-05-02.csv", b"id,amount\n2,3.5\n"),
        ("people.csv", b"id,zip\n1,00123\n"),
    ]);
    let streams = folder.source("csv").discover().await.unwrap();
    let names: Vec<&str> = streams.iter().map(|stream| stream.name.as_str()).collect();
    assert_eq!(names, ["people.csv", "sales/*.csv"]);
    assert_eq!(streams[0].columns[1].kind, ColumnType::Text);
    let request = request("csv", streams[1].stream.clone());
    assert_eq!(cells(&read(&folder, "csv", &request).await.unwrap()), [["1", "2.5"], ["2", "3.5"]]);
    let _: Value = serde_json::to_value((crate::SOURCES[0].stream_schema)()).unwrap();
}

#[tokio::test]
async fn a_year_of_real_sales_lands_row_by_row_day_by_day() {
    let data = std::env::var_os("FLYWHEEL_DATA")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"));
    let folder = data.join("online_retail");
    if !folder.exists() {
        eprintln!("NOT CHECKED: the online_retail files are absent; set FLYWHEEL_DATA");
        return;
    }
    let project = Folder::new(&[]);
    let source = project.source_with("csv", json!({ "folder": folder }));
    let mut request = request("csv", json!({ "path": "*.csv", "dated": "%Y-%m-%d.csv" }));
    let column = |name: &str, kind: &str| DeclaredColumn::new(name, kind.parse().unwrap());
    request.columns = vec![column("InvoiceNo", "text"), column("UnitPrice", "decimal(12,3)")];
    let mut rows = 0;
    for (date, expected) in [("2010-12-01", 3_108), ("2010-12-01", 0), ("2011-12-09", 538_801)] {
        request.now = flywheel_base::Timestamp::parse(date).unwrap();
        let mut pages = source.read(&request);
        let mut read = 0;
        let mut last = None;
        while let Some(page) = futures::TryStreamExt::try_next(&mut pages).await.unwrap() {
            assert!(page.rejected.is_empty(), "{:?}", page.rejected.first());
            read += page.batch.num_rows();
            last = Some(page.position);
        }
        drop(pages);
        assert_eq!(read, expected, "{date}");
        rows += read;
        request.from = last.or(request.from);
    }
    assert_eq!(rows, 541_909);
}
