//! Counters by status, each made when its status first occurs.

use std::sync::OnceLock;

use prometheus::IntCounter;

/// Statuses are 100 to 599; what is outside counts as `other`, in the last place.
const STATUSES: usize = 500;

/// One counter for each status. 8 KiB once anything was counted, nothing before.
#[derive(Debug)]
pub(super) struct StatusCounters(OnceLock<Box<[OnceLock<IntCounter>]>>);

impl StatusCounters {
    pub(super) fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Adds one; `find` looks the counter up the first time.
    pub(super) fn inc(&self, status: u16, find: impl FnOnce(&str) -> IntCounter) {
        let counters = self.0.get_or_init(|| (0..=STATUSES).map(|_| OnceLock::new()).collect());
        let place = usize::from(status).checked_sub(100).filter(|place| *place < STATUSES);
        let slot = &counters[place.unwrap_or(STATUSES)];
        let counter = slot.get_or_init(|| match place {
            Some(_) => find(&status.to_string()),
            None => find("other"),
        });
        counter.inc();
    }
}
