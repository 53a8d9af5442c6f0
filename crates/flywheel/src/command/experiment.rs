//! `flywheel experiment`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use flywheel_base::{Error, Result};
use flywheel_decision::experiment;
use flywheel_decision::experiment::Standings;
use flywheel_decision::experiment::plan::Plan;
use flywheel_decision::table::ExperimentRow;
use flywheel_runtime::{Access, policy};
use serde_json::Value;

use super::Runs;
use super::status::percent;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};

/// Options of `flywheel experiment`.
#[derive(Debug, Args)]
pub(crate) struct Experiment {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Says how many units it takes to find an effect, from what the audience did in the last window
    Plan {
        /// The policy with the experiment
        name: String,
        /// The difference in the share with an outcome that would matter; the file's smallest_effect if absent
        #[arg(long)]
        effect: Option<f64>,
        /// The probability with which it shall be found
        #[arg(long, default_value_t = 0.8)]
        power: f64,
    },
    /// Shows how each variant stands beside the control
    Show {
        /// The policy; all experiments if none is named
        name: Option<String>,
    },
}

impl Runs for Experiment {
    const ABOUT: &'static str = "Plans experiments and shows how their variants stand";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace = app.open(Access::Read).await?;
        match self.verb {
            Verb::Plan { name, effect, power } => {
                plan(&app, &policy::plan(&workspace, &name, effect, power).await?)
            }
            Verb::Show { name } => {
                show(&app, &policy::experiments(&workspace, name.as_deref()).await?)
            }
        }
    }
}

fn plan(app: &App, plan: &Plan) -> Result<Exit> {
    if app.output.format == Format::Json {
        app.output.json(plan)?;
        return Ok(Exit::Done);
    }
    let mut grid = Grid::new(&[
        "policy",
        "#audience",
        "#rate",
        "#effect",
        "#power",
        "#units",
        "#units, looking each turn",
        "#smallest effect of the audience",
    ]);
    let units = |count: Option<u64>| count.map_or_else(String::new, |count| count.to_string());
    grid.row(vec![
        plan.policy.clone(),
        plan.audience.to_string(),
        percent(Some(plan.rate)),
        plan.effect.map_or_else(String::new, |effect| format!("{effect:.4}")),
        percent(Some(plan.power)),
        units(plan.units),
        units(plan.units_always_valid),
        format!("{:.4}", plan.smallest_effect),
    ]);
    app.output.grid(&grid)?;
    if plan.effect.is_none() {
        app.output.message("give --effect, or smallest_effect: in the file, to count units");
    }
    Ok(Exit::Done)
}

/// A row with its moment as people write it.
fn object(row: &ExperimentRow) -> Result<Value> {
    let mut object =
        serde_json::to_value(row).map_err(|e| Error::internal("a row is no JSON").caused_by(e))?;
    if let Some(at) = object.get_mut("at") {
        *at = row.at.to_string().into();
    }
    if let (Some(changed), Some(at)) = (object.get_mut("changed_at"), row.changed_at) {
        *changed = at.to_string().into();
    }
    Ok(object)
}

fn show(app: &App, standings: &Standings) -> Result<Exit> {
    let Standings { rows, errors } = standings;
    for error in errors {
        app.output.message(&error.report());
    }
    if app.output.format == Format::Json {
        app.output.json(&rows.iter().map(object).collect::<Result<Vec<_>>>()?)?;
        return Ok(Exit::Done);
    }
    let mut grid = Grid::new(&[
        "policy",
        "metric",
        "variant",
        "control",
        "#units",
        "#control units",
        "#rate",
        "#control rate",
        "#difference",
        "always-valid interval",
        "#split p",
        "#p before",
        "standing",
    ]);
    let number = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.4}"));
    for row in rows {
        let interval = match row.lower.zip(row.upper) {
            Some((lower, upper)) => format!("[{lower:+.4}, {upper:+.4}]"),
            None if row.standing == "unmeasured" => "cannot be read".to_owned(),
            None => "not enough yet".to_owned(),
        };
        grid.row(vec![
            row.policy.clone(),
            row.metric.clone(),
            row.variant.clone(),
            row.control.clone(),
            row.units.to_string(),
            row.control_units.to_string(),
            number(row.rate),
            number(row.control_rate),
            number(row.difference),
            interval,
            number(row.split_p),
            number(row.p_value),
            row.standing.clone(),
        ]);
    }
    app.output.grid(&grid)?;
    let several: BTreeMap<&str, i64> = rows
        .iter()
        .map(|row| (row.policy.as_str(), row.several.unwrap_or_default()))
        .filter(|(_, several)| *several > 0)
        .collect();
    for (policy, several) in several {
        app.output.message(&format!(
            "{policy}: {several} units got more than one variant; they are left out, unless the file says \
             multiple_exposure: keep"
        ));
    }
    let told = experiment::warnings(rows);
    let shown = |text: &&String| {
        text.contains(" differed before ") || text.contains(" is not what it began as")
    };
    for text in told.iter().filter(shown) {
        app.output.message(text);
    }
    if rows.is_empty() && errors.is_empty() {
        app.output.message("no policy is an experiment");
    }
    Ok(Exit::Done)
}
