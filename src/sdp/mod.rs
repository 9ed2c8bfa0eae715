//! SDP for telephony: one audio stream of G.711 with telephone-event (RFC 8866, RFC 3264, RFC 4733).

pub mod exchange;
pub mod offer_answer;
mod read;

pub use exchange::Exchange;
pub use offer_answer::{
    Codec, Direction, MediaPolicy, Negotiated, SdpError, SessionOrigin, accept, answer, offer, refuse,
};
pub use read::{MAX_MEDIA, MAX_SDP};

#[cfg(test)]
mod equipment_tests;
#[cfg(test)]
mod exchange_tests;
#[cfg(test)]
mod tests;
