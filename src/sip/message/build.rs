//! Making requests and responses.

use std::net::SocketAddr;

use super::fields::Via;
use super::header::{Header, HeaderName, Shared};
use super::method::Method;
use super::status::reason_phrase;
use super::uri::{Uri, ip_literal};
use super::{Message, StartLine, lex};
use crate::sip::Hop;

impl Message {
    /// An empty request. Add fields with [`Self::push`], then [`Self::set_body`].
    pub fn request(method: Method, uri: Uri) -> Self {
        Self {
            start: StartLine::Request { method, uri },
            headers: Vec::with_capacity(16),
            body: Shared::default(),
        }
    }

    /// A response to the request with these `headers`, which came from `source`: Via, From, To, Call-ID and CSeq are copied
    /// byte for byte, and the topmost Via gets `received` and `rport` (RFC 3261 §8.2.6, §18.2.1, RFC 3581 §4).
    /// `to_tag` is added where To has none.
    pub fn response(headers: &[Header], status: u16, to_tag: Option<&str>, source: Hop) -> Self {
        let mut copied = Vec::with_capacity(12);
        let mut top = true;
        for header in headers {
            match header.name() {
                HeaderName::Via if top => {
                    copied.push(stamp_via(header, source.address));
                    top = false;
                }
                HeaderName::To => copied.push(match to_tag {
                    Some(tag) => tag_to(header, tag),
                    None => header.clone(),
                }),
                HeaderName::Via | HeaderName::From | HeaderName::CallId | HeaderName::CSeq => {
                    copied.push(header.clone())
                }
                _ => {}
            }
        }
        let reason = reason_phrase(status).as_bytes().into();
        Self { start: StartLine::Response { status, reason }, headers: copied, body: Shared::default() }
    }

    /// Appends a field.
    pub fn push(&mut self, name: HeaderName, value: &str) {
        self.headers.push(Header::new(name, value));
    }

    /// Appends a field as it is.
    pub fn push_header(&mut self, header: Header) {
        self.headers.push(header);
    }

    /// Replaces the first field of that name, or puts it at the end.
    pub fn set(&mut self, name: HeaderName, value: &str) {
        let header = Header::new(name.clone(), value);
        match self.headers.iter_mut().find(|old| *old.name() == name) {
            Some(old) => *old = header,
            None => self.headers.push(header),
        }
    }

    /// Removes every field of that name.
    pub fn remove(&mut self, name: &HeaderName) {
        self.headers.retain(|header| header.name() != name);
    }

    /// Sets the body with its type, and Content-Length. Call it last, also without a body.
    pub fn set_body(&mut self, content: Option<(&str, &[u8])>) {
        self.remove(&HeaderName::ContentType);
        self.remove(&HeaderName::ContentLength);
        self.body = Shared::default();
        if let Some((kind, bytes)) = content {
            self.push(HeaderName::ContentType, kind);
            self.body = Shared::whole(bytes.into());
        }
        self.push(HeaderName::ContentLength, &self.body().len().to_string());
    }

    /// Where the response to a request goes: the connection that it came over; over UDP its source when the Via asks for `rport`, else the source's address with the
    /// port of sent-by (RFC 3261 §18.2.2, RFC 3581 §4).
    pub fn response_destination(&self, source: Hop) -> Hop {
        if source.transport.is_reliable() {
            return source;
        }
        let source = source.address;
        let port = self.top_via(|via| match via.params.get("rport") {
            Some(_) => source.port(),
            None => via.port.unwrap_or(5060),
        });
        Hop::udp(SocketAddr::new(source.ip(), port.unwrap_or(source.port())))
    }
}

/// Adds `received` (where sent-by is another address, or rport was asked for) and fills `rport`.
fn stamp_via(header: &Header, source: SocketAddr) -> Header {
    let value = header.value();
    let end = lex::find_outside(&value, b',').unwrap_or(value.len());
    let (first, others) = value.split_at(end);
    let Some(via) = Via::parse(first.trim()) else { return header.clone() };
    let asked = via.params.get("rport").is_some();
    if !asked && ip_literal(via.host) == Some(source.ip()) {
        return header.clone();
    }
    let mut stamped = format!("SIP/2.0/{} {}", via.transport, via.host);
    if let Some(port) = via.port {
        stamped.push_str(&format!(":{port}"));
    }
    for (name, value) in via.params.iter() {
        // What the sender wrote there is not to be believed (RFC 3261 §18.2.1).
        if name.eq_ignore_ascii_case("received") || name.eq_ignore_ascii_case("rport") {
            continue;
        }
        stamped.push(';');
        stamped.push_str(name);
        if let Some(value) = value {
            stamped.push('=');
            stamped.push_str(value);
        }
    }
    stamped.push_str(&format!(";received={}", source.ip()));
    if asked {
        stamped.push_str(&format!(";rport={}", source.port()));
    }
    stamped.push_str(others);
    Header::new(HeaderName::Via, &stamped)
}

/// Adds the tag without touching the bytes before it.
fn tag_to(header: &Header, tag: &str) -> Header {
    let value = header.value();
    if super::NameAddr::parse(&value).is_none_or(|to| to.tag().is_some()) {
        return header.clone();
    }
    let mut line = b"To: ".to_vec();
    line.extend_from_slice(header.raw_value());
    line.extend_from_slice(b";tag=");
    line.extend(tag.bytes().filter(|byte| lex::is_token_byte(*byte)));
    Header::from_line(&line).unwrap_or_else(|| header.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(via: &str) -> Message {
        let text = format!(
            "OPTIONS sip:a@b SIP/2.0\r\nVia: {via}\r\nFrom: <sip:c@d>;tag=1\r\nTo:  \"A\"\r\n <sip:a@b>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n"
        );
        Message::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn responses_go_to_the_source_and_say_so() {
        let source: SocketAddr = "192.0.2.7:1999".parse().unwrap();
        let table = [
            (
                "SIP/2.0/UDP h:5070;branch=z9hG4bK1;rport",
                "SIP/2.0/UDP h:5070;branch=z9hG4bK1;received=192.0.2.7;rport=1999",
                1999,
            ),
            (
                "SIP/2.0/UDP h:5070;branch=z9hG4bK1",
                "SIP/2.0/UDP h:5070;branch=z9hG4bK1;received=192.0.2.7",
                5070,
            ),
            ("SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1", "SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1", 5060),
            (
                "SIP/2.0/UDP h;received=1.1.1.1;branch=b, SIP/2.0/TCP q",
                "SIP/2.0/UDP h;branch=b;received=192.0.2.7, SIP/2.0/TCP q",
                5060,
            ),
        ];
        for (via, stamped, port) in table {
            let request = request(via);
            let response = Message::response(request.headers(), 200, Some("t"), Hop::udp(source));
            assert_eq!(response.header(HeaderName::Via).unwrap(), stamped);
            assert_eq!(request.response_destination(Hop::udp(source)).address.port(), port, "{via}");
            assert_eq!(response.to_tag().as_deref(), Some("t"));
            assert_eq!(response.headers()[2].raw(), b"To: \"A\"\r\n <sip:a@b>;tag=t");
        }
    }

    #[test]
    fn the_body_sets_its_length() {
        let mut message = request("SIP/2.0/UDP h");
        message.set_body(Some(("application/sdp", b"v=0")));
        message.set_body(Some(("application/sdp", b"v=0\r\n")));
        assert_eq!(message.lines(HeaderName::ContentLength).collect::<Vec<_>>(), ["5"]);
        assert_eq!(message.sdp(), Some(&b"v=0\r\n"[..]));
    }
}
