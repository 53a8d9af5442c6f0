//! `flywheel profile`.

use clap::Args;
use flywheel_base::{Error, Result};
use flywheel_runtime::Access;
use flywheel_runtime::access::Reading;
use flywheel_runtime::catalogue::{AssetColumn, collect};
use flywheel_runtime::profile::{Profile as Kept, Profiled, profile};

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};

/// Frequent values that a table shows.
const TOP_SHOWN: usize = 3;

/// Options of `flywheel profile`.
#[derive(Debug, Args)]
pub(crate) struct Profile {
    /// The tables; all tables of the project with --all
    tables: Vec<String>,
    /// Profiles every table and view
    #[arg(long, conflicts_with = "tables")]
    all: bool,
    /// Profiles a version again that has been profiled
    #[arg(long)]
    again: bool,
}

impl Runs for Profile {
    const ABOUT: &'static str =
        "Shows what the columns of a table hold, and keeps it in system.profiles";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace = app.open(Access::Read).await?;
        let mut tables = self.tables;
        if self.all {
            let all = collect(&workspace).await?;
            let seen =
                all.assets.into_iter().filter(|asset| asset.is_table && asset.version.is_some());
            tables = seen.map(|asset| asset.name).collect();
        }
        if tables.is_empty() {
            return Err(Error::invalid("no table to profile")
                .hint("Name one or more, such as raw.orders, or say --all."));
        }
        let mut profiles = Vec::new();
        for table in &tables {
            profiles.push(Box::pin(profile(&workspace, table, self.again, &Reading::Owner)).await?);
        }
        if app.output.format == Format::Json {
            app.output.json(&profiles)?;
            return Ok(Exit::Done);
        }
        for one in &profiles {
            if app.output.for_people() {
                app.output.message(&heading(one));
            }
            columns(&app, &one.profile, None)?;
        }
        Ok(Exit::Done)
    }
}

fn heading(one: &Profiled) -> String {
    let version =
        one.version.map_or_else(|| "a view".to_owned(), |version| format!("version {version}"));
    let kept = match one.profiled_at.filter(|_| one.kept) {
        Some(at) => format!(", as kept since {at}"),
        None => String::new(),
    };
    let Kept { rows, sample_rows, .. } = one.profile;
    let sampled = match sample_rows == rows {
        true => String::new(),
        false => format!("; quantiles and frequent values from a sample of {sample_rows}"),
    };
    format!("{}: {version}, {rows} rows{sampled}{kept}", one.table)
}

/// Shows a profile's columns.
pub(super) fn columns(app: &App, profile: &Kept, said: Option<&[AssetColumn]>) -> Result<()> {
    let mut header =
        vec!["column", "type", "#nulls", "#distinct", "min", "max", "#mean", "#median", "frequent"];
    if said.is_some() {
        header.push("description");
    }
    let mut grid = Grid::new(&header);
    for column in &profile.columns {
        let about = if column.distincts_exact { "" } else { "~" };
        let number = |n: f64| if n.fract() == 0.0 { format!("{n:.0}") } else { format!("{n:.3}") };
        let top =
            column.top.iter().take(TOP_SHOWN).map(|top| format!("{} ({})", top.value, top.rows));
        let mut row = vec![
            column.name.clone(),
            if column.masked { format!("{}, masked", column.kind) } else { column.kind.clone() },
            column.nulls.to_string(),
            format!("{about}{}", column.distincts),
            column.min.clone().unwrap_or_default(),
            column.max.clone().unwrap_or_default(),
            column.mean.map(number).unwrap_or_default(),
            column.quantiles.get(2).copied().map(number).unwrap_or_default(),
            top.collect::<Vec<_>>().join(", "),
        ];
        if let Some(said) = said {
            let said = said.iter().find(|one| one.name == column.name);
            row.push(said.and_then(|one| one.description.clone()).unwrap_or_default());
        }
        grid.row(row);
    }
    app.output.grid(&grid)
}
