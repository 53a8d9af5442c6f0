//! Judges the recommenders on UCI Online Retail: trained before 2011-11-09, tested on the 30 days after.
//!
//! ```text
//! FLYWHEEL_DATA=../shared/data cargo run --release -p flywheel-algo --example online_retail [FOLDER]
//! ```
//! Prints `name, ndcg@10 new, recall@20 new, ndcg@10 all, recall@20 all, fit seconds`, tab-separated.
//! With FOLDER, writes `train.tsv` and `test.tsv` (user, item) there, so that a peer can be judged on
//! identical pairs (`tests/parity/peer_online_retail.py`).

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use flywheel_algo::recommend::evaluate::{Depth, Evaluation, Split, evaluate};
use flywheel_algo::recommend::interactions::{Interaction, Interactions, Vocabulary};
use flywheel_algo::recommend::serve::{OwnedItems, Request, serve};
use flywheel_algo::recommend::{Recommender, Training, fit};
use flywheel_base::{Error, Result, Timestamp};
use serde_json::{Value, json};

/// Where the training ends.
const BORDER: &str = "2011-11-09";

/// How long the test is.
const TEST_DAYS: i64 = 30;

/// One line of an invoice.
struct Line {
    user: String,
    item: String,
    at: i64,
}

fn main() -> Result<()> {
    let root =
        flywheel_base::env::optional("FLYWHEEL_DATA").unwrap_or_else(|| "../shared/data".into());
    let lines = read_folder(&Path::new(&root).join("online_retail"))?;
    let (data, users, items) = interactions(&lines)?;
    let split = Split::new(&data, Timestamp::parse(BORDER)?.micros())?;
    if let Some(folder) = std::env::args_os().nth(1) {
        write_pairs(&split, Path::new(&folder))?;
    }
    print(&header(lines.len(), &split))?;
    let hybrid = judge(&split, "")?;
    print(&size_and_speed(&*hybrid, &split)?)?;
    print(&sample(&*hybrid, &split, &users, &items))?;
    // The same question a month earlier, so that the figures are not those of one lucky month.
    let before = Timestamp::from_micros(split.at).plus_days(-TEST_DAYS).micros();
    judge(&Split::new(&data.between(i64::MIN, split.at), before)?, "@month-before")?;
    Ok(())
}

/// Prints a line for every contestant; gives the last one, the hybrid.
fn judge(split: &Split, suffix: &str) -> Result<Box<dyn Recommender>> {
    let training = Training { now: Some(split.at), ..Training::new(&split.train) };
    let recent = fit("popularity", &training, &json!({"window_days": TEST_DAYS}))?;
    let mut last = None;
    for (name, algorithm, options, filled) in contestants() {
        let started = Instant::now();
        let model = fit(algorithm, &training, &options)?;
        let seconds = started.elapsed().as_secs_f64();
        let models: Vec<&dyn Recommender> =
            if filled { vec![&*model, &*recent] } else { vec![&*model] };
        let found = evaluate(&models, split, Depth::default())?;
        print(&row(&format!("{name}{suffix}"), found, seconds))?;
        last = Some(model);
    }
    last.ok_or_else(|| Error::internal("there is no contestant"))
}

fn print(line: &str) -> Result<()> {
    let written = writeln!(std::io::stdout().lock(), "{line}");
    written.map_err(|error| Error::internal("cannot print").caused_by(error))
}

fn header(line_count: usize, split: &Split) -> String {
    let train = &split.train;
    format!(
        "# {line_count} lines, {} users, {} items, {} training pairs, {} test users, {} test pairs",
        (0..train.user_count()).filter(|user| !train.items(*user).is_empty()).count(),
        known_items(train),
        train.cell_count(),
        split.test.iter().filter(|items| !items.is_empty()).count(),
        split.test.iter().map(Vec::len).sum::<usize>()
    )
}

/// Name, algorithm, options, and whether popularity of the last 30 days fills what it leaves open.
fn contestants() -> Vec<(&'static str, &'static str, Value, bool)> {
    vec![
        ("popularity", "popularity", json!({}), false),
        ("pop30", "popularity", json!({"window_days": 30}), false),
        ("repeat", "repeat", json!({}), true),
        ("item-knn", "item-neighbours", json!({"weighting": "cosine"}), false),
        ("bm25", "item-neighbours", json!({"weighting": "bm25"}), false),
        ("ease-exact", "ease", json!({"penalty": 300.0, "kept_per_item": 100_000}), false),
        ("ease", "ease", json!({"penalty": 300.0}), false),
        ("blend", "blend", json!({}), false),
        ("hybrid", "hybrid", json!({}), false),
    ]
}

fn row(name: &str, found: Evaluation, seconds: f64) -> String {
    let Evaluation { new, all, .. } = found;
    format!(
        "{name}\t{:.4}\t{:.4}\t{:.4}\t{:.4}\t{seconds:.2}",
        new.ndcg, new.recall, all.ndcg, all.recall
    )
}

/// The artifact's size and how fast lists are answered on one thread.
fn size_and_speed(model: &dyn Recommender, split: &Split) -> Result<String> {
    let bytes = model.to_bytes()?.len();
    let started = Instant::now();
    let mut answers = 0;
    for user in (0..split.test.len()).filter(|user| !split.test[*user].is_empty()) {
        let history = split.train.history(user, Some(split.at));
        answers += usize::from(!serve(&[model], &history, &Request::new(20)).items.is_empty());
    }
    let micros = started.elapsed().as_micros() as f64 / answers.max(1) as f64;
    Ok(format!("# artifact {bytes} bytes; a list of 20 with reasons takes {micros:.0} µs"))
}

/// The first tested user's lists, as a person reads them.
fn sample(
    model: &dyn Recommender,
    split: &Split,
    users: &Vocabulary,
    items: &Vocabulary,
) -> String {
    let user = split.test.iter().position(|items| !items.is_empty()).unwrap_or(0);
    let history = split.train.history(user, Some(split.at));
    let mut text = format!("# lists of user {}", users.id(user as u32).unwrap_or("?"));
    for owned in [OwnedItems::Exclude, OwnedItems::Include] {
        let list = serve(&[model], &history, &Request { owned, ..Request::new(3) });
        for listed in list.items {
            let because = listed.because.and_then(|item| items.id(item)).unwrap_or("-");
            let item = items.id(listed.item).unwrap_or("?");
            text.push_str(&format!(
                "\n#   {owned:?} {item} by {} because of {because}",
                listed.source
            ));
        }
    }
    text
}

fn known_items(data: &Interactions) -> usize {
    let mut known = vec![false; data.item_count()];
    (0..data.user_count())
        .flat_map(|user| data.items(user))
        .for_each(|item| known[*item as usize] = true);
    known.iter().filter(|seen| **seen).count()
}

fn interactions(lines: &[Line]) -> Result<(Interactions, Vocabulary, Vocabulary)> {
    let users = Vocabulary::new(lines.iter().map(|line| line.user.as_str()))?;
    let items = Vocabulary::new(lines.iter().map(|line| line.item.as_str()))?;
    let events = lines.iter().filter_map(|line| {
        Some(Interaction {
            user: users.index(&line.user)?,
            item: items.index(&line.item)?,
            weight: 1.0,
            at: Some(line.at),
        })
    });
    Ok((Interactions::new(users.len(), items.len(), events)?, users, items))
}

fn read_folder(folder: &Path) -> Result<Vec<Line>> {
    let listed = std::fs::read_dir(folder).map_err(|error| {
        Error::io("read", folder, error)
            .hint("Set FLYWHEEL_DATA to the folder that holds online_retail/*.csv.")
    })?;
    let mut files: Vec<PathBuf> = listed.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "csv"));
    files.sort();
    let mut lines = Vec::new();
    for file in files {
        let text =
            std::fs::read_to_string(&file).map_err(|error| Error::io("read", &file, error))?;
        for record in text.lines().skip(1) {
            lines.extend(line(record)?);
        }
    }
    Ok(lines)
}

/// One record if it is a sale to a known customer: not cancelled, quantity and price above 0.
fn line(record: &str) -> Result<Option<Line>> {
    let fields = fields(record);
    let [invoice, item, _, quantity, at, price, user, ..] = fields.as_slice() else {
        return Ok(None);
    };
    let positive = |text: &str| text.parse::<f64>().is_ok_and(|number| number > 0.0);
    let sale = !invoice.starts_with('C') && positive(quantity) && positive(price);
    if !sale || user.is_empty() {
        return Ok(None);
    }
    let at = Timestamp::parse(at)?.micros();
    Ok(Some(Line { user: user.clone(), item: item.clone(), at }))
}

/// Splits a record at its commas, minding quotes.
fn fields(record: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in record.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => {
                if let Some(field) = fields.last_mut() {
                    field.push(c);
                }
            }
        }
    }
    fields
}

fn write_pairs(split: &Split, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, error))?;
    let write = |name: &str, rows: &dyn Fn(usize) -> Vec<u32>| {
        let mut text = String::new();
        for user in 0..split.test.len() {
            for item in rows(user) {
                text.push_str(&format!("{user}\t{item}\n"));
            }
        }
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| Error::io("write", &path, error))
    };
    write("train.tsv", &|user| split.train.items(user).to_vec())?;
    write("test.tsv", &|user| split.test[user].clone())
}
