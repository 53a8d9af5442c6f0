//! What goes wrong between a till and a file: rows that nobody can read, and odd ones that one can.

use flywheel_base::Rng;

/// The share of rows that cannot be read.
const BAD_SHARE: f64 = 0.007;

/// The share of rows given away for nothing.
const GIFT_SHARE: f64 = 0.002;

/// Where the columns are that dirt falls on.
const QUANTITY: usize = 3;
const DATE: usize = 4;
const PRICE: usize = 5;

/// Spoils some of an invoice's rows, never the first, so that every order stays visible. Returns
/// how many can no longer be read.
pub(crate) fn spoil(rows: &mut [Vec<String>], rng: &mut Rng) -> u64 {
    let mut bad = 0;
    for row in rows.iter_mut().skip(1) {
        let fate = rng.uniform();
        let kind = rng.below(4);
        if fate < BAD_SHARE {
            ruin(row, kind);
            bad += 1;
        } else if fate < BAD_SHARE + GIFT_SHARE {
            "0.0".clone_into(&mut row[PRICE]);
        }
    }
    bad
}

fn ruin(row: &mut Vec<String>, kind: usize) {
    match kind {
        0 => "two".clone_into(&mut row[QUANTITY]),
        1 => "31/02/2025 25:61".clone_into(&mut row[DATE]),
        2 => "n/a".clone_into(&mut row[PRICE]),
        _ => row.truncate(PRICE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_one_row_in_a_hundred_is_spoiled_and_never_the_first() {
        let clean: Vec<String> = (0..8).map(|i| i.to_string()).collect();
        let mut rng = Rng::new(3);
        let mut bad = 0;
        for _ in 0..2_000 {
            let mut rows = vec![clean.clone(); 8];
            bad += spoil(&mut rows, &mut rng);
            assert_eq!(rows[0], clean);
        }
        assert!((60..140).contains(&bad), "{bad}");
    }
}
