//! Files of other programs, damaged files, and files of other types.

use std::io::Write as _;

use serde_json::json;

use super::*;
use crate::source::contract::{Folder, cells, codes, read, request};

/// A file by hand, so that it does not depend on the writer that we use: blocks of encoded rows.
fn container(schema: &str, blocks: &[(u64, &[u8])]) -> Vec<u8> {
    let mut bytes = b"Obj\x01".to_vec();
    let text = |bytes: &mut Vec<u8>, text: &[u8]| {
        number(bytes, text.len() as i64);
        bytes.write_all(text).unwrap();
    };
    number(&mut bytes, 1);
    text(&mut bytes, b"avro.schema");
    text(&mut bytes, schema.as_bytes());
    number(&mut bytes, 0);
    let sync = [7; 16];
    bytes.extend(sync);
    for (count, rows) in blocks {
        number(&mut bytes, *count as i64);
        text(&mut bytes, rows);
        bytes.extend(sync);
    }
    bytes
}

fn number(bytes: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    number(bytes, text.len() as i64);
    bytes.extend(text.as_bytes());
}

const ORDERS: &str = r#"{"type":"record","name":"order","fields":[
    {"name":"id","type":"long"},
    {"name":"state","type":{"type":"enum","name":"state","symbols":["new","paid"]}},
    {"name":"key","type":{"type":"string","logicalType":"uuid"}},
    {"name":"price","type":["null",{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}]},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"day","type":{"type":"int","logicalType":"date"}},
    {"name":"tags","type":{"type":"array","items":"string"}},
    {"name":"either","type":["null","long","string"]}]}"#;

fn order(id: i64, state: i64, price: Option<&[u8]>, either: &str) -> Vec<u8> {
    let mut row = Vec::new();
    number(&mut row, id);
    number(&mut row, state);
    text(&mut row, "6f9619ff-8b86-d011-b42d-00cf4fc964ff");
    match price {
        None => number(&mut row, 0),
        Some(digits) => {
            number(&mut row, 1);
            number(&mut row, digits.len() as i64);
            row.extend(digits);
        }
    }
    number(&mut row, 1_714_566_600_500);
    number(&mut row, 19_844);
    number(&mut row, 1);
    text(&mut row, "x");
    number(&mut row, 0);
    match either {
        "" => number(&mut row, 0),
        either => {
            number(&mut row, 2);
            text(&mut row, either);
        }
    }
    row
}

fn orders() -> Vec<u8> {
    let first = [order(1, 0, Some(&[0x04, 0xe2]), "a"), order(2, 1, None, "")].concat();
    let second = order(3, 0, Some(&[0xff]), "b");
    container(ORDERS, &[(2, &first), (1, &second)])
}

/// Seven rows in three blocks, one of which is not a number.
pub(crate) fn numbers() -> Vec<u8> {
    let schema = r#"{"type":"record","name":"r","fields":[
        {"name":"n","type":"string"},{"name":"v","type":["null","long"]}]}"#;
    let row = |n: &str| {
        let mut row = Vec::new();
        text(&mut row, n);
        number(&mut row, 1);
        number(&mut row, n.len() as i64);
        row
    };
    let rows = |names: &[&str]| names.iter().flat_map(|n| row(n)).collect::<Vec<u8>>();
    let blocks = [rows(&["1", "2"]), rows(&["x", "4", "5", "6"]), rows(&["7"])];
    container(schema, &[(2, &blocks[0]), (4, &blocks[1]), (1, &blocks[2])])
}

#[tokio::test]
async fn logical_types_arrive_as_what_they_mean() {
    let folder = Folder::new(&[("1.avro", &orders())]);
    let pages = read(&folder, "avro", &request("avro", json!({"path": "*.avro"}))).await.unwrap();
    let key = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";
    let at = "2024-05-01T12:30:00.500Z";
    assert_eq!(
        cells(&pages),
        [
            ["1", "new", key, "12.50", at, "2024-05-01", "[x]", "\"a\""],
            ["2", "paid", key, "∅", at, "2024-05-01", "[x]", "∅"],
            ["3", "new", key, "-0.01", at, "2024-05-01", "[x]", "\"b\""],
        ]
    );
    assert_eq!(pages[0].batch.schema().field(3).data_type(), &DataType::Decimal128(9, 2));
}

#[tokio::test]
async fn a_file_that_is_cut_off_anywhere_is_an_error_and_never_a_shorter_file() {
    let whole = orders();
    let folder = Folder::new(&[]);
    let mut complete = 0;
    for cut in 0..whole.len() {
        folder.write("1.avro", &whole[..cut]);
        let request = request("avro", json!({"path": "1.avro"}));
        match read(&folder, "avro", &request).await {
            Ok(pages) => {
                // Between two blocks the frame is whole: no reader can see the difference.
                complete += 1;
                assert!([0, 2].contains(&cells(&pages).len()), "cut at {cut}");
            }
            Err(error) => {
                assert_eq!(error.kind(), flywheel_base::ErrorKind::Corrupt, "{cut}: {error}");
                assert!(error.message().contains("1.avro"), "{error}");
            }
        }
    }
    assert_eq!(complete, 2);
}

#[tokio::test]
async fn a_changed_byte_never_panics() {
    let whole = orders();
    let folder = Folder::new(&[]);
    for at in 0..whole.len() {
        // In the schema one change of each byte will do, in the rows every kind of it.
        let values: &[u8] = if at < ORDERS.len() { b"\"" } else { &[0, 1, 0x7f, 0x80, 0xff] };
        for value in values {
            let mut bytes = whole.clone();
            bytes[at] = *value;
            folder.write("1.avro", &bytes);
            let request = request("avro", json!({"path": "1.avro"}));
            if let Err(error) = read(&folder, "avro", &request).await {
                let kind = error.kind();
                assert_ne!(
                    kind,
                    flywheel_base::ErrorKind::Internal,
                    "{at}={value}: {}",
                    error.report()
                );
            }
        }
    }
}

#[tokio::test]
async fn a_later_file_of_another_type_is_converted_or_its_rows_set_aside() {
    let long = r#"{"type":"record","name":"r","fields":[{"name":"n","type":"long"}]}"#;
    let double = r#"{"type":"record","name":"r","fields":[{"name":"n","type":"double"}]}"#;
    let mut row = Vec::new();
    number(&mut row, 5);
    let doubles = [3.0f64, 3.5].map(f64::to_le_bytes).concat();
    let folder = Folder::new(&[
        ("1.avro", &container(long, &[(1, &row)])),
        ("2.avro", &container(double, &[(2, &doubles)])),
    ]);
    let pages = read(&folder, "avro", &request("avro", json!({"path": "*.avro"}))).await.unwrap();
    assert_eq!(cells(&pages), [["5"], ["3"]]);
    assert_eq!(codes(&pages), ["out-of-range"]);
}

#[tokio::test]
async fn a_later_file_with_wider_numbers_widens_the_column() {
    let schema = |of: &str| {
        format!(r#"{{"type":"record","name":"r","fields":[{{"name":"n","type":"{of}"}}]}}"#)
    };
    let mut rows = [Vec::new(), Vec::new()];
    for (row, value) in rows.iter_mut().zip([5, 1 << 40]) {
        number(row, value);
    }
    let folder = Folder::new(&[("1.avro", &container(&schema("int"), &[(1, &rows[0])]))]);
    let mut request = request("avro", json!({"path": "*.avro"}));
    let pages = read(&folder, "avro", &request).await.unwrap();
    assert_eq!(pages[0].batch.schema().field(0).data_type(), &DataType::Int32);
    folder.write("2.avro", &container(&schema("long"), &[(1, &rows[1])]));
    // Both in one read, and the second one after the first.
    assert_eq!(cells(&read(&folder, "avro", &request).await.unwrap()), [["5"], ["1099511627776"]]);
    request.from = pages.last().map(|page| page.position.clone());
    let pages = read(&folder, "avro", &request).await.unwrap();
    assert!(codes(&pages).is_empty());
    assert_eq!(cells(&pages), [["1099511627776"]]);
}

#[tokio::test]
async fn what_no_table_has_a_type_for_arrives_as_text() {
    let schema = r#"{"type":"record","name":"r","fields":[
        {"name":"took","type":["null",{"type":"fixed","name":"d","size":12,"logicalType":"duration"}]},
        {"name":"much","type":{"type":"bytes","logicalType":"decimal","precision":50,"scale":2}},
        {"name":"list","type":{"type":"array","items":
            {"type":"bytes","logicalType":"decimal","precision":50,"scale":2}}}]}"#;
    let mut rows = Vec::new();
    number(&mut rows, 1);
    rows.extend([1u32, 2, 3_004].map(u32::to_le_bytes).concat());
    for digits in [&[0x04u8, 0xe2][..], &[0xff]] {
        if digits.len() == 1 {
            // The second row, without a duration.
            number(&mut rows, 0);
        }
        number(&mut rows, digits.len() as i64);
        rows.extend(digits);
        number(&mut rows, 1);
        number(&mut rows, 1);
        rows.push(0x64);
        number(&mut rows, 0);
    }
    let folder = Folder::new(&[("1.avro", &container(schema, &[(2, &rows)]))]);
    let pages = read(&folder, "avro", &request("avro", json!({"path": "*.avro"}))).await.unwrap();
    let types: Vec<DataType> =
        pages[0].batch.schema().fields().iter().map(|field| field.data_type().clone()).collect();
    assert_eq!(types, [DataType::Utf8, DataType::Utf8, DataType::Utf8]);
    assert_eq!(
        cells(&pages),
        [["P1M2DT3.004S", "12.50", "[\"1.00\"]"], ["∅", "-0.01", "[\"1.00\"]"]]
    );
}

#[tokio::test]
async fn a_recursive_schema_is_refused_for_what_it_is() {
    let tree = r#"{"type":"record","name":"node","namespace":"a.b","fields":[
        {"name":"v","type":"long"},
        {"name":"kids","type":{"type":"array","items":["null","a.b.node"]}}]}"#;
    let folder = Folder::new(&[("1.avro", &container(tree, &[]))]);
    let request = request("avro", json!({"path": "1.avro"}));
    let error = read(&folder, "avro", &request).await.unwrap_err();
    assert!(error.message().contains("a.b.node"), "{error}");
    assert!(error.hint_text().unwrap().contains("Recursive schemas are not read"), "{error:?}");
    // A record that is named twice side by side holds itself nowhere.
    let twice = r#"{"type":"record","name":"r","fields":[
        {"name":"a","type":{"type":"record","name":"p","fields":[{"name":"x","type":"long"}]}},
        {"name":"b","type":"p"}]}"#;
    folder.write("1.avro", &container(twice, &[(1, &[2, 4])]));
    let pages = read(&folder, "avro", &request).await.unwrap();
    assert_eq!(cells(&pages), [["{x: 1}", "{x: 2}"]]);
}

#[tokio::test]
async fn values_that_are_no_records_are_explained() {
    let folder = Folder::new(&[("1.avro", &container("\"string\"", &[]))]);
    let request = request("avro", json!({"path": "1.avro"}));
    let error = read(&folder, "avro", &request).await.unwrap_err();
    assert!(error.hint_text().unwrap().contains("records"), "{error}");
}
