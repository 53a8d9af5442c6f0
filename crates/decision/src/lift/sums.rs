//! Sums over decisions: of all whose window has closed, without reading the old ones again each turn.
//!
//! Outcomes are looked for over twice a policy's window. A decision older than that can gain none, so what
//! happened after it is known for good and is kept summed up by unit and arm in `system.lift_sums`, those of
//! experiments by variant too. Its checkpoint says, for each policy, up to which moment decisions are in there, for which
//! window and whether by variant; where that has changed they are summed up anew from all decisions.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result, Timestamp};
use flywheel_project::resource::policy::{Choose, Policy};
use flywheel_warehouse::{Checkpoint, WriteMode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::context::Context;
use crate::frame::{Frame, Texts};
use crate::outcome::{final_before, literal, measured};
use crate::table::{LiftSumRow, SystemTable};

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
        let mut next = BTreeMap::new();
        let mut settled = BTreeMap::new();
        for (name, policy) in policies {
            let Some(outcome) = &policy.outcome else { continue };
            let before = final_before(ctx.now, outcome).micros();
            let window = outcome.window.micros;
            let by_variant = matches!(policy.choose, Choose::Experiment(_));
            let same = |last: &&Settled| (last.window, last.by_variant) == (window, by_variant);
            let last = known.get(*name).filter(same);
            let before = last.map_or(before, |last| last.before.max(before));
            next.insert((*name).to_owned(), Settled { before, window, by_variant });
            settled.extend(last.map(|last| ((*name).to_owned(), *last)));
        }
        Ok(Self { settled, next })
    }

    /// The sums of every policy over its decisions up to `until`, by policy, unit and arm.
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
            parts.push(part(&ctx.frame_of_sql(WHAT, &sql).await?)?);
        }
        parts.push(part(&fresh.frame().await?)?);
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
            decisions: sum.decisions,
            converted: sum.converted,
            value: sum.value,
        };
        let rows: Vec<LiftSumRow> = found.by_variant().into_iter().map(row).collect();
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
    Ok(Found(vec![part(&frame)?]))
}

impl Found {
    /// All of them together, by policy, unit and arm.
    pub(super) fn sums(&self) -> Vec<Sum<'_>> {
        let all = self.0.iter().flat_map(Part::sums);
        together(all.map(|sum| Sum { variant: None, ..sum }).collect())
    }

    /// All of them together, by policy, unit, arm and variant.
    pub(crate) fn by_variant(&self) -> Vec<Sum<'_>> {
        together(self.0.iter().flat_map(Part::sums).collect())
    }
}

/// Adds up sums of the same.
fn together(mut all: Vec<Sum<'_>>) -> Vec<Sum<'_>> {
    // Stable, so that what is added up is added up in the same order each time.
    all.sort_by(|a, b| key(a).cmp(&key(b)));
    all.dedup_by(|next, sum| {
        let same = key(next) == key(sum);
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

impl Part {
    fn sums(&self) -> impl Iterator<Item = Sum<'_>> {
        let counts = self.decisions.iter().zip(&self.converted).zip(&self.ripe);
        let keys = self.policies.iter().zip(self.units.iter()).zip(self.arms.iter());
        let known = self.variants.iter().flat_map(|(splits, variants)| {
            let pairs = splits.iter().zip(variants.iter());
            pairs.map(|(split, variant)| (!split.is_empty()).then_some((split, variant)))
        });
        let keys = keys.zip(known.chain(std::iter::repeat(None)));
        let rows = keys.zip(counts).zip(&self.values);
        rows.map(|(((((policy, unit), arm), variant), ((decisions, converted), ripe)), value)| {
            Sum {
                policy,
                unit,
                arm,
                variant,
                decisions: decisions.unwrap_or_default(),
                converted: converted.unwrap_or_default(),
                value: *value,
                ripe: ripe.unwrap_or_default(),
            }
        })
    }
}

fn part(frame: &Frame<'_>) -> Result<Part> {
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
        decisions: frame.integers("decisions")?,
        converted: frame.integers("converted")?,
        values: frame.numbers("value")?,
        ripe: frame.integers("ripe")?,
    })
}

/// The query that sums up decisions that meet a condition, over outcomes that meet another; decisions of `experiments` by
/// variant.
fn summed(experiments: &[&str], ripe: &str, outcomes: &str, decisions: &str) -> String {
    let of_experiments = |column: &str| {
        if experiments.is_empty() {
            return "cast(null as text)".to_owned();
        }
        format!("case when d.policy in ('{}') then d.{column} end", experiments.join("', '"))
    };
    format!(
        "select d.policy, d.unit_id, d.arm, {} as split, {} as variant, count(*) as decisions,
                count(o.decision_id) as converted, sum(o.value) as value, sum({ripe}) as ripe
         from system.decisions d
         left join (select decision_id, sum(value) as value from system.outcomes
                    where {}{outcomes} group by decision_id) o
           on o.decision_id = d.decision_id
         where {decisions}
         group by 1, 2, 3, 4, 5",
        of_experiments("candidates_digest"),
        of_experiments("action"),
        measured()
    )
}

/// What a sum is of.
fn key<'f>(sum: &Sum<'f>) -> (&'f str, &'f str, &'f str, Option<(&'f str, &'f str)>) {
    (sum.policy, sum.unit, sum.arm, sum.variant)
}

fn moment(micros: i64) -> String {
    literal(Timestamp::from_micros(micros))
}
