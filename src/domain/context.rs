//! Who asks: plain data about one request, built at the edge and passed to every use case.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use crate::domain::id::SessionId;
use crate::domain::session::Device;

/// What is known about the client of one request. Carries no HTTP type.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// The client's address: the socket's peer, or what a trusted proxy says of it.
    pub ip: IpAddr,
    /// Whether `ip` is the client's own, as far as can be known: not when a proxy nobody declared
    /// seems to stand in between.
    pub address_is_certain: bool,
    /// `User-Agent`, cut to 512 bytes.
    pub user_agent: Option<Arc<str>>,
    /// The token that names a trusted device, from its cookie or header.
    pub device_token: Option<Arc<str>>,
    /// The session it came with, where nothing else of that was looked up.
    pub session: Option<SessionId>,
    /// The device it came from, once somebody has found out.
    pub device: OnceLock<Arc<Device>>,
    /// Identifies the request in logs, errors and towards the upstream.
    pub request_id: Arc<str>,
}

impl RequestContext {
    /// The address cut to what one subscriber usually holds: an IPv4 address, an IPv6 /64.
    #[must_use]
    pub fn address_prefix(&self) -> IpAddr {
        address_prefix(self.ip)
    }

    /// Whether both asked from the same address prefix or with the same user agent.
    #[must_use]
    pub fn resembles(&self, prefix: &str, user_agent: &str) -> bool {
        self.address_prefix().to_string() == prefix || self.user_agent.as_deref().unwrap_or("") == user_agent
    }

    /// Notes which device it came from. What was found out first stays; a device without a name of its own
    /// among those of its user is none.
    pub fn comes_from(&self, device: &Device) {
        if !device.id.is_empty() {
            self.device.get_or_init(|| Arc::new(device.clone()));
        }
    }

    /// A context for what the program does by itself or on the operator's command.
    #[must_use]
    pub fn local() -> Self {
        Self {
            ip: IpAddr::from([127, 0, 0, 1]),
            address_is_certain: true,
            user_agent: None,
            device_token: None,
            session: None,
            device: OnceLock::new(),
            request_id: Arc::from("local"),
        }
    }
}

/// An IPv4 address as it is, an IPv6 address cut to /64, an IPv4-mapped one as IPv4.
#[must_use]
pub fn address_prefix(ip: IpAddr) -> IpAddr {
    address_prefix_of(ip, 64)
}

/// The same with another length, in bits, for IPv6.
#[must_use]
pub fn address_prefix_of(ip: IpAddr, ipv6_bits: u8) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(ipv6_bits.min(128))).unwrap_or(0);
            IpAddr::V6((u128::from(ip) & mask).into())
        }
    }
}

/// An address without what names the subscriber: the last byte of IPv4, all but /48 of IPv6.
#[must_use]
pub fn redacted(ip: IpAddr) -> String {
    match address_prefix(ip) {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            format!("{a}.{b}.{c}.0")
        }
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}::")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_cut_to_the_subscriber() {
        let cases =
            [("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::")];
        for (ip, prefix) in cases {
            assert_eq!(address_prefix(ip.parse().unwrap()).to_string(), prefix);
        }
    }
}
