//! `MERGE`: source and table joined, and which clause each row takes.

use datafusion::sql::sqlparser::ast::{
    Expr, Merge, MergeAction, MergeClause, MergeClauseKind, MergeInsertKind,
};
use flywheel_base::{Error, Result};

use super::target::Target;
use super::{Lowered, RETURNING_HINT, push, refused};
use crate::lake_table::{FILE, ROW};
use crate::lane::{Assigned, Clause};

/// The column that is there in every row of a merge's source.
const SOURCE: &str = "flywheel source";
/// What a merge does to the table; `with` stands before every query.
pub(super) fn lower(merge: &Merge, with: &str, target: &Target<'_>) -> Result<Lowered> {
    if merge.output.is_some() {
        return Err(refused("RETURNING", RETURNING_HINT));
    }
    if merge.clauses.is_empty() {
        return Err(Error::invalid("MERGE has no WHEN clause")
            .hint("Add WHEN MATCHED THEN … or WHEN NOT MATCHED THEN …."));
    }
    let join = Join::of(&merge.clauses);
    let mut draft = Draft { join, texts: Vec::new(), values: Vec::new(), clauses: Vec::new() };
    for clause in &merge.clauses {
        draft.add(clause, target)?;
    }
    let source = match join {
        Join::Inner | Join::Left => merge.source.to_string(),
        Join::Right | Join::Full => format!(
            "({} CROSS JOIN (SELECT true AS \"{SOURCE}\") AS \"flywheel mark\")",
            merge.source
        ),
    };
    let mut sql =
        format!("{with}SELECT \"{FILE}\", \"{ROW}\", {} AS \"flywheel clause\"", draft.chosen());
    let mut order = "1 NULLS LAST, 2 NULLS LAST".to_owned();
    for (at, value) in draft.values.iter().enumerate() {
        push(&mut sql, format_args!(", {} AS \"flywheel value {at}\"", draft.guarded(value)));
        // New rows have no place; their values give them an order that does not depend on threads.
        if value.sortable && draft.inserts() {
            push(&mut order, format_args!(", {}", at + 4));
        }
    }
    push(
        &mut sql,
        format_args!(
            " FROM {source} {} JOIN {} ON ({}){} ORDER BY {order}",
            join.word(),
            target.from(),
            merge.on,
            draft.condition()
        ),
    );
    let mut checks = Vec::new();
    for (side, from) in
        [(Side::NotMatched, merge.source.to_string()), (Side::BySource, target.from())]
    {
        let reads = draft.texts.iter().filter(|text| text.side == side);
        let reads: Vec<String> = reads.flat_map(|text| text.reads.clone()).collect();
        if !reads.is_empty() {
            let columns = reads.iter().enumerate();
            let columns: Vec<String> =
                columns.map(|(at, read)| format!("{read} AS \"{at}\"")).collect();
            checks.push(format!("{with}SELECT {} FROM {from}", columns.join(", ")));
        }
    }
    let named = target.named_in(&merge.on);
    Ok(Lowered::Change { sql, checks, clauses: draft.clauses, named, once: true })
}

/// How source and table of a merge are joined; the source stands left, which a hash join reads first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Join {
    Inner,
    Left,
    Right,
    Full,
}

impl Join {
    fn of(clauses: &[MergeClause]) -> Self {
        let has = |side| clauses.iter().any(|clause| Side::of(clause) == side);
        match (has(Side::NotMatched), has(Side::BySource)) {
            (false, false) => Self::Inner,
            (true, false) => Self::Left,
            (false, true) => Self::Right,
            (true, true) => Self::Full,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Inner => "INNER",
            Self::Left => "LEFT",
            Self::Right => "RIGHT",
            Self::Full => "FULL",
        }
    }

    /// The rows it gives.
    fn sides(self) -> &'static [Side] {
        match self {
            Self::Inner => &[Side::Matched],
            Self::Left => &[Side::Matched, Side::NotMatched],
            Self::Right => &[Side::Matched, Side::BySource],
            Self::Full => &[Side::Matched, Side::NotMatched, Side::BySource],
        }
    }

    /// What tells the rows of a side from others.
    fn tells(self, side: Side) -> Vec<String> {
        let mut tells = Vec::new();
        if side == Side::BySource {
            tells.push(format!("\"{SOURCE}\" IS NULL"));
        } else if side == Side::NotMatched {
            tells.push(format!("\"{ROW}\" IS NULL"));
        } else {
            if matches!(self, Self::Left | Self::Full) {
                tells.push(format!("\"{ROW}\" IS NOT NULL"));
            }
            if matches!(self, Self::Right | Self::Full) {
                tells.push(format!("\"{SOURCE}\" IS NOT NULL"));
            }
        }
        tells
    }
}

/// Where a row of a merge comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Matched,
    NotMatched,
    BySource,
}

impl Side {
    fn of(clause: &MergeClause) -> Self {
        match clause.clause_kind {
            MergeClauseKind::Matched => Self::Matched,
            MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget => Self::NotMatched,
            MergeClauseKind::NotMatchedBySource => Self::BySource,
        }
    }
}

/// A clause of a merge as text.
struct Text {
    side: Side,
    /// When it applies, if no clause before it does.
    condition: String,
    /// Whether it applies to every row of its side.
    always: bool,
    /// What it reads: its condition and its values.
    reads: Vec<String>,
}

/// A value of a merge.
struct Value {
    text: String,
    /// The clauses that assign it.
    clauses: Vec<usize>,
    /// Whether rows can be ordered by it.
    sortable: bool,
}

/// The clauses of a merge, one after the other.
struct Draft {
    join: Join,
    texts: Vec<Text>,
    values: Vec<Value>,
    clauses: Vec<Clause>,
}

impl Draft {
    fn add(&mut self, clause: &MergeClause, target: &Target<'_>) -> Result<()> {
        let side = Side::of(clause);
        let mut reads: Vec<String> = clause.predicate.iter().map(ToString::to_string).collect();
        let mut tells = self.join.tells(side);
        tells.extend(clause.predicate.iter().map(|predicate| format!("({predicate})")));
        let made = match &clause.action {
            MergeAction::Delete { .. } => Clause::Delete,
            MergeAction::Update(update) => {
                if update.update_predicate.is_some() || update.delete_predicate.is_some() {
                    let hint = "Write the condition before THEN: WHEN MATCHED AND ….";
                    return Err(refused("WHERE in a clause of MERGE", hint));
                }
                let assigned = target.assignments(&update.assignments)?;
                Clause::Update(self.assign(assigned, target, &mut reads))
            }
            MergeAction::Insert(insert) => {
                if insert.insert_predicate.is_some() {
                    let hint = "Write the condition before THEN: WHEN NOT MATCHED AND ….";
                    return Err(refused("WHERE in a clause of MERGE", hint));
                }
                let MergeInsertKind::Values(values) = &insert.kind else {
                    let hint = "Write INSERT (columns) VALUES (…).";
                    return Err(refused("INSERT ROW", hint));
                };
                let columns = match insert.columns.is_empty() {
                    true => target.columns(),
                    false => target.listed(&insert.columns)?,
                };
                let [row] = values.rows.as_slice() else {
                    return Err(refused(
                        "INSERT of several rows in MERGE",
                        "Give one row of values.",
                    ));
                };
                if row.content.len() != columns.len() {
                    return Err(Error::invalid(format!(
                        "INSERT of a MERGE into \"{}\" has {} columns and {} values",
                        target.name,
                        columns.len(),
                        row.content.len()
                    ))
                    .hint(format!("Give a value for each of {}.", columns.join(", "))));
                }
                let assigned = columns.into_iter().zip(&row.content).collect();
                Clause::Insert(self.assign(assigned, target, &mut reads))
            }
        };
        let condition = if tells.is_empty() { "true".to_owned() } else { tells.join(" AND ") };
        let always = clause.predicate.is_none();
        self.texts.push(Text { side, condition, always, reads });
        self.clauses.push(made);
        Ok(())
    }

    /// Notes values for the clause that comes next; the same value for the same column is one.
    fn assign(
        &mut self,
        assigned: Vec<(String, &Expr)>,
        target: &Target<'_>,
        reads: &mut Vec<String>,
    ) -> Vec<Assigned> {
        let clause = self.clauses.len();
        let mut places = Vec::with_capacity(assigned.len());
        for (column, value) in assigned {
            let text = value.to_string();
            reads.push(text.clone());
            let field = target.head.schema.field_with_name(&column);
            let sortable = field.is_ok_and(|field| !field.data_type().is_nested());
            let place = match self.values.iter().position(|known| known.text == text) {
                Some(place) => place,
                None => {
                    self.values.push(Value { text, clauses: Vec::new(), sortable });
                    self.values.len() - 1
                }
            };
            if let Some(value) = self.values.get_mut(place)
                && !value.clauses.contains(&clause)
            {
                value.clauses.push(clause);
            }
            places.push((column, place));
        }
        places
    }

    fn inserts(&self) -> bool {
        self.clauses.iter().any(|clause| matches!(clause, Clause::Insert(_)))
    }

    /// The number of the clause of a row.
    fn chosen(&self) -> String {
        if self.texts.len() == 1 {
            return "0".to_owned();
        }
        let mut chosen = "CASE".to_owned();
        for (number, text) in self.texts.iter().enumerate() {
            push(&mut chosen, format_args!(" WHEN {} THEN {number}", text.condition));
        }
        chosen + " END"
    }

    /// A value that is computed only for rows whose clause wants it.
    fn guarded(&self, value: &Value) -> String {
        if self.texts.len() == 1 {
            return value.text.clone();
        }
        let clauses: Vec<String> = value.clauses.iter().map(ToString::to_string).collect();
        format!("CASE WHEN {} IN ({}) THEN {} END", self.chosen(), clauses.join(", "), value.text)
    }

    /// Leaves out rows to which no clause applies, if there can be any.
    fn condition(&self) -> String {
        let all = self
            .join
            .sides()
            .iter()
            .all(|side| self.texts.iter().any(|text| text.side == *side && text.always));
        if all {
            return String::new();
        }
        let conditions: Vec<String> =
            self.texts.iter().map(|text| format!("({})", text.condition)).collect();
        format!(" WHERE {}", conditions.join(" OR "))
    }
}
