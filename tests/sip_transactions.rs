//! Each state of each machine, with every input that it can meet.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests begin at some time, read their data and may panic"
)]

use std::time::{Duration, Instant};

use callahead::sip::Hop;
use callahead::sip::message::{HeaderName, Message};
use callahead::sip::transaction::{
    ClientInvite, ClientNonInvite, Fired, ServerInvite, ServerKey, ServerNonInvite, Taken, Timing,
};

fn peer() -> Hop {
    Hop::udp("198.51.100.1:5060".parse().unwrap())
}

fn request(method: &str, extra: &str) -> Message {
    let text = format!(
        "{method} sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;rport;branch=z9hG4bKa\r\nRoute: <sip:p;lr>\r\nMax-Forwards: 70\r\nFrom: <sip:ada@a>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: c\r\nCSeq: 7 {method}\r\n{extra}\r\n"
    );
    Message::parse(text.as_bytes()).unwrap()
}

fn response(method: &str, status: u16) -> Message {
    Message::response(request(method, "").headers(), status, Some("2"), peer())
}

fn seconds(from: Instant, at: Option<Instant>) -> Option<f64> {
    at.map(|at| at.duration_since(from).as_secs_f64())
}

/// Fires timers until none is left: when each resent, and when the last fired, in seconds.
fn exhaust(
    start: Instant,
    mut next: impl FnMut() -> Option<Instant>,
    mut fire: impl FnMut(Instant) -> Fired,
) -> (Vec<f64>, Option<f64>, Fired) {
    let (mut resent, mut end, mut last) = (Vec::new(), None, Fired::Nothing);
    while let Some(at) = next() {
        last = fire(at);
        end = seconds(start, Some(at));
        if matches!(last, Fired::Send(_)) {
            resent.extend(seconds(start, Some(at)));
        }
    }
    (resent, end, last)
}

fn run_client(start: Instant, machine: &mut ClientInvite) -> (Vec<f64>, Option<f64>, Fired) {
    let machine = std::cell::RefCell::new(machine);
    exhaust(start, || machine.borrow().poll_timeout(), |at| machine.borrow_mut().handle_timeout(at))
}

#[test]
fn client_invite_calling_resends_and_times_out() {
    let now = Instant::now();
    let (mut machine, first) = ClientInvite::new(now, request("INVITE", ""), peer(), Timing::default());
    assert_eq!(first.destination, peer());
    let (resent, end, last) = run_client(now, &mut machine);
    assert_eq!(resent, [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]);
    assert_eq!((end, last), (Some(32.0), Fired::TimedOut));
    assert!(machine.is_terminated());
}

#[test]
fn client_invite_proceeding_waits_for_ever() {
    let now = Instant::now();
    let (mut machine, _) = ClientInvite::new(now, request("INVITE", ""), peer(), Timing::default());
    assert!(!machine.is_proceeding());
    assert!(machine.handle_response(now, &response("INVITE", 180)).pass);
    assert!(machine.is_proceeding());
    assert_eq!(machine.poll_timeout(), None);
    assert!(machine.handle_response(now, &response("INVITE", 183)).pass);
}

#[test]
fn client_invite_accepted_passes_every_2xx_until_timer_m() {
    let now = Instant::now();
    let (mut machine, _) = ClientInvite::new(now, request("INVITE", ""), peer(), Timing::default());
    for _ in 0..3 {
        assert_eq!(
            machine.handle_response(now, &response("INVITE", 200)),
            Taken { pass: true, transmit: None }
        );
    }
    assert!(!machine.handle_response(now, &response("INVITE", 180)).pass);
    assert!(!machine.handle_response(now, &response("INVITE", 486)).pass);
    assert_eq!(run_client(now, &mut machine), (vec![], Some(32.0), Fired::Nothing));
    assert!(machine.is_terminated());
}

#[test]
fn client_invite_completed_acknowledges_every_refusal() {
    let now = Instant::now();
    let (mut machine, _) = ClientInvite::new(now, request("INVITE", ""), peer(), Timing::default());
    let first = machine.handle_response(now, &response("INVITE", 486));
    let again = machine.handle_response(now, &response("INVITE", 486));
    assert!(first.pass && !again.pass && first.transmit.is_some());
    assert_eq!(first.transmit, again.transmit);
    let ack = Message::parse(&first.transmit.unwrap().bytes).unwrap();
    assert_eq!(ack.to_tag().as_deref(), Some("2"));
    assert_eq!(
        (ack.branch().as_deref(), ack.header(HeaderName::CSeq).as_deref()),
        (Some("z9hG4bKa"), Some("7 ACK"))
    );
    assert_eq!(ack.list(HeaderName::Route), ["<sip:p;lr>"]);
    assert!(!machine.handle_response(now, &response("INVITE", 200)).pass);
    assert_eq!(run_client(now, &mut machine), (vec![], Some(32.0), Fired::Nothing));
}

#[test]
fn responses_match_by_branch_and_method() {
    let now = Instant::now();
    let (machine, _) = ClientInvite::new(now, request("INVITE", ""), peer(), Timing::default());
    assert!(machine.matches(&response("INVITE", 200)));
    assert!(!machine.matches(&response("CANCEL", 200)));
    let cancel = machine.cancel();
    let (cancelling, _) = ClientNonInvite::new(now, cancel, peer(), Timing::default());
    assert!(cancelling.matches(&response("CANCEL", 200)));
    assert!(!cancelling.matches(&response("INVITE", 487)));
}

#[test]
fn client_non_invite_resends_up_to_t2() {
    let now = Instant::now();
    for (proceeding, expected) in [(false, 1.5), (true, 4.5)] {
        let (machine, _) = ClientNonInvite::new(now, request("BYE", ""), peer(), Timing::default());
        let machine = std::cell::RefCell::new(machine);
        if proceeding {
            assert!(machine.borrow_mut().handle_response(now, &response("BYE", 100)).pass);
        }
        let (resent, end, last) =
            exhaust(now, || machine.borrow().poll_timeout(), |at| machine.borrow_mut().handle_timeout(at));
        assert_eq!((resent[0], resent[1]), (0.5, expected));
        assert_eq!(resent[3] - resent[2], 4.0);
        assert_eq!((end, last), (Some(32.0), Fired::TimedOut));
    }
}

#[test]
fn client_non_invite_completed_absorbs_for_t4() {
    let now = Instant::now();
    let (mut machine, _) = ClientNonInvite::new(now, request("BYE", ""), peer(), Timing::default());
    assert!(machine.handle_response(now, &response("BYE", 200)).pass);
    assert!(!machine.handle_response(now, &response("BYE", 200)).pass);
    assert_eq!(seconds(now, machine.poll_timeout()), Some(5.0));
    assert_eq!(machine.handle_timeout(now + Duration::from_secs(5)), Fired::Nothing);
    assert!(machine.is_terminated());
}

fn server(now: Instant, statuses: &[u16]) -> ServerInvite {
    let mut machine = ServerInvite::new(&request("INVITE", ""), peer(), Timing::default());
    for status in statuses {
        assert!(machine.respond(now, &response("INVITE", *status)).is_some());
    }
    machine
}

#[test]
fn server_invite_proceeding_repeats_the_last_provisional() {
    let now = Instant::now();
    assert_eq!(
        ServerInvite::new(&request("INVITE", ""), peer(), Timing::default()).handle_retransmission(),
        None
    );
    let machine = server(now, &[100, 180]);
    let again = Message::parse(&machine.handle_retransmission().unwrap().bytes).unwrap();
    assert_eq!((again.status(), machine.poll_timeout()), (Some(180), None));
}

#[test]
fn server_invite_accepted_absorbs_until_timer_l() {
    let now = Instant::now();
    let mut machine = server(now, &[180, 200]);
    assert_eq!(machine.handle_retransmission(), None);
    assert_eq!(machine.respond(now, &response("INVITE", 486)), None);
    machine.handle_ack(now);
    assert_eq!(seconds(now, machine.poll_timeout()), Some(32.0));
    assert_eq!(machine.handle_timeout(now + Duration::from_secs(32)), Fired::Nothing);
    assert!(machine.is_terminated());
}

#[test]
fn server_invite_completed_resends_until_ack() {
    let now = Instant::now();
    let mut machine = server(now, &[486]);
    assert!(machine.handle_retransmission().is_some());
    machine.handle_ack(now);
    assert_eq!(machine.handle_retransmission(), None);
    assert_eq!(seconds(now, machine.poll_timeout()), Some(5.0));
    machine.handle_ack(now + Duration::from_secs(1));
    assert_eq!(seconds(now, machine.poll_timeout()), Some(5.0));

    let machine = std::cell::RefCell::new(server(now, &[486]));
    let (resent, end, last) =
        exhaust(now, || machine.borrow().poll_timeout(), |at| machine.borrow_mut().handle_timeout(at));
    assert_eq!(resent, [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]);
    assert_eq!((end, last), (Some(32.0), Fired::TimedOut));
}

#[test]
fn server_non_invite_repeats_its_answer_until_timer_j() {
    let now = Instant::now();
    let (mut machine, first) =
        ServerNonInvite::new(now, &request("BYE", ""), peer(), &response("BYE", 200), Timing::default());
    assert_eq!(machine.handle_retransmission(), first);
    assert_eq!(seconds(now, machine.poll_timeout()), Some(32.0));
    machine.handle_timeout(now + Duration::from_secs(31));
    assert!(!machine.is_terminated());
    machine.handle_timeout(now + Duration::from_secs(32));
    assert!(machine.is_terminated());
}

#[test]
fn server_keys_join_ack_and_cancel_to_their_invite() {
    let invite = ServerKey::of(&request("INVITE", ""));
    assert_eq!(invite, ServerKey::of(&request("ACK", "")));
    assert_ne!(invite, ServerKey::of(&request("CANCEL", "")));
    assert_eq!(invite, ServerKey::of_invite(&request("CANCEL", "")));
}
