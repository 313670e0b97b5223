//! Requests of late, a sample of them, to show what new rules would change for real traffic.
//!
//! It loses what it cannot keep without making a request wait: each slot is its own, is taken only
//! when nobody holds it, and at most once a second. Nothing of it says who asked, only with which
//! roles; queries are left out; it is never written anywhere but into the report of a reload.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ahash::RandomState;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::api::evidence;
use crate::config::settings::Described;
use crate::domain::assurance::Aal;
use crate::domain::claims::{AccessClaims, Scope};
use crate::domain::clock::Time;
use crate::domain::outcome::Persona;
use crate::gateway::canonical::Host;
use crate::gateway::policy::Asked;

/// By which browsers tell a page from a call.
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
/// Different requests that are remembered, at most.
const SLOTS: usize = 1024;
/// Longer paths are not.
const LONGEST_PATH: usize = 512;
/// A slot is overwritten at most once in this.
const REST: Duration = Duration::from_secs(1);

/// The sample.
#[derive(Debug)]
pub struct Recent {
    began: Instant,
    hasher: RandomState,
    slots: Vec<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    /// What kind of request it holds; 0 = none yet.
    key: AtomicU64,
    /// When it was written, in milliseconds since the beginning.
    written: AtomicU64,
    seen: Mutex<Option<(Described, Option<Persona>)>>,
}

impl Default for Recent {
    fn default() -> Self {
        let slots = std::iter::repeat_with(Slot::default).take(SLOTS).collect();
        Self { began: Instant::now(), hasher: RandomState::new(), slots }
    }
}

impl Recent {
    /// Remembers a request of somebody known or unknown, unless one like it is remembered already or
    /// there is no room for it now.
    pub fn note(&self, host: &Host, asked: &Asked<'_>, kind: Kind, claims: Option<&AccessClaims>, now: Time) {
        if asked.target.path().len() > LONGEST_PATH {
            return;
        }
        let key = self.key(host, asked, kind, claims);
        let slot = &self.slots[usize::try_from(key % SLOTS as u64).unwrap_or(0)];
        if slot.key.load(Ordering::Relaxed) == key {
            return;
        }
        let passed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let is_fresh = slot.key.load(Ordering::Relaxed) != 0
            && Duration::from_millis(passed.saturating_sub(slot.written.load(Ordering::Relaxed))) < REST;
        if is_fresh {
            return;
        }
        let Ok(mut seen) = slot.seen.try_lock() else { return };
        *seen = Some((described(host, asked, kind), claims.map(|claims| persona(claims, now))));
        slot.written.store(passed, Ordering::Relaxed);
        slot.key.store(key, Ordering::Relaxed);
    }

    /// What is remembered.
    #[must_use]
    pub fn seen(&self) -> Vec<(Described, Option<Persona>)> {
        let slots = self.slots.iter();
        slots.filter_map(|slot| slot.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()).collect()
    }

    /// Requests with the same key are treated alike by the rules.
    fn key(&self, host: &Host, asked: &Asked<'_>, kind: Kind, claims: Option<&AccessClaims>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        (asked.method, host, asked.target.path(), kind).hash(&mut hasher);
        if let Some(claims) = claims {
            (&claims.roles, &claims.acr, claims.email_verified).hash(&mut hasher);
            claims.scope.iter().flat_map(Scope::words).for_each(|word| word.hash(&mut hasher));
        }
        hasher.finish().max(1)
    }
}

/// How a request was made, as far as the rules tell requests apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A person opens a page.
    Page,
    /// A page or a program asks for something.
    Call,
    /// The connection is to become another protocol's.
    Upgrade,
}

impl Kind {
    /// What the request shows of itself.
    #[must_use]
    pub fn of(asked: &Asked<'_>) -> Self {
        if evidence::is_upgrade(asked.headers) {
            Self::Upgrade
        } else if evidence::is_navigation(asked.method, asked.headers) {
            Self::Page
        } else {
            Self::Call
        }
    }
}

/// The request without what could say who sent it.
fn described(host: &Host, asked: &Asked<'_>, kind: Kind) -> Described {
    let (path, authority) = (asked.target.path(), host.authority());
    let (name, value) = match kind {
        Kind::Page => (SEC_FETCH_MODE, "navigate"),
        Kind::Call => (SEC_FETCH_MODE, "cors"),
        Kind::Upgrade => (header::UPGRADE, "websocket"),
    };
    Described {
        url: format!("{authority}{path}"),
        method: Method::clone(asked.method),
        host: Some(authority.to_owned()),
        target: path.to_owned(),
        headers: HeaderMap::from_iter([(name, HeaderValue::from_static(value))]),
    }
}

fn persona(claims: &AccessClaims, now: Time) -> Persona {
    Persona {
        roles: claims.roles.clone(),
        scopes: claims.scope.iter().flat_map(Scope::words).map(str::to_owned).collect(),
        aal: Aal::from_acr(&claims.acr).unwrap_or(Aal::One),
        email_verified: claims.email_verified,
        auth_age: Duration::from_secs(now.since(Time::from_secs(claims.auth_time)).as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::canonical::Canonical;
    use crate::tokens::access::tests_support::token;

    fn note(recent: &Recent, path: &str, claims: Option<&AccessClaims>) {
        let host = Host::parse(b"app.example.com").unwrap();
        let target = Canonical::parse(path.as_bytes(), &host).unwrap();
        let headers = HeaderMap::new();
        let asked = Asked { method: &Method::GET, target: &target, headers: &headers, own_origin: "", client: None };
        recent.note(&host, &asked, Kind::of(&asked), claims, Time::from_secs(1_060));
    }

    #[test]
    fn each_kind_of_request_is_remembered_once_and_nothing_personal_of_it() {
        let recent = Recent::default();
        let (ada, bob) = (token(1, 1, 0).claims, token(1, 1, 0).claims);

        for claims in [None, Some(&ada), Some(&bob), Some(&ada)] {
            note(&recent, "/a?secret=1", claims);
        }
        note(&recent, &format!("/{}", "a".repeat(LONGEST_PATH)), Some(&ada));

        let seen = recent.seen();
        // Two different ones may meet in one slot; then the first stays.
        assert!((1..=2).contains(&seen.len()), "{seen:?}");
        let known = seen.iter().find_map(|(_, persona)| persona.as_ref());
        assert!(known.is_none_or(|persona| persona.roles == ["user"] && persona.auth_age == Duration::from_mins(1)));
        let text = format!("{seen:?}");
        assert!(text.contains("app.example.com/a\"") && !text.contains("secret") && !text.contains("ada@"), "{text}");
    }

    #[test]
    fn it_never_holds_more_than_its_slots() {
        let recent = Recent::default();

        for number in 0..10 * SLOTS {
            note(&recent, &format!("/{number}"), None);
        }

        assert!((SLOTS / 2..=SLOTS).contains(&recent.seen().len()));
    }
}
