//! References to secrets: `${env:NAME}`, `${file:path}`, `${secret:name}`.
//!
//! A declaration never holds a secret itself, so it can be committed and shown. References are
//! resolved at the moment a connector is opened. `$${` writes a literal `${`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flywheel_base::{Error, Result, Secret, env};
use serde_json::{Map, Value as Json};

use crate::diagnostic::Span;
use crate::vault::Vault;

/// The largest file a `${file:…}` reads.
const SECRET_SIZE_MAX: u64 = 64 << 10;

/// Words that end the name of a field that holds a secret.
const SECRET_WORDS: &[&str] = &["password", "passwd", "token", "secret", "apikey", "authorization"];

/// Names of secret fields that end in a harmless word.
const SECRET_NAMES: &[&str] =
    &["api_key", "access_key", "private_key", "secret_key", "account_key"];

/// A part of a text with references.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Text that stands for itself.
    Text(&'a str),
    /// `${env:…}`.
    Env(&'a str),
    /// `${file:…}`.
    File(&'a str),
    /// `${secret:…}`.
    Stored(&'a str),
}

/// Splits a text at its references.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a reference is not closed, has no name or an unknown
/// scheme. The message repeats nothing but the scheme.
pub(crate) fn parts(text: &str) -> Result<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if at > 0 && rest.as_bytes().get(at - 1) == Some(&b'$') {
            parts.extend([Part::Text(&rest[..at - 1]), Part::Text("${")]);
            rest = &rest[at + 2..];
            continue;
        }
        parts.push(Part::Text(&rest[..at]));
        let inner = &rest[at + 2..];
        let Some(end) = inner.find('}') else {
            return Err(Error::invalid("a reference `${` is not closed")
                .hint("Write ${env:NAME}; a literal ${ is written $${."));
        };
        parts.push(reference(&inner[..end])?);
        rest = &inner[end + 1..];
    }
    parts.push(Part::Text(rest));
    parts.retain(|part| *part != Part::Text(""));
    Ok(parts)
}

fn reference(inner: &str) -> Result<Part<'_>> {
    let (scheme, name) = inner.split_once(':').unwrap_or((inner, ""));
    let name = name.trim();
    let made = match scheme.trim() {
        "env" => Part::Env(name),
        "file" => Part::File(name),
        "secret" => Part::Stored(name),
        _ => {
            return Err(Error::invalid("a reference `${…}` is neither env, file nor secret").hint(
                "Write ${env:NAME}, ${file:path} or ${secret:name}; a literal ${ is written $${.",
            ));
        }
    };
    if name.is_empty() {
        return Err(Error::invalid(format!("a reference `${{{}:}}` has no name", scheme.trim()))
            .hint("Write ${env:NAME}, ${file:path} or ${secret:name}."));
    }
    Ok(made)
}

/// Whether the whole text is one reference, which may stand for any scalar.
pub(crate) fn is_reference(text: &str) -> bool {
    text.starts_with("${") && parts(text).is_ok_and(|parts| parts.len() == 1)
}

/// Whether a field of this name holds a secret.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let name = name.to_lowercase().replace('-', "_");
    let last = name.rsplit('_').next().unwrap_or(&name);
    SECRET_WORDS.contains(&last) || SECRET_NAMES.iter().any(|known| name.ends_with(known))
}

/// What stands in the place of a password that is not shown.
pub(crate) const VEIL: &str = "(secret)";
/// What a password comes after in settings that are one text.
const PASSWORD_WORDS: &[&str] = &["password=", "pwd="];

/// A text without the passwords that stand within its addresses, `scheme://user:password@host`, and behind `password=` and
/// `pwd=`; references stay.
#[must_use]
pub fn veiled(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, password, after)) = next_password(rest) {
        out.push_str(before);
        let shown = password.is_empty() || password.contains("${") || password == VEIL;
        out.push_str(if shown { password } else { VEIL });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The next place where a password may stand: the text before it, the password, the text after it.
fn next_password(text: &str) -> Option<(&str, &str, &str)> {
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'');
    let of_address = text.match_indices("://").find_map(|(at, mark)| {
        let from = at + mark.len();
        let whole = text.get(from..)?;
        let reach = whole.find(|c: char| ends(c) || matches!(c, '/' | '?' | '#'));
        let (user, _) = whole.get(..reach.unwrap_or(whole.len()))?.rsplit_once('@')?;
        let (name, password) = user.split_once(':')?;
        let start = from + name.len() + 1;
        Some((start, start + password.len()))
    });
    let lower = text.to_ascii_lowercase();
    let of_word = PASSWORD_WORDS.iter().filter_map(|word| {
        let start = lower.find(word)? + word.len();
        let rest = text.get(start..)?;
        let length = rest.find(|c: char| ends(c) || matches!(c, ';' | '&' | ','));
        Some((start, start + length.unwrap_or(rest.len())))
    });
    let (start, end) = of_address.into_iter().chain(of_word).min()?;
    Some((text.get(..start)?, text.get(start..end)?, text.get(end..)?))
}

/// The files that references `${file:…}` of a text name, each as it is written there.
#[must_use]
pub fn named_files(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    // A text with one reference that is not closed has others that are.
    for (at, _) in text.match_indices("${") {
        let literal = at > 0 && text.as_bytes().get(at - 1) == Some(&b'$');
        let inner = text[at + 2..].split(['}', '\n']).next().unwrap_or_default();
        if let Ok(Part::File(name)) = reference(inner)
            && !literal
        {
            found.push(name);
        }
    }
    found
}

/// The stored secrets that references `${secret:…}` of a text name, with their places; lines of comment are passed over.
pub(crate) fn named_secrets(text: &str) -> Vec<(&str, Span)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with('#') {
            continue;
        }
        for (at, _) in line.match_indices("${") {
            let literal = at > 0 && line.as_bytes().get(at - 1) == Some(&b'$');
            let inner = line[at + 2..].split('}').next().unwrap_or_default();
            if let Ok(Part::Stored(name)) = reference(inner)
                && !literal
            {
                let column = line[..at].chars().count() + 1;
                // With the `${` before it and the `}` after it.
                found.push((name, Span::new(index + 1, column, inner.chars().count() + 3)));
            }
        }
    }
    found
}

/// Whether a text of YAML or of `KEY=value` lines holds a secret as it is, not as a reference to one.
#[must_use]
pub fn holds_secret(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim_start().trim_start_matches("- ");
        let Some((name, value)) = line.split_once([':', '=']) else { return false };
        let name = name.trim().trim_start_matches("export ").trim_matches(['"', '\'']);
        // `pass` is dbt's other word for a password.
        let secret = is_secret_name(name) || name.eq_ignore_ascii_case("pass");
        let value = value.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']);
        secret && !value.is_empty() && !value.contains("${") && !value.contains("{{")
    })
}

/// Replaces every reference in `options` by its value; files are relative to `dir`.
///
/// What a reference stands for is text; connectors make of it the number or truth value they ask for.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if a variable, file or stored secret does not exist,
/// [`flywheel_base::ErrorKind::Invalid`] if a reference is malformed; those of [`Vault::reveal`].
pub fn resolve_secrets(dir: &Path, options: &Map<String, Json>) -> Result<Map<String, Json>> {
    resolve_secrets_with(dir, options, &|name| Vault::of(dir).reveal(name))
}

/// The value of a text with references, such as the key of a mask; files are relative to `dir`.
///
/// # Errors
/// As [`resolve_secrets`].
pub fn resolve_secret(dir: &Path, text: &str) -> Result<Secret> {
    match resolve(dir, &Json::String(text.to_owned()), &|name| Vault::of(dir).reveal(name))? {
        Json::String(value) => Ok(Secret::new(value)),
        _ => Err(Error::internal("a reference stands for no text")),
    }
}

/// Like [`resolve_secrets`], with a store of named secrets for `${secret:name}`.
///
/// # Errors
/// As [`resolve_secrets`], and those of `stored`.
pub fn resolve_secrets_with(
    dir: &Path,
    options: &Map<String, Json>,
    stored: &dyn Fn(&str) -> Result<Secret>,
) -> Result<Map<String, Json>> {
    options
        .iter()
        .map(|(key, value)| {
            let value = resolve(dir, value, stored).map_err(|error| error.context(key))?;
            Ok((key.clone(), value))
        })
        .collect()
}

/// Like [`resolve_secrets`], for the settings of streams and targets: what they say stands in errors and beside rows that
/// are set aside, so a secret is refused there.
///
/// # Errors
/// As [`resolve_secrets`]; [`flywheel_base::ErrorKind::Invalid`] for a reference that is not to the environment.
pub fn resolve_settings(dir: &Path, settings: &Map<String, Json>) -> Result<Map<String, Json>> {
    for (key, value) in settings {
        if names_secret(value)? {
            return Err(Error::invalid(format!("{key} refers to a secret"))
                .hint("Settings of streams and targets are shown in errors. Put secrets into the connection; ${env:NAME} stands for what is none."));
        }
    }
    resolve_secrets(dir, settings)
}

/// Whether a reference in `value` is to a file or a stored secret.
fn names_secret(value: &Json) -> Result<bool> {
    match value {
        Json::String(text) => {
            Ok(parts(text)?.iter().any(|part| matches!(part, Part::File(_) | Part::Stored(_))))
        }
        Json::Array(items) => items.iter().try_fold(false, |any, one| Ok(any | names_secret(one)?)),
        Json::Object(fields) => {
            fields.values().try_fold(false, |any, one| Ok(any | names_secret(one)?))
        }
        _ => Ok(false),
    }
}

fn resolve(dir: &Path, value: &Json, stored: &dyn Fn(&str) -> Result<Secret>) -> Result<Json> {
    match value {
        Json::String(text) => {
            let mut resolved = String::new();
            for part in parts(text)? {
                match part {
                    Part::Text(text) => resolved.push_str(text),
                    Part::Env(name) => resolved.push_str(&env::required(name)?),
                    Part::File(path) => resolved.push_str(&read(&dir.join(path))?),
                    Part::Stored(name) => resolved.push_str(stored(name)?.expose()),
                }
            }
            Ok(Json::String(resolved))
        }
        Json::Array(items) => items.iter().map(|item| resolve(dir, item, stored)).collect(),
        Json::Object(map) => Ok(Json::Object(resolve_secrets_with(dir, map, stored)?)),
        other => Ok(other.clone()),
    }
}

/// The file's text without the newline editors put at its end.
fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(SECRET_SIZE_MAX + 1).read_to_string(&mut text))
        .map_err(|error| Error::io("read the secret file", path, error))?;
    if text.len() as u64 > SECRET_SIZE_MAX {
        return Err(Error::exhausted(format!(
            "the secret file {} is larger than 64 KiB",
            path.display()
        ))
        .hint("Point ${file:…} at a file that holds nothing but the secret."));
    }
    let end = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(end);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found_between_text_and_escapes_stay() {
        assert_eq!(
            parts("a${env:X}b$${y}").unwrap(),
            [Part::Text("a"), Part::Env("X"), Part::Text("b"), Part::Text("${"), Part::Text("y}")]
        );
        for bad in ["${env:X", "${env:}", "${vault:x}", "${}"] {
            assert!(parts(bad).unwrap_err().hint_text().is_some(), "{bad}");
        }
        assert!(is_reference("${env:PORT}") && !is_reference("x${env:PORT}"));
    }

    #[test]
    fn files_are_relative_to_the_project_and_nested_options_are_resolved() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("pw"), "hunter2\n").unwrap();
        let options =
            serde_json::json!({"login": {"password": "${file:pw}"}, "port": 5, "u": ["$${x}"]});
        let resolved = resolve_secrets(dir.path(), options.as_object().unwrap()).unwrap();
        assert_eq!(
            Json::Object(resolved),
            serde_json::json!({"login": {"password": "hunter2"}, "port": 5, "u": ["${x}"]})
        );
    }

    #[test]
    fn one_reference_is_resolved_to_a_secret() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), "hunter2\n").unwrap();
        assert_eq!(resolve_secret(dir.path(), "${file:key}").unwrap().expose(), "hunter2");
        assert!(resolve_secret(dir.path(), "${file:none}").unwrap_err().message().contains("none"));
    }

    #[test]
    fn a_missing_secret_names_the_field_and_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let error = |text: &str| {
            let options = serde_json::json!({"password": text});
            resolve_secrets(dir.path(), options.as_object().unwrap()).unwrap_err()
        };
        let unset = error("${env:FLYWHEEL_TEST_UNSET}");
        assert!(unset.message().starts_with("password: environment variable"), "{unset}");
        assert!(error("${secret:crm}").message().contains("\"crm\""));
        assert!(error("${file:none}").message().contains("none"));
    }

    #[test]
    fn a_stored_secret_is_resolved_wherever_a_reference_may_stand() {
        let dir = tempfile::tempdir().unwrap();
        let value = Secret::new("hunter2");
        let none = resolve_secret(dir.path(), "${secret:crm}").unwrap_err();
        assert!(none.hint_text().unwrap().contains("flywheel secret set crm"), "{none:?}");
        Vault::of(dir.path()).set("crm", &value, flywheel_base::Timestamp::default()).unwrap();
        assert_eq!(resolve_secret(dir.path(), "${secret:crm}").unwrap(), value);
        let options = serde_json::json!({"url": "postgres://u:${secret: crm}@h/d"});
        assert_eq!(
            Json::Object(resolve_secrets(dir.path(), options.as_object().unwrap()).unwrap()),
            serde_json::json!({"url": "postgres://u:hunter2@h/d"})
        );
        // What streams and targets say stands in errors.
        let refused = resolve_settings(dir.path(), options.as_object().unwrap()).unwrap_err();
        assert!(refused.message().contains("refers to a secret"), "{refused}");
    }

    #[test]
    fn references_to_stored_secrets_are_found_at_their_places() {
        let text = "# ${secret:no}\nurl: 'p://u:${secret: a}@h/${secret:b}'\nx: $${secret:no}\n密: ${secret:c}\ny: ${env:A}\n";
        assert_eq!(
            named_secrets(text),
            [("a", Span::new(2, 13, 12)), ("b", Span::new(2, 28, 11)), ("c", Span::new(4, 4, 11)),]
        );
    }

    #[test]
    fn files_of_secrets_and_secrets_in_the_open_are_found() {
        let text =
            "token: ${file: keys/crm.key}\nnote: $${file:no}\nx: ${file\ny: ${env:A}${file:b}\n";
        assert_eq!(named_files(text), ["keys/crm.key", "b"]);
        for text in ["  password: hunter2", "CRM_TOKEN=abc", "- pass: 'x'", "export API_KEY=\"1\""]
        {
            assert!(holds_secret(text), "{text}");
        }
        for text in
            ["password: ${env:P}", "pass: \"{{ env_var('P') }}\"", "password:", "token_url: x"]
        {
            assert!(!holds_secret(text), "{text}");
        }
    }

    #[test]
    fn passwords_within_a_text_are_veiled_and_references_are_not() {
        for (text, expected) in [
            ("url: https://u:hunter2@h/p?q#f", "url: https://u:(secret)@h/p?q#f"),
            ("'a://u:p:q@h' b://x:y@z", "'a://u:(secret)@h' b://x:(secret)@z"),
            ("Server=h;PWD=hunter2;Uid=u", "Server=h;PWD=(secret);Uid=u"),
            ("host=h password=hunter2", "host=h password=(secret)"),
        ] {
            assert_eq!(veiled(text), expected);
        }
        for text in
            ["https://h/a:b@c", "https://u@h", "p://u:${env:P}@h", "pwd=${secret:p};x", "中文"]
        {
            assert_eq!(veiled(text), text);
        }
    }

    #[test]
    fn secret_fields_are_known_by_their_last_word() {
        for name in ["password", "db_password", "api_token", "API-Key", "client_secret"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["token_url", "key", "secret_name", "path"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
