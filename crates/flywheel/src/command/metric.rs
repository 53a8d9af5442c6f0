//! `flywheel metric`.

use clap::{Args, Subcommand};
use flywheel_base::Result;
use flywheel_project::Project;
use flywheel_project::metric::{MetricRef, Semantics, TIME, inputs};
use flywheel_project::resource::semantic::{DimensionKind, Label};
use flywheel_runtime::{Access, Workspace, catalogue};
use flywheel_transform::{CompiledMetrics, MetricQuery, compile_metrics};
use serde::Serialize;

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid, Output};

/// Options of `flywheel metric`.
#[derive(Debug, Args)]
pub(crate) struct Metric {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists the metrics
    List,
    /// Shows what a metric is, what it is made of and what it can be grouped by
    Show {
        /// Its name, a label or a synonym
        metric: String,
    },
    /// Answers a question about metrics
    Query(Question),
    /// Shows the SQL that answers a question about metrics
    Compile(Question),
}

/// A question.
#[derive(Debug, Args)]
struct Question {
    /// Metrics: names, labels or synonyms
    #[arg(required = true, value_delimiter = ',')]
    metrics: Vec<String>,
    /// Groups by dimensions (channel, customer.region), times (time:month, customer.signed_up_on:year) or a grain (month)
    #[arg(long, value_delimiter = ',', value_name = "DIMENSION")]
    by: Vec<String>,
    /// Counts only rows that fulfil a condition on dimensions: "channel = 'app'"
    #[arg(long = "where", value_name = "CONDITION")]
    filter: Option<String>,
    /// Shows only rows of the answer that fulfil a condition on its columns: "revenue > 100"
    #[arg(long, value_name = "CONDITION")]
    having: Option<String>,
    /// The first moment that counts
    #[arg(long, value_name = "DATE")]
    from: Option<String>,
    /// The first moment that no longer counts
    #[arg(long, value_name = "DATE")]
    to: Option<String>,
    /// The period that counts: 2024, 2024-Q1, 2024-03, 2024-W05 or 2024-03-15
    #[arg(long, value_name = "PERIOD")]
    during: Option<String>,
    /// Adds what each metric was before and how it changed: previous, year or a span such as "4 weeks"
    #[arg(long, value_name = "OFFSET")]
    compare: Option<String>,
    /// Shows periods without rows, too
    #[arg(long)]
    fill: bool,
    /// Sorts by columns of the answer; -revenue begins with the largest
    #[arg(long, value_delimiter = ',', value_name = "COLUMN", allow_hyphen_values = true)]
    order: Vec<String>,
    /// Shows that many rows
    #[arg(long)]
    limit: Option<u64>,
}

impl From<Question> for MetricQuery {
    fn from(question: Question) -> Self {
        let Question { metrics, by, filter, having, from, to, during, compare, fill, order, limit } =
            question;
        Self { metrics, by, filter, having, from, to, during, compare, fill, order, limit }
    }
}

impl Runs for Metric {
    const ABOUT: &'static str = "Lists, shows and answers questions about metrics";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace: Workspace = app.open(Access::Read).await?;
        let project = &workspace.project;
        match self.verb {
            Verb::List => list(app.output, project)?,
            Verb::Show { metric } => show(app.output, project, &metric)?,
            Verb::Compile(question) => {
                let compiled = compile(app.output, project, question)?;
                match app.output.format {
                    Format::Json => app.output.json(&compiled)?,
                    _ => app.output.line(&compiled.sql)?,
                }
            }
            Verb::Query(question) => {
                let compiled = compile(app.output, project, question)?;
                let session = workspace.session_for(&compiled.sql).await?;
                let query = session.query(&compiled.sql).await.map_err(|error| {
                    error.context("the metrics' SQL, which `flywheel metric compile` shows")
                })?;
                let batches = query.collect().await?;
                let tables = query.tables().into_iter().map(|table| table.to_string());
                let metrics = compiled.columns.iter().filter_map(|column| column.metric.clone());
                let read: Vec<String> = tables.chain(metrics).collect();
                catalogue::note_reads(&workspace, &read, &catalogue::reader(), "metric");
                app.output.batches(&query.schema(), &batches)?;
            }
        }
        Ok(Exit::Done)
    }
}

fn compile(output: Output, project: &Project, question: Question) -> Result<CompiledMetrics> {
    let compiled = compile_metrics(project, &question.into())?;
    for note in &compiled.notes {
        output.message(note);
    }
    Ok(compiled)
}

fn list(output: Output, project: &Project) -> Result<()> {
    let semantics = project.semantics();
    if output.format == Format::Json {
        let all: Result<Vec<Described<'_>>> =
            semantics.metrics().map(|metric| described(project, &semantics, metric)).collect();
        return output.json(&all?);
    }
    let mut grid = Grid::new(&["metric", "label", "kind", "unit", "good", "state", "owner"]);
    for metric in semantics.metrics() {
        let said = metric.metric;
        grid.row(vec![
            metric.name.to_owned(),
            names(&said.label).join(" / "),
            said.kind()?.name().to_owned(),
            said.unit.clone().unwrap_or_default(),
            said.direction.map(|direction| direction.word().to_owned()).unwrap_or_default(),
            said.certification.word().to_owned(),
            metric.owner().unwrap_or_default().to_owned(),
        ]);
    }
    output.grid(&grid)
}

fn show(output: Output, project: &Project, word: &str) -> Result<()> {
    let semantics = project.semantics();
    let found = described(project, &semantics, semantics.metric(word)?)?;
    if output.format == Format::Json {
        return output.json(&found);
    }
    let mut grid = Grid::new(&["what", "value"]);
    let mut row = |what: &str, value: String| {
        if !value.is_empty() {
            grid.row(vec![what.to_owned(), value]);
        }
    };
    row("metric", found.metric.to_owned());
    row("label", found.label.join(" / "));
    row("synonyms", found.synonyms.join(", "));
    row("description", found.description.unwrap_or_default().to_owned());
    row("kind", found.kind.to_owned());
    row("made of", found.made_of.join(", "));
    row("filter", found.filter.unwrap_or_default().to_owned());
    row("tables", found.tables.join(", "));
    row("unit", found.unit.unwrap_or_default().to_owned());
    row("good", found.direction.unwrap_or_default().to_owned());
    row("state", found.certification.to_owned());
    row("owner", found.owner.unwrap_or_default());
    row("declared in", found.file.to_owned());
    row("dimensions", found.dimensions.join(", "));
    output.grid(&grid)
}

/// What is said about a metric.
#[derive(Debug, Serialize)]
struct Described<'a> {
    metric: &'a str,
    label: Vec<&'a str>,
    synonyms: &'a [String],
    description: Option<&'a str>,
    kind: &'a str,
    /// The measure, or the metrics.
    made_of: Vec<String>,
    filter: Option<&'a str>,
    /// The tables whose rows it is counted from.
    tables: Vec<String>,
    unit: Option<&'a str>,
    direction: Option<&'a str>,
    certification: &'a str,
    owner: Option<String>,
    file: &'a str,
    /// What it can be grouped and filtered by: what all of its tables reach.
    dimensions: Vec<String>,
}

fn described<'a>(
    project: &'a Project,
    semantics: &Semantics<'a>,
    metric: MetricRef<'a>,
) -> Result<Described<'a>> {
    let said = metric.metric;
    let (mut tables, mut common, mut timed) = (Vec::new(), None, true);
    for measured in semantics.measured(metric)? {
        let view = measured.view;
        let table = project.semantic_tables.get(&view.semantic);
        let table = table.map_or_else(|| view.table.clone(), |node| node.name.clone());
        if !tables.contains(&table) {
            tables.push(table);
        }
        let measure = measured.metric.measure.as_ref().and_then(|name| view.measures.get(name));
        timed &= view.time.is_some() || measure.is_some_and(|measure| measure.time.is_some());
        let reached: Vec<String> = semantics.reachable(view).iter().map(|path| {
            let time = matches!(path.end, flywheel_project::metric::End::Dimension(_, found) if found.kind == DimensionKind::Time);
            if time { format!("{}:<grain>", path.name()) } else { path.name() }
        }).collect();
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
        dimensions.insert(0, format!("{TIME}:<grain>"));
    }
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
    })
}

fn names(label: &Label) -> Vec<&str> {
    label.texts().collect()
}
