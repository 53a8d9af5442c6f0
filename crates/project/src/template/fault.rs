//! What is wrong with a template, and where.

use std::error::Error as _;

use flywheel_base::{Error, ErrorKind, suggest};

use super::Raised;
use super::macros::Assembled;
use super::words::WORDS;
use crate::diagnostic::{Diagnostic, Span};
use crate::file::SourceFile;

/// A mistake in a template.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: ErrorKind,
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Fault {
    pub(super) fn new(message: &str) -> Self {
        Self { kind: ErrorKind::Invalid, span: Span::FILE, message: message.to_owned(), hint: None }
    }

    /// The engine's error, or our own if one of our words stopped it.
    pub(super) fn from_jinja(
        template: &str,
        macros: &Assembled<'_>,
        error: &minijinja::Error,
        raised: Option<Raised>,
    ) -> Self {
        let fault = Self::described(template, macros, error, raised);
        let at = error.range().map(|range| range.start).filter(|at| *at < macros.offset);
        match at.and_then(|at| macros.place(at)) {
            Some(place) => Self { message: format!("in {place}: {}", fault.message), ..fault },
            None => fault,
        }
    }

    fn described(
        template: &str,
        macros: &Assembled<'_>,
        error: &minijinja::Error,
        raised: Option<Raised>,
    ) -> Self {
        let span = place(template, macros, error);
        if let Some(Raised { kind, message, hint }) = raised {
            return Self { kind, span, message, hint };
        }
        let detail = error.detail().unwrap_or("").trim_end_matches('.').to_owned();
        let (message, hint) = match error.kind() {
            minijinja::ErrorKind::OutOfFuel => (
                "the template takes too many steps".to_owned(),
                Some("Shorten its loops; a template writes SQL, the SQL does the work.".to_owned()),
            ),
            kind if kind == minijinja::ErrorKind::UnknownFunction
                || kind == minijinja::ErrorKind::UndefinedError
                || detail.contains("undefined is not callable") =>
            {
                let word = excerpt(&macros.source, error);
                let hint = match word.split('.').next() {
                    // Only models, hooks and tests of a dbt project are told when their run began.
                    Some("run_started_at") => {
                        "Let SQL ask for the time: now() or current_date.".to_owned()
                    }
                    Some("modules") => {
                        "Templates of dbt projects know modules.datetime.datetime, date and timedelta, modules.pytz and modules.re."
                            .to_owned()
                    }
                    _ => suggest::hint(&word, WORDS.iter().copied()),
                };
                (format!("\"{word}\" is not defined"), Some(hint))
            }
            minijinja::ErrorKind::WriteFailure => {
                let cause = error.source().map(ToString::to_string);
                (cause.unwrap_or_else(|| "the template's output cannot be kept".to_owned()), None)
            }
            minijinja::ErrorKind::SyntaxError => (
                format!("the template cannot be read: {detail}"),
                Some("Check its braces, quotes and `end` tags.".to_owned()),
            ),
            kind if detail.is_empty() => (kind.to_string(), None),
            _ => (detail, None),
        };
        Self { kind: ErrorKind::Invalid, span, message, hint }
    }

    /// The fault as a mistake, at the place that `place` finds for it.
    pub(crate) fn into_diagnostic(self, place: impl FnOnce(Span) -> Span) -> Diagnostic {
        Diagnostic { hint: self.hint, ..Diagnostic::error(place(self.span), self.message) }
    }

    /// The fault as an error that names `what` and the place.
    pub(crate) fn into_error(self, what: &str) -> Error {
        let place = match self.span.line {
            0 => what.to_owned(),
            line => format!("{what}:{line}:{}", self.span.column),
        };
        let error = Error::new(self.kind, format!("{place}: {}", self.message));
        match self.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// The error's place in the template; the whole of it if the place lies in a macro.
fn place(template: &str, macros: &Assembled<'_>, error: &minijinja::Error) -> Span {
    let file = SourceFile::new("", template);
    if let Some(range) = error.range() {
        return match range.start.checked_sub(macros.offset) {
            Some(start) if start <= template.len() => file.span(start, range.len()),
            _ => Span::FILE,
        };
    }
    match error.line() {
        Some(line) if macros.offset == 0 => {
            Span::new(line, 1, file.line(line).map_or(1, |text| text.chars().count()))
        }
        _ => Span::FILE,
    }
}

/// The name at the error's place.
fn excerpt(template: &str, error: &minijinja::Error) -> String {
    let text = error.range().and_then(|range| template.get(range)).unwrap_or("");
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '.');
    let name = &text[..end.unwrap_or(text.len())];
    if !name.is_empty() {
        return name.to_owned();
    }
    let detail = error.detail().unwrap_or("this");
    detail.split_whitespace().next().unwrap_or("this").to_owned()
}
