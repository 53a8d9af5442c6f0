//! Group commit: what arrives while the one writer waits for the disk goes into its next write together.
//!
//! ```text
//! ask ─┐
//! ask ─┼─► queue ─► one thread: all that waits ─► one write ─► an answer for each
//! ask ─┘     └─ full: refused at once
//! ```
//! Invariants: nobody is answered before the write that holds his request has returned; each gets the answer to his
//! own request, in the order in which they came; a writer that panics fails those it was writing for and goes on
//! with the next; what waits is bounded.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

use crate::{Error, Result};

/// The stack of the writer: it may plan deeply nested SQL.
const STACK_BYTES: usize = 8 << 20;

/// How much may wait, and how much is written at once.
#[derive(Clone, Copy, Debug)]
pub struct GatherLimits {
    /// Requests that wait at most; more are refused rather than kept in memory.
    pub waiting_max: usize,
    /// The weight of one write at which no further request is added to it.
    pub weight_max: usize,
}

struct Waiting<T, A> {
    request: T,
    done: oneshot::Sender<Result<A>>,
}

/// The queue before one writer. When it is dropped, what waits is still written.
#[derive(Debug)]
pub struct Gather<T, A> {
    /// What it writes, for messages.
    name: String,
    limits: GatherLimits,
    queue: mpsc::SyncSender<Waiting<T, A>>,
}

impl<T: Send + 'static, A: Send + 'static> Gather<T, A> {
    /// Starts the thread of the writer. `write` takes what waited, never nothing, and answers each in the same
    /// order; `weigh` says how much a request adds to a write.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Exhausted`] if there is no thread for it.
    pub fn start(
        name: impl Into<String>,
        limits: GatherLimits,
        weigh: impl Fn(&T) -> usize + Send + 'static,
        mut write: impl FnMut(Vec<T>) -> Vec<Result<A>> + Send + 'static,
    ) -> Result<Self> {
        let name = name.into();
        let (queue, waiting) = mpsc::sync_channel::<Waiting<T, A>>(limits.waiting_max);
        let of = name.clone();
        thread::Builder::new()
            .name("flywheel-gather".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                while let Ok(first) = waiting.recv() {
                    let mut weight = weigh(&first.request);
                    let (mut requests, mut who) = (vec![first.request], vec![first.done]);
                    while weight < limits.weight_max
                        && let Ok(next) = waiting.try_recv()
                    {
                        weight += weigh(&next.request);
                        requests.push(next.request);
                        who.push(next.done);
                    }
                    let written = catch_unwind(AssertUnwindSafe(|| write(requests)));
                    let mut answers = written.unwrap_or_default().into_iter();
                    for done in who {
                        let answer = answers.next().unwrap_or_else(|| {
                            Err(Error::internal(format!("{of}: the writer stopped unexpectedly")))
                        });
                        // Whoever has gone away meanwhile asks again.
                        drop(done.send(answer));
                    }
                }
            })
            .map_err(|error| Error::exhausted(format!("no thread for {name}")).caused_by(error))?;
        Ok(Self { name, limits, queue })
    }

    /// Waits until the request is written, and returns what came of it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unavailable`] if too much waits already; else what the writer says of this request.
    pub async fn ask(&self, request: T) -> Result<A> {
        let (done, answer) = oneshot::channel();
        let name = &self.name;
        self.queue.try_send(Waiting { request, done }).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => Error::unavailable(format!(
                "{name}: more than {} requests wait already",
                self.limits.waiting_max
            ))
            .hint("Try again in a moment; nothing of this request was kept."),
            mpsc::TrySendError::Disconnected(_) => {
                Error::unavailable(format!("{name}: the writer has ended"))
                    .hint("Send the request again.")
            }
        })?;
        answer.await.unwrap_or_else(|_| {
            Err(Error::unavailable(format!("{name}: the writer has ended"))
                .hint("Send the request again: it is not known whether it was kept."))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use super::*;
    use crate::ErrorKind;

    const LIMITS: GatherLimits = GatherLimits { waiting_max: 4, weight_max: 100 };

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    /// A writer that waits in each write until it is let go on, and answers with the size of the write; a 13 is refused.
    fn held(barrier: &Arc<Barrier>, limits: GatherLimits) -> Gather<u32, (u32, usize)> {
        let barrier = Arc::clone(barrier);
        Gather::start(
            "numbers",
            limits,
            |_| 1,
            move |numbers: Vec<u32>| {
                barrier.wait();
                barrier.wait();
                let of = |number: &u32| match number {
                    13 => Err(Error::invalid("13 is not taken")),
                    14 => panic!("14"),
                    number => Ok((*number, numbers.len())),
                };
                numbers.iter().map(of).collect()
            },
        )
        .unwrap()
    }

    #[test]
    fn what_waits_is_written_together_and_each_gets_its_own_answer() {
        let barrier = Arc::new(Barrier::new(2));
        let gather = Arc::new(held(&barrier, LIMITS));
        runtime().block_on(async {
            let mut first = std::pin::pin!(gather.ask(1));
            assert!(polled(first.as_mut()).is_none());
            barrier.wait();
            // The first is being written: these wait, and one more is too many.
            let mut rest: Vec<_> =
                [2, 13, 3, 4].into_iter().map(|n| Box::pin(gather.ask(n))).collect();
            assert!(rest.iter_mut().all(|one| polled(one.as_mut()).is_none()));
            let full = gather.ask(5).await.unwrap_err();
            assert_eq!(full.kind(), ErrorKind::Unavailable);
            assert!(full.hint_text().is_some());
            barrier.wait();
            assert_eq!(first.await.unwrap(), (1, 1));
            barrier.wait();
            barrier.wait();
            let mut answers = Vec::new();
            for one in rest {
                answers.push(one.await.map_err(|error| error.kind()));
            }
            assert_eq!(answers, [Ok((2, 4)), Err(ErrorKind::Invalid), Ok((3, 4)), Ok((4, 4))]);
        });
    }

    #[test]
    fn a_writer_that_panics_fails_its_own_and_goes_on() {
        let barrier = Arc::new(Barrier::new(1));
        let gather = held(&barrier, LIMITS);
        runtime().block_on(async {
            assert_eq!(gather.ask(14).await.unwrap_err().kind(), ErrorKind::Internal);
            assert_eq!(gather.ask(6).await.unwrap(), (6, 1));
        });
    }

    #[test]
    fn a_write_ends_at_its_weight() {
        let barrier = Arc::new(Barrier::new(2));
        let gather = held(&barrier, GatherLimits { waiting_max: 9, weight_max: 2 });
        runtime().block_on(async {
            let mut all: Vec<_> = (0..5).map(|n| Box::pin(gather.ask(n))).collect();
            assert!(polled(all[0].as_mut()).is_none());
            barrier.wait();
            assert!(all.iter_mut().skip(1).all(|one| polled(one.as_mut()).is_none()));
            barrier.wait();
            for _ in 0..2 {
                barrier.wait();
                barrier.wait();
            }
            let mut sizes = Vec::new();
            for one in all {
                sizes.push(one.await.unwrap().1);
            }
            assert_eq!(sizes, [1, 2, 2, 2, 2]);
        });
    }

    /// Polls once: what comes of it, if it is there.
    fn polled<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
