//! Semantic views as a document.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result, suggest};
use serde_json::{Map, Value as Json, json};

use super::{DIALECT, Keyed, VENDOR, VERSION, is_column, tidied};
use crate::datax::Note;
use crate::graph::NodeKind;
use crate::metric::{End, Expression, MetricRef, Semantics};
use crate::project::Project;
use crate::resource::semantic::{
    Aggregate, Dimension, DimensionKind, EntityKind, Label, Measure, MetricKind, Semantic,
};

/// How deep metrics may be made of each other; a checked project has no circle.
const DEPTH_MAX: usize = 32;

/// A document and what it cannot say.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The document.
    pub document: Json,
    /// What travels in our own notes alone.
    pub notes: Vec<Note>,
}

/// The semantic views `names`, or all, as one semantic model that is called like the project.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown view, and if there is none.
pub fn export(project: &Project, names: &[String]) -> Result<Exported> {
    let known = || project.semantics.keys().map(String::as_str);
    if let Some(name) = names.iter().find(|name| !project.semantics.contains_key(*name)) {
        return Err(Error::not_found(format!("no semantic view is called \"{name}\""))
            .hint(suggest::hint(name, known())));
    }
    let wanted = |name: &str| names.is_empty() || names.iter().any(|one| one == name);
    let views = project.semantics.iter().filter(|(name, _)| wanted(name));
    let views: BTreeMap<&str, (&Semantic, String)> = views
        .map(|(name, located)| (name.as_str(), (&located.value, source_of(project, name))))
        .collect();
    if views.is_empty() {
        return Err(Error::not_found("the project has no semantic view")
            .hint("Write one in metrics/, or import a model with `flywheel import osi`."));
    }
    let semantics = Semantics::new(views.values().map(|(view, _)| *view));
    let mut notes = Vec::new();
    let datasets: Vec<Json> = views
        .values()
        .map(|(view, source)| {
            let mut whole = tidied(view);
            whole.remove("metrics");
            noted(dataset(view, source), &json!({"semantic": whole}))
        })
        .collect();
    let (mut metrics, mut silent) = (Vec::new(), Map::new());
    for metric in semantics.metrics() {
        let own = json!({"view": metric.view.semantic, "metric": tidied(metric.metric)});
        match expression(&semantics, metric, 0) {
            Ok(sql) => metrics.push(noted(said(metric, &sql), &own)),
            Err(reason) => {
                notes.push(Note {
                    at: format!("metric \"{}\"", metric.name),
                    message: format!("is in the document's note for Flywheel alone: {reason}"),
                });
                silent.insert(metric.name.to_owned(), own);
            }
        }
    }
    let mut model = Map::from_iter([("name".to_owned(), json!(project.file.name))]);
    if let Some(text) = &project.file.description {
        model.insert("description".to_owned(), json!(text));
    }
    model.insert("datasets".to_owned(), Json::Array(datasets));
    let all: Vec<&Semantic> = views.values().map(|(view, _)| *view).collect();
    let relationships = relationships(&all);
    for (key, list) in [("relationships", relationships), ("metrics", metrics)] {
        if !list.is_empty() {
            model.insert(key.to_owned(), Json::Array(list));
        }
    }
    let mut model = Json::Object(model);
    if !silent.is_empty() {
        model = noted(model, &json!({"metrics": silent}));
    }
    Ok(Exported { document: json!({"version": VERSION, "semantic_model": [model]}), notes })
}

/// The table of a semantic view, `schema.name`.
fn source_of(project: &Project, view: &str) -> String {
    let Some(node) = project.semantic_tables.get(view) else { return view.to_owned() };
    match node.kind {
        NodeKind::Model | NodeKind::Learner => {
            project.ref_relation(&node.name).unwrap_or_else(|_| node.name.clone())
        }
        _ => node.name.clone(),
    }
}

/// An entry with our note.
fn noted(entry: Json, data: &Json) -> Json {
    let mut entry = entry;
    if let Json::Object(entries) = &mut entry {
        let note = json!([{"vendor_name": VENDOR, "data": data.to_string()}]);
        entries.insert("custom_extensions".to_owned(), note);
    }
    entry
}

/// SQL in the dialect that is written.
fn sql_of(sql: &str) -> Json {
    json!({"dialects": [{"dialect": DIALECT, "expression": sql}]})
}

/// What people call something, for whoever asks in words.
fn context(entry: &mut Map<String, Json>, label: &Label, synonyms: &[String]) {
    let mut words: Vec<&str> = label.texts().collect();
    words.extend(
        synonyms.iter().map(String::as_str).filter(|word| !label.texts().any(|l| l == *word)),
    );
    if !words.is_empty() {
        entry.insert("ai_context".to_owned(), json!({"synonyms": words}));
    }
}

fn described(entry: &mut Map<String, Json>, text: Option<&String>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        entry.insert("description".to_owned(), json!(text));
    }
}

fn said(metric: MetricRef<'_>, sql: &str) -> Json {
    let mut entry = Map::from_iter([
        ("name".to_owned(), json!(metric.name)),
        ("expression".to_owned(), sql_of(sql)),
    ]);
    described(&mut entry, metric.metric.description.as_ref());
    context(&mut entry, &metric.metric.label, &metric.metric.synonyms);
    Json::Object(entry)
}

/// A view as a data set, without our note.
pub(super) fn dataset(view: &Semantic, source: &str) -> Json {
    let mut entry = Map::from_iter([
        ("name".to_owned(), json!(view.semantic)),
        ("source".to_owned(), json!(source)),
    ]);
    let keys = keys(view);
    if let Some(key) = keys.iter().find(|key| key.kind == EntityKind::Primary) {
        entry.insert("primary_key".to_owned(), json!(key.columns));
    }
    let unique = keys.iter().filter(|key| key.kind == EntityKind::Unique);
    let unique: Vec<&Vec<String>> = unique.map(|key| &key.columns).collect();
    if !unique.is_empty() {
        entry.insert("unique_keys".to_owned(), json!(unique));
    }
    described(&mut entry, view.description.as_ref());
    let mut fields: BTreeMap<String, Json> = BTreeMap::new();
    for (name, dimension) in &view.dimensions {
        fields.insert(name.clone(), field_of(name, dimension));
    }
    for column in keys.iter().flat_map(|key| &key.columns) {
        fields.entry(column.clone()).or_insert_with(|| bare(column, column, None));
    }
    for (name, measure) in &view.measures {
        if let Some((field, sql)) = measured(view, name, measure) {
            let text = measure.description.as_ref();
            fields.entry(field.clone()).or_insert_with(|| bare(&field, &sql, text));
        }
    }
    if !fields.is_empty() {
        entry.insert("fields".to_owned(), fields.into_values().collect());
    }
    Json::Object(entry)
}

fn field_of(name: &str, dimension: &Dimension) -> Json {
    let sql = dimension.expression.as_deref().unwrap_or(name);
    let mut entry = Map::from_iter([
        ("name".to_owned(), json!(name)),
        ("expression".to_owned(), sql_of(sql)),
        ("dimension".to_owned(), json!({"is_time": dimension.kind == DimensionKind::Time})),
    ]);
    described(&mut entry, dimension.description.as_ref());
    context(&mut entry, &dimension.label, &dimension.synonyms);
    Json::Object(entry)
}

/// A field that nothing is grouped by.
fn bare(name: &str, sql: &str, description: Option<&String>) -> Json {
    let mut entry =
        Map::from_iter([("name".to_owned(), json!(name)), ("expression".to_owned(), sql_of(sql))]);
    described(&mut entry, description);
    Json::Object(entry)
}

fn keys(view: &Semantic) -> Vec<Keyed> {
    let entities = view.entities.iter();
    entities.map(|(name, one)| Keyed { kind: one.kind, columns: one.columns(name) }).collect()
}

/// The field that holds what a measure puts together, and its SQL; none if it counts rows.
fn measured(view: &Semantic, name: &str, measure: &Measure) -> Option<(String, String)> {
    if measure.expression.is_none() && measure.aggregate == Aggregate::Count {
        return None;
    }
    let sql = measure.expression.clone().unwrap_or_else(|| name.to_owned());
    // A column that is a field by its own name already is that field.
    let taken = |field: &str| match view.dimensions.get(field) {
        Some(dimension) => dimension.expression.as_deref().unwrap_or(field) != sql,
        None => keys(view).iter().any(|key| key.columns.iter().any(|c| c == field)) && field != sql,
    };
    let of_column = is_column(&sql).then(|| sql.clone()).filter(|field| !taken(field));
    let of_measure = Some(name.to_owned()).filter(|field| !taken(field));
    let field = of_column.or(of_measure).unwrap_or_else(|| format!("{name}_value"));
    Some((field, sql))
}

/// The ways from foreign keys to the tables whose keys they are.
fn relationships(views: &[&Semantic]) -> Vec<Json> {
    let mut all = Vec::new();
    for from in views {
        for (name, entity) in from.entities.iter().filter(|(_, one)| !one.kind.is_single()) {
            let target = entity.to.as_deref().unwrap_or(name);
            let reached = views.iter().find_map(|to| {
                let key = to.entities.get(target).filter(|key| key.kind.is_single())?;
                Some((to, key.columns(target)))
            });
            let Some((to, columns)) = reached else { continue };
            all.push(json!({
                "name": format!("{}_{name}", from.semantic), "from": from.semantic, "to": to.semantic,
                "from_columns": entity.columns(name), "to_columns": columns,
            }));
        }
    }
    all
}

/// A metric as SQL over fields of data sets, or why there is none.
pub(super) fn expression(
    semantics: &Semantics<'_>,
    metric: MetricRef<'_>,
    depth: usize,
) -> std::result::Result<String, String> {
    if depth > DEPTH_MAX {
        return Err("it is made of itself".to_owned());
    }
    let kind = metric.metric.kind().map_err(|error| error.message().to_owned())?;
    let part = |name: &str| {
        let of =
            semantics.named(name).ok_or_else(|| format!("metric \"{name}\" is not exported"))?;
        expression(semantics, of, depth + 1)
    };
    let is_measure = matches!(kind, MetricKind::Measure(_));
    if metric.metric.filter.is_some() && !is_measure {
        return Err("the format has no condition on a metric that is made of others".to_owned());
    }
    let sql = match kind {
        MetricKind::Measure(name) => of_measure(semantics, metric, name)?,
        MetricKind::Ratio(ratio) => {
            format!("({}) / NULLIF({}, 0)", part(&ratio.of)?, part(&ratio.per)?)
        }
        MetricKind::Derived(text) => {
            let parsed = Expression::parse(text).map_err(|mistake| mistake.message)?;
            let sql = parsed.sql(&mut |name| {
                part(&name.text()).map(|sql| format!("({sql})")).map_err(Error::invalid)
            });
            sql.map_err(|error| error.message().to_owned())?
        }
        MetricKind::Cumulative(_) | MetricKind::ToDate(_) | MetricKind::Rolling(_) => {
            return Err("the format has no word for sums over time".to_owned());
        }
        MetricKind::Offset(_) | MetricKind::Compare(_) => {
            return Err("the format has no word for other times".to_owned());
        }
        MetricKind::Share(_) => return Err("the format has no word for shares".to_owned()),
        MetricKind::Conversion(_) => {
            return Err("the format has no word for conversions".to_owned());
        }
    };
    Ok(match metric.metric.default {
        Some(default) => format!("COALESCE({sql}, {default})"),
        None => sql,
    })
}

fn of_measure(
    semantics: &Semantics<'_>,
    metric: MetricRef<'_>,
    name: &str,
) -> std::result::Result<String, String> {
    let view = metric.view;
    let measure =
        view.measures.get(name).ok_or_else(|| format!("there is no measure \"{name}\""))?;
    if measure.over_time.is_some() {
        return Err("the format has no word for what cannot be added up over time".to_owned());
    }
    let field = match measured(view, name, measure) {
        Some((field, _)) => field,
        None => {
            let keys = keys(view);
            let key = keys.iter().find(|key| key.kind == EntityKind::Primary);
            key.and_then(|key| key.columns.first().cloned()).ok_or_else(|| {
                format!("it counts rows of \"{}\", which has no primary key", view.semantic)
            })?
        }
    };
    let mut inner = format!("{}.{field}", view.semantic);
    if let Some(filter) = &metric.metric.filter {
        let parsed = Expression::parse(filter).map_err(|mistake| mistake.message)?;
        let condition = parsed.sql(&mut |name| {
            let path = semantics.path(view, &name.parts)?;
            match (path.day, path.end) {
                (None, End::Dimension(field, _)) => Ok(format!("{}.{field}", path.view.semantic)),
                (None, End::Entity(key, entity)) => match entity.columns(key).as_slice() {
                    [column] => Ok(format!("{}.{column}", path.view.semantic)),
                    _ => Err(Error::invalid("a key of several columns is no value")),
                },
                (Some(_), _) => Err(Error::invalid("the format has no word for kinds of days")),
            }
        });
        let condition = condition.map_err(|error| error.message().to_owned())?;
        inner = format!("CASE WHEN {condition} THEN {inner} END");
    }
    Ok(match measure.aggregate {
        Aggregate::Sum => format!("SUM({inner})"),
        Aggregate::Count => format!("COUNT({inner})"),
        Aggregate::CountDistinct => format!("COUNT(DISTINCT {inner})"),
        Aggregate::Average => format!("AVG({inner})"),
        Aggregate::Min => format!("MIN({inner})"),
        Aggregate::Max => format!("MAX({inner})"),
        Aggregate::Median => format!("PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY {inner})"),
        Aggregate::Quantile => {
            let p = measure.p.unwrap_or(0.5);
            format!("PERCENTILE_CONT({p}) WITHIN GROUP (ORDER BY {inner})")
        }
    })
}
