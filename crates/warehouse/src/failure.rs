//! Errors of the engine, the store and the file formats as ours, with what mends them.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::path::Path as FilePath;

use arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::parquet::errors::ParquetError;
use flywheel_base::{Error, ErrorKind, suggest};

use crate::lake_table::is_hidden;

/// What is said of a query that was refused memory.
pub(crate) const TOO_MUCH_MEMORY: &str = "the query needs more memory than it may use";
/// What to do when memory runs out.
const MEMORY_HINT: &str =
    "Raise the memory limit, or read fewer rows or columns before joining or sorting.";
/// What to do when a stored file is damaged or missing.
const CORRUPT_HINT: &str = "Restore the table's folder from a backup, or read an older version of the table that does not use \
     this file.";

/// An object store's error while `doing` something.
pub(crate) fn from_store(doing: &str, error: object_store::Error) -> Error {
    let io_kind = io_kind(&error);
    match error {
        object_store::Error::NotFound { ref path, .. } => {
            Error::not_found(format!("cannot {doing}: \"{path}\" does not exist")).caused_by(error)
        }
        object_store::Error::AlreadyExists { ref path, .. } => {
            Error::new(ErrorKind::Conflict, format!("cannot {doing}: \"{path}\" exists already"))
                .caused_by(error)
        }
        error => match io_kind {
            Some(kind) => {
                let made = Error::io(doing, FilePath::new(""), kind.into());
                let plain = Error::new(made.kind(), format!("cannot {doing}")).caused_by(error);
                match made.hint_text() {
                    Some(hint) => plain.hint(hint),
                    None => plain,
                }
            }
            None => Error::new(ErrorKind::Internal, format!("cannot {doing}")).caused_by(error),
        },
    }
}

/// An I/O error of a writer over the store, which hides the operating system's answer inside.
pub(crate) fn from_writer(doing: &str, error: std::io::Error) -> Error {
    from_store(doing, object_store::Error::Generic { store: "writer", source: Box::new(error) })
}

/// The operating system's answer at the bottom of an error's causes.
fn io_kind(error: &(dyn StdError + 'static)) -> Option<std::io::ErrorKind> {
    let mut found = None;
    let mut cause = Some(error);
    while let Some(inner) = cause {
        cause = inner.source();
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            found = Some(io.kind());
            // An error inside an I/O error is not its source.
            cause = io.get_ref().map(|inner| inner as &(dyn StdError + 'static));
        }
    }
    found
}

/// A damaged Parquet file, or a store that failed below it.
pub(crate) fn from_parquet(file: &str, error: ParquetError) -> Error {
    if let ParquetError::External(inner) = error {
        return match inner.downcast::<object_store::Error>() {
            Ok(store) => missing_is_corrupt(from_store(&format!("read {file}"), *store)),
            Err(inner) => Error::corrupt(format!("data file {file} cannot be read"))
                .caused_by(inner)
                .hint(CORRUPT_HINT),
        };
    }
    Error::corrupt(format!("data file {file} cannot be read")).caused_by(error).hint(CORRUPT_HINT)
}

/// A file the log names but the disk does not have is damage, not a wrong name.
fn missing_is_corrupt(error: Error) -> Error {
    if error.kind() != ErrorKind::NotFound {
        return error;
    }
    Error::corrupt(error.message().to_owned()).caused_by(error).hint(CORRUPT_HINT)
}

/// A value that cannot be converted or computed.
pub(crate) fn from_arrow(error: ArrowError) -> Error {
    match error {
        ArrowError::ExternalError(inner) => match inner.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(inner) => match inner.downcast::<DataFusionError>() {
                Ok(engine) => from_engine(*engine),
                Err(inner) => Error::internal("the engine failed").caused_by(inner),
            },
        },
        ArrowError::ParquetError(text) => {
            Error::corrupt("a data file cannot be read").caused_by(text).hint(CORRUPT_HINT)
        }
        ArrowError::DivideByZero => Error::invalid("a division by zero")
            .hint("Use safe_divide(a, b), which gives NULL where b is 0."),
        error => Error::invalid("a value cannot be computed or converted")
            .caused_by(error)
            .hint("Use try_cast(x as type), which gives NULL where a value does not fit."),
    }
}

/// An error of the query engine.
pub(crate) fn from_engine(error: DataFusionError) -> Error {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            from_engine(*inner)
        }
        DataFusionError::Collection(mut errors) if !errors.is_empty() => {
            from_engine(errors.swap_remove(0))
        }
        DataFusionError::Shared(inner) => from_shared(&inner),
        DataFusionError::External(inner) => match inner.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(inner) => match inner.downcast::<DataFusionError>() {
                Ok(engine) => from_engine(*engine),
                Err(inner) => Error::internal("the engine failed").caused_by(inner),
            },
        },
        DataFusionError::ArrowError(inner, _) => from_arrow(*inner),
        DataFusionError::ParquetError(inner) => from_parquet("of a table", *inner),
        DataFusionError::ObjectStore(inner) => {
            missing_is_corrupt(from_store("read a data file", *inner))
        }
        DataFusionError::IoError(inner) => {
            Error::io("use the spill folder at", FilePath::new("the configured path"), inner)
        }
        DataFusionError::SQL(inner, _) => Error::invalid("the SQL cannot be parsed")
            .caused_by(*inner)
            .hint("Look at the place the message names; one statement, in DataFusion's SQL."),
        DataFusionError::SchemaError(inner, _) => from_schema(*inner),
        DataFusionError::ResourcesExhausted(text) => {
            Error::exhausted(TOO_MUCH_MEMORY).caused_by(text).hint(MEMORY_HINT)
        }
        DataFusionError::Plan(text)
        | DataFusionError::Execution(text)
        | DataFusionError::Configuration(text)
        | DataFusionError::NotImplemented(text) => invalid_text(&text),
        error => Error::internal("the engine failed").caused_by(error),
    }
}

/// The engine's own words as a message: first line, lower case start, no full stop.
fn invalid_text(text: &str) -> Error {
    if let Some(error) = unfit(text) {
        return error;
    }
    let line = text.lines().next().unwrap_or_default().trim_end_matches('.');
    let mut chars = line.chars();
    let line = match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => line.to_owned(),
    };
    let made = Error::invalid(line);
    match text.lines().find(|line| line.starts_with("Did you mean")) {
        Some(hint) => made.hint(hint),
        None => made,
    }
}

/// What is wrong with a call that fits none of a function's forms, all of which the engine lists.
fn unfit(text: &str) -> Option<Error> {
    let (before, after) = text.split_once("' failed to match any signature")?;
    let (_, function) = before.rsplit_once("Function '")?;
    let (mut counts, mut given) = (BTreeSet::new(), "");
    for form in after.split("unction '").skip(1) {
        let Some((wanted, received)) = form.split_once("but received ") else { continue };
        let count = wanted.split(' ').find_map(|word| word.parse::<usize>().ok());
        // Some forms say in words how many they take.
        if count.is_none() && received.starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        let Some(count) = count else {
            // A form that takes as many arguments, of which one is of another type.
            let ends = [" (DataType", ",Error", ". No function", "\n"];
            let kind = ends
                .iter()
                .fold(received, |kind, end| kind.split_once(*end).map_or(kind, |(kind, _)| kind));
            let message =
                format!("{function} does not take a value of the type {}", kind.trim_end());
            return Some(
                Error::invalid(message).hint("Convert it first, as in cast(x as double)."),
            );
        };
        counts.insert(count);
        given = received.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    }
    let wanted: Vec<String> = counts.iter().map(ToString::to_string).collect();
    let what = match wanted.as_slice() {
        [] => return None,
        [one] if one == "1" => "argument",
        _ => "arguments",
    };
    let wanted = wanted.join(" or ");
    Some(Error::invalid(format!("{function} takes {wanted} {what} and not {given}")))
}

/// An error that several partitions share can only be looked at, not taken apart.
fn from_shared(error: &DataFusionError) -> Error {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(text) => {
            Error::exhausted(TOO_MUCH_MEMORY).caused_by(text.clone()).hint(MEMORY_HINT)
        }
        DataFusionError::ObjectStore(inner) => Error::corrupt("a data file cannot be read")
            .caused_by(inner.to_string())
            .hint(CORRUPT_HINT),
        DataFusionError::ParquetError(inner) => Error::corrupt("a data file cannot be read")
            .caused_by(inner.to_string())
            .hint(CORRUPT_HINT),
        DataFusionError::Plan(text) | DataFusionError::Execution(text) => invalid_text(text),
        DataFusionError::ArrowError(inner, _) => {
            Error::invalid("a value cannot be computed or converted").caused_by(inner.to_string())
        }
        DataFusionError::External(inner) => match inner.downcast_ref::<Error>() {
            Some(ours) => {
                let copy = Error::new(ours.kind(), ours.message());
                match ours.hint_text() {
                    Some(hint) => copy.hint(hint),
                    None => copy,
                }
            }
            None => Error::internal("the engine failed").caused_by(inner.to_string()),
        },
        other => Error::internal("the engine failed").caused_by(other.to_string()),
    }
}

fn from_schema(error: SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let names = valid_fields.iter().map(|column| column.name.as_str());
            let names: Vec<&str> = names.filter(|name| !is_hidden(name)).collect();
            let hint = suggest::hint(&field.name, names.iter().copied());
            let quoted = names.iter().find(|name| {
                **name != field.name && name.to_lowercase() == field.name.to_lowercase()
            });
            let made = Error::invalid(format!("unknown column \"{}\"", field.flat_name()));
            match quoted {
                Some(name) => made.hint(format!(
                    "Write \"{name}\" in double quotes: SQL folds unquoted names to lower case."
                )),
                None => made.hint(hint),
            }
        }
        error => invalid_text(&error.to_string()),
    }
}
