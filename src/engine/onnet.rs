//! Calls to the telephones of the house: a number of phones.toml is not sent over a trunk, but to where its telephone has
//! registered.

use std::net::SocketAddr;
use std::time::Instant;

use super::Engine;
use super::signalling::{self, TlsPeer};
use super::trunks::Line;
use crate::route::Number;
use crate::sdp::{Codec, MediaPolicy};
use crate::sip::Hop;
use crate::sip::identity::Identity;
use crate::sip::message::{Address, Uri, UriError};
use crate::sip::session::OutgoingInvite;
use crate::sip::transaction::Timing;

/// Who we are for a telephone of the house.
const OURS: &str = "callahead";

/// Where an attempt goes.
pub(super) enum Peer {
    /// Over a trunk.
    Trunk(Line),
    /// To a telephone of the house.
    Telephone(Device),
    /// To one that has not registered, of this name.
    Absent(String),
}

/// The device of a telephone that was heard of last.
pub(super) struct Device {
    contact: Uri,
    hop: Hop,
    path: Vec<String>,
}

impl Peer {
    /// Where the telephone `name` is now.
    pub fn telephone(engine: &Engine, name: &str) -> Self {
        let found = engine.phones.device(name, Instant::now());
        found.map_or_else(|| Self::Absent(name.to_owned()), Self::Telephone)
    }

    /// What is tried first; `None`: nobody is there.
    pub fn hop(&self) -> Option<Hop> {
        match self {
            Self::Trunk(line) => line.hop(),
            Self::Telephone(device) => Some(device.hop),
            Self::Absent(_) => None,
        }
    }

    /// How the certificates of its addresses are checked. A telephone has connected to us, and is told by its password.
    pub fn tls_peers(&self) -> impl Iterator<Item = (SocketAddr, TlsPeer)> {
        let line = if let Self::Trunk(line) = self { Some(line) } else { None };
        line.into_iter().flat_map(Line::tls_peers)
    }

    /// What is offered there.
    pub fn media(&self) -> MediaPolicy {
        match self {
            Self::Trunk(line) => line.media(),
            _ => MediaPolicy { codecs: vec![Codec::Pcmu, Codec::Pcma], telephone_event: true, ptime_ms: 20 },
        }
    }

    /// Where our audio is expected, as the other side is told it.
    pub fn media_address(&self, local: SocketAddr) -> SocketAddr {
        match self {
            Self::Trunk(line) => line.media_address(local),
            _ => local,
        }
    }

    /// The INVITE for `number`, offering `sdp_offer`, from our address `local`; `None`: nobody is there.
    ///
    /// # Errors
    /// The trunk's user or domain makes no URI.
    pub fn invite(&self, number: &Number, local: SocketAddr, sdp_offer: Vec<u8>) -> Option<Result<OutgoingInvite, UriError>> {
        match self {
            Self::Trunk(line) => Some(line.invite(number, local, sdp_offer)),
            Self::Telephone(device) => Some(device.invite(number, local, sdp_offer)),
            Self::Absent(_) => None,
        }
    }
}

impl Device {
    /// At `contact`, reached through `hop` and the proxies of `path` (RFC 3327), nearest to us first.
    pub fn new(contact: Uri, hop: Hop, path: Vec<String>) -> Self {
        Self { contact, hop, path }
    }

    /// The Request-URI is the registered contact (RFC 3261 §16.5), To keeps the number.
    fn invite(&self, number: &Number, local: SocketAddr, sdp_offer: Vec<u8>) -> Result<OutgoingInvite, UriError> {
        Ok(OutgoingInvite {
            target: self.contact.clone(),
            from: Address::new(Uri::parse(&format!("sip:{OURS}@{local}"))?).with_display("Callahead"),
            to: Address::new(Uri::parse(&format!("sip:{}@{local}", number.e164()))?),
            contact: signalling::contact(OURS, local, self.hop.transport)?,
            hops: vec![self.hop],
            routes: self.path.clone(),
            identity: Identity::default(),
            local,
            credentials: None,
            sdp_offer,
            extra_headers: Vec::new(),
            timing: Timing::default(),
        })
    }
}
