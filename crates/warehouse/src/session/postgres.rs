//! Statements of clients of PostgreSQL: parsed in its words where they ask its catalogue, planned as all others.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::config::Dialect;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    DataType as Type, Expr as Sql, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    ObjectName, ObjectNamePart, Query, Statement as Parsed, TableAlias, TableFactor, Value, Visit,
    VisitMut, Visitor, VisitorMut,
};
use flywheel_base::{ErrorKind, Result};

use super::sight::place;
use super::{Catalog, Parameter, Parameters, Session, dialect, guard};
use crate::TableName;
use crate::engine::DEFAULT_SCHEMA;
use crate::postgres::{
    Planned, Spoken, Told, list_of, mentions_catalogue, path, translate, type_of, type_of_cast,
};

/// Functions that look up what a text names.
const LOOK_UPS: [&str; 3] = ["to_regclass", "to_regtype", "current_setting"];
/// Types whose values are looked up by their names.
const NAMED: [&str; 5] = ["regclass", "regtype", "regnamespace", "regproc", "regprocedure"];

impl Session {
    /// As [`Session::query_with`], for a client of PostgreSQL, which also asks that database's catalogue, in its words.
    ///
    /// # Errors
    /// As [`Session::query_with`].
    pub async fn query_as_postgres(
        &self,
        sql: &str,
        told: &Told<'_>,
        values: &Parameters,
    ) -> Result<Planned> {
        let state = self.state();
        let Heard { statement, spoken, .. } = heard(&state, &self.catalog, sql, told, values)?;
        let query = Box::pin(self.planned(state, statement, values)).await?;
        let schema = query.schema();
        let names = spoken.names(schema.fields().iter().map(|field| field.name()));
        Ok(Planned { query, names })
    }

    /// The places for values of such a statement, `1` for `$1`, with the numbers of the types in `pg_type` that follow from
    /// where they stand; none where nothing follows.
    ///
    /// # Errors
    /// As [`Session::query_with`]; where only a missing type keeps the statement from being planned, there are none.
    pub async fn parameters_as_postgres(
        &self,
        sql: &str,
        told: &Told<'_>,
    ) -> Result<BTreeMap<String, Option<u32>>> {
        let state = self.state();
        let Heard { mut statement, places, .. } =
            heard(&state, &self.catalog, sql, told, &Parameters::new())?;
        let Places { mut found, listed } = places;
        if found.is_empty() {
            return Ok(found);
        }
        if let Some(parsed) = parsed(&mut statement) {
            let visited = parsed.visit(&mut Members);
            debug_assert!(visited.is_continue(), "the visitor does not stop");
        }
        let mut read = BTreeSet::new();
        self.resolver(&state).statement(&mut statement, &mut Vec::new(), &mut read).await?;
        let plan = match guard::plan_telling(&state, statement, &|_| None).await {
            Ok(plan) => plan,
            // Planned again with its values, it says what is wrong.
            Err(error) if error.kind() == ErrorKind::Invalid => return Ok(found),
            Err(error) => return Err(error),
        };
        let catalogue = mentions_catalogue(sql);
        for (place, kind) in kinds(&plan) {
            if let Some(known) = found.get_mut(&place)
                && known.is_none()
            {
                let oid = type_of(&kind, catalogue);
                *known = Some(if listed.contains(&place) { list_of(oid) } else { oid });
            }
        }
        Ok(found)
    }
}

/// A statement in our words.
struct Heard {
    statement: Statement,
    spoken: Spoken,
    /// Its places for values, as they were before it was put in our words: what is answered without being planned has them, too.
    places: Places,
}

fn heard(
    state: &SessionState,
    catalog: &Catalog,
    sql: &str,
    told: &Told<'_>,
    values: &Parameters,
) -> Result<Heard> {
    let usual = state.config_options().sql_parser.dialect;
    let spoken = if mentions_catalogue(sql) { Dialect::PostgreSQL } else { usual };
    let mut statement = guard::parse_in(state, sql, spoken)?;
    let mut places = Places::default();
    if let Some(parsed) = parsed(&mut statement) {
        let visited = parsed.visit(&mut places);
        debug_assert!(visited.is_continue(), "the visitor does not stop");
        let visited = parsed.visit(&mut Names(values));
        debug_assert!(visited.is_continue(), "the visitor does not stop");
        find_in_path(parsed, catalog, path(told.settings).collect());
    }
    let spoken = translate(&mut statement, told)?;
    dialect::translate(&mut statement)?;
    Ok(Heard { statement, spoken, places })
}

/// Gives tables without a schema the first one of the client's path that has such a table.
fn find_in_path(parsed: &mut Parsed, catalog: &Catalog, schemas: Vec<&str>) {
    // There it is looked for first in any case.
    if schemas.iter().all(|schema| *schema == DEFAULT_SCHEMA) {
        return;
    }
    let mut own = Own(BTreeSet::new());
    let visited = Visit::visit(&*parsed, &mut own);
    debug_assert!(visited.is_continue(), "the visitor does not stop");
    let visited = VisitMut::visit(parsed, &mut Path { catalog, schemas, own });
    debug_assert!(visited.is_continue(), "the visitor does not stop");
}

/// A name as the engine knows it.
fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The names of a statement's own parts, `WITH name AS …`.
struct Own(BTreeSet<String>);

impl Visitor for Own {
    type Break = Infallible;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Infallible> {
        let parts = query.with.iter().flat_map(|with| &with.cte_tables);
        self.0.extend(parts.map(|part| folded(&part.alias.name)));
        ControlFlow::Continue(())
    }
}

/// The schemas in which tables without one are looked for.
struct Path<'a> {
    catalog: &'a Catalog,
    schemas: Vec<&'a str>,
    own: Own,
}

impl VisitorMut for Path<'_> {
    type Break = Infallible;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Infallible> {
        let TableFactor::Table { name, alias, args: None, .. } = factor else {
            return ControlFlow::Continue(());
        };
        let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else {
            return ControlFlow::Continue(());
        };
        let (ident, table) = (ident.clone(), folded(ident));
        if self.own.0.contains(&table) {
            return ControlFlow::Continue(());
        }
        let has = |schema: &&&str| self.catalog.contains(&TableName::new(**schema, table.as_str()));
        if let Some(schema) = self.schemas.iter().find(has) {
            let parts = [Ident::with_quote('"', *schema), Ident::with_quote('"', table.as_str())];
            *name = ObjectName(parts.into_iter().map(ObjectNamePart::Identifier).collect());
            if alias.is_none() {
                *alias =
                    Some(TableAlias { explicit: true, name: ident, columns: Vec::new(), at: None });
            }
        }
        ControlFlow::Continue(())
    }
}

/// What was parsed, also behind EXPLAIN.
fn parsed(statement: &mut Statement) -> Option<&mut Parsed> {
    match statement {
        Statement::Statement(parsed) => Some(parsed.as_mut()),
        Statement::Explain(explain) => parsed(&mut explain.statement),
        _ => None,
    }
}

/// The places for values, with the number of the type that each is cast to.
#[derive(Default)]
struct Places {
    found: BTreeMap<String, Option<u32>>,
    /// Those that are lists, since something is compared with their items.
    listed: BTreeSet<String>,
}

impl VisitorMut for Places {
    type Break = Infallible;

    fn pre_visit_expr(&mut self, expr: &mut Sql) -> ControlFlow<Infallible> {
        match &*expr {
            Sql::AnyOp { right, .. } | Sql::AllOp { right, .. } => {
                self.listed.extend(place(bare(right)).map(str::to_owned));
            }
            Sql::Cast { expr, data_type, .. } => {
                if let Some(name) = place(bare(expr))
                    && let Some(oid) = type_of_cast(&data_type.to_string())
                {
                    self.found.insert(name.to_owned(), Some(oid));
                }
            }
            expr => {
                if let Some(name) = place(expr) {
                    self.found.entry(name.to_owned()).or_default();
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// An expression without the brackets around it.
fn bare(mut expr: &Sql) -> &Sql {
    while let Sql::Nested(inner) = expr {
        expr = inner;
    }
    expr
}

/// Writes `x = ANY($1)` as `x IN ($1)`, so that the type of an item follows from what it is compared with.
struct Members;

impl VisitorMut for Members {
    type Break = Infallible;

    fn pre_visit_expr(&mut self, expr: &mut Sql) -> ControlFlow<Infallible> {
        let member = match &*expr {
            Sql::AnyOp { left, right, .. } | Sql::AllOp { left, right, .. } => {
                let list = bare(right);
                place(list).map(|_| (left.clone(), list.clone()))
            }
            _ => None,
        };
        if let Some((expr_of, item)) = member {
            *expr = Sql::InList { expr: expr_of, list: vec![item], negated: false };
        }
        ControlFlow::Continue(())
    }
}

/// Puts values in the places of names that are looked up before anything is planned: `$1::regclass`, `to_regtype($1)`. They
/// become numbers or texts of our own, and are not read as parts of a statement.
struct Names<'a>(&'a Parameters);

impl Names<'_> {
    fn say(&self, expr: &mut Sql) {
        let text = place(expr).and_then(|name| self.0.get(name)).and_then(Parameter::text);
        if let Some(text) = text.map(str::to_owned) {
            *expr = Sql::value(Value::SingleQuotedString(text));
        }
    }
}

impl VisitorMut for Names<'_> {
    type Break = Infallible;

    fn pre_visit_expr(&mut self, expr: &mut Sql) -> ControlFlow<Infallible> {
        match expr {
            Sql::Cast { expr, data_type, .. } if is_named(data_type) => self.say(expr),
            Sql::Function(function) => {
                let name = function.name.to_string().to_ascii_lowercase();
                let looks_up = LOOK_UPS.contains(&name.trim_start_matches("pg_catalog."));
                if let FunctionArguments::List(list) = &mut function.args
                    && looks_up
                {
                    for argument in &mut list.args {
                        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) = argument {
                            self.say(argument);
                        }
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Whether values of a type are looked up by their names.
fn is_named(data_type: &Type) -> bool {
    let word = data_type.to_string().to_ascii_lowercase();
    NAMED.contains(&word.trim_start_matches("pg_catalog."))
}

/// The types of places that follow from what they are compared with.
fn kinds(plan: &LogicalPlan) -> BTreeMap<String, DataType> {
    let mut found = BTreeMap::new();
    let walked = plan.apply_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        let counts = matches!(node, LogicalPlan::Limit(_));
        node.apply_expressions(|expr| {
            // What gives no type says nothing about the others.
            let Ok((typed, _)) = expr.clone().infer_placeholder_types(&schema) else {
                return Ok(TreeNodeRecursion::Continue);
            };
            typed.apply(|part| {
                if let Expr::Placeholder(placeholder) = part {
                    let kind = placeholder.field.as_ref().map(|field| field.data_type().clone());
                    if let Some(kind) = kind.or_else(|| counts.then_some(DataType::Int64)) {
                        let name = placeholder.id.trim_start_matches('$').to_owned();
                        found.entry(name).or_insert(kind);
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    debug_assert!(walked.is_ok(), "the visitor does not fail");
    found
}
