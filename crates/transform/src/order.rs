//! In which order models are built: waves whose members do not wait for each other.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result};

/// Who waits for whom, by name.
pub(crate) type Edges = BTreeMap<String, BTreeSet<String>>;

/// Arranges `names` in waves: each model comes after everything it reads, and, where no circle
/// arises, after everything its tests read, so that those tests can run at once.
///
/// `reads` has an entry for every model, also for those that are not built.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if models read each other in a circle.
pub(crate) fn arrange(
    names: &BTreeSet<String>,
    reads: &Edges,
    wishes: &Edges,
) -> Result<Vec<Vec<String>>> {
    let mut walk = Walk { reads, wishes, order: Vec::new(), done: BTreeSet::new(), open: vec![] };
    for name in reads.keys() {
        walk.visit(name)?;
    }
    let mut levels: BTreeMap<&str, usize> = BTreeMap::new();
    let mut waves: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for name in &walk.order {
        let before = [reads, wishes].into_iter().filter_map(|edges| edges.get(name)).flatten();
        let below = before.filter_map(|other| levels.get(other.as_str())).max();
        let built = usize::from(names.contains(name));
        let level = below.copied().unwrap_or(0) + built;
        levels.insert(name, level);
        if built == 1 {
            waves.entry(level).or_default().push(name.clone());
        }
    }
    let mut waves: Vec<Vec<String>> = waves.into_values().collect();
    waves.iter_mut().for_each(|wave| wave.sort());
    Ok(waves)
}

/// Everything `name` reads, directly or through others.
pub(crate) fn ancestors<'a>(name: &'a str, reads: &'a Edges) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open = vec![name];
    while let Some(next) = open.pop() {
        for other in reads.get(next).into_iter().flatten() {
            if found.insert(other.as_str()) {
                open.push(other);
            }
        }
    }
    found
}

struct Walk<'a> {
    reads: &'a Edges,
    wishes: &'a Edges,
    order: Vec<String>,
    done: BTreeSet<&'a str>,
    open: Vec<&'a str>,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, name: &'a str) -> Result<()> {
        if self.done.contains(name) {
            return Ok(());
        }
        if let Some(start) = self.open.iter().position(|open| *open == name) {
            let circle = [&self.open[start..], &[name]].concat().join(" → ");
            return Err(Error::invalid(format!("models read each other in a circle: {circle}"))
                .hint("Let one of them read what the other reads instead."));
        }
        self.open.push(name);
        for other in self.reads.get(name).into_iter().flatten() {
            if self.reads.contains_key(other) {
                self.visit(other)?;
            }
        }
        for other in self.wishes.get(name).into_iter().flatten() {
            let reads = self.reads;
            let waits = ancestors(other, reads);
            let circle = self.open.iter().any(|open| *open == other || waits.contains(open));
            if !circle && reads.contains_key(other) {
                self.visit(other)?;
            }
        }
        self.open.pop();
        self.done.insert(name);
        self.order.push(name.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(text: &str) -> Edges {
        let mut all = Edges::new();
        for part in text.split_whitespace() {
            let (name, others) = part.split_once(':').unwrap();
            let others = others.split(',').filter(|o| !o.is_empty()).map(str::to_owned);
            all.insert(name.to_owned(), others.collect());
        }
        all
    }

    fn check(names: &str, reads: &str, wishes: &str, expected: &str) {
        let names = names.split(',').map(str::to_owned).collect();
        let waves = arrange(&names, &edges(reads), &edges(wishes)).unwrap();
        let text: Vec<String> = waves.iter().map(|wave| wave.join(",")).collect();
        assert_eq!(text.join(" "), expected);
    }

    #[test]
    fn a_model_follows_what_it_reads_and_what_its_tests_read() {
        check("a,b,c,d", "a: b:a c:a d:b,c", "", "a b,c d");
        check("a,b,c", "a: b: c:", "a:b b:c", "c b a");
    }

    #[test]
    fn a_model_left_out_still_orders_the_others() {
        check("a,c", "a: b:a c:b", "", "a c");
    }

    #[test]
    fn wishes_that_would_make_a_circle_are_not_granted() {
        check("a,b", "a: b:a", "a:b", "a b");
        check("a,b", "a: b:", "a:b b:a", "b a");
        check("a,b,c,x", "a: b:x c:a x:a", "a:c c:b", "a x b c");
    }

    #[test]
    fn a_circle_is_named() {
        let names = BTreeSet::from(["a".to_owned()]);
        let error = arrange(&names, &edges("a:b b:c c:a"), &Edges::new()).unwrap_err();
        assert!(error.message().contains("a → b → c → a"), "{error}");
    }
}
