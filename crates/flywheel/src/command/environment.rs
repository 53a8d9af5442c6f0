//! `flywheel environment`.

use clap::{Args, Subcommand};
use flywheel_base::Result;
use flywheel_runtime::environment::Listed;
use flywheel_runtime::{Access, environment};
use flywheel_state::{EnvironmentMove, PRODUCTION};
use serde_json::{Value, json};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};

/// Options of `flywheel environment`.
#[derive(Debug, Args)]
pub(crate) struct Environment {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists environments and how many models of prod promoting each would change
    List,
    /// Makes an environment that sees what another one sees; nothing is copied or built
    Create {
        /// Its name
        name: String,
        /// The environment it starts from
        #[arg(long, default_value = PRODUCTION)]
        from: String,
    },
    /// Lets readers of prod see what an environment has, in one step
    Promote {
        /// The environment whose models are taken
        name: String,
        /// The environment whose readers get them
        #[arg(long, default_value = PRODUCTION)]
        to: String,
    },
    /// Takes the newest promotion back, in one step
    Rollback {
        /// The environment that was promoted to
        #[arg(default_value = PRODUCTION)]
        name: String,
    },
    /// Forgets an environment; what others see stays
    Drop {
        /// The environment
        name: String,
    },
    /// Removes tables of models that no environment has named for a while; builds and turns do so, too
    Clean {
        /// For how many days nobody may have named a table that goes
        #[arg(long, default_value_t = environment::IDLE_KEPT_DAYS, value_parser = clap::value_parser!(i64).range(0..=36_500))]
        days: i64,
    },
}

impl Runs for Environment {
    const ABOUT: &'static str =
        "Makes, promotes, rolls back and drops environments: other versions of the same models";

    async fn run(self, app: App) -> Result<Exit> {
        match self.verb {
            Verb::List => list(&app).await?,
            Verb::Create { name, from } => {
                let workspace = app.open(Access::Write).await?;
                let created = environment::create(&workspace, &name, &from)?;
                let text = match created {
                    true => {
                        format!("{name} sees what {from} sees; build it with --environment {name}")
                    }
                    false => format!("{name} is there already"),
                };
                tell(&app, &text, &json!({"environment": name, "created": created}))?;
            }
            Verb::Promote { name, to } => {
                let workspace = app.open(Access::Write).await?;
                let done = environment::promote(&workspace, &name, &to)?;
                let nothing = format!("{to} has everything of {name} already");
                show(&app, done.as_ref(), &nothing)?;
            }
            Verb::Rollback { name } => {
                let workspace = app.open(Access::Write).await?;
                let done = environment::roll_back(&workspace, &name)?;
                show(&app, done.as_ref(), &format!("no promotion to {name} is left to take back"))?;
            }
            Verb::Drop { name } => {
                let workspace = app.open(Access::Write).await?;
                let dropped = environment::drop(&workspace, &name)?;
                let text = match dropped {
                    true => format!("{name} is gone"),
                    false => format!("there is no environment {name}"),
                };
                tell(&app, &text, &json!({"environment": name, "dropped": dropped}))?;
            }
            Verb::Clean { days } => {
                let workspace = app.open(Access::Write).await?;
                let removed = environment::clean(&workspace, days).await?;
                if app.output.format == Format::Json {
                    app.output.json(&removed)?;
                    return Ok(Exit::Done);
                }
                let mut grid = Grid::new(&["table", "#bytes"]);
                for one in removed {
                    grid.row(vec![one.location, one.bytes.to_string()]);
                }
                app.output.grid(&grid)?;
            }
        }
        Ok(Exit::Done)
    }
}

async fn list(app: &App) -> Result<()> {
    let workspace = app.open(Access::Read).await?;
    let all = environment::list(&workspace)?;
    if app.output.format == Format::Json {
        let row = |Listed { environment: e, differing }: &Listed| {
            json!({
                "environment": e.name, "made_from": e.made_from, "created_at": e.created_at,
                "models": e.models, "differing": differing,
            })
        };
        return app.output.json(&all.iter().map(row).collect::<Vec<_>>());
    }
    let mut grid = Grid::new(&["environment", "made from", "#models", "#differing"]);
    for Listed { environment: one, differing } in all {
        grid.row(vec![
            one.name,
            one.made_from.unwrap_or_default(),
            one.models.to_string(),
            differing.to_string(),
        ]);
    }
    app.output.grid(&grid)
}

/// Says what was done, for a person or a program.
fn tell(app: &App, text: &str, data: &Value) -> Result<()> {
    if app.output.format == Format::Json {
        return app.output.json(data);
    }
    app.output.message(text);
    Ok(())
}

fn show(app: &App, done: Option<&EnvironmentMove>, nothing: &str) -> Result<()> {
    if app.output.format == Format::Json {
        return app.output.json(&done.map(|done| {
            json!({
                "number": done.number, "environment": done.environment, "made_from": done.made_from,
                "moved": done.moved, "dropped": done.dropped, "stale": done.stale,
            })
        }));
    }
    let Some(done) = done else {
        app.output.message(nothing);
        return Ok(());
    };
    let mut grid = Grid::new(&["model", "in", "now"]);
    for name in &done.moved {
        grid.row(vec![name.clone(), done.environment.clone(), "moved".to_owned()]);
    }
    for name in &done.dropped {
        grid.row(vec![name.clone(), done.environment.clone(), "dropped".to_owned()]);
    }
    app.output.grid(&grid)?;
    if !done.stale.is_empty() {
        app.output.message(&format!(
            "{} read what moved and were built before it changed: build {} now",
            done.stale.join(", "),
            done.environment
        ));
    }
    Ok(())
}
