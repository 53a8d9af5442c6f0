//! dbt's semantic models and metrics as semantic views of ours, in both of its notations: `semantic_models:`
//! and `metrics:` on their own, and models that say what their columns mean.
//!
//! What cannot be said in our words is left out with a warning that names it; it never stops a build,
//! which reads none of this.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::file::SourceFile;
use crate::metric::Expression;
use crate::resource::semantic::{
    Aggregate, Conversion, ConversionAs, Cumulative, Dimension, DimensionKind, Entity, EntityKind,
    Grain, Label, Measure, Metric, Offset, OffsetMetric, OverTime, QuantileMethod, Ratio, Rolling,
    Semantic, Take, TimeSpan, ToDate,
};
use crate::yaml::Node;

/// What is imported so far.
pub(crate) struct Import<'a> {
    out: &'a mut Diagnostics,
    views: Vec<View>,
    /// The view that declares each metric.
    metrics: BTreeMap<String, usize>,
}

/// An imported view with the place it comes from.
pub(crate) struct View {
    pub(crate) semantic: Semantic,
    pub(crate) file: Arc<SourceFile>,
    pub(crate) node: Node,
    /// The entity that a row is.
    primary: Option<String>,
}

/// A metric that waits for those it is made of.
pub(crate) struct Waiting {
    file: Arc<SourceFile>,
    span: Span,
    name: String,
    /// The metric's entry, its `type_params` on the same level.
    entry: Map<String, Json>,
    /// The view in whose model it is written.
    home: Option<usize>,
}

/// Why something is left out.
type Refusal = String;

impl<'a> Import<'a> {
    pub(crate) fn new(out: &'a mut Diagnostics) -> Self {
        Self { out, views: Vec::new(), metrics: BTreeMap::new() }
    }

    fn warn(&mut self, file: &SourceFile, span: Span, message: String) {
        let hint = "Declare it in metrics/ if it is needed; models do not depend on it.";
        self.out.push(file, Diagnostic::warning(span, message).hint(hint));
    }

    /// Takes an entry of `semantic_models:`.
    pub(crate) fn semantic_model(
        &mut self,
        file: &Arc<SourceFile>,
        node: &Node,
        waiting: &mut Vec<Waiting>,
    ) {
        let Json::Object(entry) = node.to_json() else { return };
        let (Some(name), Some(table)) = (text(&entry, "name"), text(&entry, "model")) else {
            let message = "a semantic model without a name or a model is left out".to_owned();
            return self.warn(file, node.span, message);
        };
        if is_off(&entry) {
            return;
        }
        let mut view = view_of(file, node, &name, &table, &entry);
        let defaults = entry.get("defaults").and_then(Json::as_object);
        view.semantic.time = defaults.and_then(|defaults| text(defaults, "agg_time_dimension"));
        let at = self.views.len();
        for entity in objects(&entry, "entities") {
            self.entity(&mut view, entity, None);
        }
        for dimension in objects(&entry, "dimensions") {
            self.dimension(&mut view, dimension, None);
        }
        for measure in objects(&entry, "measures") {
            let Some(measured) = text(measure, "name") else { continue };
            match measure_of(measure, view.semantic.time.as_deref()) {
                Ok(made) => {
                    view.semantic.measures.insert(measured.clone(), made);
                    if measure.get("create_metric") == Some(&Json::Bool(true)) {
                        let mut entry = measure.clone();
                        entry.insert("type".to_owned(), "simple".into());
                        entry.insert("measure".to_owned(), measured.clone().into());
                        entry.remove("agg");
                        let file = Arc::clone(file);
                        let home = Some(at);
                        let span = node.span;
                        waiting.push(Waiting { file, span, name: measured, entry, home });
                    }
                }
                Err(refusal) => {
                    let message = format!("measure \"{measured}\" is left out: {refusal}");
                    self.warn(file, node.span, message);
                }
            }
        }
        self.views.push(view);
    }

    /// Takes a model whose entry says what its columns mean.
    pub(crate) fn model(
        &mut self,
        file: &Arc<SourceFile>,
        node: &Node,
        waiting: &mut Vec<Waiting>,
    ) {
        let Json::Object(entry) = node.to_json() else { return };
        let Some(model) = text(&entry, "name") else { return };
        let own = match entry.get("semantic_model") {
            Some(Json::Object(own)) => own.clone(),
            Some(Json::Bool(true)) => Map::new(),
            _ => return,
        };
        if own.get("enabled") == Some(&Json::Bool(false)) {
            return;
        }
        let name = text(&own, "name").unwrap_or_else(|| model.clone());
        let mut view = view_of(file, node, &name, &format!("ref('{model}')"), &entry);
        view.semantic.time = text(&entry, "agg_time_dimension");
        for column in objects(&entry, "columns") {
            let Some(column_name) = text(column, "name") else { continue };
            let named = |value: &Json| -> Map<String, Json> {
                match value {
                    Json::Object(map) => map.clone(),
                    Json::String(kind) => {
                        Map::from_iter([("type".to_owned(), kind.clone().into())])
                    }
                    _ => Map::new(),
                }
            };
            if let Some(entity) = column.get("entity") {
                self.entity(&mut view, &named(entity), Some(&column_name));
            }
            if let Some(dimension) = column.get("dimension") {
                let mut dimension = named(dimension);
                if let Some(granularity) = column.get("granularity") {
                    dimension.insert("granularity".to_owned(), granularity.clone());
                }
                self.dimension(&mut view, &dimension, Some(&column_name));
            }
        }
        if let Some(Json::Object(derived)) = entry.get("derived_semantics") {
            for entity in objects(derived, "entities") {
                self.entity(&mut view, entity, None);
            }
            for dimension in objects(derived, "dimensions") {
                self.dimension(&mut view, dimension, None);
            }
        }
        let at = self.views.len();
        self.views.push(view);
        let metrics = node.get("metrics").map(Node::items).unwrap_or_default();
        waiting.extend(metrics.iter().filter_map(|metric| wait(file, metric, Some(at))));
    }

    fn entity(&mut self, view: &mut View, entry: &Map<String, Json>, column: Option<&str>) {
        let Some(name) = text(entry, "name").or_else(|| column.map(str::to_owned)) else { return };
        let expression = text(entry, "expr").or_else(|| column.map(str::to_owned));
        let key = expression.unwrap_or_else(|| name.clone());
        if !is_column(&key) {
            let message = format!("entity \"{name}\" is left out: \"{key}\" is not a column");
            return self.warn(&Arc::clone(&view.file), view.node.span, message);
        }
        let kind = match text(entry, "type").as_deref() {
            Some("primary") => EntityKind::Primary,
            Some("unique") => EntityKind::Unique,
            _ => EntityKind::Foreign,
        };
        if kind == EntityKind::Primary {
            view.primary = Some(name.clone());
        }
        let made = Entity {
            kind,
            key: if key == name { Vec::new() } else { vec![key] },
            to: None,
            description: text(entry, "description"),
            label: Label::default(),
            synonyms: Vec::new(),
        };
        view.semantic.entities.insert(name, made);
    }

    fn dimension(&mut self, view: &mut View, entry: &Map<String, Json>, column: Option<&str>) {
        let Some(name) = text(entry, "name").or_else(|| column.map(str::to_owned)) else { return };
        if view.semantic.entities.contains_key(&name) {
            let message = format!("dimension \"{name}\" is left out: an entity has the same name");
            return self.warn(&Arc::clone(&view.file), view.node.span, message);
        }
        let parameters = entry.get("type_params").and_then(Json::as_object);
        let grain = parameters
            .and_then(|parameters| text(parameters, "time_granularity"))
            .or_else(|| text(entry, "granularity"));
        let time = text(entry, "type").as_deref() == Some("time");
        let expression = text(entry, "expr").or_else(|| column.map(str::to_owned));
        let made = Dimension {
            kind: if time { DimensionKind::Time } else { DimensionKind::Categorical },
            expression: expression.filter(|sql| *sql != name),
            grain: grain.as_deref().and_then(Grain::parse).filter(|_| time),
            description: text(entry, "description"),
            ..Dimension::default()
        };
        view.semantic.dimensions.insert(name, made);
    }

    /// Makes the metrics, each after those it is made of, and gives the views.
    pub(crate) fn finish(mut self, mut waiting: Vec<Waiting>) -> Vec<View> {
        // Those of one measure first: others may be made of them, wherever they are written.
        waiting.sort_by_key(|metric| text(&metric.entry, "type").as_deref() != Some("simple"));
        loop {
            let before = waiting.len();
            let mut left = Vec::new();
            for metric in waiting {
                match self.metric(&metric) {
                    Ok(true) => {}
                    Ok(false) => left.push(metric),
                    Err(refusal) => {
                        let message = format!("metric \"{}\" is left out: {refusal}", metric.name);
                        self.warn(&metric.file, metric.span, message);
                    }
                }
            }
            if left.is_empty() || left.len() == before {
                for metric in left {
                    let message = format!(
                        "metric \"{}\" is left out: it is made of something that is not there",
                        metric.name
                    );
                    self.warn(&metric.file, metric.span, message);
                }
                return self.views;
            }
            waiting = left;
        }
    }

    /// Makes a metric; false if it has to wait for another one.
    fn metric(&mut self, waiting: &Waiting) -> Result<bool, Refusal> {
        let entry = &waiting.entry;
        let kind = text(entry, "type").unwrap_or_else(|| "simple".to_owned());
        let filter = filter_of(entry.get("filter"))?;
        let label = Label { en: text(entry, "label"), zh: None };
        let common = Metric {
            label: if label.en.as_deref() == Some(waiting.name.as_str()) {
                Label::default()
            } else {
                label
            },
            description: text(entry, "description"),
            ..Metric::default()
        };
        let (home, made) = match kind.as_str() {
            "simple" => {
                let Some((home, made)) = self.simple(waiting, &filter)? else { return Ok(false) };
                (home, made)
            }
            "ratio" => {
                let (of, per) = (input(entry, "numerator")?, input(entry, "denominator")?);
                let (Some(of), Some(per)) =
                    (self.part(waiting, &of, &filter)?, self.part(waiting, &per, &filter)?)
                else {
                    return Ok(false);
                };
                let Some(home) = self.metrics.get(&of).copied() else { return Ok(false) };
                (home, Metric { ratio: Some(Ratio { of, per }), ..Metric::default() })
            }
            "derived" => {
                let Some(found) = self.derived(waiting, &filter)? else { return Ok(false) };
                found
            }
            "cumulative" => {
                let Some(found) = self.cumulative(waiting, &filter)? else { return Ok(false) };
                found
            }
            "conversion" => {
                let Some(found) = self.conversion(waiting, &filter)? else { return Ok(false) };
                found
            }
            other => return Err(format!("there is no type \"{other}\"")),
        };
        let made = Metric { label: common.label, description: common.description, ..made };
        self.put(home, &waiting.name, made);
        Ok(true)
    }

    fn put(&mut self, home: usize, name: &str, metric: Metric) {
        if let Some(view) = self.views.get_mut(home) {
            view.semantic.metrics.insert(name.to_owned(), metric);
            self.metrics.insert(name.to_owned(), home);
        }
    }

    fn simple(
        &mut self,
        waiting: &Waiting,
        filter: &[String],
    ) -> Result<Option<(usize, Metric)>, Refusal> {
        let entry = &waiting.entry;
        let measured = match (entry.get("agg"), waiting.home) {
            // The newer notation: the metric is its own measure.
            (Some(_), Some(home)) => {
                let time = self.views.get(home).and_then(|view| view.semantic.time.as_deref());
                let made = measure_of(entry, time)?;
                if let Some(view) = self.views.get_mut(home) {
                    view.semantic.measures.insert(waiting.name.clone(), made);
                }
                Part { name: waiting.name.clone(), ..Part::default() }
            }
            _ => input(entry, "measure")?,
        };
        let holds = |view: &View| view.semantic.measures.contains_key(&measured.name);
        let home = waiting.home.filter(|home| self.views.get(*home).is_some_and(holds));
        let Some(home) = home.or_else(|| self.views.iter().position(holds)) else {
            return Ok(None);
        };
        let filters = [filter, measured.filter.as_slice()].concat();
        let made = Metric {
            measure: Some(measured.name.clone()),
            filter: self.condition(home, &filters)?,
            default: measured.default,
            ..Metric::default()
        };
        Ok(Some((home, made)))
    }

    /// The metric that a part of another one names: itself, or one of its own if it is filtered or shifted.
    fn part(
        &mut self,
        waiting: &Waiting,
        part: &Part,
        filter: &[String],
    ) -> Result<Option<String>, Refusal> {
        let Some(home) = self.metrics.get(&part.name).copied() else { return Ok(None) };
        let filters = [filter, part.filter.as_slice()].concat();
        let mut name = part.name.clone();
        if !filters.is_empty() {
            let condition = self.condition(home, &filters)?;
            let found = self.views.get(home).and_then(|v| v.semantic.metrics.get(&part.name));
            let Some(original) = found.cloned() else { return Ok(None) };
            if original.measure.is_none() {
                return Err(format!("\"{}\" is filtered and not made of one measure", part.name));
            }
            let both = match (original.filter.clone(), condition) {
                (Some(a), Some(b)) => Some(format!("({a}) and ({b})")),
                (a, b) => a.or(b),
            };
            name = format!("{}__{}", waiting.name, part.alias.as_deref().unwrap_or(&part.name));
            self.put(
                home,
                &name,
                Metric {
                    filter: both,
                    measure: original.measure,
                    default: original.default,
                    ..Metric::default()
                },
            );
        }
        if let Some(by) = &part.offset {
            let shifted = format!("{name}__{}_before", by.replace(' ', "_"));
            let offset = Offset::parse(by).ok_or_else(|| format!("\"{by}\" is no span of time"))?;
            let made = OffsetMetric { metric: name, by: offset };
            self.put(home, &shifted, Metric { offset: Some(made), ..Metric::default() });
            name = shifted;
        }
        Ok(Some(name))
    }

    fn derived(
        &mut self,
        waiting: &Waiting,
        filter: &[String],
    ) -> Result<Option<(usize, Metric)>, Refusal> {
        let entry = &waiting.entry;
        let Some(sql) = text(entry, "expr") else { return Err("it has no expr".to_owned()) };
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        let mut home = None;
        let list = entry.get("metrics").or_else(|| entry.get("input_metrics"));
        for item in list.and_then(Json::as_array).into_iter().flatten() {
            let part = part_of(item)?;
            let Some(name) = self.part(waiting, &part, filter)? else { return Ok(None) };
            home = home.or_else(|| self.metrics.get(&name).copied());
            names.insert(part.alias.unwrap_or(part.name), name);
        }
        let Some(home) = home else { return Err("it names no metrics".to_owned()) };
        let parsed = Expression::parse(&sql)
            .map_err(|mistake| format!("its expr cannot be read: {}", mistake.message))?;
        let mut places: Vec<(usize, usize, String)> = Vec::new();
        for name in parsed.names() {
            let known = names.get(&name.text());
            let known = known.ok_or_else(|| format!("its expr names \"{}\"", name.text()))?;
            places.push((name.at, name.length, known.clone()));
        }
        places.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
        let mut made = sql;
        for (at, length, name) in places {
            if made.get(at..at + length).is_some() {
                made.replace_range(at..at + length, &name);
            }
        }
        Ok(Some((home, Metric { derived: Some(made), ..Metric::default() })))
    }

    fn cumulative(
        &mut self,
        waiting: &Waiting,
        filter: &[String],
    ) -> Result<Option<(usize, Metric)>, Refusal> {
        let mut entry = waiting.entry.clone();
        if let Some(Json::Object(more)) = entry.remove("cumulative_type_params") {
            entry.extend(more);
        }
        let given = ["input_metric", "metric"].iter().find(|key| entry.contains_key(**key));
        let base = match given {
            Some(key) => {
                let part = input(&entry, key)?;
                let Some(name) = self.part(waiting, &part, filter)? else { return Ok(None) };
                name
            }
            None => {
                let measured = input(&entry, "measure")?;
                let filters = [filter, measured.filter.as_slice()].concat();
                let Some(name) = self.of_measure(waiting, &measured.name, &filters)? else {
                    return Ok(None);
                };
                name
            }
        };
        let Some(home) = self.metrics.get(&base).copied() else { return Ok(None) };
        if let Some(other) = text(&entry, "period_agg").filter(|given| given != "last") {
            return Err(format!(
                "its period_agg is \"{other}\", and of a period only its last day is told"
            ));
        }
        let window = text(&entry, "window");
        let to_date = text(&entry, "grain_to_date");
        let made = match (window, to_date) {
            (Some(window), _) => {
                let window = TimeSpan::parse(&window)
                    .ok_or_else(|| format!("\"{window}\" is no span of time"))?;
                Metric { rolling: Some(Rolling { metric: base, window }), ..Metric::default() }
            }
            (None, Some(grain)) => {
                let period =
                    Grain::parse(&grain).ok_or_else(|| format!("\"{grain}\" is no period"))?;
                Metric { to_date: Some(ToDate { metric: base, period }), ..Metric::default() }
            }
            (None, None) => {
                Metric { cumulative: Some(Cumulative { metric: base }), ..Metric::default() }
            }
        };
        Ok(Some((home, made)))
    }

    /// A metric that is just this measure; one is made if there is none.
    fn of_measure(
        &mut self,
        waiting: &Waiting,
        measure: &str,
        filters: &[String],
    ) -> Result<Option<String>, Refusal> {
        let Some(home) =
            self.views.iter().position(|view| view.semantic.measures.contains_key(measure))
        else {
            return Ok(None);
        };
        let condition = self.condition(home, filters)?;
        let same = |metric: &Metric| {
            metric.measure.as_deref() == Some(measure) && metric.filter == condition
        };
        let view = self.views.get(home);
        let mut metrics = view.into_iter().flat_map(|view| &view.semantic.metrics);
        if let Some((name, _)) = metrics.find(|(_, metric)| same(metric)) {
            return Ok(Some(name.clone()));
        }
        let name = format!("{}__{measure}", waiting.name);
        let made =
            Metric { measure: Some(measure.to_owned()), filter: condition, ..Metric::default() };
        self.put(home, &name, made);
        Ok(Some(name))
    }

    fn conversion(
        &mut self,
        waiting: &Waiting,
        filter: &[String],
    ) -> Result<Option<(usize, Metric)>, Refusal> {
        let mut entry = waiting.entry.clone();
        if let Some(Json::Object(more)) = entry.remove("conversion_type_params") {
            entry.extend(more);
        }
        let common = entry.get("constant_properties").and_then(Json::as_array);
        if common.is_some_and(|list| !list.is_empty()) {
            return Err("what both sides must have in common cannot be asked".to_owned());
        }
        let mut named = Vec::new();
        for (measure, metric) in
            [("base_measure", "base_metric"), ("conversion_measure", "conversion_metric")]
        {
            let name = match entry.contains_key(metric) {
                true => self.part(waiting, &input(&entry, metric)?, &[])?,
                false => {
                    let part = input(&entry, measure)?;
                    self.of_measure(waiting, &part.name, &part.filter)?
                }
            };
            let Some(name) = name else { return Ok(None) };
            named.push(name);
        }
        let [from, to] = named.as_slice() else { return Ok(None) };
        let entity = text(&entry, "entity").ok_or("it has no entity")?;
        let window = text(&entry, "window").ok_or("it has no window")?;
        let within =
            TimeSpan::parse(&window).ok_or_else(|| format!("\"{window}\" is no span of time"))?;
        let form = match text(&entry, "calculation").as_deref() {
            Some("conversions") => ConversionAs::Count,
            _ => ConversionAs::Rate,
        };
        let Some(home) = self.metrics.get(from).copied() else { return Ok(None) };
        let filter = self.condition(home, filter)?;
        // Neither is wrong, but they are not the same figure where something follows twice.
        let message = format!(
            "metric \"{}\" counts rows of \"{from}\" that were followed; dbt counts those of \"{to}\", each for the \
             newest before it",
            waiting.name
        );
        let hint = "Compare both before you rely on it.";
        self.out.push(&waiting.file, Diagnostic::warning(waiting.span, message).hint(hint));
        let made = Conversion { from: from.clone(), to: to.clone(), entity, within, form };
        Ok(Some((home, Metric { conversion: Some(made), filter, ..Metric::default() })))
    }

    /// Filters as one condition on dimensions as they are called from a view.
    fn condition(&self, home: usize, filters: &[String]) -> Result<Option<String>, Refusal> {
        let primary = self.views.get(home).and_then(|view| view.primary.as_deref());
        let mut parts = Vec::new();
        for filter in filters {
            // A time that is known by the day or longer is compared by the day.
            let by_day = |name: &str| {
                let named = self.views.iter().filter_map(|view| view.semantic.dimensions.get(name));
                let mut grains = named.map(|dimension| dimension.grain).peekable();
                grains.peek().is_some()
                    && grains.all(|grain| !grain.is_some_and(Grain::is_within_day))
            };
            let condition = translate(filter, primary, &by_day)?;
            Expression::parse(&condition)
                .map_err(|mistake| format!("its filter cannot be read: {}", mistake.message))?;
            parts.push(condition);
        }
        Ok(match parts.len() {
            0 | 1 => parts.pop(),
            _ => Some(parts.iter().map(|p| format!("({p})")).collect::<Vec<_>>().join(" and ")),
        })
    }
}

fn view_of(
    file: &Arc<SourceFile>,
    node: &Node,
    name: &str,
    table: &str,
    entry: &Map<String, Json>,
) -> View {
    let semantic = Semantic {
        semantic: name.to_owned(),
        table: table.to_owned(),
        description: text(entry, "description"),
        owner: None,
        time: None,
        entities: BTreeMap::new(),
        dimensions: BTreeMap::new(),
        measures: BTreeMap::new(),
        metrics: BTreeMap::new(),
    };
    let primary = text(entry, "primary_entity");
    View { semantic, file: Arc::clone(file), node: node.clone(), primary }
}

/// An entry of `metrics:` that waits to be made.
pub(crate) fn wait(file: &Arc<SourceFile>, node: &Node, home: Option<usize>) -> Option<Waiting> {
    let Json::Object(mut entry) = node.to_json() else { return None };
    let name = text(&entry, "name")?;
    if is_off(&entry) {
        return None;
    }
    if let Some(Json::Object(parameters)) = entry.remove("type_params") {
        entry.extend(parameters);
    }
    Some(Waiting { file: Arc::clone(file), span: node.span, name, entry, home })
}

/// What another metric is made of.
#[derive(Clone, Debug, Default)]
struct Part {
    name: String,
    alias: Option<String>,
    filter: Vec<String>,
    /// How much earlier.
    offset: Option<String>,
    default: Option<f64>,
}

fn input(entry: &Map<String, Json>, key: &str) -> Result<Part, Refusal> {
    entry.get(key).map_or_else(|| Err(format!("it has no {key}")), part_of)
}

fn part_of(value: &Json) -> Result<Part, Refusal> {
    let entry = match value {
        Json::String(name) => return Ok(Part { name: name.clone(), ..Part::default() }),
        Json::Object(entry) => entry,
        _ => return Err("a part of it has no name".to_owned()),
    };
    if let Some(grain) = text(entry, "offset_to_grain") {
        return Err(format!("what it was when the {grain} began cannot be asked"));
    }
    Ok(Part {
        name: text(entry, "name").ok_or("a part of it has no name")?,
        alias: text(entry, "alias"),
        filter: filter_of(entry.get("filter"))?,
        offset: text(entry, "offset_window"),
        default: entry.get("fill_nulls_with").and_then(Json::as_f64),
    })
}

fn filter_of(value: Option<&Json>) -> Result<Vec<String>, Refusal> {
    match value {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::String(filter)) => Ok(vec![filter.clone()]),
        Some(Json::Array(filters)) => filters
            .iter()
            .map(|f| {
                f.as_str().map(str::to_owned).ok_or_else(|| "a filter is not a text".to_owned())
            })
            .collect(),
        Some(_) => Err("its filter is not a text".to_owned()),
    }
}

/// `{{ Dimension('customer__region') }} = 'north'` as `customer.region = 'north'`.
/// `by_day` says whether a time is compared by the day.
fn translate(
    filter: &str,
    primary: Option<&str>,
    by_day: &dyn Fn(&str) -> bool,
) -> Result<String, Refusal> {
    let mut made = String::new();
    let mut rest = filter;
    while let Some((before, after)) = rest.split_once("{{") {
        let (inside, after) =
            after.split_once("}}").ok_or_else(|| "its filter has a {{ without a }}".to_owned())?;
        made.push_str(before);
        let inside = inside.trim();
        let (word, arguments) = inside.split_once('(').unwrap_or((inside, ""));
        let known = ["Dimension", "TimeDimension", "Entity"].contains(&word.trim());
        if !known || inside.contains(").") {
            return Err(format!("its filter says {inside}"));
        }
        let quoted = |c: char| c == '\'' || c == '"';
        let name = arguments.split(quoted).nth(1).unwrap_or_default();
        let mut parts: Vec<&str> = name.split("__").collect();
        if word.trim() == "TimeDimension" && arguments.contains(',') {
            let day = arguments.split(quoted).nth(3).is_some_and(|grain| grain == "day");
            if !day || !parts.last().is_some_and(|last| by_day(last)) {
                return Err("its filter divides a time".to_owned());
            }
        }
        if parts.len() > 1 && parts.first().copied() == primary {
            parts.remove(0);
        }
        made.push_str(&parts.join("."));
        rest = after;
    }
    made.push_str(rest);
    Ok(made.trim().to_owned())
}

/// A measure of an entry; `time` is what measures of its semantic model are counted by.
fn measure_of(entry: &Map<String, Json>, time: Option<&str>) -> Result<Measure, Refusal> {
    let expression = text(entry, "expr");
    let (aggregate, expression) = match text(entry, "agg").as_deref() {
        Some("sum") => (Aggregate::Sum, expression),
        Some("count") => (Aggregate::Count, expression),
        Some("count_distinct") => (Aggregate::CountDistinct, expression),
        Some("average" | "avg") => (Aggregate::Average, expression),
        Some("min") => (Aggregate::Min, expression),
        Some("max") => (Aggregate::Max, expression),
        Some("median") => (Aggregate::Median, expression),
        Some("percentile") => (Aggregate::Quantile, expression),
        Some("sum_boolean") => {
            let sql = expression.or_else(|| text(entry, "name")).unwrap_or_default();
            (Aggregate::Sum, Some(format!("case when {sql} then 1 else 0 end")))
        }
        Some(other) => return Err(format!("there is no aggregate \"{other}\"")),
        None => return Err("it has no agg".to_owned()),
    };
    let (mut p, mut method) = (None, None);
    if aggregate == Aggregate::Quantile {
        let empty = Map::new();
        let parameters = entry.get("agg_params").and_then(Json::as_object).unwrap_or(&empty);
        // The newer notation has the share beside the aggregate.
        let share = parameters.get("percentile").or_else(|| entry.get("percentile"));
        p = Some(share.and_then(Json::as_f64).ok_or("it gives no percentile")?);
        let says = |key: &str| parameters.get(key).and_then(Json::as_bool) == Some(true);
        let discrete = text(entry, "percentile_type").as_deref() == Some("discrete");
        if discrete || says("use_discrete_percentile") {
            return Err("a discrete percentile is not computed".to_owned());
        }
        method = says("use_approximate_percentile").then_some(QuantileMethod::Approximate);
    }
    let over_time = match entry.get("non_additive_dimension") {
        Some(Json::Object(rule)) => {
            let own = text(entry, "agg_time_dimension");
            let counted = own.as_deref().or(time);
            if let (Some(named), Some(counted)) = (text(rule, "name"), counted)
                && named != counted
                && named != "metric_time"
            {
                return Err(format!(
                    "a moment of \"{named}\" counts, and its rows are counted by \"{counted}\""
                ));
            }
            let groups = rule.get("window_groupings").or_else(|| rule.get("group_by"));
            let groups = groups.and_then(Json::as_array).into_iter().flatten();
            let first = text(rule, "window_choice").or_else(|| text(rule, "window_agg"));
            let take = if first.as_deref() == Some("min") { Take::First } else { Take::Last };
            let per = groups.filter_map(|name| name.as_str().map(str::to_owned)).collect();
            Some(OverTime { take, per })
        }
        _ => None,
    };
    Ok(Measure {
        aggregate,
        expression,
        p,
        method,
        time: text(entry, "agg_time_dimension"),
        over_time,
        description: text(entry, "description"),
    })
}

/// Whether `config: {enabled: false}` switches it off.
fn is_off(entry: &Map<String, Json>) -> bool {
    let enabled = entry.get("config").and_then(|config| config.get("enabled"));
    enabled == Some(&Json::Bool(false))
}

fn text(entry: &Map<String, Json>, key: &str) -> Option<String> {
    match entry.get(key)? {
        Json::String(text) => Some(text.trim().to_owned()),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn objects<'a>(
    entry: &'a Map<String, Json>,
    key: &str,
) -> impl Iterator<Item = &'a Map<String, Json>> {
    let list = entry.get(key).and_then(Json::as_array).into_iter().flatten();
    list.filter_map(Json::as_object)
}

fn is_column(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}
