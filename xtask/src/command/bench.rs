//! `cargo xtask bench NAME`: the figures of the README, each with what it is compared with.
//!
//! A new bench is one file in `bench/` and one line in [`BENCHES`].

mod demo;
mod online_retail;
mod pg_copy;
mod replay;
mod seeds;

use crate::Result;
use crate::context::Context;
use crate::tally::Tally;

/// `cargo xtask bench`.
pub(crate) const COMMAND: super::Command = super::Command {
    name: "bench",
    arguments: "[NAME]",
    about: "run a bench; without a name: list them",
    run,
};

/// One bench.
struct Bench {
    name: &'static str,
    about: &'static str,
    run: fn(&Context) -> Result<Tally>,
}

/// Every bench.
const BENCHES: &[Bench] = &[
    Bench {
        name: "seeds",
        about: "the published numbers: expected, ours, difference",
        run: seeds::run,
    },
    Bench {
        name: "online-retail",
        about: "recommendation quality on real history beside popularity and implicit's ALS",
        run: online_retail::run,
    },
    Bench {
        name: "replay",
        about: "305 days of real history turn by turn: exact counts, time per turn, memory",
        run: replay::run,
    },
    Bench {
        name: "pg-copy",
        about: "five million rows out of PostgreSQL, beside dlt and Sling",
        run: pg_copy::run,
    },
    Bench { name: "demo", about: "the demo twice: time, memory, equal results", run: demo::run },
];

fn run(context: &Context, arguments: &[String]) -> Result<bool> {
    match arguments {
        [] => {
            for Bench { name, about, .. } in BENCHES {
                println!("{name:<16} {about}");
            }
            Ok(true)
        }
        [name] => run_one(context, name),
        _ => Err("bench takes one name".into()),
    }
}

/// Runs one bench and closes its tally.
pub(crate) fn run_one(context: &Context, name: &str) -> Result<bool> {
    let bench = BENCHES.iter().find(|bench| bench.name == name);
    let bench = bench
        .ok_or_else(|| format!("there is no bench \"{name}\"; `cargo xtask bench` lists them"))?;
    Ok((bench.run)(context)?.close())
}
