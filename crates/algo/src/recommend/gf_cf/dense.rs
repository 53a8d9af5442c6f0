//! Tall dense matrices, rows stored one after the other, and the small square ones made of them.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use flywheel_base::{Error, Result};
use rayon::prelude::*;

/// Rows that are worked on together.
const CHUNK_ROWS: usize = 4096;
/// The most partial sums that are live at once.
const PARTS_MAX: usize = 16;

/// aᵀ · b, both with rows of `width`; summed by chunks of rows in their order.
pub(super) fn transposed_product(a: &[f32], b: &[f32], width: usize) -> Mat<f64> {
    let rows = a.len() / width;
    let chunk = CHUNK_ROWS.max(rows.div_ceil(PARTS_MAX)) * width;
    let parts: Vec<Mat<f32>> = a
        .par_chunks(chunk)
        .zip(b.par_chunks(chunk))
        .map(|(a, b)| {
            let rows = a.len() / width;
            let mut part = Mat::zeros(width, width);
            let a = MatRef::from_row_major_slice(a, rows, width).transpose();
            let b = MatRef::from_row_major_slice(b, rows, width);
            matmul(part.as_mut(), Accum::Replace, a, b, 1.0, Par::Seq);
            part
        })
        .collect();
    let mut sum = Mat::zeros(width, width);
    for part in &parts {
        for column in 0..width {
            for row in 0..width {
                sum[(row, column)] += f64::from(part[(row, column)]);
            }
        }
    }
    sum
}

/// x · (the first `columns` columns of `turn`), x with rows of `width`.
pub(super) fn product(x: &[f32], width: usize, turn: &Mat<f64>, columns: usize) -> Vec<f32> {
    if columns == 0 {
        return Vec::new();
    }
    let turn = Mat::from_fn(width, columns, |row, column| turn[(row, column)] as f32);
    let mut made = vec![0.0; x.len() / width * columns];
    made.par_chunks_mut(CHUNK_ROWS * columns).zip(x.par_chunks(CHUNK_ROWS * width)).for_each(
        |(target, source)| {
            let rows = source.len() / width;
            let source = MatRef::from_row_major_slice(source, rows, width);
            let target = MatMut::from_row_major_slice_mut(target, rows, columns);
            matmul(target, Accum::Replace, source, turn.as_ref(), 1.0, Par::Seq);
        },
    );
    made
}

/// Eigenvalues of a symmetric matrix, the largest first, and the eigenvectors as columns.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Internal`] if the iteration does not converge.
pub(super) fn descending(matrix: &Mat<f64>) -> Result<(Vec<f64>, Mat<f64>)> {
    let size = matrix.nrows();
    let mut values = Diag::<f64>::zeros(size);
    let mut vectors = Mat::zeros(size, size);
    // One thread: split among several, the sums would depend on how many there are.
    let scratch = self_adjoint_evd_scratch::<f64>(
        size,
        ComputeEigenvectors::Yes,
        Par::Seq,
        Default::default(),
    );
    self_adjoint_evd(
        matrix.as_ref(),
        values.as_mut(),
        Some(vectors.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|error| {
        Error::internal("the leading directions of the items were not found")
            .caused_by(format!("{error:?}"))
            .hint("Choose fewer factors, or another seed.")
    })?;
    let values = values.column_vector();
    let sorted = (0..size).rev().map(|place| values[place]).collect();
    Ok((sorted, Mat::from_fn(size, size, |row, column| vectors[(row, size - 1 - column)])))
}
