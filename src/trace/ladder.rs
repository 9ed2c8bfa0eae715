//! Messages to steps: who said what when, what its SDP says, and what was only said again.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;

use serde::Serialize;

use super::{Direction, Traced, redact, sdp_line, transport_word};
use crate::sip::message::{HeaderName, Message};

/// A call as it went over the wire, ready to be drawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ladder {
    /// When the first message went or came, in microseconds since 1970.
    pub began_us: i64,
    /// Whom we spoke with, in the order in which they turn up.
    pub peers: Vec<Peer>,
    /// What was said.
    pub steps: Vec<Step>,
}

/// Somebody on the other side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// Their address.
    pub address: SocketAddr,
    /// `udp`, `tcp`, `tls`, `ws` or `wss`.
    pub transport: &'static str,
    /// Our address towards them.
    pub local: SocketAddr,
}

/// One arrow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Microseconds since the first message.
    pub offset_us: i64,
    /// Which way.
    pub direction: Direction,
    /// With whom: the place in [`Ladder::peers`].
    pub peer: usize,
    /// `INVITE sip:…50@192.0.2.1` or `486 Busy Here (INVITE)`.
    pub what: String,
    /// The status of a response.
    pub status: Option<u16>,
    /// What else the message says: its SDP, why it refuses, whether it brings credentials.
    pub notes: Vec<String>,
    /// 1 for a message that is new; 2 when it goes or comes for the second time, and so on.
    pub nth: u32,
    /// When it was said again with nothing else in between, in microseconds since the first message.
    pub again_us: Vec<i64>,
    /// The place of the message in the trace.
    pub message: usize,
}

impl Ladder {
    /// Draws `messages`, oldest first. With `numbers`, phone numbers are written out.
    pub fn of(messages: &[Traced], numbers: bool) -> Self {
        let began_us = messages.first().map_or(0, |message| message.at_us);
        let mut ladder = Self { began_us, peers: Vec::new(), steps: Vec::new() };
        let mut seen: HashMap<(Direction, SocketAddr, &[u8]), u32> = HashMap::new();
        let mut last: Option<&Traced> = None;
        for (place, message) in messages.iter().enumerate() {
            let times = seen.entry((message.direction, message.remote, &message.bytes)).or_insert(0);
            *times += 1;
            let offset_us = message.at_us.saturating_sub(began_us);
            let same = |last: &&Traced| {
                (last.direction, last.remote, &last.bytes)
                    == (message.direction, message.remote, &message.bytes)
            };
            if let (Some(_), Some(step)) = (last.filter(same), ladder.steps.last_mut()) {
                step.again_us.push(offset_us);
            } else {
                let peer = ladder.peer(message);
                ladder.steps.push(step(message, place, offset_us, peer, *times, numbers));
            }
            last = Some(message);
        }
        ladder
    }

    fn peer(&mut self, message: &Traced) -> usize {
        let transport = transport_word(message.transport);
        let known =
            self.peers.iter().position(|peer| peer.address == message.remote && peer.transport == transport);
        known.unwrap_or_else(|| {
            self.peers.push(Peer { address: message.remote, transport, local: message.local });
            self.peers.len() - 1
        })
    }
}

fn step(traced: &Traced, place: usize, offset_us: i64, peer: usize, nth: u32, numbers: bool) -> Step {
    let parsed = Message::parse(&traced.bytes).ok();
    let shown =
        |text: Cow<'_, str>| printable(&if numbers { text.into_owned() } else { redact::numbers(&text) });
    let first_line = || {
        let line = traced.bytes.split(|byte| matches!(byte, b'\r' | b'\n')).find(|line| !line.is_empty());
        shown(String::from_utf8_lossy(line.unwrap_or_default()))
    };
    let what = match &parsed {
        Some(message) => title(message).map_or_else(first_line, |title| shown(title.into())),
        None => first_line(),
    };
    let notes = match (&parsed, nth) {
        (Some(message), 1) => notes(message).into_iter().map(|note| shown(note.into())).collect(),
        _ => Vec::new(),
    };
    let status = parsed.as_ref().and_then(Message::status);
    Step {
        offset_us,
        direction: traced.direction,
        peer,
        what,
        status,
        notes,
        nth,
        again_us: Vec::new(),
        message: place,
    }
}

fn title(message: &Message) -> Option<String> {
    match (message.method(), message.uri(), message.status()) {
        (Some(method), Some(uri), _) => Some(format!("{method} {}", uri.as_str())),
        (_, _, Some(status)) => {
            let method = message.cseq().map(|cseq| format!(" ({})", cseq.method)).unwrap_or_default();
            Some(format!("{status} {}{method}", message.reason().unwrap_or_default()))
        }
        _ => None,
    }
}

/// What a person who looks for a fault wants to know beside the first line.
fn notes(message: &Message) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(sdp) = message.sdp().and_then(sdp_line::summary) {
        notes.push(format!("SDP {sdp}"));
    }
    let fields: [(&str, HeaderName); 4] = [
        ("Reason", HeaderName::from_token("Reason")),
        ("Retry-After", HeaderName::from_token("Retry-After")),
        ("Warning", HeaderName::from_token("Warning")),
        ("RSeq", HeaderName::from_token("RSeq")),
    ];
    for (label, name) in fields {
        notes.extend(message.header(name).map(|value| format!("{label}: {value}")));
    }
    for (name, phrase) in
        [("Authorization", "with credentials"), ("Proxy-Authorization", "with credentials for the proxy")]
    {
        if message.header_named(name).is_some() {
            notes.push(phrase.to_owned());
        }
    }
    for name in ["WWW-Authenticate", "Proxy-Authenticate"] {
        if let Some(challenge) = message.header_named(name) {
            let realm =
                challenge.split("realm=").nth(1).and_then(|rest| rest.split('"').nth(1)).unwrap_or_default();
            notes.push(format!("asks for credentials, realm \"{realm}\""));
        }
    }
    notes
}

/// Without control characters: what a peer wrote must not steer a terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Transport;

    fn traced(at_us: i64, direction: Direction, remote: &str, first: &str, more: &str) -> Traced {
        let method = first.split(' ').next().filter(|word| !word.starts_with("SIP")).unwrap_or("INVITE");
        let text = format!(
            "{first}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\n\
             Call-ID: 1\r\nCSeq: 1 {method}\r\n{more}"
        );
        let text = if more.contains("\r\n\r\n") { text } else { format!("{text}Content-Length: 0\r\n\r\n") };
        let local = "192.0.2.1:5060".parse().unwrap();
        let remote = remote.parse().unwrap();
        Traced { at_us, direction, transport: Transport::Udp, local, remote, bytes: text.into_bytes() }
    }

    #[test]
    fn repeats_are_folded_and_what_crosses_them_is_not_lost() {
        let invite =
            |at| traced(at, Direction::Out, "192.0.2.9:5060", "INVITE sip:+442071838750@x SIP/2.0", "");
        let ringing = |at| traced(at, Direction::In, "192.0.2.9:5060", "SIP/2.0 180 Ringing", "");
        let messages =
            [invite(1_000_000), invite(1_500_000), ringing(1_600_000), invite(2_500_000), ringing(2_600_000)];
        let ladder = Ladder::of(&messages, false);
        let steps: Vec<_> = ladder
            .steps
            .iter()
            .map(|step| (step.offset_us, step.what.as_str(), step.nth, step.again_us.as_slice()))
            .collect();
        assert_eq!(
            steps,
            [
                (0, "INVITE sip:…50@x", 1, &[500_000_i64][..]),
                (600_000, "180 Ringing (INVITE)", 1, &[]),
                (1_500_000, "INVITE sip:…50@x", 3, &[]),
                (1_600_000, "180 Ringing (INVITE)", 2, &[]),
            ]
        );
        assert_eq!(Ladder::of(&messages, true).steps[0].what, "INVITE sip:+442071838750@x");
    }

    #[test]
    fn notes_say_what_matters() {
        let more = "Proxy-Authenticate: Digest realm=\"carrier\", nonce=\"x\"\r\nRetry-After: 5\r\nReason: Q.850;cause=17\r\n";
        let ladder = Ladder::of(
            &[traced(0, Direction::In, "192.0.2.9:5060", "SIP/2.0 407 \u{1b}[31mNo", more)],
            false,
        );
        let step = &ladder.steps[0];
        assert_eq!((step.what.as_str(), step.status), ("407 \u{fffd}[31mNo (INVITE)", Some(407)));
        assert_eq!(
            step.notes,
            ["Reason: Q.850;cause=17", "Retry-After: 5", "asks for credentials, realm \"carrier\""]
        );
    }

    #[test]
    fn what_is_no_sip_is_shown_by_its_first_line() {
        let mut odd = traced(5, Direction::In, "[2001:db8::9]:5061", "x", "");
        odd.bytes = b"\r\ngarbage sip:12345@x\nmore".to_vec();
        let ladder = Ladder::of(&[odd], false);
        assert_eq!(ladder.steps[0].what, "garbage sip:…45@x");
        assert_eq!(Ladder::of(&[], false).steps, []);
    }
}
