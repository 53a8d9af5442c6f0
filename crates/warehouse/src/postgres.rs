//! What clients of PostgreSQL say and want to hear: its types, the forms of its values, its catalogue as tables, and its
//! words in those of our engine.
//!
//! Nothing here opens a socket or knows who asks: the server's door speaks the protocol, and a session of a reader answers.
//! Invariants: a value leaves in the form of the type that was told for its column; the catalogue tells of the relations it
//! is given and of no others; a statement that is put in our words reads no more than it named.

mod command;
mod copy;
mod kind;
mod list;
mod numeric;
mod parameter;
mod relation;
mod span;
mod speech;
mod value;

pub use command::{Command, Fetch, split};
pub use copy::{CopyForm, CopyWriter, Copying};
pub use kind::{Kind, modifier};
pub use parameter::constant;
pub use relation::{Relation, RelationColumn, catalogue, mentions_catalogue};
pub use speech::Told;
pub use value::{Form, data_rows};

pub(crate) use parameter::{list_of, type_of, type_of_cast};
pub(crate) use speech::{Spoken, path, translate};

use crate::Query;

/// A planned statement of a client, with the names its columns have there.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The plan.
    pub query: Query,
    /// The names of the columns.
    pub names: Vec<String>,
}
