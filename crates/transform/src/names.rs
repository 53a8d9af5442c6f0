//! What `ref()` and `source()` mean in SQL, and where those tables lie.

use std::collections::BTreeSet;

use flywheel_base::{Error, Result};
use flywheel_project::{Model, NodeId, NodeKind, Project, RenderContext, SingularTest};
use flywheel_warehouse::{Location, TableName};

/// The name in SQL, `schema.name`, of a node that is a table.
pub(crate) fn relation(project: &Project, node: &NodeId) -> String {
    match node.kind {
        NodeKind::Model | NodeKind::Learner => {
            project.ref_relation(&node.name).unwrap_or_else(|_| node.name.clone())
        }
        _ => node.name.clone(),
    }
}

/// The model that SQL calls `relation`.
pub(crate) fn model<'a>(project: &'a Project, relation: &str) -> Option<&'a Model> {
    let (schema, name) = relation.split_once('.')?;
    project.models.get(name).filter(|model| model.schema == schema)
}

/// What `ref('name')` means: a model or what a learner writes.
fn resolve_ref(project: &Project, name: &str) -> Result<String> {
    if project.models.get(name).is_some_and(|model| !model.config.enabled) {
        return Err(Error::invalid(format!("model \"{name}\" is disabled"))
            .hint("Set enabled to true in its config, or remove the ref()."));
    }
    project.ref_relation(name)
}

/// Everything that is read by these `ref()`s and `source()`s, `schema.name`.
pub(crate) fn read_by(
    project: &Project,
    refs: &BTreeSet<String>,
    sources: &BTreeSet<(String, String)>,
) -> Result<BTreeSet<String>> {
    let mut all: BTreeSet<String> =
        sources.iter().map(|(source, table)| project.source_relation(source, table)).collect();
    for name in refs {
        all.insert(resolve_ref(project, name)?);
    }
    Ok(all)
}

/// The model's SQL; `incremental` is the answer of `is_incremental()`.
pub(crate) fn render_model(project: &Project, model: &Model, incremental: bool) -> Result<String> {
    with_context(project, &model.relation(), incremental, |context| model.render(context))
}

/// The SQL of a singular test.
pub(crate) fn render_test(project: &Project, test: &SingularTest) -> Result<String> {
    with_context(project, "", false, |context| test.render(context))
}

fn with_context(
    project: &Project,
    this: &str,
    incremental: bool,
    render: impl FnOnce(&RenderContext<'_>) -> Result<String>,
) -> Result<String> {
    render(&RenderContext {
        vars: &project.file.vars,
        incremental,
        this: this.to_owned(),
        resolve_ref: &|name| resolve_ref(project, name),
        resolve_source: &|source, table| Ok(project.source_relation(source, table)),
    })
}

/// Where the landed or platform table `schema.name` lies: `schema/name`.
pub(crate) fn plain_location(relation: &str) -> Result<Location> {
    let name = TableName::parse(relation)?;
    Location::new(format!("{}/{}", name.schema, name.name))
}

/// The name of the table at `schema/name`; none for the variants of models, which lie deeper.
pub(crate) fn plain_name(location: &Location) -> Option<TableName> {
    let (schema, name) = location.as_str().split_once('/')?;
    (!name.contains('/')).then(|| TableName::new(schema, name))
}
