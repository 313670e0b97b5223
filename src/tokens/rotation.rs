//! The life of a key that signs: published, signing, retired, gone.
//!
//! A new key is published first and signs later, when every node verifies with it and whoever keeps
//! the published keys for a while has it too. The key before it verifies on until nothing it signed
//! lives. All of that stands in rows, so a node, a command and a crash in between go on from there.

use std::time::Duration;

use crate::config::settings::{Settings, SigningAlgorithm};
use crate::domain::clock::Time;
use crate::store::keys::KeyRow;
use crate::store::{Store, StoreError};
use crate::tokens::keychain::Keychain;
use crate::tokens::keys::{KeyError, algorithm_of};
use crate::tokens::provide::{self, ACTIVE, Fresh, RETIRED, UPCOMING};
use crate::tokens::signing::Use;
use crate::tokens::wanted::Wanted;

/// How long those who verify for others may keep the published keys.
pub const PUBLISHED_FOR: Duration = Duration::from_mins(5);
/// From publishing a key that others verify with to signing with it.
const LEAD: Duration = Duration::from_mins(10);
/// The same for one that nodes alone verify with. They read keys every few seconds, and one that has
/// not for ten is not ready.
const LEAD_AMONG_NODES: Duration = Duration::from_secs(30);
/// The longest `gateway.identity.assertion_ttl`.
const LONGEST_ASSERTION: Duration = Duration::from_hours(1);
/// A retired key stays this much longer than what it signed: for clocks, for leeway, and for a node
/// that had not read yet that another key signs.
const MARGIN: Duration = Duration::from_mins(10);

/// The keys that can be rotated, by what they sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotating {
    /// Access tokens.
    Access,
    /// Assertions for upstreams.
    Assertion,
    /// Refresh tokens.
    Refresh,
}

impl Rotating {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Access, Self::Assertion, Self::Refresh];

    /// The stored name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Access => Use::Access.as_str(),
            Self::Assertion => Use::Assertion.as_str(),
            Self::Refresh => "refresh",
        }
    }
}

/// When keys change, as the settings have it.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// `jwt.key_rotation`; zero: only when told.
    every: Duration,
    is_published: bool,
    access_life: Duration,
    session_life: Duration,
}

impl Schedule {
    /// The schedule of these settings.
    #[must_use]
    pub fn by(settings: &Settings) -> Self {
        let jwt = &settings.jwt;
        Self {
            every: jwt.key_rotation,
            is_published: jwt.publish_jwks,
            access_life: jwt.access_ttl + jwt.leeway,
            session_life: settings.session.max_lifetime + jwt.leeway,
        }
    }

    /// When a key that is published signs.
    #[must_use]
    pub fn signs_at(&self, key: &KeyRow) -> Time {
        let others_verify = self.is_published && !is_symmetric(key);
        key.created_at + if others_verify { LEAD } else { LEAD_AMONG_NODES }
    }

    /// When nothing lives any more that a key signed which is retired by now.
    async fn expiry(&self, store: &Store, of: Rotating, now: Time) -> Result<Time, StoreError> {
        let (access, session) = store.sessions().latest_expiries().await?;
        let (signed, at_most) = match of {
            Rotating::Access => (access, self.access_life),
            Rotating::Assertion => (None, LONGEST_ASSERTION),
            Rotating::Refresh => (session, self.session_life),
        };
        let end = (now + at_most).max(signed.unwrap_or(now));
        Ok(end + MARGIN)
    }
}

/// What became of a key that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// It is published, now or already, and signs at this time.
    Published {
        /// Its id.
        kid: String,
        /// When it signs.
        signs_at: Time,
    },
    /// The configuration names the key; it changes there.
    Fixed,
}

/// What becomes of the keys before the one that is to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Former {
    /// What they signed is accepted until it expires.
    VerifyOn,
    /// They are known to others; what they signed counts no more.
    Go,
}

impl Keychain {
    /// Publishes a key that will sign, unless one is published.
    pub async fn publish(&self, of: Rotating, schedule: &Schedule, now: Time) -> Result<Rotation, KeyError> {
        let wanted = self.wanted();
        let is_fixed = match of {
            Rotating::Access => wanted.fixed_for(Use::Access).is_some(),
            Rotating::Assertion => false,
            Rotating::Refresh => wanted.refresh_secret.is_some(),
        };
        if is_fixed {
            return Ok(Rotation::Fixed);
        }
        let row = self.new_key(of, &wanted, now).await;
        let mut tx = self.store().begin().await?;
        tx.one_at_a_time().await?;
        let known = tx.keys().all().await?.into_iter().find(|known| is(known, of, UPCOMING));
        if known.is_none() {
            provide::announce(&mut tx, &row).await?;
        }
        tx.commit().await?;
        let published = known.unwrap_or(row);
        Ok(Rotation::Published { signs_at: schedule.signs_at(&published), kid: published.kid })
    }

    /// Lets the published key sign, if there is one; answers its id.
    pub async fn promote(&self, of: Rotating, former: Former) -> Result<Option<String>, KeyError> {
        let mut tx = self.store().begin().await?;
        tx.one_at_a_time().await?;
        let rows = tx.keys().all().await?;
        let Some(next) = rows.iter().rfind(|row| is(row, of, UPCOMING)) else { return Ok(None) };
        for row in rows.iter().filter(|row| row.purpose == next.purpose && row.kid != next.kid) {
            match former {
                Former::VerifyOn if row.state == ACTIVE => tx.keys().retire(&row.kid).await?,
                Former::VerifyOn => {}
                Former::Go => tx.keys().remove(&row.kid).await?,
            }
        }
        tx.keys().activate(&next.kid).await?;
        tx.commit().await?;
        tracing::info!(key.id = next.kid, "the key signs from now on");
        Ok(Some(next.kid.clone()))
    }

    /// Does what is due: lets published keys sign, publishes new ones, removes those that nobody
    /// needs. One node at a time.
    pub async fn tend(&self, schedule: &Schedule, now: Time) -> Result<(), KeyError> {
        for of in Rotating::ALL {
            let rows = self.store().keys().all().await?;
            let published = rows.iter().rfind(|row| is(row, of, UPCOMING));
            if published.is_some_and(|row| schedule.signs_at(row) <= now) {
                self.promote(of, Former::VerifyOn).await?;
            } else if published.is_none() && is_due(&rows, of, schedule, now) {
                self.publish(of, schedule, now).await?;
            }
            for row in rows.iter().filter(|row| is(row, of, RETIRED)) {
                match row.expires_at {
                    None => {
                        let expiry = schedule.expiry(self.store(), of, now).await?;
                        self.store().keys().expire(&row.kid, expiry).await?;
                    }
                    Some(at) if at <= now => self.store().keys().remove(&row.kid).await?,
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    async fn new_key(&self, of: Rotating, wanted: &Wanted, now: Time) -> KeyRow {
        let masters = self.masters();
        match of {
            Rotating::Access => Fresh::default().row(Use::Access, wanted.access, masters, now).await,
            Rotating::Assertion => Fresh::default().row(Use::Assertion, wanted.assertion, masters, now).await,
            Rotating::Refresh => provide::new_row(of.as_str(), provide::BY_PURPOSE, masters, now),
        }
    }
}

/// Whether the key that signs is old enough to be followed by another. Secrets stay: nobody outside
/// verifies with them, and they are never written down.
fn is_due(rows: &[KeyRow], of: Rotating, schedule: &Schedule, now: Time) -> bool {
    let active = rows.iter().rfind(|row| is(row, of, ACTIVE));
    !schedule.every.is_zero()
        && active.is_some_and(|row| !is_symmetric(row) && !row.is_fixed() && row.created_at + schedule.every <= now)
}

fn is(row: &KeyRow, of: Rotating, state: &str) -> bool {
    row.purpose == of.as_str() && row.state == state
}

fn is_symmetric(row: &KeyRow) -> bool {
    algorithm_of(row).is_none_or(SigningAlgorithm::is_symmetric)
}

#[cfg(test)]
mod tests;
