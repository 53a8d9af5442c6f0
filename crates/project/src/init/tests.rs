//! Tests of the templates: they are whole, load without a word and refuse used folders.

use std::collections::BTreeSet;

use super::*;
use crate::{Connectors, Project};

fn listed(dir: &Path, below: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            listed(dir, &path, found);
        } else {
            found.insert(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
        }
    }
}

#[test]
fn every_file_of_a_template_is_embedded() {
    for template in TEMPLATES {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates").join(template.name);
        let mut found = BTreeSet::new();
        listed(&dir, &dir, &mut found);
        let embedded: BTreeSet<String> =
            template.files.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(found, embedded, "{}", template.name);
    }
}

#[test]
fn a_new_project_loads_without_mistakes_or_warnings() {
    for template in TEMPLATES {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("new");
        let written = init(template.name, &target, "my_shop").unwrap();
        assert_eq!(written.len(), template.files.len());
        let project = Project::load(&target, &Connectors::default()).unwrap_or_else(|mistakes| {
            panic!("{}:\n{mistakes}", template.name);
        });
        assert!(project.warnings.is_empty(), "{}:\n{}", template.name, project.warnings);
        assert_eq!(project.file.name, "my_shop");
        for path in written {
            assert!(!fs::read_to_string(&path).unwrap().contains(NAME_MARK), "{}", path.display());
        }
    }
}

#[test]
fn the_crm_template_is_one_wheel_from_connection_to_action() {
    let dir = tempfile::tempdir().unwrap();
    init("crm", dir.path(), "crm").unwrap();
    let project = Project::load(dir.path(), &Connectors::default()).unwrap();
    let chosen = project.graph.select(&["connection:crm+".to_owned()], &[]).unwrap();
    let shown: Vec<String> = chosen.iter().map(ToString::to_string).collect();
    for part in [
        "sync \"crm\"",
        "policy \"stale_deals\"",
        "action \"follow_up\"",
        "learner \"account_segments\"",
    ] {
        assert!(shown.contains(&part.to_owned()), "{part} in {shown:?}");
    }
    assert!(project.model_tests().count() >= 12);
}

#[test]
fn nothing_is_overwritten_and_mistakes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(".git")).unwrap();
    init("blank", dir.path(), "shop").unwrap();
    assert!(dir.path().join(".gitignore").is_file());
    let used = init("blank", dir.path(), "shop").unwrap_err();
    assert!(used.message().contains("is a project already: it has flywheel.yaml"), "{used}");
    let used = init("retail", dir.path(), "shop").unwrap_err();
    assert!(used.message().contains("is not empty"), "{used}");
    let unknown = init("retial", dir.path(), "shop").unwrap_err();
    assert_eq!(unknown.hint_text(), Some("Did you mean \"retail\"?"));
    assert!(init("blank", &dir.path().join("x"), "My Shop").is_err());
    assert!(!dir.path().join("x").exists());
}

#[test]
fn a_blank_project_is_made_beside_data_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("orders.csv"), "id\n1\n").unwrap();
    fs::write(dir.path().join("README.md"), "mine").unwrap();
    let written = init("blank", dir.path(), "shop").unwrap();
    assert!(written.contains(&dir.path().join("flywheel.yaml")), "{written:?}");
    assert_eq!(fs::read_to_string(dir.path().join("README.md")).unwrap(), "mine");
    assert!(dir.path().join("orders.csv").is_file());
    let dbt = tempfile::tempdir().unwrap();
    fs::write(dbt.path().join("dbt_project.yml"), "name: shop\n").unwrap();
    let refused = init("blank", dbt.path(), "shop").unwrap_err();
    assert!(refused.message().contains("dbt_project.yml"), "{refused}");
    assert!(!dbt.path().join("flywheel.yaml").exists());
}
