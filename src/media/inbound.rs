//! The peer's packets on their way into order: sources, sequence numbers, the jitter buffer.

use std::time::{Duration, Instant};

use super::analysis::{Analysis, Payload, Sinks};
use super::{Connection, Statistics};
use crate::rtp::jitter_buffer::Insert;
use crate::rtp::sequence::Jitter;
use crate::rtp::{Arrival, Header, JitterBuffer, Packet, Sequence};

/// While the present source sends, the one it replaced is not let back: two sources that alternate do not flap.
const REPLACED: Duration = Duration::from_millis(200);

#[derive(Default)]
pub(super) struct Inbound {
    source: Option<Source>,
    /// The source before the present one.
    replaced: Option<u32>,
    /// Losses of the sources before the present one.
    lost_before: u64,
    jitter: Jitter,
    buffer: JitterBuffer,
    pub analysis: Analysis,
}

#[derive(Debug)]
struct Source {
    ssrc: u32,
    sequence: Sequence,
    heard: Instant,
}

impl Inbound {
    /// Takes a valid packet of the latched peer.
    pub fn packet(
        &mut self,
        now: Instant,
        connection: &Connection,
        packet: &Packet<'_>,
        sinks: &mut Sinks<'_>,
    ) {
        let Some(number) = self.number(now, connection, &packet.header, sinks) else {
            sinks.statistics.discarded += 1;
            return;
        };
        if matches!(Payload::of(connection, packet.header.payload_type), Some(Payload::Audio(_))) {
            self.jitter.update(now, packet.header.timestamp);
        }
        match self.buffer.insert(now, number, packet) {
            Insert::Deliver => self.analysis.deliver(connection, packet, sinks),
            Insert::Held => {}
            Insert::Duplicate => sinks.statistics.duplicates += 1,
            Insert::Late => sinks.statistics.late += 1,
        }
        self.tick(now, connection, sinks);
    }

    /// Releases what is in order or has waited long enough.
    pub fn tick(&mut self, now: Instant, connection: &Connection, sinks: &mut Sinks<'_>) {
        while let Some(packet) = self.buffer.take(now) {
            self.analysis.deliver(connection, &packet, sinks);
        }
    }

    /// Writes the figures kept here into `statistics`.
    pub fn report(&self, statistics: &mut Statistics) {
        statistics.lost = self.lost_before + self.source.as_ref().map_or(0, |source| source.sequence.lost());
        statistics.jitter = self.jitter.value();
    }

    /// The extended sequence number, `None` for a packet to discard. May change the source.
    fn number(
        &mut self,
        now: Instant,
        connection: &Connection,
        header: &Header,
        sinks: &mut Sinks<'_>,
    ) -> Option<u64> {
        let arrival = match &mut self.source {
            Some(source) if source.ssrc == header.ssrc => {
                source.heard = now;
                source.sequence.update(header.sequence)
            }
            Some(source)
                if self.replaced == Some(header.ssrc)
                    && now.saturating_duration_since(source.heard) < REPLACED =>
            {
                return None;
            }
            _ => {
                self.flush(connection, sinks);
                let sequence = Sequence::new(header.sequence);
                let number = sequence.highest();
                if let Some(old) = self.source.replace(Source { ssrc: header.ssrc, sequence, heard: now }) {
                    self.replaced = Some(old.ssrc);
                    self.lost_before += old.sequence.lost();
                    sinks.statistics.source_changes += 1;
                }
                return Some(number);
            }
        };
        match arrival {
            Arrival::New(number) | Arrival::Old(number) => Some(number),
            Arrival::Suspect => None,
            Arrival::Restarted(number) => {
                self.flush(connection, sinks);
                Some(number)
            }
        }
    }

    /// Ends one source's order: what it left is delivered, and the next packet begins anew.
    fn flush(&mut self, connection: &Connection, sinks: &mut Sinks<'_>) {
        while let Some(packet) = self.buffer.flush() {
            self.analysis.deliver(connection, &packet, sinks);
        }
        self.buffer.reset();
        self.jitter.break_off();
        self.analysis.break_off();
    }
}
