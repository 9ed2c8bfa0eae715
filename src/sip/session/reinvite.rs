//! Our re-INVITE: a new offer, or the wish for one, in a call that stands (RFC 3261 §14.1).

use std::time::{Duration, Instant};

use super::offers::{CannotOffer, Lost};
use super::{Phase, Session, SessionEvent, Side, reliable};
use crate::sdp;
use crate::sip::branch;
use crate::sip::message::{HeaderName, Message, Method};
use crate::sip::transaction::{ClientInvite, Fired};
use crate::sip::{ALLOW, Hop, SUPPORTED, Transmit};

/// The most re-INVITEs for one offer: the first, and one for each challenge.
const MAX_ATTEMPTS: usize = 6;
/// The most answered re-INVITEs whose transactions are kept.
const MAX_ANSWERED: usize = 8;
/// How long a re-INVITE may wait for somebody to decide; Timer B ends at the first provisional response.
const PATIENCE: Duration = Duration::from_secs(180);

/// A re-INVITE of ours without a final answer.
#[derive(Debug)]
pub(super) struct Reinvite {
    transaction: ClientInvite,
    /// What it offers; `None` asks the other side for an offer.
    offer: Option<Vec<u8>>,
    attempt: usize,
    /// It only refreshes the session.
    refresh: bool,
    /// The last RSeq of its provisional responses.
    rseq: Option<u32>,
    /// The answer in a reliable provisional response.
    early: Option<Vec<u8>>,
    give_up: Instant,
}

impl Reinvite {
    pub(super) fn poll_timeout(&self) -> Instant {
        self.transaction.poll_timeout().map_or(self.give_up, |at| at.min(self.give_up))
    }
}

/// A 2xx of our re-INVITE that holds an offer; the answer goes into the ACK.
#[derive(Debug)]
pub(super) struct LateOffer {
    invite: Message,
    sdp: Vec<u8>,
}

impl Session {
    /// Sends a re-INVITE with this offer, or without one to get an offer from the other side. Ends with
    /// [`SessionEvent::OfferAnswered`], [`SessionEvent::Offer`] (the other side's offer, when we made none) or
    /// [`SessionEvent::OfferRefused`]. An answer of 408 or 481, and none at all, end the call.
    pub fn reinvite(&mut self, now: Instant, offer: Option<&[u8]>) -> Result<(), CannotOffer> {
        if !self.can_offer() {
            return Err(CannotOffer);
        }
        self.send_reinvite(now, offer.map(<[u8]>::to_vec), 1, false);
        Ok(())
    }

    pub(super) fn refresh_by_invite(&mut self, now: Instant) {
        self.send_reinvite(now, self.offers.local.clone(), 1, true);
    }

    pub(super) fn send_reinvite(
        &mut self,
        now: Instant,
        offer: Option<Vec<u8>>,
        attempt: usize,
        refresh: bool,
    ) {
        let Some(dialog) = &mut self.dialog else { return };
        let mut request = dialog.request(Method::Invite, &branch(&mut self.rng));
        let destination = dialog.destination();
        request.push(HeaderName::Contact, &format!("<{}>", self.contact));
        if !self.seed.user_agent.is_empty() {
            request.push(HeaderName::UserAgent, &self.seed.user_agent);
        }
        request.push(HeaderName::Allow, ALLOW);
        // Without an offer of ours a reliable provisional response would make one, for the PRACK to answer: not needed.
        request.push(HeaderName::Supported, if offer.is_some() { SUPPORTED } else { "timer" });
        request.push(HeaderName::Accept, "application/sdp");
        self.push_refresh(&mut request);
        request.set_body(offer.as_deref().map(|sdp| ("application/sdp", sdp)));
        self.auth.authorize(&mut request, &mut self.rng);
        let hop = self.carry(&mut request, destination);
        let (transaction, transmit) = ClientInvite::new(now, request, hop, self.timing);
        self.offers.reinvite = Some(Reinvite {
            transaction,
            offer,
            attempt,
            refresh,
            rseq: None,
            early: None,
            give_up: now + PATIENCE,
        });
        self.send(transmit);
    }

    /// Takes a response to a re-INVITE; `false`: it is not to one.
    pub(super) fn handle_reinvite_response(&mut self, now: Instant, response: &Message) -> bool {
        let status = response.status().unwrap_or_default();
        if let Some(old) = self.offers.answered.iter_mut().find(|old| old.matches(response)) {
            let taken = old.handle_response(now, response);
            let again = if (200..300).contains(&status) { self.ack_of(response) } else { taken.transmit };
            if let Some(ack) = again {
                self.send(ack);
            }
            return true;
        }
        let Some(reinvite) = self.offers.reinvite.as_mut().filter(|one| one.transaction.matches(response))
        else {
            // A 2xx that comes again lacks its ACK, however late it is.
            let again = self.ack_of(response).filter(|_| (200..300).contains(&status));
            let known = again.is_some();
            again.into_iter().for_each(|ack| self.send(ack));
            return known;
        };
        let taken = reinvite.transaction.handle_response(now, response);
        if let Some(ack) = taken.transmit {
            self.send(ack);
        }
        if status < 200 {
            self.take_reprovisional(now, response);
        } else if taken.pass
            && let Some(reinvite) = self.offers.reinvite.take()
        {
            if status < 300 {
                self.take_reanswer(now, reinvite, response);
            } else {
                self.take_reinvite_refusal(now, reinvite, response);
            }
        }
        true
    }

    /// Takes the re-INVITE that could not be sent to `hop`.
    pub(super) fn lost_reinvite(&mut self, hop: Hop) -> Option<Lost> {
        let at = |one: &mut Reinvite| one.transaction.is_calling() && one.transaction.destination() == hop;
        let Reinvite { offer, attempt, refresh, .. } = self.offers.reinvite.take_if(at)?;
        Some(Lost { offer, attempt, refresh })
    }

    fn take_reprovisional(&mut self, now: Instant, response: &Message) {
        let (Some(reinvite), Some(rseq)) = (&mut self.offers.reinvite, reliable::rseq(response)) else {
            return;
        };
        if reinvite.rseq.is_some_and(|last| last.checked_add(1) != Some(rseq)) {
            return;
        }
        reinvite.rseq = Some(rseq);
        reinvite.early = response.sdp().map(<[u8]>::to_vec).or(reinvite.early.take());
        let tag = response.to_tag().unwrap_or_default();
        self.send_prack(now, tag, reliable::rack(rseq, response), 1);
    }

    fn keep_answered(&mut self, transaction: ClientInvite) {
        if self.offers.answered.len() >= MAX_ANSWERED {
            self.offers.answered.remove(0);
        }
        self.offers.answered.push(transaction);
    }

    fn take_reanswer(&mut self, now: Instant, reinvite: Reinvite, response: &Message) {
        let Reinvite { transaction, offer, early, .. } = reinvite;
        let invite = transaction.request().clone();
        self.keep_answered(transaction);
        self.auth.accepted();
        self.take_allow(response);
        if let Some(dialog) = &mut self.dialog {
            dialog.refresh_target(response);
        }
        let sdp = response.sdp().map(<[u8]>::to_vec).or(early);
        self.take_refreshed(now, response);
        if self.phase != Phase::Established {
            // It crossed our BYE, and still wants its ACK.
            self.send_reack(&invite, sdp.filter(|_| offer.is_none()).and_then(|sdp| sdp::refuse(&sdp).ok()));
            return;
        }
        match (offer, sdp) {
            (None, Some(sdp)) => {
                self.offers.late = Some(LateOffer { invite, sdp: sdp.clone() });
                self.tell(SessionEvent::Offer { sdp: Some(sdp) });
            }
            (offer, sdp) => {
                self.send_reack(&invite, None);
                // An answer without SDP leaves what was agreed before.
                self.offers.local = offer.filter(|_| sdp.is_some()).or(self.offers.local.take());
                self.tell(SessionEvent::OfferAnswered { sdp });
            }
        }
    }

    /// ACK of our re-INVITE's 2xx, kept for when the 2xx comes again.
    fn send_reack(&mut self, invite: &Message, sdp: Option<Vec<u8>>) {
        let Some(dialog) = &self.dialog else { return };
        let mut ack = dialog.ack(invite, &branch(&mut self.rng));
        ack.set_body(sdp.as_deref().map(|sdp| ("application/sdp", sdp)));
        let transmit = Transmit { destination: dialog.destination(), bytes: ack.to_bytes() };
        let number = invite.cseq().map(|cseq| cseq.number).unwrap_or_default();
        let tag = dialog.remote_tag().to_owned();
        self.keep_ack(tag, number, transmit.clone());
        self.send(transmit);
    }

    /// Answers the offer that came in a 2xx; `None` refuses every stream in it and hangs up (RFC 3261 §13.2.2.4).
    pub(super) fn answer_late_offer(&mut self, now: Instant, answer: Option<&[u8]>) {
        let Some(LateOffer { invite, sdp }) = self.offers.late.take() else { return };
        match answer {
            Some(answer) => {
                self.offers.local = Some(answer.to_vec());
                self.send_reack(&invite, Some(answer.to_vec()));
            }
            None => {
                self.send_reack(&invite, sdp::refuse(&sdp).ok());
                self.end(Side::Local, Some("the other side's offer cannot be taken".to_owned()));
                self.release(now, None);
            }
        }
    }

    fn take_reinvite_refusal(&mut self, now: Instant, reinvite: Reinvite, response: &Message) {
        let Reinvite { transaction, offer, attempt, refresh, .. } = reinvite;
        self.keep_answered(transaction);
        if self.phase != Phase::Established {
            return;
        }
        match response.status().unwrap_or_default() {
            401 | 407 if attempt < MAX_ATTEMPTS && self.auth.take_challenges(response) => {
                self.send_reinvite(now, offer, attempt + 1, refresh);
            }
            422 if attempt < MAX_ATTEMPTS && self.take_longer_interval(response) => {
                self.send_reinvite(now, offer, attempt + 1, refresh);
            }
            408 => self.lose_dialog(now, "the other side did not answer a re-INVITE"),
            481 => self.lose_dialog(now, "the other side does not know the call any more"),
            _ if refresh => self.refresh_refused(now),
            status => self.offer_refused(now, status, super::retry_after(response)),
        }
    }

    pub(super) fn time_reinvites(&mut self, now: Instant) {
        let mut again = Vec::new();
        for old in &mut self.offers.answered {
            while old.poll_timeout().is_some_and(|at| at <= now) {
                old.handle_timeout(now);
            }
        }
        self.offers.answered.retain(|old| !old.is_terminated());
        let mut lost = false;
        if let Some(reinvite) = &mut self.offers.reinvite {
            while reinvite.transaction.poll_timeout().is_some_and(|at| at <= now) {
                match reinvite.transaction.handle_timeout(now) {
                    Fired::Send(transmit) => again.push(transmit),
                    Fired::TimedOut => lost = true,
                    Fired::Nothing => {}
                }
            }
            lost |= reinvite.give_up <= now;
        }
        again.into_iter().for_each(|transmit| self.send(transmit));
        if lost {
            self.offers.reinvite = None;
            self.lose_dialog(now, "the other side did not answer a re-INVITE");
        }
    }

    /// The call ends: what asked us is answered, an offer in a 2xx still gets its ACK, and a re-INVITE is waited for no longer
    /// than any request.
    pub(super) fn close_offers(&mut self, now: Instant) {
        self.answer_asked(now, Err(487));
        if let Some(LateOffer { invite, sdp }) = self.offers.late.take() {
            self.send_reack(&invite, sdp::refuse(&sdp).ok());
        }
        let limit = now + self.timing.transaction_limit();
        if let Some(reinvite) = &mut self.offers.reinvite {
            reinvite.give_up = reinvite.give_up.min(limit);
        }
    }
}
