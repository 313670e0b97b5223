//! Codes by mail, to the address of the account.

use crate::auth::code::Destination;
use crate::auth::mfa::desk::{Desk, Kind, NewFactor};
use crate::auth::mfa::sent::Sent;
use crate::auth::mfa::{FactorAnswer, ProofData, SetupAnswer, SetupData, SetupWish};
use crate::domain::error::Error;
use crate::domain::factor::Method;
use crate::store::one_time_secrets::Purpose;

const SENT: Sent = Sent { method: Method::Email, proves: Purpose::MfaEmail, enrols: Purpose::EnrolEmail };

/// The method.
pub(super) struct Mailed;

impl Kind for Mailed {
    async fn begin_setup(&self, desk: &mut Desk<'_>, _: &SetupWish) -> Result<SetupData, Error> {
        let (to, verified) = (Destination::Email(desk.user.email.clone()), desk.user.email_verified);
        desk.enrol(SENT, to, verified).await
    }

    async fn finish_setup(&self, desk: &mut Desk<'_>, answer: &SetupAnswer) -> Result<Result<NewFactor, Error>, Error> {
        let (to, verified) = (Destination::Email(desk.user.email.clone()), desk.user.email_verified);
        desk.enrolled(SENT, to, verified, answer).await
    }

    async fn begin_proof(&self, desk: &mut Desk<'_>) -> Result<ProofData, Error> {
        desk.begin_sent(SENT).await
    }

    async fn prove(&self, desk: &mut Desk<'_>, answer: &FactorAnswer) -> Result<Result<Option<i64>, Error>, Error> {
        desk.prove_sent(SENT, answer).await
    }
}
