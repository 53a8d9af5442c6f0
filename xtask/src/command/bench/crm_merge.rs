//! A CRM that was split in two, with planted duplicates and conflicting edits: which records are
//! matched, by links and by a merge of both into one, and whether every conflict ends as its rule declares.

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

/// How both are made one: matched as the link does, and judged by the same truth.
const MERGE: &str = "merge: people
target: crm.people
sources:
  - {name: left, table: raw.left_contacts, key: id, changed_at: changed_at}
  - {name: right, table: raw.right_contacts, key: id, changed_at: changed_at}
fields:
  - {name: name}
  - {name: email}
  - {name: phone, type: text, clean: phone(US)}
  - {name: company, keep: latest}
  - {name: city, keep: {prefer: {source: right}}}
  - {name: score, keep: max}
  - {name: budget, keep: min}
  - {name: consent, keep: {most-restrictive: {order: [\"no\", \"yes\"]}}}
  - {name: note}
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
";

/// What every record of both sides is in truth.
const TRUTH: &str = "{{ config(materialized='table') }}
select 'left' as source, cast(id as varchar) as source_key, truth as entity from {{ source('raw', 'left_contacts') }}
union all select 'right', cast(id as varchar), truth from {{ source('raw', 'right_contacts') }}
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
    let mut merged = Matches::default();
    for seed in SEEDS {
        println!("\nseed {seed}");
        let at = folder.join(format!("seed-{seed}"));
        let shop = project(&flywheel, &at)?;
        let seed = seed.to_string();
        println!(
            "records that both sides hold: {}",
            script(context, &shop, "make", &[data.as_str(), seed.as_str()])?
        );
        merge(&shop, &mut merged, &mut tally)?;
        one(context, &shop, &seed, &mut counts, &mut tally)?;
    }
    let named = TABLES.iter().map(|(table, _)| format!("{table}, linked")).zip(counts);
    let named = named.chain([("contacts, merged".to_owned(), merged)]);
    judge_matches(&named.collect::<Vec<_>>(), &mut tally);
    Ok(tally)
}

fn project<'a>(flywheel: &'a Flywheel, folder: &Path) -> Result<Shop<'a>> {
    let shop = Shop::new(flywheel, folder)?;
    for side in ["left", "right"] {
        shop.write(
            &format!("connections/{side}.yaml"),
            format!("connection: {side}\ntype: sqlite\noptions: {{path: {side}.db}}\n"),
        )?;
        let stream = format!(
            "stream: {side}_contacts, options: {{table: contacts}}, read: full, write: replace"
        );
        shop.sync(side, &format!("connection: {side}"), &stream)?;
    }
    shop.write("links/companies.yaml", COMPANIES)?;
    shop.write("links/people.yaml", PEOPLE)?;
    shop.write("merges/people.yaml", MERGE)?;
    shop.write("models/marts/truth.sql", TRUTH)?;
    Ok(shop)
}

/// What the script says that makes both systems and looks at them.
fn script(context: &Context, shop: &Shop<'_>, word: &str, arguments: &[&str]) -> Result<Value> {
    let mut command = Command::new("python3");
    command.arg(context.root.join("tests/parity/two_crms.py"));
    command.arg(word).arg(shop.path("")).args(arguments);
    Ok(serde_json::from_str(&process::output(&mut command)?)?)
}

/// Makes both systems one, takes all of it apart, and finds what both hold as it was.
fn merge(shop: &Shop<'_>, count: &mut Matches, tally: &mut Tally) -> Result<()> {
    succeeds(tally, "landing both systems", &shop.measure(&["sync"])?);
    succeeds(tally, "building the truth", &shop.measure(&["build"])?);
    let run = ["merge", "run", "people", "--truth", "marts.truth"];
    let told: Value = serde_json::from_str(&process::output(&mut shop.command(&run))?)?;
    let balance = told.pointer("/balance").and_then(Value::as_str).unwrap_or("nothing");
    equal(tally, "the rows of the merge", balance, "balanced");
    let number =
        |name: &str| told.pointer(&format!("/truth/{name}")).and_then(Value::as_f64).unwrap_or(0.0);
    count.pairs += number("pairs");
    count.matched += number("matched");
    count.right += number("right");
    count.asked += told.pointer("/questions").and_then(Value::as_f64).unwrap_or(0.0);
    succeeds(tally, "a further merge", &shop.measure(&run)?);
    equal(tally, "commits of the merged table", &shop.versions("crm.people").to_string(), "1");
    succeeds(tally, "taking all apart", &shop.measure(&["merge", "undo", "people", "--all"])?);
    let different = "select count(*) from (select name, email, company, city, score, budget, consent, note from crm.people
        except select name, email, company, city, score, budget, consent, note
        from (select * from raw.left_contacts union all select * from raw.right_contacts) before) different";
    equal(tally, "records that are not as they were", &shop.value(different)?, "0");
    Ok(())
}

/// One split.
fn one(
    context: &Context,
    shop: &Shop<'_>,
    seed: &str,
    counts: &mut [Matches],
    tally: &mut Tally,
) -> Result<()> {
    let script = |word: &str, arguments: &[&str]| script(context, shop, word, arguments);
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
fn judge_matches(counts: &[(String, Matches)], tally: &mut Tally) {
    let headings = ["records", "pairs", "matched", "right", "precision", "recall", "asked"];
    let mut rows = vec![headings.map(str::to_owned).to_vec()];
    let shares = |count: &Matches| {
        (count.right / count.matched.max(1.0), count.right / count.pairs.max(1.0))
    };
    for (table, count) in counts {
        let (precision, recall) = shares(count);
        let mut row = vec![table.clone()];
        row.extend([count.pairs, count.matched, count.right].map(|number| format!("{number:.0}")));
        row.extend([precision, recall].map(|share| format!("{share:.3}")));
        row.push(format!("{:.0}", count.asked));
        rows.push(row);
    }
    println!("\n{}", figures::table(&rows));
    for (table, count) in counts {
        let (precision, recall) = shares(count);
        at_least(tally, &format!("precision of {table}"), precision, PRECISION_MIN);
        at_least(tally, &format!("recall of {table}"), recall, RECALL_MIN);
    }
}
