//! Counters as text, for where they stand on another machine: a letter and whole numbers, times in
//! microseconds. A text that says anything else is not ours.

use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;

use crate::domain::clock::Time;
use crate::transient::counters::{Attempts, Sliding, Weighted};

/// A counter that can be written down and read back.
pub(in crate::transient) trait Counter: Sized + Send + Sync {
    /// Reads what [`Counter::write`] wrote; `None` is anything else.
    fn read(text: &str) -> Option<Self>;
    /// The same counter always makes the same text.
    fn write(&self) -> String;
    /// When nothing of it counts any more.
    fn ends_at(&self, now: Time) -> Time;
}

impl Counter for Sliding {
    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        match words.next()? {
            "exact" => {
                let window = span(words.next()?)?;
                let times: Option<Vec<Time>> = words.map(time).collect();
                Some(Self::Exact { times: times?, window })
            }
            "weighted" => {
                let read = Weighted {
                    began: time(words.next()?)?,
                    window: span(words.next()?)?,
                    current: number(words.next()?)?,
                    previous: number(words.next()?)?,
                };
                words.next().is_none().then_some(Self::Weighted(read))
            }
            _ => None,
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Exact { times, window } => {
                let mut text = format!("exact {}", window.as_micros());
                for time in times {
                    let _ = write!(text, " {}", time.micros());
                }
                text
            }
            Self::Weighted(Weighted { began, window, current, previous }) => {
                format!("weighted {} {} {current} {previous}", began.micros(), window.as_micros())
            }
        }
    }

    fn ends_at(&self, now: Time) -> Time {
        Sliding::ends_at(self, now)
    }
}

impl Counter for Attempts {
    fn read(text: &str) -> Option<Self> {
        let mut words = text.strip_prefix("attempts ")?.split(' ');
        let read = Self {
            failed: number(words.next()?)?,
            pending: number(words.next()?)?,
            pending_until: time(words.next()?)?,
            window_ends: time(words.next()?)?,
            blocked_until: time(words.next()?)?,
        };
        words.next().is_none().then_some(read)
    }

    fn write(&self) -> String {
        let Self { failed, pending, pending_until, window_ends, blocked_until } = self;
        let times = [pending_until, window_ends, blocked_until].map(|time| time.micros());
        format!("attempts {failed} {pending} {} {} {}", times[0], times[1], times[2])
    }

    fn ends_at(&self, _: Time) -> Time {
        Attempts::ends_at(self)
    }
}

fn number<T: FromStr>(word: &str) -> Option<T> {
    word.parse().ok()
}

fn time(word: &str) -> Option<Time> {
    number(word).map(Time::from_micros)
}

/// A window of no length would divide by nought.
fn span(word: &str) -> Option<Duration> {
    number(word).filter(|micros| *micros > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transient::{Penalty, Tally};

    const MINUTE: Duration = Duration::from_mins(1);

    proptest! {
        /// Whatever has happened to a counter, what is read back goes on as it would have.
        #[test]
        fn what_is_written_reads_back(pauses in prop::collection::vec(0_u64..20_000, 0..60), max in 1_u64..40) {
            let rule = Tally { max, window: MINUTE, penalty: Penalty::Lock(MINUTE) };
            let mut now = Time::from_secs(1_000);
            let (mut sliding, mut attempts) = (Sliding::new(now, max, MINUTE), Attempts::new(now, &rule));
            for pause in pauses {
                now = now + Duration::from_millis(pause);
                sliding.hit(max, MINUTE, now);
                attempts.reserve(&rule, now);
                if pause % 3 == 0 {
                    attempts.fail(&rule, now);
                }
            }

            let mut read = (Sliding::read(&sliding.write()).unwrap(), Attempts::read(&attempts.write()).unwrap());

            prop_assert_eq!(read.0.hit(max, MINUTE, now), sliding.hit(max, MINUTE, now));
            prop_assert_eq!(read.1.reserve(&rule, now), attempts.reserve(&rule, now));
            prop_assert_eq!((read.0.write(), read.1.write()), (sliding.write(), attempts.write()));
        }
    }

    #[test]
    fn what_nobody_of_us_wrote_is_no_counter() {
        for text in
            ["", "exact", "exact 0", "exact 1 x", "weighted 1 2 3", "weighted 1 2 3 4 5", "weighted 1 2 -3 4", "7"]
        {
            assert!(Sliding::read(text).is_none(), "{text}");
        }
        for text in ["", "attempts", "attempts 1 2 3 4", "attempts 1 2 3 4 5 6", "attempts -1 2 3 4 5", "exact 1"] {
            assert!(Attempts::read(text).is_none(), "{text}");
        }
    }
}
