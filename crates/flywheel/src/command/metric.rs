//! `flywheel metric`.

use clap::{Args, Subcommand};
use flywheel_base::Result;
use flywheel_project::Project;
use flywheel_runtime::access::Reading;
use flywheel_runtime::metrics::{Described, described, names};
use flywheel_runtime::status::blocked;
use flywheel_runtime::{Access, Workspace, catalogue};
use flywheel_transform::{
    CompiledMetrics, MetricQuery, compile_metrics, metric_error, metric_mistakes,
};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid, Output};
use crate::selection::InEnvironment;

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
    Query {
        #[command(flatten)]
        question: Question,
        /// Reads as a user or role of the server does, by the project's rules: a user, a role, or user/role
        #[arg(long = "as", value_name = "USER|ROLE")]
        reader: Option<String>,
        #[command(flatten)]
        environment: InEnvironment,
    },
    /// Checks that tables have what metrics are made of: keys, dimensions and measures
    Check {
        #[command(flatten)]
        environment: InEnvironment,
    },
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
        let workspace: Workspace = match &self.verb {
            Verb::Query { environment, .. } | Verb::Check { environment } => {
                environment.open(&app, Access::Read).await?
            }
            Verb::List | Verb::Show { .. } | Verb::Compile(_) => app.open(Access::Read).await?,
        };
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
            Verb::Check { .. } => return Box::pin(check(app.output, &workspace)).await,
            Verb::Query { question, reader, environment: _ } => {
                let reading = super::sql::reading(&workspace, reader.as_deref())?;
                let measured = reading.granted(project).map(|granted| Box::new(granted.measured()));
                let project = measured.as_deref().unwrap_or(project);
                let compiled = compile(app.output, project, question)?;
                let session = workspace.session_for(&compiled.sql, &reading).await?;
                let query = match session.query(&compiled.sql).await {
                    Ok(query) => query,
                    Err(error) => {
                        let told = metric_error(project, &session, &compiled.sql, error);
                        return Err(Box::pin(told).await);
                    }
                };
                let batches = query.collect().await?;
                let mut read: Vec<String> =
                    query.tables().into_iter().map(|table| table.to_string()).collect();
                for table in blocked(&workspace)?.iter().filter(|table| read.contains(table)) {
                    app.output.message(&format!(
                        "{table} is read at its last good version; what came later is not published"
                    ));
                }
                read.extend(compiled.columns.iter().filter_map(|column| column.metric.clone()));
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

/// Shows what tables do not have; it fails if anything is missing.
async fn check(output: Output, workspace: &Workspace) -> Result<Exit> {
    let session = workspace.session(&Reading::Owner).await?;
    let mistakes = Box::pin(metric_mistakes(&workspace.project, &session)).await;
    let exit = if mistakes.is_empty() { Exit::Done } else { Exit::Failed };
    if output.format == Format::Json {
        output.json(&mistakes)?;
        return Ok(exit);
    }
    let mut grid = Grid::new(&["semantic", "part", "reason", "hint", "file"]);
    for mistake in &mistakes {
        grid.row(vec![
            mistake.semantic.clone(),
            mistake.part.clone(),
            mistake.reason.clone(),
            mistake.hint.clone().unwrap_or_default(),
            mistake.file.clone(),
        ]);
    }
    match mistakes.is_empty() {
        true => output.line("tables have all that metrics are made of")?,
        false => output.grid(&grid)?,
    }
    Ok(exit)
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
