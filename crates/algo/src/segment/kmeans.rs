//! k-means clustering whose labels mean the same from one run to the next.

mod bounds;
mod distance;
mod lloyd;
mod scale;

use flywheel_base::{Error, Result, Rng};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::stats::finite;
use distance::{Panels, square_distance};
use lloyd::Fit;
use scale::Scale;

/// The largest number of clusters.
pub const CLUSTERS_MAX: usize = 10_000;

/// Values that are looked at together.
const PIECE: usize = 4096;

/// Fresh starts beside the earlier centres when rows are grouped again.
pub const RESTARTS_AGAIN: usize = 2;

/// How clusters are searched.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How many clusters.
    pub clusters: usize,
    /// How many k-means++ starts are tried; the least inertia wins.
    pub restarts: usize,
    /// Passes over the rows after which one start gives up.
    pub iterations_max: usize,
    /// The random seed; the same seed gives the same clusters on any number of threads.
    pub seed: u64,
    /// Whether columns are used as they are or brought to mean 0 and deviation 1 first.
    pub scaling: Scaling,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clusters: 3,
            restarts: 10,
            iterations_max: 300,
            seed: 0,
            scaling: Scaling::Standardised,
        }
    }
}

/// What happens to columns before distances are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scaling {
    /// Mean 0 and deviation 1, so that a column in euros does not outvote one in days.
    #[default]
    Standardised,
    /// As they are: scikit-learn's behaviour and the seed document's.
    Raw,
}

/// Fitted clusters.
///
/// # Shape
/// `centres` is `(clusters, columns)` in the units of the input; `labels` has one entry a row and
/// refers to `centres`, which are ordered by their first column, then the second, and so on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clusters {
    /// The centres in the units of the input, ascending.
    pub centres: Vec<Vec<f64>>,
    /// The cluster of each row.
    pub labels: Vec<usize>,
    /// The summed squared distance of the rows to their centres, in the scaled space.
    pub inertia: f64,
    /// Whether the best start came to rest before `iterations_max`.
    pub converged: bool,
    scale: Scale,
}

/// Groups rows around `clusters` centres.
///
/// # Shape
/// `rows` is row-major, `(n_rows, columns)`.
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a value is not finite (its row and column are named), the
/// length is no multiple of `columns`, or there are fewer distinct rows than clusters.
/// # Cost
/// O(restarts · iterations · n · clusters · columns) at worst; Hamerly's bounds skip most distances.
/// # Source
/// Arthur & Vassilvitskii 2007 (k-means++), Lloyd 1982, Hamerly 2010; parity with scikit-learn in
/// `tests/parity/segment.json` to 1e-9.
pub fn fit(rows: &[f64], columns: usize, options: &Options) -> Result<Clusters> {
    check(rows, columns, options)?;
    search(rows, columns, None, options)
}

/// Groups rows again that have changed a little since centres were found, in a fraction of the time:
/// one start is from those centres, and [`RESTARTS_AGAIN`] others at most prove that no better ones
/// have come up.
///
/// # Shape
/// `rows` as for [`fit`]; `before` is `(clusters, columns)` in the units of the input.
/// # Errors
/// As [`fit`]; [`flywheel_base::ErrorKind::Invalid`] if `before` has another shape.
pub fn refit(
    rows: &[f64],
    columns: usize,
    before: &[Vec<f64>],
    options: &Options,
) -> Result<Clusters> {
    check(rows, columns, options)?;
    let centres = before.concat();
    width(&centres, columns)?;
    if before.len() != options.clusters || before.iter().any(|centre| centre.len() != columns) {
        return Err(Error::invalid(format!(
            "{} centres cannot be the start of {} clusters of {columns} columns",
            before.len(),
            options.clusters
        )));
    }
    let restarts = options.restarts.min(RESTARTS_AGAIN);
    search(rows, columns, Some(&centres), &Options { restarts, ..*options })
}

/// Runs every start and keeps the one of least inertia, the first of equals.
fn search(
    rows: &[f64],
    columns: usize,
    before: Option<&[f64]>,
    options: &Options,
) -> Result<Clusters> {
    let scale = Scale::fit(rows, columns, options.scaling);
    let scaled = scale.apply(rows);
    let most = options.iterations_max;
    let kept = before.map(|centres| scale.apply(centres).into_owned());
    let starts = options.restarts.max(usize::from(before.is_none()));
    // The earlier centres come first: of equal fits the first is kept.
    let starts: Vec<Option<usize>> =
        kept.iter().map(|_| None).chain((0..starts).map(Some)).collect();
    let fits: Vec<Fit> = starts
        .into_par_iter()
        .with_max_len(1)
        .map(|start| match (start, &kept) {
            (None, Some(centres)) => lloyd::fit_from(&scaled, columns, centres.clone(), most),
            (start, _) => {
                let start = start.unwrap_or_default();
                let mut rng = Rng::stream(options.seed, &format!("k-means start {start}"));
                lloyd::fit(&scaled, columns, options.clusters, most, &mut rng)
            }
        })
        .collect();
    let best =
        fits.into_iter().reduce(|best, fit| if fit.inertia < best.inertia { fit } else { best });
    let Some(best) = best else {
        return Err(Error::internal("k-means ran no start"));
    };
    Ok(ordered(&best, columns, scale))
}

impl Clusters {
    /// The nearest centre of each of some new rows.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a value is not finite or the width differs.
    pub fn assign(&self, rows: &[f64]) -> Result<Vec<usize>> {
        let columns = self.scale.columns();
        width(rows, columns)?;
        let centres = self.centres.concat();
        let centres = self.scale.apply(&centres);
        let scaled = self.scale.apply(rows);
        Ok(Panels::of(&centres, columns).nearest(&scaled))
    }

    /// Renames the clusters after the nearest ones of an earlier run, so that "cluster 2" stays the
    /// same customers while they drift.
    ///
    /// Pairs are made by the least total distance (in the earlier order on ties). Returns the new
    /// label of each old one.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the number of clusters or columns differs.
    /// # Source
    /// Kuhn 1955 (the assignment problem), in the O(k³) form of Jonker & Volgenant.
    pub fn match_labels(&mut self, previous: &[Vec<f64>]) -> Result<Vec<usize>> {
        let columns = self.scale.columns();
        if previous.len() != self.centres.len() || previous.iter().any(|c| c.len() != columns) {
            return Err(Error::invalid(format!(
                "{} earlier clusters cannot name {} new ones",
                previous.len(),
                self.centres.len()
            ))
            .hint("Match runs with the same number of clusters and the same columns."));
        }
        let earlier = previous.concat();
        width(&earlier, columns)?;
        let own = self.centres.concat();
        let (from, to) = (self.scale.apply(&own), self.scale.apply(&earlier));
        let distance = |a: usize, b: usize| {
            square_distance(
                &from[a * columns..(a + 1) * columns],
                &to[b * columns..(b + 1) * columns],
            )
        };
        let renamed = assign_pairs(self.centres.len(), distance);
        let mut centres = vec![Vec::new(); self.centres.len()];
        for (old, centre) in std::mem::take(&mut self.centres).into_iter().enumerate() {
            centres[renamed[old]] = centre;
        }
        self.centres = centres;
        self.labels.iter_mut().for_each(|label| *label = renamed[*label]);
        Ok(renamed)
    }
}

fn ordered(fit: &Fit, columns: usize, scale: Scale) -> Clusters {
    let centres: Vec<Vec<f64>> =
        fit.centres.chunks_exact(columns).map(|centre| scale.undo(centre)).collect();
    let mut order: Vec<usize> = (0..centres.len()).collect();
    order.sort_by(|a, b| compare(&centres[*a], &centres[*b]).then(a.cmp(b)));
    let mut renamed = vec![0; centres.len()];
    for (new, old) in order.iter().enumerate() {
        renamed[*old] = new;
    }
    Clusters {
        centres: order.iter().map(|old| centres[*old].clone()).collect(),
        labels: fit.labels.iter().map(|label| renamed[*label]).collect(),
        inertia: fit.inertia,
        converged: fit.converged,
        scale,
    }
}

fn compare(a: &[f64], b: &[f64]) -> std::cmp::Ordering {
    a.iter()
        .zip(b)
        .map(|(a, b)| a.total_cmp(b))
        .find(|order| order.is_ne())
        .unwrap_or_else(|| a.len().cmp(&b.len()))
}

/// Pairs `0..n` with `0..n` at the least total cost; gives the partner of each left index.
fn assign_pairs(n: usize, cost: impl Fn(usize, usize) -> f64) -> Vec<usize> {
    // Row and column 0 are sentinels, as in the textbook form of the shortest augmenting path.
    let (mut of_left, mut of_right) = (vec![0.0; n + 1], vec![0.0; n + 1]);
    let mut partner = vec![0_usize; n + 1];
    for left in 1..=n {
        partner[0] = left;
        let mut least = vec![f64::INFINITY; n + 1];
        let mut way = vec![0_usize; n + 1];
        let mut used = vec![false; n + 1];
        let mut at = 0;
        while partner[at] != 0 {
            used[at] = true;
            let row = partner[at];
            let (mut delta, mut next) = (f64::INFINITY, 0);
            for right in 1..=n {
                if used[right] {
                    continue;
                }
                let reduced = cost(row - 1, right - 1) - of_left[row] - of_right[right];
                if reduced < least[right] {
                    least[right] = reduced;
                    way[right] = at;
                }
                if least[right] < delta {
                    delta = least[right];
                    next = right;
                }
            }
            for right in 0..=n {
                if used[right] {
                    of_left[partner[right]] += delta;
                    of_right[right] -= delta;
                } else {
                    least[right] -= delta;
                }
            }
            at = next;
        }
        while at != 0 {
            partner[at] = partner[way[at]];
            at = way[at];
        }
    }
    let mut made = vec![0; n];
    for right in 1..=n {
        made[partner[right] - 1] = right - 1;
    }
    made
}

fn width(rows: &[f64], columns: usize) -> Result<()> {
    if columns == 0 || !rows.len().is_multiple_of(columns) {
        return Err(Error::invalid(format!("{} values do not fill rows of {columns}", rows.len()))
            .hint("Give every row the same columns, and at least one."));
    }
    let finite = |piece: &[f64]| piece.iter().fold(true, |all, value| all & value.is_finite());
    if rows.chunks(PIECE).all(finite) {
        return Ok(());
    }
    match rows.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let what = format!("column {} of row {}", at % columns, at / columns);
            Err(finite::not_finite(&what, at, rows[at]))
        }
    }
}

fn check(rows: &[f64], columns: usize, options: &Options) -> Result<()> {
    width(rows, columns)?;
    let clusters = options.clusters;
    if clusters == 0 || clusters > CLUSTERS_MAX {
        return Err(Error::invalid(format!("{clusters} clusters are asked for"))
            .hint(format!("Ask for 1 to {CLUSTERS_MAX} clusters.")));
    }
    // Ends at the first rows as a rule: it only looks for as many different ones as there are clusters.
    let mut distinct: Vec<&[f64]> = Vec::new();
    let order = |a: &[f64], b: &[f64]| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal);
    for row in rows.chunks_exact(columns) {
        if let Err(at) = distinct.binary_search_by(|other| order(other, row)) {
            distinct.insert(at, row);
            if distinct.len() == clusters {
                return Ok(());
            }
        }
    }
    Err(Error::invalid(format!(
        "{clusters} clusters are asked of {} distinct rows",
        distinct.len()
    ))
    .hint("Ask for fewer clusters or wait for more customers."))
}
