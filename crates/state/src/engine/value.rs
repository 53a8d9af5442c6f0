//! What goes into a statement and comes out of a row, whichever database is asked.

use std::error::Error as StdError;

use rusqlite::types::{ToSqlOutput, ValueRef};

use super::{Error, Result};

/// What a parameter is, also where it has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A whole number of 64 bits.
    Int,
    /// A number with a fraction.
    Real,
    /// Text.
    Text,
}

/// A parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    /// None of its kind.
    Null(Kind),
    /// A whole number; a truth is 0 or 1.
    Int(i64),
    /// A number with a fraction.
    Real(f64),
    /// Text.
    Text(&'a str),
}

impl Value<'_> {
    /// What it is.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Null(kind) => *kind,
            Self::Int(_) => Kind::Int,
            Self::Real(_) => Kind::Real,
            Self::Text(_) => Kind::Text,
        }
    }
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null(_) => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// What can be a parameter.
pub(crate) trait ToSql {
    /// It as one.
    fn value(&self) -> Value<'_>;
}

/// What is of one kind, also where it is not there.
pub(crate) trait Kinded {
    /// The kind.
    const KIND: Kind;
}

/// A cell of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell<'a> {
    /// Nothing.
    Null,
    /// A whole number; a truth is 0 or 1.
    Int(i64),
    /// A number with a fraction.
    Real(f64),
    /// Text.
    Text(&'a str),
}

/// What a cell can be read as.
pub(crate) trait FromSql: Sized {
    /// It, or none if the cell holds something else.
    fn from_cell(cell: Cell<'_>) -> Option<Self>;
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Kinded for $number {
            const KIND: Kind = Kind::Int;
        }

        impl ToSql for $number {
            fn value(&self) -> Value<'_> {
                Value::Int(i64::from(*self))
            }
        }

        impl FromSql for $number {
            fn from_cell(cell: Cell<'_>) -> Option<Self> {
                match cell {
                    Cell::Int(number) => number.try_into().ok(),
                    _ => None,
                }
            }
        }
    )*};
}

numbers!(u16, i32, u32);

impl Kinded for i64 {
    const KIND: Kind = Kind::Int;
}

impl ToSql for i64 {
    fn value(&self) -> Value<'_> {
        Value::Int(*self)
    }
}

impl FromSql for i64 {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Int(number) => Some(number),
            _ => None,
        }
    }
}

impl Kinded for bool {
    const KIND: Kind = Kind::Int;
}

impl ToSql for bool {
    fn value(&self) -> Value<'_> {
        Value::Int(i64::from(*self))
    }
}

impl FromSql for bool {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Int(number) => Some(number != 0),
            _ => None,
        }
    }
}

impl Kinded for f64 {
    const KIND: Kind = Kind::Real;
}

impl ToSql for f64 {
    fn value(&self) -> Value<'_> {
        Value::Real(*self)
    }
}

impl FromSql for f64 {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Real(number) => Some(number),
            Cell::Int(number) => Some(number as Self),
            _ => None,
        }
    }
}

impl Kinded for str {
    const KIND: Kind = Kind::Text;
}

impl ToSql for str {
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl Kinded for String {
    const KIND: Kind = Kind::Text;
}

impl ToSql for String {
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl FromSql for String {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Text(text) => Some(text.to_owned()),
            _ => None,
        }
    }
}

impl<T: Kinded + ?Sized> Kinded for &T {
    const KIND: Kind = T::KIND;
}

impl<T: ToSql + ?Sized> ToSql for &T {
    fn value(&self) -> Value<'_> {
        (**self).value()
    }
}

impl<T: ToSql + Kinded> ToSql for Option<T> {
    fn value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Null(T::KIND), ToSql::value)
    }
}

impl<T: FromSql> FromSql for Option<T> {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Null => Some(None),
            cell => T::from_cell(cell).map(Some),
        }
    }
}

/// The parameters of a statement, in their order.
pub(crate) trait Params: Sized {
    /// Does something with them.
    fn bind<R>(self, work: impl FnOnce(&[Value<'_>]) -> R) -> R;
}

impl Params for [&(dyn ToSql + Send + Sync); 0] {
    fn bind<R>(self, work: impl FnOnce(&[Value<'_>]) -> R) -> R {
        work(&[])
    }
}

macro_rules! arrays {
    ($($length:literal),*) => {$(
        impl<T: ToSql> Params for [T; $length] {
            fn bind<R>(self, work: impl FnOnce(&[Value<'_>]) -> R) -> R {
                work(&self.each_ref().map(ToSql::value))
            }
        }
    )*};
}

arrays!(1, 2, 3, 4);

impl<T: ToSql> Params for &[T] {
    fn bind<R>(self, work: impl FnOnce(&[Value<'_>]) -> R) -> R {
        let values: Vec<Value<'_>> = self.iter().map(ToSql::value).collect();
        work(&values)
    }
}

/// Values as they were read elsewhere.
impl Params for Vec<Value<'_>> {
    fn bind<R>(self, work: impl FnOnce(&[Value<'_>]) -> R) -> R {
        work(&self)
    }
}

/// A row of an answer.
#[derive(Clone, Copy)]
pub(crate) enum Row<'a> {
    /// Of SQLite.
    Lite(&'a rusqlite::Row<'a>),
    /// Of PostgreSQL.
    Postgres(&'a tokio_postgres::Row),
}

/// Where a column is.
pub(crate) trait Place {
    /// Its number, from 0.
    fn at(self) -> usize;
}

impl Place for usize {
    fn at(self) -> usize {
        self
    }
}

impl Row<'_> {
    /// The value of a column.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if it is not of that type.
    pub(crate) fn get<I: Place, T: FromSql>(&self, place: I) -> Result<T> {
        let at = place.at();
        let cell = self.cell(at)?;
        T::from_cell(cell).ok_or_else(|| {
            let what = match cell {
                Cell::Null => "nothing",
                Cell::Int(_) => "a whole number",
                Cell::Real(_) => "a number",
                Cell::Text(_) => "text",
            };
            Error::unreadable(at, format!("a column holds {what} where something else is kept"))
        })
    }

    /// What a column holds.
    pub(crate) fn cell(&self, at: usize) -> Result<Cell<'_>> {
        match self {
            Self::Lite(row) => Ok(match row.get_ref(at)? {
                ValueRef::Null => Cell::Null,
                ValueRef::Integer(number) => Cell::Int(number),
                ValueRef::Real(number) => Cell::Real(number),
                ValueRef::Text(text) => {
                    Cell::Text(std::str::from_utf8(text).map_err(|e| Error::unreadable(at, e))?)
                }
                ValueRef::Blob(_) => return Err(Error::unreadable(at, "a column holds bytes")),
            }),
            Self::Postgres(row) => cell_of(row, at),
        }
    }
}

fn cell_of(row: &tokio_postgres::Row, at: usize) -> Result<Cell<'_>> {
    use tokio_postgres::types::Type;
    let Some(column) = row.columns().get(at) else {
        return Err(Error::unreadable(at, "a row has too few columns"));
    };
    let cell = match *column.type_() {
        Type::INT8 => row.try_get::<_, Option<i64>>(at)?.map(Cell::Int),
        Type::INT4 => row.try_get::<_, Option<i32>>(at)?.map(|number| Cell::Int(number.into())),
        Type::BOOL => row.try_get::<_, Option<bool>>(at)?.map(|truth| Cell::Int(truth.into())),
        Type::FLOAT8 => row.try_get::<_, Option<f64>>(at)?.map(Cell::Real),
        Type::TEXT | Type::VARCHAR | Type::NAME => {
            row.try_get::<_, Option<&str>>(at)?.map(Cell::Text)
        }
        ref other => {
            return Err(Error::unreadable(at, format!("a column is of the type {other}")));
        }
    };
    Ok(cell.unwrap_or(Cell::Null))
}

impl Error {
    /// A column that is not as it was written.
    pub(crate) fn unreadable(
        column: usize,
        cause: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::Unreadable { column, cause: cause.into() }
    }
}
