//! Whether the columns and the key of a table are still those that its target has. Names alone do not
//! tell: a column can be dropped and made anew, and two can exchange their names, without a word in
//! the log about the rows. The server's number of a column stays as long as the column does.

use flywheel_base::{Error, Result};

use super::message::Described;
use super::position::Stored;
use crate::files::column_names;
use crate::page::Column;
use crate::source::postgres::relation::Relation;

/// The number of a name whose column is gone or has another name; no column of a table has it.
const GONE: i16 = 0;

/// The names of the key's columns, in the order of the names.
pub(super) fn sorted_key(relation: &Relation) -> Vec<String> {
    let mut key = relation.key_names();
    key.sort_unstable();
    key
}

/// Proves that rows as `described` belong to the columns and the key that are stored; `relation` is
/// the table as it is now.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Blocked`] if they do not.
pub(super) fn check(relation: &Relation, described: &Described, stored: &mut Stored) -> Result<()> {
    let name = &relation.name;
    let again = |message: String, hint: &str| {
        Err(Error::blocked(message)
            .hint(format!("{hint}Delete the stream's position to read it whole again.")))
    };
    if relation.table.as_ref().is_some_and(|table| table.oid != described.table) {
        return again(format!("{name} is another table than its log has: it was renamed"), "");
    }
    let numbers = relation.numbers();
    let names = landed(described);
    for old in stored.numbers.keys().filter(|old| !names.contains(old)) {
        let new = names.iter().find(|new| new.to_lowercase() == old.to_lowercase());
        if let Some(new) = new.filter(|new| !stored.numbers.contains_key(*new)) {
            return again(
                format!(
                    "the column \"{old}\" of {name} is called \"{new}\" now, which is the same name \
                     to many systems"
                ),
                "",
            );
        }
    }
    for column in names {
        let (known, now) = (stored.numbers.get(&column), numbers.get(&column));
        if let (Some(known), Some(now)) = (known, now)
            && known != now
        {
            return again(
                format!(
                    "the column \"{column}\" of {name} is another one than before: it was dropped \
                     and made anew, or has the name of another"
                ),
                "The log does not tell what rows have in it that did not change. ",
            );
        }
    }
    let key = sorted_key(relation);
    match &stored.key {
        Some(known) if *known != key => again(
            format!("the key of {name} is {} now and was {}", listed(&key), listed(known)),
            "Set the stream's `key` to the new one. ",
        ),
        _ => {
            stored.key = Some(key);
            Ok(())
        }
    }
}

/// Proves that a whole read that goes on has the columns with which it began.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Blocked`] if a name is another column's by now.
pub(super) fn check_resumed(relation: &Relation, stored: &Stored) -> Result<()> {
    let numbers = relation.numbers();
    let other =
        |(name, known): &(&String, &i16)| numbers.get(*name).is_some_and(|now| now != *known);
    match stored.numbers.iter().find(other) {
        Some((name, _)) => Err(Error::blocked(format!(
            "the column \"{name}\" of {} is another one than when its read began",
            relation.name
        ))
        .hint("Delete the stream's position to read it whole again.")),
        None => Ok(()),
    }
}

/// What became of columns that the target has.
#[derive(Debug, Default)]
pub(super) struct Turned {
    /// The old name and the new one.
    pub(super) renamed: Vec<(String, String)>,
    /// Those that are gone.
    pub(super) gone: Vec<String>,
}

/// Learns the numbers of columns, and what became of those that are not described any more.
pub(super) fn learn(
    relation: &Relation,
    described: &Described,
    added: &[Column],
    stored: &mut Stored,
) -> Turned {
    let (numbers, names) = (relation.numbers(), landed(described));
    let mut turned = Turned::default();
    for (name, known) in &mut stored.numbers {
        // A column that is computed is in the table and not in the log.
        if *known == GONE || names.contains(name) || numbers.contains_key(name) {
            continue;
        }
        let new = added.iter().find(|column| numbers.get(&column.name) == Some(&*known));
        match new {
            Some(new) => turned.renamed.push((name.clone(), new.name.clone())),
            None => turned.gone.push(name.clone()),
        }
        // Rows that change from here on have no value under the name: it cannot come back.
        *known = GONE;
    }
    // Positions from before numbers were kept have none.
    let columns = stored.columns.iter().map(|(name, _)| name);
    for name in columns.chain(added.iter().map(|column| &column.name)) {
        if let (false, Some(number)) = (stored.numbers.contains_key(name), numbers.get(name)) {
            stored.numbers.insert(name.clone(), *number);
        }
    }
    turned
}

/// The names under which the columns of a description land.
fn landed(described: &Described) -> Vec<String> {
    let names: Vec<String> = described.columns.iter().map(|column| column.name.clone()).collect();
    column_names(&names)
}

fn listed(key: &[String]) -> String {
    if key.is_empty() { "none".to_owned() } else { format!("({})", key.join(", ")) }
}
