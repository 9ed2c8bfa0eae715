//! The caller's INVITE: from its first datagram to the answer, refusal or CANCEL (RFC 3261 §13.2, §9.1, §22).

use std::time::Instant;

use super::{Failure, OutgoingInvite, Phase, Session, SessionEvent, refusal};
use crate::sip::auth::DigestClient;
use crate::sip::dialog::{Dialog, via};
use crate::sip::hops::Hops;
use crate::sip::message::{HeaderName, Message, Method};
use crate::sip::transaction::{ClientInvite, Fired};
use crate::sip::{ALLOW, Hop, SUPPORTED, SessionSeed, Transmit, Transport, branch};

/// The most challenges answered in one call.
const MAX_CHALLENGES: usize = 5;
/// The most callees whose 2xx is acknowledged; further forks are ignored.
const MAX_FORKS: usize = 8;

#[derive(Debug)]
pub(super) struct Calling {
    transaction: ClientInvite,
    /// Refused with a challenge, or by a hop that failed: they still repeat ACKs, and answer what comes late.
    earlier: Vec<ClientInvite>,
    hops: Hops,
    challenges: usize,
    cancel: Cancel,
    trying_told: bool,
    /// The last SDP of a provisional response, with the callee's tag.
    early: Option<(String, Vec<u8>)>,
}

/// The ACK of a 2xx, sent again when the 2xx comes again.
#[derive(Debug)]
pub(super) struct Ack {
    /// The callee's tag.
    tag: String,
    /// The INVITE's sequence number.
    number: u32,
    transmit: Transmit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cancel {
    No,
    /// Waits for a provisional response (RFC 3261 §9.1).
    Wanted,
    /// Sent; at this time we stop waiting for the final response.
    Sent(Instant),
}

impl Calling {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let transactions =
            self.earlier.iter().chain([&self.transaction]).filter_map(ClientInvite::poll_timeout).min();
        match self.cancel {
            Cancel::Sent(give_up) if self.transaction.is_proceeding() => {
                Some(transactions.map_or(give_up, |at| at.min(give_up)))
            }
            _ => transactions,
        }
    }

    /// The INVITE that `response` answers.
    fn asked(&self, response: &Message) -> Option<&ClientInvite> {
        self.earlier.iter().chain([&self.transaction]).find(|invite| invite.matches(response))
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.earlier.iter().chain([&self.transaction]).all(ClientInvite::is_terminated)
    }
}

impl Session {
    /// Starts an outgoing call; the INVITE is the first output.
    pub fn invite(now: Instant, seed: SessionSeed, invite: OutgoingInvite) -> Self {
        let OutgoingInvite { hops, local, timing, credentials, .. } = invite.clone();
        let contact = invite.contact.clone();
        let mut session =
            Self::new(seed, local, contact, timing, DigestClient::new(credentials), Phase::Inviting);
        match Hops::new(&hops) {
            Some(hops) => {
                let request = session.first_invite(invite);
                session.start_invite(now, request, hops, 0);
            }
            None => session.fail(Failure::Unreachable),
        }
        session.settle();
        session
    }

    fn first_invite(&mut self, invite: OutgoingInvite) -> Message {
        let mut request = Message::request(Method::Invite, invite.target);
        request.push(HeaderName::Via, &via(Transport::Udp, self.local, &branch(&mut self.rng)));
        request.push(HeaderName::MaxForwards, "70");
        request.push(HeaderName::From, &format!("{};tag={}", invite.from, self.seed.local_tag));
        request.push(HeaderName::To, &invite.to.to_string());
        request.push(HeaderName::CallId, &self.seed.call_id);
        request.push(HeaderName::CSeq, "1 INVITE");
        request.push(HeaderName::Contact, &format!("<{}>", self.contact));
        if !self.seed.user_agent.is_empty() {
            request.push(HeaderName::UserAgent, &self.seed.user_agent);
        }
        request.push(HeaderName::Allow, ALLOW);
        request.push(HeaderName::Supported, SUPPORTED);
        self.push_refresh(&mut request);
        request.push(HeaderName::Accept, "application/sdp");
        invite.extra_headers.into_iter().for_each(|header| request.push_header(header));
        request.set_body(Some(("application/sdp", &invite.sdp_offer)));
        request
    }

    /// Sends the INVITE to the current hop. Its Via is made to name the hop's transport.
    fn start_invite(&mut self, now: Instant, mut request: Message, hops: Hops, challenges: usize) {
        let hop = hops.carry(&mut request);
        let (mut transaction, transmit) = ClientInvite::new(now, request, hop, self.timing);
        if let Some(patience) = hops.patience(self.timing.t1) {
            transaction.give_up_at(now + patience);
        }
        self.calling = Some(match self.calling.take() {
            Some(mut calling) => {
                calling.earlier.push(std::mem::replace(&mut calling.transaction, transaction));
                Calling { hops, challenges, ..calling }
            }
            None => Calling {
                transaction,
                earlier: Vec::new(),
                hops,
                challenges,
                cancel: Cancel::No,
                trying_told: false,
                early: None,
            },
        });
        self.send(transmit);
    }

    /// Gives up before the answer. When the answer crosses the CANCEL, it is acknowledged and hung up. Without effect on a
    /// call that is answered (then use [`Self::hang_up`]) or over.
    pub fn cancel(&mut self, now: Instant) {
        if self.phase == Phase::Inviting
            && let Some(calling) = &mut self.calling
            && calling.cancel == Cancel::No
        {
            calling.cancel = Cancel::Wanted;
            self.send_cancel(now);
        }
    }

    fn send_cancel(&mut self, now: Instant) {
        let limit = now + self.timing.transaction_limit();
        let Some(calling) = &mut self.calling else { return };
        if calling.cancel == Cancel::Wanted && calling.transaction.is_proceeding() {
            calling.cancel = Cancel::Sent(limit);
            let (cancel, destination) = (calling.transaction.cancel(), calling.transaction.destination());
            self.start_request(now, cancel, destination);
        }
    }

    pub(super) fn handle_invite_response(&mut self, now: Instant, response: &Message) {
        if self.handle_reinvite_response(now, response) {
            return;
        }
        let Some(calling) = &mut self.calling else { return };
        if let Some(old) = calling.earlier.iter_mut().find(|old| old.matches(response)) {
            if let Some(ack) = old.handle_response(now, response).transmit {
                self.send(ack);
            }
            return self.take_late(now, response);
        }
        if !calling.transaction.matches(response) {
            return;
        }
        let taken = calling.transaction.handle_response(now, response);
        let status = response.status().unwrap_or_default();
        if let Some(ack) = taken.transmit {
            self.send(ack);
        }
        match status {
            // Also after Timer M: a 2xx that still comes lacks its ACK.
            200..300 => self.take_answer(now, response),
            _ if !taken.pass => {}
            100..200 => self.take_provisional(now, status, response),
            _ => self.take_refusal(now, status, response),
        }
    }

    fn take_provisional(&mut self, now: Instant, status: u16, response: &Message) {
        let Some(calling) = &self.calling else { return };
        let (invite, peer) = (calling.transaction.request().clone(), calling.transaction.destination());
        if !self.take_early(now, &invite, peer, response) {
            return;
        }
        self.send_cancel(now);
        let Some(calling) = self.calling.as_mut().filter(|_| self.phase == Phase::Inviting) else { return };
        if calling.cancel != Cancel::No {
            return;
        }
        if status == 100 {
            if !std::mem::replace(&mut calling.trying_told, true) {
                self.tell(SessionEvent::Trying);
            }
            return;
        }
        let early = response.sdp().map(|sdp| (response.to_tag().unwrap_or_default(), sdp.to_vec()));
        let fresh = early.filter(|early| calling.early.as_ref() != Some(early));
        if let Some(early) = &fresh {
            calling.early = Some(early.clone());
        }
        self.tell(SessionEvent::Ringing { status });
        if let Some((_, sdp)) = fresh {
            self.tell(SessionEvent::EarlyMedia { sdp });
        }
    }

    /// RFC 3261 §13.2.2.4: every 2xx gets an ACK; the first makes the call, others (forks) are hung up.
    fn take_answer(&mut self, now: Instant, response: &Message) {
        let tag = response.to_tag().unwrap_or_default();
        if let Some(ack) = self.ack_of(response) {
            self.send(ack);
            return;
        }
        let Some(calling) = self.calling.as_ref().filter(|_| self.acks.len() < MAX_FORKS) else { return };
        let current = calling.transaction.matches(response);
        let Some(asked) = calling.asked(response) else { return };
        let (invite, destination) = (asked.request(), asked.destination());
        let Some(mut dialog) = Dialog::of_caller(invite, response, destination, self.local) else { return };
        if let Some(early) = self.reliable.dialog_with(&tag) {
            dialog.continue_from(early);
        }
        let mut ack = dialog.ack(invite, &branch(&mut self.rng));
        ack.set_body(None);
        let ack = Transmit { destination: dialog.destination(), bytes: ack.to_bytes() };
        let early = calling.early.as_ref().filter(|(early, _)| *early == tag).map(|(_, sdp)| sdp.clone());
        let newer = self.reliable.redescription(&tag).map(<[u8]>::to_vec);
        let cancelled = calling.cancel != Cancel::No;
        let offer = invite.sdp().map(<[u8]>::to_vec);
        let number = invite.cseq().map(|cseq| cseq.number).unwrap_or_default();
        self.keep_ack(tag, number, ack.clone());
        self.send(ack);
        self.auth.accepted();
        if self.phase == Phase::Inviting && !cancelled && current {
            self.phase = Phase::Established;
            self.dialog = Some(dialog);
            self.offers.local = self.offers.local.take().or(offer);
            self.take_allow(response);
            self.take_refreshed(now, response);
            self.reliable.forget_early();
            let sdp = newer.or_else(|| response.sdp().map(<[u8]>::to_vec)).or(early);
            self.tell(SessionEvent::Answered { sdp });
            return;
        }
        // A fork, a hop that was given up, or the answer crossed our CANCEL.
        self.send_bye(now, dialog, None);
        if current {
            self.fail_if_inviting(Failure::Cancelled);
        }
    }

    /// The ACK that this 2xx got before.
    pub(super) fn ack_of(&self, response: &Message) -> Option<Transmit> {
        let (tag, number) = (response.to_tag().unwrap_or_default(), response.cseq()?.number);
        let known = self.acks.iter().find(|ack| ack.tag == tag && ack.number == number);
        known.map(|ack| ack.transmit.clone())
    }

    /// Keeps an ACK for when its 2xx comes again. The oldest goes when there are too many.
    pub(super) fn keep_ack(&mut self, tag: String, number: u32, transmit: Transmit) {
        if self.acks.len() >= 2 * MAX_FORKS {
            self.acks.remove(0);
        }
        self.acks.push(Ack { tag, number, transmit });
    }

    fn fail_if_inviting(&mut self, failure: Failure) {
        if self.phase == Phase::Inviting {
            self.fail(failure);
        }
    }

    fn take_refusal(&mut self, now: Instant, status: u16, response: &Message) {
        let Some(calling) = &self.calling else { return };
        let (cancelled, hop) = (calling.cancel != Cancel::No, calling.hops.current());
        let failure = match status {
            401 | 407 if cancelled => Failure::Cancelled,
            401 | 407 => {
                let worthwhile = calling.challenges < MAX_CHALLENGES && self.auth.take_challenges(response);
                if worthwhile && self.phase == Phase::Inviting {
                    let (hops, challenges) = (calling.hops.clone(), calling.challenges + 1);
                    return self.retry_invite(now, hops, challenges);
                }
                Failure::Unauthorized
            }
            487 if cancelled => Failure::Cancelled,
            422 if calling.challenges < MAX_CHALLENGES
                && self.phase == Phase::Inviting
                && !cancelled
                && self.take_longer_interval(response) =>
            {
                let Some(calling) = &self.calling else { return };
                let (hops, challenges) = (calling.hops.clone(), calling.challenges + 1);
                return self.retry_invite(now, hops, challenges);
            }
            // The server is there and cannot: the next one may (RFC 3263 §4.3).
            503 if self.next_hop(now, hop) => return,
            _ => refusal(response),
        };
        self.fail_if_inviting(failure);
    }

    /// A response to an INVITE that was given up because its hop was silent: whoever is at work there is told to stop.
    fn take_late(&mut self, now: Instant, response: &Message) {
        match response.status() {
            Some(200..300) => self.take_answer(now, response),
            Some(100..200) => {
                let asked = self.calling.as_ref().and_then(|calling| calling.asked(response));
                let Some(asked) = asked.filter(|asked| asked.is_terminated()) else { return };
                let (cancel, destination) = (asked.cancel(), asked.destination());
                let cancelled = self.requests.iter().any(|known| known.transaction.request() == &cancel);
                if !cancelled {
                    self.start_request(now, cancel, destination);
                }
            }
            _ => {}
        }
    }

    /// The same INVITE with the next sequence number, a new branch, and credentials where we were asked for some (RFC 3261
    /// §22.2, §8.1.3.5).
    fn retry_invite(&mut self, now: Instant, hops: Hops, challenges: usize) {
        let Some(calling) = &self.calling else { return };
        let mut request = calling.transaction.request().clone();
        let number = request.cseq().map_or(1, |cseq| cseq.number + 1);
        request.set(HeaderName::CSeq, &format!("{number} INVITE"));
        request.set(HeaderName::Via, &via(Transport::Udp, self.local, &branch(&mut self.rng)));
        self.push_refresh(&mut request);
        self.reliable.forget_early();
        self.auth.authorize(&mut request, &mut self.rng);
        self.start_invite(now, request, hops, challenges);
    }

    /// Tries the hop after `failed`: `false` when there is none, or nobody wants the call any more.
    fn next_hop(&mut self, now: Instant, failed: Hop) -> bool {
        let Some(calling) = self.calling.as_ref().filter(|_| self.phase == Phase::Inviting) else {
            return false;
        };
        let (mut hops, challenges) = (calling.hops.clone(), calling.challenges);
        if calling.cancel != Cancel::No || !hops.give_up(failed) {
            return false;
        }
        self.retry_invite(now, hops, challenges);
        true
    }

    /// The INVITE could not be sent to `hop`.
    pub(super) fn lose_calling(&mut self, now: Instant, hop: Hop) {
        let Some(calling) = &mut self.calling else { return };
        if !calling.transaction.is_calling() || calling.transaction.destination() != hop {
            return;
        }
        calling.transaction.terminate();
        let cancelled = calling.cancel != Cancel::No;
        if !self.next_hop(now, hop) {
            self.fail_if_inviting(if cancelled { Failure::Cancelled } else { Failure::Unreachable });
        }
    }

    pub(super) fn time_calling(&mut self, now: Instant) {
        let mut again = Vec::new();
        let mut failure = None;
        if let Some(calling) = &mut self.calling {
            let cancelled = calling.cancel != Cancel::No;
            for invite in calling.earlier.iter_mut().chain([&mut calling.transaction]) {
                while invite.poll_timeout().is_some_and(|at| at <= now) {
                    match invite.handle_timeout(now) {
                        Fired::Send(transmit) => again.push(transmit),
                        Fired::TimedOut => {
                            failure = Some(if cancelled { Failure::Cancelled } else { Failure::Timeout });
                        }
                        Fired::Nothing => {}
                    }
                }
            }
            if let Cancel::Sent(give_up) = calling.cancel
                && give_up <= now
                && calling.transaction.is_proceeding()
            {
                calling.transaction.terminate();
                failure = Some(Failure::Cancelled);
            }
        }
        again.into_iter().for_each(|transmit| self.send(transmit));
        let silent = self.calling.as_ref().map(|calling| calling.transaction.destination());
        if let (Some(failure), Some(silent)) = (failure, silent)
            && !self.next_hop(now, silent)
        {
            self.fail_if_inviting(failure);
        }
    }
}
