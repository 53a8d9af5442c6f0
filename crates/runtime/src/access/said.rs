//! What runs and tasks said, for readers from whom rules hide something.
//!
//! The text of an error may quote a value of any row that was read, and nobody knows which rows these were. So whoever
//! does not see all of some protected table learns what failed, where and when, and not what it said.

use flywheel_base::{Error, ErrorKind, QuotaExceeded};
use flywheel_project::Project;
use flywheel_project::resource::rule::Rule;
use serde_json::Value;

use super::{Part, Reading, own, parts};

/// What stands in the place of a text that is withheld.
pub const WITHHELD: &str =
    "The text is withheld, as rules hide rows from you; ask somebody who sees them";

/// How much of what runs and tasks said somebody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Every word.
    Whole,
    /// That something was said, and where.
    Withheld,
}

impl Said {
    /// The text of an error, or what stands in its place.
    #[must_use]
    pub fn text(self, text: impl Into<String>) -> String {
        match self {
            Self::Whole => text.into(),
            Self::Withheld => WITHHELD.to_owned(),
        }
    }

    /// As [`Said::text`], of what may have said nothing.
    #[must_use]
    pub fn of(self, text: Option<String>) -> Option<String> {
        text.map(|text| self.text(text))
    }

    /// A line of a log. One of an error begins with what failed, as [`crate::run_log::said`] writes it; what else is no
    /// mere information may begin with anything.
    #[must_use]
    pub fn line(self, level: &str, text: String) -> String {
        match (self, level) {
            (Self::Whole, _) | (Self::Withheld, "info") => text,
            (Self::Withheld, "error") => match text.split_once(": ") {
                Some((failed, _)) => format!("{failed}: {WITHHELD}"),
                None => WITHHELD.to_owned(),
            },
            (Self::Withheld, _) => WITHHELD.to_owned(),
        }
    }

    /// What is told of an event: its texts as those of a log's line, if it has a level, and no hint.
    #[must_use]
    pub fn event(self, data: &Value) -> Value {
        let mut data = data.clone();
        if self == Self::Whole {
            return data;
        }
        if let Value::Object(object) = &mut data {
            let level = object.get("level").and_then(Value::as_str).map(str::to_owned);
            for (key, value) in object.iter_mut() {
                *value = match (key.as_str(), value.take()) {
                    ("hint", _) => Value::Null,
                    ("error" | "text", Value::String(text)) => Value::String(match &level {
                        Some(level) => self.line(level, text),
                        None => self.text(text),
                    }),
                    (_, other) => other,
                };
            }
        }
        data
    }

    /// The error of something that was done on the project's own behalf for whoever asked; `what` is what could not be
    /// done. What only says that the question does not fit is told to everybody.
    #[must_use]
    pub fn error(self, error: Error, what: &str) -> Error {
        let told = matches!(
            error.kind(),
            ErrorKind::NotFound
                | ErrorKind::Denied
                | ErrorKind::Conflict
                | ErrorKind::Unavailable
                | ErrorKind::Blocked
        );
        match self {
            Self::Withheld if !told => match QuotaExceeded::of(&error) {
                // It says what the reader may take, and nothing of rows.
                Some(exceeded) => exceeded.clone().into(),
                None => Error::new(error.kind(), format!("{what} failed, and why is not for you"))
                    .hint("Rules hide rows from you, and the error may quote one: ask somebody who sees them."),
            },
            _ => error,
        }
    }
}

impl Reading {
    /// How much of what runs and tasks said the reader is told: every word, unless a rule that does not clear the logs of
    /// runs hides something from them, or tables are closed to them but for what is granted.
    #[must_use]
    pub fn said(&self, project: &Project) -> Said {
        let rules: Vec<&Rule> = project.rules.values().map(|rule| &rule.value).collect();
        let hides = |part: &Part<'_>| part.limits() && !own::clears_runs(part.rule);
        let granted = self.granted(project);
        let closed = granted.is_some_and(|granted| granted.closes_tables());
        match closed || parts(&rules, &self.readers()).iter().any(hides) {
            true => Said::Withheld,
            false => Said::Whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_failed_is_told_and_not_what_it_said() {
        let line = "build models failed in 3 ms: error: cannot cast 'a: b@x.example'".to_owned();
        let cut = format!("build models failed in 3 ms: {WITHHELD}");
        assert_eq!(Said::Withheld.line("error", line.clone()), cut);
        assert_eq!(Said::Whole.line("error", line.clone()), line);
        assert_eq!(Said::Withheld.line("warn", line.clone()), WITHHELD);
        assert_eq!(Said::Withheld.line("error", "b@x.example".to_owned()), WITHHELD);
        assert_eq!(
            Said::Withheld.line("info", "sync s.people: began".to_owned()),
            "sync s.people: began"
        );
        assert_eq!(Said::Withheld.of(Some(line.clone())).as_deref(), Some(WITHHELD));
        assert_eq!(Said::Withheld.of(None), None);
        assert_eq!(Said::Whole.of(Some(line.clone())), Some(line));
    }

    #[test]
    fn an_error_that_may_quote_a_row_keeps_its_kind_alone() {
        let bad = || Error::invalid("cannot cast 'b@x.example'").hint("mend b@x.example");
        let hidden = Said::Withheld.error(bad(), "the profile of raw.people");
        assert_eq!(hidden.kind(), ErrorKind::Invalid);
        assert!(!hidden.report().contains("b@x"), "{}", hidden.report());
        assert!(Said::Whole.error(bad(), "the profile").report().contains("b@x"));
        let missing = Said::Withheld.error(Error::not_found("no table \"a\""), "the profile of a");
        assert_eq!(missing.message(), "no table \"a\"");
    }

    #[test]
    fn what_is_withheld_is_told_without_its_text() {
        let told = |said: Said, data: Value| said.event(&data).to_string();
        let work = json!({"work": "w-1", "error": "no b@x", "hint": "b@x", "run_id": "r"});
        let work = told(Said::Withheld, work);
        assert!(!work.contains("b@x") && work.contains("withheld"), "{work}");
        assert!(work.contains("w-1") && work.contains("\"hint\":null"), "{work}");
        let task = json!({"kind": "build", "name": "models", "error": null});
        let task = told(Said::Withheld, task);
        assert!(task.contains("\"error\":null") && task.contains("models"), "{task}");
        let log = |said: Said, level: &str| {
            told(said, json!({"level": level, "text": "sync s failed in 1 ms: b@x"}))
        };
        let cut = log(Said::Withheld, "error");
        assert!(cut.contains("sync s failed in 1 ms: The text is withheld"), "{cut}");
        assert!(
            log(Said::Withheld, "info").contains("b@x"),
            "mere information names what is declared"
        );
        assert!(log(Said::Whole, "error").contains("b@x"));
    }
}
