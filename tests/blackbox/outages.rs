//! What is gone, slow or full for a while: who is in stays in, who asks is told to come back, and
//! nothing has to be started again.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::redis_server::RedisServer;
use crate::servers::Kind;
use crate::support::{
    Account, Answer, Condition, Config, Database, Echo, Line, Nauth, PASSWORD, Request, eventually, millis,
    on_every_server, secs,
};

/// Whatever is asked of a database that does not answer is over by then.
const BOUNDED: Duration = secs(8);

async fn is_let_in(nauth: &Nauth, account: &Account) -> bool {
    nauth.send(&Request::get("/").bearer(&account.access_token)).await.status == 200
}

/// A refusal that costs its client nothing: it says when to come back, and takes nothing away.
#[track_caller]
fn costs_nothing(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer}");
    assert!(answer.header("retry-after").is_some(), "{answer}");
    assert_eq!(answer.headers_named("set-cookie").count(), 0, "{answer}");
}

/// A nauth that gives up on its database after a second, and its way there.
async fn over_a_line(database: &Database, echo: &Echo) -> (Nauth, Line) {
    let (line, url) = database.over_a_line().await;
    (Nauth::start(database.of(impatient(echo).set("database.url", url))).await, line)
}

fn impatient(echo: &Echo) -> Config {
    let unlimited = serde_json::json!({ "max": 0, "window": "1m" });
    ["login", "signup", "default", "refresh"].iter().fold(
        Config::in_front_of(echo)
            .without_verification()
            .set("database.acquire_timeout", "1s")
            .set("database.statement_timeout", "1s"),
        |config, limit| config.set(&format!("rate_limit.{limit}"), unlimited.clone()),
    )
}

async fn works_again(nauth: &Nauth) {
    let back =
        eventually(secs(10), async || (nauth.try_login("ada@example.com", PASSWORD).await.status == 200).then_some(()));
    assert!(back.await.is_some(), "{}", nauth.output());
}

on_every_server! {
    async fn no_cookie_is_cleared_while_the_database_is_gone(database: &Database) {
        let echo = Echo::start().await;
        let (nauth, line) = over_a_line(database, &echo).await;
        let ada = nauth.signup("ada@example.com").await;
        let own = |request: Request| request.header("Sec-Fetch-Site", "same-origin");

        line.becomes(Condition::Cut);
        for request in [
            Request::get("/page").cookies(&ada.refresh_cookie()),
            own(Request::post("/page")).cookies(&ada.refresh_cookie()),
            own(Request::post("/auth/refresh")).cookies(&ada.refresh_cookie()),
            own(Request::post("/auth/logout")).cookies(&ada.cookies()),
        ] {
            costs_nothing(&nauth.send(&request).await);
        }
        nauth.send(&Request::get("/page").cookies(&ada.cookies())).await.expect(200);

        line.becomes(Condition::Good);
        works_again(&nauth).await;
        nauth.send(&Request::get("/page").cookies(&ada.refresh_cookie())).await.expect(200);
    }

    async fn what_takes_a_role_is_shut_when_nobody_knows_for_long_who_still_has_it(database: &Database) {
        let echo = Echo::start().await;
        let (line, url) = database.over_a_line().await;
        let config = impatient(&echo)
            .set("database.url", url)
            .set("session.revocation_max_stale", "2s")
            .route("path = \"/admin\"\naccess = \"required\"\nroles = [\"user\"]")
            .route("path = \"/\"\naccess = \"required\"");
        let nauth = Nauth::start(database.of(config)).await;
        let ada = nauth.signup("ada@example.com").await;
        let admin = Request::get("/admin").bearer(&ada.access_token);
        nauth.send(&admin).await.expect(200);

        line.becomes(Condition::Cut);
        let shut = eventually(secs(10), async || Some(nauth.send(&admin).await).filter(|answer| answer.status != 200));
        costs_nothing(&shut.await.expect("it is shut"));
        assert!(is_let_in(&nauth, &ada).await, "what takes none is open");

        line.becomes(Condition::Good);
        let open = eventually(secs(10), async || (nauth.send(&admin).await.status == 200).then_some(())).await;
        assert!(open.is_some(), "{}", nauth.output());
    }

    async fn who_waits_for_a_slow_database_does_not_pile_up(database: &Database) {
        let echo = Echo::start().await;
        let nauth = Nauth::start(database.of(impatient(&echo))).await;
        let ada = nauth.signup("ada@example.com").await;
        let mut beside = database.beside().await;
        for held in ["nauth_sessions", "nauth_users"] {
            beside.run("START TRANSACTION").await;
            // Whoever changes a row of it waits.
            beside.run(&format!("UPDATE {held} SET id = id")).await;

            let began = Instant::now();
            let asked = join_all((0..200).map(|number| {
                let ada = &ada;
                let nauth = &nauth;
                async move {
                    let answer = match number % 2 {
                        0 => nauth.try_refresh(&ada.refresh_token).await,
                        _ => nauth.try_login("ada@example.com", PASSWORD).await,
                    };
                    assert!([200, 429, 503].contains(&answer.status), "{answer}");
                    answer.status
                }
            }));
            let proxied = async {
                let mut took = Vec::new();
                for _ in 0..50 {
                    let began = Instant::now();
                    assert!(is_let_in(&nauth, &ada).await);
                    took.push(began.elapsed());
                    tokio::time::sleep(millis(20)).await;
                }
                took.sort_unstable();
                assert!(took[25] < millis(500), "who needs no database waits: {took:?}");
            };
            let (statuses, ()) = tokio::join!(asked, proxied);
            assert!(statuses.contains(&503), "nobody was told to come back");
            assert!(began.elapsed() < BOUNDED * 2, "{:?}", began.elapsed());
            beside.run("ROLLBACK").await;

            let began = Instant::now();
            works_again(&nauth).await;
            assert!(began.elapsed() < secs(5), "what was given up is still under way: {:?}", began.elapsed());
        }
        nauth.refresh(&ada).await;
    }

    async fn connections_that_died_without_a_word_are_replaced(database: &Database) {
        let echo = Echo::start().await;
        let (line, url) = database.over_a_line().await;
        let far = database.of(impatient(&echo).set("database.url", url).set("database.max_connections", 8));
        let nauth = Nauth::start(far).await;
        nauth.signup("ada@example.com").await;
        let log_in = || nauth.try_login("ada@example.com", PASSWORD);
        join_all((0..16).map(|_| log_in())).await;

        for pause in [secs(0), secs(2)] {
            // Some are in use then, and later all rest.
            tokio::time::sleep(pause).await;
            let (under_way, ()) =
                tokio::join!(join_all((0..8).map(|_| log_in())), async { line.forgets_its_connections() });
            for answer in under_way {
                assert!(matches!(answer.status, 200 | 503), "{answer}");
            }
            // Each of eight was waited for at most once.
            tokio::time::sleep(secs(6)).await;
            for answer in join_all((0..16).map(|_| log_in())).await {
                answer.expect(200);
            }
        }
    }

    async fn a_database_that_comes_and_goes_logs_nobody_out(database: &Database) {
        let echo = Echo::start().await;
        let (nauth, line) = over_a_line(database, &echo).await;
        let ada = nauth.signup("ada@example.com").await;

        let flapping = async {
            for _ in 0..8 {
                line.becomes(Condition::Cut);
                tokio::time::sleep(millis(300)).await;
                line.becomes(Condition::Good);
                tokio::time::sleep(millis(400)).await;
            }
        };
        let using = async {
            let (mut current, mut refreshed) = (ada.clone(), 0);
            for _ in 0..30 {
                assert!(is_let_in(&nauth, &current).await);
                let answer = nauth.send(&Request::get("/page").cookies(&current.refresh_cookie())).await;
                if answer.status == 200 {
                    refreshed += 1;
                    current.access_token = answer.cookie("nauth_access_token").expect("a new access token");
                    current.refresh_token = answer.cookie("nauth_refresh_token").expect("a new refresh token");
                } else {
                    costs_nothing(&answer);
                }
                tokio::time::sleep(millis(100)).await;
            }
            (current, refreshed)
        };
        let ((), (current, refreshed)) = tokio::join!(flapping, using);

        assert!(refreshed > 0, "it was never there");
        works_again(&nauth).await;
        nauth.refresh(&current).await;
        assert!(nauth.metric("nauth_session_refreshes_total", &["reuse"]).await.abs() < f64::EPSILON);
    }
}

#[tokio::test]
async fn a_redis_that_comes_and_goes_logs_nobody_out() {
    let Some(mut redis) = RedisServer::start() else { return };
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo).without_verification().set("redis.url", redis.url());
    let config = config
        .set("redis.timeout", "300ms")
        .set("rate_limit.login", serde_json::json!({ "max": 1000, "window": "1m" }));
    let (closed, open) = (config.clone(), config.set("transient.on_error_auth", "open"));
    let (closed, open) = tokio::join!(Nauth::start(closed), Nauth::start(open));
    let (ada, bob) = (closed.signup("ada@example.com").await, open.signup("bob@example.com").await);

    for _ in 0..4 {
        redis.stop();
        for _ in 0..3 {
            assert!(is_let_in(&closed, &ada).await && is_let_in(&open, &bob).await);
            costs_nothing(&closed.try_refresh(&ada.refresh_token).await);
            costs_nothing(&closed.try_login("ada@example.com", PASSWORD).await);
            open.refresh(&bob).await;
        }
        redis.start_again();
        works_again(&closed).await;
        closed.refresh(&ada).await;
    }
}

#[tokio::test]
async fn connections_to_redis_that_died_without_a_word_are_replaced() {
    let Some(redis) = RedisServer::start() else { return };
    let echo = Echo::start().await;
    let line = Line::to(redis.address()).await;
    let config =
        Config::in_front_of(&echo).without_verification().set("redis.url", format!("redis://{}", line.address()));
    let nauth = Nauth::start(config.set("redis.timeout", "300ms")).await;
    nauth.signup("ada@example.com").await;

    for _ in 0..2 {
        // All that there may be.
        join_all((0..8).map(|_| nauth.login("ada@example.com"))).await;
        line.forgets_its_connections();
        costs_nothing(&nauth.try_login("ada@example.com", PASSWORD).await);
        works_again(&nauth).await;
    }
}

/// The data directory on a file system of two megabytes, which a test fills and empties.
struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` where nobody may mount anything.
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m", "nauth-test"]).arg(directory.path());
        let is_mounted = mount.stderr(std::process::Stdio::null()).status().is_ok_and(|status| status.success());
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        if !is_mounted {
            eprintln!("nothing can be mounted here: no disk is filled");
        }
        is_mounted.then_some(Self { directory })
    }

    fn ballast(&self) -> PathBuf {
        self.directory.path().join("ballast")
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        use std::io::Write as _;

        let mut ballast = std::fs::File::options().create(true).append(true).open(self.ballast()).unwrap();
        while ballast.write_all(&[0; 512]).is_ok() {}
    }

    fn empty(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(self.directory.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_what_it_cannot_keep_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount() else { return };
    let echo = Echo::start().await;
    let data_dir = disk.directory.path().to_str().unwrap();
    let config = impatient(&echo).on_a_file().set("server.data_dir", data_dir).set("lockout.enabled", false);
    let mut nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;
    let gone = nauth.login("ada@example.com").await;

    disk.fill();
    let mut kept = Vec::new();
    let mut number = 0;
    // What stands in the journal already may still be written over.
    let full = eventually(secs(20), async || {
        number += 1;
        let email = format!("ada{number}@example.com");
        let answer = nauth.try_signup(&email, PASSWORD).await;
        if answer.status == 201 {
            kept.push(email);
            disk.fill();
            return None;
        }
        Some(answer)
    });
    costs_nothing(&full.await.expect("a disk that is full"));
    costs_nothing(&nauth.try_refresh(&ada.refresh_token).await);
    costs_nothing(&nauth.send(&Request::get("/page").cookies(&ada.refresh_cookie())).await);
    costs_nothing(&nauth.send(&Request::post("/auth/logout").bearer(&gone.access_token)).await);
    assert!(is_let_in(&nauth, &ada).await && is_let_in(&nauth, &gone).await, "what was not written did not happen");

    disk.empty();
    works_again(&nauth).await;
    nauth.send(&Request::post("/auth/logout").bearer(&gone.access_token)).await.expect(200);
    let rotated = nauth.refresh(&ada).await;
    nauth.kill();
    nauth.start_again().await;
    assert!(is_let_in(&nauth, &rotated).await && !is_let_in(&nauth, &gone).await);
    for email in kept {
        nauth.login(&email).await;
    }
}
