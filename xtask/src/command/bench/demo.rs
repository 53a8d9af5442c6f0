//! The demo: time, memory, the same results twice, and how soon its pages show a wheel that has turned.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::goal::at_most;
use crate::binary::Flywheel;
use crate::client::{Client, Server, parsed, request};
use crate::command::demo_check::{self, DAYS, SEED};
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, process};

/// Seconds that a demo may take to its end, and from its start until its ring shows [`TURNS_MIN`] turns with a lift.
const SECONDS_MAX: f64 = 60.0;

/// Turns with a measured lift that the ring must show.
const TURNS_MIN: usize = 3;

/// How long a ring that shows fewer turns is asked again, and how long is waited in between.
const ASKED_FOR: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);

/// Runs the demo twice with one seed, and once more as a newcomer does, with its pages.
pub(super) fn run(context: &Context) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let (mut tally, seconds) = demo_check::twice(context, &flywheel)?;
    for (run, seconds) in ["first", "second"].into_iter().zip(seconds) {
        at_most(&mut tally, &format!("demo: {run} run, s"), seconds, SECONDS_MAX);
    }
    let seconds = until_the_ring_has_turned(context, &flywheel)?;
    let what = format!("demo: from the start until the ring shows {TURNS_MIN} turns with lift, s");
    at_most(&mut tally, &what, seconds, SECONDS_MAX);
    Ok(tally)
}

/// Seconds from the start of the program until its API shows enough turns with a lift; infinite if it never does.
fn until_the_ring_has_turned(context: &Context, flywheel: &Flywheel) -> Result<f64> {
    let folder = context.scratch("demo-served")?;
    let (seed, days) = (SEED.to_string(), DAYS.to_string());
    let mut command = flywheel.call(&["demo", "--seed", &seed, "--days", &days]);
    command.args(["--listen", "127.0.0.1:0", "--dir"]).arg(folder.join("shop"));
    println!("{}", process::shown(&command));
    let started = Instant::now();
    let server = Server::start_of(command)?;
    println!("demo: its pages answer after {:.1} s", started.elapsed().as_secs_f64());
    let token = server.token(&["view"])?;
    let asked = request(&server.address, "GET", "/v1/status", &token, "");
    let mut client = Client::connect(&server.address)?;
    let mut turns = 0;
    while started.elapsed() < ASKED_FOR {
        let (status, answer) = client.ask(&asked)?;
        turns = lifted(&parsed("/v1/status", status, &answer)?);
        if turns >= TURNS_MIN {
            println!("demo: the ring shows {turns} turns with a lift");
            return Ok(started.elapsed().as_secs_f64());
        }
        std::thread::sleep(LOOK);
    }
    println!("demo: the ring shows only {turns} turns with a lift");
    Ok(f64::INFINITY)
}

/// Turns of any policy in which a lift was measured.
fn lifted(status: &Value) -> usize {
    let of = |value: &Value, key: &str| {
        value.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let turns = of(status, "policies").into_iter().flat_map(|policy| of(&policy, "turns"));
    let lifted = turns.filter(|turn| turn.get("lift").is_some_and(Value::is_number));
    let numbers = lifted.filter_map(|turn| turn.get("turn").and_then(Value::as_i64));
    numbers.collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_turn_counts_once_and_only_with_a_lift() {
        let turn = |turn: i64, lift: Option<f64>| json!({"turn": turn, "lift": lift});
        let status = json!({"policies": [
            {"policy": "a", "turns": [turn(1, None), turn(2, Some(0.1)), turn(3, Some(-0.1))]},
            {"policy": "b", "turns": [turn(3, Some(0.2)), turn(4, None)]},
        ]});
        assert_eq!(lifted(&status), 2);
        assert_eq!((lifted(&json!({"policies": []})), lifted(&json!({}))), (0, 0));
    }
}
