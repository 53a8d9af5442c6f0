//! Threads on which queries and what changes the project are done, behind those that answer requests.
//!
//! That goes for the processor alone: memory, its bandwidth and the disk are shared, and an event still waits longer
//! beside a query that takes much of them.

use flywheel_base::{Error, Result};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::WORK_STACK_BYTES;

/// By how much they stand behind, as `nice` counts: at 10 a thread that answers gets nine times as much of a core.
/// They keep a tenth, so that a query gets on also beside so many events that no core is ever idle.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// How long one of them would run on a core at a time, in nanoseconds. Since Linux 6.12 a thread that wakes and asks for
/// shorter turns, as all do that ask for nothing, takes the core at once from one with longer ones. Otherwise
/// it would wait for the end of a turn, at each of the several handovers between an event and its answer.
///
/// A thread that woke every 2 ms beside four that compute was late by 3.9 ms at the 99th percentile with niceness alone, by
/// 2.6 to 2.9 beside `SCHED_IDLE`, which would let queries starve, and by 0.5 to 0.7 with these turns (Linux 6.18, two cores).
#[cfg(target_os = "linux")]
const TURN_NS: u64 = 20_000_000;

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
        let attributes = libc::sched_attr {
            size: u32::try_from(size_of::<libc::sched_attr>()).unwrap_or_default(),
            // Such threads never take a core from another one when they wake.
            sched_policy: libc::SCHED_BATCH.unsigned_abs(),
            sched_flags: 0,
            sched_nice: NICENESS,
            sched_priority: 0,
            sched_runtime: TURN_NS,
            sched_deadline: 0,
            sched_period: 0,
        };
        // The first 0 says that the calling thread is meant; the last one, that there are no flags.
        #[expect(unsafe_code, reason = "the C library has no form of this call, safe or not")]
        // SAFETY: the kernel reads `size` bytes of a struct that outlives the call, and changes nothing but the thread's
        // place.
        let failed = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
        if failed != 0 {
            tracing::debug!("threads for queries do not stand behind those that answer");
        }
    }
}
