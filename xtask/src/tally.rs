//! Counts of what passed and failed, and the closing line.

/// What passed and failed so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// How many tests and checks passed.
    pub(crate) passed: u64,
    /// How many failed.
    pub(crate) failed: u64,
    /// How many were not run; the suite has none, so each is reported.
    pub(crate) ignored: u64,
    /// The names of what failed.
    pub(crate) failures: Vec<String>,
    /// Every check in its order; test programs' are counted only.
    pub(crate) checks: Vec<Check>,
}

/// One check: what, and the figure with its goal if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// Its name.
    pub(crate) name: String,
    /// The figure that was reached.
    pub(crate) reached: String,
    /// What it must be.
    pub(crate) goal: String,
    /// Whether it is.
    pub(crate) holds: bool,
}

impl Tally {
    /// Takes a line of a test program's output into account.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += count(counts, "passed");
            self.failed += count(counts, "failed");
            self.ignored += count(counts, "ignored");
        } else if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        }
    }

    /// Records one check that is not a test program's.
    pub(crate) fn record(&mut self, name: &str, passed: bool) {
        self.record_figure(name, "", "", passed);
    }

    /// Records a figure beside its goal.
    pub(crate) fn record_figure(&mut self, name: &str, reached: &str, goal: &str, passed: bool) {
        let (name, reached, goal) = (name.to_owned(), reached.to_owned(), goal.to_owned());
        self.checks.push(Check { name: name.clone(), reached, goal, holds: passed });
        if passed {
            self.passed += 1;
        } else {
            self.failed += 1;
            self.failures.push(name);
        }
    }

    /// Adds another tally.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.failures.extend(other.failures);
        self.checks.extend(other.checks);
    }

    /// Prints what failed and the closing line; whether all passed.
    pub(crate) fn close(&self) -> bool {
        if !self.failures.is_empty() {
            println!("\nfailed:");
            for name in &self.failures {
                println!("  {name}");
            }
        }
        if self.ignored > 0 {
            println!("\n{} tests are ignored; the suite must have none", self.ignored);
        }
        println!("\n{} passed, {} failed", self.passed, self.failed);
        self.failed == 0 && self.ignored == 0
    }
}

/// The number before `word` in `ok. 12 passed; 0 failed; …`.
fn count(counts: &str, word: &str) -> u64 {
    let before = counts.split(word).next().unwrap_or_default();
    let number = before.trim_end().rsplit(' ').next().unwrap_or_default();
    number.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_several_test_programs_are_added() {
        let mut tally = Tally::default();
        for line in [
            "test forecast::holt_is_exact ... ok",
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.01s",
            "test sync::late_file_is_read ... FAILED",
            "test result: FAILED. 7 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ] {
            tally.read(line);
        }
        let failures = vec!["sync::late_file_is_read".to_owned()];
        assert_eq!(
            tally,
            Tally { passed: 19, failed: 1, ignored: 2, failures, ..Tally::default() }
        );
        assert!(!tally.close());
    }

    #[test]
    fn an_ignored_test_does_not_count_as_success() {
        assert!(!Tally { passed: 3, ignored: 1, ..Tally::default() }.close());
    }
}
