//! Certificates and keys in PEM files, read while the configuration is.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::domain::secret::Secret;

/// The certificates of a file, as DER, in order.
///
/// # Errors
/// What is wrong with the file, in words.
pub(super) fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    let shown = path.display();
    let text = std::fs::read(path).map_err(|error| format!("`{shown}` cannot be read: {error}"))?;
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| format!("`{shown}` is not PEM: {error}"))?;
        // pingora reads certificates with this parser too, and stops the program at what it cannot read.
        x509_parser::parse_x509_certificate(&certificate)
            .map_err(|error| format!("`{shown}` holds a certificate that cannot be read: {error}"))?;
        certificates.push(certificate.to_vec());
    }
    if certificates.is_empty() {
        return Err(format!("`{shown}` holds no certificate"));
    }
    Ok(certificates)
}

/// The authorities of a file, as DER.
///
/// # Errors
/// What is wrong with the file, in words.
pub(super) fn authorities(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    let authorities = certificates(path)?;
    let mut store = rustls::RootCertStore::empty();
    for authority in &authorities {
        store
            .add(CertificateDer::from(authority.as_slice()))
            .map_err(|error| format!("`{}` cannot vouch for anybody: {error}", path.display()))?;
    }
    Ok(authorities)
}

/// The private key of a file, as DER. It must be the one of the first certificate.
///
/// # Errors
/// What is wrong with the file, in words.
pub(super) fn private_key(path: &Path, chain: &[Vec<u8>]) -> Result<Secret<Vec<u8>>, String> {
    let shown = path.display();
    let text = std::fs::read(path).map_err(|error| format!("`{shown}` cannot be read: {error}"))?;
    let text = Secret::new(text);
    let key = PrivateKeyDer::from_pem_slice(text.expose()).map_err(|_| format!("`{shown}` holds no private key"))?;
    let der = Secret::new(key.secret_der().to_vec());
    let chain = chain.iter().map(|certificate| CertificateDer::from(certificate.clone())).collect();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    match CertifiedKey::from_der(chain, key, &provider) {
        Ok(_) => Ok(der),
        Err(rustls::Error::InconsistentKeys(_)) => Err(format!("`{shown}` is the key of another certificate")),
        Err(error) => Err(format!("`{shown}` cannot be used: {error}")),
    }
}
