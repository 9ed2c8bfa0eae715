//! UPDATE (RFC 3311): an offer that needs no ACK, also before the answer. One without SDP only refreshes the target.

use std::time::Instant;

use rand::RngExt;

use super::offers::{CannotOffer, Lost};
use super::{Phase, Session, SessionEvent, refresh};
use crate::sip::message::{Header, HeaderName, Message, Method};
use crate::sip::transaction::{ClientNonInvite, Fired, ServerKey};
use crate::sip::{ALLOW, Hop, branch};

/// The most UPDATEs for one offer: the first, and one for each challenge.
const MAX_ATTEMPTS: usize = 6;

/// Our UPDATE on its way.
#[derive(Debug)]
pub(super) struct Update {
    transaction: ClientNonInvite,
    /// `None`: it refreshes the session.
    offer: Option<Vec<u8>>,
    attempt: usize,
}

impl Update {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.transaction.poll_timeout()
    }

    pub(super) fn offers(&self) -> bool {
        self.offer.is_some()
    }
}

/// Their UPDATE or PRACK whose offer waits for our answer.
#[derive(Debug)]
pub(super) struct Asked {
    request: Message,
    source: Hop,
    key: ServerKey,
    /// Then they have given up.
    forget_at: Instant,
}

impl Asked {
    pub(super) fn poll_timeout(&self) -> Instant {
        self.forget_at
    }
}

impl Session {
    /// Whether [`Self::update`] would send one now: the other side allows UPDATE, no offer is under way, and the first offer was
    /// answered, be it in a reliable provisional response.
    pub fn can_update(&self) -> bool {
        let open = match self.phase {
            Phase::Inviting => self.reliable.early_answered() && !self.reliable.prack_waits(),
            Phase::Ringing => self.reliable.is_settled(),
            Phase::Established => self.pending.is_none() && self.unacked.is_none(),
            Phase::Over => false,
        };
        open && self.peer_allows(&Method::Update) == Some(true)
            && !self.our_offer_waits()
            && !self.their_offer_waits()
            && self.offers.update.is_none()
            && self.offers.quiet_until.is_none()
    }

    /// Sends an UPDATE with this offer. Ends with [`SessionEvent::OfferAnswered`] or [`SessionEvent::OfferRefused`].
    pub fn update(&mut self, now: Instant, offer: &[u8]) -> Result<(), CannotOffer> {
        if !self.can_update() {
            return Err(CannotOffer);
        }
        self.send_update(now, Some(offer.to_vec()), 1);
        Ok(())
    }

    pub(super) fn send_update(&mut self, now: Instant, offer: Option<Vec<u8>>, attempt: usize) {
        let branch = branch(&mut self.rng);
        let Some(dialog) = self.dialog.as_mut().or(self.reliable.answered_dialog()) else { return };
        let mut request = dialog.request(Method::Update, &branch);
        let destination = dialog.destination();
        request.push(HeaderName::Contact, &format!("<{}>", self.contact));
        if !self.seed.user_agent.is_empty() {
            request.push(HeaderName::UserAgent, &self.seed.user_agent);
        }
        request.push(HeaderName::Allow, ALLOW);
        self.push_refresh(&mut request);
        request.set_body(offer.as_deref().map(|sdp| ("application/sdp", sdp)));
        self.auth.authorize(&mut request, &mut self.rng);
        let hop = self.carry(&mut request, destination);
        let (transaction, transmit) = ClientNonInvite::new(now, request, hop, self.timing);
        self.offers.update = Some(Update { transaction, offer, attempt });
        self.send(transmit);
    }

    /// Takes a response to our UPDATE; `false`: it is not to one.
    pub(super) fn handle_update_response(&mut self, now: Instant, response: &Message) -> bool {
        let Some(update) = self.offers.update.as_mut().filter(|update| update.transaction.matches(response))
        else {
            return false;
        };
        let taken = update.transaction.handle_response(now, response);
        if response.status().is_some_and(|status| status >= 200)
            && taken.pass
            && let Some(update) = self.offers.update.take()
        {
            self.take_update_answer(now, update, response);
        }
        true
    }

    fn take_update_answer(&mut self, now: Instant, update: Update, response: &Message) {
        let Update { offer, attempt, .. } = update;
        if self.phase == Phase::Over {
            return;
        }
        let tag = response.to_tag().unwrap_or_default();
        match response.status().unwrap_or_default() {
            200..300 => {
                self.auth.accepted();
                self.take_allow(response);
                if let Some(dialog) = self.dialog_with(&tag) {
                    dialog.refresh_target(response);
                }
                self.take_refreshed(now, response);
                if let Some(offer) = offer {
                    let sdp = response.sdp().map(<[u8]>::to_vec);
                    self.offers.local = sdp.as_ref().map(|_| offer).or(self.offers.local.take());
                    self.reliable.redescribed(&tag, sdp.as_deref());
                    self.tell(SessionEvent::OfferAnswered { sdp });
                }
            }
            401 | 407 if attempt < MAX_ATTEMPTS && self.auth.take_challenges(response) => {
                self.send_update(now, offer, attempt + 1);
            }
            422 if attempt < MAX_ATTEMPTS && self.take_longer_interval(response) => {
                self.send_update(now, offer, attempt + 1);
            }
            408 => self.lose_dialog(now, "the other side did not answer an UPDATE"),
            481 => self.lose_dialog(now, "the other side does not know the call any more"),
            status => {
                if matches!(status, 405 | 501) {
                    self.forget_allowed(&Method::Update);
                }
                match offer {
                    Some(_) => self.offer_refused(now, status, super::retry_after(response)),
                    None => self.refresh_refused(now),
                }
            }
        }
    }

    /// Takes the UPDATE that could not be sent to `hop`.
    pub(super) fn lost_update(&mut self, hop: Hop) -> Option<Lost> {
        let at = |one: &mut Update| one.transaction.is_trying() && one.transaction.destination() == hop;
        let Update { offer, attempt, .. } = self.offers.update.take_if(at)?;
        let refresh = offer.is_none();
        Some(Lost { offer, attempt, refresh })
    }

    pub(super) fn time_update(&mut self, now: Instant) {
        self.offers.asked.take_if(|asked| asked.forget_at <= now);
        let mut again = Vec::new();
        let mut lost = false;
        if let Some(update) = &mut self.offers.update {
            while update.transaction.poll_timeout().is_some_and(|at| at <= now) {
                match update.transaction.handle_timeout(now) {
                    Fired::Send(transmit) => again.push(transmit),
                    Fired::TimedOut => lost = true,
                    Fired::Nothing => {}
                }
            }
        }
        again.into_iter().for_each(|transmit| self.send(transmit));
        if lost {
            self.offers.update = None;
            self.lose_dialog(now, "the other side did not answer an UPDATE");
        }
    }

    /// Whether this request's offer is being answered: then it came again, and the answer follows.
    pub(super) fn is_asked(&self, request: &Message) -> bool {
        self.offers.asked.as_ref().is_some_and(|asked| asked.key == ServerKey::of(request))
    }

    /// Takes a fresh UPDATE in the dialog (RFC 3311 §5.2).
    pub(super) fn take_update(&mut self, now: Instant, source: Hop, request: &Message) {
        let sdp = request.sdp().map(<[u8]>::to_vec);
        if let Some((status, header)) = self.refuse_update(request, sdp.is_some()) {
            return self.serve(now, source, request, status, header.as_slice());
        }
        self.take_allow(request);
        if let Some(dialog) = self.dialog_with(&request.from_tag().unwrap_or_default()) {
            dialog.refresh_target(request);
        }
        match sdp {
            Some(sdp) => self.ask(now, source, request, sdp),
            None => {
                let headers = self.refreshing_headers(now, request);
                self.serve(now, source, request, 200, &headers);
            }
        }
    }

    fn refuse_update(&mut self, request: &Message, offers: bool) -> Option<(u16, Option<Header>)> {
        if self.phase == Phase::Over {
            return Some((481, None));
        }
        if let Some(least) = refresh::too_brief(request) {
            return Some((422, Some(least)));
        }
        if offers && self.their_offer_waits() {
            let seconds = self.rng.random_range(0..=10).to_string();
            return Some((500, Some(Header::new(HeaderName::RetryAfter, &seconds))));
        }
        (offers && self.our_offer_waits()).then_some((491, None))
    }

    /// Hands up the offer of an UPDATE or PRACK.
    pub(super) fn ask(&mut self, now: Instant, source: Hop, request: &Message, sdp: Vec<u8>) {
        self.offers.asked = Some(Asked {
            request: request.clone(),
            source,
            key: ServerKey::of(request),
            forget_at: now + self.timing.transaction_limit(),
        });
        self.reliable.redescribed(&request.from_tag().unwrap_or_default(), Some(&sdp));
        self.tell(SessionEvent::Offer { sdp: Some(sdp) });
    }

    /// Answers the UPDATE or PRACK whose offer waits; `Err`: refuses it with this status.
    pub(super) fn answer_asked(&mut self, now: Instant, answer: Result<&[u8], u16>) {
        let Some(Asked { request, source, .. }) = self.offers.asked.take() else { return };
        match answer {
            Ok(sdp) => {
                self.offers.local = Some(sdp.to_vec());
                let headers = self.refreshing_headers(now, &request);
                self.serve_with(now, source, &request, 200, &headers, Some(sdp));
            }
            Err(status) => self.serve(now, source, &request, status, &[]),
        }
        self.go_on_ringing(now);
    }

    /// Contact, and what the 2xx of a request that refreshes the session says about its timer.
    fn refreshing_headers(&mut self, now: Instant, request: &Message) -> Vec<Header> {
        let mut headers = vec![Header::new(HeaderName::Contact, &format!("<{}>", self.contact))];
        if request.method() == Some(&Method::Update) {
            headers.extend(self.honour_refresh(now, request));
        }
        headers
    }
}
