//! `topics/*.yaml`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::Duration;

/// How old a signed call may be unless its topic says otherwise: what Stripe and HubSpot ask for.
const TOLERANCE_DEFAULT: Duration = Duration { micros: 300_000_000 };

/// What events of a topic look like, and which other system hands them in by signed calls. A topic without such a file
/// takes every JSON object.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// The topic's name, as in `POST /v1/events?topic=NAME` and in the options of syncs that read it.
    pub topic: String,
    /// What its events are.
    #[serde(default)]
    pub description: Option<String>,
    /// The fields that events have; those not declared are taken as they are.
    #[serde(default)]
    pub columns: Vec<TopicColumn>,
    /// The field with the moment of an event; each event needs it, and one that can be read. Without it, a field
    /// `timestamp` may be left out, and is refused if it cannot be read.
    #[serde(default)]
    pub timestamp: Option<String>,
    /// What happens to events that do not fit. Those of web pages and of other systems' calls are always set aside, since
    /// nobody there reads the answer.
    #[serde(default)]
    pub on_bad: OnBad,
    /// Lets another system hand in events by `POST /v1/topics/NAME/webhook`, signed its own way.
    #[serde(default)]
    pub webhook: Option<Webhook>,
}

/// A field that events have.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopicColumn {
    /// The field; of one within another the path with points: `customer.id`.
    pub name: String,
    /// `text`, `int64`, `int32`, `float64`, `decimal(p,s)`, `bool`, `date`, `timestamp`, `json` or `binary`, as for columns
    /// of syncs: what is taken here can be landed so.
    #[serde(rename = "type")]
    pub column_type: String,
    /// Whether an event without a value does not fit.
    #[serde(default)]
    pub required: bool,
}

/// What happens to an event that does not fit. In each case the answer names it, with the field and the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnBad {
    /// Whoever handed it in is told, and nothing else.
    #[default]
    Reject,
    /// It goes to `system.quarantine` as well, with source `events` and the topic as its stream.
    Quarantine,
}

/// How another system signs its calls. With one of `X-Hub-Signature-256` (GitHub, Meta), `Stripe-Signature`,
/// `X-Shopify-Hmac-Sha256` and `X-HubSpot-Signature-v3` as `header`, everything else is known.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The secret that the other system signs with: `${env:NAME}`, `${secret:name}` or `${file:path}`.
    pub secret: String,
    /// The header with the signature.
    pub header: String,
    /// How it signs; known for the headers above.
    #[serde(default)]
    pub algorithm: Option<Algorithm>,
    /// The header with the other system's name for a delivery: one that comes again is kept once. Known for GitHub, Meta and
    /// Shopify; of Stripe it is the `id` of the event. Where there is none, the same body is the same delivery.
    #[serde(default)]
    pub delivery: Option<String>,
    /// How old a call may be whose signature says when it was made, and how far ahead its clock may be: `5m` if absent.
    #[serde(default)]
    pub tolerance: Option<Duration>,
    /// The address that HubSpot calls, as it is entered there, since its signature covers it.
    #[serde(default)]
    pub url: Option<String>,
}

/// How a call is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// HMAC-SHA256 of the body in hexadecimal digits, with or without `sha256=` before it.
    HmacSha256Hex,
    /// HMAC-SHA256 of the body in base64.
    HmacSha256Base64,
    /// `t=SECONDS,v1=HEX`: HMAC-SHA256 of the seconds, a full stop and the body.
    Stripe,
    /// HMAC-SHA256 in base64 of `POST`, the address, the body and the header `X-HubSpot-Request-Timestamp`.
    HubspotV3,
}

impl Algorithm {
    /// Whether the signature says when the call was made.
    #[must_use]
    pub fn dated(self) -> bool {
        matches!(self, Self::Stripe | Self::HubspotV3)
    }
}

/// Headers whose meaning is known: with how they sign, and the header that names a delivery.
static KNOWN: [(&str, Algorithm, Option<&str>); 4] = [
    ("x-hub-signature-256", Algorithm::HmacSha256Hex, Some("x-github-delivery")),
    ("stripe-signature", Algorithm::Stripe, None),
    ("x-shopify-hmac-sha256", Algorithm::HmacSha256Base64, Some("x-shopify-webhook-id")),
    ("x-hubspot-signature-v3", Algorithm::HubspotV3, None),
];

impl Webhook {
    fn known(&self) -> Option<&'static (&'static str, Algorithm, Option<&'static str>)> {
        KNOWN.iter().find(|(header, ..)| self.header.eq_ignore_ascii_case(header))
    }

    /// How calls are signed; none if neither the file nor the header says it.
    #[must_use]
    pub fn signed(&self) -> Option<Algorithm> {
        self.algorithm.or_else(|| self.known().map(|(_, algorithm, _)| *algorithm))
    }

    /// How the header signs, if it is one that is known.
    #[must_use]
    pub fn of_header(&self) -> Option<Algorithm> {
        self.known().map(|(_, algorithm, _)| *algorithm)
    }

    /// The header that names a delivery, if there is one.
    #[must_use]
    pub fn delivery_header(&self) -> Option<&str> {
        self.delivery.as_deref().or_else(|| self.known().and_then(|(.., delivery)| *delivery))
    }

    /// How old a call may be, in microseconds.
    #[must_use]
    pub fn tolerance_us(&self) -> i64 {
        self.tolerance.unwrap_or(TOLERANCE_DEFAULT).micros
    }
}
