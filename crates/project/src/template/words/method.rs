//! Methods of Python's texts, lists and maps that templates of dbt call, and a few of its filters.

use minijinja::value::{Serde, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};

/// The longest text that a method makes.
const TEXT_MAX: usize = 1 << 20;

/// Calls a method that the engine does not know.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => text(value.as_str().unwrap_or_default(), method, args),
        ValueKind::Map => map(state, value, method, args),
        ValueKind::Seq | ValueKind::Iterable => list(value, method, args),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn text(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let none = || from_args::<()>(args);
    let cut = || -> Result<Vec<char>, Error> {
        let (chars,): (Option<String>,) = from_args(args)?;
        Ok(chars.map_or_else(|| vec![' ', '\t', '\n', '\r'], |chars| chars.chars().collect()))
    };
    Ok(match method {
        "upper" => none().map(|()| Value::from(text.to_uppercase()))?,
        "lower" => none().map(|()| Value::from(text.to_lowercase()))?,
        "strip" => Value::from(text.trim_matches(cut()?.as_slice())),
        "lstrip" => Value::from(text.trim_start_matches(cut()?.as_slice())),
        "rstrip" => Value::from(text.trim_end_matches(cut()?.as_slice())),
        "title" => Value::from(title(text)),
        "capitalize" => {
            let mut chars = text.chars();
            let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
            Value::from(format!("{first}{}", chars.as_str().to_lowercase()))
        }
        "startswith" | "endswith" => {
            let (wanted,): (Value,) = from_args(args)?;
            let wanted: Vec<String> = match wanted.kind() {
                ValueKind::String => vec![wanted.to_string()],
                _ => wanted.try_iter()?.map(|one| one.to_string()).collect(),
            };
            let fits = |one: &String| match method {
                "startswith" => text.starts_with(one.as_str()),
                _ => text.ends_with(one.as_str()),
            };
            Value::from(wanted.iter().any(fits))
        }
        "replace" => {
            let (from, to): (String, String) = from_args(args)?;
            if text.matches(from.as_str()).count().saturating_mul(to.len()) > TEXT_MAX {
                return Err(Error::new(ErrorKind::InvalidOperation, "the text becomes too long"));
            }
            Value::from(text.replace(&from, &to))
        }
        "split" => {
            let (by,): (Option<String>,) = from_args(args)?;
            match by.filter(|by| !by.is_empty()) {
                Some(by) => text.split(by.as_str()).map(Value::from).collect(),
                None => text.split_whitespace().map(Value::from).collect(),
            }
        }
        "join" => {
            let (items,): (Value,) = from_args(args)?;
            let items: Vec<String> = items.try_iter()?.map(|item| item.to_string()).collect();
            Value::from(items.join(text))
        }
        "count" => {
            let (part,): (String,) = from_args(args)?;
            Value::from(text.matches(part.as_str()).count())
        }
        "find" => {
            let (part,): (String,) = from_args(args)?;
            let at = text.find(part.as_str()).map(|at| text[..at].chars().count());
            Value::from(at.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1))
        }
        "isdigit" => Value::from(!text.is_empty() && text.chars().all(|c| c.is_ascii_digit())),
        "format" => Value::from(format(text, args)?),
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

fn title(text: &str) -> String {
    let mut made = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        match inside {
            true => made.extend(c.to_lowercase()),
            false => made.extend(c.to_uppercase()),
        }
        inside = c.is_alphabetic();
    }
    made
}

/// `'{} of {}'.format(a, b)`, and with positions; nothing else of Python's formatting.
fn format(text: &str, args: &[Value]) -> Result<String, Error> {
    let mut made = String::new();
    let mut rest = text;
    let mut next = 0;
    while let Some((before, after)) = rest.split_once('{') {
        made.push_str(before);
        let Some((inside, after)) = after.split_once('}') else {
            return Err(Error::new(ErrorKind::InvalidOperation, "format() finds a { without a }"));
        };
        let at = match inside {
            "" => {
                next += 1;
                next - 1
            }
            number => number.parse::<usize>().map_err(|_| {
                let message = format!("format() does not know {{{number}}}");
                Error::new(ErrorKind::InvalidOperation, message)
            })?,
        };
        let Some(value) = args.get(at) else {
            return Err(Error::new(ErrorKind::MissingArgument, "format() has too few arguments"));
        };
        made.push_str(&value.to_string());
        if made.len() > TEXT_MAX {
            return Err(Error::new(ErrorKind::InvalidOperation, "the text becomes too long"));
        }
        rest = after;
    }
    made.push_str(rest);
    Ok(made)
}

fn map(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match method {
        "items" => state.apply_filter("items", std::slice::from_ref(value)),
        "keys" => Ok(value.try_iter()?.collect()),
        "values" => value.try_iter()?.map(|key| value.get_item(&key)).collect(),
        "get" => {
            let (key, default): (Value, Option<Value>) = from_args(args)?;
            let found = value.get_item(&key)?;
            Ok(match found.is_undefined() {
                true => default.unwrap_or_else(|| Value::from(())),
                false => found,
            })
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn list(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (wanted,): (Value,) = from_args(args)?;
    match method {
        "count" => Ok(Value::from(value.try_iter()?.filter(|item| *item == wanted).count())),
        "index" => match value.try_iter()?.position(|item| item == wanted) {
            Some(at) => Ok(Value::from(at)),
            None => Err(Error::new(ErrorKind::InvalidOperation, "the list does not hold it")),
        },
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

/// `tojson(value)`.
#[expect(clippy::needless_pass_by_value, reason = "the engine gives arguments by value")]
pub(super) fn to_json(value: Value) -> Result<String, Error> {
    serde_json::to_string(&value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
}

/// `fromjson(text)`.
#[expect(clippy::needless_pass_by_value, reason = "the engine gives arguments by value")]
pub(super) fn from_json(text: String) -> Result<Value, Error> {
    let value: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))?;
    Ok(Value::from(Serde(&value)))
}

/// `value | as_bool`.
#[expect(clippy::needless_pass_by_value, reason = "the engine gives arguments by value")]
pub(super) fn as_bool(value: Value) -> bool {
    match value.as_str() {
        Some(text) => matches!(text.trim().to_lowercase().as_str(), "true" | "1" | "yes"),
        None => value.is_true(),
    }
}

/// `value | as_number`.
pub(super) fn as_number(value: Value) -> Result<Value, Error> {
    let Some(text) = value.as_str().map(str::trim) else { return Ok(value) };
    if let Ok(whole) = text.parse::<i64>() {
        return Ok(Value::from(whole));
    }
    text.parse::<f64>()
        .map(Value::from)
        .map_err(|_| Error::new(ErrorKind::InvalidOperation, format!("\"{text}\" is not a number")))
}
