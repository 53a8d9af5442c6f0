//! Reading a topic while somebody may be writing it.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result};

use super::Folder;
use super::frame::{Frames, Step, message_of, place_of};
use super::segment::{self, Segment};
use crate::queue::{Extent, Message, OnGap, Queue, Span, TopicReader, TopicStream};

/// The only partition of a topic.
const PARTITION: i32 = 0;

impl Queue for Folder {
    fn kind(&self) -> &'static str {
        "journal"
    }

    fn open(&self, stream: &TopicStream) -> Result<Box<dyn TopicReader>> {
        Ok(Box::new(Reader {
            folder: self.clone(),
            topic: stream.topic.clone(),
            on_gap: stream.on_gap,
            next: 0,
            to: 0,
            open: None,
        }))
    }
}

struct Reader {
    folder: Folder,
    topic: String,
    on_gap: OnGap,
    /// The next offset.
    next: i64,
    /// The offset to stop before.
    to: i64,
    open: Option<(Segment, Frames)>,
}

impl Reader {
    /// Opens the segment that holds the next offset, or the first one behind it.
    fn turn_to(&mut self, segments: &[Segment]) -> Result<()> {
        let held = segments.iter().rev().find(|segment| segment.base <= self.next);
        let current = self.open.as_ref().map(|(segment, _)| segment);
        let segment = match held {
            Some(held) if Some(held) != current => held,
            _ => {
                let after = segments.iter().find(|segment| segment.base > self.next);
                let Some(after) = after else {
                    let (topic, next) = (&self.topic, self.next);
                    return Err(Error::corrupt(format!(
                        "the topic \"{topic}\" ends at offset {next}, before offset {}",
                        self.to
                    ))
                    .hint("A file of the topic was removed or cut off: restore it from a backup, or read it from its start with `flywheel sync NAME --restart`."));
                };
                self.gap(after.base)?;
                after
            }
        };
        self.open = Some((segment.clone(), segment.open()?));
        Ok(())
    }

    /// Goes on at `to`, if the stream may skip what is missing.
    fn gap(&mut self, to: i64) -> Result<()> {
        let (topic, from) = (&self.topic, self.next);
        let missing = format!("offsets {from} to {} of the topic \"{topic}\" are gone", to - 1);
        if self.on_gap == OnGap::Fail {
            return Err(Error::blocked(missing)
                .hint("Retention or somebody removed a file: set the stream's `on_gap: skip` to go on without its messages."));
        }
        tracing::warn!(topic, from, to, "gap");
        self.next = to;
        Ok(())
    }
}

impl TopicReader for Reader {
    fn extents(&mut self) -> Result<BTreeMap<i32, Extent>> {
        Ok(BTreeMap::from([(PARTITION, self.folder.extent(&self.topic)?)]))
    }

    fn at_moment(&mut self, partitions: &[i32], millis: i64) -> Result<BTreeMap<i32, i64>> {
        let found =
            self.folder.with_segments(&self.topic, |segments| first_at(segments, millis))?;
        Ok(partitions.iter().map(|partition| (*partition, found)).collect())
    }

    fn begin(&mut self, span: Span) -> Result<()> {
        (self.next, self.to, self.open) = (span.from, span.to, None);
        Ok(())
    }

    fn next(&mut self, take: &mut dyn FnMut(&Message<'_>)) -> Result<bool> {
        loop {
            if self.next >= self.to {
                return Ok(false);
            }
            let Some((segment, frames)) = &mut self.open else {
                let segments = self.folder.segments(&self.topic)?;
                self.turn_to(&segments)?;
                continue;
            };
            match segment.step(frames)? {
                Step::Whole => {}
                Step::Broken => return Err(segment.damaged(frames.at, self.next)),
                Step::End => {
                    let segments = segment::list(&self.folder.topic(&self.topic)?)?;
                    self.turn_to(&segments)?;
                    continue;
                }
            }
            // Commits are read by scans.
            let Some((offset, _)) = place_of(frames.payload()) else { continue };
            if offset < self.next {
                continue;
            }
            let stored = message_of(frames.payload()).filter(|stored| stored.offset == self.next);
            let Some(stored) = stored else {
                return Err(segment.damaged(frames.at, self.next));
            };
            take(&Message {
                topic: &self.topic,
                partition: PARTITION,
                offset,
                millis: Some(stored.millis),
                key: stored.key,
                value: stored.value,
                headers: stored.headers,
            });
            self.next += 1;
            return Ok(true);
        }
    }
}

/// The first offset of a moment or later; [`i64::MAX`] if no message is so young.
fn first_at(segments: &[Segment], millis: i64) -> Result<i64> {
    let mut from = 0;
    for (at, segment) in segments.iter().enumerate().skip(1).rev() {
        if segment.created()? < millis {
            from = at;
            break;
        }
    }
    for segment in segments.iter().skip(from) {
        let mut frames = segment.open()?;
        while segment.step(&mut frames)? == Step::Whole {
            match place_of(frames.payload()) {
                Some((offset, made)) if made >= millis => return Ok(offset),
                _ => {}
            }
        }
    }
    Ok(i64::MAX)
}
