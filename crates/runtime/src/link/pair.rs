//! Recognising records that are not linked yet: as the same, as new, or as something to ask about.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Result, digest};
use flywheel_project::resource::link::MatchBy;
use flywheel_reconcile::matching::{Entry, Key, find};
use flywheel_reconcile::record::{Pair, Side};
use serde_json::{Value, json};

use super::rules;
use super::work::{Linked, Work};

/// A record, by its side and its id there.
type Name = (Side, String);

impl Work<'_> {
    /// Links records that are the same, and prepares links for those that shall be created.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the match rules are impossible.
    pub(super) fn pair(&mut self) -> Result<()> {
        let free: BTreeSet<Name> = Side::BOTH
            .into_iter()
            .flat_map(|side| {
                let taken = self.taken(side);
                let ids = self.records.of(side).by_id.keys();
                let ids = ids.filter(|id| !taken.contains(id.as_str())).cloned();
                ids.map(move |id| (side, id)).collect::<Vec<_>>()
            })
            .collect();
        let free = self.leave_created_alone(free);
        if free.is_empty() {
            return Ok(());
        }
        let matched = find(&self.entries(), &rules::match_rules(&self.link.matching))?;
        let mut open = free.clone();
        for cluster in &matched.clusters {
            let members: Vec<Name> = cluster.members.iter().filter_map(name_of).collect();
            self.cluster(&members, &cluster.why.join("; "), &free, &mut open);
        }
        for review in &matched.review {
            let (Some(a), Some(b)) = (name_of(&review.a), name_of(&review.b)) else { continue };
            self.review(
                &a,
                &b,
                &format!("{} ({:.0} %)", review.why, review.score * 100.0),
                &free,
                &mut open,
            );
        }
        self.create(&open);
        Ok(())
    }

    /// Records that an earlier run created belong to their link, which finds them by its own means.
    fn leave_created_alone(&self, mut free: BTreeSet<Name>) -> BTreeSet<Name> {
        for (key, linked) in self.links.iter().filter(|(_, linked)| !linked.cut) {
            for side in Side::BOTH {
                if let Some(id) = self.created(key, linked, side) {
                    free.remove(&(side, id.to_owned()));
                }
            }
        }
        free
    }

    fn entries(&self) -> Vec<Entry> {
        let cut: BTreeSet<(Side, &str)> = self
            .links
            .values()
            .filter(|linked| linked.cut)
            .flat_map(|linked| {
                Side::BOTH
                    .into_iter()
                    .filter_map(|side| Some((side, linked.ids.of(side).as_deref()?)))
            })
            .collect();
        let by_id = self.link.matching.exact.contains(&MatchBy::Id);
        let mut entries = Vec::new();
        for side in Side::BOTH {
            for (id, observed) in &self.records.of(side).by_id {
                if cut.contains(&(side, id.as_str())) {
                    continue;
                }
                let same = by_id.then(|| (rules::SAME_ID.to_owned(), id.clone()));
                entries.push(Entry {
                    key: Key { system: side.name().to_owned(), id: id.clone() },
                    fields: observed.record.clone(),
                    external: same.into_iter().collect(),
                    changed_at: observed.changed_at,
                });
            }
        }
        entries
    }

    /// Records that are surely the same, as far as nobody said otherwise.
    fn cluster(
        &mut self,
        members: &[Name],
        why: &str,
        free: &BTreeSet<Name>,
        open: &mut BTreeSet<Name>,
    ) {
        let (new, known): (Vec<&Name>, Vec<&Name>) =
            members.iter().partition(|name| free.contains(*name));
        let different = |a: &Name, b: &Name| {
            self.answers.get(&question_id(a, b)).and_then(Value::as_str) == Some("different")
        };
        let new: Vec<Name> = new
            .into_iter()
            .filter(|name| {
                !members.iter().filter(|o| o != name).all(|other| different(name, other))
            })
            .cloned()
            .collect();
        let of = |side: Side| new.iter().filter(move |name| name.0 == side);
        if let (Some(left), Some(right), 2, true) =
            (of(Side::Left).next(), of(Side::Right).next(), new.len(), known.is_empty())
            && !different(left, right)
        {
            self.join(&left.clone(), &right.clone(), open);
            return;
        }
        for name in &new {
            let opposite = members.iter().find(|other| other.0 != name.0);
            let other = opposite.or_else(|| members.iter().find(|other| *other != name));
            if let Some(other) = other {
                self.review(name, other, why, free, open);
            }
        }
    }

    /// Two records that may be the same: a person says.
    fn review(
        &mut self,
        a: &Name,
        b: &Name,
        why: &str,
        free: &BTreeSet<Name>,
        open: &mut BTreeSet<Name>,
    ) {
        if !free.contains(a) && !free.contains(b) {
            return;
        }
        // Whoever found its counterpart meanwhile is no longer in question, but the other one is if it
        // would be created.
        let found = (self.joined.contains(a), self.joined.contains(b));
        if (found.0 && !open.contains(b)) || (found.1 && !open.contains(a)) {
            return;
        }
        let id = question_id(a, b);
        match self.answers.get(&id).and_then(Value::as_str) {
            Some("different") => {}
            Some("same")
                if a.0 != b.0
                    && found == (false, false)
                    && free.contains(a)
                    && free.contains(b) =>
            {
                let (left, right) = if a.0 == Side::Left { (a, b) } else { (b, a) };
                self.join(left, right, open);
            }
            answer => {
                // Neither is created on the other side as long as it may be there already.
                open.remove(a);
                open.remove(b);
                let advice = match answer {
                    Some(_) => "make one record of both in their own system",
                    None => "same or different?",
                };
                let detail = json!({
                    "a": self.shown(a), "b": self.shown(b), "why": why, "advice": advice,
                });
                let record = format!("{} {}, {} {}", a.0.name(), a.1, b.0.name(), b.1);
                if !self.questions.iter().any(|question| question.id == id) {
                    self.ask(id, "match", &record, detail);
                }
            }
        }
    }

    fn shown(&self, name: &Name) -> Value {
        let record = self.records.of(name.0).by_id.get(&name.1);
        json!({"side": name.0.name(), "id": name.1, "fields": record.map(|observed| &observed.record)})
    }

    fn join(&mut self, left: &Name, right: &Name, open: &mut BTreeSet<Name>) {
        open.remove(left);
        open.remove(right);
        let ids = Pair { left: Some(left.1.clone()), right: Some(right.1.clone()) };
        let key = self.key_of(left);
        self.links.insert(key.clone(), Linked::new(&key, ids));
        self.joined.extend([left.clone(), right.clone()]);
        self.report.matched += 1;
    }

    /// Prepares links for records that the other side shall get.
    fn create(&mut self, open: &BTreeSet<Name>) {
        let allowed = Pair { left: self.link.create.on_left(), right: self.link.create.on_right() };
        let mut left_alone: BTreeMap<Side, u64> = BTreeMap::new();
        for name in open {
            if !allowed.of(name.0.other()) {
                *left_alone.entry(name.0).or_default() += 1;
                continue;
            }
            let mut ids = Pair::default();
            *ids.of_mut(name.0) = Some(name.1.clone());
            let key = self.key_of(name);
            self.links.insert(key.clone(), Linked::new(&key, ids));
        }
        for (side, count) in left_alone {
            self.report.notices.push(format!(
                "{count} records are only on the {} side and are not created on the other",
                side.name()
            ));
        }
    }

    fn key_of(&self, name: &Name) -> String {
        digest::short(&[self.name.as_bytes(), name.0.name().as_bytes(), name.1.as_bytes()])
    }
}

fn name_of(key: &Key) -> Option<Name> {
    let side = Side::BOTH.into_iter().find(|side| side.name() == key.system)?;
    Some((side, key.id.clone()))
}

/// The same for a pair, whichever is named first.
fn question_id(a: &Name, b: &Name) -> String {
    let (first, second) = if a <= b { (a, b) } else { (b, a) };
    digest::short(&[
        b"match",
        first.0.name().as_bytes(),
        first.1.as_bytes(),
        second.0.name().as_bytes(),
        second.1.as_bytes(),
    ])
}
