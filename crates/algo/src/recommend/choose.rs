//! Which recommender, and with which options: by what each would have listed in the past, never by how well it fits.
//!
//! ```text
//! interactions ─► border at four fifths of them in time ─► each candidate is fitted before it
//!                                                              └─► full ranking for users after it ─► the best by the measure
//! ```
//! Invariants: the whole catalogue is ranked, only users are sampled; the same data and seed give the same choice as long as
//! no candidate is left out for time, which is then said; what somebody holds back to judge the fit is not in the data.

use flywheel_base::{Error, ErrorKind, Result, Rng};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::evaluate::{Depth, Quality, Split, quality};
use super::interactions::Interactions;
use super::serve::OwnedItems;
use super::{Recommender, Training, fit};

/// The share of interactions, the oldest ones, that candidates are fitted on.
const FITTED_SHARE: f64 = 0.8;

/// Items above which `ease` does not take part: its fit grows with their cube, and no clock ends it halfway.
const EASE_ITEMS_MAX: usize = 5_000;

/// What a candidate is judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Discounted gain of the first ten places.
    #[default]
    #[serde(rename = "ndcg@10")]
    Ndcg,
    /// The share of what was sought that is in the first twenty.
    #[serde(rename = "recall@20")]
    Recall,
    /// The share of users who find something in the first twenty.
    #[serde(rename = "hit-rate@20")]
    HitRate,
}

impl Measure {
    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ndcg => "ndcg@10",
            Self::Recall => "recall@20",
            Self::HitRate => "hit-rate@20",
        }
    }

    fn of(self, quality: &Quality) -> f64 {
        match self {
            Self::Ndcg => quality.ndcg,
            Self::Recall => quality.recall,
            Self::HitRate => quality.hit_rate,
        }
    }
}

/// How candidates are compared, and how much that may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// By what.
    pub measure: Measure,
    /// For which kind of list.
    pub owned: OwnedItems,
    /// Users that are judged at most, drawn by `seed`.
    pub users_max: usize,
    /// Interactions that are looked at most, the newest ones.
    pub rows_max: usize,
    /// Draws the users.
    pub seed: u64,
}

/// One candidate, and how good it would have been.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// The algorithm.
    pub algorithm: String,
    /// Its options; null for the defaults.
    pub options: Value,
    /// The measure that is chosen by; `None` if it was not judged.
    pub value: Option<f64>,
    /// All of its quality.
    pub quality: Option<Quality>,
    /// Why it was not judged.
    pub left_out: Option<String>,
}

/// What was chosen, and from what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// The algorithm.
    pub algorithm: String,
    /// Its options; null for the defaults.
    pub options: Value,
    /// By which measure.
    pub measure: Measure,
    /// The border in microseconds: candidates were fitted before it and judged after it.
    pub border: i64,
    /// How many interactions were looked at.
    pub rows: usize,
    /// How many users were judged.
    pub users: usize,
    /// Every candidate, in the order in which they were tried.
    pub tried: Vec<Tried>,
    /// Why the winner won, for people.
    pub reason: String,
}

/// Candidates, those with their defaults first: where time runs out, only finer differences are missed.
fn candidates() -> Vec<(&'static str, Value)> {
    vec![
        ("hybrid", Value::Null),
        ("popularity", Value::Null),
        ("repeat", Value::Null),
        ("item-neighbours", Value::Null),
        ("rp3beta", Value::Null),
        ("gf-cf", Value::Null),
        ("ease", Value::Null),
        ("ials", Value::Null),
        ("gf-cf", json!({"beta": 0.3})),
        ("rp3beta", json!({"beta": 0.6})),
        ("item-neighbours", json!({"weighting": "cosine"})),
        ("ials", json!({"confidence": 40.0})),
        ("ials", json!({"factors": 32, "penalty_exponent": 1.0, "penalty": 0.1})),
        ("popularity", json!({"half_life_days": 30.0})),
    ]
}

/// Chooses among the recommenders; `None` if the history is too short to hold anything back.
///
/// `time_left` is asked before each candidate but the first; those that are left are named with that reason.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if the budget allows no user or row, or no candidate can be fitted.
/// # Cost
/// One fit and one ranking a user for each candidate, in parallel.
pub fn choose(
    training: &Training<'_>,
    budget: &Budget,
    time_left: &dyn Fn() -> bool,
) -> Result<Option<Choice>> {
    if budget.users_max == 0 || budget.rows_max == 0 {
        return Err(Error::invalid("a choice by no user or no row is none")
            .hint("Allow at least 100 users and 1,000 rows."));
    }
    let Some((mut split, rows)) = split(training.interactions, budget.rows_max) else {
        return Ok(None);
    };
    let users = sample(&mut split, budget);
    if users == 0 {
        return Ok(None);
    }
    let mut tried: Vec<Tried> = Vec::new();
    for (algorithm, options) in candidates() {
        let left_out = if !tried.is_empty() && !time_left() {
            Some("the time for the choice was up".to_owned())
        } else if algorithm == "ease" && split.train.item_count() > EASE_ITEMS_MAX {
            Some(format!("more than {EASE_ITEMS_MAX} items"))
        } else {
            None
        };
        let judged = match left_out {
            Some(reason) => Err(reason),
            None => judge(algorithm, &options, training, &split, budget)?,
        };
        let (quality, left_out) = match judged {
            Ok(quality) => (Some(quality), None),
            Err(reason) => (None, Some(reason)),
        };
        let value = quality.as_ref().map(|quality| budget.measure.of(quality));
        tried.push(Tried { algorithm: algorithm.to_owned(), options, value, quality, left_out });
    }
    let Some(best) = best(&tried) else {
        return Err(Error::invalid("no recommender can be fitted to these interactions")
            .hint("Name one with `algorithm:`; its message says what it lacks."));
    };
    Ok(Some(Choice {
        algorithm: best.algorithm.clone(),
        options: best.options.clone(),
        measure: budget.measure,
        border: split.at,
        rows,
        users,
        reason: reason(best, &tried, budget.measure, users),
        tried,
    }))
}

/// The newest interactions, cut at the border, and how many they are.
fn split(data: &Interactions, rows_max: usize) -> Option<(Split, usize)> {
    if !data.timed() {
        return None;
    }
    let mut times: Vec<i64> = (0..data.user_count())
        .flat_map(|user| data.cells(user).flat_map(|cell| cell.times.iter().copied()))
        .collect();
    times.sort_unstable();
    let from = times.len().saturating_sub(rows_max);
    let kept = times.get(from..).unwrap_or_default();
    let place = (kept.len() as f64 * FITTED_SHARE) as usize;
    let (first, border) = (*kept.first()?, *kept.get(place)?);
    // All of one moment with the first are kept: which of them are the newest would depend on their order.
    let split = match from {
        0 => Split::new(data, border),
        _ => Split::new(&data.between(first, i64::MAX), border),
    };
    Some((split.ok()?, kept.len()))
}

/// Leaves so many users to be judged, drawn by the seed, and says how many there are.
fn sample(split: &mut Split, budget: &Budget) -> usize {
    let mut users: Vec<usize> = (0..split.test.len())
        .filter(|user| split.test.get(*user).is_some_and(|items| !items.is_empty()))
        .collect();
    if users.len() <= budget.users_max {
        return users.len();
    }
    Rng::stream(budget.seed, "users of a choice").shuffle(&mut users);
    for user in users.split_off(budget.users_max) {
        if let Some(items) = split.test.get_mut(user) {
            items.clear();
        }
    }
    budget.users_max
}

/// The quality of a candidate, or why it has none.
fn judge(
    algorithm: &str,
    options: &Value,
    training: &Training<'_>,
    split: &Split,
    budget: &Budget,
) -> Result<std::result::Result<Quality, String>> {
    let training = Training { interactions: &split.train, now: Some(split.at), ..*training };
    let model = match fit(algorithm, &training, options) {
        Ok(model) => model,
        // What one algorithm cannot take another can.
        Err(error) if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Exhausted) => {
            return Ok(Err(error.message().to_owned()));
        }
        Err(error) => return Err(error),
    };
    // As lists are served: filled up with what is popular.
    let popular = fit("popularity", &training, &Value::Null)?;
    let models: [&dyn Recommender; 2] = [model.as_ref(), popular.as_ref()];
    quality(&models, split, Depth::default(), budget.owned).map(Ok)
}

/// The best one; of equal ones the one that was tried first, which is the simpler one.
fn best(tried: &[Tried]) -> Option<&Tried> {
    let mut best: Option<(&Tried, f64)> = None;
    for one in tried {
        if let Some(value) = one.value.filter(|value| value.is_finite())
            && best.is_none_or(|(_, most)| value > most)
        {
            best = Some((one, value));
        }
    }
    best.map(|(one, _)| one)
}

fn called(one: &Tried) -> String {
    match &one.options {
        Value::Null => one.algorithm.clone(),
        options => format!("{} with {options}", one.algorithm),
    }
}

fn reason(best: &Tried, tried: &[Tried], measure: Measure, users: usize) -> String {
    let value = best.value.unwrap_or_default();
    let others = tried.iter().filter(|one| !std::ptr::eq(*one, best));
    let next = others.filter_map(|one| Some((one, one.value?))).max_by(|a, b| a.1.total_cmp(&b.1));
    let judged = tried.iter().filter(|one| one.value.is_some()).count();
    let against = next
        .map_or_else(String::new, |(one, value)| format!(", before {value:.4} of {}", called(one)));
    format!(
        "{} has the most {} of {judged} candidates over {users} users: {value:.4}{against}",
        called(best),
        measure.name()
    )
}

#[cfg(test)]
mod tests {
    use super::super::interactions::Interaction;
    use super::*;

    const DAY: i64 = 86_400_000_000;

    fn budget(owned: OwnedItems) -> Budget {
        Budget { measure: Measure::Ndcg, owned, users_max: 1_000, rows_max: 1_000_000, seed: 1 }
    }

    /// Customers who buy the same three things every week.
    fn again() -> Interactions {
        let event = |place: u32| {
            let (user, rest) = (place % 40, place / 40);
            let item = user * 3 % 30 + rest % 3;
            Interaction { user, item, weight: 1.0, at: Some(i64::from(rest / 3) * 7 * DAY) }
        };
        Interactions::new(40, 33, (0..40 * 3 * 20).map(event)).unwrap()
    }

    #[test]
    fn what_is_bought_again_is_found_by_what_knows_of_it_and_the_choice_is_the_same_again() {
        let data = again();
        let chosen = || choose(&Training::new(&data), &budget(OwnedItems::Include), &|| true);
        let choice = chosen().unwrap().unwrap();
        assert!(["hybrid", "repeat"].contains(&choice.algorithm.as_str()), "{}", choice.reason);
        assert_eq!(choice.tried.len(), candidates().len());
        let popular = choice.tried.iter().find(|one| one.algorithm == "popularity").unwrap();
        let best = choice.tried.iter().filter_map(|one| one.value).fold(0.0, f64::max);
        assert!(best > popular.value.unwrap() + 0.2, "{choice:?}");
        assert!(choice.reason.contains("ndcg@10 of"), "{}", choice.reason);
        assert_eq!(choice, chosen().unwrap().unwrap());
        // It can be stored and read.
        let text = serde_json::to_string(&choice).unwrap();
        assert_eq!(serde_json::from_str::<Choice>(&text).unwrap(), choice);
    }

    #[test]
    fn the_newest_fifth_judges_and_nothing_after_the_data_is_seen() {
        let data = again();
        let (split, rows) = split(&data, usize::MAX).unwrap();
        assert_eq!((split.at, rows), (16 * 7 * DAY, 2_400));
        assert!(split.train.latest().unwrap() < split.at);
        let (split, rows) = super::split(&data, 600).unwrap();
        assert_eq!((split.at, rows), (19 * 7 * DAY, 600));
        assert_eq!(split.train.earliest(), Some(15 * 7 * DAY));
    }

    #[test]
    fn users_are_sampled_and_never_items_and_time_ends_the_trying() {
        let data = again();
        let few = Budget { users_max: 7, ..budget(OwnedItems::Include) };
        let asked = std::cell::Cell::new(0);
        let twice = || {
            asked.set(asked.get() + 1);
            asked.get() <= 2
        };
        let choice = choose(&Training::new(&data), &few, &twice).unwrap().unwrap();
        assert_eq!(choice.users, 7);
        let judged = choice.tried.iter().filter(|one| one.quality.is_some()).count();
        assert_eq!(judged, 3, "the first, and two for which there was time");
        assert_eq!(choice.tried[0].quality.unwrap().users, 7);
        assert!(choice.tried[3].left_out.as_ref().unwrap().contains("time"));
    }

    #[test]
    fn a_history_too_short_to_hold_anything_back_makes_no_choice() {
        let event = |item| Interaction { user: 0, item, weight: 1.0, at: Some(5) };
        let data = Interactions::new(1, 2, [event(0), event(1)]).unwrap();
        let none = |data: &Interactions| {
            choose(&Training::new(data), &budget(OwnedItems::Exclude), &|| true).unwrap()
        };
        assert_eq!(none(&data), None);
        assert_eq!(none(&Interactions::new(1, 2, []).unwrap()), None);
        let nobody = Budget { users_max: 0, ..budget(OwnedItems::Exclude) };
        assert!(choose(&Training::new(&data), &nobody, &|| true).is_err());
    }
}
