//! What can be told about metrics, for people who choose among them.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::Result;
use flywheel_project::Project;
use flywheel_project::metric::{End, MetricRef, Semantics, TIME, inputs};
use flywheel_project::resource::semantic::Label;
use serde::Serialize;

/// What is said about a metric.
#[derive(Debug, Serialize)]
pub struct Described<'a> {
    /// Its name.
    pub metric: &'a str,
    /// What people call it.
    pub label: Vec<&'a str>,
    /// What else people call it.
    pub synonyms: &'a [String],
    /// What it says.
    pub description: Option<&'a str>,
    /// How it is made.
    pub kind: &'a str,
    /// The measure, or the metrics.
    pub made_of: Vec<String>,
    /// Which rows count.
    pub filter: Option<&'a str>,
    /// The tables whose rows it is counted from.
    pub tables: Vec<String>,
    /// Its unit.
    pub unit: Option<&'a str>,
    /// Whether more is better.
    pub direction: Option<&'a str>,
    /// How far it can be relied on.
    pub certification: &'a str,
    /// Who answers for it.
    pub owner: Option<String>,
    /// The file that declares it.
    pub file: &'a str,
    /// What it can be grouped and filtered by: what all of its tables reach.
    pub dimensions: Vec<String>,
    /// What people call those of them that have a label, by their names.
    pub dimension_labels: BTreeMap<String, &'a Label>,
    /// What people call values of those of them whose values have labels, by their names and by the value in the table.
    pub value_labels: BTreeMap<String, BTreeMap<&'a str, &'a Label>>,
}

/// What stands behind the name of a time that can be grouped by.
const GRAIN: &str = ":<grain>";

/// All that is said about a metric, and what it can be grouped by.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if it is made of something that is not there.
pub fn described<'a>(
    project: &'a Project,
    semantics: &Semantics<'a>,
    metric: MetricRef<'a>,
) -> Result<Described<'a>> {
    let said = metric.metric;
    let (mut tables, mut common, mut timed) = (Vec::new(), None, true);
    let (mut dimension_labels, mut value_labels) = (BTreeMap::new(), BTreeMap::new());
    for measured in semantics.measured(metric)? {
        let view = measured.view;
        let table = project.semantic_tables.get(&view.semantic);
        let table = table.map_or_else(|| view.table.clone(), |node| node.name.clone());
        if !tables.contains(&table) {
            tables.push(table);
        }
        let measure = measured.metric.measure.as_ref().and_then(|name| view.measures.get(name));
        timed &= view.time.is_some() || measure.is_some_and(|measure| measure.time.is_some());
        let mut reached = Vec::new();
        for path in semantics.reachable(view) {
            let name = path.name();
            let label = match path.end {
                End::Dimension(_, dimension) => &dimension.label,
                End::Entity(_, entity) => &entity.label,
            };
            if label.texts().next().is_some() {
                // The first is the shortest way, which is the one a question takes.
                dimension_labels.entry(name.clone()).or_insert(label);
            }
            if let End::Dimension(_, dimension) = path.end {
                let labels: BTreeMap<&str, &Label> = dimension.value_labels().collect();
                if !labels.is_empty() {
                    value_labels.entry(name.clone()).or_insert(labels);
                }
            }
            reached.push(if path.is_time() { format!("{name}{GRAIN}") } else { name });
        }
        common = Some(match common {
            None => reached,
            Some(before) => {
                let before: Vec<String> = before;
                before.into_iter().filter(|name| reached.contains(name)).collect()
            }
        });
    }
    let mut dimensions = common.unwrap_or_default();
    if timed {
        dimensions.insert(0, format!("{TIME}{GRAIN}"));
    }
    let kept: BTreeSet<&str> =
        dimensions.iter().map(|name| name.strip_suffix(GRAIN).unwrap_or(name)).collect();
    dimension_labels.retain(|name, _| kept.contains(name.as_str()));
    value_labels.retain(|name, _| kept.contains(name.as_str()));
    let made_of = match &said.measure {
        Some(measure) => vec![format!("measure {measure} of {}", metric.view.semantic)],
        None => inputs(said)?,
    };
    let file = project.semantics.get(&metric.view.semantic).map_or("", |view| view.file.as_str());
    Ok(Described {
        metric: metric.name,
        label: names(&said.label),
        synonyms: &said.synonyms,
        description: said.description.as_deref(),
        kind: said.kind()?.name(),
        made_of,
        filter: said.filter.as_deref(),
        tables,
        unit: said.unit.as_deref(),
        direction: said.direction.map(|direction| direction.word()),
        certification: said.certification.word(),
        owner: metric.owner().map(str::to_owned),
        file,
        dimensions,
        dimension_labels,
        value_labels,
    })
}

/// The texts of a label.
#[must_use]
pub fn names(label: &Label) -> Vec<&str> {
    label.texts().collect()
}
