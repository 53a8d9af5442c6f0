//! What readers see: landed and platform tables, and models as they were published.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result, Timestamp};
use flywheel_state::{Hold, MadeKind, Publication};
use flywheel_warehouse::{Catalog, CommitRecord, Lake, Location, TableName};

use crate::build::materialize::BEFORE;
use crate::{World, names};

/// The operation under which the warehouse commits a rewrite that changes no row.
const COMPACT: &str = "compact";

/// A point of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// Every table as it was at a time, by the lake's clock.
    Time(Timestamp),
    /// One table at a version, all others as they are.
    Version {
        /// The table's name in SQL.
        table: TableName,
        /// Its version.
        version: i64,
    },
}

/// What readers see now: every table at `schema/name` of the lake at its head, or at the version at which
/// it is held, and every model at its published version, or as its published view.
///
/// # Errors
/// The store's and the file system's own.
pub async fn catalog(world: World<'_>) -> Result<Catalog> {
    catalog_of(world, world.store.publications()?).await
}

/// What readers of `publications` see now.
pub(crate) async fn catalog_of(
    world: World<'_>,
    publications: Vec<Publication>,
) -> Result<Catalog> {
    let mut catalog = Catalog::new();
    let holds = holds(world)?;
    for location in world.lake.locations().await? {
        let Some(name) = names::plain_name(&location) else { continue };
        match holds.get(&name.to_string()) {
            None => {
                catalog.table(&name, location, None);
            }
            Some(Hold { version: Some(version), .. }) => {
                catalog.table(&name, location, Some(*version));
            }
            Some(Hold { version: None, .. }) => {}
        }
    }
    for seen in publications {
        add(&mut catalog, &seen, seen.version)?;
    }
    add_made(world, &mut catalog)?;
    Ok(catalog)
}

/// Adds the views and schemas that statements made. What a model publishes or the lake holds goes first.
fn add_made(world: World<'_>, catalog: &mut Catalog) -> Result<()> {
    for made in world.store.made()? {
        match (made.kind, made.sql) {
            (MadeKind::Schema, _) => {
                catalog.schema(made.name);
            }
            (MadeKind::View, Some(sql)) => {
                let name = TableName::parse(&made.name)?;
                if !catalog.contains(&name) {
                    catalog.view(&name, sql);
                }
            }
            (MadeKind::View, None) | (MadeKind::Table, _) => {}
        }
    }
    Ok(())
}

/// What readers saw at a point of the past. Models are those that are published now, at the newest
/// version that readers saw then; a table that is younger is not there.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if the table of [`At::Version`] does not exist; the store's
/// and the file system's own.
pub async fn catalog_at(world: World<'_>, at: &At) -> Result<Catalog> {
    match at {
        At::Time(time) => catalog_at_time(world, *time).await,
        At::Version { table, version } => catalog_at_version(world, table, *version).await,
    }
}

/// The tables whose readers are held back, by name.
pub(crate) fn holds(world: World<'_>) -> Result<BTreeMap<String, Hold>> {
    let holds = world.store.holds()?;
    Ok(holds.into_iter().map(|hold| (hold.name.clone(), hold)).collect())
}

async fn catalog_at_time(world: World<'_>, time: Timestamp) -> Result<Catalog> {
    let mut catalog = Catalog::new();
    let holds = holds(world)?;
    for location in world.lake.locations().await? {
        let Some(name) = names::plain_name(&location) else { continue };
        let Some(version) = world.lake.version_at(&location, time).await? else { continue };
        let held = holds.get(&name.to_string()).filter(|hold| hold.held_at <= time);
        let seen = match held {
            Some(hold) => hold.version.map(|good| good.min(version)),
            None => Some(version),
        };
        if seen.is_some() {
            catalog.table(&name, location, seen);
        }
    }
    for seen in world.store.publications()? {
        let (Some(location), Some(version)) = (&seen.location, seen.version) else {
            add(&mut catalog, &seen, None)?;
            continue;
        };
        let location = Location::new(location.as_str())?;
        if let Some(version) = seen_at(world.lake, &location, version, time).await? {
            add(&mut catalog, &seen, Some(version))?;
        }
    }
    add_made(world, &mut catalog)?;
    Ok(catalog)
}

async fn catalog_at_version(world: World<'_>, table: &TableName, version: i64) -> Result<Catalog> {
    let mut all = catalog(world).await?;
    let published = world.store.publications()?;
    let location = match published.iter().find(|seen| seen.name == table.to_string()) {
        Some(Publication { location: Some(location), .. }) => Location::new(location.as_str())?,
        Some(_) => {
            return Err(Error::invalid(format!("\"{table}\" is a view and has no versions"))
                .hint("Ask for a time instead: its tables are then read as they were."));
        }
        None => names::plain_location(&table.to_string())?,
    };
    world.lake.state_at(&location, version).await?;
    all.table(table, location, Some(version));
    Ok(all)
}

/// Adds what readers see of a model; a table at `version`.
fn add(catalog: &mut Catalog, seen: &Publication, version: Option<i64>) -> Result<()> {
    let name = TableName::parse(&seen.name)?;
    match (&seen.location, &seen.view_sql) {
        (Some(location), _) => catalog.table(&name, Location::new(location.as_str())?, version),
        (None, Some(sql)) => catalog.view(&name, sql.clone()),
        (None, None) => {
            return Err(Error::corrupt(format!(
                "the publication of \"{name}\" is neither table nor view"
            ))
            .hint("Run `flywheel build --full-refresh` for this model."));
        }
    };
    Ok(())
}

/// The version of a model's table that readers saw at a time. Versions of failed builds lie between
/// those that readers saw; each good one names the good one before it.
async fn seen_at(
    lake: &Lake,
    location: &Location,
    published: i64,
    time: Timestamp,
) -> Result<Option<i64>> {
    let history = lake.history(location).await?;
    let records: BTreeMap<i64, &CommitRecord> =
        history.iter().map(|record| (record.version, record)).collect();
    let mut version = published;
    while let Some(record) = records.get(&version) {
        if record.at <= time {
            return Ok(Some(version));
        }
        let before = match record.operation == COMPACT {
            true => Some(version - 1),
            false => record.metadata.get(BEFORE).and_then(serde_json::Value::as_i64),
        };
        match before.filter(|before| *before < version) {
            Some(before) => version = before,
            None => return Ok(None),
        }
    }
    Ok(None)
}

/// The head of a table whose good version is `version`, if only compactions lie between: its rows are
/// the same then.
pub(crate) async fn same_rows(
    lake: &Lake,
    location: &Location,
    version: i64,
    head: i64,
) -> Result<bool> {
    if head == version {
        return Ok(true);
    }
    if head < version {
        return Ok(false);
    }
    let history = lake.history(location).await?;
    let mut newer = history.iter().filter(|record| record.version > version);
    Ok(newer.all(|record| record.operation == COMPACT))
}
