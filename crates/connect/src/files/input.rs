//! The bytes of a file as UTF-8 text: decompressed by its magic bytes, decoded, and hashed on the way.

use std::io::{self, Cursor, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use encoding_rs::{Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE};
use flywheel_base::{Error, ErrorKind, Result};

use super::VisibleFile;
use super::listing::unwrapped;
use super::state::{FileState, Resume, digest};

/// Bytes looked at to find compression and encoding.
const PEEK_BYTES: usize = 512;

/// Bytes decoded at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// The first bytes of a gzip member.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The first bytes of a zstd frame.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Bytes from some place.
pub(super) type Bytes = Box<dyn Read + Send>;

/// Whether a file that begins so is compressed.
pub(crate) fn compressed(head: &[u8]) -> bool {
    head.starts_with(&GZIP) || head.starts_with(&ZSTD)
}

/// Finds an encoding by its name, as in HTML: `utf-8`, `windows-1252`, `gbk`, `utf-16le`, …
pub(crate) fn encoding(name: &str) -> Result<&'static Encoding> {
    Encoding::for_label(name.as_bytes()).ok_or_else(|| {
        Error::invalid(format!("\"{name}\" is not a known encoding")).hint(
            "Write utf-8, windows-1252, iso-8859-1, gbk, gb18030, big5, shift_jis, utf-16le …",
        )
    })
}

/// The raw bytes of a file that have been read, hashed once each.
#[derive(Debug, Default)]
struct Tally {
    hasher: blake3::Hasher,
    hashed: u64,
    at: u64,
}

/// A file being read as text.
pub(crate) struct Input {
    bytes: Bytes,
    tally: Arc<Mutex<Tally>>,
    path: PathBuf,
    size: u64,
    mtime: i64,
    etag: Option<String>,
    compressed: bool,
    transcoded: bool,
}

impl Input {
    /// Opens a file after `resume.state.offset` decoded bytes, or at its start.
    pub(crate) fn open(
        file: &VisibleFile,
        declared: Option<&'static Encoding>,
        resume: Option<&Resume>,
    ) -> Result<Self> {
        let fail = |error| file.fail(error);
        let mut raw = file.bytes(0)?;
        let mut head = Vec::with_capacity(PEEK_BYTES);
        Read::by_ref(&mut raw).take(PEEK_BYTES as u64).read_to_end(&mut head).map_err(fail)?;
        let offset = resume.map_or(0, |resume| resume.state.offset);
        let plain = !compressed(&head) && detect(&head, declared) == UTF_8;
        let start = if plain { offset } else { 0 };
        let raw: Bytes = if start == 0 {
            Box::new(Cursor::new(head.clone()).chain(raw))
        } else {
            file.bytes(start)?
        };

        let tally = Tally {
            hasher: resume.map_or_else(blake3::Hasher::new, |resume| resume.hasher.clone()),
            hashed: resume.map_or(0, |resume| resume.state.size),
            at: start,
        };
        let tally = Arc::new(Mutex::new(tally));
        let bytes =
            Hashing { inner: raw.take(file.size.saturating_sub(start)), tally: Arc::clone(&tally) };
        let mut input = Self {
            bytes: Box::new(bytes),
            tally,
            path: file.shown().to_owned(),
            size: file.size,
            mtime: file.mtime,
            etag: file.etag.clone(),
            compressed: compressed(&head),
            transcoded: !plain,
        };
        if !plain {
            input.decode(declared)?;
            input.discard(offset)?;
        }
        Ok(input)
    }

    /// Takes bytes in memory for a file.
    pub(crate) fn memory(bytes: Vec<u8>, declared: Option<&'static Encoding>) -> Result<Self> {
        let size = bytes.len() as u64;
        let mut input = Self {
            compressed: compressed(&bytes),
            bytes: Box::new(Cursor::new(bytes)),
            tally: Arc::default(),
            path: PathBuf::from("memory"),
            size,
            mtime: 0,
            etag: None,
            transcoded: false,
        };
        input.decode(declared)?;
        Ok(input)
    }

    /// Puts decompression and decoding over the raw bytes.
    fn decode(&mut self, declared: Option<&'static Encoding>) -> Result<()> {
        let raw = std::mem::replace(&mut self.bytes, Box::new(io::empty()));
        let (head, raw) = peek(raw).map_err(|error| self.fail(error))?;
        let bytes: Bytes = if head.starts_with(&GZIP) {
            Box::new(flate2::read::MultiGzDecoder::new(raw))
        } else if head.starts_with(&ZSTD) {
            Box::new(zstd::stream::read::Decoder::new(raw).map_err(|error| self.fail(error))?)
        } else {
            raw
        };
        let (head, bytes) = peek(bytes).map_err(|error| self.fail(error))?;
        let encoding = detect(&head, declared);
        self.transcoded = encoding != UTF_8;
        self.bytes =
            if self.transcoded { Box::new(Transcoder::new(bytes, encoding)) } else { bytes };
        Ok(())
    }

    /// Leaves out what an earlier read has committed.
    fn discard(&mut self, offset: u64) -> Result<()> {
        let skipped = io::copy(&mut Read::by_ref(&mut self.bytes).take(offset), &mut io::sink())
            .map_err(|error| self.fail(error))?;
        if skipped < offset {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("the file {} became shorter while it was read", self.path.display()),
            ));
        }
        Ok(())
    }

    /// Reads the next bytes; 0 at the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            match self.bytes.read(buffer) {
                Ok(read) => return Ok(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.fail(error)),
            }
        }
    }

    /// Whether the text was made from another encoding, so that U+FFFD stands for a broken character.
    pub(crate) fn transcoded(&self) -> bool {
        self.transcoded
    }

    /// What the raw bytes read so far were; the caller adds how far it came.
    pub(crate) fn state(&self, done: bool) -> Result<FileState> {
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        if done && tally.hashed < self.size {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("the file {} became shorter while it was read", self.path.display()),
            )
            .hint("Write files under another name and rename them when they are complete."));
        }
        let digest = digest(&tally.hasher);
        Ok(FileState {
            size: tally.hashed,
            mtime: self.mtime,
            etag: self.etag.clone(),
            digest,
            done,
            ..FileState::default()
        })
    }

    fn fail(&self, error: io::Error) -> Error {
        unwrapped(error, |error| self.damaged(error))
    }

    fn damaged(&self, error: io::Error) -> Error {
        if self.compressed && error.raw_os_error().is_none() {
            return Error::corrupt(format!(
                "the compressed file {} is damaged or cut off",
                self.path.display()
            ))
            .caused_by(error)
            .hint("Copy it again; if it is still being written, rename it when it is complete.");
        }
        Error::io("read the file", &self.path, error)
    }
}

/// The bytes of a compressed file as they were before.
pub(super) fn unpacked(file: &VisibleFile) -> Result<Bytes> {
    let (head, raw) = peek(file.bytes(0)?).map_err(|error| file.fail(error))?;
    Ok(if head.starts_with(&GZIP) {
        Box::new(flate2::read::MultiGzDecoder::new(raw))
    } else if head.starts_with(&ZSTD) {
        Box::new(zstd::stream::read::Decoder::new(raw).map_err(|error| file.fail(error))?)
    } else {
        raw
    })
}

/// Reads a whole file of a format that cannot be read in pieces, with its state.
pub(crate) fn read_all(file: &VisibleFile) -> Result<(Vec<u8>, FileState)> {
    let mut bytes = Vec::new();
    file.bytes(0)?.read_to_end(&mut bytes).map_err(|error| file.fail(error))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes);
    let state = FileState {
        size: bytes.len() as u64,
        mtime: file.mtime,
        etag: file.etag.clone(),
        digest: digest(&hasher),
        ..FileState::default()
    };
    Ok((bytes, state))
}

/// The state of a whole file that is read by other means.
pub(crate) fn hash_all(file: &VisibleFile) -> Result<FileState> {
    let fail = |error| file.fail(error);
    let mut hasher = blake3::Hasher::new();
    let size = io::copy(&mut file.bytes(0)?, &mut hasher).map_err(fail)?;
    let (mtime, etag) = (file.mtime, file.etag.clone());
    Ok(FileState { size, mtime, etag, digest: digest(&hasher), ..FileState::default() })
}

/// The first bytes, and a reader that still begins with them.
fn peek(mut bytes: Bytes) -> io::Result<(Vec<u8>, Bytes)> {
    let mut head = Vec::with_capacity(PEEK_BYTES);
    Read::by_ref(&mut bytes).take(PEEK_BYTES as u64).read_to_end(&mut head)?;
    let again: Bytes = Box::new(Cursor::new(head.clone()).chain(bytes));
    Ok((head, again))
}

/// The encoding of a file that begins so: a byte order mark, else what is declared, else UTF-16 if
/// every other byte is zero, else UTF-8.
fn detect(head: &[u8], declared: Option<&'static Encoding>) -> &'static Encoding {
    if let Some((encoding, _)) = Encoding::for_bom(head) {
        return encoding;
    }
    if let Some(declared) = declared {
        return declared;
    }
    let zeros = |odd: usize| head.iter().skip(odd).step_by(2).filter(|byte| **byte == 0).count();
    let most = head.len() * 2 / 5;
    match (zeros(0), zeros(1)) {
        _ if head.len() < 8 => UTF_8,
        (0, odd) if odd > most => UTF_16LE,
        (even, 0) if even > most => UTF_16BE,
        _ => UTF_8,
    }
}

/// Hashes what passes, each byte once.
struct Hashing<R> {
    inner: R,
    tally: Arc<Mutex<Tally>>,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let end = tally.at + read as u64;
        if end > tally.hashed {
            let known = usize::try_from(tally.hashed.saturating_sub(tally.at)).unwrap_or(read);
            tally.hasher.update(buffer.get(known..read).unwrap_or_default());
            tally.hashed = end;
        }
        tally.at = end;
        Ok(read)
    }
}

/// Decodes another encoding into UTF-8; what cannot be decoded becomes U+FFFD.
struct Transcoder {
    inner: Bytes,
    decoder: Decoder,
    raw: Vec<u8>,
    raw_at: usize,
    text: Vec<u8>,
    text_at: usize,
    ended: bool,
    finished: bool,
}

impl Transcoder {
    fn new(inner: Bytes, encoding: &'static Encoding) -> Self {
        let decoder = encoding.new_decoder_with_bom_removal();
        let (raw, text) = (Vec::new(), Vec::new());
        Self { inner, decoder, raw, raw_at: 0, text, text_at: 0, ended: false, finished: false }
    }

    /// Decodes the next chunk into `text`.
    fn advance(&mut self) -> io::Result<()> {
        if self.raw_at == self.raw.len() && !self.ended {
            self.raw.resize(CHUNK_BYTES, 0);
            let read = self.inner.read(&mut self.raw)?;
            self.raw.truncate(read);
            self.raw_at = 0;
            self.ended = read == 0;
        }
        self.text.resize(CHUNK_BYTES, 0);
        let raw = self.raw.get(self.raw_at..).unwrap_or_default();
        let (outcome, read, written, _) =
            self.decoder.decode_to_utf8(raw, &mut self.text, self.ended);
        self.finished = self.ended && outcome == encoding_rs::CoderResult::InputEmpty;
        self.raw_at += read;
        self.text.truncate(written);
        self.text_at = 0;
        Ok(())
    }
}

impl Read for Transcoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.text_at == self.text.len() && !self.finished {
            self.advance()?;
        }
        let ready = self.text.get(self.text_at..).unwrap_or_default();
        let count = ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        self.text_at += count;
        Ok(count)
    }
}
