//! The exponential and the logarithm written so that the compiler computes them for several numbers side by side, which it
//! cannot do with those of the system. Each step is one that IEEE 754 defines, so that all processors find the same bits.

/// Added to a number and taken away again, this leaves the nearest whole number, which then stands in the last bits.
const ROUNDS: f64 = 6_755_399_441_055_744.0;

/// 2⁵², whose last bits are those of a whole number that is added to it.
const WHOLE: f64 = 4_503_599_627_370_496.0;

/// Bits of the fraction of a double.
const FRACTION_BITS: u32 = 52;

/// ln 2 in two parts; products of the first with an exponent are exact.
const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// The exponents between which 2ᵏ is an ordinary double.
const EXPONENT_MIN: f64 = -708.0;
const EXPONENT_MAX: f64 = 709.0;

/// 1/n! for n from 13 down to 2.
const EXPONENTIAL: [f64; 12] = [
    1.0 / 6_227_020_800.0,
    1.0 / 479_001_600.0,
    1.0 / 39_916_800.0,
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5_040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
];

/// 1/n for odd n from 21 down to 3.
const LOGARITHM: [f64; 10] = [
    1.0 / 21.0,
    1.0 / 19.0,
    1.0 / 17.0,
    1.0 / 15.0,
    1.0 / 13.0,
    1.0 / 11.0,
    1.0 / 9.0,
    1.0 / 7.0,
    1.0 / 5.0,
    1.0 / 3.0,
];

/// `eˣ`, for `x` held between −708 and 709.
#[inline(always)]
pub(super) fn exp(x: f64) -> f64 {
    let (scale, rest) = exponential(x);
    scale.mul_add(rest, scale)
}

/// `eˣ − 1` without loss near 0, for `x` held between −708 and 709.
#[inline(always)]
pub(super) fn exp_m1(x: f64) -> f64 {
    let (scale, rest) = exponential(x);
    scale.mul_add(rest, scale - 1.0)
}

/// `ln(1 + x)` without loss near 0, for `x` of 0 or more.
///
/// # Source
/// With `1 + x = 2ᵏ·m` and `m` around 1 it is `k·ln 2 + 2·artanh((m − 1)/(m + 1))`, and what `1 + x` was rounded by is
/// made good.
#[inline(always)]
pub(super) fn ln_1p(x: f64) -> f64 {
    let sum = 1.0 + x;
    let lost = (x - (sum - 1.0)) / sum;
    let above = sum.to_bits().wrapping_sub(std::f64::consts::FRAC_1_SQRT_2.to_bits());
    let doublings = above >> FRACTION_BITS;
    let mantissa = f64::from_bits(sum.to_bits().wrapping_sub(doublings << FRACTION_BITS));
    let k = f64::from_bits(WHOLE.to_bits() | doublings) - WHOLE;
    let over = mantissa - 1.0;
    let share = over / (2.0 + over);
    let square = share * share;
    let mut series = LOGARITHM[0];
    for coefficient in &LOGARITHM[1..] {
        series = series.mul_add(square, *coefficient);
    }
    let twice = 2.0 * share;
    let low = k.mul_add(LN_2_LOW, (twice * square).mul_add(series, lost));
    k.mul_add(LN_2_HIGH, twice + low)
}

/// `2ᵏ` and `eᶠ − 1` with `x = k·ln 2 + f` and `f` around 0.
#[inline(always)]
fn exponential(x: f64) -> (f64, f64) {
    let x = x.clamp(EXPONENT_MIN, EXPONENT_MAX);
    let rounded = x.mul_add(std::f64::consts::LOG2_E, ROUNDS);
    let k = rounded - ROUNDS;
    let rest = (-k).mul_add(LN_2_LOW, (-k).mul_add(LN_2_HIGH, x));
    let mut series = EXPONENTIAL[0];
    for coefficient in &EXPONENTIAL[1..] {
        series = series.mul_add(rest, *coefficient);
    }
    let scale = (rounded.to_bits() << FRACTION_BITS).wrapping_add(1.0_f64.to_bits());
    (f64::from_bits(scale), (rest * rest).mul_add(series, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(what: &str, x: f64, ours: f64, theirs: f64) {
        assert!((ours - theirs).abs() <= 1e-15 * theirs.abs(), "{what} {x}: {ours} for {theirs}");
    }

    #[test]
    fn they_agree_with_those_of_the_system() {
        for step in -30_000..30_000 {
            let x = f64::from(step) * 0.0233 + 1e-7;
            check("exp", x, exp(x), x.exp());
            for small in [x, x * 1e-3, x * 1e-9, x * 1e-20] {
                check("exp_m1", small, exp_m1(small), small.exp_m1());
            }
            let size = (f64::from(step) * 0.002).exp();
            check("ln_1p", size, ln_1p(size), size.ln_1p());
        }
        assert_eq!((exp_m1(0.0), ln_1p(0.0), exp(0.0)), (0.0, 0.0, 1.0));
        assert!(exp(-1e9) < 1e-300 && exp(1e9).is_finite());
    }
}
