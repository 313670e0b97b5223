//! A request in flight: whose it is, how long its upstream may take, and how to cut it.
//!
//! Open streams (WebSocket, SSE, long downloads) are requests that do not end. A request names
//! its holder *before* its session is checked: a revocation that comes between the check and the
//! naming would otherwise never find it.
//!
//! Whoever loses the right to a request before anything was answered is told so ([`InFlight::lose`]):
//! a 401 says what to do next, a broken connection does not. It must also be true: a 401 means that
//! nothing was done (RFC 9110, section 15.5.2), and whoever logs in again repeats it. So what has been
//! sent to an upstream and may not be sent twice is cut instead, as is whatever was answered in part.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use atomic_waker::AtomicWaker;
use http::Method;

use crate::domain::clock::Time;
use crate::domain::error::Error;
use crate::gateway::canonical::{Canonical, Host};
use crate::gateway::conn::{Conn, End, Protocol, uptime_ms};
use crate::gateway::decide::By;
use crate::metrics::StreamEnd;
use crate::tokens::AccessToken;

/// How long whoever lost a request may take to be told so, before it is cut.
const KIND_REFUSAL: Duration = Duration::from_millis(200);

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

/// How far a request has come, as far as it decides what its client may still be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    /// Nothing was sent to an upstream that must not be sent twice.
    Open,
    /// An upstream may have acted on it.
    Sent,
    /// The head of its answer is on its way.
    Answered,
    /// Its upstream has taken too long.
    Late,
    /// Its holder has lost the right to it, and is about to be told.
    Lost,
}

impl Stage {
    fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Open,
            1 => Self::Sent,
            2 => Self::Answered,
            3 => Self::Late,
            _ => Self::Lost,
        }
    }
}

/// One request, from its complete head to the end of its answer.
#[derive(Debug)]
pub struct InFlight {
    conn: Arc<Conn>,
    cut: AtomicWaker,
    was_cut: AtomicBool,
    holder: Mutex<Option<Holder>>,
    stage: AtomicU8,
    /// Why it was lost; set before the stage says so.
    refusal: Mutex<Option<Error>>,
    /// In milliseconds of uptime: when the next thing has to have happened.
    due: AtomicU64,
    /// In milliseconds: longest silence of its upstream once the head of its answer is there; 0 = not looked at here.
    silence: AtomicU64,
}

impl InFlight {
    pub(super) fn new(conn: Arc<Conn>) -> Self {
        Self {
            conn,
            cut: AtomicWaker::new(),
            was_cut: AtomicBool::new(false),
            holder: Mutex::new(None),
            stage: AtomicU8::new(Stage::Open as u8),
            refusal: Mutex::new(None),
            due: AtomicU64::new(u64::MAX),
            silence: AtomicU64::new(0),
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

    /// Ends it because its holder lost the right to it. Where that may still be said, its client is told
    /// `why` ([`InFlight::broken_off`]); otherwise it is cut: on HTTP/2 the stream, else the connection.
    ///
    /// On HTTP/2 it is always cut: pingora's stream cannot be interrupted and answered.
    pub fn lose(&self, why: Error) {
        if self.stage() == Stage::Lost {
            return;
        }
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        match self.conn.protocol() {
            Protocol::Http2 => self.cut(),
            Protocol::Http1 => {
                if self.goes_from(Stage::Open, Stage::Lost) {
                    self.expect_within(KIND_REFUSAL);
                    self.conn.interrupt();
                } else {
                    self.conn.end(End::SessionEnded);
                }
            }
        }
    }

    /// It is about to be sent to an upstream, which `may_repeat` it or not. False when it must not be any more.
    #[must_use]
    pub fn sends(&self, may_repeat: bool) -> bool {
        if !may_repeat && self.goes_from(Stage::Open, Stage::Sent) {
            return true;
        }
        !matches!(self.stage(), Stage::Late | Stage::Lost)
    }

    /// The upstream's response head is due in `limit` from now.
    pub fn expect_answer(&self, limit: Duration) {
        if !matches!(self.stage(), Stage::Late | Stage::Lost) {
            self.expect_within(limit);
        }
    }

    /// The upstream's response head is here, or is no longer waited for. False when its client is to be told
    /// something else.
    pub fn answered(&self) -> bool {
        self.due.store(u64::MAX, Ordering::Relaxed);
        self.goes_from(Stage::Open, Stage::Answered)
            || self.goes_from(Stage::Sent, Stage::Answered)
            || self.stage() == Stage::Answered
    }

    /// From now on its upstream may be silent for `limit` at most.
    pub fn expect_more(&self, limit: Duration) {
        self.silence.store(millis(limit).max(1), Ordering::Relaxed);
        self.expect_within(limit);
    }

    /// Its upstream was not silent.
    pub fn has_moved(&self) {
        let silence = self.silence.load(Ordering::Relaxed);
        if silence != 0 {
            self.due.store(uptime_ms().saturating_add(silence), Ordering::Relaxed);
        }
    }

    /// Its upstream has nothing more to say.
    pub fn is_complete(&self) {
        self.due.store(u64::MAX, Ordering::Relaxed);
    }

    /// Why it is broken off, where its client may be told: its upstream is late, or its holder lost it.
    #[must_use]
    pub fn broken_off(&self) -> Option<Error> {
        match self.stage() {
            Stage::Late => Some(Error::GatewayTimeout),
            Stage::Lost => {
                let why = self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take();
                Some(why.unwrap_or(Error::SessionNotFound("Session has been revoked")))
            }
            Stage::Open | Stage::Sent | Stage::Answered => None,
        }
    }

    /// Whether it is broken off, and its client may be told.
    #[must_use]
    pub fn is_broken_off(&self) -> bool {
        matches!(self.stage(), Stage::Late | Stage::Lost)
    }

    /// Whether what is due has not come by `now`, in milliseconds of uptime.
    #[must_use]
    pub fn is_overdue(&self, now: u64) -> bool {
        self.due.load(Ordering::Relaxed) <= now
    }

    /// Does on HTTP/1.1 what has to be done about a request whose time is up.
    pub(super) fn check_time(&self) {
        if !self.is_overdue(uptime_ms()) {
            return;
        }
        match self.stage() {
            Stage::Open | Stage::Sent => {
                // Of the two only one can still be true, and neither goes back.
                if self.goes_from(Stage::Open, Stage::Late) || self.goes_from(Stage::Sent, Stage::Late) {
                    self.conn.interrupt();
                }
            }
            // Nothing is read from an upstream whose client does not take what it said.
            Stage::Answered if self.conn.is_blocked() => self.has_moved(),
            Stage::Answered => self.conn.end(End::Deadline),
            Stage::Late => {}
            Stage::Lost => {
                self.conn.end(End::SessionEnded);
                self.cut();
            }
        }
    }

    /// Its client does not take what it is sent: on HTTP/1.1 that ends the connection.
    pub fn give_up_client(&self) {
        if self.conn.protocol() == Protocol::Http1 {
            self.conn.end(End::Deadline);
        }
    }

    /// Drops the work on it, wherever it stands.
    pub fn cut(&self) {
        self.was_cut.store(true, Ordering::SeqCst);
        self.cut.wake();
    }

    /// Whether it ends because it has to, and not because it is done.
    #[must_use]
    pub fn was_cut(&self) -> bool {
        self.was_cut.load(Ordering::Relaxed) || self.conn.ending().is_some() || self.stage() == Stage::Lost
    }

    /// Why it ends as a stream, unless its client or its upstream ends it.
    #[must_use]
    pub fn ends_as_stream(&self) -> Option<StreamEnd> {
        match &*self.refusal.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(Error::TokenExpired | Error::SessionExpired) => return Some(StreamEnd::Expired),
            Some(Error::SessionNotFound(_)) => return Some(StreamEnd::Logout),
            Some(_) => return Some(StreamEnd::Policy),
            None => {}
        }
        match self.conn.ending() {
            Some(End::SessionEnded) => Some(StreamEnd::Logout),
            Some(End::GoingAway | End::Abuse) => Some(StreamEnd::Policy),
            Some(End::Deadline) => Some(StreamEnd::Idle),
            // The sweeper cuts what was silent for too long.
            None => self.was_cut.load(Ordering::Relaxed).then_some(StreamEnd::Idle),
        }
    }

    /// Waits until it is cut.
    pub(super) async fn is_cut(&self) {
        std::future::poll_fn(|cx| {
            // Registered before it is looked: a cut in between wakes.
            self.cut.register(cx.waker());
            if self.was_cut.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn stage(&self) -> Stage {
        Stage::from_number(self.stage.load(Ordering::SeqCst))
    }

    fn goes_from(&self, from: Stage, to: Stage) -> bool {
        self.stage.compare_exchange(from as u8, to as u8, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    fn expect_within(&self, limit: Duration) {
        self.due.store(uptime_ms().saturating_add(millis(limit)), Ordering::Relaxed);
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
