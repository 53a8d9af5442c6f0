//! The customers who come to the website while a demo is served. They speak the HTTP API as the software of a real shop
//! does, with a token of a user of their own, and every event of theirs says that it is simulated.
//!
//! ```text
//! a day is over ─► visits, one after the other until the next day is over:
//!   what is looked at ─► POST /v1/events      similar products ◄─ GET /v1/recommend ─► a click: POST /v1/events
//!   an offer ◄─ POST /v1/decide ─► if treated, what is shown: POST /v1/exposures
//!   something in the basket, in both arms ─► POST /v1/outcomes
//! ```
//! Between visits nothing is done. A visit that fails is told once, and ends nothing but itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flywheel_base::{Error, ErrorKind, Result, Timestamp};
use flywheel_server::Guests;
use flywheel_simulator::WebVisit;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::loopback::Door;
use super::website::{LEARNER, POLICY, TOPIC};
use crate::output::Output;

/// How many customers come between two days.
pub(super) const VISITS: usize = 6;
/// The shortest time between two visits, however fast days go by.
const GAP_MIN: Duration = Duration::from_millis(200);
/// How many similar products the website shows.
const SIMILAR: usize = 6;
/// The user as whom they come.
const WHO: &str = "simulated-customers";
/// What their events say of their source.
const SOURCE: &str = "simulated";
/// What `/v1/decide` answers where nothing is to be decided: for whoever is no unit of the policy, and while it is paused.
const UNDECIDED: [u16; 2] = [404, 409];

/// Who comes after a day.
pub(super) struct Evening {
    /// The moment by the shop's clock.
    pub(super) at: Timestamp,
    /// One after the other.
    pub(super) visits: Vec<WebVisit>,
}

/// Where the shop says who comes, and who goes by it; whoever is late for one evening does not come on the next.
pub(super) type Evenings = watch::Sender<Option<Arc<Evening>>>;

/// The customers.
pub(super) struct Visitors {
    evenings: watch::Receiver<Option<Arc<Evening>>>,
    listening: SocketAddr,
    gap: Duration,
    output: Output,
    /// Whether a failure was told.
    told: bool,
}

impl Visitors {
    /// Customers of a website at the server's address, where a day goes by `every` so often.
    pub(super) fn of(listening: SocketAddr, every: Duration, output: Output) -> (Evenings, Self) {
        let (sender, evenings) = watch::channel(None);
        let share = u32::try_from(VISITS).unwrap_or(u32::MAX).saturating_add(1);
        let gap = (every / share).max(GAP_MIN);
        (sender, Self { evenings, listening, gap, output, told: false })
    }

    /// Comes evening by evening until the server stops, or until they are told to stay away.
    pub(super) async fn come(self, guests: Guests) {
        let output = self.output;
        let come = self.evening_by_evening(&guests);
        tokio::select! {
            // What fails because the server stops is nobody's concern.
            biased;
            () = guests.stopped() => {}
            stayed_away = come => {
                if let Some(error) = stayed_away {
                    tell(output, &error, "They stay away now.");
                }
            }
        }
    }

    /// Why they do not come any more; nothing if the shop has closed.
    async fn evening_by_evening(mut self, guests: &Guests) -> Option<Error> {
        let mut door = None;
        while self.evenings.changed().await.is_ok() {
            let Some(evening) = self.newest() else { continue };
            if door.is_none() {
                match guests.token(WHO).await {
                    Ok(token) => door = token.map(|token| Door::new(self.listening, token)),
                    Err(error) if unwelcome(&error) => return Some(error),
                    Err(error) => self.failed(&error),
                }
            }
            // Nobody has opened the pages yet.
            let Some(door) = &door else { continue };
            for visit in &evening.visits {
                tokio::time::sleep(self.gap).await;
                if self.evenings.has_changed().unwrap_or(true) {
                    break;
                }
                match live(door, evening.at, visit).await {
                    Ok(()) => {}
                    Err(error) if unwelcome(&error) => return Some(error),
                    Err(error) => self.failed(&error),
                }
            }
        }
        None
    }

    fn newest(&mut self) -> Option<Arc<Evening>> {
        self.evenings.borrow_and_update().clone()
    }

    /// The first failure is told, later ones are in the log of whoever asks for it.
    fn failed(&mut self, error: &Error) {
        if self.told {
            tracing::debug!(%error, "a visit failed");
        } else {
            self.told = true;
            tell(self.output, error, "The shop goes on; this is not told again.");
        }
    }
}

/// Whether somebody took their token back, disabled them, or has their name.
fn unwelcome(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Denied | ErrorKind::Conflict)
}

fn tell(output: Output, error: &Error, more: &str) {
    output
        .message(&format!("A simulated visit to the website failed: {}. {more}", error.message()));
}

/// Lives one visit.
async fn live(door: &Door, at: Timestamp, visit: &WebVisit) -> Result<()> {
    let event = |number: usize, event: &str, product: Option<&str>| {
        json!({
            "event_id": format!("{}-{number}", visit.visit_id), "event": event,
            "customer_id": visit.customer_id, "product_id": product, "at": at.to_string(), "source": SOURCE,
        })
    };
    let address = format!("/v1/events?topic={TOPIC}");
    let views = visit.viewed.iter().zip(1..);
    let views = views.map(|(product, number)| event(number, "view", Some(product.as_str())));
    let events: Vec<Value> = std::iter::once(event(0, "visit", None)).chain(views).collect();
    door.post(&address, &Value::Array(events)).await?.taken("POST /v1/events")?;

    let customer = &visit.customer_id;
    let ask = format!("/v1/recommend?learner={LEARNER}&unit={customer}&k={SIMILAR}");
    let similar = door.get(&ask).await?.taken("GET /v1/recommend")?;
    if let Some(product) = visit.click(&texts(&similar, "item")) {
        let clicked = event(visit.viewed.len() + 1, "click", Some(product.as_str()));
        door.post(&address, &clicked).await?.taken("POST /v1/events")?;
    }

    let question = json!({"policy": POLICY, "unit": customer, "request_id": visit.visit_id});
    let answer = door.post("/v1/decide", &question).await?;
    if UNDECIDED.contains(&answer.status) {
        return Ok(());
    }
    let decision = answer.taken("POST /v1/decide")?;
    let shown = match decision.get("arm").and_then(Value::as_str) {
        Some("treatment") => texts(&decision, "item_id"),
        _ => Vec::new(),
    };
    // A decision is of the moment at which it was made, and so is what came of it.
    let said = |what: Value| {
        let mut said = json!({
            "decision_id": decision.get("decision_id"), "unit_id": customer, "policy": POLICY,
            "at": decision.get("decided_at"), "source": SOURCE,
        });
        if let (Value::Object(said), Value::Object(what)) = (&mut said, what) {
            said.extend(what);
        }
        said
    };
    if !shown.is_empty() {
        let seen = shown.iter().map(|product| said(json!({ "item": product }))).collect();
        door.post("/v1/exposures", &Value::Array(seen)).await?.taken("POST /v1/exposures")?;
    }
    if visit.fills_basket(&shown) {
        let basket = said(json!({"event_id": format!("{}-basket", visit.visit_id)}));
        door.post("/v1/outcomes", &basket).await?.taken("POST /v1/outcomes")?;
    }
    Ok(())
}

/// One text of each of the `items` of an answer.
fn texts(answer: &Value, key: &str) -> Vec<String> {
    let items = answer.get("items").and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|item| item.get(key)?.as_str().map(str::to_owned)).collect()
}
