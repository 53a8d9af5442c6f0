//! A shop that does not exist: products, customers with hidden tastes, orders, stock and the way
//! these customers answer to messages, all from one seed.
//!
//! It stands in for the outside world in `flywheel demo`: [`World::day`] takes what left the
//! project through its actions and returns the files that the shop's systems would export that
//! evening. Because everything is generated, the truth that a real shop never knows is known
//! ([`Truth`]): which effect each message had, which sales an empty shelf cost, and what the best
//! possible recommendation would have been. Nothing here reads a file, a clock or the network, and
//! the same seed, settings and deliveries give the same bytes.
//!
//! Its customers also come to a website ([`World::web_visits`]); what they do there changes nothing of the world.
//!
//! How it trades ([`Trade`]) may be fitted to the orders of a real shop ([`Fitting`]); its customers are simulated all the same.
//!
//! [`offers`] is a smaller world beside it, for benches of the closed loop.
//!
//! ```text
//!  deliveries ─► mailbox ─► attention, fatigue ─┐
//!  purchase orders ─► stock ────────────────────┤
//!  taste, rhythm, lifecycle ────────────────────┴─► orders ─► files of the day
//! ```

pub mod offers;

mod basket;
mod catalog;
mod customer;
mod delivery;
mod dirt;
mod export;
mod fit;
mod person;
mod response;
mod sale;
mod settings;
mod shelf;
mod trade;
mod truth;
mod vocabulary;
mod website;
mod world;

pub use delivery::Delivery;
pub use export::{DataFile, DayFiles};
pub use fit::{Fitted, Fitting};
pub use settings::Settings;
pub use trade::{Spread, Trade};
pub use truth::{DayTruth, PolicyTruth, StockTruth, Truth};
pub use website::WebVisit;
pub use world::World;
