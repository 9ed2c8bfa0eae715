//! SDP for telephony: one audio stream of G.711 with telephone-event (RFC 8866, RFC 3264, RFC 4733).

pub mod offer_answer;

#[cfg(test)]
mod tests;
