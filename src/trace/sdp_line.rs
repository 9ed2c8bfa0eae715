//! An SDP body (RFC 8866) in one line: address, codecs, direction.

use std::fmt::Write;

/// The codecs of the static payload types that are still met (RFC 3551 §6).
const STATIC: &[(&str, &str)] =
    &[("0", "PCMU"), ("3", "GSM"), ("8", "PCMA"), ("9", "G722"), ("18", "G729"), ("13", "CN")];

/// The most codecs that are named; further ones are counted.
const NAMED: usize = 6;

/// `192.0.2.1:20000 PCMU, telephone-event, sendrecv`; further media behind `;`. `None`: this is no SDP.
pub(super) fn summary(sdp: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(sdp);
    if !text.trim_start().starts_with("v=") {
        return None;
    }
    let mut sections = text.split("\nm=");
    let session = sections.next().unwrap_or_default();
    let media: Vec<String> = sections.map(|section| medium(session, section)).collect();
    Some(if media.is_empty() { "no media".to_owned() } else { media.join("; ") })
}

/// One medium; `section` begins behind its `m=`.
fn medium(session: &str, section: &str) -> String {
    let mut words = section.lines().next().unwrap_or_default().split_whitespace();
    let (kind, port) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let profile = words.next().unwrap_or_default();
    if port == "0" {
        return format!("{kind} refused");
    }
    let connection = line(section, "c=").or_else(|| line(session, "c=")).unwrap_or_default();
    let address = connection.split_whitespace().nth(2).unwrap_or("?");
    let mut out = String::new();
    if kind != "audio" {
        let _ = write!(out, "{kind} ");
    }
    let _ = if address.contains(':') {
        write!(out, "[{address}]:{port}")
    } else {
        write!(out, "{address}:{port}")
    };
    let codecs: Vec<&str> = words.map(|payload| codec(section, payload)).collect();
    let _ = write!(out, " {}", codecs.iter().take(NAMED).copied().collect::<Vec<_>>().join(", "));
    if codecs.len() > NAMED {
        let _ = write!(out, " and {} more", codecs.len() - NAMED);
    }
    let has =
        |part: &str, word: &str| part.lines().any(|line| line.trim_end().strip_prefix("a=") == Some(word));
    let directions = ["sendrecv", "sendonly", "recvonly", "inactive"];
    let said = |part: &str| directions.into_iter().find(|word| has(part, word));
    let _ = write!(out, ", {}", said(section).or_else(|| said(session)).unwrap_or("sendrecv"));
    if profile.contains("SAVP") {
        out.push_str(", encrypted");
    }
    out
}

fn line<'a>(part: &'a str, kind: &str) -> Option<&'a str> {
    part.lines().find_map(|line| line.strip_prefix(kind))
}

fn codec<'a>(section: &'a str, payload: &'a str) -> &'a str {
    let maps = section.lines().filter_map(|line| line.strip_prefix("a=rtpmap:"));
    let mapped = maps.filter_map(|map| map.split_once(' ')).find(|(number, _)| *number == payload);
    match mapped {
        Some((_, name)) => name.split('/').next().unwrap_or(name).trim(),
        None => STATIC.iter().find(|(number, _)| *number == payload).map_or(payload, |(_, name)| *name),
    }
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn says_where_what_and_which_way() {
        let head = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n";
        let cases = [
            (
                "m=audio 20000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=sendonly\r\n",
                "192.0.2.9:20000 PCMU, telephone-event, sendonly",
            ),
            (
                "m=audio 4 RTP/SAVP 8 9 18 3 13 96 97 98\r\nc=IN IP6 2001:db8::1\r\nm=video 0 RTP/AVP 31\r\n",
                "[2001:db8::1]:4 PCMA, G722, G729, GSM, CN, 96 and 2 more, sendrecv, encrypted; video refused",
            ),
            ("", "no media"),
        ];
        for (media, expected) in cases {
            assert_eq!(summary(format!("{head}{media}").as_bytes()).as_deref(), Some(expected));
        }
        assert_eq!(summary(b"hello"), None);
        assert_eq!(summary(b"v=0\nm=\n").as_deref(), Some(" ?: , sendrecv"));
    }
}
