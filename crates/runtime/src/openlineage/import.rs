//! Events of other tools become rows of `system.foreign_lineage`: all of what is given, or nothing.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result, Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::dataset::{Dataset, streams};
use super::foreign::{EdgeRow, TABLE, known};
use super::settle::places;
use crate::Workspace;

/// The most ways that one import may hold.
const EDGES_MAX: usize = 1_000_000;

/// How many mistakes are told at once.
const MISTAKES_MAX: usize = 10;

/// What an import brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// How many events were read.
    pub events: usize,
    /// How many jobs they are about.
    pub jobs: usize,
    /// How many data sets they name.
    pub datasets: usize,
    /// How many ways from one data set or column to another they tell of.
    pub edges: usize,
    /// How many of these were not known before.
    pub new_edges: usize,
}

/// Reads events: each text is a name for messages and JSON, one event, a list of them, or one after the other as in
/// lines. Events of runs that failed tell nothing, since what they would have written is not there.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] with file and line if one of them is no event, and nothing is kept;
/// [`flywheel_base::ErrorKind::Exhausted`] if there are too many; those of the lake.
pub async fn import(workspace: &Workspace, texts: &[(String, String)]) -> Result<Imported> {
    let mut reader = Reader::of(workspace);
    let mut mistakes = Vec::new();
    for (name, text) in texts {
        reader.text(name, text, &mut mistakes);
    }
    if !mistakes.is_empty() {
        let more = mistakes.len().saturating_sub(MISTAKES_MAX);
        mistakes.truncate(MISTAKES_MAX);
        let more = if more > 0 { format!("\nand {more} more") } else { String::new() };
        return Err(Error::invalid(format!("{}{more}", mistakes.join("\n")))
            .hint("Nothing was imported. Mend or remove these events and import again."));
    }
    if reader.edges.len() > EDGES_MAX {
        return Err(Error::exhausted(format!(
            "the events tell of {} ways, more than {EDGES_MAX}",
            reader.edges.len()
        ))
        .hint("Import fewer files at a time."));
    }
    let mut imported = Imported {
        events: reader.events,
        jobs: reader.jobs.len(),
        datasets: reader.sets.len(),
        edges: reader.edges.len(),
        new_edges: 0,
    };
    let known = known(workspace).await?;
    let new: Vec<EdgeRow> =
        reader.edges.into_values().filter(|edge| !known.contains(&edge.edge_id)).collect();
    imported.new_edges = new.len();
    if !new.is_empty() {
        TABLE.append(&workspace.lake, &new, None).await?;
    }
    Ok(imported)
}

/// Reads events into ways.
struct Reader {
    /// What we call data sets that others may know by several names.
    ours: BTreeSet<Dataset>,
    events: usize,
    jobs: BTreeSet<(String, String)>,
    sets: BTreeSet<Dataset>,
    edges: BTreeMap<String, EdgeRow>,
}

impl Reader {
    fn of(workspace: &Workspace) -> Self {
        let project = &workspace.project;
        let models = project.models.values().map(flywheel_project::Model::relation);
        let tables: BTreeSet<String> = models.chain(project.sources.keys().cloned()).collect();
        let mut ours: BTreeSet<Dataset> = places(workspace, &tables).into_keys().collect();
        ours.extend(streams(project).into_values());
        Self {
            ours,
            events: 0,
            jobs: BTreeSet::new(),
            sets: BTreeSet::new(),
            edges: BTreeMap::new(),
        }
    }

    fn text(&mut self, name: &str, text: &str, mistakes: &mut Vec<String>) {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        loop {
            let before = values.byte_offset();
            let Some(value) = values.next() else { return };
            let rest = text.get(before..).unwrap_or_default();
            let blank = rest.len() - rest.trim_start().len();
            let start = text.get(..before + blank).unwrap_or_default();
            let line = start.matches('\n').count() + 1;
            match value {
                Err(error) => {
                    mistakes.push(format!("{name}:{}: it is no JSON: {error}", error.line()));
                    return;
                }
                Ok(Value::Array(events)) => {
                    for (number, event) in events.iter().enumerate() {
                        if let Err(mistake) = self.event(event) {
                            mistakes
                                .push(format!("{name}:{line}: event {}: {mistake}", number + 1));
                        }
                    }
                }
                Ok(event) => {
                    if let Err(mistake) = self.event(&event) {
                        mistakes.push(format!("{name}:{line}: {mistake}"));
                    }
                }
            }
        }
    }

    /// Reads an event, or says what is wrong with it.
    fn event(&mut self, event: &Value) -> std::result::Result<(), String> {
        if !event.is_object() {
            return Err("an event is an object".to_owned());
        }
        let told_at = text(event, "/eventTime", "eventTime")?;
        let told_at = Timestamp::parse(told_at)
            .map_err(|error| format!("eventTime is no moment: {}", error.message()))?;
        let producer = text(event, "/producer", "producer")?.to_owned();
        let (job_namespace, job, inputs, outputs) = match event.get("dataset") {
            // A data set tells of itself.
            Some(set) => (String::new(), String::new(), Vec::new(), vec![self.set(set)?]),
            None => {
                let namespace = text(event, "/job/namespace", "job.namespace")?.to_owned();
                let name = text(event, "/job/name", "job.name")?.to_owned();
                let inputs = self.sets(event, "inputs")?;
                let outputs = self.sets(event, "outputs")?;
                (namespace, name, inputs, outputs)
            }
        };
        self.events += 1;
        let phase = event.get("eventType").and_then(Value::as_str).unwrap_or_default();
        if matches!(phase, "FAIL" | "ABORT") {
            return Ok(());
        }
        if !job.is_empty() {
            self.jobs.insert((job_namespace.clone(), job.clone()));
        }
        let template = EdgeRow {
            edge_id: String::new(),
            job_namespace,
            job,
            from_namespace: None,
            from_name: None,
            from_field: None,
            to_namespace: None,
            to_name: None,
            to_field: None,
            kind: "transform".to_owned(),
            told_at,
            producer,
        };
        for (output, facets) in &outputs {
            let to = EdgeRow {
                to_namespace: Some(output.namespace.clone()),
                to_name: Some(output.name.clone()),
                ..template.clone()
            };
            let traced = self.columns(facets, &to)?;
            for (input, _) in &inputs {
                if !traced.contains(input) {
                    self.keep(from(&to, input, None));
                }
            }
            if inputs.is_empty() && traced.is_empty() && !to.job.is_empty() {
                self.keep(to);
            }
        }
        if outputs.is_empty() {
            for (input, _) in &inputs {
                self.keep(from(&template, input, None));
            }
        }
        Ok(())
    }

    /// Keeps the column lineage of an output; returns the data sets it names.
    fn columns(
        &mut self,
        facets: &Value,
        to: &EdgeRow,
    ) -> std::result::Result<BTreeSet<Dataset>, String> {
        let mut named = BTreeSet::new();
        let Some(lineage) = facets.get("columnLineage") else { return Ok(named) };
        let fields = lineage
            .get("fields")
            .and_then(Value::as_object)
            .ok_or("the facet columnLineage has no fields")?;
        let whole = lineage.get("dataset").and_then(Value::as_array).into_iter().flatten();
        let mut inputs: Vec<(Option<&String>, &Value, &str)> =
            whole.map(|input| (None, input, "")).collect();
        for (column, field) in fields {
            let own = field.get("inputFields").and_then(Value::as_array).ok_or_else(|| {
                format!("columnLineage says nothing of what \"{column}\" is made of: inputFields")
            })?;
            // How earlier versions of the facet said it.
            let old = field.get("transformationType").and_then(Value::as_str).unwrap_or_default();
            inputs.extend(own.iter().map(|input| (Some(column), input, old)));
        }
        for (column, input, old) in inputs {
            let set = self.set(input)?.0;
            let field = text(input, "/field", "inputFields.field")?;
            let steps = input.get("transformations").and_then(Value::as_array);
            let kinds: BTreeSet<&str> = match steps.map(Vec::as_slice) {
                None | Some([]) => {
                    BTreeSet::from([if old == "IDENTITY" { "identity" } else { "transform" }])
                }
                Some(steps) => steps.iter().map(kind).collect(),
            };
            for kind in kinds {
                let mut edge = from(to, &set, Some(field));
                edge.to_field = column.cloned();
                edge.kind = kind.to_owned();
                self.keep(edge);
            }
            named.insert(set);
        }
        Ok(named)
    }

    fn sets(
        &mut self,
        event: &Value,
        place: &str,
    ) -> std::result::Result<Vec<(Dataset, Value)>, String> {
        match event.get(place) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(sets)) => sets.iter().map(|set| self.set(set)).collect(),
            Some(_) => Err(format!("{place} is no list")),
        }
    }

    /// A data set under the name that we know it by, and its facets.
    fn set(&mut self, set: &Value) -> std::result::Result<(Dataset, Value), String> {
        let namespace = text(set, "/namespace", "the namespace of a data set")?.to_owned();
        let name = text(set, "/name", "the name of a data set")?.to_owned();
        let mut known = Dataset { namespace, name };
        if !self.ours.contains(&known) {
            let links = set.pointer("/facets/symlinks/identifiers").and_then(Value::as_array);
            let link = |link: &Value| {
                let namespace = link.get("namespace")?.as_str()?.to_owned();
                let name = link.get("name")?.as_str()?.to_owned();
                Some(Dataset { namespace, name })
            };
            let ours =
                links.into_iter().flatten().filter_map(link).find(|set| self.ours.contains(set));
            known = ours.unwrap_or(known);
        }
        self.sets.insert(known.clone());
        Ok((known, set.get("facets").cloned().unwrap_or_default()))
    }

    fn keep(&mut self, edge: EdgeRow) {
        let edge = edge.identified();
        self.edges.insert(edge.edge_id.clone(), edge);
    }
}

fn from(edge: &EdgeRow, set: &Dataset, field: Option<&str>) -> EdgeRow {
    EdgeRow {
        from_namespace: Some(set.namespace.clone()),
        from_name: Some(set.name.clone()),
        from_field: field.map(str::to_owned),
        ..edge.clone()
    }
}

fn text<'a>(value: &'a Value, place: &str, name: &str) -> std::result::Result<&'a str, String> {
    let found = value.pointer(place).and_then(Value::as_str).filter(|text| !text.is_empty());
    found.ok_or_else(|| format!("{name} is missing"))
}

/// What a step of another tool is called here.
fn kind(step: &Value) -> &'static str {
    let of = |key: &str| step.get(key).and_then(Value::as_str).unwrap_or_default();
    match (of("type"), of("subtype")) {
        ("INDIRECT", "JOIN") => "join",
        ("INDIRECT", "GROUP_BY") => "group",
        ("INDIRECT", "SORT") => "sort",
        ("INDIRECT", "WINDOW") => "partition",
        ("INDIRECT", "CONDITION" | "CONDITIONAL") => "condition",
        ("INDIRECT", _) => "filter",
        (_, "IDENTITY") => "identity",
        (_, "AGGREGATION") => "aggregate",
        _ => "transform",
    }
}

#[cfg(test)]
mod tests;
