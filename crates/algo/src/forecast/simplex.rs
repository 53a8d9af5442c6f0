//! Nelder–Mead search without bounds; callers map the plane onto their bounds.

/// How long a search may take and how small its simplex gets.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// Function evaluations per dimension after which it stops.
    pub(crate) evaluations_per_dimension: usize,
    /// The relative spread of function values at which it stops.
    pub(crate) value_spread: f64,
    /// The size of the simplex at which it stops.
    pub(crate) size_min: f64,
}

/// To find the right valley.
pub(crate) const COARSE: Effort =
    Effort { evaluations_per_dimension: 40, value_spread: 1e-5, size_min: 1e-2 };

/// To find its bottom.
pub(crate) const FINE: Effort =
    Effort { evaluations_per_dimension: 200, value_spread: 1e-12, size_min: 1e-7 };

/// Walks from `start` to a local minimum of `f`; returns the point and its value.
///
/// # Cost
/// At most `evaluations_per_dimension` times the dimensions; deterministic.
/// # Source
/// Nelder & Mead 1965 with the adaptive coefficients of Gao & Han 2012.
pub(crate) fn minimise(
    f: &dyn Fn(&[f64]) -> f64,
    start: &[f64],
    step: f64,
    effort: Effort,
) -> (Vec<f64>, f64) {
    let n = start.len();
    if n == 0 {
        return (Vec::new(), f(start));
    }
    let dimensions = n as f64;
    let (expand, contract, shrink) = if n == 1 {
        (2.0, 0.5, 0.5)
    } else {
        (1.0 + 2.0 / dimensions, 0.75 - 0.5 / dimensions, 1.0 - 1.0 / dimensions)
    };
    let mut simplex: Vec<(Vec<f64>, f64)> = corners(start, step).map(|x| evaluate(f, x)).collect();
    let mut evaluations = simplex.len();
    while evaluations < effort.evaluations_per_dimension * n {
        simplex.sort_by(|a, b| a.1.total_cmp(&b.1));
        if settled(&simplex, effort) {
            break;
        }
        let centre = centre(&simplex[..n]);
        let (worst, second) = (simplex[n].clone(), simplex[n - 1].1);
        let reflected = evaluate(f, along(&centre, &worst.0, -1.0));
        evaluations += 1;
        let replacement = if reflected.1 < simplex[0].1 {
            evaluations += 1;
            let expanded = evaluate(f, along(&centre, &worst.0, -expand));
            Some(if expanded.1 < reflected.1 { expanded } else { reflected })
        } else if reflected.1 < second {
            Some(reflected)
        } else {
            evaluations += 1;
            let outside = reflected.1 < worst.1;
            let factor = if outside { -contract } else { contract };
            let contracted = evaluate(f, along(&centre, &worst.0, factor));
            (contracted.1 < worst.1.min(reflected.1)).then_some(contracted)
        };
        if let Some(replacement) = replacement {
            simplex[n] = replacement;
            continue;
        }
        let best = simplex[0].0.clone();
        for corner in &mut simplex[1..] {
            *corner = evaluate(f, along(&best, &corner.0, shrink));
        }
        evaluations += n;
    }
    simplex.sort_by(|a, b| a.1.total_cmp(&b.1));
    simplex.swap_remove(0)
}

fn corners(start: &[f64], step: f64) -> impl Iterator<Item = Vec<f64>> {
    (0..=start.len()).map(move |corner| {
        let mut x = start.to_vec();
        if corner > 0 {
            x[corner - 1] += step;
        }
        x
    })
}

fn evaluate(f: &dyn Fn(&[f64]) -> f64, x: Vec<f64>) -> (Vec<f64>, f64) {
    let value = f(&x);
    (x, if value.is_nan() { f64::INFINITY } else { value })
}

fn centre(corners: &[(Vec<f64>, f64)]) -> Vec<f64> {
    let mut sum = vec![0.0; corners[0].0.len()];
    for (x, _) in corners {
        sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
    }
    sum.iter_mut().for_each(|sum| *sum /= corners.len() as f64);
    sum
}

/// `centre + factor · (point − centre)`.
fn along(centre: &[f64], point: &[f64], factor: f64) -> Vec<f64> {
    centre.iter().zip(point).map(|(c, p)| c + factor * (p - c)).collect()
}

fn settled(sorted: &[(Vec<f64>, f64)], effort: Effort) -> bool {
    let (best, worst) = (&sorted[0], &sorted[sorted.len() - 1]);
    let flat = worst.1 - best.1 <= effort.value_spread * best.1.abs();
    let size = sorted
        .iter()
        .flat_map(|(x, _)| x.iter().zip(&best.0).map(|(a, b)| (a - b).abs()))
        .fold(0.0, f64::max);
    size < effort.size_min || (flat && size < 1e3 * effort.size_min)
}

#[cfg(test)]
mod tests {
    use super::{FINE, minimise};

    #[test]
    fn it_finds_the_bottom_of_rosenbrocks_valley() {
        let f = |x: &[f64]| (1.0 - x[0]).powi(2) + 100.0 * (x[1] - x[0] * x[0]).powi(2);
        let (x, value) = minimise(&f, &[-1.2, 1.0], 0.5, FINE);
        assert!(value < 1e-12 && (x[0] - 1.0).abs() < 1e-5, "{x:?} {value}");
    }
}
