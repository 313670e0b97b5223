//! `[server.tls]`

use crate::config::certificates::{self, covers};
use crate::config::reader::Section;
use crate::config::settings::{Certificate, Listener, Tls, TlsVersion};
use crate::domain::clock::Clock;

pub(super) fn tls(server: &mut Section<'_>, listeners: &[Listener]) -> Tls {
    let mut s = server.section("tls");
    let certs = certs(&mut s);
    let doc = "The oldest version of TLS that is spoken.";
    let versions = [("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];
    let min_version = s.choice("min_version", "1.2", &versions, doc);
    let doc = "How long browsers remember to come by https only (`Strict-Transport-Security`, on answers over TLS that \
               do not bring their own). \"0s\" is off. Never sent while `public_url` is loopback.";
    let hsts = s.duration("hsts", "365d", doc);
    let doc = "Authorities, as a PEM file. With them, only clients with a certificate of theirs can connect to the \
               listeners that speak TLS.";
    let client_ca = s.path("client_ca", doc).and_then(|path| match certificates::authorities(&path) {
        Ok(authorities) => Some(authorities),
        Err(message) => {
            s.error("client_ca", message, "name a PEM file with the certificates of your own authority");
            None
        }
    });
    match (listeners.iter().any(|listener| listener.tls), s.has("certs")) {
        (true, false) => {
            let message = "a listener speaks TLS, and there is no certificate";
            server.error("listeners", message, "write certs = [{ cert = \"…\", key = \"…\" }] in `[server.tls]`");
        }
        (false, true) => {
            s.warning("certs", "no listener speaks TLS", "set `tls = true` in one of `[[server.listeners]]`");
        }
        _ => {}
    }
    s.finish();
    Tls { certs, min_version, hsts, client_ca }
}

fn certs(tls: &mut Section<'_>) -> Vec<Certificate> {
    let sections = tls.sections("certs");
    if sections.is_empty() {
        certificate(tls.absent("certs"));
    }
    let mut certs: Vec<Certificate> = Vec::with_capacity(sections.len());
    for section in sections {
        let at = section.at();
        let Some(certificate) = certificate(section) else { continue };
        for name in &certificate.names {
            if certs.iter().any(|other| other.names.contains(name)) {
                let message = format!("`{name}` has another certificate already");
                tls.report_at(at.clone(), message, "a name has one certificate; choose by `sni`");
            }
        }
        if certificate.names.is_empty() && !certs.is_empty() {
            let message = "the certificate names no host, so nobody would get it";
            tls.report_at(at, message, "name its hosts in `sni`");
        }
        certs.push(certificate);
    }
    certs
}

fn certificate(mut s: Section<'_>) -> Option<Certificate> {
    let doc = "The certificate with its chain, as a PEM file. The file is watched: a new one is shown to new \
               connections, and open ones live on.";
    let cert = s.path("cert", doc);
    let key = s.path("key", "The private key, as a PEM file.");
    let doc = "The names clients ask for it by; `*.` stands for one label. Empty means those in the certificate. Who \
               asks for none of all names gets the first certificate.";
    let sni = s.list("sni", "[]", doc, server_name).unwrap_or_default();
    let (Some(cert), Some(key)) = (&cert, &key) else {
        if s.at().is_some() {
            let missing = if cert.is_none() { "cert" } else { "key" };
            let message = format!("a certificate needs `cert` and `key`; `{missing}` is missing");
            s.report_at(s.at(), message, "write { cert = \"tls.crt\", key = \"tls.key\" }");
        }
        s.finish();
        return None;
    };
    let pair = certificates::pair(cert, key);
    let pair = pair.map_err(|unusable| s.error(unusable.key, unusable.message, unusable.hint));
    let certificate = pair.ok().map(|pair| {
        let (not_before, certificate) = (pair.not_before, pair.certificate);
        let now = Clock::system().now();
        if certificate.not_after < now {
            let message = format!("the certificate expired at {}", certificate.not_after);
            s.warning("cert", message, "renew it; clients refuse this one");
        } else if not_before > now {
            s.warning("cert", format!("the certificate is good from {not_before} on"), "clients refuse it until then");
        }
        for name in sni.iter().filter(|name| !covers(&certificate.names, name)) {
            let message = format!("the certificate is not for `{name}`");
            s.warning("sni", message, format!("it is for {}", certificate.names.join(", ")));
        }
        let names = if sni.is_empty() { certificate.names.clone() } else { sni };
        Certificate { names, ..certificate }
    });
    s.finish();
    certificate
}

fn server_name(text: &str) -> Result<String, String> {
    let name = text.to_ascii_lowercase();
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let bare = name.strip_prefix("*.").unwrap_or(&name);
    if bare.split('.').all(is_label) && bare.parse::<std::net::IpAddr>().is_err() {
        return Ok(name);
    }
    Err(format!("`{text}` is no name such as app.example.com or *.example.com"))
}
