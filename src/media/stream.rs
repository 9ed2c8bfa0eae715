//! One leg: the receive and the send pipeline behind one door.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::analysis::{Payload, Sinks};
use super::events::Events;
use super::inbound::Inbound;
use super::latch::Latch;
use super::outbound::Outbound;
use super::recording::Recording;
use super::{Connection, PlayError, Statistics, StreamConfig, StreamEvent, Tap};
use crate::rtp::telephone_event::DigitError;
use crate::rtp::{Packet, PacketError};

/// One leg's media. Feed it datagrams and a tick every 20 ms, then drain [`Stream::poll_event`].
pub struct Stream {
    config: StreamConfig,
    opened: Instant,
    connection: Option<Connection>,
    latch: Latch,
    inbound: Inbound,
    outbound: Outbound,
    recording: Option<Recording>,
    events: Events,
    statistics: Statistics,
    silence: Silence,
}

/// One datagram to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit<'a> {
    /// Whither.
    pub destination: SocketAddr,
    /// An RTP packet.
    pub bytes: &'a [u8],
}

/// How long the peer has been silent.
#[derive(Debug, Default)]
struct Silence {
    /// The last packet, or the negotiation before any.
    since: Option<Instant>,
    heard: bool,
    reported: bool,
}

impl Stream {
    /// A leg that is not connected yet: it sends nothing, and counts what arrives.
    pub fn new(config: StreamConfig, now: Instant) -> Self {
        Self {
            outbound: Outbound::new(&config),
            config,
            opened: now,
            connection: None,
            latch: Latch::default(),
            inbound: Inbound::default(),
            recording: None,
            events: Events::default(),
            statistics: Statistics::default(),
            silence: Silence::default(),
        }
    }

    /// Takes the outcome of an offer and answer: the first one or a later one. A hold is a connection that does not
    /// send or receive, or that has no address.
    pub fn connect(&mut self, now: Instant, connection: Connection) {
        let reachable = !connection.remote.ip().is_unspecified() && connection.remote.port() != 0;
        self.latch.signal(connection.remote);
        self.connection = Some(Connection { send: connection.send && reachable, ..connection });
        self.silence.since = Some(now);
        self.silence.reported = false;
    }

    /// Queues a clip of 8 kHz samples. Its end is reported with `id`.
    pub fn play(&mut self, id: u64, samples: Arc<[i16]>) -> Result<(), PlayError> {
        self.outbound.player.play(id, samples)
    }

    /// Ends playing at once and empties the queue; no [`StreamEvent::PlayDone`] follows.
    pub fn stop(&mut self) {
        self.outbound.player.stop();
    }

    /// Queues `digits` as telephone events; they interrupt a clip, and wait while on hold. Refused on a connection
    /// without telephone events.
    pub fn send_digits(&mut self, digits: &str) -> Result<(), DigitError> {
        if self.connection.and_then(|connection| connection.telephone_event).is_none() {
            return Err(DigitError::NotNegotiated);
        }
        self.outbound.digits.queue(digits)?;
        self.outbound.digits_queued();
        Ok(())
    }

    /// Starts or stops reporting speech. The detector costs more than all else here; keep it off when nobody asks.
    pub fn listen(&mut self, on: bool) {
        self.inbound.analysis.listen(on.then_some(self.config.vad));
    }

    /// Reports when a tone of `frequency` Hz (below 4,000) starts and ends; `None` stops it.
    pub fn watch_tone(&mut self, frequency: Option<f32>) {
        self.inbound.analysis.watch_tone(frequency);
    }

    /// Records from now on; replaces a tap that is there.
    pub fn start_recording(&mut self, now: Instant, tap: Box<dyn Tap>) {
        // A late tick must not cut the frame that it is about to send.
        let origin = self.outbound.position(self.clock(now));
        self.recording = Some(Recording::new(tap, origin));
    }

    /// Lets go of the tap.
    pub fn stop_recording(&mut self) {
        self.recording = None;
    }

    /// Takes one datagram from the leg's socket.
    pub fn handle_packet(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]) {
        let Some(connection) = self.connection else {
            self.statistics.early += 1;
            return;
        };
        let packet = match Packet::parse(datagram) {
            Ok(packet) => packet,
            Err(PacketError::Rtcp) => {
                self.statistics.rtcp += 1;
                return;
            }
            Err(_) => {
                self.statistics.malformed += 1;
                return;
            }
        };
        if Payload::of(&connection, packet.header.payload_type).is_none() {
            self.statistics.unexpected += 1;
            return;
        }
        if !self.latch.accept(now, source) {
            self.statistics.strangers += 1;
            return;
        }
        self.statistics.received += 1;
        if !self.silence.heard {
            self.events.must(StreamEvent::FirstPacket { source });
        }
        self.silence = Silence { since: Some(now), heard: true, reported: false };
        let (inbound, _, mut sinks) = self.split(now);
        inbound.packet(now, &connection, &packet, &mut sinks);
    }

    /// Every 20 ms: the packet to send, if any, and whatever time decides.
    pub fn tick(&mut self, now: Instant) -> Option<Transmit<'_>> {
        self.check_silence(now);
        let connection = self.connection;
        let send_silence = self.config.send_silence;
        let destination = self.latch.destination(self.config.symmetric);
        let (inbound, outbound, mut sinks) = self.split(now);
        if let Some(connection) = &connection {
            inbound.tick(now, connection, &mut sinks);
        }
        inbound.analysis.idle(&mut sinks);
        if let Some(recording) = sinks.recording {
            recording.clock(sinks.clock);
        }
        let bytes = outbound.tick(connection.as_ref(), send_silence, &mut sinks)?;
        sinks.statistics.sent += 1;
        Some(Transmit { destination: destination?, bytes })
    }

    /// Passes over `ticks` ticks that came too late to be made up for: the timestamps go on, nothing is sent.
    pub fn skip(&mut self, ticks: u32) {
        self.outbound.skip(ticks);
        self.statistics.skipped += u64::from(ticks);
    }

    /// The next finding.
    pub fn poll_event(&mut self) -> Option<StreamEvent> {
        self.events.pop()
    }

    /// The counters so far.
    pub fn statistics(&self) -> Statistics {
        let mut statistics = self.statistics;
        self.inbound.report(&mut statistics);
        statistics.events_dropped = self.events.dropped;
        statistics
    }

    /// The position of `now`: 8 kHz samples since the stream was opened.
    fn clock(&self, now: Instant) -> u64 {
        (now.saturating_duration_since(self.opened).as_micros() / 125) as u64
    }

    fn split(&mut self, now: Instant) -> (&mut Inbound, &mut Outbound, Sinks<'_>) {
        let clock = self.clock(now);
        let sinks = Sinks {
            opened: self.opened,
            clock,
            recording: &mut self.recording,
            events: &mut self.events,
            statistics: &mut self.statistics,
        };
        (&mut self.inbound, &mut self.outbound, sinks)
    }

    fn check_silence(&mut self, now: Instant) {
        let (Some(limit), Some(since), Some(connection)) =
            (self.config.rtp_timeout, self.silence.since, &self.connection)
        else {
            return;
        };
        let silent = now.saturating_duration_since(since);
        if connection.receive && !self.silence.reported && silent >= limit {
            self.silence.reported = true;
            self.events.must(StreamEvent::RtpTimeout { silent, heard_before: self.silence.heard });
        }
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
