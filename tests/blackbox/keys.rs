//! What nauth signs, and the keys others verify it with.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Value, json};

use crate::support::{Config, Echo, Nauth, Request, Seen, eventually, secs};

const ASSERTION: &str = "X-Nauth-Assertion";
const JWKS: &str = "/auth/.well-known/jwks.json";
const ACCESS_JWKS: &str = "/auth/.well-known/access-jwks.json";

fn config(echo: &Echo) -> Config {
    Config::in_front_of(echo)
        .without_verification()
        .set("reload.debounce", "50ms")
        .route("path = \"/open\"\naccess = \"public\"")
        .route("path = \"/maybe\"\naccess = \"optional\"")
        .route("path = \"/\"\naccess = \"required\"")
}

/// The keys published at a path.
async fn published(nauth: &Nauth, path: &str) -> JwkSet {
    serde_json::from_slice(&nauth.send(&Request::get(path)).await.expect(200).body).unwrap()
}

/// Reads a token as somebody does who has nothing but the published keys.
fn verified(token: &str, keys: &JwkSet, typ: &str, audience: &str) -> Result<Value, String> {
    let header = jsonwebtoken::decode_header(token).map_err(|error| error.to_string())?;
    let key = header.kid.as_deref().and_then(|kid| keys.find(kid)).ok_or("an unknown key")?;
    let algorithm = key.common.key_algorithm.unwrap().to_string().parse().unwrap();
    if header.typ.as_deref() != Some(typ) {
        return Err("another type".to_owned());
    }
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&[audience]);
    let read = jsonwebtoken::decode::<Value>(token, &DecodingKey::from_jwk(key).unwrap(), &validation);
    read.map(|read| read.claims).map_err(|error| error.to_string())
}

/// The claims of the assertion that came with a request, checked with the keys published now.
async fn asserted(nauth: &Nauth, request: &Request) -> Value {
    let seen = Seen::in_answer(&nauth.send(request).await.expect(200));
    let token = seen.header(ASSERTION).unwrap_or_else(|| panic!("no assertion: {:?}", seen.headers));
    verified(token, &published(nauth, JWKS).await, "nauth-assertion+jwt", "app").unwrap()
}

#[tokio::test]
async fn an_upstream_verifies_who_asks_with_the_published_keys() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    nauth.command(&["user", "grant-role", "ada@example.com", "admin"]).await.expect(0);
    let ada = nauth.refresh(&ada).await;

    let claims = asserted(&nauth, &Request::get("/").bearer(&ada.access_token)).await;

    assert_eq!(claims["iss"], nauth.origin());
    assert_eq!(claims["sub"], ada.sub);
    assert_eq!(claims["roles"], json!(["admin", "user"]));
    assert_eq!((&claims["amr"], &claims["acr"]), (&json!(["pwd"]), &json!("aal1")));
    assert!(claims.get("email").is_none(), "nobody has proven the address: {claims}");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);
    assert!(claims["auth_time"].as_i64().unwrap() <= claims["iat"].as_i64().unwrap());
    assert!(claims["sid"].as_str().unwrap().parse::<u64>().is_ok());
    let again = asserted(&nauth, &Request::get("/maybe").bearer(&ada.access_token)).await;
    assert_eq!(again["jti"], claims["jti"], "one assertion serves the requests of a session");
}

#[tokio::test]
async fn nobody_is_asserted_where_nobody_is_known() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo).set("gateway.identity.assertion", "X-Who")).await;
    let ada = nauth.signup("ada@example.com").await;
    let seen = async |request: Request| Seen::in_answer(&nauth.send(&request).await.expect(200));

    for name in ["X-Who", "x_who", "X.Who", "X-Nauth-Assertion"] {
        for path in ["/open", "/maybe"] {
            let seen = seen(Request::get(path).header(name, "evil")).await;
            assert!(seen.headers.iter().all(|(_, value)| value != "evil"), "{name} {path}: {:?}", seen.headers);
            assert_eq!(seen.header("X-Who"), None, "{name} {path}");
        }
    }
    let seen = seen(Request::get("/").bearer(&ada.access_token).header("x-who", "evil")).await;
    let keys = published(&nauth, JWKS).await;
    assert!(verified(seen.header("X-Who").unwrap(), &keys, "nauth-assertion+jwt", "app").is_ok());
    assert_eq!(seen.header(ASSERTION), None);
}

#[tokio::test]
async fn the_keys_are_public_and_may_be_kept_for_a_while() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo)).await;

    let answer = nauth.send(&Request::get(JWKS)).await.expect(200);
    assert_eq!(answer.header("Content-Type"), Some("application/jwk-set+json"));
    assert_eq!(answer.header("Cache-Control"), Some("public, max-age=300"));
    let keys = answer.json()["keys"].clone();
    assert_eq!((&keys[0]["alg"], &keys[0]["use"], &keys[0]["crv"]), (&json!("ES256"), &json!("sig"), &json!("P-256")));
    assert!(keys[0].get("d").is_none() && keys.as_array().unwrap().len() == 1, "{keys}");
    nauth.send(&Request::post(JWKS)).await.expect(405);
    nauth.send(&Request::get(ACCESS_JWKS)).await.expect_error(404, "RESOURCE_NOT_FOUND");

    let silent = Nauth::start(config(&echo).set("jwt.publish_jwks", false)).await;
    silent.send(&Request::get(JWKS)).await.expect_error(404, "RESOURCE_NOT_FOUND");
}

#[tokio::test]
async fn a_reload_changes_how_and_whether_assertions_are_signed() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    let request = Request::get("/").bearer(&ada.access_token);
    let keys = published(&nauth, JWKS).await.keys;
    let assertion = async || {
        let seen = Seen::in_answer(&nauth.send(&request).await.expect(200));
        seen.header(ASSERTION).map(str::to_owned)
    };
    let before = assertion().await.unwrap();

    nauth.reconfigure(&config(&echo).set("gateway.identity.assertion", ""));
    assert!(eventually(secs(5), async || assertion().await.is_none().then_some(())).await.is_some());
    nauth.reconfigure(&config(&echo).set("gateway.identity.assertion_ttl", "30s"));
    let after = eventually(secs(5), assertion).await.unwrap();

    let claims = verified(&after, &published(&nauth, JWKS).await, "nauth-assertion+jwt", "app").unwrap();
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 30);
    assert_eq!(published(&nauth, JWKS).await.keys, keys);
    assert!(verified(&before, &JwkSet { keys }, "nauth-assertion+jwt", "app").is_ok());
}

#[tokio::test]
async fn the_built_in_page_shows_an_assertion_nobody_can_use() {
    let nauth = Nauth::start(Config::whoami().without_verification()).await;
    let ada = nauth.signup("ada@example.com").await;

    let page = nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(200).text();

    let line = page.lines().find(|line| line.starts_with("X-Nauth-Assertion: ey")).expect(&page);
    assert!(line.ends_with(".***"), "{line}");
}

#[tokio::test]
async fn private_keys_stand_nowhere_in_the_clear() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo).set("gateway.identity.assertion_algorithm", "EdDSA")).await;
    let ada = nauth.signup("ada@example.com").await;
    asserted(&nauth, &Request::get("/").bearer(&ada.access_token)).await;

    // How every PKCS #8 key begins: RSA, P-256, Ed25519; as it is, and in the alignments of base64.
    let identifiers: [&[u8]; 3] = [
        b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01",
        b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01",
        b"\x02\x01\x01\x30\x05\x06\x03\x2b\x65\x70",
    ];
    let holds = |bytes: &[u8], wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    for file in std::fs::read_dir(nauth.data_dir()).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for identifier in identifiers {
            assert!(!holds(&bytes, identifier), "{}", path.display());
        }
        for armour in [&b"PRIVATE KEY"[..], b"MC4CAQAwBQYDK2Vw", b"MFECAQEwBQYDK2Vw", b"MIGHAgEAMBMGByqGSM49"] {
            assert!(!holds(&bytes, armour), "{}", path.display());
        }
    }
    let keys = published(&nauth, JWKS).await;
    assert_eq!(keys.keys.len(), 1);
}

/// The algorithm a token's header names.
fn algorithm(token: &str) -> String {
    format!("{:?}", jsonwebtoken::decode_header(token).unwrap().alg)
}

#[tokio::test]
async fn access_tokens_are_signed_as_configured_and_verify_with_the_published_keys() {
    let echo = Echo::start().await;
    for signed in ["HS512", "RS256", "ES256", "EdDSA"] {
        let nauth = Nauth::start(config(&echo).set("jwt.algorithm", signed)).await;
        let ada = nauth.signup("ada@example.com").await;

        assert_eq!(algorithm(&ada.access_token), signed);
        nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(200);
        nauth.send(&Request::get("/").cookies(&ada.cookies())).await.expect(200);
        let refreshed = nauth.refresh(&ada).await;
        nauth.send(&Request::get("/auth/profile").bearer(&refreshed.access_token)).await.expect(200);
        if signed == "HS512" {
            nauth.send(&Request::get(ACCESS_JWKS)).await.expect(404);
            continue;
        }
        let keys = published(&nauth, ACCESS_JWKS).await;
        let claims = verified(&refreshed.access_token, &keys, "at+jwt", &nauth.origin()).unwrap();
        assert_eq!(claims["sub"], ada.sub);
        let assertions = published(&nauth, JWKS).await;
        assert!(keys.keys.iter().all(|key| !assertions.keys.contains(key)), "each use has keys of its own");
    }
}

#[tokio::test]
async fn an_assertion_opens_nothing_at_nauth() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo).set("jwt.algorithm", "ES256")).await;
    let ada = nauth.signup("ada@example.com").await;
    let seen = Seen::in_answer(&nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(200));
    let assertion = seen.header(ASSERTION).unwrap();

    nauth.send(&Request::get("/").bearer(assertion)).await.expect_error(401, "AUTH_TOKEN_INVALID");
    nauth.send(&Request::get("/auth/profile").bearer(assertion)).await.expect_error(401, "AUTH_TOKEN_INVALID");
    let keys = published(&nauth, JWKS).await;
    assert!(verified(&ada.access_token, &keys, "nauth-assertion+jwt", "app").is_err());
    assert!(verified(assertion, &keys, "nauth-assertion+jwt", "another").is_err());
}

#[tokio::test]
async fn a_key_from_a_file_signs_access_tokens_and_stays_in_its_file() {
    let echo = Echo::start().await;
    let files = tempfile::tempdir().unwrap();
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let path = files.path().join("jwt.pem");
    std::fs::write(&path, pair.serialize_pem()).unwrap();
    let from_file = format!("${{file:{}}}", path.display());
    let config = config(&echo).set("jwt.algorithm", "EdDSA").set("jwt.private_key", from_file);
    let mut nauth = Nauth::start(config.clone()).await;
    let ada = nauth.signup("ada@example.com").await;
    let keys = published(&nauth, ACCESS_JWKS).await;

    assert!(verified(&ada.access_token, &keys, "at+jwt", &nauth.origin()).is_ok());
    let jsonwebtoken::jwk::AlgorithmParameters::OctetKeyPair(public) = &keys.keys[0].algorithm else { panic!() };
    let raw = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, pair.public_key_raw());
    assert_eq!(public.x, raw);

    nauth.kill();
    nauth.start_again().await;
    nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(200);

    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    std::fs::write(&path, other.serialize_pem()).unwrap();
    nauth.signal(rustix::process::Signal::HUP);
    nauth.writes("jwt.private_key").await;
    assert_eq!(published(&nauth, ACCESS_JWKS).await.keys, keys.keys, "it waits for a restart");
    nauth.kill();
    nauth.start_again().await;
    nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(200);
    assert_eq!(published(&nauth, ACCESS_JWKS).await.keys.len(), 2, "the old half verifies on");
    let seed = &pair.serialize_der()[16..48];
    for file in std::fs::read_dir(nauth.data_dir()).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.windows(seed.len()).all(|window| window != seed), "{}", path.display());
    }
}

#[tokio::test]
async fn presets_carry_the_assertion_where_their_applications_look_for_it() {
    let echo = Echo::start().await;
    let presets = [
        ("authentik", "X-authentik-jwt", ""),
        ("pomerium", "X-Pomerium-Jwt-Assertion", ""),
        ("grafana", "X-JWT-Assertion", ""),
        ("bearer", "Authorization", "Bearer "),
    ];
    let config = presets.iter().fold(config(&echo).set("gateway.identity.assertion", ""), |config, (preset, ..)| {
        config.route(&format!("path = \"/{preset}\"\naccess = \"optional\"\nidentity = {{ preset = \"{preset}\" }}"))
    });
    let nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;
    let keys = published(&nauth, JWKS).await;

    for (preset, name, scheme) in presets {
        let path = format!("/{preset}");
        let forged = Request::get(&path).header(name, &format!("{scheme}eyJh.eyJi.forged"));
        // Where it is taken a bearer token is the only credential.
        let beside_cookies = if preset == "bearer" { Request::get(&path) } else { forged.clone() };
        for request in [beside_cookies.cookies(&ada.cookies()), Request::get(&path).bearer(&ada.access_token)] {
            let seen = Seen::in_answer(&nauth.send(&request).await.expect(200));
            let token = seen.header(name).and_then(|value| value.strip_prefix(scheme)).unwrap_or_default();
            let claims = verified(token, &keys, "nauth-assertion+jwt", "app").unwrap();
            assert_eq!(claims["sub"], ada.sub, "{preset}");
            assert_eq!(seen.header(ASSERTION), None);
        }
        let seen = Seen::in_answer(&nauth.send(&forged).await.expect(200));
        assert_eq!(seen.header(name), None, "{preset} for nobody");
    }
}

#[tokio::test]
async fn where_authorization_is_nauths_nothing_of_a_client_passes_in_it() {
    let echo = Echo::start().await;
    let bearer = "identity = { preset = \"bearer\" }";
    let config = config(&echo)
        .route(&format!("path = \"/own\"\naccess = \"public\"\n{bearer}"))
        .route(&format!("path = \"/session\"\ncredentials = [\"session\"]\n{bearer}"));
    let nauth = Nauth::start(config).await;
    let ada = nauth.signup("ada@example.com").await;

    for authorization in ["Bearer eyJh.eyJi.forged", "Basic YTpi", "Negotiate abc"] {
        let open = Request::get("/own").header("Authorization", authorization);
        assert_eq!(Seen::in_answer(&nauth.send(&open).await.expect(200)).header("Authorization"), None);
        let request = Request::get("/session").cookies(&ada.cookies()).header("Authorization", authorization);
        let seen = Seen::in_answer(&nauth.send(&request).await.expect(200));
        assert!(seen.header("Authorization").is_some_and(|value| value.starts_with("Bearer ey")), "{seen:?}");
        assert!(!format!("{:?}", seen.headers).contains(authorization), "{seen:?}");
        // Elsewhere the app's own scheme is the app's.
        let elsewhere = Request::get("/open").header("Authorization", authorization);
        assert_eq!(
            Seen::in_answer(&nauth.send(&elsewhere).await.expect(200)).header("Authorization"),
            Some(authorization)
        );
    }
}

/// The ids of the published keys.
async fn kids(nauth: &Nauth, path: &str) -> Vec<String> {
    published(nauth, path).await.keys.into_iter().filter_map(|key| key.common.key_id).collect()
}

/// The key that signed a token.
fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

#[tokio::test]
async fn keys_are_rotated_in_two_steps_beside_a_running_server_and_nobody_notices() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo).set("jwt.algorithm", "ES256")).await;
    let ada = nauth.signup("ada@example.com").await;
    let asserting = async || {
        let seen = Seen::in_answer(&nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(200));
        seen.header(ASSERTION).unwrap().to_owned()
    };
    let (before, old_assertion) = (kids(&nauth, ACCESS_JWKS).await, asserting().await);
    nauth.command(&["keys", "rotate", "--now"]).await.expect(1).says("run `nauth keys rotate` first");

    nauth.command(&["keys", "rotate"]).await.expect(0).says("is published and signs");
    let both = eventually(secs(10), async || {
        let (access, assertion) = (kids(&nauth, ACCESS_JWKS).await, kids(&nauth, JWKS).await);
        (access.len() == 2 && assertion.len() == 2).then_some(access)
    });
    let both = both.await.expect("both keys are published");
    assert_eq!(kid(&nauth.login("ada@example.com").await.access_token), before[0], "the old one signs");
    nauth.command(&["keys", "list"]).await.expect(0).says("upcoming, signs 20");

    nauth.command(&["keys", "rotate", "--now"]).await.expect(0).says("signs now");
    let signs = eventually(secs(10), async || (kid(&asserting().await) != kid(&old_assertion)).then_some(()));
    assert!(signs.await.is_some(), "the new keys sign");
    let new = nauth.login("ada@example.com").await.access_token;
    assert_ne!(kid(&new), before[0]);
    assert!(both.contains(&kid(&new)), "it was published before");

    // Nothing signed before has become less.
    for token in [&new, &ada.access_token] {
        nauth.send(&Request::get("/").bearer(token)).await.expect(200);
        assert!(verified(token, &published(&nauth, ACCESS_JWKS).await, "at+jwt", &nauth.origin()).is_ok());
    }
    nauth.send(&Request::get("/").cookies(&ada.cookies())).await.expect(200);
    nauth.send(&Request::get("/").cookies(&ada.refresh_cookie())).await.expect(200);
    let assertion = asserting().await;
    assert_ne!(kid(&assertion), kid(&old_assertion), "what was kept is not said with an old key");
    for token in [&assertion, &old_assertion] {
        assert!(verified(token, &published(&nauth, JWKS).await, "nauth-assertion+jwt", "app").is_ok());
    }
}

#[tokio::test]
async fn what_a_leaked_key_signed_is_refused() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    let request = Request::get("/").bearer(&ada.access_token);
    nauth.send(&request).await.expect(200);
    nauth.command(&["keys", "rotate", "--purpose", "access", "--revoke"]).await.expect(2);

    nauth.command(&["keys", "rotate", "--purpose", "access"]).await.expect(0);
    nauth.command(&["keys", "rotate", "--purpose", "access", "--now", "--revoke"]).await.expect(0);

    let refused = eventually(secs(10), async || (nauth.send(&request).await.status == 401).then_some(()));
    assert!(refused.await.is_some(), "tokens of the old key");
    let refreshed = nauth.refresh(&ada).await;
    nauth.send(&Request::get("/").bearer(&refreshed.access_token)).await.expect(200);
}

#[tokio::test]
async fn another_algorithm_waits_until_it_is_known_and_logs_nobody_out() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo)).await;
    let ada = nauth.signup("ada@example.com").await;
    assert_eq!(algorithm(&ada.access_token), "HS256");

    nauth.reconfigure(&config(&echo).set("jwt.algorithm", "EdDSA"));
    let known =
        eventually(secs(10), async || (nauth.send(&Request::get(ACCESS_JWKS)).await.status == 200).then_some(()));
    assert!(known.await.is_some(), "the key is published");
    assert_eq!(algorithm(&nauth.login("ada@example.com").await.access_token), "HS256");
    nauth.command(&["keys", "rotate", "--purpose", "access", "--now"]).await.expect(0);

    nauth.writes("the keys have changed").await;
    let token = nauth.login("ada@example.com").await.access_token;
    assert_eq!(algorithm(&token), "EdDSA");
    nauth.send(&Request::get("/").bearer(&token)).await.expect(200);
    nauth.send(&Request::get("/").bearer(&ada.access_token)).await.expect(200);
    nauth.send(&Request::get("/").cookies(&ada.cookies())).await.expect(200);
}

#[tokio::test]
async fn the_list_of_keys_says_what_they_are_for_and_never_what_they_are() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo).set("jwt.access_secret", "0123456789abcdef0123456789abcdef")).await;

    let list = nauth.command(&["keys", "list"]).await.expect(0).output;
    for word in ["PURPOSE", "access", "HS256", "assertion", "ES256", "refresh", "csrf", "code", "outbox", "active"] {
        assert!(list.contains(word), "{word} is not in:\n{list}");
    }
    assert!(!list.contains("0123456789abcdef") && list.lines().all(|line| line.len() < 140), "{list}");
    let refused = nauth.command(&["keys", "rotate", "--purpose", "access"]).await.expect(1);
    refused.says("comes from the configuration");
    nauth.command(&["keys", "rotate", "--purpose", "csrf"]).await.expect(2);
    nauth.command(&["keys", "rotate"]).await.expect(0).says("refresh: `refresh-");
}

#[tokio::test]
async fn the_age_of_the_keys_is_measured() {
    let echo = Echo::start().await;
    let nauth = Nauth::start(config(&echo)).await;

    let measured = eventually(secs(10), async || {
        let metrics = nauth.manage(&Request::get("/metrics")).await.expect(200).text();
        let has = |of: &str| metrics.contains(&format!("nauth_signing_key_age_seconds{{use=\"{of}\"}} "));
        (has("access") && has("assertion")).then_some(())
    });
    assert!(measured.await.is_some());
}
