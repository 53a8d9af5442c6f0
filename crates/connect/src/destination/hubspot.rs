//! The `hubspot` destination: CRM objects of a HubSpot account, by batches of up to 100.
//!
//! Every row carries its place as `objectWriteTraceId`, by which the answer names rows that were
//! not taken. A row is found by a property with unique values, such as `email`, or by its record id.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use flywheel_base::{Error, Result};
use reqwest::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use super::rest::{
    PathTemplate, Reading, RestSender, RowRequest, Template, Unchanged, check_write, one_place,
    open_writer,
};
use super::{
    Destination, DestinationConfig, DestinationContext, Estimate, Guarantee, Progress, WriteMode,
    WriteRequest, Writer,
};
use crate::http::{Client, JsonPath, Pace, real_pace};
use crate::ledger::{WriteRules, handed_over};
use crate::source::hubspot::{HubSpot, HubSpotAccount, VERSION, object_path};
use crate::source::{Source, settings};
use crate::upsert::{UpsertRequest, Upserts};

/// Rows in one request.
const BATCH: usize = 100;

/// The property that holds the record id.
const RECORD_ID: &str = "hs_object_id";

/// Which object rows are written into.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HubSpotTarget {
    /// The object: `contacts`, `companies`, `deals`, `tickets`, or a custom object's id.
    pub object: String,
    /// The property by which a record is found, with unique values: `email`; the key column if not
    /// given. With `hs_object_id` rows can be removed, too, but not created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_property: Option<String>,
    /// What happens to a row that the target has already, as far as was written from here.
    #[serde(default)]
    pub unchanged: Unchanged,
}

impl DestinationConfig for HubSpot {
    type Target = HubSpotTarget;

    const ABOUT: &'static str = "CRM objects of a HubSpot account";
    const MODES: &'static [WriteMode] = &[WriteMode::Merge, WriteMode::Mirror];
    const GUARANTEE: Guarantee = Guarantee::IdempotentByKey;
    const UPSERTS: bool = true;

    fn build(self, ctx: &DestinationContext) -> Result<Box<dyn Destination>> {
        Ok(Box::new(self.writing(ctx, &real_pace())?))
    }
}

impl HubSpot {
    /// The account with its time, for writing.
    pub(crate) fn writing(
        self,
        ctx: &DestinationContext,
        pace: &Arc<dyn Pace>,
    ) -> Result<HubSpotDestination> {
        Ok(HubSpotDestination {
            account: self.clone().open(pace)?,
            client: Arc::new(self.client(pace, None)?),
            ctx: ctx.clone(),
        })
    }
}

/// An account that rows are sent to.
pub(crate) struct HubSpotDestination {
    account: HubSpotAccount,
    client: Arc<Client>,
    ctx: DestinationContext,
}

#[async_trait]
impl Destination for HubSpotDestination {
    async fn check(&self) -> Result<()> {
        self.account.check().await
    }

    async fn progress(&self, request: &WriteRequest) -> Result<Progress> {
        handed_over(&self.ctx, request).await
    }

    async fn writer(&self, request: &WriteRequest) -> Result<Box<dyn Writer>> {
        let target: HubSpotTarget = settings("target", request.target.clone())?;
        check_write(request)?;
        if request.mode == WriteMode::Append {
            return Err(Error::invalid("HubSpot has no way to tell a repeated row without a key")
                .hint("Write with `merge` and the column of a unique property as `key`."));
        }
        let [key] = request.key.as_slice() else {
            return Err(Error::invalid(
                "HubSpot finds a record by one property, and `key` has more",
            )
            .hint("Set `key` to the column of one property with unique values."));
        };
        let rules = WriteRules {
            mode: request.mode,
            key: request.key.clone(),
            deleted: request.deleted.clone(),
            json: Default::default(),
            send_unchanged: target.unchanged == Unchanged::Send,
        };
        let sender = self.sender(&target, key, request)?;
        open_writer(&self.ctx, request, sender, rules).await
    }

    fn requests(&self, _: &WriteRequest, rows: Estimate) -> Result<Option<u64>> {
        Ok(Some(rows.requests(BATCH, BATCH)))
    }

    fn upserts(&self, request: &UpsertRequest) -> Result<Upserts> {
        let target: HubSpotTarget = settings("target", request.target.clone())?;
        request.check_once()?;
        let mut upserts = Upserts::new(match &request.key {
            Some(key) => self.sender(&target, key, &request.as_write())?,
            None => self.creating(&target)?,
        });
        for object in &request.ties {
            upserts = upserts.tied(object, self.tying(&target.object, object)?);
        }
        Ok(upserts)
    }
}

impl HubSpotDestination {
    fn sender(
        &self,
        target: &HubSpotTarget,
        key: &str,
        request: &WriteRequest,
    ) -> Result<RestSender> {
        let object = object_path(&target.object)?;
        let id_property = target.id_property.as_deref().unwrap_or(key);
        let by_id = id_property == RECORD_ID;
        if request.mode == WriteMode::Mirror && request.deleted.is_some() && !by_id {
            return Err(Error::invalid("HubSpot removes records by their record id only")
                .hint("Set `id_property: hs_object_id` with the column of record ids as `key`, or write with `merge`."));
        }
        // An empty text is how a property loses its value; null is left alone.
        // The record id names the record and cannot be written.
        let without = by_id.then(|| key.to_owned());
        let properties = Template::RowWith { more: Map::new(), blank: Some(json!("")), without };
        let fixed = |text: &str| Template::Fixed(json!(text));
        let mut row = vec![
            ("id".to_owned(), Template::Text(one_place(key))),
            ("objectWriteTraceId".to_owned(), Template::Index),
            ("properties".to_owned(), properties),
        ];
        let action = if by_id { "update" } else { "upsert" };
        if !by_id {
            row.push(("idProperty".to_owned(), fixed(id_property)));
        }
        let id = vec![("id".to_owned(), Template::Text(one_place(key)))];
        Ok(RestSender {
            client: Arc::clone(&self.client),
            put: batch(&object, action, row)?,
            delete: if by_id { Some(batch(&object, "archive", id)?) } else { None },
            reading: reading()?,
            idempotency_header: None,
            repeatable: true,
        })
    }

    /// Makes a record of each row.
    fn creating(&self, target: &HubSpotTarget) -> Result<RestSender> {
        let properties =
            Template::RowWith { more: Map::new(), blank: Some(json!("")), without: None };
        let row = vec![
            ("objectWriteTraceId".to_owned(), Template::Index),
            ("properties".to_owned(), properties),
        ];
        Ok(RestSender {
            client: Arc::clone(&self.client),
            put: batch(&object_path(&target.object)?, "create", row)?,
            delete: None,
            reading: reading()?,
            idempotency_header: None,
            repeatable: false,
        })
    }
}

impl HubSpotDestination {
    /// Ties records of an object, `from`, to records of another one, `to`, by their ids. A tie that is there stays.
    fn tying(&self, from: &str, to: &str) -> Result<RestSender> {
        for object in [from, to] {
            object_path(object)?;
        }
        let id = |column: &str| {
            let id = ("id".to_owned(), Template::Text(one_place(column)));
            (column.to_owned(), Template::Object(vec![id]))
        };
        let path = format!("/crm/associations/{VERSION}/{from}/{to}");
        Ok(RestSender {
            client: Arc::clone(&self.client),
            put: batch(&path, "associate/default", vec![id("from"), id("to")])?,
            delete: None,
            // What is wrong with a tie names none: it is found by halving.
            reading: Reading { taken: None, taken_index: None, taken_id: None, ..reading()? },
            idempotency_header: None,
            repeatable: true,
        })
    }
}

/// A request that does something to several records of an object.
fn batch(object: &str, action: &str, row: Vec<(String, Template)>) -> Result<RowRequest> {
    Ok(RowRequest {
        method: Method::POST,
        path: PathTemplate::parse(&format!("{object}/batch/{action}"))?,
        rows_max: BATCH,
        rows: JsonPath::parse("inputs")?,
        row: Template::Object(row),
        body: None,
        bare: false,
    })
}

/// How an answer names the records that were taken, and those that were not.
fn reading() -> Result<Reading> {
    let path = |text: &str| JsonPath::parse(text).map(Some);
    Ok(Reading {
        list: path("errors")?,
        index: path("context.objectWriteTraceId")?,
        message: path("message")?,
        code: path("category")?,
        column: path("context.propertyName.0")?,
        busy: ["RATE_LIMITS", "CONFLICT"].map(str::to_owned).into(),
        taken: path("results")?,
        taken_index: path("objectWriteTraceId")?,
        taken_id: path("id")?,
        ..Reading::default()
    })
}
