//! `modules.re`: Python's regular expressions, as far as those that need time in proportion to the text can follow it.

use std::fmt;
use std::sync::Arc;

use minijinja::value::{Kwargs, Object, ObjectRepr, Value, from_args};
use minijinja::{Error, ErrorKind, State};
use regex::{Captures, Regex, RegexBuilder};

/// The longest text that is looked at, and the longest that is made.
const TEXT_MAX: usize = 1 << 20;

/// The size of a compiled pattern at most, in bytes.
const PATTERN_MAX: usize = 1 << 20;

/// Python's numbers of the flags.
const FLAGS: &[(&str, u32)] = &[
    ("I", IGNORECASE),
    ("IGNORECASE", IGNORECASE),
    ("M", MULTILINE),
    ("MULTILINE", MULTILINE),
    ("S", DOTALL),
    ("DOTALL", DOTALL),
];
const IGNORECASE: u32 = 2;
const MULTILINE: u32 = 8;
const DOTALL: u32 = 16;

/// `modules.re`.
#[derive(Debug)]
pub(super) struct Patterns;

impl Object for Patterns {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        FLAGS.iter().find(|(known, _)| *known == name).map(|(_, flag)| Value::from(*flag))
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        let Parted { args, flags: named, count } = Parted::of(args, method == "sub")?;
        if method == "sub" {
            type Sub = (String, String, String, Option<usize>, Option<u32>);
            let (pattern, by, text, times, flags): Sub = from_args(args)?;
            let pattern = compiled(&pattern, named | flags.unwrap_or(0))?;
            // In Python 0 is every time.
            let most = times.or(count).filter(|most| *most > 0).unwrap_or(usize::MAX);
            return replaced(&pattern, &by, &text, most).map(Value::from);
        }
        // In Python the third argument of `split` says how often.
        if method == "split" {
            let (pattern, text): (String, String) = from_args(args)?;
            let pattern = compiled(&pattern, named)?;
            short(&text)?;
            return Ok(pattern.split(&text).map(Value::from).collect());
        }
        let known = ["match", "fullmatch", "search", "findall"];
        if !known.contains(&method) {
            return Err(Error::from(ErrorKind::UnknownMethod));
        }
        let (pattern, text, flags): (String, String, Option<u32>) = from_args(args)?;
        let pattern = match method {
            "match" => format!(r"\A(?:{pattern})"),
            "fullmatch" => format!(r"\A(?:{pattern})\z"),
            _ => pattern,
        };
        let pattern = compiled(&pattern, named | flags.unwrap_or(0))?;
        short(&text)?;
        Ok(match method {
            "findall" => pattern.captures_iter(&text).map(|found| listed(&found)).collect(),
            _ => match pattern.captures(&text) {
                Some(found) => Value::from_object(Match::of(&pattern, &found)),
                None => Value::from(()),
            },
        })
    }
}

/// What `findall` lists of one place: all of it, its only group, or its groups.
fn listed(found: &Captures<'_>) -> Value {
    let group = |at: usize| Value::from(found.get(at).map_or("", |part| part.as_str()));
    match found.len() {
        0 | 1 => group(0),
        2 => group(1),
        more => (1..more).map(group).collect(),
    }
}

/// The arguments of a call.
struct Parted<'a> {
    /// Those that have no name.
    args: &'a [Value],
    /// The flags, if they have their name.
    flags: u32,
    /// How often something is replaced, if that has its name.
    count: Option<usize>,
}

impl<'a> Parted<'a> {
    fn of(args: &'a [Value], counts: bool) -> Result<Self, Error> {
        let Some((named, plain)) = args.split_last().filter(|(named, _)| named.is_kwargs()) else {
            return Ok(Self { args, flags: 0, count: None });
        };
        let named = Kwargs::try_from(named.clone())?;
        let flags: Option<u32> = named.get("flags")?;
        let count: Option<usize> = if counts { named.get("count")? } else { None };
        named.assert_all_used()?;
        Ok(Self { args: plain, flags: flags.unwrap_or(0), count })
    }
}

fn compiled(pattern: &str, flags: u32) -> Result<Regex, Error> {
    let mut builder = RegexBuilder::new(pattern);
    builder.case_insensitive(flags & IGNORECASE != 0).multi_line(flags & MULTILINE != 0);
    builder.dot_matches_new_line(flags & DOTALL != 0).size_limit(PATTERN_MAX);
    builder.build().map_err(|error| {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
        Error::new(ErrorKind::InvalidOperation, format!("the pattern cannot be read: {why}"))
    })
}

/// Python's `\1` and `\g<name>` in what takes the place of a match; a `$` is one.
fn replaced(pattern: &Regex, by: &str, text: &str, most: usize) -> Result<String, Error> {
    short(text)?;
    let mut template = String::with_capacity(by.len());
    let mut rest = by.chars().peekable();
    while let Some(sign) = rest.next() {
        match (sign, rest.peek().copied()) {
            ('$', _) => template.push_str("$$"),
            ('\\', Some('g')) => {
                rest.next();
                let name: String =
                    rest.by_ref().skip_while(|c| *c == '<').take_while(|c| *c != '>').collect();
                template.push_str(&format!("${{{name}}}"));
            }
            ('\\', Some(digit)) if digit.is_ascii_digit() => {
                rest.next();
                template.push_str(&format!("${{{digit}}}"));
            }
            ('\\', Some('n')) => {
                rest.next();
                template.push('\n');
            }
            ('\\', Some('\\')) => {
                rest.next();
                template.push('\\');
            }
            _ => template.push(sign),
        }
    }
    let mut made = String::with_capacity(text.len());
    let mut end = 0;
    for found in pattern.captures_iter(text).take(most) {
        let Some(whole) = found.get(0) else { continue };
        made.push_str(text.get(end..whole.start()).unwrap_or_default());
        found.expand(&template, &mut made);
        short(&made)?;
        end = whole.end();
    }
    made.push_str(text.get(end..).unwrap_or_default());
    Ok(made)
}

fn short(text: &str) -> Result<(), Error> {
    match text.len() <= TEXT_MAX {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::InvalidOperation, "the text becomes too long")),
    }
}

/// What a pattern found.
#[derive(Debug)]
struct Match {
    /// All of it, and what each group found.
    groups: Vec<Option<String>>,
    /// What each of them is called.
    names: Vec<Option<String>>,
    start: usize,
    end: usize,
}

impl Match {
    fn of(pattern: &Regex, found: &Captures<'_>) -> Self {
        let groups = found.iter().map(|part| part.map(|part| part.as_str().to_owned()));
        let (start, end) = found.get(0).map_or((0, 0), |whole| (whole.start(), whole.end()));
        let names = pattern.capture_names().map(|name| name.map(str::to_owned)).collect();
        Self { groups: groups.collect(), names, start, end }
    }

    /// The group that a template names or counts.
    fn asked(&self, group: &Value) -> Result<Value, Error> {
        let Some(name) = group.as_str() else {
            return self.group(usize::try_from(group.clone())?);
        };
        match self.names.iter().position(|known| known.as_deref() == Some(name)) {
            Some(at) => self.group(at),
            None => {
                let message = format!("the pattern has no group \"{name}\"");
                Err(Error::new(ErrorKind::InvalidOperation, message))
            }
        }
    }

    fn group(&self, at: usize) -> Result<Value, Error> {
        match self.groups.get(at) {
            Some(Some(text)) => Ok(Value::from(text.as_str())),
            Some(None) => Ok(Value::from(())),
            None => {
                let message = format!("the pattern has no group {at}");
                Err(Error::new(ErrorKind::InvalidOperation, message))
            }
        }
    }
}

impl Object for Match {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        match method {
            "group" => {
                let (group,): (Option<Value>,) = from_args(args)?;
                group.map_or_else(|| self.group(0), |group| self.asked(&group))
            }
            "groups" => (1..self.groups.len()).map(|at| self.group(at)).collect(),
            "start" => Ok(Value::from(self.start)),
            "end" => Ok(Value::from(self.end)),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.groups.first().and_then(Option::as_deref).unwrap_or_default())
    }
}
