//! Connections to upstreams for `WebSockets`.
//!
//! pingora 0.9 ends a WebSocket the moment it is made when it reads the upstream's 101 before it has
//! taken note that the request has no body (<https://github.com/cloudflare/pingora/issues/946>); on
//! a busy machine that happens to one in some hundred. It waits for both at once, so here the first
//! read after a write lets the other one go first.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::ext::set_tcp_keepalive;
use pingora::protocols::l4::socket::SocketAddr as PeerAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::{Error, ErrorType, OkOrErr, OrErr};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Connects to upstreams for requests that want to become `WebSockets`.
#[derive(Debug)]
pub(super) struct Connector {
    /// Longest wait for a connection.
    pub(super) timeout: Duration,
}

#[async_trait]
impl L4Connect for Connector {
    async fn connect(&self, address: &PeerAddr) -> pingora::Result<Stream> {
        let address: SocketAddr =
            *address.as_inet().or_err(ErrorType::InternalError, "only network addresses are connected to")?;
        let connected = tokio::time::timeout(self.timeout, TcpStream::connect(address)).await;
        let io = match connected.or_err(ErrorType::ConnectTimedout, "timeout")? {
            Ok(io) => io,
            Err(error) => return Error::e_because(kind(&error), "connecting to an upstream", error),
        };
        Ok(VirtualSocketStream::new(Box::new(Socket { io, wrote: false })).into())
    }
}

fn kind(error: &io::Error) -> ErrorType {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
        io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => ErrorType::ConnectNoRoute,
        _ => ErrorType::ConnectError,
    }
}

#[derive(Debug)]
struct Socket {
    io: TcpStream,
    /// Something was written, and nothing was read after it.
    wrote: bool,
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if std::mem::take(&mut this.wrote) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut this.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write(cx, bytes))?;
        this.wrote = true;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

impl VirtualSocket for Socket {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.io.set_nodelay(true),
            VirtualSockOpt::KeepAlive(keep_alive) => set_tcp_keepalive(&self.io, &keep_alive).map_err(io::Error::other),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn an_answer_that_is_there_already_is_read_a_turn_later() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let io = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut upstream, _) = listener.accept().await.unwrap();
        let mut socket = Socket { io, wrote: false };
        upstream.write_all(b"101").await.unwrap();
        socket.io.readable().await.unwrap();

        socket.write_all(b"GET").await.unwrap();
        let mut answer = [0; 3];
        let other = tokio::select! {
            _ = socket.read_exact(&mut answer) => false,
            () = std::future::ready(()) => true,
        };

        assert!(other, "what else is ready goes first, whichever is looked at first");
        assert_eq!(socket.read_exact(&mut answer).await.unwrap(), 3);
    }
}
