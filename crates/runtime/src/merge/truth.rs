//! How well records were matched, where it is known which are the same.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result};
use flywheel_reconcile::matching::Key;

use super::Merging;
use super::find::Found;
use super::read::{Lake, keys, require_column};
use super::report::Truth;
use crate::link::texts;

impl Merging<'_> {
    /// Compares the pairs that were matched with those of a table that says of records which are the same: those with one
    /// `entity`.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if there is no such table, [`flywheel_base::ErrorKind::Invalid`] if it has not
    /// the columns `source`, `source_key` and `entity`, or names a record twice.
    pub(super) async fn judge(&self, lake: &Lake, table: &str, found: &Found) -> Result<Truth> {
        let about = |error: Error| error.context("the truth");
        let batch = lake.rows(table).await.map_err(about)?;
        for column in ["source", "source_key", "entity"] {
            require_column(&batch, column).map_err(|error| {
                about(error).hint("A truth has one row per record: source, source_key, entity.")
            })?;
        }
        let (sources, keys) = (texts(&batch, "source")?, keys(&batch, "source_key")?);
        let mut entities: BTreeMap<usize, String> = BTreeMap::new();
        let rows = sources.into_iter().zip(keys).zip(texts(&batch, "entity")?);
        for ((source, key), entity) in rows {
            let (Some(system), Some(id), Some(entity)) = (source, key, entity) else { continue };
            // A record that is not there any more, or was set aside, is no pair's.
            let Some(number) = found.numbers.get(&Key { system, id }) else { continue };
            if entities.insert(*number, entity).is_some() {
                return Err(Error::invalid("the truth names a record twice")
                    .hint("A truth has one row per record: source, source_key, entity."));
            }
        }
        Ok(judged(found, &entities))
    }
}

fn judged(found: &Found, entities: &BTreeMap<usize, String>) -> Truth {
    let pairs = |count: u64| count * count.saturating_sub(1) / 2;
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    for entity in entities.values() {
        *sizes.entry(entity.as_str()).or_default() += 1;
    }
    let mut truth = Truth { pairs: sizes.into_values().map(pairs).sum(), ..Truth::default() };
    for group in &found.groups {
        truth.matched += pairs(group.members.len() as u64);
        let mut within: BTreeMap<&str, u64> = BTreeMap::new();
        for entity in group.members.iter().filter_map(|member| entities.get(member)) {
            *within.entry(entity.as_str()).or_default() += 1;
        }
        truth.right += within.into_values().map(pairs).sum::<u64>();
    }
    let asked = found.review.iter().filter_map(|review| {
        let entity = |key: &Key| entities.get(found.numbers.get(key)?);
        let same = entity(&review.a)? == entity(&review.b)?;
        same.then_some((&review.a, &review.b))
    });
    truth.asked = asked.collect::<BTreeSet<_>>().len() as u64;
    let share = |of: u64| (of > 0).then(|| truth.right as f64 / of as f64);
    (truth.precision, truth.recall) = (share(truth.matched), share(truth.pairs));
    truth
}
