//! TLS: our certificate for those who connect to us, and whom we trust when we connect to a trunk.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore, ServerConfig};

use crate::config::pem::{self, PemError};

/// The most addresses whose check is remembered; a trunk's names may lead to ever new ones.
const MAX_PEERS: usize = 4096;

/// How a trunk's certificate is checked, and what ours is. Two that are equal check alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPeer {
    /// The name that its certificate must carry: a host name or an IP address. Sent as SNI when it is a name.
    pub server_name: String,
    /// A PEM file with the authorities that may have signed its certificate, instead of the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate with its chain, and its key: PEM files, for a trunk that wants to see one.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Why a TLS peer or server cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The system's authorities cannot be read, or a certificate is none that can be used.
    #[error("{0}")]
    Other(String),
}

/// Our certificate, replaceable while connections stand.
#[derive(Debug)]
pub(super) struct Server(RwLock<Option<Arc<ServerConfig>>>);

impl Server {
    pub(super) fn new(config: Option<Arc<ServerConfig>>) -> Self {
        Self(RwLock::new(config))
    }

    pub(super) fn get(&self) -> Option<Arc<ServerConfig>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, config: Arc<ServerConfig>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(config);
    }
}

/// A server's settings with the certificate and key of these PEM files.
///
/// # Errors
/// A file cannot be read, holds no such thing, or the two do not belong together.
pub fn server_config(
    certificate: &std::path::Path,
    key: &std::path::Path,
) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, key) = pem::identity(certificate, key)?;
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(other)?;
    Ok(Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).map_err(other)?))
}

/// The trunks that are reached over TLS, by address.
#[derive(Debug, Default)]
pub(super) struct Peers(RwLock<HashMap<SocketAddr, (TlsPeer, Arc<ClientConfig>)>>);

impl Peers {
    /// Teaches these, from their files as they are now; returns the addresses whose check is another one than before, and
    /// what is wrong with those that cannot be reached. Addresses that a trunk had before are still checked as its were.
    pub(super) fn set(
        &self,
        wanted: HashMap<SocketAddr, TlsPeer>,
    ) -> (Vec<SocketAddr>, Vec<(TlsPeer, TlsError)>) {
        let (mut changed, mut wrong) = (Vec::new(), Vec::new());
        for (address, peer) in wanted {
            match client_config(&peer) {
                Ok(config) => changed.extend(self.put(address, peer, config).then_some(address)),
                Err(error) => wrong.push((peer, error)),
            }
        }
        (changed, wrong)
    }

    /// Whether `address` is checked like this already.
    pub(super) fn knows(&self, address: SocketAddr, peer: &TlsPeer) -> bool {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&address)
            .is_some_and(|(known, _)| known == peer)
    }

    /// True: it was checked otherwise before.
    fn put(&self, address: SocketAddr, peer: TlsPeer, config: Arc<ClientConfig>) -> bool {
        let mut peers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= MAX_PEERS && !peers.contains_key(&address) {
            peers.clear();
        }
        let before = peers.insert(address, (peer.clone(), config));
        before.is_some_and(|(before, _)| before != peer)
    }

    /// How to check `address`: as its trunk says, as a trunk at the same host says, or by the system's authorities.
    pub(super) fn find(
        &self,
        address: SocketAddr,
    ) -> Result<(ServerName<'static>, Arc<ClientConfig>), TlsError> {
        let found = {
            let peers = self.0.read().unwrap_or_else(PoisonError::into_inner);
            let near = || peers.iter().find(|(known, _)| known.ip() == address.ip()).map(|(_, found)| found);
            peers.get(&address).or_else(near).cloned()
        };
        let (peer, config) = match found {
            Some(found) => found,
            None => {
                let peer = TlsPeer { server_name: address.ip().to_string(), ca: None, client: None };
                let config = client_config(&peer)?;
                (peer, config)
            }
        };
        let name = ServerName::try_from(peer.server_name.clone());
        let name = name.map_err(|_| TlsError::Other(format!("`{}` is no host name", peer.server_name)))?;
        Ok((name, config))
    }
}

fn client_config(peer: &TlsPeer) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match &peer.ca {
        None => platform_verifier()?,
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in pem::certificates(file)? {
                roots.add(certificate).map_err(other)?;
            }
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .map_err(other)?
        }
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(other)?
        // "Dangerous" is what rustls calls any verifier that is made by hand; both are webpki's own.
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match &peer.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let (chain, key) = pem::identity(certificate, key)?;
            builder.with_client_auth_cert(chain, key).map_err(other)?
        }
    };
    Ok(Arc::new(config))
}

/// The system's authorities, read once: there are hundreds of them.
fn platform_verifier() -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    static VERIFIER: OnceLock<Arc<rustls_platform_verifier::Verifier>> = OnceLock::new();
    if let Some(verifier) = VERIFIER.get() {
        return Ok(verifier.clone());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls_platform_verifier::Verifier::new(provider).map_err(|error| {
        TlsError::Other(format!(
            "the system's certificate authorities cannot be read ({error}): install ca-certificates, or name the \
             trunk's with `tls = {{ ca = \"file.pem\" }}`"
        ))
    })?;
    Ok(VERIFIER.get_or_init(|| Arc::new(verifier)).clone())
}

fn other(error: impl std::fmt::Display) -> TlsError {
    TlsError::Other(error.to_string())
}

/// What went wrong on a connection, in an admin's words where it was TLS.
pub(super) fn describe(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(tls) = tls else { return error.to_string() };
    let remedy = match tls {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            // The second: an authority of the same name with another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is signed by nobody that we trust; name the authority with `tls = { ca = \"file.pem\" }`"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name; if that is right, write it as `tls = { server_name = \"...\" }`"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet; is this machine's clock right?"
            }
            _ => "its certificate is not accepted",
        },
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "it wants to see our certificate; add `tls = { certificate = \"file.pem\", key = \"file.pem\" }`"
        }
        rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied,
        ) => "it does not accept our certificate",
        rustls::Error::InvalidMessage(_) => "it does not speak TLS on this port",
        _ => "the TLS handshake failed",
    };
    format!("{remedy} ({tls})")
}
