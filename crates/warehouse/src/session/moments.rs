//! Moments read from texts, `to_timestamp` and its like, in the time zone that they promise.
//!
//! The engine (DataFusion 55.2) says that they are in the session's zone, UTC. Of a text that is written in the query they are,
//! but those of a column of texts come without a zone, and every query that uses them fails. Here they get the zone, which
//! changes none of them.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// The functions that read moments from texts.
const READERS: [&str; 5] = [
    "to_timestamp",
    "to_timestamp_seconds",
    "to_timestamp_millis",
    "to_timestamp_micros",
    "to_timestamp_nanos",
];

/// Gives what each of the engine's functions answers the type that it promised.
///
/// # Errors
/// If the engine lacks one of them.
pub(crate) fn as_promised(mut state: SessionState) -> Result<SessionState> {
    for name in READERS {
        let function = state.udf(name)?;
        state.register_udf(Arc::new(ScalarUDF::from(AsPromised { function })))?;
    }
    Ok(state)
}

/// A function of the engine whose answers get the type that they were said to have.
#[derive(Debug, PartialEq, Eq, Hash)]
struct AsPromised {
    function: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for AsPromised {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.function.inner().return_type(arguments)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let promised = arguments.return_type().clone();
        let answer = self.function.inner().invoke_with_args(arguments)?;
        if answer.data_type() == promised { Ok(answer) } else { answer.cast_to(&promised, None) }
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.function.documentation()
    }
}
