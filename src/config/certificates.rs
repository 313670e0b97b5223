//! Certificates, keys and authorities, from the files that hold them.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::config::load::digest;
use crate::config::settings::{Certificate, ClientCa, ReadFile};
use crate::domain::clock::Time;

/// What is wrong with a pair of files.
#[derive(Debug)]
pub(super) struct Unusable {
    /// Of which key.
    pub(super) key: &'static str,
    pub(super) message: String,
    pub(super) hint: &'static str,
}

/// A pair, and what its certificate says of itself.
#[derive(Debug)]
pub(super) struct Pair {
    /// Its names are those of the certificate.
    pub(super) certificate: Certificate,
    /// Since when it is good.
    pub(super) not_before: Time,
}

/// Reads a chain and its key.
pub(super) fn pair(cert: &Path, key: &Path) -> Result<Pair, Unusable> {
    let at = |key, hint| move |message| Unusable { key, message, hint };
    let (text, cert_file) = read(cert).map_err(at("cert", "name a PEM file with the certificate and its chain"))?;
    let chain = chain(&text, cert).map_err(at("cert", "name a PEM file with the certificate and its chain"))?;
    let (text, key_file) = read(key).map_err(at("key", "name a PEM file with the private key"))?;
    let secret = PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| format!("`{}` holds no private key", key.display()))
        .and_then(|der| {
            any_supported_type(&der).map_err(|_| format!("the private key of `{}` cannot be used", key.display()))
        })
        .map_err(at("key", "a PEM file with an RSA (2048 bits or more), ECDSA or Ed25519 key"))?;
    let facts = facts(&chain[0])
        .ok_or_else(|| format!("the certificate of `{}` is malformed", cert.display()))
        .map_err(at("cert", "the first certificate of the file is nauth's own"))?;
    let certified = CertifiedKey::new(chain, secret);
    if certified.keys_match().is_err() {
        let message = format!("`{}` is not the key of the certificate `{}`", key.display(), cert.display());
        return Err(at("key", "the first certificate of `cert` and `key` belong together")(message));
    }
    let certificate = Certificate {
        names: facts.names,
        certified: Arc::new(certified),
        not_after: facts.not_after,
        files: [cert_file, key_file],
    };
    Ok(Pair { certificate, not_before: facts.not_before })
}

/// Reads authorities.
pub(super) fn authorities(path: &Path) -> Result<ClientCa, String> {
    let (text, file) = read(path)?;
    let mut roots = RootCertStore::empty();
    for certificate in chain(&text, path)? {
        roots.add(certificate).map_err(|error| format!("`{}` holds no authority: {error}", path.display()))?;
    }
    Ok(ClientCa { roots: Arc::new(roots), file })
}

/// Whether a name, or a pattern with `*.`, is one that a certificate for these names is good for.
pub(super) fn covers(names: &[String], wanted: &str) -> bool {
    let parent = wanted.split_once('.').map(|(_, parent)| parent);
    names.iter().any(|name| {
        name == wanted || name.strip_prefix("*.").is_some_and(|suffix| !suffix.is_empty() && parent == Some(suffix))
    })
}

struct Facts {
    names: Vec<String>,
    not_before: Time,
    not_after: Time,
}

fn facts(certificate: &CertificateDer<'_>) -> Option<Facts> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let alternatives = parsed.subject_alternative_name().ok()?;
    let general = alternatives.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let names = general.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    let validity = parsed.validity();
    Some(Facts {
        names: names.collect(),
        not_before: Time::from_secs(validity.not_before.timestamp()),
        not_after: Time::from_secs(validity.not_after.timestamp()),
    })
}

/// At least one certificate.
pub(super) fn chain(text: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let chain = chain.map_err(|error| format!("`{}` is not PEM: {error}", path.display()))?;
    if chain.is_empty() { Err(format!("`{}` holds no certificate", path.display())) } else { Ok(chain) }
}

/// A file, and what it was like.
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, ReadFile), String> {
    let text = std::fs::read(path).map_err(|error| format!("`{}` cannot be read: {error}", path.display()))?;
    let file = ReadFile { path: path.to_owned(), digest: digest(&text) };
    Ok((text, file))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    struct Files {
        dir: tempfile::TempDir,
    }

    impl Files {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap() }
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        }
    }

    fn made(names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_pair_knows_its_names_and_its_end() {
        let files = Files::new();
        let (cert, key) = made(&["App.example.com", "*.example.org", "127.0.0.1"]);
        let read = pair(&files.write("c.pem", &cert), &files.write("k.pem", &key)).unwrap();

        assert_eq!(read.certificate.names, ["app.example.com", "*.example.org"]);
        assert!(read.not_before < read.certificate.not_after);
        assert!(!format!("{read:?}").contains("PRIVATE"), "{read:?}");
    }

    #[test]
    fn what_is_wrong_with_a_pair_is_said_of_the_right_file() {
        let files = Files::new();
        let (cert, key) = made(&["a.example"]);
        let (_, other) = made(&["b.example"]);
        let (good_cert, good_key) = (files.write("c.pem", &cert), files.write("k.pem", &key));
        let broken = cert.replace('M', "N");
        let cases = [
            (files.dir.path().join("gone.pem"), good_key.clone(), "cert", "cannot be read"),
            (files.write("empty.pem", ""), good_key.clone(), "cert", "holds no certificate"),
            (files.write("broken.pem", &broken), good_key.clone(), "cert", "is malformed"),
            (good_cert.clone(), good_cert.clone(), "key", "holds no private key"),
            (good_cert.clone(), files.write("other.pem", &other), "key", "is not the key of"),
        ];
        for (cert, key, of, expected) in cases {
            let unusable = pair(&cert, &key).unwrap_err();
            assert_eq!(unusable.key, of, "{unusable:?}");
            assert!(unusable.message.contains(expected), "{unusable:?}");
        }
    }

    #[test]
    fn a_pattern_stands_for_one_label() {
        let names = ["app.example.com".to_owned(), "*.example.org".to_owned()];
        for (name, covered) in [
            ("app.example.com", true),
            ("a.example.org", true),
            ("*.example.org", true),
            ("a.b.example.org", false),
            ("example.org", false),
            ("*.example.com", false),
        ] {
            assert_eq!(covers(&names, name), covered, "{name}");
        }
    }
}
