//! What a ranker reads of the items of a list.

use super::super::Recommender;
use super::super::history::UserHistory;

/// What every ranker reads of an item, before the evidence of the sources and the columns that were asked for.
pub(super) const FACTS: [&str; 7] =
    ["place", "score", "scored", "popularity", "own", "own_days", "history"];

const DAY_US: f64 = 86_400e6;

/// What a ranker reads of each item: the names of the numbers of [`facts`].
#[must_use]
pub fn columns(model: &dyn Recommender, asked: &[String]) -> Vec<String> {
    let evidence = model.evidence_names().iter().map(|name| format!("source {name}"));
    let asked = asked.iter().map(|name| format!("item {name}"));
    FACTS.iter().map(|name| (*name).to_owned()).chain(evidence).chain(asked).collect()
}

/// The numbers of `items`, which stand in the order of the sources, one item after the other; NaN is not known.
///
/// `models` are the recommender and what fills up its lists; `of_item` gives the columns that were asked for.
///
/// # Shape
/// As many numbers an item as [`columns`] of the first model has names.
/// # Cost
/// One scoring a model: O(items of the catalogue).
#[must_use]
pub fn facts(
    models: &[&dyn Recommender],
    history: &UserHistory,
    items: &[u32],
    of_item: impl Fn(u32) -> Vec<f64>,
) -> Vec<f64> {
    let scores = |model: Option<&&dyn Recommender>| -> Vec<f64> {
        let scored = model.map(|model| model.score(history)).unwrap_or_default();
        let of = |item: &u32| scored.binary_search_by_key(item, |one| one.item).ok();
        let found = items.iter().map(|item| of(item).and_then(|at| scored.get(at)));
        alike(&found.map(|one| one.map_or(f64::NAN, |one| one.score)).collect::<Vec<_>>())
    };
    let first = scores(models.first());
    let popular =
        if models.len() > 1 { scores(models.last()) } else { vec![f64::NAN; items.len()] };
    let evidence = models.first().map(|model| model.evidence(history, items)).unwrap_or_default();
    let now = history.moment(None);
    let known = (history.owned().len() as f64).ln_1p();
    let mut made = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let own = history.find(*item);
        let last = own.and_then(|own| own.times.last().copied()).zip(now);
        let score = first.get(place).copied().unwrap_or(f64::NAN);
        made.extend([
            (place as f64).ln_1p(),
            score,
            f64::from(u8::from(!score.is_nan())),
            popular.get(place).copied().unwrap_or(f64::NAN),
            own.map_or(0.0, |own| f64::from(own.occasions)),
            last.map_or(f64::NAN, |(last, now)| now.saturating_sub(last) as f64 / DAY_US),
            known,
        ]);
        made.extend(evidence.get(place).into_iter().flatten());
        made.extend(
            of_item(*item).into_iter().map(
                |value| {
                    if value.is_finite() { value } else { f64::NAN }
                },
            ),
        );
    }
    made
}

/// Scores as deviations within one list: those of two users, or of two fits, are not comparable.
fn alike(scores: &[f64]) -> Vec<f64> {
    let known = || scores.iter().copied().filter(|score| score.is_finite());
    let count = known().count().max(1) as f64;
    let mean = known().sum::<f64>() / count;
    let spread = (known().map(|score| (score - mean).powi(2)).sum::<f64>() / count).sqrt();
    let scaled = |score: &f64| match score.is_finite() {
        true if spread > 0.0 => (score - mean) / spread,
        true => 0.0,
        false => f64::NAN,
    };
    scores.iter().map(scaled).collect()
}
