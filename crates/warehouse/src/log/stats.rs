//! A data file's statistics in the log: rows, and per column smallest, largest and NULLs.
//!
//! Columns are written as Delta asks: dates and times as text, numbers as numbers. Binary, boolean,
//! nested and wide decimal columns have NULL counts only.

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use datafusion::parquet::file::metadata::ParquetMetaData;
use flywheel_base::Timestamp;
use serde_json::{Map, Value, json};

/// How many columns get statistics, as in other Delta writers.
const COLUMNS_MAX: usize = 32;
/// Decimals of more digits are not exact as JSON numbers.
const DECIMAL_DIGITS_MAX: u8 = 15;
/// Longest text kept as a bound, in characters.
const TEXT_CHARS_MAX: usize = 64;

/// What the log tells of a file.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct FileStats {
    /// The number of rows.
    pub(crate) rows: Option<u64>,
    /// One entry per column of the table's schema.
    pub(crate) columns: Vec<Bounds>,
}

/// What the log tells of a column in a file; values lie between the bounds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) min: Option<ScalarValue>,
    pub(crate) max: Option<ScalarValue>,
    pub(crate) nulls: Option<u64>,
    /// Whether the bounds occur in the file, so that min() and max() may answer from them.
    pub(crate) exact: bool,
}

/// Digits of a second's fraction when nothing was cut off.
const FRACTION_DIGITS: usize = 6;
/// What other writers cut off the largest moment at most, in microseconds.
const CUT_OFF_US: i64 = 999;

impl FileStats {
    /// Reads the statistics of an Add action; damaged ones are as good as none.
    pub(crate) fn parse(text: Option<&str>, schema: &SchemaRef) -> Self {
        let stats: Value =
            text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let column = |part: &str, name: &str| stats.get(part).and_then(|part| part.get(name));
        let columns = schema.fields().iter().map(|field| {
            let (name, kind) = (field.name(), field.data_type());
            let (low, high) = (column("minValues", name), column("maxValues", name));
            Bounds {
                min: low.and_then(|v| scalar(v, kind)),
                max: high.and_then(|v| Some(widened(scalar(v, kind)?, v))),
                nulls: column("nullCount", name).and_then(Value::as_u64),
                exact: match kind {
                    DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => true,
                    DataType::Date32 => true,
                    DataType::Timestamp(..) => [low, high].into_iter().flatten().all(is_whole),
                    _ => false,
                },
            }
        });
        Self { rows: stats.get("numRecords").and_then(Value::as_u64), columns: columns.collect() }
    }
}

/// Whether a moment's text has all digits; the format lets writers cut it to milliseconds.
fn is_whole(value: &Value) -> bool {
    let fraction = value.as_str().and_then(|text| text.rsplit_once('.')).map(|(_, rest)| rest);
    fraction
        .is_some_and(|rest| rest.bytes().take_while(u8::is_ascii_digit).count() >= FRACTION_DIGITS)
}

/// A largest value that nothing in the file exceeds, though its text was cut off.
fn widened(max: ScalarValue, text: &Value) -> ScalarValue {
    match max {
        ScalarValue::TimestampMicrosecond(Some(at), zone) if !is_whole(text) => {
            ScalarValue::TimestampMicrosecond(Some(at.saturating_add(CUT_OFF_US)), zone)
        }
        max => max,
    }
}

/// Makes the statistics text of an Add action from a file's footer.
pub(crate) fn collect(footer: &ParquetMetaData, schema: &SchemaRef) -> String {
    let (mut min, mut max, mut nulls) = (Map::new(), Map::new(), Map::new());
    for field in schema.fields().iter().take(COLUMNS_MAX) {
        let parquet = footer.file_metadata().schema_descr();
        let Ok(converter) = StatisticsConverter::try_new(field.name(), schema, parquet) else {
            continue;
        };
        let counts = converter.row_group_null_counts(footer.row_groups());
        if let Some(total) = counts.ok().and_then(|counts| counts.iter().sum::<Option<u64>>()) {
            nulls.insert(field.name().clone(), json!(total));
        }
        let lows = converter.row_group_mins(footer.row_groups()).ok();
        if let Some(value) = lows.and_then(|lows| extreme(&lows, false)).and_then(|v| json_of(&v)) {
            min.insert(field.name().clone(), lower(value));
        }
        let highs = converter.row_group_maxes(footer.row_groups()).ok();
        let value = highs.and_then(|highs| extreme(&highs, true)).and_then(|v| json_of(&v));
        if let Some(value) = value.and_then(upper) {
            max.insert(field.name().clone(), value);
        }
    }
    let rows = footer.file_metadata().num_rows();
    json!({"numRecords": rows, "minValues": min, "maxValues": max, "nullCount": nulls}).to_string()
}

/// The smallest or largest of the row groups' bounds; none if a row group with values has none.
fn extreme(bounds: &ArrayRef, largest: bool) -> Option<ScalarValue> {
    let mut best: Option<ScalarValue> = None;
    for index in 0..bounds.len() {
        let value = ScalarValue::try_from_array(bounds, index).ok()?;
        if value.is_null() {
            return None;
        }
        let better = match &best {
            None => true,
            Some(best) if largest => value > *best,
            Some(best) => value < *best,
        };
        if better {
            best = Some(value);
        }
    }
    best
}

fn json_of(value: &ScalarValue) -> Option<Value> {
    match value {
        ScalarValue::Int8(Some(v)) => Some(json!(v)),
        ScalarValue::Int16(Some(v)) => Some(json!(v)),
        ScalarValue::Int32(Some(v)) => Some(json!(v)),
        ScalarValue::Int64(Some(v)) => Some(json!(v)),
        ScalarValue::Float32(Some(v)) if v.is_finite() => Some(json!(v)),
        ScalarValue::Float64(Some(v)) if v.is_finite() => Some(json!(v)),
        ScalarValue::Utf8(Some(v)) => Some(json!(v)),
        ScalarValue::Date32(Some(day)) => Some(json!(Timestamp::from_day((*day).into()).date())),
        ScalarValue::TimestampMicrosecond(Some(at), _) => {
            let at = Timestamp::from_micros(*at).datetime();
            Some(json!(at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()))
        }
        ScalarValue::Decimal128(Some(v), digits, scale) if *digits <= DECIMAL_DIGITS_MAX => {
            Some(json!(*v as f64 / 10_f64.powi((*scale).into())))
        }
        _ => None,
    }
}

/// Shortens a text bound downwards: a prefix is not larger.
fn lower(value: Value) -> Value {
    match value {
        Value::String(text) if text.chars().count() > TEXT_CHARS_MAX => {
            text.chars().take(TEXT_CHARS_MAX).collect::<String>().into()
        }
        value => value,
    }
}

/// Drops a text bound that would have to be shortened upwards.
fn upper(value: Value) -> Option<Value> {
    match &value {
        Value::String(text) if text.chars().count() > TEXT_CHARS_MAX => None,
        _ => Some(value),
    }
}

fn scalar(value: &Value, data_type: &DataType) -> Option<ScalarValue> {
    match data_type {
        DataType::Int8 => Some(ScalarValue::Int8(Some(value.as_i64()?.try_into().ok()?))),
        DataType::Int16 => Some(ScalarValue::Int16(Some(value.as_i64()?.try_into().ok()?))),
        DataType::Int32 => Some(ScalarValue::Int32(Some(value.as_i64()?.try_into().ok()?))),
        DataType::Int64 => Some(ScalarValue::Int64(Some(value.as_i64()?))),
        DataType::Float32 => Some(ScalarValue::Float32(Some(value.as_f64()? as f32))),
        DataType::Float64 => Some(ScalarValue::Float64(Some(value.as_f64()?))),
        DataType::Utf8 => Some(ScalarValue::Utf8(Some(value.as_str()?.to_owned()))),
        DataType::Date32 => {
            let day = Timestamp::parse(value.as_str()?).ok()?.day();
            Some(ScalarValue::Date32(Some(day.try_into().ok()?)))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let at = Timestamp::parse(value.as_str()?).ok()?;
            Some(ScalarValue::TimestampMicrosecond(Some(at.micros()), zone.clone()))
        }
        DataType::Decimal128(digits, scale) if *digits <= DECIMAL_DIGITS_MAX => {
            let scaled = (value.as_f64()? * 10_f64.powi((*scale).into())).round();
            Some(ScalarValue::Decimal128(Some(scaled as i128), *digits, *scale))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, Schema};

    use super::*;

    #[test]
    fn bounds_of_other_writers_are_read_and_nonsense_is_no_bound() {
        let zone = Some("UTC".into());
        let schema: SchemaRef = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int32, true),
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, zone.clone()), true),
            Field::new("price", DataType::Decimal128(9, 2), true),
        ]));
        let text = r#"{"numRecords":3,"minValues":{"id":1,"at":"2024-01-01T00:00:00.000Z","price":1.10},
            "maxValues":{"id":"x","at":"2024-01-01T00:00:00.000Z"},"nullCount":{"id":0}}"#;
        let stats = FileStats::parse(Some(text), &schema);
        assert_eq!(stats.rows, Some(3));
        assert_eq!(stats.columns[0].min, Some(ScalarValue::Int32(Some(1))));
        assert_eq!((stats.columns[0].max.clone(), stats.columns[0].nulls), (None, Some(0)));
        let midnight = Timestamp::parse("2024-01-01").unwrap().micros();
        let at = |micros| ScalarValue::TimestampMicrosecond(Some(micros), zone.clone());
        assert_eq!(stats.columns[1].min, Some(at(midnight)));
        assert_eq!(stats.columns[1].max, Some(at(midnight + 999)), "it may have been cut off");
        assert!(stats.columns[0].exact && !stats.columns[1].exact && !stats.columns[2].exact);
        let ours = text.replace("00.000Z", "00.000001Z");
        let stats_of_ours = FileStats::parse(Some(&ours), &schema);
        assert_eq!(stats_of_ours.columns[1].max, Some(at(midnight + 1)));
        assert!(stats_of_ours.columns[1].exact);
        assert_eq!(stats.columns[2].min, Some(ScalarValue::Decimal128(Some(110), 9, 2)));
        assert_eq!(FileStats::parse(Some("{"), &schema).rows, None);
    }
}
