//! What a client of PostgreSQL is answered from: the relations that its reader sees, and its statements, planned over them.
//!
//! A statement goes through the same session as at every other door: rules, masks and limits hold for it. What the catalogue
//! tells is made of what the reader can read, so it names nothing that is hidden from them.

use std::collections::BTreeMap;

use flywheel_base::Result;
use flywheel_warehouse::postgres::{
    Planned, Relation, RelationColumn, Told, catalogue, mentions_catalogue,
};
use flywheel_warehouse::{Parameters, Session, TableName};

use crate::access::Reading;
use crate::rows::quoted;
use crate::{Workspace, system};

/// What the reader can read, in the order of names: tables and views of which they see at least a part.
///
/// # Errors
/// As [`Workspace::seen`].
/// # Cost
/// Every relation is planned once; no rows of system tables are made.
pub async fn relations(workspace: &Workspace, reading: &Reading) -> Result<Vec<Relation>> {
    let mut catalog = workspace.plain_catalog().await?;
    system::add_columns(&mut catalog)?;
    reading.limit(workspace, &mut catalog)?;
    let names: Vec<(TableName, bool)> =
        catalog.names().map(|name| (name.clone(), catalog.is_view(name))).collect();
    let models = workspace.project.models.values();
    let said: BTreeMap<String, Option<String>> =
        models.map(|model| (model.relation(), model.description.clone())).collect();
    let session = workspace.lake.session(catalog)?;
    let mut relations = Vec::new();
    for (name, view) in names {
        let sql = format!("select * from {}", quoted(&name.to_string()));
        // A view that no longer fits its inputs has no columns; nor has a table of which the reader sees nothing.
        let Ok(query) = session.query(&sql).await else { continue };
        let schema = query.schema();
        let column = |field: &std::sync::Arc<arrow::datatypes::Field>| RelationColumn {
            name: field.name().clone(),
            kind: field.data_type().clone(),
            nullable: field.is_nullable(),
        };
        relations.push(Relation {
            description: said.get(&name.to_string()).cloned().flatten(),
            schema: name.schema,
            name: name.name,
            view,
            columns: schema.fields().iter().map(column).collect(),
        });
    }
    Ok(relations)
}

/// Plans a statement of a client.
///
/// # Errors
/// Those of [`flywheel_warehouse::Session::query_as_postgres`].
pub async fn plan(
    workspace: &Workspace,
    reading: &Reading,
    sql: &str,
    told: &Told<'_>,
    values: &Parameters,
) -> Result<Planned> {
    let sql = workspace.expanded_for(sql, reading)?;
    let session = Box::pin(session(workspace, reading, &sql, told)).await?;
    Box::pin(session.query_as_postgres(&sql, told, values)).await
}

/// The places for values of a statement, `1` for `$1`, with the numbers of the types that follow from where they stand.
///
/// # Errors
/// Those of [`flywheel_warehouse::Session::parameters_as_postgres`].
pub async fn parameters(
    workspace: &Workspace,
    reading: &Reading,
    sql: &str,
    told: &Told<'_>,
) -> Result<BTreeMap<String, Option<u32>>> {
    let sql = workspace.expanded_for(sql, reading)?;
    let session = Box::pin(session(workspace, reading, &sql, told)).await?;
    Box::pin(session.parameters_as_postgres(&sql, told)).await
}

async fn session(
    workspace: &Workspace,
    reading: &Reading,
    sql: &str,
    told: &Told<'_>,
) -> Result<Session> {
    let add = |catalog: &mut flywheel_warehouse::Catalog| match mentions_catalogue(sql) {
        true => catalogue(told, catalog),
        false => Ok(()),
    };
    workspace.session_beside(sql, reading, add).await
}
