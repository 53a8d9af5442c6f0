//! The table that is written into: what it is, how rows fit it, and how it is made and widened.

use arrow::datatypes::{DataType, SchemaRef};
use flywheel_base::{Error, Result};

use super::encode::{Form, direct, natural, sql_type};
use crate::column::wider;
use crate::destination::{NewTargetColumns, WriteMode, WriteRequest};
use crate::postgres::{PgType, STAGING_SUFFIX, Session, field, literal, quoted, types};

/// The longest name the server keeps.
const NAME_BYTES_MAX: usize = 63;

/// A table's schema and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableName {
    pub(super) schema: String,
    pub(super) name: String,
}

impl TableName {
    /// Finds the schema of a table that is written `schema.table` or `table`.
    pub(super) async fn find(session: &Session, text: &str) -> Result<Self> {
        let sql = "
            SELECT n.nspname::text, c.relname::text
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
              AND (n.nspname || '.' || c.relname = $1
                   OR c.relname = $1 AND pg_catalog.pg_table_is_visible(c.oid))
            ORDER BY n.nspname || '.' || c.relname = $1 DESC LIMIT 1";
        if let Some(row) = session.rows(sql, &[&text]).await?.first() {
            return Ok(Self { schema: field(row, 0)?, name: field(row, 1)? });
        }
        let found = match text.split_once('.') {
            Some((schema, name)) => Self { schema: schema.to_owned(), name: name.to_owned() },
            None => {
                let row = session.row("SELECT current_schema()::text", &[]).await?;
                let schema: Option<String> = field(&row, 0)?;
                let schema = schema.unwrap_or_else(|| "public".to_owned());
                Self { schema, name: text.to_owned() }
            }
        };
        if found.name.is_empty() || found.name.len() + STAGING_SUFFIX.len() > NAME_BYTES_MAX {
            let most = NAME_BYTES_MAX - STAGING_SUFFIX.len();
            return Err(Error::invalid(format!("\"{text}\" cannot be the name of a target table"))
                .hint(format!("Write schema.table with a name of 1 to {most} bytes.")));
        }
        let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)";
        if !field::<bool>(&session.row(sql, &[&found.schema]).await?, 0)? {
            return Err(Error::not_found(format!(
                "there is no schema \"{}\" in the {}",
                found.schema,
                session.server().name()
            ))
            .hint(format!("Make it: CREATE SCHEMA {};", quoted(&found.schema))));
        }
        Ok(found)
    }

    /// The table in SQL.
    pub(super) fn sql(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// The table that collects the rows of a replacement.
    pub(super) fn staging(&self) -> Self {
        Self { name: format!("{}{STAGING_SUFFIX}", self.name), ..self.clone() }
    }

    /// The table for people.
    pub(super) fn text(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// A column of the table.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of the catalog")]
pub(super) struct TargetColumn {
    pub(super) name: String,
    pub(super) of: PgType,
    /// Its type in SQL without modifiers.
    pub(super) sql_type: String,
    /// Its type in SQL with them.
    pub(super) full_type: String,
    pub(super) not_null: bool,
    /// Whether a new row gets a value in it by itself.
    pub(super) fills_itself: bool,
    /// Whether the server computes it from the other columns.
    pub(super) computed: bool,
    /// Whether the server numbers it and refuses changes.
    pub(super) numbered: bool,
}

/// A table that exists.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) oid: u32,
    pub(super) columns: Vec<TargetColumn>,
}

impl Target {
    /// Looks a table up; none if it does not exist.
    pub(super) async fn find(session: &Session, name: &TableName) -> Result<Option<Self>> {
        let sql = "SELECT c.oid, c.relkind::text FROM pg_catalog.pg_class c \
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                   WHERE n.nspname = $1 AND c.relname = $2";
        let found = session.rows(sql, &[&name.schema, &name.name]).await?;
        let Some(row) = found.first() else { return Ok(None) };
        let oid: u32 = field(row, 0)?;
        let form: String = field(row, 1)?;
        if !matches!(form.as_str(), "r" | "p") {
            return Err(Error::invalid(format!("\"{}\" is not a table", name.text()))
                .hint("Set `table` to a table, or to a name that is free."));
        }
        let sql = "SELECT attname::text, atttypid, atttypmod, attnotnull, \
                          atthasdef OR attidentity <> '', attgenerated <> '', attidentity = 'a', \
                          pg_catalog.format_type(atttypid, atttypmod) \
                   FROM pg_catalog.pg_attribute \
                   WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
        let rows = session.rows(sql, &[&oid]).await?;
        let oids: Vec<u32> = rows.iter().map(|row| field(row, 1)).collect::<Result<_>>()?;
        let modifiers: Vec<i32> = rows.iter().map(|row| field(row, 2)).collect::<Result<_>>()?;
        let mut columns = Vec::with_capacity(rows.len());
        for (row, (of, sql_type)) in rows.iter().zip(types(session, &oids, &modifiers).await?) {
            columns.push(TargetColumn {
                name: field(row, 0)?,
                of,
                sql_type,
                not_null: field(row, 3)?,
                fills_itself: field(row, 4)?,
                computed: field(row, 5)?,
                numbered: field(row, 6)?,
                full_type: field(row, 7)?,
            });
        }
        Ok(Some(Self { oid, columns }))
    }

    /// Whether rows can be found by `key`: a unique index has exactly these columns.
    pub(super) async fn has_key(&self, session: &Session, key: &[String]) -> Result<bool> {
        let mut sorted = key.to_vec();
        sorted.sort_unstable();
        let sql = "
            SELECT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = $1
              AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL
              AND i.indexprs IS NULL AND $2::text[] = (
                SELECT array_agg(a.attname::text ORDER BY a.attname::text COLLATE \"C\")
                FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS u(num, ord)
                JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.num
                WHERE u.ord <= i.indnkeyatts))";
        field(&session.row(sql, &[&self.oid, &sorted]).await?, 0)
    }
}

/// One column of the rows on its way into the table.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts that each step asks for")]
pub(super) struct Fitted {
    /// Where it stands in the batch.
    pub(super) place: usize,
    /// Its name.
    pub(super) name: String,
    /// The form it is sent in.
    pub(super) form: Form,
    /// The expression that makes the column's value of a waiting one.
    pub(super) expression: String,
    /// Whether the server has to convert it.
    pub(super) converted: bool,
    /// The type it gets, with modifiers.
    pub(super) full_type: String,
    /// Whether a row without a value is refused.
    pub(super) not_null: bool,
    /// Whether it belongs to the key.
    pub(super) key: bool,
    /// Whether an update may set it.
    pub(super) settable: bool,
}

/// How rows of one schema go into the table.
#[derive(Clone, Debug)]
pub(super) struct Fit {
    /// The rows' schema.
    pub(super) schema: SchemaRef,
    /// Their columns, as far as they are written.
    pub(super) columns: Vec<Fitted>,
    /// Where the column stands that marks deleted rows.
    pub(super) deleted: Option<usize>,
    /// Columns of the table that rows lack and new rows need.
    pub(super) lacking: Vec<String>,
    /// Columns of the rows that the table lacks, with their types.
    pub(super) new: Vec<(String, String)>,
}

impl Fit {
    /// Fits rows of `schema` into a table, or into one that is made of them.
    pub(super) async fn of(
        session: &Session,
        request: &WriteRequest,
        name: &TableName,
        target: Option<&Target>,
        schema: &SchemaRef,
    ) -> Result<Self> {
        let deleted = marker(request, schema)?;
        let mut fit = Self {
            schema: SchemaRef::clone(schema),
            columns: Vec::new(),
            deleted,
            lacking: Vec::new(),
            new: Vec::new(),
        };
        for (place, column) in schema.fields().iter().enumerate() {
            if Some(place) == deleted {
                continue;
            }
            let key = keyed(request.mode) && request.key.contains(column.name());
            let known = target
                .map(|target| target.columns.iter().find(|known| known.name == *column.name()));
            match known {
                Some(Some(known)) if known.computed => {}
                Some(Some(known)) => {
                    fit.columns
                        .push(fitted(session, name, place, column.data_type(), known, key).await?);
                }
                None => fit.add(place, column.name(), column.data_type(), key),
                Some(None) => match request.new_columns {
                    NewTargetColumns::Add => fit.add(place, column.name(), column.data_type(), key),
                    NewTargetColumns::Ignore => {}
                    NewTargetColumns::Fail => {
                        return Err(Error::blocked(format!(
                            "the table \"{}\" has no column \"{}\"",
                            name.text(),
                            column.name()
                        ))
                        .hint("Add the column there, or set `new_columns` to add or ignore."));
                    }
                },
            }
        }
        for key in &request.key {
            if keyed(request.mode) && !fit.columns.iter().any(|column| column.name == *key) {
                return Err(Error::invalid(format!("the rows have no key column \"{key}\""))
                    .hint("Set `key` to columns of the rows that identify a row of the target."));
            }
        }
        let written = |name: &str| fit.columns.iter().any(|column| column.name == name);
        if let Some(target) = target {
            let needed = target
                .columns
                .iter()
                .filter(|column| column.not_null && !column.fills_itself && !written(&column.name));
            fit.lacking = needed.map(|column| column.name.clone()).collect();
        }
        if let (Some(column), false) = (fit.lacking.first(), keyed(request.mode)) {
            return Err(Error::invalid(format!(
                "the table \"{}\" needs a value in \"{column}\", which the rows do not have",
                name.text()
            ))
            .hint("Map a column to it, give it a default there, or drop its NOT NULL."));
        }
        Ok(fit)
    }

    fn add(&mut self, place: usize, name: &str, data_type: &DataType, key: bool) {
        self.new.push((name.to_owned(), sql_type(data_type)));
        // What it is then: the type that was made for it.
        let form = match sql_type(data_type).as_str() {
            "smallint" => Form::Int2,
            "integer" => Form::Int4,
            "real" => Form::Float4,
            "jsonb" => Form::Jsonb,
            _ => natural(data_type),
        };
        self.columns.push(Fitted {
            place,
            name: name.to_owned(),
            form,
            expression: expression(name, form, None),
            converted: false,
            full_type: sql_type(data_type),
            not_null: key,
            key,
            settable: !key,
        });
    }
}

/// Whether rows meet by a key.
pub(super) fn keyed(mode: WriteMode) -> bool {
    matches!(mode, WriteMode::Merge | WriteMode::Mirror)
}

/// Where the column stands that marks deleted rows.
fn marker(request: &WriteRequest, schema: &SchemaRef) -> Result<Option<usize>> {
    if request.mode != WriteMode::Mirror {
        return Ok(None);
    }
    let Some(name) = &request.deleted else {
        return Err(Error::invalid("a mirror needs a column that marks deleted rows")
            .hint("Name it, or write with mode merge."));
    };
    match schema.column_with_name(name) {
        Some((place, column)) if *column.data_type() == DataType::Boolean => Ok(Some(place)),
        Some(_) => Err(Error::invalid(format!(
            "the column \"{name}\" that marks deleted rows is not a truth value"
        ))
        .hint("Map it to bool.")),
        None => Err(Error::invalid(format!(
            "the rows have no column \"{name}\" that marks deleted ones"
        ))
        .hint("Name a boolean column of the rows.")),
    }
}

async fn fitted(
    session: &Session,
    name: &TableName,
    place: usize,
    data_type: &DataType,
    known: &TargetColumn,
    key: bool,
) -> Result<Fitted> {
    let direct = direct(data_type, &known.of);
    let form = direct.unwrap_or_else(|| natural(data_type));
    let cast = if direct.is_some() { cast_of(form) } else { Some(known.sql_type.clone()) };
    let array = known.of.category == "A" && direct.is_none();
    let text = direct.is_none() && form == Form::Text(None);
    let expression = if array && text {
        array_expression(name, known)
    } else if text && known.of.category == "C" {
        composite_expression(name, known)
    } else {
        expression(&known.name, form, cast.as_deref())
    };
    if direct.is_none() {
        convertible(session, name, known, data_type, form, array).await?;
    }
    Ok(Fitted {
        place,
        name: known.name.clone(),
        form,
        expression,
        converted: direct.is_none(),
        full_type: known.full_type.clone(),
        not_null: key || known.not_null,
        key,
        settable: !key && !known.numbered,
    })
}

/// The cast that makes a value of `form` of its waiting form.
fn cast_of(form: Form) -> Option<String> {
    match form {
        Form::Json => Some("json".to_owned()),
        Form::Jsonb => Some("jsonb".to_owned()),
        _ => None,
    }
}

fn expression(name: &str, form: Form, cast: Option<&str>) -> String {
    let cast = cast.map(str::to_owned).or_else(|| cast_of(form));
    match cast {
        Some(cast) => format!("s.{}::{cast}", quoted(name)),
        None => format!("s.{}", quoted(name)),
    }
}

/// An array from its text in SQL or from a list in JSON, which sources hand over.
fn array_expression(table: &TableName, known: &TargetColumn) -> String {
    let (column, sql_type) = (format!("s.{}", quoted(&known.name)), &known.sql_type);
    let flat =
        format!("ARRAY(SELECT pg_catalog.jsonb_array_elements_text({column}::jsonb))::{sql_type}");
    // A list in a list is a dimension, unless the values are JSON themselves.
    let list = match known.of.is("_json") || known.of.is("_jsonb") {
        true => flat,
        false => format!(
            "CASE WHEN left(ltrim(right(ltrim({column}), -1)), 1) = '[' THEN {} ELSE {flat} END",
            from_json(table, known)
        ),
    };
    format!("CASE WHEN left(ltrim({column}), 1) = '[' THEN {list} ELSE {column}::{sql_type} END")
}

/// A composite value from its text in SQL or from an object in JSON, which sources hand over.
fn composite_expression(table: &TableName, known: &TargetColumn) -> String {
    let column = format!("s.{}", quoted(&known.name));
    format!(
        "CASE WHEN left(ltrim({column}), 1) = '{{' THEN {} ELSE {column}::{} END",
        from_json(table, known),
        known.sql_type
    )
}

/// What the server makes of JSON for a column of the table.
fn from_json(table: &TableName, known: &TargetColumn) -> String {
    let name = quoted(&known.name);
    format!(
        "(pg_catalog.jsonb_populate_record(NULL::{}, \
         pg_catalog.jsonb_build_object({}, s.{name}::jsonb))).{name}",
        table.sql(),
        literal(&known.name)
    )
}

/// Asks the server whether it converts one type into the other.
async fn convertible(
    session: &Session,
    name: &TableName,
    known: &TargetColumn,
    data_type: &DataType,
    form: Form,
    array: bool,
) -> Result<()> {
    let refused = || {
        Error::invalid(format!(
            "column \"{}\" ({data_type}) does not fit the column of type {} in \"{}\"",
            known.name,
            known.sql_type,
            name.text()
        ))
        .hint("Map the column to another type, or change the type there.")
    };
    // The server would print bytes as digits, which is not what they say.
    if form == Form::Bytea || (array && form != Form::Text(None)) {
        return Err(refused());
    }
    let sql = format!("SELECT NULL::{}::{}", form.staged_type(), known.sql_type);
    match session.prepare(&sql).await? {
        Ok(_) => Ok(()),
        Err(error) => Err(refused().caused_by(error)),
    }
}

/// The statement that makes the table.
pub(super) fn create(name: &TableName, request: &WriteRequest, fit: &Fit) -> String {
    let mut parts: Vec<String> =
        fit.new.iter().map(|(name, of)| format!("{} {of}", quoted(name))).collect();
    let key = request.made_key(&fit.schema);
    if !key.is_empty() {
        let key: Vec<String> = key.iter().map(|name| quoted(name)).collect();
        parts.push(format!("PRIMARY KEY ({})", key.join(", ")));
    }
    format!("CREATE TABLE {} ({})", name.sql(), parts.join(", "))
}

/// The statement that gives the table the columns it lacks; none if it lacks none.
pub(super) fn widen(name: &TableName, fit: &Fit) -> Option<String> {
    let parts: Vec<String> =
        fit.new.iter().map(|(name, of)| format!("ADD COLUMN {} {of}", quoted(name))).collect();
    (!parts.is_empty()).then(|| format!("ALTER TABLE {} {}", name.sql(), parts.join(", ")))
}

/// The statement that gives columns types which hold values of the rows' types as well; none if they do.
pub(super) fn retype(
    name: &TableName,
    target: &Target,
    columns: &[String],
    schema: &SchemaRef,
) -> Option<String> {
    let part = |column: &String| {
        let known = target.columns.iter().find(|known| known.name == *column)?;
        let given = schema.field_with_name(column).ok()?;
        let wide = wider(&held(&known.of)?, given.data_type())?;
        Some(format!("ALTER COLUMN {} TYPE {}", quoted(column), sql_type(&wide)))
    };
    let parts: Vec<String> = columns.iter().filter_map(part).collect();
    (!parts.is_empty()).then(|| format!("ALTER TABLE {} {}", name.sql(), parts.join(", ")))
}

/// The numbers that a column holds; none if it is no number, or one without limits.
fn held(of: &PgType) -> Option<DataType> {
    match of.name.as_str() {
        "int2" if of.is("int2") => Some(DataType::Int16),
        "int4" if of.is("int4") => Some(DataType::Int32),
        "int8" if of.is("int8") => Some(DataType::Int64),
        "float4" if of.is("float4") => Some(DataType::Float32),
        "float8" if of.is("float8") => Some(DataType::Float64),
        "numeric" if of.is("numeric") => {
            let (precision, scale) = of.decimal()?;
            Some(DataType::Decimal128(precision, i8::try_from(scale).ok()?))
        }
        _ => None,
    }
}

/// What a table lacks to take the rows of another one.
pub(super) struct Lacks {
    /// The statement that gives it that.
    pub(super) sql: String,
    /// Its columns that have narrower types.
    pub(super) narrower: Vec<String>,
}

/// The columns and the wider types that another table has; none if it has no more.
pub(super) async fn widen_like(
    session: &Session,
    name: &TableName,
    table: &Target,
    other: &Target,
) -> Result<Option<Lacks>> {
    let sql = "SELECT attname::text, pg_catalog.format_type(atttypid, atttypmod) \
               FROM pg_catalog.pg_attribute \
               WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
    let numbers = |table: &Target, name: &str| {
        table.columns.iter().find(|known| known.name == name).and_then(|known| held(&known.of))
    };
    let (mut parts, mut narrower) = (Vec::new(), Vec::new());
    for row in session.rows(sql, &[&other.oid]).await? {
        let (column, of): (String, String) = (field(&row, 0)?, field(&row, 1)?);
        if !table.columns.iter().any(|known| known.name == column) {
            parts.push(format!("ADD COLUMN {} {of}", quoted(&column)));
        } else if let (Some(old), Some(new)) = (numbers(table, &column), numbers(other, &column))
            && wider(&old, &new).is_some()
        {
            parts.push(format!("ALTER COLUMN {} TYPE {of}", quoted(&column)));
            narrower.push(column);
        }
    }
    let sql = format!("ALTER TABLE {} {}", name.sql(), parts.join(", "));
    Ok((!parts.is_empty()).then_some(Lacks { sql, narrower }))
}
