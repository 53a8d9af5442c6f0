//! Ways from a table to a dimension.

use flywheel_base::{Error, Result, suggest};

use super::{DayAttribute, Semantics, dimension_called, entity_called};
use crate::resource::semantic::{Dimension, DimensionKind, Entity, Semantic};

/// How many tables a way may join.
const HOPS_MAX: usize = 5;

/// How many ways are looked at.
const WAYS_MAX: usize = 10_000;

/// One join on the way, to at most one row.
#[derive(Clone, Debug)]
pub struct Hop<'a> {
    /// The entity, by its name in the table that is left.
    pub entity: &'a str,
    /// What the entity is called as a key of the table that is reached.
    pub target: &'a str,
    /// The columns of the table that is left.
    pub columns: Vec<String>,
    /// The semantic view that is reached.
    pub view: &'a Semantic,
    /// Its columns, as many.
    pub key: Vec<String>,
}

/// What a way ends at.
#[derive(Clone, Copy, Debug)]
pub enum End<'a> {
    /// A dimension of the last table.
    Dimension(&'a str, &'a Dimension),
    /// A key of the last table.
    Entity(&'a str, &'a Entity),
}

impl<'a> End<'a> {
    /// The name of the dimension or entity.
    #[must_use]
    pub fn name(self) -> &'a str {
        match self {
            Self::Dimension(name, _) | Self::Entity(name, _) => name,
        }
    }
}

/// A way from a table to a dimension.
#[derive(Clone, Debug)]
pub struct Path<'a> {
    /// The joins, in their order; none for a dimension of the table itself.
    pub hops: Vec<Hop<'a>>,
    /// What is reached.
    pub end: End<'a>,
    /// The semantic view it belongs to.
    pub view: &'a Semantic,
    /// What is asked of its day, if it is a time and not the time itself is meant.
    pub day: Option<DayAttribute>,
}

impl Path<'_> {
    /// Its full name, such as `customer.region` or `ordered_on.is_workday`.
    #[must_use]
    pub fn name(&self) -> String {
        let hops = self.hops.iter().map(|hop| hop.entity);
        let day = self.day.map(DayAttribute::word);
        hops.chain([self.end.name()]).chain(day).collect::<Vec<_>>().join(".")
    }

    /// Whether it is a time: a moment that has periods.
    #[must_use]
    pub fn is_time(&self) -> bool {
        self.day.is_none() && self.ends_at_time()
    }

    fn ends_at_time(&self) -> bool {
        matches!(self.end, End::Dimension(_, found) if found.kind == DimensionKind::Time)
    }

    /// Whether the other way reaches the same column of the same table.
    #[must_use]
    pub fn same_end(&self, other: &Path<'_>) -> bool {
        self.view.semantic == other.view.semantic
            && self.end.name() == other.end.name()
            && self.day == other.day
    }
}

/// A way that is not finished.
#[derive(Clone)]
struct Way<'a> {
    hops: Vec<Hop<'a>>,
    view: &'a Semantic,
    /// The first step that finds many rows: the entity and the view.
    many: Option<(&'a str, &'a Semantic)>,
}

impl<'a> Semantics<'a> {
    /// The shortest way from a table to the dimension or entity that `parts` name: its name, perhaps with
    /// entities before it (`customer.region`).
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if two ways are equally short, or every way would multiply rows;
    /// [`flywheel_base::ErrorKind::NotFound`] if there is none.
    pub fn path(&self, from: &'a Semantic, parts: &[String]) -> Result<Path<'a>> {
        let written = parts.join(".");
        let mut ways = vec![Way { hops: Vec::new(), view: from, many: None }];
        for _ in 0..=HOPS_MAX {
            let found: Vec<Path<'a>> =
                ways.iter().filter_map(|way| end(from, way, parts)).collect();
            match found.as_slice() {
                [] => {}
                [only] => return Ok(only.clone()),
                several => return Err(ambiguous(from, &written, several)),
            }
            ways = ways.iter().flat_map(|way| self.steps(way, false)).take(WAYS_MAX).collect();
        }
        Err(self.unreachable(from, parts, &written))
    }

    /// Every dimension and entity that can be reached from a table, by its full name.
    #[must_use]
    pub fn reachable(&self, from: &'a Semantic) -> Vec<Path<'a>> {
        let mut found = Vec::new();
        let mut ways = vec![Way { hops: Vec::new(), view: from, many: None }];
        for _ in 0..=HOPS_MAX {
            for way in &ways {
                let dimensions = way
                    .view
                    .dimensions
                    .iter()
                    .map(|(name, dimension)| End::Dimension(name, dimension));
                let entities =
                    way.view.entities.iter().map(|(name, entity)| End::Entity(name, entity));
                // The key of a joined table is the key it was joined by.
                let entities = entities
                    .filter(|end| way.hops.last().is_none_or(|hop| hop.target != end.name()));
                found.extend(dimensions.chain(entities).map(|end| Path {
                    hops: way.hops.clone(),
                    end,
                    view: way.view,
                    day: None,
                }));
            }
            ways = ways.iter().flat_map(|way| self.steps(way, false)).take(WAYS_MAX).collect();
        }
        found
    }

    /// The next joins; with `many` also those that find many rows.
    fn steps(&self, way: &Way<'a>, many: bool) -> Vec<Way<'a>> {
        let mut next = Vec::new();
        for (name, entity) in &way.view.entities {
            let wanted = target(entity, name);
            for view in self.views() {
                let back = way.hops.iter().any(|hop| hop.view.semantic == view.semantic);
                if view.semantic == way.view.semantic || back {
                    continue;
                }
                let mut same =
                    view.entities.iter().filter(|(own, other)| target(other, own) == wanted);
                let single = same.clone().find(|(_, other)| other.kind.is_single());
                let Some((own, other)) = single.or_else(|| same.next().filter(|_| many)) else {
                    continue;
                };
                let mut hops = way.hops.clone();
                let (columns, key) = (entity.columns(name), other.columns(own));
                hops.push(Hop { entity: name, target: own, columns, view, key });
                let multiplies = (!other.kind.is_single()).then_some((name.as_str(), view));
                next.push(Way { hops, view, many: way.many.or(multiplies) });
            }
        }
        next
    }

    /// Why there is no way.
    fn unreachable(&self, from: &'a Semantic, parts: &[String], written: &str) -> Error {
        let mut ways = vec![Way { hops: Vec::new(), view: from, many: None }];
        for _ in 0..HOPS_MAX {
            ways = ways.iter().flat_map(|way| self.steps(way, true)).take(WAYS_MAX).collect();
            let multiplied = ways.iter().find_map(|way| {
                let (entity, view) = way.many?;
                end(from, way, parts).map(|path| (entity, view, path))
            });
            if let Some((entity, view, path)) = multiplied {
                let (from, many) = (&from.semantic, &view.semantic);
                return Error::invalid(format!(
                    "dimension \"{written}\" of \"{}\" cannot be used for rows of \"{from}\": \"{many}\" has many rows \
                     per {entity}, so the join would count each row of \"{from}\" several times",
                    path.view.semantic
                ))
                .hint(format!(
                    "Define the measure in \"{many}\", or declare entity {entity} there as unique if it has one row \
                     per {entity}, or leave the dimension out."
                ));
            }
        }
        // The nearest first, so that a list that is cut shows what is most likely meant.
        let known: Vec<String> = self.reachable(from).iter().map(Path::name).collect();
        let names = known.iter().map(String::as_str);
        let hint = match suggest::nearest(written, names.clone()) {
            Some(near) => format!("Did you mean \"{near}\"?"),
            None => meant(parts, &known).unwrap_or_else(|| suggest::hint(written, names)),
        };
        Error::not_found(format!("rows of \"{}\" have no dimension \"{written}\"", from.semantic))
            .hint(hint)
    }
}

/// How long a name is at least if it counts as a part of another one.
const PART_MIN: usize = 4;

/// What is likely meant by a name that is not there: a dimension that ends nearly so, else those of the entity.
fn meant(parts: &[String], known: &[String]) -> Option<String> {
    let (last, entities) = parts.split_last()?;
    let before = entities.join(".");
    let way = |name: &str| name.rsplit_once('.').map(|(way, _)| way.to_owned());
    let of_entity: Vec<&str> = known
        .iter()
        .map(String::as_str)
        .filter(|name| way(name).is_some_and(|way| way == before))
        .collect();
    let among = match of_entity.is_empty() {
        true => known.iter().map(String::as_str).collect(),
        false => of_entity.clone(),
    };
    let ends = among.iter().map(|name| ending(name));
    let near = suggest::nearest(last, ends);
    let within = |end: &str| {
        let long = last.len() >= PART_MIN && end.len() >= PART_MIN;
        long && (end.contains(last.as_str()) || last.contains(end))
    };
    let found = among
        .iter()
        .find(|name| Some(ending(name)) == near)
        .or_else(|| among.iter().find(|name| within(ending(name))));
    match found {
        Some(name) => Some(format!("Did you mean \"{name}\"?")),
        // A name that fits nothing is answered with what there is.
        None if !of_entity.is_empty() => Some(suggest::hint("", of_entity)),
        None => None,
    }
}

/// What a name has behind its last dot.
fn ending(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, end)| end)
}

/// What `parts` name at the end of a way, perhaps with a word on its day behind.
fn end<'a>(from: &'a Semantic, way: &Way<'a>, parts: &[String]) -> Option<Path<'a>> {
    named(from, way, parts).or_else(|| {
        let (last, time) = parts.split_last()?;
        let day = Some(DayAttribute::called(last)?);
        let path = named(from, way, time).filter(Path::ends_at_time)?;
        Some(Path { day, ..path })
    })
}

/// What `parts` name at the end of a way.
fn named<'a>(from: &'a Semantic, way: &Way<'a>, parts: &[String]) -> Option<Path<'a>> {
    let (last, entities) = parts.split_last()?;
    if !entities.is_empty() && !follows(from, way, entities) {
        return None;
    }
    let dimension =
        dimension_called(way.view, last).map(|(name, found)| End::Dimension(name, found));
    let end = dimension.or_else(|| {
        let (name, entity) = entity_called(way.view, last)?;
        // A key that was joined by is already a key of the table before.
        let joined = way.hops.last().is_some_and(|hop| hop.target == name);
        (!joined || !entities.is_empty()).then_some(End::Entity(name, entity))
    })?;
    Some(Path { hops: way.hops.clone(), end, view: way.view, day: None })
}

/// Whether the way's last joins are by these entities.
fn follows(from: &Semantic, way: &Way<'_>, entities: &[String]) -> bool {
    if way.hops.is_empty() {
        let [only] = entities else { return false };
        return entity_called(from, only).is_some_and(|(_, entity)| entity.kind.is_single());
    }
    let Some(skipped) = way.hops.len().checked_sub(entities.len()) else { return false };
    way.hops.iter().enumerate().skip(skipped).zip(entities).all(|((index, hop), word)| {
        let before = index.checked_sub(1).and_then(|index| way.hops.get(index));
        let left = before.map_or(from, |hop| hop.view);
        entity_called(left, word).is_some_and(|(name, _)| name == hop.entity)
    })
}

/// The entity that is meant by one that perhaps has another name.
fn target<'a>(entity: &'a Entity, name: &'a str) -> &'a str {
    entity.to.as_deref().unwrap_or(name)
}

fn ambiguous(from: &Semantic, written: &str, several: &[Path<'_>]) -> Error {
    let mut distinct: Vec<String> = several.iter().map(Path::name).collect();
    distinct.dedup();
    let error = Error::invalid(format!(
        "rows of \"{}\" reach dimension \"{written}\" in several ways: {}",
        from.semantic,
        distinct.join(", ")
    ));
    match distinct.len() {
        1 => error
            .hint("Two semantic views have the same key and a dimension of this name; rename one."),
        _ => error.hint(format!("Write one of them in full, such as {}.", distinct.join(" or "))),
    }
}
