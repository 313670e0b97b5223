//! The relying party: what authenticators answer to (`WebAuthn`).
//!
//! What it gives out is remembered by the server and comes back signed; what came back is held against
//! that, never against anything else the client says. It stands on the lower layer of `webauthn-rs`,
//! whose upper one leaves no choice of how users are verified.

use serde::de::DeserializeOwned;
use serde_json::Value;
use webauthn_rs_core::WebauthnCore;
use webauthn_rs_core::error::WebauthnError;
use webauthn_rs_core::proto::{
    AttestationConveyancePreference, AuthenticationState, AuthenticatorAttachment, AuthenticatorTransport,
    CredentialID, PublicKeyCredential, RegisterPublicKeyCredential, RegistrationState, UserVerificationPolicy,
};

use crate::config::settings::{Attachment, Passkey, UserVerification};
use crate::domain::error::Error;
use crate::domain::user::User;

pub(super) use webauthn_rs_core::proto::Credential;

/// Most ways to reach an authenticator that are remembered.
const MAX_TRANSPORTS: usize = 8;

/// The site, as authenticators know it.
#[derive(Debug)]
pub(in crate::auth) struct RelyingParty {
    core: WebauthnCore,
    rules: Passkey,
}

/// What a ceremony begins with.
#[derive(Debug)]
pub(super) struct Begun {
    /// For `navigator.credentials`.
    pub(super) options: Value,
    /// What the answer must have signed.
    pub(super) challenge: Vec<u8>,
    /// What the server remembers.
    pub(super) state: Vec<u8>,
}

/// What a good answer says of its authenticator.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asserted {
    /// The signature counter; 0 where it does not count.
    pub(super) counter: i64,
}

/// Why an answer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is not what was asked for.
    Wrong,
    /// All is well but the counter, which went back: there are two of this authenticator.
    Cloned,
}

impl RelyingParty {
    pub(in crate::auth) fn new(rules: &Passkey) -> Self {
        let origins = rules.origins.clone();
        let core =
            WebauthnCore::new_unsafe_experts_only(&rules.rp_name, &rules.rp_id, origins, rules.timeout, None, None);
        Self { core, rules: rules.clone() }
    }

    /// How long it takes until an answer is no answer any more.
    pub(super) fn timeout(&self) -> std::time::Duration {
        self.rules.timeout
    }

    /// Asks for a new passkey of a user who holds some already.
    pub(super) fn begin_registration(&self, user: &User, held: Vec<CredentialID>) -> Result<Begun, Error> {
        let name = user.email.as_str();
        let shown = user.first_name.as_deref().unwrap_or(name);
        let builder = self
            .core
            .new_challenge_register_builder(user.id.uuid().as_bytes(), name, shown)
            .map_err(internal)?
            .attestation(AttestationConveyancePreference::None)
            .user_verification_policy(self.policy())
            .authenticator_attachment(match self.rules.attachment {
                Attachment::Any => None,
                Attachment::Platform => Some(AuthenticatorAttachment::Platform),
                Attachment::CrossPlatform => Some(AuthenticatorAttachment::CrossPlatform),
            })
            .exclude_credentials(Some(held));
        let (asked, state) = self.core.generate_challenge_register(builder).map_err(internal)?;
        let mut options = json(&asked.public_key)?;
        if self.rules.passwordless {
            // Who logs in with it names nobody: the authenticator has to remember whose it is.
            options["authenticatorSelection"]["residentKey"] = "preferred".into();
        }
        Ok(Begun { options, challenge: asked.public_key.challenge, state: bytes(&state)? })
    }

    /// Reads the answer to [`RelyingParty::begin_registration`].
    pub(super) fn finish_registration(
        &self,
        answer: &RegisterPublicKeyCredential,
        state: &[u8],
    ) -> Result<Result<Credential, Refused>, Error> {
        let state: RegistrationState = remembered(state)?;
        let registered = self.core.register_credential(answer, &state, None).map_err(|error| refused(&error));
        // A hint for browsers, which nothing rests on: that no manufacturer vouches for it does not matter.
        let transports =
            answer.response.transports.iter().flatten().filter(|it| **it != AuthenticatorTransport::Unknown);
        let transports: Vec<_> = transports.take(MAX_TRANSPORTS).cloned().collect();
        Ok(registered
            .map(|credential| Credential { transports: (!transports.is_empty()).then_some(transports), ..credential }))
    }

    /// Asks for a proof by one of these, or by whatever the authenticator remembers where there are none:
    /// that is a login, and its user is always verified.
    pub(super) fn begin_assertion(&self, held: Vec<Credential>) -> Result<Begun, Error> {
        let policy = if held.is_empty() { UserVerificationPolicy::Required } else { self.policy() };
        let builder = self.core.new_challenge_authenticate_builder(held, Some(policy)).map_err(internal)?;
        let (asked, mut state) = self.core.generate_challenge_authenticate(builder).map_err(internal)?;
        // Which passkeys count is looked up when the answer comes.
        state.set_allowed_credentials(Vec::new());
        let options = json(&asked.public_key)?;
        Ok(Begun { options, challenge: asked.public_key.challenge, state: bytes(&state)? })
    }

    /// Holds an answer against what was asked and the passkey it is of.
    pub(super) fn finish_assertion(
        &self,
        answer: &PublicKeyCredential,
        state: &[u8],
        mut credential: Credential,
    ) -> Result<Result<Asserted, Refused>, Error> {
        let state: AuthenticationState = remembered(state)?;
        // The settings of now count, and not those it was set up under.
        credential.registration_policy = self.policy();
        let asserted = self.core.authenticate_single_credential(answer, &state, &credential);
        Ok(asserted.map(|result| Asserted { counter: result.counter().into() }).map_err(|error| refused(&error)))
    }

    fn policy(&self) -> UserVerificationPolicy {
        match self.rules.user_verification {
            UserVerification::Required => UserVerificationPolicy::Required,
            UserVerification::Preferred => UserVerificationPolicy::Preferred,
            UserVerification::Discouraged => UserVerificationPolicy::Discouraged_DO_NOT_USE,
        }
    }
}

fn refused(error: &WebauthnError) -> Refused {
    tracing::debug!(%error, "passkey refused");
    if matches!(error, WebauthnError::CredentialPossibleCompromise) { Refused::Cloned } else { Refused::Wrong }
}

fn json(value: &impl serde::Serialize) -> Result<Value, Error> {
    serde_json::to_value(value).map_err(internal)
}

fn bytes(value: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(internal)
}

/// Reads what the server itself has written.
pub(super) fn remembered<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(internal)
}

fn internal(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Internal(Box::new(error))
}
