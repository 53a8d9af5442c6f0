//! How good a recommender is: rank the whole catalogue for the users of a later period.
//!
//! No sampled negatives: they rank models wrongly. A list for new items, one for all items and one of what was had before
//! are different products and are judged apart, and so are users of whom little and of whom much is known.

use flywheel_base::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Recommender;
use super::interactions::Interactions;
use super::serve::{OwnedItems, Request, rank};
use super::together;

/// A training period and what its users had to do with afterwards.
///
/// # Shape
/// `test` has one entry per user index: the distinct items of the later period, ascending; only
/// users and items that the training period knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// The interactions before the border.
    pub train: Interactions,
    /// Per user the items from the border on.
    pub test: Vec<Vec<u32>>,
    /// The border in microseconds.
    pub at: i64,
}

impl Split {
    /// Cuts at `at`: earlier events train, the others test.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] without times, or if either side is empty.
    pub fn new(data: &Interactions, at: i64) -> Result<Self> {
        if !data.timed() {
            return Err(Error::invalid("interactions without times cannot be split by time")
                .hint("Name the time column of the learner."));
        }
        let train = data.between(i64::MIN, at);
        let mut known = vec![false; data.item_count()];
        for user in 0..train.user_count() {
            train.items(user).iter().for_each(|item| known[*item as usize] = true);
        }
        let later = data.between(at, i64::MAX);
        let test: Vec<Vec<u32>> = (0..data.user_count())
            .map(|user| {
                let seen = !train.items(user).is_empty();
                let kept = later.items(user).iter().filter(|item| seen && known[**item as usize]);
                kept.copied().collect()
            })
            .collect();
        if train.cell_count() == 0 || test.iter().all(Vec::is_empty) {
            return Err(Error::invalid("the border leaves nothing to train on or nothing to test")
                .hint("Choose a border inside the period the interactions cover."));
        }
        Ok(Self { train, test, at })
    }
}

/// How deep the lists are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Depth {
    /// Places that count for recall, hit rate and coverage.
    pub recall: usize,
    /// Places that count for NDCG.
    pub ndcg: usize,
}

impl Default for Depth {
    fn default() -> Self {
        Self { recall: 20, ndcg: 10 }
    }
}

/// The quality of one kind of list, averaged over the users who have something to be found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Users with at least one item to be found.
    pub users: usize,
    /// Found items over items to be found.
    pub recall: f64,
    /// Discounted gain over the best possible one.
    pub ndcg: f64,
    /// Half the width of the 95 % interval of `ndcg` over users (normal approximation).
    pub ndcg_margin: f64,
    /// Share of users with at least one found item.
    pub hit_rate: f64,
    /// Share of the catalogue that is in somebody's list.
    pub coverage: f64,
    /// How rare the listed items are: −log₂ of the share of users who had one, on average over its places; `None` if it is
    /// not known who had what.
    #[serde(default)]
    pub novelty: Option<f64>,
}

/// How much is known of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Known {
    /// One item or two.
    Little,
    /// Three to ten items.
    More,
    /// More than ten items.
    Much,
}

impl Known {
    /// All of them, the least known first.
    pub const ALL: [Self; 3] = [Self::Little, Self::More, Self::Much];

    fn of(items: usize) -> Self {
        match items {
            0..=2 => Self::Little,
            3..=10 => Self::More,
            _ => Self::Much,
        }
    }
}

/// All kinds of lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Lists without owned items, judged on items never had before.
    pub new: Quality,
    /// Lists with owned items, judged on all items.
    pub all: Quality,
    /// Lists of owned items alone, judged on items had before.
    pub repeated: Quality,
    /// `new` of the users of each [`Known`], in the order of [`Known::ALL`].
    pub new_of: [Quality; 3],
    /// `all` of the users of each [`Known`].
    pub all_of: [Quality; 3],
}

/// Judges what [`super::serve::serve`] would list with these models for the users of a split.
///
/// # Shape
/// Recall = found / to be found (not capped at the depth). Gain of place p is 1/log₂(p+1); the best
/// possible gain fills the first places. Items no model scores are not listed.
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a depth is 0.
/// # Cost
/// Three rankings per test user, in parallel.
/// # Source
/// Järvelin & Kekäläinen 2002 (NDCG); Zhou et al. 2010 (novelty as self-information).
pub fn evaluate(models: &[&dyn Recommender], split: &Split, depth: Depth) -> Result<Evaluation> {
    check(depth)?;
    let surprises = surprises(&split.train);
    let count = split.train.item_count();
    let by = |owned| {
        let worths = judge(models, split, (depth, &surprises), owned);
        let of = Known::ALL.map(|known| {
            let of_known: Vec<&Worth> = worths.iter().filter(|one| one.known == known).collect();
            summarise(&of_known, count)
        });
        (summarise(&worths.iter().collect::<Vec<_>>(), count), of)
    };
    let (new, new_of) = by(OwnedItems::Exclude);
    let (all, all_of) = by(OwnedItems::Include);
    let (repeated, _) = by(OwnedItems::Only);
    Ok(Evaluation { new, all, repeated, new_of, all_of })
}

/// Judges one kind of list as [`evaluate`] does.
///
/// # Errors
/// As [`evaluate`].
/// # Cost
/// One ranking per test user, in parallel.
pub fn quality(
    models: &[&dyn Recommender],
    split: &Split,
    depth: Depth,
    owned: OwnedItems,
) -> Result<Quality> {
    check(depth)?;
    let worths = judge(models, split, (depth, &surprises(&split.train)), owned);
    Ok(summarise(&worths.iter().collect::<Vec<_>>(), split.train.item_count()))
}

/// How rare each item is: −log₂ of the share of users who had it; of an item that nobody had, as if one had.
fn surprises(train: &Interactions) -> Vec<f64> {
    let mut had = vec![0_u32; train.item_count()];
    let mut users = 0_u32;
    for user in 0..train.user_count() {
        users += u32::from(!train.items(user).is_empty());
        for item in train.items(user) {
            if let Some(count) = had.get_mut(*item as usize) {
                *count += 1;
            }
        }
    }
    let users = f64::from(users.max(1));
    had.into_iter().map(|count| (users / f64::from(count.max(1))).log2()).collect()
}

/// Judges ready lists, one per user: the best first, without the items that do not count.
///
/// # Shape
/// `test` has the distinct items to be found of each user, ascending; users without any are left
/// out. Counted as in [`evaluate`]; `item_count` is the size of the catalogue.
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a depth is 0 or the lists are not as many as the users.
pub fn judge_lists(
    lists: &[Vec<u32>],
    test: &[Vec<u32>],
    item_count: usize,
    depth: Depth,
) -> Result<Quality> {
    check(depth)?;
    if lists.len() != test.len() {
        return Err(Error::invalid(format!("{} lists for {} users", lists.len(), test.len()))
            .hint("Give one list per user, an empty one where there is no evidence."));
    }
    let worths: Vec<Worth> = lists
        .par_iter()
        .zip(test)
        .filter(|(_, sought)| !sought.is_empty())
        .map(|(list, sought)| worth(list.clone(), sought, (depth, &[]), Known::Little))
        .collect();
    Ok(summarise(&worths.iter().collect::<Vec<_>>(), item_count))
}

fn check(depth: Depth) -> Result<()> {
    if depth.recall == 0 || depth.ndcg == 0 {
        return Err(Error::invalid("a list of depth 0 cannot be judged")
            .hint("Set recall and ndcg to at least 1."));
    }
    Ok(())
}

/// What one user's list is worth.
struct Worth {
    recall: f64,
    ndcg: f64,
    hit: bool,
    /// The mean of how rare its items are; `None` if it has none or that is not known.
    novelty: Option<f64>,
    known: Known,
    listed: Vec<u32>,
}

/// How deep lists are judged, and how rare each item is.
type Measure<'a> = (Depth, &'a [f64]);

fn judge(
    models: &[&dyn Recommender],
    split: &Split,
    (depth, surprises): Measure<'_>,
    owned: OwnedItems,
) -> Vec<Worth> {
    let sought = |user| sought(split, user, owned);
    let people: Vec<usize> =
        (0..split.test.len()).into_par_iter().filter(|user| !sought(*user).is_empty()).collect();
    let request = Request { owned, ..Request::new(depth.recall.max(depth.ndcg)) };
    let history = |user| split.train.history(user, Some(split.at));
    together::each(models, &people, history, |models, user, history| {
        let ranked = rank(models, history, &request);
        let listed = ranked.chosen.iter().map(|(scored, _)| scored.item).collect();
        let known = Known::of(split.train.items(user).len());
        worth(listed, &sought(user), (depth, surprises), known)
    })
}

/// The items to be found, ascending.
fn sought(split: &Split, user: usize, owned: OwnedItems) -> Vec<u32> {
    let had = split.train.items(user);
    let counts = |item: &&u32| match owned {
        OwnedItems::Include => true,
        OwnedItems::Exclude => had.binary_search(item).is_err(),
        OwnedItems::Only => had.binary_search(item).is_ok(),
    };
    split.test.get(user).map_or(&[][..], Vec::as_slice).iter().filter(counts).copied().collect()
}

fn worth(
    mut listed: Vec<u32>,
    sought: &[u32],
    (depth, surprises): Measure<'_>,
    known: Known,
) -> Worth {
    let gain = |place: usize| 1.0 / (place as f64 + 2.0).log2();
    let found = |item: &u32| sought.binary_search(item).is_ok();
    let hits = listed.iter().take(depth.recall).filter(|item| found(item)).count();
    let gained: f64 = listed
        .iter()
        .take(depth.ndcg)
        .enumerate()
        .filter(|(_, item)| found(item))
        .map(|(place, _)| gain(place))
        .sum();
    let possible: f64 = (0..sought.len().min(depth.ndcg)).map(gain).sum();
    listed.truncate(depth.recall);
    let rare: Vec<f64> =
        listed.iter().filter_map(|item| surprises.get(*item as usize).copied()).collect();
    Worth {
        recall: hits as f64 / sought.len() as f64,
        ndcg: gained / possible,
        hit: hits > 0,
        novelty: (!rare.is_empty()).then(|| rare.iter().sum::<f64>() / rare.len() as f64),
        known,
        listed,
    }
}

fn summarise(worths: &[&Worth], item_count: usize) -> Quality {
    if worths.is_empty() {
        return Quality::default();
    }
    let users = worths.len() as f64;
    let mean = |value: &dyn Fn(&Worth) -> f64| {
        worths.iter().map(|worth| value(worth)).sum::<f64>() / users
    };
    let novelties: Vec<f64> = worths.iter().filter_map(|worth| worth.novelty).collect();
    let ndcg = mean(&|worth| worth.ndcg);
    let variance = mean(&|worth| (worth.ndcg - ndcg).powi(2));
    let mut listed = vec![false; item_count];
    for item in worths.iter().flat_map(|worth| &worth.listed) {
        if let Some(seen) = listed.get_mut(*item as usize) {
            *seen = true;
        }
    }
    Quality {
        users: worths.len(),
        recall: mean(&|worth| worth.recall),
        ndcg,
        ndcg_margin: 1.96 * (variance / users).sqrt(),
        hit_rate: mean(&|worth| if worth.hit { 1.0 } else { 0.0 }),
        coverage: listed.iter().filter(|seen| **seen).count() as f64 / item_count.max(1) as f64,
        novelty: (!novelties.is_empty())
            .then(|| novelties.iter().sum::<f64>() / novelties.len() as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::super::interactions::Interaction;
    use super::super::popularity::{Options, Popularity};
    use super::*;

    fn split() -> Split {
        // Training: item 0 thrice, item 1 twice, item 2 once. Test: user 0 takes 0 again and 2;
        // user 1 takes 1; user 3 and item 3 are unknown to the training.
        let events = [
            (0, 0, 1),
            (1, 0, 1),
            (2, 0, 1),
            (0, 1, 2),
            (2, 1, 2),
            (1, 2, 3),
            (0, 0, 10),
            (0, 2, 11),
            (1, 1, 12),
            (3, 0, 12),
            (2, 3, 13),
        ];
        let event = |(user, item, at)| Interaction { user, item, weight: 1.0, at: Some(at) };
        Split::new(&Interactions::new(4, 4, events.map(event)).unwrap(), 10).unwrap()
    }

    #[test]
    fn only_known_users_and_items_are_tested() {
        assert_eq!(split().test, [vec![0, 2], vec![1], vec![], vec![]]);
    }

    #[test]
    fn figures_are_those_worked_out_by_hand() {
        let split = split();
        let model = Popularity::fit(&split.train, None, &Options::default()).unwrap();
        let depth = Depth { recall: 2, ndcg: 2 };
        let judged = evaluate(&[&model], &split, depth).unwrap();
        let Evaluation { new, all, repeated, new_of, .. } = judged;
        // New: user 0 is shown [2] and seeks [2]; user 1 is shown [1] and seeks [1].
        assert_eq!((new.users, new.recall, new.ndcg, new.hit_rate), (2, 1.0, 1.0, 1.0));
        assert_eq!(new.coverage, 0.5);
        // All: both see [0, 1]; user 0 seeks [0, 2], user 1 seeks [1].
        let place = 1.0 / 3.0_f64.log2();
        assert!((all.recall - f64::midpoint(0.5, 1.0)).abs() < 1e-12);
        assert!((all.ndcg - f64::midpoint(1.0 / (1.0 + place), place)).abs() < 1e-12);
        // Again: user 0 had [0, 1] and seeks [0], user 1 had [0, 2] and seeks nothing of them.
        assert_eq!((repeated.users, repeated.ndcg), (1, 1.0));
        // Of three users all had item 0, two item 1, one item 2.
        let surprise = |users: f64| (3.0 / users).log2();
        let novelty = f64::midpoint(surprise(1.0), surprise(2.0));
        assert!((new.novelty.unwrap() - novelty).abs() < 1e-12);
        assert_eq!(quality(&[&model], &split, depth, OwnedItems::Exclude).unwrap(), new);
        // Everybody had at most two items.
        assert_eq!(new_of, [new, Quality::default(), Quality::default()]);
    }

    #[test]
    fn users_are_told_apart_by_how_much_is_known_of_them() {
        let of = |items: [usize; 2]| items.map(Known::of);
        assert_eq!(of([1, 2]), [Known::Little; 2]);
        assert_eq!(of([3, 10]), [Known::More; 2]);
        assert_eq!(of([11, 900]), [Known::Much; 2]);
    }

    #[test]
    fn ready_lists_are_judged_as_served_ones() {
        let (lists, test) = ([vec![2], vec![0, 1], vec![], vec![]], split().test);
        let depth = Depth { recall: 2, ndcg: 2 };
        let found = judge_lists(&lists, &test, 4, depth).unwrap();
        let place = 1.0 / 3.0_f64.log2();
        assert_eq!((found.users, found.recall, found.coverage), (2, 0.75, 0.75));
        assert!((found.ndcg - f64::midpoint(1.0 / (1.0 + place), place)).abs() < 1e-12);
        assert!(judge_lists(&lists[1..], &test, 4, depth).is_err());
        assert!(judge_lists(&lists, &test, 4, Depth { recall: 0, ndcg: 2 }).is_err());
    }

    #[test]
    fn a_border_outside_the_data_is_refused() {
        let event = Interaction { user: 0, item: 0, weight: 1.0, at: Some(5) };
        let data = Interactions::new(1, 1, [event]).unwrap();
        assert!(Split::new(&data, 1).is_err() && Split::new(&data, 9).is_err());
    }
}
