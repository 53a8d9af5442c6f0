//! Replay: the wheel turned day by day over dated inputs, on a virtual clock.

use std::sync::Arc;

use flywheel_base::{Error, FixedClock, Result, Timestamp};

use crate::Workspace;
use crate::recorder::Observer;
use crate::turn::{TurnReport, turn};

/// The most days one replay may span.
const DAYS_MAX: i64 = 36_600;

/// Days from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    first: i64,
    last: i64,
}

impl Days {
    /// Parses `2010-12-01..2011-12-09`, or one day.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if it is neither, or ends before it starts.
    pub fn parse(text: &str) -> Result<Self> {
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let day = |text: &str| Timestamp::parse(text).map(Timestamp::day);
        let (first, last) = (day(first)?, day(last.trim_start_matches('='))?);
        if last < first || last - first >= DAYS_MAX {
            return Err(Error::invalid(format!("\"{text}\" is no span of days"))
                .hint("Write the first and the last day: --replay 2024-01-01..2024-01-31"));
        }
        Ok(Self { first, last })
    }

    /// A span of `count` days from `first`.
    #[must_use]
    pub fn from(first: Timestamp, count: i64) -> Self {
        Self { first: first.day(), last: first.day() + count - 1 }
    }

    /// The moments of the turns: the last second of each day.
    pub fn moments(self) -> impl Iterator<Item = Timestamp> {
        (self.first..=self.last).map(end_of_day)
    }
}

/// The last second of a day: everything dated that day has happened.
#[must_use]
pub fn end_of_day(day: i64) -> Timestamp {
    Timestamp::from_day(day + 1).plus_micros(-1_000_000)
}

/// Turns the wheel once per day; days that were turned before are left out, and a turn that was cut
/// off is completed first. `clock` is the workspace's own.
///
/// # Errors
/// The first turn's error; the days before it are done.
pub async fn replay(
    workspace: &Workspace,
    clock: &Arc<FixedClock>,
    days: Days,
    observer: &dyn Observer,
    mut after: impl FnMut(&TurnReport) -> Result<()>,
) -> Result<usize> {
    let mut turned = 0;
    if let Some(open) = workspace.store.open_turn()? {
        clock.move_to(open.logical_at);
        after(&turn(workspace, observer).await?)?;
        turned += 1;
    }
    let done = workspace.store.last_turn()?.map(|turn| turn.logical_at);
    for moment in days.moments().filter(|moment| done.is_none_or(|done| *moment > done)) {
        clock.move_to(moment);
        after(&turn(workspace, observer).await?)?;
        turned += 1;
    }
    Ok(turned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_a_turn_per_day_at_its_end() {
        let days = Days::parse("2024-02-28..2024-03-01").unwrap();
        let moments: Vec<String> = days.moments().map(|m| m.to_string()).collect();
        assert_eq!(
            moments,
            ["2024-02-28T23:59:59Z", "2024-02-29T23:59:59Z", "2024-03-01T23:59:59Z"]
        );
        assert!(Days::parse("2024-03-01..2024-02-28").is_err());
        assert!(Days::parse("yesterday").is_err());
    }
}
