//! What one reader may see of a table: some of its rows, some of its columns, and masks in the place of
//! values.
//!
//! ```text
//! query ──► SeenTable (a leaf of the plan) ──► masks ──► rule's rows ──► table
//!           statistics, names of files and the plan below stay hidden
//! ```
//! A table with a [`Sight`] is found by its name like any other, so that aliases, views, subqueries, joins
//! and tables of the past all come by here. What lies below is planned and optimised on its own: no
//! predicate of the query is evaluated on a row that the reader may not see, unless it can neither fail nor
//! have an effect ([`leakproof`]). What fails below is told without values.

mod exec;
mod leakproof;
mod mask;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::catalog::view::ViewTable;
use datafusion::common::ScalarValue;
use datafusion::datasource::TableType;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast, lit};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr as Sql, Ident, SelectItem, SetExpr, Statement as Parsed, Value, VisitMut,
    VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use flywheel_base::{Error, ErrorKind, Result};
use serde_json::Value as Json;

use super::tables::{Found, Resolver, unnamed};
use super::{Owner, guard, names};
use crate::TableName;
use crate::engine::EDITED;
use crate::failure::from_engine;

pub(crate) use self::exec::SeenExec;

/// What a reader may see of a table.
#[derive(Clone, Debug)]
pub struct Sight {
    /// Who reads, for messages.
    pub reader: String,
    /// What decides it, for messages: `rule "customers"`.
    pub rule: String,
    /// Why nothing is seen, if it is not what the rule says of this table: `it is made of …`.
    pub because: Option<String>,
    /// Whom to ask for more, as a sentence.
    pub ask: String,
    /// What is seen.
    pub seen: Seen,
}

/// What of a table is seen.
#[derive(Clone, Debug)]
pub enum Seen {
    /// Nothing: a query that names the table is refused.
    Nothing,
    /// A part of it.
    Part {
        /// Conditions that all hold for the rows that are seen.
        rows: Vec<Expression>,
        /// What stands in the place of a column's values. Columns the table does not have are ignored.
        masks: BTreeMap<String, ColumnMask>,
        /// Columns that are left out, and refused if they are named.
        hidden: BTreeSet<String>,
    },
}

/// An SQL expression with values of the reader's in the place of its `$names`.
#[derive(Clone, Debug)]
pub struct Expression {
    /// The expression over the table's columns. Tables in its subqueries are read without rules.
    pub sql: String,
    /// What `$name` stands for, one value or several. A condition with a name that is not here, or has no
    /// value, holds for no row.
    pub values: BTreeMap<String, Vec<Json>>,
}

/// What stands in the place of values.
#[derive(Clone, Debug)]
pub enum ColumnMask {
    /// NULL.
    Null,
    /// The same value for all, converted to the column's type.
    Constant(String),
    /// An expression, converted to the column's type.
    Sql(Expression),
    /// A function of each value.
    With(Arc<dyn MaskValues>),
}

/// A mask that is a function of a column's values. It is called with columns of any type.
pub trait MaskValues: fmt::Debug + Send + Sync {
    /// What stands for the values; a column of the same type and length.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the mask is not for columns of this type. The message holds no value.
    fn mask(&self, column: &ArrayRef) -> Result<ArrayRef>;

    /// Whether columns of this type can be masked.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with what to use instead.
    fn check(&self, of: &DataType) -> Result<()>;
}

/// Why a query is refused that names a column which is left out: what a view that is read through may tell of it depends on
/// whether its reader knows the table.
#[derive(Debug)]
struct HiddenColumn {
    table: TableName,
    said: String,
    ask: String,
}

impl fmt::Display for HiddenColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

impl std::error::Error for HiddenColumn {}

impl Sight {
    /// The refusal of the table or of one of its columns.
    #[must_use]
    pub fn refusal(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::Denied,
            match &self.because {
                None => format!("{what} is not for {}, by {}", self.reader, self.rule),
                Some(because) => format!("{what} is not for {}: {because}", self.reader),
            },
        )
        .hint(self.ask.clone())
    }

    /// The refusal of a column that is left out.
    pub(super) fn hides(&self, table: &TableName, column: &str) -> Option<Error> {
        let Seen::Part { hidden, .. } = &self.seen else { return None };
        if !hidden.contains(column) {
            return None;
        }
        let refusal = self.refusal(&format!("column \"{column}\" of {table}"));
        let (table, said, ask) = (table.clone(), refusal.message().to_owned(), self.ask.clone());
        Some(refusal.caused_by(HiddenColumn { table, said, ask }))
    }
}

impl Resolver<'_> {
    /// The table as its reader may see it.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] if nothing of it may be seen, [`ErrorKind::Invalid`] if the rule does not fit
    /// the table: nothing is shown then either.
    pub(super) async fn seen(
        &self,
        name: &TableName,
        found: Found,
        sight: &Sight,
    ) -> Result<Found> {
        let Seen::Part { rows, masks, hidden } = &sight.seen else {
            return Err(sight.refusal(&format!("table {name}")));
        };
        let Some(owner) = self.owner else {
            return Err(Error::internal(format!("table {name} has a rule and no reader")));
        };
        let unfit = |error: Error| {
            let said = format!("{} does not fit table {name}", sight.rule);
            Error::new(error.kind(), format!("{said}: {}", error.message()))
                .hint(format!("Nothing of the table is shown until it does. {}", sight.ask))
        };
        let provider = Arc::clone(&found.provider);
        let names =
            names::CatalogNames::new(Arc::clone(&owner.catalog), Arc::clone(&owner.resolved));
        let list = names::CatalogList::new(names)
            .with_edited(name, Arc::clone(&provider))
            .map_err(from_engine)?;
        let state = super::state(self.shared, self.clock, list);
        let schema = provider.schema();
        let shown: Vec<&str> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .filter(|column| !hidden.contains(*column))
            .collect();
        if shown.is_empty() {
            return Err(sight.refusal(&format!("every column of table {name}")));
        }
        let mut statement = statement(name, &shown, rows, masks).map_err(unfit)?;
        let resolver = Resolver {
            shared: self.shared,
            clock: self.clock,
            catalog: &owner.catalog,
            resolved: &owner.resolved,
            owner: None,
            through: None,
            outer: None,
            state: &state,
        };
        let mut below = BTreeSet::new();
        resolver.statement(&mut statement, &mut Vec::new(), &mut below).await.map_err(unfit)?;
        let plan = guard::plan(&state, statement).await.map_err(unfit)?;
        let plan = masked(plan, &schema, masks).map_err(unfit)?;
        let plan = state
            .analyzer()
            .execute_and_check(plan, state.config_options(), |_, _| {})
            .map_err(|error| unfit(from_engine(error)))?;
        let masks = masks.keys().filter(|column| shown.contains(&column.as_str()));
        let table = table::SeenTable::new(
            name.clone(),
            plan,
            masks.cloned().collect(),
            provider.table_type(),
        );
        Ok(Found { provider: Arc::new(table), below: found.below })
    }

    /// A view whose query finds what is concealed from its reader. It is a leaf of the plan if it reads such a thing, so that
    /// neither plans nor errors name it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the query does not fit what it reads, without saying what that is; else as of any view.
    pub(super) async fn seen_through(
        &self,
        through: &Owner,
        name: &TableName,
        sql: &str,
        stack: &mut Vec<TableName>,
    ) -> Result<Found> {
        let names =
            names::CatalogNames::new(Arc::clone(&through.catalog), Arc::clone(&through.resolved));
        let state = super::state(self.shared, self.clock, names::CatalogList::new(names));
        let resolver = Resolver {
            shared: self.shared,
            clock: self.clock,
            catalog: &through.catalog,
            resolved: &through.resolved,
            owner: self.owner,
            through: None,
            outer: Some(self),
            state: &state,
        };
        let unfit = || unnamed(name);
        let (plan, below) =
            resolver.view_plan(name, sql, stack).await.map_err(|error| match error.kind() {
                ErrorKind::Invalid | ErrorKind::NotFound => unfit(),
                // What a rule refuses may be a table that is not there for the reader.
                ErrorKind::Denied => self.refused_below(name, &error),
                _ => error,
            })?;
        if !below.iter().any(|read| self.catalog.concealed.contains(read)) {
            let view = ViewTable::new(plan, Some(sql.to_owned()));
            return Ok(Found { provider: Arc::new(view), below });
        }
        let schema = Arc::new(plan.schema().as_arrow().clone());
        let plan = masked(plan, &schema, &BTreeMap::new()).map_err(|_| unfit())?;
        let plan = state
            .analyzer()
            .execute_and_check(plan, state.config_options(), |_, _| {})
            .map_err(|_| unfit())?;
        let table = table::SeenTable::new(name.clone(), plan, BTreeSet::new(), TableType::View);
        Ok(Found { provider: Arc::new(table), below })
    }
}

impl Resolver<'_> {
    /// Why the view `name` is not for its reader, from what was refused below it: in the words of the rule if they know the
    /// table by its name, else without table, column and rule. Views between the two are not told either.
    fn refused_below(&self, name: &TableName, refused: &Error) -> Error {
        let cause = std::error::Error::source(refused);
        let denied = |why: String| Error::new(ErrorKind::Denied, format!("view \"{name}\"{why}"));
        match cause.and_then(|cause| cause.downcast_ref::<HiddenColumn>()) {
            Some(hidden) if self.catalog.contains(&hidden.table) => {
                denied(format!(": {}", hidden.said)).hint(hidden.ask.clone())
            }
            Some(_) => denied(" names a column that a rule hides from you".to_owned()).hint(
                "Ask whoever keeps the rules in access/: a rule that masks the column in the place of hiding it leaves the view \
                 readable.",
            ),
            None => denied(" reads what is not for you".to_owned())
                .hint("Ask whoever keeps the rules in access/."),
        }
    }
}

/// `SELECT columns FROM table WHERE rows`, put together as a tree: no text of a rule and no value of a
/// reader becomes text of a statement.
fn statement(
    name: &TableName,
    shown: &[&str],
    rows: &[Expression],
    masks: &BTreeMap<String, ColumnMask>,
) -> Result<Statement> {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let (schema, table) = (quoted(&name.schema), quoted(&name.name));
    let frame = format!("SELECT 1 FROM {EDITED}.{schema}.{table} AS {table}");
    let mut parsed = DFParserBuilder::new(frame.as_str())
        .with_dialect(&GenericDialect {})
        .build()
        .and_then(|mut parser| parser.parse_statement())
        .map_err(from_engine)?;
    let internal = || Error::internal(format!("the frame of table {name} is no query"));
    let Statement::Statement(inner) = &mut parsed else { return Err(internal()) };
    let Parsed::Query(query) = inner.as_mut() else { return Err(internal()) };
    let SetExpr::Select(select) = query.body.as_mut() else { return Err(internal()) };
    let mut items = Vec::with_capacity(shown.len());
    for column in shown {
        let expr = match masks.get(*column) {
            Some(ColumnMask::Sql(expression)) => expression.bound()?.unwrap_or_else(null),
            _ => Sql::CompoundIdentifier(vec![
                Ident::with_quote('"', &name.name),
                Ident::with_quote('"', *column),
            ]),
        };
        items.push(SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', *column) });
    }
    select.projection = items;
    for condition in rows {
        let condition = condition.bound()?.unwrap_or_else(|| Sql::value(Value::Boolean(false)));
        let condition = Sql::Nested(Box::new(condition));
        select.selection = Some(match select.selection.take() {
            None => condition,
            Some(before) => Sql::BinaryOp {
                left: Box::new(before),
                op: BinaryOperator::And,
                right: Box::new(condition),
            },
        });
    }
    super::dialect::translate(&mut parsed)?;
    Ok(parsed)
}

fn null() -> Sql {
    Sql::value(Value::Null)
}

/// The plan with masks in the place of values, each of the type the column has.
fn masked(
    plan: LogicalPlan,
    schema: &arrow::datatypes::SchemaRef,
    masks: &BTreeMap<String, ColumnMask>,
) -> Result<LogicalPlan> {
    let mut columns = Vec::with_capacity(plan.schema().fields().len());
    for (qualifier, field) in plan.schema().iter() {
        let column = Expr::Column((qualifier, field).into());
        let name = field.name();
        let kind = schema.field_with_name(name).map_err(|error| {
            Error::internal(format!("column \"{name}\" is lost")).caused_by(error)
        })?;
        let kind = kind.data_type();
        let shown = match masks.get(name) {
            None => column,
            Some(ColumnMask::Null) => {
                Expr::Literal(ScalarValue::try_from(kind).map_err(from_engine)?, None)
            }
            Some(ColumnMask::Constant(text)) => constant(name, text, kind)?,
            Some(ColumnMask::Sql(_)) => {
                match column.get_type(plan.schema()).map_err(from_engine)? {
                    same if same == *kind => column,
                    _ => cast(column, kind.clone()),
                }
            }
            Some(ColumnMask::With(mask)) => {
                mask.check(kind).map_err(|error| {
                    let said = format!("column \"{name}\": {}", error.message());
                    match error.hint_text() {
                        Some(hint) => Error::invalid(format!("{said}. {hint}")),
                        None => Error::invalid(said),
                    }
                })?;
                mask::call(Arc::clone(mask), kind, column)
            }
        };
        columns.push(shown.alias(name));
    }
    LogicalPlanBuilder::from(plan)
        .project(columns)
        .and_then(LogicalPlanBuilder::build)
        .map_err(from_engine)
}

fn constant(column: &str, text: &str, kind: &DataType) -> Result<Expr> {
    let value = ScalarValue::from(text).cast_to(kind);
    let value = value.map_err(|error| {
        Error::invalid(format!("the constant of column \"{column}\" is no {kind}")).caused_by(error)
    })?;
    Ok(lit(value))
}

impl Expression {
    /// Whether the text is one SQL expression, and the names it takes values by.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] saying where it ceases to be one.
    pub fn names(sql: &str) -> Result<BTreeSet<String>> {
        let mut names = Names::default();
        match parsed(sql)?.visit(&mut names) {
            ControlFlow::Continue(()) => Ok(names.0),
            ControlFlow::Break(never) => match never {},
        }
    }

    /// The expression with its values in place; none if one has no value.
    fn bound(&self) -> Result<Option<Sql>> {
        let mut expr = parsed(&self.sql)?;
        let mut binding = Binding { values: &self.values, lacks: false };
        match expr.visit(&mut binding) {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => Ok((!binding.lacks).then_some(expr)),
        }
    }
}

/// One expression.
pub(super) fn parsed(sql: &str) -> Result<Sql> {
    let parser = DFParserBuilder::new(sql).with_dialect(&GenericDialect {}).build();
    let mut parser = parser.map_err(from_engine)?;
    let expr = parser.parse_into_expr().map_err(from_engine)?;
    Ok(expr.expr)
}

/// The name of a place for a value: `$region`.
pub(super) fn place(expr: &Sql) -> Option<&str> {
    match expr {
        Sql::Value(value) => match &value.value {
            Value::Placeholder(name) => name.strip_prefix('$'),
            _ => None,
        },
        _ => None,
    }
}

#[derive(Default)]
struct Names(BTreeSet<String>);

impl VisitorMut for Names {
    type Break = Infallible;

    fn pre_visit_expr(&mut self, expr: &mut Sql) -> ControlFlow<Infallible> {
        self.0.extend(place(expr).map(str::to_owned));
        ControlFlow::Continue(())
    }
}

struct Binding<'a> {
    values: &'a BTreeMap<String, Vec<Json>>,
    lacks: bool,
}

impl VisitorMut for Binding<'_> {
    type Break = Error;

    fn pre_visit_expr(&mut self, expr: &mut Sql) -> ControlFlow<Error> {
        // In a list several values are several members of it.
        if let Sql::InList { list, .. } = expr {
            let mut full = Vec::with_capacity(list.len());
            for one in std::mem::take(list) {
                match place(&one) {
                    None => full.push(one),
                    Some(name) => {
                        let values = self.values.get(name).map(Vec::as_slice).unwrap_or_default();
                        self.lacks |= values.is_empty();
                        full.extend(values.iter().map(literal));
                    }
                }
            }
            *list = full;
            return ControlFlow::Continue(());
        }
        let Some(name) = place(expr) else { return ControlFlow::Continue(()) };
        match self.values.get(name).map(Vec::as_slice).unwrap_or_default() {
            [] => {
                self.lacks = true;
                *expr = null();
            }
            [one] => *expr = literal(one),
            several => {
                let error = Error::invalid(format!(
                    "${name} has {} values for this reader, and one is compared with",
                    several.len()
                ));
                return ControlFlow::Break(error.hint(format!("Write in (${name}).")));
            }
        }
        ControlFlow::Continue(())
    }
}

/// A value as the parser would have read it.
fn literal(value: &Json) -> Sql {
    Sql::value(match value {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Boolean(*flag),
        Json::Number(number) => Value::Number(number.to_string(), false),
        Json::String(text) => Value::SingleQuotedString(text.clone()),
        other => Value::SingleQuotedString(other.to_string()),
    })
}

/// What hides below a table that is seen in part, for the names of hidden columns.
pub(super) fn told_of_hidden(
    sights: &BTreeMap<TableName, Sight>,
    read: &BTreeSet<TableName>,
    column: &str,
) -> Option<Error> {
    let seen = read.iter().filter_map(|name| Some((name, sights.get(name)?)));
    seen.filter_map(|(name, sight)| sight.hides(name, column)).next()
}
