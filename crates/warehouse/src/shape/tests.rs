//! Types and names of stored columns.

use std::collections::HashMap;

use arrow::array::{Array, Int32Array, StringViewArray, TimestampNanosecondArray, UInt64Array};
use flywheel_base::ErrorKind;

use super::*;

fn at() -> Location {
    Location::new("raw/x").unwrap()
}

fn one(data_type: DataType) -> Schema {
    Schema::new(vec![Field::new("x", data_type, false)])
}

#[test]
fn stored_types_are_plain_and_nullable_and_carry_no_metadata() {
    let id = HashMap::from([("PARQUET:field_id".to_owned(), "1".to_owned())]);
    let schema = Schema::new(vec![
        Field::new("a", DataType::Utf8View, false).with_metadata(id.clone()),
        Field::new("b", DataType::UInt16, false),
        Field::new("c", DataType::Timestamp(TimeUnit::Nanosecond, None), false),
        Field::new(
            "d",
            DataType::LargeList(Arc::new(
                Field::new("item", DataType::BinaryView, true).with_metadata(id),
            )),
            true,
        ),
        Field::new(
            "e",
            DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8)),
            true,
        ),
        Field::new("f", DataType::Decimal256(38, 3), true),
    ]);
    let item = Arc::new(Field::new("element", DataType::Binary, true));
    let expected = Schema::new(vec![
        Field::new("a", DataType::Utf8, true),
        Field::new("b", DataType::Int32, true),
        Field::new("c", utc(), true),
        Field::new("d", DataType::List(item), true),
        Field::new("e", DataType::Utf8, true),
        Field::new("f", DataType::Decimal128(38, 3), true),
    ]);
    assert_eq!(stored(&at(), &schema).unwrap(), expected);
}

#[test]
fn columns_delta_cannot_hold_are_refused_with_the_fix() {
    let bad = [
        Schema::empty(),
        Schema::new(vec![Field::new("a b", DataType::Int32, true)]),
        Schema::new(vec![Field::new("a;", DataType::Int32, true)]),
        Schema::new(vec![
            Field::new("a", DataType::Int32, true),
            Field::new("A", DataType::Int32, true),
        ]),
        one(DataType::Decimal256(60, 2)),
        one(DataType::Duration(TimeUnit::Second)),
        one(DataType::Struct(Fields::empty())),
    ];
    for schema in bad {
        let error = stored(&at(), &schema).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.hint_text().is_some() && error.message().contains("raw/x"), "{error:?}");
    }
    // The table may be a sync's or a model's.
    let spaced = Schema::new(vec![Field::new("Last Seen", DataType::Int32, true)]);
    let error = stored(&at(), &spaced).unwrap_err();
    let hint = error.hint_text().unwrap();
    assert!(hint.contains("`as`") && hint.contains("mapping"), "{hint}");
}

#[test]
fn values_are_stored_without_loss_or_refused() {
    let table = |data_type| Arc::new(one(data_type));
    let fits = [
        (DataType::Int64, DataType::UInt16),
        (DataType::Float64, DataType::Int32),
        (DataType::Decimal128(20, 2), DataType::Decimal128(10, 2)),
        (DataType::Decimal128(12, 2), DataType::Int32),
        (DataType::Utf8, DataType::Utf8View),
    ];
    for (stored, given) in fits {
        let fit = fit(&at(), Some(&table(stored)), &one(given), SchemaChange::Refuse).unwrap();
        assert!(!fit.changed);
    }
    let losses = [
        (DataType::Int32, DataType::Int64),
        (DataType::Float64, DataType::Int64),
        (DataType::Decimal128(10, 2), DataType::Decimal128(20, 2)),
        (DataType::Decimal128(10, 2), DataType::Int64),
        (DataType::Int64, DataType::Utf8),
        (DataType::Utf8, DataType::Int64),
        (DataType::Int64, DataType::Float64),
    ];
    for (stored, given) in losses {
        let given = one(given);
        let error = fit(&at(), Some(&table(stored)), &given, SchemaChange::Refuse).unwrap_err();
        assert!(error.message().contains("cannot hold"), "{error:?}");
    }
}

#[test]
fn a_column_gets_the_least_type_that_holds_old_and_new_values() {
    let list = |item| DataType::List(Arc::new(Field::new("element", item, true)));
    let row = |item| DataType::Struct(Fields::from(vec![Field::new("a", item, true)]));
    for (stored, given, expected) in [
        (DataType::Int32, DataType::Int64, Some(DataType::Int64)),
        (DataType::Int16, DataType::UInt32, Some(DataType::Int64)),
        (DataType::Float32, DataType::Float64, Some(DataType::Float64)),
        (DataType::Int32, DataType::Float64, Some(DataType::Float64)),
        (
            DataType::Decimal128(10, 2),
            DataType::Decimal128(20, 2),
            Some(DataType::Decimal128(20, 2)),
        ),
        // Eight digits before the point, and four behind it.
        (
            DataType::Decimal128(10, 2),
            DataType::Decimal128(10, 4),
            Some(DataType::Decimal128(12, 4)),
        ),
        (DataType::Decimal128(10, 2), DataType::Int64, Some(DataType::Decimal128(21, 2))),
        (DataType::Int32, DataType::Decimal128(9, 2), Some(DataType::Decimal128(12, 2))),
        (DataType::Int64, DataType::Decimal128(20, 0), Some(DataType::Decimal128(20, 0))),
        (list(DataType::Int32), list(DataType::Int64), Some(list(DataType::Int64))),
        (row(DataType::Float32), row(DataType::Float64), Some(row(DataType::Float64))),
        (DataType::Float64, DataType::Int64, None),
        (DataType::Int64, DataType::Float64, None),
        (DataType::Decimal128(38, 2), DataType::Decimal128(38, 4), None),
        (DataType::Int64, DataType::Utf8, None),
        (DataType::Utf8, DataType::Int64, None),
        (DataType::Date32, utc(), None),
    ] {
        let table = Arc::new(one(stored.clone()));
        let told = format!("{stored} and {given}");
        let made = wider(&at(), &table, &one(given.clone()));
        let Some(expected) = expected else {
            assert!(made.unwrap_err().message().contains("cannot hold"), "{told}");
            continue;
        };
        assert_eq!(made.unwrap().unwrap().field(0).data_type(), &expected, "{told}");
        let fits = fit(&at(), Some(&table), &one(given), SchemaChange::Add).unwrap();
        assert!(fits.widens && fits.changed, "{told}");
    }
    let same = Arc::new(one(DataType::Int64));
    assert_eq!(wider(&at(), &same, &one(DataType::Int32)).unwrap(), None);
}

#[test]
fn converting_matches_columns_by_name_and_fails_on_overflow() {
    let table = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("at", utc(), true),
    ]));
    let given = RecordBatch::try_from_iter([
        ("at", Arc::new(TimestampNanosecondArray::from(vec![1_999])) as ArrayRef),
        ("NAME", Arc::new(StringViewArray::from(vec!["x"]))),
        ("id", Arc::new(Int32Array::from(vec![7]))),
    ])
    .unwrap();
    let fits = fit(&at(), Some(&table), &given.schema(), SchemaChange::Refuse).unwrap();
    let made = convert(&fits, &given).unwrap();
    assert_eq!(made.schema(), table);
    assert_eq!(crate::testing::text_of(&[made]), ["7|x|1970-01-01T00:00:00.000001Z"]);

    let huge: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
    let huge = RecordBatch::try_from_iter([("x", huge)]).unwrap();
    let fits = fit(&at(), None, &huge.schema(), SchemaChange::Refuse).unwrap();
    assert!(convert(&fits, &huge).unwrap_err().message().contains("\"x\""));
}

#[test]
fn a_column_of_nulls_is_text_and_a_missing_one_is_null() {
    let fit1 = fit(&at(), None, &one(DataType::Null), SchemaChange::Refuse).unwrap();
    assert_eq!(fit1.schema.field(0).data_type(), &DataType::Utf8);
    let older =
        RecordBatch::try_from_iter([("y", Arc::new(Int32Array::from(vec![1])) as ArrayRef)]);
    let widened = conform(&fit1.schema, &older.unwrap()).unwrap();
    assert!(widened.column(0).is_null(0));
}
