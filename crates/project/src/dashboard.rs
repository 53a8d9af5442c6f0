//! Dashboards outside of files: what a page sends is checked like a file, and written as one.

use std::sync::Arc;

use flywheel_base::Result;
use serde_json::{Value as Json, json};

use crate::check::dashboard::mistakes;
use crate::datax::scalar;
use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::file::SourceFile;
use crate::project::Project;
use crate::resource::dashboard::{Comparison, Dashboard, FILTERS, Readers, Tile};
use crate::resource::semantic::Label;
use crate::template::{self, Macros, Reference, RenderContext};
use crate::validate::{self, Rules};
use crate::yaml::{self, Node, Step};

impl Project {
    /// Reads the text of a dashboard's file and checks it against the project, as `flywheel check` does. Tables that no
    /// model or learner makes are looked at when the file is loaded.
    ///
    /// # Errors
    /// Every mistake, with its place in `path`.
    pub fn dashboard_of(&self, path: &str, text: &str) -> Result<Dashboard, Diagnostics> {
        let mut out = Diagnostics::default();
        let file = match SourceFile::decode(path, text.as_bytes().to_vec()) {
            Ok(file) => file,
            Err(diagnostic) => {
                out.push_path(path, *diagnostic);
                return Err(out);
            }
        };
        let Some(node) = yaml::parse(&file, &mut out) else { return Err(out) };
        let schema = schemars::schema_for!(Dashboard);
        let rules = Rules { subject: "the dashboard", schema: &schema, secrets: false };
        let Some(board) = validate::read::<Dashboard>(&file, &node, rules, &mut out) else {
            return Err(out);
        };
        if let Some(problem) = crate::names::problem(&board.dashboard) {
            let message = format!("\"{}\" is not a good name: it {problem}", board.dashboard);
            let span = node.get("dashboard").map_or(Span::FILE, |name| name.span);
            out.push(&file, Diagnostic::error(span, message).hint(crate::names::HINT));
        }
        for mistake in mistakes(&board, &node, &self.semantics()) {
            out.push(&file, mistake);
        }
        for (number, tile) in board.tiles.iter().enumerate() {
            let path = [Step::Key("tiles"), Step::Item(number), Step::Key("sql")];
            if let Some(sql) = &tile.sql {
                self.check_tile_sql(&file, node.find(&path), sql, &mut out);
            }
        }
        out.sort();
        if out.has_errors() { Err(out) } else { Ok(board) }
    }

    fn check_tile_sql(&self, file: &SourceFile, node: &Node, sql: &str, out: &mut Diagnostics) {
        if sql.trim().is_empty() {
            let hint = "Write a SELECT.";
            out.push(file, Diagnostic::error(node.span, "the SQL is empty").hint(hint));
            return;
        }
        let mut vars = self.file.vars.clone();
        vars.insert(FILTERS.to_owned(), json!("true"));
        let scan = match template::scan(sql, &vars, &self.macros) {
            Ok(scan) => scan,
            Err(fault) => {
                out.push(file, fault.into_diagnostic(|_| node.span));
                return;
            }
        };
        for reference in &scan.references {
            if let Reference::Ref(name) = reference
                && let Err(error) = self.ref_node(name)
            {
                let hint = error.hint_text().unwrap_or_default().to_owned();
                out.push(file, Diagnostic::error(node.span, error.message()).hint(hint));
            }
        }
    }

    /// The SQL of a tile with its tables named, and `condition` where it says `{{ var('filters') }}`.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the template is wrong, [`flywheel_base::ErrorKind::NotFound`] if a name is
    /// unknown.
    pub fn tile_sql(&self, sql: &str, condition: &str) -> Result<String> {
        let mut vars = self.file.vars.clone();
        vars.insert(FILTERS.to_owned(), Json::String(condition.to_owned()));
        let macros: &Arc<Macros> = &self.macros;
        let context = RenderContext {
            vars: &vars,
            incremental: false,
            this: String::new(),
            resolve_ref: &|name| self.ref_relation(name),
            resolve_source: &|source, table| Ok(self.source_relation(source, table)),
        };
        template::render(sql, &context, macros)
            .map_err(|fault| fault.into_error("the SQL of the tile"))
    }
}

/// Writes a dashboard as its file: keys in the order of the reference, nothing that is the default, SQL and texts of
/// several lines as they are.
#[must_use]
pub fn write(board: &Dashboard) -> String {
    let mut out = String::new();
    text(&mut out, 0, "dashboard", Some(&board.dashboard));
    label(&mut out, 0, "title", &board.title);
    text(&mut out, 0, "description", board.description.as_ref());
    text(&mut out, 0, "owner", board.owner.as_ref());
    if board.readers == Readers::View {
        text(&mut out, 0, "readers", Some("view"));
    }
    let filters = &board.filters;
    if filters.time.is_some() || !filters.dimensions.is_empty() {
        out.push_str("filters:\n");
        if let Some(time) = &filters.time {
            let compare = match comparison(time.compare) {
                "previous" => String::new(),
                other => format!(", compare: {other}"),
            };
            out.push_str(&format!("  time: {{days: {}{compare}}}\n", time.days));
        }
        list(&mut out, 1, "dimensions", &filters.dimensions);
    }
    if board.tiles.is_empty() {
        out.push_str("tiles: []\n");
    } else {
        out.push_str("tiles:\n");
    }
    for tile in &board.tiles {
        let mut lines = String::new();
        one_tile(&mut lines, tile);
        // The first key stands behind the dash.
        out.push_str(&format!("  - {}", lines.strip_prefix("    ").unwrap_or(&lines)));
    }
    out
}

fn one_tile(out: &mut String, tile: &Tile) {
    const DEPTH: usize = 2;
    text(out, DEPTH, "tile", Some(&tile.tile));
    label(out, DEPTH, "title", &tile.title);
    text(out, DEPTH, "description", tile.description.as_ref());
    list(out, DEPTH, "metrics", &tile.metrics);
    list(out, DEPTH, "by", &tile.by);
    text(out, DEPTH, "grain", tile.grain.map(|grain| grain.word()));
    list(out, DEPTH, "where", &tile.conditions);
    text(out, DEPTH, "compare", tile.compare.map(comparison));
    text(out, DEPTH, "sql", tile.sql.as_ref());
    if !tile.filters.is_empty() {
        out.push_str(&format!("{}filters:\n", "  ".repeat(DEPTH)));
        for (name, expression) in &tile.filters {
            text(out, DEPTH + 1, name, Some(expression));
        }
    }
    label(out, DEPTH, "text", &tile.text);
    text(out, DEPTH, "show", tile.show.map(|show| show.word()));
    for (key, value) in [
        ("limit", tile.limit.map(u64::from)),
        ("width", tile.width.map(u64::from)),
        ("height", tile.height.map(u64::from)),
    ] {
        if let Some(value) = value {
            out.push_str(&format!("{}{key}: {value}\n", "  ".repeat(DEPTH)));
        }
    }
}

fn comparison(compare: Comparison) -> &'static str {
    match compare {
        Comparison::Previous => "previous",
        Comparison::Year => "year",
        Comparison::None => "none",
    }
}

fn label(out: &mut String, depth: usize, key: &str, label: &Label) {
    if label.texts().next().is_none() {
        return;
    }
    out.push_str(&format!("{}{key}:\n", "  ".repeat(depth)));
    text(out, depth + 1, "en", label.en.as_ref());
    text(out, depth + 1, "zh", label.zh.as_ref());
}

fn list(out: &mut String, depth: usize, key: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    let items: Vec<String> = items.iter().map(|item| scalar(&json!(item))).collect();
    out.push_str(&format!("{}{key}: [{}]\n", "  ".repeat(depth), items.join(", ")));
}

/// Writes a key with a text, if there is one.
pub(crate) fn text(out: &mut String, depth: usize, key: &str, value: Option<impl AsRef<str>>) {
    let Some(value) = value else { return };
    let (value, indent) = (value.as_ref(), "  ".repeat(depth));
    let key = scalar(&json!(key));
    if !is_block(value) {
        out.push_str(&format!("{indent}{key}: {}\n", scalar(&json!(value))));
        return;
    }
    let (body, mark) = match value.strip_suffix('\n') {
        Some(body) => (body, "|"),
        None => (value, "|-"),
    };
    out.push_str(&format!("{indent}{key}: {mark}\n"));
    for line in body.split('\n') {
        match line.is_empty() {
            true => out.push('\n'),
            false => {
                out.push_str(&format!("{indent}  {line}\n"));
            }
        }
    }
}

/// Whether a text is the same text when it stands line by line after `|`.
pub(crate) fn is_block(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    body.contains('\n')
        && !body.starts_with([' ', '\n', '\t'])
        && !body.ends_with('\n')
        && body.chars().all(|c| c == '\n' || !c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_the_same() {
        let sql = "select country, count(*) as n\nfrom {{ ref('orders') }}\n\nwhere {{ var('filters') }}\ngroup by 1\n";
        let board = json!({
            "dashboard": "shop", "title": {"en": "Shop: \"all\"", "zh": "店铺概览"}, "owner": "sales", "readers": "view",
            "filters": {"time": {"days": 90, "compare": "year"}, "dimensions": ["country", "customer.segment"]},
            "tiles": [
                {"tile": "revenue", "metrics": "revenue", "width": 3, "height": 2},
                {"tile": "by_day", "metrics": ["revenue", "orders"], "show": "line", "grain": "day", "compare": "none", "where": ["country <> 'no'"]},
                {"tile": "query", "sql": sql, "filters": {"time": "ordered_at", "country": "upper(country)"}, "show": "bar", "limit": 7},
                {"tile": "note", "text": {"en": "# Hello\n\n- one\n- two", "zh": " 说明\n二"}},
            ],
        });
        let board: Dashboard = serde_json::from_value(board).unwrap();
        let written = write(&board);
        let mut out = Diagnostics::default();
        let node = yaml::parse(&SourceFile::new("b.yaml", &written), &mut out).unwrap();
        assert!(out.is_empty(), "{out}\n{written}");
        let read: Dashboard = serde_json::from_value(node.to_json()).unwrap();
        assert_eq!(
            serde_json::to_value(&read).unwrap(),
            serde_json::to_value(&board).unwrap(),
            "{written}"
        );
        assert!(written.contains("    sql: |\n      select country"), "{written}");
    }
}
