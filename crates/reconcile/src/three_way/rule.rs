//! The rules that decide a field changed on both sides since they last agreed.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Clash, Expressions};
use crate::record::{self, Side, canonical, is_blank};

/// What happens to a field that was changed on both sides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Rule {
    /// The left value wins.
    Left,
    /// The right value wins.
    Right,
    /// The left value wins unless it is blank.
    PreferLeftUnlessBlank,
    /// The right value wins unless it is blank.
    PreferRightUnlessBlank,
    /// The later change wins; a person decides if the times are no further apart than the clocks of
    /// the two systems may be, or if a time is unknown.
    Latest {
        /// How far apart the two clocks may be, in microseconds.
        skew_us: i64,
    },
    /// The greater value wins; blank is less than everything.
    Max,
    /// The smaller value that is not blank wins.
    Min,
    /// The values are sets: what either side added is added, what either side removed is removed.
    /// Without a last agreement it is the union of both.
    Union {
        /// What stands between the members if the set is kept as text, as `;` in a multi-select.
        #[serde(default)]
        separator: Option<String>,
    },
    /// The value that allows less wins: consent, opt-out, do-not-call.
    MostRestrictive {
        /// All values the field can have, the one that allows least first.
        order: Vec<Value>,
    },
    /// An SQL expression over `left`, `right` and `base`, evaluated by the caller.
    Expression {
        /// The expression.
        sql: String,
    },
    /// A person decides.
    #[default]
    Manual,
    /// The field is not synchronised at all.
    Never,
}

/// Why a rule cannot decide.
pub(crate) type Undecided = String;

impl Rule {
    /// Its name in audit rows and conflicts.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
            Self::PreferLeftUnlessBlank => "prefer-left-unless-blank",
            Self::PreferRightUnlessBlank => "prefer-right-unless-blank",
            Self::Latest { .. } => "latest",
            Self::Max => "max",
            Self::Min => "min",
            Self::Union { .. } => "union",
            Self::MostRestrictive { .. } => "most-restrictive",
            Self::Expression { .. } => "expression",
            Self::Manual => "manual",
            Self::Never => "never",
        }
    }

    /// Proves that the rule can decide something.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] that names the field and the argument.
    pub(crate) fn check(&self, field: &str) -> Result<()> {
        let (problem, hint) = match self {
            Self::Latest { skew_us } if *skew_us < 0 => (
                format!("skew_us of {skew_us} is less than 0"),
                "Write how far apart the clocks may be, 0 if they are one clock.",
            ),
            Self::Union { separator: Some(text) } if text.trim().is_empty() => (
                "the separator is blank".to_owned(),
                "Write what stands between the members, such as \";\".",
            ),
            Self::MostRestrictive { order } if order.len() < 2 => (
                "the order has fewer than two values".to_owned(),
                "List every value the field can have, the one that allows least first.",
            ),
            Self::MostRestrictive { order } if twice(order) => (
                "the order names a value twice".to_owned(),
                "List every value once, the one that allows least first.",
            ),
            Self::Expression { sql } if sql.trim().is_empty() => (
                "the expression is empty".to_owned(),
                "Write an expression over left, right, base.",
            ),
            _ => return Ok(()),
        };
        Err(Error::invalid(format!("field \"{field}\": rule {}: {problem}", self.name()))
            .hint(hint))
    }

    /// Whether two values of a field with this rule are the same; sets have no order.
    pub(crate) fn same(&self, a: &Value, b: &Value) -> bool {
        if let Self::Union { separator } = self
            && let (Some(a), Some(b)) = (members(a, separator), members(b, separator))
        {
            return a.keys().eq(b.keys());
        }
        record::same(a, b)
    }

    /// The value both sides shall have.
    pub(crate) fn decide(
        &self,
        clash: &Clash<'_>,
        expressions: &dyn Expressions,
    ) -> Result<Value, Undecided> {
        match self {
            Self::Left => Ok(clash.left.clone()),
            Self::Right => Ok(clash.right.clone()),
            Self::PreferLeftUnlessBlank => Ok(unless_blank(clash.left, clash.right)),
            Self::PreferRightUnlessBlank => Ok(unless_blank(clash.right, clash.left)),
            Self::Latest { skew_us } => latest(clash, *skew_us),
            Self::Max => extreme(clash, Ordering::Greater),
            Self::Min => extreme(clash, Ordering::Less),
            Self::Union { separator } => union(clash, separator),
            Self::MostRestrictive { order } => most_restrictive(clash, order),
            Self::Expression { sql } => expressions
                .evaluate(sql, clash)
                .map_err(|error| format!("the expression failed: {}", error.message())),
            Self::Manual => Err("changed on both sides".to_owned()),
            Self::Never => Err("the field is not synchronised".to_owned()),
        }
    }
}

fn twice(order: &[Value]) -> bool {
    order.iter().map(canonical).collect::<BTreeSet<_>>().len() < order.len()
}

fn unless_blank(first: &Value, second: &Value) -> Value {
    if is_blank(first) { second.clone() } else { first.clone() }
}

fn latest(clash: &Clash<'_>, skew_us: i64) -> Result<Value, Undecided> {
    let (Some(left), Some(right)) = (clash.changed_at.left, clash.changed_at.right) else {
        return Err("the time of a change is not known".to_owned());
    };
    if left.micros().abs_diff(right.micros()) <= skew_us.unsigned_abs() {
        return Err(format!(
            "changed on both sides within {} s, and the clocks may be that far apart",
            skew_us / 1_000_000
        ));
    }
    let winner = if left > right { Side::Left } else { Side::Right };
    Ok(clash.of(winner).clone())
}

fn extreme(clash: &Clash<'_>, wanted: Ordering) -> Result<Value, Undecided> {
    if is_blank(clash.left) || is_blank(clash.right) {
        return Ok(unless_blank(clash.left, clash.right));
    }
    match record::compare(clash.left, clash.right) {
        Some(order) if order == wanted => Ok(clash.left.clone()),
        Some(Ordering::Equal) | None => {
            Err("the two values cannot be ordered, they are of different kinds".to_owned())
        }
        Some(_) => Ok(clash.right.clone()),
    }
}

/// The members of a set by their canonical text; `None` if the value is not a set.
fn members(value: &Value, separator: &Option<String>) -> Option<BTreeMap<String, Value>> {
    match (value, separator) {
        (Value::Array(items), _) => {
            Some(items.iter().map(|item| (canonical(item), item.clone())).collect())
        }
        (Value::String(text), Some(separator)) => Some(
            text.split(separator.as_str())
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| (canonical(&Value::from(part)), Value::from(part)))
                .collect(),
        ),
        (blank, _) if is_blank(blank) => Some(BTreeMap::new()),
        _ => None,
    }
}

fn union(clash: &Clash<'_>, separator: &Option<String>) -> Result<Value, Undecided> {
    let sets = [clash.left, clash.right].map(|value| members(value, separator));
    let [Some(left), Some(right)] = sets else {
        return Err("a value is neither a list nor a text with the separator".to_owned());
    };
    let base = members(clash.base, separator).unwrap_or_default();
    let mut merged: BTreeMap<String, Value> = BTreeMap::new();
    for (key, member) in left.iter().chain(&right) {
        let kept = left.contains_key(key) && right.contains_key(key);
        if kept || !base.contains_key(key) {
            merged.insert(key.clone(), member.clone());
        }
    }
    let as_text = clash.left.is_string() || clash.right.is_string();
    match separator {
        Some(separator) if as_text => {
            let parts: Vec<&str> = merged.values().filter_map(Value::as_str).collect();
            Ok(Value::from(parts.join(separator)))
        }
        _ => Ok(merged.into_values().collect()),
    }
}

fn most_restrictive(clash: &Clash<'_>, order: &[Value]) -> Result<Value, Undecided> {
    let rank = |value: &Value| order.iter().position(|known| record::same(known, value));
    match (rank(clash.left), rank(clash.right)) {
        (Some(left), Some(right)) => {
            Ok(clash.of(if left <= right { Side::Left } else { Side::Right }).clone())
        }
        _ => Err("a value is not in the declared order of what allows least".to_owned()),
    }
}
