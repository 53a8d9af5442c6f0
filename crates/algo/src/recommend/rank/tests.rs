//! Logs with a known answer of people, and what a ranker may and may not make of them.

use flywheel_base::{ErrorKind, Rng};

use super::*;
use crate::recommend::interactions::{Interaction, Interactions};
use crate::recommend::popularity::{self, Popularity};
use crate::recommend::serve::{Listed, Request, serve};

const ITEMS: usize = 8;
const EXPLORE: f64 = 0.3;

fn names() -> Vec<String> {
    FACTS.iter().map(|name| (*name).to_owned()).chain(["item price".to_owned()]).collect()
}

/// One place: the first of `order` with probability `1 - EXPLORE`, else one of the others.
fn exposure(unit: u32, prices: &[f64], answer: impl Fn(usize) -> f64, rng: &mut Rng) -> Exposure {
    let mut facts = Vec::new();
    for (place, price) in prices.iter().enumerate() {
        let place = place as f64;
        facts.extend([place.ln_1p(), -place / 4.0, 1.0, 0.0, 0.0, f64::NAN, 0.0, *price]);
    }
    let rest = prices.len() - 1;
    let mut chances = vec![EXPLORE / rest as f64; prices.len()];
    chances[0] = 1.0 - EXPLORE;
    let shown = if rng.chance(EXPLORE) { 1 + rng.below(rest) } else { 0 };
    let answered = rng.chance(answer(shown));
    Exposure { unit, facts, chances, first: 0, shown, answered }
}

/// People like what is cheap, which the order of the sources does not know.
fn cheap_is_liked(count: usize, seed: u64) -> Vec<Exposure> {
    let mut rng = Rng::new(seed);
    let made = (0..count).map(|at| {
        let prices: Vec<f64> = (0..ITEMS).map(|_| rng.uniform()).collect();
        let answer = |item: usize| 0.30 - 0.25 * prices[item];
        exposure((at % (count / 2)) as u32, &prices, answer, &mut rng)
    });
    made.collect()
}

#[test]
fn a_ranker_finds_the_order_that_people_answer_to() {
    let log = cheap_is_liked(8_000, 1);
    for algorithm in [Algorithm::Auto, Algorithm::Logistic, Algorithm::BoostedTrees] {
        let learned = learn(&log, &names(), algorithm).unwrap();
        let judged = learned.judged.unwrap();
        let ranker = learned.ranker.unwrap_or_else(|| panic!("{:?}", learned.refusals));
        // The cheapest of eight is answered to 0.30 - 0.25 / 9 of the time, and is shown 7 times of 10.
        assert!(judged.gain.low > 0.0 && judged.gain.contains(0.064), "{algorithm:?} {judged:?}");
        assert!((judged.sources - 0.175).abs() < 0.03, "{judged:?}");
        let facts: Vec<f64> = [0.9, 0.1, 0.5]
            .iter()
            .flat_map(|price| [0.0, 0.0, 1.0, 0.0, 0.0, f64::NAN, 0.0, *price])
            .collect();
        let expected = ranker.expected(&facts).unwrap();
        let least = expected[1].min(expected[2]);
        assert!(least > expected[0] + 0.05, "{algorithm:?} {expected:?}");
        assert_eq!(learn(&log, &names(), algorithm).unwrap().ranker, Some(ranker), "again");
    }
}

#[test]
fn where_there_is_nothing_to_learn_the_order_of_the_sources_stays() {
    let mut taken = 0;
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let made = (0..3_000u32).map(|unit| {
            let prices: Vec<f64> = (0..ITEMS).map(|_| rng.uniform()).collect();
            exposure(unit, &prices, |_| 0.15, &mut rng)
        });
        let log: Vec<Exposure> = made.collect();
        let learned = learn(&log, &names(), Algorithm::Logistic).unwrap();
        taken += usize::from(learned.ranker.is_some());
        assert_eq!(learned.ranker.is_some(), learned.refusals.is_empty());
    }
    // A lower end at 95 % is above 0 by chance once in forty times.
    assert!(taken <= 2, "{taken} of 20");
}

#[test]
fn an_order_that_is_good_already_is_kept() {
    let mut rng = Rng::new(5);
    let made = (0..6_000u32).map(|unit| {
        let prices: Vec<f64> = (0..ITEMS).map(|_| rng.uniform()).collect();
        exposure(unit, &prices, |item| 0.25 - 0.02 * item as f64, &mut rng)
    });
    let learned = learn(&made.collect::<Vec<_>>(), &names(), Algorithm::Auto).unwrap();
    assert!(learned.ranker.is_none());
    let said = learned.refusals.iter().map(ToString::to_string).collect::<String>();
    assert!(said.contains("whose lower end must exceed 0"), "{said}");
}

/// Eager people are mostly shown dear items and others cheap ones, so that dear items look liked; everybody answers
/// to cheap ones half as often again.
#[test]
fn a_policy_that_favours_bad_items_does_not_fool_it() {
    let mut rng = Rng::new(9);
    let made = (0..12_000u32).map(|unit| {
        let eager = unit % 2 == 0;
        let mut prices: Vec<f64> =
            (0..ITEMS).map(|item| if item < 4 { 0.1 } else { 0.9 }).collect();
        if eager {
            prices.reverse();
        }
        let base = if eager { 0.4 } else { 0.05 };
        let answer = |item: usize| if prices[item] < 0.5 { 1.5 * base } else { base };
        // The place says nothing here, so that price is all there is to go by.
        let mut made = exposure(unit, &prices, answer, &mut rng);
        made.facts.chunks_exact_mut(8).for_each(|row| (row[0], row[1]) = (0.0, 0.0));
        made
    });
    let log: Vec<Exposure> = made.collect();
    let rate = |dear: bool| {
        let of = log.iter().filter(|one| (one.row(8).unwrap()[7] > 0.5) == dear);
        of.clone().filter(|one| one.answered).count() as f64 / of.count() as f64
    };
    assert!(rate(true) > 1.5 * rate(false), "counted as they are, dear items look better");
    let ranker = learn(&log, &names(), Algorithm::Logistic).unwrap().ranker.unwrap();
    let row = |price| [0.0, 0.0, 1.0, 0.0, 0.0, f64::NAN, 0.0, price];
    let expected = ranker.expected(&[row(0.1), row(0.9)].concat()).unwrap();
    assert!(expected[0] > 1.2 * expected[1], "{expected:?}");
}

#[test]
fn too_little_evidence_is_said_with_its_figures() {
    let log = cheap_is_liked(600, 2);
    let learned = learn(&log, &names(), Algorithm::Auto).unwrap();
    assert_eq!((learned.ranker, learned.judged), (None, None));
    assert_eq!(
        learned.refusals.first(),
        Some(&Refusal::FewExposures { exposures: 180, least: EXPOSURES_MIN })
    );
    assert!(learned.refusals[0].to_string().starts_with("180 places were filled by a draw"));
    let none = learn(&[], &names(), Algorithm::Auto).unwrap();
    assert_eq!(none.refusals.len(), 2);
}

#[test]
fn exposures_that_are_not_whole_are_refused() {
    let whole = cheap_is_liked(4, 3).remove(0);
    let broken = [
        Exposure { shown: ITEMS, ..whole.clone() },
        Exposure { chances: vec![1.0; ITEMS], ..whole.clone() },
        Exposure { facts: vec![0.0; 3], ..whole.clone() },
        Exposure { chances: [vec![1.0], vec![0.0; ITEMS - 1]].concat(), ..whole },
    ];
    for exposure in broken {
        let error = learn(&[exposure], &names(), Algorithm::Auto).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

#[test]
fn a_ranker_is_read_back_as_it_was_and_a_damaged_one_is_refused() {
    let ranker =
        learn(&cheap_is_liked(8_000, 1), &names(), Algorithm::Auto).unwrap().ranker.unwrap();
    let text = serde_json::to_string(&ranker).unwrap();
    let again: Ranker = serde_json::from_str(&text).unwrap();
    again.check().unwrap();
    assert_eq!(again, ranker);
    let fewer = Ranker { columns: ranker.columns[..7].to_vec(), ..ranker.clone() };
    assert_eq!(fewer.check().unwrap_err().kind(), ErrorKind::Corrupt);
    let mut list = List::default();
    assert_eq!(ranker.rank(&mut list, &[0.0; 8]).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(ranker.expected(&[0.0; 9]).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn facts_say_where_an_item_stands_what_is_known_of_it_and_what_was_asked_for() {
    let event = |(user, item)| Interaction { user, item, weight: 1.0, at: Some(1_000) };
    let data =
        Interactions::new(3, 4, [(0, 0), (1, 0), (1, 1), (2, 1), (2, 0)].map(event)).unwrap();
    let popular = Popularity::fit(&data, Some(2_000), &popularity::Options::default()).unwrap();
    let history = data.history(0, Some(86_400_001_000));
    let request = Request { owned: super::super::serve::OwnedItems::Include, ..Request::new(4) };
    let list = serve(&[&popular], &history, &request);
    let items: Vec<u32> = list.items.iter().map(|one| one.item).collect();
    assert_eq!(items, [0, 1]);
    let made =
        facts(&[&popular, &popular], &history, &[0, 1, 3], |item| vec![f64::from(item) + 0.5]);
    let width = columns(&popular, &["price".to_owned()]).len();
    assert_eq!((width, made.len()), (8, 24));
    assert_eq!((made[4], made[5], made[7]), (1.0, 1.0, 0.5));
    assert_eq!((made[8], made[12], made[15]), (2.0_f64.ln(), 0.0, 1.5));
    assert!(made[13].is_nan() && made[1] > made[9]);
    assert!(made[17].is_nan() && made[18] == 0.0, "of an item without evidence nothing is made up");
    let mut list = List {
        items: [0, 1, 3]
            .map(|item| Listed { item, score: 1.0, source: String::new(), because: None })
            .to_vec(),
        shortfall: None,
    };
    let ranker =
        learn(&cheap_is_liked(8_000, 1), &names(), Algorithm::Logistic).unwrap().ranker.unwrap();
    let mut dear_first = made;
    for (row, price) in dear_first.chunks_exact_mut(8).zip([0.9, 0.5, 0.1]) {
        (row[0], row[1], row[7]) = (0.0, 0.0, price);
    }
    ranker.rank(&mut list, &dear_first).unwrap();
    assert_eq!(list.items.iter().map(|one| one.item).collect::<Vec<_>>(), [3, 1, 0]);
}
