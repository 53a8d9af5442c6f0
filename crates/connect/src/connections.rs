//! A cap on the connections that everything which reads for one sync has open at once.
//!
//! A read takes its first connection by [`Connections::one`], which waits for those that are about to
//! close, and any further one by [`Connections::another`], without which it can do. So no read holds one
//! connection while it waits for another, and none waits for ever.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use flywheel_base::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a connection that is about to close is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many connections may be open, shared by all clones; without cap by default.
#[derive(Clone, Debug, Default)]
pub struct Connections(Option<Cap>);

#[derive(Clone, Debug)]
struct Cap {
    most: NonZeroUsize,
    free: Arc<Semaphore>,
    /// How long one that is about to close is waited for.
    patience: Duration,
}

/// The right to one open connection, given back when dropped.
#[derive(Debug, Default)]
pub(crate) struct Admitted {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Connections {
    /// At most `most` connections.
    #[must_use]
    pub fn at_most(most: NonZeroUsize) -> Self {
        let free = Arc::new(Semaphore::new(most.get().min(Semaphore::MAX_PERMITS)));
        Self(Some(Cap { most, free, patience: PATIENCE }))
    }

    /// The right to a connection without which a read cannot go on.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Exhausted`] if all that are allowed stay open.
    pub(crate) async fn one(&self) -> Result<Admitted> {
        let Some(cap) = &self.0 else { return Ok(Admitted::default()) };
        match tokio::time::timeout(cap.patience, Arc::clone(&cap.free).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Admitted { _permit: Some(permit) }),
            Ok(Err(_)) | Err(_) => Err(Error::exhausted(format!(
                "all {} connections that the sync may have are open",
                cap.most
            ))
            .hint("Raise `source_connections` under `limits` in the sync.")),
        }
    }

    /// The right to one connection more, if one is free.
    pub(crate) fn another(&self) -> Option<Admitted> {
        let Some(cap) = &self.0 else { return Some(Admitted::default()) };
        let permit = Arc::clone(&cap.free).try_acquire_owned().ok()?;
        Some(Admitted { _permit: Some(permit) })
    }

    /// Refuses what needs more connections at once than are allowed.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] that says for what they are.
    pub(crate) fn require(&self, needed: usize, what: &str) -> Result<()> {
        match &self.0 {
            Some(cap) if cap.most.get() < needed => Err(Error::invalid(format!(
                "{what} takes {needed} connections at once, and the sync may have {}",
                cap.most
            ))
            .hint(format!(
                "Set `source_connections: {needed}` under `limits` in the sync, or more."
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Connections {
        Connections::at_most(NonZeroUsize::new(2).unwrap())
    }

    #[tokio::test]
    async fn clones_share_the_cap_and_a_dropped_connection_counts_no_more() {
        let connections = two();
        let first = connections.clone().one().await.unwrap();
        let second = connections.another();
        assert!(second.is_some() && connections.another().is_none());
        drop(first);
        assert!(connections.another().is_some());
    }

    #[test]
    fn what_needs_more_than_is_allowed_says_how_many() {
        let error = two().require(3, "following the log of x").unwrap_err();
        assert!(error.message().contains("3 connections"), "{error}");
        assert!(error.hint_text().is_some_and(|hint| hint.contains("source_connections: 3")));
        assert!(Connections::default().require(99, "anything").is_ok());
    }

    #[tokio::test]
    async fn what_stays_open_is_not_waited_for_without_end() {
        let mut connections = two();
        if let Some(cap) = &mut connections.0 {
            cap.patience = Duration::ZERO;
        }
        let _open = (connections.one().await.unwrap(), connections.one().await.unwrap());
        let error = connections.one().await.unwrap_err();
        assert!(error.message().contains("all 2 connections"), "{error}");
    }
}
