//! The table of a target: made, looked at, and given new columns.

use arrow::datatypes::{DataType, FieldRef, Schema, TimeUnit};
use flywheel_base::{Error, Result, suggest};

use super::encode::{Fit, plain};
use crate::column::{DECIMAL_DIGITS_MAX, wider};
use crate::destination::{NewTargetColumns, WriteMode};
use crate::source::mysql::{Connection, quoted};

/// The longest name of a table or column.
const NAME_CHARS_MAX: usize = 64;

/// The most characters of a text that is part of a key.
const KEY_CHARS: usize = 255;

/// The bytes that the columns of an InnoDB index may have together, with room for their lengths.
const KEY_BYTES_MAX: usize = 3_000;

/// The most bytes a character of utf8mb4 has.
const CHARACTER_BYTES: usize = 4;

/// The most digits behind the point of a `DECIMAL` that MySQL and MariaDB both have.
const SCALE_MAX: i8 = 30;

/// What the name of a staging table ends with.
const STAGING: &str = "__flywheel_staging";

/// What the name of a replaced table ends with until it is dropped.
const REPLACED: &str = "__flywheel_replaced";

/// A column of the target.
#[derive(Clone, Debug)]
pub(super) struct TargetColumn {
    /// Its name as the table has it.
    pub(super) name: String,
    /// What it can keep.
    pub(super) fit: Fit,
    /// Whether the server computes it, so that it takes no value.
    pub(super) generated: bool,
    /// Whether the text it holds is compared by its bytes, or it is no text.
    exact: bool,
    /// Whether a new row has to bring a value for it.
    pub(super) needed: bool,
}

/// A table that is written into.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// The database.
    pub(super) database: String,
    /// Its name there.
    pub(super) name: String,
    /// Its columns.
    pub(super) columns: Vec<TargetColumn>,
    /// Its unique indexes: their columns, and whether none of those can be missing.
    unique: Vec<(Vec<String>, bool)>,
}

/// The name of the table a replacement of `table` is staged in.
pub(super) fn staging(table: &str) -> Result<String> {
    if table.chars().count() + REPLACED.len() > NAME_CHARS_MAX {
        let most = NAME_CHARS_MAX - REPLACED.len();
        return Err(Error::invalid(format!(
            "the name of table \"{table}\" is too long to replace it"
        ))
        .hint(format!(
            "A replacement is staged in a table beside it: use at most {most} characters."
        )));
    }
    Ok(format!("{table}{STAGING}"))
}

/// The name of the table that a replacement of `table` took the place of.
pub(super) fn replaced(table: &str) -> String {
    format!("{table}{REPLACED}")
}

/// `database`.`table`
pub(super) fn full_name(database: &str, table: &str) -> String {
    format!("{}.{}", quoted(database), quoted(table))
}

/// Whether a table of that name is there.
pub(super) async fn exists(
    connection: &mut Connection,
    database: &str,
    table: &str,
) -> Result<bool> {
    let sql = "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";
    Ok(connection.first::<i64>(sql, (database, table)).await?.is_some())
}

/// Proves that rows of a table are written by transactions.
async fn check_engine(connection: &mut Connection, database: &str, table: &str) -> Result<()> {
    let sql = "SELECT t.TABLE_TYPE, coalesce(t.ENGINE, ''), coalesce(e.TRANSACTIONS, 'NO') \
               FROM information_schema.TABLES t LEFT JOIN information_schema.ENGINES e \
               ON e.ENGINE = t.ENGINE WHERE t.TABLE_SCHEMA = ? AND t.TABLE_NAME = ?";
    let found: Option<(String, String, String)> = connection.first(sql, (database, table)).await?;
    let Some((kind, engine, transactions)) = found else { return Ok(()) };
    if kind.contains("VIEW") {
        return Err(Error::invalid(format!("\"{table}\" is a view and cannot be written"))
            .hint("Name the table behind it."));
    }
    if transactions != "YES" {
        return Err(Error::invalid(format!(
            "table \"{table}\" has the engine {engine}, which has no transactions"
        ))
        .hint(format!(
            "Rows and position could not be committed together: ALTER TABLE {} ENGINE = InnoDB.",
            quoted(table)
        )));
    }
    Ok(())
}

/// Proves that a table can be swapped for another without losing what hangs on it.
pub(super) async fn check_swap(
    connection: &mut Connection,
    database: &str,
    table: &str,
) -> Result<()> {
    let sql = "SELECT (SELECT count(*) FROM information_schema.KEY_COLUMN_USAGE \
                 WHERE REFERENCED_TABLE_NAME IS NOT NULL AND ((TABLE_SCHEMA = ? AND TABLE_NAME = ?) \
                 OR (REFERENCED_TABLE_SCHEMA = ? AND REFERENCED_TABLE_NAME = ?))), \
               (SELECT count(*) FROM information_schema.TRIGGERS \
                 WHERE EVENT_OBJECT_SCHEMA = ? AND EVENT_OBJECT_TABLE = ?)";
    let names = (database, table, database, table, database, table);
    let found: Option<(u64, u64)> = connection.first(sql, names).await?;
    let what = match found.unwrap_or_default() {
        (0, 0) => return Ok(()),
        (0, _) => "triggers",
        _ => "foreign keys",
    };
    Err(Error::invalid(format!("table \"{table}\" has {what}, which a replacement would lose"))
        .hint(format!("Write with `merge` or `mirror`, or drop the {what}.")))
}

impl Table {
    /// Looks at a table; none if it is not there.
    pub(super) async fn find(
        connection: &mut Connection,
        database: &str,
        name: &str,
    ) -> Result<Option<Self>> {
        if !exists(connection, database, name).await? {
            return Ok(None);
        }
        check_engine(connection, database, name).await?;
        let mut table = Self {
            database: database.to_owned(),
            name: name.to_owned(),
            columns: Vec::new(),
            unique: Vec::new(),
        };
        table.look(connection).await?;
        Ok(Some(table))
    }

    /// Makes a table for rows of `schema`.
    pub(super) async fn create(
        connection: &mut Connection,
        database: &str,
        name: &str,
        schema: &Schema,
        key: &[String],
    ) -> Result<Self> {
        let definitions = schema.fields().iter().map(|field| {
            let place = key.iter().any(|key| key == field.name());
            definition(field.name(), field.data_type(), place, key.len(), connection.mariadb)
        });
        let mut parts: Vec<String> = definitions.collect::<Result<_>>()?;
        if parts.is_empty() {
            return Err(Error::invalid(format!("table \"{name}\" cannot be made without columns")));
        }
        if !key.is_empty() {
            let names: Vec<String> = key.iter().map(|name| quoted(name)).collect();
            parts.push(format!("PRIMARY KEY ({})", names.join(", ")));
        }
        let sql = format!(
            "CREATE TABLE {} ({}) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4",
            full_name(database, name),
            parts.join(", ")
        );
        connection.run(&sql).await.map_err(|error| error.context(format!("table \"{name}\"")))?;
        Self::find(connection, database, name)
            .await?
            .ok_or_else(|| Error::internal(format!("the new table \"{name}\" is gone")))
    }

    /// Makes a table with the columns and indexes of another, empty.
    pub(super) async fn create_like(
        connection: &mut Connection,
        database: &str,
        name: &str,
        model: &str,
    ) -> Result<Self> {
        let (new, old) = (full_name(database, name), full_name(database, model));
        connection.run(&format!("CREATE TABLE {new} LIKE {old}")).await?;
        Self::find(connection, database, name)
            .await?
            .ok_or_else(|| Error::internal(format!("the new table \"{name}\" is gone")))
    }

    /// Its quoted name.
    pub(super) fn full_name(&self) -> String {
        full_name(&self.database, &self.name)
    }

    async fn look(&mut self, connection: &mut Connection) -> Result<()> {
        let found =
            connection.columns(&format!("SELECT * FROM {} LIMIT 0", self.full_name())).await?;
        let sql = "SELECT COLUMN_NAME, EXTRA LIKE '%VIRTUAL%' OR EXTRA LIKE '%STORED%' \
                     OR EXTRA LIKE '%PERSISTENT%', \
                     COLLATION_NAME IS NULL OR COLLATION_NAME LIKE '%nopad_bin' \
                     OR COLLATION_NAME LIKE '%0900_bin', \
                     IS_NULLABLE = 'NO' AND COLUMN_DEFAULT IS NULL AND DATA_TYPE <> 'enum' \
                     AND EXTRA NOT LIKE '%auto_increment%' \
                   FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";
        let facts: Vec<(String, bool, bool, bool)> =
            connection.all(sql, (&self.database, &self.name)).await?;
        let columns = found.iter().map(|column| {
            let name = column.name_str().into_owned();
            let fact = facts.iter().find(|(known, ..)| *known == name);
            let (generated, exact, needed) = fact
                .map_or((false, false, false), |(_, made, exact, needed)| (*made, *exact, *needed));
            let needed = needed && !generated;
            TargetColumn { name, fit: Fit::of(column), generated, exact, needed }
        });
        self.columns = columns.collect();
        let sql = "SELECT INDEX_NAME, COLUMN_NAME, NULLABLE = 'YES' \
                   FROM information_schema.STATISTICS \
                   WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND NON_UNIQUE = 0 \
                   ORDER BY INDEX_NAME, SEQ_IN_INDEX";
        let parts: Vec<(String, Option<String>, bool)> =
            connection.all(sql, (&self.database, &self.name)).await?;
        let indexes = parts.chunk_by(|a, b| a.0 == b.0);
        let unique = indexes.map(|index| {
            let names = index.iter().map(|(_, name, _)| name.clone().unwrap_or_default());
            (names.collect(), index.iter().all(|(_, _, nullable)| !nullable))
        });
        self.unique = unique.collect();
        Ok(())
    }

    /// The column of that name, in any case.
    pub(super) fn column(&self, name: &str) -> Option<&TargetColumn> {
        let exact = self.columns.iter().find(|column| column.name == name);
        exact.or_else(|| self.columns.iter().find(|c| c.name.to_lowercase() == name.to_lowercase()))
    }

    /// Gives the table the columns of `schema` that it lacks, as far as that is wished.
    ///
    /// DDL ends transactions, so none may be open.
    pub(super) async fn adapt(
        &mut self,
        connection: &mut Connection,
        schema: &Schema,
        new_columns: NewTargetColumns,
    ) -> Result<()> {
        let missing: Vec<_> =
            schema.fields().iter().filter(|field| self.column(field.name()).is_none()).collect();
        if missing.is_empty() || new_columns == NewTargetColumns::Ignore {
            return Ok(());
        }
        let names: Vec<&str> = missing.iter().map(|field| field.name().as_str()).collect();
        if new_columns == NewTargetColumns::Fail {
            return Err(Error::invalid(format!(
                "table \"{}\" has no column {}",
                self.name,
                names.join(", ")
            ))
            .hint("Add it to the table, leave it out of the mapping, or set `new_columns: add`."));
        }
        let mariadb = connection.mariadb;
        let added = missing.iter().map(|field| {
            let column = definition(field.name(), field.data_type(), false, 0, mariadb)?;
            Ok(format!("ADD COLUMN {column}"))
        });
        let added: Vec<String> = added.collect::<Result<_>>()?;
        let sql = format!("ALTER TABLE {} {}", self.full_name(), added.join(", "));
        connection
            .run(&sql)
            .await
            .map_err(|error| error.context(format!("table \"{}\"", self.name)))?;
        self.look(connection).await
    }

    /// The statement that gives columns types which hold values of the rows' types as well, with all else
    /// that is said of them; none if they do.
    pub(super) async fn retyped(
        &self,
        connection: &mut Connection,
        columns: &[String],
        schema: &Schema,
    ) -> Result<Option<String>> {
        let sql = "SELECT COLUMN_NAME, COLUMN_TYPE FROM information_schema.COLUMNS \
                   WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";
        let types: Vec<(String, String)> =
            connection.all(sql, (&self.database, &self.name)).await?;
        let shown = format!("SHOW CREATE TABLE {}", self.full_name());
        let shown: Option<(String, String)> = connection.first(&shown, ()).await?;
        let shown = shown.map(|(_, text)| text).unwrap_or_default();
        let mut parts = Vec::new();
        for name in columns {
            let Some(known) = self.column(name).filter(|known| !known.generated) else { continue };
            let Some((_, of)) = types.iter().find(|(column, _)| *column == known.name) else {
                continue;
            };
            let Ok(given) = schema.field_with_name(name) else { continue };
            let wide = held(of).and_then(|held| wider(&held, given.data_type()));
            let Some(wide) = wide else { continue };
            // What is said of the column behind its type stays: NOT NULL, default, comment.
            let column = quoted(&known.name);
            let start = format!("{column} {of}");
            let rest = shown.lines().find_map(|line| line.trim().strip_prefix(&start));
            let rest = rest.map_or("", |rest| rest.strip_suffix(',').unwrap_or(rest));
            let kind = sql_type(name, &wide, false, 0, connection.mariadb)?;
            parts.push(format!("MODIFY COLUMN {column} {kind}{rest}"));
        }
        let sql = format!("ALTER TABLE {} {}", self.full_name(), parts.join(", "));
        Ok((!parts.is_empty()).then_some(sql))
    }

    /// Runs a statement that changes the columns. DDL ends transactions, so none may be open.
    pub(super) async fn alter(&mut self, connection: &mut Connection, sql: &str) -> Result<()> {
        connection.run(sql).await?;
        self.look(connection).await
    }

    /// Proves that rows of `schema` can be written in that mode.
    pub(super) fn check(&self, schema: &Schema, mode: WriteMode, key: &[String]) -> Result<()> {
        let computed =
            |field: &FieldRef| self.column(field.name()).is_some_and(|column| column.generated);
        if !schema.fields().is_empty() && schema.fields().iter().all(computed) {
            return Err(Error::invalid(format!(
                "the server computes all columns of table \"{}\" that the rows have",
                self.name
            ))
            .hint("Map a column to one that takes values."));
        }
        if !matches!(mode, WriteMode::Merge | WriteMode::Mirror) {
            return Ok(());
        }
        for name in key {
            if self.column(name).is_none() {
                let known: Vec<&str> = self.columns.iter().map(|c| c.name.as_str()).collect();
                return Err(Error::invalid(format!(
                    "table \"{}\" has no key column \"{name}\"",
                    self.name
                ))
                .hint(suggest::hint(name, known)));
            }
            if self.column(name).is_some_and(|column| column.generated) {
                return Err(Error::invalid(format!(
                    "the key column \"{name}\" of table \"{}\" is computed by the server",
                    self.name
                ))
                .hint("Set `key` to columns of the table that take values."));
            }
        }
        if !self.unique.iter().any(|(columns, filled)| *filled && same(columns, key)) {
            let names: Vec<String> = key.iter().map(|name| quoted(name)).collect();
            return Err(Error::invalid(format!(
                "table \"{}\" has no unique index on {} without missing values",
                self.name,
                key.join(", ")
            ))
            .hint(format!(
                "A {mode} needs one: make the columns NOT NULL, then ALTER TABLE {} ADD UNIQUE ({}).",
                quoted(&self.name),
                names.join(", ")
            )));
        }
        Ok(())
    }

    /// Whether a row can collide with another one than that of its key.
    pub(super) fn collides_beside(&self, key: &[String]) -> bool {
        self.unique.iter().any(|(columns, _)| !same(columns, key))
    }

    /// Whether keys that differ in their bytes can be equal to the server.
    pub(super) fn folds(&self, key: &[String]) -> bool {
        key.iter().any(|name| self.column(name).is_some_and(|column| !column.exact))
    }
}

/// Whether an index has exactly the columns of the key.
fn same(columns: &[String], key: &[String]) -> bool {
    columns.len() == key.len()
        && key.iter().all(|name| columns.iter().any(|c| c.to_lowercase() == name.to_lowercase()))
}

/// A column as `CREATE TABLE` names it.
fn definition(
    name: &str,
    data_type: &DataType,
    key: bool,
    key_columns: usize,
    mariadb: bool,
) -> Result<String> {
    if name.is_empty()
        || name.chars().count() > NAME_CHARS_MAX
        || name.ends_with(' ')
        || name.contains('\0')
    {
        return Err(Error::invalid(format!("\"{name}\" cannot be the name of a column in MySQL"))
            .hint(format!(
                "Rename it in the mapping: 1 to {NAME_CHARS_MAX} characters, no space at the end."
            )));
    }
    let kind = sql_type(name, data_type, key, key_columns, mariadb)?;
    let null = if key { "NOT NULL" } else { "NULL" };
    Ok(format!("{} {kind} {null}", quoted(name)))
}

/// The type of a column for values of that type.
fn sql_type(
    name: &str,
    data_type: &DataType,
    key: bool,
    key_columns: usize,
    mariadb: bool,
) -> Result<String> {
    let wanted = plain(data_type).ok_or_else(|| {
        Error::invalid(format!("column \"{name}\" of type {data_type} cannot be written to MySQL"))
            .hint("Turn it into text or JSON in the mapping, or leave it out.")
    })?;
    let chars = KEY_CHARS.min(KEY_BYTES_MAX / CHARACTER_BYTES / key_columns.max(1));
    let exact = if mariadb { "utf8mb4_nopad_bin" } else { "utf8mb4_0900_bin" };
    Ok(match (data_type, &wanted) {
        (DataType::Int8, _) => "TINYINT".to_owned(),
        (DataType::Int16, _) => "SMALLINT".to_owned(),
        (DataType::Int32, _) => "INT".to_owned(),
        (DataType::UInt8, _) => "TINYINT UNSIGNED".to_owned(),
        (DataType::UInt16, _) => "SMALLINT UNSIGNED".to_owned(),
        (DataType::UInt32, _) => "INT UNSIGNED".to_owned(),
        (DataType::UInt64, _) => "BIGINT UNSIGNED".to_owned(),
        (_, DataType::Boolean) => "BOOLEAN".to_owned(),
        (_, DataType::Int64) => "BIGINT".to_owned(),
        (_, DataType::Float32) => "FLOAT".to_owned(),
        (_, DataType::Float64) => "DOUBLE".to_owned(),
        (_, DataType::Decimal128(precision, scale)) if *scale < 0 => {
            format!("DECIMAL({}, 0)", u32::from(*precision) + u32::from(scale.unsigned_abs()))
        }
        (_, DataType::Decimal128(precision, scale)) if *scale <= SCALE_MAX => {
            format!("DECIMAL({precision}, {scale})")
        }
        (_, DataType::Decimal128(..)) => "LONGTEXT".to_owned(),
        (_, DataType::Binary | DataType::LargeBinary) if key => format!("VARBINARY({chars})"),
        (_, DataType::Binary | DataType::LargeBinary) => "LONGBLOB".to_owned(),
        (_, DataType::Date32) => "DATE".to_owned(),
        (DataType::Date64, _) => "DATETIME".to_owned(),
        (DataType::Timestamp(TimeUnit::Second, _), _) => "DATETIME".to_owned(),
        (DataType::Timestamp(TimeUnit::Millisecond, _), _) => "DATETIME(3)".to_owned(),
        (_, DataType::Timestamp(..)) => "DATETIME(6)".to_owned(),
        (_, DataType::Time64(_)) => "TIME(6)".to_owned(),
        _ if key => format!("VARCHAR({chars}) CHARACTER SET utf8mb4 COLLATE {exact}"),
        _ => "LONGTEXT".to_owned(),
    })
}

/// The numbers that a column holds whose type is written like that; none if it is no number.
fn held(column_type: &str) -> Option<DataType> {
    let text = column_type.to_ascii_lowercase();
    let word = text.split(['(', ' ']).next().unwrap_or_default();
    let unsigned = text.contains("unsigned");
    Some(match word {
        "tinyint" if unsigned => DataType::UInt8,
        "tinyint" => DataType::Int8,
        "smallint" if unsigned => DataType::UInt16,
        "smallint" => DataType::Int16,
        // No type of three bytes holds what the next smaller one does not.
        "mediumint" if unsigned => DataType::UInt16,
        "mediumint" => DataType::Int16,
        "int" if unsigned => DataType::UInt32,
        "int" => DataType::Int32,
        "bigint" if unsigned => DataType::UInt64,
        "bigint" => DataType::Int64,
        "float" => DataType::Float32,
        "decimal" => {
            let inner = text.split_once('(')?.1.split_once(')')?.0;
            let (precision, scale) = inner.split_once(',').unwrap_or((inner, "0"));
            let precision: u8 = precision.trim().parse().ok()?;
            // Arrow's decimals have fewer digits than the server's.
            let fits = precision <= DECIMAL_DIGITS_MAX;
            fits.then_some(DataType::Decimal128(precision, scale.trim().parse().ok()?))?
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_get_the_type_that_keeps_every_value() {
        for (data_type, key, expected) in [
            (DataType::UInt64, false, "`c` BIGINT UNSIGNED NULL"),
            (DataType::Decimal128(38, 9), false, "`c` DECIMAL(38, 9) NULL"),
            (DataType::Decimal128(5, -2), false, "`c` DECIMAL(7, 0) NULL"),
            (DataType::Decimal128(38, 38), false, "`c` LONGTEXT NULL"),
            (
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                false,
                "`c` DATETIME(6) NULL",
            ),
            (DataType::Utf8, false, "`c` LONGTEXT NULL"),
            (
                DataType::Utf8,
                true,
                "`c` VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL",
            ),
            (DataType::Binary, true, "`c` VARBINARY(255) NOT NULL"),
        ] {
            assert_eq!(definition("c", &data_type, key, 1, true).unwrap(), expected);
        }
        let wide = definition("c", &DataType::Utf8, true, 4, true).unwrap();
        assert!(wide.contains("VARCHAR(187)"), "four keys share the bytes of an index: {wide}");
        for name in ["", "ends ", &"x".repeat(65)] {
            assert!(
                definition(name, &DataType::Int64, false, 0, true)
                    .unwrap_err()
                    .hint_text()
                    .is_some()
            );
        }
        let list = DataType::new_list(DataType::Int64, true);
        assert!(definition("c", &list, false, 0, true).unwrap_err().message().contains("\"c\""));
    }

    #[test]
    fn the_type_of_a_column_tells_which_numbers_it_holds() {
        for (text, expected) in [
            ("int(11)", Some(DataType::Int32)),
            ("int(10) unsigned zerofill", Some(DataType::UInt32)),
            ("bigint", Some(DataType::Int64)),
            ("decimal(9,2)", Some(DataType::Decimal128(9, 2))),
            ("decimal(65,2)", None),
            ("float", Some(DataType::Float32)),
            ("varchar(9)", None),
            ("double", None),
        ] {
            assert_eq!(held(text), expected, "{text}");
        }
    }

    #[test]
    fn a_long_name_leaves_no_room_for_staging() {
        assert_eq!(staging("t").unwrap(), "t__flywheel_staging");
        assert!(staging(&"t".repeat(46)).unwrap_err().hint_text().unwrap().contains("45"));
    }
}
