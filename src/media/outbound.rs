//! What we say, as one packet a tick: digits before clips before silence.

use super::analysis::Sinks;
use super::player::Player;
use super::{Connection, Side, StreamConfig, StreamEvent};
use crate::audio::FRAME;
use crate::rtp::packet::{self, HEADER_LENGTH, Header};
use crate::rtp::telephone_event::Sender;

pub(super) struct Outbound {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    /// The position of the next frame, anchored at the first tick.
    position: Option<u64>,
    /// Whether the last tick sent audio; the next audio packet after none bears the marker.
    talking: bool,
    digits_waiting: bool,
    pub player: Player,
    pub digits: Sender,
    buffer: [u8; HEADER_LENGTH + FRAME],
}

/// Frames this far off the clock are anchored anew.
const STRAYED: u64 = 8000;

impl Outbound {
    pub fn new(config: &StreamConfig) -> Self {
        Self {
            ssrc: config.ssrc,
            sequence: config.sequence,
            timestamp: config.timestamp,
            position: None,
            talking: false,
            digits_waiting: false,
            player: Player::default(),
            digits: Sender::default(),
            buffer: [0; HEADER_LENGTH + FRAME],
        }
    }

    /// Moves on by `ticks` frames that were never sent.
    pub fn skip(&mut self, ticks: u32) {
        self.timestamp = self.timestamp.wrapping_add(ticks.wrapping_mul(FRAME as u32));
        self.position = self.position.map(|position| position + u64::from(ticks) * FRAME as u64);
    }

    /// Where the next frame lies: frame after frame, whatever the lateness of single ticks.
    pub fn position(&self, clock: u64) -> u64 {
        match self.position {
            Some(position) if position.abs_diff(clock) <= STRAYED => position,
            _ => clock,
        }
    }

    /// The packet of this tick; `None` when nothing is to be sent. Without a connection that sends, clips and digits
    /// wait.
    pub fn tick(
        &mut self,
        connection: Option<&Connection>,
        send_silence: bool,
        sinks: &mut Sinks<'_>,
    ) -> Option<&[u8]> {
        let position = self.position(sinks.clock);
        let timestamp = self.timestamp;
        self.position = Some(position + FRAME as u64);
        self.timestamp = timestamp.wrapping_add(FRAME as u32);
        let connection = connection.filter(|connection| connection.send)?;
        let length = match connection.telephone_event {
            Some(payload_type) if self.digits.is_busy() => self.digit(payload_type, timestamp),
            _ => None,
        };
        let length = match length {
            Some(length) => length,
            None => self.audio(connection, position, timestamp, send_silence, sinks)?,
        };
        if self.digits_waiting && !self.digits.is_busy() {
            self.digits_waiting = false;
            sinks.events.must(StreamEvent::DigitsSent);
        }
        self.buffer.get(..length)
    }

    /// Notes that digits were queued, so that their end is reported.
    pub fn digits_queued(&mut self) {
        self.digits_waiting |= self.digits.is_busy();
    }

    fn digit(&mut self, payload_type: u8, timestamp: u32) -> Option<usize> {
        let event = self.digits.tick(timestamp)?;
        self.talking = false;
        self.write(payload_type, event.marker, event.timestamp, &event.payload)
    }

    fn audio(
        &mut self,
        connection: &Connection,
        position: u64,
        timestamp: u32,
        send_silence: bool,
        sinks: &mut Sinks<'_>,
    ) -> Option<usize> {
        let codec = connection.codec;
        let mut samples = [0; FRAME];
        let mut payload = [codec.silence(); FRAME];
        // A clip waits while digits are being sent, in their gaps as well; not for digits that cannot go.
        let digits = connection.telephone_event.is_some() && self.digits.is_busy();
        let playing = !digits && self.player.fill(&mut samples, sinks.events);
        if playing {
            codec.encode_into(&samples, &mut payload);
            if let Some(recording) = sinks.recording {
                recording.frame(Side::Sent, position, codec, &payload);
            }
        } else if !send_silence {
            self.talking = false;
            return None;
        }
        let marker = !self.talking;
        self.talking = true;
        self.write(connection.payload_type, marker, timestamp, &payload)
    }

    fn write(&mut self, payload_type: u8, marker: bool, timestamp: u32, payload: &[u8]) -> Option<usize> {
        let header = Header { payload_type, marker, sequence: self.sequence, timestamp, ssrc: self.ssrc };
        // Unbuildable only for a payload type above 127, which SDP cannot name.
        let length = packet::write(&header, payload, &mut self.buffer).ok()?;
        self.sequence = self.sequence.wrapping_add(1);
        Some(length)
    }
}
