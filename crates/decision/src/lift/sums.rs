//! Sums over decisions: of all whose window has closed, without reading the old ones again each turn.
//!
//! Outcomes are looked for over twice a policy's window. A decision older than that can gain none, so what
//! happened after it is known for good and is kept summed up by unit, arm and share of the holdout in
//! `system.lift_sums`, those of experiments by variant too. Its checkpoint says, for each policy, up to which moment
//! decisions are in there, for which window and by what they are told apart; where that has changed they are summed up
//! anew from all decisions.
//!
//! Units that no policy treats are in neither arm: other policies treat those of a holdout, and not them.
//!
//! Decisions under different shares are never measured together: each arm would get another mixture of their times. The
//! share is that of the policy's text as it decided.

use std::collections::BTreeMap;

use flywheel_base::{Error, ErrorKind, Result, Timestamp, digest};
use flywheel_project::resource::policy::{Choose, Policy};
use flywheel_project::resource::quantity::Share;
use flywheel_warehouse::{Checkpoint, WriteMode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::context::Context;
use crate::decide::{GLOBAL_HOLDOUT, HOLDOUT};
use crate::frame::{Frame, Texts};
use crate::outcome::{Through, final_before, literal, measured};
use crate::table::{LiftSumRow, SystemTable};
use crate::verify::{kept_text, policy_text};

/// What the queries are called in messages.
const WHAT: &str = "lift of policies";
/// Who moves the checkpoint of the sums.
const APP: &str = "lift-sums";
/// So many decisions are summed up at once; fewer are cheaper to read again than to write.
const SETTLED_AT_ONCE: i64 = 4_096;

/// Up to where the decisions of one policy are summed up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Settled {
    /// Decisions made before this moment are in the sums, in microseconds since the epoch (UTC).
    before: i64,
    /// The window for which they cannot change, in microseconds.
    window: i64,
    /// Whether they are told apart by variant.
    #[serde(default)]
    by_variant: bool,
    /// Whether they are told apart by the share of the holdout; sums of before they were are not read.
    #[serde(default)]
    by_share: bool,
}

/// The sums as this turn finds them, and what is added to them.
pub(crate) struct Sums {
    /// Of each policy that still has this window.
    settled: BTreeMap<String, Settled>,
    /// Of each policy, where its sums shall end once they are taken up.
    next: BTreeMap<String, Settled>,
}

/// Decisions of one unit in one arm of a policy, summed up.
#[derive(Clone, Copy)]
pub(crate) struct Sum<'f> {
    pub(crate) policy: &'f str,
    pub(crate) unit: &'f str,
    pub(crate) arm: &'f str,
    /// The split and the variant that an experiment assigned; none for other policies, and none where variants are taken together.
    pub(crate) variant: Option<(&'f str, &'f str)>,
    /// The share of the holdout under which they were made; none where nobody knows it any more.
    pub(crate) share: Option<f64>,
    /// The version of the policy; empty in what was summed up before.
    pub(crate) version: &'f str,
    pub(crate) decisions: i64,
    /// Decisions with an outcome.
    pub(crate) converted: i64,
    /// What their outcomes are worth together; none if none has a value.
    pub(crate) value: Option<f64>,
    /// How many of the decisions can be settled now and are not yet.
    pub(super) ripe: i64,
}

/// Sums over decisions, as queries found them.
#[derive(Default)]
pub struct Found(Vec<Part>);

/// The answer of one query.
struct Part {
    policies: Texts,
    units: Texts,
    arms: Texts,
    /// Splits and variants, where sums tell them apart.
    variants: Option<(Texts, Texts)>,
    /// Versions of the policies, where sums tell them apart.
    versions: Option<Texts>,
    shares: Vec<Option<f64>>,
    decisions: Vec<Option<i64>>,
    converted: Vec<Option<i64>>,
    values: Vec<Option<f64>>,
    ripe: Vec<Option<i64>>,
}

impl Sums {
    /// Where the sums end.
    pub(crate) async fn load(
        ctx: &Context<'_>,
        policies: &BTreeMap<&str, &Policy>,
    ) -> Result<Self> {
        let table = SystemTable::named("lift_sums")?;
        let known: BTreeMap<String, Settled> = match ctx.checkpoint(&table.location()?, APP).await?
        {
            Some(last) => serde_json::from_value(last.position).map_err(|e| {
                Error::corrupt("system.lift_sums: its checkpoint is not readable").caused_by(e)
            })?,
            None => BTreeMap::new(),
        };
        let through = Through::load(ctx).await?;
        let mut next = BTreeMap::new();
        let mut settled = BTreeMap::new();
        for (name, policy) in policies {
            let Some(outcome) = &policy.outcome else { continue };
            let before = final_before(through.known(name, ctx.now), outcome).micros();
            let window = outcome.window.micros;
            let by_variant = matches!(policy.choose, Choose::Experiment(_));
            let same = |last: &&Settled| {
                (last.window, last.by_variant, last.by_share) == (window, by_variant, true)
            };
            let last = known.get(*name).filter(same);
            let before = last.map_or(before, |last| last.before.max(before));
            let settled_next = Settled { before, window, by_variant, by_share: true };
            next.insert((*name).to_owned(), settled_next);
            settled.extend(last.map(|last| ((*name).to_owned(), *last)));
        }
        Ok(Self { settled, next })
    }

    /// The sums of every policy over its decisions up to `until`.
    pub(crate) async fn up_to(
        &self,
        ctx: &Context<'_>,
        until: &BTreeMap<String, Timestamp>,
    ) -> Result<Found> {
        let each: Vec<String> = until
            .iter()
            .map(|(name, until)| {
                let since = self.settled.get(name).map_or_else(String::new, |settled| {
                    format!(" and d.decided_at >= {}", moment(settled.before))
                });
                format!("(d.policy = '{name}' and d.decided_at <= {}{since})", literal(*until))
            })
            .collect();
        let earliest = until
            .keys()
            .map(|name| self.settled.get(name).map_or(i64::MIN, |settled| settled.before))
            .min()
            .filter(|earliest| *earliest > i64::MIN);
        // The bounds on all of them are what spares the files of older rows.
        let (decided, recorded) = match earliest.map(moment) {
            Some(from) => {
                (format!("d.decided_at >= {from} and "), format!(" and recorded_at >= {from}"))
            }
            None => (String::new(), String::new()),
        };
        let ripe: Vec<String> = self
            .next
            .iter()
            .map(|(name, next)| {
                format!("(d.policy = '{name}' and d.decided_at < {})", moment(next.before))
            })
            .collect();
        let ripe = format!("case when {} then 1 else 0 end", ripe.join(" or "));
        let experiments = self.next.iter().filter(|(_, next)| next.by_variant);
        let experiments: Vec<&str> = experiments.map(|(name, _)| name.as_str()).collect();
        let sql =
            summed(&experiments, &ripe, &recorded, &format!("{decided}({})", each.join(" or ")));
        let fresh = ctx.begin(WHAT, sql);
        let kept: Vec<String> = until
            .keys()
            .filter(|name| self.settled.contains_key(*name))
            .map(|name| format!("'{name}'"))
            .collect();
        let mut parts = Vec::new();
        if !kept.is_empty() {
            let kept = kept.join(", ");
            let sql = format!("select *, 0 as ripe from system.lift_sums where policy in ({kept})");
            parts.push(kept_part(&ctx.frame_of_sql(WHAT, &sql).await?)?);
        }
        parts.push(fresh_part(ctx, &fresh.frame().await?)?);
        Ok(Found(parts))
    }

    /// Sums up the decisions that have become final, once there are enough of them.
    ///
    /// Which those are follows from moment and rows alone, and the commit carries how far it goes: a turn that is run again does the same.
    pub(super) async fn settle(&self, ctx: &Context<'_>, ripe: i64) -> Result<()> {
        if ripe < SETTLED_AT_ONCE {
            return Ok(());
        }
        let until = self.next.iter();
        let until =
            until.map(|(name, next)| (name.clone(), Timestamp::from_micros(next.before - 1)));
        let found = self.up_to(ctx, &until.collect()).await?;
        let row = |sum: Sum<'_>| LiftSumRow {
            policy: sum.policy.to_owned(),
            unit_id: sum.unit.to_owned(),
            arm: sum.arm.to_owned(),
            split: sum.variant.map(|(split, _)| split.to_owned()),
            variant: sum.variant.map(|(_, variant)| variant.to_owned()),
            holdout: sum.share,
            decisions: sum.decisions,
            converted: sum.converted,
            value: sum.value,
        };
        let rows: Vec<LiftSumRow> = found.apart().into_iter().map(row).collect();
        let position = json!(self.next);
        let checkpoint = Checkpoint { sequence: ctx.now.micros(), position };
        let table = SystemTable::named("lift_sums")?;
        table
            .write(ctx.lake, WriteMode::Replace, &rows, Some((APP.to_owned(), checkpoint)))
            .await?;
        Ok(())
    }
}

/// The sums of policies over the decisions made after the one moment and up to the other.
pub(super) async fn between(
    ctx: &Context<'_>,
    periods: &BTreeMap<String, (Timestamp, Timestamp)>,
) -> Result<Found> {
    let each: Vec<String> = periods
        .iter()
        .map(|(name, (after, until))| {
            let (after, until) = (literal(*after), literal(*until));
            format!("(d.policy = '{name}' and d.decided_at > {after} and d.decided_at <= {until})")
        })
        .collect();
    let frame = ctx.frame_of_sql(WHAT, &summed(&[], "0", "", &each.join(" or "))).await?;
    Ok(Found(vec![fresh_part(ctx, &frame)?]))
}

impl Found {
    /// All of them together, by policy, unit, arm and share of the holdout.
    pub(super) fn sums(&self) -> Vec<Sum<'_>> {
        let all = self.0.iter().flat_map(Part::sums);
        let all = together(all.collect(), |sum| (sum.policy, sum.unit, sum.arm, bits(sum)));
        all.into_iter().map(|sum| Sum { variant: None, ..sum }).collect()
    }

    /// All of them together, by everything that they are told apart by: policy, unit, arm, variant and share of the holdout.
    pub(crate) fn apart(&self) -> Vec<Sum<'_>> {
        let all = self.0.iter().flat_map(Part::sums);
        together(all.collect(), |sum| (sum.policy, sum.unit, sum.arm, sum.variant, bits(sum)))
    }
}

/// Adds up sums of the same.
fn together<'f, K: Ord>(mut all: Vec<Sum<'f>>, of: impl Fn(&Sum<'f>) -> K) -> Vec<Sum<'f>> {
    // Stable and down to the version, so that what is added up is added up in the same order each time.
    all.sort_by(|a, b| {
        (of(a), a.variant, bits(a), a.version).cmp(&(of(b), b.variant, bits(b), b.version))
    });
    all.dedup_by(|next, sum| {
        let same = of(next) == of(sum);
        if same {
            sum.decisions += next.decisions;
            sum.converted += next.converted;
            sum.value = match (sum.value, next.value) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            };
            sum.ripe += next.ripe;
        }
        same
    });
    all
}

/// The share of a sum as something that has an order.
fn bits(sum: &Sum<'_>) -> Option<u64> {
    sum.share.map(f64::to_bits)
}

impl Part {
    fn sums(&self) -> impl Iterator<Item = Sum<'_>> {
        let counts = self.decisions.iter().zip(&self.converted).zip(&self.ripe);
        let keys = self.policies.iter().zip(self.units.iter()).zip(self.arms.iter());
        let known = self.variants.iter().flat_map(|(splits, variants)| {
            let pairs = splits.iter().zip(variants.iter());
            pairs.map(|(split, variant)| (!split.is_empty()).then_some((split, variant)))
        });
        let keys = keys.zip(known.chain(std::iter::repeat(None)));
        let versions = self.versions.iter().flat_map(Texts::iter).chain(std::iter::repeat(""));
        let rows = keys.zip(versions.zip(&self.shares)).zip(counts.zip(&self.values));
        rows.map(|(((((policy, unit), arm), variant), (version, share)), (counts, value))| {
            let ((decisions, converted), ripe) = counts;
            Sum {
                policy,
                unit,
                arm,
                variant,
                share: *share,
                version,
                decisions: decisions.unwrap_or_default(),
                converted: converted.unwrap_or_default(),
                value: *value,
                ripe: ripe.unwrap_or_default(),
            }
        })
    }
}

/// What was summed up before.
fn kept_part(frame: &Frame<'_>) -> Result<Part> {
    let shares = match frame.has("holdout") {
        true => frame.numbers("holdout")?,
        false => vec![None; frame.rows()],
    };
    part(frame, None, shares)
}

/// What is summed up from decisions.
fn fresh_part(ctx: &Context<'_>, frame: &Frame<'_>) -> Result<Part> {
    part(frame, Some(frame.texts_or_empty("version")?), shares_of(ctx, frame)?)
}

/// The share of the holdout of each row, which has policy, version and the probability of being held out.
pub(crate) fn shares_of(ctx: &Context<'_>, frame: &Frame<'_>) -> Result<Vec<Option<f64>>> {
    let (policies, versions) = (frame.texts("policy")?, frame.texts_or_empty("version")?);
    let said = |policy: &str, version: &str| share_of(ctx, policy, version);
    shares(&policies, &versions, &frame.numbers("held")?, said)
}

/// The share of the holdout of each row: what the policy's text said, or else the probability with which units of that
/// version were held out.
fn shares(
    policies: &Texts,
    versions: &Texts,
    held: &[Option<f64>],
    said: impl Fn(&str, &str) -> Result<Option<f64>>,
) -> Result<Vec<Option<f64>>> {
    let mut known: BTreeMap<(&str, &str), Option<f64>> = BTreeMap::new();
    for (version, held) in policies.iter().zip(versions.iter()).zip(held) {
        let share = known.entry(version).or_default();
        *share = share.or(*held);
    }
    for ((policy, version), share) in &mut known {
        *share = said(policy, version)?.or(*share).map(rounded);
    }
    let rows = policies.iter().zip(versions.iter());
    Ok(rows.map(|version| known.get(&version).copied().flatten()).collect())
}

/// The share of the holdout that a policy's file says now, as sums have it.
pub(crate) fn share_now(policy: &Policy) -> f64 {
    rounded(policy.holdout.value())
}

/// A share as it is compared: what was written as text and read again may be off by the last bit.
fn rounded(share: f64) -> f64 {
    (share * 1e9).round() / 1e9
}

/// The share of the holdout that a version of a policy had; none if its text is not kept or not readable.
fn share_of(ctx: &Context<'_>, policy: &str, version: &str) -> Result<Option<f64>> {
    #[derive(Deserialize)]
    struct Text {
        holdout: Share,
    }
    if let Some(declared) = ctx.project.policies.get(policy)
        && digest::short(&[&policy_text(declared)?]) == version
    {
        return Ok(Some(share_now(declared)));
    }
    let text = match kept_text(ctx, policy, version) {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            tracing::warn!(policy, version, error = %error, "text of a policy not readable");
            None
        }
        text => text?,
    };
    let text = text.and_then(|text| serde_json::from_slice::<Text>(&text).ok());
    Ok(text.map(|text| rounded(text.holdout.value())))
}

fn part(frame: &Frame<'_>, versions: Option<Texts>, shares: Vec<Option<f64>>) -> Result<Part> {
    Ok(Part {
        policies: frame.texts("policy")?,
        units: frame.texts("unit_id")?,
        arms: frame.texts("arm")?,
        // Sums that were written before experiments had any are without them.
        variants: frame
            .has("variant")
            .then(|| {
                Ok::<_, Error>((frame.texts_or_empty("split")?, frame.texts_or_empty("variant")?))
            })
            .transpose()?,
        versions,
        shares,
        decisions: frame.integers("decisions")?,
        converted: frame.integers("converted")?,
        values: frame.numbers("value")?,
        ripe: frame.integers("ripe")?,
    })
}

/// The query that sums up decisions that meet a condition, over outcomes that meet another, by version of the policy;
/// decisions of `experiments` by variant too.
fn summed(experiments: &[&str], ripe: &str, outcomes: &str, decisions: &str) -> String {
    let of_experiments = |column: &str| {
        if experiments.is_empty() {
            return "cast(null as text)".to_owned();
        }
        format!("case when d.policy in ('{}') then d.{column} end", experiments.join("', '"))
    };
    format!(
        "select d.policy, d.unit_id, d.arm, {} as split, {} as variant, d.policy_version as version,
                max(case when d.arm = '{HOLDOUT}' then d.propensity end) as held, count(*) as decisions,
                count(o.decision_id) as converted, sum(o.value) as value, sum({ripe}) as ripe
         from system.decisions d
         left join (select decision_id, sum(value) as value from system.outcomes
                    where {}{outcomes} group by decision_id) o
           on o.decision_id = d.decision_id
         where ({decisions}) and d.arm <> '{GLOBAL_HOLDOUT}'
         group by 1, 2, 3, 4, 5, 6",
        of_experiments("candidates_digest"),
        of_experiments("action"),
        measured()
    )
}

fn moment(micros: i64) -> String {
    literal(Timestamp::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn texts(values: &[&str]) -> Texts {
        let schema = Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8, true)]));
        let column: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
        let batch = RecordBatch::try_new(schema, vec![column]).unwrap();
        Frame::new("test", vec![batch]).texts("text").unwrap()
    }

    #[test]
    fn a_share_is_that_of_the_version_or_else_that_of_its_holdout() {
        let policies = texts(&["p", "p", "p", "q", "p"]);
        let versions = texts(&["1", "2", "2", "2", ""]);
        let held = [None, None, Some(0.2), None, None];
        let said = |policy: &str, version: &str| {
            Ok((policy == "p" && version == "1").then_some(0.1 + f64::EPSILON))
        };
        let found = shares(&policies, &versions, &held, said).unwrap();
        assert_eq!(found, [Some(0.1), Some(0.2), Some(0.2), None, None]);
    }

    #[test]
    fn sums_go_together_by_version_and_stay_apart_by_share() {
        let sum = |share, version, decisions| Sum {
            policy: "p",
            unit: "u",
            arm: HOLDOUT,
            variant: None,
            share,
            version,
            decisions,
            converted: 1,
            value: Some(0.5),
            ripe: 0,
        };
        let all = vec![sum(Some(0.2), "2", 4), sum(Some(0.1), "3", 2), sum(Some(0.1), "1", 1)];
        let by_share = together(all.clone(), |sum| (sum.policy, sum.unit, sum.arm, bits(sum)));
        let found: Vec<_> = by_share.iter().map(|sum| (sum.share, sum.decisions)).collect();
        assert_eq!(found, [(Some(0.1), 3), (Some(0.2), 4)]);
        let apart = together(all, |sum| (sum.policy, sum.unit, sum.arm, sum.variant, bits(sum)));
        assert_eq!((apart.len(), apart[0].decisions, apart[0].value), (2, 3, Some(1.0)));
    }

    #[test]
    fn sums_of_before_shares_were_told_apart_are_known_as_such() {
        let settled: Settled =
            serde_json::from_str(r#"{"before": 1, "window": 2, "by_variant": true}"#).unwrap();
        assert!(settled.by_variant && !settled.by_share);
    }
}
