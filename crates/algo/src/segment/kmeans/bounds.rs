//! Hamerly's bounds: what is known of where rows lie, without reading the rows.
//!
//! A row keeps how far it was from its centre at most and from any other at least when it was last looked at. How far the
//! centres have gone since then is summed up once for all rows, so that a pass reads ten bytes of each and writes only
//! those of rows it had to look at.

use super::distance::{LANES, Panels, square_distance};

/// The label of a row that has none yet.
pub(super) const NONE: u16 = u16::MAX;

/// What is known of some rows, in 32 bits that err to the side of looking at a row.
pub(super) struct Known {
    pub(super) labels: Vec<u16>,
    upper: Vec<f32>,
    lower: Vec<f32>,
}

/// A piece of [`Known`].
pub(super) struct Piece<'a> {
    pub(super) labels: &'a mut [u16],
    upper: &'a mut [f32],
    lower: &'a mut [f32],
}

impl Known {
    pub(super) fn nothing(rows: usize) -> Self {
        Self {
            labels: vec![NONE; rows],
            upper: vec![f32::INFINITY; rows],
            lower: vec![f32::NEG_INFINITY; rows],
        }
    }

    /// The same in pieces of so many rows.
    pub(super) fn pieces(&mut self, rows: usize) -> Vec<Piece<'_>> {
        let labels = self.labels.chunks_mut(rows);
        let bounds = self.upper.chunks_mut(rows).zip(self.lower.chunks_mut(rows));
        labels.zip(bounds).map(|(labels, (upper, lower))| Piece { labels, upper, lower }).collect()
    }

    /// Gives a row to a centre; the next pass looks at it.
    pub(super) fn give(&mut self, row: usize, label: u16) {
        self.labels[row] = label;
        self.upper[row] = f32::INFINITY;
        self.lower[row] = f32::NEG_INFINITY;
    }
}

impl Piece<'_> {
    /// Whether a row is nearest to its centre for certain; if not, the distance below which it is.
    #[inline(always)]
    pub(super) fn settled(&self, row: usize, centres: &Centres) -> Result<(), f64> {
        let label = usize::from(self.labels[row]);
        // A row without a label is the only one without a centre.
        let Some(gone) = centres.gone.get(label) else { return Err(f64::NEG_INFINITY) };
        let safe = gone.half_gap.max(f64::from(self.lower[row]) - gone.others);
        if f64::from(self.upper[row]) + gone.own < safe { Ok(()) } else { Err(safe) }
    }

    /// Notes that a row is that far from its own centre.
    #[inline(always)]
    pub(super) fn note_upper(&mut self, row: usize, distance: f64, centres: &Centres) {
        let gone = &centres.gone[usize::from(self.labels[row])];
        self.upper[row] = above(distance - gone.own);
    }

    /// Notes the nearest centre of a row, and how far that and the next one are.
    #[inline(always)]
    pub(super) fn note(&mut self, row: usize, label: u16, (own, next): (f64, f64), at: &Centres) {
        self.labels[row] = label;
        self.note_upper(row, own, at);
        self.lower[row] = below(next + at.gone[usize::from(label)].others);
    }
}

/// The least 32-bit number that is not below.
#[inline(always)]
fn above(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) < value { near.next_up() } else { near }
}

/// The greatest 32-bit number that is not above.
#[inline(always)]
fn below(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) > value { near.next_down() } else { near }
}

/// How far a centre, and those beside it, have gone since the start, and how near they are now.
#[derive(Clone, Default)]
struct Gone {
    own: f64,
    /// The sum of the longest way of any other, of each iteration.
    others: f64,
    /// Half the distance to the nearest other centre.
    half_gap: f64,
}

/// The centres of one iteration.
pub(super) struct Centres {
    columns: usize,
    /// `(k, columns)`.
    pub(super) values: Vec<f64>,
    panels: Panels,
    gone: Vec<Gone>,
}

impl Centres {
    /// # Shape
    /// `values` is `(k, columns)`.
    pub(super) fn new(values: Vec<f64>, columns: usize) -> Self {
        let gone = vec![Gone::default(); values.len() / columns];
        let panels = Panels::of(&values, columns);
        let mut centres = Self { columns, values, panels, gone };
        centres.measure_gaps();
        centres
    }

    pub(super) fn len(&self) -> usize {
        self.gone.len()
    }

    /// Whether finding the nearest one costs no more than the distance to a single one would.
    pub(super) fn are_few(&self) -> bool {
        self.len() <= LANES
    }

    #[inline(always)]
    pub(super) fn one(&self, label: u16) -> &[f64] {
        let from = usize::from(label) * self.columns;
        &self.values[from..from + self.columns]
    }

    /// As [`Panels::nearest_two`].
    #[inline(always)]
    pub(super) fn nearest_two(&self, row: &[f64]) -> (usize, f64, f64) {
        self.panels.nearest_two(row)
    }

    /// Puts the centres to where `values` says.
    pub(super) fn move_to(&mut self, values: Vec<f64>) {
        let before = std::mem::replace(&mut self.values, values);
        self.panels = Panels::of(&self.values, self.columns);
        let pairs = self.values.chunks_exact(self.columns).zip(before.chunks_exact(self.columns));
        let ways: Vec<f64> = pairs.map(|(now, then)| square_distance(now, then).sqrt()).collect();
        let (mut far, mut farthest, mut second) = (0, 0.0_f64, 0.0_f64);
        for (label, way) in ways.iter().enumerate() {
            if *way > farthest {
                (far, farthest, second) = (label, *way, farthest);
            } else if *way > second {
                second = *way;
            }
        }
        for (label, (gone, way)) in self.gone.iter_mut().zip(&ways).enumerate() {
            gone.own += way;
            gone.others += if label == far { second } else { farthest };
        }
        self.measure_gaps();
    }

    fn measure_gaps(&mut self) {
        let next = self.panels.next_of_each(&self.values);
        self.gone.iter_mut().zip(next).for_each(|(gone, next)| gone.half_gap = next.sqrt() / 2.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_err_to_the_side_of_looking() {
        for value in [0.1, -0.1, 1.0, 1e-50, -1e-50, 1e300, -1e300, f64::INFINITY] {
            assert!(f64::from(above(value)) >= value, "{value}");
            assert!(f64::from(below(value)) <= value, "{value}");
        }
        assert_eq!((above(0.5), below(0.5)), (0.5, 0.5));
    }

    #[test]
    fn bounds_hold_while_centres_wander() {
        let mut rng = flywheel_base::Rng::stream(3, "bounds");
        let (columns, k, n) = (3, 5, 200);
        let mut draw = |count: usize| (0..count).map(|_| rng.normal()).collect::<Vec<f64>>();
        let rows = draw(n * columns);
        let mut centres = Centres::new(draw(k * columns), columns);
        let mut known = Known::nothing(n);
        let (mut looked, mut all) = (0, 0);
        for _ in 0..60 {
            let mut piece = known.pieces(n).remove(0);
            for (at, row) in rows.chunks_exact(columns).enumerate() {
                let (label, own, next) = centres.nearest_two(row);
                all += 1;
                if piece.settled(at, &centres).is_ok() {
                    assert_eq!(usize::from(piece.labels[at]), label);
                } else {
                    looked += 1;
                    piece.note(at, label as u16, (own.sqrt(), next.sqrt()), &centres);
                }
            }
            let step = draw(k * columns).into_iter().map(|step| step / 100.0);
            centres.move_to(centres.values.iter().zip(step).map(|(at, step)| at + step).collect());
        }
        assert!(looked < all / 2, "{looked} of {all}");
    }
}
