//! The Maven CRM: 85 companies, 35 sellers, 8,800 opportunities with a product that is misspelt.

use std::path::PathBuf;

use flywheel_base::Rng;
use serde_json::{Value, json};

use super::super::*;
use super::entry;

/// The rows of a file, or `None`, said loudly, if it is not here.
fn rows(name: &str) -> Option<Vec<BTreeMap<String, String>>> {
    let folder = flywheel_base::env::optional("FLYWHEEL_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let path = folder.join("maven_crm").join(name);
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("NOT CHECKED: {} is absent; set FLYWHEEL_DATA", path.display());
        return None;
    };
    assert!(!text.contains('"'), "{name} has quoted values, which this reader does not know");
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next()?.split(',').collect();
    let row = |line: &str| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .zip(line.split(',').map(str::to_owned))
            .collect()
    };
    Some(lines.map(row).collect())
}

fn companies() -> MatchRules {
    let part =
        |field: &str, measure, weight| Part { field: field.into(), measure, weight, at_least: 0.0 };
    MatchRules {
        scored: Some(Scored {
            parts: vec![
                Part { at_least: 0.7, ..part("account", Measure::Company, 4.0) },
                part("sector", Measure::Text, 1.0),
                part("office_location", Measure::Text, 1.0),
            ],
            auto: 0.85,
            review: 0.7,
        }),
        ..MatchRules::default()
    }
}

/// A company's name as another system could have it.
fn written_again(rng: &mut Rng, name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    match rng.below(6) {
        0 => name.to_uppercase(),
        1 => format!("{name}, Inc."),
        2 => format!("The {name} Group"),
        3 if letters.len() > 6 => {
            let at = 3 + rng.below(letters.len() - 4);
            letters.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, c)| *c).collect()
        }
        4 => name.replace(' ', "-"),
        _ => format!(" {name} GmbH"),
    }
}

#[test]
fn companies_written_down_twice_are_found_and_no_others() {
    let Some(accounts) = rows("accounts.csv") else { return };
    assert_eq!(accounts.len(), 85);
    let (mut joined, mut right, mut planted) = (0, 0, 0);
    for seed in 0..10 {
        let mut rng = Rng::new(seed);
        let mut entries = Vec::new();
        for (number, account) in accounts.iter().enumerate() {
            let fields = serde_json::to_value(account).unwrap();
            entries.push(entry(&format!("left/{number}"), fields.clone()));
            if rng.chance(0.5) {
                planted += 1;
                let mut again = fields;
                again["account"] = json!(written_again(&mut rng, &account["account"]));
                if rng.chance(0.3) {
                    again["office_location"] = Value::Null;
                }
                entries.push(entry(&format!("right/{number}"), again));
            }
        }
        for cluster in find(&entries, &companies()).unwrap().clusters {
            for (at, a) in cluster.members.iter().enumerate() {
                for b in cluster.members.iter().skip(at + 1) {
                    joined += 1;
                    right += i32::from(a.id == b.id);
                }
            }
        }
    }
    let (precision, recall) =
        (f64::from(right) / f64::from(joined), f64::from(right) / f64::from(planted));
    println!("Maven CRM accounts, {planted} planted: precision {precision:.4}, recall {recall:.4}");
    assert!(precision >= 0.97 && recall >= 0.9, "precision {precision}, recall {recall}");
}

#[test]
fn the_misspelt_product_of_the_opportunities_finds_its_product() {
    let (Some(products), Some(pipeline)) = (rows("products.csv"), rows("sales_pipeline.csv"))
    else {
        return;
    };
    let sold: BTreeSet<&str> = pipeline.iter().map(|row| row["product"].as_str()).collect();
    let mut entries: Vec<Entry> = products
        .iter()
        .map(|row| {
            entry(&format!("products/{}", row["product"]), json!({"product": row["product"]}))
        })
        .collect();
    entries
        .extend(sold.iter().map(|name| entry(&format!("sold/{name}"), json!({"product": name}))));
    let part =
        Part { field: "product".into(), measure: Measure::Company, weight: 1.0, at_least: 0.0 };
    let rules = MatchRules {
        scored: Some(Scored { parts: vec![part], auto: 0.99, review: 0.9 }),
        ..MatchRules::default()
    };
    let matched = find(&entries, &rules).unwrap();
    assert_eq!((matched.clusters.len(), products.len(), sold.len()), (7, 7, 7));
    let misspelt = matched.clusters.iter().find(|c| c.members.iter().any(|key| key.id == "GTXPro"));
    let ids: Vec<&str> = misspelt.unwrap().members.iter().map(|key| key.id.as_str()).collect();
    assert_eq!(ids, ["GTX Pro", "GTXPro"]);
}
