//! Who stands at the other end of the connection, and whom to believe about it.
//!
//! Forwarding headers count only when the peer is a trusted proxy, and then only as far as trusted
//! proxies have written them: the right-most address that is none of them is the client (RFC 7239,
//! section 8.1). What cannot be read ends the walk; nothing beyond it is believed.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;

use crate::config::settings::{ClientIpHeader, Server, web_scheme};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The client of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInfo {
    /// Its address.
    pub ip: IpAddr,
    /// `http` or `https`, as the client speaks it.
    pub scheme: &'static str,
    /// The Host the client used, when a trusted proxy says so.
    pub forwarded_host: Option<String>,
    /// Whether the peer of the socket is a trusted proxy.
    pub peer_is_trusted: bool,
}

/// Finds the client behind `peer`, which speaks TLS with us or does not.
#[must_use]
pub fn client(peer: SocketAddr, is_tls: bool, headers: &HeaderMap, server: &Server) -> ClientInfo {
    let peer = peer.ip().to_canonical();
    let default = scheme(is_tls, server);
    if !is_trusted(peer, server) {
        return ClientInfo { ip: peer, scheme: default, forwarded_host: None, peer_is_trusted: false };
    }
    let chain = named_addresses(headers, server.client_ip_header);
    let scheme = last(headers, "x-forwarded-proto").and_then(|scheme| web_scheme(&scheme));
    ClientInfo {
        ip: right_most_untrusted(&chain, |ip| is_trusted(ip, server)).unwrap_or(peer),
        scheme: scheme.unwrap_or(default),
        forwarded_host: last(headers, "x-forwarded-host"),
        peer_is_trusted: true,
    }
}

/// The client as a proxy with a list of its own names it; `None` when it names nobody.
#[must_use]
pub fn named_client(headers: &HeaderMap, proxies: &[IpNet], server: &Server) -> Option<IpAddr> {
    let is_proxy = |ip: IpAddr| proxies.iter().any(|net| net.contains(&ip)) || is_trusted(ip, server);
    right_most_untrusted(&named_addresses(headers, server.client_ip_header), is_proxy)
}

/// Where some listener speaks TLS, a connection is what it is. Where none does, https ends before
/// us, and `public_url` knows better than the socket.
fn scheme(is_tls: bool, server: &Server) -> &'static str {
    match is_tls {
        true => "https",
        false if server.listeners.iter().any(|listener| listener.tls) => "http",
        false => server.public_url.scheme,
    }
}

/// What upstreams are told of a client: the same for all its requests to one host, as far as no proxy
/// in front of us has more to say.
#[derive(Debug)]
pub struct Forwarding([(HeaderName, HeaderValue); 4]);

impl Forwarding {
    /// Of a client at `peer` that speaks `scheme` with us and asks for `host`. `None` when that cannot be said.
    #[must_use]
    pub fn new(peer: IpAddr, scheme: &'static str, host: &str) -> Option<Self> {
        let peer = peer.to_canonical();
        Some(Self([
            (X_FORWARDED_FOR, HeaderValue::try_from(peer.to_string()).ok()?),
            (X_FORWARDED_PROTO, HeaderValue::from_static(scheme)),
            (X_FORWARDED_HOST, HeaderValue::try_from(host).ok()?),
            (header::FORWARDED, HeaderValue::try_from(element(peer, scheme, host)).ok()?),
        ]))
    }

    /// Sets the forwarding headers; what was said before is replaced.
    pub fn tell(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0 {
            headers.insert(name, value.clone());
        }
    }
}

/// One element of `Forwarded` (RFC 7239, section 4).
fn element(peer: IpAddr, scheme: &str, host: &str) -> String {
    match peer {
        IpAddr::V4(_) => format!("for={peer};proto={scheme};host=\"{host}\""),
        IpAddr::V6(_) => format!("for=\"[{peer}]\";proto={scheme};host=\"{host}\""),
    }
}

/// Sets the forwarding headers for the upstream behind a trusted peer: what that said is continued.
pub fn forward(client: &ClientInfo, peer: IpAddr, host: &str, headers: &mut HeaderMap) {
    let peer = peer.to_canonical();
    let host = client.forwarded_host.as_deref().unwrap_or(host);
    let continued = |name: HeaderName, own: String| match joined(headers, name.as_str()) {
        Some(before) => format!("{before}, {own}"),
        None => own,
    };
    let told = [
        (X_FORWARDED_FOR, continued(X_FORWARDED_FOR, peer.to_string())),
        (X_FORWARDED_PROTO, client.scheme.to_owned()),
        (X_FORWARDED_HOST, host.to_owned()),
        (header::FORWARDED, continued(header::FORWARDED, element(peer, client.scheme, host))),
    ];
    for (name, value) in told {
        match HeaderValue::try_from(value) {
            Ok(value) => drop(headers.insert(name, value)),
            Err(_) => drop(headers.remove(name)),
        }
    }
}

/// Takes the forwarding headers off.
pub fn forward_nothing(headers: &mut HeaderMap) {
    for name in [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST, header::FORWARDED] {
        headers.remove(name);
    }
}

/// Whether a request carries any of the forwarding headers.
#[must_use]
pub fn is_forwarded(headers: &HeaderMap) -> bool {
    const NAMES: [HeaderName; 4] = [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST, header::FORWARDED];
    // A request has few names: comparing them costs less than four look-ups.
    headers.keys().any(|name| NAMES.contains(name))
}

fn is_trusted(ip: IpAddr, server: &Server) -> bool {
    server.trusted_proxies.iter().any(|net| net.contains(&ip))
}

/// `None` when the nearest entry is no address, or there is none.
fn right_most_untrusted(chain: &[Option<IpAddr>], is_trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let mut nearest = None;
    for named in chain.iter().rev() {
        let Some(ip) = *named else { return nearest };
        nearest = Some(ip);
        if !is_trusted(ip) {
            return nearest;
        }
    }
    nearest
}

/// The addresses a header names, in order; `None` for what is not an address.
fn named_addresses(headers: &HeaderMap, kind: ClientIpHeader) -> Vec<Option<IpAddr>> {
    match kind {
        ClientIpHeader::XForwardedFor => listed(headers, "x-forwarded-for").iter().map(|text| address(text)).collect(),
        ClientIpHeader::XRealIp => last(headers, "x-real-ip").iter().map(|text| address(text)).collect(),
        ClientIpHeader::CfConnectingIp => last(headers, "cf-connecting-ip").iter().map(|text| address(text)).collect(),
        ClientIpHeader::Forwarded => {
            listed(headers, header::FORWARDED.as_str()).iter().map(|element| forwarded_for(element)).collect()
        }
    }
}

fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let node = pairs.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?.1;
    address(node.trim().trim_matches('"'))
}

/// An address, with or without port, IPv6 in brackets or not.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let parsed = text.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|addr| addr.ip()));
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    parsed.or_else(bracketed).map(|ip| ip.to_canonical())
}

fn listed(headers: &HeaderMap, name: &str) -> Vec<String> {
    let lines = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or("?"));
    lines.flat_map(|line| line.split(',').map(|entry| entry.trim().to_owned())).collect()
}

fn last(headers: &HeaderMap, name: &str) -> Option<String> {
    listed(headers, name).pop().filter(|value| !value.is_empty())
}

fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(listed(headers, name).join(", ")).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tests_support::settings;

    fn server(trusted: &[&str], kind: ClientIpHeader) -> Server {
        let mut server = settings().server;
        server.trusted_proxies = trusted.iter().map(|net| net.parse().unwrap()).collect();
        server.client_ip_header = kind;
        server
    }

    fn found(peer: &str, server: &Server, name: &'static str, lines: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_static(line));
        }
        client(peer.parse().unwrap(), false, &headers, server).ip.to_string()
    }

    #[test]
    fn the_client_is_the_right_most_address_that_is_no_trusted_proxy() {
        let server = server(&["10.0.0.0/8"], ClientIpHeader::XForwardedFor);
        let cases: [(&str, &[&'static str], &str); 7] = [
            ("192.0.2.1:1", &["203.0.113.9"], "192.0.2.1"),
            ("10.0.0.1:1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1:1", &["6.6.6.6, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            ("10.0.0.1:1", &["6.6.6.6", "203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1:1", &["203.0.113.9, nonsense"], "10.0.0.1"),
            ("10.0.0.1:1", &["nonsense, 10.0.0.2"], "10.0.0.2"),
            ("[::ffff:10.0.0.1]:1", &["2001:db8::1"], "2001:db8::1"),
        ];
        for (peer, lines, expected) in cases {
            assert_eq!(found(peer, &server, "x-forwarded-for", lines), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn the_standard_header_is_read_with_its_quotes_and_ports() {
        let server = server(&["10.0.0.0/8"], ClientIpHeader::Forwarded);
        let lines: &[&'static str] = &["for=192.0.2.60;proto=http, For=\"[2001:db8:cafe::17]:4711\""];

        assert_eq!(found("10.0.0.1:1", &server, "forwarded", lines), "2001:db8:cafe::17");
    }
}
