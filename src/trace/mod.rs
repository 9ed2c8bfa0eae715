//! The SIP messages of a call as they were on the wire: kept within bounds, shown as a ladder, written as a capture.
//!
//! | file | what it is |
//! |---|---|
//! | `recorder` | one call's messages, bounded; tells a retransmission from a new message |
//! | [`mask`] | what an eavesdropper could log in or decrypt with, overwritten before anything is kept |
//! | [`redact`] | phone numbers and names, shortened before anything is shown |
//! | [`ladder`] | messages to steps: who said what when, what its SDP says, what was said again |
//! | [`text`] | a ladder for a terminal |
//! | [`explain`] | what an end cause means, in a sentence |
//! | [`capture`] | messages to a capture file for Wireshark |

pub mod capture;
pub mod explain;
pub mod ladder;
pub mod mask;
mod recorder;
pub mod redact;
mod sdp_line;
pub mod text;

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;

use crate::sip::Transport;
use crate::words::words;

pub use recorder::{Batch, MAX_BYTES, MAX_MESSAGES, Recorder};

words! {
    /// Which way a message went.
    Direction {
        /// From the peer to us.
        In = "in",
        /// From us to the peer.
        Out = "out",
    }
}

/// The word for a transport in the store, in ladders and in labels: `udp`, `tcp`, `tls`, `ws` or `wss`.
pub fn transport_word(transport: Transport) -> &'static str {
    match transport {
        Transport::Wss => "wss",
        other => other.as_param(),
    }
}

/// One SIP message as it was on the wire, but for masked secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Traced {
    /// When we sent or received it, in microseconds since 1970 (UTC).
    pub at_us: i64,
    /// Which way it went.
    pub direction: Direction,
    /// How it travelled.
    pub transport: Transport,
    /// Our address.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The message; secrets are overwritten, see [`mask`].
    pub bytes: Vec<u8>,
}

impl Traced {
    /// A fingerprint: two messages with the same one are the same message, sent or received again.
    pub fn mark(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.direction, self.remote, &self.bytes).hash(&mut hasher);
        hasher.finish()
    }
}

/// Shows no bytes: they hold numbers and names.
impl fmt::Debug for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (way, size) = (self.direction, self.bytes.len());
        write!(f, "{way} {size} bytes, {} {:?}, at {}", self.remote, self.transport, self.at_us)
    }
}
