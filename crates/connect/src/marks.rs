//! Rows that were set aside and are remembered, so that this happens once.
//!
//! A row whose place in the order of a read cannot be told is met by every read. The newest of them are
//! remembered by a few bytes each, in the position. One that is forgotten is set aside again without a line,
//! so that the quarantine knows it by its content and has it once all the same.

use std::collections::{HashSet, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flywheel_base::{Error, digest};
use serde::{Deserialize, Serialize};

/// Marks that are remembered; they take 128 KiB of a position.
const MARKS_MAX: usize = 16_384;

/// Hex digits of a mark.
const DIGITS: usize = 12;

/// Bytes of a mark.
const BYTES: usize = DIGITS / 2;

/// What tells a row from others by its content.
pub(crate) fn mark(row: &str) -> String {
    let mut mark = digest::short(&[row.as_bytes()]);
    mark.truncate(DIGITS);
    mark
}

/// The number that a mark is; longer ones are cut off.
fn number(mark: &str) -> Option<u64> {
    u64::from_str_radix(mark.get(..DIGITS)?, 16).ok()
}

/// Marks in the order in which they came; the newest ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub(crate) struct Marks {
    order: VecDeque<u64>,
    known: HashSet<u64>,
}

/// Marks as positions have them: all in one text, or each as a text in positions of earlier versions.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Packed(String),
    Listed(Vec<String>),
}

impl Marks {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Whether a mark is remembered.
    pub(crate) fn contains(&self, mark: &str) -> bool {
        number(mark).is_some_and(|mark| self.known.contains(&mark))
    }

    /// Remembers a mark.
    pub(crate) fn insert(&mut self, mark: &str) {
        if let Some(mark) = number(mark) {
            self.add(mark);
        }
    }

    fn add(&mut self, mark: u64) {
        if !self.known.insert(mark) {
            return;
        }
        self.order.push_back(mark);
        if self.order.len() > MARKS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Takes in marks that are newer than all of these; says whether there were ones among them that it
    /// did not have.
    pub(crate) fn renew(&mut self, newer: Self) -> bool {
        if newer.order.iter().all(|mark| self.known.contains(mark)) {
            return false;
        }
        self.order.retain(|mark| !newer.known.contains(mark));
        self.known.retain(|mark| !newer.known.contains(mark));
        newer.order.into_iter().for_each(|mark| self.add(mark));
        true
    }
}

impl From<Marks> for String {
    fn from(marks: Marks) -> Self {
        let mut bytes = Vec::with_capacity(marks.order.len() * BYTES);
        for mark in marks.order {
            let [_, _, digits @ ..] = mark.to_be_bytes();
            bytes.extend_from_slice(&digits);
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

impl TryFrom<Written> for Marks {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self, Error> {
        let wrong = || Error::corrupt("the rows that were set aside are not remembered as marks");
        let mut marks = Self::default();
        match written {
            Written::Packed(text) => {
                let bytes =
                    URL_SAFE_NO_PAD.decode(text).map_err(|error| wrong().caused_by(error))?;
                let (found, rest) = bytes.as_chunks::<BYTES>();
                if !rest.is_empty() {
                    return Err(wrong());
                }
                for [a, b, c, d, e, f] in found {
                    marks.add(u64::from_be_bytes([0, 0, *a, *b, *c, *d, *e, *f]));
                }
            }
            Written::Listed(texts) => {
                for text in texts {
                    marks.add(number(&text).ok_or_else(wrong)?);
                }
            }
        }
        Ok(marks)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn marks_survive_their_text_form_and_older_forms_are_read() {
        let mut marks = Marks::default();
        let rows: Vec<String> = (0..100).map(|row| mark(&format!("row {row}"))).collect();
        rows.iter().for_each(|mark| marks.insert(mark));
        let written = serde_json::to_value(&marks).unwrap();
        assert_eq!(written.as_str().unwrap().len(), 800);
        assert_eq!(serde_json::from_value::<Marks>(written).unwrap(), marks);
        assert_eq!(serde_json::from_value::<Marks>(json!(rows)).unwrap(), marks);
        // SQLite had longer ones.
        let longer: Vec<String> = rows.iter().map(|mark| format!("{mark}beef")).collect();
        assert_eq!(serde_json::from_value::<Marks>(json!(longer)).unwrap(), marks);
        assert!(marks.contains(&longer[0]) && !marks.contains(&mark("another")));
        for wrong in [json!("AAAA"), json!("?"), json!(["no mark"]), json!(7)] {
            assert!(serde_json::from_value::<Marks>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_the_newest_are_kept() {
        let names: Vec<String> = (0..MARKS_MAX + 3).map(|n| mark(&n.to_string())).collect();
        let mut marks = Marks::default();
        names.iter().for_each(|mark| marks.insert(mark));
        assert!(!marks.contains(&names[2]) && marks.contains(&names[3]));
        let mut newer = Marks::default();
        newer.insert(&names[9]);
        assert!(!marks.clone().renew(newer.clone()), "nothing new");
        newer.insert(&names[0]);
        assert!(marks.renew(newer));
        assert!(marks.contains(&names[0]) && marks.contains(&names[9]));
        assert!(!marks.contains(&names[3]) && marks.contains(&names[4]));
        assert_eq!(marks.order.len(), MARKS_MAX);
    }
}
