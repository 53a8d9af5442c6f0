//! What a visitor puts into the basket.

use flywheel_base::Rng;

use crate::catalog::{Product, affinity};
use crate::customer::Customer;

/// How much likelier something is bought again than anew.
const AGAIN: f64 = 1.6;

/// How much likelier a shown product of perfect match is bought within the week.
const SHOWN: f64 = 9.0;

/// How much of the choice has nothing to do with taste.
const WHIM: f64 = 0.06;

/// How many pieces of a line are bought: most take one or two, some a dozen.
const PIECES: [(i64, f64); 6] = [(1, 0.42), (2, 0.24), (3, 0.1), (4, 0.1), (6, 0.1), (12, 0.04)];

/// A line of an order before the shelf has its say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) product: usize,
    pub(crate) pieces: i64,
}

/// What `customer` wants on `day`.
pub(crate) fn wishes(
    customer: &Customer,
    products: &[Product],
    day: i64,
    rng: &mut Rng,
) -> Vec<Wish> {
    let mut weights: Vec<f64> = products
        .iter()
        .map(|product| {
            if product.introduced > day {
                return 0.0;
            }
            product.popularity * (WHIM + affinity(&customer.taste, &product.topics).powf(1.5))
        })
        .collect();
    for product in customer.bought.keys() {
        weights[*product] *= AGAIN;
    }
    for product in customer.opened.iter().flat_map(|opened| &opened.items) {
        weights[*product] *= 1.0 + SHOWN * matched(customer, &products[*product]);
    }
    let lines = 1 + rng.poisson(customer.basket) as usize;
    pick(weights, lines, rng)
}

/// What a visitor without account wants: whatever is popular.
pub(crate) fn guest_wishes(products: &[Product], day: i64, rng: &mut Rng) -> Vec<Wish> {
    let weight = |p: &Product| if p.introduced > day { 0.0 } else { p.popularity };
    let lines = 1 + rng.poisson(2.0) as usize;
    pick(products.iter().map(weight).collect(), lines, rng)
}

fn pick(mut weights: Vec<f64>, lines: usize, rng: &mut Rng) -> Vec<Wish> {
    let shares = PIECES.map(|(_, share)| share);
    let mut wishes = Vec::with_capacity(lines);
    for _ in 0..lines {
        let Some(product) = rng.weighted(&weights) else { break };
        weights[product] = 0.0;
        let (pieces, _) = PIECES[rng.weighted(&shares).unwrap_or_default()];
        wishes.push(Wish { product, pieces });
    }
    wishes
}

/// How well a product matches a taste, relative to the best there could be: 0 to 1.
pub(crate) fn matched(customer: &Customer, product: &Product) -> f64 {
    let best = customer.taste.iter().copied().fold(0.0, f64::max) * 0.87 + 0.02;
    (affinity(&customer.taste, &product.topics) / best).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::customer::tests::someone;

    #[test]
    fn baskets_follow_the_taste_and_hold_each_product_once() {
        let products = crate::catalog::make(1, 184, (60, 30), &crate::Trade::default());
        let customer = someone();
        let mut rng = Rng::new(2);
        let mut match_sum = 0.0;
        let mut lines = 0;
        for _ in 0..300 {
            let mut wishes = wishes(&customer, &products, 0, &mut rng);
            match_sum +=
                wishes.iter().map(|w| matched(&customer, &products[w.product])).sum::<f64>();
            lines += wishes.len();
            wishes.sort_by_key(|wish| wish.product);
            assert!(wishes.windows(2).all(|pair| pair[0].product != pair[1].product));
            assert!(wishes.iter().all(|wish| products[wish.product].introduced == 0));
        }
        let average: f64 =
            products.iter().map(|p| matched(&customer, p)).sum::<f64>() / products.len() as f64;
        let bought = match_sum / f64::from(lines as u32);
        assert!(bought > 1.8 * average, "{bought} against {average} at random");
    }

    #[test]
    fn a_shown_product_is_bought_more_often() {
        let products = crate::catalog::make(1, 184, (60, 30), &crate::Trade::default());
        let mut customer = someone();
        let best = (0..products.len()).filter(|p| products[*p].introduced == 0).max_by(|a, b| {
            matched(&customer, &products[*a]).total_cmp(&matched(&customer, &products[*b]))
        });
        let best = best.unwrap();
        let count = |customer: &Customer| {
            let mut rng = Rng::new(3);
            (0..500)
                .filter(|_| {
                    wishes(customer, &products, 0, &mut rng).iter().any(|w| w.product == best)
                })
                .count()
        };
        let before = count(&customer);
        customer.opened.push(crate::customer::Opened {
            day: 0,
            gain: 0.0,
            key: "k".into(),
            policy: "p".into(),
            items: vec![best],
            discount: 0,
            woke: false,
        });
        assert!(count(&customer) > before + 50);
    }
}
