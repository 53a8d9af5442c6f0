//! What a user sees of workbooks. The workbooks are written here, cell by cell.

use std::io::Write as _;

use flywheel_base::ErrorKind;
use serde_json::json;

use crate::source::contract::{Folder, cells, codes, read, request};
use crate::{ColumnType, DeclaredColumn};

/// A zip archive without compression.
fn zip(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut directory = Vec::new();
    for (name, text) in entries {
        let offset = out.len() as u32;
        let mut crc = flate2::Crc::new();
        crc.update(text.as_bytes());
        let mut head = Vec::new();
        head.extend_from_slice(&20u16.to_le_bytes());
        head.extend_from_slice(&[0; 8]);
        head.extend_from_slice(&crc.sum().to_le_bytes());
        head.extend_from_slice(&(text.len() as u32).to_le_bytes());
        head.extend_from_slice(&(text.len() as u32).to_le_bytes());
        head.extend_from_slice(&(name.len() as u16).to_le_bytes());
        head.extend_from_slice(&[0; 2]);
        out.extend_from_slice(b"PK\x03\x04");
        out.extend_from_slice(&head);
        out.write_all(name.as_bytes()).unwrap();
        out.write_all(text.as_bytes()).unwrap();
        directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        directory.extend_from_slice(&head);
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.write_all(name.as_bytes()).unwrap();
    }
    let (start, size, count) = (out.len() as u32, directory.len() as u32, entries.len() as u16);
    out.extend_from_slice(&directory);
    out.extend_from_slice(b"PK\x05\x06\x00\x00\x00\x00");
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&size.to_le_bytes());
    out.extend_from_slice(&start.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out
}

/// A workbook with one sheet of the given rows; style 1 is a date.
fn xlsx(rows: &str, epoch_1904: bool, merged: &str) -> Vec<u8> {
    let sheet = format!(
        "<worksheet xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\"><sheetData>{rows}</sheetData>{merged}</worksheet>"
    );
    let workbook = format!(
        "<workbook xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\" xmlns:r=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships\"><workbookPr date1904=\"{}\"/><sheets><sheet name=\"Data\" sheetId=\"1\" r:id=\"rId1\"/></sheets></workbook>",
        u8::from(epoch_1904)
    );
    zip(&[
        (
            "[Content_Types].xml",
            "<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\"/>",
        ),
        (
            "_rels/.rels",
            "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\"><Relationship Id=\"rId1\" Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>",
        ),
        ("xl/workbook.xml", &workbook),
        (
            "xl/_rels/workbook.xml.rels",
            "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\"><Relationship Id=\"rId1\" Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet\" Target=\"worksheets/sheet1.xml\"/></Relationships>",
        ),
        (
            "xl/styles.xml",
            "<styleSheet xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\"><cellXfs count=\"3\"><xf numFmtId=\"0\"/><xf numFmtId=\"14\"/><xf numFmtId=\"22\"/></cellXfs></styleSheet>",
        ),
        ("xl/worksheets/sheet1.xml", &sheet),
    ])
}

fn text(at: &str, value: &str) -> String {
    format!("<c r=\"{at}\" t=\"inlineStr\"><is><t>{value}</t></is></c>")
}

fn number(at: &str, style: u8, value: &str) -> String {
    format!("<c r=\"{at}\" s=\"{style}\"><v>{value}</v></c>")
}

fn row(number: u32, cells: &[String]) -> String {
    format!("<row r=\"{number}\">{}</row>", cells.concat())
}

/// The workbook of the contract: six rows, of which two are bad.
pub(crate) fn workbook() -> Vec<u8> {
    let error = "<c r=\"B4\" t=\"e\"><v>#N/A</v></c>".to_owned();
    let rows = [
        row(1, &[text("A1", "n"), text("B1", "zip")]),
        row(2, &[number("A2", 0, "1"), text("B2", "00123")]),
        row(3, &[text("A3", "x"), text("B3", "1")]),
        row(4, &[number("A4", 0, "3"), error]),
        row(6, &[number("A6", 0, "4"), text("B6", "2")]),
        row(7, &[number("A7", 0, "5")]),
        row(8, &[number("A8", 0, "6"), text("B8", "3")]),
    ];
    xlsx(&rows.concat(), false, "")
}

#[tokio::test]
async fn texts_whole_numbers_dates_and_formulas_keep_their_value() {
    let rows = [
        row(1, &["A1", "B1", "C1", "D1", "E1"].map(|at| text(at, &format!("c{at}")))),
        row(
            2,
            &[
                text("A2", "00123"),
                number("B2", 0, "9007199254740991"),
                number("C2", 1, "45413"),
                number("D2", 2, "45413.5"),
                "<c r=\"E2\"><f>1+1.5</f><v>2.5</v></c>".to_owned(),
            ],
        ),
        row(
            3,
            &[
                text("A3", "7"),
                number("B3", 0, "2"),
                number("C3", 1, "45414"),
                number("D3", 2, "45414"),
                number("E3", 0, "2"),
            ],
        ),
    ];
    let folder = Folder::new(&[("a.xlsx", &xlsx(&rows.concat(), false, ""))]);
    let pages = read(&folder, "excel", &request("excel", json!({"path": "a.xlsx"}))).await.unwrap();
    assert_eq!(
        cells(&pages),
        [
            ["00123", "9007199254740991", "2024-05-01", "2024-05-01T12:00:00Z", "2.5"],
            ["7", "2", "2024-05-02", "2024-05-02T00:00:00Z", "2.0"],
        ]
    );
}

#[tokio::test]
async fn dates_and_dates_that_were_typed_as_text_arrive_in_one_form() {
    let rows = [
        row(1, &[text("A1", "born"), text("B1", "seen")]),
        row(2, &[text("A2", "1850-05-01"), text("B2", "1850-05-01")]),
        row(3, &[number("A3", 1, "45351"), number("B3", 1, "45351")]),
        row(4, &[number("A4", 1, "45352"), text("B4", "n/a")]),
    ];
    let folder = Folder::new(&[("a.xlsx", &xlsx(&rows.concat(), false, ""))]);
    let pages = read(&folder, "excel", &request("excel", json!({"path": "a.xlsx"}))).await.unwrap();
    assert_eq!(
        cells(&pages),
        [["1850-05-01", "1850-05-01"], ["2024-02-29", "2024-02-29"], ["2024-03-01", "n/a"]]
    );
    let schema = pages[0].batch.schema();
    let types: Vec<String> = schema.fields().iter().map(|f| f.data_type().to_string()).collect();
    assert_eq!(types, ["Date32", "Utf8"]);
}

#[tokio::test]
async fn formulas_that_were_never_calculated_are_told_once_per_column() {
    let formula = |at: &str| format!("<c r=\"{at}\"><f>A2*2</f><v></v></c>");
    let known = |at: &str| format!("<c r=\"{at}\"><f>A2*2</f><v>4</v></c>");
    let rows = [
        row(1, &[text("A1", "n"), text("B1", "twice"), text("C1", "known")]),
        row(2, &[number("A2", 0, "1"), known("B2"), known("C2")]),
        row(3, &[number("A3", 0, "2"), formula("B3"), known("C3")]),
        row(4, &[number("A4", 0, "3"), formula("B4"), known("C4")]),
    ];
    let folder = Folder::new(&[("a.xlsx", &xlsx(&rows.concat(), false, ""))]);
    let pages = read(&folder, "excel", &request("excel", json!({"path": "a.xlsx"}))).await.unwrap();
    assert_eq!(cells(&pages), [["1", "4", "4"], ["2", "∅", "4"], ["3", "∅", "4"]]);
    let told: Vec<(&str, &str)> =
        pages[0].notices.iter().map(|n| (n.code.as_str(), n.message.as_str())).collect();
    let [("formula-without-value", message)] = told[..] else { panic!("{told:?}") };
    assert!(message.contains("\"twice\"") && message.contains("B3"), "{message}");
}

#[tokio::test]
async fn a_formula_that_gives_an_empty_text_was_calculated() {
    let empty = "<c r=\"B2\" t=\"str\"><f>IF(A2&gt;1,A2,\"\")</f><v></v></c>";
    let rows = [
        row(1, &[text("A1", "n"), text("B1", "large")]),
        row(2, &[number("A2", 0, "1"), empty.to_owned()]),
        row(3, &[number("A3", 0, "2"), text("B3", "2")]),
    ];
    let folder = Folder::new(&[("a.xlsx", &xlsx(&rows.concat(), false, ""))]);
    let pages = read(&folder, "excel", &request("excel", json!({"path": "a.xlsx"}))).await.unwrap();
    assert!(pages[0].notices.is_empty(), "{:?}", pages[0].notices);
}

#[tokio::test]
async fn the_1904_epoch_and_merged_headers_are_understood() {
    let rows = [
        row(1, &[text("A1", "day"), text("B1", "sales")]),
        row(2, &[text("B2", ""), text("C2", "")]),
        row(3, &[number("A3", 1, "43951"), number("B3", 0, "1"), number("C3", 0, "2")]),
    ];
    let merged =
        "<mergeCells count=\"2\"><mergeCell ref=\"A1:A2\"/><mergeCell ref=\"B1:C1\"/></mergeCells>";
    let folder = Folder::new(&[("a.xlsx", &xlsx(&rows.concat(), true, merged))]);
    let stream = json!({"path": "a.xlsx", "sheet": "Data"});
    let pages = read(&folder, "excel", &request("excel", stream)).await.unwrap();
    let schema = pages[0].batch.schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["day", "sales", "sales_2"]);
    assert_eq!(cells(&pages).last().unwrap(), &["2024-05-01", "1", "2"]);
}

#[tokio::test]
async fn error_cells_name_their_address_or_are_empty() {
    let folder = Folder::new(&[("a.xlsx", &workbook())]);
    let mut request = request("excel", json!({"path": "a.xlsx"}));
    request.columns = vec![DeclaredColumn::new("n", ColumnType::Int64)];
    let pages = read(&folder, "excel", &request).await.unwrap();
    assert_eq!(codes(&pages), ["type-mismatch", "cell-error"]);
    let reason = &pages[0].rejected[1].reason;
    assert!(reason.contains("B4") && reason.ends_with("has no value"), "{reason}");
    assert_eq!(pages[0].trace(1), Some(("a.xlsx", 6)));
    // As it stands in YAML, with and without quotes.
    for stream in [
        json!({"path": "a.xlsx", "cell_errors": "null"}),
        json!({"path": "a.xlsx", "cell_errors": null}),
    ] {
        request.stream = stream;
        assert_eq!(codes(&read(&folder, "excel", &request).await.unwrap()), ["type-mismatch"]);
    }
}

#[tokio::test]
async fn sheets_and_ranges_are_chosen_and_slips_suggested() {
    let folder = Folder::new(&[("a.xlsx", &workbook())]);
    let columns = vec![DeclaredColumn::new("n", ColumnType::Text)];
    let mut request = request("excel", json!({"path": "a.xlsx", "sheet": 1, "range": "A1:A3"}));
    request.columns = columns;
    assert_eq!(cells(&read(&folder, "excel", &request).await.unwrap()), [["1"], ["x"]]);
    request.stream = json!({"path": "a.xlsx", "sheet": "Dat"});
    let error = read(&folder, "excel", &request).await.unwrap_err();
    assert_eq!(error.hint_text(), Some("Did you mean \"Data\"?"));
}

#[tokio::test]
async fn each_sheet_of_a_workbook_is_found() {
    let mut book = rust_xlsxwriter::Workbook::new();
    for (name, column) in [("一月", "a"), ("Second Sheet", "b")] {
        let sheet = book.add_worksheet().set_name(name).unwrap();
        sheet.write_string(0, 0, column).unwrap();
        sheet.write_string(1, 0, name).unwrap();
    }
    let bytes = book.save_to_buffer().unwrap();
    let folder = Folder::new(&[("a.xlsx", &bytes), ("one.xlsx", &workbook())]);
    let found = folder.source("excel").discover().await.unwrap();
    let streams: Vec<_> = found.iter().map(|one| one.stream.clone()).collect();
    assert_eq!(
        streams,
        [
            json!({"path": "a.xlsx", "sheet": "一月"}),
            json!({"path": "a.xlsx", "sheet": "Second Sheet"}),
            json!({"path": "one.xlsx"}),
        ]
    );
    assert_eq!(found[1].columns[0].name, "b");
    let request = request("excel", streams[1].clone());
    assert_eq!(cells(&read(&folder, "excel", &request).await.unwrap()), [["Second Sheet"]]);
}

/// A compound file whose directory has an `EncryptedPackage`, as a workbook with a password has.
fn encrypted() -> Vec<u8> {
    let mut file = vec![0u8; 512 * 3];
    file[..8].copy_from_slice(&[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1]);
    file[24..34].copy_from_slice(&[0x3e, 0, 3, 0, 0xfe, 0xff, 9, 0, 6, 0]);
    file[44] = 1; // one sector of the allocation table
    file[48] = 1; // the directory is sector 1
    file[56..60].copy_from_slice(&4096u32.to_le_bytes());
    file[60..64].copy_from_slice(&0xffff_fffeu32.to_le_bytes());
    file[68..72].copy_from_slice(&0xffff_fffeu32.to_le_bytes());
    file[76..512].fill(0xff);
    file[76..80].fill(0); // the allocation table is sector 0
    file[512..1024].fill(0xff);
    file[512..516].copy_from_slice(&0xffff_fffdu32.to_le_bytes());
    file[516..520].copy_from_slice(&0xffff_fffeu32.to_le_bytes());
    for (slot, name, kind) in [(0, "Root Entry", 5u8), (1, "EncryptedPackage", 2)] {
        let entry = 1024 + slot * 128;
        for (at, unit) in name.encode_utf16().enumerate() {
            file[entry + at * 2..entry + at * 2 + 2].copy_from_slice(&unit.to_le_bytes());
        }
        file[entry + 64] = (name.len() as u8 + 1) * 2;
        file[entry + 66] = kind;
        file[entry + 68..entry + 80].fill(0xff);
        file[entry + 116..entry + 120].copy_from_slice(&0xffff_fffeu32.to_le_bytes());
    }
    file
}

#[tokio::test]
async fn passwords_damage_and_other_files_are_told_apart() {
    for (bytes, kind, hint) in [
        (encrypted(), ErrorKind::Denied, "password"),
        (workbook()[..400].to_vec(), ErrorKind::Corrupt, "save it again"),
        (b"n,zip\n1,2\n".to_vec(), ErrorKind::Corrupt, "save it again"),
        (Vec::new(), ErrorKind::Corrupt, "Copy it again"),
    ] {
        let folder = Folder::new(&[("a.xlsx", &bytes)]);
        let request = request("excel", json!({"path": "a.xlsx"}));
        let error = read(&folder, "excel", &request).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.hint_text().unwrap().contains(hint), "{error:?}");
    }
}

#[tokio::test]
async fn workbooks_of_the_old_and_the_open_format_read_like_the_new_one() {
    let xls: &[u8] = include_bytes!("../../../tests-data/workbook.xls");
    let ods: &[u8] = include_bytes!("../../../tests-data/workbook.ods");
    for (name, bytes) in [("workbook.xls", xls), ("workbook.ods", ods)] {
        let folder = Folder::new(&[(name, bytes)]);
        let pages =
            read(&folder, "excel", &request("excel", json!({ "path": name }))).await.unwrap();
        assert!(codes(&pages).is_empty(), "{name}: {:?}", pages[0].rejected);
        let rows: Vec<String> = cells(&pages).iter().map(|row| row[..5].join("|")).collect();
        assert_eq!(
            rows,
            [
                "00123|42|19.5|2024-05-01|true",
                "客户|-7|0.25|1999-12-31|false",
                "∅|1|∅|2024-02-29|true"
            ],
            "{name}"
        );
    }
}
