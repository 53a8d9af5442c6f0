//! The columns of a stream: their types, how they are cleaned and hidden, and what may be a key.

use std::collections::BTreeSet;

use flywheel_base::{Error, suggest};

use super::Check;
use super::sync::at;
use crate::diagnostic::Diagnostic;
use crate::file::SourceFile;
use crate::resource::sync::{Column, Keep, Read, Stream};
use crate::secret;
use crate::yaml::{Node, Step, Value};

/// The types a column may be declared with, besides `decimal(p,s)`.
const COLUMN_TYPES: &[&str] =
    &["text", "int64", "int32", "float64", "bool", "date", "timestamp", "json", "binary"];

/// The most digits of a decimal column.
const DECIMAL_DIGITS_MAX: u8 = 38;

impl Check<'_> {
    pub(super) fn stream_columns(&mut self, file: &SourceFile, node: &Node, stream: &Stream) {
        let mut seen = BTreeSet::new();
        for (index, column) in stream.columns.iter().enumerate() {
            let node = node.find(&[Step::Key("columns"), Step::Item(index)]);
            if !seen.insert(column.name.as_str()) {
                let message = format!("column \"{}\" is declared twice", column.name);
                let hint = "Remove one of them.";
                self.push(file, Diagnostic::error(at(node, "name"), message).hint(hint));
            }
            self.column_type(file, node, stream, column);
            self.clean(file, node, column);
            self.mask(file, node, stream, column);
            self.made(file, node, stream, column);
        }
        if let Some(only) = &stream.only {
            self.expression(file, node, "only", only, "only");
        }
        self.key_columns(file, node, stream);
        self.left_out(file, node, stream);
    }

    fn column_type(&mut self, file: &SourceFile, node: &Node, stream: &Stream, column: &Column) {
        let name = &column.name;
        let Some(column_type) = &column.column_type else {
            let says_more = !column.clean.is_empty()
                || column.mask.is_some()
                || column.value.is_some()
                || column.from.is_some()
                || stream.keep == Keep::Declared;
            if !says_more {
                let message = format!("column \"{name}\" lacks \"type\"");
                let hint = "Add a type, clean or mask, or remove the column: it is inferred.";
                self.push(file, Diagnostic::error(at(node, "name"), message).hint(hint));
            }
            return;
        };
        if let Some(hint) = type_problem(column_type) {
            let message = format!("column \"{name}\" cannot have the type \"{column_type}\"");
            self.push(file, Diagnostic::error(at(node, "type"), message).hint(hint));
        }
    }

    /// The normalisers of a column or field, which stand under `clean` of `node`.
    pub(super) fn clean(&mut self, file: &SourceFile, node: &Node, column: &Column) {
        let Some(forms) = self.connectors.forms else { return };
        let written = node.get("clean").unwrap_or(node);
        for (index, text) in column.clean.iter().enumerate() {
            if let Err(error) = (forms.clean)(text) {
                let span = match &written.value {
                    Value::List(items) => items.get(index).map_or(written.span, |item| item.span),
                    _ => written.span,
                };
                self.push(file, told(Diagnostic::error(span, about(column, &error)), &error));
            }
        }
    }

    fn mask(&mut self, file: &SourceFile, node: &Node, stream: &Stream, column: &Column) {
        let Some(mask) = &column.mask else { return };
        let span = at(node, "mask");
        let name = &column.name;
        // The line is not repeated: it may hold a key in clear.
        if let Err(error) = secret::parts(mask) {
            let diagnostic = Diagnostic::error(span, about(column, &error));
            self.checked.out.push_hidden(file, told(diagnostic, &error));
            return;
        }
        if stream.cursor.as_deref() == Some(column.source_name()) {
            let message = format!("column \"{name}\" is masked and the cursor of the stream");
            let hint = "The position keeps the cursor's last value as it is: use another cursor, \
                        or do not mask the column.";
            self.push(file, Diagnostic::error(span, message).hint(hint));
        }
        let Some(forms) = self.connectors.forms else { return };
        match (forms.mask)(mask) {
            Err(error) => {
                let diagnostic = Diagnostic::error(span, about(column, &error));
                self.checked.out.push_hidden(file, told(diagnostic, &error));
            }
            Ok(false) if stream.key.contains(name) => {
                let message =
                    format!("column \"{name}\" is a key, and its mask makes values equal");
                let hint = "Mask it with hmac or tokenize, or take it out of the key.";
                self.push(file, Diagnostic::error(span, message).hint(hint));
            }
            Ok(_) => {}
        }
    }

    /// A column that is made by SQL.
    fn made(&mut self, file: &SourceFile, node: &Node, stream: &Stream, column: &Column) {
        let Some(value) = &column.value else { return };
        let name = &column.name;
        self.expression(file, node, "value", value, &format!("column \"{name}\""));
        let other = [("from", column.from.is_some()), ("clean", !column.clean.is_empty())];
        for (key, _) in other.into_iter().filter(|(_, given)| *given) {
            let message = format!("column \"{name}\" has value and {key}");
            let hint = "Remove one of them: an expression takes the source's columns by name, and can \
                        clean them.";
            self.push(file, Diagnostic::error(at(node, key), message).hint(hint));
        }
        if stream.key.contains(name) && stream.read == Read::Cdc {
            let message = format!("column \"{name}\" is a key and made by SQL");
            let hint = "Of a row that was deleted the log has the source's key only: use that as the \
                        key.";
            self.push(file, Diagnostic::error(at(node, "value"), message).hint(hint));
        }
    }

    /// An SQL expression under `key`, for messages about `what`.
    pub(super) fn expression(
        &mut self,
        file: &SourceFile,
        node: &Node,
        key: &str,
        sql: &str,
        what: &str,
    ) {
        if sql.trim().is_empty() {
            let message = format!("{what}: the SQL is empty");
            let hint = "Write an SQL expression, or remove the key.";
            self.push(file, Diagnostic::error(at(node, key), message).hint(hint));
            return;
        }
        let Some(forms) = self.connectors.forms else { return };
        if let Err(error) = (forms.sql)(sql) {
            let cause = std::error::Error::source(&error);
            let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
            let message = format!("{what}: {}{cause}", error.message());
            self.push(file, told(Diagnostic::error(at(node, key), message), &error));
        }
    }

    fn key_columns(&mut self, file: &SourceFile, node: &Node, stream: &Stream) {
        let mut keys = BTreeSet::new();
        for (index, key) in stream.key.iter().enumerate() {
            let node = node.find(&[Step::Key("key"), Step::Item(index)]);
            if !keys.insert(key) {
                let message = format!("key column \"{key}\" is given twice");
                self.push(file, Diagnostic::error(node.span, message).hint("Remove one of them."));
                continue;
            }
            let declared = stream.columns.iter().any(|column| column.name == *key);
            if !declared && (stream.keep == Keep::Declared || stream.drop.contains(key)) {
                let message = format!("key column \"{key}\" does not land");
                let hint = "Declare it under columns, and take it out of drop.";
                self.push(file, Diagnostic::error(node.span, message).hint(hint));
            }
        }
    }

    /// Columns that do not land.
    fn left_out(&mut self, file: &SourceFile, node: &Node, stream: &Stream) {
        for (index, name) in stream.drop.iter().enumerate() {
            let node = node.find(&[Step::Key("drop"), Step::Item(index)]);
            // What SQL makes may have the name of a column that it takes the place of.
            let lands = |column: &Column| column.value.is_none() && column.source_name() == name;
            if stream.columns.iter().any(lands) {
                let message = format!("column \"{name}\" is declared and dropped");
                let hint = "Remove it from drop, or from columns.";
                self.push(file, Diagnostic::error(node.span, message).hint(hint));
            }
        }
        let stream_name = &stream.stream;
        if stream.keep == Keep::Declared && stream.columns.is_empty() {
            let message =
                format!("stream \"{stream_name}\" keeps declared columns and declares none");
            let hint = "List the columns that land under columns, or remove keep.";
            self.push(file, Diagnostic::error(at(node, "keep"), message).hint(hint));
        } else if stream.keep == Keep::Declared && !stream.drop.is_empty() {
            let message = format!(
                "stream \"{stream_name}\" keeps declared columns only, so drop has no effect"
            );
            let diagnostic = Diagnostic::warning(at(node, "drop"), message).hint("Remove drop.");
            self.push(file, diagnostic);
        }
    }
}

/// The error's message, with the column it is about.
fn about(column: &Column, error: &Error) -> String {
    format!("column \"{}\": {}", column.name, error.message())
}

/// The diagnostic with the error's hint.
fn told(diagnostic: Diagnostic, error: &Error) -> Diagnostic {
    Diagnostic { hint: error.hint_text().map(str::to_owned), ..diagnostic }
}

/// What is wrong with a type, if anything.
pub(super) fn type_problem(column_type: &str) -> Option<String> {
    let known = COLUMN_TYPES.iter().copied().chain(["decimal(p,s)"]);
    (!is_column_type(column_type)).then(|| suggest::hint(column_type, known))
}

fn is_column_type(text: &str) -> bool {
    if COLUMN_TYPES.contains(&text) {
        return true;
    }
    let inner = text.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')'));
    let Some((precision, scale)) = inner.and_then(|inner| inner.split_once(',')) else {
        return false;
    };
    match (precision.trim().parse::<u8>(), scale.trim().parse::<u8>()) {
        (Ok(precision), Ok(scale)) => {
            (1..=DECIMAL_DIGITS_MAX).contains(&precision) && scale <= precision
        }
        _ => false,
    }
}
