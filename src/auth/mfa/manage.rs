//! What users see of their factors, and what they change about them.

use crate::auth::mfa::{FactorStatus, RemovedFactor};
use crate::auth::own::OwnChange;
use crate::auth::{Auth, Caller};
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::domain::event::{Actor, Event, FactorEvent};
use crate::domain::factor::{Factor, Method};
use crate::domain::secret::Secret;
use crate::domain::user::User;
use crate::events::Change;

impl Auth {
    /// What may be set up.
    #[must_use]
    pub fn factor_methods(&self) -> &[Method] {
        &self.settings.mfa.policy.methods
    }

    /// How it stands with the caller's factors.
    pub async fn factor_status(&self, caller: &Caller) -> Result<FactorStatus, Error> {
        let store = &self.parts.store;
        Ok(FactorStatus {
            factors: store.factors().of_user(caller.user.id).await?,
            allowed: self.factor_methods().to_vec(),
            backup_codes: if self.settings.mfa.backup.enabled {
                store.backup_codes().left(caller.user.id).await?
            } else {
                0
            },
            exempt: caller.user.mfa_exempt.clone(),
        })
    }

    /// Makes one of the caller's factors the one that is asked for first.
    ///
    /// # Errors
    /// [`Error::DeviceNotFound`] when it is none of theirs, [`Error::Forbidden`] unless the user was just proven.
    pub async fn prefer_factor(&self, caller: &Caller, id: i64, ctx: &RequestContext) -> Result<(), Error> {
        let mut own = self.change_of(caller).await?;
        self.require_authority(&mut own).await?;
        let OwnChange { mut change, user, .. } = own;
        let factors = change.factors().of_user(user.id).await?;
        let factor = factors.iter().find(|factor| factor.id == id).ok_or(Error::DeviceNotFound(id))?;
        change.factors().prefer(user.id, id).await?;
        change.record(Event::Factor {
            user: user.id,
            happened: FactorEvent::Preferred { factor: id, method: factor.method },
        });
        self.parts.events.commit(change, ctx).await
    }

    /// Removes one of the caller's factors. With the last one its backup codes go.
    ///
    /// # Errors
    /// [`Error::DeviceNotFound`] when it is none of theirs, [`Error::Forbidden`] unless the user was just proven.
    pub async fn remove_factor(&self, caller: &Caller, id: i64, ctx: &RequestContext) -> Result<RemovedFactor, Error> {
        let mut own = self.change_of(caller).await?;
        self.require_authority(&mut own).await?;
        let OwnChange { mut change, user, .. } = own;
        let factors = change.factors().of_user(user.id).await?;
        let factor = factors.into_iter().find(|factor| factor.id == id).ok_or(Error::DeviceNotFound(id))?;
        let was_last = self.remove_factor_in(&mut change, &user, &factor, Actor::Owner).await?;
        self.parts.events.commit(change, ctx).await?;
        Ok(RemovedFactor { id, method: factor.method, was_last })
    }

    /// Gives the caller new backup codes in the place of the old ones.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] where there are none, or without another factor; [`Error::Forbidden`] unless the
    /// user was just proven.
    pub async fn new_codes(&self, caller: &Caller, ctx: &RequestContext) -> Result<Vec<Secret<String>>, Error> {
        if !self.settings.mfa.backup.enabled {
            return Err(Error::InvalidInput("Backup codes are not enabled".to_owned()));
        }
        let mut own = self.change_of(caller).await?;
        self.require_authority(&mut own).await?;
        let OwnChange { mut change, user: User { id: user, .. }, .. } = own;
        if change.factors().of_user(user).await?.is_empty() {
            return Err(Error::InvalidInput("Set up a second factor first".to_owned()));
        }
        let (codes, hashes) = self.new_backup_codes(user);
        change.backup_codes().replace(user, &hashes, self.now()).await?;
        change.record(Event::Factor { user, happened: FactorEvent::BackupCodesGenerated { count: codes.len() } });
        self.parts.events.commit(change, ctx).await?;
        Ok(codes)
    }

    /// Removes a factor within a change; answers whether it was the last one.
    pub(in crate::auth) async fn remove_factor_in(
        &self,
        change: &mut Change,
        user: &User,
        factor: &Factor,
        by: Actor,
    ) -> Result<bool, Error> {
        if !change.factors().delete(user.id, factor.id).await? {
            return Err(Error::DeviceNotFound(factor.id));
        }
        let left = change.factors().of_user(user.id).await?.len();
        if left == 0 {
            change.backup_codes().delete_all(user.id).await?;
        }
        let (user_id, method) = (user.id, factor.method);
        change.record(Event::Factor {
            user: user_id,
            happened: FactorEvent::Removed { factor: factor.id, method, was_last: left == 0, by },
        });
        self.tell_factor_removed(change, user, factor, left as u64);
        Ok(left == 0)
    }

    /// Asks for the factors of a method first from now on.
    ///
    /// # Errors
    /// [`Error::InvalidField`] when the user has none of it.
    pub(in crate::auth) async fn prefer_method(
        &self,
        change: &mut Change,
        user: &User,
        method: Method,
    ) -> Result<(), Error> {
        let factors = change.factors().of_user(user.id).await?;
        let Some(factor) = factors.iter().find(|factor| factor.method == method) else {
            let message = format!("There is no factor of the method {}", method.as_str());
            return Err(Error::InvalidField { field: "preferredMfaMethod", message });
        };
        change.factors().prefer(user.id, factor.id).await?;
        change.record(Event::Factor { user: user.id, happened: FactorEvent::Preferred { factor: factor.id, method } });
        Ok(())
    }
}
