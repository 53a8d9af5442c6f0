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
use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    Array, BinaryOperator, Expr, Ident, ObjectName, ObjectNamePart, Query, Statement as Sql, Value,
    VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use flywheel_base::{Error, Result};

use super::chain::check_chains;
use super::sight::{parsed, place};
use crate::failure::from_engine;

/// The values of a statement, by the names of their places.
pub type Parameters = BTreeMap<String, Parameter>;

/// Values of one list at most.
const ITEMS_MAX: usize = 32_767;

/// A value with its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// What the type is called in SQL; none for a text.
    cast: Option<String>,
    /// The value; none for NULL.
    value: Option<Held>,
}

/// What takes a place.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    /// A value as people write it.
    Text(String),
    /// Bytes, by their hexadecimal digits.
    Bytes(String),
    /// Values of one type.
    List(Vec<Parameter>),
}

impl Parameter {
    /// A value of a type, read from a text; NULL without one. Bytes are read from their hexadecimal digits.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the text is no value of the type, or the type has no values that can be
    /// written as texts.
    pub fn new(kind: &DataType, text: Option<&str>) -> Result<Self> {
        let word = word(kind)?;
        if let Some(text) = text {
            check(kind, text)?;
        }
        let held = |text: &str| match kind {
            DataType::Binary => Held::Bytes(text.to_owned()),
            _ => Held::Text(text.to_owned()),
        };
        Ok(Self { cast: (*kind != DataType::Utf8).then_some(word), value: text.map(held) })
    }

    /// A list of values of one type; NULL without one.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Exhausted`] for more than 32,767 values, and as [`Parameter::new`].
    pub fn list(kind: &DataType, items: Option<Vec<Self>>) -> Result<Self> {
        let word = word(kind)?;
        if items.as_ref().is_some_and(|items| items.len() > ITEMS_MAX) {
            return Err(Error::exhausted(format!("a list has more than {ITEMS_MAX} values"))
                .hint("Ask in several statements, or join with a table that has the values."));
        }
        Ok(Self { cast: Some(format!("{word}[]")), value: items.map(Held::List) })
    }

    /// The value as people write it; none for NULL, bytes and lists.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Some(Held::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The constant that takes the place.
    fn constant(&self, casts: &mut Casts) -> Result<Expr> {
        match (&self.value, self.cast.as_deref()) {
            (Some(Held::Text(text)), None) => {
                Ok(Expr::value(Value::SingleQuotedString(text.clone())))
            }
            (Some(Held::Text(text)), Some(cast)) => {
                casts.of(cast, Expr::value(Value::SingleQuotedString(text.clone())))
            }
            (Some(Held::Bytes(digits)), _) => {
                Ok(Expr::value(Value::HexStringLiteral(digits.clone())))
            }
            // The type of nothing follows from nothing.
            (Some(Held::List(items)), Some(cast)) if items.is_empty() => {
                casts.of(cast, parsed("make_array()")?)
            }
            (Some(Held::List(items)), _) => {
                let elem = items.iter().map(|item| item.constant(casts));
                Ok(Expr::Array(Array { elem: elem.collect::<Result<_>>()?, named: true }))
            }
            (None, cast) => casts.of(cast.unwrap_or("VARCHAR"), Expr::value(Value::Null)),
        }
    }
}

/// Casts that were parsed, by the type: lists have thousands of one.
#[derive(Default)]
struct Casts(BTreeMap<String, Expr>);

impl Casts {
    /// The value as one of a type.
    fn of(&mut self, cast: &str, value: Expr) -> Result<Expr> {
        let mut made = match self.0.get(cast) {
            Some(made) => made.clone(),
            None => {
                let made = parsed(&format!("CAST(NULL AS {cast})"))?;
                self.0.insert(cast.to_owned(), made.clone());
                made
            }
        };
        match &mut made {
            Expr::Cast { expr, .. } => **expr = value,
            _ => return Err(Error::internal("a parameter lost its type")),
        }
        Ok(made)
    }
}

/// What a type is called in SQL.
fn word(kind: &DataType) -> Result<String> {
    Ok(match kind {
        DataType::Utf8 => "VARCHAR".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Float32 => "REAL".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Binary => "BYTEA".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Time64(TimeUnit::Nanosecond) => "TIME".to_owned(),
        DataType::Timestamp(..) => "TIMESTAMP".to_owned(),
        DataType::Interval(IntervalUnit::MonthDayNano) => "INTERVAL".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        other => return Err(Error::invalid(format!("no parameter can be {other}"))),
    })
}

/// Refuses a text that the engine would not read as a value of the type, or only by changing it.
fn check(kind: &DataType, text: &str) -> Result<()> {
    // As the engine has a moment: to the nanosecond, which does not reach as far as others do.
    let moment = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let kind = if matches!(kind, DataType::Timestamp(..)) { &moment } else { kind };
    // The value itself is nobody's business: messages go into logs.
    let misfit = || Error::invalid("the text is no value of its type");
    if *kind == DataType::Binary {
        let digits =
            text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        return if digits { Ok(()) } else { Err(misfit()) };
    }
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
        _ => Err(misfit()),
    }
}

/// Puts values in their places; without any, the statement stays as it is.
pub(super) fn bind(statement: &mut Statement, values: &Parameters) -> Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    let bound = match statement {
        Statement::Statement(sql) => {
            sql.as_mut().visit(&mut Binding { values, casts: Casts::default() })
        }
        Statement::Explain(explain) => return bind(&mut explain.statement, values),
        _ => ControlFlow::Continue(()),
    };
    match bound {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Binding<'a> {
    values: &'a Parameters,
    casts: Casts,
}

impl Binding<'_> {
    /// What stands in the place of an expression, if it is one of those that values change.
    fn bound(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        if let Some(member) = self.member(expr)? {
            return Ok(Some(member));
        }
        let Some(name) = place(expr) else { return Ok(None) };
        match self.values.get(name) {
            Some(value) => value.constant(&mut self.casts).map(Some),
            None => Err(Error::invalid(format!("${name} has no value"))
                .hint("Declare a parameter of that name.")),
        }
    }

    /// `x = ANY($1)` and `x <> ALL($1)` over a list as `x IN (…)` and `x NOT IN (…)`, by which files are left out.
    fn member(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        let (left, list, negated) = match expr {
            Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => (left, right, false),
            Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => (left, right, true),
            _ => return Ok(None),
        };
        let mut list = list.as_ref();
        while let Expr::Nested(inner) = list {
            list = inner;
        }
        let value = place(list).and_then(|name| self.values.get(name));
        let Some(Held::List(items)) = value.and_then(|value| value.value.as_ref()) else {
            return Ok(None);
        };
        // Nothing is in an empty list, not even what is unknown.
        if items.is_empty() {
            return Ok(Some(Expr::value(Value::Boolean(negated))));
        }
        let list = items.iter().map(|item| item.constant(&mut self.casts));
        let list = list.collect::<Result<_>>()?;
        Ok(Some(Expr::InList { expr: left.clone(), list, negated }))
    }
}

impl VisitorMut for Binding<'_> {
    type Break = Error;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match self.bound(expr) {
            Ok(Some(made)) => *expr = made,
            Ok(None) => {}
            Err(error) => return ControlFlow::Break(error),
        }
        ControlFlow::Continue(())
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
pub(super) fn folded(ident: &Ident) -> String {
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
    fn a_list_is_one_value_and_its_members_stand_in_a_comparison() {
        let numbers = |texts: &[Option<&str>]| {
            let items = texts.iter().map(|text| Parameter::new(&DataType::Int64, *text).unwrap());
            Parameter::list(&DataType::Int64, Some(items.collect())).unwrap()
        };
        let values = Parameters::from([
            ("1".to_owned(), numbers(&[Some("7"), None])),
            ("2".to_owned(), numbers(&[])),
            ("3".to_owned(), Parameter::list(&DataType::Utf8, None).unwrap()),
            ("4".to_owned(), Parameter::new(&DataType::Binary, Some("00ff")).unwrap()),
        ]);
        for (sql, expected) in [
            (
                "SELECT $1 WHERE a = ANY($1)",
                "SELECT ARRAY[CAST('7' AS BIGINT), CAST(NULL AS BIGINT)] \
                 WHERE a IN (CAST('7' AS BIGINT), CAST(NULL AS BIGINT))",
            ),
            ("SELECT 1 WHERE a = ANY($2)", "SELECT 1 WHERE false"),
            ("SELECT 1 WHERE a <> ALL(($2))", "SELECT 1 WHERE true"),
            ("SELECT 1 WHERE a = ANY($3)", "SELECT 1 WHERE a = ANY(CAST(NULL AS VARCHAR[]))"),
            ("SELECT $2", "SELECT CAST(make_array() AS BIGINT[])"),
            ("SELECT $4", "SELECT X'00ff'"),
        ] {
            let mut statement = DFParserBuilder::new(sql)
                .build()
                .unwrap()
                .parse_statements()
                .unwrap()
                .remove(0)
                .unwrap();
            bind(&mut statement, &values).unwrap();
            assert_eq!(statement.to_string(), expected, "{sql}");
        }
        let many = vec![Parameter::new(&DataType::Utf8, None).unwrap(); ITEMS_MAX + 1];
        assert!(Parameter::list(&DataType::Utf8, Some(many)).is_err());
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
