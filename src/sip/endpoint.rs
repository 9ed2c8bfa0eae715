//! API in the making: signatures are final, bodies follow.
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::message::{Header, Message};
use super::session::IncomingCall;
use super::{RegistrationId, RegistrationSeed, SessionId, SessionSeed, Transmit};

/// Whose first messages are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accept {
    /// Everybody's.
    All,
    /// Only these addresses', whatever the port.
    From(HashSet<IpAddr>),
}

/// What an endpoint is told at its start.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// For User-Agent and Server.
    pub user_agent: String,
    /// Whose messages are looked at.
    pub accept: Accept,
    /// Whether incoming calls are handed up; otherwise they get 403.
    pub incoming: bool,
    /// Whether REGISTER is handed up as [`Received::Request`]; otherwise it gets 405.
    pub registrar: bool,
    /// The most sessions at once; further INVITEs get 503.
    pub max_sessions: usize,
}

/// What became of a datagram.
#[derive(Debug)]
pub enum Received {
    /// For a session.
    Session(SessionId, Box<Message>),
    /// For a registration.
    Registration(RegistrationId, Box<Message>),
    /// A new call.
    Incoming(Box<IncomingCall>),
    /// A request outside of calls for whoever asked for it (a registrar). Answer with [`Endpoint::respond`].
    Request(Box<Message>),
    /// Answered at once: send this.
    Reply(Transmit),
    /// Nothing to do.
    Dropped(DropReason),
}

/// Why a datagram was dropped; whoever owns the endpoint counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Line breaks or NULs only: keeps a NAT binding open.
    KeepAlive,
    /// From an address that is not accepted, and for no call of ours.
    UnknownSource,
    /// No SIP message, or one that may not be answered.
    Malformed,
    /// A response to nothing of ours.
    UnmatchedResponse,
    /// An ACK to nothing of ours.
    UnmatchedAck,
    /// A response whose topmost Via is not ours.
    ForeignVia,
}

/// Demultiplexes datagrams.
#[derive(Debug)]
pub struct Endpoint {}

#[allow(unused_variables, missing_docs)]
impl Endpoint {
    pub fn new(config: EndpointConfig, seed: u64) -> Self {
        unimplemented!()
    }
    pub fn set_accept(&mut self, accept: Accept) {}
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        source: SocketAddr,
        local: SocketAddr,
        bytes: &[u8],
    ) -> Received {
        unimplemented!()
    }
    pub fn connect(&mut self) -> SessionSeed {
        unimplemented!()
    }
    pub fn register(&mut self) -> RegistrationSeed {
        unimplemented!()
    }
    pub fn remove(&mut self, id: SessionId) {}
    pub fn remove_registration(&mut self, id: RegistrationId) {}
    /// Retransmissions of the request get the same response for 32 s.
    pub fn respond(
        &mut self,
        now: Instant,
        source: SocketAddr,
        request: &Message,
        status: u16,
        headers: &[Header],
    ) -> Transmit {
        unimplemented!()
    }
}
