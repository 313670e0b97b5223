//! What is a token of ours, and what is none.

use std::time::Duration;

use super::*;
use crate::config::settings::SigningAlgorithm;
use crate::domain::clock::Time;
use crate::domain::id::SessionId;
use crate::domain::secret::Secret;
use crate::domain::session::{Delivery, Session};
use crate::domain::user::tests_support::ada;
use crate::store::{Db, Store, migrations};
use crate::tokens::rotation::{Former, Rotating};

pub(super) fn jwt() -> Jwt {
    Jwt {
        algorithm: SigningAlgorithm::Hs256,
        issuer: "http://localhost:8080".to_owned(),
        audience: vec!["http://localhost:8080".to_owned()],
        access_ttl: Duration::from_mins(15),
        refresh_ttl: Duration::from_hours(24),
        refresh_grace: Duration::from_secs(10),
        leeway: Duration::from_secs(30),
        key_rotation: Duration::ZERO,
        publish_jwks: true,
        private_key: None,
        access_secret: None,
        refresh_secret: None,
        claims: Vec::new(),
        told: Vec::new(),
    }
}

pub(super) fn session(kid: &str, now: Time) -> Session {
    let user = ada();
    Session {
        id: SessionId::random(),
        user: user.id,
        family: "ab".repeat(32),
        generation: 3,
        rotated_at: now,
        refresh_expires_at: now + Duration::from_hours(24),
        refresh_kid: kid.to_owned(),
        seen: None,
        auth_epoch: 1,
        latest_exp: now,
        amr: vec!["pwd".to_owned()],
        acr: "aal1".to_owned(),
        auth_time: now,
        dialect: "nauth".to_owned(),
        delivery: Delivery::Json,
        auth_method: "password".to_owned(),
        ip: "127.0.0.1".to_owned(),
        location: crate::domain::location::Location::default(),
        user_agent: String::new(),
        device: crate::domain::session::Device::default(),
        trusted_device: None,
        claims: None,
        created_at: now,
        last_activity_at: now,
        expires_at: now + Duration::from_hours(48),
        revoked_at: None,
    }
}

#[test]
fn an_access_token_is_good_until_its_expiry_and_leeway() {
    let ring = KeyRing::ephemeral();
    let keys = ring.signing(Use::Access);
    let clock = Clock::manual(Time::from_secs(1_700_000_000));
    let verifier = AccessVerifier::new(keys, &jwt(), clock.clone(), Metrics::new());
    let minter = AccessMinter::new(keys, &jwt());
    let session = session("k", clock.now());
    let exp = minter.expiry(session.expires_at, clock.now());
    let (text, minted) = minter.mint(&ada(), &session, 1, clock.now(), exp);

    let read = verifier.verify(text.expose()).unwrap();
    assert_eq!(read.claims, minted.claims);
    assert!(read.first_sight() && !verifier.verify(text.expose()).unwrap().first_sight());

    clock.advance(Duration::from_secs(15 * 60 + 29));
    assert!(verifier.verify(text.expose()).is_ok());
    clock.advance(Duration::from_secs(1));
    assert!(matches!(verifier.verify(text.expose()), Err(TokenError::Expired(_))));
}

#[test]
fn what_is_not_an_access_token_of_ours_is_invalid() {
    let ring = KeyRing::ephemeral();
    let clock = Clock::manual(Time::from_secs(1_700_000_000));
    let verifier = AccessVerifier::new(ring.signing(Use::Access), &jwt(), clock.clone(), Metrics::new());
    let refresh = RefreshTokens::new(ring.purpose(Purpose::Refresh), Duration::ZERO, clock.clone());
    let session = session(refresh.active_kid(), clock.now());
    let foreign = AccessMinter::new(ring.signing(Use::Assertion), &jwt());
    let other_audience = Jwt { audience: vec!["else".to_owned()], ..jwt() };
    let elsewhere = AccessMinter::new(ring.signing(Use::Access), &other_audience);
    let exp = clock.now() + Duration::from_mins(1);
    let (good, _) = AccessMinter::new(ring.signing(Use::Access), &jwt()).mint(&ada(), &session, 1, clock.now(), exp);
    let good = good.expose().clone();
    let (head, rest) = good.split_once('.').unwrap();
    let flipped = format!("{}{}", &good[..good.len() - 4], if good.ends_with("AAAA") { "BBBB" } else { "AAAA" });
    let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{}.", rest.split_once('.').unwrap().0);

    let bad = [
        String::new(),
        "a.b.c".to_owned(),
        good[..good.len() - 10].to_owned(),
        flipped,
        unsigned,
        format!("{head}.{head}.{head}"),
        refresh.of(&session).unwrap().expose().clone(),
        foreign.mint(&ada(), &session, 1, clock.now(), exp).0.expose().clone(),
        elsewhere.mint(&ada(), &session, 1, clock.now(), exp).0.expose().clone(),
        "x".repeat(10_000),
    ];
    for token in bad {
        assert!(matches!(verifier.verify(&token), Err(TokenError::Invalid)), "{token}");
    }
}

#[test]
fn a_refresh_token_is_reproduced_byte_for_byte() {
    let ring = KeyRing::ephemeral();
    let clock = Clock::manual(Time::from_secs(1_700_000_000));
    let tokens = RefreshTokens::new(ring.purpose(Purpose::Refresh), Duration::ZERO, clock.clone());
    let session = session(tokens.active_kid(), clock.now());

    let first = tokens.of(&session).unwrap();
    clock.advance(Duration::from_hours(1));
    let second = tokens.of(&session).unwrap();

    assert_eq!(first.expose(), second.expose());
    assert_eq!(tokens.verify(first.expose()).unwrap().claims.generation, 3);
    clock.advance(Duration::from_hours(23));
    assert!(matches!(tokens.verify(first.expose()), Err(RefreshTokenError::Expired(_))));
}

/// Keys as these algorithms want them, on a database of their own.
pub(super) async fn ring(wanted: &Wanted) -> (Store, Arc<KeyRing>) {
    let store = Store::new(Db::in_memory().await.unwrap());
    migrations::apply(store.db(), Time::from_secs(1)).await.unwrap();
    let ring = reload(&store, wanted).await;
    (store, ring)
}

/// Keys after a restart with other settings, when the schedule has run its course.
async fn reload(store: &Store, wanted: &Wanted) -> Arc<KeyRing> {
    let masters = MasterKeys { current: Secret::new(vec![1; 32]), previous: Vec::new() };
    let keys = Keychain::open(store.clone(), masters, wanted, Time::from_secs(1)).await.unwrap();
    keys.promote(Rotating::Access, Former::VerifyOn).await.unwrap();
    keys.follow().await.unwrap();
    keys.ring()
}

pub(super) fn wanted(access: SigningAlgorithm) -> Wanted {
    let mut settings = crate::config::defaults();
    settings.jwt.algorithm = access;
    Wanted::by(&settings)
}

/// A token of ada's under these keys.
pub(super) fn minted(keys: &signing::SigningKeys, jwt: &Jwt) -> String {
    let now = Time::from_secs(1_700_000_000);
    let minter = AccessMinter::new(keys, jwt);
    let (text, _) = minter.mint(&ada(), &session("k", now), 1, now, now + Duration::from_mins(1));
    text.expose().clone()
}

pub(super) fn verifier(ring: &KeyRing) -> AccessVerifier {
    let clock = Clock::manual(Time::from_secs(1_700_000_000));
    AccessVerifier::new(ring.signing(Use::Access), &jwt(), clock, Metrics::new())
}

#[tokio::test]
async fn every_algorithm_signs_what_its_own_key_verifies() {
    for algorithm in SigningAlgorithm::ALL {
        let (_, ring) = ring(&wanted(algorithm)).await;
        let token = minted(ring.signing(Use::Access), &jwt());

        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!(header.alg, algorithm.jwt());
        assert_eq!(header.kid.as_deref(), Some(ring.signing(Use::Access).active.kid()));
        assert!(verifier(&ring).verify(&token).is_ok(), "{algorithm:?}");
        assert_eq!(ring.signing(Use::Access).jwks().is_empty(), algorithm.is_symmetric());
        let (_, other) = self::ring(&wanted(algorithm)).await;
        assert!(verifier(&other).verify(&token).is_err(), "{algorithm:?}");
    }
}

#[tokio::test]
async fn another_algorithm_logs_nobody_out() {
    use SigningAlgorithm::{EdDsa, Es256, Hs256, Hs512, Rs256};
    let (store, first) = ring(&wanted(Hs256)).await;
    let mut tokens = vec![minted(first.signing(Use::Access), &jwt())];

    for algorithm in [Hs512, Rs256, Es256, EdDsa, Hs256, EdDsa] {
        let ring = reload(&store, &wanted(algorithm)).await;
        tokens.push(minted(ring.signing(Use::Access), &jwt()));
        assert_eq!(jsonwebtoken::decode_header(tokens.last().unwrap()).unwrap().alg, algorithm.jwt());
        let verifier = verifier(&ring);
        for token in &tokens {
            assert!(verifier.verify(token).is_ok(), "{algorithm:?}: {:?}", jsonwebtoken::decode_header(token));
        }
    }
}

/// Whoever knows only what is published tries to sign with it.
#[tokio::test]
async fn a_public_key_is_no_secret_and_no_algorithm_is_none() {
    for algorithm in [SigningAlgorithm::Es256, SigningAlgorithm::EdDsa, SigningAlgorithm::Rs256] {
        let (store, _) = ring(&wanted(algorithm)).await;
        let ring = reload(&store, &wanted(algorithm)).await;
        let keys = ring.signing(Use::Access);
        let good = minted(keys, &jwt());
        let claims = good.split('.').nth(1).unwrap().to_owned();
        let public = keys.active.public().unwrap();
        let jwk = serde_json::to_vec(&keys.jwks()[0]).unwrap();
        let encoded = |text: String| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, text);

        let mut forged = Vec::new();
        for alg in ["HS256", "HS384", "HS512", "none", "None", "", "RS256", "ES256", "EdDSA", "PS256"] {
            let header = encoded(format!(r#"{{"alg":"{alg}","typ":"at+jwt","kid":"{}"}}"#, keys.active.kid()));
            forged.push(format!("{header}.{claims}."));
            for secret in [&public, &jwk, &Vec::new()] {
                let signed = format!("{header}.{claims}");
                let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
                let mac = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
                let mac = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, mac);
                forged.push(format!("{signed}.{mac}"));
            }
        }
        // A key of the sender's own, brought along.
        let (_, own) = self::ring(&wanted(algorithm)).await;
        let brought = serde_json::to_string(&own.signing(Use::Access).jwks()[0]).unwrap();
        let header = encoded(format!(
            r#"{{"alg":"{}","typ":"at+jwt","kid":"{}","jwk":{brought}}}"#,
            algorithm.as_str(),
            keys.active.kid()
        ));
        forged.push(own.signing(Use::Access).active.token(&header, &serde_json::json!({ "sub": "x" })));

        let verifier = verifier(&ring);
        assert!(verifier.verify(&good).is_ok());
        for token in forged {
            assert!(matches!(verifier.verify(&token), Err(TokenError::Invalid)), "{token}");
        }
    }
}

#[tokio::test]
async fn a_token_of_another_type_audience_or_use_is_none() {
    let (_, ring) = ring(&wanted(SigningAlgorithm::Es256)).await;
    let keys = ring.signing(Use::Access);
    let claims = |token: &str| {
        let claims = token.split('.').nth(1).unwrap();
        let claims = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims).unwrap();
        serde_json::from_slice::<serde_json::Value>(&claims).unwrap()
    };
    let good = minted(keys, &jwt());

    let mut bad = vec![
        minted(keys, &Jwt { audience: vec!["else".to_owned()], ..jwt() }),
        minted(keys, &Jwt { issuer: "https://else.example".to_owned(), ..jwt() }),
        // Good in every way, but for its key, which is for assertions.
        minted(ring.signing(Use::Assertion), &jwt()),
    ];
    for typ in ["JWT", "nauth-assertion+jwt", "refresh+jwt", "AT+JWT", ""] {
        bad.push(keys.active.token(&keys.active.header(typ), &claims(&good)));
    }

    let verifier = verifier(&ring);
    for token in bad {
        assert!(matches!(verifier.verify(&token), Err(TokenError::Invalid)), "{token}");
    }
    assert!(verifier.verify(&keys.active.token(&keys.active.header("at+jwt"), &claims(&good))).is_ok());
}

/// What `jwt.private_key` holds, made by a ring of its own.
pub(super) fn private_key(algorithm: SigningAlgorithm) -> Secret<Vec<u8>> {
    signing::generate(algorithm).unwrap()
}

#[tokio::test]
async fn a_configured_key_verifies_on_when_it_is_gone_and_is_never_stored() {
    let algorithm = SigningAlgorithm::EdDsa;
    let fixed = |key: &Secret<Vec<u8>>| {
        let mut settings = crate::config::defaults();
        settings.jwt.algorithm = algorithm;
        settings.jwt.private_key = Some(key.clone());
        Wanted::by(&settings)
    };
    let (one, two) = (private_key(algorithm), private_key(algorithm));
    let (store, first) = ring(&fixed(&one)).await;
    let token = minted(first.signing(Use::Access), &jwt());

    for wanted in [fixed(&one), fixed(&two), wanted(algorithm), wanted(SigningAlgorithm::Hs256), fixed(&one)] {
        let ring = reload(&store, &wanted).await;
        assert!(verifier(&ring).verify(&token).is_ok());
        assert!(verifier(&ring).verify(&minted(ring.signing(Use::Access), &jwt())).is_ok());
    }
    let again = reload(&store, &fixed(&one)).await;
    assert_eq!(again.signing(Use::Access).active.kid(), first.signing(Use::Access).active.kid());
    assert_ne!(
        reload(&store, &fixed(&two)).await.signing(Use::Access).active.kid(),
        again.signing(Use::Access).active.kid()
    );
    let rows = store.keys().all().await.unwrap();
    assert!(rows.iter().filter(|row| row.is_fixed()).all(|row| row.sealed.is_none() && row.public_key.is_some()));
}

#[tokio::test]
async fn a_configured_secret_verifies_while_it_is_there() {
    let with = |algorithm: SigningAlgorithm| {
        let mut settings = crate::config::defaults();
        settings.jwt.algorithm = algorithm;
        settings.jwt.access_secret = Some(Secret::new("0123456789abcdef0123456789abcdef".to_owned()));
        Wanted::by(&settings)
    };
    let (store, first) = ring(&with(SigningAlgorithm::Hs384)).await;
    let token = minted(first.signing(Use::Access), &jwt());

    for algorithm in [SigningAlgorithm::Hs512, SigningAlgorithm::Es256, SigningAlgorithm::Hs384] {
        let ring = reload(&store, &with(algorithm)).await;
        assert_eq!(ring.signing(Use::Access).active.algorithm(), algorithm);
        assert!(verifier(&ring).verify(&token).is_ok(), "{algorithm:?}");
    }
    let without = reload(&store, &wanted(SigningAlgorithm::Hs384)).await;
    assert!(verifier(&without).verify(&token).is_err(), "nobody else knows the secret");
}
