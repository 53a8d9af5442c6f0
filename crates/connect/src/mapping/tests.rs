//! What a mapping makes of pages, and that what it hides is nowhere to be seen.

mod made;
mod privacy;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;
use flywheel_base::Secret;
use serde_json::json;

use super::*;
use crate::page::{Origin, Page, Position};

fn resolve(_: &str) -> Result<Secret> {
    Ok(Secret::new("correct horse battery staple"))
}

fn column(name: &str) -> MappedColumn {
    MappedColumn { name: name.to_owned(), ..MappedColumn::default() }
}

fn cleaned(name: &str, clean: &[&str]) -> MappedColumn {
    MappedColumn { clean: clean.iter().map(|text| (*text).to_owned()).collect(), ..column(name) }
}

fn hidden(name: &str, mask: &str) -> MappedColumn {
    MappedColumn { mask: Some(mask.to_owned()), ..column(name) }
}

fn config(columns: Vec<MappedColumn>) -> MappingConfig {
    MappingConfig { source: "csv".to_owned(), columns, ..MappingConfig::default() }
}

fn mapping(config: &MappingConfig) -> Mapping {
    Mapping::new(config, &resolve).unwrap()
}

fn text(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// A page of two files: lines 2 to 4 of the first, then lines 10 and 11 of the second.
fn page(columns: Vec<(&str, ArrayRef)>) -> Page {
    Page {
        batch: RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, array)| (name, array, true)),
        )
        .unwrap(),
        origin: vec![
            Origin { row: 0, file: "a.csv".to_owned(), line: 2 },
            Origin { row: 3, file: "b.csv".to_owned(), line: 10 },
        ],
        rejected: Vec::new(),
        notices: Vec::new(),
        position: Position(json!({"at": 7})),
    }
}

fn contacts() -> Page {
    page(vec![
        ("id", text(&[Some("1"), Some("2"), Some("3"), Some("4"), Some("5")])),
        (
            "tel",
            text(&[Some("138 0013 8000"), Some("12"), None, Some("+1 212-555-0123"), Some("x")]),
        ),
        ("note", text(&[Some("a"), Some("b"), Some("c"), Some("d"), None])),
    ])
}

fn names(page: &Page) -> Vec<String> {
    page.batch.schema_ref().fields().iter().map(|field| field.name().clone()).collect()
}

fn rows(page: &Page) -> Vec<Vec<String>> {
    let cell = |row: usize| {
        move |array: &ArrayRef| match array.is_null(row) {
            true => "null".to_owned(),
            false => array_value_to_string(array, row).unwrap(),
        }
    };
    (0..page.batch.num_rows())
        .map(|row| page.batch.columns().iter().map(cell(row)).collect())
        .collect()
}

#[test]
fn rows_that_cannot_be_cleaned_move_aside_and_the_others_keep_their_origin() {
    let mut phone = cleaned("phone", &["phone(CN)"]);
    phone.from = Some("tel".to_owned());
    let mapped = mapping(&config(vec![phone])).apply(contacts()).unwrap();
    assert_eq!(names(&mapped), ["id", "phone", "note"]);
    assert_eq!(
        rows(&mapped),
        [["1", "+8613800138000", "a"], ["3", "null", "c"], ["4", "+12125550123", "d"]]
    );
    let traced: Vec<_> = (0..3).map(|row| mapped.trace(row).unwrap()).collect();
    assert_eq!(traced, [("a.csv", 2), ("a.csv", 4), ("b.csv", 10)]);
    assert_eq!(mapped.position, Position(json!({"at": 7})));
    let aside: Vec<_> = mapped
        .rejected
        .iter()
        .map(|r| {
            (&*r.source, r.file.as_str(), r.line, r.column.as_deref(), &*r.code, r.raw.as_str())
        })
        .collect();
    assert_eq!(
        aside,
        [
            (
                "csv",
                "a.csv",
                Some(3),
                Some("tel"),
                "phone-length",
                r#"{"id":"2","tel":"12","note":"b"}"#
            ),
            (
                "csv",
                "b.csv",
                Some(11),
                Some("tel"),
                "phone-letters",
                r#"{"id":"5","tel":"x","note":null}"#
            ),
        ]
    );
}

#[test]
fn a_column_without_work_is_not_copied() {
    let page = contacts();
    let before: Vec<ArrayRef> = page.batch.columns().to_vec();
    let normal = page.batch.column(0);
    assert!(normal.as_string::<i32>().iter().all(|value| value.is_some()));
    let config = config(vec![cleaned("id", &["trim", "upper"]), cleaned("note", &["null_if(z)"])]);
    let mapped = mapping(&config).apply(page).unwrap();
    for (before, after) in before.iter().zip(mapped.batch.columns()) {
        assert!(before.to_data().ptr_eq(&after.to_data()));
    }
}

#[test]
fn drop_and_keep_decide_what_lands() {
    let dropped = MappingConfig { drop: vec!["tel".to_owned()], ..config(Vec::new()) };
    assert_eq!(names(&mapping(&dropped).apply(contacts()).unwrap()), ["id", "note"]);
    let kept = MappingConfig { keep: Keep::Mapped, ..config(vec![column("id")]) };
    let with_lineage = page(vec![
        ("id", text(&[Some("1"); 5])),
        ("secret", text(&[Some("x"); 5])),
        ("_file", text(&[Some("a.csv"); 5])),
        ("_line", Arc::new(Int64Array::from(vec![1; 5]))),
    ]);
    assert_eq!(names(&mapping(&kept).apply(with_lineage).unwrap()), ["id", "_file", "_line"]);
    assert!(mapping(&config(Vec::new())).is_identity());
    assert!(!mapping(&kept).is_identity());
}

#[test]
fn one_column_can_land_twice_hidden_and_in_part() {
    let mut hash = hidden("email_hash", "hmac(key=${env:K})");
    hash.from = Some("email".to_owned());
    hash.clean = vec!["email".to_owned()];
    let mut domain = hidden("email_domain", "email_domain");
    domain.from = Some("email".to_owned());
    let mapping = mapping(&config(vec![hash, domain]));
    assert_eq!(mapping.declared(), [DeclaredColumn::new("email", ColumnType::Text)]);
    let values = [Some("Li@Example.com"), Some("li@example.COM"), None, Some("bad"), None];
    let mapped = mapping.apply(page(vec![("email", text(&values))])).unwrap();
    assert_eq!(names(&mapped), ["email_hash", "email_domain"]);
    let rows = rows(&mapped);
    assert_eq!(rows[0], rows[1], "equal addresses stay equal");
    assert_eq!((rows[0][0].len(), rows[0][1].as_str()), (64, "example.com"));
    assert_eq!((rows.len(), mapped.rejected.len()), (4, 1));
    assert!(!mapped.rejected[0].raw.contains("bad"), "{}", mapped.rejected[0].raw);
}

#[test]
fn cleaned_text_gets_its_declared_type() {
    let mut since = cleaned("since", &["null_if", "date(dmy)"]);
    since.kind = Some(ColumnType::Date);
    since.not_null = true;
    let mut amount = cleaned("amount", &["trim"]);
    amount.kind = Some(ColumnType::Decimal { precision: 9, scale: 2 });
    let mapping = mapping(&config(vec![since, amount]));
    let expected = [
        DeclaredColumn { not_null: true, ..DeclaredColumn::new("since", ColumnType::Text) },
        DeclaredColumn::new("amount", ColumnType::Text),
    ];
    assert_eq!(mapping.declared(), expected, "the source must not judge what is not clean yet");
    let days = text(&[
        Some("03/04/2024"),
        Some("n/a"),
        Some("1.5.2024"),
        Some("32/1/2024"),
        Some("2024-01-01"),
    ]);
    let amounts = text(&[Some(" 1.50 "), Some("2"), Some("x"), Some("3"), None]);
    let mapped = mapping.apply(page(vec![("since", days), ("amount", amounts)])).unwrap();
    assert_eq!(rows(&mapped), [["2024-04-03", "1.50"], ["2024-01-01", "null"]]);
    assert_eq!(mapped.batch.schema().field(0).data_type(), &DataType::Date32);
    let codes: Vec<_> = mapped
        .rejected
        .iter()
        .map(|r| (r.line.unwrap(), r.column.as_deref().unwrap(), &*r.code))
        .collect();
    assert_eq!(
        codes,
        [
            (3, "since", "null-value"),
            (4, "amount", "type-mismatch"),
            (10, "since", "date-impossible"),
        ]
    );
}

#[test]
fn the_types_known_before_the_first_row_are_those_that_land() {
    let mut columns = vec![
        hidden("a", "hmac(key=${env:K})"),
        hidden("b", "round(month)"),
        cleaned("c", &["phone"]),
        column("d"),
        hidden("e", "null"),
        hidden("f", "redact"),
    ];
    columns[0].kind = Some(ColumnType::Int64);
    columns[1].kind = Some(ColumnType::Date);
    columns[4].kind = Some(ColumnType::Int64);
    let mapping = mapping(&config(columns));
    let known = mapping.fields();
    let array = |name: &str| -> ArrayRef {
        match name {
            "b" => Arc::new(Date32Array::from(vec![1; 5])),
            "a" | "e" => Arc::new(Int64Array::from(vec![1; 5])),
            _ => text(&[None; 5]),
        }
    };
    let source = ["a", "b", "c", "d", "e", "f"].map(|name| (name, array(name)));
    let landed = mapping.apply(page(source.to_vec())).unwrap().batch.schema();
    assert_eq!(known.len(), 5, "nothing is known of d");
    for field in &known {
        assert_eq!(landed.field_with_name(field.name()).unwrap().data_type(), field.data_type());
    }
}

#[test]
fn dates_shift_by_a_column_that_does_not_land() {
    let config = MappingConfig {
        drop: vec!["customer".to_owned()],
        ..config(vec![hidden("day", "date_shift(key=${env:K}, by=customer)")])
    };
    let rows_of = |customers: [&str; 5]| {
        let customers: Vec<_> = customers.iter().map(|name| Some(*name)).collect();
        let days: ArrayRef = Arc::new(Date32Array::from(vec![100, 110, 100, 100, 100]));
        let page = page(vec![("customer", text(&customers)), ("day", days)]);
        let mapped = mapping(&config).apply(page).unwrap();
        assert_eq!(names(&mapped), ["day"]);
        mapped.batch.column(0).as_primitive::<arrow::datatypes::Date32Type>().values().to_vec()
    };
    let days = rows_of(["a", "a", "b", "c", "a"]);
    assert_eq!(days[1] - days[0], 10, "the time between two dates of a customer stays");
    assert_eq!(days[0], days[4]);
    assert_ne!(days[0], 100);
    let page = page(vec![("day", Arc::new(Date32Array::from(vec![1; 5])) as ArrayRef)]);
    let error = mapping(&config).apply(page).unwrap_err();
    assert!(error.message().contains("no column \"customer\""), "{error}");
}

#[test]
fn mistakes_name_the_column_and_the_fix() {
    let check = |config: MappingConfig, message: &str| {
        let error = Mapping::new(&config, &resolve).unwrap_err();
        assert!(error.message().contains(message), "{error:?}");
        assert!(error.hint_text().is_some(), "{error:?}");
    };
    check(config(vec![cleaned("a", &["fone"])]), "column \"a\": there is no normaliser \"fone\"");
    check(config(vec![hidden("a", "hmca")]), "column \"a\": there is no mask \"hmca\"");
    check(config(vec![column("a"), column("a")]), "column \"a\" is mapped twice");
    check(
        MappingConfig { drop: vec!["a".to_owned()], ..config(vec![column("a")]) },
        "column \"a\": it is mapped and dropped",
    );
    check(MappingConfig { keep: Keep::Mapped, ..config(Vec::new()) }, "none would land");
    let refused = Mapping::new(&config(vec![hidden("a", "hmac(key=${env:K})")]), &without_secrets);
    assert!(refused.unwrap_err().message().starts_with("column \"a\": hmac(key)"));
    let mut renamed = column("note");
    renamed.from = Some("tel".to_owned());
    let error = mapping(&config(vec![renamed])).apply(contacts()).unwrap_err();
    assert!(error.message().contains("two columns would be named \"note\""), "{error}");
    let error = mapping(&config(vec![hidden("note", "round(2)")])).apply(contacts()).unwrap_err();
    assert!(error.message().starts_with("column \"note\": round is for numbers"), "{error}");
}

#[test]
fn a_masked_column_without_any_value_is_pointed_out_once() {
    let mapping = mapping(&config(vec![hidden("emial", "redact")]));
    let empty = || page(vec![("emial", text(&[None; 5])), ("email", text(&[Some("x"); 5]))]);
    let first = mapping.apply(empty()).unwrap();
    assert_eq!(first.notices.len(), 1);
    assert!(first.notices[0].message.contains("\"emial\""));
    assert!(mapping.apply(empty()).unwrap().notices.is_empty());
}

#[test]
fn pages_without_columns_or_rows_pass() {
    let mapping = mapping(&config(vec![cleaned("tel", &["phone"]), hidden("id", "redact")]));
    let mut nothing = contacts();
    nothing.batch = RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty()));
    nothing.origin.clear();
    assert_eq!(mapping.apply(nothing).unwrap().batch.num_columns(), 0);
    let mut empty = contacts();
    empty.batch = empty.batch.slice(0, 0);
    empty.origin.clear();
    let mapped = mapping.apply(empty).unwrap();
    assert_eq!((mapped.batch.num_rows(), mapped.batch.num_columns()), (0, 3));
}

#[test]
fn numbers_are_rounded_in_pages_too() {
    let salaries: ArrayRef = Arc::new(Float64Array::from(vec![12_345.6; 5]));
    let mapping = mapping(&config(vec![hidden("salary", "round(-3)")]));
    assert_eq!(mapping.declared(), [], "its type is the source's to infer");
    let mapped = mapping.apply(page(vec![("salary", salaries)])).unwrap();
    assert_eq!(rows(&mapped)[0], ["12000.0"]);
}
