//! What each name means while models are built: a table at a version, or a view.
//!
//! At first the shelf holds what readers see: landed tables at their head, models as published. A
//! model that was built replaces its entry with the candidate; one whose tests fail is put back, so
//! that nothing built later reads it.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::Result;
use flywheel_warehouse::{Catalog, Location, TableName};

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// A table of the lake at one version.
    Table {
        /// Where it lies.
        location: Location,
        /// The version.
        version: i64,
    },
    /// A view.
    View {
        /// Its query, with the names of tables.
        sql: String,
        /// Identifies the query.
        fingerprint: String,
        /// What it reads.
        reads: BTreeSet<String>,
    },
}

impl Item {
    /// Lets `name` mean this in a catalog.
    pub(crate) fn put(&self, name: &TableName, catalog: &mut Catalog) {
        match self {
            Self::Table { location, version } => {
                catalog.table(name, location.clone(), Some(*version))
            }
            Self::View { sql, .. } => catalog.view(name, sql.clone()),
        };
    }
}

/// Names and what they mean.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf {
    items: BTreeMap<String, Item>,
}

impl Shelf {
    pub(crate) fn item(&self, name: &str) -> Option<&Item> {
        self.items.get(name)
    }

    /// Every name that means something, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.items.keys().map(String::as_str)
    }

    pub(crate) fn item_mut(&mut self, name: &str) -> Option<&mut Item> {
        self.items.get_mut(name)
    }

    /// Lets `name` mean `item`; nothing if there is none.
    pub(crate) fn put(&mut self, name: &str, item: Option<Item>) {
        match item {
            Some(item) => self.items.insert(name.to_owned(), item),
            None => self.items.remove(name),
        };
    }

    /// Everything behind `names`: they, and what their views read.
    pub(crate) fn behind<'a>(
        &'a self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&str> = names.into_iter().collect();
        while let Some(name) = open.pop() {
            if !found.insert(name) {
                continue;
            }
            if let Some(Item::View { reads, .. }) = self.items.get(name) {
                open.extend(reads.iter().map(String::as_str));
            }
        }
        found
    }

    /// What `names` mean, views opened, as texts that differ if anything does.
    pub(crate) fn versions<'a>(
        &'a self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> BTreeSet<String> {
        let text = |name: &str| match self.items.get(name) {
            Some(Item::Table { location, version }) => format!("{name} {location} {version}"),
            Some(Item::View { fingerprint, .. }) => format!("{name} {fingerprint}"),
            None => format!("{name} missing"),
        };
        self.behind(names).into_iter().map(text).collect()
    }

    /// The views behind `names`, with what identifies them.
    pub(crate) fn views<'a>(&'a self, names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let behind = self.behind(names).into_iter();
        let view = |name: &str| match self.items.get(name) {
            Some(Item::View { fingerprint, .. }) => Some(format!("{name} {fingerprint}")),
            _ => None,
        };
        behind.filter_map(view).collect()
    }

    /// The tables behind `names`.
    pub(crate) fn tables<'a>(
        &'a self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Vec<(&'a str, &'a Location, i64)> {
        let behind = self.behind(names).into_iter();
        let table = |name: &'a str| match self.items.get(name) {
            Some(Item::Table { location, version }) => Some((name, location, *version)),
            _ => None,
        };
        behind.filter_map(table).collect()
    }

    /// A catalog in which every name means what it means here.
    pub(crate) fn catalog(&self) -> Result<Catalog> {
        let mut catalog = Catalog::new();
        self.put_into(&mut catalog)?;
        Ok(catalog)
    }

    /// Lets every name mean in a catalog what it means here.
    pub(crate) fn put_into(&self, catalog: &mut Catalog) -> Result<()> {
        // Before the first fit a model is there, without predictions; learners may need what it shows.
        catalog.allow_unfitted();
        for (name, item) in &self.items {
            item.put(&TableName::parse(name)?, catalog);
        }
        Ok(())
    }
}
