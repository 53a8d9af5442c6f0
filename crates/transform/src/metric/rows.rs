//! The rows of a table with the columns of others that it reaches, as a FROM clause.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result};
use flywheel_project::metric::expression::{Name, literal};
use flywheel_project::metric::{End, Expression, Path, Semantics, value_called};
use flywheel_project::resource::semantic::{Dimension, DimensionKind, Grain, Semantic};

use super::Tables;
use super::day;
use super::time::MOMENT;
use crate::testing::{quoted, quoted_table};

/// A FROM clause while it is put together: each table gives only the columns that are asked for.
pub(super) struct Rows<'a, 'q> {
    tables: Tables<'q>,
    semantics: &'q Semantics<'a>,
    view: &'a Semantic,
    base: Table,
    joined: Vec<Joined>,
}

/// The columns of one table.
#[derive(Default)]
struct Table {
    alias: String,
    relation: String,
    /// SQL over the table's columns by the name it is given.
    columns: BTreeMap<String, String>,
}

struct Joined {
    /// The entities on the way to it.
    way: String,
    table: Table,
    on: Vec<(String, String)>,
}

impl<'a, 'q> Rows<'a, 'q> {
    /// The rows of a semantic view; `alias` tells its tables from those of others in one query.
    pub(super) fn new(
        tables: Tables<'q>,
        semantics: &'q Semantics<'a>,
        view: &'a Semantic,
        alias: &str,
    ) -> Result<Self> {
        let base = Table::new(tables, view, alias.to_owned())?;
        Ok(Self { tables, semantics, view, base, joined: Vec::new() })
    }

    /// SQL over the table's own columns, as a column of the rows.
    pub(super) fn own(&mut self, name: &str, sql: &str) -> String {
        self.base.column(name, sql)
    }

    /// The key column of an entity of the table itself.
    pub(super) fn key(&mut self, column: &str) -> String {
        self.base.column(&format!("k_{column}"), &quoted(column))
    }

    /// A measure's value; none if rows are counted.
    pub(super) fn measure(&mut self, name: &str) -> Option<String> {
        let measure = self.view.measures.get(name)?;
        let counts_rows = measure.aggregate
            == flywheel_project::resource::semantic::Aggregate::Count
            && measure.expression.is_none();
        if counts_rows {
            return None;
        }
        let sql = measure.expression.clone().unwrap_or_else(|| quoted(name));
        Some(self.own(&format!("m_{name}"), &sql))
    }

    /// A time of the table itself, as a moment.
    pub(super) fn moment(&mut self, name: &str, dimension: &Dimension) -> String {
        let sql = moment_sql(name, dimension);
        self.own(&format!("t_{name}"), &sql)
    }

    /// A time of the table itself as it is stored, in no time zone of its own: what two tables are compared by.
    pub(super) fn instant(&mut self, name: &str, dimension: &Dimension) -> String {
        let sql = dimension.expression.clone().unwrap_or_else(|| quoted(name));
        self.own(&format!("u_{name}"), &format!("CAST({sql} AS {MOMENT})"))
    }

    /// The column at the end of a way, joining what lies on it; times are moments.
    pub(super) fn column(&mut self, path: &Path<'a>) -> Result<String> {
        let (name, sql) = match path.end {
            End::Dimension(name, dimension) if dimension.kind == DimensionKind::Time => {
                let moment = moment_sql(name, dimension);
                match path.day {
                    None => (format!("t_{name}"), moment),
                    Some(day) => (
                        format!("h_{}_{name}", day.word()),
                        day::sql(
                            &self.tables.project.file.calendar,
                            day,
                            name,
                            dimension,
                            &moment,
                        )?,
                    ),
                }
            }
            End::Dimension(name, dimension) => {
                (format!("d_{name}"), dimension.expression.clone().unwrap_or_else(|| quoted(name)))
            }
            End::Entity(name, entity) => {
                let columns = entity.columns(name);
                let [column] = columns.as_slice() else {
                    return Err(Error::invalid(format!("entity \"{name}\" has several columns"))
                        .hint("Declare its columns as dimensions and use those."));
                };
                (format!("k_{column}"), quoted(column))
            }
        };
        if path.hops.is_empty() {
            return Ok(self.base.column(&name, &sql));
        }
        let (mut way, mut left) = (String::new(), None);
        for hop in &path.hops {
            way = if way.is_empty() {
                hop.entity.to_owned()
            } else {
                format!("{way}.{}", hop.entity)
            };
            // Two views with the same key are two tables on the same way.
            let way = format!("{way} {}", hop.view.semantic);
            if let Some(at) = self.joined.iter().position(|joined| joined.way == way) {
                left = Some(at);
                continue;
            }
            let alias = format!("{}_j{}", self.base.alias, self.joined.len() + 1);
            let mut table = Table::new(self.tables, hop.view, alias)?;
            let mut on = Vec::new();
            for (column, key) in hop.columns.iter().zip(&hop.key) {
                let before = match left.and_then(|at| self.joined.get_mut(at)) {
                    Some(joined) => joined.table.column(&format!("k_{column}"), &quoted(column)),
                    None => self.base.column(&format!("k_{column}"), &quoted(column)),
                };
                on.push((before, table.column(&format!("k_{key}"), &quoted(key))));
            }
            left = Some(self.joined.len());
            self.joined.push(Joined { way, table, on });
        }
        let joined = left.and_then(|at| self.joined.get_mut(at));
        let joined = joined.ok_or_else(|| Error::internal("a way without tables"))?;
        Ok(joined.table.column(&name, &sql))
    }

    /// A condition on dimensions, with the names people give to values resolved.
    pub(super) fn condition(&mut self, expression: &Expression) -> Result<String> {
        let (semantics, view) = (self.semantics, self.view);
        let mut expression = expression.clone();
        expression.resolve_values(&|name: &Name, text| {
            let path = semantics.path(view, &name.parts).ok().filter(|path| path.day.is_none())?;
            let End::Dimension(_, dimension) = path.end else { return None };
            value_called(dimension, text).map(str::to_owned)
        });
        let moments = expression.names_of_moments();
        expression.sql(&mut |name| {
            let path = semantics.path(view, &name.parts)?;
            let column = self.column(&path)?;
            let by_moment = |grain: Option<Grain>| match grain {
                Some(grain) => grain.is_within_day(),
                // Nothing says how exactly it is known: who asks for a moment means it.
                None => moments.contains(name),
            };
            Ok(match path.end {
                End::Dimension(_, dimension) if path.is_time() && !by_moment(dimension.grain) => {
                    format!("CAST({column} AS DATE)")
                }
                _ => column,
            })
        })
    }

    /// The FROM clause, once every column was asked for.
    pub(super) fn from(&self) -> String {
        let mut sql = self.base.sql();
        for joined in &self.joined {
            let on: Vec<String> = joined.on.iter().map(|(a, b)| format!("{a} = {b}")).collect();
            sql.push_str(&format!("\n  LEFT JOIN {} ON {}", joined.table.sql(), on.join(" AND ")));
        }
        sql
    }
}

impl Table {
    fn new(tables: Tables<'_>, view: &Semantic, alias: String) -> Result<Self> {
        let relation = quoted_table(&tables.relation(view)?);
        Ok(Self { alias, relation, columns: BTreeMap::new() })
    }

    fn column(&mut self, name: &str, sql: &str) -> String {
        self.columns.entry(name.to_owned()).or_insert_with(|| sql.to_owned());
        format!("{}.{}", self.alias, quoted(name))
    }

    fn sql(&self) -> String {
        let mut columns: Vec<String> =
            self.columns.iter().map(|(name, sql)| format!("{sql} AS {}", quoted(name))).collect();
        if columns.is_empty() {
            columns.push("1 AS one".to_owned());
        }
        format!("(SELECT {} FROM {}) AS {}", columns.join(", "), self.relation, self.alias)
    }
}

/// A time dimension as a moment in its own time zone.
pub(super) fn moment_sql(name: &str, dimension: &Dimension) -> String {
    let sql = dimension.expression.clone().unwrap_or_else(|| quoted(name));
    match &dimension.timezone {
        None => format!("CAST({sql} AS {MOMENT})"),
        Some(zone) => format!(
            "CAST(CAST({sql} AS timestamp with time zone) AT TIME ZONE {} AS {MOMENT})",
            literal(zone)
        ),
    }
}
