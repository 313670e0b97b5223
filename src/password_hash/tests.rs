//! The hasher as the use cases see it.

use std::time::{Duration, Instant};

use super::*;

const CHEAP: settings::PasswordHash =
    settings::PasswordHash { memory_kib: 64, iterations: 1, parallelism: 1, threads: 1, max_queue: 8 };
const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
/// bcrypt at cost 10 of `correct horse battery`.
const BCRYPT: &str = "$2b$10$dyZdFWUZrw6PXsNpZSlo0u9JSvF1hE.G/YXasjAe2ntISifbct6Va";

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

fn hasher(cost: settings::PasswordHash) -> Hasher {
    Hasher::start(&cost, &Metrics::new()).unwrap()
}

#[tokio::test]
async fn a_password_is_known_again_and_another_is_not() {
    let hasher = hasher(CHEAP);
    let stored = hasher.hash(secret("correct horse"), HOME).await.unwrap();

    assert!(stored.expose().starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{}", stored.expose());
    let right = hasher.verify(secret("correct horse"), Some(stored.clone()), HOME).await.unwrap();
    assert_eq!(right, Verified::Yes { upgrade: false });
    assert_eq!(hasher.verify(secret("battery staple"), Some(stored), HOME).await.unwrap(), Verified::No);
    assert_eq!(hasher.verify(secret("correct horse"), None, HOME).await.unwrap(), Verified::No);
}

#[tokio::test]
async fn a_password_is_the_same_in_every_unicode_form() {
    let hasher = hasher(CHEAP);
    let stored = hasher.hash(secret("caf\u{e9} ﬁn"), HOME).await.unwrap();

    assert!(hasher.verify(secret("cafe\u{301} fin"), Some(stored), HOME).await.unwrap().is_match());
    // SHA-1 of the decomposed form: another system hashed what was typed.
    let typed = secret("{SHA}leU1T3KYc5+1PaMLH4BnSCkJj7k=");
    assert!(hasher.verify(secret("cafe\u{301} fin"), Some(typed), HOME).await.unwrap().is_match());
}

#[tokio::test]
async fn a_hash_that_costs_too_much_or_is_none_is_refused() {
    let hasher = hasher(CHEAP);
    let salt_and_tag = "c29tZXNhbHRzb21lc2FsdA$iWh06vD8Fy27wf9npn6FXWiCX4K6pW6Ue1Bnzz07Z8A";
    for stored in ["", "plain", &format!("$argon2id$v=19$m=4194304,t=3,p=1${salt_and_tag}")] {
        assert_eq!(hasher.verify(secret("x"), Some(secret(stored)), HOME).await.unwrap(), Verified::No, "{stored}");
    }
}

#[tokio::test]
async fn an_imported_hash_lets_in_and_asks_for_an_upgrade() {
    let hasher = hasher(CHEAP);
    for text in [BCRYPT, "{SSHA}+zgJCcduvLFhD+Rk7/v3C0FqyKpzYWx0c2FsdA=="] {
        let stored = hasher.import(ImportedHash::parse(text).unwrap(), HOME).await.unwrap();

        assert_eq!(stored.expose() == text, text == BCRYPT, "only a slow hash is stored as it is");
        let right = hasher.verify(secret("correct horse battery"), Some(stored.clone()), HOME).await.unwrap();
        assert_eq!(right, Verified::Yes { upgrade: true });
        assert_eq!(hasher.verify(secret("wrong"), Some(stored), HOME).await.unwrap(), Verified::No);
    }
}

#[tokio::test]
async fn a_password_is_found_among_several() {
    let hasher = hasher(CHEAP);
    let mut former = vec![secret("not a hash"), secret(BCRYPT)];
    former.push(hasher.hash(secret("the last one"), HOME).await.unwrap());

    assert!(hasher.verify_any(secret("the last one"), former.clone(), HOME).await.unwrap());
    assert!(hasher.verify_any(secret("correct horse battery"), former.clone(), HOME).await.unwrap());
    assert!(!hasher.verify_any(secret("a new one"), former, HOME).await.unwrap());
    assert!(!hasher.verify_any(secret("a new one"), Vec::new(), HOME).await.unwrap());
}

#[tokio::test]
async fn a_full_queue_says_so_at_once() {
    let slow = settings::PasswordHash { memory_kib: 64 * 1024, iterations: 8, max_queue: 4, ..CHEAP };
    let hasher = hasher(slow);
    let begun = Instant::now();

    let asks = (0..20).map(|_| hasher.hash(secret("x"), HOME));
    let fastest_refusal = async {
        let (answer, _, _) = futures_util::future::select_all(asks.map(Box::pin)).await;
        answer.is_err()
    };

    assert!(fastest_refusal.await);
    assert!(begun.elapsed() < Duration::from_millis(50), "{:?}", begun.elapsed());
    let none = self::hasher(settings::PasswordHash { max_queue: 0, ..CHEAP });
    assert!(none.hash(secret("x"), Asker { ip: HOME, known_device: true }).await.is_err());
}

#[tokio::test]
async fn whoever_waits_too_long_is_told_in_time_even_when_no_turn_comes() {
    // Nobody works: there is no thread.
    let hasher = hasher(settings::PasswordHash { threads: 0, ..CHEAP });
    let begun = Instant::now();

    assert!(hasher.hash(secret("x"), HOME).await.is_err());

    assert!((MAX_WAIT..MAX_WAIT + Duration::from_secs(1)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

/// Medians of interleaved refusals: of somebody's hash, and of nobody's.
async fn medians(hasher: &Hasher, stored: &str, rounds: usize) -> [Duration; 2] {
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (hash, took) in [Some(secret(stored)), None].into_iter().zip(&mut took) {
            let begun = Instant::now();
            assert_eq!(hasher.verify(secret("wrong"), hash, HOME).await.unwrap(), Verified::No);
            took.push(begun.elapsed());
        }
    }
    took.map(|mut took| {
        took.sort_unstable();
        took[rounds / 2]
    })
}

fn are_alike([known, unknown]: [Duration; 2]) -> bool {
    let tolerance = Duration::from_millis(5).max(known.max(unknown) / 5);
    known.abs_diff(unknown) < tolerance
}

/// Measures again while other work on the machine blurs it. What really differs differs every time.
async fn assert_alike(hasher: &Hasher, first: &str, second: &str) {
    let mut seen = Vec::new();
    for _ in 0..20 {
        let [first, second] = [medians(hasher, first, 15).await, medians(hasher, second, 5).await];
        assert!(first[1] > Duration::from_millis(10), "the work is too little to tell: {first:?}");
        if are_alike(first) && are_alike([first[0], second[0]]) {
            return;
        }
        seen.push([first, second]);
    }
    panic!("known and unknown users, or two kinds of hashes, take different times: {seen:?}");
}

#[tokio::test]
async fn refusing_nobody_takes_as_long_as_refusing_somebody() {
    let hasher = hasher(settings::PasswordHash { memory_kib: 32 * 1024, iterations: 2, ..CHEAP });
    let stored = hasher.hash(secret("right"), HOME).await.unwrap();

    assert_alike(&hasher, stored.expose(), stored.expose()).await;
}

#[tokio::test]
async fn refusing_nobody_takes_as_long_as_the_slowest_kind_of_hash() {
    let hasher = hasher(CHEAP);
    hasher.learn_kinds(vec![secret(BCRYPT); 3], HOME).await.unwrap();
    let own = hasher.hash(secret("right"), HOME).await.unwrap();
    hasher.verify(secret("wrong"), Some(own.clone()), HOME).await.unwrap();

    assert_alike(&hasher, BCRYPT, own.expose()).await;
}
