//! One connection as seen from outside its task: what it is doing, since when, and whether it
//! has to end.
//!
//! The task that serves a connection may sit deep inside pingora. Whoever wants the connection
//! gone sets one flag here and wakes it; the guarded stream below pingora sees the flag at its
//! next poll and ends itself (`guarded.rs`).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;

use crate::config::settings::Listener;
use crate::gateway::addressed::Addressed;
use crate::gateway::context::RequestId;
use crate::gateway::frames::CloseCode;
use crate::gateway::inflight::InFlight;

/// Frames that ask for nothing on HTTP/2 (PING, SETTINGS, PRIORITY), at most so many...
const MAX_IDLE_FRAMES: u32 = 1000;
/// ... in so many milliseconds.
const FRAME_WINDOW: u64 = 10_000;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Accepted; nothing was received.
    Opening,
    /// A request head is arriving.
    Header,
    /// A request is being answered.
    Busy,
    /// Waiting for the next request.
    Idle,
    /// A WebSocket.
    Upgraded,
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// One request after the other.
    Http1,
    /// Many at a time.
    Http2,
}

impl Phase {
    fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Opening,
            1 => Self::Header,
            2 => Self::Busy,
            3 => Self::Idle,
            _ => Self::Upgraded,
        }
    }
}

/// Why a connection ends before its client wants it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum End {
    /// Too slow, or idle for too long.
    Deadline = 1,
    /// The session behind a request on it has ended.
    SessionEnded,
    /// The program stops.
    GoingAway,
    /// Its client asks for what it does not want, or for nothing at all.
    Abuse,
}

impl End {
    /// What a WebSocket client is told.
    #[must_use]
    pub fn close_code(self) -> CloseCode {
        match self {
            Self::Deadline | Self::Abuse => CloseCode::Policy,
            Self::SessionEnded => CloseCode::SessionEnded,
            Self::GoingAway => CloseCode::GoingAway,
        }
    }
}

/// Whose a connection is, and what it may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entrance {
    /// The other end of the socket, or who a trusted load balancer says it is.
    pub peer: SocketAddr,
    /// Where it came in.
    pub listener: Listener,
}

/// One connection. Shared by its task, the sweeper and whoever ends sessions.
#[derive(Debug)]
pub struct Conn {
    id: u64,
    entrance: Entrance,
    phase: AtomicU8,
    since: AtomicU64,
    idle_limit: AtomicU64,
    end: AtomicU8,
    ended_at: AtomicU64,
    interrupted: AtomicBool,
    blocked: AtomicBool,
    admitted: AtomicBool,
    http2: AtomicBool,
    retiring: AtomicBool,
    block_since: AtomicU64,
    refused: OnceLock<(u16, RequestId)>,
    given_up: AtomicU32,
    idle_frames: AtomicU32,
    idle_frames_since: AtomicU64,
    draining: Arc<AtomicBool>,
    reader: AtomicWaker,
    writer: AtomicWaker,
    requests: Mutex<Vec<Arc<InFlight>>>,
    addressed: Mutex<Option<Arc<Addressed>>>,
}

impl Conn {
    pub(super) fn new(id: u64, entrance: Entrance, draining: Arc<AtomicBool>) -> Self {
        Self {
            id,
            entrance,
            phase: AtomicU8::new(Phase::Opening as u8),
            since: AtomicU64::new(uptime_ms()),
            idle_limit: AtomicU64::new(u64::MAX),
            end: AtomicU8::new(0),
            ended_at: AtomicU64::new(0),
            interrupted: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            admitted: AtomicBool::new(false),
            http2: AtomicBool::new(false),
            retiring: AtomicBool::new(false),
            block_since: AtomicU64::new(u64::MAX),
            refused: OnceLock::new(),
            given_up: AtomicU32::new(0),
            idle_frames: AtomicU32::new(0),
            idle_frames_since: AtomicU64::new(0),
            draining,
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            requests: Mutex::new(Vec::new()),
            addressed: Mutex::new(None),
        }
    }

    /// Its number among all of this run.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The other end of the connection.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.entrance.peer
    }

    /// Where it came in.
    #[must_use]
    pub fn listener(&self) -> Listener {
        self.entrance.listener
    }

    /// What the connection is doing.
    #[must_use]
    pub fn phase(&self) -> Phase {
        Phase::from_number(self.phase.load(Ordering::SeqCst))
    }

    /// How long it has been doing that; for a WebSocket, how long nothing has moved.
    #[must_use]
    pub fn age(&self) -> Duration {
        Duration::from_millis(uptime_ms().saturating_sub(self.since.load(Ordering::Relaxed)))
    }

    /// Starts a phase.
    pub fn enter(&self, phase: Phase) {
        self.since.store(uptime_ms(), Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    /// The first byte of a head is here. The first head of a connection has its time from the accept.
    pub fn head_begins(&self) {
        match self.phase() {
            Phase::Opening => self.phase.store(Phase::Header as u8, Ordering::SeqCst),
            Phase::Idle => self.enter(Phase::Header),
            Phase::Header | Phase::Busy | Phase::Upgraded => {}
        }
    }

    /// The request has become a WebSocket, which ends when nothing moves for `idle_limit`.
    pub fn upgrade(&self, idle_limit: Duration) {
        self.idle_limit.store(u64::try_from(idle_limit.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.enter(Phase::Upgraded);
    }

    /// Something moved on a WebSocket.
    pub fn touch(&self) {
        self.since.store(uptime_ms(), Ordering::Relaxed);
    }

    /// How long a WebSocket may be silent.
    #[must_use]
    pub fn idle_limit(&self) -> Duration {
        Duration::from_millis(self.idle_limit.load(Ordering::Relaxed))
    }

    /// Ends the connection at the next poll of its stream. The first reason stays.
    pub fn end(&self, why: End) {
        if self.end.compare_exchange(0, why as u8, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return;
        }
        self.ended_at.store(uptime_ms(), Ordering::Relaxed);
        self.wake();
    }

    /// Why the connection has to end, once it has to.
    #[must_use]
    pub fn ending(&self) -> Option<End> {
        match self.end.load(Ordering::SeqCst) {
            0 => None,
            1 => Some(End::Deadline),
            2 => Some(End::SessionEnded),
            3 => Some(End::GoingAway),
            _ => Some(End::Abuse),
        }
    }

    /// Waits until the connection has to end. For whoever reads the socket before its guard does.
    pub async fn ends(&self) {
        std::future::poll_fn(|cx| {
            self.register_reader(cx.waker());
            if self.ending().is_some() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// How long the connection has been told to end, if it was.
    #[must_use]
    pub fn ending_for(&self) -> Option<Duration> {
        self.ending()?;
        Some(Duration::from_millis(uptime_ms().saturating_sub(self.ended_at.load(Ordering::Relaxed))))
    }

    /// What is spoken on it, as far as is known.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        if self.http2.load(Ordering::Relaxed) { Protocol::Http2 } else { Protocol::Http1 }
    }

    /// From now on it is HTTP/2.
    pub fn speaks_http2(&self) {
        self.http2.store(true, Ordering::Relaxed);
        // What is written is frames, and never an error page that would have to be replaced.
        self.admit();
    }

    /// A header block has begun on HTTP/2, or has ended.
    pub fn note_block(&self, is_open: bool) {
        let since = self.block_since.load(Ordering::Relaxed);
        match is_open {
            true if since == u64::MAX => self.block_since.store(uptime_ms(), Ordering::Relaxed),
            false if since != u64::MAX => self.block_since.store(u64::MAX, Ordering::Relaxed),
            _ => {}
        }
    }

    /// How long a header block has been on its way on HTTP/2.
    #[must_use]
    pub fn block_age(&self) -> Duration {
        Duration::from_millis(uptime_ms().saturating_sub(self.block_since.load(Ordering::Relaxed)))
    }

    /// Asks an HTTP/2 connection to take nothing more on, and to close once it has nothing to do.
    pub fn retire(&self) {
        self.retiring.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Waits until the connection is asked to take nothing more on.
    pub async fn retires(&self) {
        std::future::poll_fn(|cx| {
            self.register_reader(cx.waker());
            if self.retiring.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Counts frames that ask for nothing; true when there are too many of them.
    pub fn is_flooded(&self, frames: u32) -> bool {
        if frames == 0 {
            return false;
        }
        let now = uptime_ms();
        if now.saturating_sub(self.idle_frames_since.load(Ordering::Relaxed)) > FRAME_WINDOW {
            self.idle_frames_since.store(now, Ordering::Relaxed);
            self.idle_frames.store(0, Ordering::Relaxed);
        }
        self.idle_frames.fetch_add(frames, Ordering::Relaxed).saturating_add(frames) > MAX_IDLE_FRAMES
    }

    /// A request was refused that pingora could not parse, under this name. It is the last of its connection.
    pub fn note_refused(&self, status: u16, id: RequestId) {
        let _ = self.refused.set((status, id));
    }

    /// The request that pingora could not parse.
    #[must_use]
    pub fn refused(&self) -> Option<&(u16, RequestId)> {
        self.refused.get()
    }

    /// A client did not wait for what it asked for.
    pub fn note_given_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    /// How many requests their client did not wait for.
    #[must_use]
    pub fn given_up(&self) -> u32 {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Makes reads fail on HTTP/1.1, so that pingora gives the upstream up and lets us answer. What is
    /// answered is known to the request.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Whether reads are to fail.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    /// Lets reads succeed again.
    pub fn resume(&self) {
        self.interrupted.store(false, Ordering::SeqCst);
    }

    /// The client takes what is written, or does not.
    pub fn note_blocked(&self, is_blocked: bool) {
        if self.is_blocked() != is_blocked {
            self.blocked.store(is_blocked, Ordering::Relaxed);
        }
    }

    /// Whether something written waits for the client to take it.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// The request on the connection has reached our code, so what is written now is ours.
    pub fn admit(&self) {
        self.admitted.store(true, Ordering::Relaxed);
    }

    /// Whether the present request has reached our code.
    #[must_use]
    pub fn is_admitted(&self) -> bool {
        self.admitted.load(Ordering::Relaxed)
    }

    /// Whether the program is about to stop, so that no further request is wanted.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Registers who is to be woken when the stream has to be read.
    pub fn register_reader(&self, waker: &std::task::Waker) {
        self.reader.register(waker);
    }

    /// Registers who is to be woken when the stream has to be written.
    pub fn register_writer(&self, waker: &std::task::Waker) {
        self.writer.register(waker);
    }

    /// A request begins. It is known here until the returned guard is dropped.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> RequestGuard {
        self.resume();
        self.admitted.store(false, Ordering::Relaxed);
        self.enter(Phase::Busy);
        let request = Arc::new(InFlight::new(Arc::clone(self)));
        self.requests().push(Arc::clone(&request));
        RequestGuard(request)
    }

    /// A stream begins on HTTP/2, beside others. It is known here until the returned guard is dropped.
    #[must_use]
    pub fn join(self: &Arc<Self>) -> RequestGuard {
        let request = Arc::new(InFlight::new(Arc::clone(self)));
        let mut requests = self.requests();
        requests.push(Arc::clone(&request));
        self.enter(Phase::Busy);
        RequestGuard(request)
    }

    /// Whether anything is being answered on it.
    #[must_use]
    pub fn has_requests(&self) -> bool {
        !self.requests().is_empty()
    }

    /// Drops whatever is still being done on this connection. The way out when ending it kindly takes too long.
    pub fn cut(&self) {
        for request in self.requests().iter() {
            request.cut();
        }
    }

    /// Does on HTTP/1.1 what has to be done about requests whose time is up.
    pub fn check_times(&self) {
        self.requests().iter().for_each(|request| request.check_time());
    }

    /// Drops the requests that should have been answered `slack` ago.
    pub fn cut_overdue(&self, slack: Duration) {
        let then = uptime_ms().saturating_sub(u64::try_from(slack.as_millis()).unwrap_or(u64::MAX));
        self.requests().iter().filter(|request| request.is_overdue(then)).for_each(|request| request.cut());
    }

    pub(super) fn requests(&self) -> std::sync::MutexGuard<'_, Vec<Arc<InFlight>>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What its last request was addressed to.
    #[must_use]
    pub fn addressed(&self) -> Option<Arc<Addressed>> {
        self.addressed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps what its last request was addressed to.
    pub fn set_addressed(&self, addressed: Arc<Addressed>) {
        *self.addressed.lock().unwrap_or_else(PoisonError::into_inner) = Some(addressed);
    }

    fn wake(&self) {
        self.reader.wake();
        self.writer.wake();
    }
}

/// A request in flight; dropping it takes the request off its connection.
#[derive(Debug)]
pub struct RequestGuard(Arc<InFlight>);

impl RequestGuard {
    /// The request.
    #[must_use]
    pub fn request(&self) -> &Arc<InFlight> {
        &self.0
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let conn = self.0.conn();
        let mut requests = conn.requests();
        requests.retain(|request| !Arc::ptr_eq(request, &self.0));
        if requests.is_empty() && conn.protocol() == Protocol::Http2 {
            conn.enter(Phase::Idle);
        }
    }
}

/// Milliseconds since the program started. Deadlines run on the machine's monotonic clock: they
/// bound sockets, and no change of the wall clock may cut those.
#[must_use]
pub fn uptime_ms() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}
