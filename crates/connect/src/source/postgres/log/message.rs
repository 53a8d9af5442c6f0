//! The messages of the output plugin `pgoutput`, version 1, with values as text.

use bytes::Bytes;
use flywheel_base::{Error, Result};

/// One message.
#[derive(Debug)]
pub(super) enum Message {
    /// A transaction begins; all of it follows.
    Begin {
        /// Where its commit stands in the log.
        commit: u64,
        /// When it was committed, in microseconds from 2000.
        at_us: i64,
    },
    /// The transaction ends.
    Commit {
        /// The position behind it.
        end: u64,
    },
    /// What the rows of a table look like from here on.
    Relation(Described),
    /// A new row.
    Insert {
        /// The table's number.
        table: u32,
        /// The row.
        new: Tuple,
    },
    /// A changed row.
    Update {
        /// The table's number.
        table: u32,
        /// What the row was, if the key changed or the table tells it always.
        old: Option<Old>,
        /// The row.
        new: Tuple,
    },
    /// A row that is gone.
    Delete {
        /// The table's number.
        table: u32,
        /// What the row was.
        old: Old,
    },
    /// Tables that lost all their rows.
    Truncate(Vec<u32>),
    /// Nothing that matters here.
    Other,
}

/// A row before its change.
#[derive(Clone, Debug)]
pub(super) struct Old {
    /// The values.
    pub(super) tuple: Tuple,
    /// Whether all values are there, and not only those of the replica identity.
    pub(super) whole: bool,
}

/// A table as the log describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    /// Its number.
    pub(super) table: u32,
    /// Its columns, in the order of the values.
    pub(super) columns: Vec<DescribedColumn>,
}

/// A column as the log describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DescribedColumn {
    /// Whether it belongs to the replica identity.
    pub(super) identity: bool,
    /// Its name.
    pub(super) name: String,
    /// The number of its type.
    pub(super) type_oid: u32,
    /// The modifier of its type.
    pub(super) modifier: i32,
}

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell<'a> {
    /// No value.
    Null,
    /// The value it had before, which the log does not repeat.
    Unchanged,
    /// The value's text.
    Text(&'a [u8]),
}

/// The values of a row.
#[derive(Clone, Debug)]
pub(super) struct Tuple {
    data: Bytes,
    fields: Box<[Field]>,
    /// Whether some value is [`Cell::Unchanged`].
    pub(super) unchanged: bool,
}

#[derive(Clone, Copy, Debug)]
struct Field {
    start: u32,
    /// [`NULL`], [`UNCHANGED`], or the length of the text.
    length: i32,
}

const NULL: i32 = -1;

const UNCHANGED: i32 = -2;

impl Tuple {
    /// The value at a place; none where there is no such place.
    pub(super) fn cell(&self, at: usize) -> Cell<'_> {
        let Some(field) = self.fields.get(at) else { return Cell::Null };
        match usize::try_from(field.length) {
            Ok(length) => {
                let start = field.start as usize;
                Cell::Text(self.data.get(start..start + length).unwrap_or_default())
            }
            Err(_) if field.length == UNCHANGED => Cell::Unchanged,
            Err(_) => Cell::Null,
        }
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.data.len() + self.fields.len() * size_of::<Field>()
    }

    /// How many values it has.
    pub(super) fn width(&self) -> usize {
        self.fields.len()
    }
}

/// Reads a message.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Corrupt`] if it is not one.
pub(super) fn message(data: &Bytes) -> Result<Message> {
    Cursor { data, at: 0 }
        .message()
        .ok_or_else(|| Error::corrupt("a message in the log of changes is damaged"))
}

struct Cursor<'a> {
    data: &'a Bytes,
    at: usize,
}

impl Cursor<'_> {
    fn message(&mut self) -> Option<Message> {
        Some(match self.byte()? {
            b'B' => {
                let commit = self.number().map(u64::from_be_bytes)?;
                Message::Begin { commit, at_us: self.number().map(i64::from_be_bytes)? }
            }
            b'C' => {
                // Flags, which mean nothing yet, and where the commit stands.
                self.number::<9>()?;
                Message::Commit { end: self.number().map(u64::from_be_bytes)? }
            }
            b'R' => Message::Relation(self.described()?),
            b'I' => {
                let table = self.number().map(u32::from_be_bytes)?;
                let mark = self.byte()?;
                (mark == b'N').then_some(())?;
                Message::Insert { table, new: self.tuple()? }
            }
            b'U' => {
                let table = self.number().map(u32::from_be_bytes)?;
                let old = match self.byte()? {
                    b'N' => None,
                    mark => {
                        let old = self.old(mark)?;
                        (self.byte()? == b'N').then_some(())?;
                        Some(old)
                    }
                };
                Message::Update { table, old, new: self.tuple()? }
            }
            b'D' => {
                let table = self.number().map(u32::from_be_bytes)?;
                let mark = self.byte()?;
                Message::Delete { table, old: self.old(mark)? }
            }
            b'T' => {
                let count = self.number().map(u32::from_be_bytes)?;
                self.byte()?;
                let mut tables = Vec::new();
                for _ in 0..count {
                    tables.push(self.number().map(u32::from_be_bytes)?);
                }
                Message::Truncate(tables)
            }
            _ => Message::Other,
        })
    }

    fn described(&mut self) -> Option<Described> {
        let table = self.number().map(u32::from_be_bytes)?;
        // The names of schema and table, and the kind of the replica identity.
        self.text()?;
        self.text()?;
        self.byte()?;
        let count = self.number().map(u16::from_be_bytes)?;
        let mut columns = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            columns.push(DescribedColumn {
                identity: self.byte()? & 1 == 1,
                name: self.text()?,
                type_oid: self.number().map(u32::from_be_bytes)?,
                modifier: self.number().map(i32::from_be_bytes)?,
            });
        }
        Some(Described { table, columns })
    }

    fn old(&mut self, mark: u8) -> Option<Old> {
        matches!(mark, b'K' | b'O').then_some(())?;
        Some(Old { tuple: self.tuple()?, whole: mark == b'O' })
    }

    fn tuple(&mut self) -> Option<Tuple> {
        let count = self.number().map(u16::from_be_bytes)?;
        let begin = self.at;
        let mut fields = Vec::with_capacity(usize::from(count));
        let mut unchanged = false;
        for _ in 0..count {
            let length = match self.byte()? {
                b'n' => NULL,
                b'u' => {
                    unchanged = true;
                    UNCHANGED
                }
                b't' => self.number().map(i32::from_be_bytes)?,
                _ => return None,
            };
            let start = u32::try_from(self.at - begin).ok()?;
            self.at += usize::try_from(length).unwrap_or(0);
            (self.at <= self.data.len()).then_some(())?;
            fields.push(Field { start, length });
        }
        let data = self.data.slice(begin..self.at);
        Some(Tuple { data, fields: fields.into_boxed_slice(), unchanged })
    }

    fn byte(&mut self) -> Option<u8> {
        self.number::<1>().map(|[byte]| byte)
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.data.get(self.at..self.at + N)?.try_into().ok()?;
        self.at += N;
        Some(bytes)
    }

    fn text(&mut self) -> Option<String> {
        let rest = self.data.get(self.at..)?;
        let length = memchr::memchr(0, rest)?;
        self.at += length + 1;
        Some(String::from_utf8_lossy(rest.get(..length)?).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update() -> Vec<u8> {
        let mut data = vec![b'U'];
        data.extend(7u32.to_be_bytes());
        data.extend(b"K\0\x02t\0\0\0\x02abn");
        data.extend(b"N\0\x03t\0\0\0\x01cun");
        data
    }

    #[test]
    fn an_update_tells_the_old_key_and_what_did_not_change() {
        let Message::Update { table: 7, old: Some(old), new } =
            message(&Bytes::from(update())).unwrap()
        else {
            panic!("not an update")
        };
        assert!(!old.whole && !old.tuple.unchanged && new.unchanged);
        assert_eq!((old.tuple.cell(0), old.tuple.cell(1)), (Cell::Text(b"ab"), Cell::Null));
        assert_eq!((new.cell(0), new.cell(1)), (Cell::Text(b"c"), Cell::Unchanged));
        assert_eq!((new.cell(2), new.cell(3), new.width()), (Cell::Null, Cell::Null, 3));
    }

    #[test]
    fn a_message_that_is_cut_off_is_damage() {
        let whole = update();
        for cut in 1..whole.len() {
            assert!(message(&Bytes::copy_from_slice(&whole[..cut])).is_err(), "{cut}");
        }
        assert!(message(&Bytes::new()).is_err());
        assert!(matches!(message(&Bytes::from_static(b"Yabc")).unwrap(), Message::Other));
    }

    #[test]
    fn a_table_is_described_by_name_and_type() {
        let mut data = b"R\0\0\0\x07public\0t\0d\0\x01\x01id\0".to_vec();
        data.extend(23u32.to_be_bytes());
        data.extend((-1i32).to_be_bytes());
        let Message::Relation(described) = message(&Bytes::from(data)).unwrap() else {
            panic!("not a relation")
        };
        let column =
            DescribedColumn { identity: true, name: "id".into(), type_oid: 23, modifier: -1 };
        assert_eq!(described, Described { table: 7, columns: vec![column] });
    }
}
