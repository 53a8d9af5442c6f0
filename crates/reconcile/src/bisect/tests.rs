//! Differences are found, all of them, with few queries.

use flywheel_base::Rng;

use super::*;
use crate::checksum::hash32;

/// A table in memory: position, key text, digest of the row; by position.
type Rows = Vec<(i64, String, u32)>;

fn answer(table: &Rows, query: &Query) -> Answer {
    match query {
        Query::Bounds => Answer::Bounds {
            rows: table.len() as u64,
            null_keys: 0,
            range: table.first().zip(table.last()).map(|(f, l)| Range { low: f.0, high: l.0 }),
        },
        Query::Buckets { ranges } => {
            let bucket = |(index, range): (usize, &Range)| {
                let inside: Vec<_> =
                    table.iter().filter(|row| row.0 >= range.low && row.0 <= range.high).collect();
                Some(Bucket {
                    index,
                    checksum: Checksum {
                        rows: inside.len() as u64,
                        sum: inside.iter().map(|row| u64::from(row.2)).sum(),
                    },
                    range: Range { low: inside.first()?.0, high: inside.last()?.0 },
                })
            };
            Answer::Buckets(ranges.iter().enumerate().filter_map(bucket).collect())
        }
        Query::Rows { range } => Answer::Rows(
            table
                .iter()
                .filter(|row| row.0 >= range.low && row.0 <= range.high)
                .map(|row| (row.1.clone(), row.2))
                .collect(),
        ),
    }
}

fn run(limits: Limits, mut ask: impl FnMut(Side, &Query) -> Answer) -> Found {
    let mut bisect = Bisect::new(limits).unwrap();
    let mut input = Input::Start;
    loop {
        match bisect.step(input).unwrap() {
            Effect::Done(found) => return found,
            Effect::Ask(query) => {
                let left = ask(Side::Left, &query);
                input = Input::Answered(Pair { left, right: ask(Side::Right, &query) });
            }
        }
    }
}

fn compare(limits: Limits, left: &Rows, right: &Rows) -> Found {
    run(limits, |side, query| answer(if side == Side::Left { left } else { right }, query))
}

fn table(keys: impl Iterator<Item = i64>) -> Rows {
    keys.map(|key| (key, key.to_string(), hash32(&key.to_string()))).collect()
}

fn difference(key: &str, kind: Kind) -> Difference {
    Difference { key: key.into(), kind }
}

/// From a key's place to the key, or back.
type Place = fn(i64) -> i64;

/// Five million rows whose sums are known without storing the rows twice.
struct Large {
    /// `sums[n]` is the sum over the first `n` keys.
    sums: Vec<u64>,
    /// Key `n` of the table, from 0.
    key: Place,
    /// The number of a key's place, that is of the first key that is not less.
    place: Place,
}

fn large_hash(at: u64) -> u32 {
    (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32
}

impl Large {
    fn new(key: Place, place: Place) -> Self {
        let mut sums = Vec::with_capacity(LARGE as usize + 1);
        let mut sum = 0;
        sums.push(0);
        for at in 0..LARGE as u64 {
            sum += u64::from(large_hash(at));
            sums.push(sum);
        }
        Self { sums, key, place }
    }

    /// Answers for the table as it is, or with one row changed and one deleted.
    fn answer(&self, query: &Query, changed: Option<i64>, deleted: Option<i64>) -> Answer {
        let within = |range: &Range| {
            let first = (self.place)(range.low).clamp(0, LARGE);
            let end = (self.place)(range.high.saturating_add(1)).clamp(0, LARGE);
            (first, end)
        };
        match query {
            Query::Bounds => Answer::Bounds {
                rows: LARGE as u64 - u64::from(deleted.is_some()),
                null_keys: 0,
                range: Some(Range { low: (self.key)(0), high: (self.key)(LARGE - 1) }),
            },
            Query::Buckets { ranges } => {
                let bucket = |(index, range): (usize, &Range)| {
                    let (first, end) = within(range);
                    let mut checksum = Checksum {
                        rows: (end - first) as u64,
                        sum: self.sums[end as usize] - self.sums[first as usize],
                    };
                    if changed.is_some_and(|at| (first..end).contains(&at)) {
                        checksum.sum += 1;
                    }
                    if let Some(at) = deleted.filter(|at| (first..end).contains(at)) {
                        checksum.rows -= 1;
                        checksum.sum -= u64::from(large_hash(at as u64));
                    }
                    let range = Range { low: (self.key)(first), high: (self.key)(end - 1) };
                    (first < end).then_some(Bucket { index, checksum, range })
                };
                Answer::Buckets(ranges.iter().enumerate().filter_map(bucket).collect())
            }
            Query::Rows { range } => {
                let (first, end) = within(range);
                let row = |at: i64| {
                    let hash = large_hash(at as u64).wrapping_add(u32::from(changed == Some(at)));
                    ((self.key)(at).to_string(), hash)
                };
                Answer::Rows((first..end).filter(|at| deleted != Some(*at)).map(row).collect())
            }
        }
    }
}

const LARGE: i64 = 5_000_000;

#[test]
fn two_differences_in_five_million_rows_are_found_in_25_queries() {
    // dense keys, and keys in two far-apart runs with gaps
    let shapes: [(Place, Place); 2] = [
        (|n| n + 1, |key| key - 1),
        (
            |n| if n < 1_000_000 { n * 7 } else { 8_000_000_000_000 + n * 3 },
            |key| {
                if key <= 7 * 999_999 {
                    return (key + 6).div_euclid(7);
                }
                ((key - 8_000_000_000_000 + 2).div_euclid(3)).max(1_000_000)
            },
        ),
    ];
    for (key, place) in shapes {
        let large = Large::new(key, place);
        for (changed, deleted) in [(1_234_567, 4_999_998), (0, 1), (17, 2_500_000)] {
            let found = run(Limits::default(), |side, query| match side {
                Side::Left => large.answer(query, None, None),
                Side::Right => large.answer(query, Some(changed), Some(deleted)),
            });
            let mut expected = vec![
                difference(&key(changed).to_string(), Kind::Different),
                difference(&key(deleted).to_string(), Kind::Missing),
            ];
            expected.sort();
            assert_eq!(found.keys, expected);
            println!("5,000,000 rows, two differences: {} queries per side", found.queries);
            assert!(found.queries <= 25, "{} queries", found.queries);
        }
    }
}

#[test]
fn equal_tables_cost_two_queries_and_empty_ones_one() {
    let rows = table(1..=50_000);
    let found = compare(Limits::default(), &rows, &rows);
    assert!(found.is_equal());
    assert_eq!((found.queries, found.rows), (2, Pair { left: 50_000, right: 50_000 }));
    assert_eq!(compare(Limits::default(), &Rows::new(), &Rows::new()).queries, 1);
}

#[test]
fn a_range_only_one_side_has_is_not_listed_key_by_key() {
    let (all, part) = (table(1..=50_000), table(1..=20_000));
    let found = compare(Limits::default(), &all, &part);
    let ranged: u64 = found.ranges.iter().map(|range| range.left_rows - range.right_rows).sum();
    let missing = found.keys.iter().filter(|found| found.kind == Kind::Missing).count() as u64;
    assert_eq!(ranged + missing, 30_000);
    let none = compare(Limits::default(), &all, &Rows::new());
    assert_eq!((none.ranges.len(), none.ranges[0].kind, none.queries), (1, Kind::Missing, 1));
    let repair = none.repair(Side::Left);
    assert_eq!((repair.ranges[0].copy_rows, repair.ranges[0].delete_rows), (50_000, 0));
    assert_eq!(none.repair(Side::Right).ranges[0].delete_rows, 50_000);
}

#[test]
fn tables_that_differ_everywhere_stop_at_the_limit_and_give_the_rest_as_ranges() {
    let left = table(0..3_000);
    let right: Rows =
        left.iter().map(|(at, key, hash)| (*at, key.clone(), hash32(&hash.to_string()))).collect();
    let limits = Limits { factor: 4, leaf_rows: 10, queries_max: 20 };
    let found = compare(limits, &left, &right);
    assert_eq!(found.queries, 20);
    let ranged: u64 = found.ranges.iter().map(|range| range.left_rows).sum();
    assert_eq!(ranged + found.keys.len() as u64, 3_000, "nothing is forgotten");
}

#[test]
fn a_repair_copies_and_deletes_what_the_truth_says() {
    let left = table([1, 2, 3].into_iter());
    let mut right = table([2, 3, 4].into_iter());
    right[0].2 = hash32("changed");
    let found = compare(Limits::default(), &left, &right);
    let repair = found.repair(Side::Left);
    assert_eq!((repair.copy, repair.delete), (vec!["1".into(), "2".into()], vec!["4".into()]));
    let repair = found.repair(Side::Right);
    assert_eq!((repair.copy, repair.delete), (vec!["2".into(), "4".into()], vec!["1".into()]));
    let later = Found { keys: vec![difference("2", Kind::Different)], ..Found::default() };
    assert_eq!(found.confirmed_by(&later), [difference("2", Kind::Different)]);
}

#[test]
fn rows_without_key_and_foreign_answers_are_refused() {
    let mut bisect = Bisect::new(Limits::default()).unwrap();
    bisect.step(Input::Start).unwrap();
    let bounds = |null_keys| Answer::Bounds { rows: 9, null_keys, range: None };
    let error =
        bisect.step(Input::Answered(Pair { left: bounds(0), right: bounds(2) })).unwrap_err();
    assert!(error.message().contains("2 rows of the right table"), "{error}");
    let mut bisect = Bisect::new(Limits::default()).unwrap();
    bisect.step(Input::Start).unwrap();
    let wrong = Input::Answered(Pair { left: bounds(0), right: Answer::Rows(Vec::new()) });
    assert!(bisect.step(wrong).is_err());
    assert!(
        Bisect::new(Limits { factor: 1, ..Limits::default() }).unwrap_err().hint_text().is_some()
    );
}

#[test]
fn whole_ranges_are_divided_without_gap_or_overlap() {
    for (low, high) in [(0, 0), (0, 1), (-5, 100), (i64::MIN, i64::MAX), (i64::MAX - 3, i64::MAX)] {
        let ranges = parts(Range { low, high }, 16);
        assert_eq!((ranges[0].low, ranges[ranges.len() - 1].high), (low, high));
        for pair in ranges.windows(2) {
            assert!(pair[0].low <= pair[0].high && pair[0].high + 1 == pair[1].low, "{pair:?}");
        }
    }
}

#[test]
fn exactly_the_differing_keys_are_found_whatever_the_tables() {
    let mut rng = Rng::new(77);
    for case in 0..3_000 {
        let hashed = rng.chance(0.4);
        let spread = if rng.chance(0.5) { 1 } else { 1_000_003 };
        let make = |rng: &mut Rng, key: usize| {
            let text = key.to_string();
            let at = if hashed { i64::from(hash32(&text)) } else { key as i64 * spread };
            let hash = hash32(&format!("{text}/{}", rng.below(3)));
            (at, text, hash)
        };
        let (mut left, mut right) = (Rows::new(), Rows::new());
        for key in 0..rng.below(200) {
            let row = make(&mut rng, key);
            for side in [&mut left, &mut right] {
                match rng.below(20) {
                    0 => {}
                    1 => side.push(make(&mut rng, key)),
                    2 => side.extend([row.clone(), row.clone()]),
                    _ => side.push(row.clone()),
                }
            }
        }
        left.sort();
        right.sort();
        let mut truth: BTreeMap<String, Pair<Vec<u32>>> = BTreeMap::new();
        for (side, rows) in [(Side::Left, &left), (Side::Right, &right)] {
            for row in rows {
                truth.entry(row.1.clone()).or_default().of_mut(side).push(row.2);
            }
        }
        let expected: Vec<Difference> = truth
            .into_iter()
            .filter(|(_, hashes)| hashes.left != hashes.right)
            .map(|(key, hashes)| match (hashes.left.is_empty(), hashes.right.is_empty()) {
                (_, true) => difference(&key, Kind::Missing),
                (true, _) => difference(&key, Kind::Extra),
                _ => difference(&key, Kind::Different),
            })
            .collect();
        let limits = Limits { factor: 3, leaf_rows: 400, queries_max: 5_000 };
        let small = Limits { leaf_rows: 4, ..limits };
        assert_eq!(compare(limits, &left, &right).keys, expected, "case {case}");
        let found = compare(small, &left, &right);
        let named: usize = found.keys.len();
        let in_ranges: u64 = found.ranges.iter().map(|r| r.left_rows.max(r.right_rows)).sum();
        assert!(found.keys.iter().all(|key| expected.contains(key)), "case {case}");
        assert!(named as u64 + in_ranges >= expected.len() as u64, "case {case}");
    }
}
