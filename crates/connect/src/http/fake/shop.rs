//! A fake API of a shop: contacts by every style of paging, tokens that end, limits, and faults.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use flywheel_base::Rng;
use serde_json::{Value, json};

use super::{Fake, FakePace, Meter, Reply, Seen};
use crate::http::Pace;

/// How the shop behaves.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Contacts there are.
    pub(crate) contacts: usize,
    /// One contact in so many is no object; 0 for none.
    pub(crate) poison_each: usize,
    /// Records in an answer at most, whatever is asked for.
    pub(crate) page_max: usize,
    /// Requests in ten seconds.
    pub(crate) requests_max: usize,
    /// How long a token lives; nothing if none is needed.
    pub(crate) token_life: Option<Duration>,
    /// The chance of a 429, a 503 and a broken answer, each.
    pub(crate) faults: f64,
    /// How long a request takes.
    pub(crate) takes: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            contacts: 10,
            poison_each: 0,
            page_max: 100,
            requests_max: usize::MAX,
            token_life: None,
            faults: 0.0,
            takes: Duration::from_millis(20),
        }
    }
}

/// What the shop counted.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) rules: Rules,
    pub(crate) meter: Meter,
    pub(crate) tokens: usize,
    pub(crate) refused_tokens: usize,
    pub(crate) faults: usize,
    token_ends_us: i64,
    rng: Rng,
    pace: Arc<FakePace>,
}

/// The moment a contact was changed: one each minute.
pub(crate) fn changed_at(id: usize) -> String {
    let minutes = id as i64;
    format!("2024-05-{:02}T{:02}:{:02}:00Z", 1 + minutes / 1440, minutes / 60 % 24, minutes % 60)
}

impl Shop {
    /// Starts a shop.
    pub(crate) async fn start(rules: Rules, pace: &Arc<FakePace>) -> (Fake, Arc<Mutex<Self>>) {
        let shop = Arc::new(Mutex::new(Self {
            meter: Meter::new(rules.requests_max, Duration::from_secs(10)),
            rules,
            tokens: 0,
            refused_tokens: 0,
            faults: 0,
            token_ends_us: 0,
            rng: Rng::new(7),
            pace: Arc::clone(pace),
        }));
        let serving = Arc::clone(&shop);
        (Fake::start(move |request| serving.lock().unwrap().answer(request)).await, shop)
    }

    fn answer(&mut self, request: &Seen) -> Reply {
        self.pace.advance(self.rules.takes);
        if request.path == "/token" {
            return self.token(request);
        }
        if !self.meter.hit(self.pace.now()) {
            return Reply::new(429, r#"{"message":"slow down"}"#).header("retry-after", "10");
        }
        if self.rules.token_life.is_some() {
            let expected = format!("Bearer token-{}", self.tokens);
            let ended = self.pace.now().micros() >= self.token_ends_us;
            if ended || request.header("authorization") != Some(&expected) {
                self.refused_tokens += 1;
                return Reply::new(401, r#"{"message":"the token ended"}"#);
            }
        }
        if self.rng.chance(self.rules.faults) {
            self.faults += 1;
            return match self.rng.below(4) {
                0 => Reply::new(429, "{}").header("retry-after", "3"),
                1 => Reply::text("text/html", "<html>maintenance</html>").status(503),
                2 => Reply::new(200, "{\"items\":[{\"id\":1}]}").cut(5),
                _ => Reply::nothing(),
            };
        }
        self.contacts(request)
    }

    fn token(&mut self, request: &Seen) -> Reply {
        if !request.body.contains("client_secret=hush") {
            return Reply::new(
                400,
                r#"{"error":"invalid_client","error_description":"no such client: hush"}"#,
            );
        }
        self.tokens += 1;
        let life = self.rules.token_life.unwrap_or_default();
        self.token_ends_us = self.pace.now().micros() + life.as_micros() as i64;
        // It says more than is true, so that tokens end in the middle of a read.
        Reply::json(
            &json!({ "access_token": format!("token-{}", self.tokens), "expires_in": 36_000 }),
        )
    }

    fn contacts(&self, request: &Seen) -> Reply {
        let since = request.param("updated_since").unwrap_or("");
        let all: Vec<usize> = (0..self.rules.contacts)
            .filter(|id| since.is_empty() || changed_at(*id).as_str() >= since)
            .collect();
        let number = |name: &str| request.param(name).and_then(|text| text.parse::<usize>().ok());
        let size = number("limit").unwrap_or(usize::MAX).min(self.rules.page_max);
        let from = number("after")
            .or_else(|| number("offset"))
            .or_else(|| number("page").map(|page| (page - 1) * size))
            .unwrap_or(0);
        let end = (from + size).min(all.len());
        let items: Vec<Value> =
            all.get(from..end).unwrap_or_default().iter().map(|id| self.contact(*id)).collect();
        let more = end < all.len();
        let next = more.then(|| {
            format!("/contacts?after={end}&limit={size}&updated_since={since}&api_key=hush")
        });
        let body = json!({
            "items": items,
            "paging": { "after": more.then(|| end.to_string()), "next": next },
            "has_more": more,
        });
        match next {
            Some(next) => Reply::json(&body).header("link", format!("<{next}>; rel=\"next\"")),
            None => Reply::json(&body),
        }
    }

    fn contact(&self, id: usize) -> Value {
        if self.rules.poison_each > 0 && id % self.rules.poison_each == self.rules.poison_each / 2 {
            return json!(format!("poison {id}"));
        }
        json!({
            "id": id,
            "email": format!("c{id}@example.com"),
            "score": if id.is_multiple_of(3) { json!(id) } else { json!(id as f64 + 0.5) },
            "tags": ["a", id],
            "phone": null,
            "zip": format!("{id:05}"),
            "updated_at": changed_at(id),
        })
    }
}
