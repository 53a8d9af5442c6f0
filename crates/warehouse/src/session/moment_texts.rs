//! Moments as texts: `2018-01-01 00:00:00`, with a fraction only where there is one, and with the distance to UTC where they have
//! a zone, `2018-01-01 00:00:00+00`.
//!
//! The engine (DataFusion 55.2) writes `2018-01-01T00:00:00`. DuckDB and PostgreSQL write a blank, and keys that are made of texts,
//! such as dbt's surrogate keys, hang on it. So a cast of a moment to a text becomes the call of a function, whoever wrote the cast:
//! the query, or the engine, which makes texts of what stands beside `||` or in `concat`. This comes after the engine has decided on
//! types and before anything is computed. Moments within lists and structs are left to the engine, as are answers: what is no text
//! in SQL is written by who shows it.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::{
    DataType, FieldRef, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use chrono::{DateTime, Datelike, NaiveDateTime, Offset, TimeDelta, TimeZone, Timelike};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, exec_err, internal_datafusion_err, internal_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast,
};
use datafusion::optimizer::AnalyzerRule;

use super::decimals::schema_of;

/// What `cast` becomes.
const STRICT: &str = "moment_text";
/// What `try_cast` becomes.
const LENIENT: &str = "try_moment_text";
/// As long is hardly any of the texts.
const TEXT_BYTES: usize = 32;

/// The rule; it must come after the one that gives what is compared and called one type.
#[derive(Debug)]
pub(crate) struct MomentsAsTexts;

impl AnalyzerRule for MomentsAsTexts {
    fn name(&self) -> &'static str {
        "moments_as_texts"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(in_plan)?.data)
    }
}

/// The casts of one node of a plan.
fn in_plan(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut found = false;
    plan.apply_expressions(|expr| {
        found = expr.exists(|part| Ok(cast_to_text(part).is_some()))?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if !found {
        return Ok(Transformed::no(plan));
    }
    let schema = schema_of(&plan)?;
    // What is above asks for a column by the name of the cast. In conditions nobody does, and those that are equal in a join stand
    // beside the columns that they are made of.
    let of_cast = !matches!(plan, LogicalPlan::Join(_) | LogicalPlan::Filter(_));
    plan.map_expressions(|expr| expr.transform_up(|expr| Ok(written(expr, &schema, of_cast))))
}

/// The casts of an expression, at any depth, whose types are decided on.
///
/// # Errors
/// None of its own.
pub(crate) fn as_texts(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| Ok(written(expr, schema, true)))
}

/// What is cast to a text, and to which.
fn cast_to_text(expr: &Expr) -> Option<(&Expr, &DataType)> {
    let (of, kind) = match expr {
        Expr::Cast(made) => (made.expr.as_ref(), made.field.data_type()),
        Expr::TryCast(made) => (made.expr.as_ref(), made.field.data_type()),
        _ => return None,
    };
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View).then_some((of, kind))
}

/// One cast; the call has its name if `of_cast`, else one of its own.
fn written(expr: Expr, schema: &DFSchema, of_cast: bool) -> Transformed<Expr> {
    let is_moment = |of: &Expr| matches!(of.get_type(schema), Ok(DataType::Timestamp(..)));
    let kind = cast_to_text(&expr).filter(|(of, _)| is_moment(of)).map(|(_, kind)| kind.clone());
    let Some(kind) = kind else { return Transformed::no(expr) };
    let (of, strict) = match expr {
        Expr::Cast(made) => (*made.expr, true),
        Expr::TryCast(made) => (*made.expr, false),
        other => return Transformed::no(other),
    };
    let function = Arc::new(ScalarUDF::from(MomentText::new(strict, of_cast)));
    let call = Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![of]));
    Transformed::yes(if kind == DataType::Utf8 { call } else { cast(call, kind) })
}

/// The cast that a call was written as; other expressions stay as they are. Who shows a plan to people shows this.
#[must_use]
pub fn as_cast(expr: Expr) -> Transformed<Expr> {
    match expr {
        Expr::ScalarFunction(mut call)
            if [STRICT, LENIENT].contains(&call.func.name()) && call.args.len() == 1 =>
        {
            match call.args.pop() {
                Some(of) => Transformed::yes(cast(of, DataType::Utf8)),
                None => Transformed::no(Expr::ScalarFunction(call)),
            }
        }
        other => Transformed::no(other),
    }
}

/// A moment as text.
#[derive(Debug, PartialEq, Eq, Hash)]
struct MomentText {
    signature: Signature,
    /// Whether it fails where a moment is out of the calendar's reach, or is NULL there.
    strict: bool,
    /// Whether it has the name of the column it is about, as a cast has.
    of_cast: bool,
}

impl MomentText {
    fn new(strict: bool, of_cast: bool) -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable), strict, of_cast }
    }
}

impl ScalarUDFImpl for MomentText {
    fn name(&self) -> &'static str {
        if self.strict { STRICT } else { LENIENT }
    }

    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        match arguments {
            [of] if self.of_cast => Ok(of.schema_name().to_string()),
            [of] => Ok(format!("{}({})", self.name(), of.schema_name())),
            _ => internal_err!("a text is made of one moment"),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let [of] = arguments.arg_fields else {
            return internal_err!("a text is made of one moment");
        };
        let nullable = of.is_nullable() || !self.strict;
        let field = of.as_ref().clone().with_data_type(DataType::Utf8).with_nullable(nullable);
        Ok(Arc::new(field))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [moments] = columns.as_slice() else {
            return internal_err!("a text is made of one moment");
        };
        Ok(ColumnarValue::Array(texts(moments, self.strict)?))
    }
}

/// How a moment without and with a zone is written.
enum Zone {
    None,
    Utc,
    Other(Tz),
}

impl Zone {
    fn of(name: Option<&str>) -> Result<Self> {
        Ok(match name {
            None => Self::None,
            Some("UTC" | "+00:00") => Self::Utc,
            Some(name) => Self::Other(name.parse()?),
        })
    }

    /// Its distance to UTC at a moment, in seconds.
    fn distance(&self, at: &NaiveDateTime) -> Option<i32> {
        match self {
            Self::None => None,
            Self::Utc => Some(0),
            Self::Other(zone) => Some(zone.offset_from_utc_datetime(at).fix().local_minus_utc()),
        }
    }
}

/// A column of moments as texts; where the calendar does not reach it fails if it is `strict`, and is NULL otherwise.
///
/// # Errors
/// That, a column of something else, and a zone that is not known.
pub(crate) fn texts(moments: &ArrayRef, strict: bool) -> Result<ArrayRef> {
    let DataType::Timestamp(unit, zone) = moments.data_type() else {
        return internal_err!("{} is no moment", moments.data_type());
    };
    let zone = Zone::of(zone.as_deref())?;
    let values: &[i64] = match unit {
        TimeUnit::Second => moments.as_primitive::<TimestampSecondType>().values(),
        TimeUnit::Millisecond => moments.as_primitive::<TimestampMillisecondType>().values(),
        TimeUnit::Microsecond => moments.as_primitive::<TimestampMicrosecondType>().values(),
        TimeUnit::Nanosecond => moments.as_primitive::<TimestampNanosecondType>().values(),
    };
    let a_second: i64 = match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    };
    let mut made = StringBuilder::with_capacity(values.len(), values.len() * TEXT_BYTES);
    for (row, value) in values.iter().enumerate() {
        if moments.is_null(row) {
            made.append_null();
            continue;
        }
        match local(*value, a_second, &zone) {
            Some((at, distance)) => {
                write(&mut made, &at, distance)
                    .map_err(|_| internal_datafusion_err!("a moment could not be written"))?;
                made.append_value("");
            }
            None if strict => {
                return exec_err!("a moment is too far away to be written as a text");
            }
            None => made.append_null(),
        }
    }
    Ok(Arc::new(made.finish()))
}

/// What clocks show at a moment that is so many parts of a second after 1970, and how far they are from UTC; none if the calendar
/// ends before.
fn local(value: i64, a_second: i64, zone: &Zone) -> Option<(NaiveDateTime, Option<i32>)> {
    let nanos = value.rem_euclid(a_second) * (1_000_000_000 / a_second);
    let at = DateTime::from_timestamp(value.div_euclid(a_second), u32::try_from(nanos).ok()?)?;
    let at = at.naive_utc();
    match zone.distance(&at) {
        None => Some((at, None)),
        Some(distance) => {
            let moved = at.checked_add_signed(TimeDelta::seconds(distance.into()))?;
            Some((moved, Some(distance)))
        }
    }
}

fn write(into: &mut StringBuilder, at: &NaiveDateTime, distance: Option<i32>) -> std::fmt::Result {
    // There is no year 0: before the year 1 comes the first before Christ.
    let (year, era) = match at.year() {
        year if year > 0 => (year, ""),
        year => (1 - year, " (BC)"),
    };
    let (month, day) = (at.month(), at.day());
    let (hour, minute, second) = (at.hour(), at.minute(), at.second());
    write!(into, "{year:04}-{month:02}-{day:02}{era} {hour:02}:{minute:02}:{second:02}")?;
    let (mut fraction, mut digits) = (at.nanosecond(), 9_usize);
    if fraction > 0 {
        while fraction % 10 == 0 {
            fraction /= 10;
            digits -= 1;
        }
        write!(into, ".{fraction:0digits$}")?;
    }
    let Some(distance) = distance else { return Ok(()) };
    let sign = if distance < 0 { '-' } else { '+' };
    let seconds = distance.unsigned_abs();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    write!(into, "{sign}{hours:02}")?;
    if minutes > 0 || seconds > 0 {
        write!(into, ":{minutes:02}")?;
    }
    if seconds > 0 {
        write!(into, ":{seconds:02}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
        TimestampSecondArray,
    };

    use super::*;

    fn check(moments: impl Array + 'static, expected: &[Option<&str>]) {
        let moments: ArrayRef = Arc::new(moments);
        let made = texts(&moments, false).unwrap();
        let made: Vec<Option<&str>> = made.as_string::<i32>().iter().collect();
        assert_eq!(made, expected, "{:?}", moments.data_type());
    }

    #[test]
    fn a_moment_is_written_as_other_databases_write_it() {
        let micros = || {
            TimestampMicrosecondArray::from(vec![
                Some(1_514_764_800_000_000),
                Some(1_514_764_800_120_000),
                Some(-1),
                Some(253_402_300_800_000_000),
                Some(-62_135_596_800_000_000),
                Some(-62_135_596_800_000_001),
                None,
                Some(i64::MAX),
            ])
        };
        let written = [
            Some("2018-01-01 00:00:00"),
            Some("2018-01-01 00:00:00.12"),
            Some("1969-12-31 23:59:59.999999"),
            Some("10000-01-01 00:00:00"),
            Some("0001-01-01 00:00:00"),
            Some("0001-12-31 (BC) 23:59:59.999999"),
            None,
            None,
        ];
        check(micros(), &written);
        let zoned: Vec<Option<String>> =
            written.iter().map(|text| text.map(|text| format!("{text}+00"))).collect();
        let zoned: Vec<Option<&str>> = zoned.iter().map(Option::as_deref).collect();
        check(micros().with_timezone("UTC"), &zoned);
        check(micros().with_timezone("+00:00"), &zoned);
        check(TimestampSecondArray::from(vec![0]), &[Some("1970-01-01 00:00:00")]);
        check(TimestampMillisecondArray::from(vec![50]), &[Some("1970-01-01 00:00:00.05")]);
        check(
            TimestampNanosecondArray::from(vec![1_000_000_001]),
            &[Some("1970-01-01 00:00:01.000000001")],
        );
    }

    #[test]
    fn a_zone_tells_what_its_clocks_show() {
        let moments = || TimestampSecondArray::from(vec![0, 1_720_000_000]);
        for (zone, expected) in [
            ("+05:30", ["1970-01-01 05:30:00+05:30", "2024-07-03 15:16:40+05:30"]),
            ("-03:00", ["1969-12-31 21:00:00-03", "2024-07-03 06:46:40-03"]),
            ("Europe/Berlin", ["1970-01-01 01:00:00+01", "2024-07-03 11:46:40+02"]),
        ] {
            check(moments().with_timezone(zone), &expected.map(Some));
        }
    }

    #[test]
    fn what_the_calendar_does_not_reach_fails_or_is_null() {
        let far: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![i64::MAX]));
        assert!(texts(&far, true).unwrap_err().to_string().contains("too far away"));
        assert_eq!(texts(&far, false).unwrap().null_count(), 1);
    }
}
