//! Coordinate descent on one factor while the other is held fast.

/// One side of the factorisation: its factor, and per row the filled cells.
#[derive(Clone, Debug)]
pub(super) struct Side {
    /// Columns of the factor.
    pub(super) rank: usize,
    /// Per row: (index on the other side, value).
    pub(super) rows: Vec<Vec<(u32, f64)>>,
    /// Rows × rank.
    pub(super) factor: Vec<f64>,
}

/// Both sides.
#[derive(Clone, Debug)]
pub(super) struct Factors {
    /// Users and their cells.
    pub(super) users: Side,
    /// Items and their cells.
    pub(super) items: Side,
}

impl Side {
    /// One sweep with empty cells as zeros; `gram` is otherᵀ · other. Gives the summed projected
    /// gradient before each step.
    pub(super) fn update_zero(&mut self, other: &[f64], gram: &[f64], penalty: f64) -> f64 {
        let rank = self.rank;
        let mut moved = 0.0;
        let mut target = vec![0.0; rank];
        for (cells, row) in self.rows.iter().zip(self.factor.chunks_exact_mut(rank)) {
            target.fill(0.0);
            for (index, value) in cells {
                let fixed = row_of(other, rank, *index);
                target.iter_mut().zip(fixed).for_each(|(sum, f)| *sum += value * f);
            }
            for t in 0..rank {
                let weights = &gram[t * rank..(t + 1) * rank];
                let fit: f64 = weights.iter().zip(row.iter()).map(|(g, w)| g * w).sum();
                let gradient = fit - target[t] + penalty * row[t];
                moved += step(&mut row[t], gradient, weights[t] + penalty);
            }
        }
        moved
    }

    /// One sweep over the filled cells alone.
    #[expect(clippy::needless_range_loop, reason = "each step reads the whole row it changes")]
    pub(super) fn update_unknown(&mut self, other: &[f64], penalty: f64) -> f64 {
        let rank = self.rank;
        let mut moved = 0.0;
        let mut residuals = Vec::new();
        for (cells, row) in self.rows.iter().zip(self.factor.chunks_exact_mut(rank)) {
            residuals.clear();
            residuals.extend(
                cells.iter().map(|(index, value)| dot(row, row_of(other, rank, *index)) - value),
            );
            for t in 0..rank {
                let (mut gradient, mut curve) = (penalty * row[t], penalty);
                for ((index, _), residual) in cells.iter().zip(&residuals) {
                    let fixed = row_of(other, rank, *index)[t];
                    gradient += residual * fixed;
                    curve += fixed * fixed;
                }
                let before = row[t];
                moved += step(&mut row[t], gradient, curve);
                let change = row[t] - before;
                if change != 0.0 {
                    for ((index, _), residual) in cells.iter().zip(&mut residuals) {
                        *residual += change * row_of(other, rank, *index)[t];
                    }
                }
            }
        }
        moved
    }
}

/// Row `index` of a factor.
fn row_of(factor: &[f64], rank: usize, index: u32) -> &[f64] {
    &factor[index as usize * rank..(index as usize + 1) * rank]
}

/// factorᵀ · factor, rank × rank.
pub(super) fn gram(factor: &[f64], rank: usize) -> Vec<f64> {
    let mut gram = vec![0.0; rank * rank];
    for row in factor.chunks_exact(rank) {
        for (a, out) in row.iter().zip(gram.chunks_exact_mut(rank)) {
            out.iter_mut().zip(row).for_each(|(sum, b)| *sum += a * b);
        }
    }
    gram
}

/// Moves one coordinate to its minimum above 0; gives the size of its projected gradient.
fn step(value: &mut f64, gradient: f64, curve: f64) -> f64 {
    let projected = if *value == 0.0 { gradient.min(0.0) } else { gradient };
    if curve > 0.0 {
        *value = (*value - gradient / curve).max(0.0);
    }
    projected.abs()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Factors {
    /// Takes rows of (item, value) and the starting factors.
    pub(super) fn new(
        rows: Vec<Vec<(u32, f64)>>,
        rank: usize,
        users: Vec<f64>,
        items: Vec<f64>,
    ) -> Self {
        let mut turned = vec![Vec::new(); items.len() / rank];
        for (user, row) in rows.iter().enumerate() {
            for (item, value) in row {
                turned[*item as usize].push((user as u32, *value));
            }
        }
        Self {
            users: Side { rank, rows, factor: users },
            items: Side { rank, rows: turned, factor: items },
        }
    }

    /// One sweep over users, then items, with empty cells as zeros.
    pub(super) fn sweep_zero(&mut self, penalty: f64) -> f64 {
        let rank = self.users.rank;
        let items = gram(&self.items.factor, rank);
        let moved = self.users.update_zero(&self.items.factor, &items, penalty);
        let users = gram(&self.users.factor, rank);
        moved + self.items.update_zero(&self.users.factor, &users, penalty)
    }

    /// One sweep over users, then items, over filled cells alone.
    pub(super) fn sweep_unknown(&mut self, penalty: f64) -> f64 {
        self.users.update_unknown(&self.items.factor, penalty)
            + self.items.update_unknown(&self.users.factor, penalty)
    }

    /// ‖R − users · itemsᵀ‖ over all cells, without making the matrix dense.
    pub(super) fn error_zero(&self) -> f64 {
        let cross = dot(
            &gram(&self.users.factor, self.users.rank),
            &gram(&self.items.factor, self.users.rank),
        );
        let filled: f64 = self.filled().map(|(value, fit)| value * value - 2.0 * value * fit).sum();
        (filled + cross).max(0.0).sqrt()
    }

    /// ‖R − users · itemsᵀ‖ over the filled cells.
    pub(super) fn error_unknown(&self) -> f64 {
        self.filled().map(|(value, fit)| (value - fit).powi(2)).sum::<f64>().sqrt()
    }

    fn filled(&self) -> impl Iterator<Item = (f64, f64)> {
        let tastes = self.users.factor.chunks_exact(self.users.rank);
        self.users.rows.iter().zip(tastes).flat_map(move |(cells, taste)| {
            cells.iter().map(move |(item, value)| {
                (*value, dot(taste, row_of(&self.items.factor, self.items.rank, *item)))
            })
        })
    }
}
