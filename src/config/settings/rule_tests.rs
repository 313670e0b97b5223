//! `[[tests]]`: what the rules are meant to make of a request.

use std::str::FromStr;

use http::{HeaderMap, Method};

use crate::domain::outcome::{Outcome, Persona};

/// One of `[[tests]]`.
#[derive(Debug, Clone)]
pub struct RuleTest {
    /// Where it stands: `nauth.toml:LINE`.
    pub origin: String,
    /// The request.
    pub request: Described,
    /// Who asks; `None` = anonymous.
    pub persona: Option<Persona>,
    /// What must come of it.
    pub expect: Outcome,
}

/// A request in words: `GET https://app.example.com/admin`, or `GET /admin` for `server.public_url`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// As it was described.
    pub url: String,
    /// The method.
    pub method: Method,
    /// Name and port, as they would stand in `Host`; `None` = those of `server.public_url`.
    pub host: Option<String>,
    /// Path and query, as a client would send them.
    pub target: String,
    /// Header fields beyond those of a typical browser.
    pub headers: HeaderMap,
}

impl Described {
    /// A request for a URL or a path. What is wrong with the path is for the rules to say.
    ///
    /// # Errors
    /// What cannot be a request at all, in words.
    pub fn new(method: &str, url: &str) -> Result<Self, String> {
        let upper = !method.is_empty() && method.chars().all(|c| c.is_ascii_uppercase());
        let parsed = method.parse::<Method>().ok().filter(|_| upper);
        let method = parsed.ok_or_else(|| format!("`{method}` is not a method such as GET"))?;
        let (host, target) = match url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) {
            Some(rest) => {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                (Some(rest[..end].to_owned()), &rest[end..])
            }
            None => (None, url),
        };
        let target = match target {
            "" => "/".to_owned(),
            query if query.starts_with('?') => format!("/{query}"),
            path => path.to_owned(),
        };
        if host.is_none() && !target.starts_with('/') {
            return Err(format!("`{url}` is neither a URL such as https://app.example.com/x nor a path such as /x"));
        }
        Ok(Self { url: url.to_owned(), method, host, target, headers: HeaderMap::new() })
    }
}

impl FromStr for Described {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (method, url) = text.trim().split_once(' ').ok_or_else(|| format!("`{text}` is not `METHOD URL`"))?;
        Self::new(method, url.trim_start())
    }
}

impl std::fmt::Display for Described {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_and_nothing_about_them_is_put_right() {
        let cases = [
            ("GET https://app.example.com/a/../b?x", Some((Some("app.example.com"), "/a/../b?x"))),
            ("GET http://App.example.com:8080", Some((Some("App.example.com:8080"), "/"))),
            ("POST  /x%2Fy", Some((None, "/x%2Fy"))),
            ("GET https://a.example?x", Some((Some("a.example"), "/?x"))),
            ("get /x", None),
            ("/x", None),
            ("GET x", None),
            ("GET ftp://x/", None),
        ];
        for (text, expected) in cases {
            let read = text.parse::<Described>().ok();
            assert_eq!(read.as_ref().map(|read| (read.host.as_deref(), read.target.as_str())), expected, "{text}");
        }
    }
}
