//! Syncs: from the columns of systems outside to landed ones, and from tables to systems outside.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::parser::DFParserBuilder;
use datafusion::sql::sqlparser::ast::{Expr, Ident, visit_expressions};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use flywheel_project::resource::sync::{Column, Keep, LAKE, LakeStream, Stream, Sync, Write};

use super::collect::Collector;
use super::graph::{AssetKind, ColumnKey, EdgeKind, Mark};
use super::trace::Flow;
use crate::names;

/// The columns that `write: history` adds.
const HISTORY: [&str; 2] = ["valid_from", "valid_to"];

/// Adds the streams of every sync.
pub(super) async fn collect(collector: &mut Collector<'_>) {
    let project = collector.project();
    for sync in project.syncs.values() {
        for stream in &sync.streams {
            let read = match sync.reads_lake() {
                true => lake_columns(collector, sync, stream).await,
                false => Vec::new(),
            };
            for destination in sync.destination.names() {
                land(collector, sync, stream, destination, &read);
            }
        }
    }
}

/// The columns of a stream of our own tables, by their names, each added as a column of the stream.
async fn lake_columns(collector: &mut Collector<'_>, sync: &Sync, stream: &Stream) -> Vec<String> {
    let what = format!("stream {} of sync {}", stream.stream, sync.sync);
    let options = serde_json::from_value(serde_json::Value::Object(stream.options.clone()));
    let options: LakeStream = match options {
        Ok(options) => options,
        Err(error) => {
            collector.note(format!("{what} is not traced: {error}"));
            return Vec::new();
        }
    };
    let outside = |column: &str| source_key(sync, stream, column);
    if let Some(table) = options.table {
        let columns = collector.columns(&table);
        for column in &columns {
            let from = collector.of_table(&table, column);
            let to = collector.graph.add(outside(column));
            collector.graph.link(from, to, EdgeKind::Identity);
        }
        return columns;
    }
    let Some(sql) = options.query else { return Vec::new() };
    let answer = match names::render_text(collector.project(), &sql) {
        Ok(sql) => match collector.planner.catalog(collector.planner.schemas.keys()) {
            Ok(catalog) => collector.planner.trace(&sql, catalog).await,
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    match answer {
        Err(error) => {
            collector.note(format!("{what} is not traced: {}", error.report()));
            Vec::new()
        }
        Ok(answer) => {
            let mut columns = Vec::new();
            for (field, flow) in answer.schema.fields().iter().zip(&answer.traced.columns) {
                let flow: &Flow = flow;
                let to = collector.graph.add(outside(field.name()));
                collector.flow(flow, &answer.traced.rows, to);
                columns.push(field.name().clone());
            }
            columns
        }
    }
}

/// A column of what a stream reads.
fn source_key(sync: &Sync, stream: &Stream, column: &str) -> ColumnKey {
    let asset = format!("{}/{}", sync.connection, stream.stream);
    ColumnKey::new(AssetKind::Outside, asset, column)
}

/// Links the columns that a stream reads to those it writes at one destination.
fn land(
    collector: &mut Collector<'_>,
    sync: &Sync,
    stream: &Stream,
    destination: &str,
    read: &[String],
) {
    let table = stream.table();
    let mut targets: Vec<String> =
        stream.columns.iter().map(|column| column.name.clone()).collect();
    let mut more = match destination {
        LAKE => collector.columns(&table),
        _ => read.to_vec(),
    };
    let renamed: BTreeSet<&str> = stream.columns.iter().map(Column::source_name).collect();
    if stream.keep == Keep::Declared {
        more.clear();
    }
    more.retain(|name| {
        let own = stream.write == Write::History && HISTORY.contains(&name.as_str());
        // Of a column that is renamed nothing is left under its old name.
        let gone = destination != LAKE && renamed.contains(name.as_str());
        !own && !gone && !stream.drop.contains(name)
    });
    targets.extend(more);
    let mut seen = BTreeSet::new();
    let filter = stream.only.as_deref().map(identifiers).unwrap_or_default();
    for name in targets.into_iter().filter(|name| seen.insert(name.clone())) {
        let to = match destination {
            LAKE => collector.of_table(&table, &name),
            _ => {
                let asset = format!("{destination}/{}", stream.stream);
                collector.graph.add(ColumnKey::new(AssetKind::Outside, asset, &name))
            }
        };
        let declared = stream.columns.iter().find(|column| column.name == name);
        column(collector, sync, stream, declared, &name, to);
        for by in &filter {
            let from = collector.graph.add(source_key(sync, stream, &as_read(stream, by)));
            collector.graph.link(from, to, EdgeKind::Filter);
        }
    }
}

/// Links what one column is made of, and marks it if it is masked.
fn column(
    collector: &mut Collector<'_>,
    sync: &Sync,
    stream: &Stream,
    declared: Option<&Column>,
    name: &str,
    to: usize,
) {
    let made: Vec<String> = match declared {
        None => vec![name.to_owned()],
        Some(Column { value: Some(expression), .. }) => {
            collector.graph.explain(to, Some(expression.clone()));
            identifiers(expression).iter().map(|name| as_read(stream, name)).collect()
        }
        Some(column) => vec![column.source_name().to_owned()],
    };
    let changed = declared
        .is_some_and(|one| one.value.is_some() || one.mask.is_some() || !one.clean.is_empty());
    let kind = if changed { EdgeKind::Transform } else { EdgeKind::Identity };
    for from in made {
        let from = collector.graph.add(source_key(sync, stream, &from));
        collector.graph.link(from, to, kind);
    }
    if let Some(mask) = declared.and_then(|one| one.mask.as_deref()) {
        // What stands between the brackets may refer to a secret.
        let mask = mask.split('(').next().unwrap_or(mask).trim();
        collector.graph.mark(to, Mark::Masked(mask.to_owned()));
    }
}

/// The column of the source that an expression of a stream means by a name.
fn as_read(stream: &Stream, name: &str) -> String {
    let declared = stream.columns.iter().find(|column| column.name == name);
    declared.map_or(name, Column::source_name).to_owned()
}

/// The columns that an SQL expression over one row names; none if it is no expression, which is seen where the
/// project is checked.
fn identifiers(expression: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let parsed = DFParserBuilder::new(expression)
        .with_dialect(&GenericDialect {})
        .build()
        .and_then(|mut parser| parser.parse_into_expr());
    let Ok(parsed) = parsed else { return names };
    let name = |ident: &Ident| match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    };
    let visited: ControlFlow<()> = visit_expressions(&parsed.expr, |part| {
        match part {
            Expr::Identifier(ident) => names.extend([name(ident)]),
            // Of a struct's member the struct is the column.
            Expr::CompoundIdentifier(idents) => names.extend(idents.first().map(name)),
            _ => {}
        }
        ControlFlow::Continue(())
    });
    debug_assert!(visited.is_continue(), "the visitor does not stop");
    names
}

#[cfg(test)]
mod tests {
    use super::identifiers;

    #[test]
    fn an_expression_names_columns_and_not_functions_or_texts() {
        let found = identifiers(
            "case when Country = 'CN' then upper(\"First Name\") else round(x.y, 2) end",
        );
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["First Name", "country", "x"]);
        assert!(identifiers("this is (").is_empty());
    }
}
