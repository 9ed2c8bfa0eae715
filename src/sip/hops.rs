//! The addresses of one server, tried in order (RFC 3263 §4.3), and the switch of large requests to TCP (RFC 3261 §18.1.1).

use std::time::Duration;

use super::hop::{Hop, Transport};
use super::message::{HeaderName, Message};

/// The largest request that goes over UDP when the path's MTU is not known, in bytes (RFC 3261 §18.1.1).
pub const MAX_UDP_REQUEST: usize = 1300;

/// The most hops tried for one request.
const MAX_HOPS: usize = 32;

/// How long a hop may stay silent while another one is left, as a multiple of T1: 4 s. RFC 3263 §4.3 would wait for
/// Timer B, 32 s, and a customer's call would come half a minute late.
const SILENCE: u32 = 8;

/// Where a request may go: one hop is current, the others wait for its failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hops {
    current: Hop,
    /// The next one last.
    rest: Vec<Hop>,
    /// The current hop's TCP was tried for a large request, and nobody listens: UDP then, whatever the size.
    no_tcp: bool,
}

impl Hops {
    /// `None` without any hop.
    pub(super) fn new(hops: &[Hop]) -> Option<Self> {
        let (current, rest) = hops.split_first()?;
        let rest = rest.iter().take(MAX_HOPS - 1).rev().copied().collect();
        Some(Self { current: *current, rest, no_tcp: false })
    }

    /// One hop alone: that of a dialog.
    pub(super) fn one(hop: Hop) -> Self {
        Self { current: hop, rest: Vec::new(), no_tcp: false }
    }

    /// The hop that is tried, before any switch to TCP.
    pub(super) fn current(&self) -> Hop {
        self.current
    }

    /// How long to wait for the first response; `None` when there is nowhere else to go.
    pub(super) fn patience(&self, t1: Duration) -> Option<Duration> {
        (!self.rest.is_empty()).then_some(t1 * SILENCE)
    }

    /// The hop for `request`, whose topmost Via is made to name its transport.
    pub(super) fn carry(&self, request: &mut Message) -> Hop {
        let large = request.to_bytes().len() > MAX_UDP_REQUEST;
        let hop = match self.current.transport {
            Transport::Udp if large && !self.no_tcp => Hop::tcp(self.current.address),
            _ => self.current,
        };
        name_transport(request, hop.transport);
        hop
    }

    /// Gives up on `failed`: `true` when there is something else to try.
    pub(super) fn give_up(&mut self, failed: Hop) -> bool {
        if self.current.transport == Transport::Udp
            && failed == Hop::tcp(self.current.address)
            && !self.no_tcp
        {
            self.no_tcp = true;
            return true;
        }
        let Some(next) = self.rest.pop() else { return false };
        self.current = next;
        self.no_tcp = false;
        true
    }
}

/// Makes the topmost Via, which is ours, name `transport`.
fn name_transport(request: &mut Message, transport: Transport) {
    let Some(via) = request.header(HeaderName::Via) else { return };
    let Some(rest) = via.strip_prefix("SIP/2.0/").and_then(|rest| rest.split_once(' ')).map(|(_, rest)| rest)
    else {
        return;
    };
    let named = format!("SIP/2.0/{} {rest}", transport.as_via());
    request.set(HeaderName::Via, &named);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::{Method, Uri};

    fn hop(text: &str) -> Hop {
        Hop::udp(text.parse().unwrap())
    }

    fn request(body: usize) -> Message {
        let mut request = Message::request(Method::Invite, Uri::parse("sip:a@b").unwrap());
        request.push(HeaderName::Via, "SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK1");
        request.set_body(Some(("text/plain", &vec![b'x'; body])));
        request
    }

    #[test]
    fn each_hop_is_tried_once_in_order() {
        let (one, two) = (hop("192.0.2.1:5060"), hop("192.0.2.2:5060"));
        let mut hops = Hops::new(&[one, two]).unwrap();
        assert_eq!(
            (hops.current(), hops.patience(Duration::from_millis(500))),
            (one, Some(Duration::from_secs(4)))
        );
        assert!(hops.give_up(one));
        assert_eq!((hops.current(), hops.patience(Duration::from_millis(500))), (two, None));
        assert!(!hops.give_up(two));
        assert_eq!(Hops::new(&[]), None);
    }

    #[test]
    fn a_large_request_goes_by_tcp_and_back_to_udp_when_nobody_listens() {
        let one = hop("192.0.2.1:5060");
        let mut hops = Hops::new(&[one]).unwrap();
        let (mut small, mut large) = (request(10), request(1300));
        assert_eq!(hops.carry(&mut small), one);
        let tcp = hops.carry(&mut large);
        assert_eq!(tcp, Hop::tcp(one.address));
        assert_eq!(
            large.header(HeaderName::Via).unwrap(),
            "SIP/2.0/TCP 192.0.2.1:5060;rport;branch=z9hG4bK1"
        );
        assert!(hops.give_up(tcp));
        assert_eq!(hops.carry(&mut large), one);
        assert!(large.header(HeaderName::Via).unwrap().starts_with("SIP/2.0/UDP "));
        assert!(!hops.give_up(one));
    }
}
