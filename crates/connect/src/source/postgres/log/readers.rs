//! What the readers of this process have stored, and what the server may forget.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use flywheel_base::Result;
use tokio::sync::watch;

use super::position::{Lsn, Stored};
use super::setup::{advance, remove, slot_name};
use crate::postgres::Server;
use crate::source::ChangesRequest;

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

/// Lets the server forget its log up to the oldest of the positions.
pub(in crate::source::postgres) async fn acknowledge(
    server: &Server,
    readers: &Readers,
    request: &ChangesRequest,
) -> Result<()> {
    let name = slot_name(&request.name)?;
    let mut oldest: Option<Lsn> = None;
    for stream in &request.streams {
        let Some(position) = &stream.from else { return Ok(()) };
        let place = Stored::of(position)?.lsn;
        oldest = Some(oldest.map_or(place, |oldest| oldest.min(place)));
    }
    let Some(place) = oldest else { return Ok(()) };
    if readers.tell(&name, place) {
        return Ok(());
    }
    advance(&server.connect().await?, &name, place).await
}

/// Removes slot and publication.
pub(in crate::source::postgres) async fn forget(server: &Server, name: &str) -> Result<()> {
    remove(&server.connect().await?, &slot_name(name)?).await
}
