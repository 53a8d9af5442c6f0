//! The references that are emptied, one by one, with what they led to.

use arrow::array::RecordBatch;
use flywheel_base::Result;
use flywheel_reconcile::record::Side;
use flywheel_reconcile::split::place;
use serde::Serialize;

use super::Splitting;
use super::part::PartOf;
use super::rows::{RowKeys, texts};
use super::scan::read_keys;
use crate::Workspace;

/// How many are told; a list beyond this is a table of its own.
const CLEARED_MAX: usize = 100_000;

/// A reference that is emptied in a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClearedReference {
    /// The part.
    pub part: String,
    /// The table.
    pub table: String,
    /// The key of the row.
    pub key: String,
    /// The column that is emptied.
    pub column: String,
    /// The key it led to, in the other part.
    pub led_to: String,
}

/// The references that are emptied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClearedReferences {
    /// The first of them, by table.
    pub told: Vec<ClearedReference>,
    /// How many more there are.
    pub more: u64,
}

/// Reads the source and tells each reference that taking it apart empties.
///
/// # Errors
/// Those of the scan.
pub async fn cleared(workspace: &Workspace, name: &str) -> Result<ClearedReferences> {
    let splitting = Splitting::named(workspace, name)?;
    let scanned = splitting.scan().await?;
    let placed = place(&scanned.scan)?;
    let source = splitting.source()?;
    let mut all = ClearedReferences::default();
    for (at, table) in splitting.tables().iter().enumerate() {
        let counted = placed.counted().get(at);
        let crosses = |side: Side| {
            counted.is_some_and(|counted| counted.crossing.iter().any(|pair| *pair.of(side) > 0))
        };
        if !Side::BOTH.into_iter().any(crosses) {
            continue;
        }
        let spec = splitting.spec(at)?;
        let request = splitting.request(table)?;
        let take = &mut |keys: &RowKeys, batch: &RecordBatch| {
            for side in Side::BOTH {
                let part = PartOf { placed: &placed, spec, table: at, side };
                for (row, reference) in part.choose(batch, keys)?.cleared {
                    if all.told.len() >= CLEARED_MAX {
                        all.more += 1;
                        continue;
                    }
                    let column = spec.references.get(reference).cloned().unwrap_or_default();
                    let led_to = texts(&batch.slice(row, 1), &column)?;
                    all.told.push(ClearedReference {
                        part: splitting.part(side).to_owned(),
                        table: table.table.clone(),
                        key: spec.shown(batch, row)?,
                        led_to: led_to.into_iter().next().unwrap_or_default(),
                        column,
                    });
                }
            }
            Ok(())
        };
        Box::pin(read_keys(source.read(&request), spec, take)).await?;
    }
    Ok(all)
}
