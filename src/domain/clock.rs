//! Time. Everything takes it from a [`Clock`], so tests can move it.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point in time, in whole microseconds since 1970 (the unit all three databases keep).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(i64);

impl Time {
    /// A time stored as microseconds since 1970.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// A time given in whole seconds since 1970, as JWTs do.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since 1970.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down.
    #[must_use]
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// How long after `earlier` this is; zero when it is before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

/// ISO 8601 in UTC with milliseconds, as the wire writes dates.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = u64::try_from(self.0).unwrap_or(0);
        let time = UNIX_EPOCH + Duration::from_micros(micros);
        humantime::format_rfc3339_millis(time).fmt(f)
    }
}

/// A smaller difference between two clocks is none: time must not tremble with every look at the other one.
const EVEN: Duration = Duration::from_millis(50);

/// Where time comes from: the system, or a test's hand. Clones share it.
///
/// The system's time is read once. From then on it runs evenly, whatever is done to the machine's
/// clock, and changes only by what it is made to [`Clock::follow`].
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System(Arc<Steady>),
    Manual(Arc<AtomicI64>),
}

#[derive(Debug)]
struct Steady {
    began: Instant,
    began_at: Time,
    /// By how much it was set since, in microseconds.
    moved: AtomicI64,
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System(Arc::new(Steady {
            began: Instant::now(),
            began_at: system_now(),
            moved: AtomicI64::new(0),
        })))
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    #[must_use]
    pub fn manual(start: Time) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(start.micros()))))
    }

    /// The present time.
    #[must_use]
    pub fn now(&self) -> Time {
        match &self.0 {
            Source::System(steady) => steady.now(),
            Source::Manual(micros) => Time(micros.load(Ordering::SeqCst)),
        }
    }

    /// How long it has been running; setting it changes nothing of that.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        match &self.0 {
            Source::System(steady) => steady.began.elapsed(),
            Source::Manual(_) => self.now().since(Time(0)),
        }
    }

    /// Goes by a clock that several nodes share from here on, or by the machine's own where there is none.
    ///
    /// `shared` was read somewhere between `asked` (of this clock) and now, and nobody knows when; what
    /// may be due to that changes nothing. A manual clock follows nobody.
    pub fn follow(&self, shared: Option<Time>, asked: Time) {
        let Source::System(steady) = &self.0 else { return };
        let answered = steady.now();
        let (there, here, doubt) = match shared {
            Some(shared) => {
                let half = answered.since(asked) / 2;
                (shared, asked + half, half)
            }
            None => (system_now(), answered, Duration::ZERO),
        };
        let behind = there.0.saturating_sub(here.0);
        if Duration::from_micros(behind.unsigned_abs()) > doubt + EVEN {
            steady.moved.fetch_add(behind, Ordering::Relaxed);
        }
    }

    /// How far the machine's own clock is from this one, either way.
    #[must_use]
    pub fn skew(&self) -> Duration {
        match &self.0 {
            Source::System(steady) => {
                let (own, shared) = (system_now(), steady.now());
                own.since(shared).max(shared.since(own))
            }
            Source::Manual(_) => Duration::ZERO,
        }
    }

    /// Moves a manual clock forward.
    ///
    /// # Panics
    /// When the clock is the system's.
    pub fn advance(&self, span: Duration) {
        match &self.0 {
            Source::System(_) => panic!("the system's clock cannot be moved"),
            Source::Manual(micros) => {
                let span = i64::try_from(span.as_micros()).expect("a span that fits");
                micros.fetch_add(span, Ordering::SeqCst);
            }
        }
    }
}

impl Steady {
    fn now(&self) -> Time {
        let ran = self.began_at + self.began.elapsed();
        Time(ran.0.saturating_add(self.moved.load(Ordering::Relaxed)))
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the system's time")]
fn system_now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_iso_8601_with_milliseconds() {
        assert_eq!(Time::from_micros(1_700_000_000_123_456).to_string(), "2023-11-14T22:13:20.123Z");
    }

    #[test]
    fn a_manual_clock_moves_only_by_hand_and_is_shared_by_its_clones() {
        let clock = Clock::manual(Time::from_secs(100));
        let clone = clock.clone();

        clock.advance(Duration::from_secs(5));

        assert_eq!(clone.now(), Time::from_secs(105));
        assert_eq!(clone.now().since(Time::from_secs(100)), Duration::from_secs(5));
        assert_eq!(Time::from_secs(1).since(Time::from_secs(2)), Duration::ZERO);
    }
    #[test]
    fn the_systems_clock_goes_by_the_one_it_follows() {
        let clock = Clock::system();
        assert!(clock.skew() < Duration::from_secs(1));
        let hour = Duration::from_hours(1);

        for ahead in [clock.now() + hour, clock.now() - hour] {
            clock.follow(Some(ahead), clock.now());
            assert!(clock.now() >= ahead && clock.now().since(ahead) < Duration::from_secs(5));
            assert!(clock.skew() > Duration::from_mins(59), "{:?}", clock.skew());
            assert!(clock.elapsed() < Duration::from_mins(1), "it has not run for longer");
        }

        clock.follow(None, clock.now());
        assert!(clock.skew() < Duration::from_secs(1));
    }

    #[test]
    fn what_the_way_to_the_other_clock_may_explain_is_no_difference() {
        let clock = Clock::system();
        let began = clock.now();

        // It said so at some time of the ten seconds that the answer took.
        clock.follow(Some(began - Duration::from_secs(2)), began - Duration::from_secs(10));

        assert!(clock.now() >= began && clock.now().since(began) < Duration::from_secs(1));
    }

    #[test]
    fn a_manual_clock_follows_nobody() {
        let clock = Clock::manual(Time::from_secs(100));

        clock.follow(None, Time::from_secs(1));
        clock.follow(Some(Time::from_secs(7)), Time::from_secs(100));

        assert_eq!((clock.now(), clock.skew()), (Time::from_secs(100), Duration::ZERO));
    }
}
