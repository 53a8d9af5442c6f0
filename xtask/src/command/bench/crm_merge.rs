//! A CRM that was split in two, with planted duplicates and conflicting edits: which records are
//! matched, and whether every conflict ends as its rule declares.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::goal::{at_least, at_most, equal, holds, succeeds};
use crate::binary::Flywheel;
use crate::context::Context;
use crate::shop::Shop;
use crate::tally::Tally;
use crate::{Result, figures, process};

/// The data set that is split.
const DATA_SET: &str = "maven_crm";

/// The seeds of the splits that are judged. The rules below were chosen by looking at another one, 7.
const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

const PRECISION_MIN: f64 = 0.98;
const RECALL_MIN: f64 = 0.90;

/// How companies are recognised.
const COMPANIES: &str = "link: companies
left: {connection: left, options: {table: accounts}, target: {table: accounts}, id: id, create_by: external_key}
right: {connection: right, options: {table: accounts}, target: {table: accounts}, id: id, create_by: external_key}
fields:
  - {name: name, rule: left}
  - {name: domain, rule: prefer-left-unless-blank}
  - {name: sector, rule: left}
  - {name: employees, rule: max}
  - {name: tag, rule: left}
match:
  alike:
    parts:
      - {field: name, measure: company}
      - {field: domain, measure: domain}
    link: 80%
    review: 65%
limits: {max_change_ratio: 100%}
";

/// How people are recognised, and what decides each field that both sides changed.
const PEOPLE: &str = "link: people
left: {connection: left, options: {table: contacts}, target: {table: contacts}, id: id, create_by: external_key, changed_at: changed_at}
right: {connection: right, options: {table: contacts}, target: {table: contacts}, id: id, create_by: external_key, changed_at: changed_at}
fields:
  - {name: name, rule: left}
  - {name: email, rule: prefer-left-unless-blank}
  - {name: phone, type: text, clean: phone(US), rule: prefer-left-unless-blank}
  - {name: company, rule: {latest: {skew: 1m}}}
  - {name: city, rule: right}
  - {name: score, rule: max}
  - {name: budget, rule: min}
  - {name: consent, rule: {most-restrictive: {order: [\"no\", \"yes\"]}}}
  - {name: note, rule: prefer-left-unless-blank}
  - {name: tag, rule: left}
match:
  exact: [{email: email}, {phone: phone}]
  unless: {field: name, measure: name, below: 60%}
  alike:
    parts:
      - {field: name, measure: name, weight: 2, at_least: 80%}
      - {field: company, measure: company, weight: 1}
    link: 92%
    review: 75%
  calling_code: \"1\"
limits: {max_change_ratio: 100%}
";

/// What is matched: the links, and the tables of their records.
const TABLES: [(&str, &str); 2] = [("accounts", "companies"), ("contacts", "people")];

/// The counts of one table over all splits.
#[derive(Clone, Copy, Default)]
struct Matches {
    pairs: f64,
    matched: f64,
    right: f64,
    asked: f64,
}

/// Splits, links, edits, links, and links once more, for every seed.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let data = context.data_set(DATA_SET)?;
    let data = data.to_str().ok_or("the data set's path is not UTF-8")?.to_owned();
    let folder = context.scratch("crm-merge")?;
    let mut tally = Tally::default();
    let mut counts = [Matches::default(); TABLES.len()];
    for seed in SEEDS {
        println!("\nseed {seed}");
        let at = folder.join(format!("seed-{seed}"));
        let shop = project(&flywheel, &at)?;
        one(context, &shop, &data, &seed.to_string(), &mut counts, &mut tally)?;
    }
    judge_matches(&counts, &mut tally);
    Ok(tally)
}

fn project<'a>(flywheel: &'a Flywheel, folder: &Path) -> Result<Shop<'a>> {
    let shop = Shop::new(flywheel, folder)?;
    for side in ["left", "right"] {
        shop.write(
            &format!("connections/{side}.yaml"),
            format!("connection: {side}\ntype: sqlite\noptions: {{path: {side}.db}}\n"),
        )?;
    }
    shop.write("links/companies.yaml", COMPANIES)?;
    shop.write("links/people.yaml", PEOPLE)?;
    Ok(shop)
}

/// One split.
fn one(
    context: &Context,
    shop: &Shop<'_>,
    data: &str,
    seed: &str,
    counts: &mut [Matches],
    tally: &mut Tally,
) -> Result<()> {
    let script = |word: &str, arguments: &[&str]| -> Result<Value> {
        let mut command = Command::new("python3");
        command.arg(context.root.join("tests/parity/two_crms.py"));
        command.arg(word).arg(shop.path("")).args(arguments);
        Ok(serde_json::from_str(&process::output(&mut command)?)?)
    };
    println!("records that both sides hold: {}", script("make", &[data, seed])?);
    let written = "select count(*) from system.link_audit";
    succeeds(tally, "the plan", &shop.measure(&["link", "plan"])?);
    equal(tally, "a plan writes nothing", &shop.value(written)?, "0");
    succeeds(tally, "the first run", &shop.measure(&["link", "run"])?);
    let said = script("matches", &[])?;
    for ((table, link), count) in TABLES.iter().zip(counts) {
        let number = |name: &str| {
            said.pointer(&format!("/{table}/{name}")).and_then(Value::as_f64).unwrap_or(0.0)
        };
        let asked = format!(
            "select count(*) from system.link_questions where open and kind = 'match' and link = '{link}'"
        );
        count.pairs += number("pairs");
        count.matched += number("matched");
        count.right += number("right");
        count.asked += shop.value(&asked)?.parse::<f64>()?;
        for list in ["missed", "wrong"] {
            let examples = said.pointer(&format!("/{table}/{list}")).unwrap_or(&Value::Null);
            println!("{table} {list}, such as: {examples}");
        }
    }

    println!("edited on both sides: {}", script("edit", &[seed])?);
    succeeds(tally, "the run after the edits", &shop.measure(&["link", "run"])?);
    let fields = script("conflicts", &[])?;
    println!("fields: {fields}");
    let checked = fields.get("checked").and_then(Value::as_u64).unwrap_or(0);
    holds(tally, "conflicts were made", checked > 0);
    let wrong = fields.get("wrong").and_then(Value::as_f64).unwrap_or(f64::INFINITY);
    at_most(tally, "fields that do not hold what their rule declares", wrong, 0.0);

    let before = shop.value(written)?;
    succeeds(tally, "a further run", &shop.measure(&["link", "run"])?);
    equal(tally, "a further run writes nothing", &shop.value(written)?, &before);
    Ok(())
}

/// Precision and recall over all splits; a question is no match.
fn judge_matches(counts: &[Matches], tally: &mut Tally) {
    let headings = ["records", "pairs", "matched", "right", "precision", "recall", "asked"];
    let mut rows = vec![headings.map(str::to_owned).to_vec()];
    let shares = |count: &Matches| {
        (count.right / count.matched.max(1.0), count.right / count.pairs.max(1.0))
    };
    for ((table, _), count) in TABLES.iter().zip(counts) {
        let (precision, recall) = shares(count);
        let mut row = vec![(*table).to_owned()];
        row.extend([count.pairs, count.matched, count.right].map(|number| format!("{number:.0}")));
        row.extend([precision, recall].map(|share| format!("{share:.3}")));
        row.push(format!("{:.0}", count.asked));
        rows.push(row);
    }
    println!("\n{}", figures::table(&rows));
    for ((table, _), count) in TABLES.iter().zip(counts) {
        let (precision, recall) = shares(count);
        at_least(tally, &format!("precision of {table}"), precision, PRECISION_MIN);
        at_least(tally, &format!("recall of {table}"), recall, RECALL_MIN);
    }
}
