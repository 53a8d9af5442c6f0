//! How often something may be used within a minute, by whatever names it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;

use crate::problem::{Problem, Result};

/// How long a count goes on.
const WINDOW: Duration = Duration::from_secs(60);
/// Names that are counted at once; those beyond share one count.
const NAMES_MAX: usize = 10_000;
/// The count of all for whom there is no room.
const OTHERS: &str = "others";

/// Counts of the minute under way.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<BTreeMap<String, (Instant, u64)>>);

impl Rates {
    /// Counts `count` uses of `name`, or refuses them if they would be more than `most` within a minute.
    pub(crate) fn take(&self, name: &str, count: u64, most: u64) -> Result<()> {
        self.take_at(name, count, most, Instant::now())
    }

    fn take_at(&self, name: &str, count: u64, most: u64, now: Instant) -> Result<()> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= NAMES_MAX && !counts.contains_key(name) {
            counts.retain(|_, (began, _)| now.duration_since(*began) < WINDOW);
        }
        let full = counts.len() >= NAMES_MAX && !counts.contains_key(name);
        let name = if full { OTHERS } else { name };
        let (began, used) = counts.entry(name.to_owned()).or_insert((now, 0));
        if now.duration_since(*began) >= WINDOW {
            (*began, *used) = (now, 0);
        }
        if used.saturating_add(count) > most {
            let left = WINDOW.saturating_sub(now.duration_since(*began));
            let detail = format!("more than {most} within a minute");
            let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", detail)
                .hint("Wait as long as Retry-After says, and ask less often.");
            problem.retry_after_s = Some(left.as_secs().max(1));
            return Err(problem);
        }
        *used += count;
        Ok(())
    }
}
