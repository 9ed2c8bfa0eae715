//! SDP for telephony: one audio stream of G.711 with telephone-event (RFC 8866, RFC 3264, RFC 4733).

pub mod offer_answer;

pub use offer_answer::{
    Codec, Direction, MediaPolicy, Negotiated, SdpError, SessionOrigin, accept, answer, offer,
};

#[cfg(test)]
mod tests;
