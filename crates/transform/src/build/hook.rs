//! Statements around builds: `pre_hook`, `post_hook`, `on-run-start` and `on-run-end`.
//!
//! Each statement is run by itself, in the order of the text. One that reads is a query, and its error is the build's. One
//! that changes rows or makes a table (`INSERT`, `UPDATE`, `DELETE`, `MERGE`, `TRUNCATE`, `CREATE TABLE`) is one commit of
//! that table, through its lane: what was committed before a later statement fails stays. Only tables that nobody else
//! answers for are written, see [`crate::refuse_owned`]. Of each it is kept what its rows were made of, before they are
//! committed, so that rules about those tables hold for it. What changes rights, indexes or names is not run, and the
//! report says so.

use std::collections::BTreeSet;

use flywheel_base::Result;
use flywheel_project::{Project, RunContext};
use flywheel_state::{Made, MadeKind, PRODUCTION};
use flywheel_warehouse::{Catalog, Edit, Edited, Location, TableName, Verb, is_edit};
use serde_json::Value as Json;

use super::ask::{Desk, Facts, Told};
use crate::shelf::{Item, Shelf};
use crate::{World, names, owned};

/// Words with which a statement begins that reads.
const READING: &[&str] = &["SELECT", "WITH", "VALUES", "FROM", "EXPLAIN", "SHOW", "DESCRIBE"];

/// Words with which a statement begins that changes rows.
const WRITING: &[&str] = &["INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE"];

/// In how many words a statement says what it is: `CREATE OR REPLACE TABLE`.
const WORDS_READ: usize = 4;

/// How many characters of a statement a note shows.
const SHOWN_CHARS: usize = 60;

/// Who makes the tables that statements around builds make, for the record.
const MADE_BY: &str = "build";

/// What statements are run on.
pub(super) struct Stage<'a> {
    pub(super) world: World<'a>,
    /// What names mean to them.
    pub(super) shelf: &'a Shelf,
    /// The model whose hooks they are, and what its own name means.
    pub(super) own: Option<(&'a str, Option<Item>)>,
    /// What became of the build, for statements after it.
    pub(super) results: Option<&'a Json>,
}

impl Stage<'_> {
    /// Runs the statements of a text, which is rendered with what it asks the database; returns what a person should know.
    ///
    /// # Errors
    /// Those of rendering and of each statement; those after it are not run.
    pub(super) async fn run(
        &self,
        word: &str,
        render: impl Fn(&RunContext<'_>) -> Result<String> + Send,
    ) -> Result<Vec<String>> {
        let facts =
            Facts { moment: Some(self.world.now), results: self.results, ..Facts::default() };
        let mut told = Told::default();
        let sql = match told.attempt(facts, &render) {
            Ok(sql) => sql?,
            Err(_) => {
                let desk = Desk::of_statements(self.world, self.shelf, self.own.clone())?;
                Box::pin(desk.render(&mut told, facts, render)).await?
            }
        };
        let mut notes = Vec::new();
        for statement in statements(&sql) {
            let named = format!("the {word} {}", short(&statement));
            let words = statement.split(|c: char| !c.is_alphanumeric() && c != '_');
            let words = words.filter(|word| !word.is_empty()).map(str::to_uppercase);
            let words: Vec<String> = words.take(WORDS_READ).collect();
            let first = words.first().map_or("", String::as_str);
            let makes = first == "CREATE" && words.iter().any(|word| word == "TABLE");
            // `WITH` also begins statements that change rows; one that cannot be read is refused as what it begins as.
            if makes || WRITING.contains(&first) || is_edit(&statement) {
                let place = self.world.store.environment();
                if place != PRODUCTION {
                    notes.push(format!(
                        "{named} is not run in the environment \"{place}\": what statements write is the same in all"
                    ));
                    continue;
                }
                // Boxed, as the state of a change is large.
                let edited = Box::pin(self.write(&statement, &told.tables)).await;
                let edited = edited.map_err(|error| error.context(&named))?;
                notes.push(format!("{named} {}", balance(&edited)));
            } else if READING.contains(&first) {
                self.read(&statement).await.map_err(|error| error.context(&named))?;
            } else {
                notes.push(format!(
                    "{named} is not run: {first} changes something other than the rows of a table"
                ));
            }
        }
        Ok(notes)
    }

    /// Runs a statement that reads.
    async fn read(&self, sql: &str) -> Result<()> {
        let mut catalog = self.shelf.catalog()?;
        self.put_own(&mut catalog)?;
        self.world.lake.session(catalog)?.query(sql).await?.collect().await.map(drop)
    }

    fn put_own(&self, catalog: &mut Catalog) -> Result<()> {
        if let Some((name, Some(item))) = &self.own {
            item.put(&TableName::parse(name)?, catalog);
        }
        Ok(())
    }

    /// Runs a statement that changes rows. Models mean what they mean to this build, landed tables are as it reads them, and
    /// the table that is written is at its head.
    async fn write(&self, sql: &str, asked: &BTreeSet<String>) -> Result<Edited> {
        let World { lake, store, project, .. } = self.world;
        let mut catalog = crate::catalog(self.world).await?;
        self.shelf.put_into(&mut catalog)?;
        self.put_own(&mut catalog)?;
        let table = lake.session(catalog.clone())?.edit(sql)?.table().clone();
        owned::refuse_owned(self.world, &table, false)?;
        // Nobody changes what the name means until the rows and what they were made of are both kept.
        let _alone = lake.alone(&[&table]).await;
        let location = names::plain_location(&table.to_string())?;
        let before = self.head(&location).await?;
        if before.is_some() {
            catalog.table(&table, location.clone(), None);
        }
        let edit = lake.session(catalog)?.edit(sql)?;
        let (made, name) = (store.made()?, table.to_string());
        let known = made.iter().find(|made| made.name == name).cloned();
        let read = edit.reads().await?;
        // What a template was told stands in the statement.
        let mut reads: BTreeSet<String> = read.iter().map(ToString::to_string).collect();
        reads.extend(asked.iter().cloned());
        reads.remove(&name);
        let reads = behind(project, &made, reads)?;
        self.keep(&edit, known.as_ref(), reads)?;
        match edit.run().await {
            Ok(edited) => Ok(edited),
            Err(error) => {
                // A commit may be there although the disk complained; then it counts what it was made of.
                if self.head(&location).await? == before {
                    match &known {
                        Some(known) => store.make(known)?,
                        None => store.unmake(&[name])?,
                    }
                }
                Err(error)
            }
        }
    }

    async fn head(&self, location: &Location) -> Result<Option<i64>> {
        Ok(self.world.lake.head(location).await?.map(|head| head.version))
    }

    /// Keeps what a table is made of, beside what is known of it.
    fn keep(&self, edit: &Edit, known: Option<&Made>, mut reads: BTreeSet<String>) -> Result<()> {
        let new = match known {
            Some(known) => !reads.is_subset(&known.reads),
            None => !reads.is_empty() || edit.verb() == Verb::Create,
        };
        if !new {
            return Ok(());
        }
        reads.extend(known.iter().flat_map(|known| known.reads.iter().cloned()));
        self.world.store.make(&Made {
            name: edit.table().to_string(),
            kind: MadeKind::Table,
            sql: None,
            reads,
            made_by: known.map_or(MADE_BY, |known| known.made_by.as_str()).to_owned(),
            made_at: known.map_or(self.world.now, |known| known.made_at),
        })
    }
}

/// These tables, and all that they were made of: by models as their files are, and by statements.
fn behind(project: &Project, made: &[Made], reads: BTreeSet<String>) -> Result<BTreeSet<String>> {
    let mut open: Vec<String> = reads.iter().cloned().collect();
    let mut all = reads;
    while let Some(name) = open.pop() {
        let mut more = match names::model(project, &name) {
            Some(model) => names::read_by_model(project, model)?,
            None => BTreeSet::new(),
        };
        let statements = made.iter().filter(|made| made.name == name);
        more.extend(statements.flat_map(|made| made.reads.iter().cloned()));
        open.extend(more.into_iter().filter(|name| all.insert(name.clone())));
    }
    Ok(all)
}

/// What a statement did to the rows of its table.
fn balance(edited: &Edited) -> String {
    let (table, inserted, commit) = (&edited.table, edited.rows_inserted(), &edited.commit);
    let (updated, deleted) = (commit.rows_updated, commit.rows_deleted);
    format!("wrote {table}: {inserted} rows inserted, {updated} updated, {deleted} deleted")
}

fn short(statement: &str) -> String {
    let line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => format!("\"{}…\"", &line[..at]),
        None => format!("\"{line}\""),
    }
}

/// The statements of a text, without comments and without empty ones.
pub(super) fn statements(sql: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = String::new();
    let mut quote: Option<char> = None;
    let mut chars = sql.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(end), c) => {
                open.push(c);
                if c == end {
                    quote = None;
                }
            }
            (None, '\'' | '"') => {
                quote = Some(c);
                open.push(c);
            }
            (None, '-') if chars.peek() == Some(&'-') => {
                while chars.next_if(|c| *c != '\n').is_some() {}
            }
            (None, '/') if chars.peek() == Some(&'*') => {
                let mut before = ' ';
                for c in chars.by_ref() {
                    if before == '*' && c == '/' {
                        break;
                    }
                    before = c;
                }
                open.push(' ');
            }
            (None, ';') => found.push(std::mem::take(&mut open)),
            (None, c) => open.push(c),
        }
    }
    found.push(open);
    found.into_iter().map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_outside_of_quotes_and_comments() {
        let text = "select ';' as a; -- b; c\n /* d; */ grant x to y;\n;select \"e;\"";
        assert_eq!(statements(text), ["select ';' as a", "grant x to y", "select \"e;\""]);
        assert!(statements(" \n-- nothing").is_empty());
    }
}
