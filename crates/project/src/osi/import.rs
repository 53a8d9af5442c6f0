//! A document to semantic views.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result};
use serde_json::{Map, Value as Json};

use super::aggregate::{self, Call, Shape};
use super::export::{dataset, expression};
use super::{DIALECT, VENDOR, is_column, plain, tidied};
use crate::datax::{Imported, Made, Note, document};
use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::file::SourceFile;
use crate::metric::{Expression, Semantics, TIME_WORDS};
use crate::resource::semantic::{
    Aggregate, Certification, Dimension, DimensionKind, Entity, EntityKind, Label, Measure, Metric,
    Ratio, Semantic,
};
use crate::yaml::{self, Node};

/// Dialects whose expressions are SQL, in the order in which they are asked.
const DIALECTS: &[&str] = &[DIALECT, "DATABRICKS", "SNOWFLAKE", "BIGQUERY"];

/// Types of times.
const TIMES: &[&str] = &["Date", "DateTime", "DateTimeTz"];

/// Where the tables of a document are.
#[derive(Clone, Debug)]
pub struct Options {
    /// The lake's schema of tables that no model makes and whose source names no schema.
    pub schema: String,
    /// The project's models: a source whose table is called so is one.
    pub models: BTreeSet<String>,
    /// Views of the project, which an import must not take the names of.
    pub views: BTreeMap<String, String>,
}

/// A data set on its way.
struct Draft {
    /// What the document calls it.
    title: String,
    view: Semantic,
    /// The SQL of each field, by what the document calls it.
    fields: BTreeMap<String, String>,
    /// What of the document is not understood.
    notes: Vec<Note>,
}

/// A metric of the document.
struct Asked<'n> {
    at: String,
    title: String,
    name: String,
    entry: Map<String, Json>,
    span: Span,
    /// The data set that it stands in.
    home: Option<usize>,
    node: &'n Node,
}

/// Turns a document, read from `path`, into files of `metrics/`.
///
/// # Errors
/// Every mistake with its place in the document. What our metrics cannot say is left out with a note.
pub fn import(path: &str, text: &str, options: &Options) -> Result<Imported> {
    let file = SourceFile::new(path, text);
    let mut out = Diagnostics::default();
    let Some(node) = yaml::parse(&file, &mut out) else { return Err(mistakes(&out)) };
    let models = head(&file, &node, &mut out);
    if out.has_errors() {
        return Err(mistakes(&out));
    }
    let mut imported = Imported::default();
    let mut names: BTreeSet<String> = BTreeSet::new();
    for (at, model) in models.iter().enumerate() {
        let at = format!("semantic_model[{at}]");
        let mut work = Work { file: &file, options, drafts: Vec::new(), notes: Vec::new() };
        work.datasets(model, &at, &mut out);
        work.relationships(model, &at, &mut out);
        work.metrics(model, &at, &mut out);
        for draft in work.drafts {
            let name = draft.view.semantic.clone();
            if !names.insert(name.clone()) {
                let message = format!("two data sets are called \"{name}\"");
                let hint = "Names differ by more than capitals and signs.";
                out.push(&file, Diagnostic::error(model.span, message).hint(hint));
            }
            imported.notes.extend(draft.notes);
            imported.files.push(Made {
                path: format!("metrics/{name}.yaml"),
                text: document(&entries(&draft.view)),
            });
        }
        imported.notes.extend(work.notes);
    }
    match out.has_errors() {
        true => Err(mistakes(&out)),
        false => Ok(imported),
    }
}

/// A view as its file has it.
fn entries(view: &Semantic) -> Vec<(String, Json)> {
    const ORDER: [&str; 9] = [
        "semantic",
        "table",
        "description",
        "owner",
        "time",
        "entities",
        "dimensions",
        "measures",
        "metrics",
    ];
    let mut entries = tidied(view);
    let own = |entries: Vec<(&String, Map<String, Json>)>| {
        Json::Object(entries.into_iter().map(|(name, one)| (name.clone(), one.into())).collect())
    };
    let mut put = |key: &str, value: Json| {
        if value.as_object().is_some_and(|value| !value.is_empty()) {
            entries.insert(key.to_owned(), value);
        }
    };
    put("entities", own(view.entities.iter().map(|(name, one)| (name, tidied(one))).collect()));
    put("dimensions", own(view.dimensions.iter().map(|(name, one)| (name, tidied(one))).collect()));
    put("measures", own(view.measures.iter().map(|(name, one)| (name, tidied(one))).collect()));
    put("metrics", own(view.metrics.iter().map(|(name, one)| (name, tidied(one))).collect()));
    let mut entries: Vec<(String, Json)> = entries.into_iter().collect();
    entries.sort_by_key(|(key, _)| ORDER.iter().position(|known| known == key));
    entries
}

/// The error of a document with mistakes.
fn mistakes(out: &Diagnostics) -> Error {
    Error::invalid(format!("the semantic model has {}\n\n{out}\n", out.summary()))
        .hint("Mend the document; nothing was written.")
}

/// What the format wants of every document; gives its semantic models.
fn head<'n>(file: &SourceFile, node: &'n Node, out: &mut Diagnostics) -> &'n [Node] {
    let version = node.get("version");
    let known = version
        .and_then(Node::text)
        .is_some_and(|version| version.starts_with("0.1") || version.starts_with("0.2"));
    if !known {
        let (span, message) = match version {
            Some(version) => {
                let text = version.text().unwrap_or_default();
                (version.span, format!("version \"{text}\" is not read"))
            }
            None => (Span::FILE, "a semantic model has no `version`".to_owned()),
        };
        let hint = "Documents of Apache Ossie (OSI) 0.1 and 0.2 are read.";
        out.push(file, Diagnostic::error(span, message).hint(hint));
    }
    let models = node.get("semantic_model").map(Node::items).unwrap_or_default();
    if models.is_empty() {
        let message = "the document has no `semantic_model`";
        let hint = "It is a list of models, each with a name and data sets.";
        out.push(file, Diagnostic::error(Span::FILE, message).hint(hint));
    }
    models
}

/// One semantic model of the document.
struct Work<'a> {
    file: &'a SourceFile,
    options: &'a Options,
    drafts: Vec<Draft>,
    notes: Vec<Note>,
}

impl<'a> Work<'a> {
    fn wrong(&self, span: Span, message: String, hint: &str, out: &mut Diagnostics) {
        out.push(self.file, Diagnostic::error(span, message).hint(hint));
    }

    fn note(&mut self, at: &str, message: impl Into<String>) {
        self.notes.push(Note { at: at.to_owned(), message: message.into() });
    }

    fn datasets(&mut self, model: &Node, at: &str, out: &mut Diagnostics) {
        let datasets = model.get("datasets").map(Node::items).unwrap_or_default();
        if datasets.is_empty() {
            let message = "a semantic model has no data sets".to_owned();
            return self.wrong(
                model.span,
                message,
                "Give `datasets`, each with a name and a source.",
                out,
            );
        }
        for (place, node) in datasets.iter().enumerate() {
            let at = format!("{at}.datasets[{place}]");
            let text = |key: &str| node.get(key).and_then(Node::text);
            let (Some(title), Some(source)) = (text("name"), text("source")) else {
                let message = "a data set needs a name and a source".to_owned();
                self.wrong(node.span, message, "`source` is its table, `schema.table`.", out);
                continue;
            };
            if self.drafts.iter().any(|draft| draft.title == title) {
                let message = format!("two data sets are called \"{title}\"");
                self.wrong(node.span, message, "Give one of them another name.", out);
                continue;
            }
            let Some(table) = self.table(source) else {
                self.note(&at, format!("is left out: its source is a query. Save it as models/{}.sql, and name that model as the source", plain(title)));
                continue;
            };
            let name = plain(title);
            if let Some(taken) = self.options.views.get(&name) {
                let message = format!("the project has a semantic view \"{name}\" already");
                let hint =
                    format!("It is in {taken}: remove it there, or call the data set otherwise.");
                self.wrong(node.span, message, &hint, out);
                continue;
            }
            let Json::Object(entry) = node.to_json() else { continue };
            let mut draft = draft_of(title, &name, &table, &entry, &at);
            self.own(&mut draft, &entry, &table, &at);
            self.drafts.push(draft);
        }
    }

    /// What a source means here; none for a query.
    fn table(&self, source: &str) -> Option<String> {
        let parts: Vec<String> =
            source.split('.').map(|part| part.trim_matches(['"', '`']).to_owned()).collect();
        if parts.iter().any(|part| !is_column(part)) {
            return None;
        }
        let table = parts.last()?.to_lowercase();
        if self.options.models.contains(&table) {
            return Some(format!("ref('{table}')"));
        }
        let schema = parts.len().checked_sub(2).and_then(|at| parts.get(at));
        let schema = schema.map_or_else(|| self.options.schema.clone(), |s| s.to_lowercase());
        Some(format!("source('{schema}', '{table}')"))
    }

    /// Takes what our own note says of a data set, if the rest of it still says the same.
    fn own(&mut self, draft: &mut Draft, entry: &Map<String, Json>, table: &str, at: &str) {
        let Some(own) = note_of(entry).and_then(|mut own| own.get_mut("semantic").map(Json::take))
        else {
            return;
        };
        let known = serde_json::from_value::<Semantic>(own);
        let source = entry.get("source").and_then(Json::as_str).unwrap_or_default();
        let mut bare = entry.clone();
        bare.remove("custom_extensions");
        match known {
            Ok(known) if dataset(&known, source) == Json::Object(bare) => {
                draft.notes.clear();
                draft.view = Semantic { table: table.to_owned(), ..known };
            }
            Ok(_) => self.note(at, "was changed since it was exported: what the document says is taken, and what only Flywheel's note said is lost"),
            Err(error) => self.note(at, format!("has a note of Flywheel that cannot be read ({error}): the rest of it is taken")),
        }
    }

    fn relationships(&mut self, model: &Node, at: &str, out: &mut Diagnostics) {
        let all = model.get("relationships").map(Node::items).unwrap_or_default();
        for (place, node) in all.iter().enumerate() {
            let at = format!("{at}.relationships[{place}]");
            let text = |key: &str| node.get(key).and_then(Node::text).unwrap_or_default();
            let columns = |key: &str| -> Vec<String> {
                let items = node.get(key).map(Node::items).unwrap_or_default();
                items.iter().filter_map(Node::text).map(str::to_owned).collect()
            };
            let find = |title: &str| self.drafts.iter().position(|draft| draft.title == title);
            let (from, to) = (find(text("from")), find(text("to")));
            let (Some(from), Some(to)) = (from, to) else {
                let missing = if from.is_none() { text("from") } else { text("to") };
                if model
                    .get("datasets")
                    .map(Node::items)
                    .unwrap_or_default()
                    .iter()
                    .any(|one| one.get("name").and_then(Node::text) == Some(missing))
                {
                    self.note(&at, format!("is left out with the data set \"{missing}\""));
                } else {
                    let message =
                        format!("a relationship is to the unknown data set \"{missing}\"");
                    self.wrong(node.span, message, "`from` and `to` are names of data sets.", out);
                }
                continue;
            };
            let (own, theirs) = (columns("from_columns"), columns("to_columns"));
            if own.is_empty() || own.len() != theirs.len() {
                let message =
                    "a relationship needs as many `from_columns` as `to_columns`".to_owned();
                self.wrong(node.span, message, "Each column has its counterpart, in order.", out);
                continue;
            }
            let resolve = |at: usize, columns: Vec<String>| -> Vec<String> {
                let fields = self.drafts.get(at).map(|draft| &draft.fields);
                let column = |name: &String| fields.and_then(|fields| fields.get(name)).cloned();
                columns
                    .iter()
                    .map(|name| {
                        column(name).filter(|sql| is_column(sql)).unwrap_or_else(|| name.clone())
                    })
                    .collect()
            };
            let (own, theirs) = (resolve(from, own), resolve(to, theirs));
            if let Err(reason) = self.connect(from, own, to, &theirs, text("name")) {
                self.note(&at, format!("is left out: {reason}"));
            }
        }
    }

    /// Lets a foreign key of one data set refer to a key of another.
    fn connect(
        &mut self,
        from: usize,
        own: Vec<String>,
        to: usize,
        theirs: &[String],
        title: &str,
    ) -> std::result::Result<(), String> {
        let gone = || "a data set is gone".to_owned();
        let reached = &self.drafts.get(to).ok_or_else(gone)?.view;
        let key = reached
            .entities
            .iter()
            .find(|(name, one)| one.kind.is_single() && one.columns(name) == theirs);
        let Some((target, _)) = key else {
            return Err(format!(
                "{} is no primary_key or unique_keys of \"{}\", so that a join could count rows twice",
                theirs.join(", "),
                reached.semantic
            ));
        };
        let target = target.clone();
        let view = &mut self.drafts.get_mut(from).ok_or_else(gone)?.view;
        let there = view.entities.iter().any(|(name, one)| {
            one.columns(name) == own && (one.to.as_deref().unwrap_or(name) == target)
        });
        if there {
            return Ok(());
        }
        let free = |view: &Semantic, name: &str| {
            !view.entities.contains_key(name) && !view.dimensions.contains_key(name)
        };
        let (name, to) = match free(view, &target) {
            true => (target, None),
            false => (plain(title), Some(target)),
        };
        let name = numbered(&name, |name| free(view, name));
        let key = if own == [name.clone()] { Vec::new() } else { own };
        view.entities.insert(name, foreign(key, to));
        Ok(())
    }

    fn metrics(&mut self, model: &Node, at: &str, out: &mut Diagnostics) {
        let mut asked: Vec<Asked<'_>> = Vec::new();
        let mut lists = vec![(model, at.to_owned(), None)];
        for (place, dataset) in
            model.get("datasets").map(Node::items).unwrap_or_default().iter().enumerate()
        {
            let title = dataset.get("name").and_then(Node::text).unwrap_or_default();
            let home = self.drafts.iter().position(|draft| draft.title == title);
            lists.push((dataset, format!("{at}.datasets[{place}]"), home));
        }
        for (holder, at, home) in lists {
            let list = holder.get("metrics").map(Node::items).unwrap_or_default();
            for (place, node) in list.iter().enumerate() {
                let Json::Object(entry) = node.to_json() else { continue };
                let Some(title) = node.get("name").and_then(Node::text) else {
                    let message = "a metric has no name".to_owned();
                    self.wrong(node.span, message, "Each has one of its own.", out);
                    continue;
                };
                let name = plain(title);
                if asked.iter().any(|other| other.name == name) {
                    let message = format!("two metrics are called \"{name}\"");
                    let hint = "Names of metrics are unique in a project.";
                    self.wrong(node.span, message, hint, out);
                    continue;
                }
                let at = format!("{at}.metrics[{place}]");
                let (title, span) = (title.to_owned(), node.span);
                asked.push(Asked { at, title, name, entry, span, home, node });
            }
        }
        let kept = self.kept(model, &asked);
        // Metrics of one measure come first: those made of others find them by what they measure.
        let (mut open, mut parsed) = (Vec::new(), Vec::new());
        for one in asked.iter().filter(|one| !kept.contains(&one.name)) {
            match self.parsed(one) {
                Ok(parts) => parsed.push((one, parts)),
                Err(reason) => open.push((one.at.clone(), reason)),
            }
        }
        parsed.sort_by_key(|(_, parts)| parts.shape != Shape::One);
        for (one, parts) in parsed {
            if let Err(reason) = self.metric(one, parts) {
                open.push((one.at.clone(), reason));
            }
        }
        for (at, reason) in open {
            self.note(&at, format!("is left out: {reason}"));
        }
        let lost: Vec<(String, String)> = asked
            .iter()
            .filter(|one| one.node.get("expression").is_none())
            .map(|one| (one.at.clone(), one.title.clone()))
            .collect();
        for (at, title) in lost {
            let message = format!("metric \"{title}\" has no expression");
            let span = asked.iter().find(|one| one.at == at).map_or(Span::FILE, |one| one.span);
            self.wrong(span, message, "Write SQL over fields: SUM(orders.amount).", out);
        }
    }

    /// Takes the metrics that our own notes know and of which the document says the same; gives their names.
    fn kept(&mut self, model: &Node, asked: &[Asked<'_>]) -> BTreeSet<String> {
        let mut candidates: BTreeMap<String, (String, Metric)> = BTreeMap::new();
        let mut take = |name: &str, own: &Json| {
            let view = own.get("view").and_then(Json::as_str);
            let metric = own.get("metric").cloned();
            if let (Some(view), Some(metric)) = (view, metric)
                && let Ok(metric) = serde_json::from_value::<Metric>(metric)
            {
                candidates.insert(name.to_owned(), (view.to_owned(), metric));
            }
        };
        for one in asked {
            if let Some(own) = note_of(&one.entry) {
                take(&one.name, &own);
            }
        }
        let silent = match model.to_json() {
            Json::Object(entry) => note_of(&entry),
            _ => None,
        };
        let silent = silent.as_ref().and_then(|own| own.get("metrics")).and_then(Json::as_object);
        for (name, own) in silent.into_iter().flatten() {
            take(name, own);
        }
        let fits = |drafts: &[Draft], view: &str, metric: &Metric| {
            let view = drafts.iter().find(|draft| draft.view.semantic == view);
            let measure = metric.measure.as_ref();
            view.is_some_and(|draft| measure.is_none_or(|m| draft.view.measures.contains_key(m)))
        };
        candidates.retain(|_, (view, metric)| fits(&self.drafts, view, metric));
        // A metric that goes takes those made of it along, so this ends.
        loop {
            let mut views: Vec<Semantic> =
                self.drafts.iter().map(|draft| draft.view.clone()).collect();
            for (name, (view, metric)) in &candidates {
                if let Some(view) = views.iter_mut().find(|one| one.semantic == *view) {
                    view.metrics.insert(name.clone(), metric.clone());
                }
            }
            let semantics = Semantics::new(&views);
            let stale: Vec<String> = candidates
                .keys()
                .filter(|name| {
                    let Some(known) = semantics.named(name) else { return true };
                    let whole = semantics.measured(known).is_ok();
                    match asked.iter().find(|one| one.name == **name) {
                        Some(one) => {
                            let said = sql_of(&one.entry).map(|(sql, _)| sql);
                            !whole || said.ok() != expression(&semantics, known, 0).ok()
                        }
                        None => !whole,
                    }
                })
                .cloned()
                .collect();
            if stale.is_empty() {
                for draft in &mut self.drafts {
                    let own =
                        candidates.iter().filter(|(_, (view, _))| *view == draft.view.semantic);
                    draft
                        .view
                        .metrics
                        .extend(own.map(|(name, (_, metric))| (name.clone(), metric.clone())));
                }
                return candidates.into_keys().collect();
            }
            for name in stale {
                candidates.remove(&name);
                let at = asked.iter().find(|one| one.name == name).map(|one| one.at.clone());
                let message = match at {
                    Some(_) => "was changed since it was exported: what the document says is taken",
                    None => {
                        "is in Flywheel's note alone and left out: what it is made of was changed"
                    }
                };
                self.note(&at.unwrap_or_else(|| format!("metric \"{name}\"")), message);
            }
        }
    }

    fn parsed(&mut self, one: &Asked<'_>) -> std::result::Result<aggregate::Parts, String> {
        let (sql, foreign) = sql_of(&one.entry)?;
        if let Some(dialect) = foreign {
            self.note(&one.at, format!("is taken from its expression for {dialect}: look at it"));
        }
        aggregate::parts(&sql)
    }

    fn metric(
        &mut self,
        one: &Asked<'_>,
        parts: aggregate::Parts,
    ) -> std::result::Result<(), String> {
        let label = label_of(&one.title);
        let mut synonyms = words_of(&one.entry, &one.name);
        synonyms.retain(|word| label.texts().all(|text| text != word));
        let mut metric = Metric {
            label,
            synonyms,
            description: text_of(&one.entry, "description"),
            certification: Certification::Draft,
            default: parts.default,
            ..Metric::default()
        };
        let measured: Vec<(usize, Measure)> = parts
            .calls
            .iter()
            .map(|call| self.measure(call, one.home))
            .collect::<std::result::Result<_, _>>()?;
        if let (Shape::Derived(skeleton), count) = (&parts.shape, measured.len()) {
            check_skeleton(skeleton, count)?;
        }
        let home = measured.first().map_or(0, |(at, _)| *at);
        if parts.shape == Shape::One {
            let Some((at, measure)) = measured.into_iter().next() else {
                return Err("it measures nothing".to_owned());
            };
            metric.measure = Some(self.kept_measure(at, &one.name, measure)?);
            return self.put(home, &one.name, metric);
        }
        let mut names = Vec::new();
        for (place, (at, measure)) in measured.into_iter().enumerate() {
            names.push(self.metric_of(at, measure, &format!("{}_{}", one.name, place + 1))?);
        }
        match (parts.shape, names.as_slice()) {
            (Shape::Ratio, [of, per]) => {
                metric.ratio = Some(Ratio { of: of.clone(), per: per.clone() });
            }
            (Shape::Derived(skeleton), names) => {
                // From the last on, so that part_1 is not found in part_10.
                let text =
                    names.iter().enumerate().rev().fold(skeleton, |text, (at, name)| {
                        text.replace(&aggregate::part(at), name)
                    });
                metric.derived = Some(text.split_whitespace().collect::<Vec<_>>().join(" "));
            }
            _ => return Err("it measures nothing".to_owned()),
        }
        self.put(home, &one.name, metric)
    }

    fn put(&mut self, home: usize, name: &str, metric: Metric) -> std::result::Result<(), String> {
        let draft = self.drafts.get_mut(home).ok_or_else(|| "its data set is gone".to_owned())?;
        draft.view.metrics.insert(name.to_owned(), metric);
        Ok(())
    }

    /// The data set and the measure of a call.
    fn measure(
        &self,
        call: &Call,
        home: Option<usize>,
    ) -> std::result::Result<(usize, Measure), String> {
        let mut found: BTreeSet<usize> = BTreeSet::new();
        let of = match &call.of {
            None => None,
            Some(of) => Some(aggregate::rebound(of, &mut |table, column| {
                let at = self.drafts.iter().position(|draft| draft.title == *table);
                let at = at.ok_or_else(|| format!("\"{table}\" is no data set that was taken"))?;
                found.insert(at);
                let field = self.drafts.get(at).and_then(|draft| draft.fields.get(column));
                let sql = field.ok_or_else(|| format!("\"{table}\" has no field \"{column}\""))?;
                Ok(if is_column(sql) { sql.clone() } else { format!("({sql})") })
            })?),
        };
        let only = (self.drafts.len() == 1).then_some(0);
        let at = match found.iter().copied().collect::<Vec<_>>().as_slice() {
            [at] => *at,
            [] => home.or(only).ok_or_else(|| {
                "it does not say of which data set: write COUNT(orders.order_id) for COUNT(*)"
                    .to_owned()
            })?,
            _ => {
                return Err("one aggregate reads several data sets: make a model that joins them"
                    .to_owned());
            }
        };
        let of = of.map(|of| match of.strip_prefix('(').and_then(|of| of.strip_suffix(')')) {
            Some(inner) if !inner.contains(['(', ')']) => inner.to_owned(),
            _ => of,
        });
        let measure = Measure {
            aggregate: call.aggregate,
            expression: of,
            p: call.p,
            method: None,
            time: None,
            over_time: None,
            description: None,
        };
        Ok((at, measure))
    }

    /// The name of a measure of a data set: of one that is there, or of a new one.
    fn kept_measure(
        &mut self,
        at: usize,
        name: &str,
        measure: Measure,
    ) -> std::result::Result<String, String> {
        let draft = self.drafts.get_mut(at).ok_or_else(|| "its data set is gone".to_owned())?;
        let measures = &mut draft.view.measures;
        let same = |known: &str, other: &Measure| {
            let sql = |one: &Measure, name: &str| match (&one.expression, one.aggregate) {
                (None, Aggregate::Count) => None,
                (expression, _) => Some(expression.clone().unwrap_or_else(|| name.to_owned())),
            };
            other.aggregate == measure.aggregate
                && other.p == measure.p
                && other.over_time.is_none()
                && sql(other, known) == sql(&measure, name)
        };
        if let Some((known, _)) = measures.iter().find(|(known, other)| same(known, other)) {
            return Ok(known.clone());
        }
        let name = numbered(name, |name| !measures.contains_key(name));
        measures.insert(name.clone(), measure);
        Ok(name)
    }

    /// The metric that is a measure as it is: one that is there, or a new one.
    fn metric_of(
        &mut self,
        at: usize,
        measure: Measure,
        name: &str,
    ) -> std::result::Result<String, String> {
        let measure = self.kept_measure(at, name, measure)?;
        let draft = self.drafts.get(at).ok_or_else(|| "its data set is gone".to_owned())?;
        let there = draft.view.metrics.iter().find(|(_, metric)| {
            metric.measure.as_ref() == Some(&measure)
                && metric.filter.is_none()
                && metric.default.is_none()
        });
        if let Some((known, _)) = there {
            return Ok(known.clone());
        }
        let taken: BTreeSet<&String> =
            self.drafts.iter().flat_map(|draft| draft.view.metrics.keys()).collect();
        let name = numbered(name, |name| !taken.contains(&name.to_owned()));
        self.put(at, &name, Metric { measure: Some(measure), ..Metric::default() })?;
        Ok(name)
    }
}

/// Arithmetic over parts and numbers is all that is taken.
fn check_skeleton(skeleton: &str, parts: usize) -> std::result::Result<(), String> {
    let parsed = Expression::parse(skeleton).map_err(|mistake| {
        format!("\"{skeleton}\" is no arithmetic over aggregates ({})", mistake.message)
    })?;
    let known: BTreeSet<String> = (0..parts).map(aggregate::part).collect();
    match parsed.names().into_iter().find(|name| !known.contains(&name.text())) {
        Some(name) => Err(format!("\"{}\" stands outside of every aggregate", name.text())),
        None => Ok(()),
    }
}

/// A data set as the document alone tells it.
fn draft_of(title: &str, name: &str, table: &str, entry: &Map<String, Json>, at: &str) -> Draft {
    let mut draft = Draft {
        title: title.to_owned(),
        view: Semantic {
            semantic: name.to_owned(),
            table: table.to_owned(),
            description: text_of(entry, "description"),
            owner: None,
            time: None,
            entities: BTreeMap::new(),
            dimensions: BTreeMap::new(),
            measures: BTreeMap::new(),
            metrics: BTreeMap::new(),
        },
        fields: BTreeMap::new(),
        notes: Vec::new(),
    };
    let list = |value: Option<&Json>| -> Vec<String> {
        let items = value.and_then(Json::as_array).into_iter().flatten();
        items.filter_map(Json::as_str).map(str::to_owned).collect()
    };
    let fields = entry.get("fields").and_then(Json::as_array).into_iter().flatten();
    for (place, field) in fields.filter_map(Json::as_object).enumerate() {
        let at = format!("{at}.fields[{place}]");
        if let Err(reason) = take_field(&mut draft, field) {
            draft.notes.push(Note { at, message: format!("is left out: {reason}") });
        }
    }
    let resolve = |columns: Vec<String>| -> Vec<String> {
        let sql = |name: &String| draft.fields.get(name).filter(|sql| is_column(sql)).cloned();
        columns.iter().map(|column| sql(column).unwrap_or_else(|| column.clone())).collect()
    };
    let primary = resolve(list(entry.get("primary_key")));
    let unique: Vec<Vec<String>> = entry
        .get("unique_keys")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .map(|one| resolve(list(Some(one))))
        .collect();
    if !primary.is_empty() {
        let name = numbered(name, |name| !draft.view.dimensions.contains_key(name));
        draft.view.entities.insert(name, key_of(EntityKind::Primary, primary));
    }
    for columns in unique.into_iter().filter(|columns| !columns.is_empty()) {
        let wanted = plain(&format!("{name}_{}", columns.join("_")));
        let view = &draft.view;
        let free =
            |name: &str| !view.entities.contains_key(name) && !view.dimensions.contains_key(name);
        let wanted = numbered(&wanted, free);
        draft.view.entities.insert(wanted, key_of(EntityKind::Unique, columns));
    }
    let times = draft.view.dimensions.iter().filter(|(_, one)| one.kind == DimensionKind::Time);
    let times: Vec<String> = times.map(|(name, _)| name.clone()).collect();
    match times.as_slice() {
        [only] => draft.view.time = Some(only.clone()),
        [] => {}
        several => draft.notes.push(Note {
            at: at.to_owned(),
            message: format!(
                "has several times: say by `time:` in metrics/{name}.yaml which one its measures are counted by ({})",
                several.join(", ")
            ),
        }),
    }
    draft
}

fn take_field(draft: &mut Draft, field: &Map<String, Json>) -> std::result::Result<(), String> {
    let title = text_of(field, "name").ok_or_else(|| "it has no name".to_owned())?;
    let (sql, foreign) = sql_of(field)?;
    // Within its data set a field may name the data set or not.
    let own = draft.title.clone();
    let sql = aggregate::rebound(&sql, &mut |table, column| match table == own {
        true => Ok(column.to_owned()),
        false => {
            Err(format!("it reads \"{table}\", another data set: make a model that joins them"))
        }
    })?;
    draft.fields.insert(title.clone(), sql.clone());
    if let Some(dialect) = foreign {
        let at = format!("field \"{title}\"");
        let message = format!("is taken from its expression for {dialect}: look at it");
        draft.notes.push(Note { at, message });
    }
    let Some(role) = field.get("dimension") else { return Ok(()) };
    let name = plain(&title);
    let name = match TIME_WORDS.contains(&name.as_str()) {
        true => format!("{name}_of_{}", draft.view.semantic),
        false => name,
    };
    if draft.view.dimensions.contains_key(&name) {
        return Err(format!("another dimension is called \"{name}\", too"));
    }
    let datatype = field.get("datatype").and_then(Json::as_str);
    let of_type = datatype.is_some_and(|datatype| TIMES.contains(&datatype));
    let said = role.get("is_time").and_then(Json::as_bool);
    let is_time = said.unwrap_or(of_type) && (of_type || datatype.is_none());
    let words = words_of(field, &name);
    let taken = |word: &str| {
        let dimensions = draft.view.dimensions.iter();
        dimensions
            .flat_map(|(name, one)| {
                let synonyms = one.synonyms.iter().map(String::as_str);
                std::iter::once(name.as_str()).chain(synonyms).chain(one.label.texts())
            })
            .any(|known| known.eq_ignore_ascii_case(word))
    };
    let mut label = label_of(&title);
    if label.texts().any(taken) {
        label = Label::default();
    }
    let is_new = |word: &String| !taken(word) && label.texts().all(|text| text != word);
    let synonyms = words.into_iter().filter(is_new).collect();
    draft.view.dimensions.insert(
        name.clone(),
        Dimension {
            kind: if is_time { DimensionKind::Time } else { DimensionKind::Categorical },
            expression: (sql != name).then_some(sql),
            description: text_of(field, "description"),
            label,
            synonyms,
            ..Dimension::default()
        },
    );
    Ok(())
}

fn key_of(kind: EntityKind, key: Vec<String>) -> Entity {
    Entity { kind, key, to: None, description: None, label: Label::default(), synonyms: Vec::new() }
}

fn foreign(key: Vec<String>, to: Option<String>) -> Entity {
    Entity { to, ..key_of(EntityKind::Foreign, key) }
}

/// `name`, with a number behind it if it is not free.
fn numbered(name: &str, free: impl Fn(&str) -> bool) -> String {
    if free(name) {
        return name.to_owned();
    }
    let mut numbers = 2_u32..;
    let next =
        numbers.find_map(|number| Some(format!("{name}_{number}")).filter(|name| free(name)));
    next.unwrap_or_else(|| name.to_owned())
}

fn text_of(entry: &Map<String, Json>, key: &str) -> Option<String> {
    entry.get(key).and_then(Json::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Other words for something that is called `name`.
fn words_of(entry: &Map<String, Json>, name: &str) -> Vec<String> {
    let words = entry.get("ai_context").and_then(|context| context.get("synonyms"));
    let words = words.and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
    let mut kept: Vec<String> = Vec::new();
    for word in words.filter(|word| !word.eq_ignore_ascii_case(name)) {
        if !kept.iter().any(|known| known.eq_ignore_ascii_case(word)) {
            kept.push(word.to_owned());
        }
    }
    kept
}

/// What people call something whose name has letters that a name of ours cannot have.
fn label_of(title: &str) -> Label {
    let han = |c: char| matches!(c, '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}');
    let text = Some(title.to_owned()).filter(|title| !title.is_ascii());
    match title.contains(han) {
        true => Label { zh: text, en: None },
        false => Label { en: text, zh: None },
    }
}

/// The SQL of an expression, and its dialect if it is not the standard one.
fn sql_of(entry: &Map<String, Json>) -> std::result::Result<(String, Option<String>), String> {
    let dialects = entry.get("expression").and_then(|one| one.get("dialects"));
    let dialects = dialects.and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |one: &Json, key: &str| one.get(key).and_then(Json::as_str).map(str::to_owned);
    let dialect = |one: &Json| text(one, "dialect").unwrap_or_else(|| DIALECT.to_owned());
    for wanted in DIALECTS {
        let found = dialects.iter().find(|one| dialect(one) == *wanted);
        if let Some(sql) = found.and_then(|one| text(one, "expression")) {
            return Ok((sql, (*wanted != DIALECT).then(|| (*wanted).to_owned())));
        }
    }
    let there: Vec<String> = dialects.iter().map(dialect).collect();
    Err(match there.is_empty() {
        true => "it has no expression".to_owned(),
        false => format!("its expression is written for {} alone", there.join(", ")),
    })
}

/// What our own note in an entry says.
fn note_of(entry: &Map<String, Json>) -> Option<Json> {
    let notes = entry.get("custom_extensions").and_then(Json::as_array)?;
    let own =
        notes.iter().find(|note| note.get("vendor_name").and_then(Json::as_str) == Some(VENDOR))?;
    serde_json::from_str(own.get("data").and_then(Json::as_str)?).ok()
}
