//! What our INVITE, CANCEL and BYE carry: routes, identity, privacy, reasons.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    dead_code,
    reason = "tests begin at some time, read their data and may panic, and each uses a part of the pair"
)]

#[path = "support/pair.rs"]
mod pair;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use callahead::sip::Hop;
use callahead::sip::identity::{Caller, Identity, Trust};
use callahead::sip::message::{Address, HeaderName, Message, Method};
use callahead::sip::session::{OutgoingInvite, Session, SessionEvent, SessionOutput, Side};
use pair::{CLEAR, Pair, endpoint, outgoing, uri};

struct Caught {
    now: Instant,
    session: Session,
    sent: Vec<Message>,
    hops: Vec<Hop>,
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl Caught {
    fn new(change: impl FnOnce(&mut OutgoingInvite)) -> Self {
        let mut invite = outgoing(address("192.0.2.1:5060"), address("198.51.100.1:5060"));
        change(&mut invite);
        let now = Instant::now();
        let session = Session::invite(now, endpoint(1).connect(), invite);
        Self { now, session, sent: Vec::new(), hops: Vec::new() }.drained()
    }

    fn drained(mut self) -> Self {
        self.drain();
        self
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            if let SessionOutput::Transmit(transmit) = output {
                self.hops.push(transmit.destination);
                self.sent.push(Message::parse(&transmit.bytes).unwrap());
            }
        }
    }

    fn reply(&mut self, status: u16, fields: &[(HeaderName, &str)]) {
        let source = Hop::udp(address("198.51.100.1:5060"));
        let mut response = Message::response(self.sent[0].headers(), status, Some("far"), source);
        fields.iter().for_each(|(name, value)| response.push(name.clone(), value));
        self.session.handle_message(self.now, source, response);
        self.drain();
    }

    fn last(&self) -> &Message {
        self.sent.last().unwrap()
    }
}

#[test]
fn routes_are_preloaded_and_end_with_the_dialog() {
    let proxy = address("203.0.113.9:5060");
    let mut caught = Caught::new(|invite| {
        invite.routes = vec!["<sip:203.0.113.9;lr>".into(), "<sip:edge.example.com;lr>".into()];
        invite.hops = vec![Hop::udp(proxy)];
    });
    let both = ["<sip:203.0.113.9;lr>", "<sip:edge.example.com;lr>"];
    assert_eq!(caught.last().uri().unwrap().as_str(), "sip:bob@198.51.100.1:5060");
    assert_eq!(caught.last().list(HeaderName::Route), both);
    // CANCEL goes the same way (RFC 3261 §9.1); the dialog has the routes of the 2xx alone (§12.1.2).
    caught.reply(180, &[]);
    caught.session.cancel(caught.now);
    caught.drain();
    assert_eq!(
        (caught.last().method(), caught.last().list(HeaderName::Route)),
        (Some(&Method::Cancel), both.map(String::from).to_vec())
    );
    let recorded =
        [(HeaderName::RecordRoute, "<sip:203.0.113.9;lr>"), (HeaderName::Contact, "<sip:bob@198.51.100.1>")];
    caught.reply(200, &recorded);
    assert_eq!(caught.last().method(), Some(&Method::Bye));
    assert_eq!(caught.last().list(HeaderName::Route), ["<sip:203.0.113.9;lr>"]);
    assert_eq!(caught.hops.last(), Some(&Hop::udp(proxy)));
}

#[test]
fn a_strict_first_route_takes_the_request_uri() {
    let caught = Caught::new(|invite| invite.routes = vec!["<sip:old.example.com>".into()]);
    assert_eq!(caught.last().uri().unwrap().as_str(), "sip:old.example.com");
    assert_eq!(caught.last().list(HeaderName::Route), ["<sip:bob@198.51.100.1:5060>"]);
}

#[test]
fn a_withheld_number_reaches_the_trunk_and_nobody_else() {
    let caught = Caught::new(|invite| {
        invite.identity = Identity::withheld(Address::new(uri("tel:+4930123")).with_display("Depot"));
    });
    let from = caught.last().header(HeaderName::From).unwrap().into_owned();
    assert!(from.starts_with("\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag="), "{from}");
    let seen = Caller::of(caught.last(), Trust::Asserts);
    assert_eq!(seen.number.unwrap().reveal(), "+4930123");
    assert!(seen.privacy.hides_caller() && seen.asserted);
    assert_eq!(Caller::of(caught.last(), Trust::Nothing).number, None);
}

#[test]
fn cancel_and_the_bye_that_crosses_it_say_why() {
    let why = "Q.850;cause=19;text=\"No answer from user\"";
    let mut caught = Caught::new(|_| {});
    caught.session.hang_up(caught.now, Some(why));
    caught.drain();
    assert_eq!(caught.sent.len(), 1, "nothing may be cancelled before a provisional response");
    caught.reply(180, &[]);
    assert_eq!(caught.last().method(), Some(&Method::Cancel));
    assert_eq!(caught.last().header(HeaderName::Reason).unwrap(), why);
    caught.reply(200, &[(HeaderName::Contact, "<sip:bob@198.51.100.1>")]);
    assert_eq!(caught.last().method(), Some(&Method::Bye));
    assert_eq!(caught.last().header(HeaderName::Reason).unwrap(), why);
}

#[test]
fn a_bye_says_why_and_the_other_side_hears_it() {
    let mut pair = Pair::new(1, CLEAR);
    pair.act(0, |session, now| session.hang_up(now, Some("Q.850;cause=16")));
    pair.pass(Duration::from_millis(50));
    let reason = Some("Q.850;cause=16".to_owned());
    assert_eq!(pair.told(1), [SessionEvent::Ended { by: Side::Remote, reason }]);
}
