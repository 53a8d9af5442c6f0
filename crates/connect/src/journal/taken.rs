//! Requests that a topic has taken under a key of their sender's: sent again, they are not kept twice.
//!
//! A key is in the commit frame that made its messages visible, so it is known exactly if they are. A segment begins
//! with all that the one before it knew, as far as they take less than half of it.

use std::collections::{HashMap, VecDeque};

use flywheel_base::digest;
use serde::{Deserialize, Serialize};

/// Keys of a topic that are known; of more the oldest are forgotten.
pub(super) const KEYS_MAX: usize = 100_000;

/// Bytes that one takes in a frame at most: four numbers of 20 digits, with what separates them.
const TAKEN_BYTES_MAX: u64 = 88;

/// A digest of a key.
pub(super) type Key = (u64, u64);

/// A request: digests of its key and of its messages, and the offset of the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Taken(pub(super) Key, pub(super) u64, pub(super) i64);

/// The digest of a key.
pub(super) fn key_of(key: &str) -> Key {
    (digest::hash64(&[b"key", key.as_bytes()]), digest::hash64(&[b"key again", key.as_bytes()]))
}

/// The digest of messages.
pub(super) fn content_of(messages: &[Vec<u8>]) -> u64 {
    let parts: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    digest::hash64(&parts)
}

/// The requests that are known, at most [`KEYS_MAX`].
#[derive(Debug, Default)]
pub(super) struct Known {
    by_key: HashMap<Key, (u64, i64)>,
    /// Oldest first.
    order: VecDeque<Key>,
}

impl Known {
    /// The digest of a request's messages and the offset of the first.
    pub(super) fn get(&self, key: Key) -> Option<(u64, i64)> {
        self.by_key.get(&key).copied()
    }

    /// Adds requests, oldest first.
    pub(super) fn extend(&mut self, taken: impl IntoIterator<Item = Taken>) {
        for Taken(key, content, first) in taken {
            if self.by_key.insert(key, (content, first)).is_none() {
                self.order.push_back(key);
            }
            if self.order.len() > KEYS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.by_key.remove(&oldest);
            }
        }
    }

    /// The newest of them that have room in `bytes` bytes of a frame, oldest first.
    pub(super) fn newest(&self, bytes: u64) -> Vec<Taken> {
        let room = usize::try_from(bytes / TAKEN_BYTES_MAX).unwrap_or(usize::MAX);
        let taken = |key: &Key| self.get(*key).map(|(content, first)| Taken(*key, content, first));
        self.order.iter().skip(self.order.len().saturating_sub(room)).filter_map(taken).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_and_the_rest_stay_in_order() {
        let mut known = Known::default();
        let taken = |n: usize| Taken((n as u64, 1), 7, n as i64);
        known.extend((0..KEYS_MAX + 2).map(taken));
        known.extend([taken(5)]);
        assert_eq!((known.get((1, 1)), known.get((2, 1))), (None, Some((7, 2))));
        let list = known.newest(u64::MAX);
        assert_eq!(known.newest(2 * TAKEN_BYTES_MAX + 1), list[KEYS_MAX - 2..]);
        assert_eq!(
            (list.len(), list[0], list[KEYS_MAX - 1]),
            (KEYS_MAX, taken(2), taken(KEYS_MAX + 1))
        );
    }

    #[test]
    fn a_key_reads_back_from_json_bit_for_bit() {
        let taken = Taken((u64::MAX, u64::MAX - 1), 1 << 63, i64::MAX);
        let text = serde_json::to_string(&taken).unwrap();
        assert!(text.len() as u64 <= TAKEN_BYTES_MAX);
        assert_eq!(serde_json::from_str::<Taken>(&text).unwrap(), taken);
    }
}
