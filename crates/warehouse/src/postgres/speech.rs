//! What clients of PostgreSQL say, in the words of our engine.
//!
//! A client asks the catalogue with functions, operators and types of PostgreSQL that only make sense over it. They become
//! constants and plain expressions here, before anything is planned. A query over a table of the catalogue that never has
//! rows (indexes, policies) has none, whatever else it says, and is answered so without being planned. A name that stands alone
//! means such a table only where it is neither the statement's own (`WITH pg_stats AS …`) nor a relation that the reader sees.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, GroupByExpr, Ident, JoinOperator, ObjectName, ObjectNamePart, Query, Select,
    SelectItem, SelectItemQualifiedWildcardKind, SetExpr, SetOperator, Statement as Sql,
    TableAlias, TableFactor, TableWithJoins, TimezoneInfo, Value, Visit, VisitMut, Visitor,
    VisitorMut, visit_relations,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use flywheel_base::{Error, Result};

use super::kind::Kind;
use super::list;
use super::relation::{
    self, CATALOGUE, OWNER, Relation, STANDARD, STANDARD_HERE, is_known, is_standard,
};
use crate::failure::from_engine;

/// What parts two columns of one name; clients are not told it.
const MARK: char = '\u{200b}';
/// What a column without a name is called.
const NAMELESS: &str = "?column?";
/// The longest expression that is said several times: where such ones stand in each other, the text would grow with powers.
const REPEATED_BYTES_MAX: usize = 200;
/// Columns of `pg_type` that are numbers of functions, and are told as their names.
const FUNCTION_COLUMNS: [&str; 4] = ["typinput", "typoutput", "typreceive", "typsend"];
/// Functions that make one row of none, beside those whose names end with `_agg`.
const AGGREGATES: [&str; 9] =
    ["count", "sum", "min", "max", "avg", "bool_or", "bool_and", "every", "grouping"];

/// Functions of one value that clients also write in FROM, where they are a table of one row and one column.
const LONE: [&str; 2] = ["current_setting", "string_to_array"];

/// Columns of the catalogue that are lists there and have no values here.
const BARE: [&str; 9] = [
    "datacl",
    "relacl",
    "nspacl",
    "typacl",
    "attacl",
    "spcacl",
    "reloptions",
    "attoptions",
    "spcoptions",
];

/// What a client is told of the server and of itself.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// What its reader sees; none where a statement does not ask.
    pub relations: &'a [Relation],
    /// The settings of its session.
    pub settings: &'a BTreeMap<String, String>,
    /// Its user.
    pub user: &'a str,
    /// The name of the database, as the client called it.
    pub database: &'a str,
    /// The number of its session.
    pub process: i32,
}

impl Told<'_> {
    /// What the server says it is.
    #[must_use]
    pub fn version(&self) -> String {
        let version = self.settings.get("server_version").map_or("", String::as_str);
        format!("PostgreSQL {version} (Flywheel {})", env!("CARGO_PKG_VERSION"))
    }

    /// The schema that a table without one is looked for in first.
    fn schema(&self) -> &str {
        path(self.settings).next().unwrap_or("public")
    }
}

/// The schemas that a client's `search_path` names, in their order, without that of its user, which is none here.
pub(crate) fn path(settings: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    let said = settings.get("search_path").map_or("", String::as_str);
    let names = said.split(',').map(|name| name.trim().trim_matches('"'));
    names.filter(|name| !matches!(*name, "" | "$user"))
}

/// What became of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spoken {
    /// The names of its columns; those of the plan if absent.
    names: Option<Vec<String>>,
}

impl Spoken {
    /// The names that the columns of the plan have for a client.
    pub(crate) fn names<'a>(&self, planned: impl Iterator<Item = &'a String>) -> Vec<String> {
        let planned: Vec<String> =
            planned.map(|name| name.split(MARK).next().unwrap_or_default().to_owned()).collect();
        match &self.names {
            Some(names) if names.len() == planned.len() => names.clone(),
            _ => planned,
        }
    }
}

/// Puts a statement into our words.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if it names a relation in a text (`'orders'::regclass`) that is not there.
pub(crate) fn translate(statement: &mut Statement, told: &Told<'_>) -> Result<Spoken> {
    if let Statement::Explain(explain) = statement {
        translate(&mut explain.statement, told)?;
        return Ok(Spoken { names: None });
    }
    let Statement::Statement(sql) = statement else { return Ok(Spoken { names: None }) };
    let own = Own::of(sql, told);
    let mut names = None;
    if let Sql::Query(query) = sql.as_mut() {
        names = names_of(query);
        if is_empty(query, &own)
            && let Some(names) = names.clone()
        {
            *statement = nothing(&names)?;
            return Ok(Spoken { names: Some(names) });
        }
    }
    let types = reads_types(sql);
    let lists = BTreeSet::new();
    let mut speech = Speech { told, oids: relation::oids(told.relations), own, types, lists };
    if let ControlFlow::Break(error) = sql.as_mut().visit(&mut speech) {
        return Err(error);
    }
    if let Sql::Query(query) = sql.as_mut() {
        if types {
            name_functions(query)?;
        }
        // Two functions may have become one constant.
        part_namesakes(query);
    }
    Ok(Spoken { names })
}

/// A query without rows that has columns of these names.
fn nothing(names: &[String]) -> Result<Statement> {
    let columns: Vec<String> =
        (0..names.len()).map(|at| format!("CAST(NULL AS VARCHAR) AS \"c{at}\"")).collect();
    let text = format!("SELECT {} WHERE false", columns.join(", "));
    let parser = DFParserBuilder::new(text.as_str()).with_dialect(&GenericDialect {}).build();
    let made = parser.and_then(|mut parser| parser.parse_statements()).map_err(from_engine)?;
    made.into_iter().next().ok_or_else(|| Error::internal("a query without rows is no query"))
}

struct Speech<'a> {
    told: &'a Told<'a>,
    oids: BTreeMap<(&'a str, &'a str), u32>,
    own: Own,
    /// Whether types are asked for, whose columns number functions.
    types: bool,
    /// The queries of all whose rows one value is compared with, `= ANY (SELECT …)`.
    lists: BTreeSet<String>,
}

/// Names that mean something of the statement or of its reader, so that alone they mean no table of the catalogue.
struct Own(BTreeSet<String>);

impl Own {
    fn of(sql: &Sql, told: &Told<'_>) -> Self {
        let relations = told.relations.iter().map(|relation| &relation.name);
        let named = relations.filter(|name| relation::is_empty(name));
        let mut own = Self(named.cloned().collect());
        let visited = sql.visit(&mut own);
        debug_assert!(visited.is_continue(), "the visitor does not stop");
        own
    }
}

impl Visitor for Own {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let parts = query.with.iter().flat_map(|with| &with.cte_tables);
        self.0.extend(parts.map(|part| folded(&part.alias.name)));
        ControlFlow::Continue(())
    }
}

impl VisitorMut for Speech<'_> {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        match alone(factor) {
            Ok(Some(table)) => {
                *factor = table;
                return ControlFlow::Continue(());
            }
            Ok(None) => {}
            Err(error) => return ControlFlow::Break(error),
        }
        let TableFactor::Table { name, alias, args, .. } = factor else {
            return ControlFlow::Continue(());
        };
        let Some(mut parts) = idents(name) else { return ControlFlow::Continue(()) };
        if parts.len() == 3 && parts.first().is_some_and(|one| folded(one) == self.told.database) {
            parts.remove(0);
        }
        let words: Vec<String> = parts.iter().map(folded).collect();
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [STANDARD, table] if is_standard(table) => {
                if alias.is_none() {
                    *alias = Some(alias_of(table));
                }
                parts = vec![Ident::new(STANDARD_HERE), Ident::new(*table)];
            }
            [CATALOGUE, table] if args.is_some() => {
                if is_known(table) {
                    *args = None;
                } else {
                    parts.remove(0);
                }
            }
            [table] if args.is_some() && is_known(table) => {
                *args = None;
                parts = vec![Ident::new(CATALOGUE), Ident::new(*table)];
            }
            _ => {}
        }
        *name = ObjectName(parts.into_iter().map(ObjectNamePart::Identifier).collect());
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if let Some(name) = name_cast(expr, self.types) {
            match expression(&name) {
                Ok(made) => *expr = made,
                Err(error) => return ControlFlow::Break(error),
            }
        }
        if let Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } = &*expr
            && let Expr::Subquery(query) = right.as_ref()
        {
            self.lists.insert(query.to_string());
        }
        let made = match &*expr {
            Expr::Subquery(query) if is_empty(query, &self.own) => Some(Expr::value(Value::Null)),
            Expr::Exists { subquery, negated } if is_empty(subquery, &self.own) => {
                Some(Expr::value(Value::Boolean(*negated)))
            }
            Expr::InSubquery { subquery, negated, .. } if is_empty(subquery, &self.own) => {
                Some(Expr::value(Value::Boolean(*negated)))
            }
            Expr::Function(function) => match &function.args {
                FunctionArguments::Subquery(query) if is_empty(query, &self.own) => {
                    Some(Expr::value(Value::Null))
                }
                _ if name_of(function).as_deref() == Some("array_to_string") => {
                    let said = function.to_string();
                    let bare = BARE.iter().any(|column| said.contains(column));
                    bare.then(|| Expr::value(Value::Null))
                }
                _ => None,
            },
            _ => None,
        };
        if let Some(made) = made {
            *expr = made;
        }
        if let Expr::Subquery(query) = expr
            && !self.is_list(query)
            && let Err(error) = look_up_one(query, &self.own)
        {
            return ControlFlow::Break(error);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match self.said(expr) {
            Ok(Some(made)) => *expr = made,
            Ok(None) => {}
            Err(error) => return ControlFlow::Break(error),
        }
        ControlFlow::Continue(())
    }
}

impl Speech<'_> {
    /// Whether a query says what one value is compared with, each row of it.
    fn is_list(&self, query: &Query) -> bool {
        !self.lists.is_empty() && self.lists.contains(&query.to_string())
    }

    /// The expression in our words, if it is not in them already.
    fn said(&self, expr: &mut Expr) -> Result<Option<Expr>> {
        match expr {
            Expr::Collate { expr, .. } => Ok(Some(expr.as_ref().clone())),
            Expr::BinaryOp { op, .. } => {
                if let BinaryOperator::PGCustomBinaryOperator(words) = op
                    && let Some(ours) = words.last().and_then(|word| operator(word))
                {
                    *op = ours;
                }
                Ok(None)
            }
            Expr::CompoundIdentifier(parts) => {
                let first = parts.first().map(folded).unwrap_or_default();
                let standard = parts.len() == 3 && first == STANDARD;
                if standard || (parts.len() == 4 && first == self.told.database) {
                    parts.remove(0);
                }
                Ok(None)
            }
            Expr::Identifier(ident) if ident.quote_style.is_none() => {
                match ident.value.to_lowercase().as_str() {
                    "current_schema" => expression(&literal(self.told.schema())).map(Some),
                    "current_role" => expression(&literal(self.told.user)).map(Some),
                    _ => Ok(None),
                }
            }
            Expr::Cast { .. } => self.cast(expr),
            Expr::Function(function) => self.called(function),
            _ => Ok(None),
        }
    }

    fn cast(&self, cast: &mut Expr) -> Result<Option<Expr>> {
        let Expr::Cast { expr, data_type, .. } = cast else { return Ok(None) };
        if let DataType::Array(ArrayElemTypeDef::SquareBracket(item, _)) = data_type {
            return match text_of(expr) {
                Some(text) => listed(text, item).map(Some),
                None => Ok(Some(expr.as_ref().clone())),
            };
        }
        if matches!(data_type, DataType::Bytea)
            && let Some(digits) = text_of(expr).and_then(|text| text.strip_prefix("\\x"))
        {
            let whole = digits.len().is_multiple_of(2)
                && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            return match whole {
                true => Ok(Some(Expr::value(Value::HexStringLiteral(digits.to_owned())))),
                false => Err(Error::invalid("a text is no value of its type, bytea")
                    .hint("Write two hexadecimal digits for each byte: '\\x00ff'.")),
            };
        }
        let word = match data_type {
            DataType::Regclass => "regclass".to_owned(),
            DataType::JSON | DataType::JSONB | DataType::Uuid => "text".to_owned(),
            DataType::Custom(name, _) => {
                match idents(name).and_then(|parts| parts.last().map(folded)) {
                    Some(word) => word,
                    None => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
        let ours = match word.as_str() {
            "regclass" => {
                return match text_of(expr) {
                    Some(text) => number(self.relation(text)?).map(Some),
                    None => Ok(Some(expr.as_ref().clone())),
                };
            }
            "regtype" => {
                return match text_of(expr) {
                    Some(text) => number(type_named(text)?).map(Some),
                    None => Ok(Some(expr.as_ref().clone())),
                };
            }
            "regnamespace" => {
                return match text_of(expr) {
                    Some(text) => number(relation::schema_oid(text)).map(Some),
                    None => Ok(Some(expr.as_ref().clone())),
                };
            }
            "regproc" | "regprocedure" => {
                return match text_of(expr) {
                    Some(text) => number(function_named(text)).map(Some),
                    None => Ok(Some(expr.as_ref().clone())),
                };
            }
            "regoper" | "regoperator" | "regrole" => {
                return Ok(Some(expr.as_ref().clone()));
            }
            "oid" => DataType::IntUnsigned(None),
            "xid" | "cid" | "int8" => DataType::BigInt(None),
            "int2" => DataType::SmallInt(None),
            "int4" => DataType::Int(None),
            "float4" => DataType::Real,
            "float8" => DataType::DoublePrecision,
            "bool" => DataType::Boolean,
            "timestamptz" | "timestamp" => DataType::Timestamp(None, TimezoneInfo::None),
            "text" | "name" | "bpchar" | "varchar" | "char" | "cstring" | "citext" | "json"
            | "jsonb" | "uuid" | "inet" | "aclitem" | "tid" | "int2vector" | "oidvector"
            | "pg_node_tree" => DataType::Varchar(None),
            _ => return Ok(None),
        };
        *data_type = ours;
        Ok(None)
    }

    /// A function of PostgreSQL as an expression of ours; one that is known loses its schema.
    fn called(&self, function: &mut Function) -> Result<Option<Expr>> {
        let Some(parts) = idents(&function.name) else { return Ok(None) };
        let words: Vec<String> = parts.iter().map(folded).collect();
        let name = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [CATALOGUE | STANDARD, name] => {
                let own = parts.last().cloned().into_iter().map(ObjectNamePart::Identifier);
                function.name = ObjectName(own.collect());
                (*name).to_owned()
            }
            [name] => (*name).to_owned(),
            _ => return Ok(None),
        };
        let arguments = arguments(function);
        let first = arguments.first().copied();
        let said = match name.as_str() {
            "version" => literal(&self.told.version()),
            "current_database" | "current_catalog" => literal(self.told.database),
            "current_schema" => literal(self.told.schema()),
            "current_schemas" => "make_array('pg_catalog', 'public')".to_owned(),
            "current_user" | "session_user" | "user" | "current_role" => literal(self.told.user),
            "pg_backend_pid" => self.told.process.to_string(),
            "pg_is_in_recovery"
            | "pg_is_other_temp_schema"
            | "pg_relation_is_publishable"
            | "pg_is_wal_replay_paused" => "false".to_owned(),
            "pg_table_is_visible"
            | "pg_type_is_visible"
            | "pg_function_is_visible"
            | "pg_collation_is_visible"
            | "pg_operator_is_visible"
            | "pg_has_role" => "true".to_owned(),
            "has_table_privilege"
            | "has_schema_privilege"
            | "has_database_privilege"
            | "has_any_column_privilege"
            | "has_column_privilege"
            | "has_function_privilege"
            | "has_type_privilege"
            | "has_sequence_privilege"
            | "has_language_privilege"
            | "has_server_privilege"
            | "has_foreign_data_wrapper_privilege"
            | "has_tablespace_privilege" => {
                let asked = arguments.last().copied().and_then(text_of).unwrap_or_default();
                let asked = asked.to_ascii_uppercase();
                let reads = ["SELECT", "USAGE", "CONNECT", "EXECUTE"];
                reads.iter().any(|word| asked.contains(word)).to_string()
            }
            "pg_get_userbyid" => literal(OWNER),
            "pg_encoding_to_char" | "pg_client_encoding" | "getdatabaseencoding" => {
                "'UTF8'".to_owned()
            }
            "pg_char_to_encoding" => "6".to_owned(),
            "pg_my_temp_schema" | "pg_stat_get_numscans" => "0".to_owned(),
            "pg_postmaster_start_time" | "pg_conf_load_time" => "now()".to_owned(),
            "format_type" => match arguments.as_slice() {
                [oid, modifier] if modifier.to_string().len() <= REPEATED_BYTES_MAX => {
                    type_title(oid, &modifier.to_string())
                }
                _ => return Ok(None),
            },
            "pg_get_expr"
            | "pg_get_indexdef"
            | "pg_get_constraintdef"
            | "pg_get_viewdef"
            | "pg_get_partkeydef"
            | "pg_get_serial_sequence"
            | "pg_get_functiondef"
            | "pg_get_ruledef"
            | "pg_get_triggerdef"
            | "pg_get_statisticsobjdef_columns"
            | "pg_get_function_arguments"
            | "pg_get_function_identity_arguments"
            | "pg_get_function_result"
            | "pg_tablespace_location"
            | "pg_size_pretty"
            | "pg_advisory_unlock_all"
            | "col_description"
            | "shobj_description"
            | "inet_server_addr"
            | "inet_client_addr" => "CAST(NULL AS VARCHAR)".to_owned(),
            // The description of a relation, if the class is not asked for or is that of relations.
            "obj_description" => match first {
                Some(oid) => format!(
                    "(SELECT max(described.description) FROM {CATALOGUE}.pg_description described \
                     WHERE described.objsubid = 0 AND described.objoid = {oid})"
                ),
                None => return Ok(None),
            },
            "pg_relation_size"
            | "pg_total_relation_size"
            | "pg_table_size"
            | "pg_indexes_size"
            | "pg_database_size"
            | "inet_server_port"
            | "inet_client_port" => "CAST(NULL AS BIGINT)".to_owned(),
            "current_setting" => {
                let setting = first.and_then(text_of).map(str::to_lowercase);
                match setting.and_then(|name| self.told.settings.get(&name)) {
                    Some(setting) => literal(setting),
                    None => "CAST(NULL AS VARCHAR)".to_owned(),
                }
            }
            "set_config" => match arguments.get(1) {
                Some(value) => value.to_string(),
                None => return Ok(None),
            },
            // A name that says the same without quotes has none.
            "quote_ident" => match first {
                Some(text) if text.to_string().len() <= REPEATED_BYTES_MAX => format!(
                    "CASE WHEN regexp_like({text}, '^[a-z_][a-z0-9_$]*$') THEN {text} \
                     ELSE '\"' || replace({text}, '\"', '\"\"') || '\"' END"
                ),
                _ => return Ok(None),
            },
            "array_upper" => match first {
                Some(list) => format!("CAST(array_length({list}) AS BIGINT)"),
                None => return Ok(None),
            },
            "array_lower" => "CAST(1 AS BIGINT)".to_owned(),
            "to_regclass" => match first.and_then(text_of).map(|text| self.relation(text)) {
                Some(Ok(oid)) => oid.to_string(),
                _ => "CAST(NULL AS BIGINT)".to_owned(),
            },
            "to_regtype" => match first.and_then(text_of).map(type_named) {
                Some(Ok(oid)) => oid.to_string(),
                _ => "CAST(NULL AS BIGINT)".to_owned(),
            },
            _ => return Ok(None),
        };
        expression(&said).map(Some)
    }

    /// The number of the relation that a text names.
    fn relation(&self, text: &str) -> Result<u32> {
        if let Ok(oid) = text.parse::<u32>() {
            return Ok(oid);
        }
        let parts = words(text);
        let (schema, name) = match parts.as_slice() {
            [schema, name] => (Some(schema.as_str()), name.as_str()),
            [name] => (None, name.as_str()),
            _ => (None, text),
        };
        if schema.is_none_or(|schema| schema == CATALOGUE)
            && let Some(oid) = relation::own_oid(name)
        {
            return Ok(oid);
        }
        let mut found = self.oids.iter().filter(|((in_schema, named), _)| {
            *named == name && schema.is_none_or(|schema| schema == *in_schema)
        });
        match (found.next(), found.next()) {
            (Some((_, oid)), None) => Ok(*oid),
            (Some(_), Some(_)) => Err(Error::invalid(format!("relation \"{text}\" is ambiguous"))
                .hint("Write its schema, too.")),
            (None, _) => Err(Error::not_found(format!("relation \"{text}\" does not exist"))),
        }
    }
}

/// The number of the type that a text names.
fn type_named(text: &str) -> Result<u32> {
    let name = text.trim().trim_start_matches("pg_catalog.");
    let found = Kind::ALL.into_iter().find(|kind| kind.name() == name || kind.title() == name);
    let other = match name {
        "character varying" => relation::other_type("varchar"),
        "character" => relation::other_type("bpchar"),
        name => relation::other_type(name),
    };
    let oid = match name.strip_suffix("[]") {
        Some(item) => list::list_of(type_named(item)?),
        None => found.map(Kind::oid).or(other),
    };
    oid.ok_or_else(|| Error::not_found(format!("type \"{text}\" does not exist")))
}

/// What a type is called, by its number and what it says beside.
fn type_title(oid: &Expr, modifier: &str) -> String {
    let mut text = format!("CASE {oid}");
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Numeric) {
        text.push_str(&format!(" WHEN {} THEN '{}'", kind.oid(), kind.title()));
    }
    for (kind, list) in list::kinds() {
        text.push_str(&format!(" WHEN {list} THEN '{}[]'", kind.title()));
    }
    text.push_str(&format!(
        " WHEN 1700 THEN CASE WHEN {modifier} > 4 THEN 'numeric(' || CAST(({modifier} - 4) >> 16 AS VARCHAR) || ',' || \
         CAST(({modifier} - 4) & 65535 AS VARCHAR) || ')' ELSE 'numeric' END \
         WHEN 18 THEN '\"char\"' WHEN 19 THEN 'name' WHEN 1042 THEN 'character' WHEN 1043 THEN 'character varying' \
         WHEN 2950 THEN 'uuid' WHEN 3802 THEN 'jsonb' ELSE '???' END"
    ));
    text
}

/// The number of a function that a text names; 0 if there is none.
fn function_named(text: &str) -> u32 {
    let name = text.trim().trim_start_matches("pg_catalog.");
    relation::functions().find(|(_, known)| *known == name).map_or(0, |(oid, _)| oid)
}

/// What a function is called, by its number, as a column that tells it is shown.
fn function_title(oid: &Expr) -> String {
    let mut text = format!("CASE {oid}");
    for (number, name) in relation::functions() {
        text.push_str(&format!(" WHEN {number} THEN '{name}'"));
    }
    text.push_str(" ELSE '-' END");
    text
}

/// Whether a statement reads the catalogue's table of types.
fn reads_types(sql: &Sql) -> bool {
    let read = visit_relations(sql, |name| {
        let table = idents(name).and_then(|parts| parts.last().map(folded));
        match table.as_deref() {
            Some("pg_type") => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    read.is_break()
}

/// Whether an expression is a column that numbers a function.
fn numbers_function(expr: &Expr) -> bool {
    let name = match expr {
        Expr::Identifier(ident) => Some(folded(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().map(folded),
        _ => None,
    };
    name.is_some_and(|name| FUNCTION_COLUMNS.contains(&name.as_str()))
}

/// What is cast to a text by its number and told by its name there: `t.oid::regtype::text`, `typreceive::text`.
fn name_cast(expr: &Expr, types: bool) -> Option<String> {
    let Expr::Cast { expr: inner, data_type, .. } = expr else { return None };
    if !matches!(data_type, DataType::Text | DataType::Varchar(_)) {
        let DataType::Custom(name, _) = data_type else { return None };
        let word = idents(name).and_then(|parts| parts.last().map(folded));
        if !word.is_some_and(|word| matches!(word.as_str(), "text" | "varchar" | "name")) {
            return None;
        }
    }
    let mut inner = inner.as_ref();
    while let Expr::Nested(within) = inner {
        inner = within;
    }
    match inner {
        column if types && numbers_function(column) => Some(function_title(column)),
        Expr::Cast { expr: oid, data_type: DataType::Custom(name, _), .. } => {
            let word = idents(name).and_then(|parts| parts.last().map(folded));
            let shown = word.as_deref() == Some("regtype") && text_of(oid).is_none();
            shown.then(|| type_title(oid, "-1"))
        }
        _ => None,
    }
}

/// Tells columns of a query that number functions by the names of these.
fn name_functions(query: &mut Query) -> Result<()> {
    let SetExpr::Select(select) = query.body.as_mut() else { return Ok(()) };
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) = item
            && numbers_function(expr)
            && let Some(name) = title(expr)
        {
            let alias = Ident::with_quote('"', name);
            *item = SelectItem::ExprWithAlias { expr: expression(&function_title(expr))?, alias };
        }
    }
    Ok(())
}

/// A list in PostgreSQL's words, `{a,b}`, in ours; its items are texts, unless they are numbers, days or truths.
fn listed(text: &str, item: &DataType) -> Result<Expr> {
    let items = list::texts(text).ok_or_else(|| {
        Error::invalid("a list is not understood").hint("Write it '{a,b}', with none in it.")
    })?;
    let items: Vec<String> = items
        .iter()
        .map(|item| item.as_deref().map_or_else(|| "NULL".to_owned(), literal))
        .collect();
    let made = format!("make_array({})", items.join(", "));
    let plain = matches!(
        item,
        DataType::SmallInt(_)
            | DataType::Int2(_)
            | DataType::Int(_)
            | DataType::Integer(_)
            | DataType::Int4(_)
            | DataType::BigInt(_)
            | DataType::Int8(_)
            | DataType::Real
            | DataType::DoublePrecision
            | DataType::Boolean
            | DataType::Bool
            | DataType::Date
    );
    match plain && !items.is_empty() {
        true => expression(&format!("CAST({made} AS {item}[])")),
        false => expression(&made),
    }
}

fn operator(word: &str) -> Option<BinaryOperator> {
    Some(match word {
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "!~~" => BinaryOperator::PGNotLikeMatch,
        "=" => BinaryOperator::Eq,
        "<>" => BinaryOperator::NotEq,
        "<" => BinaryOperator::Lt,
        "<=" => BinaryOperator::LtEq,
        ">" => BinaryOperator::Gt,
        ">=" => BinaryOperator::GtEq,
        "+" => BinaryOperator::Plus,
        "-" => BinaryOperator::Minus,
        "||" => BinaryOperator::StringConcat,
        _ => return None,
    })
}

/// Whether a query has no rows because it reads a table of the catalogue that never has some.
fn is_empty(query: &Query, own: &Own) -> bool {
    set_is_empty(&query.body, own)
}

fn set_is_empty(body: &SetExpr, own: &Own) -> bool {
    match body {
        SetExpr::Select(select) => select_is_empty(select, own),
        SetExpr::Query(query) => is_empty(query, own),
        SetExpr::SetOperation { op, left, right, .. } => match op {
            SetOperator::Union => set_is_empty(left, own) && set_is_empty(right, own),
            SetOperator::Intersect => set_is_empty(left, own) || set_is_empty(right, own),
            _ => set_is_empty(left, own),
        },
        _ => false,
    }
}

fn select_is_empty(select: &Select, own: &Own) -> bool {
    if !select.from.iter().any(|from| from_is_empty(from, own)) {
        return false;
    }
    let grouped = match &select.group_by {
        GroupByExpr::Expressions(by, more) => !by.is_empty() && more.is_empty(),
        GroupByExpr::All(_) => true,
    };
    // An aggregate over nothing is a row; what one in a query of its own makes is its own.
    let counted = select.having.is_some()
        || select.projection.iter().any(|item| item.visit(&mut Counted { depth: 0 }).is_break());
    grouped || !counted
}

/// Stops at an aggregate that is in no query within.
struct Counted {
    depth: usize,
}

impl Visitor for Counted {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let name = name_of(function).unwrap_or_default();
        let counts = name.ends_with("_agg") || AGGREGATES.contains(&name.as_str());
        match self.depth == 0 && function.over.is_none() && counts {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

fn from_is_empty(from: &TableWithJoins, own: &Own) -> bool {
    let inner = |op: &JoinOperator| {
        matches!(op, JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_))
    };
    let left = |op: &JoinOperator| matches!(op, JoinOperator::Left(_) | JoinOperator::LeftOuter(_));
    // Where the other side of a join stays, what is empty here says nothing.
    if !from.joins.iter().all(|join| inner(&join.join_operator) || left(&join.join_operator)) {
        return false;
    }
    let mut joined = from.joins.iter().filter(|join| inner(&join.join_operator));
    factor_is_empty(&from.relation, own) || joined.any(|join| factor_is_empty(&join.relation, own))
}

/// A function of one value as a query of one row, whose column is called like its table; none for another table.
fn alone(factor: &TableFactor) -> Result<Option<TableFactor>> {
    let TableFactor::Table { name, alias, args: Some(called), with_ordinality: false, .. } = factor
    else {
        return Ok(None);
    };
    let parts = idents(name).unwrap_or_default();
    let function = match parts.as_slice() {
        [function] => function,
        [schema, function] if folded(schema) == CATALOGUE => function,
        _ => return Ok(None),
    };
    if !LONE.contains(&folded(function).as_str()) {
        return Ok(None);
    }
    let table = alias.as_ref().map_or(function, |alias| &alias.name);
    let column = alias.as_ref().and_then(|alias| alias.columns.first());
    let column = column.map_or(table, |column| &column.name);
    let values: Vec<String> = called.args.iter().map(ToString::to_string).collect();
    let values = values.join(", ");
    let text = format!("SELECT * FROM (SELECT {function}({values}) AS {column}) AS {table}");
    let parser = DFParserBuilder::new(text.as_str()).with_dialect(&GenericDialect {}).build();
    let made = parser.and_then(|mut parser| parser.parse_statements()).map_err(from_engine)?;
    if let Some(Statement::Statement(sql)) = made.into_iter().next()
        && let Sql::Query(query) = *sql
        && let SetExpr::Select(select) = *query.body
        && let Some(from) = select.from.into_iter().next()
    {
        return Ok(Some(from.relation));
    }
    Err(Error::internal("a function in FROM became no query"))
}

fn factor_is_empty(factor: &TableFactor, own: &Own) -> bool {
    match factor {
        TableFactor::Table { name, .. } => {
            let Some(parts) = idents(name) else { return false };
            let words: Vec<String> = parts.iter().map(folded).collect();
            match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                [CATALOGUE, name] => name.starts_with("pg_") && relation::is_empty(name),
                [STANDARD, name] => !name.starts_with("pg_") && relation::is_empty(name),
                [name] => {
                    name.starts_with("pg_") && relation::is_empty(name) && !own.0.contains(*name)
                }
                _ => false,
            }
        }
        TableFactor::Derived { subquery, .. } => is_empty(subquery, own),
        TableFactor::NestedJoin { table_with_joins, .. } => from_is_empty(table_with_joins, own),
        _ => false,
    }
}

/// Makes a look-up in the catalogue one value for sure. PostgreSQL finds one row at most by the numbers of what it looks up; our
/// engine does not know that, and plans a query that depends on the row around it only where it makes one row of all.
fn look_up_one(query: &mut Query, own: &Own) -> Result<()> {
    let cut = query.limit_clause.is_some() || query.fetch.is_some() || query.order_by.is_some();
    let SetExpr::Select(select) = query.body.as_mut() else { return Ok(()) };
    let grouped = match &select.group_by {
        GroupByExpr::Expressions(by, more) => !by.is_empty() || !more.is_empty(),
        GroupByExpr::All(_) => true,
    };
    let other = query.with.is_some() || cut || grouped || select.having.is_some();
    if other || select.distinct.is_some() || select.selection.is_none() || select.from.is_empty() {
        return Ok(());
    }
    let parts = select.from.iter().flat_map(|from| {
        std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation))
    });
    for part in parts {
        if !is_of_catalogue(part, own) {
            return Ok(());
        }
    }
    if select.projection.iter().any(|item| item.visit(&mut Counted { depth: 0 }).is_break()) {
        return Ok(());
    }
    let [item] = select.projection.as_mut_slice() else { return Ok(()) };
    let (SelectItem::UnnamedExpr(found) | SelectItem::ExprWithAlias { expr: found, .. }) = item
    else {
        return Ok(());
    };
    let mut one = expression("max(found)")?;
    let Expr::Function(function) = &mut one else { return Ok(()) };
    let FunctionArguments::List(list) = &mut function.args else { return Ok(()) };
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))) = list.args.first_mut() else {
        return Ok(());
    };
    std::mem::swap(argument, found);
    *found = one;
    Ok(())
}

/// Whether something that is read from is a table of the catalogue.
fn is_of_catalogue(factor: &TableFactor, own: &Own) -> bool {
    let TableFactor::Table { name, .. } = factor else { return false };
    let Some(parts) = idents(name) else { return false };
    let words: Vec<String> = parts.iter().map(folded).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [CATALOGUE, name] => is_known(name),
        [name] => name.starts_with("pg_") && is_known(name) && !own.0.contains(*name),
        _ => false,
    }
}

/// The names that PostgreSQL gives to the columns of a query; none if they follow from a table.
fn names_of(query: &Query) -> Option<Vec<String>> {
    names_in(&query.body)
}

fn names_in(body: &SetExpr) -> Option<Vec<String>> {
    let select = match body {
        SetExpr::Select(select) => select,
        SetExpr::Query(query) => return names_of(query),
        SetExpr::SetOperation { left, .. } => return names_in(left),
        _ => return None,
    };
    if let ([SelectItem::Wildcard(_)], [from]) =
        (select.projection.as_slice(), select.from.as_slice())
        && let TableFactor::Derived { subquery, .. } = &from.relation
        && from.joins.is_empty()
    {
        return names_of(subquery);
    }
    let name = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) => Some(title(expr).unwrap_or_else(|| NAMELESS.to_owned())),
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        _ => None,
    };
    select.projection.iter().map(name).collect()
}

/// What PostgreSQL calls a column of this expression.
fn title(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(folded(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().map(folded),
        Expr::Function(function) => name_of(function),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => title(inner),
        Expr::Cast { expr, data_type, .. } => title(expr).or_else(|| match data_type {
            DataType::Custom(name, _) => idents(name).and_then(|parts| parts.last().map(folded)),
            other => Some(other.to_string().to_lowercase()),
        }),
        Expr::Case { .. } => Some("case".to_owned()),
        Expr::Exists { .. } => Some("exists".to_owned()),
        Expr::Array(_) => Some("array".to_owned()),
        Expr::Extract { .. } => Some("extract".to_owned()),
        Expr::Substring { .. } => Some("substring".to_owned()),
        Expr::Subquery(query) => names_of(query)?.into_iter().next(),
        _ => None,
    }
}

/// Gives columns names of their own where the engine would refuse two alike: `oid, c.*`, `null, null`.
fn part_namesakes(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let mut whole = BTreeSet::new();
    let mut all = false;
    for item in &select.projection {
        match item {
            SelectItem::Wildcard(_) => all = true,
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                whole.extend(idents(name).and_then(|parts| parts.last().map(folded)));
            }
            _ => {}
        }
    }
    let mut seen = BTreeSet::new();
    for (at, item) in select.projection.iter_mut().enumerate() {
        let (said, within) = match &*item {
            SelectItem::UnnamedExpr(expr) => {
                let within = match expr {
                    Expr::Identifier(_) => all,
                    Expr::CompoundIdentifier(parts) => {
                        let table = parts.iter().rev().nth(1).map(folded);
                        all || table.is_some_and(|table| whole.contains(&table))
                    }
                    _ => false,
                };
                // The engine calls a cast as what is cast.
                let mut bare = expr;
                while let Expr::Cast { expr, .. } | Expr::Nested(expr) = bare {
                    bare = expr;
                }
                (bare.to_string(), within)
            }
            SelectItem::ExprWithAlias { alias, .. } => (folded(alias), false),
            _ => continue,
        };
        if seen.insert(said) && !within {
            continue;
        }
        let parted = |name: String| Ident::with_quote('"', format!("{name}{MARK}{at}"));
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let name = title(expr).unwrap_or_else(|| NAMELESS.to_owned());
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: parted(name) };
            }
            SelectItem::ExprWithAlias { alias, .. } => *alias = parted(folded(alias)),
            _ => {}
        }
    }
}

/// The parts of a name, if they are nothing but names.
fn idents(name: &ObjectName) -> Option<Vec<Ident>> {
    let ident = |part: &ObjectNamePart| match part {
        ObjectNamePart::Identifier(ident) => Some(ident.clone()),
        ObjectNamePart::Function(_) => None,
    };
    name.0.iter().map(ident).collect()
}

/// The last part of a function's name.
fn name_of(function: &Function) -> Option<String> {
    idents(&function.name).and_then(|parts| parts.last().map(folded))
}

/// The arguments that are plain expressions.
fn arguments(function: &Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &function.args else { return Vec::new() };
    let plain = list.args.iter().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    plain.collect()
}

/// A name as the engine knows it.
fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The parts of a name in a text: `raw."Orders"`.
fn words(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut quoted) = (Vec::new(), String::new(), false);
    for sign in text.trim().chars() {
        match sign {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(std::mem::take(&mut part)),
            sign if quoted => part.push(sign),
            sign => part.extend(sign.to_lowercase()),
        }
    }
    parts.push(part);
    parts
}

fn alias_of(table: &str) -> TableAlias {
    TableAlias { explicit: true, name: Ident::new(table), columns: Vec::new(), at: None }
}

fn text_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
            _ => None,
        },
        Expr::Nested(inner) => text_of(inner),
        _ => None,
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn number(oid: u32) -> Result<Expr> {
    expression(&oid.to_string())
}

fn expression(text: &str) -> Result<Expr> {
    let parser = DFParserBuilder::new(text).with_dialect(&GenericDialect {}).build();
    parser
        .and_then(|mut parser| parser.parse_into_expr())
        .map(|made| made.expr)
        .map_err(from_engine)
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;

    use super::*;

    fn parsed(sql: &str) -> Statement {
        let mut parser =
            DFParserBuilder::new(sql).with_dialect(&PostgreSqlDialect {}).build().unwrap();
        parser.parse_statements().unwrap().pop_front().unwrap()
    }

    /// The statement in our words, and the names of its columns.
    fn ours(sql: &str) -> (String, Option<Vec<String>>) {
        let relation = Relation {
            schema: "raw".to_owned(),
            name: "orders".to_owned(),
            view: false,
            description: None,
            columns: Vec::new(),
        };
        let settings = BTreeMap::from([("server_version".to_owned(), "16.9".to_owned())]);
        let told = Told {
            relations: &[relation],
            settings: &settings,
            user: "o'hara",
            database: "shop",
            process: 7,
        };
        let mut statement = parsed(sql);
        let spoken = translate(&mut statement, &told).unwrap();
        (statement.to_string(), spoken.names)
    }

    fn check(sql: &str, expected: &str) {
        assert_eq!(ours(sql).0, expected, "{sql}");
    }

    #[test]
    fn words_of_postgresql_become_ours() {
        check("select current_user, pg_catalog.pg_backend_pid()", "SELECT 'o''hara', 7");
        check(
            "select 1 where relname operator(pg_catalog.~) '^(a)$' collate pg_catalog.default",
            "SELECT 1 WHERE relname ~ '^(a)$'",
        );
        check(
            "select a.oid::pg_catalog.regclass::pg_catalog.text from \"shop\".raw.orders as a",
            "SELECT a.oid::VARCHAR FROM raw.orders AS a",
        );
        check("select 'pg_class'::regclass", "SELECT 1259");
        check(
            "select columns.data_type from information_schema.columns",
            "SELECT columns.data_type FROM pg_information_schema.columns AS columns",
        );
        check("select pg_catalog.lower('A')", "SELECT lower('A')");
        check("select has_table_privilege('orders', 'INSERT')", "SELECT false");
        check("select 'pg_catalog.array_in'::regproc, 'absent'::regproc", "SELECT 750, 0");
        check("select a.attrelid::oid from pg_attribute as a", {
            "SELECT a.attrelid::INT UNSIGNED FROM pg_attribute AS a"
        });
        check("select '{1,2}'::int[]", "SELECT CAST(make_array('1', '2') AS INT[])");
        check("select '{r,\"a,b\"}'::text[]", "SELECT make_array('r', 'a,b')");
        check("select '\\x00ff'::bytea", "SELECT X'00ff'");
        check("select pg_advisory_unlock_all()", "SELECT CAST(NULL AS VARCHAR)");
        check(
            "select s[i] from generate_series(1, 2) as i, string_to_array('a,b', ',') s",
            "SELECT s[i] FROM generate_series(1, 2) AS i, (SELECT string_to_array('a,b', ',') AS s) AS s",
        );
        let quoted = ours("select quote_ident(n.nspname) from pg_namespace n").0;
        assert!(quoted.contains("THEN n.nspname"), "{quoted}");
        let named = ours("select oid::regtype::text, typreceive from pg_type t");
        assert!(named.0.contains("WHEN 1007 THEN 'integer[]'"), "{}", named.0);
        assert!(named.0.contains("WHEN 2406 THEN 'int4recv'"), "{}", named.0);
        assert_eq!(named.1.unwrap(), ["oid", "typreceive"]);
    }

    #[test]
    fn a_relation_has_the_same_number_by_each_of_its_names() {
        let oid = |name: &str| ours(&format!("select '{name}'::regclass")).0;
        assert_eq!(oid("orders"), oid("raw.\"orders\""));
        let settings = BTreeMap::new();
        let told = Told { relations: &[], settings: &settings, user: "", database: "", process: 0 };
        let error = translate(&mut parsed("select 'absent'::regclass"), &told).unwrap_err();
        assert_eq!(error.kind(), flywheel_base::ErrorKind::NotFound);
    }

    #[test]
    fn what_never_has_rows_is_not_planned() {
        let nothing = "SELECT CAST(NULL AS VARCHAR) AS \"c0\" WHERE false";
        for sql in [
            "select polname from pg_catalog.pg_policy",
            "select c.oid::regclass from pg_class c, pg_inherits i where c.oid = i.inhparent",
            "select (select string_agg(a.attname, ',') from pg_attribute a) from pg_publication p",
            "select pubname from pg_publication union select pubname from pg_publication p order by 1",
            "select r.x from (select i.indkey as x from pg_class c join pg_index i on true) r",
        ] {
            check(sql, nothing);
        }
        check(
            "select (select d.adbin from pg_attrdef d), exists (select 1 from pg_index)",
            "SELECT NULL, false",
        );
        // A row is made of nothing, or comes from the other side.
        for sql in [
            "SELECT count(*) FROM pg_index",
            "SELECT c.oid FROM pg_class AS c LEFT JOIN pg_index AS i ON true",
            "SELECT c.oid FROM pg_index AS i RIGHT JOIN pg_class AS c ON true",
        ] {
            check(sql, sql);
        }
    }

    #[test]
    fn what_is_looked_up_in_the_catalogue_is_one_value() {
        check(
            "select (select t.typname from pg_type t where t.oid = a.atttypid) from pg_attribute as a",
            "SELECT (SELECT max(t.typname) FROM pg_type t WHERE t.oid = a.atttypid) FROM pg_attribute AS a",
        );
        for sql in [
            "SELECT (SELECT count(*) FROM pg_type WHERE pg_type.oid = a.atttypid) FROM pg_attribute AS a",
            "SELECT (SELECT o.id FROM raw.orders AS o WHERE o.id = a.attnum) FROM pg_attribute AS a",
            "WITH pg_type AS (SELECT 1 AS n) SELECT (SELECT t.n FROM pg_type AS t WHERE t.n = 1)",
            "SELECT (SELECT t.oid FROM pg_type AS t WHERE t.oid = 1 LIMIT 1)",
            "SELECT a.attname FROM pg_attribute AS a WHERE a.atttypid = ANY(SELECT t.oid FROM pg_type AS t WHERE t.typlen = 4)",
        ] {
            check(sql, sql);
        }
    }

    #[test]
    fn what_is_the_readers_own_is_not_the_catalogues() {
        for sql in [
            "WITH pg_stats AS (SELECT 1 AS n) SELECT n FROM pg_stats",
            "SELECT r.n FROM (WITH pg_policies AS (SELECT 1 AS n) SELECT n FROM pg_policies) AS r",
            "SELECT n FROM raw.pg_stats",
        ] {
            check(sql, sql);
        }
        let nothing = "SELECT CAST(NULL AS VARCHAR) AS \"c0\" WHERE false";
        check("with pg_stats as (select 1 as n) select n from pg_catalog.pg_stats", nothing);
        check("with o as (select 1 as n) select n from pg_stats", nothing);

        let relation = Relation {
            schema: "raw".to_owned(),
            name: "pg_stats".to_owned(),
            view: false,
            description: None,
            columns: Vec::new(),
        };
        let settings = BTreeMap::new();
        let told = Told {
            relations: &[relation],
            settings: &settings,
            user: "",
            database: "",
            process: 0,
        };
        let said = |sql: &str| {
            let mut statement = parsed(sql);
            translate(&mut statement, &told).unwrap();
            statement.to_string()
        };
        assert_eq!(said("SELECT n FROM pg_stats"), "SELECT n FROM pg_stats");
        assert_eq!(said("SELECT n FROM pg_catalog.pg_stats"), nothing);
    }

    #[test]
    fn columns_are_called_as_postgresql_calls_them() {
        let names = |sql: &str| ours(sql).1.unwrap();
        assert_eq!(
            names("select a.B, count(*), \"C\", 1 + 1, x::int4, case when a then b end, 1 as D"),
            ["b", "count", "C", NAMELESS, "x", "case", "d"]
        );
        let (sql, names) = ours("select n.oid, n.* from pg_namespace n");
        assert_eq!(names, None);
        let spoken = Spoken { names };
        assert!(sql.contains(MARK), "{sql}");
        let planned = [format!("oid{MARK}0"), "oid".to_owned()];
        assert_eq!(spoken.names(planned.iter()), ["oid", "oid"]);
        let (sql, names) = ours("select null, null");
        assert_eq!(names.unwrap(), [NAMELESS, NAMELESS]);
        assert!(sql.contains(MARK), "{sql}");
        assert!(ours("select null, 1, null::text").0.contains(MARK));
    }
}
