//! Semantic views and metrics: from a table's columns to a figure of the business.

use std::collections::BTreeMap;

use flywheel_project::Project;
use flywheel_project::metric::{End, Expression, MetricRef, Path, Semantics, inputs};
use flywheel_project::resource::semantic::{Aggregate, EntityKind, MetricKind, Semantic};

use super::collect::Collector;
use super::graph::{AssetKind, ColumnKey, EdgeKind};
use super::planner::Answer;
use super::trace::Flow;
use crate::testing::{quoted, quoted_table};

/// Adds every semantic view and metric.
pub(super) async fn collect(collector: &mut Collector<'_>) {
    let project = collector.project();
    for view in project.semantics.values() {
        let Some(table) = table_of(collector, project, view) else { continue };
        expressions(collector, view, &table).await;
        for (name, measure) in &view.measures {
            let to = key(AssetKind::Measure, view, name);
            let to = collector.graph.add(to);
            let rows = measure.aggregate == Aggregate::Count && measure.expression.is_none();
            if rows {
                // Rows are counted by what each of them is.
                let primary =
                    view.entities.iter().filter(|(_, one)| one.kind == EntityKind::Primary);
                for column in primary.flat_map(|(name, entity)| entity.columns(name)) {
                    let from = collector.of_table(&table, &column);
                    collector.graph.link(from, to, EdgeKind::Aggregate);
                }
            }
            if let Some(time) = measure.time.as_ref().or(view.time.as_ref()) {
                let from = collector.graph.add(key(AssetKind::Dimension, view, time));
                collector.graph.link(from, to, EdgeKind::Group);
            }
        }
    }
    let semantics = project.semantics();
    for metric in semantics.metrics() {
        if let Err(error) = metric_of(collector, &semantics, metric) {
            collector.note(format!("metric {} is not traced: {}", metric.name, error.report()));
        }
    }
}

fn key(kind: AssetKind, view: &Semantic, name: &str) -> ColumnKey {
    ColumnKey::new(kind, view.semantic.as_str(), name)
}

fn table_of(collector: &Collector<'_>, project: &Project, view: &Semantic) -> Option<String> {
    let node = project.semantic_tables.get(&view.semantic)?;
    Some(collector.relation(node))
}

/// Links the columns of a table to its dimensions and measures.
async fn expressions(collector: &mut Collector<'_>, view: &Semantic, table: &str) {
    let own = |expression: &Option<String>, name: &str| {
        expression.clone().unwrap_or_else(|| quoted(name))
    };
    let dimensions = view
        .dimensions
        .iter()
        .map(|(name, dimension)| (AssetKind::Dimension, name, own(&dimension.expression, name)));
    let measures = view.measures.iter().filter(|(_, measure)| {
        measure.aggregate != Aggregate::Count || measure.expression.is_some()
    });
    let measures =
        measures.map(|(name, measure)| (AssetKind::Measure, name, own(&measure.expression, name)));
    for (kind, name, sql) in dimensions.chain(measures) {
        let to = collector.graph.add(key(kind, view, name));
        let statement = format!("SELECT ({sql}) AS v FROM {}", quoted_table(table));
        let answer = match collector.planner.catalog([&table.to_owned()]) {
            Ok(catalog) => collector.planner.trace(&statement, catalog).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) => link(collector, answer, kind, to),
            Err(error) => {
                let shown = format!("{} {name} of {}", kind.word(), view.semantic);
                collector.note(format!("{shown} is not traced: {}", error.report()));
            }
        }
        collector.graph.explain(to, Some(sql));
    }
}

fn link(collector: &mut Collector<'_>, answer: Answer, kind: AssetKind, to: usize) {
    let Some(mut flow) = answer.traced.columns.into_iter().next() else { return };
    if kind == AssetKind::Measure {
        let aggregated = super::Transform::Aggregate;
        let direct: BTreeMap<_, _> =
            flow.direct.into_keys().map(|column| (column, aggregated)).collect();
        flow = Flow { direct, own: flow.own };
    }
    collector.flow(&flow, &answer.traced.rows, to);
}

fn metric_of<'a>(
    collector: &mut Collector<'_>,
    semantics: &Semantics<'a>,
    metric: MetricRef<'a>,
) -> flywheel_base::Result<()> {
    let to = collector.graph.add(ColumnKey::whole(AssetKind::Metric, metric.name));
    let kind = metric.metric.kind()?;
    if let MetricKind::Measure(measure) = kind {
        let from = collector.graph.add(key(AssetKind::Measure, metric.view, measure));
        collector.graph.link(from, to, EdgeKind::Identity);
    }
    let way = match kind {
        MetricKind::Cumulative(_) | MetricKind::ToDate(_) | MetricKind::Rolling(_) => {
            EdgeKind::Window
        }
        _ => EdgeKind::Transform,
    };
    for input in inputs(metric.metric)? {
        semantics.input(&metric, &input)?;
        let from = collector.graph.add(ColumnKey::whole(AssetKind::Metric, input));
        collector.graph.link(from, to, way);
    }
    let Some(filter) = &metric.metric.filter else { return Ok(()) };
    let parsed = Expression::parse(filter).map_err(|mistake| mistake.into_error(filter))?;
    for name in parsed.names() {
        let path = semantics.path(metric.view, &name.parts)?;
        filtered(collector, metric.view, &path, to);
    }
    Ok(())
}

/// Links the dimension that a filter looks at, and the keys on the way to it.
fn filtered(collector: &mut Collector<'_>, from: &Semantic, path: &Path<'_>, to: usize) {
    let project = collector.project();
    let mut left = from;
    for hop in &path.hops {
        for (view, columns) in [(left, &hop.columns), (hop.view, &hop.key)] {
            let Some(table) = table_of(collector, project, view) else { continue };
            for column in columns {
                let key = collector.of_table(&table, column);
                collector.graph.link(key, to, EdgeKind::Join);
            }
        }
        left = hop.view;
    }
    match path.end {
        End::Dimension(name, _) => {
            let from = collector.graph.add(key(AssetKind::Dimension, path.view, name));
            collector.graph.link(from, to, EdgeKind::Filter);
        }
        End::Entity(name, entity) => {
            let Some(table) = table_of(collector, project, path.view) else { return };
            for column in entity.columns(name) {
                let from = collector.of_table(&table, &column);
                collector.graph.link(from, to, EdgeKind::Filter);
            }
        }
    }
}
