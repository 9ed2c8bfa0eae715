//! One leg's media without I/O: what arrives becomes findings and a tap, what is to be said becomes packets.
//!
//! ```text
//! handle_packet -> parse -> latch -> source -> jitter buffer -> timeline -+-> tap (received)
//!                                                                         +-> digits, voice, tone -> events
//! play, send_digits -> player / telephone events -> codec -> packet -> tick -+-> wire
//!                                                                            +-> tap (sent)
//! ```
//! Nothing on the receive side waits for the send side. Everything is bounded. Positions are 8 kHz samples since the
//! stream was opened; a tap sees them relative to its own start.

mod analysis;
mod events;
mod inbound;
mod latch;
mod outbound;
mod player;
mod recording;
mod stream;
mod timeline;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub use player::PlayError;
pub use stream::{Stream, Transmit};

use crate::audio::Codec;
use crate::audio::vad::VadConfig;
use crate::sdp::{self, Negotiated};

/// What SDP negotiated for a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Where the peer says it receives. An unspecified address or port 0 means hold.
    pub remote: SocketAddr,
    /// What we send. Received packets may carry either codec under its static payload type.
    pub codec: Codec,
    /// The payload type of `codec` in what we send.
    pub payload_type: u8,
    /// The payload type of telephone events in what we send, where negotiated.
    pub telephone_event: Option<u8>,
    /// The payload type of `codec` in what arrives.
    pub receive_payload_type: u8,
    /// The payload type of telephone events in what arrives.
    pub receive_telephone_event: Option<u8>,
    /// We may send (`sendrecv`, `sendonly` seen from us).
    pub send: bool,
    /// The peer may send; when not, its silence is no timeout.
    pub receive: bool,
}

impl From<&Negotiated> for Connection {
    fn from(negotiated: &Negotiated) -> Self {
        Self {
            remote: negotiated.remote,
            codec: match negotiated.codec {
                sdp::Codec::Pcmu => Codec::Pcmu,
                sdp::Codec::Pcma => Codec::Pcma,
            },
            payload_type: negotiated.payload_type,
            telephone_event: negotiated.telephone_event,
            receive_payload_type: negotiated.receive_payload_type,
            receive_telephone_event: negotiated.receive_telephone_event,
            send: negotiated.direction.sends(),
            receive: negotiated.direction.receives(),
        }
    }
}

/// How a stream behaves, whatever is negotiated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StreamConfig {
    /// Our synchronisation source.
    pub ssrc: u32,
    /// The first sequence number.
    pub sequence: u16,
    /// The first timestamp.
    pub timestamp: u32,
    /// How long a connected peer may be silent before [`StreamEvent::RtpTimeout`]; `None`: for ever.
    pub rtp_timeout: Option<Duration>,
    /// Send silence while nothing plays, so that address translators and the peer's recorder keep the stream.
    pub send_silence: bool,
    /// Send to where packets come from, not to where SDP said (symmetric RTP).
    pub symmetric: bool,
    /// The voice detector, which runs while [`Stream::listen`] asks.
    pub vad: VadConfig,
}

impl Default for StreamConfig {
    /// All numbers zero (give random ones: RFC 3550 §5.1), a timeout of 20 s, silence sent, symmetric.
    fn default() -> Self {
        Self {
            ssrc: 0,
            sequence: 0,
            timestamp: 0,
            rtp_timeout: Some(Duration::from_secs(20)),
            send_silence: true,
            symmetric: true,
            vad: VadConfig::default(),
        }
    }
}

/// What a stream finds.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamEvent {
    /// The first valid packet since the stream was opened.
    FirstPacket {
        /// Where it came from.
        source: SocketAddr,
    },
    /// The last frame of a clip has left. Clips that [`Stream::stop`] cut off have no event.
    PlayDone {
        /// The number given to [`Stream::play`].
        id: u64,
    },
    /// The last queued digit has left.
    DigitsSent,
    /// The peer pressed a key.
    Digit(char),
    /// Somebody began to speak; reported about 80 ms after `at`.
    SpeechStarted {
        /// When, by the peer's timeline.
        at: Instant,
    },
    /// Speech ended; reported after the hangover.
    SpeechEnded {
        /// When the last speech was.
        at: Instant,
    },
    /// The watched tone sounds.
    ToneStarted {
        /// When it was certain.
        at: Instant,
    },
    /// The watched tone has stopped.
    ToneEnded {
        /// When it was certain.
        at: Instant,
    },
    /// No valid packet for the configured time, since the connection or since the last one. Again only after packets
    /// have come back.
    RtpTimeout {
        /// How long it has been silent.
        silent: Duration,
        /// Whether any packet has ever arrived.
        heard_before: bool,
    },
}

/// Counters of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Packets sent.
    pub sent: u64,
    /// Ticks that were skipped because the thread was late.
    pub skipped: u64,
    /// Valid packets from the peer.
    pub received: u64,
    /// Packets that the sequence numbers miss.
    pub lost: u64,
    /// Packets that came after their place had been passed over.
    pub late: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Valid packets from another address than the latched one.
    pub strangers: u64,
    /// Datagrams that are no RTP, and telephone events too short to be one.
    pub malformed: u64,
    /// RTCP on the RTP port.
    pub rtcp: u64,
    /// RTP of a payload type that was not negotiated.
    pub unexpected: u64,
    /// Packets before there was a connection.
    pub early: u64,
    /// Packets of a source that another has replaced, and jumps awaiting confirmation.
    pub discarded: u64,
    /// Times that another synchronisation source took over.
    pub source_changes: u64,
    /// Events dropped because nobody fetched them.
    pub events_dropped: u64,
    /// Interarrival jitter (RFC 3550 A.8) at the resolution with which the owner reads its socket.
    pub jitter: Duration,
}

/// Which party's audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The peer's: what the customer said.
    Received,
    /// Ours: what was played.
    Sent,
}

/// Where a stream's audio goes besides the wire. Called on a media thread: it must not block, allocate or log.
pub trait Tap: Send {
    /// Encoded audio of one side, one byte a sample, whose first sample has `position`. Silence that we send is not
    /// passed: what is missing is silence. Frames of one side come nearly in order.
    fn frame(&mut self, side: Side, position: u64, codec: Codec, payload: &[u8]);

    /// The recording's clock, every tick.
    fn clock(&mut self, position: u64);
}
