//! Whose turn it is: at most one offer is under way in a call, whoever made it (RFC 3264 §4, RFC 6337 §2.2).
//!
//! | an offer may come in | and is answered in |
//! |---|---|
//! | INVITE, re-INVITE | a reliable provisional response or the 2xx |
//! | the 2xx of an INVITE without SDP | its ACK |
//! | a reliable provisional response to an INVITE without SDP | its PRACK |
//! | PRACK, UPDATE | its 2xx |

use std::time::{Duration, Instant};

use rand::RngExt;

use super::reinvite::{LateOffer, Reinvite};
use super::update::{Asked, Update};
use super::{Phase, Session, SessionEvent, Side};
use crate::sip::Hop;
use crate::sip::dialog::Dialog;
use crate::sip::hops::Hops;
use crate::sip::message::{HeaderName, Message, Method};
use crate::sip::transaction::ClientInvite;

/// The most methods of an Allow field that are remembered.
const MAX_ALLOW: usize = 32;
/// The longest wait that a 500 may ask of us before we offer again (RFC 3311 §5.2 lets it ask for 10 s).
const MAX_WAIT: Duration = Duration::from_secs(10);

/// No offer can be made now: one is under way, the other side asked us to wait, or the call does not stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no offer can be made now")]
pub struct CannotOffer;

/// What a request that could not be sent was about.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) offer: Option<Vec<u8>>,
    pub(super) attempt: usize,
    /// It only refreshed the session.
    pub(super) refresh: bool,
}

/// The offers of one call after its first.
#[derive(Debug, Default)]
pub(super) struct Offers {
    /// Our re-INVITE without a final answer.
    pub(super) reinvite: Option<Reinvite>,
    /// Our re-INVITEs that are answered: they still repeat ACKs.
    pub(super) answered: Vec<ClientInvite>,
    /// The offer in the 2xx of our re-INVITE: its ACK waits for our answer.
    pub(super) late: Option<LateOffer>,
    /// Our UPDATE on its way.
    pub(super) update: Option<Update>,
    /// Their UPDATE or PRACK whose offer waits for our answer.
    pub(super) asked: Option<Asked>,
    /// After a 491 no offer is made before this time (RFC 3261 §14.1).
    pub(super) quiet_until: Option<Instant>,
    /// The other side takes no TCP: large requests go over UDP after all.
    no_tcp: bool,
    /// Our description in force.
    pub(super) local: Option<Vec<u8>>,
    /// The other side's Allow, where it sent one.
    allow: Option<Vec<Method>>,
}

impl Session {
    /// Whether [`Self::reinvite`] would send one now. `false` while any offer is under way, for the back-off after a 491, and
    /// outside of an answered call. When it becomes `true` again, something was just handled: a message or a timeout.
    pub fn can_offer(&self) -> bool {
        self.phase == Phase::Established
            && self.dialog.is_some()
            && self.pending.is_none()
            && self.unacked.is_none()
            && !self.our_offer_waits()
            && !self.their_offer_waits()
            && self.offers.update.is_none()
            && self.offers.quiet_until.is_none()
    }

    /// Whether the other side named `method` in its last Allow field; `None`: it never sent one.
    pub fn peer_allows(&self, method: &Method) -> Option<bool> {
        self.offers.allow.as_ref().map(|allow| allow.contains(method))
    }

    /// Answers the offer of [`SessionEvent::Offer`]. Without effect when none waits.
    pub fn answer_offer(&mut self, now: Instant, sdp: &[u8]) {
        if self.offers.late.is_some() {
            self.answer_late_offer(now, Some(sdp));
        } else if self.offers.asked.is_some() {
            self.answer_asked(now, Ok(sdp));
        } else {
            self.answer_reinvite(now, sdp);
        }
        self.settle();
    }

    /// Refuses the offer of [`SessionEvent::Offer`] (488 mostly): the call goes on as it was. An offer in a 2xx cannot be
    /// refused; the call is hung up then (RFC 3261 §13.2.2.4).
    pub fn reject_offer(&mut self, now: Instant, status: u16) {
        if self.offers.late.is_some() {
            self.answer_late_offer(now, None);
        } else if self.offers.asked.is_some() {
            self.answer_asked(now, Err(status.clamp(300, 699)));
        } else if self.phase == Phase::Established {
            self.answer_finally(now, status.clamp(300, 699), &[]);
        }
        self.settle();
    }

    /// An offer of ours waits for its answer, or an INVITE of ours is under way.
    pub(super) fn our_offer_waits(&self) -> bool {
        (self.phase == Phase::Inviting && !self.reliable.early_answered())
            || self.reliable.offer_waits()
            || self.offers.reinvite.is_some()
            || self.offers.update.as_ref().is_some_and(Update::offers)
            || self.unacked.as_ref().is_some_and(|unacked| unacked.offered)
    }

    /// An offer of theirs waits for our answer.
    pub(super) fn their_offer_waits(&self) -> bool {
        let invite = self.pending.as_ref().is_some_and(|one| !one.initial || !self.reliable.is_settled());
        invite || self.offers.late.is_some() || self.offers.asked.is_some()
    }

    /// Where a request of the dialog goes; its Via is made to name the transport (RFC 3261 §18.1.1).
    pub(super) fn carry(&self, request: &mut Message, destination: Hop) -> Hop {
        let mut hops = Hops::one(destination);
        if self.offers.no_tcp {
            hops.give_up(Hop::tcp(destination.address));
        }
        hops.carry(request)
    }

    /// Our re-INVITE or UPDATE could not be sent to `hop`: by UDP when it went by TCP for its size, else it counts as refused
    /// with 503 (RFC 3261 §8.1.3.1).
    pub(super) fn lose_offers(&mut self, now: Instant, hop: Hop) {
        let peer = self.dialog.as_ref().map(Dialog::destination);
        let again =
            !self.offers.no_tcp && peer.is_some_and(|peer| peer != hop && Hop::tcp(peer.address) == hop);
        let (reinvite, update) = (self.lost_reinvite(hop), self.lost_update(hop));
        if self.phase == Phase::Over {
            return;
        }
        self.offers.no_tcp |= again && (reinvite.is_some() || update.is_some());
        if let Some(Lost { offer, attempt, refresh }) = reinvite {
            match (again, refresh) {
                (true, _) => self.send_reinvite(now, offer, attempt, refresh),
                (false, true) => self.refresh_refused(now),
                (false, false) => self.offer_refused(now, 503, None),
            }
        }
        if let Some(Lost { offer, attempt, refresh }) = update {
            match (again, refresh) {
                (true, _) => self.send_update(now, offer, attempt),
                (false, true) => self.refresh_refused(now),
                (false, false) => self.offer_refused(now, 503, None),
            }
        }
    }

    /// Remembers what the other side can do (RFC 3261 §20.5).
    pub(super) fn take_allow(&mut self, message: &Message) {
        let mut listed = message.list(HeaderName::Allow);
        if !listed.is_empty() {
            listed.truncate(MAX_ALLOW);
            self.offers.allow = Some(listed.iter().map(|name| Method::from_token(name)).collect());
        }
    }

    pub(super) fn forget_allowed(&mut self, method: &Method) {
        self.offers.allow.iter_mut().for_each(|allow| allow.retain(|known| known != method));
    }

    /// Our offer was refused. Glare is followed by a pause: 2.1 to 4 s for the owner of the Call-ID, at most 2 s for the other
    /// (RFC 3261 §14.1).
    pub(super) fn offer_refused(&mut self, now: Instant, status: u16, retry_after: Option<Duration>) {
        let asked = retry_after.filter(|_| status == 500);
        let pause = match status {
            491 if self.calling.is_some() => Some(10 * self.rng.random_range(210..=400)),
            491 => Some(10 * self.rng.random_range(0..=200)),
            _ => None,
        };
        let pause = pause.map(Duration::from_millis).or(asked.map(|asked| asked.min(MAX_WAIT)));
        if let Some(pause) = pause {
            self.offers.quiet_until = Some(now + pause);
        }
        self.tell(SessionEvent::OfferRefused { status });
    }

    /// The other side does not know the call any more, or does not answer in it: it is over (RFC 3261 §12.2.1.2).
    pub(super) fn lose_dialog(&mut self, now: Instant, why: &str) {
        if self.phase == Phase::Established {
            self.end(Side::Local, Some(why.to_owned()));
            self.release(now, None);
        }
    }

    pub(super) fn offers_timeout(&self) -> Option<Instant> {
        let answered = self.offers.answered.iter().filter_map(ClientInvite::poll_timeout);
        let reinvite = self.offers.reinvite.as_ref().map(Reinvite::poll_timeout);
        let update = self.offers.update.as_ref().and_then(Update::poll_timeout);
        let asked = self.offers.asked.as_ref().map(Asked::poll_timeout);
        answered.chain(reinvite).chain(update).chain(asked).chain(self.offers.quiet_until).min()
    }

    pub(super) fn time_offers(&mut self, now: Instant) {
        self.offers.quiet_until.take_if(|until| *until <= now);
        self.time_reinvites(now);
        self.time_update(now);
    }

    /// Whether transactions of offers go on.
    pub(super) fn offers_busy(&self) -> bool {
        self.offers.reinvite.is_some() || self.offers.update.is_some() || !self.offers.answered.is_empty()
    }
}
