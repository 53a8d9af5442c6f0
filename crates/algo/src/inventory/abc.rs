//! ABC and XYZ: which items carry the value, and how steady the demand of each is.

use std::collections::BTreeMap;

use flywheel_base::Result;

use crate::stats::finite;

/// The share of all value that items of class A make together, the most valuable first.
pub const A_SHARE: f64 = 0.80;
/// The share that those of A and B make.
pub const B_SHARE: f64 = 0.95;
/// Demand whose coefficient of variation is below this is X.
pub const X_VARIATION: f64 = 0.5;
/// Demand whose coefficient of variation is below this, and not X, is Y.
pub const Y_VARIATION: f64 = 1.0;

/// The class of each item by its value: A for those that make the first [`A_SHARE`] of all value, the one that reaches
/// it included, B up to [`B_SHARE`], and C for the rest and for what is worth nothing.
///
/// # Shape
/// Item and value, of 0 or more; items of the same value are taken by name.
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a value is not finite.
/// # Source
/// Silver, Pyke & Thomas 2017, ch. 2.2: a distribution by value.
pub fn by_value(values: &BTreeMap<String, f64>) -> Result<BTreeMap<String, char>> {
    let all: Vec<f64> = values.values().copied().collect();
    finite::all_finite("value of an item", &all)?;
    let total: f64 = all.iter().map(|value| value.max(0.0)).sum();
    let mut order: Vec<(&String, f64)> =
        values.iter().map(|(item, value)| (item, value.max(0.0))).collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let mut before = 0.0;
    let mut classes = BTreeMap::new();
    for (item, value) in order {
        // What the more valuable ones make decides, so that the one that crosses a bound is still within.
        let class = match before {
            _ if value <= 0.0 => 'C',
            share if share < A_SHARE * total => 'A',
            share if share < B_SHARE * total => 'B',
            _ => 'C',
        };
        before += value;
        classes.insert(item.clone(), class);
    }
    Ok(classes)
}

/// The class of an item by the coefficient of variation of its demand.
#[must_use]
pub fn by_variation(variation: f64) -> char {
    match variation {
        low if low < X_VARIATION => 'X',
        middle if middle < Y_VARIATION => 'Y',
        _ => 'Z',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_items_that_make_four_fifths_of_the_value_are_a() {
        let values = [("a", 70.0), ("b", 15.0), ("c", 10.0), ("d", 3.0), ("e", 2.0), ("f", 0.0)];
        let values = values.map(|(item, value)| (item.to_owned(), value));
        let classes = by_value(&BTreeMap::from(values)).unwrap();
        let text: String = classes.values().collect();
        assert_eq!(text, "AABCCC", "{classes:?}");
        assert!(by_value(&BTreeMap::new()).unwrap().is_empty());
        assert!(by_value(&BTreeMap::from([("a".to_owned(), f64::NAN)])).is_err());
        let same = ["x", "y"].map(|item| (item.to_owned(), 0.0));
        assert!(by_value(&BTreeMap::from(same)).unwrap().values().all(|class| *class == 'C'));
    }

    #[test]
    fn steady_demand_is_x_and_rare_demand_z() {
        let classes: String = [0.0, 0.49, 0.5, 0.99, 1.0, 4.0].map(by_variation).iter().collect();
        assert_eq!(classes, "XXYYZZ");
    }
}
