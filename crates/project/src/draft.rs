//! Declarations outside of files: a text that a page sends is read and checked with the whole folder, as its file would be.

use flywheel_base::{Error, Result};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::file::SourceFile;
use crate::graph::NodeKind;
use crate::names;
use crate::project::Project;
use crate::resource::ResourceKind;
use crate::secret;
use crate::yaml::{self, Node, Value};

/// The folder of policies, below the project's.
const FOLDER: &str = "policies";
/// The folder of published queries.
const QUERIES: &str = "queries";

/// The text of a declaration that is no file yet, a file as it shall be, or one that shall be gone.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What it declares.
    pub kind: NodeKind,
    /// The name that the text gives it; empty if it gives none.
    pub name: String,
    /// The path of its file below the project's folder.
    pub path: String,
    /// The text; empty if the file shall be gone.
    pub text: String,
    /// Whether the project is read without the file.
    pub gone: bool,
}

impl Draft {
    /// A policy's text: of the file that declares the policy in `project`, else of `policies/NAME.yaml`.
    ///
    /// A text without a name that a file could have is left to be refused when the project is read with it.
    #[must_use]
    pub fn of_policy(project: &Project, text: &str) -> Self {
        let file = SourceFile::new(FOLDER, text);
        // What is wrong with the text is told when it is read with everything else.
        let node = yaml::parse(&file, &mut Diagnostics::default());
        let name = node.as_ref().and_then(|node| node.get("policy")?.text().map(str::to_owned));
        let name = name.unwrap_or_default();
        let path = match project.policies.get(&name) {
            Some(located) => located.file.clone(),
            None if names::problem(&name).is_none() => format!("{FOLDER}/{name}.yaml"),
            // No file is called like this, so that none is taken for it.
            None => format!("{FOLDER}/(without a name)"),
        };
        Self { kind: NodeKind::Policy, name, path, text: text.to_owned(), gone: false }
    }

    /// The text of the published query `name`: of the file that declares it in `project`, else of `queries/NAME.yaml`.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if no file could be called so.
    pub fn of_query(project: &Project, name: &str, text: &str) -> Result<Self> {
        if let Some(problem) = names::problem(name) {
            let message = format!("\"{name}\" is not a good name for a query: it {problem}");
            return Err(Error::invalid(message).hint(names::HINT));
        }
        let path = match project.queries.get(name) {
            Some(located) => located.file.clone(),
            None => format!("{QUERIES}/{name}.yaml"),
        };
        let (name, text) = (name.to_owned(), text.to_owned());
        Ok(Self { kind: NodeKind::Query, name, path, text, gone: false })
    }

    /// The text of a declaration of some kind: of the file that declares `known`, else of the one that declares the name which
    /// the text gives, else of `FOLDER/NAME.yaml`.
    #[must_use]
    pub fn of_kind(
        project: &Project,
        (resource, kind): (&ResourceKind, NodeKind),
        known: Option<&str>,
        text: &str,
    ) -> Self {
        let file = SourceFile::new(resource.folder, text);
        // What is wrong with the text is told when it is read with everything else.
        let node = yaml::parse(&file, &mut Diagnostics::default());
        let said =
            node.as_ref().and_then(|node| node.get(resource.name)?.text().map(str::to_owned));
        let name = said.unwrap_or_default();
        let there = known.unwrap_or(&name);
        let path = match project.path_of(kind, there) {
            Some(path) => path.to_owned(),
            None if names::problem(&name).is_none() => format!("{}/{name}.yaml", resource.folder),
            None => format!("{}/(without a name)", resource.folder),
        };
        Self { kind, name, path, text: text.to_owned(), gone: false }
    }

    /// The project without the file at `path`, which declares `name`.
    #[must_use]
    pub fn without(kind: NodeKind, name: &str, path: &str) -> Self {
        let (name, path) = (name.to_owned(), path.to_owned());
        Self { kind, name, path, text: String::new(), gone: true }
    }

    /// What pages may not hand in beside what is wrong for every file: passwords within addresses, and another name than
    /// `known`.
    #[must_use]
    pub fn refusals(&self, known: Option<&str>) -> Diagnostics {
        let (mut out, mut unread) = (Diagnostics::default(), Diagnostics::default());
        let file = SourceFile::new(&self.path, &self.text);
        let Some(node) = yaml::parse(&file, &mut unread) else { return out };
        if let (Some(known), Some(name)) = (known, node.get(self.kind.word()))
            && name.text() != Some(known)
        {
            let kind = self.kind.word();
            let message = format!("the {kind} is called \"{known}\", and the text names another");
            let hint = format!("Write `{kind}: {known}`, or make a new one and remove this one.");
            out.push(&file, Diagnostic::error(name.span, message).hint(hint));
        }
        passwords(&file, &node, &mut out);
        out
    }
}

/// Reports texts that hold a password in clear text, without showing them.
fn passwords(file: &SourceFile, node: &Node, out: &mut Diagnostics) {
    match &node.value {
        Value::Map(entries) => entries.iter().for_each(|(_, value)| passwords(file, value, out)),
        Value::List(items) => items.iter().for_each(|item| passwords(file, item, out)),
        Value::Text(text) if secret::veiled(text) != *text || text.contains(secret::VEIL) => {
            let message = "the text holds a password in clear text";
            let hint = "Store it as a secret, and write ${secret:NAME} in its place.";
            out.push_hidden(file, Diagnostic::error(node.span, message).hint(hint));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{Choices, Connectors};

    fn write(dir: &Path, path: &str, text: &str) {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// What comes of a text in a project that has the policy `there` and the action `send`.
    fn read(text: &str) -> Result<(Draft, Project), String> {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "flywheel.yaml", "name: shop\n");
        write(
            dir.path(),
            "policies/one.yaml",
            "policy: there\naudience: select 1 as unit_id\nchoose: {candidates: [{name: a}]}\n",
        );
        write(dir.path(), "actions/send.yaml", "action: send\ntype: file\n");
        let (connectors, choices) = (Connectors::default(), Choices::default());
        let project = Project::load_with(dir.path(), &connectors, &choices).unwrap();
        let draft = Draft::of_policy(&project, text);
        match Project::load_with_draft(dir.path(), &connectors, &choices, &draft) {
            Ok(project) => Ok((draft, project)),
            Err(mistakes) => {
                assert_eq!(mistakes.of_file(&draft.path), mistakes, "all are the draft's");
                Err(mistakes.render())
            }
        }
    }

    const GOOD: &str =
        "audience: select 2 as unit_id\nchoose: {candidates: [{name: a}]}\naction: send\n";

    #[test]
    fn a_text_is_part_of_the_project_and_of_no_folder() {
        let (draft, project) = read(&format!("policy: fresh\n{GOOD}")).unwrap();
        assert_eq!((draft.name.as_str(), draft.path.as_str()), ("fresh", "policies/fresh.yaml"));
        assert_eq!(project.policies.keys().collect::<Vec<_>>(), ["fresh", "there"]);
        assert_eq!(project.policies["fresh"].file, draft.path);
        assert!(!project.dir.join(&draft.path).exists());
    }

    #[test]
    fn a_text_of_a_policy_that_is_there_takes_the_place_of_its_file() {
        let (draft, project) = read(&format!("policy: there\n{GOOD}")).unwrap();
        assert_eq!(draft.path, "policies/one.yaml");
        assert_eq!(project.policies.len(), 1);
        assert_eq!(project.policies["there"].audience, "select 2 as unit_id");
    }

    #[test]
    fn a_project_is_read_without_a_file_and_says_who_needs_it() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "flywheel.yaml", "name: shop\n");
        write(dir.path(), "policies/one.yaml", &format!("policy: there\n{GOOD}"));
        write(dir.path(), "actions/send.yaml", "action: send\ntype: file\n");
        let (connectors, choices) = (Connectors::default(), Choices::default());
        let gone = Draft::without(NodeKind::Action, "send", "actions/send.yaml");
        let needed =
            Project::load_with_draft(dir.path(), &connectors, &choices, &gone).unwrap_err();
        assert!(needed.render().contains("policies/one.yaml:4"), "{needed}");
        let gone = Draft::without(NodeKind::Policy, "there", "policies/one.yaml");
        let project = Project::load_with_draft(dir.path(), &connectors, &choices, &gone).unwrap();
        assert!(project.policies.is_empty() && project.actions.len() == 1);
    }

    #[test]
    fn a_password_within_an_address_and_another_name_are_refused_without_being_shown() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "flywheel.yaml", "name: shop\n");
        write(dir.path(), "actions/out.yaml", "action: send\ntype: file\n");
        let project =
            Project::load_with(dir.path(), &Connectors::default(), &Choices::default()).unwrap();
        let resource = crate::resource::RESOURCES.iter().find(|one| one.name == "action").unwrap();
        let of = |known: Option<&str>, text: &str| {
            let draft = Draft::of_kind(&project, (resource, NodeKind::Action), known, text);
            (draft.path.clone(), draft.refusals(known).render())
        };
        let text = "action: send\ntype: webhook\noptions:\n  url: https://u:hunter2@h/x\n";
        let (path, told) = of(Some("send"), text);
        assert_eq!(path, "actions/out.yaml");
        assert!(told.contains("actions/out.yaml:4:8") && !told.contains("hunter2"), "{told}");
        let kept = text.replace("hunter2", "${secret:hook}");
        assert_eq!(of(Some("send"), &kept).1, "");
        assert!(of(Some("send"), &text.replace("hunter2", "(secret)")).1.contains("clear text"));
        let told = of(Some("send"), &kept.replace("action: send", "action: sent")).1;
        assert!(told.contains("is called \"send\""), "{told}");
        assert_eq!(of(None, "action: fresh\n").0, "actions/fresh.yaml");
        assert_eq!(of(None, "action: ../up\n").0, "actions/(without a name)");
    }

    #[test]
    fn mistakes_of_a_text_have_their_line_as_those_of_a_file() {
        for (text, said, place) in [
            (
                format!("policy: fresh\n{GOOD}").replace("send", "sent"),
                "unknown action \"sent\"",
                "policies/fresh.yaml:4:",
            ),
            (format!("policy: fresh\nholdut: 1%\n{GOOD}"), "holdut", "policies/fresh.yaml:2:"),
            (
                format!("policy: fresh\n{GOOD}")
                    .replace("select 2 as unit_id", "select * from {{ ref('gone') }}"),
                "ref('gone')",
                "policies/fresh.yaml:2:",
            ),
            (format!("policy: ../up\n{GOOD}"), "not a good name", "policies/(without a name):1:"),
            (GOOD.to_owned(), "policy", "policies/(without a name)"),
            ("policy: [\n".to_owned(), "", "policies/(without a name)"),
            (String::new(), "the file is empty", "policies/(without a name)"),
        ] {
            let told = read(&text).unwrap_err();
            assert!(told.contains(said) && told.contains(place), "{text}\n{told}");
        }
    }
}
