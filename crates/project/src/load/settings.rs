//! How models, tests, seeds and snapshots are configured: in SQL, in property files, by folder.

use super::models::{config_tree, find_word};
use super::{Loaded, PROJECT_FILE};
use crate::dbt::{self, Block};
use crate::diagnostic::{Diagnostic, Span};
use crate::file::SourceFile;
use crate::model::{SCHEMA_DEFAULT, Settings, SettingsOf};
use crate::template::{self, Scan};
use crate::validate::{self, Rules};
use crate::yaml::Step;

impl Loaded {
    /// What the template refers to, and its `config(…)`.
    pub(super) fn scan(&mut self, file: &SourceFile, of: SettingsOf) -> Option<(Scan, Settings)> {
        let scan = match template::scan(&file.text, &self.vars, &self.macros) {
            Ok(scan) => scan,
            Err(fault) => {
                self.push_fault(file, *fault);
                return None;
            }
        };
        let mut node = config_tree(file, &scan.config);
        if self.layout.dbt {
            dbt::settle(file, &mut node, &mut self.out);
        }
        let schema = of.schema();
        let rules = Rules { subject: "config()", schema: &schema, secrets: false };
        let settings = validate::read(file, &node, rules, &mut self.out)?;
        Some((scan, settings))
    }

    /// The settings under `config:` of the property file that describes `name`.
    pub(super) fn settings_in_properties(&mut self, name: &str, of: SettingsOf) -> Settings {
        for read in &self.properties {
            let mut models = read.value.models.iter().enumerate();
            let Some((index, _)) = models.find(|(_, model)| model.name == name) else { continue };
            let path = [Step::Key("models"), Step::Item(index)];
            let Some(node) = read.node.find(&path).get("config") else { continue };
            let mut node = node.clone();
            if let Some(dbt) = &self.dbt {
                dbt::settle(&read.file, &mut node, &mut self.out);
                dbt::render_texts(&read.file, &mut node, &self.vars, &dbt.globals, &mut self.out);
            }
            let subject = format!("the config of model \"{name}\"");
            let schema = of.schema();
            let rules = Rules { subject: &subject, schema: &schema, secrets: false };
            let settings = validate::read(&read.file, &node, rules, &mut self.out);
            return settings.unwrap_or_default();
        }
        Settings::default()
    }

    /// The defaults of the folders the file lies in, the inner over the outer. `path` starts with the
    /// folder of the kind.
    pub(super) fn defaults(&mut self, block: Block, of: SettingsOf, path: &str) -> Settings {
        let mut settings = Settings::default();
        let project = self.project.as_ref().filter(|_| block == Block::Models);
        let project = project.filter(|read| read.file.path == PROJECT_FILE);
        if let Some(project) = project {
            let folders: Vec<&str> = path.split('/').skip(1).collect();
            for depth in 1..folders.len() {
                let key = folders.get(..depth).unwrap_or_default().join("/");
                if let Some(defaults) = project.value.models.get(&key) {
                    settings = Settings::from(defaults).over(settings);
                }
            }
        }
        let Some(dbt) = &self.dbt else { return settings };
        let schema = of.schema();
        for mut level in dbt.configs.levels(block, path) {
            let key = (of, level.to_json().to_string());
            let found = match self.settled.get(&key) {
                Some(found) => found.clone(),
                None => {
                    let file = &dbt.configs.file;
                    dbt::settle(file, &mut level, &mut self.out);
                    let subject = "the settings of a folder";
                    let rules = Rules { subject, schema: &schema, secrets: false };
                    let read = validate::read(file, &level, rules, &mut self.out);
                    let read: Settings = read.unwrap_or_default();
                    self.settled.insert(key, read.clone());
                    read
                }
            };
            settings = found.over(settings);
        }
        settings
    }

    /// The schema in which a model appears: the folder's name, or what dbt's `generate_schema_name` says.
    pub(super) fn schema_of(
        &mut self,
        file: &SourceFile,
        name: &str,
        chosen: Option<&str>,
        path: &str,
    ) -> String {
        let Some(dbt) = &self.dbt else {
            return chosen.map_or_else(|| first_folder(path), str::to_owned);
        };
        let own = self.macros.has("", "generate_schema_name");
        match chosen {
            None if !own => dbt.schema().to_owned(),
            Some(chosen) if !own => format!("{}_{chosen}", dbt.schema()),
            _ => {
                let chosen = chosen.map_or_else(|| "none".to_owned(), dbt::quoted);
                let (name, path) = (dbt::quoted(name), dbt::quoted(&file.path));
                let node =
                    format!("{{'name': {name}, 'original_file_path': {path}, 'fqn': [{name}]}}");
                let call = format!("{{{{ generate_schema_name({chosen}, {node}) }}}}");
                match dbt::render_text(&call, &self.vars, &self.macros) {
                    Ok(schema) => schema.trim().to_owned(),
                    Err(fault) => {
                        let span = find_word(file, "schema").unwrap_or(Span::FILE);
                        let diagnostic = fault.into_diagnostic(|_| span);
                        let message = format!("generate_schema_name: {}", diagnostic.message);
                        self.out.push(file, Diagnostic { message, ..diagnostic });
                        SCHEMA_DEFAULT.to_owned()
                    }
                }
            }
        }
    }
}

/// The folder below `models/`, which is the schema's default.
fn first_folder(path: &str) -> String {
    let mut parts = path.split('/').skip(1);
    match (parts.next(), parts.next()) {
        (Some(folder), Some(_)) => folder.to_owned(),
        _ => SCHEMA_DEFAULT.to_owned(),
    }
}
