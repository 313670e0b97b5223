//! Many at once, against the built program: guesses, codes, signups, revocations.

use std::sync::Mutex;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Account, Answer, Config, Nauth, PASSWORD, Request, secs};

const NEXT: &str = "another walk by the sea";

/// Requests of one address are not limited: what is tested lies behind that.
fn unlimited(config: Config) -> Config {
    ["login", "signup", "forgot_password", "challenge", "default"]
        .iter()
        .fold(config, |config, name| config.set(&format!("rate_limit.{name}"), json!({ "max": 0, "window": "1m" })))
}

async fn hashes(nauth: &Nauth) -> f64 {
    nauth.metric("nauth_password_hash_duration_seconds_count", &["op=\"verify\""]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hundred_wrong_passwords_at_once_five_are_hashed() {
    let nauth = Nauth::start(unlimited(Config::whoami().without_verification())).await;
    nauth.signup("ada@example.com").await;

    // An account and an identifier that is nobody's alike.
    for identifier in ["ada@example.com", "nobody@example.com"] {
        let before = hashes(&nauth).await;
        let guesses = (0..200).map(|n| {
            let (nauth, guess) = (&nauth, format!("wrong guess {n}"));
            async move { nauth.try_login(identifier, &guess).await }
        });
        let answers = join_all(guesses).await;

        let hashed = hashes(&nauth).await - before;
        assert!(hashed <= 5.0, "{hashed} passwords of {identifier} were hashed");
        let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
        assert_eq!((count(401), count(429)), (5, 195), "{identifier}");
        for answer in answers.iter().filter(|answer| answer.status == 429) {
            let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((890..=900).contains(&wait), "{answer}");
            assert_eq!(answer.json()["details"]["retryAfter"], wait);
        }
    }
    nauth.try_login("ada@example.com", PASSWORD).await.expect_error(429, "RATE_LIMIT_LOGIN");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_resets_with_one_code_exactly_one_succeeds() {
    let nauth = Nauth::start(unlimited(Config::whoami().without_verification())).await;
    nauth.signup("ada@example.com").await;
    let code = reset_code(&nauth).await;

    let confirm = |n: usize| {
        let body = json!({ "identifier": "ada@example.com", "code": code, "newPassword": format!("{NEXT} {n}") });
        let nauth = &nauth;
        async move { nauth.send(&Request::post("/auth/forgot-password/confirm").json(&body)).await }
    };
    let answers = join_all((0..50).map(confirm)).await;

    let winners: Vec<usize> = (0..50).filter(|n| answers[*n].status == 200).collect();
    let [winner] = winners[..] else { panic!("{winners:?} succeeded") };
    nauth.try_login("ada@example.com", &format!("{NEXT} {winner}")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_ten_signups_at_once_with_one_address_one_stands() {
    let open = Nauth::start(unlimited(Config::whoami().without_verification())).await;
    let answers = join_all((0..10).map(|_| open.try_signup("ada@example.com", PASSWORD))).await;
    let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(201), count(409)), (1, 9));

    // Where the address must be proven, the last one stands, and only it can be completed.
    let limit = json!({ "max": 100, "window": "1h" });
    let guesses = json!({ "per_user": 1000, "per_ip": 1000, "window": "1h" });
    let config = Config::whoami()
        .set("signup.email_verification.send_limit", limit)
        .set("signup.email_verification.max_attempts", 10)
        .set("signup.email_verification.attempt_limit", guesses)
        .set("challenge.max_attempts", 10)
        .set("lockout.enabled", false);
    let proven = Nauth::start(unlimited(config)).await;
    let passwords: Vec<String> = (0..10).map(|n| format!("{PASSWORD} {n}")).collect();
    let answers = join_all(passwords.iter().map(|password| proven.try_signup("ada@example.com", password))).await;
    let challenges: Vec<Value> = answers.into_iter().map(|answer| answer.expect(201).json()).collect();
    let mut codes = Vec::new();
    while codes.len() < 10 {
        codes.push(proven.code_for("ada@example.com").await);
    }
    let mut completed = Vec::new();
    for challenge in &challenges {
        for code in &codes {
            let answer = proven.respond(challenge["session"].as_str().unwrap(), code).await;
            if answer.status == 200 {
                completed.push(challenge["session"].clone());
            }
        }
    }
    assert_eq!(completed.len(), 1, "{completed:?}");
    let logins = join_all(passwords.iter().map(|password| proven.try_login("ada@example.com", password))).await;
    assert_eq!(logins.iter().filter(|answer| answer.status == 200).count(), 1);
}

/// What ends every session of a user.
#[derive(Debug, Clone, Copy)]
enum Ending {
    ChangePassword,
    LogoutAll,
    Reset,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_revoked_comes_back_by_a_refresh_at_the_same_time() {
    for ending in [Ending::ChangePassword, Ending::LogoutAll, Ending::Reset] {
        let config = Config::whoami().without_verification().set("jwt.refresh_grace", "5s");
        let limit = json!({ "max": 0, "window": "1m", "key": "session" });
        let nauth = Nauth::start(unlimited(config).set("rate_limit.refresh", limit)).await;
        let ada = nauth.signup("ada@example.com").await;
        let code = if matches!(ending, Ending::Reset) { Some(reset_code(&nauth).await) } else { None };
        let sessions = join_all((0..8).map(|_| nauth.login("ada@example.com"))).await;
        let held: Mutex<Vec<(String, String)>> =
            Mutex::new(vec![(ada.access_token.clone(), ada.refresh_token.clone())]);

        let refreshers = sessions.iter().map(|session| Box::pin(keep_refreshing(&nauth, session, &held)));
        let end = end_all(&nauth, &ada, ending, code);
        tokio::join!(join_all(refreshers), end);

        let held = held.into_inner().unwrap();
        assert!(held.len() > 8, "nobody refreshed in time");
        for (access, refresh) in &held {
            let answer = nauth.send(&Request::get("/auth/profile").bearer(access)).await;
            assert_eq!(answer.status, 401, "{ending:?}: {answer}");
            let answer = nauth.send(&Request::get("/").bearer(access)).await;
            assert_eq!(answer.status, 401, "{ending:?}: {answer}");
            let answer = refresh_with(&nauth, refresh).await;
            assert_eq!(answer.status, 401, "{ending:?}: {answer}");
        }
    }
}

/// Refreshes until it is refused, and keeps everything it got.
async fn keep_refreshing(nauth: &Nauth, session: &Account, held: &Mutex<Vec<(String, String)>>) {
    let mut refresh = session.refresh_token.clone();
    held.lock().unwrap().push((session.access_token.clone(), refresh.clone()));
    loop {
        let answer = refresh_with(nauth, &refresh).await;
        if answer.status != 200 {
            return;
        }
        let tokens = answer.json();
        let text = |key: &str| tokens[key].as_str().unwrap().to_owned();
        refresh = text("refreshToken");
        held.lock().unwrap().push((text("accessToken"), refresh.clone()));
    }
}

async fn refresh_with(nauth: &Nauth, token: &str) -> Answer {
    nauth.send(&Request::post("/auth/refresh").json(&json!({ "refreshToken": token }))).await
}

async fn end_all(nauth: &Nauth, ada: &Account, ending: Ending, code: Option<String>) {
    let (path, body) = match ending {
        Ending::ChangePassword => ("/auth/change-password", json!({ "oldPassword": PASSWORD, "newPassword": NEXT })),
        Ending::LogoutAll => ("/auth/logout/all", json!({})),
        Ending::Reset => (
            "/auth/forgot-password/confirm",
            json!({ "identifier": "ada@example.com", "code": code, "newPassword": NEXT }),
        ),
    };
    nauth.send(&Request::post(path).bearer(&ada.access_token).json(&body)).await.expect(200);
}

#[tokio::test]
async fn a_mail_server_that_hangs_tells_nobody_who_has_an_account() {
    // It accepts, and says nothing ever.
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config::whoami().without_verification();
    let config =
        config.set("email.provider", "smtp").set("email.smtp.url", format!("smtp://{}", hanging.local_addr().unwrap()));
    let nauth = Nauth::start(unlimited(config)).await;
    nauth.signup("ada@example.com").await;

    let mut bodies = Vec::new();
    for identifier in ["ada@example.com", "nobody@example.com"] {
        let request = Request::post("/auth/forgot-password").json(&json!({ "identifier": identifier }));
        let answer = tokio::time::timeout(secs(2), nauth.send(&request)).await;
        let answer = answer.expect("the answer waits for the mail server");
        let mut body = answer.expect(200).json();
        body["destination"].take();
        bodies.push(body);
    }
    assert_eq!(bodies[0], bodies[1]);
}

async fn reset_code(nauth: &Nauth) -> String {
    let body = json!({ "identifier": "ada@example.com" });
    nauth.send(&Request::post("/auth/forgot-password").json(&body)).await.expect(200);
    nauth.code_for("ada@example.com").await
}

#[tokio::test]
async fn a_route_takes_so_many_requests_of_one_client_or_user() {
    let config = Config::whoami()
        .without_verification()
        .route("path = \"/by-address\"\naccess = \"public\"\nrate_limit = { max = 3, window = \"1m\" }")
        .route("path = \"/by-user\"\naccess = \"optional\"\nrate_limit = { max = 2, window = \"1m\", key = \"user\" }")
        .route("path = \"/\"\naccess = \"required\"");
    let nauth = Nauth::start(unlimited(config)).await;
    let (ada, bob) = (nauth.signup("ada@example.com").await, nauth.signup("bob@example.com").await);

    for _ in 0..3 {
        nauth.send(&Request::get("/by-address")).await.expect(200);
    }
    let refused = nauth.send(&Request::get("/by-address/x")).await.expect_error(429, "RATE_LIMIT_EXCEEDED");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait) && refused.json()["details"]["retryAfter"] == wait, "{refused}");

    for user in [&ada, &bob] {
        for _ in 0..2 {
            nauth.send(&Request::get("/by-user").bearer(&user.access_token)).await.expect(200);
        }
        nauth.send(&Request::get("/by-user").bearer(&user.access_token)).await.expect(429);
    }
    // Strangers share their address, not somebody's account.
    nauth.send(&Request::get("/by-user")).await.expect(200);
    let refusals = nauth.metric("nauth_authz_decisions_total", &["decision=\"deny\"", "reason=\"rate\""]).await;
    assert!((2.5..3.5).contains(&refusals), "{refusals}");
    nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(200);
}
