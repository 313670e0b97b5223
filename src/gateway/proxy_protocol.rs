//! The PROXY header: a load balancer's word about whose connection it passes on.
//!
//! It comes before anything else, TLS included, so nothing beyond its end may be taken off the
//! socket: the bytes are looked at first and read once it is known that they belong to it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use ppp::{HeaderResult, PartialResult, v1, v2};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Longest header. Version 2 allows 64 KiB of extensions; nobody is known to send more than some hundred bytes.
const MAX_HEADER: usize = 4096;
/// Longest header of version 1, its line end included.
const MAX_LINE: usize = 107;
/// How much is looked at at once.
const LOOK: usize = 512;

/// Reads the header of a connection, and nothing after it. `None` when it names nobody: the load
/// balancer speaks for itself, as for a health check.
///
/// # Errors
/// When the header is malformed, longer than 4 KiB, or does not come to its end.
pub async fn read(socket: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut header = Vec::new();
    loop {
        let mut space = [0; LOOK];
        let seen = socket.peek(&mut space).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let known = header.len();
        header.extend_from_slice(&space[..seen]);
        let parsed = parse(&header);
        let own = match parsed {
            Parsed::Complete { length, .. } => length - known,
            Parsed::Partial if header.len() < MAX_HEADER => seen,
            Parsed::Partial | Parsed::Malformed => return Err(io::ErrorKind::InvalidData.into()),
        };
        socket.read_exact(&mut space[..own]).await?;
        if let Parsed::Complete { client, .. } = parsed {
            return Ok(client);
        }
    }
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parsed {
    /// The beginning of a header.
    Partial,
    /// A header of this length.
    Complete { length: usize, client: Option<SocketAddr> },
    /// No header.
    Malformed,
}

fn parse(bytes: &[u8]) -> Parsed {
    // Half a line of version 1 may look malformed to the parser, when it ends between two of its words.
    let is_text = bytes.iter().zip(b"PROXY ").all(|(byte, expected)| byte == expected);
    if is_text && !bytes.contains(&b'\n') {
        return if bytes.len() < MAX_LINE { Parsed::Partial } else { Parsed::Malformed };
    }
    let result = HeaderResult::parse(bytes);
    if result.is_incomplete() {
        return Parsed::Partial;
    }
    match result {
        HeaderResult::V1(Ok(header)) => {
            let client = match header.addresses {
                v1::Addresses::Tcp4(named) => Some(address(named.source_address, named.source_port)),
                v1::Addresses::Tcp6(named) => Some(address(named.source_address, named.source_port)),
                v1::Addresses::Unknown => None,
            };
            Parsed::Complete { length: header.header.len(), client }
        }
        HeaderResult::V2(Ok(header)) => {
            let client = match header.addresses {
                _ if header.command == v2::Command::Local => None,
                v2::Addresses::IPv4(named) => Some(address(named.source_address, named.source_port)),
                v2::Addresses::IPv6(named) => Some(address(named.source_address, named.source_port)),
                v2::Addresses::Unix(_) | v2::Addresses::Unspecified => None,
            };
            Parsed::Complete { length: header.len(), client }
        }
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Parsed::Malformed,
    }
}

fn address(ip: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(ip.into(), port)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [V2, &[0x20 | command, family], &length, payload].concat()
    }

    fn ipv4_payload() -> Vec<u8> {
        [&[203, 0, 113, 9, 10, 0, 0, 1][..], &4711_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat()
    }

    async fn read_of(bytes: &[u8]) -> (io::Result<Option<SocketAddr>>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let (mut socket, _) = listener.accept().await.unwrap();
        let found = read(&mut socket).await;
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        (found, rest)
    }

    #[tokio::test]
    async fn both_versions_name_the_client_and_leave_what_follows() {
        let ipv6 = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 16], &[0x12, 0x67, 0, 80]];
        let with_extension = [ipv4_payload(), vec![4, 0, 3, b'a', b'b', b'c']].concat();
        let cases: [(Vec<u8>, Option<&str>); 9] = [
            (b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\r\n".to_vec(), Some("203.0.113.9:4711")),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n".to_vec(), Some("[2001:db8::1]:4711")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (v2(1, 0x11, &ipv4_payload()), Some("203.0.113.9:4711")),
            (v2(1, 0x11, &with_extension), Some("203.0.113.9:4711")),
            (v2(1, 0x21, &ipv6.concat()), Some("[2001:db8::1]:4711")),
            (v2(0, 0x11, &ipv4_payload()), None),
            (v2(1, 0x00, &[]), None),
        ];
        for (header, client) in cases {
            let (found, rest) = read_of(&[&header[..], b"GET / HTTP/1.1\r\n"].concat()).await;

            assert_eq!(found.unwrap(), client.map(|client| client.parse().unwrap()), "{}", header.escape_ascii());
            assert_eq!(rest, b"GET / HTTP/1.1\r\n");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_an_error() {
        let cases: [Vec<u8>; 8] = [
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\n".to_vec(),
            b"PROXY TCP4 203.0.113.999 10.0.0.1 4711 443\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9".to_vec(),
            [b"PROXY UNKNOWN ", &[b'x'; 200][..], b"\r\n"].concat(),
            v2(1, 0x11, &[1, 2, 3]),
            v2(2, 0x11, &ipv4_payload()),
            v2(1, 0x00, &vec![0; MAX_HEADER]),
        ];
        for header in cases {
            assert!(read_of(&header).await.0.is_err(), "{}", header.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_it_and_an_end_stays_where_it_is(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            is_v2 in any::<bool>(),
            more in any::<u8>(),
        ) {
            let start = if is_v2 { V2 } else { b"PROXY TCP4 " };
            let bytes = [start, &bytes].concat();
            let whole = parse(&bytes);
            if let Parsed::Complete { length, .. } = whole {
                prop_assert!(length <= bytes.len());
                prop_assert_eq!(parse(&bytes[..length]), whole);
                prop_assert_eq!(parse(&[&bytes[..], &[more]].concat()), whole);
            }
        }

        #[test]
        fn a_header_is_the_same_in_any_pieces(
            ip in any::<[u8; 4]>(), port in any::<u16>(), cut in 1_usize..20,
        ) {
            let [a, b, c, d] = ip;
            let text = format!("PROXY TCP4 {a}.{b}.{c}.{d} 10.0.0.1 {port} 443\r\n").into_bytes();
            let binary = v2(1, 0x11, &[&ip[..], &[10, 0, 0, 1], &port.to_be_bytes(), &[1, 187]].concat());
            for header in [text, binary] {
                prop_assert_eq!(parse(&header[..header.len() - cut]), Parsed::Partial);
                let client = Some(address(ip, port));
                prop_assert_eq!(parse(&header), Parsed::Complete { length: header.len(), client });
            }
        }
    }
}
