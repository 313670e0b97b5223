//! Clocks that are wrong, and clocks that are set while nauth runs.

use std::path::{Path, PathBuf};

use nauth::domain::clock::Clock;

use crate::servers::{Kind, environment};
use crate::support::{
    Account, Config, Database, Echo, Nauth, Request, claims_of, eventually, millis, on_every_server, secs,
};

/// A process whose clock a test sets.
struct Skewed {
    library: PathBuf,
    file: tempfile::NamedTempFile,
}

impl Skewed {
    /// Set off from the true time by this, such as `+1h`. `None` where `faketime` is not installed.
    fn by(offset: &str) -> Option<Self> {
        let library = std::fs::read_dir("/usr/lib").unwrap().flatten();
        let library = library.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
        assert!(library.is_some() || environment("NAUTH_TEST_ALL").is_none(), "there is no libfaketime");
        let clock = Self { library: library?, file: tempfile::NamedTempFile::new().unwrap() };
        clock.set(offset);
        Some(clock)
    }

    fn set(&self, offset: &str) {
        let path: &Path = self.file.path();
        let next = path.with_extension("next");
        std::fs::write(&next, offset).unwrap();
        std::fs::rename(next, path).unwrap();
    }

    /// A nauth that goes by this clock. What only measures how time passes is as it is.
    fn of(&self, config: Config) -> Config {
        config
            .env("LD_PRELOAD", self.library.to_str().unwrap())
            .env("FAKETIME_TIMESTAMP_FILE", self.file.path().to_str().unwrap())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
    }
}

/// Whether a token says that it was made about now.
fn is_of_now(account: &Account) -> bool {
    let made = claims_of(&account.access_token)["iat"].as_i64().unwrap();
    (made - Clock::system().now().secs()).abs() <= 5
}

async fn is_let_in(nauth: &Nauth, account: &Account) -> bool {
    nauth.send(&Request::get("/").bearer(&account.access_token)).await.status == 200
}

on_every_server! {
    async fn nodes_go_by_the_clock_of_their_database(database: &Database) {
        let Some(ahead) = Skewed::by("+1h") else { return };
        let behind = Skewed::by("-1h").unwrap();
        let echo = Echo::start().await;
        let config = || database.shared(Config::in_front_of(&echo).without_verification());
        let one = Nauth::start(config()).await;
        let (fast, slow) =
            tokio::join!(Nauth::start_unready(ahead.of(config())), Nauth::start_unready(behind.of(config())));

        // A token of one is good at the others, and none of it is from another time.
        let ada = fast.signup("ada@example.com").await;
        let bob = slow.signup("bob@example.com").await;
        assert!(is_of_now(&ada) && is_of_now(&bob));
        for node in [&one, &fast, &slow] {
            assert!(is_let_in(node, &ada).await && is_let_in(node, &bob).await);
        }
        // The grace is the same everywhere: not over for the fast one, and over for the slow one.
        let rotated = one.refresh(&ada).await;
        assert!(is_let_in(&one, &rotated).await);
        tokio::time::sleep(secs(1)).await;
        assert_eq!(fast.refresh(&ada).await.refresh_token, rotated.refresh_token);
        tokio::time::sleep(secs(11)).await;
        slow.try_refresh(&ada.refresh_token).await.expect_error(401, "AUTH_TOKEN_REUSE_DETECTED");
    }

    async fn a_clock_that_is_far_off_is_not_ready_and_one_that_is_a_little_off_is_told(database: &Database) {
        let Some(clock) = Skewed::by("+5s") else { return };
        let echo = Echo::start().await;
        let nauth = Nauth::start(clock.of(database.shared(Config::in_front_of(&echo).without_verification()))).await;
        nauth.writes("this machine's clock is off").await;

        clock.set("+15s");
        let unready = eventually(secs(5), async || {
            let answer = nauth.manage(&Request::get("/readyz")).await;
            (answer.status == 503).then_some(answer)
        });
        let unready = unready.await.expect("not ready").text();
        assert!(unready.contains("clock is 1") && unready.contains("s off the database's"), "{unready}");
        assert!(is_of_now(&nauth.signup("ada@example.com").await), "it works all the same");

        clock.set("+0s");
        nauth.writes("this machine's clock is right again").await;
        nauth.manage(&Request::get("/readyz")).await.expect(200);
    }

    async fn a_step_of_the_clock_logs_nobody_out(database: &Database) {
        let Some(clock) = Skewed::by("+0s") else { return };
        let echo = Echo::start().await;
        let nauth = Nauth::start(clock.of(database.shared(Config::in_front_of(&echo).without_verification()))).await;
        let ada = nauth.signup("ada@example.com").await;

        for step in ["+1h", "-1h", "+1d", "-1d", "+5s", "-5s", "+0s"] {
            clock.set(step);
            for _ in 0..5 {
                assert!(is_let_in(&nauth, &ada).await, "{step}");
                assert!(is_of_now(&nauth.refresh(&ada).await), "{step}");
                tokio::time::sleep(millis(150)).await;
            }
        }
    }
}

/// A file has no clock of its own; then time is what the machine says.
#[tokio::test]
async fn on_a_file_time_is_what_the_machine_says_and_a_wrong_one_is_forgiven() {
    let Some(clock) = Skewed::by("+0s") else { return };
    let echo = Echo::start().await;
    let nauth = Nauth::start(clock.of(Config::in_front_of(&echo).without_verification().on_a_file())).await;
    let ada = nauth.signup("ada@example.com").await;

    for wobble in ["-5s", "+5s", "-1h", "+0s"] {
        clock.set(wobble);
        tokio::time::sleep(millis(700)).await;
        assert!(is_let_in(&nauth, &ada).await, "{wobble}");
    }
    clock.set("+1d");
    let expired = eventually(secs(5), async || (!is_let_in(&nauth, &ada).await).then_some(())).await;
    assert!(expired.is_some(), "an access token does not live for a day");
    clock.set("+0s");
    let back = eventually(secs(5), async || is_let_in(&nauth, &ada).await.then_some(())).await;
    assert!(back.is_some(), "{}", nauth.output());
    let rotated = nauth.refresh(&ada).await;
    assert!(is_let_in(&nauth, &rotated).await);
}
