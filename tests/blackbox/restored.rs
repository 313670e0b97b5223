//! A database that was put back to an earlier state: what it has forgotten does not come back to life.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Instant;

use serde_json::json;

use crate::servers::Kind;
use crate::support::{
    Account, Config, Database, Echo, Nauth, PASSWORD, Request, claims_of, eventually, on_every_server, secs,
};

async fn is_let_in(nauth: &Nauth, account: &Account) -> bool {
    nauth.send(&Request::get("/").bearer(&account.access_token)).await.status == 200
}

async fn log_out(nauth: &Nauth, account: &Account) {
    nauth.send(&Request::post("/auth/logout").bearer(&account.access_token)).await.expect(200);
}

fn put(from: &Path, to: &Path) {
    for name in ["nauth.db", "nauth.db-wal", "nauth.db-shm"] {
        let _ = std::fs::remove_file(to.join(name));
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

#[tokio::test]
async fn what_was_used_since_the_backup_is_not_unused_again() {
    let (echo, backup) = (Echo::start().await, tempfile::tempdir().unwrap());
    let mut nauth = Nauth::start(Config::in_front_of(&echo).on_a_file()).await;
    let ada = nauth.signup("ada@example.com").await;
    nauth.send(&Request::post("/auth/forgot-password").json(&json!({ "identifier": ada.email }))).await.expect(200);
    let code = nauth.code_for("ada@example.com").await;
    let invited = nauth.command(&["user", "create", "bob@example.com", "--invite"]).await.expect(0).output;
    let file = backup.path().join("copy.db");
    let made = nauth.command(&["backup", file.to_str().unwrap()]).await.expect(0).says("nauth restored");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", made.output);
    nauth.command(&["backup", file.to_str().unwrap()]).await.expect(1).says("cannot be made");
    std::fs::rename(&file, backup.path().join("nauth.db")).unwrap();
    let confirm = json!({ "identifier": ada.email, "code": code, "newPassword": "another walk by the sea" });
    let confirm = Request::post("/auth/forgot-password/confirm").json(&confirm);
    nauth.send(&confirm).await.expect(200);

    nauth.kill();
    put(backup.path(), &nauth.data_dir());
    let restored = nauth.command(&["restored"]).await.expect(0);
    let restored = restored.says("void are 1 codes and 1 invitations").says("--end-sessions");
    assert!(!restored.output.contains(invited.trim()), "{}", restored.output);
    nauth.start_again().await;

    nauth.send(&confirm).await.expect(400);
    nauth.try_login("ada@example.com", PASSWORD).await.expect(200);
    // An access token of before says what may no longer be true; its session is asked about.
    assert!(!is_let_in(&nauth, &ada).await);
    let rotated = nauth.refresh(&ada).await;
    assert!(is_let_in(&nauth, &rotated).await);
    let page = nauth.send(&Request::get("/").cookies(&ada.cookies())).await.expect(200);
    assert!(page.cookie("nauth_access_token").is_some(), "{page}");
}

#[tokio::test]
async fn sessions_that_were_ended_since_the_backup_end_with_all_others_where_that_is_wanted() {
    let (echo, backup) = (Echo::start().await, tempfile::tempdir().unwrap());
    let mut nauth = Nauth::start(Config::in_front_of(&echo).without_verification().on_a_file()).await;
    let ada = nauth.signup("ada@example.com").await;
    nauth.kill();
    put(&nauth.data_dir(), backup.path());
    nauth.start_again().await;
    log_out(&nauth, &ada).await;

    nauth.kill();
    put(backup.path(), &nauth.data_dir());
    nauth.command(&["restored", "--end-sessions"]).await.expect(0).says("every session of 1 users has ended");
    nauth.start_again().await;

    nauth.try_refresh(&ada.refresh_token).await.expect(401);
    assert!(!is_let_in(&nauth, &ada).await);
    nauth.send(&Request::get("/").cookies(&ada.cookies())).await.expect(401);
    nauth.login("ada@example.com").await;
}

on_every_server! {
    async fn nodes_that_run_on_see_what_is_revoked_after_it(database: &Database) {
        let echo = Echo::start().await;
        let config = || database.shared(Config::in_front_of(&echo).without_verification());
        let (one, other) = tokio::join!(Nauth::start(config()), Nauth::start(config()));
        one.signup("ada@example.com").await;
        let (ada, again) = (one.login("ada@example.com").await, one.login("ada@example.com").await);
        for _ in 0..5 {
            let gone = one.login("ada@example.com").await;
            log_out(&one, &gone).await;
            let ended = eventually(secs(2), async || (!is_let_in(&other, &gone).await).then_some(())).await;
            assert!(ended.is_some());
        }

        // As a backup of before would have it; the nodes have read numbers up to five.
        let mut beside = database.beside().await;
        beside.run("DELETE FROM nauth_revocations").await;
        beside.run("UPDATE nauth_revocation_counter SET value = 0 WHERE id = 1").await;
        one.command(&["restored"]).await.expect(0);
        let current = one.refresh(&ada).await;
        let since = Instant::now();
        log_out(&one, &current).await;

        for node in [&one, &other] {
            let ended = eventually(secs(1), async || (!is_let_in(node, &current).await).then_some(())).await;
            assert!(ended.is_some(), "still let in after {:?}:\n{}", since.elapsed(), node.output());
            let outdated = eventually(secs(1), async || (!is_let_in(node, &again).await).then_some(())).await;
            assert!(outdated.is_some(), "every token of before is refreshed");
        }
        let again = other.refresh(&again).await;
        assert!(is_let_in(&other, &again).await && is_let_in(&one, &again).await);
        assert!(claims_of(&again.access_token)["ge"].as_i64().unwrap() > 1_000_000_000);
    }

    async fn a_number_that_a_dying_database_lost_and_gave_out_again_is_read_again(database: &Database) {
        let echo = Echo::start().await;
        let config = || database.shared(Config::in_front_of(&echo).without_verification());
        let (one, other) = tokio::join!(Nauth::start(config()), Nauth::start(config()));
        let ada = one.signup("ada@example.com").await;
        let gone = one.login("ada@example.com").await;
        log_out(&one, &gone).await;
        let ended = eventually(secs(2), async || (!is_let_in(&other, &gone).await).then_some(())).await;
        assert!(ended.is_some());

        // The other one has read this number, and what it now stands for was not there.
        let session = claims_of(&ada.access_token)["sessionId"].as_str().unwrap().to_owned();
        let again = format!("UPDATE nauth_revocations SET subject = '{session}', made_at = made_at + 1");
        database.execute(&again).await;

        let ended = eventually(secs(1), async || (!is_let_in(&other, &ada).await).then_some(())).await;
        assert!(ended.is_some(), "{}", other.output());
        assert!(!is_let_in(&other, &gone).await, "what it knew stays in force");
    }

    async fn a_node_notices_by_itself_that_numbers_begin_again(database: &Database) {
        let echo = Echo::start().await;
        let config = || database.shared(Config::in_front_of(&echo).without_verification());
        let (one, other) = tokio::join!(Nauth::start(config()), Nauth::start(config()));
        let ada = one.signup("ada@example.com").await;
        let gone = one.login("ada@example.com").await;
        log_out(&one, &gone).await;
        let ended = eventually(secs(2), async || (!is_let_in(&other, &gone).await).then_some(())).await;
        assert!(ended.is_some());

        let mut beside = database.beside().await;
        beside.run("DELETE FROM nauth_revocations").await;
        beside.run("UPDATE nauth_revocation_counter SET value = 0 WHERE id = 1").await;
        other.writes("run `nauth restored`").await;
        log_out(&one, &ada).await;

        let ended = eventually(secs(1), async || (!is_let_in(&other, &ada).await).then_some(())).await;
        assert!(ended.is_some(), "{}", other.output());
        assert!(!is_let_in(&other, &gone).await, "what it knew stays in force");
    }
}
