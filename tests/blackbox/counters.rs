//! Limits that nodes count together in the database they share, where there is no Redis.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::servers::Kind;
use crate::support::{Condition, Config, Database, Echo, Line, Nauth, PASSWORD, Request, eventually, secs};

const RARE: &str = "path = \"/rare\"\naccess = \"public\"\nrate_limit = { max = 1, window = \"1h\" }";
const SERVERS: [Kind; 2] = [Kind::Postgres, Kind::MariaDb];

/// One of several nodes on a database.
fn config(database: &Database, echo: &Echo) -> Config {
    let config = Config::in_front_of(echo).without_verification().route(RARE).route("path = \"/\"");
    database
        .of(config)
        .set("server.instances", "multi")
        .set("server.public_url", "http://localhost")
        .set("secrets.master_key", STANDARD.encode([7; 32]))
}

async fn logs_in_wrongly(nauth: &Nauth) -> u16 {
    nauth.try_login("nobody@example.com", "wrong wrong wrong").await.status
}

#[tokio::test]
async fn nodes_on_one_database_count_together() {
    for kind in SERVERS {
        let Some(database) = Database::on(kind) else { continue };
        let echo = Echo::start().await;
        let config = config(&database, &echo).set("rate_limit.login", json!({ "max": 3, "window": "1h" }));
        let (one, other) = tokio::join!(Nauth::start(config.clone()), Nauth::start(config.clone()));

        for node in [&one, &other, &one] {
            assert_eq!(logs_in_wrongly(node).await, 401);
        }
        assert_eq!([logs_in_wrongly(&other).await, logs_in_wrongly(&one).await], [429, 429]);

        one.send(&Request::get("/rare")).await.expect(200);
        other.send(&Request::get("/rare")).await.expect(429);

        // What they have counted is there when they come back.
        drop((one, other));
        let again = Nauth::start(config).await;
        assert_eq!(logs_in_wrongly(&again).await, 429);
        again.send(&Request::get("/rare")).await.expect(429);
    }
}

#[tokio::test]
async fn guesses_spread_over_nodes_are_no_more_than_on_one() {
    for kind in SERVERS {
        let Some(database) = Database::on(kind) else { continue };
        let echo = Echo::start().await;
        let config = config(&database, &echo).set("lockout.account_ip.max", 4);
        let (one, other) = tokio::join!(Nauth::start(config.clone()), Nauth::start(config));

        let answers = futures_util::future::join_all((0..24).map(|number| {
            let node = if number % 2 == 0 { &one } else { &other };
            logs_in_wrongly(node)
        }));
        let answers = answers.await;

        assert_eq!(answers.iter().filter(|status| **status == 401).count(), 4, "{kind:?}: {answers:?}");
        assert!(answers.iter().all(|status| [401, 429].contains(status)), "{kind:?}: {answers:?}");
        assert_eq!([logs_in_wrongly(&one).await, logs_in_wrongly(&other).await], [429, 429]);
    }
}

// A code is tried inside a transaction, which holds a connection.
#[tokio::test]
async fn whoever_holds_the_last_connection_can_still_count() {
    for kind in SERVERS {
        let Some(database) = Database::on(kind) else { continue };
        let echo = Echo::start().await;
        let config = config(&database, &echo)
            .set("signup.verification_method", "email")
            .set("signup.email_verification.attempt_limit", json!({ "per_user": 100, "per_ip": 100, "window": "1h" }))
            .set("challenge.max_attempts", 100)
            .set("database.max_connections", 1);
        let nauth = Nauth::start(config).await;
        let challenge = nauth.try_signup("ada@example.com", PASSWORD).await.expect(201).json()["session"].clone();
        let challenge = challenge.as_str().unwrap();

        let tried = futures_util::future::join_all((0..8).map(|_| nauth.respond(challenge, "wrong"))).await;

        assert!(tried.iter().all(|answer| answer.status < 500), "{kind:?}: {tried:?}");
    }
}

#[tokio::test]
async fn without_its_database_a_node_passes_on_what_it_cannot_count_or_not() {
    for (kind, condition) in [(Kind::Postgres, Condition::Silent), (Kind::MariaDb, Condition::Cut)] {
        let Some(database) = Database::on(kind) else { continue };
        let echo = Echo::start().await;
        let (before, rest) = database.url().split_once('@').unwrap();
        let (server, name) = rest.split_once('/').unwrap();
        let line = Line::to(server.parse().unwrap()).await;
        let config = config(&database, &echo)
            .set("database.url", format!("{before}@{}/{name}", line.address()))
            .set("database.acquire_timeout", "1s")
            .set("database.statement_timeout", "1s");
        let nauth = Nauth::start(config.clone()).await;
        let ada = nauth.signup("ada@example.com").await;

        line.becomes(condition);
        let began = std::time::Instant::now();
        for _ in 0..20 {
            nauth.send(&Request::get("/rare")).await.expect(200);
        }
        nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(200);
        assert!(began.elapsed() < secs(5), "{kind:?}: only the first ones wait: {:?}", began.elapsed());
        nauth.try_login("ada@example.com", PASSWORD).await.expect(503);
        assert!(nauth.metric("nauth_rate_uncounted_total", &["scope=\"route\"", "result=\"passed\""]).await >= 20.0);
        nauth.writes("the database of counters cannot be asked").await;

        nauth.reconfigure(&config.set("transient.on_error_proxy", "closed"));
        let closed =
            eventually(secs(5), async || (nauth.send(&Request::get("/rare")).await.status == 503).then_some(()));
        assert!(closed.await.is_some(), "{kind:?}: {}", nauth.output());

        line.becomes(Condition::Good);
        let counts =
            eventually(secs(10), async || (nauth.send(&Request::get("/rare")).await.status == 429).then_some(()));
        assert!(counts.await.is_some(), "{kind:?}: {}", nauth.output());
        nauth.writes("the database of counters answers again").await;
    }
}

#[tokio::test]
async fn a_place_that_nodes_cannot_share_is_refused_with_its_line() {
    let key = STANDARD.encode([7; 32]);
    let server = "postgres://nauth@127.0.0.1:1/nauth";
    for (config, wanted) in [
        (Config::whoami().on_a_file().set("transient.backend", "database"), "that is a SQLite file"),
        (
            Config::whoami().on_a_file().set("server.instances", "multi").set("secrets.master_key", key.as_str()),
            "a SQLite file, which is of one node",
        ),
        (
            Config::whoami().set("server.instances", "multi").set("database.url", server),
            "each node would make a master key of its own",
        ),
        (
            Config::whoami()
                .set("server.instances", "multi")
                .set("database.url", server)
                .set("secrets.master_key", key.as_str())
                .set("transient.backend", "memory"),
            "each node would count alone",
        ),
        (Config::whoami().set("server.instances", "two"), "`two`"),
    ] {
        Nauth::start_refused(config).await.expect(2).says(wanted).says("nauth.toml:");
    }
}

#[tokio::test]
async fn a_node_that_becomes_one_of_several_takes_a_restart_and_is_told() {
    for kind in SERVERS {
        let Some(database) = Database::on(kind) else { continue };
        let echo = Echo::start().await;
        let config = config(&database, &echo);
        let nauth = Nauth::start(config.clone().set("server.instances", "single")).await;

        nauth.reconfigure(&config);

        nauth.writes("server.instances").await;
        assert!(!nauth.output().contains("transient.backend"), "{}", nauth.output());
    }
}
