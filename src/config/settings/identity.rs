//! `[gateway.identity]`, and what upstreams and routes say instead.

use http::HeaderName;

use crate::config::settings::Settings;
use crate::domain::template::{Template, Told, Variable};

/// What one route's upstream is told about the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Whether unproven addresses are told to upstreams.
    pub allow_unverified: bool,
    /// What the user header carries.
    pub user: IdentityUser,
    /// The family of headers it comes in.
    pub preset: IdentityPreset,
    /// What each header says, in the order in which they are set.
    pub headers: Vec<IdentityHeader>,
}

/// `gateway.identity.user`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityUser {
    /// The stable identifier.
    Sub,
    /// The proven e-mail address.
    Email,
    /// The user name.
    Username,
}

/// `gateway.identity.preset`: a family of headers that applications read already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityPreset {
    /// `X-Forwarded-User` and its like.
    Standard,
    /// `Remote-User` and its like.
    Remote,
    /// `X-Auth-Request-User` and its like.
    AuthRequest,
    /// `X-authentik-username` and its like.
    Authentik,
    /// `X-Pomerium-Jwt-Assertion`.
    Pomerium,
    /// `X-WEBAUTH-USER` and its like.
    Grafana,
    /// `Authorization: Bearer` and the assertion.
    Bearer,
    /// Nothing.
    None,
}

/// One header that tells something about the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityHeader {
    /// Its name.
    pub name: HeaderName,
    /// What it says.
    pub says: Says,
}

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// What `identity.user` names.
    User,
    /// The stable identifier, whatever `identity.user` names.
    Sub,
    /// The proven address.
    Email,
    /// The user name.
    Username,
    /// The roles, as many as fit.
    Groups {
        /// Stands between two of them.
        separator: char,
        /// The header that says that there were more.
        truncated: HeaderName,
    },
    /// All of it, signed for the one upstream.
    Assertion,
    /// The same as a bearer token.
    Bearer,
    /// Where the keys are that verify it.
    Keys,
    /// What a template makes of what is known.
    Template(Template),
}

/// Says that something was left out because it is too long.
pub static IDENTITY_TRUNCATED: HeaderName = HeaderName::from_static("x-nauth-identity-truncated");

impl IdentityPreset {
    /// Every preset.
    pub const ALL: [Self; 8] = [
        Self::Standard,
        Self::Remote,
        Self::AuthRequest,
        Self::Authentik,
        Self::Pomerium,
        Self::Grafana,
        Self::Bearer,
        Self::None,
    ];

    /// Its headers.
    #[must_use]
    pub fn headers(self) -> Vec<IdentityHeader> {
        match self {
            Self::Standard => vec![
                says("x-forwarded-user", Says::User),
                says("x-forwarded-email", Says::Email),
                says("x-forwarded-preferred-username", Says::Username),
                says("x-forwarded-groups", groups(',', "x-forwarded-groups-truncated")),
            ],
            Self::Remote => vec![
                says("remote-user", Says::User),
                says("remote-email", Says::Email),
                says("remote-name", Says::Username),
                says("remote-groups", groups(',', "remote-groups-truncated")),
            ],
            Self::AuthRequest => vec![
                says("x-auth-request-user", Says::User),
                says("x-auth-request-email", Says::Email),
                says("x-auth-request-preferred-username", Says::Username),
                says("x-auth-request-groups", groups(',', "x-auth-request-groups-truncated")),
            ],
            Self::Authentik => vec![
                says("x-authentik-username", Says::User),
                says("x-authentik-email", Says::Email),
                says("x-authentik-name", Says::Username),
                says("x-authentik-uid", Says::Sub),
                says("x-authentik-groups", groups('|', "x-authentik-groups-truncated")),
                says("x-authentik-jwt", Says::Assertion),
                says("x-authentik-meta-jwks", Says::Keys),
            ],
            Self::Pomerium => vec![says("x-pomerium-jwt-assertion", Says::Assertion)],
            Self::Grafana => vec![
                says("x-webauth-user", Says::User),
                says("x-webauth-email", Says::Email),
                says("x-webauth-name", Says::Username),
                says("x-webauth-groups", groups(',', "x-webauth-groups-truncated")),
                says("x-jwt-assertion", Says::Assertion),
            ],
            Self::Bearer => vec![says("authorization", Says::Bearer)],
            Self::None => Vec::new(),
        }
    }
}

impl Identity {
    /// Every header it may set.
    pub fn header_names(&self) -> impl Iterator<Item = &HeaderName> {
        let may_be_cut = self.headers.iter().any(|header| matches!(header.says, Says::Template(_)));
        let names = self.headers.iter().flat_map(|header| {
            let truncated = match &header.says {
                Says::Groups { truncated, .. } => Some(truncated),
                _ => None,
            };
            std::iter::once(&header.name).chain(truncated)
        });
        names.chain(may_be_cut.then_some(&IDENTITY_TRUNCATED))
    }

    /// Whether one of its headers carries an assertion.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.headers.iter().any(|header| matches!(header.says, Says::Assertion | Says::Bearer))
    }

    /// Whether `Authorization` is nauth's, so that nothing of a client's passes.
    #[must_use]
    pub fn owns_authorization(&self) -> bool {
        self.preset == IdentityPreset::Bearer
    }

    /// What its templates ask tokens for.
    pub fn asks_for(&self) -> impl Iterator<Item = (&HeaderName, &Told)> {
        let templates = self.headers.iter().filter_map(|header| match &header.says {
            Says::Template(template) => Some((&header.name, template)),
            _ => None,
        });
        templates.flat_map(|(name, template)| {
            template.variables().filter_map(move |variable| match variable {
                Variable::Told(told) => Some((name, told)),
                _ => None,
            })
        })
    }
}

impl Settings {
    /// Whether an upstream knows users by their names, which then must stay theirs.
    #[must_use]
    pub fn tells_usernames(&self) -> bool {
        let of_routes = self.routes.iter().map(|route| route.identity.user);
        of_routes.chain([self.gateway.identity.user]).any(|user| user == IdentityUser::Username)
    }
}

fn says(name: &'static str, says: Says) -> IdentityHeader {
    IdentityHeader { name: HeaderName::from_static(name), says }
}

fn groups(separator: char, truncated: &'static str) -> Says {
    Says::Groups { separator, truncated: HeaderName::from_static(truncated) }
}
