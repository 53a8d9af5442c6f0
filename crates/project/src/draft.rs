//! Policies and published queries outside of files: a text that a page sends is read and checked with the whole folder, as its
//! file would be.

use flywheel_base::{Error, Result};

use crate::diagnostic::Diagnostics;
use crate::file::SourceFile;
use crate::graph::NodeKind;
use crate::names;
use crate::project::Project;
use crate::yaml;

/// The folder of policies, below the project's.
const FOLDER: &str = "policies";
/// The folder of published queries.
const QUERIES: &str = "queries";

/// The text of a policy or query that is no file yet, or a file as it shall be.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What it declares.
    pub kind: NodeKind,
    /// The name that the text gives it; empty if it gives none.
    pub name: String,
    /// The path of its file below the project's folder.
    pub path: String,
    /// The text.
    pub text: String,
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
        Self { kind: NodeKind::Policy, name, path, text: text.to_owned() }
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
        Ok(Self { kind: NodeKind::Query, name: name.to_owned(), path, text: text.to_owned() })
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
