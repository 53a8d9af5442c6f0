//! What one user did: the only thing a fitted model needs to know of a person.

use serde::{Deserialize, Serialize};

/// One item of a history, with every occasion it was bought, played or clicked on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Owned {
    /// Dense index of the item.
    pub item: u32,
    /// The summed weight (amount, rating, count).
    pub weight: f64,
    /// How often; at least 1.
    pub occasions: u32,
    /// When, ascending, in microseconds; empty if times are unknown.
    pub times: Vec<i64>,
}

/// What one user did until now.
///
/// # Shape
/// One [`Owned`] per item, by ascending item index.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UserHistory {
    owned: Vec<Owned>,
    now: Option<i64>,
}

impl UserHistory {
    /// A history without any item: the cold user.
    #[must_use]
    pub fn empty(now: Option<i64>) -> Self {
        Self { owned: Vec::new(), now }
    }

    /// Takes items that are sorted by index and distinct already.
    pub(super) fn from_sorted(owned: Vec<Owned>, now: Option<i64>) -> Self {
        Self { owned, now }
    }

    /// Adds one event; the next answer of every model reflects it.
    ///
    /// An event whose weight is not finite and positive is not evidence and is left out.
    pub fn push(&mut self, item: u32, weight: f64, at: Option<i64>) {
        if !weight.is_finite() || weight <= 0.0 {
            return;
        }
        let place = match self.owned.binary_search_by_key(&item, |owned| owned.item) {
            Ok(place) => place,
            Err(place) => {
                self.owned.insert(place, Owned { item, ..Owned::default() });
                place
            }
        };
        let Some(owned) = self.owned.get_mut(place) else { return };
        owned.weight += weight;
        match at {
            Some(at) => match owned.times.binary_search(&at) {
                Ok(_) => {}
                Err(position) => {
                    owned.times.insert(position, at);
                    owned.occasions += 1;
                }
            },
            None => owned.occasions += 1,
        }
    }

    /// The items, by ascending index.
    #[must_use]
    pub fn owned(&self) -> &[Owned] {
        &self.owned
    }

    /// Whether `item` is in the history.
    #[must_use]
    pub fn owns(&self, item: u32) -> bool {
        self.find(item).is_some()
    }

    /// The entry of `item`, if there is one.
    #[must_use]
    pub fn find(&self, item: u32) -> Option<&Owned> {
        let place = self.owned.binary_search_by_key(&item, |owned| owned.item).ok()?;
        self.owned.get(place)
    }

    /// Whether nothing is known of this user.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.owned.is_empty()
    }

    /// The present moment: as given, else the later of the latest event and the fit of the model.
    #[must_use]
    pub fn moment(&self, fitted_at: Option<i64>) -> Option<i64> {
        let latest = || self.owned.iter().filter_map(|owned| owned.times.last().copied()).max();
        self.now.or_else(|| latest().max(fitted_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pushed_event_is_merged_and_a_senseless_one_left_out() {
        let mut history = UserHistory::empty(None);
        history.push(7, 2.0, Some(20));
        history.push(3, 1.0, Some(10));
        history.push(7, 1.0, Some(15));
        history.push(7, 1.0, Some(15));
        history.push(9, f64::NAN, Some(99));
        history.push(9, -1.0, Some(99));
        let items: Vec<u32> = history.owned().iter().map(|owned| owned.item).collect();
        assert_eq!(items, [3, 7]);
        let seven = history.find(7).unwrap();
        assert_eq!(
            (seven.weight, seven.occasions, seven.times.as_slice()),
            (4.0, 2, &[15, 20][..])
        );
        assert_eq!((history.moment(None), history.moment(Some(30))), (Some(20), Some(30)));
        assert!(history.owns(3) && !history.owns(9));
    }
}
