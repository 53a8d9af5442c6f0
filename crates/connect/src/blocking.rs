//! Writers whose work is done by a session on blocking threads.

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use flywheel_base::{Error, Result, task};

use crate::destination::{Checkpoint, Refused, Writer, Written};

/// One write into one target, from its opening to its end. It is dropped after an error, which leaves
/// what was committed and nothing else.
pub(crate) trait Session: Send + 'static {
    /// As [`Writer::write`].
    fn write(&mut self, batch: &RecordBatch) -> Result<Vec<Refused>>;

    /// As [`Writer::commit`].
    fn commit(&mut self, checkpoint: &Checkpoint) -> Result<Written>;

    /// As [`Writer::finish`].
    fn finish(&mut self) -> Result<Written>;
}

/// The writer over a session.
pub(crate) struct SessionWriter<S> {
    /// None after an error.
    session: Option<S>,
}

impl<S: Session> SessionWriter<S> {
    /// A writer over the session that `open` opens, which may block.
    pub(crate) async fn open(
        open: impl FnOnce() -> Result<S> + Send + 'static,
    ) -> Result<Box<dyn Writer>> {
        let session = task::compute(open).await?;
        Ok(Box::new(Self { session: Some(session) }))
    }

    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut S) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut session = self.session.take().ok_or_else(|| {
            Error::internal("a writer is used after it failed")
                .hint("Open a new writer; it goes on after the last commit.")
        })?;
        let (session, outcome) = task::compute(move || {
            let outcome = work(&mut session)?;
            Ok((session, outcome))
        })
        .await?;
        self.session = Some(session);
        Ok(outcome)
    }
}

#[async_trait]
impl<S: Session> Writer for SessionWriter<S> {
    async fn write(&mut self, batch: &RecordBatch) -> Result<Vec<Refused>> {
        let batch = batch.clone();
        self.with(move |session| session.write(&batch)).await
    }

    async fn commit(&mut self, checkpoint: &Checkpoint) -> Result<Written> {
        let checkpoint = checkpoint.clone();
        self.with(move |session| session.commit(&checkpoint)).await
    }

    async fn finish(mut self: Box<Self>) -> Result<Written> {
        self.with(S::finish).await
    }
}
