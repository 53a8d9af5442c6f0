//! The `salesforce` destination: objects of a Salesforce org, upserted by an external id.
//!
//! Up to 2,000 rows go by composite requests of 200 rows; more go by jobs of the Bulk API 2.0. A
//! crash may leave a job that runs to its end in the org; its rows are upserted again with the same
//! external ids, which changes nothing.

mod bulk;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use flywheel_base::{Error, Result};
use reqwest::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use self::bulk::SalesforceSender;
use super::rest::{
    PathTemplate, Reading, RestSender, RowRequest, Template, Unchanged, check_write, open_writer,
};
use super::{
    Destination, DestinationConfig, DestinationContext, Estimate, Guarantee, Progress, WriteMode,
    WriteRequest, Writer,
};
use crate::http::{JsonPath, Pace, real_pace};
use crate::ledger::{WriteRules, handed_over};
use crate::source::salesforce::{Org, Salesforce, checked_name};
use crate::source::{PAGE_ROWS_DEFAULT, Source, settings};
use crate::upsert::{UpsertRequest, Upserts};

/// Rows in one composite request.
const COMPOSITE_ROWS: usize = 200;

/// Above so many rows a job of the Bulk API is used unless the target says otherwise.
const BULK_ABOVE: usize = 2_000;

/// Requests of a job at least: it is made, given its rows, closed, asked for its state, and for its results.
const JOB_REQUESTS: u64 = 6;

/// Codes of rows that the org takes a little later.
const BUSY: [&str; 3] = ["UNABLE_TO_LOCK_ROW", "SERVER_UNAVAILABLE", "QUERY_TIMEOUT"];

/// Which object rows are written into.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SalesforceTarget {
    /// The object's API name: `Contact`, `Invoice__c`.
    pub object: String,
    /// The external id field by which a record is found; the key column if not given. With `Id` rows
    /// are updated, not created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Above so many rows a job of the Bulk API is used, 2,000 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulk_above: Option<usize>,
    /// What happens to a row that the target has already, as far as was written from here.
    #[serde(default)]
    pub unchanged: Unchanged,
}

impl DestinationConfig for Salesforce {
    type Target = SalesforceTarget;

    const ABOUT: &'static str = "objects of a Salesforce org";
    const MODES: &'static [WriteMode] = &[WriteMode::Merge, WriteMode::Mirror];
    const GUARANTEE: Guarantee = Guarantee::IdempotentByKey;
    const UPSERTS: bool = true;

    fn build(self, ctx: &DestinationContext) -> Result<Box<dyn Destination>> {
        Ok(Box::new(self.writing(ctx, real_pace())?))
    }
}

impl Salesforce {
    /// The org with its time, for writing.
    pub(crate) fn writing(
        self,
        ctx: &DestinationContext,
        pace: Arc<dyn Pace>,
    ) -> Result<SalesforceDestination> {
        Ok(SalesforceDestination { org: self.open(pace)?, ctx: ctx.clone() })
    }
}

/// An org that rows are sent to.
pub(crate) struct SalesforceDestination {
    org: Org,
    ctx: DestinationContext,
}

#[async_trait]
impl Destination for SalesforceDestination {
    async fn check(&self) -> Result<()> {
        self.org.check().await
    }

    async fn progress(&self, request: &WriteRequest) -> Result<Progress> {
        handed_over(&self.ctx, request).await
    }

    async fn writer(&self, request: &WriteRequest) -> Result<Box<dyn Writer>> {
        let target: SalesforceTarget = settings("target", request.target.clone())?;
        check_write(request)?;
        if request.mode == WriteMode::Append {
            return Err(Error::invalid(
                "Salesforce has no way to tell a repeated row without a key",
            )
            .hint("Write with `merge` and the column of an external id as `key`."));
        }
        let [key] = request.key.as_slice() else {
            return Err(Error::invalid(
                "Salesforce finds a record by one field, and `key` has more",
            )
            .hint("Set `key` to the column of one external id."));
        };
        let external_id = target.external_id.as_ref().unwrap_or(key);
        if external_id != key {
            return Err(Error::invalid(format!(
                "the key column \"{key}\" is not the external id \"{external_id}\""
            ))
            .hint("Columns have the names of fields: rename the key column."));
        }
        for name in request.schema.fields().iter().map(|field| field.name()) {
            if request.deleted.as_ref() != Some(name) {
                checked_name("a field", name)?;
            }
        }
        let rules = WriteRules {
            mode: request.mode,
            key: request.key.clone(),
            deleted: request.deleted.clone(),
            json: Default::default(),
            send_unchanged: target.unchanged == Unchanged::Send,
        };
        let sender = self.sender(&target, key)?;
        open_writer(&self.ctx, request, sender, rules).await
    }

    fn requests(&self, request: &WriteRequest, rows: Estimate) -> Result<Option<u64>> {
        let target: SalesforceTarget = settings("target", request.target.clone())?;
        let above = target.bulk_above.unwrap_or(BULK_ABOVE) as u64;
        // Rows come by pages; each page that is large enough is a job.
        let page = PAGE_ROWS_DEFAULT as u64;
        let of_page = |rows: u64| match rows > above {
            true => JOB_REQUESTS,
            false => rows.div_ceil(COMPOSITE_ROWS as u64),
        };
        let put = (rows.put / page).saturating_mul(of_page(page)) + of_page(rows.put % page);
        // Records are removed one by one.
        Ok(Some(put.saturating_add(rows.removed)))
    }

    fn upserts(&self, request: &UpsertRequest) -> Result<Upserts> {
        let target: SalesforceTarget = settings("target", request.target.clone())?;
        request.check_once()?;
        request.check_untied()?;
        for name in &request.fields {
            checked_name("a field", name)?;
        }
        let external_id = target.external_id.as_ref().filter(|_| request.key.is_some());
        if external_id.is_some_and(|external_id| request.key.as_ref() != Some(external_id)) {
            return Err(Error::invalid("`key` is not the target's `external_id`")
                .hint("Leave `external_id` out: records are found by `key`."));
        }
        let mut sender = self.sender(&target, request.key.as_deref().unwrap_or("Id"))?.composite;
        if request.key.is_none() {
            // By record id and without one: each row makes a record.
            sender.put.method = Method::POST;
            sender.repeatable = false;
        }
        Ok(Upserts::new(sender))
    }
}

impl SalesforceDestination {
    fn sender(&self, target: &SalesforceTarget, key: &str) -> Result<SalesforceSender> {
        let (object, data) = (checked_name("an object", &target.object)?, &self.org.data);
        let by_id = key == "Id";
        let path = match by_id {
            true => format!("{data}/composite/sobjects"),
            false => format!("{data}/composite/sobjects/{object}/{key}"),
        };
        let mut more = Map::new();
        more.insert("attributes".to_owned(), json!({ "type": object }));
        let put = RowRequest {
            method: Method::PATCH,
            path: PathTemplate::parse(&path)?,
            rows_max: COMPOSITE_ROWS,
            rows: JsonPath::parse("records")?,
            row: Template::RowWith { more, blank: None, without: None },
            body: Some(json!({ "allOrNone": false })),
            bare: false,
        };
        let one =
            if by_id { format!("{object}/{{{key}}}") } else { format!("{object}/{key}/{{{key}}}") };
        let delete = RowRequest {
            method: Method::DELETE,
            path: PathTemplate::parse(&format!("{data}/sobjects/{one}"))?,
            rows_max: 1,
            rows: JsonPath::default(),
            row: Template::Fixed(Value::Null),
            body: None,
            bare: true,
        };
        let path = |text: &str| JsonPath::parse(text).map(Some);
        let composite = RestSender {
            client: Arc::clone(&self.org.client),
            put,
            delete: Some(delete),
            reading: Reading {
                list: path("")?,
                success: path("success")?,
                message: path("errors.0.message")?,
                code: path("errors.0.statusCode")?,
                column: path("errors.0.fields.0")?,
                busy: BUSY.map(str::to_owned).into(),
                ..Reading::default()
            },
            idempotency_header: None,
            repeatable: true,
        };
        Ok(SalesforceSender {
            org: self.org.clone(),
            composite,
            object: object.to_owned(),
            external_id: key.to_owned(),
            bulk_above: target.bulk_above.unwrap_or(BULK_ABOVE),
        })
    }
}
