//! `flywheel lineage`.

use clap::Args;
use flywheel_base::{Error, Result};
use flywheel_runtime::{Access, LineageStep, run};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::Format;

/// Options of `flywheel lineage`.
#[derive(Debug, Args)]
pub(crate) struct Lineage {
    /// A table (`mart.orders`) or a column (`mart.orders.revenue`)
    of: String,
}

impl Runs for Lineage {
    const ABOUT: &'static str = "Shows where a table or a number comes from";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace = app.open(Access::Read).await?;
        let parts: Vec<&str> = self.of.split('.').collect();
        match parts.as_slice() {
            [schema, table, column] => {
                let steps =
                    run::column_lineage(&workspace, &format!("{schema}.{table}"), column).await?;
                if app.output.format == Format::Json {
                    app.output.json(&steps)?;
                } else {
                    app.output.line(&column_text(&steps))?;
                }
            }
            [schema, table] => {
                let lineage = run::table_lineage(&workspace, &format!("{schema}.{table}"))?;
                if app.output.format == Format::Json {
                    app.output.json(&lineage)?;
                } else {
                    let edges =
                        lineage.edges.iter().map(|edge| format!("{} → {}", edge.from, edge.to));
                    app.output.line(&edges.collect::<Vec<_>>().join("\n"))?;
                }
            }
            _ => {
                return Err(Error::invalid(format!(
                    "\"{}\" is neither schema.table nor schema.table.column",
                    self.of
                ))
                .hint("For example: flywheel lineage mart.daily_sales.revenue"));
            }
        }
        Ok(Exit::Done)
    }
}

/// One line per step: the column, what it is computed by, and what it is made of.
fn column_text(steps: &[LineageStep]) -> String {
    let mut text = String::new();
    for step in steps {
        text.push_str(&format!("{}.{}", step.node, step.column));
        if let Some(expression) = &step.expression {
            text.push_str(&format!("  =  {expression}"));
        }
        text.push('\n');
        for origin in &step.upstream {
            text.push_str(&format!(
                "  ← {}.{} ({:?})\n",
                origin.from.table, origin.from.column, origin.transform
            ));
        }
    }
    text
}
