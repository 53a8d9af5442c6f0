//! Rules after the ranking: variety, caps, pins and boosts, and what each did to an item.
//!
//! ```text
//! sources ─► serve (what may be listed) ─► ranker ─► Rules::apply ─► Placed: the item, and which rules moved it
//! ```
//! What may be listed at all (stock, owned, excluded, filters) is said by the [`super::serve::Request`], so that no rule can
//! bring it back. Invariants: the list is the same for the same list and rules; every cap holds for the whole list, so it
//! holds for its head and for whatever is drawn from its rest; pins are never passed over but count for the caps.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use flywheel_base::{Error, Result};

use super::Training;
use super::codec::{Reader, damaged};
use super::embeddings::{self, Embeddings};
use super::filter::NO_GROUP;
use super::interactions::Interactions;
use super::neighbours::items::{self, ItemNeighbours, Weighting};
use super::serve::Listed;
use super::tfidf::{self, Tfidf};
use super::vector::dot;

/// Nearest items that are kept of each for the likeness by what is bought together.
const NEIGHBOURS: usize = 100;

/// How many times the asked number of items the rules look at first, and at least so many more.
const LOOK_AHEAD: usize = 3;
const LOOK_AHEAD_MIN: usize = 50;

/// The source of an item that only a rule has put into a list.
pub const PINNED: &str = "pinned";

/// How alike two items are, from 0 to 1.
#[derive(Clone, Debug)]
pub enum Similar {
    /// Items of one group are alike, others are not.
    Group(Vec<u32>),
    /// The cosine of their texts.
    Content(Box<Tfidf>),
    /// The cosine of their embeddings, 0 if it is less.
    Embeddings(Box<Embeddings>),
    /// The cosine of who had them.
    Together(Box<ItemNeighbours>),
}

impl Similar {
    /// Likeness by who had both.
    ///
    /// # Errors
    /// Those of [`ItemNeighbours::fit`].
    pub fn together(interactions: &Interactions) -> Result<Self> {
        let options = items::Options {
            neighbours: NEIGHBOURS,
            weighting: Weighting::Cosine,
            ..items::Options::default()
        };
        Ok(Self::Together(Box::new(ItemNeighbours::fit(interactions, &options)?)))
    }

    /// Likeness of texts.
    ///
    /// # Errors
    /// Those of [`Tfidf::fit`].
    pub fn content(texts: &[String]) -> Result<Self> {
        Ok(Self::Content(Box::new(Tfidf::fit(texts, &tfidf::Options::default())?)))
    }

    /// Likeness of embeddings.
    ///
    /// # Errors
    /// Those of [`Embeddings::fit`].
    pub fn embeddings(training: &Training<'_>) -> Result<Self> {
        let fitted = Embeddings::fit(training, &embeddings::Options::default())?;
        Ok(Self::Embeddings(Box::new(fitted)))
    }

    /// How alike two items are.
    #[must_use]
    pub fn of(&self, item: u32, other: u32) -> f64 {
        match self {
            Self::Group(groups) => {
                let group = |item: u32| groups.get(item as usize).copied().unwrap_or(NO_GROUP);
                let same = group(item) != NO_GROUP && group(item) == group(other);
                f64::from(u8::from(same))
            }
            Self::Content(texts) => shared(texts.row(item), texts.row(other)),
            Self::Embeddings(vectors) => {
                f64::from(dot(vectors.item(item), vectors.item(other))).clamp(0.0, 1.0)
            }
            // Each keeps its nearest alone.
            Self::Together(nearest) => {
                let near = nearest.similarity(item, other).max(nearest.similarity(other, item));
                f64::from(near).clamp(0.0, 1.0)
            }
        }
    }

    /// What was fitted, as bytes; none of a likeness by groups, which are read anew.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if it cannot be written.
    pub fn to_bytes(&self) -> Result<Option<Vec<u8>>> {
        use super::Recommender as _;
        match self {
            Self::Group(_) => Ok(None),
            Self::Content(texts) => texts.to_bytes().map(Some),
            Self::Embeddings(vectors) => vectors.to_bytes().map(Some),
            Self::Together(nearest) => nearest.to_bytes().map(Some),
        }
    }

    /// What it was learned from: `content`, `embedding` or `co-occurrence`; none if nothing was learned.
    #[must_use]
    pub fn learned_from(&self) -> Option<&'static str> {
        match self {
            Self::Group(_) => None,
            Self::Content(_) => Some("content"),
            Self::Embeddings(_) => Some("embedding"),
            Self::Together(_) => Some("co-occurrence"),
        }
    }

    /// Reads what [`Similar::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`] if the bytes are cut, altered or of something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (name, mut reader) = Reader::open(bytes)?;
        let read = match name.as_str() {
            name if name == tfidf::ALGORITHM.name => {
                Self::Content(Box::new(Tfidf::read(&mut reader)?))
            }
            name if name == embeddings::ALGORITHM.name => {
                Self::Embeddings(Box::new(Embeddings::read(&mut reader)?))
            }
            name if name == items::ALGORITHM.name => {
                Self::Together(Box::new(ItemNeighbours::read(&mut reader)?))
            }
            _ => return Err(damaged("holds a likeness that is none")),
        };
        reader.finish()?;
        Ok(read)
    }
}

/// The inner product of two rows by ascending term, each of length 1.
fn shared(row: &[(u32, f64)], other: &[(u32, f64)]) -> f64 {
    let (mut left, mut right) = (row.iter().peekable(), other.iter().peekable());
    let mut sum = 0.0;
    while let (Some((term, weight)), Some((against, by))) = (left.peek(), right.peek()) {
        match term.cmp(against) {
            Ordering::Less => {
                left.next();
            }
            Ordering::Greater => {
                right.next();
            }
            Ordering::Equal => {
                sum += weight * by;
                left.next();
                right.next();
            }
        }
    }
    sum.clamp(0.0, 1.0)
}

/// At most so many items of one value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The attribute, for people.
    pub attribute: String,
    /// How many.
    pub most: usize,
    /// The group of each item; [`NO_GROUP`] is not limited.
    pub groups: Vec<u32>,
}

impl Limit {
    fn group(&self, item: u32) -> Option<u32> {
        self.groups.get(item as usize).copied().filter(|group| *group != NO_GROUP)
    }
}

/// Items that count for more or less than they are ranked.
#[derive(Clone, Debug, PartialEq)]
pub struct Boost {
    /// What they have in common, for people.
    pub called: String,
    /// By which factor their relevance is multiplied; 1 changes nothing.
    pub by: f64,
    /// Whether each item is one of them.
    pub items: Vec<bool>,
}

/// What happens to a ranked list.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// How much variety counts beside relevance, from 0 to 1.
    pub diversity: f64,
    /// How alike items are; without it variety does not count.
    pub similar: Option<Similar>,
    /// Limits, all of which hold.
    pub limits: Vec<Limit>,
    /// Items that come first, in this order.
    pub pinned: Vec<u32>,
    /// Items that count for more or less.
    pub boosts: Vec<Boost>,
}

/// What a rule did to an item.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// It is pinned.
    Pinned,
    /// It counts so many times as much.
    Boosted {
        /// The factor.
        by: f64,
        /// What it is one of.
        called: String,
    },
    /// It stands before an item that is ranked higher and more like those before it.
    Varied {
        /// Its place in the ranking, from 1.
        from: usize,
    },
    /// It stands where a higher one was passed over, of which there are enough.
    Limited {
        /// The attribute of the limit.
        attribute: String,
        /// How many of one value there may be.
        most: usize,
    },
}

/// An item in its place, and what brought it there.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// The item as it was ranked.
    pub listed: Listed,
    /// What rules did to it, in the order of their effect.
    pub said: Vec<Said>,
}

impl Rules {
    /// Whether a ranked list stays as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.varies() && self.limits.is_empty() && self.pinned.is_empty() && self.boosts.is_empty()
    }

    fn varies(&self) -> bool {
        self.diversity > 0.0 && self.similar.is_some()
    }

    /// How many ranked items have to be looked at for a list of `count`: more than are listed where some are passed over.
    #[must_use]
    pub fn pool(&self, count: usize) -> usize {
        if self.is_empty() {
            return count;
        }
        count.saturating_mul(LOOK_AHEAD).max(count.saturating_add(LOOK_AHEAD_MIN))
    }

    /// Makes the list of at most `count` items out of a ranked one, the best first. Pinned items that `may` be listed come
    /// first, though the ranking does not have them.
    ///
    /// # Shape
    /// The relevance of the item at place p of n, from 0, is 1 − p/n, times its boosts: it follows from the order alone, as
    /// scores of different sources and rankers are not comparable. Of the items that no limit forbids the next one is that
    /// with the most (1 − diversity) · relevance − diversity · likeness to the most alike of those listed; ties go to the
    /// higher ranked.
    /// # Cost
    /// O(ranked · count), and as many likenesses where variety counts.
    /// # Source
    /// Carbonell & Goldstein 1998 (MMR); parity with numpy in `tests/parity/rules.json`.
    pub fn apply(
        &self,
        ranked: Vec<Listed>,
        count: usize,
        may: impl Fn(u32) -> bool,
    ) -> Vec<Placed> {
        let total = ranked.len().max(1) as f64;
        let mut open: Vec<Open> = ranked
            .into_iter()
            .enumerate()
            .map(|(place, listed)| {
                let base = 1.0 - place as f64 / total;
                let relevance = base * self.boost(listed.item);
                Open { listed, place, relevance, nearest: 0.0 }
            })
            .collect();
        let mut counted: Vec<BTreeMap<u32, usize>> = vec![BTreeMap::new(); self.limits.len()];
        let mut placed: Vec<Placed> = Vec::with_capacity(count.min(open.len()));
        for item in self.pinned.iter().copied() {
            if placed.len() >= count {
                break;
            }
            if !may(item) || placed.iter().any(|before| before.listed.item == item) {
                continue;
            }
            let ranked = open.iter().position(|one| one.listed.item == item);
            let listed = match ranked {
                Some(at) => open.remove(at).listed,
                None => Listed { item, score: 0.0, source: PINNED.to_owned(), because: None },
            };
            self.count(item, &mut counted);
            self.approach(item, &mut open);
            placed.push(Placed { listed, said: vec![Said::Pinned] });
        }
        // By boosted relevance, which is the order unless variety counts; stable, so ties go to the higher ranked.
        open.sort_by(|a, b| b.relevance.total_cmp(&a.relevance));
        while placed.len() < count {
            let Some((at, passed)) = self.next(&open, &counted) else { break };
            let chosen = open.remove(at);
            let item = chosen.listed.item;
            let mut said = self.boosts_of(item);
            match passed {
                Passed::Nobody => {}
                Passed::Full(limit) => said
                    .push(Said::Limited { attribute: limit.attribute.clone(), most: limit.most }),
                Passed::Alike => said.push(Said::Varied { from: chosen.place + 1 }),
            }
            self.count(item, &mut counted);
            self.approach(item, &mut open);
            placed.push(Placed { listed: chosen.listed, said });
        }
        placed
    }

    /// The item that comes next, and who was passed over for it.
    fn next(&self, open: &[Open], counted: &[BTreeMap<u32, usize>]) -> Option<(usize, Passed<'_>)> {
        let mut full: Option<&Limit> = None;
        let mut first: Option<usize> = None;
        let mut best: Option<(usize, f64)> = None;
        for (at, one) in open.iter().enumerate() {
            if let Some(limit) = self.forbids(one.listed.item, counted) {
                if first.is_none() {
                    full = full.or(Some(limit));
                }
                continue;
            }
            first = first.or(Some(at));
            if !self.varies() {
                best = Some((at, one.relevance));
                break;
            }
            let worth = (1.0 - self.diversity) * one.relevance - self.diversity * one.nearest;
            // Ties go to the one that is more relevant, which comes earlier.
            if best.is_none_or(|(_, most)| worth > most) {
                best = Some((at, worth));
            }
        }
        let (at, _) = best?;
        let passed = match full {
            _ if first != Some(at) => Passed::Alike,
            Some(limit) => Passed::Full(limit),
            None => Passed::Nobody,
        };
        Some((at, passed))
    }

    /// The limit that leaves no room for an item.
    fn forbids(&self, item: u32, counted: &[BTreeMap<u32, usize>]) -> Option<&Limit> {
        let full = |(limit, counted): &(&Limit, &BTreeMap<u32, usize>)| {
            limit
                .group(item)
                .is_some_and(|group| counted.get(&group).copied().unwrap_or_default() >= limit.most)
        };
        self.limits.iter().zip(counted).find(full).map(|(limit, _)| limit)
    }

    fn count(&self, item: u32, counted: &mut [BTreeMap<u32, usize>]) {
        for (limit, counted) in self.limits.iter().zip(counted) {
            if let Some(group) = limit.group(item) {
                *counted.entry(group).or_default() += 1;
            }
        }
    }

    /// Notes how near the open items are to one that is listed now.
    fn approach(&self, item: u32, open: &mut [Open]) {
        let Some(similar) = self.similar.as_ref().filter(|_| self.diversity > 0.0) else { return };
        for one in open {
            one.nearest = one.nearest.max(similar.of(one.listed.item, item));
        }
    }

    fn boosts(&self, item: u32) -> impl Iterator<Item = &Boost> {
        self.boosts
            .iter()
            .filter(move |boost| boost.items.get(item as usize).copied().unwrap_or(false))
    }

    fn boost(&self, item: u32) -> f64 {
        self.boosts(item).map(|boost| boost.by).product()
    }

    fn boosts_of(&self, item: u32) -> Vec<Said> {
        let said = |boost: &Boost| Said::Boosted { by: boost.by, called: boost.called.clone() };
        self.boosts(item).map(said).collect()
    }

    /// Checks that the numbers are what they should be.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the diversity is not from 0 to 1 or a boost is negative or no number.
    pub fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.diversity) {
            return Err(Error::invalid(format!("diversity is {}", self.diversity))
                .hint("Give a number from 0, which ranks alone, to 1, which is variety alone."));
        }
        match self.boosts.iter().find(|boost| !boost.by.is_finite() || boost.by < 0.0) {
            None => Ok(()),
            Some(boost) => Err(Error::invalid(format!("a boost is by {}", boost.by))
                .hint("Give a number of at least 0: above 1 raises, below lowers.")),
        }
    }
}

/// An item that is not listed yet.
struct Open {
    listed: Listed,
    /// Its place in the ranking, from 0.
    place: usize,
    relevance: f64,
    /// How alike it is to the most alike of those listed.
    nearest: f64,
}

/// Who is ranked higher than the next item and does not come before it.
enum Passed<'a> {
    Nobody,
    /// Items of which there are enough.
    Full(&'a Limit),
    /// Items that are too much like those before.
    Alike,
}

#[cfg(test)]
mod tests;
