//! Twice as many logins as can be hashed: what becomes of the excess, of memory, and of everybody else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::support::{Nauth, PASSWORD, Timed, ms, percentile};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const CALIBRATION: Duration = Duration::from_secs(5);
const FLOOD: Duration = Duration::from_secs(15);
/// Proxied requests in a second beside it.
const PROXIED_RATE: u32 = 200;

pub(super) async fn run() {
    let nauth = Arc::new(Nauth::start("none", "[lockout]\nenabled = false").await);
    let token = nauth.signup("ada@example.com").await.expect("nothing has to be proven");
    let idle_memory = nauth.memory();

    let capacity = capacity(&nauth).await;
    println!("capacity: {capacity:.1} logins/s");
    let mut before = proxied(&nauth, &token, CALIBRATION).await;
    println!("proxied, idle:   p50 {}, p99 {}", ms(percentile(&mut before, 0.5)), ms(percentile(&mut before, 0.99)));

    // What as many requests cost by themselves, without a password being hashed.
    let idle = tokio::spawn({
        let (nauth, token) = (nauth.clone(), token.clone());
        async move { proxied(&nauth, &token, CALIBRATION).await }
    });
    flood(&nauth, capacity * 2.0, CALIBRATION, &json!({ "identifier": 1 })).await;
    let mut busy = idle.await.expect("it ends");
    println!("proxied, busy:   p50 {}, p99 {}", ms(percentile(&mut busy, 0.5)), ms(percentile(&mut busy, 0.99)));

    let proxied = tokio::spawn({
        let (nauth, token) = (nauth.clone(), token.clone());
        async move { proxied(&nauth, &token, FLOOD).await }
    });
    let (answers, peak) = flood(&nauth, capacity * 2.0, FLOOD, &right()).await;
    let mut meanwhile = proxied.await.expect("it ends");

    report(&answers);
    println!(
        "proxied, flood:  p50 {}, p99 {}",
        ms(percentile(&mut meanwhile, 0.5)),
        ms(percentile(&mut meanwhile, 0.99))
    );
    println!("memory: {idle_memory:.1} MiB idle, {peak:.1} MiB at most");
}

fn report(answers: &[Timed]) {
    for status in [200, 401, 429, 503] {
        let mut times: Vec<Duration> = answers.iter().filter(|one| one.status == status).map(|one| one.took).collect();
        if times.is_empty() {
            continue;
        }
        let told = answers.iter().filter(|one| one.status == status && one.retry_after).count();
        println!(
            "{status}: {} answers, {told} with Retry-After; p50 {}, p99 {}, max {}",
            times.len(),
            ms(percentile(&mut times, 0.5)),
            ms(percentile(&mut times, 0.99)),
            ms(percentile(&mut times, 1.0)),
        );
    }
}

fn right() -> Value {
    json!({ "identifier": "ada@example.com", "password": PASSWORD })
}

/// Logins in a second when a few clients log in one after the other.
async fn capacity(nauth: &Arc<Nauth>) -> f64 {
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let nauth = nauth.clone();
        clients.spawn(async move {
            let mut count = 0_u32;
            while begun.elapsed() < CALIBRATION {
                assert_eq!(nauth.post("/auth/login", &right()).await.status, 200);
                count += 1;
            }
            count
        });
    }
    let counts = clients.join_all().await;
    f64::from(counts.into_iter().sum::<u32>()) / begun.elapsed().as_secs_f64()
}

/// Logins at a fixed rate, whatever becomes of them; and the most memory in use meanwhile, in MiB.
async fn flood(nauth: &Arc<Nauth>, rate: f64, span: Duration, body: &Value) -> (Vec<Timed>, f64) {
    let mut tick = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    let (begun, mut peak) = (Instant::now(), 0.0_f64);
    let mut logins = JoinSet::new();
    while begun.elapsed() < span {
        tick.tick().await;
        let (nauth, body) = (nauth.clone(), body.clone());
        peak = peak.max(nauth.memory());
        logins.spawn(async move { nauth.post("/auth/login", &body).await });
    }
    (logins.join_all().await, peak)
}

/// How long requests to the app take, asked at a fixed rate.
async fn proxied(nauth: &Arc<Nauth>, token: &str, span: Duration) -> Vec<Duration> {
    let mut tick = tokio::time::interval(Duration::from_secs(1) / PROXIED_RATE);
    let begun = Instant::now();
    let mut requests = JoinSet::new();
    while begun.elapsed() < span {
        tick.tick().await;
        let (nauth, token) = (nauth.clone(), token.to_owned());
        requests.spawn(async move {
            let answer = nauth.proxied(&token).await;
            assert_eq!(answer.status, 200);
            answer.took
        });
    }
    requests.join_all().await
}
