//! HMAC-SHA-256 under a key that never leaves this module's types.

use std::fmt;

use flywheel_base::{Error, Result, Secret};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A key ready to be used.
#[derive(Clone)]
pub(super) struct Keyed(Hmac<Sha256>);

impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyed(…)")
    }
}

impl Keyed {
    /// Takes the key as it is, so that other systems compute the same digests.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if the digest refuses the key, which it never does.
    pub(super) fn new(key: &Secret) -> Result<Self> {
        Self::from_bytes(key.expose().as_bytes())
    }

    /// A key for one purpose, from which neither the key nor those for other purposes follow.
    ///
    /// # Errors
    /// As [`Keyed::new`].
    pub(super) fn derived(key: &Secret, purpose: &str) -> Result<Self> {
        Self::from_bytes(&Self::new(key)?.digest(&[b"flywheel mask ", purpose.as_bytes()]))
    }

    fn from_bytes(key: &[u8]) -> Result<Self> {
        Hmac::<Sha256>::new_from_slice(key)
            .map(Self)
            .map_err(|error| Error::internal("a key does not fit its digest").caused_by(error))
    }

    /// The digest of `parts`, one after the other.
    pub(super) fn digest(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles.filter_map(|nibble| DIGITS.get(usize::from(nibble))).collect()
}
