//! Digits as telephone events (RFC 4733 §2): received by timestamp and end bit, sent with three end packets.
//!
//! ```text
//! digit 5, 60 ms            timestamp  E  duration     what the receiver does
//!   marker, first packet      1000     0    160        reports 5: a caller need not wait for the release
//!   next packet               1000     0    320        nothing: same timestamp, same key press
//!   last packet               1000     1    480        notes the end
//!   retransmitted end, twice  1000     1    480        nothing
//! digit 5 again               2000     0    160        reports 5: another timestamp
//! ```
//! A lost start, marker or end changes nothing, since any packet of a new timestamp reports the digit. A key held
//! longer than 65,535 units continues under the timestamp where the last segment ended (§2.5.1.3), and some senders
//! move the timestamp in every packet: an event that begins no later than the known end of an unfinished one with
//! the same digit is the same key press.

use std::collections::VecDeque;

/// The length of an event's payload in bytes.
pub const PAYLOAD_LENGTH: usize = 4;
/// Digits that may wait to be sent.
pub const MAX_QUEUED: usize = 64;

/// Timestamp units (8 kHz) in one packet of 20 ms.
const STEP: u16 = 160;
/// Packets of a digit before its end: 100 ms of tone.
const TONE_PACKETS: u16 = 5;
/// Ticks of silence after a digit's end packets, which themselves last 60 ms.
const GAP_TICKS: u8 = 2;
/// How often the end is sent (RFC 4733 §2.5.1.4).
const END_PACKETS: u8 = 3;
/// -10 dBm0, as keypads send.
const VOLUME: u8 = 10;

/// The digit of an event code: 0-9, `*`, `#`, A-D (RFC 4733 §3.2).
pub fn digit_of(event: u8) -> Option<char> {
    b"0123456789*#ABCD".get(usize::from(event)).map(|digit| char::from(*digit))
}

/// The event code of a digit, letters of either case.
pub fn event_of(digit: char) -> Option<u8> {
    "0123456789*#ABCD".chars().position(|known| known == digit.to_ascii_uppercase()).map(|code| code as u8)
}

/// Turns the packets of one source into digits.
#[derive(Clone, Debug, Default)]
pub struct Receiver {
    current: Option<Event>,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    code: u8,
    timestamp: u32,
    duration: u16,
    ended: bool,
}

/// A payload that is not a telephone event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a telephone event of {0} bytes is shorter than {PAYLOAD_LENGTH}")]
pub struct TooShort(pub usize);

impl Receiver {
    /// Takes one packet and returns the digit when a key press begins. Event codes that are no digit (flash, tones)
    /// are passed over.
    pub fn receive(
        &mut self,
        timestamp: u32,
        marker: bool,
        payload: &[u8],
    ) -> Result<Option<char>, TooShort> {
        let &[code, flags, high, low, ..] = payload else { return Err(TooShort(payload.len())) };
        let event =
            Event { code, timestamp, duration: u16::from_be_bytes([high, low]), ended: flags & 0x80 != 0 };
        let Some(current) = &mut self.current else {
            self.current = Some(event);
            return Ok(digit_of(code));
        };
        let later = timestamp.wrapping_sub(current.timestamp) as i32;
        if later < 0 {
            return Ok(None); // a reordered packet of an event that is over
        }
        let known_end = i32::from(current.duration);
        let continued = code == current.code && !current.ended && !marker && later <= known_end;
        if later == 0 || continued {
            current.ended |= event.ended;
            current.duration = if later == 0 { current.duration.max(event.duration) } else { event.duration };
            current.timestamp = timestamp;
            return Ok(None);
        }
        *current = event;
        Ok(digit_of(code))
    }
}

/// One packet to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The first packet of an event.
    pub marker: bool,
    /// The event's timestamp: that of its first packet.
    pub timestamp: u32,
    /// The payload.
    pub payload: [u8; PAYLOAD_LENGTH],
}

/// Sends digits, one packet a tick of 20 ms.
#[derive(Clone, Debug, Default)]
pub struct Sender {
    queue: VecDeque<u8>,
    state: Sending,
}

#[derive(Clone, Copy, Debug, Default)]
enum Sending {
    #[default]
    Idle,
    Tone {
        code: u8,
        timestamp: u32,
        packets: u16,
    },
    End {
        code: u8,
        timestamp: u32,
        left: u8,
    },
    Gap {
        left: u8,
    },
}

/// A digit that cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigitError {
    /// Not one of `0-9 * # A-D`.
    #[error("{0:?} is not a digit; digits are 0-9, *, # and A-D")]
    NotADigit(char),
    /// [`MAX_QUEUED`] digits wait already.
    #[error("more than {MAX_QUEUED} digits wait to be sent")]
    TooMany,
    /// The call has no telephone events, or is not connected yet.
    #[error("the peer takes no telephone events")]
    NotNegotiated,
}

impl Sender {
    /// Queues `digits`: all of them or, on an error, none.
    pub fn queue(&mut self, digits: &str) -> Result<(), DigitError> {
        if self.queue.len() + digits.chars().count() > MAX_QUEUED {
            return Err(DigitError::TooMany);
        }
        let codes: Vec<u8> = digits
            .chars()
            .map(|digit| event_of(digit).ok_or(DigitError::NotADigit(digit)))
            .collect::<Result<_, _>>()?;
        self.queue.extend(codes);
        Ok(())
    }

    /// Whether digits wait or one is being sent; audio gives way to them.
    pub fn is_busy(&self) -> bool {
        !self.queue.is_empty() || !matches!(self.state, Sending::Idle)
    }

    /// The event packet for the tick whose audio would carry `timestamp`; `None` in gaps and when idle.
    pub fn tick(&mut self, timestamp: u32) -> Option<Outgoing> {
        if matches!(self.state, Sending::Idle) {
            let code = self.queue.pop_front()?;
            self.state = Sending::Tone { code, timestamp, packets: 0 };
        }
        match self.state {
            Sending::Idle => None,
            Sending::Tone { code, timestamp, packets } => {
                let packets = packets + 1;
                self.state = if packets < TONE_PACKETS {
                    Sending::Tone { code, timestamp, packets }
                } else {
                    Sending::End { code, timestamp, left: END_PACKETS }
                };
                Some(outgoing(code, timestamp, packets, false))
            }
            Sending::End { code, timestamp, left } => {
                self.state = match left - 1 {
                    0 => Sending::Gap { left: GAP_TICKS },
                    left => Sending::End { code, timestamp, left },
                };
                Some(outgoing(code, timestamp, TONE_PACKETS, true))
            }
            Sending::Gap { left } => {
                self.state = if left > 1 { Sending::Gap { left: left - 1 } } else { Sending::Idle };
                None
            }
        }
    }
}

fn outgoing(code: u8, timestamp: u32, packets: u16, end: bool) -> Outgoing {
    let [high, low] = (packets * STEP).to_be_bytes();
    let flags = if end { 0x80 | VOLUME } else { VOLUME };
    Outgoing { marker: packets == 1 && !end, timestamp, payload: [code, flags, high, low] }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (timestamp, marker, code, end, duration)
    type Row = (u32, bool, u8, bool, u16);

    fn received(rows: &[Row]) -> String {
        let mut receiver = Receiver::default();
        let digit = |(timestamp, marker, code, end, duration): &Row| {
            let [high, low] = duration.to_be_bytes();
            let flags = if *end { 0x8a } else { 0x0a };
            receiver.receive(*timestamp, *marker, &[*code, flags, high, low]).unwrap()
        };
        rows.iter().filter_map(digit).collect()
    }

    #[test]
    fn a_table_of_timelines() {
        let cases: [(&str, &[Row], &str); 11] = [
            ("plain", &[(9, true, 5, false, 160), (9, false, 5, false, 320), (9, false, 5, true, 480)], "5"),
            (
                "three ends",
                &[(9, true, 5, false, 160), (9, false, 5, true, 320), (9, false, 5, true, 320)],
                "5",
            ),
            ("only an end arrives", &[(9, false, 11, true, 800)], "#"),
            ("no marker", &[(9, false, 1, false, 160), (9, false, 1, true, 320)], "1"),
            ("lost ends, another digit", &[(0, true, 1, false, 160), (900, true, 2, false, 160)], "12"),
            ("lost ends, the same digit", &[(0, true, 1, false, 320), (900, false, 1, false, 160)], "11"),
            (
                "back to back, same digit",
                &[(0, true, 7, false, 160), (0, false, 7, true, 320), (320, true, 7, false, 160)],
                "77",
            ),
            (
                "a key held over a segment",
                &[
                    (0, true, 3, false, 65_000),
                    (0, false, 3, false, 65_535),
                    (65_535, false, 3, false, 160),
                    (65_535, false, 3, true, 320),
                ],
                "3",
            ),
            (
                "a timestamp that moves with each packet",
                &[(0, true, 3, false, 160), (160, false, 3, false, 320), (320, false, 3, true, 480)],
                "3",
            ),
            (
                "reordered after the next digit began",
                &[(0, true, 1, false, 160), (900, true, 2, false, 160), (0, false, 1, true, 480)],
                "12",
            ),
            ("over the wrap", &[(u32::MAX - 9, true, 1, true, 160), (900, true, 2, true, 160)], "12"),
        ];
        for (name, rows, digits) in cases {
            assert_eq!(received(rows), digits, "{name}");
        }
    }

    #[test]
    fn codes_that_are_no_digits_are_passed_over() {
        assert_eq!(received(&[(0, true, 16, true, 160), (900, true, 0, true, 160)]), "0");
        assert_eq!(Receiver::default().receive(0, true, &[1, 2, 3]), Err(TooShort(3)));
    }

    #[test]
    fn digits_sent_are_digits_received() {
        let mut sender = Sender::default();
        sender.queue("0123456789*#abCD").unwrap();
        let mut receiver = Receiver::default();
        let (mut digits, mut timestamp, mut ends) = (String::new(), 4_294_967_000_u32, 0);
        while sender.is_busy() {
            if let Some(packet) = sender.tick(timestamp) {
                ends += usize::from(packet.payload[1] & 0x80 != 0);
                digits.extend(receiver.receive(packet.timestamp, packet.marker, &packet.payload).unwrap());
            }
            timestamp = timestamp.wrapping_add(160);
        }
        assert_eq!(digits, "0123456789*#ABCD");
        assert_eq!(ends, 16 * 3);
    }

    #[test]
    fn what_cannot_be_sent_is_refused_whole() {
        let mut sender = Sender::default();
        assert_eq!(sender.queue("12x"), Err(DigitError::NotADigit('x')));
        assert!(!sender.is_busy());
        assert_eq!(sender.queue(&"1".repeat(MAX_QUEUED + 1)), Err(DigitError::TooMany));
    }
}
