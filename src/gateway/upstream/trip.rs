//! A request's way to its upstream: which target it is at, and where it has been.

use std::io;
use std::sync::Arc;

use crate::config::settings::Destination;
use crate::gateway::upstream::Balanced;
use crate::gateway::upstream::addresses::Address;
use crate::gateway::upstream::balance::Set;
use crate::gateway::upstream::endpoint::{Endpoint, Visit};
use crate::gateway::upstream::places::Place;
use crate::metrics::{ConnectError, RetryOutcome};

/// Most connections tried for one request, whatever the settings say.
pub(in crate::gateway) const MAX_TRIES: usize = 15;

/// One request on its way. It counts as under way at its target until it is dropped.
#[derive(Debug)]
pub struct Trip {
    upstream: Arc<Balanced>,
    visit: Visit,
    /// Held to the end.
    _place: Option<Place>,
    address: Option<Arc<Address>>,
    key: Option<u64>,
    visited: Set,
    tries: usize,
    retries: usize,
}

impl Trip {
    /// Sets out to the target that `upstream` chooses; requests with the same key go the same way.
    pub(super) fn new(upstream: &Arc<Balanced>, key: Option<u64>, place: Option<Place>) -> Self {
        let visit = upstream.choose(Set::default(), key);
        let visited = Set::default().with(visit.place());
        Self { upstream: Arc::clone(upstream), visit, _place: place, address: None, key, visited, tries: 0, retries: 0 }
    }

    /// The target it is at.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.visit.endpoint()
    }

    /// Whether it ends at the built-in page.
    #[must_use]
    pub fn is_whoami(&self) -> bool {
        self.endpoint().target.to == Destination::Whoami
    }

    /// The address to connect to.
    ///
    /// # Errors
    /// When no target that may still be tried has one.
    pub(in crate::gateway) async fn next_address(&mut self) -> io::Result<Arc<Address>> {
        loop {
            self.tries += 1;
            match self.endpoint().next_address().await {
                Ok(address) => {
                    self.address = Some(Arc::clone(&address));
                    return Ok(address);
                }
                Err(error) => {
                    self.upstream.metrics.connect_error(ConnectError::Dns);
                    self.endpoint().failed();
                    if !self.goes_on() {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// The address could not be connected to. Whether another one is tried.
    pub(in crate::gateway) fn not_connected(&mut self, why: ConnectError) -> bool {
        self.upstream.metrics.connect_error(why);
        let has_another = self.address.take().is_some_and(|address| self.endpoint().address_failed(&address));
        // Other addresses of the same name are part of finding the target, not another try.
        if has_another && self.tries < MAX_TRIES {
            return true;
        }
        self.endpoint().failed();
        self.goes_on()
    }

    /// The target broke off before its answer, to a request that may be sent again. Whether it is.
    pub(in crate::gateway) fn broken_off(&mut self) -> bool {
        self.goes_on()
    }

    /// The target did not answer in time.
    pub(in crate::gateway) fn timed_out(&self) {
        self.endpoint().failed();
        self.ended(RetryOutcome::Failed);
    }

    /// The target answered.
    pub(in crate::gateway) fn answered(&self) {
        if let Some(address) = &self.address {
            address.take_up();
        }
        self.endpoint().succeeded();
        self.ended(RetryOutcome::Succeeded);
    }

    /// What was tried last came to nothing; turns to the next target, if one may still be tried.
    fn goes_on(&mut self) -> bool {
        self.ended(RetryOutcome::Failed);
        if self.retries >= self.upstream.settings.retries || self.tries >= MAX_TRIES {
            return false;
        }
        self.retries += 1;
        self.visit = self.upstream.choose(self.visited, self.key);
        self.visited = self.visited.with(self.visit.place());
        true
    }

    fn ended(&self, outcome: RetryOutcome) {
        if self.retries > 0 {
            self.upstream.metrics.retried(outcome);
        }
    }
}
