//! What a profile says of rows, and what it does not show.

use std::sync::Arc;

use arrow::array::{Date32Array, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::*;

fn schema() -> SchemaRef {
    let field = |name: &str, kind| Field::new(name, kind, true);
    Arc::new(Schema::new(vec![
        field("id", DataType::Int64),
        field("city", DataType::Utf8),
        field("amount", DataType::Float64),
        field("day", DataType::Date32),
    ]))
}

/// Rows `from..to`: a third are in Rome, every fifth has no city.
fn batch(from: i64, to: i64) -> RecordBatch {
    let ids: Vec<i64> = (from..to).collect();
    let city = |n: &i64| (n % 5 != 0).then_some(if n % 3 == 0 { "Rome" } else { "Oslo" });
    let cities: Vec<Option<&str>> = ids.iter().map(city).collect();
    let amounts: Vec<f64> = ids.iter().map(|n| *n as f64 / 2.0).collect();
    let days: Vec<i32> = ids.iter().map(|n| 19_000 + (*n as i32) % 30).collect();
    RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(Int64Array::from(ids)),
            Arc::new(StringArray::from(cities)),
            Arc::new(Float64Array::from(amounts)),
            Arc::new(Date32Array::from(days)),
        ],
    )
    .unwrap()
}

fn profile(batches: &[RecordBatch], masked: &[&str]) -> (Profile, String) {
    let masked = masked.iter().map(|name| (*name).to_owned()).collect();
    let mut gathered = Gathered::new(&schema(), &masked);
    batches.iter().for_each(|batch| gathered.add(batch).unwrap());
    gathered.finish()
}

#[test]
fn counts_ranges_quantiles_and_frequent_values_are_those_of_the_rows() {
    let (profile, _) = profile(&[batch(1, 101)], &[]);
    assert_eq!((profile.rows, profile.sample_rows), (100, 100));
    let [id, city, amount, day] = profile.columns.as_slice() else { panic!() };
    assert_eq!((id.nulls, id.distincts, id.distincts_exact), (0, 100, true));
    // As text, 99 would be the largest.
    assert_eq!((id.min.as_deref(), id.max.as_deref()), (Some("1"), Some("100")));
    assert_eq!((city.nulls, city.distincts, city.mean), (20, 2, None));
    let top: Vec<(&str, u64)> = city.top.iter().map(|top| (top.value.as_str(), top.rows)).collect();
    assert_eq!(top, [("Oslo", 53), ("Rome", 27)]);
    assert_eq!(amount.mean, Some(25.25));
    assert_eq!(amount.quantiles[2], 25.25);
    assert_eq!(amount.histogram.iter().map(|step| step.rows).collect::<Vec<_>>(), [10; 10]);
    assert_eq!((day.min.as_deref(), day.max.as_deref()), (Some("2022-01-08"), Some("2022-02-06")));
    assert!(id.top.is_empty(), "values that all occur once are not frequent");
}

#[test]
fn a_masked_column_shows_how_many_values_it_has_and_none_of_them() {
    let (profile, _) = profile(&[batch(1, 101)], &["city", "amount"]);
    let [_, city, amount, _] = profile.columns.as_slice() else { panic!() };
    assert_eq!((city.nulls, city.distincts, city.masked), (20, 2, true));
    assert_eq!((&city.min, &city.max, city.top.len()), (&None, &None, 0));
    assert_eq!((amount.mean, amount.quantiles.len(), amount.histogram.len()), (None, 0, 0));
    let text = serde_json::to_string(&profile).unwrap();
    assert!(!text.contains("Rome") && !text.contains("Oslo"), "{text}");
}

#[test]
fn a_large_table_is_sampled_the_same_way_in_any_order_and_says_so() {
    let parts: Vec<RecordBatch> = (0..8).map(|n| batch(n * 20_000, (n + 1) * 20_000)).collect();
    let (one, digest) = profile(&parts, &[]);
    let backwards: Vec<RecordBatch> = parts.iter().rev().cloned().collect();
    let (other, same) = profile(&backwards, &[]);
    assert_eq!(digest, same);
    assert_eq!(one.rows, 160_000);
    assert!((10_000..=SAMPLE_ROWS as u64).contains(&one.sample_rows), "{}", one.sample_rows);
    assert!(!one.columns[0].distincts_exact);
    assert!(one.columns[0].distincts <= 160_000, "not more than there are rows");
    let error = (one.columns[0].distincts as f64 - 160_000.0).abs() / 160_000.0;
    assert!(error < 0.03, "{error}");
    assert!(
        (one.columns[2].quantiles[2] - 40_000.0).abs() < 1_500.0,
        "{:?}",
        one.columns[2].quantiles
    );
    assert_eq!(one.columns[1].top, other.columns[1].top);
    assert_eq!(one.columns[2].quantiles, other.columns[2].quantiles);
    let (_, changed) = profile(&[batch(0, 10), batch(11, 20)], &[]);
    assert_ne!(changed, profile(&[batch(0, 20)], &[]).1);
}

#[test]
fn rows_that_are_all_alike_and_no_rows_have_a_profile() {
    let alike = batch(1, 2);
    let many: Vec<RecordBatch> = (0..SAMPLE_ROWS + 10).map(|_| alike.clone()).collect();
    let (profile_of_many, _) = profile(&many, &[]);
    assert!(profile_of_many.sample_rows > 0);
    assert_eq!(profile_of_many.columns[2].quantiles[2], 0.5);
    let (empty, _) = profile(&[], &[]);
    assert_eq!(
        (empty.rows, empty.columns[0].distincts, empty.columns[0].quantiles.len()),
        (0, 0, 0)
    );
}
