//! The catalogue: what the shop sells, and the hidden topics behind it.

use flywheel_base::Rng;

use crate::trade::Trade;
use crate::vocabulary::{STYLES, TOPIC_COUNT, TOPICS};

/// How much of a product belongs to its main topic; the rest belongs to a second one.
const MAIN_TOPIC_SHARE: f64 = 0.85;

/// The share of products that come out during the simulation, so that nobody has bought them yet.
const LATE_SHARE: f64 = 0.05;

/// The most that a product may cost, in cents.
const PRICE_CENTS_MAX: f64 = 1e7;

/// A weight over the topics that sums to 1.
pub(crate) type Topics = [f64; TOPIC_COUNT];

/// One product.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    pub(crate) code: String,
    pub(crate) name: String,
    pub(crate) name_zh: String,
    pub(crate) category: &'static str,
    pub(crate) description: String,
    pub(crate) price_cents: i64,
    pub(crate) cost_cents: i64,
    pub(crate) pack_size: i64,
    pub(crate) lead_time_days: i64,
    /// The first day it is sold, counted from the first day of the world.
    pub(crate) introduced: i64,
    pub(crate) popularity: f64,
    pub(crate) topics: Topics,
}

/// Makes the catalogue of a world that lives `days` days, of which `history_days` are the past.
pub(crate) fn make(
    seed: u64,
    count: usize,
    (history_days, days): (i64, i64),
    trade: &Trade,
) -> Vec<Product> {
    (0..count).map(|index| product(seed, index, count, (history_days, days), trade)).collect()
}

fn product(
    seed: u64,
    index: usize,
    count: usize,
    (history_days, days): (i64, i64),
    trade: &Trade,
) -> Product {
    let mut rng = Rng::stream(seed, &format!("product/{index}"));
    let (main, place) = (index % TOPIC_COUNT, index / TOPIC_COUNT);
    let second = (main + 1 + rng.below(TOPIC_COUNT - 1)) % TOPIC_COUNT;
    let topic = &TOPICS[main];
    let (noun, noun_zh, price) = topic.nouns[place % topic.nouns.len()];
    let style =
        (place / topic.nouns.len() + 5 * (place % topic.nouns.len()) + 3 * main) % STYLES.len();
    let (style_name, style_zh) = STYLES[style];
    let price = match trade.prices {
        None => price as f64 * (0.85 + 0.3 * rng.uniform()),
        Some(prices) => prices.draw(&mut rng).min(PRICE_CENTS_MAX),
    };
    let price_cents = ((price / 5.0).round() as i64 * 5).max(10);
    let late = index >= count - (count as f64 * LATE_SHARE) as usize;
    let mut topics = [0.0; TOPIC_COUNT];
    topics[main] = MAIN_TOPIC_SHARE;
    topics[second] = 1.0 - MAIN_TOPIC_SHARE;
    Product {
        code: format!("{}{:03}", 20 + main, place),
        name: format!("{style_name} {noun}"),
        name_zh: format!("{style_zh}{noun_zh}"),
        category: topic.name,
        description: describe(&mut rng, style_name, noun, main, second),
        price_cents,
        cost_cents: (price_cents as f64 * (0.45 + 0.1 * rng.uniform())).round() as i64,
        pack_size: [6, 12, 12, 24][rng.below(4)],
        lead_time_days: 2 + rng.below(5) as i64,
        introduced: if late { history_days + rng.below(days.max(1) as usize) as i64 } else { 0 },
        popularity: (trade.popularity_spread * rng.normal()).exp(),
        topics,
    }
}

/// A sentence whose words follow the product's topics: three of the main one, one of the second.
fn describe(rng: &mut Rng, style: &str, noun: &str, main: usize, second: usize) -> String {
    let mut words = TOPICS[main].words.to_vec();
    rng.shuffle(&mut words);
    let other = TOPICS[second].words[rng.below(TOPICS[second].words.len())];
    let pattern = rng.below(3);
    let (style, noun) = (style.to_lowercase(), noun.to_lowercase());
    match pattern {
        0 => format!(
            "A {style} {noun} for {} and {}, with a hint of {other}; made for {}",
            words[0], words[1], words[2]
        ),
        1 => format!(
            "{} {noun} in {style}: good for {}, {} and {other}",
            capital(words[0]),
            words[1],
            words[2]
        ),
        _ => format!(
            "Our {style} {noun} brings {} to your {}, {}, or {other}",
            words[0], words[1], words[2]
        ),
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// How much someone of this taste likes a product, from 0 to 1.
pub(crate) fn affinity(taste: &Topics, topics: &Topics) -> f64 {
    taste.iter().zip(topics).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_and_names_are_unique_and_texts_speak_of_their_topic() {
        let products = make(3, crate::vocabulary::products_max(), (60, 30), &Trade::default());
        let codes: BTreeSet<_> = products.iter().map(|p| &p.code).collect();
        let names: BTreeSet<_> = products.iter().map(|p| &p.name).collect();
        assert_eq!((codes.len(), names.len()), (products.len(), products.len()));
        for (index, product) in products.iter().enumerate() {
            let text = product.description.to_lowercase();
            let topic = &TOPICS[index % TOPIC_COUNT];
            assert!(topic.words.iter().filter(|w| text.contains(**w)).count() >= 3, "{text}");
            assert!(product.cost_cents < product.price_cents);
        }
    }

    #[test]
    fn some_products_come_out_after_the_history() {
        let products = make(3, 184, (60, 30), &Trade::default());
        let late = products.iter().filter(|p| p.introduced >= 60).count();
        assert_eq!(late, 9);
    }
}
