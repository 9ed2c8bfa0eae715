//! A dialog: what two user agents remember of each other (RFC 3261 §12).

use std::fmt;
use std::net::SocketAddr;

use super::hop::{Hop, Transport};
use super::message::{HeaderName, Message, Method, NameAddr, Uri};

/// A confirmed or early dialog.
#[derive(Clone)]
pub struct Dialog {
    call_id: String,
    /// Our address with our tag, as it stands in From of our requests.
    local: String,
    /// Their address with their tag.
    remote: String,
    remote_tag: String,
    /// Where in-dialog requests go, from their Contact.
    target: Uri,
    /// Route values, the nearest first.
    routes: Vec<String>,
    local_cseq: u32,
    remote_cseq: Option<u32>,
    /// Where packets went before the route set was known.
    peer: Hop,
    local_addr: SocketAddr,
}

impl Dialog {
    /// The caller's side: our INVITE and their response (RFC 3261 §12.1.2).
    pub fn of_caller(
        invite: &Message,
        response: &Message,
        peer: Hop,
        local_addr: SocketAddr,
    ) -> Option<Self> {
        let mut routes = response.list(HeaderName::RecordRoute);
        routes.reverse();
        Some(Self {
            call_id: invite.call_id().into_owned(),
            local: invite.header(HeaderName::From)?.into_owned(),
            remote: response.header(HeaderName::To)?.into_owned(),
            remote_tag: response.to_tag().unwrap_or_default(),
            // A 2xx must have a Contact; when equipment forgets it, the Request-URI reached the callee once already.
            target: response.contact().or_else(|| invite.uri().cloned())?,
            routes,
            local_cseq: invite.cseq()?.number,
            remote_cseq: None,
            peer,
            local_addr,
        })
    }

    /// The callee's side: their INVITE and our tag (RFC 3261 §12.1.1).
    pub fn of_callee(invite: &Message, local_tag: &str, peer: Hop, local_addr: SocketAddr) -> Option<Self> {
        let (from, to) = (invite.header(HeaderName::From)?, invite.header(HeaderName::To)?);
        let caller = NameAddr::parse(&from)?;
        Some(Self {
            call_id: invite.call_id().into_owned(),
            local: format!("{to};tag={local_tag}"),
            remote_tag: caller.tag().unwrap_or_default().to_owned(),
            // RFC 2543 callers need no Contact; From is where they are then.
            target: invite.contact().or_else(|| caller.to_uri().ok())?,
            remote: from.clone().into_owned(),
            routes: invite.list(HeaderName::RecordRoute),
            local_cseq: 0,
            remote_cseq: Some(invite.cseq()?.number),
            peer,
            local_addr,
        })
    }

    /// Their tag; empty for RFC 2543 equipment.
    pub fn remote_tag(&self) -> &str {
        &self.remote_tag
    }

    /// Their Contact.
    pub fn target(&self) -> &Uri {
        &self.target
    }

    /// Takes the Contact of a re-INVITE or its 2xx (RFC 3261 §12.2).
    pub fn refresh_target(&mut self, message: &Message) {
        if let Some(contact) = message.contact() {
            self.target = contact;
        }
    }

    /// Takes the sequence number of their request: `false` when it is older than the last one (RFC 3261 §12.2.2).
    pub fn take_cseq(&mut self, number: u32) -> bool {
        if self.remote_cseq.is_some_and(|last| number <= last) {
            return false;
        }
        self.remote_cseq = Some(number);
        true
    }

    /// Goes on where the early dialog with the same peer is: both count their requests on (RFC 3261 §12.1.2, §13.2.2.4).
    pub fn continue_from(&mut self, early: &Self) {
        self.local_cseq = self.local_cseq.max(early.local_cseq);
        self.remote_cseq = self.remote_cseq.max(early.remote_cseq);
    }

    /// A request with the next sequence number.
    pub fn request(&mut self, method: Method, branch: &str) -> Message {
        self.local_cseq += 1;
        self.request_numbered(method, self.local_cseq, branch)
    }

    /// ACK of a 2xx: the INVITE's number, and its credentials (RFC 3261 §13.2.2.4, §22.1).
    pub fn ack(&self, invite: &Message, branch: &str) -> Message {
        let number = invite.cseq().map(|cseq| cseq.number).unwrap_or_default();
        let mut ack = self.request_numbered(Method::Ack, number, branch);
        for header in invite.headers() {
            if matches!(header.name(), HeaderName::Authorization | HeaderName::ProxyAuthorization) {
                ack.push_header(header.clone());
            }
        }
        ack
    }

    fn request_numbered(&self, method: Method, number: u32, branch: &str) -> Message {
        let (uri, routes) = self.route();
        let mut request = Message::request(method.clone(), uri);
        request.push(HeaderName::Via, &via(self.destination().transport, self.local_addr, branch));
        routes.iter().for_each(|route| request.push(HeaderName::Route, route));
        request.push(HeaderName::MaxForwards, "70");
        request.push(HeaderName::From, &self.local);
        request.push(HeaderName::To, &self.remote);
        request.push(HeaderName::CallId, &self.call_id);
        request.push(HeaderName::CSeq, &format!("{number} {method}"));
        request
    }

    /// The Request-URI and Route values; a first route without `lr` is a strict router and takes the Request-URI's place
    /// (RFC 3261 §12.2.1.1).
    fn route(&self) -> (Uri, Vec<String>) {
        let first = self.routes.first().and_then(|route| NameAddr::parse(route)?.to_uri().ok());
        match first {
            Some(strict) if strict.params().get("lr").is_none() => {
                let mut routes: Vec<String> = self.routes.iter().skip(1).cloned().collect();
                routes.push(format!("<{}>", self.target));
                (strict, routes)
            }
            _ => (self.target.clone(), self.routes.clone()),
        }
    }

    /// Where requests go: towards the nearest route or the target ([`Hop::towards`]); a name has been resolved before, so
    /// then it is where this call's packets went already.
    pub fn destination(&self) -> Hop {
        let first = self.routes.first().and_then(|route| NameAddr::parse(route)?.to_uri().ok());
        Hop::towards(first.as_ref().unwrap_or(&self.target), self.peer)
    }
}

/// Shows no addresses of people.
impl fmt::Debug for Dialog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dialog({} with {:?}, {} routes)", self.call_id, self.target, self.routes.len())
    }
}

/// A Via of ours; `rport` asks for answers to the port that the packet comes from (RFC 3581 §3).
pub(super) fn via(transport: Transport, local: SocketAddr, branch: &str) -> String {
    format!("SIP/2.0/{} {local};rport;branch={branch}", transport.as_via())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "198.51.100.9:5060";

    fn invite(extra: &str) -> Message {
        let text = format!(
            "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\nFrom: <sip:ada@a>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\n{extra}\r\n"
        );
        Message::parse(text.as_bytes()).unwrap()
    }

    fn response(extra: &str) -> Message {
        let text = format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\nFrom: <sip:ada@a>;tag=1\r\nTo: <sip:bob@example.com>;tag=2\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\n{extra}\r\n"
        );
        Message::parse(text.as_bytes()).unwrap()
    }

    fn caller(extra: &str) -> Dialog {
        let peer = Hop::udp(PEER.parse().unwrap());
        Dialog::of_caller(
            &invite("Proxy-Authorization: Digest x=\"y\"\r\n"),
            &response(extra),
            peer,
            "192.0.2.1:5060".parse().unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn the_caller_reverses_record_route() {
        let mut dialog = caller(
            "Contact: <sip:bob@203.0.113.5:5080>\r\nRecord-Route: <sip:far.example.com;lr>, <sip:mid;lr>\r\nRecord-Route: <sip:198.51.100.7;lr>\r\n",
        );
        let bye = dialog.request(Method::Bye, "z9hG4bKb");
        assert_eq!(bye.uri().unwrap().as_str(), "sip:bob@203.0.113.5:5080");
        assert_eq!(
            bye.list(HeaderName::Route),
            ["<sip:198.51.100.7;lr>", "<sip:mid;lr>", "<sip:far.example.com;lr>"]
        );
        assert_eq!(
            (bye.cseq().unwrap().number, dialog.destination()),
            (8, Hop::udp("198.51.100.7:5060".parse().unwrap()))
        );
        let ack = dialog.ack(&invite("Proxy-Authorization: Digest x=\"y\"\r\n"), "z9hG4bKc");
        assert_eq!(ack.cseq().unwrap().number, 7);
        assert!(ack.header(HeaderName::ProxyAuthorization).is_some());
    }

    #[test]
    fn a_strict_router_takes_the_request_uri() {
        let mut dialog = caller(
            "Contact: <sip:bob@203.0.113.5>\r\nRecord-Route: <sip:far;lr>, <sip:strict.example.com>\r\n",
        );
        let bye = dialog.request(Method::Bye, "z9hG4bKb");
        assert_eq!(bye.uri().unwrap().as_str(), "sip:strict.example.com");
        assert_eq!(bye.list(HeaderName::Route), ["<sip:far;lr>", "<sip:bob@203.0.113.5>"]);
        // A name needs DNS, so packets keep going where they went.
        assert_eq!(dialog.destination(), Hop::udp(PEER.parse().unwrap()));
    }

    #[test]
    fn the_callee_keeps_the_order_and_counts_their_requests() {
        let request = invite("Contact: <sip:ada@192.0.2.1>\r\nRecord-Route: <sip:near;lr>, <sip:far;lr>\r\n");
        let mut dialog = Dialog::of_callee(
            &request,
            "9",
            Hop::udp(PEER.parse().unwrap()),
            "192.0.2.2:5060".parse().unwrap(),
        )
        .unwrap();
        let bye = dialog.request(Method::Bye, "z9hG4bKb");
        assert_eq!(bye.list(HeaderName::Route), ["<sip:near;lr>", "<sip:far;lr>"]);
        assert_eq!((bye.from_tag().as_deref(), bye.to_tag().as_deref()), (Some("9"), Some("1")));
        assert!(!dialog.take_cseq(7));
        assert!(dialog.take_cseq(8));
        assert!(!dialog.take_cseq(8));
    }
}
