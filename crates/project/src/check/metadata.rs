//! The `metadata:` of `flywheel.yaml`: a schema that can be one, an address that is whole, and no password in the open.

use super::Check;
use crate::diagnostic::Diagnostic;
use crate::resource::project_file::PostgresMetadata;
use crate::yaml::Step;

/// The longest name of a schema, in bytes: the server cuts off what is longer, and moving it aside adds a few.
const NAME_BYTES_MAX: usize = 55;

impl Check<'_> {
    pub(super) fn metadata(&mut self) {
        let loaded = self.loaded;
        let Some(read) = &loaded.project else { return };
        let Some(declared) = &read.value.metadata.postgres else { return };
        let at = [Step::Key("metadata"), Step::Key("postgres")];
        let node = read.node.find(&at);
        let span = |key: &str| node.find(&[Step::Key(key)]).span;
        for (key, message, hint) in mistakes(declared) {
            let mistake = Diagnostic::error(span(key), message).hint(hint);
            // The line of an address may hold a password.
            match key {
                "url" => self.checked.out.push_hidden(&read.file, mistake),
                _ => self.push(&read.file, mistake),
            }
        }
        self.secrets(&read.file, None, node);
    }
}

/// What is wrong: where, what, and what to do.
fn mistakes(declared: &PostgresMetadata) -> Vec<(&'static str, String, &'static str)> {
    let mut found = Vec::new();
    let name = &declared.schema;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let theirs = name.starts_with("pg_") || ["information_schema", "public"].contains(&&**name);
    if !starts || !name.chars().all(fits) || name.len() > NAME_BYTES_MAX || theirs {
        found.push((
            "schema",
            format!("\"{name}\" cannot name the schema of a project's metadata"),
            "Use lower-case letters, digits and `_`, such as flywheel_shop; not `public`, and nothing that begins with pg_.",
        ));
    }
    let parts = declared.host.is_some() || declared.port.is_some() || declared.database.is_some();
    match &declared.url {
        Some(_) if parts => found.push((
            "url",
            "the metadata has a `url` and parts of one besides".to_owned(),
            "Set either `url`, or `host`, `port` and `database`.",
        )),
        Some(url) if holds_password(url) => found.push((
            "url",
            "\"url\" holds a secret in clear text".to_owned(),
            "Write ${secret:NAME} or ${env:NAME} in its place, or set `password` by reference; if it was ever committed, replace it.",
        )),
        Some(_) => {}
        None => {
            for (key, there) in [
                ("host", declared.host.is_some()),
                ("database", declared.database.is_some()),
                ("user", declared.user.is_some()),
            ] {
                if !there {
                    found.push((
                        "schema",
                        format!("the metadata has neither `url` nor `{key}`"),
                        "Set `host`, `database` and `user`, or `url`: postgres://user@host:5432/database.",
                    ));
                }
            }
        }
    }
    found
}

/// Whether an address has a password that is no reference.
fn holds_password(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let place = rest.split('/').next().unwrap_or_default();
    let Some((login, _)) = place.rsplit_once('@') else { return false };
    login
        .split_once(':')
        .is_some_and(|(_, password)| !password.is_empty() && !password.contains("${"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let declared: PostgresMetadata = serde_json::from_str(text).unwrap();
        let found = mistakes(&declared);
        let said: Vec<&str> = found.iter().map(|(_, message, _)| message.as_str()).collect();
        assert_eq!(said.len(), expected.len(), "{said:?}");
        for (said, word) in said.iter().zip(expected) {
            assert!(said.contains(word) && !said.contains("canary"), "{said}");
        }
    }

    #[test]
    fn an_address_is_whole_and_holds_no_password() {
        check(r#"{"schema": "shop", "url": "${env:URL}"}"#, &[]);
        check(r#"{"schema": "shop", "url": "postgres://u@h/d", "password": "${env:P}"}"#, &[]);
        check(r#"{"schema": "shop", "url": "postgres://u:${env:P}@h/d"}"#, &[]);
        check(r#"{"schema": "shop", "url": "postgres://u:canary@h/d"}"#, &["clear text"]);
        check(r#"{"schema": "shop", "url": "postgres://u@h/d", "port": 1}"#, &["parts"]);
        check(r#"{"schema": "shop", "host": "h", "database": "d", "user": "u"}"#, &[]);
        check(r#"{"schema": "shop", "host": "h"}"#, &["`database`", "`user`"]);
        check(r#"{"schema": "public", "url": "${env:URL}"}"#, &["public"]);
        check(r#"{"schema": "My Shop", "url": "${env:URL}"}"#, &["My Shop"]);
    }
}
