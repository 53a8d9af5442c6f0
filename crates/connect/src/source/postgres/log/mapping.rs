//! How the rows that the log describes become rows of the pages, whatever has happened to the table
//! since or will have happened when they are read.

use std::sync::Arc;

use flywheel_base::{Error, Result};

use super::message::{Cell, Described, Old, Tuple};
use super::value::Form;
use crate::column::{ColumnType, DeclaredColumn};
use crate::files::column_names;
use crate::page::Column;
use crate::postgres::{PgType, Session, field, types};
use crate::source::postgres::relation::Relation;

/// Where the value of a column of the pages is.
#[derive(Clone, Debug)]
enum Place {
    /// In the row.
    Field { at: usize, form: Form },
    /// Not in the row, but the table has the column now: it was added later, or is computed.
    Table,
    /// Nowhere: the table has the column no more.
    Nowhere,
}

/// Where the values of the columns of the pages are in the rows of one shape.
#[derive(Debug)]
pub(super) struct Mapping {
    places: Vec<Place>,
    /// The names in SQL of the types of the fields.
    sql_types: Vec<String>,
    /// The fields of the replica identity.
    identity: Vec<bool>,
    /// The columns of the key and their fields; none if all fields together are the key.
    key: Vec<(usize, usize)>,
    /// Whether some value has to be asked for in every row.
    asks: bool,
    /// Whether some value has to be turned into JSON by the server.
    composes: bool,
    /// The columns whose values have another type than the pages.
    retyped: Vec<usize>,
}

/// A row that waits to become one of a page.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Where its values are.
    pub(super) mapping: Arc<Mapping>,
    /// The values.
    pub(super) tuple: Tuple,
    /// What they were before, if the log tells.
    pub(super) old: Option<Old>,
    /// Whether the row is gone.
    pub(super) deleted: bool,
}

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Null,
    Text(&'a [u8], Form),
    /// Only the table has it.
    Missing,
}

/// What a new description of a table changes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// New columns.
    pub(super) added: Vec<Column>,
    /// Columns of the pages that hold more from here on, by their places, and the types they have now.
    pub(super) widened: Vec<(usize, Column, ColumnType)>,
    /// Columns whose values have another type than the pages, and which.
    pub(super) retyped: Vec<(String, ColumnType)>,
}

impl Mapping {
    /// Finds the values of `columns` in rows as `described`; `relation` is the table as it is now.
    pub(super) async fn new(
        session: &Session,
        described: &Described,
        columns: &[Column],
        declared: &[DeclaredColumn],
        relation: &Relation,
    ) -> Result<(Self, Changes)> {
        let names: Vec<String> = described.columns.iter().map(|c| c.name.clone()).collect();
        let names = column_names(&names);
        let types = known_types(session, described).await?;
        let mut changes = Changes::default();
        let mut retyped = Vec::new();
        let same = relation.table.as_ref().is_some_and(|table| table.oid == described.table);
        let now =
            |name: &str| same && relation.columns.iter().any(|column| column.column.name == name);
        let mut places: Vec<Place> = Vec::with_capacity(columns.len());
        for (at, column) in columns.iter().enumerate() {
            let Some(found) = names.iter().position(|name| *name == column.name) else {
                let asked = now(&column.name) && !relation.key.is_empty();
                places.push(if asked { Place::Table } else { Place::Nowhere });
                continue;
            };
            let Some((pg, _)) = types.get(found) else { continue };
            let kind = pg.natural(&column.name).kind;
            if let Some(wide) = column.widened(kind) {
                changes.widened.push((at, wide, kind));
            } else if !column.declared && kind != column.kind {
                changes.retyped.push((column.name.clone(), kind));
                retyped.push(at);
            }
            places.push(Place::Field { at: found, form: Form::of(pg) });
        }
        for (at, (name, (pg, _))) in names.iter().zip(&types).enumerate() {
            if columns.iter().any(|column| column.name == *name) {
                continue;
            }
            let wanted = declared.iter().find(|column| column.name == *name);
            changes.added.push(match wanted {
                Some(wanted) => Column::declared(wanted),
                None => Column::inferred(name, pg.natural(name).kind),
            });
            places.push(Place::Field { at, form: Form::of(pg) });
        }
        let mut key = Vec::new();
        for name in relation.key_names() {
            let all = columns.iter().chain(&changes.added);
            let column = all.into_iter().position(|column| column.name == name);
            let found = names.iter().position(|known| *known == name);
            let (Some(column), Some(found)) = (column, found) else {
                return Err(Error::blocked(format!(
                    "the key of {} is another than its log has: \"{name}\" was renamed or added",
                    relation.name
                ))
                .hint("Delete the stream's position to read it whole again."));
            };
            key.push((column, found));
        }
        let asks = places.iter().any(|place| matches!(place, Place::Table));
        let composed = |place: &Place| matches!(place, Place::Field { form: Form::Composed, .. });
        let mapping = Self {
            composes: places.iter().any(composed),
            places,
            sql_types: types.into_iter().map(|(_, name)| name).collect(),
            identity: described.columns.iter().map(|column| column.identity).collect(),
            key,
            asks,
            retyped,
        };
        Ok((mapping, changes))
    }

    /// Whether a row has to be looked at for values that only the server knows.
    pub(super) fn composes(&self) -> bool {
        self.composes
    }

    /// Whether the values of a column have another type than the pages.
    pub(super) fn retyped(&self, column: usize) -> bool {
        self.retyped.contains(&column)
    }

    /// The texts of the key in a row.
    pub(super) fn key_texts(&self, tuple: &Tuple) -> Option<Vec<String>> {
        let text = |at: usize| match tuple.cell(at) {
            Cell::Text(text) => std::str::from_utf8(text).ok().map(str::to_owned),
            _ => None,
        };
        self.key.iter().map(|(_, at)| text(*at)).collect()
    }

    /// Whether the key of a row is another than before.
    pub(super) fn key_changed(&self, old: &Old, new: &Tuple) -> bool {
        let differs = |at: usize| {
            let new = new.cell(at);
            new != Cell::Unchanged && new != old.tuple.cell(at)
        };
        if self.key.is_empty() {
            return (0..new.width()).any(differs);
        }
        self.key.iter().any(|(_, at)| differs(*at))
    }

    /// The type in SQL of the values of a column, for those that the server turns into JSON.
    pub(super) fn sql_type(&self, column: usize) -> Option<&str> {
        match self.places.get(column)? {
            Place::Field { at, .. } => self.sql_types.get(*at).map(String::as_str),
            _ => None,
        }
    }
}

impl Row {
    /// Whether some values may be missing.
    pub(super) fn asks(&self) -> bool {
        !self.deleted && (self.tuple.unchanged || self.mapping.asks)
    }

    /// The value of a column of the pages.
    pub(super) fn value(&self, column: usize) -> Value<'_> {
        if self.deleted && !self.in_key(column) {
            return Value::Null;
        }
        // A column that the pages got later is not in the row.
        let Some(place) = self.mapping.places.get(column) else { return Value::Null };
        let Place::Field { at, form } = place else {
            let asked = matches!(place, Place::Table) && !self.deleted;
            return if asked { Value::Missing } else { Value::Null };
        };
        match self.tuple.cell(*at) {
            Cell::Null => Value::Null,
            Cell::Text(text) => Value::Text(text, *form),
            Cell::Unchanged => self.before(*at, *form),
        }
    }

    /// The value that a field had before.
    fn before(&self, at: usize, form: Form) -> Value<'_> {
        let identity = self.mapping.identity.get(at).copied().unwrap_or(false);
        let old = self.old.as_ref().filter(|old| old.whole || identity);
        match old.map(|old| old.tuple.cell(at)) {
            Some(Cell::Text(text)) => Value::Text(text, form),
            Some(Cell::Null) => Value::Null,
            Some(Cell::Unchanged) | None => Value::Missing,
        }
    }

    /// Whether a column belongs to the key.
    pub(super) fn in_key(&self, column: usize) -> bool {
        let key = &self.mapping.key;
        key.is_empty() || key.iter().any(|(at, _)| *at == column)
    }

    /// Whether some of its columns are the key.
    pub(super) fn has_key(&self) -> bool {
        !self.mapping.key.is_empty()
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        let old = self.old.as_ref().map_or(0, |old| old.tuple.bytes());
        self.tuple.bytes() + old + size_of::<Self>()
    }
}

/// The types of the columns of a description and their names in SQL; text for a type that is gone.
async fn known_types(session: &Session, described: &Described) -> Result<Vec<(PgType, String)>> {
    let oids: Vec<u32> = described.columns.iter().map(|column| column.type_oid).collect();
    let sql = "SELECT oid FROM pg_catalog.pg_type WHERE oid = ANY($1::oid[])";
    let found = session.rows(sql, &[&oids]).await?;
    let known: Vec<u32> = found.iter().map(|row| field(row, 0)).collect::<Result<_>>()?;
    let columns = || described.columns.iter().filter(|column| known.contains(&column.type_oid));
    let oids: Vec<u32> = columns().map(|column| column.type_oid).collect();
    let modifiers: Vec<i32> = columns().map(|column| column.modifier).collect();
    let mut types = types(session, &oids, &modifiers).await?.into_iter();
    let text = || PgType {
        name: "text".to_owned(),
        built_in: true,
        form: "b".to_owned(),
        category: "S".to_owned(),
        modifier: -1,
    };
    let of = described.columns.iter().map(|column| {
        let known = known.contains(&column.type_oid).then(|| types.next()).flatten();
        known.unwrap_or_else(|| (text(), "text".to_owned()))
    });
    Ok(of.collect())
}
