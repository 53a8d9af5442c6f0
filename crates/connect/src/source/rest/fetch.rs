//! One request of a stream, and the records of its answer.

use async_trait::async_trait;
use flywheel_base::{Error, Result, Timestamp};
use reqwest::Method;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::paging::{Marks, Place, Seen};
use super::{CursorFormat, ReadMethod, RestStream};
use crate::http::{Answer, Call, Client, JsonPath};
use crate::records::{Cursor, Fetch, Fetched};
use crate::source::jsonl::object;

/// What stands for the cursor value in a parameter.
const CURSOR: &str = "{cursor}";

/// A stream that can be asked for.
pub(super) struct RestFetch<'a> {
    client: &'a Client,
    stream: RestStream,
    records: JsonPath,
    error: Option<JsonPath>,
}

impl<'a> RestFetch<'a> {
    /// Proves that a stream's settings make sense.
    pub(super) fn check(stream: &RestStream) -> Result<()> {
        if stream.path.contains("://") {
            return Err(Error::invalid(format!("the path \"{}\" is a URL", stream.path))
                .hint("Write what comes after `base_url`; another server is another connection."));
        }
        if stream.body.is_some() && stream.method == ReadMethod::Get {
            return Err(Error::invalid(format!(
                "{} has a `body`, but reads with GET",
                stream.path
            ))
            .hint("Set `method: POST`, or leave out `body`."));
        }
        JsonPath::parse_option(stream.records.as_ref())?;
        JsonPath::parse_option(stream.error.as_ref())?;
        if let Some(incremental) = &stream.incremental {
            JsonPath::parse_option(incremental.body_path.as_ref())?;
            for (name, value) in &incremental.params {
                if !value.contains(CURSOR) {
                    return Err(Error::invalid(format!(
                        "the incremental parameter \"{name}\" has no {CURSOR} in it"
                    ))
                    .hint(format!(
                        "Write {name}: \"{CURSOR}\"; what never changes belongs into `params`."
                    )));
                }
            }
        }
        stream.paging.check()
    }

    /// Prepares a stream; sends nothing.
    pub(super) fn new(client: &'a Client, stream: RestStream) -> Result<Self> {
        Self::check(&stream)?;
        let records = JsonPath::parse(stream.records.as_deref().unwrap_or_default())?;
        let error = JsonPath::parse_option(stream.error.as_ref())?;
        Ok(Self { client, stream, records, error })
    }

    fn call(&self, since: Option<&Cursor>, marks: &Marks) -> Result<Call> {
        let stream = &self.stream;
        if let Some(url) = &marks.url {
            return Ok(Call::get(url));
        }
        let mut params: Vec<(String, String)> =
            stream.params.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
        let mut body = stream.body.clone().unwrap_or_else(|| Value::Object(Map::new()));
        if let Some(incremental) = &stream.incremental {
            let start = incremental.start.as_ref().map(|start| Cursor(start.clone()));
            if let Some(value) = since.or(start.as_ref()) {
                let value = written(value, incremental.format)?;
                for (name, template) in &incremental.params {
                    params.push((name.clone(), template.replace(CURSOR, &value)));
                }
                if let Some(path) = &incremental.body_path {
                    put(&mut body, &JsonPath::parse(path)?, json!(value))?;
                }
            }
        }
        for (name, value) in &marks.params {
            match marks.place {
                Place::Url => params.push((name.clone(), plain(value))),
                Place::Body => put(&mut body, &JsonPath::parse(name)?, value.clone())?,
            }
        }
        let call = match stream.method {
            ReadMethod::Get => Call::get(&stream.path),
            ReadMethod::Post => Call::json(Method::POST, &stream.path, body.to_string()),
        };
        Ok(params.into_iter().fold(call, |call, (name, value)| call.param(name, value)))
    }

    /// The records of an answer.
    fn records(&self, answer: &Answer, text: &str) -> Result<Vec<String>> {
        let path = &self.stream.path;
        let broken =
            |error| Error::corrupt(format!("the answer of {path} is not JSON")).caused_by(error);
        if let Some(at) = &self.error {
            let found = at.find(text).map_err(broken)?;
            if found.is_some_and(|found| !matches!(found, "null" | "false" | "[]" | "{}" | "\"\""))
            {
                let said = answer.clean(found.unwrap_or_default().to_owned());
                return Err(Error::invalid(format!(
                    "the answer of {path} says that it is an error: {said}"
                ))
                .hint("Check the path, the parameters and the body against the API's reference."));
            }
        }
        let Some(found) = self.records.find(text).map_err(broken)? else {
            return Err(self.no_list(text, "has nothing at"));
        };
        match found.as_bytes().first() {
            Some(b'n') => Ok(Vec::new()),
            Some(b'[') if !self.stream.single => {
                let items: Vec<&RawValue> = serde_json::from_str(found).map_err(broken)?;
                Ok(items.into_iter().map(|item| item.get().to_owned()).collect())
            }
            Some(b'{') if self.stream.single => Ok(vec![found.to_owned()]),
            Some(b'{') => Err(self.no_list(found, "has an object, not a list, at")),
            _ => Err(self.no_list(text, "has no list at")),
        }
    }

    fn no_list(&self, text: &str, what: &str) -> Error {
        let path = &self.stream.path;
        let at = self.stream.records.as_deref().unwrap_or_default();
        let at = if at.is_empty() { "its top" } else { at };
        let lists: Vec<String> = object::members(text)
            .unwrap_or_default()
            .into_iter()
            .filter(|(_, value)| value.get().starts_with('['))
            .map(|(name, _)| format!("\"{name}\""))
            .collect();
        let hint = if lists.is_empty() {
            "Set `records` to the path of the list of records, or `single: true` if the answer is one record.".to_owned()
        } else {
            format!(
                "Set `records` to the path of the list of records; lists are at {}.",
                lists.join(", ")
            )
        };
        Error::invalid(format!("the answer of {path} {what} {at}")).hint(hint)
    }
}

#[async_trait]
impl Fetch for RestFetch<'_> {
    async fn fetch(&self, since: Option<&Cursor>, at: Option<&Value>) -> Result<Fetched> {
        let marks = self.stream.paging.marks(at);
        let answer = self.client.send(&self.call(since, &marks)?).await?;
        // "No content" is how some servers say that there are no records.
        if answer.status.as_u16() == 204 {
            return Ok(Fetched::default());
        }
        let text = answer.json()?;
        let records = self.records(&answer, text)?;
        let seen = Seen { text, headers: &answer.headers, records: records.len() };
        let mut next = self.stream.paging.next(at, &seen)?;
        if let Some(url) = next.as_ref().and_then(|next| next.get("url")?.as_str()) {
            let from = marks.url.as_deref().unwrap_or(&self.stream.path);
            next = Some(json!({ "url": self.client.named(from, url)? }));
        }
        Ok(Fetched { records, next, notice: None })
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A cursor value as the API wants it.
fn written(value: &Cursor, format: CursorFormat) -> Result<String> {
    let us = || {
        value.micros().ok_or_else(|| {
            Error::invalid("the cursor's last value is no moment, so it cannot be written as one")
                .hint("Leave out `incremental.format`.")
        })
    };
    Ok(match format {
        CursorFormat::AsRead => value.0.clone(),
        CursorFormat::Iso => Timestamp::from_micros(us()?).to_string(),
        CursorFormat::Date => Timestamp::from_micros(us()?).date(),
        CursorFormat::Seconds => us()?.div_euclid(1_000_000).to_string(),
        CursorFormat::Milliseconds => us()?.div_euclid(1_000).to_string(),
    })
}

/// Puts a value into a body; objects on the way are made.
fn put(body: &mut Value, path: &JsonPath, value: Value) -> Result<()> {
    let mut here = body;
    for step in path.steps() {
        if here.is_null() {
            *here = Value::Object(Map::new());
        }
        here = match here {
            Value::Object(members) => members.entry(step.clone()).or_insert(Value::Null),
            Value::Array(items) => {
                let item = step.parse::<usize>().ok().and_then(|at| items.get_mut(at));
                item.ok_or_else(|| not_a_place(path))?
            }
            _ => return Err(not_a_place(path)),
        };
    }
    *here = value;
    Ok(())
}

fn not_a_place(path: &JsonPath) -> Error {
    Error::invalid(format!("the body has no place at \"{}\"", path.steps().join(".")))
        .hint("Write the path of a member of an object, or the index of an item that is there.")
}
