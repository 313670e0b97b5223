//! Sessions, and the compare-and-set that rotates them.

use crate::domain::clock::Time;
use crate::domain::context::address_prefix;
use crate::domain::id::{SessionId, UserId};
use crate::domain::location::{Location, Point};
use crate::domain::risk::Visit;
use crate::domain::session::{Delivery, Device, EndReason, Seen, Session};
use crate::store::db::{On, Row, StoreError, sql};
use crate::store::sweep::{Sweep, sweep};

/// Sessions looked up in one query; as many as there are `?` in its text.
const BATCH: usize = 32;
/// How many logins of a user are looked back at.
const VISITS: i64 = 200;
const EXPIRED: Sweep = sweep!("nauth_sessions", "id", "expires_at < ?", "expires_at");
const REVOKED: Sweep = sweep!("nauth_sessions", "id", "revoked_at < ?", "revoked_at");

/// The sessions, outside or inside a transaction.
#[derive(Debug)]
pub struct Sessions<'a> {
    on: On<'a>,
}

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT id, user_id, family, generation, rotated_at, refresh_expires_at, refresh_kid, seen_generation, \
             seen_at, seen_prefix, seen_user_agent, auth_epoch, latest_exp, amr, acr, auth_time, dialect, delivery, \
             auth_method, ip, user_agent, device_id, device_name, device_type, platform, browser, trusted_device, \
             claims, ip_country, ip_city, latitude, longitude, created_at, last_activity_at, expires_at, revoked_at FROM nauth_sessions ",
            $tail
        )
    };
}

/// What a rotation writes.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// The generation it starts from.
    pub from: i64,
    /// The generation it makes.
    pub to: i64,
    /// When: the `iat` of the new refresh token.
    pub at: Time,
    /// The `exp` of the new refresh token.
    pub refresh_expires_at: Time,
    /// The key of the new refresh token.
    pub refresh_kid: String,
    /// The `exp` of the access token beside it.
    pub access_exp: Time,
}

impl<'a> Sessions<'a> {
    pub(super) fn on(on: On<'a>) -> Self {
        Self { on }
    }

    /// The session with this id, ended or not.
    pub async fn by_id(&mut self, id: SessionId) -> Result<Option<Session>, StoreError> {
        let row = sql(select!("WHERE id = ?")).bind(id).fetch_optional(&mut self.on).await?;
        row.as_ref().map(read).transpose()
    }

    /// The sessions of a user that live at `now`, latest first.
    pub async fn live_of(&mut self, user: UserId, auth_epoch: i64, now: Time) -> Result<Vec<Session>, StoreError> {
        let rows = sql(select!(
            "WHERE user_id = ? AND auth_epoch = ? AND revoked_at IS NULL AND expires_at > ? \
             ORDER BY last_activity_at DESC, id"
        ))
        .bind(user)
        .bind(auth_epoch)
        .bind(now)
        .fetch_all(&mut self.on)
        .await?;
        rows.iter().map(read).collect()
    }

    /// Whether a user has sessions, ended ones included, and none of them was opened with this user agent.
    pub async fn is_new_agent(&mut self, user: UserId, user_agent: &str) -> Result<bool, StoreError> {
        let row = sql("SELECT id FROM nauth_sessions WHERE user_id = ? AND NOT EXISTS \
             (SELECT 1 FROM nauth_sessions s WHERE s.user_id = ? AND s.user_agent = ?) LIMIT 1")
        .bind(user)
        .bind(user)
        .bind(user_agent)
        .fetch_optional(&mut self.on)
        .await?;
        Ok(row.is_some())
    }

    /// From where and with what a user has logged in, the latest first, `VISITS` at most.
    pub async fn visits_of(&mut self, user: UserId) -> Result<Vec<Visit>, StoreError> {
        let rows =
            sql("SELECT ip, user_agent, ip_country, ip_city, latitude, longitude, created_at FROM nauth_sessions \
             WHERE user_id = ? ORDER BY created_at DESC LIMIT ?")
            .bind(user)
            .bind(VISITS)
            .fetch_all(&mut self.on)
            .await?;
        let visit = |row: &Row| {
            Ok(Visit {
                at: row.time("created_at")?,
                address: address_prefix(row.parsed("ip")?),
                user_agent: row.text("user_agent")?,
                location: location(row)?,
            })
        };
        rows.iter().map(visit).collect()
    }

    /// Which of these sessions live at `now`: not revoked, not expired, their users active and of the same epoch.
    pub async fn living(&mut self, ids: &[SessionId], now: Time) -> Result<Vec<SessionId>, StoreError> {
        let mut living = Vec::with_capacity(ids.len());
        // One text for every number of ids: what is missing of a batch is filled with an id nobody has.
        for batch in ids.chunks(BATCH) {
            let mut query = sql("SELECT s.id FROM nauth_sessions s JOIN nauth_users u ON u.id = s.user_id \
                 WHERE s.id IN (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
                 AND s.revoked_at IS NULL AND s.expires_at > ? AND u.auth_epoch = s.auth_epoch AND u.locked_at IS NULL");
            for at in 0..BATCH {
                query = query.bind(batch.get(at).map_or(0, |id| id.number()));
            }
            for row in query.bind(now).fetch_all(&mut self.on).await? {
                living.push(SessionId::from_number(row.int("id")?).map_err(|_| StoreError::Corrupt("id"))?);
            }
        }
        Ok(living)
    }

    /// Stores a new session.
    pub async fn insert(&mut self, session: &Session) -> Result<(), StoreError> {
        sql("INSERT INTO nauth_sessions (id, user_id, family, generation, rotated_at, refresh_expires_at, \
             refresh_kid, seen_generation, auth_epoch, latest_exp, amr, acr, auth_time, dialect, delivery, \
             auth_method, ip, user_agent, device_id, device_name, device_type, platform, browser, trusted_device, \
             claims, ip_country, ip_city, latitude, longitude, created_at, last_activity_at, expires_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(session.id)
        .bind(session.user)
        .bind(session.family.as_str())
        .bind(session.generation)
        .bind(session.rotated_at)
        .bind(session.refresh_expires_at)
        .bind(session.refresh_kid.as_str())
        .bind(session.auth_epoch)
        .bind(session.latest_exp)
        .bind(session.amr.join(" "))
        .bind(session.acr.as_str())
        .bind(session.auth_time)
        .bind(session.dialect.as_str())
        .bind(session.delivery.as_str())
        .bind(session.auth_method.as_str())
        .bind(session.ip.as_str())
        .bind(session.user_agent.as_str())
        .bind(session.device.id.as_str())
        .bind(session.device.name.as_deref())
        .bind(session.device.kind.as_deref())
        .bind(session.device.platform.as_deref())
        .bind(session.device.browser.as_deref())
        .bind(session.trusted_device)
        .bind(session.claims.as_deref())
        .bind(session.location.country.as_deref())
        .bind(session.location.city.as_deref())
        .bind(session.location.point.map(|point| point.latitude))
        .bind(session.location.point.map(|point| point.longitude))
        .bind(session.created_at)
        .bind(session.last_activity_at)
        .bind(session.expires_at)
        .execute(&mut self.on)
        .await?;
        Ok(())
    }

    /// Rotates, if nobody did so first and the session and its user may still live.
    pub async fn rotate(&mut self, id: SessionId, rotation: &Rotation) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_sessions SET generation = ?, rotated_at = ?, refresh_expires_at = ?, \
             refresh_kid = ?, latest_exp = CASE WHEN latest_exp > ? THEN latest_exp ELSE ? END, \
             last_activity_at = ? \
             WHERE id = ? AND generation = ? AND revoked_at IS NULL AND expires_at > ? \
             AND EXISTS (SELECT 1 FROM nauth_users u WHERE u.id = nauth_sessions.user_id \
             AND u.auth_epoch = nauth_sessions.auth_epoch AND u.locked_at IS NULL)")
        .bind(rotation.to)
        .bind(rotation.at)
        .bind(rotation.refresh_expires_at)
        .bind(rotation.refresh_kid.as_str())
        .bind(rotation.access_exp)
        .bind(rotation.access_exp)
        .bind(rotation.at)
        .bind(id)
        .bind(rotation.from)
        .bind(rotation.at)
        .execute(&mut self.on)
        .await?;
        Ok(rows == 1)
    }

    /// Notes that an access token with this `exp` is about to be handed out, if the session still
    /// lives. A revocation must be remembered at least as long as the latest of them.
    pub async fn extend_latest_exp(&mut self, id: SessionId, exp: Time, now: Time) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_sessions SET latest_exp = CASE WHEN latest_exp > ? THEN latest_exp ELSE ? END \
             WHERE id = ? AND revoked_at IS NULL AND expires_at > ?")
        .bind(exp)
        .bind(exp)
        .bind(id)
        .bind(now)
        .execute(&mut self.on)
        .await?;
        Ok(rows == 1)
    }

    /// Notes the first sight of a generation; later sights change nothing.
    pub async fn note_seen(&mut self, id: SessionId, generation: i64, seen: &Seen) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_sessions SET seen_generation = ?, seen_at = ?, seen_prefix = ?, \
             seen_user_agent = ? WHERE id = ? AND generation = ? AND seen_generation < ?")
        .bind(generation)
        .bind(seen.at)
        .bind(seen.prefix.as_str())
        .bind(seen.user_agent.as_str())
        .bind(id)
        .bind(generation)
        .bind(generation)
        .execute(&mut self.on)
        .await?;
        Ok(rows == 1)
    }

    /// Notes activity; the latest counts.
    pub async fn note_activity(&mut self, id: SessionId, at: Time) -> Result<(), StoreError> {
        sql("UPDATE nauth_sessions SET last_activity_at = ? WHERE id = ? AND last_activity_at < ?")
            .bind(at)
            .bind(id)
            .bind(at)
            .execute(&mut self.on)
            .await?;
        Ok(())
    }

    /// Takes the session's row until the transaction ends, if it lives; answers whether it did.
    pub async fn hold(&mut self, id: SessionId, now: Time) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_sessions SET generation = generation \
             WHERE id = ? AND revoked_at IS NULL AND expires_at > ?")
        .bind(id)
        .bind(now)
        .execute(&mut self.on)
        .await?;
        Ok(rows == 1)
    }

    /// Notes that the user has just proven who they are, if the session still lives.
    pub async fn renew_auth(
        &mut self,
        id: SessionId,
        amr: &[String],
        acr: &str,
        at: Time,
        access_exp: Time,
    ) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_sessions SET auth_time = ?, amr = ?, acr = ?, last_activity_at = ?, \
             latest_exp = CASE WHEN latest_exp > ? THEN latest_exp ELSE ? END \
             WHERE id = ? AND revoked_at IS NULL AND expires_at > ?")
        .bind(at)
        .bind(amr.join(" "))
        .bind(acr)
        .bind(at)
        .bind(access_exp)
        .bind(access_exp)
        .bind(id)
        .bind(at)
        .execute(&mut self.on)
        .await?;
        Ok(rows == 1)
    }

    /// Notes what its user has proven beside the login, if the session still lives.
    pub async fn raise(&mut self, id: SessionId, amr: &[String], acr: &str) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_sessions SET amr = ?, acr = ? WHERE id = ? AND revoked_at IS NULL")
            .bind(amr.join(" "))
            .bind(acr)
            .bind(id)
            .execute(&mut self.on)
            .await?;
        Ok(rows == 1)
    }

    /// Binds a session to a trusted device, or unbinds it.
    pub async fn set_trusted_device(&mut self, id: SessionId, device: Option<i64>) -> Result<(), StoreError> {
        sql("UPDATE nauth_sessions SET trusted_device = ? WHERE id = ?")
            .bind(device)
            .bind(id)
            .execute(&mut self.on)
            .await?;
        Ok(())
    }

    /// Ends a session, unless it has ended; answers whether it did.
    pub async fn revoke(&mut self, id: SessionId, reason: EndReason, now: Time) -> Result<bool, StoreError> {
        let rows =
            sql("UPDATE nauth_sessions SET revoked_at = ?, revoke_reason = ? WHERE id = ? AND revoked_at IS NULL")
                .bind(now)
                .bind(reason.as_str())
                .bind(id)
                .execute(&mut self.on)
                .await?;
        Ok(rows == 1)
    }

    /// Ends every session of a user; answers how many lived.
    pub async fn revoke_all(&mut self, user: UserId, reason: EndReason, now: Time) -> Result<u64, StoreError> {
        sql("UPDATE nauth_sessions SET revoked_at = ?, revoke_reason = ? \
             WHERE user_id = ? AND revoked_at IS NULL AND expires_at > ?")
        .bind(now)
        .bind(reason.as_str())
        .bind(user)
        .bind(now)
        .execute(&mut self.on)
        .await
    }

    /// The latest `exp` in any access token of the user's sessions.
    pub async fn latest_exp_of(&mut self, user: UserId) -> Result<Option<Time>, StoreError> {
        let row = sql("SELECT MAX(latest_exp) AS latest_exp FROM nauth_sessions WHERE user_id = ?")
            .bind(user)
            .fetch_optional(&mut self.on)
            .await?;
        Ok(row.map(|row| row.opt_time("latest_exp")).transpose()?.flatten())
    }

    /// The latest `exp` of any access token, and the latest end of any session. Reads every row.
    pub async fn latest_expiries(&mut self) -> Result<(Option<Time>, Option<Time>), StoreError> {
        let row = sql("SELECT MAX(latest_exp) AS access, MAX(expires_at) AS session FROM nauth_sessions")
            .fetch_optional(&mut self.on)
            .await?;
        row.map_or(Ok((None, None)), |row| Ok((row.opt_time("access")?, row.opt_time("session")?)))
    }

    /// How many have not ended.
    pub async fn count_living(&mut self, now: Time) -> Result<i64, StoreError> {
        let row = sql("SELECT COUNT(*) AS living FROM nauth_sessions WHERE revoked_at IS NULL AND expires_at > ?")
            .bind(now)
            .fetch_optional(&mut self.on)
            .await?;
        row.map_or(Ok(0), |row| row.int("living"))
    }

    /// Removes sessions that ended before `before`; answers how many.
    pub async fn purge(&mut self, before: Time) -> Result<u64, StoreError> {
        Ok(EXPIRED.run(&mut self.on, before).await? + REVOKED.run(&mut self.on, before).await?)
    }
}

fn read(row: &Row) -> Result<Session, StoreError> {
    let generation = row.int("generation")?;
    let seen = match row.opt_time("seen_at")? {
        Some(at) if row.int("seen_generation")? == generation => Some(Seen {
            at,
            prefix: row.opt_text("seen_prefix")?.unwrap_or_default(),
            user_agent: row.opt_text("seen_user_agent")?.unwrap_or_default(),
        }),
        _ => None,
    };
    Ok(Session {
        id: SessionId::from_number(row.int("id")?).map_err(|_| StoreError::Corrupt("id"))?,
        user: row.parsed("user_id")?,
        family: row.text("family")?,
        generation,
        rotated_at: row.time("rotated_at")?,
        refresh_expires_at: row.time("refresh_expires_at")?,
        refresh_kid: row.text("refresh_kid")?,
        seen,
        auth_epoch: row.int("auth_epoch")?,
        latest_exp: row.time("latest_exp")?,
        amr: row.text("amr")?.split_whitespace().map(str::to_owned).collect(),
        acr: row.text("acr")?,
        auth_time: row.time("auth_time")?,
        dialect: row.text("dialect")?,
        delivery: Delivery::from_name(&row.text("delivery")?).ok_or(StoreError::Corrupt("delivery"))?,
        auth_method: row.text("auth_method")?,
        ip: row.text("ip")?,
        location: location(row)?,
        user_agent: row.text("user_agent")?,
        device: Device {
            id: row.opt_text("device_id")?.unwrap_or_default(),
            name: row.opt_text("device_name")?,
            kind: row.opt_text("device_type")?,
            platform: row.opt_text("platform")?,
            browser: row.opt_text("browser")?,
        },
        trusted_device: row.opt_int("trusted_device")?,
        claims: row.opt_text("claims")?,
        created_at: row.time("created_at")?,
        last_activity_at: row.time("last_activity_at")?,
        expires_at: row.time("expires_at")?,
        revoked_at: row.opt_time("revoked_at")?,
    })
}

fn location(row: &Row) -> Result<Location, StoreError> {
    let point = row.opt_int("latitude")?.zip(row.opt_int("longitude")?);
    Ok(Location {
        country: row.opt_text("ip_country")?,
        city: row.opt_text("ip_city")?,
        point: point.map(|(latitude, longitude)| Point { latitude, longitude }),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::user::tests_support::ada;
    use crate::store::{Db, Store, migrations};

    const NOW: Time = Time::from_secs(1_000);

    fn session(user: UserId) -> Session {
        Session {
            id: SessionId::random(),
            user,
            family: "ab".repeat(32),
            generation: 1,
            rotated_at: NOW,
            refresh_expires_at: NOW + Duration::from_hours(1),
            refresh_kid: "k".to_owned(),
            seen: None,
            auth_epoch: 1,
            latest_exp: NOW,
            amr: vec!["pwd".to_owned()],
            acr: "aal1".to_owned(),
            auth_time: NOW,
            dialect: "nauth".to_owned(),
            delivery: Delivery::Cookies,
            auth_method: "password".to_owned(),
            ip: "127.0.0.1".to_owned(),
            location: Location::default(),
            user_agent: String::new(),
            device: crate::domain::session::Device::default(),
            trusted_device: None,
            claims: None,
            created_at: NOW,
            last_activity_at: NOW,
            expires_at: NOW + Duration::from_hours(1),
            revoked_at: None,
        }
    }

    async fn store_with(sessions: &[Session], user: &crate::domain::user::User) -> Store {
        let store = Store::new(Db::in_memory().await.unwrap());
        migrations::apply(store.db(), NOW).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        tx.users().insert(user, true, "test").await.unwrap();
        for session in sessions {
            tx.sessions().insert(session).await.unwrap();
        }
        tx.commit().await.unwrap();
        store
    }

    fn rotation(from: i64) -> Rotation {
        Rotation {
            from,
            to: from + 1,
            at: NOW,
            refresh_expires_at: NOW + Duration::from_hours(1),
            refresh_kid: "k".to_owned(),
            access_exp: NOW + Duration::from_mins(15),
        }
    }

    #[tokio::test]
    async fn a_session_rotates_once_from_each_generation() {
        let user = ada();
        let session = session(user.id);
        let store = store_with(std::slice::from_ref(&session), &user).await;

        assert!(store.sessions().rotate(session.id, &rotation(1)).await.unwrap());
        assert!(!store.sessions().rotate(session.id, &rotation(1)).await.unwrap());

        let stored = store.sessions().by_id(session.id).await.unwrap().unwrap();
        assert_eq!((stored.generation, stored.latest_exp), (2, NOW + Duration::from_mins(15)));
    }

    #[tokio::test]
    async fn nothing_rotates_that_has_ended() {
        let user = ada();
        let sessions = [session(user.id), session(user.id)];
        let store = store_with(&sessions, &user).await;
        store.sessions().revoke(sessions[0].id, EndReason::Logout, NOW).await.unwrap();
        assert!(!store.sessions().rotate(sessions[0].id, &rotation(1)).await.unwrap(), "revoked");

        store.users().raise_epoch(user.id, NOW).await.unwrap();
        assert!(!store.sessions().rotate(sessions[1].id, &rotation(1)).await.unwrap(), "of an older epoch");
    }

    #[tokio::test]
    async fn the_first_sight_of_a_generation_counts() {
        let user = ada();
        let session = session(user.id);
        let store = store_with(std::slice::from_ref(&session), &user).await;
        let seen = |prefix: &str| Seen { at: NOW, prefix: prefix.to_owned(), user_agent: "x".to_owned() };

        assert!(store.sessions().note_seen(session.id, 1, &seen("first")).await.unwrap());
        assert!(!store.sessions().note_seen(session.id, 1, &seen("second")).await.unwrap());

        let stored = store.sessions().by_id(session.id).await.unwrap().unwrap();
        assert_eq!(stored.seen.unwrap().prefix, "first");
        store.sessions().rotate(session.id, &rotation(1)).await.unwrap();
        assert!(
            store.sessions().by_id(session.id).await.unwrap().unwrap().seen.is_none(),
            "of the next one there is none yet"
        );
    }

    #[tokio::test]
    async fn living_sessions_are_told_from_the_rest_however_many_are_asked_for() {
        let user = ada();
        let sessions: Vec<Session> = (0..70).map(|_| session(user.id)).collect();
        let store = store_with(&sessions, &user).await;
        store.sessions().revoke(sessions[69].id, EndReason::Logout, NOW).await.unwrap();
        let ids: Vec<SessionId> = sessions.iter().map(|session| session.id).collect();

        assert_eq!(store.sessions().living(&ids, NOW).await.unwrap().len(), 69);
        assert!(store.sessions().living(&ids, NOW + Duration::from_hours(1)).await.unwrap().is_empty());
    }
}
