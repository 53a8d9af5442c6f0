//! Which attributes of a dimension change, and what becomes of the past when they do.

use super::roles::TIMES;
use super::{Attribute, Change, Facts, Kind, Proposal};

/// Words of what does not change as long as the thing is itself.
const FIXED: &[&str] = &[
    "birth",
    "birthdate",
    "created",
    "opened",
    "hire",
    "gender",
    "sex",
    "sku",
    "isbn",
    "registered",
    "signup",
];
/// Words of what is corrected rather than changed, or of which only the newest is of use.
const NEWEST: &[&str] = &[
    "name",
    "fname",
    "lname",
    "fullname",
    "phone",
    "fax",
    "email",
    "mail",
    "url",
    "description",
    "comment",
    "note",
    "photo",
    "mi",
];
/// Words of what facts of the past are to be grouped by as it was then.
const KEPT: &[&str] = &[
    "address",
    "city",
    "state",
    "province",
    "country",
    "region",
    "district",
    "postal",
    "zip",
    "category",
    "class",
    "department",
    "family",
    "type",
    "segment",
    "status",
    "tier",
    "level",
    "grade",
    "price",
    "srp",
    "cost",
    "salary",
    "income",
    "position",
    "title",
    "manager",
    "supervisor",
    "card",
    "marital",
    "occupation",
    "education",
    "owner",
    "size",
    "sqft",
    "brand",
    "plan",
    "rep",
];
/// Words of columns that say from when until when a row holds.
const VALIDITY: &[&str] = &["valid", "effective", "expiry", "current"];

/// The attributes of a dimension.
pub(super) fn attributes(table: &Facts<'_>, proposal: &Proposal) -> Vec<Attribute> {
    let key = proposal.key.as_ref();
    let versioned = table.columns.iter().any(|column| column.name.has(VALIDITY));
    let calendar = table.base.has(TIMES);
    let mut attributes = Vec::new();
    for column in &table.columns {
        let name = &column.column.name;
        if key.is_some_and(|key| key.columns.contains(name)) || column.name.has(VALIDITY) {
            continue;
        }
        let refers = proposal.references.iter().find(|one| one.columns.contains(name));
        let (change, reason) = if calendar {
            (Change::Never, "a day stays what it is".to_owned())
        } else if column.distinct.is_empty() {
            (Change::Replace, "it has no values".to_owned())
        } else if versioned {
            (
                Change::Keep,
                "the table has columns that say from when until when a row holds".to_owned(),
            )
        } else if column.name.has(FIXED) {
            (Change::Never, "it is so from the beginning".to_owned())
        } else if let Some(refers) = refers {
            (Change::Keep, format!("what it belongs to in {} may change", refers.table))
        } else if column.name.has(KEPT) {
            (Change::Keep, "facts of the past are grouped by what it was then".to_owned())
        } else if column.name.has(NEWEST) {
            (Change::Replace, "a new value corrects the old one".to_owned())
        } else if column.column.kind == Kind::Text
            && column.distinct.len() > 1
            && column.distinct.len() * 10 <= table.rows
        {
            let count = column.distinct.len();
            (Change::Keep, format!("its {count} different values group {} rows", table.rows))
        } else {
            (Change::Replace, "nothing says that its past matters".to_owned())
        };
        attributes.push(Attribute { column: name.clone(), change, reason });
    }
    attributes
}
