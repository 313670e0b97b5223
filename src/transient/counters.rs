//! The arithmetic of counters, pure: memory does it in place, and what stands elsewhere is put back if nobody was faster.

pub(super) mod text;

use std::time::Duration;

use crate::domain::clock::Time;
use crate::transient::{Hit, Penalty, Reserved, Tally};

/// Limits up to this are kept exactly: each count with its time.
const EXACT: u64 = 16;

/// Counts within a sliding window.
#[derive(Debug, Clone)]
pub(super) enum Sliding {
    /// Few: each with its time, oldest first.
    Exact { times: Vec<Time>, window: Duration },
    /// Many: two fixed windows.
    Weighted(Weighted),
}

impl Sliding {
    pub(super) fn new(now: Time, max: u64, window: Duration) -> Self {
        if max <= EXACT {
            Self::Exact { times: Vec::new(), window }
        } else {
            Self::Weighted(Weighted::new(now, window))
        }
    }

    /// When nothing of it counts any more.
    pub(super) fn ends_at(&self, now: Time) -> Time {
        match self {
            Self::Exact { times, window } => times.last().copied().unwrap_or(now) + *window,
            Self::Weighted(weighted) => weighted.ends_at(),
        }
    }

    pub(super) fn count(&self) -> u64 {
        match self {
            Self::Exact { times, .. } => times.len() as u64,
            Self::Weighted(weighted) => weighted.count(),
        }
    }

    pub(super) fn hit(&mut self, max: u64, window: Duration, now: Time) -> Hit {
        // Another limit may be in force since a reload.
        if matches!(self, Self::Exact { .. }) != (max <= EXACT) {
            *self = Self::new(now, max, window);
        }
        match self {
            Self::Weighted(weighted) => weighted.hit(max, window, now),
            Self::Exact { times, window: kept } => {
                *kept = window;
                times.retain(|time| now.since(*time) < window);
                let count = times.len() as u64;
                if count < max {
                    times.push(now);
                    return Hit::Allowed;
                }
                // With `max` or more of them, the one whose end leaves a place free.
                let frees = usize::try_from(count - max).unwrap_or(0);
                Hit::Refused { count, retry_after: (times[frees] + window).since(now) }
            }
        }
    }

    pub(super) fn unhit(&mut self) {
        match self {
            Self::Exact { times, .. } => drop(times.pop()),
            Self::Weighted(weighted) => weighted.unhit(),
        }
    }
}

/// A sliding window, remembered as two fixed ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weighted {
    began: Time,
    current: u64,
    previous: u64,
    window: Duration,
}

impl Weighted {
    fn new(now: Time, window: Duration) -> Self {
        Self { began: now, current: 0, previous: 0, window }
    }

    fn ends_at(&self) -> Time {
        self.began + self.window + self.window
    }

    fn count(&self) -> u64 {
        self.current + self.previous
    }

    fn hit(&mut self, max: u64, window: Duration, now: Time) -> Hit {
        self.roll(window, now);
        let counted = self.weighted(now);
        // A part of a place is a place: so a full window lets the next one through as soon as it has passed,
        // and nobody waits longer than a window.
        if counted < to_float(max) {
            self.current += 1;
            return Hit::Allowed;
        }
        Hit::Refused { count: self.current + self.previous, retry_after: self.wait(max, now) }
    }

    fn unhit(&mut self) {
        self.current = self.current.saturating_sub(1);
    }

    fn roll(&mut self, window: Duration, now: Time) {
        self.window = window;
        let elapsed = now.since(self.began);
        if elapsed >= window + window {
            *self = Self::new(now, window);
        } else if elapsed >= window {
            *self = Self { began: self.began + window, current: 0, previous: self.current, window };
        }
    }

    fn weighted(&self, now: Time) -> f64 {
        let left = 1.0 - now.since(self.began).as_secs_f64() / self.window.as_secs_f64();
        to_float(self.previous) * left.clamp(0.0, 1.0) + to_float(self.current)
    }

    /// How long until there is room; never longer than a window.
    fn wait(&self, max: u64, now: Time) -> Duration {
        let rest = (self.began + self.window).since(now);
        if self.current >= max {
            // The present window is full by itself; when it is the previous one, it fades.
            return rest;
        }
        let free = to_float(max) - to_float(self.current);
        let share = 1.0 - (free / to_float(self.previous.max(1))).clamp(0.0, 1.0);
        self.window.mul_f64(share).saturating_sub(now.since(self.began)).min(rest)
    }
}

/// When an attempt that nobody has decided has failed.
const DECIDED_WITHIN: Duration = Duration::from_secs(30);

/// Failed attempts, those under way, and until when the next one is blocked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempts {
    failed: u64,
    pending: u64,
    pending_until: Time,
    window_ends: Time,
    blocked_until: Time,
}

impl Attempts {
    pub(super) fn new(now: Time, rule: &Tally) -> Self {
        Self { failed: 0, pending: 0, pending_until: now, window_ends: now + rule.window, blocked_until: now }
    }

    pub(super) fn ends_at(&self) -> Time {
        self.window_ends.max(self.blocked_until).max(self.pending_until)
    }

    pub(super) fn count(&self) -> u64 {
        self.failed + self.pending
    }

    pub(super) fn reserve(&mut self, rule: &Tally, now: Time) -> Reserved {
        self.catch_up(rule, now);
        if self.blocked_until > now {
            return Reserved::Blocked { retry_after: self.blocked_until.since(now) };
        }
        let may_fail = match rule.penalty {
            Penalty::Lock(_) => rule.max.saturating_sub(self.failed),
            // A delay never locks: one at a time may always try.
            Penalty::Delay(_) => rule.max.saturating_sub(self.failed).max(1),
        };
        if self.pending >= may_fail {
            return Reserved::Crowded;
        }
        self.pending += 1;
        self.pending_until = now + DECIDED_WITHIN;
        Reserved::Granted
    }

    /// Answers whether this failure is the one too many.
    pub(super) fn fail(&mut self, rule: &Tally, now: Time) -> bool {
        self.catch_up(rule, now);
        self.pending = self.pending.saturating_sub(1);
        self.count_failures(1, rule, now);
        self.failed == rule.max
    }

    pub(super) fn refund(&mut self) {
        self.pending = self.pending.saturating_sub(1);
    }

    /// Lets what has ended by itself end.
    fn catch_up(&mut self, rule: &Tally, now: Time) {
        let lock_is_over =
            matches!(rule.penalty, Penalty::Lock(_)) && self.failed >= rule.max && self.blocked_until <= now;
        if self.window_ends <= now || lock_is_over {
            self.failed = 0;
            self.window_ends = now + rule.window;
        }
        if self.pending > 0 && self.pending_until <= now {
            let abandoned = std::mem::take(&mut self.pending);
            self.count_failures(abandoned, rule, now);
        }
    }

    fn count_failures(&mut self, count: u64, rule: &Tally, now: Time) {
        self.failed += count;
        if self.failed >= rule.max {
            self.blocked_until = self.blocked_until.max(now + penalty(rule, self.failed));
        }
    }
}

fn penalty(rule: &Tally, count: u64) -> Duration {
    match rule.penalty {
        Penalty::Lock(duration) => duration,
        Penalty::Delay(longest) => {
            let doublings = u32::try_from(count - rule.max).unwrap_or(u32::MAX).min(30);
            Duration::from_secs(1 << doublings).min(longest)
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "limits and counts are far below 2^52")]
fn to_float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn a_burst_at_the_edge_of_two_windows_is_no_more_than_one_windows_worth() {
        for max in [10, 100] {
            let start = Time::from_secs(0);
            let mut sliding = Sliding::new(start, max, MINUTE);
            for _ in 0..max {
                assert_eq!(sliding.hit(max, MINUTE, start + Duration::from_secs(59)), Hit::Allowed);
            }
            let after = start + Duration::from_secs(61);
            let passed = (0..max).filter(|_| sliding.hit(max, MINUTE, after) == Hit::Allowed).count();
            assert!(passed <= 2, "{passed} of {max}");
        }
    }

    proptest! {
        /// Whoever waits as long as told passes, and is never told to wait longer than the window.
        #[test]
        fn the_wait_is_enough(hits in prop::collection::vec(0_u64..20_000, 1..80), max in 1_u64..40) {
            let mut now = Time::from_secs(1_000);
            let mut sliding = Sliding::new(now, max, MINUTE);
            for pause in hits {
                now = now + Duration::from_millis(pause);
                if let Hit::Refused { retry_after, .. } = sliding.hit(max, MINUTE, now) {
                    prop_assert!(retry_after <= MINUTE, "{:?}", retry_after);
                    let later = now + retry_after + Duration::from_millis(1);
                    let mut copy = sliding.clone();
                    prop_assert_eq!(copy.hit(max, MINUTE, later), Hit::Allowed, "after {:?}", retry_after);
                }
            }
        }

        /// Steady traffic never gets more than its share.
        #[test]
        fn steady_traffic_stays_within_the_limit(gap in 1_u64..5_000, max in 1_u64..80) {
            let start = Time::from_secs(1_000);
            let mut sliding = Sliding::new(start, max, MINUTE);
            let mut passed = Vec::new();
            for n in 0..(180_000 / gap) {
                let now = start + Duration::from_millis(n * gap);
                if sliding.hit(max, MINUTE, now) == Hit::Allowed {
                    passed.push(now);
                }
            }
            for (at, first) in passed.iter().enumerate() {
                let within = passed[at..].iter().take_while(|time| time.since(*first) < MINUTE).count() as u64;
                prop_assert!(within <= max + max.div_ceil(3), "{within} of {max}");
            }
        }

        /// Whatever the order of attempts and how they end, no more than `max` have failed or may.
        #[test]
        fn a_lock_never_lets_more_through_than_allowed(steps in prop::collection::vec(0_u8..4, 1..200)) {
            let rule = Tally { max: 5, window: Duration::from_hours(1), penalty: Penalty::Lock(MINUTE) };
            let now = Time::from_secs(1_000);
            let mut attempts = Attempts::new(now, &rule);
            let (mut pending, mut failed) = (0_u64, 0_u64);
            for step in steps {
                match step {
                    0 if pending > 0 => {
                        attempts.refund();
                        pending -= 1;
                    }
                    1 if pending > 0 => {
                        attempts.fail(&rule, now);
                        pending -= 1;
                        failed += 1;
                    }
                    _ => match attempts.reserve(&rule, now) {
                        Reserved::Granted => pending += 1,
                        Reserved::Crowded => prop_assert!(failed < 5 && failed + pending == 5),
                        Reserved::Blocked { .. } => prop_assert!(failed == 5),
                    },
                }
                prop_assert!(failed + pending <= 5);
            }
        }
    }

    #[test]
    fn a_delay_grows_and_never_locks() {
        let rule = Tally { max: 3, window: Duration::from_hours(1), penalty: Penalty::Delay(Duration::from_secs(30)) };
        let mut now = Time::from_secs(1_000);
        let mut attempts = Attempts::new(now, &rule);
        let mut waits = Vec::new();
        for _ in 0..10 {
            if let Reserved::Blocked { retry_after } = attempts.reserve(&rule, now) {
                waits.push(retry_after.as_secs());
                now = now + retry_after;
                assert_eq!(attempts.reserve(&rule, now), Reserved::Granted);
            }
            attempts.fail(&rule, now);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn what_nobody_decides_has_failed_and_a_lock_ends() {
        let rule = Tally { max: 2, window: Duration::from_hours(1), penalty: Penalty::Lock(MINUTE) };
        let start = Time::from_secs(1_000);
        let mut attempts = Attempts::new(start, &rule);
        for expected in [Reserved::Granted, Reserved::Granted, Reserved::Crowded] {
            assert_eq!(attempts.reserve(&rule, start), expected);
        }

        let later = start + DECIDED_WITHIN;
        assert_eq!(attempts.reserve(&rule, later), Reserved::Blocked { retry_after: MINUTE });
        assert_eq!(attempts.reserve(&rule, later + MINUTE), Reserved::Granted);
    }
}
