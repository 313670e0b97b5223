//! The audit trail: what users see of it.

use serde_json::{Value, json};

use super::support::{Account, Config, Nauth, PASSWORD, Request, eventually, secs};

const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 \
                     (KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1";

impl Nauth {
    /// A page of somebody's history.
    async fn history(&self, account: &Account, query: &str) -> Value {
        self.get_as(account, &format!("/auth/audit/history{query}")).await.expect(200).json()
    }

    /// The first entry of a type in somebody's history, as soon as it is there.
    async fn entry(&self, account: &Account, kind: &str) -> Value {
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
    assert!(success["platform"].is_string() && success["deviceName"].is_string(), "{success}");
    assert!(success["userId"].as_u64().unwrap() > 0 && success["id"].as_u64().unwrap() > 0, "{success}");
    for unknown in ["riskFactor", "riskFactors", "ipCountry", "ipLatitude", "adaptiveMfaTriggered", "description"] {
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
    assert_eq!(nauth.history(&ada, "?eventTypes=SOCIAL_LOGIN").await["total"], 0, "known, and nothing here does it");

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
