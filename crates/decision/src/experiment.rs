//! Experiments: how each variant stands beside the control, and how many units it takes to know.
//!
//! Only decisions of the present split and under the present share of the holdout whose window has closed are measured, as
//! those of lift are; a unit has one variant and is the cluster. Intervals stay valid however often one looks, for all
//! variants together. What is measured is the effect of being assigned, whether the action was delivered or not.
//!
//! Each figure stands by itself: one whose SQL or rows cannot be read is `unmeasured` and told, and all others are compared and
//! watched. Guardrails count their own events, so that they are watched also while the outcome's cannot be read.

mod before;
mod changed;
mod declared;
mod persons;
pub mod plan;

use std::collections::{BTreeMap, BTreeSet};

use flywheel_algo::stats::cuped::{self, Pairs};
use flywheel_algo::stats::guardrail::{self, Guardrail, Standing};
use flywheel_algo::stats::lift::Arm;
use flywheel_algo::stats::{Interval, sequence, srm};
use flywheel_base::{Error, Result, Timestamp, statement, suggest};
use flywheel_project::resource::policy::{
    Better, Choose, Experiment, Measure, MultipleExposure, Outcome, Policy,
};
use flywheel_state::PolicyState;
use flywheel_warehouse::Checkpoint;
use serde_json::json;

use self::declared::Figure;
use self::persons::{Got, Persons};
use crate::choose::experiment::split_of;
use crate::conclude::concluded;
use crate::context::{Context, Pending, is_its_own, location};
use crate::decide::{HOLDOUT, TREATMENT};
use crate::lift::sums::{Sum, share_now, shares_of};
use crate::lift::{Found, closed_until, sums_of};
use crate::outcome::{ByUnit, Decision, Through, attribute, events_of, is_measured, literal};
use crate::table::{ExperimentRow, OutcomeRow, SystemTable};

/// Who moves the checkpoint of the rows.
const APP: &str = "experiment";
/// The error of all comparisons of an experiment together.
const ERROR: f64 = 0.05;
/// The share of units with more than one variant from which on people are warned.
const SEVERAL_MAX: f64 = 0.01;

/// The standing of a figure that could not be read.
pub(crate) const UNMEASURED: &str = "unmeasured";

/// Events of each query that a check reads.
const CHECKED: usize = 1_000;

/// What is known of one unit.
#[derive(Clone, Debug, Default)]
struct Unit {
    variant: usize,
    decisions: f64,
    hits: f64,
    value: f64,
    /// Sums of the guardrails, in their order.
    guarded: Vec<f64>,
    /// What the declared metrics are made of, in their order.
    declared: Vec<Figure>,
    /// Its covariate, from the pre-period.
    before: f64,
    /// When it was first decided for in the split, in microseconds since the epoch (UTC).
    first: Option<i64>,
    /// When in any split of the same salt.
    since: Option<i64>,
    /// Whether it had an outcome in a window before that, and what its outcomes were worth.
    hit_before: bool,
    value_before: f64,
}

/// The units of an experiment, and what is to be said of them.
struct Seen {
    /// Those that are compared.
    units: BTreeMap<String, Unit>,
    /// Whether outcomes have values.
    with_value: bool,
    /// Whether anything is known of the time before the first decision.
    with_before: bool,
    /// How many units each variant has, before any are left out.
    counts: Vec<u64>,
    /// How many units got more than one variant.
    several: usize,
    /// The versions of the policy that decided, each after the moment of its first decision; oldest first.
    versions: Vec<(i64, String)>,
    /// What could not be read of them.
    unread: Unread,
}

/// What could not be read of units, and why.
#[derive(Debug, Default)]
struct Unread {
    /// Events that count as success.
    outcome: bool,
    /// What was known of units before.
    covariate: bool,
    /// Guardrails, by place.
    guardrails: BTreeSet<usize>,
    /// Declared metrics, by place.
    metrics: BTreeSet<usize>,
    errors: Vec<Error>,
}

impl Unread {
    /// Keeps what is about the experiment itself.
    ///
    /// # Errors
    /// Everything else.
    fn keep(&mut self, error: Error) -> Result<()> {
        if !is_its_own(&error) {
            return Err(error);
        }
        self.errors.push(error);
        Ok(())
    }

    /// Whether a figure is without something that it is made of.
    fn lacks(&self, of: Of) -> bool {
        match of {
            Of::Outcome | Of::Value => self.outcome || self.covariate,
            Of::Guardrail(at) => self.guardrails.contains(&at),
        }
    }
}

/// How a variant stands beside the control by one metric.
struct Line {
    rate: Option<f64>,
    control_rate: Option<f64>,
    compared: Compared,
    p_value: Option<f64>,
}

/// One variant by one metric.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    arm: Arm,
    pairs: Pairs,
}

/// What came of measuring experiments: one that cannot be measured keeps no other one from it.
#[derive(Debug, Default)]
pub struct Standings {
    /// How those stand that were measured.
    pub rows: Vec<ExperimentRow>,
    /// Why others, or single figures of those that were, could not be, in the order of their names. Such a figure has a row
    /// with the standing `unmeasured`; a guardrail among them is not watched.
    pub errors: Vec<Error>,
}

/// What experiments ask of the decisions so far, under way beside what is done until they are measured.
pub struct Asked(BTreeMap<String, Pending<'static>>);

impl Asked {
    /// Asks for every experiment of the project.
    #[must_use]
    pub fn begin(ctx: &Context<'_>) -> Self {
        let policies = ctx.project.policies.iter();
        let experiments =
            policies.filter(|(_, policy)| matches!(policy.choose, Choose::Experiment(_)));
        let asked = experiments.map(|(name, _)| (name.clone(), persons::ask(ctx, name)));
        Self(asked.collect())
    }

    /// The answer about one policy; it is asked for now if it was not before.
    fn of(&mut self, ctx: &Context<'_>, name: &str) -> Pending<'static> {
        self.0.remove(name).unwrap_or_else(|| persons::ask(ctx, name))
    }
}

/// Measures every experiment over the sums that lift was measured by, records the rows in one commit and pauses the
/// policies whose guardrails are breached; `asked` is what was asked since this turn has decided.
///
/// # Errors
/// What is not about one experiment: those of lake and metadata.
pub async fn measure(ctx: &Context<'_>, sums: &Found, mut asked: Asked) -> Result<Standings> {
    let sums = sums.apart();
    let through = Through::load(ctx).await?;
    let mut rows = Vec::new();
    let mut errors = Vec::new();
    for (name, policy) in &ctx.project.policies {
        if let (Choose::Experiment(experiment), Some(outcome)) = (&policy.choose, &policy.outcome) {
            // What guardrails count is known although the outcome is not.
            let unread = through.is_behind(name);
            let found = match unread {
                true => Some(Box::pin(sums_of(ctx, name, policy)).await?),
                false => None,
            };
            let own = found.as_ref().map(Found::apart);
            let own = own.as_deref().unwrap_or(sums.as_slice());
            let decided = asked.of(ctx, name);
            let measured = rows_of(ctx, name, (experiment, outcome), own, (unread, decided));
            let of_policy = match Box::pin(measured).await {
                Ok((rows, why)) => {
                    errors.extend(why.into_iter().map(|error| error.context(&policy.file)));
                    rows
                }
                Err(error) if is_its_own(&error) => {
                    errors.push(error.context(&policy.file));
                    continue;
                }
                Err(error) => return Err(error),
            };
            // A variant that nobody gets any more does no harm.
            if concluded(ctx.store, name, experiment)?.is_none() {
                guard(ctx, name, policy, &of_policy)?;
            }
            rows.extend(of_policy);
        }
    }
    let last = ctx.checkpoint(&location("system/experiments")?, APP).await?;
    if !rows.is_empty() && last.is_none_or(|last| last.sequence < ctx.now.micros()) {
        let checkpoint = Checkpoint { sequence: ctx.now.micros(), position: json!({}) };
        let table = SystemTable::named("experiments")?;
        table.append(ctx.lake, &rows, Some((APP.to_owned(), checkpoint))).await?;
    }
    Ok(Standings { rows, errors })
}

/// Reads what an experiment asks besides the outcome, some events of each query, and keeps nothing.
///
/// # Errors
/// Those of its SQL, as when it is measured.
pub(crate) async fn check(ctx: &Context<'_>, name: &str, experiment: &Experiment) -> Result<()> {
    Persons::load(ctx, name, experiment).await?;
    let mut nobody = BTreeMap::new();
    before(ctx, name, experiment, &Persons::default(), &mut nobody).await?;
    let guardrails = experiment.guardrails.iter();
    let mut queries: Vec<(String, &str)> = guardrails
        .map(|guardrail| (format!("guardrail \"{}\"", guardrail.name), guardrail.events.as_str()))
        .collect();
    for metric in &experiment.metrics {
        let of = format!("metric \"{}\"", metric.name);
        queries.extend(declared::queries(metric).into_iter().map(|sql| (of.clone(), sql)));
    }
    for (of, template) in queries {
        let what = format!("experiment \"{name}\": {of}");
        let events = ctx.render(template).map_err(|e| e.context(&what))?;
        let events = statement::one(&what, &events)?;
        let sql = format!(
            "select * from (\n{events}\n) as events where at <= {} limit {CHECKED}",
            literal(ctx.now)
        );
        events_of(ctx, &what, &sql).await?;
    }
    Ok(())
}

/// How the experiments of a project stand: the newest rows of one, or of all.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if `name` is no experiment, and why it cannot be measured at all; else those of
/// the lake.
pub async fn standing(ctx: &Context<'_>, name: Option<&str>) -> Result<Standings> {
    if let Some(name) = name {
        find(ctx, name)?;
    }
    let through = Through::load(ctx).await?;
    let mut all = Standings::default();
    for (policy, declared) in &ctx.project.policies {
        if name.is_none_or(|name| name == policy)
            && let (Choose::Experiment(experiment), Some(outcome)) =
                (&declared.choose, &declared.outcome)
        {
            let found = sums_of(ctx, policy, declared).await?;
            let unread = through.is_behind(policy);
            let sums = found.apart();
            let decided = persons::ask(ctx, policy);
            let measured = rows_of(ctx, policy, (experiment, outcome), &sums, (unread, decided));
            match Box::pin(measured).await {
                Ok((rows, why)) => {
                    all.rows.extend(rows);
                    all.errors.extend(why.into_iter().map(|error| error.context(&declared.file)));
                }
                Err(error) if name.is_none() && is_its_own(&error) => {
                    all.errors.push(error.context(&declared.file));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(all)
}

/// The experiment that the policy `name` is.
pub(crate) fn find<'a>(
    ctx: &'a Context<'_>,
    name: &str,
) -> Result<(&'a Policy, &'a Experiment, &'a Outcome)> {
    let (policy, outcome) = crate::log::policy(ctx, name)?;
    match &policy.choose {
        Choose::Experiment(experiment) => Ok((policy, experiment, outcome)),
        _ => {
            let known = ctx.project.policies.iter();
            let known = known.filter(|(_, p)| matches!(p.choose, Choose::Experiment(_)));
            Err(Error::not_found(format!("policy \"{name}\" is no experiment"))
                .hint(suggest::hint(name, known.map(|(name, _)| name.as_str()))))
        }
    }
}

/// How an experiment stands, and why parts of it could not be measured; `unread` says that events that count as success cannot
/// be read, `decided` what was decided when.
async fn rows_of(
    ctx: &Context<'_>,
    name: &str,
    (experiment, outcome): (&Experiment, &Outcome),
    sums: &[Sum<'_>],
    (unread, decided): (bool, Pending<'_>),
) -> Result<(Vec<ExperimentRow>, Vec<Error>)> {
    let of = (experiment, outcome);
    let mut seen = Box::pin(seen(ctx, name, of, sums, (unread, decided))).await?;
    let mut unread = std::mem::take(&mut seen.unread);
    let changed = changed::since_start(ctx, name, &seen.versions)?;
    let variants = &experiment.variants;
    let control = variants
        .iter()
        .position(|variant| Some(variant.name.as_str()) == experiment.control())
        .ok_or_else(|| Error::internal(format!("experiment \"{name}\" has no control")))?;
    let weights: Vec<f64> = variants.iter().map(|variant| variant.weight).collect();
    let mismatch = (seen.counts.iter().sum::<u64>() > 0)
        .then(|| srm::mismatch(&seen.counts, &weights))
        .transpose()
        .map_err(|error| error.context(format!("experiment \"{name}\"")))?;
    let broken = mismatch.as_ref().is_some_and(|mismatch| mismatch.alarm);
    let options = options(comparisons(experiment, seen.with_value));
    // A guardrail is not one of those that share the error: asked more strictly, it would let harm through.
    let guarding = self::options(variants.len().saturating_sub(1));
    let count = |at: usize| {
        let units = seen.units.values().filter(|unit| unit.variant == at).count();
        i64::try_from(units).unwrap_or(i64::MAX)
    };
    let counts: Vec<i64> = (0..variants.len()).map(count).collect();
    let count = |at: usize| counts.get(at).copied().unwrap_or_default();
    let row = |metric: &str, kind: &str, at: usize, line: &Line| ExperimentRow {
        turn: ctx.turn,
        at: ctx.now,
        policy: name.to_owned(),
        split: split_of(name, experiment),
        metric: metric.to_owned(),
        kind: Some(kind.to_owned()),
        variant: variants.get(at).map(|variant| variant.name.clone()).unwrap_or_default(),
        control: experiment.control().unwrap_or_default().to_owned(),
        units: count(at),
        control_units: count(control),
        rate: line.rate,
        control_rate: line.control_rate,
        difference: line.compared.interval.map(|interval| interval.estimate),
        lower: line.compared.interval.map(|interval| interval.low),
        upper: line.compared.interval.map(|interval| interval.high),
        variance_saved: line.compared.variance_saved,
        split_p: mismatch.as_ref().map(|mismatch| mismatch.p_value),
        several: Some(i64::try_from(seen.several).unwrap_or(i64::MAX)),
        p_value: line.p_value,
        standing: line.compared.standing.to_owned(),
        changed_at: changed.as_ref().map(|changed| changed.at),
        changed: changed.as_ref().map(|changed| changed.parts.clone()),
    };
    let others: Vec<usize> = (0..variants.len()).filter(|at| *at != control).collect();
    let mut rows = Vec::new();
    for metric in metrics(experiment, seen.with_value) {
        let (kind, options) = match metric.of {
            Of::Outcome => ("share", &options),
            Of::Value => ("value", &options),
            Of::Guardrail(_) => ("guardrail", &guarding),
        };
        let lines = match unread.lacks(metric.of) {
            true => None,
            false => {
                let of = (control, mismatch.as_ref());
                match lines(experiment, &metric, &seen.units, of, options) {
                    Ok(lines) => Some(lines),
                    Err(error) => {
                        unread.keep(error.context(figure(name, &metric)))?;
                        None
                    }
                }
            }
        };
        let lines = lines.unwrap_or_else(|| others.iter().map(|at| (*at, Line::none())).collect());
        rows.extend(lines.iter().map(|(at, line)| row(&metric.name, kind, *at, line)));
    }
    for (place, metric) in experiment.metrics.iter().enumerate() {
        let adjusted = matches!(metric.measure, Measure::Ratio(_));
        for at in others.iter().copied() {
            let lacks = unread.metrics.contains(&place) || (unread.covariate && adjusted);
            let of = (metric, place);
            let sides = (at, control);
            let line = match lacks {
                true => Line::none(),
                false => {
                    match declared::compare(experiment, of, &seen.units, sides, &options, broken) {
                        Ok(line) => line,
                        Err(error) => {
                            let what = format!("experiment \"{name}\": metric \"{}\"", metric.name);
                            unread.keep(error.context(what))?;
                            unread.metrics.insert(place);
                            Line::none()
                        }
                    }
                }
            };
            rows.push(row(&metric.name, declared::kind(metric), at, &line));
        }
    }
    if seen.with_before {
        let value = seen.with_value.then_some(("value-before", before::Of::Value));
        for (metric, of) in [("outcome-before", before::Of::Outcome)].into_iter().chain(value) {
            for at in others.iter().copied() {
                let line = before::compare(of, &seen.units, (at, control))?;
                rows.push(row(metric, "before", at, &line));
            }
        }
    }
    Ok((rows, unread.errors))
}

/// What a figure is called in messages.
fn figure(name: &str, metric: &Metric) -> String {
    match metric.of {
        Of::Guardrail(_) => format!("experiment \"{name}\": guardrail \"{}\"", metric.name),
        Of::Outcome | Of::Value => format!("experiment \"{name}\": {}", metric.name),
    }
}

/// How every variant stands beside the control by one metric.
fn lines(
    experiment: &Experiment,
    metric: &Metric,
    units: &BTreeMap<String, Unit>,
    (control, mismatch): (usize, Option<&srm::Mismatch>),
    options: &sequence::Options,
) -> Result<Vec<(usize, Line)>> {
    let sides = sides(units, experiment.variants.len(), metric)?;
    let held = sides.get(control).copied().unwrap_or_default();
    let mut lines = Vec::with_capacity(sides.len());
    for (at, side) in sides.iter().enumerate().filter(|(at, _)| *at != control) {
        let compared = compare(experiment, metric, side, &held, options, mismatch)?;
        let (rate, control_rate) = (side.arm.rate(), held.arm.rate());
        lines.push((at, Line { rate, control_rate, compared, p_value: None }));
    }
    Ok(lines)
}

/// What people are told of an experiment's newest rows: that what defines it has changed since it began, that many units got
/// more than one variant, and that variants differed before anything was decided.
#[must_use]
pub fn warnings(rows: &[ExperimentRow]) -> Vec<String> {
    let mut told = changes(rows);
    let mut of_policy: BTreeMap<&str, (i64, BTreeMap<&str, i64>)> = BTreeMap::new();
    for row in rows {
        let (several, units) = of_policy.entry(&row.policy).or_default();
        *several = row.several.unwrap_or_default();
        units.insert(&row.variant, row.units);
        units.insert(&row.control, row.control_units);
    }
    for (policy, (several, units)) in of_policy {
        let all = units.values().sum::<i64>().saturating_add(several);
        if several > 0 && several as f64 > SEVERAL_MAX * all as f64 {
            told.push(format!(
                "experiment \"{policy}\": {several} units got more than one variant; see `multiple_exposure` in the \
                 guide of experiments"
            ));
        }
    }
    for row in rows.iter().filter(|row| row.standing == "biased") {
        told.push(format!(
            "experiment \"{}\": \"{}\" and \"{}\" differed before anything was decided ({}, p = {:.1e}); what they \
             show now is not to be believed until you have found why",
            row.policy,
            row.variant,
            row.control,
            row.metric,
            row.p_value.unwrap_or_default()
        ));
    }
    told
}

/// What people are told of experiments that have changed since they began, one sentence for each.
#[must_use]
pub fn changes(rows: &[ExperimentRow]) -> Vec<String> {
    let mut of_policy: BTreeMap<&str, (Timestamp, &str)> = BTreeMap::new();
    for row in rows {
        if let (Some(at), Some(parts)) = (row.changed_at, row.changed.as_deref()) {
            of_policy.insert(&row.policy, (at, parts));
        }
    }
    of_policy.into_iter().map(|(policy, (at, parts))| changed::told(policy, at, parts)).collect()
}

/// A number of each decision.
struct Metric {
    name: String,
    of: Of,
}

/// Where a metric's number is.
#[derive(Clone, Copy)]
enum Of {
    Outcome,
    Value,
    Guardrail(usize),
}

fn metrics(experiment: &Experiment, with_value: bool) -> Vec<Metric> {
    let mut metrics = vec![Metric { name: "outcome".to_owned(), of: Of::Outcome }];
    if with_value {
        metrics.push(Metric { name: "value".to_owned(), of: Of::Value });
    }
    let guardrails = experiment.guardrails.iter().enumerate();
    metrics.extend(
        guardrails.map(|(at, one)| Metric { name: one.name.clone(), of: Of::Guardrail(at) }),
    );
    metrics
}

/// Sums up every variant by one metric.
fn sides(units: &BTreeMap<String, Unit>, variants: usize, metric: &Metric) -> Result<Vec<Side>> {
    let mut sides = vec![Side::default(); variants];
    for unit in units.values() {
        let Some(side) = sides.get_mut(unit.variant) else { continue };
        let sum = match metric.of {
            Of::Outcome => unit.hits,
            Of::Value => unit.value,
            Of::Guardrail(at) => unit.guarded.get(at).copied().unwrap_or_default(),
        };
        side.arm.add(sum, unit.decisions)?;
        side.pairs.add(sum / unit.decisions.max(1.0), unit.before)?;
    }
    Ok(sides)
}

/// One comparison.
struct Compared {
    interval: Option<Interval>,
    variance_saved: Option<f64>,
    standing: &'static str,
}

impl Line {
    /// That of a figure which could not be read.
    fn none() -> Self {
        let compared = Compared { interval: None, variance_saved: None, standing: UNMEASURED };
        Self { rate: None, control_rate: None, compared, p_value: None }
    }
}

fn compare(
    experiment: &Experiment,
    metric: &Metric,
    side: &Side,
    held: &Side,
    options: &sequence::Options,
    mismatch: Option<&srm::Mismatch>,
) -> Result<Compared> {
    let broken = mismatch.is_some_and(|mismatch| mismatch.alarm);
    if let Of::Guardrail(at) = metric.of
        && let Some(declared) = experiment.guardrails.get(at)
    {
        let better = match declared.better {
            Better::Higher => guardrail::Better::Higher,
            Better::Lower => guardrail::Better::Lower,
        };
        let limit = Guardrail { better, harm_max: declared.harm_max.value(), sequence: *options };
        let watch = guardrail::watch(&side.arm, &held.arm, &limit)?;
        let standing = match watch.standing {
            _ if broken => "split-broken",
            Standing::Breached => "breached",
            Standing::Safe => "safe",
            Standing::Open => "open",
        };
        return Ok(Compared { interval: watch.difference, variance_saved: None, standing });
    }
    let spread = side.arm.shows_spread() && held.arm.shows_spread();
    let (interval, variance_saved) = if spread && experiment.pre_period.is_some() {
        cuped::always_valid(&side.pairs, &held.pairs, options)?
            .map_or((None, None), |(interval, saved)| (Some(interval), Some(saved)))
    } else if spread || !matches!(metric.of, Of::Outcome) {
        (sequence::careful_difference(&side.arm, &held.arm, options)?, None)
    } else {
        (of_alike(&side.arm, &held.arm, options)?, None)
    };
    Ok(Compared { interval, variance_saved, standing: standing_of(interval, broken) })
}

/// Where an interval lies, if the split is sound.
fn standing_of(interval: Option<Interval>, broken: bool) -> &'static str {
    match interval {
        _ if broken => "split-broken",
        Some(interval) if interval.low > 0.0 => "better",
        Some(interval) if interval.high < 0.0 => "worse",
        _ => "open",
    }
}

/// The difference of two shares while the units of an arm are all alike: the interval counts both with two units more, as
/// that of lift does.
fn of_alike(side: &Arm, held: &Arm, options: &sequence::Options) -> Result<Option<Interval>> {
    let Some(plain) = sequence::difference(side, held, options)? else { return Ok(None) };
    let more = sequence::difference(&side.with_two_more(), &held.with_two_more(), options)?;
    Ok(more.map(|more| Interval { estimate: plain.estimate, ..more }))
}

/// How many comparisons of an experiment share the error: each variant beside the control, by the outcome, by its value if
/// there is one, and by every declared metric.
fn comparisons(experiment: &Experiment, with_value: bool) -> usize {
    let figures = 1 + usize::from(with_value) + experiment.metrics.len();
    experiment.variants.len().saturating_sub(1) * figures
}

/// How intervals are made: so many comparisons together err as often as one may.
fn options(comparisons: usize) -> sequence::Options {
    sequence::Options {
        confidence: 1.0 - ERROR / comparisons.max(1) as f64,
        ..sequence::Options::default()
    }
}

/// The present share of a policy's holdout.
fn share(ctx: &Context<'_>, name: &str) -> Option<f64> {
    ctx.project.policies.get(name).map(|policy| share_now(policy))
}

/// Every unit of the present split and share of the holdout with a closed window, and what is to be said of them.
async fn seen(
    ctx: &Context<'_>,
    name: &str,
    (experiment, outcome): (&Experiment, &Outcome),
    sums: &[Sum<'_>],
    (unread, decided): (bool, Pending<'_>),
) -> Result<Seen> {
    let split = split_of(name, experiment);
    let present = share(ctx, name);
    let persons = Persons::load(ctx, name, experiment).await?;
    let splits = persons::splits(ctx, name, experiment, &split, decided).await?;
    let treated = |sum: &&Sum<'_>| sum.policy == name && sum.arm == TREATMENT;
    let mut got = Got::default();
    let mut units: BTreeMap<String, Unit> = BTreeMap::new();
    let mut with_value = false;
    for sum in sums.iter().filter(treated) {
        let assigned = sum.variant.filter(|(of, _)| splits.all.contains(*of));
        let Some((of, assigned)) = assigned else { continue };
        // What has another name was compared in another experiment.
        let variant = experiment.variants.iter().position(|variant| variant.name == assigned);
        let Some(variant) = variant else { continue };
        let who = persons.of(sum.unit);
        got.add(who, assigned);
        if of != split || sum.share.is_none() || sum.share != present {
            continue;
        }
        let known = splits.firsts.get(sum.unit).copied();
        let first = known.map(|known| known.in_split);
        let entry = units.entry(who.to_owned()).or_insert_with(|| Unit {
            variant,
            guarded: vec![0.0; experiment.guardrails.len()],
            declared: experiment.metrics.iter().map(|one| Figure::none(&one.measure)).collect(),
            first,
            ..Unit::default()
        });
        if first.is_some_and(|first| entry.first.is_none_or(|known| first < known)) {
            (entry.variant, entry.first) = (variant, first);
        }
        let since = known.map(|known| known.in_all);
        entry.since = since.into_iter().chain(entry.since).min();
        entry.decisions += sum.decisions as f64;
        entry.hits += sum.converted as f64;
        with_value |= sum.value.is_some();
        entry.value += sum.value.unwrap_or_default();
    }
    let mut counts = vec![0_u64; experiment.variants.len()];
    for unit in units.values() {
        if let Some(count) = counts.get_mut(unit.variant) {
            *count += 1;
        }
    }
    let several = units.keys().filter(|who| got.several(who)).count();
    if experiment.multiple_exposure == MultipleExposure::LeaveOut {
        units.retain(|who, _| !got.several(who));
    }
    let unread = Unread { outcome: unread, ..Unread::default() };
    let versions = splits.versions;
    let mut seen =
        Seen { units, with_value, with_before: false, counts, several, versions, unread };
    if seen.units.is_empty() {
        return Ok(seen);
    }
    if !experiment.guardrails.is_empty() || !experiment.metrics.is_empty() {
        let decisions = decisions(ctx, name, &split, outcome).await?;
        let (decisions, persons) = (&decisions, &persons);
        let counting = Counting { ctx, name, experiment, outcome, decisions, persons };
        guarded(&counting, &mut seen).await?;
        declared::count(&counting, &mut seen).await?;
    }
    if let Err(error) = before(ctx, name, experiment, &persons, &mut seen.units).await {
        seen.unread.keep(error)?;
        seen.unread.covariate = true;
    }
    if !seen.unread.outcome {
        match before::count(ctx, name, outcome, &persons, &mut seen.units).await {
            Ok(with_before) => seen.with_before = with_before,
            Err(error) => seen.unread.keep(error)?,
        }
    }
    Ok(seen)
}

/// The decisions of a split, under the present share of the holdout, whose window has closed: what guardrails count is
/// joined to each of them.
async fn decisions(
    ctx: &Context<'_>,
    name: &str,
    split: &str,
    outcome: &Outcome,
) -> Result<ByUnit> {
    let sql = format!(
        "select d.policy, d.policy_version as version, h.held, d.decision_id, d.unit_id, d.decided_at
         from system.decisions d
         left join (select coalesce(policy_version, '') as version, max(propensity) as held from system.decisions
                    where policy = '{name}' and arm = '{HOLDOUT}' group by 1) h
           on h.version = coalesce(d.policy_version, '')
         where d.policy = '{name}' and d.arm = '{TREATMENT}' and d.candidates_digest = '{split}'
           and d.decided_at <= {}
         order by d.unit_id, d.decided_at, d.decision_id",
        literal(closed_until(ctx.now, outcome))
    );
    let what = format!("experiment \"{name}\": decisions");
    let frame = ctx.frame_of_sql(&what, &sql).await?;
    let present = share(ctx, name);
    let mut decisions = ByUnit::new();
    let ids = frame.ids("decision_id")?.into_iter();
    let rows = ids.zip(frame.ids("unit_id")?).zip(frame.moments("decided_at")?);
    for (((id, unit), at), made) in rows.zip(shares_of(ctx, &frame)?) {
        if made.is_some() && made == present {
            decisions.entry(unit).or_default().push(Decision { id, at });
        }
    }
    Ok(decisions)
}

/// What an experiment reads to count the events after its decisions.
struct Counting<'a, 'c> {
    ctx: &'a Context<'c>,
    name: &'a str,
    experiment: &'a Experiment,
    outcome: &'a Outcome,
    decisions: &'a ByUnit,
    persons: &'a Persons,
}

impl Counting<'_, '_> {
    /// Has `count` take each event of a query that falls into the window of a decision, with its value, for the unit whose
    /// decision it belongs to; `of` is what it is counted for.
    async fn each(
        &self,
        of: &str,
        template: &str,
        units: &mut BTreeMap<String, Unit>,
        mut count: impl FnMut(&mut Unit, Option<f64>),
    ) -> Result<()> {
        let what = format!("experiment \"{}\": {of}", self.name);
        for row in self.events(&what, template).await? {
            if let Some(unit) = units.get_mut(self.persons.of(&row.unit_id)) {
                count(unit, row.value);
            }
        }
        Ok(())
    }

    /// The events of a query that fall into the window of a decision, each of the decision that it belongs to.
    async fn events(&self, what: &str, template: &str) -> Result<Vec<OutcomeRow>> {
        let ctx = self.ctx;
        let first = self.decisions.values().flatten().map(|decision| decision.at).min();
        let Some(first) = first else { return Ok(Vec::new()) };
        let events = ctx.render(template).map_err(|e| e.context(what))?;
        let events = statement::one(what, &events)?;
        let sql = format!(
            "select * from (\n{events}\n) as events where at >= {} and at <= {}",
            literal(Timestamp::from_micros(first)),
            literal(ctx.now)
        );
        let events = events_of(ctx, what, &sql).await?;
        let mut rows = attribute(self.decisions, &events, self.outcome.window.micros, ctx.now);
        rows.retain(is_measured);
        Ok(rows)
    }
}

/// Adds up what guardrails count, for each unit; what cannot be read of one is noted.
async fn guarded(counting: &Counting<'_, '_>, seen: &mut Seen) -> Result<()> {
    for (at, guardrail) in counting.experiment.guardrails.iter().enumerate() {
        let of = format!("guardrail \"{}\"", guardrail.name);
        let add = |unit: &mut Unit, value: Option<f64>| {
            if let Some(sum) = unit.guarded.get_mut(at) {
                *sum += value.unwrap_or(1.0);
            }
        };
        if let Err(error) = counting.each(&of, &guardrail.events, &mut seen.units, add).await {
            seen.unread.keep(error)?;
            seen.unread.guardrails.insert(at);
        }
    }
    Ok(())
}

/// Adds what is known of each unit from before the experiment; of whom nothing is known, it is 0.
async fn before(
    ctx: &Context<'_>,
    name: &str,
    experiment: &Experiment,
    persons: &Persons,
    units: &mut BTreeMap<String, Unit>,
) -> Result<()> {
    let Some(sql) = &experiment.pre_period else { return Ok(()) };
    let what = format!("experiment \"{name}\": pre_period");
    let frame = ctx.frame(&what, sql).await?;
    for (unit, value) in frame.ids("unit_id")?.into_iter().zip(frame.numbers("value")?) {
        if let Some(unit) = units.get_mut(persons.of(&unit)) {
            unit.before += value.filter(|value| value.is_finite()).unwrap_or_default();
        }
    }
    Ok(())
}

/// Pauses the policy if a guardrail is breached and there are enough units to say so.
fn guard(ctx: &Context<'_>, name: &str, policy: &Policy, rows: &[ExperimentRow]) -> Result<()> {
    let enough = i64::try_from(policy.guardrails.min_units).unwrap_or(i64::MAX);
    let breached = rows.iter().find(|row| {
        row.standing == "breached" && row.units >= enough && row.control_units >= enough
    });
    let Some(row) = breached else { return Ok(()) };
    let state = ctx.store.policy(name)?;
    if state.paused {
        return Ok(());
    }
    let reason = format!(
        "guardrail \"{}\": variant \"{}\" differs from \"{}\" by {:+.4}, always-valid interval [{:+.4}, {:+.4}]",
        row.metric,
        row.variant,
        row.control,
        row.difference.unwrap_or_default(),
        row.lower.unwrap_or_default(),
        row.upper.unwrap_or_default()
    );
    tracing::warn!(policy = name, %reason, "policy paused");
    ctx.store.record_policy(
        name,
        &PolicyState { paused: true, reason: Some(reason), ..state },
        ctx.now,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_covariate_and_more_variants_are_counted_in_the_interval() {
        let experiment = serde_json::from_value::<Experiment>(json!({
            "variants": [{"name": "a"}, {"name": "b"}], "pre_period": "select 1",
        }))
        .unwrap();
        let metric = Metric { name: "outcome".into(), of: Of::Outcome };
        let mut units = BTreeMap::new();
        for n in 0..2_000_usize {
            let before = (n / 2 % 10) as f64;
            let hits = before + if n % 2 == 1 { 0.4 } else { 0.0 } + (n % 7) as f64 * 0.1;
            let unit = Unit { variant: n % 2, decisions: 1.0, hits, before, ..Unit::default() };
            units.insert(n.to_string(), unit);
        }
        let sides = sides(&units, 2, &metric).unwrap();
        let with = compare(&experiment, &metric, &sides[1], &sides[0], &options(1), None).unwrap();
        let plain = Experiment { pre_period: None, ..experiment };
        let without = compare(&plain, &metric, &sides[1], &sides[0], &options(1), None).unwrap();
        let width = |compared: &Compared| {
            let interval = compared.interval.unwrap();
            interval.high - interval.low
        };
        assert_eq!(with.standing, "better");
        assert!(with.variance_saved.unwrap() > 0.9 && width(&with) < 0.2 * width(&without));
        let many = compare(&plain, &metric, &sides[1], &sides[0], &options(9), None).unwrap();
        assert!(width(&many) > width(&without));
        let uneven = srm::mismatch(&[1_200, 800], &[1.0, 1.0]).unwrap();
        let broken =
            compare(&plain, &metric, &sides[1], &sides[0], &options(1), Some(&uneven)).unwrap();
        assert_eq!(broken.standing, "split-broken");
    }

    #[test]
    fn units_that_are_all_alike_are_no_proof_while_they_are_few() {
        let experiment = serde_json::from_value::<Experiment>(json!({
            "variants": [{"name": "a"}, {"name": "b"}],
            "guardrails": [{"name": "calls", "better": "lower", "events": "select 1"}],
        }))
        .unwrap();
        // Everybody of the variant has an outcome and calls, nobody of the control.
        let compared = |each: usize, of: Of, first: f64| {
            let metric = Metric { name: "calls".into(), of };
            let mut units = BTreeMap::new();
            for n in 0..2 * each {
                let hits = if n == 0 { first } else { (n % 2) as f64 };
                let (value, guarded) = (9.0 * hits, vec![hits]);
                let (variant, decisions) = (n % 2, 1.0);
                let unit = Unit { variant, decisions, hits, value, guarded, ..Unit::default() };
                units.insert(n.to_string(), unit);
            }
            let sides = sides(&units, 2, &metric).unwrap();
            compare(&experiment, &metric, &sides[1], &sides[0], &options(1), None).unwrap()
        };
        for of in [Of::Outcome, Of::Value, Of::Guardrail(0)] {
            assert_eq!(compared(3, of, 0.0).standing, "open");
            assert_eq!(compared(3, of, 1.0).standing, "open");
        }
        let few = compared(3, Of::Outcome, 0.0).interval.unwrap();
        assert!(few.estimate > 0.99 && few.low < -0.5 && few.high > 1.0, "{few:?}");
        // An outcome is a share, so that many of them tell; sums have no bounds.
        assert_eq!(compared(2_000, Of::Outcome, 0.0).standing, "better");
        assert!(compared(2_000, Of::Value, 0.0).interval.is_none());
        assert_eq!(compared(2_000, Of::Guardrail(0), 0.0).standing, "open");
        // One unit of the control that differs tells how much units vary.
        assert_eq!(compared(2_000, Of::Value, 1.0).standing, "better");
        assert_eq!(compared(2_000, Of::Guardrail(0), 1.0).standing, "breached");
    }
}
