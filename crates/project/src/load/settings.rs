//! How models, tests, seeds and snapshots are configured: in SQL, in property files, by folder.

use super::models::{config_tree, find_word};
use super::{Loaded, PROJECT_FILE};
use crate::dbt::{self, Block};
use crate::diagnostic::{Diagnostic, Span};
use crate::file::SourceFile;
use crate::model::{Failures, OneOrMany, SCHEMA_DEFAULT, Settings, SettingsOf};
use crate::names;
use crate::resource::project_file::Materialized;
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
            dbt::settle(file, &mut node, of, &mut self.out);
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
                dbt::settle(&read.file, &mut node, of, &mut self.out);
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
                    dbt::settle(file, &mut level, of, &mut self.out);
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
        settings: &Settings,
        (kind, path): (&str, &str),
    ) -> String {
        let chosen = settings.schema.as_deref();
        let Some(dbt) = &self.dbt else {
            return chosen.map_or_else(|| first_folder(path), str::to_owned);
        };
        let own = self.macros.has("", "generate_schema_name");
        let schema = match chosen {
            None if !own => dbt.schema().to_owned(),
            Some(chosen) if !own => format!("{}_{chosen}", dbt.schema()),
            _ => {
                let chosen = chosen.map_or_else(|| "none".to_owned(), dbt::quoted);
                let node = self.node_of(file, name, kind, path, settings);
                let call = format!("generate_schema_name({chosen}, {node})");
                self.called(file, "schema", &call).unwrap_or_else(|| SCHEMA_DEFAULT.to_owned())
            }
        };
        schema.to_ascii_lowercase()
    }

    /// The settings with the table's name as the project's `generate_alias_name` gives it.
    pub(super) fn named(&mut self, file: &SourceFile, name: &str, settings: Settings) -> Settings {
        let mut settings = settings;
        if self.dbt.is_some() && self.macros.has("", "generate_alias_name") {
            let chosen = settings.alias.as_deref().map_or_else(|| "none".to_owned(), dbt::quoted);
            let node = self.node_of(file, name, "model", &file.path, &settings);
            let call = format!("generate_alias_name({chosen}, {node})");
            settings.alias = self.called(file, "alias", &call);
        }
        settings.alias = settings.alias.map(|alias| self.folded(&alias));
        if let Some(alias) = &settings.alias
            && let Some(problem) = names::problem(alias)
        {
            let message = format!("alias {alias} is not a good name: it {problem}");
            let span = find_word(file, "alias").unwrap_or(Span::FILE);
            self.out.push(file, Diagnostic::error(span, message).hint(names::HINT));
        }
        settings.alias = settings.alias.filter(|alias| alias != name);
        settings
    }

    /// What is done with a test's failing rows: kept in dbt's schema for them, if at all.
    pub(crate) fn failures(&self, name: &str, settings: &Settings) -> Failures {
        let schema = self.dbt.as_ref().map_or(SCHEMA_DEFAULT, |dbt| dbt.schema());
        let schema = schema.to_ascii_lowercase();
        let table = format!("{schema}_dbt_test__audit.{}", name.to_lowercase());
        let table = settings.store_failures.unwrap_or_default().then_some(table);
        Failures { calc: settings.fail_calc.clone(), table }
    }

    /// What dbt's macros that make names are told about a node.
    fn node_of(
        &self,
        file: &SourceFile,
        name: &str,
        kind: &str,
        path: &str,
        settings: &Settings,
    ) -> String {
        let project = self.dbt.as_ref().map_or("", |dbt| dbt.globals.project.as_str());
        let folders = path.split('/').skip(1);
        let mut fqn: Vec<&str> = vec![project];
        fqn.extend(folders.filter(|part| !part.contains('.')));
        fqn.push(name);
        let text = |value: Option<&str>| value.map_or_else(|| "none".to_owned(), dbt::quoted);
        let tags = settings.tags.clone().map(OneOrMany::into_vec).unwrap_or_default();
        let list = |items: &[String]| {
            items.iter().map(|item| dbt::quoted(item)).collect::<Vec<_>>().join(", ")
        };
        let fqn: Vec<String> = fqn.into_iter().map(str::to_owned).collect();
        let materialized = match kind {
            "model" => settings.materialized.map_or("view", Materialized::word),
            kind => kind,
        };
        format!(
            "{{'name': {name}, 'resource_type': '{kind}', 'package_name': {package}, 'unique_id': {id}, \
             'original_file_path': {file}, 'path': {path}, 'fqn': [{fqn}], 'tags': [{tags}], 'version': none, \
             'config': {{'materialized': '{materialized}', 'schema': {schema}, 'alias': {alias}, 'tags': [{tags}], 'meta': {{}}}}}}",
            name = dbt::quoted(name),
            package = dbt::quoted(project),
            id = dbt::quoted(&format!("{kind}.{project}.{name}")),
            file = dbt::quoted(&file.path),
            path = dbt::quoted(path.split_once('/').map_or(path, |(_, rest)| rest)),
            fqn = list(&fqn),
            tags = list(&tags),
            schema = text(settings.schema.as_deref()),
            alias = text(settings.alias.as_deref()),
        )
    }

    /// What one of the project's macros that make names gives.
    fn called(&mut self, file: &SourceFile, word: &str, call: &str) -> Option<String> {
        match dbt::render_text(&format!("{{{{ {call} }}}}"), &self.vars, &self.macros) {
            Ok(made) => Some(made.trim().to_owned()).filter(|made| !made.is_empty()),
            Err(fault) => {
                let span = find_word(file, word).unwrap_or(Span::FILE);
                let diagnostic = fault.into_diagnostic(|_| span);
                let name = call.split('(').next().unwrap_or_default();
                let message = format!("{name}: {}", diagnostic.message);
                self.out.push(file, Diagnostic { message, ..diagnostic });
                None
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
