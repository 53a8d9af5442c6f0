//! What is understood of a small shop, and what is not mistaken for a key.

use flywheel_base::digest;

use super::*;

/// A table of rows written as text; an empty cell is missing.
fn table(name: &str, columns: &[(&str, Kind)], rows: &[&str]) -> Table {
    let cell = |row: &str, at: usize| row.split(',').nth(at).unwrap_or_default().to_owned();
    let columns = columns.iter().enumerate().map(|(at, (name, kind))| {
        let hash = |text: String| match text.is_empty() {
            true => 0,
            false => digest::hash64(&[text.as_bytes()]),
        };
        let values = rows.iter().map(|row| hash(cell(row, at))).collect();
        Column { name: (*name).to_owned(), kind: *kind, values }
    });
    Table {
        name: name.to_owned(),
        columns: columns.collect(),
        declared_key: Vec::new(),
        partial: false,
    }
}

/// A small shop: sales of products to customers of regions, with managers and a many-to-many list.
fn shop() -> Vec<Table> {
    let many: Vec<String> = (0..60)
        .map(|n| format!("{},{},2024-01-{:02},{}", n % 6 + 1, n % 5 + 1, n % 28 + 1, n * 3))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    vec![
        table(
            "sales_fact",
            &[
                ("product_id", Kind::Whole),
                ("customer_id", Kind::Whole),
                ("sold_on", Kind::Day),
                ("amount", Kind::Fraction),
            ],
            &many,
        ),
        table(
            "products",
            &[
                ("id", Kind::Whole),
                ("name", Kind::Text),
                ("class_id", Kind::Whole),
                ("price", Kind::Fraction),
            ],
            &["1,a,1,5", "2,b,1,6", "3,c,2,7", "4,d,2,8", "5,e,2,9", "6,f,1,10"],
        ),
        table(
            "product_class",
            &[("product_class_id", Kind::Whole), ("title", Kind::Text)],
            &["1,x", "2,y"],
        ),
        table(
            "Customer",
            &[
                ("CustomerId", Kind::Whole),
                ("Email", Kind::Text),
                ("City", Kind::Text),
                ("SupportRepId", Kind::Whole),
            ],
            &["1,a@x,Rome,2", "2,b@x,Rome,2", "3,c@x,Oslo,3", "4,d@x,Rome,3", "5,e@x,Oslo,2"],
        ),
        table(
            "Employee",
            &[
                ("EmployeeId", Kind::Whole),
                ("LastName", Kind::Text),
                ("ReportsTo", Kind::Whole),
                ("HireDate", Kind::Day),
            ],
            &["1,p,,2010-01-01", "2,q,1,2011-01-01", "3,r,1,2012-01-01"],
        ),
        table(
            "CustomerProduct",
            &[("CustomerId", Kind::Whole), ("ProductId", Kind::Whole)],
            &["1,1", "1,2", "2,1", "3,4", "4,5", "5,5"],
        ),
    ]
}

fn proposal<'a>(advice: &'a Advice, name: &str) -> &'a Proposal {
    advice.tables.iter().find(|proposal| proposal.table == name).unwrap()
}

fn referred(proposal: &Proposal) -> Vec<(String, String)> {
    proposal.references.iter().map(|one| (one.columns.join("+"), one.table.clone())).collect()
}

#[test]
fn roles_keys_and_references_of_a_shop_are_found_and_explained() {
    let advice = advise(&shop());
    let roles: Vec<(&str, Role)> =
        advice.tables.iter().map(|one| (one.table.as_str(), one.role)).collect();
    assert_eq!(
        roles,
        [
            ("sales_fact", Role::Fact),
            ("Customer", Role::Dimension),
            ("Employee", Role::Dimension),
            ("product_class", Role::Dimension),
            ("products", Role::Dimension),
            ("CustomerProduct", Role::Bridge),
        ]
    );
    let key = |name: &str| proposal(&advice, name).key.as_ref().map(|key| key.columns.join("+"));
    assert_eq!(key("products").as_deref(), Some("id"));
    assert_eq!(key("Customer").as_deref(), Some("CustomerId"));
    assert_eq!(key("CustomerProduct").as_deref(), Some("CustomerId+ProductId"));
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        referred(proposal(&advice, "sales_fact")),
        [pair("product_id", "products"), pair("customer_id", "Customer")]
    );
    assert_eq!(referred(proposal(&advice, "Customer")), [pair("SupportRepId", "Employee")]);
    assert_eq!(referred(proposal(&advice, "Employee")), [pair("ReportsTo", "Employee")]);
    assert_eq!(proposal(&advice, "sales_fact").measures, ["amount"]);
    for proposal in &advice.tables {
        assert!(!proposal.reasons.is_empty(), "{} has no reason", proposal.table);
        assert!((0.5..1.0).contains(&proposal.confidence), "{}", proposal.confidence);
        assert!(!proposal.grain.is_empty());
    }
}

#[test]
fn an_attribute_that_facts_are_grouped_by_is_kept_and_a_correction_is_not() {
    let advice = advise(&shop());
    let change = |name: &str| {
        let attribute =
            proposal(&advice, "Customer").attributes.iter().find(|one| one.column == name);
        attribute.unwrap().change
    };
    assert_eq!(change("City"), Change::Keep);
    assert_eq!(change("Email"), Change::Replace);
    assert_eq!(change("SupportRepId"), Change::Keep);
    let hired =
        proposal(&advice, "Employee").attributes.iter().find(|one| one.column == "HireDate");
    assert_eq!(hired.unwrap().change, Change::Never);
}

#[test]
fn a_dimension_that_only_dimensions_refer_to_makes_a_snowflake_and_a_star_is_advised() {
    let mut tables = shop();
    tables[1].columns[2].name = "product_class_id".to_owned();
    let advice = advise(&tables);
    assert!(
        proposal(&advice, "product_class").outrigger && !proposal(&advice, "products").outrigger
    );
    assert_eq!((advice.found, advice.shape), (Shape::Snowflake, Shape::Star));
    assert!(advice.reason.contains("product_class"), "{}", advice.reason);
}

#[test]
fn a_key_that_occurs_twice_is_none_and_a_declared_one_is_taken() {
    let rows = ["1,a", "1,b", "2,c", "3,d", "4,e"];
    let mut twice = table("things", &[("thing_id", Kind::Whole), ("label", Kind::Text)], &rows);
    assert_eq!(advise(std::slice::from_ref(&twice)).tables[0].key, None);
    twice.declared_key = vec!["thing_id".to_owned(), "label".to_owned()];
    let advice = advise(&[twice]);
    assert_eq!(advice.tables[0].key.as_ref().unwrap().columns, ["thing_id", "label"]);
    assert_eq!(advise(&[]).tables.len(), 0);
    assert_eq!(advise(&[table("empty", &[("id", Kind::Whole)], &[])]).tables[0].key, None);
}

#[test]
fn numbers_that_happen_to_be_keys_elsewhere_are_no_reference() {
    let tables = [
        table(
            "a",
            &[("a_id", Kind::Whole), ("children", Kind::Whole)],
            &["1,1", "2,2", "3,1", "4,3"],
        ),
        table("b", &[("b_id", Kind::Whole), ("label", Kind::Text)], &["1,x", "2,y", "3,z", "4,w"]),
    ];
    assert!(advise(&tables).tables.iter().all(|one| one.references.is_empty()));
}
