//! Fields that refer to records of another link: ids of the one system are not those of the other.
//!
//! While a record is merged such a field holds the key of the other link, which both sides share. A
//! reference that is not linked on both sides yet says nothing: the field is left as it was agreed.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::Result;
use flywheel_project::resource::link::Link;
use flywheel_reconcile::record::{Pair, Record, Side};
use flywheel_state::{LinkRow, Store};
use serde_json::Value;

/// The ids of another link's records.
#[derive(Debug, Default)]
struct Ids {
    keys: Pair<BTreeMap<String, String>>,
    ids: Pair<BTreeMap<String, String>>,
}

/// What the fields of a link refer to.
#[derive(Debug, Default)]
pub(super) struct References {
    by_field: BTreeMap<String, Ids>,
}

impl References {
    /// Reads the links that fields refer to.
    pub(super) fn load(store: &Store, link: &Link) -> Result<Self> {
        let mut by_field = BTreeMap::new();
        for field in &link.fields {
            let Some(other) = &field.refers_to else { continue };
            by_field.insert(field.name.clone(), Ids::of(store.links(other)?));
        }
        Ok(Self { by_field })
    }

    /// Whether a field refers to records of another link.
    pub(super) fn has(&self, field: &str) -> bool {
        self.by_field.contains_key(field)
    }

    /// Puts keys in the place of ids; returns the fields whose reference is not known yet.
    pub(super) fn to_keys(&self, side: Side, record: &mut Record) -> BTreeSet<String> {
        let mut unknown = BTreeSet::new();
        for (field, ids) in &self.by_field {
            let Some(value) = record.get_mut(field) else { continue };
            match ids.keys.of(side).get(&text(value)) {
                Some(key) => *value = Value::from(key.as_str()),
                None => {
                    unknown.insert(field.clone());
                }
            }
        }
        unknown
    }

    /// Puts the ids of a side in the place of keys.
    pub(super) fn to_ids(&self, side: Side, record: &Record) -> Record {
        let mut record = record.clone();
        for (field, ids) in &self.by_field {
            let Some(value) = record.get_mut(field) else { continue };
            if let Some(id) = value.as_str().and_then(|key| ids.ids.of(side).get(key)) {
                *value = Value::from(id.as_str());
            }
        }
        record
    }
}

impl Ids {
    /// Of links whose records are known on both sides; others cannot be translated.
    fn of(rows: Vec<LinkRow>) -> Self {
        let mut made = Self::default();
        for row in rows.into_iter().filter(|row| !row.cut) {
            let (Some(left), Some(right)) = (row.left_id, row.right_id) else { continue };
            made.keys.left.insert(left.clone(), row.key.clone());
            made.keys.right.insert(right.clone(), row.key.clone());
            made.ids.left.insert(row.key.clone(), left);
            made.ids.right.insert(row.key, right);
        }
        made
    }
}

/// An id as text: systems give numbers as numbers.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
