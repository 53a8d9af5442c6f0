//! The weight of the moments at which a customer may have left, where the two clocks of Pareto/NBD are far apart: there
//! the continued fraction needs up to millions of steps, and two nearly equal numbers would be subtracted.

use std::f64::consts::PI;
use std::sync::LazyLock;

/// Nodes of a piece.
const NODES: usize = 20;

/// Newton steps to a node; they converge after five.
const NODE_STEPS: usize = 12;

/// Pieces on each side of the top, and how long one may be: beyond that `ln(1 + ratio·(eᵛ − 1))` is no polynomial any more.
const PIECES_MIN: f64 = 2.0;
const PIECE_MAX: f64 = 3.0;

/// How far below its top the integrand is let go, as a logarithm: what is left out does not show in a double.
const DEPTH_MIN: f64 = 36.0;
const DEPTH_MAX: f64 = 46.0;

/// Halvings to a moment of that depth.
const HALVINGS_MAX: usize = 200;

/// Nodes on −1 to 1 and their weights (Gauss–Legendre).
static RULE: LazyLock<[(f64, f64); NODES]> = LazyLock::new(|| std::array::from_fn(node));

/// The logarithm of `∫ e^((1 − p)·v) · (1 + ratio·(eᵛ − 1))^(−q) dv` from 0 to `length`, −∞ for an empty range.
///
/// With `v = ln((l + t)/(l + t₀))` and `ratio = (l + t₀)/(h + t₀)` it is `∫ (l + t)^(−p) (h + t)^(−q) dt` from `t₀` on,
/// beside the integrand there times `l + t₀`.
///
/// # Shape
/// `p` and `q` above 0, `ratio` between 0 and 1, `length` 0 or more.
/// # Cost
/// 40 to 100 values of the integrand for ranges up to e⁶, and 20 more for every e³ beyond.
/// # Source
/// The integrand has one top (its logarithm is concave), so that both sides of it are integrated to where it has faded;
/// agrees with mpmath to 1e-13.
pub(super) fn ln_area(p: f64, q: f64, ratio: f64, length: f64) -> f64 {
    // `grown` is eᵛ − 1.
    let log = |v: f64, grown: f64| (1.0 - p) * v - q * (ratio * grown).ln_1p();
    let slope = (1.0 - p) / q;
    let top = if slope <= 0.0 {
        0.0
    } else if slope >= 1.0 {
        length
    } else {
        ((1.0 - ratio) * slope / ((1.0 - slope) * ratio)).ln().max(0.0).min(length)
    };
    let height = log(top, top.exp_m1());
    let beside = |v: f64, grown: f64| log(v, grown) - height;
    let area = area(&beside, top, 0.0) + area(&beside, top, length);
    height + area.ln()
}

/// The integral of `e^beside`, which is 1 at `top` and falls from there on, between `top` and `end`.
fn area(beside: &impl Fn(f64, f64) -> f64, top: f64, end: f64) -> f64 {
    let span = faded(beside, top, end) - top;
    if span == 0.0 {
        return 0.0;
    }
    let pieces = (span.abs() / PIECE_MAX).ceil().max(PIECES_MIN);
    let step = span / pieces;
    // Every piece has the same nodes around its middle.
    let nodes: [(f64, f64, f64); NODES] = RULE.map(|(x, weight)| {
        let off = x * step / 2.0;
        (off, off.exp_m1(), weight)
    });
    let piece = |at: u32| {
        let middle = top + (f64::from(at) + 0.5) * step;
        let grown = middle.exp_m1();
        let value = |(off, further, weight): &(f64, f64, f64)| {
            weight * beside(middle + off, grown + further + grown * further).exp()
        };
        nodes.iter().map(value).sum::<f64>()
    };
    (0..pieces as u32).map(piece).sum::<f64>() * step.abs() / 2.0
}

/// Where the integrand has faded between `top` and `end`, or `end`.
fn faded(beside: &impl Fn(f64, f64) -> f64, top: f64, end: f64) -> f64 {
    let depth = |v: f64| -beside(v, v.exp_m1());
    if depth(end) <= DEPTH_MAX {
        return end;
    }
    let (mut near, mut far) = (top, end);
    for _ in 0..HALVINGS_MAX {
        let middle = f64::midpoint(near, far);
        let depth = depth(middle);
        if depth < DEPTH_MIN {
            near = middle;
        } else if depth > DEPTH_MAX {
            far = middle;
        } else {
            return middle;
        }
    }
    far
}

/// The node at a place and its weight, by Newton's method on the Legendre polynomial.
fn node(at: usize) -> (f64, f64) {
    let count = NODES as f64;
    let mut x = (PI * (at as f64 + 0.75) / (count + 0.5)).cos();
    let mut slope = 1.0;
    for _ in 0..NODE_STEPS {
        let (mut value, mut before) = (1.0, 0.0);
        for degree in 0..NODES {
            let degree = degree as f64;
            let next = ((2.0 * degree + 1.0) * x * value - degree * before) / (degree + 1.0);
            (value, before) = (next, value);
        }
        slope = count * (x * value - before) / (x * x - 1.0);
        x -= value / slope;
    }
    (x, 2.0 / ((1.0 - x * x) * slope * slope))
}
