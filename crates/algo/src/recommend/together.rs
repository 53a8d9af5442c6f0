//! Lists of many people: those that are scored together read a model from memory once.
//!
//! What is done for each is what is done for one alone, and gives the same: only the scores of the first model, which makes
//! nearly all lists, are found ahead. A person with a list of their own is a request of its own, so this is for tables,
//! evaluations and other lists of everybody.

use flywheel_base::Result;
use rayon::prelude::*;

use super::history::UserHistory;
use super::{Reason, Recommender, Scored};

/// People that are scored at once at most.
const PEOPLE_MAX: usize = 16;
/// Bytes that their scores may take, per thread.
const BYTES_MAX: usize = 32 << 20;

/// Does `work` for each of `people` with the history that `history` gives, in parallel; what it makes is in the order of `people`.
///
/// # Cost
/// That of `work`, with the scores of `models[0]` found for up to 16 people at once; memory for as many scores, 32 MiB per
/// thread at most or those of one person.
pub fn each<P: Copy + Sync, T: Send>(
    models: &[&dyn Recommender],
    people: &[P],
    history: impl Fn(P) -> UserHistory + Sync,
    work: impl Fn(&[&dyn Recommender], P, &UserHistory) -> T + Sync,
) -> Vec<T> {
    let scores = models.first().map_or(0, |model| model.item_count()) * size_of::<Scored>();
    let at_once = (BYTES_MAX / scores.max(1)).clamp(1, PEOPLE_MAX);
    let block = |people: &[P]| {
        let histories: Vec<UserHistory> = people.iter().map(|person| history(*person)).collect();
        let first = models.first();
        let scored = first.map(|model| model.score_all(&histories)).unwrap_or_default();
        let mut scored = scored.into_iter();
        let mut made = Vec::with_capacity(people.len());
        for (person, history) in people.iter().zip(&histories) {
            let ahead =
                first.zip(scored.next()).map(|(model, scores)| Ahead { model: *model, scores });
            let mut models = models.to_vec();
            if let (Some(model), Some(ahead)) = (models.first_mut(), &ahead) {
                *model = ahead;
            }
            made.push(work(&models, *person, history));
        }
        made
    };
    people.par_chunks(at_once).flat_map_iter(block).collect()
}

/// A model that has scored the one person who is asked for already.
#[derive(Debug)]
struct Ahead<'a> {
    model: &'a dyn Recommender,
    scores: Vec<Scored>,
}

impl Recommender for Ahead<'_> {
    fn algorithm(&self) -> &'static str {
        self.model.algorithm()
    }

    fn item_count(&self) -> usize {
        self.model.item_count()
    }

    fn score(&self, _: &UserHistory) -> Vec<Scored> {
        self.scores.clone()
    }

    fn source(&self, history: &UserHistory, item: u32) -> &'static str {
        self.model.source(history, item)
    }

    fn because(&self, history: &UserHistory, item: u32) -> Option<u32> {
        self.model.because(history, item)
    }

    fn reasons(&self, history: &UserHistory, items: &[u32]) -> Vec<Reason> {
        self.model.reasons(history, items)
    }

    fn evidence_names(&self) -> &'static [&'static str] {
        self.model.evidence_names()
    }

    fn evidence(&self, history: &UserHistory, items: &[u32]) -> Vec<Vec<f64>> {
        self.model.evidence(history, items)
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        self.model.to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::recommend::interactions::{Interaction, Interactions};
    use crate::recommend::serve::{Request, serve};
    use crate::recommend::{RECOMMENDERS, Training, fit};

    #[test]
    fn everybody_gets_the_list_that_they_get_alone_whatever_the_model() {
        let mut events = Vec::new();
        for user in 0..45_u32 {
            for place in 0..user % 6 {
                let item = (user * 7 + place * place * 3) % 31;
                events.push(Interaction {
                    user,
                    item,
                    weight: 1.0,
                    at: Some(i64::from(place) * 1_000),
                });
            }
        }
        let data = Interactions::new(46, 31, events).unwrap();
        let texts: Vec<String> =
            (0..31).map(|item| format!("word{} word{}", item % 5, item % 7)).collect();
        let vectors: Vec<Vec<f32>> =
            (0..31).map(|item| vec![(item % 5) as f32, (item % 3) as f32 + 0.5]).collect();
        let training =
            Training { texts: Some(&texts), vectors: Some(&vectors), ..Training::new(&data) };
        let popular = fit("popularity", &training, &json!({})).unwrap();
        let people: Vec<usize> = (0..46).collect();
        let history = |user| data.history(user, Some(1_000_000));
        for algorithm in RECOMMENDERS {
            let model = fit(algorithm.name, &training, &json!({})).unwrap();
            let models = [&*model, &*popular];
            let list = |models: &[&dyn Recommender], history: &UserHistory| {
                serve(models, history, &Request::new(8))
            };
            let together =
                each(&models, &people, history, |models, _, history| list(models, history));
            let alone: Vec<_> = people.iter().map(|user| list(&models, &history(*user))).collect();
            assert_eq!(together, alone, "{}", algorithm.name);
        }
    }
}
