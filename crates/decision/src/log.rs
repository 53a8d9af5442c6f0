//! Logged decisions of one policy with what they earned: what bandits learn from and challengers are judged by.
//!
//! Only decisions whose window has closed are read, so that one without outcome is known to have earned nothing.

use flywheel_base::{Error, Result, Timestamp};
use flywheel_project::resource::policy::{Outcome, Policy};
use serde_json::{Map, Value};

use crate::context::Context;
use crate::decide::TREATMENT;
use crate::outcome::{Through, literal, measured};

/// How many decisions are read at once, give or take those of one moment.
const DECISIONS_AT_ONCE: usize = 100_000;

/// One decision of the treatment arm.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    /// Whom it was about.
    pub(crate) unit: String,
    /// When it was made, in microseconds since the epoch (UTC).
    pub(crate) at: i64,
    /// What was chosen.
    pub(crate) action: String,
    /// What was known of the unit.
    pub(crate) features: Map<String, Value>,
    /// The probability of each candidate before the draw; none in decisions of before they were logged.
    pub(crate) chances: Option<Map<String, Value>>,
    /// The canary in which a challenger decided; none if the champion did.
    pub(crate) canary: Option<i64>,
    /// How many outcomes it had.
    pub(crate) outcomes: i64,
    /// What they are worth together.
    pub(crate) value: f64,
}

impl Logged {
    /// The logged probability of an action.
    pub(crate) fn chance(&self, action: &str) -> Option<f64> {
        self.chances.as_ref()?.get(action)?.as_f64()
    }
}

/// The policy `name` and what it counts as success.
pub(crate) fn policy<'a>(ctx: &'a Context<'_>, name: &str) -> Result<(&'a Policy, &'a Outcome)> {
    let policies = &ctx.project.policies;
    let policy = policies.get(name).ok_or_else(|| {
        let known = policies.keys().map(String::as_str);
        Error::not_found(format!("no policy \"{name}\""))
            .hint(flywheel_base::suggest::hint(name, known))
    })?;
    let outcome = policy.outcome.as_ref().ok_or_else(|| {
        Error::invalid(format!("policy \"{name}\" has no outcome, so nothing says what it earned"))
            .hint("Add outcome: with the events that count as success to its file.")
    })?;
    Ok((policy, outcome))
}

/// The moment up to which decisions of a policy have a closed window, and `settle_us` microseconds more; none before events
/// were joined for the first time. While its events cannot be read it stays where it was.
pub(crate) async fn closed_until(
    ctx: &Context<'_>,
    (name, outcome): (&str, &Outcome),
    settle_us: i64,
) -> Result<Option<i64>> {
    let Some(joined) = Through::load(ctx).await?.of_policy(name) else { return Ok(None) };
    // A decision of the moment of the join may still be made after it.
    let wait = outcome.window.micros.saturating_add(settle_us).max(1);
    Ok(Some(joined.min(ctx.now.micros()).saturating_sub(wait)))
}

/// How many units the policy's treatment arm had at a moment, on average over the last `moments` before `before`; 0 if it
/// never had any.
pub(crate) async fn audience(
    ctx: &Context<'_>,
    policy: &str,
    before: Timestamp,
    moments: usize,
) -> Result<f64> {
    let sql = format!(
        "select avg(cast(n as double)) as units from (
           select decided_at, count(*) as n from system.decisions
           where policy = '{policy}' and arm = '{TREATMENT}' and decided_at < {}
           group by decided_at order by decided_at desc limit {moments})",
        literal(before)
    );
    let what = format!("policy \"{policy}\": its audience");
    let frame = ctx.frame_of_sql(&what, &sql).await?;
    Ok(frame.numbers("units")?.into_iter().flatten().next().unwrap_or_default())
}

/// Moments of decisions of the policy's treatment arm in `(after, until]`, oldest first, put together so that
/// each span holds about as many decisions as are read at once. Both ends of a span are inside.
pub(crate) async fn spans(
    ctx: &Context<'_>,
    policy: &str,
    after: Option<i64>,
    until: i64,
) -> Result<Vec<(i64, i64)>> {
    let after = after.map_or_else(String::new, |after| {
        format!(" and decided_at > {}", literal(Timestamp::from_micros(after)))
    });
    let sql = format!(
        "select decided_at, count(*) as n from system.decisions
         where policy = '{policy}' and arm = '{TREATMENT}' and decided_at <= {}{after}
         group by decided_at order by decided_at",
        literal(Timestamp::from_micros(until))
    );
    let what = format!("policy \"{policy}\": logged decisions");
    let frame = ctx.frame_of_sql(&what, &sql).await?;
    let mut spans: Vec<(i64, i64)> = Vec::new();
    let mut held = 0;
    for (at, count) in frame.moments("decided_at")?.into_iter().zip(frame.integers("n")?) {
        let count = usize::try_from(count.unwrap_or_default()).unwrap_or(usize::MAX);
        match spans.last_mut() {
            Some(last) if held + count <= DECISIONS_AT_ONCE => {
                last.1 = at;
                held += count;
            }
            _ => {
                spans.push((at, at));
                held = count;
            }
        }
    }
    Ok(spans)
}

/// The decisions of the policy's treatment arm in a span, by moment and id.
pub(crate) async fn decisions(
    ctx: &Context<'_>,
    policy: &str,
    (first, last): (i64, i64),
) -> Result<Vec<Logged>> {
    let what = format!("policy \"{policy}\": logged decisions");
    // A lake of before probabilities were logged has no such column until the next decision.
    let table = ctx.frame_of_sql(&what, "select * from system.decisions limit 0").await?;
    let chances = if table.has("chances") { "d.chances" } else { "cast(null as varchar)" };
    let canary = if table.has("canary") { "d.canary" } else { "cast(null as bigint)" };
    let sql = format!(
        "select d.unit_id, d.decided_at, d.action, d.features, {chances} as chances, {canary} as canary,
                coalesce(o.outcomes, 0) as outcomes, coalesce(o.value, 0) as value
         from system.decisions d
         left join (select decision_id, count(*) as outcomes, sum(value) as value
                    from system.outcomes where policy = '{policy}' and {} group by decision_id) o
           on o.decision_id = d.decision_id
         where d.policy = '{policy}' and d.arm = '{TREATMENT}' and d.decided_at >= {} and d.decided_at <= {}
         order by d.decided_at, d.decision_id",
        measured(),
        literal(Timestamp::from_micros(first)),
        literal(Timestamp::from_micros(last))
    );
    let frame = ctx.frame_of_sql(&what, &sql).await?;
    let rows = frame
        .ids("unit_id")?
        .into_iter()
        .zip(frame.moments("decided_at")?)
        .zip(frame.ids("action")?)
        .zip(frame.text("features")?)
        .zip(frame.text("chances")?)
        .zip(frame.integers("canary")?)
        .zip(frame.integers("outcomes")?)
        .zip(frame.numbers("value")?);
    rows.map(|(((((((unit, at), action), features), chances), canary), outcomes), value)| {
        Ok(Logged {
            unit,
            at,
            action,
            features: object(&what, features.as_deref())?.unwrap_or_default(),
            chances: object(&what, chances.as_deref())?,
            canary,
            outcomes: outcomes.unwrap_or_default(),
            value: value.filter(|value| value.is_finite()).unwrap_or_default(),
        })
    })
    .collect()
}

/// A JSON object as a table keeps it.
pub(crate) fn object(what: &str, text: Option<&str>) -> Result<Option<Map<String, Value>>> {
    text.map(|text| {
        serde_json::from_str(text).map_err(|error| {
            Error::corrupt(format!("{what}: a stored value is no JSON object")).caused_by(error)
        })
    })
    .transpose()
}
