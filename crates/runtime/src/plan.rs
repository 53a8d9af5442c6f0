//! Plans of a build: shown first, then applied as shown or refused.
//!
//! A plan is remembered as a small file in `.flywheel/plans`, named by its digest. Losing it loses
//! nothing but the right to apply it: it is made anew in a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use flywheel_base::{Error, Result};
use flywheel_project::NodeKind;
use flywheel_project::graph::Known;
use flywheel_state::PRODUCTION;
use flywheel_transform::{BuildOptions, BuildReport, Changes, ModelDiff, SAMPLES_MAX};
use serde::{Deserialize, Serialize};

use crate::access::Reading;
use crate::access::made::read_by;
use crate::{Observer, Workspace, run};

/// How many plans are remembered.
const PLANS_MAX: usize = 50;

/// How many reasons a refusal names.
const REASONS_MAX: usize = 10;

/// What is remembered of a plan.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    environment: String,
    select: Vec<String>,
    exclude: Vec<String>,
    defer: Option<BTreeMap<String, String>>,
    parts: BTreeMap<String, String>,
}

/// What a build with these options would change; remembered, so that it can be applied.
///
/// # Errors
/// Those of [`flywheel_transform::changes`], and of the file system.
pub async fn plan(workspace: &Workspace, options: BuildOptions<'_>) -> Result<Changes> {
    let changes = flywheel_transform::changes(workspace.world(), options).await?;
    let (select, exclude) = selection(workspace, options)?;
    let remembered = Remembered {
        environment: changes.environment.clone(),
        select,
        exclude,
        defer: options.defer.cloned(),
        parts: changes.parts.clone(),
    };
    remember(&folder(workspace), &changes.digest, &remembered)?;
    Ok(changes)
}

/// In which rows and values what a plan changes would differ from production; of each kind of difference
/// so many `samples` are shown.
///
/// # Errors
/// Those of [`flywheel_transform::diff`]; [`flywheel_base::ErrorKind::Invalid`] for too many samples.
pub async fn diff(
    workspace: &Workspace,
    changes: &Changes,
    options: BuildOptions<'_>,
    samples: usize,
) -> Result<Vec<ModelDiff>> {
    if samples > SAMPLES_MAX {
        return Err(Error::invalid(format!("{samples} rows of a kind are too many to be shown"))
            .hint(format!("Ask for at most {SAMPLES_MAX}.")));
    }
    flywheel_transform::diff(workspace.world(), changes, options, samples).await
}

/// As [`diff`], of one model; none if it would not differ from production.
///
/// # Errors
/// As [`diff`].
pub async fn diff_of(
    workspace: &Workspace,
    changes: &Changes,
    options: BuildOptions<'_>,
    model: &str,
    samples: usize,
) -> Result<Option<ModelDiff>> {
    let samples = samples.min(SAMPLES_MAX);
    let wanted = |name: &str| name == model;
    let world = workspace.world();
    let found = flywheel_transform::diff_where(world, changes, options, samples, wanted);
    Ok(Box::pin(found).await?.into_iter().next())
}

/// Whether a rule hides something of a model from the reader, or of what its query reads, now or once the plan is
/// applied: then its rows are not compared for them, since a row that differs would be told whole.
///
/// # Errors
/// As [`Reading::limits_now`], and those of a template that cannot be rendered.
pub async fn hides(
    workspace: &Workspace,
    changes: &Changes,
    reading: &Reading,
    model: &str,
) -> Result<bool> {
    let mut hidden = reading.limits_now(workspace).await?.hidden;
    if workspace.store.environment() != PRODUCTION {
        let production = workspace.at(workspace.now())?.in_environment(PRODUCTION)?;
        hidden.extend(reading.limits_now(&production).await?.hidden);
    }
    if hidden.is_empty() {
        return Ok(false);
    }
    let mut queries: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // A template may ask a table that its query does not name afterwards: what is declared to be read counts as well.
    let mut declared: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let lineage = flywheel_transform::lineage(&workspace.project)?;
    let tables: BTreeMap<_, _> =
        lineage.nodes.iter().filter_map(|node| Some((&node.id, node.table.as_ref()?))).collect();
    for edge in &lineage.edges {
        if let (Some(from), Some(to)) = (tables.get(&edge.from), tables.get(&edge.to)) {
            declared.entry((*to).clone()).or_default().push((*from).clone());
        }
    }
    for node in lineage.nodes {
        if let (Some(table), Some(sql)) = (node.table, node.sql) {
            queries.entry(table).or_default().push(sql);
        }
    }
    for environment in BTreeSet::from([PRODUCTION, workspace.store.environment()]) {
        for build in workspace.store.builds_of(environment)? {
            queries.entry(build.name).or_default().extend(build.sql);
        }
    }
    for change in &changes.models {
        let both = change.sql_before.iter().chain(&change.sql_after).cloned();
        queries.entry(change.name.clone()).or_default().extend(both);
    }
    let known: BTreeSet<String> = queries.keys().chain(&hidden).cloned().collect();
    let (mut front, mut seen) = (vec![model.to_owned()], BTreeSet::new());
    while let Some(name) = front.pop() {
        if hidden.contains(&name) {
            return Ok(true);
        }
        if !seen.insert(name.clone()) {
            continue;
        }
        front.extend(declared.get(&name).into_iter().flatten().cloned());
        for sql in queries.get(&name).into_iter().flatten() {
            front.extend(read_by(sql, &known));
        }
    }
    Ok(false)
}

/// The selection in words that mean the same when the plan is applied: those that look at an earlier
/// build or at `selectors.yml` become the names they stand for.
fn selection(
    workspace: &Workspace,
    options: BuildOptions<'_>,
) -> Result<(Vec<String>, Vec<String>)> {
    let as_said = (options.select.to_vec(), options.exclude.to_vec());
    let Some(known) = options.known.filter(|known| !known.is_empty()) else { return Ok(as_said) };
    let chosen = workspace.project.graph.select_with(options.select, options.exclude, known)?;
    let models = chosen.into_iter().filter(|node| node.kind == NodeKind::Model);
    let names: Vec<String> = models.map(|node| node.name).collect();
    // No words would mean everything.
    Ok(if names.is_empty() { as_said } else { (names, Vec::new()) })
}

/// Builds what the plan `digest` showed, and nothing else.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if no such plan is remembered,
/// [`flywheel_base::ErrorKind::Blocked`] if the project, what readers see or what is read moved since,
/// or if the plan breaks something; else those of the build.
pub async fn apply(
    workspace: &Workspace,
    digest: &str,
    observer: &dyn Observer,
) -> Result<BuildReport> {
    let remembered = recall(&folder(workspace), digest)?;
    if remembered.environment != workspace.store.environment() {
        return Err(Error::blocked(format!(
            "plan {digest} is for the environment \"{}\"",
            remembered.environment
        ))
        .hint(format!(
            "Choose that environment: --environment {0}, or {0} on the page of the plan.",
            remembered.environment
        )));
    }
    let known = Known::new();
    let options = BuildOptions {
        select: &remembered.select,
        exclude: &remembered.exclude,
        known: Some(&known),
        defer: remembered.defer.as_ref(),
        ..BuildOptions::default()
    };
    let now = flywheel_transform::changes(workspace.world(), options).await?;
    if now.digest != digest {
        let reasons = moved(&remembered.parts, &now.parts).join("; ");
        return Err(Error::blocked(format!(
            "plan {digest} is no longer what would happen: {reasons}"
        ))
        .hint(
            "Plan again, on the page of the plan or with `flywheel plan`, and apply what it shows.",
        ));
    }
    let breaks = now.breaks();
    if !breaks.is_empty() {
        return Err(Error::blocked(format!("plan {digest} breaks {}", breaks.join("; ")))
            .hint("Mend what it names; a build, from the page of models or with `flywheel build`, builds the rest and keeps the last good version of these."));
    }
    run::build(workspace, options, observer).await
}

/// In what the present differs from what a plan rested on.
fn moved(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let names = before.keys().chain(now.keys().filter(|name| !before.contains_key(*name)));
    let reason = |name: &String| match (before.get(name), now.get(name)) {
        (Some(before), Some(now)) if before == now => None,
        (Some(_), Some(_)) => {
            Some(format!("{name}: its file, what it reads or what readers see of it changed"))
        }
        (None, _) => Some(format!("{name}: it was not part of the plan")),
        (_, None) => Some(format!("{name}: it is no longer part of it")),
    };
    let mut reasons: Vec<String> = names.filter_map(reason).collect();
    if reasons.len() > REASONS_MAX {
        let more = reasons.len() - REASONS_MAX;
        reasons.truncate(REASONS_MAX);
        reasons.push(format!("and {more} more"));
    }
    reasons
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.ours().join("plans")
}

/// Writes a plan's file at once, so that nobody reads half of one, and removes the oldest others.
fn remember(folder: &Path, digest: &str, plan: &Remembered) -> Result<()> {
    let path = folder.join(format!("{digest}.json"));
    std::fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, error))?;
    let text = serde_json::to_string(plan)
        .map_err(|error| Error::internal("a plan is not JSON").caused_by(error))?;
    let part = folder.join(format!("{digest}.{}.part", std::process::id()));
    std::fs::write(&part, text).map_err(|error| Error::io("write", &part, error))?;
    std::fs::rename(&part, &path).map_err(|error| Error::io("write", &path, error))?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| Error::io("list", folder, error))? {
        let entry = entry.map_err(|error| Error::io("list", folder, error))?;
        // Another process may have removed it meanwhile.
        let Ok(written) = entry.metadata().and_then(|data| data.modified()) else { continue };
        files.push((written, entry.path()));
    }
    files.sort();
    let extra = files.len().saturating_sub(PLANS_MAX);
    for (_, old) in files.iter().take(extra).filter(|(_, old)| *old != path) {
        match std::fs::remove_file(old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", old, error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn recall(folder: &Path, digest: &str) -> Result<Remembered> {
    let unknown = || {
        Error::not_found(format!("no plan \"{digest}\" is remembered"))
            .hint("Plan again, on the page of the plan or with `flywheel plan`, and apply the plan that it shows by its digest.")
    };
    if digest.is_empty() || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(unknown());
    }
    let path = folder.join(format!("{digest}.json"));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(unknown()),
        Err(error) => return Err(Error::io("read", &path, error)),
    };
    serde_json::from_str(&text).map_err(|error| {
        Error::corrupt(format!("{} is no plan", path.display()))
            .hint("Remove the file and run `flywheel plan` again.")
            .caused_by(error)
    })
}
