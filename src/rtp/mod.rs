//! RTP (RFC 3550, RFC 3551) and telephone events (RFC 4733): packets, sequence numbers, order, digits.
//!
//! Core: bytes and [`std::time::Instant`]s are arguments; nothing here owns a socket or a clock.

pub mod jitter_buffer;
pub mod packet;
pub mod sequence;
pub mod telephone_event;

pub use jitter_buffer::JitterBuffer;
pub use packet::{Header, Packet, PacketError};
pub use sequence::{Arrival, Sequence};
