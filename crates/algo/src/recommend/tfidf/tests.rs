//! What `tfidf` promises.

use super::*;
use crate::recommend::interactions::{Interaction, Interactions};
use crate::recommend::popularity::{self, Popularity};
use crate::recommend::serve::{Request, Shortfall, serve};

fn texts(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

fn shop() -> Tfidf {
    let lines = texts(&[
        "High-performance laptop",
        "Latest smartphone model",
        "Affordable tablet",
        "High-resolution monitor",
    ]);
    Tfidf::fit(&lines, &Options::default()).unwrap()
}

#[test]
fn a_similarity_of_0_is_no_evidence_and_popularity_takes_over() {
    // Trap: the article recommends Laptop and Tablet to the buyer of a smartphone, at similarity 0.
    let model = shop();
    let items = |scores: Vec<Scored>| scores.iter().map(|s| s.item).collect::<Vec<_>>();
    assert_eq!(items(model.neighbours_compat(1, 2)), [0, 2]);
    assert!(model.neighbours(1, 2).is_empty());
    assert_eq!(items(model.neighbours(0, 2)), [3]);

    let mut smartphone = UserHistory::empty(None);
    smartphone.push(1, 1.0, None);
    let alone = serve(&[&model], &smartphone, &Request::new(2));
    assert_eq!((alone.items.len(), alone.shortfall), (0, Some(Shortfall::Filtered)));
    let event = |user, item| Interaction { user, item, weight: 1.0, at: None };
    let sold = Interactions::new(3, 4, [event(0, 3), event(1, 3), event(2, 2)]).unwrap();
    let popular = Popularity::fit(&sold, None, &popularity::Options::default()).unwrap();
    let list = serve(&[&model, &popular], &smartphone, &Request::new(2));
    let seen: Vec<(u32, &str)> = list.items.iter().map(|l| (l.item, l.source.as_str())).collect();
    assert_eq!(seen, [(3, "popularity"), (2, "popularity")]);
}

#[test]
fn the_item_itself_is_never_its_own_neighbour_even_with_a_twin_before_it() {
    // Trap: dropping the first of the sorted list drops the twin and recommends the item itself.
    let model =
        Tfidf::fit(&texts(&["red mug", "red mug", "blue plate"]), &Options::default()).unwrap();
    assert_eq!(model.neighbours_compat(1, 1)[0].item, 1);
    assert_eq!(model.neighbours(1, 2).iter().map(|s| s.item).collect::<Vec<_>>(), [0]);
}

#[test]
fn chinese_texts_find_each_other_by_character_pairs() {
    let lines = texts(&["高性能笔记本电脑", "轻薄笔记本", "陶瓷茶杯", "Ceramic mug 茶杯"]);
    let model = Tfidf::fit(&lines, &Options::default()).unwrap();
    assert_eq!(model.neighbours(0, 3).iter().map(|s| s.item).collect::<Vec<_>>(), [1]);
    assert_eq!(model.neighbours(2, 3).iter().map(|s| s.item).collect::<Vec<_>>(), [3]);
    let plain = Options { cjk_bigrams: false, ..Options::default() };
    assert!(Tfidf::fit(&lines, &plain).unwrap().neighbours(0, 3).is_empty());
    assert_eq!(tokens("茶杯 A4 纸 b", &Options::default()), ["茶杯", "a4", "纸"]);
    assert_eq!(tokens("茶杯 A4 纸 b", &plain), ["茶杯", "a4"]);
    let single = Tfidf::fit(&texts(&["红 茶", "绿 茶", "酒"]), &Options::default()).unwrap();
    assert_eq!(single.neighbours(0, 3).iter().map(|s| s.item).collect::<Vec<_>>(), [1]);
}

#[test]
fn stop_words_are_sorted_distinct_lower_case_and_can_be_kept() {
    assert!(ENGLISH.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(ENGLISH.iter().all(|word| word.chars().all(|c| c.is_ascii_lowercase())));
    let all = Options { stop_words: false, ..Options::default() };
    assert_eq!(tokens("The cup is a mug", &all), ["the", "cup", "is", "mug"]);
    assert_eq!(tokens("The cup is a mug", &Options::default()), ["cup", "mug"]);
}

#[test]
fn empty_texts_and_foreign_items_are_no_error() {
    let model = Tfidf::fit(&texts(&["", "the", "mug"]), &Options::default()).unwrap();
    assert!(model.row(0).is_empty() && model.row(99).is_empty());
    assert!(model.neighbours(0, 5).is_empty());
    let again = crate::recommend::load(&model.to_bytes().unwrap()).unwrap();
    assert_eq!(again.item_count(), 3);
}
