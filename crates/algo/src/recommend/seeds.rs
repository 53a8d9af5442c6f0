//! The numbers the data-flywheel article prints, computed by our code.

use flywheel_base::Result;

use super::history::UserHistory;
use super::interactions::{Interaction, Interactions};
use super::neighbours::users::{self, UserNeighbours};
use super::nmf::{self, Nmf};
use super::serve::{OwnedItems, Request, serve};
use super::sparse::best;
use super::tfidf::{self, Tfidf};
use super::{Recommender, Scored};

/// One printed number or list beside ours.
#[derive(Clone, Debug, PartialEq)]
pub struct SeedCheck {
    /// What is compared.
    pub name: &'static str,
    /// What the article, or its code run today, prints.
    pub expected: String,
    /// What our code gives.
    pub ours: String,
    /// The largest absolute difference; infinite if a list differs.
    pub difference: f64,
    /// The difference that passes.
    pub tolerance: f64,
    /// Whether it passes.
    pub passed: bool,
}

/// The article's product descriptions: laptop, smartphone, tablet, monitor.
pub const PRODUCTS: [(&str, &str); 4] = [
    ("Laptop", "High-performance laptop"),
    ("Smartphone", "Latest smartphone model"),
    ("Tablet", "Affordable tablet"),
    ("Monitor", "High-resolution monitor"),
];

/// The article's ratings for collaborative filtering: (user, product, rating).
pub const RATINGS: [(u32, u32, f64); 8] = [
    (1, 101, 5.0),
    (1, 102, 4.0),
    (1, 103, 3.0),
    (2, 101, 4.0),
    (2, 104, 5.0),
    (3, 102, 2.0),
    (3, 103, 3.0),
    (3, 104, 4.0),
];

/// The article's rating matrix for factorisation; 0 is a missing rating.
pub const MATRIX: [[f64; 4]; 5] = [
    [5.0, 3.0, 0.0, 1.0],
    [4.0, 0.0, 0.0, 1.0],
    [1.0, 1.0, 0.0, 5.0],
    [1.0, 0.0, 0.0, 4.0],
    [0.0, 1.0, 5.0, 4.0],
];

/// What the article prints for [`MATRIX`].
pub const MATRIX_PRINTED: [[f64; 4]; 5] = [
    [5.255_837_51, 1.993_143_04, 0.0, 1.455_106_14],
    [3.504_298_83, 1.328_916_43, 0.0, 0.970_183_48],
    [1.312_912_55, 0.944_155_81, 1.949_574_74, 3.946_145_13],
    [0.981_266_95, 0.721_796_26, 1.527_603_01, 3.078_878_60],
    [0.0, 0.650_085_39, 2.839_981_44, 5.218_924_51],
];

/// Runs every recommender check of the article.
///
/// # Errors
/// Only if our own code refuses the article's data, which the checks exist to notice.
pub fn seeds() -> Result<Vec<SeedCheck>> {
    let mut checks = content()?;
    checks.extend(collaborative()?);
    checks.extend(factorised()?);
    Ok(checks)
}

fn content() -> Result<Vec<SeedCheck>> {
    let texts: Vec<String> = PRODUCTS.iter().map(|(_, text)| (*text).to_owned()).collect();
    let model = Tfidf::fit(&texts, &tfidf::Options::default())?;
    let names = |scores: Vec<Scored>| -> Vec<&str> {
        scores.iter().filter_map(|s| PRODUCTS.get(s.item as usize).map(|(name, _)| *name)).collect()
    };
    let list = |item: u32| names(model.neighbours_compat(item, 2)).join(", ");
    let high = model.terms().iter().position(|term| term == "high");
    let rarity = |index: usize| model.rarity().get(index).copied().unwrap_or(f64::NAN);
    let similarity = |a: u32, b: usize| model.similarities(a).get(b).copied().unwrap_or(f64::NAN);
    let default = names(model.neighbours(1, 2)).join(", ");
    Ok(vec![
        text(
            "TF-IDF vocabulary",
            "affordable, high, laptop, latest, model, monitor, performance, resolution, smartphone, tablet",
            model.terms().join(", "),
        ),
        numbers(
            "TF-IDF idf of \"high\" and of the others",
            &[1.510_825_623_766, 1.916_290_731_874],
            &[high.map_or(f64::NAN, rarity), rarity(0)],
            1e-9,
        ),
        numbers(
            "TF-IDF similarity Laptop~Monitor, Laptop~Smartphone",
            &[0.237_104_977_529, 0.0],
            &[similarity(0, 3), similarity(0, 1)],
            1e-9,
        ),
        text("TF-IDF list for Smartphone", "Laptop, Tablet", list(1)),
        text("TF-IDF list for Laptop", "Monitor, Smartphone", list(0)),
        text("TF-IDF list for Tablet", "Laptop, Smartphone", list(2)),
        text("TF-IDF list for Monitor", "Laptop, Smartphone", list(3)),
        text("our default for Smartphone: no evidence", "", default),
    ])
}

fn collaborative() -> Result<Vec<SeedCheck>> {
    let events = RATINGS.iter().map(|(user, product, weight)| Interaction {
        user: user - 1,
        item: product - 101,
        weight: *weight,
        at: None,
    });
    let data = Interactions::new(3, 4, events)?;
    let model = UserNeighbours::fit(&data, &users::Options::compat(2))?;
    let similarity = |user: usize, other: u32| {
        let near = model.similarities(&data.history(user, None));
        near.iter().find(|(row, _)| *row == other).map_or(f64::NAN, |(_, value)| *value)
    };
    let mut checks = vec![numbers(
        "user similarities 1~2, 1~3, 2~3",
        &[0.441_726_104_299, 0.446_441_871_723, 0.580_014_790_566],
        &[similarity(0, 1), similarity(0, 2), similarity(1, 2)],
        1e-9,
    )];
    let lists: [(&str, &[f64]); 3] = [
        ("recommended to user 1: item, rating", &[104.0, 4.5]),
        ("recommended to user 2: item, rating", &[102.0, 3.0, 103.0, 3.0]),
        ("recommended to user 3: item, rating", &[101.0, 4.5]),
    ];
    for (user, (name, expected)) in lists.into_iter().enumerate() {
        let history = data.history(user, None);
        let list = serve(&[&model], &history, &Request::new(2));
        let ours: Vec<f64> =
            list.items.iter().flat_map(|l| [f64::from(l.item + 101), l.score]).collect();
        checks.push(numbers(name, expected, &ours, 1e-9));
    }
    Ok(checks)
}

fn factorised() -> Result<Vec<SeedCheck>> {
    let events = MATRIX.iter().enumerate().flat_map(|(user, row)| {
        row.iter().enumerate().map(move |(item, weight)| Interaction {
            user: user as u32,
            item: item as u32,
            weight: *weight,
            at: None,
        })
    });
    let data = Interactions::new(5, 4, events)?;
    let (model, fitted) = Nmf::fit(&data, &nmf::Options::compat(2))?;
    let ours: Vec<f64> = fitted
        .users
        .chunks_exact(2)
        .flat_map(|user| (0..4).map(|item| model.predict(user, item)).collect::<Vec<_>>())
        .collect();
    let history: UserHistory = data.history(0, None);
    let owned = Request { owned: OwnedItems::Include, ..Request::new(2) };
    let list: Vec<f64> = best(model.score(&history), owned.count)
        .iter()
        .flat_map(|scored| [f64::from(scored.item), scored.score])
        .collect();
    let new = serve(&[&model], &history, &Request::new(2)).items.len();
    Ok(vec![
        numbers("NMF error", &[4.276_529_834_1], &[fitted.error], 1e-4),
        numbers("NMF predicted ratings", MATRIX_PRINTED.as_flattened(), &ours, 1e-3),
        numbers(
            "NMF list for user 0: item, rating",
            &[0.0, 5.255_837_506, 1.0, 1.993_143_044],
            &list,
            1e-3,
        ),
        numbers("our default for user 0: new items above 0", &[0.0], &[new as f64], 0.0),
    ])
}

fn text(name: &'static str, expected: &str, ours: String) -> SeedCheck {
    let passed = expected == ours;
    let difference = if passed { 0.0 } else { f64::INFINITY };
    SeedCheck { name, expected: expected.to_owned(), ours, difference, tolerance: 0.0, passed }
}

fn numbers(name: &'static str, expected: &[f64], ours: &[f64], tolerance: f64) -> SeedCheck {
    let difference = if expected.len() == ours.len() {
        expected.iter().zip(ours).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    } else {
        f64::INFINITY
    };
    let print = |values: &[f64]| {
        values.iter().map(|value| format!("{value:.9}")).collect::<Vec<_>>().join(", ")
    };
    SeedCheck {
        name,
        expected: print(expected),
        ours: print(ours),
        difference,
        tolerance,
        passed: difference <= tolerance,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_the_article_is_reproduced() {
        for check in seeds().unwrap() {
            assert!(check.passed, "{}: {} is not {}", check.name, check.ours, check.expected);
        }
    }
}
