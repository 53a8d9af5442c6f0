//! What tools ask when they begin and to draw their trees, and what they have to be told so that they go on.

use tokio_postgres::Error;

use super::{Shop, cells};

/// The tool, what it asks, and a part of what it is told; nothing if there are no rows.
type Asked = (&'static str, &'static str, Option<&'static str>);

/// The first questions of drivers.
const DRIVERS: &[Asked] = &[
    ("every one", "select version()", Some("PostgreSQL 16")),
    ("SQLAlchemy", "select pg_catalog.version()", Some("PostgreSQL 16")),
    ("SQLAlchemy", "select current_schema()", Some("public")),
    ("SQLAlchemy", "show transaction isolation level", Some("read committed")),
    ("SQLAlchemy", "show standard_conforming_strings", Some("on")),
    (
        "SQLAlchemy",
        "SELECT CAST('test plain returns' AS VARCHAR(60)) AS anon_1",
        Some("test plain returns"),
    ),
    (
        "psycopg2",
        "SELECT t.oid, typarray FROM pg_type t JOIN pg_namespace ns ON typnamespace = ns.oid WHERE typname = 'hstore'",
        None,
    ),
    (
        "psycopg",
        "SELECT typname AS name, oid, typarray AS array_oid, oid::regtype::text AS regtype, typdelim AS delimiter \
         FROM pg_type t WHERE t.oid = to_regtype('int4') ORDER BY t.oid",
        Some("integer"),
    ),
    (
        "ADBC",
        "SELECT oid, typname, typreceive, typbasetype, typrelid, typarray FROM pg_catalog.pg_type \
         WHERE (typreceive != 0 OR typsend != 0) AND typtype != 'r' AND typreceive::TEXT != 'array_recv'",
        Some("int4recv"),
    ),
    (
        "connectorx",
        "SELECT count(*) FROM (select id from marts.orders) AS CXTMPTAB_COUNT",
        Some("3"),
    ),
    ("psqlODBC", "select oid, typbasetype from pg_type where typname = 'lo'", None),
    // When a connection comes back to its pool.
    ("asyncpg", "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;", Some("")),
    ("psqlODBC", "select pg_client_encoding()", Some("UTF8")),
    (
        "psqlODBC",
        "select n.nspname, c.relname, a.attname, a.atttypid, t.typname, a.attnum, a.attlen, a.atttypmod, a.attnotnull, \
         c.relhasrules, c.relkind, c.oid, pg_get_expr(d.adbin, d.adrelid), case t.typtype when 'd' then t.typbasetype \
         else 0 end, t.typtypmod, 0, attidentity, c.relhassubclass from (((pg_catalog.pg_class c inner join \
         pg_catalog.pg_namespace n on n.oid = c.relnamespace and c.relname = E'orders' and n.nspname = E'marts') inner join \
         pg_catalog.pg_attribute a on (not a.attisdropped) and a.attnum > 0 and a.attrelid = c.oid) inner join \
         pg_catalog.pg_type t on t.oid = a.atttypid) left outer join pg_attrdef d on a.atthasdef and d.adrelid = \
         a.attrelid and d.adnum = a.attnum order by n.nspname, c.relname, attnum",
        Some("amount"),
    ),
    (
        "JDBC",
        "SELECT t.typname,t.oid FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON (t.typnamespace = n.oid) WHERE \
         n.nspname != 'pg_toast' AND (t.typrelid = 0 OR (SELECT c.relkind = 'c' FROM pg_catalog.pg_class c WHERE c.oid = \
         t.typrelid))",
        Some("numeric"),
    ),
    (
        "JDBC",
        "SELECT typinput='pg_catalog.array_in'::regproc as is_array, typtype, typname, pg_type.oid FROM \
         pg_catalog.pg_type LEFT JOIN (select ns.oid as nspoid, ns.nspname, r.r from pg_namespace as ns join ( select s.r, \
         (current_schemas(false))[s.r] as nspname from generate_series(1, array_upper(current_schemas(false), 1)) as s(r) ) \
         as r using ( nspname ) ) as sp ON sp.nspoid = typnamespace WHERE pg_type.oid = 1007 ORDER BY sp.r, pg_type.oid DESC",
        Some("_int4"),
    ),
];

/// How SQLAlchemy, and so Superset and notebooks, looks around.
const SQLALCHEMY: &[Asked] = &[
    (
        "schemas",
        "SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg_%' ORDER BY nspname",
        Some("marts"),
    ),
    (
        "a table",
        "SELECT pg_catalog.pg_class.relname FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON \
         pg_catalog.pg_namespace.oid = pg_catalog.pg_class.relnamespace WHERE pg_catalog.pg_class.relname = 'orders' AND \
         pg_catalog.pg_class.relkind = ANY (ARRAY['r', 'p', 'f', 'v', 'm']) AND \
         pg_catalog.pg_table_is_visible(pg_catalog.pg_class.oid) AND pg_catalog.pg_namespace.nspname != 'pg_catalog'",
        Some("orders"),
    ),
    (
        "columns",
        "SELECT pg_catalog.pg_attribute.attname AS name, pg_catalog.format_type(pg_catalog.pg_attribute.atttypid, \
         pg_catalog.pg_attribute.atttypmod) AS format_type, (SELECT pg_catalog.pg_get_expr(pg_catalog.pg_attrdef.adbin, \
         pg_catalog.pg_attrdef.adrelid) AS pg_get_expr_1 FROM pg_catalog.pg_attrdef WHERE pg_catalog.pg_attrdef.adrelid = \
         pg_catalog.pg_attribute.attrelid AND pg_catalog.pg_attrdef.adnum = pg_catalog.pg_attribute.attnum AND \
         pg_catalog.pg_attribute.atthasdef) AS \"default\", pg_catalog.pg_attribute.attnotnull AS not_null, \
         pg_catalog.pg_class.relname AS table_name, pg_catalog.pg_description.description AS comment, \
         pg_catalog.pg_attribute.attgenerated AS generated, (SELECT json_build_object('always', \
         pg_catalog.pg_attribute.attidentity = 'a', 'start', pg_catalog.pg_sequence.seqstart) AS json_build_object_1 FROM \
         pg_catalog.pg_sequence WHERE pg_catalog.pg_attribute.attidentity != '' AND pg_catalog.pg_sequence.seqrelid = \
         CAST(CAST(pg_catalog.pg_get_serial_sequence(CAST(CAST(pg_catalog.pg_attribute.attrelid AS REGCLASS) AS TEXT), \
         pg_catalog.pg_attribute.attname) AS REGCLASS) AS OID)) AS identity_options FROM pg_catalog.pg_class LEFT OUTER JOIN \
         pg_catalog.pg_attribute ON pg_catalog.pg_class.oid = pg_catalog.pg_attribute.attrelid AND \
         pg_catalog.pg_attribute.attnum > 0 AND NOT pg_catalog.pg_attribute.attisdropped LEFT OUTER JOIN \
         pg_catalog.pg_description ON pg_catalog.pg_description.objoid = pg_catalog.pg_attribute.attrelid AND \
         pg_catalog.pg_description.objsubid = pg_catalog.pg_attribute.attnum JOIN pg_catalog.pg_namespace ON \
         pg_catalog.pg_namespace.oid = pg_catalog.pg_class.relnamespace WHERE pg_catalog.pg_class.relkind = ANY \
         (ARRAY['r', 'p', 'f', 'v', 'm']) AND pg_catalog.pg_namespace.nspname = 'marts' AND pg_catalog.pg_class.relname IN \
         ('orders') ORDER BY pg_catalog.pg_class.relname, pg_catalog.pg_attribute.attnum",
        Some("numeric(10,2)"),
    ),
    (
        "schemas, since 2.1",
        "SELECT pg_catalog.pg_namespace.nspname FROM pg_catalog.pg_namespace WHERE (pg_catalog.pg_namespace.nspname NOT \
         LIKE 'pg/_' || '%' ESCAPE '/') ORDER BY pg_catalog.pg_namespace.nspname",
        Some("marts"),
    ),
    (
        "columns, since 2.1",
        "SELECT pg_catalog.pg_attribute.attname AS name, CASE WHEN (pg_catalog.pg_attribute.attcollation != 0 AND (SELECT \
         pg_catalog.pg_type.typcollation FROM pg_catalog.pg_type WHERE pg_catalog.pg_type.oid = \
         pg_catalog.pg_attribute.atttypid) != pg_catalog.pg_attribute.attcollation) THEN (SELECT json_build_object('name', \
         pg_catalog.pg_collation.collname) AS json_build_object_9 FROM pg_catalog.pg_collation JOIN \
         pg_catalog.pg_namespace ON pg_catalog.pg_namespace.oid = pg_catalog.pg_collation.collnamespace WHERE \
         pg_catalog.pg_collation.oid = pg_catalog.pg_attribute.attcollation) ELSE NULL END AS collation FROM \
         pg_catalog.pg_class LEFT OUTER JOIN pg_catalog.pg_attribute ON pg_catalog.pg_class.oid = \
         pg_catalog.pg_attribute.attrelid AND pg_catalog.pg_attribute.attnum > 0 WHERE pg_catalog.pg_class.relname IN \
         ('orders') ORDER BY pg_catalog.pg_attribute.attnum",
        Some("amount"),
    ),
    (
        "enums",
        "SELECT pg_catalog.pg_type.typname AS name, pg_catalog.pg_type_is_visible(pg_catalog.pg_type.oid) AS visible, \
         pg_catalog.pg_namespace.nspname AS schema, lbl_agg.labels AS labels FROM pg_catalog.pg_type JOIN \
         pg_catalog.pg_namespace ON pg_catalog.pg_namespace.oid = pg_catalog.pg_type.typnamespace LEFT OUTER JOIN (SELECT \
         pg_catalog.pg_enum.enumtypid AS enumtypid, array_agg(CAST(pg_catalog.pg_enum.enumlabel AS TEXT) ORDER BY \
         pg_catalog.pg_enum.enumsortorder) AS labels FROM pg_catalog.pg_enum GROUP BY pg_catalog.pg_enum.enumtypid) AS \
         lbl_agg ON pg_catalog.pg_type.oid = lbl_agg.enumtypid WHERE pg_catalog.pg_type.typtype = 'e' ORDER BY \
         pg_catalog.pg_namespace.nspname, pg_catalog.pg_type.typname",
        None,
    ),
];

/// What Npgsql needs before its first statement, and what Power BI asks by it.
const POWER_BI: &[Asked] = &[
    (
        "types",
        "SELECT ns.nspname, t.oid, t.typname, t.typtype, t.typnotnull, t.elemtypoid FROM ( SELECT typ.oid, \
         typ.typnamespace, typ.typname, typ.typtype, typ.typrelid, typ.typnotnull, typ.relkind, elemtyp.oid AS elemtypoid, \
         elemtyp.typname AS elemtypname, elemcls.relkind AS elemrelkind, CASE WHEN elemproc.proname='array_recv' THEN 'a' \
         ELSE elemtyp.typtype END AS elemtyptype, typ.typcategory FROM ( SELECT typ.oid, typnamespace, typname, typrelid, \
         typnotnull, relkind, typelem AS elemoid, CASE WHEN proc.proname='array_recv' THEN 'a' ELSE typ.typtype END AS \
         typtype, CASE WHEN proc.proname='array_recv' THEN typ.typelem WHEN typ.typtype='r' THEN rngsubtype WHEN \
         typ.typtype='m' THEN (SELECT rngtypid FROM pg_range WHERE rngmultitypid = typ.oid) WHEN typ.typtype='d' THEN \
         typ.typbasetype END AS elemtypoid, typ.typcategory FROM pg_type AS typ LEFT JOIN pg_class AS cls ON (cls.oid = \
         typ.typrelid) LEFT JOIN pg_proc AS proc ON proc.oid = typ.typreceive LEFT JOIN pg_range ON (pg_range.rngtypid = \
         typ.oid) ) AS typ LEFT JOIN pg_type AS elemtyp ON elemtyp.oid = elemtypoid LEFT JOIN pg_class AS elemcls ON \
         (elemcls.oid = elemtyp.typrelid) LEFT JOIN pg_proc AS elemproc ON elemproc.oid = elemtyp.typreceive ) AS t JOIN \
         pg_namespace AS ns ON (ns.oid = typnamespace) WHERE typtype IN ('b', 'r', 'm', 'e', 'd') OR (typtype = 'c' AND \
         relkind='c') OR (typtype = 'p' AND typname IN ('record', 'void', 'unknown')) OR (typtype = 'a' AND ( elemtyptype \
         IN ('b', 'r', 'm', 'e', 'd') OR (elemtyptype = 'p' AND elemtypname IN ('record', 'void')) OR (elemtyptype = 'c' \
         AND elemrelkind='c') )) ORDER BY CASE WHEN typtype IN ('b', 'e', 'p') THEN 0 WHEN typtype = 'c' THEN 1 WHEN \
         typtype = 'r' THEN 2 WHEN typtype = 'm' THEN 3 WHEN typtype = 'd' AND elemtyptype <> 'a' THEN 4 WHEN typtype = \
         'a' THEN 5 WHEN typtype = 'd' AND elemtyptype = 'a' THEN 6 END",
        Some("_int4"),
    ),
    (
        "composites",
        "SELECT typ.oid, att.attname, att.atttypid FROM pg_type AS typ JOIN pg_namespace AS ns ON (ns.oid = \
         typ.typnamespace) JOIN pg_class AS cls ON (cls.oid = typ.typrelid) JOIN pg_attribute AS att ON (att.attrelid = \
         typ.typrelid) WHERE (typ.typtype = 'c' AND cls.relkind='c') AND attnum > 0 AND NOT attisdropped ORDER BY typ.oid, \
         att.attnum",
        None,
    ),
    (
        "enums",
        "SELECT pg_type.oid, enumlabel FROM pg_enum JOIN pg_type ON pg_type.oid=enumtypid ORDER BY oid, enumsortorder",
        None,
    ),
    (
        "character sets",
        "select character_set_name from INFORMATION_SCHEMA.character_sets",
        Some("UTF8"),
    ),
    (
        "tables",
        "select TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE from INFORMATION_SCHEMA.tables where TABLE_SCHEMA not in \
         ('information_schema', 'pg_catalog') order by TABLE_SCHEMA, TABLE_NAME",
        Some("orders"),
    ),
    (
        "columns",
        "select COLUMN_NAME, ORDINAL_POSITION, IS_NULLABLE, case when (data_type like '%unsigned%') then DATA_TYPE || \
         ' unsigned' else DATA_TYPE end as DATA_TYPE from INFORMATION_SCHEMA.columns where TABLE_SCHEMA = 'marts' and \
         TABLE_NAME = 'orders' order by TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION",
        Some("numeric"),
    ),
    (
        "keys",
        "select i.CONSTRAINT_SCHEMA || '_' || i.CONSTRAINT_NAME as INDEX_NAME, ii.COLUMN_NAME, ii.ORDINAL_POSITION, case \
         when i.CONSTRAINT_TYPE = 'PRIMARY KEY' then 'Y' else 'N' end as PRIMARY_KEY from \
         INFORMATION_SCHEMA.table_constraints i inner join INFORMATION_SCHEMA.key_column_usage ii on i.CONSTRAINT_SCHEMA = \
         ii.CONSTRAINT_SCHEMA and i.CONSTRAINT_NAME = ii.CONSTRAINT_NAME where i.TABLE_SCHEMA = 'marts' order by 1",
        None,
    ),
];

/// What tools ask by JDBC, or by drivers of their own.
const TOOLS: &[Asked] = &[
    (
        "Metabase",
        "SELECT nspname AS \"TABLE_SCHEM\", current_database() AS \"TABLE_CATALOG\" FROM pg_catalog.pg_namespace WHERE \
         nspname <> 'pg_toast' AND (nspname !~ '^pg_temp_' OR nspname = (pg_catalog.current_schemas(true))[1]) AND (nspname \
         !~ '^pg_toast_temp_' OR nspname = replace((pg_catalog.current_schemas(true))[1], 'pg_temp_', 'pg_toast_temp_')) \
         ORDER BY \"TABLE_SCHEM\"",
        Some("marts"),
    ),
    (
        "Metabase",
        "with table_privileges as ( select NULL as role, t.schemaname as schema, t.objectname as table, \
         pg_catalog.has_any_column_privilege(current_user, '\"' || replace(t.schemaname, '\"', '\"\"') || '\"' || '.' || \
         '\"' || replace(t.objectname, '\"', '\"\"') || '\"', 'update') as update, \
         pg_catalog.has_any_column_privilege(current_user, '\"' || replace(t.schemaname, '\"', '\"\"') || '\"' || '.' || \
         '\"' || replace(t.objectname, '\"', '\"\"') || '\"', 'select') as select, \
         pg_catalog.has_table_privilege(current_user, '\"' || replace(t.schemaname, '\"', '\"\"') || '\"' || '.' || '\"' || \
         replace(t.objectname, '\"', '\"\"') || '\"', 'delete') as delete from ( select schemaname, tablename as objectname \
         from pg_catalog.pg_tables union select schemaname, viewname as objectname from pg_catalog.pg_views union select \
         schemaname, matviewname as objectname from pg_catalog.pg_matviews ) t where t.schemaname !~ '^pg_' and \
         t.schemaname <> 'information_schema' and pg_catalog.has_schema_privilege(current_user, t.schemaname, 'usage') ) \
         select t.* from table_privileges t",
        Some("orders"),
    ),
    (
        "Metabase",
        "SELECT \"n\".\"nspname\" AS \"schema\", \"c\".\"relname\" AS \"name\", CASE \"c\".\"relkind\" WHEN 'r' THEN 'TABLE' \
         WHEN 'p' THEN 'PARTITIONED TABLE' WHEN 'v' THEN 'VIEW' ELSE NULL END AS \"type\", \"d\".\"description\" AS \
         \"description\", \"stat\".\"n_live_tup\" AS \"estimated_row_count\" FROM \"pg_catalog\".\"pg_class\" AS \"c\" INNER \
         JOIN \"pg_catalog\".\"pg_namespace\" AS \"n\" ON \"c\".\"relnamespace\" = \"n\".\"oid\" LEFT JOIN \
         \"pg_catalog\".\"pg_description\" AS \"d\" ON (\"c\".\"oid\" = \"d\".\"objoid\") AND (\"d\".\"objsubid\" = '0') AND \
         (\"d\".\"classoid\" = 'pg_class'::regclass) LEFT JOIN \"pg_stat_user_tables\" AS \"stat\" ON (\"n\".\"nspname\" = \
         \"stat\".\"schemaname\") AND (\"c\".\"relname\" = \"stat\".\"relname\") WHERE (\"c\".\"relnamespace\" = \
         \"n\".\"oid\") AND (\"n\".\"nspname\" !~ '^pg_') AND (\"n\".\"nspname\" <> 'information_schema') AND c.relkind in \
         ('r', 'p', 'v', 'f', 'm') AND (\"n\".\"nspname\" IN ('marts')) ORDER BY \"type\" ASC, \"schema\" ASC, \"name\" ASC",
        Some("TABLE"),
    ),
    ("DBeaver", "SELECT current_schema(),session_user", Some("public")),
    (
        "DBeaver",
        "SELECT db.oid,db.* FROM pg_catalog.pg_database db WHERE datname='shop'",
        Some("shop"),
    ),
    (
        "DBeaver",
        "SELECT * FROM pg_catalog.pg_settings where name='standard_conforming_strings'",
        Some("on"),
    ),
    (
        "DBeaver",
        "SELECT string_agg(word, ',' ) from pg_catalog.pg_get_keywords() where word <> ALL ('{a,abs,absolute}'::text[])",
        Some(""),
    ),
    ("DBeaver", "SELECT * FROM pg_catalog.pg_enum WHERE 1<>1 LIMIT 1", None),
    (
        "DBeaver",
        "SELECT t.oid,t.*,c.relkind,format_type(nullif(t.typbasetype, 0), t.typtypmod) as base_type_name, d.description \
         FROM pg_catalog.pg_type t LEFT OUTER JOIN pg_catalog.pg_type et ON et.oid=t.typelem LEFT OUTER JOIN \
         pg_catalog.pg_class c ON c.oid=t.typrelid LEFT OUTER JOIN pg_catalog.pg_description d ON t.oid=d.objoid WHERE \
         t.typname IS NOT NULL AND (c.relkind IS NULL OR c.relkind = 'c') AND (et.typcategory IS NULL OR et.typcategory <> \
         'C')",
        Some("numeric"),
    ),
    (
        "DBeaver",
        "SELECT n.nspname = ANY(current_schemas(true)), n.nspname, t.typname FROM pg_catalog.pg_type t JOIN \
         pg_catalog.pg_namespace n ON t.typnamespace = n.oid WHERE t.oid = 1007",
        Some("_int4"),
    ),
    ("Grafana", "SELECT current_setting('server_version_num')::int/100 as version", Some("1600")),
    ("Grafana", "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'", None),
    (
        "Grafana",
        "select quote_ident(table_name) as \"table\" from information_schema.tables where quote_ident(table_schema) not in \
         ('information_schema', 'pg_catalog') and quote_ident(table_schema) = 'marts' order by 1",
        Some("orders"),
    ),
    (
        "Grafana",
        "select case when quote_ident(table_schema) in (select case when trim(part[i]) = '\"$user\"' then user else \
         trim(part[i]) end from generate_series(array_lower(string_to_array(current_setting('search_path'), ','), 1), \
         array_upper(string_to_array(current_setting('search_path'), ','), 1)) as i, \
         string_to_array(current_setting('search_path'), ',') part) then quote_ident(table_name) else \
         quote_ident(table_schema) || '.' || quote_ident(table_name) end as \"table\" from information_schema.tables where \
         table_schema = 'marts' order by 1",
        Some("marts.orders"),
    ),
    (
        "Grafana",
        "select quote_ident(column_name) as \"column\", data_type as \"type\" from information_schema.columns where \
         quote_ident(table_name) = 'orders'",
        Some("numeric"),
    ),
    (
        "Redash",
        "SELECT s.nspname as table_schema, c.relname as table_name, a.attname as column_name, null as column_type FROM \
         pg_class c JOIN pg_namespace s ON c.relnamespace = s.oid AND s.nspname NOT IN ('pg_catalog', 'information_schema') \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped WHERE c.relkind = 'm' OR \
         (c.relkind IN ('f', 'p', 'r') AND has_table_privilege(s.nspname || '.' || c.relname, 'select'))",
        Some("amount"),
    ),
];

/// What is wrong with an answer, if something is.
fn complaint(
    (tool, sql, expected): &Asked,
    said: &Result<Vec<Vec<Option<String>>>, Error>,
) -> Option<String> {
    let found = match (said, expected) {
        (Err(_), _) => false,
        (Ok(rows), None) => rows.is_empty(),
        (Ok(rows), Some("")) => !rows.is_empty(),
        (Ok(rows), Some(part)) => rows.iter().flatten().flatten().any(|cell| cell.contains(part)),
    };
    (!found).then(|| format!("{tool}: {sql}\n    {said:?} instead of {expected:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tool_is_told_what_it_asks_at_its_start() {
    let shop = Shop::new();
    let (token, _) = shop.token(&shop.owner, "query");
    let client = shop.client("ada", &token).await.unwrap();
    let mut wrong = Vec::new();
    for asked in [DRIVERS, SQLALCHEMY, POWER_BI, TOOLS].into_iter().flatten() {
        let said = client.simple_query(asked.1).await.map(|said| cells(&said));
        wrong.extend(complaint(asked, &said));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_schema_is_looked_for_where_the_client_says() {
    let shop = Shop::new();
    let (token, _) = shop.token(&shop.owner, "query");
    let client = shop.client("ada", &token).await.unwrap();
    // It is in `raw` and in `marts`.
    assert!(client.simple_query("select id from orders").await.is_err());
    client.batch_execute("set search_path to marts, absent").await.unwrap();
    for (sql, rows) in [
        ("select orders.id from orders order by orders.id", 3),
        ("with o as (select id from orders) select o.id from o", 3),
        ("with orders as (select 1 as id) select id from orders", 1),
        ("select id from raw.orders", 3),
        ("select 1 where current_schema() = 'marts'", 1),
    ] {
        let said = cells(&client.simple_query(sql).await.unwrap());
        assert_eq!(said.len(), rows, "{sql}: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_is_not_told_of_what_its_user_may_not_read() {
    let shop = Shop::new();
    let session = shop.analyst("kim");
    let (token, _) = shop.token(&session, "query");
    let client = shop.client("kim", &token).await.unwrap();
    for sql in [
        "select table_schema || '.' || table_name from information_schema.tables",
        "select table_schema || '.' || table_name from information_schema.table_privileges",
        "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace",
    ] {
        let said = format!("{:?}", cells(&client.simple_query(sql).await.unwrap()));
        assert!(said.contains("marts.orders") && !said.contains("system.audit"), "{sql}: {said}");
    }
}
