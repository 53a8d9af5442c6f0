//! `cargo xtask torture N`: syncs on a real server are killed N times (`kill -9`) while the tables
//! change; nothing may be lost and nothing doubled.
//!
//! Half of the kills come at seeded random moments, half at the sight of a commit: a new file in
//! the lake table or its log, or an open transaction that writes into the target. Where a kill fell
//! is told by what it left. Every few kills the work is
//! left alone to resume, and source and target are compared by checksum. After each kill it is also counted how many of
//! the rows that had been read have to be read again.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use flywheel_testkit::Postgres;

use self::work::{Hit, Sight, Work, works};
use super::bench::goal::{at_least, at_most, equal};
use super::kill::Moments;
use crate::binary::Flywheel;
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, figures};

mod work;

/// `cargo xtask torture`.
pub(crate) const COMMAND: super::Command = super::Command {
    name: "torture",
    arguments: "[N] [--seed N]",
    about: "kill syncs on a real server N times (200) and compare source and target",
    run: |context, arguments| {
        let seed = super::number_after(arguments, "--seed", super::kill::SEED)?;
        let wanted = match arguments.first() {
            Some(first) if first != "--seed" => {
                first.parse().map_err(|_| format!("torture takes a number, not \"{first}\""))?
            }
            _ => KILLS_DEFAULT,
        };
        Ok(torture(context, wanted, seed)?.close())
    },
};

/// How often a process is killed unless told otherwise, over all works.
const KILLS_DEFAULT: u64 = 200;

/// After how many kills a work is left alone and compared.
const KILLS_BETWEEN: u64 = 5;

/// How many starts there may be for each kill; a process can end before its moment comes.
const STARTS_PER_KILL: u64 = 4;

/// How much longer than an undisturbed start a resumed one may take, in seconds.
const RESUME_MORE_MAX_S: f64 = 2.0;

/// The least share of the kills that fall inside a commit.
const INSIDE_SHARE_MIN: f64 = 0.25;

/// How often a commit is looked for.
const LOOK_EVERY: Duration = Duration::from_micros(100);

/// The longest time from the first sight of a commit to the kill; at the last one it comes at once.
const AFTER_SIGHT_MAX_S: f64 = 0.005;

/// What happened to one work.
#[derive(Default)]
struct Storm {
    kills: u64,
    /// How many of the kills fell where.
    hits: BTreeMap<Hit, u64>,
    comparisons: u64,
    lost: u64,
    doubled: u64,
    other: u64,
    calm_s: Vec<f64>,
    resumed_s: Vec<f64>,
    /// Rows that are read again after a kill; for works that tell it only together, after the kills before a comparison.
    read_again: Vec<u64>,
}

impl Storm {
    fn inside(&self) -> u64 {
        self.hits.iter().filter(|(hit, _)| hit.inside()).map(|(_, kills)| kills).sum()
    }
}

/// Kills all works in turn, `wanted` times together.
fn torture(context: &Context, wanted: u64, seed: u64) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let folder = context.scratch("torture")?;
    let server = Postgres::start_with(&[
        "shared_buffers=512MB",
        "max_wal_size=4GB",
        "max_replication_slots=8",
    ]);
    println!("torture: {wanted} kills, seed {seed}");
    let mut tally = Tally::default();
    let mut rows = vec![
        [
            "work",
            "kills",
            "inside a commit",
            "compared",
            "lost",
            "doubled",
            "other",
            "calm s",
            "resumed s",
            "read again",
            "one chunk a worker",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let mut moments = Moments { state: seed, life_max_s: 1.0 };
    let works = works(&flywheel, &folder, &server)?;
    let count = works.len() as u64;
    let mut places = Vec::new();
    for (number, work) in works.iter().enumerate() {
        let share = wanted / count + u64::from((number as u64) < wanted % count);
        let storm = storm(work, share, &mut moments)?;
        let inside = storm.inside();
        println!("{}: {} kills, {inside} of them inside a commit", work.name(), storm.kills);
        places.push((work.name(), storm.hits));
        let name = work.name();
        equal(&mut tally, &format!("{name}: kills"), &storm.kills.to_string(), &share.to_string());
        at_most(&mut tally, &format!("{name}: rows lost"), storm.lost as f64, 0.0);
        at_most(&mut tally, &format!("{name}: rows doubled"), storm.doubled as f64, 0.0);
        at_most(
            &mut tally,
            &format!("{name}: comparisons that differ otherwise"),
            storm.other as f64,
            0.0,
        );
        let calm = figures::median(&storm.calm_s).unwrap_or(0.0);
        let resumed = figures::median(&storm.resumed_s).unwrap_or(f64::INFINITY);
        let slowest = storm.resumed_s.iter().copied().fold(0.0, f64::max);
        let more = format!("{name}: seconds that the slowest resumed start takes longer");
        at_most(&mut tally, &more, slowest - calm, RESUME_MORE_MAX_S);
        // Without a kill that is measured nothing is known, and nothing holds.
        let again = storm.read_again.iter().max().copied();
        let chunks = work.chunks_rows();
        at_most(
            &mut tally,
            &format!("{name}: rows read again after a kill, one chunk for each worker"),
            again.map_or(f64::INFINITY, |again| again as f64),
            chunks as f64,
        );
        let numbers =
            [storm.kills, inside, storm.comparisons, storm.lost, storm.doubled, storm.other];
        let mut row = vec![name.to_owned()];
        row.extend(numbers.map(|number| number.to_string()));
        row.extend([format!("{calm:.2}"), format!("{resumed:.2}")]);
        row.extend([
            again.map_or_else(|| "?".to_owned(), |again| again.to_string()),
            chunks.to_string(),
        ]);
        rows.push(row);
    }
    println!("\n{}", figures::table(&rows));
    judge_places(&mut tally, &places);
    Ok(tally)
}

/// Prints how many kills of each work fell where, and judges how many of all fell inside a commit.
fn judge_places(tally: &mut Tally, works: &[(&str, BTreeMap<Hit, u64>)]) {
    println!("{}", figures::table(&places(works)));
    let all = works.iter().flat_map(|(_, hits)| hits);
    let kills: u64 = all.clone().map(|(_, kills)| kills).sum();
    let inside: u64 = all.filter(|(hit, _)| hit.inside()).map(|(_, kills)| kills).sum();
    let share = inside as f64 / kills.max(1) as f64;
    at_least(tally, "share of the kills that fell inside a commit", share, INSIDE_SHARE_MIN);
}

/// One row for each place where a kill can fall, one column for each work and one for all.
fn places(works: &[(&str, BTreeMap<Hit, u64>)]) -> Vec<Vec<String>> {
    let mut heading = vec!["where the kill fell".to_owned()];
    heading.extend(works.iter().map(|(name, _)| (*name).to_owned()));
    heading.push("all".to_owned());
    let mut rows = vec![heading];
    for hit in Hit::ALL {
        let kills = works.iter().map(|(_, hits)| hits.get(&hit).copied().unwrap_or(0));
        let mut row = vec![hit.name().to_owned()];
        row.extend(kills.clone().map(|kills| kills.to_string()));
        row.push(kills.sum::<u64>().to_string());
        rows.push(row);
    }
    rows
}

/// What the work is killed at, start by start; none is a random moment.
fn sight(start: u64) -> Option<Sight> {
    match start % 4 {
        0 => Some(Sight::First),
        2 => Some(Sight::Last),
        _ => None,
    }
}

/// Kills one work until its share is spent.
fn storm(work: &Work<'_>, wanted: u64, moments: &mut Moments) -> Result<Storm> {
    let mut storm = Storm::default();
    work.finish()?;
    calm(work, &mut storm)?;
    let mut starts = 0;
    while storm.kills < wanted && starts < wanted * STARTS_PER_KILL {
        work.change(starts)?;
        let sight = sight(starts);
        starts += 1;
        let before = storm.kills;
        disturb(work, sight, moments, &mut storm)?;
        let due =
            storm.kills > before && (storm.kills % KILLS_BETWEEN == 0 || storm.kills == wanted);
        if due {
            let started = Instant::now();
            work.finish()?;
            storm.resumed_s.push(started.elapsed().as_secs_f64());
            storm.read_again.extend(work.resumed_rows()?);
            compare(work, &mut storm)?;
            calm(work, &mut storm)?;
        }
    }
    Ok(storm)
}

/// Changes the source once and lets the work take it over undisturbed.
fn calm(work: &Work<'_>, storm: &mut Storm) -> Result<()> {
    work.change(storm.comparisons)?;
    let started = Instant::now();
    work.finish()?;
    storm.calm_s.push(started.elapsed().as_secs_f64());
    compare(work, storm)
}

/// Starts the work and kills it.
fn disturb(
    work: &Work<'_>,
    sight: Option<Sight>,
    moments: &mut Moments,
    storm: &mut Storm,
) -> Result<()> {
    let life_s = figures::median(&storm.calm_s).unwrap_or(1.0);
    let mark = work.mark();
    let before = work.place()?;
    let mut child = work.command().stdout(std::process::Stdio::null()).spawn()?;
    let mut seen = None;
    if let Some(sight) = sight {
        while child.try_wait()?.is_none() && seen.is_none() {
            seen = work.look(sight, &mark);
            if seen.is_none() {
                thread::sleep(LOOK_EVERY);
            }
        }
    }
    moments.life_max_s = if sight.is_some() { AFTER_SIGHT_MAX_S } else { life_s };
    let pause = moments.next();
    if sight != Some(Sight::Last) {
        thread::sleep(pause);
    }
    if sight.is_none() {
        seen = work.glance();
    }
    let runs = child.try_wait()?.is_none();
    let unread = work.unread_rows();
    if runs {
        child.kill()?;
    }
    // One that came to its end by itself meanwhile was not killed.
    let killed = child.wait()?.code().is_none();
    if !(runs && killed) {
        return Ok(());
    }
    storm.kills += 1;
    *storm.hits.entry(work.hit(&mark, seen.as_ref())?).or_default() += 1;
    if let (Some(before), Some(after)) = (before, work.place()?) {
        storm.read_again.push(before.read_again(&after, unread));
    }
    Ok(())
}

/// Counts what the target lacks and what it has twice.
fn compare(work: &Work<'_>, storm: &mut Storm) -> Result<()> {
    let (source, target) = (work.source()?, work.target()?);
    storm.comparisons += 1;
    storm.lost += source.rows.saturating_sub(target.keys);
    storm.doubled += target.rows.saturating_sub(target.keys);
    if source.checksum != target.checksum {
        println!("{}: \"{}\" instead of \"{}\"", work.name(), target.checksum, source.checksum);
        storm.other += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_starts_are_killed_at_the_sight_of_a_commit() {
        let sights: Vec<_> = (0..4).map(sight).collect();
        assert_eq!(sights, [Some(Sight::First), None, Some(Sight::Last), None]);
    }

    #[test]
    fn kills_outside_of_commits_do_not_hold() {
        let hits = |inside: u64, outside: u64| {
            BTreeMap::from([(Hit::Unnamed, inside), (Hit::Outside, outside)])
        };
        let mut tally = Tally::default();
        judge_places(&mut tally, &[("copy", hits(1, 5)), ("merge", hits(1, 1))]);
        assert_eq!((tally.passed, tally.failed), (1, 0), "2 of 8 are a quarter");
        judge_places(&mut tally, &[("copy", hits(1, 5)), ("merge", hits(1, 2))]);
        judge_places(&mut tally, &[]);
        assert_eq!((tally.passed, tally.failed), (1, 2));
        let rows = places(&[("copy", hits(1, 5)), ("merge", hits(2, 0))]);
        assert_eq!(rows.last().unwrap(), &["outside of a commit", "5", "0", "5"]);
    }
}
