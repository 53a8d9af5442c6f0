//! The `journal` source: the messages of a topic in a folder, without a server.
//!
//! A stream has the settings of one of Kafka's and gives the same rows: a sync that reads a topic of
//! a cluster reads one of a journal when its connection is exchanged, and the other way round. A topic
//! has one partition, 0. A read ends at the last commit that was there when it began; the position is
//! the next offset.

use async_trait::async_trait;
use flywheel_base::{ErrorKind, Result, task};
use futures::stream::BoxStream;

use super::{ChangesRequest, Lag, ReadRequest, Source, SourceConfig, SourceContext, StreamInfo};
use crate::files::pages;
use crate::journal::Folder;
use crate::page::Page;
use crate::queue::{
    DISCOVER_TOPICS_MAX, Extent, Stored, TopicRead, TopicStream, described, positions,
};

pub use crate::journal::Journal;

impl SourceConfig for Journal {
    type Stream = TopicStream;

    const ABOUT: &'static str = "the messages of a topic in a folder, without a server";

    fn build(self, ctx: &SourceContext) -> Result<Box<dyn Source>> {
        Ok(Box::new(Topics { folder: self.folder(&ctx.base_dir)? }))
    }
}

/// The topics of a journal.
#[derive(Clone, Debug)]
struct Topics {
    folder: Folder,
}

#[async_trait]
impl Source for Topics {
    async fn check(&self) -> Result<()> {
        let folder = self.folder.clone();
        task::compute(move || folder.check()).await
    }

    async fn discover(&self) -> Result<Vec<StreamInfo>> {
        let folder = self.folder.clone();
        task::compute(move || discover(&folder)).await
    }

    fn read<'a>(&'a self, request: &'a ReadRequest) -> BoxStream<'a, Result<Page>> {
        pages(TopicRead::new(Box::new(self.folder.clone()), request))
    }

    async fn lag(&self, request: &ChangesRequest) -> Result<Vec<Option<Lag>>> {
        let positions = positions(request)?;
        let folder = self.folder.clone();
        task::compute(move || {
            let of = |stored: Option<Stored>| stored.map(|at| behind(&folder, &at)).transpose();
            positions.into_iter().map(of).collect()
        })
        .await
    }
}

/// How many messages come after a position.
fn behind(folder: &Folder, stored: &Stored) -> Result<Lag> {
    let extent = match folder.extent(&stored.topic) {
        // Nothing was written to it yet.
        Err(error) if error.kind() == ErrorKind::NotFound && stored.next.is_empty() => {
            Extent { low: 0, high: 0 }
        }
        extent => extent?,
    };
    let next = stored.next.values().next().copied().unwrap_or_default().max(extent.low);
    Ok(Lag { behind: u64::try_from(extent.high - next).unwrap_or_default(), unit: "messages" })
}

/// The topics, with the columns that their first messages show.
fn discover(folder: &Folder) -> Result<Vec<StreamInfo>> {
    folder.check()?;
    let mut found = Vec::new();
    for topic in folder.topics()? {
        let columns = found.len() < DISCOVER_TOPICS_MAX;
        let info = folder.extent(&topic).and_then(|extent| {
            let rows = u64::try_from(extent.high - extent.low).unwrap_or(0);
            described(&|| Box::new(folder.clone()), topic, rows, columns)
        });
        match info {
            Ok(info) => found.push(info),
            // It was removed meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

#[cfg(test)]
pub(crate) mod tests;
