//! Tasks that are never forgotten, and CPU work that leaves the async threads.

use std::future::Future;

use tokio::task::JoinSet;

use crate::{Error, Result};

/// A set of running tasks; dropping it cancels them, [`TaskSet::join`] waits for them.
#[derive(Debug, Default)]
pub struct TaskSet(JoinSet<Result<()>>);

impl TaskSet {
    /// Starts `task` on the current runtime.
    pub fn start(&mut self, task: impl Future<Output = Result<()>> + Send + 'static) {
        self.0.spawn(task);
    }

    /// Waits until all tasks ended; the first error cancels the rest.
    ///
    /// # Errors
    /// The first task's error, or [`crate::ErrorKind::Internal`] if a task panicked.
    pub async fn join(&mut self) -> Result<()> {
        while let Some(ended) = self.0.join_next().await {
            let outcome = ended.unwrap_or_else(|error| {
                Err(Error::internal("a task stopped unexpectedly").caused_by(error))
            });
            if outcome.is_err() {
                self.0.abort_all();
                return outcome;
            }
        }
        Ok(())
    }
}

/// Runs CPU-bound or blocking `work` away from the async threads.
///
/// # Errors
/// The work's own error, or [`crate::ErrorKind::Internal`] if it panicked.
pub async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Error::internal("a computation stopped unexpectedly").caused_by(error)),
    }
}
