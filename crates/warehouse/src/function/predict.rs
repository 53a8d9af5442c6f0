//! `predict('learner', …)`: a score for each row, by the artifact that is served.
//!
//! `session/learned` gives every call one form before it is planned: the learner, then each feature's name and its
//! value. A plan therefore says which features are read and not which artifact reads them: its fingerprint stays the
//! same from fit to fit. The artifact is settled when the plan is simplified, once for the whole query.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, new_empty_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Column, ScalarValue, internal_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use flywheel_base::{Error, suggest};

use super::Function;
use crate::served::{Feature, FeatureKind, Lent, Scorer, unfitted};

/// The entry in the list of functions.
pub(super) const FUNCTION: Function = Function {
    usage: "predict('learner', *)",
    about: "The score that a score learner's newest fit gives the row. `*` or `t.*` takes each feature from the column of its name, `feature => expression` gives one another value, and features that are columns can be named one by one.",
    make: || with(Lent::default()),
};

/// The function, asking these learners.
pub(crate) fn with(learners: Lent) -> ScalarUDF {
    ScalarUDF::from(Predict { learners, settled: None, signature: signature() })
}

fn signature() -> Signature {
    Signature::variadic_any(Volatility::Immutable)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Predict {
    learners: Lent,
    /// Who scores, once that is settled.
    settled: Option<Settled>,
    signature: Signature,
}

/// A scorer that is itself alone.
#[derive(Clone)]
struct Settled(Arc<dyn Scorer>);

impl fmt::Debug for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settled")
    }
}

impl PartialEq for Settled {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Settled {}

impl Hash for Settled {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).cast::<()>().hash(state);
    }
}

impl Predict {
    fn scorer(&self, learner: &str) -> Result<Arc<dyn Scorer>> {
        if let Some(Settled(scorer)) = &self.settled {
            return Ok(Arc::clone(scorer));
        }
        let found =
            self.learners.scorer(learner).and_then(|found| found.ok_or_else(|| unfitted(learner)));
        found.map_err(external)
    }
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The text of a constant.
fn text(value: &ScalarValue) -> Option<&str> {
    value.try_as_str().flatten()
}

/// Where among the values after the learner's name each feature stands; `names` are those at the even places.
fn places(learner: &str, features: &[Feature], names: &[&str]) -> Result<Vec<usize>> {
    let place = |feature: &Feature| {
        names.iter().position(|name| *name == feature.name).ok_or_else(|| {
            external(
                Error::invalid(format!("predict('{learner}') is given no \"{}\"", feature.name))
                    .hint(format!(
                        "Write `{0} => …`, or `*` if the rows have a column \"{0}\".",
                        feature.name
                    )),
            )
        })
    };
    let found = features.iter().map(place).collect::<Result<Vec<_>>>()?;
    let known = |name: &str| features.iter().any(|feature| feature.name == name);
    if let Some(other) = names.iter().find(|name| !known(name)) {
        let all = features.iter().map(|feature| feature.name.as_str());
        return Err(external(
            Error::invalid(format!("learner \"{learner}\" has no feature \"{other}\""))
                .hint(suggest::hint(other, all)),
        ));
    }
    Ok(found)
}

/// What a feature is handed to the scorer as; none if it would take a guess to make that of what is given.
fn handed(feature: &Feature, given: &DataType) -> Option<DataType> {
    let number = given.is_numeric() || *given == DataType::Boolean;
    match feature.kind {
        FeatureKind::Number => (number || given.is_null()).then_some(DataType::Float64),
        FeatureKind::Text => (given.is_string() || given.is_null()).then_some(DataType::Utf8),
        FeatureKind::Either if given.is_string() => Some(DataType::Utf8),
        FeatureKind::Either => (number || given.is_null()).then_some(DataType::Float64),
    }
}

/// That values of a type are not what the learner was fitted with.
fn other_type(learner: &str, feature: &Feature, given: &DataType) -> DataFusionError {
    let (wanted, cast) = match feature.kind {
        FeatureKind::Number => ("a number", "double"),
        FeatureKind::Text => ("text", "varchar"),
        FeatureKind::Either => ("a number or text", "varchar"),
    };
    external(
        Error::invalid(format!(
            "learner \"{learner}\" knows \"{}\" as {wanted}, and here it is {}",
            feature.name,
            spoken(given)
        ))
        .hint(format!("Write `{} => cast(… as {cast})`.", feature.name)),
    )
}

/// How a type is called by whoever writes SQL.
fn spoken(kind: &DataType) -> String {
    match kind {
        kind if kind.is_string() => "text".to_owned(),
        kind if kind.is_numeric() => "a number".to_owned(),
        kind => kind.to_string().to_lowercase(),
    }
}

/// A call as people write it, which heads its column; none of a call that is not of the one form.
///
/// Features that are columns of their names are `*`, if all are of one table. Calls that score anything else are named
/// otherwise.
fn written(arguments: &[Expr]) -> Option<String> {
    let (Expr::Literal(learner, _), given) = arguments.split_first()? else { return None };
    let mut parts = vec![format!("'{}'", text(learner)?)];
    let (mut columns, mut others): (Vec<&Column>, Vec<String>) = (Vec::new(), Vec::new());
    for pair in given.chunks(2) {
        let [Expr::Literal(feature, _), value] = pair else { return None };
        match (text(feature)?, value) {
            (feature, Expr::Column(column)) if column.name == feature => columns.push(column),
            (feature, value) => others.push(format!("{feature} => {}", value.schema_name())),
        }
    }
    match columns.first() {
        Some(first) if columns.iter().all(|column| column.relation == first.relation) => {
            let all = first.relation.as_ref().map(|of| format!("{of}.*"));
            parts.push(all.unwrap_or_else(|| "*".to_owned()));
        }
        _ => parts.extend(columns.iter().map(|column| column.flat_name())),
    }
    parts.extend(others);
    Some(format!("predict({})", parts.join(", ")))
}

impl ScalarUDFImpl for Predict {
    fn name(&self) -> &'static str {
        "predict"
    }

    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        Ok(written(arguments).unwrap_or_else(|| {
            let names: Vec<String> =
                arguments.iter().map(|argument| argument.schema_name().to_string()).collect();
            format!("{}({})", self.name(), names.join(","))
        }))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let field = || Ok(Arc::new(Field::new(self.name(), DataType::Float64, true)) as FieldRef);
        let Some((Some(learner), given)) = arguments.scalar_arguments.split_first() else {
            return internal_err!("predict without a learner");
        };
        let Some(learner) = text(learner) else {
            return internal_err!("predict without a learner");
        };
        let scorer = self.scorer(learner)?;
        let names: Vec<&str> =
            given.iter().step_by(2).filter_map(|name| name.and_then(text)).collect();
        let kinds: Vec<&DataType> =
            arguments.arg_fields.iter().skip(2).step_by(2).map(|field| field.data_type()).collect();
        for (feature, place) in
            scorer.features().iter().zip(places(learner, scorer.features(), &names)?)
        {
            let Some(given) = kinds.get(place) else {
                return internal_err!("a feature without a value");
            };
            if handed(feature, given).is_none() {
                return Err(other_type(learner, feature, given));
            }
        }
        field()
    }

    fn simplify(
        &self,
        arguments: Vec<Expr>,
        _info: &SimplifyContext,
    ) -> Result<ExprSimplifyResult> {
        let Some(Expr::Literal(learner, _)) = arguments.first() else {
            return Ok(ExprSimplifyResult::Original(arguments));
        };
        let (None, Some(learner)) = (&self.settled, text(learner)) else {
            return Ok(ExprSimplifyResult::Original(arguments));
        };
        let settled = Some(Settled(self.scorer(learner)?));
        let made = Self { learners: self.learners.clone(), settled, signature: signature() };
        let call = ScalarFunction::new_udf(Arc::new(ScalarUDF::from(made)), arguments);
        Ok(ExprSimplifyResult::Simplified(Expr::ScalarFunction(call)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = |value: &ColumnarValue| match value {
            ColumnarValue::Scalar(value) => text(value).map(str::to_owned),
            ColumnarValue::Array(_) => None,
        };
        let Some((Some(learner), given)) =
            arguments.args.split_first().map(|(first, rest)| (constant(first), rest))
        else {
            return internal_err!("predict without a learner");
        };
        let scorer = self.scorer(&learner)?;
        let names: Vec<String> = given.iter().step_by(2).filter_map(constant).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let values: Vec<&ColumnarValue> = given.iter().skip(1).step_by(2).collect();
        // Constants alone are scored once, whatever the number of rows.
        let constants = values.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if constants { 1 } else { arguments.number_rows };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(values.len());
        for (feature, place) in
            scorer.features().iter().zip(places(&learner, scorer.features(), &names)?)
        {
            let Some(value) = values.get(place) else {
                return internal_err!("a feature without a value");
            };
            let Some(kind) = handed(feature, &value.data_type()) else {
                return Err(other_type(&learner, feature, &value.data_type()));
            };
            columns.push(match rows {
                0 => new_empty_array(&kind),
                rows => cast(&value.to_array(rows)?, &kind)?,
            });
        }
        let scores = scorer
            .score(&columns, rows)
            .map_err(|e| external(e.context(format!("predict('{learner}')"))))?;
        if constants && let Some(only) = scores.iter().next() {
            return Ok(ColumnarValue::Scalar(ScalarValue::Float64(only)));
        }
        Ok(ColumnarValue::Array(Arc::new(scores)))
    }
}
