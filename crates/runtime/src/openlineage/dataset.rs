//! What tables and streams are called in events, and back.

use std::collections::BTreeMap;
use std::path::Path;

use flywheel_project::resource::sync::{LAKE, LakeStream, Stream, Sync};
use flywheel_project::{NodeId, NodeKind, Project};
use serde_json::{Value, json};

use crate::catalogue::shown;
use crate::task::sync::named;

/// A data set by its names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Dataset {
    /// What its name is unique in.
    pub(super) namespace: String,
    /// Its name.
    pub(super) name: String,
}

impl Dataset {
    fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// As a part of an event.
    pub(super) fn value(&self) -> Value {
        json!({"namespace": self.namespace, "name": self.name})
    }
}

/// The namespace of jobs.
pub(super) fn jobs(project: &Project) -> String {
    let said = project.file.openlineage.as_ref().and_then(|said| said.namespace.clone());
    said.unwrap_or_else(|| project.file.name.clone())
}

/// The namespace of tables.
pub(super) fn tables(project: &Project) -> String {
    format!("flywheel://{}", jobs(project))
}

/// A table of ours.
pub(super) fn table(project: &Project, name: &str) -> Dataset {
    Dataset::new(tables(project), name)
}

/// What a task reads and writes.
pub(super) fn of_task(project: &Project, kind: &str, name: &str) -> (Vec<Dataset>, Vec<Dataset>) {
    match kind {
        "sync" => of_sync(project, name),
        "learn" => {
            let id = NodeId::new(NodeKind::Learner, name);
            (upstream(project, &id), vec![table(project, &format!("learn.{name}"))])
        }
        _ => (Vec::new(), Vec::new()),
    }
}

/// The tables that a node reads.
pub(super) fn upstream(project: &Project, id: &NodeId) -> Vec<Dataset> {
    let nodes = project.graph.upstream(id);
    let tables = nodes
        .filter(|node| matches!(node.kind, NodeKind::Source | NodeKind::Model | NodeKind::Learner));
    tables.map(|node| table(project, &shown(project, node))).collect()
}

fn of_sync(project: &Project, name: &str) -> (Vec<Dataset>, Vec<Dataset>) {
    for sync in project.syncs.values() {
        for stream in &sync.streams {
            for to in sync.destination.names() {
                if named(&sync.sync, stream, to) == name {
                    return (read(project, sync, stream), vec![written(project, stream, to)]);
                }
            }
        }
    }
    (Vec::new(), Vec::new())
}

fn read(project: &Project, sync: &Sync, stream: &Stream) -> Vec<Dataset> {
    if !sync.reads_lake() {
        return vec![outside(project, &sync.connection, &stream.options, &stream.stream)];
    }
    let options = serde_json::from_value(Value::Object(stream.options.clone()));
    match options {
        Ok(LakeStream { table: Some(name), .. }) => vec![table(project, &name)],
        _ => upstream(project, &NodeId::new(NodeKind::Sync, sync.sync.as_str())),
    }
}

fn written(project: &Project, stream: &Stream, to: &str) -> Dataset {
    match to {
        LAKE => table(project, &stream.table()),
        other => outside(project, other, stream.target_of(other), &stream.stream),
    }
}

/// Every stream outside, by the name it has in the graph of columns: `connection/stream`.
pub(super) fn streams(project: &Project) -> BTreeMap<String, Dataset> {
    let mut all = BTreeMap::new();
    for sync in project.syncs.values() {
        for stream in &sync.streams {
            if !sync.reads_lake() {
                let set = outside(project, &sync.connection, &stream.options, &stream.stream);
                all.insert(format!("{}/{}", sync.connection, stream.stream), set);
            }
            for to in sync.destination.names().iter().filter(|to| *to != LAKE) {
                all.insert(format!("{to}/{}", stream.stream), written(project, stream, to));
            }
        }
    }
    all
}

type Options = serde_json::Map<String, Value>;

/// What OpenLineage calls a table, file or topic outside. What is known by a secret only is called by its connection.
fn outside(project: &Project, connection: &str, stream: &Options, name: &str) -> Dataset {
    let unnamed = |kind: &str| Dataset::new(format!("{kind}://{connection}"), name);
    let Some(declared) = project.connections.get(connection) else { return unnamed("connection") };
    let kind = declared.connector.as_str();
    let of = |key: &str| plain(stream, key).or_else(|| plain(&declared.options, key));
    match kind {
        "postgres" | "mysql" => {
            let (port, schema) =
                if kind == "postgres" { (5432, Some("public")) } else { (3306, None) };
            let Some((host, database)) = plain(&declared.options, "host").zip(of("database"))
            else {
                return unnamed(kind);
            };
            let port = declared.options.get("port").and_then(Value::as_u64).unwrap_or(port);
            let table = plain(stream, "table").unwrap_or_else(|| name.to_owned());
            let table = match schema.filter(|_| !table.contains('.')) {
                Some(schema) => format!("{schema}.{table}"),
                None => table,
            };
            Dataset::new(format!("{kind}://{host}:{port}"), format!("{database}.{table}"))
        }
        "kafka" => match of("brokers").zip(of("topic")) {
            Some((brokers, topic)) => Dataset::new(format!("kafka://{brokers}"), topic),
            None => unnamed(kind),
        },
        _ => match of("path") {
            Some(path) => {
                let path = match plain(&declared.options, "folder") {
                    Some(folder) => format!("{}/{path}", folder.trim_end_matches('/')),
                    None => path,
                };
                file(project, &path, plain(stream, "table").or_else(|| plain(stream, "sheet")))
            }
            None => unnamed(kind),
        },
    }
}

/// A file, or a table within one.
fn file(project: &Project, path: &str, within: Option<String>) -> Dataset {
    let within = within.map(|table| format!("#{table}")).unwrap_or_default();
    if let Some((scheme, rest)) = path.split_once("://") {
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        return Dataset::new(format!("{scheme}://{bucket}"), format!("{key}{within}"));
    }
    let path = project.dir.join(Path::new(path));
    Dataset::new("file", format!("{}{within}", path.display()))
}

/// A setting that is no reference to a secret.
fn plain(options: &Options, key: &str) -> Option<String> {
    let text = options.get(key)?.as_str()?;
    (!text.contains("${")).then(|| text.to_owned())
}
