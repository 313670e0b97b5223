//! The one form of a request target that is both matched and forwarded.
//!
//! Every bypass by path begins with a proxy and a backend that read the same bytes differently. So
//! what has two readings (dot segments, encoded separators, broken escapes) is refused, and what has
//! one is written in one way only (RFC 3986, section 6.2.2). The query decides nothing and is left alone.

use std::net::Ipv6Addr;

/// Why a target or a Host is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

impl From<Malformed> for crate::domain::error::Error {
    fn from(malformed: Malformed) -> Self {
        Self::BadRequest(malformed.0)
    }
}

/// A request target in canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical {
    target: String,
    path_len: usize,
    encoded_slash: bool,
}

impl Canonical {
    /// Reads a raw request target. An absolute-form target is taken only when its authority is `host`.
    pub fn parse(raw: &[u8], host: &Host) -> Result<Self, Malformed> {
        let origin_form = to_origin_form(raw, host)?;
        let (path, query) = match origin_form.iter().position(|&byte| byte == b'?') {
            Some(at) => (&origin_form[..at], Some(&origin_form[at + 1..])),
            None => (origin_form, None),
        };
        if origin_form.contains(&b'#') {
            return Err(Malformed("a request target has no fragment"));
        }

        let mut target = String::with_capacity(origin_form.len());
        if !push_plain(&mut target, path) {
            push_canonical(&mut target, path)?;
        }
        let path_len = target.len();
        let encoded_slash = target.contains("%2F");
        if let Some(query) = query {
            target.push('?');
            target.push_str(checked_query(query)?);
        }
        Ok(Self { target, path_len, encoded_slash })
    }

    /// The path; begins with `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.target[..self.path_len]
    }

    /// The query as the client sent it, without `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.target[self.path_len..].strip_prefix('?')
    }

    /// Path and query, as they go upstream.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Whether the path holds a `%2F`; whether that passes is the route's word.
    #[must_use]
    pub fn has_encoded_slash(&self) -> bool {
        self.encoded_slash
    }
}

fn to_origin_form<'a>(raw: &'a [u8], host: &Host) -> Result<&'a [u8], Malformed> {
    if raw.first() == Some(&b'/') {
        return Ok(raw);
    }
    let after_scheme = strip_prefix_ignoring_case(raw, b"http://")
        .or_else(|| strip_prefix_ignoring_case(raw, b"https://"))
        .ok_or(Malformed("the request target must begin with `/`"))?;
    let end = after_scheme.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(after_scheme.len());
    if Host::parse(&after_scheme[..end])? != *host {
        return Err(Malformed("the request target names another host"));
    }
    match after_scheme[end..].first() {
        Some(b'/') => Ok(&after_scheme[end..]),
        Some(_) => Err(Malformed("the request target has no path")),
        None => Ok(b"/"),
    }
}

fn strip_prefix_ignoring_case<'a>(bytes: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Nearly every path: nothing in it has a second reading, or another way to be written. Answers whether it is one.
fn push_plain(target: &mut String, path: &[u8]) -> bool {
    let mut before = 0;
    let is_plain = path.iter().all(|&byte| {
        // A segment that is empty, or begins with a dot, is for whoever looks closer.
        let is_plain = match byte {
            b'/' | b'.' => before != b'/',
            _ => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~'),
        };
        before = byte;
        is_plain
    });
    let text = std::str::from_utf8(path).ok().filter(|_| is_plain);
    text.inspect(|text| target.push_str(text)).is_some()
}

fn push_canonical(canonical: &mut String, path: &[u8]) -> Result<(), Malformed> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, after)) = rest.split_first() {
        let (byte, escaped) = if first == b'%' { (escaped_byte(after)?, true) } else { (first, false) };
        rest = if escaped { &after[2..] } else { after };

        if byte.is_ascii_control() || byte == b'\\' {
            return Err(Malformed("the path holds a control character or a backslash"));
        }
        decoded.push(byte);
        if byte == b'/' && !escaped {
            if !canonical.ends_with('/') {
                canonical.push('/');
            }
        } else if is_unreserved(byte) || (!escaped && byte.is_ascii() && byte != b' ') {
            canonical.push(char::from(byte));
        } else {
            push_escape(canonical, byte);
        }
    }
    if std::str::from_utf8(&decoded).is_err() {
        return Err(Malformed("the path is not UTF-8"));
    }
    // An upstream may decode `%2F` before it resolves dots, so it also ends a segment here.
    if canonical.split('/').flat_map(|segment| segment.split("%2F")).any(is_dot_segment) {
        return Err(Malformed("the path holds a dot segment"));
    }
    Ok(())
}

fn escaped_byte(after_percent: &[u8]) -> Result<u8, Malformed> {
    let digit = |at: usize| after_percent.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    let (Some(high), Some(low)) = (digit(0), digit(1)) else {
        return Err(Malformed("the path holds a broken escape"));
    };
    u8::try_from(high * 16 + low).map_err(|_| Malformed("the path holds a broken escape"))
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn push_escape(to: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    to.push('%');
    to.push(char::from(DIGITS[usize::from(byte >> 4)]));
    to.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// `.` and `..`, also with path parameters (`..;x`), which some servers cut off before they resolve dots.
fn is_dot_segment(segment: &str) -> bool {
    let name = segment.split(';').next().unwrap_or(segment);
    let name = name.split("%3B").next().unwrap_or(name);
    name == "." || name == ".."
}

fn checked_query(query: &[u8]) -> Result<&str, Malformed> {
    let query = std::str::from_utf8(query).map_err(|_| Malformed("the query is not UTF-8"))?;
    if query.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
        return Err(Malformed("the query holds a control character"));
    }
    Ok(query)
}

/// A Host in the form it is compared in: lower case, without the root's trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    authority: String,
    name_len: usize,
}

impl Host {
    /// Exactly one Host header must be there, and well formed.
    pub fn from_values<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, Malformed> {
        let mut values = values.into_iter();
        let host = values.next().ok_or(Malformed("the Host header is missing"))?;
        if values.next().is_some() {
            return Err(Malformed("there is more than one Host header"));
        }
        Self::parse(host)
    }

    /// Reads `name`, `name:port`, `[IPv6]` or `[IPv6]:port`.
    pub fn parse(raw: &[u8]) -> Result<Self, Malformed> {
        const MALFORMED: Malformed = Malformed("the Host is malformed");
        let raw = std::str::from_utf8(raw).map_err(|_| MALFORMED)?;
        let (name, port) = match raw.rfind(':') {
            Some(at) if !raw.ends_with(']') => (&raw[..at], Some(&raw[at + 1..])),
            _ => (raw, None),
        };
        let mut authority = canonical_name(name).ok_or(MALFORMED)?;
        let name_len = authority.len();
        if let Some(port) = port {
            let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            let number: u16 = port.parse().ok().filter(|_| digits).ok_or(MALFORMED)?;
            authority =
                if port.starts_with('0') { format!("{authority}:{number}") } else { [&authority, ":", port].concat() };
        }
        Ok(Self { authority, name_len })
    }

    /// The name or address without a port, IPv6 in brackets.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.authority[..self.name_len]
    }

    /// Name and port, as they stand in an origin.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

fn canonical_name(name: &str) -> Option<String> {
    if let Some(address) = name.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    (name.len() <= 253 && name.split('.').all(is_label)).then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host() -> Host {
        Host::parse(b"example.com").unwrap()
    }

    fn parse(raw: &str) -> Result<Canonical, Malformed> {
        Canonical::parse(raw.as_bytes(), &host())
    }

    #[test]
    fn what_has_one_reading_is_written_in_one_way() {
        let cases = [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("//evil.example/x", "/evil.example/x"),
            ("/a///b//", "/a/b/"),
            ("/%61%2D%7e", "/a-~"),
            ("/%c3%a9", "/%C3%A9"),
            ("/é", "/%C3%A9"),
            ("/a%2fb", "/a%2Fb"),
            ("/%252e%252e/", "/%252e%252e/"),
            ("/...", "/..."),
            ("/a;b=..", "/a;b=.."),
            ("/a?x=%2e%2e/../%zz//", "/a?x=%2e%2e/../%zz//"),
            ("/a?", "/a?"),
            ("http://example.com", "/"),
            ("HTTPS://EXAMPLE.com/x?y", "/x?y"),
        ];
        for (raw, canonical) in cases {
            assert_eq!(parse(raw).unwrap().target(), canonical, "{raw}");
        }
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        let cases = [
            "",
            "*",
            "a",
            "/.",
            "/..",
            "/a/../b",
            "/a/./b",
            "/%2e%2e/b",
            "/.%2E",
            "/..;/admin",
            "/..%3b/admin",
            "/.;x",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%0d%0a",
            "/a\u{7f}",
            "/a#b",
            "/a?b#c",
            "/%",
            "/%2",
            "/%zz",
            "/%+1",
            "/%ff",
            "/%c3",
            "/..%2fadmin",
            "/a%2F..%2Fb",
            "http://other.example/",
            "http://example.com:81/",
            "http://a@example.com/",
            "http://example.com?x",
            "ftp://example.com/",
            "/a?b c",
        ];
        for raw in cases {
            assert!(parse(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn an_encoded_slash_is_seen() {
        assert!(parse("/a%2fb").unwrap().has_encoded_slash());
        assert!(!parse("/a/b?c=%2F").unwrap().has_encoded_slash());
    }

    #[test]
    fn hosts_are_compared_in_one_form() {
        let cases: [(&str, Option<(&str, &str)>); 14] = [
            ("Example.COM", Some(("example.com", "example.com"))),
            ("example.com.:8080", Some(("example.com", "example.com:8080"))),
            ("127.0.0.1:80", Some(("127.0.0.1", "127.0.0.1:80"))),
            ("[::1]:80", Some(("[::1]", "[::1]:80"))),
            ("[0:0::1]", Some(("[::1]", "[::1]"))),
            ("", None),
            (".", None),
            ("a..b", None),
            ("a b", None),
            ("a@b", None),
            ("a:", None),
            ("a:+1", None),
            ("a:65536", None),
            ("::1", None),
        ];
        for (raw, expected) in cases {
            let host = Host::parse(raw.as_bytes()).ok();
            assert_eq!(host.as_ref().map(|host| (host.name(), host.authority())), expected, "{raw}");
        }
        assert!(Host::from_values([]).is_err());
        assert!(Host::from_values([&b"a"[..], b"a"]).is_err());
    }

    proptest! {
        #[test]
        fn canonical_is_idempotent_and_free_of_dots(raw in "/([a-zA-Z/.;?&=é ]|%[0-9a-fA-F]{2}){0,40}") {
            if let Ok(once) = parse(&raw) {
                let twice = parse(once.target()).unwrap();
                prop_assert_eq!(&once, &twice);
                prop_assert!(once.path().split('/').all(|segment| segment != "." && segment != ".."));
                prop_assert!(!once.path().contains("//"));
            }
        }

        #[test]
        fn no_input_panics(raw in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Canonical::parse(&raw, &host());
            let _ = Host::parse(&raw);
        }
    }
}
