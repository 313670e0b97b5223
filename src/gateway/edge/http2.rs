//! HTTP/2 connections: the loop that takes streams in, lets them go, and says goodbye.
//!
//! Each stream is a request like any other, on a task of its own: dropping that task is what cuts
//! it (`RST_STREAM`), and its siblings live on. The connection as a whole ends by GOAWAY where its
//! client may be told, and by closing it where the client abuses it.

use std::sync::Arc;

use pingora::apps::HttpServerApp;
use pingora::protocols::Digest;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Accept, H2Options, HttpSession, default_h2_options, handshake};
use pingora::server::ShutdownWatch;
use tracing::debug;

use super::{Edge, Limits};
use crate::gateway::conn::{Conn, End, RequestGuard};
use crate::gateway::context::RequestId;
use crate::gateway::guarded::Guarded;
use crate::gateway::inflight::REQUEST;
use crate::metrics::Protocol;

/// Streams of one connection at a time.
const STREAMS: u32 = 100;
/// How much of one body may be on its way to us without being read.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all bodies of a connection together.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How much of one answer waits for its client.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams a client may have reset before we have seen them.
const PENDING_RESETS: usize = 20;
/// Malformed streams after which a connection is closed.
const MALFORMED: u32 = 32;
/// Requests given up by their client that are forgiven, however many were answered.
const FORGIVEN: u32 = 100;

impl<A: HttpServerApp + Send + Sync + 'static> Edge<A> {
    /// One connection that speaks HTTP/2, from its preface to its end.
    pub(super) async fn converse_http2(self: Arc<Self>, mut stream: Box<Guarded>) {
        let conn = Arc::clone(stream.conn());
        stream.speak_http2();
        let _counted = self.metrics.open(Protocol::Http2);
        let limits = self.limits.load_full();
        let stopping = self.stop.subscribe();
        let digest = Arc::new(Digest::default());
        let Ok(mut connection) = handshake(stream, Some(options(&limits))).await else { return };
        let (mut begun, mut malformed, mut leaving) = (0_u32, 0_u32, false);
        loop {
            let accepted = tokio::select! {
                biased;
                () = conn.retires(), if !leaving => {
                    leaving = true;
                    if conn.has_requests() {
                        connection.graceful_shutdown();
                    } else {
                        // What is on its way to us was not begun, and its client may send it elsewhere.
                        connection.abrupt_shutdown(h2::Reason::NO_ERROR);
                    }
                    continue;
                }
                accepted = HttpSession::from_h2_conn(&mut connection, Arc::clone(&digest)) => accepted,
            };
            match accepted {
                Ok(Some(H2Accept::Session(session))) => {
                    begun = begun.saturating_add(1);
                    self.tasks.spawn(Arc::clone(&self).stream(session, conn.join(), stopping.clone()));
                    if limits.keepalive_requests.is_some_and(|requests| begun >= requests) {
                        conn.retire();
                    }
                }
                Ok(Some(H2Accept::Rejected)) => {
                    malformed += 1;
                    // pingora has answered it, or reset it, and tells no more about it.
                    (self.refused)(&conn, 400, RequestId::fresh());
                }
                Ok(None) => return,
                Err(error) => return debug!(peer.addr = %conn.peer(), %error, "an HTTP/2 connection broke off"),
            }
            if malformed > MALFORMED || is_abuse(&conn, begun) {
                debug!(peer.addr = %conn.peer(), "an HTTP/2 connection is closed: its client gives up what it asks for");
                conn.end(End::Abuse);
            }
        }
    }

    /// One stream.
    async fn stream(self: Arc<Self>, session: HttpSession, request: RequestGuard, stopping: ShutdownWatch) {
        let in_flight = Arc::clone(request.request());
        tokio::select! {
            biased;
            () = in_flight.is_cut() => {}
            _ = REQUEST.scope(
                Arc::clone(&in_flight),
                self.app.process_new_http(ServerSession::new_http2(session), &stopping),
            ) => {}
        }
    }
}

/// Whether a client mostly asks for what it does not wait for. Each such request may cost an upstream its work.
fn is_abuse(conn: &Conn, begun: u32) -> bool {
    let given_up = conn.given_up();
    given_up > FORGIVEN && given_up > begun / 2
}

fn options(limits: &Limits) -> H2Options {
    let mut options = default_h2_options();
    options
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(limits.max_header).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS);
    options
}
