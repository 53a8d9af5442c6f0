//! Brings together what is known of columns: one graph from the systems outside to what is sent.

use std::collections::BTreeMap;

use flywheel_base::Result;
use flywheel_project::metric::{End, TIME};
use flywheel_project::{NodeId, NodeKind, Project, TestKind};

use super::graph::{AssetKind, ColumnGraph, ColumnKey, EdgeKind, Mark};
use super::planner::Planner;
use super::trace::{Flow, Influences, TableColumn};
use super::{ColumnLineage, METRICS, landing, measured, wheel};
use crate::{World, names};

/// The tag whose assets hold personal data.
const PERSONAL: &str = "pii";

/// The columns of the whole project: of syncs, models, tests, metrics, learners, policies and actions, and how one
/// leads to another. What cannot be traced is in the graph's notes.
///
/// # Errors
/// Those of the lake.
/// # Cost
/// About a millisecond a model; nothing is run.
pub async fn column_graph(world: World<'_>) -> Result<ColumnGraph> {
    let mut planner = Planner::new(world)?;
    Box::pin(planner.plan_all()).await?;
    let mut collector =
        Collector { planner, graph: ColumnGraph::default(), kinds: BTreeMap::new() };
    collector.tables();
    Box::pin(landing::collect(&mut collector)).await;
    collector.models();
    Box::pin(collector.tests()).await;
    Box::pin(measured::collect(&mut collector)).await;
    Box::pin(wheel::collect(&mut collector)).await;
    collector.sensitive();
    let Collector { planner, mut graph, .. } = collector;
    graph.notes.extend(planner.notes);
    graph.notes.sort();
    graph.notes.dedup();
    graph.spread_marks();
    Ok(graph)
}

/// The graph while it is put together.
pub(super) struct Collector<'a> {
    pub(super) planner: Planner<'a>,
    pub(super) graph: ColumnGraph,
    /// What each table is.
    kinds: BTreeMap<String, AssetKind>,
}

impl<'a> Collector<'a> {
    pub(super) fn project(&self) -> &'a Project {
        self.planner.world.project
    }

    /// Notes what could not be found out.
    pub(super) fn note(&mut self, text: String) {
        self.graph.notes.push(text);
    }

    /// A column of a table, whatever the table is.
    pub(super) fn of_table(&mut self, table: &str, column: &str) -> usize {
        let kind = self.kinds.get(table).copied().unwrap_or(AssetKind::Source);
        self.graph.add(ColumnKey::new(kind, table, column))
    }

    /// A column that a model reads: of a table, or of a semantic view.
    fn read_column(&mut self, table: &str, column: &str) -> usize {
        let project = self.project();
        let view = table.strip_prefix(METRICS).filter(|_| !self.kinds.contains_key(table));
        let meant = view.and_then(|view| {
            let semantics = project.semantics();
            if semantics.named(column).is_some() {
                return Some(ColumnKey::whole(AssetKind::Metric, column));
            }
            let view = semantics.view(view)?;
            let columns = semantics.table_columns(view);
            let own = |parts: &[String]| semantics.path(view, parts).ok();
            let path = match columns.dimensions.get(column) {
                Some(word) => match word.split(':').next() {
                    Some(TIME) | None => own(std::slice::from_ref(view.time.as_ref()?))?,
                    Some(name) => {
                        let parts: Vec<String> = name.split('.').map(str::to_owned).collect();
                        own(&parts)?
                    }
                },
                None => own(columns.paths.get(column)?)?,
            };
            Some(match path.end {
                End::Dimension(name, _) => {
                    ColumnKey::new(AssetKind::Dimension, path.view.semantic.as_str(), name)
                }
                End::Entity(name, entity) => {
                    let node = project.semantic_tables.get(&path.view.semantic)?;
                    let table = names::relation(project, node);
                    let kind = self.kinds.get(&table).copied().unwrap_or(AssetKind::Source);
                    ColumnKey::new(kind, table, entity.columns(name).into_iter().next()?)
                }
            })
        });
        match meant {
            Some(key) => self.graph.add(key),
            None => self.of_table(table, column),
        }
    }

    /// The columns of a table, as far as they are known.
    pub(super) fn columns(&self, table: &str) -> Vec<String> {
        let schema = self.planner.schemas.get(table);
        let fields = schema.into_iter().flat_map(|schema| schema.fields().iter());
        fields.map(|field| field.name().clone()).collect()
    }

    /// Links what makes a column to it.
    pub(super) fn flow(&mut self, flow: &Flow, rows: &Influences, to: usize) {
        for (from, transform) in &flow.direct {
            let from = self.of_table(&from.table, &from.column);
            self.graph.link(from, to, (*transform).into());
        }
        for (from, how) in flow.own.iter().chain(rows) {
            let from = self.of_table(&from.table, &from.column);
            self.graph.link(from, to, (*how).into());
        }
    }

    /// Links columns that are looked at.
    pub(super) fn look(&mut self, columns: impl IntoIterator<Item = TableColumn>, to: usize) {
        for TableColumn { table, column } in columns {
            let from = self.of_table(&table, &column);
            self.graph.link(from, to, EdgeKind::Check);
        }
    }

    /// The name in SQL of a node that is a table.
    pub(super) fn relation(&self, node: &NodeId) -> String {
        names::relation(self.project(), node)
    }

    fn tables(&mut self) {
        for model in self.project().models.values().filter(|model| model.config.enabled) {
            self.kinds.insert(model.relation(), AssetKind::Model);
        }
        for table in self.planner.schemas.keys().filter(|table| table.starts_with("learn.")) {
            self.kinds.insert(table.clone(), AssetKind::Learner);
        }
        let tables: Vec<String> = self.planner.schemas.keys().cloned().collect();
        for table in tables.iter().filter(|table| !table.starts_with("system.")) {
            for column in self.columns(table) {
                self.of_table(table, &column);
            }
        }
    }

    fn models(&mut self) {
        let models: Vec<ColumnLineage> =
            std::mem::take(&mut self.planner.models).into_values().collect();
        let project = self.project();
        let seeds = project.models.values().filter_map(|model| {
            let file = model.seed.as_ref()?.file.strip_prefix(&project.dir).ok()?;
            Some((model.relation(), file.display().to_string()))
        });
        let seeds: BTreeMap<String, String> = seeds.collect();
        for ColumnLineage { model, columns, rows, .. } in models {
            // What metrics are made of is told by their declarations.
            if model.starts_with(METRICS) && !self.kinds.contains_key(&model) {
                continue;
            }
            for column in columns {
                let to = self.of_table(&model, &column.column);
                for origin in column.origins {
                    let from = self.read_column(&origin.from.table, &origin.from.column);
                    self.graph.link(from, to, origin.transform.into());
                }
                for one in column.conditions.iter().chain(&rows) {
                    let from = self.read_column(&one.by.table, &one.by.column);
                    self.graph.link(from, to, one.how.into());
                }
                if let Some(file) = seeds.get(&model) {
                    let key = ColumnKey::new(AssetKind::Outside, file, &column.column);
                    let from = self.graph.add(key);
                    self.graph.link(from, to, EdgeKind::Identity);
                }
                self.graph.explain(to, column.expression);
            }
        }
    }

    async fn tests(&mut self) {
        let project = self.project();
        for test in project.model_tests() {
            let table = self.relation(&test.target);
            let to = self.graph.add(ColumnKey::whole(AssetKind::Test, &test.name));
            if let Some(column) = &test.column {
                let from = self.of_table(&table, column);
                self.graph.link(from, to, EdgeKind::Check);
            }
            match &test.kind {
                TestKind::Relationships { to: other, field } => {
                    let other = self.relation(other);
                    let from = self.of_table(&other, field);
                    self.graph.link(from, to, EdgeKind::Check);
                }
                TestKind::Custom(custom) => {
                    let sql = names::render_custom(project, custom);
                    let reads = names::read_by(project, &custom.refs, &custom.sources);
                    self.query_test(&test.name, sql, reads, to).await;
                }
                _ => {}
            }
        }
        for test in project.singular_tests.values() {
            let to = self.graph.add(ColumnKey::whole(AssetKind::Test, &test.name));
            let sql = names::render_test(project, test);
            let reads = names::read_by(project, &test.refs, &test.sources);
            self.query_test(&test.name, sql, reads, to).await;
        }
        for (name, quality) in &project.qualities {
            let Some(table) = project.quality_tables.get(name).map(|node| self.relation(node))
            else {
                continue;
            };
            for (position, check) in quality.checks.iter().enumerate() {
                let title = check.name.clone().unwrap_or_else(|| (position + 1).to_string());
                let key = ColumnKey::new(AssetKind::Test, format!("quality/{name}"), title);
                let to = self.graph.add(key);
                let columns = check.column.iter().chain(&check.arguments.properties);
                for column in columns.chain(check.arguments.after.as_ref()) {
                    let from = self.of_table(&table, column);
                    self.graph.link(from, to, EdgeKind::Check);
                }
            }
        }
    }

    /// Links what a test that is a query looks at.
    async fn query_test(
        &mut self,
        name: &str,
        sql: Result<String>,
        reads: Result<std::collections::BTreeSet<String>>,
        to: usize,
    ) {
        let answer = match (sql, reads) {
            (Ok(sql), Ok(reads)) => match self.planner.catalog(&reads) {
                Ok(catalog) => self.planner.trace(&sql, catalog).await,
                Err(error) => Err(error),
            },
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        match answer {
            Err(error) => self.note(format!("test {name} is not traced: {}", error.report())),
            Ok(answer) => {
                let direct = answer.traced.columns.iter().flat_map(|flow| flow.direct.keys());
                let own = answer.traced.columns.iter().flat_map(|flow| &flow.own);
                let decides = own.chain(&answer.traced.rows).map(|(column, _)| column);
                let looked: Vec<TableColumn> = direct.chain(decides).cloned().collect();
                self.look(looked, to);
            }
        }
    }

    /// Marks what `flywheel.yaml` says is masked, and every column of an asset with personal data.
    fn sensitive(&mut self) {
        let project = self.project();
        let catalogue = &project.file.catalogue;
        let mut said: BTreeMap<(AssetKind, String), (bool, Vec<String>)> = BTreeMap::new();
        for number in 0..self.graph.nodes().len() {
            let Some(key) = self.graph.nodes().get(number).map(|node| node.key.clone()) else {
                continue;
            };
            let Some(column) = key.column.filter(|_| {
                matches!(key.kind, AssetKind::Source | AssetKind::Model | AssetKind::Learner)
            }) else {
                continue;
            };
            let (personal, masked) =
                said.entry((key.kind, key.asset.clone())).or_insert_with(|| {
                    let found = catalogue.said(key.kind.word(), &key.asset);
                    let tags = tags(project, &key.asset);
                    let personal = found.tags.iter().chain(&tags).any(|tag| tag == PERSONAL);
                    (personal, found.masked)
                });
            if masked.contains(&column) {
                self.graph.mark(number, Mark::Sensitive("flywheel.yaml".to_owned()));
            } else if *personal {
                self.graph.mark(number, Mark::Sensitive(format!("tag {PERSONAL}")));
            }
        }
    }
}

/// The tags of the model that a table is.
fn tags(project: &Project, table: &str) -> Vec<String> {
    let model = names::model(project, table);
    let id = model.map(|model| NodeId::new(NodeKind::Model, model.name.as_str()));
    let info = id.and_then(|id| project.graph.info(&id));
    info.map(|info| info.tags.clone()).unwrap_or_default()
}
