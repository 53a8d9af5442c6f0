//! Which work runs where and when: chunks over workers, calls over the quotas of an API, and the read
//! mode of each table, with the reason in words.

mod mode;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

pub use mode::{
    CDC_BELOW_S, Choice, Cursor, FULL_FROM_CHANGED, FULL_ROWS_MAX, Mode, TableFacts, choose_mode,
};

/// How many workers a plan can have.
pub const WORKERS_MAX: usize = 1_024;

/// How many windows of a quota a plan looks ahead.
pub const WINDOWS_MAX: u64 = 10_000;

/// A piece of work that is not divided any further.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chunk {
    /// Its name.
    pub id: String,
    /// What it costs, in any unit that is the same for all: rows, seconds, bytes.
    pub cost: u64,
    /// How many calls it takes from each quota.
    #[serde(default)]
    pub calls: BTreeMap<String, u64>,
}

/// A limit on calls that is filled again after each window of time: a day, ten seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// How many calls the system allows in a window.
    pub per_window: u64,
    /// How many of this window are used already, by whomever.
    pub used: u64,
    /// Which part of a window may be used by us, from 0 to 1.
    pub share: f64,
}

impl Quota {
    /// How many calls are ours in a full window.
    fn ours(&self) -> u64 {
        (self.per_window as f64 * self.share).floor() as u64
    }

    /// How many calls are left for us in window `number`, counted from 0, the present one. What others
    /// use of the present window counts against our share only where it leaves less than that.
    fn left(&self, number: u64) -> u64 {
        let free =
            if number == 0 { self.per_window.saturating_sub(self.used) } else { self.per_window };
        self.ours().min(free)
    }
}

/// What one worker does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// The chunks in order.
    pub chunks: Vec<String>,
    /// Their cost together.
    pub cost: u64,
}

/// Chunks packed over workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packing {
    /// What each worker does.
    pub workers: Vec<Worker>,
    /// The cost of the busiest worker.
    pub makespan: u64,
    /// What no packing can be better than.
    pub lower_bound: u64,
}

/// The work of one window of the quotas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Its number, 0 for the present one.
    pub number: u64,
    /// What runs in it.
    pub packing: Packing,
    /// How many calls it takes from each quota.
    pub calls: BTreeMap<String, u64>,
}

/// A plan over time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The windows that have work.
    pub windows: Vec<Window>,
    /// The plan in words, one sentence a line.
    pub words: Vec<String>,
}

/// Packs chunks over workers, the longest first, each to the worker that is free first.
///
/// The result costs at most 4/3 of what no packing can be better than.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if there is no worker or a chunk is named twice.
/// # Source
/// Graham 1969, Bounds on multiprocessing timing anomalies.
pub fn pack(chunks: &[Chunk], workers: usize) -> Result<Packing> {
    check(chunks, workers)?;
    let mut sorted: Vec<&Chunk> = chunks.iter().collect();
    sorted.sort_by(|a, b| b.cost.cmp(&a.cost).then_with(|| a.id.cmp(&b.id)));
    Ok(pack_sorted(&sorted, workers))
}

fn pack_sorted(sorted: &[&Chunk], workers: usize) -> Packing {
    let mut packed = vec![Worker::default(); workers];
    for chunk in sorted {
        if let Some(free) = packed.iter_mut().min_by_key(|worker| worker.cost) {
            free.chunks.push(chunk.id.clone());
            free.cost = free.cost.saturating_add(chunk.cost);
        }
    }
    let makespan = packed.iter().map(|worker| worker.cost).max().unwrap_or_default();
    let costs: Vec<u64> = sorted.iter().map(|chunk| chunk.cost).collect();
    Packing { workers: packed, makespan, lower_bound: lower_bound(&costs, workers) }
}

fn check(chunks: &[Chunk], workers: usize) -> Result<()> {
    if workers == 0 || workers > WORKERS_MAX {
        return Err(Error::invalid(format!("a plan with {workers} workers is not possible"))
            .hint(format!("Write a number from 1 to {WORKERS_MAX}.")));
    }
    let mut ids: Vec<&str> = chunks.iter().map(|chunk| chunk.id.as_str()).collect();
    ids.sort_unstable();
    if let Some(pair) = ids.windows(2).find(|pair| pair.first() == pair.last()) {
        let id = pair.first().copied().unwrap_or_default();
        return Err(Error::invalid(format!("two chunks are named \"{id}\""))
            .hint("Give every chunk its own name."));
    }
    Ok(())
}

/// The makespan that no packing can be below. `costs` are sorted, the greatest first.
///
/// Three reasons: the mean load; of `k·m + 1` chunks some worker gets `k + 1`; and of the first
/// `2m + 1 - i` chunks either one of the `i` greatest shares its worker, or some worker gets three of
/// the others.
fn lower_bound(costs: &[u64], workers: usize) -> u64 {
    let total: u128 = costs.iter().map(|cost| u128::from(*cost)).sum();
    let mean = total.div_ceil(workers as u128);
    let mut bound = u64::try_from(mean).unwrap_or(u64::MAX);
    let sum = |range: &[u64]| range.iter().fold(0_u64, |sum, cost| sum.saturating_add(*cost));
    let mut each = 0;
    while let Some(least) = costs.get(each * workers).map(|_| each * workers - each) {
        bound = bound.max(sum(costs.get(least..=each * workers).unwrap_or_default()));
        each += 1;
    }
    for great in 1..workers {
        let last = 2 * workers - great;
        let (Some(one), Some(three)) =
            (costs.get(great - 1), costs.get(last.saturating_sub(2)..=last))
        else {
            continue;
        };
        let shared = one.saturating_add(three.last().copied().unwrap_or_default());
        bound = bound.max(shared.min(sum(three)));
    }
    bound
}

/// Spreads chunks over the windows of the quotas, then packs each window over the workers. A chunk that
/// takes no calls runs in the present window.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a chunk names an unknown quota, a share is impossible, or a
/// chunk needs more calls than a whole window has; as [`pack`].
pub fn schedule(
    chunks: &[Chunk],
    workers: usize,
    quotas: &BTreeMap<String, Quota>,
) -> Result<Schedule> {
    check(chunks, workers)?;
    check_quotas(chunks, quotas)?;
    let mut sorted: Vec<&Chunk> = chunks.iter().collect();
    sorted.sort_by(|a, b| b.cost.cmp(&a.cost).then_with(|| a.id.cmp(&b.id)));
    let mut windows: Vec<(BTreeMap<String, u64>, Vec<&Chunk>)> = Vec::new();
    for chunk in sorted {
        let mut number = 0;
        loop {
            if number as u64 >= WINDOWS_MAX {
                return Err(Error::exhausted(format!(
                    "chunk \"{}\" does not fit into the next {WINDOWS_MAX} windows of its quotas",
                    chunk.id
                ))
                .hint("Raise the share of the quota, or move the rows by another way."));
            }
            if windows.len() == number {
                windows.push((BTreeMap::new(), Vec::new()));
            }
            let Some((used, inside)) = windows.get_mut(number) else { break };
            let fits = chunk.calls.iter().all(|(name, calls)| {
                let left = quotas.get(name).map_or(0, |quota| quota.left(number as u64));
                let used = used.get(name).copied().unwrap_or_default();
                *calls == 0 || used.saturating_add(*calls) <= left
            });
            if fits {
                for (name, calls) in &chunk.calls {
                    *used.entry(name.clone()).or_default() += calls;
                }
                inside.push(chunk);
                break;
            }
            number += 1;
        }
    }
    let windows: Vec<Window> = (0..)
        .zip(windows)
        .filter(|(_, (_, inside))| !inside.is_empty())
        .map(|(number, (calls, inside))| Window {
            number,
            packing: pack_sorted(&inside, workers),
            calls,
        })
        .collect();
    let words = words(&windows, chunks.len(), quotas);
    Ok(Schedule { windows, words })
}

fn check_quotas(chunks: &[Chunk], quotas: &BTreeMap<String, Quota>) -> Result<()> {
    for (name, quota) in quotas {
        if !(0.0..=1.0).contains(&quota.share) {
            return Err(Error::invalid(format!(
                "quota \"{name}\": a share of {} is not possible",
                quota.share
            ))
            .hint("Write a part of the whole from 0 to 1, such as 0.3."));
        }
    }
    for chunk in chunks {
        for (name, calls) in &chunk.calls {
            let Some(quota) = quotas.get(name) else {
                return Err(Error::invalid(format!(
                    "chunk \"{}\" takes calls of the unknown quota \"{name}\"",
                    chunk.id
                ))
                .hint(flywheel_base::suggest::hint(name, quotas.keys().map(String::as_str))));
            };
            if *calls > quota.ours() {
                return Err(Error::invalid(format!(
                    "chunk \"{}\" takes {calls} calls, but {} of quota \"{name}\" are ours in a whole window",
                    chunk.id,
                    quota.ours()
                ))
                .hint("Make the chunk smaller, or raise the share of the quota."));
            }
        }
    }
    Ok(())
}

fn words(windows: &[Window], chunks: usize, quotas: &BTreeMap<String, Quota>) -> Vec<String> {
    let mut words = Vec::new();
    for window in windows {
        let count: usize = window.packing.workers.iter().map(|worker| worker.chunks.len()).sum();
        let when = match window.number {
            0 => "now".to_owned(),
            number => format!("in window {number} after this one"),
        };
        let mut line = format!(
            "{count} of {chunks} chunks run {when} on {} workers; the busiest costs {}, and no packing \
             costs less than {}",
            window.packing.workers.len(),
            window.packing.makespan,
            window.packing.lower_bound
        );
        for (name, calls) in &window.calls {
            let left = quotas.get(name).map_or(0, |quota| quota.left(window.number));
            line.push_str(&format!("; {calls} of the {left} calls of {name} that are ours"));
        }
        words.push(line);
    }
    words
}
