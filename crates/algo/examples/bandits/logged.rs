//! Open Bandit, campaign "men": what Thompson sampling would have earned, from the decisions of a random policy.

use std::collections::BTreeMap;
use std::path::Path;

use flywheel_algo::offpolicy::Row;
use flywheel_algo::offpolicy::verdict::{Refusal, Rules, verdict};
use flywheel_base::Result;

use crate::{cells, number, print, remark};

/// Columns of the file.
const ITEM: usize = 2;
const POSITION: usize = 3;
const CLICK: usize = 4;
const PROPENSITY: usize = 5;

/// One shown item.
struct Shown {
    place: (u32, u32),
    click: f64,
    propensity: f64,
}

pub(crate) fn run(folder: &Path) -> Result<()> {
    let random = read(&folder.join("random/men/men.csv"))?;
    let thompson = read(&folder.join("bts/men/men.csv"))?;
    // How often Thompson sampling shows each item at each position stands for its probability.
    let (mut shown, mut positions) = (BTreeMap::new(), BTreeMap::new());
    for row in &thompson {
        *shown.entry(row.place).or_insert(0.0) += 1.0;
        *positions.entry(row.place.1).or_insert(0.0) += 1.0;
    }
    let share = |place: &(u32, u32)| {
        let times = shown.get(place).copied().unwrap_or(0.0);
        positions.get(&place.1).map_or(0.0, |all: &f64| times / all)
    };
    let rows: Vec<Row> = random
        .iter()
        .map(|row| Row {
            reward: row.click,
            propensity: row.propensity,
            challenger: share(&row.place),
            model: None,
        })
        .collect();
    let clicks = thompson.iter().map(|row| row.click).sum::<f64>() / thompson.len() as f64;
    let judged = verdict(&rows, &Rules::default())?;
    let made = &judged.estimates;
    print("open bandit earned by random", made.earned.estimate, 0.0)?;
    print("open bandit earned by thompson", clicks, 0.0)?;
    print("open bandit ips", made.ips.value.estimate, 0.0)?;
    print("open bandit ips half width", made.ips.value.high - made.ips.value.estimate, 0.0)?;
    if let Some(snips) = made.snips {
        print("open bandit snips", snips.value.estimate, 0.0)?;
    }
    print("open bandit effective", made.effective, 0.0)?;
    print("open bandit promoted", f64::from(u8::from(judged.promotes())), 0.0)?;
    let told = judged.refusals.iter().any(tells_its_interval);
    print("open bandit refused, and told by which interval", f64::from(u8::from(told)), 0.0)?;
    judged.refusals.iter().try_for_each(|refusal| remark(&format!("not promoted: {refusal}")))
}

/// Whether a refusal is for a gain whose interval reaches below what is asked for, and its text says both ends.
fn tells_its_interval(refusal: &Refusal) -> bool {
    let Refusal::NoGain { gain, low, high, least, .. } = refusal else { return false };
    let said = refusal.to_string();
    let ends = [low, high].iter().all(|end| said.contains(&format!("{end:.5}")));
    ends && low <= least && low < gain && gain < high
}

fn read(path: &Path) -> Result<Vec<Shown>> {
    let mut made = Vec::new();
    for row in cells(path)? {
        made.push(Shown {
            place: (number(path, &row, ITEM)? as u32, number(path, &row, POSITION)? as u32),
            click: number(path, &row, CLICK)?,
            propensity: number(path, &row, PROPENSITY)?,
        });
    }
    Ok(made)
}
