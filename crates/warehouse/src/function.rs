//! SQL functions of our own. One function is one file and one line in [`FUNCTIONS`].

mod day_kind;
mod days;
mod days_between;
mod holiday_name;
mod is_holiday;
mod is_workday;
mod json_value;
pub(crate) mod predict;
mod recommend;
mod safe_divide;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::ScalarUDF;

use crate::served::Lent;

/// A function SQL can call.
#[derive(Debug)]
pub struct Function {
    /// Its name and arguments, as in `safe_divide(a, b)`.
    pub usage: &'static str,
    /// What it does, one sentence.
    pub about: &'static str,
    make: fn() -> ScalarUDF,
}

/// Every function of our own, in the order of the reference page.
pub const FUNCTIONS: &[Function] = &[
    day_kind::FUNCTION,
    days_between::FUNCTION,
    holiday_name::FUNCTION,
    is_holiday::FUNCTION,
    is_workday::FUNCTION,
    json_value::FUNCTION,
    predict::FUNCTION,
    recommend::FUNCTION,
    safe_divide::FUNCTION,
];

/// Adds the functions to what a session knows; those that ask learners ask these.
pub(crate) fn register(mut state: SessionState, learners: &Lent) -> Result<SessionState> {
    for function in FUNCTIONS {
        state.register_udf(Arc::new((function.make)()))?;
    }
    state.register_udf(Arc::new(predict::with(learners.clone())))?;
    Ok(state)
}
