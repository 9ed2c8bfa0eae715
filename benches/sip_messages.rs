//! Messages parsed and typed in a second on one core: Callahead's reader beside rsip and rsipstack, on the same INVITE.
//!
//! `cargo bench --bench sip_messages -- [MESSAGES]` (200,000 a round when not given). The INVITE is one that all three
//! accept. Typed means: the Request-URI, the topmost Via, From, To and Contact with their URIs and tags, and CSeq. Each
//! round is timed by the thread's own CPU time, the readers take turns, and the best of five rounds counts. The three
//! must read the same values; otherwise the bench fails.

use std::hint::black_box;
use std::time::Duration;

use callahead::sip::message::{HeaderName, Message, NameAddr};
use nix::sys::resource::{UsageWho, getrusage};

const ROUNDS: usize = 5;

/// Method, Request-URI, sent-by of the topmost Via and its branch, tag of From, user of To, CSeq, host of Contact.
type Values = (String, String, String, String, String, String, u32, String);

struct Reader {
    name: &'static str,
    /// Reads everything and keeps nothing.
    read: fn(&[u8]) -> Option<()>,
    values: fn(&[u8]) -> Option<Values>,
}

const READERS: [Reader; 3] = [
    Reader { name: "callahead", read: callahead_read, values: callahead_values },
    Reader { name: "rsip 0.4", read: rsip_read, values: rsip_values },
    Reader { name: "rsipstack 0.7.14", read: rsipstack_read, values: rsipstack_values },
];

fn main() -> anyhow::Result<()> {
    // `cargo bench` adds a flag of its own.
    let count = std::env::args().skip(1).find_map(|argument| argument.parse::<u32>().ok()).unwrap_or(200_000);
    let bytes = invite();
    let expected = callahead_values(&bytes);
    for reader in &READERS {
        let values = (reader.values)(&bytes);
        anyhow::ensure!(values.is_some() && values == expected, "{} reads {values:?}", reader.name);
    }
    let mut best = [Duration::MAX; READERS.len()];
    for _ in 0..ROUNDS {
        for (reader, best) in READERS.iter().zip(&mut best) {
            let before = cpu()?;
            let read = (0..count).filter_map(|_| (reader.read)(black_box(&bytes))).count();
            *best = cpu()?.saturating_sub(before).min(*best);
            anyhow::ensure!(read == count as usize, "{} refused a message", reader.name);
        }
    }
    println!("an INVITE of {} bytes, {count} times, best of {ROUNDS} rounds", bytes.len());
    println!("{:<20}{:>14}{:>12}{:>24}", "", "messages/s", "us each", "callahead is so fast");
    for (reader, time) in READERS.iter().zip(best) {
        let each = time.as_secs_f64() / f64::from(count);
        let ratio = time.as_secs_f64() / best.first().map_or(1.0, Duration::as_secs_f64);
        println!("{:<20}{:>14.0}{:>12.2}{:>22.1} x", reader.name, 1.0 / each, each * 1e6, ratio);
    }
    Ok(())
}

/// User time of this thread: other programs on the box do not count.
fn cpu() -> anyhow::Result<Duration> {
    let time = getrusage(UsageWho::RUSAGE_THREAD)?.user_time();
    Ok(Duration::new(time.tv_sec().try_into()?, u32::try_from(time.tv_usec())? * 1000))
}

/// 1.2 kB, as a session border controller sends it.
fn invite() -> Vec<u8> {
    let body = "v=0\r\no=- 3890844526 3890844526 IN IP4 198.51.100.17\r\ns=-\r\nc=IN IP4 198.51.100.17\r\nt=0 0\r\n\
        m=audio 49170 RTP/AVP 8 0 18 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
        a=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
        a=ptime:20\r\na=sendrecv\r\n";
    let head = "INVITE sip:+493012345678@203.0.113.5:5060;user=phone SIP/2.0\r\n\
        Via: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bK7k3s9d20d8c1g5o0.1;rport\r\n\
        Via: SIP/2.0/UDP 198.51.100.77:5060;received=198.51.100.77;branch=z9hG4bK0a1b2c3d\r\n\
        Record-Route: <sip:198.51.100.1;lr;ftag=gK0c8f2e11>\r\n\
        From: \"Depot Nord\" <sip:+4940555123@carrier.example.net;user=phone>;tag=gK0c8f2e11\r\n\
        To: <sip:+493012345678@203.0.113.5;user=phone>\r\n\
        Call-ID: 1342177289_84735291@198.51.100.77\r\n\
        CSeq: 24786 INVITE\r\n\
        Contact: <sip:+4940555123@198.51.100.1:5060;transport=udp>\r\n\
        Max-Forwards: 68\r\n\
        Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY\r\n\
        Supported: timer, 100rel, replaces\r\n\
        Session-Expires: 1800;refresher=uac\r\n\
        Min-SE: 90\r\n\
        P-Asserted-Identity: <sip:+4940555123@carrier.example.net;user=phone>\r\n\
        User-Agent: Carrier-SBC/9.2\r\n\
        Content-Type: application/sdp\r\n";
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn callahead_read(bytes: &[u8]) -> Option<()> {
    let message = Message::parse(bytes).ok()?;
    let via = message.header(HeaderName::Via)?;
    black_box(message.top_via(|via| (via.port, via.branch().map(str::len)))?);
    black_box(via);
    for name in [HeaderName::From, HeaderName::To, HeaderName::Contact] {
        let value = message.header(name)?;
        let address = NameAddr::parse(&value)?;
        black_box((address.to_uri().ok()?, address.tag()));
    }
    black_box((message.cseq()?, message.uri()?));
    Some(())
}

fn callahead_values(bytes: &[u8]) -> Option<Values> {
    let message = Message::parse(bytes).ok()?;
    let via = message.top_via(|via| Some((via.sent_by(), via.branch()?.to_owned())))??;
    let to = message.header(HeaderName::To)?;
    let to = NameAddr::parse(&to)?.to_uri().ok()?.user()?.to_owned();
    let cseq = message.cseq()?.number;
    let contact = message.contact()?.host().to_owned();
    let (method, uri) = (message.method()?.to_string(), message.uri()?.to_string());
    Some((method, uri, via.0, via.1, message.from_tag()?, to, cseq, contact))
}

fn rsip_read(bytes: &[u8]) -> Option<()> {
    use rsip::prelude::{HeadersExt, ToTypedHeader};
    let message = rsip::SipMessage::try_from(bytes).ok()?;
    black_box(message.via_header().ok()?.typed().ok()?);
    black_box(message.from_header().ok()?.typed().ok()?);
    black_box(message.to_header().ok()?.typed().ok()?);
    black_box(message.contact_header().ok()?.typed().ok()?);
    black_box(message.cseq_header().ok()?.typed().ok()?);
    Some(())
}

fn rsip_values(bytes: &[u8]) -> Option<Values> {
    use rsip::prelude::{HeadersExt, ToTypedHeader};
    let message = rsip::SipMessage::try_from(bytes).ok()?;
    let rsip::SipMessage::Request(request) = &message else { return None };
    let via = message.via_header().ok()?.typed().ok()?;
    let from = message.from_header().ok()?.typed().ok()?;
    let to = message.to_header().ok()?.typed().ok()?;
    let contact = message.contact_header().ok()?.typed().ok()?;
    Some((
        request.method.to_string(),
        request.uri.to_string(),
        via.uri.host_with_port.to_string(),
        via.branch()?.value().to_owned(),
        from.tag()?.value().to_owned(),
        to.uri.auth?.user,
        message.cseq_header().ok()?.typed().ok()?.seq,
        contact.uri.host_with_port.host.to_string(),
    ))
}

fn rsipstack_read(bytes: &[u8]) -> Option<()> {
    use rsipstack::sip::prelude::{HeadersExt, ToTypedHeader};
    let message = rsipstack::sip::SipMessage::try_from(bytes).ok()?;
    black_box(message.top_via_header().ok()?.typed().ok()?);
    black_box(message.from_header().ok()?.typed().ok()?);
    black_box(message.to_header().ok()?.typed().ok()?);
    black_box(message.contact_header().ok()?.typed().ok()?);
    black_box(message.cseq_header().ok()?.typed().ok()?);
    Some(())
}

fn rsipstack_values(bytes: &[u8]) -> Option<Values> {
    use rsipstack::sip::prelude::{HeadersExt, ToTypedHeader};
    let message = rsipstack::sip::SipMessage::try_from(bytes).ok()?;
    let rsipstack::sip::SipMessage::Request(request) = &message else { return None };
    let via = message.top_via_header().ok()?.typed().ok()?;
    let from = message.from_header().ok()?.typed().ok()?;
    let to = message.to_header().ok()?.typed().ok()?;
    let contact = message.contact_header().ok()?.typed().ok()?;
    Some((
        request.method.to_string(),
        request.uri.to_string(),
        via.uri.host_with_port.to_string(),
        via.branch()?.value().to_owned(),
        from.tag()?.value().to_owned(),
        to.uri.auth?.user,
        message.cseq_header().ok()?.typed().ok()?.seq,
        contact.uri.host_with_port.host.to_string(),
    ))
}
