//! The wheel at a glance.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use flywheel_base::{Error, Result, Timestamp};
use flywheel_decision::canary::running;
use flywheel_decision::champion::champion;
use flywheel_decision::conclude::concluded;
use flywheel_decision::{drift, lift, outcome};
use flywheel_project::resource::policy::Choose;
use serde::Serialize;

use crate::Workspace;
use crate::follow::followed::{Followed, followed};
use crate::halt::Halted;

/// How long before the last turn a worsening is shown at most, in microseconds: a week.
const DRIFT_SHOWN_US: i64 = 7 * 86_400_000_000;

/// How many of the newest times at which a policy was asked are looked at, for the last one at which it decided.
const DECIDED_LOOKED_AT: u32 = 100;

/// What `flywheel status` shows.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The project.
    pub project: String,
    /// Whether its data is simulated.
    pub simulated: bool,
    /// The last turn and its moment, and whether it is complete.
    pub turn: Option<TurnStatus>,
    /// Landed tables.
    pub landed: Vec<TableStatus>,
    /// Rows set aside and not yet mended.
    pub quarantined: i64,
    /// Models readers see, and those whose last build is blocked.
    pub models: usize,
    /// Models whose last build is not what readers see, and landed tables that are held.
    pub blocked: Vec<String>,
    /// Learners.
    pub learners: Vec<LearnerStatus>,
    /// Syncs that a server follows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub followed: Vec<FollowedStatus>,
    /// Policies.
    pub policies: Vec<PolicyStatus>,
    /// What all policies bring together, against the holdout of all of them, turn by turn, oldest first; none without one.
    pub together: Vec<PolicyTurn>,
    /// What stops all policies at once, if they are stopped.
    pub halted: Option<Halted>,
    /// Deliveries that are due or being sent.
    pub outbox_pending: u64,
    /// Deliveries that wait for a person's approval.
    pub outbox_waiting: u64,
    /// Deliveries given up.
    pub outbox_dead: u64,
    /// Deliveries that a person has given up for good and that are not forgotten yet.
    pub outbox_discarded: u64,
}

/// The last turn.
#[derive(Clone, Debug, Serialize)]
pub struct TurnStatus {
    /// Its number.
    pub turn: i64,
    /// The moment it worked for.
    pub at: String,
    /// Whether it is complete; if not, the next `flywheel turn` completes it.
    pub complete: bool,
}

/// A landed table.
#[derive(Clone, Debug, Serialize)]
pub struct TableStatus {
    /// Its name.
    pub name: String,
    /// Its rows, if known; not while changes wait to be merged into its files.
    pub rows: Option<u64>,
    /// How many changes wait to be merged into its files, if that may be told.
    pub waiting_changes: Option<u64>,
    /// Its version.
    pub version: i64,
}

/// A learner.
#[derive(Clone, Debug, Serialize)]
pub struct LearnerStatus {
    /// Its name.
    pub learner: String,
    /// The artifact that is served, shortened.
    pub artifact: Option<String>,
    /// When it was fitted.
    pub fitted_at: Option<String>,
    /// Why it is held at this artifact and not fitted, if it is.
    pub pinned: Option<String>,
    /// What got worse in reality within the last week, as a sentence.
    pub drift: Option<String>,
    /// Why it could not be fitted when that was tried last; what it learned before stays.
    pub failed: Option<String>,
    /// The last measures, each with what it must beat.
    pub measures: Vec<MeasureStatus>,
}

/// A sync that a server follows.
#[derive(Clone, Debug, Serialize)]
pub struct FollowedStatus {
    /// Its name.
    pub sync: String,
    /// `stopped`, `starting`, `following`, `failing`, `partial`, `waiting`, `paused` or `failed`.
    pub state: String,
    /// Since when it is followed without an end.
    pub since: Option<String>,
    /// Everything that was in the source at this moment is committed.
    pub reached: Option<String>,
    /// Why it waits or is paused.
    pub reason: Option<String>,
    /// How often it failed in a row.
    pub attempt: Option<u32>,
    /// When it is tried again.
    pub next_at: Option<String>,
    /// Why it is tried again, or why it failed for good.
    pub error: Option<String>,
    /// What is set aside while the rest goes on, by the names of tasks.
    pub aside: Vec<String>,
}

impl From<Followed> for FollowedStatus {
    fn from(one: Followed) -> Self {
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        let failing = one.failing();
        Self {
            state: one.state.word().to_owned(),
            since: text(one.since),
            reached: text(one.reached()),
            attempt: failing.map(|failing| failing.attempt),
            next_at: text(failing.and_then(|failing| failing.next_at)),
            error: one.trouble().map(str::to_owned),
            aside: one.aside().map(|(name, _)| name.clone()).collect(),
            reason: one.reason.clone(),
            sync: one.sync,
        }
    }
}

/// One measure.
#[derive(Clone, Debug, Serialize)]
pub struct MeasureStatus {
    /// Against held-back data (`fit`) or `reality`.
    pub against: String,
    /// The measure.
    pub measure: String,
    /// Its value.
    pub value: Option<f64>,
    /// That of the simple answer.
    pub baseline: Option<f64>,
    /// Over how many.
    pub count: i64,
}

/// A policy.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyStatus {
    /// Its name.
    pub policy: String,
    /// Why it is paused, if it is.
    pub paused: Option<String>,
    /// Why it could not decide when it was asked last; what it decided before stays.
    pub failed: Option<String>,
    /// Why its outcomes could not be read when that was tried last: until they can be, nothing is learned, promoted or taken
    /// back by it.
    pub unread: Option<String>,
    /// Up to when its outcomes are joined, if they cannot be read.
    pub unread_since: Option<String>,
    /// Why its newest lift is not to be believed: the arms are more uneven than chance allows.
    pub split_broken: Option<String>,
    /// For how many units it ordered nothing when it decided last, because its learner has no forecast of them.
    pub without_forecast: Option<i64>,
    /// Who decides by a promotion, if its file does not say it.
    pub promoted: Option<String>,
    /// All decisions so far.
    pub decisions: i64,
    /// Those in the holdout.
    pub held_out: i64,
    /// Deliveries made.
    pub actions: i64,
    /// Outcomes joined.
    pub outcomes: i64,
    /// What is measured, turn by turn, oldest first.
    pub turns: Vec<PolicyTurn>,
}

/// Units that a policy left out.
#[derive(Clone, Debug, Serialize)]
pub struct LeftOut {
    /// The turn.
    pub turn: i64,
    /// Why, such as `consent`.
    pub reason: String,
    /// How many.
    pub units: i64,
}

/// A policy at one turn.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyTurn {
    /// The turn.
    pub turn: i64,
    /// Decisions of this turn.
    pub decisions: i64,
    /// Decisions so far whose window has closed.
    pub measured: i64,
    /// Share with an outcome, treatment.
    pub treated_rate: Option<f64>,
    /// Share with an outcome, holdout.
    pub holdout_rate: Option<f64>,
    /// The difference.
    pub lift: Option<f64>,
    /// Lower end of its 95 % interval.
    pub lower: Option<f64>,
    /// Upper end of its 95 % interval.
    pub upper: Option<f64>,
    /// Probability of arms at least this uneven if assignment works; below 0.001 the lift is not to be believed.
    pub split_p: Option<f64>,
    /// The artifact that scored.
    pub artifact: Option<String>,
}

/// Collects the status.
///
/// # Errors
/// Those of lake and metadata.
pub async fn status(workspace: &Workspace) -> Result<Status> {
    let (outbox_pending, _, outbox_dead) = workspace.store.outbox_counts()?;
    let last = workspace.store.last_turn()?;
    let published = workspace.store.publications()?;
    Ok(Status {
        project: workspace.project.file.name.clone(),
        simulated: workspace.project.file.simulated,
        turn: last.map(|turn| TurnStatus {
            turn: turn.turn,
            at: turn.logical_at.to_string(),
            complete: turn.status == flywheel_state::TurnStatus::Complete,
        }),
        landed: landed(workspace).await?,
        quarantined: single(
            workspace,
            "select count(*) from system.quarantine where status = 'open'",
        )
        .await?,
        models: published.len(),
        blocked: blocked(workspace)?,
        learners: learners(workspace).await?,
        followed: followed(workspace)?.into_iter().map(FollowedStatus::from).collect(),
        policies: policies(workspace).await?,
        together: together(workspace).await?,
        halted: workspace.store.halt()?.map(Halted::from),
        outbox_pending,
        outbox_waiting: workspace.store.outbox_by_policy()?.iter().map(|one| one.waiting).sum(),
        outbox_dead,
        outbox_discarded: workspace.store.outbox_discarded()?,
    })
}

/// Models whose readers keep the last good version, because the newest build of them failed, and landed tables whose
/// readers are held back.
///
/// # Errors
/// Those of the metadata.
pub fn blocked(workspace: &Workspace) -> Result<Vec<String>> {
    let mut blocked = crate::task::build::blocked_models(&workspace.store)?;
    blocked.extend(workspace.store.holds()?.into_iter().map(|hold| hold.name));
    Ok(blocked)
}

async fn landed(workspace: &Workspace) -> Result<Vec<TableStatus>> {
    let mut tables = BTreeMap::new();
    for sync in workspace.project.syncs.values() {
        for stream in &sync.streams {
            let table = crate::task::sync::destination(stream)?;
            if let Some(head) =
                workspace.lake.head(&crate::task::sync::location_of(&table)?).await?
            {
                let name = table.to_string();
                tables.insert(
                    name.clone(),
                    TableStatus {
                        name,
                        rows: head.rows,
                        waiting_changes: Some(head.waiting.rows),
                        version: head.version,
                    },
                );
            }
        }
    }
    Ok(tables.into_values().collect())
}

/// How learners stand; what they are for users of whom little or much is known is in `system.evaluations` alone.
///
/// # Errors
/// Those of lake and metadata.
pub async fn learners(workspace: &Workspace) -> Result<Vec<LearnerStatus>> {
    let sql = "select learner, against, measure, value, baseline, count from (
        select *, row_number() over (partition by learner, against, measure order by at desc) as newest
        from system.evaluations where measure not like '%, users with %') as e
        where newest = 1 order by learner, against, measure";
    let rows = Rows::query(workspace, sql).await?;
    let mut measures: BTreeMap<String, Vec<MeasureStatus>> = BTreeMap::new();
    for row in 0..rows.len() {
        measures.entry(rows.text(row, 0)?.unwrap_or_default()).or_default().push(MeasureStatus {
            against: rows.text(row, 1)?.unwrap_or_default(),
            measure: rows.text(row, 2)?.unwrap_or_default(),
            value: rows.number(row, 3)?,
            baseline: rows.number(row, 4)?,
            count: rows.integer(row, 5)?.unwrap_or_default(),
        });
    }
    let last = workspace.store.last_turn()?.map_or_else(|| workspace.now(), |turn| turn.logical_at);
    let recent = last.plus_micros(-DRIFT_SHOWN_US);
    let mut all = Vec::new();
    for name in workspace.project.learners.keys() {
        let newest = workspace.store.served_artifact(name)?;
        let worse = workspace.store.newest_drift(name)?.filter(|one| one.at >= recent);
        all.push(LearnerStatus {
            learner: name.clone(),
            pinned: workspace.store.pin(name)?.filter(|pin| pin.held).map(|pin| pin.reason),
            drift: worse.as_ref().map(drift::told),
            fitted_at: newest.as_ref().map(|artifact| artifact.fitted_at.to_string()),
            failed: failed(workspace, "learn", name)?,
            artifact: newest.map(|artifact| artifact.digest.chars().take(12).collect()),
            measures: measures.remove(name).unwrap_or_default(),
        });
    }
    Ok(all)
}

/// Why the learner could not be fitted, or the policy could not decide, when that was tried last, if so.
fn failed(workspace: &Workspace, kind: &str, name: &str) -> Result<Option<String>> {
    let last = workspace.store.tasks_named(kind, name, 1)?.into_iter().next();
    let error = last.and_then(|task| task.outcome.error);
    Ok(error.map(|error| error.trim_start_matches("error: ").to_owned()))
}

/// For how many units a policy ordered nothing when it decided last, for want of a forecast; none if for none.
fn without_forecast(workspace: &Workspace, name: &str) -> Result<Option<i64>> {
    let tasks = workspace.store.tasks_named("decide", name, DECIDED_LOOKED_AT)?;
    let last = tasks.into_iter().find(|task| task.status == "succeeded");
    Ok(last.and_then(|task| task.outcome.detail.get("without_forecast")?.as_i64()))
}

/// How policies stand, each with what it changed.
///
/// # Errors
/// Those of lake and metadata.
pub async fn policies(workspace: &Workspace) -> Result<Vec<PolicyStatus>> {
    let mut all = Vec::new();
    let unread = outcome::unread(&workspace.lake, &workspace.store).await?;
    for (name, policy) in &workspace.project.policies {
        let unread = unread.get(name).filter(|_| policy.outcome.is_some());
        let state = workspace.store.policy(name)?;
        let count = |table: &str, more: &str| {
            format!("select count(*) from system.{table} where policy = '{name}'{more}")
        };
        let promoted = match &policy.choose {
            Choose::Bandit(settings) => {
                let champion = champion(&workspace.store, name, &settings.learner)?;
                let promoted =
                    champion.promotion.map(|number| format!("{champion}, promotion {number}"));
                let tried = running(&workspace.store, name, &settings.learner)?.map(|trial| {
                    let (learner, share) = (&trial.last.learner, 100.0 * trial.last.share);
                    format!(
                        "learner \"{learner}\" on trial for {share:.0} % of units, canary {}",
                        trial.last.canary
                    )
                });
                let both: Vec<String> = promoted.into_iter().chain(tried).collect();
                (!both.is_empty()).then(|| both.join("; "))
            }
            Choose::Experiment(settings) => {
                concluded(&workspace.store, name, settings)?.map(|now| {
                    format!("variant \"{}\" for everybody, promotion {}", now.variant, now.number)
                })
            }
            _ => None,
        };
        let turns = turns(workspace, name).await?;
        let split_p = turns.last().and_then(|turn| turn.split_p);
        all.push(PolicyStatus {
            policy: name.clone(),
            failed: failed(workspace, "decide", name)?,
            unread: match unread {
                Some(_) => failed(workspace, "outcome", name)?.or_else(|| {
                    Some("its outcomes could not be read when that was tried last".to_owned())
                }),
                None => None,
            },
            unread_since: unread.map(Timestamp::to_string),
            split_broken: split_p.and_then(|p| lift::split_broken(name, p)),
            without_forecast: without_forecast(workspace, name)?,
            promoted,
            paused: if policy.paused {
                Some("its file says paused: true".to_owned())
            } else {
                state.reason.filter(|_| state.paused)
            },
            decisions: single(workspace, &count("decisions", "")).await?,
            held_out: single(workspace, &count("decisions", " and arm = 'holdout'")).await?,
            actions: single(workspace, &count("actions", " and status = 'delivered'")).await?,
            outcomes: single(workspace, &count("outcomes", "")).await?,
            turns,
        });
    }
    Ok(all)
}

/// What all policies bring together; none once no units are kept from all of them any more.
async fn together(workspace: &Workspace) -> Result<Vec<PolicyTurn>> {
    match workspace.project.file.holdout {
        Some(_) => turns(workspace, lift::ALL).await,
        None => Ok(Vec::new()),
    }
}

async fn turns(workspace: &Workspace, policy: &str) -> Result<Vec<PolicyTurn>> {
    let sql = format!(
        "select turn, decisions, measured, treated_rate, holdout_rate, lift, lower, upper, artifact, split_p
         from system.lift where policy = '{policy}' order by at"
    );
    let rows = Rows::query(workspace, &sql).await?;
    (0..rows.len())
        .map(|row| {
            Ok(PolicyTurn {
                turn: rows.integer(row, 0)?.unwrap_or_default(),
                decisions: rows.integer(row, 1)?.unwrap_or_default(),
                measured: rows.integer(row, 2)?.unwrap_or_default(),
                treated_rate: rows.number(row, 3)?,
                holdout_rate: rows.number(row, 4)?,
                lift: rows.number(row, 5)?,
                lower: rows.number(row, 6)?,
                upper: rows.number(row, 7)?,
                artifact: rows.text(row, 8)?.map(|digest| digest.chars().take(12).collect()),
                split_p: rows.number(row, 9)?,
            })
        })
        .collect()
}

/// Units that a policy left out in the last turn in which it left any out, by why.
///
/// # Errors
/// Those of the lake.
pub async fn left_out(workspace: &Workspace, policy: &str) -> Result<Vec<LeftOut>> {
    let sql = format!(
        "select turn, reason, units from system.suppressed where policy = '{policy}'
           and at = (select max(at) from system.suppressed where policy = '{policy}')
         order by units desc, reason"
    );
    let rows = Rows::query(workspace, &sql).await?;
    (0..rows.len())
        .map(|row| {
            Ok(LeftOut {
                turn: rows.integer(row, 0)?.unwrap_or_default(),
                reason: rows.text(row, 1)?.unwrap_or_default(),
                units: rows.integer(row, 2)?.unwrap_or_default(),
            })
        })
        .collect()
}

async fn single(workspace: &Workspace, sql: &str) -> Result<i64> {
    Ok(Rows::query(workspace, sql).await?.integer(0, 0)?.unwrap_or_default())
}

/// The answer of one query, cell by cell.
pub struct Rows(RecordBatch);

impl Rows {
    /// Runs a query over the tables of the lake.
    ///
    /// # Errors
    /// Those of the query.
    pub async fn query(workspace: &Workspace, sql: &str) -> Result<Self> {
        let query = workspace.lake_session().await?.query(sql).await?;
        let batches = query.collect().await?;
        let one = arrow::compute::concat_batches(&query.schema(), &batches)
            .map_err(|e| Error::internal("batches of one query differ").caused_by(e))?;
        Ok(Self(one))
    }

    /// How many rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.num_rows()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A cell as text; none if it is missing.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if the cell cannot be shown as text.
    pub fn text(&self, row: usize, column: usize) -> Result<Option<String>> {
        let Some(array) = self.column(row, column, &DataType::Utf8)? else { return Ok(None) };
        Ok(Some(array.as_string::<i32>().value(0).to_owned()))
    }

    /// A cell as a number; none if it is missing.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if the cell is no number.
    pub fn number(&self, row: usize, column: usize) -> Result<Option<f64>> {
        let Some(array) = self.column(row, column, &DataType::Float64)? else { return Ok(None) };
        Ok(Some(array.as_primitive::<Float64Type>().value(0)))
    }

    /// A cell as a whole number; none if it is missing.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if the cell is no whole number.
    pub fn integer(&self, row: usize, column: usize) -> Result<Option<i64>> {
        let Some(array) = self.column(row, column, &DataType::Int64)? else { return Ok(None) };
        Ok(Some(array.as_primitive::<Int64Type>().value(0)))
    }

    fn column(
        &self,
        row: usize,
        column: usize,
        wanted: &DataType,
    ) -> Result<Option<arrow::array::ArrayRef>> {
        let batch = &self.0;
        if row >= batch.num_rows() || column >= batch.num_columns() {
            return Ok(None);
        }
        let cell = batch.column(column).slice(row, 1);
        if cell.is_null(0) {
            return Ok(None);
        }
        cast(&cell, wanted)
            .map(Some)
            .map_err(|e| Error::internal("a cell has an unexpected type").caused_by(e))
    }
}
