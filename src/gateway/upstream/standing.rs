//! How a target stands: in, or out for a while because it fails.
//!
//! Requests tell: a target that fails three times in a row is out for a second. Then one request
//! tries it; when that fails too, it is out for twice as long, up to a minute. One answer, whatever
//! its status, and it is in again. Where targets are asked how they are, a target that is not well
//! is out until it is.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use prometheus::IntGauge;

use crate::config::settings::HealthCheck;
use crate::gateway::upstream::addresses::millis;

/// Failures in a row that take a target out.
const PATIENCE: u32 = 3;
/// The first time it is out.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest time it is out.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// What is known of one target. Times are milliseconds of uptime.
#[derive(Debug)]
pub(super) struct Standing {
    /// Failures in a row.
    failures: AtomicU32,
    /// 0 = it is in.
    out_until: AtomicU64,
    /// One request is trying it.
    on_trial: AtomicBool,
    /// How often it was taken out since it last answered.
    pauses: AtomicU32,
    /// It said that it is not well.
    unwell: AtomicBool,
    /// Checks in a row that contradict what is believed.
    surprises: AtomicU32,
    /// How long the request that tries it again may take before another one does.
    trial: Duration,
    gauge: IntGauge,
}

impl Standing {
    /// Of a target nothing bad is known of. `gauge` tells whether it is in.
    pub(super) fn new(trial: Duration, gauge: IntGauge) -> Self {
        gauge.set(1);
        Self {
            failures: AtomicU32::new(0),
            out_until: AtomicU64::new(0),
            on_trial: AtomicBool::new(false),
            pauses: AtomicU32::new(0),
            unwell: AtomicBool::new(false),
            surprises: AtomicU32::new(0),
            trial,
            gauge,
        }
    }

    /// Whether requests may go there.
    pub(super) fn is_in(&self, now: u64) -> bool {
        self.out_until.load(Ordering::Relaxed) <= now && !self.unwell.load(Ordering::Relaxed)
    }

    /// Called for a target that [`Standing::is_in`] and was chosen. Of those that come after a pause
    /// only the first one may go; the others go elsewhere.
    pub(super) fn may_enter(&self, now: u64) -> bool {
        match self.out_until.load(Ordering::Relaxed) {
            0 => true,
            until => {
                let is_first = self.move_end(until, now.saturating_add(millis(self.trial)));
                if is_first {
                    self.on_trial.store(true, Ordering::Relaxed);
                }
                is_first
            }
        }
    }

    /// It answered. Returns whether that is news.
    pub(super) fn succeeded(&self) -> bool {
        // Read before it is written: the usual answer changes nothing, and all threads share these.
        if self.failures.load(Ordering::Relaxed) == 0 {
            return false;
        }
        self.forget_failures() && !self.unwell.load(Ordering::Relaxed)
    }

    /// It was asked how it is, which is done once at a time. Returns how it is, when that is news.
    pub(super) fn checked(&self, is_well: bool, health: &HealthCheck) -> Option<bool> {
        if is_well != self.unwell.load(Ordering::Relaxed) {
            self.surprises.store(0, Ordering::Relaxed);
            return None;
        }
        let needed = if is_well { health.healthy } else { health.unhealthy };
        if self.surprises.fetch_add(1, Ordering::Relaxed).saturating_add(1) < needed {
            return None;
        }
        self.surprises.store(0, Ordering::Relaxed);
        self.unwell.store(!is_well, Ordering::Relaxed);
        if is_well {
            self.forget_failures();
        } else {
            self.gauge.set(0);
        }
        Some(is_well)
    }

    /// Returns whether it was out for them.
    fn forget_failures(&self) -> bool {
        self.failures.store(0, Ordering::Relaxed);
        self.pauses.store(0, Ordering::Relaxed);
        let was_out = self.out_until.swap(0, Ordering::Relaxed) != 0;
        if !self.unwell.load(Ordering::Relaxed) {
            self.gauge.set(1);
        }
        was_out
    }

    /// It failed. Returns for how long it is out, when that begins now.
    pub(super) fn failed(&self, now: u64) -> Option<Duration> {
        let until = self.out_until.load(Ordering::Relaxed);
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        // Many requests may fail at once; what they found out is one thing, and one of them says it.
        let begins = if until == 0 { failures >= PATIENCE } else { self.on_trial.swap(false, Ordering::Relaxed) };
        let pauses = self.pauses.load(Ordering::Relaxed);
        let pause = FIRST_PAUSE.saturating_mul(1 << pauses.min(10)).min(LONGEST_PAUSE);
        if !begins || !self.move_end(until, now.saturating_add(millis(pause))) {
            return None;
        }
        self.pauses.store(pauses.saturating_add(1), Ordering::Relaxed);
        self.gauge.set(0);
        Some(pause)
    }

    fn move_end(&self, from: u64, to: u64) -> bool {
        self.out_until.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIAL: u64 = 500;

    fn standing() -> (Standing, IntGauge) {
        let gauge = IntGauge::new("standing", "for a test").unwrap();
        (Standing::new(Duration::from_millis(TRIAL), gauge.clone()), gauge)
    }

    fn out(standing: &Standing, now: u64) -> Option<u64> {
        (0..PATIENCE).find_map(|_| standing.failed(now)).map(millis)
    }

    #[test]
    fn three_failures_in_a_row_are_needed() {
        let (standing, gauge) = standing();
        for _ in 0..5 {
            assert_eq!((standing.failed(1), standing.failed(2)), (None, None));
            assert!(!standing.succeeded(), "it was never out");
        }

        assert_eq!(out(&standing, 10), Some(1000));

        assert!(!standing.is_in(1009) && standing.is_in(1010));
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn those_that_fail_beside_it_say_nothing_new() {
        let (standing, _) = standing();
        out(&standing, 10);
        assert!((0..100).all(|late| standing.failed(20 + late).is_none()));
        assert!(standing.is_in(1010));
    }

    #[test]
    fn one_request_tries_it_again_and_the_pause_grows_while_it_fails() {
        let (standing, gauge) = standing();
        out(&standing, 0);
        let mut now = 1000;
        for expected in [2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] {
            assert!(standing.is_in(now) && standing.may_enter(now));
            assert!(!standing.is_in(now), "one is enough");
            assert_eq!(standing.failed(now).map(millis), Some(expected));
            now += expected;
        }

        assert!(standing.may_enter(now));
        assert!(standing.succeeded(), "it is news");
        assert_eq!(gauge.get(), 1);
        assert!(standing.is_in(now) && standing.may_enter(now) && standing.may_enter(now));
        assert_eq!(out(&standing, now), Some(1000), "from the start again");
    }

    #[test]
    fn a_trial_nobody_hears_of_is_followed_by_another() {
        let (standing, _) = standing();
        out(&standing, 0);
        assert!(standing.may_enter(1000));
        assert!(!standing.is_in(1000 + TRIAL - 1));
        assert!(standing.is_in(1000 + TRIAL) && standing.may_enter(1000 + TRIAL));
    }

    #[test]
    fn checks_take_a_target_out_and_bring_it_back() {
        use crate::config::settings::Probe;
        let (second, probe) = (Duration::from_secs(1), Probe::Tcp);
        let health = HealthCheck { probe, interval: second, timeout: second, healthy: 2, unhealthy: 3 };
        let (standing, gauge) = standing();
        let check = |is_well| standing.checked(is_well, &health);

        assert_eq!([check(false), check(false), check(true), check(false), check(false)], [None; 5], "not in a row");
        assert_eq!(check(false), Some(false));
        assert!(!standing.is_in(u64::MAX) && gauge.get() == 0);
        standing.failed(1);
        standing.succeeded();
        assert!(!standing.is_in(u64::MAX) && gauge.get() == 0, "a request is not asked");

        out(&standing, 1);
        assert_eq!([check(true), check(false), check(true), check(true)], [None, None, None, Some(true)]);
        assert!(standing.is_in(0) && gauge.get() == 1, "what requests found out is past");
    }
}
