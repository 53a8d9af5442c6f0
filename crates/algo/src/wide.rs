//! Work with the widest instructions the processor has.
//!
//! Programs are built for all processors of a kind, so the compiler may use what all of them have: two double numbers at
//! a time. What is inlined into a call of [`widest_of`] is compiled for wider ones, too, and the processor that is there
//! decides. Results do not depend on it where each sum is written in one order, with `mul_add` for each product, which
//! IEEE 754 defines to the last bit.

use faer::traits::pulp::{Arch, Simd, WithSimd};

/// Does `work` with the widest instructions there are; what shall use them is inlined into it.
///
/// A large closure is not, and then has the narrowest: give it as [`Work`].
pub(crate) fn widest<T>(work: impl FnOnce() -> T) -> T {
    Arch::new().dispatch(work)
}

/// Work for [`widest_of`].
pub(crate) trait Work {
    /// What it gives.
    type Made;

    /// Does it. Has to be `#[inline(always)]`, as has all that it calls and no closure of its own may be large.
    fn work(self) -> Self::Made;
}

/// Does work of any size with the widest instructions there are.
pub(crate) fn widest_of<W: Work>(work: W) -> W::Made {
    Arch::new().dispatch(Wide(work))
}

/// Work as the dispatch takes it.
struct Wide<W>(W);

impl<W: Work> WithSimd for Wide<W> {
    type Output = W::Made;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> W::Made {
        self.0.work()
    }
}
