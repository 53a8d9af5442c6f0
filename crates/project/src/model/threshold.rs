//! How many failures a test takes: dbt's `error_if`, `warn_if` and `limit`.

use std::str::FromStr;

use flywheel_base::{Error, Result};

use crate::resource::properties::Severity;

/// When a test fails, and when it warns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Threshold {
    /// Fails if so many rows do; any row if absent.
    pub error_if: Option<Condition>,
    /// Warns if so many rows fail; any row if absent.
    pub warn_if: Option<Condition>,
    /// How many failures are counted at most.
    pub limit: Option<u64>,
}

/// What a number of failures means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The test passes.
    Pass,
    /// It warns.
    Warn,
    /// It fails.
    Fail,
}

/// A comparison with a number of failures: `>10`, `!=0`, `between 1 and 3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    least: u64,
    most: u64,
    /// Whether it holds outside of the range.
    outside: bool,
}

impl Threshold {
    /// What `failures` mean for a test of this severity, as dbt has it: `error` looks at `error_if` and
    /// then at `warn_if`, `warn` at `warn_if` alone.
    #[must_use]
    pub fn verdict(&self, severity: Severity, failures: u64) -> Verdict {
        let failures = self.limit.map_or(failures, |limit| failures.min(limit));
        let holds = |condition: Option<Condition>| match condition {
            Some(condition) => condition.holds(failures),
            None => failures > 0,
        };
        if severity == Severity::Error && holds(self.error_if) {
            Verdict::Fail
        } else if holds(self.warn_if) {
            Verdict::Warn
        } else {
            Verdict::Pass
        }
    }
}

impl Condition {
    fn holds(self, failures: u64) -> bool {
        (self.least <= failures && failures <= self.most) != self.outside
    }
}

impl FromStr for Condition {
    type Err = Error;

    /// Reads a condition.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if it is no comparison with a whole number.
    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid(format!("\"{text}\" is not a comparison with a number of rows"))
                .hint("Write one such as \">10\", \"!=0\" or \"between 1 and 5\".")
        };
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| bad());
        let trimmed = text.trim();
        if let Some(range) = trimmed.to_lowercase().strip_prefix("between ") {
            let (least, most) = range.split_once(" and ").ok_or_else(bad)?;
            return Ok(Self { least: number(least)?, most: number(most)?, outside: false });
        }
        let found = ["!=", "<>", ">=", "<=", "==", ">", "<", "="].into_iter();
        let mut found = found.filter_map(|sign| Some((sign, trimmed.strip_prefix(sign)?)));
        let (sign, rest) = found.next().ok_or_else(bad)?;
        let number = number(rest)?;
        // `<0` holds for no number: what lies outside of all of them.
        let nothing = Self { least: 0, most: u64::MAX, outside: true };
        let between = |least, most| Self { least, most, outside: false };
        Ok(match sign {
            "!=" | "<>" => Self { least: number, most: number, outside: true },
            ">=" => between(number, u64::MAX),
            "<=" => between(0, number),
            ">" => number.checked_add(1).map_or(nothing, |least| between(least, u64::MAX)),
            "<" => number.checked_sub(1).map_or(nothing, |most| between(0, most)),
            _ => between(number, number),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(severity: Severity, error: &str, warn: &str, failures: u64) -> Verdict {
        let read = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        let threshold = Threshold { error_if: read(error), warn_if: read(warn), limit: None };
        threshold.verdict(severity, failures)
    }

    #[test]
    fn thresholds_mean_what_they_mean_in_dbt() {
        use Severity::{Error, Warn};
        use Verdict::{Fail, Pass};
        assert_eq!(verdict(Error, "", "", 0), Pass);
        assert_eq!(verdict(Error, "", "", 1), Fail);
        assert_eq!(verdict(Warn, "", "", 1), Verdict::Warn);
        assert_eq!(verdict(Error, ">10", ">0", 10), Verdict::Warn);
        assert_eq!(verdict(Error, ">10", ">0", 11), Fail);
        assert_eq!(verdict(Error, ">10", ">5", 5), Pass);
        assert_eq!(verdict(Warn, ">1", ">=3", 2), Pass);
        assert_eq!(verdict(Error, "<1", "", 0), Fail, "a test may demand failures");
        assert_eq!(verdict(Error, "= 2", "!=2", 2), Fail);
        assert_eq!(verdict(Error, "between 2 and 3", "<0", 4), Pass);
        let most =
            Threshold { error_if: ">5".parse().ok(), limit: Some(5), ..Threshold::default() };
        assert_eq!(most.verdict(Error, 100), Verdict::Warn);
    }

    #[test]
    fn what_is_no_comparison_is_refused() {
        for text in ["", "10", ">", "> many", ">-1", "between 1", "<> 'x'", "> 1; drop table x"] {
            let error = text.parse::<Condition>().unwrap_err();
            assert!(error.hint_text().unwrap().contains(">10"), "{text}");
        }
    }
}
