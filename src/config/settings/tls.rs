//! `[server.tls]`: certificates and what is asked of clients.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::sign::CertifiedKey;

use crate::domain::clock::Time;

/// `[server.tls]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// The first one is shown to clients that ask for no name, or for an unknown one.
    pub certs: Vec<Certificate>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// How long browsers remember to come by https; zero is not at all.
    pub hsts: Duration,
    /// Who has to have signed the certificate of a client; `None` asks for none.
    pub client_ca: Option<ClientCa>,
}

impl Tls {
    /// When the certificate of each name expires. One without names is `default`.
    pub fn expiries(&self) -> impl Iterator<Item = (&str, Time)> {
        self.certs.iter().flat_map(|certificate| {
            let unnamed = certificate.names.is_empty().then_some("default");
            let names = certificate.names.iter().map(String::as_str).chain(unnamed);
            names.map(|name| (name, certificate.not_after))
        })
    }
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    /// RFC 5246
    #[default]
    V1_2,
    /// RFC 8446
    V1_3,
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Certificate {
    /// The names clients ask for it by, in lower case; `*.` stands for one label.
    pub names: Vec<String>,
    /// The chain and the key, which belong together.
    pub certified: Arc<CertifiedKey>,
    /// When it expires.
    pub not_after: Time,
    /// Where chain and key were read.
    pub files: [ReadFile; 2],
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.names == other.names && self.files == other.files
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("names", &self.names).field("files", &self.files).finish_non_exhaustive()
    }
}

/// Authorities for the certificates of clients.
#[derive(Clone)]
pub struct ClientCa {
    /// The authorities.
    pub roots: Arc<RootCertStore>,
    /// Where they were read.
    pub file: ReadFile,
}

impl PartialEq for ClientCa {
    fn eq(&self, other: &Self) -> bool {
        self.file == other.file
    }
}

impl Eq for ClientCa {}

impl fmt::Debug for ClientCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCa").field("file", &self.file).finish_non_exhaustive()
    }
}

/// A file as it was when it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct ReadFile {
    /// Where it is.
    pub path: PathBuf,
    /// SHA-256 of what it said.
    pub digest: [u8; 32],
}

impl fmt::Debug for ReadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}
