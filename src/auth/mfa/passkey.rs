//! Passkeys: key pairs held by authenticators (`WebAuthn`).
//!
//! What is asked is a row, its handle the hash of the challenge. The first answer that shows the
//! challenge ends the row, right or wrong, so no answer is good twice. A passkey is one user's: the hash
//! of its credential's id is unique over all of them. Its counter, where it has one, only goes forward.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use webauthn_rs_core::proto::{PublicKeyCredential, RegisterPublicKeyCredential};

use crate::auth::Auth;
use crate::auth::mfa::desk::{Desk, Kind, NewFactor};
use crate::auth::mfa::relying_party::{Begun, Credential, Refused, RelyingParty, remembered};
use crate::auth::mfa::{FactorAnswer, ProofData, SEALED, SetupAnswer, SetupData, SetupWish};
use crate::domain::clock::Time;
use crate::domain::error::Error;
use crate::domain::event::{Event, FactorEvent};
use crate::domain::factor::{Factor, Method};
use crate::domain::hex::hex;
use crate::domain::id::UserId;
use crate::domain::secret::Secret;
use crate::events::Change;
use crate::store::ceremonies::Ceremony;
use crate::store::factors::{Held, Proof};

/// The ceremony that makes a passkey.
const SETUP: &str = "passkey_setup";
/// The ceremony that proves one.
const PROOF: &str = "passkey_proof";
/// What an answer may take beyond the time a browser gives its user.
const SLACK: std::time::Duration = std::time::Duration::from_secs(30);

/// The method.
pub(super) struct Passkeys;

impl Kind for Passkeys {
    async fn begin_setup(&self, desk: &mut Desk<'_>, _: &SetupWish) -> Result<SetupData, Error> {
        let party = desk.auth.relying_party()?;
        let present = desk.present().await?;
        let held = desk.passkeys(&present).await?.into_iter().map(|credential| credential.cred_id).collect();
        let begun = party.begin_registration(&desk.user, held)?;
        Ok(SetupData::Passkey(desk.remember(party, SETUP, begun).await?))
    }

    async fn finish_setup(&self, desk: &mut Desk<'_>, answer: &SetupAnswer) -> Result<Result<NewFactor, Error>, Error> {
        let auth = desk.auth;
        let party = auth.relying_party()?;
        let shown: Option<RegisterPublicKeyCredential> = read(&answer.code);
        let client_data = shown.as_ref().map_or(&[][..], |shown| &shown.response.client_data_json);
        let bound_to = desk.at.name();
        let state = match auth.end_ceremony(desk.change, SETUP, &bound_to, client_data).await? {
            Ok(state) => state,
            Err(wrong) => return Ok(Err(wrong)),
        };
        let Some(shown) = shown else { return Ok(Err(Error::CodeInvalid)) };
        let Ok(credential) = party.finish_registration(&shown, &state)? else { return Ok(Err(Error::CodeInvalid)) };
        let mut factor = NewFactor::new(Method::Passkey);
        factor.name.clone_from(&answer.name);
        let bytes = serde_json::to_vec(&credential).map_err(|error| Error::Internal(Box::new(error)))?;
        factor.proof = Proof {
            sealed: Some(auth.sealer.seal(SEALED, factor.id, &bytes)),
            credential_hash: Some(hash(&credential.cred_id)),
            counter: credential.counter.into(),
        };
        Ok(Ok(factor))
    }

    async fn begin_proof(&self, desk: &mut Desk<'_>) -> Result<ProofData, Error> {
        let party = desk.auth.relying_party()?;
        let usable = desk.factors(Method::Passkey, None).await?;
        let held = desk.passkeys(&usable).await?;
        if held.is_empty() {
            return Err(Error::NoFactor(Method::Passkey));
        }
        let begun = party.begin_assertion(held)?;
        Ok(ProofData::Passkey(desk.remember(party, PROOF, begun).await?))
    }

    async fn prove(&self, desk: &mut Desk<'_>, answer: &FactorAnswer) -> Result<Result<Option<i64>, Error>, Error> {
        let auth = desk.auth;
        let shown = Shown::read(&answer.code);
        let bound_to = desk.at.name();
        let state = match auth.end_ceremony(desk.change, PROOF, &bound_to, shown.client_data()).await? {
            Ok(state) => state,
            Err(wrong) => return Ok(Err(wrong)),
        };
        let held = desk.change.factors().by_credential(&shown.credential_hash()).await?;
        let meant = desk.factors(Method::Passkey, answer.factor).await?;
        let held = held.filter(|held| {
            meant.iter().any(|factor| factor.id == held.factor)
                && shown.user().is_none_or(|user| user == desk.user.id.uuid().as_bytes())
        });
        let Some(held) = held else { return Ok(Err(Error::CodeInvalid)) };
        let asserted = auth.check_assertion(desk.change, &shown, &state, &held).await?;
        Ok(asserted.map(|()| Some(held.factor)))
    }
}

/// What a client shows: an authenticator's answer, or something that is none.
#[derive(Debug)]
pub(in crate::auth) struct Shown(Option<PublicKeyCredential>);

impl Shown {
    pub(in crate::auth) fn read(text: &Secret<String>) -> Self {
        Self(read(text))
    }

    pub(in crate::auth) fn client_data(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |shown| &shown.response.client_data_json)
    }

    /// The name of the passkey in the database.
    pub(in crate::auth) fn credential_hash(&self) -> String {
        hash(self.0.as_ref().map_or(&[], |shown| &shown.raw_id))
    }

    /// Whose the authenticator says it is, if it says anything.
    pub(in crate::auth) fn user(&self) -> Option<&[u8]> {
        let user = self.0.as_ref()?.response.user_handle.as_deref();
        user.filter(|user| !user.is_empty())
    }
}

impl Auth {
    pub(in crate::auth) fn relying_party(&self) -> Result<&RelyingParty, Error> {
        self.relying_party.as_deref().ok_or_else(|| Error::FactorNotOffered(Method::Passkey))
    }

    /// Remembers what a client is asked; answers what it is told.
    pub(in crate::auth) async fn begin_ceremony(
        &self,
        change: &mut Change,
        (purpose, bound_to): (&'static str, String),
        user: Option<UserId>,
        begun: Asked,
    ) -> Result<serde_json::Value, Error> {
        let handle = hash(&begun.0.challenge);
        let ceremony = Ceremony {
            purpose,
            user,
            bound_to,
            sealed: self.sealer.seal(&context(purpose, &handle), 0, &begun.0.state),
            handle,
            expires_at: begun.1,
        };
        change.ceremonies().begin(&ceremony).await?;
        Ok(begun.0.options)
    }

    /// Ends the ceremony whose challenge the client has signed; answers what was remembered. Of several who
    /// show it, one comes through. What was asked elsewhere is a wrong answer.
    ///
    /// # Errors
    /// [`Error::NoCeremony`] when nobody was asked this, or too long ago, or something else was since: nobody guesses
    /// a question, so that is an old page and no wrong answer.
    pub(in crate::auth) async fn end_ceremony(
        &self,
        change: &mut Change,
        purpose: &'static str,
        bound_to: &str,
        client_data: &[u8],
    ) -> Result<Result<Vec<u8>, Error>, Error> {
        let now = self.now();
        let Some(challenge) = challenge_in(client_data) else {
            let is_asked = change.ceremonies().is_open(purpose, bound_to, now).await?;
            return if is_asked { Ok(Err(Error::CodeInvalid)) } else { Err(Error::NoCeremony) };
        };
        let handle = hash(&challenge);
        let Some(sealed) = change.ceremonies().find(purpose, bound_to, &handle, now).await? else {
            let is_elsewhere = change.ceremonies().is_open_anywhere(&handle, now).await?;
            return if is_elsewhere { Ok(Err(Error::CodeInvalid)) } else { Err(Error::NoCeremony) };
        };
        if !change.ceremonies().end(purpose, &handle).await? {
            return Ok(Err(Error::CodeInvalid));
        }
        self.open_sealed(&context(purpose, &handle), 0, &sealed).map(Ok)
    }

    /// Holds an answer against the passkey it is of, and moves its counter.
    pub(in crate::auth) async fn check_assertion(
        &self,
        change: &mut Change,
        shown: &Shown,
        state: &[u8],
        held: &Held,
    ) -> Result<Result<(), Error>, Error> {
        let Some(shown) = &shown.0 else { return Ok(Err(Error::CodeInvalid)) };
        let Some(credential) = self.open_passkey(held.factor, &held.proof)? else {
            return Ok(Err(Error::CodeInvalid));
        };
        let refused = match self.relying_party()?.finish_assertion(shown, state, credential)? {
            // Two answers with one counter are two authenticators, too.
            Ok(asserted) if asserted.counter > 0 => {
                let is_new = change.factors().advance(held.factor, asserted.counter).await?;
                (!is_new).then_some(Refused::Cloned)
            }
            Ok(_) => None,
            Err(refused) => Some(refused),
        };
        match refused {
            None => return Ok(Ok(())),
            Some(Refused::Cloned) => {
                change.record(Event::Factor { user: held.user, happened: FactorEvent::Cloned { factor: held.factor } });
            }
            Some(Refused::Wrong) => {}
        }
        Ok(Err(Error::CodeInvalid))
    }

    fn open_passkey(&self, factor: i64, proof: &Proof) -> Result<Option<Credential>, Error> {
        let Some(sealed) = &proof.sealed else { return Ok(None) };
        let mut credential: Credential = remembered(&self.open_sealed(SEALED, factor, sealed)?)?;
        credential.counter = u32::try_from(proof.counter).unwrap_or(u32::MAX);
        Ok(Some(credential))
    }

    /// What cannot be opened is an outage: it must not look like something that is not there.
    fn open_sealed(&self, context: &str, row: i64, sealed: &str) -> Result<Vec<u8>, Error> {
        self.sealer.open(context, row, sealed).map_err(|error| Error::Unavailable(Box::new(error)))
    }
}

/// What a client is about to be asked, and until when it may answer.
#[derive(Debug)]
pub(in crate::auth) struct Asked(Begun, Time);

impl Asked {
    /// A login by whatever passkey the client has.
    pub(in crate::auth) fn anybody(party: &RelyingParty, until: Time) -> Result<Self, Error> {
        Ok(Self(party.begin_assertion(Vec::new())?, until))
    }
}

impl Desk<'_> {
    /// The passkeys among these factors of the user.
    async fn passkeys(&mut self, factors: &[Factor]) -> Result<Vec<Credential>, Error> {
        let mut passkeys = Vec::new();
        for factor in factors.iter().filter(|factor| factor.method == Method::Passkey) {
            let proof = self.change.factors().proof(self.user.id, factor.id).await?;
            passkeys.extend(proof.map(|proof| self.auth.open_passkey(factor.id, &proof)).transpose()?.flatten());
        }
        Ok(passkeys)
    }

    async fn remember(
        &mut self,
        party: &RelyingParty,
        purpose: &'static str,
        begun: Begun,
    ) -> Result<serde_json::Value, Error> {
        let asked = Asked(begun, self.auth.now() + party.timeout() + SLACK);
        let place = (purpose, self.at.name());
        self.auth.begin_ceremony(self.change, place, Some(self.user.id), asked).await
    }
}

/// The challenge an authenticator has signed.
fn challenge_in(client_data: &[u8]) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct ClientData {
        challenge: String,
    }
    let data: ClientData = serde_json::from_slice(client_data).ok()?;
    URL_SAFE_NO_PAD.decode(data.challenge.trim_end_matches('=')).ok()
}

/// What is malformed is nothing.
fn read<T: DeserializeOwned>(text: &Secret<String>) -> Option<T> {
    serde_json::from_str(text.expose()).ok()
}

/// Challenges and ids are random enough to need no key.
fn hash(bytes: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}

/// What the state of a ceremony is sealed for.
fn context(purpose: &str, handle: &str) -> String {
    format!("{purpose}/{handle}")
}
