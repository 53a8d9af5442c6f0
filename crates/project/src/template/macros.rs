//! Macros of `macros/**.sql`, which every template may call.
//!
//! They are put before a template as they are, so they see the same words; what they write outside of
//! a macro is dropped, and places are counted without them.

use std::borrow::Cow;

use crate::file::SourceFile;

/// What separates the macros' own output from the template's.
const MARK: char = '\u{1}';

/// The project's macros.
#[derive(Clone, Debug, Default)]
pub struct Macros {
    text: String,
    files: Vec<(usize, SourceFile)>,
}

impl Macros {
    /// Adds a file of macros; one with the separator in it could not be told apart.
    pub(crate) fn add(&mut self, file: &SourceFile) {
        self.files.push((self.text.len(), file.clone()));
        self.text.extend(file.text.chars().filter(|c| *c != MARK));
        self.text.push('\n');
    }

    /// The template with the macros before it.
    pub(super) fn before<'a>(&self, template: &'a str) -> Cow<'a, str> {
        if self.files.is_empty() {
            return Cow::Borrowed(template);
        }
        Cow::Owned(format!("{}{MARK}{template}", self.text))
    }

    /// The output without that of the macros.
    pub(super) fn after(&self, output: String) -> String {
        if self.files.is_empty() {
            return output;
        }
        output.split_once(MARK).map(|(_, rest)| rest.to_owned()).unwrap_or(output)
    }

    /// How many bytes stand before the template.
    pub(super) fn offset(&self) -> usize {
        if self.files.is_empty() { 0 } else { self.text.len() + MARK.len_utf8() }
    }

    /// The file and line of a place before the template.
    pub(super) fn place(&self, at: usize) -> Option<String> {
        let (start, file) = self.files.iter().rev().find(|(start, _)| *start <= at)?;
        Some(format!("{}:{}", file.path, file.span(at - start, 1).line))
    }
}
