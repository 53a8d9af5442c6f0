//! Files that declare something, made and changed by pages: read, checked as drafts, written and removed.
//!
//! ```text
//! a text, or values for one ─► draft ─► the whole project with it ─┬─ every mistake, with its place
//!                                                                 └─ the file, whole or not at all
//! ```
//! Nothing is written that the project could not be read with, and nothing over what somebody else wrote meanwhile. What a
//! policy's file says by a page decides nothing before somebody lets the policy go on.

use std::fs;
use std::path::{Path, PathBuf};

use flywheel_base::{Error, ErrorKind, Result, digest, suggest};
use flywheel_project::resource::{RESOURCES, ResourceKind};
use flywheel_project::yaml::{self, Node, written};
use flywheel_project::{
    Diagnostic, Diagnostics, Draft, NodeKind, Project, Severity, SourceFile, Span, veiled,
};
use flywheel_state::PolicyState;
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::access::Reading;
use crate::{Workspace, dashboard, policy, published, run};

/// A kind of declaration that has files of its own.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Where its files are and what they may hold.
    pub resource: &'static ResourceKind,
    /// What they declare.
    pub node: NodeKind,
}

/// How far what a file declares reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It is asked on behalf of who reads, by the rules.
    Reader,
    /// It runs on behalf of the project, without rules.
    Project,
    /// It says where secrets and rows go, which programs run, or who sees what.
    Outside,
}

impl Kind {
    /// All of them, in the order of the wheel.
    pub fn all() -> impl Iterator<Item = Self> {
        RESOURCES.iter().filter_map(|resource| Some(Self { resource, node: resource.declares()? }))
    }

    /// The kind of that name.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] with the nearest name.
    pub fn named(word: &str) -> Result<Self> {
        Self::all().find(|kind| kind.resource.name == word).ok_or_else(|| {
            let known = Self::all().map(|kind| kind.resource.name);
            let known: Vec<&str> = known.collect();
            Error::not_found(format!("there are no files of the kind \"{word}\""))
                .hint(suggest::hint(word, known))
        })
    }

    /// How far what it declares reaches.
    #[must_use]
    pub fn reach(self) -> Reach {
        match self.node {
            NodeKind::Dictionary | NodeKind::Semantic | NodeKind::Dashboard | NodeKind::Query => {
                Reach::Reader
            }
            NodeKind::Connection | NodeKind::Action | NodeKind::Rule | NodeKind::Grant => {
                Reach::Outside
            }
            _ => Reach::Project,
        }
    }
}

/// A declaration as its file has it. Passwords that stand in it in clear text are veiled.
#[derive(Clone, Debug, Serialize)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// Its file, relative to the project folder.
    pub file: String,
    /// The text of the file.
    pub text: String,
    /// What the text says.
    pub value: Json,
    /// What the project warns of in it.
    pub problems: Vec<Mistake>,
    /// Which text it is.
    #[serde(skip)]
    pub version: String,
}

/// What a file shall say: a text, or values; both for a text with values put in their places.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The text.
    pub text: Option<String>,
    /// The values, for the text or, without one, for the file as it is.
    pub value: Option<Json>,
}

impl Wanted {
    fn over(&self, before: &str) -> Result<String> {
        match (&self.text, &self.value) {
            (Some(text), None) => Ok(text.clone()),
            (text, Some(Json::Object(value))) => {
                Ok(written::edited(text.as_deref().unwrap_or(before), value))
            }
            (_, Some(_)) => Err(Error::invalid("the value of a declaration is no object")
                .hint("Give its keys and values, as its schema has them.")),
            (None, None) => Err(Error::invalid("neither a text nor a value is given")
                .hint("Give text, the YAML of the file, or value, what it says.")),
        }
    }
}

/// A mistake of a draft or of another file that cannot be read with it.
#[derive(Clone, Debug, Serialize)]
pub struct Mistake {
    /// How bad it is.
    pub severity: Severity,
    /// The file, relative to the project folder.
    pub file: String,
    /// The line, from 1; 0 if it is about the whole file.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// A sentence that mends it.
    pub hint: Option<String>,
    /// The keys, and numbers of items from 0, that lead to what is meant in the draft.
    pub at: Vec<String>,
}

/// A draft that was checked with the whole project.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// The name that the text gives it; empty if it gives none.
    pub name: String,
    /// Its file, relative to the project folder.
    pub file: String,
    /// The text, with passwords veiled.
    pub text: String,
    /// What the text says; null if it cannot be read.
    pub value: Json,
    /// Every mistake, sorted by place.
    pub problems: Vec<Mistake>,
}

impl Checked {
    /// Whether the project could be read with it.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.problems.iter().all(|one| one.severity != Severity::Error)
    }
}

/// A file that was written or removed, and what was there before, so that it can be put back.
#[derive(Debug)]
pub struct Saved {
    /// Its path below the project's folder.
    pub file: String,
    /// Which text it has now; none if it is gone.
    pub version: Option<String>,
    /// The digest of the text before and the one after, for the record.
    pub digest: String,
    path: PathBuf,
    before: Option<String>,
    /// The policy that waits now, and how it stood before.
    policy: Option<(String, PolicyState)>,
}

impl Saved {
    /// Puts back what was there.
    ///
    /// # Errors
    /// Those of the file system and of the metadata.
    pub fn undo(&self, workspace: &Workspace) -> Result<()> {
        match &self.before {
            Some(text) => flywheel_connect::replace_file(&self.path, text.as_bytes())?,
            None => fs::remove_file(&self.path).map_err(|e| Error::io("remove", &self.path, e))?,
        }
        match &self.policy {
            Some((name, state)) => workspace.store.record_policy(name, state, workspace.now()),
            None => Ok(()),
        }
    }

    /// Whether there was no such file before.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.before.is_none()
    }
}

/// What came of writing or removing a file.
#[derive(Debug)]
pub enum Outcome {
    /// It is done.
    Done(Saved),
    /// The project could not be read then, and nothing was done.
    Refused(Vec<Mistake>),
}

/// A file to be written.
#[derive(Clone, Copy)]
pub struct Write<'a> {
    /// What it declares.
    pub kind: Kind,
    /// The name of what it declares.
    pub name: &'a str,
    /// What it shall say.
    pub wanted: &'a Wanted,
    /// The version that was read; none for a new one.
    pub known: Option<&'a str>,
    /// Who may decide which secrets, variables and files it refers to.
    pub references: References,
}

/// Whether a file may refer to secrets, variables and other files by what is new in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum References {
    /// To all.
    Any,
    /// Only by keys that did so before and have the same value.
    Kept,
}

/// What is declared in files of a kind: name and file.
#[must_use]
pub fn list(workspace: &Workspace, kind: Kind) -> Vec<(String, String)> {
    let all = workspace.project.declared(kind.node).into_iter();
    let own = all.filter(|(_, file)| is_own(kind, file));
    own.map(|(name, file)| (name.to_owned(), file.to_owned())).collect()
}

/// A declaration as its file has it.
///
/// # Errors
/// [`ErrorKind::NotFound`] with the nearest name; [`ErrorKind::Denied`] if it stands in no file of its own; those of the file
/// system.
pub fn read(workspace: &Workspace, kind: Kind, name: &str) -> Result<Kept> {
    let (file, text) = text_of(workspace, kind, name)?;
    let version = version(&text);
    let text = veiled(&text);
    let node = tree(&file, &text);
    let value = node.as_ref().map_or(Json::Null, Node::to_json);
    // Without the lines, which may hold a password.
    let warnings = workspace.project.warnings.of_file(&file);
    let problems = warnings.iter().map(|one| mistake(one, node.as_ref())).collect();
    Ok(Kept { name: name.to_owned(), file, text, value, problems, version })
}

/// Checks a draft with the whole project: of the declaration `known`, or of a new one.
///
/// # Errors
/// As [`read`] of `known`; [`ErrorKind::Invalid`] if nothing is wanted. What is wrong with the draft is in the answer.
pub fn check(
    workspace: &Workspace,
    kind: Kind,
    known: Option<&str>,
    wanted: &Wanted,
) -> Result<Checked> {
    let before = match known {
        Some(name) => text_of(workspace, kind, name)?.1,
        None => String::new(),
    };
    let text = wanted.over(&before)?;
    let draft = Draft::of_kind(&workspace.project, (kind.resource, kind.node), known, &text);
    Ok(examine(workspace, kind, known, &draft))
}

/// Checks a declaration with the whole project and writes its file: a new one without `known`, else the one that had this
/// version when it was read. What did not change stays as it is written.
///
/// # Errors
/// [`ErrorKind::Conflict`] if a new name is taken or the file is another one by now; [`ErrorKind::Denied`] if it stands in no
/// file of its own, or refers to what it may not; those of what is asked of policies, queries and dashboards, and of the file
/// system. Nothing is written then.
pub async fn save(workspace: &Workspace, write: Write<'_>, reading: &Reading) -> Result<Outcome> {
    let Write { kind, name, wanted, known, references } = write;
    let word = kind.resource.name;
    let before = match (workspace.project.path_of(kind.node, name), known) {
        (None, None) => None,
        (Some(file), None) => {
            let message = format!("there is a {word} \"{name}\" already, in {file}");
            return Err(Error::new(ErrorKind::Conflict, message).hint(
                "Choose another name, or say which version you change: If-Match with the ETag of GET. Nothing was written.",
            ));
        }
        (_, Some(known)) => {
            let (file, text) = text_of(workspace, kind, name)?;
            require_version(&file, &text, known, "written")?;
            Some(text)
        }
    };
    let text = wanted.over(before.as_deref().unwrap_or_default())?;
    let there = before.is_some().then_some(name);
    let draft = Draft::of_kind(&workspace.project, (kind.resource, kind.node), there, &text);
    if before.is_none() && draft.name != name {
        let said = match draft.name.is_empty() {
            true => "gives no name".to_owned(),
            false => format!("names \"{}\"", draft.name),
        };
        return Err(Error::invalid(format!("the text of the {word} \"{name}\" {said}"))
            .hint(format!("Write `{word}: {name}` in its first line. Nothing was written.")));
    }
    let checked = examine(workspace, kind, there, &draft);
    if !checked.is_good() {
        return Ok(Outcome::Refused(checked.problems));
    }
    if references == References::Kept {
        let old = before.as_deref().and_then(|text| tree(&draft.path, text));
        let new = tree(&draft.path, &text).map_or(Json::Null, |node| node.to_json());
        require_kept(old.map(|node| node.to_json()).as_ref(), &new)?;
    }
    let path = place(workspace.dir(), &draft.path)?;
    let drafted = workspace.drafted(&draft)?;
    let mut policy_before = None;
    match kind.node {
        NodeKind::Query => Box::pin(published::plan(&drafted, name, reading)).await?,
        NodeKind::Dashboard => {
            if let Some(board) = drafted.project.dashboards.get(name) {
                dashboard::ask_all(&drafted.project, board, workspace.now())?;
            }
        }
        NodeKind::Policy => {
            // Turns ask a policy for its outcomes also while it waits.
            Box::pin(policy::check(&drafted, name)).await?;
            policy_before = Some((name.to_owned(), workspace.store.policy(name)?));
            // Before there is a file that a turn could find.
            run::pause(&drafted, name, policy::MADE_IN_PAGES)?;
        }
        _ => {}
    }
    if let Err(error) = dashboard::write(&path, &text, before.is_none()) {
        if let Some((name, state)) = &policy_before {
            workspace.store.record_policy(name, state, workspace.now())?;
        }
        return Err(error);
    }
    let digest = digest_of(before.as_deref().unwrap_or_default(), &text);
    let version = Some(version(&text));
    let (file, policy) = (draft.path, policy_before);
    Ok(Outcome::Done(Saved { file, version, digest, path, before, policy }))
}

/// Removes the file of a declaration that has this version, unless something needs it.
///
/// # Errors
/// As [`read`]; [`ErrorKind::Conflict`] if the file is another one by now.
pub fn remove(workspace: &Workspace, kind: Kind, name: &str, known: &str) -> Result<Outcome> {
    let (file, text) = text_of(workspace, kind, name)?;
    require_version(&file, &text, known, "removed")?;
    let path = place(workspace.dir(), &file)?;
    if let Err(mistakes) = workspace.read_with(&Draft::without(kind.node, name, &file)) {
        let needed = mistakes.iter().filter(|one| one.severity == Severity::Error);
        return Ok(Outcome::Refused(needed.map(|one| mistake(one, None)).collect()));
    }
    fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
    let digest = digest_of(&text, "");
    Ok(Outcome::Done(Saved { file, version: None, digest, path, before: Some(text), policy: None }))
}

/// The workspace as it would be with a draft: to ask a connection that is no file yet.
///
/// # Errors
/// [`ErrorKind::Invalid`] with every mistake of the draft.
pub fn drafted(
    workspace: &Workspace,
    kind: Kind,
    known: Option<&str>,
    wanted: &Wanted,
) -> Result<(String, Workspace)> {
    let before = match known {
        Some(name) => text_of(workspace, kind, name)?.1,
        None => String::new(),
    };
    let text = wanted.over(&before)?;
    let draft = Draft::of_kind(&workspace.project, (kind.resource, kind.node), known, &text);
    let checked = examine(workspace, kind, known, &draft);
    if let Some(wrong) = checked.problems.iter().find(|one| one.severity == Severity::Error) {
        let message = format!("{}:{}: {}", wrong.file, wrong.line, wrong.message);
        return Err(Error::invalid(message)
            .hint(wrong.hint.clone().unwrap_or_else(|| "Mend the draft.".to_owned())));
    }
    let drafted = workspace.drafted(&draft)?;
    Ok((draft.name, drafted))
}

fn examine(workspace: &Workspace, kind: Kind, known: Option<&str>, draft: &Draft) -> Checked {
    let mut found = draft.refusals(known);
    let node = tree(&draft.path, &draft.text);
    let project: &Project = &workspace.project;
    if known.is_none()
        && let Some(file) = project.path_of(kind.node, &draft.name)
    {
        let name = node.as_ref().and_then(|node| node.get(kind.resource.name));
        let span = name.map_or(Span::FILE, |name| name.span);
        let message =
            format!("there is a {} \"{}\" already, in {file}", kind.resource.name, draft.name);
        let source = SourceFile::new(&draft.path, &draft.text);
        found.push(&source, Diagnostic::error(span, message).hint("Choose another name."));
    }
    match workspace.read_with(draft) {
        Ok(project) => found.extend(project.warnings.of_file(&draft.path)),
        Err(mistakes) => found.extend(mistakes),
    }
    found.sort();
    let own = |one: &Diagnostic| node.as_ref().filter(|_| one.file == draft.path);
    Checked {
        name: draft.name.clone(),
        file: draft.path.clone(),
        text: veiled(&draft.text),
        value: node.as_ref().map_or(Json::Null, Node::to_json),
        problems: found.iter().map(|one| mistake(one, own(one))).collect(),
    }
}

/// A mistake, with the way to what is meant if it is one of `node`.
fn mistake(of: &Diagnostic, node: Option<&Node>) -> Mistake {
    let Span { line, column, .. } = of.span;
    let mut at = node.map(|node| node.way_to(of.span)).unwrap_or_default();
    // What is missing has no place of its own: it is reported where its neighbours begin.
    let missing = [" lacks \"", " lack \""].into_iter().find_map(|mark| {
        let (_, rest) = of.message.split_once(mark)?;
        rest.strip_suffix('"')
    });
    if let (Some(name), Some(_)) = (missing, node) {
        let of_options = of.message.starts_with("the options of ");
        match at.first().is_some_and(|first| first == "options") || !of_options {
            true => drop(at.pop()),
            false => at = vec!["options".to_owned()],
        }
        at.push(name.to_owned());
    }
    Mistake {
        severity: of.severity,
        file: of.file.clone(),
        line,
        column,
        message: of.message.clone(),
        hint: of.hint.clone(),
        at,
    }
}

fn tree(path: &str, text: &str) -> Option<Node> {
    yaml::parse(&SourceFile::new(path, text), &mut Diagnostics::default())
}

fn version(text: &str) -> String {
    digest::short(&[text.as_bytes()])
}

fn digest_of(before: &str, after: &str) -> String {
    digest::hex(&[before.as_bytes(), after.as_bytes()])
}

/// Whether a file lies in the folder of its kind, and not among contracts or in a project of dbt.
fn is_own(kind: Kind, file: &str) -> bool {
    file.strip_prefix(kind.resource.folder).is_some_and(|rest| rest.starts_with('/'))
}

/// The file of a declaration and its text.
fn text_of(workspace: &Workspace, kind: Kind, name: &str) -> Result<(String, String)> {
    let (project, word) = (&workspace.project, kind.resource.name);
    let file = project.path_of(kind.node, name).ok_or_else(|| {
        let known: Vec<&str> =
            project.declared(kind.node).into_iter().map(|(name, _)| name).collect();
        Error::not_found(format!("no {word} \"{name}\"")).hint(suggest::hint(name, known))
    })?;
    if !is_own(kind, file) {
        let message = format!("{word} \"{name}\" is declared in {file}, which is not its own file");
        return Err(Error::new(ErrorKind::Denied, message).hint("Change that file by hand."));
    }
    let path = place(workspace.dir(), file)?;
    let text = fs::read_to_string(&path).map_err(|e| Error::io("read", &path, e))?;
    Ok((file.to_owned(), text))
}

/// The path of a file of the project, no part of which is a link to somewhere else.
fn place(dir: &Path, file: &str) -> Result<PathBuf> {
    let mut path = dir.to_owned();
    for part in file.split('/') {
        path.push(part);
        let linked = fs::symlink_metadata(&path).is_ok_and(|found| found.file_type().is_symlink());
        if linked || part.is_empty() || part.starts_with('.') {
            let message = format!("{file} leads out of the project's folder");
            return Err(Error::new(ErrorKind::Denied, message)
                .hint("Change it by hand where it lies, or put a file in the place of the link."));
        }
    }
    Ok(path)
}

fn require_version(file: &str, text: &str, known: &str, done: &str) -> Result<()> {
    if version(text) == known {
        return Ok(());
    }
    let message = format!("{file} was changed since it was read");
    Err(Error::new(ErrorKind::Conflict, message)
        .hint(format!("Read it again and make the change again; nothing was {done}.")))
}

/// Refuses keys that refer to secrets, variables or files and are not as they were.
fn require_kept(before: Option<&Json>, after: &Json) -> Result<()> {
    let none = Map::new();
    let new = after.as_object().unwrap_or(&none);
    for (key, value) in new {
        if refers(value) && before.and_then(|before| before.get(key)) != Some(value) {
            let message = format!("\"{key}\" refers to a secret, a variable or a file");
            return Err(Error::new(ErrorKind::Denied, message)
                .hint("Only who may administer says what a file refers to. Nothing was written."));
        }
    }
    Ok(())
}

fn refers(value: &Json) -> bool {
    match value {
        Json::String(text) => text.contains("${"),
        Json::Array(items) => items.iter().any(refers),
        Json::Object(fields) => fields.values().any(refers),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_has_a_folder_and_a_name_and_is_found_by_it() {
        let words: Vec<&str> = Kind::all().map(|kind| kind.resource.name).collect();
        assert!(words.contains(&"connection") && words.contains(&"rule"), "{words:?}");
        for kind in Kind::all() {
            assert!(!kind.resource.folder.is_empty());
            assert_eq!(Kind::named(kind.resource.name).ok().map(|one| one.node), Some(kind.node));
        }
        for word in ["project", "models", "extension", "../connection", ""] {
            assert!(Kind::named(word).is_err(), "{word}");
        }
    }

    #[test]
    fn what_is_missing_is_said_where_it_would_stand() {
        let node = tree("x", "connection: a\ntype: csv\noptions:\n  path: b\n").unwrap();
        let at = |line, message: &str| {
            let found = Diagnostic::error(Span::new(line, 1, 1), message);
            mistake(&found, Some(&node)).at.join("/")
        };
        assert_eq!(at(2, "no connector is of type \"csv\""), "type");
        assert_eq!(at(1, "connection \"a\" lacks \"type\""), "type");
        assert_eq!(at(1, "the options of connection \"a\" lack \"folder\""), "options/folder");
    }

    #[test]
    fn what_is_new_may_refer_to_nothing_and_what_was_there_stays() {
        let before = json!({"webhook": {"secret": "${secret:a}"}, "columns": []});
        let kept = json!({"webhook": {"secret": "${secret:a}"}, "columns": [1]});
        assert!(require_kept(Some(&before), &kept).is_ok());
        assert!(require_kept(None, &kept).is_err());
        let other = json!({"webhook": {"secret": "${secret:a}", "url": "x"}});
        assert!(require_kept(Some(&before), &other).is_err());
    }
}
