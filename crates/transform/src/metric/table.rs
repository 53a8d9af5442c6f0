//! Metrics as tables in SQL: `metrics.<semantic view>`.
//!
//! A query block that reads such a table is a question: the dimensions it names are what metrics are grouped by, its
//! `WHERE` is the question's filter, its `HAVING` is a condition on the answer. The question is compiled as every other
//! and takes the table's place, so that no row is counted twice. What cannot be a question is refused with the reason:
//! a join in the block, an aggregate of a metric, a star.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, GroupByExpr, Ident, ObjectName, ObjectNamePart, Select, SelectItem, SetExpr,
    Statement, TableFactor, VisitMut, VisitorMut, visit_expressions, visit_expressions_mut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use flywheel_base::{Error, Result, suggest};
use flywheel_project::Project;
use flywheel_project::metric::table::{SCHEMA, TableColumns, mentions};
use flywheel_project::metric::{Semantics, TIME};
use flywheel_project::resource::semantic::Semantic;

use super::{MetricQuery, Tables, compile_over};
use crate::testing::{quoted, quoted_table};

/// The functions that add up rows, of which a metric has none left.
const AGGREGATES: [&str; 20] = [
    "sum",
    "count",
    "avg",
    "min",
    "max",
    "median",
    "mean",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "var",
    "var_pop",
    "var_samp",
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "percentile_cont",
    "quantile_cont",
    "first_value",
    "last_value",
];

/// Puts the answers of questions in the place of `metrics.*` tables; none if the statement reads none.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown semantic view or column; [`flywheel_base::ErrorKind::Invalid`] if
/// a block is no question, or the question cannot be answered without counting rows twice.
pub fn expand_metrics(project: &Project, sql: &str) -> Result<Option<String>> {
    expand_over(project, &BTreeMap::new(), sql)
}

/// As [`expand_metrics`], with other names for some tables, by their names in SQL.
pub(crate) fn expand_over(
    project: &Project,
    instead: &BTreeMap<String, String>,
    sql: &str,
) -> Result<Option<String>> {
    let expander = Expander::new(Tables { project, instead }, None);
    Ok(expander.expand(sql)?.map(|(sql, _)| sql))
}

/// A block that reads a semantic view, apart from the query around it.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// The table it reads, `metrics.<name>`.
    pub(crate) table: String,
    /// The query that gives the columns which the block names.
    pub(crate) sql: String,
}

/// The statement as it stands, its blocks reduced to what they read of `metrics.*`, and the questions that these
/// are; none if it reads none.
///
/// # Errors
/// As [`expand_metrics`].
pub(crate) fn metric_blocks(project: &Project, sql: &str) -> Result<Option<(String, Vec<Block>)>> {
    let instead = BTreeMap::new();
    let expander = Expander::new(Tables { project, instead: &instead }, Some(Vec::new()));
    expander.expand(sql)
}

struct Expander<'a> {
    tables: Tables<'a>,
    semantics: Semantics<'a>,
    found: bool,
    /// The questions, if they are kept apart from the statement.
    apart: Option<Vec<Block>>,
}

impl VisitorMut for Expander<'_> {
    type Break = Error;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        match self.select(select) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl<'a> Expander<'a> {
    fn new(tables: Tables<'a>, apart: Option<Vec<Block>>) -> Self {
        Self { tables, semantics: tables.project.semantics(), found: false, apart }
    }

    fn expand(mut self, sql: &str) -> Result<Option<(String, Vec<Block>)>> {
        if !mentions(sql) {
            return Ok(None);
        }
        // What is no SQL is told by the session, with its place.
        let Ok(mut statements) = Parser::parse_sql(&GenericDialect {}, sql) else {
            return Ok(None);
        };
        for statement in &mut statements {
            if !matches!(statement, Statement::Query(_) | Statement::Explain { .. }) {
                continue;
            }
            if let ControlFlow::Break(error) = statement.visit(&mut self) {
                return Err(error);
            }
        }
        let text = || statements.iter().map(ToString::to_string).collect::<Vec<_>>().join(";\n");
        Ok(self.found.then(|| (text(), self.apart.unwrap_or_default())))
    }

    fn select(&mut self, select: &mut Select) -> Result<()> {
        let mut named = select.from.iter().flat_map(|from| {
            std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation))
        });
        let Some(view) = named.find_map(|relation| self.view_of(relation)) else { return Ok(()) };
        let view = self.view(&view)?;
        let only = match select.from.as_slice() {
            [from] if from.joins.is_empty() => from,
            _ => {
                return Err(Error::invalid(format!(
                    "{SCHEMA}.{} is joined, which could count rows of a metric several times",
                    view.semantic
                ))
                .hint(format!(
                    "Group by the dimensions that it reaches, which are joined safely, such as {}; or put the question into a subquery of its own and join its answer.",
                    self.examples(view)
                )));
            }
        };
        if let TableFactor::Table { alias, sample, version, .. } = &only.relation
            && (sample.is_some()
                || version.is_some()
                || alias.as_ref().is_some_and(|alias| !alias.columns.is_empty()))
        {
            return Err(Error::invalid(format!(
                "{SCHEMA}.{} takes no sample, no version and no other names of columns",
                view.semantic
            ))
            .hint("Figures are those of all rows; name columns in SELECT."));
        }
        let alias = match &only.relation {
            TableFactor::Table { alias: Some(alias), .. } => alias.name.value.clone(),
            _ => view.semantic.clone(),
        };
        let question = self.question(select, view)?;
        let columns = self.semantics.table_columns(view);
        let compiled = compile_over(self.tables, &question)
            .map_err(|error| error.context(format!("{SCHEMA}.{}", view.semantic)))?;
        // The answer has what is grouped by first, in the order of the question.
        let mut shown = Vec::new();
        for (column, by) in compiled.columns.iter().zip(question.by.iter().chain(&question.metrics))
        {
            let name = columns.dimensions.iter().find(|(_, known)| *known == by);
            let name = name.map_or(column.name.as_str(), |(name, _)| name.as_str());
            shown.push(format!("answer.{} AS {}", quoted(&column.name), quoted(name)));
        }
        let answer = format!("SELECT {} FROM ({}\n) AS answer", shown.join(", "), compiled.sql);
        let relation = match &mut self.apart {
            None => format!("({answer})"),
            Some(blocks) => {
                let table = format!("{SCHEMA}.{}", view.semantic);
                let relation = quoted_table(&table);
                blocks.push(Block { table, sql: answer });
                relation
            }
        };
        let derived = format!("SELECT 1 FROM {relation} AS {}", quoted(&alias));
        select.from = from_of(&derived)?;
        select.selection = select.having.take();
        select.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
        self.found = true;
        Ok(())
    }

    /// The semantic view that a relation names, if it is none of the project's own tables.
    fn view_of(&self, relation: &TableFactor) -> Option<String> {
        let TableFactor::Table { name: ObjectName(parts), .. } = relation else { return None };
        let [ObjectNamePart::Identifier(schema), ObjectNamePart::Identifier(name)] =
            parts.as_slice()
        else {
            return None;
        };
        let name = folded(name);
        let relation = format!("{SCHEMA}.{name}");
        let project = self.tables.project;
        let own = crate::names::model(project, &relation).is_some()
            || project.sources.contains_key(&relation);
        (folded(schema) == SCHEMA && !own).then_some(name)
    }

    fn view(&self, name: &str) -> Result<&'a Semantic> {
        self.semantics.view(name).ok_or_else(|| {
            let known: Vec<&str> =
                self.semantics.views().map(|view| view.semantic.as_str()).collect();
            let hint = match known.is_empty() {
                true => "The project has no semantic views: declare one in metrics/NAME.yaml."
                    .to_owned(),
                false => suggest::hint(name, known),
            };
            Error::not_found(format!("there is no semantic view \"{name}\"")).hint(hint)
        })
    }

    fn examples(&self, view: &'a Semantic) -> String {
        let columns = self.semantics.table_columns(view);
        let names: Vec<&str> = columns.paths.keys().take(3).map(String::as_str).collect();
        names.join(", ")
    }

    /// The question that a block asks.
    fn question(&self, select: &Select, view: &'a Semantic) -> Result<MetricQuery> {
        let columns = self.semantics.table_columns(view);
        let mut question = MetricQuery::default();
        let mut aliases = BTreeSet::new();
        for item in &select.projection {
            let expr = match item {
                SelectItem::UnnamedExpr(expr) => expr,
                SelectItem::ExprWithAlias { expr, alias } => {
                    aliases.insert(folded(alias));
                    expr
                }
                _ => {
                    let known = columns.metrics.iter().take(3).cloned().collect::<Vec<_>>();
                    return Err(Error::invalid(format!(
                        "* of {SCHEMA}.{} asks for every metric by every dimension",
                        view.semantic
                    ))
                    .hint(format!(
                        "Name columns: metrics such as {}, and what they are grouped by.",
                        known.join(", ")
                    )));
                }
            };
            self.uses(expr, &columns, view, &mut question)?;
        }
        let (by, modifiers) = match &select.group_by {
            GroupByExpr::All(modifiers) => (&[][..], modifiers),
            GroupByExpr::Expressions(by, modifiers) => (by.as_slice(), modifiers),
        };
        if !modifiers.is_empty() || by.iter().any(groups_repeatedly) {
            return Err(Error::invalid(format!(
                "{SCHEMA}.{} is grouped in several ways at once",
                view.semantic
            ))
            .hint(
                "Ask for each grouping by itself, and bring the answers together by UNION ALL.",
            ));
        }
        for expr in by {
            let alias = column_of(expr).is_some_and(|name| aliases.contains(&name));
            let position = matches!(expr, Expr::Value(_));
            if !alias && !position {
                self.uses(expr, &columns, view, &mut question)?;
            }
        }
        if let Some(having) = &select.having {
            self.uses(having, &columns, view, &mut question)?;
        }
        if let Some(condition) = &select.selection {
            question.filter = Some(self.filter(condition, &columns, view)?);
        }
        if question.metrics.is_empty() {
            return Err(Error::invalid(format!(
                "a question to {SCHEMA}.{} names no metric",
                view.semantic
            ))
            .hint(suggest::hint("", columns.metrics.iter().map(String::as_str))));
        }
        Ok(question)
    }

    /// Notes the metrics and dimensions that an expression names.
    fn uses(
        &self,
        expr: &Expr,
        columns: &TableColumns,
        view: &Semantic,
        question: &mut MetricQuery,
    ) -> Result<()> {
        let visited = visit_expressions(expr, |part| {
            if let Expr::Function(Function { name, over: None, .. }) = part
                && AGGREGATES.contains(&name.to_string().to_lowercase().as_str())
            {
                return ControlFlow::Break(
                    Error::invalid(format!("{name} of a column of {SCHEMA}.{}", view.semantic)).hint(
                        "A metric is added up already, by what the query groups by: name it alone.",
                    ),
                );
            }
            let Some(name) = column_of(part) else { return ControlFlow::Continue(()) };
            let (list, word) = if let Some(by) = columns.dimensions.get(&name) {
                (&mut question.by, by.clone())
            } else if columns.metrics.contains(&name) {
                (&mut question.metrics, name)
            } else {
                return ControlFlow::Break(unknown(&name, columns, view));
            };
            if !list.contains(&word) {
                list.push(word);
            }
            ControlFlow::Continue(())
        });
        match visited {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => Ok(()),
        }
    }

    /// A condition on rows, in the words of a question.
    fn filter(&self, condition: &Expr, columns: &TableColumns, view: &Semantic) -> Result<String> {
        let mut condition = condition.clone();
        let visited = visit_expressions_mut(&mut condition, |part| {
            let Some(name) = column_of(part) else { return ControlFlow::Continue(()) };
            if let Some(path) = columns.paths.get(&name) {
                let idents: Vec<Ident> = path.iter().map(Ident::new).collect();
                *part = match idents.as_slice() {
                    [only] => Expr::Identifier(only.clone()),
                    _ => Expr::CompoundIdentifier(idents),
                };
                return ControlFlow::Continue(());
            }
            let error = match columns.metrics.contains(&name) {
                true => Error::invalid(format!("WHERE cannot look at the metric \"{name}\""))
                    .hint("A metric exists only once rows are grouped: write HAVING."),
                false if columns.dimensions.contains_key(&name) => Error::invalid(format!(
                    "WHERE cannot look at periods such as \"{name}\""
                ))
                .hint("Compare the time dimension itself with dates: day >= date '2024-01-01'."),
                false => unknown(&name, columns, view),
            };
            ControlFlow::Break(error)
        });
        match visited {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => Ok(condition.to_string()),
        }
    }
}

fn unknown(name: &str, columns: &TableColumns, view: &Semantic) -> Error {
    let error = Error::not_found(format!("{SCHEMA}.{} has no column \"{name}\"", view.semantic));
    // A time itself stands in conditions alone. The one that rows are counted by is `time` for all metrics.
    let of = if view.time.as_deref() == Some(name) { TIME } else { name };
    let mut periods = Vec::from(["day", "month", "year"].map(|grain| format!("{of}_{grain}")));
    periods.retain(|period| columns.dimensions.contains_key(period));
    if columns.paths.contains_key(name) && !periods.is_empty() {
        let list = periods.join(", ");
        return error
            .hint(format!("It is a time, which WHERE takes; name periods, such as {list}."));
    }
    let known = columns.dimensions.keys().chain(&columns.metrics).map(String::as_str);
    error.hint(suggest::hint(name, known.collect::<Vec<_>>()))
}

/// Whether a part of GROUP BY groups more than once, as ROLLUP does. Some dialects read it as a function.
fn groups_repeatedly(expr: &Expr) -> bool {
    match expr {
        Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_) => true,
        Expr::Function(function) => {
            let name = function.name.to_string().to_lowercase();
            matches!(name.as_str(), "rollup" | "cube")
        }
        _ => false,
    }
}

/// The column that an expression is, if it is nothing else.
fn column_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(folded(name)),
        Expr::CompoundIdentifier(parts) => parts.last().map(folded),
        _ => None,
    }
}

fn folded(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

/// The FROM clause of a query that we wrote.
fn from_of(sql: &str) -> Result<Vec<datafusion::sql::sqlparser::ast::TableWithJoins>> {
    let parsed = Parser::parse_sql(&GenericDialect {}, sql)
        .map_err(|error| Error::internal("the answer of a question is no SQL").caused_by(error))?;
    let query = match parsed.into_iter().next() {
        Some(Statement::Query(query)) => query.body,
        _ => return Err(Error::internal("the answer of a question is no query")),
    };
    match *query {
        SetExpr::Select(select) => Ok(select.from),
        _ => Err(Error::internal("the answer of a question is no query")),
    }
}
