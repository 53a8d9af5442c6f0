//! Ways between tables, and what people call things.

use serde_json::json;

use super::*;

fn views() -> Vec<Semantic> {
    let values = json!([
        {"semantic": "orders", "table": "ref('orders')",
         "entities": {"order": {"type": "primary"}, "buyer": {"type": "foreign", "to": "customer"},
                      "seller": {"type": "foreign", "to": "customer"}},
         "dimensions": {"channel": {"label": {"zh": "渠道"}, "values": {"app": {"aliases": ["手机"]}}}},
         "measures": {"orders": {"aggregate": "count"}},
         "metrics": {"orders": {"measure": "orders", "label": {"zh": "订单数"}, "synonyms": ["Order count"]},
                     "twice": {"derived": "orders * 2"},
                     "a": {"ratio": {"of": "b", "per": "orders"}}, "b": {"derived": "a + 1"}}},
        {"semantic": "customers", "table": "ref('customers')",
         "entities": {"customer": {"type": "primary", "key": "id"}, "region": {"type": "foreign"}},
         "dimensions": {"segment": {}}},
        {"semantic": "regions", "table": "ref('regions')",
         "entities": {"region": {"type": "unique", "key": "code"}}, "dimensions": {"name": {}}},
        {"semantic": "lines", "table": "ref('lines')",
         "entities": {"order": {"type": "foreign"}}, "dimensions": {"product": {}}},
    ]);
    serde_json::from_value(values).unwrap()
}

fn way(from: &str, to: &str) -> String {
    let views = views();
    let semantics = Semantics::new(&views);
    let from = views.iter().find(|view| view.semantic == from).unwrap();
    let parts: Vec<String> = to.split('.').map(str::to_owned).collect();
    match semantics.path(from, &parts) {
        Ok(path) => {
            let hops = path
                .hops
                .iter()
                .map(|hop| format!("{} = {}", hop.columns.join("+"), hop.key.join("+")));
            hops.chain([path.name()]).collect::<Vec<_>>().join(", ")
        }
        Err(error) => format!("! {} ({})", error.message(), error.hint_text().unwrap_or_default()),
    }
}

#[test]
fn a_way_follows_keys_to_single_rows() {
    let check = |from: &str, to: &str, expected: &str| assert_eq!(way(from, to), expected);
    check("orders", "channel", "channel");
    check("orders", "渠道", "channel");
    check("orders", "order.channel", "channel");
    check("orders", "buyer.segment", "buyer = id, buyer.segment");
    check("orders", "seller.region.name", "seller = id, region = code, seller.region.name");
    check("customers", "name", "region = code, region.name");
    check("lines", "order.channel", "order = order, order.channel");
    check("lines", "order.buyer.segment", "order = order, buyer = id, order.buyer.segment");
    check("orders", "buyer", "buyer");
}

#[test]
fn two_ways_of_one_length_are_not_guessed_between() {
    let said = way("orders", "segment");
    assert!(said.contains("in several ways: buyer.segment, seller.segment"), "{said}");
    assert!(said.contains("such as buyer.segment or seller.segment"), "{said}");
}

#[test]
fn a_way_to_many_rows_is_refused_with_the_way_out() {
    let said = way("orders", "product");
    assert!(said.contains("\"lines\" has many rows per order"), "{said}");
    assert!(said.contains("Define the measure in \"lines\""), "{said}");
    assert!(way("customers", "channel").contains("\"orders\" has many rows per customer"));
}

#[test]
fn an_unknown_dimension_is_told_from_a_misspelled_one() {
    assert!(way("customers", "segmnt").contains("Did you mean \"segment\"?"));
    assert!(way("regions", "weather").contains("have no dimension \"weather\""));
    // A name without its entity, a part of a name, and another dimension of an entity that is there.
    assert!(way("orders", "buyer.segmnt").contains("Did you mean \"buyer.segment\"?"));
    assert!(way("lines", "order.xyz").contains("Known: order.channel, order.buyer, order.seller."));
    assert!(way("customers", "region.full_name").contains("Did you mean \"region.name\"?"));
    assert!(way("lines", "chanel").contains("Did you mean \"order.channel\"?"));
}

#[test]
fn metrics_have_names_in_two_languages() {
    let views = views();
    let semantics = Semantics::new(&views);
    for word in ["orders", "订单数", "order COUNT"] {
        assert_eq!(semantics.metric(word).unwrap().name, "orders");
    }
    let error = semantics.metric("订单").unwrap_err();
    assert!(error.report().contains("Did you mean \"订单数\"?"), "{error:?}");
    let view = views.first().unwrap();
    let (_, channel) = dimension_called(view, "渠道").unwrap();
    assert_eq!(value_called(channel, "手机"), Some("app"));
    assert_eq!(value_called(channel, "app"), None);
}

#[test]
fn a_circle_of_metrics_is_named() {
    let views = views();
    let semantics = Semantics::new(&views);
    let error = semantics.measured(semantics.named("a").unwrap()).unwrap_err();
    assert!(error.message().contains("a → b → a"), "{error}");
    assert_eq!(semantics.measured(semantics.named("twice").unwrap()).unwrap().len(), 1);
}
