//! `json_value(document, path)`: what stands in a JSON text.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{exec_err, internal_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use serde_json::value::RawValue;

use super::Function;

/// The entry in the list of functions.
pub(super) const FUNCTION: Function = Function {
    usage: "json_value(document, path)",
    about: "What stands at a path of a JSON text, such as '$.customer.city' or 'items[0].sku', as text: numbers with every digit, \
            objects and lists as JSON; NULL where there is nothing, null, or no JSON.",
    make: || ScalarUDF::from(JsonValue::default()),
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonValue {
    signature: Signature,
}

impl Default for JsonValue {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for JsonValue {
    fn name(&self) -> &'static str {
        "json_value"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let text = |given: &DataType| given.is_null() || given.is_string();
        if arguments.len() != 2 || !arguments.iter().all(text) {
            return plan_err!("json_value(document, path) takes two texts");
        }
        Ok(vec![DataType::Utf8; 2])
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [documents, paths] = columns.as_slice() else {
            return internal_err!("json_value takes two arguments");
        };
        let (documents, paths) = (documents.as_string::<i32>(), paths.as_string::<i32>());
        let mut values = StringBuilder::with_capacity(documents.len(), 0);
        // A path is mostly the same in all rows.
        let mut known: Option<(&str, Vec<Step>)> = None;
        for row in 0..documents.len() {
            if documents.is_null(row) || paths.is_null(row) {
                values.append_null();
                continue;
            }
            let path = paths.value(row);
            if known.as_ref().is_none_or(|(before, _)| *before != path) {
                let Some(steps) = steps(path) else {
                    return exec_err!(
                        "json_value has no path \"{path}\". Write one like '$.customer.city', 'items[0].sku' or '$.\"a name\"'."
                    );
                };
                known = Some((path, steps));
            }
            let steps = known.as_ref().map(|(_, steps)| steps.as_slice()).unwrap_or_default();
            values.append_option(value(documents.value(row), steps));
        }
        Ok(ColumnarValue::Array(Arc::new(values.finish())))
    }
}

/// One step into a document.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// The member of an object.
    Member(String),
    /// The item of a list, counted from 0.
    Item(usize),
}

/// The steps of a path; none if it is none.
fn steps(path: &str) -> Option<Vec<Step>> {
    let path = path.trim();
    let (mut rest, mut bare) = match path.strip_prefix('$') {
        Some(rest) => (rest, false),
        None => (path, true),
    };
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (inside, after) = inner.split_once(']')?;
            let inside = inside.trim();
            let name = inside.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
            steps.push(match name {
                Some(name) => Step::Member(name.to_owned()),
                None => Step::Item(inside.parse().ok()?),
            });
            (rest, bare) = (after, false);
            continue;
        }
        let named = match rest.strip_prefix('.') {
            Some(named) => named,
            None if bare => rest,
            None => return None,
        };
        bare = false;
        if let Some(quoted) = named.strip_prefix('"') {
            let (name, after) = quoted.split_once('"')?;
            steps.push(Step::Member(name.to_owned()));
            rest = after;
            continue;
        }
        let end = named.find(['.', '[']).unwrap_or(named.len());
        let (name, after) = named.split_at(end);
        if name.is_empty() {
            return None;
        }
        steps.push(Step::Member(name.to_owned()));
        rest = after;
    }
    Some(steps)
}

/// What stands at the end of the steps, as text.
fn value(document: &str, steps: &[Step]) -> Option<String> {
    let mut here: &RawValue = serde_json::from_str(document).ok()?;
    for step in steps {
        here = match step {
            Step::Member(name) => {
                let members: BTreeMap<String, &RawValue> = serde_json::from_str(here.get()).ok()?;
                members.get(name).copied()?
            }
            Step::Item(at) => {
                let items: Vec<&RawValue> = serde_json::from_str(here.get()).ok()?;
                items.get(*at).copied()?
            }
        };
    }
    match here.get() {
        "null" => None,
        text if text.starts_with('"') => serde_json::from_str(text).ok(),
        text => Some(text.to_owned()),
    }
}
