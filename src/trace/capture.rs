//! Messages as a capture file (pcap, raw IP packets, microseconds) that Wireshark and tshark read.
//!
//! UDP messages are the datagrams that they were. TCP messages are one segment each with sequence numbers that fit each other;
//! the handshake and the acknowledgements in between are not there. TLS and WebSocket messages are written as what was said
//! inside of them, as TCP, with the peer's port replaced by 5060: at 5061 and 443 Wireshark would look for ciphertext.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep};
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, PcapError};

use super::{Direction, Traced};
use crate::sip::Transport;

/// The most of a message that fits into one IP packet beside its headers.
const MAX_PAYLOAD: usize = 65_000;

/// A hop limit that says: from a host near by.
const HOP_LIMIT: u8 = 64;

/// The port at which tools look for SIP.
const SIP_PORT: u16 = 5060;

/// Why no capture could be written.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// A message does not fit into a packet.
    #[error("a message fits no IP packet: {0}")]
    Packet(#[from] etherparse::err::packet::BuildWriteError),
    /// The file format refused.
    #[error("the capture cannot be written: {0}")]
    File(#[from] PcapError),
}

/// The capture file of `messages`, oldest first.
///
/// # Errors
/// See [`CaptureError`].
pub fn file(messages: &[Traced]) -> Result<Vec<u8>, CaptureError> {
    let header = PcapHeader { datalink: DataLink::RAW, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(Vec::new(), header)?;
    let mut sequences: HashMap<(SocketAddr, SocketAddr), u32> = HashMap::new();
    for message in messages {
        let packet = packet(message, &mut sequences)?;
        let at = Duration::from_micros(message.at_us.unsigned_abs());
        let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        writer.write_packet(&PcapPacket::new(at, length, &packet))?;
    }
    Ok(writer.into_writer())
}

/// One IP packet.
fn packet(
    message: &Traced,
    sequences: &mut HashMap<(SocketAddr, SocketAddr), u32>,
) -> Result<Vec<u8>, CaptureError> {
    let payload = message.bytes.get(..MAX_PAYLOAD).unwrap_or(&message.bytes);
    let mut remote = message.remote;
    if matches!(message.transport, Transport::Tls | Transport::Ws | Transport::Wss) {
        remote.set_port(SIP_PORT);
    }
    let (source, destination) = match message.direction {
        Direction::Out => (message.local, remote),
        Direction::In => (remote, message.local),
    };
    let ip = ip_headers(source.ip(), destination.ip());
    let mut bytes = Vec::with_capacity(payload.len() + 80);
    if message.transport == Transport::Udp {
        ip.udp(source.port(), destination.port()).write(&mut bytes, payload)?;
        return Ok(bytes);
    }
    let acknowledged = sequences.get(&(destination, source)).copied().unwrap_or(1);
    let sequence = sequences.entry((source, destination)).or_insert(1);
    let segment = ip.tcp(source.port(), destination.port(), *sequence, u16::MAX).ack(acknowledged).psh();
    segment.write(&mut bytes, payload)?;
    *sequence = sequence.wrapping_add(u32::try_from(payload.len()).unwrap_or(0));
    Ok(bytes)
}

fn ip_headers(source: IpAddr, destination: IpAddr) -> PacketBuilderStep<IpHeaders> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            PacketBuilder::ipv4(source.octets(), destination.octets(), HOP_LIMIT)
        }
        _ => PacketBuilder::ipv6(ipv6(source).octets(), ipv6(destination).octets(), HOP_LIMIT),
    }
}

fn ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests {
    use etherparse::SlicedPacket;
    use pcap_file::pcap::PcapReader;

    use super::*;

    fn message(
        direction: Direction,
        transport: Transport,
        local: &str,
        remote: &str,
        bytes: &[u8],
    ) -> Traced {
        let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
        Traced { at_us: 1_772_442_000_123_456, direction, transport, local, remote, bytes: bytes.to_vec() }
    }

    #[test]
    fn packets_read_back_with_their_times() {
        let messages = [
            message(Direction::Out, Transport::Udp, "192.0.2.1:5060", "192.0.2.9:5070", b"INVITE"),
            message(
                Direction::In,
                Transport::Udp,
                "[2001:db8::1]:5060",
                "[2001:db8::9]:5060",
                b"SIP/2.0 200 OK",
            ),
            message(Direction::Out, Transport::Tls, "192.0.2.1:40000", "192.0.2.9:5061", b"BYE"),
            message(Direction::In, Transport::Tls, "192.0.2.1:40000", "192.0.2.9:5061", b"SIP"),
            message(Direction::Out, Transport::Tls, "192.0.2.1:40000", "192.0.2.9:5061", &[b'x'; 70_000]),
        ];
        let file = file(&messages).unwrap();
        let mut reader = PcapReader::new(file.as_slice()).unwrap();
        let mut seen = Vec::new();
        while let Some(packet) = reader.next_packet() {
            let packet = packet.unwrap();
            assert_eq!(packet.timestamp, Duration::from_micros(1_772_442_000_123_456));
            let sliced = SlicedPacket::from_ip(&packet.data).unwrap();
            let ports = match sliced.transport.unwrap() {
                etherparse::TransportSlice::Udp(udp) => {
                    (udp.source_port(), udp.destination_port(), 0, 0, udp.payload().len())
                }
                etherparse::TransportSlice::Tcp(tcp) => (
                    tcp.source_port(),
                    tcp.destination_port(),
                    tcp.sequence_number(),
                    tcp.acknowledgment_number(),
                    tcp.payload().len(),
                ),
                other => panic!("{other:?}"),
            };
            seen.push(ports);
        }
        assert_eq!(
            seen,
            [
                (5060, 5070, 0, 0, 6),
                (5060, 5060, 0, 0, 14),
                (40000, 5060, 1, 1, 3),
                (5060, 40000, 1, 4, 3),
                (40000, 5060, 4, 4, MAX_PAYLOAD),
            ]
        );
    }
}
