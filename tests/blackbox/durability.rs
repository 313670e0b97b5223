//! What was acknowledged is kept, what cannot work is refused at once, and an end is orderly.

use std::net::TcpListener;
use std::path::Path;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use sqlx::{Connection as _, Executor as _, SqliteConnection};

use crate::support::{Config, Connection, Echo, Finished, Nauth, PASSWORD, Request, eventually, free_port, secs};

#[tokio::test]
async fn an_acknowledged_signup_survives_kill_9() {
    let echo = Echo::start().await;
    let mut nauth = Nauth::start(Config::in_front_of(&echo).without_verification()).await;

    for round in 0..3 {
        let email = format!("ada{round}@example.com");
        let ada = nauth.signup(&email).await;
        nauth.kill();
        nauth.start_again().await;
        nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(200);
        nauth.login(&email).await;
    }
}

#[tokio::test]
async fn an_acknowledged_challenge_survives_kill_9() {
    let mut nauth = Nauth::start(Config::whoami()).await;
    let challenge = nauth.try_signup("ada@example.com", PASSWORD).await.expect(201).json();
    let code = nauth.code_for("ada@example.com").await;

    nauth.kill();
    nauth.start_again().await;

    nauth.respond(challenge["session"].as_str().unwrap(), &code).await.expect(200);
}

#[tokio::test]
async fn an_acknowledged_rotation_survives_kill_9() {
    let echo = Echo::start().await;
    let mut nauth = Nauth::start(Config::in_front_of(&echo).without_verification()).await;
    let mut ada = nauth.signup("ada@example.com").await;

    for _ in 0..3 {
        let rotated = nauth.refresh(&ada).await;
        nauth.kill();
        nauth.start_again().await;
        assert_eq!(nauth.refresh(&ada).await.refresh_token, rotated.refresh_token, "the answer could have been lost");
        nauth.send(&Request::get("/").cookies(&rotated.cookies())).await.expect(200);
        ada = rotated;
    }
}

#[tokio::test]
async fn an_acknowledged_logout_survives_kill_9() {
    let echo = Echo::start().await;
    let mut nauth = Nauth::start(Config::in_front_of(&echo).without_verification()).await;
    let ada = nauth.signup("ada@example.com").await;
    nauth.send(&Request::post("/auth/logout").bearer(&ada.access_token)).await.expect(200);

    nauth.kill();
    nauth.start_again().await;

    nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect_error(401, "AUTH_SESSION_NOT_FOUND");
    nauth.try_refresh(&ada.refresh_token).await.expect(401);
}

#[tokio::test]
async fn what_lies_in_the_data_directory_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;

    let nauth = Nauth::start(Config::whoami().on_a_file()).await;

    let files: Vec<_> = std::fs::read_dir(nauth.data_dir()).unwrap().map(Result::unwrap).collect();
    assert!(files.iter().any(|file| file.file_name() == "nauth.db"), "{files:?}");
    for file in files {
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", file.path());
    }
}

#[tokio::test]
async fn a_second_nauth_on_the_same_data_is_refused() {
    let nauth = Nauth::start(Config::whoami()).await;

    let second = nauth.start_beside(Config::whoami()).await;

    assert_refused(&second, nauth.data_dir().to_str().unwrap());
    nauth.signup("ada@example.com").await;
}

#[tokio::test]
async fn a_wrong_master_key_is_refused() {
    let mut nauth = Nauth::start(Config::whoami().without_verification()).await;
    let ada = nauth.signup("ada@example.com").await;
    nauth.kill();

    let wrong = STANDARD.encode([7; 32]);
    nauth.reconfigure(&Config::whoami().without_verification().set("secrets.master_key", wrong.as_str()));
    let refused = nauth.start_again_refused().await;

    assert_refused(&refused, "master key");
    assert!(!refused.output.contains(&wrong), "{}", refused.output);
    nauth.reconfigure(&Config::whoami().without_verification());
    nauth.start_again().await;
    nauth.refresh(&ada).await;
}

#[tokio::test]
async fn a_lost_master_key_is_not_replaced_by_a_new_one() {
    let mut nauth = Nauth::start(Config::whoami()).await;
    nauth.kill();
    for file in std::fs::read_dir(nauth.data_dir()).unwrap().map(Result::unwrap) {
        if !file.file_name().to_string_lossy().starts_with("nauth.db") {
            std::fs::remove_file(file.path()).unwrap();
        }
    }

    let refused = nauth.start_again_refused().await;

    assert_refused(&refused, "master key");
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_one_is_refused() {
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let garbage = elsewhere.path().join("garbage");
    std::fs::create_dir(&garbage).unwrap();
    std::fs::write(garbage.join("nauth.db"), "this is no database, whatever its name says".repeat(50)).unwrap();

    for path in [Path::new("/proc/nauth"), &file, &garbage] {
        let refused =
            Nauth::start_refused(Config::whoami().on_a_file().set("server.data_dir", path.to_str().unwrap())).await;
        assert_refused(&refused, path.to_str().unwrap());
    }
}

#[tokio::test]
async fn a_database_of_a_newer_schema_is_refused() {
    let mut nauth = Nauth::start(Config::whoami().on_a_file()).await;
    nauth.kill();
    let later = "INSERT INTO nauth_migrations (version, name, applied_at) VALUES (1000, 'later', 0)";
    change_database(&nauth.data_dir(), later).await;

    let refused = nauth.start_again_refused().await;

    assert_refused(&refused, "newer");
}

#[tokio::test]
async fn a_database_of_something_else_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    change_database(directory.path(), "CREATE TABLE orders (id INTEGER PRIMARY KEY)").await;
    let before = std::fs::read(directory.path().join("nauth.db")).unwrap();

    let refused =
        Nauth::start_refused(Config::whoami().on_a_file().set("server.data_dir", directory.path().to_str().unwrap()))
            .await;

    assert_refused(&refused, "nauth.db");
    assert_eq!(std::fs::read(directory.path().join("nauth.db")).unwrap(), before);
}

async fn change_database(data_dir: &Path, statement: &'static str) {
    let url = format!("sqlite://{}?mode=rwc", data_dir.join("nauth.db").display());
    let mut database = SqliteConnection::connect(&url).await.unwrap();
    database.execute(statement).await.unwrap();
    database.close().await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = TcpListener::bind(("127.0.0.1", free_port())).unwrap();
    let address = taken.local_addr().unwrap().to_string();

    let public = Nauth::start_refused(Config::whoami().set("server.listen", address.as_str())).await;
    let management = Nauth::start_refused(Config::whoami().set("server.management.addr", address.as_str())).await;

    assert_refused(&public, &address);
    assert_refused(&management, &address);
}

#[tokio::test]
async fn a_bad_configuration_is_shown_whole_with_lines_and_carets() {
    let config = Config::whoami()
        .set("jwt.acess_ttl", "15m")
        .set("session.max_lifetime", 30)
        .set("password.min_length", "ten")
        .route("path = \"/x\"\naccess = \"requierd\"");

    let refused = Nauth::start_refused(config).await.expect(2);

    for wanted in ["nauth.toml:", "^", "acess_ttl", "access_ttl", "max_lifetime", "min_length", "requierd"] {
        assert!(refused.output.contains(wanted), "`{wanted}` is not in:\n{}", refused.output);
    }
}

#[tokio::test]
async fn a_missing_configuration_is_named() {
    let empty = tempfile::tempdir().unwrap();

    Finished::of(empty.path(), &["run", "--config", "absent.toml"]).await.expect(2).says("absent.toml");
    Finished::of(empty.path(), &["check", "--config", "absent.toml"]).await.expect(2).says("absent.toml");
}

#[tokio::test]
async fn an_idle_nauth_ends_at_once_when_told_to() {
    let mut nauth = Nauth::start(Config::whoami()).await;
    let mut idle = Connection::open(nauth.public()).await;
    idle.ask(&Request::get("/auth/ui/login")).await.expect(200);

    let began = Instant::now();
    nauth.signal(Signal::TERM);
    let finished = nauth.finished_within(secs(5)).await;

    assert!(began.elapsed() < secs(1), "{:?}", began.elapsed());
    assert_eq!(finished.code, Some(0), "{}", finished.output);
}

#[tokio::test]
async fn a_request_in_flight_is_finished_before_the_end() {
    let echo = Echo::start().await;
    let mut nauth = Nauth::start(Config::in_front_of(&echo).route("path = \"/\"\naccess = \"public\"")).await;
    let mut connection = Connection::open(nauth.public()).await;
    connection.send(&Request::get("/slow/800")).await;
    eventually(secs(5), async || (!echo.seen().is_empty()).then_some(())).await.unwrap();

    nauth.signal(Signal::TERM);

    connection.answer().await.expect(200);
    assert!(tokio::net::TcpStream::connect(nauth.public()).await.is_err(), "no new connections");
    let finished = nauth.finished_within(secs(3)).await;
    assert_eq!(finished.code, Some(0), "{}", finished.output);
}

#[tokio::test]
async fn an_endless_request_is_cut_after_the_grace() {
    let echo = Echo::start().await;
    let config =
        Config::in_front_of(&echo).set("server.shutdown_grace", "1s").route("path = \"/\"\naccess = \"public\"");
    let mut nauth = Nauth::start(config).await;
    let mut connection = Connection::open(nauth.public()).await;
    connection.send(&Request::get("/sse")).await;
    connection.head().await;

    let began = Instant::now();
    nauth.signal(Signal::TERM);
    nauth.finished_within(secs(5)).await;

    assert!(began.elapsed() < secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_a_gateway_error() {
    let echo = Echo::start().await;
    let dead = format!("http://127.0.0.1:{}", free_port());
    let config = |target: &str| {
        Config::in_front_of_target(target).route("path = \"/\"\naccess = \"public\"\ntimeout = \"300ms\"")
    };
    let (unreachable, silent) = tokio::join!(Nauth::start(config(&dead)), Nauth::start(config(&echo.url())));

    let answer = unreachable.send(&Request::get("/")).await.expect_error(502, "BAD_GATEWAY");
    assert_eq!(answer.header("x-nauth-intercepted"), Some("1"));
    assert!(!answer.text().contains("127.0.0.1"), "{answer}");
    silent.send(&Request::get("/close")).await.expect_error(502, "BAD_GATEWAY");
    silent.send(&Request::get("/slow/5000")).await.expect_error(504, "GATEWAY_TIMEOUT");
    silent.send(&Request::get("/slow/10")).await.expect(200);
}

#[tokio::test]
async fn a_target_that_cannot_be_connected_to_is_passed_over() {
    let echo = Echo::start().await;
    let dead = format!("http://127.0.0.1:{}", free_port());
    let config = Config::whoami().targets(&[&dead, &echo.url()]).route("path = \"/\"\naccess = \"public\"");
    let nauth = Nauth::start(config).await;

    for _ in 0..6 {
        nauth.send(&Request::get("/")).await.expect(200);
    }
}

#[tokio::test]
async fn targets_take_turns() {
    let (one, other) = (Echo::start().await, Echo::start().await);
    let config = Config::whoami().targets(&[&one.url(), &other.url()]).route("path = \"/\"\naccess = \"public\"");
    let nauth = Nauth::start(config).await;

    for _ in 0..6 {
        nauth.send(&Request::get("/")).await.expect(200);
    }

    assert_eq!((one.seen().len(), other.seen().len()), (3, 3));
}

#[tokio::test]
async fn an_upstream_that_comes_back_is_used_again() {
    let port = free_port();
    let target = format!("http://127.0.0.1:{port}");
    let nauth = Nauth::start(Config::in_front_of_target(&target).route("path = \"/\"\naccess = \"public\"")).await;
    nauth.send(&Request::get("/")).await.expect(502);

    let _echo = Echo::start_on(port).await;

    let served = eventually(secs(5), async || (nauth.send(&Request::get("/")).await.status == 200).then_some(()));
    assert!(served.await.is_some());
}

#[tokio::test]
async fn the_start_tells_where_and_what_next() {
    let nauth = Nauth::start(Config::whoami().on_a_file()).await;

    for wanted in [nauth.public().to_string(), nauth.management().to_string(), "nauth.db".to_owned()] {
        // What nauth writes reaches the test on a thread of its own.
        let told = eventually(secs(5), async || nauth.output().contains(&wanted).then_some(()));
        assert!(told.await.is_some(), "`{wanted}` is not in:\n{}", nauth.output());
    }
}

/// Refused with a sentence that names the cause, and not by a panic.
#[track_caller]
fn assert_refused(finished: &Finished, cause: &str) {
    assert!(finished.code.is_some_and(|code| code != 0), "{finished:?}");
    assert!(finished.output.contains(cause), "`{cause}` is not in:\n{}", finished.output);
    assert!(!finished.output.contains("panicked"), "{}", finished.output);
}
