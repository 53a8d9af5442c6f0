//! `cargo xtask kill`: `kill -9` at random moments loses nothing and doubles nothing: of `turn`, and of a server under
//! load ([`serve`]), also one that keeps schedules ([`schedule`]).
//!
//! A demo gives the inputs of thirty days. They are replayed once undisturbed, and again while the
//! process is killed at seeded random moments and started anew until it ends. Then both projects
//! must hold the same rows. If a replay ends before all kills are spent, another one begins.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::binary::Flywheel;
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, process};

use super::demo_check;

mod rows;
mod schedule;
mod serve;

/// `cargo xtask kill`.
pub(crate) const COMMAND: super::Command = super::Command {
    name: "kill",
    arguments: "[serve N | schedule N] [--kills N] [--seed N]",
    about: "kill a replay of the demo N times (100), a server under load (200) or with schedules (100), and compare",
    run: |context, arguments| {
        let seed = super::number_after(arguments, "--seed", SEED)?;
        let first = arguments.first().map_or("", String::as_str);
        for (name, default, kills) in SERVERS {
            if first != *name {
                continue;
            }
            let wanted = match arguments.get(1).filter(|word| !word.starts_with("--")) {
                Some(_) => super::number_after(arguments, name, *default)?,
                None => super::number_after(arguments, "--kills", *default)?,
            };
            return Ok(kills(context, wanted, seed)?.close());
        }
        let kills_wanted = super::number_after(arguments, "--kills", KILLS_DEFAULT)?;
        Ok(kills(context, kills_wanted, seed)?.close())
    },
};

/// Kills so often, at moments that follow from a seed, and compares.
type Kills = fn(&Context, u64, u64) -> Result<Tally>;

/// Kills of servers: what they are called, how many there are unless told otherwise, and what does it.
const SERVERS: &[(&str, u64, Kills)] = &[
    ("serve", serve::KILLS_DEFAULT, serve::kills),
    ("schedule", schedule::KILLS_DEFAULT, schedule::kills),
];

/// The seed of the moments.
pub(crate) const SEED: u64 = 7;

/// How often the process is killed unless told otherwise.
const KILLS_DEFAULT: u64 = 100;

/// A killed process lives for at most this share of an undisturbed replay, so that one replay meets
/// many kills and still moves on.
const LIFE_SHARE: f64 = 0.1;

/// What a replay makes anew: our own folder, and what file actions write.
const MADE: &[&str] = &[".flywheel", DELIVERED];

/// Where the file actions of the templates write.
const DELIVERED: &str = "out";

/// Kills a server under load `wanted` times and compares.
pub(crate) fn servers(context: &Context, wanted: u64) -> Result<Tally> {
    serve::kills(context, wanted, SEED)
}

/// Kills a server that keeps schedules `wanted` times and compares.
pub(crate) fn schedules(context: &Context, wanted: u64) -> Result<Tally> {
    schedule::kills(context, wanted, SEED)
}

/// Kills a replay of the demo `wanted` times and compares.
pub(crate) fn kills(context: &Context, wanted: u64, seed: u64) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let folder = context.scratch("kill")?;
    let demo = folder.join("demo");
    process::run(&mut flywheel.demo(&demo, demo_check::SEED, demo_check::DAYS))?;
    let calm = Replay::new(&flywheel, &demo, &folder.join("calm"))?;
    let started = Instant::now();
    process::run(&mut calm.command())?;
    let calm_s = started.elapsed().as_secs_f64();
    println!("kill: an undisturbed replay takes {calm_s:.1} s; seed {seed}");
    let mut tally = Tally::default();
    let mut moments = Moments { state: seed, life_max_s: calm_s * LIFE_SHARE };
    let (mut done, mut round) = (0, 0);
    while done < wanted {
        round += 1;
        let stormy = Replay::new(&flywheel, &demo, &folder.join(format!("stormy-{round}")))?;
        done += storm(&stormy, &mut moments, wanted - done)?;
        println!("kill: replay {round} has ended; {done} of {wanted} kills");
        compare(&flywheel, &calm.project, &stormy.project, round, &mut tally)?;
        fs::remove_dir_all(&stormy.project)?;
    }
    tally.record(&format!("kill: {wanted} kills"), done == wanted);
    Ok(tally)
}

/// A project that holds the demo's inputs and nothing that was made from them, and their days.
struct Replay<'a> {
    flywheel: &'a Flywheel,
    project: PathBuf,
    days: String,
}

impl<'a> Replay<'a> {
    fn new(flywheel: &'a Flywheel, demo: &Path, project: &Path) -> Result<Self> {
        let day = |which: &str| {
            let query = format!(
                "select cast({which}(logical_at) as date) from system.runs where turn is not null"
            );
            flywheel.value(demo, &query)
        };
        let days = format!("{}..{}", day("min")?, day("max")?);
        copy(demo, project)?;
        Ok(Self { flywheel, project: project.to_owned(), days })
    }

    fn command(&self) -> std::process::Command {
        self.flywheel.on(&self.project, &["turn", "--replay", &self.days])
    }
}

/// Replays until the end and kills on the way; how many kills hit a living process.
fn storm(replay: &Replay<'_>, moments: &mut Moments, kills_max: u64) -> Result<u64> {
    let start = || replay.command().stdout(std::process::Stdio::null()).spawn();
    for kills in 0..kills_max {
        let mut child = start()?;
        thread::sleep(moments.next());
        if let Some(status) = child.try_wait()? {
            return finished(status).map(|()| kills);
        }
        child.kill()?;
        child.wait()?;
    }
    finished(start()?.wait()?).map(|()| kills_max)
}

fn finished(status: std::process::ExitStatus) -> Result<()> {
    if status.success() {
        Ok(())
    } else {
        Err(format!("`flywheel turn --replay` ended with {status} after a kill").into())
    }
}

/// Every table of the calm project and of the stormy one, apart from what tells of the kills
/// themselves, and every line that left through a file action.
fn compare(
    flywheel: &Flywheel,
    calm: &Path,
    stormy: &Path,
    round: u64,
    tally: &mut Tally,
) -> Result<()> {
    for query in rows::queries(flywheel, calm)? {
        let read = |project| rows::read(flywheel, project, &query.sql);
        let name = format!("kill: replay {round}: {}", query.name);
        judge(&name, &read(calm)?, &read(stormy)?, tally);
    }
    let delivered = |project: &Path| rows::lines_below(&project.join(DELIVERED));
    let name = format!("kill: replay {round}: delivered lines");
    judge(&name, &delivered(calm)?, &delivered(stormy)?, tally);
    Ok(())
}

/// Records whether two lists of rows are the same.
fn judge(what: &str, wanted: &[String], found: &[String], tally: &mut Tally) {
    let difference = rows::difference(wanted, found);
    let name = format!("{what} ({} rows)", wanted.len());
    println!("{name}: {} lost, {} doubled or other", difference.lost, difference.added);
    if let Some(example) = &difference.example {
        println!("  such as {example}");
    }
    tally.record(&name, difference.lost == 0 && difference.added == 0);
}

/// Copies a folder without what a replay makes.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if MADE.iter().any(|made| entry.file_name() == *made) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Random moments, the same for the same seed (SplitMix64).
pub(super) struct Moments {
    /// The seed, and what became of it.
    pub(super) state: u64,
    /// The longest time until a moment.
    pub(super) life_max_s: f64,
}

impl Moments {
    /// The time until the next one.
    pub(super) fn next(&mut self) -> Duration {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
        Duration::from_secs_f64(share * self.life_max_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_repeat_with_their_seed_and_stay_within_a_life() {
        let list = |seed| {
            let mut moments = Moments { state: seed, life_max_s: 2.0 };
            (0..100).map(|_| moments.next()).collect::<Vec<_>>()
        };
        assert_eq!(list(7), list(7));
        assert_ne!(list(7), list(8));
        let mean = list(7).iter().map(Duration::as_secs_f64).sum::<f64>() / 100.0;
        assert!((0.8..1.2).contains(&mean), "{mean}");
    }

    #[test]
    fn a_copy_leaves_out_what_a_replay_makes() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("b"));
        fs::create_dir_all(from.join(".flywheel/lake")).unwrap();
        fs::create_dir_all(from.join("syncs")).unwrap();
        fs::write(from.join("syncs/orders.yaml"), "sync: orders").unwrap();
        fs::create_dir_all(from.join("out")).unwrap();
        copy(&from, &to).unwrap();
        assert!(to.join("syncs/orders.yaml").is_file());
        assert!(!to.join(".flywheel").exists() && !to.join("out").exists());
    }
}
