//! The audit trail: what users see of it.

use nauth::domain::audit::EVENT_TYPES;
use serde_json::{Value, json};

use super::support::{Account, Config, Echo, Nauth, PASSWORD, Receiver, Request, eventually, secs};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 \
                     (KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1";

impl Nauth {
    /// A page of somebody's history.
    pub(crate) async fn history(&self, account: &Account, query: &str) -> Value {
        self.get_as(account, &format!("/auth/audit/history{query}")).await.expect(200).json()
    }

    /// The first entry of a type in somebody's history, as soon as it is there.
    pub(crate) async fn entry(&self, account: &Account, kind: &str) -> Value {
        let query = format!("?eventTypes={kind}");
        let found = eventually(secs(10), async || {
            let page = self.history(account, &query).await;
            page["data"].as_array().unwrap().first().cloned()
        });
        found.await.unwrap_or_else(|| panic!("no {kind}"))
    }
}

fn kinds(page: &Value) -> Vec<&str> {
    page["data"].as_array().unwrap().iter().map(|entry| entry["eventType"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn users_see_what_happened_to_their_accounts_and_to_nobody_elses() {
    let nauth = Nauth::start(Config::whoami()).await;
    let eve = nauth.signup("eve@example.com").await;
    let ada = nauth.signup("ada@example.com").await;
    let body = json!({ "identifier": "ada@example.com", "password": PASSWORD });
    let login = Request::post("/auth/login").header("User-Agent", PHONE).json(&body);
    let ada_again = Account::in_answer(&nauth.send(&login).await.expect(200));
    nauth.try_login("ada@example.com", "another one entirely").await.expect(401);

    let entry = nauth.entry(&ada, "LOGIN_FAILED").await;
    assert_eq!((&entry["eventStatus"], &entry["reason"]), (&json!("FAILURE"), &json!("wrong_password")));

    let page = nauth.history(&ada, "").await;
    assert_eq!((&page["page"], &page["limit"], &page["totalPages"]), (&json!(1), &json!(50), &json!(1)), "{page}");
    assert_eq!(page["total"], page["data"].as_array().unwrap().len());
    for kind in ["ACCOUNT_CREATED", "CHALLENGE_CREATED", "EMAIL_VERIFIED", "SESSION_CREATED", "LOGIN_SUCCESS"] {
        assert!(kinds(&page).contains(&kind), "no {kind} in {page}");
    }
    let times: Vec<&str> =
        page["data"].as_array().unwrap().iter().map(|entry| entry["createdAt"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");

    let success = nauth.history(&ada, "?eventTypes=LOGIN_SUCCESS").await["data"][0].clone();
    let keys: Vec<&String> = success.as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 26, "{keys:?}");
    assert_eq!(success["userAgent"], PHONE);
    assert_eq!(
        (&success["browser"], &success["deviceType"], &success["ipAddress"]),
        (&json!("Safari"), &json!("mobile"), &json!("127.0.0.1"))
    );
    assert_eq!(
        (&success["authMethod"], &success["description"]),
        (&json!("password"), &json!("Signed in with a password"))
    );
    assert!(success["platform"].is_string() && success["deviceName"].is_string(), "{success}");
    assert!(success["userId"].as_u64().unwrap() > 0 && success["id"].as_u64().unwrap() > 0, "{success}");
    for unknown in ["riskFactor", "riskFactors", "ipCountry", "ipLatitude", "adaptiveMfaTriggered"] {
        assert_eq!(success.get(unknown), Some(&Value::Null), "{success}");
    }

    let hers = nauth.history(&eve, "").await;
    assert_eq!(kinds(&hers).iter().filter(|kind| **kind == "LOGIN_SUCCESS").count(), 1, "{hers}");
    assert_ne!(hers["data"][0]["userId"], success["userId"]);
    nauth.send(&Request::get("/auth/audit/history")).await.expect(401);
    drop(ada_again);
}

#[tokio::test]
async fn pages_and_filters_narrow_the_history() {
    let nauth = Nauth::start(Config::whoami().without_verification()).await;
    let ada = nauth.signup("ada@example.com").await;
    for _ in 0..4 {
        nauth.login("ada@example.com").await;
    }

    let of = |page: &Value| -> Vec<i64> {
        page["data"].as_array().unwrap().iter().map(|entry| entry["id"].as_i64().unwrap()).collect()
    };
    let all = nauth.history(&ada, "?eventTypes=LOGIN_SUCCESS,SESSION_CREATED").await;
    assert_eq!((of(&all).len(), &all["total"]), (10, &json!(10)));
    let mut paged = Vec::new();
    for page in 1..=4 {
        let query = format!("?eventTypes=LOGIN_SUCCESS&eventTypes=SESSION_CREATED&limit=3&page={page}");
        let page = nauth.history(&ada, &query).await;
        assert_eq!((&page["total"], &page["totalPages"]), (&json!(10), &json!(4)));
        paged.extend(of(&page));
    }
    assert_eq!(paged, of(&all), "every entry once, in one order");
    assert_eq!(of(&nauth.history(&ada, "?limit=3&page=900000000000000000").await), Vec::<i64>::new());

    let some = nauth.history(&ada, "?eventStatus=INFO").await;
    assert!(some["data"].as_array().unwrap().iter().all(|entry| entry["eventStatus"] == "INFO"), "{some}");
    let oldest = all["data"][9]["createdAt"].as_str().unwrap();
    assert_eq!(nauth.history(&ada, "?startDate=2100-01-01").await["total"], 0);
    assert_eq!(nauth.history(&ada, "?endDate=2020-01-01T00:00:00Z").await["total"], 0);
    let since = format!("?eventType=LOGIN_SUCCESS&startDate={oldest}&endDate=2100-01-01");
    assert_eq!(nauth.history(&ada, &since).await["total"], 5);
    let shown = format!("?eventTypes[]=LOGIN_SUCCESS&eventTypes[]=SESSION_CREATED&startDate={oldest}&endDate={oldest}");
    assert!(nauth.history(&ada, &shown).await["total"].as_i64().unwrap() >= 1, "an entry by the time it is shown with");
    assert_eq!(nauth.history(&ada, "?eventType=LOGIN_SUCCESS&endDate=9999-12-31T23:59:59Z").await["total"], 5);
    assert_eq!(nauth.history(&ada, "?eventTypes=SOCIAL_LOGIN").await["total"], 0, "known, and nothing here does it");
    let most: Vec<&str> = EVENT_TYPES.iter().copied().filter(|kind| *kind != "LOGIN_SUCCESS").collect();
    let without = nauth.history(&ada, &format!("?eventTypes={}", most.join(","))).await;
    let whole = nauth.history(&ada, &format!("?eventTypes={}", EVENT_TYPES.join(","))).await;
    assert!(!kinds(&without).contains(&"LOGIN_SUCCESS") && kinds(&without).contains(&"SESSION_CREATED"), "{without}");
    assert_eq!(whole["total"].as_i64().unwrap(), without["total"].as_i64().unwrap() + 5);

    for wrong in ["eventTypes=NO_SUCH", "eventStatus=GOOD", "page=0", "limit=501", "startDate=x", "endDate=12"] {
        let refused = nauth.get_as(&ada, &format!("/auth/audit/history?{wrong}")).await;
        refused.expect_error(400, "VALIDATION_FAILED");
    }
}

#[tokio::test]
async fn what_users_and_operators_do_is_written_down() {
    let nauth = Nauth::start(Config::whoami()).await;
    let session = nauth.try_signup("ada@example.com", PASSWORD).await.expect(201).json()["session"].clone();
    let session = session.as_str().unwrap();
    nauth.respond(session, "000000").await.expect_error(400, "VERIFY_CODE_INVALID");
    let code = nauth.code_for("ada@example.com").await;
    let ada = Account::in_answer(&nauth.respond(session, &code).await.expect(200));
    assert_eq!(nauth.entry(&ada, "EMAIL_VERIFICATION_FAILED").await["eventStatus"], "FAILURE");

    let rename = Request::new("PUT", "/auth/profile").bearer(&ada.access_token).json(&json!({ "username": "ada" }));
    nauth.send(&rename).await.expect(200);
    let renamed = nauth.entry(&ada, "USERNAME_CHANGED").await;
    assert_eq!(renamed["performedBy"], nauth.get_as(&ada, "/auth/profile").await.json()["sub"]);

    let command = ["user", "set-password", "ada@example.com", "--must-change"];
    nauth.command_reading(&command, "another one, chosen by an operator").await.expect(0);
    let login = nauth.try_login("ada@example.com", "another one, chosen by an operator").await.expect(200).json();
    assert_eq!(login["challengeName"], "FORCE_CHANGE_PASSWORD");
    let session = login["session"].as_str().unwrap();
    let new = nauth.answer(session, "FORCE_CHANGE_PASSWORD", json!({ "newPassword": "the one ada likes" })).await;
    let ada = Account::in_answer(&new.expect(200));
    assert_eq!(nauth.entry(&ada, "PASSWORD_FORCE_CHANGE_SET").await["performedBy"], "operator");
    assert_eq!(nauth.entry(&ada, "PASSWORD_FORCE_CHANGE_COMPLETED").await["eventStatus"], "SUCCESS");
}

/// The entries of a file, as far as they are whole.
pub(crate) fn lines(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_inclusive('\n').filter_map(|line| serde_json::from_str(line.strip_suffix('\n')?).ok()).collect()
}

/// The first entry of a type in a file, as soon as it is there.
pub(crate) async fn written(path: &std::path::Path, kind: &str) -> Value {
    let found = eventually(secs(10), async || lines(path).into_iter().find(|entry| entry["eventType"] == kind)).await;
    found.unwrap_or_else(|| panic!("no {kind} in {:?}", lines(path)))
}

#[tokio::test]
async fn entries_go_to_standard_output_and_to_a_file_that_can_be_rotated() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let config = Config::whoami()
        .set("audit.sink", json!(["stdout-json", format!("file:{}", path.display())]))
        .set("server.management.token", SECRET);
    let nauth = Nauth::start(config).await;
    nauth.signup("ada@example.com").await;
    nauth.try_login("ada@example.com", "another one entirely").await.expect(401);

    let success = written(&path, "LOGIN_SUCCESS").await;
    assert_eq!((&success["ipAddress"], &success["type"]), (&json!("127.0.0.1"), &json!("audit")));
    assert!(success["sub"].is_string() && success["requestId"].is_string(), "{success}");
    assert_eq!(written(&path, "LOGIN_FAILED").await["reason"], "wrong_password");
    nauth.writes("\"eventType\":\"LOGIN_FAILED\"").await;
    let output = nauth.output();
    let line = output.lines().find(|line| line.contains("\"eventType\":\"LOGIN_FAILED\"")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["ipAddress"], "127.0.0.0", "cut like every address in the log");

    std::fs::rename(&path, directory.path().join("audit.1")).unwrap();
    nauth.manage(&Request::post("/reload").bearer(SECRET)).await.expect(200);
    let done = nauth.command(&["user", "disable", "ada@example.com"]).await.expect(0);
    assert_eq!(written(&path, "ACCOUNT_DISABLED").await["performedBy"], "operator");
    let done = done.says("ada@example.com disabled");
    assert!(!done.says("ada@example.com").output.contains("eventType"), "what a command prints is its answer");
    nauth.try_login("ada@example.com", PASSWORD).await.expect(403);
    assert_eq!(written(&path, "LOGIN_FAILED").await["reason"], "account_locked");
    assert!(lines(&directory.path().join("audit.1")).iter().all(|entry| entry["eventType"] != "ACCOUNT_DISABLED"));
}

#[tokio::test]
async fn a_full_disk_costs_entries_in_the_file_and_nobody_a_login() {
    let nauth = Nauth::start(Config::whoami().set("audit.sink", json!(["file:/dev/full"]))).await;
    let ada = nauth.signup("ada@example.com").await;
    nauth.login("ada@example.com").await;

    let counted =
        eventually(secs(10), async || (nauth.metric("nauth_audit_dropped_total", &[]).await > 2.0).then_some(()));
    counted.await.expect("what is lost there is counted");
    nauth.writes("audit entries do not get there").await;
    assert_eq!(nauth.history(&ada, "?eventTypes=LOGIN_SUCCESS").await["total"], 2, "and stands in the database");
}

#[tokio::test]
async fn entries_are_delivered_to_a_webhook_with_as_much_of_people_as_it_may_know() {
    let (siem, bare) = (Receiver::start().await, Receiver::start().await);
    let webhook = |name: &str, at: &Receiver, pii: bool| {
        let url = at.url("/audit");
        format!(
            "[[webhooks]]\nname = \"{name}\"\nurl = \"{url}\"\nsecret = \"{SECRET}\"\nallow_private = true\n\
             include_pii = {pii}\n"
        )
    };
    let config = Config::whoami()
        .set("audit.sink", json!(["webhook:siem", "webhook:bare"]))
        .table(&webhook("siem", &siem, true))
        .table(&webhook("bare", &bare, false));
    let nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;
    nauth.try_login("ada@example.com", "another one entirely").await.expect(401);

    for (receiver, is_told) in [(&siem, true), (&bare, false)] {
        let of =
            |kind: &'static str| receiver.wait_for(move |posted| posted.json()["data"]["entry"]["eventType"] == kind);
        let verified = of("EMAIL_VERIFIED").await;
        assert!(verified.is_signed_with(SECRET));
        assert_eq!(verified.body.contains("a***@example.com"), is_told, "{}", verified.body);
        assert_eq!(verified.body.contains("127.0.0.1"), is_told, "{}", verified.body);
        let failed = of("LOGIN_FAILED").await.json();
        assert_eq!(failed["type"], "audit.entry");
        assert_eq!(failed["data"]["user"]["sub"], nauth.get_as(&ada, "/auth/profile").await.json()["sub"]);
    }

    let hint = Config::whoami().set("audit.sink", json!(["webhook:sien"])).table(&webhook("siem", &siem, true));
    Nauth::start_refused(hint).await.expect(2).says("did you mean `webhook:siem`?");
}

#[tokio::test]
async fn a_deleted_account_is_gone_and_its_trail_is_not() {
    let echo = Echo::start().await;
    let config = Config::in_front_of(&echo).without_verification().route("path = \"/\"\naccess = \"required\"");
    let sink = tempfile::tempdir().unwrap();
    let file = sink.path().join("audit.log");
    let nauth = Nauth::start(config.set("audit.sink", json!([format!("file:{}", file.display())]))).await;
    let ada = nauth.signup("ada@example.com").await;
    nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(200);
    nauth.command(&["user", "delete", "ada@example.com"]).await.expect(2).says("--yes");

    nauth.command(&["user", "delete", "ada@example.com", "--yes"]).await.expect(0).says("deleted");

    let refused = eventually(secs(2), async || {
        let answer = nauth.send(&Request::get("/").bearer(&ada.access_token)).await;
        (answer.status == 401).then_some(())
    });
    assert!(refused.await.is_some(), "its token is good no longer");
    nauth.try_refresh(&ada.refresh_token).await.expect(401);
    nauth.try_login("ada@example.com", PASSWORD).await.expect_error(401, "AUTH_INVALID_CREDENTIALS");
    nauth.command(&["user", "delete", "ada@example.com", "--yes"]).await.expect(1);
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.contains("ACCOUNT_DELETED") && written.contains(&ada.sub), "{written}");
    nauth.signup("ada@example.com").await;
}
