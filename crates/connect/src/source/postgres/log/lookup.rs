//! What the log does not tell of a row and the server knows: large values that did not change, columns
//! that are newer than the change, and the JSON of arrays and composite values.

use std::collections::HashMap;

use flywheel_base::{ErrorKind, Result};

use super::mapping::{Row, Value};
use super::value::Form;
use crate::column::Misfit;
use crate::page::Column;
use crate::postgres::{Session, field, quoted};
use crate::source::postgres::PostgresStream;
use crate::source::postgres::relation::{Relation, SourceColumn};

/// What the server says about a value.
#[derive(Clone, Debug)]
pub(super) enum Given {
    /// Its text.
    Text(String, Form),
    /// It cannot be had.
    Wrong(Misfit),
}

/// Values by row and column; those that are not in it are as the log tells them, or missing.
pub(super) type Known = HashMap<(usize, usize), Given>;

/// Arrays or composite values of one column, with the rows they are in.
#[derive(Default)]
struct Composed<'a> {
    rows: Vec<usize>,
    texts: Vec<&'a str>,
}

/// Asks the server for what is missing in rows with these columns.
pub(super) async fn look_up(
    session: &Session,
    settings: &PostgresStream,
    rows: &[Row],
    width: usize,
    columns: &[Column],
) -> Result<Known> {
    let mut known = Known::new();
    let mut missing: Vec<(usize, Vec<usize>)> = Vec::new();
    let mut composed: HashMap<(usize, &str), Composed<'_>> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        if row.asks() {
            let places = (0..width).filter(|place| row.value(*place) == Value::Missing);
            let places: Vec<usize> = places.collect();
            if !places.is_empty() {
                missing.push((at, places));
            }
        }
        if row.mapping.composes() {
            for place in 0..width {
                let Value::Text(text, Form::Composed) = row.value(place) else { continue };
                let (Some(sql_type), Ok(text)) =
                    (row.mapping.sql_type(place), std::str::from_utf8(text))
                else {
                    continue;
                };
                let texts = composed.entry((place, sql_type)).or_default();
                texts.rows.push(at);
                texts.texts.push(text);
            }
        }
    }
    if !missing.is_empty() {
        fetch(session, settings, rows, &missing, columns, &mut known).await?;
    }
    for ((place, sql_type), composed) in composed {
        compose(session, place, sql_type, &composed, &mut known).await?;
    }
    Ok(known)
}

/// Reads missing values from the table as it is now; what is there is newer than the change or the
/// same, and a later change says so. A row that is gone is followed by that news.
async fn fetch(
    session: &Session,
    settings: &PostgresStream,
    rows: &[Row],
    missing: &[(usize, Vec<usize>)],
    columns: &[Column],
    known: &mut Known,
) -> Result<()> {
    session.execute("BEGIN").await?;
    // From here on the columns stay what they are.
    let relation = Relation::of(session, settings, &[]).await?;
    session.execute(&format!("LOCK TABLE {} IN ACCESS SHARE MODE", relation.from)).await?;
    let relation = Relation::of(session, settings, &[]).await?;
    let mut wanted: Vec<usize> = missing.iter().flat_map(|(_, places)| places.clone()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let columns: Vec<(usize, &SourceColumn)> = wanted
        .into_iter()
        .filter_map(|place| {
            let name = &columns.get(place)?.name;
            let found = relation.columns.iter().find(|column| column.column.name == *name)?;
            Some((place, found))
        })
        .collect();
    let key: Vec<&SourceColumn> =
        relation.key.iter().filter_map(|at| relation.columns.get(*at)).collect();
    if !columns.is_empty() && !key.is_empty() {
        ask(session, &relation, rows, missing, &columns, &key, known).await?;
    }
    session.execute("COMMIT").await
}

async fn ask(
    session: &Session,
    relation: &Relation,
    rows: &[Row],
    missing: &[(usize, Vec<usize>)],
    columns: &[(usize, &SourceColumn)],
    key: &[&SourceColumn],
    known: &mut Known,
) -> Result<()> {
    let mut texts: Vec<Vec<String>> = vec![Vec::new(); key.len()];
    let mut asked = Vec::new();
    for (at, places) in missing {
        let found = rows.get(*at).and_then(|row| row.mapping.key_texts(&row.tuple));
        let Some(found) = found.filter(|found| found.len() == key.len()) else { continue };
        asked.push((*at, places));
        texts.iter_mut().zip(found).for_each(|(texts, text)| texts.push(text));
    }
    let list = columns.iter().map(|(_, column)| {
        let name = format!("t.{}", quoted(&column.name));
        Form::of(&column.pg).expression(&name, &column.pg)
    });
    let arrays = (1..=key.len()).map(|at| format!("${at}::text[]"));
    let names = (1..=key.len()).map(|at| format!("k{at}"));
    let equal = key.iter().enumerate().map(|(at, column)| {
        format!("t.{} = x.k{}::{}", quoted(&column.name), at + 1, column.sql_type)
    });
    let sql = format!(
        "SELECT x.n, {} FROM unnest({}) WITH ORDINALITY AS x({}, n) JOIN {} AS t ON {}",
        list.collect::<Vec<_>>().join(", "),
        arrays.collect::<Vec<_>>().join(", "),
        names.collect::<Vec<_>>().join(", "),
        relation.from,
        equal.collect::<Vec<_>>().join(" AND ")
    );
    let arguments: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
        texts.iter().map(|texts| texts as _).collect();
    for row in session.rows(&sql, &arguments).await? {
        let number: i64 = field(&row, 0)?;
        let place = usize::try_from(number - 1).ok();
        let Some((at, places)) = place.and_then(|place| asked.get(place)) else { continue };
        for (index, (place, column)) in columns.iter().enumerate() {
            let text: Option<String> = field(&row, index + 1)?;
            if let Some(text) = text.filter(|_| places.contains(place)) {
                known.insert((*at, *place), Given::Text(text, Form::of(&column.pg)));
            }
        }
    }
    Ok(())
}

/// Lets the server turn arrays or composite values into JSON, as a full read does.
async fn compose(
    session: &Session,
    place: usize,
    sql_type: &str,
    composed: &Composed<'_>,
    known: &mut Known,
) -> Result<()> {
    let sql = format!(
        "SELECT pg_catalog.to_json(x.v::{sql_type})::text \
         FROM unnest($1::text[]) WITH ORDINALITY AS x(v, n) ORDER BY x.n"
    );
    match session.rows(&sql, &[&composed.texts]).await {
        Ok(found) => {
            for (at, row) in composed.rows.iter().zip(found) {
                known.insert((*at, place), Given::Text(field(&row, 0)?, Form::Composed));
            }
            Ok(())
        }
        // The type is another one by now.
        Err(error) if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::NotFound) => {
            let misfit = Misfit::new("type-mismatch", error.message());
            known.extend(
                composed.rows.iter().map(|at| ((*at, place), Given::Wrong(misfit.clone()))),
            );
            Ok(())
        }
        Err(error) => Err(error),
    }
}
