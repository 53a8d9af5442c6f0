//! Which connectors are certified, and by what: a connector that is added has to be told here.
//!
//! Most are held to the promises of their seam by the suite that runs over its whole list; some destinations by tests
//! of their own, which [`OWN`] names for each promise.

use std::path::Path;

use self::Held::{Absent, Own, Suite, WithDriver};
use crate::destination::DESTINATIONS;
use crate::destination::contract::case::{OWN, PROGRAMS};
use crate::destination::contract::covered;
use crate::source::SOURCES;
use crate::source::contract::{built, reachable};

/// How a connector is held to what its seam promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// The suite runs over it in every build.
    Suite,
    /// The suite runs over it where its driver is built in: `cargo xtask test --drivers`.
    WithDriver,
    /// By tests of its own.
    Own,
    /// There is none of this kind.
    Absent,
}

/// Every connector with what holds its source and its destination, in the order of the lists.
const CERTIFIED: [(&str, Held, Held); 18] = [
    ("csv", Suite, Suite),
    ("jsonl", Suite, Suite),
    ("parquet", Suite, Suite),
    ("avro", Suite, Suite),
    ("excel", Suite, Suite),
    ("sqlite", Suite, Suite),
    ("mysql", Suite, Own),
    ("postgres", Suite, Own),
    ("odbc", WithDriver, WithDriver),
    ("adbc", WithDriver, Absent),
    ("kafka", Suite, Own),
    ("journal", Suite, Suite),
    ("rest", Suite, Own),
    ("hubspot", Suite, Own),
    ("salesforce", Suite, Own),
    ("singer", Suite, Suite),
    ("airbyte", Suite, Suite),
    ("program", Suite, Suite),
];

/// The fewest connectors that are certified in every build, of each kind.
const CERTIFIED_MIN: usize = 14;

/// What is told of one kind of connector: the names that there are, with what holds them.
fn told(held: impl Fn(&(&'static str, Held, Held)) -> Held) -> Vec<(&'static str, Held)> {
    let all = CERTIFIED.iter().map(|line| (line.0, held(line)));
    all.filter(|(_, held)| *held != Absent).collect()
}

fn names(told: &[(&'static str, Held)]) -> Vec<&'static str> {
    told.iter().map(|(name, _)| *name).collect()
}

#[test]
fn every_source_is_certified_by_the_suite() {
    let told = told(|line| line.1);
    let listed: Vec<&str> = SOURCES.iter().map(|entry| entry.name).collect();
    assert_eq!(names(&told), listed, "a source is missing in CERTIFIED, or is no more");
    let suite: Vec<&str> = built().map(|entry| entry.name).collect();
    for (name, held) in &told {
        match held {
            Suite => assert!(suite.contains(name), "the suite leaves out the source {name}"),
            WithDriver => assert_eq!(suite.contains(name), reachable(name), "{name}"),
            Own | Absent => panic!("every source is held by the suite, {name} as well"),
        }
    }
    let certified = told.iter().filter(|(_, held)| *held == Suite).count();
    assert!(certified >= CERTIFIED_MIN, "only {certified} sources are certified");
}

#[test]
fn every_destination_is_certified_by_the_suite_or_by_tests_that_are_there() {
    let told = told(|line| line.2);
    let listed: Vec<&str> = DESTINATIONS.iter().map(|entry| entry.name).collect();
    assert_eq!(names(&told), listed, "a destination is missing in CERTIFIED, or is no more");
    let suite: Vec<&str> = covered().map(|entry| entry.name).collect();
    for (name, held) in &told {
        let own = OWN.iter().find(|own| own.name == *name);
        match held {
            // The suite says loudly that it leaves out a program if there is no Python.
            Suite if PROGRAMS.contains(name) => assert!(own.is_none(), "{name}"),
            Suite => assert!(suite.contains(name), "the suite leaves out the destination {name}"),
            WithDriver => assert_eq!(suite.contains(name), reachable(name), "{name}"),
            Own => {
                let own = own.unwrap_or_else(|| panic!("OWN names no tests of {name}"));
                let text = sources_below(name);
                for test in [own.arrives, own.once, own.refuses] {
                    let there = text.contains(&format!("#[tokio::test]\nasync fn {test}("));
                    assert!(there, "the destination {name} has no test \"{test}\" any more");
                }
            }
            Absent => panic!("{name} was left out above"),
        }
    }
    assert!(OWN.iter().all(|own| told.contains(&(own.name, Own))), "OWN names what is no Own");
    let certified = told.iter().filter(|(_, held)| matches!(held, Suite | Own)).count();
    assert!(certified >= CERTIFIED_MIN, "only {certified} destinations are certified");
}

/// The text of all files below the folder of a destination.
fn sources_below(name: &str) -> String {
    let mut text = String::new();
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/destination").join(name)];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                text.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    text
}
