//! What stands between everybody and a place that may be gone. Nobody waits for it longer than it may
//! take; once it has failed it is left alone for a moment, in which everybody is told so at once, and
//! then one caller tries it for all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::transient::TransientError;

/// How long a place is left alone after it failed.
const REST: Duration = Duration::from_secs(1);
/// The value of "it works".
const AWAKE: u64 = 0;

/// The state of one place.
#[derive(Debug)]
pub(super) struct Breaker {
    /// The place, as the log calls it.
    name: &'static str,
    /// Longest wait for an answer.
    timeout: Duration,
    began: Instant,
    /// Milliseconds after `began` until which it is left alone.
    rests_until: AtomicU64,
}

/// Why a place was not asked, or not waited for any longer.
#[derive(Debug, thiserror::Error)]
enum Unasked {
    #[error("{0} did not answer in time")]
    Late(&'static str),
    #[error("{0} failed a moment ago")]
    Resting(&'static str),
}

impl Breaker {
    /// Of a place that is taken to work.
    pub(super) fn new(name: &'static str, timeout: Duration) -> Self {
        Self { name, timeout, began: Instant::now(), rests_until: AtomicU64::new(AWAKE) }
    }

    /// While the place rests nobody is let through; when that is over, one to try it.
    pub(super) fn admit(&self) -> Result<(), TransientError> {
        let rests_until = self.rests_until.load(Ordering::Relaxed);
        if rests_until == AWAKE {
            return Ok(());
        }
        let now = self.now();
        let is_first = || {
            let next = now + millis(REST.max(self.timeout));
            self.rests_until.compare_exchange(rests_until, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        if now >= rests_until && is_first() { Ok(()) } else { Err(TransientError(Unasked::Resting(self.name).into())) }
    }

    /// Whether the place has failed, and not answered since.
    pub(super) fn is_resting(&self) -> bool {
        self.rests_until.load(Ordering::Relaxed) != AWAKE
    }

    /// What the place answers, within its time, to somebody who was admitted. A refusal of this one
    /// question `is_an_answer` too: others may still be answered.
    pub(super) async fn judge<T, E: std::error::Error + Send + Sync + 'static>(
        &self,
        answer: impl Future<Output = Result<T, E>>,
        is_an_answer: impl Fn(&E) -> bool,
    ) -> Result<T, TransientError> {
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Err(error)) if !is_an_answer(&error) => {
                self.fail(&error);
                Err(TransientError(error.into()))
            }
            Err(_) => {
                let late = Unasked::Late(self.name);
                self.fail(&late);
                Err(TransientError(late.into()))
            }
            Ok(answer) => {
                if self.rests_until.swap(AWAKE, Ordering::Relaxed) != AWAKE {
                    tracing::info!("{} answers again", self.name);
                }
                answer.map_err(|error| TransientError(error.into()))
            }
        }
    }

    fn fail(&self, error: &(dyn std::error::Error + 'static)) {
        if self.rests_until.swap(self.now() + millis(REST), Ordering::Relaxed) == AWAKE {
            tracing::error!(error = %crate::logging::chain(error), "{} cannot be asked", self.name);
        }
    }

    /// Never [`AWAKE`].
    fn now(&self) -> u64 {
        millis(self.began.elapsed()) + 1
    }
}

/// Whole milliseconds.
pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
