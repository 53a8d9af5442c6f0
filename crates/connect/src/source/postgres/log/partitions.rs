//! The parts of a partitioned table. Rows that come or go with a part are not in the log: only those
//! of a part that was made empty are.

use flywheel_base::{Error, Result};

use super::position::Stored;
use crate::postgres::{Session, field};
use crate::source::postgres::relation::Relation;

/// Proves that no rows came or went with a part, and learns which parts there are.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Blocked`] if a part is gone, or a table with rows of its own became one.
pub(super) async fn check(
    session: &Session,
    relation: &Relation,
    stored: &mut Stored,
) -> Result<()> {
    let Some(table) = relation.table.as_ref().filter(|table| table.form == "p") else {
        return Ok(());
    };
    // A table that was made as a part has its type from the same transaction.
    let sql = "SELECT p.relid::oid, p.relid::text, i.xmin = t.xmin \
               FROM pg_catalog.pg_partition_tree($1::oid::regclass) p \
               JOIN pg_catalog.pg_inherits i ON i.inhrelid = p.relid \
               JOIN pg_catalog.pg_type t ON t.typrelid = p.relid ORDER BY 1";
    let mut now = Vec::new();
    for row in session.rows(sql, &[&table.oid]).await? {
        let (number, part, made): (u32, String, bool) =
            (field(&row, 0)?, field(&row, 1)?, field(&row, 2)?);
        let new = stored.partitions.as_ref().is_some_and(|known| !known.contains(&number));
        if new && !made {
            return again(format!(
                "the table \"{part}\" was attached to {}, and the log does not have the rows it had",
                relation.name
            ));
        }
        now.push(number);
    }
    if stored.partitions.iter().flatten().any(|number| !now.contains(number)) {
        return again(format!(
            "a partition of {} was dropped or detached, and the log does not tell which rows went \
             with it",
            relation.name
        ));
    }
    stored.partitions = Some(now);
    Ok(())
}

fn again(message: String) -> Result<()> {
    Err(Error::blocked(message).hint("Delete the stream's position to read it whole again."))
}
