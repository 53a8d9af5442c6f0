//! Places for values in a statement: `where country = $country`.
//!
//! A value takes its place in the statement that was read, as a constant of its type, when all that writes parts of a statement
//! down and reads them again has been done (other words of functions, lists of learners): what a text looks like that holds
//! quotes and backslashes is none of a value's business. Types and the plan, and with it what readers see, meet a constant as
//! one that was written there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, ObjectNamePart, Query, Statement as Sql, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use flywheel_base::{Error, Result};

use super::chain::check_chains;
use super::sight::{parsed, place};
use crate::failure::from_engine;

/// The values of a statement, by the names of their places.
pub type Parameters = BTreeMap<String, Parameter>;

/// A value with its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// What the type is called in SQL; none for a text.
    cast: Option<String>,
    /// The value as people write it; none for NULL.
    text: Option<String>,
}

impl Parameter {
    /// A value of a type, read from a text; NULL without one.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the text is no value of the type, or the type has no values that can be
    /// written as texts.
    pub fn new(kind: &DataType, text: Option<&str>) -> Result<Self> {
        let cast = match kind {
            DataType::Utf8 => None,
            DataType::Int64 => Some("BIGINT".to_owned()),
            DataType::Int32 => Some("INT".to_owned()),
            DataType::Float64 => Some("DOUBLE".to_owned()),
            DataType::Boolean => Some("BOOLEAN".to_owned()),
            DataType::Date32 => Some("DATE".to_owned()),
            DataType::Timestamp(..) => Some("TIMESTAMP".to_owned()),
            DataType::Decimal128(precision, scale) => {
                Some(format!("DECIMAL({precision}, {scale})"))
            }
            other => return Err(Error::invalid(format!("no parameter can be {other}"))),
        };
        if let Some(text) = text {
            check(kind, text)?;
        }
        Ok(Self { cast, text: text.map(str::to_owned) })
    }

    /// The constant that takes the place.
    fn constant(&self) -> Result<Expr> {
        let value = match &self.text {
            Some(text) => Expr::value(Value::SingleQuotedString(text.clone())),
            None => Expr::value(Value::Null),
        };
        let cast = match (&self.cast, &self.text) {
            (Some(cast), _) => cast.as_str(),
            (None, None) => "VARCHAR",
            (None, Some(_)) => return Ok(value),
        };
        let mut made = parsed(&format!("CAST(NULL AS {cast})"))?;
        match &mut made {
            Expr::Cast { expr, .. } => **expr = value,
            _ => return Err(Error::internal("a parameter lost its type")),
        }
        Ok(made)
    }
}

/// Refuses a text that the engine would not read as a value of the type, or only by changing it.
fn check(kind: &DataType, text: &str) -> Result<()> {
    // As the engine has a moment: to the nanosecond, which does not reach as far as others do.
    let moment = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let kind = if matches!(kind, DataType::Timestamp(..)) { &moment } else { kind };
    let given: ArrayRef = Arc::new(StringArray::from(vec![text]));
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let whole = match kind {
        // Digits that do not fit would be rounded away.
        DataType::Decimal128(_, scale) => {
            let digits = text.split_once('.').map_or("", |(_, fraction)| fraction);
            let digits = digits.trim_end_matches('0').len();
            digits <= usize::try_from(*scale).unwrap_or_default()
        }
        _ => true,
    };
    match cast_with_options(&given, kind, &options) {
        Ok(_) if whole => Ok(()),
        // The value itself is nobody's business: messages go into logs.
        _ => Err(Error::invalid("the text is no value of its type")),
    }
}

/// Puts values in their places; without any, the statement stays as it is.
pub(super) fn bind(statement: &mut Statement, values: &Parameters) -> Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    let bound = match statement {
        Statement::Statement(sql) => sql.as_mut().visit(&mut Binding(values)),
        Statement::Explain(explain) => return bind(&mut explain.statement, values),
        _ => ControlFlow::Continue(()),
    };
    match bound {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Binding<'a>(&'a Parameters);

impl VisitorMut for Binding<'_> {
    type Break = Error;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let Some(name) = place(expr) else { return ControlFlow::Continue(()) };
        let made = match self.0.get(name) {
            Some(value) => value.constant(),
            None => Err(Error::invalid(format!("${name} has no value"))
                .hint("Declare a parameter of that name.")),
        };
        match made {
            Ok(made) => {
                *expr = made;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// What a query names, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// The places for values, without their `$`.
    pub parameters: BTreeSet<String>,
    /// The tables: `mart.orders` or `orders`.
    pub tables: BTreeSet<String>,
}

/// What one `SELECT` names; which tables and columns there are is not known here.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if it cannot be parsed, with the place, or is something else.
pub fn reads(sql: &str) -> Result<Reads> {
    check_chains(sql)?;
    let statements = DFParserBuilder::new(sql)
        .with_dialect(&GenericDialect {})
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(from_engine)?;
    let mut statements = statements.into_iter();
    let (Some(Statement::Statement(mut statement)), None) = (statements.next(), statements.next())
    else {
        return Err(not_one());
    };
    if !matches!(statement.as_ref(), Sql::Query(_)) {
        return Err(not_one());
    }
    let mut named = Named::default();
    if let ControlFlow::Break(error) = statement.as_mut().visit(&mut named) {
        return Err(error);
    }
    let Named { mut reads, within } = named;
    reads.tables.retain(|table| !within.contains(table));
    Ok(reads)
}

fn not_one() -> Error {
    Error::invalid("the SQL is not one query").hint("Write one SELECT.")
}

#[derive(Default)]
struct Named {
    reads: Reads,
    /// What a query calls its own parts: `with part as (…)`.
    within: BTreeSet<String>,
}

impl VisitorMut for Named {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        let parts = query.with.iter().flat_map(|with| &with.cte_tables);
        self.within.extend(parts.map(|part| folded(&part.alias.name)));
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<Error> {
        let parts = relation.0.iter().map(|part| match part {
            ObjectNamePart::Identifier(ident) => Some(folded(ident)),
            ObjectNamePart::Function(_) => None,
        });
        let parts: Option<Vec<String>> = parts.collect();
        self.reads.tables.extend(parts.map(|parts| parts.join(".")));
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if let Expr::Value(value) = &*expr
            && let Value::Placeholder(text) = &value.value
        {
            let Some(name) = text.strip_prefix('$') else {
                let error = Error::invalid(format!("{text} has no name"));
                return ControlFlow::Break(error.hint("Write $name where a value goes."));
            };
            self.reads.parameters.insert(name.to_owned());
        }
        ControlFlow::Continue(())
    }
}

/// A name as the engine knows it.
fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_a_constant_of_its_type_whatever_it_holds() {
        let evil = "x' or 1 = 1 --";
        let values = Parameters::from([
            ("a".to_owned(), Parameter::new(&DataType::Utf8, Some(evil)).unwrap()),
            ("b".to_owned(), Parameter::new(&DataType::Decimal128(12, 2), Some("10.50")).unwrap()),
            ("c".to_owned(), Parameter::new(&DataType::Int64, None).unwrap()),
        ]);
        let sql = "select $b from t where a = $a and b in ($b, 2) limit $c";
        let mut statement = DFParserBuilder::new(sql)
            .build()
            .unwrap()
            .parse_statements()
            .unwrap()
            .remove(0)
            .unwrap();
        bind(&mut statement, &values).unwrap();
        assert_eq!(
            statement.to_string(),
            "SELECT CAST('10.50' AS DECIMAL(12,2)) FROM t WHERE a = 'x'' or 1 = 1 --' \
             AND b IN (CAST('10.50' AS DECIMAL(12,2)), 2) LIMIT CAST(NULL AS BIGINT)"
        );
        let mut other =
            DFParserBuilder::new("select $d").build().unwrap().parse_statements().unwrap();
        assert!(bind(&mut other[0], &values).unwrap_err().message().contains("$d"));
    }

    #[test]
    fn a_text_that_is_no_value_of_its_type_is_refused() {
        let moment = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let decimal = DataType::Decimal128(12, 2);
        for (kind, text, fits) in [
            (&DataType::Int64, "42", true),
            (&DataType::Int64, "4.2", false),
            (&DataType::Int64, "1 or 1=1", false),
            (&DataType::Int32, "3000000000", false),
            (&DataType::Float64, "1.5e3", true),
            (&DataType::Float64, "much", false),
            (&decimal, "10.5", true),
            (&decimal, "10.500", true),
            (&decimal, "10.505", false),
            (&decimal, "99999999999", false),
            (&DataType::Boolean, "true", true),
            (&DataType::Boolean, "maybe", false),
            (&DataType::Date32, "2025-03-31", true),
            (&DataType::Date32, "2025-02-30", false),
            (&moment, "2025-03-31T12:00:00Z", true),
            (&moment, "soon", false),
        ] {
            assert_eq!(Parameter::new(kind, Some(text)).is_ok(), fits, "{kind}: {text}");
        }
        assert!(Parameter::new(&DataType::Binary, Some("x")).is_err());
    }

    #[test]
    fn a_query_says_what_it_reads() {
        let names = |of: &[&str]| of.iter().map(|one| (*one).to_owned()).collect::<BTreeSet<_>>();
        let found = reads(
            "with part as (select * from Raw.Orders where a = $a) select '$no' from part join lands on b = $b limit $n;",
        );
        let expected =
            Reads { parameters: names(&["a", "b", "n"]), tables: names(&["lands", "raw.orders"]) };
        assert_eq!(found.unwrap(), expected);
        for sql in ["delete from t", "select 1; select 2", "show tables", "", "select ?"] {
            assert!(reads(sql).is_err(), "{sql}");
        }
        let wrong = reads("select a\nform t where").unwrap_err();
        assert!(wrong.report().contains("Line: 2"), "{}", wrong.report());
    }
}
