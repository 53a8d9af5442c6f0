//! The short text form of a normaliser or mask: `phone(CN)`, `hmac(key=${secret:pii})`.
//!
//! It is cut into arguments before references are resolved, so that a key may hold commas and
//! parentheses, and no message repeats what may be a secret.

use flywheel_base::{Error, Result, Secret, suggest};

/// The longest text form.
const FORM_CHARS_MAX: usize = 1_000;

/// One argument a normaliser or mask takes.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name, `key`.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub about: &'static str,
    /// What may be written for it.
    pub kind: ParameterKind,
}

/// What may be written for an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// One text.
    Text,
    /// One text, always with its name.
    Named,
    /// Any number of texts, without name.
    Texts,
    /// A reference to a secret, `${secret:name}`.
    Secret,
}

impl Parameter {
    /// One text.
    pub(crate) const fn text(name: &'static str, about: &'static str) -> Self {
        Self { name, about, kind: ParameterKind::Text }
    }

    /// One text, always with its name.
    pub(crate) const fn named(name: &'static str, about: &'static str) -> Self {
        Self { name, about, kind: ParameterKind::Named }
    }

    /// Any number of texts.
    pub(crate) const fn texts(name: &'static str, about: &'static str) -> Self {
        Self { name, about, kind: ParameterKind::Texts }
    }

    /// A reference to a secret.
    pub(crate) const fn secret(name: &'static str, about: &'static str) -> Self {
        Self { name, about, kind: ParameterKind::Secret }
    }
}

/// The key every keyed mask takes.
pub(crate) const KEY: Parameter =
    Parameter::secret("key", "A reference to a secret of at least 16 bytes: ${secret:pii}.");

/// Turns `${secret:pii}` into its value.
pub type Resolve<'a> = &'a dyn Fn(&str) -> Result<Secret>;

/// A text form cut into its parts.
#[derive(Debug, PartialEq)]
pub(crate) struct Form<'a> {
    /// The name before the parenthesis.
    pub(crate) name: &'a str,
    arguments: Vec<Argument<'a>>,
}

#[derive(Debug, PartialEq)]
struct Argument<'a> {
    name: Option<&'a str>,
    value: &'a str,
    quoted: bool,
}

impl<'a> Form<'a> {
    /// Cuts a text; `what` is the key it stands under, for messages.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if it is not `name` or `name(argument, …)`.
    pub(crate) fn parse(text: &'a str, what: &str) -> Result<Self> {
        let text = text.trim();
        let (name, rest) = match text.find(['(', '（']) {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let name = name.trim_end();
        let wrong = |problem: &str, hint: &str| {
            Err(Error::invalid(format!("the {what} {problem}")).hint(hint.to_owned()))
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || !name.chars().all(plain) || text.chars().count() > FORM_CHARS_MAX {
            return wrong("is not a name with arguments", "Write it as in phone(CN) or trim.");
        }
        if rest.is_empty() {
            return Ok(Self { name, arguments: Vec::new() });
        }
        let Some(inner) = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) else {
            return wrong(
                &format!("\"{name}\" does not end with its arguments in ( )"),
                "Write plain parentheses and nothing after them, as in phone(CN).",
            );
        };
        if inner.trim().is_empty() {
            return Ok(Self { name, arguments: Vec::new() });
        }
        let arguments: Vec<Argument<'_>> = split(inner).into_iter().map(argument).collect();
        if arguments.iter().any(|one| one.value.is_empty() && !one.quoted) {
            return wrong(
                &format!("\"{name}\" has an empty argument"),
                "Remove the comma too many; an empty text is written \"\".",
            );
        }
        Ok(Self { name, arguments })
    }

    /// Matches the arguments with what is allowed.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] naming the argument; those of `resolve`.
    pub(crate) fn arguments(
        &self,
        allowed: &[Parameter],
        resolve: Resolve<'_>,
    ) -> Result<Arguments> {
        let name = self.name;
        let mut arguments =
            Arguments { form: name.to_owned(), texts: Vec::new(), secrets: Vec::new() };
        for given in &self.arguments {
            let parameter = match given.name {
                Some(key) => allowed
                    .iter()
                    .find(|parameter| {
                        parameter.name == key && parameter.kind != ParameterKind::Texts
                    })
                    .ok_or_else(|| self.unknown(key, allowed))?,
                None => allowed
                    .iter()
                    .find(|parameter| match parameter.kind {
                        ParameterKind::Named => false,
                        ParameterKind::Texts => true,
                        _ => !arguments.has(parameter.name),
                    })
                    .ok_or_else(|| self.too_many(allowed))?,
            };
            if parameter.kind != ParameterKind::Texts && arguments.has(parameter.name) {
                return Err(Error::invalid(format!(
                    "{name}: the argument \"{}\" is given twice",
                    parameter.name
                ))
                .hint("Remove one of them."));
            }
            if parameter.kind == ParameterKind::Secret {
                if !is_reference(given.value) {
                    return Err(Error::invalid(format!(
                        "{name}: the argument \"{}\" is not a reference to a secret",
                        parameter.name
                    ))
                    .hint("Write ${secret:name}, ${env:NAME} or ${file:path}; a value in clear does not belong into a file."));
                }
                let secret = resolve(given.value)
                    .map_err(|error| error.context(format!("{name}({})", parameter.name)))?;
                arguments.secrets.push((parameter.name, secret));
            } else if given.value.contains("${") {
                return Err(Error::invalid(format!(
                    "{name}: the argument \"{}\" cannot be a reference",
                    parameter.name
                ))
                .hint(parameter.about));
            } else {
                arguments.texts.push((parameter.name, given.value.to_owned()));
            }
        }
        Ok(arguments)
    }

    fn unknown(&self, key: &str, allowed: &[Parameter]) -> Error {
        let named = allowed.iter().filter(|parameter| parameter.kind != ParameterKind::Texts);
        let known: Vec<&str> = named.map(|parameter| parameter.name).collect();
        Error::invalid(format!("{} has no argument \"{key}\"", self.name))
            .hint(suggest::hint(key, known))
    }

    fn too_many(&self, allowed: &[Parameter]) -> Error {
        let name = self.name;
        let error = Error::invalid(format!("{name} is given more arguments than it takes"));
        if allowed.is_empty() {
            return error.hint(format!("Write {name} without arguments."));
        }
        let about: Vec<String> =
            allowed.iter().map(|one| format!("{}: {}", one.name, one.about)).collect();
        error.hint(about.join(" "))
    }
}

/// Arguments that fit what their form allows.
#[derive(Debug)]
pub(crate) struct Arguments {
    form: String,
    texts: Vec<(&'static str, String)>,
    secrets: Vec<(&'static str, Secret)>,
}

impl Arguments {
    fn has(&self, name: &str) -> bool {
        self.text(name).is_some() || self.secrets.iter().any(|(known, _)| *known == name)
    }

    /// The text of that name.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.texts.iter().find(|(known, _)| *known == name).map(|(_, text)| text.as_str())
    }

    /// All texts of that name.
    pub(crate) fn texts(&self, name: &str) -> Vec<&str> {
        let named = self.texts.iter().filter(|(known, _)| *known == name);
        named.map(|(_, text)| text.as_str()).collect()
    }

    /// The text of that name as a number.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if it is none, or outside of `range`.
    pub(crate) fn number(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Result<Option<i64>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse::<i64>() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(self.wrong(
                name,
                text,
                format!("Write a whole number from {} to {}.", range.start(), range.end()),
            )),
        }
    }

    /// The key, which a mask cannot do without.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if it is absent or too short to be a key.
    pub(crate) fn key(&self) -> Result<&Secret> {
        let form = &self.form;
        let Some((_, key)) = self.secrets.iter().find(|(known, _)| *known == KEY.name) else {
            return Err(Error::invalid(format!("{form} lacks its argument \"key\""))
                .hint(format!("Write {form}(key=${{secret:name}}).")));
        };
        if key.expose().len() < super::mask::KEY_BYTES_MIN {
            return Err(Error::invalid(format!(
                "{form}: the key is shorter than {} bytes and could be guessed",
                super::mask::KEY_BYTES_MIN
            ))
            .hint(
                "Make one with `openssl rand -hex 32` and keep it: other keys give other values.",
            ));
        }
        Ok(key)
    }

    /// The error of an argument that is not possible.
    pub(crate) fn wrong(&self, name: &str, text: &str, hint: impl Into<String>) -> Error {
        Error::invalid(format!("{}: the argument \"{name}\" cannot be \"{text}\"", self.form))
            .hint(hint)
    }

    /// The error of an argument that is absent.
    pub(crate) fn absent(&self, name: &str, hint: impl Into<String>) -> Error {
        Error::invalid(format!("{} lacks its argument \"{name}\"", self.form)).hint(hint)
    }
}

/// Stands for the value of any reference while only the form is checked.
pub(crate) fn unresolved(_: &str) -> Result<Secret> {
    Ok(Secret::new("0".repeat(super::mask::KEY_BYTES_MIN)))
}

fn is_reference(value: &str) -> bool {
    value.starts_with("${") && value.ends_with('}')
}

/// Splits at commas outside of quotes and references.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut depth) = (Vec::new(), 0, false, 0_usize);
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '{' if before == '$' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
        before = c;
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

/// One argument, with its name if it has one.
fn argument(text: &str) -> Argument<'_> {
    let text = text.trim();
    let word = |c: char| c.is_ascii_lowercase() || c == '_';
    let named = text.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
    let (name, value) = match named {
        Some((name, value)) if !name.is_empty() && name.chars().all(word) => (Some(name), value),
        _ => (None, text),
    };
    let inner = value.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    Argument { name, value: inner.unwrap_or(value), quoted: inner.is_some() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMETERS: &[Parameter] =
        &[Parameter::text("by", "A column."), KEY, Parameter::text("days", "How many.")];

    fn parse(text: &str) -> Result<Arguments> {
        let resolve = |reference: &str| Ok(Secret::new(format!("{reference}-and-some-more-bytes")));
        Form::parse(text, "mask")?.arguments(PARAMETERS, &resolve)
    }

    #[test]
    fn arguments_are_found_by_place_and_by_name() {
        for text in [
            "shift(id, ${secret:a,b)c}, 3)",
            "shift(key=${secret:a,b)c}, days=3, by=id)",
            " shift ( \"id\" , key = ${secret:a,b)c},days= 3 ) ",
        ] {
            let arguments = parse(text).unwrap();
            assert_eq!(arguments.text("by"), Some("id"), "{text}");
            assert_eq!(arguments.number("days", 1..=9).unwrap(), Some(3), "{text}");
            assert!(arguments.key().unwrap().expose().starts_with("${secret:a,b)c}"), "{text}");
        }
        assert_eq!(Form::parse("trim", "clean").unwrap(), Form::parse("trim()", "clean").unwrap());
    }

    #[test]
    fn mistakes_name_the_argument_and_the_fix() {
        for (text, message, hint) in [
            ("", "is not a name", "phone(CN)"),
            ("a b", "is not a name", "phone(CN)"),
            ("shift（3）", "does not end", "plain parentheses"),
            ("shift(3", "does not end", "plain parentheses"),
            ("shift(3) x", "does not end", "plain parentheses"),
            ("shift(3,)", "empty argument", "comma"),
            ("shift(dasy=3)", "no argument \"dasy\"", "\"days\""),
            ("shift(by=a, by=b)", "given twice", "Remove"),
            ("shift(a, ${env:K}, 3, 4)", "more arguments", "by: A column."),
            ("shift(a, ${env:K}, ${env:N})", "cannot be a reference", "How many"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message().contains(message), "{text}: {error}");
            assert!(error.hint_text().unwrap().contains(hint), "{text}: {error:?}");
        }
    }

    #[test]
    fn a_key_in_clear_is_refused_and_not_repeated() {
        for text in ["shift(key=hunter2hunter2)", "shift(a, hunter2hunter2)"] {
            let error = parse(text).unwrap_err();
            assert!(error.message().contains("not a reference"), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
        let short = |_: &str| Ok(Secret::new("hunter2"));
        let form = Form::parse("shift(key=${env:K})", "mask").unwrap();
        let error = form.arguments(PARAMETERS, &short).unwrap().key().unwrap_err();
        assert!(error.message().contains("shorter than 16 bytes"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        assert!(parse("shift(a)").unwrap().key().unwrap_err().message().contains("lacks"));
    }
}
