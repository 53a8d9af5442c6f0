//! Forecasts of a total, of groups and of single series that add up.
//!
//! ```text
//! base forecasts of every node ── Reconciler::apply, step by step ──► coherent ones
//! errors of past forecasts ───────────────┘ (weights)
//!        └── choice::choose: which method would have erred least
//! ```
//! Every linear method but top-down is one projection: `ỹ = ŷ − W·U·(U'·W·U)⁻¹·U'·ŷ`, where `U'·y` says by how much each group
//! differs from its series, and `W` how far each forecast is from the truth. The system has the size of the groups, not of the
//! series, and MinT's `W` is kept as its diagonal and the errors themselves.

pub mod choice;

use std::collections::BTreeMap;

use flywheel_base::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::online::linear::{cholesky, cholesky_substitute};

/// The smallest variance of a forecast's errors, as hierarchicalforecast has it.
const VARIANCE_MIN: f64 = 2e-8;

/// The most groups, the total among them, that one system is solved for.
pub const GROUPS_MAX: usize = 2_000;

/// The most nodes whose errors are compared pair by pair.
pub const MINT_NODES_MAX: usize = 5_000;

/// How forecasts are made to add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The series' own forecasts, added up.
    BottomUp,
    /// The total's forecast, divided at each group as the forecasts below it are.
    TopDown,
    /// The total's forecast, divided as the past was.
    TopDownAverage,
    /// All forecasts count the same.
    Ols,
    /// A forecast counts for less the more series it adds up.
    WlsStructure,
    /// A forecast counts for less the further its past errors scattered.
    WlsVariance,
    /// As before, and errors that went together are known to: MinT with a shrunk covariance.
    Mint,
}

impl Method {
    /// Every method, the simplest first, which is also how ties are broken.
    pub const ALL: [Self; 7] = [
        Self::BottomUp,
        Self::TopDown,
        Self::TopDownAverage,
        Self::Ols,
        Self::WlsStructure,
        Self::WlsVariance,
        Self::Mint,
    ];

    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BottomUp => "bottom-up",
            Self::TopDown => "top-down",
            Self::TopDownAverage => "top-down-average",
            Self::Ols => "ols",
            Self::WlsStructure => "wls-structure",
            Self::WlsVariance => "wls-variance",
            Self::Mint => "mint",
        }
    }
}

/// A node: the total, a group, or a series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The level it belongs to.
    pub level: String,
    /// What it is called on its level.
    pub label: String,
}

/// A tree over series: first the total, then the groups level by level, last the series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// The nodes, groups before series.
    pub nodes: Vec<Node>,
    /// The series of each group, ascending.
    groups: Vec<Vec<usize>>,
    /// The groups of each series, from the total down.
    above: Vec<Vec<usize>>,
}

/// The name of the highest level and of its only node.
pub const TOTAL: &str = "total";
/// The name of the level of the series.
pub const SERIES: &str = "series";

impl Hierarchy {
    /// Builds the tree from each series' labels, one a level, the coarsest first.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if there is no series, a series has another number of labels than there are
    /// levels, a group lies in two groups of the level above, or there are more than [`GROUPS_MAX`] groups.
    pub fn new(levels: &[String], series: &[(String, Vec<String>)]) -> Result<Self> {
        if series.is_empty() {
            return Err(Error::invalid("a hierarchy has no series")
                .hint("Wait for the first rows, or check the filter of the query."));
        }
        let mut nodes = vec![Node { level: TOTAL.to_owned(), label: TOTAL.to_owned() }];
        let mut groups: Vec<Vec<usize>> = vec![(0..series.len()).collect()];
        let mut above = vec![vec![0]; series.len()];
        for (depth, level) in levels.iter().enumerate() {
            let mut members: BTreeMap<&str, (Option<&str>, Vec<usize>)> = BTreeMap::new();
            for (at, (name, labels)) in series.iter().enumerate() {
                let Some(label) = labels.get(depth).filter(|_| labels.len() == levels.len()) else {
                    return Err(Error::invalid(format!(
                        "series \"{name}\" has {} labels in a hierarchy of {} levels",
                        labels.len(),
                        levels.len()
                    )));
                };
                let parent = depth.checked_sub(1).and_then(|up| labels.get(up)).map(String::as_str);
                let (known, list) = members.entry(label).or_insert_with(|| (parent, Vec::new()));
                if *known != parent {
                    let (a, b) = (known.unwrap_or_default(), parent.unwrap_or_default());
                    let coarser = levels.get(depth - 1).map_or("", String::as_str);
                    return Err(Error::invalid(format!(
                        "{level} \"{label}\" lies in two values of {coarser}: \"{a}\" and \"{b}\""
                    ))
                    .hint(format!(
                        "Give each {level} one {coarser}, or name it with its {coarser}: {coarser} || '/' || {level}."
                    )));
                }
                list.push(at);
            }
            for (label, (_, list)) in members {
                for at in &list {
                    if let Some(above) = above.get_mut(*at) {
                        above.push(groups.len());
                    }
                }
                nodes.push(Node { level: level.clone(), label: label.to_owned() });
                groups.push(list);
            }
        }
        if groups.len() > GROUPS_MAX {
            return Err(Error::invalid(format!("a hierarchy has {} groups", groups.len())).hint(
                format!("Name coarser columns: at most {GROUPS_MAX} groups are made to add up."),
            ));
        }
        nodes.extend(
            series.iter().map(|(name, _)| Node { level: SERIES.to_owned(), label: name.clone() }),
        );
        Ok(Self { nodes, groups, above })
    }

    /// The places of a group's series, ascending; of a series its own.
    #[must_use]
    pub fn members(&self, node: usize) -> Vec<usize> {
        match self.groups.get(node) {
            Some(list) => list.clone(),
            None => vec![node.saturating_sub(self.groups.len())],
        }
    }

    /// How many groups there are, the total among them.
    #[must_use]
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// Adds values of series up: those of every node, groups first.
    #[must_use]
    pub fn sums(&self, series: &[f64]) -> Vec<f64> {
        let sum = |list: &Vec<usize>| list.iter().filter_map(|at| series.get(*at)).sum();
        self.groups.iter().map(sum).chain(series.iter().copied()).collect()
    }

    /// By how much each group differs from its series.
    fn gaps(&self, values: &[f64]) -> Vec<f64> {
        let (groups, series) = values.split_at(self.groups.len().min(values.len()));
        let sum = |list: &Vec<usize>| list.iter().filter_map(|at| series.get(*at)).sum::<f64>();
        groups.iter().zip(&self.groups).map(|(value, list)| value - sum(list)).collect()
    }

    /// The groups' `gaps` the other way: `U·z`.
    fn spread(&self, z: &[f64]) -> Vec<f64> {
        let below = self
            .above
            .iter()
            .map(|list| -list.iter().filter_map(|group| z.get(*group)).sum::<f64>());
        z.iter().copied().chain(below).collect()
    }

    /// Prepares a method.
    ///
    /// # Shape
    /// `errors[node]` are past errors, actual less forecast, and `actual[node]` past values; both of the same moments for every
    /// node, in the order of [`Self::nodes`]. Methods that do not look at them take empty ones.
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if they are not one row a node and of one length, fewer than two errors are
    /// given to MinT or none to `wls-variance`, or MinT is asked of more than [`MINT_NODES_MAX`] nodes.
    /// # Cost
    /// The third power of the groups, for MinT also nodes² × errors.
    /// # Source
    /// Wickramasuriya, Athanasopoulos & Hyndman 2019 (MinT); Schäfer & Strimmer 2005 (shrinkage); Gross & Sohl 1990
    /// (top-down); parity with hierarchicalforecast in `tests/parity/hierarchy.json`.
    pub fn reconciler(
        &self,
        method: Method,
        errors: &[Vec<f64>],
        actual: &[Vec<f64>],
    ) -> Result<Reconciler<'_>> {
        let plan = match method {
            Method::BottomUp => Plan::Up,
            Method::TopDown => Plan::Down,
            Method::TopDownAverage => Plan::Shares(self.shares(actual)?),
            Method::Ols => self.projection(vec![1.0; self.nodes.len()], None),
            Method::WlsStructure => {
                let sizes = self.groups.iter().map(|list| list.len() as f64);
                let ones = std::iter::repeat_n(1.0, self.above.len());
                self.projection(sizes.chain(ones).collect(), None)
            }
            Method::WlsVariance => {
                let count = self.equal("wls-variance", errors, 1)? as f64;
                let square = |row: &Vec<f64>| row.iter().map(|e| e * e).sum::<f64>() / count;
                self.projection(errors.iter().map(|row| square(row) + VARIANCE_MIN).collect(), None)
            }
            Method::Mint => {
                self.equal("mint", errors, 2)?;
                if errors.len() > MINT_NODES_MAX {
                    return Err(Error::invalid(format!("mint is asked of {} nodes", errors.len()))
                        .hint(format!(
                            "It compares each pair of at most {MINT_NODES_MAX}; use wls-variance."
                        )));
                }
                let shrunk = Shrunk::of(errors);
                self.projection(shrunk.own, Some(shrunk.common))
            }
        };
        Ok(Reconciler { hierarchy: self, plan })
    }

    /// The length of the rows, if they are one a node and equally long.
    fn equal(&self, what: &str, rows: &[Vec<f64>], least: usize) -> Result<usize> {
        let length = rows.first().map_or(0, Vec::len);
        if rows.len() == self.nodes.len() && rows.iter().all(|row| row.len() == length) {
            rows.iter().try_for_each(|row| crate::stats::finite::all_finite("past error", row))?;
            if length >= least {
                return Ok(length);
            }
        }
        Err(Error::invalid(format!(
            "{what} needs {least} past values or more of each of {} nodes, of the same moments",
            self.nodes.len()
        ))
        .hint("Use bottom-up or wls-structure, which look at no past."))
    }

    /// Each series' share of all that was.
    fn shares(&self, actual: &[Vec<f64>]) -> Result<Vec<f64>> {
        self.equal("top-down-average", actual, 1)?;
        let sums = actual.iter().skip(self.groups.len()).map(|row| row.iter().sum::<f64>());
        let sums: Vec<f64> = sums.collect();
        let total: f64 = sums.iter().sum();
        // What never was is divided evenly.
        let even = 1.0 / sums.len().max(1) as f64;
        Ok(sums.iter().map(|sum| if total == 0.0 { even } else { sum / total }).collect())
    }

    /// The system `U'·W·U` for `W = diag(own) + common·common'`, factored.
    fn projection(&self, own: Vec<f64>, common: Option<Vec<Vec<f64>>>) -> Plan {
        let count = self.groups.len();
        let mut lower = vec![0.0; count * (count + 1) / 2];
        let at = |row: usize, column: usize| row * (row + 1) / 2 + column;
        for (group, weight) in own.iter().take(count).enumerate() {
            lower[at(group, group)] += weight;
        }
        for (list, weight) in self.above.iter().zip(own.iter().skip(count)) {
            // The groups of a series are ascending, as levels come one after the other.
            for (index, row) in list.iter().enumerate() {
                list.iter().take(index + 1).for_each(|column| lower[at(*row, *column)] += weight);
            }
        }
        let gaps: Option<Vec<Vec<f64>>> = common.as_ref().map(|common| {
            let length = common.first().map_or(0, Vec::len);
            let column = |moment: usize| -> Vec<f64> {
                common.iter().filter_map(|row| row.get(moment).copied()).collect()
            };
            (0..length).map(|moment| self.gaps(&column(moment))).collect()
        });
        for gap in gaps.iter().flatten() {
            for row in 0..count {
                for column in 0..=row {
                    lower[at(row, column)] += gap[row] * gap[column];
                }
            }
        }
        cholesky(&mut lower, count);
        Plan::Project(Projection { lower, own, common: common.zip(gaps) })
    }
}

/// Covariances that are shrunk towards none: `diag(own) + common·common'`.
struct Shrunk {
    own: Vec<f64>,
    common: Vec<Vec<f64>>,
    #[cfg(test)]
    shrinkage: f64,
}

impl Shrunk {
    fn of(errors: &[Vec<f64>]) -> Self {
        let length = errors.first().map_or(0, Vec::len);
        let count = length as f64;
        let mean = |row: &[f64]| row.iter().sum::<f64>() / count;
        let centred = |row: &[f64]| -> Vec<f64> {
            let mean = mean(row);
            row.iter().map(|value| value - mean).collect()
        };
        let moved: Vec<Vec<f64>> = errors.iter().map(|row| centred(row)).collect();
        let squares = |row: &[f64]| row.iter().map(|value| value * value).sum::<f64>();
        let standard: Vec<Vec<f64>> = moved
            .iter()
            .map(|row| {
                let deviation = (squares(row) / count).sqrt() + VARIANCE_MIN;
                centred(&row.iter().map(|value| value / deviation).collect::<Vec<f64>>())
            })
            .collect();
        // A row of the triangle each, added up in their order: the same bits for any number of threads.
        let rows: Vec<(f64, f64)> = (0..standard.len())
            .into_par_iter()
            .map(|i| {
                let (mut variance, mut square) = (0.0, 0.0);
                for other in standard.iter().take(i) {
                    let product: Vec<f64> =
                        standard[i].iter().zip(other).map(|(a, b)| a * b).collect();
                    let correlation = mean(&product);
                    variance += product.iter().map(|w| (w - correlation).powi(2)).sum::<f64>();
                    square += correlation * correlation;
                }
                (variance, square)
            })
            .collect();
        let variance: f64 = rows.iter().map(|row| row.0).sum();
        let square: f64 = rows.iter().map(|row| row.1).sum();
        let shrinkage = variance / (count * (count - 1.0)) / (square + VARIANCE_MIN);
        let shrinkage = shrinkage.clamp(0.0, 1.0);
        let kept = 1.0 - shrinkage;
        let own = moved.iter().map(|row| {
            let variance = squares(row) / (count - 1.0);
            variance.max(VARIANCE_MIN) - kept * variance
        });
        let own = own.collect();
        let factor = (kept / (count - 1.0)).sqrt();
        let common = moved.iter().map(|row| row.iter().map(|value| factor * value).collect());
        Self {
            own,
            common: common.collect(),
            #[cfg(test)]
            shrinkage,
        }
    }
}

/// A method with what it needs to know.
#[derive(Debug)]
enum Plan {
    Up,
    Down,
    Shares(Vec<f64>),
    Project(Projection),
}

/// Rows of a matrix.
type Matrix = Vec<Vec<f64>>;

#[derive(Debug)]
struct Projection {
    /// The factor of `U'·W·U`.
    lower: Vec<f64>,
    /// The diagonal of `W`.
    own: Vec<f64>,
    /// The common part of `W` by node and moment, and its gaps by moment and group.
    common: Option<(Matrix, Matrix)>,
}

/// A method that is ready for forecasts.
#[derive(Debug)]
pub struct Reconciler<'h> {
    hierarchy: &'h Hierarchy,
    plan: Plan,
}

impl Reconciler<'_> {
    /// Makes one step's forecasts of every node add up.
    ///
    /// With `non_negative` no series is below 0: one that would be becomes 0, and groups are added up again.
    /// # Shape
    /// `values` has one value a node, in the order of [`Hierarchy::nodes`]; so has the answer.
    /// # Source
    /// Di Fonzo & Girolimetto 2023, "set negative to zero".
    #[must_use]
    pub fn apply(&self, values: &[f64], non_negative: bool) -> Vec<f64> {
        let hierarchy = self.hierarchy;
        let count = hierarchy.groups.len();
        let mut series: Vec<f64> = match &self.plan {
            Plan::Up => values.iter().skip(count).copied().collect(),
            Plan::Down => hierarchy.divided(values),
            Plan::Shares(shares) => {
                let total = values.first().copied().unwrap_or_default();
                shares.iter().map(|share| share * total).collect()
            }
            Plan::Project(projection) => {
                let moved = projection.moves(hierarchy, &hierarchy.gaps(values));
                values.iter().zip(moved).skip(count).map(|(value, moved)| value - moved).collect()
            }
        };
        if non_negative {
            series.iter_mut().for_each(|value| *value = value.max(0.0));
        }
        hierarchy.sums(&series)
    }
}

impl Hierarchy {
    /// The total's value, divided at each group in proportion to the values below it; evenly where these are 0 together.
    fn divided(&self, values: &[f64]) -> Vec<f64> {
        let count = self.groups.len();
        let parent_of = |node: usize| -> Option<usize> {
            if node >= count {
                return self.above.get(node - count)?.last().copied();
            }
            let series = self.groups.get(node)?.first()?;
            let list = self.above.get(*series)?;
            let place = list.iter().position(|group| *group == node)?;
            place.checked_sub(1).and_then(|up| list.get(up)).copied()
        };
        let parents: Vec<Option<usize>> = (0..self.nodes.len()).map(parent_of).collect();
        let (mut sums, mut counts) = (vec![0.0; count], vec![0.0; count]);
        for (value, parent) in values.iter().zip(&parents) {
            if let Some(parent) = parent {
                sums[*parent] += value;
                counts[*parent] += 1.0;
            }
        }
        let mut made = values.to_vec();
        for node in 0..made.len() {
            let Some(parent) = parents.get(node).copied().flatten() else { continue };
            let share = if sums[parent] == 0.0 {
                1.0 / counts[parent]
            } else {
                values[node] / sums[parent]
            };
            made[node] = made[parent] * share;
        }
        made.split_off(count.min(made.len()))
    }
}

impl Projection {
    /// By how much each node's forecast is too large: `W·U·(U'·W·U)⁻¹·gaps`.
    fn moves(&self, hierarchy: &Hierarchy, gaps: &[f64]) -> Vec<f64> {
        let z = cholesky_substitute(&self.lower, gaps.to_vec());
        let spread = hierarchy.spread(&z);
        let mut moved: Vec<f64> = spread.iter().zip(&self.own).map(|(u, own)| u * own).collect();
        if let Some((common, common_gaps)) = &self.common {
            let dot = |gap: &Vec<f64>| gap.iter().zip(&z).map(|(a, b)| a * b).sum::<f64>();
            let along: Vec<f64> = common_gaps.iter().map(dot).collect();
            for (moved, row) in moved.iter_mut().zip(common) {
                *moved += row.iter().zip(&along).map(|(a, b)| a * b).sum::<f64>();
            }
        }
        moved
    }
}

#[cfg(test)]
mod tests;
