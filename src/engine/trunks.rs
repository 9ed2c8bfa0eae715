//! Where a trunk is, and the INVITE that it gets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::signalling::{self, TlsPeer};
use crate::config::{self, Trunk};
use crate::route::Number;
use crate::sdp::MediaPolicy;
use crate::sip::{Hop, Transport};
use crate::sip::auth::Credentials;
use crate::sip::identity::{Identity, Privacy, PrivacyValue};
use crate::sip::message::{Address, Uri, UriError};
use crate::sip::registration::RegistrationConfig;
use crate::sip::session::OutgoingInvite;
use crate::sip::transaction::Timing;

/// How long a name may take to resolve.
const RESOLVE: Duration = Duration::from_secs(5);

/// A trunk and the address that its host has now.
#[derive(Debug, Clone)]
pub struct Line {
    /// The trunk as configured.
    pub trunk: Arc<Trunk>,
    /// Where its SIP messages go, in order of preference; not empty.
    pub hops: Vec<Hop>,
}

impl Line {
    /// Resolves the trunk's host.
    ///
    /// # Errors
    /// The host has no address, or the name server does not answer.
    pub async fn resolve(trunk: Arc<Trunk>) -> io::Result<Self> {
        let transport = match trunk.transport {
            config::Transport::Udp => Transport::Udp,
            config::Transport::Tcp => Transport::Tcp,
            config::Transport::Tls => Transport::Tls,
        };
        let port = trunk.port.unwrap_or_else(|| transport.default_port());
        let lookup = tokio::net::lookup_host((trunk.host.as_str(), port));
        let found = tokio::time::timeout(RESOLVE, lookup).await.map_err(|_| io::ErrorKind::TimedOut)?;
        let hops: Vec<Hop> = found?.map(|address| Hop::new(transport, address)).collect();
        if hops.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(Self { trunk, hops }) }
    }

    /// What is tried first.
    pub fn hop(&self) -> Option<Hop> {
        self.hops.first().copied()
    }

    /// How the certificates of its addresses are checked; empty unless it is reached over TLS.
    pub fn tls_peers(&self) -> impl Iterator<Item = (SocketAddr, TlsPeer)> {
        let config::Tls { ca, client, server_name } = self.trunk.tls.clone();
        let server_name = server_name.unwrap_or_else(|| self.trunk.host.clone());
        let peer = TlsPeer { server_name, ca, client };
        let secure = self.hops.iter().filter(|hop| hop.transport == Transport::Tls);
        secure.map(move |hop| (hop.address, peer.clone()))
    }

    /// What is offered on this trunk, in every INVITE and re-INVITE alike.
    pub fn media(&self) -> MediaPolicy {
        MediaPolicy { codecs: self.trunk.codecs.clone(), telephone_event: true, ptime_ms: 20 }
    }

    /// The INVITE for `number`, offering `sdp_offer`, from our address `local`.
    ///
    /// # Errors
    /// The trunk's user or domain makes no URI.
    pub fn invite(&self, number: &Number, local: SocketAddr, sdp_offer: Vec<u8>) -> Result<OutgoingInvite, UriError> {
        let trunk = &self.trunk;
        // `#` is not allowed in a SIP URI as it is (RFC 3261 §25.1).
        let dialled = trunk.dialled(number).replace('#', "%23");
        let target = Uri::parse(&format!("sip:{dialled}@{}", self.host_port()))?;
        let (from, identity) = self.identity(number)?;
        Ok(OutgoingInvite {
            to: Address::new(target.clone()),
            target,
            from,
            contact: self.contact(local)?,
            hops: self.hops.clone(),
            routes: Vec::new(),
            identity,
            local,
            credentials: self.credentials(),
            sdp_offer,
            extra_headers: Vec::new(),
            timing: Timing::default(),
        })
    }

    /// Who is calling, by the trunk's caller-ID rules.
    fn identity(&self, callee: &Number) -> Result<(Address, Identity), UriError> {
        let (trunk, caller) = (&self.trunk, &self.trunk.caller);
        let shown = caller.number_for(callee).format_for(trunk.number_format, trunk.country);
        let named = |uri| match &caller.display_name {
            Some(name) => Address::new(uri).with_display(name),
            None => Address::new(uri),
        };
        let ours = named(Uri::parse(&format!("sip:{shown}@{}", uri_host(trunk.domain())))?);
        let identity = Identity {
            asserted: caller.asserted_identity.then(|| ours.clone()).into_iter().collect(),
            preferred: None,
            privacy: if caller.anonymous { Privacy::new(&[PrivacyValue::Id]) } else { Privacy::default() },
            anonymous: caller.anonymous,
        };
        Ok((ours, identity))
    }

    /// The REGISTER that keeps us known to the trunk; `None` unless it is configured.
    ///
    /// # Errors
    /// The trunk's user or domain makes no URI.
    pub fn registration(&self, local: SocketAddr) -> Result<Option<RegistrationConfig>, UriError> {
        let (Some(register), Some(user)) = (self.trunk.register, self.trunk.username.as_deref()) else { return Ok(None) };
        let domain = uri_host(self.trunk.domain());
        Ok(Some(RegistrationConfig {
            registrar: Uri::parse(&format!("sip:{}", self.host_port()))?,
            address: Uri::parse(&format!("sip:{user}@{domain}"))?,
            contact: self.contact(local)?,
            hops: self.hops.clone(),
            routes: Vec::new(),
            local,
            credentials: self.credentials(),
            expires: register.expires,
            timing: Timing::default(),
        }))
    }

    fn contact(&self, local: SocketAddr) -> Result<Uri, UriError> {
        let user = self.trunk.username.as_deref().unwrap_or("callahead");
        signalling::contact(user, local, self.hop().map_or(Transport::Udp, |hop| hop.transport))
    }

    fn credentials(&self) -> Option<Credentials> {
        let (username, password) = self.trunk.username.as_ref().zip(self.trunk.password.as_ref())?;
        Some(Credentials { username: username.clone(), password: password.clone() })
    }

    fn host_port(&self) -> String {
        let host = uri_host(&self.trunk.host);
        self.trunk.port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
    }
}

/// An IPv6 address in brackets, anything else as it is.
fn uri_host(host: &str) -> String {
    if host.contains(':') { format!("[{}]", host.trim_matches(['[', ']'])) } else { host.to_owned() }
}

