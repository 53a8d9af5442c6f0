//! Files of a project, read with limits.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::diagnostic::{Diagnostic, Span};

/// The largest file that is read; a declaration beyond this is data in the wrong place.
pub(crate) const FILE_SIZE_MAX: u64 = 1 << 20;

/// A text file and its path relative to the project folder, with `/` between the parts.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// The path relative to the project folder.
    pub path: String,
    /// The text, without byte order mark.
    pub text: String,
    /// Where each line starts, in bytes.
    starts: Vec<usize>,
}

impl SourceFile {
    /// Takes a text as the file at `path`.
    #[must_use]
    pub fn new(path: &str, text: &str) -> Self {
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        let starts = std::iter::once(0)
            .chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1))
            .collect();
        Self { path: path.to_owned(), text: text.to_owned(), starts }
    }

    /// Reads the file at `path` below `dir`.
    pub(crate) fn read(dir: &Path, path: &str) -> Result<Self, Box<Diagnostic>> {
        let refuse = |message: String, hint: &str| {
            Box::new(Diagnostic::error(Span::FILE, message).hint(hint))
        };
        let mut bytes = Vec::new();
        File::open(dir.join(path))
            .and_then(|file| file.take(FILE_SIZE_MAX + 1).read_to_end(&mut bytes))
            .map_err(|error| {
                refuse(
                    format!("the file cannot be read: {error}"),
                    "Check its owner and mode, or remove it.",
                )
            })?;
        Self::decode(path, bytes)
    }

    /// Takes bytes as the file at `path`.
    pub(crate) fn decode(path: &str, bytes: Vec<u8>) -> Result<Self, Box<Diagnostic>> {
        if bytes.len() as u64 > FILE_SIZE_MAX {
            return Err(Box::new(
                Diagnostic::error(Span::FILE, "the file is larger than 1 MiB")
                    .hint("Keep data in a source that a sync reads, not in the project's files."),
            ));
        }
        String::from_utf8(bytes).map(|text| Self::new(path, &text)).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            let start = good.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let column = String::from_utf8_lossy(&good[start..]).chars().count() + 1;
            Box::new(
                Diagnostic::error(
                    Span::new(line, column, 1),
                    format!("the file is not UTF-8 text (line {line}, column {column})"),
                )
                .hint("Save it as UTF-8, for instance with `iconv -t UTF-8`."),
            )
        })
    }

    /// The text of a line, from 1, without its end.
    #[must_use]
    pub fn line(&self, line: usize) -> Option<&str> {
        let start = *self.starts.get(line.checked_sub(1)?)?;
        let end = self.starts.get(line).map_or(self.text.len(), |next| next - 1);
        self.text.get(start..end).map(|text| text.strip_suffix('\r').unwrap_or(text))
    }

    /// The place of `length` bytes from byte `offset`, cut at the end of the line.
    #[must_use]
    pub fn span(&self, offset: usize, length: usize) -> Span {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let end = self.starts.get(line).map_or(self.text.len(), |next| next - 1);
        let column = self.text.get(start..offset).map_or(0, |text| text.chars().count()) + 1;
        let marked = self.text.get(offset..end.min(offset.saturating_add(length)).max(offset));
        Span::new(line, column, marked.map_or(1, |text| text.chars().count()).max(1))
    }
}
