//! Mutated files: whatever they hold, the answer is a report, never a panic.

use flywheel_base::Rng;

use super::super::*;
use super::{connectors, split, write};

/// How many mutated texts are read.
const TEXTS: usize = 20_000;

/// How many mutated folders are loaded.
const FOLDERS: usize = 80;

/// Pieces that mean something to one of the parsers.
const PIECES: &[&str] = &[
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "${",
    "}",
    "&a",
    "*a",
    "<<",
    "!!str",
    "|",
    ">",
    "|-",
    ">+2",
    "- ",
    "? ",
    ": ",
    "'",
    "\"",
    "[",
    "]",
    "{",
    "\t",
    "\r\n",
    "\n",
    "\u{0}",
    "\u{FEFF}",
    "é",
    "数",
    "😀",
    "---\n",
    "...\n",
    "%TAG ! x\n",
    "ref('a')",
    "source('raw','b')",
    "is_incremental()",
    "{% if x %}",
    "{% for i in range(9) %}",
    "{% endfor %}",
    "{% set x = 1 %}",
    "{% macro m() %}",
    "config(a=1)",
    "99999999999999999999",
    "1e999",
    "0x",
    ".inf",
    "env:",
    "\\",
    "#",
];

fn seeds() -> Vec<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> = std::fs::read_dir(manifest.join("tests-data"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let cases = paths.iter().map(|path| std::fs::read_to_string(path).unwrap());
    cases
        .flat_map(|case| split(&case))
        .map(|(_, text)| text)
        .filter(|text| text.len() > 8)
        .collect()
}

fn mutated(rng: &mut Rng, seeds: &[String]) -> Vec<u8> {
    let mut bytes = seeds[rng.below(seeds.len())].clone().into_bytes();
    bytes.truncate(1_500);
    for _ in 0..=rng.below(6) {
        let at = rng.below(bytes.len() + 1);
        let end = (at + rng.below(24)).min(bytes.len());
        match rng.below(6) {
            0 => {
                bytes.drain(at..end);
            }
            1 => {
                let piece = PIECES[rng.below(PIECES.len())];
                bytes.splice(at..at, piece.bytes());
            }
            2 => {
                let chunk = bytes[at..end].to_vec();
                let to = rng.below(bytes.len() + 1);
                bytes.splice(to..to, chunk);
            }
            3 if at < bytes.len() => bytes[at] = rng.next_u64() as u8,
            4 => {
                let other = seeds[rng.below(seeds.len())].as_bytes();
                let from = rng.below(other.len());
                let piece = other[from..(from + 40).min(other.len())].to_vec();
                bytes.splice(at..end, piece);
            }
            _ => bytes.truncate(end.max(1)),
        }
    }
    bytes
}

#[test]
fn mutated_texts_never_panic() {
    let seeds = seeds();
    let mut wrong = 0;
    for seed in 0..TEXTS as u64 {
        let mut rng = Rng::stream(seed, "mutated texts");
        let bytes = mutated(&mut rng, &seeds);
        wrong += usize::from(!parse_bytes(&bytes).is_empty());
    }
    assert!(wrong > TEXTS / 2, "the mutations hardly break anything: {wrong}");
}

#[test]
fn mutated_folders_never_panic_and_report_the_same_twice() {
    let case = include_str!("../../../tests-data/clean.txt");
    for seed in 0..FOLDERS as u64 {
        let mut rng = Rng::stream(seed, "mutated folders");
        let mut files = split(case);
        files.pop();
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &files);
        let chosen = rng.below(files.len());
        let seeds = [files[chosen].1.clone()];
        std::fs::write(dir.path().join(&files[chosen].0), mutated(&mut rng, &seeds)).unwrap();
        let load = || match Project::load(dir.path(), &connectors()) {
            Ok(project) => project.warnings.render(),
            Err(mistakes) => mistakes.render(),
        };
        assert_eq!(load(), load(), "seed {seed}");
    }
}
