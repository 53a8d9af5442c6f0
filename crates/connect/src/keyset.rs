//! Where a read of a relation stands that goes on behind its last row: the columns that order it, and
//! their values in that row.

use flywheel_base::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::marks::Marks;
use crate::missing::Missing;
use crate::page::Position;
use crate::source::{ReadMode, ReadRequest};

/// Where a read stands; `V` is how a value of the order is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Keyset<V> {
    /// The columns or expressions that order the read.
    pub(crate) order: Vec<String>,
    /// Their values in the last row; empty before the first.
    pub(crate) after: Vec<V>,
    /// The same in the last row whose cursor could be read, if rows behind it were set aside because
    /// theirs could not: where the next read goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) readable: Option<Vec<V>>,
    /// Those rows, which are set aside once.
    #[serde(default, skip_serializing_if = "Marks::is_empty")]
    pub(crate) aside: Marks,
    /// How many rows without a value in the cursor there were when all of them were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) missing: Option<u64>,
    /// Rows read in all since the position was new.
    pub(crate) rows: u64,
    /// Whether the read came to its end.
    pub(crate) complete: bool,
}

impl<V> Default for Keyset<V> {
    fn default() -> Self {
        Self {
            order: Vec::new(),
            after: Vec::new(),
            readable: None,
            aside: Marks::default(),
            missing: None,
            rows: 0,
            complete: false,
        }
    }
}

impl<V: Serialize + DeserializeOwned> Keyset<V> {
    /// Where a read of `request` begins: behind its position, or anew if a full read came to its end
    /// there. `source` is the kind of source.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`] if the position is not one of this kind of source.
    pub(crate) fn of(request: &ReadRequest, source: &str) -> Result<Self> {
        let Some(Position(position)) = &request.from else { return Ok(Self::default()) };
        let stored: Self = serde_json::from_value(position.clone()).map_err(|error| {
            Error::corrupt(format!("the stored position is not one of a source of type {source}"))
                .caused_by(error)
                .hint("Read the stream from its start with `flywheel sync NAME --restart`.")
        })?;
        let over = request.mode == ReadMode::Full && stored.complete;
        Ok(if over { Self::default() } else { stored })
    }

    /// The same for a read that `order` orders now.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the position is of another order, so that it says nothing
    /// about which rows are behind it.
    pub(crate) fn ordered(self, order: Vec<String>, relation: &str) -> Result<Self> {
        let new = self.order.is_empty() && self.rows == 0;
        let whole = self.after.is_empty() || self.after.len() == order.len();
        if !(new || self.order == order) || !whole {
            return Err(Error::invalid(format!(
                "the stored position of {relation} follows other columns"
            ))
            .hint("The cursor or the key was changed: read it from its start with `flywheel sync NAME --restart`."));
        }
        Ok(Self { order, ..self })
    }

    /// What becomes of the `count` rows of the source that have no value in the `cursor`; a read that begins has them anyway.
    pub(crate) fn meet(&mut self, count: u64, cursor: &str, appends: bool) -> Option<Missing> {
        if self.after.is_empty() {
            self.missing = Some(count);
        }
        if self.after.is_empty() || !self.complete {
            return None;
        }
        let missing = Missing::of(count, self.missing, cursor, appends);
        if missing.as_ref().is_some_and(|missing| missing.again) {
            self.missing = Some(count);
        }
        missing
    }

    /// The position.
    pub(crate) fn position(&self) -> Result<Position> {
        serde_json::to_value(self)
            .map(Position)
            .map_err(|error| Error::internal("a position cannot be written").caused_by(error))
    }
}

#[cfg(test)]
mod tests {
    use flywheel_base::ErrorKind;
    use serde_json::{Value, json};

    use super::*;
    use crate::source::contract::now;

    fn of(position: Value, mode: ReadMode) -> Result<Keyset<Value>> {
        let from = Some(Position(position));
        let request = ReadRequest { mode, from, ..ReadRequest::full(json!({}), now()) };
        Keyset::of(&request, "sqlite")
    }

    #[test]
    fn a_read_goes_on_behind_its_position_or_begins_anew() {
        let incremental = || ReadMode::Incremental { cursor: None, lag: None };
        let position =
            |complete| json!({ "order": ["id"], "after": [7], "rows": 3, "complete": complete });
        let order = || vec!["id".to_owned()];
        for (complete, mode, rows) in
            [(false, ReadMode::Full, 3), (true, ReadMode::Full, 0), (true, incremental(), 3)]
        {
            let stands = of(position(complete), mode).unwrap().ordered(order(), "t").unwrap();
            assert_eq!((stands.rows, stands.order), (rows, order()));
        }
        let stands = of(position(false), ReadMode::Full).unwrap();
        assert_eq!(stands.position().unwrap().0, position(false));
    }

    #[test]
    fn a_position_of_another_order_or_source_is_refused() {
        let other = of(json!({ "lsn": "0/1" }), ReadMode::Full).unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Corrupt);
        for position in [
            json!({ "order": ["at", "id"], "after": [1, 2], "rows": 3, "complete": false }),
            json!({ "order": ["id"], "after": [1, 2], "rows": 3, "complete": false }),
            json!({ "order": [], "after": [], "rows": 3, "complete": false }),
        ] {
            let stands = of(position, ReadMode::Full).unwrap();
            let error = stands.ordered(vec!["id".to_owned()], "t").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.hint_text().is_some_and(|hint| hint.contains("--restart")), "{error:?}");
        }
    }
}
