//! How texts are read while a query runs: as views of the pages they were read from instead of copies.
//!
//! Nobody sees it. A query is planned, fingerprinted and described over plain texts; only the plan that runs has
//! views, and its answer is given the planned types again. A query whose answer could tell the difference, or whose
//! plan has a form that is not known to be safe, runs over plain texts.
//!
//! A view holds on to the page it points into, and a batch of views says that it takes as much memory as all of its
//! pages. So what keeps rows must not keep views of pages, or the memory limit would count too little or far too much:
//!
//! ```text
//! scan ──► filter ──► join, probed ──► groups (copied and counted by the engine)
//!               └───► join, kept: texts are copied before ([`owned`])
//!               └───► sort, window, first of a group: plain texts, as without views
//! ```

mod owned;

use std::any::Any;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::catalog::default_table_source::{provider_as_source, source_as_provider};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DFSchemaRef, TableReference};
use datafusion::error::Result;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::logical_plan::TableScanBuilder;
use datafusion::logical_expr::{
    Analyze, Distinct, Explain, Expr, ExprSchemable, LogicalPlan, Projection, TableScan, Union,
    cast,
};

use crate::lake_table::LakeTable;

pub(super) use self::owned::{has_views, owned};

/// Aggregates that keep no view beyond the batch it came with. What others keep would hold on to whole pages, which
/// the memory limit does not count.
const COPYING: [&str; 3] = ["count", "max", "min"];
/// How the functions begin whose answer is a type.
const TELLING: &str = "arrow_";

/// The plan in whose place texts of lake tables are views; none if it reads no texts or must not read them so.
///
/// # Errors
/// Those of planning.
pub(super) fn viewed(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    Ok(match plan {
        LogicalPlan::Explain(explain) => within(&explain.plan)?.map(|inside| {
            let plan = Arc::new(inside);
            LogicalPlan::Explain(Explain { plan, ..explain.clone() })
        }),
        LogicalPlan::Analyze(analyze) => within(&analyze.input)?.map(|inside| {
            let input = Arc::new(inside);
            LogicalPlan::Analyze(Analyze { input, ..analyze.clone() })
        }),
        plan => within(plan)?,
    })
}

/// The same plan over views; none if it reads no texts or must not.
fn within(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    if !suits(plan)? {
        return Ok(None);
    }
    let made = plan.clone().transform_up_with_subqueries(|node| match node {
        LogicalPlan::TableScan(scan) => scanned(scan),
        LogicalPlan::Union(union) => union_of_views(&union),
        node => {
            // Nodes above a scan have the types of what lies below them now.
            let node = keeping_plain(node)?;
            Ok(Transformed::yes(node.recompute_schema()?))
        }
    })?;
    Ok((!nests_views(&made.data)?).then_some(made.data))
}

/// Whether lists or structs are made of views, which the engine's functions know less well.
fn nests_views(plan: &LogicalPlan) -> Result<bool> {
    let mut nested = false;
    plan.apply_with_subqueries(|node| {
        let views =
            |field: &FieldRef| field.data_type().is_nested() && within_type(field.data_type());
        nested |= node.schema().fields().iter().any(views);
        Ok(if nested { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(nested)
}

/// Whether a type is a view, or made of one.
fn within_type(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8View => true,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => within_type(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| within_type(field.data_type())),
        DataType::Dictionary(_, values) => within_type(values),
        _ => false,
    }
}

/// Whether a plan reads texts of lake tables, and has views nowhere where they could be told from texts.
fn suits(plan: &LogicalPlan) -> Result<bool> {
    let (mut texts, mut safe) = (false, true);
    plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::TableScan(scan) => texts |= twin(scan).is_some(),
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Aggregate(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Join(_)
            | LogicalPlan::Union(_)
            | LogicalPlan::EmptyRelation(_)
            | LogicalPlan::Subquery(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Values(_)
            | LogicalPlan::Distinct(_) => {}
            _ => safe = false,
        }
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                safe &= !tells(part);
                Ok(if safe { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
            })
        })?;
        Ok(if safe { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(texts && safe)
}

/// Whether an expression says of which type a text is, or holds it fixed.
fn tells(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(function) => function.name().starts_with(TELLING),
        // Its type is part of it, whatever becomes of the column.
        Expr::OuterReferenceColumn(field, _) => has_text(field.data_type()),
        _ => false,
    }
}

fn has_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8) || kind.is_nested()
}

/// The table of a scan with its texts as views, if it is one of the lake's and has any.
fn twin(scan: &TableScan) -> Option<LakeTable> {
    let provider = source_as_provider(&scan.source).ok()?;
    let table = (provider.as_ref() as &dyn Any).downcast_ref::<LakeTable>()?;
    table.with_viewed_texts()
}

fn scanned(scan: TableScan) -> Result<Transformed<LogicalPlan>> {
    let Some(table) = twin(&scan) else {
        return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
    };
    let source = provider_as_source(Arc::new(table));
    let made = TableScanBuilder::new(scan.table_name, source)
        .with_projection(scan.projection)
        .with_filters(scan.filters)
        .with_fetch(scan.fetch)
        .with_statistics_requests(scan.statistics_requests)
        .build()?;
    Ok(Transformed::yes(LogicalPlan::TableScan(made)))
}

/// A union has one type a column: a view if an input has one.
fn union_of_views(union: &Union) -> Result<Transformed<LogicalPlan>> {
    let is_view = |at: usize| {
        let mut inputs = union.inputs.iter();
        inputs.any(|input| *input.schema().field(at).data_type() == DataType::Utf8View)
    };
    let fields: Vec<(Option<TableReference>, FieldRef)> = (union.schema.iter().enumerate())
        .map(|(at, (qualifier, field))| {
            let field = match is_view(at) {
                true => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
                false => Arc::clone(field),
            };
            (qualifier.cloned(), field)
        })
        .collect();
    let schema = DFSchema::new_with_metadata(fields, union.schema.metadata().clone())?;
    let schema =
        schema.with_functional_dependencies(union.schema.functional_dependencies().clone())?;
    let inputs =
        union.inputs.iter().map(|input| typed(input, &schema)).collect::<Result<Vec<_>>>()?;
    Ok(Transformed::yes(LogicalPlan::Union(Union { inputs, schema: DFSchemaRef::new(schema) })))
}

/// An input of a union with the types of the whole.
fn typed(input: &Arc<LogicalPlan>, schema: &DFSchema) -> Result<Arc<LogicalPlan>> {
    let kinds = schema.fields().iter().map(|field| field.data_type());
    let made = converted(LogicalPlan::clone(input), kinds)?;
    Ok(if made.transformed { Arc::new(made.data) } else { Arc::clone(input) })
}

/// The same plan with plain texts.
fn without_views(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = Arc::clone(plan.schema());
    let kinds = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8View => &DataType::Utf8,
        kind => kind,
    });
    converted(plan, kinds)
}

/// The same plan with columns of these types.
fn converted<'a>(
    plan: LogicalPlan,
    kinds: impl Iterator<Item = &'a DataType>,
) -> Result<Transformed<LogicalPlan>> {
    let (mut columns, mut changed) = (Vec::new(), false);
    for ((qualifier, field), kind) in plan.schema().iter().zip(kinds) {
        let column = Expr::from((qualifier, field));
        let same = field.data_type() == kind;
        changed |= !same;
        columns.push(match same {
            true => column,
            false => cast(column, kind.clone()).alias_qualified(qualifier.cloned(), field.name()),
        });
    }
    if !changed {
        return Ok(Transformed::no(plan));
    }
    let made = Projection::try_new(columns, Arc::new(plan))?;
    Ok(Transformed::yes(LogicalPlan::Projection(made)))
}

/// Gives plain texts to what keeps them as they come: to the whole of a node that keeps rows, to the aggregates of others.
fn keeping_plain(node: LogicalPlan) -> Result<LogicalPlan> {
    if keeps_rows(&node)? {
        return Ok(node.map_children(without_views)?.data);
    }
    let LogicalPlan::Aggregate(aggregate) = &node else { return Ok(node) };
    let schema = Arc::clone(aggregate.input.schema());
    let names = NamePreserver::new(&node);
    let made = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let made = expr.transform_up(|part| match part {
            Expr::AggregateFunction(function) if keeps(function.func.name()) => {
                let AggregateFunction { func, mut params } = function;
                params.args = plain(params.args, &schema)?;
                Ok(Transformed::yes(Expr::AggregateFunction(AggregateFunction { func, params })))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(made.update_data(|made| name.restore(made)))
    })?;
    Ok(made.data)
}

/// Whether a node sorts its input, or keeps rows of it.
fn keeps_rows(node: &LogicalPlan) -> Result<bool> {
    Ok(match node {
        LogicalPlan::Sort(_) | LogicalPlan::Window(_) | LogicalPlan::Distinct(Distinct::On(_)) => {
            true
        }
        LogicalPlan::Aggregate(aggregate) => {
            let ordered = |part: &Expr| matches!(part, Expr::AggregateFunction(function) if !function.params.order_by.is_empty());
            let mut sorts = false;
            for expr in &aggregate.aggr_expr {
                sorts |= expr.exists(|part| Ok(ordered(part)))?;
            }
            sorts
        }
        _ => false,
    })
}

fn keeps(aggregate: &str) -> bool {
    !COPYING.contains(&aggregate)
}

fn plain(arguments: Vec<Expr>, schema: &DFSchema) -> Result<Vec<Expr>> {
    let arguments = arguments.into_iter().map(|argument| {
        Ok(match argument.get_type(schema)? {
            DataType::Utf8View => cast(argument, DataType::Utf8),
            _ => argument,
        })
    });
    arguments.collect()
}
