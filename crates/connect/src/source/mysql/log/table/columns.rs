//! How the columns of the pages follow those of the table.

use std::collections::BTreeMap;
use std::sync::Arc;

use flywheel_base::{Error, Result};

use super::super::statement::Alter;
use super::{Table, with_deleted};
use crate::column::ColumnType;
use crate::page::{Column, PageBuilder};
use crate::source::mysql::binlog::LogRow;
use crate::source::mysql::relation::Relation;

impl Table {
    /// Whether a row has, or may have, other columns than those before.
    pub(in crate::source::mysql::log) fn differs(&self, row: &LogRow) -> bool {
        self.stale || self.names.as_ref().is_none_or(|names| **names != *row.columns)
    }

    /// Notes that the columns may be others from here on.
    pub(in crate::source::mysql::log) fn stale(&mut self) {
        self.stale = true;
    }

    /// Notes what becomes of the columns; gives a name that another column has now than the one that
    /// the target has under it.
    pub(in crate::source::mysql::log) fn altered(&mut self, alter: &Alter) -> Option<String> {
        self.stale = true;
        let before = (self.gone.clone(), self.renamed.clone());
        for name in &alter.dropped {
            // A column of which no row has come yet was the one that had another name before.
            let at = self.renamed.iter().position(|(_, new)| new.eq_ignore_ascii_case(name));
            match at.map(|at| self.renamed.swap_remove(at)) {
                Some((old, _)) => self.announce_gone(&old),
                None => {
                    if let Some(name) = self.take_away(name) {
                        self.announce_gone(&name);
                    }
                }
            }
        }
        let renamed = alter.renamed.iter().filter(|(old, new)| !old.eq_ignore_ascii_case(new));
        let mut new = Vec::new();
        for (old, name) in renamed {
            let known = self.known(old).is_some();
            // With `IF EXISTS`, nothing is done to a column that is not there.
            let taken = self.take_away(old);
            if known && taken.is_none() {
                continue;
            }
            new.push(name);
            match self.renamed.iter_mut().find(|(_, new)| new.eq_ignore_ascii_case(old)) {
                Some((_, new)) => new.clone_from(name),
                None => self.renamed.extend(taken.map(|old| (old, name.clone()))),
            }
        }
        // A column that is there is kept by `IF NOT EXISTS`.
        let there = |name: &String| {
            let is = |gone: &String| gone.eq_ignore_ascii_case(name);
            self.known(name).is_some() && !self.gone.iter().any(is)
        };
        let added = alter.added.iter().filter(|(name, kept)| !(*kept && there(name)));
        let mut new = new.into_iter().chain(added.map(|(name, _)| name));
        let reused = new.find(|name| self.known(name).is_some()).cloned();
        if reused.is_some() {
            // The position is still before the statement, which comes again.
            (self.gone, self.renamed) = before;
        }
        reused
    }

    /// A column of the pages, as it is called there.
    fn known(&self, name: &str) -> Option<&String> {
        let mut names = self.columns.iter().map(|column| &column.name);
        names.find(|known| known.eq_ignore_ascii_case(name))
    }

    /// Notes that a column is not there any more, if the pages have it and it was.
    fn take_away(&mut self, name: &str) -> Option<String> {
        let name = self.known(name).filter(|name| !self.gone.contains(*name))?.clone();
        self.gone.push(name.clone());
        Some(name)
    }

    /// Takes over the columns of a row; `now` is the table as it is.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Blocked`] if the table has another key than before.
    pub(in crate::source::mysql::log) fn learn(
        &mut self,
        row: &LogRow,
        now: Relation,
    ) -> Result<()> {
        let mut key = now.primary_key.clone();
        key.sort_unstable();
        if let Some(known) = self.key.as_ref().filter(|known| **known != key) {
            return Err(Error::blocked(format!(
                "the key of {} is {} now and was {}",
                now.name,
                listed(&key),
                listed(known)
            ))
            .hint(
                "Set the stream's `key` to the new one. Delete the stream's position to read it \
                 whole again.",
            ));
        }
        if let Some((old, new)) = self.other_case(&row.columns) {
            return Err(Error::blocked(format!(
                "the column \"{old}\" of {} is called \"{new}\" now, which is the same name to many \
                 systems",
                now.name
            ))
            .hint("Delete the stream's position to read it whole again."));
        }
        self.key = Some(key);
        let (mut added, mut widened) = (Vec::new(), Vec::new());
        let (mut retyped, mut told) = (BTreeMap::new(), BTreeMap::new());
        for name in row.columns.iter() {
            let known = now.columns.iter().find(|column| column.column.name == *name);
            if let Some(column) = self.columns.iter_mut().find(|column| column.name == *name) {
                let Some(kind) = known.map(|known| known.column.kind) else { continue };
                if let Some(wide) = column.widened(kind) {
                    widened.push((wide.widening(column.kind), name.clone()));
                    if wide.kind != kind {
                        // A type that holds old and new values is not that of the table.
                        told.insert(name.clone(), kind);
                    }
                    *column = wide;
                } else if kind != column.kind && !column.declared {
                    retyped.insert(name.clone(), kind);
                }
                continue;
            }
            added.push(match known {
                Some(known) => known.column.clone(),
                None => Column::inferred(name, ColumnType::Text),
            });
        }
        let is_gone = |name: &String| {
            !row.columns.contains(name)
                && !self.gone.contains(name)
                && !now.columns.iter().any(|column| column.column.name == *name)
        };
        let columns = self.columns.iter().map(|column| &column.name);
        let gone: Vec<String> = columns.filter(|name| is_gone(name)).cloned().collect();
        self.columns.extend(added.iter().cloned());
        self.schema = with_deleted(&self.columns);
        self.page = PageBuilder::new("mysql", &self.schema, self.request.page_rows)
            .limited(self.request.page_bytes);
        self.names = Some(Arc::clone(&row.columns));
        self.stale = false;
        self.relation = now;
        self.announce(&added, &gone);
        let file = self.relation.name.clone();
        for (message, name) in widened {
            self.page.notice("column-widened", &file, message);
            self.widened.push(name);
        }
        // What was told once is in the position.
        for (name, kind) in &retyped {
            if self.retyped.get(name) != Some(kind) {
                let message = format!(
                    "the column \"{name}\" has another type than before; values that do not fit are \
                     set aside"
                );
                self.page.notice("column-type-changed", &file, message);
            }
        }
        self.retyped = retyped;
        self.retyped.append(&mut told);
        self.gone.extend(gone);
        Ok(())
    }

    /// A column whose name differs from before in nothing but the case of letters.
    fn other_case<'a>(&'a self, names: &'a [String]) -> Option<(&'a str, &'a str)> {
        let is_new = |name: &&String| !self.columns.iter().any(|column| column.name == **name);
        names.iter().filter(is_new).find_map(|new| Some((self.known(new)?.as_str(), new.as_str())))
    }

    fn announce_gone(&mut self, name: &str) {
        let file = self.relation.name.clone();
        let message = format!("the column \"{name}\" is gone; it has no values from here on");
        self.page.notice("column-dropped", &file, message);
    }

    fn announce(&mut self, added: &[Column], gone: &[String]) {
        let file = self.relation.name.clone();
        let is_added = |name: &str| added.iter().any(|column| column.name == name);
        let (renamed, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.renamed).into_iter().partition(|(_, new)| is_added(new));
        self.renamed = rest;
        for (old, new) in &renamed {
            let message = format!(
                "the column \"{old}\" is called \"{new}\" now; rows from before keep their value \
                 in \"{old}\" until they change"
            );
            self.page.notice("column-renamed", &file, message);
        }
        let told = |name: &str| renamed.iter().any(|(old, new)| old == name || new == name);
        for column in added.iter().filter(|column| !told(&column.name)) {
            let message = format!(
                "the column \"{}\" is new; rows from before have no value in it until they change",
                column.name
            );
            self.page.notice("column-added", &file, message);
        }
        for name in gone.iter().filter(|name| !told(name)) {
            self.announce_gone(name);
        }
    }
}

fn listed(key: &[String]) -> String {
    if key.is_empty() { "none".to_owned() } else { format!("({})", key.join(", ")) }
}
