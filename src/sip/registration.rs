//! API in the making: signatures are final, bodies follow.
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::auth::Credentials;
use super::message::{Message, Uri};
use super::session::Failure;
use super::transaction::Timing;
use super::{RegistrationId, RegistrationSeed, Transmit};

/// A binding to keep.
#[derive(Debug, Clone)]
pub struct RegistrationConfig {
    /// The registrar's URI: `sip:example.com`.
    pub registrar: Uri,
    /// The address of record.
    pub address: Uri,
    /// Where calls to it shall go: our contact.
    pub contact: Uri,
    /// Where requests are sent.
    pub destination: SocketAddr,
    /// Our address as the registrar sees it, for Via.
    pub local: SocketAddr,
    /// For 401 and 407.
    pub credentials: Option<Credentials>,
    /// The binding's life that we ask for, in whole seconds.
    pub expires: Duration,
    /// T1, T2, T4.
    pub timing: Timing,
}

/// One thing that a registration wants done or known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationOutput {
    /// Send this datagram.
    Transmit(Transmit),
    /// Something happened.
    Event(RegistrationEvent),
}

/// What happened to a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationEvent {
    /// The binding stands; it is refreshed before it expires.
    Registered {
        /// Its life.
        expires: Duration,
    },
    /// An attempt failed; the next follows by itself.
    Refused {
        /// Why.
        failure: Failure,
        /// When the next attempt follows.
        retry_in: Duration,
    },
    /// Removed by us: drop the registration.
    Unregistered,
}

/// One binding.
#[derive(Debug)]
pub struct Registration {}

#[allow(unused_variables, missing_docs)]
impl Registration {
    pub fn new(now: Instant, seed: RegistrationSeed, config: RegistrationConfig) -> Self {
        unimplemented!()
    }
    pub fn id(&self) -> RegistrationId {
        unimplemented!()
    }
    pub fn handle_message(&mut self, now: Instant, message: Message) {}
    pub fn handle_timeout(&mut self, now: Instant) {}
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    pub fn poll_output(&mut self) -> Option<RegistrationOutput> {
        None
    }
    pub fn unregister(&mut self, now: Instant) {}
}
