//! The numbers of transactions, as the two kinds of server write them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use flywheel_base::{Error, Result};
use mysql_async::{GnoInterval, Sid};

fn corrupt(text: &str) -> Error {
    Error::corrupt(format!("\"{text}\" is not a position in a log"))
        .hint("Reset the position; the tables are loaded anew.")
}

/// The last transaction of each domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::source::mysql) struct MariaGtids(BTreeMap<u32, (u32, u64)>);

impl MariaGtids {
    /// Takes a transaction in; within a domain they come in order.
    pub(super) fn add(&mut self, domain: u32, server: u32, sequence: u64) {
        self.0.insert(domain, (server, sequence));
    }

    /// Whether a transaction is in it.
    pub(super) fn contains(&self, domain: u32, sequence: u64) -> bool {
        self.0.get(&domain).is_some_and(|(_, last)| *last >= sequence)
    }

    /// Whether all of `other` is in it.
    pub(super) fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(domain, (_, sequence))| self.contains(*domain, *sequence))
    }

    /// Whether `seen` can have been read from a log that ends here. A log may forget a domain, but not all
    /// of them, and within a domain its numbers only grow.
    pub(super) fn continues(&self, seen: &Self) -> bool {
        let mut shared =
            seen.0.iter().filter(|(domain, _)| self.0.contains_key(*domain)).peekable();
        if shared.peek().is_none() {
            return seen.0.is_empty();
        }
        shared.all(|(domain, (_, sequence))| self.contains(*domain, *sequence))
    }

    /// How many transactions of `other` are not in it.
    pub(super) fn missing(&self, other: &Self) -> u64 {
        let last = |domain: &u32| self.0.get(domain).map_or(0, |(_, last)| *last);
        other.0.iter().map(|(domain, (_, theirs))| theirs.saturating_sub(last(domain))).sum()
    }

    /// What is in both.
    pub(super) fn both(&self, other: &Self) -> Self {
        let shared = self.0.iter().filter_map(|(domain, mine)| {
            let theirs = other.0.get(domain)?;
            Some((*domain, if mine.1 <= theirs.1 { *mine } else { *theirs }))
        });
        Self(shared.collect())
    }

    /// What is in one of them.
    pub(super) fn either(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for (domain, (server, sequence)) in &other.0 {
            if !all.contains(*domain, *sequence) {
                all.add(*domain, *server, *sequence);
            }
        }
        all
    }
}

impl FromStr for MariaGtids {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut gtids = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let mut numbers = part.splitn(3, '-');
            let mut number = || numbers.next()?.parse::<u64>().ok();
            let (domain, server, sequence) = (number(), number(), number());
            let small = |number: Option<u64>| number.and_then(|n| u32::try_from(n).ok());
            match (small(domain), small(server), sequence) {
                (Some(domain), Some(server), Some(sequence)) => gtids.add(domain, server, sequence),
                _ => return Err(corrupt(text)),
            }
        }
        Ok(gtids)
    }
}

impl fmt::Display for MariaGtids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (domain, (server, sequence))) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{domain}-{server}-{sequence}")?;
        }
        Ok(())
    }
}

/// The transactions of each server, as runs of numbers from and to, both included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::source::mysql) struct MySqlGtids(BTreeMap<String, Vec<(u64, u64)>>);

/// A server's UUID as text.
pub(super) fn uuid(bytes: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let number = (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok())?;
    number.map(u128::to_be_bytes)
}

/// Puts runs in order and joins those that touch.
fn merge(runs: &mut Vec<(u64, u64)>) {
    runs.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::with_capacity(runs.len());
    for (from, to) in runs.drain(..) {
        match merged.last_mut() {
            Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    *runs = merged;
}

impl MySqlGtids {
    /// Takes a transaction in.
    pub(super) fn add(&mut self, server: &str, number: u64) {
        let runs = self.0.entry(server.to_owned()).or_default();
        runs.push((number, number));
        merge(runs);
    }

    /// Whether a transaction is in it.
    pub(super) fn contains(&self, server: &str, number: u64) -> bool {
        let runs = self.0.get(server).map(Vec::as_slice).unwrap_or_default();
        runs.iter().any(|(from, to)| (*from..=*to).contains(&number))
    }

    /// Whether all of `other` is in it.
    pub(super) fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(server, runs)| {
            let mine = self.0.get(server).map(Vec::as_slice).unwrap_or_default();
            runs.iter().all(|(from, to)| mine.iter().any(|run| run.0 <= *from && *to <= run.1))
        })
    }

    fn count(&self) -> u64 {
        self.0.values().flatten().map(|(from, to)| to - from + 1).sum()
    }

    /// How many transactions of `other` are not in it.
    pub(super) fn missing(&self, other: &Self) -> u64 {
        other.count() - self.both(other).count()
    }

    /// What is in both.
    pub(super) fn both(&self, other: &Self) -> Self {
        let mut shared = Self::default();
        for (server, runs) in &self.0 {
            let theirs = other.0.get(server).map(Vec::as_slice).unwrap_or_default();
            let pairs = runs.iter().flat_map(|run| theirs.iter().map(move |their| (run, their)));
            let cuts = pairs.map(|(a, b)| (a.0.max(b.0), a.1.min(b.1)));
            let mut cuts: Vec<(u64, u64)> = cuts.filter(|(from, to)| from <= to).collect();
            cuts.sort_unstable();
            if !cuts.is_empty() {
                shared.0.insert(server.clone(), cuts);
            }
        }
        shared
    }

    /// What is in one of them.
    pub(super) fn either(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for (server, runs) in &other.0 {
            all.0.entry(server.clone()).or_default().extend(runs);
        }
        all.0.values_mut().for_each(merge);
        all
    }

    /// The set in the driver's form.
    pub(super) fn sids(&self) -> Result<Vec<Sid<'static>>> {
        let mut sids = Vec::with_capacity(self.0.len());
        for (server, runs) in &self.0 {
            let mut sid = Sid::new(uuid_bytes(server).ok_or_else(|| corrupt(server))?);
            for (from, to) in runs {
                // The driver's intervals end before their end.
                sid = sid.with_interval(GnoInterval::new(*from, to.saturating_add(1)));
            }
            sids.push(sid);
        }
        Ok(sids)
    }
}

impl FromStr for MySqlGtids {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut gtids = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let mut words = part.split(':');
            let server = words.next().unwrap_or_default().to_ascii_lowercase();
            if uuid_bytes(&server).is_none() {
                return Err(corrupt(text));
            }
            for run in words {
                let (from, to) = run.split_once('-').unwrap_or((run, run));
                let (from, to) =
                    from.parse().ok().zip(to.parse().ok()).ok_or_else(|| corrupt(text))?;
                if from == 0 || from > to {
                    return Err(corrupt(text));
                }
                gtids.0.entry(server.clone()).or_default().push((from, to));
            }
        }
        Ok(gtids)
    }
}

impl fmt::Display for MySqlGtids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (server, runs)) in self.0.iter().enumerate() {
            write!(f, "{}{server}", if at > 0 { "," } else { "" })?;
            for (from, to) in runs {
                if from == to { write!(f, ":{from}")? } else { write!(f, ":{from}-{to}")? }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_survive_their_text_form_and_grow() {
        let mut maria: MariaGtids = "0-1-41,7-2-3".parse().unwrap();
        maria.add(0, 9, 42);
        assert_eq!(maria.to_string(), "0-9-42,7-2-3");
        assert_eq!("".parse::<MariaGtids>().unwrap(), MariaGtids::default());

        let server = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let mut mysql: MySqlGtids = format!("{server}:1-5:9").parse().unwrap();
        for number in [7, 6, 8] {
            mysql.add(server, number);
        }
        assert_eq!(mysql.to_string(), format!("{server}:1-9"));
        assert_eq!(mysql.sids().unwrap().len(), 1);
        assert_eq!(uuid(uuid_bytes(server).unwrap()), server);
    }

    #[test]
    fn sets_are_compared_shared_and_joined() {
        let maria = |text: &str| text.parse::<MariaGtids>().unwrap();
        let (a, b) = (maria("0-1-41,7-2-3"), maria("0-1-42"));
        assert_eq!(a.both(&b).to_string(), "0-1-41");
        assert_eq!(a.either(&b).to_string(), "0-1-42,7-2-3");
        assert!(!a.covers(&b) && a.either(&b).covers(&a) && a.contains(0, 41));
        assert_eq!((a.missing(&b), b.missing(&a), a.missing(&a)), (1, 3, 0));

        let server = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let mysql = |runs: &str| format!("{server}:{runs}").parse::<MySqlGtids>().unwrap();
        let (a, b) = (mysql("1-5:9"), mysql("3-8"));
        assert_eq!(a.both(&b), mysql("3-5"));
        assert_eq!(a.either(&b), mysql("1-9"));
        assert!(!a.covers(&b) && mysql("1-9").covers(&a) && a.contains(server, 9));
        assert_eq!((a.missing(&b), b.missing(&a), a.missing(&a)), (3, 3, 0));
    }

    #[test]
    fn a_log_that_lacks_what_was_read_of_it_is_another() {
        let check = |end: &str, seen: &str, expected: bool| {
            let gtids = |text: &str| text.parse::<MariaGtids>().unwrap();
            assert_eq!(gtids(end).continues(&gtids(seen)), expected, "{seen} before {end}");
        };
        check("0-1-42", "0-1-41", true);
        check("0-1-42", "0-1-42", true);
        check("0-2-42,5-2-1", "0-1-41", true);
        check("0-1-42", "", true);
        // A domain was given up on purpose.
        check("0-1-42", "0-1-41,7-2-3", true);
        check("0-1-40", "0-1-41", false);
        check("0-1-42,7-2-2", "0-1-41,7-2-3", false);
        check("7-1-42", "0-1-41", false);
        check("", "0-1-41", false);
    }

    #[test]
    fn what_is_no_position_is_corrupt() {
        for text in ["0-1", "a-b-c", "0-1-2-3", "99999999999-1-1"] {
            assert!(text.parse::<MariaGtids>().unwrap_err().hint_text().is_some(), "{text}");
        }
        for text in [
            "uuid:1",
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:5-1",
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:0",
        ] {
            assert!(text.parse::<MySqlGtids>().unwrap_err().hint_text().is_some(), "{text}");
        }
    }
}
