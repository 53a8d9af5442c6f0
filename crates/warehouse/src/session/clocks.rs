//! `AT TIME ZONE`, as PostgreSQL and DuckDB have it.
//!
//! ```text
//! moment with a zone     AT TIME ZONE 'Asia/Shanghai'  →  what a clock shows there, without a zone
//! moment without a zone  AT TIME ZONE 'Asia/Shanghai'  →  when a clock there shows it, in UTC
//! ```
//! The engine (DataFusion 55.2) makes a moment of the other zone of both, which is told in UTC to clients, so that a chart by local
//! days has the wrong ones. Types are not known when a statement is read, so it calls a function there.
//!
//! The call has the name of the column it is about, as a cast has.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::datatypes::{DataType, FieldRef, TimeUnit};
use datafusion::common::{ScalarValue, internal_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::sql::sqlparser::ast::{Expr as Sql, visit_expressions_mut};

use super::dialect::parsed;

/// What `AT TIME ZONE` becomes.
const NAME: &str = "at_time_zone";
/// The zone of all moments that have one.
const UTC: &str = "UTC";

/// `time AT TIME ZONE zone` as the call of the function, if it is that.
pub(super) fn written(expr: &Sql) -> Option<String> {
    match expr {
        Sql::AtTimeZone { timestamp, time_zone } => Some(call(timestamp, time_zone)),
        _ => None,
    }
}

/// The call of the function.
pub(super) fn call(time: &Sql, zone: &Sql) -> String {
    format!("{NAME}({time}, {zone})")
}

/// An expression that stands alone, such as the value of a column that a sync lands, with the calls of the function.
///
/// # Errors
/// If it is no expression.
pub(crate) fn alone(sql: &str) -> flywheel_base::Result<Cow<'_, str>> {
    if !sql.to_lowercase().contains("zone") {
        return Ok(Cow::Borrowed(sql));
    }
    let mut expr = parsed(sql)?;
    let walked = visit_expressions_mut(&mut expr, |part| {
        let Some(text) = written(part) else { return ControlFlow::Continue(()) };
        match parsed(&text) {
            Ok(made) => *part = made,
            Err(error) => return ControlFlow::Break(error),
        }
        ControlFlow::Continue(())
    });
    match walked {
        ControlFlow::Continue(()) => Ok(Cow::Owned(expr.to_string())),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Adds the function.
///
/// # Errors
/// If the engine lacks the one that tells what a clock shows.
pub(crate) fn with_at_time_zone(mut state: SessionState) -> Result<SessionState> {
    let local = state.udf("to_local_time")?;
    let signature = Signature::any(2, Volatility::Immutable);
    state.register_udf(Arc::new(ScalarUDF::from(AtTimeZone { signature, local })))?;
    Ok(state)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AtTimeZone {
    signature: Signature,
    /// What a clock shows in the zone of a moment.
    local: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for AtTimeZone {
    fn name(&self) -> &'static str {
        NAME
    }

    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        match arguments {
            [of, _] => Ok(of.schema_name().to_string()),
            _ => internal_err!("{NAME} takes a moment and a zone"),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("what {NAME} makes hangs on its zone")
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let ([of, _], [_, zone]) = (arguments.arg_fields, arguments.scalar_arguments) else {
            return internal_err!("{NAME} takes a moment and a zone");
        };
        named(*zone)?;
        let made = match of.data_type() {
            DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, None),
            DataType::Timestamp(unit, None) => DataType::Timestamp(*unit, Some(UTC.into())),
            DataType::Date32
            | DataType::Date64
            | DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Null => DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into())),
            other => return plan_err!("AT TIME ZONE is for moments, and this is {other}"),
        };
        Ok(Arc::new(of.as_ref().clone().with_data_type(made)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, mut arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [of, ColumnarValue::Scalar(zone)] = arguments.args.as_slice() else {
            return internal_err!("{NAME} takes a moment and a zone that is written out");
        };
        let (unit, zoned) = match of.data_type() {
            DataType::Timestamp(unit, zone) => (unit, zone.is_some()),
            _ => (TimeUnit::Nanosecond, false),
        };
        let zone = named(Some(zone))?;
        let there = of.cast_to(&DataType::Timestamp(unit, Some(zone.into())), None)?;
        if !zoned {
            return there.cast_to(arguments.return_type(), None);
        }
        arguments.args = vec![there];
        arguments.arg_fields.truncate(1);
        self.local.inner().invoke_with_args(arguments)
    }
}

/// The zone's name, if there is such a zone.
fn named(zone: Option<&ScalarValue>) -> Result<&str> {
    let Some(name) = zone.and_then(ScalarValue::try_as_str).flatten() else {
        return plan_err!(
            "the zone of AT TIME ZONE has to be a text that is written out, such as 'Asia/Shanghai'"
        );
    };
    match name.parse::<Tz>() {
        Ok(_) => Ok(name),
        Err(_) => {
            plan_err!("\"{name}\" is no time zone; write one such as 'Asia/Shanghai' or '+08:00'")
        }
    }
}
