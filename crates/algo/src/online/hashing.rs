//! Places for named features in a table of fixed size, so that new values need no dictionary.
//!
//! Two names may share a place. Each gets a sign as well, so that what they add to each other's weight averages out.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

/// The most bits of a place: 2²⁴ weights.
pub const BITS_MAX: u32 = 24;

/// Starts and multiplies the hash of bytes (FNV-1a).
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// Stands between a field's name and its value, and in no text of either.
const BETWEEN: u8 = 0xff;

/// Gives features their places; the same in every version and on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hashing {
    bits: u32,
}

impl Hashing {
    /// Uses a table of 2 to the power of `bits` places.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] for 0 or over 24 bits.
    pub fn new(bits: u32) -> Result<Self> {
        if (1..=BITS_MAX).contains(&bits) {
            return Ok(Self { bits });
        }
        Err(Error::invalid(format!("a table of {bits} bits is asked for"))
            .hint(format!("Give 1 to {BITS_MAX} bits; 18 suit a few thousand values.")))
    }

    /// How many places there are.
    #[must_use]
    pub fn places(self) -> usize {
        1 << self.bits
    }

    /// Refuses a model that was read back and cannot have been learned: of ragged lengths, or not finite.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`].
    pub fn check(self) -> Result<()> {
        Self::new(self.bits)
            .map(drop)
            .map_err(|error| Error::corrupt("no table of weights").caused_by(error))
    }

    /// The place of a field that has this text, and 1 or −1.
    #[must_use]
    pub fn text(self, field: &str, text: &str) -> (u32, f64) {
        self.place(field, Some(text))
    }

    /// The place of a field that has this number, and the number or its opposite.
    #[must_use]
    pub fn number(self, field: &str, number: f64) -> (u32, f64) {
        let (place, sign) = self.place(field, None);
        (place, sign * number)
    }

    fn place(self, field: &str, text: Option<&str>) -> (u32, f64) {
        let mut hash = add(OFFSET, field.as_bytes());
        if let Some(text) = text {
            hash = add(add(hash, &[BETWEEN]), text.as_bytes());
        }
        // FNV leaves the last bytes in the low bits; stir before cutting (the finisher of SplitMix64).
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        hash ^= hash >> 31;
        let place = (hash >> (64 - self.bits)) as u32;
        (place, if hash & 1 == 0 { 1.0 } else { -1.0 })
    }
}

fn add(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}
