//! Judges one recommender on Gowalla in the split of LightGCN: all 29,858 users, the whole catalogue ranked.
//!
//! ```text
//! FLYWHEEL_DATA=../shared/data cargo run --release -p flywheel-algo --example gowalla NAME [OPTIONS]
//! ```
//! NAME is one of the contestants below, or the name of an algorithm with its OPTIONS as JSON. Trained on
//! train.txt and valid.txt, judged on test.txt; with `--tune` before the name trained on train.txt and judged
//! on valid.txt, which is where options are to be chosen. Prints `name, recall@20, ndcg@20,
//! CPU seconds of the fit, CPU seconds of a list of 50 for everybody`, tab-separated.

#[path = "common/cpu.rs"]
mod cpu;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use cpu::cpu_s;
use flywheel_algo::recommend::evaluate::{Depth, judge_lists};
use flywheel_algo::recommend::interactions::{Interaction, Interactions};
use flywheel_algo::recommend::serve::{Request, ranking};
use flywheel_algo::recommend::together::each;
use flywheel_algo::recommend::{Training, fit};
use flywheel_base::{Error, Result};
use serde_json::{Value, json};

/// How many items each list has.
const LISTED: usize = 50;
/// How deep the lists are judged, as everybody does on this data.
const DEPTH: Depth = Depth { recall: 20, ndcg: 20 };
fn main() -> Result<()> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let tune = words.first().is_some_and(|word| word == "--tune");
    if tune {
        words.remove(0);
    }
    let (name, options) = match words.as_slice() {
        [name] => (name, None),
        [name, options] => (name, Some(options)),
        _ => return Err(Error::invalid("name one recommender").hint("For example: gf-cf")),
    };
    let (algorithm, options) = contestant(name, options.map(String::as_str))?;
    let root =
        flywheel_base::env::optional("FLYWHEEL_DATA").unwrap_or_else(|| "../shared/data".into());
    let split = Split::read(&Path::new(&root).join("gowalla"), tune)?;
    let (start, training) = (cpu_s()?, Training::new(&split.train));
    let model = fit(&algorithm, &training, &options)?;
    let fitted = cpu_s()?;
    let people: Vec<usize> = (0..split.test.len()).collect();
    let history = |user| split.train.history(user, None);
    let lists: Vec<Vec<u32>> = each(&[&*model], &people, history, |models, _, history| {
        let ranked = ranking(models, history, &Request::new(LISTED));
        ranked.iter().map(|scored| scored.item).collect()
    });
    let listed = cpu_s()?;
    let found = judge_lists(&lists, &split.test, split.train.item_count(), DEPTH)?;
    let counts = format!(
        "# {} users, {} items, {} training pairs, {} test pairs, artifact {} bytes",
        found.users,
        split.train.item_count(),
        split.train.cell_count(),
        split.test.iter().map(Vec::len).sum::<usize>(),
        model.to_bytes()?.len()
    );
    let (fit_s, lists_s) = (fitted - start, listed - fitted);
    let line = format!("{name}\t{:.4}\t{:.4}\t{fit_s:.2}\t{lists_s:.2}", found.recall, found.ndcg);
    writeln!(std::io::stdout().lock(), "{counts}\n{line}")
        .map_err(|error| Error::internal("cannot print").caused_by(error))
}

/// Algorithm and options of a name.
fn contestant(name: &str, options: Option<&str>) -> Result<(String, Value)> {
    if let Some(options) = options {
        let parsed = serde_json::from_str(options);
        return Ok((
            name.to_owned(),
            parsed.map_err(|error| {
                Error::invalid("the options are not JSON")
                    .caused_by(error)
                    .hint("Give {} for none.")
            })?,
        ));
    }
    let ials = |penalty: f64, exponent: f64, confidence: f64| {
        json!({
            "factors": 128, "confidence": confidence, "penalty": penalty,
            "penalty_exponent": exponent,
        })
    };
    let (algorithm, options) = match name {
        "ials-128" => ("ials", ials(10.0, 0.0, 40.0)),
        "ials-128-frequency" => ("ials", ials(10.0, 1.0, 40.0)),
        "gf-cf-popular" => ("gf-cf", json!({"beta": 0.3})),
        "bm25" => ("item-neighbours", json!({"weighting": "bm25"})),
        other => (other, json!({})),
    };
    Ok((algorithm.to_owned(), options))
}

/// Who has what, and what each has to be found.
struct Split {
    train: Interactions,
    test: Vec<Vec<u32>>,
}

impl Split {
    fn read(folder: &Path, tune: bool) -> Result<Self> {
        let read = |name: &str| pairs(&folder.join(name));
        let (mut train, mut test) = (read("train.txt")?, read("valid.txt")?);
        if !tune {
            train.append(&mut test);
            test = read("test.txt")?;
        }
        let all = || train.iter().chain(&test);
        let size = |index: fn(&(u32, u32)) -> u32| {
            all().map(index).max().map_or(0, |largest| largest as usize + 1)
        };
        let (users, items) = (size(|pair| pair.0), size(|pair| pair.1));
        let event = |(user, item): &(u32, u32)| Interaction {
            user: *user,
            item: *item,
            weight: 1.0,
            at: None,
        };
        let mut sought = vec![BTreeSet::new(); users];
        for (user, item) in &test {
            if let Some(items) = sought.get_mut(*user as usize) {
                items.insert(*item);
            }
        }
        let test = sought.into_iter().map(|items| items.into_iter().collect()).collect();
        Ok(Self { train: Interactions::new(users, items, train.iter().map(event))?, test })
    }
}

/// Lines of a user and the items: pairs.
fn pairs(path: &PathBuf) -> Result<Vec<(u32, u32)>> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::io("read", path, error).hint(
            "Set FLYWHEEL_DATA to the folder that holds gowalla/train.txt, valid.txt, test.txt.",
        )
    })?;
    let mut pairs = Vec::new();
    for (line, words) in text.lines().enumerate() {
        let mut numbers = words.split_whitespace().map(str::parse::<u32>);
        let Some(user) = numbers.next() else { continue };
        for item in numbers {
            match (&user, item) {
                (Ok(user), Ok(item)) => pairs.push((*user, item)),
                _ => {
                    return Err(Error::corrupt(format!(
                        "line {} of {} holds something that is not an index",
                        line + 1,
                        path.display()
                    ))
                    .hint("Each line is a user and its items, separated by spaces."));
                }
            }
        }
    }
    Ok(pairs)
}
