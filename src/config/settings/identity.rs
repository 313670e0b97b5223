//! `[gateway.identity]`

/// `[gateway.identity]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Whether unproven addresses are told to upstreams.
    pub allow_unverified: bool,
    /// What the user header carries.
    pub user: IdentityUser,
    /// Which headers are sent.
    pub preset: IdentityPreset,
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

/// `gateway.identity.preset`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityPreset {
    /// `X-Forwarded-User`, `-Email`, `-Preferred-Username`, `-Groups`.
    Standard,
    /// Nothing.
    None,
}
