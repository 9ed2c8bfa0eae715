//! Digest authentication (RFC 7616, RFC 8760; RFC 3261 §22): [`DigestClient`] answers 401 and 407, [`Challenger`] asks.
//!
//! MD5, SHA-256 and SHA-512-256, each also `-sess`; `qop` auth and auth-int, or none (RFC 2069). Realms, nonces and opaque
//! values are carried byte for byte between their quotes.

mod challenger;
mod client;
mod digest;
mod nonce;

use crate::pii::Secret;

pub use challenger::{Challenger, Verdict};
pub use client::DigestClient;
pub use digest::{Algorithm, Challenge};

/// A user name and its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Secret,
}
