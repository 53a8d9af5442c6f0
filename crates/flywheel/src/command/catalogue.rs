//! `flywheel catalogue`.

use clap::{Args, Subcommand};
use flywheel_base::{Error, Result};
use flywheel_runtime::catalogue::{self, Asset, collect, health_sql};
use flywheel_runtime::profile;
use flywheel_runtime::{Access, Workspace};
use serde_json::json;

use super::{Runs, profile as profile_command, search};
use crate::app::{App, Exit};
use crate::output::{Format, Grid};

/// Options of `flywheel catalogue`.
#[derive(Debug, Args)]
pub(crate) struct Catalogue {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Only these kinds: source, model, metric, learner, policy, …
    #[arg(long, value_delimiter = ',')]
    kind: Vec<String>,
    /// Only assets of this owner; `-` for those without one
    #[arg(long)]
    owner: Option<String>,
    /// Only assets with this tag
    #[arg(long)]
    tag: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Shows all that is known about an asset
    Show {
        /// Its name: mart.orders, orders if no other table is called so, or model:mart.orders
        name: String,
    },
    /// Shows the formula of the health score, as a query over system.assets
    Formula,
}

impl Runs for Catalogue {
    const ABOUT: &'static str =
        "Lists every asset with its owner, health, use and cost; shows one in full";

    async fn run(self, app: App) -> Result<Exit> {
        if let Some(Verb::Formula) = self.verb {
            app.output.line(catalogue::FORMULA)?;
            return Ok(Exit::Done);
        }
        let workspace = app.open(Access::Read).await?;
        let all = collect(&workspace).await?;
        for note in &all.notes {
            app.output.message(&format!("warning: {note}"));
        }
        if let Some(Verb::Show { name }) = &self.verb {
            show(&app, &workspace, all.asset(name)?, &all.currency)?;
            return Ok(Exit::Done);
        }
        let owned = |asset: &Asset| match self.owner.as_deref() {
            None => true,
            Some("-") => asset.owner.is_none(),
            Some(owner) => asset.owner.as_deref() == Some(owner),
        };
        let chosen: Vec<&Asset> = all
            .assets
            .iter()
            .filter(|asset| self.kind.is_empty() || self.kind.contains(&asset.kind))
            .filter(|asset| owned(asset))
            .filter(|asset| self.tag.as_ref().is_none_or(|tag| asset.tags.contains(tag)))
            .collect();
        if let Some(unknown) =
            self.kind.iter().find(|kind| !all.assets.iter().any(|asset| asset.kind == **kind))
        {
            return Err(Error::not_found(format!("there is no asset of the kind \"{unknown}\""))
                .hint("`flywheel catalogue` without --kind lists the kinds there are."));
        }
        if app.output.format == Format::Json {
            app.output.json(&chosen)?;
            return Ok(Exit::Done);
        }
        list(&app, &chosen, &all.currency)?;
        Ok(Exit::Done)
    }
}

fn list(app: &App, assets: &[&Asset], currency: &str) -> Result<()> {
    let cost = format!("#{currency}/year");
    let mut grid = Grid::new(&[
        "kind",
        "name",
        "owner",
        "#health",
        "tests",
        "#rows",
        "#reads",
        "#used by",
        &cost,
        "description",
    ]);
    for asset in assets {
        let number = |n: u64| if n == 0 { String::new() } else { n.to_string() };
        grid.row(vec![
            asset.kind.clone(),
            asset.name.clone(),
            asset.owner.clone().unwrap_or_default(),
            format!("{:.0}", asset.health),
            tests(asset),
            asset.rows.map_or_else(String::new, |rows| rows.to_string()),
            number(asset.reads),
            number(asset.downstream.len() as u64),
            money(asset.cost_per_year),
            search::brief(asset.description.as_deref().unwrap_or_default()),
        ]);
    }
    app.output.grid(&grid)
}

fn tests(asset: &Asset) -> String {
    match (&asset.tests_status, asset.tests) {
        (_, 0) => String::new(),
        (Some(status), count) => format!("{count} {status}"),
        (None, count) => format!("{count} not run"),
    }
}

/// An amount, nothing for none.
pub(super) fn money(amount: f64) -> String {
    if amount == 0.0 { String::new() } else { format!("{amount:.2}") }
}

fn show(app: &App, workspace: &Workspace, asset: &Asset, currency: &str) -> Result<()> {
    let kept = match asset.is_table {
        true => workspace.store.profile(&asset.name)?,
        false => None,
    };
    let profile = kept.as_ref().map(profile::Profile::kept).transpose()?;
    if app.output.format == Format::Json {
        return app.output.json(&json!({
            "asset": asset, "currency": currency, "health_sql": health_sql(asset), "profile": profile,
            "profile_version": kept.as_ref().and_then(|kept| kept.version),
        }));
    }
    let mut facts = Grid::new(&["", asset.id().as_str()]);
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            facts.row(vec![name.to_owned(), value]);
        }
    };
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    fact("description", text(&asset.description));
    fact("also called", asset.labels.join(", "));
    fact("owner", asset.owner.clone().unwrap_or_else(|| "nobody".to_owned()));
    fact("certification", asset.certification.clone());
    fact("tags", asset.tags.join(", "));
    fact("file", text(&asset.file));
    fact("health", format!("{:.1} of 100; flywheel catalogue formula", asset.health));
    fact("tests", tests(asset));
    fact("rows", asset.rows.map_or_else(String::new, |rows| rows.to_string()));
    fact("size", asset.size_bytes.map_or_else(String::new, |bytes| format!("{bytes} bytes")));
    let version = |at: i64| match asset.committed_at {
        Some(moment) => format!("{at}, committed at {moment}"),
        None => at.to_string(),
    };
    fact("version", asset.version.map_or_else(String::new, version));
    if let (Some(age), Some(limit)) = (asset.age_s, asset.fresh_limit_s) {
        let state = if age <= limit { "fresh" } else { "late" };
        fact("freshness", format!("{state}: {} old, {} allowed", span(age), span(limit)));
    }
    let last = asset.last_read_at.map_or_else(String::new, |at| format!(", the last at {at}"));
    if asset.is_table || asset.kind == "metric" {
        fact("use in 30 days", format!("{} reads by {} people{last}", asset.reads, asset.readers));
    }
    fact("made from", asset.upstream.join(", "));
    fact("used by", asset.downstream.join(", "));
    fact(
        "work in 30 days",
        if asset.work_s > 0.0 { format!("{:.1} s", asset.work_s) } else { String::new() },
    );
    if asset.cost_with_upstream > 0.0 {
        fact(
            "cost",
            format!(
                "{:.2} {currency} a year, {:.2} with its share of what it is made from",
                asset.cost_per_year, asset.cost_with_upstream
            ),
        );
    }
    app.output.grid(&facts)?;
    if let (Some(profile), Some(kept)) = (&profile, &kept) {
        app.output.line("")?;
        if kept.version != asset.version {
            app.output.message(&format!(
                "the profile is of an older version; make it anew: flywheel profile {}",
                asset.name
            ));
        }
        return profile_command::columns(app, profile, Some(&asset.columns));
    }
    if asset.columns.is_empty() {
        return Ok(());
    }
    app.output.line("")?;
    let mut columns = Grid::new(&["column", "type", "description"]);
    for column in &asset.columns {
        let kind = column.kind.clone().unwrap_or_default();
        let masked = if column.masked { format!("{kind}, masked") } else { kind };
        columns.row(vec![
            column.name.clone(),
            masked,
            column.description.clone().unwrap_or_default(),
        ]);
    }
    app.output.grid(&columns)
}

/// Seconds as people say them.
fn span(seconds: i64) -> String {
    match seconds {
        s if s < 120 => format!("{s} s"),
        s if s < 7_200 => format!("{} min", s / 60),
        s if s < 172_800 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}
