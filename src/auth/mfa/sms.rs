//! Codes by text message, to the number of the account. One that is missing is given on the way.

use crate::auth::code::Destination;
use crate::auth::mfa::desk::{Desk, Kind, NewFactor};
use crate::auth::mfa::sent::Sent;
use crate::auth::mfa::{FactorAnswer, ProofData, SetupAnswer, SetupData, SetupWish};
use crate::auth::signup::Counts;
use crate::domain::contact::Phone;
use crate::domain::error::Error;
use crate::domain::event::Event;
use crate::domain::factor::Method;
use crate::store::one_time_secrets::Purpose;

const SENT: Sent = Sent { method: Method::Sms, proves: Purpose::MfaSms, enrols: Purpose::EnrolSms };

/// The method.
pub(super) struct Texted;

impl Kind for Texted {
    async fn begin_setup(&self, desk: &mut Desk<'_>, wish: &SetupWish) -> Result<SetupData, Error> {
        if let Some(phone) = wish.phone.clone().filter(|phone| desk.user.phone.as_ref() != Some(phone)) {
            desk.take_number(&phone).await?;
        }
        let phone = desk.number()?;
        let verified = desk.user.phone_verified;
        desk.enrol(SENT, Destination::Phone(phone), verified).await
    }

    async fn finish_setup(&self, desk: &mut Desk<'_>, answer: &SetupAnswer) -> Result<Result<NewFactor, Error>, Error> {
        let phone = desk.number()?;
        if answer.phone.as_ref().is_some_and(|given| *given != phone) {
            let message = "This is not the number the code was sent to".to_owned();
            return Err(Error::InvalidField { field: "phoneNumber", message });
        }
        let verified = desk.user.phone_verified;
        desk.enrolled(SENT, Destination::Phone(phone), verified, answer).await
    }

    async fn begin_proof(&self, desk: &mut Desk<'_>) -> Result<ProofData, Error> {
        desk.begin_sent(SENT).await
    }

    async fn prove(&self, desk: &mut Desk<'_>, answer: &FactorAnswer) -> Result<Result<Option<i64>, Error>, Error> {
        desk.prove_sent(SENT, answer).await
    }
}

impl Desk<'_> {
    fn number(&self) -> Result<Phone, Error> {
        let verification_method = self.auth.settings.signup.verification_method.as_str();
        self.user.phone.clone().ok_or(Error::PhoneRequired { verification_method })
    }

    /// Makes a number the account's, unproven: until then it is nobody's identifier and stands in nobody's way.
    /// One that was proven is changed in the profile, where its owner is told.
    async fn take_number(&mut self, phone: &Phone) -> Result<(), Error> {
        if self.user.phone.is_some() && self.user.phone_verified {
            let message = "The account has another number; change it in the profile first".to_owned();
            return Err(Error::InvalidField { field: "phoneNumber", message });
        }
        self.auth.check_phone(phone)?;
        self.auth.make_room_for_phone(self.change, phone, Counts::Proven).await?;
        self.change.users().set_phone(self.user.id, phone, false, false, self.auth.now()).await?;
        self.change.record(Event::PhoneChanged { user: self.user.id });
        self.auth.forget_factors_of(self.change, &self.user, Method::Sms).await?;
        self.user = self.change.users().by_id(self.user.id).await?.ok_or(Error::NotFound)?;
        Ok(())
    }
}
