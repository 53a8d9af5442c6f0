//! Decisions again: from what was logged, the policy as it was and the artifact that scored, bit for bit.
//!
//! What a decision followed from is its seed, the unit's columns, the policy's text under its version, and an artifact
//! (bandit, forecast) or the logged candidates (recommender). All of that is kept; where a part is missing, as in rows
//! of before it was, the answer is that the decision cannot be made again, and why.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use flywheel_base::{Error, ErrorKind, Result, Rng, Timestamp};
use flywheel_project::resource::policy::{BanditCandidate, Candidate, Choose, ChooseItems, Policy};
use flywheel_project::resource::project_file::GlobalHoldout;
use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::champion;
use crate::choose::Choice;
use crate::choose::bandit::Draws;
use crate::choose::candidates::Candidates;
use crate::choose::experiment::Assignment;
use crate::choose::recommend::choose_again;
use crate::choose::reorder::Proposals;
use crate::context::Context;
use crate::decide::{Draw, TREATMENT, Unit, decisions_where, features_digest, seed_of, seed_text};
use crate::learner::bandit::Stored;
use crate::learner::forecast::last_whole_day;
use crate::log;
use crate::outcome::literal;
use crate::table::DecisionRow;

/// What deciding again gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verified {
    /// Decisions whose arm, choice and probabilities are the same, bit for bit.
    pub same: usize,
    /// How many come out otherwise.
    pub different: usize,
    /// The first [`NAMED_MAX`] of them, with what differs.
    pub differences: Vec<Different>,
    /// Decisions that cannot be made again, by the reason why not.
    pub unknown: BTreeMap<String, usize>,
}

/// A decision that comes out otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Different {
    /// The decision.
    pub decision_id: String,
    /// What differs.
    pub differs: Vec<Field>,
}

/// A column of a decision that comes out otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Field {
    /// The column of `system.decisions`.
    pub column: &'static str,
    /// What it says.
    pub logged: Value,
    /// What it should say.
    pub again: Value,
}

/// One decision, and what came of making it again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replayed {
    /// The decision.
    pub decision_id: String,
    /// Its policy.
    pub policy: String,
    /// `equal`, `differs`, or `cannot` if something that it followed from is not kept.
    pub replay: &'static str,
    /// Why it cannot be made again.
    pub reason: Option<String>,
    /// What differs.
    pub differs: Vec<Field>,
    /// What was chosen; `none` in the holdout.
    pub action: String,
    /// The logged probability of it.
    pub propensity: f64,
    /// The version of the policy.
    pub policy_version: String,
    /// The artifact that scored.
    pub artifact: Option<String>,
    /// The seed of its draws, in hex.
    pub seed: String,
}

/// How the units of decisions begin that were about a person who was erased: what they followed from is gone, on purpose.
pub const ERASED: &str = "erased-";

/// How many decisions that come out otherwise are named.
pub const NAMED_MAX: usize = 1_000;

/// How many decisions are read at once, give or take those of one moment.
const DECISIONS_AT_ONCE: i64 = 100_000;

/// What came of one decision.
#[derive(Clone, Debug)]
enum Again {
    Same,
    Differs(Vec<Field>),
    Cannot(String),
}

/// Makes all decisions of the policy `name` again, or one of them.
///
/// # Errors
/// [`ErrorKind::NotFound`] for an unknown policy or decision, else those of lake and artifacts.
/// # Cost
/// As much as deciding; memory is bounded by a part of the log, or the decisions of one moment.
pub async fn verify(ctx: &Context<'_>, name: &str, decision: Option<&str>) -> Result<Verified> {
    let policies = &ctx.project.policies;
    if !policies.contains_key(name) {
        return Err(Error::not_found(format!("no policy \"{name}\""))
            .hint(flywheel_base::suggest::hint(name, policies.keys().map(String::as_str))));
    }
    let mut verified = Verified::default();
    let mut sources = Sources::default();
    match decision {
        Some(id) if is_id(id) => {
            let one = format!("decision_id = '{id}'");
            if part(ctx, name, &one, &mut sources, &mut verified).await? == 0 {
                return Err(unknown(Some(name), id));
            }
        }
        Some(id) => return Err(unknown(Some(name), id)),
        None => {
            for (first, last) in spans(ctx, name).await? {
                let span = format!(
                    "decided_at >= {} and decided_at <= {}",
                    literal(Timestamp::from_micros(first)),
                    literal(Timestamp::from_micros(last))
                );
                part(ctx, name, &span, &mut sources, &mut verified).await?;
            }
        }
    }
    Ok(verified)
}

/// Makes one decision of whichever policy again.
///
/// # Errors
/// [`ErrorKind::NotFound`] for an unknown decision, else those of lake and artifacts.
pub async fn replay(ctx: &Context<'_>, decision: &str) -> Result<Replayed> {
    if !is_id(decision) {
        return Err(unknown(None, decision));
    }
    let sql = format!("select policy from system.decisions where decision_id = '{decision}'");
    let frame = ctx.frame_of_sql("the decision", &sql).await?;
    let policies = frame.ids("policy")?;
    let policy =
        policies.first().filter(|_| policies.iter().all(|one| Some(one) == policies.first()));
    let Some(policy) = policy else { return Err(unknown(None, decision)) };
    let condition = format!("decision_id = '{decision}'");
    let rows = decisions_where(ctx, policy, &condition).await?;
    let Some(row) = rows.first() else { return Err(unknown(None, decision)) };
    let mut sources = Sources::default();
    sources.prepare(ctx, row)?;
    let (replay, reason, differs) = match again(&sources, row)? {
        Again::Same => ("equal", None, Vec::new()),
        Again::Differs(fields) => ("differs", None, fields),
        Again::Cannot(reason) => ("cannot", Some(reason), Vec::new()),
    };
    Ok(Replayed {
        decision_id: row.decision_id.clone(),
        policy: row.policy.clone(),
        replay,
        reason,
        differs,
        action: row.action.clone(),
        propensity: row.propensity,
        policy_version: row.policy_version.clone(),
        artifact: row.artifact.clone(),
        seed: row.seed.clone(),
    })
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_hexdigit())
}

/// The error for a decision that a policy, or any, does not have.
#[must_use]
pub fn unknown(policy: Option<&str>, id: &str) -> Error {
    let message = match policy {
        Some(policy) => format!("policy \"{policy}\" has no decision \"{id}\""),
        None => format!("no decision \"{id}\""),
    };
    Error::not_found(message)
        .hint("See `select decision_id, unit_id, decided_at from system.decisions`.")
}

/// The moments of the policy's decisions, put together so that a span holds about as many as are read at once.
async fn spans(ctx: &Context<'_>, name: &str) -> Result<Vec<(i64, i64)>> {
    let what = format!("policy \"{name}\": decisions");
    let sql = format!(
        "select decided_at, count(*) as n from system.decisions where policy = '{name}'
         group by decided_at order by decided_at"
    );
    let frame = ctx.frame_of_sql(&what, &sql).await?;
    let mut spans: Vec<(i64, i64)> = Vec::new();
    let mut held = 0;
    for (at, count) in frame.moments("decided_at")?.into_iter().zip(frame.integers("n")?) {
        held += count.unwrap_or_default();
        match spans.last_mut() {
            Some(last) if held <= DECISIONS_AT_ONCE => last.1 = at,
            _ => {
                spans.push((at, at));
                held = count.unwrap_or_default();
            }
        }
    }
    Ok(spans)
}

/// Makes the decisions again that meet a condition; returns how many there are.
async fn part(
    ctx: &Context<'_>,
    name: &str,
    condition: &str,
    sources: &mut Sources,
    verified: &mut Verified,
) -> Result<usize> {
    let rows = decisions_where(ctx, name, condition).await?;
    for row in &rows {
        sources.prepare(ctx, row)?;
    }
    // Each one follows from its row and what is in memory now alone.
    let found = rows.par_iter().map(|row| again(sources, row)).collect::<Result<Vec<_>>>()?;
    for (row, found) in rows.iter().zip(found) {
        match found {
            Again::Same => verified.same += 1,
            Again::Differs(differs) => {
                verified.different += 1;
                if verified.differences.len() < NAMED_MAX {
                    let decision_id = row.decision_id.clone();
                    verified.differences.push(Different { decision_id, differs });
                }
            }
            Again::Cannot(reason) => *verified.unknown.entry(reason).or_default() += 1,
        }
    }
    Ok(rows.len())
}

/// A way to choose as it was, or why there is none.
type Way = std::result::Result<Chooser, String>;

/// A way to choose as it was.
enum Chooser {
    Candidates(Candidates),
    Experiment(Assignment),
    Items(ChooseItems),
    Orders(Box<Proposals>),
    Bandit(Box<Draws>),
}

/// What a way to choose follows from: policy, its version, artifact, candidates, and the day where the age of a forecast
/// matters.
type Key = (String, String, Option<String>, String, i64);

/// What decisions followed from, in memory.
#[derive(Default)]
struct Sources {
    /// The text of each version; none if it is not kept.
    policies: HashMap<(String, String), Option<Arc<Policy>>>,
    bandits: HashMap<String, Option<Stored>>,
    ways: HashMap<Key, Way>,
}

/// What cannot be read again: it is gone, or no longer what it was.
fn lost<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Sources {
    /// Reads what a row followed from, if it is not in memory.
    fn prepare(&mut self, ctx: &Context<'_>, row: &DecisionRow) -> Result<()> {
        let version = (row.policy.clone(), row.policy_version.clone());
        if let Entry::Vacant(place) = self.policies.entry(version) {
            place.insert(policy_of(ctx, row)?);
        }
        let key = self.key(row);
        if !self.ways.contains_key(&key) {
            let way = self.way(ctx, row)?;
            self.ways.insert(key, way);
        }
        Ok(())
    }

    fn policy(&self, row: &DecisionRow) -> Option<&Arc<Policy>> {
        self.policies.get(&(row.policy.clone(), row.policy_version.clone()))?.as_ref()
    }

    fn key(&self, row: &DecisionRow) -> Key {
        let choose = self.policy(row).map(|policy| &policy.choose);
        let day = match choose {
            Some(Choose::Reorder(_)) => last_whole_day(row.decided_at),
            _ => 0,
        };
        // Lists differ by unit and are in the row.
        let candidates = match choose {
            Some(Choose::Bandit(_) | Choose::Experiment(_)) | None => row.candidates_digest.clone(),
            // What was left of them when it was drawn.
            Some(Choose::Candidates(_))
                if self.policy(row).is_some_and(|policy| policy.stock.is_some()) =>
            {
                row.candidates_digest.clone()
            }
            _ => String::new(),
        };
        let artifact = match choose {
            Some(Choose::Recommend(_)) => None,
            _ => row.artifact.clone(),
        };
        (row.policy.clone(), row.policy_version.clone(), artifact, candidates, day)
    }

    fn way(&mut self, ctx: &Context<'_>, row: &DecisionRow) -> Result<Way> {
        let Some(policy) = self.policy(row).cloned() else {
            // What a bandit decided needs no more than its artifact.
            return self.bandit(ctx, row, None);
        };
        Ok(match &policy.choose {
            Choose::Candidates(list) => {
                let offered = offered(&policy, row);
                let left = list.iter().filter(|one| is_offered(offered.as_ref(), &one.name));
                let left: Vec<Candidate> = left.cloned().collect();
                match Candidates::new(&row.policy, &left) {
                    Ok(candidates) => Ok(Chooser::Candidates(candidates)),
                    // What was left is a matter of the log, which may have been changed.
                    Err(error) if offered.is_some() => Err(error.message().to_owned()),
                    Err(error) => return Err(error),
                }
            }
            Choose::Experiment(settings) => {
                let split = &row.candidates_digest;
                Ok(Chooser::Experiment(Assignment::of_split(&row.policy, settings, split)?))
            }
            Choose::Recommend(settings) => Ok(Chooser::Items(settings.clone())),
            Choose::Reorder(settings) => {
                let (artifact, at) = (row.artifact.clone(), row.decided_at);
                match lost(Proposals::of(ctx, &row.policy, settings, artifact, at))? {
                    Some(proposals) => Ok(Chooser::Orders(Box::new(proposals))),
                    None => Err(gone(row)),
                }
            }
            Choose::Bandit(settings) => {
                let offered = offered(&policy, row);
                let left = settings.candidates.as_ref().map(|all| {
                    let left = all.iter().filter(|one| is_offered(offered.as_ref(), &one.name));
                    left.cloned().collect::<Vec<_>>()
                });
                let declared = (settings.learner.as_str(), left.as_deref());
                return self.bandit(ctx, row, Some(declared));
            }
        })
    }

    /// The bandit that decided; its candidates are those of the policy's text, or else the logged ones.
    fn bandit(
        &mut self,
        ctx: &Context<'_>,
        row: &DecisionRow,
        declared: Option<(&str, Option<&[BanditCandidate]>)>,
    ) -> Result<Way> {
        let what = format!("policy \"{}\": decisions", row.policy);
        let Ok(Some(chances)) = log::object(&what, row.chances.as_deref()) else {
            return Ok(Err(match declared {
                Some(_) => "the probabilities of its candidates were not logged".to_owned(),
                None => "the policy has changed, and its text of that time is not kept".to_owned(),
            }));
        };
        let stored = match (&row.artifact, declared) {
            (Some(artifact), _) => {
                if !self.bandits.contains_key(artifact) {
                    let stored = lost(Stored::load(ctx, artifact))?;
                    self.bandits.insert(artifact.clone(), stored);
                }
                match self.bandits.get(artifact) {
                    Some(Some(stored)) => stored.clone(),
                    _ => return Ok(Err(gone(row))),
                }
            }
            (None, Some((learner, _))) => match lost(champion::bandit(ctx, learner))? {
                Some(settings) => Stored::fresh(settings)?,
                None => {
                    return Ok(Err(format!(
                        "it was made before the first fit of learner \"{learner}\", which is gone"
                    )));
                }
            },
            (None, None) => {
                return Ok(Err(
                    "the policy has changed, and its text of that time is not kept".to_owned()
                ));
            }
        };
        let named =
            |name: &String| BanditCandidate { name: name.clone(), payload: BTreeMap::new() };
        let candidates = match declared {
            Some((_, Some(candidates))) => candidates.to_vec(),
            _ => chances.keys().map(named).collect(),
        };
        let draws = Draws::new(&row.policy, stored, row.artifact.clone(), candidates);
        Ok(match draws {
            Ok(draws) => Ok(Chooser::Bandit(Box::new(draws))),
            // A name that the artifact does not know was never one of its candidates.
            Err(error) => Err(error.message().to_owned()),
        })
    }
}

/// The candidates that were left when a decision was drawn, by their logged probabilities; none if none could be used up.
fn offered(policy: &Policy, row: &DecisionRow) -> Option<Map<String, Value>> {
    policy.stock.as_ref()?;
    // What cannot be read any more is told where the row is compared.
    serde_json::from_str(row.chances.as_deref()?).ok()
}

fn is_offered(offered: Option<&Map<String, Value>>, name: &str) -> bool {
    offered.is_none_or(|offered| offered.contains_key(name))
}

fn gone(row: &DecisionRow) -> String {
    let artifact = row.artifact.as_deref().unwrap_or("–");
    format!("artifact {artifact:.12} is gone")
}

/// The policy as it was when it decided; none if its text is not kept.
fn policy_of(ctx: &Context<'_>, row: &DecisionRow) -> Result<Option<Arc<Policy>>> {
    let text = kept_text(ctx, &row.policy, &row.policy_version)?;
    // A text that this version of the program does not know how to read is none.
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()).map(Arc::new))
}

/// The text of a version of a policy; none if it is not kept.
pub(crate) fn kept_text(ctx: &Context<'_>, policy: &str, version: &str) -> Result<Option<Vec<u8>>> {
    if !is_id(version) {
        return Ok(None);
    }
    if let Some(address) = ctx.artifacts.find(version)? {
        return lost(ctx.artifacts.get(&address));
    }
    // Before texts were kept: if nothing has changed since, it is the one of today.
    let Some(declared) = ctx.project.policies.get(policy) else { return Ok(None) };
    let text = policy_text(declared)?;
    Ok((flywheel_base::digest::short(&[&text]) == version).then_some(text))
}

/// A policy as its version is a digest of.
pub(crate) fn policy_text(policy: &Policy) -> Result<Vec<u8>> {
    serde_json::to_vec(policy).map_err(|e| Error::internal("a policy is no JSON").caused_by(e))
}

/// Makes one decision again.
fn again(sources: &Sources, row: &DecisionRow) -> Result<Again> {
    if row.unit_id.starts_with(ERASED) {
        return Ok(Again::Cannot("the unit was erased".to_owned()));
    }
    let mut differs = Vec::new();
    let seed = seed_of(&row.policy, row.decided_at, &row.unit_id);
    check(&mut differs, "seed", &row.seed, &seed_text(seed));
    let known = features_digest(&row.features);
    check(&mut differs, "features_digest", &row.features_digest, &known);
    let Ok(Value::Object(columns)) = serde_json::from_str(&row.features) else {
        let logged = json!(row.features);
        differs.push(Field { column: "features", logged, again: json!("a JSON object") });
        return Ok(Again::Differs(differs));
    };
    // What was tampered with is told even where the rest cannot be made again.
    let cannot = |reason: String, differs: Vec<Field>| match differs.is_empty() {
        true => Again::Cannot(reason),
        false => Again::Differs(differs),
    };
    let unit = Unit { id: row.unit_id.clone(), columns };
    let way = sources
        .ways
        .get(&sources.key(row))
        .ok_or_else(|| Error::internal("a decision without what it followed from"))?;
    let way = match way {
        Ok(way) => way,
        Err(reason) => return Ok(cannot(reason.clone(), differs)),
    };
    let choice = match choose(way, row, &unit, seed) {
        Ok(choice) => choice,
        Err(reason) => return Ok(cannot(reason, differs)),
    };
    match sources.policy(row) {
        None => check_choice(&mut differs, row, &choice),
        Some(policy) => {
            let global = row.global_holdout.as_deref().map(serde_json::from_str::<GlobalHoldout>);
            let Ok(global) = global.transpose() else {
                let logged = json!(row.global_holdout);
                let again = json!("a share and a salt");
                differs.push(Field { column: "global_holdout", logged, again });
                return Ok(Again::Differs(differs));
            };
            let draw = Draw {
                name: &row.policy,
                policy,
                version: &row.policy_version,
                at: row.decided_at,
                turn: row.turn,
                global: global.as_ref(),
            };
            match draw.row(&unit, choice, seed, row.decision_id.clone()) {
                Ok(again) => check_row(&mut differs, row, &again),
                Err(error) => return Ok(cannot(error.message().to_owned(), differs)),
            }
        }
    }
    if differs.is_empty() {
        return Ok(Again::Same);
    }
    // A bandit without an artifact is one of the settings of today, which may not be those of then.
    if matches!(way, Chooser::Bandit(_)) && row.artifact.is_none() {
        return Ok(Again::Cannot(
            "it was made before the learner's first fit, and does not follow from the learner's file of today".to_owned(),
        ));
    }
    Ok(Again::Differs(differs))
}

/// Chooses again; the error says why that cannot be done.
fn choose(
    way: &Chooser,
    row: &DecisionRow,
    unit: &Unit,
    seed: u64,
) -> std::result::Result<Choice, String> {
    let rng = &mut Rng::new(seed);
    let nothing = || "what it followed from offers nothing to choose".to_owned();
    let said = |error: Error| error.message().to_owned();
    let choice = match way {
        Chooser::Candidates(candidates) => candidates.choose(rng).ok_or_else(nothing)?,
        Chooser::Experiment(assignment) => assignment.choose(unit).ok_or_else(nothing)?,
        Chooser::Orders(orders) => orders.choose(unit).map_err(said)?.ok_or_else(nothing)?,
        Chooser::Bandit(draws) => draws.choose(unit, rng).map_err(said)?,
        Chooser::Items(settings) => {
            let Some(ids) = &row.candidate_ids else {
                return Err("the ids of its candidates were not logged".to_owned());
            };
            let ids: Vec<String> = serde_json::from_str(ids)
                .map_err(|_| "the logged ids of its candidates are no list".to_owned())?;
            let shown = shown(row.items.as_deref());
            choose_again(settings, &ids, &shown, row.artifact.clone(), rng).ok_or_else(nothing)?
        }
    };
    // Whose trial it was is a matter of the log alone.
    Ok(Choice { canary: row.canary, ..choice })
}

/// Score and reason of the items that were chosen, by their ids.
fn shown(items: Option<&str>) -> HashMap<String, (f64, String)> {
    let items: Vec<Map<String, Value>> =
        items.and_then(|items| serde_json::from_str(items).ok()).unwrap_or_default();
    let of_item = |item: &Map<String, Value>| {
        let reason = item.get("reason")?.as_str()?.to_owned();
        Some((item.get("item_id")?.as_str()?.to_owned(), (item.get("score")?.as_f64()?, reason)))
    };
    items.iter().filter_map(of_item).collect()
}

/// Compares what does not need the policy's text: the choice of a bandit and its probabilities.
fn check_choice(differs: &mut Vec<Field>, row: &DecisionRow, choice: &Choice) {
    let chances = choice.chances.clone().map(|chances| Value::Object(chances).to_string());
    check(differs, "chances", &row.chances, &chances);
    if row.arm == TREATMENT {
        check(differs, "action", &row.action, &choice.action);
    }
}

fn check_row(differs: &mut Vec<Field>, row: &DecisionRow, again: &DecisionRow) {
    check(differs, "arm", &row.arm, &again.arm);
    check(differs, "action", &row.action, &again.action);
    if row.propensity.to_bits() != again.propensity.to_bits() {
        let (logged, again) = (json!(row.propensity), json!(again.propensity));
        differs.push(Field { column: "propensity", logged, again });
    }
    check(differs, "items", &row.items, &again.items);
    check(differs, "candidates", &row.candidates, &again.candidates);
    check(differs, "candidates_digest", &row.candidates_digest, &again.candidates_digest);
    check(differs, "chances", &row.chances, &again.chances);
    check(differs, "cost", &row.cost, &again.cost);
    check(differs, "global_holdout", &row.global_holdout, &again.global_holdout);
    check(differs, "payload", &row.payload, &again.payload);
}

fn check<T: PartialEq + Serialize>(
    differs: &mut Vec<Field>,
    column: &'static str,
    logged: &T,
    again: &T,
) {
    if logged != again {
        differs.push(Field { column, logged: json!(logged), again: json!(again) });
    }
}

#[cfg(test)]
mod tests;
