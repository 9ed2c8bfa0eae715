//! The torture messages, and messages as carriers, border controllers and phones send them.

use std::path::Path;

const HEAD: &str =
    "From: \"Ada\" <sip:ada@example.com>;tag=88\r\nTo: <sip:bob@example.com>\r\nCall-ID: abc@192.0.2.1\r\n";
const VIA: &str = "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK77\r\n";

/// Name and bytes of each message.
pub fn messages() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torture");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let torture = paths.filter(|path| path.extension().is_some_and(|extension| extension == "dat"));
    let torture = torture.map(|path| {
        (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())
    });
    let mut messages: Vec<_> = torture.collect();
    messages.extend(written());
    messages.sort();
    messages
}

fn written() -> Vec<(String, Vec<u8>)> {
    let invite = |uri: &str, via: &str, fields: &str| {
        format!(
            "INVITE {uri} SIP/2.0\r\n{via}{HEAD}CSeq: 5 INVITE\r\nMax-Forwards: 70\r\n{fields}Content-Length: 0\r\n\r\n"
        )
    };
    let response = |line: &str, method: &str, fields: &str| {
        format!("SIP/2.0 {line}\r\n{VIA}{HEAD}CSeq: 5 {method}\r\n{fields}Content-Length: 0\r\n\r\n")
    };
    let contact = "Contact: <sip:ada@192.0.2.1:5060>\r\n";
    let plain = "sip:bob@example.com";
    let texts = [
        ("carrier-e164", invite("sip:+493012345678@203.0.113.5:5060;user=phone", VIA, contact)),
        ("carrier-tel", invite("tel:+49-30-1234", VIA, contact)),
        ("carrier-ipv6", invite("sip:bob@[2001:db8::1]:5060", VIA, contact)),
        (
            "carrier-via-ipv6",
            invite(
                plain,
                "Via: SIP/2.0/UDP [2001:db8::9:1]:5070;received=2001:db8::1;rport=7;branch=z9hG4bK7\r\n",
                contact,
            ),
        ),
        (
            "sbc-vias-in-one-line",
            invite(
                plain,
                "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1, SIP/2.0/TCP p.example.com;branch=z9hG4bK2\r\n",
                contact,
            ),
        ),
        (
            "sbc-compact",
            invite(plain, "v: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK77\r\n", "m: <sip:ada@192.0.2.1>\r\n"),
        ),
        ("sbc-lower-case", invite(plain, "via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK77\r\n", contact)),
        (
            "sbc-space-before-colon",
            invite(plain, "Via : SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK77\r\n", contact),
        ),
        ("sbc-folded", invite(plain, VIA, "Contact:\r\n <sip:ada@192.0.2.1:5060>\r\n")),
        ("sbc-underscore-host", invite("sip:bob@sbc_1.example.com", VIA, contact)),
        ("sbc-transport-tls", invite("sip:bob@example.com;transport=tls", VIA, contact)),
        ("sbc-tcp-via", invite(plain, "Via: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bK77;rport\r\n", contact)),
        ("sbc-ws-via", invite(plain, "Via: SIP/2.0/WSS df7jal23ls0d.invalid;branch=z9hG4bK77\r\n", contact)),
        (
            "phone-instance",
            invite(plain, VIA, "Contact: <sip:ada@192.0.2.1>;+sip.instance=\"<urn:uuid:1>\";reg-id=1\r\n"),
        ),
        ("phone-two-contacts", invite(plain, VIA, "Contact: <sip:ada@192.0.2.1>, <sip:ada@192.0.2.2>\r\n")),
        ("phone-contact-without-brackets", invite(plain, VIA, "Contact: sip:ada@192.0.2.1:5060\r\n")),
        (
            "phone-contact-params",
            invite(plain, VIA, "Contact: <sip:ada@192.0.2.1:5060;ob;transport=udp>\r\n"),
        ),
        ("phone-escaped-user", invite("sip:a%20b@example.com", VIA, contact)),
        ("phone-password", invite("sip:bob:secret@example.com", VIA, contact)),
        ("phone-extension-method", invite(plain, VIA, contact).replace("INVITE", "NEWMETHOD")),
        ("phone-line-breaks-first", format!("\r\n\r\n{}", invite(plain, VIA, contact))),
        ("ringing", response("180 Ringing", "INVITE", contact)),
        ("progress", response("183 Session Progress", "INVITE", contact)),
        ("odd-status", response("499 Whatever", "INVITE", "")),
        ("no-reason", response("200 ", "OPTIONS", "")),
        (
            "challenge",
            response("401 Unauthorized", "REGISTER", "WWW-Authenticate: Digest realm=\"x\", nonce=\"y\"\r\n"),
        ),
        ("moved", response("302 Moved Temporarily", "INVITE", contact)),
        ("bye", invite("sip:bob@192.0.2.9", VIA, "Reason: Q.850;cause=16\r\n").replace("INVITE", "BYE")),
        (
            "body-longer",
            invite(plain, VIA, contact).replace("Length: 0\r\n\r\n", "Length: 3\r\n\r\nv=0 and more"),
        ),
        (
            "body-without-length",
            invite(plain, VIA, contact).replace("Content-Length: 0\r\n\r\n", "\r\nv=0\r\n"),
        ),
    ];
    let mut messages: Vec<_> =
        texts.into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes())).collect();
    let mut stray = invite(plain, VIA, &format!("Subject: caf?\r\n{contact}")).into_bytes();
    stray.iter_mut().filter(|byte| **byte == b'?').for_each(|byte| *byte = 0xe9);
    messages.push(("stray-byte".to_owned(), stray));
    let mut binary = invite(plain, VIA, contact).replace("Length: 0", "Length: 4").into_bytes();
    binary.extend([0, 0xff, 0xfe, b'\n']);
    messages.push(("binary-body".to_owned(), binary));
    messages
}
