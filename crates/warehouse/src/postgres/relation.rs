//! The catalogue of PostgreSQL as tables over the relations that a reader sees.
//!
//! Clients ask it at connecting and to draw their trees of tables. A table of it is described by a line: names of columns,
//! their types (`o` the number of something, `i` 64 bits, `n` 32, `h` 16, `b` a truth, `t` a text), and what stands there if a
//! row says nothing else. What the lake has nothing of (indexes, triggers, policies) has no rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use flywheel_base::{Error, Result};

use super::kind::{Kind, modifier};
use super::list;
use super::speech::Told;
use crate::failure::from_arrow;
use crate::{Catalog, TableName};

/// The schema of the catalogue.
pub(super) const CATALOGUE: &str = "pg_catalog";
/// The schema of the standard's catalogue, as clients call it.
pub(super) const STANDARD: &str = "information_schema";
/// What it is called in a session, whose engine has one of that name itself, with types in its own words.
pub(super) const STANDARD_HERE: &str = "pg_information_schema";
/// The owner of everything.
pub(super) const OWNER: &str = "flywheel";
/// The first number that PostgreSQL gives to what users make.
const OIDS_FROM: u32 = 16_384;
const OWNER_OID: u32 = 10;
const CATALOGUE_OID: u32 = 11;
const STANDARD_OID: u32 = 13_000;
const DATABASE_OID: u32 = 5;

/// A type of PostgreSQL: its number, name, size and sort, and the function that reads it.
type KnownType = (u32, &'static str, i16, &'static str, (u32, &'static str));

/// Types that clients look up and that no column of ours has.
const OTHER_TYPES: [KnownType; 6] = [
    (18, "char", 1, "Z", (2_434, "charrecv")),
    (19, "name", 64, "S", (2_422, "namerecv")),
    (1_042, "bpchar", -1, "S", (2_430, "bpcharrecv")),
    (1_043, "varchar", -1, "S", (2_432, "varcharrecv")),
    (2_950, "uuid", 16, "U", (2_961, "uuid_recv")),
    (3_802, "jsonb", -1, "U", (3_805, "jsonb_recv")),
];

/// The functions that read a list: from a text, and from its binary form.
const LIST_FUNCTIONS: [(u32, &str); 2] = [(750, "array_in"), (2_400, "array_recv")];

/// Something that can be read: a table or a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Whether it is a view.
    pub view: bool,
    /// What it is about.
    pub description: Option<String>,
    /// Its columns, in order.
    pub columns: Vec<RelationColumn>,
}

/// A column of a relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: DataType,
    /// Whether a value may be missing.
    pub nullable: bool,
}

/// Words of statements that need the catalogue, beside those that begin with `pg_`; they may be parts of others, as in
/// `to_regclass`.
const WORDS: [&str; 5] = [STANDARD, "regclass", "regtype", "regnamespace", "obj_description"];

/// Whether a statement may name a table, a function or a type of PostgreSQL's catalogue. What is in its texts and comments
/// names nothing.
#[must_use]
pub fn mentions_catalogue(sql: &str) -> bool {
    let lower = sql.to_ascii_lowercase();
    let within = |text: &str| WORDS.iter().any(|word| text.contains(word));
    if !lower.contains("pg_") && !within(&lower) {
        return false;
    }
    // What has no parts is refused later, with the reason.
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, &lower).tokenize() else { return true };
    tokens.iter().any(|token| match token {
        Token::Word(word) => word.value.starts_with("pg_") || within(&word.value),
        _ => false,
    })
}

/// Adds PostgreSQL's catalogue of these relations to what names mean in a session.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Internal`] if the description of a table is wrong.
pub fn catalogue(told: &Told<'_>, catalog: &mut Catalog) -> Result<()> {
    let rows = Rows::of(told);
    for (name, line) in TABLES {
        let (schema, name) = match name.split_once('.') {
            Some((_, name)) => (STANDARD_HERE, name),
            None => (CATALOGUE, *name),
        };
        let key = if schema == CATALOGUE { name.to_owned() } else { format!("{STANDARD}.{name}") };
        let (columns, batch) =
            table(line, rows.0.get(key.as_str()).map(Vec::as_slice).unwrap_or_default())?;
        catalog.memory(&TableName::new(schema, name), columns, vec![batch]);
    }
    Ok(())
}

/// Whether there is such a table of PostgreSQL's catalogue, with rows or without.
pub(super) fn is_known(name: &str) -> bool {
    TABLES.iter().any(|(known, _)| *known == name)
}

/// Whether there is such a table of the standard's catalogue.
pub(super) fn is_standard(name: &str) -> bool {
    TABLES.iter().any(|(known, _)| known.strip_prefix("information_schema.") == Some(name))
}

/// Whether a table of the catalogue never has rows here.
pub(super) fn is_empty(name: &str) -> bool {
    EMPTY.contains(&name)
}

/// The number of a relation: it follows from its name, so that clients which keep it find it again.
pub(super) fn oids(relations: &[Relation]) -> BTreeMap<(&str, &str), u32> {
    let mut taken = BTreeSet::new();
    let mut found = BTreeMap::new();
    for relation in relations {
        let name = format!("{}.{}", relation.schema, relation.name);
        let mut oid = number(&name);
        while !taken.insert(oid) {
            oid = oid.checked_add(1).unwrap_or(OIDS_FROM);
        }
        found.insert((relation.schema.as_str(), relation.name.as_str()), oid);
    }
    found
}

/// The number of a schema.
pub(super) fn schema_oid(schema: &str) -> u32 {
    match schema {
        CATALOGUE => CATALOGUE_OID,
        STANDARD => STANDARD_OID,
        "public" => 2_200,
        schema => number(&format!("schema {schema}")),
    }
}

/// A number of a name that PostgreSQL could have given (FNV-1a, within 31 bits).
fn number(name: &str) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    for byte in name.bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    OIDS_FROM + (hash & 0x3fff_ffff)
}

/// The functions of the catalogue, by their numbers.
pub(super) fn functions() -> impl Iterator<Item = (u32, &'static str)> {
    let kinds = Kind::ALL.into_iter().map(Kind::reader);
    kinds.chain(OTHER_TYPES.map(|(.., reader)| reader)).chain(LIST_FUNCTIONS)
}

/// The number of a type that no column of ours has, by its name.
pub(super) fn other_type(name: &str) -> Option<u32> {
    OTHER_TYPES.iter().find(|(_, known, ..)| *known == name).map(|(oid, ..)| *oid)
}

/// The number of a table of the catalogue, as it is in every PostgreSQL.
pub(super) fn own_oid(name: &str) -> Option<u32> {
    Some(match name {
        "pg_type" => 1_247,
        "pg_attribute" => 1_249,
        "pg_proc" => 1_255,
        "pg_class" => 1_259,
        "pg_authid" | "pg_roles" => 1_260,
        "pg_database" => 1_262,
        "pg_tablespace" => 1_213,
        "pg_constraint" => 2_606,
        "pg_description" => 2_609,
        "pg_index" => 2_610,
        "pg_namespace" => 2_615,
        "pg_trigger" => 2_620,
        "pg_extension" => 3_079,
        _ => return None,
    })
}

type Row = Vec<(&'static str, String)>;

/// The rows of each table that has some.
struct Rows(BTreeMap<&'static str, Vec<Row>>);

impl Rows {
    fn of(told: &Told<'_>) -> Self {
        let mut rows = Self(BTreeMap::new());
        rows.fixed(told);
        let oids = oids(told.relations);
        let named = told.relations.iter().map(|relation| relation.schema.as_str());
        let schemas: BTreeSet<&str> = named.chain([CATALOGUE, STANDARD, "public"]).collect();
        for schema in &schemas {
            rows.add(
                "pg_namespace",
                vec![("oid", schema_oid(schema).to_string()), ("nspname", (*schema).to_owned())],
            );
            rows.add(
                "information_schema.schemata",
                vec![
                    ("catalog_name", told.database.to_owned()),
                    ("schema_name", (*schema).to_owned()),
                ],
            );
        }
        for relation in told.relations {
            let oid = oids.get(&(relation.schema.as_str(), relation.name.as_str()));
            rows.relation(told, relation, oid.copied().unwrap_or_default());
        }
        rows
    }

    fn add(&mut self, table: &'static str, row: Row) {
        self.0.entry(table).or_default().push(row);
    }

    /// What does not depend on the relations.
    fn fixed(&mut self, told: &Told<'_>) {
        self.types();
        self.add(
            "pg_database",
            vec![("oid", DATABASE_OID.to_string()), ("datname", told.database.to_owned())],
        );
        for (oid, name) in [(OWNER_OID, OWNER), (number(&format!("role {}", told.user)), told.user)]
        {
            for table in ["pg_roles", "pg_authid"] {
                let row = vec![("oid", oid.to_string()), ("rolname", name.to_owned())];
                self.add(table, row);
            }
            let row = vec![("usesysid", oid.to_string()), ("usename", name.to_owned())];
            self.add("pg_user", row);
        }
        for (name, setting) in told.settings {
            self.add("pg_settings", vec![("name", name.clone()), ("setting", setting.clone())]);
        }
        self.add(
            "information_schema.character_sets",
            vec![("default_collate_catalog", told.database.to_owned())],
        );
        self.add("pg_am", vec![("oid", "2".to_owned()), ("amname", "heap".to_owned())]);
        self.add(
            "pg_tablespace",
            vec![("oid", "1663".to_owned()), ("spcname", "pg_default".to_owned())],
        );
    }

    /// The types of values and of lists of them, and the functions that read them.
    fn types(&mut self) {
        for kind in Kind::ALL {
            let (reader, name) = kind.reader();
            self.kind(kind.oid(), kind.name(), kind.size(), kind.category(), reader);
            self.function(reader, name);
        }
        for (oid, name, size, category, (reader, read_by)) in OTHER_TYPES {
            self.kind(oid, name, size, category, reader);
            self.function(reader, read_by);
        }
        for (oid, name) in LIST_FUNCTIONS {
            self.function(oid, name);
        }
    }

    fn kind(&mut self, oid: u32, name: &str, size: i16, category: &str, reader: u32) {
        let list = list::list_of(oid);
        self.add(
            "pg_type",
            vec![
                ("oid", oid.to_string()),
                ("typname", name.to_owned()),
                ("typlen", size.to_string()),
                ("typcategory", category.to_owned()),
                ("typarray", list.unwrap_or_default().to_string()),
                ("typreceive", reader.to_string()),
            ],
        );
        let [(input, _), (receive, _)] = LIST_FUNCTIONS;
        if let Some(list) = list {
            self.add(
                "pg_type",
                vec![
                    ("oid", list.to_string()),
                    ("typname", format!("_{name}")),
                    ("typcategory", "A".to_owned()),
                    ("typelem", oid.to_string()),
                    ("typinput", input.to_string()),
                    ("typreceive", receive.to_string()),
                ],
            );
        }
    }

    fn function(&mut self, oid: u32, name: &str) {
        let row = [("oid", oid.to_string()), ("proname", name.to_owned())];
        let row = row
            .into_iter()
            .chain([("pronamespace", CATALOGUE_OID.to_string()), ("prokind", "f".to_owned())]);
        self.add("pg_proc", row.collect());
    }

    fn relation(&mut self, told: &Told<'_>, relation: &Relation, oid: u32) {
        let Relation { schema, name, view, description, columns } = relation;
        let database = told.database.to_owned();
        self.add(
            "pg_class",
            vec![
                ("oid", oid.to_string()),
                ("relname", name.clone()),
                ("relnamespace", schema_oid(schema).to_string()),
                ("relkind", if *view { "v" } else { "r" }.to_owned()),
                ("relnatts", columns.len().to_string()),
            ],
        );
        let (list, named) =
            if *view { ("pg_views", "viewname") } else { ("pg_tables", "tablename") };
        self.add(list, vec![("schemaname", schema.clone()), (named, name.clone())]);
        for privileges in
            ["information_schema.table_privileges", "information_schema.role_table_grants"]
        {
            self.add(
                privileges,
                vec![
                    ("grantee", told.user.to_owned()),
                    ("table_catalog", database.clone()),
                    ("table_schema", schema.clone()),
                    ("table_name", name.clone()),
                ],
            );
        }
        let of = |more: Vec<(&'static str, String)>| -> Row {
            let of = [
                ("table_catalog", database.clone()),
                ("table_schema", schema.clone()),
                ("table_name", name.clone()),
            ];
            of.into_iter().chain(more).collect()
        };
        let kind = if *view { "VIEW" } else { "BASE TABLE" };
        self.add("information_schema.tables", of(vec![("table_type", kind.to_owned())]));
        if *view {
            self.add("information_schema.views", of(Vec::new()));
        }
        if let Some(description) = description {
            self.add(
                "pg_description",
                vec![("objoid", oid.to_string()), ("description", description.clone())],
            );
        }
        for (at, column) in columns.iter().enumerate() {
            let (kind, number, modifier) =
                (Kind::of(&column.kind), (at + 1).to_string(), modifier(&column.kind));
            self.add(
                "pg_attribute",
                vec![
                    ("attrelid", oid.to_string()),
                    ("attname", column.name.clone()),
                    ("atttypid", kind.oid().to_string()),
                    ("attlen", kind.size().to_string()),
                    ("attnum", number.clone()),
                    ("atttypmod", modifier.to_string()),
                    ("attnotnull", (!column.nullable).to_string()),
                ],
            );
            let mut row = of(vec![
                ("column_name", column.name.clone()),
                ("ordinal_position", number),
                ("is_nullable", if column.nullable { "YES" } else { "NO" }.to_owned()),
                ("data_type", kind.title().to_owned()),
                ("udt_catalog", database.clone()),
                ("udt_name", kind.name().to_owned()),
            ]);
            let (precision, scale) = match kind {
                Kind::Int2 => (Some(16), Some(0)),
                Kind::Int4 => (Some(32), Some(0)),
                Kind::Int8 => (Some(64), Some(0)),
                Kind::Float4 => (Some(24), None),
                Kind::Float8 => (Some(53), None),
                Kind::Numeric if modifier > 4 => {
                    (Some((modifier - 4) >> 16), Some((modifier - 4) & 0xffff))
                }
                _ => (None, None),
            };
            row.extend(precision.map(|digits| ("numeric_precision", digits.to_string())));
            row.extend(scale.map(|places| ("numeric_scale", places.to_string())));
            self.add("information_schema.columns", row);
        }
    }
}

/// A table with these rows.
fn table(line: &str, rows: &[Row]) -> Result<(SchemaRef, RecordBatch)> {
    let broken = || Error::internal(format!("the catalogue's line \"{line}\" is wrong"));
    let (mut fields, mut columns) = (Vec::new(), Vec::<ArrayRef>::new());
    for part in line.split_whitespace() {
        let (name, rest) = part.split_once(':').ok_or_else(broken)?;
        let (kind, usual) = match rest.split_once('=') {
            Some((kind, usual)) => (kind, Some(usual)),
            None => (rest, None),
        };
        let kind = match kind {
            "o" => DataType::UInt32,
            "i" => DataType::Int64,
            "n" => DataType::Int32,
            "h" => DataType::Int16,
            "b" => DataType::Boolean,
            "t" => DataType::Utf8,
            _ => return Err(broken()),
        };
        // A text may be empty, and is written so.
        let usual = usual.map(|text| if text == "''" { "" } else { text });
        let cell = |row: &Row| {
            let own = row.iter().find(|(column, _)| *column == name);
            own.map(|(_, text)| text.clone()).or_else(|| usual.map(str::to_owned))
        };
        let texts: ArrayRef = Arc::new(rows.iter().map(cell).collect::<StringArray>());
        let options = CastOptions { safe: false, ..CastOptions::default() };
        columns.push(cast_with_options(&texts, &kind, &options).map_err(from_arrow)?);
        fields.push(Field::new(name, kind, true));
    }
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(from_arrow)?;
    Ok((schema, batch))
}

/// The tables of the catalogue, with their columns.
const TABLES: &[(&str, &str)] = &[
    ("pg_namespace", "oid:o nspname:t nspowner:o=10 nspacl:t"),
    (
        "pg_class",
        "oid:o relname:t relnamespace:o reltype:o=0 reloftype:o=0 relowner:o=10 relam:o=2 relfilenode:o=0 \
         reltablespace:o=0 relpages:n=0 reltuples:n=-1 relallvisible:n=0 reltoastrelid:o=0 relhasindex:b=false \
         relisshared:b=false relpersistence:t=p relkind:t relnatts:h relchecks:h=0 relhasrules:b=false \
         relhastriggers:b=false relhassubclass:b=false relrowsecurity:b=false relforcerowsecurity:b=false \
         relispopulated:b=true relreplident:t=d relispartition:b=false relrewrite:o=0 relfrozenxid:i=0 relminmxid:i=0 \
         relacl:t reloptions:t relpartbound:t",
    ),
    (
        "pg_attribute",
        "attrelid:o attname:t atttypid:o attlen:h attnum:h attcacheoff:n=-1 atttypmod:n attndims:h=0 attbyval:b=false \
         attalign:t=i attstorage:t=p attcompression:t='' attnotnull:b atthasdef:b=false atthasmissing:b=false \
         attidentity:t='' attgenerated:t='' attisdropped:b=false attislocal:b=true attinhcount:h=0 attcollation:o=0 \
         attstattarget:h=-1 attacl:t attoptions:t attfdwoptions:t attmissingval:t",
    ),
    (
        "pg_type",
        "oid:o typname:t typnamespace:o=11 typowner:o=10 typlen:h=-1 typbyval:b=false typtype:t=b typcategory:t \
         typispreferred:b=false typisdefined:b=true typdelim:t=, typrelid:o=0 typsubscript:o=0 typelem:o=0 typarray:o=0 \
         typinput:o=0 typoutput:o=0 typreceive:o=0 typsend:o=0 typmodin:o=0 typmodout:o=0 typanalyze:o=0 typalign:t=i \
         typstorage:t=p typnotnull:b=false typbasetype:o=0 typtypmod:n=-1 typndims:n=0 typcollation:o=0 \
         typdefaultbin:t typdefault:t typacl:t",
    ),
    (
        "pg_database",
        "oid:o datname:t datdba:o=10 encoding:n=6 datlocprovider:t=c datistemplate:b=false datallowconn:b=true \
         datconnlimit:n=-1 datfrozenxid:i=0 datminmxid:i=0 dattablespace:o=1663 datcollate:t=C.UTF-8 datctype:t=C.UTF-8 \
         daticulocale:t datcollversion:t datacl:t",
    ),
    (
        "pg_settings",
        "name:t setting:t unit:t category:t='' short_desc:t='' extra_desc:t context:t=user vartype:t=string \
         source:t=default min_val:t max_val:t enumvals:t boot_val:t reset_val:t sourcefile:t sourceline:n \
         pending_restart:b=false",
    ),
    (
        "pg_roles",
        "oid:o rolname:t rolsuper:b=false rolinherit:b=true rolcreaterole:b=false rolcreatedb:b=false rolcanlogin:b=true \
         rolreplication:b=false rolconnlimit:n=-1 rolpassword:t rolvaliduntil:t rolbypassrls:b=false rolconfig:t",
    ),
    (
        "pg_authid",
        "oid:o rolname:t rolsuper:b=false rolinherit:b=true rolcreaterole:b=false rolcreatedb:b=false rolcanlogin:b=true \
         rolreplication:b=false rolconnlimit:n=-1 rolpassword:t rolvaliduntil:t rolbypassrls:b=false",
    ),
    (
        "pg_user",
        "usename:t usesysid:o usecreatedb:b=false usesuper:b=false userepl:b=false usebypassrls:b=false passwd:t \
         valuntil:t useconfig:t",
    ),
    (
        "pg_tables",
        "schemaname:t tablename:t tableowner:t=flywheel tablespace:t hasindexes:b=false hasrules:b=false \
         hastriggers:b=false rowsecurity:b=false",
    ),
    ("pg_views", "schemaname:t viewname:t viewowner:t=flywheel definition:t"),
    (
        "pg_matviews",
        "schemaname:t matviewname:t matviewowner:t tablespace:t hasindexes:b ispopulated:b definition:t",
    ),
    ("pg_am", "oid:o amname:t amhandler:o=0 amtype:t=t"),
    ("pg_tablespace", "oid:o spcname:t spcowner:o=10 spcacl:t spcoptions:t"),
    ("pg_description", "objoid:o classoid:o=1259 objsubid:n=0 description:t"),
    ("pg_shdescription", "objoid:o classoid:o description:t"),
    (
        "pg_index",
        "indexrelid:o indrelid:o indnatts:h indnkeyatts:h indisunique:b indnullsnotdistinct:b indisprimary:b \
         indisexclusion:b indimmediate:b indisclustered:b indisvalid:b indcheckxmin:b indisready:b indislive:b \
         indisreplident:b indkey:t indcollation:t indclass:t indoption:t indexprs:t indpred:t",
    ),
    ("pg_indexes", "schemaname:t tablename:t indexname:t tablespace:t indexdef:t"),
    (
        "pg_constraint",
        "oid:o conname:t connamespace:o contype:t condeferrable:b condeferred:b convalidated:b conrelid:o contypid:o \
         conindid:o conparentid:o confrelid:o confupdtype:t confdeltype:t confmatchtype:t conislocal:b coninhcount:h \
         connoinherit:b conkey:t confkey:t conpfeqop:t conppeqop:t conffeqop:t confdelsetcols:t conexclop:t conbin:t",
    ),
    ("pg_attrdef", "oid:o adrelid:o adnum:h adbin:t"),
    ("pg_inherits", "inhrelid:o inhparent:o inhseqno:n inhdetachpending:b"),
    (
        "pg_trigger",
        "oid:o tgrelid:o tgparentid:o tgname:t tgfoid:o tgtype:h tgenabled:t tgisinternal:b tgconstrrelid:o \
         tgconstrindid:o tgconstraint:o tgdeferrable:b tginitdeferred:b tgnargs:h tgattr:t tgargs:t tgqual:t",
    ),
    (
        "pg_rewrite",
        "oid:o rulename:t ev_class:o ev_type:t ev_enabled:t is_instead:b ev_qual:t ev_action:t",
    ),
    (
        "pg_policy",
        "oid:o polname:t polrelid:o polcmd:t polpermissive:b polroles:t polqual:t polwithcheck:t",
    ),
    (
        "pg_proc",
        "oid:o proname:t pronamespace:o proowner:o prolang:o prokind:t prosecdef:b proretset:b provolatile:t \
         pronargs:h prorettype:o proargtypes:t proallargtypes:t proargmodes:t proargnames:t prosrc:t proacl:t \
         prosupport:t provariadic:o procost:n prorows:n",
    ),
    ("pg_depend", "classid:o objid:o objsubid:n refclassid:o refobjid:o refobjsubid:n deptype:t"),
    ("pg_shdepend", "dbid:o classid:o objid:o objsubid:n refclassid:o refobjid:o deptype:t"),
    ("pg_enum", "oid:o enumtypid:o enumsortorder:n enumlabel:t"),
    (
        "pg_extension",
        "oid:o extname:t extowner:o extnamespace:o extrelocatable:b extversion:t extconfig:t extcondition:t",
    ),
    (
        "pg_sequence",
        "seqrelid:o seqtypid:o seqstart:i seqincrement:i seqmax:i seqmin:i seqcache:i seqcycle:b",
    ),
    (
        "pg_collation",
        "oid:o collname:t collnamespace:o collowner:o collprovider:t collisdeterministic:b collencoding:n collcollate:t \
         collctype:t colliculocale:t collversion:t",
    ),
    ("pg_foreign_table", "ftrelid:o ftserver:o ftoptions:t"),
    (
        "pg_foreign_server",
        "oid:o srvname:t srvowner:o srvfdw:o srvtype:t srvversion:t srvacl:t srvoptions:t",
    ),
    (
        "pg_foreign_data_wrapper",
        "oid:o fdwname:t fdwowner:o fdwhandler:o fdwvalidator:o fdwacl:t fdwoptions:t",
    ),
    ("pg_partitioned_table", "partrelid:o partstrat:t partnatts:h partdefid:o partattrs:t"),
    ("pg_range", "rngtypid:o rngsubtype:o rngmultitypid:o rngcollation:o rngsubopc:o"),
    ("pg_language", "oid:o lanname:t lanowner:o lanispl:b lanpltrusted:b lanacl:t"),
    ("pg_auth_members", "roleid:o member:o grantor:o admin_option:b"),
    ("pg_seclabel", "objoid:o classoid:o objsubid:n provider:t label:t"),
    ("pg_event_trigger", "oid:o evtname:t evtevent:t evtowner:o evtfoid:o evtenabled:t evttags:t"),
    (
        "pg_stat_activity",
        "datid:o datname:t pid:n usesysid:o usename:t application_name:t client_addr:t client_port:n backend_start:t \
         query_start:t state:t query:t wait_event:t backend_type:t",
    ),
    (
        "pg_stat_user_tables",
        "relid:o schemaname:t relname:t seq_scan:i seq_tup_read:i idx_scan:i n_live_tup:i n_dead_tup:i",
    ),
    ("pg_locks", "locktype:t database:o relation:o pid:n mode:t granted:b"),
    ("pg_timezone_names", "name:t abbrev:t utc_offset:t is_dst:b"),
    ("pg_get_keywords", "word:t catcode:t barelabel:b catdesc:t baredesc:t"),
    (
        "information_schema.schemata",
        "catalog_name:t schema_name:t schema_owner:t=flywheel default_character_set_catalog:t \
         default_character_set_schema:t default_character_set_name:t sql_path:t",
    ),
    (
        "information_schema.tables",
        "table_catalog:t table_schema:t table_name:t table_type:t self_referencing_column_name:t reference_generation:t \
         user_defined_type_catalog:t user_defined_type_schema:t user_defined_type_name:t is_insertable_into:t=NO \
         is_typed:t=NO commit_action:t",
    ),
    (
        "information_schema.views",
        "table_catalog:t table_schema:t table_name:t view_definition:t check_option:t=NONE is_updatable:t=NO \
         is_insertable_into:t=NO is_trigger_updatable:t=NO is_trigger_deletable:t=NO is_trigger_insertable_into:t=NO",
    ),
    (
        "information_schema.columns",
        "table_catalog:t table_schema:t table_name:t column_name:t ordinal_position:n column_default:t is_nullable:t \
         data_type:t character_maximum_length:n character_octet_length:n numeric_precision:n numeric_precision_radix:n \
         numeric_scale:n datetime_precision:n interval_type:t interval_precision:n character_set_catalog:t \
         character_set_schema:t character_set_name:t collation_catalog:t collation_schema:t collation_name:t \
         domain_catalog:t domain_schema:t domain_name:t udt_catalog:t udt_schema:t=pg_catalog udt_name:t scope_catalog:t \
         scope_schema:t scope_name:t maximum_cardinality:n dtd_identifier:t is_self_referencing:t=NO is_identity:t=NO \
         identity_generation:t identity_start:t identity_increment:t identity_maximum:t identity_minimum:t \
         identity_cycle:t=NO is_generated:t=NEVER generation_expression:t is_updatable:t=NO",
    ),
    (
        "information_schema.character_sets",
        "character_set_catalog:t character_set_schema:t character_set_name:t=UTF8 character_repertoire:t=UCS \
         form_of_use:t=UTF8 default_collate_catalog:t default_collate_schema:t=pg_catalog default_collate_name:t=C.UTF-8",
    ),
    ("information_schema.table_privileges", PRIVILEGES),
    ("information_schema.role_table_grants", PRIVILEGES),
    (
        "information_schema.table_constraints",
        "constraint_catalog:t constraint_schema:t constraint_name:t table_catalog:t table_schema:t table_name:t \
         constraint_type:t is_deferrable:t initially_deferred:t enforced:t",
    ),
    (
        "information_schema.key_column_usage",
        "constraint_catalog:t constraint_schema:t constraint_name:t table_catalog:t table_schema:t table_name:t \
         column_name:t ordinal_position:n position_in_unique_constraint:n",
    ),
    (
        "information_schema.constraint_column_usage",
        "table_catalog:t table_schema:t table_name:t column_name:t constraint_catalog:t constraint_schema:t \
         constraint_name:t",
    ),
    (
        "information_schema.referential_constraints",
        "constraint_catalog:t constraint_schema:t constraint_name:t unique_constraint_catalog:t \
         unique_constraint_schema:t unique_constraint_name:t match_option:t update_rule:t delete_rule:t",
    ),
    (
        "information_schema.routines",
        "specific_catalog:t specific_schema:t specific_name:t routine_catalog:t routine_schema:t routine_name:t \
         routine_type:t data_type:t",
    ),
];

/// The columns of the tables that say who may do what with a table.
const PRIVILEGES: &str = "grantor:t=flywheel grantee:t table_catalog:t table_schema:t table_name:t privilege_type:t=SELECT \
    is_grantable:t=NO with_hierarchy:t=NO";

/// Tables that never have rows here; of some of them clients need no column, because nothing is planned over them. The
/// functions in `pg_proc` are there for types that are joined with them, and are not listed.
const EMPTY: &[&str] = &[
    "pg_matviews",
    "pg_shdescription",
    "pg_index",
    "pg_indexes",
    "pg_constraint",
    "pg_attrdef",
    "pg_inherits",
    "pg_trigger",
    "pg_rewrite",
    "pg_rules",
    "pg_policy",
    "pg_policies",
    "pg_proc",
    "pg_aggregate",
    "pg_operator",
    "pg_opclass",
    "pg_opfamily",
    "pg_conversion",
    "pg_cast",
    "pg_depend",
    "pg_shdepend",
    "pg_enum",
    "pg_extension",
    "pg_available_extensions",
    "pg_sequence",
    "pg_sequences",
    "pg_collation",
    "pg_foreign_table",
    "pg_foreign_server",
    "pg_foreign_data_wrapper",
    "pg_user_mapping",
    "pg_user_mappings",
    "pg_partitioned_table",
    "pg_range",
    "pg_language",
    "pg_auth_members",
    "pg_db_role_setting",
    "pg_default_acl",
    "pg_seclabel",
    "pg_shseclabel",
    "pg_event_trigger",
    "pg_publication",
    "pg_publication_rel",
    "pg_publication_namespace",
    "pg_publication_tables",
    "pg_subscription",
    "pg_statistic_ext",
    "pg_statistic_ext_data",
    "pg_statistic",
    "pg_stats",
    "pg_stat_activity",
    "pg_stat_user_tables",
    "pg_stat_user_indexes",
    "pg_stat_all_tables",
    "pg_stat_gssapi",
    "pg_stat_replication",
    "pg_stat_ssl",
    "pg_replication_slots",
    "pg_locks",
    "pg_largeobject_metadata",
    "pg_ts_config",
    "pg_ts_dict",
    "pg_ts_parser",
    "pg_ts_template",
    "pg_timezone_names",
    "pg_get_keywords",
    "pg_prepared_xacts",
    "table_constraints",
    "key_column_usage",
    "constraint_column_usage",
    "referential_constraints",
    "check_constraints",
    "routines",
    "parameters",
    "triggers",
    "sequences",
    "element_types",
    "domains",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn told(relations: &[Relation]) -> Catalog {
        let settings = BTreeMap::from([("server_version".to_owned(), "16.9".to_owned())]);
        let told =
            Told { relations, settings: &settings, user: "ada", database: "shop", process: 7 };
        let mut catalog = Catalog::new();
        catalogue(&told, &mut catalog).unwrap();
        catalog
    }

    #[test]
    fn every_table_of_the_catalogue_can_be_made() {
        let column =
            RelationColumn { name: "n".to_owned(), kind: DataType::Int64, nullable: false };
        let relation = Relation {
            schema: "raw".to_owned(),
            name: "orders".to_owned(),
            view: true,
            description: Some("what was bought".to_owned()),
            columns: vec![column],
        };
        let catalog = told(&[relation]);
        assert!(catalog.contains(&TableName::new("pg_catalog", "pg_class")));
        assert!(catalog.contains(&TableName::new("pg_information_schema", "columns")));
        assert_eq!(catalog.names().count(), TABLES.len());
    }

    #[test]
    fn the_catalogue_is_named_outside_of_texts_and_comments_alone() {
        for sql in [
            "select * from pg_class",
            "SELECT * FROM \"pg_catalog\".\"pg_class\"",
            "select 'marts.orders'::regclass",
            "select to_regclass('orders')",
            "select obj_description(16384, 'pg_class')",
            "select * from information_schema.tables where table_schema <> 'pg_catalog'",
            "select E'it\\'s', pg_backend_pid()",
            // It cannot be told.
            "select 'pg_class",
        ] {
            assert!(mentions_catalogue(sql), "{sql}");
        }
        for sql in [
            "select 1",
            "select name from products where name like 'pg_%'",
            "select 'it''s pg_class', 'x'::varchar -- pg_class",
            "select /* information_schema */ avg_pg_rate from marts.rates",
        ] {
            assert!(!mentions_catalogue(sql), "{sql}");
        }
    }

    #[test]
    fn the_number_of_a_relation_stays_whatever_else_there_is() {
        let named = |name: &str| Relation {
            schema: "raw".to_owned(),
            name: name.to_owned(),
            view: false,
            description: None,
            columns: Vec::new(),
        };
        let (one, both) = ([named("b")], [named("a"), named("b")]);
        assert_eq!(oids(&one).get(&("raw", "b")), oids(&both).get(&("raw", "b")));
        assert!(oids(&both).values().all(|oid| *oid >= OIDS_FROM));
    }
}
