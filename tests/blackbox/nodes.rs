//! Several nodes on one database are one nauth, also while something is lost between them.

use std::time::Instant;

use futures_util::future::join_all;
use serde_json::json;

use crate::redis_server::RedisServer;
use crate::servers::Kind;
use crate::support::{
    Account, Condition, Config, Connection, Database, Echo, Mailbox, Nauth, PASSWORD, Request, challenged, claims_of,
    eventually, millis, on_every_server, secs,
};

/// What the design promises of a revocation, everywhere.
const AT_ONCE: std::time::Duration = secs(1);

fn config(database: &Database, echo: &Echo) -> Config {
    database.shared(Config::in_front_of(echo).without_verification())
}

async fn two_of(config: Config) -> (Nauth, Nauth) {
    tokio::join!(Nauth::start(config.clone()), Nauth::start(config))
}

/// Whether somebody's request is answered as theirs. One that is under way when its session ends may be cut.
async fn is_let_in(nauth: &Nauth, account: &Account) -> bool {
    let asked = Request::get("/").bearer(&account.access_token);
    let answer = Connection::open(nauth.public()).await.try_ask(&asked).await;
    answer.is_some_and(|answer| answer.status == 200)
}

async fn log_out(nauth: &Nauth, account: &Account) {
    nauth.send(&Request::post("/auth/logout").bearer(&account.access_token)).await.expect(200);
}

/// Demands that a node refuses somebody within the second that began at `since`.
async fn ends_at_once(nauth: &Nauth, account: &Account, since: Instant) {
    let within = AT_ONCE.saturating_sub(since.elapsed());
    let ended = eventually(within, async || (!is_let_in(nauth, account).await).then_some(())).await;
    assert!(ended.is_some(), "still let in after {:?}:\n{}", since.elapsed(), nauth.output());
}

on_every_server! {
    async fn a_challenge_begun_on_one_is_answered_on_the_other(database: &Database) {
        let (echo, mailbox) = (Echo::start().await, Mailbox::start().await);
        let (one, other) = two_of(mailbox.of(database.shared(Config::in_front_of(&echo)))).await;

        let begun = one.try_signup("ada@example.com", PASSWORD).await.expect(201).json();
        let code = mailbox.code_for("ada@example.com", 0, secs(10)).await.expect("a code");
        let ada = Account::in_answer(&other.respond(begun["session"].as_str().unwrap(), &code).await.expect(200));
        assert!(is_let_in(&one, &ada).await && is_let_in(&other, &ada).await);
        one.respond(begun["session"].as_str().unwrap(), &code).await.expect(400);

        // The same for a forgotten password: asked for there, set here.
        other.send(&Request::post("/auth/forgot-password").json(&json!({ "identifier": ada.email }))).await.expect(200);
        let code = mailbox.code_for("ada@example.com", 1, secs(10)).await.expect("a code");
        let confirm = json!({ "identifier": ada.email, "code": code, "newPassword": "another walk by the sea" });
        let confirm = Request::post("/auth/forgot-password/confirm").json(&confirm);
        let answers = join_all([&one, &other, &one, &other].map(|node| node.send(&confirm))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "a code works once");
        other.try_login("ada@example.com", "another walk by the sea").await.expect(200);
    }

    async fn a_factor_is_asked_for_on_one_and_proven_on_the_other_and_a_code_is_good_once(database: &Database) {
        const STEP: u64 = 4;
        let echo = Echo::start().await;
        let config = config(database, &echo).set("mfa.totp.step", format!("{STEP}s")).set("challenge.bind", "none");
        let (one, other) = two_of(config).await;
        let ada = one.signup("ada@example.com").await;
        let app = one.set_up_app(&ada, STEP).await;
        let codes = other.post_as(&ada, "/auth/mfa/backup-codes/generate", &json!({})).await.expect(200).json();
        let ask = async |nodes: [&Nauth; 4]| -> Vec<String> {
            let mut sessions = Vec::new();
            for (number, node) in nodes.into_iter().enumerate() {
                let body = json!({ "identifier": "ada@example.com", "password": PASSWORD });
                let login = Request::post("/auth/login").header("User-Agent", &format!("client/{number}")).json(&body);
                sessions.push(challenged(&node.send(&login).await.expect(200), "MFA_REQUIRED"));
            }
            sessions
        };

        let sessions = ask([&one, &other, &one, &other]).await;
        app.next_step().await;
        let code = app.code();
        let answers = join_all([
            other.prove(&sessions[0], "totp", &code),
            one.prove(&sessions[1], "totp", &code),
            other.prove(&sessions[2], "totp", &code),
            one.prove(&sessions[3], "totp", &code),
        ]);
        let answers = answers.await;
        let won: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(won.len(), 1, "a code of an app works once: {answers:?}");
        let proven = Account::in_answer(won[0]);
        assert_eq!(claims_of(&proven.access_token)["acr"], "aal2");
        assert!(is_let_in(&one, &proven).await && is_let_in(&other, &proven).await);

        let sessions = ask([&one, &other, &one, &other]).await;
        let code = codes["codes"][0].as_str().unwrap();
        let answers = join_all([
            other.prove(&sessions[0], "backup", code),
            one.prove(&sessions[1], "backup", code),
            other.prove(&sessions[2], "backup", code),
            one.prove(&sessions[3], "backup", code),
        ]);
        let won = answers.await.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(won, 1, "a backup code works once");
    }

    async fn fifty_requests_with_an_expired_cookie_are_one_rotation_and_no_alarm(database: &Database) {
        let echo = Echo::start().await;
        let config = config(database, &echo).set("jwt.access_ttl", "1s").set("jwt.leeway", "0s");
        let (one, other) = two_of(config).await;
        let ada = one.signup("ada@example.com").await;
        let expired = eventually(secs(5), async || (!is_let_in(&other, &ada).await).then_some(())).await;
        assert!(expired.is_some());

        let page = Request::get("/page").cookies(&ada.cookies());
        let answers = join_all((0..50).map(|number| if number % 2 == 0 { one.send(&page) } else { other.send(&page) }));
        let answers = answers.await;

        let mut tokens: Vec<String> = Vec::new();
        for answer in &answers {
            assert_eq!(answer.status, 200, "{answer}");
            tokens.extend(answer.cookie("nauth_refresh_token"));
        }
        assert_eq!(tokens.len(), 50, "each is told the new token");
        tokens.dedup();
        assert_eq!(tokens.len(), 1, "and it is the same one");
        assert_eq!(claims_of(&tokens[0])["gen"], claims_of(&ada.refresh_token)["gen"].as_i64().unwrap() + 1);
        let rotated = ["result=\"rotated\""];
        let rotations = one.metric("nauth_session_refreshes_total", &rotated).await
            + other.metric("nauth_session_refreshes_total", &rotated).await;
        assert!((rotations - 1.0).abs() < f64::EPSILON, "{rotations} rotations");
        let mut beside = database.beside().await;
        assert_eq!(beside.number("SELECT generation FROM nauth_sessions").await, 2);
        let alarms = "SELECT COUNT(*) FROM nauth_sessions WHERE revoked_at IS NOT NULL";
        assert_eq!(beside.number(alarms).await, 0);
        for node in [&one, &other] {
            assert!(node.metric("nauth_session_refreshes_total", &["reuse"]).await.abs() < f64::EPSILON);
        }
    }

    async fn a_logout_holds_on_the_other_within_a_second_also_beside_one_that_commits_late(database: &Database) {
        let echo = Echo::start().await;
        let (one, other) = two_of(config(database, &echo)).await;
        let (ada, bob) = (one.signup("ada@example.com").await, one.signup("bob@example.com").await);
        assert!(is_let_in(&other, &ada).await && is_let_in(&other, &bob).await);

        // A third node has taken its number and is slow to commit; whoever comes next gets a higher one.
        let mut slow = database.beside().await;
        let session = claims_of(&ada.access_token)["sessionId"].as_str().unwrap().to_owned();
        slow.run("START TRANSACTION").await;
        slow.run("UPDATE nauth_revocation_counter SET value = value + 1 WHERE id = 1").await;
        slow.run(&format!(
            "INSERT INTO nauth_revocations (number, kind, subject, value, made_at, expires_at) \
             SELECT value, 'session', '{session}', 0, 0, 9000000000000000 FROM nauth_revocation_counter WHERE id = 1"
        )).await;
        let leaving = async {
            log_out(&one, &bob).await;
            Instant::now()
        };
        let committing = async {
            tokio::time::sleep(millis(1_200)).await;
            slow.run("COMMIT").await;
            Instant::now()
        };
        let (left, committed) = tokio::join!(leaving, committing);

        for node in [&one, &other] {
            ends_at_once(node, &ada, committed).await;
            ends_at_once(node, &bob, left).await;
        }
    }

    async fn a_node_that_starts_after_an_outage_knows_what_it_missed(database: &Database) {
        let echo = Echo::start().await;
        let (line, url) = database.over_a_line().await;
        let near = config(database, &echo);
        let far = near.clone().set("database.url", url).set("database.acquire_timeout", "1s");
        let (one, mut other) = tokio::join!(Nauth::start(near), Nauth::start(far));
        let (ada, bob) = (one.signup("ada@example.com").await, one.signup("bob@example.com").await);
        assert!(is_let_in(&other, &ada).await && is_let_in(&other, &bob).await);

        // What is revoked while it cannot ask, and what while it does not run, it knows from the first request on.
        line.becomes(Condition::Cut);
        log_out(&one, &ada).await;
        other.kill();
        assert!(!other.try_start_again().await, "nobody could be identified");
        log_out(&one, &bob).await;
        line.becomes(Condition::Good);
        other.start_again().await;

        assert!(!is_let_in(&other, &ada).await && !is_let_in(&other, &bob).await);
        other.try_refresh(&ada.refresh_token).await.expect(401);
    }

    async fn a_node_that_was_cut_off_catches_up_within_a_second(database: &Database) {
        let echo = Echo::start().await;
        let (line, url) = database.over_a_line().await;
        let near = config(database, &echo);
        let far = near.clone().set("database.url", url).set("database.acquire_timeout", "1s");
        let (one, other) = tokio::join!(Nauth::start(near), Nauth::start(far));
        let ada = one.signup("ada@example.com").await;
        assert!(is_let_in(&other, &ada).await);

        for _ in 0..3 {
            let ada = one.login("ada@example.com").await;
            line.becomes(Condition::Cut);
            log_out(&one, &ada).await;
            tokio::time::sleep(secs(2)).await;
            assert!(is_let_in(&other, &ada).await, "nobody could tell it");
            line.becomes(Condition::Good);
            ends_at_once(&other, &ada, Instant::now()).await;
        }
    }

    async fn a_node_whose_connections_died_without_a_word_hears_of_a_logout_soon(database: &Database) {
        let echo = Echo::start().await;
        let (line, url) = database.over_a_line().await;
        let near = config(database, &echo);
        let far = near.clone().set("database.url", url);
        let (one, other) = tokio::join!(Nauth::start(near), Nauth::start(far));
        let ada = one.signup("ada@example.com").await;
        assert!(is_let_in(&other, &ada).await);

        line.forgets_its_connections();
        log_out(&one, &ada).await;

        // Long before what it asked is given up.
        let ended = eventually(secs(3), async || (!is_let_in(&other, &ada).await).then_some(())).await;
        assert!(ended.is_some(), "{}", other.output());
    }

    async fn a_node_that_starts_without_redis_hears_of_logouts_before_and_after_it_is_back(database: &Database) {
        let Some(mut redis) = RedisServer::start() else { return };
        let echo = Echo::start().await;
        let config = config(database, &echo)
            .set("redis.url", redis.url())
            .set("redis.timeout", "300ms")
            .set("transient.on_error_auth", "open");
        let one = Nauth::start(config.clone()).await;
        redis.stop();
        let other = Nauth::start(config).await;
        let (ada, bob) = (one.signup("ada@example.com").await, one.signup("bob@example.com").await);

        assert!(is_let_in(&other, &ada).await);
        log_out(&one, &ada).await;
        ends_at_once(&other, &ada, Instant::now()).await;

        redis.start_again();
        assert!(is_let_in(&other, &bob).await);
        log_out(&other, &bob).await;
        ends_at_once(&one, &bob, Instant::now()).await;
    }

    async fn a_ring_that_nobody_hears_costs_no_more_than_a_second(database: &Database) {
        let Some(redis) = RedisServer::start() else { return };
        let echo = Echo::start().await;
        let config = config(database, &echo).set("redis.url", redis.url()).set("redis.timeout", "300ms");
        let (one, other) = two_of(config.set("transient.on_error_auth", "open")).await;
        let ada = one.signup("ada@example.com").await;
        assert!(is_let_in(&other, &ada).await);

        redis.freeze();
        log_out(&one, &ada).await;
        ends_at_once(&other, &ada, Instant::now()).await;
        redis.thaw();
    }

    async fn a_reload_of_one_leaves_the_other_alone(database: &Database) {
        let echo = Echo::start().await;
        let config = config(database, &echo);
        let (one, other) = two_of(config.clone()).await;
        let ada = one.signup("ada@example.com").await;
        one.send(&Request::get("/open")).await.expect(401);

        one.reconfigure(&config.route("path = \"/open\"\naccess = \"public\"").route("path = \"/\"\naccess = \"required\""));
        let reloaded = eventually(secs(5), async || {
            (one.send(&Request::get("/open")).await.status == 200).then_some(())
        });
        assert!(reloaded.await.is_some(), "{}", one.output());

        other.send(&Request::get("/open")).await.expect(401);
        assert!(is_let_in(&one, &ada).await && is_let_in(&other, &ada).await);
        let rotated = other.refresh(&ada).await;
        assert!(is_let_in(&one, &rotated).await);
    }

    async fn of_two_nodes_that_look_at_the_keys_one_does_what_is_due(database: &Database) {
        let echo = Echo::start().await;
        let (_one, _other) = two_of(config(database, &echo)).await;
        let mut beside = database.beside().await;
        let mut runs: Vec<i64> = Vec::new();

        // Both look every 15 seconds, from about the same moment on.
        let twice = eventually(secs(45), async || {
            let ran_at = beside.number("SELECT COALESCE(MAX(ran_at), 0) FROM nauth_jobs WHERE name = 'keys'").await;
            if ran_at > 0 && runs.last() != Some(&ran_at) {
                runs.push(ran_at);
            }
            (runs.len() == 2).then_some(())
        });

        assert!(twice.await.is_some(), "nobody tends the keys: {runs:?}");
        assert!(runs[1] - runs[0] > 10_000_000, "both did: {runs:?}");
    }
}
