//! The `rest` destination: rows sent to any web API as the target declares it.
//!
//! Rows leave when they are handed over, one or many in a request; a web API has no commit, so what
//! was sent since the last checkpoint is visible already. A request that is refused because of one
//! row is halved until that row is alone, and one that is too large is halved. What was sent and
//! what became of it is kept in a ledger in the project folder, `.flywheel/ledger`.

mod send;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use flywheel_base::{Error, Result};
use reqwest::Method;
use reqwest::header::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) use self::send::{
    Attempt, NOT_CONFIRMED, Reading, RestSender, RowRequest, kebab, without_values,
};
pub(crate) use self::template::{PathTemplate, Template, check_columns, one_place};
use super::{
    Destination, DestinationConfig, DestinationContext, Estimate, Guarantee, Progress, WriteMode,
    WriteRequest, Writer,
};
use crate::http::{Client, JsonPath, Pace, real_pace};
use crate::ledger::{LedgerWriter, WriteRules, check_types, handed_over, open_ledger};
use crate::source::rest::Rest;
use crate::source::{Source, settings};
use crate::upsert::{UpsertRequest, Upserts};

/// Rows in one request at most.
const BATCH_MAX: usize = 10_000;

/// How rows are sent.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestTarget {
    /// The path below `base_url`, with values of the row where it needs them: `/contacts/{id}`.
    pub path: String,
    /// The method, `POST` if not given.
    #[serde(default)]
    pub method: RowMethod,
    /// How many rows one request carries, 1 if not given. A path with values takes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    /// Where the rows are in the body, `inputs`. Without it the body is the row itself, or a list of
    /// rows if `batch` is more than 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<String>,
    /// What one row becomes: any JSON with `{column}`, `{$row}` for all columns, `{$index}` for its
    /// place in the request; an object of its columns if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<Value>,
    /// What else is in the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// The request that removes a row, for `mirror`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete: Option<DeleteRequest>,
    /// The column by which the API names a row; the first key column if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Text columns that hold JSON and are sent as what they mean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub json: Vec<String>,
    /// The header by which the API tells a repeated request, `Idempotency-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_header: Option<String>,
    /// Whether the same request sent twice does no harm although it has no such header; needed for
    /// `append` without one.
    #[serde(default)]
    pub repeatable: bool,
    /// What happens to a row that the target has already, as far as was written from here.
    #[serde(default)]
    pub unchanged: Unchanged,
    /// How an answer tells which rows it did not take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<RowErrors>,
}

/// The request that removes rows.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteRequest {
    /// The path, `/contacts/{id}`.
    pub path: String,
    /// The method, `DELETE` if not given.
    #[serde(default = "delete_method")]
    pub method: RowMethod,
    /// How many rows one request carries, 1 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    /// Where the rows are in the body; without it a `DELETE` has no body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<String>,
    /// What one row becomes, `{id: "{id}"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<Value>,
}

fn delete_method() -> RowMethod {
    RowMethod::Delete
}

/// How an answer tells which rows it did not take. An entry of the list names its row by `index` or
/// by `id`; without both there is one entry for each row, in order.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RowErrors {
    /// Where the list is in an answer, `errors`; the answer itself if empty.
    #[serde(default)]
    pub list: String,
    /// Where an entry has its row's place in the request, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// Where an entry has its row's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Where an entry says `true` if it is no error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<String>,
    /// Where an entry has its message, `message` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Where an entry has its code, `code` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Where an entry names the field that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The codes of rows that are sent again a little later, `UNABLE_TO_LOCK_ROW`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub busy: Vec<String>,
}

/// The method of a request that writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum RowMethod {
    /// POST.
    #[default]
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

impl RowMethod {
    fn method(self) -> Method {
        match self {
            Self::Post => Method::POST,
            Self::Put => Method::PUT,
            Self::Patch => Method::PATCH,
            Self::Delete => Method::DELETE,
        }
    }
}

/// What happens to a row that the target has already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unchanged {
    /// It is not sent.
    #[default]
    Skip,
    /// It is sent all the same, which undoes what others changed.
    Send,
}

impl DestinationConfig for Rest {
    type Target = RestTarget;

    const ABOUT: &'static str = "records of a web API that takes JSON";
    const MODES: &'static [WriteMode] = &[WriteMode::Append, WriteMode::Merge, WriteMode::Mirror];
    const GUARANTEE: Guarantee = Guarantee::IdempotentByKey;
    const UPSERTS: bool = true;

    fn build(self, ctx: &DestinationContext) -> Result<Box<dyn Destination>> {
        Ok(Box::new(self.writing(ctx, real_pace())?))
    }
}

impl Rest {
    /// The API with its time, for writing.
    pub(crate) fn writing(
        self,
        ctx: &DestinationContext,
        pace: Arc<dyn Pace>,
    ) -> Result<RestDestination> {
        let check = self.clone().open(Arc::clone(&pace))?;
        Ok(RestDestination {
            client: Arc::new(self.client(pace)?),
            check: Box::new(check),
            ctx: ctx.clone(),
        })
    }
}

/// An API that rows are sent to.
pub(crate) struct RestDestination {
    client: Arc<Client>,
    check: Box<dyn Source>,
    ctx: DestinationContext,
}

#[async_trait]
impl Destination for RestDestination {
    async fn check(&self) -> Result<()> {
        self.check.check().await
    }

    async fn progress(&self, request: &WriteRequest) -> Result<Progress> {
        handed_over(&self.ctx, request).await
    }

    async fn writer(&self, request: &WriteRequest) -> Result<Box<dyn Writer>> {
        let target: RestTarget = settings("target", request.target.clone())?;
        check_write(request)?;
        let rules = WriteRules {
            mode: request.mode,
            key: request.key.clone(),
            deleted: request.deleted.clone(),
            json: target.json.iter().cloned().collect(),
            send_unchanged: target.unchanged == Unchanged::Send,
        };
        let sender = self.sender(&target, request)?;
        open_writer(&self.ctx, request, sender, rules).await
    }

    fn requests(&self, request: &WriteRequest, rows: Estimate) -> Result<Option<u64>> {
        let target: RestTarget = settings("target", request.target.clone())?;
        let removed = target.delete.as_ref().and_then(|delete| delete.batch);
        Ok(Some(rows.requests(target.batch.unwrap_or(1), removed.unwrap_or(1))))
    }

    fn upserts(&self, request: &UpsertRequest) -> Result<Upserts> {
        let mut target: RestTarget = settings("target", request.target.clone())?;
        request.check_untied()?;
        let harmless = target.repeatable;
        target.repeatable |= request.once;
        let mut sender = self.sender(&target, &request.as_write())?;
        sender.repeatable =
            harmless || request.key.is_some() || target.idempotency_header.is_some();
        if request.key.is_none() && target.idempotency_header.is_some() {
            // What is sent again is known by the header alone, so it must be the same request.
            sender.put.rows_max = 1;
        }
        Ok(Upserts::new(sender))
    }
}

impl RestDestination {
    fn sender(&self, target: &RestTarget, request: &WriteRequest) -> Result<RestSender> {
        let appends = request.mode == WriteMode::Append;
        if appends && target.idempotency_header.is_none() && !target.repeatable {
            return Err(Error::invalid(format!("rows appended to {} could be there twice after a crash", target.path))
                .hint("Set `idempotency_header` if the API knows one, write with `merge`, or set `repeatable: true` if a second copy does no harm."));
        }
        if let Some(header) = &target.idempotency_header
            && HeaderName::from_bytes(header.as_bytes()).is_err()
        {
            return Err(Error::invalid(format!(
                "`idempotency_header` \"{header}\" is no name of a header"
            ))
            .hint("Use letters, digits and -."));
        }
        if request.mode == WriteMode::Mirror && request.deleted.is_some() && target.delete.is_none()
        {
            return Err(Error::invalid(format!("{} says nothing of deleting", target.path))
                .hint("Set the target's `delete`, or write with `merge`."));
        }
        let put = row_request(RowShape {
            path: &target.path,
            method: target.method,
            batch: target.batch,
            rows: target.rows.as_ref(),
            row: target.row.as_ref(),
            body: target.body.as_ref(),
        })?;
        let delete = target.delete.as_ref().map(|delete| {
            row_request(RowShape {
                path: &delete.path,
                method: delete.method,
                batch: delete.batch,
                rows: delete.rows.as_ref(),
                row: delete.row.as_ref(),
                body: None,
            })
        });
        let delete = delete.transpose()?;
        let id_column = target.id.clone().or_else(|| request.key.first().cloned());
        let mut named: BTreeSet<String> = target.json.iter().chain(&target.id).cloned().collect();
        for request in [Some(&put), delete.as_ref()].into_iter().flatten() {
            named.extend(request.path.columns());
            request.row.columns(&mut named);
        }
        check_columns(named, &request.schema)?;
        Ok(RestSender {
            client: Arc::clone(&self.client),
            put,
            delete,
            reading: reading(target.errors.as_ref(), id_column.unwrap_or_default())?,
            idempotency_header: target.idempotency_header.clone(),
            // With a key a repeated request has the same effect; with a header the API tells it.
            repeatable: target.repeatable || target.idempotency_header.is_some() || !appends,
        })
    }
}

/// The settings of a request that carries rows.
#[derive(Clone, Copy)]
struct RowShape<'a> {
    path: &'a str,
    method: RowMethod,
    batch: Option<usize>,
    rows: Option<&'a String>,
    row: Option<&'a Value>,
    body: Option<&'a Value>,
}

fn row_request(shape: RowShape<'_>) -> Result<RowRequest> {
    let path = PathTemplate::parse(shape.path)?;
    let own_path = !path.columns().is_empty();
    let rows_max = shape.batch.unwrap_or(1);
    if rows_max == 0 || rows_max > BATCH_MAX || (own_path && rows_max > 1) {
        return Err(Error::invalid(format!(
            "`batch: {rows_max}` does not fit the path {}",
            shape.path
        ))
        .hint(format!("Use 1 where the path holds a row's values, otherwise 1 to {BATCH_MAX}.")));
    }
    let rows = JsonPath::parse(shape.rows.map_or("", String::as_str))?;
    if shape.body.is_some() && rows.steps().is_empty() {
        return Err(Error::invalid(format!(
            "{} has a `body`, but no place in it for the rows",
            shape.path
        ))
        .hint("Set `rows` to where they go, for example `records`."));
    }
    let bare = shape.method == RowMethod::Delete && shape.row.is_none() && shape.rows.is_none();
    let row = shape.row.cloned().unwrap_or_else(|| json!("{$row}"));
    Ok(RowRequest {
        method: shape.method.method(),
        path,
        rows_max,
        rows,
        row: Template::parse(&row)?,
        body: shape.body.cloned(),
        bare,
    })
}

fn reading(errors: Option<&RowErrors>, id_column: String) -> Result<Reading> {
    let Some(errors) = errors else { return Ok(Reading::default()) };
    let path = |text: &Option<String>, default: &str| {
        JsonPath::parse(text.as_deref().unwrap_or(default)).map(Some)
    };
    Ok(Reading {
        list: Some(JsonPath::parse(&errors.list)?),
        index: JsonPath::parse_option(errors.index.as_ref())?,
        id: JsonPath::parse_option(errors.id.as_ref())?,
        id_column,
        success: JsonPath::parse_option(errors.success.as_ref())?,
        message: path(&errors.message, "message")?,
        code: path(&errors.code, "code")?,
        column: JsonPath::parse_option(errors.column.as_ref())?,
        busy: errors.busy.iter().cloned().collect(),
        taken: None,
        taken_index: None,
        taken_id: None,
    })
}

/// Proves that a write can be done by requests.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] that says what is missing.
pub(crate) fn check_write(request: &WriteRequest) -> Result<()> {
    if request.mode == WriteMode::Replace {
        return Err(Error::invalid("a web API cannot be replaced at once")
            .hint("Write with `merge`, or with `mirror` to remove rows, too."));
    }
    if request.mode != WriteMode::Append && request.key.is_empty() {
        return Err(Error::invalid(format!("the write mode {} needs a key", request.mode))
            .hint("Set `key` to the columns that identify a row."));
    }
    check_columns(request.key.iter().cloned().chain(request.deleted.clone()), &request.schema)?;
    check_types(&request.schema)
}

/// Opens the ledger of an application and a writer over it.
pub(crate) async fn open_writer(
    ctx: &DestinationContext,
    request: &WriteRequest,
    sender: impl crate::ledger::Sender + 'static,
    rules: WriteRules,
) -> Result<Box<dyn Writer>> {
    let ledger = open_ledger(ctx, request).await?;
    Ok(Box::new(LedgerWriter::new(sender, rules, ledger)))
}
