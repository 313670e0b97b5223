//! Who stands at the other end of the connection, and whom to believe about it.
//!
//! Forwarding headers count only when the peer is a trusted proxy, and then only as far as trusted
//! proxies have written them: the right-most address that is none of them is the client (RFC 7239,
//! section 8.1). What cannot be read ends the walk; nothing beyond it is believed.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;

use crate::config::settings::{ClientIpHeader, Server};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The client of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInfo {
    /// Its address.
    pub ip: IpAddr,
    /// `http` or `https`, as the client speaks it.
    pub scheme: String,
    /// The Host the client used, when a trusted proxy says so.
    pub forwarded_host: Option<String>,
    /// Whether the peer of the socket is a trusted proxy.
    pub peer_is_trusted: bool,
}

/// Finds the client behind `peer`, which speaks TLS with us or does not.
#[must_use]
pub fn client(peer: SocketAddr, is_tls: bool, headers: &HeaderMap, server: &Server) -> ClientInfo {
    let peer = peer.ip().to_canonical();
    let default = scheme(is_tls, server).to_owned();
    if !is_trusted(peer, server) {
        return ClientInfo { ip: peer, scheme: default, forwarded_host: None, peer_is_trusted: false };
    }
    let chain = named_addresses(headers, server.client_ip_header);
    let scheme = last(headers, "x-forwarded-proto").filter(|scheme| matches!(scheme.as_str(), "http" | "https"));
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
fn scheme(is_tls: bool, server: &Server) -> &str {
    match is_tls {
        true => "https",
        false if server.listeners.iter().any(|listener| listener.tls) => "http",
        false => &server.public_url.scheme,
    }
}

/// Sets the forwarding headers for the upstream: what an untrusted peer said is replaced, what a
/// trusted one said is continued.
pub fn forward(client: &ClientInfo, peer: IpAddr, host: &str, headers: &mut HeaderMap) {
    let peer = peer.to_canonical();
    let node = peer.to_string();
    let host = client.forwarded_host.as_deref().unwrap_or(host);
    let scheme = client.scheme.as_str();
    // Every proxied request comes by here; joining costs a fraction of formatting.
    let forwarded = match peer {
        IpAddr::V4(_) => ["for=", &node, ";proto=", scheme, ";host=\"", host, "\""].concat(),
        IpAddr::V6(_) => ["for=\"[", &node, "]\";proto=", scheme, ";host=\"", host, "\""].concat(),
    };
    let continued = |name: HeaderName, own: String| {
        let before = if client.peer_is_trusted { joined(headers, name.as_str()) } else { None };
        match before {
            Some(before) => format!("{before}, {own}"),
            None => own,
        }
    };
    let told = [
        (X_FORWARDED_FOR, continued(X_FORWARDED_FOR, node)),
        (X_FORWARDED_PROTO, scheme.to_owned()),
        (X_FORWARDED_HOST, host.to_owned()),
        (header::FORWARDED, continued(header::FORWARDED, forwarded)),
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
    let names = [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST, header::FORWARDED];
    names.iter().any(|name| headers.contains_key(name))
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
