//! Whether an experiment is still what it began as.
//!
//! The text of a policy is kept when a version of it first decides, so that the decisions under comparison say what the
//! experiment was when it began, and when it became something else. Another salt, share, name of a variant or holdout begins
//! a new comparison; everything else that says who is decided for, what they get and what is counted goes on with the old one.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, ErrorKind, Result, Timestamp};
use flywheel_project::resource::policy::{Choose, Consent, Outcome};
use flywheel_project::resource::quantity::Share;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::context::Context;
use crate::verify::{kept_text, policy_text};

/// What makes an estimate one of two populations if it is changed: whom it is about, what they get, and what is counted as
/// decisions are made. All else is counted anew, of all decisions, each time one looks.
const MIXING: [&str; 6] = ["audience", "consent", "variants", "payload", "action", "outcome"];

/// What an experiment has that it did not begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Changed {
    /// Since when.
    pub(super) at: Timestamp,
    /// Which keys, with commas between them.
    pub(super) parts: String,
}

/// What says what an experiment is.
#[derive(Deserialize)]
struct Text {
    audience: String,
    choose: Choose,
    holdout: Share,
    #[serde(default)]
    consent: Option<Consent>,
    #[serde(default)]
    payload: BTreeMap<String, Value>,
    #[serde(default)]
    action: Option<String>,
    #[serde(default)]
    outcome: Option<Outcome>,
}

impl Text {
    /// Each key, with what it says.
    fn parts(&self) -> BTreeMap<&'static str, Value> {
        let outcome = self.outcome.as_ref();
        let events = outcome.and_then(|outcome| outcome.events.as_deref()).map(str::trim);
        let mut parts = BTreeMap::from([
            ("audience", json!(self.audience.trim())),
            ("consent", json!(self.consent)),
            ("payload", json!(self.payload)),
            ("action", json!(self.action)),
            ("outcome", json!([events, outcome.map(|outcome| outcome.window.micros)])),
        ]);
        if let Choose::Experiment(experiment) = &self.choose {
            parts.extend([
                ("variants", json!(experiment.variants)),
                ("control", json!(experiment.control())),
                ("metrics", json!(experiment.metrics)),
                ("guardrails", json!(experiment.guardrails)),
                ("pre_period", json!(experiment.pre_period)),
                ("identities", json!(experiment.identities)),
                ("multiple_exposure", json!(experiment.multiple_exposure)),
            ]);
        }
        parts
    }
}

/// What the experiment has, in what it decided under the present split or in its file, that it did not begin with; none if
/// it is what it was. `versions` are those that decided, each after the moment of its first decision, oldest first.
///
/// # Errors
/// Those of artifacts.
/// # Cost
/// One reading of the text of each version.
pub(super) fn since_start(
    ctx: &Context<'_>,
    name: &str,
    versions: &[(i64, String)],
) -> Result<Option<Changed>> {
    let Some(declared) = ctx.project.policies.get(name) else { return Ok(None) };
    let now: Text = serde_json::from_slice(&policy_text(declared)?)
        .map_err(|e| Error::internal("a policy cannot be read again").caused_by(e))?;
    let mut texts = Vec::new();
    for (since, version) in versions {
        if let Some(text) = text_of(ctx, name, version)? {
            texts.push((*since, text));
        }
    }
    if texts.is_empty() {
        return Ok(None);
    }
    texts.push((ctx.now.micros(), now));
    Ok(compared(&texts))
}

/// The text of a version; none if it is not kept or not readable.
fn text_of(ctx: &Context<'_>, name: &str, version: &str) -> Result<Option<Text>> {
    let text = match kept_text(ctx, name, version) {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            tracing::warn!(policy = name, version, error = %error, "text of a policy not readable");
            None
        }
        text => text?,
    };
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
}

/// Compares each text with the first of those that have the holdout of the last one: what was decided under another one is
/// not under comparison. Each has the moment since when it holds, in microseconds since the epoch (UTC), oldest first.
fn compared(texts: &[(i64, Text)]) -> Option<Changed> {
    let (_, present) = texts.last()?;
    let share = present.holdout.value();
    let same = |text: &Text| (text.holdout.value() - share).abs() < 1e-9;
    let mut counted = texts.iter().filter(|(_, text)| same(text));
    let first = counted.next()?.1.parts();
    let mut since = None;
    let mut keys: BTreeSet<&str> = BTreeSet::new();
    for (at, text) in counted {
        let parts = text.parts();
        let differing = parts.iter().filter(|(key, said)| first.get(*key) != Some(*said));
        let before = keys.len();
        keys.extend(differing.map(|(key, _)| *key));
        if keys.len() > before {
            since.get_or_insert(*at);
        }
    }
    let parts = keys.into_iter().collect::<Vec<_>>().join(", ");
    since.map(|at| Changed { at: Timestamp::from_micros(at), parts })
}

/// What is told of an experiment that is not what it began as.
pub(super) fn told(policy: &str, at: Timestamp, parts: &str) -> String {
    let mixes = parts.split(", ").any(|part| MIXING.contains(&part));
    let follows = match mixes {
        true => "what it shows mixes two populations, of before and after",
        false => "what it compares was chosen after it began",
    };
    format!(
        "experiment \"{policy}\" is not what it began as: since {at} it differs in {parts}, so that {follows}; another \
         `salt` in its file begins a new one"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(audience: &str, metric: &str, holdout: &str) -> Text {
        serde_json::from_value(json!({
            "audience": audience,
            "holdout": holdout,
            "choose": {"experiment": {
                "variants": [{"name": "a"}, {"name": "b"}],
                "metrics": [{"name": metric, "measure": {"ratio": {"numerator": "n", "denominator": "d"}}}],
            }},
        }))
        .unwrap()
    }

    #[test]
    fn what_changed_is_told_with_the_first_moment_of_it() {
        let begun = || (10, text("select 1", "m", "10%"));
        assert_eq!(compared(&[begun(), (20, text("select 1 ", "m", "10%"))]), None);
        let later =
            [begun(), (20, text("select 2", "m", "10%")), (30, text("select 1", "k", "10%"))];
        let found = compared(&later).unwrap();
        assert_eq!((found.at.micros(), found.parts.as_str()), (20, "audience, metrics"));
        // Under another holdout everything began anew.
        let anew =
            [begun(), (20, text("select 2", "m", "20%")), (30, text("select 2", "m", "20%"))];
        assert_eq!(compared(&anew), None);
    }

    #[test]
    fn another_audience_mixes_and_another_metric_was_chosen_later() {
        let at = Timestamp::from_micros(0);
        let audience = told("p", at, "audience, metrics");
        assert!(audience.contains("mixes two populations"), "{audience}");
        assert!(audience.contains("another `salt`"), "{audience}");
        let metric = told("p", at, "metrics");
        assert!(metric.contains("chosen after it began"), "{metric}");
    }
}
