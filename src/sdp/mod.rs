//! SDP for telephony: one audio stream of G.711 with telephone-event (RFC 8866, RFC 3264, RFC 4733).

pub mod exchange;
pub mod offer_answer;

pub use exchange::Exchange;
pub use offer_answer::{
    Codec, Direction, MediaPolicy, Negotiated, SdpError, SessionOrigin, accept, answer, offer, refuse,
};

#[cfg(test)]
mod tests;
