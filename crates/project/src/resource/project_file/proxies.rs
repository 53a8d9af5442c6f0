//! Servers that stand before ours, such as one with TLS, and say on whose behalf they ask.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An address, `10.0.0.5`, or all that begin as one does, `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// How many of its bits count.
    bits: u8,
}

impl Network {
    /// Reads an address, with or without how many of its bits count; none if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let all: u8 = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse::<u8>().ok().filter(|bits| *bits <= all)?,
            None => all,
        };
        Some(Self { address, bits })
    }

    /// Whether an address is one of these.
    #[must_use]
    pub fn holds(self, address: IpAddr) -> bool {
        let alike = |ours: u128, theirs: u128, all: u32| {
            let rest = all.saturating_sub(u32::from(self.bits));
            ours.checked_shr(rest).unwrap_or(0) == theirs.checked_shr(rest).unwrap_or(0)
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                alike(u128::from(ours.to_bits()), u128::from(theirs.to_bits()), 32)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => alike(ours.to_bits(), theirs.to_bits(), 128),
            _ => false,
        }
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "\"{text}\" is no address: write 10.0.0.5, or 10.0.0.0/8 for all that begin with 10"
            ))
        })
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{}/{}", self.address, self.bits))
    }
}

impl JsonSchema for Network {
    fn schema_name() -> Cow<'static, str> {
        "Network".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "An address, or all that begin as one does: 10.0.0.5, 10.0.0.0/8, fd00::/8."
        })
    }
}

/// Who asks: `peer`, or the one on whose behalf it does if it is one of `proxies`, as the lines `X-Forwarded-For` say.
///
/// Each proxy writes at the end by whom it was asked. What stands before somebody who is no proxy of ours may have been written
/// by anybody and counts for nothing.
#[must_use]
pub fn asker<'a>(
    proxies: &[Network],
    peer: IpAddr,
    lines: impl DoubleEndedIterator<Item = &'a str>,
) -> IpAddr {
    let mut address = peer.to_canonical();
    for said in lines.rev().flat_map(|line| line.rsplit(',')) {
        if !proxies.iter().any(|proxy| proxy.holds(address)) {
            break;
        }
        let Some(next) = address_in(said.trim()) else { break };
        address = next;
    }
    address
}

/// The address in what a proxy says; some say the port, too.
fn address_in(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let alone = bare.parse::<IpAddr>().ok();
    let found = alone.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    found.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(proxies: &[&str], peer: &str, lines: &[&str], expected: &str) {
        let proxies: Vec<Network> =
            proxies.iter().map(|text| Network::parse(text).unwrap()).collect();
        let found = asker(&proxies, peer.parse().unwrap(), lines.iter().copied());
        assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{proxies:?} {peer} {lines:?}");
    }

    #[test]
    fn who_asks_is_said_by_our_proxies_alone() {
        let ours = ["127.0.0.1", "10.0.0.0/8"];
        check(&ours, "127.0.0.1", &["203.0.113.7"], "203.0.113.7");
        check(&ours, "::ffff:127.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1");
        check(&ours, "127.0.0.1", &["[2001:db8::1]"], "2001:db8::1");
        check(&ours, "127.0.0.1", &["203.0.113.7:4711"], "203.0.113.7");
        // What the one who asks has written himself stands before.
        check(&ours, "127.0.0.1", &["1.1.1.1, 203.0.113.7, 10.2.3.4"], "203.0.113.7");
        check(&ours, "127.0.0.1", &["1.1.1.1", "203.0.113.7"], "203.0.113.7");
        check(&ours, "198.51.100.1", &["203.0.113.7"], "198.51.100.1");
        check(&[], "127.0.0.1", &["203.0.113.7"], "127.0.0.1");
        check(&ours, "127.0.0.1", &["203.0.113.7, unknown"], "127.0.0.1");
        check(&ours, "127.0.0.1", &[], "127.0.0.1");
    }

    #[test]
    fn a_network_holds_what_begins_alike() {
        let holds = |network: &str, address: &str| {
            Network::parse(network).unwrap().holds(address.parse().unwrap())
        };
        assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("0.0.0.0/0", "8.8.8.8") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("fd00::/8", "fd12::1") && !holds("fd00::/8", "fe80::1"));
        for wrong in ["10.0.0.0/33", "10.0.0/8", "proxy.example", "10.0.0.1/", ""] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }
}
