//! `[forward_auth]`

use ipnet::IpNet;

use crate::config::settings::Identity;

/// `[forward_auth]`: other proxies ask nauth whether a request may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardAuth {
    /// Peers that may ask, and whose word about the client is believed.
    pub trusted: Vec<IpNet>,
    /// Where a question says which request it is about.
    pub headers: QuestionHeaders,
    /// How a browser is sent to the login page.
    pub redirect: LoginRedirect,
    /// What is told unless a route says otherwise.
    pub identity: Identity,
}

/// `forward_auth.headers`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuestionHeaders {
    /// `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri`.
    XForwarded,
    /// `X-Original-Method`, and `X-Original-URL` with scheme and host.
    XOriginal,
    /// The request's own method and Host, and its path behind that of the question.
    Envoy,
}

/// `forward_auth.redirect`, resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginRedirect {
    /// 302, for proxies that pass the answer on.
    Found,
    /// 401 with the place in `X-Nauth-Redirect`, for proxies that know 401 and 403 alone.
    Header,
}
