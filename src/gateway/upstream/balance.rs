//! Which target is next: arithmetic over weights, without a lock.
//!
//! Every way chooses out of a [`Set`] of candidates, which is never empty: who is healthy and who was
//! tried already is decided before.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::config::settings::{Balance, Target};

/// Some of an upstream's targets, by their place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Set(u64);

impl Set {
    /// The first `count` targets.
    pub(super) fn of(count: usize) -> Self {
        Self(if count >= 64 { u64::MAX } else { (1 << count) - 1 })
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn has(self, place: usize) -> bool {
        self.0 & (1 << place) != 0
    }

    pub(super) fn with(self, place: usize) -> Self {
        Self(self.0 | (1 << place))
    }

    pub(super) fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Those that `keep` wants.
    pub(super) fn filter(self, keep: impl Fn(usize) -> bool) -> Self {
        self.places().filter(|place| keep(*place)).fold(Self::default(), Self::with)
    }

    fn places(self) -> impl Iterator<Item = usize> {
        (0..64).take_while(move |place| self.0 >> place != 0).filter(move |place| self.has(*place))
    }

    fn first(self) -> usize {
        self.0.trailing_zeros() as usize % 64
    }
}

/// What the choice is made of.
#[derive(Debug)]
pub(super) struct Balancer {
    weights: Box<[u32]>,
    /// What hashing knows a target by; follows its URL, so that it stays when others come and go.
    seeds: Box<[u64]>,
    way: Way,
    turn: AtomicUsize,
    random: AtomicU64,
}

#[derive(Debug)]
enum Way {
    /// One round of turns: every target as often as its weight says, spread evenly.
    RoundRobin(Box<[u8]>),
    Random,
    LeastConn,
    /// A request without a key takes the next turn.
    Hash(Box<[u8]>),
}

impl Balancer {
    pub(super) fn new(balance: &Balance, targets: &[Target]) -> Self {
        let weights: Box<[u32]> = targets.iter().map(|target| target.weight).collect();
        let way = match balance {
            Balance::RoundRobin => Way::RoundRobin(one_round(&weights)),
            Balance::Random => Way::Random,
            Balance::LeastConn => Way::LeastConn,
            Balance::Hash(_) => Way::Hash(one_round(&weights)),
        };
        Self {
            seeds: targets.iter().map(|target| hash(target.url.as_bytes())).collect(),
            weights,
            way,
            turn: AtomicUsize::new(0),
            random: AtomicU64::new(random_start()),
        }
    }

    /// One of the candidates. `in_flight` tells how many requests are under way to each.
    pub(super) fn choose(&self, candidates: Set, key: Option<u64>, in_flight: impl Fn(usize) -> usize) -> usize {
        match (&self.way, key) {
            (Way::RoundRobin(round), _) | (Way::Hash(round), None) => self.in_turn(round, candidates),
            (Way::Random, _) => self.at_random(candidates),
            (Way::LeastConn, _) => self.least_busy(candidates, in_flight),
            (Way::Hash(_), Some(key)) => self.by_key(candidates, key),
        }
    }

    /// Whoever is out gives its turn away: the next one is taken from the same counter, so that the
    /// others share it, and not only whoever stands behind it.
    fn in_turn(&self, round: &[u8], candidates: Set) -> usize {
        for _ in round {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % round.len();
            let place = usize::from(round[turn]);
            if candidates.has(place) {
                return place;
            }
        }
        // Others took the turns in between.
        candidates.first()
    }

    fn at_random(&self, candidates: Set) -> usize {
        let sum: u64 = candidates.places().map(|place| u64::from(self.weights[place])).sum();
        let mut left = mix(self.random.fetch_add(GOLDEN, Ordering::Relaxed)) % sum.max(1);
        for place in candidates.places() {
            let weight = u64::from(self.weights[place]);
            if left < weight {
                return place;
            }
            left -= weight;
        }
        candidates.first()
    }

    /// Of those that are equally busy, the next in turn.
    fn least_busy(&self, candidates: Set, in_flight: impl Fn(usize) -> usize) -> usize {
        let count = self.weights.len();
        let start = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        let mut best: Option<(u64, usize)> = None;
        for place in (start..count).chain(0..start).filter(|place| candidates.has(*place)) {
            let busy = in_flight(place) as u64 + 1;
            let is_better = best
                .is_none_or(|(least, at)| busy * u64::from(self.weights[at]) < least * u64::from(self.weights[place]));
            if is_better {
                best = Some((busy, place));
            }
        }
        best.map_or_else(|| candidates.first(), |(_, place)| place)
    }

    /// Weighted rendezvous hashing: every target draws a lot that depends on itself and the key alone,
    /// so a target that comes or goes moves the keys it wins and no others.
    fn by_key(&self, candidates: Set, key: u64) -> usize {
        let lot = |place: usize| -unit(mix(key ^ self.seeds[place])).ln() / f64::from(self.weights[place]);
        let lots = candidates.places().map(|place| (lot(place), place));
        lots.min_by(|one, other| one.0.total_cmp(&other.0)).map_or_else(|| candidates.first(), |(_, place)| place)
    }
}

/// Smooth weighted round robin, unrolled: `5, 1, 1` becomes `a a b a c a a`.
fn one_round(weights: &[u32]) -> Box<[u8]> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let weights: Vec<i64> = weights.iter().map(|weight| i64::from(weight / divisor)).collect();
    let sum: i64 = weights.iter().sum();
    let mut credit = vec![0; weights.len()];
    let turns = (0..sum).map(|_| {
        credit.iter_mut().zip(&weights).for_each(|(credit, weight)| *credit += weight);
        let richest = (0..credit.len()).rev().max_by_key(|place| credit[*place]).unwrap_or(0);
        credit[richest] -= sum;
        u8::try_from(richest).unwrap_or(0)
    });
    turns.collect()
}

fn gcd(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { gcd(other, one % other) }
}

/// The odd number nearest to 2⁶⁴ over the golden ratio: steps of it visit everything evenly.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finisher of `SplitMix64`: every bit of the result depends on every bit of `bits`.
pub(super) fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// FNV-1a, mixed. The same on every node and in every version, so that keys stay where they are.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

/// Above 0, at most 1.
fn unit(bits: u64) -> f64 {
    // 32 bits are spread finely enough, and every one of them is exact as a float.
    let upper = u32::try_from(bits >> 32).unwrap_or(u32::MAX);
    (f64::from(upper) + 1.0) / (f64::from(u32::MAX) + 1.0)
}

fn random_start() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0_u8)
}

/// A share of a span that differs each time, from 0.9 to 1.1 of it, so that what begins together does not stay so.
pub(super) fn jittered(span: Duration) -> Duration {
    span.mul_f64(0.9 + 0.2 * unit(random_start()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{Destination, HashOn, Scheme};

    fn targets(weights: &[u32]) -> Vec<Target> {
        let target = |(place, weight): (usize, &u32)| Target {
            url: format!("http://10.0.0.{place}:80"),
            to: Destination::Http { scheme: Scheme::Http, host: format!("10.0.0.{place}"), port: 80 },
            weight: *weight,
        };
        weights.iter().enumerate().map(target).collect()
    }

    fn counted(balancer: &Balancer, candidates: Set, times: usize) -> Vec<usize> {
        let mut counts = vec![0; balancer.weights.len()];
        for _ in 0..times {
            counts[balancer.choose(candidates, None, |_| 0)] += 1;
        }
        counts
    }

    #[test]
    fn a_round_is_smooth_and_follows_the_weights() {
        let cases: [(&[u32], &[u8]); 5] = [
            (&[1], &[0]),
            (&[1, 1, 1], &[0, 1, 2]),
            (&[5, 1, 1], &[0, 0, 1, 0, 2, 0, 0]),
            (&[2, 4], &[1, 0, 1]),
            (&[100, 100], &[0, 1]),
        ];
        for (weights, expected) in cases {
            assert_eq!(&*one_round(weights), expected, "{weights:?}");
        }
    }

    #[test]
    fn turns_of_a_target_that_is_out_are_shared_by_the_others() {
        let balancer = Balancer::new(&Balance::RoundRobin, &targets(&[1, 1, 1]));

        let counts = counted(&balancer, Set::of(3).without(Set::default().with(1)), 300);

        assert_eq!(counts, [150, 0, 150]);
    }

    #[test]
    fn chance_follows_the_weights_of_those_that_are_in() {
        let balancer = Balancer::new(&Balance::Random, &targets(&[1, 3, 6]));

        let all = counted(&balancer, Set::of(3), 10_000);
        let some = counted(&balancer, Set::of(2), 10_000);

        for (count, expected) in all.iter().zip([1000, 3000, 6000]).chain(some.iter().zip([2500, 7500, 0])) {
            assert!(count.abs_diff(expected) < 300, "{all:?} {some:?}");
        }
    }

    #[test]
    fn the_least_busy_is_the_one_with_the_most_room_for_its_weight() {
        let balancer = Balancer::new(&Balance::LeastConn, &targets(&[1, 2, 1]));
        let choose = |in_flight: [usize; 3], candidates| balancer.choose(candidates, None, |place| in_flight[place]);

        assert_eq!(choose([1, 2, 1], Set::of(3)), 1, "3 of 2 is less than 2 of 1");
        assert_eq!(choose([1, 4, 2], Set::of(3)), 0);
        assert_eq!(choose([0, 5, 0], Set::default().with(1)), 1, "whoever is in");
    }

    #[test]
    fn idle_targets_take_turns() {
        let balancer = Balancer::new(&Balance::LeastConn, &targets(&[1, 1]));
        assert_eq!(counted(&balancer, Set::of(2), 100), [50, 50]);
    }

    #[test]
    fn a_key_stays_where_it_is() {
        let hashing = Balance::Hash(HashOn::User);
        let two_thirds = Balancer::new(&hashing, &targets(&[1, 2]));
        let keys: Vec<u64> = (0..9000_u32).map(|key| hash(&key.to_be_bytes())).collect();
        let places = |balancer: &Balancer, candidates: Set| -> Vec<usize> {
            keys.iter().map(|key| balancer.choose(candidates, Some(*key), |_| 0)).collect()
        };

        let first = places(&two_thirds, Set::of(2));
        let of_second = first.iter().sum::<usize>();
        assert!(of_second.abs_diff(6000) < 250, "{of_second}");
        assert_eq!(first, places(&Balancer::new(&hashing, &targets(&[1, 2])), Set::of(2)), "also after a restart");

        let four = Balancer::new(&hashing, &targets(&[1, 1, 1, 1]));
        let all = places(&four, Set::of(4));
        let without_last = places(&four, Set::of(3));
        let moved: Vec<usize> = all.iter().zip(&without_last).filter(|(a, b)| a != b).map(|(a, _)| *a).collect();
        assert!(moved.iter().all(|place| *place == 3), "only what the missing one had moves");
        assert!(moved.len().abs_diff(9000 / 4) < 250, "{}", moved.len());
    }

    #[test]
    fn a_request_without_a_key_takes_the_next_turn() {
        let balancer = Balancer::new(&Balance::Hash(HashOn::User), &targets(&[1, 1]));
        assert_eq!(counted(&balancer, Set::of(2), 100), [50, 50]);
    }

    #[test]
    fn a_span_is_spread_around_itself() {
        let spans: Vec<u128> = (0..100).map(|_| jittered(Duration::from_secs(10)).as_millis()).collect();
        assert!(spans.iter().all(|span| (9000..=11_000).contains(span)), "{spans:?}");
        assert!(spans.iter().any(|span| *span < 9900) && spans.iter().any(|span| *span > 10_100), "{spans:?}");
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        let set = Set::of(64).without(Set::default().with(0).with(63));
        assert!(!set.has(0) && set.has(1) && set.has(62) && !set.has(63));
        assert_eq!(set.places().count(), 62);
        assert_eq!(set.filter(|place| place > 60).places().collect::<Vec<_>>(), [61, 62]);
        assert!(Set::default().is_empty());
    }
}
