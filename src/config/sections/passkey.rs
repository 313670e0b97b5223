//! `[mfa.passkey]`

use std::net::IpAddr;
use std::time::Duration;

use url::{Host, Url};

use crate::config::reader::Section;
use crate::config::sections::server::origin;
use crate::config::settings::{Attachment, Passkey, PublicUrl, UserVerification, is_loopback_host};
use crate::domain::factor::Method;

/// What browsers take for the time a user may think.
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_mins(10);

/// Reads the section; `methods` is what may be set up, if anything. `None` where `public_url` allows no
/// RP ID: browsers know no passkeys there.
pub(super) fn passkey(
    parent: &mut Section<'_>,
    public_url: &PublicUrl,
    issuer: &str,
    methods: Option<&Vec<Method>>,
) -> Option<Passkey> {
    let mut s = parent.section("passkey");
    let doc = "What authenticators show the site under; empty means `mfa.issuer`.";
    let rp_name = s.optional("rp_name", doc).unwrap_or_else(|| issuer.to_owned());
    let doc = "The domain passkeys are bound to; empty means the host of `server.public_url`. It may be a domain above \
               it, so that passkeys are good for its other hosts, too. Changing it voids every passkey.";
    let rp_id = s.optional("rp_id", doc).unwrap_or_else(|| public_url.host.clone()).to_ascii_lowercase();
    let doc = "Whose pages may use passkeys; empty means `server.public_url`. Each is https (http for localhost), and \
               its host is `rp_id` or below it.";
    let written = s.list("origins", "[]", doc, |text| web_origin(text, &rp_id)).unwrap_or_default();
    let doc = "How long a browser waits for its user. From 10s to 10m.";
    let timeout = s.lasting("timeout", "60s", doc);
    if !TIMEOUTS.contains(&timeout) {
        s.error("timeout", "`timeout` must be from 10s to 10m", "browsers take no other");
    }
    let passkey = Passkey {
        rp_name,
        rp_id,
        origins: written,
        timeout,
        user_verification: user_verification(&mut s),
        attachment: attachment(&mut s),
        passwordless: passwordless(&mut s, methods),
    };
    let passkey = checked(&s, passkey, public_url, methods);
    s.finish();
    passkey
}

fn user_verification(s: &mut Section<'_>) -> UserVerification {
    let kinds = [
        ("required", UserVerification::Required),
        ("preferred", UserVerification::Preferred),
        ("discouraged", UserVerification::Discouraged),
    ];
    let doc = "Whether the authenticator has to make sure who holds it, by a PIN, a finger or a face: always \
               (required); where it can, and then always (preferred); not (discouraged). Logging in with nothing but \
               a passkey requires it whatever is set here.";
    s.choice("user_verification", "preferred", &kinds, doc)
}

fn attachment(s: &mut Section<'_>) -> Attachment {
    let kinds =
        [("any", Attachment::Any), ("platform", Attachment::Platform), ("cross-platform", Attachment::CrossPlatform)];
    let doc = "Which authenticators browsers offer for a new passkey: all of them, what is built into the device, or \
               what is carried from one to the next.";
    s.choice("attachment", "any", &kinds, doc)
}

fn passwordless(s: &mut Section<'_>, methods: Option<&Vec<Method>>) -> bool {
    let doc = "Whether a passkey is enough to log in, without password and identifier: a \
               button of the login page; `POST /passkey/options` and `POST /passkey/login`. It counts as two factors.";
    let passwordless = s.boolean("passwordless", false, doc);
    if passwordless && !methods.is_some_and(|methods| methods.contains(&Method::Passkey)) {
        let hint = "add \"passkey\" to `mfa.methods` and leave `mfa.enabled` on";
        s.error("passwordless", "nobody may set a passkey up to log in with", hint);
    }
    passwordless
}

/// Fills the origins in and holds `rp_id` against them.
fn checked(
    s: &Section<'_>,
    mut passkey: Passkey,
    public_url: &PublicUrl,
    methods: Option<&Vec<Method>>,
) -> Option<Passkey> {
    if let Some(reason) = forbids_passkeys(public_url) {
        if methods.is_some_and(|methods| methods.contains(&Method::Passkey)) {
            let message = format!("passkeys are left out: {reason}");
            s.warning(
                "rp_id",
                message,
                "give `server.public_url` a domain and https, or take `passkey` out of `mfa.methods`",
            );
        }
        return None;
    }
    if passkey.origins.is_empty() {
        let own = Url::parse(&public_url.origin).ok()?;
        if !is_within(&own, &passkey.rp_id) {
            let message =
                format!("`{}` is neither the host of `server.public_url` nor a domain above it", passkey.rp_id);
            s.error(
                "rp_id",
                message,
                "browsers would refuse every passkey; name the origins of other pages in `origins`",
            );
        }
        passkey.origins.push(own);
    }
    Some(passkey)
}

/// Why browsers know no passkeys at this address.
fn forbids_passkeys(public_url: &PublicUrl) -> Option<&'static str> {
    let bare = public_url.host.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() {
        return Some("the host of `server.public_url` is an address, and a passkey is bound to a name");
    }
    let is_safe = public_url.is_https() || is_loopback_host(&public_url.host);
    (!is_safe).then_some("`server.public_url` is not https")
}

fn web_origin(text: &str, rp_id: &str) -> Result<Url, String> {
    let url = Url::parse(&origin(text)?).map_err(|_| format!("`{text}` is not an origin"))?;
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && url.host_str().is_some_and(is_loopback_host));
    if !is_safe {
        return Err(format!("`{text}` is not https: browsers know no passkeys there"));
    }
    if !is_within(&url, rp_id) {
        return Err(format!("the host of `{text}` is neither `{rp_id}` (`mfa.passkey.rp_id`) nor below it"));
    }
    Ok(url)
}

/// Whether pages of this origin may use passkeys bound to `rp_id`.
fn is_within(origin: &Url, rp_id: &str) -> bool {
    let Some(Host::Domain(host)) = origin.host() else { return false };
    host == rp_id || (rp_id.contains('.') && host.strip_suffix(rp_id).is_some_and(|left| left.ends_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rp_id_is_the_host_or_a_domain_above_it() {
        let cases = [
            ("https://app.example.com", "app.example.com", true),
            ("https://app.example.com:8443", "example.com", true),
            ("https://app.example.com", "com", false),
            ("https://app.example.com", "xample.com", false),
            ("https://app.example.com", "other.example.com", false),
            ("https://example.com", "app.example.com", false),
            ("https://example.com", "", false),
            ("http://localhost:8080", "localhost", true),
            ("https://192.0.2.7", "192.0.2.7", false),
            ("https://192.0.2.7", "2.7", false),
        ];
        for (origin, rp_id, expected) in cases {
            assert_eq!(is_within(&Url::parse(origin).unwrap(), rp_id), expected, "{origin} {rp_id}");
        }
    }
}
