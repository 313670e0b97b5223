//! What upstreams are trusted by and what they are shown, in the form in which pingora takes it: DER.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::certificates::{self, Unusable};
use crate::config::settings::ClientCertificate;
use crate::domain::secret::Secret;

/// The authorities of a file.
///
/// # Errors
/// What is wrong with the file, in words.
pub(super) fn authorities(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    let (text, _) = certificates::read(path)?;
    let authorities = certificates::chain(&text, path)?;
    let mut store = RootCertStore::empty();
    for authority in &authorities {
        readable(authority, path)?;
        let trusted = store.add(authority.clone());
        trusted.map_err(|error| format!("`{}` cannot vouch for anybody: {error}", path.display()))?;
    }
    Ok(authorities.iter().map(|authority| authority.to_vec()).collect())
}

/// A certificate with its chain, and its key.
pub(super) fn own(cert: &Path, key: &Path) -> Result<ClientCertificate, Unusable> {
    let certificate = certificates::pair(cert, key)?.certificate;
    let malformed = |message| Unusable { key: "cert", message, hint: "every certificate of the file must be whole" };
    for link in &certificate.certified.cert {
        readable(link, cert).map_err(malformed)?;
    }
    let changed = |_| Unusable {
        key: "key",
        message: format!("`{}` has just changed", key.display()),
        hint: "once more, please",
    };
    let key = PrivateKeyDer::from_pem_file(key).map_err(changed)?;
    let chain = certificate.certified.cert.iter().map(|link| link.to_vec()).collect();
    Ok(ClientCertificate { chain, key: Secret::new(key.secret_der().to_vec()) })
}

/// pingora reads certificates with this parser as well, and panics over what it cannot read.
fn readable(certificate: &CertificateDer<'_>, path: &Path) -> Result<(), String> {
    let parsed = x509_parser::parse_x509_certificate(certificate).map(drop);
    parsed.map_err(|error| format!("`{}` holds a certificate that cannot be read: {error}", path.display()))
}
