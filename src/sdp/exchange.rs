//! Our side of all offers and answers of one call: what a later description must keep from an earlier one (RFC 3264 §8).

use std::net::SocketAddr;

use sdp_types::Media;

use super::offer_answer::{
    Codec, Direction, MediaPolicy, Negotiated, SdpError, SessionOrigin, TELEPHONE_EVENT, audio, describe,
    is_audio, meet, negotiate, refused, text,
};
use super::read::read;

/// The descriptions of one call. The `o=` version grows when ours changes and only then, streams keep their place, payload
/// types keep their meaning.
#[derive(Debug, Clone)]
pub struct Exchange {
    policy: MediaPolicy,
    origin: SessionOrigin,
    local: SocketAddr,
    /// Our streams as last described.
    last: Option<Vec<Media>>,
    /// Which of them is the audio.
    audio: usize,
    /// The direction that we wished for last.
    offered: Direction,
    /// Payload types by codec, where they are not the static ones.
    numbers: Vec<(Codec, u8)>,
    /// The payload type of the first telephone-event in our offers.
    event: u8,
}

impl Exchange {
    /// Nothing is described yet. `origin` is that of the first description; `local` is where our RTP arrives.
    pub fn new(policy: MediaPolicy, origin: SessionOrigin, local: SocketAddr) -> Self {
        let offered = Direction::SendRecv;
        Self {
            policy,
            origin,
            local,
            last: None,
            audio: 0,
            offered,
            numbers: Vec::new(),
            event: TELEPHONE_EVENT,
        }
    }

    /// What we offer and accept.
    pub fn policy(&self) -> &MediaPolicy {
        &self.policy
    }

    /// The direction that our last offer or answer wished for.
    pub fn offered(&self) -> Direction {
        self.offered
    }

    /// An offer. The first one equals [`super::offer`].
    pub fn offer(&mut self, direction: Direction) -> Vec<u8> {
        let codecs: Vec<(Codec, u8)> =
            self.policy.codecs.iter().map(|codec| (*codec, self.number(*codec))).collect();
        let events = self.policy.events(self.event);
        let ours = audio("RTP/AVP", self.local.port(), &codecs, &events, direction, self.policy.ptime_ms);
        let mut streams: Vec<Media> = self.last.iter().flatten().map(refused).collect();
        match streams.get_mut(self.audio) {
            Some(stream) => *stream = ours,
            None => streams.push(ours),
        }
        self.offered = direction;
        self.describe(streams)
    }

    /// Reads an offer and writes our answer; `wanted` is the direction that we would like, the offer may narrow it.
    /// After an error nothing has changed.
    pub fn answer(&mut self, offer: &[u8], wanted: Direction) -> Result<(Vec<u8>, Negotiated), SdpError> {
        let theirs = read(offer)?;
        // The stream that is in use already, else the first that we can take.
        let known = theirs.medias.get(self.audio).filter(|media| self.last.is_some() && is_audio(media));
        let index = match known {
            Some(_) => self.audio,
            None => theirs.medias.iter().position(is_audio).ok_or(SdpError::NoAudio)?,
        };
        let media = theirs.medias.get(index).ok_or(SdpError::NoAudio)?;
        let mut negotiated = negotiate(&theirs, media, &self.policy)?;
        negotiated.direction = meet(negotiated.direction, wanted);
        let codecs = [(negotiated.codec, negotiated.payload_type)];
        let (events, direction) = (negotiated.events(), negotiated.direction);
        let ours = audio(&media.proto, self.local.port(), &codecs, &events, direction, self.policy.ptime_ms);
        let mut streams: Vec<Media> = theirs.medias.iter().map(refused).collect();
        if let Some(stream) = streams.get_mut(index) {
            *stream = ours;
        }
        self.offered = wanted;
        self.audio = index;
        self.numbers.retain(|(codec, _)| *codec != negotiated.codec);
        self.numbers.push((negotiated.codec, negotiated.payload_type));
        self.event = negotiated.telephone_event.unwrap_or_else(|| free_number(media, self.event));
        Ok((self.describe(streams), negotiated))
    }

    /// Reads the answer to our last offer.
    pub fn accept(&self, answer: &[u8]) -> Result<Negotiated, SdpError> {
        let theirs = read(answer)?;
        // Equipment that leaves out the streams it refuses answers in the first place.
        let is_ours = |media: &&Media| media.media.eq_ignore_ascii_case("audio");
        let media =
            theirs.medias.get(self.audio).filter(is_ours).or_else(|| theirs.medias.iter().find(is_ours));
        let media = media.ok_or(SdpError::NoAudio)?;
        if media.port == 0 {
            return Err(SdpError::Refused);
        }
        if !is_audio(media) {
            return Err(SdpError::NoAudio);
        }
        let mut negotiated = negotiate(&theirs, media, &self.policy)?;
        negotiated.direction = meet(negotiated.direction, self.offered);
        negotiated.receive_payload_type = self.number(negotiated.codec);
        let clock = negotiated.codec.clock_rate();
        let ours = self.policy.events(self.event).into_iter().find(|(rate, _)| *rate == clock);
        negotiated.receive_telephone_event = negotiated.telephone_event.and(ours).map(|(_, number)| number);
        Ok(negotiated)
    }

    fn number(&self, codec: Codec) -> u8 {
        let renumbered = self.numbers.iter().find(|(known, _)| *known == codec);
        renumbered.map_or(codec.payload_type(), |(_, number)| *number)
    }

    fn describe(&mut self, streams: Vec<Media>) -> Vec<u8> {
        if self.last.as_ref().is_some_and(|last| *last != streams) {
            self.origin.version += 1;
        }
        let mut session = describe(self.origin, self.local);
        session.medias = streams.clone();
        self.last = Some(streams);
        text(&session)
    }
}

/// A dynamic payload type for telephone-event that their stream gives no other meaning, `wanted` before others.
fn free_number(media: &Media, wanted: u8) -> u8 {
    let taken: Vec<u8> =
        media.fmt.split_ascii_whitespace().filter_map(|format| format.parse().ok()).collect();
    std::iter::once(wanted).chain(96..=127).find(|number| !taken.contains(number)).unwrap_or(wanted)
}
