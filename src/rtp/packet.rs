//! RTP packets (RFC 3550 §5.1), parsed and built with the `rtp-rs` crate.
//!
//! The wrapper keeps the foreign types out of the pipeline, bounds the payload and tells RTCP apart, which
//! arrives on the same port when a peer multiplexes unasked (RFC 5761 §4).

use rtp_rs::{RtpPacketBuilder, RtpReader, Seq};
use thiserror::Error;

/// The longest payload accepted: 200 ms of G.711, the most that RFC 3551 §4.2 asks a receiver to take.
pub const MAX_PAYLOAD: usize = 1600;

/// The length of a header without contributing sources or extension, in bytes.
pub const HEADER_LENGTH: usize = 12;

/// The fields of a fixed header that we read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// 0..=127.
    pub payload_type: u8,
    /// The first packet of a talk spurt or of a telephone event.
    pub marker: bool,
    /// Wraps at 65,536.
    pub sequence: u16,
    /// In units of the payload's clock (8 kHz for G.711 and telephone events); wraps at 2^32.
    pub timestamp: u32,
    /// The synchronisation source.
    pub ssrc: u32,
}

/// A parsed packet; the payload is borrowed from the datagram, without its padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The fixed header.
    pub header: Header,
    /// The payload without padding.
    pub payload: &'a [u8],
}

/// Why a datagram is not an RTP packet of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PacketError {
    /// Too short, another version, or lengths that point outside the datagram.
    #[error("not an RTP packet")]
    Malformed,
    /// An RTCP packet multiplexed on the RTP port (RFC 5761 §4: payload types 64..=95).
    #[error("an RTCP packet")]
    Rtcp,
    /// A payload longer than [`MAX_PAYLOAD`].
    #[error("a payload of {0} bytes is longer than {MAX_PAYLOAD}")]
    TooLong(usize),
    /// The buffer given to [`write()`] is too small, or the payload type is above 127.
    #[error("the packet cannot be built")]
    Unbuildable,
}

impl<'a> Packet<'a> {
    /// Parses one datagram.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, PacketError> {
        let reader = RtpReader::new(datagram).map_err(|_| PacketError::Malformed)?;
        let payload_type = reader.payload_type();
        if (64..=95).contains(&payload_type) {
            return Err(PacketError::Rtcp);
        }
        let payload = reader.payload();
        if payload.len() > MAX_PAYLOAD {
            return Err(PacketError::TooLong(payload.len()));
        }
        let header = Header {
            payload_type,
            marker: reader.mark(),
            sequence: reader.sequence_number().into(),
            timestamp: reader.timestamp(),
            ssrc: reader.ssrc(),
        };
        Ok(Self { header, payload })
    }
}

/// Writes a packet into `target` and returns its length in bytes.
pub fn write(header: &Header, payload: &[u8], target: &mut [u8]) -> Result<usize, PacketError> {
    RtpPacketBuilder::new()
        .payload_type(header.payload_type)
        .marked(header.marker)
        .sequence(Seq::from(header.sequence))
        .timestamp(header.timestamp)
        .ssrc(header.ssrc)
        .payload(payload)
        .build_into(target)
        .map_err(|_| PacketError::Unbuildable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: Header =
        Header { payload_type: 8, marker: true, sequence: 65_535, timestamp: 0xffff_fff0, ssrc: 0xdead_beef };

    #[test]
    fn a_written_packet_reads_back() {
        let mut buffer = [0; 32];
        let length = write(&HEADER, &[1, 2, 3], &mut buffer).unwrap();
        assert_eq!(length, HEADER_LENGTH + 3);
        let packet = Packet::parse(&buffer[..length]).unwrap();
        assert_eq!(packet, Packet { header: HEADER, payload: &[1, 2, 3] });
    }

    #[test]
    fn what_is_not_rtp_is_named() {
        let cases: [(&[u8], PacketError); 5] = [
            (b"", PacketError::Malformed),
            (b"INVITE sip:x SIP/2.0", PacketError::Malformed),
            (&[0x80, 200, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0], PacketError::Rtcp),
            (&[0x8f, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0], PacketError::Malformed), // 15 sources promised
            (&[0xa0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 9], PacketError::Malformed), // padding too long
        ];
        for (bytes, error) in cases {
            assert_eq!(Packet::parse(bytes), Err(error), "{bytes:?}");
        }
        let mut long = vec![0x80; HEADER_LENGTH + MAX_PAYLOAD + 1];
        long[1] = 0;
        assert_eq!(Packet::parse(&long), Err(PacketError::TooLong(MAX_PAYLOAD + 1)));
    }

    #[test]
    fn nothing_is_written_outside_the_buffer() {
        assert_eq!(write(&HEADER, &[0; 160], &mut [0; 100]), Err(PacketError::Unbuildable));
        assert_eq!(
            write(&Header { payload_type: 128, ..HEADER }, &[], &mut [0; 100]),
            Err(PacketError::Unbuildable)
        );
    }

    proptest! {
        #[test]
        fn any_datagram_is_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(packet) = Packet::parse(&bytes) {
                prop_assert!(packet.payload.len() <= bytes.len() - HEADER_LENGTH);
            }
        }
    }
}
