//! Stock: what lies on the shelf, what is on its way, and the sales an empty shelf costs.

use crate::catalog::Product;

/// Days of demand that the shop's own buyer keeps beyond the lead time, before the project takes over.
const HOUSE_COVER_DAYS: f64 = 9.0;

/// The stock of one product.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf {
    pub(crate) on_hand: i64,
    /// Day of arrival and pieces.
    pub(crate) incoming: Vec<(i64, i64)>,
    /// Pieces sold since the world began, for the shop's own buyer.
    sold: i64,
    /// Pieces wanted and not sold since the world began, for the shop's own buyer.
    missed: i64,
}

impl Shelf {
    /// The shelf of a product of which `per_day` pieces are wanted a day.
    pub(crate) fn filled(product: &Product, per_day: f64) -> Self {
        let pieces = per_day * (HOUSE_COVER_DAYS + product.lead_time_days as f64);
        Self { on_hand: packs(pieces, product.pack_size), ..Self::default() }
    }

    /// Puts what arrives on `day` on the shelf.
    pub(crate) fn receive(&mut self, day: i64) {
        self.on_hand +=
            self.incoming.iter().filter(|(at, _)| *at <= day).map(|(_, n)| n).sum::<i64>();
        self.incoming.retain(|(at, _)| *at > day);
    }

    /// Takes `pieces`, or as many as there are.
    pub(crate) fn take(&mut self, pieces: i64) -> i64 {
        let taken = pieces.min(self.on_hand).max(0);
        self.on_hand -= taken;
        self.sold += taken;
        self.missed += pieces - taken;
        taken
    }

    /// Orders `pieces` from the supplier on `day`.
    pub(crate) fn order(&mut self, product: &Product, pieces: i64, day: i64) {
        if pieces > 0 {
            self.incoming.push((day + product.lead_time_days, pieces));
        }
    }

    /// What is on its way.
    pub(crate) fn on_order(&self) -> i64 {
        self.incoming.iter().map(|(_, pieces)| pieces).sum()
    }

    /// The shop's own buyer, who fills up to a rule of thumb; used before the project takes over.
    pub(crate) fn house_order(&mut self, product: &Product, expected_per_day: f64, day: i64) {
        let lived = (day - product.introduced + 1).max(0) as f64;
        let seen = (self.sold + self.missed) as f64;
        // Ten days of belief in the expectation, then what really sold.
        let per_day = (seen + 10.0 * expected_per_day) / (lived + 10.0);
        let target = per_day * (HOUSE_COVER_DAYS + product.lead_time_days as f64);
        let missing = target - (self.on_hand + self.on_order()) as f64;
        if missing >= product.pack_size as f64 {
            self.order(product, packs(missing, product.pack_size), day);
        }
    }
}

/// Pieces rounded up to whole packs.
fn packs(pieces: f64, pack_size: i64) -> i64 {
    (pieces / pack_size as f64).ceil() as i64 * pack_size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_arrive_after_the_lead_time_and_an_empty_shelf_sells_nothing() {
        let product = crate::catalog::make(1, 8, (10, 10), &crate::Trade::default()).remove(0);
        let mut shelf = Shelf { on_hand: 3, ..Shelf::default() };
        assert_eq!((shelf.take(2), shelf.take(2), shelf.take(1)), (2, 1, 0));
        shelf.order(&product, 12, 5);
        assert_eq!(shelf.on_order(), 12);
        shelf.receive(4 + product.lead_time_days);
        assert_eq!(shelf.on_hand, 0);
        shelf.receive(5 + product.lead_time_days);
        assert_eq!((shelf.on_hand, shelf.on_order()), (12, 0));
    }
}
