//! How many requests a connection may send, counted the way servers count.
//!
//! A token bucket that may burst lets through almost twice its rate within one window of the server;
//! so the moments of the last requests are kept, and a request waits until every window has room.

use std::collections::VecDeque;

use flywheel_base::{Error, Result, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Microseconds in a second.
const SECOND_US: i64 = 1_000_000;

/// How much longer than the server's our windows are, because requests travel at different speeds.
const SLACK_US: i64 = 50_000;

/// The most requests of one window that are remembered.
const WINDOW_REQUESTS_MAX: u32 = 100_000;

/// How many requests a connection sends at most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Requests in a second; 0.5 is one every two seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<f64>,
    /// Requests in ten seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_10_seconds: Option<u32>,
    /// Requests in a day (UTC), counted by this process; the read or write stops beyond it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_day: Option<u64>,
}

/// Whether a request may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admit {
    /// Yes, and it is counted.
    Now,
    /// Not before so many microseconds.
    Wait(i64),
}

/// What a connection sent so far.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    windows: Vec<Window>,
    per_day: Option<u64>,
    day: i64,
    today: u64,
    /// The server asked for silence until then.
    held_until_us: i64,
    /// What the server says is left of its quota, if that is not for us.
    spent: Option<(u64, u64)>,
}

#[derive(Debug)]
struct Window {
    requests_max: usize,
    span_us: i64,
    sent_us: VecDeque<i64>,
}

impl Limiter {
    /// Starts to count.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a limit lets nothing through.
    pub(super) fn new(limits: &Limits) -> Result<Self> {
        let wrong = |name: &str| {
            Error::invalid(format!("the limit `{name}` lets no request through"))
                .hint("Write a number above 0, or leave it out.")
        };
        let mut windows = Vec::new();
        if let Some(rate) = limits.requests_per_second {
            if !rate.is_finite() || rate <= 0.0 {
                return Err(wrong("requests_per_second"));
            }
            let requests = rate.ceil().clamp(1.0, f64::from(WINDOW_REQUESTS_MAX));
            let span_us = (requests / rate * SECOND_US as f64).ceil() as i64;
            windows.push(Window::new(requests as usize, span_us));
        }
        if let Some(count) = limits.requests_per_10_seconds {
            if count == 0 {
                return Err(wrong("requests_per_10_seconds"));
            }
            windows.push(Window::new(count.min(WINDOW_REQUESTS_MAX) as usize, 10 * SECOND_US));
        }
        if limits.requests_per_day == Some(0) {
            return Err(wrong("requests_per_day"));
        }
        Ok(Self { windows, per_day: limits.requests_per_day, ..Self::default() })
    }

    /// Asks for one request.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Exhausted`] if the day's requests are used up.
    pub(super) fn admit(&mut self, now: Timestamp) -> Result<Admit> {
        if now.day() != self.day {
            self.day = now.day();
            self.today = 0;
            self.spent = None;
        }
        if let Some((left, limit)) = self.spent {
            return Err(Error::exhausted(format!(
                "{left} of the {limit} requests of the API's quota are left, and those are reserved"
            ))
            .hint("It goes on where it stopped once the quota is new; or lower `daily_reserve`."));
        }
        if let Some(limit) = self.per_day
            && self.today >= limit
        {
            return Err(Error::exhausted(format!("the {limit} requests of this day are used up"))
                .hint("It goes on tomorrow (UTC) where it stopped; or raise `requests_per_day`."));
        }
        let now_us = now.micros();
        let mut wait = self.held_until_us - now_us;
        for window in &mut self.windows {
            wait = wait.max(window.wait_us(now_us));
        }
        if wait > 0 {
            return Ok(Admit::Wait(wait));
        }
        self.today += 1;
        self.windows.iter_mut().for_each(|window| window.sent_us.push_back(now_us));
        Ok(Admit::Now)
    }

    /// Takes note of what the server says is left, if it is not for us, until the day is over.
    pub(super) fn report(&mut self, spent: Option<(u64, u64)>) {
        self.spent = spent;
    }

    /// Lets nothing through before `until`.
    pub(super) fn hold(&mut self, until: Timestamp) {
        self.held_until_us = self.held_until_us.max(until.micros());
    }
}

impl Window {
    fn new(requests_max: usize, span_us: i64) -> Self {
        Self { requests_max, span_us: span_us + SLACK_US, sent_us: VecDeque::new() }
    }

    fn wait_us(&mut self, now_us: i64) -> i64 {
        // A clock that was set back must not block for ever.
        while self.sent_us.front().is_some_and(|at| at + self.span_us <= now_us || *at > now_us) {
            self.sent_us.pop_front();
        }
        if self.sent_us.len() < self.requests_max {
            return 0;
        }
        self.sent_us.front().map_or(0, |at| at + self.span_us - now_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: i64) -> Timestamp {
        Timestamp::from_micros(us)
    }

    #[test]
    fn no_window_of_ten_seconds_has_more_than_the_limit() {
        let limits = Limits { requests_per_10_seconds: Some(7), ..Limits::default() };
        let mut limiter = Limiter::new(&limits).unwrap();
        let (mut now, mut sent) = (0, Vec::new());
        while sent.len() < 100 {
            match limiter.admit(at(now)).unwrap() {
                Admit::Now => sent.push(now),
                Admit::Wait(wait) => now += wait,
            }
            now += 1_000;
        }
        for (first, eighth) in sent.iter().zip(&sent[7..]) {
            assert!(eighth - first > 10 * SECOND_US, "{first} {eighth}");
        }
        assert!(now < 15 * 11 * SECOND_US, "it waits no longer than it must: {now}");
    }

    #[test]
    fn a_slow_rate_a_hold_and_a_day_are_kept() {
        let limits = Limits { requests_per_second: Some(0.5), ..Limits::default() };
        let mut limiter = Limiter::new(&limits).unwrap();
        assert_eq!(limiter.admit(at(0)).unwrap(), Admit::Now);
        assert_eq!(limiter.admit(at(0)).unwrap(), Admit::Wait(2 * SECOND_US + SLACK_US));
        limiter.hold(at(60 * SECOND_US));
        assert_eq!(limiter.admit(at(50 * SECOND_US)).unwrap(), Admit::Wait(10 * SECOND_US));

        let mut limiter =
            Limiter::new(&Limits { requests_per_day: Some(2), ..Limits::default() }).unwrap();
        for _ in 0..2 {
            assert_eq!(limiter.admit(at(0)).unwrap(), Admit::Now);
        }
        assert!(limiter.admit(at(0)).unwrap_err().hint_text().unwrap().contains("tomorrow"));
        assert_eq!(limiter.admit(Timestamp::from_day(1)).unwrap(), Admit::Now);
        let none = Limits { requests_per_second: Some(0.0), ..Limits::default() };
        assert!(Limiter::new(&none).is_err());
    }

    #[test]
    fn a_clock_set_back_does_not_block() {
        let limits = Limits { requests_per_second: Some(1.0), ..Limits::default() };
        let mut limiter = Limiter::new(&limits).unwrap();
        assert_eq!(limiter.admit(at(1_000 * SECOND_US)).unwrap(), Admit::Now);
        assert_eq!(limiter.admit(at(0)).unwrap(), Admit::Now);
    }
}
