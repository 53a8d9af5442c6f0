//! Where something is in a JSON answer: `data.items`, or the JSON pointer `/data/items`.
//!
//! A path is walked over the text itself, so that what it finds keeps every digit.

use std::borrow::Cow;

use flywheel_base::{Error, Result};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::source::jsonl::object;

/// The most steps a path has.
const STEPS_MAX: usize = 32;

/// A way from an answer to something in it; without steps, the answer itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct JsonPath(Vec<String>);

impl JsonPath {
    /// Reads a path.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a step is empty or there are too many.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let steps: Vec<String> = match text.strip_prefix('/') {
            Some(pointer) => {
                pointer.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
            }
            None if text.is_empty() => Vec::new(),
            None => text.split('.').map(str::to_owned).collect(),
        };
        if steps.len() > STEPS_MAX || steps.iter().any(String::is_empty) {
            return Err(Error::invalid(format!("\"{text}\" is not a path into an answer"))
                .hint("Write names with dots, `data.items`, or a JSON pointer, `/data/items`."));
        }
        Ok(Self(steps))
    }

    /// Reads a path that need not be there.
    ///
    /// # Errors
    /// As [`JsonPath::parse`].
    pub(crate) fn parse_option(text: Option<&String>) -> Result<Option<Self>> {
        text.map(|text| Self::parse(text)).transpose()
    }

    /// Its steps.
    pub(crate) fn steps(&self) -> &[String] {
        &self.0
    }

    /// The text of what is at the path; nothing if a step is missing or leads into a plain value.
    ///
    /// # Errors
    /// The text is not JSON.
    pub(crate) fn find<'a>(&self, text: &'a str) -> serde_json::Result<Option<&'a str>> {
        let mut here: &'a RawValue = serde_json::from_str(text)?;
        for step in &self.0 {
            let next = match here.get().as_bytes().first() {
                Some(b'{') => {
                    let members = object::members(here.get())?;
                    members.into_iter().find(|(name, _)| name == step).map(|(_, value)| value)
                }
                Some(b'[') => {
                    let items: Vec<&'a RawValue> = serde_json::from_str(here.get())?;
                    step.parse::<usize>().ok().and_then(|at| items.get(at).copied())
                }
                _ => None,
            };
            match next {
                Some(next) => here = next,
                None => return Ok(None),
            }
        }
        Ok(Some(here.get()))
    }

    /// What is at the path as the text of a plain value: a string without its quotes, a number or a
    /// truth value as written; nothing for `null`, objects and lists.
    ///
    /// # Errors
    /// The text is not JSON.
    pub(crate) fn plain(&self, text: &str) -> serde_json::Result<Option<String>> {
        #[derive(Deserialize)]
        struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
        let Some(found) = self.find(text)? else { return Ok(None) };
        Ok(match found.as_bytes().first() {
            Some(b'"') => Some(serde_json::from_str::<Text<'_>>(found)?.0.into_owned()),
            Some(b'{' | b'[' | b'n') | None => None,
            Some(_) => Some(found.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_find_the_same_and_keep_digits() {
        let text = r#"{"data":{"items":[{"id":9007199254740993,"a/b":"x\"y"}],"none":null}}"#;
        for (path, expected) in [
            ("data.items.0.id", Some("9007199254740993")),
            ("/data/items/0/id", Some("9007199254740993")),
            ("/data/items/0/a~1b", Some("x\"y")),
            ("data.none", None),
            ("data.items.1", None),
            ("data.items.0.id.deeper", None),
            ("data", None),
        ] {
            let found = JsonPath::parse(path).unwrap().plain(text).unwrap();
            assert_eq!(found.as_deref(), expected, "{path}");
        }
        assert_eq!(JsonPath::parse("").unwrap().find("[1, 2]").unwrap(), Some("[1, 2]"));
        assert!(JsonPath::parse("data..items").is_err());
        assert!(JsonPath::parse("data").unwrap().find("{\"data\":").is_err());
    }
}
