//! Schemas, views and tables that statements make, change, rename and remove.

use std::collections::BTreeSet;
use std::time::Duration;

use flywheel_base::{Error, ErrorKind, Result, suggest};
use flywheel_state::{Made, MadeKind};
use flywheel_warehouse::{Catalog, Definition, TableName};

use super::{Options, keep_before, refuse_ours, refuse_owned, require_plain};
use crate::Workspace;
use crate::access::{self, Reading};
use crate::task::sync::location_of;

/// How long a table that is still read is waited for, at a time.
const READ_WAIT: Duration = Duration::from_millis(50);
/// How often.
const READ_WAITS_MAX: usize = 200;

/// What a definition did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defined {
    /// Its first words, such as `create view`.
    pub statement: &'static str,
    /// What it was about: `schema` or `schema.name`.
    pub name: String,
    /// Whether something is otherwise than before.
    pub changed: bool,
    /// The version of a table whose columns were changed.
    pub version: Option<i64>,
    /// What went, by name.
    pub dropped: Vec<String>,
}

/// Refuses at once what may not be done, whatever there is.
pub(super) fn refuse(workspace: &Workspace, definition: &Definition) -> Result<()> {
    match definition {
        Definition::CreateSchema { schema, .. } => {
            require_plain(schema, "x")?;
            refuse_ours(schema, &format!("schema \"{schema}\""))
        }
        Definition::DropSchema { schema, .. } => {
            refuse_ours(schema, &format!("schema \"{schema}\""))
        }
        Definition::CreateView { name, .. } => {
            require_plain(&name.schema, &name.name)?;
            refuse_owned(workspace, name, false)
        }
        Definition::Rename { from, to } => {
            require_plain(&to.schema, &to.name)?;
            refuse_owned(workspace, from, false)?;
            refuse_owned(workspace, to, false)
        }
        Definition::Drop { name, .. } | Definition::Alter { name, .. } => {
            refuse_owned(workspace, name, false)
        }
    }
}

/// Refuses what its reader was not granted, of which it is not told whether it is there.
///
/// # Errors
/// [`ErrorKind::Denied`] with whom to ask.
pub(super) fn require_granted(
    workspace: &Workspace,
    definition: &Definition,
    options: Options<'_>,
) -> Result<()> {
    let Some(granted) = options.reading.granted(&workspace.project) else { return Ok(()) };
    match definition {
        Definition::CreateSchema { schema, .. } | Definition::DropSchema { schema, .. } => {
            granted.require_change(&format!("{schema}.*"))
        }
        Definition::CreateView { name, .. }
        | Definition::Drop { name, .. }
        | Definition::Alter { name, .. } => granted.require_change(&name.to_string()),
        Definition::Rename { from, to } => {
            granted.require_change(&from.to_string())?;
            granted.require_change(&to.to_string())
        }
    }
}

/// Does it.
pub(super) async fn run(
    workspace: &Workspace,
    definition: Definition,
    options: Options<'_>,
) -> Result<Defined> {
    let done = Defined {
        statement: definition.verb(),
        name: definition.name(),
        changed: true,
        version: None,
        dropped: Vec::new(),
    };
    match definition {
        Definition::CreateSchema { schema, or_nothing } => {
            let there = workspace.plain_catalog().await?.has_schema(&schema);
            if there && !or_nothing {
                return Err(Error::invalid(format!("schema \"{schema}\" exists already"))
                    .hint("Choose another name, or write CREATE SCHEMA IF NOT EXISTS."));
            }
            let known = workspace.store.made()?.into_iter().any(|made| made.name == schema);
            if !known {
                make(workspace, options, schema, MadeKind::Schema, None, Default::default())?;
            }
            Ok(Defined { changed: !there, ..done })
        }
        Definition::DropSchema { schema, if_exists, cascade } => {
            let dropped = drop_schema(workspace, &schema, if_exists, cascade, options).await?;
            Ok(Defined { changed: dropped.is_some(), dropped: dropped.unwrap_or_default(), ..done })
        }
        Definition::CreateView { name, sql, or_replace, or_nothing } => {
            let _alone = workspace.lake.alone(&[&name]).await;
            let catalog = workspace.plain_catalog().await?;
            options.reading.allow_change(workspace, &catalog, &name)?;
            if catalog.contains(&name) {
                if !catalog.is_view(&name) {
                    return Err(Error::invalid(format!("\"{name}\" is a table"))
                        .hint(format!("Drop it first: DROP TABLE {name}.")));
                }
                if or_nothing {
                    return Ok(Defined { changed: false, ..done });
                }
                if !or_replace {
                    return Err(Error::invalid(format!("view \"{name}\" exists already"))
                        .hint("Choose another name, or write CREATE OR REPLACE VIEW."));
                }
            }
            let session = workspace.session_for(&sql, options.reading).await?;
            let tables = session.query(&sql).await?.tables();
            if tables.contains(&name) {
                return Err(Error::invalid(format!("view \"{name}\" would read itself"))
                    .hint("Write the query without it, or give the view another name."));
            }
            refuse_passing(workspace, &catalog, &name, &tables, options).await?;
            let reads = tables.iter().map(ToString::to_string).collect();
            let reads = access::lineage(workspace, &catalog, &reads)?;
            keep_before(workspace, &catalog, &name)?;
            make(workspace, options, name.to_string(), MadeKind::View, Some(sql), reads)?;
            Ok(done)
        }
        Definition::Drop { name, view, if_exists } => {
            let _alone = workspace.lake.alone(&[&name]).await;
            let catalog = workspace.plain_catalog().await?;
            if !catalog.contains(&name) {
                return match if_exists {
                    true => Ok(Defined { changed: false, ..done }),
                    false => Err(unknown(workspace, &catalog, &name, options)),
                };
            }
            if catalog.is_view(&name) != view {
                let (is, word) = if view { ("table", "TABLE") } else { ("view", "VIEW") };
                return Err(Error::invalid(format!("\"{name}\" is a {is}"))
                    .hint(format!("Write DROP {word} {name}.")));
            }
            options.reading.allow_change(workspace, &catalog, &name)?;
            keep_before(workspace, &catalog, &name)?;
            remove(workspace, &name, view).await?;
            Ok(Defined { dropped: vec![name.to_string()], ..done })
        }
        Definition::Rename { from, to } => {
            rename(workspace, &from, &to, options).await?;
            Ok(done)
        }
        Definition::Alter { name, changes } => {
            let _alone = workspace.lake.alone(&[&name]).await;
            let catalog = workspace.plain_catalog().await?;
            if !catalog.contains(&name) {
                return Err(unknown(workspace, &catalog, &name, options));
            }
            options.reading.allow_change(workspace, &catalog, &name)?;
            let commit = workspace.lake.session(catalog)?.alter(&name, &changes).await?;
            Ok(Defined { version: Some(commit.version), ..done })
        }
    }
}

fn make(
    workspace: &Workspace,
    options: Options<'_>,
    name: String,
    kind: MadeKind,
    sql: Option<String>,
    reads: BTreeSet<String>,
) -> Result<()> {
    let (made_by, made_at) = (options.who.to_owned(), workspace.now());
    workspace.store.make(&Made { name, kind, sql, reads, made_by, made_at })
}

fn unknown(
    workspace: &Workspace,
    catalog: &Catalog,
    name: &TableName,
    options: Options<'_>,
) -> Error {
    let granted = options.reading.granted(&workspace.project);
    let shown = |name: &String| granted.as_ref().is_none_or(|granted| granted.shows_table(name));
    let names: Vec<String> = catalog.names().map(ToString::to_string).filter(shown).collect();
    Error::not_found(format!("unknown table \"{name}\""))
        .hint(suggest::hint(&name.to_string(), names.iter().map(String::as_str)))
}

/// Refuses a view over what its maker sees in part under a name that others read for everybody: a model that reads it,
/// which is built without rules and grants, would read more through it than its maker may.
async fn refuse_passing(
    workspace: &Workspace,
    catalog: &Catalog,
    name: &TableName,
    tables: &BTreeSet<TableName>,
    options: Options<'_>,
) -> Result<()> {
    if matches!(options.reading, Reading::Owner) || !access::is_read(workspace, catalog, name)? {
        return Ok(());
    }
    let granted = options.reading.granted(&workspace.project);
    if granted.is_some_and(|granted| granted.closes_tables()) {
        // A name without a schema may come to mean another table there than for its maker.
        let what = format!("others read {name} on behalf of the project, and its maker does not");
        return Err(Error::new(ErrorKind::Denied, what)
            .hint("Make a table of that name, or ask an owner or admin to make the view."));
    }
    let sights = options.reading.sights(workspace, &workspace.catalog().await?)?;
    match tables.iter().find_map(|table| Some((table, sights.get(table)?))) {
        None => Ok(()),
        Some((table, sight)) => {
            let what =
                format!("every row of table {table}, which others would read through {name},");
            Err(sight.refusal(&what))
        }
    }
}

/// Removes a table or view that is there.
async fn remove(workspace: &Workspace, name: &TableName, view: bool) -> Result<()> {
    if !view {
        let location = location_of(name)?;
        for attempt in 0.. {
            if workspace.lake.remove(&location).await?.is_some()
                || workspace.lake.head(&location).await?.is_none()
            {
                break;
            }
            wait_for_readers(name, attempt).await?;
        }
    }
    workspace.store.unmake(&[name.to_string()])
}

/// Waits a little for the queries that still read a table.
async fn wait_for_readers(name: &TableName, attempt: usize) -> Result<()> {
    if attempt >= READ_WAITS_MAX {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("table \"{name}\" is read by queries all the time"),
        )
        .hint("Try again when they have ended, or cancel them."));
    }
    tokio::time::sleep(READ_WAIT).await;
    Ok(())
}

async fn rename(
    workspace: &Workspace,
    from: &TableName,
    to: &TableName,
    options: Options<'_>,
) -> Result<()> {
    let _alone = workspace.lake.alone(&[from, to]).await;
    let catalog = workspace.plain_catalog().await?;
    if !catalog.contains(from) {
        return Err(unknown(workspace, &catalog, from, options));
    }
    if catalog.contains(to) {
        return Err(Error::invalid(format!("\"{to}\" exists already"))
            .hint("Choose another name, or drop it first."));
    }
    for name in [from, to] {
        options.reading.allow_change(workspace, &catalog, name)?;
    }
    let store = &workspace.store;
    let known = store.made()?.into_iter().find(|made| made.name == from.to_string());
    keep_before(workspace, &catalog, from)?;
    if catalog.is_view(from) {
        let reads = known.map(|known| known.reads).unwrap_or_default();
        let tables = reads.iter().map(|name| TableName::parse(name)).collect::<Result<_>>()?;
        refuse_passing(workspace, &catalog, to, &tables, options).await?;
        return store.rename_made(&from.to_string(), &to.to_string());
    }
    // What it was made of is kept under both names while the table moves, and the old name after that: a rule may be
    // about it.
    let mut reads = known.as_ref().map(|known| known.reads.clone()).unwrap_or_default();
    reads.insert(from.to_string());
    reads.remove(&to.to_string());
    let (made_by, made_at) = match known {
        Some(known) => (known.made_by, known.made_at),
        None => (options.who.to_owned(), workspace.now()),
    };
    let (name, kind) = (to.to_string(), MadeKind::Table);
    store.make(&Made { name, kind, sql: None, reads, made_by, made_at })?;
    let (old, new) = (location_of(from)?, location_of(to)?);
    let moved = async {
        for attempt in 0.. {
            if workspace.lake.rename(&old, &new).await? {
                break;
            }
            wait_for_readers(from, attempt).await?;
        }
        Ok(())
    };
    match moved.await {
        Ok(()) => store.rename_made(&from.to_string(), &to.to_string()),
        Err(error) => {
            // The table may have moved although the disk complained.
            if workspace.lake.head(&new).await?.is_none() {
                store.unmake(&[to.to_string()])?;
            }
            Err(error)
        }
    }
}

/// Drops a schema with what is in it; none if there was none.
async fn drop_schema(
    workspace: &Workspace,
    schema: &str,
    if_exists: bool,
    cascade: bool,
    options: Options<'_>,
) -> Result<Option<Vec<String>>> {
    let catalog = workspace.plain_catalog().await?;
    if !catalog.has_schema(schema) {
        return match if_exists {
            true => Ok(None),
            false => Err(Error::not_found(format!("unknown schema \"{schema}\""))
                .hint("Write DROP SCHEMA IF EXISTS where it may be missing.")),
        };
    }
    let inside: Vec<TableName> =
        catalog.names().filter(|name| name.schema == schema).cloned().collect();
    if let Some(first) = inside.first().filter(|_| !cascade) {
        return Err(Error::invalid(format!(
            "schema \"{schema}\" holds {} tables and views, such as \"{first}\"",
            inside.len()
        ))
        .hint("Drop them first, or write DROP SCHEMA … CASCADE."));
    }
    // All or nothing, as far as it is known before.
    for name in &inside {
        refuse_owned(workspace, name, false)?;
        options.reading.allow_change(workspace, &catalog, name)?;
    }
    let mut dropped = Vec::with_capacity(inside.len());
    for name in &inside {
        let _alone = workspace.lake.alone(&[name]).await;
        // Others may have changed what it holds while this one waited.
        let catalog = workspace.plain_catalog().await?;
        options.reading.allow_change(workspace, &catalog, name)?;
        keep_before(workspace, &catalog, name)?;
        remove(workspace, name, catalog.is_view(name)).await?;
        dropped.push(name.to_string());
    }
    workspace.store.unmake(&[schema.to_owned()])?;
    Ok(Some(dropped))
}
