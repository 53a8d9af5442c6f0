//! The server's log of changes as it arrives: a task keeps the connection alive, however long the
//! reader takes for a page.
//!
//! ```text
//! server ──► task ──► queue of 8 ──► reader
//!        ◄── where the reader stands, every 10 s and whenever the server asks
//! ```
//! When the queue is full the task stops reading, and with it the server stops sending.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use flywheel_base::task::TaskSet;
use flywheel_base::{Clock as _, Error, Result, SystemClock};
use postgres_protocol::message::frontend;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_postgres::error::SqlState;

use super::fail::refusal;
use super::wire::{Frame, Wire};
use super::{EPOCH_US, Server};

/// Batches that wait for the reader.
const BATCHES_WAITING: usize = 8;

/// How often the server hears where the reader stands; it ends connections after 60 s without.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// How long the end of a session may take.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// What to read.
#[derive(Debug)]
pub(crate) struct LogRequest<'a> {
    /// The replication slot.
    pub(crate) slot: &'a str,
    /// The publication.
    pub(crate) publication: &'a str,
    /// Where to begin.
    pub(crate) from: u64,
    /// The form of texts, `UTF8`.
    pub(crate) encoding: &'a str,
    /// Up to where everything is stored; what is below is not asked for again.
    pub(crate) stored: watch::Receiver<u64>,
}

/// A piece of the log.
#[derive(Debug)]
pub(crate) enum LogPart {
    /// A message of the output plugin.
    Message(Bytes),
    /// Everything committed before this position has been sent.
    Sent(u64),
}

/// A log being read; dropping it ends the connection.
pub(crate) struct Log {
    parts: mpsc::Receiver<Result<Vec<LogPart>>>,
    control: mpsc::Sender<Control>,
    tasks: TaskSet,
}

enum Control {
    Ask,
    End,
}

impl Server {
    /// Starts to read the log; the outer error is the connection's, the inner one the server's
    /// answer.
    pub(crate) async fn read_log(
        &self,
        request: LogRequest<'_>,
    ) -> Result<Result<Log, (SqlState, Error)>> {
        let mut wire = self
            .wire(&[
                ("client_encoding", request.encoding),
                ("TimeZone", "UTC"),
                ("DateStyle", "ISO, YMD"),
                ("IntervalStyle", "postgres"),
                ("extra_float_digits", "1"),
                ("bytea_output", "hex"),
            ])
            .await?;
        let (high, low) = (request.from >> 32, request.from & 0xffff_ffff);
        // Both names are made of letters, digits and `_` only.
        let sql = format!(
            "START_REPLICATION SLOT \"{}\" LOGICAL {high:X}/{low:X} \
             (proto_version '1', publication_names '\"{}\"')",
            request.slot, request.publication
        );
        wire.query(&sql).await?;
        loop {
            match wire.next().await? {
                Frame::CopyBoth => break,
                Frame::Refused(state, text) => {
                    let error = refusal(self, &state, &text);
                    return Ok(Err((state, error)));
                }
                _ => {}
            }
        }
        let (send, parts) = mpsc::channel(BATCHES_WAITING);
        let (control, orders) = mpsc::channel(4);
        let mut tasks = TaskSet::default();
        let stored = request.stored;
        let pump = Pump { wire, send: send.clone(), orders, stored, due: Instant::now(), quiet: 0 };
        tasks.start(async move {
            if let Err(error) = pump.run().await {
                // Whoever reads the queue may be gone; then nobody misses the error.
                send.send(Err(error)).await.unwrap_or_default();
            }
            Ok(())
        });
        Ok(Ok(Log { parts, control, tasks }))
    }
}

impl Log {
    /// The next pieces, in order; nothing is lost if the wait is given up.
    pub(crate) async fn next(&mut self) -> Result<Vec<LogPart>> {
        match self.parts.recv().await {
            Some(parts) => parts,
            None => Err(Error::internal("the reader of a log stopped before its end")),
        }
    }

    /// Asks the server how far it is; the answer is a [`LogPart::Sent`].
    pub(crate) async fn ask(&self) {
        // If the task is gone, its error waits in the queue.
        self.control.send(Control::Ask).await.unwrap_or_default();
    }

    /// Ends the session in good order, so that the slot is free afterwards.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.control.send(Control::End).await.unwrap_or_default();
        // The task may wait with a full queue.
        let drained = async { while let Some(Ok(_)) = self.parts.recv().await {} };
        if tokio::time::timeout(END_TIMEOUT, drained).await.is_err() {
            tracing::debug!("the server did not end its log in time");
            return Ok(());
        }
        self.tasks.join().await
    }
}

/// Moves the log from the connection into the queue.
struct Pump {
    wire: Wire,
    send: mpsc::Sender<Result<Vec<LogPart>>>,
    orders: mpsc::Receiver<Control>,
    stored: watch::Receiver<u64>,
    due: Instant,
    /// Status intervals in which nothing arrived.
    quiet: u32,
}

/// What woke the task.
enum Woken {
    Arrived(Result<()>),
    Room(bool),
    Stored,
    Due,
    Ordered(Option<Control>),
}

impl Pump {
    async fn run(mut self) -> Result<()> {
        loop {
            let batch = self.batch().await?;
            if !batch.is_empty() && !self.deliver(batch).await? {
                return self.end().await;
            }
            let woken = tokio::select! {
                read = self.wire.fill() => Woken::Arrived(read),
                Some(()) = changed(&mut self.stored) => Woken::Stored,
                () = tokio::time::sleep_until(self.due) => Woken::Due,
                order = self.orders.recv() => Woken::Ordered(order),
            };
            if !self.act(woken).await? {
                return self.end().await;
            }
        }
    }

    /// Reacts; says whether to go on.
    async fn act(&mut self, woken: Woken) -> Result<bool> {
        match woken {
            Woken::Arrived(read) => {
                read?;
                self.quiet = 0;
            }
            Woken::Stored => self.status(false).await?,
            Woken::Due => {
                self.quiet += 1;
                let silence = self.wire.server().silence;
                if STATUS_INTERVAL * self.quiet > silence + STATUS_INTERVAL {
                    return Err(Error::unavailable(format!(
                        "{} was silent for {} s while its log was read",
                        self.wire.server().name,
                        silence.as_secs()
                    )));
                }
                self.status(self.quiet > 1).await?;
            }
            Woken::Ordered(Some(Control::Ask)) => self.status(true).await?,
            Woken::Ordered(Some(Control::End) | None) => return Ok(false),
            Woken::Room(_) => {}
        }
        Ok(true)
    }

    /// The pieces that have arrived whole.
    async fn batch(&mut self) -> Result<Vec<LogPart>> {
        let mut batch = Vec::new();
        let mut asked = false;
        while let Some(frame) = self.wire.take()? {
            match frame {
                Frame::Data(data) => match piece(&data) {
                    Some((part, reply)) => {
                        batch.push(part);
                        asked |= reply;
                    }
                    None => {
                        let server = &self.wire.server().name;
                        return Err(Error::corrupt(format!(
                            "a message in the log of {server} is damaged"
                        )));
                    }
                },
                Frame::Refused(state, text) => {
                    return Err(ended(self.wire.server(), &state, &text));
                }
                Frame::End | Frame::Ready => {
                    let server = &self.wire.server().name;
                    return Err(Error::unavailable(format!("{server} ended its log"))
                        .hint("It is tried again from the last commit."));
                }
                Frame::CopyBoth | Frame::Other(_) => {}
            }
        }
        if asked {
            self.status(false).await?;
        }
        Ok(batch)
    }

    /// Puts a batch into the queue once there is room; says whether to go on.
    async fn deliver(&mut self, batch: Vec<LogPart>) -> Result<bool> {
        loop {
            let woken = tokio::select! {
                permit = self.send.reserve() => Woken::Room(permit.is_ok()),
                Some(()) = changed(&mut self.stored) => Woken::Stored,
                () = tokio::time::sleep_until(self.due) => Woken::Due,
                order = self.orders.recv() => Woken::Ordered(order),
            };
            match woken {
                Woken::Room(open) => {
                    // This task is the only one that fills the queue.
                    return Ok(open && self.send.try_send(Ok(batch)).is_ok());
                }
                // It is the reader who is silent, not the server.
                Woken::Due => {
                    self.quiet = 0;
                    self.status(false).await?;
                }
                other => {
                    if !self.act(other).await? {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Tells the server up to where everything is stored.
    async fn status(&mut self, ask: bool) -> Result<()> {
        let stored = *self.stored.borrow_and_update();
        let now = SystemClock.now().micros().saturating_sub(EPOCH_US);
        let mut body = BytesMut::with_capacity(34);
        body.put_u8(b'r');
        // 0 says nothing; the server keeps what it knows.
        body.put_u64(stored);
        body.put_u64(stored);
        body.put_u64(stored);
        body.put_i64(now);
        body.put_u8(u8::from(ask));
        self.due = Instant::now() + STATUS_INTERVAL;
        self.copy(&body).await
    }

    async fn copy(&mut self, body: &[u8]) -> Result<()> {
        let mut bytes = BytesMut::with_capacity(body.len() + 5);
        let data = frontend::CopyData::new(body)
            .map_err(|error| Error::internal("a status is too large").caused_by(error))?;
        data.write(&mut bytes);
        self.wire.write(&bytes).await
    }

    /// Ends the copy and waits until the server has let go of the slot.
    async fn end(mut self) -> Result<()> {
        let mut bytes = BytesMut::new();
        frontend::copy_done(&mut bytes);
        self.wire.write(&bytes).await?;
        let ended = async {
            loop {
                match self.wire.next().await? {
                    Frame::Ready | Frame::Refused(..) => return Ok(()),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(END_TIMEOUT, ended).await.unwrap_or(Ok(()))
    }
}

/// The error for a log that the server stops to send: the slot or the publication is gone, or
/// anything that happens to a connection.
fn ended(server: &Server, state: &SqlState, text: &str) -> Error {
    let gone = [SqlState::UNDEFINED_OBJECT, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE];
    if gone.contains(state) {
        return Error::blocked(format!("the log of {} cannot be read on: {text}", server.name))
            .hint("Delete the positions of the streams to read them whole again.");
    }
    refusal(server, state, text)
}

/// Waits for a new value; never ends if there will be none.
async fn changed(stored: &mut watch::Receiver<u64>) -> Option<()> {
    stored.changed().await.ok()
}

/// A piece of the log, and whether the server wants an answer.
fn piece(data: &Bytes) -> Option<(LogPart, bool)> {
    let long = |at: usize| data.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
    match data.first()? {
        // Start, end and time come before the message.
        b'w' => (data.len() > 25).then(|| (LogPart::Message(data.slice(25..)), false)),
        b'k' => Some((LogPart::Sent(long(1)?), *data.get(17)? == 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_that_are_cut_off_are_not_taken() {
        let mut alive = vec![b'k'];
        alive.extend(7u64.to_be_bytes());
        alive.extend(0u64.to_be_bytes());
        assert!(piece(&Bytes::from(alive.clone())).is_none());
        alive.push(1);
        let (part, reply) = piece(&Bytes::from(alive)).unwrap();
        assert!(matches!(part, LogPart::Sent(7)) && reply);
        assert!(piece(&Bytes::from_static(b"w")).is_none());
        assert!(piece(&Bytes::new()).is_none());
    }
}
