//! The stream pingora gets instead of the socket.
//!
//! It stands where TLS would hand out plain bytes and gives the layers above it what pingora
//! lacks: a request head that is complete before anybody parses it, an end that can be ordered
//! from outside, and answers of our own where pingora would write its own error pages.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::domain::clock::Clock;
use crate::gateway::conn::{Conn, End, Phase};
use crate::gateway::context::RequestId;
use crate::gateway::frames::Frames;
use crate::gateway::head::{HeadScanner, Scan, leading_empty_lines};
use crate::gateway::received_frames::{PREFACE, ReceivedFrames};
use crate::gateway::respond;
use crate::gateway::socket::Socket;

/// How much is collected before it is written: a head and the first piece of a body leave together.
const WRITE_BUFFER: usize = 4096;
/// How much is read at once of a head.
const READ_CHUNK: usize = 4096;
/// How much of what a refused client still sends is read and dropped, so that it can read the refusal.
const LINGER: usize = 1 << 20;

/// A socket under guard.
pub struct Guarded {
    io: Socket,
    conn: Arc<Conn>,
    clock: Clock,
    /// Received, not yet read by pingora.
    received: BytesMut,
    /// Accepted from pingora, not yet sent.
    pending: BytesMut,
    /// The frames written on a WebSocket.
    frames: Option<Frames>,
    /// The frames received on HTTP/2.
    received_frames: Option<ReceivedFrames>,
    farewell: Farewell,
    /// pingora wrote an error page of its own, which was replaced by ours.
    replaced: bool,
}

/// How far the ordered end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Farewell {
    NotSaid,
    /// The close frame is among the pending bytes.
    Said,
    /// The stream was ended in a way its client understands.
    Done,
}

/// What came of waiting for a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// A whole head is there.
    Complete,
    /// The client begins with HTTP/2.
    Http2,
    /// The client left, or the connection was told to end.
    Closed,
    /// The head was refused with this status.
    Refused(u16),
}

impl Guarded {
    /// Puts `io` under guard.
    #[must_use]
    pub fn new(io: Socket, conn: Arc<Conn>, clock: Clock) -> Self {
        Self {
            io,
            conn,
            clock,
            received: BytesMut::new(),
            pending: BytesMut::new(),
            frames: None,
            received_frames: None,
            farewell: Farewell::NotSaid,
            replaced: false,
        }
    }

    /// From now on it is HTTP/2, from its preface on.
    pub fn speak_http2(&mut self) {
        self.conn.speaks_http2();
        self.received_frames = Some(ReceivedFrames::new());
    }

    /// Looks at what HTTP/2 has received.
    fn follow_frames(&mut self, received: &[u8]) {
        let Some(frames) = &mut self.received_frames else { return };
        frames.received(received);
        self.conn.note_block(frames.in_block());
        if self.conn.is_flooded(frames.take_idle_frames()) {
            self.conn.end(End::Abuse);
        }
    }

    /// The connection's state.
    #[must_use]
    pub fn conn(&self) -> &Arc<Conn> {
        &self.conn
    }

    /// Waits for a whole request head of at most `limit` bytes. While nothing has come, no memory is held.
    pub async fn read_head(&mut self, limit: usize) -> Head {
        self.pending = BytesMut::new();
        if self.received.is_empty() {
            self.received = BytesMut::new();
        }
        let mut scanner = HeadScanner::default();
        loop {
            if !self.received.is_empty() {
                self.conn.head_begins();
            }
            match scanner.scan(&self.received) {
                Scan::Complete(length) if length > limit => return Head::Refused(431),
                // A tunnel to anywhere is not what this is for, whatever else is wrong with the request.
                Scan::Complete(_) if self.received.starts_with(b"CONNECT ") => return Head::Refused(405),
                Scan::Complete(length) if self.received[..length] == PREFACE[..PREFACE.len() - 6] => {
                    return Head::Http2;
                }
                Scan::Complete(_) => return Head::Complete,
                Scan::BareLineFeed => return Head::Refused(400),
                Scan::Partial if self.received.len() > limit => return Head::Refused(431),
                Scan::Partial => {}
            }
            match std::future::poll_fn(|cx| self.poll_receive(cx)).await {
                Ok(0) | Err(_) if self.conn.ending().is_some() && !self.received.is_empty() => {
                    return Head::Refused(408);
                }
                Ok(0) | Err(_) => return Head::Closed,
                Ok(_) => self.drop_leading_empty_lines(),
            }
        }
    }

    /// Answers `status` without pingora, and waits until the client can have read it.
    pub async fn refuse(&mut self, status: u16, id: &RequestId) {
        let answer = respond::raw(status, id.as_str(), self.clock.now());
        if self.conn.ending().is_some() {
            // Out of time already: what the socket takes at once is all this client gets.
            self.io.write_at_once(&answer);
            return;
        }
        if self.io.write_all(&answer).await.is_err() || AsyncWriteExt::shutdown(&mut self.io).await.is_err() {
            return;
        }
        self.linger().await;
    }

    /// Reads and drops. A socket closed with unread bytes is reset, and the reset overtakes the answer.
    async fn linger(&mut self) {
        let mut dropped = 0;
        while dropped < LINGER {
            self.received.clear();
            match std::future::poll_fn(|cx| self.poll_receive(cx)).await {
                Ok(0) | Err(_) => return,
                Ok(length) => dropped += length,
            }
        }
    }

    /// Receives more of a head. `Ok(0)` when there is no more, or none is wanted.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.conn.register_reader(cx.waker());
        if self.conn.ending().is_some() {
            return Poll::Ready(Ok(0));
        }
        let mut space = [MaybeUninit::uninit(); READ_CHUNK];
        let mut chunk = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut chunk))?;
        self.received.extend_from_slice(chunk.filled());
        Poll::Ready(Ok(chunk.filled().len()))
    }

    fn drop_leading_empty_lines(&mut self) {
        let empty = leading_empty_lines(&self.received);
        self.received.advance(empty);
    }

    /// Ends the stream as ordered: a WebSocket by a close frame where one may stand, anything else
    /// in a way that cannot be taken for a complete answer.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let gone = || io::Error::from(io::ErrorKind::ConnectionAborted);
        let (Some(end), true) = (self.conn.ending(), self.frames.is_some()) else {
            return Poll::Ready(gone());
        };
        if self.farewell == Farewell::NotSaid && self.frames.as_ref().is_some_and(Frames::at_boundary) {
            self.pending.extend_from_slice(&end.close_code().frame());
        }
        if self.farewell != Farewell::Done {
            self.farewell = Farewell::Said;
            let sent = ready!(self.poll_send_pending(cx)).is_ok();
            if sent {
                let _ = ready!(Pin::new(&mut self.io).poll_shutdown(cx));
            }
            self.farewell = Farewell::Done;
        }
        Poll::Ready(gone())
    }

    fn poll_send_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let sent = ready!(Pin::new(&mut self.io).poll_write(cx, &self.pending))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.advance(sent);
        }
        // TLS keeps what the socket did not take.
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Takes bytes for sending: small ones wait for the next flush, large ones leave with what waits.
    fn poll_accept(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.pending.len() + bytes.len() <= WRITE_BUFFER {
            self.pending.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        while !self.pending.is_empty() {
            let both = [io::IoSlice::new(&self.pending), io::IoSlice::new(bytes)];
            let sent = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &both))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_pending = sent.min(self.pending.len());
            self.pending.advance(of_pending);
            if sent > of_pending {
                return Poll::Ready(Ok(sent - of_pending));
            }
        }
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    /// pingora answers by itself what it cannot parse. The client gets the same status in our words.
    fn replace_error_page(&mut self, page: &[u8]) {
        if self.replaced {
            return;
        }
        self.replaced = true;
        let status = page.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let (status, id) = (status.unwrap_or(400), RequestId::fresh());
        self.pending.extend_from_slice(&respond::raw(status, id.as_str(), self.clock.now()));
        self.conn.note_refused(status, id);
    }
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.conn.register_reader(cx.waker());
        if this.conn.ending().is_some() {
            return this.poll_farewell(cx).map(Err);
        }
        if this.conn.is_interrupted() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if !this.received.is_empty() {
            let length = buf.remaining().min(this.received.len());
            buf.put_slice(&this.received[..length]);
            let taken = this.received.split_to(length);
            this.follow_frames(&taken);
            return Poll::Ready(Ok(()));
        }
        // pingora flushes a body of known length once, at its end; its pieces must not wait for that.
        if let Poll::Ready(Err(error)) = this.poll_send_pending(cx) {
            return Poll::Ready(Err(error));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        this.follow_frames(&buf.filled()[before..]);
        if this.frames.is_some() {
            this.conn.touch();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.conn.register_writer(cx.waker());
        if this.conn.ending().is_some() {
            return this.poll_farewell(cx).map(Err);
        }
        if !this.conn.is_admitted() {
            this.replace_error_page(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        let accepted = this.poll_accept(cx, bytes);
        this.conn.note_blocked(accepted.is_pending());
        let accepted = ready!(accepted)?;
        if this.frames.is_none() && this.conn.phase() == Phase::Upgraded {
            this.frames = Some(Frames::default());
        }
        if let Some(frames) = &mut this.frames {
            frames.wrote(&bytes[..accepted]);
            this.conn.touch();
        }
        Poll::Ready(Ok(accepted))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.conn.register_writer(cx.waker());
        if this.conn.ending().is_some() {
            return this.poll_farewell(cx).map(Err);
        }
        let sent = this.poll_send_pending(cx);
        this.conn.note_blocked(sent.is_pending());
        sent
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.conn.ending().is_some() {
            return this.poll_farewell(cx).map(Err);
        }
        ready!(this.poll_send_pending(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // A cut answer must not look complete: a reset, where a plain close would be an end of body.
        let cut = self.conn.ending().is_some() && self.frames.is_none() && self.conn.phase() == Phase::Busy;
        if cut {
            self.io.reset_on_drop();
        }
    }
}

#[async_trait]
impl Shutdown for Guarded {
    async fn shutdown(&mut self) {
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Guarded {
    fn id(&self) -> i32 {
        use std::os::fd::AsRawFd;
        self.io.tcp().as_raw_fd()
    }
}

impl Ssl for Guarded {}

impl Peek for Guarded {}

impl GetTimingDigest for Guarded {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Guarded {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Guarded {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl std::fmt::Debug for Guarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let peer: SocketAddr = self.conn.peer();
        f.debug_struct("Guarded").field("peer", &peer).finish_non_exhaustive()
    }
}
