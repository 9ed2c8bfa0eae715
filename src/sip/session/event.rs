//! What a session asks for and tells.

use std::time::Duration;

use crate::sip::Transmit;

/// One thing that a session wants done or known. Drain them with [`super::Session::poll_output`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionOutput {
    /// Send this datagram.
    Transmit(Transmit),
    /// Something happened.
    Event(SessionEvent),
}

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// We.
    Local,
    /// The other party.
    Remote,
}

/// What happened in a session. One of `Failed` and `Ended` comes, then `Finished`; an incoming
/// call that we reject ourselves ends with `Finished` alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEvent {
    /// A 100 arrived: somebody is working on our INVITE. At most once.
    Trying,
    /// A 180, 181, 182 or 183 arrived.
    Ringing {
        /// 101 to 199.
        status: u16,
    },
    /// A provisional response carried SDP; comes again when the SDP changes.
    EarlyMedia {
        /// The answer so far.
        sdp: Vec<u8>,
    },
    /// A 2xx arrived and was acknowledged.
    Answered {
        /// The answer: from the 2xx, or from the last provisional response of that callee when the 2xx has none.
        /// `None`: nobody ever answered our offer, the call has no media.
        sdp: Option<Vec<u8>>,
    },
    /// The other party sent a re-INVITE, or an offer in UPDATE, PRACK or the 2xx of our re-INVITE without one. Reply with `answer_offer` or
    /// `reject_offer`.
    Offer {
        /// Its offer; `None` asks us for one.
        sdp: Option<Vec<u8>>,
    },
    /// Our offer in a re-INVITE, UPDATE or reliable provisional response was taken.
    OfferAnswered {
        /// The answer; `None`: what was agreed before goes on.
        sdp: Option<Vec<u8>>,
    },
    /// Our offer in a re-INVITE or UPDATE was refused: what was agreed before goes on. After 491 (both sides offered at once) offer again
    /// when `can_offer` says so, if it is still wanted.
    OfferRefused {
        /// 300 to 699.
        status: u16,
    },
    /// Our 2xx was acknowledged: the call stands on both sides.
    Acknowledged {
        /// The answer, when our 2xx held an offer.
        sdp: Option<Vec<u8>>,
    },
    /// The call was never set up.
    Failed(Failure),
    /// The call stood, and is over.
    Ended {
        /// Who hung up.
        by: Side,
        /// The Reason field (RFC 3326) or what we gave as reason.
        reason: Option<String>,
    },
    /// Nothing more will happen: drop the session and remove it from the endpoint. At most 64*T1 after `Failed` or `Ended`.
    Finished,
}

/// Why a call was never set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A final response from 300 to 699.
    #[error("refused: {code} {reason_phrase}")]
    Status {
        /// The status code.
        code: u16,
        /// The phrase as it came.
        reason_phrase: String,
        /// Retry-After, where one came.
        retry_after: Option<Duration>,
        /// The Reason field (RFC 3326), where one came: `Q.850;cause=17`.
        reason: Option<String>,
    },
    /// Nothing came back within 64*T1 (Timer B or F).
    #[error("no response")]
    Timeout,
    /// Nobody listens at any of the hops.
    #[error("unreachable")]
    Unreachable,
    /// Challenged without credentials, or our credentials were refused.
    #[error("credentials refused")]
    Unauthorized,
    /// Cancelled: by us before the answer, or by the caller of an incoming call.
    #[error("cancelled")]
    Cancelled,
    /// Our 2xx was never acknowledged; the call was released.
    #[error("the answer was never acknowledged")]
    AckMissing,
    /// Our reliable provisional response was never acknowledged; the call was refused with 504 (RFC 3262 §3).
    #[error("the provisional response was never acknowledged")]
    PrackMissing,
    /// The other side's message cannot make a call.
    #[error("malformed: {0}")]
    Malformed(&'static str),
}
