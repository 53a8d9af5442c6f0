//! Messages of PostgreSQL's protocol, version 3: read from a connection and written to it, with an end to every wait and a
//! limit to every length.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::refusal::Refusal;

/// The longest message that begins a connection.
const BEGIN_BYTES_MAX: usize = 10_000;
/// The longest message of a client that has not logged in.
pub(super) const PASSWORD_BYTES_MAX: usize = 4 << 10;
/// The longest message of one that has: a statement, or its values.
pub(super) const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// What may wait to be worked on while a statement runs.
const AHEAD_BYTES_MAX: usize = 256 << 10;
/// How much is read at a time.
const READ_BYTES: usize = 8 << 10;
/// From how many bytes on an answer is sent.
const SEND_BYTES: usize = 64 << 10;
/// How long a client may take to accept what was sent.
const SEND_TIME: Duration = Duration::from_secs(30);

/// Why a connection ends before its client says so.
#[derive(Debug)]
pub(super) enum Stop {
    /// The client has left, or is too slow.
    Gone,
    /// The client is told.
    Refused(Refusal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A message that does not follow the protocol: what comes after it cannot be understood.
pub(super) fn broken(what: &str) -> Stop {
    Stop::Refused(Refusal::fatal("08P01", format!("the client's message is wrong: {what}")))
}

/// A message of a client.
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) body: Body,
}

/// A connection.
pub(super) struct Wire<S> {
    stream: S,
    inbox: BytesMut,
    /// What is to be sent.
    pub(super) out: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, inbox: BytesMut::new(), out: BytesMut::new() }
    }

    /// The bare connection; none if the client has said more than it may before it is encrypted.
    pub(super) fn into_bare(self) -> Option<S> {
        self.inbox.is_empty().then_some(self.stream)
    }

    /// Waits until something has come.
    pub(super) async fn fill(&mut self) -> Result<(), Stop> {
        self.inbox.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.inbox).await {
            Ok(0) | Err(_) => Err(Stop::Gone),
            Ok(_) => Ok(()),
        }
    }

    /// Whether more may be taken in while a statement runs.
    pub(super) fn has_room(&self) -> bool {
        self.inbox.len() < AHEAD_BYTES_MAX
    }

    /// The message that begins a connection: its code, and what follows it.
    pub(super) async fn beginning(&mut self) -> Result<(u32, Body), Stop> {
        loop {
            if let Some(length) = length_of(self.inbox.get(..4)) {
                if !(8..=BEGIN_BYTES_MAX).contains(&length) {
                    return Err(Stop::Gone);
                }
                if self.inbox.len() >= length {
                    let mut bytes = self.inbox.split_to(length);
                    bytes.advance(4);
                    let mut body = Body(bytes.freeze());
                    return Ok((body.long()?.cast_unsigned(), body));
                }
            }
            self.fill().await?;
        }
    }

    /// The next message, if all of it has come.
    pub(super) fn arrived(&mut self, longest: usize) -> Result<Option<Message>, Stop> {
        let Some(kind) = self.inbox.first().copied() else { return Ok(None) };
        let Some(length) = length_of(self.inbox.get(1..5)) else { return Ok(None) };
        if length < 4 {
            return Err(broken("its length"));
        }
        if length > longest {
            return Err(broken("it is too long"));
        }
        if self.inbox.len() < length + 1 {
            return Ok(None);
        }
        let mut bytes = self.inbox.split_to(length + 1);
        bytes.advance(5);
        Ok(Some(Message { kind, body: Body(bytes.freeze()) }))
    }

    /// Waits for the next message.
    pub(super) async fn message(&mut self, longest: usize) -> Result<Message, Stop> {
        loop {
            if let Some(message) = self.arrived(longest)? {
                return Ok(message);
            }
            self.fill().await?;
        }
    }

    /// Sends what was written, if it is much.
    pub(super) async fn send_much(&mut self) -> Result<(), Stop> {
        if self.out.len() < SEND_BYTES { Ok(()) } else { self.send().await }
    }

    /// Sends what was written.
    pub(super) async fn send(&mut self) -> Result<(), Stop> {
        let sending = async {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await
        };
        let sent = timeout(SEND_TIME, sending).await;
        self.out.clear();
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Stop::Gone),
        }
    }

    /// Writes a message.
    pub(super) fn put(&mut self, kind: u8, body: impl FnOnce(&mut BytesMut)) {
        self.out.put_u8(kind);
        let place = self.out.len();
        self.out.put_i32(0);
        body(&mut self.out);
        let length = i32::try_from(self.out.len() - place).unwrap_or(i32::MAX);
        if let Some(bytes) = self.out.get_mut(place..place + 4) {
            bytes.copy_from_slice(&length.to_be_bytes());
        }
    }

    /// Writes what was done.
    pub(super) fn complete(&mut self, tag: &str) {
        self.put(b'C', |out| put_text(out, tag));
    }

    /// Writes why something is not done, or with `N` what a client should know.
    pub(super) fn refuse(&mut self, kind: u8, refusal: &Refusal) {
        self.put(kind, |out| {
            let severity = match (kind, refusal.fatal) {
                (b'N', _) => "NOTICE",
                (_, true) => "FATAL",
                (_, false) => "ERROR",
            };
            let hint = refusal.hint.as_deref();
            let fields = [
                (b'S', Some(severity)),
                (b'V', Some(severity)),
                (b'C', Some(refusal.code)),
                (b'M', Some(refusal.message.as_str())),
                (b'H', hint),
            ];
            for (field, text) in fields {
                if let Some(text) = text {
                    out.put_u8(field);
                    put_text(out, text);
                }
            }
            out.put_u8(0);
        });
    }
}

/// Writes a text with its end; what cannot be in one is left out.
pub(super) fn put_text(out: &mut BytesMut, text: &str) {
    for part in text.split('\0') {
        out.put_slice(part.as_bytes());
    }
    out.put_u8(0);
}

fn length_of(bytes: Option<&[u8]>) -> Option<usize> {
    let bytes: [u8; 4] = bytes?.try_into().ok()?;
    // A negative length is none that is taken.
    Some(usize::try_from(i32::from_be_bytes(bytes)).unwrap_or(0))
}

/// What is in a message.
pub(super) struct Body(Bytes);

impl Body {
    pub(super) fn byte(&mut self) -> Result<u8, Stop> {
        self.0.try_get_u8().map_err(|_| broken("it ends early"))
    }

    pub(super) fn short(&mut self) -> Result<i16, Stop> {
        self.0.try_get_i16().map_err(|_| broken("it ends early"))
    }

    pub(super) fn long(&mut self) -> Result<i32, Stop> {
        self.0.try_get_i32().map_err(|_| broken("it ends early"))
    }

    /// How many of something follow.
    pub(super) fn count(&mut self) -> Result<usize, Stop> {
        usize::try_from(self.short()?).map_err(|_| broken("a count is negative"))
    }

    /// A text up to its end.
    pub(super) fn text(&mut self) -> Result<String, Stop> {
        let end = self.0.iter().position(|byte| *byte == 0);
        let end = end.ok_or_else(|| broken("a text has no end"))?;
        let bytes = self.0.split_to(end);
        self.0.advance(1);
        String::from_utf8(bytes.to_vec()).map_err(|_| broken("a text is not UTF-8"))
    }

    /// A value; none if it is NULL.
    pub(super) fn value(&mut self) -> Result<Option<Bytes>, Stop> {
        let length = self.long()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| broken("a length is negative"))?;
        if self.0.len() < length {
            return Err(broken("it ends early"));
        }
        Ok(Some(self.0.split_to(length)))
    }

    pub(super) fn is_done(&self) -> bool {
        self.0.is_empty()
    }
}
