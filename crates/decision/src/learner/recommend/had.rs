//! What each user had at a fit, so that lists are judged day by day without reading all history again.
//!
//! It is stored beside the fit as sorted 64-bit digests of user and item, which fill 8 bytes a pair and name nobody. Two
//! pairs of a billion share one with a probability of about 3 %; then an item counts as had that was not.

use flywheel_algo::recommend::interactions::{Interactions, Vocabulary};
use flywheel_base::{ErrorKind, Result, digest};
use flywheel_state::Artifact;
use serde_json::Value;

use crate::artifact::Artifacts;

/// The key in a fit's detail under which the address of what users had stands.
pub(crate) const HAD: &str = "had";

/// The bytes of a digest.
const WIDTH: usize = size_of::<u64>();

/// Pairs of user and item, known by their digests.
pub(crate) struct Had(Vec<u8>);

impl Had {
    /// All pairs of users and items with evidence.
    pub(super) fn of(users: &Vocabulary, items: &Vocabulary, interactions: &Interactions) -> Self {
        let mut digests = Vec::with_capacity(interactions.cell_count());
        for user in 0..users.len() {
            let id = u32::try_from(user).ok().and_then(|user| users.id(user)).unwrap_or_default();
            let items = interactions.items(user).iter().filter_map(|item| items.id(*item));
            digests.extend(items.map(|item| pair(id, item)));
        }
        digests.sort_unstable();
        Self(digests.into_iter().flat_map(u64::to_le_bytes).collect())
    }

    /// What was stored beside a fit; none if nothing was, as beside fits of earlier versions, or if it is gone.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if a byte changed, [`ErrorKind::Denied`] if it cannot be read.
    pub(crate) fn load(artifacts: &Artifacts, fit: &Artifact) -> Result<Option<Self>> {
        let Some(address) = fit.detail.get(HAD).and_then(Value::as_str) else { return Ok(None) };
        match artifacts.get(address) {
            Ok(bytes) => Ok(Some(Self(bytes))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The bytes to store.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the user had the item.
    pub(crate) fn holds(&self, user: &str, item: &str) -> bool {
        let (digests, _) = self.0.as_chunks::<WIDTH>();
        digests.binary_search_by_key(&pair(user, item), |bytes| u64::from_le_bytes(*bytes)).is_ok()
    }
}

fn pair(user: &str, item: &str) -> u64 {
    digest::hash64(&[user.as_bytes(), item.as_bytes()])
}

#[cfg(test)]
mod tests {
    use flywheel_algo::recommend::interactions::Interaction;
    use flywheel_base::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_stored_beside_a_fit_knows_each_pair_and_no_other() {
        let users = Vocabulary::new(["ann", "bob", "cleo"]).unwrap();
        let items = Vocabulary::new(["tea", "salt", "oil"]).unwrap();
        let took = |user, item, weight| Interaction { user, item, weight, at: Some(0) };
        let rows = [took(0, 0, 1.0), took(0, 0, 1.0), took(0, 2, 1.0), took(1, 1, 2.0)];
        // A weight of 0 is no evidence: the item can be in a list.
        let rows = rows.into_iter().chain([took(1, 2, 0.0)]);
        let interactions = Interactions::new(3, 3, rows).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::new(folder.path());
        let address = artifacts.put(Had::of(&users, &items, &interactions).bytes()).unwrap();
        let fit = |detail| Artifact {
            digest: "0".to_owned(),
            learner: "next".to_owned(),
            turn: None,
            kind: "recommend".to_owned(),
            fitted_at: Timestamp::from_day(0),
            detail,
        };
        let had = Had::load(&artifacts, &fit(json!({"had": address}))).unwrap().unwrap();
        let mut found = Vec::new();
        for user in ["ann", "bob", "cleo", "dan"] {
            let items = ["tea", "salt", "oil", "rice"].into_iter();
            found.extend(items.filter(|item| had.holds(user, item)).map(|item| (user, item)));
        }
        assert_eq!(found, [("ann", "tea"), ("ann", "oil"), ("bob", "salt")]);
        assert!(Had::load(&artifacts, &fit(json!({}))).unwrap().is_none());
        let path = folder.path().join(&address);
        std::fs::write(&path, b"other").unwrap();
        assert!(Had::load(&artifacts, &fit(json!({"had": address}))).is_err());
        std::fs::remove_file(&path).unwrap();
        assert!(Had::load(&artifacts, &fit(json!({"had": address}))).unwrap().is_none());
    }
}
