//! What a mapping hides is nowhere to be seen.

use flywheel_base::{Rng, Timestamp};
use futures::TryStreamExt;
use serde_json::json;

use super::*;
use crate::mapping::rejected::OBJECT_SOURCES;
use crate::page::Rejected;
use crate::source::{ReadRequest, SOURCES, SourceContext, SourceEntry};

fn aside(source: &str, raw: &str) -> Rejected {
    Rejected {
        source: source.to_owned().into(),
        file: "f".to_owned(),
        line: Some(3),
        column: None,
        code: "type-mismatch".into(),
        reason: "not a value of type int64".to_owned(),
        raw: raw.to_owned(),
        destination: None,
    }
}

#[test]
fn rejected_objects_lose_their_hidden_columns_and_lines_their_text() {
    let config = MappingConfig {
        drop: vec!["note".to_owned(), "person.age".to_owned()],
        ..config(vec![hidden("tel", "partial(4)"), hidden("person.name", "redact")])
    };
    let mapping = mapping(&config);
    let raw = |source: &str, raw: &str| {
        let mut rejected = [aside(source, raw)];
        mapping.apply_to_rejected(&mut rejected);
        rejected[0].raw.clone()
    };
    let object =
        r#"{"id":7,"tel":"13800138000","note":"x","person":{"name":"Li","age":5,"city":"B"}}"#;
    let expected = r#"{"id":7,"tel":"*******8000","person":{"name":"***","city":"B"}}"#;
    assert_eq!(raw("jsonl", object), expected);
    assert_eq!(raw("sqlite", r#"{"tel":13800138000}"#), r#"{"tel":"*******8000"}"#);
    assert_eq!(raw("jsonl", r#"{"tel":["13800138000"]}"#), r#"{"tel":"[masked]"}"#);
    let masked = "[masked: the row has columns that must not be seen]";
    for (source, line) in [
        ("csv", "7,13800138000,x"),
        ("csv", r#"{"other":"13800138000"}"#),
        ("excel", "7\t13800138000"),
        ("jsonl", r#"{"tel":"13800138000","#),
        ("jsonl", r#""13800138000""#),
        ("someday", object),
    ] {
        assert_eq!(raw(source, line), masked, "{source}");
    }
    let mut untouched = [aside("csv", "7,13800138000")];
    super::mapping(&super::config(vec![cleaned("tel", &["phone"])]))
        .apply_to_rejected(&mut untouched);
    assert_eq!(untouched[0].raw, "7,13800138000", "without anything to hide the line is kept");
}

#[test]
fn only_what_its_mask_leaves_as_it_is_counts_as_masked_already() {
    let config = MappingConfig {
        drop: vec!["note".to_owned()],
        ..config(vec![hidden("tel", "partial(4)"), hidden("name", "redact")])
    };
    let mapping = mapping(&config);
    assert_eq!(mapping.kept_value("tel", "*******8000"), KeptValue::Masked);
    assert_eq!(mapping.kept_value("tel", "13800138000"), KeptValue::Hidden, "kept before the mask");
    assert_eq!(mapping.kept_value("name", "Li"), KeptValue::Hidden);
    assert_eq!(mapping.kept_value("note", "x"), KeptValue::Left);
    assert_eq!(mapping.kept_value("id", "7"), KeptValue::Plain);
    assert!(mapping.lands_masked("tel", "*******8000") && mapping.lands_masked("id", "7"));
    assert!(!mapping.lands_masked("tel", "13800138000"));
}

#[test]
fn of_every_source_it_is_known_what_its_rejected_rows_look_like() {
    // A new source goes here if its rows are kept as anything but a flat object of its columns.
    let others = [
        "csv",
        "excel",
        "rest",
        "hubspot",
        "salesforce",
        "singer",
        "airbyte",
        "program",
        "kafka",
        "journal",
    ];
    for entry in SOURCES {
        let object = OBJECT_SOURCES.contains(&entry.name);
        assert_ne!(object, others.contains(&entry.name), "{}", entry.name);
    }
}

#[test]
fn what_only_mapped_columns_keep_is_kept_of_rejected_rows_too() {
    let config = MappingConfig { keep: Keep::Mapped, ..config(vec![column("id"), column("a.b")]) };
    let mut rejected = [aside("jsonl", r#"{"id":7,"tel":"1","a":{"b":1,"c":2},"d":{"e":1}}"#)];
    mapping(&config).apply_to_rejected(&mut rejected);
    assert_eq!(rejected[0].raw, r#"{"id":7,"a":{"b":1}}"#);
}

/// Everything of a page that reaches a disk or a log.
fn everything(page: &Page) -> String {
    let batch = &page.batch;
    let mut bytes = Vec::new();
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    let stored = String::from_utf8_lossy(&bytes).into_owned();
    format!("{stored}{:?}{:?}{:?}{:?}", rows(page), page.rejected, page.notices, page.position)
}

#[test]
fn a_hidden_value_is_in_no_byte_that_leaves() {
    let seed = 11;
    let mut rng = Rng::new(seed);
    let masks = [
        "hmac(key=${env:K})",
        "tokenize(key=${env:K})",
        "partial(4)",
        "partial(first=2)",
        "redact",
        "null",
        "email_domain",
    ];
    let cleans: [&[&str]; 4] = [&[], &["trim"], &["phone(CN)"], &["null_if", "email"]];
    for _ in 0..300 {
        let canary = format!("canary{:016x}", rng.next_u64());
        let shapes = [
            canary.clone(),
            format!(" {canary} "),
            format!("{canary}@example.com"),
            format!("+86{canary}"),
            format!("{canary},{canary}"),
        ];
        let values: Vec<Option<&str>> =
            (0..5).map(|_| Some(shapes[rng.below(shapes.len())].as_str())).collect();
        let mut tel = hidden("tel", masks[rng.below(masks.len())]);
        tel.clean = cleans[rng.below(cleans.len())].iter().map(|text| (*text).to_owned()).collect();
        tel.not_null = rng.chance(0.3);
        let shown = format!("{tel:?}");
        let numbers = text(&[Some("1"), Some("x"), None, Some("2"), Some("y")]);
        let mut number = cleaned("number", &["trim"]);
        number.kind = Some(ColumnType::Int64);
        let mut page =
            page(vec![("number", numbers), ("tel", text(&values)), ("gone", text(&values))]);
        for source in ["csv", "jsonl", "excel", "unknown"] {
            page.rejected
                .push(aside(source, &json!({"tel": shapes[0], "gone": shapes[1]}).to_string()));
            page.rejected.push(aside(source, &format!("1,{},{}", shapes[0], shapes[2])));
        }
        let config = MappingConfig { drop: vec!["gone".to_owned()], ..config(vec![number, tel]) };
        let mapped = mapping(&config).apply(page).unwrap();
        let left = everything(&mapped);
        assert!(!left.contains(&canary), "seed {seed}, {shown}: {left}");
    }
}

/// Reads a file with a mapping as a sync does.
async fn read_mapped(source: &str, file: &str, config: &MappingConfig) -> Vec<Page> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f"), file).unwrap();
    let now = Timestamp::parse("2024-06-01").unwrap();
    let context =
        SourceContext { base_dir: folder.path().to_owned(), now, connections: Default::default() };
    let source = SourceEntry::named(source).unwrap().build(json!({}), &context).unwrap();
    let mapping = Mapping::new(config, &resolve).unwrap();
    let mut request = ReadRequest::full(json!({"path": "f"}), now);
    request.columns = mapping.declared();
    request.page_rows = 3;
    let pages: Vec<Page> = source.read(&request).try_collect().await.unwrap();
    pages.into_iter().map(|page| mapping.apply(page).unwrap()).collect()
}

#[tokio::test]
async fn a_file_is_read_cleaned_and_hidden_whatever_is_wrong_with_its_rows() {
    let csv = "id,tel,gone\n1,138 0013 8000,canary1\n2,canary2,x\nx,canary3,x\n4,\"canary4,x\n";
    let jsonl = concat!(
        "{\"id\": 1, \"tel\": \"138 0013 8000\", \"gone\": \"canary1\"}\n",
        "{\"id\": 2, \"tel\": \"canary2\"}\n",
        "{\"id\": \"x\", \"tel\": \"canary3\"}\n",
        "\"canary4\"\n{\"tel\": canary5}\n{\"tel\": \"canary6\", \"tel\": \"canary7\"}\n",
        "{\"id\": 9, \"tel\": {\"canary8\": \"canary9\"}}\n",
    );
    let mut id = column("id");
    id.kind = Some(ColumnType::Int64);
    let mut tel = hidden("tel", "hmac(key=${env:K})");
    tel.clean = vec!["phone(CN)".to_owned()];
    let of = |source: &str| MappingConfig {
        source: source.to_owned(),
        drop: vec!["gone".to_owned()],
        ..config(vec![id.clone(), tel.clone()])
    };
    for (source, file, good, bad) in [("csv", csv, 1, 3), ("jsonl", jsonl, 1, 6)] {
        let pages = read_mapped(source, file, &of(source)).await;
        let landed: usize = pages.iter().map(|page| page.batch.num_rows()).sum();
        let aside: Vec<&Rejected> = pages.iter().flat_map(|page| &page.rejected).collect();
        assert_eq!((landed, aside.len()), (good, bad), "{source}: {aside:?}");
        assert!(aside.iter().all(|row| row.line.is_some() && row.source == source), "{aside:?}");
        for page in &pages {
            assert!(!everything(page).contains("canary"), "{source}: {}", everything(page));
            assert!(!names(page).contains(&"gone".to_owned()));
        }
    }
}

#[tokio::test]
async fn a_page_that_was_mapped_still_tells_file_and_line() {
    let file = "id,day\n1,1.5.2024\n2,never\n3,2.5.2024\n4,3/4/2024\n5,3.5.2024\n";
    let pages = read_mapped("csv", file, &config(vec![cleaned("day", &["date"])])).await;
    let traced: Vec<(String, u64)> = pages
        .iter()
        .flat_map(|page| (0..page.batch.num_rows()).filter_map(|row| page.trace(row)))
        .map(|(file, line)| (file.to_owned(), line))
        .collect();
    assert_eq!(traced, [("f".to_owned(), 2), ("f".to_owned(), 4), ("f".to_owned(), 6)]);
    let aside: Vec<_> =
        pages.iter().flat_map(|page| &page.rejected).map(|row| row.line.unwrap()).collect();
    assert_eq!(aside, [3, 5]);
    assert_eq!(
        pages.iter().flat_map(rows).map(|row| row[1].clone()).collect::<Vec<_>>(),
        ["2024-05-01", "2024-05-02", "2024-05-03"]
    );
}
