//! Offer and answer (RFC 3264) for one audio stream.
//!
//! Pure functions: [`offer`] writes ours, [`answer`] reads theirs and writes the reply, [`accept`] reads the reply to ours.
//! What real equipment gets slightly wrong is tolerated: missing rtpmaps of static payload types, names in lower case,
//! bare line feeds, `c=` at session or media level, answers that repeat all our codecs or number them differently.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::read::read;
use sdp_types::{Attribute, Connection, Media, Origin, Session, Time};

/// An audio codec that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
}

impl Codec {
    /// The static payload type (RFC 3551 §6).
    pub fn payload_type(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Pcma => 8,
        }
    }

    /// The encoding name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
        }
    }

    /// The RTP clock rate in Hz.
    pub fn clock_rate(self) -> u32 {
        8000
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Who sends media, seen from us (RFC 3264 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Both.
    SendRecv,
    /// We send only: we hold them, or they play nothing.
    SendOnly,
    /// We receive only.
    RecvOnly,
    /// Nobody.
    Inactive,
}

impl Direction {
    /// The attribute's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// The same stream seen from the other end.
    pub fn mirrored(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            other => other,
        }
    }

    /// Whether we send.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether we receive.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// What we offer and accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaPolicy {
    /// In order of preference; not empty.
    pub codecs: Vec<Codec>,
    /// Whether digits go as telephone-events (RFC 4733).
    pub telephone_event: bool,
    /// Packet time in milliseconds.
    pub ptime_ms: u32,
}

impl Default for MediaPolicy {
    fn default() -> Self {
        Self { codecs: vec![Codec::Pcmu, Codec::Pcma], telephone_event: true, ptime_ms: 20 }
    }
}

impl MediaPolicy {
    /// A telephone-event for each clock rate of our codecs, as clock rate and payload type, numbered from `first` on.
    pub(super) fn events(&self, first: u8) -> Vec<(u32, u8)> {
        let rates = self.codecs.iter().map(|codec| codec.clock_rate());
        if self.telephone_event { events_of(rates, first) } else { Vec::new() }
    }
}

/// Each clock rate once, in the order of `rates`.
pub(super) fn events_of(rates: impl Iterator<Item = u32>, first: u8) -> Vec<(u32, u8)> {
    let mut events: Vec<(u32, u8)> = Vec::new();
    for rate in rates {
        if !events.iter().any(|(known, _)| *known == rate) {
            events.push((rate, first.saturating_add(events.len() as u8)));
        }
    }
    events
}

/// Our o= line: the id stays for the session, the version grows with every change of our description (RFC 3264 §8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOrigin {
    /// sess-id.
    pub id: u64,
    /// sess-version.
    pub version: u64,
}

/// What both sides agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// Where our RTP goes.
    pub remote: SocketAddr,
    /// The codec that we send.
    pub codec: Codec,
    /// The payload type that we send it with.
    pub payload_type: u8,
    /// The payload type that we send telephone-events with.
    pub telephone_event: Option<u8>,
    /// The payload type under which `codec` reaches us: ours, where an answer numbers it otherwise (RFC 3264 §6.1).
    pub receive_payload_type: u8,
    /// The payload type under which telephone-events reach us.
    pub receive_telephone_event: Option<u8>,
    /// Who sends, seen from us.
    pub direction: Direction,
    /// The packet time that the other side asks for, in milliseconds.
    pub ptime_ms: u32,
}

impl Negotiated {
    /// The telephone-event of our answer, as clock rate and payload type.
    pub(super) fn events(&self) -> Vec<(u32, u8)> {
        self.telephone_event.iter().map(|number| (self.codec.clock_rate(), *number)).collect()
    }
}

/// Why a description makes no audio stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// It cannot be read.
    #[error("the SDP is malformed: {0}")]
    Malformed(String),
    /// Over [`super::MAX_SDP`] bytes or [`super::MAX_MEDIA`] streams.
    #[error("the SDP is too large")]
    TooLarge,
    /// No audio stream over RTP/AVP.
    #[error("the SDP has no audio stream over RTP/AVP")]
    NoAudio,
    /// The audio stream was refused with port 0.
    #[error("the audio stream was refused")]
    Refused,
    /// None of our codecs.
    #[error("the SDP has no codec that we speak")]
    NoCodec,
    /// No usable c= line.
    #[error("the SDP names no address for the audio stream")]
    NoAddress,
}

/// The payload type that we give the first telephone-event in our offers; further clock rates count on.
pub const TELEPHONE_EVENT: u8 = 101;

/// Our offer, as text.
pub fn offer(
    policy: &MediaPolicy,
    origin: SessionOrigin,
    local: SocketAddr,
    direction: Direction,
) -> Vec<u8> {
    let codecs: Vec<(Codec, u8)> = policy.codecs.iter().map(|codec| (*codec, codec.payload_type())).collect();
    let events = policy.events(TELEPHONE_EVENT);
    let mut session = describe(origin, local);
    session.medias.push(audio("RTP/AVP", local.port(), &codecs, &events, direction, policy.ptime_ms));
    text(&session)
}

/// Reads an offer and writes our answer: the offerer's order of codecs decides, one codec is taken, other streams are refused.
/// `wanted` is the direction that we would like; the offer may narrow it.
pub fn answer(
    offer: &[u8],
    policy: &MediaPolicy,
    origin: SessionOrigin,
    local: SocketAddr,
    wanted: Direction,
) -> Result<(Vec<u8>, Negotiated), SdpError> {
    let theirs = read(offer)?;
    let index = theirs.medias.iter().position(is_audio).ok_or(SdpError::NoAudio)?;
    let media = theirs.medias.get(index).ok_or(SdpError::NoAudio)?;
    let mut negotiated = negotiate(&theirs, media, policy)?;
    negotiated.direction = meet(negotiated.direction, wanted);
    let mut session = describe(origin, local);
    for (at, offered) in theirs.medias.iter().enumerate() {
        session.medias.push(if at == index {
            let codecs = [(negotiated.codec, negotiated.payload_type)];
            let events = negotiated.events();
            audio(&offered.proto, local.port(), &codecs, &events, negotiated.direction, policy.ptime_ms)
        } else {
            refused(offered)
        });
    }
    Ok((text(&session), negotiated))
}

/// Reads the answer to our offer.
pub fn accept(answer: &[u8], policy: &MediaPolicy, offered: Direction) -> Result<Negotiated, SdpError> {
    let theirs = read(answer)?;
    let audio_line = theirs.medias.iter().find(|media| media.media.eq_ignore_ascii_case("audio"));
    if audio_line.is_some_and(|media| media.port == 0) {
        return Err(SdpError::Refused);
    }
    let media = audio_line.filter(|media| is_audio(media)).ok_or(SdpError::NoAudio)?;
    let mut negotiated = negotiate(&theirs, media, policy)?;
    negotiated.direction = meet(negotiated.direction, offered);
    negotiated.receive_payload_type = negotiated.codec.payload_type();
    negotiated.receive_telephone_event = negotiated.telephone_event.map(|_| TELEPHONE_EVENT);
    Ok(negotiated)
}

/// The answer that refuses every stream of an offer: where the protocol wants an answer before the call can be ended.
pub fn refuse(offer: &[u8]) -> Result<Vec<u8>, SdpError> {
    let theirs = read(offer)?;
    let mut session = describe(SessionOrigin { id: 0, version: 0 }, SocketAddr::new([0, 0, 0, 0].into(), 0));
    session.medias = theirs.medias.iter().map(refused).collect();
    Ok(text(&session))
}

pub(super) fn is_audio(media: &Media) -> bool {
    let plain = ["RTP/AVP", "RTP/AVPF"].iter().any(|proto| media.proto.eq_ignore_ascii_case(proto));
    media.media.eq_ignore_ascii_case("audio") && plain && media.port != 0
}

/// Takes the first of their formats that we speak, with their numbers (RFC 3264 §6.1, §7).
pub(super) fn negotiate(
    session: &Session,
    media: &Media,
    policy: &MediaPolicy,
) -> Result<Negotiated, SdpError> {
    let formats = || media.fmt.split_ascii_whitespace().filter_map(|format| format.parse::<u8>().ok());
    let (codec, payload_type) = formats()
        .find_map(|format| Some((codec_of(media, format, policy)?, format)))
        .ok_or(SdpError::NoCodec)?;
    // Events run on the codec's clock (RFC 4733 §2.1); other rates are for codecs that were not chosen.
    let clock = codec.clock_rate();
    let event = formats().find(|format| {
        rtpmap(media, *format)
            .is_some_and(|(name, rate)| name.eq_ignore_ascii_case("telephone-event") && rate == clock)
    });
    let event = event.filter(|_| policy.telephone_event);
    let (address, held) = address(session, media)?;
    let milliseconds = |name: &str| {
        let value =
            media.attributes.iter().find(|one| one.attribute.eq_ignore_ascii_case(name))?.value.as_deref()?;
        value
            .trim()
            .parse::<f32>()
            .ok()
            .filter(|value| (10.0..=200.0).contains(value))
            .map(|value| value as u32)
    };
    let ptime = milliseconds("ptime").unwrap_or(20).min(milliseconds("maxptime").unwrap_or(u32::MAX));
    let direction = direction(session, media);
    Ok(Negotiated {
        remote: SocketAddr::new(address, media.port),
        codec,
        payload_type,
        telephone_event: event,
        receive_payload_type: payload_type,
        receive_telephone_event: event,
        // c=0.0.0.0 is the old way to hold (RFC 2543; RFC 3264 §8.4): they receive nothing.
        direction: if held { meet(direction, Direction::RecvOnly) } else { direction },
        ptime_ms: ptime,
    })
}

fn codec_of(media: &Media, format: u8, policy: &MediaPolicy) -> Option<Codec> {
    match rtpmap(media, format) {
        Some((name, rate)) => {
            let known =
                |codec: &&Codec| name.eq_ignore_ascii_case(codec.name()) && rate == codec.clock_rate();
            policy.codecs.iter().find(known).copied()
        }
        None => policy.codecs.iter().find(|codec| codec.payload_type() == format).copied(),
    }
}

/// The name and clock rate of a format.
fn rtpmap(media: &Media, format: u8) -> Option<(&str, u32)> {
    media.attributes.iter().filter(|attribute| attribute.attribute.eq_ignore_ascii_case("rtpmap")).find_map(
        |attribute| {
            let (number, encoding) = attribute.value.as_deref()?.trim().split_once([' ', '\t'])?;
            let (name, rate) = encoding.trim().split_once('/')?;
            let rate = rate.split('/').next()?.trim().parse().ok()?;
            (number.parse() == Ok(format)).then_some((name, rate))
        },
    )
}

/// The address, media level before session level, and whether it is the unspecified one that means hold.
fn address(session: &Session, media: &Media) -> Result<(IpAddr, bool), SdpError> {
    let connection = media.connections.first().or(session.connection.as_ref()).ok_or(SdpError::NoAddress)?;
    let text = connection.connection_address.split('/').next().unwrap_or_default();
    // Some write an IPv6 address as in a URI.
    let text = text.trim().trim_start_matches('[').trim_end_matches(']');
    let address: IpAddr = text.parse().map_err(|_| SdpError::NoAddress)?;
    if address.is_multicast() { Err(SdpError::NoAddress) } else { Ok((address, address.is_unspecified())) }
}

/// Their direction turned to ours; the media level wins, sendrecv is the default.
fn direction(session: &Session, media: &Media) -> Direction {
    let find = |attributes: &[Attribute]| {
        attributes.iter().find_map(|attribute| {
            [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive]
                .into_iter()
                .find(|direction| attribute.attribute.eq_ignore_ascii_case(direction.as_str()))
        })
    };
    find(&media.attributes).or_else(|| find(&session.attributes)).unwrap_or(Direction::SendRecv).mirrored()
}

/// What both allow.
pub(super) fn meet(one: Direction, other: Direction) -> Direction {
    match (one.sends() && other.sends(), one.receives() && other.receives()) {
        (true, true) => Direction::SendRecv,
        (true, false) => Direction::SendOnly,
        (false, true) => Direction::RecvOnly,
        (false, false) => Direction::Inactive,
    }
}

pub(super) fn describe(origin: SessionOrigin, local: SocketAddr) -> Session {
    let mut session = Session::new(Origin::with_ip_addr(origin.id, origin.version, local.ip()), "-");
    session.connection = Some(Connection::from_ip_addr(local.ip()));
    session.times.push(Time::new(0, 0));
    session
}

pub(super) fn audio(
    proto: &str,
    port: u16,
    codecs: &[(Codec, u8)],
    events: &[(u32, u8)],
    direction: Direction,
    ptime: u32,
) -> Media {
    let mut formats: Vec<String> = codecs.iter().map(|(_, number)| number.to_string()).collect();
    formats.extend(events.iter().map(|(_, number)| number.to_string()));
    let mut media = empty("audio", proto, port, formats.join(" "));
    let mut attribute = |name: &str, value: Option<String>| {
        media.attributes.push(Attribute { attribute: name.to_owned(), value });
    };
    for (codec, number) in codecs {
        attribute("rtpmap", Some(format!("{number} {}/{}", codec.name(), codec.clock_rate())));
    }
    for (clock, number) in events {
        attribute("rtpmap", Some(format!("{number} telephone-event/{clock}")));
        attribute("fmtp", Some(format!("{number} 0-16")));
    }
    attribute("ptime", Some(ptime.to_string()));
    attribute(direction.as_str(), None);
    media
}

/// An m= line of the offer that we do not want: same kind and formats, port 0 (RFC 3264 §6).
pub(super) fn refused(offered: &Media) -> Media {
    let kind = visible(&offered.media, "audio");
    empty(&kind, &visible(&offered.proto, "RTP/AVP"), 0, visible(&offered.fmt, "0"))
}

/// What can be written back; an offer may have put nothing but control characters there.
fn visible(text: &str, instead: &str) -> String {
    let text: String = text.chars().filter(|character| !character.is_control()).collect();
    if text.trim().is_empty() { instead.to_owned() } else { text.trim().to_owned() }
}

fn empty(kind: &str, proto: &str, port: u16, fmt: String) -> Media {
    Media {
        media: kind.to_owned(),
        port,
        num_ports: None,
        proto: proto.to_owned(),
        fmt,
        media_title: None,
        connections: Vec::new(),
        bandwidths: Vec::new(),
        key: None,
        attributes: Vec::new(),
    }
}

pub(super) fn text(session: &Session) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    // Writing into memory cannot fail.
    let _ = session.write(&mut bytes);
    bytes
}
