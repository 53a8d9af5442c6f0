//! `flywheel merge`.

use clap::{Args, Subcommand};
use flywheel_base::{Error, Result};
use flywheel_runtime::access::Reading;
use flywheel_runtime::merge::{self, MergeReport, Undo};
use flywheel_runtime::{Access, catalogue};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};
use crate::progress::Progress;

/// How many pairs are shown.
const PAIRS_MAX: usize = 200;

/// Options of `flywheel merge`.
#[derive(Debug, Args)]
pub(crate) struct Merge {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Says which records are the same, what a person has to decide and where values differ; writes nothing
    Plan {
        /// The merge
        name: String,
        /// A table with the columns source, source_key and entity, by which precision and recall are told
        #[arg(long)]
        truth: Option<String>,
    },
    /// Writes the merged records, the crosswalk and what refers to them; run again, it writes only what changed
    Run {
        /// The merge
        name: String,
        /// A table with the columns source, source_key and entity, by which precision and recall are told
        #[arg(long)]
        truth: Option<String>,
        /// Replaces tables also where they hold rows that this merge did not write
        #[arg(long)]
        overwrite: bool,
    },
    /// Shows the pairs that a person has to decide
    Review {
        /// The merge
        name: String,
        /// Shows those that people have decided
        #[arg(long)]
        decided: bool,
    },
    /// Says of a pair whether it is the same; the next run does what it says
    Answer {
        /// The merge
        name: String,
        /// The pair's id
        id: String,
        /// `same` or `different`; `ask` takes back what was said
        answer: String,
    },
    /// Takes merged records apart, so that they are as they are in their sources and are not merged again
    Undo {
        /// The merge
        name: String,
        /// The key of a merged record; or that of one of its rows, as source:key, which is then taken out of it
        #[arg(long, conflicts_with = "all", required_unless_present = "all")]
        record: Option<String>,
        /// Takes every merged record apart
        #[arg(long)]
        all: bool,
    },
}

impl Runs for Merge {
    const ABOUT: &'static str =
        "Makes one system of several, so that every merge can be taken apart again";

    async fn run(self, app: App) -> Result<Exit> {
        let who = catalogue::reader();
        match self.verb {
            Verb::Plan { name, truth } => {
                let options = merge::Options {
                    plan_only: true,
                    truth: truth.as_deref(),
                    who: &who,
                    ..merge::Options::default()
                };
                run_merge(&app, &name, options).await
            }
            Verb::Run { name, truth, overwrite } => {
                let options = merge::Options {
                    plan_only: false,
                    overwrite,
                    truth: truth.as_deref(),
                    who: &who,
                };
                run_merge(&app, &name, options).await
            }
            Verb::Review { name, decided } => review(&app, &name, decided).await,
            Verb::Answer { name, id, answer } => {
                let workspace = app.open(Access::Write).await?;
                Box::pin(merge::answer(&workspace, &name, &id, &answer, &who)).await?;
                app.output.message("answered; the next run does what it says");
                Ok(Exit::Done)
            }
            Verb::Undo { name, record, all } => {
                let what = match (record.as_deref(), all) {
                    (Some(record), _) => Undo::Record(record),
                    (None, true) => Undo::All,
                    (None, false) => {
                        return Err(Error::invalid("what is to be taken apart?")
                            .hint("Name a merged record with --record KEY, or say --all."));
                    }
                };
                let workspace = app.open(Access::Write).await?;
                let progress = Progress::new(app.output, "merge");
                let options = merge::Options { who: &who, ..merge::Options::default() };
                let undone =
                    Box::pin(merge::undo(&workspace, &name, what, options, &progress)).await;
                drop(progress);
                shown(&app, &undone?)
            }
        }
    }
}

async fn run_merge(app: &App, name: &str, options: merge::Options<'_>) -> Result<Exit> {
    let workspace = app.open(Access::Write).await?;
    let progress = Progress::new(app.output, "merge");
    let report = Box::pin(merge::run(&workspace, name, options, &progress)).await;
    drop(progress);
    shown(app, &report?)
}

fn shown(app: &App, report: &MergeReport) -> Result<Exit> {
    if app.output.format == Format::Json {
        app.output.json(report)?;
        return Ok(Exit::Done);
    }
    let mut sources = Grid::new(&["source", "#rows", "#set aside"]);
    for one in &report.sources {
        sources.row(vec![one.source.clone(), one.rows.to_string(), one.aside.to_string()]);
    }
    app.output.grid(&sources)?;
    if !report.rules.is_empty() {
        let mut rules = Grid::new(&["rule", "#pairs"]);
        for one in &report.rules {
            rules.row(vec![one.rule.clone(), one.pairs.to_string()]);
        }
        app.output.grid(&rules)?;
    }
    if !report.conflicts.is_empty() {
        let mut conflicts = Grid::new(&["field", "#records with different values"]);
        for (field, count) in &report.conflicts {
            conflicts.row(vec![field.clone(), count.to_string()]);
        }
        app.output.grid(&conflicts)?;
    }
    if report.planned && !report.examples.is_empty() {
        let mut examples = Grid::new(&["record", "is made of", "different", "why"]);
        for one in &report.examples {
            examples.row(vec![
                one.key.clone(),
                one.records.join(", "),
                one.conflicts.join(", "),
                one.why.clone(),
            ]);
        }
        app.output.grid(&examples)?;
    }
    if !report.children.is_empty() {
        let mut children =
            Grid::new(&["table", "#rows", "#references led elsewhere", "#leading nowhere"]);
        for one in &report.children {
            children.row(vec![
                one.table.clone(),
                one.rows.to_string(),
                one.repointed.to_string(),
                one.dangling.to_string(),
            ]);
        }
        app.output.grid(&children)?;
    }
    if !report.tables.is_empty() {
        let mut tables = Grid::new(&["table", "#rows", "what happened"]);
        for one in &report.tables {
            tables.row(vec![
                one.table.clone(),
                one.rows.to_string(),
                if one.stood { "stood already" } else { "written" }.to_owned(),
            ]);
        }
        app.output.grid(&tables)?;
    }
    told(app, report);
    Ok(Exit::Done)
}

/// What is told in sentences.
fn told(app: &App, report: &MergeReport) {
    for one in &report.asides {
        let text = format!("set aside: {} rows of {}: {}", one.rows, one.source, one.why);
        app.output.message(&text);
    }
    if report.undone > 0 {
        app.output.message(&format!(
            "{} records were taken apart and are not merged again unless somebody says so",
            report.undone
        ));
    }
    app.output.message(&format!(
        "{} rows are {} records: {} merged into others, {} set aside; {} records are made of several rows, the largest of {}",
        report.rows_in, report.records, report.merged, report.aside, report.groups, report.largest
    ));
    if report.questions > 0 {
        app.output.message(&format!(
            "{} pairs wait for a person: `flywheel merge review {}`",
            report.questions, report.merge
        ));
    }
    if let Some(truth) = &report.truth {
        let share = |share: Option<f64>| {
            share.map_or_else(|| "–".to_owned(), |share| format!("{share:.3}"))
        };
        app.output.message(&format!(
            "precision {}, recall {}: {} of {} pairs are right, of {} that are the same; {} of these wait for a person",
            share(truth.precision),
            share(truth.recall),
            truth.right,
            truth.matched,
            truth.pairs,
            truth.asked
        ));
    }
}

async fn review(app: &App, name: &str, decided: bool) -> Result<Exit> {
    let workspace = app.open(Access::Read).await?;
    let which = match decided {
        true => "answer is not null order by answered_at desc, pair_id",
        false => "\"open\" order by score desc, pair_id",
    };
    let columns = "pair_id, a_source || ':' || a_key as a_record, b_source || ':' || b_key as b_record, \
                   score, why, a, b, answer, answered_by";
    let table = merge::review_table(&workspace, name)?;
    let sql = format!("select {columns} from {table} where {which} limit {PAIRS_MAX}");
    let query = workspace.session_for(&sql, &Reading::Owner).await?.query(&sql).await?;
    app.output.batches(&query.schema(), &query.collect().await?)?;
    Ok(Exit::Done)
}
