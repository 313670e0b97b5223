//! The trace a request belongs to: W3C Trace Context, level 1.
//!
//! A trusted proxy's trace is continued; of anybody else's nothing is taken over, and a trace begins
//! here. Only who records a span of its own may put itself between the caller and the upstream. So
//! what is continued and not recorded is passed on as it came, and no link of the trace is missing.
//! Spans are recorded where they are sent to a collector (`spans.rs`).

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Which trace, and which span of it asks.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What the tracing systems on the way have to tell each other.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Longest `tracestate` that is passed on, in bytes; the least that must be.
const MAX_STATE: usize = 512;
/// Most members of a `tracestate`.
const MAX_MEMBERS: usize = 32;
/// `00-<trace>-<span>-<flags>`
const PARENT_LENGTH: usize = 55;
/// The one flag of version 00: the caller may have recorded its span.
const SAMPLED: u8 = 1;

/// The name of a trace: 32 hexadecimal digits, never all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(u128);

#[cfg(feature = "otel")]
impl TraceId {
    /// As OTLP writes it.
    #[must_use]
    pub fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Which traces that begin here are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// Of 2^63.
    below: u64,
}

impl Sampling {
    /// This share of the traces, from 0 to 1.
    #[must_use]
    pub fn of(share: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share is from 0 to 1")]
        let below = (share * 2_f64.powi(63)) as u64;
        Self { below }
    }

    /// As OpenTelemetry's `TraceIdRatioBased` does it, so that whoever has the same ratio takes the same traces.
    fn takes(self, id: TraceId) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "the right half of the id")]
        let right = id.0 as u64;
        (right >> 1) < self.below
    }
}

/// A request's place in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The trace.
    pub id: TraceId,
    /// Whether it is recorded.
    pub is_sampled: bool,
    /// The span that the upstream's are part of; never 0.
    pub span: u64,
    /// Whose that is.
    pub origin: Origin,
}

/// Where a request's place in its trace comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The trace begins with the request.
    Begun,
    /// All of it was brought along.
    PassedOn,
    /// The trace was brought along, and the span is ours, within the caller's.
    #[cfg(feature = "otel")]
    Within(u64),
}

impl Trace {
    /// A trace that begins with this request.
    #[must_use]
    pub fn begin(sampling: Sampling) -> Self {
        // From a generator of this thread: no system call, no lock.
        let id = TraceId(rand::random::<u128>().max(1));
        Self { id, is_sampled: sampling.takes(id), span: fresh_span(), origin: Origin::Begun }
    }

    /// The trace a request brings along. What is malformed, or there twice, is none.
    #[must_use]
    pub fn brought(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(&TRACEPARENT).iter();
        let (line, None) = (lines.next()?, lines.next()) else { return None };
        parse(line.as_bytes())
    }

    /// The same with a span of our own within the caller's.
    #[cfg(feature = "otel")]
    #[must_use]
    pub fn recorded(self) -> Self {
        Self { span: fresh_span(), origin: Origin::Within(self.span), ..self }
    }

    /// Tells the upstream.
    pub fn tell(&self, headers: &mut HeaderMap) {
        if self.origin == Origin::Begun || !is_state(headers) {
            headers.remove(&TRACESTATE);
        }
        if self.origin != Origin::PassedOn {
            headers.insert(TRACEPARENT, self.header());
        }
    }

    fn header(&self) -> HeaderValue {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        put_hex(&mut text[3..35], self.id.0);
        put_hex(&mut text[36..52], self.span.into());
        put_hex(&mut text[53..], u8::from(self.is_sampled).into());
        HeaderValue::from_bytes(&text).expect("hexadecimal digits and dashes are printable")
    }
}

fn fresh_span() -> u64 {
    rand::random::<u64>().max(1)
}

/// A later version may say more, behind another dash; what stands before reads the same.
fn parse(line: &[u8]) -> Option<Trace> {
    let (head, rest) = line.split_at_checked(PARENT_LENGTH)?;
    let has_form = [2, 35, 52].iter().all(|at| head[*at] == b'-');
    let version = hex(&head[..2])?;
    let fits = match version {
        0 => rest.is_empty(),
        0xff => false,
        _ => rest.first().is_none_or(|first| *first == b'-'),
    };
    if !has_form || !fits {
        return None;
    }
    let (id, span, flags) = (hex(&head[3..35])?, hex(&head[36..52])?, hex(&head[53..])?);
    let span = u64::try_from(span).ok()?;
    let is_named = id != 0 && span != 0;
    let is_sampled = flags & u128::from(SAMPLED) != 0;
    is_named.then_some(Trace { id: TraceId(id), is_sampled, span, origin: Origin::PassedOn })
}

/// Whether every `tracestate` that came reads as one, and all of them are short enough.
fn is_state(headers: &HeaderMap) -> bool {
    let (mut bytes, mut members) = (0, 0);
    for line in headers.get_all(&TRACESTATE) {
        let Ok(text) = line.to_str() else { return false };
        bytes += text.len();
        for member in text.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty())
        {
            members += 1;
            if !is_member(member) {
                return false;
            }
        }
    }
    bytes <= MAX_STATE && members <= MAX_MEMBERS
}

/// `key=value` or `tenant@system=value`
fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else { return false };
    let in_key = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"_-*/@".contains(&c);
    let has_key = key.as_bytes().first().is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        && key.bytes().all(in_key)
        && key.bytes().filter(|c| *c == b'@').count() <= 1;
    // `=` divides, and what is not printable has been refused before.
    has_key && !value.is_empty() && !value.contains('=')
}

/// Lower-case digits only.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

fn put_hex(digits: &mut [u8], mut number: u128) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn told(trace: &Trace, mut headers: HeaderMap) -> (Vec<HeaderValue>, Vec<HeaderValue>) {
        trace.tell(&mut headers);
        let all = |name| headers.get_all(name).iter().cloned().collect();
        (all(TRACEPARENT), all(TRACESTATE))
    }

    #[test]
    fn a_well_formed_parent_is_read() {
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03-what-the-future-will-be-like";
        let unsampled = GIVEN.replace("-01", "-02");
        for (line, is_sampled) in [(GIVEN, true), (later, true), (unsampled.as_str(), false)] {
            let trace = Trace::brought(&headers(&[("traceparent", line)])).unwrap();
            assert_eq!(trace.id.to_string(), "0af7651916cd43dd8448eb211c80319c");
            assert_eq!((trace.span, trace.is_sampled), (0xb7ad_6b71_6920_3331, is_sampled), "{line}");
        }
    }

    #[test]
    fn what_is_malformed_is_no_parent() {
        let bad = [
            String::new(),
            "00".to_owned(),
            GIVEN[..54].to_owned(),
            GIVEN.to_uppercase(),
            GIVEN.replace('-', "_"),
            GIVEN.replacen("00-", "ff-", 1),
            GIVEN.replacen("00-", "0g-", 1),
            format!("{GIVEN}-extra"),
            format!("cc{}.extra", &GIVEN[2..]),
            format!(" {GIVEN}"),
            GIVEN.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            GIVEN.replace("b7ad6b7169203331", &"0".repeat(16)),
            GIVEN.replace("b7ad", "b7xd"),
        ];
        for line in bad {
            assert_eq!(parse(line.as_bytes()), None, "`{line}`");
        }
        assert_eq!(Trace::brought(&headers(&[("traceparent", GIVEN), ("traceparent", GIVEN)])), None);
    }

    #[test]
    fn a_trace_that_begins_here_replaces_what_came() {
        let all = Sampling::of(1.0);
        let (first, second) = (Trace::begin(all), Trace::begin(all));
        assert!(first.id != second.id && first.span != second.span);

        let (parents, states) = told(&first, headers(&[("traceparent", GIVEN), ("tracestate", "a=b")]));

        let [parent] = &parents[..] else { panic!("{parents:?}") };
        let expected = format!("00-{}-{:016x}-01", first.id, first.span);
        assert_eq!(parent, expected.as_str());
        assert!(states.is_empty(), "{states:?}");
        assert_eq!(parse(parent.as_bytes()), Some(Trace { origin: Origin::PassedOn, ..first }));
    }

    #[test]
    fn a_trace_that_is_continued_is_passed_on_as_it_came() {
        let came = headers(&[("traceparent", GIVEN), ("tracestate", "rojo=00f067, a@b=c"), ("tracestate", "")]);
        let trace = Trace::brought(&came).unwrap();

        let (parents, states) = told(&trace, came);

        assert_eq!(parents, [GIVEN]);
        assert_eq!(states, ["rojo=00f067, a@b=c", ""]);
    }

    #[cfg(feature = "otel")]
    #[test]
    fn what_is_recorded_stands_between_the_caller_and_the_upstream() {
        let came = headers(&[("traceparent", GIVEN), ("tracestate", "a=b")]);
        let trace = Trace::brought(&came).unwrap().recorded();

        let (parents, states) = told(&trace, came);

        assert_eq!(trace.origin, Origin::Within(0xb7ad_6b71_6920_3331));
        assert_eq!(parents, [format!("00-0af7651916cd43dd8448eb211c80319c-{:016x}-01", trace.span)]);
        assert!(!GIVEN.contains(&format!("{:016x}", trace.span)));
        assert_eq!(states, ["a=b"]);
    }

    #[test]
    fn a_state_that_does_not_read_as_one_is_dropped() {
        let long = format!("a={}", "x".repeat(MAX_STATE - 2));
        let many = |count| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        let good = ["a=b", "a=b c", "0a-_*/=1, t@s=x,,", &long, &many(MAX_MEMBERS)];
        let longer = format!("{long}x");
        let bad = ["a", "=b", "a=", "A=b", "_a=b", "a b=c", "a=b=c", "a@b@c=d", &longer, &many(MAX_MEMBERS + 1)];
        for (state, stays) in good.map(|state| (state, true)).into_iter().chain(bad.map(|state| (state, false))) {
            let came = headers(&[("traceparent", GIVEN), ("tracestate", state)]);
            let (_, states) = told(&Trace::brought(&came).unwrap(), came);
            assert_eq!(!states.is_empty(), stays, "{state}");
        }
    }

    #[test]
    fn the_share_that_is_recorded_is_kept() {
        let begun = |share| (0..4000).filter(|_| Trace::begin(Sampling::of(share)).is_sampled).count();

        assert_eq!((begun(0.0), begun(1.0)), (0, 4000));
        // 1000 ± 27 is what one standard deviation allows.
        assert!((800..1200).contains(&begun(0.25)), "a quarter");
        let edge = TraceId(u128::from(u64::MAX));
        assert!(Sampling::of(1.0).takes(edge) && !Sampling::of(0.999).takes(edge));
    }
}
