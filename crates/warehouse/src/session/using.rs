//! Joins of tables by columns that both have: `join … using (id)`.
//!
//! `id` without a table is then one column: of the left table, of the right one in a `right join`, and of whichever has it in
//! a `full join`. The engine (DataFusion 55.2) takes the left table's everywhere, so that rows which only the right one has
//! lost their key; for `*` it takes that of the table whose name comes first, also where it was filled with NULLs, and both
//! for some names of three tables; and it refuses `id` of three, and any in `where`. So where it matters, a query is put in other words before it is planned:
//!
//! ```text
//! select id, w from a full join b using (id)        ─►  select coalesce(a.id, b.id) as id, w from a full join b using (id)
//! select * from b left join a using (id)            ─►  select b.id as id, b.* exclude (id), a.* exclude (id) from b left join a using (id)
//! … from a full join b using (id) join c using (id) ─►  … from a full join b using (id) join c on coalesce(a.id, b.id) = c.id
//! ```
//!
//! All other queries stay as they are, and so do those of which cannot be told from the statement alone whose column is meant.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Distinct, ExcludeSelectItem, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, OrderBy, OrderByKind, Query,
    ReplaceSelectElement, ReplaceSelectItem, Select, SelectItem, SelectItemQualifiedWildcardKind,
    SetExpr, TableFactor, TableWithJoins, Value, VisitMut, VisitorMut, WildcardAdditionalOptions,
};
use flywheel_base::{Error, Result};

use super::dialect::{parsed, part_of};
use super::parameters::folded;

/// Puts every query of a statement in words that the engine understands rightly.
pub(super) struct SharedColumns;

impl VisitorMut for SharedColumns {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        match in_body(&mut query.body, query.order_by.as_mut()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// Queries in brackets are visited themselves.
fn in_body(body: &mut SetExpr, order: Option<&mut OrderBy>) -> Result<()> {
    match body {
        SetExpr::Select(select) => in_select(select, order),
        // What is sorted then are columns of the answer.
        SetExpr::SetOperation { left, right, .. } => {
            in_body(left, None)?;
            in_body(right, None)
        }
        _ => Ok(()),
    }
}

/// Of which sides a join keeps rows without a match.
#[derive(Clone, Copy, PartialEq)]
enum Kept {
    Neither,
    Left,
    Right,
    Both,
}

/// A table or query that is joined.
struct Relation {
    /// By what its columns are asked for.
    name: Ident,
    /// By what all of them are.
    all: ObjectName,
    /// Columns that are another relation's, too.
    shared: Vec<Ident>,
}

/// A column that several relations share.
struct Column {
    name: Ident,
    /// What it is, made of columns of relations.
    value: Expr,
    /// The relation whose column that is, by its place; none if it is made of several.
    of: Option<usize>,
    /// The relations that share it.
    among: Vec<usize>,
    /// Whether it may be another one in each of them.
    differs: bool,
}

/// What the joins of a query share.
#[derive(Default)]
struct Joined {
    relations: Vec<Relation>,
    /// In the order in which they were first named.
    columns: Vec<Column>,
    /// The joins that the engine does not understand, with the condition that it does.
    conditions: BTreeMap<usize, Expr>,
}

fn in_select(select: &mut Select, mut order: Option<&mut OrderBy>) -> Result<()> {
    let [from] = select.from.as_mut_slice() else { return Ok(()) };
    let Some(joined) = joined(from)? else { return Ok(()) };
    // Here the engine refuses them all.
    Named::of(joined.columns.iter()).in_part(&mut select.selection);
    let all = select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_)));
    let astray = all && !joined.is_told();
    if !astray && !joined.columns.iter().any(Column::is_mistaken) {
        return Ok(());
    }
    let odd = |item: &SelectItem| matches!(item, SelectItem::Wildcard(said) if !is_plain(said));
    let odd = astray && select.projection.iter().any(odd);
    if odd && !joined.is_replaced() {
        return Ok(());
    }
    // A table's column cannot stand beside one of the answer that has its name and is computed.
    let computed = joined.columns.iter().filter(|column| odd || column.of.is_none());
    let names = computed.map(|column| folded(&column.name)).collect();
    if order.as_deref_mut().is_some_and(|order| Beside::is_in(order, names)) {
        return Ok(());
    }
    for (place, condition) in &joined.conditions {
        let join = from.joins.get_mut(*place);
        if let Some((_, by)) = join.and_then(|join| constraint(&mut join.join_operator)) {
            *by = JoinConstraint::On(condition.clone());
        }
    }
    let mut named = Named::of(joined.columns.iter().filter(|column| column.is_mistaken()));
    let outputs: Vec<String> = select.projection.iter().filter_map(output).collect();
    let any = all
        || select.projection.iter().any(|item| matches!(item, SelectItem::QualifiedWildcard(..)));
    let items = std::mem::take(&mut select.projection);
    select.projection =
        items.into_iter().flat_map(|item| joined.item(item, astray, &mut named)).collect();
    if let Some(Distinct::On(exprs)) = &mut select.distinct {
        named.in_part(exprs);
    }
    named.in_part(&mut select.group_by);
    named.in_part(&mut select.having);
    named.in_part(&mut select.named_window);
    named.in_part(&mut select.qualify);
    // A column of the answer comes before one of a table.
    named.values.retain(|name, _| !any && !outputs.contains(name));
    if let Some(OrderBy { kind: OrderByKind::Expressions(by), .. }) = order {
        for by in by {
            named.in_part(&mut by.expr);
        }
    }
    Ok(())
}

/// Whether `*` says nothing else.
fn is_plain(options: &WildcardAdditionalOptions) -> bool {
    let wildcard_token = options.wildcard_token.clone();
    *options == WildcardAdditionalOptions { wildcard_token, ..WildcardAdditionalOptions::default() }
}

/// What the joins share; none if that cannot be told.
fn joined(from: &mut TableWithJoins) -> Result<Option<Joined>> {
    let mut all = Joined::default();
    let uses = |operator: &mut JoinOperator| {
        matches!(constraint(operator), Some((_, JoinConstraint::Using(_))))
    };
    if !from.joins.iter_mut().any(|join| uses(&mut join.join_operator)) {
        return Ok(None);
    }
    let Some(first) = relation(&from.relation) else { return Ok(None) };
    all.relations.push(first);
    for (place, join) in from.joins.iter_mut().enumerate() {
        let Some(mut right) = relation(&join.relation) else { return Ok(None) };
        if all.relations.iter().any(|other| folded(&other.name) == folded(&right.name)) {
            return Ok(None);
        }
        let (kept, shared) = match constraint(&mut join.join_operator) {
            Some((kept, JoinConstraint::Using(columns))) => (kept, columns.as_slice()),
            Some((_, JoinConstraint::Natural)) | None => return Ok(None),
            Some(_) => (Kept::Neither, <&[ObjectName]>::default()),
        };
        let own_place = all.relations.len();
        let mut conditions = Vec::new();
        let mut foreign = false;
        for column in shared {
            let [ObjectNamePart::Identifier(column)] = column.0.as_slice() else {
                return Ok(None);
            };
            let known = all.columns.iter().position(|one| folded(&one.name) == folded(column));
            let before = match (known, all.relations.as_slice()) {
                (Some(at), _) => all.columns.remove(at),
                (None, [only]) => Column::of(only, column),
                // It may be any one's.
                (None, _) => return Ok(None),
            };
            let (left, own) = (&before.value, of(&right.name, column));
            conditions.push(format!("{left} = {own}"));
            // The engine joins by the first table's column, and by none of three.
            foreign |= before.is_mistaken();
            let value = match kept {
                Kept::Neither | Kept::Left => left.clone(),
                Kept::Both => parsed(&format!("coalesce({left}, {own})"))?,
                Kept::Right => own,
            };
            let whose = match kept {
                Kept::Neither | Kept::Left => before.of,
                Kept::Right => Some(own_place),
                Kept::Both => None,
            };
            let mut among = before.among;
            among.push(own_place);
            let differs = before.differs || kept != Kept::Neither;
            let column = Column { name: before.name, value, of: whose, among, differs };
            right.shared.push(column.name.clone());
            all.columns.insert(known.unwrap_or(all.columns.len()), column);
        }
        if foreign {
            all.conditions.insert(place, parsed(&conditions.join(" AND "))?);
        }
        all.relations.push(right);
    }
    Ok(Some(all))
}

/// Of which rows a join keeps those without a match, and what it joins by; none if it shows one side only, or is another one.
fn constraint(operator: &mut JoinOperator) -> Option<(Kept, &mut JoinConstraint)> {
    match operator {
        JoinOperator::Join(by) | JoinOperator::Inner(by) | JoinOperator::CrossJoin(by) => {
            Some((Kept::Neither, by))
        }
        JoinOperator::Left(by) | JoinOperator::LeftOuter(by) => Some((Kept::Left, by)),
        JoinOperator::Right(by) | JoinOperator::RightOuter(by) => Some((Kept::Right, by)),
        JoinOperator::FullOuter(by) => Some((Kept::Both, by)),
        _ => None,
    }
}

/// What is joined, if it has a name.
fn relation(factor: &TableFactor) -> Option<Relation> {
    let alias = match factor {
        TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. } => alias.as_ref(),
        _ => return None,
    };
    let (name, all) = match (alias, factor) {
        (Some(alias), _) => (alias.name.clone(), ObjectName::from(alias.name.clone())),
        (None, TableFactor::Table { name, args: None, .. }) => match name.0.last()? {
            ObjectNamePart::Identifier(last) => (last.clone(), name.clone()),
            ObjectNamePart::Function(_) => return None,
        },
        (None, _) => return None,
    };
    Some(Relation { name, all, shared: Vec::new() })
}

/// A relation's column.
fn of(relation: &Ident, column: &Ident) -> Expr {
    Expr::CompoundIdentifier(vec![relation.clone(), column.clone()])
}

/// What an item of a query is called, if it says so.
fn output(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(Expr::Identifier(name))
        | SelectItem::ExprWithAlias { alias: name, .. } => Some(folded(name)),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => names.last().map(folded),
        _ => None,
    }
}

impl Joined {
    /// Whether `*` has all shared columns once, and each as it is.
    fn is_told(&self) -> bool {
        let told = |column: &Column| {
            let taken = self.taken(column);
            taken.is_some() && (!column.differs || column.of == taken)
        };
        self.conditions.is_empty() && self.columns.iter().all(told)
    }

    /// Whether `*` has all shared columns once, so that something else can be said for them.
    fn is_replaced(&self) -> bool {
        self.conditions.is_empty() && self.columns.iter().all(|column| self.taken(column).is_some())
    }

    /// The relation whose column the engine takes for a shared one in `*`; none if it takes several. Of the first relation
    /// and each other it leaves out the one whose name comes later.
    fn taken(&self, column: &Column) -> Option<usize> {
        let rank = |place: usize| self.relations.get(place).map(Relation::rank);
        let (first, others) = column.among.split_first()?;
        let mut taken = column.among.clone();
        for other in others {
            let left_out = if rank(*first) < rank(*other) { other } else { first };
            taken.retain(|place| place != left_out);
        }
        match taken.as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }

    /// An item of a query in the engine's words; `astray` says whether it has others for `*`.
    fn item(&self, mut item: SelectItem, astray: bool, named: &mut Named) -> Vec<SelectItem> {
        match &mut item {
            SelectItem::Wildcard(options) if astray && !is_plain(options) => {
                named.in_part(options);
                self.replace(options);
                vec![item]
            }
            SelectItem::Wildcard(_) if astray => self.all(),
            SelectItem::UnnamedExpr(expr) => {
                let alias = match &*expr {
                    Expr::Identifier(name) if named.values.contains_key(&folded(name)) => {
                        Some(name.clone())
                    }
                    _ => None,
                };
                named.in_part(expr);
                match (alias, item) {
                    (Some(alias), SelectItem::UnnamedExpr(expr)) => {
                        vec![SelectItem::ExprWithAlias { expr, alias }]
                    }
                    (_, item) => vec![item],
                }
            }
            _ => {
                named.in_part(&mut item);
                vec![item]
            }
        }
    }

    /// Says in a `*` with conditions of its own what shared columns are.
    fn replace(&self, options: &mut WildcardAdditionalOptions) {
        let replaced =
            options.opt_replace.get_or_insert_with(|| ReplaceSelectItem { items: Vec::new() });
        let wrong = self.columns.iter().filter(|column| column.differs);
        for column in wrong.filter(|column| column.of != self.taken(column)) {
            let name = folded(&column.name);
            if replaced.items.iter().all(|one| folded(&one.column_name) != name) {
                replaced.items.push(Box::new(ReplaceSelectElement {
                    expr: column.value.clone(),
                    column_name: Ident::with_quote('"', name),
                    as_keyword: true,
                }));
            }
        }
    }

    /// All columns, the shared ones once and first.
    fn all(&self) -> Vec<SelectItem> {
        let mut items: Vec<SelectItem> = self.columns.iter().map(Column::item).collect();
        for (place, relation) in self.relations.iter().enumerate() {
            let mut shared = relation.shared.clone();
            if place == 0 {
                shared = self.columns.iter().map(|column| column.name.clone()).collect();
            }
            // The engine compares them as they are written.
            let except = shared.iter().map(|name| Ident::with_quote('"', folded(name)));
            let except = except.map(ObjectName::from).collect::<Vec<_>>();
            let options = WildcardAdditionalOptions {
                opt_exclude: (!except.is_empty()).then_some(ExcludeSelectItem::Multiple(except)),
                ..WildcardAdditionalOptions::default()
            };
            let all = SelectItemQualifiedWildcardKind::ObjectName(relation.all.clone());
            items.push(SelectItem::QualifiedWildcard(all, options));
        }
        items
    }
}

impl Relation {
    /// Its place in the engine's order of tables: those with a schema come after those without.
    fn rank(&self) -> (usize, Vec<String>) {
        let parts = self.all.0.iter().map(|part| match part {
            ObjectNamePart::Identifier(name) => folded(name),
            ObjectNamePart::Function(_) => part.to_string(),
        });
        (self.all.0.len(), parts.collect())
    }
}

impl Column {
    /// The first relation's.
    fn of(relation: &Relation, column: &Ident) -> Self {
        let value = of(&relation.name, column);
        Self { name: column.clone(), value, of: Some(0), among: vec![0], differs: false }
    }

    /// Whether the engine takes its name for something else, or refuses it.
    fn is_mistaken(&self) -> bool {
        self.of != Some(0) || self.among.len() > 2
    }

    fn item(&self) -> SelectItem {
        SelectItem::ExprWithAlias { expr: self.value.clone(), alias: self.name.clone() }
    }
}

/// Looks in an order for columns of tables that have one of some names.
struct Beside {
    names: Vec<String>,
    found: bool,
}

impl Beside {
    fn is_in(order: &mut OrderBy, names: Vec<String>) -> bool {
        let mut beside = Self { names, found: false };
        let walked: ControlFlow<()> = order.visit(&mut beside);
        debug_assert!(walked.is_continue(), "the visitor does not break off");
        beside.found
    }
}

impl VisitorMut for Beside {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(names) = &*expr {
            self.found |= names.last().is_some_and(|name| self.names.contains(&folded(name)));
        }
        ControlFlow::Continue(())
    }
}

/// Puts what shared columns are in the place of their names.
struct Named {
    values: BTreeMap<String, Expr>,
    /// How many queries lie around: names in those are their own.
    depth: usize,
}

impl Named {
    fn of<'c>(columns: impl Iterator<Item = &'c Column>) -> Self {
        let values = columns.map(|column| (folded(&column.name), column.value.clone())).collect();
        Self { values, depth: 0 }
    }

    fn in_part(&mut self, part: &mut impl VisitMut) {
        let walked: ControlFlow<()> = part.visit(self);
        debug_assert!(walked.is_continue(), "the visitor does not break off");
    }
}

impl VisitorMut for Named {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = &mut *expr {
            spell_part(function);
        }
        if self.depth == 0
            && let Expr::Identifier(name) = &*expr
            && let Some(value) = self.values.get(&folded(name))
        {
            *expr = value.clone();
        }
        ControlFlow::Continue(())
    }
}

/// Lets a part of a moment, as the first argument of `datediff(day, a, b)`, be a text: it is no column of that name.
fn spell_part(function: &mut Function) {
    let name = function.name.to_string().to_lowercase();
    if !name.starts_with("date") && !name.starts_with("timestamp") {
        return;
    }
    if let FunctionArguments::List(list) = &mut function.args
        && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(part)), _, _] = list.args.as_mut_slice()
        && let Expr::Identifier(word) = &*part
        && part_of(part).is_some()
    {
        *part = Expr::value(Value::SingleQuotedString(word.value.clone()));
    }
}
