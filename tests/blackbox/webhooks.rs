//! `[[webhooks]]` learn what happened, `[[hooks]]` are asked before it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use crate::support::{
    Account, Config, Echo, Nauth, PASSWORD, Posted, Receiver, Request, Seen, claims_of, eventually, millis, secs,
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn webhook(url: &str, further: &str) -> String {
    format!(
        "[[webhooks]]\nname = \"crm\"\nurl = \"{url}\"\nsecret = \"{SECRET}\"\nallow_private = true\n\
         events = [\"user.created\", \"user.onboarded\", \"password.changed\", \"account.disabled\", \"sessions.revoked\"]\n\
         {further}"
    )
}

fn hook(event: &str, url: &str, further: &str) -> String {
    format!("[[hooks]]\nevent = \"{event}\"\nurl = \"{url}\"\nsecret = \"{SECRET}\"\n{further}")
}

fn is(event: &'static str) -> impl Fn(&Posted) -> bool {
    move |posted| posted.header("nauth-event") == event
}

#[tokio::test]
async fn a_webhook_learns_what_happened_with_a_signature_and_without_secrets() {
    let crm = Receiver::start().await;
    let nauth = Nauth::start(Config::whoami().table(&webhook(&crm.url("/in"), ""))).await;

    let ada = nauth.signup("ada@example.com").await;
    let body = json!({ "oldPassword": PASSWORD, "newPassword": "another walk by the sea" });
    nauth.send(&Request::post("/auth/change-password").bearer(&ada.access_token).json(&body)).await.expect(200);

    for event in ["user.created", "user.onboarded", "password.changed"] {
        let posted = crm.wait_for(is(event)).await;
        assert!(posted.is_signed_with(SECRET), "{posted:?}");
        let told = posted.json();
        assert_eq!((&told["type"], &told["version"]), (&json!(event), &json!(1)));
        assert_eq!(told["id"], posted.header("nauth-delivery"));
        assert_eq!(
            (&told["data"]["user"]["sub"], &told["data"]["user"]["email"]),
            (&json!(ada.sub), &json!("ada@example.com"))
        );
        assert_eq!(told["data"]["client"]["ip"], "127.0.0.1");
    }
    let changed = crm.wait_for(is("password.changed")).await.json();
    assert_eq!((&changed["data"]["changed_by"], &changed["data"]["sessions_revoked"]), (&json!("user"), &json!(1)));
    for posted in crm.posted() {
        for secret in [PASSWORD, "another walk by the sea", &ada.access_token, &ada.refresh_token] {
            assert!(!posted.body.contains(secret), "{posted:?}");
        }
    }
}

#[tokio::test]
async fn without_personal_data_a_webhook_learns_ids_only() {
    let crm = Receiver::start().await;
    let nauth = Nauth::start(Config::whoami().table(&webhook(&crm.url("/in"), "include_pii = false"))).await;

    let ada = nauth.signup("ada@example.com").await;

    let posted = crm.wait_for(is("user.onboarded")).await;
    assert_eq!(posted.json()["data"]["user"]["sub"], ada.sub.as_str());
    assert!(!posted.body.contains("ada@example.com") && !posted.body.contains("127.0.0.1"), "{posted:?}");
}

#[tokio::test]
async fn an_event_outlives_a_crash_and_a_receiver_that_fails() {
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let crm = Receiver::answering(move |_| {
        let failing = tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2;
        (if failing { 500 } else { 204 }, String::new())
    })
    .await;
    let config = Config::whoami().without_verification();
    let mut nauth = Nauth::start(config.table(&webhook(&crm.url("/in"), ""))).await;
    nauth.signup("ada@example.com").await;

    nauth.kill();
    nauth.start_again().await;

    let delivered = eventually(secs(20), async || {
        (nauth.metric("nauth_webhook_deliveries_total", &["hook=\"crm\"", "result=\"delivered\""]).await >= 1.0)
            .then_some(())
    });
    assert!(delivered.await.is_some(), "{}", nauth.output());
    let ids: Vec<String> = crm
        .posted()
        .iter()
        .filter(|posted| is("user.created")(posted))
        .map(|posted| posted.header("nauth-delivery").to_owned())
        .collect();
    assert!(!ids.is_empty() && ids.iter().all(|id| *id == ids[0]), "one delivery, one id: {ids:?}");
}

#[tokio::test]
async fn a_receiver_that_never_answers_well_is_given_up_and_holds_up_nobody() {
    let crm = Receiver::answering(|_| (500, String::new())).await;
    let nauth = Nauth::start(Config::whoami().table(&webhook(&crm.url("/in"), "max_attempts = 2"))).await;

    nauth.signup("ada@example.com").await;

    let given_up = eventually(secs(20), async || {
        (nauth.metric("nauth_webhook_deliveries_total", &["result=\"dead\""]).await >= 2.0).then_some(())
    });
    assert!(given_up.await.is_some(), "{}", nauth.output());
    let of_signup = crm.posted().iter().filter(|posted| is("user.created")(posted)).count();
    assert_eq!(of_signup, 2);
}

#[tokio::test]
async fn a_webhook_does_not_reach_into_private_networks() {
    let inside = Receiver::start().await;
    let table = webhook(&inside.url("/in"), "").replace("allow_private = true\n", "");
    let nauth = Nauth::start(Config::whoami().without_verification().table(&table)).await;
    nauth.signup("ada@example.com").await;
    nauth.writes("the destination is in a private network").await;

    let by_name = table.replace("127.0.0.1", "localhost");
    let second = Nauth::start(Config::whoami().without_verification().table(&by_name)).await;
    second.signup("ada@example.com").await;
    second.writes("the destination is in a private network").await;

    assert_eq!(inside.posted().len(), 0);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Receiver::start().await;
    let location = elsewhere.url("/");
    let crm = Receiver::answering(move |_| (302, location.clone())).await;
    let nauth =
        Nauth::start(Config::whoami().without_verification().table(&webhook(&crm.url("/in"), "max_attempts = 1")))
            .await;

    nauth.signup("ada@example.com").await;

    nauth.writes("the endpoint answered 302").await;
    assert_eq!(elsewhere.posted().len(), 0);
}

#[tokio::test]
async fn a_hook_decides_who_may_sign_up_and_as_what() {
    let echo = Echo::start().await;
    let asked = Receiver::answering(|posted| {
        let email = posted.json()["data"]["user"]["email"].as_str().unwrap().to_owned();
        let answer = if email.starts_with("eve") {
            json!({ "decision": "deny", "message": "Ask\r\nthe office" })
        } else {
            json!({ "decision": "allow", "set": { "roles": ["user", "support"], "metadata_admin": { "plan": "pro" } } })
        };
        (200, answer.to_string())
    })
    .await;
    let config = Config::in_front_of(&echo).without_verification();
    let nauth = Nauth::start(config.table(&hook("signup.pre", &asked.url("/"), ""))).await;

    let refused = nauth.try_signup("eve@example.com", PASSWORD).await.expect_error(400, "SIGNUP_PRESIGNUP_FAILED");
    assert_eq!(refused.json()["message"], "Ask the office");
    nauth.command(&["user", "show", "eve@example.com"]).await.expect(1);
    let ada = nauth.signup("ada@example.com").await;

    let seen = Seen::in_answer(&nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(200));
    assert_eq!(seen.header("X-Forwarded-Groups"), Some("support,user"));
    let question = asked.wait_for(is("signup.pre")).await;
    assert!(question.is_signed_with(SECRET) && !question.body.contains(PASSWORD), "{question:?}");
}

#[tokio::test]
async fn what_a_hook_says_of_a_user_reaches_every_session_of_theirs() {
    let echo = Echo::start().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let crm = Receiver::answering(move |_| {
        let tenant = format!("tenant-{}", counted.fetch_add(1, Ordering::SeqCst));
        (200, json!({ "decision": "allow", "set": { "metadata_admin": { "tenant": tenant } } }).to_string())
    })
    .await;
    let config = Config::in_front_of(&echo)
        .without_verification()
        .set("gateway.identity.extra.x-tenant", "{{user.metadata_admin.tenant}}")
        .table(&hook("login.pre_token", &crm.url("/"), ""));
    let nauth = Nauth::start(config).await;
    let tenant = async |account: &Account| {
        let answer = nauth.send(&Request::get("/").cookies(&account.cookies())).await.expect(200);
        Seen::in_answer(&answer).header("X-Tenant").map(str::to_owned)
    };

    let first = nauth.signup("ada@example.com").await;
    assert_eq!(tenant(&first).await.as_deref(), Some("tenant-0"));
    let second = nauth.login("ada@example.com").await;

    assert_eq!(tenant(&second).await.as_deref(), Some("tenant-1"));
    let told = eventually(secs(5), async || (tenant(&first).await.as_deref() == Some("tenant-1")).then_some(()));
    assert!(told.await.is_some(), "the older session is told of what holds now");
}

#[tokio::test]
async fn a_hook_adds_claims_to_tokens_and_keeps_people_out() {
    let asked = Receiver::answering(|posted| {
        let email = posted.json()["data"]["user"]["email"].as_str().unwrap().to_owned();
        let answer = if email.starts_with("eve") {
            json!({ "decision": "deny", "message": "Not today" })
        } else {
            json!({ "decision": "allow", "set": { "claims": { "tenant": "acme", "scope": "vault:read", "limits": { "seats": 3 } } } })
        };
        (200, answer.to_string())
    })
    .await;
    let config = Config::whoami()
        .without_verification()
        .set("gateway.identity.extra.x-tenant", "{{claims.tenant}}")
        .route("path = \"/\"")
        .route("path = \"/vault\"\nscopes = [\"vault:read\"]");
    let nauth = Nauth::start(config.table(&hook("login.pre_token", &asked.url("/"), ""))).await;

    let ada = nauth.signup("ada@example.com").await;
    let page = nauth.send(&Request::get("/vault").bearer(&ada.access_token)).await.expect(200);
    assert!(page.text().contains("X-Tenant: acme\n"), "{page}");
    let claims = claims_of(&ada.access_token);
    assert_eq!((&claims["tenant"], &claims["limits"]["seats"]), (&json!("acme"), &json!(3)));
    assert_eq!(claims["sub"], ada.sub.as_str());
    let refreshed =
        nauth.send(&Request::post("/auth/refresh").json(&json!({ "refreshToken": ada.refresh_token }))).await;
    assert_eq!(claims_of(refreshed.expect(200).json()["accessToken"].as_str().unwrap())["tenant"], "acme");

    let refused = nauth.try_signup("eve@example.com", PASSWORD).await.expect_error(403, "FORBIDDEN");
    assert_eq!(refused.json()["message"], "Not today");
    nauth.try_login("eve@example.com", PASSWORD).await.expect_error(403, "FORBIDDEN");
    nauth.try_login("eve@example.com", "something else").await.expect_error(401, "AUTH_INVALID_CREDENTIALS");
}

#[tokio::test]
async fn a_hook_that_does_not_answer_is_what_the_file_says() {
    for (further, status) in [("timeout = \"300ms\"", 400), ("timeout = \"300ms\"\non_error = \"allow\"", 201)] {
        let slow = Receiver::answering(|_| {
            std::thread::sleep(secs(1));
            (200, json!({ "decision": "allow" }).to_string())
        })
        .await;
        let config = Config::whoami().without_verification();
        let nauth = Nauth::start(config.table(&hook("signup.pre", &slow.url("/"), further))).await;
        nauth.try_signup("ada@example.com", PASSWORD).await.expect(status);
    }
    for answer in ["<html>", "{}", r#"{"decision":"allow","set":{"claims":{"sub":"root"}}}"#] {
        let strange = Receiver::answering(move |_| (200, answer.to_owned())).await;
        let config = Config::whoami().without_verification();
        let nauth = Nauth::start(config.table(&hook("login.pre_token", &strange.url("/"), ""))).await;
        nauth.try_signup("ada@example.com", PASSWORD).await.expect_error(403, "FORBIDDEN");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_hook_holds_up_nobody_else() {
    let slow = Receiver::answering(|_| {
        std::thread::sleep(secs(2));
        (200, json!({ "decision": "allow" }).to_string())
    })
    .await;
    let config = Config::whoami().without_verification();
    let nauth = Nauth::start(config.table(&hook("login.pre_token", &slow.url("/"), "timeout = \"5s\""))).await;
    let waiting = nauth.try_signup("ada@example.com", PASSWORD);
    let other = async {
        slow.wait_for(is("login.pre_token")).await;
    };
    let asked = async {
        // The hook is being asked by now, and whoever else comes is answered meanwhile.
        tokio::time::sleep(secs(1)).await;
        let begun = std::time::Instant::now();
        nauth.try_login("nobody@example.com", PASSWORD).await.expect_error(401, "AUTH_INVALID_CREDENTIALS");
        begun.elapsed()
    };

    let (answer, (), took) = tokio::join!(waiting, other, asked);

    Account::in_answer(&answer.expect(201));
    assert!(took < secs(1), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_with_the_password_of_before_does_not_outlive_its_change_in_a_hook() {
    let may_answer = Arc::new(AtomicBool::new(true));
    let held = Arc::clone(&may_answer);
    let slow = Receiver::answering(move |_| {
        tokio::task::block_in_place(|| {
            while !held.load(Ordering::Relaxed) {
                std::thread::sleep(millis(20));
            }
        });
        (200, json!({ "decision": "allow" }).to_string())
    })
    .await;
    let config = Config::whoami().without_verification().on_a_file();
    let nauth = Nauth::start(config.table(&hook("login.pre_token", &slow.url("/"), "timeout = \"30s\""))).await;
    nauth.signup("ada@example.com").await;

    may_answer.store(false, Ordering::Relaxed);
    let changed = async {
        // The hook is being asked by now.
        tokio::time::sleep(secs(1)).await;
        let changed = ["user", "set-password", "ada@example.com"];
        nauth.command_reading(&changed, "another walk by the sea\n").await.expect(0);
        may_answer.store(true, Ordering::Relaxed);
    };
    let (late, ()) = tokio::join!(nauth.try_login("ada@example.com", PASSWORD), changed);

    late.expect_error(401, "AUTH_INVALID_CREDENTIALS");
}

#[tokio::test]
async fn a_role_that_a_hook_grants_asks_for_the_factor_it_demands() {
    let grants = Receiver::answering(|_| {
        (200, json!({ "decision": "allow", "set": { "roles": ["user", "admin"] } }).to_string())
    })
    .await;
    let config = Config::whoami().without_verification().set("mfa.require_for_roles", json!(["admin"]));
    let nauth = Nauth::start(config.table(&hook("login.pre_token", &grants.url("/"), ""))).await;

    let answer = nauth.try_signup("ada@example.com", PASSWORD).await.expect(201).json();
    assert_eq!(answer["challengeName"], "MFA_SETUP_REQUIRED", "{answer}");
    let answer = nauth.try_login("ada@example.com", PASSWORD).await.expect(200).json();
    assert_eq!(answer["challengeName"], "MFA_SETUP_REQUIRED", "{answer}");
}

#[tokio::test]
async fn a_webhook_learns_of_second_factors() {
    let crm = Receiver::start().await;
    let events =
        "[[webhooks]]\nname = \"crm\"\nallow_private = true\nevents = [\"mfa.enabled\", \"mfa.device_removed\"]\n";
    let table = format!("{events}url = \"{}\"\nsecret = \"{SECRET}\"\n", crm.url("/in"));
    let nauth = Nauth::start(Config::whoami().table(&table)).await;
    let ada = nauth.signup("ada@example.com").await;

    nauth.set_up_app(&ada, 30).await;
    nauth.command(&["user", "unlock", "ada@example.com", "--reset-mfa"]).await.expect(0);

    for event in ["mfa.enabled", "mfa.device_removed"] {
        let told = crm.wait_for(is(event)).await.json();
        assert_eq!((&told["data"]["method"], &told["data"]["user"]["sub"]), (&json!("totp"), &json!(ada.sub)));
    }
}
