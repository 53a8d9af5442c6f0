//! The bytes of a fitted model: a header and little-endian arrays, so that a large matrix stays small.
//!
//! ```text
//! "FWREC\x01" · name · sections (options as JSON, then arrays, each with its length) · digest
//! ```
//! The digest over everything before it is checked first, so that a cut or altered artifact is an
//! error and never a wrong recommendation.

use flywheel_base::{Error, Result, digest};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The first bytes of every model; the last one is the version of the layout.
const MAGIC: &[u8; 6] = b"FWREC\x01";
/// The bytes of the digest at the end.
const DIGEST_BYTES: usize = 8;

/// Writes the sections of one model in order.
#[derive(Clone, Debug)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Starts a model of the algorithm called `name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut made = Self { bytes: MAGIC.to_vec() };
        made.raw(name.as_bytes());
        made
    }

    /// Adds a small struct as JSON.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if it has no JSON form.
    pub fn json<T: Serialize>(&mut self, value: &T) -> Result<()> {
        let bytes = serde_json::to_vec(value)
            .map_err(|error| Error::internal("a model has no JSON form").caused_by(error))?;
        self.raw(&bytes);
        Ok(())
    }

    /// Adds whole numbers.
    pub fn u32s(&mut self, values: &[u32]) {
        self.length(values.len());
        values.iter().for_each(|value| self.bytes.extend_from_slice(&value.to_le_bytes()));
    }

    /// Adds numbers in single precision.
    pub fn f32s(&mut self, values: &[f32]) {
        self.length(values.len());
        values.iter().for_each(|value| self.bytes.extend_from_slice(&value.to_le_bytes()));
    }

    /// Adds numbers in double precision.
    pub fn f64s(&mut self, values: &[f64]) {
        self.length(values.len());
        values.iter().for_each(|value| self.bytes.extend_from_slice(&value.to_le_bytes()));
    }

    /// Adds bytes as they are (a model inside a model).
    pub fn raw(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// The finished model.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let sum = digest::hash64(&[MAGIC, &self.bytes[MAGIC.len()..]]);
        self.bytes.extend_from_slice(&sum.to_le_bytes());
        self.bytes
    }

    fn length(&mut self, length: usize) {
        self.bytes.extend_from_slice(&(length as u64).to_le_bytes());
    }
}

/// Reads the sections of one model in the order they were written.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Checks the frame and the digest; gives the algorithm's name and the sections.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`] if the bytes are not a whole model of this version.
    pub fn open(bytes: &'a [u8]) -> Result<(String, Self)> {
        let body = bytes.strip_prefix(MAGIC).ok_or_else(|| damaged("has no model header"))?;
        let end = body.len().checked_sub(DIGEST_BYTES).ok_or_else(|| damaged("is cut"))?;
        let (rest, sum) = body.split_at(end);
        if digest::hash64(&[MAGIC, rest]).to_le_bytes() != sum {
            return Err(damaged("does not match its digest"));
        }
        let mut reader = Self { rest };
        let name = String::from_utf8(reader.raw()?.to_vec())
            .map_err(|_| damaged("has a name that is not text"))?;
        Ok((name, reader))
    }

    /// The next section as a struct.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`] if it is something else.
    pub fn json<T: DeserializeOwned>(&mut self) -> Result<T> {
        serde_json::from_slice(self.raw()?)
            .map_err(|error| damaged("has another layout").caused_by(error))
    }

    /// The next section as whole numbers.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`] if it is cut.
    pub fn u32s(&mut self) -> Result<Vec<u32>> {
        Ok(self.array::<4>()?.into_iter().map(u32::from_le_bytes).collect())
    }

    /// The next section in single precision; every number is finite.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`] if it is cut or holds a number that is not finite.
    pub fn f32s(&mut self) -> Result<Vec<f32>> {
        let values: Vec<f32> = self.array::<4>()?.into_iter().map(f32::from_le_bytes).collect();
        if values.iter().all(|value| value.is_finite()) { Ok(values) } else { Err(not_finite()) }
    }

    /// The next section in double precision; every number is finite.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`] if it is cut or holds a number that is not finite.
    pub fn f64s(&mut self) -> Result<Vec<f64>> {
        let values: Vec<f64> = self.array::<8>()?.into_iter().map(f64::from_le_bytes).collect();
        if values.iter().all(|value| value.is_finite()) { Ok(values) } else { Err(not_finite()) }
    }

    /// The next section as it is.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`] if it is cut.
    pub fn raw(&mut self) -> Result<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`] if sections are left.
    pub fn finish(&self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(damaged("has sections nobody reads")) }
    }

    fn length(&mut self) -> Result<usize> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8)?);
        usize::try_from(u64::from_le_bytes(bytes)).map_err(|_| damaged("has a senseless length"))
    }

    fn array<const N: usize>(&mut self) -> Result<Vec<[u8; N]>> {
        let length = self.length()?;
        let size = length.checked_mul(N).ok_or_else(|| damaged("has a senseless length"))?;
        let (chunks, _) = self.take(size)?.as_chunks::<N>();
        Ok(chunks.to_vec())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(|| damaged("is cut"))?;
        self.rest = rest;
        Ok(taken)
    }
}

/// The error for a model whose parts do not fit together.
pub(super) fn damaged(how: &str) -> Error {
    Error::corrupt(format!("recommender artifact {how}"))
        .hint("Fit the learner again, or restore the artifact from a backup.")
}

fn not_finite() -> Error {
    damaged("holds a number that is not finite")
}

#[cfg(test)]
mod tests {
    use flywheel_base::ErrorKind;

    use super::*;

    fn sample() -> Vec<u8> {
        let mut writer = Writer::new("x");
        writer.u32s(&[1, 2]);
        writer.f32s(&[0.5]);
        writer.f64s(&[-0.25]);
        writer.finish()
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = sample();
        let (name, mut reader) = Reader::open(&bytes).unwrap();
        assert_eq!(name, "x");
        assert_eq!(reader.u32s().unwrap(), [1, 2]);
        assert!(reader.finish().is_err());
        assert_eq!(reader.f32s().unwrap(), [0.5]);
        assert_eq!(reader.f64s().unwrap(), [-0.25]);
        reader.finish().unwrap();
        assert_eq!(reader.u32s().unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn any_cut_or_altered_byte_is_found() {
        let bytes = sample();
        for place in 0..bytes.len() {
            assert_eq!(Reader::open(&bytes[..place]).unwrap_err().kind(), ErrorKind::Corrupt);
            let mut altered = bytes.clone();
            altered[place] ^= 1;
            assert_eq!(Reader::open(&altered).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}
