//! Reliable provisional responses (RFC 3262): as caller PRACK in order, as callee repeat until the PRACK comes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::{Failure, Phase, Session, SessionEvent};
use crate::sip::dialog::Dialog;
use crate::sip::message::{Header, HeaderName, Message, Method, decimal};
use crate::sip::transaction::{ClientNonInvite, Fired};
use crate::sip::{Hop, Transmit, branch};

/// The most early dialogs of one INVITE.
const MAX_EARLY: usize = 8;
/// The most PRACKs of ours under way.
const MAX_PRACKS: usize = 16;
/// The most provisional responses that wait for the PRACK of the one before.
const MAX_QUEUED: usize = 4;
/// How often a proxy must hear that it still rings (RFC 3261 §13.3.1.1).
const RING_REFRESH: Duration = Duration::from_secs(60);

/// An early dialog of our INVITE, one for each callee that rings (RFC 3261 §12.1).
#[derive(Debug)]
struct Early {
    dialog: Dialog,
    /// The last RSeq that we took.
    rseq: Option<u32>,
    /// Our offer was answered reliably.
    answered: bool,
    /// Their description, where an UPDATE replaced the first answer.
    redescribed: Option<Vec<u8>>,
}

/// A PRACK of ours on its way.
#[derive(Debug)]
struct Prack {
    transaction: ClientNonInvite,
    tag: String,
    rack: String,
    attempt: usize,
    answered: bool,
}

/// Our reliable response that waits for its PRACK.
#[derive(Debug)]
struct Unpracked {
    rseq: u32,
    invite: u32,
    transmit: Transmit,
    gap: Duration,
    /// `None`: the INVITE has its final answer, so this is not repeated any more.
    next: Option<Instant>,
    give_up: Instant,
    described: bool,
}

/// Both sides' state. See the module's page.
#[derive(Debug, Default)]
pub(super) struct Reliable {
    early: Vec<Early>,
    pracks: Vec<Prack>,
    rseq: Option<u32>,
    waiting: Option<Unpracked>,
    queue: VecDeque<(u16, Option<Vec<u8>>)>,
    /// A reliable response of ours answered the INVITE's offer.
    answered: bool,
    /// A reliable response of ours made the first offer.
    offered: bool,
    /// That offer was answered in a PRACK.
    offer_answered: bool,
    /// The 2xx that waits for a PRACK.
    accept: Option<Vec<u8>>,
    /// When it is said again that it rings, and with which status.
    ring_again: Option<(Instant, u16)>,
}

/// What the caller thinks of reliable responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Never,
    Supported,
    Required,
}

impl Reliable {
    /// Callee: the first offer has its answer, and the caller has confirmed that.
    pub(super) fn is_settled(&self) -> bool {
        (self.answered && self.waiting.is_none()) || self.offer_answered
    }

    /// Callee: our first offer waits for the PRACK with its answer.
    pub(super) fn offer_waits(&self) -> bool {
        self.offered && !self.offer_answered
    }

    /// Callee: offer and answer are in provisional responses, so the 2xx has none.
    pub(super) fn described(&self) -> bool {
        self.answered || self.offered
    }

    /// Caller: somebody answered our offer reliably.
    pub(super) fn early_answered(&self) -> bool {
        self.early.iter().any(|early| early.answered)
    }

    pub(super) fn answered_dialog(&mut self) -> Option<&mut Dialog> {
        self.early.iter_mut().rfind(|early| early.answered).map(|early| &mut early.dialog)
    }

    pub(super) fn dialog_with(&mut self, tag: &str) -> Option<&mut Dialog> {
        self.early.iter_mut().map(|early| &mut early.dialog).find(|dialog| dialog.remote_tag() == tag)
    }

    /// An UPDATE in the early dialog with `tag` brought another description of theirs.
    pub(super) fn redescribed(&mut self, tag: &str, sdp: Option<&[u8]>) {
        let early = self.early.iter_mut().find(|early| early.dialog.remote_tag() == tag);
        if let (Some(early), Some(sdp)) = (early, sdp) {
            early.redescribed = Some(sdp.to_vec());
        }
    }

    /// Their last description when an UPDATE before the answer replaced the one of the INVITE.
    pub(super) fn redescription(&self, tag: &str) -> Option<&[u8]> {
        self.early.iter().find(|early| early.dialog.remote_tag() == tag)?.redescribed.as_deref()
    }

    /// The INVITE is sent anew: nobody rings any more.
    pub(super) fn forget_early(&mut self) {
        self.early.clear();
    }

    /// Callee: the INVITE has its final answer. A PRACK that is still under way is answered.
    pub(super) fn stop(&mut self) {
        self.queue.clear();
        self.accept = None;
        self.ring_again = None;
        if let Some(waiting) = &mut self.waiting {
            waiting.next = None;
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let pracks = self.pracks.iter().filter_map(|prack| prack.transaction.poll_timeout());
        let waiting = self.waiting.iter().filter_map(|one| Some(one.next?.min(one.give_up)));
        pracks.chain(waiting).chain(self.ring_again.map(|(at, _)| at)).min()
    }

    /// A PRACK has no answer yet: a request that overtook it would make it too old (RFC 3261 §12.2.2).
    pub(super) fn prack_waits(&self) -> bool {
        self.pracks.iter().any(|prack| !prack.answered)
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.pracks.is_empty()
    }
}

/// The RSeq of a response that is to be acknowledged with PRACK.
pub(super) fn rseq(response: &Message) -> Option<u32> {
    let reliable = response.list(HeaderName::Require).iter().any(|name| name.eq_ignore_ascii_case("100rel"));
    response.header(HeaderName::RSeq).filter(|_| reliable).and_then(|value| decimal(value.trim()))
}

/// The caller's side.
impl Session {
    /// Takes a provisional response above 100 into its early dialog and acknowledges a reliable one; `false`: it came again or
    /// too early, so it must not be handled further (RFC 3262 §4).
    pub(super) fn take_early(
        &mut self,
        now: Instant,
        invite: &Message,
        peer: Hop,
        response: &Message,
    ) -> bool {
        let Some(tag) = response.to_tag().filter(|tag| !tag.is_empty()) else { return true };
        let known = self.reliable.early.iter().position(|early| early.dialog.remote_tag() == tag);
        let at = match known {
            Some(at) => at,
            None if self.reliable.early.len() >= MAX_EARLY => return true,
            None => {
                let Some(dialog) = Dialog::of_caller(invite, response, peer, self.local) else { return true };
                self.reliable.early.push(Early { dialog, rseq: None, answered: false, redescribed: None });
                self.reliable.early.len() - 1
            }
        };
        self.take_allow(response);
        let (Some(rseq), Some(early)) = (rseq(response), self.reliable.early.get_mut(at)) else {
            return true;
        };
        if early.rseq.is_some_and(|last| last.checked_add(1) != Some(rseq)) {
            return false;
        }
        early.rseq = Some(rseq);
        early.answered |= response.sdp().is_some();
        self.send_prack(now, tag, rack(rseq, response), 1);
        true
    }

    pub(super) fn send_prack(&mut self, now: Instant, tag: String, rack: String, attempt: usize) {
        let branch = branch(&mut self.rng);
        if self.reliable.pracks.len() >= MAX_PRACKS {
            return;
        }
        let Some(dialog) = self.dialog_with(&tag) else { return };
        let mut request = dialog.request(Method::Prack, &branch);
        let destination = dialog.destination();
        request.push(HeaderName::RAck, &rack);
        if !self.seed.user_agent.is_empty() {
            request.push(HeaderName::UserAgent, &self.seed.user_agent);
        }
        request.set_body(None);
        self.auth.authorize(&mut request, &mut self.rng);
        let (transaction, transmit) = ClientNonInvite::new(now, request, destination, self.timing);
        self.reliable.pracks.push(Prack { transaction, tag, rack, attempt, answered: false });
        self.send(transmit);
    }

    /// Takes a response to a PRACK; `false`: it is not to one.
    pub(super) fn handle_prack_response(&mut self, now: Instant, response: &Message) -> bool {
        let Some(at) = self.reliable.pracks.iter().position(|prack| prack.transaction.matches(response))
        else {
            return false;
        };
        let Some(prack) = self.reliable.pracks.get_mut(at) else { return false };
        let taken = prack.transaction.handle_response(now, response);
        prack.answered |= response.status().is_some_and(|status| status >= 200);
        if taken.pass && matches!(response.status(), Some(401 | 407)) && prack.attempt == 1 {
            let (tag, rack) = (prack.tag.clone(), prack.rack.clone());
            if self.auth.take_challenges(response) {
                self.send_prack(now, tag, rack, 2);
            }
        }
        true
    }

    /// The dialog with the callee or caller of this tag, early or confirmed.
    pub(super) fn dialog_with(&mut self, tag: &str) -> Option<&mut Dialog> {
        let confirmed = self.dialog.as_mut().filter(|dialog| dialog.remote_tag() == tag);
        confirmed.or_else(|| self.reliable.dialog_with(tag))
    }
}

/// RAck: which response of which INVITE (RFC 3262 §7.2).
pub(super) fn rack(rseq: u32, response: &Message) -> String {
    format!("{rseq} {} INVITE", response.cseq().map(|cseq| cseq.number).unwrap_or_default())
}

/// The callee's side.
impl Session {
    /// Sends a provisional answer, 101 to 199: 180 rings, 183 with SDP plays early media. Only before the answer.
    ///
    /// It is sent reliably where the caller requires that, or supports it and `sdp` is given. The SDP of a reliable response is
    /// the answer (the offer, when the INVITE had none): what [`Self::accept`] is given later is not sent any more.
    pub fn ring(&mut self, now: Instant, status: u16, sdp: Option<&[u8]>) {
        let open = self.phase == Phase::Ringing && self.reliable.accept.is_none();
        if !open || !(101..200).contains(&status) {
            return;
        }
        // Described is described: the second description would be another offer.
        let sdp = sdp.filter(|_| !self.reliable.described());
        match self.wish() {
            Wish::Never => self.answer(now, status, &[], sdp),
            Wish::Supported if sdp.is_none() => self.answer(now, status, &[], None),
            // The first reliable response to an INVITE without an offer must make one (RFC 3262 §5).
            Wish::Required if sdp.is_none() && self.remote_offer().is_none() && !self.reliable.offered => {}
            Wish::Supported | Wish::Required => self.ring_reliably(now, status, sdp.map(<[u8]>::to_vec)),
        }
    }

    fn wish(&self) -> Wish {
        let Some(pending) = &self.pending else { return Wish::Never };
        let names = |field| {
            pending.request.list(field).iter().any(|name: &String| name.eq_ignore_ascii_case("100rel"))
        };
        if names(HeaderName::Require) {
            Wish::Required
        } else if names(HeaderName::Supported) {
            Wish::Supported
        } else {
            Wish::Never
        }
    }

    fn ring_reliably(&mut self, now: Instant, status: u16, sdp: Option<Vec<u8>>) {
        if self.reliable.waiting.is_some() {
            if self.reliable.queue.len() < MAX_QUEUED {
                self.reliable.queue.push_back((status, sdp));
            }
            return;
        }
        let first = self.rng.random_range(1..=1 << 30);
        let rseq = self.reliable.rseq.map_or(first, |last| last + 1);
        self.reliable.rseq = Some(rseq);
        let headers =
            [Header::new(HeaderName::Require, "100rel"), Header::new(HeaderName::RSeq, &rseq.to_string())];
        let offers = self.remote_offer().is_none();
        self.answer(now, status, &headers, sdp.as_deref());
        let Some(pending) = &self.pending else { return };
        let Some(transmit) = pending.transaction.handle_retransmission() else { return };
        self.reliable.waiting = Some(Unpracked {
            rseq,
            invite: pending.request.cseq().map(|cseq| cseq.number).unwrap_or_default(),
            transmit,
            gap: self.timing.t1,
            next: Some(now + self.timing.t1),
            give_up: now + self.timing.transaction_limit(),
            described: sdp.is_some(),
        });
        if let Some(sdp) = sdp {
            self.reliable.offered |= offers;
            self.reliable.answered |= !offers;
            self.offers.local = Some(sdp);
        }
    }

    /// Whether the 2xx must wait for a PRACK, with this description (RFC 3262 §3).
    pub(super) fn accept_later(&mut self, sdp: &[u8]) -> bool {
        let waits = self.reliable.waiting.as_ref().is_some_and(|waiting| waiting.described)
            || self.reliable.offer_waits()
            || self.offers.asked.is_some()
            || self.offers.update.as_ref().is_some_and(|update| update.offers());
        if waits {
            self.reliable.accept = Some(sdp.to_vec());
        }
        waits
    }

    /// Sends what waited for a PRACK or an answer: the next provisional response, or the 2xx.
    pub(super) fn go_on_ringing(&mut self, now: Instant) {
        if self.phase != Phase::Ringing {
            return;
        }
        if let Some(sdp) = self.reliable.accept.take() {
            return self.accept(now, &sdp);
        }
        if self.reliable.waiting.is_none()
            && let Some((status, sdp)) = self.reliable.queue.pop_front()
        {
            self.ring(now, status, sdp.as_deref());
        }
    }

    /// Takes a fresh PRACK in the dialog (RFC 3262 §3).
    pub(super) fn take_prack(&mut self, now: Instant, source: Hop, request: &Message) {
        let rack = request.header(HeaderName::RAck).unwrap_or_default();
        let expected = |waiting: &mut Unpracked| {
            let mut words = rack.split_ascii_whitespace();
            let mut number = || words.next().and_then(decimal);
            number() == Some(waiting.rseq)
                && number() == Some(waiting.invite)
                && words.next() == Some("INVITE")
        };
        if self.reliable.waiting.take_if(expected).is_none() {
            return self.serve(now, source, request, 481, &[]);
        }
        let sdp = request.sdp().map(<[u8]>::to_vec);
        match sdp {
            Some(sdp) if self.reliable.offer_waits() => {
                self.reliable.offer_answered = true;
                self.serve(now, source, request, 200, &[]);
                self.tell(SessionEvent::OfferAnswered { sdp: Some(sdp) });
            }
            Some(sdp) if self.phase == Phase::Ringing && self.reliable.answered => {
                self.ask(now, source, request, sdp);
            }
            _ => self.serve(now, source, request, 200, &[]),
        }
        if self.offers.asked.is_none() {
            self.go_on_ringing(now);
        }
    }

    /// A provisional response went out: it is said again each minute while it rings.
    pub(super) fn rang(&mut self, now: Instant, status: u16) {
        self.reliable.ring_again = Some((now + RING_REFRESH, status));
    }

    pub(super) fn time_reliable(&mut self, now: Instant) {
        self.time_pracks(now);
        while let Some(waiting) = &mut self.reliable.waiting
            && let Some(next) = waiting.next
            && next.min(waiting.give_up) <= now
        {
            if waiting.give_up <= now {
                self.reliable.waiting = None;
                self.answer_finally(now, 504, &[]);
                self.fail(Failure::PrackMissing);
                return;
            }
            waiting.gap *= 2;
            waiting.next = Some(next + waiting.gap);
            let transmit = waiting.transmit.clone();
            self.send(transmit);
        }
        if let Some((_, status)) = self.reliable.ring_again.take_if(|(at, _)| *at <= now) {
            self.rang(now, status);
            self.ring(now, status, None);
        }
    }

    fn time_pracks(&mut self, now: Instant) {
        let mut again = Vec::new();
        for prack in &mut self.reliable.pracks {
            while prack.transaction.poll_timeout().is_some_and(|at| at <= now) {
                // A PRACK that nobody answers: the callee gives the INVITE up.
                if let Fired::Send(transmit) = prack.transaction.handle_timeout(now) {
                    again.push(transmit);
                }
            }
        }
        self.reliable.pracks.retain(|prack| !prack.transaction.is_terminated());
        again.into_iter().for_each(|transmit| self.send(transmit));
    }
}
