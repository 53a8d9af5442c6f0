//! How often something may be used within a minute, by whatever names it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::problem::{Problem, Result};

/// How long a count goes on.
const WINDOW: Duration = Duration::from_secs(60);
/// Names that are counted at once; those beyond share one count.
const NAMES_MAX: usize = 10_000;
/// The count of all for whom there is no room.
const OTHERS: &str = "others";

/// Counts of the minute under way.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<BTreeMap<String, Count>>);

#[derive(Debug)]
struct Count {
    began: Instant,
    used: u64,
    /// Whether somebody was refused.
    refused: bool,
}

/// What became of a use that was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It may go on.
    Allowed,
    /// It is the first of the minute that may not.
    FirstRefused,
    /// It may not go on, as others before it.
    Refused,
}

/// What is left of a minute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    pub(crate) most: u64,
    pub(crate) left: u64,
    pub(crate) reset_s: u64,
}

impl Left {
    /// Says so in the headers of an answer.
    pub(crate) fn tell(self, headers: &mut HeaderMap) {
        let Self { most, left, reset_s } = self;
        for (name, value) in
            [("ratelimit-limit", most), ("ratelimit-remaining", left), ("ratelimit-reset", reset_s)]
        {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
    }
}

impl Rates {
    /// Counts `count` uses of `name`, or refuses them if they would be more than `most` within a minute.
    pub(crate) fn take(&self, name: &str, count: u64, most: u64) -> Result<()> {
        let (taken, left) = self.count(name, count, most);
        if taken == Taken::Allowed {
            return Ok(());
        }
        let detail = format!("more than {most} within a minute");
        let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", detail)
            .hint("Wait as long as Retry-After says, and ask less often.");
        problem.retry_after_s = Some(left.reset_s);
        Err(problem)
    }

    /// Counts `count` uses of `name` unless they would be more than `most` within a minute; says what is left.
    pub(crate) fn count(&self, name: &str, count: u64, most: u64) -> (Taken, Left) {
        self.count_at(name, count, most, Instant::now())
    }

    fn count_at(&self, name: &str, count: u64, most: u64, now: Instant) -> (Taken, Left) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= NAMES_MAX && !counts.contains_key(name) {
            counts.retain(|_, count| now.duration_since(count.began) < WINDOW);
        }
        let full = counts.len() >= NAMES_MAX && !counts.contains_key(name);
        let name = if full { OTHERS } else { name };
        let fresh = || Count { began: now, used: 0, refused: false };
        let held = counts.entry(name.to_owned()).or_insert_with(fresh);
        if now.duration_since(held.began) >= WINDOW {
            *held = fresh();
        }
        let taken = if held.used.saturating_add(count) <= most {
            held.used += count;
            Taken::Allowed
        } else if std::mem::replace(&mut held.refused, true) {
            Taken::Refused
        } else {
            Taken::FirstRefused
        };
        let rest = WINDOW.saturating_sub(now.duration_since(held.began));
        let left = most.saturating_sub(held.used);
        (taken, Left { most, left, reset_s: rest.as_secs().max(1) })
    }
}
