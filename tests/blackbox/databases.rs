//! On a database server it is the same nauth, and several of them are one.

use std::time::Instant;

use serde_json::json;

use crate::servers::Kind;
use crate::support::{
    Account, Authority, Condition, Config, Database, Echo, Finished, Line, Nauth, PASSWORD, Request, eventually,
    on_every_server, postgres_behind_tls, secs,
};

/// Two nodes on one database.
async fn two_nodes(database: &Database, echo: &Echo) -> (Nauth, Nauth) {
    let config = || database.shared(Config::in_front_of(echo).without_verification());
    tokio::join!(Nauth::start(config()), Nauth::start(config()))
}

/// A nauth whose way to its database can be disturbed.
async fn over_a_line(database: &Database, echo: &Echo) -> (Nauth, Line) {
    let (line, url) = database.over_a_line().await;
    let config = Config::in_front_of(echo)
        .without_verification()
        .set("database.url", url)
        .set("database.acquire_timeout", "1s")
        .set("database.statement_timeout", "1s");
    (Nauth::start(database.of(config)).await, line)
}

/// What asks the database is told to come back, what does not goes on; and afterwards all is well.
async fn bears(condition: Condition, database: &Database) {
    let echo = Echo::start().await;
    let (nauth, line) = over_a_line(database, &echo).await;
    let ada = nauth.signup("ada@example.com").await;

    line.becomes(condition);

    let began = Instant::now();
    let refused = nauth.try_login("ada@example.com", PASSWORD).await.expect(503);
    assert!(began.elapsed() < secs(8), "{:?}", began.elapsed());
    assert!(refused.header("retry-after").is_some(), "{refused}");
    nauth.try_refresh(&ada.refresh_token).await.expect(503);
    assert!(is_let_in(&nauth, &ada).await, "who was let in before needs no database");

    line.becomes(Condition::Good);

    let back =
        eventually(secs(10), async || (nauth.try_login("ada@example.com", PASSWORD).await.status == 200).then_some(()));
    assert!(back.await.is_some(), "{}", nauth.output());
    let rotated = nauth.refresh(&ada).await;
    nauth.send(&Request::post("/auth/logout").bearer(&rotated.access_token)).await.expect(200);
    assert!(!is_let_in(&nauth, &rotated).await);
}

async fn is_let_in(nauth: &Nauth, account: &Account) -> bool {
    nauth.send(&Request::get("/").bearer(&account.access_token)).await.status == 200
}

on_every_server! {
    async fn a_user_signs_up_logs_in_refreshes_and_logs_out(database: &Database) {
        let echo = Echo::start().await;
        let nauth = Nauth::start(database.of(Config::in_front_of(&echo))).await;
        let ada = nauth.signup("ada@example.com").await;
        assert_eq!(nauth.try_signup("ada@example.com", PASSWORD).await.status, 409);
        assert!(is_let_in(&nauth, &ada).await);

        let again = nauth.login("ada@example.com").await;
        let rotated = nauth.refresh(&again).await;
        let sessions = nauth.send(&Request::get("/auth/sessions").bearer(&rotated.access_token)).await.expect(200).json();
        assert_eq!(sessions["sessions"].as_array().unwrap().len(), 2, "{sessions}");
        nauth.send(&Request::post("/auth/logout").bearer(&rotated.access_token)).await.expect(200);

        assert!(!is_let_in(&nauth, &rotated).await);
        assert!(is_let_in(&nauth, &ada).await, "the other session lives");
        nauth.try_refresh(&rotated.refresh_token).await.expect(401);
    }

    async fn a_forgotten_password_is_replaced(database: &Database) {
        let echo = Echo::start().await;
        let nauth = Nauth::start(database.of(Config::in_front_of(&echo))).await;
        let ada = nauth.signup("ada@example.com").await;

        nauth.send(&Request::post("/auth/forgot-password").json(&json!({ "identifier": ada.email }))).await.expect(200);
        let code = nauth.code_for("ada@example.com").await;
        let confirm = json!({ "identifier": ada.email, "code": code, "newPassword": "another walk by the sea" });
        nauth.send(&Request::post("/auth/forgot-password/confirm").json(&confirm)).await.expect(200);

        assert!(!is_let_in(&nauth, &ada).await);
        nauth.try_login("ada@example.com", PASSWORD).await.expect(401);
        nauth.try_login("ada@example.com", "another walk by the sea").await.expect(200);
        nauth.send(&Request::post("/auth/forgot-password/confirm").json(&confirm)).await.expect(400);
    }

    async fn what_was_acknowledged_survives_kill_9(database: &Database) {
        let echo = Echo::start().await;
        let mut nauth = Nauth::start(database.of(Config::in_front_of(&echo).without_verification())).await;
        let ada = nauth.signup("ada@example.com").await;
        let rotated = nauth.refresh(&ada).await;

        nauth.kill();
        nauth.start_again().await;

        assert_eq!(nauth.refresh(&ada).await.refresh_token, rotated.refresh_token);
        assert!(is_let_in(&nauth, &rotated).await);
    }

    async fn commands_work_beside_it(database: &Database) {
        let echo = Echo::start().await;
        let admins = "path = \"/\"\naccess = \"required\"\nroles = [\"admin\"]";
        let config = Config::in_front_of(&echo).without_verification().route(admins);
        let nauth = Nauth::start(database.of(config)).await;
        let ada = nauth.signup("ada@example.com").await;
        assert!(!is_let_in(&nauth, &ada).await);

        nauth.command(&["user", "grant-role", "ada@example.com", "admin"]).await.expect(0);
        nauth.command(&["user", "list"]).await.expect(0).says("ada@example.com");
        let promoted = nauth.login("ada@example.com").await;
        assert!(is_let_in(&nauth, &promoted).await);
        nauth.command(&["user", "disable", "ada@example.com"]).await.expect(0);

        let ended = eventually(secs(5), async || (!is_let_in(&nauth, &promoted).await).then_some(())).await;
        assert!(ended.is_some(), "what a command revokes reaches the node that runs");
        nauth.command(&["migrate", "status"]).await.expect(0).says("0001 init  applied");
        nauth.command(&["migrate"]).await.expect(0).says("up to date");
        nauth.command(&["keys", "list"]).await.expect(0).says("access");
    }

    async fn the_schema_is_made_only_where_that_is_wanted(database: &Database) {
        let config = database.of(Config::whoami()).set("database.migrate", false);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("nauth.toml"), config.to_toml()).unwrap();

        Nauth::start_refused(config.clone()).await.expect(1).says("run `nauth migrate` first");
        Finished::of(directory.path(), &["migrate", "status"]).await.expect(0).says("0001 init  pending");
        Finished::of(directory.path(), &["migrate"]).await.expect(0).says("applied 0001 init");

        Nauth::start(config).await.send(&Request::get("/auth/ui/login")).await.expect(200);
    }

    async fn a_nauth_older_than_the_schema_refuses_to_start_and_says_so(database: &Database) {
        let mut nauth = Nauth::start(database.of(Config::whoami())).await;
        nauth.kill();

        database.execute("INSERT INTO nauth_migrations (version, name, applied_at) VALUES (9999, 'later', 1)").await;

        let refused = nauth.start_again_refused().await.expect(1);
        let refused = refused.says("the database has schema 9999").says("run a newer nauth");
        assert!(!refused.output.contains("nauth:nauth"), "{}", refused.output);
        nauth.command(&["migrate"]).await.expect(1).says("run a newer nauth");
        database.execute("DELETE FROM nauth_migrations WHERE version = 9999").await;
        nauth.start_again().await;
    }

    async fn two_installations_share_a_database_by_their_prefixes(database: &Database) {
        let echo = Echo::start().await;
        let prefixed = |prefix: &str| {
            let config = Config::in_front_of(&echo).without_verification().set("database.table_prefix", prefix);
            Nauth::start(database.of(config))
        };
        let (one, other) = tokio::join!(prefixed("one_"), prefixed("other_"));
        let ada = one.signup("ada@example.com").await;

        other.try_login("ada@example.com", PASSWORD).await.expect(401);
        assert!(is_let_in(&one, &ada).await && !is_let_in(&other, &ada).await);
        other.signup("ada@example.com").await;
        one.command(&["user", "disable", "ada@example.com"]).await.expect(0);
        other.login("ada@example.com").await;
        // Where the prefix says they are, and nowhere else.
        database.execute("DROP TABLE one_outbox").await;
        database.execute("DROP TABLE other_outbox").await;
    }

    async fn a_logout_on_one_node_holds_on_the_other(database: &Database) {
        let echo = Echo::start().await;
        let (one, other) = two_nodes(database, &echo).await;
        let ada = one.signup("ada@example.com").await;
        assert!(is_let_in(&other, &ada).await, "a session of one is a session of the other");

        one.send(&Request::post("/auth/logout").bearer(&ada.access_token)).await.expect(200);

        assert!(!is_let_in(&one, &ada).await, "at once");
        let ended = eventually(secs(1), async || (!is_let_in(&other, &ada).await).then_some(())).await;
        assert!(ended.is_some(), "within a second");
    }

    async fn of_rotations_on_two_nodes_one_wins_and_all_agree(database: &Database) {
        let echo = Echo::start().await;
        let (one, other) = two_nodes(database, &echo).await;
        let ada = one.signup("ada@example.com").await;

        let answers = futures_util::future::join_all((0..20).map(|number| {
            let node = if number % 2 == 0 { &one } else { &other };
            node.refresh(&ada)
        })).await;

        let mut tokens: Vec<&str> = answers.iter().map(|answer| answer.refresh_token.as_str()).collect();
        tokens.sort_unstable();
        tokens.dedup();
        assert_eq!(tokens.len(), 1, "one generation");
        assert_ne!(tokens[0], ada.refresh_token);
        assert!(is_let_in(&one, &answers[0]).await && is_let_in(&other, &answers[1]).await);
    }

    async fn a_password_reset_on_one_node_ends_what_the_other_has_opened(database: &Database) {
        let echo = Echo::start().await;
        let (one, other) = two_nodes(database, &echo).await;
        let ada = one.signup("ada@example.com").await;
        let there = other.login("ada@example.com").await;

        one.command_reading(&["user", "set-password", "ada@example.com"], "another walk by the sea\n").await.expect(0);

        for node in [&one, &other] {
            for account in [&ada, &there] {
                let ended = eventually(secs(2), async || (!is_let_in(node, account).await).then_some(())).await;
                assert!(ended.is_some());
            }
        }
        other.try_login("ada@example.com", PASSWORD).await.expect(401);
        other.try_login("ada@example.com", "another walk by the sea").await.expect(200);
    }

    async fn a_message_leaves_from_one_node_only(database: &Database) {
        let echo = Echo::start().await;
        let config = || database.shared(Config::in_front_of(&echo));
        let (one, other) = tokio::join!(Nauth::start(config()), Nauth::start(config()));

        for number in 0..5 {
            one.try_signup(&format!("ada{number}@example.com"), PASSWORD).await.expect(201);
        }

        let sent = |number: usize| {
            let email = format!("ada{number}@example.com");
            one.codes_for(&email).len() + other.codes_for(&email).len()
        };
        let all = eventually(secs(10), async || (0..5).all(|number| sent(number) > 0).then_some(())).await;
        assert!(all.is_some());
        tokio::time::sleep(secs(1)).await;
        assert!((0..5).all(|number| sent(number) == 1), "twice: {}\n{}", one.output(), other.output());
    }

    async fn a_file_moves_to_a_server_and_nobody_is_logged_out(database: &Database) {
        let echo = Echo::start().await;
        let config = Config::in_front_of(&echo).without_verification().on_a_file();
        let mut nauth = Nauth::start(config.clone()).await;
        let ada = nauth.signup("ada@example.com").await;
        let file = format!("sqlite://{}", nauth.data_dir().join("nauth.db").display());
        // A connection of its own: a URL says nothing of a schema.
        nauth.reconfigure(&database.of(config.clone()).set("database.url", ""));
        let arguments = ["copy", "--from", &file, "--to", database.url()];

        nauth.command(&arguments).await.expect(1).says("another nauth runs");
        nauth.kill();
        nauth.command(&arguments).await.expect(0).says("users: 1").says("keep the master key");
        nauth.command(&arguments).await.expect(1).says("not empty");
        nauth.write_config(&nauth.with_own_addresses(database.of(Config::in_front_of(&echo).without_verification())).to_toml());
        nauth.start_again().await;

        assert!(is_let_in(&nauth, &ada).await);
        nauth.refresh(&ada).await;
        nauth.login("ada@example.com").await;
    }

    async fn a_server_that_goes_away_is_waited_for(database: &Database) {
        bears(Condition::Cut, database).await;
    }

    async fn a_server_that_falls_silent_is_not_waited_for_long(database: &Database) {
        bears(Condition::Silent, database).await;
    }

    async fn a_server_without_tls_is_refused_where_tls_is_demanded(database: &Database) {
        for mode in ["require", "verify-ca", "verify-full"] {
            let config = database.of(Config::whoami()).set("database.ssl_mode", mode);
            let refused = Nauth::start_refused(config).await.expect(1);
            assert!(refused.output.contains("does not support TLS"), "{mode}: {}", refused.output);
        }
        let config = database.of(Config::whoami()).set("database.ssl_mode", "prefer");
        Nauth::start(config).await.send(&Request::get("/auth/ui/login")).await.expect(200);
    }

    async fn a_node_with_another_master_key_is_refused(database: &Database) {
        let _first = Nauth::start(database.shared(Config::whoami())).await;

        let refused = Nauth::start_refused(database.of(Config::whoami())).await;

        refused.expect(1).says("master key");
    }

    async fn a_password_that_is_wrong_is_not_told(database: &Database) {
        let (scheme, rest) = database.url().split_once("://").unwrap();
        let (_, server) = rest.split_once('@').unwrap();
        let config = Config::whoami().set("database.url", format!("{scheme}://nobody:hunter2@{server}"));

        let refused = Nauth::start_refused(config.set("database.acquire_timeout", "1s")).await.expect(1);

        assert!(refused.output.contains("cannot be used"), "{}", refused.output);
        assert!(!refused.output.contains("hunter2"), "{}", refused.output);
    }
}

#[tokio::test]
async fn a_schema_that_is_not_there_is_named() {
    let Some(database) = Database::on(Kind::Postgres) else { return };
    let config = database.of(Config::whoami().set("database.schema", "nowhere"));

    Nauth::start_refused(config).await.expect(1).says("`nowhere`");
}

#[tokio::test]
async fn a_server_must_prove_its_name_as_far_as_that_is_demanded() {
    let Some(database) = Database::on(Kind::Postgres) else { return };
    let (before, rest) = database.url().split_once('@').unwrap();
    let (server, name) = rest.split_once('/').unwrap();
    let (ours, strangers) = (Authority::new(), Authority::new());
    let named = postgres_behind_tls(server.parse().unwrap(), &ours.issue(&["127.0.0.1"])).await;
    let misnamed = postgres_behind_tls(server.parse().unwrap(), &ours.issue(&["db.internal"])).await;
    let config = |at: std::net::SocketAddr, mode: &str, ca: Option<&Authority>| {
        let url = format!("{before}@{at}/{name}");
        let config = Config::whoami().set("database.url", url).set("database.ssl_mode", mode);
        let config = config.set("database.acquire_timeout", "2s");
        let config = match ca {
            Some(ca) => config.set("database.ssl_ca", ca.path().to_str().unwrap()),
            None => config,
        };
        database.shared(config)
    };

    for (at, mode, ca) in [
        (named, "verify-full", Some(&ours)),
        (named, "verify-ca", Some(&ours)),
        (misnamed, "verify-ca", Some(&ours)),
        (misnamed, "require", None),
        (misnamed, "prefer", Some(&strangers)),
    ] {
        Nauth::start(config(at, mode, ca)).await;
    }
    for (at, mode, ca) in [
        (misnamed, "verify-full", Some(&ours)),
        (named, "verify-full", Some(&strangers)),
        (named, "verify-full", None),
        (named, "verify-ca", Some(&strangers)),
    ] {
        let refused = Nauth::start_refused(config(at, mode, ca)).await.expect(1);
        assert!(refused.output.contains("certificate"), "{at} {mode}: {}", refused.output);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_and_its_password_is_not() {
    for url in ["postgres://nauth:hunter2@127.0.0.1:1/auth", "mariadb://nauth:hunter2@127.0.0.1:1/auth"] {
        let config = Config::whoami().set("database.url", url).set("database.acquire_timeout", "500ms");

        let refused = Nauth::start_refused(config).await.expect(1);

        assert!(refused.output.contains("127.0.0.1:1/auth` cannot be used"), "{}", refused.output);
        assert!(refused.output.contains("refused"), "{}", refused.output);
        assert!(!refused.output.contains("hunter2"), "{}", refused.output);
    }
}

#[tokio::test]
async fn a_url_that_is_wrong_is_shown_with_its_line_and_without_its_password() {
    let directory = tempfile::tempdir().unwrap();
    let text = Config::whoami().set("database.url", "oracle://nauth:hunter2@db/auth").to_toml();
    std::fs::write(directory.path().join("nauth.toml"), text).unwrap();

    let report = Finished::of(directory.path(), &["check"]).await.expect(2);

    let report = report.says("`oracle` is no database that nauth knows").says("nauth.toml:").says("mariadb://");
    assert!(!report.output.contains("hunter2"), "{}", report.output);
}

#[tokio::test]
async fn another_database_takes_a_restart_and_is_told() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo).without_verification();
    let nauth = Nauth::start(config.clone()).await;
    let ada = nauth.signup("ada@example.com").await;

    nauth.reconfigure(&config.set("database.statement_timeout", "5s"));

    nauth.writes("database").await;
    assert!(is_let_in(&nauth, &ada).await);
}
