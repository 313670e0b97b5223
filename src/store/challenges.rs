//! Challenges: what a client was asked and how often it tried.

use crate::domain::challenge::{Challenge, StepKind};
use crate::domain::clock::Time;
use crate::domain::factor::Method;
use crate::domain::id::{ChallengeId, SessionId, UserId};
use crate::domain::mfa::Entry;
use crate::store::db::{On, Row, StoreError, sql};
use crate::store::sweep::{Sweep, sweep};

const LAPSED: Sweep = sweep!("nauth_challenges", "id", "expires_at < ?", "expires_at");

/// The challenges, outside or inside a transaction.
#[derive(Debug)]
pub struct Challenges<'a> {
    on: On<'a>,
}

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT id, user_id, step, auth_epoch, attempts, max_attempts, password_proven, amr, client_binding, \
             decoy, entry, renews, method, created_at, expires_at, completed_at FROM nauth_challenges ",
            $tail
        )
    };
}

impl<'a> Challenges<'a> {
    pub(super) fn on(on: On<'a>) -> Self {
        Self { on }
    }

    /// The challenge with this id, open or not.
    pub async fn by_id(&mut self, id: ChallengeId) -> Result<Option<Challenge>, StoreError> {
        let row = sql(select!("WHERE id = ?")).bind(id).fetch_optional(&mut self.on).await?;
        row.as_ref().map(read).transpose()
    }

    /// The newest open challenge of this kind that this very client began.
    pub async fn open_of(
        &mut self,
        user: UserId,
        step: StepKind,
        auth_epoch: i64,
        client_binding: &str,
        decoy: bool,
        now: Time,
    ) -> Result<Option<Challenge>, StoreError> {
        let row = sql(select!(
            "WHERE user_id = ? AND step = ? AND auth_epoch = ? AND client_binding = ? AND decoy = ? AND completed_at IS NULL \
             AND attempts < max_attempts AND expires_at > ? ORDER BY created_at DESC LIMIT 1"
        ))
        .bind(user)
        .bind(step.as_str())
        .bind(auth_epoch)
        .bind(client_binding)
        .bind(decoy)
        .bind(now)
        .fetch_optional(&mut self.on)
        .await?;
        row.as_ref().map(read).transpose()
    }

    /// Stores a new challenge.
    pub async fn insert(&mut self, challenge: &Challenge) -> Result<(), StoreError> {
        sql("INSERT INTO nauth_challenges (id, user_id, step, auth_epoch, attempts, max_attempts, password_proven, \
             amr, client_binding, decoy, entry, renews, method, created_at, expires_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(challenge.id)
        .bind(challenge.user)
        .bind(challenge.step.as_str())
        .bind(challenge.auth_epoch)
        .bind(challenge.attempts)
        .bind(challenge.max_attempts)
        .bind(challenge.password_proven)
        .bind(challenge.amr.join(" "))
        .bind(challenge.client_binding.as_str())
        .bind(challenge.decoy)
        .bind(challenge.entry.as_str())
        .bind(challenge.renews.map(SessionId::number))
        .bind(challenge.method.map(Method::as_str))
        .bind(challenge.created_at)
        .bind(challenge.expires_at)
        .execute(&mut self.on)
        .await?;
        Ok(())
    }

    /// Takes one attempt, if the challenge is open and has one left; answers whether it did.
    pub async fn claim_attempt(&mut self, id: ChallengeId, now: Time) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_challenges SET attempts = attempts + 1 \
             WHERE id = ? AND completed_at IS NULL AND attempts < max_attempts AND expires_at > ?")
        .bind(id)
        .bind(now)
        .execute(&mut self.on)
        .await?;
        Ok(rows == 1)
    }

    /// Closes the challenge as answered, if it is open; answers whether it did.
    pub async fn complete(&mut self, id: ChallengeId, now: Time) -> Result<bool, StoreError> {
        let rows = sql("UPDATE nauth_challenges SET completed_at = ? WHERE id = ? AND completed_at IS NULL")
            .bind(now)
            .bind(id)
            .execute(&mut self.on)
            .await?;
        Ok(rows == 1)
    }

    /// Lets the open challenges of one kind of a user lapse, but for one.
    pub async fn lapse(
        &mut self,
        user: UserId,
        step: StepKind,
        but: Option<ChallengeId>,
        now: Time,
    ) -> Result<(), StoreError> {
        sql("UPDATE nauth_challenges SET expires_at = ? \
             WHERE user_id = ? AND step = ? AND id <> ? AND completed_at IS NULL AND expires_at > ?")
        .bind(now)
        .bind(user)
        .bind(step.as_str())
        .bind(but.map_or_else(String::new, |id| id.to_string()))
        .bind(now)
        .execute(&mut self.on)
        .await?;
        Ok(())
    }

    /// Notes the method whose code was sent last.
    pub async fn set_method(&mut self, id: ChallengeId, method: Method) -> Result<(), StoreError> {
        sql("UPDATE nauth_challenges SET method = ? WHERE id = ?")
            .bind(method.as_str())
            .bind(id)
            .execute(&mut self.on)
            .await?;
        Ok(())
    }

    /// Removes challenges that lapsed before `before`; answers how many.
    pub async fn purge(&mut self, before: Time) -> Result<u64, StoreError> {
        LAPSED.run(&mut self.on, before).await
    }
}

fn read(row: &Row) -> Result<Challenge, StoreError> {
    let renews = row.opt_int("renews")?;
    let renews = renews.map(|number| SessionId::from_number(number).map_err(|_| StoreError::Corrupt("renews")));
    Ok(Challenge {
        id: row.parsed("id")?,
        user: row.parsed("user_id")?,
        step: StepKind::from_name(&row.text("step")?).ok_or(StoreError::Corrupt("step"))?,
        auth_epoch: row.int("auth_epoch")?,
        attempts: row.int("attempts")?,
        max_attempts: row.int("max_attempts")?,
        password_proven: row.bool("password_proven")?,
        amr: row.text("amr")?.split_whitespace().map(str::to_owned).collect(),
        client_binding: row.text("client_binding")?,
        entry: Entry::from_name(&row.text("entry")?).ok_or(StoreError::Corrupt("entry"))?,
        renews: renews.transpose()?,
        method: row.opt_text("method")?.as_deref().and_then(Method::from_name),
        decoy: row.bool("decoy")?,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
        completed_at: row.opt_time("completed_at")?,
    })
}
