//! How records are matched: what users declare.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

/// A rule by which two records are surely the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Exact {
    /// The same external id of a system.
    ExternalId {
        /// The system.
        system: String,
    },
    /// The same e-mail address, unless it is that of a desk (`info@`).
    Email {
        /// The field.
        field: String,
    },
    /// The same telephone number as E.164.
    Phone {
        /// The field.
        field: String,
    },
    /// The same values in all of these fields, none of them blank, without regard to case and width.
    Composite {
        /// The fields.
        fields: Vec<String>,
    },
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// A person's name: word by word, with short forms and initials.
    Name,
    /// A company's name: the weight of the words it shares, in English and Chinese.
    Company,
    /// The domain of an e-mail or web address, unless it is a free one.
    Domain,
    /// The whole e-mail address.
    Email,
    /// The telephone number.
    Phone,
    /// The same text without regard to case and width.
    Text,
}

/// A field that counts for the score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The field.
    pub field: String,
    /// How it is compared.
    pub measure: Measure,
    /// How much it counts.
    pub weight: f64,
    /// Below which likeness the two records are different, whatever the other fields say.
    #[serde(default)]
    pub at_least: f64,
}

/// How likely pairs are scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scored {
    /// The fields.
    pub parts: Vec<Part>,
    /// From which score on a pair is joined.
    pub auto: f64,
    /// From which score on a person is asked.
    pub review: f64,
}

/// A check that keeps exact rules from joining two people who share an address or a telephone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contradiction {
    /// The field, where both records have it.
    pub field: String,
    /// How it is compared.
    pub measure: Measure,
    /// Below which likeness a person is asked.
    pub below: f64,
}

/// How records are matched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MatchRules {
    /// The rules by which records are surely the same, the strongest first.
    pub exact: Vec<Exact>,
    /// What speaks against an exact rule, except one by external id.
    pub contradiction: Option<Contradiction>,
    /// How other pairs are scored.
    pub scored: Option<Scored>,
    /// The calling code of telephone numbers without one, such as `86`.
    pub calling_code: String,
}

impl MatchRules {
    /// Proves that the rules can match something.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] that names the rule and the fix.
    pub fn check(&self) -> Result<()> {
        let problem = |message: String, hint: &str| Err(Error::invalid(message).hint(hint));
        if self.exact.is_empty() && self.scored.is_none() {
            return problem(
                "matching has no rules".to_owned(),
                "Name exact rules (email, phone, external-id, composite) or scored parts.",
            );
        }
        if !self.calling_code.chars().all(|c| c.is_ascii_digit()) {
            return problem(
                format!("calling_code \"{}\" is not a calling code", self.calling_code),
                "Write its digits only, such as 86 or 1.",
            );
        }
        for rule in &self.exact {
            if matches!(rule, Exact::Composite { fields } if fields.is_empty()) {
                return problem(
                    "a composite rule has no fields".to_owned(),
                    "Name the fields that identify a record together.",
                );
            }
        }
        let Some(scored) = &self.scored else { return Ok(()) };
        if !(0.0 < scored.review && scored.review <= scored.auto && scored.auto <= 1.0) {
            return problem(
                format!(
                    "thresholds review {} and auto {} are not possible",
                    scored.review, scored.auto
                ),
                "Write 0 < review <= auto <= 1, such as review 0.8 and auto 0.92.",
            );
        }
        for part in &scored.parts {
            if !(part.weight > 0.0
                && part.weight.is_finite()
                && (0.0..=1.0).contains(&part.at_least))
            {
                return problem(
                    format!(
                        "the scored field \"{}\" has an impossible weight or at_least",
                        part.field
                    ),
                    "Write a weight greater than 0 and at_least from 0 to 1.",
                );
            }
        }
        if scored.parts.is_empty() {
            return problem(
                "scoring has no parts".to_owned(),
                "Name the fields that are compared.",
            );
        }
        Ok(())
    }
}
