//! Decisions again: from logged features, seed and artifact, bit for bit.

use std::collections::BTreeMap;

use flywheel_base::{Error, ErrorKind, Result, Rng};
use serde_json::{Map, Value};

use crate::choose::bandit::draw;
use crate::context::Context;
use crate::decide::TREATMENT;
use crate::learner::bandit::Stored;
use crate::log;

/// What deciding again gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Decisions whose choice and probabilities are the same, bit for bit.
    pub same: usize,
    /// Decisions that come out otherwise.
    pub different: Vec<String>,
    /// Decisions that cannot be made again: no bandit made them, or their artifact is gone.
    pub unknown: usize,
}

/// The decisions that are read at once; the newest are verified first.
const DECISIONS_MAX: usize = 100_000;

/// Makes the newest decisions of the policy `name` again, or one of them.
///
/// # Errors
/// [`ErrorKind::NotFound`] for an unknown policy or decision, else those of lake and artifacts.
pub async fn verify(ctx: &Context<'_>, name: &str, decision: Option<&str>) -> Result<Verified> {
    log::policy(ctx, name)?;
    let what = format!("policy \"{name}\": decisions");
    let one = match decision {
        Some(id) if id.chars().all(|c| c.is_ascii_hexdigit()) => {
            format!(" and decision_id = '{id}'")
        }
        Some(id) => return Err(unknown(name, id)),
        None => String::new(),
    };
    let sql = format!(
        "select * from system.decisions where policy = '{name}'{one}
         order by decided_at desc, decision_id limit {DECISIONS_MAX}"
    );
    let frame = ctx.frame_of_sql(&what, &sql).await?;
    if let Some(id) = decision.filter(|_| frame.rows() == 0) {
        return Err(unknown(name, id));
    }
    let mut verified = Verified::default();
    if !frame.has("chances") {
        verified.unknown = frame.rows();
        return Ok(verified);
    }
    let mut artifacts: BTreeMap<String, Option<Stored>> = BTreeMap::new();
    let rows = frame
        .ids("decision_id")?
        .into_iter()
        .zip(frame.ids("arm")?)
        .zip(frame.ids("action")?)
        .zip(frame.text("features")?)
        .zip(frame.text("chances")?)
        .zip(frame.ids("seed")?)
        .zip(frame.text("artifact")?);
    for ((((((id, arm), action), features), chances), seed), artifact) in rows {
        let logged = log::object(&what, chances.as_deref())?;
        let (Some(chances), Some(artifact)) = (logged, artifact) else {
            verified.unknown += 1;
            continue;
        };
        if !artifacts.contains_key(&artifact) {
            let stored = match Stored::load(ctx, &artifact) {
                Ok(stored) => Some(stored),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            artifacts.insert(artifact.clone(), stored);
        }
        let Some(Some(stored)) = artifacts.get(&artifact) else {
            verified.unknown += 1;
            continue;
        };
        let features = log::object(&what, features.as_deref())?.unwrap_or_default();
        let (again, drawn) = decide_again(stored, &chances, &features, &seed)?;
        if again == chances && (arm != TREATMENT || drawn == action) {
            verified.same += 1;
        } else {
            verified.different.push(id);
        }
    }
    Ok(verified)
}

fn decide_again(
    stored: &Stored,
    logged: &Map<String, Value>,
    features: &Map<String, Value>,
    seed: &str,
) -> Result<(Map<String, Value>, String)> {
    let seed = u64::from_str_radix(seed, 16)
        .map_err(|e| Error::corrupt(format!("seed \"{seed}\" is no number")).caused_by(e))?;
    let names: Vec<&str> = logged.keys().map(String::as_str).collect();
    let numbers = stored.candidates(names.iter().copied())?;
    let drawn = draw(stored, names.iter().copied(), &numbers, features, &mut Rng::new(seed))?;
    let action = names.get(drawn.position).copied().unwrap_or_default().to_owned();
    Ok((drawn.chances, action))
}

fn unknown(policy: &str, id: &str) -> Error {
    Error::not_found(format!("policy \"{policy}\" has no decision \"{id}\""))
        .hint("See `select decision_id, unit_id, decided_at from system.decisions`.")
}
