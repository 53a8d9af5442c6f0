//! Joining pairs into clusters that stay sound.

use std::collections::{BTreeMap, BTreeSet};

use super::{CLUSTER_ROWS_MAX, Cluster, Entry, Joined, Numbers, Review, block::Prepared};

/// Disjoint sets of entries, with what may not be together.
pub(super) struct Clusters<'a> {
    entries: &'a [Entry],
    prepared: &'a Prepared,
    parents: Vec<usize>,
    members: BTreeMap<usize, Vec<usize>>,
    why: BTreeMap<usize, Vec<String>>,
    asked: BTreeMap<Numbers, (f64, String)>,
    /// Pairs that a person said are different.
    apart: &'a BTreeSet<Numbers>,
    joined: Vec<(Numbers, f64, String)>,
}

/// What came out: the clusters of two records and more, what is left to ask, and the pairs that joined them.
pub(super) type Done = (Vec<Cluster>, Vec<Review>, Vec<Joined>);

impl<'a> Clusters<'a> {
    pub(super) fn new(
        entries: &'a [Entry],
        prepared: &'a Prepared,
        apart: &'a BTreeSet<Numbers>,
    ) -> Self {
        Self {
            entries,
            prepared,
            apart,
            joined: Vec::new(),
            parents: (0..entries.len()).collect(),
            members: (0..entries.len()).map(|number| (number, vec![number])).collect(),
            why: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    /// Joins the clusters of a pair, or asks a person if what comes out would not be sound. A pair that
    /// is joined by likeness has to be alike with all of the other cluster.
    pub(super) fn join(&mut self, pair: Numbers, score: f64, why: &str, by_likeness: bool) {
        let (a, b) = (self.root(pair.0), self.root(pair.1));
        if a == b {
            return;
        }
        if let Some(against) = self.against(a, b, by_likeness) {
            return self.ask(pair, score, format!("{why}, but {against}"));
        }
        let (kept, gone) = (a.min(b), a.max(b));
        if let Some(parent) = self.parents.get_mut(gone) {
            *parent = kept;
        }
        let moved = self.members.remove(&gone).unwrap_or_default();
        self.members.entry(kept).or_default().extend(moved);
        self.joined.push((pair, score, why.to_owned()));
        let mut reasons = self.why.remove(&gone).unwrap_or_default();
        let of = |number: usize| self.entries.get(number).map_or("", |entry| entry.key.id.as_str());
        reasons.push(format!("{} and {}: {why}", of(pair.0), of(pair.1)));
        self.why.entry(kept).or_default().extend(reasons);
    }

    /// Puts a pair before a person, with the reason that was found first. What a person has answered is not asked again.
    pub(super) fn ask(&mut self, pair: Numbers, score: f64, why: String) {
        if self.apart.contains(&pair) {
            return;
        }
        self.asked.entry(pair).or_insert((score, why));
    }

    /// Whether a pair waits for a person already.
    pub(super) fn was_asked(&self, pair: Numbers) -> bool {
        self.asked.contains_key(&pair)
    }

    /// Whether entries are in one cluster.
    pub(super) fn together(&mut self, numbers: &[usize]) -> bool {
        let roots: BTreeSet<usize> = numbers.iter().map(|number| self.root(*number)).collect();
        roots.len() <= 1
    }

    fn root(&mut self, mut number: usize) -> usize {
        while let Some(parent) =
            self.parents.get(number).copied().filter(|parent| *parent != number)
        {
            let above = self.parents.get(parent).copied().unwrap_or(parent);
            if let Some(slot) = self.parents.get_mut(number) {
                *slot = above;
            }
            number = parent;
        }
        number
    }

    fn of(&self, root: usize) -> &[usize] {
        self.members.get(&root).map_or(&[], Vec::as_slice)
    }

    /// What speaks against joining two clusters.
    fn against(&self, a: usize, b: usize, by_likeness: bool) -> Option<String> {
        let (a, b) = (self.of(a), self.of(b));
        if a.len() + b.len() > CLUSTER_ROWS_MAX {
            return Some(format!("the cluster would have more than {CLUSTER_ROWS_MAX} records"));
        }
        let mut pairs = a.iter().flat_map(|a| b.iter().map(move |b| (*a.min(b), *a.max(b))));
        if !self.apart.is_empty() && pairs.any(|pair| self.apart.contains(&pair)) {
            return Some("a person said that records of the two are different".to_owned());
        }
        let mut ids: BTreeMap<&str, &str> = BTreeMap::new();
        for entry in a.iter().chain(b).filter_map(|number| self.entries.get(*number)) {
            for (system, id) in &entry.external {
                let id = id.trim();
                if !id.is_empty() && *ids.entry(system.as_str()).or_insert(id) != id {
                    return Some(format!("the cluster would have two different ids of {system}"));
                }
            }
        }
        if !by_likeness {
            return None;
        }
        for (a, b) in a.iter().flat_map(|a| b.iter().map(move |b| (*a, *b))) {
            let pair = (a.min(b), a.max(b));
            // too little in common to be scored is nothing against it
            if self.prepared.score(pair).is_some_and(|score| score < self.prepared.review())
                || self.prepared.is_ruled_out(pair)
            {
                return Some("other records of the two clusters are not alike".to_owned());
            }
            if self.asked.contains_key(&pair) {
                return Some("other records of the two clusters wait for a person".to_owned());
            }
        }
        None
    }

    /// What came out.
    pub(super) fn done(mut self) -> Done {
        let asked = std::mem::take(&mut self.asked);
        let joined = std::mem::take(&mut self.joined);
        let open: Vec<(Numbers, (f64, String))> =
            asked.into_iter().filter(|((a, b), _)| self.root(*a) != self.root(*b)).collect();
        let key = |number: usize| self.entries.get(number).map(|entry| entry.key.clone());
        let mut review: Vec<Review> = open
            .into_iter()
            .filter_map(|((a, b), (score, why))| {
                Some(Review { a: key(a)?, b: key(b)?, score, why })
            })
            .collect();
        review.sort_by(|x, y| {
            y.score.total_cmp(&x.score).then_with(|| (&x.a, &x.b).cmp(&(&y.a, &y.b)))
        });
        let mut clusters: Vec<Cluster> = self
            .members
            .iter()
            .filter(|(_, members)| members.len() > 1)
            .map(|(root, members)| {
                let members: BTreeSet<_> =
                    members.iter().filter_map(|number| key(*number)).collect();
                Cluster {
                    members: members.into_iter().collect(),
                    why: self.why.get(root).cloned().unwrap_or_default(),
                }
            })
            .collect();
        clusters.sort_by(|a, b| a.members.cmp(&b.members));
        let joined = joined
            .into_iter()
            .filter_map(|((a, b), score, why)| Some(Joined { a: key(a)?, b: key(b)?, score, why }));
        let joined = joined.collect();
        (clusters, review, joined)
    }
}
