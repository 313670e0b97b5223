//! Asking a target how it is.

use std::time::Duration;

use http::{HeaderValue, Uri, Version, header};
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use tokio::net::TcpStream;

use crate::config::settings::{HealthCheck, Probe};
use crate::gateway::upstream::new_group;

/// What targets see of whoever asks.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("nauth/", env!("CARGO_PKG_VERSION"), " (health)"));

/// Asks the target at `peer`, over a connection of its own: one that stands says nothing of whether
/// others can be made. `authority` is its `Host`.
///
/// # Errors
/// What is wrong, in words.
pub(super) async fn probe(
    peer: &HttpPeer,
    authority: &str,
    check: &HealthCheck,
    connector: &Connector,
) -> Result<(), String> {
    let asked = async {
        match &check.probe {
            Probe::Tcp => connects(peer).await,
            Probe::Http { path, expect } => answers(peer, authority, path, *expect, check.timeout, connector).await,
        }
    };
    tokio::time::timeout(check.timeout, asked).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

async fn connects(peer: &HttpPeer) -> Result<(), String> {
    let Some(address) = peer._address.as_inet() else { return Err("not a network address".to_owned()) };
    TcpStream::connect(address).await.map(drop).map_err(|error| error.to_string())
}

async fn answers(
    peer: &HttpPeer,
    authority: &str,
    path: &str,
    expect: u16,
    timeout: Duration,
    connector: &Connector,
) -> Result<(), String> {
    let mut peer = peer.clone();
    peer.group_key = new_group();
    peer.options.connection_timeout = Some(timeout);
    peer.options.total_connection_timeout = Some(timeout);
    // One that has no room for a second stream is not kept.
    peer.options.max_h2_streams = 1;
    let failed = |error: Box<pingora::Error>| error.etype().as_str().to_owned();
    let (mut session, _) = connector.get_http_session(&peer).await.map_err(failed)?;
    let request = request(&session, &peer, authority, path).map_err(failed)?;
    session.write_request_header(Box::new(request)).await.map_err(failed)?;
    session.finish_request_body().await.map_err(failed)?;
    session.read_response_header().await.map_err(failed)?;
    let status = session.response_header().map_or(0, |head| head.status.as_u16());
    session.shutdown().await;
    if status == expect { Ok(()) } else { Err(format!("status {status}, not {expect}")) }
}

fn request(session: &HttpSession, peer: &HttpPeer, authority: &str, path: &str) -> pingora::Result<RequestHeader> {
    let mut request = RequestHeader::build("GET", path.as_bytes(), None)?;
    request.insert_header(header::USER_AGENT, AGENT)?;
    if matches!(session, HttpSession::H2(_)) {
        let scheme = if peer.is_tls() { "https" } else { "http" };
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
        request.set_version(Version::HTTP_2);
        request.set_uri(pingora::OrErr::or_err(uri, pingora::ErrorType::InternalError, "the URI of a health check")?);
    } else {
        request.insert_header(header::HOST, authority)?;
        request.insert_header(header::CONNECTION, "close")?;
    }
    Ok(request)
}
