//! The session's names in the form the engine asks for them.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemorySchemaProvider,
    SchemaProvider, TableProvider,
};
use datafusion::error::Result;

use super::Catalog;
use super::tables::Resolved;
use crate::TableName;
use crate::engine::{CATALOG, DEFAULT_SCHEMA, EDITED};

/// The catalog of all names.
#[derive(Clone, Debug)]
pub(super) struct CatalogNames {
    catalog: Arc<Catalog>,
    resolved: Arc<Resolved>,
}

impl CatalogNames {
    pub(super) fn new(catalog: Arc<Catalog>, resolved: Arc<Resolved>) -> Self {
        Self { catalog, resolved }
    }
}

impl CatalogProvider for CatalogNames {
    fn schema_names(&self) -> Vec<String> {
        let named = self.catalog.names().map(|name| &name.schema);
        let names: BTreeSet<&String> = named.chain(&self.catalog.schemas).collect();
        names.into_iter().cloned().collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let known = name == DEFAULT_SCHEMA || self.catalog.has_schema(name);
        known.then(|| {
            let schema = SchemaNames { names: self.clone(), schema: name.to_owned() };
            Arc::new(schema) as Arc<dyn SchemaProvider>
        })
    }
}

#[derive(Debug)]
struct SchemaNames {
    names: CatalogNames,
    schema: String,
}

#[async_trait]
impl SchemaProvider for SchemaNames {
    fn table_names(&self) -> Vec<String> {
        let own = self.names.catalog.names().filter(|name| name.schema == self.schema);
        own.map(|name| name.name.clone()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(self.names.resolved.provider(&TableName::new(&self.schema, name)))
    }

    fn table_exist(&self, name: &str) -> bool {
        let name = TableName::new(&self.schema, name);
        self.names.catalog.contains(&name) || self.names.resolved.provider(&name).is_some()
    }
}

/// The list of catalogs: that of all names and, for an edit, one that holds the table it changes.
#[derive(Debug)]
pub(super) struct CatalogList {
    names: Arc<CatalogNames>,
    edited: Option<Arc<MemoryCatalogProvider>>,
}

impl CatalogList {
    pub(super) fn new(names: CatalogNames) -> Self {
        Self { names: Arc::new(names), edited: None }
    }

    /// Adds the table that an edit changes, with its name, in the catalog [`EDITED`].
    pub(super) fn with_edited(
        mut self,
        name: &TableName,
        table: Arc<dyn TableProvider>,
    ) -> Result<Self> {
        let schema = Arc::new(MemorySchemaProvider::new());
        schema.register_table(name.name.clone(), table)?;
        let catalog = Arc::new(MemoryCatalogProvider::new());
        catalog.register_schema(&name.schema, schema)?;
        self.edited = Some(catalog);
        Ok(self)
    }
}

impl CatalogProviderList for CatalogList {
    fn register_catalog(
        &self,
        _name: String,
        _catalog: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        match name {
            CATALOG => Some(Arc::clone(&self.names) as Arc<dyn CatalogProvider>),
            EDITED => self.edited.clone().map(|catalog| catalog as Arc<dyn CatalogProvider>),
            _ => None,
        }
    }
}
