//! The leaf of a plan that stands for a table seen in part.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown,
};
use datafusion::physical_plan::ExecutionPlan;

use super::exec::{SeenExec, hushed};
use super::leakproof::leakproof;
use crate::TableName;

/// A table with what a reader may see of it.
pub(super) struct SeenTable {
    name: TableName,
    plan: LogicalPlan,
    schema: SchemaRef,
    columns: DFSchema,
    masked: BTreeSet<String>,
    kind: TableType,
}

impl fmt::Debug for SeenTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeenTable").field("name", &self.name).finish_non_exhaustive()
    }
}

impl SeenTable {
    pub(super) fn new(
        name: TableName,
        plan: LogicalPlan,
        masked: BTreeSet<String>,
        kind: TableType,
    ) -> Self {
        let schema: SchemaRef = Arc::new(Schema::clone(plan.schema().as_arrow()));
        let columns = DFSchema::clone(plan.schema());
        Self { name, plan, schema, columns, masked, kind }
    }

    /// A filter over the columns of the plan below, whatever the query calls the table.
    fn plain(filter: Expr) -> Result<Expr> {
        let plain = filter.transform(|expr| {
            Ok(match expr {
                Expr::Column(column) if column.relation.is_some() => {
                    Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))
                }
                other => Transformed::no(other),
            })
        })?;
        Ok(plain.data)
    }

    fn harmless(&self, filter: &Expr) -> bool {
        let masked = |column: &str| self.masked.contains(column);
        Self::plain(filter.clone()).is_ok_and(|plain| leakproof(&plain, &self.columns, &masked))
    }

    async fn below(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut plan = LogicalPlanBuilder::from(self.plan.clone());
        let filters = filters.iter().cloned().map(Self::plain).collect::<Result<Vec<_>>>()?;
        if let Some(filter) = conjunction(filters) {
            plan = plan.filter(filter)?;
        }
        if let Some(limit) = limit {
            plan = plan.limit(0, Some(limit))?;
        }
        if let Some(projection) = projection {
            let chosen = self.schema.project(projection)?;
            let column = |name: &String| Expr::Column(Column::new_unqualified(name.clone()));
            plan = plan.project(chosen.fields().iter().map(|field| column(field.name())))?;
        }
        state.create_physical_plan(&plan.build()?).await
    }
}

#[async_trait]
impl TableProvider for SeenTable {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        self.kind
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match self.harmless(filter) {
            true => TableProviderFilterPushDown::Exact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => SchemaRef::clone(&self.schema),
        };
        let below = self.below(state, projection, filters, limit).await;
        let below = below.map_err(|error| hushed(error, &self.name))?;
        Ok(Arc::new(SeenExec::new(self.name.clone(), schema, below)))
    }
}
