//! What a read is about to read: decided from the position and what the partitions hold.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::stream::OnGap;
use super::{Extent, Span};
use crate::page::Position;

/// Where a read stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    /// The topic.
    pub(crate) topic: String,
    /// The next offset of each partition.
    pub(crate) next: BTreeMap<i32, i64>,
    /// The columns and their types.
    #[serde(default)]
    pub(crate) schema: Vec<(String, String)>,
    /// Whether the read came to its end.
    #[serde(default)]
    pub(crate) complete: bool,
}

impl Stored {
    /// Reads a position.
    pub(crate) fn of(position: &Position) -> Result<Self> {
        serde_json::from_value(position.0.clone()).map_err(|error| {
            Error::corrupt("the stored position is not one of a topic").caused_by(error)
        })
    }

    /// The position.
    pub(crate) fn position(&self) -> Result<Position> {
        serde_json::to_value(self)
            .map(Position)
            .map_err(|error| Error::internal("a position cannot be written").caused_by(error))
    }
}

/// Messages that are gone unread: those of a partition from one offset up to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) partition: i32,
    pub(crate) from: i64,
    pub(crate) to: i64,
}

/// What to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// By partition.
    pub(crate) spans: Vec<Span>,
    /// What is gone.
    pub(crate) gaps: Vec<Gap>,
}

/// Decides what to read. `next` is the position, `first` where partitions without one begin.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Blocked`] if retention removed what was not read, or if the topic is
/// not the one that was read before.
pub(crate) fn plan(
    topic: &str,
    next: &BTreeMap<i32, i64>,
    first: &BTreeMap<i32, i64>,
    extents: &BTreeMap<i32, Extent>,
    on_gap: OnGap,
) -> Result<Plan> {
    let anew = |what: String| {
        Error::blocked(format!("the topic \"{topic}\" is not as it was: {what}")).hint(
            "It was made anew, or messages at its end were lost: read what is there now with `flywheel sync NAME --restart`.",
        )
    };
    if let Some(gone) = next.keys().find(|partition| !extents.contains_key(partition)) {
        return Err(anew(format!("there is no partition {gone} any more")));
    }
    let mut plan = Plan::default();
    for (partition, extent) in extents {
        let (partition, Extent { low, high }) = (*partition, *extent);
        let from = match next.get(&partition) {
            Some(from) if *from > high => {
                return Err(anew(format!(
                    "partition {partition} was read up to offset {from} and ends at {high}"
                )));
            }
            Some(from) => {
                if *from < low {
                    plan.gaps.push(Gap { partition, from: *from, to: low });
                }
                *from
            }
            None => first.get(&partition).copied().unwrap_or(low),
        };
        plan.spans.push(Span { partition, from: from.clamp(low, high), to: high });
    }
    if on_gap == OnGap::Fail && !plan.gaps.is_empty() {
        let gaps: Vec<String> = plan.gaps.iter().map(shown).collect();
        return Err(Error::blocked(format!(
            "retention removed messages of the topic \"{topic}\" before they were read: {}",
            gaps.join("; ")
        ))
        .hint("Set the stream's `on_gap: skip` to go on without them, and raise the topic's retention or read more often."));
    }
    Ok(plan)
}

/// A gap in words.
pub(crate) fn shown(gap: &Gap) -> String {
    let Gap { partition, from, to } = gap;
    format!("partition {partition}, offsets {from} to {} ({} messages)", to - 1, to - from)
}

#[cfg(test)]
mod tests {
    use flywheel_base::ErrorKind;

    use super::*;

    fn offsets(pairs: &[(i32, i64)]) -> BTreeMap<i32, i64> {
        pairs.iter().copied().collect()
    }

    fn check(next: &[(i32, i64)], held: &[(i64, i64)], on_gap: OnGap) -> Result<Plan> {
        let extents =
            (0..).zip(held).map(|(at, (low, high))| (at, Extent { low: *low, high: *high }));
        plan("t", &offsets(next), &BTreeMap::new(), &extents.collect(), on_gap)
    }

    fn spans(plan: &Plan) -> Vec<(i32, i64, i64)> {
        plan.spans.iter().map(|span| (span.partition, span.from, span.to)).collect()
    }

    #[test]
    fn known_partitions_go_on_and_new_ones_begin_at_their_start() {
        let plan = check(&[(0, 5)], &[(2, 9), (3, 4)], OnGap::Fail).unwrap();
        assert_eq!(spans(&plan), [(0, 5, 9), (1, 3, 4)]);
        let caught_up = check(&[(0, 9)], &[(9, 9)], OnGap::Fail).unwrap();
        assert_eq!(spans(&caught_up), [(0, 9, 9)]);
    }

    #[test]
    fn a_gap_stops_the_read_or_is_named() {
        let error = check(&[(0, 5), (1, 0)], &[(8, 9), (0, 4)], OnGap::Fail).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Blocked);
        assert!(error.message().contains("partition 0, offsets 5 to 7 (3 messages)"), "{error}");
        let plan = check(&[(0, 5)], &[(8, 9)], OnGap::Skip).unwrap();
        assert_eq!(spans(&plan), [(0, 8, 9)]);
        assert_eq!(plan.gaps, [Gap { partition: 0, from: 5, to: 8 }]);
    }

    #[test]
    fn a_topic_made_anew_is_not_read_on() {
        for (next, held) in [(&[(0, 5)][..], &[(0, 3)][..]), (&[(0, 1), (1, 1)][..], &[(0, 3)][..])]
        {
            let error = check(next, held, OnGap::Skip).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Blocked, "{error}");
            assert!(error.hint_text().is_some_and(|hint| hint.contains("--restart")));
        }
    }
}
