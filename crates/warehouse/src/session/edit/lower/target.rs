//! The table that a statement changes: what it is called, and the columns it names.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, Expr, Ident, ObjectName, visit_expressions,
};
use flywheel_base::{Error, Result};

use super::refused;
use crate::TableName;
use crate::engine::EDITED;
use crate::lane::unknown_column;
use crate::snapshot::Snapshot;

/// The table that is changed.
pub(super) struct Target<'a> {
    pub(super) name: &'a TableName,
    pub(super) alias: Option<Ident>,
    pub(super) head: &'a Snapshot,
}

impl Target<'_> {
    /// The table with the places of its rows, as an item of FROM.
    pub(super) fn from(&self) -> String {
        let TableName { schema, name } = self.name;
        let table = format!("{EDITED}.{}.{}", quoted(schema), quoted(name));
        match &self.alias {
            Some(alias) => format!("{table} AS {alias}"),
            None => table,
        }
    }

    /// All columns.
    pub(super) fn columns(&self) -> Vec<String> {
        self.head.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    /// The column that is written so.
    fn column(&self, written: &ObjectName) -> Result<String> {
        let parts: Option<Vec<String>> =
            written.0.iter().map(|part| part.as_ident().map(normal)).collect();
        let parts = parts.unwrap_or_default();
        let [before @ .., column] = parts.as_slice() else {
            return Err(refused(written, "Name a column."));
        };
        if !before.is_empty() && !self.is_called(before) {
            return Err(Error::invalid(format!(
                "\"{written}\" is no column of table \"{}\"",
                self.name
            ))
            .hint("Write the column's name alone; a field of a struct cannot be assigned."));
        }
        match self.head.schema.index_of(column) {
            Ok(_) => Ok(column.clone()),
            Err(_) => Err(unknown_column(self.head, column)),
        }
    }

    /// Whether the table is called so, without or with its schema.
    fn is_called(&self, parts: &[String]) -> bool {
        match (&self.alias, parts) {
            (Some(alias), [one]) => *one == normal(alias),
            (None, [one]) => *one == self.name.name,
            (None, [schema, one]) => *schema == self.name.schema && *one == self.name.name,
            _ => false,
        }
    }

    /// Columns of a list, each at most once.
    pub(super) fn listed(&self, written: &[ObjectName]) -> Result<Vec<String>> {
        let columns = written.iter().map(|name| self.column(name)).collect::<Result<Vec<_>>>()?;
        once(&columns)?;
        Ok(columns)
    }

    /// Columns with what is assigned to them.
    pub(super) fn assignments<'e>(
        &self,
        list: &'e [Assignment],
    ) -> Result<Vec<(String, &'e Expr)>> {
        let mut found = Vec::with_capacity(list.len());
        for assignment in list {
            match (&assignment.target, &assignment.value) {
                (AssignmentTarget::ColumnName(name), value) => {
                    found.push((self.column(name)?, value));
                }
                (AssignmentTarget::Tuple(names), Expr::Tuple(values))
                    if names.len() == values.len() =>
                {
                    for (name, value) in names.iter().zip(values) {
                        found.push((self.column(name)?, value));
                    }
                }
                _ => {
                    let hint = "Assign to one column at a time: a = …, b = ….";
                    return Err(refused(assignment, hint));
                }
            }
        }
        once(&found.iter().map(|(column, _)| column.clone()).collect::<Vec<_>>())?;
        Ok(found)
    }

    /// Columns of the table that a condition compares.
    pub(super) fn named_in(&self, condition: &Expr) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let visited: ControlFlow<()> = visit_expressions(condition, |part| {
            let parts: Vec<String> = match part {
                Expr::Identifier(column) => vec![normal(column)],
                Expr::CompoundIdentifier(parts) => parts.iter().map(normal).collect(),
                _ => return ControlFlow::Continue(()),
            };
            if let [before @ .., column] = parts.as_slice()
                && (before.is_empty() || self.is_called(before))
                && self.head.schema.index_of(column).is_ok()
                && !found.contains(column)
            {
                found.push(column.clone());
            }
            ControlFlow::Continue(())
        });
        debug_assert!(visited.is_continue(), "the visitor never stops");
        found
    }
}

/// Refuses a column that is named twice.
fn once(columns: &[String]) -> Result<()> {
    let mut seen = BTreeSet::new();
    match columns.iter().find(|column| !seen.insert(column.as_str())) {
        None => Ok(()),
        Some(twice) => Err(Error::invalid(format!("column \"{twice}\" is assigned twice"))
            .hint("Give it one value.")),
    }
}

/// A name as the engine folds it.
pub(in crate::session) fn normal(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// A name that is not folded.
pub(in crate::session) fn quoted(name: &str) -> String {
    Ident::with_quote('"', name).to_string()
}
