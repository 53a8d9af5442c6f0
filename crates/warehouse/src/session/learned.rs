//! `predict('learner', …)` and `recommend('learner', unit, k)`, before a statement is planned.
//!
//! ```text
//! predict('churn', *, price => 9)     ─► predict('churn', 'orders', "orders", 'price', 9)
//! from recommend('shop', 'u1', 5)     ─► from (select … from learn.shop where …) as recommend
//! ```
//! Which features there are is asked of the learner's newest fit, so a call names columns and never relies on an order.
//! A statement that calls a learner reads the table `learn.<learner>`: who may not read that may not ask the
//! learner either, and a model that asks it is built again after every fit.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, Query, Select, SelectItem, Statement as Sql, TableAlias, TableFactor, Value,
    VisitMut, VisitorMut, visit_expressions,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use flywheel_base::{Error, Result, suggest};

use super::{Catalog, Seen};
use crate::TableName;
use crate::failure::from_engine;
use crate::served::{Lent, Scorer, Served, unfitted};

/// The schema of what learners write.
const SCHEMA: &str = "learn";
/// The functions.
const PREDICT: &str = "predict";
const RECOMMEND: &str = "recommend";
/// How many items are recommended if nobody says.
const ITEMS: u64 = 10;
/// Items that a list is asked for at most.
const ITEMS_MAX: u64 = 1_000_000;
/// How many features an error names.
const NAMED_MAX: usize = 12;

/// What a statement asks of learners.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The tables of learners that predict.
    pub(super) tables: BTreeSet<TableName>,
    /// Columns that `*` stands for, each with the learner that wants it.
    columns: BTreeMap<String, String>,
}

impl Asked {
    /// Why a column that is not there was looked for, if nobody wrote it.
    pub(super) fn told(&self, column: &str) -> Option<Error> {
        self.columns.get(column).map(|learner| {
            Error::invalid(format!(
                "learner \"{learner}\" was fitted with the feature \"{column}\", and the rows have no such column"
            ))
            .hint(format!("Select it below, or give it in the call: `{column} => …`."))
        })
    }
}

/// Gives the calls of a statement the form that is planned.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown learner, or one without a fit;
/// [`flywheel_base::ErrorKind::Invalid`] if a call is not as it has to be;
/// [`flywheel_base::ErrorKind::Denied`] if the reader may not see the learner's scores.
pub(super) fn bind(
    statement: &mut Statement,
    learners: &Lent,
    catalog: &Catalog,
    of_view: bool,
) -> Result<Asked> {
    // A model that is a view gives what it would give as a table.
    let unfitted_is_null = of_view || catalog.unfitted_is_null;
    let mut binder = Binder { learners, catalog, unfitted_is_null, asked: Asked::default() };
    let walked = match statement {
        Statement::Statement(sql) => sql.as_mut().visit(&mut binder),
        Statement::Explain(explain) => {
            return bind(&mut explain.statement, learners, catalog, of_view);
        }
        _ => ControlFlow::Continue(()),
    };
    match walked {
        ControlFlow::Continue(()) => Ok(binder.asked),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Binder<'a> {
    learners: &'a Lent,
    catalog: &'a Catalog,
    unfitted_is_null: bool,
    asked: Asked,
}

impl VisitorMut for Binder<'_> {
    type Break = Error;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        for item in &mut select.projection {
            // Otherwise the column would be called by everything that the call becomes.
            if let SelectItem::UnnamedExpr(Expr::Function(function)) = item
                && is(&function.name, PREDICT)
            {
                let expr = Expr::Function(function.clone());
                *item = SelectItem::ExprWithAlias { expr, alias: Ident::new(PREDICT) };
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        let (args, alias) = match factor {
            TableFactor::Table { name, args: Some(args), alias, .. } if is(name, RECOMMEND) => {
                (&args.args, alias)
            }
            TableFactor::Function { name, args, alias, .. } if is(name, RECOMMEND) => {
                (&*args, alias)
            }
            _ => return ControlFlow::Continue(()),
        };
        match self.recommended(args) {
            Ok(subquery) => {
                let named = TableAlias {
                    explicit: true,
                    name: Ident::new(RECOMMEND),
                    columns: Vec::new(),
                    at: None,
                };
                let alias = Some(alias.take().unwrap_or(named));
                *factor = TableFactor::Derived { lateral: false, subquery, alias, sample: None };
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        if !is(&function.name, PREDICT) {
            return ControlFlow::Continue(());
        }
        match self.predicted(function) {
            Ok(Some(arguments)) => {
                let FunctionArguments::List(list) = &mut function.args else {
                    return ControlFlow::Continue(());
                };
                list.args = arguments;
                ControlFlow::Continue(())
            }
            Ok(None) => match expression("CAST(NULL AS DOUBLE)") {
                Ok(nothing) => {
                    *expr = nothing;
                    ControlFlow::Continue(())
                }
                Err(error) => ControlFlow::Break(error),
            },
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Binder<'_> {
    /// The table of a learner that there is.
    fn table(&self, learner: &str) -> Result<TableName> {
        let table = TableName::new(SCHEMA, learner);
        if self.catalog.contains(&table) {
            return Ok(table);
        }
        let known = self.catalog.names().filter(|name| name.schema == SCHEMA);
        Err(Error::not_found(format!("no learner \"{learner}\""))
            .hint(suggest::hint(learner, known.map(|name| name.name.as_str()))))
    }

    /// The arguments of a prediction as they are planned; none if it is NULL until the first fit.
    fn predicted(&mut self, function: &Function) -> Result<Option<Vec<FunctionArg>>> {
        let arguments = arguments(function)?;
        let Some((learner, given)) = arguments.split_first() else {
            return Err(no_learner(PREDICT));
        };
        let learner = quoted(learner).ok_or_else(|| no_learner(PREDICT))?;
        let table = self.table(learner)?;
        if let Some(sight) = self.catalog.sights.get(&table)
            && let Seen::Part { masks, hidden, .. } = &sight.seen
            && (masks.contains_key("score") || hidden.contains("score"))
        {
            return Err(sight.refusal(&format!("predict('{learner}')")));
        }
        let scorer = self.learners.scorer(learner)?;
        self.asked.tables.insert(table);
        let Some(scorer) = scorer else {
            return if self.unfitted_is_null { Ok(None) } else { Err(unfitted(learner)) };
        };
        let values = self.values(learner, scorer.as_ref(), given)?;
        let text = |text: &str| unnamed(Expr::value(Value::SingleQuotedString(text.to_owned())));
        let mut made = vec![text(learner)];
        for (feature, value) in values {
            made.extend([text(&feature), unnamed(value)]);
        }
        Ok(Some(made))
    }

    /// Each feature and its value, in the order of the learner's features.
    fn values(
        &mut self,
        learner: &str,
        scorer: &dyn Scorer,
        given: &[FunctionArg],
    ) -> Result<Vec<(String, Expr)>> {
        let features = scorer.features();
        let mut values: BTreeMap<String, Expr> = BTreeMap::new();
        let mut all: Option<Vec<Ident>> = None;
        for (at, argument) in given.iter().enumerate() {
            let (feature, value) = match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if all.is_none() => {
                    all = Some(Vec::new());
                    continue;
                }
                FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(of)) if all.is_none() => {
                    all = Some(identifiers(of));
                    continue;
                }
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value @ Expr::Identifier(name))) => {
                    (folded(name), value)
                }
                FunctionArg::Unnamed(FunctionArgExpr::Expr(
                    value @ Expr::CompoundIdentifier(path),
                )) => (path.last().map(folded).unwrap_or_default(), value),
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. }
                | FunctionArg::ExprNamed {
                    name: Expr::Identifier(name),
                    arg: FunctionArgExpr::Expr(value),
                    ..
                } => (folded(name), value),
                other => return Err(nameless(learner, at + 2, other, scorer)),
            };
            if !features.iter().any(|one| one.name == feature) {
                let names = features.iter().map(|one| one.name.as_str());
                return Err(Error::invalid(format!(
                    "learner \"{learner}\" has no feature \"{feature}\""
                ))
                .hint(suggest::hint(&feature, names)));
            }
            if values.insert(feature.clone(), value.clone()).is_some() {
                return Err(Error::invalid(format!(
                    "predict('{learner}') is given \"{feature}\" twice"
                ))
                .hint("Give each feature one value; one that is given goes before `*`."));
            }
        }
        let mut made = Vec::with_capacity(features.len());
        for feature in features {
            let value = match (values.remove(&feature.name), &all) {
                (Some(value), _) => value,
                (None, Some(of)) => {
                    self.asked.columns.insert(feature.name.clone(), learner.to_owned());
                    let column = Ident::with_quote('"', feature.name.as_str());
                    match of.is_empty() {
                        true => Expr::Identifier(column),
                        false => {
                            Expr::CompoundIdentifier(of.iter().cloned().chain([column]).collect())
                        }
                    }
                }
                (None, None) => {
                    return Err(Error::invalid(format!(
                        "predict('{learner}') is given no \"{}\"",
                        feature.name
                    ))
                    .hint(format!(
                        "Write `{0} => …`, or `*` if the rows have a column \"{0}\".",
                        feature.name
                    )));
                }
            };
            made.push((feature.name.clone(), value));
        }
        Ok(made)
    }

    /// The query for a unit's list.
    fn recommended(&self, arguments: &[FunctionArg]) -> Result<Box<Query>> {
        let usage = || {
            Error::invalid("recommend takes a learner, a unit and how many items")
                .hint("Write `from recommend('shop', 'customer-1', 10)`.")
        };
        let plain = arguments.iter().map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr),
            _ => Err(usage()),
        });
        let plain = plain.collect::<Result<Vec<_>>>()?;
        let (first, unit, count) = match plain.as_slice() {
            [_, unit] => (arguments.first(), *unit, ITEMS),
            [_, unit, count] => (arguments.first(), *unit, items(count)?),
            _ => return Err(usage()),
        };
        let learner = first.and_then(quoted).ok_or_else(|| no_learner(RECOMMEND))?;
        self.table(learner)?;
        match self.learners.served(learner)? {
            Some(Served::Lists(Some(top))) if count > top as u64 => {
                return Err(Error::invalid(format!(
                    "learner \"{learner}\" keeps {top} items for each unit, and {count} are asked for"
                ))
                .hint("Ask for fewer, or raise `top` in the learner's file."));
            }
            Some(Served::Lists(_)) => {}
            Some(_) => {
                return Err(Error::invalid(format!("learner \"{learner}\" recommends nothing"))
                    .hint(format!("Read what it learned from the table learn.{learner}.")));
            }
            None if self.unfitted_is_null => {}
            None => return Err(unfitted(learner)),
        }
        if of_rows(unit) {
            return Err(Error::invalid(
                "recommend makes a list for one unit, and here its unit is a column",
            )
            .hint(format!(
                "Join the lists of all units instead: `join learn.{learner} on user_id = {unit} and rank <= {count}`."
            )));
        }
        let lists = format!("{SCHEMA}.\"{}\"", learner.replace('"', "\"\""));
        let text = format!(
            "SELECT \"rank\", \"item_id\", \"score\", \"reason\", \"source\" FROM {lists} \
             WHERE \"user_id\" = coalesce((SELECT max(\"user_id\") FROM {lists} \
             WHERE \"user_id\" = CAST({unit} AS VARCHAR)), '*') AND \"rank\" <= {count} \
             ORDER BY \"rank\" LIMIT {count}"
        );
        let parsed = DFParserBuilder::new(text.as_str()).with_dialect(&GenericDialect {}).build();
        let parsed = parsed.and_then(|mut parser| parser.parse_statement()).map_err(from_engine)?;
        match parsed {
            Statement::Statement(sql) => match *sql {
                Sql::Query(query) => Ok(query),
                _ => Err(Error::internal("a list is no query")),
            },
            _ => Err(Error::internal("a list is no query")),
        }
    }
}

fn expression(text: &str) -> Result<Expr> {
    let parser = DFParserBuilder::new(text).with_dialect(&GenericDialect {}).build();
    parser.and_then(|mut parser| parser.parse_into_expr()).map(|e| e.expr).map_err(from_engine)
}

/// Whether a function is called by this name, without a schema.
fn is(name: &ObjectName, wanted: &str) -> bool {
    matches!(name.0.as_slice(), [ObjectNamePart::Identifier(ident)] if ident.value.eq_ignore_ascii_case(wanted))
}

fn arguments(function: &Function) -> Result<&[FunctionArg]> {
    let FunctionArguments::List(list) = &function.args else { return Err(no_learner(PREDICT)) };
    let plain = list.clauses.is_empty()
        && list.duplicate_treatment.is_none()
        && function.filter.is_none()
        && function.over.is_none()
        && function.within_group.is_empty();
    if plain {
        return Ok(&list.args);
    }
    Err(Error::invalid("predict scores row by row and takes no OVER, FILTER, DISTINCT or ORDER BY")
        .hint("Write `predict('learner', *)`, and aggregate around it."))
}

fn no_learner(function: &str) -> Error {
    let example = match function {
        PREDICT => "predict('churn', *)",
        _ => "from recommend('shop', 'customer-1', 10)",
    };
    Error::invalid(format!("{function} is not told which learner it asks"))
        .hint(format!("Give the learner's name in single quotes first: `{example}`."))
}

fn nameless(learner: &str, at: usize, argument: &FunctionArg, scorer: &dyn Scorer) -> Error {
    let mut names: Vec<&str> =
        scorer.features().iter().map(|feature| feature.name.as_str()).take(NAMED_MAX).collect();
    if scorer.features().len() > NAMED_MAX {
        names.push("…");
    }
    Error::invalid(format!(
        "argument {at} of predict('{learner}') does not say which feature it is: {argument}"
    ))
    .hint(format!("Write `feature => {argument}`; the features are {}.", names.join(", ")))
}

fn unnamed(expr: Expr) -> FunctionArg {
    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
}

/// The text of an argument that is one.
fn quoted(argument: &FunctionArg) -> Option<&str> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// How the engine calls a name.
fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

fn identifiers(name: &ObjectName) -> Vec<Ident> {
    name.0.iter().filter_map(|part| part.as_ident().cloned()).collect()
}

/// How many items are asked for.
fn items(count: &Expr) -> Result<u64> {
    let number = match count {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => text.parse().ok(),
            _ => None,
        },
        _ => None,
    };
    number.filter(|number| (1..=ITEMS_MAX).contains(number)).ok_or_else(|| {
        Error::invalid(format!("recommend is asked for {count} items"))
            .hint(format!("Write a whole number from 1 to {ITEMS_MAX}, such as 10."))
    })
}

/// Whether an expression has another value in each row.
fn of_rows(expr: &Expr) -> bool {
    if matches!(expr, Expr::Subquery(_)) {
        return false;
    }
    let found = visit_expressions(expr, |part| match part {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}
