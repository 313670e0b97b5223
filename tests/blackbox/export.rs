//! `nauth user export`: accounts from one installation to another, with the passwords they had.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Config, Finished, Nauth, PASSWORD, Request, challenged, claims_of};

const ADA: &str = "ada@example.com";
/// One round of SHA-1 of [`TYPED`].
const SSHA: &str = "{SSHA}+zgJCcduvLFhD+Rk7/v3C0FqyKpzYWx0c2FsdA==";
const TYPED: &str = "correct horse battery";
/// More than are read at a time.
const OTHERS: usize = 1003;

async fn command(nauth: &Nauth, arguments: &[&str]) -> Finished {
    nauth.command(arguments).await.expect(0)
}

/// Everybody of an export, by address.
fn accounts(text: &str) -> Vec<Value> {
    let mut accounts: Vec<Value> =
        text.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect();
    accounts.sort_by_key(|account| account["email"].as_str().unwrap().to_owned());
    accounts
}

fn one<'a>(accounts: &'a [Value], email: &str) -> &'a Value {
    accounts.iter().find(|account| account["email"] == email).unwrap_or_else(|| panic!("no {email}"))
}

/// An installation on a file with everybody there can be.
async fn source(directory: &Path) -> Nauth {
    let nauth = Nauth::start(Config::whoami().on_a_file()).await;
    let ada = nauth.signup(ADA).await;
    let profile = json!({ "firstName": "Ada", "lastName": "\u{141}ovelace", "metadata": { "plan": "pro" } });
    let profile = Request::new("PUT", "/auth/profile").bearer(&ada.access_token).json(&profile);
    nauth.send(&profile).await.expect(200);
    command(&nauth, &["user", "grant-role", ADA, "admin"]).await;

    let imported = directory.join("others.jsonl");
    let mut rows = vec![
        json!({ "email": "bob@example.com", "email_verified": true, "password_hash": SSHA, "metadata_admin": { "tenant": "acme" } }),
        json!({ "email": "carol@example.com", "email_verified": true, "password_hash": SSHA }),
        json!({ "email": "dave@example.com", "email_verified": true, "password_hash": SSHA }),
    ];
    rows.extend((0..OTHERS).map(|n| json!({ "email": format!("other{n}@example.com") })));
    let text: Vec<String> = rows.iter().map(ToString::to_string).collect();
    std::fs::write(&imported, text.join("\n")).unwrap();
    command(&nauth, &["user", "import", imported.to_str().unwrap()]).await;
    command(&nauth, &["user", "disable", "carol@example.com", "--reason", "left the company"]).await;
    command(&nauth, &["user", "revoke-role", "dave@example.com", "user"]).await;
    command(&nauth, &["user", "unlock", "dave@example.com", "--mfa-exempt", "lost at sea"]).await;
    // Nobody has proven to read mail there.
    nauth.try_signup("eve@example.com", PASSWORD).await.expect(201);
    nauth
}

#[tokio::test]
async fn who_is_exported_and_imported_elsewhere_is_who_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users.jsonl");
    let path = file.to_str().unwrap();
    let source = source(directory.path()).await;

    let done = command(&source, &["user", "export", "--output", path]).await;

    let done = done.says(&format!("{} accounts exported, 1 left out", OTHERS + 4));
    assert_eq!(accounts(&done.output), Vec::<Value>::new(), "what is in a file is nowhere else");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let exported = accounts(&std::fs::read_to_string(&file).unwrap());
    assert_eq!(exported.len(), OTHERS + 4);
    let printed = command(&source, &["user", "export"]).await;
    assert_eq!(accounts(&printed.output), exported, "the same on standard output");
    source.command(&["user", "export", "--output", path]).await.expect(1).says("users.jsonl` cannot be made");
    assert_eq!(accounts(&std::fs::read_to_string(&file).unwrap()), exported, "and nothing is overwritten");
    assert!(one(&exported, ADA)["password_hash"].as_str().unwrap().starts_with("$argon2id$"));
    assert_eq!(one(&exported, ADA)["metadata"], json!({ "plan": "pro" }));
    assert_eq!(one(&exported, "dave@example.com")["roles"], json!([]));

    let target = Nauth::start(Config::whoami()).await;
    let imported = command(&target, &["user", "import", path]).await;
    drop(imported.says(&format!("{0} rows: {0} imported, 0 rejected", OTHERS + 4)));
    let again = command(&target, &["user", "export"]).await;
    assert_eq!(accounts(&again.output), exported, "nothing of it was lost");

    let ada = target.login(ADA).await;
    assert_eq!(ada.sub, one(&exported, ADA)["sub"]);
    assert_eq!(claims_of(&ada.access_token)["roles"], json!(["admin", "user"]));
    let profile = target.get_as(&ada, "/auth/profile").await.expect(200).json();
    assert_eq!((&profile["firstName"], &profile["lastName"]), (&json!("Ada"), &json!("\u{141}ovelace")));
    target.try_login("bob@example.com", TYPED).await.expect(200);
    target.try_login("bob@example.com", PASSWORD).await.expect_error(401, "AUTH_INVALID_CREDENTIALS");
    let disabled = target.try_login("carol@example.com", TYPED).await.expect_error(403, "AUTH_ACCOUNT_LOCKED");
    assert!(disabled.text().contains("left the company"), "{disabled}");
    target.command(&["user", "show", "dave@example.com"]).await.expect(0).says("roles     -").says("(lost at sea)");
    // The address of somebody who never finished is free.
    let eve = target.try_signup("eve@example.com", PASSWORD).await.expect(201);
    challenged(&eve, "VERIFY_EMAIL");
}
