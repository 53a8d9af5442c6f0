//! Mistakes with their place: what is wrong, in which file, line and column, and how to mend it.
//!
//! A check reports every mistake it finds, so these are collected, sorted by place and rendered
//! together, in the style of rustc.

use std::fmt;

use flywheel_base::Error;
use serde::{Serialize, Serializer};

use crate::file::SourceFile;

/// How many mistakes are kept; a generated file with a million mistakes is not worth more.
const DIAGNOSTICS_MAX: usize = 1_000;

/// How many characters of a source line are shown.
const SNIPPET_WIDTH_MAX: usize = 160;

/// A place in a file, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Span {
    /// The line, from 1; 0 if the mistake is about the whole file.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// How many characters of that line are meant.
    pub length: usize,
}

impl Span {
    /// The whole file.
    pub const FILE: Self = Self { line: 0, column: 0, length: 0 };

    /// A stretch of one line.
    #[must_use]
    pub const fn new(line: usize, column: usize, length: usize) -> Self {
        Self { line, column, length }
    }
}

/// How bad a mistake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The project cannot be used.
    Error,
    /// The project can be used, but probably not as meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file, relative to the project folder.
    pub file: String,
    /// Where in the file.
    #[serde(flatten)]
    pub span: Span,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// A sentence that mends it.
    pub hint: Option<String>,
    /// The source line that is meant.
    pub snippet: Option<Box<str>>,
}

impl Diagnostic {
    /// Makes an error at `span`; [`Diagnostics::push`] fills in the file.
    pub fn error(span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: String::new(),
            span,
            message: message.into(),
            hint: None,
            snippet: None,
        }
    }

    /// Makes a warning at `span`; [`Diagnostics::push`] fills in the file.
    pub fn warning(span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(span, message) }
    }

    /// Adds the sentence that mends it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts what was being read before the message.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity, self.message)?;
        let Span { line, column, length } = self.span;
        let gutter = line.to_string().len();
        match line {
            0 => write!(f, "\n {:gutter$}--> {}", "", self.file)?,
            _ => write!(f, "\n {:gutter$}--> {}:{line}:{column}", "", self.file)?,
        }
        if let Some(snippet) = &self.snippet {
            let (shown, caret, width) = underline(snippet, column, length);
            write!(f, "\n {:gutter$} |\n {line} | {shown}", "")?;
            write!(f, "\n {:gutter$} | {:caret$}{}", "", "", "^".repeat(width))?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n {:gutter$} = hint: {hint}", ""),
            None => Ok(()),
        }
    }
}

/// The part of `line` around `column` that fits, where its caret starts and how long it is.
fn underline(line: &str, column: usize, length: usize) -> (String, usize, usize) {
    let characters: Vec<char> = line.chars().map(printable).collect();
    let at = column.saturating_sub(1).min(characters.len());
    let start = if at + length.min(40) < SNIPPET_WIDTH_MAX { 0 } else { at.saturating_sub(20) };
    let end = characters.len().min(start + SNIPPET_WIDTH_MAX);
    let marked = &characters[at..(at + length.max(1)).min(end).max(at)];
    let mut shown = String::new();
    let mut caret = characters[start..at].iter().copied().map(width).sum();
    if start > 0 {
        shown.push('…');
        caret += 1;
    }
    shown.extend(&characters[start..end]);
    if end < characters.len() {
        shown.push('…');
    }
    (shown, caret, marked.iter().copied().map(width).sum::<usize>().max(1))
}

/// Tabs would shift the caret and control characters would reach the terminal.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '\u{FFFD}',
        c => c,
    }
}

/// How many terminal cells a character takes; wide ones are those of Chinese, Japanese and Korean.
fn width(c: char) -> usize {
    match u32::from(c) {
        0x1100..=0x115F
        | 0x2E80..=0xA4CF
        | 0xAC00..=0xD7A3
        | 0xF900..=0xFAFF
        | 0xFE30..=0xFE6F
        | 0xFF00..=0xFF60
        | 0xFFE0..=0xFFE6
        | 0x1F300..=0x1F64F
        | 0x20000..=0x3FFFD => 2,
        _ => 1,
    }
}

/// All mistakes of a project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    omitted: usize,
    /// The one file whose mistakes are kept, if there is one.
    only: Option<String>,
}

impl Diagnostics {
    /// Adds a mistake in `file`.
    pub fn push(&mut self, file: &SourceFile, mut diagnostic: Diagnostic) {
        if self.only.as_ref().is_some_and(|only| *only != file.path) {
            return;
        }
        if self.list.len() >= DIAGNOSTICS_MAX {
            self.omitted += 1;
            return;
        }
        diagnostic.file.clone_from(&file.path);
        diagnostic.snippet = file.line(diagnostic.span.line).map(Box::from);
        self.list.push(diagnostic);
    }

    /// Adds a mistake in a line that may hold a secret, or is not at hand, without showing the line.
    pub fn push_hidden(&mut self, file: &SourceFile, diagnostic: Diagnostic) {
        let before = self.list.len();
        self.push(file, diagnostic);
        for pushed in self.list.iter_mut().skip(before) {
            pushed.snippet = None;
        }
    }

    /// Adds a mistake about a file or folder that was not read.
    pub fn push_path(&mut self, path: &str, diagnostic: Diagnostic) {
        self.push(&SourceFile::new(path, ""), Diagnostic { span: Span::FILE, ..diagnostic });
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: Self) {
        self.omitted += other.omitted;
        self.list.extend(other.list);
    }

    /// Makes warnings of the mistakes in `files`.
    pub(crate) fn soften(&mut self, files: &std::collections::BTreeSet<&str>) {
        for diagnostic in &mut self.list {
            if files.contains(diagnostic.file.as_str()) {
                diagnostic.severity = Severity::Warning;
            }
        }
    }

    /// Sorts by place and drops repetitions.
    pub fn sort(&mut self) {
        self.list.sort_by(|a, b| {
            let key = |d: &Diagnostic| (d.file.clone(), d.span, d.severity);
            key(a).cmp(&key(b)).then_with(|| a.message.cmp(&b.message))
        });
        self.list.dedup();
    }

    /// Those in the file at `path`.
    #[must_use]
    pub fn of_file(&self, path: &str) -> Self {
        let list = self.list.iter().filter(|diagnostic| diagnostic.file == path);
        Self { list: list.cloned().collect(), omitted: 0, only: None }
    }

    /// As [`Diagnostics::of_file`], and of what is added from now on, too.
    #[must_use]
    pub(crate) fn only_of_file(&self, path: &str) -> Self {
        Self { only: Some(path.to_owned()), ..self.of_file(path) }
    }

    /// The errors alone, without hints, which may guess at names.
    #[must_use]
    pub(crate) fn bare_errors(mut self) -> Self {
        self.list.retain(|diagnostic| diagnostic.severity == Severity::Error);
        for diagnostic in &mut self.list {
            diagnostic.hint = None;
        }
        self
    }

    /// Every mistake.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// How many mistakes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len() + self.omitted
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether one of them is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|d| d.severity == Severity::Error)
    }

    /// `2 errors and 1 warning`.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |severity| self.list.iter().filter(|d| d.severity == severity).count();
        let counted = |n: usize, word: &str| match n {
            1 => format!("1 {word}"),
            n => format!("{n} {word}s"),
        };
        match (count(Severity::Error), count(Severity::Warning)) {
            (errors, 0) => counted(errors, "error"),
            (0, warnings) => counted(warnings, "warning"),
            (errors, warnings) => {
                format!("{} and {}", counted(errors, "error"), counted(warnings, "warning"))
            }
        }
    }

    /// Every mistake as people read it, with an empty line between.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text: Vec<String> = self.list.iter().map(ToString::to_string).collect();
        if self.omitted > 0 {
            text.push(format!("… and {} more", self.omitted));
        }
        text.join("\n\n")
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render())
    }
}

impl Serialize for Diagnostics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list.serialize(serializer)
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl From<Diagnostics> for Error {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::invalid(format!("the project has {}\n\n{diagnostics}\n", diagnostics.summary()))
            .hint("Mend the files and run `flywheel check`.")
    }
}
