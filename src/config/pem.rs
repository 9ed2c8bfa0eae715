//! PEM files: certificates and keys for TLS, read and checked against each other.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// What is wrong with a file of certificates or a key.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// It cannot be read.
    #[error("{}: {source}; is the path right, and may this user read it?", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It holds no such thing.
    #[error("{}: no {what} in it; it must be PEM, with a line `-----BEGIN {what}-----`", .path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// It is PEM, and what it holds cannot be used.
    #[error("{}: {why}", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
}

impl PemError {
    /// The file that it is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Read { path, .. } | Self::Nothing { path, .. } | Self::Unusable { path, .. } => path,
        }
    }
}

/// The certificates in a file, in order.
///
/// # Errors
/// It cannot be read, or holds none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let nothing = || PemError::Nothing { path: path.to_owned(), what: "CERTIFICATE" };
    let text = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let all = all.map_err(|_| nothing())?;
    if all.is_empty() { Err(nothing()) } else { Ok(all) }
}

/// A certificate with its chain, and its key.
///
/// # Errors
/// A file cannot be read or holds no such thing, or the key is not the certificate's.
pub fn identity(
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), PemError> {
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| match error {
        pem::Error::NoItemsFound => PemError::Nothing { path: key.to_owned(), what: "PRIVATE KEY" },
        error => PemError::Unusable { path: key.to_owned(), why: format!("the key cannot be read: {error}") },
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    match CertifiedKey::from_der(chain.clone(), private.clone_key(), &provider) {
        Ok(_) => Ok((chain, private)),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let why = format!("this key is not that of the certificate in {}", certificate.display());
            Err(PemError::Unusable { path: key.to_owned(), why })
        }
        Err(error) => Err(PemError::Unusable { path: certificate.to_owned(), why: error.to_string() }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PemError> {
    std::fs::read(path).map_err(|source| PemError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_checked_and_errors_name_them() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let one = rcgen::generate_simple_self_signed(["one.example".to_owned()]).unwrap();
        let two = rcgen::generate_simple_self_signed(["two.example".to_owned()]).unwrap();
        let certificate = write("one.pem", &one.cert.pem());
        let key = write("one.key", &one.signing_key.serialize_pem());
        let foreign = write("two.key", &two.signing_key.serialize_pem());
        assert_eq!(identity(&certificate, &key).unwrap().0.len(), 1);
        let table = [
            (identity(&certificate, &foreign), "two.key: this key is not that of the certificate in"),
            (identity(&key, &key), "one.key: no CERTIFICATE in it"),
            (identity(&certificate, &certificate), "one.pem: no PRIVATE KEY in it"),
            (identity(&folder.path().join("none.pem"), &key), "none.pem: No such file"),
        ];
        for (outcome, expected) in table {
            let error = outcome.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
