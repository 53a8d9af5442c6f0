//! `flywheel link`.

use clap::{Args, Subcommand};
use flywheel_base::Result;
use flywheel_runtime::access::Reading;
use flywheel_runtime::{Access, link};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};
use crate::progress::Progress;

/// How many questions are shown.
const QUESTIONS_MAX: usize = 200;

/// Options of `flywheel link`.
#[derive(Debug, Args)]
pub(crate) struct Link {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Says what a run would create, change, delete and ask, and writes nothing
    Plan {
        /// The links; all if none is named
        names: Vec<String>,
    },
    /// Keeps the records of both systems alike
    Run {
        /// The links; all if none is named
        names: Vec<String>,
        /// The token that `plan` shows, for a run that changes or deletes more than the limits allow
        #[arg(long)]
        approve: Option<String>,
    },
    /// Shows what a person has to decide
    Questions {
        /// The link; all if none is named
        name: Option<String>,
    },
    /// Decides a question; the next run does what it says
    Answer {
        /// The link
        name: String,
        /// The question's id
        id: String,
        /// For a conflict `left`, `right`, `base` or a value; for a match `same` or `different`; for a
        /// deletion `delete` or `keep`
        answer: String,
    },
    /// Gives records that a run changed their values back, where they still have what it wrote
    Revert {
        /// The link
        name: String,
        /// The run, as in system.link_audit
        #[arg(long)]
        run: String,
    },
}

impl Runs for Link {
    const ABOUT: &'static str = "Keeps records that two systems hold alike, in both directions";

    async fn run(self, app: App) -> Result<Exit> {
        match self.verb {
            Verb::Plan { names } => {
                let options = link::Options { plan_only: true, approval: None };
                run_links(&app, &names, options).await
            }
            Verb::Run { names, approve } => {
                let options = link::Options { plan_only: false, approval: approve.as_deref() };
                run_links(&app, &names, options).await
            }
            Verb::Questions { name } => questions(&app, name).await,
            Verb::Answer { name, id, answer } => {
                let workspace = app.open(Access::Write).await?;
                link::answer(&workspace, &name, &id, &answer)?;
                app.output.message("answered; the next run does what it says");
                Ok(Exit::Done)
            }
            Verb::Revert { name, run } => {
                let workspace = app.open(Access::Write).await?;
                let reverted = link::revert(&workspace, &name, &run).await?;
                if app.output.format == Format::Json {
                    app.output.json(&reverted)?;
                } else {
                    app.output
                        .message(&format!("{} records have their old values", reverted.records));
                    for text in &reverted.changed_since {
                        app.output.message(&format!("changed since, left alone: {text}"));
                    }
                    for text in &reverted.not_reverted {
                        app.output.message(&format!("not reverted: {text}"));
                    }
                }
                let whole = reverted.changed_since.is_empty() && reverted.not_reverted.is_empty();
                Ok(if whole { Exit::Done } else { Exit::Failed })
            }
        }
    }
}

async fn run_links(app: &App, names: &[String], options: link::Options<'_>) -> Result<Exit> {
    let workspace = app.open(Access::Write).await?;
    let progress = Progress::new(app.output, "link");
    let reports = link::run(&workspace, names, options, &progress).await;
    drop(progress);
    let reports = reports?;
    let refused = reports.iter().any(|report| report.refused > 0);
    let exit = if refused { Exit::Failed } else { Exit::Done };
    if app.output.format == Format::Json {
        app.output.json(&reports)?;
        return Ok(exit);
    }
    let headers = [
        "link",
        "side",
        "#records",
        "#linked",
        "#matched",
        "#create",
        "#change",
        "#delete",
        "#archive",
        "#questions",
    ];
    let mut grid = Grid::new(&headers);
    for report in &reports {
        let questions: u64 = report.questions.values().sum();
        let sides = [
            (
                "left",
                report.records.left,
                report.created.left,
                report.updated.left,
                report.deleted.left,
                report.archived.left,
            ),
            (
                "right",
                report.records.right,
                report.created.right,
                report.updated.right,
                report.deleted.right,
                report.archived.right,
            ),
        ];
        for (side, records, created, updated, deleted, archived) in sides {
            let shared =
                |number: u64| if side == "left" { number.to_string() } else { String::new() };
            grid.row(vec![
                shared_name(&report.link, side),
                side.to_owned(),
                records.to_string(),
                shared(report.linked),
                shared(report.matched),
                created.to_string(),
                updated.to_string(),
                deleted.to_string(),
                archived.to_string(),
                shared(questions),
            ]);
        }
    }
    app.output.grid(&grid)?;
    let mut fields = Grid::new(&["link", "field", "#written left", "#written right"]);
    for report in &reports {
        for (field, written) in &report.fields {
            fields.row(vec![
                report.link.clone(),
                field.clone(),
                written.left.to_string(),
                written.right.to_string(),
            ]);
        }
    }
    app.output.grid(&fields)?;
    for report in &reports {
        if let Some(token) = &report.approval {
            app.output.message(&format!(
                "link {}: beyond its limits: {}; approve exactly this plan with: flywheel link run {} --approve {token}",
                report.link,
                report.beyond.join("; "),
                report.link
            ));
        }
        if report.planned {
            for notice in &report.notices {
                app.output.message(&format!("link {}: {notice}", report.link));
            }
        }
    }
    Ok(exit)
}

fn shared_name(name: &str, side: &str) -> String {
    if side == "left" { name.to_owned() } else { String::new() }
}

async fn questions(app: &App, name: Option<String>) -> Result<Exit> {
    let workspace = app.open(Access::Read).await?;
    let condition = match &name {
        Some(name) => format!("and link = '{}'", name.replace('\'', "''")),
        None => String::new(),
    };
    let sql = format!(
        "select link, id, kind, record, detail, answer from system.link_questions
         where open {condition} order by asked_at, link, id limit {QUESTIONS_MAX}"
    );
    let query = workspace.session_for(&sql, &Reading::Owner).await?.query(&sql).await?;
    app.output.batches(&query.schema(), &query.collect().await?)?;
    Ok(Exit::Done)
}
