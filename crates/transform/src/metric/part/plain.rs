//! Parts without a window: one pass over the rows.

use flywheel_base::Result;
use flywheel_project::resource::semantic::Aggregate;

use super::super::resolve::measure_of;
use super::draft::Draft;
use super::{Rendered, aggregate, aggregate_where, group_by, select};

impl Draft<'_, '_, '_> {
    /// Leaves without a window: one pass over the rows.
    pub(super) fn plain(mut self) -> Result<Rendered> {
        let grain = self.context.question.grain.filter(|_| self.by_time());
        let mut columns = self.grouped();
        if let Some(grain) = grain {
            let moment = self.moment()?;
            columns.push(("t".to_owned(), self.context.question.calendar.start(grain, &moment)));
        }
        if measure_of(self.first.metric.0)?.1.over_time.is_some() {
            return self.at_one_moment(&columns);
        }
        let mut conditions = self.common()?;
        conditions.extend(self.range(false)?);
        let leaves = self.part.leaves.clone();
        let (mut values, mut present) = (Vec::new(), Vec::new());
        let mut every = true;
        for (at, leaf) in &leaves {
            let (name, measure) = measure_of(leaf.metric.0)?;
            let value = self.rows.measure(name);
            let own = self.own(leaf)?;
            every &= own.is_some();
            // A single leaf filters its rows; several filter what each adds up.
            match own {
                Some(own) if leaves.len() == 1 => {
                    conditions.push(own);
                    values.push((format!("v{at}"), aggregate(measure, value.as_deref())));
                }
                Some(own) => {
                    let mut sql = aggregate_where(measure, value.as_deref(), Some(&own));
                    if matches!(measure.aggregate, Aggregate::Count | Aggregate::CountDistinct) {
                        sql = format!("NULLIF({sql}, 0)");
                    }
                    values.push((format!("v{at}"), sql));
                    present.push(format!("count(*) FILTER (WHERE {own}) > 0"));
                }
                None => values.push((format!("v{at}"), aggregate(measure, value.as_deref()))),
            }
        }
        let mut sql = select(&columns, &values, &self.rows.from(), &conditions);
        if !columns.is_empty() {
            sql.push_str(&group_by(&columns));
            if every && !present.is_empty() {
                sql.push_str(&format!("\n  HAVING {}", present.join(" OR ")));
            }
        }
        Ok(Rendered { atoms: None, values: sql })
    }

    /// What cannot be added up over time: rows of one moment of each period.
    pub(super) fn at_one_moment(mut self, columns: &[(String, String)]) -> Result<Rendered> {
        let (mut inner, partition) = self.snapshot(columns)?;
        let mut over: Vec<String> = partition;
        if let Some((_, period)) = columns.iter().find(|(name, _)| name == "t") {
            over.insert(0, period.clone());
        }
        let extreme = self.extreme(&over)?;
        inner.push(("picked".to_owned(), extreme));
        let conditions = self.range(false)?;
        let from = format!("({}) AS s", select(&[], &inner, &self.rows.from(), &conditions));
        let outer: Vec<(String, String)> =
            columns.iter().map(|(name, _)| (name.clone(), format!("s.{name}"))).collect();
        let values = self.outer_values("s")?;
        let mut sql = select(&outer, &values, &from, &["s.picked".to_owned(), "s.kept".to_owned()]);
        if !outer.is_empty() {
            sql.push_str(&group_by(&outer));
        }
        Ok(Rendered { atoms: None, values: sql })
    }
}
