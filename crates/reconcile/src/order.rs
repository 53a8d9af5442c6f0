//! In which order related objects are written: parents before children, deletions the other way round.
//!
//! A circle of relations is broken at one that may be empty: its rows are written without it first and
//! get it in a second pass.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result, suggest};
use serde::{Deserialize, Serialize};

/// A reference from one object to another, declared by the user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relation {
    /// The object that refers.
    pub child: String,
    /// Its field.
    pub field: String,
    /// The object that is referred to.
    pub parent: String,
    /// Whether a row without the reference is refused by the system.
    #[serde(default)]
    pub required: bool,
}

/// An order in which nothing refers to what is not there yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOrder {
    /// The objects, parents first.
    pub creates: Vec<String>,
    /// The references that are left empty at first and set after all objects were written; emptied
    /// before anything is deleted.
    pub second_pass: Vec<Relation>,
    /// The objects, children first.
    pub deletes: Vec<String>,
}

/// Orders `objects`; ties are broken by the order in which they are given.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a relation names an object that is not there, or if a circle
/// of relations has none that may be empty.
pub fn order(objects: &[String], relations: &[Relation]) -> Result<WriteOrder> {
    check(objects, relations)?;
    let mut waiting: Vec<&Relation> = Vec::new();
    let mut second_pass: Vec<Relation> = Vec::new();
    for relation in relations {
        match (relation.child == relation.parent, relation.required) {
            (true, true) => return Err(circle(&[relation])),
            (true, false) => second_pass.push(relation.clone()),
            (false, _) => waiting.push(relation),
        }
    }
    let mut left: Vec<&String> = objects.iter().collect();
    let mut creates = Vec::new();
    while !left.is_empty() {
        let free = left.iter().position(|object| !waiting.iter().any(|r| r.child == **object));
        if let Some(at) = free {
            let object = left.remove(at);
            waiting.retain(|relation| relation.parent != *object);
            creates.push(object.clone());
            continue;
        }
        let circular = on_circles(&waiting);
        let Some(at) =
            waiting.iter().position(|relation| !relation.required && circular.contains(relation))
        else {
            return Err(circle(&a_circle(&waiting)));
        };
        second_pass.push(waiting.remove(at).clone());
    }
    let deletes = creates.iter().rev().cloned().collect();
    Ok(WriteOrder { creates, second_pass, deletes })
}

fn check(objects: &[String], relations: &[Relation]) -> Result<()> {
    let mut known = BTreeSet::new();
    for object in objects {
        if !known.insert(object.as_str()) {
            return Err(Error::invalid(format!("the object \"{object}\" is listed twice"))
                .hint("List every object once."));
        }
    }
    for relation in relations {
        for name in [&relation.child, &relation.parent] {
            if !known.contains(name.as_str()) {
                return Err(Error::invalid(format!(
                    "the relation {} refers to the unknown object \"{name}\"",
                    text(relation)
                ))
                .hint(suggest::hint(name, known.iter().copied())));
            }
        }
    }
    Ok(())
}

/// The relations that lie on a circle: those whose parent leads back to their child.
fn on_circles<'a>(relations: &[&'a Relation]) -> BTreeSet<&'a Relation> {
    let mut parents: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for relation in relations {
        parents.entry(&relation.child).or_default().push(&relation.parent);
    }
    let leads_back = |relation: &&&Relation| {
        let mut seen = BTreeSet::new();
        let mut next = vec![relation.parent.as_str()];
        while let Some(object) = next.pop() {
            if object == relation.child {
                return true;
            }
            if seen.insert(object) {
                next.extend(parents.get(object).into_iter().flatten());
            }
        }
        false
    };
    relations.iter().filter(leads_back).copied().collect()
}

/// One circle, for the message; every object that is left refers to another one.
fn a_circle<'a>(relations: &[&'a Relation]) -> Vec<&'a Relation> {
    let mut path: Vec<&Relation> = relations.first().copied().into_iter().collect();
    while let Some(last) = path.last() {
        if let Some(at) = path.iter().position(|earlier| earlier.child == last.parent) {
            return path.split_off(at);
        }
        match relations.iter().find(|relation| relation.child == last.parent) {
            Some(next) => path.push(next),
            None => break,
        }
    }
    path
}

fn text(relation: &Relation) -> String {
    format!("{}.{} → {}", relation.child, relation.field, relation.parent)
}

fn circle(relations: &[&Relation]) -> Error {
    let path: Vec<String> = relations.iter().map(|relation| text(relation)).collect();
    Error::invalid(format!("required relations form a circle: {}", path.join(", "))).hint(
        "Let one of them be empty at first (required: false), so that it is set in a second pass.",
    )
}

/// The rows of one object that refers to itself, parents first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowOrder {
    /// The ids, parents before children.
    pub ids: Vec<String>,
    /// The ids that are their own ancestors; their references can only be set in a second pass.
    pub circular: Vec<String>,
}

/// Orders rows given as id and parent id. A parent that is not among the rows is there already.
#[must_use]
pub fn rows_parents_first(rows: &[(String, Option<String>)]) -> RowOrder {
    let mut children: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let ids: BTreeSet<&str> = rows.iter().map(|(id, _)| id.as_str()).collect();
    let mut ready = Vec::new();
    for (id, parent) in rows {
        match parent.as_deref().filter(|parent| ids.contains(parent)) {
            Some(parent) => children.entry(parent).or_default().push(id),
            None => ready.push(id.as_str()),
        }
    }
    let mut next = 0;
    while let Some(id) = ready.get(next) {
        next += 1;
        ready.extend(children.remove(*id).into_iter().flatten());
    }
    let done: BTreeSet<&str> = ready.iter().copied().collect();
    let circular = rows.iter().map(|(id, _)| id).filter(|id| !done.contains(id.as_str()));
    RowOrder {
        circular: circular.cloned().collect(),
        ids: ready.into_iter().map(Into::into).collect(),
    }
}

#[cfg(test)]
mod tests {
    use flywheel_base::Rng;

    use super::*;

    fn relation(child: &str, field: &str, parent: &str, required: bool) -> Relation {
        Relation { child: child.into(), field: field.into(), parent: parent.into(), required }
    }

    fn names(objects: &[&str]) -> Vec<String> {
        objects.iter().map(|object| (*object).to_owned()).collect()
    }

    #[test]
    fn parents_come_before_children_and_go_after_them() {
        let relations = [
            relation("contacts", "account_id", "accounts", true),
            relation("deals", "contact_id", "contacts", false),
            relation("deals", "account_id", "accounts", true),
        ];
        let order = order(&names(&["deals", "contacts", "accounts"]), &relations).unwrap();
        assert_eq!(order.creates, ["accounts", "contacts", "deals"]);
        assert_eq!(order.deletes, ["deals", "contacts", "accounts"]);
        assert!(order.second_pass.is_empty());
    }

    #[test]
    fn a_circle_is_broken_at_a_reference_that_may_be_empty() {
        let relations = [
            relation("accounts", "main_contact_id", "contacts", false),
            relation("contacts", "account_id", "accounts", true),
            relation("accounts", "parent_id", "accounts", false),
            relation("notes", "account_id", "accounts", false),
        ];
        let order = order(&names(&["notes", "contacts", "accounts"]), &relations).unwrap();
        assert_eq!(order.creates, ["accounts", "notes", "contacts"]);
        let late: Vec<&str> = order.second_pass.iter().map(|r| r.field.as_str()).collect();
        assert_eq!(late, ["parent_id", "main_contact_id"], "notes are not on the circle");
    }

    #[test]
    fn what_cannot_be_ordered_is_named_with_the_fix() {
        let circle = [
            relation("a", "b_id", "b", true),
            relation("b", "c_id", "c", true),
            relation("c", "a_id", "a", true),
        ];
        let error = order(&names(&["a", "b", "c"]), &circle).unwrap_err();
        assert!(error.message().contains("a.b_id → b, b.c_id → c, c.a_id → a"), "{error}");
        assert!(error.hint_text().unwrap().contains("required: false"));
        let own = [relation("a", "up", "a", true)];
        assert!(order(&names(&["a"]), &own).unwrap_err().message().contains("a.up → a"));
        let typo = [relation("deals", "account_id", "acounts", true)];
        let error = order(&names(&["deals", "accounts"]), &typo).unwrap_err();
        assert_eq!(error.hint_text(), Some("Did you mean \"accounts\"?"));
        assert!(order(&names(&["a", "a"]), &[]).is_err());
    }

    #[test]
    fn rows_of_a_tree_are_written_from_the_root() {
        let row = |id: &str, parent: Option<&str>| (id.to_owned(), parent.map(str::to_owned));
        let rows = [
            row("leaf", Some("branch")),
            row("branch", Some("root")),
            row("root", Some("elsewhere")),
            row("x", Some("y")),
            row("y", Some("x")),
            row("below", Some("x")),
        ];
        let order = rows_parents_first(&rows);
        assert_eq!(order.ids, ["root", "branch", "leaf"]);
        assert_eq!(order.circular, ["x", "y", "below"]);
    }

    #[test]
    fn any_order_keeps_every_reference_it_does_not_defer() {
        let mut rng = Rng::new(9);
        for case in 0..3_000 {
            let objects: Vec<String> = (0..=rng.below(8)).map(|n| format!("o{n}")).collect();
            let relations: Vec<Relation> = (0..rng.below(14))
                .map(|n| {
                    let child = &objects[rng.below(objects.len())];
                    let parent = &objects[rng.below(objects.len())];
                    relation(child, &format!("f{n}"), parent, rng.chance(0.3))
                })
                .collect();
            let Ok(order) = order(&objects, &relations) else { continue };
            let at = |name: &str| order.creates.iter().position(|o| o == name).unwrap();
            assert_eq!(order.creates.len(), objects.len());
            for relation in &relations {
                if order.second_pass.contains(relation) {
                    assert!(!relation.required, "case {case}");
                } else {
                    assert!(at(&relation.parent) < at(&relation.child), "case {case}");
                }
            }
        }
    }
}
