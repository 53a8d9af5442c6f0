//! What commands do outside a turn, each recorded as a run.

use std::collections::BTreeSet;

use flywheel_base::{Error, ErrorKind, Result, suggest};
use flywheel_project::graph::Known;
use flywheel_project::resource::sync::{Read, Sync};
use flywheel_state::{EnvironmentMove, OutboxEntry, OutboxStatus, PolicyState, TaskOutcome};
use flywheel_transform::{
    BuildOptions, BuildReport, FreshnessOutcome, Lineage, LineageStep, TestOutcome,
};
use flywheel_warehouse::TableName;
use serde_json::json;

use crate::quarantine::mend::{self, Edit};
use crate::quarantine::{self, Replayed};
use crate::recorder::{Observer, Recorder, Timer};
use crate::side_by_side::{self, Piece};
use crate::task::learn::{Fits, When};
use crate::task::sync::{Landed, Synced};
use crate::task::{build as build_task, learn as learn_task, sync as sync_task};
use crate::{Workspace, environment, openlineage, schedule, upkeep};

/// Lands the syncs `names`, all if none is named; with `restart`, streams of changes are read whole
/// again, whatever their position, and where a sync has none its incremental ones from their start.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown sync, [`flywheel_base::ErrorKind::Invalid`]
/// if one that is to be restarted reads everything each time, else the first sync's error after all
/// were tried.
pub async fn sync(
    workspace: &Workspace,
    names: &[String],
    restart: bool,
    observer: &dyn Observer,
) -> Result<Vec<Landed>> {
    Box::pin(sync_each(workspace, names, restart, observer)).await?.all()
}

/// As [`sync`], with what landed beside everything that failed.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown sync, else what keeps every sync from being
/// tried.
pub async fn sync_each(
    workspace: &Workspace,
    names: &[String],
    restart: bool,
    observer: &dyn Observer,
) -> Result<Synced> {
    let follows = |sync: &Sync| sync.streams.iter().any(|stream| stream.read == Read::Cdc);
    if restart && names.is_empty() && !workspace.project.syncs.values().all(|sync| follows(sync)) {
        return Err(Error::invalid("which syncs are to be read from their start?")
            .hint("Name them: `flywheel sync NAME --restart`."));
    }
    let names = chosen(names, workspace.project.syncs.keys(), "sync")?;
    let recorder = start(workspace, observer, "sync")?;
    let synced = all_syncs(workspace, &recorder, &names, restart).await;
    Box::pin(ended(workspace, recorder, synced)).await
}

/// Lands the sync `name`, with the streams `streams` read from their start; the others go on where they were.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown sync or stream, else what keeps the sync from being tried.
pub async fn sync_anew(
    workspace: &Workspace,
    name: &str,
    streams: &[String],
    observer: &dyn Observer,
) -> Result<Synced> {
    chosen(&[name.to_owned()], workspace.project.syncs.keys(), "sync")?;
    let declared = workspace.project.syncs.get(name).into_iter().flat_map(|sync| &sync.streams);
    chosen(streams, declared.map(|stream| &stream.stream), &format!("stream of sync \"{name}\":"))?;
    let recorder = start(workspace, observer, "sync")?;
    let restart = sync_task::Restart::Streams(streams);
    let synced = Box::pin(sync_task::run_from(workspace, &recorder, name, restart)).await;
    let mut synced = Synced::from(synced);
    synced.errors.append(&mut synced.alone);
    synced.errors.extend(sync_task::blocked(&synced.landed));
    Box::pin(ended(workspace, recorder, synced)).await
}

/// Ends a run of syncs.
async fn ended(workspace: &Workspace, recorder: Recorder<'_>, synced: Synced) -> Result<Synced> {
    // A stream that stops or is refused alone, perhaps for days, keeps nobody else's table from being kept up.
    let alone = |error: &Error| {
        use ErrorKind::{Blocked, Denied, Invalid, NotFound};
        matches!(error.kind(), Blocked | Denied | Invalid | NotFound)
    };
    let some_went_on = !synced.landed.is_empty() && synced.errors.iter().all(alone);
    if synced.errors.is_empty() || some_went_on {
        let landed = synced.landed.iter().filter(|one| one.blocked.is_none());
        let tables = landed.filter_map(|landed| TableName::parse(&landed.table).ok());
        let tables = tables.map(|table| sync_task::location_of(&table)).collect::<Result<_>>();
        upkeep::keep_up(workspace, &recorder, tables).await;
    }
    recorder.finish(synced.errors.first())?;
    Box::pin(openlineage::settle(workspace)).await;
    Ok(synced)
}

/// Lands syncs, those that write different tables side by side.
///
/// # Errors
/// The first sync's error, in the order of `names`, after all were tried.
pub(crate) async fn syncs(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    names: &[String],
    restart: bool,
) -> Result<Vec<Landed>> {
    all_syncs(workspace, recorder, names, restart).await.all()
}

/// What came of all syncs of `names`; tables that readers do not see are among the errors.
async fn all_syncs(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    names: &[String],
    restart: bool,
) -> Synced {
    let mut all = Synced::default();
    for mut one in each_synced(workspace, recorder, names, restart).await {
        all.errors.append(&mut one.errors);
        all.errors.append(&mut one.alone);
        all.errors.extend(sync_task::blocked(&one.landed));
        all.landed.append(&mut one.landed);
    }
    all
}

/// What came of each sync of `names`.
pub(crate) async fn each_sync(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    names: &[String],
    restart: bool,
) -> Vec<Result<Vec<Landed>>> {
    let each = each_synced(workspace, recorder, names, restart).await;
    each.into_iter().map(Synced::all).collect()
}

/// As [`each_sync`], with what landed beside everything that failed.
pub(crate) async fn each_synced(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    names: &[String],
    restart: bool,
) -> Vec<Synced> {
    let piece = |name: &String| Piece {
        after: Vec::new(),
        claims: schedule::claims::of_sync(&workspace.project, name),
    };
    let work = |place: usize| {
        let name = names.get(place);
        async move {
            let result = match name {
                Some(name) => {
                    Box::pin(sync_task::run_each(workspace, recorder, name, restart)).await
                }
                None => Err(Error::internal("a sync of a run is not there")),
            };
            (true, Synced::from(result))
        }
    };
    let pieces = names.iter().map(piece).collect();
    let at_once = workspace.project.file.workers.get() as usize;
    side_by_side::all(pieces, at_once, work, |_, _| ()).await
}

/// Builds and tests models; what fails is in the report.
///
/// # Errors
/// Those of [`flywheel_transform::build`].
pub async fn build(
    workspace: &Workspace,
    options: BuildOptions<'_>,
    observer: &dyn Observer,
) -> Result<BuildReport> {
    let recorder = start(workspace, observer, "build")?;
    let result = build_task::run(workspace, &recorder, options).await;
    if let Ok(report) = &result
        && !report.published.is_empty()
    {
        environment::clean_up(workspace, &recorder).await;
        let tables = upkeep::tables_of(workspace, &report.published);
        upkeep::keep_up(workspace, &recorder, tables).await;
    }
    let blocked = result.as_ref().ok().filter(|report| !report.passed()).map(build_task::blocked);
    recorder.finish(result.as_ref().err().or(blocked.as_ref()))?;
    Box::pin(openlineage::settle(workspace)).await;
    result
}

/// Tests what readers see.
///
/// # Errors
/// Those of [`flywheel_transform::test`].
pub async fn test(
    workspace: &Workspace,
    select: &[String],
    exclude: &[String],
    known: &Known,
) -> Result<Vec<TestOutcome>> {
    flywheel_transform::test(workspace.world(), select, exclude, known).await
}

/// How old the newest rows of sources are, for those that declare how old they may be.
///
/// # Errors
/// Those of [`flywheel_transform::freshness`].
pub async fn freshness(
    workspace: &Workspace,
    select: &[String],
    exclude: &[String],
) -> Result<Vec<FreshnessOutcome>> {
    flywheel_transform::freshness(workspace.world(), select, exclude).await
}

/// Fits the learners `names` now, or those that are due if none is named: what was fitted beside what failed.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown learner, else what keeps every learner from being tried.
pub async fn learn(
    workspace: &Workspace,
    names: &[String],
    observer: &dyn Observer,
) -> Result<Fits> {
    let when = if names.is_empty() { When::Due } else { When::Now };
    let names = chosen(names, workspace.project.learners.keys(), "learner")?;
    let recorder = start(workspace, observer, "learn")?;
    let turn = workspace.store.last_turn()?.map_or(0, |turn| turn.turn);
    let result = learn_task::run(workspace, &recorder, turn, &names, when).await;
    let failed = match &result {
        Ok(fits) => fits.errors.first(),
        Err(error) => Some(error),
    };
    recorder.finish(failed)?;
    Box::pin(openlineage::settle(workspace)).await;
    result
}

/// Lands rows of the quarantine that can be read now.
///
/// # Errors
/// Those of the sources and of the lake.
pub async fn quarantine_replay(
    workspace: &Workspace,
    sync: Option<&str>,
    observer: &dyn Observer,
) -> Result<Replayed> {
    let recorder = start(workspace, observer, "quarantine")?;
    let result = quarantine::replay(workspace, &recorder, sync).await;
    recorder.finish(result.as_ref().err())?;
    result
}

/// Lands rows of the quarantine with values that somebody gives; those that still do not fit stay.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for a row or column that is not there,
/// [`flywheel_base::ErrorKind::Conflict`] if a row is not open any more,
/// [`flywheel_base::ErrorKind::Blocked`] if it cannot be mended here; else those of source and lake.
pub async fn quarantine_edit(
    workspace: &Workspace,
    edit: &Edit,
    observer: &dyn Observer,
) -> Result<Replayed> {
    let recorder = start(workspace, observer, "quarantine")?;
    let result = Box::pin(mend::edit(workspace, &recorder, edit)).await;
    recorder.finish(result.as_ref().err())?;
    result
}

/// Gives single rows of the quarantine up for a reason; returns how many.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] without a reason, [`flywheel_base::ErrorKind::NotFound`] for a row that is not
/// there, [`flywheel_base::ErrorKind::Conflict`] if one is not open any more; else those of the lake.
pub async fn quarantine_dismiss(
    workspace: &Workspace,
    rows: &[String],
    reason: &str,
    by: &str,
    observer: &dyn Observer,
) -> Result<usize> {
    let recorder = start(workspace, observer, "discard")?;
    let result = mend::dismiss(workspace, &recorder, rows, reason, by).await;
    recorder.finish(result.as_ref().err())?;
    result
}

/// Lets readers of `to` see what the environment `from` has, as a run of its own; none if they do already.
///
/// # Errors
/// Those of [`environment::promote`].
pub fn promote(
    workspace: &Workspace,
    from: &str,
    to: &str,
    observer: &dyn Observer,
) -> Result<Option<EnvironmentMove>> {
    let recorder = start(workspace, observer, "promote")?;
    let timer = recorder.started("promote", &format!("{from} → {to}"));
    let result = environment::promote(workspace, from, to);
    moved(recorder, timer, result, &format!("{to} has everything of {from} already"))
}

/// Takes the newest promotion to `environment` back, as a run of its own; none if none is left.
///
/// # Errors
/// Those of [`environment::roll_back`].
pub fn roll_back(
    workspace: &Workspace,
    environment: &str,
    observer: &dyn Observer,
) -> Result<Option<EnvironmentMove>> {
    let recorder = start(workspace, observer, "rollback")?;
    let timer = recorder.started("rollback", environment);
    let result = environment::roll_back(workspace, environment);
    let nothing = format!("no promotion to {environment} is left to take back");
    moved(recorder, timer, result, &nothing)
}

/// Records what a move of readers did, and says it in the run's log.
fn moved(
    recorder: Recorder<'_>,
    timer: Timer,
    result: Result<Option<EnvironmentMove>>,
    nothing: &str,
) -> Result<Option<EnvironmentMove>> {
    let result = recorder.settled(timer, result, |done| {
        let detail = done.as_ref().map(|done| {
            json!({
                "number": done.number, "environment": done.environment, "made_from": done.made_from,
                "moved": done.moved, "dropped": done.dropped, "stale": done.stale,
            })
        });
        let detail = detail.unwrap_or_else(|| json!({}));
        ("succeeded".to_owned(), TaskOutcome { detail, ..TaskOutcome::default() })
    });
    match &result {
        Ok(None) => recorder.notice(nothing),
        Ok(Some(done)) => {
            for (names, became) in [(&done.moved, "moved"), (&done.dropped, "dropped")] {
                if !names.is_empty() {
                    let environment = &done.environment;
                    recorder.notice(format!("{became} in {environment}: {}", names.join(", ")));
                }
            }
            if !done.stale.is_empty() {
                recorder.notice(format!(
                    "{} read what moved and were built before it changed: build {} now",
                    done.stale.join(", "),
                    done.environment
                ));
            }
        }
        Err(_) => {}
    }
    recorder.finish(result.as_ref().err())?;
    result
}

/// Stops a policy: no decisions, no deliveries, until it is resumed.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown policy.
pub fn pause(workspace: &Workspace, name: &str, reason: &str) -> Result<()> {
    let state = policy(workspace, name)?;
    let state = PolicyState { paused: true, reason: Some(reason.to_owned()), ..state };
    workspace.store.record_policy(name, &state, workspace.now())
}

/// Lets a paused policy go on.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown policy; [`flywheel_base::ErrorKind::Invalid`]
/// if its own file pauses it.
pub fn resume(workspace: &Workspace, name: &str) -> Result<()> {
    let state = policy(workspace, name)?;
    if workspace.project.policies.get(name).is_some_and(|policy| policy.paused) {
        return Err(Error::invalid(format!("policy \"{name}\" is paused by its own file"))
            .hint("Remove `paused: true` from the policy's file."));
    }
    workspace.store.record_policy(
        name,
        &PolicyState { paused: false, reason: None, ..state },
        workspace.now(),
    )
}

/// Makes a policy's dead letters due again; returns how many.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown policy.
pub fn retry(workspace: &Workspace, name: &str) -> Result<usize> {
    policy(workspace, name)?;
    workspace.store.revive(name, workspace.now())
}

/// What [`discard`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discarded {
    /// Deliveries that are given up for good.
    pub discarded: usize,
    /// Deliveries that are on their way, or can still leave, and stay.
    pub kept: usize,
}

/// Gives up deliveries of a policy for good, of one action if asked for: its dead letters, and what waits because its
/// action or the policy itself is not declared any more.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for a policy or an action that neither is declared nor has deliveries;
/// [`flywheel_base::ErrorKind::Invalid`] without a reason.
pub fn discard(
    workspace: &Workspace,
    name: &str,
    action: Option<&str>,
    reason: &str,
) -> Result<Discarded> {
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(Error::invalid(format!(
            "no reason is given why deliveries of policy \"{name}\" are discarded"
        ))
        .hint("Say why: it is kept with each delivery."));
    }
    let project = &workspace.project;
    let mut found = workspace.store.undelivered()?;
    found.retain(|entry| entry.policy == name && entry.status != OutboxStatus::Discarded);
    if found.is_empty() {
        policy(workspace, name)?;
    }
    if let Some(action) = action
        && !project.actions.contains_key(action)
        && !found.iter().any(|entry| entry.action == action)
    {
        let of_policy = found.iter().map(|entry| entry.action.as_str());
        let known: BTreeSet<&str> =
            project.actions.keys().map(String::as_str).chain(of_policy).collect();
        return Err(Error::not_found(format!(
            "policy \"{name}\" has no delivery by an action \"{action}\""
        ))
        .hint(suggest::hint(action, known)));
    }
    found.retain(|entry| action.is_none_or(|action| entry.action == action));
    let declared = project.policies.contains_key(name);
    let ends = |entry: &&OutboxEntry| match entry.status {
        OutboxStatus::Dead => true,
        // What is due of a declared action may be leased at this moment.
        OutboxStatus::Pending => !declared || !project.actions.contains_key(&entry.action),
        // What waits for approval is rejected instead.
        OutboxStatus::Waiting
        | OutboxStatus::Sending
        | OutboxStatus::Delivered
        | OutboxStatus::Discarded => false,
    };
    let keys: Vec<String> = found.iter().filter(ends).map(|entry| entry.key.clone()).collect();
    let discarded = workspace.store.discard(&keys, reason, workspace.now())?;
    Ok(Discarded { discarded, kept: found.len() - discarded })
}

/// The graph around one table: everything it comes from and everything that reads it.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown table.
pub fn table_lineage(workspace: &Workspace, table: &str) -> Result<Lineage> {
    let whole = flywheel_transform::lineage(&workspace.project)?;
    let Some(start) = whole.nodes.iter().find(|node| node.table.as_deref() == Some(table)) else {
        let known: Vec<&str> =
            whole.nodes.iter().filter_map(|node| node.table.as_deref()).collect();
        return Err(Error::not_found(format!("no table \"{table}\" in the project"))
            .hint(suggest::hint(table, known)));
    };
    let mut kept = BTreeSet::from([start.id.clone()]);
    for upstream in [true, false] {
        let mut front = vec![start.id.clone()];
        while let Some(at) = front.pop() {
            for edge in &whole.edges {
                let (here, next) =
                    if upstream { (&edge.to, &edge.from) } else { (&edge.from, &edge.to) };
                if *here == at && kept.insert(next.clone()) {
                    front.push(next.clone());
                }
            }
        }
    }
    let nodes = whole.nodes.into_iter().filter(|node| kept.contains(&node.id)).collect();
    let edges = whole
        .edges
        .into_iter()
        .filter(|edge| kept.contains(&edge.from) && kept.contains(&edge.to))
        .collect();
    Ok(Lineage { nodes, edges })
}

/// The way of one column of a model from the landed tables.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown model or column.
pub async fn column_lineage(
    workspace: &Workspace,
    table: &str,
    column: &str,
) -> Result<Vec<LineageStep>> {
    flywheel_transform::column_lineage(workspace.world(), table, column).await
}

fn policy(workspace: &Workspace, name: &str) -> Result<PolicyState> {
    let known = &workspace.project.policies;
    if !known.contains_key(name) {
        return Err(Error::not_found(format!("no policy \"{name}\""))
            .hint(suggest::hint(name, known.keys().map(String::as_str).collect::<Vec<_>>())));
    }
    workspace.store.policy(name)
}

/// The names that are asked for, all of `known` if none is.
pub(crate) fn chosen<'a>(
    asked: &[String],
    known: impl Iterator<Item = &'a String>,
    kind: &str,
) -> Result<Vec<String>> {
    let known: Vec<String> = known.cloned().collect();
    if asked.is_empty() {
        return Ok(known);
    }
    for name in asked {
        if !known.contains(name) {
            return Err(Error::not_found(format!("no {kind} \"{name}\""))
                .hint(suggest::hint(name, known.iter().map(String::as_str).collect::<Vec<_>>())));
        }
    }
    Ok(asked.to_vec())
}

pub(crate) fn start<'a>(
    workspace: &'a Workspace,
    observer: &'a dyn Observer,
    kind: &str,
) -> Result<Recorder<'a>> {
    Recorder::start(workspace, observer, kind, None, workspace.now())
}
