//! What the peer's packets, in order, say: audio for the tap, digits, voice and tones.

use std::time::{Duration, Instant};

use super::events::Events;
use super::recording::Recording;
use super::timeline::Timeline;
use super::{Connection, Side, Statistics, StreamEvent};
use crate::audio::tones::{ToneDetector, ToneEdge};
use crate::audio::vad::{Vad, VadConfig, VadEdge};
use crate::audio::{Codec, FRAME, RATE};
use crate::rtp::{Packet, telephone_event};

/// Where the findings of one call into the stream go.
pub(super) struct Sinks<'a> {
    pub opened: Instant,
    /// The clock's position.
    pub clock: u64,
    pub recording: &'a mut Option<Recording>,
    pub events: &'a mut Events,
    pub statistics: &'a mut Statistics,
}

#[derive(Default)]
pub(super) struct Analysis {
    timeline: Timeline,
    digits: telephone_event::Receiver,
    vad: Option<Vad>,
    tone: Option<ToneDetector>,
}

/// What a payload type carries on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    Audio(Codec),
    TelephoneEvent,
    /// Comfort noise (RFC 3389): proves that the peer lives, and sounds like silence.
    ComfortNoise,
}

impl Payload {
    /// `None` for what was not negotiated. Both G.711 codecs are taken under their static types whichever was chosen:
    /// a peer may send any codec of our offer (RFC 3264 §6.1).
    pub fn of(connection: &Connection, payload_type: u8) -> Option<Self> {
        if Some(payload_type) == connection.receive_telephone_event {
            return Some(Payload::TelephoneEvent);
        }
        if payload_type == connection.receive_payload_type {
            return Some(Payload::Audio(connection.codec));
        }
        match payload_type {
            // Some number both ways alike, against RFC 3264 §6.1.
            own if Some(own) == connection.telephone_event => Some(Payload::TelephoneEvent),
            own if own == connection.payload_type => Some(Payload::Audio(connection.codec)),
            13 => Some(Payload::ComfortNoise),
            other => Codec::of_payload_type(other).map(Payload::Audio),
        }
    }
}

impl Analysis {
    /// Starts or stops the voice detector.
    pub fn listen(&mut self, config: Option<VadConfig>) {
        match config {
            Some(config) if self.vad.is_none() => self.vad = Some(Vad::new(config)),
            Some(_) => {}
            None => self.vad = None,
        }
    }

    /// Starts or stops the tone detector.
    pub fn watch_tone(&mut self, frequency: Option<f32>) {
        self.tone = frequency.map(ToneDetector::new);
    }

    /// Another source begins.
    pub fn break_off(&mut self) {
        self.timeline.break_off();
        self.digits = telephone_event::Receiver::default();
    }

    /// Takes the next packet in order.
    pub fn deliver(&mut self, connection: &Connection, packet: &Packet<'_>, sinks: &mut Sinks<'_>) {
        let header = &packet.header;
        match Payload::of(connection, header.payload_type) {
            Some(Payload::Audio(codec)) => self.audio(codec, header.timestamp, packet.payload, sinks),
            Some(Payload::TelephoneEvent) => {
                match self.digits.receive(header.timestamp, header.marker, packet.payload) {
                    Ok(Some(digit)) => sinks.events.found(StreamEvent::Digit(digit)),
                    Ok(None) => {}
                    Err(_) => sinks.statistics.malformed += 1,
                }
            }
            Some(Payload::ComfortNoise) | None => {}
        }
    }

    /// Every tick: a peer that has stopped sending has stopped speaking.
    pub fn idle(&mut self, sinks: &mut Sinks<'_>) {
        if let Some(vad) = &mut self.vad {
            vad.idle(sinks.clock, |edge| sinks.events.found(speech(sinks.opened, edge)));
        }
    }

    fn audio(&mut self, codec: Codec, timestamp: u32, payload: &[u8], sinks: &mut Sinks<'_>) {
        if payload.is_empty() {
            return; // some peers keep address translators open with empty packets
        }
        let position = self.timeline.place(sinks.clock, timestamp, payload.len() as u64);
        if let Some(recording) = sinks.recording {
            recording.frame(Side::Received, position, codec, payload);
        }
        if self.vad.is_none() && self.tone.is_none() {
            return;
        }
        let mut samples = [0; FRAME];
        let mut position = position;
        for piece in payload.chunks(FRAME) {
            let count = codec.decode_into(piece, &mut samples);
            self.detect(position, &samples[..count], sinks);
            position += count as u64;
        }
    }

    fn detect(&mut self, position: u64, samples: &[i16], sinks: &mut Sinks<'_>) {
        if let Some(vad) = &mut self.vad {
            vad.push(position, samples, |edge| sinks.events.found(speech(sinks.opened, edge)));
        }
        if let Some(edge) = self.tone.as_mut().and_then(|tone| tone.push(samples)) {
            let at = instant(sinks.opened, position + samples.len() as u64);
            sinks.events.found(match edge {
                ToneEdge::Started => StreamEvent::ToneStarted { at },
                ToneEdge::Ended => StreamEvent::ToneEnded { at },
            });
        }
    }
}

fn speech(opened: Instant, edge: VadEdge) -> StreamEvent {
    match edge {
        VadEdge::Started(position) => StreamEvent::SpeechStarted { at: instant(opened, position) },
        VadEdge::Ended(position) => StreamEvent::SpeechEnded { at: instant(opened, position) },
    }
}

fn instant(opened: Instant, position: u64) -> Instant {
    opened + Duration::from_micros(position * (1_000_000 / u64::from(RATE)))
}
