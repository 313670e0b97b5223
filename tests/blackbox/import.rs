//! `nauth user import`: accounts of another system, and their owners logging in.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::support::{Config, Echo, Finished, Nauth, PASSWORD, Request, Seen};

/// What everybody in these files types.
const TYPED: &str = "correct horse battery";
/// bcrypt, cost 10.
const BCRYPT: &str = "$2b$10$dyZdFWUZrw6PXsNpZSlo0u9JSvF1hE.G/YXasjAe2ntISifbct6Va";
/// One round of SHA-1: must not be stored as it is.
const SSHA: &str = "{SSHA}+zgJCcduvLFhD+Rk7/v3C0FqyKpzYWx0c2FsdA==";

async fn nauth(echo: &Echo) -> Nauth {
    // Its file is looked into.
    Nauth::start(Config::in_front_of(echo).without_verification().on_a_file()).await
}

fn write(nauth: &Nauth, name: &str, text: &str) -> String {
    let path = nauth.data_dir().parent().unwrap().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn lines(rows: &[Value]) -> String {
    rows.iter().fold(String::new(), |mut text, row| {
        writeln!(text, "{row}").unwrap();
        text
    })
}

#[tokio::test]
async fn imported_users_log_in_with_the_passwords_they_had() {
    let echo = Echo::start().await;
    let nauth = nauth(&echo).await;
    let file = write(
        &nauth,
        "users.jsonl",
        &lines(&[
            json!({
                "sub": "7f0c2b9e-3d52-4c8a-9a55-1f6d8f1f2a11", "email": "Ada@example.com", "email_verified": true,
                "username": "ada", "password_hash": BCRYPT, "roles": ["admin", "user"], "metadata": {"plan": "pro"},
                "created_at": "2020-02-03T04:05:06Z",
            }),
            json!({ "email": "bob@example.com", "email_verified": true, "password_hash": SSHA }),
            json!({ "email": "carol@example.com", "email_verified": true }),
        ]),
    );

    nauth.command(&["user", "import", &file]).await.expect(0).says("3 rows: 3 imported, 0 rejected");

    for email in ["ada@example.com", "bob@example.com"] {
        nauth.try_login(email, TYPED).await.expect(200);
        nauth.try_login(email, "something else").await.expect_error(401, "AUTH_INVALID_CREDENTIALS");
    }
    nauth.try_login("carol@example.com", "").await.expect(400);
    nauth.try_login("carol@example.com", TYPED).await.expect_error(401, "AUTH_INVALID_CREDENTIALS");
    let token = nauth.try_login("ada", TYPED).await.json()["accessToken"].as_str().unwrap().to_owned();
    let seen = Seen::in_answer(&nauth.send(&Request::get("/").bearer(&token)).await.expect(200));
    assert_eq!(seen.header("X-Forwarded-User"), Some("7f0c2b9e-3d52-4c8a-9a55-1f6d8f1f2a11"));
    assert_eq!(seen.header("X-Forwarded-Groups"), Some("admin,user"));
    nauth.command(&["user", "show", "ada"]).await.expect(0).says("created   2020-02-03T04:05:06.000Z");
    let database =
        std::fs::read_dir(nauth.data_dir()).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
    let stored = database.fold(String::new(), |all, bytes| all + &String::from_utf8_lossy(&bytes));
    assert!(stored.contains("nauth-wrap$digest$h=sha1,s=c2FsdHNhbHQ$argon2id$") && !stored.contains("zgJCcduvLFhD"));
}

#[tokio::test]
async fn rejected_rows_are_reported_and_leave_no_trace() {
    let echo = Echo::start().await;
    let nauth = nauth(&echo).await;
    nauth.command_reading(&["user", "create", "ada@example.com", "--username", "ada"], PASSWORD).await.expect(0);
    let file = write(
        &nauth,
        "users.csv",
        &format!(
            "email,username,password_hash,roles\n\
             ada@example.com,other,{BCRYPT},admin\n\
             bob@example.com,ada,{BCRYPT},\n\
             carol@example.com,carol,plain text,\n\
             dave@example.com,dave,{BCRYPT},user admin\n\
             Dave@example.com,david,{BCRYPT},\n\
             not an address,,,\n"
        ),
    );
    let report = write(&nauth, "report.jsonl", "");

    let ended = nauth.command(&["user", "import", &file, "--report", &report]).await.expect(1);

    assert!(ended.output.contains("6 rows: 1 imported, 5 rejected"), "{}", ended.output);
    let rejected: Vec<Value> =
        std::fs::read_to_string(&report).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |line: u64| {
        let row = rejected.iter().find(|row| row["line"] == line);
        row.unwrap_or_else(|| panic!("line {line} is not in {rejected:?}"))["reason"].as_str().unwrap().to_owned()
    };
    let wanted = [(2, "e-mail"), (3, "user name"), (4, "password_hash"), (6, "e-mail"), (7, "`email`")];
    assert_eq!(rejected.len(), wanted.len());
    for (line, reason) in wanted {
        assert!(told(line).contains(reason), "{line}: {}", told(line));
    }
    assert!(!told(4).contains("plain text"), "a report is no place for what may be a password");
    nauth.command(&["user", "show", "bob@example.com"]).await.expect(1);
    nauth.command(&["user", "show", "ada"]).await.expect(0).says("roles     user");
    nauth.try_login("ada@example.com", PASSWORD).await.expect(200);
    nauth.command(&["user", "show", "dave"]).await.expect(0).says("roles     admin,user");

    let again = nauth.command(&["user", "import", &file]).await.expect(1);
    assert!(again.output.contains("users.csv:5: the e-mail address is taken"), "{}", again.output);
}

#[tokio::test]
async fn a_dry_run_says_what_would_happen_and_stores_nothing() {
    let echo = Echo::start().await;
    let nauth = nauth(&echo).await;
    // The second of a pair comes after more than one transaction's worth of rows.
    let mut rows: Vec<Value> = (0..600).map(|n| json!({ "email": format!("user{n}@example.com") })).collect();
    rows.extend([json!({ "email": "user3@example.com" }), json!({ "email": "user599@example.com" })]);
    let file = write(&nauth, "users.txt", &lines(&rows));

    let command = ["user", "import", &file, "--format", "jsonl", "--dry-run"];
    let dry = nauth.command(&command).await.expect(1).says("602 rows: 600 would be imported, 2 rejected");
    let wet = nauth.command(&command[..5]).await.expect(1).says("602 rows: 600 imported, 2 rejected");

    for line in ["users.txt:601: the e-mail address is taken", "users.txt:602: the e-mail address is taken"] {
        assert!(dry.output.contains(line) && wet.output.contains(line), "{}\n{}", dry.output, wet.output);
    }
}

#[tokio::test]
async fn an_import_that_cannot_begin_says_why() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("nauth.toml"), Config::whoami().to_toml()).unwrap();
    std::fs::write(directory.path().join("users.csv"), "mail\nada@example.com\n").unwrap();
    std::fs::write(directory.path().join("users"), "").unwrap();

    Finished::of(directory.path(), &["user", "import", "users.csv"]).await.expect(1).says("`mail`");
    Finished::of(directory.path(), &["user", "import", "users"]).await.expect(1).says("--format");
    Finished::of(directory.path(), &["user", "import", "nowhere.csv"]).await.expect(1).says("nowhere.csv");
    Finished::of(directory.path(), &["user", "import", "users", "--format", "xml"]).await.expect(2).says("jsonl");
}
