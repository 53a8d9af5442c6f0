//! Replacing a table: the table that collects the new rows, and the swap at the end.

use flywheel_base::{ErrorKind, Result};

use super::target::{TableName, Target, widen_like};
use crate::destination::cannot_widen;
use crate::postgres::{Session, field, quoted};

/// What a new table would not have, or the user may not give it: then the old table stays and its
/// rows are replaced. `$1` is the old table.
const STAYS: &str = "
    SELECT c.relkind <> 'r' OR c.relpersistence <> 'p' OR c.relrowsecurity
        OR c.reloptions IS NOT NULL OR c.relreplident <> 'd' OR c.reltablespace <> 0
        OR NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')
        OR EXISTS (SELECT FROM pg_catalog.pg_depend d
                   WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
                     AND d.classid = 'pg_rewrite'::regclass)
        OR EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_type t ON t.oid = d.refobjid
                   WHERE d.refclassid = 'pg_type'::regclass AND d.deptype = 'n'
                     AND c.reltype IN (t.oid, t.typelem))
        OR EXISTS (SELECT FROM pg_catalog.pg_constraint k
                   WHERE k.contype = 'f' AND k.confrelid = c.oid)
        OR EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)
        OR EXISTS (SELECT FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid)
        OR EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE c.oid IN (i.inhrelid, i.inhparent))
        OR EXISTS (SELECT FROM pg_catalog.pg_publication_rel p WHERE p.prrelid = c.oid)
    FROM pg_catalog.pg_class c WHERE c.oid = $1";

/// Statements that make foreign keys like those of `$1` on the table whose name is `$2`.
const FOREIGN_KEYS: &str = "
    SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', $2::text, conname, pg_get_constraintdef(oid))
    FROM pg_catalog.pg_constraint WHERE conrelid = $1 AND contype = 'f' AND confrelid <> $1
    ORDER BY conname";

/// Statements that give the table named `$2` what `$1` has: owner, rights, comment.
const LIKENESS: &str = "
    SELECT statement FROM (
        SELECT 1 AS step, format('GRANT %s ON TABLE %s TO %s%s', a.privilege_type, $2::text,
               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
               CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS statement
        FROM pg_catalog.pg_class c, aclexplode(c.relacl) a
        WHERE c.oid = $1 AND a.grantee <> c.relowner
        UNION ALL
        SELECT 2, format('GRANT %s (%I) ON TABLE %s TO %s%s', a.privilege_type, t.attname, $2::text,
               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
               CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
        FROM pg_catalog.pg_attribute t, aclexplode(t.attacl) a
        WHERE t.attrelid = $1 AND NOT t.attisdropped
        UNION ALL
        SELECT 3, format('COMMENT ON TABLE %s IS %L', $2::text, obj_description($1, 'pg_class'))
        WHERE obj_description($1, 'pg_class') IS NOT NULL
        UNION ALL
        SELECT 4, format('ALTER TABLE %s OWNER TO %I', $2::text, pg_get_userbyid(c.relowner))
        FROM pg_catalog.pg_class c WHERE c.oid = $1 AND pg_get_userbyid(c.relowner) <> current_user
    ) s ORDER BY step, statement";

/// Statements that hand the counters of `$1` to the table named `$2`: sequences that columns own go
/// over, those of identity columns pass on where they stand.
const COUNTERS: &str = "
    SELECT CASE d.deptype
        WHEN 'a' THEN format('ALTER SEQUENCE %s OWNED BY %s.%I', d.objid::regclass, $2::text, a.attname)
        ELSE format('SELECT setval(pg_get_serial_sequence(%L, %L), last_value, is_called) FROM %s',
                    $2::text, a.attname, d.objid::regclass) END
    FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'
    JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
      AND d.refobjid = $1 AND d.deptype IN ('a', 'i')
    ORDER BY a.attnum";

/// The indexes and the sequences of identity columns of `$1`: name and what tells them apart.
const PARTS: &str = "
    SELECT c.relname::text, i.indisprimary::text || ' ' ||
           regexp_replace(pg_get_indexdef(c.oid), '^CREATE (UNIQUE )?INDEX .* USING ', '\\1'), 'INDEX'
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = $1
    UNION ALL
    SELECT s.relname::text, a.attname::text, 'SEQUENCE'
    FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'
    JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
      AND d.refobjid = $1 AND d.deptype = 'i'
    ORDER BY 3, 2, 1";

/// Makes an empty staging table that is like the table, if there is one.
pub(super) async fn start(session: &Session, name: &TableName, staging: &TableName) -> Result<()> {
    session.execute(&format!("DROP TABLE IF EXISTS {}", staging.sql())).await?;
    let Some(target) = Target::find(session, name).await? else { return Ok(()) };
    let sql = format!("CREATE TABLE {} (LIKE {} INCLUDING ALL)", staging.sql(), name.sql());
    session.execute(&sql).await?;
    run(session, FOREIGN_KEYS, target.oid, staging).await
}

/// Swaps the staging table in; the caller commits.
pub(super) async fn finish(session: &Session, name: &TableName, staging: &TableName) -> Result<()> {
    let Some(old) = Target::find(session, name).await? else {
        renamed(session, name, staging, &[]).await?;
        return own_names(session, name, staging).await;
    };
    session.execute(&format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", name.sql())).await?;
    if field(&session.row(STAYS, &[&old.oid]).await?, 0)? {
        return refill(session, name, staging, &old).await;
    }
    run(session, LIKENESS, old.oid, staging).await?;
    run(session, COUNTERS, old.oid, staging).await?;
    let parts = parts(session, old.oid).await?;
    session.execute(&format!("DROP TABLE {}", name.sql())).await?;
    renamed(session, name, staging, &parts).await
}

/// One index or sequence of a table.
struct Part {
    name: String,
    what: String,
    kind: String,
}

async fn parts(session: &Session, oid: u32) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for row in session.rows(PARTS, &[&oid]).await? {
        parts.push(Part { name: field(&row, 0)?, what: field(&row, 1)?, kind: field(&row, 2)? });
    }
    Ok(parts)
}

/// Gives the staging table the name of the table, and its parts the names of the old parts.
async fn renamed(
    session: &Session,
    name: &TableName,
    staging: &TableName,
    old: &[Part],
) -> Result<()> {
    let sql = format!("ALTER TABLE {} RENAME TO {}", staging.sql(), quoted(&name.name));
    session.execute(&sql).await?;
    let Some(new) = Target::find(session, name).await? else { return Ok(()) };
    let mut left: Vec<&Part> = old.iter().collect();
    for part in parts(session, new.oid).await? {
        let same = |old: &&Part| old.what == part.what && old.kind == part.kind;
        let Some(at) = left.iter().position(same) else { continue };
        let before = left.remove(at);
        if before.name == part.name {
            continue;
        }
        session
            .execute(&format!(
                "ALTER {} {}.{} RENAME TO {}",
                part.kind,
                quoted(&name.schema),
                quoted(&part.name),
                quoted(&before.name)
            ))
            .await?;
    }
    Ok(())
}

/// Gives the parts of a table that took the place of none names by the table's, not by that of the staging table, as far as
/// those are free.
async fn own_names(session: &Session, name: &TableName, staging: &TableName) -> Result<()> {
    let Some(new) = Target::find(session, name).await? else { return Ok(()) };
    let taken = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c \
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = $1 AND c.relname = $2)";
    for part in parts(session, new.oid).await? {
        let Some(rest) = part.name.strip_prefix(&staging.name) else { continue };
        let wanted = format!("{}{rest}", name.name);
        if field::<bool>(&session.row(taken, &[&name.schema, &wanted]).await?, 0)? {
            continue;
        }
        session
            .execute(&format!(
                "ALTER {} {}.{} RENAME TO {}",
                part.kind,
                quoted(&name.schema),
                quoted(&part.name),
                quoted(&wanted)
            ))
            .await?;
    }
    Ok(())
}

/// Replaces the rows inside the old table.
async fn refill(
    session: &Session,
    name: &TableName,
    staging: &TableName,
    old: &Target,
) -> Result<()> {
    let Some(new) = Target::find(session, staging).await? else { return Ok(()) };
    if let Some(lacks) = widen_like(session, name, old, &new).await? {
        let altered = session.execute(&lacks.sql).await;
        altered.map_err(|error| match error.kind() {
            _ if lacks.narrower.is_empty() => error,
            ErrorKind::Unavailable => error,
            _ => cannot_widen(&name.text(), &lacks.narrower, &lacks.sql).caused_by(error),
        })?;
    }
    let written = new.columns.iter().filter(|column| !column.computed);
    let names: Vec<String> = written.map(|column| quoted(&column.name)).collect();
    let names = names.join(", ");
    session
        .execute(&format!(
            "DELETE FROM {0}; INSERT INTO {0} ({names}) OVERRIDING SYSTEM VALUE \
             SELECT {names} FROM {1}; DROP TABLE {1}",
            name.sql(),
            staging.sql()
        ))
        .await
}

/// Runs the statements that a query of the catalog writes.
async fn run(session: &Session, query: &str, oid: u32, table: &TableName) -> Result<()> {
    for row in session.rows(query, &[&oid, &table.sql()]).await? {
        let statement: String = field(&row, 0)?;
        session.execute(&statement).await?;
    }
    Ok(())
}
