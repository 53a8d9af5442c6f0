//! What items are called, for people who read decisions.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use flywheel_base::{Error, Result, statement};
use flywheel_warehouse::Session;
use futures::StreamExt;

use crate::Workspace;
use crate::access::Reading;
use crate::lake_source::render;

/// Items whose names are looked up at once; the others keep their ids.
const ITEMS_MAX: usize = 2_000;

/// The names of those of `ids` that the `items` of a recommender know, by id. The recommenders of `first` are asked
/// before the others, on behalf of `reading`.
///
/// # Errors
/// Those of queries.
pub async fn item_names(
    workspace: &Workspace,
    reading: &Reading,
    ids: &BTreeSet<String>,
    first: Option<&str>,
) -> Result<BTreeMap<String, String>> {
    let mut names = BTreeMap::new();
    let mut learners: Vec<(&String, &str)> = workspace
        .project
        .learners
        .iter()
        .filter_map(|(name, one)| Some((name, one.recommend.as_ref()?.items.as_deref()?)))
        .collect();
    learners.sort_by_key(|(name, _)| Some(name.as_str()) != first);
    let texts: Vec<&str> = learners.iter().map(|(_, items)| *items).collect();
    let session = workspace.session_for(&texts.join("\n"), reading).await?;
    for (name, items) in learners {
        let open: Vec<&String> =
            ids.iter().filter(|id| !names.contains_key(*id)).take(ITEMS_MAX).collect();
        if open.is_empty() {
            break;
        }
        let what = format!("learner \"{name}\": items");
        let items = render(workspace, items).map_err(|error| error.context(&what))?;
        look_up(&session, statement::one(&what, &items)?, &open, &mut names).await?;
    }
    Ok(names)
}

async fn look_up(
    session: &Session,
    items: &str,
    ids: &[&String],
    names: &mut BTreeMap<String, String>,
) -> Result<()> {
    let query = session.query(&format!("select * from (\n{items}\n) as items")).await?;
    let schema = query.schema();
    if !["item_id", "name"].iter().all(|column| schema.field_with_name(column).is_ok()) {
        return Ok(());
    }
    let listed: Vec<String> =
        ids.iter().map(|id| format!("'{}'", id.replace('\'', "''"))).collect();
    let sql = format!(
        "select cast(item_id as varchar) as id, cast(name as varchar) as name from (\n{items}\n) as items \
         where name is not null and cast(item_id as varchar) in ({})",
        listed.join(", ")
    );
    let query = session.query(&sql).await?;
    let mut stream = query.stream().await?;
    while let Some(batch) = stream.next().await {
        add(&batch?, names)?;
    }
    Ok(())
}

fn add(batch: &RecordBatch, names: &mut BTreeMap<String, String>) -> Result<()> {
    let options = FormatOptions::default();
    let texts =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
    let texts = texts
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| Error::internal("a name cannot be shown").caused_by(e))?;
    let [ids, called] = texts.as_slice() else { return Ok(()) };
    for row in 0..batch.num_rows() {
        if batch.columns().iter().all(|column| !column.is_null(row)) {
            names
                .entry(ids.value(row).to_string())
                .or_insert_with(|| called.value(row).to_string());
        }
    }
    Ok(())
}
