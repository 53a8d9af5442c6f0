//! Growing one tree: the leaf whose split lowers the loss most is split next.

use rayon::prelude::*;

use super::bins::{BINS_MAX, Binned, Column, MISSING};
use super::{Node, Options, Split, Tree};

/// A side of a split whose second derivatives sum to less says nothing.
const CURVATURE_MIN: f64 = 1e-3;

/// What falls into a bin.
#[derive(Clone, Copy, Default)]
struct Cell {
    slope: f64,
    curvature: f64,
    rows: u32,
}

impl Cell {
    fn add(&mut self, other: &Self) {
        self.slope += other.slope;
        self.curvature += other.curvature;
        self.rows += other.rows;
    }

    fn less(&self, other: &Self) -> Self {
        Self {
            slope: self.slope - other.slope,
            curvature: self.curvature - other.curvature,
            rows: self.rows - other.rows,
        }
    }
}

/// The bins of one column; the last cell is for what is missing.
type Histogram = Vec<Cell>;

/// A split that was found.
#[derive(Clone, Copy)]
struct Found {
    gain: f64,
    column: usize,
    bin: usize,
    missing_left: bool,
}

/// A leaf that may be split further.
struct Leaf {
    node: usize,
    /// Its rows: a stretch of the grower's list.
    from: usize,
    to: usize,
    histograms: Vec<Histogram>,
    best: Option<Found>,
}

/// Grows trees over the same rows.
pub(super) struct Grower<'a> {
    binned: &'a Binned,
    options: Options,
    /// The rows, those of each leaf together and in order.
    order: Vec<u32>,
    spare: Vec<u32>,
}

impl<'a> Grower<'a> {
    pub(super) fn new(binned: &'a Binned, options: Options) -> Self {
        let rows = u32::try_from(binned.rows).unwrap_or(u32::MAX);
        Self { binned, options, order: (0..rows).collect(), spare: Vec::new() }
    }

    /// Grows a tree that follows `slopes`, adds its values to `raw` and what its splits are worth to `gains`.
    pub(super) fn tree(
        &mut self,
        slopes: &[(f64, f64)],
        raw: &mut [f64],
        gains: &mut [f64],
    ) -> Tree {
        let count = self.order.len();
        self.order.iter_mut().zip(0..).for_each(|(place, row)| *place = row);
        let histograms = self.histograms(slopes, 0, count);
        let mut total = Cell::default();
        if let Some(first) = histograms.first() {
            first.iter().for_each(|cell| total.add(cell));
        }
        let root =
            Leaf { node: 0, from: 0, to: count, best: self.best(&histograms, &total), histograms };
        let mut nodes = vec![Node { value: self.value(&total), split: None }];
        let mut leaves = vec![root];
        while leaves.len() < self.options.leaves_max {
            let most = leaves
                .iter()
                .enumerate()
                .filter_map(|(at, leaf)| leaf.best.map(|best| (at, best)))
                // Of equal gains the first leaf is split, so that a tree does not depend on chance.
                .reduce(|a, b| if b.1.gain > a.1.gain { b } else { a });
            let Some((at, found)) = most else { break };
            let leaf = leaves.swap_remove(at);
            if let Some(gain) = gains.get_mut(found.column) {
                *gain += found.gain;
            }
            let (left, right) = self.split(slopes, &leaf, found, &mut nodes);
            leaves.push(left);
            leaves.push(right);
            leaves.sort_unstable_by_key(|leaf| leaf.node);
        }
        for leaf in &leaves {
            let value = nodes.get(leaf.node).map_or(0.0, |node| node.value);
            for row in self.order.get(leaf.from..leaf.to).unwrap_or_default() {
                if let Some(raw) = raw.get_mut(*row as usize) {
                    *raw += value;
                }
            }
        }
        Tree { nodes }
    }

    /// What rows of such sums get.
    fn value(&self, total: &Cell) -> f64 {
        let curvature = total.curvature + self.options.ridge;
        if curvature > 0.0 { -total.slope / curvature * self.options.learning_rate } else { 0.0 }
    }

    /// The sums of each bin of each column over the rows of a stretch.
    fn histograms(&self, slopes: &[(f64, f64)], from: usize, to: usize) -> Vec<Histogram> {
        let rows = self.order.get(from..to).unwrap_or_default();
        let one = |column: &Column| {
            let mut cells = vec![Cell::default(); BINS_MAX + 1];
            for row in rows {
                let (slope, curvature) = slopes[*row as usize];
                let cell = &mut cells[column.bins[*row as usize] as usize];
                cell.slope += slope;
                cell.curvature += curvature;
                cell.rows += 1;
            }
            cells
        };
        self.binned.columns.par_iter().map(one).collect()
    }

    /// The split that lowers the loss most; of equal ones that of the first column and bin.
    fn best(&self, histograms: &[Histogram], total: &Cell) -> Option<Found> {
        if (total.rows as usize) < 2 * self.options.leaf_rows_min {
            return None;
        }
        let of_column = |(column, cells): (usize, &Histogram)| {
            let known = self.binned.columns.get(column)?;
            self.best_of(column, cells, known, total)
        };
        let each: Vec<Option<Found>> = histograms.par_iter().enumerate().map(of_column).collect();
        each.into_iter().flatten().reduce(|a, b| if b.gain > a.gain { b } else { a })
    }

    fn best_of(
        &self,
        column: usize,
        cells: &[Cell],
        known: &Column,
        total: &Cell,
    ) -> Option<Found> {
        let missing = cells[MISSING as usize];
        let whole = self.worth(total);
        let mut best: Option<Found> = None;
        let mut consider = |left: &Cell, bin: usize, missing_left: bool| {
            let right = total.less(left);
            let least = self.options.leaf_rows_min;
            let small = (left.rows as usize) < least || (right.rows as usize) < least;
            if small || left.curvature < CURVATURE_MIN || right.curvature < CURVATURE_MIN {
                return;
            }
            let gain = self.worth(left) + self.worth(&right) - whole;
            if gain > 0.0 && best.is_none_or(|best| gain > best.gain) {
                best = Some(Found { gain, column, bin, missing_left });
            }
        };
        // What was missing nowhere goes where more rows go, should it be missing later.
        let mut below = Cell::default();
        for (bin, cell) in cells.iter().enumerate().take(known.thresholds.len()) {
            below.add(cell);
            if known.misses {
                let mut with = below;
                with.add(&missing);
                consider(&with, bin, true);
                consider(&below, bin, false);
            } else {
                consider(&below, bin, 2 * below.rows >= total.rows);
            }
        }
        // Whether a value is missing may itself tell.
        if known.misses {
            let known_rows = total.less(&missing);
            consider(&known_rows, known.thresholds.len(), false);
        }
        best
    }

    /// Twice what a leaf of such sums lowers the loss by.
    fn worth(&self, cell: &Cell) -> f64 {
        let curvature = cell.curvature + self.options.ridge;
        if curvature > 0.0 { cell.slope * cell.slope / curvature } else { 0.0 }
    }

    fn split(
        &mut self,
        slopes: &[(f64, f64)],
        leaf: &Leaf,
        found: Found,
        nodes: &mut Vec<Node>,
    ) -> (Leaf, Leaf) {
        let binned = self.binned;
        let column = &binned.columns[found.column];
        let goes_left = |row: u32| match column.bins[row as usize] {
            MISSING => found.missing_left,
            bin => bin as usize <= found.bin,
        };
        // Rows keep their order, so that sums do not depend on how the tree grew.
        self.spare.clear();
        let mut middle = leaf.from;
        for place in leaf.from..leaf.to {
            let row = self.order[place];
            if goes_left(row) {
                self.order[middle] = row;
                middle += 1;
            } else {
                self.spare.push(row);
            }
        }
        self.order[middle..leaf.to].copy_from_slice(&self.spare);
        // The larger side is what is left of the whole.
        let left_smaller = middle - leaf.from <= leaf.to - middle;
        let (from, to) = if left_smaller { (leaf.from, middle) } else { (middle, leaf.to) };
        let small = self.histograms(slopes, from, to);
        let large: Vec<Histogram> = leaf
            .histograms
            .par_iter()
            .zip(&small)
            .map(|(whole, part)| whole.iter().zip(part).map(|(a, b)| a.less(b)).collect())
            .collect();
        let (left, right) = if left_smaller { (small, large) } else { (large, small) };
        let child = |histograms: Vec<Histogram>, from: usize, to: usize, nodes: &mut Vec<Node>| {
            let mut total = Cell::default();
            if let Some(first) = histograms.first() {
                first.iter().for_each(|cell| total.add(cell));
            }
            nodes.push(Node { value: self.value(&total), split: None });
            let best = self.best(&histograms, &total);
            Leaf { node: nodes.len() - 1, from, to, histograms, best }
        };
        let left = child(left, leaf.from, middle, nodes);
        let right = child(right, middle, leaf.to, nodes);
        // Beyond the last threshold there is only what is missing: every known value is at most the largest number.
        let threshold = column.thresholds.get(found.bin).copied().unwrap_or(f64::MAX);
        nodes[leaf.node].split = Some(Split {
            column: found.column as u32,
            threshold,
            missing_left: found.missing_left,
            left: left.node as u32,
            right: right.node as u32,
        });
        (left, right)
    }
}
