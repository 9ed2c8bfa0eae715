//! Where a trunk is, and the INVITE that it gets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::resolver::{ResolveError, Resolver, Server};
use super::signalling::{self, TlsPeer};
use crate::config::{self, Advertised, Trunk};
use crate::route::Number;
use crate::sdp::MediaPolicy;
use crate::sip::{Hop, Transport};
use crate::sip::auth::Credentials;
use crate::sip::exchange::OutgoingRequest;
use crate::sip::identity::{Identity, Privacy, PrivacyValue};
use crate::sip::message::{Address, Method, Uri, UriError};
use crate::sip::registration::RegistrationConfig;
use crate::sip::session::OutgoingInvite;
use crate::sip::transaction::Timing;

/// A trunk and where its host, or the proxy in front of it, is now.
#[derive(Debug, Clone)]
pub struct Line {
    /// The trunk as configured.
    pub trunk: Arc<Trunk>,
    /// Where its SIP messages go, in order of preference; not empty.
    pub hops: Vec<Hop>,
    /// When to look for them again.
    pub until: Instant,
    /// Where the trunk sees us, if a registration has shown it.
    pub seen_at: Option<SocketAddr>,
    /// What its registrar wants in the Route of calls (RFC 3608).
    pub service_route: Vec<String>,
}

impl Line {
    /// Finds the trunk's host, or its outbound proxy.
    ///
    /// # Errors
    /// It has no address, or the name server does not answer and nothing is known from before.
    pub async fn resolve(trunk: Arc<Trunk>, resolver: &Resolver) -> Result<Self, ResolveError> {
        let (host, port) = match &trunk.outbound_proxy {
            Some(proxy) => (&proxy.host, proxy.port),
            None => (&trunk.host, trunk.port),
        };
        let transport = trunk.transport.map(transport);
        let found = resolver.locate(&Server { host: host.clone(), port, transport }).await?;
        Ok(Self { trunk, hops: found.hops, until: found.until, seen_at: None, service_route: Vec::new() })
    }

    /// What is tried first.
    pub fn hop(&self) -> Option<Hop> {
        self.hops.first().copied()
    }

    fn transport(&self) -> Transport {
        self.hop().map_or(Transport::Udp, |hop| hop.transport)
    }

    /// How the certificates of its addresses are checked; empty unless it is reached over TLS.
    pub fn tls_peers(&self) -> impl Iterator<Item = (SocketAddr, TlsPeer)> {
        let config::Tls { ca, client, server_name } = self.trunk.tls.clone();
        let next = self.trunk.outbound_proxy.as_ref().map_or(&self.trunk.host, |proxy| &proxy.host);
        let server_name = server_name.unwrap_or_else(|| next.clone());
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
            routes: self.route().into_iter().chain(self.service_route.iter().cloned()).collect(),
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
            routes: self.route().into_iter().collect(),
            local,
            credentials: self.credentials(),
            expires: register.expires,
            timing: Timing::default(),
        }))
    }

    /// The question whether the trunk lives.
    ///
    /// # Errors
    /// The trunk's user or domain makes no URI.
    pub fn options(&self, local: SocketAddr) -> Result<OutgoingRequest, UriError> {
        let target = Uri::parse(&format!("sip:{}", self.host_port()))?;
        let contact = self.contact(local)?;
        Ok(OutgoingRequest {
            method: Method::Options,
            from: Address::new(contact.clone()),
            to: Address::new(target.clone()),
            target,
            contact: Some(contact),
            routes: self.route().into_iter().collect(),
            hops: self.hops.clone(),
            local,
            credentials: None, // a challenge is an answer, too
            headers: Vec::new(),
            body: None,
            timing: Timing::default(),
        })
    }

    /// The Route value that makes requests pass the outbound proxy (RFC 3261 §8.1.2).
    fn route(&self) -> Option<String> {
        let proxy = self.trunk.outbound_proxy.as_ref()?;
        let port = proxy.port.map(|port| format!(":{port}")).unwrap_or_default();
        let transport = match self.transport() {
            Transport::Udp => String::new(),
            other => format!(";transport={}", other.as_param()),
        };
        Some(format!("<sip:{}{port}{transport};lr>", uri_host(&proxy.host)))
    }

    /// Our address as the trunk is told it, where `local` is what the route selects.
    pub fn advertised(&self, local: SocketAddr) -> SocketAddr {
        match self.trunk.advertised {
            Advertised::Auto => self.seen_at.unwrap_or(local),
            Advertised::Fixed { ip, port } => SocketAddr::new(ip, port.unwrap_or(local.port())),
        }
    }

    /// Where our audio is expected, as the trunk is told it: a fixed advertised address has the media ports forwarded.
    pub fn media_address(&self, local: SocketAddr) -> SocketAddr {
        match self.trunk.advertised {
            Advertised::Auto => local,
            Advertised::Fixed { ip, .. } => SocketAddr::new(ip, local.port()),
        }
    }

    fn contact(&self, local: SocketAddr) -> Result<Uri, UriError> {
        self.contact_at(self.advertised(local))
    }

    /// Where calls from the trunk shall come, which takes us to be at `address`.
    ///
    /// # Errors
    /// The trunk's user makes no URI.
    pub fn contact_at(&self, address: SocketAddr) -> Result<Uri, UriError> {
        let user = self.trunk.username.as_deref().unwrap_or("callahead");
        signalling::contact(user, address, self.transport())
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

fn transport(configured: config::Transport) -> Transport {
    match configured {
        config::Transport::Udp => Transport::Udp,
        config::Transport::Tcp => Transport::Tcp,
        config::Transport::Tls => Transport::Tls,
    }
}

/// An IPv6 address in brackets, anything else as it is.
fn uri_host(host: &str) -> String {
    if host.contains(':') { format!("[{}]", host.trim_matches(['[', ']'])) } else { host.to_owned() }
}

