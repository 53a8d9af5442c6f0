//! Visits to the shop's website: who comes, what they look at, and how they answer to what the page shows them.
//!
//! A visit holds all that it takes to live it, so whoever drives the website needs no world. It changes nothing of the
//! world: orders and stock are what they would be without it.

use std::collections::BTreeMap;

use flywheel_base::Rng;

/// How likely a visitor puts something into the basket without being shown anything.
const BASKET_UNSHOWN: f64 = 0.15;

/// What products of perfect match add to that.
const BASKET_GAIN: f64 = 0.45;

/// How likely a visitor clicks the product that fits best, if it fits perfectly.
const CLICKED: f64 = 0.8;

/// One customer on the website.
#[derive(Clone, Debug, PartialEq)]
pub struct WebVisit {
    /// The visit's name, which says that it is simulated: `simulated-2025-04-03-10005`.
    pub visit_id: String,
    /// The customer.
    pub customer_id: String,
    /// The products that the customer came for, by code: at least one, each once.
    pub viewed: Vec<String>,
    /// What the customer's draws follow from.
    seed: u64,
    /// How well each product on sale fits the customer's hidden taste, from 0 to 1.
    matches: BTreeMap<String, f64>,
}

impl WebVisit {
    /// Makes a visit of a customer whose taste gives each product this match.
    pub(crate) fn new(
        visit_id: String,
        customer_id: String,
        viewed: Vec<String>,
        seed: u64,
        matches: BTreeMap<String, f64>,
    ) -> Self {
        Self { visit_id, customer_id, viewed, seed, matches }
    }

    /// The product of `shown` that the visitor clicks; none if nothing appeals enough. The same products are answered the
    /// same way.
    #[must_use]
    pub fn click(&self, shown: &[String]) -> Option<String> {
        let mut best: Option<(&String, f64)> = None;
        for product in shown {
            let matched = self.matched(product);
            if best.is_none_or(|(_, most)| matched > most) {
                best = Some((product, matched));
            }
        }
        let (product, matched) = best?;
        self.draws("click").chance(CLICKED * matched).then(|| product.clone())
    }

    /// How likely something ends in the basket if the page offers `shown`; nothing is offered to whoever is held out.
    #[must_use]
    pub fn basket_chance(&self, shown: &[String]) -> f64 {
        if shown.is_empty() {
            return BASKET_UNSHOWN;
        }
        let sum: f64 = shown.iter().map(|product| self.matched(product)).sum();
        BASKET_UNSHOWN + BASKET_GAIN * sum / shown.len() as f64
    }

    /// Whether something ends in the basket if the page offers `shown`. One draw decides in both arms, so that a visitor who
    /// buys without an offer buys with it, too.
    #[must_use]
    pub fn fills_basket(&self, shown: &[String]) -> bool {
        self.draws("basket").chance(self.basket_chance(shown))
    }

    /// How well a product fits; one that is not on sale does not.
    fn matched(&self, product: &str) -> f64 {
        self.matches.get(product).copied().unwrap_or_default()
    }

    fn draws(&self, what: &str) -> Rng {
        Rng::stream(self.seed, what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(seed: u64) -> WebVisit {
        let matches = [("good".to_owned(), 1.0), ("poor".to_owned(), 0.1)].into();
        WebVisit::new("v".into(), "10001".into(), vec!["good".into()], seed, matches)
    }

    fn shown(product: &str) -> Vec<String> {
        vec![product.to_owned()]
    }

    #[test]
    fn a_better_offer_fills_more_baskets_and_never_empties_one() {
        let count = |products: &[String]| {
            (0..4_000).filter(|seed| visit(*seed).fills_basket(products)).count()
        };
        let (none, poor, good) = (count(&[]), count(&shown("poor")), count(&shown("good")));
        assert!(none < poor && poor < good, "{none} {poor} {good}");
        assert!((good as f64 / 4_000.0 - visit(0).basket_chance(&shown("good"))).abs() < 0.03);
        for seed in 0..500 {
            let visit = visit(seed);
            assert!(!visit.fills_basket(&[]) || visit.fills_basket(&shown("good")), "{seed}");
        }
    }

    #[test]
    fn what_fits_best_is_clicked_and_what_is_unknown_never() {
        let both = ["poor".to_owned(), "good".to_owned(), "gone".to_owned()];
        let clicked: Vec<String> = (0..200).filter_map(|seed| visit(seed).click(&both)).collect();
        assert!(clicked.len() > 130 && clicked.iter().all(|product| product == "good"));
        assert!((0..200).all(|seed| visit(seed).click(&shown("gone")).is_none()));
        assert_eq!(visit(3).click(&[]), None);
        assert_eq!(visit(3).click(&both), visit(3).click(&both));
    }
}
