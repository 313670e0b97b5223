//! Where logins come from, by a database on disk.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::support::{Account, Config, Nauth, PASSWORD, Place, Posted, Receiver, Request, mmdb};

const ZURICH: Place = Place { country: "CH", city: Some("Zürich"), point: Some((47.3667, 8.55)) };
const TOKYO: Place = Place { country: "JP", city: Some("Tokyo"), point: Some((35.6895, 139.6917)) };
const BUILT: u64 = 1_700_000_000;

fn write(directory: &Path, places: &[(&str, Place)], built: u64) -> PathBuf {
    let path = directory.join("GeoLite2-City.mmdb");
    std::fs::write(&path, mmdb(places, built)).unwrap();
    path
}

fn config(directory: &Path) -> Config {
    Config::whoami()
        .without_verification()
        .set("server.trusted_proxies", vec!["127.0.0.1"])
        .set("geoip.enabled", true)
        .set("geoip.dir", directory.to_str().unwrap())
}

/// Logs in from an address and tells where the sessions come from, that one first.
async fn places(nauth: &Nauth, ip: &str) -> Vec<(Value, Value)> {
    let body = json!({ "identifier": "ada@example.com", "password": PASSWORD });
    let login = Request::post("/auth/login").header("X-Forwarded-For", ip).json(&body);
    let account = Account::in_answer(&nauth.send(&login).await.expect(200));
    let list = nauth.get_as(&account, "/auth/sessions").await.expect(200).json();
    let mut sessions = list["sessions"].as_array().unwrap().clone();
    sessions.sort_by_key(|session| session["isCurrent"] != true);
    sessions.iter().map(|session| (session["ipCountry"].clone(), session["ipCity"].clone())).collect()
}

#[tokio::test]
async fn sessions_tell_where_they_were_opened_and_a_newer_database_is_taken_by_a_reload() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &[("192.0.2.1", ZURICH), ("2001:db8::7", TOKYO)], BUILT);
    let nauth = Nauth::start(config(directory.path())).await;
    nauth.signup("ada@example.com").await;

    assert_eq!(places(&nauth, "192.0.2.1").await[0], (json!("CH"), json!("Zürich")));
    assert_eq!(places(&nauth, "2001:db8::7").await[0], (json!("JP"), json!("Tokyo")));
    assert_eq!(places(&nauth, "192.0.2.9").await[0], (Value::Null, Value::Null));

    let ada = nauth.login("ada@example.com").await;
    let history = nauth.get_as(&ada, "/auth/audit/history?eventTypes=LOGIN_SUCCESS").await.expect(200).json();
    let from_japan = history["data"].as_array().unwrap().iter().find(|entry| entry["ipAddress"] == "2001:db8::7");
    let from_japan = from_japan.unwrap_or_else(|| panic!("{history}"));
    assert_eq!((&from_japan["ipCountry"], &from_japan["ipCity"]), (&json!("JP"), &json!("Tokyo")));
    assert_eq!((&from_japan["ipLatitude"], &from_japan["ipLongitude"]), (&json!(35.6895), &json!(139.6917)));

    write(directory.path(), &[("192.0.2.9", TOKYO)], BUILT + 1);
    nauth.signal(rustix::process::Signal::HUP);
    nauth.writes("geoip").await;
    let known = places(&nauth, "192.0.2.9").await;
    assert_eq!(known[0], (json!("JP"), json!("Tokyo")));
    assert!(known.contains(&(json!("CH"), json!("Zürich"))), "a session stays where it was opened: {known:?}");
}

#[tokio::test]
async fn a_database_that_is_demanded_and_missing_or_damaged_stops_the_start_and_another_one_warns() {
    let directory = tempfile::tempdir().unwrap();
    let nauth = Nauth::start(config(directory.path())).await;
    nauth.signup("ada@example.com").await;
    assert_eq!(places(&nauth, "192.0.2.1").await[0], (Value::Null, Value::Null));
    nauth.writes("nothing is known of any place").await;

    let demanded = config(directory.path()).set("geoip.required", true);
    Nauth::start_refused(demanded.clone()).await.expect(2).says("GeoLite2-City.mmdb` is not there");
    std::fs::write(directory.path().join("GeoLite2-City.mmdb"), "not a database").unwrap();
    Nauth::start_refused(config(directory.path())).await.expect(2).says("is no database in MaxMind's format");
    write(directory.path(), &[("192.0.2.1", ZURICH)], BUILT);
    drop(Nauth::start(demanded).await);
}

#[tokio::test]
async fn webhooks_and_hooks_learn_the_country_where_they_may_know_of_people() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &[("192.0.2.1", ZURICH)], BUILT);
    let (crm, bare, asked) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    let secret = "0123456789abcdef0123456789abcdef";
    let webhook = |name: &str, at: &Receiver, pii: bool| {
        let url = at.url("/in");
        format!(
            "[[webhooks]]\nname = \"{name}\"\nurl = \"{url}\"\nsecret = \"{secret}\"\nallow_private = true\n\
             events = [\"user.created\"]\ninclude_pii = {pii}\n"
        )
    };
    let url = asked.url("/may");
    let hook =
        format!("[[hooks]]\nevent = \"signup.pre\"\nurl = \"{url}\"\nsecret = \"{secret}\"\non_error = \"allow\"");
    let config = config(directory.path())
        .set("audit.sink", json!(["webhook:crm"]))
        .table(&webhook("crm", &crm, true))
        .table(&webhook("bare", &bare, false))
        .table(&hook);
    let nauth = Nauth::start(config).await;

    for (email, ip, country) in
        [("ada@example.com", "192.0.2.1", json!("CH")), ("eve@example.com", "192.0.2.9", Value::Null)]
    {
        let body = json!({ "email": email, "password": PASSWORD });
        let signup = Request::post("/auth/signup").header("X-Forwarded-For", ip).json(&body);
        nauth.send(&signup).await.expect(201);
        let from = move |kind: &'static str| {
            move |posted: &Posted| posted.json()["type"] == kind && posted.json()["data"]["client"]["ip"] == ip
        };
        let told = [
            crm.wait_for(from("user.created")).await,
            crm.wait_for(from("audit.entry")).await,
            asked.wait_for(|posted| posted.json()["data"]["client"]["ip"] == ip).await,
        ];
        for posted in told {
            assert_eq!(posted.json()["data"]["client"]["country"], country, "{posted:?}");
        }
    }
    let told = bare.wait_for(|posted| posted.header("nauth-event") == "user.created").await;
    assert_eq!(told.json()["data"]["client"], json!({}));
}
