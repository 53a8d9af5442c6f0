//! CSV files of `seeds/` to models.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::{Loaded, ReadSql, walk};
use crate::dbt::Block;
use crate::diagnostic::{Diagnostic, Span};
use crate::file::SourceFile;
use crate::graph::{NodeId, NodeKind};
use crate::metric::table::MetricReads;
use crate::model::{Model, Seed, SettingsOf};
use crate::resource::project_file::Materialized;

impl Loaded {
    pub(super) fn read_seeds(&mut self, dir: &Path) {
        for folder in self.layout.seeds.clone() {
            for path in walk::files(dir, &folder, &["csv"], &mut self.out) {
                let inside = path.get(folder.len() + 1..).unwrap_or(&path).to_owned();
                self.read_seed(dir, &path, &format!("seeds/{inside}"));
            }
        }
    }

    fn read_seed(&mut self, dir: &Path, path: &str, inside: &str) {
        let file = path.rsplit('/').next().and_then(|name| name.strip_suffix(".csv"));
        let Some(name) = file.map(|name| self.folded(name)) else { return };
        // Its rows are read when it is built; a seed is larger than a declaration may be.
        let file = Arc::new(SourceFile::new(path, ""));
        let fresh = self.declare(NodeId::new(NodeKind::Model, &name), &file, Span::FILE);
        let in_properties = self.settings_in_properties(&name, SettingsOf::Seed);
        let by_default = self.defaults(Block::Seeds, SettingsOf::Seed, inside);
        let settings = in_properties.over(by_default);
        let delimiter = settings.delimiter.clone().unwrap_or_else(|| ",".to_owned());
        let mut chars = delimiter.chars();
        let (Some(delimiter), None) = (chars.next(), chars.next()) else {
            let message = format!("the delimiter of seed \"{name}\" is not one character");
            let hint = "Write one such as \";\".";
            self.out.push(&file, Diagnostic::error(Span::FILE, message).hint(hint));
            return;
        };
        let schema = match self.layout.dbt {
            true => self.schema_of(&file, &name, &settings, ("seed", inside)),
            false => settings.schema.clone().unwrap_or_else(|| "seeds".to_owned()),
        };
        let settings = self.named(&file, &name, settings);
        let column_types = settings.column_types.clone().unwrap_or_default();
        let mut config = settings.into_config(self.layout.dbt);
        config.materialized = Materialized::Seed;
        let model = Model {
            name: name.clone(),
            schema,
            path: path.to_owned(),
            sql_template: String::new(),
            config,
            refs: BTreeSet::new(),
            sources: BTreeSet::new(),
            metrics: MetricReads::default(),
            metric_tables: BTreeSet::new(),
            description: None,
            columns: Vec::new(),
            tests: Vec::new(),
            unit_tests: Vec::new(),
            constraints: Vec::new(),
            seed: Some(Seed { file: dir.join(path), column_types, delimiter }),
            snapshot: None,
            macros: Arc::clone(&self.macros),
        };
        self.check_model(&file, &model);
        if fresh {
            self.models.insert(name, ReadSql { value: model, file });
        }
    }
}
