//! Interleaved logins and resets for accounts in every state, with a mail server that accepts
//! connections and says nothing.

use std::time::Duration;

use super::support::{Nauth, ms, percentile};
use serde_json::json;
use tokio::net::TcpListener;

const ROUNDS: usize = 250;

pub(super) async fn run() {
    let hanging = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mail = hanging.local_addr().expect("its address");
    let further = format!(
        "[lockout]\nenabled = false\n[email]\nprovider = \"smtp\"\n[email.smtp]\nurl = \"smtp://{mail}\"\n\
         [password.reset]\nsend_limit = {{ max = 1000000, window = \"1h\" }}"
    );
    let nauth = Nauth::start("email", &further).await;
    for email in ["known@example.com", "disabled@example.com"] {
        nauth.command(&["user", "create", email]);
    }
    nauth.command(&["user", "disable", "disabled@example.com"]);
    nauth.signup("unverified@example.com").await;

    compare("login", &["known", "unknown", "disabled", "unverified"], async |name| {
        let body = json!({ "identifier": format!("{name}@example.com"), "password": "a wrong password" });
        let answer = nauth.post("/auth/login", &body).await;
        assert_eq!(answer.status, 401, "{}", answer.body);
        answer.took
    })
    .await;
    compare("forgot-password", &["known", "unknown", "disabled", "unverified"], async |name| {
        let answer = nauth.post("/auth/forgot-password", &json!({ "identifier": format!("{name}@example.com") })).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.took
    })
    .await;
}

async fn compare(what: &str, names: &[&str], ask: impl AsyncFn(&str) -> Duration) {
    let mut times: Vec<Vec<Duration>> = vec![Vec::with_capacity(ROUNDS); names.len()];
    // Taking turns, so that whatever else the machine does befalls all alike.
    for _ in 0..ROUNDS {
        for (name, times) in names.iter().zip(&mut times) {
            times.push(ask(name).await);
        }
    }
    let medians: Vec<Duration> = times.iter_mut().map(|times| percentile(times, 0.5)).collect();
    for ((name, times), median) in names.iter().zip(&mut times).zip(&medians) {
        println!("{what}, {name}: median {}, p95 {}", ms(*median), ms(percentile(times, 0.95)));
    }
    let (most, least) = (medians.iter().max().expect("one"), medians.iter().min().expect("one"));
    println!("{what}: medians within {}\n", ms(most.saturating_sub(*least)));
}
