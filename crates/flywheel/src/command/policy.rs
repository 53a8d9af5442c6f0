//! `flywheel policy`.

use clap::{Args, Subcommand};
use flywheel_base::{Result, Timestamp};
use flywheel_decision::challenge::{Challenge, Judgement};
use flywheel_decision::preview::{Preview, SAMPLE_DEFAULT, SAMPLE_MAX};
use flywheel_decision::verify::Field;
use flywheel_runtime::access::Reading;
use flywheel_runtime::{Access, halt, policy, run};
use serde_json::json;

use super::Runs;
use super::status::stopped;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};

/// How many decisions that came out otherwise are named.
const NAMED_MAX: usize = 10;

/// Options of `flywheel policy`.
#[derive(Debug, Args)]
pub(crate) struct Policy {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Shows what a policy would decide if it were asked now, and writes nothing
    Preview {
        /// The policy
        name: String,
        /// How many decisions are shown, at most 200
        #[arg(long, value_name = "N", default_value_t = SAMPLE_DEFAULT)]
        sample: usize,
    },
    /// Stops a policy, or all at once: no decisions, no deliveries, until it is resumed
    Pause {
        /// The policy
        #[arg(required_unless_present = "all")]
        name: Option<String>,
        /// Stops all policies at once, whatever else is done to the project; those that are paused each by itself stay so
        /// when all are resumed
        #[arg(long, conflicts_with = "name")]
        all: bool,
        /// Why, for the record
        #[arg(long, default_value = "paused by hand")]
        reason: String,
    },
    /// Lets a paused policy go on
    Resume {
        /// The policy
        #[arg(required_unless_present = "all")]
        name: Option<String>,
        /// Lets all policies go on that were stopped at once, but for those that are paused each by itself
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Makes dead letters of a policy due again: they leave with the next turn, or soon after a server is started
    Retry {
        /// The policy
        name: String,
    },
    /// Gives up deliveries of a policy for good: dead letters, and what waits for an action or a policy that is gone
    Discard {
        /// The policy; its file may be gone
        name: String,
        /// Only deliveries by this action; its file may be gone
        #[arg(long)]
        action: Option<String>,
        /// Why, for the record
        #[arg(long)]
        reason: String,
    },
    /// Estimates what a challenger would have earned with the policy's logged decisions
    Evaluate {
        /// The policy whose decisions are the evidence
        name: String,
        #[command(flatten)]
        evidence: Evidence,
        /// A learner, `LEARNER@DIGEST` for one artifact of it, a policy with fixed weights, or `even`
        #[arg(long)]
        against: String,
    },
    /// Lets a challenger decide for a policy from the next turn on, if the evidence suffices; where the policy has a
    /// canary, for a first share of units
    Promote {
        /// The policy
        name: String,
        /// A learner, or `LEARNER@DIGEST` to hold it at one artifact
        challenger: String,
        #[command(flatten)]
        evidence: Evidence,
        /// Promotes without sufficient evidence, for this reason
        #[arg(long, value_name = "REASON")]
        despite: Option<String>,
    },
    /// Ends a policy's canary, or takes its newest promotion back
    Rollback {
        /// The policy
        name: String,
        /// Why, for the record
        #[arg(long, default_value = "taken back by hand")]
        reason: String,
    },
    /// Ends an experiment: everybody who is not held out gets the variant that is kept, from the next turn on, until the
    /// file declares another experiment
    Conclude {
        /// The policy
        name: String,
        /// The variant that is kept
        #[arg(long, value_name = "VARIANT", required_unless_present = "reopen")]
        keep: Option<String>,
        /// Takes that back: each unit gets the variant it had
        #[arg(long, conflicts_with = "keep")]
        reopen: bool,
        /// Why, for the record
        #[arg(long)]
        reason: Option<String>,
    },
    /// Makes decisions again from what was logged, the policy as it was and the artifact that scored, and compares them
    /// bit for bit
    Verify {
        /// The policy
        name: String,
        /// Only this decision
        #[arg(long, value_name = "ID")]
        decision: Option<String>,
    },
}

/// Which decisions count, and for what.
#[derive(Debug, Args)]
struct Evidence {
    /// Counts only decisions from this day or moment on
    #[arg(long, value_name = "MOMENT")]
    since: Option<String>,
    /// The gain in reward a decision that the lower end of its interval must exceed
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    gain: f64,
}

impl Evidence {
    fn challenge(self, policy: String, against: String) -> Result<Challenge> {
        let since = self.since.as_deref().map(Timestamp::parse).transpose()?;
        Ok(Challenge { policy, against, since, gain_min: self.gain })
    }
}

impl Runs for Policy {
    const ABOUT: &'static str = "Previews, pauses and resumes policies, retries or discards deliveries, judges and promotes who decides";

    async fn run(self, app: App) -> Result<Exit> {
        match self.verb {
            Verb::Preview { name, sample } => {
                let workspace = app.open(Access::Read).await?;
                let sample = sample.min(SAMPLE_MAX);
                let found =
                    Box::pin(policy::preview(&workspace, &name, sample, &Reading::Owner)).await?;
                previewed(&app, &found)
            }
            Verb::Evaluate { name, evidence, against } => {
                let challenge = evidence.challenge(name, against)?;
                let workspace = app.open(Access::Read).await?;
                judged(&app, &policy::judge(&workspace, &challenge).await?)
            }
            Verb::Promote { name, challenger, evidence, despite } => {
                let challenge = evidence.challenge(name, challenger)?;
                let workspace = app.open(Access::Write).await?;
                let name = &challenge.policy;
                let made = policy::promote(&workspace, &challenge, despite.as_deref()).await?;
                if let Some(share) = made.share {
                    app.output.message(&format!(
                        "canary {}: from the next turn on \"{}\" decides for {:.0} % of the units of {name}, {} for the others; `flywheel policy rollback {name}` ends it",
                        made.number, challenge.against, 100.0 * share, made.before
                    ));
                    return Ok(Exit::Done);
                }
                app.output.message(&format!(
                    "from the next turn on {} decides for {name}, not {}; `flywheel policy rollback {name}` takes it back",
                    made.now, made.before
                ));
                Ok(Exit::Done)
            }
            Verb::Rollback { name, reason } => {
                let workspace = app.open(Access::Write).await?;
                let (before, now) = policy::roll_back(&workspace, &name, &reason).await?;
                app.output.message(&format!(
                    "from the next turn on {now} decides for {name} again, not {before}"
                ));
                Ok(Exit::Done)
            }
            Verb::Conclude { name, keep, reopen, reason } => {
                let keep = keep.filter(|_| !reopen);
                conclude(&app, &name, keep.as_deref(), reason.as_deref()).await
            }
            Verb::Verify { name, decision } => verify(&app, &name, decision.as_deref()).await,
            Verb::Pause { name, all, reason } => {
                let Some(name) = name.filter(|_| !all) else {
                    let (halted, new) = halt::stop_in(&app.dir()?, &reason)?;
                    if !new {
                        app.output.message("They were stopped already; who did it first stays.");
                    }
                    app.output.message(&stopped(&halted));
                    return Ok(Exit::Done);
                };
                let workspace = app.open(Access::Write).await?;
                run::pause(&workspace, &name, &reason)?;
                app.output.message(&format!("{name} is paused: {reason}"));
                Ok(Exit::Done)
            }
            Verb::Resume { name, all } => {
                let Some(name) = name.filter(|_| !all) else {
                    app.output.message(if halt::lift_in(&app.dir()?)? {
                        "all policies go on, but for those that are paused each by itself"
                    } else {
                        "no halt is on: resume each policy that is paused by its name"
                    });
                    return Ok(Exit::Done);
                };
                let workspace = app.open(Access::Write).await?;
                run::resume(&workspace, &name)?;
                app.output.message(&format!("{name} goes on at the next turn"));
                Ok(Exit::Done)
            }
            Verb::Retry { name } => {
                let workspace = app.open(Access::Write).await?;
                let retried = run::retry(&workspace, &name)?;
                app.output
                    .message(&format!("{retried} deliveries are due again: `flywheel act` sends them, as do turns and a server"));
                Ok(Exit::Done)
            }
            Verb::Discard { name, action, reason } => {
                let workspace = app.open(Access::Write).await?;
                let done = run::discard(&workspace, &name, action.as_deref(), &reason)?;
                app.output.message(&match done.kept {
                    0 => format!("{} deliveries are discarded", done.discarded),
                    kept => format!(
                        "{} deliveries are discarded; {kept} more can still leave and stay",
                        done.discarded
                    ),
                });
                Ok(Exit::Done)
            }
        }
    }
}

/// Prints what a policy would decide: counts, what is chosen how often, and the first decisions.
fn previewed(app: &App, preview: &Preview) -> Result<Exit> {
    if app.output.format == Format::Json {
        app.output.json(preview)?;
        return Ok(Exit::Done);
    }
    let mut sample = Grid::new(&["unit", "arm", "action", "#propensity", "items", "payload"]);
    let text = |value: &Option<serde_json::Value>| {
        value.as_ref().map_or_else(String::new, ToString::to_string)
    };
    for one in &preview.sample {
        sample.row(vec![
            one.unit_id.clone(),
            one.arm.clone(),
            one.action.clone(),
            format!("{:.4}", one.propensity),
            text(&one.items),
            text(if one.written.is_some() { &one.written } else { &one.payload }),
        ]);
    }
    if !app.output.for_people() {
        app.output.grid(&sample)?;
        return Ok(Exit::Done);
    }
    let state = match (&preview.paused, preview.due) {
        (Some(reason), _) => format!("it is paused: {reason}"),
        (None, false) => "it is not due".to_owned(),
        (None, true) => "it is due".to_owned(),
    };
    app.output.line(&format!(
        "{} at {}: nothing is written; {state}\n\
         {} rows in the audience, {} decisions: {} treated, {} in the holdout",
        preview.policy,
        preview.at,
        preview.audience,
        preview.decisions,
        preview.treated,
        preview.held_out
    ))?;
    if preview.globally_held > 0 {
        let held = preview.globally_held;
        app.output.line(&format!("{held} in the holdout of all policies"))?;
    }
    let leaving = &preview.delivery;
    if let Some(action) = &leaving.action {
        let connector = leaving.connector.as_deref().unwrap_or("unknown");
        app.output.line(&format!("{} leave by {action} ({connector})", leaving.leaves))?;
    }
    let faults =
        [("rows have no unit_id", preview.without_unit), ("units are repeated", preview.repeated)];
    for (what, count) in faults.into_iter().filter(|(_, count)| *count > 0) {
        app.output.line(&format!("{count} {what}"))?;
    }
    for one in &preview.left_out {
        app.output.line(&format!("{} left out: {}", one.units, one.reason))?;
    }
    if !preview.actions.is_empty() {
        let mut actions = Grid::new(&["action", "#units", "#share"]);
        for one in &preview.actions {
            let share = format!("{:.1} %", 100.0 * one.share);
            actions.row(vec![one.action.clone(), one.units.to_string(), share]);
        }
        app.output.line("")?;
        app.output.grid(&actions)?;
    }
    if !preview.sample.is_empty() {
        app.output.line("")?;
        app.output.grid(&sample)?;
    }
    if !preview.notes.is_empty() {
        app.output.line("")?;
    }
    for note in &preview.notes {
        app.output.line(&format!("- {note}"))?;
    }
    Ok(Exit::Done)
}

/// Prints estimates and verdict; a challenger that may not be promoted is no failure of the question.
fn judged(app: &App, judgement: &Judgement) -> Result<Exit> {
    if app.output.format == Format::Json {
        app.output.json(judgement)?;
        return Ok(Exit::Done);
    }
    let estimates = &judgement.verdict.estimates;
    let mut grid = Grid::new(&[
        "reward a decision",
        "#estimate",
        "#lower",
        "#upper",
        "#gain",
        "#gain lower",
        "#gain upper",
    ]);
    let number = |value: f64| format!("{value:.5}");
    let earned = estimates.earned;
    grid.row(vec![
        "earned, as decided".to_owned(),
        number(earned.estimate),
        number(earned.low),
        number(earned.high),
        String::new(),
        String::new(),
        String::new(),
    ]);
    let rows = [("ips", Some(estimates.ips)), ("snips", estimates.snips), ("dr", estimates.dr)];
    for (name, estimate) in rows {
        let Some(estimate) = estimate else { continue };
        let (value, gain) = (estimate.value, estimate.gain);
        let numbers = [value.estimate, value.low, value.high, gain.estimate, gain.low, gain.high];
        grid.row(
            std::iter::once(format!("{} by {name}", judgement.against))
                .chain(numbers.map(number))
                .collect(),
        );
    }
    app.output.grid(&grid)?;
    if !app.output.for_people() {
        return Ok(Exit::Done);
    }
    let day =
        |at: &Option<String>| at.as_ref().map_or("–", |at| at.get(..10).unwrap_or(at)).to_owned();
    app.output.line(&format!(
        "\n{} decisions of {} from {} to {}, reward: {}\n\
         they amount to {:.0} of the challenger's own; weights average {:.3}, the largest is {:.1}, {} are cut\n\
         it earns at least {:.5} a decision, whatever the rewards' distribution",
        estimates.rows,
        judgement.policy,
        day(&judgement.first),
        day(&judgement.last),
        judgement.reward,
        estimates.effective,
        estimates.weight.estimate,
        estimates.weight_largest,
        estimates.cut,
        estimates.bound
    ))?;
    for (count, why) in [
        (judgement.without_chances, "have no logged probabilities"),
        (judgement.without_context, "lack a column of the challenger's context"),
    ] {
        if count > 0 {
            app.output.line(&format!("{count} more decisions {why} and do not count"))?;
        }
    }
    if judgement.verdict.promotes() {
        app.output.line("\nThe evidence suffices for a promotion.")?;
    } else {
        app.output.line("\nThe evidence does not suffice for a promotion:")?;
        for refusal in &judgement.verdict.refusals {
            app.output.line(&format!("- {refusal}"))?;
        }
    }
    Ok(Exit::Done)
}

/// Ends an experiment with the variant `keep`, or opens it again without one.
async fn conclude(app: &App, name: &str, keep: Option<&str>, why: Option<&str>) -> Result<Exit> {
    let workspace = app.open(Access::Write).await?;
    let by = halt::COMMAND_LINE;
    let Some(keep) = keep else {
        let was = policy::reopen(&workspace, name, why, by).await?;
        app.output.message(&format!(
            "from the next turn on each unit of {name} gets its own variant again, not \"{}\"",
            was.variant
        ));
        return Ok(Exit::Done);
    };
    let made = policy::conclude(&workspace, name, keep, why, by).await?;
    for doubt in &made.doubts {
        app.output.message(&format!("warning: {doubt}"));
    }
    app.output.message(&format!(
        "from the next turn on all units of {name} get \"{keep}\", but for the holdout; `flywheel policy conclude {name} --reopen` takes it back"
    ));
    Ok(Exit::Done)
}

/// Proves decisions; one that comes out otherwise is a failure.
async fn verify(app: &App, name: &str, decision: Option<&str>) -> Result<Exit> {
    let workspace = app.open(Access::Read).await?;
    let verified = policy::verify(&workspace, name, decision).await?;
    if app.output.format == Format::Json {
        let ids = verified.differences.iter().map(|one| one.decision_id.as_str());
        app.output.json(&json!({
            "same": verified.same,
            "different": ids.collect::<Vec<_>>(),
            "different_count": verified.different,
            "differences": verified.differences,
            "unknown": verified.unknown.values().sum::<usize>(),
            "reasons": verified.unknown,
        }))?;
    } else {
        let mut grid = Grid::new(&["#same", "#different", "#cannot be made again"]);
        let unknown = verified.unknown.values().sum();
        grid.row([verified.same, verified.different, unknown].map(|n| n.to_string()).to_vec());
        app.output.grid(&grid)?;
        for one in verified.differences.iter().take(NAMED_MAX) {
            app.output.message(&format!("decision {} comes out otherwise", one.decision_id));
            for Field { column, logged, again } in &one.differs {
                app.output.message(&format!("  {column}: logged {logged}, again {again}"));
            }
        }
        for (reason, count) in &verified.unknown {
            app.output.message(&format!("{count} cannot be made again: {reason}"));
        }
    }
    Ok(if verified.different == 0 { Exit::Done } else { Exit::Failed })
}
