//! How a system is taken apart, and whether the rules fit each other.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result, suggest};

use crate::record::Side;

/// Where the rows of a table go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The predicate decides each row.
    Divided,
    /// With the row that a reference leads to.
    With {
        /// The reference, by its place among those of the table.
        reference: usize,
        /// Where a row goes whose reference is empty or leads nowhere; such a row has no place if this
        /// is none.
        otherwise: Option<Side>,
    },
    /// They are nobody's own, such as products.
    Shared(Sharing),
}

/// What happens to rows that are nobody's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// A copy goes to each part that refers to it; what nobody refers to goes to `otherwise`.
    WhereNeeded {
        /// The part that gets the rest.
        otherwise: Side,
    },
    /// A copy goes to both parts.
    Both,
    /// All go to one part.
    Only {
        /// That part.
        side: Side,
    },
}

/// What happens to a reference that leads to a row of the other part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Crossing {
    /// The split is refused.
    #[default]
    Refuse,
    /// The reference is emptied and listed.
    Clear,
}

/// A reference from the rows of a table to the keys of another one, or of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Its name in messages: the column.
    pub field: String,
    /// The table that is referred to, by its place among all.
    pub parent: usize,
    /// Whether a row without the reference is refused by the system.
    pub required: bool,
    /// What happens if it leads into the other part.
    pub crossing: Crossing,
}

/// A table and the rule for its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitTable {
    /// Its name.
    pub name: String,
    /// Where its rows go.
    pub placement: Placement,
    /// What its rows refer to.
    pub references: Vec<Reference>,
}

impl SplitTable {
    /// Where the rows go that nobody needs, if a copy of the others goes where they are needed.
    #[must_use]
    pub fn where_needed(&self) -> Option<Side> {
        match self.placement {
            Placement::Shared(Sharing::WhereNeeded { otherwise }) => Some(otherwise),
            _ => None,
        }
    }
}

/// Rules that fit each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitRules {
    pub(super) tables: Vec<SplitTable>,
    /// The tables, each after the one its rows go with.
    order: Vec<usize>,
}

impl SplitRules {
    /// Proves that the rules fit each other.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] that names the table: given twice, a reference to an unknown
    /// table, rows that go with a reference that is none or with rows that are shared, tables that go
    /// with each other, a required reference that may be emptied.
    pub fn new(tables: Vec<SplitTable>) -> Result<Self> {
        let mut names = BTreeMap::new();
        for (at, table) in tables.iter().enumerate() {
            if names.insert(table.name.as_str(), at).is_some() {
                return Err(Error::invalid(format!("the table \"{}\" is given twice", table.name))
                    .hint("Give every table once."));
            }
        }
        let mut owners: BTreeMap<usize, usize> = BTreeMap::new();
        for (at, table) in tables.iter().enumerate() {
            for reference in &table.references {
                let name = format!("{}.{}", table.name, reference.field);
                if tables.get(reference.parent).is_none() {
                    return Err(Error::invalid(format!("\"{name}\" refers to no table"))
                        .hint("Give the table it leads to."));
                }
                if reference.required && reference.crossing == Crossing::Clear {
                    return Err(Error::invalid(format!(
                        "\"{name}\" is required, so it cannot be emptied"
                    ))
                    .hint("Place the table with this reference, or share the table it leads to."));
                }
            }
            let Placement::With { reference, .. } = &table.placement else { continue };
            let Some(owner) = table.references.get(*reference) else {
                return Err(Error::invalid(format!(
                    "table \"{}\" is placed with what is none of its references",
                    table.name
                ))
                .hint("Choose one of its references."));
            };
            let parent = tables.get(owner.parent);
            if let Some(parent) = parent
                && matches!(parent.placement, Placement::Shared(_))
            {
                return Err(Error::invalid(format!(
                    "table \"{}\" is placed with rows of \"{}\", which is shared",
                    table.name, parent.name
                ))
                .hint(
                    "Rows can only go with rows that are in one part; choose another reference.",
                ));
            }
            owners.insert(at, owner.parent);
        }
        let order = order(&tables, &owners)?;
        Ok(Self { tables, order })
    }

    /// The tables, as they were given.
    #[must_use]
    pub fn tables(&self) -> &[SplitTable] {
        &self.tables
    }

    /// The tables' places, each after the one its rows go with.
    pub(super) fn order(&self) -> &[usize] {
        &self.order
    }

    /// The place of a table.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] with the nearest name.
    pub fn table(&self, name: &str) -> Result<usize> {
        self.tables.iter().position(|table| table.name == name).ok_or_else(|| {
            let known = self.tables.iter().map(|table| table.name.as_str());
            Error::not_found(format!("the split has no table \"{name}\""))
                .hint(suggest::hint(name, known.collect::<Vec<_>>()))
        })
    }
}

fn order(tables: &[SplitTable], owners: &BTreeMap<usize, usize>) -> Result<Vec<usize>> {
    let mut left: Vec<usize> = (0..tables.len()).collect();
    let mut order: Vec<usize> = Vec::new();
    while !left.is_empty() {
        let free = left.iter().position(|at| owners.get(at).is_none_or(|o| order.contains(o)));
        let Some(free) = free else {
            let names = left.iter().filter_map(|at| tables.get(*at)).map(|t| t.name.as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            return Err(Error::invalid(format!("the tables {names} go with each other"))
                .hint("One of them has to be divided by the predicate."));
        };
        order.push(left.remove(free));
    }
    Ok(order)
}
