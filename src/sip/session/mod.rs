//! API in the making: signatures are final, bodies follow.
mod event;

use std::net::SocketAddr;
use std::time::Instant;

pub use event::{Failure, SessionEvent, SessionOutput, Side};

use super::auth::Credentials;
use super::message::{Address, Header, Message, Uri};
use super::transaction::Timing;
use super::{SessionId, SessionSeed};

/// A call to make.
#[derive(Debug, Clone)]
pub struct OutgoingInvite {
    /// The Request-URI.
    pub target: Uri,
    /// From, without a tag.
    pub from: Address,
    /// To.
    pub to: Address,
    /// Our Contact: where in-dialog requests reach us.
    pub contact: Uri,
    /// Where the INVITE is sent.
    pub destination: SocketAddr,
    /// Our address as the other side sees it, for Via.
    pub local: SocketAddr,
    /// For 401 and 407.
    pub credentials: Option<Credentials>,
    /// The offer.
    pub sdp_offer: Vec<u8>,
    /// More fields for the INVITE.
    pub extra_headers: Vec<Header>,
    /// T1, T2, T4.
    pub timing: Timing,
}

/// A call that came in, from [`super::endpoint::Received::Incoming`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncomingCall {
    /// The names and the seed.
    pub seed: SessionSeed,
    /// The INVITE; it has a readable Contact.
    pub request: Message,
    /// Who sent it.
    pub source: SocketAddr,
    /// Our address that it was sent to.
    pub local: SocketAddr,
}

/// One call.
#[derive(Debug)]
pub struct Session {}

#[allow(unused_variables, missing_docs)]
impl Session {
    pub fn invite(now: Instant, seed: SessionSeed, invite: OutgoingInvite) -> Self {
        unimplemented!()
    }
    /// Sends 100. `contact` is ours.
    pub fn incoming(now: Instant, call: IncomingCall, contact: Uri, timing: Timing) -> Self {
        unimplemented!()
    }
    pub fn id(&self) -> SessionId {
        unimplemented!()
    }
    pub fn handle_message(&mut self, now: Instant, source: SocketAddr, message: Message) {}
    pub fn handle_timeout(&mut self, now: Instant) {}
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    pub fn poll_output(&mut self) -> Option<SessionOutput> {
        None
    }
    /// UAC, before the answer.
    pub fn cancel(&mut self, now: Instant) {}
    /// Any time: cancels before the answer (UAC), rejects with 480 (UAS), BYE afterwards. `reason` is a Reason header value.
    pub fn hang_up(&mut self, now: Instant, reason: Option<&str>) {}
    /// UAS: 180 or 183.
    pub fn ring(&mut self, now: Instant, status: u16, sdp: Option<&[u8]>) {}
    /// UAS: 200 with the answer (or the offer, when the INVITE had none).
    pub fn accept(&mut self, now: Instant, sdp: &[u8]) {}
    /// UAS: 300..=699; `headers` as WWW-Authenticate or Retry-After.
    pub fn reject(&mut self, now: Instant, status: u16, headers: &[Header]) {}
    /// After `Offer`.
    pub fn answer_offer(&mut self, now: Instant, sdp: &[u8]) {}
    /// After `Offer`: 488 and such; the session goes on as it was.
    pub fn reject_offer(&mut self, now: Instant, status: u16) {}
}
