//! `flywheel savings`.

use clap::{Args, Subcommand};
use flywheel_base::{Error, Result};
use flywheel_runtime::catalogue::{Ledger, keep, ledger, retire};
use flywheel_runtime::{Access, Workspace};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};

/// Signs of the gauge.
const GAUGE_SIGNS: usize = 40;

/// Options of `flywheel savings`.
#[derive(Debug, Args)]
pub(crate) struct Savings {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Notes that assets are given up, with what they cost now; removes nothing
    Retire {
        /// The assets
        #[arg(required = true)]
        assets: Vec<String>,
        /// Why, for those who ask later
        #[arg(long)]
        reason: String,
    },
    /// Takes back that assets are given up
    Keep {
        /// The assets
        #[arg(required = true)]
        assets: Vec<String>,
    },
}

impl Runs for Savings {
    const ABOUT: &'static str =
        "Shows what is unused, twice or run too often, what that costs, and what was saved";

    async fn run(self, app: App) -> Result<Exit> {
        match self.verb {
            None => {
                let workspace: Workspace = app.open(Access::Read).await?;
                let ledger = ledger(&workspace).await?;
                show(&app, &ledger)?;
            }
            Some(Verb::Retire { assets, reason }) => {
                if reason.trim().is_empty() {
                    return Err(Error::invalid("giving an asset up needs a reason")
                        .hint("Say --reason 'replaced by mart.orders'."));
                }
                let workspace = app.open(Access::Write).await?;
                for asset in &assets {
                    let one = Box::pin(retire(&workspace, asset, &reason)).await?;
                    app.output.line(&format!(
                        "{}: {:.2} {} a year",
                        one.asset, one.cost_per_year, one.currency
                    ))?;
                }
                app.output
                    .message("Counted as saved once they are neither declared nor in the lake.");
            }
            Some(Verb::Keep { assets }) => {
                let workspace = app.open(Access::Write).await?;
                for asset in &assets {
                    let kept = keep(&workspace, asset)?;
                    app.output.line(&kept)?;
                }
            }
        }
        Ok(Exit::Done)
    }
}

fn show(app: &App, ledger: &Ledger) -> Result<()> {
    if app.output.format == Format::Json {
        return app.output.json(ledger);
    }
    let mut grid =
        Grid::new(&["status", "asset", "why", "evidence", &format!("#{}/year", ledger.currency)]);
    for one in &ledger.retired {
        let (status, more) = match (one.gone, one.reads) {
            (true, _) => ("saved", String::new()),
            (false, 0) => ("agreed", String::new()),
            (false, reads) => ("agreed", format!("; read {reads} times in 30 days")),
        };
        grid.row(vec![
            status.to_owned(),
            one.asset.clone(),
            "given-up".to_owned(),
            format!("{}{more}", one.reason),
            format!("{:.2}", one.cost_per_year),
        ]);
    }
    for one in &ledger.findings {
        grid.row(vec![
            "possible".to_owned(),
            one.asset.clone(),
            one.why.word().to_owned(),
            one.evidence.clone(),
            format!("{:.2}", one.saving_per_year),
        ]);
    }
    app.output.grid(&grid)?;
    if !app.output.for_people() {
        return Ok(());
    }
    let currency = &ledger.currency;
    let base = if ledger.base_declared { "as declared" } else { "as measured" };
    app.output.line(&format!(
        "\nsaved    {:.2} {currency} a year of {:.2} {base} ({:.1} %)\nagreed   {:.2}\npossible {:.2}\ntarget   {:.2} ({:.0} %)\n{}",
        ledger.saved_per_year,
        ledger.base_per_year,
        ledger.saved_share * 100.0,
        ledger.agreed_per_year,
        ledger.possible_per_year,
        ledger.target_per_year,
        ledger.target_share * 100.0,
        gauge(ledger.saved_share, ledger.target_share)
    ))
}

/// What is saved as a bar from 0 to 100 %, with a mark at the target.
fn gauge(saved: f64, target: f64) -> String {
    let place = |share: f64| (share.clamp(0.0, 1.0) * GAUGE_SIGNS as f64).round() as usize;
    let (filled, mark) = (place(saved), place(target));
    let sign = |at: usize| if at < filled { '█' } else { '░' };
    let mut bar = String::new();
    for at in 0..=GAUGE_SIGNS {
        if at == mark {
            bar.push('|');
        }
        if at < GAUGE_SIGNS {
            bar.push(sign(at));
        }
    }
    format!("0 % {bar} 100 %")
}

#[cfg(test)]
mod tests {
    use super::gauge;

    #[test]
    fn the_gauge_shows_what_is_saved_and_marks_the_target() {
        let bar = gauge(0.3, 0.5);
        assert_eq!(bar.matches('█').count(), 12);
        assert_eq!(bar.matches('░').count(), 28);
        assert_eq!(bar.chars().take_while(|sign| *sign != '|').count(), 4 + 20);
        assert_eq!(gauge(2.0, 1.0).matches('█').count(), 40);
    }
}
