//! `{% snapshot name %}` blocks of `snapshots/`, and snapshots declared in property files.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::{Loaded, ReadSql, walk};
use crate::dbt::Block;
use crate::diagnostic::{Diagnostic, Span};
use crate::file::SourceFile;
use crate::graph::{NodeId, NodeKind};
use crate::model::{
    self, HardDeletes, Model, OneOrMany, Settings, SettingsOf, Snapshot, SnapshotStrategy,
};
use crate::resource::project_file::Materialized;
use crate::template::blocks;
use crate::yaml::Node;

impl Loaded {
    pub(super) fn read_snapshots(&mut self, dir: &Path) {
        for folder in self.layout.snapshots.clone() {
            for path in walk::files(dir, &folder, &["sql"], &mut self.out) {
                let Some((file, _)) = self.read_sql(dir, &path) else { continue };
                let inside = path.get(folder.len() + 1..).unwrap_or(&path).to_owned();
                self.read_blocks(&file, &format!("snapshots/{inside}"));
            }
        }
        for (file, extra) in self.extras.clone() {
            for node in &extra.snapshots {
                self.read_declared(&file, node);
            }
        }
    }

    fn read_blocks(&mut self, file: &Arc<SourceFile>, inside: &str) {
        let mut open: Option<(String, usize, Span)> = None;
        let mut found = 0;
        for tag in blocks::tags(&file.text) {
            let span = file.span(tag.start, tag.end - tag.start);
            match (tag.word, open.take()) {
                ("snapshot", None) => open = Some((tag.name().to_owned(), tag.end, span)),
                ("endsnapshot", Some((name, start, span))) => {
                    found += 1;
                    // Lines before the block stay, so that a mistake has its place.
                    let lines = file.text[..start].matches('\n').count();
                    let text = format!("{}{}", "\n".repeat(lines), &file.text[start..tag.start]);
                    let block = Arc::new(SourceFile::new(&file.path, &text));
                    self.read_snapshot(&block, &name, span, inside);
                }
                (_, other) => open = other,
            }
        }
        if open.is_some() || found == 0 {
            let message = match open {
                Some(_) => "a snapshot has no end",
                None => "the file holds no snapshot",
            };
            let hint = "Write {% snapshot name %} … {% endsnapshot %} around the query.";
            self.out.push(file, Diagnostic::error(Span::FILE, message).hint(hint));
        }
    }

    fn read_snapshot(&mut self, file: &Arc<SourceFile>, name: &str, span: Span, inside: &str) {
        let name = &self.folded(name);
        let fresh = self.declare(NodeId::new(NodeKind::Model, name), file, span);
        let Some((scan, in_sql)) = self.scan(file, SettingsOf::Snapshot) else { return };
        let in_properties = self.settings_in_properties(name, SettingsOf::Snapshot);
        let by_default = self.defaults(Block::Snapshots, SettingsOf::Snapshot, inside);
        let settings = in_sql.over(in_properties).over(by_default);
        self.add_snapshot(file, name, settings, scan, fresh);
    }

    /// A snapshot of a property file: `relation: ref('orders')`.
    fn read_declared(&mut self, file: &Arc<SourceFile>, node: &Node) {
        let text = |key: &str| node.get(key).and_then(Node::text);
        let (Some(name), Some(relation)) = (text("name"), text("relation")) else { return };
        let name = &self.folded(name);
        let span = node.get("name").map_or(node.span, |node| node.span);
        let fresh = self.declare(NodeId::new(NodeKind::Model, name), file, span);
        let bare = relation.trim().trim_start_matches("{{").trim_end_matches("}}");
        let sql = SourceFile::new(&file.path, &format!("select * from {{{{ {} }}}}", bare.trim()));
        let Some((scan, _)) = self.scan(&sql, SettingsOf::Snapshot) else { return };
        let in_properties = self.settings_in_properties(name, SettingsOf::Snapshot);
        let by_default = self.defaults(Block::Snapshots, SettingsOf::Snapshot, &file.path.clone());
        let settings = in_properties.over(by_default);
        let sql = Arc::new(sql);
        self.add_snapshot(&sql, name, settings, scan, fresh);
    }

    fn add_snapshot(
        &mut self,
        file: &Arc<SourceFile>,
        name: &str,
        settings: Settings,
        scan: crate::template::Scan,
        fresh: bool,
    ) {
        let schema = match (&settings.target_schema, self.layout.dbt) {
            (Some(schema), _) => self.folded(schema),
            (None, true) => self.schema_of(file, name, &settings, ("snapshot", &file.path)),
            (None, false) => settings.schema.clone().unwrap_or_else(|| "snapshots".to_owned()),
        };
        let snapshot = match snapshot(&settings) {
            Ok(snapshot) => snapshot,
            Err((message, hint)) => {
                let message = format!("snapshot \"{name}\" {message}");
                self.out.push(file, Diagnostic::error(Span::FILE, message).hint(hint));
                return;
            }
        };
        let settings = self.named(file, name, settings);
        let mut config = settings.into_config(self.layout.dbt);
        config.materialized = Materialized::Snapshot;
        let (refs, sources) = model::split(scan.references);
        let model = Model {
            name: name.to_owned(),
            schema,
            path: file.path.clone(),
            sql_template: file.text.clone(),
            config,
            refs,
            sources,
            metrics: scan.metrics,
            metric_tables: BTreeSet::new(),
            description: None,
            columns: Vec::new(),
            tests: Vec::new(),
            unit_tests: Vec::new(),
            constraints: Vec::new(),
            seed: None,
            snapshot: Some(snapshot),
            macros: Arc::clone(&self.macros),
        };
        self.check_model(file, &model);
        if fresh {
            let file = Arc::clone(file);
            self.models.insert(name.to_owned(), ReadSql { value: model, file });
        }
    }
}

/// How the past is kept, or what is missing.
fn snapshot(settings: &Settings) -> Result<Snapshot, (&'static str, &'static str)> {
    let list = |one: &Option<OneOrMany>| one.clone().map(OneOrMany::into_vec).unwrap_or_default();
    let unique_key = list(&settings.unique_key);
    if unique_key.is_empty() {
        return Err(("has no unique_key", "Write config(unique_key='id', …)."));
    }
    let check_columns = list(&settings.check_cols);
    let strategy = match settings.strategy {
        Some(SnapshotStrategy::Timestamp) if settings.updated_at.is_none() => {
            return Err(("has no updated_at", "Write config(updated_at='changed_at', …)."));
        }
        Some(SnapshotStrategy::Check) if check_columns.is_empty() => {
            return Err(("has no check_cols", "Write config(check_cols=['status'], …) or 'all'."));
        }
        Some(strategy) => strategy,
        None => {
            let hint = "Write config(strategy='timestamp', updated_at='changed_at', …) or 'check'.";
            return Err(("has no strategy", hint));
        }
    };
    let hard_deletes = match (settings.hard_deletes, settings.invalidate_hard_deletes) {
        (Some(chosen), _) => chosen,
        (None, Some(true)) => HardDeletes::Invalidate,
        _ => HardDeletes::Ignore,
    };
    let all = check_columns.iter().any(|column| column == "all");
    Ok(Snapshot {
        unique_key,
        strategy,
        updated_at: settings.updated_at.clone(),
        check_columns: if all { Vec::new() } else { check_columns },
        hard_deletes,
    })
}
