//! SIP messages, counted from their bytes: a method, a status, and what became of the rest.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::List;
use crate::sip::Transport;
use crate::sip::endpoint::DropReason;
use crate::sip::message::reason_phrase;
use crate::trace::{Direction, transport_word};

/// Counts SIP messages. Cloning is cheap; all clones count together.
#[derive(Debug, Clone, Default)]
pub struct SipMetrics {
    messages: Family<MessageLabels, Counter>,
    again: Family<DirectionLabels, Counter>,
    dropped: Family<DropLabels, Counter>,
    overflowed: Counter,
}

/// The methods that are counted by name; any other token counts as `other`.
const METHODS: &[&str] = &[
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "REGISTER",
    "INFO",
    "UPDATE",
    "PRACK",
    "SUBSCRIBE",
    "NOTIFY",
    "REFER",
    "MESSAGE",
    "PUBLISH",
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MessageLabels {
    direction: &'static str,
    transport: &'static str,
    method: &'static str,
    class: &'static str,
    status: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DropLabels {
    reason: Reason,
}

/// `UnknownSource` is written `unknown_source`, when it is written: counting a flood allocates nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Reason(DropReason);

impl EncodeLabelValue for Reason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut word = String::new();
        for c in format!("{:?}", self.0).chars() {
            if c.is_ascii_uppercase() && !word.is_empty() {
                word.push('_');
            }
            word.push(c.to_ascii_lowercase());
        }
        EncodeLabelValue::encode(&word, encoder)
    }
}

impl SipMetrics {
    /// Counts a message that came.
    pub fn received(&self, transport: Transport, bytes: &[u8]) {
        self.count(Direction::In, transport, bytes);
    }

    /// Counts a message that was sent.
    pub fn sent(&self, transport: Transport, bytes: &[u8]) {
        self.count(Direction::Out, transport, bytes);
    }

    /// Counts a retransmission; the message itself is counted beside.
    pub fn again(&self, direction: Direction) {
        self.again.get_or_create(&DirectionLabels { direction: direction.as_str() }).inc();
    }

    /// Counts what was dropped.
    pub fn dropped(&self, reason: DropReason) {
        self.dropped.get_or_create(&DropLabels { reason: Reason(reason) }).inc();
    }

    /// Notes how many messages have found the queue of their session full.
    pub fn set_overflowed(&self, count: u64) {
        super::set(&self.overflowed, count);
    }

    pub(super) fn register(&self, list: &mut List<'_>) {
        let help = "SIP messages. `class` is `request` or `1xx` to `6xx`; a status that no RFC knows counts as the first of its class.";
        list.add(
            "callahead_sip_messages",
            "direction, transport, method, class, status",
            help,
            self.messages.clone(),
        );
        let help = "SIP messages of calls and registrations that had gone or come before.";
        list.add("callahead_sip_retransmissions", "direction", help, self.again.clone());
        let help = "Datagrams that were dropped without an answer, by why.";
        list.add("callahead_sip_dropped", "reason", help, self.dropped.clone());
        let help = "SIP messages that found a call's queue full.";
        list.add("callahead_sip_overflowed", "", help, self.overflowed.clone());
    }

    fn count(&self, direction: Direction, transport: Transport, bytes: &[u8]) {
        let Some((method, status)) = kind(bytes) else { return };
        let (class, status) = match status {
            None => ("request", None),
            Some(status) => (class(status), Some(known(status))),
        };
        let labels = MessageLabels {
            direction: direction.as_str(),
            transport: transport_word(transport),
            method,
            class,
            status,
        };
        self.messages.get_or_create(&labels).inc();
    }
}

/// The method of a request, or the method and status of a response; `None`: this is no SIP message. Looks at the first line
/// and, in a response, for CSeq: whether the rest is well-formed is not the question here.
fn kind(bytes: &[u8]) -> Option<(&'static str, Option<u16>)> {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let bytes = bytes.get(start..)?;
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    if let Some(rest) = strip_version(line) {
        let digits = rest.get(1..4)?;
        let status =
            std::str::from_utf8(digits).ok()?.parse().ok().filter(|status| (100..700).contains(status))?;
        return Some((cseq_method(bytes), Some(status)));
    }
    let words = line.trim_ascii_end();
    strip_version(words.get(words.len().checked_sub(7)?..)?)?;
    Some((method(words.split(|byte| *byte == b' ').next()?), None))
}

fn strip_version(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(..7).filter(|version| version.eq_ignore_ascii_case(b"SIP/2.0")).and(bytes.get(7..))
}

fn cseq_method(bytes: &[u8]) -> &'static str {
    let lines = bytes.split(|byte| *byte == b'\n').take_while(|line| !line.trim_ascii().is_empty());
    let is_cseq = |line: &&[u8]| line.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"cseq"));
    let word = lines
        .into_iter()
        .find(is_cseq)
        .and_then(|line| line.trim_ascii().rsplit(|byte| byte.is_ascii_whitespace()).next());
    word.map_or("other", method)
}

fn method(token: &[u8]) -> &'static str {
    METHODS.iter().find(|method| method.as_bytes() == token).copied().unwrap_or("other")
}

fn class(status: u16) -> &'static str {
    match status {
        ..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        500..600 => "5xx",
        _ => "6xx",
    }
}

/// The status itself if it has a phrase of its own, else the first of its class (RFC 3261 §8.1.3.2).
fn known(status: u16) -> u16 {
    let first = status - status % 100;
    if reason_phrase(status) == reason_phrase(first + 99) { first } else { status }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_by_their_first_lines() {
        let response =
            |first: &str, cseq: &str| format!("{first}\r\nVia: x\r\n{cseq}\r\n\r\nCSeq: 1 BYE\r\n");
        let cases = [
            ("INVITE sip:a SIP/2.0\r\n\r\n".to_owned(), Some(("INVITE", None))),
            ("\r\n\r\nNEWMETHOD sip:a SIP/2.0\r\n".to_owned(), Some(("other", None))),
            ("invite sip:a sip/2.0\n".to_owned(), Some(("other", None))),
            (response("SIP/2.0 486 Busy", "CSeq: 1 INVITE"), Some(("INVITE", Some(486)))),
            (response("SIP/2.0 200 OK", "cseq : 1\tBYE "), Some(("BYE", Some(200)))),
            (response("SIP/2.0 200 OK", "CSeq: 1 XYZ"), Some(("other", Some(200)))),
            (response("SIP/2.0 999 X", "CSeq: 1 INVITE"), None),
            ("GET / HTTP/1.1\r\n".to_owned(), None),
            ("\r\n\r\n".to_owned(), None),
            ("\u{ff}".repeat(40), None),
        ];
        for (text, expected) in cases {
            assert_eq!(kind(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn labels_stay_few_whatever_peers_write() {
        let metrics = SipMetrics::default();
        for status in 100..700 {
            let text = format!("SIP/2.0 {status} X\r\nCSeq: 1 M{status}\r\n\r\n");
            metrics.received(Transport::Udp, text.as_bytes());
            metrics.received(Transport::Udp, format!("M{status} sip:a SIP/2.0\r\n\r\n").as_bytes());
        }
        let all = crate::metrics::Metrics::new(metrics).text().unwrap();
        let series = all.lines().filter(|line| line.starts_with("callahead_sip_messages_total{")).count();
        assert!((20..120).contains(&series), "{series}");
        assert!(all.contains("method=\"other\",class=\"4xx\",status=\"400\"} "), "{all}");
    }

    #[test]
    fn reasons_are_written_as_words() {
        let metrics = SipMetrics::default();
        metrics.dropped(DropReason::UnknownSource);
        metrics.dropped(DropReason::UnknownSource);
        metrics.set_overflowed(1);
        metrics.again(Direction::Out);
        let text = crate::metrics::Metrics::new(metrics).text().unwrap();
        for line in [
            "callahead_sip_dropped_total{reason=\"unknown_source\"} 2",
            "callahead_sip_overflowed_total 1",
            "callahead_sip_retransmissions_total{direction=\"out\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
