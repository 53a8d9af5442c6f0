//! From scores to the list a person sees: filters, caps, reasons, and what to do without evidence.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::history::UserHistory;
use super::sparse::best_allowed;
use super::{Recommender, Scored};

/// How many times the asked number of items is looked at first where a cap may pass some over, and by how much more each
/// time that was not enough.
const LOOK_AHEAD: usize = 4;

/// What happens to items the user has already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnedItems {
    /// They are left out: a list of new items.
    #[default]
    Exclude,
    /// They compete with the new ones: a list of what to buy next.
    Include,
    /// Nothing else is listed: a list to buy again.
    Only,
}

/// At most so many items of one group (category, brand, supplier) in a list.
#[derive(Clone, Copy, Debug)]
pub struct Cap<'a> {
    /// The group of each item, by item index; an item beyond the end has no group and no cap.
    pub groups: &'a [u32],
    /// How many of one group.
    pub most: usize,
}

/// What a list must look like.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// How many items at most.
    pub count: usize,
    /// What happens to owned items.
    pub owned: OwnedItems,
    /// Whether each item can be had, by item index; an item beyond the end cannot. `None`: all can.
    pub available: Option<&'a [bool]>,
    /// Items never to be listed (dismissed, recently shown).
    pub excluded: &'a [u32],
    /// A limit per group.
    pub cap: Option<Cap<'a>>,
}

impl Request<'_> {
    /// Asks for `count` items the user does not own, without further filters.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { count, owned: OwnedItems::Exclude, available: None, excluded: &[], cap: None }
    }
}

/// One place of a list and why the item stands there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// Dense index of the item.
    pub item: u32,
    /// The score by which it was ranked; comparable within one source only.
    pub score: f64,
    /// The source that speaks most for it: `repeat`, `ease`, `popularity`, …
    pub source: String,
    /// The owned item that speaks most for it: "because you bought X".
    pub because: Option<u32>,
}

/// Why a list is shorter than asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shortfall {
    /// No source had any evidence for this history.
    NoEvidence,
    /// There was evidence, but filters left too few items.
    Filtered,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct List {
    /// The items, the best first.
    pub items: Vec<Listed>,
    /// Why there are fewer than asked for, if there are.
    pub shortfall: Option<Shortfall>,
}

/// Lists the best items of `models[0]`, filled up from the later ones when it runs out of evidence.
///
/// An item is listed once, by the first model that scores it; put the strongest model first and
/// popularity last. Ties go to the lower item index.
///
/// # Cost
/// One scoring per model that is reached; O(items) each, a few times that where caps pass over most of the best.
#[must_use]
pub fn serve(models: &[&dyn Recommender], history: &UserHistory, request: &Request<'_>) -> List {
    let (mut list, places) = found(models, history, request);
    places.explain(models, history, list.items.iter_mut());
    list
}

/// Which model each item of a list is of.
#[derive(Clone, Debug, Default)]
pub struct Places(HashMap<u32, usize>);

impl Places {
    /// Says of each of `listed` what speaks for it; what no model listed stays as it is.
    ///
    /// # Cost
    /// That of [`Recommender::reasons`] for the items of each model.
    pub fn explain<'l>(
        &self,
        models: &[&dyn Recommender],
        history: &UserHistory,
        listed: impl Iterator<Item = &'l mut Listed>,
    ) {
        // Those of one model are explained together.
        let mut of_model: BTreeMap<usize, Vec<&mut Listed>> = BTreeMap::new();
        for one in listed {
            if let Some(place) = self.0.get(&one.item) {
                of_model.entry(*place).or_default().push(one);
            }
        }
        for (place, listed) in of_model {
            let Some(model) = models.get(place) else { continue };
            let items: Vec<u32> = listed.iter().map(|one| one.item).collect();
            for (one, reason) in listed.into_iter().zip(model.reasons(history, &items)) {
                reason.source.clone_into(&mut one.source);
                one.because = reason.because;
            }
        }
    }
}

/// What [`serve`] lists, without what speaks for each item: for who shows only some of them, by [`Places::explain`].
#[must_use]
pub fn found(
    models: &[&dyn Recommender],
    history: &UserHistory,
    request: &Request<'_>,
) -> (List, Places) {
    let Ranked { chosen, evidence } = rank(models, history, request);
    let shortfall = match (chosen.len() < request.count, evidence) {
        (false, _) => None,
        (true, true) => Some(Shortfall::Filtered),
        (true, false) => Some(Shortfall::NoEvidence),
    };
    let places = Places(chosen.iter().map(|(scored, place)| (scored.item, *place)).collect());
    let listed = |(scored, _): (Scored, usize)| Listed {
        item: scored.item,
        score: scored.score,
        source: String::new(),
        because: None,
    };
    (List { items: chosen.into_iter().map(listed).collect(), shortfall }, places)
}

/// What [`serve`] lists, without working out the reasons: for lists of everybody at once.
#[must_use]
pub fn ranking(
    models: &[&dyn Recommender],
    history: &UserHistory,
    request: &Request<'_>,
) -> Vec<Scored> {
    rank(models, history, request).chosen.into_iter().map(|(scored, _)| scored).collect()
}

/// The ranking behind a list: items with the place of the model that gave them.
#[derive(Debug, Default)]
pub(super) struct Ranked {
    /// The items, the best first.
    pub(super) chosen: Vec<(Scored, usize)>,
    /// Whether any model that was asked scored anything.
    evidence: bool,
}

/// Ranks as [`serve`] does, without working out the reasons.
pub(super) fn rank(
    models: &[&dyn Recommender],
    history: &UserHistory,
    request: &Request<'_>,
) -> Ranked {
    let mut chosen = Vec::new();
    let mut counted = Counted::default();
    let mut evidence = false;
    for (place, model) in models.iter().enumerate() {
        if chosen.len() >= request.count {
            break;
        }
        let scores = model.score(history);
        evidence |= !scores.is_empty();
        let fits = |item| allowed(item, history, request);
        let earlier = chosen.len();
        // Without a cap nothing is passed over but what is listed already, so the head of the ranking will do.
        let mut head = match request.cap {
            None => request.count,
            Some(_) => request.count.saturating_mul(LOOK_AHEAD),
        };
        let mut seen = 0;
        loop {
            let best = best_allowed(&scores, head, fits);
            let fresh = best.get(seen..).unwrap_or(&[]);
            take(fresh, (place, earlier), request, &mut chosen, &mut counted);
            if chosen.len() >= request.count || best.len() < head {
                break;
            }
            (seen, head) = (best.len(), head.saturating_mul(LOOK_AHEAD));
        }
    }
    Ranked { chosen, evidence }
}

/// How many items of each group are listed already.
#[derive(Debug, Default)]
struct Counted(BTreeMap<u32, usize>);

fn allowed(item: u32, history: &UserHistory, request: &Request<'_>) -> bool {
    let available =
        request.available.is_none_or(|have| have.get(item as usize).copied().unwrap_or(false));
    let owned = || match request.owned {
        OwnedItems::Include => true,
        OwnedItems::Exclude => !history.owns(item),
        OwnedItems::Only => history.owns(item),
    };
    available && owned() && !request.excluded.contains(&item)
}

/// Lists what the caps allow of `scores`, the best first, but for what the `earlier` first of the list hold already.
fn take(
    scores: &[Scored],
    (place, earlier): (usize, usize),
    request: &Request<'_>,
    chosen: &mut Vec<(Scored, usize)>,
    counted: &mut Counted,
) {
    for scored in scores {
        let item = scored.item;
        if chosen.len() >= request.count {
            return;
        }
        if chosen.iter().take(earlier).any(|(listed, _)| listed.item == item) {
            continue;
        }
        if let Some(cap) = request.cap
            && let Some(group) = cap.groups.get(item as usize)
        {
            let listed = counted.0.entry(*group).or_default();
            if *listed >= cap.most {
                continue;
            }
            *listed += 1;
        }
        chosen.push((*scored, place));
    }
}

#[cfg(test)]
mod tests {
    use super::super::interactions::{Interaction, Interactions};
    use super::super::neighbours::items::{ItemNeighbours, Options};
    use super::super::popularity::{self, Popularity};
    use super::*;

    fn shop() -> (ItemNeighbours, Popularity, Interactions) {
        let pairs =
            [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 3), (3, 3), (4, 3), (5, 4), (6, 5)];
        let event = |(user, item)| Interaction { user, item, weight: 1.0, at: None };
        let data = Interactions::new(7, 6, pairs.map(event)).unwrap();
        let near = ItemNeighbours::fit(&data, &Options::default()).unwrap();
        let popular = Popularity::fit(&data, None, &popularity::Options::default()).unwrap();
        (near, popular, data)
    }

    fn items(list: &List) -> Vec<u32> {
        list.items.iter().map(|listed| listed.item).collect()
    }

    #[test]
    fn a_list_is_new_items_with_reasons_filled_up_by_popularity() {
        let (near, popular, data) = shop();
        let list = serve(&[&near, &popular], &data.history(0, None), &Request::new(3));
        assert_eq!(items(&list), [2, 3, 4]);
        assert_eq!(list.items[0].source, "item-neighbours");
        let ranked = ranking(&[&near, &popular], &data.history(0, None), &Request::new(3));
        assert!(ranked.iter().map(|scored| scored.item).eq(items(&list)));
        assert_eq!(list.items[0].because, Some(0));
        assert_eq!((list.items[1].source.as_str(), list.items[1].because), ("popularity", None));
        assert_eq!(list.shortfall, None);
    }

    #[test]
    fn a_cold_user_gets_popularity_or_the_honest_word() {
        let (near, popular, _) = shop();
        let cold = UserHistory::empty(None);
        assert_eq!(items(&serve(&[&near, &popular], &cold, &Request::new(2))), [3, 0]);
        let alone = serve(&[&near], &cold, &Request::new(2));
        assert_eq!((items(&alone), alone.shortfall), (vec![], Some(Shortfall::NoEvidence)));
    }

    #[test]
    fn filters_and_caps_hold_across_sources() {
        let (near, popular, data) = shop();
        let history = data.history(0, None);
        let have = [true, true, false, true, true, true];
        let groups = [0, 0, 1, 7, 7, 7];
        let request = Request {
            available: Some(&have),
            excluded: &[4],
            cap: Some(Cap { groups: &groups, most: 1 }),
            ..Request::new(5)
        };
        let list = serve(&[&near, &popular], &history, &request);
        assert_eq!((items(&list), list.shortfall), (vec![3], Some(Shortfall::Filtered)));
        let again = Request { owned: OwnedItems::Only, ..Request::new(5) };
        assert_eq!(items(&serve(&[&popular], &history, &again)), [0, 1]);
    }

    /// Scores that say nothing but a rank, with ties.
    #[derive(Debug)]
    struct Fixed(Vec<f64>);

    impl Recommender for Fixed {
        fn algorithm(&self) -> &'static str {
            "fixed"
        }

        fn item_count(&self) -> usize {
            self.0.len()
        }

        fn score(&self, _: &UserHistory) -> Vec<Scored> {
            super::super::sparse::non_zero(&self.0)
        }

        fn to_bytes(&self) -> flywheel_base::Result<Vec<u8>> {
            Ok(Vec::new())
        }
    }

    /// The list as its words say it: all that fits in order, and of that what the caps leave.
    fn sorted(
        models: &[&dyn Recommender],
        history: &UserHistory,
        request: &Request<'_>,
    ) -> Vec<u32> {
        let mut made: Vec<u32> = Vec::new();
        let mut of_group = BTreeMap::new();
        for model in models {
            let mut scores = model.score(history);
            scores.retain(|scored| allowed(scored.item, history, request));
            scores.sort_by(super::super::sparse::by_rank);
            for item in scores.into_iter().map(|scored| scored.item) {
                let group = request.cap.and_then(|cap| cap.groups.get(item as usize));
                let most = request.cap.map_or(usize::MAX, |cap| cap.most);
                let listed = group.map_or(0, |group| of_group.get(group).copied().unwrap_or(0));
                let has_room = group.is_none() || listed < most;
                if made.len() < request.count && has_room && !made.contains(&item) {
                    made.push(item);
                    if let Some(group) = group {
                        of_group.insert(*group, listed + 1);
                    }
                }
            }
        }
        made
    }

    #[test]
    fn lists_are_those_of_sorting_everything_whatever_is_filtered_and_capped() {
        let mut rng = flywheel_base::Rng::new(6);
        for case in 0..200 {
            let count = 1 + rng.below(400);
            let scores = |rng: &mut flywheel_base::Rng, kinds: usize| {
                Fixed((0..count).map(|_| rng.below(kinds) as f64).collect())
            };
            let (first, second) = (scores(&mut rng, 12), scores(&mut rng, 300));
            let share = rng.uniform();
            let have: Vec<bool> = (0..count).map(|_| rng.chance(share)).collect();
            let kinds = 1 + rng.below(9);
            let groups: Vec<u32> =
                (0..rng.below(count + 1)).map(|_| rng.below(kinds) as u32).collect();
            let excluded: Vec<u32> = (0..rng.below(9)).map(|_| rng.below(count) as u32).collect();
            let mut history = UserHistory::empty(None);
            (0..rng.below(6)).for_each(|_| history.push(rng.below(count) as u32, 1.0, None));
            let cap = Cap { groups: &groups, most: rng.below(4) };
            let request = Request {
                available: rng.chance(0.7).then_some(&have[..]),
                excluded: &excluded,
                cap: rng.chance(0.7).then_some(cap),
                owned: [OwnedItems::Exclude, OwnedItems::Include, OwnedItems::Only][rng.below(3)],
                ..Request::new(rng.below(40))
            };
            let models: [&dyn Recommender; 2] = [&first, &second];
            let ours = items(&serve(&models, &history, &request));
            assert_eq!(ours, sorted(&models, &history, &request), "{case}: {request:?}");
        }
    }
}
