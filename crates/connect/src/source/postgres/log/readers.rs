//! What the readers of this process have stored, and what the server may forget.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use flywheel_base::{ErrorKind, Result};
use tokio::sync::watch;

use super::position::{Lsn, Stored};
use super::setup::{advance, remove, slot_name};
use crate::postgres::{Server, field};
use crate::source::{ChangesRequest, Lag, ReadRequest};

/// The readers under way, with the place up to which each of them has stored everything.
#[derive(Clone, Debug, Default)]
pub(in crate::source::postgres) struct Readers(Arc<Mutex<HashMap<String, watch::Sender<u64>>>>);

impl Readers {
    /// Starts a reader that has stored nothing yet.
    pub(super) fn begin(&self, name: &str) -> watch::Receiver<u64> {
        let (send, receive) = watch::channel(0);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), send);
        receive
    }

    /// Tells the reader under way; says whether there is one.
    fn tell(&self, name: &str, place: Lsn) -> bool {
        let readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(reader) = readers.get(name).filter(|reader| !reader.is_closed()) else {
            return false;
        };
        reader.send_if_modified(|known| {
            let newer = place.0 > *known;
            *known = place.0.max(*known);
            newer
        });
        true
    }
}

/// Lets the server forget its log up to the oldest of the positions of tables that go on. A table that has stopped needs nothing
/// of it, as it is read whole again, nor does one that has no position yet; if all have stopped, nobody needs what is there now.
pub(in crate::source::postgres) async fn acknowledge(
    server: &Server,
    readers: &Readers,
    request: &ChangesRequest,
) -> Result<()> {
    let name = slot_name(&request.name)?;
    let mut oldest: Option<Lsn> = None;
    for position in request.streams.iter().filter_map(|stream| stream.from.as_ref()) {
        // Of a position that is of another kind nobody knows what it needs; who reads it is told.
        let Ok(stored) = Stored::of(position) else { return Ok(()) };
        if stored.stopped.is_none() {
            oldest = Some(oldest.map_or(stored.lsn, |oldest| oldest.min(stored.lsn)));
        }
    }
    let place = match oldest {
        Some(place) => place,
        None if request.streams.iter().all(|stream| stream.from.is_some()) => {
            return advance_to_end(server, &name).await;
        }
        None => return Ok(()),
    };
    if readers.tell(&name, place) {
        return Ok(());
    }
    advance(&server.connect().await?, &name, place).await
}

/// Lets the server forget all of its log up to now, if the slot is still there.
async fn advance_to_end(server: &Server, name: &str) -> Result<()> {
    let session = server.connect().await?;
    let row = session.row("SELECT pg_catalog.pg_current_wal_lsn()::text", &[]).await?;
    let end = Lsn::try_from(field::<String>(&row, 0)?)?;
    match advance(&session, name, end).await {
        // Nothing is kept, then.
        Err(error) if error.kind() == ErrorKind::Blocked => Ok(()),
        done => done,
    }
}

/// How many bytes of the log come after each position.
pub(in crate::source::postgres) async fn lag(
    server: &Server,
    request: &ChangesRequest,
) -> Result<Vec<Option<Lag>>> {
    let session = server.connect().await?;
    let row = session.row("SELECT pg_catalog.pg_current_wal_lsn()::text", &[]).await?;
    let end = Lsn::try_from(field::<String>(&row, 0)?)?;
    let behind = |stream: &ReadRequest| {
        // Positions of reads that follow a column are of another kind.
        let stored = Stored::of(stream.from.as_ref()?).ok()?;
        Some(Lag { behind: end.0.saturating_sub(stored.lsn.0), unit: "bytes of log" })
    };
    Ok(request.streams.iter().map(behind).collect())
}

/// Removes slot and publication.
pub(in crate::source::postgres) async fn forget(server: &Server, name: &str) -> Result<()> {
    remove(&server.connect().await?, &slot_name(name)?).await
}
