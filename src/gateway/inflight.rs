//! A request in flight: whose it is, how long its upstream may take, and how to cut it.
//!
//! Open streams (WebSocket, SSE, long downloads) are requests that do not end. A request names
//! its holder *before* its session is checked: a revocation that comes between the check and the
//! naming would otherwise never find it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use tokio::sync::Notify;

use crate::domain::clock::Time;
use crate::gateway::canonical::{Canonical, Host};
use crate::gateway::conn::{Conn, End, Protocol, uptime_ms};
use crate::gateway::decide::By;
use crate::tokens::AccessToken;

tokio::task_local! {
    /// The request whose answer the present task is working on.
    pub(super) static REQUEST: Arc<InFlight>;
}

/// Who holds a request open, and what it was let in to.
#[derive(Debug, Clone)]
pub struct Holder {
    /// The token the request was let in with; `None` = nobody is known.
    pub token: Option<Arc<AccessToken>>,
    /// How it came; `None` = nobody is known.
    pub by: Option<By>,
    /// When the right ends by itself: set for bearer tokens, which nobody refreshes on the way.
    pub until: Option<Time>,
    /// What it asked for.
    pub asked: LetIn,
}

/// What a request asked for, as far as the rules look at it again while it goes on.
#[derive(Debug, Clone)]
pub struct LetIn {
    /// The Host it named.
    pub host: Arc<Host>,
    /// What it is for.
    pub target: Arc<Canonical>,
    /// Its method.
    pub method: Method,
    /// Where it came from.
    pub client: IpAddr,
    /// Whether it became another protocol.
    pub is_upgrade: bool,
    /// The generation of the rules that let it in.
    pub rules: u64,
}

/// One request, from its complete head to the end of its answer.
#[derive(Debug)]
pub struct InFlight {
    conn: Arc<Conn>,
    cut: Notify,
    was_cut: AtomicBool,
    holder: Mutex<Option<Holder>>,
    due: AtomicU64,
}

impl InFlight {
    pub(super) fn new(conn: Arc<Conn>) -> Self {
        Self {
            conn,
            cut: Notify::new(),
            was_cut: AtomicBool::new(false),
            holder: Mutex::new(None),
            due: AtomicU64::new(u64::MAX),
        }
    }

    /// The request the present task is working on.
    ///
    /// # Panics
    /// Outside of [`Edge`](crate::gateway::edge::Edge)'s requests.
    #[must_use]
    pub fn current() -> Arc<Self> {
        REQUEST.with(Arc::clone)
    }

    /// Whether the connection should close after this request, because the program stops.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.conn.is_draining()
    }

    /// The connection it came on.
    #[must_use]
    pub fn conn(&self) -> &Arc<Conn> {
        &self.conn
    }

    /// Names whose request it is. To be called before the session is checked.
    pub fn hold(&self, holder: Holder) {
        *self.holder.lock().unwrap_or_else(PoisonError::into_inner) = Some(holder);
    }

    /// Who holds it open.
    #[must_use]
    pub fn holder(&self) -> Option<Holder> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it because its holder lost the right to it: on HTTP/2 the stream, else the connection.
    pub fn lose(&self) {
        match self.conn.protocol() {
            Protocol::Http2 => self.cut(),
            Protocol::Http1 => self.conn.end(End::SessionEnded),
        }
    }

    /// The upstream's response head is due in `limit` from now.
    pub fn expect_answer(&self, limit: Duration) {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self.due.store(uptime_ms().saturating_add(limit), Ordering::Relaxed);
    }

    /// The upstream's response head is here, or is no longer waited for.
    pub fn answered(&self) {
        self.due.store(u64::MAX, Ordering::Relaxed);
    }

    /// Whether the upstream's response head should have been here by `now`, in milliseconds of uptime.
    #[must_use]
    pub fn is_overdue(&self, now: u64) -> bool {
        self.due.load(Ordering::Relaxed) <= now
    }

    /// Drops the work on it, wherever it stands.
    pub fn cut(&self) {
        self.was_cut.store(true, Ordering::Relaxed);
        self.cut.notify_one();
    }

    /// Whether it ends because it has to, and not because it is done.
    #[must_use]
    pub fn was_cut(&self) -> bool {
        self.was_cut.load(Ordering::Relaxed) || self.conn.ending().is_some()
    }

    /// Waits until it is cut.
    pub(super) async fn is_cut(&self) {
        self.cut.notified().await;
    }
}
