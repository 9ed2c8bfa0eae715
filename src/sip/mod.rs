//! SIP without I/O (RFC 3261): messages, digest authentication, transactions, dialogs, sessions, registrations and the
//! endpoint that tells them apart.
//!
//! | module | what it is |
//! |---|---|
//! | [`message`] | bytes to [`message::Message`] and back, typed views of fields, URIs |
//! | [`body`] | a body and its type |
//! | [`hop`] | transports and next hops |
//! | [`locate`] | a server's name to its hops, by NAPTR, SRV and addresses |
//! | [`framing`] | the bytes of a stream cut into messages |
//! | [`identity`] | who calls: asserted identities, privacy, diversions |
//! | [`refer`] | what a transfer is told in: Refer-To, Replaces, reports |
//! | [`reason`] | why a call ends: the Reason field |
//! | [`auth`] | digest: answering 401 and 407, and [`auth::Challenger`] for whoever challenges |
//! | [`transaction`] | the four state machines with their timers, one file each |
//! | [`dialog`] | route set, targets, tags and sequence numbers of a call |
//! | [`session`] | one call: INVITE, PRACK, ACK, CANCEL, BYE, re-INVITE, UPDATE, session timer |
//! | [`registration`] | one binding at a registrar, refreshed |
//! | [`exchange`] | one request outside of calls and its answer: MESSAGE, OPTIONS |
//! | [`rate`] | token buckets for each source, and who guesses passwords |
//! | [`registrar`] | telephones that register with us: digest, bindings, Path |
//! | [`overload`] | whether a busy engine takes a new call |
//! | [`exchange`] | one request outside of calls and its answer: MESSAGE, OPTIONS |
//! | [`endpoint`] | datagrams to sessions; what nobody owns is answered or dropped with a reason |
//!
//! Everything takes `now` as an argument and leaves what it wants done in `poll_output`: do one thing (a message, a command,
//! a timeout), then drain. Randomness comes from a seed that the endpoint hands out, so a call replays bit for bit.

pub mod auth;
pub mod body;
pub mod dialog;
pub mod endpoint;
pub mod exchange;
pub mod framing;
pub mod hop;
mod hops;
pub mod identity;
pub mod locate;
pub mod message;
pub mod overload;
pub mod rate;
pub mod reason;
pub mod refer;
pub mod registrar;
pub mod registration;
pub mod session;
pub mod transaction;

use std::fmt;

use rand::Rng;
use rand::rngs::StdRng;

pub use hop::{Hop, Transport};

/// A message to send.
#[derive(Clone, PartialEq, Eq)]
pub struct Transmit {
    /// How and where it goes.
    pub destination: Hop,
    /// The message.
    pub bytes: Vec<u8>,
}

/// Shows no bytes: they hold numbers and names.
impl fmt::Debug for Transmit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes to {}", self.bytes.len(), self.destination)
    }
}

/// Names a session within its endpoint; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// Names a registration within its endpoint; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistrationId(pub u64);

/// Names an exchange within its endpoint; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId(pub u64);

/// What an endpoint mints for a session: the names under which it will find it again, and a seed for its own randomness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSeed {
    /// The session's name.
    pub id: SessionId,
    /// The Call-ID: minted for an outgoing call, the request's for an incoming one.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// Seeds branches and cnonces.
    pub rng_seed: u64,
    /// The User-Agent and Server field.
    pub user_agent: String,
}

/// What an endpoint mints for a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationSeed {
    /// The registration's name.
    pub id: RegistrationId,
    /// The Call-ID of all its requests (RFC 3261 §10.2.4).
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// Seeds branches, cnonces and the jitter of retries.
    pub rng_seed: u64,
    /// The User-Agent field.
    pub user_agent: String,
}

/// What an endpoint mints for an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeSeed {
    /// The exchange's name.
    pub id: ExchangeId,
    /// The Call-ID.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// Seeds branches and cnonces.
    pub rng_seed: u64,
    /// The User-Agent field.
    pub user_agent: String,
}

/// What we implement, for Allow.
pub const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE, REFER, NOTIFY, MESSAGE";

/// The bodies that we read in a call, for Accept.
pub const ACCEPT: &str =
    "application/sdp, application/dtmf-relay, application/dtmf, message/sipfrag, text/plain";

/// The extensions that we know, for Supported: reliable provisional responses, session timers, calls that take the place of
/// others, and REFER without reports.
pub const SUPPORTED: &str = "100rel, timer, replaces, norefersub";

/// 64 random bits as 16 hexadecimal digits.
pub(crate) fn token(rng: &mut StdRng) -> String {
    format!("{:016x}", rng.next_u64())
}

/// A fresh branch with the magic cookie (RFC 3261 §8.1.1.7).
pub(crate) fn branch(rng: &mut StdRng) -> String {
    format!("z9hG4bK{:016x}", rng.next_u64())
}
