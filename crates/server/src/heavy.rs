//! Threads on which queries and what changes the project are done, behind those that answer requests.
//!
//! That goes for the processor alone: memory, its bandwidth and the disk are shared, and an event still waits longer
//! beside a query that takes much of them.

use flywheel_base::{Error, Result};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::WORK_STACK_BYTES;

/// By how much they stand behind, as `nice` counts: at 10 a thread that answers gets nine times as much of a core.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// The threads; they end with it, whatever they are at.
pub(crate) struct Heavy(Option<Runtime>);

impl Heavy {
    /// Starts them.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Exhausted`] if there are no more threads.
    pub(crate) fn start() -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .enable_all()
            .thread_name("flywheel-heavy")
            .thread_stack_size(WORK_STACK_BYTES)
            .on_thread_start(stand_behind)
            .build()
            .map_err(|error| Error::exhausted("no threads for queries").caused_by(error))?;
        Ok(Self(Some(runtime)))
    }

    /// What puts work onto them.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] once they have ended, which is with the server.
    pub(crate) fn handle(&self) -> Result<Handle> {
        let runtime = self.0.as_ref().ok_or_else(|| Error::internal("the server has ended"))?;
        Ok(runtime.handle().clone())
    }
}

impl Drop for Heavy {
    fn drop(&mut self) {
        // Whoever drops the server may be a thread that must not wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Lets the calling thread stand behind others. Where that is not to be had, all are alike.
pub(crate) fn stand_behind() {
    #[cfg(target_os = "linux")]
    {
        // The first 0 says that a process is meant, which on Linux is a single thread; the second one, that it is ours.
        #[expect(
            unsafe_code,
            reason = "setpriority has no safe form; it touches no memory of ours"
        )]
        // SAFETY: it takes three numbers and changes nothing but the thread's place.
        let failed = unsafe { libc::setpriority(0, 0, NICENESS) } != 0;
        if failed {
            tracing::debug!("threads for queries do not stand behind those that answer");
        }
    }
}
