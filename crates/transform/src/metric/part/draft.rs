//! What every part needs: its rows, what they are grouped by, and the conditions they must fulfil.

use flywheel_base::Result;
use flywheel_project::metric::Expression;
use flywheel_project::resource::semantic::{EntityKind, Semantic, Take};

use super::super::expand::{Follow, Leaf, Span};
use super::super::resolve::{By, measure_of, time_of};
use super::super::rows::Rows;
use super::super::time::{Length, as_moment};
use super::{Context, Part, aggregate, pick, select};

/// A column's name and its SQL.
type Named = (String, String);

/// A part while it is written.
pub(super) struct Draft<'a, 'q, 'p> {
    pub(super) context: &'p Context<'a, 'q>,
    pub(super) part: &'p Part<'a>,
    pub(super) first: &'p Leaf<'a>,
    pub(super) rows: Rows<'a, 'q>,
    pub(super) number: usize,
    /// What is grouped by besides time: the column's name and its SQL.
    pub(super) groups: Vec<(String, String)>,
}

impl<'a> Draft<'a, '_, '_> {
    pub(super) fn groups(&mut self) -> Result<()> {
        for at in &self.first.grouping {
            let Some(By::Dimension(group)) = self.context.question.by.get(*at) else { continue };
            let path = self.context.semantics.path(self.first.metric.0.view, &group.parts)?;
            let mut sql = self.rows.column(&path)?;
            if let Some(grain) = group.grain {
                sql = self.context.question.calendar.period(grain, &sql);
            }
            self.groups.push((format!("d{at}"), sql));
        }
        Ok(())
    }

    pub(super) fn by_time(&self) -> bool {
        let by = &self.context.question.by;
        self.first.grouping.iter().any(|at| by.get(*at) == Some(&By::Time))
    }

    /// Whether periods count rows of other periods.
    pub(super) fn is_windowed(&self) -> bool {
        self.by_time() && (self.first.span != Span::Period || !self.first.shift.is_zero())
    }

    /// The first and the last moment of the rows.
    pub(super) fn extent(mut self) -> Result<String> {
        let moment = self.moment()?;
        let windowed = self.is_windowed();
        let mut conditions = self.range(windowed)?;
        if let (true, Some(grain)) = (windowed, self.context.question.grain) {
            conditions.extend(self.lower_bound(grain, &moment)?);
        }
        // Of what cannot be added up over time, rows that do not count still say when there were rows.
        if measure_of(self.first.metric.0)?.1.over_time.is_none() {
            conditions.extend(self.common()?);
            if let [(_, only)] = self.part.leaves.as_slice() {
                conditions.extend(self.own(only)?);
            }
        }
        let ends = [
            ("lo".to_owned(), format!("min({moment})")),
            ("hi".to_owned(), format!("max({moment})")),
        ];
        Ok(select(&[], &ends, &self.rows.from(), &conditions))
    }

    /// The moment a row is counted by, if it is needed.
    pub(super) fn moment(&mut self) -> Result<String> {
        let (name, dimension) = time_of(self.first.metric.0)?;
        Ok(self.rows.moment(name, dimension))
    }

    /// The conditions that every row must fulfil, the leaves' own left out.
    pub(super) fn common(&mut self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        if let Some(filter) = &self.context.question.filter {
            all.push(self.rows.condition(filter)?);
        }
        if let Some(follow) = self.first.conversion.clone() {
            all.push(self.followed(&follow)?);
        }
        Ok(all)
    }

    /// The conditions of one leaf.
    pub(super) fn own(&mut self, leaf: &Leaf<'a>) -> Result<Option<String>> {
        let mut all = Vec::new();
        for text in &leaf.filters {
            let parsed = Expression::parse(text).map_err(|mistake| mistake.into_error(text))?;
            all.push(self.rows.condition(&parsed)?);
        }
        Ok((!all.is_empty()).then(|| all.join(" AND ")))
    }

    /// The range of the question, moved by the leaf's shift.
    pub(super) fn range(&mut self, widen: bool) -> Result<Vec<String>> {
        let range = &self.context.question.range;
        let (from, to) = (range.from.clone().filter(|_| !widen), range.to.clone());
        let mut all = Vec::new();
        for (bound, sign) in [(from, ">="), (to, "<")] {
            let Some(bound) = bound else { continue };
            let moment = self.moment()?;
            let bound = self.first.shift.moved(&bound, '-');
            all.push(format!("{moment} {sign} {}", as_moment(&bound)));
        }
        Ok(all)
    }

    /// Whether a row was followed by one of another table.
    pub(super) fn followed(&mut self, follow: &Follow<'a>) -> Result<String> {
        let context = self.context;
        let (view, other) = (self.first.metric.0.view, follow.to.view);
        let mut to =
            Rows::new(context.tables, context.semantics, other, &format!("c{}", self.number))?;
        let mut all = Vec::new();
        let keys = |view: &Semantic, name: &str| {
            view.entities.get(name).map(|entity| entity.columns(name)).unwrap_or_default()
        };
        for (left, right) in keys(view, follow.entity).iter().zip(keys(other, follow.entity)) {
            all.push(format!("{} = {}", to.key(&right), self.rows.key(left)));
        }
        let (name, dimension) = time_of(self.first.metric.0)?;
        let before = self.rows.instant(name, dimension);
        let (name, dimension) = time_of(follow.to)?;
        let after = to.instant(name, dimension);
        all.push(format!("{after} >= {before}"));
        all.push(format!("{after} <= {}", Length::of(follow.within).moved(&before, '+')));
        if view.semantic == other.semantic {
            // A row does not follow itself.
            let primary =
                view.entities.iter().find(|(_, entity)| entity.kind == EntityKind::Primary);
            match primary.map(|(name, entity)| entity.columns(name)) {
                Some(columns) => {
                    let same =
                        columns.iter().map(|c| format!("{} = {}", to.key(c), self.rows.key(c)));
                    let same: Vec<String> = same.collect();
                    all.push(format!("NOT ({})", same.join(" AND ")));
                }
                None => all.push(format!("{after} > {before}")),
            }
        }
        if let Some(text) = &follow.to.metric.filter {
            let parsed = Expression::parse(text).map_err(|mistake| mistake.into_error(text))?;
            all.push(to.condition(&parsed)?);
        }
        Ok(format!("EXISTS (SELECT 1 FROM {} WHERE {})", to.from(), all.join(" AND ")))
    }

    /// The columns of rows of which one moment counts, and those each of which has its own moment.
    pub(super) fn snapshot(
        &mut self,
        columns: &[(String, String)],
    ) -> Result<(Vec<Named>, Vec<String>)> {
        let mut inner = columns.to_vec();
        let moment = self.snapshot_moment()?;
        inner.push(("at".to_owned(), moment));
        let mut kept = self.common()?;
        let leaves = self.part.leaves.clone();
        kept.extend(self.own(self.first)?);
        inner.push((
            "kept".to_owned(),
            if kept.is_empty() { "TRUE".to_owned() } else { kept.join(" AND ") },
        ));
        for (at, leaf) in &leaves {
            let value = self.rows.measure(measure_of(leaf.metric.0)?.0);
            inner.push((format!("m{at}"), value.unwrap_or_else(|| "1".to_owned())));
        }
        let mut per = Vec::new();
        let view = self.first.metric.0.view;
        let over_time = measure_of(self.first.metric.0)?.1.over_time.clone();
        for word in over_time.map(|over| over.per).unwrap_or_default() {
            let path = self.context.semantics.path(view, &[word])?;
            per.push(self.rows.column(&path)?);
        }
        Ok((inner, per))
    }

    /// The moment of a snapshot, as exact as its time is known.
    pub(super) fn snapshot_moment(&mut self) -> Result<String> {
        let (_, dimension) = time_of(self.first.metric.0)?;
        let moment = self.moment()?;
        Ok(match dimension.grain {
            Some(grain) => as_moment(&self.context.question.calendar.period(grain, &moment)),
            None => moment,
        })
    }

    /// Whether a row lies at the first or last moment of its window.
    pub(super) fn extreme(&mut self, over: &[String]) -> Result<String> {
        let moment = self.snapshot_moment()?;
        Ok(pick(self.take()?, &moment, over))
    }

    pub(super) fn take(&self) -> Result<Take> {
        Ok(measure_of(self.first.metric.0)?
            .1
            .over_time
            .as_ref()
            .map_or(Take::Last, |over| over.take))
    }

    /// The values of rows that were prepared with their measures as columns.
    pub(super) fn outer_values(&self, from: &str) -> Result<Vec<(String, String)>> {
        let mut values = Vec::new();
        for (at, leaf) in &self.part.leaves {
            let (_, measure) = measure_of(leaf.metric.0)?;
            values.push((format!("v{at}"), aggregate(measure, Some(&format!("{from}.m{at}")))));
        }
        Ok(values)
    }

    pub(super) fn grouped(&self) -> Vec<(String, String)> {
        self.groups.clone()
    }
}
