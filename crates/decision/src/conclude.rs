//! The end of an experiment: one variant is kept for everybody, until the file declares another split or the experiment is
//! opened again.
//!
//! It is a promotion whose `declared` names the split and whose `learner` is the variant; what was decided under it has a
//! split of its own, so that it is not mixed into the comparison.

use std::collections::BTreeSet;

use flywheel_base::{Error, Result, Timestamp, suggest};
use flywheel_project::resource::policy::Experiment;
use flywheel_state::{Promotion, Store};
use serde::Serialize;
use serde_json::json;

use crate::champion::pile;
use crate::choose::experiment::split_of;
use crate::context::Context;
use crate::experiment::{UNMEASURED, changes, find, standing};
use crate::table::ExperimentRow;

/// The variant that everybody gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Conclusion {
    /// The variant.
    pub variant: String,
    /// The number of the promotion that it is.
    pub number: i64,
    /// When, by the logical clock.
    pub at: Timestamp,
    /// Why, and by whom.
    pub reason: String,
}

/// An experiment that was ended.
#[derive(Clone, Debug)]
pub struct Concluded {
    /// What everybody gets from the next turn on.
    pub now: Conclusion,
    /// What speaks against the choice, or is not known.
    pub doubts: Vec<String>,
    /// How the variants stood.
    pub evidence: Vec<ExperimentRow>,
}

/// What a conclusion was made under: the split of the policy's file.
pub(crate) fn declared(policy: &str, experiment: &Experiment) -> String {
    format!("split {}", split_of(policy, experiment))
}

/// The variant that everybody gets of the experiment that `policy` declares now; none if each unit gets its own.
///
/// # Errors
/// Those of the metadata.
pub fn concluded(
    store: &Store,
    policy: &str,
    experiment: &Experiment,
) -> Result<Option<Conclusion>> {
    let all = store.promotions_of(policy)?;
    Ok(pile(&all, &declared(policy, experiment)).last().map(|top| Conclusion {
        variant: top.learner.clone(),
        number: top.number,
        at: top.at,
        reason: top.reason.clone(),
    }))
}

/// Ends the experiment of the policy `name`: from the next decision on every unit that is not held out gets the variant
/// `keep`. How the variants stand is recorded with it, whatever it says.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if it is no experiment or has no such variant,
/// [`flywheel_base::ErrorKind::Invalid`] if that variant is kept already, else those of the lake.
pub async fn conclude(
    ctx: &Context<'_>,
    name: &str,
    keep: &str,
    why: Option<&str>,
    by: &str,
) -> Result<Concluded> {
    let (_, experiment, _) = find(ctx, name)?;
    let variants = experiment.variants.iter().map(|variant| variant.name.as_str());
    if !variants.clone().any(|variant| variant == keep) {
        return Err(Error::not_found(format!("experiment \"{name}\" has no variant \"{keep}\""))
            .hint(suggest::hint(keep, variants)));
    }
    if let Some(now) = concluded(ctx.store, name, experiment)?
        && now.variant == keep
    {
        return Err(Error::invalid(format!(
            "variant \"{keep}\" of \"{name}\" is kept already, since {}",
            now.at
        ))
        .hint(format!(
            "`flywheel policy conclude {name} --reopen` gives each unit its own again."
        )));
    }
    let evidence = Box::pin(standing(ctx, Some(name))).await?.rows;
    let doubts = doubts(experiment, keep, &evidence);
    let reason = match why {
        Some(why) => format!("kept by {by}: {why}"),
        None => format!("kept by {by}"),
    };
    let rows = serde_json::to_value(&evidence)
        .map_err(|e| Error::internal("how an experiment stands is no JSON").caused_by(e))?;
    let number = ctx.store.record_promotion(&Promotion {
        policy: name.to_owned(),
        number: 0,
        at: ctx.now,
        declared: declared(name, experiment),
        learner: keep.to_owned(),
        artifact: None,
        undoes: None,
        reason: reason.clone(),
        evidence: json!({"by": by, "doubts": doubts, "variants": rows}),
    })?;
    let now = Conclusion { variant: keep.to_owned(), number, at: ctx.now, reason };
    Ok(Concluded { now, doubts, evidence })
}

/// Opens a concluded experiment again: each unit gets the variant that it had. Returns what everybody got until now.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if the policy is no experiment, [`flywheel_base::ErrorKind::Invalid`] if it is
/// not concluded.
pub fn reopen(ctx: &Context<'_>, name: &str, why: Option<&str>, by: &str) -> Result<Conclusion> {
    let (_, experiment, _) = find(ctx, name)?;
    let Some(now) = concluded(ctx.store, name, experiment)? else {
        return Err(Error::invalid(format!("experiment \"{name}\" is not concluded"))
            .hint("Each unit gets its own variant already."));
    };
    let declared = declared(name, experiment);
    let reason = match why {
        Some(why) => format!("opened again by {by}: {why}"),
        None => format!("opened again by {by}"),
    };
    for one in pile(&ctx.store.promotions_of(name)?, &declared).iter().rev() {
        ctx.store.record_promotion(&Promotion {
            policy: name.to_owned(),
            number: 0,
            at: ctx.now,
            declared: declared.clone(),
            learner: String::new(),
            artifact: None,
            undoes: Some(one.number),
            reason: reason.clone(),
            evidence: json!({"by": by}),
        })?;
    }
    Ok(now)
}

/// What speaks against keeping a variant, or is not known.
fn doubts(experiment: &Experiment, keep: &str, rows: &[ExperimentRow]) -> Vec<String> {
    if rows.is_empty() {
        return vec!["nothing is measured yet".to_owned()];
    }
    let mut doubts = Vec::new();
    if rows.iter().any(|row| row.standing == "split-broken") {
        doubts
            .push("units are not divided as declared, so nothing follows from the results".into());
    }
    doubts.extend(changes(rows));
    let unmeasured = rows.iter().filter(|row| row.standing == UNMEASURED);
    let unmeasured: BTreeSet<&str> = unmeasured.map(|row| row.metric.as_str()).collect();
    for metric in unmeasured {
        doubts.push(format!("\"{metric}\" cannot be read now, so that nobody knows how it stands"));
    }
    for row in rows.iter().filter(|row| row.standing == "breached" && row.variant == keep) {
        doubts.push(format!("variant \"{keep}\" breaches the guardrail \"{}\"", row.metric));
    }
    let is_control = experiment.control() == Some(keep);
    for row in rows.iter().filter(|row| row.standing == "biased") {
        if is_control || row.variant == keep {
            doubts.push(format!(
                "\"{}\" and \"{}\" differed before anything was decided ({})",
                row.variant, row.control, row.metric
            ));
        }
    }
    let compared = rows.iter().filter(|row| row.metric == "outcome" && row.standing != UNMEASURED);
    for row in compared.filter(|row| is_control || row.variant == keep) {
        let sides = format!("\"{}\" beside \"{}\"", row.variant, row.control);
        match (row.lower, row.upper) {
            (Some(lower), Some(upper)) if lower <= 0.0 && upper >= 0.0 => doubts.push(format!(
                "{sides}: the interval from {lower:+.4} to {upper:+.4} includes 0, so it is not known which is better"
            )),
            (Some(lower), Some(_)) if lower > 0.0 && is_control => {
                doubts.push(format!("{sides} is better, and the other one is kept"));
            }
            (Some(_), Some(upper)) if upper < 0.0 && !is_control => {
                doubts.push(format!("{sides} is worse"));
            }
            (Some(_), Some(_)) => {}
            _ => doubts.push(format!("{sides}: there is no interval yet")),
        }
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn experiment() -> Experiment {
        serde_json::from_value(json!({
            "variants": [{"name": "a"}, {"name": "b"}, {"name": "c"}], "control": "a",
        }))
        .unwrap()
    }

    fn row(variant: &str, between: Option<(f64, f64)>, standing: &str) -> ExperimentRow {
        ExperimentRow {
            turn: 1,
            at: Timestamp::from_micros(0),
            policy: "p".into(),
            split: "s".into(),
            metric: "outcome".into(),
            kind: Some("share".into()),
            variant: variant.into(),
            control: "a".into(),
            units: 10,
            control_units: 10,
            rate: None,
            control_rate: None,
            difference: between.map(|(lower, upper)| f64::midpoint(lower, upper)),
            lower: between.map(|(lower, _)| lower),
            upper: between.map(|(_, upper)| upper),
            variance_saved: None,
            split_p: None,
            several: None,
            p_value: None,
            standing: standing.into(),
            changed_at: None,
            changed: None,
        }
    }

    #[test]
    fn what_is_not_proved_is_said_and_what_is_proved_is_not_doubted() {
        let rows = [row("b", Some((0.1, 0.2)), "better"), row("c", Some((-0.1, 0.2)), "open")];
        assert_eq!(doubts(&experiment(), "b", &rows), Vec::<String>::new());
        let open = doubts(&experiment(), "c", &rows);
        assert!(open.len() == 1 && open[0].contains("-0.1000 to +0.2000 includes 0"), "{open:?}");
        let control = doubts(&experiment(), "a", &rows);
        assert!(control[0].contains("\"b\" beside \"a\" is better"), "{control:?}");
        assert!(control[1].contains("includes 0"), "{control:?}");
        let worse = doubts(&experiment(), "b", &[row("b", Some((-0.2, -0.1)), "worse")]);
        assert_eq!(worse, ["\"b\" beside \"a\" is worse"]);
        let broken = doubts(&experiment(), "b", &[row("b", None, "split-broken")]);
        assert!(broken[0].contains("not divided as declared"), "{broken:?}");
        assert!(broken[1].contains("no interval yet"), "{broken:?}");
        assert_eq!(doubts(&experiment(), "b", &[]), ["nothing is measured yet"]);
        let unread = doubts(&experiment(), "b", &[row("b", None, "unmeasured")]);
        assert!(unread.len() == 1 && unread[0].contains("cannot be read"), "{unread:?}");
        let since = Some(Timestamp::from_micros(0));
        let later = ExperimentRow {
            changed_at: since,
            changed: Some("audience".into()),
            ..row("b", Some((0.1, 0.2)), "better")
        };
        let later = doubts(&experiment(), "b", &[later]);
        assert!(later.len() == 1 && later[0].contains("mixes two populations"), "{later:?}");
    }

    #[test]
    fn a_conclusion_holds_for_the_split_it_was_made_under() {
        let other = Experiment { salt: Some("two".into()), ..experiment() };
        assert_ne!(declared("p", &experiment()), declared("p", &other));
        assert!(declared("p", &other).starts_with("split "), "no learner has such a name");
    }
}
