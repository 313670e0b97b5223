//! The way out, the same on every wire.

use http::HeaderValue;

use crate::api::Api;
use crate::api::answer::Refusal;
use crate::api::context::Asked;
use crate::api::credentials::Presented;
use crate::api::delivery;
use crate::api::evidence::{self, Verdict};
use crate::api::named::{self, Reading};
use crate::auth::NamedSession;
use crate::domain::error::{Denial, Error};

/// What a logout will do.
#[derive(Debug)]
pub(crate) struct Leaving {
    /// The sessions to end.
    pub(crate) sessions: Vec<NamedSession>,
    /// The cookies to take away.
    pub(crate) cookies: Vec<HeaderValue>,
}

impl Api {
    /// What the request may log out of: every session its tokens name, even late ones.
    ///
    /// An access token past its time still says well enough whose session is to end, and cookies
    /// of several sessions are all meant.
    pub(crate) fn leaving(&self, asked: &Asked) -> Result<Leaving, Refusal> {
        self.admit_leaving(asked)?;
        let (readings, cookies) = match self.presented(asked)? {
            Presented::Bearer(token) => (vec![named::access(self.auth.verifier(), &token)], vec![]),
            Presented::Cookies(cookies) => {
                let (access, refresh) = self.readings(&cookies);
                ([access, refresh].concat(), delivery::clear_cookies(&self.settings))
            }
        };
        let sessions = distinct(&readings);
        if sessions.is_empty() {
            let clear_cookies = !cookies.is_empty();
            return Err(Refusal { clear_cookies, ..named::reason(&readings).into() });
        }
        Ok(Leaving { sessions, cookies })
    }

    /// Lets cookies log out only when a page of ours or of a listed origin asks for it, and never
    /// ahead of the user. A `GET` is enough to log out, so an image of another site would be.
    pub(crate) fn admit_leaving(&self, asked: &Asked) -> Result<(), Error> {
        if matches!(self.presented(asked)?, Presented::Bearer(_)) {
            return Ok(());
        }
        if evidence::is_prefetch(&asked.headers) {
            return Err(Error::Forbidden(Denial::Prefetch));
        }
        match self.evidence(asked) {
            Verdict::Ours => Ok(()),
            Verdict::Silent | Verdict::Foreign => Err(Error::Forbidden(Denial::CrossSite)),
        }
    }

    /// The cookies to take away from a client that has left everywhere.
    pub(crate) fn cookies_left_behind(&self, asked: &Asked) -> Vec<HeaderValue> {
        match self.presented(asked) {
            Ok(Presented::Cookies(_)) => delivery::clear_cookies(&self.settings),
            Ok(Presented::Bearer(_)) | Err(_) => vec![],
        }
    }
}

impl Api {
    /// The cookie to take away from a device that is trusted no longer.
    pub(crate) fn device_left_behind(&self, asked: &Asked) -> Vec<HeaderValue> {
        match self.presented(asked) {
            Ok(Presented::Cookies(_)) => delivery::clear_device_cookie(&self.settings),
            Ok(Presented::Bearer(_)) | Err(_) => vec![],
        }
    }
}

/// Each session once.
fn distinct(readings: &[Reading]) -> Vec<NamedSession> {
    let mut sessions: Vec<NamedSession> = Vec::new();
    for named in readings.iter().filter_map(|reading| reading.named()) {
        if !sessions.contains(&named) {
            sessions.push(named);
        }
    }
    sessions
}
