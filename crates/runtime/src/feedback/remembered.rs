//! What users of one recommender did since it was fitted, and what they were answered, in memory.
//!
//! ```text
//! act ─► remembered ─► list that takes account of it, kept until the user does more or a newer artifact comes
//! ```
//! An act is forgotten after the second fit that follows it, since by then its sync has landed it.

use std::collections::{HashMap, VecDeque};

use flywheel_decision::feedback::Act;

/// Users whose acts are remembered; of more the oldest are forgotten.
const USERS_MAX: usize = 100_000;
/// Acts of one user that are remembered; of more the oldest are forgotten.
const ACTS_MAX: usize = 200;

/// What users did, and answers of the kind `A` that took account of it.
#[derive(Debug, Default)]
pub struct Remembered<A> {
    users: HashMap<String, User<A>>,
    /// Who came first.
    order: VecDeque<String>,
    /// The newest artifact, and how many there were.
    artifact: String,
    fits: u64,
    /// How many acts were remembered so far.
    acts: u64,
}

#[derive(Debug)]
struct User<A> {
    /// Each with its offset and the number of the fit it came after; by offset.
    acts: Vec<(i64, u64, Act)>,
    /// The number of the act that came last, by which an answer is told to be of all of them.
    newest: u64,
    /// The answer that takes all of them into account.
    answer: Option<A>,
}

/// What is remembered of a user.
#[derive(Clone, Debug, PartialEq)]
pub struct Known<A> {
    /// What the user did, in the order of offsets.
    pub acts: Vec<Act>,
    /// The answer that takes all of it into account, if it was made already.
    pub answer: Option<A>,
    /// Tells these acts from others of the same user.
    newest: u64,
}

impl<A: Clone> Remembered<A> {
    /// Remembers what a user did, told by the event at `offset`; an event counts once.
    pub fn add(&mut self, user: String, offset: i64, act: Act) {
        if !self.users.contains_key(&user) {
            self.order.push_back(user.clone());
            if self.order.len() > USERS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.users.remove(&oldest);
            }
        }
        let none = || User { acts: Vec::new(), newest: 0, answer: None };
        let user = self.users.entry(user).or_insert_with(none);
        let Err(place) = user.acts.binary_search_by_key(&offset, |(offset, ..)| *offset) else {
            return;
        };
        user.acts.insert(place, (offset, self.fits, act));
        if user.acts.len() > ACTS_MAX {
            user.acts.remove(0);
        }
        self.acts += 1;
        user.newest = self.acts;
        user.answer = None;
    }

    /// Turns to the artifact that is the newest now, and says whether it is another one than before.
    pub fn turn_to(&mut self, artifact: &str) -> bool {
        if self.artifact == artifact {
            return false;
        }
        artifact.clone_into(&mut self.artifact);
        self.fits += 1;
        let fits = self.fits;
        self.users.retain(|_, user| {
            user.answer = None;
            user.acts.retain(|(_, fit, _)| fit + 2 > fits);
            !user.acts.is_empty()
        });
        self.order.retain(|user| self.users.contains_key(user));
        true
    }

    /// The artifact that answers are made by.
    #[must_use]
    pub fn artifact(&self) -> &str {
        &self.artifact
    }

    /// What is remembered of a user; nothing if the user did nothing since the fit.
    #[must_use]
    pub fn known(&self, user: &str) -> Option<Known<A>> {
        let user = self.users.get(user)?;
        let acts = user.acts.iter().map(|(.., act)| act.clone()).collect();
        Some(Known { acts, answer: user.answer.clone(), newest: user.newest })
    }

    /// Keeps an answer to what was `known` of a user. It is not kept where the user has done more meanwhile: then it is
    /// right for what was asked, and for nothing that is asked from now on.
    pub fn keep(&mut self, user: &str, known: &Known<A>, answer: A) {
        if let Some(user) = self.users.get_mut(user)
            && user.newest == known.newest
        {
            user.answer = Some(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use flywheel_base::Timestamp;

    use super::*;

    fn add(remembered: &mut Remembered<&str>, user: &str, offset: i64) {
        let at = Timestamp::from_micros(offset);
        let act = Act { item: format!("i{offset}"), weight: 1.0, at };
        remembered.add(user.to_owned(), offset, act);
    }

    fn items(remembered: &Remembered<&str>, user: &str) -> Vec<String> {
        let known = remembered.known(user);
        known.into_iter().flat_map(|known| known.acts).map(|act| act.item).collect()
    }

    #[test]
    fn an_act_counts_once_and_until_the_second_fit_after_it() {
        let mut remembered = Remembered::default();
        assert!(remembered.turn_to("a"));
        for offset in [5, 3, 5, 4] {
            add(&mut remembered, "u", offset);
        }
        assert_eq!(items(&remembered, "u"), ["i3", "i4", "i5"]);
        let known = remembered.known("u").unwrap();
        remembered.keep("u", &known, "list");
        assert!(!remembered.turn_to("a"));
        assert_eq!(remembered.known("u").unwrap().answer, Some("list"));
        assert!(remembered.turn_to("b"));
        assert_eq!(remembered.known("u").unwrap().answer, None);
        add(&mut remembered, "u", 9);
        add(&mut remembered, "v", 10);
        assert_eq!(items(&remembered, "u"), ["i3", "i4", "i5", "i9"]);
        remembered.turn_to("c");
        assert_eq!(
            (items(&remembered, "u"), items(&remembered, "v")),
            (vec!["i9".to_owned()], vec!["i10".to_owned()])
        );
        remembered.turn_to("d");
        assert!(remembered.users.is_empty() && remembered.order.is_empty());
        assert_eq!(remembered.artifact(), "d");
    }

    #[test]
    fn what_is_remembered_has_limits() {
        let mut remembered = Remembered::default();
        for offset in 0..ACTS_MAX as i64 + 2 {
            add(&mut remembered, "u", offset);
        }
        assert_eq!(items(&remembered, "u").first().map(String::as_str), Some("i2"));
        for user in 0..USERS_MAX {
            add(&mut remembered, &user.to_string(), 1_000);
        }
        assert_eq!((remembered.users.len(), remembered.known("u")), (USERS_MAX, None));
    }

    #[test]
    fn an_answer_is_not_kept_once_the_user_did_more() {
        let mut remembered = Remembered::default();
        for offset in 0..ACTS_MAX as i64 {
            add(&mut remembered, "u", offset);
        }
        let known = remembered.known("u").unwrap();
        // As many acts as before, of which the oldest is another one.
        add(&mut remembered, "u", 1_000);
        assert_eq!(remembered.known("u").unwrap().acts.len(), known.acts.len());
        remembered.keep("u", &known, "old");
        assert_eq!(remembered.known("u").unwrap().answer, None);
        let known = remembered.known("u").unwrap();
        remembered.keep("u", &known, "new");
        assert_eq!(remembered.known("u").unwrap().answer, Some("new"));
    }
}
