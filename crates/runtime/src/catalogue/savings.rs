//! The savings ledger: what could be given up, what it was decided to give up, and what is gone.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result, Timestamp};
use flywheel_state::Retirement;
use serde::Serialize;

use super::cost::Work;
use super::{Asset, Catalogue, collect, moment};
use crate::Workspace;

/// Runs of a stream below which nothing is said about how often it runs.
const RUNS_MIN: u64 = 10;
/// The share of runs without new rows from which a stream runs too often.
const IDLE_MIN: f64 = 0.8;

/// What is saved and could be.
#[derive(Clone, Debug, Serialize)]
pub struct Ledger {
    /// The currency of every amount.
    pub currency: String,
    /// What all assets cost in a year: as declared, or what they cost now and what was saved.
    pub base_per_year: f64,
    /// Whether that is declared.
    pub base_declared: bool,
    /// What is no longer spent in a year, because the assets are gone.
    pub saved_per_year: f64,
    /// What will not be spent once assets that are given up are gone.
    pub agreed_per_year: f64,
    /// What could be saved beyond that, by the findings.
    pub possible_per_year: f64,
    /// The share of the base that is to be saved.
    pub target_share: f64,
    /// That in a year.
    pub target_per_year: f64,
    /// The share of the base that is saved.
    pub saved_share: f64,
    /// What could be given up, the most costly first.
    pub findings: Vec<Finding>,
    /// What is given up.
    pub retired: Vec<Retired>,
}

/// Something that could be saved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The asset, `kind:name`.
    pub asset: String,
    /// Why.
    pub why: Why,
    /// What says so.
    pub evidence: String,
    /// What it would save in a year.
    pub saving_per_year: f64,
}

/// Why something could be saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// Nobody and nothing reads it.
    Unused,
    /// Another one holds the same rows, or is the same query.
    Duplicate,
    /// Most of its runs change nothing.
    OverFrequent,
}

impl Why {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::Duplicate => "duplicate",
            Self::OverFrequent => "over-frequent",
        }
    }
}

/// An asset that is given up.
#[derive(Clone, Debug, Serialize)]
pub struct Retired {
    /// The asset, `kind:name`.
    pub asset: String,
    /// When it was decided.
    #[serde(serialize_with = "moment")]
    pub decided_at: Option<Timestamp>,
    /// What it cost in a year then.
    pub cost_per_year: f64,
    /// Why, in the words of who decided.
    pub reason: String,
    /// Whether it is gone: neither declared nor in the lake.
    pub gone: bool,
    /// Reads of the last 30 days, if it is still there.
    pub reads: u64,
}

/// Makes the ledger.
///
/// # Errors
/// Those of lake and metadata; [`flywheel_base::ErrorKind::Invalid`] if an asset was given up in another currency.
pub async fn ledger(workspace: &Workspace) -> Result<Ledger> {
    let catalogue = collect(workspace).await?;
    let settings = &workspace.project.file.catalogue;
    let retirements = workspace.store.retirements()?;
    let mut retired = Vec::new();
    let (mut saved, mut agreed) = (0.0, 0.0);
    for one in retirements {
        if one.currency != catalogue.currency {
            return Err(Error::invalid(format!(
                "\"{}\" was given up at a cost in {}, and costs are in {} now",
                one.asset, one.currency, catalogue.currency
            ))
            .hint("Set `catalogue.prices.currency` in flywheel.yaml back, or give the asset up again in the new currency."));
        }
        let there = catalogue.assets.iter().find(|asset| asset.id() == one.asset);
        *if there.is_some() { &mut agreed } else { &mut saved } += one.cost_per_year;
        retired.push(Retired {
            asset: one.asset,
            decided_at: Some(one.decided_at),
            cost_per_year: one.cost_per_year,
            reason: one.reason,
            gone: there.is_none(),
            reads: there.map_or(0, |asset| asset.reads),
        });
    }
    let findings = findings(workspace, &catalogue, &retired)?;
    let mut best: BTreeMap<&str, f64> = BTreeMap::new();
    for finding in &findings {
        let most = best.entry(&finding.asset).or_default();
        *most = most.max(finding.saving_per_year);
    }
    // The sum of nothing is a negative zero, which nobody wants to read.
    let possible = best.values().sum::<f64>() + 0.0;
    let now: f64 = catalogue.assets.iter().map(|asset| asset.cost_per_year).sum();
    let base = settings.cost_per_year.unwrap_or(now + saved);
    let target_share = settings.savings_target.value();
    Ok(Ledger {
        currency: catalogue.currency,
        base_per_year: base,
        base_declared: settings.cost_per_year.is_some(),
        saved_per_year: saved,
        agreed_per_year: agreed,
        possible_per_year: possible,
        target_share,
        target_per_year: base * target_share,
        saved_share: if base > 0.0 { saved / base } else { 0.0 },
        findings,
        retired,
    })
}

/// What could be saved.
fn findings(
    workspace: &Workspace,
    catalogue: &Catalogue,
    retired: &[Retired],
) -> Result<Vec<Finding>> {
    let work = Work::read(workspace)?;
    let open =
        |asset: &&Asset| asset.is_table && !retired.iter().any(|one| one.asset == asset.id());
    let tables: Vec<&Asset> = catalogue.assets.iter().filter(open).collect();
    let mut findings = Vec::new();
    let days = workspace.project.file.catalogue.unused_after.in_days();
    let limit = workspace.now().plus_micros(-workspace.project.file.catalogue.unused_after.micros);
    let young = workspace.store.first_run_at()?.is_none_or(|first| first > limit);
    let reads = workspace.store.reads_since(limit)?;
    for asset in tables.iter().filter(|asset| asset.downstream.is_empty()) {
        let read = reads.iter().any(|read| read.asset == asset.name);
        // Of a project or a table that is younger than the time without reads, nothing can be said yet.
        let old = asset.committed_at.is_some_and(|at| at <= limit) || asset.cost_per_year > 0.0;
        if !read && !young && old {
            findings.push(Finding {
                asset: asset.id(),
                why: Why::Unused,
                evidence: format!("no read in {days:.0} days, and nothing is made from it"),
                saving_per_year: asset.cost_per_year,
            });
        }
    }
    duplicates(workspace, &tables, &mut findings)?;
    for asset in &tables {
        let Some((runs, idle)) = work.streams.get(&asset.name).copied() else { continue };
        let share = idle as f64 / runs.max(1) as f64;
        if runs >= RUNS_MIN && share >= IDLE_MIN {
            findings.push(Finding {
                asset: asset.id(),
                why: Why::OverFrequent,
                evidence: format!("{idle} of {runs} runs found no new row"),
                saving_per_year: work.work_cost(workspace, &asset.name) * share,
            });
        }
    }
    findings.sort_by(|a, b| {
        b.saving_per_year.total_cmp(&a.saving_per_year).then_with(|| a.asset.cmp(&b.asset))
    });
    Ok(findings)
}

/// Tables with the same rows by their profiles, and models with the same plan; the one that is used most is kept.
fn duplicates(workspace: &Workspace, tables: &[&Asset], findings: &mut Vec<Finding>) -> Result<()> {
    let mut groups: BTreeMap<(&str, String), Vec<&Asset>> = BTreeMap::new();
    let find = |name: &str| tables.iter().copied().find(|asset| asset.name == name);
    for profile in workspace.store.profiles()? {
        let Some(asset) = find(&profile.asset) else { continue };
        let empty = profile.detail.get("rows").and_then(serde_json::Value::as_u64) == Some(0);
        // A profile of an older version says nothing about the rows of now.
        if !empty && asset.version.is_some() && asset.version == profile.version {
            groups.entry(("the same rows", profile.digest)).or_default().push(asset);
        }
    }
    for build in workspace.store.builds()? {
        if let Some(asset) = find(&build.name) {
            groups.entry(("the same query", build.fingerprint)).or_default().push(asset);
        }
    }
    for ((what, _), mut group) in groups {
        if group.len() < 2 {
            continue;
        }
        group.sort_by_key(|asset| {
            (std::cmp::Reverse(asset.reads + asset.downstream.len() as u64), asset.name.clone())
        });
        let Some((kept, others)) = group.split_first() else { continue };
        for asset in others {
            let known = |one: &Finding| one.asset == asset.id() && one.why == Why::Duplicate;
            if !findings.iter().any(known) {
                findings.push(Finding {
                    asset: asset.id(),
                    why: Why::Duplicate,
                    evidence: format!("{what} as {}", kept.name),
                    saving_per_year: asset.cost_per_year,
                });
            }
        }
    }
    Ok(())
}

/// Notes that an asset is given up, with what it costs now; deletes nothing.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown asset, [`flywheel_base::ErrorKind::Blocked`] if something is
/// made from it; those of lake and metadata.
pub async fn retire(workspace: &Workspace, name: &str, reason: &str) -> Result<Retirement> {
    let catalogue = collect(workspace).await?;
    let asset = catalogue.asset(name)?;
    let given_up = workspace.store.retirements()?;
    let ends = |name: &String| {
        given_up.iter().any(|one| one.asset.split_once(':').is_some_and(|(_, other)| other == name))
    };
    let left: Vec<&String> = asset.downstream.iter().filter(|name| !ends(name)).collect();
    if let Some(first) = left.first() {
        return Err(Error::blocked(format!(
            "{} is read by {first}{}",
            asset.id(),
            if left.len() > 1 { format!(" and {} more", left.len() - 1) } else { String::new() }
        ))
        .hint("Give up what is made from it first; `flywheel catalogue show` lists it."));
    }
    let retirement = Retirement {
        asset: asset.id(),
        decided_at: workspace.now(),
        cost_per_year: asset.cost_per_year,
        currency: catalogue.currency.clone(),
        reason: reason.to_owned(),
    };
    workspace.store.retire(&retirement)?;
    Ok(retirement)
}

/// Takes back that an asset is given up.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if it was not; those of the metadata.
pub fn keep(workspace: &Workspace, name: &str) -> Result<String> {
    let given_up = workspace.store.retirements()?;
    let named = |one: &&Retirement| {
        one.asset == name || one.asset.split_once(':').is_some_and(|(_, plain)| plain == name)
    };
    let found: Vec<&Retirement> = given_up.iter().filter(named).collect();
    let [one] = found.as_slice() else {
        return Err(match found.len() {
            0 => Error::not_found(format!("\"{name}\" is not given up"))
                .hint("`flywheel savings` lists what is."),
            _ => Error::invalid(format!("several assets called \"{name}\" are given up"))
                .hint("Say which, as kind:name."),
        });
    };
    workspace.store.unretire(&one.asset)?;
    Ok(one.asset.clone())
}
