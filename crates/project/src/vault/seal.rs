//! Sealing one secret: AES-256-GCM with a nonce drawn at random, over the value; what is said beside it is proven too.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use flywheel_base::{Error, Result, Secret, digest, entropy};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// How long a key is.
const KEY_BYTES: usize = 32;
/// How many digits it is written with.
pub(super) const KEY_DIGITS: usize = 2 * KEY_BYTES;
/// How many digits the id of a key has.
const ID_DIGITS: usize = 16;
/// What sealing adds to a value.
const TAG_BYTES: usize = 16;
/// Keeps ids of keys apart from other digests.
const ID_OF_KEY: &[u8] = b"flywheel: id of a key of the vault";
/// Keeps what is sealed here apart from what may be sealed elsewhere, and this layout from later ones.
const SEALED_HERE: &str = "flywheel: secret of the vault, layout 1";

/// A sealed secret.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// When its value was set.
    pub(super) set_at: String,
    /// The id of the key.
    pub(super) key: String,
    /// Drawn anew for each sealing.
    nonce: String,
    /// The sealed value and its tag.
    sealed: String,
}

/// A key. What it is made of is wiped when it is dropped.
pub(super) struct Key {
    id: String,
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

impl Key {
    fn new(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        Self { id: digest::short(&[ID_OF_KEY, bytes.as_slice()]), bytes }
    }

    /// A key that nobody can guess.
    pub(super) fn random() -> Result<Self> {
        entropy::bytes().map(Zeroizing::new).map(Self::new)
    }

    /// The key of a line of digits.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let bytes = Zeroizing::new(bytes_of(line)?);
        <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).ok().map(Zeroizing::new).map(Self::new)
    }

    /// Tells keys apart and says nothing about them.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The line of digits.
    pub(super) fn digits(&self) -> Zeroizing<String> {
        Zeroizing::new(digits_of(self.bytes.as_slice()))
    }

    /// Seals a value under its name and moment.
    pub(super) fn seal(&self, name: &str, value: &Secret, set_at: &str) -> Result<Entry> {
        let failed = |_| Error::internal(format!("the secret \"{name}\" cannot be sealed"));
        let value = value.expose().as_bytes();
        // With room for the tag: a buffer that grows leaves a copy of the value behind.
        let mut sealed = Vec::with_capacity(value.len() + TAG_BYTES);
        sealed.extend_from_slice(value);
        let beside = Aad::from(beside(&self.id, name, set_at));
        let cipher =
            RandomizedNonceKey::new(&AES_256_GCM, self.bytes.as_slice()).map_err(failed)?;
        let nonce = cipher.seal_in_place_append_tag(beside, &mut sealed).map_err(failed)?;
        let nonce: &[u8; NONCE_LEN] = nonce.as_ref();
        Ok(Entry {
            set_at: set_at.to_owned(),
            key: self.id.clone(),
            nonce: digits_of(nonce),
            sealed: digits_of(&sealed),
        })
    }

    /// Opens an entry; none if it is not what was sealed under this name.
    pub(super) fn open(&self, name: &str, entry: &Entry) -> Option<Secret> {
        let nonce = Nonce::try_assume_unique_for_key(&bytes_of(&entry.nonce)?).ok()?;
        let mut sealed = Zeroizing::new(bytes_of(&entry.sealed)?);
        let beside = Aad::from(beside(&self.id, name, &entry.set_at));
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, self.bytes.as_slice()).ok()?;
        let plain = cipher.open_in_place(nonce, beside, sealed.as_mut_slice()).ok()?;
        std::str::from_utf8(plain).ok().map(Secret::new)
    }
}

/// What is sealed beside a value without being hidden. Each part has its length before it, so that none runs into
/// another.
fn beside(key: &str, name: &str, set_at: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in [SEALED_HERE, key, name, set_at] {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

/// The id of a key as an error shows it: what stands in the file may be anything.
pub(super) fn shown_id(id: &str) -> &str {
    let whole = id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if whole { id } else { "(not an id)" }
}

fn digits_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
        }
    }
    text
}

/// The bytes of digits in lower case, so that bytes have one text.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(text.len() / 2);
    for pair in text.as_bytes().chunks(2) {
        let [high, low] = pair else { return None };
        bytes.push((digit(*high)? << 4) | digit(*low)?);
    }
    Some(bytes)
}
