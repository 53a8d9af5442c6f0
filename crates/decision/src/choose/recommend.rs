//! The best items of a recommender, with a slot for exploration.

use std::collections::{BTreeMap, HashMap, HashSet};

use flywheel_base::{Error, Result, Rng, suggest};
use flywheel_project::resource::policy::ChooseItems;
use serde_json::{Value, json};

use super::{Choice, digest_of};
use crate::context::Context;
use crate::decide::Unit;
use crate::feedback::FreshList;
use crate::learner::last_fit;
use crate::learner::recommend::{EVERYBODY, listing};
use crate::limit::shelf::Shelf;

#[derive(Clone)]
struct Item {
    id: String,
    score: f64,
    reason: String,
    rank: i64,
}

/// Ranked items per user, as last scored.
pub(crate) struct Lists {
    lists: HashMap<String, Vec<Item>>,
    slots: usize,
    explore: f64,
    artifact: Option<String>,
    /// What can be had at this moment, where the learner has a query for it. What cannot be had is no candidate: chances
    /// are those among the others.
    stock: Option<HashSet<String>>,
}

impl Lists {
    /// Reads the learner's scores for `units`, and everybody's list.
    pub(crate) async fn load(
        ctx: &Context<'_>,
        policy: &str,
        settings: &ChooseItems,
        units: &[Unit],
    ) -> Result<Self> {
        let learner = &settings.learner;
        let Some(declared) = ctx.project.learners.get(learner) else {
            let known: Vec<&str> = ctx.project.learners.keys().map(String::as_str).collect();
            return Err(Error::not_found(format!(
                "policy \"{policy}\" uses unknown learner \"{learner}\""
            ))
            .hint(suggest::hint(learner, known)));
        };
        let none = Self {
            lists: HashMap::new(),
            slots: settings.slots.max(1),
            explore: settings.explore.value(),
            artifact: None,
            stock: None,
        };
        // Before the first fit the table is empty, or holds what a learner of another kind left.
        let Some(last) = last_fit(ctx, learner)? else { return Ok(none) };
        let stock = match &declared.recommend {
            Some(settings) => listing::stock(ctx, learner, settings).await?,
            None => None,
        };
        let what = format!("policy \"{policy}\": learn.{learner}");
        let sql = format!("select user_id, rank, item_id, score, reason from learn.{learner}");
        let frame = ctx.frame_of_sql(&what, &sql).await?;
        let wanted: HashSet<&str> =
            units.iter().map(|unit| unit.id.as_str()).chain([EVERYBODY]).collect();
        let frame = frame.only_ids("user_id", |user| wanted.contains(user))?;
        let mut lists: HashMap<String, Vec<Item>> = HashMap::with_capacity(wanted.len());
        let (users, items) = (frame.texts("user_id")?, frame.ids("item_id")?);
        let (scores, reasons) = (frame.numbers("score")?, frame.text("reason")?);
        let ranks = frame.integers("rank")?;
        let rows = users.iter().zip(items).zip(scores).zip(reasons).zip(ranks);
        for ((((user, id), score), reason), rank) in rows {
            if stock.as_ref().is_some_and(|stock| !stock.contains(&id)) {
                continue;
            }
            let (score, reason) = (score.unwrap_or_default(), reason.unwrap_or_default());
            let item = Item { id, score, reason, rank: rank.unwrap_or(i64::MAX) };
            match lists.get_mut(user) {
                Some(list) => list.push(item),
                None => drop(lists.insert(user.to_owned(), vec![item])),
            }
        }
        // Sorted here, list by list: the engine would sort all users' lists as one.
        lists.values_mut().for_each(|list| list.sort_by_key(|item| item.rank));
        Ok(Self { lists, artifact: Some(last.digest), stock, ..none })
    }

    /// Of the unit's own list, or everybody's if it has none; of what is left on the shelf, if there is one.
    pub(crate) fn choose(
        &self,
        unit: &Unit,
        shelf: Option<&Shelf>,
        rng: &mut Rng,
    ) -> Option<Choice> {
        self.pick(self.list(unit)?, self.artifact.clone(), shelf, rng)
    }

    /// The score of the best item that is left for a unit.
    pub(crate) fn score(&self, unit: &Unit, shelf: &Shelf) -> Option<f64> {
        self.list(unit)?.iter().find(|item| shelf.has(&item.id)).map(|item| item.score)
    }

    fn list(&self, unit: &Unit) -> Option<&[Item]> {
        let list = self.lists.get(&unit.id).or_else(|| self.lists.get(EVERYBODY))?;
        Some(list)
    }

    /// Of a list that was made for the unit just now; of what is left on the shelf, if there is one.
    pub(crate) fn choose_of(
        &self,
        fresh: &FreshList,
        shelf: Option<&Shelf>,
        rng: &mut Rng,
    ) -> Option<Choice> {
        let have = |id: &str| self.stock.as_ref().is_none_or(|stock| stock.contains(id));
        let items = fresh.items.iter().filter(|one| have(&one.item));
        let items = items.zip(1..).map(|(one, rank)| Item {
            id: one.item.clone(),
            score: one.score,
            reason: one.reason.clone(),
            rank,
        });
        self.pick(&items.collect::<Vec<_>>(), Some(fresh.artifact.clone()), shelf, rng)
    }

    fn pick(
        &self,
        list: &[Item],
        artifact: Option<String>,
        shelf: Option<&Shelf>,
        rng: &mut Rng,
    ) -> Option<Choice> {
        let settings = (self.slots, self.explore);
        match shelf {
            None => pick(list, settings, artifact, rng),
            Some(shelf) => {
                let left = list.iter().filter(|item| shelf.has(&item.id)).cloned();
                pick(&left.collect::<Vec<_>>(), settings, artifact, rng)
            }
        }
    }
}

/// Chooses again from the ids that were logged. Score and reason of an item are facts of the learner, not of the choice:
/// they are taken from the log, by the id of the item.
pub(crate) fn choose_again(
    settings: &ChooseItems,
    ids: &[String],
    shown: &HashMap<String, (f64, String)>,
    artifact: Option<String>,
    rng: &mut Rng,
) -> Option<Choice> {
    let item = |(id, rank): (&String, i64)| {
        let (score, reason) = shown.get(id).cloned().unwrap_or_default();
        Item { id: id.clone(), score, reason, rank }
    };
    let list: Vec<Item> = ids.iter().zip(1..).map(item).collect();
    pick(&list, (settings.slots.max(1), settings.explore.value()), artifact, rng)
}

/// The ids of a list as a JSON array, written where units are chosen for at once, without a value for each.
fn ids_text(list: &[Item]) -> String {
    let mut text =
        String::with_capacity(2 + list.iter().map(|item| item.id.len() + 3).sum::<usize>());
    text.push('[');
    for (place, item) in list.iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        text.push_str(&Value::from(item.id.as_str()).to_string());
    }
    text.push(']');
    text
}

/// The first items of a list; none if it is empty.
///
/// The last slot goes to a random item of the rest of the list with probability `explore`; the
/// probability of each item shown is logged beside it.
fn pick(
    list: &[Item],
    (slots, explore): (usize, f64),
    artifact: Option<String>,
    rng: &mut Rng,
) -> Option<Choice> {
    if list.is_empty() {
        return None;
    }
    let slots = slots.min(list.len());
    let mut picked: Vec<(usize, f64)> = (0..slots).map(|index| (index, 1.0)).collect();
    let rest = list.len() - slots;
    if explore > 0.0 && rest > 0 {
        let last = picked.last_mut()?;
        *last = if rng.chance(explore) {
            (slots + rng.below(rest), explore / rest as f64)
        } else {
            (slots - 1, 1.0 - explore)
        };
    }
    let shown: Vec<(&Item, f64)> =
        picked.iter().filter_map(|(index, p)| list.get(*index).map(|item| (item, *p))).collect();
    let items = shown.iter().map(|(item, propensity)| {
        json!({"item_id": item.id, "score": item.score, "reason": item.reason, "propensity": propensity})
    });
    let ids: Vec<&str> = shown.iter().map(|(item, _)| item.id.as_str()).collect();
    Some(Choice {
        action: "recommend".to_owned(),
        propensity: shown.iter().map(|(_, propensity)| propensity).product(),
        items: Some(items.collect()),
        candidates: list.len(),
        candidates_digest: digest_of(list.iter().map(|item| item.id.as_str())),
        candidate_ids: Some(ids_text(list)),
        artifact,
        values: BTreeMap::from([
            ("items".to_owned(), json!(ids)),
            ("reason".to_owned(), json!(shown.first().map(|(item, _)| item.reason.as_str()))),
        ]),
        ..Choice::default()
    })
}

#[cfg(test)]
mod tests {
    use super::super::Chooser;
    use super::*;
    use crate::feedback::Suggestion;

    fn lists(explore: f64) -> Lists {
        let items = |names: &[&str]| {
            names
                .iter()
                .zip(1..)
                .map(|(n, rank)| Item { id: (*n).into(), score: 1.0, reason: String::new(), rank })
                .collect()
        };
        Lists {
            lists: HashMap::from([
                ("u".into(), items(&["a", "b", "c", "d"])),
                (EVERYBODY.into(), items(&["x"])),
            ]),
            slots: 2,
            explore,
            artifact: None,
            stock: None,
        }
    }

    fn unit(id: &str) -> Unit {
        Unit { id: id.into(), columns: serde_json::Map::new() }
    }

    #[test]
    fn an_unknown_user_gets_everybodys_list() {
        let choice = lists(0.0).choose(&unit("stranger"), None, &mut Rng::new(1)).unwrap();
        assert_eq!(choice.values["items"], json!(["x"]));
    }

    #[test]
    fn a_list_made_just_now_goes_before_the_list_of_the_last_fit() {
        let suggestion = |item: &str| Suggestion {
            item: item.into(),
            score: 0.5,
            reason: format!("because of {item}"),
            source: "ease".into(),
        };
        let fresh = |items: &[&str]| FreshList {
            artifact: "newest".into(),
            items: items.iter().map(|item| suggestion(item)).collect(),
        };
        let chooser = Chooser::Recommend(lists(0.0));
        let choose = |fresh: Option<&FreshList>| {
            chooser.choose_now(&unit("u"), fresh, &mut Rng::new(1)).unwrap()
        };
        let choice = choose(Some(&fresh(&["c", "a", "q"]))).unwrap();
        assert_eq!(choice.values["items"], json!(["c", "a"]));
        assert_eq!(choice.values["reason"], json!("because of c"));
        assert_eq!((choice.artifact.as_deref(), choice.candidates), (Some("newest"), 3));
        assert_eq!(choose(None).unwrap().values["items"], json!(["a", "b"]));
        assert!(choose(Some(&fresh(&[]))).is_none(), "nothing is left to offer");
    }

    #[test]
    fn what_cannot_be_had_is_no_candidate_and_chances_are_those_among_the_others() {
        let mut lists = lists(0.4);
        let all = ["a", "b", "c", "x"].map(str::to_owned);
        lists.stock = Some(all.into_iter().collect());
        let suggestion = |item: &str| Suggestion {
            item: item.into(),
            score: 0.5,
            reason: String::new(),
            source: "ease".into(),
        };
        let fresh = FreshList {
            artifact: "newest".into(),
            items: ["a", "gone", "b", "c"].map(suggestion).into(),
        };
        let mut rng = Rng::new(5);
        for _ in 0..200 {
            let choice = lists.choose_of(&fresh, None, &mut rng).unwrap();
            assert_eq!((choice.candidates, &choice.values["items"][0]), (3, &json!("a")));
            let drawn = choice.values["items"][1] == json!("c");
            assert_eq!(choice.propensity, if drawn { 0.4 } else { 0.6 });
        }
    }

    #[test]
    fn logged_propensities_are_the_frequencies_of_what_is_shown() {
        let lists = lists(0.4);
        let mut rng = Rng::new(3);
        let mut seen: BTreeMap<String, (usize, f64)> = BTreeMap::new();
        for _ in 0..10_000 {
            let choice = lists.choose(&unit("u"), None, &mut rng).unwrap();
            let last = choice.values["items"][1].as_str().unwrap().to_owned();
            let entry = seen.entry(last).or_insert((0, choice.propensity));
            entry.0 += 1;
            assert_eq!(entry.1, choice.propensity);
        }
        assert_eq!(seen.len(), 3);
        for (name, (count, propensity)) in seen {
            assert!(
                (count as f64 / 10_000.0 - propensity).abs() < 0.02,
                "{name} {count} {propensity}"
            );
        }
    }
}
