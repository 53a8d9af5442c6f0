//! `flywheel lineage`.

use clap::Args;
use flywheel_base::Result;
use flywheel_runtime::Access;
use flywheel_runtime::lineage::{self, Answer, Question};
use flywheel_transform::{Direction, Mark};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};

/// Options of `flywheel lineage`.
#[derive(Debug, Args)]
pub(crate) struct Lineage {
    /// A column (`mart.orders.revenue`, `orders.revenue`), a table (`mart.orders`), or anything else of the project
    /// by its kind and name (`metric:revenue`, `policy:win_back`, `learner:next_item`)
    of: String,
    /// Shows what it is made of
    #[arg(long)]
    upstream: bool,
    /// Shows what is made of it
    #[arg(long)]
    downstream: bool,
    /// How many steps are followed; all of them if absent
    #[arg(long, value_name = "STEPS")]
    depth: Option<usize>,
    /// Shows columns where a whole table is asked for
    #[arg(long)]
    columns: bool,
}

impl Runs for Lineage {
    const ABOUT: &'static str = "Shows what a column or table is made of and what is made of it";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace = app.open(Access::Read).await?;
        let mut directions = Vec::new();
        if self.upstream {
            directions.push(Direction::Upstream);
        }
        if self.downstream {
            directions.push(Direction::Downstream);
        }
        let question =
            Question { of: self.of, directions, depth: self.depth, columns: self.columns };
        let answer = Box::pin(lineage::ask(&workspace, &question)).await?;
        match app.output.format {
            Format::Json => app.output.json(&answer)?,
            Format::Mermaid => app.output.line(answer.mermaid().trim_end())?,
            _ => {
                app.output.grid(&grid(&answer))?;
                tell(&app, &answer);
            }
        }
        Ok(Exit::Done)
    }
}

/// One row per edge.
fn grid(answer: &Answer) -> Grid {
    let mut grid = Grid::new(&["from", "kind", "to", "expression", "mark"]);
    for edge in &answer.edges {
        let to = answer.nodes.iter().find(|node| node.id == edge.to);
        let expression = to.and_then(|node| node.expression.clone()).unwrap_or_default();
        let mark = to.and_then(|node| node.mark.as_ref()).map(shown).unwrap_or_default();
        grid.row(vec![
            edge.from.clone(),
            edge.kind.word().to_owned(),
            edge.to.clone(),
            expression,
            mark,
        ]);
    }
    grid
}

fn shown(mark: &Mark) -> String {
    match mark {
        Mark::Masked(mask) => format!("masked by {mask}"),
        Mark::Sensitive(by) => format!("sensitive by {by}"),
        Mark::Derived(from) => format!("made of {from}"),
    }
}

/// What should be known about the answer.
fn tell(app: &App, answer: &Answer) {
    if answer.edges.is_empty() {
        app.output.message(&format!(
            "nothing leads to {} or from it, as far as is known",
            answer.of.join(", ")
        ));
    }
    for node in answer.nodes.iter().filter(|node| node.steps == 0) {
        if let Some(mark) = &node.mark {
            app.output.message(&format!("note: {} is {}", node.id, shown(mark)));
        }
    }
    if answer.cut {
        app.output.message("note: more lies behind; follow more steps with --depth");
    }
    for note in &answer.notes {
        app.output.message(&format!("note: {note}"));
    }
}
