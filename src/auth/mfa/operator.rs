//! What an operator does about somebody's second factors, at the command line beside a running server.

use crate::auth::Auth;
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::domain::event::{Actor, Event, FactorEvent};
use crate::domain::factor::Factor;
use crate::domain::id::UserId;
use crate::domain::session::EndReason;
use crate::domain::user::User;

impl Auth {
    /// What a user has set up, and how many backup codes are left.
    pub async fn factors_of(&self, user: UserId) -> Result<(Vec<Factor>, i64), Error> {
        let store = &self.parts.store;
        Ok((store.factors().of_user(user).await?, store.backup_codes().left(user).await?))
    }

    /// Takes every second factor and backup code from a user who has lost them, ends every session, and makes
    /// trusted devices strangers; answers how many factors there were. The user is told of each.
    pub async fn reset_factors(&self, user: &User) -> Result<usize, Error> {
        let mut change = self.parts.events.begin().await?;
        change.one_at_a_time().await?;
        let factors = change.factors().of_user(user.id).await?;
        if factors.is_empty() {
            return Ok(0);
        }
        for factor in &factors {
            self.remove_factor_in(&mut change, user, factor, Actor::Operator).await?;
        }
        self.end_all(&mut change, user.id, EndReason::MfaReset).await?;
        self.forget_all_devices(&mut change, user.id).await?;
        self.parts.events.commit(change, &RequestContext::local()).await?;
        Ok(factors.len())
    }

    /// Asks a user for no second factor any more, unless a role demands one; answers whether the user was asked
    /// before.
    pub async fn exempt(&self, user: UserId, reason: String) -> Result<bool, Error> {
        let mut change = self.parts.events.begin().await?;
        if !change.users().exempt(user, &reason, self.now()).await? {
            return Ok(false);
        }
        let happened = FactorEvent::ExemptionGranted { reason, by: Actor::Operator };
        change.record(Event::Factor { user, happened });
        self.parts.events.commit(change, &RequestContext::local()).await?;
        Ok(true)
    }

    /// Asks a user for a second factor like everybody else; answers whether the user was exempt.
    pub async fn end_exemption(&self, user: UserId) -> Result<bool, Error> {
        let mut change = self.parts.events.begin().await?;
        if !change.users().end_exemption(user, self.now()).await? {
            return Ok(false);
        }
        let happened = FactorEvent::ExemptionRevoked { by: Actor::Operator };
        change.record(Event::Factor { user, happened });
        self.parts.events.commit(change, &RequestContext::local()).await?;
        Ok(true)
    }
}
