//! A software authenticator (`WebAuthn`): ES256, no attestation, and a client around it that says what a
//! browser says, or lies.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SystemRandom, fill};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::Nauth;

const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const HAS_CREDENTIAL: u8 = 0x40;

/// One authenticator in one browser. What is public may be set to whatever a test is about.
#[derive(Debug)]
pub(crate) struct Authenticator {
    /// Where the page is that asks.
    pub(crate) origin: String,
    /// What it answers for, instead of what is asked.
    pub(crate) rp_id: Option<String>,
    /// Whether it makes sure who holds it.
    pub(crate) verifies: bool,
    /// The counter of its next answer; `None` where it does not count.
    pub(crate) counter: Option<u32>,
    /// The id of the next passkey, instead of one of its own.
    pub(crate) next_id: Option<Vec<u8>>,
    passkeys: Vec<Passkey>,
}

#[derive(Debug)]
struct Passkey {
    id: Vec<u8>,
    pair: EcdsaKeyPair,
    user: String,
}

impl Authenticator {
    /// One that is used on pages of this nauth.
    pub(crate) fn at(nauth: &Nauth) -> Self {
        Self { origin: nauth.origin(), rp_id: None, verifies: true, counter: None, next_id: None, passkeys: vec![] }
    }

    /// `navigator.credentials.create`
    pub(crate) fn create(&mut self, options: &Value) -> Value {
        let (rng, mut own) = (SystemRandom::new(), vec![0; 32]);
        fill(&mut own).unwrap();
        let id = self.next_id.take().unwrap_or(own);
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &rng).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).unwrap();
        let mut data = self.data(&text(&options["rp"]["id"]), HAS_CREDENTIAL);
        data.extend([0; 16]);
        data.extend([0, 32]);
        data.extend(&id);
        data.extend(cose(pair.public_key().as_ref()));
        // {"fmt": "none", "attStmt": {}, "authData": data}
        let mut attestation = vec![0xA3];
        for (key, value) in [("fmt", word("none")), ("attStmt", vec![0xA0]), ("authData", bytes(&data))] {
            attestation.extend(word(key));
            attestation.extend(value);
        }
        self.passkeys.push(Passkey { id: id.clone(), pair, user: text(&options["user"]["id"]) });
        json!({
            "id": encoded(&id), "rawId": encoded(&id), "type": "public-key", "clientExtensionResults": {},
            "response": {
                "clientDataJSON": encoded(self.client_data("webauthn.create", options).as_bytes()),
                "attestationObject": encoded(&attestation),
                "transports": ["internal", "of the future"],
            },
        })
    }

    /// `navigator.credentials.get`, with the newest passkey that is asked for, or the newest of all.
    pub(crate) fn get(&mut self, options: &Value) -> Value {
        let asked: Vec<String> =
            options["allowCredentials"].as_array().unwrap().iter().map(|it| text(&it["id"])).collect();
        let is_asked = |passkey: &&Passkey| asked.contains(&encoded(&passkey.id));
        let newest = self.passkeys.last().expect("there is a passkey");
        let passkey = self.passkeys.iter().rev().find(is_asked).unwrap_or(newest);
        let data = self.data(&text(&options["rpId"]), 0);
        let client_data = self.client_data("webauthn.get", options);
        let signed = [&data[..], digest(&SHA256, client_data.as_bytes()).as_ref()].concat();
        let signature = passkey.pair.sign(&SystemRandom::new(), &signed).unwrap();
        let answer = json!({
            "id": encoded(&passkey.id), "rawId": encoded(&passkey.id), "type": "public-key",
            "clientExtensionResults": {},
            "response": {
                "clientDataJSON": encoded(client_data.as_bytes()),
                "authenticatorData": encoded(&data),
                "signature": encoded(signature.as_ref()),
                "userHandle": passkey.user,
            },
        });
        self.counter = self.counter.map(|counter| counter + 1);
        answer
    }

    fn data(&self, rp_id: &str, flags: u8) -> Vec<u8> {
        let rp_id = self.rp_id.as_deref().unwrap_or(rp_id);
        let verified = if self.verifies { USER_VERIFIED } else { 0 };
        let mut data = digest(&SHA256, rp_id.as_bytes()).as_ref().to_vec();
        data.push(flags | USER_PRESENT | verified);
        data.extend(self.counter.unwrap_or(0).to_be_bytes());
        data
    }

    fn client_data(&self, kind: &str, options: &Value) -> String {
        let challenge = text(&options["challenge"]);
        json!({ "type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": false }).to_string()
    }
}

/// A public key on P-256 as COSE (RFC 9053).
fn cose(point: &[u8]) -> Vec<u8> {
    let mut key = vec![0xA5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21];
    key.extend(bytes(&point[1..33]));
    key.push(0x22);
    key.extend(bytes(&point[33..]));
    key
}

/// A byte string as CBOR.
fn bytes(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0x59], &length[..], bytes].concat()
}

/// A short text as CBOR.
fn word(text: &str) -> Vec<u8> {
    [&[0x60 + u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[track_caller]
fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
