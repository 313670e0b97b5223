//! Attempts: counted before they are made, decided afterwards.
//!
//! What is under way counts as if it failed, so a thousand wrong guesses sent side by side are no
//! more than as many as allowed. What turns out right is taken back.

use std::time::Duration;

use crate::auth::{Auth, Outcome};
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::domain::event::{Event, LockoutScope};
use crate::domain::id::UserId;
use crate::metrics::{RateKey, RateScope};
use crate::transient::{Reserved, Tally, TransientError};

/// What somebody who has to wait for others is told, when the wait takes too long.
const CROWDED: Duration = Duration::from_secs(1);
/// How often it is looked again whether one of the others is decided.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// An attempt under way. [`Attempt::around`] does its work and notes how it ended.
///
/// One that is dropped on the way fails when its time is over. Nothing but a panic and the end of the
/// process drops it, for requests outlive the connections they came on; and whoever finds out how to
/// bring that about is to gain no further try by it.
#[derive(Debug)]
#[must_use]
pub(in crate::auth) struct Attempt {
    auth: Auth,
    held: Vec<Held>,
}

/// How the work of an attempt ended, where it came to that.
#[derive(Debug)]
pub(in crate::auth) enum Verdict<T> {
    /// It was right: clears what was counted for the account, never what was for the client.
    Right(T),
    /// It was right, and more is asked for: takes it back and clears nothing.
    Open(T),
    /// It was wrong: it stays counted.
    Wrong(Error),
    /// There was nothing it could have hit. It stays counted for who made it and what it was aimed at,
    /// and says nothing about the whole site.
    Missed(Error),
}

impl Verdict<Outcome> {
    /// What a login comes to that went well: it is decided when tokens are there.
    pub(in crate::auth) fn of_login(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Authenticated(_) => Self::Right(outcome),
            Outcome::Challenged(_) => Self::Open(outcome),
        }
    }
}

/// A counter that an attempt counts in.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) key: String,
    pub(super) rule: Tally,
    /// Whose tries it counts.
    pub(super) by: RateKey,
    /// Whom it locks out, if anybody. What speaks of one account is cleared when its owner succeeds.
    pub(super) scope: Option<LockoutScope>,
}

impl Held {
    /// Whether it speaks of one account.
    pub(super) fn is_of_account(&self) -> bool {
        matches!(self.scope, Some(LockoutScope::Account | LockoutScope::AccountAndClient))
    }
}

impl Attempt {
    /// Does the work of an attempt on this user, and notes how it ended. What keeps the work from a
    /// verdict decides nothing and costs nothing: an outage uses up nobody's tries.
    pub(in crate::auth) fn around<'a, T: Send + 'a>(
        self,
        user: Option<UserId>,
        ctx: &'a RequestContext,
        work: impl Future<Output = Result<Verdict<T>, Error>> + Send + 'a,
    ) -> impl Future<Output = Result<T, Error>> + Send + 'a {
        // It is most of what a request is: whoever waits for it is not to carry it about.
        let work = Box::pin(work);
        async move {
            match work.await {
                Ok(Verdict::Right(brought)) => {
                    self.succeeded().await;
                    Ok(brought)
                }
                Ok(Verdict::Open(brought)) => {
                    self.undecided().await;
                    Ok(brought)
                }
                Ok(Verdict::Wrong(error)) => {
                    self.failed(user, ctx).await;
                    Err(error)
                }
                Ok(Verdict::Missed(error)) => {
                    self.missed(user, ctx).await;
                    Err(error)
                }
                Err(error) => {
                    self.undecided().await;
                    Err(error)
                }
            }
        }
    }

    async fn succeeded(self) {
        let clears = self.auth.settings.lockout.reset_on_success;
        for held in &self.held {
            let (transient, key) = (&self.auth.parts.transient, &held.key);
            // What cannot be taken back ends by itself.
            let _ =
                if held.is_of_account() && clears { transient.delete(key).await } else { transient.refund(key).await };
        }
    }

    async fn undecided(self) {
        for Held { key, .. } in &self.held {
            let _ = self.auth.parts.transient.refund(key).await;
        }
    }

    async fn failed(self, user: Option<UserId>, ctx: &RequestContext) {
        for Held { key, rule, scope, .. } in &self.held {
            // One that cannot be told stays under way, and fails when its time is over.
            let was_the_last = self.auth.parts.transient.fail(key, rule).await.unwrap_or(false);
            if let (true, Some(scope)) = (was_the_last, *scope) {
                self.auth.parts.events.record(&Event::LockoutTriggered { user, scope }, ctx).await;
            }
        }
    }

    async fn missed(mut self, user: Option<UserId>, ctx: &RequestContext) {
        let of_site = self.held.extract_if(.., |held| held.by == RateKey::Site).collect();
        Self { auth: self.auth.clone(), held: of_site }.undecided().await;
        self.failed(user, ctx).await;
    }
}

impl Auth {
    /// Begins an attempt that counts in all of these, or in none. While as many others are under
    /// way as may fail, it waits for one of them, no longer than `patience`.
    ///
    /// The inner error is how long to wait before another try.
    pub(super) async fn begin_attempt(
        &self,
        counters: Vec<Held>,
        patience: Duration,
    ) -> Result<Result<Attempt, Duration>, Error> {
        let give_up = tokio::time::Instant::now() + patience;
        let mut attempt = Attempt { auth: self.clone(), held: Vec::with_capacity(counters.len()) };
        for held in counters {
            let scope = if held.scope.is_some() { RateScope::Lockout } else { RateScope::Code };
            match self.reserve(&held, give_up).await {
                Ok(Ok(())) => attempt.held.push(held),
                Ok(Err(retry_after)) => {
                    self.parts.metrics.rate_limited(scope, held.by);
                    attempt.undecided().await;
                    return Ok(Err(retry_after));
                }
                Err(error) => {
                    if let Err(error) = self.uncounted(scope, error) {
                        attempt.undecided().await;
                        return Err(error);
                    }
                }
            }
        }
        Ok(Ok(attempt))
    }

    async fn reserve(
        &self,
        held: &Held,
        give_up: tokio::time::Instant,
    ) -> Result<Result<(), Duration>, TransientError> {
        let mut pause = SHORTEST_PAUSE;
        loop {
            match self.parts.transient.reserve(&held.key, &held.rule).await? {
                Reserved::Granted => return Ok(Ok(())),
                Reserved::Blocked { retry_after } => return Ok(Err(retry_after)),
                Reserved::Crowded if tokio::time::Instant::now() + pause > give_up => return Ok(Err(CROWDED)),
                Reserved::Crowded => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
