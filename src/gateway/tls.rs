//! TLS towards clients: which certificate is shown, what is spoken, who may connect.
//!
//! Everything is in one immutable value that a reload replaces: a handshake sees the old files or
//! the new ones, and connections that are open keep what they have. Session tickets end with it
//! too, so nobody resumes what a changed `client_ca` would no longer allow.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use crate::config::settings::{Certificate, Listener, Tls, TlsVersion};

/// HTTP/2 as clients and servers agree on it (ALPN).
pub const HTTP2: &[u8] = b"h2";

/// What a handshake needs.
#[derive(Debug, Clone)]
pub struct ServerTls {
    http1: Arc<ServerConfig>,
    http2: Arc<ServerConfig>,
}

/// Why TLS cannot be spoken as wanted.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Of the authorities for clients.
    #[error("`server.tls.client_ca` cannot be used: {0}")]
    ClientCa(#[from] rustls::server::VerifierBuilderError),
    /// Of the library.
    #[error("TLS cannot be spoken: {0}")]
    Config(#[from] rustls::Error),
}

impl ServerTls {
    /// `None` without a certificate.
    pub fn build(tls: &Tls) -> Result<Option<Self>, TlsError> {
        let Some(certificates) = Certificates::new(&tls.certs) else { return Ok(None) };
        let provider = Arc::new(default_provider());
        let versions = match tls.min_version {
            TlsVersion::V1_2 => &[&TLS13, &TLS12][..],
            TlsVersion::V1_3 => &[&TLS13][..],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions)?;
        let builder = match &tls.client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&ca.roots), provider);
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(certificates));
        config.ticketer = Ticketer::new()?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut http2 = config.clone();
        http2.alpn_protocols.insert(0, HTTP2.to_vec());
        Ok(Some(Self { http1: Arc::new(config), http2: Arc::new(http2) }))
    }

    /// What the next handshake on a listener goes by.
    #[must_use]
    pub fn config(&self, listener: Listener) -> Arc<ServerConfig> {
        Arc::clone(if listener.http2 { &self.http2 } else { &self.http1 })
    }
}

/// The certificates by the names clients ask for.
#[derive(Debug)]
struct Certificates {
    first: Arc<CertifiedKey>,
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what comes after `*.`.
    below: HashMap<String, Arc<CertifiedKey>>,
}

impl Certificates {
    fn new(certs: &[Certificate]) -> Option<Self> {
        let first = Arc::clone(&certs.first()?.certified);
        let (mut exact, mut below) = (HashMap::new(), HashMap::new());
        for certificate in certs {
            for name in &certificate.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(suffix) => (&mut below, suffix),
                    None => (&mut exact, name.as_str()),
                };
                names.insert(name.to_owned(), Arc::clone(&certificate.certified));
            }
        }
        Some(Self { first, exact, below })
    }

    /// An exact name before a pattern, and the first certificate for everybody else.
    fn find(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let name = name.map(str::to_ascii_lowercase).unwrap_or_default();
        let parent = name.split_once('.').map(|(_, parent)| parent);
        let below = || parent.and_then(|parent| self.below.get(parent));
        self.exact.get(&name).or_else(below).unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.find(hello.server_name())))
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs::sign::any_supported_type;
    use rustls::pki_types::PrivateKeyDer;

    use super::*;
    use crate::config::settings::ReadFile;
    use crate::domain::clock::Time;

    fn certificate(names: &[&str]) -> Certificate {
        let made = rcgen::generate_simple_self_signed(vec!["x.example".to_owned()]).unwrap();
        let key = any_supported_type(&PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap()).unwrap();
        let file = ReadFile { path: "x.pem".into(), digest: [0; 32] };
        Certificate {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            certified: Arc::new(CertifiedKey::new(vec![made.cert.der().clone()], key)),
            not_after: Time::from_secs(0),
            files: [file.clone(), file],
        }
    }

    #[test]
    fn a_name_gets_its_certificate_and_everybody_else_the_first() {
        let certs =
            [certificate(&["app.example.com"]), certificate(&["*.example.com"]), certificate(&["b.example.com"])];
        let certificates = Certificates::new(&certs).unwrap();
        let cases = [
            (Some("app.example.com"), 0),
            (Some("APP.example.com"), 0),
            (Some("a.example.com"), 1),
            (Some("b.example.com"), 2),
            (Some("a.b.example.com"), 0),
            (Some("example.com"), 0),
            (Some("other.example"), 0),
            (None, 0),
        ];
        for (name, expected) in cases {
            let found = certificates.find(name);
            assert!(Arc::ptr_eq(found, &certs[expected].certified), "{name:?}");
        }
    }

    #[test]
    fn without_a_certificate_there_is_no_tls() {
        assert!(ServerTls::build(&Tls::default()).unwrap().is_none());
        let tls = Tls { certs: vec![certificate(&[])], min_version: TlsVersion::V1_3, ..Tls::default() };
        assert!(ServerTls::build(&tls).unwrap().is_some());
    }
}
