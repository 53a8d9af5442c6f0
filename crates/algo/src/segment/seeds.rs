//! The seed document's five customers, grouped again.

use super::kmeans::{self, Clusters, Options, Scaling};
use crate::recommend::seeds::SeedCheck;
use crate::stats::seed;

/// Purchase frequency, average spend and days since the last purchase of the seed's users 1 to 5.
pub const CUSTOMERS: [f64; 15] =
    [5.0, 500.0, 10.0, 2.0, 100.0, 40.0, 10.0, 1200.0, 5.0, 1.0, 50.0, 90.0, 4.0, 300.0, 20.0];

/// The number of columns of [`CUSTOMERS`].
pub const COLUMNS: usize = 3;

/// Compares our clusters with scikit-learn's on the seed's data.
#[must_use]
pub fn seeds() -> Vec<SeedCheck> {
    let raw = Options { scaling: Scaling::Raw, ..Options::default() };
    let standardised = Options::default();
    let mut rows = vec![];
    rows.extend(pair(
        ["k-means raw, partition", "k-means raw, inertia"],
        &raw,
        "{1,5},{2,4},{3}",
        22_551.0,
        1e-6,
    ));
    rows.extend(pair(
        ["k-means standardised, partition", "k-means standardised, inertia"],
        &standardised,
        "{1,2,5},{3},{4}",
        1.423_229_284_449_488,
        1e-9,
    ));
    rows
}

fn pair(
    names: [&'static str; 2],
    options: &Options,
    partition: &str,
    inertia: f64,
    tolerance: f64,
) -> Vec<SeedCheck> {
    match kmeans::fit(&CUSTOMERS, COLUMNS, options) {
        Ok(made) => vec![
            seed::text(names[0], partition, &partition_of(&made)),
            seed::numbers(names[1], &[inertia], &[made.inertia], tolerance),
        ],
        Err(error) => vec![seed::failed(names[0], partition, &error)],
    }
}

/// The groups as sets of user numbers, in the order of their smallest one.
fn partition_of(clusters: &Clusters) -> String {
    let mut groups: Vec<Vec<String>> = Vec::new();
    let mut known: Vec<usize> = Vec::new();
    for (row, label) in clusters.labels.iter().enumerate() {
        let user = (row + 1).to_string();
        match known.iter().position(|other| other == label) {
            Some(group) => groups[group].push(user),
            None => {
                known.push(*label);
                groups.push(vec![user]);
            }
        }
    }
    groups.iter().map(|group| format!("{{{}}}", group.join(","))).collect::<Vec<_>>().join(",")
}
