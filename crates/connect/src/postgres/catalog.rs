//! The types of the catalog.

use flywheel_base::{Error, Result};

use super::{Session, field};
use crate::column::DECIMAL_DIGITS_MAX;

/// The types of columns, domains resolved.
const TYPES: &str = "
    WITH RECURSIVE col AS (
        SELECT ord, typ, typmod, typ AS declared
        FROM unnest($1::oid[], $2::int4[]) WITH ORDINALITY AS u(typ, typmod, ord)
        UNION ALL
        SELECT c.ord, t.typbasetype,
               CASE WHEN t.typtypmod >= 0 THEN t.typtypmod ELSE c.typmod END, c.declared
        FROM col c JOIN pg_catalog.pg_type t ON t.oid = c.typ WHERE t.typtype = 'd')
    SELECT t.typname::text, t.typnamespace = 'pg_catalog'::regnamespace, t.typtype::text,
           t.typcategory::text, c.typmod, pg_catalog.format_type(c.declared, -1)
    FROM col c JOIN pg_catalog.pg_type t ON t.oid = c.typ
    WHERE t.typtype <> 'd' ORDER BY c.ord";

/// A type of the catalog, domains resolved to what they are made of.
#[derive(Clone, Debug)]
pub(crate) struct PgType {
    /// Its name.
    pub(crate) name: String,
    /// Whether the server brings it.
    pub(crate) built_in: bool,
    /// `b`ase, `c`omposite, `e`num, `r`ange …
    pub(crate) form: String,
    /// `A` for arrays.
    pub(crate) category: String,
    /// The modifier, -1 if there is none.
    pub(crate) modifier: i32,
}

impl PgType {
    /// Precision and scale of the decimal that `numeric(p,s)` is, if it is one.
    pub(crate) fn decimal(&self) -> Option<(u8, u8)> {
        let packed = self.modifier.checked_sub(4).filter(|packed| *packed >= 0)?;
        let precision = u8::try_from((packed >> 16) & 0xffff).ok()?;
        // The scale has eleven bits with a sign.
        let scale = u8::try_from(((packed & 0x7ff) ^ 0x400) - 0x400).ok()?;
        (precision <= DECIMAL_DIGITS_MAX && scale <= precision).then_some((precision, scale))
    }

    /// The most characters of `varchar(n)` or `char(n)`, if there is a most.
    pub(crate) fn characters_max(&self) -> Option<usize> {
        let length = self.modifier.checked_sub(4).filter(|length| *length > 0)?;
        usize::try_from(length).ok()
    }

    /// Whether it is the type of that name that the server brings.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.built_in && self.form == "b" && self.name == name
    }
}

/// The types of columns and their names in SQL, without modifiers.
pub(crate) async fn types(
    session: &Session,
    oids: &[u32],
    modifiers: &[i32],
) -> Result<Vec<(PgType, String)>> {
    let rows = session.rows(TYPES, &[&oids, &modifiers]).await?;
    if rows.len() != oids.len() {
        return Err(Error::internal("a column has a type that the catalog does not know"));
    }
    let mut types = Vec::with_capacity(rows.len());
    for row in rows {
        let of = PgType {
            name: field(&row, 0)?,
            built_in: field(&row, 1)?,
            form: field(&row, 2)?,
            category: field(&row, 3)?,
            modifier: field(&row, 4)?,
        };
        types.push((of, field(&row, 5)?));
    }
    Ok(types)
}
