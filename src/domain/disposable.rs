//! Domains that hand out e-mail addresses for some minutes.

use std::collections::HashSet;
use std::sync::LazyLock;

/// See `disposable/NOTICE.md`.
const DOMAINS: &str = include_str!("disposable/domains.txt");

static KNOWN: LazyLock<HashSet<&'static str>> = LazyLock::new(|| DOMAINS.lines().collect());

/// Whether a domain, or one above it, is on the list. In lower case.
#[must_use]
pub fn is_disposable(domain: &str) -> bool {
    let mut rest = domain;
    loop {
        if KNOWN.contains(rest) {
            return true;
        }
        match rest.split_once('.') {
            Some((_, above)) => rest = above,
            None => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_for_some_minutes_are_known_by_their_domain() {
        for domain in ["mailinator.com", "10minutemail.com", "a.b.mailinator.com"] {
            assert!(is_disposable(domain), "{domain}");
        }
        for domain in ["example.com", "gmail.com", "com", "", "mailinator.example"] {
            assert!(!is_disposable(domain), "{domain}");
        }
    }

    #[test]
    fn the_list_is_long_and_in_the_form_it_is_looked_up_in() {
        assert!(KNOWN.len() > 5_000);
        assert!(DOMAINS.lines().all(|line| line == line.trim().to_lowercase() && line.contains('.')));
    }
}
