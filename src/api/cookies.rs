//! The cookies of a request, as they come: each pair that is well formed counts, whatever stands beside it.
//!
//! Around names and values there may be spaces and tabs, and nothing else that is taken for one. Browsers
//! guard names that begin with `__Host-`: a name that becomes one only when what Unicode calls a space is
//! cut off was guarded by nobody.

use http::HeaderMap;
use http::header::COOKIE;

/// Every well-formed cookie of every Cookie line, in order, without quotes.
pub fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers.get_all(COOKIE).iter().flat_map(|line| pairs(line.as_bytes())).filter_map(|pair| {
        let (name, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
        let (name, value) = (name.trim_ascii(), value.trim_ascii());
        let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        (!name.is_empty()).then_some((name, unquoted.unwrap_or(value)))
    })
}

/// Every value of the cookie `name`, in the order sent, without empty ones.
#[must_use]
pub fn cookie_values(headers: &HeaderMap, name: &str) -> Vec<String> {
    let ours = cookies(headers).filter(|(named, value)| *named == name && !value.is_empty());
    ours.map(|(_, value)| value.to_owned()).collect()
}

/// What stands between semicolons.
pub(crate) fn pairs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b';').map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn lines(lines: &[&[u8]]) -> HeaderMap {
        lines.iter().map(|line| (COOKIE, HeaderValue::from_bytes(line).unwrap())).collect()
    }

    #[test]
    fn every_value_of_a_cookie_is_seen() {
        let lines = lines(&[b"token=one; other=x; token=two", b"token = \"three\" ; token=; token"]);

        assert_eq!(cookie_values(&lines, "token"), ["one", "two", "three"]);
    }

    #[test]
    fn a_cookie_beside_it_that_is_no_text_takes_nothing_away() {
        let lines = lines(&[b"theme=\xff\xfe; token=one; name=\xc3\xbc"]);

        assert_eq!(cookies(&lines).collect::<Vec<_>>(), [("token", "one"), ("name", "ü")]);
    }

    #[test]
    fn a_name_is_what_browsers_took_it_for() {
        for space in ["\u{a0}", "\u{2000}", "\u{85}", "\u{3000}", "\u{feff}"] {
            let lines = lines(&[format!("{space}token=evil; token{space}=evil").as_bytes()]);

            assert!(cookie_values(&lines, "token").is_empty(), "{space:?}");
            assert_eq!(cookies(&lines).count(), 2);
        }
    }
}
