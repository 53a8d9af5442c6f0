//! Time for a client: what it is now, and waiting.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use flywheel_base::{Clock, SystemClock, Timestamp};

/// Where a client's time comes from.
#[async_trait]
pub(crate) trait Pace: Send + Sync + Debug {
    /// The present moment.
    fn now(&self) -> Timestamp;

    /// Waits.
    async fn sleep(&self, wait: Duration);
}

/// The machine's time.
#[derive(Debug)]
struct RealPace(SystemClock);

#[async_trait]
impl Pace for RealPace {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    async fn sleep(&self, wait: Duration) {
        tokio::time::sleep(wait).await;
    }
}

/// The machine's time.
pub(crate) fn real_pace() -> Arc<dyn Pace> {
    Arc::new(RealPace(SystemClock))
}
