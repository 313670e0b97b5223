//! Properties of everything that reads what clients send, with random and with nearly right input.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where it stopped")]

mod parsers;

use nauth::auth::operator::NewUser;
use nauth::auth::{Client, Login, Outcome};
use nauth::domain::contact::Identifier;
use nauth::domain::context::RequestContext;
use nauth::domain::secret::Secret;
use nauth::domain::session::Delivery;
use proptest::prelude::*;

/// Text that looks like what each parser expects, as far as chance allows.
fn nearly_right(name: &str) -> BoxedStrategy<Vec<u8>> {
    let pattern = match name {
        "path" => r"(https?://app\.example\.com)?/([a-zA-Z/.;?&=\\é ]|%[0-9a-fA-F]{2}|\.\./){0,40}",
        "host" => r"(\[[0-9a-f:.]{2,20}\]|[a-zA-Z0-9.\-é]{1,40})(:[0-9]{0,6})?",
        "question" => {
            r"(https?|wss?|ftp|HTTP)://(app\.example\.com|\[::1\]|a@b|)(:[0-9]{1,5})?/([a-zA-Z/.;?&=~_-]|%[0-9A-F]{2}|%c3%a9|\.\./){0,30}"
        }
        "head" => "(GET / HTTP/1\\.1|[a-z]{1,5}: [a-z]{0,5}|\r|\n|\r\n|\r\n\r\n|[\u{0}-\u{7f}]){0,20}",
        "cookie" => {
            r#"((nauth_(access_token|refresh_token|csrf_token|device_token)|[a-zA-Z_]{1,12}) ?= ?"?[a-zA-Z0-9._=-]{0,12}"?[; ,\n]{0,2}){0,8}"#
        }
        "authorization" => "((B|b)(E|e)arer|Basic|bearer:|Bearerx)[ \t]{0,2}[a-zA-Z0-9._ -]{0,20}(\nBearer x)?",
        "json_body" => {
            r#"\{("(email|password|identifier|code|session|type|phone|username|newPassword|oldPassword|metadata|refreshToken|firstName|locale|timezone)": ?("[a-zA-Z0-9@.+é \\/-]{0,24}"|null|true|[0-9]{1,9}|\{\}|\[\]),? ?){0,6}\}"#
        }
        "return_to_page" => {
            r"(https?:|javascript:|data:)?[/\\]{0,3}(\.{1,2}//?)?(app\.example\.com|other\.example\.com:8443|evil\.example)?(@evil\.example)?[a-z0-9/.?#%&=:@]{0,20}"
        }
        "device_token" => "[0-9a-f]{0,140}",
        "contact" => {
            r#"(\+[0-9 ()-]{3,20}|[a-zA-Z0-9._%+"é-]{1,20}@[a-zA-Z0-9.é-]{1,20}|[a-zA-Z0-9_-]{1,30}| [a-z]+ )"#
        }
        "token" => r"eyJ[a-zA-Z0-9_-]{10,40}\.eyJ[a-zA-Z0-9_-]{10,40}\.[a-zA-Z0-9_-]{0,43}",
        _ => r"(\$(argon2id|2b|5|6|1|scrypt)\$)?[a-zA-Z0-9$=,./+é①ﬁ ]{0,60}",
    };
    proptest::string::string_regex(pattern).unwrap().prop_map(String::into_bytes).boxed()
}

#[test]
fn what_looks_nearly_right_is_read_in_one_way_or_refused() {
    for (name, property) in parsers::ALL {
        let mut runner = runner(400);
        let held = runner.run(&nearly_right(name), |data| {
            property(&data);
            Ok(())
        });
        held.unwrap_or_else(|failure| panic!("{name}: {failure}"));
    }
}

#[test]
fn no_bytes_at_all_are_too_much() {
    for (name, property) in parsers::ALL {
        let mut runner = runner(300);
        let held = runner.run(&prop::collection::vec(any::<u8>(), 0..200), |data| {
            property(&data);
            Ok(())
        });
        held.unwrap_or_else(|failure| panic!("{name}: {failure}"));
    }
}

#[test]
fn a_token_changed_in_one_place_is_none() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let auth = parsers::auth();
    let grant = runtime.block_on(async {
        let (email, password) = ("ada@example.com".parse().unwrap(), Secret::new("a long walk by the sea".to_owned()));
        let new = NewUser {
            email,
            username: None,
            phone: None,
            password: password.clone(),
            must_change_password: false,
            roles: vec![],
            metadata_admin: serde_json::Map::new(),
        };
        auth.create_user(new).await.unwrap();
        let login = Login {
            identifier: Identifier::read("ada@example.com"),
            password,
            renews: None,
            client: Client::new("nauth", Delivery::Json),
        };
        match auth.login(login, &RequestContext::local()).await.unwrap() {
            Outcome::Authenticated(grant) => grant,
            Outcome::Challenged(challenged) => panic!("{challenged:?}"),
        }
    });
    let (access, refresh) = (grant.tokens.access.expose().clone(), grant.tokens.refresh.expose().clone());
    assert!(auth.verifier().verify(&access).is_ok() && auth.verifier().verify_refresh(&refresh).is_ok());
    // Nor is one in the place of the other.
    assert!(auth.verifier().verify(&refresh).is_err() && auth.verifier().verify_refresh(&access).is_err());

    let changes = (any::<prop::sample::Index>(), "[A-Za-z0-9_.=-]{0,2}", any::<bool>());
    let held = runner(2_000).run(&changes, |(at, put, of_access)| {
        let token = if of_access { &access } else { &refresh };
        let at = at.index(token.len());
        let changed = format!("{}{put}{}", &token[..at], &token[at + 1..]);
        prop_assume!(changed != *token);
        let verifier = auth.verifier();
        prop_assert!(verifier.verify(&changed).is_err() && verifier.verify_refresh(&changed).is_err(), "{changed}");
        Ok(())
    });
    held.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn the_fuzzer_has_what_the_properties_are_written_with() {
    let (properties, manifest) = (include_str!("parsers.rs"), include_str!("../../fuzz/Cargo.toml"));
    let libraries = properties.lines().filter_map(|line| line.strip_prefix("use ")?.split("::").next());
    for library in libraries.filter(|library| *library != "std") {
        assert!(manifest.contains(&format!("\n{library} = ")), "fuzz/Cargo.toml lacks {library}");
    }
}

fn runner(cases: u32) -> proptest::test_runner::TestRunner {
    proptest::test_runner::TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    })
}
