//! The weight of the moments at which a customer may have left, and what the two clocks of Pareto/NBD show at them on the mean.
//!
//! The derivatives of the weight by the parameters are means over these moments, so that the nodes of the integral give
//! them along with it.

use std::f64::consts::PI;
use std::sync::LazyLock;

use super::elementary::{exp, exp_m1, ln_1p};

/// Numbers side by side in a sum.
const LANES: usize = 4;

/// Nodes of a piece, and of one over which little happens. Multiples of [`LANES`].
const MANY: usize = 24;
const FEW: usize = 12;

/// How long a piece may be: beyond that `ln(1 + ratio·(eᵛ − 1))` is no polynomial any more.
const PIECE_MAX: f64 = 4.0;

/// How long a piece with few nodes may be, and how far the logarithm of the integrand may fall along it.
const FEW_LENGTH_MAX: f64 = 2.0;
const FEW_DEPTH_MAX: f64 = 4.0;

/// How far below its top the integrand is let go, as a logarithm: what is left out does not show in a double.
const DEPTH: f64 = 40.0;
const DEPTH_MAX: f64 = 46.0;

/// Newton steps to a moment of that depth. They halve the excess or come nearer by 1 each, and no range is longer than this.
const FADING_STEPS_MAX: usize = 1_000;

/// Newton steps to a node; they converge after five.
const NODE_STEPS: usize = 12;

/// What is summed up where only the area is asked for.
pub(super) const AREA: usize = 1;

/// What is summed up otherwise: the area, what both clocks show ([`Readings`]), and the lower triangle of their products.
pub(super) const MOMENTS: usize = 15;

/// Nodes on −1 to 1 and their weights (Gauss–Legendre).
struct Rule<const NODES: usize> {
    places: [f64; NODES],
    weights: [f64; NODES],
}

static MANY_RULE: LazyLock<Rule<MANY>> = LazyLock::new(Rule::new);
static FEW_RULE: LazyLock<Rule<FEW>> = LazyLock::new(Rule::new);

/// `Π (1 + t/clock)^(−power)` of two clocks, from `t = 0` to an end.
///
/// It is integrated over `v = ln(1 + t/near)` of the lesser clock, in which both powers are smooth:
/// `e^((1 − p)·v) · (1 + ratio·(eᵛ − 1))^(−q)`.
pub(super) struct Range {
    near_power: f64,
    far_power: f64,
    near_end: f64,
    far_end: f64,
    /// The lesser clock over the greater one.
    ratio: f64,
    /// Whether the second clock is the lesser one.
    swapped: bool,
}

/// An integral over a [`Range`], in units of the lesser clock and of `e^height`.
pub(super) struct Sums<const COUNT: usize> {
    pub(super) height: f64,
    /// The area first. For [`MOMENTS`] then the integrals with `ln(1 + t/clock)` and `t/(clock + t)` of the first and of the
    /// second clock as a factor, then those with two of these four: the lower triangle row by row.
    pub(super) values: [f64; COUNT],
}

/// The integrand, each weight with that of its node, and what the near and the far clock show there.
struct Nodes<const NODES: usize> {
    weights: [f64; NODES],
    near: [[f64; NODES]; 2],
    far: [[f64; NODES]; 2],
}

impl Range {
    /// A range from where the clocks stand at `clocks` to where they have gone on by `ends = ln(1 + t/clock)`.
    ///
    /// # Shape
    /// Powers and clocks above 0, ends 0 or more.
    #[inline(always)]
    pub(super) fn new(powers: [f64; 2], clocks: [f64; 2], ends: [f64; 2]) -> Self {
        let swapped = clocks[1] < clocks[0];
        let (near, far) = if swapped { (1, 0) } else { (0, 1) };
        Self {
            near_power: powers[near],
            far_power: powers[far],
            near_end: ends[near],
            far_end: ends[far],
            ratio: clocks[near] / clocks[far],
            swapped,
        }
    }

    /// Integrates.
    ///
    /// # Cost
    /// 12 to 48 values of the integrand for ranges up to e⁴, and 24 more for every e⁴ beyond.
    /// # Source
    /// The integrand has one top (its logarithm is concave), so that both sides of it are integrated to where it has faded;
    /// agrees with mpmath to 1e-13.
    #[inline(always)]
    pub(super) fn sums<const COUNT: usize>(&self) -> Sums<COUNT> {
        let top = self.top();
        let height = if top == 0.0 { 0.0 } else { self.log(top) };
        let mut lanes = [[0.0; LANES]; COUNT];
        if top > 0.0 {
            let (from, depth) = self.faded(0.0, height, height);
            self.side([from, top], depth, height, &mut lanes);
        }
        if top < self.near_end {
            let log = (1.0 - self.near_power) * self.near_end - self.far_power * self.far_end;
            let (until, depth) = self.faded(self.near_end, height - log, height);
            self.side([top, until], depth, height, &mut lanes);
        }
        let mut values = [0.0; COUNT];
        for (value, lanes) in values.iter_mut().zip(&lanes) {
            *value = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
        }
        Sums { height, values }
    }

    /// The logarithm of the integrand.
    #[inline(always)]
    fn log(&self, v: f64) -> f64 {
        (1.0 - self.near_power) * v - self.far_power * ln_1p(self.ratio * exp_m1(v))
    }

    /// The slope of that logarithm.
    #[inline(always)]
    fn slope(&self, v: f64) -> f64 {
        let grown = self.ratio * exp_m1(v);
        1.0 - self.near_power - self.far_power * (self.ratio + grown) / (1.0 + grown)
    }

    /// Where the integrand is greatest.
    #[inline(always)]
    fn top(&self) -> f64 {
        let share = (1.0 - self.near_power) / self.far_power;
        if share <= self.ratio {
            return 0.0;
        }
        if share >= 1.0 {
            return self.near_end;
        }
        let grown = (share - self.ratio) / ((1.0 - share) * self.ratio);
        grown.ln_1p().min(self.near_end)
    }

    /// Where the integrand has faded on the way from its top to `end`, and how deep it lies there; `end` if it has not.
    ///
    /// Newton's steps on a concave function come from outside and stay there.
    #[inline(always)]
    fn faded(&self, end: f64, depth: f64, height: f64) -> (f64, f64) {
        let (mut at, mut depth) = (end, depth);
        if depth <= DEPTH_MAX {
            return (at, depth);
        }
        let straight = -DEPTH / self.slope(0.0);
        if height == 0.0 && straight < at {
            // It falls from the start on, and ever faster than there.
            at = straight;
            depth = height - self.log(at);
        }
        for _ in 0..FADING_STEPS_MAX {
            if depth <= DEPTH_MAX {
                break;
            }
            at += (depth - DEPTH) / self.slope(at);
            depth = height - self.log(at);
        }
        (at, depth)
    }

    /// Adds what lies between the top and where the integrand has fallen by `depth`.
    #[inline(always)]
    fn side<const COUNT: usize>(
        &self,
        [from, until]: [f64; 2],
        depth: f64,
        height: f64,
        lanes: &mut [[f64; LANES]; COUNT],
    ) {
        let span = until - from;
        if span <= FEW_LENGTH_MAX && depth <= FEW_DEPTH_MAX {
            add(&self.nodes(&FEW_RULE, from + span / 2.0, span / 2.0, height), self.swapped, lanes);
            return;
        }
        let pieces = (span / PIECE_MAX).ceil();
        let half = span / pieces / 2.0;
        for piece in 0..pieces as u32 {
            let middle = from + f64::from(2 * piece + 1) * half;
            add(&self.nodes(&MANY_RULE, middle, half, height), self.swapped, lanes);
        }
    }

    #[inline(always)]
    fn nodes<const NODES: usize>(
        &self,
        rule: &Rule<NODES>,
        middle: f64,
        half: f64,
        height: f64,
    ) -> Nodes<NODES> {
        let mut weights = [0.0; NODES];
        let (mut near, mut far) = ([[0.0; NODES]; 2], [[0.0; NODES]; 2]);
        for at in 0..NODES {
            let v = half.mul_add(rule.places[at], middle);
            let grown = exp_m1(v);
            let further = self.ratio * grown;
            let ln_further = ln_1p(further);
            let log = (1.0 - self.near_power) * v - self.far_power * ln_further - height;
            weights[at] = rule.weights[at] * half * exp(log);
            near[0][at] = v;
            near[1][at] = grown / (1.0 + grown);
            far[0][at] = ln_further;
            far[1][at] = further / (1.0 + further);
        }
        Nodes { weights, near, far }
    }
}

/// Adds up what the nodes show.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "loops over equal indexes become vector code")]
fn add<const NODES: usize, const COUNT: usize>(
    nodes: &Nodes<NODES>,
    swapped: bool,
    lanes: &mut [[f64; LANES]; COUNT],
) {
    if COUNT < MOMENTS {
        for at in (0..NODES).step_by(LANES) {
            for lane in 0..LANES {
                lanes[0][lane] += nodes.weights[at + lane];
            }
        }
        return;
    }
    let (first, second) =
        if swapped { (&nodes.far, &nodes.near) } else { (&nodes.near, &nodes.far) };
    for at in (0..NODES).step_by(LANES) {
        let shown = [&first[0], &first[1], &second[0], &second[1]];
        let mut weighted = [[0.0; LANES]; 4];
        for lane in 0..LANES {
            lanes[0][lane] += nodes.weights[at + lane];
        }
        for (which, shown) in shown.iter().enumerate() {
            for lane in 0..LANES {
                weighted[which][lane] = nodes.weights[at + lane] * shown[at + lane];
                lanes[1 + which][lane] += weighted[which][lane];
            }
        }
        let mut sum = 5;
        for row in 0..4 {
            for column in 0..=row {
                for lane in 0..LANES {
                    let product = weighted[row][lane];
                    lanes[sum][lane] = product.mul_add(shown[column][at + lane], lanes[sum][lane]);
                }
                sum += 1;
            }
        }
    }
}

impl<const NODES: usize> Rule<NODES> {
    fn new() -> Self {
        let nodes: [(f64, f64); NODES] = std::array::from_fn(|at| node(at, NODES));
        Self { places: nodes.map(|(x, _)| x), weights: nodes.map(|(_, weight)| weight) }
    }
}

/// The node at a place and its weight, by Newton's method on the Legendre polynomial.
fn node(at: usize, nodes: usize) -> (f64, f64) {
    let count = nodes as f64;
    let mut x = (PI * (at as f64 + 0.75) / (count + 0.5)).cos();
    let mut slope = 1.0;
    for _ in 0..NODE_STEPS {
        let (mut value, mut before) = (1.0, 0.0);
        for degree in 0..nodes {
            let degree = degree as f64;
            let next = ((2.0 * degree + 1.0) * x * value - degree * before) / (degree + 1.0);
            (value, before) = (next, value);
        }
        slope = count * (x * value - before) / (x * x - 1.0);
        x -= value / slope;
    }
    (x, 2.0 / ((1.0 - x * x) * slope * slope))
}
