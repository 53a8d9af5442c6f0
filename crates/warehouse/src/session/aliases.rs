//! Names that a SELECT gives to columns and uses itself: `select a + b as total, total * 2 as twice`.
//!
//! DuckDB, Snowflake and others read a name that no column has as what the same SELECT called so, further left in
//! its list, or anywhere in the list for its WHERE. The engine knows columns only and says that there is none. So a
//! query that fails for a missing column is written out: the name is replaced by what it stands for, in the SELECT
//! in which the engine missed it and nowhere else. Where there is a column of that name, the engine has found it.

use std::ops::ControlFlow;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectNamePart, Query, Select, SelectItem, Statement as Sql, UnaryOperator,
    VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::{Location, Span};
use flywheel_base::Error;

/// How many names are written out in one statement.
const NAMES_MAX: usize = 200;

/// How many expressions a statement may have with its names written out, since names of names multiply.
const EXPRESSIONS_MAX: usize = 20_000;

/// How deep its expressions may be within each other, since planning and letting go of them needs stack. What is
/// written out of two such is not deeper than one chain of operators may be.
const DEPTH_MAX: usize = 1_000;

/// How many columns may be wanted a type of within one expression, one after the other.
const UNTYPED_MAX: usize = 8;

/// Functions that give another value each time, so that writing them out twice would change what is meant.
const VOLATILE: &[&str] = &["random", "rand", "uuid", "gen_random_uuid"];

/// Plans a statement, with its names written out where it needs that. What `told` gives a reason for is a column
/// that is withheld, and never taken for a name.
pub(super) async fn plan(
    state: &SessionState,
    statement: Statement,
    told: &(dyn Fn(&str) -> Option<Error> + Sync),
) -> Result<LogicalPlan, DataFusionError> {
    let first = match state.statement_to_plan(statement.clone()).await {
        Err(error) if missing(&error).is_some() => error,
        planned => return planned,
    };
    match Box::pin(written_out(state, statement, told)).await {
        Some(statement) => state.statement_to_plan(statement).await,
        None => Err(first),
    }
}

/// A column that the engine did not find.
struct Missing {
    name: String,
    /// The number of the identifier that names it, if they are numbered.
    number: Option<u64>,
}

fn missing(error: &DataFusionError) -> Option<Missing> {
    let first = error.iter().next()?;
    let DataFusionError::SchemaError(schema, _) = first.find_root() else { return None };
    let SchemaError::FieldNotFound { field, .. } = schema.as_ref() else { return None };
    if field.relation.is_some() {
        return None;
    }
    let told = first.diagnostic().and_then(|told| told.span);
    let span = told.or_else(|| field.spans().first());
    Some(Missing { name: field.name.clone(), number: span.map(|span| span.start.line) })
}

/// The statement with its names written out, as far as that goes; none if nothing of it can be.
async fn written_out(
    state: &SessionState,
    mut statement: Statement,
    told: &(dyn Fn(&str) -> Option<Error> + Sync),
) -> Option<Statement> {
    let mut state = state.clone();
    state.config_mut().options_mut().sql_parser.collect_spans = true;
    let mut changed = false;
    for _ in 0..NAMES_MAX {
        let mut numbers = Numbers::default();
        let numbered = read(&mut statement)?.visit(&mut numbers);
        if numbered.is_break() {
            break;
        }
        let Err(error) = state.statement_to_plan(statement.clone()).await else {
            return Some(statement);
        };
        let found = match missing(&error) {
            // It wanted a type before it looked whether there is a column.
            Some(Missing { name, number: None }) => untyped(&state, &statement, &name).await,
            found => found,
        };
        let Some(Missing { name, number: Some(number) }) = found else { break };
        if told(&name).is_some() {
            break;
        }
        let mut writing = Writing { name: &name, number };
        if read(&mut statement)?.visit(&mut writing).is_continue() {
            break;
        }
        changed = true;
    }
    changed.then_some(statement)
}

/// What the engine misses in a statement if it needs no type of any column of that name, nor of others that it then
/// wants one of.
async fn untyped(state: &SessionState, statement: &Statement, name: &str) -> Option<Missing> {
    let mut statement = statement.clone();
    let mut name = name.to_owned();
    for _ in 0..UNTYPED_MAX {
        let visited = read(&mut statement)?.visit(&mut Untyped { name: &name });
        debug_assert!(visited.is_continue(), "the visitor does not stop");
        let found = missing(&state.statement_to_plan(statement.clone()).await.err()?)?;
        if found.number.is_some() {
            return Some(found);
        }
        if found.name == name {
            return None;
        }
        name = found.name;
    }
    None
}

/// What is planned, also behind EXPLAIN.
fn read(statement: &mut Statement) -> Option<&mut Sql> {
    match statement {
        Statement::Statement(sql) => Some(sql.as_mut()),
        Statement::Explain(explain) => read(&mut explain.statement),
        _ => None,
    }
}

/// Numbers identifiers, in place of where they stand in the text; stops if there are too many expressions, or some are
/// too deep.
#[derive(Default)]
struct Numbers {
    identifiers: u64,
    expressions: usize,
    depth: usize,
}

impl VisitorMut for Numbers {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.expressions += 1;
        self.depth += 1;
        if self.expressions > EXPRESSIONS_MAX || self.depth > DEPTH_MAX {
            return ControlFlow::Break(());
        }
        if let Expr::Identifier(ident) = expr {
            self.identifiers += 1;
            let place = Location { line: self.identifiers, column: 1 };
            ident.span = Span::new(place, place);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _: &mut Expr) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

/// Asks of every column of a name whether it is null, which is known without its type, and leaves out signs, which want
/// one of what they stand before.
struct Untyped<'a> {
    name: &'a str,
}

impl VisitorMut for Untyped<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let other = match &*expr {
            Expr::Identifier(ident) if name_of(ident) == self.name => {
                Expr::IsNull(Box::new(expr.clone()))
            }
            Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr: signed } => {
                Expr::clone(signed)
            }
            _ => return ControlFlow::Continue(()),
        };
        *expr = other;
        ControlFlow::Continue(())
    }
}

/// Writes a name out in the SELECT in which an identifier of that number stands; breaks off once it has.
struct Writing<'a> {
    name: &'a str,
    number: u64,
}

impl VisitorMut for Writing<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        match self.write(select) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

impl Writing<'_> {
    /// Whether the SELECT uses the identifier, says what its name stands for, and does not get too long by that.
    fn write(&self, select: &mut Select) -> bool {
        let uses = |expr: &mut Expr| expr.visit(&mut Use { sought: self, below: 0 }).is_break();
        let listed =
            select.projection.iter_mut().position(|item| expression(item).is_some_and(uses));
        let asked = listed.is_none() && select.selection.as_mut().is_some_and(uses);
        if listed.is_none() && !asked {
            return false;
        }
        let before = listed.unwrap_or(select.projection.len());
        let mut named = select.projection.iter_mut().take(before).enumerate();
        let meaning = named.find_map(|(at, item)| match item {
            SelectItem::ExprWithAlias { expr, alias } if name_of(alias) == self.name => {
                Some((at, expr))
            }
            _ => None,
        });
        let Some((at, meaning)) = meaning else { return false };
        if meaning.visit(&mut Chance).is_break() {
            return false;
        }
        let mut size = Numbers::default();
        if meaning.visit(&mut size).is_break() {
            return false;
        }
        let size = size.expressions + 1;
        let meaning = Expr::Nested(Box::new(meaning.clone()));
        let (name, most) = (self.name, EXPRESSIONS_MAX / size);
        let mut put = Put { name, meaning: &meaning, below: 0, count: 0, most };
        for item in select.projection.iter_mut().skip(at + 1) {
            let before = put.count;
            let called = match item {
                SelectItem::UnnamedExpr(Expr::Identifier(_)) => Some(self.name.to_owned()),
                SelectItem::UnnamedExpr(expr) => Some(expr.to_string()),
                _ => None,
            };
            let Some(expr) = expression(item) else { continue };
            if expr.visit(&mut put).is_break() {
                return false;
            }
            // The column goes by what was written, not by what it stands for.
            if put.count > before
                && let Some(called) = called
            {
                let (expr, alias) = (expr.clone(), Ident::with_quote('"', called));
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
        }
        match &mut select.selection {
            Some(condition) => condition.visit(&mut put).is_continue(),
            None => true,
        }
    }
}

/// The expression of an item of a SELECT's list; none of `*`.
fn expression(item: &mut SelectItem) -> Option<&mut Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

/// A name as the engine compares it.
fn name_of(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_ascii_lowercase(),
    }
}

/// Looks for an identifier by its number, outside of queries in brackets: those are looked at by themselves.
struct Use<'a> {
    sought: &'a Writing<'a>,
    below: usize,
}

impl VisitorMut for Use<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.below += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.below -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident)
                if self.below == 0
                    && ident.span.start.line == self.sought.number
                    && name_of(ident) == self.sought.name =>
            {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Puts what a name stands for in its place, outside of queries in brackets; breaks off before there are too many.
struct Put<'a> {
    name: &'a str,
    meaning: &'a Expr,
    below: usize,
    count: usize,
    most: usize,
}

impl VisitorMut for Put<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.below += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.below -= 1;
        ControlFlow::Continue(())
    }

    // Behind what is inside of it, so that what is put there is not looked into.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.below == 0
            && let Expr::Identifier(ident) = expr
            && name_of(ident) == self.name
        {
            if self.count >= self.most {
                return ControlFlow::Break(());
            }
            *expr = self.meaning.clone();
            self.count += 1;
        }
        ControlFlow::Continue(())
    }
}

/// Looks for a function that gives another value each time.
struct Chance;

impl VisitorMut for Chance {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let called = function.name.0.last().and_then(ObjectNamePart::as_ident);
        match called {
            Some(name) if VOLATILE.contains(&name.value.to_lowercase().as_str()) => {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}
