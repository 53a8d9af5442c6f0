//! The `sign_in:` of `flywheel.yaml`: its addresses, its secret, and that somebody can sign in.

use std::net::IpAddr;

use super::Check;
use crate::diagnostic::{Diagnostic, Span};
use crate::load::Read;
use crate::resource::project_file::{ProjectFile, RoleOfOthers};
use crate::yaml::Step;

/// The key and the claims of the file that may not be empty.
const CLAIMS: [(&str, &[&str]); 3] =
    [("user", &["user"]), ("roles.from", &["roles", "from"]), ("groups", &["groups"])];

impl Check<'_> {
    pub(super) fn sign_in(&mut self) {
        let loaded = self.loaded;
        let Some(read) = &loaded.project else { return };
        let Some(declared) = &read.value.sign_in else { return self.no_sign_in(read) };
        let span = |keys: &[&str]| span(read, keys);
        let mut mistakes = Vec::new();
        if let Err((problem, hint)) = place(&declared.issuer, Path::Any) {
            let message = format!("the issuer {problem}");
            mistakes.push(Diagnostic::error(span(&["issuer"]), message).hint(hint));
        }
        if let Err((problem, hint)) = place(&declared.address, Path::None) {
            let message = format!("the address {problem}");
            mistakes.push(Diagnostic::error(span(&["address"]), message).hint(hint));
        }
        for scope in &declared.scopes {
            let plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
            if scope.is_empty() || !scope.chars().all(plain) {
                let message = format!("\"{scope}\" cannot be a scope");
                let hint = "List scopes one by one: [profile, email, groups].";
                mistakes.push(Diagnostic::error(span(&["scopes"]), message).hint(hint));
            }
        }
        let claims = [&declared.user, &declared.roles.from, declared.groups_claim()];
        for ((name, keys), claim) in CLAIMS.iter().zip(claims) {
            if claim.trim().is_empty() {
                let message = format!("`{name}` names no claim");
                let hint = "Write the claim's name as the provider's ID token has it.";
                mistakes.push(Diagnostic::error(span(keys), message).hint(hint));
            }
        }
        if declared.roles.map.is_empty() && declared.roles.default == RoleOfOthers::None {
            let message = "sign_in gives nobody a role, so nobody can sign in";
            let hint = "Map a group: roles: {from: groups, map: {data-team: engineer}}, or write `default: viewer`.";
            mistakes.push(Diagnostic::error(span(&["roles"]), message).hint(hint));
        }
        for mistake in mistakes {
            self.push(&read.file, mistake);
        }
        let node = read.node.find(&[Step::Key("sign_in"), Step::Key("client_secret")]);
        if declared.client_secret.is_some() {
            self.secrets(&read.file, Some(("client_secret", node.span)), node);
        }
    }

    /// Without a provider, nobody has groups of one.
    fn no_sign_in(&mut self, read: &Read<ProjectFile>) {
        for (name, group) in &read.value.groups {
            if group.provider_groups.is_empty() {
                continue;
            }
            let path = [Step::Key("groups"), Step::Key(name), Step::Key("provider_groups")];
            let message = format!(
                "group \"{name}\" has members from an identity provider, and there is none"
            );
            let hint = "Declare the provider under `sign_in`, or leave out `provider_groups`.";
            let mistake = Diagnostic::error(read.node.find(&path).span, message).hint(hint);
            self.push(&read.file, mistake);
        }
    }
}

fn span(read: &Read<ProjectFile>, keys: &[&str]) -> Span {
    let mut path = vec![Step::Key("sign_in")];
    path.extend(keys.iter().map(|key| Step::Key(key)));
    read.node.find(&path).span
}

/// Whether an address may have a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Path {
    Any,
    None,
}

/// Refuses what is no address of a web server: with the problem and what to write.
fn place(text: &str, path: Path) -> Result<(), (String, String)> {
    let example = match path {
        Path::Any => "https://id.example.com/realms/main",
        Path::None => "https://flywheel.example.com",
    };
    let wrong = |problem: &str| Err((problem.to_owned(), format!("Write it as {example}.")));
    let Some((scheme, rest)) = text.split_once("://") else {
        return wrong("has no https:// at its beginning");
    };
    if text.chars().any(|c| !c.is_ascii_graphic() || c == '\\') {
        return wrong("has a character that addresses do not have");
    }
    if rest.contains(['?', '#']) {
        return wrong("has a `?` or `#`");
    }
    let (server, below) = rest.split_once('/').unwrap_or((rest, ""));
    if server.contains('@') {
        return wrong("has a user name or password");
    }
    let host = match server.strip_prefix('[').and_then(|server| server.split_once(']')) {
        Some((host, _)) => host,
        None => server.split(':').next().unwrap_or_default(),
    };
    if host.is_empty() {
        return wrong("names no server");
    }
    if path == Path::None && !below.is_empty() {
        return wrong("has a path");
    }
    let here = host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match scheme {
        "https" => Ok(()),
        "http" if here => Ok(()),
        "http" => Err((
            "is plain http, which anybody on the way can read and change".to_owned(),
            "Write https://…; http is for this machine only (localhost, 127.0.0.1).".to_owned(),
        )),
        _ => wrong("is neither https nor http"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_the_web_and_secret_unless_they_are_of_this_machine() {
        for (text, any, none) in [
            ("https://id.example.com/realms/main", true, false),
            ("https://id.example.com", true, true),
            ("https://id.example.com/", true, true),
            ("http://127.0.0.1:8700", true, true),
            ("http://[::1]:8700", true, true),
            ("http://localhost:8700", true, true),
            ("http://id.example.com", false, false),
            ("http://127.0.0.1.example.com", false, false),
            ("http://localhost@example.com", false, false),
            ("https://u:p@id.example.com", false, false),
            ("https://id.example.com?x=1", false, false),
            ("https://id.example.com#x", false, false),
            ("https://id.example.com\\@x", false, false),
            ("https://", false, false),
            ("ftp://id.example.com", false, false),
            ("id.example.com", false, false),
        ] {
            assert_eq!(place(text, Path::Any).is_ok(), any, "{text}");
            assert_eq!(place(text, Path::None).is_ok(), none, "{text} without a path");
        }
    }
}
