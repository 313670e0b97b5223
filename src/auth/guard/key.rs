//! Names of counters.

use crate::domain::hex::hex;

use crate::domain::user::User;

/// Bytes of a hash that make two names different for sure.
const KEPT: usize = 16;

/// A counter's name: what it is for, and a hash of what it is about, so that neither addresses nor
/// endless texts lie about in transient state.
pub(in crate::auth) fn key(kind: &str, about: &[&str]) -> String {
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in about {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    format!("{kind}/{}", hex(&hash.finish().as_ref()[..KEPT]))
}

/// A user, as the names of counters say it. Whoever is unlocked goes by another name from then on: every
/// counter begins anew, wherever it stands, and those of the old name lapse.
pub(in crate::auth) fn name_of(user: &User) -> String {
    match user.lockouts_ended_at {
        None => user.id.to_string(),
        Some(at) => format!("{}@{}", user.id, at.micros()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_parts_apart_and_show_none() {
        assert_ne!(key("a", &["b", "c"]), key("a", &["bc", ""]));
        assert!(!key("mail", &["ada@example.com"]).contains("ada"));
    }
}
