//! Accounts from another system, many at a time.
//!
//! An imported account is complete: what it had to prove it proved elsewhere. It never takes the
//! place of an account that is there; one that was never finished holds no claim and gives way, as
//! it does to a signup.

use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::auth::Auth;
use crate::domain::clock::Time;
use crate::domain::contact::{Email, Phone, Username};
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::domain::event::{Actor, Event, FactorEvent};
use crate::domain::id::UserId;
use crate::domain::secret::Secret;
use crate::domain::user::{Exemption, Lock, Role, User};
use crate::events::Change;
use crate::password_hash::imported::ImportedHash;
use crate::store::StoreError;

/// An account as another system knew it, checked.
#[derive(Debug, Clone)]
pub struct ImportedUser {
    /// The `sub` it keeps; a new one when there is none.
    pub id: Option<UserId>,
    /// The address.
    pub email: Email,
    /// Whether the other system knew it proven.
    pub email_verified: bool,
    /// The name.
    pub username: Option<Username>,
    /// The number.
    pub phone: Option<Phone>,
    /// Whether the other system knew it proven.
    pub phone_verified: bool,
    /// Given name, 1 to 100 characters.
    pub first_name: Option<String>,
    /// Family name, 1 to 100 characters.
    pub last_name: Option<String>,
    /// The hash of the password; an account without one logs in another way, or resets it.
    pub password: Option<ImportedHash>,
    /// When the password was set; when the account was made if that is not known.
    pub password_changed_at: Option<Time>,
    /// The roles; `signup.default_roles` when nothing is said of them.
    pub roles: Option<Vec<Role>>,
    /// What the user may write: a JSON object.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// What only operators and hooks write: a JSON object.
    pub metadata_admin: serde_json::Map<String, serde_json::Value>,
    /// When the account was made; now when that is not known.
    pub created_at: Option<Time>,
    /// Whether the next login asks for a new password.
    pub must_change_password: bool,
    /// Set where the account is disabled.
    pub lock: Option<Lock>,
    /// Set where nobody asks for a second factor.
    pub mfa_exempt: Option<Exemption>,
    /// BCP 47 tag.
    pub locale: Option<String>,
    /// IANA time zone.
    pub timezone: Option<String>,
}

/// What becomes of accounts that could be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// They are stored.
    Store,
    /// Nothing is kept.
    DryRun,
}

/// Why an account was not imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Clash {
    /// Somebody has this address.
    #[error("the e-mail address is taken")]
    Email,
    /// Somebody has this name.
    #[error("the user name is taken")]
    Username,
    /// Somebody has this number.
    #[error("the phone number is taken")]
    Phone,
    /// Somebody has this id.
    #[error("the `sub` is taken")]
    Id,
}

impl Auth {
    /// Imports accounts in one transaction; answers for each whether it is in.
    ///
    /// # Errors
    /// When nothing of the batch was stored, because the database or hashing cannot serve.
    pub async fn import(&self, batch: &[ImportedUser], writing: Writing) -> Result<Vec<Result<(), Clash>>, Error> {
        let hashes = match writing {
            Writing::Store => self.hashes_of(batch).await?,
            Writing::DryRun => vec![None; batch.len()],
        };
        let users: Vec<User> = batch.iter().zip(hashes).map(|(from, hash)| self.imported(from, hash)).collect();
        match self.insert_all(&users, writing).await {
            Err(Failure::Raced) => {}
            Err(Failure::Other(error)) => return Err(error),
            Ok(done) => return Ok(done),
        }
        // Somebody signed up between a look and an insert, and the whole batch is undone: one by one
        // only the account that lost stays out.
        let mut done = Vec::with_capacity(users.len());
        for user in &users {
            done.push(match self.insert_all(std::slice::from_ref(user), writing).await {
                Err(Failure::Raced) => Err(Clash::Email),
                Err(Failure::Other(error)) => return Err(error),
                Ok(one) => one[0],
            });
        }
        Ok(done)
    }

    /// What is stored for the passwords. Fast hashes are wrapped, as many at once as there are threads.
    async fn hashes_of(&self, batch: &[ImportedUser]) -> Result<Vec<Option<Secret<String>>>, Error> {
        let (hasher, ip) = (self.parts.hasher.load_full(), RequestContext::local().ip);
        let hashes = batch.iter().map(|user| {
            let (hasher, password) = (hasher.clone(), user.password.clone());
            async move {
                match password {
                    Some(password) => hasher.import(password, ip).await.map(Some),
                    None => Ok(None),
                }
            }
        });
        let at_once = self.settings.security.password_hash.threads;
        Ok(stream::iter(hashes).buffered(at_once).try_collect().await?)
    }

    fn imported(&self, from: &ImportedUser, hash: Option<Secret<String>>) -> User {
        let now = self.now();
        let roles = from.roles.as_ref().unwrap_or(&self.settings.signup.default_roles);
        let created_at = from.created_at.unwrap_or(now);
        let new = User::new(from.email.clone(), roles.clone(), now);
        User {
            id: from.id.unwrap_or(new.id),
            email_verified: from.email_verified,
            username: from.username.clone(),
            phone: from.phone.clone(),
            phone_verified: from.phone.is_some() && from.phone_verified,
            first_name: from.first_name.clone(),
            last_name: from.last_name.clone(),
            password_changed_at: hash.is_some().then_some(from.password_changed_at.unwrap_or(created_at)),
            password_hash: hash,
            must_change_password: from.must_change_password,
            lock: from.lock.clone(),
            mfa_exempt: from.mfa_exempt.clone(),
            completed_at: Some(now),
            timezone: from.timezone.clone(),
            locale: from.locale.clone(),
            metadata: serde_json::Value::Object(from.metadata.clone()).to_string(),
            metadata_admin: serde_json::Value::Object(from.metadata_admin.clone()).to_string(),
            created_at,
            ..new
        }
    }

    async fn insert_all(&self, users: &[User], writing: Writing) -> Result<Vec<Result<(), Clash>>, Failure> {
        let mut change = self.parts.events.begin().await?;
        change.one_at_a_time().await?;
        let mut done = Vec::with_capacity(users.len());
        for user in users {
            let clash = self.make_way(&mut change, user).await?;
            if clash.is_none() {
                change.users().insert(user, self.claims_phones(), Actor::Operator.as_str()).await?;
                record(&mut change, user);
            }
            done.push(clash.map_or(Ok(()), Err));
        }
        if writing == Writing::Store {
            self.parts.events.commit(change, &RequestContext::local()).await.map_err(Failure::Other)?;
        }
        Ok(done)
    }

    /// What an account runs into, if anything. Else unfinished accounts have made way for it.
    async fn make_way(&self, change: &mut Change, user: &User) -> Result<Option<Clash>, StoreError> {
        let same_address = change.users().by_email(&user.email).await?;
        if same_address.as_ref().is_some_and(|holder| holder.completed_at.is_some()) {
            return Ok(Some(Clash::Email));
        }
        if let Some(username) = &user.username {
            let same_name = change.users().by_username(username).await?;
            if same_name.is_some_and(|holder| holder.completed_at.is_some()) {
                return Ok(Some(Clash::Username));
            }
        }
        let phone = user.phone.as_ref().filter(|_| self.claims_phones());
        if let Some(phone) = phone {
            let same_number = change.users().by_phone(phone).await?;
            if same_number.is_some_and(|holder| holder.completed_at.is_some()) {
                return Ok(Some(Clash::Phone));
            }
        }
        let same_id = change.users().by_id(user.id).await?;
        if same_id.is_some_and(|holder| same_address.as_ref().is_none_or(|other| other.id != holder.id)) {
            return Ok(Some(Clash::Id));
        }
        if let Some(holder) = same_address {
            if !change.users().delete_unfinished(holder.id).await? {
                return Ok(Some(Clash::Email));
            }
            change.record(Event::SignupReplaced { user: holder.id });
        }
        if let Some(username) = &user.username {
            change.users().release_username(username, self.now()).await?;
        }
        if let Some(phone) = phone {
            change.users().release_phone(phone, self.now()).await?;
        }
        Ok(None)
    }

    /// Whether a number has one holder only.
    fn claims_phones(&self) -> bool {
        !self.settings.signup.allow_duplicate_phones
    }
}

/// Notes that an account is there, and how it stands.
fn record(change: &mut Change, user: &User) {
    let (id, by) = (user.id, Actor::Operator);
    change.record(Event::AccountCreated { user: id, by });
    if let Some(lock) = &user.lock {
        change.record(Event::AccountDisabled { user: id, reason: lock.reason.clone(), by });
    }
    if let Some(exempt) = &user.mfa_exempt {
        let reason = exempt.reason.clone().unwrap_or_default();
        change.record(Event::Factor { user: id, happened: FactorEvent::ExemptionGranted { reason, by } });
    }
}

/// Why a batch was not stored.
enum Failure {
    /// A unique value was taken since it was looked for.
    Raced,
    Other(Error),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Taken(_) => Self::Raced,
            other => Self::Other(other.into()),
        }
    }
}
