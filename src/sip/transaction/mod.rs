//! The four transaction state machines (RFC 3261 §17, RFC 6026), one file each.
//!
//! A machine sends at most one datagram a step, so its methods return it. `handle_timeout` handles one due timer; call it
//! while `poll_timeout` is not in the future. A terminated machine has no timeout and may be dropped.

mod client_invite;
mod client_non_invite;
mod server_invite;
mod server_non_invite;
mod timer;

pub use client_invite::ClientInvite;
pub use client_non_invite::ClientNonInvite;
pub use server_invite::ServerInvite;
pub use server_non_invite::ServerNonInvite;
pub use timer::{Timer, Timers, Timing};

use super::Transmit;
use super::message::{Message, Method};

/// What a timer did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fired {
    /// Nothing that anybody else must know.
    Nothing,
    /// Send this again.
    Send(Transmit),
    /// The other side never answered; the transaction is terminated.
    TimedOut,
}

/// What a response did to a client transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Whether the response is new: hand it up. Otherwise it is a retransmission.
    pub pass: bool,
    /// The ACK of a refused INVITE.
    pub transmit: Option<Transmit>,
}

/// Matches requests to server transactions (RFC 3261 §17.2.3): branch, sent-by and method, where ACK counts as INVITE. A
/// branch without the magic cookie, or with nothing after it, falls back to RFC 2543's fields (RFC 4475 §3.2.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerKey(String);

impl ServerKey {
    /// The key of `request`.
    pub fn of(request: &Message) -> Self {
        Self::with_method(request, request.method().unwrap_or(&Method::Invite))
    }

    /// The key of the INVITE that a CANCEL or ACK names.
    pub fn of_invite(request: &Message) -> Self {
        Self::with_method(request, &Method::Invite)
    }

    fn with_method(request: &Message, method: &Method) -> Self {
        let method = if *method == Method::Ack { &Method::Invite } else { method };
        let via = request.top_via(|via| (via.branch().unwrap_or_default().to_owned(), via.sent_by()));
        let (branch, sent_by) = via.unwrap_or_default();
        if branch.len() > 7 && branch.get(..7).is_some_and(|cookie| cookie.eq_ignore_ascii_case("z9hG4bK")) {
            return Self(format!("{branch} {sent_by} {method}"));
        }
        let number = request.cseq().map(|cseq| cseq.number).unwrap_or_default();
        let tag = request.from_tag().unwrap_or_default();
        Self(format!("{} {tag} {number} {sent_by} {method} {branch}", request.call_id()))
    }
}
