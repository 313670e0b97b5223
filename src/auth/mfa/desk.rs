//! What every method works at, and what it has to know.

use crate::auth::Auth;
use crate::auth::mfa::{FactorAnswer, MAX_FACTORS, ProofData, SetupAnswer, SetupData, SetupWish};
use crate::domain::challenge::StepKind;
use crate::domain::error::Error;
use crate::domain::event::{Event, FactorEvent};
use crate::domain::factor::{Factor, Method, usable};
use crate::domain::id::{ChallengeId, SessionId, random_number};
use crate::domain::user::User;
use crate::events::Change;
use crate::store::StoreError;
use crate::store::ceremonies::Ceremony;
use crate::store::factors::Proof;

/// What keeps the name of a factor that is not set up yet.
const NAME: &str = "factor_name";

/// Where somebody stands who sets a factor up or proves one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// On the way in.
    Challenge(ChallengeId),
    /// In a session.
    Session(SessionId),
}

impl At {
    pub(super) fn challenge(self) -> Option<ChallengeId> {
        match self {
            Self::Challenge(id) => Some(id),
            Self::Session(_) => None,
        }
    }

    pub(super) fn session(self) -> Option<SessionId> {
        match self {
            Self::Challenge(_) => None,
            Self::Session(id) => Some(id),
        }
    }

    /// What ceremonies are bound to.
    pub(super) fn name(self) -> String {
        match self {
            Self::Challenge(id) => format!("challenge/{id}"),
            Self::Session(id) => format!("session/{id}"),
        }
    }
}

/// One visit: whose, where, and in which change.
#[derive(Debug)]
pub(super) struct Desk<'a> {
    pub(super) auth: &'a Auth,
    pub(super) change: &'a mut Change,
    pub(super) user: User,
    pub(super) at: At,
}

/// A factor about to be stored.
#[derive(Debug)]
pub(super) struct NewFactor {
    pub(super) id: i64,
    pub(super) method: Method,
    pub(super) name: Option<String>,
    pub(super) address: Option<String>,
    pub(super) proof: Proof,
    /// Whether it was proven just now, and not some time before.
    pub(super) is_proven: bool,
}

impl NewFactor {
    pub(super) fn new(method: Method) -> Self {
        Self { id: random_number(), method, name: None, address: None, proof: Proof::default(), is_proven: true }
    }
}

/// A method. Wrong answers come as the inner error: what they cost is committed all the same.
pub(super) trait Kind {
    /// Begins to set a factor up.
    async fn begin_setup(&self, desk: &mut Desk<'_>, wish: &SetupWish) -> Result<SetupData, Error>;

    /// Checks the answer; the factor comes back to be stored.
    async fn finish_setup(&self, desk: &mut Desk<'_>, answer: &SetupAnswer) -> Result<Result<NewFactor, Error>, Error>;

    /// Gets ready to be proven.
    async fn begin_proof(&self, desk: &mut Desk<'_>) -> Result<ProofData, Error>;

    /// Checks a proof; answers which factor was proven, if it was one.
    async fn prove(&self, desk: &mut Desk<'_>, answer: &FactorAnswer) -> Result<Result<Option<i64>, Error>, Error>;
}

impl Desk<'_> {
    /// The user's factors of one method, or the one that is meant, as far as they prove anything.
    pub(super) async fn factors(&mut self, method: Method, meant: Option<i64>) -> Result<Vec<Factor>, Error> {
        let mut factors = usable(&self.present().await?, &self.auth.settings.mfa.policy.methods);
        factors.retain(|factor| factor.method == method && meant.is_none_or(|id| id == factor.id));
        Ok(factors)
    }

    /// Everything the user has set up.
    pub(super) async fn present(&mut self) -> Result<Vec<Factor>, Error> {
        Ok(self.change.factors().of_user(self.user.id).await?)
    }

    /// Keeps what a factor is to be called until it is set up here.
    pub(super) async fn keep_name(&mut self, method: Method, name: &str) -> Result<(), Error> {
        let handle = format!("{NAME}/{}/{}", self.at.name(), method.as_str());
        let ceremony = Ceremony {
            purpose: NAME,
            user: Some(self.user.id),
            bound_to: self.at.name(),
            sealed: self.auth.sealer.seal(&handle, 0, name.as_bytes()),
            handle,
            expires_at: self.auth.now() + self.auth.settings.challenge.ttl,
        };
        Ok(self.change.ceremonies().begin(&ceremony).await?)
    }

    async fn kept_name(&mut self, method: Method) -> Result<Option<String>, Error> {
        let handle = format!("{NAME}/{}/{}", self.at.name(), method.as_str());
        let kept = self.change.ceremonies().find(NAME, &self.at.name(), &handle, self.auth.now()).await?;
        // A name is not worth a refusal.
        let opened = kept.and_then(|sealed| self.auth.sealer.open(&handle, 0, &sealed).ok());
        Ok(opened.and_then(|name| String::from_utf8(name).ok()))
    }

    /// Stores a factor unless the very same is there: an address is one factor.
    pub(super) async fn put(&mut self, new: NewFactor) -> Result<i64, Error> {
        if let Some(address) = &new.address {
            let present = self.present().await?;
            if let Some(same) = present.iter().find(|factor| factor.is_at(new.method, address)) {
                if new.is_proven {
                    self.change.factors().used(same.id, self.auth.now()).await?;
                }
                return Ok(same.id);
            }
        }
        self.store(new).await
    }

    /// Stores a factor that is set up, and tells everybody. From then on it is proven, not set up: what was asked
    /// of somebody without one is void, and so is what was trusted without one.
    async fn store(&mut self, new: NewFactor) -> Result<i64, Error> {
        let present = self.present().await?;
        if present.len() >= MAX_FACTORS {
            return Err(Error::InvalidInput(format!("No more than {MAX_FACTORS} factors; remove one first")));
        }
        let is_first = present.is_empty();
        let name = match new.name {
            Some(name) => Some(name),
            None => self.kept_name(new.method).await?,
        };
        let factor = Factor {
            id: new.id,
            user: self.user.id,
            method: new.method,
            name: name.unwrap_or_else(|| new.method.default_name().to_owned()),
            address: new.address,
            preferred: is_first,
            created_at: self.auth.now(),
            last_used_at: None,
        };
        self.change.factors().insert(&factor, &new.proof).await.map_err(|error| match error {
            StoreError::Taken(_) => Error::InvalidInput("This factor is registered already".to_owned()),
            other => other.into(),
        })?;
        let (user, method, now) = (self.user.id, factor.method, self.auth.now());
        if new.is_proven {
            self.change.factors().used(factor.id, now).await?;
        }
        self.change.challenges().lapse(user, StepKind::SetUpFactor, self.at.challenge(), now).await?;
        if is_first {
            self.auth.forget_earlier_devices(self.change, user).await?;
        }
        self.change
            .record(Event::Factor { user, happened: FactorEvent::Added { factor: factor.id, method, is_first } });
        self.auth.tell_factor_added(self.change, &self.user, &factor, is_first);
        Ok(factor.id)
    }
}
