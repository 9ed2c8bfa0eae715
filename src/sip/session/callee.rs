//! The callee's side of INVITE and re-INVITE: provisional and final answers, the wait for ACK, CANCEL (RFC 3261 §13.3, §14.2, §9.2).

use std::time::{Duration, Instant};

use super::{
    Failure, IncomingCall, MAX_TRANSACTIONS, Phase, Session, SessionEvent, Side, too_brief, unsupported,
};
use crate::sip::auth::DigestClient;
use crate::sip::dialog::Dialog;
use crate::sip::message::{Header, HeaderName, Message, Uri};
use crate::sip::transaction::{ServerInvite, ServerKey, Timing};
use crate::sip::{ALLOW, Hop, Transmit};

/// An INVITE without a final answer.
#[derive(Debug)]
pub(super) struct PendingInvite {
    pub(super) transaction: ServerInvite,
    pub(super) request: Message,
    source: Hop,
    pub(super) initial: bool,
}

/// A 2xx of ours that is repeated until its ACK comes (RFC 3261 §13.3.1.4).
#[derive(Debug)]
pub(super) struct UnackedAnswer {
    number: u32,
    transmit: Transmit,
    gap: Duration,
    next: Instant,
    give_up: Instant,
    initial: bool,
    /// Our 2xx holds the offer, so the ACK holds the answer.
    pub(super) offered: bool,
    /// A BYE must wait for the ACK (RFC 3261 §15): its Reason.
    bye: Option<Option<String>>,
}

impl UnackedAnswer {
    pub(super) fn poll_timeout(&self) -> Instant {
        self.next.min(self.give_up)
    }
}

impl Session {
    /// Takes an incoming call and sends 100. `contact` is ours, where in-dialog requests reach us.
    pub fn incoming(now: Instant, call: IncomingCall, contact: Uri, timing: Timing) -> Self {
        let IncomingCall { seed, request, source, local } = call;
        let mut session = Self::new(seed, local, contact, timing, DigestClient::new(None), Phase::Ringing);
        session.take_allow(&request);
        session.dialog = Dialog::of_callee(&request, &session.seed.local_tag, source, local);
        let mut transaction = ServerInvite::new(&request, source, timing);
        // 100 carries no tag of ours: it makes no dialog (RFC 3261 §8.2.6.1).
        let mut trying = Message::response(request.headers(), 100, None, source);
        trying.set_body(None);
        if let Some(transmit) = transaction.respond(now, &trying) {
            session.send(transmit);
        }
        session.pending = Some(PendingInvite { transaction, request, source, initial: true });
        if session.dialog.is_none() {
            session.answer_finally(now, 400, &[]);
            session.fail(Failure::Malformed("the INVITE names no way back"));
        }
        session
    }

    /// The offer of the INVITE that waits for our answer; `None` when it has none or nothing waits.
    pub fn remote_offer(&self) -> Option<&[u8]> {
        self.pending.as_ref().and_then(|pending| pending.request.sdp())
    }

    /// Answers an incoming call with 200: `sdp` is the answer, or the offer when the INVITE had none. The 200 waits for the
    /// PRACK of what [`Self::ring`] described reliably, and leaves `sdp` out then.
    pub fn accept(&mut self, now: Instant, sdp: &[u8]) {
        if self.phase == Phase::Ringing && !self.accept_later(sdp) {
            self.phase = Phase::Established;
            let sdp = Some(sdp).filter(|_| !self.reliable.described());
            self.offers.local = sdp.map(<[u8]>::to_vec).or(self.offers.local.take());
            self.answer(now, 200, &[], sdp);
        }
        self.settle();
    }

    /// Refuses an incoming call, 300 to 699. `headers` goes along: WWW-Authenticate, Retry-After, Reason. Ends with
    /// [`SessionEvent::Finished`] alone, for nothing failed that the caller of this does not know.
    pub fn reject(&mut self, now: Instant, status: u16, headers: &[Header]) {
        if self.phase == Phase::Ringing {
            self.phase = Phase::Over;
            self.answer_finally(now, status.clamp(300, 699), headers);
        }
        self.settle();
    }

    pub(super) fn answer_reinvite(&mut self, now: Instant, sdp: &[u8]) {
        if self.phase == Phase::Established {
            if let (Some(pending), Some(dialog)) = (&self.pending, &mut self.dialog) {
                dialog.refresh_target(&pending.request);
            }
            self.offers.local = Some(sdp.to_vec());
            self.answer(now, 200, &[], Some(sdp));
        }
    }

    pub(super) fn answer_finally(&mut self, now: Instant, status: u16, headers: &[Header]) {
        self.answer(now, status, headers, None);
    }

    /// Answers the INVITE that waits, if one does.
    pub(super) fn answer(&mut self, now: Instant, status: u16, headers: &[Header], sdp: Option<&[u8]>) {
        let Some(mut pending) = self.pending.take() else { return };
        let mut response = self.respond_to(&pending.request, pending.source, status);
        if (101..300).contains(&status) {
            let routes =
                pending.request.headers().iter().filter(|header| *header.name() == HeaderName::RecordRoute);
            routes.for_each(|header| response.push_header(header.clone()));
            response.push(HeaderName::Contact, &format!("<{}>", self.contact));
        }
        if (101..200).contains(&status) {
            // So that UPDATE can be used before the answer (RFC 3311 §5.1).
            response.push(HeaderName::Allow, ALLOW);
        }
        headers.iter().for_each(|header| response.push_header(header.clone()));
        if (200..300).contains(&status) {
            let timer = self.honour_refresh(now, &pending.request);
            timer.into_iter().for_each(|header| response.push_header(header));
        }
        response.set_body(sdp.map(|sdp| ("application/sdp", sdp)));
        let Some(transmit) = pending.transaction.respond(now, &response) else { return };
        self.send(transmit.clone());
        if status < 200 {
            self.pending = Some(pending);
            return self.rang(now, status);
        }
        self.reliable.stop();
        if status < 300 {
            self.unacked = Some(UnackedAnswer {
                number: pending.request.cseq().map(|cseq| cseq.number).unwrap_or_default(),
                transmit,
                gap: self.timing.t1,
                next: now + self.timing.t1,
                give_up: now + self.timing.transaction_limit(),
                initial: pending.initial,
                offered: pending.request.sdp().is_none() && !(pending.initial && self.reliable.described()),
                bye: None,
            });
        }
        self.answered.push(pending.transaction);
    }

    pub(super) fn handle_invite(&mut self, now: Instant, source: Hop, request: &Message) {
        let key = ServerKey::of(request);
        let pending = self.pending.as_ref().map(|pending| &pending.transaction);
        if let Some(known) = self.answered.iter().chain(pending).find(|invite| *invite.key() == key) {
            if let Some(transmit) = known.handle_retransmission() {
                self.send(transmit);
            }
            return;
        }
        if self.answered.len() >= MAX_TRANSACTIONS {
            return;
        }
        let refusal = self.refuse_reinvite(request);
        let mut transaction = ServerInvite::new(request, source, self.timing);
        if let Some((status, header)) = refusal {
            let mut response = self.respond_to(request, source, status);
            header.into_iter().for_each(|header| response.push_header(header));
            response.set_body(None);
            if let Some(transmit) = transaction.respond(now, &response) {
                self.send(transmit);
            }
            self.answered.push(transaction);
            return;
        }
        self.take_allow(request);
        let sdp = request.sdp().map(<[u8]>::to_vec);
        self.pending = Some(PendingInvite { transaction, request: request.clone(), source, initial: false });
        self.tell(SessionEvent::Offer { sdp });
    }

    /// Why a re-INVITE cannot be taken now, with a field for the answer.
    fn refuse_reinvite(&mut self, request: &Message) -> Option<(u16, Option<Header>)> {
        let retry = || Some(Header::new(HeaderName::RetryAfter, "5"));
        if self.phase == Phase::Inviting {
            return Some((491, None));
        }
        let known = self.dialog.as_mut().filter(|_| self.phase != Phase::Over);
        let Some(dialog) =
            known.filter(|dialog| request.from_tag().unwrap_or_default() == dialog.remote_tag())
        else {
            return Some((481, None));
        };
        let number = request.cseq().map(|cseq| cseq.number).unwrap_or_default();
        if !dialog.take_cseq(number) || self.pending.is_some() || self.their_offer_waits() {
            return Some((500, retry()));
        }
        // Our own offer is under way, or our last answer is not acknowledged: glare (RFC 3261 §14.2).
        if self.our_offer_waits() || self.unacked.is_some() {
            return Some((491, None));
        }
        if let Some(least) = too_brief(request) {
            return Some((422, Some(least)));
        }
        unsupported(request).map(|names| (420, Some(Header::new(HeaderName::Unsupported, &names))))
    }

    pub(super) fn handle_ack(&mut self, now: Instant, ack: &Message) {
        let key = ServerKey::of(ack);
        if let Some(refused) = self.answered.iter_mut().find(|invite| *invite.key() == key) {
            refused.handle_ack(now);
        }
        let number = ack.cseq().map(|cseq| cseq.number);
        let Some(unacked) = self.unacked.take_if(|unacked| Some(unacked.number) == number) else { return };
        if self.phase == Phase::Established {
            let sdp = ack.sdp().filter(|_| unacked.offered).map(<[u8]>::to_vec);
            self.tell(SessionEvent::Acknowledged { sdp });
        }
        if let Some(reason) = unacked.bye {
            self.release(now, reason.as_deref());
        }
    }

    /// RFC 3261 §9.2: the CANCEL itself always gets an answer of its own.
    pub(super) fn handle_cancel(&mut self, now: Instant, source: Hop, request: &Message) {
        let key = ServerKey::of_invite(request);
        let waits = self.pending.as_ref().is_some_and(|pending| *pending.transaction.key() == key);
        let known = waits || self.answered.iter().any(|invite| *invite.key() == key);
        self.serve(now, source, request, if known { 200 } else { 481 }, &[]);
        if waits {
            self.answer_finally(now, 487, &[]);
            if self.phase == Phase::Ringing {
                self.fail(Failure::Cancelled);
            }
        }
    }

    /// Hangs up, or remembers to: a callee may not send BYE before the ACK (RFC 3261 §15).
    pub(super) fn release(&mut self, now: Instant, reason: Option<&str>) {
        self.answer_finally(now, 487, &[]);
        self.close_offers(now);
        match &mut self.unacked {
            Some(unacked) if unacked.initial => unacked.bye = Some(reason.map(str::to_owned)),
            _ => {
                self.unacked = None;
                if let Some(dialog) = self.dialog.clone() {
                    self.send_bye(now, dialog, reason);
                }
            }
        }
    }

    pub(super) fn time_unacked(&mut self, now: Instant) {
        while let Some(unacked) = self.unacked.as_mut().filter(|unacked| unacked.poll_timeout() <= now) {
            if unacked.give_up <= now {
                let missed = self.unacked.take();
                let initial = missed.as_ref().is_some_and(|missed| missed.initial);
                if initial {
                    self.fail(Failure::AckMissing);
                } else {
                    self.end(
                        Side::Local,
                        Some("the answer to a re-INVITE was never acknowledged".to_owned()),
                    );
                }
                let reason = missed.and_then(|missed| missed.bye).flatten();
                self.release(now, reason.as_deref());
                return;
            }
            unacked.gap = (unacked.gap * 2).min(self.timing.t2);
            unacked.next += unacked.gap;
            let transmit = unacked.transmit.clone();
            self.send(transmit);
        }
    }
}
