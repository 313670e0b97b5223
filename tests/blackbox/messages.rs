//! The ways out of the house, beside SMTP: files, somebody's program, Twilio.

use serde_json::json;

use crate::support::{Config, Nauth, PASSWORD, Posted, Receiver, Request, eventually, secs};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const PHONE: &str = "+41791234567";

#[tokio::test]
async fn mail_is_written_as_files() {
    let config = Config::whoami().set("email.provider", "file").set("email.file.directory", "mail");
    let nauth = Nauth::start(config.set("email.vars.app_name", "My App")).await;

    nauth.try_signup("ada@example.com", PASSWORD).await.expect(201);

    let directory = nauth.config_path().parent().unwrap().join("mail");
    let mail = eventually(secs(10), async || {
        let entry = std::fs::read_dir(&directory).ok()?.find_map(Result::ok)?;
        let is_whole = entry.path().extension().is_some_and(|extension| extension == "eml");
        is_whole.then(|| std::fs::read_to_string(entry.path()).unwrap())
    });
    let mail = mail.await.expect("no file was written");
    assert!(mail.contains("To: ada@example.com") && mail.contains("My App"), "{mail}");
    assert!(mail.contains("text/plain") && mail.contains("text/html"), "{mail}");
}

#[tokio::test]
async fn mail_is_posted_to_a_program_with_a_signature() {
    let program = Receiver::start().await;
    let config = Config::whoami()
        .set("email.provider", "webhook")
        .set("email.webhook", json!({ "url": program.url("/mail"), "secret": SECRET }));
    let nauth = Nauth::start(config).await;

    let challenge = nauth.try_signup("ada@example.com", PASSWORD).await.expect(201).json();

    let posted = program.wait_for(|posted| posted.line == "POST /mail").await;
    assert!(posted.is_signed_with(SECRET), "{posted:?}");
    let mail = posted.json();
    assert_eq!((&mail["to"], &mail["template"]), (&json!("ada@example.com"), &json!("verification")));
    for part in ["subject", "text", "html"] {
        assert!(!mail[part].as_str().unwrap().is_empty(), "{mail}");
    }
    let code = mail["vars"]["code"].as_str().unwrap();
    assert_eq!(mail["vars"]["expiry_minutes"], 10);
    nauth.respond(challenge["session"].as_str().unwrap(), code).await.expect(200);
}

#[tokio::test]
async fn mail_that_a_program_refuses_is_tried_again() {
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let program = Receiver::answering(move |_| match tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 | 1 => (503, String::new()),
        _ => (200, String::new()),
    })
    .await;
    let config = Config::whoami()
        .set("email.provider", "webhook")
        .set("email.webhook", json!({ "url": program.url("/mail"), "secret": SECRET }));
    let nauth = Nauth::start(config).await;

    nauth.try_signup("ada@example.com", PASSWORD).await.expect(201);

    let delivered = eventually(secs(20), async || {
        (nauth.metric("nauth_emails_total", &["template=\"verification\"", "result=\"delivered\""]).await >= 1.0)
            .then_some(())
    });
    assert!(delivered.await.is_some(), "{}", nauth.output());
    assert_eq!(program.posted().len(), 3);
}

#[tokio::test]
async fn a_number_is_proven_with_a_message_by_twilio() {
    let twilio = Receiver::answering(|_| (201, r#"{"sid":"SM1"}"#.to_owned())).await;
    let nauth = Nauth::start(by_twilio(&twilio)).await;

    let body = json!({ "email": "ada@example.com", "password": PASSWORD, "phone": PHONE });
    let challenge = nauth.send(&Request::post("/auth/signup").json(&body)).await.expect(201).json();

    assert_eq!(challenge["challengeName"], "VERIFY_PHONE");
    let posted = twilio.wait_for(|_| true).await;
    assert_eq!(posted.line, "POST /2010-04-01/Accounts/AC0123456789/Messages.json");
    assert_eq!(posted.header("authorization"), "Basic QUMwMTIzNDU2Nzg5OnRva2Vu", "AC0123456789:token");
    assert_eq!((form(&posted, "To").as_str(), form(&posted, "From").as_str()), (PHONE, "+15551234567"));
    let code =
        form(&posted, "Body").split(|c: char| !c.is_ascii_digit()).find(|word| word.len() == 6).unwrap().to_owned();
    let answer = json!({ "session": challenge["session"], "type": "VERIFY_PHONE", "code": code });
    nauth.send(&Request::post("/auth/respond-challenge").json(&answer)).await.expect(200);
    assert!(!nauth.output().contains(&code) && !nauth.output().contains("token\""), "{}", nauth.output());
}

#[tokio::test]
async fn a_number_that_twilio_refuses_is_given_up_at_once() {
    let twilio =
        Receiver::answering(|_| (400, r#"{"code":21211,"message":"Invalid 'To' Phone Number"}"#.to_owned())).await;
    let nauth = Nauth::start(by_twilio(&twilio)).await;

    let body = json!({ "email": "ada@example.com", "password": PASSWORD, "phone": PHONE });
    nauth.send(&Request::post("/auth/signup").json(&body)).await.expect(201);

    nauth.writes("Twilio answered 400, error 21211").await;
    assert_eq!(twilio.posted().len(), 1);
    assert!(!nauth.output().contains(PHONE), "a number is in the log: {}", nauth.output());
}

#[tokio::test]
async fn text_messages_go_to_a_program_too() {
    let program = Receiver::start().await;
    let config = Config::whoami()
        .set("signup.verification_method", "phone")
        .set("sms.provider", "webhook")
        .set("sms.webhook", json!({ "url": program.url("/sms"), "secret": SECRET }))
        .set("sms.templates.verification", "{{app_name}} says {{code}} ({{expiry_minutes}})");
    let nauth = Nauth::start(config.set("sms.vars.app_name", "My App")).await;

    let body = json!({ "email": "ada@example.com", "password": PASSWORD, "phone": PHONE });
    nauth.send(&Request::post("/auth/signup").json(&body)).await.expect(201);

    let posted = program.wait_for(|_| true).await;
    assert!(posted.is_signed_with(SECRET));
    assert!(posted.json()["text"].as_str().unwrap().starts_with("My App says "), "{posted:?}");
    assert_eq!(posted.json()["to"], PHONE);
}

#[tokio::test]
async fn templates_come_from_a_directory_and_change_with_a_reload() {
    let directory = tempfile::tempdir().unwrap();
    let template = directory.path().join("verification.subject.j2");
    std::fs::write(&template, "Number one for {{ app_name }}").unwrap();
    let config = Config::whoami().set("email.templates_dir", directory.path().to_str().unwrap());
    let nauth = Nauth::start(config.set("server.management.token", SECRET)).await;
    let reload = Request::post("/reload").bearer(SECRET);
    nauth.try_signup("ada@example.com", PASSWORD).await.expect(201);
    nauth.writes("Number one for nauth").await;

    std::fs::write(&template, "Number two {% if").unwrap();
    let refused = nauth.manage(&reload).await;
    assert!(refused.status != 200 && refused.text().contains("verification.subject.j2"), "{refused}");
    std::fs::write(&template, "Number two for {{ app_name }}").unwrap();
    nauth.manage(&reload).await.expect(200);

    nauth.try_signup("bob@example.com", PASSWORD).await.expect(201);
    nauth.writes("Number two for nauth").await;
    nauth.command(&["check"]).await.expect(0);
    std::fs::write(&template, "{% if").unwrap();
    nauth.command(&["check"]).await.expect(2).says("verification.subject.j2");
}

fn by_twilio(twilio: &Receiver) -> Config {
    Config::whoami()
        .set("signup.verification_method", "phone")
        .set("sms.provider", "twilio")
        .set("sms.from", "+15551234567")
        .set("sms.twilio", json!({ "account_sid": "AC0123456789", "auth_token": "token", "api": twilio.url("") }))
}

fn form(posted: &Posted, name: &str) -> String {
    let mut pairs = url::form_urlencoded::parse(posted.body.as_bytes());
    pairs.find(|(present, _)| present == name).unwrap_or_else(|| panic!("no {name}: {posted:?}")).1.into_owned()
}
