//! Which records of one or several systems are the same person or company.
//!
//! ```text
//!  entries ─► exact rules, in order ─► certain pairs ───────────────┐
//!          └► blocking ─► scored pairs ─► score ≥ auto ─────────────┼─► clusters ─► merge ─► unmerge
//!                                     └► review ≤ score < auto ─► a person
//! ```
//!
//! Only records that share a blocking key are compared, so the work grows with the number of records,
//! not with its square. A pair is joined only if the cluster that comes out stays sound: two different
//! external ids of one system are never joined, and a chain of likenesses whose ends are not alike is
//! not either; both go to a person instead. What a person said goes before every rule: records that were said
//! to be different are never in one cluster.

mod block;
mod cluster;
mod normal;
mod rules;
mod similar;
mod survive;
mod words;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

pub use rules::{Contradiction, Exact, MatchRules, Measure, Part, Scored};
pub use similar::{WordWeights, jaro_winkler};
pub use survive::{Combine, Keep, MergeRecord, Survivorship, Unmerged, merge, merge_with};

use crate::record::{Record, value};
use block::Prepared;

/// Up to how many records of one blocking key are all compared with each other.
pub const BLOCK_ROWS_MAX: usize = 50;

/// With how many neighbours a record of a larger block is compared.
pub const NEIGHBOURS: usize = 10;

/// How many records a cluster can have before it goes to a person.
pub const CLUSTER_ROWS_MAX: usize = 50;

/// How many records of one value that contradict each other are told apart.
const HEADS_MAX: usize = BLOCK_ROWS_MAX;

/// Which part of the weights must have values on both sides for a score.
pub const EVIDENCE_MIN: f64 = 0.5;

/// Names a record: its system and its id there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The system.
    pub system: String,
    /// Its id there.
    pub id: String,
}

/// A record that may have counterparts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub key: Key,
    /// Its fields.
    pub fields: Record,
    /// Ids that other systems gave to what it stands for, by system: a customer number, a tax id.
    #[serde(default)]
    pub external: BTreeMap<String, String>,
    /// When it was changed last.
    pub changed_at: Option<Timestamp>,
}

/// A pair that a person has to decide.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Review {
    /// The one record.
    pub a: Key,
    /// The other one.
    pub b: Key,
    /// The score, 1 for exact rules.
    pub score: f64,
    /// Why they could be the same, or why they were not joined.
    pub why: String,
}

/// Records that are the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// The records, in order; two at least.
    pub members: Vec<Key>,
    /// Why they were joined: the rule of each pair that did.
    pub why: Vec<String>,
}

/// A pair that joined two clusters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    /// The one record.
    pub a: Key,
    /// The other one.
    pub b: Key,
    /// The score, 1 for exact rules.
    pub score: f64,
    /// The rule.
    pub why: String,
}

/// What people said about pairs of records, in either order. A record that is not there any more is no mistake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// Those that are the same, whatever the rules say.
    pub same: BTreeSet<(Key, Key)>,
    /// Those that are different; they are never in one cluster and not asked about.
    pub different: BTreeSet<(Key, Key)>,
}

/// Why records are the same that a person said are the same.
pub const SAID: &str = "a person said so";

/// What matching found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Matched {
    /// The clusters, by first member.
    pub clusters: Vec<Cluster>,
    /// What a person has to decide, the likeliest first.
    pub review: Vec<Review>,
    /// The pairs that made the clusters, in the order they were joined.
    pub joined: Vec<Joined>,
    /// How many records were looked at.
    pub records: usize,
    /// How many pairs were scored.
    pub pairs_scored: usize,
}

/// What an exact rule compares of an entry.
type Identity<'a> = Box<dyn Fn(&Entry) -> Option<String> + 'a>;

/// A pair of entries by number, the smaller first.
type Numbers = (usize, usize);

/// Finds the records that are the same.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if the rules are impossible or a record is given twice.
/// # Cost
/// Near-linear: `n · (rules + keys · BLOCK_ROWS_MAX)` comparisons at most.
pub fn find(entries: &[Entry], rules: &MatchRules) -> Result<Matched> {
    find_with(entries, rules, &Decided::default())
}

/// As [`find`], where people have decided some pairs already.
///
/// # Errors
/// As [`find`].
/// # Cost
/// As [`find`].
pub fn find_with(entries: &[Entry], rules: &MatchRules, decided: &Decided) -> Result<Matched> {
    rules.check()?;
    let mut seen = BTreeSet::new();
    if let Some(twice) = entries.iter().find(|entry| !seen.insert(&entry.key)) {
        return Err(Error::invalid(format!(
            "record \"{}\" of \"{}\" is given twice",
            twice.key.id, twice.key.system
        ))
        .hint("Give every record once."));
    }
    let prepared = Prepared::new(entries, rules);
    let said = numbered(entries, &decided.same);
    let apart = numbered(entries, &decided.different);
    let mut clusters = cluster::Clusters::new(entries, &prepared, &apart);
    for pair in said.difference(&apart) {
        clusters.join(*pair, 1.0, SAID, false);
    }
    let mut exact: BTreeSet<Numbers> = BTreeSet::new();
    for rule in &rules.exact {
        let checked = !matches!(rule, Exact::ExternalId { .. });
        let against = |pair: Numbers| match apart.contains(&pair) {
            true => Some("a person said that they are different".to_owned()),
            false => prepared.contradiction(pair).filter(|_| checked),
        };
        let (why, found) = exact_matches(entries, rule, rules, &against);
        for Found { number, fits, differs } in found {
            let clear = clusters.together(&fits);
            for pair in fits.into_iter().map(|head| (head, number)) {
                if exact.contains(&pair) {
                    continue;
                }
                if clear {
                    exact.insert(pair);
                    clusters.join(pair, 1.0, &why, false);
                } else {
                    clusters.ask(pair, 1.0, format!("{why}, but it fits more than one"));
                }
            }
            if let Some((head, against)) = differs
                && exact.insert((head, number))
            {
                clusters.ask((head, number), 1.0, format!("{why}, but {against}"));
            }
        }
    }
    let mut scored = Vec::new();
    let mut pairs_scored = 0;
    if let Some(thresholds) = &rules.scored {
        let pairs = prepared.candidate_pairs(entries);
        pairs_scored = pairs.len();
        for pair in pairs {
            let score = prepared.score(pair).filter(|score| *score >= thresholds.review);
            scored.extend(score.map(|score| (score, pair)));
        }
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        for (score, pair) in scored {
            let why = format!("alike by {:.0} %", score * 100.0);
            if score >= thresholds.auto && !clusters.was_asked(pair) {
                clusters.join(pair, score, &why, true);
            } else {
                clusters.ask(pair, score, why);
            }
        }
    }
    let (clusters, review, joined) = clusters.done();
    Ok(Matched { clusters, review, joined, records: entries.len(), pairs_scored })
}

/// Pairs by the numbers of their entries, those of which both are there.
fn numbered(entries: &[Entry], pairs: &BTreeSet<(Key, Key)>) -> BTreeSet<Numbers> {
    if pairs.is_empty() {
        return BTreeSet::new();
    }
    let numbers: BTreeMap<&Key, usize> =
        entries.iter().enumerate().map(|(number, entry)| (&entry.key, number)).collect();
    let of = |(a, b): &(Key, Key)| {
        let (a, b) = (*numbers.get(a)?, *numbers.get(b)?);
        (a != b).then_some((a.min(b), a.max(b)))
    };
    pairs.iter().filter_map(of).collect()
}

/// A record and those before it that an exact rule finds to be the same.
struct Found {
    number: usize,
    /// The records that it fits.
    fits: Vec<usize>,
    /// The first of the same value and what speaks against that, if it fits none.
    differs: Option<(usize, String)>,
}

/// What an exact rule finds, and its name: each record is held against those of the same value that
/// contradict each other, since each of them may be another one.
fn exact_matches(
    entries: &[Entry],
    rule: &Exact,
    rules: &MatchRules,
    against: &dyn Fn(Numbers) -> Option<String>,
) -> (String, Vec<Found>) {
    let text = |entry: &Entry, field: &str| block::text_of(value(&entry.fields, field));
    let (name, identity): (String, Identity<'_>) = match rule {
        Exact::ExternalId { system } => (
            format!("the same id in {system}"),
            Box::new(move |entry| {
                entry
                    .external
                    .get(system)
                    .map(|id| id.trim().to_owned())
                    .filter(|id| !id.is_empty())
            }),
        ),
        Exact::Email { field } => (
            format!("the same {field}"),
            Box::new(move |entry| normal::email(&text(entry, field)?)),
        ),
        Exact::Phone { field } => (
            format!("the same {field}"),
            Box::new(move |entry| normal::phone(&text(entry, field)?, &rules.calling_code)),
        ),
        Exact::Composite { fields } => (
            format!("the same {}", fields.join(", ")),
            Box::new(move |entry| {
                let parts = fields.iter().map(|field| block::plain(&text(entry, field)?));
                Some(parts.collect::<Option<Vec<String>>>()?.join("\u{1f}"))
            }),
        ),
    };
    let mut heads: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut found = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let Some(identity) = identity(entry) else { continue };
        let heads = heads.entry(identity).or_default();
        let (mut fits, mut differs) = (Vec::new(), None);
        for head in heads.iter().copied() {
            match against((head, number)) {
                Some(against) => differs = differs.or(Some((head, against))),
                None => fits.push(head),
            }
        }
        if fits.is_empty() && heads.len() < HEADS_MAX {
            heads.push(number);
        }
        let differs = differs.filter(|_| fits.is_empty());
        if differs.is_some() || !fits.is_empty() {
            found.push(Found { number, fits, differs });
        }
    }
    (name, found)
}
