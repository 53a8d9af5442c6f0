//! Decisions again: from logged features, seed and artifact, bit for bit.

use std::collections::BTreeMap;

use flywheel_base::{Error, ErrorKind, Result, Rng, Timestamp};
use rayon::prelude::*;
use serde_json::{Map, Value};

use crate::choose::bandit::draw;
use crate::context::Context;
use crate::decide::TREATMENT;
use crate::learner::bandit::Stored;
use crate::log;
use crate::outcome::literal;

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

/// How many decisions are read at once, give or take those of one moment.
const DECISIONS_AT_ONCE: i64 = 100_000;

/// Makes all decisions of the policy `name` again, or one of them.
///
/// # Errors
/// [`ErrorKind::NotFound`] for an unknown policy or decision, else those of lake and artifacts.
/// # Cost
/// As much as deciding; memory is bounded by a part of the log, or the decisions of one moment.
pub async fn verify(ctx: &Context<'_>, name: &str, decision: Option<&str>) -> Result<Verified> {
    log::policy(ctx, name)?;
    let mut verified = Verified::default();
    let mut artifacts = BTreeMap::new();
    match decision {
        Some(id) if id.chars().all(|c| c.is_ascii_hexdigit()) => {
            let one = format!("decision_id = '{id}'");
            if part(ctx, name, &one, &mut artifacts, &mut verified).await? == 0 {
                return Err(unknown(name, id));
            }
        }
        Some(id) => return Err(unknown(name, id)),
        None => {
            for (first, last) in spans(ctx, name).await? {
                let span = format!(
                    "decided_at >= {} and decided_at <= {}",
                    literal(Timestamp::from_micros(first)),
                    literal(Timestamp::from_micros(last))
                );
                part(ctx, name, &span, &mut artifacts, &mut verified).await?;
            }
        }
    }
    Ok(verified)
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
    artifacts: &mut BTreeMap<String, Option<Stored>>,
    verified: &mut Verified,
) -> Result<usize> {
    let what = format!("policy \"{name}\": decisions");
    let sql = format!(
        "select * from system.decisions where policy = '{name}' and {condition}
         order by decided_at, decision_id"
    );
    let frame = ctx.frame_of_sql(&what, &sql).await?;
    if !frame.has("chances") {
        verified.unknown += frame.rows();
        return Ok(frame.rows());
    }
    let ids = frame.ids("decision_id")?;
    let rows = frame
        .ids("arm")?
        .into_iter()
        .zip(frame.ids("action")?)
        .zip(frame.text("features")?)
        .zip(frame.text("chances")?)
        .zip(frame.ids("seed")?)
        .zip(frame.text("artifact")?);
    let mut asked = Vec::with_capacity(ids.len());
    for (id, (((((arm, action), features), chances), seed), artifact)) in ids.into_iter().zip(rows)
    {
        let (Some(chances), Some(artifact)) = (log::object(&what, chances.as_deref())?, artifact)
        else {
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
        asked.push((id, arm, action, features, chances, seed, artifact));
    }
    // Each one follows from its row and its artifact alone.
    let same = asked
        .par_iter()
        .map(|(_, arm, action, features, chances, seed, artifact)| {
            let Some(Some(stored)) = artifacts.get(artifact) else { return Ok(None) };
            let features = log::object(&what, features.as_deref())?.unwrap_or_default();
            let (again, drawn) = decide_again(stored, chances, &features, seed)?;
            Ok(Some(again == *chances && (arm != TREATMENT || drawn == *action)))
        })
        .collect::<Result<Vec<_>>>()?;
    for ((id, ..), same) in asked.into_iter().zip(same) {
        match same {
            Some(true) => verified.same += 1,
            Some(false) => verified.different.push(id),
            None => verified.unknown += 1,
        }
    }
    Ok(frame.rows())
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
