//! A hundred thousand broken inputs from a fixed seed: no panic, and every row in one place.

use std::ops::Range;

use flywheel_base::Rng;

use super::csv::{self, CsvStream};
use super::jsonl::{self, JsonLinesStream};
use crate::{ColumnType, DeclaredColumn, Page};

/// Inputs per format.
const INPUTS: usize = 50_000;

const SEED: u64 = 20_260_501;

/// Bytes that mean something to a decoder.
const SIGNS: &[u8] = b",;\t|\"\\\n\r {}[]:.-+eE019tfn\0\xff\xc3\xef\xbb\xbf\x1f\x8b\x28\xb5";

fn mutate(seeds: &[&[u8]], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = pick(seeds, rng).to_vec();
    for _ in 0..1 + below(rng, 8) {
        let at = below(rng, bytes.len() + 1);
        match below(rng, 4) {
            0 => bytes.insert(at, *pick(SIGNS, rng)),
            1 if at < bytes.len() => bytes[at] = *pick(SIGNS, rng),
            2 if at < bytes.len() => drop(bytes.drain(range(rng, at, bytes.len()))),
            _ => {
                let other = pick(seeds, rng);
                let start = below(rng, other.len() + 1);
                let piece = &other[range(rng, start, other.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
    bytes
}

fn range(rng: &mut Rng, start: usize, end: usize) -> Range<usize> {
    start..start + below(rng, (end - start).min(40) + 1)
}

fn below(rng: &mut Rng, limit: usize) -> usize {
    rng.below(limit)
}

fn pick<'a, T>(all: &'a [T], rng: &mut Rng) -> &'a T {
    &all[below(rng, all.len())]
}

fn check(pages: &[Page], seed: &[u8]) {
    for page in pages {
        let lines: Vec<u64> =
            (0..page.batch.num_rows()).map(|row| page.trace(row).unwrap().1).collect();
        let twice = page.rejected.iter().filter_map(|r| r.line).any(|line| lines.contains(&line));
        assert!(!twice, "a row in a page and set aside: {:?}", String::from_utf8_lossy(seed));
    }
}

#[test]
fn no_csv_makes_the_decoder_panic() {
    let seeds: [&[u8]; 4] = [
        b"a,b,c\n1,2.50,2024-05-01 10:00:00\n-3,0.1,2024-05-01T10:00:00+02:00\n",
        b"a;b;\"c d\"\r\n00123;\"x \"\"y\"\"\nz\";\xc3\xa9\r\n;;\r\n",
        b"\xef\xbb\xbfid\tname\n1\tAnn\nid\tname\n2\tB",
        b"\xff\xfea\0,\0b\0\n\0",
    ];
    let columns = [
        DeclaredColumn::new("a", ColumnType::Int64),
        DeclaredColumn::new("b", ColumnType::Decimal { precision: 9, scale: 2 }),
        DeclaredColumn { not_null: true, ..DeclaredColumn::new("c", ColumnType::Timestamp) },
    ];
    let mut rng = Rng::new(SEED);
    for round in 0..INPUTS {
        let bytes = mutate(&seeds, &mut rng);
        let stream = CsvStream { line_bytes_max: Some("1KiB".into()), ..CsvStream::default() };
        let declared = if round % 2 == 0 { &columns[..] } else { &[] };
        if let Ok(pages) = csv::decode(bytes.clone(), stream, declared, 1 + round % 5) {
            check(&pages, &bytes);
        }
    }
}

#[test]
fn no_json_makes_the_decoder_panic() {
    let seeds: [&[u8]; 3] = [
        b"{\"a\":{\"b\":1,\"x\":[1,{}]},\"c\":\"2024-05-01\",\"d\":null}\n{\"a\":{\"b\":-9007199254740993}}\n",
        b"{\"c\":\"\\u00e9\\ud83d\\ude00\",\"n\":1.5e300,\"t\":true}\n\n{}\n",
        b"{\"d\":{\"k\":[[[]]]},\"late\":0.1}",
    ];
    let columns = [
        DeclaredColumn::new("a.b", ColumnType::Int64),
        DeclaredColumn::new("c", ColumnType::Date),
        DeclaredColumn::new("d", ColumnType::Json),
    ];
    let mut rng = Rng::new(SEED);
    for round in 0..INPUTS {
        let bytes = mutate(&seeds, &mut rng);
        let stream =
            JsonLinesStream { line_bytes_max: Some("1KiB".into()), ..JsonLinesStream::default() };
        let declared = if round % 2 == 0 { &columns[..] } else { &[] };
        if let Ok(pages) = jsonl::decode(bytes.clone(), stream, declared, 1 + round % 5) {
            check(&pages, &bytes);
        }
    }
}
