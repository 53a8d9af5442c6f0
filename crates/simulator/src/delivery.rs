//! What left the project through its actions, as the outside world reads it.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

/// One line of an action's file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// The policy that decided.
    pub policy: String,
    /// The decision; a delivery with a decision seen before changes nothing.
    pub decision_id: String,
    /// The customer, or the product of a purchase order.
    pub unit_id: String,
    /// What was sent. `quantity` (or `order_quantity`) makes it a purchase order, `items` (product codes, or objects with
    /// `item_id`) a recommendation, anything else a win-back offer with `discount_percent`.
    #[serde(default)]
    pub payload: Json,
}

/// What a delivery asks the outside world to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    /// Show these products to a customer.
    Recommendation(Vec<String>),
    /// Ask a customer to come back, with this discount in percent.
    WinBack(i64),
    /// Buy this many pieces of a product.
    PurchaseOrder(i64),
}

/// The largest quantity of a purchase order that a supplier takes.
const QUANTITY_MAX: f64 = 1e6;

impl Delivery {
    /// Understands the payload.
    pub(crate) fn content(&self) -> Result<Content> {
        let empty = Map::new();
        let payload = self.payload.as_object().unwrap_or(&empty);
        let ordered = payload.get("quantity").or_else(|| payload.get("order_quantity"));
        if let Some(quantity) = ordered {
            return match number(quantity) {
                Some(pieces) if (0.0..=QUANTITY_MAX).contains(&pieces) => {
                    Ok(Content::PurchaseOrder(pieces.round() as i64))
                }
                _ => Err(self.refuse("quantity", "Send a number of pieces between 0 and 1000000.")),
            };
        }
        if let Some(items) = payload.get("items") {
            let codes = codes(items);
            return codes.map(Content::Recommendation).ok_or_else(|| {
                self.refuse("items", "Send a list of product codes, or of objects with item_id.")
            });
        }
        let discount = payload.get("discount_percent").and_then(number).unwrap_or(0.0);
        Ok(Content::WinBack(discount.clamp(0.0, 100.0).round() as i64))
    }

    fn refuse(&self, key: &str, hint: &str) -> Error {
        Error::invalid(format!(
            "the delivery of decision \"{}\" has a \"{key}\" that nobody can read",
            self.decision_id
        ))
        .hint(hint)
    }
}

fn number(value: &Json) -> Option<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    number.is_finite().then_some(number)
}

/// Product codes from a list of texts or objects, or from such a list written as text.
fn codes(items: &Json) -> Option<Vec<String>> {
    let parsed: Json;
    let items = match items {
        Json::String(text) => {
            parsed = serde_json::from_str(text).ok()?;
            &parsed
        }
        other => other,
    };
    let code = |item: &Json| match item {
        Json::String(code) => Some(code.clone()),
        Json::Object(object) => ["item_id", "item", "product_id", "id"]
            .iter()
            .find_map(|key| object.get(*key)?.as_str().map(str::to_owned)),
        _ => None,
    };
    items.as_array()?.iter().map(code).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn content(payload: Json) -> Result<Content> {
        let id = || "x".to_owned();
        Delivery { policy: id(), decision_id: id(), unit_id: id(), payload }.content()
    }

    #[test]
    fn payloads_are_read_in_the_shapes_that_projects_send() {
        let two = Content::Recommendation(vec!["20001".into(), "21002".into()]);
        assert_eq!(content(json!({"items": ["20001", "21002"]})).unwrap(), two);
        let objects = json!({"items": [{"item_id": "20001", "score": 1}, {"id": "21002"}]});
        assert_eq!(content(objects).unwrap(), two);
        assert_eq!(content(json!({"items": "[\"20001\",\"21002\"]"})).unwrap(), two);
        assert_eq!(content(json!({"quantity": "24.0"})).unwrap(), Content::PurchaseOrder(24));
        assert_eq!(content(json!({"discount_percent": 10})).unwrap(), Content::WinBack(10));
        assert_eq!(content(json!({})).unwrap(), Content::WinBack(0));
        assert_eq!(content(Json::Null).unwrap(), Content::WinBack(0));
    }

    #[test]
    fn nonsense_is_refused_with_a_hint() {
        for payload in [json!({"quantity": -3}), json!({"quantity": "many"}), json!({"items": [3]})]
        {
            assert!(content(payload).unwrap_err().hint_text().is_some());
        }
    }
}
