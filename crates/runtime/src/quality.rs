//! What is promised about tables: figures are found where the tables lie, judged, and kept.
//!
//! ```text
//! quality file ─► Engine (lake, database, staged file) ─► figures ─► verdicts ─► system.quality_results
//!                                                                      │
//!                       landed table of a sync: Gate ◄─────────────────┘ readers move on, or are held
//! ```
//! Invariants: readers of a landed table with an `error` promise never see rows that break it: they are
//! held at the version before the sync begins, and let go only after the promises were found kept. A
//! process that dies in between leaves them held. Each verdict is a row, whoever asked for it.

mod engine;
mod gate;
mod judge;

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result, Timestamp, digest};
use flywheel_decision::table::ColumnType::{Integer, Moment, Number, Text};
use flywheel_decision::table::SystemTable;
use flywheel_project::quality::check_names;
use flywheel_project::resource::properties::Severity;
use flywheel_project::resource::quality::Quality;
use flywheel_project::{Located, NodeId, NodeKind, Project};
use flywheel_state::TaskOutcome;
use flywheel_transform::{BuildReport, ModelStatus, TestStatus};
use flywheel_warehouse::{Catalog, TableName};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::engine::Engine;
use crate::recorder::{Observer, Recorder};
use crate::{Workspace, run as runs};

pub(crate) use self::engine::{rows_of, staged};
pub(crate) use self::gate::Gate;

/// What is shown instead of a hidden value.
const HIDDEN: &str = "(hidden)";

/// One figure and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QualityResult {
    /// Follows from run, quality file and check.
    pub result_id: String,
    /// The run.
    pub run_id: String,
    /// The quality file.
    pub quality: String,
    /// The check.
    pub check: String,
    /// The table, `schema.name`, or `connection:table`.
    pub dataset: String,
    /// Where the figure was found: `lake`, `postgres`, `mysql` or `sqlite`.
    pub engine: String,
    /// The column.
    pub column: Option<String>,
    /// The metric, or `query`.
    pub metric: String,
    /// The side of quality.
    pub dimension: Option<String>,
    /// `error` or `warn`.
    pub severity: String,
    /// `rows` or `percent`.
    pub unit: String,
    /// The figure; none if there is none.
    pub value: Option<f64>,
    /// How many rows were looked at, if rows were.
    pub rows: Option<i64>,
    /// How many rows fail, if rows do.
    pub failing: Option<i64>,
    /// What the figure must be.
    pub threshold: Option<String>,
    /// What a monitor expected at least.
    pub low: Option<f64>,
    /// What a monitor expected at most.
    pub high: Option<f64>,
    /// How many earlier figures a monitor knew.
    pub history: Option<i64>,
    /// What came of it.
    pub verdict: Verdict,
    /// Why, if it did not pass.
    pub reason: Option<String>,
    /// A few failing rows, JSON, without hidden values.
    pub sample: Option<String>,
    /// The SQL of the figure.
    pub sql: Option<String>,
    /// The logical moment.
    pub at: Timestamp,
}

impl QualityResult {
    /// Whether it keeps readers from what landed.
    #[must_use]
    pub fn blocks(&self) -> bool {
        // That nothing new came is no reason to keep what came from readers.
        let stale = self.metric == "freshness";
        !stale && matches!(self.verdict, Verdict::Failed | Verdict::Broken) && self.is_error()
    }

    fn is_error(&self) -> bool {
        self.severity == "error" || self.verdict == Verdict::Broken
    }
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The figure is as promised.
    Passed,
    /// It is not, and that is reported.
    Warned,
    /// It is not, and that blocks.
    Failed,
    /// The figure could not be found, so nobody knows; it fails, whatever its severity.
    Broken,
    /// There are too few earlier figures to say.
    Learning,
}

impl Verdict {
    /// The word for tables and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Warned => "warned",
            Self::Failed => "failed",
            Self::Broken => "broken",
            Self::Learning => "learning",
        }
    }
}

/// The definition of `system.quality_results`.
pub const TABLE: SystemTable = SystemTable {
    name: "quality_results",
    about: "One row per check of a quality file and run. Key: result_id.",
    columns: &[
        ("result_id", Text, "follows from run, quality file and check"),
        ("run_id", Text, "the run"),
        ("quality", Text, "the quality file"),
        ("check", Text, "the check"),
        ("dataset", Text, "schema.table, or connection:table"),
        ("engine", Text, "where the figure was found: lake, postgres, mysql or sqlite"),
        ("column", Text, "the column"),
        ("metric", Text, "the metric, or query"),
        ("dimension", Text, "the side of quality"),
        ("severity", Text, "error or warn"),
        ("unit", Text, "rows or percent"),
        ("value", Number, "the figure; none if there is none"),
        ("rows", Integer, "how many rows were looked at"),
        ("failing", Integer, "how many rows fail"),
        ("threshold", Text, "what the figure must be"),
        ("low", Number, "what a monitor expected at least"),
        ("high", Number, "what a monitor expected at most"),
        ("history", Integer, "how many earlier figures a monitor knew"),
        ("verdict", Text, "passed, warned, failed, broken or learning"),
        ("reason", Text, "why, if it did not pass"),
        ("sample", Text, "a few failing rows, JSON, without hidden values"),
        ("sql", Text, "the SQL of the figure"),
        ("at", Moment, "the logical moment"),
    ],
};

/// What is judged.
#[derive(Clone, Debug, Default)]
pub struct Options<'a> {
    /// dbt's selectors of quality files or of what they are about; everything if empty.
    pub select: &'a [String],
    /// Selectors of what is left out.
    pub exclude: &'a [String],
}

/// Judges what is selected, keeps the verdicts, and lets readers see landed tables whose promises are
/// kept again.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a selector names nothing or no quality file; those of lake and
/// metadata. A promise that is broken is a result, not an error.
pub async fn run(
    workspace: &Workspace,
    options: &Options<'_>,
    observer: &dyn Observer,
) -> Result<Vec<QualityResult>> {
    let chosen = chosen(&workspace.project, options)?;
    let recorder = runs::start(workspace, observer, "quality")?;
    let result = Box::pin(run_chosen(workspace, &recorder, &chosen)).await;
    recorder.finish(result.as_ref().err())?;
    result
}

/// As [`run`], as a part of a run that has begun.
pub(crate) async fn within(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    options: &Options<'_>,
) -> Result<Vec<QualityResult>> {
    let chosen = chosen(&workspace.project, options)?;
    run_chosen(workspace, recorder, &chosen).await
}

/// Which promises that must be kept are not, if any.
#[must_use]
pub fn not_kept(results: &[QualityResult]) -> Option<String> {
    let of = results.iter().filter(|one| one.blocks());
    let names: Vec<String> = of.map(|one| format!("{}.{}", one.quality, one.check)).collect();
    (!names.is_empty()).then(|| format!("promises that are not kept: {}", names.join(", ")))
}

async fn run_chosen(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    chosen: &[&Quality],
) -> Result<Vec<QualityResult>> {
    let mut all = Vec::new();
    let mut broken: BTreeMap<&str, bool> = BTreeMap::new();
    let held = workspace.store.holds()?;
    for quality in chosen {
        let table = landed(&workspace.project, quality);
        let held = table.filter(|table| held.iter().any(|hold| hold.name == *table));
        // Of a table whose readers are held back the newest rows are judged: may readers see them?
        let results = Box::pin(judged(workspace, recorder, quality, held)).await?;
        if let Some(table) = held {
            *broken.entry(table).or_default() |= results.iter().any(QualityResult::blocks);
        }
        all.extend(results);
    }
    for hold in &held {
        let kept = match broken.get(hold.name.as_str()) {
            Some(broken) => !broken,
            // Judged by no file: let go if there is none any more.
            None => chosen.len() == workspace.project.qualities.len(),
        };
        if kept && gate::let_go(workspace, &hold.name, chosen)? {
            recorder.notice(format!("{}: readers see the newest version again", hold.name));
        }
    }
    Ok(all)
}

/// The quality files that are declared, and the last verdict of each check.
///
/// # Errors
/// As [`run`].
pub async fn last(workspace: &Workspace, options: &Options<'_>) -> Result<Vec<Promise>> {
    let mut promises = Vec::new();
    let mut known = BTreeMap::new();
    let sql = "SELECT quality, \"check\", verdict, value, at FROM (SELECT *, row_number() OVER \
               (PARTITION BY quality, \"check\" ORDER BY at DESC, result_id) AS place \
               FROM system.quality_results) AS ranked WHERE place = 1";
    for row in rows_of(&workspace.lake_session().await?.query(sql).await?.collect().await?)? {
        let text = |at: usize| row.get(at).cloned().flatten();
        let key = (text(0).unwrap_or_default(), text(1).unwrap_or_default());
        known.insert(key, (text(2), text(3).and_then(|value| value.parse().ok()), text(4)));
    }
    for quality in chosen(&workspace.project, options)? {
        for (check, name) in quality.checks.iter().zip(check_names(quality)) {
            let (verdict, value, at) =
                known.remove(&(quality.quality.clone(), name.clone())).unwrap_or_default();
            promises.push(Promise {
                quality: quality.quality.clone(),
                dataset: dataset(&workspace.project, quality),
                column: check.column.clone(),
                promised: judge::promised(check)?,
                severity: severity_word(Project::severity_of(check)).to_owned(),
                check: name,
                verdict,
                value,
                at,
            });
        }
    }
    Ok(promises)
}

/// A declared check and its last verdict.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Promise {
    /// The quality file.
    pub quality: String,
    /// The table.
    pub dataset: String,
    /// The check.
    pub check: String,
    /// The column.
    pub column: Option<String>,
    /// What is promised, in short.
    pub promised: String,
    /// `error` or `warn`.
    pub severity: String,
    /// The last verdict; none if it was never judged.
    pub verdict: Option<String>,
    /// The last figure.
    pub value: Option<f64>,
    /// When that was.
    pub at: Option<String>,
}

/// Judges, after a build, the tables that it published; of those that it did not publish, keeps what the
/// build found.
///
/// # Errors
/// Those of lake and metadata.
pub(crate) async fn after_build(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    report: &BuildReport,
) -> Result<()> {
    let project = &workspace.project;
    for (name, quality) in &project.qualities {
        let Some(table) = project.quality_tables.get(name) else { continue };
        if table.kind != NodeKind::Model {
            continue;
        }
        let relation = relation(project, table);
        let Some(model) = report.model(&relation) else { continue };
        if report.published.contains(&relation) && model.status == ModelStatus::Built {
            Box::pin(judged(workspace, recorder, quality, None)).await?;
            continue;
        }
        let names = check_names(quality);
        let mut results = Vec::new();
        for (check, check_name) in quality.checks.iter().zip(&names) {
            let test = Project::quality_test(name, check_name);
            let Some(test) = model.tests.iter().find(|outcome| outcome.name == test) else {
                continue;
            };
            if test.status == TestStatus::Passed {
                continue;
            }
            let mut result = judge::blank(workspace, recorder.run_id(), quality, check, check_name);
            result.verdict = match (&test.error, test.status) {
                (Some(_), _) => Verdict::Broken,
                (None, TestStatus::Warned) => Verdict::Warned,
                (None, _) => Verdict::Failed,
            };
            let figure = test.sample.columns == ["value"];
            let shown = test.sample.rows.first().and_then(|row| row.first());
            match figure {
                true => result.value = shown.and_then(|text| text.parse().ok()),
                false => result.failing = i64::try_from(test.failures).ok(),
            }
            if !figure && result.unit == "rows" {
                result.value = Some(test.failures as f64);
                let columns = &test.sample.columns;
                let row = |row: &Vec<String>| -> Value {
                    columns
                        .iter()
                        .cloned()
                        .zip(row.iter().map(|cell| json!(cell)))
                        .collect::<serde_json::Map<_, _>>()
                        .into()
                };
                result.sample =
                    Some(Value::Array(test.sample.rows.iter().map(row).collect()).to_string());
            }
            result.reason = Some(match &test.error {
                Some(error) => error.report.clone(),
                None => "the build was not published".to_owned(),
            });
            result.sql = Some(test.sql.clone());
            results.push(result);
        }
        if !results.is_empty() {
            TABLE.append(&workspace.lake, &results, None).await?;
            recorder.judged(name);
        }
    }
    Ok(())
}

/// The tests of a build that a turn need not run, because it judges the same itself once all is built: checks that
/// can only warn, of tables that are not built.
pub(crate) fn left_to_turn(project: &Project) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (name, quality) in &project.qualities {
        let about = project.quality_tables.get(name);
        if about.is_none_or(|table| table.kind == NodeKind::Model) {
            continue;
        }
        for (check, check_name) in quality.checks.iter().zip(check_names(quality)) {
            if Project::severity_of(check) == Severity::Warn {
                names.insert(Project::quality_test(name, &check_name));
            }
        }
    }
    names
}

/// Judges, in a turn, everything that it has not judged yet.
///
/// # Errors
/// Those of lake and metadata.
pub(crate) async fn in_turn(workspace: &Workspace, recorder: &Recorder<'_>) -> Result<()> {
    for (name, quality) in &workspace.project.qualities {
        if recorder.has_judged(name) {
            continue;
        }
        let results = Box::pin(judged(workspace, recorder, quality, None)).await?;
        for result in results
            .iter()
            .filter(|one| one.verdict == Verdict::Failed || one.verdict == Verdict::Broken)
        {
            recorder.notice(line(result));
        }
    }
    Ok(())
}

/// A verdict in a line.
#[must_use]
pub fn line(result: &QualityResult) -> String {
    let reason = result.reason.as_deref().unwrap_or("as promised");
    let (quality, check, dataset) = (&result.quality, &result.check, &result.dataset);
    format!("{quality} {check} ({dataset}) {}: {reason}", result.verdict.name())
}

/// Judges one quality file as a task and keeps the verdicts. `newest` names a landed table that is judged
/// as it landed, not as readers see it.
async fn judged(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    quality: &Quality,
    newest: Option<&str>,
) -> Result<Vec<QualityResult>> {
    let timer = recorder.started("quality", &quality.quality);
    let run_id = recorder.run_id().to_owned();
    let again = recorder.has_judged(&quality.quality);
    let result = async {
        let mut results = match Box::pin(engine(workspace, quality, newest)).await {
            Ok(engine) => Box::pin(judge::results(workspace, &run_id, quality, &engine)).await?,
            // What cannot be reached is a verdict, too: it must not look like one that passed.
            Err(error) => judge::unreached(workspace, &run_id, quality, &error),
        };
        if again {
            // Two tasks of one run may judge the same for one moment.
            let place = recorder.tasks().len().to_le_bytes();
            for result in &mut results {
                result.result_id = digest::short(&[result.result_id.as_bytes(), &place]);
            }
        }
        Box::pin(TABLE.append(&workspace.lake, &results, None)).await?;
        Ok(results)
    }
    .await;
    recorder.judged(&quality.quality);
    recorder.settled(timer, result, |results| {
        let count = |verdict| results.iter().filter(|one| one.verdict == verdict).count();
        let bad = count(Verdict::Failed) + count(Verdict::Broken);
        let status = match (bad, count(Verdict::Warned)) {
            (0, 0) => "succeeded",
            (0, _) => "warned",
            _ => "failed",
        };
        let detail = json!({
            "dataset": dataset(&workspace.project, quality), "checks": results.len(), "passed": count(Verdict::Passed), "warned": count(Verdict::Warned),
            "failed": count(Verdict::Failed), "broken": count(Verdict::Broken),
            "learning": count(Verdict::Learning),
        });
        (status.to_owned(), TaskOutcome { detail, ..TaskOutcome::default() })
    })
}

async fn engine(workspace: &Workspace, quality: &Quality, newest: Option<&str>) -> Result<Engine> {
    if let Some(connection) = &quality.connection {
        return engine::outside(workspace, connection, &quality.stream).await;
    }
    let node = workspace.project.quality_tables.get(&quality.quality).ok_or_else(|| {
        Error::internal(format!("quality \"{}\" is about no table", quality.quality))
    })?;
    let table = relation(&workspace.project, node);
    // Every run of the past is listed only for whoever asks about runs.
    let queries = quality.checks.iter().filter_map(|check| check.query.as_deref());
    let wide = queries.chain([table.as_str()]).any(|text| text.contains("system."));
    let mut catalog: Catalog = match wide {
        true => workspace.whole_catalog().await?,
        false => flywheel_transform::catalog(workspace.world()).await?,
    };
    if let Some(newest) = newest {
        let name = TableName::parse(newest)?;
        catalog.table(&name, crate::task::sync::location_of(&name)?, None);
    }
    Engine::lake(workspace.lake.session(catalog)?, &table)
}

/// The quality files that selectors choose: those that are named themselves, and those about a table or
/// connection that is.
fn chosen<'a>(project: &'a Project, options: &Options<'_>) -> Result<Vec<&'a Quality>> {
    let all = project.qualities.values().map(|one: &Located<Quality>| &one.value);
    if options.select.is_empty() && options.exclude.is_empty() {
        return Ok(all.collect());
    }
    let nodes = project.graph.select(options.select, options.exclude)?;
    let dropped = match options.exclude.is_empty() {
        true => Vec::new(),
        false => project.graph.select(options.exclude, &[])?.into_iter().collect(),
    };
    let about = |quality: &Quality| match &quality.connection {
        Some(connection) => Some(NodeId::new(NodeKind::Connection, connection)),
        None => project.quality_tables.get(&quality.quality).cloned(),
    };
    let chosen: Vec<&Quality> = all
        .filter(|quality| {
            let own = NodeId::new(NodeKind::Quality, &quality.quality);
            let subject = about(quality);
            let is = |nodes: &dyn Fn(&NodeId) -> bool| {
                nodes(&own) || subject.as_ref().is_some_and(nodes)
            };
            is(&|id| nodes.contains(id)) && !is(&|id| dropped.contains(id))
        })
        .collect();
    if chosen.is_empty() {
        return Err(Error::invalid("no quality file is selected").hint(
            "Select quality files, or the models, sources and connections they are about; `flywheel quality show` lists them.",
        ));
    }
    Ok(chosen)
}

/// The landed table that a quality file is about.
fn landed<'a>(project: &'a Project, quality: &Quality) -> Option<&'a str> {
    let node = project.quality_tables.get(&quality.quality)?;
    (node.kind == NodeKind::Source).then_some(node.name.as_str())
}

fn relation(project: &Project, node: &NodeId) -> String {
    match node.kind {
        NodeKind::Model | NodeKind::Learner => {
            project.ref_relation(&node.name).unwrap_or_else(|_| node.name.clone())
        }
        _ => node.name.clone(),
    }
}

/// What a quality file is about, in a word.
pub(crate) fn dataset(project: &Project, quality: &Quality) -> String {
    match &quality.connection {
        Some(connection) => {
            let text = |key: &str| quality.stream.get(key).and_then(Value::as_str);
            let what = text("table").or_else(|| text("path")).or_else(|| text("sheet"));
            format!("{connection}:{}", what.unwrap_or("query"))
        }
        None => project
            .quality_tables
            .get(&quality.quality)
            .map_or_else(String::new, |node| relation(project, node)),
    }
}

pub(crate) fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warn => "warn",
    }
}

/// The id of a result.
pub(crate) fn result_id(run_id: &str, quality: &str, check: &str, at: Timestamp) -> String {
    digest::short(&[
        run_id.as_bytes(),
        quality.as_bytes(),
        check.as_bytes(),
        &at.micros().to_le_bytes(),
    ])
}
