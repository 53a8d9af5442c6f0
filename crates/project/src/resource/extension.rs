//! `extensions/NAME/extension.yaml`.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule::Role;
use super::semantic::Label;

/// The folder of extensions, below the project's.
pub const FOLDER: &str = "extensions";

/// The file that declares an extension, in the extension's own folder.
pub const FILE: &str = "extension.yaml";

/// The largest file of an extension that is shown, in bytes.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// How many files an extension may have.
pub const FILES_MAX: usize = 500;

/// What a file of an extension is to a browser, by the end of its name. Others are not shown.
pub const FILE_TYPES: [(&str, &str); 16] = [
    ("html", "text/html; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("json", "application/json"),
    ("csv", "text/csv; charset=utf-8"),
    ("txt", "text/plain; charset=utf-8"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("ico", "image/x-icon"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
];

/// Pages and panels of your own among those of Flywheel: files of a folder `extensions/NAME`, shown in a frame that
/// reaches nothing but Flywheel's API, and there only what `scopes` say and whoever looks may do.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// The extension's name, which is also that of its folder.
    pub extension: String,
    /// What it is called; its name if absent.
    #[serde(default)]
    pub title: Label,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// Who answers for it.
    #[serde(default)]
    pub owner: Option<String>,
    /// What it may ask of the API at most. It never may more than whoever looks at it.
    #[serde(default)]
    pub scopes: BTreeSet<Scope>,
    /// Pages of their own, in the menu.
    #[serde(default)]
    #[schemars(length(max = 20))]
    pub pages: Vec<ExtensionPage>,
    /// Panels on pages of Flywheel.
    #[serde(default)]
    #[schemars(length(max = 20))]
    pub panels: Vec<ExtensionPanel>,
}

/// What an extension may ask of the API: what an engineer may do, who writes such files. Managing users and reading the
/// audit log are not among it, so that nobody gets these rights by writing a file that an owner opens.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// See states, declarations and names.
    View,
    /// Read rows.
    Query,
    /// Call published queries.
    Call,
    /// Change rows by SQL, and make, change and drop schemas, views and tables that no file declares.
    Write,
    /// Make, change and share dashboards.
    Author,
    /// Run, cancel, replay, retry, pause, resume, test connections.
    Operate,
    /// Let a challenger decide, and take that back.
    Promote,
    /// Hand in events and outcomes.
    Ingest,
    /// Ask for decisions and recommendations.
    Decide,
}

impl Scope {
    /// The word in files and in the API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Query => "query",
            Self::Call => "call",
            Self::Write => "write",
            Self::Author => "author",
            Self::Operate => "operate",
            Self::Promote => "promote",
            Self::Ingest => "ingest",
            Self::Decide => "decide",
        }
    }
}

/// A page of an extension.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtensionPage {
    /// The page's name, unique in its extension; the last part of its address.
    pub page: String,
    /// What the menu calls it; what the extension is called if absent.
    #[serde(default)]
    pub title: Label,
    /// The file it begins with: HTML below the extension's folder.
    #[serde(default = "index")]
    pub file: String,
    /// Whose menu has it; that of everybody who has all of the scopes if absent.
    #[serde(default)]
    pub roles: BTreeSet<Role>,
}

/// A panel of an extension.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtensionPanel {
    /// The panel's name, unique in its extension.
    pub panel: String,
    /// What stands above it; what the extension is called if absent.
    #[serde(default)]
    pub title: Label,
    /// The page that it stands on.
    pub on: PanelPlace,
    /// The file it begins with: HTML below the extension's folder.
    #[serde(default = "index")]
    pub file: String,
    /// How high it is, in pixels.
    #[serde(default = "height")]
    #[schemars(range(min = 60, max = 2000))]
    pub height: u16,
    /// Who sees it; everybody who has all of the scopes if absent.
    #[serde(default)]
    pub roles: BTreeSet<Role>,
}

/// Where a panel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PanelPlace {
    /// On the first page.
    Home,
    /// On the page of each table, model and other asset of the catalogue; the panel is told which one.
    Asset,
}

fn index() -> String {
    "index.html".to_owned()
}

fn height() -> u16 {
    320
}

/// The type of a file that may be shown; none for others.
#[must_use]
pub fn file_type(path: &str) -> Option<&'static str> {
    let (_, end) = path.rsplit('/').next()?.rsplit_once('.')?;
    FILE_TYPES.iter().find(|(known, _)| *known == end).map(|(_, kind)| *kind)
}

/// What is wrong with `path` as that of a file below an extension's folder, as the end of a sentence. A path without
/// problem cannot lead out of the folder, unless by a link on the disk.
#[must_use]
pub fn path_problem(path: &str) -> Option<&'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if path.len() > 255 {
        return Some("is longer than 255 characters");
    }
    for part in path.split('/') {
        if part.is_empty() {
            return Some("has an empty part");
        }
        // This is also what keeps `..` out.
        if part.starts_with('.') {
            return Some("has a part that starts with a dot");
        }
        if !part.chars().all(plain) {
            return Some("has other characters than ASCII letters, digits and . _ - /");
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_the_folder_and_types_are_known_ones() {
        for path in ["index.html", "lib/a-b_c.min.js", "a/b/c/d.svg"] {
            assert_eq!(path_problem(path), None, "{path}");
        }
        let long = "a".repeat(300);
        for path in [
            "",
            "/etc/passwd",
            "../x.html",
            "a/../../x.html",
            "a//b.js",
            ".env",
            "a/.git/x",
            "a\\b.js",
            "c:x.js",
            "a b.js",
            "\u{0}.js",
            "ü.js",
            "a/",
            "%2e%2e/x.js",
            &long,
        ] {
            assert!(path_problem(path).is_some(), "{path}");
        }
        assert_eq!(file_type("lib/x.min.js"), Some("text/javascript; charset=utf-8"));
        for path in ["x", "x.exe", "js", "a.js/x", "x.HTML", "x.yaml"] {
            assert_eq!(file_type(path), None, "{path}");
        }
    }

    #[test]
    fn no_extension_may_manage_users_or_read_the_audit_log() {
        for word in ["administer", "audit"] {
            assert!(serde_json::from_str::<Scope>(&format!("\"{word}\"")).is_err(), "{word}");
        }
        assert_eq!(serde_json::to_string(&Scope::Query).unwrap(), "\"query\"");
        assert_eq!(Scope::Query.word(), "query");
    }
}
