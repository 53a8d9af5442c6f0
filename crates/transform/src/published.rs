//! Published queries: the SQL that is run, and the values that take the places of their parameters.

use arrow::datatypes::{DataType, TimeUnit};
use flywheel_base::{Error, Result};
use flywheel_project::Project;
use flywheel_project::resource::query::{PublishedQuery, QueryParameter};
use flywheel_warehouse::{Parameter, Parameters};

use crate::names;

/// The SQL of a published query, with its tables named and `$name` where values go.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if its template is wrong or a question about metrics is none,
/// [`flywheel_base::ErrorKind::NotFound`] if a name is unknown.
pub fn published_sql(project: &Project, query: &PublishedQuery) -> Result<String> {
    names::render_text(project, &query.sql)
}

/// The value of a parameter, read from a text; NULL of its type without one.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] naming the parameter and its type if the text is no value of it.
pub fn published_value(parameter: &QueryParameter, text: Option<&str>) -> Result<Parameter> {
    let (name, kind) = (&parameter.name, parameter.column_type.trim());
    let unfit = || {
        Error::invalid(format!("the value of parameter \"{name}\" is no {kind}"))
            .hint(format!("Write one such as {name}={}.", parameter.example()))
    };
    if let Some(text) = text
        && kind == "json"
        && serde_json::from_str::<serde_json::Value>(text).is_err()
    {
        return Err(unfit());
    }
    Parameter::new(&arrow(kind)?, text).map_err(|_| unfit())
}

/// Every parameter without a value, to plan a query and not to run it.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] for a type that is none, which a checked project rules out.
pub fn published_plan(query: &PublishedQuery) -> Result<Parameters> {
    let all = query.parameters.iter();
    all.map(|one| Ok((one.name.clone(), published_value(one, None)?))).collect()
}

/// The Arrow type behind the word of a column's type.
fn arrow(kind: &str) -> Result<DataType> {
    Ok(match kind {
        "text" | "json" => DataType::Utf8,
        "int64" => DataType::Int64,
        "int32" => DataType::Int32,
        "float64" => DataType::Float64,
        "bool" => DataType::Boolean,
        "date" => DataType::Date32,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        other => {
            let inner = other.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')'));
            let digits = inner.and_then(|inner| inner.split_once(',')).and_then(|(all, after)| {
                Some((all.trim().parse::<u8>().ok()?, after.trim().parse::<i8>().ok()?))
            });
            match digits {
                Some((precision, scale)) => DataType::Decimal128(precision, scale),
                None => return Err(Error::invalid(format!("no parameter can be \"{other}\""))),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_does_not_fit_is_told_by_its_parameter_and_type() {
        let parameter = |kind: &str| QueryParameter {
            name: "least".to_owned(),
            column_type: kind.to_owned(),
            default: None,
            description: None,
        };
        for kind in ["text", "json", "int64", "int32", "float64", "bool", "date", "timestamp"] {
            assert!(published_value(&parameter(kind), None).is_ok(), "{kind}");
        }
        let decimal = parameter("decimal(12, 2)");
        assert!(published_value(&decimal, Some("10.5")).is_ok());
        let wrong = published_value(&decimal, Some("much")).unwrap_err();
        assert_eq!(wrong.message(), "the value of parameter \"least\" is no decimal(12, 2)");
        assert_eq!(wrong.hint_text(), Some("Write one such as least=12."));
        assert!(published_value(&parameter("json"), Some("{")).is_err());
    }
}
