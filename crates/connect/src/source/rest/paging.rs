//! How the next answer of an API is found.

use flywheel_base::{Error, Result};
use reqwest::header::{HeaderMap, LINK};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::JsonPath;

/// How the next answer is found. Numbered styles end with the first answer that has no records, or
/// as `has_more` or `total` says, never because an answer has fewer records than were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Paging {
    /// There is one answer.
    #[default]
    None,
    /// Answers are numbered.
    Page {
        /// The parameter with the number, `page`.
        param: String,
        /// The first number, 1 if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        start: Option<u64>,
        /// The parameter with the number of records asked for, `per_page`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size_param: Option<String>,
        /// How many records are asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
        /// Where an answer says whether there are more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        has_more: Option<String>,
        /// Where an answer says how many pages there are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<String>,
        /// Where the parameters go, the URL if not given.
        #[serde(default)]
        place: Place,
    },
    /// Records are counted.
    Offset {
        /// The parameter with the number of records to leave out, `offset`.
        param: String,
        /// The parameter with the number of records asked for, `limit`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size_param: Option<String>,
        /// How many records are asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
        /// Where an answer says whether there are more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        has_more: Option<String>,
        /// Where an answer says how many records there are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<String>,
        /// Where the parameters go, the URL if not given.
        #[serde(default)]
        place: Place,
    },
    /// An answer holds a mark that the next request sends back.
    Cursor {
        /// Where the mark is in an answer, `paging.next.after`; without one there the read ends.
        next: String,
        /// The parameter it is sent back in, `after`; in a body it may be a path.
        param: String,
        /// The parameter with the number of records asked for, `limit`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size_param: Option<String>,
        /// How many records are asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
        /// Where an answer says whether there are more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        has_more: Option<String>,
        /// Where the parameters go, the URL if not given.
        #[serde(default)]
        place: Place,
    },
    /// The header `Link` names the next answer with `rel="next"`.
    LinkHeader {},
    /// An answer holds the URL of the next one.
    NextUrl {
        /// Where it is, `links.next`.
        next: String,
    },
}

/// Where the parameters of paging go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Into the URL.
    #[default]
    Url,
    /// Into the JSON body; the parameter is a path.
    Body,
}

/// What a request needs to find its answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Marks {
    /// Parameters and where they go.
    pub(super) params: Vec<(String, Value)>,
    pub(super) place: Place,
    /// A URL to ask instead of the path.
    pub(super) url: Option<String>,
}

/// An answer as paging looks at it.
pub(super) struct Seen<'a> {
    pub(super) text: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) records: usize,
}

impl Paging {
    /// Proves that its paths are paths.
    pub(super) fn check(&self) -> Result<()> {
        let paths = match self {
            Self::None | Self::LinkHeader {} => [None, None],
            Self::Page { has_more, total, .. } | Self::Offset { has_more, total, .. } => {
                [has_more.as_ref(), total.as_ref()]
            }
            Self::Cursor { next, has_more, .. } => [Some(next), has_more.as_ref()],
            Self::NextUrl { next } => [Some(next), None],
        };
        for path in paths.into_iter().flatten() {
            JsonPath::parse(path)?;
        }
        Ok(())
    }

    /// What the request for the answer at `at` needs.
    pub(super) fn marks(&self, at: Option<&Value>) -> Marks {
        let mut marks = Marks::default();
        let number = |key: &str| at.and_then(|at| at.get(key)?.as_u64());
        match self {
            Self::None => {}
            Self::Page { param, start, size_param, size, place, .. } => {
                let page = number("page").or(*start).unwrap_or(1);
                marks.params.push((param.clone(), json!(page)));
                marks.sized(size_param.as_ref(), *size);
                marks.place = *place;
            }
            Self::Offset { param, size_param, size, place, .. } => {
                marks.params.push((param.clone(), json!(number("offset").unwrap_or(0))));
                marks.sized(size_param.as_ref(), *size);
                marks.place = *place;
            }
            Self::Cursor { param, size_param, size, place, .. } => {
                if let Some(mark) = at.and_then(|at| at.get("cursor")) {
                    marks.params.push((param.clone(), mark.clone()));
                }
                marks.sized(size_param.as_ref(), *size);
                marks.place = *place;
            }
            Self::LinkHeader {} | Self::NextUrl { .. } => {
                marks.url = at.and_then(|at| at.get("url")?.as_str()).map(str::to_owned);
            }
        }
        marks
    }

    /// How many records a request asks for, if it says.
    pub(super) fn size(&self) -> Option<u64> {
        match self {
            Self::Page { size, .. } | Self::Offset { size, .. } | Self::Cursor { size, .. } => {
                *size
            }
            Self::None | Self::LinkHeader {} | Self::NextUrl { .. } => None,
        }
    }

    /// Where the next answer is, after one at `at`; a URL is as the server wrote it.
    pub(super) fn next(&self, at: Option<&Value>, seen: &Seen<'_>) -> Result<Option<Value>> {
        let number = |key: &str| at.and_then(|at| at.get(key)?.as_u64());
        match self {
            Self::None => Ok(None),
            Self::Page { start, has_more, total, .. } => {
                let first = start.unwrap_or(1);
                let page = number("page").unwrap_or(first);
                let read = page.saturating_sub(first) + 1;
                let more = seen.more(has_more.as_ref())? && seen.below(total.as_ref(), read)?;
                Ok((more && seen.records > 0).then(|| json!({ "page": page + 1 })))
            }
            Self::Offset { has_more, total, .. } => {
                let read = number("offset").unwrap_or(0) + seen.records as u64;
                let more = seen.more(has_more.as_ref())? && seen.below(total.as_ref(), read)?;
                Ok((more && seen.records > 0).then(|| json!({ "offset": read })))
            }
            Self::Cursor { next, has_more, .. } => {
                let mark = seen.plain(next)?.filter(|mark| !mark.is_empty());
                let more = seen.more(has_more.as_ref())?;
                Ok(mark.filter(|_| more).map(|mark| json!({ "cursor": mark })))
            }
            Self::LinkHeader {} => {
                let links = seen.headers.get_all(LINK).iter().filter_map(|link| link.to_str().ok());
                Ok(links.flat_map(next_link).next().map(|url| json!({ "url": url })))
            }
            Self::NextUrl { next } => {
                let url = seen.plain(next)?.filter(|url| !url.is_empty());
                Ok(url.map(|url| json!({ "url": url })))
            }
        }
    }
}

impl Marks {
    fn sized(&mut self, param: Option<&String>, size: Option<u64>) {
        if let (Some(param), Some(size)) = (param, size) {
            self.params.push((param.clone(), json!(size)));
        }
    }
}

impl Seen<'_> {
    fn plain(&self, path: &str) -> Result<Option<String>> {
        JsonPath::parse(path)?
            .plain(self.text)
            .map_err(|error| Error::corrupt("an answer is not JSON").caused_by(error))
    }

    /// Whether there are more, as far as the answer tells.
    fn more(&self, path: Option<&String>) -> Result<bool> {
        let Some(path) = path else { return Ok(true) };
        Ok(self.plain(path)?.is_some_and(|more| !matches!(more.as_str(), "false" | "0" | "")))
    }

    /// Whether `read` is less than the number at the path; yes if there is none.
    fn below(&self, path: Option<&String>, read: u64) -> Result<bool> {
        let Some(path) = path else { return Ok(true) };
        let total = self.plain(path)?.and_then(|total| total.parse::<u64>().ok());
        Ok(total.is_none_or(|total| read < total))
    }
}

/// The URL of `<…>; rel="next"` in a `Link` header.
fn next_link(header: &str) -> Option<String> {
    let mut rest = header;
    while let Some(start) = rest.find('<') {
        let after = rest.get(start + 1..)?;
        let (url, tail) = after.split_once('>')?;
        // Parameters end at the comma before the next link.
        let end = tail.find('<').unwrap_or(tail.len());
        let params = tail.get(..end)?;
        let is_next = params.split(';').any(|param| {
            let param = param.trim().trim_end_matches(',').trim();
            let value = param.strip_prefix("rel=").unwrap_or_default().trim_matches('"');
            value.split_ascii_whitespace().any(|rel| rel.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(url.to_owned());
        }
        rest = tail;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_header_is_read_whatever_its_order() {
        for header in [
            "<https://a/x?page=2>; rel=\"next\", <https://a/x?page=9>; rel=\"last\"",
            "<https://a/x?page=1>; rel=prev, <https://a/x?page=2>; title=\"a, b\"; rel=next",
            "<https://a/x?page=2>;rel=\"last next\"",
        ] {
            assert_eq!(next_link(header).as_deref(), Some("https://a/x?page=2"), "{header}");
        }
        for header in ["", "<https://a/x>; rel=\"prev\"", "<broken", "nonsense"] {
            assert_eq!(next_link(header), None, "{header}");
        }
    }

    #[test]
    fn an_answer_with_few_records_is_not_taken_for_the_last() {
        let headers = HeaderMap::new();
        let paging: Paging = serde_json::from_value(
            json!({ "type": "offset", "param": "offset", "size_param": "limit", "size": 1000 }),
        )
        .unwrap();
        // The server gives at most 100, whatever is asked for.
        let seen = Seen { text: "{}", headers: &headers, records: 100 };
        let next = paging.next(None, &seen).unwrap().unwrap();
        assert_eq!(paging.marks(Some(&next)).params[0], ("offset".to_owned(), json!(100)));
        let none = Seen { records: 0, ..seen };
        assert_eq!(paging.next(Some(&next), &none).unwrap(), None);
    }
}
