//! Bringing together what files, lake and metadata say about every asset.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::Result;
use flywheel_project::resource::properties::ColumnProperties;
use flywheel_project::{ModelTest, NodeId, NodeKind, Project};
use flywheel_state::Build;

use super::cost::{Work, passed_on, seconds_since};
use super::{Asset, AssetColumn, Catalogue, DAY_US, WINDOW_DAYS, health};
use crate::Workspace;
use crate::system::tables::{Seen, seen};

/// Collects the catalogue.
///
/// # Errors
/// Those of lake and metadata.
pub async fn collect(workspace: &Workspace) -> Result<Catalogue> {
    let project = &workspace.project;
    let tables: BTreeMap<String, Seen> = seen(workspace)
        .await?
        .into_iter()
        .filter(|(name, _)| !name.starts_with("system."))
        .collect();
    let work = Work::read(workspace)?;
    let builds: BTreeMap<String, Build> =
        workspace.store.builds()?.into_iter().map(|build| (build.name.clone(), build)).collect();
    let mut assets = Vec::new();
    let mut named = BTreeSet::new();
    let mut ages: BTreeMap<&NodeId, (i64, i64)> = BTreeMap::new();
    for id in project.graph.order() {
        let mut asset = declared(project, id);
        let state = tables.get(&asset.name).filter(|_| asset.is_table);
        if let Some(state) = state {
            named.insert(asset.name.clone());
            fill(&mut asset, state);
        }
        let own = (id.kind == NodeKind::Source).then(|| age(workspace, &asset)).flatten();
        let upstream = project.graph.upstream(id).filter_map(|from| ages.get(from).copied());
        // The stalest of what it is made from: the one that is oldest by its own measure.
        let stalest = upstream
            .chain(own)
            .max_by(|a, b| (a.0 as f64 / a.1 as f64).total_cmp(&(b.0 as f64 / b.1 as f64)));
        if let Some(stalest) = stalest {
            ages.insert(id, stalest);
            if asset.is_table || id.kind == NodeKind::Metric {
                (asset.age_s, asset.fresh_limit_s) = (Some(stalest.0), Some(stalest.1));
            }
        }
        asset.tests_status = tested(&asset, &builds, &work);
        asset.upstream = project.graph.upstream(id).map(|id| shown(project, id)).collect();
        asset.downstream = project.graph.downstream(id).map(|id| shown(project, id)).collect();
        assets.push((Some(id), asset));
    }
    for (name, state) in tables.iter().filter(|(name, _)| !named.contains(*name)) {
        let mut asset = Asset {
            kind: "table".to_owned(),
            name: name.clone(),
            is_table: true,
            ..Asset::default()
        };
        fill(&mut asset, state);
        assets.push((None, asset));
    }
    said(project, assets.iter_mut().map(|(_, asset)| asset));
    used(workspace, assets.iter_mut().map(|(_, asset)| asset))?;
    let mut own = BTreeMap::new();
    for (id, asset) in &mut assets {
        let said = project.file.catalogue.said(&asset.kind, &asset.name).cost_per_year;
        asset.work_s = work.seconds.get(&asset.name).copied().unwrap_or_default();
        let measured = || work.cost(workspace, &asset.name, asset.size_bytes.unwrap_or_default());
        asset.cost_per_year = said.unwrap_or_else(measured);
        asset.cost_with_upstream = asset.cost_per_year;
        if let Some(id) = id {
            own.insert((*id).clone(), asset.cost_per_year);
        }
    }
    let total = passed_on(workspace, &own);
    let mut assets: Vec<(Option<NodeKind>, Asset)> = assets
        .into_iter()
        .map(|(id, mut asset)| {
            asset.cost_with_upstream =
                id.and_then(|id| total.get(id).copied()).unwrap_or(asset.cost_with_upstream);
            asset.health = health::score(&asset);
            (id.map(|id| id.kind), asset)
        })
        .collect();
    assets.sort_by(|(a, one), (b, other)| {
        (a.is_none(), a, &one.name).cmp(&(b.is_none(), b, &other.name))
    });
    let assets: Vec<Asset> = assets.into_iter().map(|(_, asset)| asset).collect();
    let notes = notes(workspace, &assets)?;
    Ok(Catalogue { assets, notes, currency: project.file.catalogue.prices.currency.clone() })
}

/// The name of an asset: that in SQL for what is a table.
pub(crate) fn shown(project: &Project, id: &NodeId) -> String {
    match id.kind {
        NodeKind::Model | NodeKind::Learner => {
            project.ref_relation(&id.name).unwrap_or_else(|_| id.name.clone())
        }
        _ => id.name.clone(),
    }
}

/// What the files say.
fn declared(project: &Project, id: &NodeId) -> Asset {
    let info = project.graph.info(id);
    let mut asset = Asset {
        kind: id.kind.word().to_owned(),
        name: shown(project, id),
        is_table: matches!(id.kind, NodeKind::Source | NodeKind::Model | NodeKind::Learner),
        file: info.and_then(|info| info.file.clone()),
        tags: info.map(|info| info.tags.clone()).unwrap_or_default(),
        certification: "draft".to_owned(),
        ..Asset::default()
    };
    let name = &id.name;
    match id.kind {
        NodeKind::Connection => {
            asset.description =
                project.connections.get(name).and_then(|one| one.description.clone());
        }
        NodeKind::Sync => {
            asset.description = project.syncs.get(name).and_then(|one| one.description.clone());
        }
        NodeKind::Source => {
            if let Some(source) = project.sources.get(name) {
                asset.description = source.description.clone();
                asset.file =
                    source.declared_in.as_ref().map(|(file, _)| file.clone()).or(asset.file);
                described(&mut asset, &source.columns, &source.tests);
                landed(project, &mut asset);
            }
        }
        NodeKind::Model => {
            if let Some(model) = project.models.get(name) {
                asset.description = model.description.clone();
                asset.contract = model.config.contract;
                described(&mut asset, &model.columns, &model.tests);
                asset.tests += model.unit_tests.len() as u64;
            }
        }
        NodeKind::Semantic => {
            if let Some(semantic) = project.semantics.get(name) {
                asset.description = semantic.description.clone();
                asset.owner = semantic.owner.clone();
            }
        }
        NodeKind::Metric => {
            let mut views = project.semantics.values();
            if let Some((view, metric)) =
                views.find_map(|view| Some((view, view.metrics.get(name)?)))
            {
                asset.description = metric.description.clone();
                asset.owner = metric.owner.clone().or_else(|| view.owner.clone());
                asset.certification = metric.certification.word().to_owned();
                asset.labels = metric
                    .label
                    .texts()
                    .map(str::to_owned)
                    .chain(metric.synonyms.iter().cloned())
                    .collect();
                asset.file = Some(view.file.clone());
            }
        }
        NodeKind::Dashboard => {
            if let Some(board) = project.dashboards.get(name) {
                asset.description = board.description.clone();
                asset.owner = board.owner.clone();
                asset.labels = board.title.texts().map(str::to_owned).collect();
            }
        }
        NodeKind::Query => {
            if let Some(query) = project.queries.get(name) {
                asset.description = query.description.clone();
                asset.owner = query.owner.clone();
            }
        }
        NodeKind::Learner => {
            asset.description = project.learners.get(name).and_then(|one| one.description.clone());
        }
        NodeKind::Policy => {
            asset.description = project.policies.get(name).and_then(|one| one.description.clone());
        }
        NodeKind::Action => {
            asset.description = project.actions.get(name).and_then(|one| one.description.clone());
        }
        NodeKind::Quality => {
            asset.description = project.qualities.get(name).and_then(|one| one.description.clone());
        }
        NodeKind::Dictionary => {
            asset.description =
                project.dictionaries.get(name).and_then(|one| one.description.clone());
        }
        NodeKind::Merge => {
            asset.description = project.merges.get(name).and_then(|one| one.description.clone());
        }
        NodeKind::Link
        | NodeKind::Topic
        | NodeKind::Split
        | NodeKind::Schedule
        | NodeKind::Alert
        | NodeKind::Rule
        | NodeKind::Grant
        | NodeKind::Extension
        | NodeKind::Exposure => {}
    }
    asset
}

fn described(asset: &mut Asset, columns: &[ColumnProperties], tests: &[ModelTest]) {
    asset.columns = columns
        .iter()
        .map(|column| AssetColumn {
            name: column.name.clone(),
            kind: column.data_type.clone(),
            description: column.description.clone(),
            masked: false,
        })
        .collect();
    asset.tests = tests.len() as u64;
}

/// What the stream that lands a table says about its columns.
fn landed(project: &Project, asset: &mut Asset) {
    let Some(landing) =
        project.sources.get(&asset.name).and_then(|source| source.landed_by.as_ref())
    else {
        return;
    };
    let Some(sync) = project.syncs.get(&landing.sync) else { return };
    asset.file.get_or_insert_with(|| sync.file.clone());
    let Some(stream) = sync.streams.iter().find(|stream| stream.stream == landing.stream) else {
        return;
    };
    asset.contract = !stream.columns.is_empty()
        && stream.columns.iter().all(|column| column.column_type.is_some());
    for column in &stream.columns {
        let known = asset.columns.iter().position(|one| one.name == column.name);
        let at = known.unwrap_or_else(|| {
            asset.columns.push(AssetColumn { name: column.name.clone(), ..AssetColumn::default() });
            asset.columns.len() - 1
        });
        if let Some(one) = asset.columns.get_mut(at) {
            one.masked |= column.mask.is_some();
            one.kind = one.kind.take().or_else(|| column.column_type.clone());
        }
    }
}

/// What the lake says.
fn fill(asset: &mut Asset, seen: &Seen) {
    let Some(state) = &seen.state else { return };
    (asset.version, asset.rows, asset.size_bytes) =
        (Some(state.version), state.rows, Some(state.bytes));
    asset.committed_at = Some(state.committed_at);
    let mut said: BTreeMap<String, AssetColumn> =
        asset.columns.drain(..).map(|column| (column.name.clone(), column)).collect();
    for field in state.schema.fields() {
        let said = said.remove(field.name()).unwrap_or_default();
        let kind = Some(field.data_type().to_string().to_lowercase());
        asset.columns.push(AssetColumn { name: field.name().clone(), kind, ..said });
    }
}

/// How old the rows of a landed table are, and how old they may be, both in seconds.
fn age(workspace: &Workspace, asset: &Asset) -> Option<(i64, i64)> {
    let source = workspace.project.sources.get(&asset.name)?;
    let limit = source.freshness.as_ref().and_then(|rule| rule.warn_after.or(rule.error_after));
    let limit = match limit {
        Some(limit) => limit.seconds(),
        None => workspace.project.file.catalogue.fresh_within.micros / 1_000_000,
    };
    Some((seconds_since(asset.committed_at?, workspace.now()), limit.max(1)))
}

/// What the tests of an asset said when they were last run.
fn tested(asset: &Asset, builds: &BTreeMap<String, Build>, work: &Work) -> Option<String> {
    if asset.tests == 0 || !asset.is_table {
        return None;
    }
    if let Some(status) = work.tested(&asset.name) {
        return Some(status.to_owned());
    }
    match builds.get(&asset.name) {
        Some(build) if build.tests == "passed" || build.tests == "warned" => {
            Some(build.tests.clone())
        }
        None if asset.kind == "source" && work.built => Some("passed".to_owned()),
        _ => None,
    }
}

/// What people say in `flywheel.yaml`.
fn said<'a>(project: &Project, assets: impl Iterator<Item = &'a mut Asset>) {
    for asset in assets {
        let said = project.file.catalogue.said(&asset.kind, &asset.name);
        asset.owner = said.owner.or_else(|| asset.owner.take());
        asset.description = asset.description.take().or(said.description);
        asset.tags.extend(said.tags);
        asset.tags.sort();
        asset.tags.dedup();
        asset.labels.extend(said.synonyms);
        if said.certified == Some(true) {
            asset.certification = "certified".to_owned();
        } else if asset.certification.is_empty() || said.certified == Some(false) {
            asset.certification = "draft".to_owned();
        }
        for column in &mut asset.columns {
            column.masked |= said.masked.contains(&column.name);
        }
    }
}

/// Who read what.
fn used<'a>(workspace: &Workspace, assets: impl Iterator<Item = &'a mut Asset>) -> Result<()> {
    let from = workspace.now().plus_micros(-WINDOW_DAYS * DAY_US);
    let mut reads: BTreeMap<String, (u64, BTreeSet<String>, Option<flywheel_base::Timestamp>)> =
        BTreeMap::new();
    for read in workspace.store.reads_since(from)? {
        let (count, readers, last) = reads.entry(read.asset).or_default();
        *count += read.count;
        *last = (*last).max(Some(read.last_at));
        // What is made from it is counted as a consumer, not once more as a reader.
        if ["sql", "metric", "query"].contains(&read.via.as_str()) {
            readers.insert(read.reader);
        }
    }
    for asset in assets.filter(|asset| asset.is_table || asset.kind == "metric") {
        if let Some((count, readers, last)) = reads.get(&asset.name) {
            (asset.reads, asset.readers, asset.last_read_at) =
                (*count, readers.len() as u64, *last);
        }
    }
    Ok(())
}

/// What is said about assets that do not exist; of a retired one that is no mistake.
fn notes(workspace: &Workspace, assets: &[Asset]) -> Result<Vec<String>> {
    let mut known: Vec<(&str, &str)> =
        assets.iter().map(|asset| (asset.kind.as_str(), asset.name.as_str())).collect();
    let retired = workspace.store.retirements()?;
    let ids: Vec<(&str, &str)> =
        retired.iter().filter_map(|one| one.asset.split_once(':')).collect();
    known.extend(ids);
    let idle = workspace.project.file.catalogue.idle(&known);
    Ok(idle.map(|pattern| format!("flywheel.yaml: `catalogue.assets` says something about \"{pattern}\", which no asset is called")).collect())
}
