//! `flywheel topic`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use flywheel_base::{Error, Result, Timestamp, suggest};
use flywheel_connect::JournalTopics;
use flywheel_connect::kafka::topics::{
    Created, Topic as Described, TopicChange, TopicName, TopicSpec, Topics as KafkaTopics,
};
use flywheel_runtime::{Access, Workspace};
use serde_json::Value;

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid, Output};

/// Options of `flywheel topic`.
#[derive(Debug, Args)]
pub(crate) struct Topic {
    /// The connection, of type kafka or journal
    #[arg(long, global = true)]
    connection: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Makes a topic; one that is there as it is wanted is left alone
    Create {
        /// Its name
        topic: String,
        /// How many partitions it has; the brokers' default if absent, and always one in a journal
        #[arg(long)]
        partitions: Option<u32>,
        /// How many brokers hold a copy; the brokers' default if absent
        #[arg(long)]
        replication: Option<u16>,
        /// A setting, retention.ms=86400000; can be given several times
        #[arg(long, value_name = "KEY=VALUE")]
        config: Vec<String>,
    },
    /// Lists the topics
    List,
    /// Shows the partitions of a topic and the settings that were made for it
    Describe {
        /// Its name
        topic: String,
    },
    /// Adds partitions or changes settings; other settings stay
    Alter {
        /// Its name
        topic: String,
        /// How many partitions it shall have, more than now
        #[arg(long)]
        partitions: Option<u32>,
        /// A setting, retention.ms=86400000; without value, retention.ms=, back to the default
        #[arg(long, value_name = "KEY=VALUE")]
        config: Vec<String>,
    },
    /// Removes a topic with all its messages
    Delete {
        /// Its name
        topic: String,
    },
}

impl Runs for Topic {
    const ABOUT: &'static str =
        "Makes, lists, describes, changes and removes topics of Kafka and of journals";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace: Workspace = app.open(Access::Read).await?;
        let topics = topics(&workspace, self.connection.as_deref())?;
        match self.verb {
            Verb::Create { topic, partitions, replication, config } => {
                let config = pairs(&config)?;
                let spec = TopicSpec { name: topic.clone(), partitions, replication, config };
                let text = match topics.create(&spec, workspace.now()).await? {
                    Created::Now => format!("made the topic {topic}"),
                    Created::Before => format!("the topic {topic} is there already"),
                };
                app.output.message(&text);
            }
            Verb::List => {
                let mut grid = Grid::new(&["topic", "#partitions"]);
                for topic in topics.list().await? {
                    grid.row(vec![topic.name, topic.partitions.to_string()]);
                }
                app.output.grid(&grid)?;
            }
            Verb::Describe { topic } => show(app.output, &topics.describe(&topic).await?)?,
            Verb::Alter { topic, partitions, config } => {
                let config = pairs(&config)?.into_iter();
                let config =
                    config.map(|(key, value)| (key, Some(value).filter(|v| !v.is_empty())));
                let change = TopicChange { partitions, config: config.collect() };
                show(app.output, &topics.alter(&topic, &change).await?)?;
            }
            Verb::Delete { topic } => {
                topics.delete(&topic).await?;
                app.output.message(&format!("removed the topic {topic}"));
            }
        }
        Ok(Exit::Done)
    }
}

/// The types of connections that have topics.
const TYPES: [&str; 2] = ["kafka", "journal"];

/// The topics of a connection, be it a cluster or a folder.
enum Topics {
    Kafka(Box<KafkaTopics>),
    Journal(JournalTopics),
}

impl Topics {
    async fn create(&self, spec: &TopicSpec, now: Timestamp) -> Result<Created> {
        match self {
            Self::Kafka(topics) => topics.create(spec).await,
            Self::Journal(topics) => topics.create(spec, now).await,
        }
    }

    async fn list(&self) -> Result<Vec<TopicName>> {
        match self {
            Self::Kafka(topics) => topics.list().await,
            Self::Journal(topics) => topics.list().await,
        }
    }

    async fn describe(&self, name: &str) -> Result<Described> {
        match self {
            Self::Kafka(topics) => topics.describe(name).await,
            Self::Journal(topics) => topics.describe(name).await,
        }
    }

    async fn alter(&self, name: &str, change: &TopicChange) -> Result<Described> {
        match self {
            Self::Kafka(topics) => topics.alter(name, change).await,
            Self::Journal(topics) => topics.alter(name, change).await,
        }
    }

    async fn delete(&self, name: &str) -> Result<()> {
        match self {
            Self::Kafka(topics) => topics.delete(name).await,
            Self::Journal(topics) => topics.delete(name).await,
        }
    }
}

/// The topics behind a connection of the project; its only one that has topics if none is named.
fn topics(workspace: &Workspace, name: Option<&str>) -> Result<Topics> {
    let connections = &workspace.project.connections;
    let with_topics = || {
        let found = connections
            .iter()
            .filter(|(_, connection)| TYPES.contains(&connection.connector.as_str()));
        found.map(|(name, _)| name.as_str())
    };
    let name = match (name, with_topics().next(), with_topics().nth(1)) {
        (Some(name), ..) => name,
        (None, Some(only), None) => only,
        (None, None, _) => {
            return Err(Error::not_found("the project has no connection of type kafka or journal")
                .hint("Make one in connections/: `type: kafka` with `brokers`, or `type: journal` with `path`."));
        }
        (None, Some(_), Some(_)) => {
            return Err(Error::invalid("there are several connections that have topics").hint(
                format!("Name one: --connection {}", with_topics().collect::<Vec<_>>().join(" | ")),
            ));
        }
    };
    let connection = connections.get(name).ok_or_else(|| {
        Error::not_found(format!("no connection \"{name}\""))
            .hint(suggest::hint(name, connections.keys().map(String::as_str)))
    })?;
    let options = || workspace.project.resolve_secrets(&connection.options).map(Value::Object);
    match connection.connector.as_str() {
        "kafka" => Ok(Topics::Kafka(Box::new(KafkaTopics::of(options()?)?))),
        "journal" => Ok(Topics::Journal(JournalTopics::of(options()?, workspace.dir())?)),
        other => Err(Error::invalid(format!(
            "the connection \"{name}\" is of type {other}, which has no topics"
        ))
        .hint("Name one of type kafka or journal.")),
    }
}

/// Settings from `key=value`.
fn pairs(texts: &[String]) -> Result<BTreeMap<String, String>> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Error::invalid(format!("\"{text}\" is no setting"))
            .hint("Write it as key=value: --config retention.ms=86400000")),
    };
    texts.iter().map(pair).collect()
}

/// Prints all about a topic; as rows its partitions, before them the settings of its own.
fn show(output: Output, topic: &Described) -> Result<()> {
    if output.format == Format::Json {
        return output.json(topic);
    }
    for (name, setting) in topic.config.iter().filter(|(_, setting)| setting.own) {
        let value = setting.value.as_deref().unwrap_or("(hidden)");
        output.message(&format!("{name}={value}"));
    }
    let mut grid =
        Grid::new(&["#partition", "#leader", "replicas", "in sync", "#earliest", "#latest"]);
    let list = |brokers: &[i32]| brokers.iter().map(i32::to_string).collect::<Vec<_>>().join(" ");
    for partition in &topic.partitions {
        grid.row(vec![
            partition.partition.to_string(),
            partition.leader.map(|leader| leader.to_string()).unwrap_or_default(),
            list(&partition.replicas),
            list(&partition.in_sync),
            partition.earliest.to_string(),
            partition.latest.to_string(),
        ]);
    }
    output.grid(&grid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_pairs() {
        let texts = ["a=1".to_owned(), "b=x=y".to_owned(), "c=".to_owned()];
        let found = pairs(&texts).unwrap();
        assert_eq!(
            (found["a"].as_str(), found["b"].as_str(), found["c"].as_str()),
            ("1", "x=y", "")
        );
        for wrong in ["a", "=1"] {
            let error = pairs(&[wrong.to_owned()]).unwrap_err();
            assert!(error.hint_text().is_some_and(|hint| hint.contains("key=value")), "{wrong}");
        }
    }
}
